"""The Service of all versions and the routes of a Gateway."""

from collections.abc import Mapping

from yolo_operator.core import api, features, names, pods, routes
from yolo_operator.core.context import Context, requeue
from yolo_operator.core.observed import ready_versions
from yolo_operator.core.resources import route, service
from yolo_operator.core.rollout.allocation import Allocation, mirrored


def route_step(context: Context, allocated: Allocation) -> dict[int, int]:
    """The Service of all versions, or the routes of a Gateway. Returns the percent of the requests that each version has."""
    yolo, observed = context.yolo, context.observed
    context.result.apply.append(service.build(yolo, selects=allocated.selected))
    if yolo.spec.traffic.mode == "Service":
        context.result.delete += routes.unwanted(observed, [])
        ready = ready_versions(observed)
        return percent({number: count for number, count in ready.items() if allocated.selected in (None, number)})
    # A backend without its Service would make the whole route unresolved.
    reachable = {int(label) for made in context.result.apply if made["kind"] == "Service" and (label := names.label(made, names.VERSION))}
    shares = {number: share for number, share in allocated.routed.items() if number in reachable}
    wanted = route.build(yolo, shares, sorted(shares), *extras(context, allocated, shares)) if observed.gateway_api and shares else []
    context.result.apply += wanted
    context.result.delete += routes.unwanted(observed, wanted)
    return percent(shares)


def extras(context: Context, allocated: Allocation, shares: Mapping[int, int]) -> tuple[api.Mirror | None, api.SessionPersistence | None]:
    """What the Gateways are asked for besides weights: copies for a version whose pods are ready, and sessions; nothing that they may not support."""
    mirror, session = features.mirror(context.yolo, context.observed), features.session_persistence(context.yolo, context.observed)
    if isinstance(mirror, pods.Problem) or isinstance(session, pods.Problem):
        requeue(context, context.now + features.RECHECK)
    number = mirrored(context.yolo)
    takes_copies = number in shares and number in ready_versions(context.observed) and allocated.target[number] > 0
    return mirror if isinstance(mirror, api.Mirror) and takes_copies else None, session if isinstance(session, api.SessionPersistence) else None


def percent(parts: Mapping[int, int]) -> dict[int, int]:
    """Parts of a whole in percent; all 0 where the whole is."""
    whole = sum(parts.values())
    return {number: round(100 * part / whole) if whole else 0 for number, part in parts.items()}
