"""The canary's state: where it was, what is observed and what is wanted in; where it is out. No I/O and no clock.

    none ─► Progressing: step 1 ─► … ─► step n ─► all traffic ─► Healthy (the canary is the stable version)
               │  ▲                                   │
      paused ─►│  │◄─ resumed                          │ wrong weights, no progress, analysis failed, aborted
               ▼  │                                   ▼
             Paused                          Degraded (the stable version has all) ─► another revision or retry: step 1

Everything it remembers is in `api.RolloutStatus`, in the resource's status. Whatever happens in between, the answer follows from
that, the spec and what is observed; the words are those of Argo Rollouts.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from yolo_operator.core import api, clock
from yolo_operator.core.contract import Comparison
from yolo_operator.core.pods import Problem

HEALTHY: Final = "Healthy"
PROGRESSING: Final = "Progressing"
PAUSED: Final = "Paused"
DEGRADED: Final = "Degraded"
WAITS = frozenset({"InsufficientGPU", "WeightNotReachable", "ScaledToZero"})
"""Reasons that cost nothing to wait for: no deadline ends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the state follows from besides the spec and where it was."""

    revisions: Mapping[int, str]
    """Declared versions and the revisions wanted of them."""
    ready: Set[int]
    """Versions, declared or not, that have pods that take requests."""
    alive: Set[int] = frozenset()
    """Versions, declared or not, that are to have pods: they may be ready again in a moment."""
    built: bool = False
    """The canary's revision is published."""
    has_share: bool = False
    """The canary is verified and has the pods that its step asks for."""
    problem: Problem | None = None
    """What keeps the canary from getting on."""
    comparison: Comparison | None = None
    """What the analysis of this very step came to, once it has ended."""


