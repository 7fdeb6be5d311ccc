"""What an event means, whoever watches: the cache is brought to it, and the resource that it concerns gets a pass."""

from collections.abc import Mapping
from typing import Any

from yolo_operator.controller import kinds, telemetry
from yolo_operator.controller.cache import Cache, Key
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
    enqueue(kind, body, queue)


def enqueue(kind: Kind, body: Mapping[str, Any], queue: Queue[Key]) -> None:
    """Ask for a pass over the resource that an object is, or belongs to. One that nobody has looked at comes before all others: somebody waits for a first word."""
    key = Key.of(body) if kind is kinds.YOLO else Key.owner_of(body)
    if key.name:
        queue.add(key, -AHEAD_SECONDS if kind is kinds.YOLO and not body.get("status", {}).get("observedGeneration") else 0.0)
