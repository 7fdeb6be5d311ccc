"""Weights (.pt) and architectures (.yaml) through Ultralytics. Loading a .pt runs the code inside it."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yolo_operator.core.contract import Task, Tensor
from yolo_operator.core.errors import InvalidSpec, OperatorError
from yolo_operator.core.triton.description import ExportReport, readable
from yolo_operator.core.triton.shapes import resolve
from yolo_operator.exporter import reference
from yolo_operator.exporter.conversion_limits import check_image_size, check_task
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.exporter.reference import Array
from yolo_operator.exporter.source import Exported, Source
from yolo_operator.exporter.wire import check_nms
from yolo_operator.model import onnx_file
from yolo_operator.model.compare import Layout
from yolo_operator.model.golden import Golden

SEED = 0
"""An architecture has random weights: the same ones in each export."""
CLASSIFY_SIZE = 224
DETECT_SIZE = 640


@dataclass(slots=True)
class Captured:
    """What Ultralytics' callbacks showed us during the export."""

    picture: Array | None = None
    outputs: list[Array] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def export(weights: Path, source: Source, options: ConversionOptions, scratch: Path) -> Exported:
    """Load, check, export, compare. Raises InvalidSpec: NotYoloWeights, TaskMismatch, ImageSizeInvalid, ExportMismatch."""
    model = load(weights, source, scratch)
    task = check_task(str(model.task), options.task)
    check_nms(options, task)
    image_size = check_image_size(options.image_size, own_size(model, task), int(max(model.model.stride)))
    check_shapes(options, task, image_size)
    if source.kind == "yaml":
        settle(model.model, reference.picture(task, image_size, int(model.model.yaml.get("channels", 3))))
    onnx, captured = convert(model, options, task, image_size)
    if captured.picture is None:
        raise InvalidSpec("ExportFailed", "Ultralytics ended the export without beginning it")
    facts, _ = onnx_file.inspect(onnx)
    outputs = dict(zip((tensor.name for tensor in facts.outputs), captured.outputs, strict=True))
    report = describe(options, captured, image_size, facts.opset, facts.ir_version)
    check_answers(onnx, report, Golden(input=captured.picture, outputs=outputs))
    return Exported(onnx=onnx, golden=Golden(input=captured.picture, outputs=outputs), report=report)


def load(weights: Path, source: Source, scratch: Path) -> Any:
    """The model in Ultralytics. Raises InvalidSpec NotYoloWeights for anything that is none."""
    import torch  # noqa: PLC0415  in the exporter image only
    from ultralytics import YOLO  # noqa: PLC0415
    from ultralytics.nn.modules import Detect  # noqa: PLC0415
    from ultralytics.nn.modules.head import Classify  # noqa: PLC0415

    # Under its own name: the scale of an architecture is in it, and Ultralytics writes the ONNX beside it.
    name = re.sub(r"[^0-9A-Za-z._-]", "_", Path(source.file_name).name).lstrip(".") or f"weights.{source.kind}"
    place = scratch / "weights" / (name if name.endswith(f".{source.kind}") else f"{Path(name).stem}.{source.kind}")
    place.parent.mkdir()
    shutil.copyfile(weights, place)
    torch.manual_seed(SEED)
    try:
        model = YOLO(str(place))
        head = model.model.model[-1]
    except (MemoryError, OperatorError):
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].replace(str(place), name)
        raise InvalidSpec("NotYoloWeights", f"{name} is not loaded by Ultralytics: {type(error).__name__}: {first[:300]}") from error
    if not isinstance(head, Detect | Classify):
        raise InvalidSpec("NotYoloWeights", f"{name} ends in {type(head).__name__}; served are YOLO's detect, segment, pose, obb and classify")
    return model


def check_shapes(options: ConversionOptions, task: Task, image_size: tuple[int, int]) -> None:
    """Refuse what no client could ask rightly before the export takes its time. Raises InvalidSpec ShapesInvalid."""
    batch, height, width = (-1, -1, -1) if options.dynamic else (options.batch, *image_size)
    resolve(options.shapes, task, image_size, Tensor(name="images", datatype="FP32", shape=[batch, 3, height, width]))


