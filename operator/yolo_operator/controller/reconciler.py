"""One pass over one resource: gather, plan, record, apply, status. The status is written on success and on failure."""

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from yolo_operator.controller import kinds, refused_jobs
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.claims import STANDS_BACK_SECONDS, Claims
from yolo_operator.controller.gateway_features import GatewayFeatures
from yolo_operator.controller.image_updates import ImageUpdates
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Kube
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.refusals import Refusals, one_pass
from yolo_operator.controller.server_reconciler import ServerReconciler
from yolo_operator.controller.writer import Writer
from yolo_operator.core import api, conditions, names, status
from yolo_operator.core.context import Plan
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.observed import Observed, verified_at_gate
from yolo_operator.core.plan import plan
from yolo_operator.core.prune import retained
from yolo_operator.core.published import places

log = logging.getLogger(__name__)


class Reconciler:
    """Brings the cluster closer to what a resource asks for, a pass at a time."""

    def __init__(self, *, kube: Kube, cache: Cache, queue: Queue[Key], defaults: Defaults, now: Callable[[], datetime], identity: str = "") -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._gateway_features = GatewayFeatures(kube)
        self._image_updates = ImageUpdates(cache, defaults)
        self._defaults = defaults
        self._now = now
        self._claims = Claims(identity)
        self._writer = Writer(kube, cache, self._claims)
        self._servers = ServerReconciler(kube=kube, cache=cache, writer=self._writer, claims=self._claims, defaults=defaults, now=now)
        self._unread: dict[Key, tuple[str, ...]] = {}
        """What of a status could not be read, as it was told last."""

    async def reconcile(self, key: Key) -> bool:
        """One pass; returns whether it went well. The queue never runs two for the same key at once."""
        if key.is_server:
            return await self._servers.reconcile(key)
        body = self._cache.get(kinds.YOLO, key)
        if body is None:
            self._writer.forget(key)
            self._claims.forget(key)
            self._unread.pop(key, None)
            self._enqueue_due(key)
            return True
        went_well = await one_pass(key, body, functools.partial(self._pass, key, body))
        self._enqueue_due(key)
        return went_well

    async def _pass(self, key: Key, body: Manifest, refusals: Refusals) -> None:
        now = self._now()
        yolo: api.YoloDeployment = api.identity(body)
        lost, news = self._claims.is_lost(key, yolo.status.operator)
        if news:
            await self._stand_back(key, body, yolo.status.operator or "")
        if lost:
            self._queue.add(key, STANDS_BACK_SECONDS)
            return
        self._tell_unread(key, yolo.unread)
        decided: Plan | None = None
        computed: api.Status | None = None
        with refusals.faults(key):
            removes = body.get("spec", {}).get("deletionPolicy") == "Delete"
            waits = yolo.deleting and names.FINALIZER in yolo.finalizers
            ends = waits and removes and await self._kube.namespace_terminating(key.namespace)
            try:
                yolo = api.parse(body)
                listed, fields = await self._gateway_features.read(yolo)
                refused = await refused_jobs.read(self._kube, self._cache, key, yolo.uid, now)
                # Nothing is waited for between looking and deciding.
                observed = replace(
                    self._cache.observe(key, yolo.uid), gateway_features=listed, session_fields=fields, refused_jobs=refused, namespace_terminating=ends
                )
                decided = plan(yolo, observed, self._image_updates.defaults_for(key), now)
            except InvalidSpec:
                if not waits or (removes and not ends):
                    raise
                # Whatever else is wrong with the spec, there is nothing that a Job is to do, or none can run.
                decided = retained(yolo, places(yolo, None)) if ends else Plan(status=yolo.status)
        if decided is None:
            # What serves goes on: a pod in another's place needs no plan to have its gate opened.
            await self._writer.open_gates(verified_at_gate(yolo.status.versions, self._cache.observe(key, yolo.uid)), now, refusals)
        else:
            await self._writer.open_gates(decided.open_gates, now, refusals)
            if decided.requeue_at is not None:
                self._queue.add(key, max(0.0, (decided.requeue_at - now).total_seconds()) + 0.5)
            with refusals.faults(key):
                body = await self._record(yolo, body, decided.status, refusals)
                body = await self._apply(yolo, body, decided, now, refusals)
                await self._writer.change_pods(decided.change_pods, refusals)
                await self._writer.fail_pods(decided.lost, refusals)
                computed = decided.status
        if yolo.deleting and names.FINALIZER not in body["metadata"].get("finalizers", ()):
            return
        error = refusals.summary()
        if error is not None:
            computed = status.failed(yolo, error, now, base=computed)
        if computed is not None:
            await self._writer.report(body, yolo.status.conditions, computed)

    async def _stand_back(self, key: Key, body: Manifest, other: str) -> None:
        """Say that another operator looks after a resource."""
        message = f"Two operators serve this namespace: that of Lease {other} has taken this resource over from that of Lease {self._claims.identity}, which stands back"
        log.warning(message, extra={"namespace": key.namespace, "resource": key.name, "reason": "AnotherOperator"})
        await self._kube.event(body, reason="AnotherOperator", message=message, warning=True)

    def _tell_unread(self, key: Key, paths: tuple[str, ...]) -> None:
        """Say once what of a status is not known to this release, or was spoilt by hand: it counts as absent."""
        if paths and self._unread.get(key) != paths:
            shown = ", ".join(paths[:20])
            log.warning("status read in part", extra={"namespace": key.namespace, "resource": key.name, "count": len(paths), "left_out": shown})
        self._unread[key] = paths

    def _enqueue_due(self, key: Key) -> None:
        """After a pass, or the end of a resource, it may be another's turn to change to the default Triton image."""
        for due in self._image_updates.due(key):
            self._queue.add(due)

    async def _record(self, yolo: api.YoloDeployment, body: Manifest, computed: api.Status, refusals: Refusals) -> Manifest:
        """Write down what was decided before it is acted on. What it follows from goes with that: who came after a crash would decide it otherwise."""
        if status.decisions(computed) == status.decisions(yolo.status):
            return body
        if refusals.summary() is not None or conditions.is_true(computed.conditions, conditions.READY):
            # That all is well is for the end of the pass to say. What is still to come is said at once: two writes for one step cost the API server two.
            computed = computed.model_copy(update={"conditions": yolo.status.conditions, "observed_generation": yolo.status.observed_generation})
        return await self._writer.status(body, computed)

    async def _apply(self, yolo: api.YoloDeployment, body: Manifest, decided: Plan, now: datetime, refusals: Refusals) -> Manifest:
        """Write what the plan wants and differs; the readiness gates are open by then. What is refused is noted and holds up nothing else."""
        body = await self._set_finalizer(yolo, body, decided, refusals)
        for manifest in decided.apply:
            with refusals.noted("apply", manifest):
                await self._writer.apply(body, manifest)
        for manifest in decided.create:
            with refusals.noted("create", manifest):
                made = await self._kube.create(kinds.JOB, manifest)
                if made is not None:
                    self._cache.put(kinds.JOB, made)
        for live in decided.delete:
            with refusals.noted("delete", live):
                await self._kube.delete(kinds.BY_NAME[live["kind"]], live)
        if decided.notice is not None:
            log.warning(decided.notice[1], extra={"namespace": yolo.namespace, "resource": yolo.name, "reason": decided.notice[0]})
            await self._kube.event(body, reason=decided.notice[0], message=decided.notice[1], warning=True)
        if yolo.deleting and decided.finalizer and refusals.namespace_terminating():
            # No Job can run here any more: a resource that waits for one is let go, with a word about what stays.
            return await self._apply(yolo, body, plan(yolo, Observed(namespace_terminating=True), self._defaults, now), now, refusals)
        return body

    async def _set_finalizer(self, yolo: api.YoloDeployment, body: Manifest, decided: Plan, refusals: Refusals) -> Manifest:
        """Put our finalizer on, before anything is published, or take it off; the resource as it is then."""
        if decided.finalizer == (names.FINALIZER in yolo.finalizers) or (decided.finalizer and yolo.deleting):
            return body
        with refusals.noted("set the finalizer of", body):
            body = await self._kube.set_finalizer(body, present=decided.finalizer)
            self._cache.put(kinds.YOLO, body)
        return body
