"""Deletion in every order: nothing hangs for ever, exactly what is the resource's own goes, and nothing goes that should stay."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from e2e import bad_weights
from e2e import storage as s3
from e2e.cluster import Cluster, Manifest, condition
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage
from e2e.test_faults import storage_without_endpoints

pytestmark = pytest.mark.matrix

NAMES = ("plain", "building", "canary", "keyless", "offline", "orphaned")
TWO: Manifest = {"version": 2, "source": {"uri": "s3://weights/railway-detect.pt"}}


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace with a resource for each test, all published and serving."""

    cluster: Cluster
    storage: Storage
    namespace: str

    def delete(self, name: str) -> None:
        self.cluster.kubectl("delete", "yolodeployment", "-n", self.namespace, name, "--wait=false")

    def gone(self, name: str, seconds: float = 90) -> None:
        self.cluster.wait(f"the end of {name}", lambda: self.cluster.get("yolodeployment", self.namespace, name) is None, seconds, lambda: self.ready(name))

    def ready(self, name: str) -> str:
        found = condition(self.cluster.yolo(self.namespace, name), "Ready")
        return f"{found.get('reason')}: {found.get('message')}"

    def waits(self, name: str, *words: str) -> None:
        """Deletion waits, and says for what and how to let go."""
        self.cluster.wait(f"{words} of {name}", lambda: all(word in self.ready(name) for word in words), 120, lambda: self.ready(name))

    def published(self, name: str) -> list[str]:
        return self.storage.keys("models", f"yolo/{self.namespace}/{name}/")


@pytest.fixture(scope="module")
def place(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[Place]:
    operator.start()
    made = Place(cluster, storage, make_namespace(cluster, "deletion"))
    small = storage.put("weights", "deletion/small.onnx", bad_weights.detector())
    for name in NAMES:
        step = {"strategy": "Canary", "steps": [{"weight": 50, "duration": "1h"}], "analysis": {"enabled": False}}
        cluster.apply(yolo_deployment(made.namespace, name, small, deletionPolicy="Delete", traffic={"allowIncompatible": True}, rollout=step))
    try:
        for name in NAMES:
            cluster.wait_ready(made.namespace, name, timeout=400)
        yield made
    finally:
        operator.start()
        remove_namespace(cluster, made.namespace)


@pytest.fixture(autouse=True)
def line(request: pytest.FixtureRequest, record_property: Callable[[str, str], None]) -> None:
    """Of the table of faults, where the test passes."""
    order = request.node.name.removeprefix("test_").replace("_", " ")
    for column, text in {"Fault": f"deletion: {order}", "On": "the whole cluster", "Tried": "1", "Ended well": "1"}.items():
        record_property(column, text)


def test_exactly_its_own_goes_and_no_look_alike(place: Place) -> None:
    root = f"yolo/{place.namespace}"
    alike = [
        f"{root}/plain2/0123456789/manifest.json",
        f"{root}/plai/0123456789/manifest.json",
        f"{root}x/plain/0123456789/manifest.json",
        f"{root}/plain/notes.txt",
        f"{root}/plain/0123456789x/model.onnx",
        f"other/{place.namespace}/plain/0123456789/manifest.json",
        f"{root}-plain/0123456789/manifest.json",
    ]
    for key in alike:
        place.storage.put("models", key, b"{}")
    place.delete("plain")
    place.gone("plain")
    assert sorted(place.published("plain")) == sorted(key for key in alike if key.startswith(f"{root}/plain/"))
    assert set(alike) <= set(place.storage.keys("models"))


def test_in_the_middle_of_a_build(place: Place) -> None:
    place.cluster.patch("yolodeployment", place.namespace, "building", {"spec": {"triton": {"maxBatchSize": 3}, "versions": [TWO | {"rebuild": "now"}]}})
    place.cluster.wait("the second build", lambda: len(jobs(place, "building")) == 2, 60)
    place.delete("building")
    place.gone("building")
    assert place.published("building") == []


def test_in_the_middle_of_a_canary(place: Place) -> None:
    one = place.cluster.yolo(place.namespace, "canary")["spec"]["versions"][0]
    place.cluster.patch("yolodeployment", place.namespace, "canary", {"spec": {"versions": [one, TWO]}})
    place.cluster.wait("the canary's step", lambda: "CanaryStep" in place.ready("canary"), describe=lambda: place.ready("canary"))
    place.delete("canary")
    place.gone("canary")
    assert place.published("canary") == []

    def left() -> list[str]:
        found = place.cluster.list("deployments,services,jobs,poddisruptionbudgets,pods", place.namespace, "yolo-operator.io/deployment=canary")
        return [f"{each['kind']} {each['metadata']['name']}" for each in found]

    # Pods have their grace.
    place.cluster.wait("the end of all that it owned", lambda: not left(), 60, lambda: str(left()))


def jobs(place: Place, name: str) -> list[Manifest]:
    return place.cluster.list("jobs", place.namespace, f"app.kubernetes.io/component=build,yolo-operator.io/deployment={name}")


def test_while_the_storage_is_away(place: Place) -> None:
    with storage_without_endpoints(place.cluster):
        place.delete("offline")
        place.waits("offline", "StorageUnreachable", "spec.deletionPolicy")
    place.gone("offline")
    assert place.published("offline") == []


def test_the_operator_first(place: Place, operator: OperatorProcess) -> None:
    operator.stop()
    place.delete("orphaned")
    assert place.cluster.get("yolodeployment", place.namespace, "orphaned") is not None
    operator.start()
    place.gone("orphaned")
    assert place.published("orphaned") == []


def test_the_secret_first(place: Place) -> None:
    """The last but one: the Secret is everybody's here."""
    place.cluster.kubectl("delete", "secret", "-n", place.namespace, "s3-credentials")
    place.delete("keyless")
    place.waits("keyless", "s3-credentials", "spec.deletionPolicy")
    place.cluster.patch("yolodeployment", place.namespace, "keyless", {"spec": {"deletionPolicy": "Retain"}})
    place.gone("keyless")
    assert place.published("keyless") != []


def test_the_namespace_first(place: Place) -> None:
    place.cluster.apply(s3.secret(place.namespace), yolo_deployment(place.namespace, deletionPolicy="Delete"))
    place.cluster.wait_ready(place.namespace, "model")
    place.cluster.kubectl("delete", "namespace", place.namespace, "--wait=false")
    place.cluster.wait("the end of the namespace", lambda: not exists(place), 120)
    assert place.published("model") != []


def exists(place: Place) -> bool:
    return place.namespace in place.cluster.kubectl("get", "namespaces", "-o", "name")
