"""How the traffic is shared: pods per version in the end and now, and what a Gateway sends to each."""

from collections.abc import Sequence

from yolo_operator.core import api, names, pods
from yolo_operator.core.context import Context
from yolo_operator.core.observed import Observed, ready_versions
from yolo_operator.core.progress import Progress, has_its_share, status_of
from yolo_operator.core.rollout import canary, surge
from yolo_operator.core.rollout.split import beside, split, too_coarse


def weights(progress: Sequence[Progress]) -> dict[int, int]:
    """Relative shares that the declared versions are to have, where no canary sets them."""
    return {each.version.version: 0 if each.excluded else 1 if each.version.weight is None else each.version.weight for each in progress}


def replicas(yolo: api.YoloDeployment, state: api.RolloutStatus | None, progress: Sequence[Progress]) -> dict[int, int]:
    """Pods that each declared version is to have in the end."""
    total, gateway = yolo.spec.replicas, yolo.spec.traffic.mode == "Gateway"
    numbers = [each.version.version for each in progress]
    if state is None:
        wanted = weights(progress)
        shares = dict(zip(numbers, split(total, [wanted[number] for number in numbers]), strict=True))
        shares |= {number: min(1, total) for number in numbers if number == mirrored(yolo, progress)}
    else:
        shares = dict.fromkeys(numbers, 0) | {state.stable: total, state.canary: canary_pods(yolo, state)}
        if gateway and state.previous:
            shares[state.previous] = total
    own = {each.version.version: each.version.replicas for each in progress}
    return {number: fixed if (fixed := own[number]) is not None and shares[number] and total else shares[number] for number in numbers}


def canary_pods(yolo: api.YoloDeployment, state: api.RolloutStatus) -> int:
    """Pods of the canary at its step: none before the stable version serves, and none once it has been aborted."""
    total = yolo.spec.replicas
    if not state.started or state.phase == canary.DEGRADED or total == 0:
        return 0
    if yolo.spec.traffic.mode == "Gateway":
        return max(1, -(-total * state.weight // 100))
    return 0 if too_coarse(total, state.weight) else beside(total, state.weight)


def obstacle(yolo: api.YoloDeployment, state: api.RolloutStatus, observed: Observed) -> pods.Problem | None:
    """Why the canary is not to have pods yet."""
    total = yolo.spec.replicas
    if total == 0:
        return pods.Problem("ScaledToZero", "spec.replicas is 0: the canary goes on when it is more")
    if not state.started and state.stable not in ready_versions(observed):
        return pods.Problem(
            "WaitingForStable",
            f"Version {state.stable} is the stable one and has no ready pod: version {state.canary} begins when it has. "
            f"To serve {state.canary} without it, remove {state.stable} from spec.versions",
        )
    if yolo.spec.traffic.mode == "Service" and too_coarse(total, state.weight):
        return pods.Problem(
            "WeightNotReachable",
            f"Beside {total} pod(s) of version {state.stable} one of version {state.canary} would have {round(100 / (total + 1))} % of the requests, "
            f"more than twice the {state.weight} % of step {state.step}: raise spec.replicas or the step's weight, or use spec.traffic.mode Gateway",
        )
    return None


def replica_shares(context: Context, state: api.RolloutStatus | None, progress: Sequence[Progress]) -> dict[int, int]:
    """Replicas per version now. A version gives none up before all others have what they are to have, unless fewer are asked for in all."""
    shares = {each.version.version: each.replicas for each in progress}
    stable_serves = state is not None and state.stable in ready_versions(context.observed)
    for each in progress:
        number = each.version.version
        live = context.observed.deployments.get(names.versioned(context.yolo, number))
        have = live["spec"].get("replicas", 1) if live else 0
        others = [other for other in progress if other is not each]
        # Beside a stable version that serves, nobody has to wait for a canary's pods to go.
        free = state is not None and stable_serves and number != state.stable
        if live is None or each.replicas >= have or free or all(has_its_share(context.yolo, other, context.observed) for other in others):
            continue
        room = surge.frees_gpu(context.yolo, number, live, [other.version.version for other in others], context.observed, context.now)
        shares[number] = max(each.replicas, min(have - room, context.yolo.spec.replicas))
    return shares


def routed(
    yolo: api.YoloDeployment,
    state: api.RolloutStatus | None,
    progress: Sequence[Progress],
    draining: Sequence[int],
    observed: Observed,
) -> dict[int, int]:
    """Relative shares a Gateway gives now: to none that is not verified and available, or has no ready pod."""
    ready = ready_versions(observed)
    if state is not None:
        share = {state.stable: 100 - state.routed, state.canary: state.routed}
        if share.keys() & ready.keys():
            share = {number: part if number in ready else 0 for number, part in share.items()}
        return {number: share.get(number, 0) for number in [*(each.version.version for each in progress), *draining]}
    wanted = weights(progress)
    shares = dict.fromkeys(draining, 0)
    for each in progress:
        number = each.version.version
        serves = ready.get(number, 0) > 0 and (has_its_share(yolo, each, observed) or status_of(yolo, number).weight > 0)
        shares[number] = wanted[number] if serves else 0
    missing = sum(wanted.values()) - sum(shares.values())
    # What the declared versions cannot take yet stays with those that go.
    staying = [number for number in draining if ready.get(number)]
    return shares | dict(zip(staying, split(missing, [1] * len(staying)), strict=True)) if staying else shares


def mirrored(yolo: api.YoloDeployment, progress: Sequence[Progress]) -> int | None:
    """The version that is to get copies of requests: one that can read them."""
    mirror = yolo.spec.traffic.gateway.mirror if yolo.spec.traffic.gateway is not None else None
    return next((mirror.version for each in progress if mirror is not None and each.version.version == mirror.version and not each.excluded), None)
