"""Another release of the operator, by helm, over models that serve: no pod of theirs changes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from chart.commands import CHART, Program, settings_of
from e2e.cluster import TRITON, Cluster, Manifest
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.gateway import Gateway, traffic
from e2e.load import Load
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

pytestmark = pytest.mark.matrix

ONE: Manifest = {"version": 1, "source": {"uri": "s3://weights/goldmine-detect.pt"}, "weight": 50}
TWO: Manifest = {"version": 2, "source": {"uri": "s3://weights/railway-detect.pt"}, "weight": 50}
IMAGES = "docker.io/yolo-operator"


class Release:
    """The chart in a namespace of its own, for the models of another one."""

    def __init__(self, namespace: str, models: str) -> None:
        self.namespace, self._models = namespace, models
        self._helm = Program("helm")

    def bring(self, chart: Path, image: str) -> None:
        """Install it, or upgrade to it."""
        values = {
            "namespaces": [self._models],
            "clusterName": "e2e",
            "images.operator": f"{IMAGES}/operator:{image}",
            "images.exporter": f"{IMAGES}/exporter:dev",
            "triton.image": TRITON,
        }
        # The CRD is kubectl's by now.
        options = ("--install", "--take-ownership", "--force-conflicts", "--wait", "--timeout", "3m")
        self._helm("upgrade", "yolo-operator", chart, "-n", self.namespace, *options, *settings_of(values))

    def remove(self) -> None:
        self._helm("uninstall", "yolo-operator", "-n", self.namespace, "--ignore-not-found", "--wait")


@pytest.fixture
def release(cluster: Cluster, namespace: str, operator: OperatorProcess) -> Iterator[Release]:
    operator.stop()
    made = Release(make_namespace(cluster, "upgrade"), namespace)
    yield made
    made.remove()
    remove_namespace(cluster, made.namespace)
    operator.start()


@pytest.fixture
def gateway(cluster: Cluster, tmp_path: Path) -> Iterator[Gateway]:
    """One that is there before the operator."""
    made = Gateway(cluster, tmp_path)
    made.install_crds()
    made.start()
    yield made
    made.stop()
    made.remove_crds()


def next_chart(folder: Path) -> Path:
    """The chart as a next release."""
    chart = copytree(CHART, folder / "chart")
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "99.0.0", "appVersion": "99.0.0"}))
    return chart


def test_an_upgrade_of_the_operator_changes_no_pod_and_loses_no_request(
    cluster: Cluster, namespace: str, storage: Storage, release: Release, tmp_path: Path
) -> None:
    release.bring(CHART, "dev")
    cluster.apply(yolo_deployment(namespace, versions=[ONE, TWO], replicas=2, traffic={"allowIncompatible": True}))
    upgrade(cluster, namespace, release, next_chart(tmp_path), lambda: Load(cluster.service_ip(namespace, "model"), "model"))


def test_nor_does_it_behind_a_gateway(cluster: Cluster, namespace: str, storage: Storage, gateway: Gateway, release: Release, tmp_path: Path) -> None:
    host = f"{namespace}.e2e.example"
    release.bring(CHART, "dev")
    cluster.apply(yolo_deployment(namespace, versions=[ONE, TWO], replicas=2, traffic=traffic(host) | {"allowIncompatible": True}))
    upgrade(cluster, namespace, release, next_chart(tmp_path), lambda: gateway.load(host, keep_alive=True))


def upgrade(cluster: Cluster, namespace: str, release: Release, chart: Path, under: Callable[[], Load]) -> None:
    """Bring the next release under load, have it add pods, and look at those that were there; then ask for a restart."""
    cluster.wait_ready(namespace, "model")

    def names(kind: str) -> set[str]:
        found = cluster.list(kind, namespace, "app.kubernetes.io/component=triton")
        return {each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]}

    def pre_stop() -> set[int]:
        found = cluster.list("pods", namespace, "app.kubernetes.io/component=triton")
        return {pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

    sets, pods = names("replicasets"), names("pods")
    with under() as load:
        # A Gateway's data plane comes some seconds after the status of its routes.
        cluster.wait("answers from both versions and no others", lambda: (now := load.during(2)).answers.keys() == {1, 2} and not now.failures, 30)
        start = load.so_far()
        release.bring(chart, "next")
        (image,) = {pod["spec"]["containers"][0]["image"] for pod in cluster.list("pods", release.namespace) if "deletionTimestamp" not in pod["metadata"]}
        assert image == f"{IMAGES}/operator:next"
        # What it does next it does with what is there: of each version there is one more pod, of the same ReplicaSet.
        cluster.patch("yolodeployment", namespace, "model", {"spec": {"replicas": 4}})
        cluster.wait_ready(namespace, "model")
        assert names("replicasets") == sets
        assert names("pods") > pods
        assert pre_stop() == {5}
        tally = load.so_far().since(start)
    assert tally.failures == []
    assert tally.answers.keys() == {1, 2}

    # It would render them otherwise, and does once there is a reason.
    cluster.patch("yolodeployment", namespace, "model", {"spec": {"replicas": 2, "restartedAt": "now"}})
    cluster.wait_ready(namespace, "model")
    assert pre_stop() == {6}
