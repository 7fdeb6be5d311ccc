"""The canary's state: where it was, what is observed and what is wanted in; where it is out. No I/O and no clock.

    none ─► Progressing: step 1 ─► … ─► step n ─► all traffic ─► Healthy (the canary is the stable version)
               │  ▲                                   │
      paused ─►│  │◄─ resumed                          │ wrong weights, no progress, analysis failed, aborted
               ▼  │                                   ▼
             Paused                          Degraded (the stable version has all) ─► another revision or retry: step 1

Everything it remembers is in `api.RolloutStatus`, in the resource's status. Whatever happens in between, the answer follows from
that, the spec and what is observed; the words are those of Argo Rollouts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from yolo_operator.core import api, clock
from yolo_operator.core.contract import Comparison
from yolo_operator.core.pods import Problem
from yolo_operator.core.rollout.facts import ROUTE_WAITS

HEALTHY: Final = "Healthy"
PROGRESSING: Final = "Progressing"
PAUSED: Final = "Paused"
DEGRADED: Final = "Degraded"
WAITS = frozenset({"InsufficientGPU", "QuotaExceeded", "WeightNotReachable", "ScaledToZero", "Suspended"}) | ROUTE_WAITS
"""Reasons that cost nothing to wait for: no deadline ends them."""


NOT_HELD: Final = {"reached": "", "lost": "", "held_seconds": 0}
"""Fields of a state whose step has just begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the state follows from besides the spec and where it was."""

    revisions: Mapping[int, str]
    """Declared versions and the revisions wanted of them."""
    requested: Mapping[int, int]
    """Versions, declared or not, that have a Deployment, and its replicas."""
    selected: int = 0
    """The version that the resource's Service selects alone, as it does the stable one with mode Gateway; 0 for none."""
    may_start: bool = False
    """The canary's revision is published, and the stable version serves."""
    has_share: bool = False
    """The canary is verified, has the pods that its step asks for, and the Gateways have taken its weight."""
    problem: Problem | None = None
    """What keeps the canary from getting on."""
    failure: api.FailedRollout | None = None
    """What the newest version's revision has failed with before, where the user has not asked for it anew."""
    comparison: Comparison | None = None
    """What the analysis of this very step came to, once it has ended."""


def advance(state: api.RolloutStatus | None, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """Where the canary is after this pass."""
    stable, canary = roles(state, facts)
    # The first look only notes which version is stable.
    if state is None or canary == 0:
        rested = at_rest(state or api.RolloutStatus(), rollout, stable, now)
        return rested if canary or facts.failure is None else failed_alone(rested, facts.failure)
    if state.canary != canary:
        # What is observed is of the one before, if of any.
        facts = replace(facts, may_start=False, has_share=False, problem=None, comparison=None)
    if begins_anew(state, rollout, facts, stable, canary):
        state = api.RolloutStatus(stable=stable, canary=canary, revision=facts.revisions[canary], retry=rollout.retry or "", step=1)
    state = state.model_copy(update={"stable": stable, "previous": 0, "promoted": ""})
    if facts.failure is not None:
        return degraded(state, rollout, facts.failure.reason, facts.failure.message)
    if rollout.abort == canary:
        return degraded(state, rollout, "RolloutAborted", f"spec.rollout.abort is {canary}: remove it to begin again")
    if state.phase == DEGRADED and not heals(state):
        return state
    if facts.problem is not None and facts.problem.permanent:
        return degraded(state, rollout, facts.problem.reason, facts.problem.message)
    return proceed(at_its_step(state, rollout), rollout, facts, now)


def roles(state: api.RolloutStatus | None, facts: Facts) -> tuple[int, int]:
    """The stable version and the one that is to take over from it; 0 for none.

    The stable one may be gone from the spec: replaced by another in one edit, it serves until that one has passed its steps. What its pods do
    moves no roles: it is stable as long as it is declared or has a Deployment.
    """
    declared, newest = facts.revisions.keys(), max(facts.revisions)
    recorded = state.stable if state is not None else 0
    stable = recorded if recorded in declared or recorded in facts.requested else serves_most(facts, newest)
    return stable, 0 if newest == stable else newest


def serves_most(facts: Facts, newest: int) -> int:
    """The stable version where none is recorded: the one that the Service selects, or that has most pods; of several not the newest, which would be the canary."""
    if facts.selected in facts.requested:
        return facts.selected
    return min(facts.requested or facts.revisions, key=lambda number: (-facts.requested.get(number, 0), number == newest, number))


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


def failed_alone(state: api.RolloutStatus, failure: api.FailedRollout) -> api.RolloutStatus:
    """The version that is left has failed as a canary, and what had the requests is gone: nobody but the user gives them to it."""
    remedy = f"no other version is left: set spec.rollout.promote to {failure.version}, or change spec.rollout.retry, to give it the requests all the same"
    return at(state, DEGRADED, failure.reason, f"{failure.message}; {remedy}")


def begins_anew(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, stable: int, canary: int) -> bool:
    """Whether another attempt begins: another version or revision, another retry, a promotion after a failure, an abort that is taken back."""
    same = (state.stable, state.canary, state.revision) == (stable, canary, facts.revisions[canary])
    # A retry that is taken back, as by a tool that restores what is in git, asks for nothing.
    again = rollout.retry is not None and rollout.retry != state.retry
    if state.phase == DEGRADED:
        again = again or (rollout.abort != canary if state.reason == "RolloutAborted" else not heals(state) and facts.failure is None)
    return not same or again


def heals(state: api.RolloutStatus) -> bool:
    """Whether what degraded the canary may have passed by itself: it never had traffic then, and what failed is told again if it has not."""
    return not began(state) and state.step == 1 and state.reason != "ProgressDeadlineExceeded"


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
            **(NOT_HELD if moved else {}),
        }
    )


