"""The golden picture, and whether the ONNX answers it as the reference does."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.model import compare
from yolo_operator.model.golden import repeated

Array = npt.NDArray[np.float32]


def picture(task: Task, image_size: tuple[int, int], channels: int = 3) -> Array:
    """A real photograph as Ultralytics' client would send it: (1, channels, height, width), RGB, 0..1, float32."""
    import cv2  # noqa: PLC0415  in the exporter image only
    from ultralytics.utils import ASSETS  # noqa: PLC0415

    photograph = cv2.imread(str(ASSETS / "bus.jpg"))
    if photograph is None:
        raise FileNotFoundError(f"{ASSETS / 'bus.jpg'}: the ultralytics package should bring it")
    return shown(photograph, task, image_size, channels)


def shown(photograph: Any, task: Task, image_size: tuple[int, int], channels: int = 3) -> Array:
    """A picture as OpenCV reads one, as Ultralytics' client would send it: see `picture`."""
    array = classified(photograph, image_size) if task is Task.CLASSIFY else letterboxed(photograph, image_size)
    if channels != 3:
        array = np.repeat(array.mean(axis=1, keepdims=True), channels, axis=1)
    return np.ascontiguousarray(array, dtype=np.float32)


def letterboxed(photograph: Any, image_size: tuple[int, int]) -> Array:
    """Scaled to fit and padded in grey, as for all tasks with boxes."""
    from ultralytics.data.augment import LetterBox  # noqa: PLC0415

    boxed = LetterBox(image_size, auto=False)(image=photograph)
    array: Array = boxed[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return array


def classified(photograph: Any, image_size: tuple[int, int]) -> Array:
    """Scaled and cropped in the middle, as for classification."""
    import cv2  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415
    from ultralytics.data.augment import classify_transforms  # noqa: PLC0415

    size: Any = image_size[0] if image_size[0] == image_size[1] else image_size
    array: Array = classify_transforms(size)(Image.fromarray(cv2.cvtColor(photograph, cv2.COLOR_BGR2RGB))).numpy()[None]
    return array


def runtime(onnx: Path) -> Any:
    """ONNX Runtime on the CPU, with the cores this process may use. Raises InvalidSpec InvalidOnnx where it cannot load it."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InvalidSpec("InvalidOnnx", f"ONNX Runtime cannot load the ONNX: {str(error).splitlines()[0][:300]}") from error


def answer(running: Any, given: Array, batch: int = 1) -> dict[str, Array]:
    """Outputs by name for a batch of equal pictures."""
    tensor = running.get_inputs()[0]
    datatype = "FP16" if "float16" in tensor.type else "FP32"
    outputs = [output.name for output in running.get_outputs()]
    values = running.run(outputs, {tensor.name: repeated(given, datatype, batch)})
    return {name: np.asarray(value, dtype=np.float32) for name, value in zip(outputs, values, strict=True)}


def check_same(reference: dict[str, Array], answered: dict[str, Array], layout: compare.Layout, precision: str) -> None:
    """Refuse an ONNX that answers otherwise than PyTorch. Raises InvalidSpec ExportMismatch."""
    min_iou, max_difference = compare.LIMITS[precision]
    batch = next(iter(answered.values())).shape[0]
    for at in range(batch):
        found = compare.compare(reference, {name: array[at : at + 1] for name, array in answered.items()}, layout)
        if not found.within(min_iou, max_difference):
            raise InvalidSpec(
                "ExportMismatch",
                f"the ONNX answers otherwise than PyTorch (picture {at + 1} of {batch}): worst IoU {found.worst_iou:.4f}, worst score "
                f"difference {found.worst_score_difference:.4f}; try spec.versions[].export with simplify: false or another opset",
            )
