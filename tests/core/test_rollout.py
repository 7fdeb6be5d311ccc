"""The canary's state: every state against every event, and what holds whatever happens."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gen
from yolo_operator.core import api, clock
from yolo_operator.core.contract import Comparison
from yolo_operator.core.pods import Problem
from yolo_operator.core.rollout import canary
from yolo_operator.core.rollout.canary import Facts

STEPS = [{"weight": 10, "duration": "2m"}, {"weight": 50, "duration": "5m"}]
T0, MINUTE = gen.T0, timedelta(minutes=1)
BOTH = {1: "rev-one", 2: "rev-two"}
SERVING = Facts(revisions=BOTH, requested={1: 9}, may_start=True)
SHARED = replace(SERVING, requested={1: 9, 2: 1}, has_share=True)


def wanted(**more: Any) -> api.Rollout:
    return api.Rollout.model_validate({"strategy": "Canary", "steps": STEPS, "analysis": {"enabled": False}} | more)


def compared(verdict: str, message: str = "") -> Comparison:
    return Comparison.model_validate({"verdict": verdict, "message": message})


WRONG = Problem("WrongAnswers", "the answers differ", permanent=True)
NO_GPU = Problem("InsufficientGPU", "no node has enough nvidia.com/gpu free")


def start(spec: api.Rollout | None = None) -> api.RolloutStatus:
    """The canary's first step, asked for and not reached."""
    spec = spec or wanted()
    state = None
    for _ in range(3):
        state = canary.advance(state, spec, SERVING, T0)
    assert state is not None
    return state


def reached_state(name: str) -> api.RolloutStatus:
    """The states the table begins from, reached by events as in life."""
    state = start()
    match name:
        case "starting":
            return state
        case "step 1":
            return canary.advance(state, wanted(), SHARED, T0)
        case "step 2 asked":
            return canary.advance(reached_state("step 1"), wanted(), SHARED, T0 + 2 * MINUTE)
        case "step 2":
            return canary.advance(reached_state("step 2 asked"), wanted(), SHARED, T0 + 2 * MINUTE)
        case "last asked":
            return canary.advance(reached_state("step 2"), wanted(), SHARED, T0 + 7 * MINUTE)
        case "paused":
            return canary.advance(reached_state("step 1"), wanted(paused=True), SHARED, T0)
        case "aborted":
            return canary.advance(reached_state("step 1"), wanted(abort=2), SHARED, T0)
        case "failed":
            spec = wanted(analysis={"enabled": True})
            return canary.advance(reached_state("step 1"), spec, replace(SHARED, comparison=compared("Fail", "errors 5 %")), T0)
        case "late":
            return canary.advance(state, wanted(), SERVING, T0 + 31 * MINUTE)
        case "done":
            return canary.advance(reached_state("last asked"), wanted(), SHARED, T0 + 7 * MINUTE)
    raise AssertionError(name)


LATER = T0 + 20 * MINUTE
EVENTS: dict[str, tuple[api.Rollout, Facts]] = {
    "nothing": (wanted(), SERVING),
    "has its share": (wanted(), SHARED),
    "wrong answers": (wanted(), replace(SERVING, problem=WRONG)),
    "no GPU": (wanted(), replace(SERVING, problem=NO_GPU)),
    "paused": (wanted(paused=True), SHARED),
    "abort": (wanted(abort=2), SHARED),
    "abort of another": (wanted(abort=7), SHARED),
    "promote": (wanted(promote=2), SHARED),
    "retry": (wanted(retry="again"), SHARED),
    "new revision": (wanted(), replace(SHARED, revisions={1: "rev-one", 2: "rev-new"})),
    "canary removed": (wanted(), replace(SHARED, revisions={1: "rev-one"})),
    "stable removed": (wanted(), replace(SHARED, revisions={2: "rev-two"})),
    "third version": (wanted(), replace(SHARED, revisions=BOTH | {3: "rev-three"})),
    "steps raised": (wanted(steps=[{"weight": 30, "duration": "1m"}]), SHARED),
    "analysis fails": (wanted(analysis={"enabled": True}), replace(SHARED, comparison=compared("Fail", "errors 5 %"))),
    "analysis inconclusive": (wanted(analysis={"enabled": True}), replace(SHARED, comparison=compared("Inconclusive", "2 of 50 requests"))),
}

