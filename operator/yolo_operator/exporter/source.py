"""What fetch left for the exporter, and what an export consists of before it is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from yolo_operator.core.contract import camel
from yolo_operator.core.triton.description import ExportReport
from yolo_operator.model.golden import Golden


class Source(BaseModel):
    """source.json, the part the exporter needs."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=camel, populate_by_name=True)

    kind: Literal["pt", "onnx", "yaml"]
    file_name: str
    """As the user named it: an architecture's scale (n, s, m, l, x) is in its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An ONNX with its reference answers and its description."""

    onnx: Path
    golden: Golden
    report: ExportReport
