"""What runs: the command line and configuration of every component, and how to tell that it is ready."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import network
import pki
import processes
from builds import program
from settings import (
    API_PORT,
    AUDIT_LOG,
    CGROUP,
    CLUSTER,
    CONTAINERD,
    CONTAINERD_SOCKET,
    DNS_SERVICE_ADDRESS,
    HERE,
    KUBECTL,
    KUBERNETES_VERSION,
    NODE,
    NODE_ADDRESS,
    POD_NETWORK,
    SERVICE_NETWORK,
    STATE,
)
from steps import quiet, wait_for

PAUSE_IMAGE = "docker.io/yolo-operator/pause:dev"
CONFIGURATION = STATE / "config"


@dataclass(frozen=True, slots=True)
class Node:
    """A kubelet and a containerd of its own; all nodes are in the cluster's network namespace, each with an address."""

    name: str
    address: str
    folder: Path
    """Of its state."""
    containerd: Path
    """Of its images."""
    kubelet: str = "kubelet"
    """The name of its certificate and process."""
    cgroup: str = CGROUP
    """Above its pods'."""
    health_port: int = 10248
    labels: str = ""
    taints: Sequence[dict[str, str]] = ()

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def configuration(self) -> Path:
        return self.folder / "config"


FIRST = Node(NODE, NODE_ADDRESS, STATE, CONTAINERD)


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the cluster."""

    name: str
    command: Callable[[], list[str | Path]]
    ready: Callable[[], bool]
    seconds: float = 60


def start(component: Component) -> None:
    """Start it and wait until it answers."""
    processes.start(component.name, component.command(), inside=network.INSIDE)
    wait_for(
        component.name,
        lambda: _alive(component) and component.ready(),
        seconds=component.seconds,
        log=processes.log_of(component.name),
    )


def _alive(component: Component) -> bool:
    if processes.running(component.name) is None:
        # A port still taken by the process before, an API server that is just coming up: try again.
        processes.start(component.name, component.command(), inside=network.INSIDE)
    return True


def write_configuration() -> None:
    """Configuration files are written at each start: they follow the code, not the day the cluster was made."""
    CONFIGURATION.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "manifests/audit-policy.yaml", CONFIGURATION / "audit-policy.yaml")
    (CONFIGURATION / "resolv.conf").write_text(f"nameserver {DNS_SERVICE_ADDRESS}\n")
    # No forwarding: nothing beyond the host can be reached from the namespace, and a refusal beats a timeout.
    (CONFIGURATION / "Corefile").write_text(
        f""".:53 {{
    errors
    ready {NODE_ADDRESS}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {pki.kubeconfig("coredns")} {CLUSTER}
        pods insecure
    }}
    cache 5
}}
"""
    )
    cni = CONFIGURATION / "cni"
    cni.mkdir(exist_ok=True)
    # ptp, not bridge: every packet is routed, so that a Service works between pods of one node without br_netfilter.
    _write_json(
        cni / "10-pods.conflist",
        {
            "cniVersion": "1.0.0",
            "name": CLUSTER,
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "mtu": 1500,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(STATE / "cni"),
                        "ranges": [[{"subnet": POD_NETWORK}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
    )
    write_node_configuration(FIRST)


def write_node_configuration(node: Node) -> None:
    """The files of a node's containerd and kubelet."""
    node.configuration.mkdir(parents=True, exist_ok=True)
    (node.configuration / "containerd.toml").write_text(_containerd(node))
    _write_json(node.configuration / "kubelet.json", _kubelet(node))


