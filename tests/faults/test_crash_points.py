"""The operator dies right before and right after each of its writes, by SIGKILL, and another begins with nothing in memory.

Whatever the point: the same objects, status and storage in the end as undisturbed, and no revision is built twice.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from mortal import When
from place import Place, difference
from scenarios import AT_ONCE, SCENARIOS, Scenario, Undisturbed, given

SPARE = 5
"""The same scenario takes a few writes more or less: what changes together is told together."""
FEW = (5, 14)
"""Writes that `make test` dies at."""


def crash(scenario: Scenario, here: Place, reference: Undisturbed, when: When, write: int) -> float:
    """Die there and begin again; returns the seconds from then until all is as it is undisturbed."""

    def is_over() -> bool:
        return scenario.ends(here) and here.state() == reference.state

    here.operator.start(when, write)
    scenario.change(here)
    # What several changes are seen in at once takes a few writes less: then it dies after its last one.
    here.until(lambda: here.operator.has_died(0) or (write > reference.writes - SPARE and is_over()))
    here.operator.kill()
    here.operator.start()
    try:
        seconds = here.until(is_over)
        here.rest()
    finally:
        here.operator.kill()
    assert difference(reference.state, here.state()) == ""
    return seconds


@pytest.mark.parametrize(
    ("scenario", "few"),
    [
        pytest.param(SCENARIOS[0], True, id=f"a few of: {SCENARIOS[0].name}"),
        *(pytest.param(scenario, False, id=scenario.name, marks=[pytest.mark.matrix, pytest.mark.timeout(3600)]) for scenario in SCENARIOS),
    ],
)
def test_a_crash_at_any_write_changes_nothing_in_the_end(
    scenario: Scenario, few: bool, without_fault: Callable[[Scenario], Undisturbed], places: Callable[[], Place], record_property: Callable[[str, object], None]
) -> None:
    reference = without_fault(scenario)
    writes = FEW if few else range(1, reference.writes + 1)
    points: list[tuple[When, int]] = [(when, write) for write in writes for when in ("before", "after")]

    def attempt(point: tuple[When, int], here: Place) -> float | str:
        try:
            return crash(scenario, here, reference, *point)
        except AssertionError as error:
            return f"{point}: {error}\n{difference(reference.state, here.state())}"

    here = [places() for _ in points]
    given(scenario, here)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(attempt, points, here))
    failed = [each for each in found if isinstance(each, str)]
    assert not failed, "\n\n".join(failed)
    assert set(reference.state["builds"].values()) <= {1}
    if not few:
        record_property("Fault", f"SIGKILL right before or right after any of its writes: {scenario.name}")
        record_property("Tried", str(len(points)))
        record_property("Ended well", str(len(found)))
        record_property("Seconds to recover", f"{max(each for each in found if isinstance(each, float)):.0f}")
