"""The canary's walk: where it was, what is observed and what is wanted in; where it is out. No I/O and no clock.

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
    """What the walk follows from besides the spec and where it was."""

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


def advance(walk: api.RolloutStatus | None, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """Where the canary is after this pass."""
    stable, canary = roles(walk, facts)
    # The first look only notes which version is stable.
    if walk is None or canary == 0:
        return at_rest(walk or api.RolloutStatus(), rollout, stable, now)
    if begins_anew(walk, rollout, facts, stable, canary):
        walk = api.RolloutStatus(stable=stable, canary=canary, revision=facts.revisions[canary], retry=rollout.retry or "", step=1)
    walk = walk.model_copy(update={"stable": stable, "previous": 0, "promoted": ""})
    if rollout.abort == canary:
        return degraded(walk, rollout, "RolloutAborted", f"spec.rollout.abort is {canary}: remove it to begin again")
    if walk.phase == DEGRADED and not heals(walk):
        return walk
    if facts.problem is not None and facts.problem.permanent:
        return degraded(walk, rollout, facts.problem.reason, facts.problem.message)
    return walk_on(at_its_step(walk, rollout), rollout, facts, now)


def roles(walk: api.RolloutStatus | None, facts: Facts) -> tuple[int, int]:
    """The stable version and the one that is to take over from it; 0 for none.

    The stable one may be gone from the spec: replaced by another in one edit, it serves until that one has walked its steps.
    """
    declared = facts.revisions.keys()
    recorded = walk.stable if walk is not None else 0
    begun = walk is not None and bool(walk.started)
    # Once its successor walks, a stable version whose only pod restarts is still what an abort goes back to.
    keeps = recorded in declared or recorded in facts.ready or (begun and recorded in facts.alive)
    # Without a record (the first look, a status written anew) what serves now is stable, the lowest number if several do.
    stable = recorded if keeps else min(facts.ready or declared)
    newest = max(declared)
    return stable, 0 if newest == stable else newest


def at_rest(walk: api.RolloutStatus, rollout: api.Rollout, stable: int, now: datetime) -> api.RolloutStatus:
    """One version has all traffic and none is to take over from it."""
    keep = walk.stable == stable and walk.previous and now < clock.parse(walk.promoted) + rollout.scale_down_delay
    return api.RolloutStatus(
        phase=HEALTHY,
        reason="RolloutCompleted",
        message=f"Version {stable} has all traffic",
        stable=stable,
        previous=walk.previous if keep else 0,
        promoted=walk.promoted if walk.stable == stable else "",
        analyses=walk.analyses if walk.stable == stable and not walk.canary else [],
    )


def begins_anew(walk: api.RolloutStatus, rollout: api.Rollout, facts: Facts, stable: int, canary: int) -> bool:
    """Whether another attempt begins: another version or revision, another retry, an abort that is taken back."""
    same = (walk.stable, walk.canary, walk.revision) == (stable, canary, facts.revisions[canary])
    # A retry that is taken back, as by a tool that restores what is in git, asks for nothing.
    again = rollout.retry is not None and rollout.retry != walk.retry
    return not same or again or (walk.reason == "RolloutAborted" and rollout.abort != canary)


def heals(walk: api.RolloutStatus) -> bool:
    """Whether what degraded the canary may have passed by itself: it never had traffic then, and what failed is told again if it has not."""
    return not walk.reached and walk.step == 1 and walk.reason != "ProgressDeadlineExceeded"


def at_its_step(walk: api.RolloutStatus, rollout: api.Rollout) -> api.RolloutStatus:
    """The walk where the steps are edited in its middle: on at the first step that has its weight or more, never back."""
    wanted = weight_of(rollout, walk.step)
    if rollout.promote == walk.canary:
        step = len(rollout.steps) + 1
    elif walk.weight in (0, wanted) and walk.step <= len(rollout.steps) + 1:
        step = walk.step
    else:
        step = next((i for i, each in enumerate(rollout.steps, 1) if each.weight >= walk.weight), len(rollout.steps) + 1)
    moved = weight_of(rollout, step) != walk.weight
    return walk.model_copy(
        update={
            "step": step,
            "steps": len(rollout.steps),
            "weight": weight_of(rollout, step),
            "analyses": [entry for entry in walk.analyses if entry.step < step] if moved else walk.analyses,
            "started": "" if moved else walk.started,
            "reached": "" if moved else walk.reached,
        }
    )


def walk_on(walk: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """One pass at a step: wait for the share, for the time or the analysis; then the next step, or the end."""
    # A share is measured by what was asked for a pass ago: where the step has only just been taken, it says nothing yet.
    if walk.started and not walk.reached and facts.has_share:
        walk = walk.model_copy(update={"reached": clock.text(now), "routed": walk.weight})
    if not walk.started and facts.built:
        walk = walk.model_copy(update={"started": clock.text(now)})
    if not walk.reached:
        return waiting(walk, rollout, facts, now)
    if walk.step > walk.steps and not rollout.paused:
        return promoted(walk, now)
    if facts.comparison is not None:
        entry = api.StepAnalysis(**facts.comparison.model_dump(), step=walk.step, weight=walk.weight, time=clock.text(now))
        walk = walk.model_copy(update={"analyses": [*(old for old in walk.analyses if old.step != walk.step), entry], "analysis_failure": None})
    return held(walk, rollout, facts, now) or onward(walk, rollout, now)


def held(walk: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus | None:
    """What keeps a canary that has its share at this step, or takes the share away; None where nothing does."""
    found = analysis_of(walk)
    share = f"{where(walk)} has {walk.weight} % of the traffic"
    if found is not None and found.verdict == "Fail":
        return degraded(walk, rollout, "AnalysisFailed", f"{where(walk)}, with {walk.weight} % of the traffic: {found.message}")
    if rollout.paused:
        return at(walk, PAUSED, "RolloutPaused", f"{share} until spec.rollout.paused is false")
    if found is not None and found.verdict == "Inconclusive":
        remedy = f"set spec.rollout.promote or abort to {walk.canary}, or change spec.rollout.retry"
        return at(walk, PAUSED, "InconclusiveAnalysis", f"{share}: {found.message}; {remedy}")
    if rollout.analysis.enabled and found is None:
        if facts.problem is not None:
            return at(walk, PROGRESSING, facts.problem.reason, facts.problem.message)
        return at(walk, PROGRESSING, "AnalysisRunning", f"{share} and is compared with version {walk.stable}")
    if now < step_ends(walk, rollout):
        return at(walk, PROGRESSING, "CanaryStep", share)
    if walk.step == walk.steps and not rollout.auto_promote:
        return at(walk, PAUSED, "WaitingForPromotion", f"{share} and has passed its steps: set spec.rollout.promote or abort to {walk.canary}")
    return None


def onward(walk: api.RolloutStatus, rollout: api.Rollout, now: datetime) -> api.RolloutStatus:
    """The next step; one with the same share has it already."""
    weight = weight_of(rollout, walk.step + 1)
    reached = clock.text(now) if weight == walk.weight else ""
    walk = walk.model_copy(update={"step": walk.step + 1, "weight": weight, "started": clock.text(now), "reached": reached})
    return at(walk, PROGRESSING, "CanaryStep", f"{where(walk)} is given {weight} % of the traffic")


def waiting(walk: api.RolloutStatus, rollout: api.Rollout, facts: Facts, now: datetime) -> api.RolloutStatus:
    """The canary has not got its share yet: the reason, and an end to the wait where waiting costs something."""
    reason = facts.problem.reason if facts.problem is not None else "CanaryStarting"
    text = (
        facts.problem.message if facts.problem is not None else f"{where(walk)} gets {walk.weight} % of the traffic once enough pods are available and verified"
    )
    if walk.reason in WAITS and reason not in WAITS and walk.started:
        # The deadline is for what comes after a wait that nobody here could shorten.
        walk = walk.model_copy(update={"started": clock.text(now)})
    if reason not in WAITS and walk.started and now >= clock.parse(walk.started) + rollout.progress_deadline:
        late = f"{where(walk)} has not been available and verified within spec.rollout.progressDeadline. {text}"
        return degraded(walk, rollout, "ProgressDeadlineExceeded", late)
    if rollout.paused:
        return at(walk, PAUSED, "RolloutPaused", f"{where(walk)} waits until spec.rollout.paused is false")
    return at(walk, PROGRESSING, reason, text)


def where(walk: api.RolloutStatus) -> str:
    """The canary and its step, as messages begin."""
    return f"Version {walk.canary} at step {walk.step} of {walk.steps}" if walk.step <= walk.steps else f"Version {walk.canary} after its steps"


def analysis_of(walk: api.RolloutStatus) -> api.StepAnalysis | None:
    """What the analysis of the present step came to, once it has ended."""
    return next((entry for entry in walk.analyses if entry.step == walk.step), None)


def step_ends(walk: api.RolloutStatus, rollout: api.Rollout) -> datetime:
    """When a step that has been reached is over."""
    return clock.parse(walk.reached) + duration_of(rollout, walk.step)


def deadline(walk: api.RolloutStatus | None, rollout: api.Rollout) -> datetime | None:
    """When to look again although nothing happens: the end of a step, of the wait for a share, of the delay before old pods go."""
    if walk is None:
        return None
    if walk.phase == HEALTHY:
        return clock.parse(walk.promoted) + rollout.scale_down_delay if walk.previous else None
    if walk.phase != PROGRESSING:
        return None
    if walk.reached:
        # Until the analysis has its verdict its Job rings the bell.
        judged = not rollout.analysis.enabled or analysis_of(walk) is not None
        return step_ends(walk, rollout) if judged and walk.step <= walk.steps else None
    return clock.parse(walk.started) + rollout.progress_deadline if walk.started and walk.reason not in WAITS else None


def weight_of(rollout: api.Rollout, step: int) -> int:
    """Percent the canary is to have at a step; after the last it has all."""
    return rollout.steps[step - 1].weight if 1 <= step <= len(rollout.steps) else 100


def duration_of(rollout: api.Rollout, step: int) -> timedelta:
    """How long a step lasts."""
    return rollout.steps[step - 1].duration if 1 <= step <= len(rollout.steps) else timedelta(0)


def promoted(walk: api.RolloutStatus, now: datetime) -> api.RolloutStatus:
    """The canary is the stable version from now on."""
    return api.RolloutStatus(
        phase=HEALTHY,
        reason="RolloutCompleted",
        message=f"Version {walk.canary} has all traffic",
        stable=walk.canary,
        previous=walk.stable,
        promoted=clock.text(now),
        analyses=walk.analyses,
    )


def degraded(walk: api.RolloutStatus, rollout: api.Rollout, reason: str, message: str) -> api.RolloutStatus:
    """The stable version has all traffic."""
    return at(walk.model_copy(update={"weight": 0, "routed": 0, "steps": len(rollout.steps)}), DEGRADED, reason, message)


def at(walk: api.RolloutStatus, phase: api.RolloutPhase, reason: str, message: str) -> api.RolloutStatus:
    """The walk with another phase."""
    return walk.model_copy(update={"phase": phase, "reason": reason, "message": message[:4096]})
