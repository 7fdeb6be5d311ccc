"""A storage whose certificate only a CA of one's own vouches for: workers and Triton trust it, and say so when the CA is not there."""

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from e2e import storage as s3
from e2e.cluster import Cluster, Manifest, condition, pod_ready
from e2e.conftest import make_namespace, remove_namespace
from e2e.processes import kill

OPENSSL = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]


@dataclass(frozen=True)
class TlsStorage:
    """An S3 server that speaks https only."""

    endpoint: str
    ca: str
    """PEM text of who signed its certificate."""
    namespace: str


@pytest.fixture(scope="module")
def tls_storage(cluster: Cluster, storage: s3.Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsStorage]:
    """A second S3 server, with an empty bucket."""
    namespace = f"e2e-tls-{secrets.token_hex(2)}"
    image = (cluster.get("deployment", s3.NAMESPACE, "s3") or {})["spec"]["template"]["spec"]["containers"][0]["image"]
    parts = {manifest["kind"]: manifest for manifest in s3.manifests(image, namespace)}
    # Its address first: the certificate is for the name in the cluster and for the address that the tests use.
    cluster.apply(parts["Namespace"], parts["Service"])
    address = cluster.service_ip(namespace, "s3")
    folder = tmp_path_factory.mktemp("tls")
    certify(folder, f"DNS:s3.{namespace}.svc,IP:{address}")
    pod = parts["Deployment"]["spec"]["template"]["spec"]
    pod["containers"][0]["args"] += ["-s3.cert.file=/etc/s3-tls/tls.crt", "-s3.key.file=/etc/s3-tls/tls.key"]
    pod["containers"][0]["volumeMounts"].append({"name": "tls", "mountPath": "/etc/s3-tls"})
    pod["volumes"].append({"name": "tls", "secret": {"secretName": "s3-tls"}})
    keys = {name: (folder / name).read_text() for name in ("tls.crt", "tls.key")}
    tls = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-tls", "namespace": namespace}, "stringData": keys}
    cluster.apply(parts["Secret"], tls, parts["Deployment"])
    cluster.kubectl("rollout", "status", "-n", namespace, "deployment/s3", "--timeout=120s", timeout=130)
    client: Any = boto3.client(
        "s3",
        endpoint_url=f"https://{address}:8333",
        aws_access_key_id=s3.ADMIN[0],
        aws_secret_access_key=s3.ADMIN[1],
        region_name="us-east-1",
        verify=str(folder / "ca.crt"),
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="models")
    yield TlsStorage(f"https://s3.{namespace}.svc:8333", (folder / "ca.crt").read_text(), namespace)
    remove_namespace(cluster, namespace)


def certify(folder: Path, names: str) -> None:
    """ca.crt, and tls.crt and tls.key that it signed."""
    authority = ["-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"), "-subj", "/CN=a CA of one's own"]
    server = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"), "-subj", "/CN=s3"]
    signed = ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"), "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE"]
    for arguments in (authority, [*server, *signed]):
        subprocess.run([*OPENSSL, *arguments], check=True, capture_output=True)


def bundle(namespace: str, text: str, key: str = "ca.crt") -> Manifest:
    """The ConfigMap that caBundleRef names."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s3-ca", "namespace": namespace}, "data": {key: text}}


@pytest.fixture(scope="module")
def own(cluster: Cluster) -> Iterator[str]:
    """A namespace for the tests of this module, which go on from one another."""
    name = make_namespace(cluster, "private-ca")
    yield name
    remove_namespace(cluster, name)


def named(cluster: Cluster, namespace: str, reason: str) -> None:
    """Wait for a reason whose message names the field."""
    message = condition(cluster.wait_condition(namespace, "model", "Ready", "False", reason), "Ready")["message"]
    assert "spec.storage.caBundleRef" in message
    assert condition(cluster.yolo(namespace, "model"), "Stalled")["status"] == "False"


def test_a_ca_that_is_missing_or_wrong_is_named_and_the_right_one_heals(
    cluster: Cluster, own: str, tls_storage: TlsStorage, yolo: Callable[..., Manifest], tmp_path: Path
) -> None:
    storage = {"uri": "s3://models/yolo", "endpoint": tls_storage.endpoint, "secretRef": {"name": "s3-credentials"}, "caBundleRef": {"name": "s3-ca"}}
    source = {"uri": "s3://weights/goldmine-detect.pt", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}}
    cluster.apply(yolo(own, storage=storage, versions=[{"version": 1, "source": source}]))
    named(cluster, own, "CaBundleNotFound")

    cluster.apply(bundle(own, "no certificate"))
    named(cluster, own, "CaBundleInvalid")
    certify(tmp_path, "DNS:other")
    cluster.apply(bundle(own, (tmp_path / "ca.crt").read_text()))
    named(cluster, own, "StorageUnreachable")
    cluster.apply(bundle(own, tls_storage.ca))
    ready = cluster.wait_ready(own, "model")

    assert ready["status"]["readyReplicas"] == 1
    (pod,) = cluster.list("pods", own, "app.kubernetes.io/component=triton")
    assert f"s3://{tls_storage.endpoint}/" in json.dumps(pod["spec"]["containers"][0]["args"])


@pytest.mark.matrix
def test_a_pod_that_starts_without_the_ca_is_named_and_the_ca_heals(cluster: Cluster, own: str, tls_storage: TlsStorage) -> None:
    assert condition(cluster.yolo(own, "model"), "Ready")["status"] == "True", "the test before has left nothing that serves"
    cluster.kubectl("delete", "configmap", "-n", own, "s3-ca")
    cluster.kubectl("delete", "pods", "-n", own, "-l", "app.kubernetes.io/component=triton", "--wait=false")
    named(cluster, own, "CaBundleNotFound")

    cluster.apply(bundle(own, tls_storage.ca))

    cluster.wait_ready(own, "model")


def test_an_init_container_brings_the_repository_and_triton_needs_the_storage_no_more(cluster: Cluster, own: str, tls_storage: TlsStorage) -> None:
    cluster.apply(s3.secret(own, keys=("nobody", "nothing"), name="no-keys"))
    cluster.patch("yolodeployment", own, "model", {"spec": {"storage": {"loader": "InitContainer", "readSecretRef": {"name": "no-keys"}}}})
    refused = condition(cluster.wait_condition(own, "model", "Ready", "False", "StorageAccessDenied"), "Ready")
    assert "spec.storage.readSecretRef" in refused["message"]
    cluster.patch("yolodeployment", own, "model", {"spec": {"storage": {"readSecretRef": None}}})
    cluster.wait_ready(own, "model")

    def triton() -> Manifest:
        (pod,) = [each for each in cluster.list("pods", own, "app.kubernetes.io/component=triton") if "deletionTimestamp" not in each["metadata"]]
        return pod

    cluster.wait("the pod of before to go", lambda: len(cluster.list("pods", own, "app.kubernetes.io/component=triton")) == 1)
    assert "AWS" not in json.dumps(triton()["spec"]["containers"])
    # What it holds goes with its pod: this test is the last here.
    cluster.kubectl("scale", "deployment", "-n", tls_storage.namespace, "s3", "--replicas=0")
    kill(triton())
    cluster.wait("Triton to be started again", lambda: triton()["status"]["containerStatuses"][0]["restartCount"] > 0)
    cluster.wait("it to be ready", lambda: pod_ready(triton()))
