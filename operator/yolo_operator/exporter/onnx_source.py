"""An .onnx given by the user: checked and described as one exported here, served unchanged; its reference is ONNX Runtime."""

import ast
from pathlib import Path
from typing import Any

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import signature
from yolo_operator.core.triton.description import Description, ExportReport, OnnxFacts
from yolo_operator.core.triton.metadata import integer_keyed
from yolo_operator.exporter import reference
from yolo_operator.exporter.conversion_limits import check_image_size, check_task
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.exporter.reference import Array
from yolo_operator.exporter.source import Exported
from yolo_operator.model import onnx_file
from yolo_operator.model.golden import Golden

STRIDE = 32
DEFAULT_SIZE = 640
MASKS = 32
NUMBERS = ("stride", "batch", "channels")
LITERALS = ("imgsz", "names", "kpt_shape", "kpt_names", "args", "end2end")
"""Fields of metadata_props that Ultralytics writes as Python literals."""


def describe(weights: Path, options: ConversionOptions) -> Exported:
    """Check the file and let ONNX Runtime answer. Raises InvalidSpec: InvalidOnnx, UnsafeOnnx, TaskMismatch, ImageSizeInvalid."""
    content = weights.read_bytes()
    facts, properties = onnx_file.inspect(content)
    metadata = readable(properties)
    task = which_task(metadata, options)
    stride = int(metadata.get("stride") or (1 if task is Task.CLASSIFY else STRIDE))
    image_size = check_image_size(options.image_size, own_size(facts, metadata, task), stride)
    signature.check_input(facts.inputs, image_size)
    signature.check_outputs(task, facts.outputs)
    running = reference.runtime(weights)
    channels = facts.inputs[0].shape[1]
    picture = reference.picture(task, image_size, channels if channels > 0 else 3)
    batch = facts.inputs[0].shape[0]
    outputs = answered(running, picture, max(batch, 1))
    report = report_of(facts, metadata, task, image_size, outputs)
    signature.check(Description(report=report, onnx=facts, source_sha256=facts.sha256))
    return Exported(onnx=weights, golden=Golden(input=picture, outputs=outputs), report=report)


def readable(properties: dict[str, str]) -> dict[str, Any]:
    """metadata_props as Ultralytics reads them; a value that is no literal is left out."""
    metadata: dict[str, Any] = {}
    for key, text in properties.items():
        try:
            if key in NUMBERS:
                metadata[key] = int(text)
            elif key in LITERALS:
                metadata[key] = ast.literal_eval(text)
            else:
                metadata[key] = text
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return metadata


def which_task(metadata: dict[str, Any], options: ConversionOptions) -> Task:
    """From the ONNX or, where it is silent, from spec.task."""
    if metadata.get("task"):
        return check_task(str(metadata["task"]), options.task)
    if options.task is None:
        raise InvalidSpec("TaskUnknown", "the ONNX does not say its task: set spec.task")
    return options.task


def own_size(facts: OnnxFacts, metadata: dict[str, Any], task: Task) -> tuple[int, int]:
    """Fixed in the ONNX, else as its metadata says, else the usual one."""
    shape = facts.inputs[0].shape if facts.inputs else []
    said = metadata.get("imgsz")
    usual = 224 if task is Task.CLASSIFY else DEFAULT_SIZE
    fallback = said if isinstance(said, list | tuple) and len(said) == 2 and all(isinstance(size, int) for size in said) else (usual, usual)
    known = [size if size > 0 else int(other) for size, other in zip(shape[2:4], fallback, strict=False)]
    return (known[0], known[1]) if len(known) == 2 else (usual, usual)


def answered(running: Any, picture: Array, batch: int) -> dict[str, Array]:
    """The reference answers, of one picture. Raises InvalidSpec InvalidOnnx where it does not take a picture of this size."""
    try:
        outputs = reference.answer(running, picture, batch)
    except Exception as error:
        raise InvalidSpec("InvalidOnnx", f"ONNX Runtime cannot run the ONNX: {str(error).splitlines()[0][:300]}") from error
    return {name: array[:1] for name, array in outputs.items()}


def report_of(facts: OnnxFacts, metadata: dict[str, Any], task: Task, image_size: tuple[int, int], outputs: dict[str, Array]) -> ExportReport:
    """export.json; class names are made up where the ONNX brings none."""
    args = metadata.get("args")
    nms = bool(args.get("nms")) if isinstance(args, dict) else False
    end_to_end = bool(metadata.get("end2end", False)) and not nms
    names = class_names(metadata.get("names"))
    kpt_shape = [int(size) for size in metadata.get("kpt_shape") or []] or None
    if not names or (task is Task.POSE and kpt_shape is None):
        classes, kpt_shape = guess(task, facts, outputs, kpt_shape, final=nms or end_to_end)
        names = names or [f"class{index}" for index in range(classes)]
    return ExportReport(
        task=task,
        names=names,
        stride=int(metadata.get("stride") or STRIDE),
        image_size=list(image_size),
        batch=max(facts.inputs[0].shape[0], 1),
        dynamic=facts.inputs[0].shape[0] == -1,
        half=facts.inputs[0].datatype == "FP16",
        nms=nms,
        end_to_end=end_to_end,
        kpt_shape=kpt_shape,
        ultralytics=str(metadata.get("version", "")),
        opset=facts.opset,
        ir_version=facts.ir_version,
        reference="onnxruntime",
        metadata={"channels": facts.inputs[0].shape[1] if facts.inputs[0].shape[1] > 0 else 3, **metadata},
    )


def class_names(said: Any) -> list[str]:
    """Names in the order of their index; empty where there are none."""
    if isinstance(said, list | tuple):
        return [str(name) for name in said]
    if not isinstance(said, dict):
        return []
    names = integer_keyed(said)
    return [str(names[index]) for index in sorted(names)] if all(isinstance(index, int) for index in names) else []


def guess(task: Task, facts: OnnxFacts, outputs: dict[str, Array], kpt_shape: list[int] | None, *, final: bool) -> tuple[int, list[int] | None]:
    """Classes, and keypoints for pose, from the shape of the first output. Raises InvalidSpec InvalidOnnx where it does not tell."""
    first = outputs[facts.outputs[0].name]
    channels = first.shape[1]
    if task is Task.CLASSIFY:
        return channels, None
    if final or first.shape[1] > first.shape[2]:
        raise InvalidSpec("InvalidOnnx", "the ONNX gives final detections and brings no class names: export it with Ultralytics")
    if task is Task.POSE and kpt_shape is None:
        if channels < 8 or (channels - 5) % 3:
            raise InvalidSpec("InvalidOnnx", "the ONNX does not say its keypoints (kpt_shape): export it with Ultralytics")
        return 1, [(channels - 5) // 3, 3]
    extra = {Task.SEGMENT: MASKS, Task.OBB: 1, Task.POSE: int(kpt_shape[0] * kpt_shape[-1]) if kpt_shape else 0}.get(task, 0)
    if channels <= 4 + extra:
        raise InvalidSpec("TaskMismatch", f"an output of {channels} values per detection is none of {task}: check spec.task")
    return channels - 4 - extra, kpt_shape