def proceed(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """One pass at a step: wait for the share, for the time or the analysis; then the next step, or the end."""
    # A share is measured by what was asked for a pass ago: where the step has only just been taken, it says nothing yet.
    state = holding(state, held=facts.has_share, now=now) if state.started else state
    if not state.started and facts.may_start:
        state = state.model_copy(update={"started": clock.text(now)})
    if facts.comparison is not None:
        entry = api.StepAnalysis(**facts.comparison.model_dump(), step=state.step, weight=state.weight, time=clock.text(now))
        state = state.model_copy(update={"analyses": [*(old for old in state.analyses if old.step != state.step), entry], "analysis_failure": None})
    found = analysis_of(state)
    if found is not None and found.verdict == "Fail":
        return degraded(state, rollout, "AnalysisFailed", f"{where(state)}, with {state.weight} % of the traffic: {found.message}")
    if not state.reached:
        return waiting(state, rollout, facts, now)
    if state.step > state.steps and not rollout.paused:
        return promoted(state, now)
    return held(state, rollout, facts, now) or onward(state, rollout, now)


def holding(state: api.RolloutStatus, *, held: bool, now: datetime) -> api.RolloutStatus:
    """The state with the time counted that the canary holds its share: none while it does not."""
    if held == bool(state.reached):
        return state
    if held:
        return state.model_copy(update={"reached": clock.text(now), "lost": ""})
    seconds = int((now - clock.parse(state.reached)).total_seconds())
    return state.model_copy(update={"reached": "", "lost": clock.text(now), "held_seconds": state.held_seconds + seconds})


def held(state: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus | None:
    """What keeps a canary that has its share at this step; None where nothing does."""
    found = analysis_of(state)
    share = f"{where(state)} has {state.weight} % of the traffic"
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
    state = state.model_copy(update={"step": state.step + 1, "weight": weight, "started": clock.text(now), **NOT_HELD, "reached": reached})
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
        state = state.model_copy(update={"lost": clock.text(now)} if began(state) else {"started": clock.text(now)})
    if reason not in WAITS and state.started and now >= late_from(state, rollout):
        late = f"{where(state)} has not been available and verified within spec.rollout.progressDeadline. {text}"
        return degraded(state, rollout, "ProgressDeadlineExceeded", late)
    if rollout.paused:
        return at(state, PAUSED, "RolloutPaused", f"{where(state)} waits until spec.rollout.paused is false")
    return at(state, PROGRESSING, reason, text)


def began(state: api.RolloutStatus) -> bool:
    """Whether the canary has held its share at this step, be it only for a moment."""
    return bool(state.reached or state.lost)


def late_from(state: api.RolloutStatus, rollout: api.Rollout) -> datetime:
    """When a canary that has not its share is given up."""
    return clock.parse(state.lost or state.started) + rollout.progress_deadline


def where(state: api.RolloutStatus) -> str:
    """The canary and its step, as messages begin."""
    return f"Version {state.canary} at step {state.step} of {state.steps}" if state.step <= state.steps else f"Version {state.canary} after its steps"


def analysis_of(state: api.RolloutStatus) -> api.StepAnalysis | None:
    """What the analysis of the present step came to, once it has ended."""
    return next((entry for entry in state.analyses if entry.step == state.step), None)


def step_ends(state: api.RolloutStatus, rollout: api.Rollout) -> datetime:
    """When a step whose share the canary holds is over."""
    return clock.parse(state.reached) + duration_of(rollout, state.step) - timedelta(seconds=state.held_seconds)


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
    return late_from(state, rollout) if state.started and state.reason not in WAITS else None


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
    return at(state.model_copy(update={"weight": 0, "steps": len(rollout.steps)}), DEGRADED, reason, message)


def at(state: api.RolloutStatus, phase: api.RolloutPhase, reason: str, message: str) -> api.RolloutStatus:
    """The state with another phase."""
    return state.model_copy(update={"phase": phase, "reason": reason, "message": message[:4096]})
