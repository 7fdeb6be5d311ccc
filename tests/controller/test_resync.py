"""The slow resync: enqueues all, makes up for what a watch has missed, and tells a dead watch from one that lags."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY

import gen
from simulation import copied
from yolo_operator.controller import kinds, resync
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kinds import Kind, Manifest
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.resync import Resync
from yolo_operator.core import names
from yolo_operator.core.errors import Unavailable

KEY, POD = Key("factory", "helmet"), Key("factory", "helmet-v1-abc")
PAUSE = 120.0
REAL_SLEEP = asyncio.sleep


class Enough(Exception):
    """Ends a resync after the rounds that a test wants."""


class Stage:
    """A resync over the lists of a fake API server. No time passes: `meanwhile` is what happens in the grace between two lists."""

    def __init__(self, namespaces: tuple[str, ...] = ()) -> None:
        self.server: dict[str, dict[Key, Manifest]] = {kind.name: {} for kind in kinds.BY_NAME.values()}
        self.asked: list[tuple[str, str]] = []
        self.fault: str = ""
        self.meanwhile: Callable[[], None] = lambda: None
        self.cache, self.queue = Cache(), Queue[Key]()
        self.resync = Resync(kube=self, cache=self.cache, queue=self.queue, namespaces=namespaces, pause=PAUSE)  # type: ignore[arg-type]
        self._left = 0

    async def find(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """As Kube.find."""
        return self.server[kind.name].get(Key(namespace, name))

    async def metadata(self, kind: Kind, namespace: str = "") -> list[Manifest]:
        """As Kube.metadata."""
        self.asked.append((kind.name, namespace))
        if kind.name == self.fault:
            raise Unavailable("ApiServerError", "500: oops")
        return [copied(body) for key, body in self.server[kind.name].items() if namespace in ("", key.namespace)]

    async def sleep(self, seconds: float) -> None:
        if seconds == resync.GRACE_SECONDS:
            self.meanwhile()
        elif seconds == PAUSE:
            self._left -= 1
            if self._left < 0:
                raise Enough
        await REAL_SLEEP(0)

    def put(self, kind: Kind, body: Manifest, version: int, *, seen: bool = False, uid: str = "") -> None:
        """Write an object on the server, and let the watch show it or not."""
        body = gen.merged(body, {"metadata": {"resourceVersion": str(version)} | ({"uid": uid} if uid else {})})
        self.server[kind.name][Key.of(body)] = body
        if seen:
            self.cache.put(kind, body)

    def delete(self, kind: Kind, key: Key, *, seen: bool = False) -> None:
        body = self.server[kind.name].pop(key)
        if seen:
            self.cache.drop(kind, body)

    def known(self, kind: Kind, key: Key) -> str:
        """The resource version in the cache."""
        body = self.cache.get(kind, key)
        return "" if body is None else str(body["metadata"]["resourceVersion"])

    async def rounds(self, count: int = 1) -> set[Key]:
        """Some rounds; what was enqueued."""
        self._left = count
        with contextlib.suppress(Enough):
            await self.resync.run()
        enqueued: set[Key] = set()

        async def pass_over(key: Key) -> bool:
            enqueued.add(key)
            return True

        serving = asyncio.create_task(self.queue.run(pass_over, 1))
        while len(self.queue) or self.queue.oldest_pass_seconds() != 0:
            await REAL_SLEEP(0)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return enqueued


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scenario on a stage with one resource and one Pod, both of which the watches have shown."""

    def run(scenario: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
        async def main() -> None:
            stage = Stage(**options)
            monkeypatch.setattr(resync.asyncio, "sleep", stage.sleep)
            stage.put(kinds.YOLO, gen.body(), 10, seen=True)
            stage.put(kinds.POD, gen.pod(), 11, seen=True)
            await scenario(stage)

        asyncio.run(main())

    return run


def counted(kind: Kind) -> float:
    return REGISTRY.get_sample_value("yolo_operator_watch_missed_total", {"kind": kind.name}) or 0.0


def test_now_and_then_every_resource_is_enqueued_though_nothing_has_changed(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.YOLO, gen.body(name="vest"), 12, seen=True)
        for _ in range(2):
            assert await stage.rounds(resync.PASSES_EVERY - 1) == set()
            assert await stage.rounds() == {KEY, Key("factory", "vest")}
        assert stage.resync.trouble() == ""

    play(scenario)


def test_a_round_lists_every_kind_that_is_watched(play):
    async def scenario(stage: Stage) -> None:
        stage.cache.not_served.add(kinds.GRPC_ROUTE)
        await stage.rounds()
        assert stage.asked == [(kind.name, "") for kind in (*kinds.WATCHED, kinds.SERVER, kinds.HTTP_ROUTE)]

    play(scenario)


def test_only_the_namespaces_that_are_served_are_listed(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.YOLO, gen.body(name="vest", metadata={"namespace": "elsewhere"}), 12)
        assert await stage.rounds() == set()
        assert {namespace for _, namespace in stage.asked} == {"factory", "lab"}
        assert stage.resync.trouble() == ""

    play(scenario, namespaces=("factory", "lab"))


def created(stage: Stage) -> None:
    stage.put(kinds.POD, gen.pod("helmet-v1-new"), 20)


def changed(stage: Stage) -> None:
    stage.put(kinds.POD, gen.pod(), 20)


def deleted(stage: Stage) -> None:
    stage.delete(kinds.POD, POD)


@pytest.mark.parametrize(
    ("event", "pod", "version"),
    [
        pytest.param(created, Key("factory", "helmet-v1-new"), "20", id="an object that is new"),
        pytest.param(changed, POD, "20", id="an object that changed"),
        pytest.param(deleted, POD, "", id="an object that is gone"),
    ],
)
def test_what_a_watch_has_missed_is_made_up_for(play, event, pod, version):
    async def scenario(stage: Stage) -> None:
        event(stage)
        before = counted(kinds.POD)
        assert await stage.rounds() == {KEY}
        assert stage.known(kinds.POD, pod) == version
        assert counted(kinds.POD) == before + 1

    play(scenario)


def test_a_resource_that_the_watch_has_missed_is_enqueued_in_the_same_round(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.YOLO, gen.body(name="vest"), 20)
        assert await stage.rounds() == {Key("factory", "vest")}

    play(scenario)


def test_a_watch_that_lags_behind_the_list_has_missed_nothing(play):
    async def scenario(stage: Stage) -> None:
        before = counted(kinds.POD)
        for version in (20, 30):
            stage.put(kinds.POD, gen.pod(), version)
            stage.put(kinds.POD, gen.pod("helmet-v1-new"), version + 1)
            stage.meanwhile = lambda: [stage.cache.put(kinds.POD, body) for body in stage.server["Pod"].values()]
            await stage.rounds()
        stage.delete(kinds.POD, POD)
        stage.meanwhile = lambda: [stage.cache.drop(kinds.POD, body) for body in stage.cache.all(kinds.POD) if Key.of(body) == POD]
        await stage.rounds()
        assert counted(kinds.POD) == before
        assert stage.resync.trouble() == ""

    play(scenario)


def test_what_changed_since_the_first_list_is_left_to_the_watch(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.POD, gen.pod(), 20)

        def meanwhile() -> None:
            stage.cache.put(kinds.POD, stage.server["Pod"][POD])
            stage.put(kinds.POD, gen.pod(), 30)
            stage.put(kinds.POD, gen.pod("helmet-v1-new"), 31)

        stage.meanwhile, before = meanwhile, counted(kinds.POD)
        await stage.rounds()
        assert stage.known(kinds.POD, POD) == "20"
        assert stage.known(kinds.POD, Key("factory", "helmet-v1-new")) == ""
        assert counted(kinds.POD) == before

    play(scenario)


def test_what_went_after_the_first_list_is_not_put_back(play):
    async def scenario(stage: Stage) -> None:
        created(stage)
        stage.meanwhile = lambda: stage.delete(kinds.POD, Key("factory", "helmet-v1-new"))
        await stage.rounds()
        assert stage.known(kinds.POD, Key("factory", "helmet-v1-new")) == ""
        assert stage.resync.trouble() == ""

    play(scenario)


def test_what_only_the_first_list_did_not_show_is_kept(play):
    async def scenario(stage: Stage) -> None:
        new = gen.merged(gen.pod("helmet-v1-new"), {"metadata": {"resourceVersion": "20"}})
        stage.cache.put(kinds.POD, new)
        stage.meanwhile, before = lambda: stage.put(kinds.POD, new, 20), counted(kinds.POD)
        await stage.rounds()
        assert stage.known(kinds.POD, Key("factory", "helmet-v1-new")) == "20"
        assert counted(kinds.POD) == before

    play(scenario)


def test_one_made_anew_under_the_name_of_one_that_is_gone_is_kept(play):
    async def scenario(stage: Stage) -> None:
        stage.delete(kinds.POD, POD)

        def meanwhile() -> None:
            stage.cache.drop(kinds.POD, gen.pod())
            # Our own write told of it, and the API server's cache, which answers lists, does not know it yet.
            stage.cache.put(kinds.POD, gen.merged(gen.pod(), {"metadata": {"uid": "another", "resourceVersion": "30"}}))

        stage.meanwhile, before = meanwhile, counted(kinds.POD)
        await stage.rounds()
        assert stage.known(kinds.POD, POD) == "30"
        assert counted(kinds.POD) == before

    play(scenario)


def test_one_whose_end_and_new_beginning_were_both_missed_is_the_new_one(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.POD, gen.pod(), 30, uid="another")
        await stage.rounds()
        assert stage.known(kinds.POD, POD) == "30"

    play(scenario)


def test_a_watch_that_missed_something_in_two_rounds_in_a_row_is_dead(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.POD, gen.pod(), 20)
        await stage.rounds()
        assert stage.resync.trouble() == "", "once may happen"
        stage.put(kinds.POD, gen.pod(), 21)
        await stage.rounds()
        assert stage.resync.trouble() == "the watch of Pod shows nothing any more"
        stage.put(kinds.YOLO, gen.body(), 30)
        await stage.rounds()
        assert stage.resync.trouble() == "", "a round in which nothing was missed"

    play(scenario)


def test_a_watch_that_misses_what_changes_all_the_time_is_dead(play):
    async def scenario(stage: Stage) -> None:
        for version in (20, 30):
            stage.put(kinds.POD, gen.pod(), version)
            stage.meanwhile = functools.partial(stage.put, kinds.POD, gen.pod(), version + 1)
            await stage.rounds()
            assert stage.known(kinds.POD, POD) == str(version + 1)
        assert stage.resync.trouble() == "the watch of Pod shows nothing any more"

    play(scenario)


def test_now_and_then_is_not_in_a_row(play):
    async def scenario(stage: Stage) -> None:
        for version in (20, 30, 40):
            stage.put(kinds.POD, gen.pod(), version)
            await stage.rounds(2)
            assert stage.resync.trouble() == ""

    play(scenario)


def test_all_dead_watches_are_named(play):
    async def scenario(stage: Stage) -> None:
        for version in (20, 30):
            stage.put(kinds.POD, gen.pod(), version)
            stage.put(kinds.YOLO, gen.body(), version + 1)
            await stage.rounds()
        assert stage.resync.trouble() == "the watch of Pod, YoloDeployment shows nothing any more"

    play(scenario)


def test_a_list_that_fails_proves_nothing_and_does_not_hold_up_the_others(play):
    async def scenario(stage: Stage) -> None:
        stage.put(kinds.POD, gen.pod(), 20)
        await stage.rounds()
        stage.fault = "Pod"
        stage.put(kinds.SERVICE, {"metadata": {"name": "helmet", "namespace": "factory", "uid": "service", "labels": {names.OWNER: "helmet"}}}, 21)
        assert await stage.rounds() == {KEY}
        assert stage.known(kinds.SERVICE, KEY) == "21"
        assert stage.known(kinds.POD, POD) == "20", "what cannot be listed is not forgotten"
        assert stage.resync.trouble() == ""
        stage.fault = ""
        stage.put(kinds.POD, gen.pod(), 22)
        await stage.rounds()
        assert stage.resync.trouble() == "the watch of Pod shows nothing any more"

    play(scenario)
