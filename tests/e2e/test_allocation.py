"""Who gets the requests while pods fail, shares are turned round, and strategy and mode change in one edit: under load, through the Service and through a Gateway."""

from collections.abc import Callable, Iterator

import pytest

from e2e.cluster import Cluster, Manifest, pod_ready
from e2e.conftest import GPU, WITH_GPU, make_namespace, remove_namespace, yolo_deployment
from e2e.gateway import Gateway, traffic
from e2e.load import Load
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

ONE: Manifest = {"version": 1, "source": {"uri": "s3://weights/goldmine-detect.pt"}}
TWO: Manifest = {"version": 2, "source": {"uri": "s3://weights/railway-detect.pt"}}
PODS = "app.kubernetes.io/component=triton,yolo-operator.io/version="


@pytest.fixture
def namespace(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[str]:
    """One for each test."""
    operator.start()
    name = make_namespace(cluster, "allocation")
    yield name
    remove_namespace(cluster, name)


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Traefik, which serves the Gateway API."""
    made = Gateway(cluster, tmp_path_factory.mktemp("gateway"))
    made.install_crds()
    made.start()
    yield made
    made.stop()
    made.remove_crds()


def edit(cluster: Cluster, namespace: str, **spec: object) -> None:
    cluster.patch("yolodeployment", namespace, "model", {"spec": spec})


@pytest.mark.matrix
def test_the_only_pod_of_the_stable_version_dies_while_its_successor_is_built(cluster: Cluster, namespace: str) -> None:
    rollout = {"strategy": "Canary", "steps": [{"weight": 50, "duration": "1h"}], "analysis": {"enabled": False}}
    cluster.apply(yolo_deployment(namespace, versions=[ONE], replicas=1, rollout=rollout, traffic={"allowIncompatible": True}))
    cluster.wait_ready(namespace, "model")
    (pod,) = cluster.list("pods", namespace, f"{PODS}1")
    with Load(cluster.service_ip(namespace, "model"), "model") as load:
        cluster.wait("answers", lambda: load.during(1).answers[1] > 5, 30)
        edit(cluster, namespace, versions=[TWO])
        cluster.kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--wait=true")
        cluster.wait("an answer of the pod that follows", lambda: load.during(1).answers[1] > 5, 120)
        after = load.so_far()
        status = cluster.wait_condition(namespace, "model", "Ready", "False", "CanaryStep")["status"]
        tally = load.so_far().since(after)
        assert (status["rollout"]["stable"], status["rollout"]["canary"], status["rollout"]["weight"]) == (1, 2, 50)
        assert tally.failures == [], tally
        assert cluster.wait("both versions", lambda: load.during(2).answers.keys() == {1, 2}, 30)
        assert load.so_far().since(after).failures == []


@pytest.mark.matrix
def test_shares_of_five_pods_are_turned_round(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    host = f"{namespace}.e2e.example"
    shares = traffic(host) | {"allowIncompatible": True}
    cluster.apply(yolo_deployment(namespace, versions=[ONE | {"weight": 90}, TWO | {"weight": 10}], replicas=5, traffic=shares))
    cluster.wait_ready(namespace, "model")
    with gateway.load(host, keep_alive=True) as load:
        cluster.wait("the first shares", lambda: load.during(3).share(1) > 0.8, 30)
        edit(cluster, namespace, versions=[ONE | {"weight": 10}, TWO | {"weight": 90}])
        while (tally := load.during(1)).share(2) < 0.8:
            ready = {number: ready_pods(cluster, namespace, number) for number in (1, 2)}
            assert tally.share(2) <= 0.3 + ready[2] / 5, f"{tally}, and {ready} pods are ready"
        cluster.wait_ready(namespace, "model")
        tally = load.so_far()
    assert tally.failures == [], tally
    assert tally.answers.total() > 200, tally


@pytest.mark.matrix
def test_strategy_and_mode_change_in_one_edit_and_back(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    both = [ONE | {"weight": 50}, TWO | {"weight": 50}]
    cluster.apply(yolo_deployment(namespace, versions=both, replicas=2, traffic={"allowIncompatible": True}))
    cluster.wait_ready(namespace, "model")
    canary = {"strategy": "Canary", "steps": [{"weight": 50, "duration": "1h"}], "analysis": {"enabled": False}}
    with Load(cluster.service_ip(namespace, "model"), "model") as load:
        cluster.wait("both versions", lambda: load.during(2).answers.keys() == {1, 2}, 30)
        edit(cluster, namespace, versions=[ONE, TWO], rollout=canary, traffic=traffic(f"{namespace}.e2e.example"))
        cluster.wait("the stable version alone behind the Service", lambda: load.during(2).answers.keys() == {1}, 240)
        edit(cluster, namespace, versions=both, rollout=None, traffic={"mode": "Service", "gateway": None})
        cluster.wait("both versions again", lambda: load.during(2).answers.keys() == {1, 2}, 120)
        cluster.wait_ready(namespace, "model")
        tally = load.so_far()
    assert tally.failures == [], tally
    assert tally.answers.total() > 200, tally


@pytest.mark.matrix
def test_all_that_is_declared_is_excluded_and_what_is_not_declared_serves(cluster: Cluster, namespace: str, gateway: Gateway) -> None:
    host = f"{namespace}.e2e.example"
    cluster.apply(yolo_deployment(namespace, versions=[ONE], replicas=1, traffic=traffic(host)))
    cluster.wait_ready(namespace, "model")
    with gateway.load(host, keep_alive=True) as load:
        cluster.wait("answers", lambda: load.during(1).answers[1] > 5, 30)
        edit(cluster, namespace, versions=[TWO])
        cluster.wait_condition(namespace, "model", "Stalled", "True", "VersionsIncompatible")
        assert load.during(10).answers.keys() == {1}
        tally = load.so_far()
    assert tally.failures == [], tally
    assert tally.answers.total() > 100, tally


@pytest.mark.matrix
def test_half_of_the_pods_find_no_gpu(cluster: Cluster, namespace: str, gateway: Gateway, gpus: Callable[[int], None]) -> None:
    gpus(4)
    host = f"{namespace}.e2e.example"
    shares = traffic(host) | {"allowIncompatible": True}
    cluster.apply(yolo_deployment(namespace, versions=[ONE | {"weight": 50}, TWO | {"weight": 50}], replicas=4, triton=WITH_GPU, traffic=shares))
    cluster.wait_ready(namespace, "model")
    with gateway.load(host, keep_alive=True) as load:
        cluster.wait("both versions", lambda: load.during(2).answers.keys() == {1, 2}, 30)
        gpus(2)
        cluster.kubectl("delete", "pods", "-n", namespace, "-l", f"{PODS}2", "--wait=false")
        cluster.wait("the other half alone", lambda: load.during(2).answers.keys() == {1}, 60)
        cluster.wait_condition(namespace, "model", "Ready", "False", "InsufficientGPU")
        gpus(4)
        cluster.wait_ready(namespace, "model")
        cluster.wait("both versions again", lambda: load.during(2).share(2) > 0.3, 30)
        tally = load.so_far()
    assert tally.failures == [], tally
    assert tally.answers.total() > 200, tally


@pytest.mark.matrix
def test_a_quota_has_no_room_for_a_new_pod_beside_the_old_ones(cluster: Cluster, namespace: str, gpus: Callable[[int], None]) -> None:
    gpus(4)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus", "namespace": namespace}, "spec": {"hard": {f"requests.{GPU}": "2"}}}
    cluster.apply(quota)
    cluster.apply(yolo_deployment(namespace, versions=[ONE], replicas=2, triton=WITH_GPU, rollout={"surgeTimeout": "5s"}))
    cluster.wait_ready(namespace, "model")
    old = {pod["metadata"]["name"] for pod in cluster.list("pods", namespace, f"{PODS}1")}
    with Load(cluster.service_ip(namespace, "model"), "model") as load:
        cluster.wait("answers", lambda: load.during(1).answers[1] > 5, 30)
        edit(cluster, namespace, restartedAt="now")
        cluster.wait_condition(namespace, "model", "Ready", "False", "QuotaExceeded")
        cluster.wait_ready(namespace, "model")
        assert ready_pods(cluster, namespace, 1) == 2
        assert not old & {pod["metadata"]["name"] for pod in cluster.list("pods", namespace, f"{PODS}1") if pod_ready(pod)}
        tally = load.so_far()
    assert tally.failures == [], tally
    assert tally.answers.total() > 200, tally


def ready_pods(cluster: Cluster, namespace: str, version: int) -> int:
    return sum(map(pod_ready, cluster.list("pods", namespace, f"{PODS}{version}")))
