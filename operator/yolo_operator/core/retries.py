"""When a Job that failed is tried again."""

from yolo_operator.core import api, jobs, pods
from yolo_operator.core.context import Context, requeue
from yolo_operator.core.names import Manifest
from yolo_operator.core.progress import Progress


def retry(context: Context, failure: api.Failure, live: Manifest, progress: Progress | None) -> None:
    """A Job has failed: report it, and once its pause is over remove it, so that the next pass makes it anew."""
    if progress is not None:
        report(failure, progress)
    if not failure.permanent and due(context, failure, progress):
        context.result.delete.append(live)


def due(context: Context, failure: api.Failure, progress: Progress | None) -> bool:
    """Whether the next attempt may begin; if not yet, look again when it may. A permanent failure never is."""
    if progress is not None:
        report(failure, progress)
    if failure.permanent:
        return False
    moment = jobs.retry_at(failure, context.defaults)
    if context.now >= moment:
        return True
    requeue(context, moment)
    return False


def report(failure: api.Failure, progress: Progress) -> None:
    """Make a recorded failure the version's problem."""
    progress.problem = pods.Problem(failure.reason, failure.message, failure.permanent)
    progress.stalled = failure.permanent
