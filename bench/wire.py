"""What goes over the wire and how long it takes, for each way to serve one model, from a picture's file to its detections: `make bench-wire`.

The cluster without Docker: each pod has a link of its own, and the kernel's token bucket (tc, sch_tbf) limits those to Triton's pods
(requests) and to the client's (answers). The links and their limits end with the pods.

A CPU would hide the network behind the inference. So the model is a detector of 80 classes that is a quarter as wide as YOLO11n, which the
CPU computes in about the time that a GPU takes for a real one; its inputs and outputs are as large as any YOLO11's. Its weights are random.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench import PORT, resource

from e2e import storage as s3
from e2e.architectures import architecture
from e2e.cluster import CACHE, KUBECONFIG, KUBECTL, WEIGHTS, Cluster
from e2e.conftest import cluster_with_crds, make_namespace, remove_namespace, weed_image
from e2e.operator_process import OperatorProcess

NETWORK = ("nsenter", f"--net={CACHE / 'state' / 'network-namespace'}", "--")
"""Where the cluster's ends of the pods' links are: tests/cluster/network.py."""
CLIENT = "docker.io/yolo-operator/client:dev"
SCRIPT = Path(__file__).with_name("wire_client.py")
ANSWER = "wire: "
"""Before each of the script's answers."""
PICTURE = "bus.jpg"
NARROW = "n: [0.50, 0.0625, 1024]"
"""Depth, width and most channels, in place of YOLO11n's 0.50, 0.25, 1024."""
WAYS: dict[str, dict[str, Any]] = {
    "FP32, raw outputs (default)": {},
    "nms": {"nms": True},
    "nms, inputDatatype FP16": {"nms": True, "inputDatatype": "FP16"},
}
FILES = "spec.pictures"
"""The way of the file itself; the others are `export`s."""
LINKS = {"no limit": "", "1 Gbit/s": "1gbit", "100 Mbit/s": "100mbit"}
HEADERS = 66
"""Bytes of Ethernet, IPv4 and TCP before each packet's content; an acknowledgement has nothing else."""
CLIENTS = (1, 16)
SECONDS = 6.0
"""Of requests, for each way, link and number of clients."""
DEADLINE = 240.0
"""Seconds for all builds."""


def main() -> None:
    """Measure and print a Markdown table."""
    cluster = cluster_with_crds()
    storage = s3.Storage(cluster, weed_image())
    namespace = make_namespace(cluster, "wire")
    with tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(Path(folder) / "operator.log", PORT=str(PORT), ADDRESS="127.0.0.1", NAMESPACES=namespace)
        operator.start()
        try:
            start_client(cluster, namespace)
            urls = serve(cluster, storage, namespace)
            rows = list(measured(cluster, namespace, urls))
        finally:
            operator.stop()
            remove_namespace(cluster, namespace)
    sys.stdout.write("\n" + table(rows))


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"bench-wire: {text}\n")


