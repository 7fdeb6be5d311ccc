"""The same cluster where a Docker engine answers and kind is installed: kind-config.yaml, kubectl's usual kubeconfig."""

from __future__ import annotations

import functools
import json
import shutil

from settings import CLUSTER, KUBECTL, REPOSITORY
from steps import output, quiet, run, say

_NODE = f"{CLUSTER}-control-plane"


@functools.cache
def usable() -> bool:
    return bool(shutil.which("docker") and shutil.which("kind") and quiet("docker", "info"))


def running() -> bool:
    return CLUSTER in output(["kind", "get", "clusters"]).split()


def up() -> None:
    if running():
        say(f"{CLUSTER}: already running")
        return
    run(
        ["kind", "create", "cluster", "--name", CLUSTER, "--config", REPOSITORY / "kind-config.yaml", "--wait", "180s"],
        log="kind",
        what="kind create cluster",
    )
    say(f"{CLUSTER}: running in kind")


def down() -> None:
    run(["kind", "delete", "cluster", "--name", CLUSTER], log="kind", what="kind delete cluster")
    say(f"{CLUSTER}: deleted")


def status() -> int:
    if not running():
        print("not running")
        return 1
    print(output([_kubectl(), "get", "nodes", "-o", "wide"]), end="")
    return 0


def load(tag: str) -> None:
    """Nothing if the cluster does not run: `docker build` keeps the image."""
    if running():
        run(["kind", "load", "docker-image", tag, "--name", CLUSTER], log="kind", what=f"loading {tag}")


def gpus(count: int) -> None:
    patch = json.dumps({"status": {field: {"nvidia.com/gpu": str(count)} for field in ("capacity", "allocatable")}})
    output([_kubectl(), "patch", "node", _NODE, "--subresource=status", "--type=merge", "-p", patch])
    say(f"nvidia.com/gpu: {count}")


def _kubectl() -> str:
    return str(KUBECTL) if KUBECTL.exists() else "kubectl"
