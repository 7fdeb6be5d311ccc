"""The operator's view is stale or broken: a proxy before the API server delays, loses, shuffles, refuses and freezes.

Whatever it does, all becomes as it is without it, without a hot loop; and a dead watch is told from a quiet one.
"""

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import wrongs
from control_plane import free_port
from place import Place, difference
from proxy import Asked, Fault, Proxy
from scenarios import SCENARIOS, SHARED_ONES, Scenario, Undisturbed, begin, given

QUICK = {"resync.GRACE_SECONDS": 0.5, "kube.REQUEST_TIMEOUT_SECONDS": 3}
BURST, OFTEN = 30, 1.5
"""So many times at once, and then so many times a second, may the same be asked.

A creation writes its status about ten times within six seconds; where half of all requests fail, each is tried
twice on the average, and now and then all of them three times. What does not back off asks hundreds of times.
"""
LONGEST = 400
"""Seconds until all is well again: with half of all writes refused a pause between two passes comes to a minute."""
CREATION, WEIGHTS = SCENARIOS[:2]
COMES, CHANGES, OTHER_PODS = (next(each for each in SCENARIOS if each.name == name) for name in SHARED_ONES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fault, and what it meets."""

    name: str
    fault: Callable[[], Fault]
    scenario: Scenario = CREATION
    seconds: float = 0
    """Until it is taken back; 0 leaves it until all is well."""
    constants: Mapping[str, float] = field(default_factory=lambda: QUICK)
    ends: bool = False
    """It may end the operator, which Kubernetes starts anew."""
    marks: Sequence[pytest.MarkDecorator] = (pytest.mark.matrix,)


ROWS = (
    Row(name="three in ten events are lost", fault=wrongs.Lossy, marks=()),
    Row(name="half of all requests are answered 500", fault=wrongs.Failing, marks=()),
    Row(name="watches break as soon as they are open", fault=wrongs.SlamsShut),
    Row(name="three in ten events are lost, and weights change", fault=wrongs.Lossy, scenario=WEIGHTS),
    Row(name="three in ten events are lost, and a model comes to a YoloServer", fault=wrongs.Lossy, scenario=COMES),
    Row(name="watches are 3 s late, and a model of a YoloServer changes", fault=wrongs.Late, scenario=CHANGES),
    Row(name="events of several objects come in any order, up to 3 s late, and a YoloServer gets other pods", fault=wrongs.Shuffled, scenario=OTHER_PODS),
    Row(name="watches are 3 s late", fault=wrongs.Late),
    Row(name="watches are 3 s late, and weights change", fault=wrongs.Late, scenario=WEIGHTS),
    Row(name="events of several objects come in any order, up to 3 s late", fault=wrongs.Shuffled, scenario=WEIGHTS),
    Row(name="watches stay open and show nothing", fault=wrongs.Mute),
    Row(name="watches stay open and show nothing, and weights change", fault=wrongs.Mute, scenario=WEIGHTS),
    Row(name="watches break after two events, and the answers to three in ten writes are lost", fault=wrongs.HangsUp, scenario=WEIGHTS),
    Row(name="every watch is answered 410, in an event", fault=wrongs.Expired),
    Row(name="every watch is answered 410, as a status", fault=wrongs.Gone, seconds=10, ends=True),
    Row(name="half of all requests are answered 429 with Retry-After", fault=wrongs.TooMany),
    Row(name="half of all writes are answered 409", fault=wrongs.Conflicting, scenario=WEIGHTS),
    Row(name="watches break and everything is answered 500 for 2 minutes", fault=wrongs.Down, seconds=120),
    Row(name="three in ten requests are not answered", fault=wrongs.Hanging),
    Row(name="everything is frozen for 2 minutes", fault=wrongs.Frozen, seconds=120, constants={}),
)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name, marks=row.marks) for row in ROWS])
def test_all_becomes_as_it_is_without_the_fault(
    row: Row,
    without_fault: Callable[[Scenario], Undisturbed],
    places: Callable[..., Place],
    proxy: Proxy,
    record_property: Callable[[str, object], None],
) -> None:
    reference = without_fault(row.scenario)
    here = places(proxy, row.constants, RESYNC_SECONDS="3")
    given(row.scenario, [here])
    begin(here, proxy)
    here.operator.restarted = row.ends
    began = time.monotonic()
    proxy.fault = row.fault()
    row.scenario.change(here)
    if row.seconds:
        here.until(lambda: time.monotonic() > began + row.seconds, row.seconds + 10)
        proxy.fault = Fault()
    try:
        took = here.until(lambda: row.scenario.ends(here) and here.state() == reference.state, LONGEST)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{difference(reference.state, here.state())}") from error
    assert proxy.hits, "nothing has gone wrong"
    assert not hot(proxy.since(began), time.monotonic() - began)
    record_property("Fault", row.name)
    record_property("Tried", "1")
    record_property("Ended well", "1")
    record_property("Seconds to recover", f"{took:.0f}")


@pytest.mark.matrix
def test_a_dead_watch_is_told_from_a_quiet_one(places: Callable[..., Place], proxy: Proxy) -> None:
    port = free_port()
    here = places(proxy, QUICK, RESYNC_SECONDS="1", PORT=str(port), ADDRESS="127.0.0.1")
    begin(here, proxy)
    here.create()
    here.until(here.is_ready)
    here.rest()
    lists = len(lists_of_pods(proxy))
    here.until(lambda: len(lists_of_pods(proxy)) > lists + 3)
    assert health(port) == (200, "ok\n")
    proxy.fault = wrongs.Mute()
    # Each resync has to find something that the watch has not shown.
    here.until(lambda: here.annotate() and health(port)[0] == 503)
    assert health(port) == (503, "the watch of YoloDeployment shows nothing any more\n")
    proxy.fault = Fault()
    here.until(lambda: health(port)[0] == 200)


def hot(asked: list[Asked], seconds: float) -> dict[tuple[str, str], int]:
    """What has been asked too often in so many seconds."""
    counts = Counter((each.method, each.path + "?watch" * each.watch) for each in asked)
    return {what: count for what, count in counts.items() if count > BURST + OFTEN * seconds}


def lists_of_pods(proxy: Proxy) -> list[Asked]:
    return [asked for asked in proxy.asked if asked.method == "GET" and asked.path.endswith("/pods") and not asked.watch]


def health(port: int) -> tuple[int, str]:
    """Code and body of /healthz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
