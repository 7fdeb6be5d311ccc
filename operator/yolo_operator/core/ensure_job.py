"""Ensuring a Job: the one way in which steps create Jobs, wait for them, read their results and try again.

A Job that is wanted and absent is created, one that is there is left to run. A failed one is recorded, and after a pause that grows with
every failure it is deleted, so that the next pass creates it anew. A terminal failure is never tried again under the same key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from yolo_operator.core import api, jobs
from yolo_operator.core.context import Context, requeue
from yolo_operator.core.names import Manifest
from yolo_operator.core.pods import Problem
from yolo_operator.core.progress import SUSPENDED, Progress

Result = TypeVar("Result", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensured(Generic[Result]):
    """What a wanted Job has come to."""

    succeeded: bool = False
    """It has ended well, and its result, where one is wanted, could be read."""
    result: Result | None = None
    """What it reported; only where a result is wanted."""
    failure: api.Failure | None = None
    """To be recorded: why the latest attempt failed. None once one has succeeded."""
    problem: Problem | None = None
    """Why it has not succeeded: what its Pods show, or the failure that the next attempt waits for."""
    running: bool = False
    """The problem is what the Pods of an attempt show that has not ended."""


def ensure(
    context: Context,
    wanted: Manifest,
    failure: api.Failure | None,
    *,
    answering: Sequence[str],
    result: type[Result] | None = None,
    key: str = "",
    may_begin: bool = True,
) -> Ensured[Result]:
    """See to one Job: create it where it is absent, unless `may_begin` is False or a failure forbids it; read it where it has ended.

    `failure` is what is recorded, of this Job or of an earlier one; `key` tells which, by default the Job's name. `answering` names the
    containers whose result counts, the most important first; `result` is what they report, None where it is enough that the Job has
    succeeded. A Job that succeeded is left for the caller to read again, except where its result is lost. While the resource is suspended none begins.
    """
    name = wanted["metadata"]["name"]
    key = key or name
    live = context.observed.jobs.get(name)
    recorded = failure if failure is not None and failure.key == key else None
    suspended = context.yolo.spec.suspend and not context.yolo.deleting
    state, found = read(context, live, answering, result)
    match state:
        case jobs.Succeeded():
            if result is None or found is not None:
                return Ensured(succeeded=True, result=found)
            if live is not None:
                # Its Pod is gone and the result with it. Nothing has failed, so the next one need not wait.
                context.result.delete.append(live)
            return Ensured(failure=failure)
        case jobs.Failed() as failed:
            recorded = jobs.record(recorded, key, failed, context.now)
            if is_due(context, recorded) and live is not None:
                context.result.delete.append(live)
            return Ensured(failure=recorded, problem=problem_of(recorded))
        case jobs.Running() if recorded is not None and recorded.permanent:
            # Decided by the first Pod that failed so; nobody waits for the attempts that are left.
            return Ensured(failure=recorded, problem=problem_of(recorded))
        case jobs.Running() if suspended:
            # Not waited for, so the pass ends it.
            return Ensured(failure=failure, problem=SUSPENDED, running=True)
        case jobs.Running(problem):
            context.result.jobs.add(name)
            return Ensured(failure=failure, problem=problem, running=True)
        case jobs.Absent():
            if recorded is not None and not is_due(context, recorded):
                return Ensured(failure=recorded, problem=problem_of(recorded))
            if suspended:
                return Ensured(failure=failure, problem=SUSPENDED, running=True)
            if may_begin:
                context.result.jobs.add(name)
                context.result.create.append(wanted)
            return Ensured(failure=failure, problem=None if recorded is None else problem_of(recorded))


def read(context: Context, live: Manifest | None, answering: Sequence[str], result: type[Result] | None) -> tuple[jobs.State, Result | None]:
    """A Job's state, and its result where one is wanted and can be read. A result that cannot be read is a failure."""
    said = "" if live is None else context.observed.refused_jobs.get(live["metadata"]["name"], "")
    state = jobs.read(live, context.observed.pods, answering, context.now, said)
    if not isinstance(state, jobs.Succeeded) or result is None or not state.result or live is None:
        return state, None
    try:
        return state, result.model_validate(state.result)
    except ValidationError as error:
        # That of a worker of another release: the Job that is created next is of this one.
        fields = ", ".join(sorted({".".join(map(str, each["loc"])) for each in error.errors()}))
        message = f"The Job succeeded, but this release of the operator cannot read its result ({fields}); it is created anew"
        return jobs.Failed(live["metadata"]["uid"], Problem("JobFailed", message)), None


def is_due(context: Context, failure: api.Failure) -> bool:
    """Whether the next attempt may begin; if not yet, look again when it may. After a terminal failure it never may."""
    if failure.permanent:
        return False
    moment = jobs.retry_at(failure, context.defaults)
    if context.now >= moment:
        return True
    requeue(context, moment)
    return False


def problem_of(failure: api.Failure) -> Problem:
    """A recorded failure as a problem."""
    return Problem(failure.reason, failure.message, failure.permanent)


def failed(progress: Progress, problem: Problem) -> Progress:
    """A version with a Job's failure, which counts for more than what was known of it."""
    return replace(progress, problem=problem, stalled=problem.permanent)


def told(progress: Progress, found: Ensured[Result]) -> Progress:
    """A version with what keeps its Job from success: a failure in any case, what its Pods show where nothing else is known."""
    if found.problem is None:
        return progress
    return replace(progress, problem=progress.problem or found.problem) if found.running else failed(progress, found.problem)
