"""A real API server beside the cluster's: kubectl, the CRDs of this working copy, a namespace per module."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import gen

sys.path.append(str(Path(__file__).parents[1] / "faults"))
import control_plane

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@dataclass(frozen=True, slots=True)
class Answer:
    """What kubectl printed, and whether it went well."""

    ok: bool
    out: str
    err: str


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig, self.namespace = kubeconfig, namespace

    def __call__(self, *arguments: str, text: str | None = None) -> Answer:
        done = subprocess.run(
            [program(), "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Answer(done.returncode == 0, done.stdout, done.stderr)

    def apply(self, manifest: Mapping[str, Any], *flags: str) -> Answer:
        """kubectl apply of one object in this namespace."""
        here = gen.merged(manifest, {"metadata": {"namespace": self.namespace}})
        return self("apply", *flags, "-f", "-", text=json.dumps(here))

    def get(self, name: str) -> dict[str, Any]:
        """A YoloDeployment as it is stored."""
        answer = self("get", "yolodeployment", name, "-o", "yaml")
        assert answer.ok, answer.err
        found: dict[str, Any] = yaml.safe_load(answer.out)
        return found


def cache() -> Path:
    """Where the cluster without Docker keeps its tools and its state, as tests/cluster/settings.py says."""
    explicit = os.environ.get("YOLO_OPERATOR_CACHE")
    return Path(explicit) if explicit else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolo-operator"


def program() -> str:
    """kubectl, from the cluster's tools or from the path."""
    return shutil.which("kubectl", path=f"{cache() / 'tools'}{os.pathsep}{os.environ.get('PATH', '')}") or "kubectl"


def older_than(*release: int) -> bool:
    """Whether the API server is of another release than the cluster's, and of one before this."""
    return bool(control_plane.RELEASE) and tuple(int(part) for part in control_plane.RELEASE.split(".")) < release


@pytest.fixture(scope="package")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl for an API server of the tests' own, with the CRDs of this working copy; of another release of Kubernetes, where one is asked for."""
    with control_plane.running(tmp_path_factory.mktemp("control-plane")) as plane:
        found = Kubectl(plane.kubeconfig, "default")
        wanted = control_plane.RELEASE.partition(".")[2]
        assert json.loads(found("version", "-o", "json").out)["serverVersion"]["minor"] == wanted or not wanted, "another one than was asked for"
        # The CRDs are there; what `kubectl explain` reads comes last of all.
        limit = time.monotonic() + 90
        for kind in ("yolodeployments", "yoloservers"):
            while not (published := found("explain", f"{kind}.status.conditions")).ok:
                assert time.monotonic() < limit, published.err
                time.sleep(0.5)
        yield found


@pytest.fixture(scope="package")
def gateway_api(everywhere: Kubectl) -> None:
    """The Gateway API's CRDs, as `make gateway` has brought them."""
    for crd in sorted((cache() / "gateway-api").glob("*.yaml")):
        # Its rule isIP is unknown to Kubernetes 1.30, and no route of ours is one.
        if not (crd.stem.endswith("_tlsroutes") and older_than(1, 31)):
            answer = everywhere("apply", "--server-side", "--force-conflicts", "-f", str(crd))
            assert answer.ok, answer.err
    limit = time.monotonic() + 90
    while not all(everywhere("get", f"{kind}.gateway.networking.k8s.io").ok for kind in ("httproutes", "grpcroutes")):
        assert time.monotonic() < limit, "the routes are not served"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def kubectl(everywhere: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace that enforces the restricted Pod Security Standard."""
    name = f"apiserver-{uuid.uuid4().hex[:8]}"
    here = Kubectl(everywhere.kubeconfig, name)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
    answer = here("create", "-f", "-", text=json.dumps(namespace))
    assert answer.ok, answer.err
    yield here
    here("delete", "yolodeployments,yoloservers", "--all", "--wait=false")
    here("delete", "namespace", name, "--wait=false")
