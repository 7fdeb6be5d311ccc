"""What a Job has come to, and when a failed one is made anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from yolo_operator.core import api, clock, image_pull, names, pods, refused_pods
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.pods import Problem

Manifest = Mapping[str, Any]


ANSWER_GRACE = timedelta(seconds=15)
"""How long after a Job's end its Pod may still be unseen."""
SUCCESS = frozenset({"Complete", "SuccessCriteriaMet"})


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such Job."""


@dataclass(frozen=True, slots=True)
class Running:
    """It is under way, perhaps in trouble that may pass."""

    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It ended well; `result` is empty where its Pod is gone and its word lost."""

    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """It ended for good."""

    uid: str
    problem: Problem


State = Absent | Running | Succeeded | Failed


def conditions(job: Manifest) -> dict[str, Manifest]:
    """The conditions that are True, by their type."""
    return {c["type"]: c for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"}


def read(job: Manifest | None, all_pods: Sequence[Manifest], answering: Sequence[str], now: datetime, said: str = "") -> State:
    """The state of a Job; `answering` names the containers whose result counts, the most important first; `said`: why its Pod is refused."""
    if job is None or "deletionTimestamp" in job["metadata"]:
        return Absent() if job is None else Running()
    own = [pod for pod in all_pods if names.label(pod, names.JOB_NAME) == job["metadata"]["name"] and names.is_owned(pod, job["metadata"]["uid"])]
    true = conditions(job)
    if true.keys() & SUCCESS:
        answer = pods.outcome(own, answering)
        ended = job["status"].get("completionTime")
        if answer is None and (ended is None or now - clock.parse(ended) < ANSWER_GRACE):
            # The Job's watch may be ahead of the Pods': the answer is on its way.
            return Running()
        return Succeeded((answer.result if answer else None) or {})
    problem = pods.latest_problem(own, job=True)
    failed = true.get("Failed")
    if failed is not None:
        return Failed(job["metadata"]["uid"], problem or Problem("JobFailed", f"{failed.get('reason', '')}: {failed.get('message', '')}"))
    if problem is not None and problem.permanent:
        # Decided already: the Job controller's remaining attempts would only repeat it.
        return Failed(job["metadata"]["uid"], problem)
    outlived = next(filter(pods.outlived, own), None)
    if outlived is not None and pods.has_ended_well(outlived):
        answer = pods.outcome([outlived], answering)
        return Succeeded((answer.result if answer else None) or {})
    if outlived is not None and problem is not None:
        return Failed(job["metadata"]["uid"], problem)
    return Running(problem or image_pull.problem(own, now) or refused_pods.job_without_pod(job, own, said, now))


def record(previous: api.Failure | None, key: str, failed: Failed, now: datetime) -> api.Failure:
    """The failure as the status keeps it: a Job that is seen again counts once."""
    if previous is not None and previous.key == key and previous.job == failed.uid:
        return previous
    attempts = previous.attempts + 1 if previous is not None and previous.key == key else 1
    problem = failed.problem
    return api.Failure(
        key=key,
        job=failed.uid,
        attempts=attempts,
        time=clock.text(now),
        reason=problem.reason,
        message=problem.message[:4096],
        permanent=problem.permanent,
    )


def retry_at(failure: api.Failure, defaults: Defaults) -> datetime:
    """When the next attempt is due: the pause doubles with every failure, up to a limit."""
    pause = min(defaults.retry_max_seconds, defaults.retry_min_seconds * 2 ** min(failure.attempts - 1, 16))
    return clock.parse(failure.time) + timedelta(seconds=pause)
