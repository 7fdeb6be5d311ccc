"""From `kubectl apply` to the first right answer of the unmodified client, beside the same work by hand: `make bench-start`, two minutes.

By hand: `yolo export` in a Pod that runs already, the ONNX and a config.pbtxt into the bucket, and a Pod with `tritonserver` on it. Both in one run on
one cluster, the images on the node. Nothing else should run meanwhile.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import onnx
from bench import EXPORT, PORT, WEIGHT, bare_pod, resource, span
from wire import exec_command, start_client

from e2e import storage as s3
from e2e.cluster import TRITON, WEIGHTS, Cluster
from e2e.conftest import cluster_with_crds, make_namespace, remove_namespace, weed_image
from e2e.operator_process import OperatorProcess

Manifest = dict[str, Any]
SCRIPT = Path(__file__).with_name("start_client.py")
ANSWER = "start: "
"""Before each of the script's answers."""
PICTURE = "bus.jpg"


class Client:
    """The client in its Pod."""

    def __init__(self, namespace: str) -> None:
        command = [*exec_command(namespace), "python3", f"/tmp/{SCRIPT.name}", f"/tmp/{PICTURE}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def ask(self, url: str) -> None:
        """Ask from now on, until there is an answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{url}\n")
        self._process.stdin.flush()

    def answered(self) -> int:
        """Wait for the first answer; its detections."""
        return int(self._read()["detections"])

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise SystemExit("bench-start: the client has ended; what it said is above")

    def end(self) -> None:
        """No more questions."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Measure and print a Markdown table."""
    cluster = cluster_with_crds()
    storage = s3.Storage(cluster, weed_image())
    storage.put("weights", WEIGHT, WEIGHTS / WEIGHT)
    namespace = make_namespace(cluster, "start")
    with tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(Path(folder) / "operator.log", PORT=str(PORT), ADDRESS="127.0.0.1", NAMESPACES=namespace)
        operator.start()
        try:
            start_client(cluster, namespace, SCRIPT)
            client = Client(namespace)
            rows = [*by_hand(cluster, storage, namespace, client, Path(folder)), *by_operator(cluster, namespace, client)]
            client.end()
        finally:
            operator.stop()
            remove_namespace(cluster, namespace)
    sys.stdout.write("\n| | s |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in rows))


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"bench-start: {text}\n")


def by_hand(cluster: Cluster, storage: s3.Storage, namespace: str, client: Client, folder: Path) -> list[tuple[str, str]]:
    """What somebody does at a terminal who has the weights in a Pod."""
    bare_pod(cluster, namespace)
    say("by hand")
    service, pod = triton(namespace)
    cluster.apply(service)
    client.ask(f"http://hand.{namespace}.svc:8000/model")
    began = time.monotonic()
    cluster.exec(namespace, "bare", "sh", "-c", EXPORT)
    exported = time.monotonic()
    model = folder / "model.onnx"
    cluster.kubectl("cp", "-n", namespace, f"bare:/tmp/{WEIGHT.removesuffix('.pt')}.onnx", str(model))
    storage.put("models", "hand/model/1/model.onnx", model)
    storage.put("models", "hand/model/config.pbtxt", config(model).encode())
    uploaded = time.monotonic()
    cluster.apply(pod)
    detections = client.answered()
    seconds = time.monotonic() - began
    for kind in ("pod/bare", "pod/hand"):
        cluster.kubectl("delete", "-n", namespace, kind, "--wait=true", "--grace-period=1")
    return [
        ("by hand: first answer", f"{seconds:.1f} ({detections} detections)"),
        ("  yolo export", f"{exported - began:.1f}"),
        ("  upload", f"{uploaded - exported:.1f}"),
        ("  Triton, from apply to the first answer", f"{seconds - (uploaded - began):.1f}"),
    ]


def config(path: Path) -> str:
    """A whole config.pbtxt: Triton then has nothing to find out, for which it would load the model once more."""
    graph = onnx.load(str(path)).graph
    lines = ['backend: "onnxruntime"', 'default_model_filename: "model.onnx"', "max_batch_size: 2", "instance_group { count: 1 kind: KIND_CPU }"]
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            dims = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim][1:]
            lines.append(f'{kind} {{ name: "{value.name}" data_type: TYPE_FP32 dims: {dims} }}')
    return "\n".join(lines) + "\n"


