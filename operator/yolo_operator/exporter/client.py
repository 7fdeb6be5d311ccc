"""Ultralytics' own client, unmodified: shows pictures to a Triton pod as any user would. Imported here, in the exporter image only."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_operator.core.contract import GOLDEN, Task
from yolo_operator.exporter import settings
from yolo_operator.exporter.answers import Answer, Array
from yolo_operator.model import golden

Picture = npt.NDArray[np.uint8]
"""(height, width, channels), BGR, as OpenCV reads one."""


def read(path: Path) -> Picture | None:
    """A picture; None where the file is none. Raises InvalidSpec InvalidGolden."""
    if path.name == GOLDEN:
        return golden.photograph(golden.read(path).input)
    import cv2  # noqa: PLC0415  in the exporter image only

    picture: Picture | None = cv2.imread(str(path))
    return picture


def connect(url: str, task: Task) -> Callable[[Picture], Answer]:
    """Shows pictures to the model behind http://HOST:PORT/MODEL, with the client's defaults. Both this and the call raise whatever the client raises."""
    # Before its first import: no telemetry, no downloads, nothing written but below /tmp.
    os.environ.update(settings.environment(os.environ))
    from ultralytics import YOLO  # noqa: PLC0415

    model = YOLO(url, task=task.value)
    return lambda picture: answer(model.predict(picture, verbose=False)[0], task)


def answer(result: Any, task: Task) -> Answer:
    """Ultralytics' result as values."""
    if task is Task.CLASSIFY:
        best = result.probs
        return Answer(classes=(result.names[best.top1],), confidences=(float(best.top1conf),), boxes=np.zeros((1, 0), dtype=np.float32))
    found = result.obb if task is Task.OBB else result.boxes
    return Answer(
        classes=tuple(result.names[int(index)] for index in found.cls),
        confidences=tuple(float(confidence) for confidence in found.conf),
        boxes=np.asarray(found.xywhr if task is Task.OBB else found.xyxy, dtype=np.float32),
    )


def overlaps(task: Task) -> Callable[[Array, Array], Array]:
    """IoU of each box with each; of oriented boxes Ultralytics' probabilistic one."""
    import torch  # noqa: PLC0415
    from ultralytics.utils.metrics import batch_probiou, box_iou  # noqa: PLC0415

    measure = batch_probiou if task is Task.OBB else box_iou
    return lambda ours, theirs: measure(torch.from_numpy(ours), torch.from_numpy(theirs)).numpy()
