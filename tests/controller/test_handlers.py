"""All watches over HTTP, kopf's real ones and those of the children: what an event enqueues, what it leaves in the cache, and what kopf must not do."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from fake_api_server import PEERING, ApiServer
from prometheus_client import REGISTRY

import gen
from yolo_operator.controller import handlers, kinds, watches
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kinds import Kind, Manifest
from yolo_operator.controller.kube import Kube, connect
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.watches import Watches
from yolo_operator.core import names

KEY, CHILD = Key("factory", "helmet"), Key("factory", "child")


class Watching:
    """The watches of an operator; `enqueued` is what was enqueued so far, `seen` what was in the cache at the first pass that can do anything."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.cache, self.queue = Cache(), Queue[Key]()
        self.enqueued: list[Key] = []
        self.seen: dict[str, int] = {}

    async def pass_over(self, key: Key) -> bool:
        if self.cache.get(kinds.YOLO, key) is not None:
            self.seen = self.seen or {kind.name: len(list(self.cache.all(kind))) for kind in kinds.WATCHED}
        self.enqueued.append(key)
        return True

    async def quiet(self) -> None:
        """All that was written so far has been shown: a resource that is written now is enqueued."""
        self.api.put(kinds.YOLO, gen.body(name="last"))
        await until(lambda: Key("factory", "last") in self.enqueued)
        self.enqueued.clear()

    async def expects(self, *keys: Key) -> None:
        """These are enqueued, and within a moment nobody else."""
        await until(lambda: set(self.enqueued) >= set(keys))
        await asyncio.sleep(0.1)
        assert set(self.enqueued) == set(keys)
        self.enqueued.clear()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110  it is another thread that reaches it
            await asyncio.sleep(0.01)


