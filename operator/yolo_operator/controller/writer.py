"""Writes the children of a resource where they differ from what is wanted, and what is changed in Pods that others make."""

import logging
from collections.abc import Sequence
from datetime import datetime

from yolo_operator.controller import kinds
from yolo_operator.controller.applied import Applied, Child
from yolo_operator.controller.cache import Cache, Key, resource_version
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Conflict, Kube, Missing
from yolo_operator.controller.refusals import Refusals
from yolo_operator.core import clock, drift, names
from yolo_operator.core.context import PodChange

log = logging.getLogger(__name__)

MUTATED_SHOWN = 10
"""Paths that an Event names."""


class Writer:
    """Of one process: it remembers what the cluster's admission makes of what it applies."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache
        self._applied = Applied()

    def forget(self, owner: Key) -> None:
        """A resource is gone."""
        self._applied.forget(owner)

    async def open_gates(self, pods: Sequence[Manifest], now: datetime, refusals: Refusals) -> None:
        """Let Pods in."""
        for pod in pods:
            with refusals.noted("open the readiness gate of", pod):
                try:
                    self._cache.put(kinds.POD, await self._kube.open_gate(pod, clock.text(now)))
                except Missing:
                    log.debug("pod is gone", extra={"object": pod["metadata"]["name"]})

    async def change_pods(self, changes: Sequence[PodChange], refusals: Refusals) -> None:
        """Give Pods of a server their labels and annotations."""
        for change in changes:
            with refusals.noted("change the labels of", change.pod):
                try:
                    self._cache.put(kinds.POD, await self._kube.change_pod(change))
                except (Missing, Conflict):
                    log.debug("pod is gone", extra={"object": change.pod["metadata"]["name"]})

    async def apply(self, body: Manifest, manifest: Manifest) -> None:
        """Apply one child of a resource, if it differs. Raises Unavailable NameConflict and DriftFight, and what the API server says."""
        kind, owner = kinds.BY_NAME[manifest["kind"]], key_of(body)
        manifest = drift.marked(manifest)
        child = Child.of(owner, manifest)
        live = self._cache.get(kind, Key.of(manifest))
        if live is not None and not names.is_owned(live, manifest["metadata"]["ownerReferences"][0]["uid"]):
            live = await self._kube.refuse_foreign(kind, manifest)
        path = self._applied.difference(child, manifest, live) if live is not None else ""
        if path is None:
            return
        put_back = self._applied.refuse_fight(child, manifest, path)
        if path:
            log.info("apply", extra={"kind": kind.name, "object": child.name, "differs": path})
        answer = await self._kube.apply(kind, manifest, live)
        self._cache.put(kind, answer)
        # Only now: what the API server has refused was not put back, and nobody has changed it again.
        changed = self._applied.note(child, manifest, answer, put_back)
        # What the same apply changes nothing in was told before, perhaps by an earlier process.
        if changed and (live is None or resource_version(answer) != resource_version(live)):
            shown = ", ".join(changed[:MUTATED_SHOWN]) + (f" and {len(changed) - MUTATED_SHOWN} more" if len(changed) > MUTATED_SHOWN else "")
            message = f"{kind.name} {child.name!r}: a webhook or policy of the cluster changes {shown} when it is applied; it is left as it is then"
            log.info("mutated", extra={"kind": kind.name, "object": child.name, "paths": shown})
            await self._kube.event(body, reason="Mutated", message=message, warning=False)


def key_of(body: Manifest) -> Key:
    """The key of a resource that gets passes."""
    return Key.of_server(*Key.of(body)[:2]) if body.get("kind") == kinds.SERVER.name else Key.of(body)
