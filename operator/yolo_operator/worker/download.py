"""Brings a remote file to the disk: resumes what broke off, in this run or the one before, within one deadline.

The part that is there lies in <name>.part, and beside it in <name>.part.json the ETag it belongs to. Without a strong ETag
nobody could tell whether the rest fits, so it begins anew.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from yolo_operator.core.errors import DISK_FULL, InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker.remote import Changed, Opened, Remote, TryAgain

PATIENCE = 6
"""Attempts in a row that bring not one byte; then the fault is told and the operator starts anew later."""
LONGEST_WAIT = 15
"""Seconds between two attempts, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long."""

    max_bytes: int
    deadline: float
    """Of time.monotonic()."""


class Download:
    """One file on its way. Not to be used twice."""

    def __init__(self, remote: Remote, target: Path, limits: Limits) -> None:
        self._remote, self._target, self._limits = remote, target, limits
        self._part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._barren = 0

    def run(self, sha256: str) -> tuple[str, int]:
        """Digest and size of the file, now in its place. Raises InvalidSpec ChecksumMismatch, WeightsTooLarge; Unavailable."""
        found, resumed = self._bring()
        if self._differs(found, sha256) and resumed:
            # Parts of two contents under one ETag: not the user's fault until a whole download says the same.
            self._forget()
            found, _ = self._bring()
        if differs := self._differs(found, sha256):
            self._forget()
            raise InvalidSpec("ChecksumMismatch", f"{self._remote.shown} has sha256 {found}, {differs}: one of them is wrong")
        size = self._part.stat().st_size
        self._part.replace(self._target)
        self._note.unlink(missing_ok=True)
        return found, size

    def _differs(self, found: str, sha256: str) -> str:
        """Who says another digest; "" where nobody does."""
        said = {"spec.versions[].source.sha256": sha256, "its manifest": self._remote.sha256}
        return " and ".join(f"{who} says {digest}" for who, digest in said.items() if digest not in ("", found))

    def _bring(self) -> tuple[str, bool]:
        """The whole file in the part's place; its digest, and whether it came in pieces."""
        before = self._have()[0] > 0
        retrying = Retrying(
            retry=retry_if_exception_type((TryAgain, Changed)),
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT),
            stop=self._hopeless,
            retry_error_callback=self._tell,
        )
        try:
            retrying(self._attempt)
        except OSError as error:
            if error.errno in DISK_FULL:
                self._forget()
                raise disk_full() from error
            raise
        with self._part.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), before or retrying.statistics.get("attempt_number", 1) > 1

    def _have(self) -> tuple[int, str]:
        """Bytes that can be resumed from, and their ETag; (0, "") where nothing can."""
        try:
            note = json.loads(self._note.read_text())
            size, validator = self._part.stat().st_size, str(note["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        return (size, validator) if note.get("from") == self._remote.shown and validator and size else (0, "")

    def _attempt(self) -> None:
        """From what is there to the end. Raises TryAgain or Changed for the next attempt."""
        have, validator = self._have()
        try:
            opened = self._remote.open(have, validator)
        except Changed:
            self._forget()
            raise
        if opened.total is not None and opened.total > self._limits.max_bytes:
            raise too_large(self._remote, self._limits)
        got = self._write(opened)
        if opened.total is not None and got < opened.total:
            raise TryAgain(f"{self._remote.shown}: the connection ended after {got} of {opened.total} bytes")
        if opened.total is not None and got > opened.total:
            self._forget()
            raise TryAgain(f"{self._remote.shown}: more bytes came than were announced")

    def _write(self, opened: Opened) -> int:
        """Append to the part, or begin it; its size now."""
        self._note.write_text(json.dumps({"from": self._remote.shown, "validator": opened.validator}))
        with self._part.open("r+b" if opened.offset else "wb") as file:
            file.seek(opened.offset)
            file.truncate()
            size = opened.offset
            for chunk in opened.chunks:
                size += len(chunk)
                if size > self._limits.max_bytes:
                    file.close()
                    self._forget()
                    raise too_large(self._remote, self._limits)
                file.write(chunk)
                self._barren = 0
                if time.monotonic() > self._limits.deadline:
                    raise TryAgain(f"{self._remote.shown}: {size} bytes came, then the time was over", "Timeout")
        return size

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _hopeless(self, state: RetryCallState) -> bool:
        """Whether to stop: at the deadline, or after PATIENCE attempts without a byte."""
        self._barren += 1
        wait = state.upcoming_sleep if state.upcoming_sleep else 0
        return self._barren > PATIENCE or time.monotonic() + wait > self._limits.deadline

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TryAgain):
            raise Unavailable(error.reason, f"{error}; tried {state.attempt_number} times, it is tried again later") from error
        raise Unavailable("SourceUnreachable", f"{self._remote.shown}: its content changes while it is read") from error


def disk_full() -> OperatorError:
    """No room for the weights."""
    return Unavailable("DiskFull", "no room is left for the weights: raise spec.build.storageSize")


def too_large(remote: Remote, limits: Limits) -> OperatorError:
    """More bytes than weights may have."""
    return InvalidSpec("WeightsTooLarge", f"{remote.shown} has more than the {limits.max_bytes} bytes that are allowed: is it the right file?")
