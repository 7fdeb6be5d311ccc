"""Removing what was published: revisions beyond the retention, and on the resource's deletion all of them, in every storage that has any."""

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime
from typing import Any

from yolo_operator.core import api, jobs, names, pods, published, status
from yolo_operator.core.context import Context, Plan
from yolo_operator.core.defaults import Defaults, storage_of
from yolo_operator.core.ensure_job import Ensured, ensure
from yolo_operator.core.lost_pods import give_up_step
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, finished
from yolo_operator.core.progress import Progress
from yolo_operator.core.published import Place
from yolo_operator.core.resources import job


def prune_step(context: Context, progress: Sequence[Progress], *, serves: bool, served: Set[str] = frozenset()) -> dict[str, object]:
    """Remove revisions beyond the retention, once everything declared serves. Returns the fields of the status that say what is where.

    `served` are revisions that a server of several models has or is to have. A Job is told what to remove, not what to keep: a revision that begins to be published meanwhile is safe from it.
    """
    places, forgotten = published.bounded(published.places(context.yolo, storage_of(context.yolo, context.defaults)))
    if forgotten:
        left = ", ".join(published.root(context.yolo, each) for each in forgotten)
        context.result.notice = ("RetainedInStorage", f"spec.storage has changed {published.STORAGES_KEPT} times and more: {left} is not looked after any more")
    # What is wanted last is what was used last: a revision that comes back moves to the end.
    wanted = [each.status.revision for each in progress]
    earlier = [entry for entry in places[-1].revisions if entry not in wanted]
    places[-1] = replace(places[-1], revisions=(*earlier[-published.REVISIONS_KEPT :], *wanted))
    used = in_use(context.observed) | served | {*wanted, *(each.status.built_revision for each in progress)}
    unused = [entry for place in places for entry in place.revisions if entry not in used]
    surplus = set(unused[: max(0, len(unused) - context.yolo.spec.revision_history_limit)])
    if not surplus:
        # One that went well and is recorded goes too: the same revisions may have to be removed once more.
        context.result.delete += filter(pruned, context.observed.jobs.values())
        return published.recorded([replace(place, failure=None, message="") for place in places])
    if context.yolo.spec.suspend or not serves:
        return published.recorded(places)
    # What these Jobs said will not be true any more, should their revision be wanted again: they go first.
    outdated = [live for live in context.observed.jobs.values() if names.label(live, names.REVISION) in surplus and finished(live)]
    if outdated:
        context.result.delete += outdated
        return published.recorded(places)
    places = [remove_from(context, place, [entry for entry in place.revisions if entry in surplus]) for place in places]
    waited, gone = context.result.jobs, context.result.delete
    context.result.delete += [live for name, live in context.observed.jobs.items() if pruned(live) and name not in waited and live not in gone]
    return published.recorded(places)


def in_use(observed: Observed) -> set[str]:
    """Revisions that pods serve or are to serve, and those that a build may still be publishing, though nobody waits for it any more."""
    found = {names.label(live["spec"]["template"], names.REVISION) for live in observed.deployments.values()}
    found |= {names.label(pod, names.REVISION) for pod in observed.pods if names.label(pod, names.COMPONENT) == names.TRITON}
    found |= {names.label(pod, names.REVISION) for pod in observed.pods if is_building(pod)}
    return found | {names.label(live, names.REVISION) for live in observed.jobs.values() if not finished(live)}


def is_building(pod: Manifest) -> bool:
    """Whether a build's Pod has not ended, be its Job still there or not: it may publish until then."""
    return names.label(pod, names.COMPONENT) == names.BUILD and not pods.has_ended(pod)


def remove_from(context: Context, place: Place, surplus: list[str]) -> Place:
    """See to the removal of some revisions in one storage; what is there afterwards, and what stands in the way."""
    if not surplus:
        return replace(place, failure=None, message="")
    wanted = job.prune(context.yolo, surplus, place.storage, context.defaults)
    found: Ensured[Any] = ensure(context, wanted, place.failure, answering=("prune",))
    if found.succeeded:
        context.result.delete.append(context.observed.jobs[wanted["metadata"]["name"]])
        left = tuple(entry for entry in place.revisions if entry not in surplus)
        return replace(place, revisions=left, failure=None, message="")
    return replace(place, failure=found.failure, message="" if found.problem is None else explained(place, found.problem))


