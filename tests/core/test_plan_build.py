"""From a resource to a published revision: what `plan` does about build Jobs."""

from dataclasses import replace
from datetime import timedelta

import pytest

import gen
from world import World
from yolo_operator.core import api, clock, jobs, names, revision
from yolo_operator.core.errors import InvalidSpec


def kinds_applied(world: World) -> list[tuple[str, str]]:
    return sorted((manifest["kind"], manifest["metadata"]["name"]) for manifest in world.plan.apply)


def test_a_fresh_resource_gets_one_build_job_and_the_shared_service():
    world = World()
    world.turn()
    assert world.jobs() == world.jobs("build")
    assert len(world.jobs()) == 1
    assert kinds_applied(world) == [("Service", "helmet")]
    assert world.condition("Ready") == ("False", "Building")
    assert world.condition("Reconciling") == ("True", "Building")
    assert world.condition("Stalled")[0] == "False"


def test_a_running_build_is_left_alone():
    world = World()
    world.turn()
    again = world.turn()
    assert (again.create, again.delete) == ([], [])
    assert again.status.versions[0].phase == "Building"


def test_a_finished_build_leads_to_the_versions_objects():
    world = World()
    world.turn()
    world.build_succeeds()
    world.turn()
    assert kinds_applied(world) == [("Deployment", "helmet-v1"), ("PodDisruptionBudget", "helmet-v1"), ("Service", "helmet"), ("Service", "helmet-v1")]
    assert world.condition("Built") == ("True", "Published")
    assert world.plan.status.versions[0].artifact.task == "detect"


def test_the_answer_of_check_counts_where_publish_has_none():
    world = World()
    world.turn()
    world.end_job("build", gen.outcome(result=gen.artifact_of(world.yolo)), container="check")
    assert world.turn().status.versions[0].artifact is not None


def test_what_the_export_container_claims_does_not_count():
    world = World()
    world.turn()
    world.end_job("build", gen.outcome(result=gen.artifact_of(world.yolo)), container="export")
    world.turn()
    assert world.plan.status.versions[0].artifact is None


def test_a_permanent_failure_is_stalled_until_the_spec_changes():
    world = World()
    world.turn()
    first = world.end_job("build", gen.outcome(reason="WeightsUnreadable", message="not a YOLO model"), code=42)
    for seconds in (0, 600, 86400):
        world.later(seconds)
        world.turn()
        assert world.condition("Stalled") == ("True", "WeightsUnreadable")
        assert world.condition("Reconciling")[0] == "False"
        assert world.plan.create == []
    world.delete(first)
    assert world.turn().create == [], "nor when the failed Job is gone"
    assert world.condition("Stalled") == ("True", "WeightsUnreadable")

    world.edit(build={"resources": {"limits": {"memory": "8Gi"}}})
    world.turn()
    assert len(world.plan.create) == 1
    assert world.condition("Stalled")[0] == "False"


def test_a_publish_that_needs_more_memory_is_not_exported_again_until_it_may_have_more():
    world = World()
    world.turn()
    killed = gen.container_status("publish", state=gen.terminated(137, reason="OOMKilled"), ready=False)
    name = world.end_job("build", "", code=137)["metadata"]["name"]
    (pod,) = [pod for pod in world.objects["Pod"].values() if names.label(pod, names.JOB_NAME) == name]
    pod["status"]["containerStatuses"] = [killed]
    for _ in range(2):
        world.later(86400)
        world.turn()
        assert world.condition("Stalled") == ("True", "OutOfMemory")
        assert "spec.jobs.resources.limits.memory" in world.message()
        assert world.plan.create == []
    world.edit(jobs={"resources": {"limits": {"memory": "2Gi"}}})
    (made,) = world.turn().create
    containers = [*made["spec"]["template"]["spec"]["initContainers"], *made["spec"]["template"]["spec"]["containers"]]
    limits = {part["name"]: part["resources"]["limits"]["memory"] for part in containers}
    assert limits == {"check": "2Gi", "fetch": "2Gi", "export": "4Gi", "publish": "2Gi"}


def test_a_permanent_fault_of_the_first_pod_need_not_wait_for_the_job_to_give_up():
    world = World()
    world.turn()
    live = world.end_job("build", gen.outcome(reason="WeightsUnreadable", message="…"), code=42)
    live["status"] = {}
    world.turn()
    assert world.condition("Stalled") == ("True", "WeightsUnreadable")


def test_a_transient_failure_is_retried_ever_later_and_counted_once_per_job():
    world = World()
    world.turn()
    for attempt, pause in enumerate([60, 120, 240, 480, 600, 600], start=1):
        world.end_job("build", gen.outcome(reason="StorageUnreachable", message="connection refused"), code=1)
        for _ in range(3):
            world.turn()
        failure = world.plan.status.versions[0].build_failure
        assert failure is not None
        assert failure.attempts == attempt
        assert world.plan.again_at == clock.parse(failure.time) + timedelta(seconds=pause)
        assert world.condition("Reconciling") == ("True", "StorageUnreachable")
        assert world.condition("Stalled")[0] == "False"
        assert "connection refused" in world.message()
        world.later(pause - 1)
        assert world.turn().delete == []
        world.later(1)
        world.turn()
        assert world.jobs() == [], "the failed Job makes way"
        world.turn()
        assert len(world.jobs()) == 1, "and is made anew"


