"""Clusters with rules that other people made: quotas, limits, taints, sidecars, mutating admission. What is in the way is told, what is set helps."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e import admission, bad_weights
from e2e.cluster import CACHE, Cluster, Manifest, Refused, condition, end_of_audit, pod_ready, writes
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage
from http_server import self_signed

CPU_LIMIT = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
EXPORT = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "3Gi"}}
LABEL = "mutate"
TAINT = "dedicated=ml:NoSchedule"
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def small(storage: Storage) -> str:
    """A detector that is built and loaded in seconds."""
    return storage.put("weights", "rules/small.onnx", bad_weights.detector())


def message(yolo: Manifest) -> str:
    return str(condition(yolo, "Ready").get("message"))


def test_a_quota_that_wants_limits_is_told_in_the_api_servers_words_and_met_by_fields(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str
) -> None:
    hard = {"limits.cpu": "8", "limits.memory": "20Gi", "requests.cpu": "4", "requests.memory": "20Gi"}
    cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team", "namespace": namespace}, "spec": {"hard": hard}})
    cluster.apply(yolo(namespace, source=small))

    found = cluster.wait_condition(namespace, "model", "Ready", "False", "PodsRefused", timeout=60)

    assert "set spec.jobs.resources and spec.build.resources" in message(found)
    assert "must specify limits.cpu for: " in message(found)
    cluster.apply(yolo(namespace, source=small, jobs={"resources": CPU_LIMIT}, build={"resources": EXPORT}))
    found = cluster.wait_condition(namespace, "model", "Ready", "False", "PodsRefused", timeout=180)
    assert "set spec.triton.resources" in message(found)
    assert "must specify limits.cpu for: triton" in message(found)
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"triton": {"resources": CPU_LIMIT}}})
    cluster.wait_ready(namespace, "model")


@pytest.mark.matrix
def test_a_quota_without_room_for_a_job_is_told_with_its_figures_and_waited_for(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str
) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team", "namespace": namespace}, "spec": {"hard": {"limits.memory": "2Gi"}}}
    cluster.apply(quota, yolo(namespace, source=small, triton={"maxBatchSize": 2, "resources": CPU_LIMIT}))

    found = cluster.wait_condition(namespace, "model", "Ready", "False", "QuotaExceeded", timeout=60)

    assert "ResourceQuota 'team' has no room for the Pod of Job 'model-v1-build-" in message(found)
    assert "limited: limits.memory=2Gi" in message(found)
    cluster.apply(quota | {"spec": {"hard": {"limits.memory": "20Gi"}}})
    cluster.wait_ready(namespace, "model")


@pytest.mark.matrix
def test_a_limit_range_is_told_with_the_fields_that_meet_it(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str) -> None:
    limits = [{"type": "Container", "max": {"memory": "2Gi"}}]
    cluster.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "team", "namespace": namespace}, "spec": {"limits": limits}})
    cluster.apply(yolo(namespace, source=small))

    found = cluster.wait_condition(namespace, "model", "Ready", "False", "PodsRefused", timeout=60)

    assert "a LimitRange of the namespace sets bounds: correct spec.jobs.resources and spec.build.resources" in message(found)
    assert "maximum memory usage per Container is 2Gi, but limit is 3Gi" in message(found)
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"build": {"resources": {"limits": {"memory": "2Gi"}}}}})
    cluster.wait_ready(namespace, "model")


@pytest.mark.matrix
def test_defaults_of_a_limit_range_that_change_restart_nothing(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str) -> None:
    """They are written into Pods, and no Pod of ours is compared with what it was made from. The next one has the new ones, and is the same to us."""

    def limit(cpu: str) -> None:
        limits = [{"type": "Container", "default": {"cpu": cpu}, "defaultRequest": {"cpu": "10m"}}]
        cluster.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "team", "namespace": namespace}, "spec": {"limits": limits}})

    def ready_pods() -> list[Manifest]:
        return [pod for pod in cluster.list("pods", namespace, "app.kubernetes.io/component=triton") if pod_ready(pod)]

    def triton() -> Manifest:
        (found,) = ready_pods()
        return found

    limit("1")
    cluster.apply(yolo(namespace, source=small))
    cluster.wait_ready(namespace, "model")
    before, jobs = triton(), len(cluster.list("jobs", namespace))
    assert before["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"
    since = end_of_audit()
    limit("2")
    time.sleep(75)  # a resync is in it
    assert triton()["metadata"]["uid"] == before["metadata"]["uid"]
    assert writes(since, namespace) == []
    cluster.kubectl("delete", "pod", "-n", namespace, before["metadata"]["name"])
    cluster.wait("another pod", lambda: [pod["metadata"]["uid"] for pod in ready_pods()] not in ([], [before["metadata"]["uid"]]), 120)
    after = triton()
    assert after["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "2"
    cluster.wait_ready(namespace, "model")
    assert len(cluster.list("jobs", namespace)) == jobs, "its template is verified"


@pytest.fixture
def tainted(cluster: Cluster) -> Iterator[None]:
    """The only node takes nothing but what tolerates it."""
    (node,) = cluster.list("nodes", "default")
    cluster.kubectl("taint", "node", node["metadata"]["name"], TAINT, "--overwrite")
    yield
    cluster.kubectl("taint", "node", node["metadata"]["name"], f"{TAINT}-")


@pytest.mark.usefixtures("tainted")
def test_on_a_tainted_pool_everything_runs_that_is_told_to_and_is_deleted_too(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str, storage: Storage
) -> None:
    cluster.apply(yolo(namespace, source=small, deletionPolicy="Delete"))

    found = cluster.wait_condition(namespace, "model", "Ready", "False", "UntoleratedTaint", timeout=60)

    assert "tolerate it (spec.jobs.tolerations)" in message(found)
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"jobs": {"tolerations": [TOLERATION]}}})
    found = cluster.wait_condition(namespace, "model", "Ready", "False", "UntoleratedTaint", timeout=180)
    cluster.wait("the Triton pods' own taint", lambda: "(spec.tolerations)" in message(cluster.yolo(namespace, "model")), 180)
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"tolerations": [TOLERATION]}})
    cluster.wait_ready(namespace, "model")
    assert storage.keys("models", f"yolo/{namespace}/model/")
    cluster.kubectl("delete", "yolodeployment", "-n", namespace, "model", "--timeout=90s", timeout=100)
    assert storage.keys("models", f"yolo/{namespace}/model/") == []


@pytest.fixture(scope="module")
def webhook(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The webhook, in the API server's network; it is asked of namespaces with the label `mutate`."""
    folder = tmp_path_factory.mktemp("webhook")
    self_signed(folder)
    certificate, key = folder / "ca.pem", folder / "key.pem"
    program = [sys.executable, admission.__file__, str(certificate), str(key)]
    with (folder / "webhook.log").open("wb") as log:
        process = subprocess.Popen(["nsenter", f"--net={CACHE / 'state' / 'network-namespace'}", "--", *program], stdout=log, stderr=log)
    cluster.apply(configuration(base64.b64encode(certificate.read_bytes()).decode()))
    try:
        yield
    finally:
        cluster.kubectl("delete", "mutatingwebhookconfiguration", "e2e", "--ignore-not-found")
        process.terminate()
        process.wait(10)


