"""What the API server cannot refuse: each bad spec ends in a reason and a remedy, costs no GPU, and leaves what serves alone.

Rows are applied a few at a time, ahead of the test that waits for them; a thread notes when each reason appears.
"""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2e import bad_weights
from e2e import storage as s3
from e2e.cluster import KUBECONFIG, KUBECTL, TRITON, WEIGHTS, Cluster, Manifest, condition, pod_ready
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.operator_process import OperatorProcess

AHEAD = 5
"""Rows applied before their turn: enough to fill the waiting, few enough for two cores."""
GPU = "example.com/gpu"
NO_SUCH_GPU = {"count": 1, "resourceName": "example.com/nowhere"}
CPU = {"count": 0}
NO_SUCH_IMAGE = "docker.io/yolo-operator/no-such-image:1"
API_SERVER = "https://kubernetes.default.svc/api/v1/namespaces/kube-system/secrets"
CLIENT_IMAGE = "docker.io/yolo-operator/client:dev"
JSON_PATH = '{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].reason}{"\\n"}'


class World:
    """A namespace with the storage's keys, and what the rows change in it."""

    def __init__(self, cluster: Cluster, storage: s3.Storage, namespace: str) -> None:
        self.cluster, self.storage, self.namespace = cluster, storage, namespace
        self.applied: dict[str, float] = {}
        self.seen: dict[tuple[str, str], float] = {}
        self._watch = subprocess.Popen(
            [str(KUBECTL), "get", "yolodeployments", "-n", namespace, "--watch", "-o", f"jsonpath={JSON_PATH}"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"KUBECONFIG": KUBECONFIG},
        )
        threading.Thread(target=self._note, daemon=True).start()

    def _note(self) -> None:
        assert self._watch.stdout is not None
        for line in self._watch.stdout:
            name, _, reason = line.strip().partition(" ")
            self.seen.setdefault((name, reason), time.monotonic())

    def close(self) -> None:
        """End the watch."""
        self._watch.terminate()
        self._watch.wait(timeout=10)

    def apply(self, row: "Good") -> None:
        """Make what the row is given, then its resource; once."""
        if row.name in self.applied:
            return
        given = row.given(self) if row.given else []
        if given:
            self.cluster.apply(*given)
        self.applied[row.name] = time.monotonic()
        self.cluster.apply(yolo_deployment(self.namespace, row.name, **({"gpu": dict(row.gpu)} | row.spec(self))))

    def seconds(self, name: str, reason: str, since: float) -> str:
        """From `since` until the reason was in the status."""
        return f"{self.seen.get((name, reason), time.monotonic()) - since:.0f}"

    def pods(self, name: str, component: str = "") -> list[Manifest]:
        """Pods of a resource."""
        more = f",app.kubernetes.io/component={component}" if component else ""
        return self.cluster.list("pods", self.namespace, f"yolo-operator.io/deployment={name}{more}")

    def secret(self, name: str, keys: tuple[str, str] = s3.ADMIN) -> Manifest:
        """Keys of the storage."""
        return s3.secret(self.namespace, name, keys)

    def object(self, api: str, kind: str, name: str, **more: Any) -> Manifest:
        """Any object in the namespace."""
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": self.namespace}} | more

    def shown(self, text: str) -> str:
        """A message without the names and addresses that are others each time."""
        text = text.replace(self.namespace, "NAMESPACE").replace(bucket(self), "BUCKET")
        return re.sub(r"[0-9]+([.][0-9]+){3}(:[0-9]+)?", "ADDRESS", text)


@dataclass(frozen=True, kw_only=True)
class Good:
    """A spec that is served."""

    name: str
    spec: Callable[[World], dict[str, Any]]
    given: Callable[[World], list[Manifest]] | None = None
    """What is there before."""
    gpu: Mapping[str, Any] = field(default_factory=lambda: CPU)


