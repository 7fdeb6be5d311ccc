"""Verification: which pod of a template is asked, and what its answers open."""

from typing import Any

import gen
from world import World, serving, started
from yolo_operator.core import names


def address(job: dict[str, Any]) -> str:
    (argument,) = [arg for arg in job["spec"]["template"]["spec"]["containers"][0]["args"] if arg.startswith("--address=")]
    return argument.removeprefix("--address=")


def test_a_pod_of_an_unverified_template_is_asked_by_its_ip():
    world = started()
    world.turn()
    (pod,) = world.pods()
    assert address(world.only_job("verify")) == pod["status"]["podIP"]
    assert world.only_job("verify")["metadata"]["labels"][names.POD_TEMPLATE_HASH] == names.label(pod, names.POD_TEMPLATE_HASH)
    assert world.opened == []
    assert world.plan.status.versions[0].phase == "Verifying"


def test_of_several_pods_the_oldest_that_answers_is_asked():
    world = started(replicas=3)
    first, second, _ = world.pods()
    first["status"]["conditions"] = []
    world.turn()
    assert address(world.only_job("verify")) == second["status"]["podIP"]


def test_an_older_pod_that_answers_later_is_not_asked_as_well():
    world = started(replicas=2)
    first, second = world.pods()
    answers = first["status"]["conditions"]
    first["status"]["conditions"] = []
    world.turn()
    first["status"]["conditions"] = answers
    world.turn()
    assert address(world.only_job("verify")) == second["status"]["podIP"]
    world.end_job("verify", gen.outcome(result=gen.verification()))
    world.turn()
    assert sorted(world.opened) == sorted(pod["metadata"]["name"] for pod in (first, second))


def test_if_the_asked_pod_goes_another_is_asked():
    world = started(replicas=2)
    world.turn()
    first, second = world.pods()
    (old,) = world.jobs("verify")
    first["metadata"]["deletionTimestamp"] = "2026-11-22T03:00:00Z"
    world.turn()
    (new,) = world.jobs("verify")
    assert new != old
    assert address(world.objects["Job"][new]) == second["status"]["podIP"]


def test_no_pod_answers_no_pod_is_asked():
    world = started()
    for pod in world.pods():
        pod["status"]["conditions"] = []
    assert world.turn().create == []


def test_right_answers_open_the_gate_of_all_pods_of_that_template_and_no_other():
    world = serving(replicas=3)
    old = {pod["metadata"]["name"] for pod in world.pods()}
    world.edit(restartedAt="now")
    world.turn()
    world.start_pods()
    new = {pod["metadata"]["name"] for pod in world.pods()} - old
    world.turn()
    assert world.opened == []
    world.end_one(world.plan.create[0]["metadata"]["name"], gen.outcome(result=gen.verification()))
    world.turn()
    assert set(world.opened) == new
    assert len(world.opened) == 3
    verified = world.plan.status.versions[0].verified
    assert len(verified) == 2, "the old template stays verified: its rescheduled pod is let in"
    assert verified[-1].worst_iou == 0.999


def test_a_rescheduled_pod_of_a_verified_template_is_let_in_without_a_job():
    world = serving()
    jobs = world.jobs("verify")
    (pod,) = world.pods()
    del world.objects["Pod"][pod["metadata"]["name"]]
    world.start_pods()
    world.turn()
    assert world.opened == [world.pods()[0]["metadata"]["name"]]
    assert world.jobs("verify") == jobs


def test_wrong_answers_open_no_gate_and_touch_no_old_pod():
    world = serving(replicas=2)
    old = [pod["metadata"]["name"] for pod in world.pods()]
    world.edit(triton={"image": "tritonserver:next"})
    world.turn()
    world.start_pods()
    world.turn()
    finished = world.plan.create[0]["metadata"]["name"]
    others = {name: world.objects["Job"].pop(name) for name in world.jobs() if name != finished}
    world.end_job("verify", gen.outcome(reason="WrongAnswers", message="a box is off by 40 pixels"), code=42)
    world.objects["Job"] |= others
    for seconds in (0, 3600):
        world.later(seconds)
        decided = world.turn()
        assert (decided.let_in, decided.create) == ([], [])
        assert world.condition("Stalled") == ("True", "WrongAnswers")
        assert world.plan.status.versions[0].phase == "Failed"
        assert world.message().startswith("a box is off by 40 pixels (the pods are those verified last")
    world.start_pods()
    assert [name for name in old if name not in world.objects["Pod"]] == []


def test_other_limits_ask_again_after_wrong_answers():
    world = started()
    world.turn()
    world.end_job("verify", gen.outcome(reason="WrongAnswers", message="…"), code=42)
    world.turn()
    world.edit(rollout={"verify": {"minIoU": 0.5}})
    assert [made["metadata"]["labels"][names.COMPONENT] for made in world.turn().create] == ["verify"]


def test_a_verify_job_that_could_not_ask_is_tried_again():
    world = started()
    world.turn()
    world.end_job("verify", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    world.turn()
    assert world.condition("Reconciling") == ("True", "StorageUnreachable")
    world.later(60)
    world.turn()
    assert len(world.turn().status.versions) == 1
    assert len(world.jobs("verify")) == 1


def test_without_verification_there_is_no_gate_and_no_job():
    world = World(rollout={"verify": {"enabled": False}})
    world.run()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Verified") == ("False", "VerificationDisabled")
    assert "not checked" in world.message()
    assert world.jobs("verify") == []
    assert "readinessGates" not in world.objects["Deployment"]["helmet-v1"]["spec"]["template"]["spec"]
