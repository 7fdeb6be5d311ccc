"""The child process of export: loads the weights, writes the three files, compares ONNX with reference before handing them on.

Started by exporter/export.py as `python -m`, with options as JSON and a file for its last word. Whatever goes wrong becomes a
reason there; the traceback goes to the container's log.
"""

import shutil
import sys
import traceback
from pathlib import Path

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, ONNX_FILE, SOURCE_FILE
from yolo_operator.core.errors import DISK_FULL, InvalidSpec, OperatorError, Unavailable
from yolo_operator.core.triton.description import ExportReport
from yolo_operator.exporter import client_check, onnx_source, pytorch_source, quantization, wire
from yolo_operator.exporter.export import OUT_OF_MEMORY, ConversionOptions, leave_outcome
from yolo_operator.exporter.source import Source
from yolo_operator.model import golden

MEMORY_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc", "Failed to allocate memory")
"""What PyTorch and ONNX Runtime say in a RuntimeError where Python would raise MemoryError."""


def main() -> None:
    """Exit 0 with the files written, or 1 with a reason left."""
    options, outcome = ConversionOptions.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    try:
        convert(options, outcome.parent)
    except Exception as error:  # noqa: BLE001  the boundary: every fault becomes a reason
        traceback.print_exc()
        leave_outcome(outcome, named(error))
        sys.exit(1)


def convert(options: ConversionOptions, scratch: Path) -> None:
    """Write model.onnx, golden.npz and export.json; export.json last."""
    source = Source.model_validate_json((options.source_directory / SOURCE_FILE).read_bytes())
    weights = options.source_directory / f"weights.{source.kind}"
    match source.kind:
        case "onnx":
            exported = onnx_source.describe(weights, options)
        case _:
            exported = pytorch_source.export(weights, source, options, scratch)
    if options.pictures_directory is not None:
        exported = quantization.quantized(exported, options, options.pictures_directory, scratch)
    if source.kind != "onnx":
        exported = wire.finish(exported, options, scratch)
    client_check.check(exported, options.shapes)
    directory = options.export_directory
    shutil.copyfile(exported.onnx, directory / ONNX_FILE)
    golden.write(directory / GOLDEN, exported.golden)
    (directory / EXPORT_FILE).write_text(exported.report.model_dump_json(by_alias=True), encoding="utf-8")
    say(exported.report)


def say(report: ExportReport) -> None:
    """One line for the log."""
    size = "x".join(str(pixels) for pixels in report.image_size)
    sys.stderr.write(f"exported: {report.task}, {len(report.names)} classes, {size}, opset {report.opset}, reference {report.reference}\n")


def named(error: Exception) -> OperatorError:
    """Any exception as one of ours; what is wrong with the weights names the field they come from."""
    if isinstance(error, InvalidSpec) and "spec." not in error.message:
        return InvalidSpec(error.reason, f"{error.message}; check spec.versions[].source.uri")
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in MEMORY_SIGNS):
        return InvalidSpec("OutOfMemory", OUT_OF_MEMORY)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return Unavailable("DiskFull", "no room is left for the export: raise spec.build.storageSize")
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InvalidSpec(
        "ExportFailed", f"{type(error).__name__}: {first[:400]}; see the export container's log, and check spec.versions[].source.uri and export"
    )


if __name__ == "__main__":
    main()
