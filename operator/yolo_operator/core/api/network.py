"""`spec.networkPolicy`: whom the resource's Pods may reach, and who may reach Triton."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from yolo_operator.core.api.fields import Freeform, Model, rules

BYTE = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
IPV4 = f"({BYTE}[.]){{3}}{BYTE}/(3[0-2]|[12]?[0-9])"
IPV6 = "([0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]{0,15}/(12[0-8]|1[01][0-9]|[1-9]?[0-9])"
CIDR_RULE = (f"self.matches('^({IPV4}|{IPV6})$')", "cidr is a network with its length, for example 10.20.0.0/16 or 10.20.0.7/32")
"""isCIDR, which says it better, is unknown to Kubernetes 1.30; what passes and is no network is told by the operator."""


def network(value: str) -> str:
    """The text, if it is a network's. Raises ValueError."""
    ipaddress.ip_network(value, strict=False)
    return value


class Peer(Model):
    """Pods by their labels, or addresses, as in a NetworkPolicy."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.cidr) != (has(self.namespaceSelector) || has(self.podSelector))",
                "an entry names addresses by cidr, or Pods by namespaceSelector, podSelector or both",
            ),
        )
    )

    cidr: Annotated[Annotated[str, AfterValidator(network)] | None, Field(max_length=43, json_schema_extra=rules(CIDR_RULE))] = None
    """Addresses outside the cluster, for example 10.20.0.0/16. For Pods use selectors: many networks do not match Pods by address."""
    namespace_selector: Freeform | None = None
    """Namespaces by their labels, {} for all of them: matchLabels and matchExpressions, as in a NetworkPolicy. Default: the resource's own."""
    pod_selector: Freeform | None = None
    """Pods by their labels, as in a NetworkPolicy. Default: all of those namespaces."""


class Destination(Peer):
    """Peers, and the port they are reached at."""

    port: int = Field(ge=1, le=65535)
    """Port, over TCP; of Pods behind a Service the Pods' own, not the Service's."""


class NetworkPolicy(Model):
    """NetworkPolicies for the Jobs and the Triton pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.enabled) || !self.enabled || (has(self.storage) && self.storage.size() > 0)",
                "spec.networkPolicy.enabled shuts the storage out as well: name it in spec.networkPolicy.storage",
            ),
        )
    )

    enabled: bool = False
    """Let the Jobs and the Triton pods reach, and Triton be reached by, those that are named here and no others. The cluster's network must enforce it."""
    storage: list[Destination] = Field(default_factory=list, max_length=16)
    """Where the storage is; all Pods reach it. With workload identity, where their credentials come from as well."""
    source: list[Destination] = Field(default_factory=list, max_length=16)
    """Where the weights are, if not in the storage, or the proxy to them; for build Jobs only."""
    tracing: list[Destination] = Field(default_factory=list, max_length=4)
    """Where the collector of spec.triton.tracing is; the Triton pods reach it."""
    dns: list[Destination] = Field(default_factory=list, max_length=4)
    """Name servers, over UDP and TCP. Default: port 53 of every Pod in the cluster."""
    clients: list[Peer] = Field(default_factory=list, max_length=16)
    """Who may ask Triton, besides this resource's own Jobs: ports 8000, 8001 and 8002. Behind a Gateway its Pods. Default: all Pods of the namespace."""
    prometheus: list[Peer] = Field(default_factory=list, max_length=16)
    """Who may read Triton's metrics besides the clients: port 8002."""
