"""`yolo-operator run`: leads if it may, watches, reconciles, reports; ends when it is told to or must not go on."""

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime

from prometheus_client.core import REGISTRY

from yolo_operator.controller import handlers, kinds, telemetry
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.image_updates import ImageUpdates
from yolo_operator.controller.kube import Kube, Missing, NoCluster, connect
from yolo_operator.controller.leader import Elector, LeadershipLost
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.reconciler import Reconciler
from yolo_operator.controller.resync import Resync
from yolo_operator.controller.settings import Settings
from yolo_operator.controller.watches import Watches
from yolo_operator.core.errors import OperatorError

log = logging.getLogger(__name__)

GC_THRESHOLD = (10_000, 20, 50)
"""Python's is 700, 10, 10: with it, looking for cycles took three times as long as parsing a list."""
END_SECONDS = 5
"""For a task to end that was told to."""
STUCK_SECONDS = 300
"""A pass this long is stuck: the process is restarted."""


class NotInstalled(Exception):
    """The API server does not know our resource."""


class Operator:
    """All parts, wired."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache = Cache()
        self._queue: Queue[Key] = Queue()
        self._resync: Resync | None = None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, or until leadership is lost."""
        settings, stop = self._settings, asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        client = await connect()
        elector = None
        if settings.lease_namespace:
            elector = Elector(kube=Kube(client), namespace=settings.lease_namespace, name=settings.lease_name, identity=settings.identity)
        kube = Kube(client, elector.check if elector else lambda: None)
        endpoint = telemetry.Endpoint(self._trouble)
        REGISTRY.register(telemetry.Resources(self._conditions, lambda: len(self._queue), ImageUpdates(self._cache, settings.defaults).counts))
        await endpoint.start(settings.address, settings.port)
        try:
            if elector is None or await self._before(stop, elector.acquire()):
                await self._lead(kube, elector, stop)
        finally:
            if elector is not None:
                await elector.release()
            await endpoint.stop()
            await client.close()

    async def _before(self, stop: asyncio.Event, awaited: Coroutine[object, object, object]) -> bool:
        """Wait for something, or for the end; returns whether it came first."""
        waiting, stopping = asyncio.create_task(awaited), asyncio.create_task(stop.wait())
        done, pending = await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if waiting in done:
            waiting.result()
        return waiting in done

    async def _lead(self, kube: Kube, elector: Elector | None, stop: asyncio.Event) -> None:
        """Watch and reconcile until one of the parts ends."""
        settings = self._settings
        reconciler = Reconciler(
            kube=kube,
            cache=self._cache,
            queue=self._queue,
            defaults=settings.defaults,
            now=lambda: datetime.now(UTC),
            identity=f"{settings.lease_namespace}/{settings.lease_name}" if elector is not None else "",
        )
        children = Watches(kube=kube, cache=self._cache, queue=self._queue, namespaces=settings.namespaces)
        self._resync = Resync(kube=kube, cache=self._cache, queue=self._queue, namespaces=settings.namespaces, pause=settings.resync_seconds)
        tasks = [
            asyncio.create_task(self._watch(kube, children, stop), name="watch"),
            asyncio.create_task(children.run(), name="children"),
            asyncio.create_task(self._queue.run(reconciler.reconcile, settings.workers), name="queue"),
            asyncio.create_task(self._resync.run(), name="resync"),
        ]
        if elector is not None:
            tasks.append(asyncio.create_task(elector.keep(), name="lease"))
        log.info("running", extra={"namespaces": settings.namespaces or "all", "workers": settings.workers})
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            # kopf ends its watches by itself once `stop` is set; the others are cancelled.
            for task in tasks[1:]:
                task.cancel()
            await asyncio.wait(tasks[:1], timeout=END_SECONDS)
            tasks[0].cancel()
            ended, running = await asyncio.wait(tasks, timeout=END_SECONDS)
            for task in running:
                # If the process hangs for it, the kubelet ends it: nothing answers at /healthz any more.
                log.error("a task does not end", extra={"task": task.get_name()})
            # An error that nobody asks for is logged.
            await asyncio.gather(*ended, return_exceptions=True)
        log.info("stopped")

    async def _watch(self, kube: Kube, children: Watches, stop: asyncio.Event) -> None:
        """Watch the resources once their children are listed: kopf enqueues each as soon as it has listed them."""
        # kopf would go on without a kind that is not there, and never look for it again.
        for namespace in self._settings.namespaces or ("",):
            try:
                await kube.page(kinds.YOLO, namespace, limit=1)
            except Missing as missing:
                raise NotInstalled(f"{kinds.YOLO.plural}.{kinds.YOLO.group} is not installed: install the chart, or apply crds/ and start again") from missing
            except OperatorError as error:
                # kopf tries again for as long as it takes.
                log.warning("cannot list yet", extra={"namespace": namespace, "error": str(error)})
        if await self._before(stop, children.listed.wait()):
            await handlers.watch(self._cache, self._queue, self._settings.namespaces, stop)

    def _trouble(self) -> str:
        """What is wrong with this process, empty if nothing."""
        if self._queue.oldest_pass_seconds() > STUCK_SECONDS:
            return f"a pass has been running for more than {STUCK_SECONDS} s"
        return self._resync.trouble() if self._resync is not None else ""

    def _conditions(self) -> Iterator[tuple[str, str]]:
        for body in self._cache.all(kinds.YOLO):
            for condition in body.get("status", {}).get("conditions", ()):
                yield condition["type"], condition["status"]


async def run(settings: Settings) -> None:
    """Run in this event loop."""
    await Operator(settings).run()


def main(settings: Settings) -> int:
    """Run in this process; 1 where leadership was lost, or cluster or CRD are missing, so that it is started anew."""
    telemetry.configure_logs(settings.log_format, settings.log_level)
    # What is imported stays, and needs no looking through for garbage; nor does what an answer of the API server makes, a hundred thousand objects at once and no cycle.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    try:
        asyncio.run(run(settings))
    except (LeadershipLost, NoCluster, NotInstalled, OSError) as error:
        log.error("ending: %s", error)  # noqa: TRY400  one sentence: where it came from is of no help
        return 1
    return 0
