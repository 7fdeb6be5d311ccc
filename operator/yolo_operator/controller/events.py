"""What an event means, whoever watches: the cache is brought to it, and the resource that it concerns gets a pass."""

from collections.abc import Iterator, Mapping
from typing import Any

from yolo_operator.controller import kinds, telemetry
from yolo_operator.controller.cache import Cache, Key, key_of, server_of
from yolo_operator.controller.kinds import Kind
from yolo_operator.controller.queue import Queue

AHEAD_SECONDS = 3600.0
"""A new resource is due as if it had waited for so long."""


def received(kind: Kind, event: str | None, body: Mapping[str, Any], cache: Cache, queue: Queue[Key]) -> None:
    """A watch has shown an object; `event` is ADDED, MODIFIED, DELETED or, in kopf's first list, nothing."""
    telemetry.events.labels(kind.name).inc()
    if event == "DELETED":
        cache.drop(kind, body)
    else:
        cache.put(kind, body)
    enqueue(kind, body, cache, queue)


def enqueue(kind: Kind, body: Mapping[str, Any], cache: Cache, queue: Queue[Key]) -> None:
    """Ask for a pass over the resource that an object is, or belongs to. One that nobody has looked at comes before all others: somebody waits for a first word."""
    ahead = kind in (kinds.YOLO, kinds.SERVER) and not body.get("status", {}).get("observedGeneration")
    for key in concerned(kind, body, cache):
        queue.add(key, -AHEAD_SECONDS if ahead else 0.0)


def concerned(kind: Kind, body: Mapping[str, Any], cache: Cache) -> Iterator[Key]:
    """The resources that an object concerns: its own, the server that a model is on, and the models of a server whose spec or pods have changed."""
    if kind is kinds.YOLO:
        yield Key.of(body)
        server = server_of(body)
        if server is not None:
            yield server
        return
    key = key_of(kind, body) if kind is kinds.SERVER else Key.owner_of(body)
    if key.name:
        yield key
    if key.is_server and kind in (kinds.SERVER, kinds.POD):
        yield from map(Key.of, cache.models(key))