def advance(state: api.RolloutStatus | None, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """Where the canary is after this pass."""
    stable, canary = roles(state, facts)
    # The first look only notes which version is stable.
    if state is None or canary == 0:
        return at_rest(state or api.RolloutStatus(), rollout, stable, now)
    if begins_anew(state, rollout, facts, stable, canary):
        state = api.RolloutStatus(stable=stable, canary=canary, revision=facts.revisions[canary], retry=rollout.retry or "", step=1)
    state = state.model_copy(update={"stable": stable, "previous": 0, "promoted": ""})
    if rollout.abort == canary:
        return degraded(state, rollout, "RolloutAborted", f"spec.rollout.abort is {canary}: remove it to begin again")
    if state.phase == DEGRADED and not heals(state):
        return state
    if facts.problem is not None and facts.problem.permanent:
        return degraded(state, rollout, facts.problem.reason, facts.problem.message)
    return at_its_step_now(at_its_step(state, rollout), rollout, facts, now)


def roles(state: api.RolloutStatus | None, facts: Facts) -> tuple[int, int]:
    """The stable version and the one that is to take over from it; 0 for none.

    The stable one may be gone from the spec: replaced by another in one edit, it serves until that one has passed its steps.
    """
    declared = facts.revisions.keys()
    recorded = state.stable if state is not None else 0
    begun = state is not None and bool(state.started)
    # Once its successor has begun, a stable version whose only pod restarts is still what an abort goes back to.
    keeps = recorded in declared or recorded in facts.ready or (begun and recorded in facts.alive)
    # Without a record (the first look, a status written anew) what serves now is stable, the lowest number if several do.
    stable = recorded if keeps else min(facts.ready or declared)
    newest = max(declared)
    return stable, 0 if newest == stable else newest


def at_rest(state: api.RolloutStatus, rollout: api.Rollout, stable: int, now: datetime) -> api.RolloutStatus:
    """One version has all traffic and none is to take over from it."""
    keep = state.stable == stable and state.previous and now < clock.parse(state.promoted) + rollout.scale_down_delay
    return api.RolloutStatus(
        phase=HEALTHY,
        reason="RolloutCompleted",
        message=f"Version {stable} has all traffic",
        stable=stable,
        previous=state.previous if keep else 0,
        promoted=state.promoted if state.stable == stable else "",
        analyses=state.analyses if state.stable == stable and not state.canary else [],
    )


def begins_anew(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, stable: int, canary: int) -> bool:
    """Whether another attempt begins: another version or revision, another retry, an abort that is taken back."""
    same = (state.stable, state.canary, state.revision) == (stable, canary, facts.revisions[canary])
    # A retry that is taken back, as by a tool that restores what is in git, asks for nothing.
    again = rollout.retry is not None and rollout.retry != state.retry
    return not same or again or (state.reason == "RolloutAborted" and rollout.abort != canary)


def heals(state: api.RolloutStatus) -> bool:
    """Whether what degraded the canary may have passed by itself: it never had traffic then, and what failed is told again if it has not."""
    return not state.reached and state.step == 1 and state.reason != "ProgressDeadlineExceeded"


def at_its_step(state: api.RolloutStatus, rollout: api.Rollout) -> api.RolloutStatus:
    """The state where the steps are edited in its middle: on at the first step that has its weight or more, never back."""
    wanted = weight_of(rollout, state.step)
    if rollout.promote == state.canary:
        step = len(rollout.steps) + 1
    elif state.weight in (0, wanted) and state.step <= len(rollout.steps) + 1:
        step = state.step
    else:
        step = next((i for i, each in enumerate(rollout.steps, 1) if each.weight >= state.weight), len(rollout.steps) + 1)
    moved = weight_of(rollout, step) != state.weight
    return state.model_copy(
        update={
            "step": step,
            "steps": len(rollout.steps),
            "weight": weight_of(rollout, step),
            "analyses": [entry for entry in state.analyses if entry.step < step] if moved else state.analyses,
            "started": "" if moved else state.started,
            "reached": "" if moved else state.reached,
        }
    )


def at_its_step_now(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """One pass at a step: wait for the share, for the time or the analysis; then the next step, or the end."""
    # A share is measured by what was asked for a pass ago: where the step has only just been taken, it says nothing yet.
    if state.started and not state.reached and facts.has_share:
        state = state.model_copy(update={"reached": clock.text(now), "routed": state.weight})
    if not state.started and facts.built:
        state = state.model_copy(update={"started": clock.text(now)})
    if not state.reached:
        return waiting(state, rollout, facts, now)
    if state.step > state.steps and not rollout.paused:
        return promoted(state, now)
    if facts.comparison is not None:
        entry = api.StepAnalysis(**facts.comparison.model_dump(), step=state.step, weight=state.weight, time=clock.text(now))
        state = state.model_copy(update={"analyses": [*(old for old in state.analyses if old.step != state.step), entry], "analysis_failure": None})
    return held(state, rollout, facts, now) or onward(state, rollout, now)


def held(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus | None:
    """What keeps a canary that has its share at this step, or takes the share away; None where nothing does."""
    found = analysis_of(state)
    share = f"{where(state)} has {state.weight} % of the traffic"
    if found is not None and found.verdict == "Fail":
        return degraded(state, rollout, "AnalysisFailed", f"{where(state)}, with {state.weight} % of the traffic: {found.message}")
    if rollout.paused:
        return at(state, PAUSED, "RolloutPaused", f"{share} until spec.rollout.paused is false")
    if found is not None and found.verdict == "Inconclusive":
        remedy = f"set spec.rollout.promote or abort to {state.canary}, or change spec.rollout.retry"
        return at(state, PAUSED, "InconclusiveAnalysis", f"{share}: {found.message}; {remedy}")
    if rollout.analysis.enabled and found is None:
        if facts.problem is not None:
            return at(state, PROGRESSING, facts.problem.reason, facts.problem.message)
        return at(state, PROGRESSING, "AnalysisRunning", f"{share} and is compared with version {state.stable}")
    if now < step_ends(state, rollout):
        return at(state, PROGRESSING, "CanaryStep", share)
    if state.step == state.steps and not rollout.auto_promote:
        return at(state, PAUSED, "WaitingForPromotion", f"{share} and has passed its steps: set spec.rollout.promote or abort to {state.canary}")
    return None


def onward(state: api.RolloutStatus, rollout: api.Rollout, now: datetime) -> api.RolloutStatus:
    """The next step; one with the same share has it already."""
    weight = weight_of(rollout, state.step + 1)
    reached = clock.text(now) if weight == state.weight else ""
    state = state.model_copy(update={"step": state.step + 1, "weight": weight, "started": clock.text(now), "reached": reached})
    return at(state, PROGRESSING, "CanaryStep", f"{where(state)} is given {weight} % of the traffic")


def waiting(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """The canary has not got its share yet: the reason, and an end to the wait where waiting costs something."""
    reason = facts.problem.reason if facts.problem is not None else "CanaryStarting"
    text = (
        facts.problem.message
        if facts.problem is not None
        else f"{where(state)} gets {state.weight} % of the traffic once enough pods are available and verified"
    )
    if state.reason in WAITS and reason not in WAITS and state.started:
        # The deadline is for what comes after a wait that nobody here could shorten.
        state = state.model_copy(update={"started": clock.text(now)})
    if reason not in WAITS and state.started and now >= clock.parse(state.started) + rollout.progress_deadline:
        late = f"{where(state)} has not been available and verified within spec.rollout.progressDeadline. {text}"
        return degraded(state, rollout, "ProgressDeadlineExceeded", late)
    if rollout.paused:
        return at(state, PAUSED, "RolloutPaused", f"{where(state)} waits until spec.rollout.paused is false")
    return at(state, PROGRESSING, reason, text)


def where(state: api.RolloutStatus) -> str:
    """The canary and its step, as messages begin."""
    return f"Version {state.canary} at step {state.step} of {state.steps}" if state.step <= state.steps else f"Version {state.canary} after its steps"


def analysis_of(state: api.RolloutStatus) -> api.StepAnalysis | None:
    """What the analysis of the present step came to, once it has ended."""
    return next((entry for entry in state.analyses if entry.step == state.step), None)


def step_ends(state: api.RolloutStatus, rollout: api.Rollout) -> datetime:
    """When a step that has been reached is over."""
    return clock.parse(state.reached) + duration_of(rollout, state.step)


def deadline(state: api.RolloutStatus | None, rollout: api.Rollout) -> datetime | None:
    """When to look again although nothing happens: the end of a step, of the wait for a share, of the delay before old pods go."""
    if state is None:
        return None
    if state.phase == HEALTHY:
        return clock.parse(state.promoted) + rollout.scale_down_delay if state.previous else None
    if state.phase != PROGRESSING:
        return None
    if state.reached:
        # Until the analysis has its verdict the end of its Job enqueues the resource.
        judged = not rollout.analysis.enabled or analysis_of(state) is not None
        return step_ends(state, rollout) if judged and state.step <= state.steps else None
    return clock.parse(state.started) + rollout.progress_deadline if state.started and state.reason not in WAITS else None


def weight_of(rollout: api.Rollout, step: int) -> int:
    """Percent the canary is to have at a step; after the last it has all."""
    return rollout.steps[step - 1].weight if 1 <= step <= len(rollout.steps) else 100


def duration_of(rollout: api.Rollout, step: int) -> timedelta:
    """How long a step lasts."""
    return rollout.steps[step - 1].duration if 1 <= step <= len(rollout.steps) else timedelta(0)


def promoted(state: api.RolloutStatus, now: datetime) -> api.RolloutStatus:
    """The canary is the stable version from now on."""
    return api.RolloutStatus(
        phase=HEALTHY,
        reason="RolloutCompleted",
        message=f"Version {state.canary} has all traffic",
        stable=state.canary,
        previous=state.stable,
        promoted=clock.text(now),
        analyses=state.analyses,
    )


def degraded(state: api.RolloutStatus, rollout: api.Rollout, reason: str, message: str) -> api.RolloutStatus:
    """The stable version has all traffic."""
    return at(state.model_copy(update={"weight": 0, "routed": 0, "steps": len(rollout.steps)}), DEGRADED, reason, message)


def at(state: api.RolloutStatus, phase: api.RolloutPhase, reason: str, message: str) -> api.RolloutStatus:
    """The state with another phase."""
    return state.model_copy(update={"phase": phase, "reason": reason, "message": message[:4096]})
