"""ResourceClaims that Kubernetes does not make: a Pod whose claim comes from a template that is not there shows nothing at all, not even that it is unschedulable."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from yolo_operator.core import clock, pods

Manifest = Mapping[str, Any]

SLOW = timedelta(seconds=5)
"""By then a claim has been made on any cluster that works."""


def problem(all_pods: Iterable[Manifest], now: datetime) -> pods.Problem | None:
    """The template by which a Pod has waited for its claim for longer than 5 s."""
    found = clock.longest(map(awaited, all_pods), SLOW, now)
    if found is None:
        return None
    return pods.Problem(
        "ResourceClaimMissing",
        f"Kubernetes makes no ResourceClaim for the Pod: is there a ResourceClaimTemplate {found[1]!r} in this namespace "
        "(spec.gpu.resourceClaimTemplateName), and does the cluster have dynamic resource allocation? kubectl describe pod shows what it says",
    )


def next_check(all_pods: Iterable[Manifest], now: datetime) -> datetime | None:
    """When a claim that is not there yet becomes one to speak of; Pods do not change meanwhile."""
    return clock.next_over(map(awaited, all_pods), SLOW, now)


def awaited(pod: Manifest) -> tuple[datetime | None, str]:
    """Since when a Pod waits for a claim of a template, and the template; None where it waits for none."""
    status = pod.get("status", {})
    made = {claim["name"] for claim in status.get("resourceClaimStatuses", ())}
    wanted = {
        claim["name"]: claim["resourceClaimTemplateName"] for claim in pod.get("spec", {}).get("resourceClaims", ()) if claim.get("resourceClaimTemplateName")
    }
    missing = sorted(wanted.keys() - made)
    if not missing or pods.is_terminating(pod) or pod["spec"].get("nodeName"):
        return None, ""
    return clock.parse(pod["metadata"]["creationTimestamp"]), str(wanted[missing[0]])
