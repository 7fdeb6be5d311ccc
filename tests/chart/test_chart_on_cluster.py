"""The chart on a cluster: installed, tested, upgraded, uninstalled, in namespaces of its own.

The operator serves one of them only, so that it does not meet another one on the same cluster. The CRD belongs to the whole cluster:
it is left as it was found.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from chart import chart_values
from chart.commands import CHART, CRDS, CommandFailed, Manifest, Program, Render, settings_of

pytestmark = pytest.mark.cluster

CRD_NAMES = [f"customresourcedefinition/{crd.stem}.yolo-operator.io" for crd in CRDS]
RESTRICTED = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
NEEDS_OTHER_CRD = {"ServiceMonitor"}


def eventually(check: Callable[[], Any], seconds: float = 120) -> Any:
    """The check's answer, once it has one; what is not there yet, or not as it should be, is still to come."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, KeyError, ValueError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


@pytest.fixture(scope="module")
def namespace(kubectl: Program) -> Iterator[Callable[[], str]]:
    """`namespace()` makes one that admits restricted Pods only; all are deleted at the end."""
    made: list[str] = []

    def make() -> str:
        name = f"chart-{uuid.uuid4().hex[:8]}"
        kubectl("create", "namespace", name)
        made.append(name)
        kubectl("label", "namespace", name, *RESTRICTED)
        return name

    yield make
    for name in made:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def crds_as_found(kubectl: Program) -> Iterator[None]:
    """Who owned the CRDs before, and what they said, is put back."""
    texts = [kubectl("get", name, "--ignore-not-found", "--show-managed-fields", "-o", "json") for name in CRD_NAMES]
    yield
    for found in map(json.loads, filter(None, texts)):
        del found["metadata"]["resourceVersion"]
        kubectl("replace", "-f", "-", given=json.dumps(found))


@dataclass(frozen=True)
class Release:
    """An installation of the chart, with an S3 server, that serves one namespace."""

    helm: Program
    kubectl: Program
    namespace: str
    models: str

    def values(self) -> list[str]:
        return settings_of(
            {
                "namespaces": [self.models],
                "images.operator": "docker.io/yolo-operator/operator:dev",
                "images.exporter": "docker.io/yolo-operator/exporter:dev",
                "triton.image": "docker.io/yolo-operator/tritonserver-cpu:24.10",
                "jobs.retryMinSeconds": 5,
                "s3.enabled": True,
            }
        )

    def install(self, *more: str) -> str:
        return self.helm("install", "yolo-operator", CHART, "-n", self.namespace, "--wait", "--timeout", "3m", *self.values(), *more)

    def upgrade(self, *more: str, chart: Path = CHART) -> str:
        return self.helm("upgrade", "yolo-operator", chart, "-n", self.namespace, "--wait", "--timeout", "3m", *self.values(), *more)

    def get(self, what: str, namespace: str = "") -> Any:
        return json.loads(self.kubectl("-n", namespace or self.namespace, "get", *what.split(), "-o", "json"))

    def operators(self) -> list[Manifest]:
        pods = self.get("pods -l app.kubernetes.io/component=operator")["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def leader(self) -> str:
        return str(self.get("lease yolo-operator")["spec"]["holderIdentity"])

    def templates(self) -> dict[str, Any]:
        return {each["metadata"]["name"]: (each["metadata"]["generation"], each["spec"]["template"]) for each in self.get("deployments")["items"]}

    def keys(self, namespace: str = "") -> dict[str, str]:
        data: dict[str, str] = self.get("secret s3-credentials", namespace)["data"]
        return data

    def metrics(self) -> str:
        """Of all its Pods."""
        pods = [f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}:8080/proxy/metrics" for pod in self.operators()]
        return "".join(self.kubectl("get", "--raw", path) for path in pods)


@pytest.fixture(scope="module")
def release(helm: Program, kubectl: Program, namespace: Callable[[], str], crds_as_found: None) -> Iterator[Release]:
    made = Release(helm, kubectl, namespace(), namespace())
    # The CRDs may be another's: applied by kubectl, or by the release of an earlier run.
    made.install("--take-ownership", "--force-conflicts")
    yield made
    kubectl("-n", made.models, "delete", "yolodeployments", "--all", "--timeout=60s")
    helm("uninstall", "yolo-operator", "-n", made.namespace, "--ignore-not-found", "--wait")


@pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in chart_values.ALL.items()])
def test_the_api_server_accepts_every_object(render: Render, kubectl: Program, namespace: Callable[[], str], values: Manifest) -> None:
    target = namespace()
    if "namespaces" in values:
        values = values | {"namespaces": [target, namespace()]}
    objects = [each for each in render(values, namespace=target) if each["kind"] not in NEEDS_OTHER_CRD]
    for pod in (each for each in objects if each["kind"] == "Pod"):
        # A dry run makes no ServiceAccount that admission could find.
        pod["spec"]["serviceAccountName"] = "default"
    eventually(lambda: kubectl("-n", target, "get", "serviceaccount", "default"))
    arguments = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "--field-manager=chart-test", "-f", "-")
    said = kubectl(*arguments, given=yaml.dump_all(objects))
    assert "Warning" not in said, said
    assert said.count("serverside-applied") == len(objects)


