"""Another default Triton image reaches many resources few at a time, through the real reconciler and its cache."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import gen
from simulation import FakeKube, Simulation
from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.image_updates import ImageUpdates
from yolo_operator.controller.kinds import Kind, Manifest
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.reconciler import Reconciler
from yolo_operator.core import image_updates, names
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.image_updates import Phase
from yolo_operator.core.resources import triton

OLD, NEW = gen.DEFAULTS.triton_image, "nvcr.io/nvidia/tritonserver:25.09-py3"


class Kubes:
    """The writer's interface over several Simulations, one for each resource."""

    def __init__(self, clusters: Mapping[str, Simulation]) -> None:
        self.of = {name: FakeKube(cluster) for name, cluster in clusters.items()}

    def _owner(self, body: Mapping[str, Any]) -> FakeKube:
        return self.of[names.label(body, names.OWNER)]

    async def apply(self, kind: Kind, manifest: Manifest, live: Manifest | None) -> Manifest:
        return await self._owner(manifest).apply(kind, manifest, live)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        return await self._owner(manifest).create(kind, manifest)

    async def delete(self, kind: Kind, live: Manifest) -> None:
        await self._owner(live).delete(kind, live)

    async def open_gate(self, pod: Mapping[str, Any], now: str) -> Manifest:
        return await self._owner(pod).open_gate(pod, now)

    async def write_status(self, yolo: Mapping[str, Any], status: Manifest) -> Manifest:
        return await self.of[yolo["metadata"]["name"]].write_status(yolo, status)

    async def event(self, yolo: Mapping[str, Any], *, reason: str, message: str, warning: bool) -> None:
        await self.of[yolo["metadata"]["name"]].event(yolo, reason=reason, message=message, warning=warning)


