"""export: turns weights into model.onnx, golden.npz and export.json, in a child process that may run the weights' code.

This half imports neither PyTorch nor Ultralytics: it starts the child (exporter/conversion.py), keeps the deadline, and says
what happened where the child cannot: killed by the kernel for its memory, still in C code at the deadline, gone without a word.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, ONNX_FILE, SOURCE_FILE, VERDICT_FILE, Outcome, Source, Task, Verdict, WireDatatype
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.core.triton.shapes import Shapes
from yolo_operator.exporter import settings

CHILD = "yolo_operator.exporter.conversion"
MAX_OUTCOME_BYTES = 64 * 1024
PERMANENT = "permanent"
"""Name of the file that says whether the child's fault is of the weights or transient."""
OUT_OF_MEMORY = "the weights need more memory than the container may have: raise spec.build.resources.limits.memory"


class ConversionOptions(BaseModel):
    """What the child is asked; goes to it as JSON."""

    model_config = ConfigDict(frozen=True)

    source_directory: Path
    export_directory: Path
    image_size: tuple[int, int] | None = None
    """Height and width in pixels; None: the weights' own."""
    dynamic: bool = True
    shapes: Shapes | None = None
    """As in core/triton/shapes.py: one size of pictures, or any."""
    half: bool = False
    simplify: bool = True
    opset: int | None = None
    nms: bool = False
    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300
    agnostic_nms: bool = False
    input_datatype: WireDatatype = "FP32"
    output_datatype: WireDatatype = "FP32"
    batch: int = 1
    task: Task | None = None
    pictures_directory: Path | None = None
    """Pictures to quantize to INT8 by; None: nothing is quantized."""
    min_agreement: float = 0.8
    """Least share of FP32's detections that INT8 must have too, 0 to 1."""
    symmetric: bool = False
    """Quantize as TensorRT wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The child's options and what the parent needs."""

    conversion: ConversionOptions
    check_directory: Path
    timeout: float
    """Seconds."""


def run(options: ExportOptions) -> None:
    """Export, unless check or fetch found that there is nothing to do. Raises what the child reports, DeadlineExceeded, OutOfMemory."""
    verdict = Verdict.model_validate_json((options.check_directory / VERDICT_FILE).read_bytes())
    if verdict.state != "missing":
        return
    fetched = options.conversion.source_directory / SOURCE_FILE
    if not fetched.is_file():
        raise Unavailable("SourceMissing", "fetch left no weights: it must run before")
    if Source.model_validate_json(fetched.read_bytes()).reuse:
        return
    directory = options.conversion.export_directory
    directory.mkdir(parents=True, exist_ok=True)
    for name in (ONNX_FILE, GOLDEN, EXPORT_FILE):
        (directory / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="export-", dir=directory) as scratch:
        outcome = Path(scratch) / "outcome.json"
        code = converse(options, outcome)
        report(code, outcome)
    for name in (ONNX_FILE, GOLDEN, EXPORT_FILE):
        if not (directory / name).is_file():
            raise InvalidSpec("ExportFailed", f"the export ended without {name}: see the export container's log and check spec.versions[].source.uri")


def converse(options: ExportOptions, outcome: Path) -> int:
    """Run the child to its end or to the deadline; its exit code, negative where a signal ended it."""
    asked = options.conversion.model_copy(
        update={
            "source_directory": options.conversion.source_directory.absolute(),
            "export_directory": options.conversion.export_directory.absolute(),
            "pictures_directory": options.conversion.pictures_directory and options.conversion.pictures_directory.absolute(),
        }
    )
    command = [sys.executable, "-m", CHILD, asked.model_dump_json(), str(outcome.absolute())]
    environment = settings.environment(os.environ) | {"TMPDIR": str(outcome.parent.absolute())}
    # Ultralytics writes an architecture's ONNX into the working directory.
    with subprocess.Popen(  # noqa: S603  our own interpreter
        command, env=environment, cwd=outcome.parent, stdin=subprocess.DEVNULL, start_new_session=True
    ) as child:
        try:
            return child.wait(timeout=options.timeout)
        except subprocess.TimeoutExpired as error:
            raise InvalidSpec(
                "DeadlineExceeded",
                f"the export took longer than {options.timeout:.0f} s: raise spec.build.timeout, or spec.build.resources for more CPU",
            ) from error
        finally:
            # The child's own children too: the weights' code may have started some.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def report(code: int, outcome: Path) -> None:
    """Raise what the child said, or what its exit code says."""
    if code == 0:
        return
    if code == -signal.SIGKILL:
        raise InvalidSpec("OutOfMemory", f"the export was killed: {OUT_OF_MEMORY}")
    said = read_outcome(outcome)
    if said is not None and said.reason:
        kind = InvalidSpec if (outcome.parent / PERMANENT).exists() else Unavailable
        raise kind(said.reason, said.message)
    free = shutil.disk_usage(outcome.parent).free
    if free < 1024 * 1024:
        raise Unavailable("DiskFull", "no room is left for the export: raise spec.build.storageSize")
    raise InvalidSpec(
        "ExportFailed", f"the export ended with code {code} and said nothing: see the export container's log and check spec.versions[].source.uri"
    )


def read_outcome(path: Path) -> Outcome | None:
    """The child's last word; None where there is none."""
    try:
        with path.open("rb") as file:
            return Outcome.decode(file.read(MAX_OUTCOME_BYTES).decode(errors="replace"))
    except OSError:
        return None


def leave_outcome(path: Path, error: OperatorError) -> None:
    """The child's side: say why, for the parent to raise."""
    path.write_text(Outcome(reason=error.reason, message=error.message[:1500]).model_dump_json(by_alias=True))
    if isinstance(error, InvalidSpec):
        (path.parent / PERMANENT).touch()
