"""What the API server cannot refuse: each bad spec ends in a reason and a remedy, costs no GPU, and leaves what serves alone.

Rows are applied a few at a time, ahead of the test that waits for them; a thread notes when each reason appears.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e import bad_weights, secrecy
from e2e import storage as s3
from e2e.bad_specs import CLIENT_IMAGE, HEALING, NO_SUCH_IMAGE, SERVED, SERVING, STALLED, batch, source, storage
from e2e.cluster import TRITON, WEIGHTS, Cluster, Manifest, condition, pod_ready
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.operator_process import OperatorProcess
from e2e.rows import CPU, Environment, Good, Row, ahead, gpus, run

AHEAD = 5
"""Rows applied before their turn: enough to fill the waiting, few enough for two cores."""


@pytest.fixture(scope="module")
def environment(cluster: Cluster, storage: s3.Storage, operator: OperatorProcess) -> Iterator[Environment]:
    """The rows' namespace, with small good weights in the storage."""
    operator.start()
    for place in ("weights", s3.PUBLIC):
        storage.put(place, "small.onnx", bad_weights.detector())
    storage.put(s3.PUBLIC, "yolo-small.pt", WEIGHTS / "goldmine-detect.pt")
    found = Environment(cluster, storage, make_namespace(cluster, "bad-specs"))
    yield found
    found.close()
    gpus(found, None)
    remove_namespace(cluster, found.namespace)
    for kind in ("persistentvolume", "deviceclass", "resourceslice"):
        cluster.kubectl("delete", kind, found.namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture
def started(environment: Environment, request: pytest.FixtureRequest) -> Iterator[Environment]:
    """The environment, with this row's resource applied and those of the next few; this row's is removed afterwards."""
    rows: list[Good] = ahead(request, "row", AHEAD)
    for row in rows:
        environment.apply(row)
    yield environment
    secrecy.check_namespace(environment.cluster, environment.namespace)
    environment.cluster.kubectl("delete", "yolodeployment", rows[0].name, "-n", environment.namespace, "--wait=false", "--ignore-not-found")


def told(environment: Environment, row: Row, timeout: float = 120) -> str:
    """Wait for the row's reason; the message, which has to hold the row's words."""
    yolo = environment.cluster.wait_condition(environment.namespace, row.name, "Ready", "False", row.reason, timeout=timeout)
    message: str = condition(yolo, "Ready")["message"]
    for word in row.words:
        assert word in message, message
    return message


def without_gpu(environment: Environment, name: str) -> None:
    """No pod of the server got as far as a node."""
    assert [pod["metadata"]["name"] for pod in environment.pods(name, "triton") if pod["spec"].get("nodeName")] == []


@pytest.mark.parametrize("row", STALLED)
def test_an_edit_is_asked_for(started: Environment, row: Row, record_property: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
    message = told(started, row)
    note(started, row, message, "Stalled", record_property, request)

    yolo = started.cluster.yolo(started.namespace, row.name)
    assert condition(yolo, "Stalled")["status"] == "True"
    assert condition(yolo, "Stalled")["message"] == message
    assert condition(yolo, "Reconciling")["status"] == "False"
    without_gpu(started, row.name)
    started.cluster.wait("the attempts to end", lambda: not [pod for pod in started.pods(row.name) if pod["status"]["phase"] in {"Pending", "Running"}])
    if row.further:
        row.further(started, message)


@pytest.mark.parametrize("row", HEALING)
def test_what_others_must_cure_is_waited_for(
    started: Environment, row: Row, record_property: Callable[[str, str], None], request: pytest.FixtureRequest
) -> None:
    message = told(started, row)
    note(started, row, message, "heals", record_property, request)

    before = started.cluster.yolo(started.namespace, row.name)
    assert condition(before, "Stalled")["status"] == "False"
    assert condition(before, "Reconciling")["status"] == "True"
    if row.name != "image":
        without_gpu(started, row.name)
    if row.cure is None:
        started.cluster.patch("yolodeployment", started.namespace, row.name, {"spec": {"triton": {"image": TRITON}}})
        started.cluster.wait_ready(started.namespace, row.name)
        return
    row.cure(started)
    if callable(row.healed):
        healed = row.healed
        started.cluster.wait(f"{row.name} to heal", lambda: healed(started))
    else:
        started.cluster.wait_condition(started.namespace, row.name, row.healed, "True")

    # A pod may be seen to be scheduled before the operator has seen it.
    started.cluster.wait(f"{row.name} to be told healed", lambda: condition(started.cluster.yolo(started.namespace, row.name), "Ready")["reason"] != row.reason)
    after = started.cluster.yolo(started.namespace, row.name)
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "the spec was touched"


def note(environment: Environment, row: Row, message: str, end: str, record: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
    """A line of the table that --table asks for."""
    record("Given", request.node.callspec.id)
    record("Ends in", end)
    record("Reason", row.reason)
    record("Message", environment.shown(message.splitlines()[0]))
    record("Seconds", environment.seconds(row.name, row.reason, environment.applied[row.name]))


@pytest.mark.parametrize("row", SERVED)
def test_what_looks_odd_and_is_good_is_served(started: Environment, row: Good) -> None:
    started.apply(SERVING)

    status = started.cluster.wait_ready(started.namespace, row.name)["status"]

    assert status["versions"][0]["verified"][0]["worstIoU"] > 0.99
    if row.name == "names":
        assert names_at_the_client(started, status["url"]) == bad_weights.ODD_NAMES


def names_at_the_client(environment: Environment, url: str) -> list[str]:
    """The class names that Ultralytics' unmodified client gets from the server."""
    code = (
        "import json, sys, numpy; from ultralytics import YOLO;"
        "found = YOLO(sys.argv[1], task='detect').predict(numpy.zeros((64, 64, 3), 'uint8'), verbose=False)[0].names;"
        "print(json.dumps([found[index] for index in sorted(found)]))"
    )
    container = {
        "name": "client",
        "image": CLIENT_IMAGE,
        "args": ["-c", code, url],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    printed = run(environment, "names", {"securityContext": security, "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]})
    found: list[str] = json.loads(printed.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def serving(environment: Environment) -> Manifest:
    """A resource that serves, and its pods."""
    environment.apply(SERVING)
    environment.cluster.wait_ready(environment.namespace, "serving")
    return yolo_deployment(environment.namespace, "serving", gpu=CPU, **SERVING.spec(environment))


@pytest.mark.parametrize(
    ("edit", "reason", "stalled"),
    [
        pytest.param(source("s3://weights/small.onnx", sha256="0" * 64), "ChecksumMismatch", True, id="an edit to another sha256", marks=pytest.mark.matrix),
        pytest.param({"triton": batch(2) | {"image": NO_SUCH_IMAGE}}, "ImagePullFailed", False, id="an edit to an image that cannot be pulled"),
        pytest.param(storage(secretRef={"name": "nowhere"}), "SecretNotFound", False, id="an edit to a Secret that is missing", marks=pytest.mark.matrix),
    ],
)
def test_what_serves_is_left_alone(environment: Environment, serving: Manifest, edit: dict[str, Any], reason: str, stalled: bool) -> None:
    def ready() -> set[str]:
        return {pod["metadata"]["uid"] for pod in environment.pods("serving", "triton") if pod_ready(pod)}

    before = ready()
    assert before

    environment.cluster.apply(serving | {"spec": serving["spec"] | edit})
    environment.cluster.wait_condition(environment.namespace, "serving", "Ready", "False", reason)

    assert before <= ready(), "a pod that served is gone"
    assert condition(environment.cluster.yolo(environment.namespace, "serving"), "Stalled")["status"] == str(stalled)
    environment.cluster.apply(serving)
    environment.cluster.wait_ready(environment.namespace, "serving")
    assert before == ready(), "the way back made new pods"


def test_what_serves_is_left_alone_until_the_new_weights_are_there(environment: Environment, serving: Manifest) -> None:
    def ready() -> set[str]:
        return {pod["metadata"]["uid"] for pod in environment.pods("serving", "triton") if pod_ready(pod)}

    before, later = ready(), f"{environment.namespace}/newer.onnx"
    environment.cluster.apply(serving | {"spec": serving["spec"] | source(f"s3://weights/{later}")})
    environment.cluster.wait_condition(environment.namespace, "serving", "Ready", "False", "SourceNotFound")
    assert before <= ready(), "a pod that served is gone"

    environment.storage.put("weights", later, bad_weights.detector(["cat", "dog"]))

    environment.cluster.wait_ready(environment.namespace, "serving")
    assert not before & ready()
