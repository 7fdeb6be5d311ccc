"""Another default Triton image (chart value triton.image): which resources change to it now, and which keep theirs until it is their turn. Pure.

    Settled ─► Waiting ─► Updating ─► Settled
                 (pods keep the image they have)   (status.tritonImage is the default again)

Nothing is remembered but `status.tritonImage`, in each resource: the image that all its pods had when they were last complete. The phase follows
from that, from the Deployments and from the default, for every resource alike, so that all passes agree on whose turn it is.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from yolo_operator.core import api, conditions, names
from yolo_operator.core.defaults import Defaults, storage_of
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import overlay, triton


class Phase(StrEnum):
    """Where a resource is between two default images."""

    SETTLED = "Settled"
    """It has the default image, or one of its own, or no pods yet, or it is being deleted."""
    WAITING = "Waiting"
    """All its pods have another image, which was the default."""
    UPDATING = "Updating"
    """It has begun and is not complete: a pod template that fails stays so, and keeps another from beginning."""


def phase(body: Manifest, deployments: Mapping[str, Manifest], default: str) -> Phase:
    """Where a resource is, by its body as the API server gives it and its Deployments."""
    images = images_of(body, deployments)
    if not images or "deletionTimestamp" in body["metadata"] or body["spec"].get("triton", {}).get("image"):
        return Phase.SETTLED
    complete = body.get("status", {}).get("tritonImage") or min(images)
    if images == {default} and complete == default:
        return Phase.SETTLED
    given_up = {version.get("rolledBack", {}).get("image") for version in body.get("status", {}).get("versions", ())}
    # One that has failed with the default goes on failing; one in the middle of another update, to an image that was the default meanwhile, goes on.
    return Phase.WAITING if images == {complete} and default not in given_up else Phase.UPDATING


def images_of(body: Manifest, deployments: Mapping[str, Manifest]) -> set[str]:
    """Triton images in the Deployments of the versions that a resource declares."""
    declared = {str(version.get("version")) for version in body.get("spec", {}).get("versions", ())}
    return {triton.asked_image(live) for live in deployments.values() if names.label(live, names.VERSION) in declared}


def complete_image(yolo: api.YoloDeployment, deployments: Mapping[str, Manifest]) -> str:
    """The image that all pods of a resource have, where all are there and available; else what was recorded, at first what its Deployments have, or are made with."""
    lives = [live for version in yolo.spec.versions if (live := deployments.get(names.versioned(yolo, version.version))) is not None]
    images = {triton.asked_image(live) for live in lives}
    if len(images) == 1 and all(map(is_complete, lives)):
        return images.pop()
    return yolo.status.triton_image or min(images, default="")


def is_complete(live: Manifest) -> bool:
    """Whether all pods of a Deployment are of its template and available, and no others are left."""
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    counts = {status.get(count, 0) for count in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {wanted} and status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)


def order(body: Manifest) -> tuple[bool, str, str]:
    """Those that are Ready come first, then by namespace and name: what is not Ready may not get its pods anyway, and would hold up the others."""
    found = body.get("status", {}).get("conditions", ())
    ready = any(c.get("type") == conditions.READY and c.get("status") == "True" for c in found)
    return not ready, body["metadata"].get("namespace", ""), body["metadata"]["name"]


def turns(waiting: Iterable[Manifest], updating: int, defaults: Defaults) -> set[tuple[str, str]]:
    """Namespaces and names of those whose turn it is, with so many under way. What cannot be planned cannot begin, and takes no turn."""
    found: set[tuple[str, str]] = set()
    if updating >= defaults.max_image_updates:
        return found
    for body in sorted(waiting, key=order):
        if len(found) + updating >= defaults.max_image_updates:
            break
        if can_be_planned(body, defaults):
            found.add((body["metadata"].get("namespace", ""), body["metadata"]["name"]))
    return found


def can_be_planned(body: Manifest, defaults: Defaults) -> bool:
    """Whether a resource's spec leads to pods at all."""
    try:
        yolo = api.parse(body)
        overlay.check(yolo.spec.triton.pod_template)
        storage_of(yolo, defaults)
    except InvalidSpec:
        return False
    return True