def test_who_applies_where_nobody_serves_is_warned(release: Release, namespace: Callable[[], str]) -> None:
    elsewhere = namespace()
    body = {
        "apiVersion": "yolo-operator.io/v1alpha1",
        "kind": "YoloDeployment",
        "metadata": {"name": "model"},
        "spec": {"versions": [{"version": 1, "source": {"uri": "s3://weights/absent.pt"}}]},
    }

    def apply(where: str) -> str:
        return release.kubectl("-n", where, "apply", "--dry-run=server", "-f", "-", given=json.dumps(body))

    def warned() -> None:
        assert f"does not serve namespace {elsewhere}" in apply(elsewhere), "the API server compiles a policy a moment later"

    eventually(warned, 30)
    assert f"it serves {release.models} (chart value namespaces)" in apply(elsewhere)
    own = f"in namespace {release.namespace} does not serve"
    assert own in apply(elsewhere)
    # `make demo` leaves a release that serves one namespace, and warns of all others.
    assert [line for line in apply(release.models).splitlines() if "Warning" in line and (own in line or "does not serve" not in line)] == []


def test_both_replicas_run_and_one_of_them_leads(release: Release) -> None:
    names = [pod["metadata"]["name"] for pod in release.operators()]
    assert len(names) == 2
    assert all(pod["status"]["phase"] == "Running" for pod in release.operators())

    def leading() -> list[str]:
        logs = {name: release.kubectl("-n", release.namespace, "logs", name) for name in names}
        found = [name for name, log in logs.items() if '"message": "leading"' in log]
        assert found
        return found

    assert eventually(leading, 30) == [release.leader()]


def test_helm_test_finds_an_operator_that_leads_and_serves(release: Release) -> None:
    said = release.helm("test", "yolo-operator", "-n", release.namespace, "--logs")
    assert "Phase:          Succeeded" in said
    assert f"one replica leads: {release.leader()}" in said


def test_when_the_leader_goes_another_leads(release: Release) -> None:
    before = eventually(release.leader)
    release.kubectl("-n", release.namespace, "delete", "pod", before, "--wait=false")

    def another() -> str:
        holder = release.leader()
        assert holder in {pod["metadata"]["name"] for pod in release.operators()}
        assert holder != before
        return holder

    # Released, not run out: a Lease lasts 15 s.
    eventually(another, 30)
    release.kubectl("-n", release.namespace, "rollout", "status", "deployment/yolo-operator", "--timeout=120s")


def test_the_command_in_the_notes_copies_the_keys(release: Release) -> None:
    notes = release.helm("get", "notes", "yolo-operator", "-n", release.namespace)
    command = notes[notes.index(f"kubectl -n {release.namespace} get secret") : notes.index("/dev/stdin") + len("/dev/stdin")]
    assert f"-n {release.models} create" in command
    Program("bash")("-euo", "pipefail", "-c", command)
    assert release.keys(release.models) == release.keys()


def test_the_example_in_the_notes_is_accepted(release: Release) -> None:
    notes = release.helm("get", "notes", "yolo-operator", "-n", release.namespace)
    example = notes[notes.index("<<EOF\n") + 6 : notes.index("\nEOF\n")]
    release.kubectl("-n", release.models, "apply", "--dry-run=server", "--validate=strict", "-f", "-", given=example)


