"""A bare control plane of the tests' own: etcd, kube-apiserver and the controllers, on free ports of the loopback, without nodes.

Pods are bound to no node, so nothing runs and a deleted one is gone at once; `kubelet.py` says what would have become of them. The programs are
those of the cluster without Docker (tests/cluster/builds.py); nothing else of that cluster is used, and both may run side by side.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from api_client import ApiError, Client
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed
from urllib3.exceptions import HTTPError

from http_server import free_port
from yolo_operator.controller.kinds import SERVER, YOLO, Kind

sys.path.append(str(Path(__file__).parents[1] / "cluster"))
from builds import build_programs, program, release_build

CRD = Kind("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions", selector="")
CRDS = Path(__file__).parents[2] / "crds"
RELEASE = os.environ.get("YOLO_OPERATOR_TEST_KUBERNETES", "")
"""Of the API server and the controllers, 1.37 for example; empty: the cluster's own (make test-releases)."""
TOKEN = "the-tests-token"
CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "job-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where it is."""

    url: str
    ca: Path
    kubeconfig: Path

    def client(self) -> Client:
        """A client that may do anything."""
        return Client(self.url, TOKEN, self.ca)


@contextmanager
def running(folder: Path) -> Iterator[ControlPlane]:
    """A control plane with our CRD; its data and logs are in `folder`."""
    build_programs()
    if RELEASE:
        build_programs([release_build(RELEASE)])
    etcd, peer, port = free_port(), free_port(), free_port()
    plane = ControlPlane(f"https://127.0.0.1:{port}", folder / "apiserver.crt", folder / "kubeconfig")
    write_kubeconfig(plane.kubeconfig, plane.url, plane.ca)
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", key], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{TOKEN},tests,tests,"system:masters"\n')
    with ExitStack() as stack:
        stack.enter_context(process("etcd", etcd_arguments(folder, etcd, peer), folder))
        stack.enter_context(process("kube-apiserver", api_server_arguments(folder, etcd, port), folder))
        client = plane.client()
        wait_until(lambda: client.text("/readyz"), lambda: (folder / "kube-apiserver.log").read_text(encoding="utf-8")[-4000:])
        for crd in sorted(CRDS.glob("*.yaml")):
            client.create(CRD, yaml.safe_load(crd.read_text(encoding="utf-8")))
        wait_until(lambda: (client.list(YOLO), client.list(SERVER)), lambda: "the CRDs are not served")
        # After the CRDs: the garbage collector looks for new kinds twice a minute only.
        stack.enter_context(process("kube-controller-manager", controller_manager_arguments(plane.kubeconfig), folder))
        yield plane


def etcd_arguments(folder: Path, port: int, peer: int) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]


def api_server_arguments(folder: Path, etcd: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # Nobody looks for it by its Service, and later releases let none be on the loopback.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=AlwaysAllow",
        # Pods run nowhere: they need no account, and a namespace can be used as soon as it is there.
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'service-account.key'}",
        f"--service-account-signing-key-file={folder / 'service-account.key'}",
    ]


def controller_manager_arguments(kubeconfig: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(CONTROLLERS)}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
    ]


@contextmanager
def process(name: str, arguments: Sequence[str], folder: Path) -> Iterator[None]:
    """A program in the background, with its log in the folder. It gives way to others that want the processor, and ends with this one however that ends."""
    command = ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "10", str(program(name, RELEASE)), *arguments]
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        yield
    finally:
        # Nothing of it is wanted any more: a graceful end of the API server takes seconds.
        started.kill()
        started.wait()


def wait_until(answers: Callable[[], object], describe: Callable[[], str]) -> None:
    """Wait for the API server to answer a request well."""
    # It writes its certificate itself, at its start: before, there is no such file.
    again = retry_if_exception_type((ApiError, HTTPError, OSError))
    try:
        Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.1), retry=again)(answers)
    except RetryError as error:
        raise AssertionError(describe()) from error


def write_kubeconfig(path: Path, url: str, ca: Path | None = None) -> None:
    """A kubeconfig for this address; JSON is YAML."""
    cluster = {"server": url} | ({"certificate-authority": str(ca)} if ca else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
