"""Versions that share traffic, under load: not one request is lost, and the answers themselves tell which version gave them."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from e2e.cluster import TRITON_B, Cluster, Manifest, condition
from e2e.conftest import make_namespace, remove_namespace, yolo_deployment
from e2e.load import Load
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage

ONE: Manifest = {"version": 1, "source": {"uri": "s3://weights/goldmine-detect.pt"}}
TWO: Manifest = {"version": 2, "source": {"uri": "s3://weights/railway-detect.pt"}}
STEP = {"weight": 50, "duration": "5s"}
MATRIX = pytest.mark.matrix


@dataclass(frozen=True, slots=True)
class Served:
    """A resource that serves, and the load upon it."""

    cluster: Cluster
    namespace: str
    load: Load

    def edit(self, **spec: object) -> None:
        """Change the spec: None takes a field away, other values replace it."""
        self.cluster.patch("yolodeployment", self.namespace, "model", {"spec": spec})

    def ready(self) -> Manifest:
        status: Manifest = self.cluster.wait_ready(self.namespace, "model")["status"]
        return status

    def waits(self, reason: str) -> Manifest:
        """Ready is False for that reason."""
        status: Manifest = self.cluster.wait_condition(self.namespace, "model", "Ready", "False", reason)["status"]
        return status

    def only(self, version: int) -> None:
        """That version alone answers, as soon as the nodes have heard of it."""
        self.cluster.wait(f"version {version} alone", lambda: self.load.during(2).answers.keys() == {version}, 20)

    def pods(self, version: int) -> set[str]:
        """UIDs of the pods of a version that are not on their way out."""
        found = self.cluster.list("pods", self.namespace, f"app.kubernetes.io/component=triton,yolo-operator.io/version={version}")
        return {pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


@pytest.fixture(scope="module")
def served(cluster: Cluster, storage: Storage, operator: OperatorProcess) -> Iterator[Served]:
    """Version 1 on two pods, under load for the whole module; the tests change it one after the other and leave version 1 alone in the end."""
    operator.start()
    namespace = make_namespace(cluster, "traffic")
    cluster.apply(yolo_deployment(namespace, versions=[ONE], replicas=2, traffic={"allowIncompatible": True}))
    cluster.wait_ready(namespace, "model")
    with Load(cluster.service_ip(namespace, "model"), "model") as load:
        time.sleep(2)
        yield Served(cluster, namespace, load)
    operator.start()
    remove_namespace(cluster, namespace)


@pytest.fixture(autouse=True)
def nothing_lost(served: Served) -> Iterator[None]:
    """Whatever a test does, no request fails meanwhile."""
    before = served.load.so_far()
    yield
    tally = served.load.so_far().since(before)
    assert tally.failures == []
    assert tally.answers.total() > 50, tally


def test_weights_are_shares_of_the_answers(served: Served) -> None:
    served.edit(versions=[ONE | {"weight": 50}, TWO | {"weight": 50}])
    status = served.ready()
    assert status["display"]["versions"] == "1:50 2:50"
    tally = served.load.during(8)
    assert 0.35 < tally.share(2) < 0.65, tally
    assert tally.failures == []
    served.edit(versions=[ONE])
    assert served.ready()["display"]["versions"] == "1:100"
    served.only(1)


@MATRIX
def test_a_version_takes_all_and_is_replaced_in_one_edit(served: Served) -> None:
    served.edit(versions=[ONE | {"weight": 0}, TWO | {"weight": 100}])
    assert served.ready()["display"]["versions"] == "1:0 2:100"
    served.only(2)
    served.edit(versions=[ONE])
    assert served.ready()["display"]["versions"] == "1:100"
    served.only(1)


@MATRIX
def test_a_canary_walks_its_steps_to_the_end(served: Served) -> None:
    before = served.pods(1)
    served.edit(versions=[ONE, TWO], rollout={"strategy": "Canary", "steps": [STEP], "analysis": {"enabled": False}})
    status = served.waits("CanaryStep")
    assert (status["rollout"]["stable"], status["rollout"]["canary"], status["rollout"]["weight"]) == (1, 2, 50)
    served.cluster.wait("both versions answer", lambda: served.load.during(2).answers.keys() == {1, 2}, 60)
    assert served.pods(1) == before, "the stable version keeps its pods"
    status = served.ready()
    assert status["rollout"]["phase"] == "Healthy"
    assert status["rollout"]["stable"] == 2
    served.only(2)


@MATRIX
def test_an_abort_and_a_rollback_go_to_pods_that_run(served: Served) -> None:
    """Follows the canary: version 2 is stable, and version 1 the one that is declared as the newest."""
    served.edit(versions=[TWO, ONE | {"version": 3}], rollout={"steps": [STEP | {"duration": "1h"}]})
    before = served.pods(2)
    served.cluster.wait("the canary answers", lambda: served.load.during(2).answers.keys() == {1, 2})
    served.edit(rollout={"abort": 3})
    assert served.waits("RolloutAborted")["rollout"]["phase"] == "Degraded"
    served.cluster.wait("the canary's pods gone", lambda: not served.pods(3), 60)
    served.only(2)
    assert served.pods(2) == before
    served.edit(rollout={"abort": None, "promote": 3})
    assert served.ready()["rollout"]["stable"] == 3
    served.only(1)


def back_to_one(served: Served) -> None:
    served.edit(versions=[ONE], rollout=None)
    served.ready()
    served.only(1)


def restart(served: Served, operator: OperatorProcess) -> None:
    operator.kill()
    time.sleep(5)
    operator.start()


CHANGES: dict[str, Callable[[Served, OperatorProcess], None]] = {
    "Triton's image": lambda served, _: served.edit(triton={"image": TRITON_B}),
    "config": lambda served, _: served.edit(triton={"maxBatchSize": 4}),
    "scale up": lambda served, _: served.edit(replicas=3),
    "scale down": lambda served, _: served.edit(replicas=2),
    "restart of the operator": restart,
}


@MATRIX
@pytest.mark.parametrize("change", CHANGES)
def test_no_request_is_lost_in_a_change_of(change: str, served: Served, operator: OperatorProcess) -> None:
    if served.cluster.yolo(served.namespace, "model")["spec"]["versions"] != [ONE]:
        back_to_one(served)
    CHANGES[change](served, operator)
    served.ready()
    time.sleep(8)  # the old pods' end


def revert(served: Served) -> int:
    """Everything as it was."""
    served.edit(versions=[ONE], rollout=None)
    return 1


def delete_the_canary(served: Served) -> int:
    served.edit(versions=[ONE])
    return 1


def add_a_third(served: Served) -> int:
    """The newest is the canary now; the one before it is neither stable nor newest, and goes."""
    served.edit(versions=[ONE, TWO, TWO | {"version": 3}], rollout={"steps": [STEP]})
    return 3


def replace_without_annotations(served: Served) -> int:
    """As from a repository: nothing but the spec. The canary stays where it is, and goes on when it is let."""
    found = served.cluster.yolo(served.namespace, "model")
    step = found["status"]["rollout"]["step"]
    bare = {key: found["metadata"][key] for key in ("name", "namespace")}
    served.cluster.kubectl("replace", "-f", "-", text=json.dumps({**found, "metadata": bare, "status": {}}))
    time.sleep(5)  # for passes that would change something
    after = served.cluster.yolo(served.namespace, "model")
    assert "annotations" not in after["metadata"]
    assert (after["status"]["rollout"]["step"], after["status"]["rollout"]["weight"]) == (step, 50)
    served.edit(rollout={"promote": 2})
    return 2


@MATRIX
@pytest.mark.parametrize("change", [revert, delete_the_canary, add_a_third, replace_without_annotations])
def test_in_the_middle_of_a_canary(change: Callable[[Served], int], served: Served) -> None:
    back_to_one(served)
    served.edit(versions=[ONE, TWO], rollout={"strategy": "Canary", "steps": [STEP | {"duration": "1h"}], "analysis": {"enabled": False}})
    served.cluster.wait("the canary answers", lambda: served.load.during(2).answers.keys() == {1, 2})
    before = served.pods(1)
    stable = change(served)

    def settled() -> bool:
        kept = served.pods(1) >= before  # looked at first: that another version is stable is recorded before anything is done about it
        found = served.cluster.yolo(served.namespace, "model")
        ready, rollout = condition(found, "Ready"), found["status"].get("rollout", {})
        done = ready["status"] == "True" and ready["observedGeneration"] == found["metadata"]["generation"]
        assert done or rollout.get("stable", 1) != 1 or kept, "the stable version lost pods"
        return done

    served.cluster.wait("the end", settled)
    assert served.cluster.yolo(served.namespace, "model")["status"].get("rollout", {}).get("stable", 1) == stable
    assert not any(served.pods(number) for number in {1, 2, 3} - {stable})
    served.only(min(stable, 2))


@MATRIX
def test_connections_that_are_kept_see_errors_only_while_their_pod_ends(served: Served) -> None:
    """HTTP clients one each, as the connection is closed; gRPC clients until Triton has ended, which has unloaded the model first."""
    back_to_one(served)
    ended = len(served.pods(1))
    with Load(served.cluster.service_ip(served.namespace, "model"), "model", keep_alive=True) as load:
        time.sleep(2)
        served.edit(restartedAt=str(time.time()))
        served.ready()
        time.sleep(45)  # the old pods end after their grace
        tally = load.so_far()
    print(json.dumps({"keep-alive, all pods replaced": str(tally)}))
    http = [failure for failure in tally.failures if failure.startswith("HTTP")]
    assert len(http) <= 8 * ended, tally
    assert len(tally.failures) - len(http) <= 2 * ended * 10, f"longer than a second: {tally}"


@MATRIX
def test_killing_the_operator_in_the_middle_of_a_canary_changes_nothing(served: Served, operator: OperatorProcess) -> None:
    back_to_one(served)
    served.edit(versions=[ONE, TWO], rollout={"strategy": "Canary", "steps": [STEP | {"weight": 40}, STEP], "analysis": {"enabled": False}})
    kills = 0
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        operator.kill()
        kills += 1
        operator.start()
        time.sleep(6.0 + 0.37 * (kills % 5))
        status = served.cluster.yolo(served.namespace, "model")["status"]
        assert len(served.pods(1)) >= 2 or status["rollout"]["stable"] == 2, "the stable version is below its replicas"
        if status.get("rollout", {}).get("stable") == 2:
            break
    assert served.ready()["rollout"]["stable"] == 2
    assert kills > 2
    served.only(2)
