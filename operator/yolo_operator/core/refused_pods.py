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
REMEDIES = (
    ("failed quota: ", "a ResourceQuota wants every container to say them: set spec.triton.resources"),
    ("violates PodSecurity", "change what spec.triton.podTemplate adds, or the namespace's label pod-security.kubernetes.io/enforce"),
    ("error looking up service account", "create that ServiceAccount, or correct spec.serviceAccountName"),
    ("no PriorityClass with name", "create that PriorityClass, or correct spec.priorityClassName"),
    ("RuntimeClass", "create that RuntimeClass, or correct spec.runtimeClassName"),
    (" usage per ", "a LimitRange of the namespace sets bounds: correct spec.triton.resources"),
    ("admission webhook", "the webhook's owner knows what it wants"),
    ("ValidatingAdmissionPolicy", "the policy's owner knows what it wants"),
)
"""What the API server's words contain, and what can be done."""
ASK_AGAIN = timedelta(minutes=1)
"""Between two of our requests to try again. The ReplicaSet's own first ones come faster."""
WITHOUT_POD = timedelta(minutes=1)
"""So long after a Job's start a Pod of it may still be unseen."""


def condition(live: Manifest | None) -> Manifest | None:
    """The condition of a Deployment one of whose pods is refused."""
    found = (live or {}).get("status", {}).get("conditions", ())
    return next((c for c in found if (c["type"], c["status"], c.get("reason")) == ("ReplicaFailure", "True", "FailedCreate")), None)


def problem(live: Manifest | None) -> Problem | None:
    """Why the API server refuses a pod of a Deployment."""
    found = condition(live)
    return diagnose(found.get("message", "")) if found is not None else None


def diagnose(message: str) -> Problem:
    """A refusal's reason and remedy, from the API server's words."""
    exceeded = QUOTA.search(message)
    if exceeded:
        return Problem(
            "QuotaExceeded",
            f"ResourceQuota {exceeded[1]!r} has no room for another pod: raise it, or free some of it; an update can also have its old pod make room "
            f"(spec.rollout.gpu: InPlace; with a single pod requests fail meanwhile). {exceeded[2]}"[:MESSAGE_LIMIT],
        )
    remedy = next((remedy for words, remedy in REMEDIES if words in message), "correct what its words name")
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


def job_without_pod(job: Manifest, own: Sequence[Manifest], now: datetime) -> Problem | None:
    """A Job whose Pod does not come. Only an Event says why, which the operator does not read."""
    started = job.get("status", {}).get("startTime")
    if own or started is None or now - clock.parse(started) < WITHOUT_POD:
        return None
    return Problem(
        "PodsRefused",
        f"Job {job['metadata']['name']!r} has had no Pod since {started}: most likely a ResourceQuota, a LimitRange, Pod Security, an admission webhook or a "
        f"missing ServiceAccount is against it; kubectl describe job {job['metadata']['name']} has the API server's words",
    )


def next_check(jobs: Iterable[Manifest], now: datetime) -> datetime | None:
    """When a Job that has just begun should have its Pod; nothing changes if it has not."""
    started = [clock.parse(text) for job in jobs if (text := job.get("status", {}).get("startTime")) and not job["status"].get("conditions")]
    return min((moment + WITHOUT_POD for moment in started if moment + WITHOUT_POD > now), default=None)
