"""Leader election: the promise is that no write starts after the deadline."""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from yolo_operator.controller import leader
from yolo_operator.controller.kube import Conflict
from yolo_operator.controller.leader import Elector, LeadershipLost
from yolo_operator.core.errors import Unavailable


class Clock:
    """Monotonic seconds; sleeping moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await REAL_SLEEP(0)


class LeaseServer:
    """The API server's part: one Lease, optimistic locking, and faults on demand."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.fault: Exception | None = None
        self.version = 0

    async def get(self, kind: Any, namespace: str, name: str) -> dict[str, Any] | None:
        self._fail()
        return copy.deepcopy(self.lease)

    async def post(self, kind: Any, manifest: dict[str, Any]) -> dict[str, Any]:
        self._fail()
        if self.lease is not None:
            raise Conflict("AlreadyExists", "the object is there already")
        return self._store(manifest)

    async def replace(self, kind: Any, manifest: dict[str, Any]) -> dict[str, Any]:
        self._fail()
        if self.lease is None or manifest["metadata"].get("resourceVersion") != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("Conflict", "the object has been modified")
        return self._store(manifest)

    def held_by(self, holder: str, renewed: str = "2026-11-22T03:00:00.000000Z", seconds: int = 15) -> None:
        self._store({"metadata": {}, "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": seconds, "leaseTransitions": 4}})

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])

    def _store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"] |= {"resourceVersion": str(self.version)}
        return copy.deepcopy(self.lease)

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault


REAL_SLEEP = asyncio.sleep


class Stage:
    """A lease server, a clock and one elector."""

    def __init__(self, identity: str = "me") -> None:
        self.server, self.clock = LeaseServer(), Clock()
        self.elector = self.another(identity)

    def another(self, identity: str) -> Elector:
        return Elector(kube=self.server, namespace="operators", name="yolo-operator", identity=identity, monotonic=self.clock)  # type: ignore[arg-type]


@pytest.fixture
def stage(monkeypatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(leader.asyncio, "sleep", made.clock.sleep)
    return made


def run(*steps: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        for step in steps:
            await step()

    asyncio.run(main())


def test_a_lease_that_is_not_there_is_made_and_confirmed(stage):
    run(stage.elector.acquire)
    assert stage.server.holder == "me"
    stage.elector.check()


def test_before_it_leads_nothing_may_be_written(stage):
    with pytest.raises(LeadershipLost):
        stage.elector.check()


def test_another_holders_lease_is_taken_over_after_its_end_and_not_before(stage):
    stage.server.held_by("other")
    start = stage.clock.now
    run(stage.elector.acquire)
    assert stage.clock.now - start > 15
    assert stage.clock.now - start < 15 + 6 * leader.ASK_SECONDS
    assert stage.server.lease["spec"]["leaseTransitions"] == 5
    assert "acquireTime" in stage.server.lease["spec"]


def test_a_holder_that_renews_keeps_the_lease_whatever_the_wall_clocks_say(stage):
    renewals = iter(range(100))

    async def look() -> None:
        for _ in range(30):
            stage.server.held_by("other", f"1999-01-01T00:00:{next(renewals):02}.000000Z")
            assert not await stage.elector._try()
            stage.clock.now += 10

    run(look)


def test_a_lease_that_was_released_is_taken_at_once(stage):
    other = stage.another("other")
    run(other.acquire, other.release)
    assert stage.server.holder == ""
    start = stage.clock.now
    run(stage.elector.acquire)
    assert stage.clock.now == start
    with pytest.raises(LeadershipLost):
        other.check()


def test_a_lease_of_our_own_name_is_taken_up_again_after_a_restart(stage):
    stage.server.held_by("me")
    start = stage.clock.now
    run(stage.elector.acquire)
    assert stage.clock.now == start


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Unavailable("ApiServerUnreachable", "connection refused"), id="no connection"),
        pytest.param(TimeoutError(), id="no answer"),
        pytest.param(Conflict("Conflict", "modified"), id="a conflict"),
        pytest.param(KeyError("spec"), id="an answer that makes no sense"),
        pytest.param(ValueError("not JSON"), id="an answer that is no JSON"),
    ],
)
def test_whatever_goes_wrong_is_a_failed_renewal_and_at_the_deadline_it_is_over(stage, fault):
    run(stage.elector.acquire)
    start = stage.clock.now
    stage.server.fault = fault
    with pytest.raises(LeadershipLost):
        run(stage.elector.keep)
    assert leader.DEADLINE_SECONDS < stage.clock.now - start <= leader.DEADLINE_SECONDS + 2 * leader.RENEW_SECONDS
    with pytest.raises(LeadershipLost):
        stage.elector.check()


