"""The queue of names."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

import pytest

from yolo_operator.controller import queue as queue_module
from yolo_operator.controller.queue import Queue


def served(scenario: Callable[[Queue[str]], Awaitable[None]], reconcile: Callable[[str], Awaitable[bool]], workers: int = 4) -> None:
    """Run a scenario beside a queue that serves."""

    async def main() -> None:
        queue: Queue[str] = Queue()
        serving = asyncio.create_task(queue.run(reconcile, workers))
        try:
            async with asyncio.timeout(5):
                await scenario(queue)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    asyncio.run(main())


class Passes:
    """Records passes; each lasts until `gate` is set."""

    def __init__(self, *, well: bool = True) -> None:
        self.gate = asyncio.Event()
        self.seen: list[str] = []
        self.running = 0
        self.most = 0
        self._well = well

    async def __call__(self, key: str) -> bool:
        self.seen.append(key)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        return self._well


def test_what_has_waited_longest_comes_first():
    passes = Passes()

    async def scenario(queue: Queue[str]) -> None:
        for key, delay in (("a", 0.0), ("b", 0.0), ("new", -3600.0)):
            queue.add(key, delay)
        passes.gate.set()
        await asyncio.sleep(0.05)
        assert passes.seen == ["new", "a", "b"]

    served(scenario, passes)


def test_what_is_enqueued_twice_is_reconciled_once():
    passes = Passes()

    async def scenario(queue: Queue[str]) -> None:
        for _ in range(100):
            queue.add("a")
        assert len(queue) == 1
        passes.gate.set()
        await asyncio.sleep(0.05)
        assert passes.seen == ["a"]

    served(scenario, passes)


def test_a_bell_during_a_pass_makes_one_more_pass_afterwards():
    passes = Passes()

    async def scenario(queue: Queue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(0.02)
        for _ in range(10):
            queue.add("a")
        await asyncio.sleep(0.02)
        assert passes.seen == ["a"], "one pass per name at a time"
        passes.gate.set()
        await asyncio.sleep(0.05)
        assert passes.seen == ["a", "a"]
        assert passes.most == 1

    served(scenario, passes)


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_names_at_once_and_no_more(workers):
    passes = Passes()

    async def scenario(queue: Queue[str]) -> None:
        for key in "abcdef":
            queue.add(key)
        await asyncio.sleep(0.05)
        assert passes.running == workers
        passes.gate.set()
        await asyncio.sleep(0.05)
        assert sorted(passes.seen) == list("abcdef")
        assert passes.most == workers

    served(scenario, passes, workers)


def test_a_pass_that_did_not_go_well_comes_again_later_each_time(monkeypatch):
    monkeypatch.setattr(queue_module, "BACKOFF_MIN_SECONDS", 0.04)
    moments: list[float] = []

    async def failing(_: str) -> bool:
        moments.append(asyncio.get_running_loop().time())
        return False

    async def scenario(queue: Queue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(0.5)

    served(scenario, failing)
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert len(pauses) >= 3
    assert all(0.8 * 0.04 * 2**n <= pause for n, pause in enumerate(pauses))
    assert len(moments) <= 5


def test_after_a_pass_that_went_well_the_backoff_starts_over(monkeypatch):
    monkeypatch.setattr(queue_module, "BACKOFF_MIN_SECONDS", 0.02)
    answers = iter([False, False, False, True, False, True])
    moments: list[float] = []

    async def sometimes(_: str) -> bool:
        moments.append(asyncio.get_running_loop().time())
        return next(answers, True)

    async def scenario(queue: Queue[str]) -> None:
        queue.add("a")
        while len(moments) < 4:  # noqa: ASYNC110  what is waited for is in the list
            await asyncio.sleep(0.01)
        queue.add("a")
        while len(moments) < 6:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert moments[5] - moments[4] < 0.06

    served(scenario, sometimes)


def test_a_delayed_bell_waits_and_an_earlier_one_wins():
    passes = Passes()
    passes.gate.set()

    async def scenario(queue: Queue[str]) -> None:
        queue.add("a", 60)
        queue.add("b", 0.1)
        queue.add("b", 60)
        await asyncio.sleep(0.05)
        assert passes.seen == []
        await asyncio.sleep(0.1)
        assert passes.seen == ["b"]
        queue.add("a")
        await asyncio.sleep(0.05)
        assert passes.seen == ["b", "a"]

    served(scenario, passes)


def test_its_length_is_what_waits_now_and_not_what_is_due_later():
    passes = Passes()

    async def scenario(queue: Queue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(0.02)
        assert (passes.running, len(queue)) == (1, 0)
        queue.add("a")
        queue.add("b")
        queue.add("c", 60)
        assert len(queue) == 2

    served(scenario, passes, workers=1)


def test_a_stuck_pass_shows():
    passes = Passes()

    async def scenario(queue: Queue[str]) -> None:
        assert queue.oldest_pass_seconds() == 0
        queue.add("a")
        await asyncio.sleep(0.05)
        assert queue.oldest_pass_seconds() >= 0.03
        passes.gate.set()
        await asyncio.sleep(0.02)
        assert queue.oldest_pass_seconds() == 0

    served(scenario, passes)


@pytest.mark.parametrize("steps", range(6))
def test_a_bell_does_not_hide_that_it_is_to_end(steps):
    """The loop has come so many steps with an item when the cancellation arrives."""

    async def main() -> bool:
        queue: Queue[str] = Queue()
        queue.add("later", 60)
        serving = asyncio.create_task(queue.run(Passes(), 4))
        await asyncio.sleep(0.01)
        queue.add("now", 50)
        for _ in range(steps):
            await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving], timeout=1)
        ended = serving.done()
        serving.cancel()
        return ended

    assert asyncio.run(main())