@dataclass(frozen=True, kw_only=True)
class Row(Good):
    """A bad spec: what is given, what is reported, and what puts it right."""

    gpu: Mapping[str, Any] = field(default_factory=lambda: NO_SUCH_GPU)
    reason: str
    words: Sequence[str]
    """Of the message: the field and the remedy."""
    cure: Callable[[World], object] | None = None
    """Puts the world right; the spec is not touched."""
    healed: str | Callable[[World], bool] = "Built"
    """Condition that is True then, or what else is to be seen."""
    further: Callable[[World, str], None] | None = None
    """What else has to hold."""


def source(uri: str, **version: Any) -> dict[str, Any]:
    """A spec with this source; `sha256` and the like go to the source, `export` to the version."""
    export = {"export": version.pop("export")} if "export" in version else {}
    return {"versions": [{"version": 1, "source": {"uri": uri} | version, **export}]}


def storage(**changes: Any) -> dict[str, Any]:
    """A spec with other storage, and a good small source."""
    base = {"uri": "s3://models/yolo", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}}
    return {"storage": base | changes} | source("s3://weights/small.onnx")


def stored(name: str, content: Callable[[], bytes], **spec: Any) -> Callable[[World], dict[str, Any]]:
    """A spec whose source is a file of this content."""
    version = {key: spec.pop(key) for key in ("export", "sha256") if key in spec}
    return lambda world: source(world.storage.put("weights", f"bad/{name}", content()), **version) | spec


def batch(size: int) -> dict[str, Any]:
    """triton with a batch size."""
    return {"maxBatchSize": size, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}}


def build(**changes: Any) -> dict[str, Any]:
    """build with changes."""
    return {"build": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "3Gi"}}} | changes}


def memory(limit: str) -> dict[str, Any]:
    """build with little memory."""
    return build(resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": limit}})


def truncated() -> bytes:
    """The first part of real weights."""
    return (WEIGHTS / "goldmine-detect.pt").read_bytes()[:200_000]


def nothing_found(world: World, message: str) -> None:
    """The weights' program found nothing and got in nowhere."""
    assert "found []" in message, message
    assert "was answered [403, 40" in message, message
    told = json.dumps(world.cluster.yolo(world.namespace, "spy"))
    assert not any(key in told for key in (*s3.ADMIN, *s3.WRITER))


def slice_for_later(world: World) -> None:
    """The Service gets a server behind it."""
    pod = world.cluster.list("pods", s3.NAMESPACE, "app=s3")[0]["status"]["podIP"]
    made = world.object("discovery.k8s.io/v1", "EndpointSlice", "later", addressType="IPv4", endpoints=[{"addresses": [pod]}], ports=[{"port": 8333}])
    made["metadata"]["labels"] = {"kubernetes.io/service-name": "later"}
    world.cluster.apply(made)


def name_for_unknown(world: World) -> None:
    """The host name gets an address."""
    world.cluster.apply(world.object("v1", "Service", "unknown", spec={"type": "ExternalName", "externalName": f"s3.{s3.NAMESPACE}.svc.cluster.local"}))


def claim(world: World) -> None:
    """A volume of the node with the weights in it, and the claim that takes it."""
    volume = {"hostPath": {"path": "/tmp/yolo-operator-e2e", "type": "DirectoryOrCreate"}}
    code = "import shutil, sys, urllib.request; shutil.copyfileobj(urllib.request.urlopen(sys.argv[1]), open('/claim/small.onnx', 'wb'))"
    url = f"{s3.ENDPOINT}/{s3.PUBLIC}/small.onnx"
    container = {"name": "fill", "image": CLIENT_IMAGE, "args": ["-c", code, url], "volumeMounts": [{"name": "claim", "mountPath": "/claim"}]}
    # Not in the rows' namespace, which forbids host paths.
    run(world, "fill", {"containers": [container | {"securityContext": {"runAsUser": 0}}], "volumes": [{"name": "claim", **volume}]}, namespace=s3.NAMESPACE)
    size = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    owner = {"claimRef": {"namespace": world.namespace, "name": "later"}}
    world.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": world.namespace},
            "spec": size | owner | volume | {"capacity": {"storage": "1Gi"}},
        },
        world.object("v1", "PersistentVolumeClaim", "later", spec=size | {"volumeName": world.namespace, "resources": {"requests": {"storage": "1Gi"}}}),
    )


