"""One allocation per pass: from the facts of all versions, how many pods each is to have, and what part of the requests it is sent.

shares  relative, as the weights or the canary's step say
  └─► target  pods in the end
        ├─► pods    pods now: nothing that serves is taken before what takes over is there
        └─► routed  relative weights now: no version is sent more than its ready pods can take, the rest stays with those that have pods to spare
              └─► selected  the version behind the resource's Service, where it is not all
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from fractions import Fraction

from yolo_operator.core import api, pods
from yolo_operator.core.progress import status_of
from yolo_operator.core.rollout import canary
from yolo_operator.core.rollout.facts import Facts, VersionFacts, is_ready
from yolo_operator.core.rollout.split import beside, largest_remainder, split, too_coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """By version: its relative share, pods in the end, pods now, relative weight now, pods given up for a GPU so far; and the only version behind the Service."""

    shares: Mapping[int, int]
    target: Mapping[int, int]
    pods: Mapping[int, int]
    routed: Mapping[int, int]
    freed: Mapping[int, int]
    selected: int | None


def allocate(yolo: api.YoloDeployment, state: api.RolloutStatus | None, facts: Facts, target: Mapping[int, int], freeing: Set[int]) -> Allocation:
    """Share pods and requests out.

    `state`: the canary's, None with strategy Weighted; `target`: from `targets`; `freeing`: versions that give up a pod now for one that waits for a GPU.
    """
    wanted = shares(state, facts)
    freed = {number: status_of(yolo, number).freed + (number in freeing) for number, each in facts.items() if not each.declared}
    routed = routed_now(yolo, state, facts, wanted, target)
    return Allocation(
        shares=wanted,
        target=target,
        pods={number: pods_now(yolo, state, facts, each, wanted, target, freeing, freed.get(number, 0)) for number, each in facts.items()},
        routed=routed,
        freed=freed,
        selected=selected(yolo, state, facts, routed),
    )


def shares(state: api.RolloutStatus | None, facts: Facts) -> dict[int, int]:
    """Relative shares of all versions: of the weights, or in percent by the canary's step. None for what is excluded."""
    if state is None:
        wanted = {number: each.weight for number, each in facts.items()}
    else:
        part = state.weight if state.canary and state.started and state.phase != canary.DEGRADED else 0
        wanted = dict.fromkeys(facts, 0) | {state.stable: 100 - part} | ({state.canary: part} if state.canary else {})
    return {number: 0 if number in facts and facts[number].excluded else share for number, share in wanted.items()}


def targets(yolo: api.YoloDeployment, state: api.RolloutStatus | None, facts: Facts) -> dict[int, int]:
    """Pods that each version is to have in the end."""
    total, wanted = yolo.spec.replicas, shares(state, facts)
    if state is None:
        found = dict(zip(wanted, split(total, list(wanted.values())), strict=True))
        found |= {number: min(1, total) for number, each in facts.items() if number == mirrored(yolo) and not each.excluded}
    else:
        found = dict.fromkeys(wanted, 0) | {state.stable: 0 if is_excluded(facts, state.stable) else total}
        if state.canary and wanted[state.canary]:
            found[state.canary] = canary_pods(yolo, wanted[state.canary])
        if yolo.spec.traffic.mode == "Gateway" and state.previous in found:
            found[state.previous] = total
    own = {number: each.own_pods for number, each in facts.items() if each.own_pods is not None}
    return {number: own[number] if number in own and count else count for number, count in found.items()}


def is_excluded(facts: Facts, number: int) -> bool:
    """Whether a version may have no requests."""
    return number in facts and facts[number].excluded


