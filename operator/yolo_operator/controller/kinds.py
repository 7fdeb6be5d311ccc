"""The kinds the operator watches and writes: where the API server has them, and what of them is kept in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_operator.core import api, names

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as the API server addresses it."""

    name: str
    group: str
    version: str
    plural: str
    selector: str = names.MANAGED_SELECTOR
    """Label selector of the watch, on the server."""

    @property
    def api_version(self) -> str:
        """As in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection or of one object."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *filter(None, (name, subresource))])


YOLO = Kind(api.KIND, api.GROUP, api.VERSION, api.PLURAL, selector="")
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments")
JOB = Kind("Job", "batch", "v1", "jobs")
POD = Kind("Pod", "", "v1", "pods")
SERVICE = Kind("Service", "", "v1", "services")
BUDGET = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies")
HTTP_ROUTE = Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes")
GRPC_ROUTE = Kind("GRPCRoute", "gateway.networking.k8s.io", "v1", "grpcroutes")
GATEWAY = Kind("Gateway", "gateway.networking.k8s.io", "v1", "gateways", selector="")
GATEWAY_CLASS = Kind("GatewayClass", "gateway.networking.k8s.io", "v1", "gatewayclasses", selector="")
CRD = Kind("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions", selector="")
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")
EVENT = Kind("Event", "", "v1", "events")

CHILDREN = (DEPLOYMENT, JOB, POD, SERVICE, BUDGET, NETWORK_POLICY)
WATCHED = (YOLO, *CHILDREN)
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)
"""Children too, but not Kubernetes' own: their CRDs may be missing, come and go."""
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in (*WATCHED, *ROUTES)}


def trim(kind: Kind, body: Mapping[str, Any]) -> Manifest:
    """What is kept of an object: of managed fields only ours, of Pods only what tells how they are."""
    kept = dict(body)
    metadata = dict(body["metadata"])
    metadata["managedFields"] = [entry for entry in metadata.get("managedFields", ()) if entry.get("manager") == names.FIELD_MANAGER]
    kept |= {"metadata": metadata, "apiVersion": kind.api_version, "kind": kind.name}
    if kind is POD:
        kept.pop("spec", None)
        metadata.pop("managedFields")
        metadata.pop("annotations", None)
    if kind is JOB:
        # Jobs are never compared, only their state is read.
        kept.pop("spec", None)
        metadata.pop("managedFields")
    return kept
