"""Shares of the traffic: who may have any, how many pods that makes, and what a Gateway is told."""

from collections.abc import Mapping, Sequence

from yolo_operator.core import api, features, names, pods, rollout, routes, surge
from yolo_operator.core.contract import Artifact
from yolo_operator.core.observed import Observed, Progress, has_its_share, ready_versions, status_of
from yolo_operator.core.resources import route, service
from yolo_operator.core.split import beside, split, too_coarse
from yolo_operator.core.triton import shapes
from yolo_operator.core.turn import Turn, look_again

COMPARED = ("task", "inputs", "outputs", "image_size", "classes_digest")
"""What a client reads once, at its start: versions that share traffic agree in it."""


def shut_out_incompatible(yolo: api.YoloDeployment, progress: Sequence[Progress], observed: Observed) -> None:
    """Take the traffic from versions that a client of those which have it would misread."""
    ready = ready_versions(observed)
    artifacts = {each.version.version: each.artifact or each.status.artifact for each in progress}
    artifacts |= {number: status_of(yolo, number).artifact for number in ready if number not in artifacts}
    stable = yolo.status.rollout.stable if yolo.status.rollout is not None else 0
    known = [number for number, artifact in artifacts.items() if artifact is not None]
    if yolo.spec.traffic.allow_incompatible or not known:
        return
    reference = min(known, key=lambda number: (number != stable, -ready.get(number, 0), number))
    wanted = artifacts[reference]
    for each in progress:
        number, mine = each.version.version, artifacts[each.version.version]
        if mine is not None and wanted is not None and number != reference and (unlike := differences(wanted, mine)):
            each.shut_out = each.stalled = True
            each.problem = pods.Problem(
                "VersionsIncompatible",
                f"Version {number} differs from version {reference}, which has the traffic, in {', '.join(unlike)}: clients read those once. "
                f"{rebuild_first(reference, wanted, unlike)}Make a YoloDeployment of its own for it, or set spec.traffic.allowIncompatible",
                permanent=True,
            )


def differences(one: Artifact, other: Artifact) -> list[str]:
    """What a client would have to know to talk to both."""
    texts = {name: (shown(one, name), shown(other, name)) for name in COMPARED if getattr(one, name) != getattr(other, name)}
    return [f"{name.replace('_digest', '').replace('_', ' ')} ({mine} and {theirs})" for name, (mine, theirs) in texts.items()]


def rebuild_first(reference: int, artifact: Artifact, unlike: Sequence[str]) -> str:
    """The remedy where all that is amiss is that the version which has the traffic was published by a release that made every model dynamic."""
    outdated = shapes.asks_otherwise(artifact.task, artifact.image_size, artifact.inputs)
    return f"Change spec.versions[].rebuild of version {reference} first. " if outdated and len(unlike) == 1 else ""


def shown(artifact: Artifact, name: str) -> str:
    """A compared value as a message shows it."""
    if name == "classes_digest":
        return f"{artifact.classes}, digest {artifact.classes_digest}"
    if name in {"inputs", "outputs"}:
        return "; ".join(f"{tensor.name} {tensor.datatype} {tensor.shape}" for tensor in getattr(artifact, name))
    return str(getattr(artifact, name))


def weights(progress: Sequence[Progress]) -> dict[int, int]:
    """Relative shares that the declared versions are to have, where no canary sets them."""
    return {each.version.version: 0 if each.shut_out else 1 if each.version.weight is None else each.version.weight for each in progress}


def replicas(yolo: api.YoloDeployment, walk: api.RolloutStatus | None, progress: Sequence[Progress]) -> dict[int, int]:
    """Pods that each declared version is to have in the end."""
    total, gateway = yolo.spec.replicas, yolo.spec.traffic.mode == "Gateway"
    numbers = [each.version.version for each in progress]
    if walk is None:
        wanted = weights(progress)
        shares = dict(zip(numbers, split(total, [wanted[number] for number in numbers]), strict=True))
        shares |= {number: min(1, total) for number in numbers if number == mirrored(yolo, progress)}
    else:
        shares = dict.fromkeys(numbers, 0) | {walk.stable: total, walk.canary: canary_pods(yolo, walk)}
        if gateway and walk.previous:
            shares[walk.previous] = total
    own = {each.version.version: each.version.replicas for each in progress}
    return {number: fixed if (fixed := own[number]) is not None and shares[number] and total else shares[number] for number in numbers}