# State, then per event: phase, reason, step, weight, stable/canary.
TABLE: dict[str, dict[str, str]] = {
    "starting": {
        "nothing": "Progressing CanaryStarting 1 10 1/2",
        "has its share": "Progressing CanaryStep 1 10 1/2",
        "wrong answers": "Degraded WrongAnswers 1 0 1/2",
        "no GPU": "Progressing InsufficientGPU 1 10 1/2",
        "paused": "Paused RolloutPaused 1 10 1/2",
        "abort": "Degraded RolloutAborted 1 0 1/2",
        "abort of another": "Progressing CanaryStep 1 10 1/2",
        "promote": "Progressing CanaryStarting 3 100 1/2",
        "retry": "Progressing CanaryStarting 1 10 1/2",
        "new revision": "Progressing CanaryStarting 1 10 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
        "stable removed": "Progressing CanaryStep 1 10 1/2",
        "third version": "Progressing CanaryStarting 1 10 1/3",
        "steps raised": "Progressing CanaryStarting 1 30 1/2",
        "analysis fails": "Degraded AnalysisFailed 1 0 1/2",
        "analysis inconclusive": "Paused InconclusiveAnalysis 1 10 1/2",
    },
    "step 1": {
        "nothing": "Progressing CanaryStarting 1 10 1/2",
        "has its share": "Progressing CanaryStep 2 50 1/2",
        "wrong answers": "Degraded WrongAnswers 1 0 1/2",
        "no GPU": "Progressing InsufficientGPU 1 10 1/2",
        "paused": "Paused RolloutPaused 1 10 1/2",
        "abort": "Degraded RolloutAborted 1 0 1/2",
        "abort of another": "Progressing CanaryStep 2 50 1/2",
        "promote": "Progressing CanaryStarting 3 100 1/2",
        "retry": "Progressing CanaryStarting 1 10 1/2",
        "new revision": "Progressing CanaryStarting 1 10 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
        "stable removed": "Progressing CanaryStep 2 50 1/2",
        "third version": "Progressing CanaryStarting 1 10 1/3",
        "steps raised": "Progressing CanaryStarting 1 30 1/2",
        "analysis fails": "Degraded AnalysisFailed 1 0 1/2",
        "analysis inconclusive": "Paused InconclusiveAnalysis 1 10 1/2",
    },
    "step 2": {
        "nothing": "Progressing CanaryStarting 2 50 1/2",
        "has its share": "Progressing CanaryStep 3 100 1/2",
        "wrong answers": "Degraded WrongAnswers 2 0 1/2",
        "paused": "Paused RolloutPaused 2 50 1/2",
        "abort": "Degraded RolloutAborted 2 0 1/2",
        "promote": "Progressing CanaryStarting 3 100 1/2",
        "retry": "Progressing CanaryStarting 1 10 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
        "stable removed": "Progressing CanaryStep 3 100 1/2",
        "third version": "Progressing CanaryStarting 1 10 1/3",
        "steps raised": "Progressing CanaryStarting 2 100 1/2",
        "analysis fails": "Degraded AnalysisFailed 2 0 1/2",
    },
    "last asked": {
        "nothing": "Progressing CanaryStarting 3 100 1/2",
        "has its share": "Healthy RolloutCompleted 0 0 2/0",
        "abort": "Degraded RolloutAborted 3 0 1/2",
        "paused": "Paused RolloutPaused 3 100 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
        "third version": "Progressing CanaryStarting 1 10 1/3",
    },
    "paused": {
        "has its share": "Progressing CanaryStep 2 50 1/2",
        "paused": "Paused RolloutPaused 1 10 1/2",
        "promote": "Progressing CanaryStarting 3 100 1/2",
        "abort": "Degraded RolloutAborted 1 0 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
    },
    "aborted": {
        "has its share": "Progressing CanaryStarting 1 10 1/2",
        "abort": "Degraded RolloutAborted 1 0 1/2",
        "retry": "Progressing CanaryStarting 1 10 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
        "third version": "Progressing CanaryStarting 1 10 1/3",
    },
    "failed": {
        "nothing": "Degraded AnalysisFailed 1 0 1/2",
        "has its share": "Degraded AnalysisFailed 1 0 1/2",
        "promote": "Progressing CanaryStarting 3 100 1/2",
        "steps raised": "Degraded AnalysisFailed 1 0 1/2",
        "retry": "Progressing CanaryStarting 1 10 1/2",
        "new revision": "Progressing CanaryStarting 1 10 1/2",
        "canary removed": "Healthy RolloutCompleted 0 0 1/0",
        "third version": "Progressing CanaryStarting 1 10 1/3",
    },
    "late": {
        "has its share": "Degraded ProgressDeadlineExceeded 1 0 1/2",
        "promote": "Progressing CanaryStarting 3 100 1/2",
        "retry": "Progressing CanaryStarting 1 10 1/2",
    },
    "done": {
        "nothing": "Healthy RolloutCompleted 0 0 2/0",
        "abort": "Healthy RolloutCompleted 0 0 2/0",
        "retry": "Healthy RolloutCompleted 0 0 2/0",
        "stable removed": "Healthy RolloutCompleted 0 0 2/0",
        # The version that was stable before is the newest again: it takes over as any other does.
        "canary removed": "Progressing CanaryStarting 1 10 2/1",
        "third version": "Progressing CanaryStarting 1 10 2/3",
    },
}


