"""The canary's part of a pass: gather the facts for its walk (`rollout.advance`), and see to the Job that analyses its step."""

from collections.abc import Sequence
from dataclasses import replace

from yolo_operator.core import api, jobs, names, pods, rollout, traffic
from yolo_operator.core.contract import Comparison
from yolo_operator.core.observed import Progress, has_its_share, ready_versions, status_of, triton_pods, trouble
from yolo_operator.core.resources import analysis
from yolo_operator.core.turn import Turn, due, look_again, retry


def canary_step(turn: Turn, progress: Sequence[Progress]) -> api.RolloutStatus | None:
    """Where the canary is, and the Job that compares it with the stable version; None with another strategy."""
    yolo, wanted, before = turn.yolo, turn.yolo.spec.rollout, turn.yolo.status.rollout
    if wanted.strategy != "Canary":
        return None
    facts = rollout.Facts(
        revisions={each.version.version: each.status.revision for each in progress},
        ready=ready_versions(turn.observed).keys(),
        alive={int(names.label(live, names.VERSION)) for live in turn.observed.deployments.values() if live["spec"].get("replicas", 1)},
    )
    each = next((each for each in progress if before is not None and each.version.version == before.canary), None)
    if before is not None and each is not None:
        # What is observed is measured by what the walk, as it is recorded, has asked for.
        each.replicas = traffic.canary_pods(yolo, before)
        each.problem = each.problem or traffic.obstacle(yolo, before, turn.observed) or trouble(yolo, each, turn.observed)
        facts = replace(
            facts,
            built=each.artifact is not None and before.stable in facts.ready,
            has_share=each.replicas > 0 and has_its_share(yolo, each, turn.observed),
            problem=each.problem,
        )
        if before.reached and before.phase != rollout.DEGRADED and before.step <= len(wanted.steps) and wanted.analysis.enabled:
            comparison, failure = analysis_step(turn, before, each)
            facts, before = replace(facts, comparison=comparison), before.model_copy(update={"analysis_failure": failure})
    walk = rollout.advance(before, wanted, facts, turn.now)
    look_again(turn, rollout.deadline(walk, wanted))
    if walk.canary and walk.phase == rollout.DEGRADED and each is not None:
        each.stalled = True
        each.problem = pods.Problem(walk.reason, walk.message, permanent=True)
    return walk


def analysis_step(turn: Turn, walk: api.RolloutStatus, progress: Progress) -> tuple[Comparison | None, api.Failure | None]:
    """What the analysis of this step came to, and why its Job failed, if it gave no verdict."""
    failure, artifact = walk.analysis_failure, status_of(turn.yolo, walk.stable).artifact
    if artifact is None or rollout.analysis_of(walk) is not None:
        return None, failure
    stable, canary = ([pod for pod in triton_pods(turn.observed, number) if pods.is_ready(pod)] for number in (walk.stable, walk.canary))
    duration = rollout.duration_of(turn.yolo.spec.rollout, walk.step)
    wanted_job = analysis.build(turn.yolo, progress.version, walk.stable, artifact, walk, duration, stable, canary, turn.defaults)
    name = wanted_job["metadata"]["name"]
    match jobs.read(turn.observed.jobs.get(name), turn.observed.pods, ("analyze",), turn.now):
        case jobs.Succeeded(outcome) if outcome:
            return Comparison.model_validate(outcome), None
        case jobs.Succeeded():
            turn.result.delete.append(turn.observed.jobs[name])
        case jobs.Running(problem):
            progress.problem = progress.problem or problem
            turn.result.create.append(wanted_job)
        case jobs.Failed() as failed:
            failure = jobs.record(failure, name, failed, turn.now)
            retry(turn, failure, turn.observed.jobs[name], None)
            progress.problem = pods.Problem(failure.reason, failure.message)
        case jobs.Absent():
            if stable and canary and (failure is None or failure.key != name or due(turn, failure, None)):
                turn.result.create.append(wanted_job)
    return None, failure
