"""Conditions and the status as it goes over the wire."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gen
from simulation import Simulation
from yolo_operator.core import api, clock, conditions, status
from yolo_operator.core.errors import InvalidSpec, Unavailable


def make(previous: list[api.Condition], *, value: bool, reason: str = "Reason", seconds: int = 0) -> api.Condition:
    now = gen.T0 + timedelta(seconds=seconds)
    return conditions.make(previous, "Ready", status=value, reason=reason, message="", generation=2, now=now)


def test_the_transition_time_moves_only_when_the_status_flips():
    first = make([], value=False)
    same = make([first], value=False, reason="Other", seconds=60)
    assert (same.last_transition_time, same.reason) == (first.last_transition_time, "Other")
    flipped = make([same], value=True, seconds=120)
    assert flipped.last_transition_time == clock.text(gen.T0 + timedelta(seconds=120))


def test_a_message_is_never_longer_than_the_schema_allows():
    assert len(conditions.make([], "Ready", status=True, reason="A", message="x" * 9000, generation=1, now=gen.T0).message) == 8192


def test_conditions_keep_their_transition_time_from_pass_to_pass():
    cluster = Simulation()
    cluster.reconcile()
    before = {c.type: c.last_transition_time for c in cluster.plan.status.conditions}
    cluster.later(3600)
    cluster.reconcile()
    assert {c.type: c.last_transition_time for c in cluster.plan.status.conditions} == before


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="one version"),
        pytest.param({"replicas": 4, "versions": [gen.version(1), gen.version(2)]}, id="two versions"),
        pytest.param({"rollout": {"verify": {"enabled": False}}}, id="not verified"),
        pytest.param({"replicas": 0}, id="scaled to zero"),
    ],
)
def test_a_status_is_read_back_as_it_was_written(spec):
    cluster = Simulation(**spec)
    cluster.run()
    written = cluster.plan.status
    wire = written.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert api.parse_status(wire) == written
    assert api.parse_status(wire).model_dump(mode="json", by_alias=True, exclude_none=True) == wire


def test_failures_are_read_back_too():
    cluster = Simulation()
    cluster.reconcile()
    cluster.end_job("build", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    cluster.reconcile()
    written = cluster.plan.status
    assert api.parse_status(written.model_dump(mode="json", by_alias=True, exclude_none=True)) == written


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6), st.integers(0, 300))
def test_verified_templates_are_read_back(iou, difference, latency, detections):
    entry = {"podTemplateHash": "abc", "time": clock.text(gen.T0)} | gen.verification(
        worstIoU=iou, worstScoreDifference=difference, latencyMilliseconds=latency, detections=detections
    )
    read = api.parse_status({"versions": [{"version": 1, "verified": [entry]}]})
    assert read.versions[0].verified[0].model_dump(by_alias=True) == entry


@pytest.mark.parametrize("wire", [{"versions": "none"}, {"conditions": [{"type": 7}]}, {"replicas": "many"}])
def test_a_status_that_cannot_be_read_counts_as_absent(wire):
    assert api.parse_status(wire) == api.Status()


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param({"observedGeneration": 3, "traffic": {}}, id="at the top"),
        pytest.param({"observedGeneration": 3, "versions": [{"version": 1, "weight": 90}]}, id="of a version"),
        pytest.param({"observedGeneration": 3, "versions": [{"version": 1, "artifact": gen.artifact() | {"signature": "…"}}]}, id="of an artifact"),
        pytest.param(
            {"observedGeneration": 3, "versions": [{"version": 1, "verified": [gen.verification(future=1) | {"podTemplateHash": "a", "time": ""}]}]},
            id="of a verification",
        ),
    ],
)
def test_fields_that_a_newer_release_wrote_are_read_over(wire):
    assert api.parse_status(wire).observed_generation == 3


@pytest.mark.parametrize(
    ("error", "stalled"),
    [
        pytest.param(InvalidSpec("StorageMissing", "spec.storage is not set"), True, id="only an edit helps"),
        pytest.param(Unavailable("NameConflict", "Service 'helmet' is not ours"), False, id="the cluster must cure it"),
    ],
)
def test_an_error_is_told_and_what_was_known_stays(error, stalled):
    cluster = Simulation()
    cluster.run()
    told = status.failed(cluster.yolo, error, cluster.now)
    found = {c.type: (c.status, c.reason) for c in told.conditions}
    assert found["Ready"] == ("False", error.reason)
    assert found["Stalled"] == (("True", error.reason) if stalled else ("False", "NotStalled"))
    assert found["Reconciling"] == (("False", "Stalled") if stalled else ("True", error.reason))
    assert found["Built"] == ("True", "Published")
    assert told.versions == cluster.yolo.status.versions


def test_exactly_one_of_ready_reconciling_and_stalled_is_true():
    cluster = Simulation()
    for _ in range(3):
        cluster.reconcile()
        assert sum(conditions.is_true(cluster.plan.status.conditions, kind) for kind in ("Ready", "Reconciling", "Stalled")) == 1
    cluster.run()
    assert [kind for kind in ("Ready", "Reconciling", "Stalled") if conditions.is_true(cluster.plan.status.conditions, kind)] == ["Ready"]


def test_urls_are_those_of_the_service():
    cluster = Simulation(modelName="hat")
    cluster.reconcile()
    assert cluster.plan.status.url == "http://helmet.factory.svc:8000/hat"
    assert cluster.plan.status.grpc_url == "grpc://helmet.factory.svc:8001/hat"


def test_a_time_that_cannot_be_read_is_long_ago():
    assert clock.parse("yesterday").year == 1970
    assert clock.parse(clock.text(gen.T0)) == gen.T0


LARGE, ONNX = {"maxBatchSize": 32}, [gen.version(source={"uri": "s3://weights/helmet.onnx"})]


@pytest.mark.parametrize(
    ("spec", "release", "words"),
    [
        pytest.param({}, "25.08", "", id="the tag says it"),
        pytest.param({"triton": {"image": "triton:prod"}}, "", "", id="nobody says it, and nothing needs it"),
        pytest.param({"triton": LARGE | {"image": "triton:prod"}}, "", "above 64 MiB", id="large requests"),
        pytest.param({"triton": {"image": "triton:prod"}, "versions": ONNX}, "", "too new", id="an ONNX made elsewhere"),
        pytest.param({"triton": {"image": "triton:prod", "tensorrt": {"enabled": True}}}, "", "TensorRT", id="TensorRT"),
        pytest.param({"triton": LARGE | {"image": "triton:prod", "release": "25.06"}, "versions": ONNX}, "25.06", "", id="the spec says it"),
    ],
)
def test_an_image_whose_release_nobody_says_is_ready_and_says_what_is_left_undone(spec, release, words):
    cluster = Simulation(**spec)
    cluster.run()
    ready = next(condition for condition in cluster.plan.status.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason, cluster.plan.status.triton_release) == ("True", "Serving", release)
    assert ready.message.startswith(status.SERVES)
    assert (words in ready.message and "spec.triton.release" in ready.message) if words else ready.message == status.SERVES
