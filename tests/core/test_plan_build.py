"""From a resource to a published revision: what `plan` does about build Jobs."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import api, clock, jobs, names, revision
from yolo_operator.core.errors import InvalidSpec


def kinds_applied(cluster: Simulation) -> list[tuple[str, str]]:
    return sorted((manifest["kind"], manifest["metadata"]["name"]) for manifest in cluster.plan.apply)


def test_a_fresh_resource_gets_one_build_job_and_the_shared_service():
    cluster = Simulation()
    cluster.reconcile()
    assert cluster.jobs() == cluster.jobs("build")
    assert len(cluster.jobs()) == 1
    assert kinds_applied(cluster) == [("Service", "helmet")]
    assert cluster.condition("Ready") == ("False", "Building")
    assert cluster.condition("Reconciling") == ("True", "Building")
    assert cluster.condition("Stalled")[0] == "False"


def test_a_running_build_is_left_alone():
    cluster = Simulation()
    cluster.reconcile()
    again = cluster.reconcile()
    assert (again.create, again.delete) == ([], [])
    assert again.status.versions[0].phase == "Building"


def test_a_finished_build_leads_to_the_versions_objects():
    cluster = Simulation()
    cluster.reconcile()
    cluster.build_succeeds()
    cluster.reconcile()
    assert kinds_applied(cluster) == [("Deployment", "helmet-v1"), ("PodDisruptionBudget", "helmet-v1"), ("Service", "helmet"), ("Service", "helmet-v1")]
    assert cluster.condition("Built") == ("True", "Published")
    assert cluster.plan.status.versions[0].artifact.task == "detect"


def test_the_answer_of_check_counts_where_publish_has_none():
    cluster = Simulation()
    cluster.reconcile()
    cluster.end_job("build", gen.outcome(result=gen.artifact_of(cluster.yolo)), container="check")
    assert cluster.reconcile().status.versions[0].artifact is not None


def test_what_the_export_container_claims_does_not_count():
    cluster = Simulation()
    cluster.reconcile()
    cluster.end_job("build", gen.outcome(result=gen.artifact_of(cluster.yolo)), container="export")
    cluster.reconcile()
    assert cluster.plan.status.versions[0].artifact is None


def test_a_permanent_failure_is_stalled_until_the_spec_changes():
    cluster = Simulation()
    cluster.reconcile()
    first = cluster.end_job("build", gen.outcome(reason="WeightsUnreadable", message="not a YOLO model"), code=42)
    for seconds in (0, 600, 86400):
        cluster.later(seconds)
        cluster.reconcile()
        assert cluster.condition("Stalled") == ("True", "WeightsUnreadable")
        assert cluster.condition("Reconciling")[0] == "False"
        assert cluster.plan.create == []
    cluster.delete(first)
    assert cluster.reconcile().create == [], "nor when the failed Job is gone"
    assert cluster.condition("Stalled") == ("True", "WeightsUnreadable")

    cluster.edit(build={"resources": {"limits": {"memory": "8Gi"}}})
    cluster.reconcile()
    assert len(cluster.plan.create) == 1
    assert cluster.condition("Stalled")[0] == "False"


def test_a_publish_that_needs_more_memory_is_not_exported_again_until_it_may_have_more():
    cluster = Simulation()
    cluster.reconcile()
    killed = gen.container_status("publish", state=gen.terminated(137, reason="OOMKilled"), ready=False)
    name = cluster.end_job("build", "", code=137)["metadata"]["name"]
    (pod,) = [pod for pod in cluster.objects["Pod"].values() if names.label(pod, names.JOB_NAME) == name]
    pod["status"]["containerStatuses"] = [killed]
    for _ in range(2):
        cluster.later(86400)
        cluster.reconcile()
        assert cluster.condition("Stalled") == ("True", "OutOfMemory")
        assert "spec.jobs.resources.limits.memory" in cluster.message()
        assert cluster.plan.create == []
    cluster.edit(jobs={"resources": {"limits": {"memory": "2Gi"}}})
    (made,) = cluster.reconcile().create
    containers = [*made["spec"]["template"]["spec"]["initContainers"], *made["spec"]["template"]["spec"]["containers"]]
    limits = {part["name"]: part["resources"]["limits"]["memory"] for part in containers}
    assert limits == {"check": "2Gi", "fetch": "2Gi", "export": "4Gi", "publish": "2Gi"}


PROXY = {"httpsProxy": "http://proxy.example:3128/", "secretRef": {"name": "way-out"}, "caBundleRef": {"name": "proxy-ca"}}


def test_the_way_out_is_fetchs_alone():
    cluster = Simulation(build={"proxy": PROXY})
    (made,) = cluster.reconcile().create
    pod = made["spec"]["template"]["spec"]
    parts = {part["name"]: part for part in [*pod["initContainers"], *pod["containers"]]}
    fetch = parts.pop("fetch")
    assert fetch["args"][-6:] == [
        "--https-proxy=http://proxy.example:3128",
        "--proxy-secret=way-out",
        "--proxy-ca-bundle=/etc/yolo-operator/proxy-ca/ca.crt",
        "--no-proxy",
        ".svc",
        ".cluster.local",
    ]
    assert [each["name"] for each in fetch["env"]][-2:] == ["PROXY_USERNAME", "PROXY_PASSWORD"]
    assert "/etc/yolo-operator/proxy-ca" in [each["mountPath"] for each in fetch["volumeMounts"]]
    assert "proxy" not in json.dumps(parts)


@pytest.mark.parametrize(
    ("spec", "default"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"build": {"proxy": {}}}, PROXY, id="none, whatever the operator's"),
        pytest.param({"versions": [gen.version(source={"uri": "pvc://claim/a.pt"})]}, PROXY, id="a claim"),
    ],
)
def test_a_job_without_a_way_out_is_named_as_ever(spec, default):
    cluster, plain = Simulation(**spec), Simulation(**{key: value for key, value in spec.items() if key != "build"})
    cluster.defaults = replace(cluster.defaults, proxy=api.Proxy.model_validate(default) if default else None)
    assert [each["metadata"]["name"] for each in cluster.reconcile().create] == [each["metadata"]["name"] for each in plain.reconcile().create]


def test_the_operators_way_out_is_for_all_that_name_none():
    cluster = Simulation()
    cluster.defaults = replace(cluster.defaults, proxy=api.Proxy.model_validate(PROXY))
    (made,) = cluster.reconcile().create
    assert "--https-proxy=http://proxy.example:3128" in json.dumps(made)


def test_a_permanent_fault_of_the_first_pod_need_not_wait_for_the_job_to_give_up():
    cluster = Simulation()
    cluster.reconcile()
    live = cluster.end_job("build", gen.outcome(reason="WeightsUnreadable", message="…"), code=42)
    live["status"] = {}
    cluster.reconcile()
    assert cluster.condition("Stalled") == ("True", "WeightsUnreadable")


def test_a_transient_failure_is_retried_ever_later_and_counted_once_per_job():
    cluster = Simulation()
    cluster.reconcile()
    for attempt, pause in enumerate([60, 120, 240, 480, 600, 600], start=1):
        cluster.end_job("build", gen.outcome(reason="StorageUnreachable", message="connection refused"), code=1)
        for _ in range(3):
            cluster.reconcile()
        failure = cluster.plan.status.versions[0].build_failure
        assert failure is not None
        assert failure.attempts == attempt
        assert cluster.plan.requeue_at == clock.parse(failure.time) + timedelta(seconds=pause)
        assert cluster.condition("Reconciling") == ("True", "StorageUnreachable")
        assert cluster.condition("Stalled")[0] == "False"
        assert "connection refused" in cluster.message()
        cluster.later(pause - 1)
        assert cluster.reconcile().delete == []
        cluster.later(1)
        cluster.reconcile()
        assert cluster.jobs() == [], "the failed Job makes way"
        cluster.reconcile()
        assert len(cluster.jobs()) == 1, "and is made anew"


def test_a_failed_job_that_is_gone_is_neither_forgotten_nor_hurried():
    cluster = Simulation()
    cluster.reconcile()
    failed = cluster.end_job("build", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    cluster.reconcile()
    cluster.delete(failed)
    assert cluster.reconcile().create == []
    assert cluster.plan.requeue_at is not None
    cluster.later(60)
    assert len(cluster.reconcile().create) == 1


def test_success_forgets_the_failures_before_it():
    cluster = Simulation()
    cluster.reconcile()
    cluster.end_job("build", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    cluster.reconcile()
    cluster.later(60)
    cluster.reconcile()
    cluster.reconcile()
    cluster.build_succeeds()
    cluster.reconcile()
    assert cluster.plan.status.versions[0].build_failure is None


def test_a_finished_and_recorded_job_is_not_made_again_when_it_is_deleted():
    cluster = Simulation()
    cluster.reconcile()
    done = cluster.build_succeeds()
    cluster.reconcile()
    cluster.delete(done)
    assert cluster.reconcile().create == []


def test_a_job_whose_answer_is_lost_is_made_anew():
    cluster = Simulation()
    cluster.reconcile()
    done = cluster.build_succeeds()
    cluster.objects["Pod"].clear()
    cluster.later(jobs.ANSWER_GRACE.total_seconds())
    cluster.reconcile()
    assert cluster.jobs() == []
    cluster.reconcile()
    assert cluster.jobs() == [done["metadata"]["name"]]


def test_a_lost_status_is_learned_again_from_the_job():
    cluster = Simulation()
    cluster.run()
    cluster.body["status"] = {}
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_job_that_is_being_deleted_is_waited_for():
    cluster = Simulation()
    cluster.reconcile()
    cluster.only_job("build")["metadata"]["deletionTimestamp"] = clock.text(gen.T0)
    again = cluster.reconcile()
    assert (again.create, again.delete) == ([], [])


def test_a_running_job_that_nobody_wants_any_more_ends_and_a_finished_one_stays():
    cluster = Simulation()
    cluster.reconcile()
    (old,) = cluster.jobs("build")
    cluster.edit(versions=[gen.version(rebuild="2026-11-22")])
    cluster.reconcile()
    assert old not in cluster.jobs()
    (finished,) = cluster.jobs("build")
    cluster.build_succeeds()
    cluster.reconcile()
    cluster.edit(versions=[gen.version(rebuild="2026-11-23")])
    cluster.reconcile()
    assert finished in cluster.jobs()


def test_a_change_of_config_alone_makes_a_revision_that_shares_the_onnx():
    cluster = Simulation()
    cluster.run()
    before, old = cluster.yolo, cluster.jobs("build")
    cluster.edit(triton={"maxBatchSize": 4})
    cluster.reconcile()
    (new,) = set(cluster.jobs("build")) - set(old)
    arguments = cluster.objects["Job"][new]["spec"]["template"]["spec"]["initContainers"][0]["args"]
    spec = before.spec.versions[0]
    assert f"--export-key={revision.export_key(before, spec, cluster.defaults)}" in arguments
    assert f"--revision={revision.revision(before, spec, cluster.defaults)}" not in arguments


def test_while_the_new_revision_is_built_the_old_one_serves_on_as_it_is():
    cluster = Simulation()
    cluster.run()
    template = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    cluster.edit(triton={"maxBatchSize": 4}, replicas=2)
    cluster.reconcile()
    assert cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"] == template
    assert cluster.replicas() == {"helmet-v1": 2}


def test_a_resource_without_any_storage_says_so():
    with pytest.raises(InvalidSpec, match=r"spec\.storage") as caught:
        Simulation(storage=None).reconcile()
    assert caught.value.reason == "StorageMissing"


def test_the_administrators_storage_stands_in():
    cluster = Simulation(storage=None)
    cluster.defaults = replace(gen.DEFAULTS, storage=api.Storage(uri="s3://elsewhere"))
    cluster.reconcile()
    assert "--root=s3://elsewhere/factory/helmet" in cluster.only_job("build")["spec"]["template"]["spec"]["initContainers"][0]["args"]


def test_a_problem_of_the_running_build_is_reported_and_heals():
    cluster = Simulation()
    cluster.reconcile()
    live = cluster.only_job("build")
    pod = gen.pod(
        "builder",
        labels={"batch.kubernetes.io/job-name": live["metadata"]["name"]},
        owner=live["metadata"]["uid"],
        phase="Pending",
        init=[gen.container_status("check", state=gen.waiting("CreateContainerConfigError", 'secret "s3-credentials" not found'))],
    )
    cluster.objects["Pod"]["builder"] = pod
    cluster.reconcile()
    assert cluster.condition("Reconciling") == ("True", "SecretNotFound")
    del cluster.objects["Pod"]["builder"]
    cluster.reconcile()
    assert cluster.condition("Reconciling") == ("True", "Building")
