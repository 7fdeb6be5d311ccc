"""What Gateways say of the routes: has each of them taken the routes as they are now, and all that is wanted of them? If not, why. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from yolo_operator.core import api, features, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed
from yolo_operator.core.pods import MESSAGE_LIMIT, Problem
from yolo_operator.core.resources.route import API_GROUP, GRPC_ROUTE, HTTP_ROUTE

WORST_FIRST = ("RouteNotAccepted", "RouteRefsNotResolved", "GatewayFeatureMissing", "GatewayFeaturesUnknown", "RoutePending")


def problem(yolo: api.YoloDeployment, observed: Observed) -> Problem | None:
    """The worst of what keeps requests from the versions on their way through the Gateways, and of what the routes go without; None without any."""
    gateway = yolo.spec.traffic.gateway
    if gateway is None:
        return None
    if not observed.gateway_api:
        return Problem(
            "GatewayApiMissing",
            "spec.traffic.mode is Gateway, and the API server has no HTTPRoute and GRPCRoute of gateway.networking.k8s.io/v1: "
            "install the CRDs of the Gateway API, 1.1 or later, and a Gateway controller, or set spec.traffic.mode to Service",
        )
    stores = {HTTP_ROUTE: observed.http_routes} | ({GRPC_ROUTE: observed.grpc_routes} if gateway.grpc is not None else {})
    found = [each for kind, store in stores.items() for each in problems_of_kind(yolo, kind, store)]
    found += [each for each in (features.mirror(yolo, observed), features.session_persistence(yolo, observed)) if isinstance(each, Problem)]
    return min(found, key=lambda each: WORST_FIRST.index(each.reason), default=None)


def problems_of_kind(yolo: api.YoloDeployment, kind: str, store: Mapping[str, Manifest]) -> list[Problem]:
    """Of the resource's own route, which must be there, and of its declared versions'; those of versions that drain do not count."""
    if yolo.name not in store:
        return [Problem("RoutePending", f"{kind} {yolo.name!r} is not there yet")]
    wanted = [yolo.name, *(names.versioned(yolo, version.version) for version in yolo.spec.versions)]
    routes = [store[name] for name in wanted if name in store]
    return [each for live in routes for parent in live["spec"]["parentRefs"] if (each := problem_with(kind, live, parent)) is not None]


def problem_with(kind: str, live: Manifest, parent: Mapping[str, Any]) -> Problem | None:
    """What one Gateway has against one route."""
    found = conditions(live, parent)
    accepts, resolves = found.get("Accepted", {}), found.get("ResolvedRefs", {})
    section = f", listener {parent['sectionName']!r}" if parent.get("sectionName") else ""
    gateway = f"Gateway {parent.get('namespace') or live['metadata']['namespace']}/{parent['name']}{section}"
    route = f"{kind} {live['metadata']['name']!r}"
    if accepts.get("status") == "False":
        return Problem(
            "RouteNotAccepted",
            f"{gateway} does not accept {route}: {words(accepts)}. Correct spec.traffic.gateway, or the Gateway's listeners and allowedRoutes"[:MESSAGE_LIMIT],
        )
    if resolves.get("status") == "False":
        return Problem("RouteRefsNotResolved", f"{gateway} cannot send the requests of {route} on: {words(resolves)}"[:MESSAGE_LIMIT])
    if accepts.get("status") != "True":
        return Problem(
            "RoutePending",
            f"{gateway} has not answered for {route} as it is now. If it stays so: is there that Gateway (spec.traffic.gateway.parentRefs), "
            f"and does its controller run and serve {kind}s?",
        )
    return None


def conditions(live: Manifest, parent: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What was said of a route to one of its parents, by type: of this generation only. What is True for one controller is True."""
    namespace, generation = live["metadata"]["namespace"], live["metadata"].get("generation", 0)
    found: dict[str, Mapping[str, Any]] = {}
    for entry in live.get("status", {}).get("parents", ()):
        if identity(entry["parentRef"], namespace) != identity(parent, namespace):
            continue
        for condition in entry.get("conditions", ()):
            fresh = condition.get("observedGeneration", generation) >= generation
            if fresh and (condition["type"] not in found or condition["status"] == "True"):
                found[condition["type"]] = condition
    return found


def identity(parent: Mapping[str, Any], namespace: str) -> tuple[Any, ...]:
    """A parent reference with its defaults: a controller may repeat it with or without them."""
    return (
        parent.get("group", API_GROUP),
        parent.get("kind", "Gateway"),
        parent.get("namespace") or namespace,
        parent["name"],
        parent.get("sectionName") or "",
        parent.get("port"),
    )


def words(condition: Mapping[str, Any]) -> str:
    """A condition's reason and message."""
    return ": ".join(filter(None, (condition.get("reason", ""), condition.get("message", "").strip().rstrip("."))))


def unwanted(observed: Observed, made: Iterable[Manifest]) -> list[Manifest]:
    """Our routes that are not among those made now."""
    kept = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in made}
    return [live for live in (*observed.http_routes.values(), *observed.grpc_routes.values()) if (live["kind"], live["metadata"]["name"]) not in kept]
