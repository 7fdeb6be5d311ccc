"""Given: a cluster, an S3 server with other people's weights in it, a running operator, and a namespace for each test."""

import json
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import account, hub, secrecy
from e2e import storage as s3
from e2e.cluster import CACHE, WEIGHTS, Cluster, Manifest
from e2e.operator_process import OperatorProcess

ROOT = Path(__file__).parents[2]
CLIENT_IMAGE = "docker.io/yolo-operator/client:dev"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster."""
    for item in items:
        if Path(item.fspath).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return cluster_with_crds()


def cluster_with_crds() -> Cluster:
    """The running cluster, with the CRDs of this checkout."""
    found = Cluster()
    files = [argument for crd in sorted((ROOT / "crds").glob("*.yaml")) for argument in ("-f", str(crd))]
    found.kubectl("apply", "--server-side", "--force-conflicts", *files)
    found.wait("the CRDs", lambda: found.serves("yolodeployments") and found.serves("yoloservers"), 60)
    return found


@pytest.fixture(scope="session")
def storage(cluster: Cluster) -> s3.Storage:
    """The S3 server, with the third-party weights in the bucket `weights`."""
    found = s3.Storage(cluster, weed_image())
    for weights in WEIGHTS.glob("*.pt"):
        found.put("weights", weights.name, weights)
    return found


def weed_image() -> str:
    """SeaweedFS's image, tagged with the version of the program it was made of."""
    version = subprocess.run([CACHE / "tools" / "weed", "version"], capture_output=True, text=True, check=True).stdout
    return f"{s3.IMAGE}:{re.findall(r'[0-9]+[.][0-9]+', version)[-1]}"


@pytest.fixture(scope="session")
def alone(cluster: Cluster) -> Iterator[None]:
    """No other operator runs meanwhile: `make demo` leaves one in the cluster."""
    found = json.loads(
        cluster.kubectl(
            "get", "deployments", "--all-namespaces", "-l", "app.kubernetes.io/name=yolo-operator,app.kubernetes.io/component=operator", "-o", "json"
        )
    )["items"]
    others = [(each["metadata"]["namespace"], each["metadata"]["name"], each["spec"]["replicas"]) for each in found]
    for namespace, name, _ in others:
        cluster.kubectl("scale", "deployment", name, "-n", namespace, "--replicas=0")
        cluster.kubectl(
            "wait", "pod", "-n", namespace, "-l", "app.kubernetes.io/name=yolo-operator,app.kubernetes.io/component=operator", "--for=delete", "--timeout=60s"
        )
    yield
    for namespace, name, replicas in others:
        cluster.kubectl("scale", "deployment", name, "-n", namespace, f"--replicas={replicas}")


@pytest.fixture(scope="package")
def operator(cluster: Cluster, alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator, running for the whole session with the rights that the chart gives; a test that stops it starts it again."""
    folder = tmp_path_factory.mktemp("operator")
    with hub.serving() as hub_url:
        variables = {"ASSETS_URL": f"{s3.ENDPOINT}/{s3.PUBLIC}", "HUB_URL": hub_url}
        process = OperatorProcess(folder / "operator.log", account.kubeconfig(cluster, folder), **variables)
        process.start()
        yield process
        process.stop()
    secrecy.check("the operator's log", process.log.read_text(encoding="utf-8"))


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own that enforces the restricted Pod Security Standard, with the storage's keys in it."""
    name = make_namespace(cluster, re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-"))
    yield name
    remove_namespace(cluster, name)


def make_namespace(cluster: Cluster, name: str, keys: tuple[str, str] = s3.ADMIN) -> str:
    """Create a namespace with a name that no earlier run has used: one that is still being deleted holds nobody up."""
    full = f"e2e-{name[:34]}-{secrets.token_hex(2)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": full, "labels": labels}}, s3.secret(full, keys=keys))
    # The Pods' service account is made by a controller a moment later.
    cluster.wait("the default service account", lambda: cluster.get("serviceaccount", full, "default"))
    return full


def remove_namespace(cluster: Cluster, name: str) -> None:
    """Delete it and do not wait: the next test has another. What it shows until then must tell no secret."""
    try:
        secrecy.check_namespace(cluster, name)
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="session")
def client_pod(cluster: Cluster) -> Callable[[str], None]:
    """Starts the Pod `client` in a namespace: the unmodified Ultralytics client, with PyTorch for local weights."""

    def start(namespace: str) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": namespace},
            "spec": {
                "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "client",
                        "image": CLIENT_IMAGE,
                        "command": ["sleep", "infinity"],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        }
        cluster.apply(pod)
        cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/client", "--timeout=120s", timeout=130)

    return start


@pytest.fixture(scope="package")
def yolo(storage: s3.Storage, operator: OperatorProcess) -> Callable[..., Manifest]:
    """A YoloDeployment on the CPU with the tests' storage; keywords replace parts of the spec."""
    operator.start()
    return yolo_deployment


def yolo_deployment(namespace: str, name: str = "model", source: str = "s3://weights/goldmine-detect.pt", **spec: object) -> Manifest:
    """See the fixture `yolo`."""
    base: Manifest = {
        "storage": {"uri": "s3://models/yolo", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}},
        "versions": [{"version": 1, "source": {"uri": source}}],
        "triton": {"maxBatchSize": 2, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
        "build": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}},
        "gpu": {"count": 0},
    }
    return {"apiVersion": "yolo-operator.io/v1alpha1", "kind": "YoloDeployment", "metadata": {"name": name, "namespace": namespace}, "spec": base | spec}


GPU = "nvidia.com/gpu"
WITH_GPU: Manifest = {"maxBatchSize": 2, "resources": {"requests": {"cpu": "50m", "memory": "256Mi", GPU: "1"}, "limits": {GPU: "1"}}}
"""As spec.triton: each pod asks for one of the GPUs that the fixture offers."""


@pytest.fixture
def gpus(cluster: Cluster) -> Iterator[Callable[[int], None]]:
    """Sets how many GPUs the node offers. They are simulated by its status; the pods compute on the CPU."""
    (node,) = cluster.list("nodes", "default")
    before = int(node["status"]["allocatable"].get(GPU, 0))

    def offer(count: int) -> None:
        amounts = json.dumps({"status": {field: {GPU: str(count)} for field in ("capacity", "allocatable")}})
        cluster.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=merge", "-p", amounts)

    yield offer
    offer(before)