def explained(place: Place, problem: pods.Problem) -> str:
    """Why nothing can be removed in a storage; of an earlier one spec.storage is no remedy any more."""
    if place.present:
        return problem.message
    keys = f"Secret {place.storage.secret_ref.name!r} with the keys of that storage" if place.storage.secret_ref else "the identity that may write there"
    return f"{place.storage.uri}, which spec.storage named before: {problem.reason}: {problem.message}. It must be reachable as it was, with {keys}"


def pruned(live: Manifest) -> bool:
    """Whether a Job has removed what it was to remove, and is still there."""
    gone = "deletionTimestamp" in live["metadata"]
    return names.label(live, names.COMPONENT) == names.PRUNE and bool(jobs.conditions(live).keys() & jobs.SUCCESS) and not gone


def deletion(yolo: api.YoloDeployment, observed: Observed, defaults: Defaults, now: datetime) -> Plan:
    """The resource is being deleted. Its children go by garbage collection; what it published goes by a Job for each storage, if so wanted."""
    result = Plan(status=yolo.status)
    if names.FINALIZER not in yolo.finalizers or yolo.spec.deletion_policy == "Retain":
        return result
    places = published.known_places(yolo, defaults)
    if observed.namespace_terminating:
        return retained(yolo, places)
    if not places and yolo.status.published:
        storage_of(yolo, defaults)  # which says what is missing
    result.finalizer = True
    context = Context(yolo=yolo, observed=observed, defaults=defaults, now=now, result=result)
    give_up_step(context)
    wanted = [job.prune(yolo, None, place.storage, defaults) for place in places]
    pruning = {made["metadata"]["name"] for made in wanted}
    others = [live for live in observed.jobs.values() if live["metadata"]["name"] not in pruning and not finished(live)]
    children = [*observed.deployments.values(), *others]
    result.delete += [live for live in children if "deletionTimestamp" not in live["metadata"]]
    serving = any(names.label(pod, names.COMPONENT) == names.TRITON and not pods.is_terminating(pod) for pod in observed.pods)
    if children or serving or any(map(is_building, observed.pods)):
        # A removal that has begun, or is done, before all of them were seen is not the last: they may have published since.
        early = [observed.jobs[name] for name in sorted(pruning & observed.jobs.keys())]
        result.delete += [live for live in early if "deletionTimestamp" not in live["metadata"]]
        result.status = status.deleting(yolo, "Draining", "Pods and Jobs end before what was published is removed", now)
        return result
    found: list[Ensured[Any]] = [ensure(context, made, place.failure, answering=("prune",)) for made, place in zip(wanted, places, strict=True)]
    if all(each.succeeded for each in found):
        result.finalizer = False
        return result
    after = [replace(place, failure=each.failure) for place, each in zip(places, found, strict=True)]
    problem, place = next(
        ((each.problem, place) for each, place in zip(found, places, strict=True) if each.problem is not None),
        (pods.Problem("Pruning", "What was published is being removed"), None),
    )
    message = problem.message if place is None else f"{explained(place, problem)} (or set spec.deletionPolicy to Retain to let go)"
    result.status = status.deleting(yolo, problem.reason, message, now).model_copy(update=published.recorded(after))
    return result


def retained(yolo: api.YoloDeployment, places: Sequence[Place]) -> Plan:
    """Let the resource go, whatever it waits for: in a namespace that is being deleted no Job can run. Says what stays."""
    left = ", ".join(published.root(yolo, place) for place in places) or "what was published"
    return Plan(status=yolo.status, notice=("RetainedInStorage", f"The namespace is being deleted, so no Job can run: {left} stays in the storage"))
