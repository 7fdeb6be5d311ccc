"""What the Ultralytics client will ask the served model with: found by running the client itself, with ONNX Runtime in the server's place.

The unmodified package reads the metadata that will be published, prepares a picture as it does for any user, and sends it to a
stand-in for its Triton connection (ultralytics/utils/triton.py), which notes the shape and answers from the exported ONNX.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import metadata
from yolo_operator.core.triton.description import Description, ExportReport, OnnxFacts
from yolo_operator.core.triton.shapes import Shapes, resolve
from yolo_operator.exporter import reference
from yolo_operator.exporter.source import Exported
from yolo_operator.model import golden

URL = "http://triton:8000/model"
"""Never connected to."""


def check(exported: Exported, wanted: Shapes | None) -> None:
    """Refuse a model that the client would ask with another size than it is made for. Raises InvalidSpec ClientMismatch, ShapesInvalid."""
    report, running = exported.report, reference.runtime(exported.onnx)
    shapes, said = published(running, report, wanted)
    # Half of it, so that it is no square: only then does it show whether the client pads to one.
    photograph = golden.photograph(exported.golden.input)
    wide = np.ascontiguousarray(photograph[: max(photograph.shape[0] // 2, 1)])
    for asked in requests(running, said, report, wide):
        if not fits(asked, shapes, report):
            size, made_for = ("x".join(str(pixels) for pixels in pair) for pair in (asked[2:], report.image_size))
            raise InvalidSpec(
                "ClientMismatch",
                f"the Ultralytics client would ask with pictures of {size}, and the model is made for {made_for} ({shapes} shapes): "
                "set spec.versions[].export.imageSize to a multiple of the stride, or spec.versions[].export.shapes to Fixed",
            )


def published(running: Any, report: ExportReport, wanted: Shapes | None) -> tuple[Shapes, dict[str, Any]]:
    """The shapes that will be served, and the metadata that the client will read. Raises InvalidSpec ShapesInvalid."""
    tensor = declared(running)
    shapes = resolve(wanted, report.task, report.image_size, tensor)
    return shapes, metadata.metadata(described(report, tensor), shapes)


def fits(asked: Sequence[int], shapes: Shapes, report: ExportReport) -> bool:
    """Whether a request's shape, (batch, channels, height, width), is one that the model is made for."""
    size = list(asked[2:])
    if shapes == "Fixed":
        return size == list(report.image_size)
    return max(size) == max(report.image_size) and all(pixels % report.stride == 0 for pixels in size)


def declared(running: Any) -> Tensor:
    """The ONNX's input; a symbolic dimension is -1."""
    given = running.get_inputs()[0]
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in given.shape]
    return Tensor(name=given.name, datatype="FP16" if "float16" in given.type else "FP32", shape=shape)


def described(report: ExportReport, tensor: Tensor) -> Description:
    """The description that the metadata is made from; what the worker finds in the file itself does not matter to it."""
    facts = OnnxFacts(sha256="", size_bytes=0, opset=report.opset, ir_version=report.ir_version, inputs=[tensor], outputs=[])
    return Description(report=report, onnx=facts, source_sha256="")


def requests(running: Any, said: dict[str, Any], report: ExportReport, picture: npt.NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """Shapes of all that the client sends for one picture, its own warm-up among them."""
    from ultralytics import YOLO  # noqa: PLC0415  in the exporter image only

    with stand_in(running, said) as asked:
        YOLO(URL, task=report.task.value).predict(picture, verbose=False)
    return asked


@contextmanager
def stand_in(running: Any, said: dict[str, Any]) -> Iterator[list[tuple[int, ...]]]:
    """While it lasts, the client's connections lead to the ONNX; gives the shapes that were sent."""
    from ultralytics.utils import triton  # noqa: PLC0415

    asked: list[tuple[int, ...]] = []

    class Connection:
        """As TritonRemoteModel: metadata, and a call with the pictures."""

        def __init__(self, *_: object) -> None:
            self.metadata = dict(said)

        def __call__(self, pictures: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
            asked.append(pictures.shape)
            given = running.get_inputs()[0]
            names = sorted(output.name for output in running.get_outputs())
            values = running.run(names, {given.name: pictures.astype(np.float16 if "float16" in given.type else np.float32)})
            return [np.asarray(value, dtype=pictures.dtype) for value in values]

    real = triton.TritonRemoteModel
    triton.TritonRemoteModel = Connection
    try:
        yield asked
    finally:
        triton.TritonRemoteModel = real
