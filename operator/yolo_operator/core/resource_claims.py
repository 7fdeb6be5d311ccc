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
    found = sorted((begun, template) for begun, template in map(awaited, all_pods) if begun is not None and now - begun > SLOW)
    if not found:
        return None
    return pods.Problem(
        "ResourceClaimMissing",
        f"Kubernetes makes no ResourceClaim for the Pod: is there a ResourceClaimTemplate {found[0][1]!r} in this namespace "
        "(spec.gpu.resourceClaimTemplateName), and does the cluster have dynamic resource allocation? kubectl describe pod shows what it says",
    )


def next_check(all_pods: Iterable[Manifest], now: datetime) -> datetime | None:
    """When a claim that is not there yet becomes one to speak of; Pods do not change meanwhile."""
    moments = [begun + SLOW + timedelta(seconds=1) for begun, _ in map(awaited, all_pods) if begun is not None]
    return min((moment for moment in moments if moment > now), default=None)


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
