"""Weights from servers that are not ours: a registry, a web server, through a proxy. The servers run beside the cluster."""

import base64
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import http_proxy
import http_server
import oci_registry
from e2e import bad_weights, squid
from e2e import storage as s3
from e2e.cluster import HOST, Cluster, Manifest, condition


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of this machine that nobody else vouches for, ca.pem, and its key.pem."""
    return http_server.self_signed(tmp_path_factory.mktemp("certificate"), HOST)


@pytest.fixture
def trusting(cluster: Cluster, namespace: str, certificate: Path) -> Manifest:
    """spec.storage that trusts the certificate."""
    data = {"ca.crt": (certificate / "ca.pem").read_text(encoding="utf-8")}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": namespace}, "data": data})
    return {"uri": "s3://models/yolo", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}, "caBundleRef": {"name": "ca"}}


def test_a_file_of_an_artifact_that_oras_pushed_comes_with_a_docker_registry_secret(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], trusting: Manifest, certificate: Path, tmp_path: Path
) -> None:
    (tmp_path / "small.onnx").write_bytes(bad_weights.detector())
    with oci_registry.serving(tmp_path, certificate, oci_registry.htpasswd(tmp_path), HOST) as registry:
        registry.login = ("--username", oci_registry.USER, "--password", oci_registry.PASSWORD)
        digest = registry.push(tmp_path, "team/helmets", "small.onnx")
        source = {"uri": f"oci://{registry.address}/team/helmets@sha256:{digest}/small.onnx", "secretRef": {"name": "registry"}}
        cluster.apply(yolo(namespace, storage=trusting, versions=[{"version": 1, "source": source}]))

        found = cluster.wait_condition(namespace, "model", "Ready", "False", "SourceSecretInvalid", timeout=120)

        assert "username and password; or .dockerconfigjson" in condition(found, "Ready")["message"]
        login = [f"--docker-server={registry.address}", f"--docker-username={oci_registry.USER}", f"--docker-password={oci_registry.PASSWORD}"]
        cluster.kubectl("create", "secret", "docker-registry", "registry", "-n", namespace, *login)
        cluster.wait_ready(namespace, "model")


@pytest.mark.matrix
def test_a_web_server_behind_tls_gets_the_token_of_the_secret(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], trusting: Manifest, certificate: Path
) -> None:
    site = http_server.Site(content=bad_weights.detector())
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": namespace}, "stringData": {"token": s3.SECRET}}
    with http_server.running(http_server.Server(site, HOST), certificate) as address:
        source = {"uri": f"{address}/small.onnx", "secretRef": {"name": "token"}}
        cluster.apply(secret, yolo(namespace, storage=trusting, versions=[{"version": 1, "source": source}]))
        cluster.wait_ready(namespace, "model")
    assert [request["authorization"] for request in site.requests] == [f"Bearer {s3.SECRET}"]


def test_weights_come_through_a_proxy_that_alone_knows_their_host(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest]) -> None:
    through, site = http_proxy.Through(HOST), http_server.Site(content=bad_weights.detector())
    through.login = f"Basic {base64.b64encode(f'user:{s3.SECRET}'.encode()).decode()}"
    with http_server.running(through) as address, http_server.serving(site):
        through.names["weights.invalid"] = ("127.0.0.1", int(site.address.rpartition(":")[2]))
        way = {"httpProxy": address}
        cluster.apply(yolo(namespace, source="http://weights.invalid/small.onnx", build={"proxy": way}))

        found = cluster.wait_condition(namespace, "model", "Ready", "False", "ProxyAccessDenied", timeout=120)

        assert "refuses with 407: set spec.build.proxy.secretRef" in condition(found, "Ready")["message"]
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "way-out", "namespace": namespace}}
        cluster.apply(secret | {"stringData": {"username": "user", "password": s3.SECRET}})
        cluster.patch("yolodeployment", namespace, "model", {"spec": {"build": {"proxy": {"secretRef": {"name": "way-out"}}}}})
        cluster.wait_ready(namespace, "model")
    assert [request["host"] for request in site.requests] == ["weights.invalid"]


@pytest.mark.matrix
@pytest.mark.skipif(not squid.PROGRAM.exists(), reason="needs Debian's package squid-openssl")
def test_weights_come_through_a_squid_that_looks_into_tls(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], certificate: Path) -> None:
    site = http_server.Site(content=bad_weights.detector())
    # Not pytest's folder, which nobody else may enter: Squid gives up being root.
    with tempfile.TemporaryDirectory(prefix="squid-") as folder, http_server.running(http_server.Server(site, HOST), certificate) as address:
        trusted = Path(shutil.copy(certificate / "ca.pem", Path(folder) / "trusted.pem"))
        with squid.running(Path(folder), HOST, "user", s3.SECRET, trusted) as proxy:
            way = {"httpsProxy": proxy.address, "secretRef": {"name": "way-out"}}
            login = {"username": "user", "password": s3.SECRET}
            cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "way-out", "namespace": namespace}, "stringData": login})
            cluster.apply(yolo(namespace, source=f"{address}/small.onnx", build={"proxy": way}))

            found = cluster.wait_condition(namespace, "model", "Ready", "False", "SourceUnreachable", timeout=120)

            assert "for a proxy that looks into TLS spec.build.proxy.caBundleRef" in condition(found, "Ready")["message"]
            metadata = {"name": "proxy-ca", "namespace": namespace}
            cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": proxy.authority}})
            cluster.patch("yolodeployment", namespace, "model", {"spec": {"build": {"proxy": {"caBundleRef": {"name": "proxy-ca"}}}}})
            cluster.wait_ready(namespace, "model")
            assert any("GET https://" in line and " user " in line for line in proxy.seen()), "it has looked into TLS"
    assert site.requests
