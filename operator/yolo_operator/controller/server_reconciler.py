"""One pass over one YoloServer, as `reconciler` does it for a YoloDeployment: gather, plan, record, apply, status."""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.claims import STANDS_BACK_SECONDS, Claims
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Conflict, Kube, Missing
from yolo_operator.controller.leader import LeadershipLost
from yolo_operator.controller.refusals import Refusals
from yolo_operator.controller.writer import Writer
from yolo_operator.core import api, conditions, names
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.core.shared import server as shared

log = logging.getLogger(__name__)


class ServerReconciler:
    """Brings the cluster closer to what a YoloServer asks for, a pass at a time."""

    def __init__(self, *, kube: Kube, cache: Cache, writer: Writer, claims: Claims, defaults: Defaults, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._cache = cache
        self._writer = writer
        self._claims = claims
        self._defaults = defaults
        self._now = now

    async def reconcile(self, key: Key) -> bool:
        """One pass; returns whether it went well."""
        body = self._cache.get(kinds.SERVER, key.object)
        if body is None:
            self._writer.forget(key)
            self._claims.forget(key)
            return True
        started, refusals = time.monotonic(), Refusals()
        with refusals.faults(key):
            try:
                await self._pass(key, body, refusals)
            except LeadershipLost as lost:
                refusals.note(Unavailable("LeadershipLost", str(lost)))
        return refusals.tell(key, body, time.monotonic() - started)

    async def _pass(self, key: Key, body: Manifest, refusals: Refusals) -> None:
        now = self._now()
        server: api.YoloServer = api.server_identity(body)
        lost, _ = self._claims.is_lost(key, server.status.operator)
        if lost:
            log.info("another operator looks after it", extra={"namespace": key.namespace, "resource": key.name, "after": STANDS_BACK_SECONDS})
            return
        computed: api.ServerStatus | None = None
        with refusals.faults(key):
            server = api.parse_server(body)
            decided = shared.plan_server(server, self._cache.observe_server(key, server.uid), self._defaults, now)
            if decided.finalizer != (names.SERVER_FINALIZER in server.finalizers) and not (decided.finalizer and server.deleting):
                with refusals.noted("set the finalizer of", body):
                    body = await self._kube.set_finalizer(body, present=decided.finalizer) | {"kind": kinds.SERVER.name}
                    self._cache.put(kinds.SERVER, body)
            if server.deleting and not decided.finalizer:
                return
            computed = decided.status
            # What is given out must not be given out again with other content: the number of the list is written down first.
            if computed.serial != server.status.serial:
                body = await self._write(key, body, server.status.model_copy(update={"serial": computed.serial}))
            await self._writer.open_gates(decided.open_gates, now, refusals)
            await self._writer.change_pods(decided.change_pods, refusals)
            for manifest in decided.apply:
                with refusals.noted("apply", manifest):
                    await self._writer.apply(body, manifest)
        error = refusals.summary()
        if error is not None:
            stalled = isinstance(error, InvalidSpec)
            before = server if computed is None else server.model_copy(update={"status": computed})
            computed = shared.failed(before, error, stalled, now)
        if computed is not None:
            await self._report(key, body, server, computed)

    async def _write(self, key: Key, body: Manifest, computed: api.ServerStatus) -> Manifest:
        """Write a status in this operator's name; the resource as it is then."""
        named = computed.model_copy(update={"operator": self._claims.identity or None})
        written = await self._kube.write_status(body, dumped(named)) | {"kind": kinds.SERVER.name}
        self._cache.put(kinds.SERVER, written)
        self._claims.claim(key)
        return written

    async def _report(self, key: Key, body: Manifest, server: api.YoloServer, computed: api.ServerStatus) -> None:
        """Write the status where it differs, and an Event where Ready has turned in this pass."""
        found = body.get("status", {}).get("operator")
        if self._claims.another(found) or dumped(computed.model_copy(update={"operator": found})) != body.get("status"):
            try:
                await self._write(key, body, computed)
            except (Missing, Conflict):
                return
        old, ready = (conditions.find(each, conditions.READY) for each in (server.status.conditions, computed.conditions))
        if ready is not None and (old is None or (old.status, old.reason) != (ready.status, ready.reason)):
            stalled = conditions.is_true(computed.conditions, conditions.STALLED)
            await self._kube.event(body, reason=ready.reason, message=f"{ready.type}: {ready.message or ready.status}", warning=stalled)


def dumped(computed: api.ServerStatus) -> Manifest:
    """A status as it is written."""
    found: Manifest = computed.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found
