"""The queue of names: coalesces requests, runs one pass per name at a time and several names at once, backs off per name."""

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

BACKOFF_MIN_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 60.0
K = TypeVar("K", bound=Hashable)


class Queue(Generic[K]):
    """Names that want a pass, each with the moment it is due (the loop's own monotonic clock)."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        """The moments of `_due`, the soonest first, and such as have been replaced since. Not those of names with a pass under way."""
        self._added = itertools.count()
        self._running: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Names that wait for a pass now; those that are due later, to be looked at again, do not."""
        now = asyncio.get_running_loop().time()
        return sum(moment <= now for moment in self._due.values())

    def add(self, key: K, delay: float = 0.0) -> None:
        """Ask for a pass after `delay` seconds, which may be less than 0; an earlier one that is asked for already stays."""
        moment = asyncio.get_running_loop().time() + delay
        if moment < self._due.get(key, float("inf")):
            self._due[key] = moment
            self._push(key, moment)
            self._changed.set()

    def _push(self, key: K, moment: float) -> None:
        heapq.heappush(self._heap, (moment, next(self._added), key))

    def oldest_pass_seconds(self) -> float:
        """How long the longest pass under way has been running."""
        now = asyncio.get_running_loop().time()
        return max((now - since for since in self._running.values()), default=0.0)

    async def run(self, reconcile: Callable[[K], Awaitable[bool]], workers: int) -> None:
        """Serve for ever. `reconcile` tells whether the pass went well; one that did not comes again, later each time."""
        slots = asyncio.Semaphore(workers)
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                key = await self._next()
                self._running[key] = asyncio.get_running_loop().time()
                group.create_task(self._pass(key, reconcile, slots))

    async def _next(self) -> K:
        while True:
            now = asyncio.get_running_loop().time()
            soonest = self._soonest()
            if soonest is not None and soonest[0] <= now:
                del self._due[soonest[1]]
                return soonest[1]
            self._changed.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with an item.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(soonest[0] - now if soonest is not None else None):
                    await self._changed.wait()

    def _soonest(self) -> tuple[float, K] | None:
        """Of the names without a pass under way the one that is due first."""
        while self._heap:
            moment, _, key = self._heap[0]
            if key not in self._running and self._due.get(key) == moment:
                return moment, key
            heapq.heappop(self._heap)
        return None

    async def _pass(self, key: K, reconcile: Callable[[K], Awaitable[bool]], slots: asyncio.Semaphore) -> None:
        try:
            went_well = await reconcile(key)
        finally:
            self._running.pop(key, None)
            if key in self._due:
                self._push(key, self._due[key])
            slots.release()
            self._changed.set()
        if went_well:
            self._failures.pop(key, None)
            return
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(BACKOFF_MAX_SECONDS, BACKOFF_MIN_SECONDS * 2 ** min(failures - 1, 16))
        self.add(key, pause * random.uniform(0.8, 1.2))  # noqa: S311  jitter, no secret
