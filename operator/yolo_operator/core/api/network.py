"""`spec.networkPolicy`: whom the resource's Pods may reach, and who may reach Triton."""

from typing import Annotated

from pydantic import ConfigDict, Field

from yolo_operator.core.api.fields import Freeform, Model, rules


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

    cidr: Annotated[
        str | None,
        Field(max_length=43, json_schema_extra=rules(("isCIDR(self)", "cidr is a network with its length, for example 10.20.0.0/16 or 10.20.0.7/32"))),
    ] = None
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
