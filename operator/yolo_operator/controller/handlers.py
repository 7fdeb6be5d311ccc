"""The only place that knows kopf, which watches the YoloDeployments. Every event fills the cache and enqueues; their children are watched by watches.py."""

import asyncio
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf

from yolo_operator.controller import events, kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.queue import Queue

WATCH_SERVER_SECONDS, WATCH_CLIENT_SECONDS, INACTIVITY_SECONDS = 300, 330, 120
"""A watch is ended by the server after the first, by us after the second; one that shows not even a bookmark after the third is dead."""

WATCH_PAUSE_SECONDS = 1.0
"""From one opening of a watch to the next."""


def registry(cache: Cache, queue: Queue[Key]) -> kopf.OperatorRegistry:
    """All handlers, bound to a cache and a queue."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    kind = kinds.YOLO
    kopf.on.event(kind.group, kind.version, kind.plural, id=f"{kind.plural}_changed", registry=handlers)(functools.partial(changed, cache, queue))
    return handlers


async def changed(cache: Cache, queue: Queue[Key], *, body: kopf.Body, event: Any, **_: Any) -> None:
    """Fill the cache and enqueue."""
    events.received(kinds.YOLO, event.get("type"), body, cache, queue)


class NoDiffBase(kopf.DiffBaseStorage):
    """No handler asks what has changed. kopf would copy every object several times over to find it out."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing to compare."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Nothing is kept."""
        return None

    def store(self, **_: Any) -> None:
        """Keep nothing."""


class NoProgress(kopf.ProgressStorage):
    """No handler is tried again: the queue does that."""

    def fetch(self, **_: Any) -> None:
        """Nothing is kept."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""

    def purge(self, **_: Any) -> None:
        """There is nothing to remove."""

    def touch(self, **_: Any) -> None:
        """There is nothing to wake."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """There is nothing to take out."""
        return essence


@dataclass(frozen=True, kw_only=True)
class Session(kopf.AiohttpSession):
    """A session of ours; two are the same to kopf if they log in by the same means, so that it does not try again with what was refused."""

    info: kopf.ConnectionInfo
    aiohttp_session: aiohttp.ClientSession = field(compare=False)


async def login(**kwargs: Any) -> Session | None:
    """By the Pod's service account or the user's kubeconfig, in a session that pauses before it opens a watch anew."""
    info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
    if info is None:
        return None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        trace_configs=[pauses()],
    )
    return Session(
        server=info.server,
        default_namespace=info.default_namespace,
        priority=info.priority,
        expiration=info.expiration,
        info=info,
        aiohttp_session=session,
    )


def pauses() -> aiohttp.TraceConfig:
    """Keeps kopf from asking without end where watches break as soon as they are open: it opens the next one at once."""
    opened: dict[str, float] = {}

    async def pause(_: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
        if "watch" in request.url.query:
            clock, path = asyncio.get_running_loop().time, request.url.path
            await asyncio.sleep(opened.get(path, -math.inf) + WATCH_PAUSE_SECONDS - clock())
            opened[path] = clock()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(pause)
    return config


class Backoffs:
    """Seconds between attempts, without end: where they end kopf gives up, and the process with it."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 1, 2, 3, 5), itertools.repeat(8))


def settings() -> kopf.OperatorSettings:
    """kopf as we use it: watches and nothing else; it writes no annotation, no event, no peering."""
    value = kopf.OperatorSettings()
    value.posting.enabled = False
    value.peering.standalone = True
    value.scanning.disabled = True
    value.watching.server_timeout = WATCH_SERVER_SECONDS
    value.watching.client_timeout = WATCH_CLIENT_SECONDS
    value.watching.inactivity_timeout = INACTIVITY_SECONDS
    value.watching.connect_timeout = 10
    value.networking.request_timeout = 60
    value.networking.error_backoffs = Backoffs()
    value.persistence.diffbase_storage = NoDiffBase()
    value.persistence.progress_storage = NoProgress()
    return value


async def watch(cache: Cache, queue: Queue[Key], namespaces: tuple[str, ...], stop: Any) -> None:
    """Run the watches until `stop` is set."""
    await kopf.operator(
        registry=registry(cache, queue),
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )
