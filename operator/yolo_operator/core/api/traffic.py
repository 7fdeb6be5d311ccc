"""`spec.traffic`: how requests are shared among the versions."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from yolo_operator.core.api.fields import MAX_VERSION, Duration, Model, ObjectName, rules

Hostname = Annotated[str, Field(min_length=1, max_length=253, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")]


class ParentReference(Model):
    """Names a Gateway, as in a route of the Gateway API."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: Annotated[str | None, Field(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = None
    """Namespace of the Gateway. Default: the resource's own."""
    section_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None
    """Listener of the Gateway. Default: every listener that admits the route."""


class GrpcTraffic(Model):
    """gRPC through the Gateway: on hostnames of its own, since one hostname cannot serve an HTTPRoute and a GRPCRoute."""

    hostnames: list[Hostname] = Field(min_length=1, max_length=8)
    """Host names of the GRPCRoute; none of them may be among spec.traffic.gateway.hostnames."""
    parent_refs: list[ParentReference] = Field(default_factory=list, max_length=8)
    """Gateways of the GRPCRoute. Default: spec.traffic.gateway.parentRefs."""


class Mirror(Model):
    """A version that gets copies of the HTTP requests that are shared out by weight; its answers are thrown away."""

    version: int = Field(ge=1, le=MAX_VERSION)
    """Number of the version. Its weight is 0; it has versions[].replicas pods, 1 by default, besides spec.replicas."""
    percent: int = Field(default=100, ge=1, le=100)
    """Percent of the requests that are copied."""


class SessionPersistence(Model):
    """A client stays with the pod that answered it first, whatever the weights are by then, as long as it sends back what it was given."""

    type: Literal["Cookie", "Header"] = "Cookie"
    """What the client is given and sends back."""
    session_name: Annotated[str | None, Field(min_length=1, max_length=128, pattern="^[0-9A-Za-z_-]+$")] = None
    """Name of the cookie or header. Default: the Gateway's choice."""
    absolute_timeout: Duration | None = None
    """How long a session lasts at most, for example 1h. Default: the Gateway's choice."""


class GatewayTraffic(Model):
    """Routes of the Gateway API."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.grpc) || !self.grpc.hostnames.exists(h, h in self.hostnames)",
                "a hostname serves HTTP or gRPC, not both: give spec.traffic.gateway.grpc.hostnames names of their own",
            ),
        )
    )

    parent_refs: list[ParentReference] = Field(min_length=1, max_length=8)
    """Gateways that the routes attach to."""
    hostnames: list[Hostname] = Field(min_length=1, max_length=8)
    """Host names of the HTTPRoute. Version 2 alone answers below v2.HOSTNAME, and to the header x-yolo-version: 2."""
    grpc: GrpcTraffic | None = None
    """gRPC as well. Default: HTTP alone."""
    mirror: Mirror | None = None
    """Copy requests to a version that serves none, where the Gateway's class lists HTTPRouteRequestMirror (below 100 percent
    HTTPRouteRequestPercentageMirror too). Elsewhere the route goes without, and Ready says so."""
    session_persistence: SessionPersistence | None = None
    """Keep a client at its pod, over HTTP, where the Gateway's class lists HTTPRouteSessionPersistence and the HTTPRoute's CRD has the field.
    Elsewhere the route goes without, and Ready says so."""


class Traffic(Model):
    """How requests are shared among the versions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.mode) && self.mode == 'Gateway') == has(self.gateway)",
                "spec.traffic.gateway goes with spec.traffic.mode Gateway, and only with it",
            ),
        )
    )

    mode: Literal["Service", "Gateway"] = "Service"
    """Service: one Service over the pods of all versions, so shares follow the numbers of pods. Gateway: exact shares by routes of the Gateway API."""
    gateway: GatewayTraffic | None = None
    """Where the routes go, with mode Gateway."""
    allow_incompatible: bool = False
    """Share traffic even among versions whose inputs, outputs, task, image size or classes differ. Clients read those once, at their start."""
