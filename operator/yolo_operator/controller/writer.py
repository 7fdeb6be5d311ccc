"""Writes what belongs to a resource where it differs from what is wanted: its status, its children, and what is changed in Pods that others make."""

import logging
from collections.abc import Sequence
from datetime import datetime

from yolo_operator.controller import kinds
from yolo_operator.controller.applied import Applied, Child
from yolo_operator.controller.cache import Cache, Key, key_of, resource_version
from yolo_operator.controller.claims import Claims
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Conflict, Kube, Missing, kind_of
from yolo_operator.controller.refusals import Refusals
from yolo_operator.core import api, clock, conditions, drift, names
from yolo_operator.core.context import PodChange
from yolo_operator.core.progress import BUILDING, STARTING, VERIFYING

log = logging.getLogger(__name__)

ORDINARY = frozenset({BUILDING, STARTING, VERIFYING})
"""Reasons for which Ready is False on the way from the apply to the first answer."""
MUTATED_SHOWN = 10
"""Paths that an Event names."""


class Writer:
    """Of one process: it remembers what the cluster's admission makes of what it applies."""

    def __init__(self, kube: Kube, cache: Cache, claims: Claims) -> None:
        self._kube = kube
        self._cache = cache
        self._claims = claims
        self._applied = Applied()

    def forget(self, owner: Key) -> None:
        """A resource is gone."""
        self._applied.forget(owner)

    async def status(self, body: Manifest, computed: api.Status | api.ServerStatus) -> Manifest:
        """Write a status in this operator's name; the resource as it is then."""
        kind = kind_of(body)
        named = computed.model_copy(update={"operator": self._claims.identity or None})
        written = await self._kube.write_status(body, dumped(named))
        self._cache.put(kind, written)
        self._claims.claim(key_of(kind, body))
        return written

    async def report(self, body: Manifest, before: Sequence[api.Condition], computed: api.Status | api.ServerStatus) -> None:
        """Write the status where it differs, and an Event where Ready has turned in this pass."""
        found = body.get("status", {}).get("operator")
        # One without a name, or of an earlier release, is not written anew for the name alone.
        if self._claims.another(found) or dumped(computed.model_copy(update={"operator": found})) != body.get("status"):
            try:
                await self.status(body, computed)
            except (Missing, Conflict):
                # It is gone, or another one of its name is there, which has a pass of its own.
                return
        old, ready = (conditions.find(each, conditions.READY) for each in (before, computed.conditions))
        if ready is None:
            return
        # Where nothing is amiss two tell all: that it has begun, and that it serves.
        if old is None or old.status == "Unknown" or ((old.status, old.reason) != (ready.status, ready.reason) and ready.reason not in ORDINARY):
            stalled = conditions.is_true(computed.conditions, conditions.STALLED)
            await self._kube.event(body, reason=ready.reason, message=f"{ready.type}: {ready.message or ready.status}", warning=stalled)

    async def open_gates(self, pods: Sequence[Manifest], now: datetime, refusals: Refusals) -> None:
        """Let Pods in."""
        for pod in pods:
            with refusals.noted("open the readiness gate of", pod):
                try:
                    self._cache.put(kinds.POD, await self._kube.open_gate(pod, clock.text(now)))
                except Missing:
                    log.debug("pod is gone", extra={"object": pod["metadata"]["name"]})

    async def fail_pods(self, pods: Sequence[Manifest], refusals: Refusals) -> None:
        """Say of Pods that they have ended."""
        for pod in pods:
            with refusals.noted("end", pod):
                try:
                    self._cache.put(kinds.POD, await self._kube.fail_pod(pod))
                    log.info("given up: its node does not answer", extra={"kind": "Pod", "object": pod["metadata"]["name"]})
                except (Missing, Conflict):
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
        kind, owner = kinds.BY_NAME[manifest["kind"]], key_of(kind_of(body), body)
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


def dumped(computed: api.Status | api.ServerStatus) -> Manifest:
    """A status as it is written."""
    found: Manifest = computed.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found