def configuration(ca: str) -> Manifest:
    """A webhook for each mode."""
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]},
    ]
    hooks = [
        {
            "name": f"{mode}.e2e.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {"url": f"https://127.0.0.1:{admission.PORT}/{mode}", "caBundle": ca},
            "namespaceSelector": {"matchLabels": {LABEL: mode}},
            "rules": rules,
        }
        for mode in admission.MODES
    ]
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "e2e"}, "webhooks": hooks}


def mutate(cluster: Cluster, namespace: str, mode: str) -> None:
    """Put a namespace under a mode."""
    cluster.kubectl("label", "namespace", namespace, f"{LABEL}={mode}", "--overwrite")


@pytest.mark.usefixtures("webhook")
def test_jobs_end_with_their_own_containers_though_a_classic_sidecar_runs_on(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str, storage: Storage
) -> None:
    mutate(cluster, namespace, "sidecar")
    cluster.apply(yolo(namespace, source=small, deletionPolicy="Delete"))
    cluster.wait("the sidecar", lambda: any(len(pod["spec"]["containers"]) == 2 for pod in cluster.list("pods", namespace)), 60)

    cluster.wait_ready(namespace, "model")

    cluster.wait("the Jobs to end", lambda: not cluster.list("jobs", namespace), 60, lambda: str(cluster.list("jobs", namespace)))
    cluster.kubectl("delete", "yolodeployment", "-n", namespace, "model", "--timeout=90s", timeout=100)
    assert storage.keys("models", f"yolo/{namespace}/model/") == []


