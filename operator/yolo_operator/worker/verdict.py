"""The verdict that check leaves in the build Pod for fetch, export and publish."""

from pathlib import Path

from pydantic import ValidationError

from yolo_operator.core.contract import VERDICT_FILE, Verdict
from yolo_operator.core.errors import Unavailable

MAX_BYTES = 4096


def write(directory: Path, verdict: Verdict) -> None:
    """Leave the verdict; the directory is made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / VERDICT_FILE).write_text(verdict.model_dump_json(by_alias=True))


def read(directory: Path) -> Verdict:
    """The verdict that check left. Raises Unavailable VerdictMissing: the containers did not run in their order."""
    try:
        with (directory / VERDICT_FILE).open("rb") as file:
            return Verdict.model_validate_json(file.read(MAX_BYTES))
    except (OSError, ValidationError) as error:
        raise Unavailable("VerdictMissing", f"check left no readable verdict in {directory}: it must run before") from error
