"""Nodes that are drained, replaced, or without power: what serves goes on, and what ran there runs elsewhere."""

import time
from collections.abc import Callable, Iterator

import pytest

from e2e import bad_weights
from e2e.cluster import CACHE, Cluster, Manifest, condition, pod_ready
from e2e.conftest import GPU, make_namespace, remove_namespace, yolo_deployment
from e2e.load import Load, record_fault
from e2e.nodes import ON_POOL, Nodes, pool
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage
from e2e.test_traffic import Served

MATRIX = pytest.mark.matrix
ONE_GPU: Manifest = {"maxBatchSize": 2, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {GPU: "1"}}}


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Nodes]:
    """Two machines with a GPU each."""
    if not (CACHE / "state" / "network-namespace").exists():
        pytest.skip("kind has the nodes of kind-config.yaml and no others")
    with pool(cluster) as found:
        found.add("pool-a", "pool-b")
        yield found


@pytest.fixture
def served(cluster: Cluster, storage: Storage, operator: OperatorProcess, nodes: Nodes) -> Iterator[Served]:
    """A model with a pod on each of them, under load."""
    operator.start()
    namespace = make_namespace(cluster, "nodes")
    source = storage.put("weights", "nodes/small.onnx", bad_weights.detector(["helmet"]))
    cluster.apply(yolo_deployment(namespace, source=source, replicas=2, triton=ONE_GPU, **ON_POOL))
    cluster.wait_ready(namespace, "model")
    with Load(cluster.service_ip(namespace, "model"), "model") as load:
        found = Served(cluster, namespace, load)
        assert on(found) == {"pool-a", "pool-b"}
        yield found
    remove_namespace(cluster, namespace)


def triton_pods(served: Served) -> list[Manifest]:
    """Those that are ready."""
    return [pod for pod in served.cluster.list("pods", served.namespace, "app.kubernetes.io/component=triton") if pod_ready(pod)]


def on(served: Served) -> set[str]:
    """The nodes that ready pods are on."""
    return {pod["spec"]["nodeName"] for pod in triton_pods(served)}


def runs_on(served: Served, *nodes: str, timeout: float = 180) -> None:
    """Wait until a pod is ready on each of them, and the resource is."""
    served.cluster.wait(
        f"pods on {nodes}", lambda: on(served) == set(nodes), timeout, lambda: str(served.cluster.yolo(served.namespace, "model").get("status"))
    )
    served.ready()


@MATRIX
def test_a_pool_is_replaced_node_by_node(served: Served, nodes: Nodes, record_property: Callable[[str, object], None]) -> None:
    """As upgrades of node pools and Karpenter do it: a new machine, the old one drained and given back."""
    for old, new, other in (("pool-a", "pool-c", "pool-b"), ("pool-b", "pool-d", "pool-c")):
        nodes.add(new)
        nodes.drain(old)
        nodes.remove(old)
        runs_on(served, new, other)
    tally = served.load.so_far()
    assert tally.failures == []
    assert tally.answers.total() > 100
    record_fault(record_property, "both nodes of a pool are drained and replaced, one after the other", f"0 of {tally.answers.total()}")


@MATRIX
def test_a_spot_node_goes_after_its_notice(served: Served, nodes: Nodes, record_property: Callable[[str, object], None]) -> None:
    """What a termination handler does with the two minutes: cordon, drain. No other GPU is free; the model goes on with one pod."""
    nodes.drain("pool-a")
    nodes.off("pool-a")
    nodes.remove("pool-a")
    message = condition(served.cluster.wait_condition(served.namespace, "model", "Ready", "False", "InsufficientGPU"), "Ready")["message"]
    assert GPU in message
    began = time.monotonic()
    nodes.add("pool-c")
    runs_on(served, "pool-b", "pool-c")
    tally = served.load.so_far()
    assert tally.failures == []
    record_fault(record_property, "a spot node is drained and goes, and another comes later", f"0 of {tally.answers.total()}", time.monotonic() - began)


@MATRIX
def test_a_node_loses_its_power(served: Served, nodes: Nodes, record_property: Callable[[str, object], None]) -> None:
    """Its own requests are lost until Kubernetes takes it for silent; then the other pod has all, and the status says which node it is."""
    before = served.load.so_far()
    began = time.monotonic()
    nodes.off("pool-a")
    message = condition(served.cluster.wait_condition(served.namespace, "model", "Ready", "False", "NodeNotReady"), "Ready")["message"]
    silent = time.monotonic() - began
    assert "pool-a" in message
    time.sleep(45)  # a connection that was begun just before ends by its time limit of 20 s, and gRPC tries as long to make one
    # For two minutes the client's kernel sends a connection that has the port of one that hangs where that one went (conntrack).
    later = served.load.during(20)
    assert len(later.failures) <= later.answers.total() / 100, later
    lost = served.load.so_far().since(before)
    print(f"silent after {silent:.0f} s; {lost}")
    nodes.remove("pool-a")
    nodes.add("pool-c")
    runs_on(served, "pool-b", "pool-c")
    record_fault(record_property, "a node loses its power", f"{len(lost.failures)} of {lost.answers.total() + len(lost.failures)}", silent)


SOON = [{"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10} for state in ("unreachable", "not-ready")]
"""Instead of the five minutes that Kubernetes leaves the pods of a silent node where they are."""


@pytest.fixture
def only_the_pool(cluster: Cluster, nodes: Nodes) -> Iterator[Callable[[], None]]:
    """No other node takes new pods, until what is given is called."""
    first = next(name for node in cluster.list("nodes", "default") if (name := node["metadata"]["name"]) not in nodes.names)

    def uncordon() -> None:
        cluster.kubectl("uncordon", first)

    cluster.kubectl("cordon", first)
    yield uncordon
    uncordon()


@MATRIX
def test_a_job_whose_node_loses_its_power_runs_elsewhere(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], storage: Storage, nodes: Nodes, only_the_pool: Callable[[], None]
) -> None:
    """Its Pod would never end, for there is nobody to say so, and the Job waits for that."""
    source = storage.put("weights", "nodes/small.onnx", bad_weights.detector(["helmet"]))
    jobs = {"tolerations": [*ON_POOL["tolerations"], *SOON]}
    cluster.apply(yolo(namespace, source=source, jobs=jobs))

    def on_pool() -> str:
        """The node of the build's Pod, once it waits for the exporter's image, which is not there."""
        for pod in cluster.list("pods", namespace, "app.kubernetes.io/component=build"):
            if any(
                status["name"] == "export" and "ImagePull" in status["state"].get("waiting", {}).get("reason", "")
                for status in pod["status"].get("initContainerStatuses", ())
            ):
                return str(pod["spec"]["nodeName"])
        return ""

    node = cluster.wait("a build on the pool", on_pool, 60)
    nodes.off(node)
    only_the_pool()
    message = condition(cluster.wait_condition(namespace, "model", "Ready", "False", "NodeNotReady", timeout=120), "Ready")["message"]
    assert node in message
    cluster.wait_ready(namespace, "model")