def run(world: World, name: str, spec: Manifest, namespace: str = "") -> str:
    """Run a Pod to its end; what it printed."""
    namespace = namespace or world.namespace
    world.cluster.kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found")
    world.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": {"restartPolicy": "Never", **spec}})

    def phase() -> str:
        return str((world.cluster.get("pod", namespace, name) or {})["status"].get("phase", ""))

    world.cluster.wait(f"Pod {name} to end", lambda: phase() in {"Succeeded", "Failed"}, describe=phase)
    printed = world.cluster.kubectl("logs", "-n", namespace, name)
    assert phase() == "Succeeded", printed
    world.cluster.kubectl("delete", "pod", name, "-n", namespace, "--wait=false")
    return printed


def gpus(world: World, count: str | None) -> None:
    """Let the nodes offer a GPU of a name of our own; None takes it back."""
    for node in json.loads(world.cluster.kubectl("get", "nodes", "-o", "json"))["items"]:
        patch = {"status": {part: {GPU: count} for part in ("capacity", "allocatable")}}
        world.cluster.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=merge", "-p", json.dumps(patch))


def scheduled(world: World) -> bool:
    """Whether the row's Triton pod has found its node."""
    return any(pod["spec"].get("nodeName") for pod in world.pods("gpu", "triton"))


def bucket(world: World) -> str:
    """Of the row whose bucket is missing."""
    return f"later{world.namespace[-5:]}"


STALLED = [
    pytest.param(
        Row(
            name="checksum",
            spec=lambda world: source("s3://weights/small.onnx", sha256="0" * 64),
            reason="ChecksumMismatch",
            words=["spec.versions[].source.sha256", "one of them is wrong"],
        ),
        id="the weights have another sha256",
    ),
    pytest.param(
        Row(name="truncated", spec=stored("truncated.pt", truncated), reason="NotYoloWeights", words=["truncated.pt", "spec.versions[].source.uri"]),
        id="the .pt is truncated",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="pickle",
            spec=stored("regression.pt", bad_weights.of_another_program),
            reason="NotYoloWeights",
            words=["regression.pt", "spec.versions[].source.uri"],
        ),
        id="the .pt is another program's pickle",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="spy",
            spec=stored("spy.pt", lambda: bad_weights.spy(f"{s3.ENDPOINT}/weights/small.onnx", API_SERVER)),
            reason="NotYoloWeights",
            words=["RuntimeError", "spec.versions[].source.uri"],
            further=nothing_found,
        ),
        id="the .pt runs a program that looks for credentials",
    ),
    pytest.param(
        Row(
            name="quitter",
            spec=stored("quitter.pt", lambda: bad_weights.running("import os; os._exit(0)")),
            reason="ExportFailed",
            words=["without model.onnx", "spec.versions[].source.uri"],
        ),
        id="the .pt ends the exporter as if all were well",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="other-onnx",
            spec=stored("scores.onnx", bad_weights.other_onnx, task="detect"),
            reason="InvalidOnnx",
            words=["a YOLO has one input", "spec.versions[].source.uri"],
        ),
        id="the .onnx is no YOLO",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(name="page", spec=stored("page.onnx", lambda: b"<!DOCTYPE html>"), reason="InvalidOnnx", words=["an HTML page?", "spec.versions[].source.uri"]),
        id="the .onnx is a web page",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="external",
            spec=stored("external.onnx", bad_weights.with_a_file_beside_it),
            reason="UnsafeOnnx",
            words=["save it as one file", "spec.versions[].source.uri"],
        ),
        id="the .onnx names a file of the server",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="task",
            spec=lambda world: source("s3://weights/small.onnx") | {"task": "segment"},
            reason="TaskMismatch",
            words=["the weights are for detect", "spec.task says segment", "set it to detect"],
        ),
        id="the task is another than the weights'",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="static",
            spec=stored("static.onnx", lambda: bad_weights.detector(batch=1), triton=batch(8)),
            reason="StaticBatch",
            words=["spec.triton.maxBatchSize is 8", "maxBatchSize: 0"],
        ),
        id="the .onnx takes one picture and maxBatchSize is 8",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="image-size",
            spec=lambda world: source("s3://weights/small.onnx", export={"imageSize": [100, 100]}),
            reason="ImageSizeInvalid",
            words=["spec.versions[].export.imageSize", "the nearest is 128"],
        ),
        id="the image size is no multiple of the stride",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="memory",
            spec=lambda world: source("s3://weights/goldmine-detect.pt") | memory("256Mi"),
            reason="OutOfMemory",
            words=["raise spec.build.resources.limits.memory"],
        ),
        id="the export needs more memory than its limit",
    ),
    pytest.param(
        Row(
            name="deadline",
            spec=stored("sleeper.pt", bad_weights.sleeping, **build(timeout="30s")),
            reason="DeadlineExceeded",
            words=["longer than 30 s", "raise spec.build.timeout"],
        ),
        id="the export takes longer than its deadline",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="disk",
            spec=stored("large.pt", lambda: bad_weights.sleeping(8 << 20), **build(storageSize="1Mi")),
            reason="DiskFull",
            words=["raise spec.build.storageSize"],
        ),
        id="the scratch volume is too small",
    ),
]

