"""Pods and requests go to what can answer, whatever pods do: situations that gave traffic to what was not there, and the shares by capacity."""

from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import names
from yolo_operator.core.names import Manifest

GATEWAY = {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["helmet.example.com"]}}
ONE, TWO = gen.version(1), gen.version(2)
MINUTE = 60


def steps(*pairs: tuple[int, str], **more: Any) -> Manifest:
    return {"strategy": "Canary", "steps": [{"weight": weight, "duration": duration} for weight, duration in pairs], "analysis": {"enabled": False}} | more


def routed(cluster: Simulation) -> dict[int, int]:
    """Weights of the default rule of the HTTPRoute, by version."""
    rules = cluster.objects["HTTPRoute"]["helmet"]["spec"]["rules"]
    (rule,) = [rule for rule in rules if not any("headers" in match for match in rule.get("matches", ()))]
    return {int(backend["name"].rpartition("-v")[2]): backend["weight"] for backend in rule["backendRefs"]}


def fail_pods(cluster: Simulation, number: int, *, but: int = 0) -> None:
    """Pods of a version stop answering, all but some."""
    pods = cluster.pods(number)
    for pod in pods[but:]:
        pod["status"]["conditions"] = [each for each in pod["status"]["conditions"] if each["type"] not in ("Ready", "ContainersReady")]
    cluster.objects["Deployment"][f"helmet-v{number}"]["status"] |= {"availableReplicas": but}


def restore_pods(cluster: Simulation, number: int) -> None:
    """Pods of a version answer again."""
    for pod in cluster.pods(number):
        if not any(each["type"] == "Ready" for each in pod["status"]["conditions"]):
            pod["status"]["conditions"] += [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}]
    cluster.objects["Deployment"][f"helmet-v{number}"]["status"] |= {"availableReplicas": len(cluster.pods(number))}


def selects(cluster: Simulation) -> str:
    """The version that the Service of the resource selects alone; empty for all."""
    return str(cluster.objects["Service"]["helmet"]["spec"]["selector"].get(names.VERSION, ""))


def stable(cluster: Simulation) -> int:
    state = cluster.plan.status.rollout
    assert state is not None
    return state.stable


@pytest.mark.parametrize("traffic", [None, GATEWAY])
def test_the_stable_version_stays_it_while_its_only_pod_restarts_and_its_successor_is_built(traffic: Manifest | None) -> None:
    cluster = Simulation(replicas=1, versions=[ONE], traffic=traffic, rollout=steps((10, "2m")))
    cluster.run()
    cluster.edit(versions=[TWO])
    cluster.reconcile()
    fail_pods(cluster, 1)
    cluster.reconcile()
    restore_pods(cluster, 1)
    cluster.reconcile()
    cluster.reconcile()
    assert stable(cluster) == 1
    assert cluster.plan.status.display.versions == "1:100 2:0"
    assert cluster.replicas()["helmet-v1"] == 1


def test_what_is_ready_answers_although_one_of_its_pods_is_missing() -> None:
    cluster = Simulation(replicas=3, versions=[gen.version(1, weight=1)], traffic=GATEWAY)
    cluster.run()
    fail_pods(cluster, 1)
    cluster.reconcile()
    restore_pods(cluster, 1)
    fail_pods(cluster, 1, but=2)
    cluster.reconcile()
    assert routed(cluster)[1] > 0


def test_no_version_is_sent_more_than_its_ready_pods_can_take_and_shares_move_as_they_come() -> None:
    cluster = Simulation(replicas=10, versions=[gen.version(1, weight=90), gen.version(2, weight=10)], traffic=GATEWAY)
    cluster.run()
    cluster.edit(versions=[gen.version(1, weight=10), gen.version(2, weight=90)])
    cluster.reconcile()
    assert routed(cluster) == {1: 90, 2: 10}
    cluster.start_pods()
    cluster.reconcile()
    cluster.start_pods()
    fail_pods(cluster, 2, but=5)
    cluster.reconcile()
    assert routed(cluster) == {1: 50, 2: 50}
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 9}
    restore_pods(cluster, 2)
    cluster.start_pods()
    cluster.reconcile()
    assert routed(cluster) == {1: 10, 2: 90}
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 9}, "requests may still come to nine pods until the Gateway has taken the route"
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 1, "helmet-v2": 9}


def test_where_no_version_has_pods_to_spare_each_takes_more_in_proportion() -> None:
    cluster = Simulation(replicas=4, versions=[gen.version(1, weight=50), gen.version(2, weight=50)], traffic=GATEWAY)
    cluster.run()
    fail_pods(cluster, 2, but=1)
    cluster.reconcile()
    assert routed(cluster) == {1: 67, 2: 33}


def test_a_step_is_reached_with_the_pods_that_the_version_asks_for() -> None:
    cluster = Simulation(replicas=10, versions=[ONE], traffic=GATEWAY, rollout=steps((50, "2m")))
    cluster.run()
    cluster.edit(versions=[ONE, gen.version(2, replicas=1)])
    cluster.run()
    state = cluster.plan.status.rollout
    assert state is not None
    assert (state.reason, bool(state.reached), cluster.replicas()["helmet-v2"]) == ("CanaryStep", True, 1)
    assert routed(cluster) == {1: 50, 2: 50}


def test_the_time_of_a_canary_without_its_share_stands_still() -> None:
    cluster = Simulation(replicas=9, versions=[ONE], rollout=steps((10, "10m"), (50, "2m")))
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    cluster.edit(replicas=3)
    cluster.run()
    cluster.later(601)
    cluster.run()
    state = cluster.plan.status.rollout
    assert state is not None
    assert (state.step, state.reason) == (1, "WeightNotReachable")
    cluster.edit(replicas=9)
    cluster.run()
    cluster.later(9 * MINUTE)
    cluster.run()
    assert cluster.plan.status.rollout is not None
    assert cluster.plan.status.rollout.step == 1, "it had its share for less than ten minutes"


