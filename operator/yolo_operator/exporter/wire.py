"""What goes over the wire, set after the export: NMS in the graph, and FP16 at its border.

The last step before a model is handed on, so that export and quantization work on Ultralytics' own raw outputs in FP32.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import ExportReport, lowest
from yolo_operator.exporter import reference
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.exporter.reference import Array
from yolo_operator.exporter.source import Exported
from yolo_operator.model import compare, nms, surgery


def check_nms(options: ConversionOptions, task: Task) -> None:
    """Refuse it where there are no boxes. Raises InvalidSpec NmsInvalid."""
    if options.nms and task is Task.CLASSIFY:
        raise InvalidSpec("NmsInvalid", "spec.versions[].export.nms: a classify model has no boxes to suppress: set it to false")


def finish(exported: Exported, options: ConversionOptions, scratch: Path) -> Exported:
    """The ONNX with what the options ask for, its answers compared with the reference's. Raises InvalidSpec ExportMismatch."""
    # An end-to-end head, the only one that some weights have left, needs none.
    suppressing = options.nms and not exported.report.end_to_end
    if not suppressing and (options.input_datatype, options.output_datatype) == ("FP32", "FP32"):
        return exported
    report, outputs = exported.report, dict(exported.golden.outputs)
    model = onnx.load(exported.onnx)
    if suppressing:
        first = next(iter(outputs))
        if report.half or options.input_datatype == "FP16":
            outputs, report = own_answers(exported, options), report.model_copy(update={"reference": "onnxruntime"})
        suppression = nms.Suppression(conf=options.confidence, iou=options.iou, max_det=options.max_detections, agnostic_nms=options.agnostic_nms)
        nms.append(model, suppression, task=report.task, classes=len(report.names), channels=outputs[first].shape[1])
        outputs[first] = suppressed(outputs[first], suppression, report)
        report = with_nms(report, suppression)
    if options.input_datatype == "FP16":
        surgery.half_input(model)
    if options.output_datatype == "FP16":
        # Final detections stay: they are small, and FP16 has no half pixels above 1024 and no class numbers above 2048.
        for position in range(1 if report.end_to_end or report.nms else 0, len(model.graph.output)):
            surgery.half_output(model, position)
    place = scratch / "wire.onnx"
    onnx.save(model, place)
    finished = replace(exported, onnx=place, report=report, golden=replace(exported.golden, outputs=outputs))
    check_answers(finished, options)
    return finished


def own_answers(exported: Exported, options: ConversionOptions) -> dict[str, Array]:
    """The raw answers of the ONNX itself, to the picture as it is sent.

    They have been compared with PyTorch's. But of two boxes that overlap just so much an NMS keeps one or both by the last bit of a number: behind it
    half precision differs from FP32 by whole detections, and the served model has to be held to its own.
    """
    picture = exported.golden.input
    if options.input_datatype == "FP16":
        picture = picture.astype(np.float16).astype(np.float32)
    batch = 1 if exported.report.dynamic else exported.report.batch
    return {name: array[:1] for name, array in reference.answer(reference.runtime(exported.onnx), picture, batch).items()}


def suppressed(raw: Array, suppression: nms.Suppression, report: ExportReport) -> Array:
    """What Ultralytics' own NMS makes of raw outputs: batch x maxDetections x (6 + extras), rows of zeros after the last detection."""
    import torch  # noqa: PLC0415  in the exporter image only
    import torchvision  # noqa: F401, PLC0415  Ultralytics uses it where it is imported, as in its client
    from ultralytics.utils.nms import non_max_suppression  # noqa: PLC0415

    classes = len(report.names)
    found = non_max_suppression(
        torch.from_numpy(raw),
        suppression.conf,
        suppression.iou,
        agnostic=suppression.agnostic_nms,
        max_det=suppression.max_det,
        nc=classes,
        rotated=report.task is Task.OBB,
    )
    rows = np.zeros((len(found), suppression.max_det, raw.shape[1] - classes + 2), dtype=np.float32)
    for at, detections in enumerate(found):
        rows[at, : len(detections)] = detections.numpy()
    return rows


def with_nms(report: ExportReport, suppression: nms.Suppression) -> ExportReport:
    """The report of the same export; the client is told by Ultralytics' own names."""
    args = report.metadata.get("args")
    said = {
        "nms": True,
        "conf": suppression.conf,
        "iou": suppression.iou,
        "max_det": suppression.max_det,
        "agnostic_nms": suppression.agnostic_nms,
    }
    metadata = {**report.metadata, "args": {**(args if isinstance(args, dict) else {}), **said}}
    return report.model_copy(update={"nms": True, "batched_nms": True, "metadata": metadata})


def check_answers(finished: Exported, options: ConversionOptions) -> None:
    """One picture, and a batch of two where it takes one, as for the export itself. Raises InvalidSpec ExportMismatch."""
    running, report = reference.runtime(finished.onnx), finished.report
    layout = compare.Layout.reading(report, options.output_datatype)
    computed = ("FP16" if report.half else "", "INT8" if report.quantization is not None else "")
    precision = lowest(options.input_datatype, options.output_datatype, *computed)
    for batch in [1, 2] if report.dynamic else [report.batch]:
        answered = reference.answer(running, finished.golden.input, batch)
        reference.check_same(finished.golden.outputs, answered, layout, precision)
