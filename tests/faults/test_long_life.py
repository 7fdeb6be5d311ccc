"""A long life in fast forward: resources are made, changed and deleted, round after round, and nothing of them stays in the process."""

import functools
from collections.abc import Callable, Sequence

import pytest
from mortal import Held
from place import Place

import gen

POOLED = 3
"""Connections more that the client may keep open for a while."""
SPARE, KEPT = 500, 5
"""Objects that come and go all the time, and those more that each resource may have left: a body of one is a hundred."""
REST_SECONDS = 7
"""Longer than kopf keeps a task for an object that nothing happens to (settings.queueing.idle_timeout)."""
GROWTH = 1.15
"""Of memory: the heap breaks into pieces for a while after all that Python holds has stopped growing (seen with tracemalloc)."""
EACH = 10
"""Seconds for one resource, where all wait for their turn."""


def one_round(places: Sequence[Place]) -> None:
    """The life of many resources, side by side."""

    def all_are(reached: Callable[[Place], object]) -> None:
        for here in places:
            here.until(functools.partial(reached, here), EACH * len(places))

    for here in places:
        here.create(deletionPolicy="Delete")
    all_are(Place.is_ready)
    for here in places:
        here.edit(replicas=2)
    all_are(Place.is_ready)
    for here in places:
        here.edit(versions=[gen.version(source={"uri": "s3://weights/helmet-new.pt"})])
    all_are(Place.is_ready)
    for here in places:
        here.delete()
    all_are(lambda here: not here.body and not here.published)


def rested(first: Place) -> Held:
    """What the operator holds once it has nothing to do: connections that nobody uses are closed after a while."""
    found = [first.operator.held]

    def is_still() -> bool:
        found.append(first.operator.held)
        return len(found) > 10 and len({(each.tasks, each.files) for each in found[-10:]}) == 1

    first.rest(REST_SECONDS)
    first.until(is_still)
    return found[-1]


@pytest.mark.parametrize(
    ("many", "warm_up", "rounds"), [pytest.param(2, 1, 1, id="2"), pytest.param(40, 2, 5, id="200", marks=[pytest.mark.matrix, pytest.mark.timeout(3600)])]
)
def test_nothing_of_what_is_gone_is_kept(
    many: int, warm_up: int, rounds: int, places: Callable[..., Place], record_property: Callable[[str, str], None]
) -> None:
    here = [places() for _ in range(many)]
    first = here[0]
    first.operator = first.operator.everywhere()
    first.operator.start()

    def live_through(times: int) -> Held:
        for _ in range(times):
            one_round(here)
        return rested(first)

    before, after, lived = live_through(warm_up), live_through(rounds), many * rounds
    assert after.tasks == before.tasks
    assert after.files <= before.files + POOLED
    assert after.objects < before.objects + SPARE + KEPT * lived
    assert after.kilobytes < before.kilobytes * GROWTH
    if many > 2:
        record_property("Fault", "resources are made, changed and deleted, for what they leave in the operator")
        record_property("Tried", str(lived))
        figures = f"tasks {before.tasks} → {after.tasks}, open files {before.files} → {after.files}, MB {before.kilobytes // 1024} → {after.kilobytes // 1024}"
        record_property("Ended well", f"{lived}: {figures}")
