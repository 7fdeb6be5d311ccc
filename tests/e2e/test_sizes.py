"""The largest architectures go from .yaml to Ready, each worker within its own default limits of memory."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from e2e.architectures import architecture
from e2e.cluster import Cluster, Manifest
from e2e.storage import Storage

PEAK = re.compile(r"peak memory ([0-9]+) MiB")
BUILD = ("check", "fetch", "export", "publish")


@dataclass(frozen=True)
class Size:
    architecture: str
    """As Ultralytics names it; the letter of its scale is in the name."""
    file: str
    """In the package's cfg/models."""
    image_size: int = 640


@pytest.mark.timeout(2700)
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(each, id=each.architecture, marks=pytest.mark.matrix)
        for each in (
            Size("yolov8x", "v8/yolov8.yaml"),
            Size("yolo11x", "11/yolo11.yaml"),
            Size("yolo26x", "26/yolo26.yaml"),
            Size("yolov9e", "v9/yolov9e.yaml"),
            Size("yolov8x-p6", "v8/yolov8-p6.yaml", 1280),
        )
    ],
)
def test_a_large_architecture_is_served_with_the_default_limits(
    cluster: Cluster,
    storage: Storage,
    namespace: str,
    yolo: Callable[..., Manifest],
    client_pod: Callable[[str], None],
    size: Size,
    record_property: Callable[[str, str], None],
) -> None:
    client_pod(namespace)
    source = storage.put("weights", f"{size.architecture}.yaml", architecture(cluster, namespace, size.file).encode())
    cluster.apply(
        yolo(
            namespace,
            versions=[{"version": 1, "source": {"uri": source}, "export": {"imageSize": [size.image_size]}}],
            # A larger limit than the default is for the export alone: it holds PyTorch's model and its trace.
            build={"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "8Gi"}}},
            triton={"maxBatchSize": 1, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
        )
    )

    status = cluster.wait_ready(namespace, "model", timeout=2400)["status"]

    peaks = {container: peak(cluster, namespace, "build", container) for container in BUILD} | {"verify": peak(cluster, namespace, "verify", "verify")}
    megabytes = status["versions"][0]["artifact"]["sizeBytes"] >> 20
    for worker in ("check", "fetch", "publish", "verify"):
        assert peaks[worker] < 1024, f"{worker} of {megabytes} MiB"
    record_property("Architecture", f"{size.architecture}, {size.image_size}")
    record_property("Published (MiB)", str(megabytes))
    for name, found in peaks.items():
        record_property(f"{name} (MiB)", str(found))


def peak(cluster: Cluster, namespace: str, component: str, container: str) -> int:
    """MiB that the container had at most, by its log."""
    (pod,) = cluster.list("pods", namespace, f"app.kubernetes.io/component={component}")
    log = cluster.kubectl("logs", "-n", namespace, pod["metadata"]["name"], "-c", container)
    return int(PEAK.findall(log)[-1])
