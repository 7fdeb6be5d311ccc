"""Whether an ONNX's inputs and outputs are those of a YOLO of the given task, as Ultralytics exports it."""

from collections.abc import Sequence

from yolo_operator.core.contract import Task, Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import Description

CLIENT_TYPES = ("FP32", "FP16")
"""Input types that Ultralytics' client can send and the golden picture can be given in."""
MASK_COEFFICIENTS = 32


def check(description: Description) -> None:
    """Refuse a model that the Ultralytics client could not use. Raises InvalidSpec InvalidOnnx or TaskMismatch."""
    report, onnx = description.report, description.onnx
    check_input(onnx.inputs, report.image_size)
    check_outputs(report.task, onnx.outputs)
    channels = expected_channels(description)
    found = onnx.outputs[0].shape[2 if description.final_detections else 1]
    if channels is not None and found not in (-1, channels):
        raise InvalidSpec(
            "TaskMismatch",
            f"a {report.task} model of {len(report.names)} classes has {channels} values per detection, "
            f"output {onnx.outputs[0].name!r} of the ONNX has {found}: check spec.task and the weights",
        )


def check_input(inputs: Sequence[Tensor], image_size: Sequence[int]) -> None:
    """One picture tensor N x C x H x W, of a type and size that the client sends."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs) or "none"
        raise InvalidSpec("InvalidOnnx", f"a YOLO has one input N x 3 x H x W, the ONNX has {found}")
    tensor = inputs[0]
    if tensor.datatype not in CLIENT_TYPES:
        raise InvalidSpec("InvalidOnnx", f"input {tensor.name!r} is {tensor.datatype}; the Ultralytics client sends FP32 or FP16")
    for axis, pixels in zip((2, 3), image_size, strict=True):
        if tensor.shape[axis] not in (-1, pixels):
            raise InvalidSpec(
                "ImageSizeInvalid",
                f"the ONNX takes pictures of {tensor.shape[2]}x{tensor.shape[3]} only, not {image_size[0]}x{image_size[1]}: "
                "set spec.versions[].export.imageSize to that or leave it out",
            )


def check_outputs(task: Task, outputs: Sequence[Tensor]) -> None:
    """As many outputs, of as many dimensions, as the task has."""
    wanted = {Task.SEGMENT: [3, 4], Task.CLASSIFY: [2]}.get(task, [3])
    if [len(tensor.shape) for tensor in outputs] != wanted:
        found = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in outputs) or "none"
        raise InvalidSpec("TaskMismatch", f"a {task} model has outputs of {wanted} dimensions, the ONNX has {found}: check spec.task")


def expected_channels(description: Description) -> int | None:
    """Values per detection that the first output must have; None where the description leaves it open."""
    report = description.report
    match report.task:
        case Task.CLASSIFY:
            return len(report.names)
        case Task.SEGMENT:
            extra = next((t.shape[1] for t in description.onnx.outputs[1:]), MASK_COEFFICIENTS)
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