FAILURES = {
    name: api.FailedRollout(version=2, revision="rev-two", time="", reason=reason, message="it failed")
    for name, reason in {"failed": "AnalysisFailed", "late": "ProgressDeadlineExceeded"}.items()
}
"""What is on record of a canary, until the user asks for it anew."""


def words(state: api.RolloutStatus) -> str:
    return f"{state.phase} {state.reason} {state.step} {state.weight} {state.stable}/{state.canary}"


@pytest.mark.parametrize(("before", "event", "after"), [(a, b, c) for a, row in TABLE.items() for b, c in row.items()])
def test_every_state_meets_every_event(before: str, event: str, after: str) -> None:
    spec, facts = EVENTS[event]
    if before in FAILURES and event in {"nothing", "has its share", "steps raised"}:
        facts = replace(facts, failure=FAILURES[before])
    assert words(canary.advance(reached_state(before), spec, facts, LATER)) == after


@pytest.mark.parametrize("state", [None, api.RolloutStatus(phase="Degraded", stable=1, canary=2, revision="rev-two", step=1)])
def test_a_version_that_failed_and_is_left_alone_is_not_called_healthy(state: api.RolloutStatus | None) -> None:
    facts = Facts(revisions={2: "rev-two"}, requested={2: 1}, failure=FAILURES["failed"])
    found = canary.advance(state, wanted(), facts, T0)
    assert (found.phase, found.reason, found.stable, found.canary) == ("Degraded", FAILURES["failed"].reason, 2, 0)
    assert canary.advance(found, wanted(), facts, LATER) == found
    assert canary.advance(found, wanted(), replace(facts, failure=None), LATER).phase == "Healthy"


def test_the_first_look_only_notes_what_is_stable() -> None:
    assert words(canary.advance(None, wanted(), SERVING, T0)) == "Healthy RolloutCompleted 0 0 1/0"


def test_pods_of_the_version_before_are_kept_for_the_delay() -> None:
    spec = wanted(scaleDownDelay="10m")
    done = reached_state("done")
    assert (done.previous, canary.deadline(done, spec)) == (1, T0 + 17 * MINUTE)
    assert canary.advance(done, spec, SHARED, T0 + 16 * MINUTE).previous == 1
    assert canary.advance(done, spec, SHARED, T0 + 17 * MINUTE).previous == 0


def test_it_looks_again_when_a_step_ends_and_when_a_canary_is_late() -> None:
    assert canary.deadline(reached_state("step 1"), wanted()) == T0 + 2 * MINUTE
    assert canary.deadline(reached_state("starting"), wanted()) == T0 + 30 * MINUTE
    waiting = canary.advance(start(), wanted(), replace(SERVING, problem=NO_GPU), LATER)
    assert canary.deadline(waiting, wanted()) is None, "a GPU may be waited for without end"


