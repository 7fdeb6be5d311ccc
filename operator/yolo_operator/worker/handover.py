"""Takes over what the exporter left, without trusting it: a .pt is a pickle, its code ran in that container.

Regular files only and no links, everything bounded in size, JSON against its schema, the ONNX read by our own parser, arrays
without pickles. What the ONNX says about itself counts, not what export.json says about the ONNX.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, MAX_GOLDEN_BYTES, ONNX_FILE, SOURCE_FILE, Source, Task
from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.core.triton import signature
from yolo_operator.core.triton.description import Description, ExportReport
from yolo_operator.model import golden, onnx_file

Model = TypeVar("Model", bound=BaseModel)

MAX_REPORT_BYTES = 16 * 1024 * 1024
MAX_SOURCE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A checked export."""

    description: Description
    onnx: BufferedReader
    """The very file that was checked: no other can take its name meanwhile."""
    golden: bytes
    source: Source


@contextmanager
def take(export_directory: Path, source_directory: Path, task: Task | None) -> Iterator[Handover]:
    """Read and check everything; the ONNX is open inside. Raises InvalidSpec: InvalidExport, InvalidOnnx, UnsafeOnnx, TaskMismatch, InvalidGolden, …"""
    report = parse(ExportReport, read(export_directory, EXPORT_FILE, MAX_REPORT_BYTES), EXPORT_FILE)
    if task is not None and report.task is not task:
        raise InvalidSpec("TaskMismatch", f"the weights are for {report.task}, spec.task says {task}")
    with opened(export_directory, ONNX_FILE, onnx_file.MAX_BYTES) as onnx:
        facts, _ = onnx_file.inspect(onnx)
        source = fetched(source_directory)
        description = Description(report=report, onnx=facts, source_sha256=source.sha256)
        signature.check(description)
        archive = read(export_directory, GOLDEN, MAX_GOLDEN_BYTES)
        check_golden(golden.read(archive), description)
        yield Handover(description=description, onnx=onnx, golden=archive, source=source)


def fetched(source_directory: Path) -> Source:
    """What fetch says that it brought."""
    return parse(Source, read(source_directory, SOURCE_FILE, MAX_SOURCE_BYTES), SOURCE_FILE)


def read(directory: Path, name: str, limit: int) -> bytes:
    """The content of one regular file of the directory, at most `limit` bytes. Raises as `opened` does."""
    with opened(directory, name, limit) as file:
        return file.read(limit)


@contextmanager
def opened(directory: Path, name: str, limit: int) -> Iterator[BufferedReader]:
    """One regular file of the directory, at most `limit` bytes; neither it nor the directory may be a link.

    Raises InvalidSpec UnsafeExport, WeightsTooLarge, Unavailable ExportMissing.
    """
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError as error:
        raise Unavailable("ExportMissing", f"{name} is not there: the exporter wrote nothing; see the export container's log") from error
    except OSError as error:
        raise InvalidSpec("UnsafeExport", f"{name} is no regular file of its directory: the weights' code tampered with the export") from error
    with os.fdopen(file, "rb") as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise InvalidSpec("UnsafeExport", f"{name} is no regular file: the weights' code tampered with the export")
        if state.st_size > limit:
            raise InvalidSpec("WeightsTooLarge", f"{name} has {state.st_size} bytes, more than the {limit} that can be published")
        yield stream


def parse(schema: type[Model], content: bytes, name: str) -> Model:
    """JSON against its schema. Raises InvalidSpec InvalidExport with the first fault's place, not its value."""
    try:
        return schema.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec("InvalidExport", f"{name}: {place}: {first['msg']}"[:500]) from error


def check_golden(found: golden.Golden, description: Description) -> None:
    """The picture fits the input, the answers fit the outputs. Raises InvalidSpec InvalidGolden."""
    onnx = description.onnx
    wanted = {tensor.name: tensor.shape[1:] for tensor in onnx.outputs}
    fits = (
        list(found.input.shape[2:]) == list(description.report.image_size)
        and onnx.inputs[0].shape[1] in (-1, found.input.shape[1])
        and set(found.outputs) == set(wanted)
        and all(fitting(list(array.shape), [1, *wanted[name]]) for name, array in found.outputs.items())
    )
    if not fits:
        raise InvalidSpec("InvalidGolden", "the golden picture's shapes or names are not those of the ONNX; rebuild the version")


def fitting(shape: list[int], declared: list[int]) -> bool:
    """Whether a real shape is one that the declared one (-1: any) allows."""
    return len(shape) == len(declared) and all(size in (-1, real) for real, size in zip(shape, declared, strict=True))
