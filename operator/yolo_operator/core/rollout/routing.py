"""The Service of all versions and the routes of a Gateway."""

from collections.abc import Mapping, Sequence

from yolo_operator.core import api, features, names, pods, routes
from yolo_operator.core.context import Context, requeue
from yolo_operator.core.observed import ready_versions
from yolo_operator.core.progress import Progress
from yolo_operator.core.resources import route, service
from yolo_operator.core.rollout.allocation import mirrored, routed


def route_step(context: Context, state: api.RolloutStatus | None, progress: Sequence[Progress], draining: Sequence[int]) -> dict[int, int]:
    """The Service of all versions, or the routes of a Gateway. Returns the percent of the requests that each version has."""
    ready = ready_versions(context.observed)
    if context.yolo.spec.traffic.mode == "Service":
        context.result.apply.append(service.build(context.yolo))
        context.result.delete += routes.unwanted(context.observed, [])
        return percent(ready)
    # A backend without its Service would make the whole route unresolved.
    reachable = {int(label) for made in context.result.apply if made["kind"] == "Service" and (label := names.label(made, names.VERSION))}
    shares = {number: share for number, share in routed(context.yolo, state, progress, draining, context.observed).items() if number in reachable}
    stable = state.stable if state is not None else max(shares, key=lambda number: (shares[number], ready.get(number, 0), -number), default=None)
    context.result.apply.append(service.build(context.yolo, selects=stable))
    wanted = route.build(context.yolo, shares, sorted(shares), *extras(context, progress, shares)) if context.observed.gateway_api and shares else []
    context.result.apply += wanted
    context.result.delete += routes.unwanted(context.observed, wanted)
    return percent(shares)


def extras(context: Context, progress: Sequence[Progress], shares: Mapping[int, int]) -> tuple[api.Mirror | None, api.SessionPersistence | None]:
    """What the Gateways are asked for besides weights: copies for a version whose pods are ready, and sessions; nothing that they may not support."""
    mirror, session = features.mirror(context.yolo, context.observed), features.session_persistence(context.yolo, context.observed)
    if isinstance(mirror, pods.Problem) or isinstance(session, pods.Problem):
        requeue(context, context.now + features.RECHECK)
    number = mirrored(context.yolo, progress)
    takes_copies = number in shares and number in ready_versions(context.observed)
    return mirror if isinstance(mirror, api.Mirror) and takes_copies else None, session if isinstance(session, api.SessionPersistence) else None


def percent(parts: Mapping[int, int]) -> dict[int, int]:
    """Parts of a whole in percent; all 0 where the whole is."""
    whole = sum(parts.values())
    return {number: round(100 * part / whole) if whole else 0 for number, part in parts.items()}