HEALING = [
    pytest.param(
        Row(
            name="refused",
            given=lambda world: [world.object("v1", "Service", "later", spec={"ports": [{"port": 8333}]})],
            spec=lambda world: storage(endpoint=f"http://later.{world.namespace}.svc:8333"),
            reason="StorageUnreachable",
            words=["check spec.storage.endpoint", "that it runs"],
            cure=slice_for_later,
        ),
        id="nothing listens at the endpoint",
    ),
    pytest.param(
        Row(
            name="unknown-host",
            spec=lambda world: storage(endpoint=f"http://unknown.{world.namespace}.svc:8333"),
            reason="StorageUnreachable",
            words=["check spec.storage.endpoint", "that it runs"],
            cure=name_for_unknown,
        ),
        id="the endpoint's host name is not known",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="keys",
            given=lambda world: [world.secret("wrong-keys", ("nobody", "nothing"))],
            spec=lambda world: storage(secretRef={"name": "wrong-keys"}),
            reason="StorageAccessDenied",
            words=["check the keys of spec.storage.secretRef"],
            cure=lambda world: world.cluster.apply(world.secret("wrong-keys")),
        ),
        id="the keys are wrong",
    ),
    pytest.param(
        Row(
            name="bucket",
            given=lambda world: [world.secret("writer", s3.WRITER)],
            spec=lambda world: storage(uri=f"s3://{bucket(world)}/yolo", secretRef={"name": "writer"}),
            reason="BucketNotFound",
            words=["check spec.storage.uri", "make the bucket"],
            cure=lambda world: world.storage.client.create_bucket(Bucket=bucket(world)),
        ),
        id="the bucket is missing",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="secret",
            spec=lambda world: storage(secretRef={"name": "later"}),
            reason="SecretNotFound",
            words=["'later'", "create it", "spec.storage.secretRef"],
            cure=lambda world: world.cluster.apply(world.secret("later")),
        ),
        id="the Secret is missing",
    ),
    pytest.param(
        Row(
            name="secret-key",
            given=lambda world: [world.object("v1", "Secret", "half", stringData={"AWS_ACCESS_KEY_ID": s3.ADMIN[0]})],
            spec=lambda world: storage(secretRef={"name": "half"}),
            reason="SecretKeyMissing",
            words=["'half'", "AWS_SECRET_ACCESS_KEY", "add it", "spec.storage.secretRef"],
            cure=lambda world: world.cluster.apply(world.secret("half")),
        ),
        id="the Secret lacks a key",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="weights",
            spec=lambda world: source(f"s3://weights/{world.namespace}/later.onnx"),
            reason="SourceNotFound",
            words=["check spec.versions[].source.uri"],
            cure=lambda world: world.storage.put("weights", f"{world.namespace}/later.onnx", bad_weights.detector()),
        ),
        id="the weights are missing",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="page-missing",
            spec=lambda world: source(f"{s3.ENDPOINT}/{s3.PUBLIC}/{world.namespace}.onnx"),
            reason="SourceNotFound",
            words=["answers 404", "check spec.versions[].source.uri"],
            cure=lambda world: world.storage.put(s3.PUBLIC, f"{world.namespace}.onnx", bad_weights.detector()),
        ),
        id="the weights are missing on a web server",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="source-keys",
            given=lambda world: [world.secret("tenant", s3.TENANTS["tenant-a"])],
            spec=lambda world: source("s3://weights/small.onnx", secretRef={"name": "tenant"}),
            reason="SourceAccessDenied",
            words=["spec.versions[].source.secretRef"],
            cure=lambda world: world.cluster.apply(world.secret("tenant")),
        ),
        id="the keys may not read the weights",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="claim",
            spec=lambda world: source("pvc://later/small.onnx") | {"gpu": CPU},
            reason="PersistentVolumeClaimNotFound",
            words=["'later'", "create it", "pvc:// URI"],
            cure=claim,
            healed="Ready",
        ),
        id="the PersistentVolumeClaim is missing",
    ),
    pytest.param(
        Row(
            name="gpu",
            spec=lambda world: source("s3://weights/small.onnx") | {"gpu": {"count": 1, "resourceName": GPU}},
            reason="InsufficientGPU",
            words=[f"enough {GPU} free", "add a node", "spec.gpu.resourceName and count"],
            cure=lambda world: gpus(world, "1"),
            healed=scheduled,
        ),
        id="no node has the GPU",
    ),
    pytest.param(
        Row(
            name="image",
            spec=lambda world: source("s3://weights/small.onnx") | {"gpu": CPU, "triton": batch(2) | {"image": NO_SUCH_IMAGE}},
            reason="ImagePullFailed",
            words=[NO_SUCH_IMAGE, "check the image, its registry and imagePullSecrets"],
        ),
        id="Triton's image cannot be pulled",
    ),
]