@pytest.mark.usefixtures("webhook")
@pytest.mark.parametrize(
    ("mode", "path"),
    [
        pytest.param("autopilot", "spec.template.spec.containers[triton].resources.requests.cpu", id="requests are changed"),
        pytest.param("policies", "spec.template.spec.terminationGracePeriodSeconds", id="a toleration is added and a time changed", marks=pytest.mark.matrix),
    ],
)
def test_what_admission_makes_of_our_objects_is_told_once_and_never_fought(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str, mode: str, path: str
) -> None:
    mutate(cluster, namespace, mode)
    cluster.apply(yolo(namespace, source=small))
    cluster.wait_ready(namespace, "model")

    def told() -> list[Manifest]:
        return [event for event in cluster.list("events", namespace) if event["reason"] == "Mutated"]

    def pods() -> list[str]:
        return [pod["metadata"]["uid"] for pod in cluster.list("pods", namespace, "app.kubernetes.io/component=triton")]

    (event,) = told()
    assert path in event["message"]
    generation, before = (cluster.get("deployment", namespace, "model-v1") or {})["metadata"]["generation"], pods()
    for number in range(4):
        # Each is a pass over the resource, and nothing to do in it.
        cluster.kubectl("annotate", "yolodeployment", "-n", namespace, "model", f"example.com/seen={number}", "--overwrite")
        cluster.wait_ready(namespace, "model", timeout=20)
    live = cluster.get("deployment", namespace, "model-v1") or {}
    assert (live["metadata"]["generation"], pods(), len(told())) == (generation, before, 1)
    # Who writes afterwards is put right, and to what admission makes of ours.
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "triton", "image": "example.com/somebody/elses"}]}}}}
    cluster.kubectl("patch", "deployment", "-n", namespace, "model-v1", "--type=strategic", "-p", json.dumps(strategic))
    cluster.wait(
        "our own image",
        lambda: "somebody" not in json.dumps((cluster.get("deployment", namespace, "model-v1") or {})["spec"]["template"]["spec"]["containers"]),
        60,
    )
    cluster.wait_ready(namespace, "model")
    cluster.wait("the same pods as before", lambda: pods() == before, 60)


POLICY: Manifest = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "e2e-range"},
    "spec": {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {LABEL: "openshift"}},
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        },
        "validations": [
            {
                "expression": f"object.spec.securityContext.?runAsUser.orValue(0) == {admission.FIRST_UID} "
                f"&& object.spec.securityContext.?fsGroup.orValue(0) == {admission.FIRST_UID} && !has(object.spec.securityContext.runAsGroup)",
                "message": "the user is not of the namespace's range",
            }
        ],
    },
}
BINDING: Manifest = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "e2e-range"},
    "spec": {"policyName": "e2e-range", "validationActions": ["Deny"]},
}


@pytest.fixture
def restricted(cluster: Cluster, webhook: None) -> Iterator[None]:
    """Namespaces with mutate=openshift take Pods of their own users alone."""
    cluster.apply(POLICY, BINDING)
    yield
    cluster.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "e2e-range", "--ignore-not-found")


