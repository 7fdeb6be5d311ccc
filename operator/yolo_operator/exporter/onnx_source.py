"""An .onnx given by the user: checked and described as one exported here, served unchanged; its reference is ONNX Runtime."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolo_operator.core.contract import Task, Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import signature
from yolo_operator.core.triton.description import Description, ExportReport, OnnxFacts
from yolo_operator.core.triton.metadata import integer_keyed
from yolo_operator.exporter import onnx_family, reference
from yolo_operator.exporter.conversion_limits import check_image_size, check_task
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.exporter.onnx_family import Declared, Found
from yolo_operator.exporter.reference import Array
from yolo_operator.exporter.source import Exported
from yolo_operator.model import compare, onnx_file
from yolo_operator.model.golden import Golden

STRIDE = 32
DEFAULT_SIZE = 640
NUMBERS = ("stride", "batch", "channels")
LITERALS = ("imgsz", "names", "kpt_shape", "kpt_names", "args", "end2end")
"""Fields of metadata_props that Ultralytics writes as Python literals."""


def describe(weights: Path, options: ConversionOptions) -> Exported:
    """Check the file and let ONNX Runtime answer. Raises InvalidSpec: InvalidOnnx, UnsafeOnnx, UnsupportedModel, TaskMismatch, ImageSizeInvalid."""
    facts, properties = onnx_file.inspect(weights)
    metadata = readable(properties)
    task = which_task(metadata, options)
    signature.check_picture(facts.inputs, task)
    stride = int(metadata.get("stride") or (1 if task is Task.CLASSIFY else STRIDE))
    image_size = check_image_size(options.image_size, own_size(facts, metadata, task), stride)
    signature.check_size(facts.inputs[0], image_size)
    running = reference.runtime(weights)
    batch, channels = facts.inputs[0].shape[:2]
    picture = reference.picture(task, image_size, channels if channels > 0 else 3)
    answers = answered(running, picture, max(batch, 1))
    said = declared(metadata, task, image_size)
    found = onnx_family.recognise(answers, said)
    check_declared(facts.outputs, answers)
    report = report_of(facts, metadata, said, found)
    description = Description(report=report, onnx=facts, source_sha256=facts.sha256)
    signature.check(description)
    outputs = {name: array[:1] for name, array in answers.items()}
    if batch == -1 and not report.nms:
        check_batch(running, Golden(input=picture, outputs=outputs), description)
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
    """The answers to a batch of equal pictures. Raises InvalidSpec InvalidOnnx where it does not take such."""
    try:
        outputs = reference.answer(running, picture, batch)
    except Exception as error:
        raise InvalidSpec("InvalidOnnx", f"ONNX Runtime cannot run the ONNX: {str(error).splitlines()[0][:300]}") from error
    return outputs


def declared(metadata: dict[str, Any], task: Task, image_size: tuple[int, int]) -> Declared:
    """What metadata and spec say, as far as it decides how the answers are read."""
    args = metadata.get("args")
    kpt_shape = metadata.get("kpt_shape")
    keypoints = tuple(kpt_shape) if task is Task.POSE and isinstance(kpt_shape, list | tuple) else ()
    if len(keypoints) != 2 or not all(isinstance(size, int) and size > 0 for size in keypoints):
        keypoints = ()
    return Declared(
        task=task,
        task_in_metadata=bool(metadata.get("task")),
        names=tuple(class_names(metadata.get("names"))),
        kpt_shape=keypoints,
        nms=bool(args.get("nms")) if isinstance(args, dict) else False,
        end_to_end=bool(metadata.get("end2end", False)),
        head=str(metadata.get("head", "")),
        image_size=image_size,
    )


def check_declared(outputs: Sequence[Tensor], answers: Mapping[str, Array]) -> None:
    """What the ONNX declares of its outputs allows what they are: Triton believes the former. Raises InvalidSpec InvalidOnnx."""
    for tensor in outputs:
        real = answers[tensor.name].shape
        if len(tensor.shape) != len(real) or any(size not in (-1, found) for size, found in zip(tensor.shape, real, strict=True)):
            raise InvalidSpec(
                "InvalidOnnx",
                f"output {tensor.name!r} is declared as {tensor.shape} and is {list(real)}; Triton goes by the former: "
                "correct its shape in graph.output, or export it with Ultralytics",
            )


def check_batch(running: Any, golden: Golden, description: Description) -> None:
    """An ONNX that declares any batch answers two pictures as it answers one. Raises InvalidSpec InvalidOnnx."""
    remedy = "export it with a batch that is dynamic in the whole graph, or fixed"
    try:
        two = reference.answer(running, golden.input, 2)
    except Exception as error:
        raise InvalidSpec("InvalidOnnx", f"the ONNX declares any batch and fails at two pictures ({str(error).splitlines()[0][:200]}): {remedy}") from error
    second = {name: array[1:2] for name, array in two.items()}
    if not compare.compare(golden.outputs, second, compare.Layout.of(description)).within(*compare.LIMITS[description.precision]):
        raise InvalidSpec("InvalidOnnx", f"the ONNX declares any batch and answers the second picture of two otherwise: {remedy}")


def report_of(facts: OnnxFacts, metadata: dict[str, Any], said: Declared, found: Found) -> ExportReport:
    """export.json; class names are made up where the ONNX brings none. Whether an NMS follows is what the answers say, not the metadata."""
    picture = facts.inputs[0]
    nms = found.final and said.nms
    return ExportReport(
        task=said.task,
        names=list(said.names) or [f"class{index}" for index in range(found.classes)],
        stride=int(metadata.get("stride") or STRIDE),
        image_size=list(said.image_size),
        batch=max(picture.shape[0], 1),
        dynamic=picture.shape[0] == -1,
        half=picture.datatype == "FP16",
        nms=nms,
        end_to_end=found.final and not nms,
        kpt_shape=list(found.kpt_shape) or None,
        ultralytics=str(metadata.get("version", "")),
        opset=facts.opset,
        ir_version=facts.ir_version,
        reference="onnxruntime",
        metadata={"channels": picture.shape[1] if picture.shape[1] > 0 else 3, **metadata},
    )


def class_names(said: Any) -> list[str]:
    """Names in the order of their index; empty where there are none. Raises InvalidSpec InvalidOnnx where some are missing between others."""
    if isinstance(said, list | tuple):
        return [str(name) for name in said]
    if not isinstance(said, dict):
        return []
    names = integer_keyed(said)
    missing = [index for index in range(len(names)) if index not in names]
    if missing:
        raise InvalidSpec("InvalidOnnx", f"names in the ONNX's metadata has {len(names)} classes, but none of index {missing[0]}: correct it")
    return [str(names[index]) for index in range(len(names))]
