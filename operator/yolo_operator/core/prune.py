"""Removing what was published: revisions beyond the retention, and on the resource's deletion all of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from yolo_operator.core import api, jobs, names, pods, revision, status
from yolo_operator.core.context import Context, Plan
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.ensure_job import Ensured, ensure
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, finished
from yolo_operator.core.progress import Progress, is_serving
from yolo_operator.core.resources import job

PUBLISHED_KEPT = 200
"""Earlier revisions remembered for removal: a bound for a resource that is edited for ever and never serves."""


def prune_step(context: Context, progress: Sequence[Progress]) -> tuple[list[str], api.Failure | None]:
    """Remove revisions beyond the retention, once everything declared serves. Returns those in the storage, oldest first, and why it failed.

    The Job is told what to remove, not what to keep: a revision that begins to be published meanwhile is safe from it.
    """
    wanted = {each.status.revision for each in progress}
    # What is wanted last is what was used last: a revision that comes back moves to the end.
    earlier = [entry for entry in context.yolo.status.published if entry not in wanted]
    published = earlier[-PUBLISHED_KEPT:] + [each.status.revision for each in progress]
    in_use = wanted | {each.status.built_revision for each in progress}
    in_use |= {names.label(pod, names.REVISION) for pod in context.observed.pods if names.label(pod, names.COMPONENT) == names.TRITON}
    in_use |= {names.label(live["spec"]["template"], names.REVISION) for live in context.observed.deployments.values()}
    unused = [entry for entry in published if entry not in in_use]
    surplus = unused[: max(0, len(unused) - context.yolo.spec.revision_history_limit)]
    if not surplus:
        # One that went well and is recorded goes too: the same revisions may have to be removed once more.
        context.result.delete += filter(pruned, context.observed.jobs.values())
        return published, None
    if not all(is_serving(context.yolo, each, context.observed) for each in progress):
        return published, None
    # What these Jobs said will not be true any more, should their revision be wanted again: they go first.
    outdated = [live for live in context.observed.jobs.values() if names.label(live, names.REVISION) in surplus and finished(live)]
    if outdated:
        context.result.delete += outdated
        return published, context.yolo.status.prune_failure
    wanted_job = job.prune(context.yolo, surplus, context.defaults)
    name, failure = wanted_job["metadata"]["name"], context.yolo.status.prune_failure
    context.result.delete += [live for live in context.observed.jobs.values() if live["metadata"]["name"] != name and pruned(live)]
    found: Ensured[Any] = ensure(context, wanted_job, failure, answering=("prune",))
    if found.succeeded:
        context.result.delete.append(context.observed.jobs[name])
        return [entry for entry in published if entry not in surplus], None
    return published, found.failure


def pruned(live: Manifest) -> bool:
    """Whether a Job has removed what it was to remove, and is still there."""
    gone = "deletionTimestamp" in live["metadata"]
    return names.label(live, names.COMPONENT) == names.PRUNE and bool(jobs.conditions(live).keys() & jobs.SUCCESS) and not gone


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
    context = Context(yolo=yolo, observed=observed, defaults=defaults, now=now, result=result)
    wanted_job = job.prune(yolo, None, defaults)
    name = wanted_job["metadata"]["name"]
    others = [live for live in observed.jobs.values() if live["metadata"]["name"] != name and not finished(live)]
    children = [*observed.deployments.values(), *others]
    result.delete += [live for live in children if "deletionTimestamp" not in live["metadata"]]
    if children or any(names.label(pod, names.COMPONENT) == names.TRITON and not pods.is_terminating(pod) for pod in observed.pods):
        result.status = status.deleting(yolo, "Draining", "Pods and Jobs end before what was published is removed", now)
        return result
    found: Ensured[Any] = ensure(context, wanted_job, yolo.status.prune_failure, answering=("prune",))
    if found.succeeded:
        result.finalizer = False
        return result
    problem = found.problem or pods.Problem("Pruning", "What was published is being removed")
    message = problem.message if found.problem is None else f"{problem.message} (or set spec.deletionPolicy to Retain to let go)"
    result.status = status.deleting(yolo, problem.reason, message, now).model_copy(update={"prune_failure": found.failure})
    return result