def canary_pods(yolo: api.YoloDeployment, weight: int) -> int:
    """Pods that have `weight` percent of the requests; 0 where pods of mode Service cannot show so small a share."""
    total = yolo.spec.replicas
    if total == 0:
        return 0
    if yolo.spec.traffic.mode == "Gateway":
        return max(1, -(-total * weight // 100))
    return 0 if too_coarse(total, weight) else beside(total, weight)


def has_its_share(yolo: api.YoloDeployment, state: api.RolloutStatus, facts: Facts) -> bool:
    """Whether the canary has the pods that its step asks for; the stable ones may be fewer."""
    wanted = targets(yolo, state, facts).get(state.canary, 0)
    return wanted > 0 and facts[state.canary].available >= wanted


def pods_now(
    yolo: api.YoloDeployment,
    state: api.RolloutStatus | None,
    facts: Facts,
    mine: VersionFacts,
    parts: Mapping[int, int],
    target: Mapping[int, int],
    freeing: Set[int],
    freed: int,
) -> int:
    """Replicas that one version's Deployment is to have after this pass."""
    total, wanted, have = yolo.spec.replicas, target.get(mine.number, 0), mine.requested
    if wanted >= have or not mine.deployed:
        return max(wanted, stands_in(total, facts, mine, target, freed) if state is None else 0)
    if has_moved(parts, mine) and (not may_serve(state, mine) or waits_to_begin(state, facts, mine) or takes_over(facts, target, mine.number)):
        return wanted
    kept = min(have - (mine.number in freeing), total)
    return max(wanted, kept, min(total, stands_in(total, facts, mine, target, freed)) if state is None else 0)


def has_moved(parts: Mapping[int, int], mine: VersionFacts) -> bool:
    """Whether no more than its share comes to a version, by the live routes and the live Service. `parts`: relative shares of all versions."""
    share = parts.get(mine.number, 0)
    return mine.sent <= Fraction(share, sum(parts.values()) or 1) and not (mine.selected and not share)


def stands_in(total: int, facts: Facts, mine: VersionFacts, target: Mapping[int, int], freed: int) -> int:
    """Pods of a version that is no longer declared, as long as it serves for those that are not there yet: it follows an autoscaler up.

    What it gave up for a GPU it does not ask for again.
    """
    if mine.declared or not mine.ready:
        return 0
    others = [each for number, each in facts.items() if number != mine.number]
    covered = sum(min(each.ready, target[each.number]) if each.declared else each.requested for each in others)
    return max(0, total - covered - freed)


def waits_to_begin(state: api.RolloutStatus | None, facts: Facts, mine: VersionFacts) -> bool:
    """Whether a version is a canary before its first step, beside a stable version that serves: pods of an attempt before are in nobody's way then."""
    return state is not None and mine.number == state.canary and not state.started and is_ready(facts, state.stable)


def takes_over(facts: Facts, target: Mapping[int, int], number: int) -> bool:
    """Whether all versions besides this one that are to have pods have them, so that it may give up its own."""
    others = [each for other, each in facts.items() if other != number and target.get(other)]
    asked = bool(others) or not any(each.weight for each in facts.values()) or target.get(number, 0) > 0
    return asked and all(each.available >= target[each.number] for each in others)


def may_serve(state: api.RolloutStatus | None, mine: VersionFacts) -> bool:
    """Whether requests may come to a version at all: not to what is excluded, nor to a canary that failed or was aborted."""
    failed = state is not None and state.phase == canary.DEGRADED and mine.number == state.canary
    return not mine.excluded and not failed


def routed_now(yolo: api.YoloDeployment, state: api.RolloutStatus | None, facts: Facts, wanted: Mapping[int, int], target: Mapping[int, int]) -> dict[int, int]:
    """Relative weights that a Gateway gives now: to ready pods alone, and to no version more than they can take.

    What the versions cannot take of their shares goes to those with pods to spare; where there are none, all take more in proportion.
    """
    whole, total = sum(wanted.values()), max(1, yolo.spec.replicas)
    if all(number in facts and facts[number].ready >= needed(yolo, wanted, target, number) for number, share in wanted.items() if share):
        return {number: wanted[number] for number in facts}
    can_take = {
        number: Fraction(wanted[number] * each.ready, needed(yolo, wanted, target, number)) if wanted[number] else Fraction(max(whole, 1) * each.ready, total)
        for number, each in facts.items()
    }
    given = {number: min(Fraction(wanted[number]), can_take[number]) for number in facts}
    helpers = {
        number: can_take[number] - given[number]
        for number, each in facts.items()
        if may_serve(state, each) and number != mirrored(yolo) and (state is None or number not in (state.canary, state.previous))
    }
    spare = sum(helpers.values())
    if spare:
        missing = whole - sum(given.values())
        given |= {number: given[number] + amount * min(Fraction(1), missing / spare) for number, amount in helpers.items()}
    if not any(given.values()):
        # Better the version that was stable before, or a canary between two attempts, than nobody.
        given = {number: Fraction(each.ready if may_serve(state, each) and number != mirrored(yolo) else 0) for number, each in facts.items()}
    return whole_weights(given, max(whole, 100))


def needed(yolo: api.YoloDeployment, wanted: Mapping[int, int], target: Mapping[int, int], number: int) -> int:
    """Pods that a version's share needs: fewer than it is to have where it is stable beside a canary."""
    return max(1, min(target[number], -(-yolo.spec.replicas * wanted[number] // sum(wanted.values()))))


def whole_weights(parts: Mapping[int, Fraction], whole: int) -> dict[int, int]:
    """Parts as whole numbers with the given sum, at least 1 for what is more than 0."""
    if not any(parts.values()):
        return dict.fromkeys(parts, 0)
    rounded = largest_remainder(whole, list(parts.values()))
    return {number: max(1, each) if parts[number] else 0 for number, each in zip(parts, rounded, strict=True)}


def selected(yolo: api.YoloDeployment, state: api.RolloutStatus | None, facts: Facts, routed: Mapping[int, int]) -> int | None:
    """The only version behind the resource's Service; None where all are.

    In mode Gateway the stable one, or the one with most requests. In mode Service only where pods are ready that may have no requests, until they are gone.
    """

    def best(among: Iterable[int]) -> int | None:
        stable = state.stable if state is not None else 0
        return max(among, key=lambda number: (number == stable, routed.get(number, 0), facts[number].ready, -number), default=None)

    serving = [number for number, each in facts.items() if each.ready and routed.get(number)]
    if yolo.spec.traffic.mode == "Gateway":
        return best(serving) or best(facts)
    kept_out = [number for number, each in facts.items() if each.ready and (not may_serve(state, each) or (state is not None and number == state.previous))]
    return best(number for number in serving if number not in kept_out) if kept_out else None


def mirrored(yolo: api.YoloDeployment) -> int | None:
    """The version that is to get copies of requests."""
    gateway = yolo.spec.traffic.gateway
    return gateway.mirror.version if gateway is not None and gateway.mirror is not None else None


def obstacle(yolo: api.YoloDeployment, state: api.RolloutStatus, facts: Facts) -> pods.Problem | None:
    """Why the canary is not to have pods yet."""
    total = yolo.spec.replicas
    if total == 0:
        return pods.Problem("ScaledToZero", "spec.replicas is 0: the canary goes on when it is more")
    if not state.started and not is_ready(facts, state.stable):
        return pods.Problem(
            "WaitingForStable",
            f"Version {state.stable} is the stable one and has no ready pod: version {state.canary} begins when it has. "
            f"To serve {state.canary} without it, set spec.rollout.promote to {state.canary}",
        )
    if yolo.spec.traffic.mode == "Service" and too_coarse(total, state.weight):
        return pods.Problem(
            "WeightNotReachable",
            f"Beside {total} pod(s) of version {state.stable} one of version {state.canary} would have {round(100 / (total + 1))} % of the requests, "
            f"more than twice the {state.weight} % of step {state.step}: raise spec.replicas or the step's weight, or use spec.traffic.mode Gateway",
        )
    return None
