"""What holds after every pass of `plan`, whatever happens: situations that once gave traffic to what could not answer it, and a search by machine."""

from collections.abc import Callable
from typing import Any

import pytest

from search import STEPS, Search, Wish, record, replayed, searched


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


FOUND: dict[str, tuple[str, ...]] = {
    "all declared versions are excluded and one that is not declared serves": (
        "state.a_resource_is_made(steps=6, canary=False, several=True, gateway=True, rest=True, replicas=10)",
        "state.a_version_is_to_be_built_anew(change='model', number=1, quiet=False, value='other')",
        "state.all_comes_to_rest(minutes=3)",
        "state.a_version_is_removed(number=1, quiet=True)",
        "state.all_comes_to_rest(minutes=11)",
    ),
    "the mode changes while all declared versions are excluded": (
        "state.a_resource_is_made(canary=True, replicas=10, several=True, gateway=False, rest=True, steps=0)",
        "state.a_version_is_added(alone=True, model='other', number=3, quiet=False)",
        "state.time_passes_and_nothing_goes_wrong(rounds=1, seconds=61)",
        "state.strategy_and_mode_are_edited(canary=False, gateway=True, quiet=False, steps=0)",
    ),
    "a last pod is preempted while the route sends to it": (
        "state.strategy_and_mode_are_edited(canary=False, gateway=True, quiet=True, steps=6)",
        "state.an_autoscaler_scales(quiet=False, replicas=20)",
        "state.nothing_goes_wrong_for_a_while(rounds=6)",
        "state.pods_or_storage_are_edited(edit=('restartedAt', 'b'), mirror=False, quiet=True, storage='elsewhere')",
        "state.the_rollout_is_edited(edit=('surgeTimeout', '0s'), quiet=False)",
        "state.a_canary_goes_on(number=2, rounds=6, seconds=601)",
        "state.a_version_is_removed(number=2, quiet=False)",
        "state.gpus_or_quota_are_others(gpus=2, quiet=True, quota=None)",
        "state.a_canary_goes_on(number=1, rounds=6, seconds=130)",
    ),
    "a version is edited back to a revision that failed": (
        "state.a_resource_is_made(several=False, replicas=2, steps=5, canary=True, rest=False, gateway=False)",
        "state.a_canary_goes_on(number=2, rounds=5, seconds=601)",
        "state.a_version_is_added(alone=True, model='helmet', number=1, quiet=True)",
        "state.a_version_is_to_be_built_anew(change='rebuild', number=2, quiet=False, value='b')",
        "state.the_operator_ends_in_the_middle_of_a_pass(writes=5)",
        "state.time_passes(seconds=1900, work=True)",
        "state.pods_or_storage_are_edited(edit=('restartedAt', 'a'), mirror=False, quiet=True, storage='elsewhere')",
        "state.all_comes_to_rest(minutes=11)",
        "state.pods_or_storage_are_edited(edit=('triton', {}), mirror=False, quiet=False, storage='yolo')",
    ),
    "the status is lost while the stable version is not declared": (
        "state.strategy_and_mode_are_edited(canary=False, gateway=False, quiet=True, steps=0)",
        "state.the_rollout_is_edited(edit=('paused', True), quiet=False)",
        "state.a_canary_goes_on(number=3, rounds=5, seconds=130)",
        "state.the_status_is_gone(quiet=True)",
        "state.a_pod_meets_its_fate(fate='evict', index=0, quiet=False)",
        "state.strategy_and_mode_are_edited(canary=True, gateway=True, quiet=True, steps=6)",
        "state.a_version_is_added(alone=True, model='other', number=2, quiet=True)",
        "state.all_comes_to_rest(minutes=0)",
        "state.the_status_is_gone(quiet=False)",
    ),
    "answers are found wrong after the record of right ones was lost": (
        "state.a_resource_is_made(gateway=False, rest=True, replicas=9, canary=False, several=True, steps=2)",
        "state.a_job_ends(how='deleted', index=7, quiet=False)",
        "state.the_status_is_gone(quiet=False)",
        "state.a_job_ends(how='permanent', index=7, quiet=False)",
        "state.strategy_and_mode_are_edited(canary=True, gateway=True, quiet=False, steps=0)",
        "state.a_pod_meets_its_fate(fate='crash', index=2, quiet=False)",
        "state.a_job_ends(how='transient', index=5, quiet=False)",
        "state.a_canary_goes_on(number=3, rounds=4, seconds=130)",
    ),
    "weights become a canary while both versions have half of the pods": (
        "state.a_resource_is_made(steps=6, rest=True, replicas=2, several=True, gateway=True, canary=False)",
        "state.an_autoscaler_scales(quiet=False, replicas=10)",
        "state.controllers_go_on(quiet=False)",
        "state.a_canary_goes_on(number=1, rounds=1, seconds=0)",
    ),
    "an incompatibility ends with the version that it was with": (
        "state.a_resource_is_made(gateway=True, replicas=1, several=True, rest=True, steps=6, canary=False)",
        "state.a_version_is_added(alone=True, model='other', number=2, quiet=True)",
        "state.nothing_goes_wrong_for_a_while(rounds=4)",
        "state.a_version_is_added(alone=False, model='other', number=3, quiet=False)",
        "state.a_deployment_is_deleted_by_hand(number=1, quiet=False)",
        "state.time_passes_and_nothing_goes_wrong(rounds=1, seconds=130)",
        "state.time_passes_and_nothing_goes_wrong(rounds=2, seconds=30)",
        "state.time_passes(seconds=1900, work=True)",
    ),
    "versions that were allowed to be unlike are edited, and are not allowed to any more": (
        "state.a_version_is_added(alone=True, model='other', number=1, quiet=False)",
        "state.a_version_is_added(alone=False, model='helmet', number=3, quiet=False)",
        "state.pods_or_storage_are_edited(edit=('traffic', {'allowIncompatible': True}), mirror=True, quiet=False, storage='elsewhere')",
        "state.a_version_is_added(alone=False, model='helmet', number=2, quiet=False)",
        "state.all_comes_to_rest(minutes=0)",
        "state.pods_or_storage_are_edited(edit=('traffic', {}), mirror=False, quiet=False, storage='yolo')",
    ),
    "what serves is found wrong, and is to share with a version that is being built": (
        "state.nothing_goes_wrong_for_a_while(rounds=4)",
        "state.the_rollout_is_edited(edit=('verify', {'minIoU': 0.5}), quiet=False)",
        "state.the_status_is_gone(quiet=True)",
        "state.weights_are_edited(quiet=False, weights=(0, 50, 10))",
        "state.a_job_ends(how='permanent', index=1, quiet=False)",
        "state.a_version_is_added(alone=True, model='helmet', number=3, quiet=False)",
        "state.a_version_is_added(alone=False, model='helmet', number=1, quiet=False)",
    ),
    "pods that are ready are on their way out": (
        "state.a_resource_is_made(steps=3, gateway=True, replicas=4, several=True, rest=True, canary=False)",
        "state.a_canary_goes_on(number=3, rounds=6, seconds=0)",
        "state.strategy_and_mode_are_edited(canary=True, gateway=False, quiet=False, steps=2)",
        "state.pods_or_storage_are_edited(edit=('restartedAt', 'b'), mirror=True, quiet=False, storage='elsewhere')",
        "state.strategy_and_mode_are_edited(canary=False, gateway=True, quiet=True, steps=2)",
        "state.a_pod_meets_its_fate(fate='fall_silent', index=7, quiet=False)",
    ),
    "a GPU comes late, and the pod that is ready is an old one": (
        "state.a_resource_is_made(several=True, gateway=True, replicas=2, canary=True, rest=True, steps=1)",
        "state.gpus_or_quota_are_others(gpus=1, quiet=True, quota=None)",
        "state.a_version_is_to_be_built_anew(change='rebuild', number=2, quiet=False, value='other')",
        "state.a_canary_goes_on(number=2, rounds=4, seconds=130)",
        "state.time_passes(seconds=1900, work=True)",
        "state.gpus_or_quota_are_others(gpus=None, quiet=False, quota=None)",
    ),
    "a failed canary is no longer declared, and its pods are still there": (
        "state.a_resource_is_made(rest=True, replicas=10, canary=False, steps=2, gateway=True, several=False)",
        "state.a_version_is_added(alone=True, model='helmet', number=3, quiet=True)",
        "state.the_status_is_gone(quiet=False)",
        "state.a_canary_goes_on(number=2, rounds=2, seconds=601)",
        "state.a_pod_meets_its_fate(fate='evict', index=2, quiet=False)",
        "state.time_passes_and_nothing_goes_wrong(rounds=3, seconds=6)",
        "state.time_passes_and_nothing_goes_wrong(rounds=1, seconds=601)",
        "state.time_passes(seconds=1900, work=True)",
        "state.a_version_is_removed(number=3, quiet=False)",
    ),
    "the version that is left has failed, and the stable one's Deployment is deleted": (
        "state.a_resource_is_made(several=True, steps=6, rest=True, replicas=9, canary=True, gateway=True)",
        "state.a_canary_goes_on(number=3, rounds=6, seconds=130)",
        "state.a_version_is_added(alone=True, model='helmet', number=3, quiet=False)",
        "state.all_pods_of_a_version_crash(number=3, quiet=False)",
        "state.time_passes(seconds=1900, work=True)",
        "state.a_deployment_is_deleted_by_hand(number=1, quiet=False)",
        "state.a_canary_goes_on(number=3, rounds=5, seconds=130)",
    ),
    "the steps are taken away and put back while the canary holds its share": (
        "state.a_resource_is_made(several=False, steps=3, gateway=False, canary=True, replicas=20, rest=True)",
        "state.a_version_is_added(alone=False, model='helmet', number=3, quiet=False)",
        "state.time_passes_and_nothing_goes_wrong(rounds=3, seconds=660)",
        "state.a_canary_goes_on(number=1, rounds=1, seconds=601)",
        "state.strategy_and_mode_are_edited(canary=True, gateway=True, quiet=True, steps=0)",
        "state.time_passes(seconds=660, work=True)",
        "state.strategy_and_mode_are_edited(canary=True, gateway=True, quiet=True, steps=3)",
        "state.nothing_goes_wrong_for_a_while(rounds=5)",
    ),
}
"""Steps after which the search has found something broken, of the product or of what it asks; mended since."""


def test_the_version_that_is_left_and_has_failed_serves_once_it_is_promoted() -> None:
    machine = Search()
    for line in FOUND["the version that is left has failed, and the stable one's Deployment is deleted"]:
        exec(line, {"state": machine})
    assert machine.routed() == {}
    found = machine.state_of_rollout()
    assert (found.phase, found.reason, found.stable) == ("Degraded", "ProgressDeadlineExceeded", 3)
    assert "set spec.rollout.promote to 3, or change spec.rollout.retry" in found.message
    edit(machine, rollout=machine.wish.rollout | {"promote": 3})
    machine.calm(12)
    assert machine.routed() == {3: 100}
    assert machine.state_of_rollout().phase == "Healthy"


@pytest.mark.parametrize("steps", FOUND.values(), ids=FOUND)
def test_what_was_found_is_mended(steps: tuple[str, ...]) -> None:
    assert replayed(Search, steps) is None


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__.replace("_", " "))
def test_what_is_ready_has_the_traffic(situation: Callable[[], None]) -> None:
    situation()
