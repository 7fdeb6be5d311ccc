"""Several models in one Triton, each under load: one comes, changes, fails or goes, and nobody else's request is lost, nor its own."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import bad_weights
from e2e.cluster import PICTURES, WEIGHTS, Cluster, Manifest, Refused, condition
from e2e.line import SERVER, Line, factory, server_of
from e2e.load import Load, record_fault
from e2e.operator_process import OperatorProcess
from e2e.processes import command_of, processes_of
from e2e.storage import Storage
from e2e.test_faults import storage_without_endpoints
from e2e.twenty import serve, size_of, sources

MATRIX = pytest.mark.matrix
SCRIPT = Path(__file__).with_name("detections_of.py")
SMALL = "s3://weights/one-class.onnx"
LARGE = "s3://weights/six-classes.onnx"
"""Detectors whose answers differ by the number of classes: Load counts them as 1 and 2."""


@pytest.fixture(scope="module")
def line(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[Line]:
    """A server of two pods on the CPU with two models, under load for the whole module."""
    storage.put("weights", SMALL.rpartition("/")[2], bad_weights.detector(["helmet"]))
    storage.put("weights", LARGE.rpartition("/")[2], bad_weights.detector([f"class {number}" for number in range(6)]))
    with factory(cluster, operator, "many-models") as namespace, contextlib.ExitStack() as loads:
        cluster.apply(server_of(namespace))
        made = Line(cluster, namespace, loads)
        made.add("helmet", SMALL, traffic={"allowIncompatible": True})
        made.add("forklift", LARGE)
        for name in ("helmet", "forklift"):
            made.ready(name)
            made.ask(name)
        yield made


@pytest.fixture
def nothing_lost(line: Line) -> Iterator[None]:
    """Whatever a test does, no request of any model fails meanwhile, and Triton is not restarted."""
    before, runs = line.counted(), line.runs()
    yield
    for name, load in line.asked.items():
        tally = load.so_far().since(before[name]) if name in before else load.so_far()
        assert tally.failures == [], name
        assert tally.answers.total() > 50, name
    assert line.runs() == runs


def test_the_columns_say_what_it_serves(line: Line) -> None:
    line.server_is("Serving")
    name, ready, models, memory, replicas, _ = line.shown()
    assert (name, ready, models, replicas) == (SERVER, "True", "2/2", "2/2")
    used, _, budget = memory.partition("/")
    assert budget == "2Gi"
    assert 0 < float(used) < 2
    listed = {each["deployment"]: each for each in line.server()["status"]["models"]}
    assert {name: (each["phase"], each["pods"]) for name, each in listed.items()} == {"helmet": ("Serving", 2), "forklift": ("Serving", 2)}
    assert all(each["memoryBytes"] > 1 << 20 for each in listed.values()), "each has a process of its own here"


def test_a_model_comes_changes_fails_and_goes(line: Line, nothing_lost: None) -> None:
    """The new one has other classes, so that the answers tell when it has taken over."""
    before = line.ready("helmet")["shared"]["serving"]
    line.edit("helmet", versions=[{"version": 2, "source": {"uri": LARGE}}])
    assert line.ready("helmet")["shared"]["serving"] != before
    line.cluster.wait("the new one alone", lambda: line.asked["helmet"].during(2).answers.keys() == {2}, 20)
    # One that Triton does not load: nothing of it is anybody's trouble but its own.
    line.add("bad", SMALL, triton={"maxBatchSize": 2, "parameters": {"execution_mode": "many"}})
    status = line.cluster.wait_condition(line.namespace, "bad", "Stalled", "True", "ModelLoadFailed")["status"]
    assert "execution_mode" in condition({"status": status}, "Ready")["message"]
    # An update that does not load leaves what serves.
    line.edit("helmet", triton={"parameters": {"execution_mode": "many"}})
    line.cluster.wait_condition(line.namespace, "helmet", "Stalled", "True", "ModelLoadFailed")
    assert line.asked["helmet"].during(2).answers.keys() == {2}
    assert line.shown()[2] == "2/3"
    line.edit("helmet", triton={"parameters": None})
    line.ready("helmet")
    # One that comes, and goes again.
    line.add("vest", SMALL)
    line.ready("vest")
    line.ask("vest")
    line.cluster.wait("its answers", lambda: line.asked["vest"].so_far().answers[1] > 50, 60)
    assert line.stop_asking("vest").failures == []
    line.cluster.kubectl("delete", "yolodeployment", "vest", "bad", "-n", line.namespace, "--timeout=60s")
    line.cluster.wait("its end in the server", lambda: line.shown()[2] == "2/2", 60)


@MATRIX
def test_a_model_that_does_not_fit_is_refused_with_the_figures(line: Line, nothing_lost: None) -> None:
    line.cluster.patch("yoloserver", line.namespace, SERVER, {"spec": {"memoryBudget": "1Mi"}})
    line.add("vest", SMALL)
    message = condition(line.cluster.wait_condition(line.namespace, "vest", "Ready", "False", "ServerFull"), "Ready")["message"]
    assert "spec.memoryBudget of the YoloServer" in message
    line.cluster.patch("yoloserver", line.namespace, SERVER, {"spec": {"memoryBudget": "2Gi"}})
    line.ready("vest")
    line.cluster.kubectl("delete", "yolodeployment", "vest", "-n", line.namespace, "--timeout=60s")


@MATRIX
def test_a_server_that_is_deleted_serves_on_while_models_refer_to_it(line: Line, nothing_lost: None) -> None:
    # A deletion cannot be taken back, so another server shows it.
    other = server_of(line.namespace, replicas=1) | {"metadata": {"name": "line-4", "namespace": line.namespace}}
    line.cluster.apply(other)
    line.add("glove", SMALL, serverRef={"name": "line-4"})
    line.ready("glove")
    line.cluster.kubectl("delete", "yoloserver", "line-4", "-n", line.namespace, "--wait=false")

    def waits() -> bool:
        found = line.cluster.get("yoloserver", line.namespace, "line-4")
        return found is not None and condition(found, "Ready").get("reason") == "InUse" and "glove" in condition(found, "Ready")["message"]

    line.cluster.wait("the server's word for whom it waits", waits, 60)
    with Load(line.cluster.service_ip(line.namespace, "glove"), "glove", http=2, grpc=0) as load:
        assert load.during(5).failures == []
    line.cluster.kubectl("delete", "yolodeployment", "glove", "-n", line.namespace, "--timeout=60s")
    line.cluster.wait("the server's end", lambda: line.cluster.get("yoloserver", line.namespace, "line-4") is None, 60)


# What a pod of several meets; each ends with all models on two pods again.


def triton_killed_without_an_operator(line: Line, operator: OperatorProcess) -> None:
    """The pod has its models again by itself, and then its requests."""
    victim = line.pods()[0]
    operator.kill()
    try:
        for pid in processes_of(victim):
            with contextlib.suppress(OSError):
                if command_of(pid) == "tritonserver":
                    os.kill(pid, signal.SIGKILL)
        line.cluster.wait("another Triton in it", lambda: len(line.runs() - before_of(line, victim)) > 0, 60)
        line.cluster.wait("both pods again", lambda: line.serves(2), 120)
    finally:
        operator.start()


def before_of(line: Line, pod: Manifest) -> set[tuple[str, str]]:
    """The Tritons that there were when a pod was looked at, with the other pods' of now."""
    old = {(pod["metadata"]["name"], status["containerID"]) for status in pod["status"]["containerStatuses"]}
    return old | {run for run in line.runs() if run[0] != pod["metadata"]["name"]}


