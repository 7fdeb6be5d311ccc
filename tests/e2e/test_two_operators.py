"""Two operators under one Lease: one acts, the other takes over, and the API server's audit log shows that no two ever did at once."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from e2e.cluster import KUBECONFIG, Cluster, Manifest, audited, end_of_audit
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.operator_process import OperatorProcess
from e2e.wire import Cuttable
from yolo_operator.controller.leader import DEADLINE_SECONDS

LEASE = "yolo-operator"
REVIVED_SECONDS = 3
"""For one that goes on after its Lease to write what it must not."""
ENDED_SECONDS = 30
"""For one that has lost its Lease to end, so that it is started anew and waits for the next."""
RELAXED = 0.5
"""Seconds a request may be under way before the API server's log has it."""


@dataclass(slots=True)
class Replica:
    """One of the operators: a user of its own, so that the audit log tells who wrote, and a wire of its own."""

    name: str
    process: OperatorProcess
    wire: Cuttable


@dataclass(slots=True)
class Pair:
    """Both, and what they look after."""

    cluster: Cluster
    namespace: str
    replicas: list[Replica]
    since: int
    editing: threading.Lock
    """Held, nothing is edited."""

    def holder(self) -> str:
        lease = self.cluster.get("lease", self.namespace, LEASE) or {"spec": {}}
        return str(lease["spec"].get("holderIdentity", ""))

    def leader(self) -> Replica:
        return self.cluster.wait("a leader", lambda: next((each for each in self.replicas if each.name == self.holder()), None), 90)

    def other(self, leader: Replica) -> Replica:
        return next(each for each in self.replicas if each is not leader)

    def followed(self) -> bool:
        """Whether the status tells of the newest spec: nothing is left to write until the next edit."""
        found = self.cluster.yolo(self.namespace, "model")
        return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])

    def taken_over(self, by: Replica, since: float, limit: float) -> float:
        """Seconds until another holds the Lease and writes."""
        before = len(self.writes(by.name))
        while self.holder() != by.name or len(self.writes(by.name)) == before:
            assert time.monotonic() - since < limit + 5, f"{by.name} has not taken over"
            time.sleep(0.1)
        return time.monotonic() - since

    def events(self, name: str) -> list[Manifest]:
        user = f"system:serviceaccount:{self.namespace}:{name}"
        return [event for event in audited(self.since) if event["user"]["username"] == user and event["verb"] in {"create", "update", "patch", "delete"}]

    def waiting(self, replica: Replica) -> bool:
        """Whether it has looked at the Lease since it was started."""
        user = f"system:serviceaccount:{self.namespace}:{replica.name}"
        asked = [event for event in audited(self.since) if event["user"]["username"] == user and "/leases/" in event["requestURI"]]
        return any(moment(event).timestamp() > replica.process.started for event in asked)

    def writes(self, name: str) -> list[datetime]:
        """When its writes reached the API server, but for those of the Lease."""
        return [moment(event) for event in self.events(name) if event["objectRef"]["resource"] != "leases"]

    def renewals(self, name: str) -> list[datetime]:
        return [moment(event) for event in self.events(name) if event["objectRef"]["resource"] == "leases" and event["responseStatus"]["code"] < 300]


def moment(event: Manifest) -> datetime:
    return datetime.fromisoformat(event["requestReceivedTimestamp"])


