"""The slow level-based resync: lists everything, repairs the cache, enqueues whom it concerns, and tells a dead watch from a quiet one.

kopf never makes up for a DELETED that it missed, and any watch can stop telling without ending. What a list shows twice in a row and
the watch has not shown in between, the watch has missed.
"""

import asyncio
import logging

from yolo_operator.controller import events, kinds, telemetry
from yolo_operator.controller.cache import Cache, Key, resource_version
from yolo_operator.controller.kinds import Kind
from yolo_operator.controller.kube import Kube
from yolo_operator.controller.queue import Queue
from yolo_operator.core.errors import OperatorError

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""So long a watch may lag behind a list before a difference counts as missed."""
PASSES_EVERY = 10
"""In one of so many rounds every resource gets a pass, though nothing has changed that anybody has seen."""


class Resync:
    """Lists all kinds now and then."""

    def __init__(self, *, kube: Kube, cache: Cache, queue: Queue[Key], namespaces: tuple[str, ...], pause: float) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._namespaces = namespaces or ("",)
        self._pause = pause
        self._missed: dict[str, int] = {}
        self._rounds = 0

    def trouble(self) -> str:
        """The kinds whose watch has missed something in each of the last two lists, empty if none."""
        dead = sorted(kind for kind, times in self._missed.items() if times >= 2)
        return f"the watch of {', '.join(dead)} shows nothing any more" if dead else ""

    async def run(self) -> None:
        """For ever: list, compare, repair, enqueue."""
        while True:
            await asyncio.sleep(self._pause)
            for kind in kinds.BY_NAME.values():
                if kind in self._cache.not_served:
                    continue
                try:
                    await self._check(kind)
                except OperatorError as error:
                    log.warning("resync failed", extra={"kind": kind.name, "error": error.message})
            self._rounds += 1
            if self._rounds % PASSES_EVERY == 0:
                for kind in (kinds.YOLO, kinds.SERVER):
                    for body in self._cache.all(kind):
                        events.enqueue(kind, body, self._cache, self._queue)

    async def _check(self, kind: Kind) -> None:
        """Compare a list with the cache, and a second one if they differ: between the two a living watch catches up."""
        cached = {body["metadata"]["uid"] for body in self._cache.all(kind)}
        first = await self._listed(kind)
        absent = cached - first.keys()
        if not absent and not any(self._is_newer(kind, body) for body in first.values()):
            self._missed[kind.name] = 0
            return
        await asyncio.sleep(GRACE_SECONDS)
        second = await self._listed(kind)
        absent -= second.keys()
        # What changed only since the first list is no fault of the watch. What changes all the time is measured by that list too.
        late = [second[uid] for uid, body in first.items() if self._is_newer(kind, body) and uid in second]
        gone = [body for body in self._cache.all(kind) if body["metadata"]["uid"] in absent]
        for body in late:
            found = await self._kube.find(kind, *Key.of(body)[:2])
            if found is not None:
                self._cache.put(kind, found)
                events.enqueue(kind, found, self._cache, self._queue)
        for body in gone:
            self._cache.drop(kind, body)
            events.enqueue(kind, body, self._cache, self._queue)
        missed = len(late) + len(gone)
        telemetry.missed.labels(kind.name).inc(missed)
        self._missed[kind.name] = self._missed.get(kind.name, 0) + 1 if missed else 0
        if missed:
            log.warning("the watch has missed changes", extra={"kind": kind.name, "count": missed})

    async def _listed(self, kind: Kind) -> dict[str, kinds.Manifest]:
        """Metadata by uid, which tells apart also those that bear the same name one after the other."""
        return {body["metadata"]["uid"]: body for namespace in self._namespaces for body in await self._kube.metadata(kind, namespace)}

    def _is_newer(self, kind: Kind, body: kinds.Manifest) -> bool:
        known = self._cache.get(kind, Key.of(body))
        return known is None or resource_version(known) < resource_version(body)
