"""Reading a resource: defaults, names, and faults that are named."""

import pytest

import gen
from yolo_operator.core import api
from yolo_operator.core.errors import InvalidSpec


def test_the_smallest_useful_resource():
    spec = api.parse_spec({"versions": [{"version": 1, "source": {"uri": "ultralytics://yolo11n.pt"}}]})
    assert (spec.replicas, spec.gpu.count, spec.triton.max_batch_size, spec.rollout.verify.enabled, spec.deletion_policy) == (1, 1, 8, True, "Retain")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({}, "spec.versions", id="no versions"),
        pytest.param({"versions": []}, "spec.versions", id="empty versions"),
        pytest.param({"versions": [{"version": 1}]}, "spec.versions.0.source", id="no source"),
        pytest.param({"versions": [gen.version()], "replicas": -1}, "spec.replicas", id="negative replicas"),
        pytest.param({"versions": [gen.version()], "gpu": {"count": "many"}}, "spec.gpu.count", id="another type"),
        pytest.param({"versions": [gen.version()], "task": "sing"}, "spec.task", id="an unknown task"),
        pytest.param({"versions": [gen.version()], "build": {"storageSize": -1}}, "spec.build.storageSize", id="a negative quantity"),
    ],
)
def test_a_fault_names_its_field(spec, field):
    with pytest.raises(InvalidSpec, match=field):
        api.parse_spec(spec)


def test_the_model_is_named_after_the_resource_unless_said_otherwise():
    assert gen.yolo().model_name == "helmet"
    assert gen.yolo(modelName="hat").model_name == "hat"


@pytest.mark.parametrize("value", [0, 1, 1000, "0%", "25%", "100%"])
def test_pods_may_be_a_number_or_a_percentage(value):
    assert api.Rollout.model_validate({"maxSurge": value}).max_surge == value
    assert api.Rollout().max_surge == 1


@pytest.mark.parametrize("value", [-1, 1001, "25", "101%", "025%", "-5%", "25 %", "25%\n", True, 1.5, None])
def test_pods_are_nothing_else(value):
    with pytest.raises(InvalidSpec, match=r"spec\.rollout\.maxSurge"):
        api.parse_spec({"versions": [gen.version()], "rollout": {"maxSurge": value}})


@pytest.mark.parametrize("value", ["500m", 1, "1Gi", 2.5])
def test_quantities_may_be_written_as_numbers(value):
    assert api.Resources.model_validate({"limits": {"cpu": value}}).limits == {"cpu": str(value)}
