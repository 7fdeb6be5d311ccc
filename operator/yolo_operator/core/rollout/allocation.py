"""One allocation per pass: from the facts of all versions, how many pods each is to have, and what part of the requests it is sent.

shares  relative, as the weights or the canary's step say
  └─► target  pods in the end
        ├─► pods    pods now: nothing that serves is taken before what takes over is there
        └─► routed  relative weights now: no version is sent more than its ready pods can take, the rest stays with those that have pods to spare
              └─► selected  the version behind the resource's Service, where it is not all
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from fractions import Fraction

from yolo_operator.core import api, pods
from yolo_operator.core.progress import SUSPENDED, status_of
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

    `state`: the canary's, None with strategy Weighted; `target`: from `targets`; `freeing`: versions that give up a pod for one that waits for a GPU.
    """
    wanted = shares(state, facts)
    giving = giving_up(facts, freeing)
    freed = {number: status_of(yolo, number).freed + (number in giving) for number, each in facts.items() if not each.declared}
    count = {number: pods_now(yolo, state, facts, each, wanted, target, giving, freed.get(number, 0)) for number, each in facts.items()}
    # Ready pods that are on their way out are sent nothing, as long as there are others.
    stay = {number: min(count[number], each.requested - 1) if number in freeing else count[number] for number, each in facts.items()}
    staying = {number: replace(each, ready=min(each.ready, stay[number])) for number, each in facts.items()}
    routed = routed_now(yolo, state, staying, wanted, target)
    if not any(routed.values()):
        routed = routed_now(yolo, state, facts, wanted, target)
    return Allocation(
        shares=wanted,
        target=target,
        pods=count,
        routed=routed,
        freed=freed,
        selected=selected(yolo, state, facts, routed),
    )


def giving_up(facts: Facts, freeing: Set[int]) -> set[int]:
    """Versions that give a pod up in this pass: a last one only once no route sends it anything."""
    return {number for number in freeing if facts[number].requested > 1 or not facts[number].sent}


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
    if has_moved(parts, mine) and (is_barred(state, mine) or takes_over(facts, target, mine.number)):
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
    if mine.declared or mine.excluded or not mine.ready:
        return 0
    others = [each for number, each in facts.items() if number != mine.number]
    covered = sum(min(each.ready, target[each.number]) if each.declared else each.requested for each in others)
    return max(0, total - covered - freed)


def takes_over(facts: Facts, target: Mapping[int, int], number: int) -> bool:
    """Whether all versions besides this one that are to have pods have them, so that it may give up its own."""
    others = [each for other, each in facts.items() if other != number and target.get(other)]
    asked = bool(others) or not any(each.weight for each in facts.values()) or target.get(number, 0) > 0
    return asked and all(each.serving >= target[each.number] for each in others)


def is_barred(state: api.RolloutStatus | None, mine: VersionFacts) -> bool:
    """Whether no requests may come to a version, whatever there is besides: it is excluded, or a canary that failed or was aborted."""
    failed = state is not None and state.phase == canary.DEGRADED and mine.number == state.canary
    return mine.excluded or failed


def may_serve(state: api.RolloutStatus | None, mine: VersionFacts) -> bool:
    """Whether requests may come to a version: not to what is barred, nor to what answers wrongly, though that keeps its pods until others are there."""
    return not is_barred(state, mine) and not mine.wrong


