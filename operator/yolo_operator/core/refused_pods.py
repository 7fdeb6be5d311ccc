"""Pods that the API server refuses to make: there is none to look at then, only the Deployment's condition ReplicaFailure, or a Job without any.

The condition has the words of the first refusal, and stays until a pod could be made. A ReplicaSet asks again ever later, at last every 16
minutes; what changes an annotation of its Deployment changes the newest ReplicaSet's as well, and that makes it ask at once.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from yolo_operator.core import clock, names
from yolo_operator.core.pods import MESSAGE_LIMIT, Problem

Manifest = Mapping[str, Any]

QUOTA = re.compile(r"exceeded quota: ([^,\s]+), (requested: .*)", re.DOTALL)
SERVICE_ACCOUNT = ("error looking up service account", "create that ServiceAccount, or correct spec.serviceAccountName")
OTHERS = (
    ("admission webhook", "the webhook's owner knows what it wants"),
    ("ValidatingAdmissionPolicy", "the policy's owner knows what it wants"),
)
OF_TRITON = (
    ("failed quota: ", "a ResourceQuota wants every container to say them: set spec.triton.resources"),
    ("violates PodSecurity", "change what spec.triton.podTemplate adds, or the namespace's label pod-security.kubernetes.io/enforce"),
    SERVICE_ACCOUNT,
    ("no PriorityClass with name", "create that PriorityClass, or correct spec.priorityClassName"),
    ("RuntimeClass", "create that RuntimeClass, or correct spec.runtimeClassName"),
    (" usage per ", "a LimitRange of the namespace sets bounds: correct spec.triton.resources"),
    *OTHERS,
)
"""What the API server's words contain, and what can be done."""
OF_JOB = (
    ("failed quota: ", "a ResourceQuota wants every container to say them: set spec.jobs.resources and spec.build.resources"),
    SERVICE_ACCOUNT,
    ("no PriorityClass with name", "create that PriorityClass, or correct spec.jobs.priorityClassName"),
    (" usage per ", "a LimitRange of the namespace sets bounds: correct spec.jobs.resources and spec.build.resources"),
    *OTHERS,
)
"""The same, of the Pods of Jobs."""
ASK_AGAIN = timedelta(minutes=1)
"""Between two of our requests to try again. The ReplicaSet's own first ones come faster."""
CHECKS = (timedelta(seconds=5), timedelta(seconds=20), timedelta(minutes=1))
"""So long after its start a Job that has no Pod is looked at: the API server refuses at once, but other things too may make a Pod come late."""


def condition(live: Manifest | None) -> Manifest | None:
    """The condition of a Deployment one of whose pods is refused."""
    found = (live or {}).get("status", {}).get("conditions", ())
    return next((c for c in found if (c["type"], c["status"], c.get("reason")) == ("ReplicaFailure", "True", "FailedCreate")), None)


def problem(live: Manifest | None) -> Problem | None:
    """Why the API server refuses a pod of a Deployment."""
    found = condition(live)
    return diagnose(found.get("message", "")) if found is not None else None


def diagnose(message: str) -> Problem:
    """Reason and remedy where a Triton pod is refused, from the API server's words."""
    exceeded = QUOTA.search(message)
    if exceeded:
        return Problem(
            "QuotaExceeded",
            f"ResourceQuota {exceeded[1]!r} has no room for another pod: raise it, or free some of it; an update can also have its old pod make room "
            f"(spec.rollout.gpu: InPlace; with a single pod requests fail meanwhile). {exceeded[2]}"[:MESSAGE_LIMIT],
        )
    return refused(message, OF_TRITON)


def refused(message: str, remedies: Sequence[tuple[str, str]]) -> Problem:
    """What is refused for another reason than a full quota."""
    remedy = next((remedy for words, remedy in remedies if words in message), "correct what its words name")
    return Problem("PodsRefused", f"The API server makes no pod: {remedy}. {message}"[:MESSAGE_LIMIT])


def since(live: Manifest | None) -> datetime | None:
    """Since when pods of a Deployment have been refused."""
    found = condition(live)
    return clock.parse(found.get("lastTransitionTime") or "") if found is not None else None


def over_quota_since(live: Manifest | None) -> datetime | None:
    """Since when a ResourceQuota has had no room for a pod of a Deployment."""
    found = problem(live)
    return since(live) if found is not None and found.reason == "QuotaExceeded" else None


def asked_again(live: Manifest | None, now: datetime) -> dict[str, str]:
    """The annotation that makes a refused pod be asked for again, once a minute; none where none is refused."""
    begun = since(live)
    times = (now - begun) // ASK_AGAIN if begun is not None else 0
    return {names.ASKED_AGAIN: clock.text(begun + times * ASK_AGAIN)} if begun is not None and times > 0 else {}


def next_request(lives: Iterable[Manifest], now: datetime) -> datetime | None:
    """When a refused pod is to be asked for again."""
    begun = [moment for live in lives if (moment := since(live)) is not None and moment <= now]
    return min((moment + ((now - moment) // ASK_AGAIN + 1) * ASK_AGAIN for moment in begun), default=None)


def waits_for_pod(job: Manifest, own: Sequence[Manifest], now: datetime) -> bool:
    """Whether a Job has begun a while ago and has no Pod: only an Event says why."""
    started = started_at(job)
    return not own and started is not None and now - started >= CHECKS[0]


def job_without_pod(job: Manifest, own: Sequence[Manifest], said: str, now: datetime) -> Problem | None:
    """Why a Job's Pod does not come. `said`: the API server's words in the latest Event about it, empty where there is none."""
    if not waits_for_pod(job, own, now):
        return None
    name = job["metadata"]["name"]
    exceeded = QUOTA.search(said)
    if exceeded:
        return Problem(
            "QuotaExceeded",
            f"ResourceQuota {exceeded[1]!r} has no room for the Pod of Job {name!r}: raise it, free some of it, or lower spec.jobs.resources and "
            f"spec.build.resources. {exceeded[2]}"[:MESSAGE_LIMIT],
        )
    if said:
        return refused(said, OF_JOB)
    started = started_at(job)
    if started is None or now - started < CHECKS[-1]:
        return None
    return Problem(
        "PodsRefused",
        f"Job {name!r} has had no Pod since {clock.text(started)}: most likely a ResourceQuota, a LimitRange, Pod Security, an admission webhook or a "
        f"missing ServiceAccount is against it; kubectl describe job {name} has the API server's words",
    )


def next_check(jobs: Iterable[Manifest], now: datetime) -> datetime | None:
    """When a Job that has begun should have its Pod; nothing changes if it has not. After the last of CHECKS once a minute, of a Job that has not ended."""
    begun = [moment for job in jobs if not job.get("status", {}).get("conditions") and (moment := started_at(job)) is not None and moment <= now]
    return min((check(moment, now) for moment in begun), default=None)


def check(started: datetime, now: datetime) -> datetime:
    """The next time to look at a Job."""
    last = CHECKS[-1]
    return next((started + after for after in CHECKS if started + after > now), started + ((now - started) // last + 1) * last)


def started_at(job: Manifest) -> datetime | None:
    """When a Job began; None where it has not, as one that is suspended."""
    text = job.get("status", {}).get("startTime")
    return clock.parse(text) if text else None