SERVED = [
    pytest.param(Good(name="names", spec=stored("names.onnx", lambda: bad_weights.detector(bad_weights.ODD_NAMES))), id="class names of any characters"),
    pytest.param(
        Good(name="http", spec=lambda world: source(f"{s3.ENDPOINT}/{s3.PUBLIC}/small.onnx")), id="weights from a web server", marks=pytest.mark.matrix
    ),
    pytest.param(Good(name="asset", spec=lambda world: source("ultralytics://yolo-small.pt")), id="Ultralytics' own weights, from a mirror"),
]
SERVING = Good(name="serving", spec=lambda world: source("s3://weights/small.onnx"))


@pytest.fixture(scope="module")
def world(cluster: Cluster, storage: s3.Storage, operator: OperatorProcess) -> Iterator[World]:
    """The rows' namespace, with small good weights in the storage."""
    operator.start()
    for place in ("weights", s3.PUBLIC):
        storage.put(place, "small.onnx", bad_weights.detector())
    storage.put(s3.PUBLIC, "yolo-small.pt", WEIGHTS / "goldmine-detect.pt")
    found = World(cluster, storage, make_namespace(cluster, "bad-specs"))
    yield found
    found.close()
    gpus(found, None)
    remove_namespace(cluster, found.namespace)
    cluster.kubectl("delete", "persistentvolume", found.namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture
def started(world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """The world, with this row's resource applied and those of the next few; this row's is removed afterwards."""
    mine = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    table = [item.callspec.params["row"] for item in mine if "row" in item.callspec.params]
    row: Good = request.node.callspec.params["row"]
    for following in table[table.index(row) : table.index(row) + 1 + AHEAD]:
        world.apply(following)
    yield world
    world.cluster.kubectl("delete", "yolodeployment", row.name, "-n", world.namespace, "--wait=false", "--ignore-not-found")


def told(world: World, row: Row, timeout: float = 120) -> str:
    """Wait for the row's reason; the message, which has to hold the row's words."""
    yolo = world.cluster.wait_condition(world.namespace, row.name, "Ready", "False", row.reason, timeout=timeout)
    message: str = condition(yolo, "Ready")["message"]
    for word in row.words:
        assert word in message, message
    return message


def without_gpu(world: World, name: str) -> None:
    """No pod of the server got as far as a node."""
    assert [pod["metadata"]["name"] for pod in world.pods(name, "triton") if pod["spec"].get("nodeName")] == []


@pytest.mark.parametrize("row", STALLED)
def test_an_edit_is_asked_for(started: World, row: Row, record_property: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
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
def test_the_world_is_waited_for(started: World, row: Row, record_property: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
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

    after = started.cluster.yolo(started.namespace, row.name)
    assert condition(after, "Ready")["reason"] != row.reason
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "the spec was touched"


def note(world: World, row: Row, message: str, end: str, record: Callable[[str, str], None], request: pytest.FixtureRequest) -> None:
    """A line of the table that --table asks for."""
    record("Given", request.node.callspec.id)
    record("Ends in", end)
    record("Reason", row.reason)
    record("Message", world.shown(message.splitlines()[0]))
    record("Seconds", world.seconds(row.name, row.reason, world.applied[row.name]))


@pytest.mark.parametrize("row", SERVED)
def test_what_looks_odd_and_is_good_is_served(started: World, row: Good) -> None:
    started.apply(SERVING)

    status = started.cluster.wait_ready(started.namespace, row.name)["status"]

    assert status["versions"][0]["verified"][0]["worstIoU"] > 0.99
    if row.name == "names":
        assert names_at_the_client(started, status["url"]) == bad_weights.ODD_NAMES


def names_at_the_client(world: World, url: str) -> list[str]:
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
    printed = run(world, "names", {"securityContext": security, "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]})
    found: list[str] = json.loads(printed.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def serving(world: World) -> Manifest:
    """A resource that serves, and its pods."""
    world.apply(SERVING)
    world.cluster.wait_ready(world.namespace, "serving")
    return yolo_deployment(world.namespace, "serving", gpu=CPU, **SERVING.spec(world))


@pytest.mark.parametrize(
    ("edit", "reason", "stalled"),
    [
        pytest.param(source("s3://weights/small.onnx", sha256="0" * 64), "ChecksumMismatch", True, id="an edit to another sha256", marks=pytest.mark.matrix),
        pytest.param({"triton": batch(2) | {"image": NO_SUCH_IMAGE}}, "ImagePullFailed", False, id="an edit to an image that cannot be pulled"),
        pytest.param(storage(secretRef={"name": "nowhere"}), "SecretNotFound", False, id="an edit to a Secret that is missing", marks=pytest.mark.matrix),
    ],
)
def test_what_serves_is_left_alone(world: World, serving: Manifest, edit: dict[str, Any], reason: str, stalled: bool) -> None:
    def ready() -> set[str]:
        return {pod["metadata"]["uid"] for pod in world.pods("serving", "triton") if pod_ready(pod)}

    before = ready()
    assert before

    world.cluster.apply(serving | {"spec": serving["spec"] | edit})
    world.cluster.wait_condition(world.namespace, "serving", "Ready", "False", reason)

    assert before <= ready(), "a pod that served is gone"
    assert condition(world.cluster.yolo(world.namespace, "serving"), "Stalled")["status"] == str(stalled)
    world.cluster.apply(serving)
    world.cluster.wait_ready(world.namespace, "serving")
    assert before == ready(), "the way back made new pods"


def test_what_serves_is_left_alone_until_the_new_weights_are_there(world: World, serving: Manifest) -> None:
    def ready() -> set[str]:
        return {pod["metadata"]["uid"] for pod in world.pods("serving", "triton") if pod_ready(pod)}

    before, later = ready(), f"{world.namespace}/newer.onnx"
    world.cluster.apply(serving | {"spec": serving["spec"] | source(f"s3://weights/{later}")})
    world.cluster.wait_condition(world.namespace, "serving", "Ready", "False", "SourceNotFound")
    assert before <= ready(), "a pod that served is gone"

    world.storage.put("weights", later, bad_weights.detector(["cat", "dog"]))

    world.cluster.wait_ready(world.namespace, "serving")
    assert not before & ready()
