"""The watches of the children, over HTTP: what they leave in the cache and enqueue, how they go on, and what they do where CRDs are missing, come and go."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

import gen
from yolo_operator.controller import kinds, watches
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kinds import HTTP_ROUTE
from yolo_operator.controller.kube import Kube, tuned
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.watches import Watches
from yolo_operator.core import names

Manifest = dict[str, Any]
KEY = Key("factory", "helmet")
ALL = (*kinds.CHILDREN, *kinds.OPTIONAL)


class GatewayApi:
    """An API server that has routes, or has not."""

    def __init__(self) -> None:
        self.served = True
        self.forbidden = False
        self.refuses = 0
        """So many times a list of YoloDeployments is answered 500."""
        self.routes: dict[Key, Manifest] = {}
        self.others: dict[str, list[Manifest]] = {}
        """Objects of other kinds, by path."""
        self.version, self.page = 100, 100
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.watches: list[tuple[str, asyncio.Queue[Manifest | str | None]]] = []

    def put(self, name: str = "helmet", namespace: str = "factory", *, tell: bool = True) -> None:
        """Create or change an HTTPRoute."""
        key = Key(namespace, name)
        event = "MODIFIED" if key in self.routes else "ADDED"
        self.version += 1
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "resourceVersion": str(self.version)}
        labels = {names.MANAGED_BY: names.FIELD_MANAGER, names.OWNER: "helmet"}
        self.routes[key] = {"metadata": metadata | {"labels": labels, "ownerReferences": [{"uid": gen.UID}]}, "spec": {}}
        self._tell(event, self.routes[key], tell)

    def remove(self, name: str = "helmet", *, tell: bool = True) -> None:
        self.version += 1
        self._tell("DELETED", self.routes.pop(Key("factory", name)), tell)

    def end_watches(self, *events: Manifest | str) -> None:
        """The server ends all watches, with something to say or without."""
        for _, watch in self.watches:
            for event in (*events, None):
                watch.put_nowait(event)
        self.watches.clear()

    def _tell(self, event: str, body: Manifest, tell: bool) -> None:
        for path, watch in self.watches:
            if tell and path.endswith(HTTP_ROUTE.plural):
                watch.put_nowait({"type": event, "object": body})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        routes = kinds.HTTP_ROUTE.group in request.path
        if (routes or kinds.SERVER.plural in request.path) and not self.served:
            return web.Response(status=404, text="404 page not found\n")
        if routes and self.forbidden:
            return web.json_response({"message": "httproutes is forbidden"}, status=403)
        if "watch" in request.query:
            return await self._stream(request)
        items = [body for key, body in self.routes.items() if request.path in {HTTP_ROUTE.path(), HTTP_ROUTE.path(key.namespace)}]
        items += self.others.get(request.path, [])
        if request.path == kinds.YOLO.path() and self.refuses:
            self.refuses -= 1
            return web.json_response({"message": "etcdserver: request timed out"}, status=500)
        begin = int(request.query.get("continue", 0))
        left = {"continue": str(begin + self.page)} if len(items) > begin + self.page else {}
        return web.json_response({"metadata": {"resourceVersion": str(self.version)} | left, "items": items[begin : begin + self.page] or None})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer, events = web.StreamResponse(), asyncio.Queue[Manifest | str | None]()
        await answer.prepare(request)
        self.watches.append((request.path, events))
        while (event := await events.get()) is not None:
            await answer.write((event if isinstance(event, str) else json.dumps(event)).encode() + b"\n")
        return answer


class Watching:
    """A watch under way, with one resource in the cache."""

    def __init__(self, api: GatewayApi, watch: Watches, cache: Cache, queue: Queue[Key]) -> None:
        self.api, self.watch, self.cache, self._queue = api, watch, cache, queue
        self._rung: list[Key] = []
        cache.put(kinds.YOLO, gen.body())

    async def serve(self) -> None:
        async def reconcile(key: Key) -> bool:
            self._rung.append(key)
            return True

        await self._queue.run(reconcile, 1)

    async def expects(self) -> None:
        """The resource is enqueued."""
        await until(lambda: KEY in self._rung)
        self._rung.clear()

    def known(self) -> list[str]:
        return sorted(self.cache.observe(KEY, gen.UID).http_routes)

    async def served(self, yes: bool) -> None:
        """It is known whether the Gateway API is there."""
        await until(lambda: self.cache.observe(KEY, gen.UID).gateway_api is yes)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():  # noqa: ASYNC110  tests look from outside
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "RECHECK_SECONDS", 0.02)
    monkeypatch.setattr(watches, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(watches, "PAUSE_SECONDS", 0.02)


def watched(scenario: Callable[[Watching], Awaitable[None]], prepare: Callable[[GatewayApi], None] = lambda _: None, *namespaces: str) -> GatewayApi:
    """Run a scenario once all has been listed."""
    api = GatewayApi()
    prepare(api)

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", api.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = ApiClient(tuned(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")))
        cache, queue = Cache(), Queue[Key]()
        watch = Watches(kube=Kube(client), cache=cache, queue=queue, namespaces=namespaces)
        it = Watching(api, watch, cache, queue)
        tasks = [asyncio.create_task(watch.run()), asyncio.create_task(it.serve())]
        try:
            async with asyncio.timeout(20):
                await watch.listed.wait()
            await scenario(it)
            assert not any(task.done() for task in tasks), "it goes on"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()
            await runner.cleanup()

    asyncio.run(main())
    return api


def test_what_is_there_is_known_before_the_first_pass():
    async def scenario(it: Watching) -> None:
        assert it.known() == ["helmet"]
        await it.served(True)

    watched(scenario, lambda api: api.put())


def test_a_server_is_not_known_before_all_of_its_models_are():
    """Of kopf's own list nobody knows when it is complete: a server's first pass would take those that are missing for gone."""

    def shared(api: GatewayApi) -> None:
        api.refuses = 2
        api.others[kinds.SERVER.path()] = [{"metadata": {"name": "line-3", "namespace": "factory", "uid": "1", "resourceVersion": "90"}, "spec": {}}]
        api.others[kinds.YOLO.path()] = [
            gen.body(name=f"model-{number}", metadata={"uid": f"{number}"}, serverRef={"name": "line-3"}) for number in range(api.page + 20)
        ]

    async def scenario(it: Watching) -> None:
        assert it.cache.get(kinds.SERVER, Key("factory", "line-3")) is not None
        assert len(it.cache.models(Key.of_server("factory", "line-3"))) == 120

    watched(scenario, shared)


def test_where_there_is_no_server_models_are_not_listed_twice():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        for _, watch in it.api.watches:
            watch.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "999"}}})
        await asyncio.sleep(0.1)

    assert kinds.YOLO.path() not in {path for path, _ in watched(scenario).asked}


def test_a_routes_beginning_change_and_end_ring_for_its_owner():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        it.api.put()
        await it.expects()
        assert it.known() == ["helmet"]
        it.api.put()
        await it.expects()
        it.api.remove()
        await it.expects()
        assert it.known() == []

    watched(scenario)


def test_only_ours_are_asked_for():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))

    api = watched(scenario)
    selectors = {(path, query.get("labelSelector") or "") for path, query in api.asked}
    assert selectors == {(kind.path(), kind.selector) for kind in ALL}
    assert {kind.selector for kind in ALL if kind is not kinds.SERVER} == {names.MANAGED_SELECTOR}
    assert {path for path, _ in api.asked} == {kind.path() for kind in ALL}


def test_with_namespaces_nothing_is_asked_about_others_and_one_does_not_empty_another():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == 2 * len(ALL))
        assert it.known() == ["helmet"]

    api = watched(scenario, lambda api: api.put(), "factory", "lab")
    assert {path for path, _ in api.asked} == {kind.path(namespace) for kind in ALL for namespace in ("factory", "lab")}


def test_more_watches_than_a_pool_of_connections_holds_are_open_at_once():
    namespaces = [f"lab-{number}" for number in range(14)]

    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(namespaces) * len(ALL))
        assert len(it.api.watches) > 100

    watched(scenario, lambda _: None, *namespaces)


def missing(api: GatewayApi) -> None:
    api.served = False


def test_missing_crds_hold_nothing_up_and_are_noticed_when_they_come():
    async def scenario(it: Watching) -> None:
        await it.served(False)
        await it.expects()
        it.api.served = True
        await it.served(True)
        await it.expects()
        await until(lambda: len(it.api.watches) == len(ALL))
        it.api.put()
        await until(lambda: it.known() == ["helmet"])

    watched(scenario, missing)


def test_crds_that_go_take_their_routes_along():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        it.api.served = False
        it.api.end_watches()
        await it.served(False)
        await it.expects()
        await until(lambda: it.known() == [])

    watched(scenario, lambda api: api.put())


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
CUT = "{"


@pytest.mark.parametrize("last", [pytest.param([GONE], id="its version is too old"), pytest.param([CUT], id="nonsense")])
def test_what_a_watch_has_missed_is_found_when_it_breaks_off(last):
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        await it.expects()
        it.api.put("helmet-v1", tell=False)
        it.api.remove(tell=False)
        it.api.end_watches(*last)
        await it.expects()
        await until(lambda: it.known() == ["helmet-v1"])

    watched(scenario, lambda api: api.put())


def test_a_watch_that_ends_in_order_goes_on_from_what_it_has_shown_last_without_a_list():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        it.api.put()
        await it.expects()
        for _, watch in it.api.watches:
            watch.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "999"}}})
        await asyncio.sleep(0.05)
        before = len(it.api.asked)
        it.api.end_watches()
        await until(lambda: len(it.api.watches) == len(ALL))
        asked = [query for _, query in it.api.asked[before:]]
        assert {query.get("resourceVersion") for query in asked} == {"999"}
        assert all("watch" in query for query in asked)
        it.api.version = 1000
        it.api.put()
        await it.expects()

    watched(scenario)


def test_a_list_comes_in_pages():
    async def scenario(it: Watching) -> None:
        assert it.known() == ["helmet", "helmet-v1", "helmet-v2"]

    def three(api: GatewayApi) -> None:
        api.page = 2
        for name in ("helmet", "helmet-v1", "helmet-v2"):
            api.put(name)

    api = watched(scenario, three)
    lists = [query for path, query in api.asked if path == HTTP_ROUTE.path() and "watch" not in query]
    assert [(query["limit"], query.get("continue")) for query in lists] == [("100", None), ("100", "2")]


def test_a_watch_that_shows_nothing_is_made_anew(monkeypatch):
    monkeypatch.setattr(watches, "INACTIVE_SECONDS", 0.1)

    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        it.api.put(tell=False)
        await it.expects()
        assert it.known() == ["helmet"]

    watched(scenario)


def test_a_bookmark_is_no_route():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        for _, watch in it.api.watches:
            watch.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "999"}}})
        it.api.put()
        await it.expects()

    watched(scenario)


def test_what_we_made_after_a_list_is_not_gone():
    async def scenario(it: Watching) -> None:
        await until(lambda: len(it.api.watches) == len(ALL))
        made = {"metadata": {"name": "helmet-v9", "namespace": "factory", "uid": "9", "resourceVersion": "9000", "labels": {names.OWNER: "helmet"}}}
        made["metadata"]["ownerReferences"] = [{"uid": gen.UID}]  # type: ignore[assignment]
        it.cache.put(HTTP_ROUTE, made)
        lists = len(it.api.asked)
        it.api.end_watches(GONE)
        await until(lambda: len(it.api.asked) >= lists + 2 * len(ALL))
        assert it.known() == ["helmet-v9"]

    watched(scenario)


def test_a_missing_right_holds_nothing_up_and_is_no_missing_crd(caplog):
    def forbid(api: GatewayApi) -> None:
        api.forbidden = True

    async def scenario(it: Watching) -> None:
        await it.served(True)
        it.api.forbidden = False
        it.api.put()
        await it.expects()

    watched(scenario, forbid)
    assert "not listed" in caplog.text