def canary_pods(yolo: api.YoloDeployment, walk: api.RolloutStatus) -> int:
    """Pods of the canary at its step: none before the stable version serves, and none once it has been aborted."""
    total = yolo.spec.replicas
    if not walk.started or walk.phase == rollout.DEGRADED or total == 0:
        return 0
    if yolo.spec.traffic.mode == "Gateway":
        return max(1, -(-total * walk.weight // 100))
    return 0 if too_coarse(total, walk.weight) else beside(total, walk.weight)


def obstacle(yolo: api.YoloDeployment, walk: api.RolloutStatus, observed: Observed) -> pods.Problem | None:
    """Why the canary is not to have pods yet."""
    total = yolo.spec.replicas
    if total == 0:
        return pods.Problem("ScaledToZero", "spec.replicas is 0: the canary goes on when it is more")
    if not walk.started and walk.stable not in ready_versions(observed):
        return pods.Problem(
            "WaitingForStable",
            f"Version {walk.stable} is the stable one and has no ready pod: version {walk.canary} begins when it has. "
            f"To serve {walk.canary} without it, remove {walk.stable} from spec.versions",
        )
    if yolo.spec.traffic.mode == "Service" and too_coarse(total, walk.weight):
        return pods.Problem(
            "WeightNotReachable",
            f"Beside {total} pod(s) of version {walk.stable} one of version {walk.canary} would have {round(100 / (total + 1))} % of the requests, "
            f"more than twice the {walk.weight} % of step {walk.step}: raise spec.replicas or the step's weight, or use spec.traffic.mode Gateway",
        )
    return None


def replica_shares(turn: Turn, walk: api.RolloutStatus | None, progress: Sequence[Progress]) -> dict[int, int]:
    """Replicas per version now. A version gives none up before all others have what they are to have, unless fewer are asked for in all."""
    shares = {each.version.version: each.replicas for each in progress}
    stable_serves = walk is not None and walk.stable in ready_versions(turn.observed)
    for each in progress:
        number = each.version.version
        live = turn.observed.deployments.get(names.versioned(turn.yolo, number))
        have = live["spec"].get("replicas", 1) if live else 0
        others = [other for other in progress if other is not each]
        # Beside a stable version that serves, nobody has to wait for a canary's pods to go.
        free = walk is not None and stable_serves and number != walk.stable
        if live is None or each.replicas >= have or free or all(has_its_share(turn.yolo, other, turn.observed) for other in others):
            continue
        room = surge.makes_room(turn.yolo, number, live, [other.version.version for other in others], turn.observed, turn.now)
        shares[number] = max(each.replicas, min(have - room, turn.yolo.spec.replicas))
    return shares


def route_step(turn: Turn, walk: api.RolloutStatus | None, progress: Sequence[Progress], draining: Sequence[int]) -> dict[int, int]:
    """The Service of all versions, or the routes of a Gateway. Returns the percent of the requests that each version has."""
    ready = ready_versions(turn.observed)
    if turn.yolo.spec.traffic.mode == "Service":
        turn.result.apply.append(service.build(turn.yolo))
        turn.result.delete += routes.unwanted(turn.observed, [])
        return percent(ready)
    # A backend without its Service would make the whole route unresolved.
    reachable = {int(label) for made in turn.result.apply if made["kind"] == "Service" and (label := names.label(made, names.VERSION))}
    shares = {number: share for number, share in routed(turn.yolo, walk, progress, draining, turn.observed).items() if number in reachable}
    stable = walk.stable if walk is not None else max(shares, key=lambda number: (shares[number], ready.get(number, 0), -number), default=None)
    turn.result.apply.append(service.build(turn.yolo, selects=stable))
    wanted = route.build(turn.yolo, shares, sorted(shares), *extras(turn, progress, shares)) if turn.observed.gateway_api and shares else []
    turn.result.apply += wanted
    turn.result.delete += routes.unwanted(turn.observed, wanted)
    return percent(shares)


def mirrored(yolo: api.YoloDeployment, progress: Sequence[Progress]) -> int | None:
    """The version that is to get copies of requests: one that can read them."""
    mirror = yolo.spec.traffic.gateway.mirror if yolo.spec.traffic.gateway is not None else None
    return next((mirror.version for each in progress if mirror is not None and each.version.version == mirror.version and not each.shut_out), None)


def extras(turn: Turn, progress: Sequence[Progress], shares: Mapping[int, int]) -> tuple[api.Mirror | None, api.SessionPersistence | None]:
    """What the Gateways are asked for besides weights: copies for a version whose pods are let in, and sessions; nothing that they may not support."""
    mirror, session = features.mirror(turn.yolo, turn.observed), features.session_persistence(turn.yolo, turn.observed)
    if isinstance(mirror, pods.Problem) or isinstance(session, pods.Problem):
        look_again(turn, turn.now + features.LOOK_AGAIN)
    number = mirrored(turn.yolo, progress)
    takes_copies = number in shares and number in ready_versions(turn.observed)
    return mirror if isinstance(mirror, api.Mirror) and takes_copies else None, session if isinstance(session, api.SessionPersistence) else None


def routed(
    yolo: api.YoloDeployment,
    walk: api.RolloutStatus | None,
    progress: Sequence[Progress],
    draining: Sequence[int],
    observed: Observed,
) -> dict[int, int]:
    """Relative shares a Gateway gives now: to none that is not verified and available, or has no ready pod."""
    ready = ready_versions(observed)
    if walk is not None:
        share = {walk.stable: 100 - walk.routed, walk.canary: walk.routed}
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


def percent(parts: Mapping[int, int]) -> dict[int, int]:
    """Parts of a whole in percent; all 0 where the whole is."""
    whole = sum(parts.values())
    return {number: round(100 * part / whole) if whole else 0 for number, part in parts.items()}
