"""The network namespace of the cluster: one veth pair and two routes on the host; all rules end with it."""

from __future__ import annotations

import os

from settings import HOST_ADDRESS, HOST_LINK, NODE_ADDRESS, NODE_LINK, POD_NETWORK, SERVICE_NETWORK, STATE
from steps import ClusterError, output, quiet

# A file of ours and not /run/netns: `ip netns` would leave a mount there.
NAMESPACE = STATE / "network-namespace"
# Not `ip netns exec`: that remounts /sys and hides the cgroups.
INSIDE = ("nsenter", f"--net={NAMESPACE}", "--")
_NOWHERE = "nowhere"


def exists() -> bool:
    """Whether the namespace is there; after a reboot only its file is."""
    return os.path.ismount(NAMESPACE)


def up() -> None:
    """Create what is missing. Host processes reach pods and services by IP; pods reach the host, but nothing beyond it."""
    if not exists():
        NAMESPACE.touch()
        output(["unshare", f"--net={NAMESPACE}", "true"])
    if quiet("ip", "link", "show", HOST_LINK):
        if not quiet(*INSIDE, "ip", "link", "show", NODE_LINK):
            raise ClusterError(
                f"the network link {HOST_LINK} belongs to a cluster in another cache folder: "
                f"run `make cluster-down` with its YOLO_OPERATOR_CACHE, or, where that folder is gone, `ip link delete {HOST_LINK}`"
            )
    else:
        output(["ip", "link", "add", HOST_LINK, "type", "veth", "peer", "name", NODE_LINK])
        output(["ip", "link", "set", NODE_LINK, "netns", str(NAMESPACE)])
    output(["ip", "address", "replace", f"{HOST_ADDRESS}/30", "dev", HOST_LINK])
    output(["ip", "link", "set", HOST_LINK, "up"])
    output([*INSIDE, "ip", "address", "replace", f"{NODE_ADDRESS}/30", "dev", NODE_LINK])
    for link in (NODE_LINK, "lo"):
        output([*INSIDE, "ip", "link", "set", link, "up"])
    # kubelet and kube-proxy want a default route; the host forwards nothing for us, so it leads nowhere else.
    output([*INSIDE, "ip", "route", "replace", "default", "via", HOST_ADDRESS])
    output([*INSIDE, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    for network in (POD_NETWORK, SERVICE_NETWORK):
        output(["ip", "route", "replace", network, "via", NODE_ADDRESS])


def down() -> None:
    """Remove the host's end of the pair, with its routes, and the namespace."""
    quiet("ip", "link", "delete", HOST_LINK)
    if exists():
        output(["umount", "-l", str(NAMESPACE)])


def add_address(address: str) -> None:
    """Another one of the namespace's own, for a node."""
    output([*INSIDE, "ip", "address", "replace", f"{address}/32", "dev", "lo"])


def cut_off(address: str) -> None:
    """No packet reaches a pod any more, and nobody is told: as on a machine without power.

    They end in a device and not at a rule of iptables, so that a connection's later packets go the same way: one that a rule drops is not remembered,
    and its repetition could get another pod of the Service.
    """
    quiet(*INSIDE, "ip", "link", "add", _NOWHERE, "type", "veth", "peer", "name", f"{_NOWHERE}-end")
    for link in (_NOWHERE, f"{_NOWHERE}-end"):
        output([*INSIDE, "ip", "link", "set", link, "up"])
    # Nobody has this hardware address: the other end takes every packet for somebody else's.
    output([*INSIDE, "ip", "neighbour", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", _NOWHERE, "nud", "permanent"])
    output([*INSIDE, "ip", "route", "replace", address, "dev", _NOWHERE])


def let_through(address: str) -> None:
    """Take `cut_off` back: another pod may get the address."""
    quiet(*INSIDE, "ip", "route", "delete", address, "dev", _NOWHERE)
    quiet(*INSIDE, "ip", "neighbour", "delete", address, "dev", _NOWHERE)