@pytest.mark.parametrize(
    ("steps", "goes_on_at"),
    [
        ([{"weight": 5}, {"weight": 50}, {"weight": 80}], (2, 50)),
        ([{"weight": 60}, {"weight": 70}], (1, 60)),
        ([{"weight": 20}], (2, 100)),
        ([], (1, 100)),
    ],
)
def test_steps_edited_in_the_middle_never_take_share_away(steps: list[dict[str, Any]], goes_on_at: tuple[int, int]) -> None:
    state = canary.advance(reached_state("step 2"), wanted(steps=steps), SERVING, T0 + 2 * MINUTE)
    assert (state.step, state.weight) == goes_on_at


def test_the_stable_version_keeps_its_part_while_its_only_pod_restarts() -> None:
    facts = Facts(revisions={2: "rev-two"}, requested={1: 1, 2: 1}, may_start=True)
    assert canary.advance(reached_state("failed"), wanted(), facts, LATER).stable == 1
    assert canary.advance(reached_state("step 1"), wanted(), facts, LATER).stable == 1
    gone = replace(facts, requested={2: 1})
    assert canary.advance(reached_state("step 1"), wanted(), gone, LATER).stable == 2


def test_a_retry_that_is_taken_back_asks_for_nothing() -> None:
    spec = wanted(retry="a", analysis={"enabled": True})
    state = canary.advance(reached_state("failed"), spec, SHARED, LATER)
    assert (state.phase, state.retry) == ("Progressing", "a")
    for _ in range(3):
        state = canary.advance(state, spec, replace(SHARED, comparison=compared("Fail", "errors")), LATER)
    assert state.phase == "Degraded"
    facts = replace(SHARED, failure=FAILURES["failed"].model_copy(update={"retry": "a"}))
    assert canary.advance(state, wanted(), facts, LATER).phase == "Degraded"


def test_a_verdict_counts_for_the_weight_it_was_found_at() -> None:
    spec = wanted(analysis={"enabled": True})
    state = canary.advance(reached_state("step 1"), spec, replace(SHARED, comparison=compared("Pass")), T0)
    assert [entry.step for entry in state.analyses] == [1]
    state = canary.advance(state, wanted(steps=[{"weight": 30}], analysis={"enabled": True}), SHARED, T0)
    assert (state.step, state.weight, state.analyses) == (1, 30, [])


def test_the_deadline_does_not_run_while_a_gpu_is_waited_for() -> None:
    state = canary.advance(start(), wanted(), replace(SERVING, problem=NO_GPU), T0 + 90 * MINUTE)
    assert state.reason == "InsufficientGPU"
    state = canary.advance(state, wanted(), SERVING, T0 + 91 * MINUTE)
    assert (state.phase, state.reason) == ("Progressing", "CanaryStarting")
    assert canary.deadline(state, wanted()) == T0 + 121 * MINUTE


VERDICTS = st.sampled_from([None, "Pass", "Fail", "Inconclusive"])
SPECS = st.builds(
    wanted,
    steps=st.lists(st.sampled_from([1, 5, 10, 50, 100]), max_size=3).map(lambda found: [{"weight": weight} for weight in sorted(found)]),
    paused=st.booleans(),
    promote=st.sampled_from([None, 1, 2, 3]),
    abort=st.sampled_from([None, None, 1, 2, 3]),
    retry=st.sampled_from([None, "a"]),
    analysis=st.sampled_from([{"enabled": True}, {"enabled": False}]),
    autoPromote=st.booleans(),
)
FACTS = st.builds(
    lambda revisions, ready, built, shared, problem, verdict: Facts(
        revisions=revisions,
        requested=dict.fromkeys(ready, 1),
        may_start=built,
        has_share=built and shared,
        problem=problem,
        comparison=compared(verdict) if verdict else None,
    ),
    st.dictionaries(st.sampled_from([1, 2, 3]), st.sampled_from(["a", "b"]), min_size=1),
    st.sets(st.sampled_from([1, 2, 3])),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, WRONG, NO_GPU]),
    VERDICTS,
)


