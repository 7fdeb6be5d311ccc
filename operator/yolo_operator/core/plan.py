"""What should happen next to one resource. START READING HERE.

`plan` is pure: resource, children and time in, a `Plan` out. Any bell calls it, none says what changed; a lost event, a stale view
and a crash between any two writes only mean that it is asked again. `controller.reconciler` gathers before and applies after.

    version ──► build Job ──► artifact ──► Deployment ──► pods ──► verify Job ──► gate open ──► Serving
                  │ failed                                  │ trouble    │ wrong answers
                  └────────────► reason and remedy in the status ◄───────┘
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from yolo_operator.core import api, clock, jobs, names, pods, revision, rollout, routes, status, surge, traffic
from yolo_operator.core.contract import Artifact, Comparison, Verification
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import (
    DRAINING,
    Observed,
    Progress,
    finished,
    has_its_share,
    is_serving,
    pruning,
    ready_versions,
    status_of,
    template_hash,
    triton_pods,
)
from yolo_operator.core.resources import analysis, budget, job, route, service, triton

PUBLISHED_KEPT = 200
"""Earlier revisions remembered for removal: a bound for a resource that is edited for ever and never serves."""
VERIFIED_KEPT = 5
"""Verified pod templates remembered besides the live ones: one that comes back needs no second look."""


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


def plan(yolo: api.YoloDeployment, observed: Observed, defaults: Defaults, now: datetime) -> Plan:
    """Decide what should exist next. No I/O and no clock: same inputs, same plan. Raises InvalidSpec."""
    if yolo.deleting:
        return deletion(yolo, observed, defaults, now)
    result = Plan(status=yolo.status, finalizer=yolo.spec.deletion_policy == "Delete")
    turn = Turn(yolo=yolo, observed=observed, defaults=defaults, now=now, result=result)
    progress = [build_step(turn, version) for version in yolo.spec.versions]
    for each in progress:
        verify_step(turn, each)
    traffic.shut_out_incompatible(yolo, progress, observed)
    walk = canary_step(turn, progress)
    for each in progress:
        each.replicas = traffic.replicas(yolo, walk, progress)[each.version.version]
    shares = replica_shares(turn, walk, progress)
    for each in progress:
        serve_step(turn, each, shares[each.version.version])
    drained = drain_step(turn, walk, progress)
    weights = route_step(turn, walk, progress, [each.version for each in drained])
    published, prune_failure = prune_step(turn, progress)
    stop_unwanted_jobs(turn)
    settled = [status.settle(yolo, each, observed) for each in progress]
    unrouted = routes.problem(yolo, observed) if yolo.spec.traffic.mode == "Gateway" else None
    computed = status.compute(yolo, settled, drained, walk, weights, unrouted, now)
    result.status = computed.model_copy(update={"published": published, "prune_failure": prune_failure})
    return result


def build_step(turn: Turn, version: api.Version) -> Progress:
    """Make sure that the wanted revision is published: by the record in the status, or by a Job."""
    wanted = revision.revision(turn.yolo, version, turn.defaults)
    previous = status_of(turn.yolo, version.version).model_copy(update={"revision": wanted})
    progress = Progress(version=version, status=previous)
    if previous.built_revision == wanted and previous.artifact is not None:
        progress.artifact = previous.artifact
        return progress
    wanted_job = job.build(turn.yolo, version, turn.defaults)
    name = wanted_job["metadata"]["name"]
    failure = previous.build_failure
    match jobs.read(turn.observed.jobs.get(name), turn.observed.pods, ("publish", "check"), turn.now):
        case jobs.Succeeded(outcome) if outcome:
            progress.artifact = Artifact.model_validate(outcome)
            progress.status = previous.model_copy(update={"built_revision": wanted, "artifact": progress.artifact, "build_failure": None})
        case jobs.Succeeded():
            # Its Pod is gone and with it the answer; the next one finds the manifest and passes within a second.
            turn.result.delete.append(turn.observed.jobs[name])
        case jobs.Running() if failure is not None and failure.key == name and failure.permanent:
            # Decided, and the Job on its way out.
            report(failure, progress)
        case jobs.Running(problem):
            progress.problem = problem
            turn.result.create.append(wanted_job)
        case jobs.Failed() as failed:
            failure = jobs.record(failure, name, failed, turn.now)
            progress.status = previous.model_copy(update={"build_failure": failure})
            retry(turn, failure, turn.observed.jobs[name], progress)
        case jobs.Absent():
            if failure is not None and failure.key == name and not due(turn, failure, progress):
                pass
            elif pruning(turn.observed):
                progress.problem = pods.Problem("WaitingForPrune", "Old revisions are being removed; the build starts afterwards")
            else:
                turn.result.create.append(wanted_job)
    return progress


def verify_step(turn: Turn, progress: Progress) -> None:
    """Make sure that every live pod template is verified, and that pods of verified ones are let in."""
    version, artifact = progress.version, progress.artifact or progress.status.artifact
    live = triton_pods(turn.observed, version.version)
    if progress.artifact is not None:
        progress.inputs = triton.template_inputs(turn.yolo, progress.artifact, turn.defaults)
    if artifact is None:
        return
    current_hashes = {template_hash(pod) for pod in live if names.label(pod, names.TEMPLATE) == progress.inputs}
    for pod_hash in sorted({template_hash(pod) for pod in live}):
        mine = [pod for pod in live if template_hash(pod) == pod_hash]
        if pod_hash not in {entry.pod_template_hash for entry in progress.status.verified}:
            # A template of another revision than the one recorded can only be asked once its own artifact is known again.
            if names.label(mine[0], names.REVISION) != artifact.revision:
                continue
            verify_template(turn, progress, artifact, mine, current=pod_hash in current_hashes)
        if pod_hash in {entry.pod_template_hash for entry in progress.status.verified}:
            turn.result.let_in += filter(pods.waits_at_gate, mine)
    hashes = {entry.pod_template_hash for entry in progress.status.verified}
    progress.verified = bool(current_hashes & hashes) or not turn.yolo.spec.rollout.verify.enabled
    kept = [entry for entry in progress.status.verified if entry.pod_template_hash in {template_hash(pod) for pod in live}]
    others = sorted((entry for entry in progress.status.verified if entry not in kept), key=lambda entry: entry.time)[-VERIFIED_KEPT:]
    progress.status = progress.status.model_copy(update={"verified": sorted([*kept, *others], key=lambda entry: (entry.time, entry.pod_template_hash))})


def verify_template(turn: Turn, progress: Progress, artifact: Artifact, candidates: Sequence[Manifest], *, current: bool) -> None:
    """Ask one pod of a template that has not been verified: the oldest that answers. If it goes, another is asked."""
    if not turn.yolo.spec.rollout.verify.enabled:
        return
    pod_hash = template_hash(candidates[0])
    key = f"{pod_hash}-{names.digest(turn.yolo.spec.rollout.verify.model_dump())}"
    failure = progress.status.verify_failure
    if failure is not None and failure.key == key and failure.permanent:
        if current:
            report(failure, progress)
        return
    answering = sorted(filter(pods.answers, candidates), key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    if not answering:
        return
    wanted_job = job.verify(turn.yolo, progress.version, artifact, answering[0], turn.defaults)
    name = wanted_job["metadata"]["name"]
    match jobs.read(turn.observed.jobs.get(name), turn.observed.pods, ("verify",), turn.now):
        case jobs.Succeeded(outcome) if outcome:
            found = Verification.model_validate(outcome)
            entry = api.VerifiedTemplate(**found.model_dump(), pod_template_hash=pod_hash, time=clock.text(turn.now))
            progress.status = progress.status.model_copy(update={"verified": [*progress.status.verified, entry], "verify_failure": None})
        case jobs.Succeeded():
            turn.result.delete.append(turn.observed.jobs[name])
        case jobs.Running(problem):
            progress.problem = progress.problem or problem
            turn.result.create.append(wanted_job)
        case jobs.Failed() as failed:
            failure = jobs.record(failure, key, failed, turn.now)
            progress.status = progress.status.model_copy(update={"verify_failure": failure})
            if current:
                retry(turn, failure, turn.observed.jobs[name], progress)
        case jobs.Absent():
            if failure is None or failure.key != key or due(turn, failure, progress):
                turn.result.create.append(wanted_job)


def serve_step(turn: Turn, progress: Progress, replicas: int) -> None:
    """Make sure that the version's Deployment, Service and budget are there; before anything is built there is nothing to run."""
    version = progress.version
    live = turn.observed.deployments.get(names.versioned(turn.yolo, version.version))
    given_up = surge.given_up(turn.yolo, progress, live, turn.observed, turn.now)
    if given_up is not None and live is not None:
        # What failed is tried no more; the template verified last serves until the spec changes.
        progress.status = progress.status.model_copy(update={"rolled_back": given_up})
        progress.problem, progress.stalled = pods.Problem(given_up.reason, given_up.message, permanent=True), True
        deployment = triton.back(turn.yolo, version.version, replicas, live)
    elif progress.artifact is not None:
        progress.status = progress.status.model_copy(update={"rolled_back": None})
        deployment = triton.build(turn.yolo, version, progress.artifact, replicas, live, turn.defaults)
        if progress.verified:
            triton.remember_verified(deployment)
    elif live is not None:
        # The new revision is on its way: the old one serves on, exactly as it is.
        kept = triton.keep(turn.yolo, version.version, replicas, live)
        if kept is None:
            return
        deployment = kept
    else:
        return
    in_place, moment = surge.in_place(turn.yolo, progress, live, turn.observed, turn.now)
    deployment["spec"]["strategy"] = triton.IN_PLACE if in_place else triton.SURGE
    look_again(turn, moment)
    turn.result.apply += [deployment, service.build(turn.yolo, version.version), budget.build(turn.yolo, version.version)]
    progress.problem = progress.problem or trouble(turn, progress)


