"""Images that take long to come to a node: a Pod that waits for one shows nothing but ContainerCreating.

The kubelet makes a Pod's sandbox once its volumes are mounted (condition PodReadyToStartContainers), and then container after container
begins with its image. So one that does not start although the sandbox is there is being pulled. The image's size is in no Pod: a node
tells it once it has the image, and Events afterwards; the operator reads neither.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from yolo_operator.core import clock, pods

Manifest = Mapping[str, Any]

SLOW = timedelta(seconds=30)
CREATING = frozenset({"ContainerCreating", "PodInitializing"})


def problem(all_pods: Iterable[Manifest], now: datetime) -> pods.Problem | None:
    """The image that has been pulled for longest, if that is for more than 30 s."""
    found = clock.longest(map(pulled, all_pods), SLOW, now)
    if found is None:
        return None
    begun, image = found
    return pods.Problem(
        "PullingImage",
        f"Image {image!r} is being pulled since {clock.text(begun)}. Large images take minutes, once for each node; if it does not end, "
        "kubectl describe pod shows what the kubelet does",
    )


def next_check(all_pods: Iterable[Manifest], now: datetime) -> datetime | None:
    """When a pull that has begun becomes one to speak of; Pods do not change meanwhile."""
    return clock.next_over(map(pulled, all_pods), SLOW, now)


def pulled(pod: Manifest) -> tuple[datetime | None, str]:
    """Since when a Pod's next container has been waiting for its image, and the image; None where it waits for none."""
    status = pod.get("status", {})
    begun = next((since(c) for c in status.get("conditions", ()) if c["type"] == "PodReadyToStartContainers" and c["status"] == "True"), None)
    if begun is None or pods.is_terminating(pod):
        return None, ""
    sidecars = {container["name"] for container in pod.get("spec", {}).get("initContainers", ()) if container.get("restartPolicy") == "Always"}
    for container in status.get("initContainerStatuses", ()):
        ended = done(container, sidecar=container["name"] in sidecars)
        if ended is None:
            return (begun, container.get("image", "")) if is_creating(container) else (None, "")
        begun = max(begun, ended)
    waiting = next((container for container in status.get("containerStatuses", ()) if is_creating(container)), None)
    return (begun, waiting.get("image", "")) if waiting is not None else (None, "")


def since(condition: Manifest) -> datetime:
    """When a condition became what it is."""
    return clock.parse(condition.get("lastTransitionTime") or "")


def done(container: Manifest, *, sidecar: bool) -> datetime | None:
    """When an init container let the next one begin: by its end, or as a sidecar by its start. `started` is true of any that runs."""
    state = container.get("state", {})
    if state.get("terminated", {}).get("exitCode") == 0:
        return clock.parse(state["terminated"].get("finishedAt") or "")
    if sidecar and "running" in state and container.get("started"):
        return clock.parse(state["running"].get("startedAt") or "")
    return None


def is_creating(container: Manifest) -> bool:
    """Whether the kubelet is about to make the container, and has said nothing else."""
    return container.get("state", {}).get("waiting", {}).get("reason") in CREATING