def kubeconfig(cluster: Cluster, namespace: str, name: str, wire: Cuttable, folder: Path) -> Path:
    """For a service account that may do all, through a wire."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    cluster.apply(account, binding)
    config = yaml.safe_load(Path(KUBECONFIG).read_text())
    config["clusters"][0]["cluster"] = {"server": f"https://{wire.address}", "insecure-skip-tls-verify": True}
    config["users"][0]["user"] = {"token": cluster.kubectl("create", "token", "-n", namespace, name).strip()}
    path = folder / f"{name}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def pair(cluster: Cluster, operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two operators for one namespace, and a resource that is edited without a pause; the suite's own operator rests."""
    operator.stop()
    namespace, folder = make_namespace(cluster, "pair"), tmp_path_factory.mktemp("pair")
    address = urlsplit(yaml.safe_load(Path(KUBECONFIG).read_text())["clusters"][0]["cluster"]["server"])
    assert address.hostname
    assert address.port
    replicas, stop, editing, since = [], threading.Event(), threading.Lock(), end_of_audit()
    for name in ("first", "second"):
        wire = Cuttable((address.hostname, address.port))
        config = kubeconfig(cluster, namespace, name, wire, folder)
        process = OperatorProcess(
            folder / f"{name}.log", config, NAMESPACES=namespace, LEASE_NAMESPACE=namespace, LEASE_NAME=LEASE, IDENTITY=name, RESYNC_SECONDS="300"
        )
        replicas.append(Replica(name, process, wire))
    # No such Secret: its Job waits, and every edit is a write of its status.
    cluster.apply(yolo_deployment(namespace, storage={"uri": "s3://models/yolo", "endpoint": "http://nowhere:8333", "secretRef": {"name": "none"}}))

    def edit() -> None:
        replicas = 1
        while not stop.wait(0.5):
            replicas = replicas % 5 + 1
            with editing:
                cluster.patch("yolodeployment", namespace, "model", {"spec": {"replicas": replicas}})

    editor = threading.Thread(target=edit, daemon=True)
    editor.start()
    for each in replicas:
        each.process.start()
    yield Pair(cluster, namespace, replicas, since, editing)
    stop.set()
    editor.join()
    for each in replicas:
        each.process.start()
        each.process.kill()
        each.wire.close()
    remove_namespace(cluster, namespace)
    operator.start()


def ended(leader: Replica) -> None:
    leader.process.stop()


def killed(leader: Replica) -> None:
    leader.process.kill()


def stopped(leader: Replica) -> None:
    os.kill(leader.process.pid, signal.SIGSTOP)


def cut_off(leader: Replica) -> None:
    leader.wire.cut()


FAULTS: list[tuple[str, Callable[[Replica], None], float]] = [
    ("ended, and gives the Lease up", ended, 2),
    ("killed", killed, 20),
    ("stopped for longer than its Lease", stopped, 20),
    ("cut off from the API server", cut_off, 20),
]


@pytest.mark.parametrize(
    ("fault", "limit"), [pytest.param(fault, limit, id=name, marks=pytest.mark.matrix if i else ()) for i, (name, fault, limit) in enumerate(FAULTS)]
)
def test_when_the_leader_is(
    fault: Callable[[Replica], None], limit: float, pair: Pair, request: pytest.FixtureRequest, record_property: Callable[[str, str], None]
) -> None:
    leader = pair.leader()
    other = pair.other(leader)
    pair.cluster.wait("writes of the leader", lambda: pair.writes(leader.name), 60)
    pair.cluster.wait("the other's looks at the Lease", lambda: pair.waiting(other), 60)
    # No write is under way when it happens: one that has been begun is sent when a process that was stopped goes on.
    with pair.editing:
        pair.cluster.wait("the leader's answer to the last edit", pair.followed)
        begun = time.monotonic()
        fault(leader)
    if fault is ended:
        # Its last pass ends before it gives the Lease up.
        begun = time.monotonic()
    seconds = pair.taken_over(other, begun, limit)
    if fault is stopped:
        os.kill(leader.process.pid, signal.SIGCONT)
    leader.wire.mend()
    time.sleep(REVIVED_SECONDS)
    pair.cluster.wait("the end of the one that led", lambda: not leader.process.is_running, ENDED_SECONDS)
    leader.process.start()
    assert seconds < limit
    assert pair.holder() == other.name
    each_writes_only_while_it_leads(pair)
    for column, text in {
        "Fault": f"of two operators the leader is {request.node.callspec.id}",
        "On": "the whole cluster",
        "Tried": "1",
        "Ended well": "1",
        "Seconds to recover": f"{seconds:.1f}",
    }.items():
        record_property(column, text)


def each_writes_only_while_it_leads(pair: Pair) -> None:
    """Every write follows a renewal of the writer's within its deadline, with no renewal of the other's in between."""
    renewals = sorted((when, each.name) for each in pair.replicas for when in pair.renewals(each.name))
    writes = sorted((when, each.name) for each in pair.replicas for when in pair.writes(each.name))
    assert writes
    for when, name in writes:
        before = [entry for entry in renewals if entry[0] <= when]
        assert before, f"{name} wrote before anybody led"
        assert before[-1][1] == name, f"{name} wrote at {when}, and {before[-1][1]} held the Lease"
        assert (when - before[-1][0]).total_seconds() < DEADLINE_SECONDS + RELAXED, f"{name} wrote at {when}, long after its renewal"
