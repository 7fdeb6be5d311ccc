"""What serves goes on serving through faults of all that it stands on, and each ends healed by itself.

The whole cluster is real, and so is each fault: a process is stopped or killed, a Service has no endpoint, an object is gone.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from e2e import storage as s3
from e2e.cluster import CACHE, Cluster, Manifest, condition
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.load import Load, record_fault
from e2e.operator_process import OperatorProcess
from e2e.processes import kill, processes_of
from e2e.storage import Storage
from e2e.test_traffic import Served

MATRIX = pytest.mark.matrix
PODS = "app.kubernetes.io/component=triton"


@pytest.fixture(scope="module")
def served(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[Served]:
    """One version on two pods, under load for the whole module."""
    operator.start()
    namespace = make_namespace(cluster, "faults")
    cluster.apply(yolo_deployment(namespace, replicas=2))
    cluster.wait_ready(namespace, "model")
    with Load(cluster.service_ip(namespace, "model"), "model", http=3, grpc=1) as load:
        yield Served(cluster, namespace, load)
    operator.start()
    remove_namespace(cluster, namespace)


@contextlib.contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that neither answer nor end."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def component(name: str) -> list[int]:
    """Process id of a part of the cluster."""
    return [json.loads((CACHE / "state" / "pids" / f"{name}.json").read_text())["pid"]]


@contextlib.contextmanager
def storage_without_endpoints(cluster: Cluster) -> Iterator[None]:
    """The storage refuses every connection."""

    def select(app: str) -> None:
        cluster.patch("service", s3.NAMESPACE, "s3", {"spec": {"selector": {"app": app}}})

    select("nothing")
    try:
        yield
    finally:
        select("s3")


def update(served: Served) -> None:
    """Publish and roll out anew: nothing that has been built is of use."""
    found = served.cluster.yolo(served.namespace, "model")["spec"]["triton"]["maxBatchSize"]
    served.edit(triton={"maxBatchSize": found % 8 + 1})


def pods(served: Served) -> list[Manifest]:
    return [pod for pod in served.cluster.list("pods", served.namespace, PODS) if "deletionTimestamp" not in pod["metadata"]]


# Faults. Each returns when its fault is taken back.


def storage_refuses(served: Served, operator: OperatorProcess, after: float) -> None:
    update(served)
    time.sleep(after)
    with storage_without_endpoints(served.cluster):
        time.sleep(20)


def storage_never_answers(served: Served, operator: OperatorProcess) -> None:
    (pod,) = [pod for pod in served.cluster.list("pods", s3.NAMESPACE) if "deletionTimestamp" not in pod["metadata"]]
    update(served)
    time.sleep(2)
    # Its Pod is not ready meanwhile, but stays: what is stored lives in it.
    with stopped(processes_of(pod)):
        time.sleep(40)


def api_server_frozen(served: Served, operator: OperatorProcess) -> None:
    """Nothing is lost meanwhile. When it is back, Kubernetes may take the node for silent before its kubelet has come round to reporting."""
    update(served)
    time.sleep(3)
    before = served.load.so_far()
    with stopped(component("kube-apiserver")):
        time.sleep(60)
        assert served.load.so_far().since(before).failures == []


def no_operator_and_a_pod_is_lost(served: Served, operator: OperatorProcess) -> None:
    """The Deployment's new pod waits at its gate until there is an operator again."""
    operator.kill()
    try:
        gone = pods(served)[0]["metadata"]["name"]
        served.cluster.kubectl("delete", "pod", "-n", served.namespace, gone, "--wait=false")

        def states() -> list[tuple[str, str]]:
            found = [{c["type"]: c["status"] for c in pod["status"].get("conditions", ())} for pod in pods(served)]
            return sorted((each.get("ContainersReady", ""), each.get("Ready", "")) for each in found)

        def waits() -> bool:
            return states() == [("True", "False"), ("True", "True")]

        served.cluster.wait("a pod at its gate", waits, 150, lambda: str(states()))
        time.sleep(10)
        assert waits(), "it waits for as long as there is no operator"
    finally:
        operator.start()


def build_job_deleted(served: Served, operator: OperatorProcess) -> None:
    before = {job["metadata"]["uid"] for job in jobs(served)}
    update(served)
    served.cluster.wait("the build Job", lambda: {job["metadata"]["uid"] for job in jobs(served)} - before, 30)
    served.cluster.kubectl("delete", "jobs", "-n", served.namespace, "-l", "app.kubernetes.io/component=build")


def finished_jobs_removed(served: Served, operator: OperatorProcess) -> None:
    """As at the end of their time to live: nothing is done again."""
    served.cluster.wait("the end of all Jobs", lambda: all(condition(job, "Complete") for job in jobs(served)), 60)
    time.sleep(5)  # one that only tidies up is removed by itself
    served.cluster.kubectl("delete", "jobs", "-n", served.namespace, "--all")
    time.sleep(10)
    assert jobs(served) == []


def jobs(served: Served) -> list[Manifest]:
    return served.cluster.list("jobs", served.namespace)


def keys_wrong_for_a_while(served: Served, operator: OperatorProcess) -> None:
    wrong = s3.secret(served.namespace, keys=("admin-key", "another-secret"))
    served.cluster.apply(wrong)
    update(served)
    served.waits("StorageAccessDenied")
    served.cluster.apply(s3.secret(served.namespace))


