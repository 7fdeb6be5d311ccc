"""golden.npz: a real picture as the model's input and what the reference answered to it."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yolo_operator.core.contract import GOLDEN_INPUT
from yolo_operator.core.errors import InvalidSpec

MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
MAX_OUTPUTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Input float32 (1, channels, height, width) within 0..1, and outputs by name, each of one picture."""

    input: npt.NDArray[np.float32]
    outputs: dict[str, npt.NDArray[np.float32]]


def write(path: Path, golden: Golden) -> None:
    """Write the archive; names of outputs are those of the ONNX."""
    np.savez_compressed(path, **{GOLDEN_INPUT: golden.input, **golden.outputs})  # type: ignore[arg-type]


def read(source: Path | bytes) -> Golden:
    """Read an archive that somebody else wrote: no pickles, no bombs, no NaN. Raises InvalidSpec InvalidGolden."""
    try:
        return load(source)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InvalidSpec("InvalidGolden", f"the golden picture cannot be read: {error}; rebuild the version (spec.versions[].rebuild)") from error


def load(source: Path | bytes) -> Golden:
    """As `read`, with the errors of numpy and zipfile, and ValueError for what they let pass."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES or len(entries) > MAX_OUTPUTS + 1:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes or {MAX_OUTPUTS + 1} arrays")
    if isinstance(file, io.BytesIO):
        file.seek(0)
    with np.load(file, allow_pickle=False) as archive_of_arrays:
        arrays = {name: archive_of_arrays[name] for name in archive_of_arrays.files}
    picture = arrays.pop(GOLDEN_INPUT)
    if picture.dtype != np.float32 or picture.ndim != 4 or picture.shape[0] != 1 or not arrays:
        raise ValueError(f"its input is {picture.dtype} {picture.shape}, or it has no outputs")
    if any(array.dtype.kind != "f" or not np.isfinite(array).all() for array in (picture, *arrays.values())):
        raise ValueError("it holds values that are no finite numbers")
    return Golden(input=picture, outputs={name: array.astype(np.float32) for name, array in arrays.items()})


def repeated(picture: npt.NDArray[np.float32], datatype: str, batch: int) -> npt.NDArray[np.generic]:
    """The picture as a batch of `batch` equal ones, in the model's input type (FP32 or FP16)."""
    typed = picture.astype(np.float16 if datatype == "FP16" else np.float32)
    return np.ascontiguousarray(np.repeat(typed, batch, axis=0))


def photograph(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The picture as OpenCV reads one from a file: (height, width, channels), BGR, 8 bits."""
    array: npt.NDArray[np.float32] = picture[0].transpose(1, 2, 0)[..., ::-1]
    return np.ascontiguousarray(np.rint(array * 255).clip(0, 255).astype(np.uint8))
