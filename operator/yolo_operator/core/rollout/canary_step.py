"""The canary's part of a pass: gather the facts for its state (`canary.advance`), and see to the Job that analyses its step."""

from collections.abc import Sequence
from dataclasses import replace

from yolo_operator.core import api, jobs, pods
from yolo_operator.core.context import Context, requeue
from yolo_operator.core.contract import Comparison
from yolo_operator.core.observed import triton_pods
from yolo_operator.core.progress import Progress, status_of, trouble
from yolo_operator.core.resources import analysis
from yolo_operator.core.retries import due, retry
from yolo_operator.core.rollout import allocation, canary, failures
from yolo_operator.core.rollout.facts import Facts, is_ready


def canary_step(
    context: Context, progress: Sequence[Progress], facts: Facts, failed: Sequence[api.FailedRollout], unrouted: pods.Problem | None
) -> api.RolloutStatus | None:
    """Where the canary is, and the Job that compares it with the stable version; None with another strategy.

    `unrouted`: why the Gateways may still send requests as the routes said before.
    """
    yolo, wanted, before = context.yolo, context.yolo.spec.rollout, context.yolo.status.rollout
    if wanted.strategy != "Canary":
        return None
    newest = max(progress, key=lambda each: each.version.version)
    known = canary.Facts(
        revisions={each.version.version: each.status.revision for each in progress},
        requested={number: each.requested for number, each in facts.items() if each.deployed},
        selected=next((number for number, each in facts.items() if each.selected), 0),
        failure=failures.of(failed, newest.version.version, newest.status.revision),
    )
    each = next((each for each in progress if before is not None and each.version.version == before.canary), None)
    if before is not None and each is not None:
        each.problem = each.problem or allocation.obstacle(yolo, before, facts) or trouble(yolo, each, context.observed) or unrouted
        known = replace(
            known,
            may_start=each.artifact is not None and (is_ready(facts, before.stable) or wanted.promote == before.canary),
            # What is observed is measured by what the state, as it is recorded, has asked for.
            has_share=allocation.has_its_share(yolo, before, facts) and unrouted is None,
            problem=each.problem,
        )
        if canary.began(before) and before.phase != canary.DEGRADED and before.step <= len(wanted.steps) and wanted.analysis.enabled:
            comparison, failure = analysis_step(context, before, each)
            known, before = replace(known, comparison=comparison), before.model_copy(update={"analysis_failure": failure})
    state = canary.advance(before, wanted, known, context.now)
    requeue(context, canary.deadline(state, wanted))
    if state.canary and state.phase == canary.DEGRADED and newest.version.version == state.canary:
        newest.stalled = True
        newest.problem = pods.Problem(state.reason, state.message, permanent=True)
    return state


def analysis_step(context: Context, state: api.RolloutStatus, progress: Progress) -> tuple[Comparison | None, api.Failure | None]:
    """What the analysis of this step came to, and why its Job failed, if it gave no verdict."""
    failure, artifact = state.analysis_failure, status_of(context.yolo, state.stable).artifact
    if artifact is None or canary.analysis_of(state) is not None:
        return None, failure
    stable, new = ([pod for pod in triton_pods(context.observed, number) if pods.is_ready(pod)] for number in (state.stable, state.canary))
    duration = canary.duration_of(context.yolo.spec.rollout, state.step)
    wanted_job = analysis.build(context.yolo, progress.version, state.stable, artifact, state, duration, stable, new, context.defaults)
    name = wanted_job["metadata"]["name"]
    match jobs.read(context.observed.jobs.get(name), context.observed.pods, ("analyze",), context.now):
        case jobs.Succeeded(outcome) if outcome:
            return Comparison.model_validate(outcome), None
        case jobs.Succeeded():
            context.result.delete.append(context.observed.jobs[name])
        case jobs.Running(problem):
            progress.problem = progress.problem or problem
            context.result.create.append(wanted_job)
        case jobs.Failed() as failed:
            failure = jobs.record(failure, name, failed, context.now)
            retry(context, failure, context.observed.jobs[name], None)
            progress.problem = pods.Problem(failure.reason, failure.message)
        case jobs.Absent():
            if stable and new and (failure is None or failure.key != name or due(context, failure, None)):
                context.result.create.append(wanted_job)
    return None, failure