def test_a_failed_job_that_is_gone_is_neither_forgotten_nor_hurried():
    world = World()
    world.turn()
    failed = world.end_job("build", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    world.turn()
    world.delete(failed)
    assert world.turn().create == []
    assert world.plan.again_at is not None
    world.later(60)
    assert len(world.turn().create) == 1


def test_success_forgets_the_failures_before_it():
    world = World()
    world.turn()
    world.end_job("build", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    world.turn()
    world.later(60)
    world.turn()
    world.turn()
    world.build_succeeds()
    world.turn()
    assert world.plan.status.versions[0].build_failure is None


def test_a_finished_and_recorded_job_is_not_made_again_when_it_is_deleted():
    world = World()
    world.turn()
    done = world.build_succeeds()
    world.turn()
    world.delete(done)
    assert world.turn().create == []


def test_a_job_whose_answer_is_lost_is_made_anew():
    world = World()
    world.turn()
    done = world.build_succeeds()
    world.objects["Pod"].clear()
    world.later(jobs.ANSWER_GRACE.total_seconds())
    world.turn()
    assert world.jobs() == []
    world.turn()
    assert world.jobs() == [done["metadata"]["name"]]


def test_a_lost_status_is_learned_again_from_the_job():
    world = World()
    world.run()
    world.body["status"] = {}
    world.run()
    assert world.condition("Ready") == ("True", "Serving")


def test_a_job_that_is_being_deleted_is_waited_for():
    world = World()
    world.turn()
    world.only_job("build")["metadata"]["deletionTimestamp"] = clock.text(gen.T0)
    again = world.turn()
    assert (again.create, again.delete) == ([], [])


def test_a_running_job_that_nobody_wants_any_more_ends_and_a_finished_one_stays():
    world = World()
    world.turn()
    (old,) = world.jobs("build")
    world.edit(versions=[gen.version(rebuild="2026-11-22")])
    world.turn()
    assert old not in world.jobs()
    (finished,) = world.jobs("build")
    world.build_succeeds()
    world.turn()
    world.edit(versions=[gen.version(rebuild="2026-11-23")])
    world.turn()
    assert finished in world.jobs()


def test_a_change_of_config_alone_makes_a_revision_that_shares_the_onnx():
    world = World()
    world.run()
    before, old = world.yolo, world.jobs("build")
    world.edit(triton={"maxBatchSize": 4})
    world.turn()
    (new,) = set(world.jobs("build")) - set(old)
    arguments = world.objects["Job"][new]["spec"]["template"]["spec"]["initContainers"][0]["args"]
    spec = before.spec.versions[0]
    assert f"--export-key={revision.export_key(before, spec, world.defaults)}" in arguments
    assert f"--revision={revision.revision(before, spec, world.defaults)}" not in arguments


def test_while_the_new_revision_is_built_the_old_one_serves_on_as_it_is():
    world = World()
    world.run()
    template = world.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    world.edit(triton={"maxBatchSize": 4}, replicas=2)
    world.turn()
    assert world.objects["Deployment"]["helmet-v1"]["spec"]["template"] == template
    assert world.replicas() == {"helmet-v1": 2}


def test_a_resource_without_any_storage_says_so():
    with pytest.raises(InvalidSpec, match=r"spec\.storage") as caught:
        World(storage=None).turn()
    assert caught.value.reason == "StorageMissing"


def test_the_administrators_storage_stands_in():
    world = World(storage=None)
    world.defaults = replace(gen.DEFAULTS, storage=api.Storage(uri="s3://elsewhere"))
    world.turn()
    assert "--root=s3://elsewhere/factory/helmet" in world.only_job("build")["spec"]["template"]["spec"]["initContainers"][0]["args"]


def test_a_problem_of_the_running_build_is_reported_and_heals():
    world = World()
    world.turn()
    live = world.only_job("build")
    pod = gen.pod(
        "builder",
        labels={"batch.kubernetes.io/job-name": live["metadata"]["name"]},
        owner=live["metadata"]["uid"],
        phase="Pending",
        init=[gen.container_status("check", state=gen.waiting("CreateContainerConfigError", 'secret "s3-credentials" not found'))],
    )
    world.objects["Pod"]["builder"] = pod
    world.turn()
    assert world.condition("Reconciling") == ("True", "SecretNotFound")
    del world.objects["Pod"]["builder"]
    world.turn()
    assert world.condition("Reconciling") == ("True", "Building")
