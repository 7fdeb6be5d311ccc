"""Which pictures a model is served for: of one size (Fixed), or of any height and width up to it (Dynamic).

The published metadata makes Ultralytics' client send what fits. Its predictor (8.3.138 to 8.4.190, engine/predictor.py) has two ways:
with `dynamic: False` it letterboxes to the square of the metadata's `imgsz`; with `dynamic: True` it pads to the stride only, as it does for
local weights, but scales to its own default of 640 pixels and never reads `imgsz`. So Dynamic is right for pictures of 640 pixels alone.
"""

from collections.abc import Sequence
from typing import Literal

from yolo_operator.core.contract import Task, Tensor
from yolo_operator.core.errors import InvalidSpec

Shapes = Literal["Fixed", "Dynamic"]

CLIENT_SIZE = 640
"""Pixels to which the Ultralytics client scales a picture where the metadata says dynamic: its default of `imgsz`."""


def resolve(wanted: Shapes | None, task: Task, image_size: Sequence[int], onnx_input: Tensor) -> Shapes:
    """The shapes to serve; `wanted` is spec.versions[].export.shapes, None where it is left out. Raises InvalidSpec ShapesInvalid.

    Dynamic is the default where it is right: then the client gets the very answers of the local weights, and a wide picture costs less than a square.
    """
    # Only with Fixed does the client pad and split what it sends to the batch that an ONNX is fixed to.
    free = all(size == -1 for size in (onnx_input.shape[0], *onnx_input.shape[2:]))
    right = free and task is not Task.CLASSIFY and all(pixels == CLIENT_SIZE for pixels in image_size)
    if wanted == "Dynamic" and not right:
        raise InvalidSpec("ShapesInvalid", f"spec.versions[].export.shapes: Dynamic {why_not(task, image_size, free=free)}: set it to Fixed or leave it out")
    return wanted or ("Dynamic" if right else "Fixed")


def why_not(task: Task, image_size: Sequence[int], *, free: bool) -> str:
    """Why no client could be right with Dynamic."""
    if not free:
        return "needs an ONNX whose batch, height and width are dynamic, and this one's are not"
    if task is Task.CLASSIFY:
        return "is not for classify: the Ultralytics client always sends squares of one size there"
    size = "x".join(str(pixels) for pixels in image_size)
    return f"is right for an imageSize of {CLIENT_SIZE} alone, which the Ultralytics client then asks with, and the model is made for {size}"


def served(tensor: Tensor, shapes: Shapes, image_size: Sequence[int]) -> Tensor:
    """The input as it is served: with Fixed, height and width are the image size also where the ONNX leaves them open."""
    if shapes == "Dynamic":
        return tensor
    fixed = [known if known > 0 else pixels for known, pixels in zip(tensor.shape[2:], image_size, strict=True)]
    return tensor.model_copy(update={"shape": [*tensor.shape[:2], *fixed]})


def asks_otherwise(task: Task, image_size: Sequence[int], inputs: Sequence[Tensor]) -> bool:
    """Whether the client asks at 640 pixels what was made for another size: published as dynamic whatever the size, by releases up to 0.1.0."""
    return any(size == -1 for size in inputs[0].shape[2:]) and (task is Task.CLASSIFY or any(pixels != CLIENT_SIZE for pixels in image_size))
