"""The canary's part of a pass: gather the facts for its state (`canary.advance`), and see to the Job that analyses its step."""

from collections.abc import Sequence
from dataclasses import replace

from yolo_operator.core import api, names, pods
from yolo_operator.core.context import Context, requeue
from yolo_operator.core.contract import Comparison
from yolo_operator.core.ensure_job import ensure
from yolo_operator.core.observed import triton_pods
from yolo_operator.core.progress import Progress, serving_artifact, status_of, trouble
from yolo_operator.core.resources import analysis
from yolo_operator.core.rollout import allocation, canary, failures
from yolo_operator.core.rollout.facts import Facts


def canary_step(
    context: Context, progress: Sequence[Progress], facts: Facts, failed: Sequence[api.FailedRollout], unrouted: pods.Problem | None
) -> tuple[list[Progress], api.RolloutStatus | None]:
    """See to the Job that compares the canary with the stable version. Returns the versions, of which the canary tells what it waits for, and its state.

    The state is None with another strategy.

    `unrouted`: why the Gateways may still send requests as the routes said before.
    """
    yolo, wanted, before = context.yolo, context.yolo.spec.rollout, context.yolo.status.rollout
    versions = {each.version.version: each for each in progress}
    if wanted.strategy != "Canary":
        return list(progress), None
    newest = max(progress, key=lambda each: each.version.version)
    known = canary.Facts(
        revisions={each.version.version: each.status.revision for each in progress},
        requested={number: each.requested for number, each in facts.items() if each.deployed},
        selected=next((number for number, each in facts.items() if each.selected), 0),
        failure=failures.of(failed, newest.version.version, newest.status.revision),
    )
    each = versions.get(before.canary) if before is not None else None
    if before is not None and each is not None:
        problem = each.problem or allocation.obstacle(yolo, before, facts) or trouble(yolo, each, context.observed) or unrouted
        known = replace(
            known,
            may_start=each.artifact is not None and (allocation.stable_serves(yolo, before, facts) or wanted.promote == before.canary),
            # What is observed is measured by what the state, as it is recorded, has asked for.
            has_share=allocation.has_its_share(yolo, before, facts) and unrouted is None,
            problem=problem,
        )
        if canary.began(before) and before.phase != canary.DEGRADED and before.step <= len(wanted.steps) and wanted.analysis.enabled:
            comparison, failure, lacks = analysis_step(context, before, each)
            problem = problem or lacks
            known, before = replace(known, comparison=comparison, problem=problem), before.model_copy(update={"analysis_failure": failure})
        versions[each.version.version] = replace(each, problem=problem)
    state = canary.advance(before, wanted, known, context.now)
    requeue(context, canary.deadline(state, wanted))
    if state.canary and state.phase == canary.DEGRADED and newest.version.version == state.canary:
        problem = pods.Problem(state.reason, state.message, permanent=True)
        versions[state.canary] = replace(versions[state.canary], stalled=True, problem=problem)
    return list(versions.values()), state


def analysis_step(context: Context, state: api.RolloutStatus, progress: Progress) -> tuple[Comparison | None, api.Failure | None, pods.Problem | None]:
    """What the analysis of this step came to, why its Job failed, if it gave no verdict, and what that waits for."""
    live = context.observed.deployments.get(names.versioned(context.yolo, state.stable))
    failure, artifact = state.analysis_failure, serving_artifact(status_of(context.yolo, state.stable), live)
    if artifact is None or canary.analysis_of(state) is not None:
        return None, failure, None
    stable, new = ([pod for pod in triton_pods(context.observed, number) if pods.is_ready(pod)] for number in (state.stable, state.canary))
    duration = canary.duration_of(context.yolo.spec.rollout, state.step)
    wanted_job = analysis.build(context.yolo, progress.version, state.stable, artifact, state, duration, stable, new, context.defaults)
    found = ensure(context, wanted_job, failure, answering=("analyze",), result=Comparison, may_begin=bool(stable and new))
    # The canary is not at fault, whatever the Job lacks: it waits at its step.
    lacks = None if found.problem is None else pods.Problem(found.problem.reason, found.problem.message)
    return found.result, found.failure, lacks
