"""Metrics, health and logs."""

import errno
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.registry import Collector
from pythonjsonlogger.json import JsonFormatter

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  the kubelet and Prometheus come from outside the Pod
"""Addresses of all interfaces, of both families."""
reconciles = CounterMetric("yolo_operator_reconciles", "Passes over a resource, by how they ended.", ["result"])
errors = CounterMetric("yolo_operator_errors", "Passes that ended with an error, by its reason.", ["reason"])
duration = Histogram("yolo_operator_reconcile_seconds", "Seconds one pass takes.", buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30))
api_requests = CounterMetric("yolo_operator_api_requests", "Requests to the API server, without watches.", ["method", "code"])
events = CounterMetric("yolo_operator_watch_events", "Objects that the watches have shown.", ["kind"])
missed = CounterMetric("yolo_operator_watch_missed", "Changes that a list showed and the watch had not.", ["kind"])


class Resources(Collector):
    """Gauges that are counted when they are asked for: resources by condition, updates to another default image, and the queue's depth."""

    def __init__(self, conditions: Callable[[], Iterable[tuple[str, str]]], depth: Callable[[], int], image_updates: Callable[[], Mapping[str, int]]) -> None:
        self._conditions = conditions
        self._image_updates = image_updates
        self._depth = depth

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by the Prometheus client."""
        gauge = GaugeMetricFamily("yolo_operator_resources", "YoloDeployments by condition and its status.", labels=["condition", "status"])
        for (condition, status), count in sorted(Counter(self._conditions()).items()):
            gauge.add_metric([condition, status], count)
        yield gauge
        updates = GaugeMetricFamily("yolo_operator_image_updates", "YoloDeployments on their way to another default Triton image.", labels=["phase"])
        for phase, count in self._image_updates().items():
            updates.add_metric([phase], count)
        yield updates
        yield GaugeMetricFamily("yolo_operator_queue_depth", "Resources that wait for a pass.", value=self._depth())


class Endpoint:
    """/metrics and /healthz."""

    def __init__(self, healthy: Callable[[], str]) -> None:
        self._healthy = healthy
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int) -> None:
        """Listen; port 0 means no endpoint, an empty address everywhere."""
        if not port:
            return
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics), web.get("/healthz", self._health)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        for each in [address] if address else EVERYWHERE:
            try:
                await web.TCPSite(self._runner, each, port).start()
            except OSError as error:
                # A machine may have one of the families only.
                if address or error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        trouble = self._healthy()
        return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)


def configure_logs(form: str, level: str) -> None:
    """One line per record, JSON unless `form` is text."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(
            JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"asctime": "time", "levelname": "level", "name": "logger"})
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # kopf tells of every event it sees; what became of it is in our own line per pass.
    logging.getLogger("kopf").setLevel("WARNING")
    logging.getLogger("aiohttp.access").setLevel("WARNING")
