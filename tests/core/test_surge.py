"""All GPUs are taken: when an old pod makes room, and when a template that failed is given up."""

from typing import Any

import pytest

import gen
from world import World
from yolo_operator.core import clock, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import triton

NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
MINUTE = 60


def updating(replicas: int = 2, **rollout: Any) -> World:
    """A World that serves, has just been told to replace its pods, and finds no GPU for the first new one."""
    world = World(replicas=replicas, rollout=rollout)
    world.run()
    world.edit(restartedAt="now")
    world.turn()
    surge_pod(world)
    return world


def surge_pod(world: World, number: int = 1) -> Manifest:
    """The Deployment controller's pod for the newest template, which no node takes."""
    live = world.objects["Deployment"][f"helmet-v{number}"]
    template = live["spec"]["template"]
    labels = template["metadata"]["labels"] | {names.POD_TEMPLATE_HASH: names.digest(template, 10)}
    pod = gen.pod(f"helmet-v{number}-surge", labels=labels, owner=live["metadata"]["uid"], created=world.now, phase="Pending")
    pod["status"]["conditions"] = [gen.unschedulable(NO_GPU) | {"lastTransitionTime": clock.text(world.now)}]
    world.objects["Pod"][pod["metadata"]["name"]] = pod
    return pod


def strategy(world: World) -> Manifest:
    found: Manifest = world.objects["Deployment"]["helmet-v1"]["spec"]["strategy"]
    return found


def test_it_waits_for_a_gpu_before_an_old_pod_makes_room() -> None:
    world = updating()
    decided = world.turn()
    assert strategy(world) == triton.SURGE
    assert decided.again_at == clock.parse(clock.text(world.now)) + (world.yolo.spec.rollout.surge_timeout)
    assert world.condition("Ready") == ("False", "InsufficientGPU")
    world.later(10 * MINUTE)
    world.turn()
    assert strategy(world) == triton.IN_PLACE


def test_begun_in_place_ended_in_place_and_the_next_begins_with_a_surge() -> None:
    world = updating(surgeTimeout="0s")
    world.turn()
    del world.objects["Pod"]["helmet-v1-surge"]
    world.turn()
    assert strategy(world) == triton.SURGE, "only old pods: nothing of the update is under way"
    surge_pod(world)
    world.turn()
    assert strategy(world) == triton.IN_PLACE
    world.objects["Pod"]["helmet-v1-surge"]["status"] |= {"conditions": [{"type": "PodScheduled", "status": "True"}], "phase": "Running"}
    world.turn()
    assert strategy(world) == triton.IN_PLACE
    del world.objects["Pod"]["helmet-v1-surge"]
    world.run()
    assert strategy(world) == triton.SURGE
    assert world.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(("replicas", "mode", "wanted"), [(1, "Auto", triton.SURGE), (2, "Surge", triton.SURGE), (1, "InPlace", triton.IN_PLACE)])
def test_the_only_pod_goes_only_where_the_user_says_so(replicas: int, mode: str, wanted: Manifest) -> None:
    world = updating(replicas, gpu=mode)
    world.later(60 * MINUTE)
    world.turn()
    assert strategy(world) == wanted


def test_another_version_makes_room_one_pod_at_a_time_and_never_the_last() -> None:
    world = World(replicas=4, versions=[gen.version(1, weight=100)], rollout={"surgeTimeout": "0s"})
    world.run()
    world.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=3)])
    world.turn()
    world.build_succeeds(2)
    world.turn()
    surge_pod(world, 2)
    world.turn()
    assert world.replicas() == {"helmet-v1": 3, "helmet-v2": 3}
    world.turn()
    assert world.replicas()["helmet-v1"] == 3, "the pod that makes room is not gone yet"
    for expected in (2, 1, 1):
        (pod, *_) = world.pods(1)
        if len(world.pods(1)) > world.replicas()["helmet-v1"]:
            del world.objects["Pod"][pod["metadata"]["name"]]
        world.turn()
        assert world.replicas()["helmet-v1"] == expected


