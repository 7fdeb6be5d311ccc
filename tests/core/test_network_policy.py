"""NetworkPolicies: what passes, asked of the policies and of the labels that our Pods really have; and when they are there."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest

import manifests
from simulation import Simulation
from yolo_operator.core import api
from yolo_operator.core.resources import network_policy

Manifest = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a Pod, or an address outside the cluster."""

    labels: Manifest = field(default_factory=dict)
    namespace: str = "factory"
    address: str = ""


def pod_of(manifest: Manifest) -> End:
    """A Pod as a Job or a Deployment of ours makes it."""
    return End(manifest["spec"]["template"]["metadata"]["labels"])


BUILD = pod_of(manifests.build_job())
VERIFY = pod_of(manifests.verify_job())
ANALYSIS = pod_of(manifests.analysis_job())
PRUNE = pod_of(manifests.prune_job())
TRITON = pod_of(manifests.deployment_cpu())
OTHER_MODEL = End(TRITON.labels | {"yolo-operator.io/deployment": "vest", "app.kubernetes.io/instance": "vest"})
STORAGE = End({"app": "s3"}, "storage")
SOURCE = End(address="203.0.113.7")
INTERNET = End(address="198.51.100.7")
METADATA = End(address="169.254.169.254")
DNS = End({"k8s-app": "kube-dns"}, "kube-system")
NEIGHBOUR = End({"app": "camera"})
STRANGER = End({"app": "camera"}, "elsewhere")
PROMETHEUS = End({"app": "prometheus"}, "monitoring")


def selects(selector: Manifest, labels: Manifest) -> bool:
    """As Kubernetes reads a label selector, as far as ours go."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(expression["operator"] == "In" for expression in selector.get("matchExpressions", ()))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in selector.get("matchExpressions", ())
    )


def is_peer(peer: Manifest, end: End) -> bool:
    if "ipBlock" in peer:
        return bool(end.address) and ipaddress.ip_address(end.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    there = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace}) if "namespaceSelector" in peer else end.namespace == "factory"
    return not end.address and there and selects(peer.get("podSelector", {}), end.labels)


def passes(policies: list[Manifest], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out at its source and in at its target."""

    def let(end: End, direction: str, peers: str, other: End) -> bool:
        mine = [policy["spec"] for policy in policies if end.namespace == "factory" and not end.address and selects(policy["spec"]["podSelector"], end.labels)]
        rules = [rule for spec in mine for rule in spec[direction]]
        return not mine or any({"port": port, "protocol": protocol} in rule["ports"] and any(is_peer(peer, other) for peer in rule[peers]) for rule in rules)

    return let(source, "egress", "to", target) and let(target, "ingress", "from", source)


def network(**more: Any) -> list[Manifest]:
    """The policies with storage and source named, and nobody else."""
    return [*manifests.policies(networkPolicy={"clients": None, "prometheus": None} | more).values()]


@pytest.mark.parametrize(
    ("source", "target", "port", "passing"),
    [
        pytest.param(BUILD, STORAGE, 8333, True, id="a build publishes"),
        pytest.param(BUILD, SOURCE, 443, True, id="a build fetches"),
        pytest.param(BUILD, DNS, 53, True, id="a build asks for names"),
        pytest.param(BUILD, SOURCE, 80, False, id="at the port that is named and no other"),
        pytest.param(BUILD, INTERNET, 443, False, id="the weights' code reaches nobody outside"),
        pytest.param(BUILD, INTERNET, 53, False, id="nor as a name server"),
        pytest.param(BUILD, METADATA, 80, False, id="nor the cloud's metadata"),
        pytest.param(BUILD, TRITON, 8000, False, id="nor Triton"),
        pytest.param(BUILD, NEIGHBOUR, 80, False, id="nor a neighbour"),
        pytest.param(VERIFY, TRITON, 8000, True, id="a verification asks over HTTP"),
        pytest.param(VERIFY, TRITON, 8001, True, id="and over gRPC"),
        pytest.param(VERIFY, STORAGE, 8333, True, id="it reads the golden picture"),
        pytest.param(VERIFY, SOURCE, 443, False, id="it has no business at the source"),
        pytest.param(ANALYSIS, TRITON, 8000, True, id="an analysis shows pictures"),
        pytest.param(ANALYSIS, TRITON, 8002, True, id="and reads metrics"),
        pytest.param(ANALYSIS, STORAGE, 8333, True, id="and fetches pictures"),
        pytest.param(ANALYSIS, OTHER_MODEL, 8000, False, id="it reaches no other model"),
        pytest.param(PRUNE, STORAGE, 8333, True, id="a removal reaches the storage"),
        pytest.param(TRITON, STORAGE, 8333, True, id="Triton reads its model"),
        pytest.param(TRITON, DNS, 53, True, id="Triton asks for names"),
        pytest.param(TRITON, SOURCE, 443, False, id="Triton has no business at the source"),
        pytest.param(TRITON, TRITON, 8000, False, id="nor with another Triton"),
        pytest.param(NEIGHBOUR, TRITON, 8000, True, id="who is in the namespace may ask Triton"),
        pytest.param(STRANGER, TRITON, 8000, False, id="who is elsewhere may not"),
        pytest.param(INTERNET, TRITON, 8000, False, id="nor may who is outside"),
        pytest.param(PROMETHEUS, TRITON, 8002, False, id="nor may Prometheus, unless it is named"),
        pytest.param(NEIGHBOUR, BUILD, 8000, False, id="nobody reaches a Job"),
        pytest.param(NEIGHBOUR, STRANGER, 80, True, id="other Pods of the namespace are left alone"),
    ],
)
def test_what_passes(source, target, port, passing):
    assert passes(network(), source, target, port) is passing


