"""Verification: which pod of a template is asked, and what its answers open."""

from typing import Any

import gen
from simulation import Simulation, serving, started
from yolo_operator.core import names


def address(job: dict[str, Any]) -> str:
    (argument,) = [arg for arg in job["spec"]["template"]["spec"]["containers"][0]["args"] if arg.startswith("--address=")]
    return argument.removeprefix("--address=")


def test_a_pod_of_an_unverified_template_is_asked_by_its_ip():
    cluster = started()
    cluster.reconcile()
    (pod,) = cluster.pods()
    assert address(cluster.only_job("verify")) == pod["status"]["podIP"]
    assert cluster.only_job("verify")["metadata"]["labels"][names.POD_TEMPLATE_HASH] == names.label(pod, names.POD_TEMPLATE_HASH)
    assert cluster.opened == []
    assert cluster.plan.status.versions[0].phase == "Verifying"


def test_of_several_pods_the_oldest_that_answers_is_asked():
    cluster = started(replicas=3)
    first, second, _ = cluster.pods()
    first["status"]["conditions"] = []
    cluster.reconcile()
    assert address(cluster.only_job("verify")) == second["status"]["podIP"]


def test_an_older_pod_that_answers_later_is_not_asked_as_well():
    cluster = started(replicas=2)
    first, second = cluster.pods()
    answers = first["status"]["conditions"]
    first["status"]["conditions"] = []
    cluster.reconcile()
    first["status"]["conditions"] = answers
    cluster.reconcile()
    assert address(cluster.only_job("verify")) == second["status"]["podIP"]
    cluster.end_job("verify", gen.outcome(result=gen.verification()))
    cluster.reconcile()
    assert sorted(cluster.opened) == sorted(pod["metadata"]["name"] for pod in (first, second))


def test_if_the_asked_pod_goes_another_is_asked():
    cluster = started(replicas=2)
    cluster.reconcile()
    first, second = cluster.pods()
    (old,) = cluster.jobs("verify")
    first["metadata"]["deletionTimestamp"] = "2026-11-22T03:00:00Z"
    cluster.reconcile()
    (new,) = cluster.jobs("verify")
    assert new != old
    assert address(cluster.objects["Job"][new]) == second["status"]["podIP"]


def test_a_pod_whose_node_has_gone_silent_is_not_asked():
    cluster = started(replicas=2)
    first, second = cluster.pods()
    cluster.objects["Pod"][first["metadata"]["name"]] = gen.silent(first)
    cluster.reconcile()
    assert address(cluster.only_job("verify")) == second["status"]["podIP"]


def test_after_a_failure_the_next_pod_is_asked():
    """Of a pod that waits at its gate nobody says that its node has gone."""
    cluster = started(replicas=2)
    first, second = cluster.pods()
    asked = []
    for _ in range(3):
        cluster.reconcile()
        asked.append(address(cluster.only_job("verify")))
        cluster.end_job("verify", gen.outcome(reason="ModelNotReady", message="no answer"), code=1)
        cluster.reconcile()
        cluster.later(600)
        cluster.reconcile()
        cluster.objects["Job"] = {name: live for name, live in cluster.objects["Job"].items() if "verify" not in name}
    assert asked == [pod["status"]["podIP"] for pod in (first, second, first)]


def test_no_pod_answers_no_pod_is_asked():
    cluster = started()
    for pod in cluster.pods():
        pod["status"]["conditions"] = []
    assert cluster.reconcile().create == []


def test_right_answers_open_the_gate_of_all_pods_of_that_template_and_no_other():
    cluster = serving(replicas=3)
    old = {pod["metadata"]["name"] for pod in cluster.pods()}
    cluster.edit(restartedAt="now")
    cluster.reconcile()
    cluster.start_pods()
    new = {pod["metadata"]["name"] for pod in cluster.pods()} - old
    cluster.reconcile()
    assert cluster.opened == []
    cluster.end_one(cluster.plan.create[0]["metadata"]["name"], gen.outcome(result=gen.verification()))
    cluster.reconcile()
    assert set(cluster.opened) == new
    assert len(cluster.opened) == 3
    verified = cluster.plan.status.versions[0].verified
    assert len(verified) == 2, "the old template stays verified: its rescheduled pod becomes ready"
    assert verified[-1].worst_iou == 0.999


def test_a_rescheduled_pod_of_a_verified_template_is_let_in_without_a_job():
    cluster = serving()
    jobs = cluster.jobs("verify")
    (pod,) = cluster.pods()
    del cluster.objects["Pod"][pod["metadata"]["name"]]
    cluster.start_pods()
    cluster.reconcile()
    assert cluster.opened == [cluster.pods()[0]["metadata"]["name"]]
    assert cluster.jobs("verify") == jobs


def test_wrong_answers_open_no_gate_and_touch_no_old_pod():
    cluster = serving(replicas=2)
    old = [pod["metadata"]["name"] for pod in cluster.pods()]
    cluster.edit(triton={"image": "tritonserver:next"})
    cluster.reconcile()
    cluster.start_pods()
    cluster.reconcile()
    finished = cluster.plan.create[0]["metadata"]["name"]
    others = {name: cluster.objects["Job"].pop(name) for name in cluster.jobs() if name != finished}
    cluster.end_job("verify", gen.outcome(reason="WrongAnswers", message="a box is off by 40 pixels"), code=42)
    cluster.objects["Job"] |= others
    for seconds in (0, 3600):
        cluster.later(seconds)
        decided = cluster.reconcile()
        assert (decided.open_gates, decided.create) == ([], [])
        assert cluster.condition("Stalled") == ("True", "WrongAnswers")
        assert cluster.plan.status.versions[0].phase == "Failed"
        assert cluster.message().startswith("a box is off by 40 pixels (the pods are those verified last")
    cluster.start_pods()
    assert [name for name in old if name not in cluster.objects["Pod"]] == []


def test_other_limits_ask_again_after_wrong_answers():
    cluster = started()
    cluster.reconcile()
    cluster.end_job("verify", gen.outcome(reason="WrongAnswers", message="…"), code=42)
    cluster.reconcile()
    cluster.edit(rollout={"verify": {"minIoU": 0.5}})
    assert [made["metadata"]["labels"][names.COMPONENT] for made in cluster.reconcile().create] == ["verify"]


def test_a_verify_job_that_could_not_ask_is_tried_again():
    cluster = started()
    cluster.reconcile()
    cluster.end_job("verify", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    cluster.reconcile()
    assert cluster.condition("Reconciling") == ("True", "StorageUnreachable")
    cluster.later(60)
    cluster.reconcile()
    assert len(cluster.reconcile().status.versions) == 1
    assert len(cluster.jobs("verify")) == 1


def test_without_verification_there_is_no_gate_and_no_job():
    cluster = Simulation(rollout={"verify": {"enabled": False}})
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.condition("Verified") == ("False", "VerificationDisabled")
    assert "not checked" in cluster.message()
    assert cluster.jobs("verify") == []
    assert "readinessGates" not in cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]["spec"]
