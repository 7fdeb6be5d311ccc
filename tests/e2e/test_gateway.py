"""Traffic mode Gateway, with Traefik: weights, the header and the host names per version, over HTTP and gRPC; what a Gateway refuses; CRDs that come and go.

The tests of this module change one resource, one after the other.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from e2e.cluster import TRITON_B, WEIGHTS, Cluster, Manifest, condition, end_of_audit, writes
from e2e.conftest import CLIENT_IMAGE, make_namespace, remove_namespace, yolo_deployment
from e2e.gateway import PORTS, Gateway, traffic
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

HOST, GRPC_HOST = "model.e2e.example", "grpc.model.e2e.example"
ROUTES = "httproutes.gateway.networking.k8s.io,grpcroutes.gateway.networking.k8s.io"
NAMES = sorted(f"{kind}/{name}" for kind in ("GRPCRoute", "HTTPRoute") for name in ("model", "model-v1", "model-v2"))
REQUESTS = 200
SETTLE_SECONDS, QUIET_SECONDS = 5, 12


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A Gateway that is not there yet, nor are its CRDs."""
    made = Gateway(cluster, tmp_path_factory.mktemp("gateway"))
    made.remove_crds()
    yield made
    made.stop()
    made.remove_crds()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, storage: Storage, operator: OperatorProcess, gateway: Gateway) -> Iterator[str]:
    """With one resource of two versions, which share traffic by a Gateway."""
    operator.start()
    name = make_namespace(cluster, "gateway")
    cluster.apply(yolo_deployment(name, versions=versions(90, 10), replicas=2, traffic=traffic(HOST)))
    yield name
    remove_namespace(cluster, name)


def versions(*weights: int) -> list[Manifest]:
    """Versions of the same weights, so that they may share traffic."""
    return [{"version": number, "weight": weight, "source": {"uri": "s3://weights/goldmine-detect.pt"}} for number, weight in enumerate(weights, start=1)]


def routes(cluster: Cluster, namespace: str) -> list[str]:
    return sorted(f"{each['kind']}/{each['metadata']['name']}" for each in cluster.list(ROUTES, namespace))


def message(yolo: Manifest) -> str:
    return str(condition(yolo, "Ready")["message"])


def test_missing_crds_are_named_and_their_installation_heals(cluster: Cluster, namespace: str, gateway: Gateway, operator: OperatorProcess) -> None:
    process = operator.pid
    found = cluster.wait_condition(namespace, "model", "Ready", "False", "GatewayApiMissing", timeout=400)
    assert "install the CRDs" in message(found)
    assert condition(found, "Available")["status"] == "True", "the versions serve all the same"

    gateway.install_crds()
    cluster.wait("a word about who has not answered", lambda: "Gateway e2e-gateway/edge" in message(cluster.yolo(namespace, "model")), 60)
    assert condition(cluster.yolo(namespace, "model"), "Ready")["reason"] == "RoutePending"
    assert routes(cluster, namespace) == NAMES

    gateway.start()
    cluster.wait_ready(namespace, "model")
    gateway.wait_routes(HOST)
    assert operator.pid == process, "nobody has restarted the operator"