def settle(model: Any, picture: Array) -> None:
    """Let the normalisations of random weights see the picture once.

    Untrained, they damp every layer until the answer is the same for any picture, and nobody could tell a wrong model from a right one.
    """
    import torch  # noqa: PLC0415

    layers = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    given = torch.from_numpy(picture)
    with torch.no_grad():
        model.train()(torch.cat((given, given.flip(-1))))
    model.eval()
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum


def own_size(model: Any, task: Task) -> tuple[int, int]:
    """Image size the weights were trained at, rounded up to the stride as the training did; an architecture has none."""
    fallback = CLASSIFY_SIZE if task is Task.CLASSIFY else DETECT_SIZE
    trained = (model.ckpt or {}).get("train_args", {}).get("imgsz") if isinstance(model.ckpt, dict) else None
    height, width = (trained if len(trained) == 2 else trained * 2) if isinstance(trained, list | tuple) else (trained, trained)
    stride = max(int(max(model.model.stride)), 1)
    sizes = [int(pixels) if isinstance(pixels, int | float) and pixels > 0 else fallback for pixels in (height, width)]
    return -(-sizes[0] // stride) * stride, -(-sizes[1] // stride) * stride


def convert(model: Any, options: ConversionOptions, task: Task, image_size: tuple[int, int]) -> tuple[Path, Captured]:
    """Ultralytics' own export; the reference answers are taken from its PyTorch model just before tracing."""
    captured = Captured()

    def on_start(exporter: Any) -> None:
        captured.picture = reference.picture(task, image_size, int(exporter.im.shape[1]))
        captured.outputs = pytorch_answer(exporter, captured.picture)

    def on_end(exporter: Any) -> None:
        captured.metadata = dict(exporter.metadata)

    model.add_callback("on_export_start", on_start)
    model.add_callback("on_export_end", on_end)
    path = model.export(
        format="onnx",
        imgsz=list(image_size),
        dynamic=options.dynamic,
        quantize=16 if options.half else None,
        simplify=options.simplify,
        opset=options.opset,
        # False, not None: an end-to-end model (YOLO26) keeps its head without NMS only then. With NMS (wire.py) it gives its other head's raw output.
        nms=None if options.nms else False,
        batch=options.batch,
        device="cpu",
    )
    return Path(path), captured


def pytorch_answer(exporter: Any, picture: Array) -> list[Array]:
    """What the fused PyTorch model answers, in the order of the ONNX's outputs; one picture of a fixed batch."""
    import torch  # noqa: PLC0415

    given = torch.from_numpy(picture).repeat(int(exporter.im.shape[0]), 1, 1, 1)
    with torch.no_grad():
        answered = exporter.model(given)
    tensors = answered if isinstance(answered, tuple | list) else [answered]
    return [np.asarray(tensor[:1].float().numpy()) for tensor in tensors if isinstance(tensor, torch.Tensor)]


def describe(options: ConversionOptions, captured: Captured, image_size: tuple[int, int], opset: int, ir_version: int) -> ExportReport:
    """export.json from what Ultralytics says of its own export."""
    import torch  # noqa: PLC0415
    import ultralytics  # noqa: PLC0415

    metadata = captured.metadata
    names = metadata["names"]
    return ExportReport(
        task=Task(metadata["task"]),
        names=[readable(str(names[index])) for index in sorted(names)],
        stride=int(metadata["stride"]),
        image_size=list(image_size),
        batch=options.batch,
        dynamic=options.dynamic,
        half=options.half,
        nms=False,
        end_to_end=bool(metadata.get("end2end")),
        kpt_shape=list(metadata["kpt_shape"]) if metadata.get("kpt_shape") else None,
        ultralytics=str(ultralytics.__version__),
        torch=str(torch.__version__),
        opset=opset,
        ir_version=ir_version,
        reference="pytorch",
        metadata=metadata,
    )


def check_answers(onnx: Path, report: ExportReport, golden: Golden) -> None:
    """The ONNX answers as PyTorch does: one picture, and a batch of two where it takes one. Raises ExportMismatch."""
    running = reference.runtime(onnx)
    for batch in [1, 2] if report.dynamic else [report.batch]:
        answered = reference.answer(running, golden.input, batch)
        reference.check_same(golden.outputs, answered, Layout.reading(report), "FP16" if report.half else "FP32")
