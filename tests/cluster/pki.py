"""Certificates and kubeconfig files of the cluster, made once per cluster by openssl."""

from __future__ import annotations

import json
from pathlib import Path

from settings import API_PORT, API_SERVICE_ADDRESS, CLUSTER, KUBECONFIG, NODE, NODE_ADDRESS, STATE
from steps import run

PKI = STATE / "pki"
CA = PKI / "ca.crt"

_API_NAMES = (
    f"IP:127.0.0.1,IP:{API_SERVICE_ADDRESS},IP:{NODE_ADDRESS},DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,"
    "DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)
# file: (user, group, subject alternative names)
_CERTIFICATES = {
    "apiserver": ("kube-apiserver", "", _API_NAMES),
    "apiserver-kubelet-client": ("kube-apiserver-kubelet-client", "system:masters", ""),
    "admin": ("kubernetes-admin", "system:masters", ""),
    "kube-controller-manager": ("system:kube-controller-manager", "", ""),
    "kube-scheduler": ("system:kube-scheduler", "", ""),
    "kube-proxy": ("system:kube-proxy", "", ""),
    "coredns": ("system:coredns", "", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes", f"IP:{NODE_ADDRESS},DNS:{NODE}"),
}


def certificate(name: str) -> Path:
    return PKI / f"{name}.crt"


def key(name: str) -> Path:
    return PKI / f"{name}.key"


def kubeconfig(name: str) -> Path:
    return KUBECONFIG if name == "admin" else PKI / f"{name}.kubeconfig"


def create() -> None:
    """Everything that is missing; the marker at the end tells a half-made set from a whole one."""
    done = PKI / "complete"
    if done.exists():
        return
    PKI.mkdir(parents=True, exist_ok=True, mode=0o700)
    _openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "3650",
        "-subj",
        f"/CN={CLUSTER}-ca",
        "-addext",
        "keyUsage=critical,keyCertSign,digitalSignature",
        "-keyout",
        PKI / "ca.key",
        "-out",
        CA,
    )
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key("service-account"))
    for name, (user, group, names) in _CERTIFICATES.items():
        _sign(name, user, group, names)
    for name in _CERTIFICATES:
        if name not in ("apiserver", "apiserver-kubelet-client"):
            _write_kubeconfig(name)
    done.touch()


def create_kubelet(name: str, node: str, address: str) -> None:
    """The certificate and kubeconfig `name` of another node's kubelet."""
    _sign(name, f"system:node:{node}", "system:nodes", f"IP:{address},DNS:{node}")
    _write_kubeconfig(name)


def _sign(name: str, user: str, group: str, names: str) -> None:
    request, extensions = PKI / f"{name}.csr", PKI / f"{name}.ext"
    subject = (f"/O={group}" if group else "") + f"/CN={user}"
    lines = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth,serverAuth"]
    extensions.write_text("\n".join([*lines, f"subjectAltName={names}"] if names else lines) + "\n")
    _openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        subject,
        "-keyout",
        key(name),
        "-out",
        request,
    )
    _openssl(
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        CA,
        "-CAkey",
        PKI / "ca.key",
        "-CAcreateserial",
        "-days",
        "3650",
        "-extfile",
        extensions,
        "-out",
        certificate(name),
    )


def _write_kubeconfig(name: str) -> None:
    path = kubeconfig(name)
    path.touch(mode=0o600)
    path.write_text(  # JSON is YAML
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": CLUSTER,
                "clusters": [
                    {
                        "name": CLUSTER,
                        "cluster": {"server": f"https://{NODE_ADDRESS}:{API_PORT}", "certificate-authority": str(CA)},
                    }
                ],
                "users": [{"name": name, "user": {"client-certificate": str(certificate(name)), "client-key": str(key(name))}}],
                "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": name}}],
            },
            indent=2,
        )
    )


def _openssl(*arguments: str | Path) -> None:
    run(["openssl", *arguments], log="openssl", what="making certificates")
