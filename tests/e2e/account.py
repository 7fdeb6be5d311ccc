"""The account that the tests' operator runs under: the chart's own, cluster-wide, with the rights that the chart gives and no others."""

import json
from pathlib import Path

import yaml

from chart.commands import rendered
from e2e.cluster import Cluster, Refused

NAMESPACE, RELEASE, NAME = "e2e-operator", "e2e", "e2e-yolo-operator"
RIGHTS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig with a token of the account, which is there and may act."""
    objects = rendered({"rbac.aggregateToDefaultRoles": False}, namespace=NAMESPACE, release=RELEASE)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *(each for each in objects if each["kind"] in RIGHTS))
    cluster.wait("its rights", lambda: may_list(cluster), 30)
    admins = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    token = cluster.kubectl("create", "token", NAME, "-n", NAMESPACE, "--duration=24h").strip()
    context = {"cluster": admins["clusters"][0]["name"], "user": NAME}
    its = {"users": [{"name": NAME, "user": {"token": token}}], "contexts": [{"name": NAME, "context": context}], "current-context": NAME}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(admins | its))
    path.chmod(0o600)
    return path


def may_list(cluster: Cluster) -> bool:
    """Whether the authorizer has learnt of the binding."""
    try:
        who = f"--as=system:serviceaccount:{NAMESPACE}:{NAME}"
        return cluster.kubectl("auth", "can-i", "list", "yolodeployments.yolo-operator.io", "--all-namespaces", who).strip() == "yes"
    except Refused:  # kubectl's exit code for `no`
        return False
