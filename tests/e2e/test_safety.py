"""Nobody reads another's, a pod with wrong answers never becomes ready, and the operator may be killed at any moment."""

import time
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from e2e import storage as s3
from e2e.cluster import TRITON, Cluster, Manifest, Refused, condition, pod_ready
from e2e.conftest import make_namespace, remove_namespace
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

GATE = "e2e.yolo-operator.io/gate"


def test_two_tenants_neither_sees_the_others(cluster: Cluster, yolo: Callable[..., Manifest], storage: Storage) -> None:
    namespaces = {tenant: make_namespace(cluster, tenant, keys) for tenant, keys in s3.TENANTS.items()}
    other = {"tenant-a": "tenant-b", "tenant-b": "tenant-a"}
    for tenant, namespace in namespaces.items():
        source = storage.put(tenant, "model.onnx.pt", storage.get("weights", "goldmine-detect.pt"))
        place = {"endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}}
        cluster.apply(yolo(namespace, source=source, storage=place | {"uri": f"s3://{tenant}/yolo"}))
        # The neighbour's bucket, as storage and as source: the keys of this namespace do not open it.
        cluster.apply(yolo(namespace, "thief", source=source, storage=place | {"uri": f"s3://{other[tenant]}/yolo"}))
        cluster.apply(yolo(namespace, "reader", source=f"s3://{other[tenant]}/model.onnx.pt", storage=place | {"uri": f"s3://{tenant}/yolo"}))

    for tenant, namespace in namespaces.items():
        cluster.wait_condition(namespace, "thief", "Ready", "False", "StorageAccessDenied")
        cluster.wait_condition(namespace, "reader", "Ready", "False", "SourceAccessDenied")
        cluster.wait_ready(namespace, "model")
        # Earlier runs may have left theirs in the bucket; of this run's two only the owner may be there.
        assert {key.split("/")[1] for key in storage.keys(tenant, "yolo/")} & set(namespaces.values()) == {namespace}
        remove_namespace(cluster, namespace)


@pytest.fixture
def gate(cluster: Cluster) -> Callable[[bool], None]:
    """A label that the node has or has not: Triton pods that ask for it wait until the test has changed what they will load."""
    (node,) = cluster.list("nodes", "default")
    name = node["metadata"]["name"]

    def set_gate(is_open: bool) -> None:
        cluster.kubectl("label", "node", name, f"{GATE}=open" if is_open else f"{GATE}-", "--overwrite")

    set_gate(False)
    return set_gate


def damage(storage: Storage, uri: str, name: str) -> None:
    """Edit the published ONNX: right shapes, other numbers."""
    key = f"{uri.removeprefix('s3://models/')}/{name}/1/model.onnx"
    model = onnx.load_from_string(storage.get("models", key))
    weights = max((t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT), key=lambda t: len(t.raw_data))
    values = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array((values + np.float32(0.05)).astype(np.float32), weights.name))
    storage.put("models", key, model.SerializeToString())


def triton_pods(cluster: Cluster, namespace: str) -> list[Manifest]:
    return cluster.list("pods", namespace, "app.kubernetes.io/component=triton")


@pytest.mark.matrix
def test_wrong_answers_never_get_a_ready_pod(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], storage: Storage, gate: Callable[[bool], None]
) -> None:
    cluster.apply(yolo(namespace, nodeSelector={GATE: "open"}))
    built = cluster.wait_condition(namespace, "model", "Built", "True")
    damage(storage, built["status"]["versions"][0]["artifact"]["uri"], "model")

    gate(True)
    stalled = cluster.wait_condition(namespace, "model", "Stalled", "True", "WrongAnswers")

    assert not any(map(pod_ready, triton_pods(cluster, namespace)))
    assert stalled["status"]["readyReplicas"] == 0
    gate(False)


