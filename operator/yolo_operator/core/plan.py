"""What should happen next to one resource. START READING HERE.

`plan` is pure: resource, children and time in, a `Plan` out. Any event calls it, none says what changed; a lost event, a stale view
and a crash between any two writes only mean that it is asked again. `controller.reconciler` gathers before and applies after.
The steps of this line are here; those of `rollout` and `prune` come in between. A resource with a serverRef goes on in `shared.model` once it is built. What steps share is in `context`.

    version ──► build Job ──► artifact ──► Deployment ──► pods ──► verify Job ──► gate open ──► Serving
                  │ failed                                  │ trouble    │ wrong answers
                  └────────────► reason and remedy in the status ◄───────┘
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from yolo_operator.core import api, clock, image_pull, image_updates, names, pods, refused_pods, resource_claims, revision, routes, status, verification
from yolo_operator.core.context import Context, Plan, requeue
from yolo_operator.core.contract import Artifact, Verification
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.ensure_job import ensure, failed, problem_of, told
from yolo_operator.core.lost_pods import give_up_step
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, finished, pruning, template_hash, triton_pods, verified_at_gate
from yolo_operator.core.progress import DRAINING, Progress, is_serving, serving_artifact, status_of, trouble
from yolo_operator.core.prune import deletion, prune_step
from yolo_operator.core.resources import budget, job, network_policy, overlay, service, triton
from yolo_operator.core.rollout import allocation, canary, compatibility, failures, routing, surge
from yolo_operator.core.rollout.canary_step import canary_step
from yolo_operator.core.rollout.facts import ROUTE_WAITS, Facts, gather
from yolo_operator.core.shared import model

VERIFIED_KEPT = 5
"""Verified pod templates remembered besides the live ones: one that comes back needs no second look."""


def plan(yolo: api.YoloDeployment, observed: Observed, defaults: Defaults, now: datetime) -> Plan:
    """Decide what should exist next. No I/O and no clock: same inputs, same plan. Raises InvalidSpec."""
    if yolo.deleting:
        return deletion(model.at_its_end(yolo, observed), observed, defaults, now)
    overlay.check(yolo.spec.triton.pod_template)
    result = Plan(status=yolo.status, finalizer=yolo.spec.deletion_policy == "Delete")
    if yolo.spec.server_ref is not None:
        context = Context(yolo=model.placed(yolo, observed), observed=observed, defaults=defaults, now=now, result=result)
        give_up_step(context)
        result.status = model.serve_step(context, build_step(context, context.yolo.spec.versions[0]))
        stop_unwanted_jobs(context)
        return result
    if yolo.spec.suspend:
        yolo = api.scaled_to_zero(yolo)
    context = Context(yolo=yolo, observed=observed, defaults=defaults, now=now, result=result)
    give_up_step(context)
    network_step(context)
    built = [build_step(context, version) for version in yolo.spec.versions]
    verified = [verify_step(context, each) for each in built]
    compatible, reference = compatibility.exclude_incompatible(yolo, verified, observed)
    failed_rollouts = failures.recorded(yolo, now)
    admitted = failures.exclude_failed(failed_rollouts, compatible, observed)
    problem = routes.problem(yolo, observed) if yolo.spec.traffic.mode == "Gateway" else None
    unrouted = problem if problem is not None and problem.reason in ROUTE_WAITS else None
    facts = gather(yolo, observed, admitted, failures.left_behind(failed_rollouts, observed), unrouted)
    rolled_out, state = canary_step(context, admitted, facts, failed_rollouts, unrouted)
    targets = allocation.targets(yolo, state, facts)
    allocated = allocation.allocate(yolo, state, facts, targets, surge.freeing(yolo, targets, facts, observed, now))
    served = [serve_step(context, each, allocated) for each in rolled_out]
    requeue(context, surge.next_check(yolo, observed, now))
    requeue(context, image_pull.next_check(observed.pods, now))
    requeue(context, resource_claims.next_check(observed.pods, now))
    requeue(context, refused_pods.next_check(observed.jobs.values(), now))
    requeue(context, refused_pods.next_request(observed.deployments.values(), now))
    drained = drain_step(context, state, served, allocated, facts)
    weights = routing.route_step(context, allocated)
    published = prune_step(context, served, serves=all(is_serving(yolo, each, observed) for each in served))
    stop_unwanted_jobs(context)
    settled = [status.settle(yolo, each, observed) for each in served]
    computed = status.compute(yolo, settled, drained, shown(state, weights), weights, problem, observed, defaults, now)
    made = {each["metadata"]["name"]: each for each in result.apply if each["kind"] == "Deployment"}
    decided = {
        "reference_version": reference,
        "failed_rollouts": failures.with_canary(failed_rollouts, state, yolo.spec.rollout, now),
        "triton_image": image_updates.complete_image(yolo, {**made, **observed.deployments}),
    }
    result.status = computed.model_copy(update=published | decided)
    return result


def shown(state: api.RolloutStatus | None, weights: Mapping[int, int]) -> api.RolloutStatus | None:
    """The canary's state with the percent of the requests that it has now, for people."""
    return state if state is None else state.model_copy(update={"routed": weights.get(state.canary, 0)})