def test_a_trouble_that_passes_in_time_loses_nothing(stage):
    run(stage.elector.acquire)

    async def trouble() -> None:
        stage.server.fault = TimeoutError()
        stage.clock.now += 8
        assert not await stage.elector._try()
        stage.elector.check()
        stage.server.fault = None
        assert await stage.elector._try()
        stage.clock.now += 8
        stage.elector.check()

    run(trouble)


def test_past_the_deadline_no_write_may_start_even_if_nobody_has_looked(stage):
    run(stage.elector.acquire)
    stage.clock.now += leader.DEADLINE_SECONDS
    stage.elector.check()
    stage.clock.now += 0.001
    with pytest.raises(LeadershipLost):
        stage.elector.check()


def test_the_deadline_counts_from_before_the_request(stage):
    run(stage.elector.acquire)
    replace = stage.server.replace

    async def slow(kind: Any, manifest: dict[str, Any]) -> Any:
        answer = await replace(kind, manifest)
        stage.clock.now += 4
        return answer

    stage.server.replace = slow
    run(stage.elector._try)
    stage.clock.now += 7
    with pytest.raises(LeadershipLost):
        stage.elector.check()


def test_when_another_holds_it_leadership_is_lost_at_once(stage):
    run(stage.elector.acquire)
    stage.server.held_by("other")
    with pytest.raises(LeadershipLost, match="another"):
        run(stage.elector.keep)


def test_two_never_lead_at_once(stage):
    """The holder stops before the other may begin."""
    assert leader.DEADLINE_SECONDS + leader.REQUEST_SECONDS <= leader.LEASE_SECONDS
    run(stage.elector.acquire)
    other = stage.another("other")

    async def contest() -> None:
        for _ in range(60):
            taken = await other._try()
            try:
                stage.elector.check()
                mine = True
            except LeadershipLost:
                mine = False
            assert not (taken and mine)
            stage.clock.now += 0.5

    run(contest)
    assert stage.server.holder == "other"


def test_what_another_holds_is_not_released(stage):
    stage.server.held_by("other")
    run(stage.elector.release)
    assert stage.server.holder == "other"


def test_a_lease_that_cannot_be_released_does_not_hide_why_the_process_ends(stage):
    run(stage.elector.acquire)
    stage.server.fault = Unavailable("ApiServerUnreachable", "connection refused")
    run(stage.elector.release)


def test_a_lease_without_a_holder_is_free(stage):
    stage.server._store({"metadata": {}, "spec": {}})
    run(stage.elector.acquire)
    assert stage.server.holder == "me"


def test_two_that_start_at_once_say_nothing_of_it(stage, caplog):
    other = stage.another("other")
    get = stage.server.get

    async def seen_by_both(*arguments: Any) -> dict[str, Any] | None:
        found = await get(*arguments)
        await REAL_SLEEP(0)
        return found

    stage.server.get = seen_by_both

    async def start() -> None:
        await asyncio.gather(stage.elector._try(), other._try())
        await asyncio.gather(stage.elector._try(), other._try())

    run(start)
    assert stage.server.holder in ("me", "other")
    assert caplog.records == []


def test_a_fault_of_ours_is_told_with_its_traceback(stage, caplog):
    stage.server.fault = KeyError("ownerReferences")

    async def start() -> None:
        assert not await stage.elector._try()

    run(start)
    (told,) = caplog.records
    assert told.levelname == "ERROR"
    assert told.exc_info is not None