def test_an_update_to_wrong_answers_leaves_the_old_pods_serving(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], storage: Storage, gate: Callable[[bool], None]
) -> None:
    cluster.apply(yolo(namespace))
    cluster.wait_ready(namespace, "model")
    (old,) = triton_pods(cluster, namespace)

    cluster.patch("yolodeployment", namespace, "model", {"spec": {"nodeSelector": {GATE: "open"}, "triton": {"maxBatchSize": 4}}})
    built = cluster.wait_condition(namespace, "model", "Built", "True")
    damage(storage, built["status"]["versions"][0]["artifact"]["uri"], "model")
    gate(True)
    cluster.wait_condition(namespace, "model", "Stalled", "True", "WrongAnswers")

    ready = [pod["metadata"]["uid"] for pod in triton_pods(cluster, namespace) if pod_ready(pod)]
    assert ready == [old["metadata"]["uid"]]
    # Back to the old spec: it is served again without an interruption.
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"nodeSelector": None, "triton": {"maxBatchSize": 2}}})
    cluster.wait_ready(namespace, "model")
    assert [pod["metadata"]["uid"] for pod in triton_pods(cluster, namespace) if pod_ready(pod)] == [old["metadata"]["uid"]]
    gate(False)


@pytest.mark.matrix
def test_killing_the_operator_again_and_again_leads_to_the_same_end(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], operator: OperatorProcess
) -> None:
    cluster.apply(yolo(namespace, deletionPolicy="Delete"))
    kills = 0
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        operator.kill()
        kills += 1
        operator.start()
        cluster.wait("the operator at work", lambda: operator.is_at_work, 60)
        # Long enough to begin something, too short to see its end; the moments drift through the whole path.
        time.sleep(0.2 + 0.37 * (kills % 5))
        if condition(cluster.yolo(namespace, "model"), "Ready").get("status") == "True":
            break
    status = cluster.wait_ready(namespace, "model")["status"]

    assert kills > 3
    assert status["versions"][0]["phase"] == "Serving"
    assert len(cluster.list("jobs", namespace, "app.kubernetes.io/component=build")) == 1, "a revision was built twice"
    owned = cluster.list("deployments,services,poddisruptionbudgets", namespace, "app.kubernetes.io/managed-by=yolo-operator")
    assert sorted(f"{o['kind']}/{o['metadata']['name']}" for o in owned) == [
        "Deployment/model-v1",
        "PodDisruptionBudget/model-v1",
        "Service/model",
        "Service/model-v1",
    ]
    cluster.kubectl("delete", "yolodeployment", "-n", namespace, "model", "--timeout=90s", timeout=100)


def test_a_name_that_is_taken_is_left_alone_and_said(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest]) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "model", "namespace": namespace},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "mine"}},
    }
    cluster.apply(foreign)
    cluster.apply(yolo(namespace))

    found = cluster.wait_condition(namespace, "model", "Ready", "False", "NameConflict")

    assert "Service 'model'" in next(c["message"] for c in found["status"]["conditions"] if c["type"] == "Ready")
    assert (cluster.get("service", namespace, "model") or {})["spec"]["selector"] == {"app": "mine"}
    cluster.kubectl("delete", "service", "-n", namespace, "model")
    cluster.wait("our own service", lambda: (cluster.get("service", namespace, "model") or {}).get("metadata", {}).get("labels"), 60)


def test_a_jobs_name_that_is_taken_is_left_alone_and_said(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], operator: OperatorProcess) -> None:
    model = yolo(namespace, build={"nodeSelector": {GATE: "nowhere"}})
    cluster.apply(model)
    (ours,) = cluster.wait("the build Job", lambda: cluster.list("jobs", namespace))
    name = ours["metadata"]["name"]
    # A pass that is under way would make its children once more, for Kubernetes to collect.
    operator.stop()
    try:
        cluster.kubectl("delete", "yolodeployment", "-n", namespace, "model")
        cluster.wait("its children to go", lambda: not cluster.list("jobs,services", namespace), 60)
    finally:
        operator.start()
    container = {"name": "mine", "image": TRITON, "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": name, "namespace": namespace}
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"suspend": True, "template": template}}, model)

    found = cluster.wait_condition(namespace, "model", "Ready", "False", "NameConflict")

    assert f"Job '{name}'" in next(c["message"] for c in found["status"]["conditions"] if c["type"] == "Ready")
    cluster.kubectl("delete", "job", "-n", namespace, name)
    cluster.wait("our own Job", lambda: (cluster.get("job", namespace, name) or {}).get("metadata", {}).get("ownerReferences"), 60)


def test_an_unknown_field_is_refused_by_its_name(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest]) -> None:
    with pytest.raises(Refused, match=r'unknown field "spec\.replica"'):
        cluster.apply(yolo(namespace, replica=2))