def test_its_rights_are_enough_for_a_resource(release: Release) -> None:
    """As far as weights that are not there: Jobs run, with the default storage and the copied keys, and what they say is reported, the keys left out."""
    yolo = {
        "apiVersion": "yolo-operator.io/v1alpha1",
        "kind": "YoloDeployment",
        "metadata": {"name": "absent", "namespace": release.models},
        "spec": {
            "deletionPolicy": "Delete",
            "gpu": {"count": 0},
            "versions": [{"version": 1, "source": {"uri": "s3://models/absent.pt", "secretRef": {"name": "s3-credentials"}}}],
        },
    }
    release.kubectl("apply", "-f", "-", given=json.dumps(yolo))

    def reason() -> str:
        conditions = release.get("yolodeployment absent", release.models)["status"]["conditions"]
        (ready,) = (each for each in conditions if each["type"] == "Ready")
        assert "NotFound" in ready["reason"] or "Missing" in ready["reason"], conditions
        return str(ready["reason"])

    eventually(reason, 120)
    told = json.dumps(release.get("yolodeployments,jobs,pods,events", release.models)) + release.metrics()
    told += release.kubectl("-n", release.models, "logs", "-l", "yolo-operator.io/deployment=absent", "--all-containers", "--tail=-1", "--ignore-errors")
    release.kubectl("-n", release.models, "delete", "yolodeployment", "absent", "--timeout=90s")
    logs = release.kubectl("-n", release.namespace, "logs", "-l", "app.kubernetes.io/component=operator", "--tail=-1")
    assert "orbidden" not in logs
    assert '"level": "ERROR"' not in logs
    assert 'yolo_operator_reconciles_total{result="ok"}' in told, "no metrics were read"
    secret = release.keys(release.models)["AWS_SECRET_ACCESS_KEY"]
    for text in (secret, base64.b64decode(secret).decode()):
        assert text not in told + logs


def test_an_upgrade_that_changes_nothing_restarts_nothing(release: Release) -> None:
    templates, keys = release.templates(), release.keys()
    release.upgrade()
    assert release.templates() == templates
    assert release.keys() == keys


def test_an_upgrade_brings_the_new_crds(release: Release, tmp_path: Path) -> None:
    changed = copytree(CHART, tmp_path / "chart")
    description = "Name of the object, in the same namespace."
    for crd in CRDS:
        text = crd.read_text()
        assert description in text
        (changed / "files" / crd.name).write_text(text.replace(description, "Changed by a test."))
    # kubectl, which brought the CRDs before the chart did, may still hold a share in them.
    release.upgrade("--force-conflicts", chart=changed)
    assert all("Changed by a test." in release.kubectl("get", name, "-o", "json") for name in CRD_NAMES)
    release.upgrade()
    assert not any("Changed by a test." in release.kubectl("get", name, "-o", "json") for name in CRD_NAMES)


def test_uninstalling_keeps_the_crds_and_a_new_installation_takes_them_up(release: Release) -> None:
    def uids() -> list[str]:
        return [json.loads(release.kubectl("get", name, "-o", "json"))["metadata"]["uid"] for name in CRD_NAMES]

    before = uids()
    release.helm("uninstall", "yolo-operator", "-n", release.namespace, "--wait")
    assert uids() == before
    with pytest.raises(CommandFailed):
        release.get("deployment yolo-operator")
    release.install()

    def one_of_the_new_leads() -> None:
        assert release.leader() in [pod["metadata"]["name"] for pod in release.operators()]

    # The old holder's rights may go before it can release the Lease, which then runs out.
    eventually(one_of_the_new_leads, 60)


def test_a_release_elsewhere_takes_the_crds_over_as_the_docs_say(release: Release, namespace: Callable[[], str]) -> None:
    elsewhere = namespace()
    install = ("install", "yolo-operator", CHART, "-n", elsewhere, "--dry-run=server", *settings_of({"namespaces": [elsewhere]}))

    def own(where: str) -> None:
        keys = {"release-name": "yolo-operator", "release-namespace": where}
        release.kubectl("annotate", *CRD_NAMES, "--overwrite", *(f"meta.helm.sh/{key}={value}" for key, value in keys.items()))

    with pytest.raises(CommandFailed, match="invalid ownership metadata"):
        release.helm(*install)
    release.helm(*install, "--take-ownership")
    own(elsewhere)
    try:
        release.helm(*install)
    finally:
        own(release.namespace)
