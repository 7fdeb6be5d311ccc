"""Revisions that failed as canaries: they get no requests until the user asks for them anew."""

from collections.abc import Sequence
from datetime import datetime

from yolo_operator.core import api, clock, names, pods
from yolo_operator.core.observed import Observed, deployments_by_version
from yolo_operator.core.progress import Progress, exclude
from yolo_operator.core.rollout import canary

KEPT = 32
"""Failed revisions remembered, the latest ones."""


def recorded(yolo: api.YoloDeployment, now: datetime) -> list[api.FailedRollout]:
    """Failures on record that the user has not answered yet."""
    # An earlier release kept a failure with the canary alone.
    known = with_canary(yolo.status.failed_rollouts, yolo.status.rollout, yolo.spec.rollout, now)
    return [each for each in known if not asked_for_anew(each, yolo.spec.rollout)]


def asked_for_anew(failure: api.FailedRollout, rollout: api.Rollout) -> bool:
    """Whether retry or promote has been set since the failure."""
    again = rollout.retry is not None and rollout.retry != failure.retry
    return again or (rollout.promote == failure.version and failure.promote != failure.version)


def exclude_failed(failed: Sequence[api.FailedRollout], progress: Sequence[Progress], observed: Observed) -> list[Progress]:
    """Take the requests from versions that failed, with whatever strategy they are declared now."""
    deployed = deployments_by_version(observed)
    judged = []
    for each in progress:
        failure = of(failed, each.version.version, each.status.revision)
        if failure is None:
            judged.append(each)
        else:
            judged.append(exclude(each, deployed.get(each.version.version), pods.Problem(failure.reason, failure.message, permanent=True)))
    return judged


def left_behind(failed: Sequence[api.FailedRollout], observed: Observed) -> frozenset[int]:
    """Versions whose Deployment is of a revision that failed: one that is no longer declared still has its pods, and may have no requests."""
    deployed = deployments_by_version(observed)
    return frozenset(number for number, live in deployed.items() if of(failed, number, names.label(live["spec"]["template"], names.REVISION)) is not None)


def of(failed: Sequence[api.FailedRollout], version: int, revision: str) -> api.FailedRollout | None:
    """The failure of a revision."""
    return next((each for each in failed if (each.version, each.revision) == (version, revision)), None)


def with_canary(failed: Sequence[api.FailedRollout], state: api.RolloutStatus | None, rollout: api.Rollout, now: datetime) -> list[api.FailedRollout]:
    """The failures with that of the canary, where it has failed now."""
    if state is None or not failed_for_good(state) or of(failed, state.canary, state.revision) is not None:
        return list(failed)
    return [*failed, entry(state, rollout, now)][-KEPT:]


def failed_for_good(state: api.RolloutStatus) -> bool:
    """Whether the canary has failed, and not only been stopped by the user or before it had any requests by what may pass."""
    return state.phase == canary.DEGRADED and bool(state.canary) and state.reason != "RolloutAborted" and not canary.heals(state)


def entry(state: api.RolloutStatus, rollout: api.Rollout, now: datetime) -> api.FailedRollout:
    """A failed canary as it is kept."""
    return api.FailedRollout(
        version=state.canary,
        revision=state.revision,
        time=clock.text(now),
        reason=state.reason,
        message=state.message,
        retry=rollout.retry or state.retry,
        promote=rollout.promote or 0,
    )
