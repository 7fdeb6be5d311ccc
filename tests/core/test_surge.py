"""All GPUs are taken: when an old pod makes room, and when a template that failed is given up."""

from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import clock, names
from yolo_operator.core.names import Manifest

SURGE: Manifest = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
IN_PLACE: Manifest = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
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
    assert strategy(cluster) == SURGE
    assert decided.requeue_at == clock.parse(clock.text(cluster.now)) + (cluster.yolo.spec.rollout.surge_timeout)
    assert cluster.condition("Ready") == ("False", "InsufficientGPU")
    cluster.later(10 * MINUTE)
    cluster.reconcile()
    assert strategy(cluster) == IN_PLACE


def test_begun_in_place_ended_in_place_and_the_next_begins_with_a_surge() -> None:
    cluster = updating(surgeTimeout="0s")
    cluster.reconcile()
    del cluster.objects["Pod"]["helmet-v1-surge"]
    cluster.reconcile()
    assert strategy(cluster) == SURGE, "only old pods: nothing of the update is under way"
    surge_pod(cluster)
    cluster.reconcile()
    assert strategy(cluster) == IN_PLACE
    cluster.objects["Pod"]["helmet-v1-surge"]["status"] |= {"conditions": [{"type": "PodScheduled", "status": "True"}], "phase": "Running"}
    cluster.reconcile()
    assert strategy(cluster) == IN_PLACE
    del cluster.objects["Pod"]["helmet-v1-surge"]
    cluster.run()
    assert strategy(cluster) == SURGE
    assert cluster.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(("replicas", "mode", "wanted"), [(1, "Auto", SURGE), (2, "Surge", SURGE), (1, "InPlace", IN_PLACE)])
def test_the_only_pod_goes_only_where_the_user_says_so(replicas: int, mode: str, wanted: Manifest) -> None:
    cluster = updating(replicas, gpu=mode)
    cluster.later(60 * MINUTE)
    cluster.reconcile()
    assert strategy(cluster) == wanted


@pytest.mark.parametrize(
    ("replicas", "rollout", "unavailable", "surge"),
    [
        pytest.param(3, {}, 0, 1, id="by default one new pod at a time, and nothing that serves stops"),
        pytest.param(0, {}, 0, 1, id="also of no pods"),
        pytest.param(100, {"maxSurge": 10}, 0, 10, id="numbers are taken as they are"),
        pytest.param(10, {"maxSurge": "25%", "maxUnavailable": "25%"}, 2, 3, id="percentages: new pods are rounded up, those that end down"),
        pytest.param(3, {"maxSurge": "25%", "maxUnavailable": "25%"}, 0, 1, id="a percentage of few pods may be none"),
        pytest.param(3, {"maxSurge": 0, "maxUnavailable": "25%"}, 0, 1, id="where neither remains a new pod comes first"),
        pytest.param(4, {"maxSurge": 0, "maxUnavailable": "25%"}, 1, 0, id="no new pod before an old one has gone"),
        pytest.param(2, {"maxUnavailable": 5}, 1, 1, id="one pod stays whatever number may end"),
        pytest.param(4, {"maxUnavailable": "100%"}, 3, 1, id="one pod stays whatever part may end"),
        pytest.param(1, {"maxSurge": 0, "maxUnavailable": 1}, 0, 1, id="the only pod stays"),
        pytest.param(1, {"maxUnavailable": 1, "gpu": "InPlace"}, 1, 0, id="but with InPlace"),
        pytest.param(20, {"maxSurge": 5, "maxUnavailable": "25%", "gpu": "InPlace"}, 5, 0, id="in place as many at once as may end"),
        pytest.param(20, {"maxSurge": 5, "gpu": "InPlace"}, 1, 0, id="in place one at least"),
    ],
)
def test_how_many_pods_are_replaced_at_once(replicas: int, rollout: Manifest, unavailable: int, surge: int) -> None:
    cluster = Simulation(replicas=replicas, rollout=rollout)
    cluster.run()
    assert strategy(cluster) == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}


def test_other_numbers_restart_nothing() -> None:
    cluster = Simulation(replicas=10)
    cluster.run()
    template = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    cluster.edit(rollout={"maxSurge": "50%", "maxUnavailable": 2}, podDisruptionBudget={"maxUnavailable": "20%"})
    cluster.run()
    assert cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"] == template
    assert strategy(cluster)["rollingUpdate"] == {"maxUnavailable": 2, "maxSurge": 5}
    assert cluster.objects["PodDisruptionBudget"]["helmet-v1"]["spec"]["maxUnavailable"] == "20%"


def test_the_only_pod_stays_though_two_were_replaced_in_place_before() -> None:
    cluster = Simulation(replicas=2, rollout={"maxSurge": 0, "maxUnavailable": 1})
    cluster.run()
    cluster.edit(replicas=1)
    cluster.run()
    assert strategy(cluster) == SURGE


def test_a_template_for_which_old_pods_have_gone_is_given_up_for_the_verified_one() -> None:
    cluster = updating(4, maxUnavailable=2)
    pod = cluster.objects["Pod"]["helmet-v1-surge"]
    crashed = gen.container_status("triton", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(1, "cannot load model"), restartCount=3)
    pod["status"] |= {"conditions": [], "containerStatuses": [crashed]}
    cluster.reconcile()
    assert cluster.condition("Stalled") == ("True", "TritonCrashed")


def second_version_waits(cluster: Simulation, *, weight: int) -> None:
    """Version 2 comes, with so many times the share of version 1, and its first pod finds no GPU."""
    cluster.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=weight)])
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    surge_pod(cluster, 2)


def test_another_version_makes_room_one_pod_at_a_time_and_never_the_last() -> None:
    cluster = Simulation(replicas=4, versions=[gen.version(1, weight=100)], rollout={"surgeTimeout": "0s"})
    cluster.run()
    second_version_waits(cluster, weight=3)
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


@pytest.mark.parametrize("ended", [True, False], ids=["evicted, and its Pod is still there", "on its way out"])
def test_a_pod_that_has_ended_makes_no_room_and_keeps_none_from_doing_so(*, ended: bool) -> None:
    cluster = Simulation(replicas=4, versions=[gen.version(1, weight=100)], rollout={"surgeTimeout": "0s"})
    cluster.run()
    old = gen.pod("old", labels=cluster.pods(1)[0]["metadata"]["labels"], phase="Failed" if ended else "Running", reason="Evicted" if ended else "")
    if not ended:
        old["metadata"]["deletionTimestamp"] = clock.text(cluster.now)
    cluster.objects["Pod"]["old"] = old
    second_version_waits(cluster, weight=3)
    cluster.reconcile()
    assert cluster.replicas()["helmet-v1"] == (3 if ended else 4)


def test_it_looks_again_when_another_versions_pod_has_waited_long_enough() -> None:
    cluster = Simulation(replicas=2, versions=[gen.version(1, weight=100)])
    cluster.run()
    second_version_waits(cluster, weight=1)
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
