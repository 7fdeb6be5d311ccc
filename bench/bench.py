"""The figures of docs/performance.md, all in one run: `make bench`.

Ratios within one run count; the machine's own speed does not. Nothing else should run meanwhile.
"""

import os
import re
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from e2e import storage as s3
from e2e.cluster import WEIGHTS, Cluster
from e2e.conftest import cluster_with_crds, make_namespace, remove_namespace, weed_image
from e2e.operator_process import OperatorProcess

Manifest = dict[str, Any]
WEIGHT = "goldmine-detect.pt"
RESOURCES = 100
PORT = 18099
EXPORT = f"cd /tmp && yolo export model={WEIGHT} format=onnx dynamic=True simplify=True"
"""In the Pod of `bare_pod`."""


def main() -> None:
    """Measure and print a Markdown table."""
    cluster = cluster_with_crds()
    storage = s3.Storage(cluster, weed_image())
    storage.put("weights", WEIGHT, WEIGHTS / WEIGHT)
    namespace = make_namespace(cluster, "bench")
    with tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(Path(folder) / "operator.log", PORT=str(PORT), ADDRESS="127.0.0.1", NAMESPACES=namespace)
        operator.start()
        try:
            rows = [*export_rows(cluster, namespace), *operator_rows(cluster, namespace, operator)]
        finally:
            operator.stop()
            remove_namespace(cluster, namespace)
    width = max(len(name) for name, _ in rows)
    sys.stdout.write(f"\n| {'figure'.ljust(width)} | value |\n| {'-' * width} | --- |\n")
    for name, value in rows:
        sys.stdout.write(f"| {name.ljust(width)} | {value} |\n")


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"bench: {text}\n")


def resource(namespace: str, name: str, **spec: object) -> Manifest:
    """A YoloDeployment on the CPU."""
    base: Manifest = {
        "storage": {"uri": "s3://models/bench", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}},
        "versions": [{"version": 1, "source": {"uri": f"s3://weights/{WEIGHT}"}}],
        "triton": {"maxBatchSize": 2, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
        "build": {"resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "3Gi"}}},
        "gpu": {"count": 0},
    }
    return {"apiVersion": "yolo-operator.io/v1alpha1", "kind": "YoloDeployment", "metadata": {"name": name, "namespace": namespace}, "spec": base | spec}


def export_rows(cluster: Cluster, namespace: str) -> list[tuple[str, str]]:
    """Bare `yolo export` in the exporter image, and the whole path from apply to Ready with its parts."""
    bare = bare_export(cluster, namespace)
    say(f"bare yolo export {bare:.1f} s; now apply to Ready")
    began = time.time()
    cluster.apply(resource(namespace, "model"))
    cluster.wait_ready(namespace, "model", timeout=600)
    total = time.time() - began
    (build,) = cluster.list("pods", namespace, "app.kubernetes.io/component=build")
    (job,) = cluster.list("jobs", namespace, "app.kubernetes.io/component=build")
    (verify,) = cluster.list("jobs", namespace, "app.kubernetes.io/component=verify")
    (pod,) = cluster.list("pods", namespace, "app.kubernetes.io/component=triton")
    containers = [*build["status"]["initContainerStatuses"], *build["status"]["containerStatuses"]]
    seconds = {c["name"]: span(c["state"]["terminated"]["startedAt"], c["state"]["terminated"]["finishedAt"]) for c in containers}
    wall = span(job["status"]["startTime"], job["status"]["completionTime"])
    loaded = next(c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "ContainersReady")
    return [
        ("bare `yolo export` in the same image (s)", f"{bare:.1f}"),
        ("build Job, wall (s)", f"{wall:.0f}"),
        ("build Job over bare export (s)", f"{wall - bare:+.1f}"),
        ("  check / fetch / export / publish (s)", " / ".join(f"{seconds[name]:.0f}" for name in ("check", "fetch", "export", "publish"))),
        ("Triton pod: created to model loaded and warm (s)", f"{span(pod['metadata']['creationTimestamp'], loaded):.0f}"),
        ("verify Job, wall (s)", f"{span(verify['status']['startTime'], verify['status']['completionTime']):.0f}"),
        ("apply to Ready (s)", f"{total:.0f}"),
    ]


def bare_export(cluster: Cluster, namespace: str) -> float:
    """Seconds of Ultralytics' own command in a Pod of the exporter image."""
    bare_pod(cluster, namespace)
    began = time.monotonic()
    cluster.exec(namespace, "bare", "sh", "-c", EXPORT)
    seconds = time.monotonic() - began
    cluster.kubectl("delete", "pod", "-n", namespace, "bare", "--wait=false")
    return seconds


def bare_pod(cluster: Cluster, namespace: str) -> None:
    """A Pod of the exporter image that does nothing, with the weights in it."""
    container = {
        "name": "export",
        "image": "docker.io/yolo-operator/exporter:dev",
        "command": ["sleep", "infinity"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"memory": "3Gi"}},
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
    }
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "namespace": namespace}, "spec": spec})
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/bare", "--timeout=120s", timeout=130)
    cluster.kubectl("cp", "-n", namespace, str(WEIGHTS / WEIGHT), f"bare:/tmp/{WEIGHT}")


def operator_rows(cluster: Cluster, namespace: str, operator: OperatorProcess) -> list[tuple[str, str]]:
    """Memory, requests and pass durations, with one resource and with a hundred."""
    idle = rss(operator.pid)
    before = requests()
    say(f"{RESOURCES} resources, whose build Pods no node takes")
    began = time.monotonic()
    nowhere = {"nodeSelector": {"bench": "nowhere"}, "resources": {"requests": {"cpu": "50m"}}}
    names = [f"model-{number}" for number in range(RESOURCES)]
    cluster.apply(*(resource(namespace, name, build=nowhere) for name in names))

    def reported() -> bool:
        found = cluster.list("yolodeployments", namespace)
        return sum(1 for y in found for c in y.get("status", {}).get("conditions", []) if c["type"] == "Ready" and c["reason"] == "Unschedulable") == RESOURCES

    cluster.wait("a status on each", reported, timeout=300)
    seconds = time.monotonic() - began
    time.sleep(10)
    text = metrics()
    count, total = (float(re.findall(rf"^yolo_operator_reconcile_seconds_{part} (\S+)", text, re.MULTILINE)[0]) for part in ("count", "sum"))
    return [
        ("operator memory with one resource (MB)", f"{idle:.0f}"),
        (f"operator memory with {RESOURCES} resources more (MB)", f"{rss(operator.pid):.0f}"),
        ("API requests per new resource, watches left out", f"{(requests() - before) / RESOURCES:.1f}"),
        ("a pass over a resource, mean (ms)", f"{1000 * total / count:.1f}"),
        (f"apply of {RESOURCES} to a status on each (s)", f"{seconds:.0f}"),
    ]


def metrics() -> str:
    """The operator's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def requests() -> float:
    """Requests to the API server so far."""
    return sum(float(value) for value in re.findall(r"^yolo_operator_api_requests_total\{.*\} (\S+)", metrics(), re.MULTILINE))


def rss(pid: int) -> float:
    """Resident memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def span(start: str, end: str) -> float:
    """Seconds between two of Kubernetes' times."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


if __name__ == "__main__":
    main()