def test_it_looks_again_when_another_versions_pod_has_waited_long_enough() -> None:
    world = World(replicas=2, versions=[gen.version(1, weight=100)])
    world.run()
    world.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=1)])
    world.turn()
    world.build_succeeds(2)
    world.turn()
    surge_pod(world, 2)
    assert world.turn().again_at == world.now + world.yolo.spec.rollout.surge_timeout
    assert world.replicas()["helmet-v1"] == 2
    world.later(10 * MINUTE)
    world.turn()
    assert world.replicas()["helmet-v1"] == 1


def test_a_version_replaced_in_one_edit_makes_room_and_its_last_pod_goes_once_the_other_serves() -> None:
    world = World(replicas=2, rollout={"surgeTimeout": "0s"})
    world.run()
    world.edit(versions=[gen.version(2)])
    world.turn()
    world.build_succeeds(2)
    world.turn()
    surge_pod(world, 2)
    world.turn()
    assert world.replicas() == {"helmet-v1": 1, "helmet-v2": 2}
    (pod, *_) = world.pods(1)
    del world.objects["Pod"][pod["metadata"]["name"]]
    world.turn()
    assert world.replicas()["helmet-v1"] == 1, "nothing else serves yet"
    world.objects["Pod"]["helmet-v2-other"] = gen.pod(
        "helmet-v2-other", labels=world.objects["Pod"]["helmet-v2-surge"]["metadata"]["labels"], conditions={"Ready": "True", "ContainersReady": "True"}
    )
    world.turn()
    assert world.replicas()["helmet-v1"] == 0


def test_a_template_that_keeps_crashing_in_place_is_given_up_for_the_verified_one() -> None:
    world = updating(gpu="InPlace")
    before = [entry.pod_template_hash for entry in world.yolo.status.versions[0].verified]
    pod = world.objects["Pod"]["helmet-v1-surge"]
    crashed = gen.container_status("triton", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(1, "cannot load model"), restartCount=2)
    pod["status"] |= {"conditions": [], "containerStatuses": [crashed]}
    world.turn()
    assert names.digest(world.objects["Deployment"]["helmet-v1"]["spec"]["template"], 10) not in before, "two crashes may pass"
    crashed["restartCount"] = 3
    world.turn()
    assert names.digest(world.objects["Deployment"]["helmet-v1"]["spec"]["template"], 10) in before
    assert world.condition("Stalled") == ("True", "TritonCrashed")
    del world.objects["Pod"]["helmet-v1-surge"]
    world.run()
    assert world.condition("Stalled") == ("True", "TritonCrashed"), "it is not tried again by itself"
    assert world.plan.status.ready_replicas == 2
    world.edit(restartedAt="later")
    world.run()
    assert world.condition("Ready") == ("True", "Serving")


def test_wrong_answers_give_their_gpu_back() -> None:
    world = World(replicas=2)
    world.run()
    world.edit(restartedAt="now")
    world.turn()
    world.start_pods()
    world.turn()
    world.end_one(world.plan.create[0]["metadata"]["name"], gen.outcome(reason="WrongAnswers", message="off"))
    (job,) = (
        world.objects["Job"][name]
        for name in world.jobs("verify")
        if world.objects["Job"][name]["metadata"]["name"] == world.plan.create[0]["metadata"]["name"]
    )
    job["status"] = gen.job(ended="Failed")["status"]
    for name, pod in world.objects["Pod"].items():
        if name.startswith(job["metadata"]["name"]):
            pod["status"] |= {
                "phase": "Failed",
                "containerStatuses": [gen.container_status("verify", state=gen.terminated(42, gen.outcome(reason="WrongAnswers", message="off")))],
            }
    world.turn()
    template = world.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    assert names.digest(template, 10) in {names.label(pod, names.POD_TEMPLATE_HASH) for pod in world.pods()[:2]}
    assert world.condition("Stalled") == ("True", "WrongAnswers")
