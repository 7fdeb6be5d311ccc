"""Nodes beside the first, for drains, pools that are replaced and machines that go.

Each has a containerd and a kubelet of its own, in the cluster's one network namespace, and offers GPUs by its status. Pods of every node reach each other.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cgroups
import components
import network
import pki
import processes
from components import Node
from settings import CGROUP, CLUSTER, MORE_NODES, STATE
from steps import ClusterError, kubectl, quiet, say, wait_for

FOLDER = STATE / "nodes"
_IMAGES = (components.PAUSE_IMAGE, "docker.io/yolo-operator/operator:dev", "docker.io/yolo-operator/tritonserver-cpu:24.10")
"""What Triton's pods are made of. Builds and clients run on the first node."""
_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
"""As pools of GPU nodes have it: nothing runs there but what asks for a GPU."""


def add(name: str, labels: str, gpus: int) -> None:
    """A node that is Ready and has the images of Triton's pods. Raises ClusterError where there is one of that name."""
    if (FOLDER / name).exists():
        raise ClusterError(f"node {name} is there already: `cluster.py nodes remove {name}` first")
    number = 1 + max((int((folder / "number").read_text()) for folder in FOLDER.glob("*")), default=0)
    (FOLDER / name).mkdir(parents=True)
    (FOLDER / name / "number").write_text(str(number))
    node = _node(name, number, labels)
    network.add_address(node.address)
    pki.create_kubelet(node.kubelet, node.name, node.address)
    components.write_node_configuration(node)
    cgroups.create(node.cgroup)
    components.start(components.containerd(node, _containerd(name)))
    for image in _IMAGES:
        _copy(image, node)
    components.start(components.kubelet(node))
    offer_gpus(name, gpus)
    say(f"node {name}: Ready, {gpus} GPUs")


def off(name: str) -> None:
    """The machine loses its power: all its processes end at once, and who asks its pods gets no answer at all."""
    addresses = _addresses(name)
    with (FOLDER / name / "cut-off").open("a") as file:
        file.writelines(f"{address}\n" for address in addresses)
    for address in addresses:
        network.cut_off(address)
    stop(name)
    say(f"node {name}: off")


def stop(name: str) -> None:
    """End all processes of a node at once."""
    processes.kill(f"kubelet-{name}")
    processes.kill(_containerd(name))
    processes.kill_where(str(FOLDER / name), program="containerd-shim")
    cgroups.kill(f"{CGROUP}/{name}")


def remove(name: str) -> None:
    """The machine and its Node are gone; nothing where there is none."""
    if not (FOLDER / name).exists():
        return
    off(name)
    kubectl("delete", "node", name, "--ignore-not-found")
    for address in (FOLDER / name / "cut-off").read_text().split():
        network.let_through(address)
        (STATE / "cni" / CLUSTER / address).unlink(missing_ok=True)  # CNI's own note of it, which only a kubelet takes back
    unmount(FOLDER / name)
    shutil.rmtree(FOLDER / name)
    say(f"node {name}: gone")


def offer_gpus(name: str, count: int) -> None:
    """Let a node offer so many of nvidia.com/gpu; no device is behind them."""
    patch = json.dumps({"status": {field: {"nvidia.com/gpu": str(count)} for field in ("capacity", "allocatable")}})

    def offered() -> bool:
        kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
        return kubectl("get", "node", name, "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}") == str(count)

    wait_for(f"the GPU count of node {name}", offered, seconds=20)


def unmount(*folders: Path) -> None:
    """Everything that is mounted below, innermost first."""
    below = tuple(f"{folder}/" for folder in folders)
    for _ in range(5):
        points = [line.split()[4].encode().decode("unicode_escape") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        ours = [p for p in points if p.startswith(below)]
        if not ours:
            return
        for point in sorted(ours, key=len, reverse=True):
            quiet("umount", "-l", point)
    raise ClusterError(f"could not unmount {ours[0]}")


def _node(name: str, number: int, labels: str) -> Node:
    folder = FOLDER / name
    return Node(
        name,
        MORE_NODES.format(number),
        folder,
        folder / "images",
        kubelet=f"kubelet-{name}",
        cgroup=f"{CGROUP}/{name}",
        health_port=11000 + number,
        labels=labels,
        taints=(_TAINT,),
    )


def _containerd(name: str) -> str:
    return f"containerd-{name}"


def _copy(image: str, node: Node) -> None:
    """From the first node's images; there is no registry."""
    with subprocess.Popen([*map(str, components.ctr("images", "export", "-", image))], stdout=subprocess.PIPE) as export:
        load = subprocess.run(
            [*map(str, components.ctr("images", "import", "-", socket=node.socket))], stdin=export.stdout, capture_output=True, text=True, check=False
        )
    if export.returncode or load.returncode:
        raise ClusterError(f"copying image {image} to node {node.name} failed: {load.stderr.strip()[-400:]}")


def _addresses(name: str) -> list[str]:
    """Of the pods that the API has on a node."""
    return kubectl("get", "pods", "-A", f"--field-selector=spec.nodeName={name}", "-o", "jsonpath={.items[*].status.podIP}").split()
