"""Routes of the Gateway API: NAME shares requests out by weight, or sends them to one version by a header; NAME-v<N> is one version by its host name.

What the API server would fill in is written out: the routes' lists are single values to it, and a second pass must find them as wanted.
"""

from collections.abc import Mapping, Sequence

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import service

API_GROUP = "gateway.networking.k8s.io"
HTTP_ROUTE, GRPC_ROUTE = "HTTPRoute", "GRPCRoute"
VERSION_HEADER = "x-yolo-version"
MAX_ITEMS = 16
"""Rules of a route, and backends of a rule, that the API allows. More versions are there only while replaced ones drain."""


def build(
    yolo: api.YoloDeployment,
    shares: Mapping[int, int],
    versions: Sequence[int],
    mirror: api.Mirror | None = None,
    session: api.SessionPersistence | None = None,
) -> list[Manifest]:
    """All routes of a resource, none without spec.traffic.gateway.

    `shares` are the versions' relative weights, 0 for those that wait: a change of shares is a change of numbers. `versions` can be
    asked by header and host name. All of them need their Service, or the Gateway does not resolve the route. `mirror` and `session`
    are for what is shared out over HTTP; the Gateways must support them.
    """
    gateway = yolo.spec.traffic.gateway
    if gateway is None:
        return []
    made = of_kind(yolo, HTTP_ROUTE, gateway.parent_refs, gateway.hostnames, shares, versions)
    made[0]["spec"]["rules"][-1] |= extras(yolo, mirror, session)
    if gateway.grpc is not None:
        made += of_kind(yolo, GRPC_ROUTE, gateway.grpc.parent_refs or gateway.parent_refs, gateway.grpc.hostnames, shares, versions)
    return made


def extras(yolo: api.YoloDeployment, mirror: api.Mirror | None, session: api.SessionPersistence | None) -> Manifest:
    """Parts of a rule that not every Gateway knows."""
    parts: Manifest = {}
    if mirror is not None:
        backend = {"group": "", "kind": "Service", "name": names.versioned(yolo, mirror.version), "port": service.PORTS["http"]}
        percent = {"percent": mirror.percent} if mirror.percent < 100 else {}
        parts["filters"] = [{"type": "RequestMirror", "requestMirror": {"backendRef": backend} | percent}]
    if session is not None:
        parts["sessionPersistence"] = session.model_dump(mode="json", by_alias=True, exclude_none=True)  # type, sessionName, absoluteTimeout
    return parts


def of_kind(
    yolo: api.YoloDeployment,
    kind: str,
    parents: Sequence[api.ParentReference],
    hostnames: Sequence[str],
    shares: Mapping[int, int],
    versions: Sequence[int],
) -> list[Manifest]:
    """The routes of one kind: that of the resource, then one per version."""
    largest = sorted(shares, key=lambda number: (-shares[number], number))[:MAX_ITEMS]
    by_header = [rule(yolo, kind, {number: 1}, header=str(number)) for number in sorted(versions)[1 - MAX_ITEMS :]]
    by_weight = rule(yolo, kind, {number: shares[number] for number in sorted(largest)})
    alone = [
        route(yolo, kind, parents, [f"v{number}.{hostname}" for hostname in hostnames], [rule(yolo, kind, {number: 1})], number) for number in sorted(versions)
    ]
    return [route(yolo, kind, parents, hostnames, [*by_header, by_weight]), *alone]


def route(
    yolo: api.YoloDeployment,
    kind: str,
    parents: Sequence[api.ParentReference],
    hostnames: Sequence[str],
    rules: list[Manifest],
    version: int | None = None,
) -> Manifest:
    """One route, of the resource or of one of its versions."""
    return {
        "apiVersion": f"{API_GROUP}/v1",
        "kind": kind,
        "metadata": names.metadata(yolo, yolo.name if version is None else names.versioned(yolo, version), names.TRITON, version),
        "spec": {
            "parentRefs": [
                {"group": API_GROUP, "kind": "Gateway"} | parent.model_dump(by_alias=True, exclude_none=True)  # name, namespace, sectionName
                for parent in parents
            ],
            "hostnames": list(hostnames),
            "rules": rules,
        },
    }


def rule(yolo: api.YoloDeployment, kind: str, shares: Mapping[int, int], header: str = "") -> Manifest:
    """One rule: where requests go, all of them or those with a header. With no weight above 0 the Gateway answers that nothing is there."""
    match: Manifest = {"path": {"type": "PathPrefix", "value": "/"}} if kind == HTTP_ROUTE else {}
    if header:
        match["headers"] = [{"type": "Exact", "name": VERSION_HEADER, "value": header}]
    port = service.PORTS["http" if kind == HTTP_ROUTE else "grpc"]
    backends = [
        {"group": "", "kind": "Service", "name": names.versioned(yolo, number), "port": port, "weight": share} for number, share in sorted(shares.items())
    ]
    return ({"matches": [match]} if match else {}) | {"backendRefs": backends}
