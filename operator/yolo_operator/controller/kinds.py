"""The kinds the operator watches and writes: where the API server has them, and what of them is kept in memory."""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_operator.core import api, names
from yolo_operator.core.served_models import WANTED

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
SERVER = Kind(api.SERVER_KIND, api.GROUP, api.VERSION, api.SERVER_PLURAL, selector="")
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
"""Children too, but not Kubernetes' own."""
OPTIONAL = (SERVER, *ROUTES)
"""Kinds that the operator does without where their CRDs are missing: those of the Gateway API, and ours where only the image is of this release."""
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in (*WATCHED, *OPTIONAL)}

POD_FIELDS = frozenset({"nodeName", "resourceClaims", "initContainers"})
"""Of a Pod's spec: where it is, what it waits for, and which of its containers are sidecars."""
LONGEST_SHARED = 256
"""Characters of a text that may well be in other objects too."""


def trim(kind: Kind, body: Mapping[str, Any]) -> Manifest:
    """What is kept of an object: of managed fields only ours, and where they are compared; of Pods and Jobs only what tells how they are, and of a server's
    Pods which models they have been told to have."""
    kept = {key: compact(value) for key, value in body.items() if key != "metadata" and not (key == "spec" and kind in (POD, JOB))}
    metadata = {key: compact(value) for key, value in body["metadata"].items() if key != "managedFields" and not (key == "annotations" and kind is POD)}
    if kind is POD and (spec := pod_spec(body.get("spec", {}))):
        kept["spec"] = spec
    if kind is POD and WANTED in body["metadata"].get("annotations", {}):
        metadata["annotations"] = {WANTED: body["metadata"]["annotations"][WANTED]}
    if kind not in (YOLO, SERVER, POD, JOB):
        metadata["managedFields"] = [owned(entry) for entry in body["metadata"].get("managedFields", ()) if entry.get("manager") == names.FIELD_MANAGER]
    return kept | {"metadata": metadata, "apiVersion": kind.api_version, "kind": kind.name}


def pod_spec(spec: Mapping[str, Any]) -> Manifest:
    """What is kept of a Pod's spec; of its init containers those that are sidecars, by name."""
    kept = {key: compact(value) for key, value in spec.items() if key in POD_FIELDS}
    sidecars = [{"name": each["name"], "restartPolicy": each["restartPolicy"]} for each in kept.pop("initContainers", ()) if each.get("restartPolicy")]
    return kept | ({"initContainers": sidecars} if sidecars else {})


def compact(value: Any) -> Any:
    """The same value, whose keys and words take the place of those that are in memory already: a parser makes each anew, and a thousand objects have the same."""
    match value:
        case str():
            return sys.intern(value) if len(value) <= LONGEST_SHARED else value
        case Mapping():
            return {sys.intern(key): compact(each) for key, each in value.items()}
        case list() | tuple():
            return [compact(each) for each in value]
        case _:
            return value


def owned(entry: Mapping[str, Any]) -> Manifest:
    """An entry of managed fields. Except for the owner's uid those of a kind own the same: that is in memory once, and not to be changed."""
    kept: Manifest = {key: compact(value) for key, value in entry.items() if key != "fieldsV1"}
    if "fieldsV1" in entry:
        kept["fieldsV1"] = {top: {name: _once(names.canonical(inner)) for name, inner in below.items()} for top, below in entry["fieldsV1"].items()}
    return kept


@functools.lru_cache(maxsize=4096)
def _once(fields: str) -> Any:
    return compact(names.parse_object(fields))
