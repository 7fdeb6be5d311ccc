"""A proxy between the operator and the API server that does it wrong: late, out of order, with errors, not at all.

Plain HTTP in front, TLS behind. For each request and each event of a watch it asks its present `Fault` what to do with them.
"""

import asyncio
import contextlib
import heapq
import itertools
import json
import math
import random
import ssl
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from control_plane import TOKEN, ControlPlane, write_kubeconfig

from yolo_operator.controller.kinds import Manifest

HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}
NEVER = math.inf


class Asked(NamedTuple):
    """A request as it came."""

    at: float
    method: str
    path: str
    watch: bool


class Fault:
    """Does everything right; each fault does one thing otherwise."""

    frozen = False
    """Nothing goes through, in either direction; connections stay."""

    def __init__(self) -> None:
        self.random = random.Random(1)

    async def before(self, asked: Asked) -> web.Response | None:
        """An answer instead of the API server's."""

    async def after(self, asked: Asked) -> web.Response | None:
        """An answer instead of the one that the API server has given: what was asked for is done."""

    def delay(self, event: Manifest) -> float:
        """Seconds until an event of a watch is shown; NEVER."""
        return 0

    def ends(self, asked: Asked, events: int) -> bool:
        """Whether a watch that has shown so many events is broken off."""
        return False


class Broken(Exception):
    """The connection is closed in the middle."""


class Proxy:
    """Listens from its beginning to its end. `fault` may be changed at any time."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.fault = Fault()
        self.hits = 0
        """What has been done wrong so far: requests, events and watches."""
        self.asked: list[Asked] = []
        self.kubeconfig = folder / "kubeconfig-proxy"

    def __enter__(self) -> "Proxy":
        self._thread.start()
        port = self._do(self._start())
        write_kubeconfig(self.kubeconfig, f"http://127.0.0.1:{port}")
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def since(self, moment: float) -> list[Asked]:
        """What has been asked since then (time.monotonic)."""
        return [asked for asked in self.asked if asked.at >= moment]

    def _do(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    async def _start(self) -> int:
        context = ssl.create_default_context(cafile=self._plane.ca)
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False, read_bufsize=4 << 20)
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(time.monotonic(), request.method, request.path, "watch" in request.query)
        self.asked.append(asked)
        try:
            await self._thaw()
            instead = await self.fault.before(asked)
            self.hits += instead is not None
            return instead or await self._forward(request, asked)
        except asyncio.CancelledError:
            # Nobody waits for the answer any more: it took too long.
            self.hits += not asked.watch
            raise
        except Broken:
            self.hits += 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

    async def _thaw(self) -> None:
        self.hits += self.fault.frozen
        while self.fault.frozen:  # noqa: ASYNC110  another thread ends it
            await asyncio.sleep(0.1)

    async def _forward(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        assert self._session is not None
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP} | {"Authorization": f"Bearer {TOKEN}"}
        async with self._session.request(request.method, f"{self._plane.url}{request.path_qs}", data=await request.read() or None, headers=headers) as found:
            kept = {key: value for key, value in found.headers.items() if key.lower() not in HOP_BY_HOP}
            if not asked.watch or found.status != 200:
                body = await found.read()
                await self._thaw()
                instead = await self.fault.after(asked)
                self.hits += instead is not None
                return instead or web.Response(status=found.status, body=body, headers=kept)
            answer = web.StreamResponse(status=found.status, headers=kept)
            answer.enable_chunked_encoding()
            await answer.prepare(request)
            await self._show(found, answer, asked)
            return answer

    async def _show(self, found: aiohttp.ClientResponse, answer: web.StreamResponse, asked: Asked) -> None:
        """Pass the events of a watch on, each when it is due: one of an object never before an earlier one of it, a bookmark last.

        The present fault counts, not the one that the watch was opened under.
        """
        due: list[tuple[float, int, bytes]] = []
        latest: dict[str, float] = {}
        number, shown, more = itertools.count(), 0, asyncio.Event()

        async def read() -> None:
            async for line in found.content:
                event = json.loads(line)
                uid = event["object"].get("metadata", {}).get("uid", "")
                delay = self.fault.delay(event)
                self.hits += delay > 0
                moment = time.monotonic() + delay
                if moment == NEVER:
                    continue
                moment = max(moment, latest.get(uid, 0.0)) if uid else max([moment, *latest.values()])
                latest[uid] = moment
                heapq.heappush(due, (moment, next(number), line))
                more.set()

        reading = asyncio.create_task(read())
        reading.add_done_callback(lambda _: more.set())
        try:
            while due or not reading.done():
                if self.fault.ends(asked, shown):
                    raise Broken
                pause = due[0][0] - time.monotonic() if due else 0.5
                if pause > 0:
                    more.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(more.wait(), pause)
                    continue
                await self._thaw()
                await answer.write(heapq.heappop(due)[2])
                shown += 1
        finally:
            reading.cancel()