def trouble(turn: Turn, progress: Progress) -> pods.Problem | None:
    """What the version's pods show, or that they take too long."""
    number = progress.version.version
    shown = pods.latest_problem((pod for pod in triton_pods(turn.observed, number) if not pods.is_ready(pod)), job=False)
    return shown or overdue(turn.observed.deployments.get(names.versioned(turn.yolo, number)))


def overdue(live: Manifest | None) -> pods.Problem | None:
    """A roll-out that has taken longer than spec.rollout.progressDeadline, where nothing else says why."""
    for condition in (live or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return pods.Problem("ProgressDeadlineExceeded", f"{condition.get('message', '')} Look at the Pods, or raise spec.rollout.progressDeadline")
    return None


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
        each.problem = each.problem or traffic.obstacle(yolo, before, turn.observed) or trouble(turn, each)
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
    if artifact is None or any(entry.step == walk.step for entry in walk.analyses):
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


def drain_step(turn: Turn, walk: api.RolloutStatus | None, progress: Sequence[Progress]) -> list[api.VersionStatus]:
    """Versions that are no longer declared serve until all declared ones do; then they go. Returns the status of those that remain."""
    declared = {version.version for version in turn.yolo.spec.versions}
    all_serve = all(is_serving(turn.yolo, each, turn.observed) for each in progress)
    settled = walk is None or (walk.phase == rollout.HEALTHY and not walk.previous)
    remaining = []
    kinds = (turn.observed.deployments, turn.observed.services, turn.observed.budgets)
    versions = {int(label) for kind in kinds for child in kind.values() if (label := names.label(child, names.VERSION)).isdigit()}
    for number in sorted(versions - declared):
        name = names.versioned(turn.yolo, number)
        live = turn.observed.deployments.get(name)
        # A canary that is no longer declared has nothing to wait for: the stable version is there.
        given_up = walk is not None and number not in (walk.stable, walk.previous) and walk.stable in ready_versions(turn.observed)
        if live is None or (all_serve and settled) or given_up or turn.yolo.spec.replicas == 0:
            turn.result.delete += [kind[name] for kind in kinds if name in kind]
            continue
        room = walk is None and surge.makes_room(turn.yolo, number, live, sorted(declared), turn.observed, turn.now)
        kept = triton.keep(turn.yolo, number, live["spec"].get("replicas", 1) - room, live)
        if kept is not None:
            turn.result.apply += [kept, service.build(turn.yolo, number), budget.build(turn.yolo, number)]
        mine, previous = triton_pods(turn.observed, number), status_of(turn.yolo, number)
        verified = {entry.pod_template_hash for entry in previous.verified}
        turn.result.let_in += [pod for pod in mine if template_hash(pod) in verified and pods.waits_at_gate(pod)]
        remaining.append(
            previous.model_copy(
                update={
                    "phase": DRAINING,
                    "replicas": len(mine),
                    "ready_replicas": sum(map(pods.is_ready, mine)),
                    "reason": "WaitingForOtherVersions",
                    "message": "No longer in spec.versions; it serves until the declared versions are available, verified and have the traffic",
                }
            )
        )
    return remaining


def prune_step(turn: Turn, progress: Sequence[Progress]) -> tuple[list[str], api.Failure | None]:
    """Remove revisions beyond the retention, once everything declared serves. Returns those in the storage, oldest first, and why it failed.

    The Job is told what to remove, not what to keep: a revision that begins to be published meanwhile is safe from it.
    """
    wanted = {each.status.revision for each in progress}
    # What is wanted last is what was used last: a revision that comes back moves to the end.
    earlier = [entry for entry in turn.yolo.status.published if entry not in wanted]
    published = earlier[-PUBLISHED_KEPT:] + [each.status.revision for each in progress]
    in_use = wanted | {each.status.built_revision for each in progress}
    in_use |= {names.label(pod, names.REVISION) for pod in turn.observed.pods if names.label(pod, names.COMPONENT) == names.TRITON}
    in_use |= {names.label(live["spec"]["template"], names.REVISION) for live in turn.observed.deployments.values()}
    unused = [entry for entry in published if entry not in in_use]
    surplus = unused[: max(0, len(unused) - turn.yolo.spec.revision_history_limit)]
    if not surplus or not all(is_serving(turn.yolo, each, turn.observed) for each in progress):
        return published, None
    # What these Jobs said will not be true any more, should their revision be wanted again: they go first.
    outdated = [live for live in turn.observed.jobs.values() if names.label(live, names.REVISION) in surplus and finished(live)]
    if outdated:
        turn.result.delete += outdated
        return published, turn.yolo.status.prune_failure
    wanted_job = job.prune(turn.yolo, surplus, turn.defaults)
    name, failure = wanted_job["metadata"]["name"], turn.yolo.status.prune_failure
    match jobs.read(turn.observed.jobs.get(name), turn.observed.pods, ("prune",), turn.now):
        case jobs.Succeeded():
            # It goes too: the same revisions may have to be removed once more.
            turn.result.delete.append(turn.observed.jobs[name])
            return [entry for entry in published if entry not in surplus], None
        case jobs.Failed() as failed:
            failure = jobs.record(failure, name, failed, turn.now)
            retry(turn, failure, turn.observed.jobs[name], None)
        case jobs.Running():
            turn.result.create.append(wanted_job)
        case jobs.Absent():
            if failure is None or failure.key != name or due(turn, failure, None):
                turn.result.create.append(wanted_job)
    return published, failure


def deletion(yolo: api.YoloDeployment, observed: Observed, defaults: Defaults, now: datetime) -> Plan:
    """The resource is being deleted. Its children go by garbage collection; what it published goes by a Job, if so wanted."""
    result = Plan(status=yolo.status)
    if names.FINALIZER not in yolo.finalizers or yolo.spec.deletion_policy == "Retain":
        return result
    if observed.namespace_terminating:
        result.notice = (
            "RetainedInStorage",
            f"The namespace is being deleted, so no Job can run: {revision.root(yolo, defaults)} stays in the storage",
        )
        return result
    result.finalizer = True
    turn = Turn(yolo=yolo, observed=observed, defaults=defaults, now=now, result=result)
    wanted_job = job.prune(yolo, None, defaults)
    name = wanted_job["metadata"]["name"]
    others = [live for live in observed.jobs.values() if live["metadata"]["name"] != name and not finished(live)]
    children = [*observed.deployments.values(), *others]
    result.delete += [live for live in children if "deletionTimestamp" not in live["metadata"]]
    if children or any(names.label(pod, names.COMPONENT) == names.TRITON and not pods.is_terminating(pod) for pod in observed.pods):
        result.status = status.deleting(yolo, "Draining", "Pods and Jobs end before what was published is removed", now)
        return result
    failure = yolo.status.prune_failure
    progress = Progress(version=yolo.spec.versions[0], status=api.VersionStatus(version=0))
    match jobs.read(observed.jobs.get(name), observed.pods, ("prune",), now):
        case jobs.Succeeded():
            result.finalizer = False
            return result
        case jobs.Failed() as failed:
            failure = jobs.record(failure, name, failed, now)
            retry(turn, failure, observed.jobs[name], progress)
        case jobs.Running(problem):
            progress.problem = problem
        case jobs.Absent():
            if failure is None or failure.key != name or due(turn, failure, progress):
                result.create.append(wanted_job)
    problem = progress.problem or pods.Problem("Pruning", "What was published is being removed")
    message = problem.message if progress.problem is None else f"{problem.message} (or set spec.deletionPolicy to Retain to let go)"
    result.status = status.deleting(yolo, problem.reason, message, now).model_copy(update={"prune_failure": failure})
    return result


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


def route_step(turn: Turn, walk: api.RolloutStatus | None, progress: Sequence[Progress], draining: Sequence[int]) -> dict[int, int]:
    """The Service of all versions, or the routes of a Gateway. Returns the percent of the requests that each version has."""
    ready = ready_versions(turn.observed)
    if turn.yolo.spec.traffic.mode == "Service":
        turn.result.apply.append(service.build(turn.yolo))
        turn.result.delete += routes.unwanted(turn.observed, [])
        return traffic.percent(ready)
    # A backend without its Service would make the whole route unresolved.
    reachable = {int(label) for made in turn.result.apply if made["kind"] == "Service" and (label := names.label(made, names.VERSION))}
    shares = {number: share for number, share in traffic.routed(turn.yolo, walk, progress, draining, turn.observed).items() if number in reachable}
    stable = walk.stable if walk is not None else max(shares, key=lambda number: (shares[number], ready.get(number, 0), -number), default=None)
    turn.result.apply.append(service.build(turn.yolo, selects=stable))
    wanted = route.build(turn.yolo, shares, sorted(shares)) if turn.observed.gateway_api and shares else []
    turn.result.apply += wanted
    turn.result.delete += routes.unwanted(turn.observed, wanted)
    return traffic.percent(shares)


def replica_shares(turn: Turn, walk: api.RolloutStatus | None, progress: Sequence[Progress]) -> dict[int, int]:
    """Replicas per version now. A version gives none up before all others have what they are to have, unless fewer are asked for in all."""
    shares = {each.version.version: each.replicas for each in progress}
    for each in progress:
        number = each.version.version
        live = turn.observed.deployments.get(names.versioned(turn.yolo, number))
        have = live["spec"].get("replicas", 1) if live else 0
        others = [other for other in progress if other is not each]
        # Beside a stable version that serves, nobody has to wait for a canary's pods to go.
        free = walk is not None and number != walk.stable and walk.stable in ready_versions(turn.observed)
        if live is None or each.replicas >= have or free or all(has_its_share(turn.yolo, other, turn.observed) for other in others):
            continue
        room = surge.makes_room(turn.yolo, number, live, [other.version.version for other in others], turn.observed, turn.now)
        shares[number] = max(each.replicas, min(have - room, turn.yolo.spec.replicas))
    return shares


def stop_unwanted_jobs(turn: Turn) -> None:
    """End Jobs that nobody waits for any more; finished ones are left to their time to live. Jobs that exist are not created again."""
    wanted = {made["metadata"]["name"] for made in turn.result.create}
    for name, live in sorted(turn.observed.jobs.items()):
        if name not in wanted and not finished(live) and "deletionTimestamp" not in live["metadata"] and live not in turn.result.delete:
            phases = {pod.get("status", {}).get("phase") for pod in turn.observed.pods if names.label(pod, names.JOB_NAME) == name}
            # Nothing of it runs: it is about to be marked failed and keeps its log, or tries once more and is ended then.
            if phases != {"Failed"}:
                turn.result.delete.append(live)
    turn.result.create = [made for made in turn.result.create if made["metadata"]["name"] not in turn.observed.jobs]
