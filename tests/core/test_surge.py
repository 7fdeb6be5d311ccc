"""All GPUs are taken: when an old pod makes room, and when a template that failed is given up."""

from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import clock, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import triton

NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
MINUTE = 60


def updating(replicas: int = 2, **rollout: Any) -> Simulation:
    """A Simulation that serves, has just been told to replace its pods, and finds no GPU for the first new one."""
    cluster = Simulation(replicas=replicas, rollout=rollout)
    cluster.run()
    cluster.edit(restartedAt="now")
    cluster.reconcile()
    surge_pod(cluster)
    return cluster


def surge_pod(cluster: Simulation, number: int = 1) -> Manifest:
    """The Deployment controller's pod for the newest template, which no node takes."""
    live = cluster.objects["Deployment"][f"helmet-v{number}"]
    template = live["spec"]["template"]
    labels = template["metadata"]["labels"] | {names.POD_TEMPLATE_HASH: names.digest(template, 10)}
    pod = gen.pod(f"helmet-v{number}-surge", labels=labels, owner=live["metadata"]["uid"], created=cluster.now, phase="Pending")
    pod["status"]["conditions"] = [gen.unschedulable(NO_GPU) | {"lastTransitionTime": clock.text(cluster.now)}]
    cluster.objects["Pod"][pod["metadata"]["name"]] = pod
    return pod


def strategy(cluster: Simulation) -> Manifest:
    found: Manifest = cluster.objects["Deployment"]["helmet-v1"]["spec"]["strategy"]
    return found


def test_it_waits_for_a_gpu_before_an_old_pod_makes_room() -> None:
    cluster = updating()
    decided = cluster.reconcile()
    assert strategy(cluster) == triton.SURGE
    assert decided.requeue_at == clock.parse(clock.text(cluster.now)) + (cluster.yolo.spec.rollout.surge_timeout)
    assert cluster.condition("Ready") == ("False", "InsufficientGPU")
    cluster.later(10 * MINUTE)
    cluster.reconcile()
    assert strategy(cluster) == triton.IN_PLACE


def test_begun_in_place_ended_in_place_and_the_next_begins_with_a_surge() -> None:
    cluster = updating(surgeTimeout="0s")
    cluster.reconcile()
    del cluster.objects["Pod"]["helmet-v1-surge"]
    cluster.reconcile()
    assert strategy(cluster) == triton.SURGE, "only old pods: nothing of the update is under way"
    surge_pod(cluster)
    cluster.reconcile()
    assert strategy(cluster) == triton.IN_PLACE
    cluster.objects["Pod"]["helmet-v1-surge"]["status"] |= {"conditions": [{"type": "PodScheduled", "status": "True"}], "phase": "Running"}
    cluster.reconcile()
    assert strategy(cluster) == triton.IN_PLACE
    del cluster.objects["Pod"]["helmet-v1-surge"]
    cluster.run()
    assert strategy(cluster) == triton.SURGE
    assert cluster.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(("replicas", "mode", "wanted"), [(1, "Auto", triton.SURGE), (2, "Surge", triton.SURGE), (1, "InPlace", triton.IN_PLACE)])
def test_the_only_pod_goes_only_where_the_user_says_so(replicas: int, mode: str, wanted: Manifest) -> None:
    cluster = updating(replicas, gpu=mode)
    cluster.later(60 * MINUTE)
    cluster.reconcile()
    assert strategy(cluster) == wanted


def test_another_version_makes_room_one_pod_at_a_time_and_never_the_last() -> None:
    cluster = Simulation(replicas=4, versions=[gen.version(1, weight=100)], rollout={"surgeTimeout": "0s"})
    cluster.run()
    cluster.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=3)])
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    surge_pod(cluster, 2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 3, "helmet-v2": 3}
    cluster.reconcile()
    assert cluster.replicas()["helmet-v1"] == 3, "the pod that makes room is not gone yet"
    for expected in (2, 1, 1):
        (pod, *_) = cluster.pods(1)
        if len(cluster.pods(1)) > cluster.replicas()["helmet-v1"]:
            del cluster.objects["Pod"][pod["metadata"]["name"]]
        cluster.reconcile()
        assert cluster.replicas()["helmet-v1"] == expected


