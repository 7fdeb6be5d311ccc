"""NetworkPolicies: whom the Jobs and the Triton pods may reach, and who may reach Triton. Whether they hold is up to the cluster's network.

Nobody may reach a Job. Nobody needs the API server. Probes come from the node, which a NetworkPolicy does not keep out.
"""

from collections.abc import Iterable

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources.service import PORTS

ANY_POD = api.Destination(namespace_selector={}, port=53)
"""Name servers where none are named: in the cluster, so that port 53 is no way out of it."""


def build(yolo: api.YoloDeployment) -> list[Manifest]:
    """All policies of a resource; none where they are not wanted.

    Builds have one of their own: the weights' code runs in them, and has no business with Triton.
    """
    wanted = yolo.spec.network_policy
    if not wanted.enabled:
        return []
    everyones = [*map(name_server, wanted.dns or [ANY_POD]), *map(destination, wanted.storage)]
    triton = {"to": [{"podSelector": pods(yolo, names.TRITON)}], "ports": ports("TCP", PORTS.values())}
    asking = {"podSelector": pods(yolo, names.VERIFY, names.ANALYSIS)}
    clients = [*map(peer, wanted.clients)] or [{"podSelector": {}}]
    ingress: list[Manifest] = [{"from": [asking, *clients], "ports": ports("TCP", PORTS.values())}]
    if wanted.prometheus:
        ingress.append({"from": [*map(peer, wanted.prometheus)], "ports": ports("TCP", [PORTS["metrics"]])})
    return [
        policy(yolo, names.BUILD, pods(yolo, names.BUILD), [], [*everyones, *map(destination, wanted.source)]),
        policy(yolo, "jobs", pods(yolo, names.VERIFY, names.ANALYSIS, names.PRUNE), [], [*everyones, triton]),
        policy(yolo, names.TRITON, pods(yolo, names.TRITON), ingress, [*everyones, *map(destination, wanted.tracing)]),
    ]


def policy(yolo: api.YoloDeployment, component: str, selected: Manifest, ingress: list[Manifest], egress: list[Manifest]) -> Manifest:
    """One policy: what it does not name does not pass, neither in nor out."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(yolo, f"{yolo.name}-{component}", component),
        "spec": {"podSelector": selected, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress},
    }


def pods(yolo: api.YoloDeployment, *components: str) -> Manifest:
    """Selects the resource's Pods of these components."""
    return {"matchLabels": {names.OWNER: yolo.name}, "matchExpressions": [{"key": names.COMPONENT, "operator": "In", "values": [*components]}]}


def peer(entry: api.Peer) -> Manifest:
    """One end of a connection."""
    if entry.cidr is not None:
        return {"ipBlock": {"cidr": entry.cidr}}
    return entry.model_dump(by_alias=True, exclude_none=True, include={"namespace_selector", "pod_selector"})


def destination(entry: api.Destination) -> Manifest:
    """What may be reached over TCP."""
    return {"to": [peer(entry)], "ports": ports("TCP", [entry.port])}


def name_server(entry: api.Destination) -> Manifest:
    """What may be asked for names: over UDP, and over TCP where an answer is long."""
    return {"to": [peer(entry)], "ports": [*ports("UDP", [entry.port]), *ports("TCP", [entry.port])]}


def ports(protocol: str, numbers: Iterable[int]) -> list[Manifest]:
    """Ports of one protocol."""
    return [{"port": number, "protocol": protocol} for number in numbers]
