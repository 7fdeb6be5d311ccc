"""Lists and watches all children and the YoloServers, page by page, for ever. Fills the cache and enqueues, as handlers.py does.

kopf is not for them. What it indexes before it begins costs, at the start, the square of what there is. And of kinds whose CRDs may be missing,
come and go, as those of the Gateway API: without scanning it looks for a kind at its start and never again. With scanning it has to list and watch
every CRD of the cluster, which takes rights and memory, asks discovery once per change of a CRD, which may be too early, and ends the
process with a 404 when a kind that it watches goes. Nor can it be stopped and started anew with other kinds: at its end it cancels
every task that began after it. So the list itself tells whether a kind is served: 404 where it is not.
"""

import asyncio
import contextlib
import logging

from yolo_operator.controller import events, kinds
from yolo_operator.controller.cache import Cache, Key, resource_version
from yolo_operator.controller.kinds import Kind
from yolo_operator.controller.kube import Kube, Missing
from yolo_operator.controller.queue import Queue
from yolo_operator.core.errors import OperatorError

log = logging.getLogger(__name__)

RECHECK_SECONDS, RETRY_SECONDS, PAUSE_SECONDS = 10.0, 3.0, 1.0
"""Before the next list of a kind that is not served, of one that could not be listed, and before whatever follows a watch that has ended."""
WATCH_SECONDS, INACTIVE_SECONDS = 300.0, 120.0
"""A watch is ended by the server after the first, and goes on from what it has shown last; one that shows not even a bookmark for the second is dead."""


class Watches:
    """Lists and watches them for ever."""

    def __init__(self, *, kube: Kube, cache: Cache, queue: Queue[Key], namespaces: tuple[str, ...]) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._namespaces = namespaces or ("",)
        self.listed = asyncio.Event()
        """Set once all of them are known: no pass may begin before, or it would make anew what is there."""
        self._models_known = False

    async def run(self) -> None:
        """For ever."""
        since = {(kind, namespace): await self._first_list(kind, namespace) for kind in (*kinds.CHILDREN, *kinds.OPTIONAL) for namespace in self._namespaces}
        self.listed.set()
        async with asyncio.TaskGroup() as group:
            for (kind, namespace), version in since.items():
                group.create_task(self._follow(kind, namespace, version))

    async def _first_list(self, kind: Kind, namespace: str) -> str:
        """As `_list`, which is tried for as long as it takes; what is optional may be missing."""
        while True:
            since = await self._list(kind, namespace)
            if since or kind in kinds.OPTIONAL:
                return since
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, kind: Kind, namespace: str, since: str) -> None:
        while True:
            if since:
                since = await self._watch(kind, namespace, since)
                await asyncio.sleep(PAUSE_SECONDS)
            if not since:
                since = await self._list(kind, namespace)
                if not since:
                    await asyncio.sleep(RECHECK_SECONDS if kind in self._cache.not_served else RETRY_SECONDS)

    async def _know_models(self) -> None:
        """Before the first YoloServer is known: all YoloDeployments, which kopf may still be listing. Who knows only some of a server's models takes the
        others for gone, and their pods from them."""
        while not self._models_known:
            try:
                for namespace in self._namespaces:
                    async for page in self._kube.pages(kinds.YOLO, namespace):
                        for body in page["items"]:
                            self._cache.put(kinds.YOLO, body)
                self._models_known = True
            except OperatorError as error:
                log.warning("not listed", extra={"kind": kinds.YOLO.name, "error": error.message})
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self, kind: Kind, namespace: str) -> str:
        """Bring the cache to what is there. Returns the version to watch from, empty where there is nothing to watch."""
        present, version = set[Key](), ""
        try:
            async for page in self._kube.pages(kind, namespace):
                version = str(page["metadata"]["resourceVersion"])
                if kind is kinds.SERVER and page["items"]:
                    await self._know_models()
                for body in page["items"]:
                    present.add(Key.of(body))
                    if self._cache.put(kind, body):
                        events.enqueue(kind, body, self._cache, self._queue)
        except Missing:
            self._note(kind, served=False)
            return ""
        except OperatorError as error:
            log.warning("not listed", extra={"kind": kind.name, "error": error.message})
            return ""
        for body in self._cache.all(kind):
            # What was made after the list is newer than it.
            if Key.of(body) not in present and namespace in ("", Key.of(body).namespace) and resource_version(body) <= int(version):
                self._cache.drop(kind, body)
                events.enqueue(kind, body, self._cache, self._queue)
        self._note(kind, served=True)
        return version

    async def _watch(self, kind: Kind, namespace: str, since: str) -> str:
        """Keep the cache as it is shown. Returns the version to go on from, empty where only a list tells what there is."""
        shown = self._kube.watch(kind, namespace, since, seconds=WATCH_SECONDS, inactive=INACTIVE_SECONDS)
        try:
            async with contextlib.aclosing(shown):
                async for event, body in shown:
                    since = body["metadata"]["resourceVersion"]
                    if event != "BOOKMARK":
                        if kind is kinds.SERVER:
                            await self._know_models()
                        events.received(kind, event, body, self._cache, self._queue)
        except OperatorError as error:
            log.info("watch ended", extra={"kind": kind.name, "error": error.message})
            return ""
        return since

    def _note(self, kind: Kind, *, served: bool) -> None:
        """Remember whether a kind is served. What turns concerns every resource; the objects of a kind that went are gone."""
        if served is (kind not in self._cache.not_served):
            return
        log.info("kind is served" if served else "kind is not served", extra={"kind": kind.name})
        if served:
            self._cache.not_served.discard(kind)
        else:
            self._cache.not_served.add(kind)
            for body in self._cache.all(kind):
                self._cache.drop(kind, body)
        for body in self._cache.all(kinds.YOLO):
            self._queue.add(Key.of(body))