def test_pods_of_the_last_step_that_die_are_not_promoted_and_the_stable_ones_answer() -> None:
    cluster = Simulation(replicas=2, versions=[ONE], traffic=GATEWAY, rollout=steps((50, "2m"), (100, "10m")))
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    cluster.later(2 * MINUTE)
    cluster.run()
    assert routed(cluster) == {1: 0, 2: 100}
    fail_pods(cluster, 2)
    cluster.reconcile()
    assert routed(cluster) == {1: 100, 2: 0}
    cluster.later(601)
    cluster.reconcile()
    cluster.reconcile()
    assert stable(cluster) == 1
    assert routed(cluster) == {1: 100, 2: 0}


def test_an_undeclared_version_that_serves_follows_the_autoscaler() -> None:
    for rollout in (None, steps((10, "2m"))):
        cluster = Simulation(replicas=2, versions=[ONE], rollout=rollout)
        cluster.run()
        cluster.edit(versions=[TWO])
        cluster.reconcile()
        cluster.edit(replicas=6)
        cluster.reconcile()
        assert cluster.replicas() == {"helmet-v1": 6}
        cluster.edit(replicas=3)
        cluster.reconcile()
        assert cluster.replicas() == {"helmet-v1": 3}


def test_scaled_to_zero_and_back_the_version_that_is_no_longer_declared_is_still_stable() -> None:
    cluster = Simulation(replicas=2, versions=[ONE], rollout=steps((10, "2m")))
    cluster.run()
    cluster.edit(versions=[TWO], replicas=0)
    cluster.run()
    assert stable(cluster) == 1
    cluster.edit(replicas=10)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 10, "helmet-v2": 1}


def with_late_canary(*, replicas: int, step: int) -> Simulation:
    """A cluster where version 2 has not got its first step's share within the deadline."""
    cluster = Simulation(replicas=replicas, versions=[ONE], rollout=steps((step, "2m"), progressDeadline="5m"))
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    cluster.reconcile()
    cluster.later(6 * MINUTE)
    cluster.reconcile()
    assert cluster.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    return cluster


def test_a_failed_canary_gets_nothing_by_another_strategy_or_by_leaving_and_coming_back() -> None:
    cluster = with_late_canary(replicas=9, step=10)
    cluster.edit(versions=[ONE])
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    assert cluster.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    cluster.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=1)], rollout={"strategy": "Weighted", "steps": None})
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert cluster.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    cluster.edit(rollout={"retry": "once more"})
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 5, "helmet-v2": 4}


def test_promote_after_a_failure_gives_all_requests() -> None:
    cluster = with_late_canary(replicas=2, step=50)
    cluster.edit(rollout={"promote": 2})
    cluster.run()
    assert (stable(cluster), cluster.replicas()) == (2, {"helmet-v1": 0, "helmet-v2": 2})


def test_with_promote_a_canary_takes_over_from_a_stable_version_that_serves_no_more() -> None:
    cluster = Simulation(replicas=2, versions=[ONE], rollout=steps((50, "2m")))
    cluster.run()
    fail_pods(cluster, 1)
    cluster.edit(versions=[TWO])
    for _ in range(3):
        cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "WaitingForStable")
    cluster.edit(rollout={"promote": 2})
    for _ in range(3):
        cluster.reconcile()
    assert cluster.replicas()["helmet-v2"] == 2


def test_a_service_selects_the_canary_while_no_stable_pod_is_ready() -> None:
    cluster = Simulation(replicas=2, versions=[ONE], traffic=GATEWAY, rollout=steps((50, "1h")))
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    assert selects(cluster) == "1"
    fail_pods(cluster, 1)
    cluster.reconcile()
    assert (selects(cluster), routed(cluster)) == ("2", {1: 0, 2: 100})


def test_in_mode_service_a_failed_canary_is_out_of_the_service_before_its_pods_are_gone() -> None:
    cluster = Simulation(replicas=9, versions=[ONE], rollout=steps((10, "1h")))
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    assert selects(cluster) == ""
    cluster.edit(rollout={"abort": 2})
    cluster.reconcile()
    assert selects(cluster) == "1"
    cluster.run()
    assert selects(cluster) == ""


def test_no_pods_go_before_the_gateway_has_taken_the_route_without_them() -> None:
    cluster = Simulation(replicas=2, versions=[ONE], traffic=GATEWAY, rollout=steps((50, "1h")))
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    cluster.gateway_answers = False
    cluster.edit(rollout={"abort": 2})
    cluster.run()
    assert routed(cluster) == {1: 100, 2: 0}
    assert cluster.replicas()["helmet-v2"] == 1
    cluster.gateway_answers = True
    cluster.run()
    assert cluster.replicas()["helmet-v2"] == 0


def test_clients_of_a_version_are_not_sent_to_others_because_its_pods_restart() -> None:
    cluster = Simulation(replicas=2, versions=[gen.version(2, weight=1)])
    cluster.run()
    cluster.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=1)])
    cluster.reconcile()
    (name,) = [name for name in cluster.jobs("build") if "-v1-build-" in name]
    cluster.end_one(name, gen.outcome(result=gen.artifact_of(cluster.yolo, 1, classes=6, classesDigest="f" * 16)))
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 2}
    fail_pods(cluster, 2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 2}
    cluster.edit(replicas=0)
    cluster.run()
    cluster.edit(replicas=2)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 2}