def test_it_looks_again_when_another_versions_pod_has_waited_long_enough() -> None:
    cluster = Simulation(replicas=2, versions=[gen.version(1, weight=100)])
    cluster.run()
    cluster.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=1)])
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    surge_pod(cluster, 2)
    assert cluster.reconcile().requeue_at == cluster.now + cluster.yolo.spec.rollout.surge_timeout
    assert cluster.replicas()["helmet-v1"] == 2
    cluster.later(10 * MINUTE)
    cluster.reconcile()
    assert cluster.replicas()["helmet-v1"] == 1


def test_a_version_replaced_in_one_edit_makes_room_and_its_last_pod_goes_once_the_other_serves() -> None:
    cluster = Simulation(replicas=2, rollout={"surgeTimeout": "0s"})
    cluster.run()
    cluster.edit(versions=[gen.version(2)])
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    surge_pod(cluster, 2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 1, "helmet-v2": 2}
    (pod, *_) = cluster.pods(1)
    del cluster.objects["Pod"][pod["metadata"]["name"]]
    cluster.reconcile()
    assert cluster.replicas()["helmet-v1"] == 1, "nothing else serves yet"
    cluster.objects["Pod"]["helmet-v2-other"] = gen.pod(
        "helmet-v2-other", labels=cluster.objects["Pod"]["helmet-v2-surge"]["metadata"]["labels"], conditions={"Ready": "True", "ContainersReady": "True"}
    )
    cluster.reconcile()
    assert cluster.replicas()["helmet-v1"] == 0


def test_a_template_that_keeps_crashing_in_place_is_given_up_for_the_verified_one() -> None:
    cluster = updating(gpu="InPlace")
    before = [entry.pod_template_hash for entry in cluster.yolo.status.versions[0].verified]
    pod = cluster.objects["Pod"]["helmet-v1-surge"]
    crashed = gen.container_status("triton", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(1, "cannot load model"), restartCount=2)
    pod["status"] |= {"conditions": [], "containerStatuses": [crashed]}
    cluster.reconcile()
    assert names.digest(cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"], 10) not in before, "two crashes may pass"
    crashed["restartCount"] = 3
    cluster.reconcile()
    assert names.digest(cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"], 10) in before
    assert cluster.condition("Stalled") == ("True", "TritonCrashed")
    del cluster.objects["Pod"]["helmet-v1-surge"]
    cluster.run()
    assert cluster.condition("Stalled") == ("True", "TritonCrashed"), "it is not tried again by itself"
    assert cluster.plan.status.ready_replicas == 2
    cluster.edit(restartedAt="later")
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")


def test_wrong_answers_give_their_gpu_back() -> None:
    cluster = Simulation(replicas=2)
    cluster.run()
    cluster.edit(restartedAt="now")
    cluster.reconcile()
    cluster.start_pods()
    cluster.reconcile()
    cluster.end_one(cluster.plan.create[0]["metadata"]["name"], gen.outcome(reason="WrongAnswers", message="off"))
    (job,) = (
        cluster.objects["Job"][name]
        for name in cluster.jobs("verify")
        if cluster.objects["Job"][name]["metadata"]["name"] == cluster.plan.create[0]["metadata"]["name"]
    )
    job["status"] = gen.job(ended="Failed")["status"]
    for name, pod in cluster.objects["Pod"].items():
        if name.startswith(job["metadata"]["name"]):
            pod["status"] |= {
                "phase": "Failed",
                "containerStatuses": [gen.container_status("verify", state=gen.terminated(42, gen.outcome(reason="WrongAnswers", message="off")))],
            }
    cluster.reconcile()
    template = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    assert names.digest(template, 10) in {names.label(pod, names.POD_TEMPLATE_HASH) for pod in cluster.pods()[:2]}
    assert cluster.condition("Stalled") == ("True", "WrongAnswers")
