"""One pass over one YoloServer, as `reconciler` does it for a YoloDeployment: gather, plan, record, apply, status."""

import functools
import logging
from collections.abc import Callable
from datetime import datetime

from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.claims import STANDS_BACK_SECONDS, Claims
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Kube
from yolo_operator.controller.refusals import Refusals, one_pass
from yolo_operator.controller.writer import Writer
from yolo_operator.core import api, names
from yolo_operator.core.defaults import Defaults
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
        return await one_pass(key, body, functools.partial(self._pass, key, body))

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
                    body = await self._kube.set_finalizer(body, present=decided.finalizer)
                    self._cache.put(kinds.SERVER, body)
            if server.deleting and not decided.finalizer:
                return
            computed = decided.status
            # What is given out must not be given out again with other content: the number of the list is written down first.
            if computed.serial != server.status.serial:
                body = await self._writer.status(body, server.status.model_copy(update={"serial": computed.serial}))
            await self._writer.open_gates(decided.open_gates, now, refusals)
            await self._writer.change_pods(decided.change_pods, refusals)
            for manifest in decided.apply:
                with refusals.noted("apply", manifest):
                    await self._writer.apply(body, manifest)
        error = refusals.summary()
        if error is not None:
            computed = shared.failed(server, error, now, base=computed)
        if computed is not None:
            await self._writer.report(body, server.status.conditions, computed)
