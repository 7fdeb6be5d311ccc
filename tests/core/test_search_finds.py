"""That the search bites: faults made on purpose, one or more for each invariant, and each is found. They are patches of a test; the product has no switch."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from search import Search, searched
from yolo_operator.core import api, pods, published
from yolo_operator.core.rollout import allocation, canary, compatibility, failures, invariants
from yolo_operator.core.rollout.facts import is_ready

plan: ModuleType = importlib.import_module("yolo_operator.core.plan")
STEPS, SEEDS = 60_000, (1, 2, 3)

Fault = tuple[ModuleType, str, Callable[..., Any]]


def shares_whatever_is_ready(yolo: Any, state: Any, facts: Any, wanted: Any, target: Any) -> dict[int, int]:
    return {number: wanted[number] for number in facts}


def all_or_nothing(yolo: Any, state: Any, facts: Any, wanted: Any, target: Any) -> dict[int, int]:
    found = {number: wanted[number] if each.ready else 0 for number, each in facts.items()}
    return found if any(found.values()) else {number: each.ready for number, each in facts.items()}


def most_pods(state: Any, facts: Any) -> tuple[int, int]:
    newest = max(facts.revisions)
    stable = canary.serves_most(facts, newest)
    return stable, 0 if newest == stable else newest


def counts_on(state: Any, *, held: bool, now: Any, _honest: Any = canary.holding) -> Any:
    return _honest(state, held=held or bool(state.reached), now=now)


def forgets_other_storages(found: Any, _honest: Any = published.recorded) -> Any:
    return _honest(found) | {"previous_storages": []}


def only_declared_versions_follow(yolo: Any, state: Any, facts: Any, _honest: Any = allocation.targets) -> dict[int, int]:
    found: dict[int, int] = _honest(yolo, state, facts)
    frozen = {number: each.requested for number, each in facts.items() if each.deployed and not each.declared}
    return {number: min(count, frozen.get(number, count)) for number, count in found.items()}


class NoGates:
    """The functions on pods, but for one."""

    def __getattr__(self, name: str) -> Any:
        return (lambda _: False) if name == "waits_at_gate" else getattr(pods, name)


FAULTS: dict[str, tuple[str, tuple[Fault, ...]]] = {
    "the route follows the shares, whatever is ready": ("what_is_ready_answers", ((allocation, "routed_now", shares_whatever_is_ready),)),
    "what failed serves until others are complete": ("what_failed_stays_out", ((allocation, "is_barred", lambda *_: False),)),
    "a version with one ready pod has its whole share": ("no_more_than_it_can_take", ((allocation, "routed_now", all_or_nothing),)),
    "stable is what has most pods": ("stable_is_stable", ((canary, "roles", most_pods),)),
    "pods go before others are there": ("nothing_that_serves_goes_first", ((allocation, "takes_over", lambda *_: True),)),
    "pods go before the Gateway took the route": ("nothing_that_serves_goes_first", ((allocation, "has_moved", lambda *_: True),)),
    "a last pod goes while the Gateway sends to it": ("nothing_that_serves_goes_first", ((allocation, "giving_up", lambda facts, freeing: set(freeing)),)),
    "what is not declared goes before others serve": ("what_is_ready_answers", ((plan, "is_serving", lambda *_: True),)),
    "failures are not remembered": ("what_failed_stays_out", ((failures, "recorded", lambda *_: []),)),
    "time counts once the share was held": ("time_counts_while_it_holds", ((canary, "holding", counts_on),)),
    "one pod is a share": (
        "time_counts_while_it_holds",
        ((allocation, "has_its_share", lambda yolo, state, facts: is_ready(facts, state.canary)),),
    ),
    "a share is never held": ("the_deadline_is_for_what_is_missing", ((allocation, "has_its_share", lambda *_: False),)),
    "what is not declared does not follow an autoscaler": ("autoscaling_reaches_what_serves", ((allocation, "targets", only_declared_versions_follow),)),
    "versions are never compared": ("what_shares_traffic_is_alike", ((compatibility, "differences", lambda *_: []),)),
    "gates of verified pods stay closed": ("a_refusal_holds_up_nothing", ((plan, "pods", NoGates()),)),
    "what is suspended keeps its pods": ("what_is_suspended_has_no_pods", ((api, "scaled_to_zero", lambda yolo: yolo),)),
    "storages of before are forgotten": ("what_was_published_is_known", ((published, "recorded", forgets_other_storages),)),
}
QUICK = frozenset({"the route follows the shares, whatever is ready", "stable is what has most pods", "versions are never compared"})
"""Those that `make test` looks for."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.matrix) for name in FAULTS])
def test_a_fault_made_on_purpose_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    invariant, faults = FAULTS[name]
    for module, function, fault in faults:
        assert hasattr(module, function)
        monkeypatch.setattr(module, function, fault)
    assert f"{invariant}: " in told(invariant)


def told(invariant: str) -> str:
    """What a search says that finds it broken; one of them alone may miss what is rare."""
    for number in SEEDS:
        try:
            searched(Search, STEPS, number=number, only=invariant)
        except AssertionError as error:
            return str(error)
    return ""


def test_there_is_a_fault_for_each_invariant() -> None:
    assert {invariant for invariant, _ in FAULTS.values()} == {each.__name__ for each in invariants.INVARIANTS}