def network_step(context: Context) -> None:
    """Make sure that the NetworkPolicies are there before the pods that they are for, or that they are gone."""
    wanted = network_policy.build(context.yolo)
    context.result.apply += wanted
    kept = {made["metadata"]["name"] for made in wanted}
    context.result.delete += [live for name, live in sorted(context.observed.network_policies.items()) if name not in kept]


def build_step(context: Context, version: api.Version) -> Progress:
    """Make sure that the wanted revision is published: by the record in the status, or by a Job."""
    wanted = revision.revision(context.yolo, version, context.defaults)
    previous = status_of(context.yolo, version.version).model_copy(update={"revision": wanted})
    live = context.observed.deployments.get(names.versioned(context.yolo, version.version))
    serving = serving_artifact(previous, live)
    if previous.built_revision == wanted and previous.artifact is not None:
        known = previous.model_copy(update={"serving_artifact": None if serving == previous.artifact else serving})
        return Progress(version=version, status=known, artifact=previous.artifact)
    wanted_job = job.build(context.yolo, version, context.defaults)
    held = pruning(context.observed)
    built = ensure(context, wanted_job, previous.build_failure, answering=("publish", "check"), result=Artifact, may_begin=not held)
    if built.succeeded:
        found = {"built_revision": wanted, "artifact": built.result, "build_failure": None}
        known = previous.model_copy(update=found | {"serving_artifact": None if serving == built.result else serving})
        return Progress(version=version, status=known, artifact=built.result)
    progress = told(Progress(version=version, status=previous.model_copy(update={"build_failure": built.failure})), built)
    if held and progress.problem is None and wanted_job["metadata"]["name"] not in context.observed.jobs:
        return replace(progress, problem=pods.Problem("WaitingForPrune", "Old revisions are being removed; the build starts afterwards"))
    return progress


