"""decoder: a serving pod's init container. Brings OpenCV, which decodes pictures there: the server's image has Python and NumPy, and no decoder."""

import os
import shutil
from pathlib import Path

from yolo_operator.core.contract import PICTURE_DECODER_DIRECTORY, PICTURE_DECODER_VARIABLE
from yolo_operator.core.errors import DISK_FULL, Unavailable


def run(directory: Path) -> dict[str, object]:
    """How many files were brought; after a restart of the pod they are brought again. Raises DiskFull, DecoderMissing."""
    source = Path(os.environ.get(PICTURE_DECODER_VARIABLE, PICTURE_DECODER_DIRECTORY))
    if not source.is_dir():
        raise Unavailable("DecoderMissing", f"this image has no {source}: set the chart's images.operator to the image of this release")
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    try:
        for path in files:
            target = directory / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise Unavailable("DiskFull", "the node has no room for the decoder of pictures") from error
        raise
    return {"files": len(files)}