def refuses_another_user(cluster: Cluster, namespace: str) -> bool:
    """Whether a Pod of a user of its own is refused, as it will be: nothing is made."""
    context = {"runAsUser": 7, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "own", "image": "none", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": {"securityContext": context, "containers": [container]}}
    try:
        cluster.kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", text=json.dumps(pod))
    except Refused as refused:
        return "the user is not of the namespace's range" in str(refused)
    return False


@pytest.mark.usefixtures("restricted")
def test_where_the_namespace_assigns_users_everything_runs_as_they_are(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str, operator: OperatorProcess, tmp_path: Path
) -> None:
    mutate(cluster, namespace, "openshift")
    cluster.wait("the policy, which the API server compiles a moment later", lambda: refuses_another_user(cluster, namespace), 60)
    cluster.apply(yolo(namespace, source=small, deletionPolicy="Delete"))
    found = cluster.wait_condition(namespace, "model", "Ready", "False", "PodsRefused", timeout=60)
    assert "the user is not of the namespace's range" in message(found)

    operator.stop()
    assigned = OperatorProcess(tmp_path / "operator.log", ASSIGNED_USER="true", NAMESPACES=namespace)
    assigned.start()
    try:
        cluster.wait_ready(namespace, "model")
        (pod,) = cluster.list("pods", namespace, "app.kubernetes.io/component=triton")
        assert pod["spec"]["securityContext"]["runAsUser"] == admission.FIRST_UID
        cluster.kubectl("delete", "yolodeployment", "-n", namespace, "model", "--timeout=90s", timeout=100)
    finally:
        assigned.stop()
        operator.start()


ASK_IPV6 = """
import socket, urllib.request
for port, path in ((8000, "/v2/health/ready"), (8002, "/metrics")):
    urllib.request.urlopen(f"http://[::1]:{port}{path}", timeout=5)
socket.create_connection(("::1", 8001), 5)
print("answered")
"""


@pytest.mark.matrix
def test_triton_answers_over_ipv6_where_the_administrator_says_so(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str, operator: OperatorProcess, tmp_path: Path
) -> None:
    operator.stop()
    ipv6 = OperatorProcess(tmp_path / "operator.log", IPV6="true", NAMESPACES=namespace)
    ipv6.start()
    try:
        cluster.apply(yolo(namespace, source=small))

        def answer() -> str:
            """What the pod says to itself: this cluster is one of IPv4, and nobody else reaches it so."""
            (pod,) = cluster.list("pods", namespace, "app.kubernetes.io/component=triton")
            return cluster.exec(namespace, pod["metadata"]["name"], "python3", "-c", ASK_IPV6).strip()

        def answers() -> bool:
            try:
                return answer() == "answered"
            except (ValueError, Refused):
                return False

        cluster.wait("Triton", answers, 180)
    finally:
        ipv6.stop()
        operator.start()


def test_of_two_operators_over_one_namespace_one_stands_back_and_says_so(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], small: str, operator: OperatorProcess, tmp_path: Path
) -> None:
    operator.stop()
    first, second = (
        OperatorProcess(tmp_path / f"{name}.log", NAMESPACES=namespace, LEASE_NAMESPACE=namespace, LEASE_NAME=name, IDENTITY=name)
        for name in ("first", "second")
    )
    try:
        first.start()
        cluster.apply(yolo(namespace, source=small))
        assert cluster.wait_ready(namespace, "model")["status"]["operator"] == f"{namespace}/first"
        pods = [pod["metadata"]["uid"] for pod in cluster.list("pods", namespace, "app.kubernetes.io/component=triton")]
        second.start()
        cluster.wait("the second operator", lambda: cluster.yolo(namespace, "model")["status"]["operator"] == f"{namespace}/second", 60)

        def told() -> list[str]:
            return [event["message"] for event in cluster.list("events", namespace) if event["reason"] == "AnotherOperator"]

        (said,) = cluster.wait("a word of the first", told, 60)
        assert f"that of Lease {namespace}/second has taken this resource over from that of Lease {namespace}/first, which stands back" in said
        cluster.patch("yolodeployment", namespace, "model", {"spec": {"revisionHistoryLimit": 3}})
        found = cluster.wait_ready(namespace, "model")
        assert found["status"]["operator"] == f"{namespace}/second"
        assert [pod["metadata"]["uid"] for pod in cluster.list("pods", namespace, "app.kubernetes.io/component=triton")] == pods
    finally:
        first.stop()
        second.stop()
        operator.start()