def verify_step(context: Context, progress: Progress) -> Progress:
    """Make sure that every live pod template is verified, and that the readiness gates of verified ones are open."""
    version, artifact = progress.version, progress.artifact or progress.status.artifact
    live = triton_pods(context.observed, version.version)
    if progress.artifact is not None:
        progress = replace(progress, inputs=triton.template_inputs(context.yolo, progress.artifact, context.defaults))
    if artifact is None:
        return progress
    current_hashes = {template_hash(pod) for pod in live if names.label(pod, names.TEMPLATE) == progress.inputs}
    for pod_hash in sorted({template_hash(pod) for pod in live}):
        mine = [pod for pod in live if template_hash(pod) == pod_hash]
        if pod_hash not in {entry.pod_template_hash for entry in progress.status.verified}:
            # A template of another revision than the one recorded can only be asked once its own artifact is known again.
            if names.label(mine[0], names.REVISION) != artifact.revision:
                continue
            progress = verify_template(context, progress, artifact, mine, current=pod_hash in current_hashes)
        if pod_hash in {entry.pod_template_hash for entry in progress.status.verified}:
            context.result.open_gates += filter(pods.waits_at_gate, mine)
    failure = progress.status.verify_failure
    if not current_hashes and failure is not None and failure.permanent and verification.is_about(failure, context.yolo, progress.inputs):
        # Its pods are gone, as those of a canary are that was degraded for it; that does not make the answers right.
        progress = failed(progress, problem_of(failure))
    hashes = {entry.pod_template_hash for entry in progress.status.verified}
    verified = bool(current_hashes & hashes) or not context.yolo.spec.rollout.verify.enabled
    kept = [entry for entry in progress.status.verified if entry.pod_template_hash in {template_hash(pod) for pod in live}]
    others = sorted((entry for entry in progress.status.verified if entry not in kept), key=lambda entry: entry.time)[-VERIFIED_KEPT:]
    remembered = sorted([*kept, *others], key=lambda entry: (entry.time, entry.pod_template_hash))
    return replace(progress, verified=verified, status=progress.status.model_copy(update={"verified": remembered}))


