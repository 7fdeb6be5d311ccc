"""Properties of the pure arithmetic: sharing out pods, and what makes a revision."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gen
from yolo_operator.core import revision
from yolo_operator.core.contract import Artifact
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.resources import job, triton
from yolo_operator.core.rollout.split import split

DIGEST = "c" * 64


@given(st.integers(0, 1000), st.lists(st.integers(0, 100), min_size=1, max_size=10))
def test_shares_add_up_and_nobody_with_a_weight_goes_without(total, weights):
    shares = split(total, weights)
    positive = [weight for weight in weights if weight]
    assert len(shares) == len(weights)
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if weight == 0)
    if total == 0 or not positive:
        assert sum(shares) == 0
        return
    assert all(share >= 1 for share, weight in zip(shares, weights, strict=True) if weight)
    lifted = sum(1 for weight in positive if total * weight < sum(weights))
    assert sum(shares) == max(total, len(positive))
    # What the small ones are lifted by, the large ones give.
    assert all(share == 1 or abs(share - total * weight / sum(weights)) < 1 + lifted for share, weight in zip(shares, weights, strict=True) if weight)


@given(st.integers(10, 1000), st.integers(1, 10))
def test_equal_weights_differ_by_one_at_most(total, count):
    shares = split(total, [1] * count)
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def of(**spec: Any) -> tuple[str, str]:
    """Revision and export key of version 1."""
    resource = gen.yolo(**spec)
    version = resource.spec.versions[0]
    return revision.revision(resource, version, gen.DEFAULTS), revision.export_key(resource, version, gen.DEFAULTS)


BEFORE = of()

EXPORTED_ANEW: list[tuple[str, dict[str, Any]]] = [
    ("the source", {"versions": [gen.version(source={"uri": "s3://weights/other.pt"})]}),
    ("the source's endpoint", {"versions": [gen.version(source={"endpoint": "http://other:8333"})]}),
    ("the digest", {"versions": [gen.version(source={"sha256": DIGEST})]}),
    ("rebuild", {"versions": [gen.version(rebuild="2026-11-22")]}),
    ("the image size", {"versions": [gen.version(export={"imageSize": [320]})]}),
    ("dynamic", {"versions": [gen.version(export={"dynamic": False})]}),
    ("half", {"versions": [gen.version(export={"half": True})]}),
    ("simplify", {"versions": [gen.version(export={"simplify": False})]}),
    ("opset", {"versions": [gen.version(export={"opset": 16})]}),
    ("nms", {"versions": [gen.version(export={"nms": True})]}),
    ("confidence", {"versions": [gen.version(export={"nms": True, "confidence": 0.1})]}),
    ("maxDetections", {"versions": [gen.version(export={"nms": True, "maxDetections": 100})]}),
    ("the inputs' type", {"versions": [gen.version(export={"inputDatatype": "FP16"})]}),
    ("the outputs' type", {"versions": [gen.version(export={"outputDatatype": "FP16"})]}),
    ("the task", {"task": "detect"}),
    ("a calibration", {"versions": [gen.version(export={"calibration": {"pictures": "s3://pictures/a"}})]}),
]
PUBLISHED_ANEW: list[tuple[str, dict[str, Any]]] = [
    ("the model's name", {"modelName": "hat"}),
    ("the number of the version", {"versions": [gen.version(2, source={"uri": "s3://weights/helmet-v1.pt"})]}),
    ("the prefix", {"storage": {"uri": "s3://models/other"}}),
    ("maxBatchSize", {"triton": {"maxBatchSize": 4}}),
    ("the preferred batch sizes", {"triton": {"dynamicBatching": {"preferredBatchSizes": [4]}}}),
    ("the queue's delay", {"triton": {"dynamicBatching": {"maxQueueDelayMicroseconds": 7}}}),
    ("dynamic batching off", {"triton": {"dynamicBatching": {"enabled": False}}}),
    ("instances", {"triton": {"instances": 2}}),
    ("warmup", {"triton": {"warmup": False}}),
    ("TensorRT", {"triton": {"tensorrt": {"enabled": True}}}),
    ("the queue's policy", {"triton": {"dynamicBatching": {"queuePolicy": {"maxQueueSize": 8}}}}),
    ("the memory on the GPU", {"triton": {"gpuMemoryLimit": "4Gi"}}),
    ("parameters of the configuration", {"triton": {"parameters": {"execution_mode": "1"}}}),
    ("no GPU", {"gpu": {"count": 0}}),
]
THE_SAME: list[tuple[str, dict[str, Any]]] = [
    ("Triton's image", {"triton": {"image": "tritonserver:next"}}),
    ("Triton's release", {"triton": {"release": "25.06"}}),
    ("forward compatibility", {"triton": {"forwardCompatibility": True}}),
    ("metrics", {"triton": {"metrics": {"summaryLatencies": True}}}),
    ("tracing", {"triton": {"tracing": {"endpoint": "http://collector:4318/v1/traces"}}}),
    ("replicas", {"replicas": 9}),
    ("a second GPU", {"gpu": {"count": 2}}),
    ("the GPU's name", {"gpu": {"resourceName": "nvidia.com/mig-1g.5gb"}}),
    ("the engine cache", {"triton": {"tensorrt": {"engineCache": {"persistentVolumeClaim": "engines"}}}}),
    ("another version besides", {"versions": [gen.version(1), gen.version(2)]}),
    ("the keys", {"storage": {"secretRef": {"name": "other"}}}),
    ("the source's keys", {"versions": [gen.version(source={"secretRef": {"name": "other"}})]}),
    ("a slash at the end of the prefix", {"storage": {"uri": "s3://models/yolo/"}}),
    ("the build's resources", {"build": {"resources": {"limits": {"memory": "9Gi"}}}}),
    ("the resources of the other Jobs", {"jobs": {"resources": {"limits": {"memory": "2Gi"}}}}),
    ("the encryption", {"storage": {"serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyId": "alias/a"}}}),
    ("the build's timeout", {"build": {"timeout": "1m"}}),
    ("verification", {"rollout": {"verify": {"enabled": False}}}),
    ("a restart", {"restartedAt": "now"}),
    ("NetworkPolicies", {"networkPolicy": {"enabled": True, "storage": [{"cidr": "10.0.0.0/8", "port": 443}]}}),
    ("the model's name said aloud", {"modelName": "helmet"}),
    ("a field of a newer release", {"traffic": {"mode": "Gateway"}}),
]


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in EXPORTED_ANEW])
def test_what_the_onnx_follows_from_makes_a_new_revision_and_exports(spec):
    after = of(**spec)
    assert after[0] != BEFORE[0]
    assert after[1] != BEFORE[1]


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in PUBLISHED_ANEW])
def test_what_the_config_follows_from_makes_a_new_revision_of_the_same_onnx(spec):
    after = of(**spec)
    assert after[0] != BEFORE[0]
    assert after[1] == BEFORE[1]


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in THE_SAME])
def test_all_else_leaves_the_revision_as_it_is(spec):
    assert of(**spec) == BEFORE


def test_a_revision_is_the_same_in_every_release():
    """These change only with a decision to publish every model in every cluster anew."""
    assert BEFORE == ("86aca60c3e", "3a9dd313905652a3")


def test_a_pod_template_is_made_of_the_same_in_every_release():
    """These change only with a decision to restart every pod in every cluster."""
    full = gen.yolo(
        storage={"readSecretRef": {"name": "s3-read"}, "caBundleRef": {"name": "ca"}},
        triton={
            "resources": {"limits": {"memory": "4Gi"}},
            "imagePullSecrets": [{"name": "registry"}],
            "tensorrt": {"engineCache": {"persistentVolumeClaim": "e"}},
        },
        gpu={"count": 2},
        nodeSelector={"gpu": "a10"},
        tolerations=[{"operator": "Exists"}],
        priorityClassName="high",
        restartedAt="now",
    )
    published = Artifact.model_validate(gen.artifact())
    assert [triton.template_inputs(resource, published, gen.DEFAULTS) for resource in (gen.yolo(), full)] == ["85921edbe2", "f4c642fa3e"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({"pictures": "s3://pictures/b"}, False, id="other pictures"),
        pytest.param({"endpoint": "http://other:8333"}, False, id="another server"),
        pytest.param({"minAgreement": 0.5}, False, id="another limit"),
        pytest.param({"secretRef": {"name": "other"}}, True, id="other keys"),
    ],
)
def test_what_of_a_calibration_makes_a_revision(change, same):
    before, after = (of(versions=[gen.version(export={"calibration": {"pictures": "s3://pictures/a"} | more})]) for more in ({}, change))
    assert (after == before) is same


def test_the_credentials_of_the_storage_do_not_go_to_another_server():
    resource = gen.yolo(versions=[gen.version(source={"endpoint": "http://other:8333"})])
    storage = resource.spec.storage
    assert storage is not None
    assert job.source_env(resource.spec.versions[0], storage) == []
    own = job.source_env(gen.yolo().spec.versions[0], storage)
    assert {entry["valueFrom"]["secretKeyRef"]["name"] for entry in own} == {"s3-credentials"}


@pytest.mark.parametrize("uri", ["https://host/a.pt", "hf://org/repo/a.pt@v1"])
def test_credentials_of_a_source_that_is_not_in_s3_go_to_fetch_alone(uri):
    resource = gen.yolo(versions=[gen.version(source={"uri": uri, "secretRef": {"name": "hub"}})])
    made = job.build(resource, resource.spec.versions[0], gen.DEFAULTS)
    named = {part["name"]: {entry["name"] for entry in part["env"]} for part in made["spec"]["template"]["spec"]["initContainers"]}
    assert named["fetch"] == {"SOURCE_TOKEN", "SOURCE_USERNAME", "SOURCE_PASSWORD", "SOURCE_URL"}
    assert named["export"] == set()
    assert "SOURCE_TOKEN" not in named["check"]
    fetch = next(part for part in made["spec"]["template"]["spec"]["initContainers"] if part["name"] == "fetch")
    assert "--secret=hub" in fetch["args"]


def conversion(defaults: Defaults = gen.DEFAULTS, **spec: Any) -> str:
    resource = gen.yolo(**spec)
    return revision.conversion_key(resource, resource.spec.versions[0], defaults)


@pytest.mark.parametrize(
    "spec",
    [
        {"versions": [gen.version(source={"uri": "s3://elsewhere/same.pt", "sha256": DIGEST})]},
        {"versions": [gen.version(rebuild="2026-11-22")]},
        {"triton": {"maxBatchSize": 4}},
        {"modelName": "another"},
    ],
)
def test_the_same_weights_become_the_same_onnx_wherever_they_come_from(spec):
    assert conversion(**spec) == conversion() != ""


def test_and_another_one_where_they_are_exported_otherwise_or_by_whom_the_storage_knows_otherwise():
    ways = [
        conversion(),
        conversion(versions=[gen.version(export={"imageSize": [320]})]),
        conversion(task="detect"),
        conversion(storage={"secretRef": {"name": "another"}}),
        conversion(serviceAccountName="another"),
        conversion(replace(gen.DEFAULTS, exporter_image="example.com/exporter:next")),
    ]
    assert len(set(ways)) == len(ways)


def test_calibrated_onnx_is_shared_with_nobody():
    assert conversion(versions=[gen.version(export={"calibration": {"pictures": "s3://pictures/some"}})]) == ""


def test_what_is_shared_is_no_part_of_a_job_s_name():
    def job_of(defaults: Defaults) -> Any:
        resource = gen.yolo(versions=[gen.version(source={"sha256": DIGEST})])
        return job.build(resource, resource.spec.versions[0], defaults)

    made, next_release = job_of(gen.DEFAULTS), job_of(replace(gen.DEFAULTS, exporter_image="example.com/exporter:next"))
    assert made["metadata"]["name"] == next_release["metadata"]["name"]
    assert job.CONVERSION_FLAG in str(made)
    assert f"{job.DIGEST_FLAG}{DIGEST}" in str(made)