@pytest.fixture
def watching(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scenario beside the watches."""
    # The client reads the variable only when it is imported.
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", os.environ["KUBECONFIG"])

    def run(scenario: Callable[[Watching], Awaitable[None]], *namespaces: str) -> None:
        async def main() -> None:
            it, stop = Watching(api), asyncio.Event()
            client = await connect()
            children = Watches(kube=Kube(client), cache=it.cache, queue=it.queue, namespaces=namespaces)
            tasks = [asyncio.create_task(it.queue.run(it.pass_over, 1)), asyncio.create_task(children.run())]
            await children.listed.wait()
            kopf = asyncio.create_task(handlers.watch(it.cache, it.queue, namespaces, stop))
            try:
                await until(lambda: len(api.watches()) >= len(kinds.WATCHED) * max(1, len(namespaces)))
                await scenario(it)
            finally:
                stop.set()
                await kopf
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await client.close()

        asyncio.run(main())

    return run


def child(kind: Kind, name: str = "child", **labels: str) -> Manifest:
    """An object that belongs to a resource."""
    metadata = {"name": name, "namespace": "factory", "labels": {names.MANAGED_BY: names.FIELD_MANAGER, names.OWNER: "helmet"} | labels}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata | {"ownerReferences": [{"uid": gen.UID}]}, "spec": {}, "status": {}}


@pytest.mark.parametrize("kind", kinds.CHILDREN, ids=lambda kind: kind.name)
def test_a_childs_beginning_change_and_end_ring_for_its_owner(watching, api, kind):
    async def scenario(it: Watching) -> None:
        for status in ({}, {"changed": True}):
            api.put(kind, child(kind) | {"status": status})
            await it.expects(KEY)
            kept = it.cache.get(kind, CHILD)
            assert kept is not None
            assert kept["status"] == status
        api.remove(kind, CHILD)
        await it.expects(KEY)
        assert it.cache.get(kind, CHILD) is None

    watching(scenario)


def test_a_resources_beginning_change_and_end_ring_for_itself(watching, api):
    async def scenario(it: Watching) -> None:
        for replicas in (1, 2):
            api.put(kinds.YOLO, gen.body(replicas=replicas))
            await it.expects(KEY)
            kept = it.cache.get(kinds.YOLO, KEY)
            assert kept is not None
            assert kept["spec"]["replicas"] == replicas
        api.remove(kinds.YOLO, KEY)
        await it.expects(KEY)
        assert it.cache.get(kinds.YOLO, KEY) is None

    watching(scenario)


def test_watches_that_end_as_soon_as_they_are_open_are_opened_again_after_a_pause(watching, api):
    async def scenario(it: Watching) -> None:
        api.ended.set()
        before = len(api.watches())
        await asyncio.sleep(2.5 * handlers.WATCH_PAUSE_SECONDS)
        assert len(kinds.WATCHED) <= len(api.watches()) - before <= 3 * len(kinds.WATCHED)

    watching(scenario)


def test_who_belongs_to_nobody_rings_for_nobody(watching, api):
    async def scenario(it: Watching) -> None:
        api.put(kinds.SERVICE, child(kinds.SERVICE, **{names.OWNER: ""}))
        api.put(kinds.SERVICE, child(kinds.SERVICE, "other", **{names.OWNER: "vest"}))
        await it.expects(Key("factory", "vest"))

    watching(scenario)


def test_what_is_not_ours_is_never_shown(watching, api):
    async def scenario(it: Watching) -> None:
        for kind in kinds.CHILDREN:
            api.put(kind, child(kind, "foreign", **{names.MANAGED_BY: "Helm"}))
        await it.quiet()
        assert [it.cache.get(kind, Key("factory", "foreign")) for kind in kinds.CHILDREN] == [None] * len(kinds.CHILDREN)
        asked = {request.query.get("labelSelector") for request in api.watches() + api.lists() if kinds.YOLO.group not in request.path}
        assert asked == {names.MANAGED_SELECTOR}

    watching(scenario)


@pytest.mark.parametrize("slow", kinds.CHILDREN, ids=lambda kind: kind.name)
def test_the_first_pass_sees_all_children_however_long_their_list_takes(watching, api, slow):
    api.put(kinds.YOLO, gen.body())
    for kind in kinds.CHILDREN:
        api.put(kind, child(kind))
    api.slow[slow.plural] = 0.3

    async def scenario(it: Watching) -> None:
        await until(lambda: bool(it.seen))
        assert it.seen == {kind.name: 1 for kind in kinds.WATCHED}

    watching(scenario)


def test_kopf_writes_nothing(watching, api):
    """No annotation, no finalizer, no Event, no peering: not at the start, not after events, not at the end."""
    body = api.put(kinds.YOLO, gen.body())
    api.put(kinds.POD, child(kinds.POD))

    async def scenario(it: Watching) -> None:
        await it.expects(KEY)
        api.put(kinds.POD, child(kinds.POD))
        api.remove(kinds.POD, CHILD)
        await it.quiet()

    watching(scenario)
    assert api.writes() == []
    assert api.get(kinds.YOLO, KEY) == body


def test_another_operator_made_with_kopf_does_not_pause_ours(watching, api):
    peer = {"priority": 100, "lifetime": 3600, "lastseen": "2999-01-01T00:00:00+00:00"}
    api.put(PEERING, {"apiVersion": "kopf.dev/v1", "kind": PEERING.name, "metadata": {"name": "default", "namespace": ""}, "status": {"peer": peer}})

    async def scenario(it: Watching) -> None:
        api.put(kinds.YOLO, gen.body())
        await it.expects(KEY)

    watching(scenario)
    assert api.writes() == []


def test_without_namespaces_the_whole_cluster_is_watched(watching, api):
    async def scenario(it: Watching) -> None:
        api.put(kinds.YOLO, gen.body(metadata={"namespace": "anywhere"}))
        await it.expects(Key("anywhere", "helmet"))

    watching(scenario)
    assert {request.path for request in api.watches()} == {kind.path() for kind in kinds.WATCHED}


def test_with_namespaces_nothing_is_asked_about_others(watching, api):
    async def scenario(it: Watching) -> None:
        for namespace in ("lab", "elsewhere", "factory"):
            api.put(kinds.YOLO, gen.body(metadata={"namespace": namespace}))
        await it.expects(KEY, Key("lab", "helmet"))

    watching(scenario, "factory", "lab")
    served = {kind.path(namespace) for kind in kinds.WATCHED for namespace in ("factory", "lab")}
    assert {request.path for request in api.watches()} == served
    served |= {kind.path(namespace) for kind in kinds.OPTIONAL for namespace in ("factory", "lab")}
    assert {request.path for request in api.lists()} == served, "no list of Namespaces or of CRDs either: the role would not allow it"


def test_a_watch_that_shows_nothing_is_made_anew(watching, api, monkeypatch):
    monkeypatch.setattr(handlers, "INACTIVITY_SECONDS", 0.3)
    monkeypatch.setattr(watches, "INACTIVE_SECONDS", 0.3)

    async def scenario(it: Watching) -> None:
        api.mute = True
        api.put(kinds.YOLO, gen.body())
        before = len(api.watches())
        await until(lambda: len(api.watches()) >= before + 2 * len(kinds.WATCHED))
        api.mute = False
        api.put(kinds.YOLO, gen.body(replicas=2))
        await it.expects(KEY)

    watching(scenario)


def test_events_are_counted_by_kind(watching, api):
    def counted() -> dict[str, float]:
        return {kind.name: REGISTRY.get_sample_value("yolo_operator_watch_events_total", {"kind": kind.name}) or 0 for kind in kinds.WATCHED}

    before = counted()

    async def scenario(it: Watching) -> None:
        api.put(kinds.JOB, child(kinds.JOB))
        await it.expects(KEY)
        assert counted() == before | {"Job": before["Job"] + 1}

    watching(scenario)