def test_weights_are_shares_of_the_requests(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    kept = gateway.connect()
    found = Counter(gateway.ask(HOST, connection=kept if number % 2 else None) for number in range(REQUESTS))
    assert set(found) == {"1", "2"}
    assert 0.05 <= found["2"] / REQUESTS <= 0.15, found

    over_grpc = Counter(gateway.ask_grpc(GRPC_HOST) for _ in range(50))
    assert set(over_grpc) == {"1", "2"}
    assert 1 <= over_grpc["2"] <= 10, over_grpc


@pytest.mark.matrix
def test_ten_thousand_requests_are_shared_within_a_percent(namespace: str, gateway: Gateway) -> None:
    kept = gateway.connect()
    found = Counter(gateway.ask(HOST, connection=kept) for _ in range(10_000))
    assert 0.09 <= found["2"] / 10_000 <= 0.11, found
    assert found["1"] + found["2"] == 10_000, found


@pytest.mark.parametrize("version", ["1", "2"])
def test_each_version_is_reached_by_header_and_by_host_name(cluster: Cluster, namespace: str, gateway: Gateway, version: str) -> None:
    header = {"x-yolo-version": version}
    assert {gateway.ask(HOST, header) for _ in range(20)} == {version}
    assert {gateway.ask(f"v{version}.{HOST}") for _ in range(20)} == {version}
    assert {gateway.ask_grpc(GRPC_HOST, header) for _ in range(5)} == {version}
    assert {gateway.ask_grpc(f"v{version}.{GRPC_HOST}") for _ in range(5)} == {version}


def test_one_host_name_does_not_serve_the_other_kind(namespace: str, gateway: Gateway) -> None:
    assert gateway.ask(GRPC_HOST) == "404"
    assert gateway.ask_grpc(HOST).startswith("StatusCode.")


def test_the_unmodified_client_comes_through(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    aliases = [{"ip": gateway.address, "hostnames": [HOST, f"v2.{HOST}", GRPC_HOST]}]
    container = {
        "name": "client",
        "image": CLIENT_IMAGE,
        "command": ["sleep", "infinity"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "hostAliases": aliases,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": namespace}, "spec": spec})
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/client", "--timeout=120s", timeout=130)
    cluster.kubectl("cp", "-n", namespace, str(WEIGHTS / "bus.jpg"), "client:/tmp/bus.jpg")
    urls = [f"http://{HOST}:{PORTS['http']}/model", f"http://v2.{HOST}:{PORTS['http']}/model", f"grpc://{GRPC_HOST}:{PORTS['grpc']}/model"]

    code = "import sys; from ultralytics import YOLO; print([len(YOLO(u, task='detect')('/tmp/bus.jpg', conf=0.05, verbose=False)[0].boxes) for u in sys.argv[1:]])"
    counts = json.loads(cluster.exec(namespace, "client", "python3", "-c", code, *urls).strip().splitlines()[-1])

    assert counts[0] > 0, "the picture shows nothing: the comparison would be empty"
    assert counts == counts[:1] * 3
    cluster.kubectl("delete", "pod", "-n", namespace, "client", "--wait=false")


@pytest.mark.matrix
def test_a_second_pass_and_a_restart_write_no_route(cluster: Cluster, namespace: str, gateway: Gateway, operator: OperatorProcess) -> None:
    time.sleep(SETTLE_SECONDS)
    since = end_of_audit()
    cluster.kubectl("annotate", "yolodeployment", "-n", namespace, "model", "example.com/note=1", "--overwrite")
    time.sleep(QUIET_SECONDS)
    operator.stop()
    operator.start()
    time.sleep(QUIET_SECONDS)
    assert writes(since, namespace) == []


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param([{"op": "replace", "path": "/spec/rules/2/backendRefs/0/weight", "value": 1}], id="a weight"),
        pytest.param(
            [{"op": "add", "path": "/spec/rules/2/filters", "value": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-a"]}}]}],
            id="a filter in a rule",
        ),
        pytest.param([{"op": "add", "path": "/spec/hostnames/-", "value": "other.e2e.example"}], id="a host name"),
    ],
)
def test_drift_in_a_route_is_put_back(cluster: Cluster, namespace: str, gateway: Gateway, patch: list[Manifest]) -> None:
    def spec() -> Manifest:
        found: Manifest = (cluster.get("httproutes.gateway.networking.k8s.io", namespace, "model") or {})["spec"]
        return found

    before = spec()
    cluster.kubectl("patch", "httproutes.gateway.networking.k8s.io", "-n", namespace, "model", "--type=json", "-p", json.dumps(patch))
    cluster.wait("the route as before", lambda: spec() == before, 30, lambda: json.dumps(spec()))


def test_a_deleted_route_comes_back(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    cluster.kubectl("delete", "grpcroutes.gateway.networking.k8s.io", "-n", namespace, "model-v2")
    cluster.wait("all routes", lambda: routes(cluster, namespace) == NAMES, 30)
    cluster.wait_ready(namespace, "model")


def test_a_change_of_weights_costs_no_request(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        connection = gateway.connect()
        while not stop.is_set():
            try:
                answers.append(gateway.ask(HOST, connection=connection))
            except OSError as error:
                answers.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        cluster.patch("yolodeployment", namespace, "model", {"spec": {"versions": versions(10, 90)}})
        cluster.wait_ready(namespace, "model")
        cluster.wait("the new shares", lambda: Counter(answers[-100:])["2"] > 80, 30, lambda: str(Counter(answers[-100:])))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {"1", "2"}, Counter(answers)


@pytest.mark.matrix
def test_no_request_is_lost_behind_a_gateway(cluster: Cluster, gateway: Gateway, operator: OperatorProcess, storage: Storage) -> None:
    """A canary to its end, an image and a restart of the operator, config, scale, abort, promotion, weights; connections that are kept, and that are not."""
    name = make_namespace(cluster, "gateway-load")
    host = f"{name}.e2e.example"  # of an earlier run's resource on the same host name the older one would have the traffic
    one, two = ({"version": number, "source": {"uri": f"s3://weights/{weights}-detect.pt"}} for number, weights in ((1, "goldmine"), (2, "railway")))
    step = {"weight": 20, "duration": "10s"}
    rollout = {"strategy": "Canary", "steps": [step], "analysis": {"enabled": False}}
    cluster.apply(yolo_deployment(name, versions=[one], replicas=2, rollout=rollout, traffic=traffic(host) | {"allowIncompatible": True}))
    cluster.wait_ready(name, "model")

    def edit(**spec: object) -> None:
        cluster.patch("yolodeployment", name, "model", {"spec": spec})

    with gateway.load(host, keep_alive=True, http=4, grpc=1) as kept, gateway.load(host, keep_alive=False, http=4, grpc=1) as fresh:
        edit(versions=[one, two])
        cluster.wait("both versions answer", lambda: kept.during(2).answers.keys() == {1, 2})
        cluster.wait_ready(name, "model")
        cluster.wait("version 2 alone", lambda: kept.during(2).answers.keys() == fresh.during(2).answers.keys() == {2}, 30)
        edit(triton={"image": TRITON_B})
        operator.kill()
        operator.start()
        cluster.wait_ready(name, "model")
        for change in ({"triton": {"maxBatchSize": 4}}, {"replicas": 3}, {"replicas": 2}):
            edit(**change)
            cluster.wait_ready(name, "model")
        edit(versions=[two, one | {"version": 3}], rollout={"steps": [step | {"duration": "1h"}]})
        cluster.wait("the canary answers", lambda: kept.during(2).answers.keys() == {1, 2})
        edit(rollout={"abort": 3})
        cluster.wait_condition(name, "model", "Ready", "False", "RolloutAborted")
        cluster.wait("version 2 alone", lambda: kept.during(2).answers.keys() == fresh.during(2).answers.keys() == {2}, 30)
        edit(rollout={"abort": None, "promote": 3})
        cluster.wait_ready(name, "model")
        cluster.wait("version 3 alone, which is the first model again", lambda: kept.during(2).answers.keys() == fresh.during(2).answers.keys() == {1}, 30)
        edit(versions=[two | {"weight": 50}, one | {"version": 3, "weight": 50}], rollout=None)
        cluster.wait_ready(name, "model")
        cluster.wait("both versions answer", lambda: kept.during(2).answers.keys() == fresh.during(2).answers.keys() == {1, 2}, 60)
        edit(versions=[two | {"weight": 0}, one | {"version": 3, "weight": 100}])
        cluster.wait_ready(name, "model")
        cluster.wait("the end of version 2's pods", lambda: not cluster.list("pods", name, "app.kubernetes.io/component=triton,yolo-operator.io/version=2"), 90)
        for tally in (kept.so_far(), fresh.so_far()):
            assert tally.failures == [], tally
            assert tally.answers.total() > 500, tally
    remove_namespace(cluster, name)


def test_what_a_gateway_refuses_is_said_with_its_words(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    wanted = traffic(HOST)
    parent = wanted["gateway"]["parentRefs"][0]
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"traffic": {"gateway": {"parentRefs": [parent | {"sectionName": "nowhere"}]}}}})
    found = cluster.wait_condition(namespace, "model", "Ready", "False", "RouteNotAccepted", timeout=60)
    assert "Gateway e2e-gateway/edge, listener 'nowhere' does not accept HTTPRoute 'model'" in message(found)
    assert condition(found, "Available")["status"] == "True"

    cluster.patch("yolodeployment", namespace, "model", {"spec": {"traffic": wanted}})
    cluster.wait_ready(namespace, "model", timeout=60)


def test_copies_that_the_gateways_class_does_not_list_are_left_out_and_the_requests_go_on(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    """Traefik answers every request of a rule with RequestMirror with 500: the route must go without."""
    before = cluster.yolo(namespace, "model")["spec"]["versions"]
    listed = (cluster.get("gatewayclasses.gateway.networking.k8s.io", namespace, "e2e-gateway") or {})["status"]["supportedFeatures"]
    assert "HTTPRouteMethodMatching" in {each["name"] for each in listed}, "it lists what it does"

    def edit(wanted: list[Manifest], mirror: Manifest | None, session: Manifest | None) -> None:
        gateway = {"mirror": mirror, "sessionPersistence": session}
        cluster.patch("yolodeployment", namespace, "model", {"spec": {"versions": wanted, "traffic": {"gateway": gateway}}})

    edit(versions(1, 0), {"version": 2}, None)
    found = cluster.wait_condition(namespace, "model", "Ready", "False", "GatewayFeatureMissing")
    assert "the class of Gateway e2e-gateway/edge does not list HTTPRouteRequestMirror" in message(found)
    assert condition(found, "Available")["status"] == "True"
    edit(versions(1, 0), None, {})
    cluster.wait("a word about sessions", lambda: "HTTPRouteSessionPersistence" in message(cluster.yolo(namespace, "model")), 60)

    rules = (cluster.get("httproutes.gateway.networking.k8s.io", namespace, "model") or {})["spec"]["rules"]
    assert [rule.keys() & {"filters", "sessionPersistence"} for rule in rules] == [set()] * len(rules)
    cluster.wait("version 1 alone", lambda: {gateway.ask(HOST) for _ in range(20)} == {"1"}, 30)

    edit(before, None, None)
    cluster.wait_ready(namespace, "model")


def test_crds_that_go_and_come_again_need_no_restart(cluster: Cluster, namespace: str, gateway: Gateway, operator: OperatorProcess) -> None:
    process = operator.pid
    gateway.stop()
    gateway.remove_crds()
    cluster.wait_condition(namespace, "model", "Ready", "False", "GatewayApiMissing", timeout=60)

    gateway.install_crds()
    cluster.wait("all routes again", lambda: routes(cluster, namespace) == NAMES, 60)
    gateway.start()
    cluster.wait_ready(namespace, "model")

    gateway.wait_routes(HOST)
    cluster.wait("version 1 by its own host name", lambda: gateway.ask(f"v1.{HOST}") == "1", 30, lambda: gateway.ask(f"v1.{HOST}"))
    assert operator.pid == process
    assert '"InternalError"' not in operator.log.read_text()


def test_back_to_mode_service_all_routes_go(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"traffic": {"mode": "Service", "gateway": None}}})
    cluster.wait("no routes", lambda: routes(cluster, namespace) == [], 60)
    cluster.wait_ready(namespace, "model")
    # With a Gateway the Service is that of one version.
    found = cluster.get("service", namespace, "model") or {}
    assert "yolo-operator.io/version" not in found["spec"]["selector"]
