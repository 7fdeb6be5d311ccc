"""What holds after every pass of `plan`, whatever happens: situations that once gave traffic to what could not answer it, and a search by machine."""

from collections.abc import Callable
from typing import Any

import pytest

from search import STEPS, Search, Wish, record, searched


def test_5000_steps_break_nothing(record_property: Any) -> None:
    record(searched(Search, 5000), "plan, the same steps in each run", record_property)


@pytest.mark.matrix
@pytest.mark.timeout(3600)
def test_200000_steps_break_nothing(record_property: Any) -> None:
    record(searched(Search, 200_000, number=1), "plan", record_property)


def at_rest(**wish: Any) -> Search:
    """A machine whose resource serves."""
    machine = Search()
    machine.wish = Wish(**wish)
    machine.cluster.body["spec"] = machine.wish.spec()
    machine.calm(12)
    return machine


def crash(machine: Search, number: int) -> None:
    """All pods of a version fail."""
    for pod in machine.cluster.pods(number):
        machine.cluster.crash(pod)
    machine.cluster.roll()


def start(machine: Search, number: int, *, but: int = 0) -> None:
    """Pods of a version answer again, all but some."""
    found = machine.cluster.pods(number)
    for pod in found[: len(found) - but]:
        machine.cluster.start(pod)
    machine.cluster.kubelet()
    machine.cluster.later(6)
    machine.cluster.roll()


def edit(machine: Search, **wish: Any) -> None:
    """The user changes the spec, and the operator looks."""
    for key, value in wish.items():
        setattr(machine.wish, key, value)
    machine.edited(quiet=False)


def the_only_pod_of_stable_restarts_while_its_successor_builds() -> None:
    machine = at_rest(replicas=1, canary=True, gateway=True, steps=1)
    edit(machine, versions={2: {}})
    crash(machine, 1)
    machine.look()
    start(machine, 1)
    machine.look()
    machine.look()
    assert machine.stable() == 1
    assert machine.routed() == {1: 100}


def two_of_three_pods_come_back() -> None:
    machine = at_rest(replicas=3, gateway=True)
    crash(machine, 1)
    machine.look()
    start(machine, 1, but=1)
    machine.look()
    assert machine.routed() == {1: 100}


def weights_are_turned_round() -> None:
    machine = at_rest(replicas=10, gateway=True, versions={1: {"weight": 90}, 2: {"weight": 10}})
    edit(machine, versions={1: {"weight": 10}, 2: {"weight": 90}})
    assert machine.routed() == {1: 90, 2: 10}
    machine.calm(12)
    assert machine.routed() == {1: 10, 2: 90}


def a_canary_has_replicas_of_its_own() -> None:
    machine = at_rest(replicas=10, canary=True, gateway=True, steps=STEPS.index(((50, "2m"), (100, "10m"))))
    edit(machine, versions={1: {}, 2: {"own": 1}})
    machine.calm(12)
    assert machine.routed() == {1: 50, 2: 50}
    machine.cluster.later(31 * 60)
    machine.look()
    assert machine.state_of_rollout().phase != "Degraded"


def an_autoscaler_leaves_a_canary_no_pod() -> None:
    machine = at_rest(replicas=9, canary=True, steps=STEPS.index(((10, "10m"), (50, "2m"))))
    edit(machine, versions={1: {}, 2: {}})
    machine.calm(12)
    edit(machine, replicas=3)
    machine.calm(12)
    machine.cluster.later(601)
    machine.calm(3)
    assert machine.state_of_rollout().step == 1


def the_canary_dies_at_its_last_step() -> None:
    machine = at_rest(replicas=2, canary=True, gateway=True, steps=STEPS.index(((50, "2m"), (100, "10m"))))
    edit(machine, versions={1: {}, 2: {}})
    machine.calm(12)
    machine.cluster.later(130)
    machine.calm(12)
    crash(machine, 2)
    machine.look()
    assert machine.routed() == {1: 100}
    machine.cluster.later(601)
    machine.look()
    machine.look()
    assert machine.stable() == 1


SITUATIONS = (
    the_only_pod_of_stable_restarts_while_its_successor_builds,
    two_of_three_pods_come_back,
    weights_are_turned_round,
    a_canary_has_replicas_of_its_own,
    an_autoscaler_leaves_a_canary_no_pod,
    the_canary_dies_at_its_last_step,
)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__.replace("_", " "))
def test_what_is_ready_has_the_traffic(situation: Callable[[], None]) -> None:
    situation()
