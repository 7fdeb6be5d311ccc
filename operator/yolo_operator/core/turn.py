"""One pass over one resource: what every step is given, what it adds to, and how it tries a failed Job again. Knows no step."""

from dataclasses import dataclass, field
from datetime import datetime

from yolo_operator.core import api, jobs, pods
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, Progress


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to write: objects to apply, Jobs to create, objects to delete, pods to let in, and the status."""

    status: api.Status
    apply: list[Manifest] = field(default_factory=list)
    create: list[Manifest] = field(default_factory=list)
    delete: list[Manifest] = field(default_factory=list)
    let_in: list[Manifest] = field(default_factory=list)
    finalizer: bool = False
    """Whether our finalizer is to be on the resource."""
    again_at: datetime | None = None
    """When to look again although no bell rings."""
    notice: tuple[str, str] | None = None
    """Reason and message of an Event that no condition carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What every step of one pass is given; `result` is what they add to."""

    yolo: api.YoloDeployment
    observed: Observed
    defaults: Defaults
    now: datetime
    result: Plan


def retry(turn: Turn, failure: api.Failure, live: Manifest, progress: Progress | None) -> None:
    """A Job has failed: report it, and once its pause is over remove it, so that the next pass makes it anew."""
    if progress is not None:
        report(failure, progress)
    if not failure.permanent and due(turn, failure, progress):
        turn.result.delete.append(live)


def due(turn: Turn, failure: api.Failure, progress: Progress | None) -> bool:
    """Whether the next attempt may begin; if not yet, look again when it may. A permanent failure never is."""
    if progress is not None:
        report(failure, progress)
    if failure.permanent:
        return False
    moment = jobs.retry_at(failure, turn.defaults)
    if turn.now >= moment:
        return True
    look_again(turn, moment)
    return False


def look_again(turn: Turn, moment: datetime | None) -> None:
    """Look again at that time, if not before."""
    if moment is not None:
        turn.result.again_at = moment if turn.result.again_at is None else min(turn.result.again_at, moment)


def report(failure: api.Failure, progress: Progress) -> None:
    """Make a recorded failure the version's problem."""
    progress.problem = pods.Problem(failure.reason, failure.message, failure.permanent)
    progress.stalled = failure.permanent
