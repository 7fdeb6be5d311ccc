"""What the faults are measured by: how a resource that is made comes to be served."""

from collections.abc import Callable

from scenarios import SCENARIOS, Scenario, Undisturbed


def test_a_resource_is_served_by_one_build_and_a_new_operator_writes_nothing(without_fault: Callable[[Scenario], Undisturbed]) -> None:
    state = without_fault(SCENARIOS[0]).state
    assert list(state["builds"].values()) == [1]
    assert list(state["builds"]) == state["published"]
    assert [ready for _, _, ready, _ in state["Pod"]] == [True]