def build_pod_evicted(served: Served, operator: OperatorProcess) -> None:
    """As by a drain of its node."""
    before = {pod["metadata"]["name"] for pod in builders(served)}
    update(served)
    name = served.cluster.wait("the build Pod", lambda: {pod["metadata"]["name"] for pod in builders(served)} - before, 30).pop()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": served.namespace}}
    served.cluster.kubectl("create", "--raw", f"/api/v1/namespaces/{served.namespace}/pods/{name}/eviction", "-f", "-", text=json.dumps(eviction))


def builders(served: Served) -> list[Manifest]:
    return served.cluster.list("pods", served.namespace, "app.kubernetes.io/component=build")


def image_gone(served: Served, operator: OperatorProcess) -> None:
    served.edit(triton={"image": "docker.io/yolo-operator/no-such:1"})
    served.waits("ImagePullFailed")
    served.edit(triton={"image": None})


def too_little_memory(served: Served, operator: OperatorProcess) -> None:
    """The kernel kills an update's Triton at its limit, again and again."""
    small = {"memory": "48Mi"}
    served.edit(triton={"resources": {"requests": small, "limits": small}})
    served.waits("OutOfMemory")
    served.edit(triton={"resources": {"requests": {"memory": "256Mi"}, "limits": None}})


def triton_killed(served: Served, operator: OperatorProcess) -> None:
    """As by the kernel when the node's memory runs out."""
    victim = pods(served)[0]
    kill(victim)
    served.cluster.wait("the kubelet's restart of the container", lambda: has_restarted(served, victim), 60)


def triton_crash_loops(served: Served, operator: OperatorProcess) -> None:
    """Killed until the kubelet waits before it starts it once more."""
    victim = pods(served)[0]
    for _ in range(3):
        served.cluster.wait("Triton's process", lambda: processes_of(victim), 60)
        kill(victim)
        served.cluster.wait("its end", lambda: not processes_of(victim), 20)
    served.waits("TritonCrashed")


def node_silent(served: Served, operator: OperatorProcess) -> None:
    """The kubelet of the only node stops reporting: no Service has an endpoint then."""
    (node,) = served.cluster.list("nodes", "default")
    with stopped(component("kubelet")):
        told = served.waits("NodeNotReady")
        assert f"Node {node['metadata']['name']!r} has stopped reporting" in condition({"status": told}, "Ready")["message"]
        time.sleep(10)


def triton_hangs(served: Served, operator: OperatorProcess) -> None:
    """It holds its port and its connections and answers nothing, until the kubelet ends it."""
    victim = pods(served)[0]
    with stopped(processes_of(victim)):
        served.cluster.wait("the kubelet's restart of the container", lambda: has_restarted(served, victim), 180)


def has_restarted(served: Served, pod: Manifest) -> bool:
    """Whether a container of the Pod has been started anew since, or the Pod is gone."""
    found = served.cluster.get("pod", served.namespace, pod["metadata"]["name"])
    return found is None or restarts(found) > restarts(pod)


def restarts(pod: Manifest) -> int:
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))


Fault = Callable[[Served, OperatorProcess], None]
HARMLESS: dict[str, Fault] = {
    "the storage refuses connections 1 s into an update": lambda served, operator: storage_refuses(served, operator, 1),
    "the storage refuses connections 5 s into an update": lambda served, operator: storage_refuses(served, operator, 5),
    "the storage refuses connections 12 s into an update": lambda served, operator: storage_refuses(served, operator, 12),
    "the storage accepts connections and never answers, for 40 s": storage_never_answers,
    "there is no operator while a pod is replaced": no_operator_and_a_pod_is_lost,
    "the build Job is deleted by hand": build_job_deleted,
    "the build Job's Pod is evicted": build_pod_evicted,
    "all finished Jobs are removed": finished_jobs_removed,
    "the storage's keys are wrong for a while": keys_wrong_for_a_while,
    "an update's image is not there": image_gone,
    "an update's Triton is killed for lack of memory": too_little_memory,
}
FELT: dict[str, Fault] = {
    "Triton is killed in one of two pods": triton_killed,
    "Triton is killed in one of two pods, again and again": triton_crash_loops,
    "Triton hangs in one of two pods": triton_hangs,
    "the API server answers nothing for 60 s, during an update": api_server_frozen,
    "the only node is silent": node_silent,
}
"""A request that such a pod has, or gets before it leaves the endpoints, is lost, and so is one while the only node counts as silent: clients must try again."""


@MATRIX
@pytest.mark.parametrize("fault", [*HARMLESS, *FELT])
def test_what_serves_goes_on_and_all_heals(fault: str, served: Served, operator: OperatorProcess, record_property: Callable[[str, str], None]) -> None:
    asked = served.load.so_far()
    (HARMLESS | FELT)[fault](served, operator)
    healed = time.monotonic()

    def settled() -> bool:
        found = served.cluster.yolo(served.namespace, "model")
        ready = condition(found, "Ready")
        there = [pod for pod in pods(served) if all(status.get("ready") for status in pod["status"].get("containerStatuses", [{}]))]
        return ready["status"] == "True" and ready["observedGeneration"] == found["metadata"]["generation"] and len(there) == len(pods(served)) == 2

    served.cluster.wait("everything as it should be", settled, 300, lambda: str(condition(served.cluster.yolo(served.namespace, "model"), "Ready")))
    seconds = time.monotonic() - healed
    tally = served.load.so_far().since(asked)
    assert tally.answers.total() > 50
    if fault in HARMLESS:
        assert tally.failures == []
    record_fault(record_property, fault, f"{len(tally.failures)} of {len(tally.failures) + tally.answers.total()}", seconds)
