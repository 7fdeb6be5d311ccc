"""All GPUs are taken: an update ends all the same, what does not fit waits and costs nothing, and a failure goes back by itself."""

import time
from collections.abc import Callable

import pytest

from e2e.cluster import Cluster, Manifest, pod_ready
from e2e.conftest import WITH_GPU
from e2e.storage import Storage
from e2e.test_safety import GATE, damage, gate, triton_pods

__all__ = ["gate"]


def ready_pods(cluster: Cluster, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in triton_pods(cluster, namespace) if pod_ready(pod)}


def fewest_ready_until_ready(cluster: Cluster, namespace: str, timeout: float = 240) -> int:
    """Wait for Ready; the least number of ready pods that was seen meanwhile."""
    fewest = 1000
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        fewest = min(fewest, len(ready_pods(cluster, namespace)))
        yolo = cluster.yolo(namespace, "model")
        (ready,) = (c for c in yolo["status"]["conditions"] if c["type"] == "Ready")
        if ready["status"] == "True" and ready["observedGeneration"] == yolo["metadata"]["generation"]:
            return fewest
        time.sleep(0.3)
    raise AssertionError(f"not Ready in {timeout} s: {ready}")


@pytest.mark.matrix
def test_an_update_of_all_gpus_makes_room_one_pod_at_a_time(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], gpus: Callable[[int], None]
) -> None:
    gpus(2)
    cluster.apply(yolo(namespace, replicas=2, triton=WITH_GPU, rollout={"surgeTimeout": "5s"}))
    cluster.wait_ready(namespace, "model")
    old = ready_pods(cluster, namespace)
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"restartedAt": "now"}})
    cluster.wait_condition(namespace, "model", "Ready", "False", "InsufficientGPU")
    assert fewest_ready_until_ready(cluster, namespace) == 1
    assert not old & ready_pods(cluster, namespace)
    strategy = (cluster.get("deployment", namespace, "model-v1") or {})["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}, "the next update begins with a surge again"


@pytest.mark.matrix
def test_what_does_not_fit_waits_and_goes_on_without_a_nudge(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], gpus: Callable[[int], None]
) -> None:
    gpus(1)
    versions = [{"version": number, "source": {"uri": "s3://weights/goldmine-detect.pt"}, "weight": 50} for number in (1, 2)]
    cluster.apply(yolo(namespace, versions=versions[:1], triton=WITH_GPU, rollout={"surgeTimeout": "1s"}))
    cluster.wait_ready(namespace, "model")
    (old,) = ready_pods(cluster, namespace)

    # The only pod is not given up for its own successor, before the user says so.
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"restartedAt": "now"}})
    waiting = cluster.wait_condition(namespace, "model", "Ready", "False", "InsufficientGPU")
    time.sleep(5)
    assert ready_pods(cluster, namespace) == {old}
    assert "spec.rollout.gpu" in next(c["message"] for c in waiting["status"]["conditions"] if c["type"] == "Ready")
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"rollout": {"gpu": "InPlace"}}})
    cluster.wait_ready(namespace, "model")
    (now,) = ready_pods(cluster, namespace)
    assert now != old

    # Another version waits as long as it has to, and gets ready as soon as there is a GPU.
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"versions": versions, "replicas": 2, "rollout": {"gpu": "Auto"}}})
    cluster.wait_condition(namespace, "model", "Ready", "False", "InsufficientGPU")
    assert ready_pods(cluster, namespace) == {now}
    gpus(2)
    cluster.wait_ready(namespace, "model")
    assert now in ready_pods(cluster, namespace)


@pytest.mark.matrix
def test_a_replacement_in_place_that_answers_wrongly_goes_back(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], storage: Storage, gpus: Callable[[int], None], gate: Callable[[bool], None]
) -> None:
    gpus(2)
    cluster.apply(yolo(namespace, replicas=2, triton=WITH_GPU, rollout={"gpu": "InPlace"}))
    cluster.wait_ready(namespace, "model")
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"nodeSelector": {GATE: "open"}, "triton": {"maxBatchSize": 4}}})
    built = cluster.wait_condition(namespace, "model", "Built", "True")
    damage(storage, built["status"]["versions"][0]["artifact"]["uri"], "model")
    gate(True)
    stalled = cluster.wait_condition(namespace, "model", "Stalled", "True", "WrongAnswers")
    cluster.wait("both pods of the verified revision", lambda: len(ready_pods(cluster, namespace)) == 2, 90)
    assert stalled["status"]["versions"][0]["rolledBack"]["reason"] == "WrongAnswers"
    revisions = {pod["metadata"]["labels"]["yolo-operator.io/revision"] for pod in triton_pods(cluster, namespace) if pod_ready(pod)}
    assert revisions != {stalled["status"]["versions"][0]["revision"]}
    gate(False)