def test_names_are_asked_for_over_udp_and_nothing_else_is():
    assert passes(network(), BUILD, DNS, 53, "UDP")
    assert not passes(network(), BUILD, STORAGE, 8333, "UDP")


def test_a_name_server_outside_the_cluster_takes_the_place_of_those_inside():
    policies = network(dns=[{"cidr": "169.254.20.10/32", "port": 53}])
    assert passes(policies, TRITON, End(address="169.254.20.10"), 53, "UDP")
    assert not passes(policies, TRITON, DNS, 53, "UDP")


def test_with_clients_named_those_ask_triton_and_the_namespace_does_not():
    policies = network(clients=[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}, {"cidr": "198.51.100.0/24"}])
    assert all(passes(policies, client, TRITON, port) for client in (STRANGER, INTERNET) for port in (8000, 8001, 8002))
    assert not passes(policies, NEIGHBOUR, TRITON, 8000)
    assert all(passes(policies, ours, TRITON, 8000) for ours in (VERIFY, ANALYSIS)), "our own Jobs still do"
    assert not passes(policies, PRUNE, TRITON, 8000)


def test_triton_alone_reaches_the_collector_that_is_named():
    collector = End({"app": "otel"}, "monitoring")
    where = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}, "podSelector": {"matchLabels": {"app": "otel"}}}
    policies = network(tracing=[where | {"port": 4318}])
    assert passes(policies, TRITON, collector, 4318)
    assert not any(passes(policies, other, collector, 4318) for other in (BUILD, VERIFY, ANALYSIS, PRUNE))
    assert not passes(network(), TRITON, collector, 4318)


def test_prometheus_reads_metrics_and_asks_for_no_inference():
    policies = network(prometheus=[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}])
    assert passes(policies, PROMETHEUS, TRITON, 8002)
    assert not passes(policies, PROMETHEUS, TRITON, 8000)
    assert passes(policies, NEIGHBOUR, TRITON, 8002), "clients are as before"


def test_what_a_client_is_may_be_said_with_every_word_of_a_networkpolicy():
    selector = {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["press"]}]}
    peer = network_policy.peer(api.Peer.model_validate({"namespaceSelector": {}, "podSelector": selector}))
    assert peer == {"namespaceSelector": {}, "podSelector": selector}


# When they are there.


def names_of(cluster: Simulation) -> list[str]:
    return sorted(cluster.objects["NetworkPolicy"])


ALL = ["helmet-build", "helmet-jobs", "helmet-triton"]


def test_by_default_there_are_none():
    cluster = Simulation()
    cluster.run()
    assert names_of(cluster) == []


def test_they_are_there_before_any_pod_and_after_them_nothing_changes():
    cluster = Simulation(**manifests.NETWORK)
    decided = cluster.reconcile()
    assert [made["metadata"]["name"] for made in decided.apply[:3]] == ALL
    assert names_of(cluster) == ALL
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    assert names_of(cluster) == ALL


def test_switched_off_they_go_and_nothing_else_does():
    cluster = Simulation(**manifests.NETWORK)
    cluster.run()
    others = {kind: sorted(store) for kind, store in cluster.objects.items() if kind != "NetworkPolicy"}
    cluster.edit(networkPolicy={"enabled": False})
    cluster.run()
    assert names_of(cluster) == []
    assert {kind: sorted(store) for kind, store in cluster.objects.items() if kind != "NetworkPolicy"} == others
    assert cluster.decide().delete == []


def test_one_that_this_release_does_not_make_goes():
    cluster = Simulation(**manifests.NETWORK)
    cluster.run()
    cluster.apply(cluster.objects["NetworkPolicy"]["helmet-jobs"] | {"metadata": {"name": "helmet-old", "labels": {}}})
    cluster.run()
    assert names_of(cluster) == ALL


def test_while_the_resource_is_deleted_they_stay_for_the_job_that_clears_the_storage():
    cluster = Simulation(**manifests.NETWORK, deletionPolicy="Delete")
    cluster.run()
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    decided = cluster.reconcile()
    assert not [live for live in decided.delete if live["kind"] == "NetworkPolicy"]
