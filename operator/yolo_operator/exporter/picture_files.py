"""Shows pictures' files to <model>-pictures of a Triton pod, as any user without Ultralytics would."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import urllib3

from yolo_operator.core.contract import GOLDEN, Task
from yolo_operator.exporter.answers import Answer
from yolo_operator.model import golden, picture_client, png


def connect(server: str, model: str, task: Task) -> Callable[[Path], Answer | None]:
    """Shows files to the model's pictures at http://HOST:PORT, with the thresholds of the resource; None where the file is refused. Raises PredictError."""
    url = picture_client.model_url(server, model, None)
    pool = urllib3.PoolManager(timeout=picture_client.TIMEOUT, retries=False)

    def show(path: Path) -> Answer | None:
        try:
            return answer(picture_client.ask(pool, url, content(path), {})["detections"], task)
        except picture_client.PictureRefused:
            return None

    return show


def content(path: Path) -> bytes:
    """The file; the golden picture as a PNG. Raises InvalidSpec InvalidGolden."""
    return png.encode(golden.photograph(golden.read(path).input)) if path.name == GOLDEN else path.read_bytes()


def answer(detections: Sequence[Mapping[str, Any]], task: Task) -> Answer:
    """Detections as values."""
    if task is Task.CLASSIFY:
        detections = detections[:1]
    boxes = [[] if task is Task.CLASSIFY else oriented(found["corners"]) if task is Task.OBB else found["box"] for found in detections]
    return Answer(
        classes=tuple(found["label"] for found in detections),
        confidences=tuple(found["score"] for found in detections),
        boxes=np.array(boxes, dtype=np.float32).reshape(len(boxes), {Task.CLASSIFY: 0, Task.OBB: 5}.get(task, 4)),
    )


def oriented(corners: Sequence[Sequence[float]]) -> list[float]:
    """Four corners, as picture_model/answer.py lays them, to centre x, centre y, width, height and angle in radians."""
    points = np.array(corners)
    along, across = points[0] - points[3], points[0] - points[1]
    return [*points.mean(axis=0), float(np.hypot(*along)), float(np.hypot(*across)), float(np.arctan2(along[1], along[0]))]
