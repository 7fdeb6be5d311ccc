"""The doorbells: the only place that knows kopf. Every event fills the cache and rings for the resource it belongs to.

Indexes are handlers that kopf runs for everything it lists before it runs any other: each kind has one, so the first pass sees all
children. They store nothing of their own.
"""

import functools
from typing import Any

import kopf

from yolo_operator.controller import bell, kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kinds import Kind
from yolo_operator.controller.queue import Queue

WATCH_SERVER_SECONDS, WATCH_CLIENT_SECONDS, INACTIVITY_SECONDS = 300, 330, 120
"""A watch is ended by the server after the first, by us after the second; one that shows not even a bookmark after the third is dead."""


def registry(cache: Cache, queue: Queue[Key]) -> kopf.OperatorRegistry:
    """All handlers, bound to a cache and a queue."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    for kind in kinds.WATCHED:
        selector = (kind.group, kind.version, kind.plural)
        kopf.index(*selector, id=f"{kind.plural}_listed", registry=handlers)(functools.partial(listed, kind, cache))
        kopf.on.event(*selector, id=f"{kind.plural}_changed", registry=handlers)(functools.partial(changed, kind, cache, queue))
    return handlers


async def listed(kind: Kind, cache: Cache, *, body: kopf.Body, **_: Any) -> None:
    """Fill the cache before the first pass. kopf does not call it for what is deleted."""
    cache.put(kind, body)


async def changed(kind: Kind, cache: Cache, queue: Queue[Key], *, body: kopf.Body, event: Any, **_: Any) -> None:
    """Fill the cache and ring."""
    bell.shown(kind, event.get("type"), body, cache, queue)


def login(**kwargs: Any) -> Any:
    """By the Pod's service account or the user's kubeconfig."""
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


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
    for kind in kinds.CHILDREN:
        value.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
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
