"""A version that is wrong loses its traffic within one analysis, whatever it is that is wrong; one that is right goes on."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e import altered
from e2e.cluster import Cluster, Manifest, pod_ready
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.load import Load
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

MATRIX = pytest.mark.matrix
STABLE: Manifest = {"version": 1, "source": {"uri": "s3://weights/goldmine-detect.pt"}}
STEPS = [{"weight": 50, "duration": "15s"}]
WATCHED_SECONDS = 20
"""Longer than the step: by then it would have had its traffic."""


@pytest.fixture(scope="module")
def stable(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[tuple[str, Load, bytes]]:
    """Version 1 serves under load, of which a twentieth is what `altered.failing` cannot answer; the namespace and version 1's ONNX."""
    operator.start()
    namespace = make_namespace(cluster, "analysis")
    # Batches of four, which altered.small_batches cannot answer when Triton warms it up; a check of the ONNX by itself asks two at a time.
    triton = {"maxBatchSize": 4, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}}
    rollout = {"strategy": "Canary", "steps": STEPS, "analysis": {"minRequests": 20}}
    cluster.apply(yolo_deployment(namespace, versions=[STABLE], rollout=rollout, triton=triton, pictures={"enabled": True}))
    status = cluster.wait_ready(namespace, "model")["status"]
    published = status["versions"][0]["artifact"]["uri"].removeprefix("s3://models/")
    with Load(cluster.service_ip(namespace, "model"), "model", http=6, grpc=0, poison=0.1) as load:
        yield namespace, load, storage.get("models", f"{published}/model/1/model.onnx")
    remove_namespace(cluster, namespace)


def begin(cluster: Cluster, storage: Storage, namespace: str, number: int, model: bytes) -> None:
    """Declare a version of that ONNX, the newest, beside version 1."""
    uri = storage.put("weights", f"{namespace}/{number}.onnx", model)
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"versions": [STABLE, {"version": number, "source": {"uri": uri}}]}})


WRONG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "finds nothing any more": (altered.blind, "maxDetectionsRatio"),
    "answers with errors": (altered.failing, "maxErrorRate"),
    "finds everything everywhere": (altered.seeing_everywhere, "maxDetectionsRatio"),
    "is many times slower": (altered.slow, "maxLatencyRatio"),
}


@pytest.mark.parametrize("what", [pytest.param(name, marks=MATRIX if i else ()) for i, name in enumerate(WRONG)])
def test_a_wrong_version_loses_its_traffic_within_one_analysis(
    what: str, cluster: Cluster, storage: Storage, stable: tuple[str, Load, bytes], request: pytest.FixtureRequest
) -> None:
    namespace, load, model = stable
    alter, field = WRONG[what]
    number = 10 + list(WRONG).index(what)
    begin(cluster, storage, namespace, number, alter(model))
    status = cluster.wait_condition(namespace, "model", "Stalled", "True", "AnalysisFailed")["status"]
    (found,) = status["rollout"]["analyses"]
    assert found["verdict"] == "Fail"
    assert f"spec.rollout.analysis.{field}" in found["message"]
    assert ("model-pictures: " in found["message"]) == (field == "maxDetectionsRatio"), "files were shown to both"
    assert found["requests"] >= 20, "it had traffic until then"
    assert status["rollout"]["stable"] == 1
    cluster.wait("no pod of the wrong version", lambda: not pods(cluster, namespace, number), 60)
    assert load.during(3).failures == [], "the stable version answers everything again"


def pods(cluster: Cluster, namespace: str, version: int) -> list[Manifest]:
    return cluster.list("pods", namespace, f"app.kubernetes.io/component=triton,yolo-operator.io/version={version}")


NEVER: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "weights that do not load": (altered.truncated, "InvalidOnnx"),
    "a Triton that never gets ready": (altered.small_batches, "TritonCrashed"),
}


@MATRIX
@pytest.mark.parametrize("what", NEVER)
def test_a_version_that_cannot_serve_never_has_traffic(what: str, cluster: Cluster, storage: Storage, stable: tuple[str, Load, bytes]) -> None:
    namespace, load, model = stable
    alter, reason = NEVER[what]
    number = 30 + list(NEVER).index(what)
    before = pods(cluster, namespace, 1)
    asked = load.so_far()
    begin(cluster, storage, namespace, number, alter(model))
    cluster.wait_condition(namespace, "model", "Ready", "False", reason)
    time.sleep(WATCHED_SECONDS)
    rollout = cluster.yolo(namespace, "model")["status"]["rollout"]
    assert (rollout["stable"], rollout["routed"], rollout["step"]) == (1, 0, 1)
    assert not any(map(pod_ready, pods(cluster, namespace, number)))
    assert {pod["metadata"]["uid"] for pod in pods(cluster, namespace, 1)} == {pod["metadata"]["uid"] for pod in before}
    tally = load.so_far().since(asked)
    assert tally.failures == []
    assert tally.answers.keys() == {1}
    # What replaces it needs no other cure.
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"versions": [STABLE]}})
    cluster.wait_ready(namespace, "model")
    cluster.wait("no pod of the wrong version", lambda: not pods(cluster, namespace, number), 60)


@MATRIX
def test_a_right_version_passes_every_step(cluster: Cluster, storage: Storage, stable: tuple[str, Load, bytes]) -> None:
    namespace, _, model = stable
    begin(cluster, storage, namespace, 20, model)
    status: Any = cluster.wait_ready(namespace, "model")["status"]
    assert status["rollout"]["stable"] == 20
    (found,) = status["rollout"]["analyses"]
    assert (found["verdict"], found["agreement"], found["classDistance"]) == ("Pass", 1.0, 0.0)
    assert found["errorRate"] == 0.0
    assert found["requests"] >= 20
