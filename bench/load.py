"""From the storage to a serving pod, by Triton's own S3 client and by an init container: `make bench-load`, five minutes.

A model of 260 MB (YOLOv8x, random weights) on the cluster. Between the pods and the storage a proxy passes on what it gets: as fast as it can, and
with so much for each connection and no more, as object stores of the large clouds do.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench import PORT, resource, span
from start import loaded, pods
from wire import start_client

from e2e import storage as s3
from e2e.architectures import architecture
from e2e.cluster import HOST, Cluster
from e2e.conftest import cluster_with_crds, make_namespace, remove_namespace, weed_image
from e2e.operator_process import OperatorProcess
from e2e.wire import Wire
from yolo_operator.core import names

RATES = {"as fast as it goes": 0, "40 MB/s for each connection": 40_000_000}
LOADERS = ("Triton", "InitContainer")
DEADLINE = 900.0


class Paced(Wire):
    """Passes on `rate` bytes a second for each connection, from the server; 0: all there is."""

    rate = 0

    def hold(self, data: bytes, from_client: bool) -> None:
        if self.rate and not from_client:
            time.sleep(len(data) / self.rate)


def main() -> None:
    """Measure and print a Markdown table."""
    cluster = cluster_with_crds()
    storage = s3.Storage(cluster, weed_image())
    namespace = make_namespace(cluster, "load")
    proxy = Paced((cluster.service_ip(s3.NAMESPACE, "s3"), urlsplit(s3.ENDPOINT).port or 0), HOST)
    with tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(Path(folder) / "operator.log", PORT=str(PORT), ADDRESS="127.0.0.1", NAMESPACES=namespace)
        operator.start()
        try:
            start_client(cluster, namespace)
            source = storage.put("weights", "yolov8x.yaml", architecture(cluster, namespace, "v8/yolov8.yaml").encode())
            size = publish(cluster, namespace, proxy, source)
            rows = []
            for number, (name, proxy.rate) in enumerate(RATES.items()):
                rows += [(name, loader, *measured(cluster, namespace, loader, f"{number}-{loader}")) for loader in LOADERS]
        finally:
            operator.stop()
            remove_namespace(cluster, namespace)
            proxy.close()
    sys.stdout.write(f"\n| {size >> 20} MiB | `storage.loader` | pod to loaded and warm (s) | of it the init container (s) |\n| --- | --- | --- | --- |\n")
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))


def publish(cluster: Cluster, namespace: str, proxy: Paced, source: str) -> int:
    """Bytes of what serves once it is Ready."""
    sys.stderr.write("bench-load: building YOLOv8x\n")
    made = resource(
        namespace,
        "model",
        storage={"uri": "s3://models/yolo", "endpoint": f"http://{proxy.address}", "secretRef": {"name": "s3-credentials"}},
        versions=[{"version": 1, "source": {"uri": source, "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}}}],
        build={"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "8Gi"}}},
        triton={"maxBatchSize": 1, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
    )
    cluster.apply(made)
    ready = cluster.wait_ready(namespace, "model", timeout=DEADLINE)
    return int(ready["status"]["versions"][0]["artifact"]["sizeBytes"])


def measured(cluster: Cluster, namespace: str, loader: str, run: str) -> tuple[str, str]:
    """Seconds of a new pod, by Kubernetes' own clocks, which tell whole ones."""
    sys.stderr.write(f"bench-load: {run}\n")
    before = {pod["metadata"]["uid"] for pod in pods(cluster, namespace, names.TRITON)}
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"storage": {"loader": loader}, "restartedAt": run}})
    cluster.wait_ready(namespace, "model", timeout=DEADLINE)
    (new,) = [pod for pod in pods(cluster, namespace, names.TRITON) if pod["metadata"]["uid"] not in before]
    init: list[dict[str, Any]] = new["status"].get("initContainerStatuses", [])
    brought = [span(each["state"]["terminated"]["startedAt"], each["state"]["terminated"]["finishedAt"]) for each in init]
    return f"{loaded(new):.0f}", "".join(f"{seconds:.0f}" for seconds in brought)


if __name__ == "__main__":
    main()
