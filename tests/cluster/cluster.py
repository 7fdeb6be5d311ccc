#!/usr/bin/env python3
"""A complete single-node Kubernetes cluster without Docker, in a network namespace of its own.

    cluster.py up | down | status | env
    cluster.py gpus N                       the node offers N of nvidia.com/gpu (no device is behind them)
    cluster.py stop|start|restart COMPONENT kube-apiserver, kubelet, … for fault tests
    cluster.py node add|off|remove NAME     a node besides, with GPUs and their taint; its power fails; it goes
    cluster.py images [NAME…]               build what changed and load it (images.py)

Where a Docker engine answers and kind is installed, `up` and `down` take kind and kind-config.yaml instead.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import builds
import cgroups
import components
import images
import kind
import network
import nodes
import pki
import prerequisites
import processes
from settings import AUDIT_LOG, CACHE, CGROUP, CLUSTER, CONTAINERD, CONTAINERD_SOCKET, HERE, KUBECONFIG, KUBECTL, NODE, STATE
from steps import ClusterError, kubectl, output, quiet, say, wait_for

# kubelet sets these on the host (protectKernelDefaults is for hosts prepared beforehand); `down` puts them back.
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Folders whose place is fixed in kubelet, containerd and CNI; `down` removes those that were not there before.
_FIXED_FOLDERS = ("/var/lib/kubelet", "/var/log/containers", "/var/lib/cni", "/run/containerd", "/opt/cni")


def up() -> None:
    """From nothing, from a half-made cluster or after a reboot to a Ready node; seconds if it runs already."""
    if all(processes.running(c.name) for c in components.ALL) and all(c.ready() for c in components.ALL):
        say(f"{CLUSTER}: already running")
        return
    prerequisites.check()
    builds.fetch_tools()
    builds.build_programs()
    if STATE.exists() and not network.exists():
        _clean()  # a reboot or a crash of the machine: its pods are gone, and so is what the node knew of them
    STATE.mkdir(parents=True, exist_ok=True)
    _remember_host()
    network.up()
    say("network namespace: ready")
    pki.create()
    components.write_configuration()
    cgroups.create(CGROUP)
    components.start(components.CONTAINERD_COMPONENT)
    if not (STATE / "etcd").exists():
        _remove_containers()  # of a cluster that was not taken down, but lost its state
    images.ensure_pause()
    say("containerd: ready")
    for component in components.CONTROL_PLANE:
        components.start(component)
        say(f"{component.name}: ready")
    kubectl("apply", "-f", str(HERE / "manifests/dns.yaml"))
    for component in components.NODE_COMPONENTS:
        components.start(component)
        say(f"{component.name}: ready")
    wait_for(
        "the default service account",
        lambda: quiet(KUBECTL, "--kubeconfig", KUBECONFIG, "get", "serviceaccount", "default"),
        seconds=30,
    )
    _apply_gpus()
    images.load_built()
    say(f"{CLUSTER}: node {NODE} is Ready, Kubernetes {components.VERSION}")


def down() -> None:
    """End our processes and put the host back: network, mounts, cgroups, kernel settings. Builds and images stay in the cache."""
    if not STATE.exists():
        say(f"{CLUSTER}: not running")
        return
    for component in (*reversed(components.NODE_COMPONENTS), *reversed(components.CONTROL_PLANE)):
        processes.stop(component.name)
    say("kubelet and control plane: stopped")
    _clean()
    say(f"{CLUSTER}: down; caches are kept in {CACHE}")


def _clean() -> None:
    """Pods, containerd, mounts, cgroups, network, state: in this order, each step tolerant of what is gone already."""
    if processes.running("containerd"):
        _remove_containers()
    for component in reversed(components.ALL):
        processes.stop(component.name)
    for folder in nodes.FOLDER.glob("*"):
        nodes.stop(folder.name)
    processes.kill_where(str(CONTAINERD_SOCKET), program="containerd-shim")
    cgroups.kill(CGROUP)
    network.down()
    nodes.unmount(STATE, CONTAINERD)
    _restore_host()
    shutil.rmtree(STATE)


def _remove_containers() -> None:
    """What containerd knows of pods, so that no kubelet after us finds them."""
    for container in _lines(components.ctr("containers", "ls", "-q")):
        quiet(*components.ctr("tasks", "kill", "-s", "SIGKILL", "-a", container))
    for container in _lines(components.ctr("containers", "ls", "-q")):
        quiet(*components.ctr("tasks", "rm", "-f", container))
        quiet(*components.ctr("containers", "rm", container))


def _lines(command: list[str | Path]) -> list[str]:
    return output(command).split()


def _remember_host() -> None:
    path = STATE / "host.json"
    if not path.exists():
        sysctls = {n: Path("/proc/sys", n).read_text().strip() for n in _SYSCTLS if Path("/proc/sys", n).exists()}
        path.write_text(json.dumps({"sysctls": sysctls, "folders": [f for f in _FIXED_FOLDERS if Path(f).exists()]}))


def _restore_host() -> None:
    try:
        host = json.loads((STATE / "host.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return
    for name, value in host["sysctls"].items():
        path = Path("/proc/sys", name)
        if path.read_text().strip() != value:
            path.write_text(value)
    for link in Path("/var/log/containers").glob("*.log"):
        if str(link.readlink()).startswith(str(STATE)):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob(f"{CLUSTER}-*"):
        result.unlink()
    for folder in _FIXED_FOLDERS:
        if folder not in host["folders"]:
            shutil.rmtree(folder, ignore_errors=True)


def status() -> int:
    """One line per component; exit code 0 only if all are up."""
    worst = 0
    for component in components.ALL:
        pid = processes.running(component.name)
        worst |= 0 if pid else 1
        print(f"{component.name:25} {f'pid {pid}' if pid else 'not running'}")
    if processes.running("kube-apiserver"):
        print(kubectl("get", "nodes", "-o", "wide"), end="")
    return worst


def environment() -> None:
    """Shell lines for `eval`."""
    config = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config")) if kind.usable() else KUBECONFIG
    print(f"export KUBECONFIG={config}")
    print(f"export PATH={KUBECTL.parent}:$PATH")
    print(f"export YOLO_OPERATOR_AUDIT_LOG={AUDIT_LOG}")


def gpus(count: int) -> None:
    """Let the node offer `count` GPUs; remembered, since a restarted kubelet may forget them."""
    (STATE / "gpus").write_text(str(count))
    _apply_gpus()
    say(f"nvidia.com/gpu: {count}")


def _apply_gpus() -> None:
    remembered = STATE / "gpus"
    if not remembered.exists():
        return
    nodes.offer_gpus(NODE, int(remembered.read_text()))


def stop(name: str) -> None:
    """End one component, as a fault."""
    processes.stop(_component(name).name)
    say(f"{name}: stopped")


def start(name: str) -> None:
    """Start one component again and wait until it answers."""
    components.start(_component(name))
    if name == "kubelet":
        _apply_gpus()
    say(f"{name}: ready")


def change_node(arguments: argparse.Namespace) -> None:
    """`node add`, `off` or `remove`."""
    if kind.usable():
        raise ClusterError("nodes besides the first are for the cluster without Docker: in kind, add them to kind-config.yaml")
    match arguments.change:
        case "add":
            nodes.add(arguments.name, arguments.labels, arguments.gpus)
        case "off":
            nodes.off(arguments.name)
        case _:
            nodes.remove(arguments.name)


def _component(name: str) -> components.Component:
    for component in components.ALL:
        if component.name == name:
            return component
    raise ClusterError(f"no component {name}; there are {', '.join(c.name for c in components.ALL)}")


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Two `up` at once would start everything twice; building images does not keep anybody from the rest."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "env"):
        commands.add_parser(name)
    commands.add_parser("gpus").add_argument("count", type=int)
    for name in ("stop", "start", "restart"):
        commands.add_parser(name).add_argument("component")
    node = commands.add_parser("node")
    node.add_argument("change", choices=("add", "off", "remove"))
    node.add_argument("name")
    node.add_argument("--labels", default="", help="of the Node: a=b,c=d")
    node.add_argument("--gpus", type=int, default=1)
    commands.add_parser("images").add_argument("names", nargs="*")
    arguments = parser.parse_args()
    try:
        if arguments.command == "status":
            return kind.status() if kind.usable() else status()
        if arguments.command == "env":
            environment()
            return 0
        with _one_at_a_time("images" if arguments.command == "images" else "cluster"):
            match arguments.command:
                case "up":
                    kind.up() if kind.usable() else up()
                    environment()
                case "down":
                    kind.down() if kind.usable() else down()
                case "gpus":
                    kind.gpus(arguments.count) if kind.usable() else gpus(arguments.count)
                case "stop":
                    stop(arguments.component)
                case "start":
                    start(arguments.component)
                case "restart":
                    stop(arguments.component)
                    start(arguments.component)
                case "node":
                    change_node(arguments)
                case "images":
                    images.build(arguments.names)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
