"""Writes of one pass that were refused: each is noted, none holds up the others, and the status tells of all of them."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from yolo_operator.controller import telemetry
from yolo_operator.controller.cache import Key
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Missing, NamespaceTerminating
from yolo_operator.controller.leader import LeadershipLost
from yolo_operator.core.errors import InvalidSpec, NotReady, OperatorError, Unavailable

log = logging.getLogger(__name__)

TOLD = 3
"""Refusals that a message names; the others are counted, and all of them are in the log."""
TOLD_LENGTH = 600
"""Characters of each message, where there are several."""


class Refusals:
    """What went wrong in one pass."""

    def __init__(self) -> None:
        self._noted: list[tuple[str, OperatorError]] = []

    @contextmanager
    def noted(self, verb: str, manifest: Manifest) -> Iterator[None]:
        """Note the write of an object that is refused, and go on. Any other exception passes: a lost Lease ends the pass."""
        try:
            yield
        except OperatorError as error:
            self.note(error, f"{verb} {manifest['kind']} {manifest['metadata']['name']!r}")

    @contextmanager
    def faults(self, key: Key) -> Iterator[None]:
        """The last line of defence: note whatever ends a part of a pass, be it a fault of ours, so that the status tells of it. But a lost Lease."""
        try:
            yield
        except LeadershipLost:
            raise
        except OperatorError as error:
            self.note(error)
        except Exception as error:
            log.exception("pass failed", extra={"namespace": key.namespace, "resource": key.name})
            self.note(Unavailable("InternalError", f"{type(error).__name__}: {error}"))

    def note(self, error: OperatorError, what: str = "") -> None:
        """Note an error, and what was to be done."""
        self._noted.append((what, error))

    def __iter__(self) -> Iterator[tuple[str, OperatorError]]:
        return iter(self._noted)

    def namespace_terminating(self) -> bool:
        """Whether one was refused because the namespace is being deleted."""
        return any(isinstance(error, NamespaceTerminating) for _, error in self._noted)

    def retried(self) -> bool:
        """Whether trying again may help: not where an edit or an event is awaited, nor in a namespace that ends."""
        return not all(isinstance(error, InvalidSpec | NotReady | Missing | NamespaceTerminating) for _, error in self._noted)

    def summary(self) -> OperatorError | None:
        """All of them as one error: of the kind of the first that only an edit can cure, else of the first."""
        if not self._noted:
            return None
        ordered = sorted(self._noted, key=lambda noted: not isinstance(noted[1], InvalidSpec))
        first = ordered[0][1]
        several = len(ordered) > 1
        texts = [f"{what}: {error.message}" if what else error.message for what, error in ordered]
        if several:
            texts = [text if len(text) <= TOLD_LENGTH else f"{text[:TOLD_LENGTH]}…" for text in texts]
        more = [f"and {len(texts) - TOLD} more"] if len(texts) > TOLD else []
        head = f"{len(texts)} refusals: " if several else ""
        return type(first)(first.reason, head + "; ".join([*texts[:TOLD], *more]))

    def tell(self, key: Key, body: Manifest, seconds: float) -> bool:
        """Log and count the pass that this was; whether it went well."""
        error, well = self.summary(), not self.retried()
        telemetry.duration.observe(seconds)
        telemetry.reconciles.labels("ok" if error is None else "error").inc()
        for what, refusal in self._noted:
            if what:
                log.info("refused", extra={"namespace": key.namespace, "resource": key.name, "what": what, "reason": refusal.reason, "error": refusal.message})
        fields: dict[str, Any] = {
            "namespace": key.namespace,
            "resource": key.name,
            "generation": body["metadata"].get("generation"),
            "seconds": round(seconds, 4),
        }
        if error is not None:
            telemetry.errors.labels(error.reason).inc()
            fields |= {"reason": error.reason, "error": error.message}
        log.log(logging.INFO if well else logging.WARNING, "reconciled", extra=fields)
        return well


async def one_pass(key: Key, body: Manifest, steps: Callable[[Refusals], Awaitable[None]]) -> bool:
    """Run the steps of a pass, whatever becomes of them; whether it went well."""
    started, refusals = time.monotonic(), Refusals()
    with refusals.faults(key):
        try:
            await steps(refusals)
        except LeadershipLost as lost:
            refusals.note(Unavailable("LeadershipLost", str(lost)))
    return refusals.tell(key, body, time.monotonic() - started)