class Fleet:
    """Resources that serve with the old default image, and a reconciler whose default is the new one."""

    def __init__(self, *names_of: str, limit: int = 2, own: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.clusters: dict[str, Simulation] = {}
        for name in names_of:
            cluster = Simulation(name=name, metadata={"uid": f"uid-of-{name}"}, **(own or {}).get(name, {}))
            cluster.run()
            for pod in cluster.objects["Pod"].values():
                pod["metadata"]["labels"][names.OWNER] = name
            self.clusters[name] = cluster
        self.kube = Kubes(self.clusters)
        self.most = 0
        self.start(NEW, limit)

    def start(self, image: str, limit: int = 2) -> None:
        """A new process: nothing is remembered."""
        self.cache = Cache()
        self.queue: Queue[Key] = Queue()
        self.defaults = replace(gen.DEFAULTS, triton_image=image, max_image_updates=limit)
        self.reconciler = Reconciler(
            kube=self.kube,  # type: ignore[arg-type]
            cache=self.cache,
            queue=self.queue,
            defaults=self.defaults,
            now=lambda: max(cluster.now for cluster in self.clusters.values()),
        )
        self.see()

    def see(self) -> None:
        """All watches catch up."""
        for kind in kinds.BY_NAME.values():
            for body in self.cache.all(kind):
                self.cache.drop(kind, body)
        for cluster in self.clusters.values():
            for kind, store in cluster.objects.items():
                for live in store.values():
                    self.cache.put(kinds.BY_NAME[kind], live)
            self.cache.put(kinds.YOLO, cluster.body)

    def reconcile(self, *which: str, together: bool = False) -> list[str]:
        """A pass for some or all, one after the other or at the same time; names that were enqueued by it for now."""

        async def main() -> list[str]:
            keys = [Key("factory", name) for name in which or self.clusters]
            if together:
                await asyncio.gather(*map(self.reconciler.reconcile, keys))
            else:
                for key in keys:
                    await self.reconciler.reconcile(key)
            now = asyncio.get_running_loop().time()
            return sorted(key.name for key, moment in self.queue._due.items() if moment <= now)

        self.queue._due.clear()
        enqueued = asyncio.run(main())
        self.most = max(self.most, len(self.updating()))
        return enqueued

    def finish(self, *which: str) -> None:
        """Jobs and pods of some resources, or all, come to what they are to be; nothing reconciles meanwhile."""
        for name in which or self.clusters:
            cluster = self.clusters[name]
            for job in cluster.jobs("verify"):
                if not cluster.objects["Job"][job].get("status"):
                    cluster.end_one(job, gen.outcome(result=gen.verification()))
            cluster.start_pods()
            for pod in cluster.objects["Pod"].values():
                pod["metadata"]["labels"][names.OWNER] = name
        self.see()

    def images(self) -> dict[str, str]:
        return {
            name: triton.server_image(cluster.objects["Deployment"][f"{name}-v1"]["spec"]["template"])
            for name, cluster in self.clusters.items()
            if f"{name}-v1" in cluster.objects["Deployment"]
        }

    def with_new(self) -> list[str]:
        return sorted(name for name, image in self.images().items() if image == NEW)

    def updating(self) -> list[str]:
        """Those that have begun and are not complete."""
        return [name for name in self.with_new() if self.clusters[name].body["status"].get("tritonImage") != NEW]

    def condition(self, name: str) -> tuple[str, str]:
        (found,) = [c for c in self.clusters[name].body["status"]["conditions"] if c["type"] == "Ready"]
        return found["status"], found.get("message", "")


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("restart", [False, True])
def test_all_get_it_and_never_more_than_the_limit_at_once(together: bool, restart: bool) -> None:
    fleet = Fleet(*"abcdefg", limit=2)
    fleet.reconcile(together=together)
    assert fleet.with_new() == ["a", "b"]
    for name in "cdefg":
        status, message = fleet.condition(name)
        assert status == "True"
        assert f"turn to change to Triton image {NEW}" in message
    for _ in range(30):
        if restart:
            fleet.start(NEW)
        fleet.finish()
        fleet.reconcile(together=together)
    assert fleet.with_new() == list("abcdefg")
    assert fleet.updating() == []
    assert fleet.most == 2
    assert not any("turn" in fleet.condition(name)[1] for name in "abcdefg")


def test_those_that_wait_are_enqueued_when_another_has_finished() -> None:
    fleet = Fleet(*"abc", limit=1)
    fleet.reconcile()
    assert fleet.with_new() == ["a"]
    enqueued: list[str] = []
    for _ in range(8):
        fleet.finish("a")
        enqueued = fleet.reconcile("a")
        if fleet.updating() == []:
            break
        assert enqueued == []
    assert enqueued == ["b"]
    fleet.reconcile("c")
    assert fleet.with_new() == ["a"], "it is not its turn"
    fleet.reconcile("b")
    assert fleet.with_new() == ["a", "b"]


def test_one_that_is_deleted_gives_its_place_away() -> None:
    fleet = Fleet(*"abc", limit=1)
    fleet.reconcile()
    del fleet.clusters["a"]
    fleet.see()
    assert fleet.reconcile("a") == ["b"]


def test_failing_updates_keep_their_places_and_stop_the_rest() -> None:
    fleet = Fleet(*"abcd", limit=2)
    for _ in range(10):
        fleet.reconcile()
        fleet.finish("c", "d")
    assert fleet.with_new() == ["a", "b"]
    assert fleet.condition("a")[0] == "False"


def test_a_default_that_is_taken_back_reaches_those_at_once_that_had_begun_and_no_other() -> None:
    fleet = Fleet(*"abcd", limit=2)
    fleet.reconcile()
    fleet.start(OLD, limit=1)
    fleet.reconcile()
    assert fleet.with_new() == []
    for _ in range(4):
        fleet.finish()
        fleet.reconcile()
    assert all(fleet.condition(name) == ("True", fleet.condition("d")[1]) for name in "abcd")
    assert ImageUpdates(fleet.cache, fleet.defaults).counts() == {"Waiting": 0, "Updating": 0}


def test_an_edit_of_one_that_waits_rolls_its_pods_with_the_image_they_have() -> None:
    fleet = Fleet(*"ab", limit=1)
    fleet.reconcile()
    fleet.clusters["b"].edit(restartedAt="now")
    fleet.see()
    fleet.reconcile("b")
    assert fleet.images()["b"] == OLD
    assert fleet.clusters["b"].objects["Deployment"]["b-v1"]["spec"]["template"]["metadata"]["annotations"] == {"yolo-operator.io/restarted-at": "now"}


def test_an_image_of_its_own_waits_for_nobody() -> None:
    fleet = Fleet(*"abc", limit=1, own={"b": {"triton": {"image": OLD}}})
    fleet.clusters["c"].edit(triton={"image": NEW})
    fleet.see()
    fleet.reconcile()
    assert fleet.with_new() == ["a", "c"]
    fleet.clusters["b"].edit(triton={"image": None})
    fleet.see()
    fleet.reconcile("b")
    assert fleet.images()["b"] == OLD, "who has no image of his own any more waits like the others"
    assert ImageUpdates(fleet.cache, fleet.defaults).counts() == {"Waiting": 1, "Updating": 1}


def test_a_pass_looks_at_no_resource_that_has_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(*(f"model-{number}" for number in range(30)), limit=1)
    fleet.reconcile()
    looked: list[str] = []
    phase = image_updates.phase

    def counted(body: Manifest, *others: Any) -> Phase:
        looked.append(body["metadata"]["name"])
        return phase(body, *others)

    monkeypatch.setattr(image_updates, "phase", counted)
    fleet.reconcile()
    assert "waits for its turn" in fleet.condition("model-9")[1]
    assert len(looked) <= 3 * 30, "its own, and what it has changed"


def test_without_a_limit_all_change_at_once() -> None:
    fleet = Fleet(*"abcd", limit=0)
    fleet.reconcile()
    assert fleet.with_new() == list("abcd")


def test_a_resource_that_is_made_meanwhile_begins_with_the_new_image_and_takes_no_place() -> None:
    fleet = Fleet(*"bcd", limit=1)
    fleet.clusters["a"] = Simulation(name="a", metadata={"uid": "uid-of-a"})
    fleet.kube.of["a"] = FakeKube(fleet.clusters["a"])
    fleet.see()
    fleet.reconcile("a")
    fleet.clusters["a"].build_succeeds()
    fleet.see()
    fleet.reconcile("a")
    assert fleet.images()["a"] == NEW
    fleet.reconcile()
    assert fleet.with_new() == ["a", "b"]


def test_one_that_cannot_begin_lets_the_next_one_begin() -> None:
    fleet = Fleet(*"ab", limit=1)
    fleet.kube.of["a"].faults["apply", "a-v1"] = Unavailable("ApiServerError", "no")
    fleet.reconcile()
    assert fleet.with_new() == ["b"]
    fleet.kube.of["a"].faults.clear()
    fleet.reconcile()
    assert fleet.with_new() == ["b"]
    for _ in range(8):
        fleet.finish("b")
        fleet.reconcile()
    assert fleet.with_new() == ["a", "b"]