def routed_now(yolo: api.YoloDeployment, state: api.RolloutStatus | None, facts: Facts, wanted: Mapping[int, int], target: Mapping[int, int]) -> dict[int, int]:
    """Relative weights that a Gateway gives now: to ready pods alone, and to no version more than they can take.

    What the versions cannot take of their shares goes to those with pods to spare; where there are none, all take more in proportion.
    """
    whole = sum(wanted.values())
    needs = needed(yolo, state, facts, wanted, target)
    if whole and all(number in facts and facts[number].ready >= needs[number] for number, share in wanted.items() if share):
        return {number: wanted[number] for number in facts}
    can_take = {number: capacity(yolo, state, each, whole, wanted[number], needs[number]) for number, each in facts.items()}
    given = {number: min(Fraction(wanted[number]), can_take[number]) for number in facts}
    helpers = {
        number: can_take[number] - given[number]
        for number, each in facts.items()
        if may_serve(state, each) and number != mirrored(yolo) and not keeps_to_its_share(state, number)
    }
    spare = sum(helpers.values())
    if spare:
        missing = whole - sum(given.values())
        given |= {number: given[number] + amount * min(Fraction(1), missing / spare) for number, amount in helpers.items()}
    if not any(given.values()):
        # Better the version that was stable before, or a canary between two attempts, than nobody.
        given = {number: Fraction(each.ready if may_serve(state, each) and number != mirrored(yolo) else 0) for number, each in facts.items()}
    return whole_weights(given, max(whole, 100))


def capacity(yolo: api.YoloDeployment, state: api.RolloutStatus | None, mine: VersionFacts, whole: int, share: int, needs: int) -> Fraction:
    """What the ready pods of a version can take: of its share the part that they are of what this needs, and with more pods what so many have of the whole."""
    is_stable = state is not None and mine.number == state.stable
    total = mine.own_pods if mine.own_pods and is_stable else max(1, yolo.spec.replicas)
    of_whole = Fraction(max(whole, 1) * mine.ready, total)
    if not share or is_stable:
        return of_whole
    of_share = Fraction(share * mine.ready, needs)
    return of_share if mine.ready <= needs or mine.own_pods else max(Fraction(share), of_whole)


def keeps_to_its_share(state: api.RolloutStatus | None, number: int) -> bool:
    """Whether a version takes nothing of what another cannot: a canary at its step, and what a canary has taken over from."""
    return state is not None and number in (state.canary if state.started else 0, state.previous)


def needed(yolo: api.YoloDeployment, state: api.RolloutStatus | None, facts: Facts, wanted: Mapping[int, int], target: Mapping[int, int]) -> dict[int, int]:
    """Pods that the share of each version needs: fewer than it is to have where it is stable beside a canary. Its own number is for all that it is to be sent."""
    whole = max(1, sum(wanted.values()))
    found = {}
    for number, each in facts.items():
        is_stable = state is not None and number == state.stable
        total = yolo.spec.replicas if each.own_pods is None else each.own_pods
        part = -(-total * wanted[number] // whole) if is_stable or each.own_pods is None else total
        found[number] = max(1, min(target[number], part))
    return found


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


def stable_serves(yolo: api.YoloDeployment, state: api.RolloutStatus, facts: Facts) -> bool:
    """Whether the stable version serves, without pods that the canary has from another time and that its first step would take away."""
    if not is_ready(facts, state.stable):
        return False
    complete = facts[state.stable].serving >= targets(yolo, state, facts)[state.stable]
    return complete or facts[state.canary].requested <= max(1, canary_pods(yolo, state.weight))


def obstacle(yolo: api.YoloDeployment, state: api.RolloutStatus, facts: Facts) -> pods.Problem | None:
    """Why the canary is not to have pods yet."""
    total = yolo.spec.replicas
    if yolo.spec.suspend:
        return SUSPENDED
    if total == 0:
        return pods.Problem("ScaledToZero", "spec.replicas is 0: the canary goes on when it is more")
    if not state.started and not stable_serves(yolo, state, facts):
        has = "has no ready pod" if not is_ready(facts, state.stable) else f"lacks pods, for which version {state.canary} stands in with those it has"
        return pods.Problem(
            "WaitingForStable",
            f"Version {state.stable} is the stable one and {has}: version {state.canary} begins when it has what it lacks. "
            f"To serve {state.canary} without it, set spec.rollout.promote to {state.canary}",
        )
    if yolo.spec.traffic.mode == "Service" and too_coarse(total, state.weight):
        return pods.Problem(
            "WeightNotReachable",
            f"Beside {total} pod(s) of version {state.stable} one of version {state.canary} would have {round(100 / (total + 1))} % of the requests, "
            f"more than twice the {state.weight} % of step {state.step}: raise spec.replicas or the step's weight, or use spec.traffic.mode Gateway",
        )
    return None
