"""A change does what it must and no more; what somebody else changes is put back; what is as wanted is left alone."""

import json
import time
from collections.abc import Iterator

import pytest

from e2e.cluster import TRITON_B, WEIGHTS, Cluster, Manifest, condition, end_of_audit, pod_ready, writes
from e2e.conftest import make_namespace, remove_namespace
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

TRITON_PODS = "app.kubernetes.io/component=triton"
SETTLE_SECONDS = 5
QUIET_SECONDS = 12
"""Longer than any answer to an event takes."""


@pytest.fixture(scope="module")
def served(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[tuple[str, Manifest]]:
    """One resource that serves; the tests of this module change it, one after the other."""
    namespace = make_namespace(cluster, "changes")
    spec = {
        "storage": {"uri": "s3://models/yolo", "endpoint": "http://s3.e2e-storage.svc:8333", "secretRef": {"name": "s3-credentials"}},
        "versions": [{"version": 1, "source": {"uri": "s3://weights/goldmine-detect.pt"}}],
        "triton": {"maxBatchSize": 2, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
        "build": {"resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "3Gi"}}},
        "gpu": {"count": 0},
        "revisionHistoryLimit": 0,
        "networkPolicy": {"enabled": True, "storage": [{"namespaceSelector": {}, "port": 8333}]},
    }
    manifest = {"apiVersion": "yolo-operator.io/v1alpha1", "kind": "YoloDeployment", "metadata": {"name": "model", "namespace": namespace}, "spec": spec}
    cluster.apply(manifest)
    cluster.wait_ready(namespace, "model")
    # The Events of a step are written after the status that tells of it.
    time.sleep(SETTLE_SECONDS)
    yield namespace, manifest
    operator.start()
    remove_namespace(cluster, namespace)


def jobs(cluster: Cluster, namespace: str, component: str) -> set[str]:
    """UIDs of the Jobs of a kind."""
    return {job["metadata"]["uid"] for job in cluster.list("jobs", namespace, f"app.kubernetes.io/component={component}")}


def pods(cluster: Cluster, namespace: str) -> dict[str, Manifest]:
    """Triton pods that are not on their way out, by UID."""
    found = cluster.list("pods", namespace, TRITON_PODS)
    return {pod["metadata"]["uid"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}


def test_a_second_pass_over_everything_writes_nothing(cluster: Cluster, served: tuple[str, Manifest], operator: OperatorProcess) -> None:
    namespace, _ = served
    since = end_of_audit()
    # An annotation of somebody else's causes a whole pass.
    cluster.kubectl("annotate", "yolodeployment", "-n", namespace, "model", "example.com/note=1", "--overwrite")
    time.sleep(QUIET_SECONDS)
    assert writes(since, namespace) == []


def test_a_restart_of_the_operator_writes_nothing(cluster: Cluster, served: tuple[str, Manifest], operator: OperatorProcess) -> None:
    namespace, _ = served
    since = end_of_audit()
    operator.stop()
    operator.start()
    time.sleep(QUIET_SECONDS)
    assert writes(since, namespace) == []


def test_a_replica_count_builds_nothing_and_leaves_the_old_pod(cluster: Cluster, served: tuple[str, Manifest]) -> None:
    namespace, _ = served
    built, before = jobs(cluster, namespace, "build"), pods(cluster, namespace)

    cluster.kubectl("scale", "yolodeployment", "-n", namespace, "model", "--replicas=2")
    status = cluster.wait_ready(namespace, "model")["status"]

    assert status["readyReplicas"] == 2
    assert status["display"]["replicas"] == "2/2"
    assert before.keys() <= pods(cluster, namespace).keys()
    assert jobs(cluster, namespace, "build") == built
    cluster.kubectl("scale", "yolodeployment", "-n", namespace, "model", "--replicas=1")
    cluster.wait_ready(namespace, "model")


def test_what_is_suspended_has_no_pods_and_comes_back_as_it_was(cluster: Cluster, served: tuple[str, Manifest]) -> None:
    namespace, _ = served
    before = cluster.yolo(namespace, "model")["status"]["versions"][0]
    ran = jobs(cluster, namespace, "build"), jobs(cluster, namespace, "verify")

    cluster.patch("yolodeployment", namespace, "model", {"spec": {"suspend": True}})
    cluster.wait_condition(namespace, "model", "Reconciling", "False", timeout=60)

    ended = {"Succeeded", "Failed"}
    assert {pod["status"]["phase"] for pod in cluster.list("pods", namespace)} <= ended
    row = cluster.kubectl("get", "yolodeployment", "-n", namespace, "model").splitlines()[1].split()
    assert {"False", "Suspended", "0/0"} <= set(row), row
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"suspend": False}})
    after = cluster.wait_ready(namespace, "model", timeout=60)["status"]["versions"][0]
    assert (after["revision"], after["verified"]) == (before["revision"], before["verified"])
    assert (jobs(cluster, namespace, "build"), jobs(cluster, namespace, "verify")) == ran


def test_a_change_of_config_copies_the_onnx_and_exports_nothing(cluster: Cluster, served: tuple[str, Manifest], storage: Storage) -> None:
    namespace, _ = served
    old = cluster.yolo(namespace, "model")["status"]["versions"][0]["artifact"]
    built = jobs(cluster, namespace, "build")

    cluster.patch("yolodeployment", namespace, "model", {"spec": {"triton": {"maxBatchSize": 4}}})
    new = cluster.wait_ready(namespace, "model")["status"]["versions"][0]["artifact"]

    assert new["uri"] != old["uri"]
    assert new["onnxSha256"] == old["onnxSha256"]
    assert export_seconds(cluster, namespace, built) <= 3
    config = storage.get("models", f"{new['uri'].removeprefix('s3://models/')}/model/config.pbtxt").decode()
    assert "max_batch_size: 4" in config


def test_a_second_resource_with_the_same_weights_exports_nothing(cluster: Cluster, served: tuple[str, Manifest], storage: Storage) -> None:
    namespace, manifest = served
    first = cluster.yolo(namespace, "model")["status"]["versions"][0]["artifact"]
    built = jobs(cluster, namespace, "build")
    copy = storage.put("weights", "the-same.pt", WEIGHTS / "goldmine-detect.pt")
    second = {"metadata": {"name": "second", "namespace": namespace}, "spec": manifest["spec"] | {"versions": [{"version": 1, "source": {"uri": copy}}]}}

    cluster.apply(manifest | second)
    artifact = cluster.wait_ready(namespace, "second")["status"]["versions"][0]["artifact"]

    assert artifact["uri"].startswith(f"s3://models/yolo/{namespace}/second/")
    assert (artifact["onnxSha256"], artifact["sourceSha256"]) == (first["onnxSha256"], first["sourceSha256"])
    assert export_seconds(cluster, namespace, built) <= 3
    cluster.kubectl("delete", "yolodeployment", "-n", namespace, "second")


def export_seconds(cluster: Cluster, namespace: str, built: set[str]) -> float:
    """How long the export container ran in the one build that has come since."""
    (job,) = jobs(cluster, namespace, "build") - built
    (pod,) = (p for p in cluster.list("pods", namespace, "app.kubernetes.io/component=build") if p["metadata"]["ownerReferences"][0]["uid"] == job)
    return next(span(each["state"]["terminated"]) for each in pod["status"]["initContainerStatuses"] if each["name"] == "export")


def span(terminated: Manifest) -> float:
    """Seconds a container ran."""
    start, end = (time.mktime(time.strptime(terminated[key], "%Y-%m-%dT%H:%M:%SZ")) for key in ("startedAt", "finishedAt"))
    return end - start


def test_revisions_beyond_the_retention_are_removed_and_no_other(cluster: Cluster, served: tuple[str, Manifest], storage: Storage) -> None:
    namespace, _ = served
    storage.put("models", f"yolo/{namespace}/model-2/0123456789/manifest.json", b"{}")

    def published() -> set[str]:
        return {key.split("/")[3] for key in storage.keys("models", f"yolo/{namespace}/model/")}

    revision = cluster.yolo(namespace, "model")["status"]["versions"][0]["revision"]
    cluster.wait("only the revision in use", lambda: published() == {revision}, 60, lambda: str(published()))
    assert storage.keys("models", f"yolo/{namespace}/model-2/") != [], "a neighbour with a longer name was touched"


def test_another_triton_image_is_verified_anew_before_a_pod_of_it_serves(cluster: Cluster, served: tuple[str, Manifest]) -> None:
    namespace, _ = served
    built, verified, before = jobs(cluster, namespace, "build"), jobs(cluster, namespace, "verify"), pods(cluster, namespace)

    cluster.patch("yolodeployment", namespace, "model", {"spec": {"triton": {"image": TRITON_B}}})
    seen_serving: list[str] = []

    def rolled() -> bool:
        status = cluster.yolo(namespace, "model")["status"]
        hashes = {entry["podTemplateHash"] for entry in status["versions"][0].get("verified", [])}
        for uid, pod in pods(cluster, namespace).items():
            if uid not in before and pod_ready(pod):
                seen_serving.append(uid)
                assert pod["metadata"]["labels"]["pod-template-hash"] in hashes or jobs(cluster, namespace, "verify") != verified
        return bool(seen_serving) and not before.keys() & pods(cluster, namespace).keys()

    cluster.wait("pods of the new image only", rolled)
    cluster.wait_ready(namespace, "model")
    assert jobs(cluster, namespace, "build") == built
    assert jobs(cluster, namespace, "verify") - verified, "no verify Job asked a pod of the new image"


@pytest.mark.parametrize(
    ("kind", "name", "patch", "path"),
    [
        pytest.param("service", "model", {"spec": {"selector": {"app.kubernetes.io/component": "other"}}}, ("spec", "selector"), id="a service's selector"),
        pytest.param("deployment", "model-v1", {"spec": {"replicas": 3}}, ("spec", "replicas"), id="a deployment's replicas"),
        pytest.param("poddisruptionbudget", "model-v1", {"spec": {"maxUnavailable": 5}}, ("spec", "maxUnavailable"), id="a budget"),
        pytest.param("networkpolicy", "model-triton", {"spec": {"ingress": [{}]}}, ("spec", "ingress"), id="a policy that lets all in"),
    ],
)
def test_drift_made_by_hand_is_put_back(cluster: Cluster, served: tuple[str, Manifest], kind: str, name: str, patch: Manifest, path: tuple[str, ...]) -> None:
    namespace, _ = served

    def value() -> object:
        found: object = cluster.get(kind, namespace, name)
        for part in path:
            found = found[part]  # type: ignore[index]
        return found

    before = value()
    cluster.patch(kind, namespace, name, patch)
    cluster.wait(f"{kind} {name} as before", lambda: value() == before, 30, lambda: json.dumps(value()))


@pytest.mark.parametrize(
    ("kind", "name"), [("service", "model"), ("service", "model-v1"), ("poddisruptionbudget", "model-v1"), ("networkpolicy", "model-jobs")]
)
def test_a_deleted_child_comes_back(cluster: Cluster, served: tuple[str, Manifest], kind: str, name: str) -> None:
    namespace, _ = served
    old = (cluster.get(kind, namespace, name) or {})["metadata"]["uid"]

    cluster.kubectl("delete", kind, "-n", namespace, name)

    def back() -> bool:
        found = cluster.get(kind, namespace, name)
        return found is not None and found["metadata"]["uid"] != old

    cluster.wait(f"a new {kind} {name}", back, 30)


def test_drift_in_a_pod_template_is_put_back_and_no_pod_of_it_serves(cluster: Cluster, served: tuple[str, Manifest]) -> None:
    namespace, _ = served
    before = pods(cluster, namespace)
    probe = {"name": "triton", "readinessProbe": {"periodSeconds": 77}}
    cluster.kubectl("patch", "deployment", "-n", namespace, "model-v1", "-p", json.dumps({"spec": {"template": {"spec": {"containers": [probe]}}}}))

    def put_back() -> bool:
        there = pods(cluster, namespace)
        assert not any(pod_ready(pod) for uid, pod in there.items() if uid not in before), "a pod that nobody verified serves"
        deployment = cluster.get("deployment", namespace, "model-v1") or {}
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        seen = deployment["status"].get("observedGeneration") == deployment["metadata"]["generation"]
        return container["readinessProbe"]["periodSeconds"] != 77 and seen and there.keys() == before.keys()

    cluster.wait("the old template, and no pod of the other", put_back, 60)


@pytest.mark.matrix
def test_a_pod_template_is_laid_over_ours_and_a_forbidden_one_stops_nothing(cluster: Cluster, served: tuple[str, Manifest]) -> None:
    namespace, _ = served
    built = jobs(cluster, namespace, "build")
    (old,) = pods(cluster, namespace).values()

    def laid_over(template: Manifest | None) -> None:
        cluster.patch("yolodeployment", namespace, "model", {"spec": {"triton": {"podTemplate": template}}})

    beside = {
        "name": "beside",
        "image": old["spec"]["containers"][0]["image"],
        "command": ["sleep", "infinity"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    laid_over({"metadata": {"labels": {"team": "vision"}}, "spec": {"containers": [{"name": "triton", "env": [{"name": "TEAM", "value": "vision"}]}, beside]}})
    cluster.wait_ready(namespace, "model")
    (pod,) = pods(cluster, namespace).values()
    containers = {each["name"]: each for each in pod["spec"]["containers"]}
    assert containers.keys() == {"triton", "beside"}
    assert {"name": "TEAM", "value": "vision"} in containers["triton"]["env"]
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert all(status["ready"] for status in pod["status"]["containerStatuses"])

    laid_over({"spec": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}})
    stalled = condition(cluster.wait_condition(namespace, "model", "Stalled", "True", "PodTemplateInvalid"), "Stalled")
    assert "spec.triton.podTemplate.spec.volumes" in stalled["message"]
    assert pods(cluster, namespace).keys() == {pod["metadata"]["uid"]}

    laid_over(None)
    cluster.wait_ready(namespace, "model")
    assert jobs(cluster, namespace, "build") == built


def test_policies_that_are_switched_off_go_and_no_pod_is_touched(cluster: Cluster, served: tuple[str, Manifest]) -> None:
    namespace, _ = served
    before = pods(cluster, namespace)
    assert len(cluster.list("networkpolicies", namespace)) == 3
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"networkPolicy": {"enabled": False}}})
    cluster.wait("no policies", lambda: not cluster.list("networkpolicies", namespace), 30)
    assert pods(cluster, namespace).keys() == before.keys()


def test_deletion_removes_what_was_published_if_so_wanted(cluster: Cluster, served: tuple[str, Manifest], storage: Storage) -> None:
    namespace, _ = served
    neighbour = storage.put("models", f"yolo/{namespace}/model-2/0123456789/manifest.json", b"{}")
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"deletionPolicy": "Delete"}})
    cluster.wait("the finalizer", lambda: "yolo-operator.io/storage" in cluster.yolo(namespace, "model")["metadata"].get("finalizers", []), 30)

    cluster.kubectl("delete", "yolodeployment", "-n", namespace, "model", "--timeout=90s", timeout=100)

    assert storage.keys("models", f"yolo/{namespace}/model/") == []
    assert [key for key in storage.keys("models", f"yolo/{namespace}/.onnx/") if "/model/" in key] == []
    assert neighbour.removeprefix("s3://models/") in storage.keys("models", f"yolo/{namespace}/")
    cluster.wait(
        "no child left",
        lambda: not cluster.list("deployments,services,jobs,poddisruptionbudgets,networkpolicies", namespace, "app.kubernetes.io/managed-by=yolo-operator"),
        60,
    )
