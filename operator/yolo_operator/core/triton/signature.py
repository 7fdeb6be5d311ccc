"""Whether an ONNX's inputs and outputs are those of a YOLO of the given task, as Ultralytics exports it."""

from collections.abc import Sequence

from yolo_operator.core.contract import Task, Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import Description

CLIENT_TYPES = ("FP32", "FP16")
"""Input types that Ultralytics' client can send and the golden picture can be given in."""
CHANNELS = (1, 3, 4)
"""As the last dimension of an input these are its channels and no picture's width."""
MASK_COEFFICIENTS = 32
RANKS: dict[Task, list[int]] = {Task.DETECT: [3], Task.SEGMENT: [3, 4], Task.POSE: [3], Task.OBB: [3], Task.CLASSIFY: [2]}
"""Dimensions of each output, in the order of their names: detections, for segment also the masks' prototypes; probabilities."""


def check(description: Description) -> None:
    """Refuse a model that the Ultralytics client could not use. Raises InvalidSpec InvalidOnnx, UnsupportedModel, ImageSizeInvalid or TaskMismatch."""
    report, onnx = description.report, description.onnx
    check_picture(onnx.inputs, report.task)
    check_size(onnx.inputs[0], report.image_size)
    check_outputs(report.task, onnx.outputs)
    channels, first = expected_channels(description), in_order(onnx.outputs)[0]
    found = first.shape[2 if description.final_detections else 1]
    if channels is not None and found not in (-1, channels):
        raise InvalidSpec(
            "TaskMismatch",
            f"a {report.task} model of {len(report.names)} classes has {channels} values per detection, "
            f"output {first.name!r} of the ONNX has {found}: check spec.task and the weights",
        )


def in_order(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Outputs as the client reads them: by name."""
    return sorted(tensors, key=lambda tensor: tensor.name)


def check_picture(inputs: Sequence[Tensor], task: Task) -> None:
    """One picture tensor N x C x H x W, of a type and with the channels that the client sends."""
    found = ", ".join(f"{tensor.name} {tensor.datatype} {tensor.shape}" for tensor in inputs)[:200] or "none"
    if not any(len(tensor.shape) == 4 for tensor in inputs):
        raise InvalidSpec("InvalidOnnx", f"a YOLO has one input N x 3 x H x W, the ONNX has {found}")
    if len(inputs) > 1:
        raise InvalidSpec(
            "UnsupportedModel",
            f"the ONNX wants {len(inputs)} inputs ({found}), as PP-YOLOE and RT-DETR of other projects do; "
            "the Ultralytics client sends the picture alone: export it with one input, or give a YOLO's weights",
        )
    _, channels, _, width = inputs[0].shape
    if width in CHANNELS:
        raise InvalidSpec(
            "UnsupportedModel",
            f"input {found} takes pictures with the channels last; the Ultralytics client sends N x C x H x W: "
            "export it with the channels first, as PyTorch has them",
        )
    if inputs[0].datatype not in CLIENT_TYPES:
        raise InvalidSpec(
            "UnsupportedModel",
            f"input {found}: the Ultralytics client sends FP32 or FP16 from 0 to 1, of which whole numbers keep nothing: "
            "export it with an FP32 input and the scaling outside",
        )
    if task is Task.CLASSIFY and channels not in (-1, 3):
        raise InvalidSpec(
            "UnsupportedModel",
            f"input {found}: the Ultralytics client shows a classifier pictures of 3 channels only: give one that was trained on such",
        )


def check_size(picture: Tensor, image_size: Sequence[int]) -> None:
    """The picture's height and width are free or those that are served. Raises InvalidSpec ImageSizeInvalid."""
    for axis, pixels in zip((2, 3), image_size, strict=True):
        if picture.shape[axis] not in (-1, pixels):
            raise InvalidSpec(
                "ImageSizeInvalid",
                f"the ONNX takes pictures of {picture.shape[2]}x{picture.shape[3]} only, not {image_size[0]}x{image_size[1]}: "
                "set spec.versions[].export.imageSize to that or leave it out",
            )


def check_outputs(task: Task, outputs: Sequence[Tensor]) -> None:
    """As many outputs, of as many dimensions, as the task has."""
    found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in outputs)[:200] or "none"
    ranks = [len(tensor.shape) for tensor in in_order(outputs)]
    if ranks != RANKS[task] and sorted(ranks) == RANKS[task]:
        raise InvalidSpec(
            "UnsupportedModel", f"the Ultralytics client reads outputs in the order of their names, {found} are not: rename them output0, output1"
        )
    if ranks != RANKS[task]:
        raise InvalidSpec("TaskMismatch", f"a {task} model has outputs of {RANKS[task]} dimensions, the ONNX has {found}: check spec.task")
    odd = next((tensor for tensor in outputs if tensor.datatype not in CLIENT_TYPES), None)
    if odd is not None:
        raise InvalidSpec("UnsupportedModel", f"output {odd.name!r} is {odd.datatype}, a YOLO's are FP32 or FP16: export it with Ultralytics")


def out_of_order(found: str) -> InvalidSpec:
    """The right outputs under names that put them the wrong way round."""
    return InvalidSpec(
        "UnsupportedModel",
        f"the Ultralytics client reads outputs in the order of their names, with detections first, these are {found}: rename them output0, output1",
    )


def expected_channels(description: Description) -> int | None:
    """Values per detection that the first output must have; None where the description leaves it open."""
    report = description.report
    match report.task:
        case Task.CLASSIFY:
            return len(report.names)
        case Task.SEGMENT:
            extra = next((tensor.shape[1] for tensor in in_order(description.onnx.outputs)[1:]), MASK_COEFFICIENTS)
            if extra == -1:
                return None
        case Task.POSE:
            if not report.kpt_shape:
                return None
            extra = report.kpt_shape[0] * report.kpt_shape[-1] if len(report.kpt_shape) == 2 else 0
        case Task.OBB:
            extra = 1
        case _:
            extra = 0
    # x, y, w, h and a score per class; final detections have one score and the class's index instead.
    return (6 if description.final_detections else 4 + len(report.names)) + extra