def verify_template(context: Context, progress: Progress, artifact: Artifact, candidates: Sequence[Manifest], *, current: bool) -> Progress:
    """Ask one pod of a template that has not been verified: the one that is being asked, else the oldest that answers; after a failure the next, as its node may be gone."""
    if not context.yolo.spec.rollout.verify.enabled:
        return progress
    key = verification.key(context.yolo, candidates[0])
    recorded = progress.status.verify_failure
    if recorded is not None and recorded.key == key and recorded.permanent:
        return failed(progress, problem_of(recorded)) if current else progress
    answering = sorted(filter(pods.answers, candidates), key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    if not answering:
        return progress
    # There is room for one failure. Of a template that is being replaced it is recorded only where it takes no other live one's place.
    others = {verification.key(context.yolo, pod) for pod in triton_pods(context.observed, progress.version.version)} - {key}
    taken = not current and recorded is not None and recorded.key in others
    asking = [job.verify(context.yolo, progress.version, artifact, pod, context.defaults) for pod in answering]
    attempts = recorded.attempts if recorded is not None and recorded.key == key else 0
    wanted_job = next((each for each in asking if each["metadata"]["name"] in context.observed.jobs), asking[attempts % len(asking)])
    found = ensure(context, wanted_job, recorded, key=key, answering=("verify",), result=Verification)
    progress = told(progress, found) if current else progress
    known: dict[str, object] = {} if taken else {"verify_failure": found.failure}
    if found.result is not None:
        entry = api.VerifiedTemplate(**found.result.model_dump(), pod_template_hash=template_hash(candidates[0]), time=clock.text(context.now))
        known["verified"] = [*progress.status.verified, entry]
    return replace(progress, status=progress.status.model_copy(update=known))


def serve_step(context: Context, progress: Progress, allocated: allocation.Allocation) -> Progress:
    """Make sure that the version's Deployment, Service and budget are there; before anything is built there is nothing to run."""
    version, artifact = progress.version, progress.artifact
    progress, replicas = replace(progress, replicas=allocated.target[version.version]), allocated.pods[version.version]
    live = context.observed.deployments.get(names.versioned(context.yolo, version.version))
    given_up = surge.given_up(context.yolo, progress, live, context.observed, context.now)
    if given_up is not None and live is not None:
        # What failed is tried no more; the template verified last serves until the spec changes.
        problem = pods.Problem(given_up.reason, given_up.message, permanent=True)
        progress = replace(progress, problem=problem, stalled=True, status=progress.status.model_copy(update={"rolled_back": given_up}))
        deployment = triton.keep(context.yolo, version.version, replicas, live, names.VERIFIED_TEMPLATE)
    elif artifact is not None and not progress.kept:
        progress = replace(progress, status=progress.status.model_copy(update={"rolled_back": None}))
        deployment = triton.build(context.yolo, version, artifact, replicas, live, context.defaults)
        if progress.verified:
            triton.remember_verified(deployment)
    elif live is not None:
        # The new revision is on its way, or may have no traffic: the old one serves on, exactly as it is.
        deployment = triton.keep(context.yolo, version.version, replicas, live, names.RENDERED)
    else:
        deployment = None
    if deployment is None:
        return progress
    in_place = surge.in_place(context.yolo, progress, live, context.observed, context.now)
    deployment["spec"]["strategy"] = triton.strategy(context.yolo, replicas, in_place=in_place)
    deployment["metadata"]["annotations"] |= refused_pods.asked_again(live, context.now)
    context.result.apply += [deployment, service.build(context.yolo, version.version), budget.build(context.yolo, version.version)]
    mine = triton_pods(context.observed, version.version)
    slow = image_pull.problem(mine, context.now) or resource_claims.problem(mine, context.now)
    return replace(progress, problem=progress.problem or trouble(context.yolo, progress, context.observed) or slow)


def drain_step(
    context: Context, state: api.RolloutStatus | None, progress: Sequence[Progress], allocated: allocation.Allocation, facts: Facts
) -> list[api.VersionStatus]:
    """Versions that are no longer declared serve until all declared ones do; then they go. Returns the status of those that are still there."""
    yolo, observed = context.yolo, context.observed
    declared = {version.version for version in yolo.spec.versions}
    all_serve = all(is_serving(yolo, each, observed) for each in progress) and not yolo.spec.suspend
    settled = state is None or (state.phase == canary.HEALTHY and not state.previous and state.stable in declared)
    remaining = []
    kinds = (observed.deployments, observed.services, observed.budgets)
    versions = {int(label) for kind in kinds for child in kind.values() if (label := names.label(child, names.VERSION)).isdigit()}
    for number in sorted((versions | facts.keys()) - declared):
        name = names.versioned(yolo, number)
        live = observed.deployments.get(name)
        mine = facts.get(number)
        # A canary that is no longer declared has nothing to wait for once the stable version can do without its pods.
        given_up = state is not None and number not in (state.stable, state.previous) and not allocated.pods.get(number)
        if live is None or ((given_up or (all_serve and settled)) and mine is not None and allocation.has_moved(allocated.shares, mine)):
            context.result.delete += [kind[name] for kind in kinds if name in kind]
            if mine is not None and mine.ready:
                remaining.append(draining(context, number, 0, pods.Problem("Removing", "No longer in spec.versions; Kubernetes is ending its pods")))
            continue
        kept = triton.keep(yolo, number, allocated.pods[number], live, names.RENDERED)
        if kept is not None:
            context.result.apply += [kept, service.build(yolo, number), budget.build(yolo, number)]
        context.result.open_gates += verified_at_gate([status_of(yolo, number)], observed)
        why = pods.Problem(
            "WaitingForOtherVersions", "No longer in spec.versions; it serves until the declared ones are available, verified and have the traffic"
        )
        remaining.append(draining(context, number, allocated.freed.get(number, 0), why))
    return remaining


def draining(context: Context, number: int, freed: int, why: pods.Problem) -> api.VersionStatus:
    """The status of a version that is no longer declared."""
    mine = triton_pods(context.observed, number)
    counts = {"replicas": len(mine), "ready_replicas": sum(map(pods.is_ready, mine)), "freed": freed}
    return status_of(context.yolo, number).model_copy(update=counts | {"phase": DRAINING, "reason": why.reason, "message": why.message})


def stop_unwanted_jobs(context: Context) -> None:
    """End Jobs that nobody waits for any more; finished ones are left to their time to live."""
    for name, live in sorted(context.observed.jobs.items()):
        if name not in context.result.jobs and not finished(live) and "deletionTimestamp" not in live["metadata"] and live not in context.result.delete:
            phases = {pod.get("status", {}).get("phase") for pod in context.observed.pods if names.label(pod, names.JOB_NAME) == name}
            # Nothing of it runs: it is about to be marked failed and keeps its log, or tries once more and is ended then.
            if phases != {"Failed"}:
                context.result.delete.append(live)
