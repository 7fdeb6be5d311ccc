"""A YoloServer, its models and a load upon each, as the tests speak of them."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from e2e import storage as s3
from e2e.cluster import Cluster, Manifest, condition, pod_ready
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.load import Load, Tally
from e2e.operator_process import OperatorProcess

SERVER = "line-3"


@contextlib.contextmanager
def factory(cluster: Cluster, operator: OperatorProcess, name: str) -> Iterator[str]:
    """A namespace for YoloServers and their models, which are deleted at its end."""
    operator.start()
    namespace = make_namespace(cluster, name)
    try:
        yield namespace
    finally:
        operator.start()
        cluster.kubectl("delete", "yolodeployments,yoloservers", "-n", namespace, "--all", "--timeout=120s", timeout=130)
        remove_namespace(cluster, namespace)


def server_of(namespace: str, **spec: object) -> Manifest:
    """A YoloServer on the CPU, with the tests' storage."""
    base: Manifest = {
        "replicas": 2,
        "memoryBudget": "2Gi",
        "storage": {"uri": "s3://models/yolo", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}},
        "gpu": {"count": 0},
        "triton": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
    }
    return {"apiVersion": "yolo-operator.io/v1alpha1", "kind": "YoloServer", "metadata": {"name": SERVER, "namespace": namespace}, "spec": base | spec}


@dataclass(slots=True)
class Line:
    """A server, its models and a load upon each."""

    cluster: Cluster
    namespace: str
    loads: contextlib.ExitStack
    asked: dict[str, Load] = field(default_factory=dict)

    def add(self, name: str, source: str, **spec: object) -> None:
        """Apply a YoloDeployment that the server is to serve."""
        made = yolo_deployment(self.namespace, name, source, **({"serverRef": {"name": SERVER}} | spec))
        for theirs in ("storage", "gpu"):
            del made["spec"][theirs]
        made["spec"]["triton"] = {key: value for key, value in made["spec"]["triton"].items() if key != "resources"}
        self.cluster.apply(made)

    def edit(self, name: str, **spec: object) -> None:
        """Change a model's spec."""
        self.cluster.patch("yolodeployment", self.namespace, name, {"spec": spec})

    def ready(self, name: str, timeout: float = 360) -> Manifest:
        """Wait until a model serves as its spec says; its status."""
        status: Manifest = self.cluster.wait_ready(self.namespace, name, timeout)["status"]
        return status

    def ask(self, name: str, *, http: int = 3, grpc: int = 1, pause: float = 0.1, size: int = 64) -> None:
        """Begin a load upon a model that serves."""
        load = Load(self.cluster.service_ip(self.namespace, name), name, http=http, grpc=grpc, pause=pause, size=size)
        self.asked[name] = self.loads.enter_context(load)

    def stop_asking(self, name: str) -> Tally:
        """End the load upon a model; what it met."""
        load = self.asked.pop(name)
        load.__exit__()
        return load.so_far()

    def server(self) -> Manifest:
        """The YoloServer."""
        found = self.cluster.get("yoloserver", self.namespace, SERVER)
        assert found is not None
        return found

    def server_is(self, reason: str, timeout: float = 120) -> Manifest:
        """Wait for the reason of the server's condition Ready; its status."""

        def check() -> Manifest | None:
            found = self.server()
            ready = condition(found, "Ready")
            fits = ready.get("reason") == reason and ready.get("observedGeneration") == found["metadata"]["generation"]
            return found if fits else None

        status: Manifest = self.cluster.wait(f"the server {reason}", check, timeout, lambda: json.dumps(self.server().get("status")))["status"]
        return status

    def pods(self) -> list[Manifest]:
        """The server's pods that are not on their way out."""
        found = self.cluster.list("pods", self.namespace, f"yolo-operator.io/server={SERVER}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def runs(self) -> set[tuple[str, str]]:
        """The pods' Tritons, by container: another one is a restart."""
        return {(pod["metadata"]["name"], status["containerID"]) for pod in self.pods() for status in pod["status"]["containerStatuses"]}

    def serves(self, pods: int) -> bool:
        """Whether so many pods are ready and take requests for all models that are asked for."""
        labels = [pod["metadata"]["labels"] for pod in self.pods() if pod_ready(pod)]
        return len(labels) == pods and all(each.get(f"serves.yolo-operator.io/{name}") == "true" for each in labels for name in self.asked)

    def counted(self) -> dict[str, Tally]:
        """What each load has met so far."""
        return {name: load.so_far() for name, load in self.asked.items()}

    def shown(self) -> list[str]:
        """The row of `kubectl get yservers`."""
        _, row = self.cluster.kubectl("get", "yservers", SERVER, "-n", self.namespace).splitlines()
        return row.split()
