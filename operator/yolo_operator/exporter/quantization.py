"""Makes an INT8 ONNX of an exported FP32 one by a user's pictures, and measures on others of them what that lost.

Both are asked by Ultralytics' own client with the metadata that will be published, so that detections are compared and not tensors.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from yolo_operator.core.contract import Quantization, Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import ExportReport
from yolo_operator.exporter import answers, client, client_check, qdq, reference, settings
from yolo_operator.exporter.answers import Answer, Overlaps
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.exporter.qdq import FIELD
from yolo_operator.exporter.reference import Array
from yolo_operator.exporter.source import Exported
from yolo_operator.model.golden import Golden

log = logging.getLogger(__name__)

MIN_PICTURES = 16
"""Fewer say nothing: a quarter of them is compared."""
HELD_OUT = 4
"""One picture in so many is compared and not calibrated with."""


def quantized(exported: Exported, options: ConversionOptions, pictures: Path, scratch: Path) -> Exported:
    """The INT8 ONNX in place of the FP32 one, with golden outputs of its own.

    Raises InvalidSpec: NotQuantizable, CalibrationPictures, QuantizationLoss.
    """
    files = readable(pictures)
    compared = files[HELD_OUT - 1 :: HELD_OUT]
    calibrating = [file for number, file in enumerate(files) if number % HELD_OUT != HELD_OUT - 1]
    report, target = exported.report, scratch / "int8.onnx"
    batch = 1 if report.dynamic else report.batch
    qdq.quantize(exported.onnx, target, inputs(calibrating, report), batch=batch, symmetric=options.symmetric)
    ours, theirs = (answers_of(onnx, options, report, compared) for onnx in (exported.onnx, target))
    sizes = {"size_bytes": target.stat().st_size, "size_bytes_float": exported.onnx.stat().st_size}
    found = measure(report.task, ours, theirs).model_copy(update={"calibration_pictures": len(calibrating), **sizes})
    log.info("INT8 against FP32: %s", found)
    check(found, options.min_agreement)
    picture = exported.golden.input
    # Triton must answer what this file answers; how far that is from FP32 is in `found`, by many pictures instead of one.
    outputs = {name: array[:1] for name, array in reference.answer(reference.runtime(target), picture, batch).items()}
    return replace(
        exported,
        onnx=target,
        golden=Golden(input=picture, outputs=outputs),
        report=report.model_copy(update={"quantization": found, "reference": "onnxruntime"}),
    )


def readable(directory: Path) -> list[Path]:
    """The pictures that OpenCV reads, by name. Raises InvalidSpec CalibrationPictures where there are too few."""
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    found = [file for file in files if client.read(file) is not None]
    if len(found) < MIN_PICTURES:
        raise InvalidSpec(
            "CalibrationPictures",
            f"{FIELD}.pictures: {len(found)} of {len(files)} files there can be read as pictures, at least {MIN_PICTURES} are needed and 100 to 300 "
            "are better: put more there",
        )
    return found


def inputs(files: Sequence[Path], report: ExportReport) -> Iterator[Array]:
    """The model's input of each picture, (1, channels, height, width), one after the other: they are never all in memory."""
    channels = int(report.metadata.get("channels", 3))
    for file in files:
        picture = client.read(file)
        if picture is not None:  # it was a picture a moment ago, and nobody else writes there
            yield reference.shown(picture, report.task, (report.image_size[0], report.image_size[1]), channels)


def answers_of(onnx: Path, options: ConversionOptions, report: ExportReport, files: Sequence[Path]) -> list[Answer]:
    """What the client finds in each picture, at its own threshold, with this ONNX in the server's place."""
    os.environ.update(settings.environment(os.environ))
    from ultralytics import YOLO  # noqa: PLC0415  in the exporter image only

    running = reference.runtime(onnx)
    _, said = client_check.published(running, report, options.shapes)
    with client_check.stand_in(running, said):
        model = YOLO(client_check.URL, task=report.task.value)
        return [client.answer(model.predict(client.read(file), verbose=False)[0], report.task) for file in files]


def measure(task: Task, ours: Sequence[Answer], theirs: Sequence[Answer]) -> Quantization:
    """What INT8 (`theirs`) lost of what FP32 (`ours`) found in the same pictures. Raises InvalidSpec CalibrationPictures where that is nothing."""
    expected = sum(len(answer.classes) for answer in ours)
    if not expected:
        raise InvalidSpec(
            "CalibrationPictures",
            f"{FIELD}.pictures: FP32 finds nothing in the {len(ours)} pictures that INT8 was to be compared on, so its loss cannot be told: "
            "take pictures of what the model detects",
        )
    # A picture has one class where there are no boxes.
    overlaps: Overlaps = (lambda *_: np.ones((1, 1), dtype=np.float32)) if task is Task.CLASSIFY else client.overlaps(task)
    apart = [
        abs(one.confidences[left] - other.confidences[right])
        for one, other in zip(ours, theirs, strict=True)
        for left, right in answers.pairs(one, other, overlaps)
    ]
    return Quantization(
        agreement=round(len(apart) / expected, 4),
        detections=expected,
        extra_detections=sum(len(answer.classes) for answer in theirs) - len(apart),
        score_difference=round(float(np.mean(apart)), 4) if apart else 0.0,
        pictures=len(ours),
    )


def check(found: Quantization, min_agreement: float) -> None:
    """Refuse a calibration that spoils the model: detections lost, or others made up. Raises InvalidSpec QuantizationLoss."""
    same = round(found.agreement * found.detections)
    real = same / max(same + found.extra_detections, 1)
    if found.agreement >= min_agreement and real >= min_agreement:
        return
    raise InvalidSpec(
        "QuantizationLoss",
        f"{FIELD}: of FP32's {found.detections} detections in {found.pictures} pictures INT8 has {same}, a share of {found.agreement:.2f}; of INT8's "
        f"{same + found.extra_detections} FP32 has a share of {real:.2f}; minAgreement is {min_agreement:g}: take more pictures, like those that the model "
        "is asked with, lower minAgreement, or remove calibration",
    )