def agent_killed(line: Line, operator: OperatorProcess) -> None:
    """What Triton has loaded it goes on with."""
    victim = line.pods()[0]
    (pid,) = [pid for pid in processes_of(victim) if b"\0agent\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(pid, signal.SIGKILL)
    line.cluster.wait("another agent", lambda: restarts_of_agent(line, victim) > restarts_of_agent_in(victim), 60)
    line.edit("helmet", restartedAt=str(time.time()))


def restarts_of_agent(line: Line, pod: Manifest) -> int:
    found = line.cluster.get("pod", line.namespace, pod["metadata"]["name"])
    assert found is not None
    return restarts_of_agent_in(found)


def restarts_of_agent_in(pod: Manifest) -> int:
    return sum(status["restartCount"] for status in pod["status"]["initContainerStatuses"])


def pods_evicted(line: Line, operator: OperatorProcess) -> None:
    """One after the other, as a drain does it: the budget holds the second one back until another pod has all models."""
    for pod in line.pods():
        name = pod["metadata"]["name"]
        eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": line.namespace}})

        def evicted(name: str = name, eviction: str = eviction) -> bool:
            try:
                line.cluster.kubectl("create", "--raw", f"/api/v1/namespaces/{line.namespace}/pods/{name}/eviction", "-f", "-", text=eviction)
            except Refused:
                return False
            return True

        line.cluster.wait(f"the eviction of {name}", evicted, 180)
        line.cluster.wait("its end", lambda name=name: line.cluster.get("pod", line.namespace, name) is None, 90)


def server_restarted(line: Line, operator: OperatorProcess) -> None:
    """Other pods take the place of all."""
    line.cluster.patch("yoloserver", line.namespace, SERVER, {"spec": {"restartedAt": str(time.time())}})


def storage_away(line: Line, operator: OperatorProcess) -> None:
    """A model changes meanwhile; what is loaded needs no storage."""
    with storage_without_endpoints(line.cluster):
        line.edit("forklift", triton={"maxBatchSize": 3})
        time.sleep(15)  # the fault itself: the agents try in vain meanwhile


HARMLESS = {
    "the agent beside Triton is killed": agent_killed,
    "pods of a YoloServer are evicted, one after the other": pods_evicted,
    "a YoloServer's pods are replaced": server_restarted,
    "the storage refuses connections while a model of a YoloServer changes": storage_away,
}
FELT = {"Triton of a YoloServer's pod is killed, and no operator runs": triton_killed_without_an_operator}
"""The killed pod's own requests are lost, and those that it gets before it has left the endpoints."""


@MATRIX
@pytest.mark.parametrize("fault", [*HARMLESS, *FELT])
def test_all_models_go_on_and_all_heals(fault: str, line: Line, operator: OperatorProcess, record_property: Callable[[str, str], None]) -> None:
    before = line.counted()
    (HARMLESS | FELT)[fault](line, operator)
    began, after = time.monotonic(), line.counted()
    line.cluster.wait("two pods with all models", lambda: line.serves(2), 240, lambda: json.dumps(line.server().get("status")))
    for name in line.asked:
        line.ready(name)
    line.server_is("Serving")
    seconds = time.monotonic() - began
    time.sleep(5)  # what is lost late is counted too
    tallies = [load.so_far().since(before[name]) for name, load in line.asked.items()]
    lost, asked = sum(len(each.failures) for each in tallies), sum(each.answers.total() + len(each.failures) for each in tallies)
    assert asked > 100
    if fault in HARMLESS:
        assert [failure for each in tallies for failure in each.failures] == []
    assert [failure for name, load in line.asked.items() for failure in load.so_far().since(after[name]).failures] == [], (
        "once the fault is over nothing is lost"
    )
    record_fault(record_property, fault, f"{lost} of {asked}", seconds)


def detections(cluster: Cluster, namespace: str, weights: str) -> dict[str, int]:
    """How many the client finds by local weights and by the served model of their name, and how many of them are the same."""
    files = [SCRIPT, WEIGHTS / f"{weights}.pt", *(WEIGHTS / picture for picture in PICTURES)]
    for path in files:
        cluster.kubectl("cp", "-n", namespace, str(path), f"client:/tmp/{path.name}")
    url = f"http://{weights}.{namespace}.svc:8000/{weights}"
    script, local, *pictures = (f"/tmp/{path.name}" for path in files)
    answer: dict[str, int] = json.loads(cluster.exec(namespace, "client", "python3", script, local, "detect", url, *pictures).strip().splitlines()[-1])
    return answer


@MATRIX
@pytest.mark.timeout(3600)
def test_twenty_models_of_others_in_one_server(
    cluster: Cluster, storage: Storage, operator: OperatorProcess, client_pod: Callable[[str], None], record_property: Callable[[str, str], None]
) -> None:
    """All that a production line does to them in a day, one thing after the other, with a load upon each."""
    with factory(cluster, operator, "twenty") as namespace, contextlib.ExitStack() as loads:
        client_pod(namespace)
        *twenty, (another, its_source) = sources(cluster, storage, namespace).items()
        assert len(twenty) == 20
        line = Line(cluster, namespace, loads)
        cluster.apply(server_of(namespace, memoryBudget="16Gi"))
        serve(line, twenty, line.add)
        assert line.shown()[2] == "20/20"
        found = detections(cluster, namespace, "goldmine-detect")
        assert found["local"] == found["remote"] == found["shared"] > 5, "the unmodified client finds what the local weights find"
        for name, _ in twenty:
            line.ask(name, http=1, grpc=0, pause=0.5, size=size_of(name))
        line.cluster.wait("answers of each", lambda: all(load.so_far().answers for load in line.asked.values()), 60)
        runs = line.runs()
        line.edit("yolov8n", triton={"maxBatchSize": 3})
        line.edit("goldmine-detect", versions=[{"version": 2, "source": {"uri": "s3://weights/railway-detect.pt"}}], traffic={"allowIncompatible": True})
        line.add(another, its_source)
        line.add("bad", "s3://weights/goldmine-detect.pt", triton={"maxBatchSize": 2, "parameters": {"execution_mode": "many"}})
        for name in ("yolov8n", "goldmine-detect", another):
            line.ready(name, 900)
        line.cluster.wait_condition(namespace, "bad", "Stalled", "True", "ModelLoadFailed")
        assert line.stop_asking("yolov8s").failures == []
        cluster.kubectl("delete", "yolodeployment", "yolov8s", "bad", "-n", namespace, "--timeout=60s")
        line.cluster.wait("20 models", lambda: line.shown()[2] == "20/20", 60)
        pods_evicted(line, operator)
        line.cluster.wait("two pods with all models", lambda: line.serves(2), 400)
        assert not runs & line.runs()
        before = line.counted()
        assert {name: tally.failures for name, tally in before.items() if tally.failures} == {}
        triton_killed_without_an_operator(line, operator)
        healed = line.counted()
        line.server_is("Serving", 300)
        time.sleep(10)  # what is lost late is counted too
        assert [failure for name, load in line.asked.items() for failure in load.so_far().since(healed[name]).failures] == []
        lost = {name: tally.since(before[name]) for name, tally in line.counted().items()}
    failures, answers = sum(len(each.failures) for each in lost.values()), sum(each.answers.total() for each in lost.values())
    assert failures <= 5 * len(lost), "a pod that is killed leaves the endpoints within seconds, in which each client asks again"
    record_fault(
        record_property,
        "20 models in a YoloServer: changed, added, removed, a bad one, both pods evicted; then Triton of a pod killed, and no operator runs",
        f"0 of {sum(each.answers.total() for each in before.values())}; then {failures} of {failures + answers}",
    )
