"""New pods where all GPUs are taken, or a ResourceQuota is used up: when an old pod is preempted for a new one, and when a template that failed is given up. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from yolo_operator.core import api, clock, names, pods, refused_pods, verification
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, overdue, ready_versions, triton_pods
from yolo_operator.core.progress import Progress
from yolo_operator.core.resources import triton
from yolo_operator.core.rollout.facts import Facts

CRASHES = 3
"""So often a container of a new template may end before the template is given up, where an old pod has made room for it."""


def in_place(yolo: api.YoloDeployment, progress: Progress, live: Manifest | None, observed: Observed, now: datetime) -> bool:
    """Whether a version's pods are replaced in place."""
    wanted = yolo.spec.rollout.gpu
    mine = triton_pods(observed, progress.version.version)
    if wanted == "InPlace":
        return True
    if wanted == "Surge" or live is None:
        return False
    templates = {names.label(pod, names.TEMPLATE) for pod in mine}
    if refused_pods.condition(live) is not None:
        # The update has begun, though none of its pods could be made.
        templates.add(names.label(live["spec"]["template"], names.TEMPLATE))
    if triton.is_in_place(live) and (len(templates) > 1 or not all(map(pods.is_ready, mine))):
        # Begun so, ended so: with the first pod that made room, no other waits for a GPU any more.
        return True
    return sum(map(pods.is_ready, mine)) >= 2 and len(templates) >= 2 and has_waited(yolo, mine, [live], now)


def has_waited(yolo: api.YoloDeployment, waiting: Sequence[Manifest], lives: Sequence[Manifest], now: datetime) -> bool:
    """Whether a pod has waited for a GPU, or for room in a quota, for spec.rollout.surgeTimeout."""
    return any(now >= since + yolo.spec.rollout.surge_timeout for since in waits_since(waiting, lives))


def next_check(yolo: api.YoloDeployment, observed: Observed, now: datetime) -> datetime | None:
    """When a pod will have waited long enough: no event comes then."""
    moments = [since + yolo.spec.rollout.surge_timeout for since in waits_since(observed.pods, observed.deployments.values())]
    return min((moment for moment in moments if now < moment), default=None)


def waits_since(waiting: Iterable[Manifest], lives: Iterable[Manifest]) -> list[datetime]:
    """Since when pods have been unschedulable for lack of their GPUs, and Deployments without a pod that a quota has no room for."""
    unscheduled = [
        clock.parse(condition["lastTransitionTime"])
        for pod in waiting
        for condition in pod.get("status", {}).get("conditions", ())
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and "lastTransitionTime" in condition
        if (problem := pods.diagnose(pod, job=False)) is not None and problem.reason == "InsufficientGPU"
    ]
    return [*unscheduled, *(since for live in lives if (since := refused_pods.over_quota_since(live)) is not None)]


def starved(yolo: api.YoloDeployment, versions: Sequence[int], observed: Observed, now: datetime) -> bool:
    """Whether a pod of one of the versions has waited long enough, for a GPU or for room in a quota, that a pod of another is to make room."""
    wanted = yolo.spec.rollout.gpu
    if wanted == "Surge":
        return False
    waiting = [pod for number in versions for pod in triton_pods(observed, number)]
    lives = [live for number in versions if (live := observed.deployments.get(names.versioned(yolo, number))) is not None]
    return has_waited(yolo, waiting, lives, now) if wanted == "Auto" else bool(waits_since(waiting, lives))


def frees_gpu(yolo: api.YoloDeployment, version: int, live: Manifest, others: Sequence[int], observed: Observed, now: datetime) -> bool:
    """Whether a version is to give up a pod for others that wait for a GPU: one at a time, and the last only where others serve."""
    if not starved(yolo, others, observed, now):
        return False
    ready, mine = ready_versions(observed), triton_pods(observed, version)
    # What has ended holds no GPU, be its Pod still there: an evicted one is, until somebody deletes it.
    leaving = any(
        names.label(pod, names.COMPONENT) == names.TRITON and names.label(pod, names.VERSION) == str(version) and pods.is_leaving(pod) for pod in observed.pods
    )
    least = 1 if any(ready.get(number) for number in others) else 2
    return not leaving and len(mine) == live["spec"].get("replicas", 1) >= least and all(map(pods.is_ready, mine))


def freeing(yolo: api.YoloDeployment, target: Mapping[int, int], facts: Facts, observed: Observed, now: datetime) -> set[int]:
    """Versions with pods to give up, which give one up now for another version's pod that waits for a GPU."""
    wanted = [number for number, count in target.items() if count]
    giving = [number for number, each in facts.items() if each.deployed and target[number] < each.requested]
    live = {number: observed.deployments[names.versioned(yolo, number)] for number in giving}
    return {number for number in giving if frees_gpu(yolo, number, live[number], [other for other in wanted if other != number], observed, now)}


def given_up(yolo: api.YoloDeployment, progress: Progress, live: Manifest | None, observed: Observed, now: datetime) -> api.RolledBack | None:
    """Why the wanted template is not tried (any more), where there is a verified one to go back to."""
    recorded = progress.status.rolled_back
    verified = triton.noted_template(live, names.VERIFIED_TEMPLATE)
    if live is None or verified is None or not progress.inputs or verified["metadata"]["labels"].get(names.TEMPLATE) == progress.inputs:
        return None
    tried = f"{progress.inputs}-{verification.limits(yolo)}"
    if recorded is not None and recorded.template == tried:
        return recorded
    if names.label(live["spec"]["template"], names.TEMPLATE) != progress.inputs:
        return None
    new = [pod for pod in triton_pods(observed, progress.version.version) if names.label(pod, names.TEMPLATE) == progress.inputs]
    problem = progress.problem if progress.stalled and not progress.excluded and new and not progress.verified else None
    if problem is None and triton.takes_first(live):
        problem = failed_in_place(new, live) or (refused_pods.problem(live) if overdue(live) else None)
    if problem is None:
        return None
    message = f"{problem.message} (the pods are those verified last; a change of the spec that makes other pods tries again)"
    image = triton.asked_image(live)
    return api.RolledBack(template=tried, time=clock.text(now), reason=problem.reason, message=message[:4096], image=image)


def failed_in_place(new: Sequence[Manifest], live: Manifest) -> pods.Problem | None:
    """What is wrong with pods for which old ones made room."""
    for pod in new:
        crashes = max((container.get("restartCount", 0) for container in pods.containers(pod)), default=0)
        problem = pods.diagnose(pod, job=False)
        if problem is not None and (crashes >= CRASHES or overdue(live)):
            return problem
    return pods.Problem("ProgressDeadlineExceeded", "New pods were not ready within spec.rollout.progressDeadline.") if new and overdue(live) else None