def triton(namespace: str) -> list[Manifest]:
    """A Service and a Pod with Triton, as its own documentation has it."""
    keys = [{"name": key, "valueFrom": {"secretKeyRef": {"name": "s3-credentials", "key": key}}} for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    container = {
        "name": "triton",
        "image": TRITON,
        "command": ["tritonserver"],
        "args": [f"--model-repository=s3://{s3.ENDPOINT}/models/hand", "--disable-auto-complete-config"],
        "env": keys,
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }
    metadata = {"name": "hand", "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": {"app": "hand"}, "ports": [{"port": 8000}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata | {"labels": {"app": "hand"}}, "spec": spec},
    ]


def by_operator(cluster: Cluster, namespace: str, client: Client) -> list[tuple[str, str]]:
    """The same by a YoloDeployment, then a change of its configuration alone, and another one with its weights."""
    say("by the operator")
    began = time.monotonic()
    cluster.apply(resource(namespace, "model"))
    # A name that is asked for before there is a Service is unknown for the next half minute: name servers remember that too.
    cluster.wait("the Service", lambda: cluster.get("service", namespace, "model"), 30)
    client.ask(f"http://model.{namespace}.svc:8000/model")
    detections = client.answered()
    seconds = time.monotonic() - began
    first = parts(cluster, namespace)
    cluster.wait_ready(namespace, "model")
    say("another batch size")
    before = {pod["metadata"]["name"] for pod in pods(cluster, namespace, "triton")}
    began = time.monotonic()
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"triton": {"maxBatchSize": 4}}})
    cluster.wait_ready(namespace, "model")
    changed = time.monotonic() - began
    (new,) = [pod for pod in pods(cluster, namespace, "triton") if pod["metadata"]["name"] not in before and "deletionTimestamp" not in pod["metadata"]]
    say("a second one with the same weights")
    began = time.monotonic()
    cluster.apply(resource(namespace, "second"))
    cluster.wait_ready(namespace, "second")
    second = time.monotonic() - began
    return [
        ("YoloDeployment: first answer", f"{seconds:.1f} ({detections} detections)"),
        *first,
        ("a change of maxBatchSize alone, to Ready", f"{changed:.1f}"),
        ("  of it Triton, from its Pod to loaded and warm", f"{loaded(new):.0f}"),
        ("a second YoloDeployment with the same weights, to Ready", f"{second:.1f}"),
    ]


def parts(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    """What the time went to, by Kubernetes' own clocks, which tell whole seconds."""
    (build,) = pods(cluster, namespace, "build")
    (server,) = pods(cluster, namespace, "triton")
    (verify,) = pods(cluster, namespace, "verify")
    containers = [*build["status"]["initContainerStatuses"], *build["status"]["containerStatuses"]]
    each = {c["name"]: span(c["state"]["terminated"]["startedAt"], c["state"]["terminated"]["finishedAt"]) for c in containers}
    ended = containers[-1]["state"]["terminated"]["finishedAt"]
    asked = verify["status"]["containerStatuses"][0]["state"]["terminated"]
    return [
        ("  build, from its Pod to its end", f"{span(build['metadata']['creationTimestamp'], ended):.0f}"),
        ("    of it check / fetch / export / publish", " / ".join(f"{each[name]:.0f}" for name in ("check", "fetch", "export", "publish"))),
        ("  Triton, from its Pod to loaded and warm", f"{loaded(server):.0f}"),
        ("  verification, from its Pod to its end", f"{span(verify['metadata']['creationTimestamp'], asked['finishedAt']):.0f}"),
    ]


def loaded(pod: Manifest) -> float:
    """Seconds from a Pod's creation until its containers were ready."""
    ready = next(c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "ContainersReady" and c["status"] == "True")
    return span(pod["metadata"]["creationTimestamp"], ready)


def pods(cluster: Cluster, namespace: str, component: str) -> list[Manifest]:
    """Pods of a component, the oldest first."""
    found = cluster.list("pods", namespace, f"app.kubernetes.io/component={component}")
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


if __name__ == "__main__":
    main()