@given(st.lists(st.tuples(SPECS, FACTS, st.integers(0, 3600)), max_size=12))
@settings(max_examples=500, deadline=None)
def test_whatever_happens(events: list[tuple[api.Rollout, Facts, int]]) -> None:
    state, now = None, T0
    for spec, facts, seconds in events:
        now += timedelta(seconds=seconds)
        state = canary.advance(state, spec, facts, now)
        assert 0 <= state.weight <= 100
        assert not state.reached or facts.has_share or state.phase == canary.DEGRADED, "time counts while the share is held"
        assert state.canary != state.stable
        assert state.phase != canary.DEGRADED or state.weight == 0
        assert state.stable in facts.revisions or state.stable in facts.requested
        assert api.RolloutStatus.model_validate(state.model_dump()) == state
    # Every path ends, once nobody holds it.
    plain = wanted(retry=state.retry if state is not None else None)
    for _ in range(12):
        now += timedelta(minutes=6)
        newest = max(BOTH)
        state = canary.advance(state, plain, replace(SHARED, revisions=BOTH), now)
    assert state is not None
    assert state.phase == canary.DEGRADED or (state.phase, state.stable) == (canary.HEALTHY, newest)


@given(SPECS, FACTS, st.sampled_from(["starting", "step 1", "step 2", "paused", "aborted", "failed", "late", "done"]))
@settings(max_examples=300, deadline=None)
def test_it_comes_to_rest_when_nothing_changes(spec: api.Rollout, facts: Facts, before: str) -> None:
    state = reached_state(before)
    seen = []
    for _ in range(12):
        state = canary.advance(state, spec, facts, LATER)
        seen.append(state)
    assert seen[-1] == seen[-2], "the same cluster twice writes nothing"


def test_time_counts_only_while_the_share_is_held() -> None:
    state = canary.advance(reached_state("step 1"), wanted(), SERVING, T0 + MINUTE)
    assert (state.reached, state.held_seconds, state.lost) == ("", 60, clock.text(T0 + MINUTE))
    assert words(canary.advance(state, wanted(), SERVING, T0 + 20 * MINUTE)) == "Progressing CanaryStarting 1 10 1/2"
    state = canary.advance(state, wanted(), SHARED, T0 + 20 * MINUTE)
    assert canary.deadline(state, wanted()) == T0 + 21 * MINUTE, "a minute of the two is left"
    assert state.step == 1
    assert canary.advance(state, wanted(), SHARED, T0 + 21 * MINUTE).step == 2


def test_a_share_that_is_lost_and_not_got_back_is_late_from_then() -> None:
    state = canary.advance(reached_state("step 2"), wanted(), SERVING, T0 + 3 * MINUTE)
    assert canary.deadline(state, wanted()) == T0 + 33 * MINUTE
    assert words(canary.advance(state, wanted(), SERVING, T0 + 33 * MINUTE)) == "Degraded ProgressDeadlineExceeded 2 0 1/2"


def test_a_canary_without_its_share_is_not_promoted() -> None:
    state = canary.advance(reached_state("last asked"), wanted(paused=True), SHARED, T0 + 8 * MINUTE)
    assert (state.phase, bool(state.reached)) == ("Paused", True)
    assert words(canary.advance(state, wanted(), SERVING, T0 + 9 * MINUTE)) == "Progressing CanaryStarting 3 100 1/2"


def test_a_verdict_counts_although_the_share_was_lost_meanwhile() -> None:
    spec = wanted(analysis={"enabled": True})
    state = canary.advance(reached_state("step 1"), spec, SERVING, T0 + MINUTE)
    assert words(canary.advance(state, spec, replace(SERVING, comparison=compared("Fail", "errors")), T0 + MINUTE)) == "Degraded AnalysisFailed 1 0 1/2"


@pytest.mark.parametrize(
    ("requested", "selected", "stable"),
    [
        ({1: 9, 2: 1}, 0, 1),
        ({1: 1, 2: 9}, 0, 2),
        ({1: 9, 2: 9}, 0, 1),
        ({1: 2, 2: 2}, 2, 2),
        ({1: 0, 2: 9}, 0, 2),
        ({}, 0, 1),
    ],
)
def test_where_no_stable_version_is_on_record_it_is_the_one_that_serves_most(requested: dict[int, int], selected: int, stable: int) -> None:
    facts = Facts(revisions=BOTH, requested=requested, selected=selected)
    assert canary.advance(None, wanted(), facts, T0).stable == stable
