"""A real Gateway: the Gateway API's CRDs, and Traefik as a process in the cluster's network namespace. `make gateway` brings both."""

import base64
import http.client
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import tritonclient.grpc
import yaml

from e2e.cluster import CACHE, Cluster, Manifest
from e2e.load import Load

TRAEFIK = CACHE / "tools" / "traefik"
CRDS = CACHE / "gateway-api"
NETWORK_NAMESPACE = CACHE / "state" / "network-namespace"
NAMESPACE, NAME = "e2e-gateway", "edge"
PORTS = {"http": 18080, "grpc": 18081}


def manifests() -> list[Manifest]:
    """Traefik's account, which may do anything, and the Gateway with a listener for HTTP and one for gRPC in the clear."""
    listeners = [
        {"name": name, "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}  # in the clear it speaks HTTP/2 as well
        for name, port in PORTS.items()
    ]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "traefik", "namespace": NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "traefik", "namespace": NAMESPACE}],
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": NAMESPACE},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": NAMESPACE, "listeners": listeners},
        },
    ]


def traffic(host: str) -> Manifest:
    """spec.traffic of a resource behind this Gateway: HTTP at `host`, gRPC at grpc.`host`."""
    parents = {name: [{"name": NAME, "namespace": NAMESPACE, "sectionName": name}] for name in PORTS}
    grpc = {"hostnames": [f"grpc.{host}"], "parentRefs": parents["grpc"]}
    return {"mode": "Gateway", "gateway": {"parentRefs": parents["http"], "hostnames": [host], "grpc": grpc}}


class Gateway:
    """The CRDs and Traefik, each there or not as a test wants it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (node,) = cluster.list("nodes", "default")
        self.address: str = next(each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")

    def install_crds(self) -> None:
        """Install the Gateway API."""
        self._cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
        self._cluster.wait("the new kinds", self._served, 90)

    def remove_crds(self) -> None:
        """Remove the Gateway API, and with it every route. An API server may need minutes for a CRD.

        It first lists the CRD's objects, which fails with "storage is (re)initializing" where nobody had asked for that kind, and tries again in steps
        that double (https://github.com/operator-framework/operator-controller/issues/1437).
        """
        self._cluster.kubectl("delete", "-f", str(CRDS), "--ignore-not-found", "--timeout=300s", timeout=320)

    def start(self) -> None:
        """Run Traefik until its Gateway is programmed."""
        self._cluster.apply(*manifests())
        cluster = yaml.safe_load(self._cluster.kubectl("config", "view", "--raw", "--flatten"))["clusters"][0]["cluster"]
        ca, token = self._folder / "ca.crt", self._folder / "token"
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        token.write_text(self._cluster.kubectl("create", "token", "traefik", "-n", NAMESPACE, "--duration=24h").strip())
        provider = {"": "true", ".endpoint": cluster["server"], ".token": token, ".certauthfilepath": ca}
        arguments = [
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            *(f"--entrypoints.{name}.address=:{port}" for name, port in PORTS.items()),
            *(f"--entrypoints.{name}.transport.lifecycle.gracetimeout=1" for name in PORTS),
            *(f"--providers.kubernetesgateway{name}={value}" for name, value in provider.items()),
        ]
        with (self._folder / "traefik.log").open("ab") as log:
            self._process = subprocess.Popen(["nsenter", f"--net={NETWORK_NAMESPACE}", "--", TRAEFIK, *arguments], stdout=log, stderr=log, cwd=self._folder)
        self._cluster.wait("a programmed Gateway", self._programmed, 60, lambda: json.dumps(self._gateway().get("status", {})))

    def stop(self) -> None:
        """End Traefik, if it runs."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def ask(self, host: str, headers: Mapping[str, str] | None = None, connection: http.client.HTTPConnection | None = None) -> str:
        """The version of `model` that answers over HTTP, or the HTTP status of an error. A connection given is kept."""
        used = connection or self.connect()
        used.request("GET", "/v2/models/model", headers={"Host": host} | dict(headers or {}))
        with used.getresponse() as response:
            text = response.read()
        if connection is None:
            used.close()
        return ",".join(json.loads(text)["versions"]) if response.status == 200 else str(response.status)

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the HTTP listener."""
        return http.client.HTTPConnection(self.address, PORTS["http"], timeout=10)

    def ask_grpc(self, host: str, headers: Mapping[str, str] | None = None) -> str:
        """The version that answers over gRPC, or the code of an error."""
        arguments = [("grpc.default_authority", host), ("grpc.enable_http_proxy", 0)]
        with tritonclient.grpc.InferenceServerClient(f"{self.address}:{PORTS['grpc']}", channel_args=arguments) as client:
            try:
                return ",".join(client.get_model_metadata("model", headers=dict(headers or {}), client_timeout=10).versions)
            except tritonclient.grpc.InferenceServerException as error:
                return str(error.status())

    def wait_routes(self, host: str) -> None:
        """Wait until Traefik uses the routes for the host names of `traffic`, over HTTP and gRPC: it accepts them up to some seconds before."""

        def answers() -> list[str]:
            return [self.ask(host), self.ask_grpc(f"grpc.{host}")]

        self._cluster.wait(f"Traefik's use of the routes for {host}", lambda: all(len(each) == 1 for each in answers()), 30, lambda: str(answers()))

    def load(self, host: str, *, keep_alive: bool, http: int = 8, grpc: int = 2) -> Load:
        """Clients of `model` that come by the host names of `traffic`, once these are routed."""
        self.wait_routes(host)
        hosts = host, f"grpc.{host}"
        return Load(self.address, "model", http=http, grpc=grpc, keep_alive=keep_alive, ports=(PORTS["http"], PORTS["grpc"]), hosts=hosts)

    def _served(self) -> bool:
        kinds = ("gatewayclasses", "gateways", "httproutes", "grpcroutes")
        return all(self._cluster.serves(f"{kind}.gateway.networking.k8s.io") for kind in kinds)

    def _gateway(self) -> Manifest:
        return self._cluster.get("gateways.gateway.networking.k8s.io", NAMESPACE, NAME) or {}

    def _programmed(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Traefik has ended: {self._folder / 'traefik.log'}"
        return any(each["type"] == "Programmed" and each["status"] == "True" for each in self._gateway().get("status", {}).get("conditions", ()))