def _containerd(node: Node) -> str:
    return f"""version = 2
root = "{node.containerd}"
state = "{node.folder}/containerd"
[grpc]
  address = "{node.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  stats_collect_period = 5
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{CONFIGURATION}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _kubelet(node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "healthzPort": node.health_port,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(pki.CA)}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate(node.kubelet)),
        "tlsPrivateKeyFile": str(pki.key(node.kubelet)),
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxPods": 110,
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(CONFIGURATION / "resolv.conf"),
        "podLogsDir": str(node.folder / "pod-logs"),
        "volumePluginDir": str(STATE / "volume-plugins"),
        # Measured often, so that a pod over its emptyDir's sizeLimit is evicted within seconds and not minutes.
        "volumeStatsAggPeriod": "5s",
        "evictionPressureTransitionPeriod": "10s",
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageMinimumGCAge": "24h",
        "imageGCHighThresholdPercent": 100,  # the images have no registry to come back from
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "registerNode": True,
        "registerWithTaints": list(node.taints),
        "serializeImagePulls": False,
    }


def _etcd() -> list[str | Path]:
    return [
        program("etcd"),
        "--name=node",
        "--data-dir",
        STATE / "etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=node=http://127.0.0.1:2380",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-retention=10m",
    ]


def _apiserver() -> list[str | Path]:
    return [
        program("kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={NODE_ADDRESS}",
        "--bind-address=0.0.0.0",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki.CA}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet-client')}",
        f"--kubelet-client-key={pki.key('apiserver-kubelet-client')}",
        f"--kubelet-certificate-authority={pki.CA}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki.key('service-account')}",
        f"--service-account-signing-key-file={pki.key('service-account')}",
        f"--audit-policy-file={CONFIGURATION / 'audit-policy.yaml'}",
        f"--audit-log-path={AUDIT_LOG}",
        "--audit-log-maxsize=500",
        "--audit-log-maxbackup=1",
        "--allow-privileged=true",
    ]


def _controller_manager() -> list[str | Path]:
    config = pki.kubeconfig("kube-controller-manager")
    return [
        program("kube-controller-manager"),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={pki.CA}",
        f"--service-account-private-key-file={pki.key('service-account')}",
        f"--cluster-signing-cert-file={pki.CA}",
        f"--cluster-signing-key-file={pki.PKI / 'ca.key'}",
        f"--cluster-cidr={POD_NETWORK}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--allocate-node-cidrs=false",
        "--bind-address=127.0.0.1",
        "--flex-volume-plugin-dir",
        STATE / "volume-plugins",
    ]


def _scheduler() -> list[str | Path]:
    config = pki.kubeconfig("kube-scheduler")
    return [
        program("kube-scheduler"),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def _kubelet_command(node: Node) -> list[str | Path]:
    return [
        program("kubelet"),
        f"--config={node.configuration / 'kubelet.json'}",
        f"--kubeconfig={pki.kubeconfig(node.kubelet)}",
        f"--root-dir={node.folder / 'kubelet'}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--node-labels={node.labels}",
    ]


def _kube_proxy() -> list[str | Path]:
    return [
        program("kube-proxy"),
        f"--kubeconfig={pki.kubeconfig('kube-proxy')}",
        f"--hostname-override={NODE}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={POD_NETWORK}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--oom-score-adj=0",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
        "--iptables-min-sync-period=200ms",
    ]


def _api_ready() -> bool:
    return quiet(KUBECTL, "--kubeconfig", pki.kubeconfig("admin"), "--request-timeout=3s", "get", "--raw", "/readyz")


def _http(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    return answers


def _inside(*command: str) -> Callable[[], bool]:
    return lambda: quiet(*network.INSIDE, *command)


def _node_ready(node: Node) -> bool:
    # The node's own word first: after a restart the API still shows the Ready of before.
    healthy = quiet(*network.INSIDE, "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{node.health_port}")
    return healthy and quiet(KUBECTL, "--kubeconfig", pki.kubeconfig("admin"), "wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=2s")


def ctr(*arguments: str | Path, socket: Path = CONTAINERD_SOCKET) -> list[str | Path]:
    """A containerd client's command line, in the namespace of the kubelet's images and containers."""
    return ["ctr", "--address", socket, "-n", "k8s.io", *arguments]


def containerd(node: Node, name: str = "containerd") -> Component:
    """What runs a node's containers."""
    return Component(name, lambda: ["containerd", "--config", node.configuration / "containerd.toml"], lambda: quiet(*ctr("version", socket=node.socket)))


def kubelet(node: Node) -> Component:
    """What runs a node's pods; ready with the Node."""
    return Component(node.kubelet, lambda: _kubelet_command(node), lambda: _node_ready(node), 120)


CONTAINERD_COMPONENT = containerd(FIRST)
CONTROL_PLANE = (
    Component("etcd", _etcd, _inside("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2379")),
    Component("kube-apiserver", _apiserver, _api_ready, 90),
    Component("kube-controller-manager", _controller_manager, _inside("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/10257")),
    Component("kube-scheduler", _scheduler, _inside("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/10259")),
)
NODE_COMPONENTS = (
    Component("coredns", lambda: [program("coredns"), "-conf", CONFIGURATION / "Corefile"], _http(f"http://{NODE_ADDRESS}:8181/ready")),
    kubelet(FIRST),
    Component("kube-proxy", _kube_proxy, _inside("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/10249")),
)
ALL = (CONTAINERD_COMPONENT, *CONTROL_PLANE, *NODE_COMPONENTS)
VERSION = KUBERNETES_VERSION


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