def start_client(cluster: Cluster, namespace: str, script: Path = SCRIPT) -> None:
    """A Pod with the unmodified Ultralytics client, its script and a picture."""
    container = {
        "name": "client",
        "image": CLIENT,
        "command": ["sleep", "infinity"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 1,
    }
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": namespace}, "spec": spec})
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/client", "--timeout=120s", timeout=130)
    for path in (script, WEIGHTS / PICTURE):
        cluster.kubectl("cp", "-n", namespace, str(path), f"client:/tmp/{path.name}")


def serve(cluster: Cluster, storage: s3.Storage, namespace: str) -> dict[str, str]:
    """The same architecture, served in each way; where each is asked."""
    narrow, changed = re.subn(r"\bn: \[[^]]*\]", NARROW, architecture(cluster, namespace, "11/yolo11.yaml"), count=1)
    if not changed:
        raise SystemExit("bench-wire: Ultralytics' yolo11.yaml has no scale n any more: correct NARROW")
    source = {"uri": storage.put("weights", "yolo11n-narrow.yaml", narrow.encode())}
    names = {way: f"wire-{number}" for number, way in enumerate([*WAYS, FILES])}
    say(f"{len(names)} builds")
    for way, name in names.items():
        # One size: every request is 640x640, whatever the picture.
        version = {"version": 1, "source": source, "export": {"shapes": "Fixed", "imageSize": [640]} | WAYS.get(way, {})}
        cluster.apply(resource(namespace, name, versions=[version], task="detect", pictures={"enabled": way == FILES}))
    until = time.monotonic() + DEADLINE
    ready = {way: cluster.wait_ready(namespace, name, timeout=max(until - time.monotonic(), 1)) for way, name in names.items()}
    return {way: str(found["status"]["url"]) for way, found in ready.items()}


def measured(cluster: Cluster, namespace: str, urls: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each link and way."""
    command = [*exec_command(namespace), "python3", f"/tmp/{SCRIPT.name}", f"/tmp/{PICTURE}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        try:
            for link, rate in LINKS.items():
                for number, (way, url) in enumerate(urls.items()):
                    pod = address(cluster, namespace, f"yolo-operator.io/deployment=wire-{number},app.kubernetes.io/component=triton")
                    with limited(rate, pod, address(cluster, namespace)):
                        found = [measure(client, url, pod, clients, files=way == FILES) for clients in CLIENTS]
                    say(f"{link}, {way}: {found[0]['p50']:.0f} ms")
                    yield {"link": link, "way": way, "one": found[0], "several": found[1]}
        finally:
            client.kill()


def exec_command(namespace: str) -> list[str]:
    """kubectl exec into the client Pod, with its input open."""
    return [str(KUBECTL), f"--kubeconfig={KUBECONFIG}", "exec", "-i", "-n", namespace, "client", "--"]


def measure(client: Any, url: str, pod: str, clients: int, *, files: bool) -> dict[str, float]:
    """Milliseconds and bytes per picture, and pictures per second, with so many clients at once."""
    answer(client, {"url": url, "clients": clients, "seconds": SECONDS, "files": files})  # they connect and warm up
    model = url.rpartition("/")[2]
    sent, received, infer, count = (*traffic(pod), *inference(pod, model))
    found = json.loads(answer(client, "go"))
    sent, received = (now - before for now, before in zip(traffic(pod), (sent, received), strict=True))
    infer, count = (now - before for now, before in zip(inference(pod, model), (infer, count), strict=True))
    times = sorted(found["milliseconds"])
    return {
        "p50": statistics.median(times),
        "p99": times[min(round(len(times) * 0.99), len(times) - 1)],
        "rate": len(times) / found["seconds"],
        "sent": sent / len(times),
        "received": received / len(times),
        "inference": infer / max(count, 1) / 1000,
    }


def answer(client: Any, line: object) -> str:
    """What the script in the client Pod answers to a line."""
    client.stdin.write(json.dumps(line) + "\n")
    client.stdin.flush()
    for said in client.stdout:
        if said.startswith(ANSWER):
            return str(said.removeprefix(ANSWER))
    raise SystemExit("bench-wire: the client has ended; what it said is above")


def address(cluster: Cluster, namespace: str, selector: str = "") -> str:
    """The IP of the only running Pod with these labels, or of the client."""
    pods = cluster.list("pods", namespace, selector) if selector else [cluster.get("pod", namespace, "client")]
    (found,) = [pod["status"]["podIP"] for pod in pods if pod and pod["status"].get("phase") == "Running"]
    return str(found)


def link_of(pod: str) -> str:
    """The cluster's end of a Pod's link."""
    routes = json.loads(output(*NETWORK, "ip", "-json", "route", "get", pod))
    return str(routes[0]["dev"])


@contextmanager
def limited(rate: str, *pods: str) -> Iterator[None]:
    """While it lasts, no more than `rate` goes to each of the Pods; "": as much as the machine can."""
    links = [link_of(pod) for pod in pods] if rate else []
    try:
        for link in links:
            # A bucket of 256 KB: the largest packet that the kernel passes between two pods is 64 KB.
            output(*NETWORK, "tc", "qdisc", "replace", "dev", link, "root", "tbf", "rate", rate, "burst", "256kb", "latency", "100ms")
        yield
    finally:
        for link in links:
            subprocess.run([*NETWORK, "tc", "qdisc", "delete", "dev", link, "root"], capture_output=True, check=False)


def traffic(pod: str) -> tuple[int, int]:
    """Bytes of HTTP that went to a Pod and came from it so far."""
    (link,) = json.loads(output(*NETWORK, "ip", "-json", "-statistics", "link", "show", "dev", link_of(pod)))
    sent, received = ({key: int(value) for key, value in link["stats64"][way].items()} for way in ("tx", "rx"))
    return sent["bytes"] - HEADERS * sent["packets"], received["bytes"] - HEADERS * received["packets"]


def inference(pod: str, model: str) -> tuple[int, int]:
    """Microseconds that Triton has spent computing with the model itself, and how often, so far."""
    with urllib.request.urlopen(f"http://{pod}:8002/metrics", timeout=5) as page:
        text = page.read().decode()
    names = ("nv_inference_compute_infer_duration_us", "nv_inference_exec_count")
    spent, count = (sum(float(value) for value in re.findall(rf'^{name}{{.*model="{model}".*}} (\S+)', text, re.MULTILINE)) for name in names)
    return int(spent), int(count)


def output(*command: str) -> str:
    """What a command prints; its error ends the run."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench-wire: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| link | way | request | answer | p50 | p99 | pictures/s, 1 client | pictures/s, 16 clients | of it inference |", "| --- " * 9 + "|"]
    for row in rows:
        one, several = row["one"], row["several"]
        lines.append(
            f"| {row['link']} | {row['way']} | {one['sent'] / 1e6:.2f} MB | {one['received'] / 1e3:,.1f} KB | {one['p50']:.0f} ms | {one['p99']:.0f} ms "
            f"| {one['rate']:.1f} | {several['rate']:.1f} | {one['inference']:.0f} ms |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
