"""What is known about a model once it is an ONNX file: from the exporter, from the ONNX itself, and both together.

`ExportReport` is what the exporter claims (export.json); the publisher takes tensors, opset and IR version from the ONNX
instead (`OnnxFacts`) and keeps both in a `Description`, which stands in manifest.json and is all that config.pbtxt is made from.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from yolo_operator.core.contract import Quantization, Recorded, Task, Tensor, Value

MAX_CLASSES = 20_000
MAX_NAME_LENGTH = 1_000
MAX_METADATA_DEPTH = 6
MAX_METADATA_VALUES = 100_000

Precision = Literal["FP32", "FP16", "INT8"]
PRECISIONS: tuple[Precision, ...] = ("FP32", "FP16", "INT8")
"""Of the numbers that answers are computed in, the closest first: each allows answers to be further from the reference's."""

ImageSize = Annotated[list[Annotated[int, Field(ge=1, le=16_384)]], Field(min_length=2, max_length=2)]


def lowest(*precisions: str) -> Precision:
    """The coarsest of some precisions, by which answers are judged; "" among them says nothing."""
    return max((known for known in PRECISIONS if known in precisions), key=PRECISIONS.index, default="FP32")


def plain(value: Any, depth: int = 0) -> Any:
    """Keep what JSON and a Python literal both can say: other values, NaN and infinities become strings, tuples lists.

    Raises ValueError where it is nested deeper than MAX_METADATA_DEPTH.
    """
    if depth > MAX_METADATA_DEPTH:
        raise ValueError(f"metadata is nested deeper than {MAX_METADATA_DEPTH}")
    match value:
        case None | bool() | int():
            return value
        case str():
            return readable(value)
        case float():
            return value if value - value == 0 else str(value)
        case list() | tuple():
            return [plain(item, depth + 1) for item in value]
        case dict():
            return {readable(str(key)): plain(item, depth + 1) for key, item in value.items()}
        case _:
            return readable(str(value))


def readable(text: str) -> str:
    """The text, with what UTF-8 cannot say (lone surrogates, from a careless pickle) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class ExportReport(Value):
    """export.json: what the exporter says about the ONNX it wrote. Data from a container that ran foreign code."""

    task: Task
    names: Annotated[list[Annotated[str, Field(max_length=MAX_NAME_LENGTH)]], Field(min_length=1, max_length=MAX_CLASSES)]
    """Class names in the order of their index."""
    stride: Annotated[int, Field(ge=1, le=1024)]
    """Pixels; the image size is a multiple of it."""
    image_size: ImageSize
    """Height and width in pixels."""
    batch: Annotated[int, Field(ge=1, le=1024)]
    dynamic: bool
    half: bool
    nms: bool
    # Left out where it is false: a release that does not know the field refuses the whole.
    batched_nms: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    """The NMS in the graph answers for any batch; Ultralytics' own only for the batch it was traced with."""
    end_to_end: bool
    """The outputs are final detections (N x 300 x 6 and more) and no NMS follows."""
    kpt_shape: Annotated[list[int], Field(max_length=2)] | None = None
    """Keypoints and values per keypoint, for pose."""
    ultralytics: Annotated[str, Field(max_length=64)] = ""
    torch: Annotated[str, Field(max_length=64)] = ""
    opset: int
    ir_version: int
    reference: Literal["pytorch", "onnxruntime"]
    """What the golden outputs come from."""
    # Left out where there is none: releases that do not know it read a manifest as unreadable where a field is unknown to them.
    quantization: Annotated[Quantization | None, Field(exclude_if=lambda value: value is None)] = None
    """What INT8 lost, where the ONNX was quantized."""
    metadata: dict[str, Any]
    """Ultralytics' own metadata of the export, as JSON; the client reads it from the server."""

    @field_validator("metadata")
    @classmethod
    def _bounded(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        if count_values(metadata) > MAX_METADATA_VALUES:
            raise ValueError(f"metadata has more than {MAX_METADATA_VALUES} values")
        kept: dict[str, Any] = plain(metadata)
        return kept


def count_values(value: Any) -> int:
    """How many values a nested list or dict holds, itself included."""
    match value:
        case dict():
            return 1 + sum(count_values(item) for item in value.values())
        case list():
            return 1 + sum(count_values(item) for item in value)
        case _:
            return 1


class OnnxFacts(Recorded):
    """What the ONNX file itself declares."""

    sha256: str
    size_bytes: int
    opset: int
    ir_version: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    precision: Precision = "FP32"
    """The coarsest numbers in its graph: half-precision tensors, or quantized ones."""


class Description(Value):
    """Everything config.pbtxt, verification and the status need to know about a model."""

    report: ExportReport
    onnx: OnnxFacts
    source_sha256: str

    @property
    def final_detections(self) -> bool:
        """Whether the outputs are detections and not anchors: an end-to-end head or an embedded NMS."""
        return self.report.end_to_end or self.report.nms

    @property
    def precision(self) -> Precision:
        """The coarsest numbers that the ONNX computes in; a revision of before `OnnxFacts.precision` has `half` alone."""
        return lowest(self.onnx.precision, "FP16" if self.report.half else "FP32")
