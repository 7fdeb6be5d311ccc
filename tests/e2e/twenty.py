"""Twenty models that somebody else has made: weights from elsewhere, and Ultralytics' own architectures, which are served with random ones."""

from collections.abc import Callable

from e2e.architectures import architecture
from e2e.cluster import WEIGHTS, Cluster
from e2e.line import Line
from e2e.storage import Storage

AT_ONCE = 4
"""Builds, each of which takes a GB of memory."""

ARCHITECTURES = {
    "yolov8n-p6": "v8/yolov8-p6.yaml",
    "yolov5n": "v5/yolov5.yaml",
    "yolov6n": "v6/yolov6.yaml",
    "yolov8n": "v8/yolov8.yaml",
    "yolov8s": "v8/yolov8.yaml",
    "yolov8n-p2": "v8/yolov8-p2.yaml",
    "yolov8n-seg": "v8/yolov8-seg.yaml",
    "yolov8n-pose": "v8/yolov8-pose.yaml",
    "yolov8n-obb": "v8/yolov8-obb.yaml",
    "yolov8n-cls": "v8/yolov8-cls.yaml",
    "yolov9t": "v9/yolov9t.yaml",
    "yolo11n": "11/yolo11.yaml",
    "yolo11s": "11/yolo11.yaml",
    "yolo11n-seg": "11/yolo11-seg.yaml",
    "yolo11n-pose": "11/yolo11-pose.yaml",
    "yolo11n-obb": "11/yolo11-obb.yaml",
    "yolo11n-cls": "11/yolo11-cls.yaml",
    "yolo12n": "12/yolo12.yaml",
}
"""Files below Ultralytics' folder of models; the scale is in the name that the file is given."""


def sources(cluster: Cluster, storage: Storage, namespace: str) -> dict[str, str]:
    """URIs in the storage by a name for each model; needs the Pod `client`. One more than twenty."""
    found = {weights.stem: f"s3://weights/{weights.name}" for weights in sorted(WEIGHTS.glob("*.pt"))}
    for name, file in ARCHITECTURES.items():
        found[name] = storage.put("weights", f"{name}.yaml", architecture(cluster, namespace, file).encode())
    return found


def size_of(name: str) -> int:
    """Side of a picture that a model takes: classifiers one size alone, the others any multiple of 32."""
    return 224 if name.endswith("-cls") else 64


def serve(line: Line, models: list[tuple[str, str]], add: Callable[[str, str], None]) -> None:
    """Add models by name and URI, a few at once, and wait until they serve."""
    for some in (models[first : first + AT_ONCE] for first in range(0, len(models), AT_ONCE)):
        for name, source in some:
            add(name, source)
        for name, _ in some:
            line.ready(name, 1200)
