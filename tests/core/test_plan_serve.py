"""Pods that take requests: their number, their template, the versions that they are of, and their trouble."""

import json
from dataclasses import replace

import pytest

import gen
from simulation import Simulation, serving, started
from yolo_operator.core import names

# Replicas and templates.


def test_scaled_to_zero_is_ready():
    cluster = serving(replicas=2)
    cluster.edit(replicas=0)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0}
    assert cluster.condition("Ready") == ("True", "ScaledToZero")


def test_never_started_because_scaled_to_zero_is_ready():
    cluster = Simulation(replicas=0)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "ScaledToZero")


def test_a_pod_that_was_let_in_by_its_gate_is_available_at_once():
    assert "minReadySeconds" not in serving().objects["Deployment"]["helmet-v1"]["spec"]
    assert serving(rollout={"verify": {"enabled": False}}).objects["Deployment"]["helmet-v1"]["spec"]["minReadySeconds"] == 5


def test_a_deployment_of_an_earlier_release_keeps_what_it_has_until_it_gets_other_pods():
    cluster = serving()
    live = cluster.objects["Deployment"]["helmet-v1"]
    live["spec"]["minReadySeconds"] = 5
    cluster.reconcile()
    assert cluster.objects["Deployment"]["helmet-v1"]["spec"]["minReadySeconds"] == 5
    cluster.edit(restartedAt="now")
    cluster.reconcile()
    (made,) = [each for each in cluster.plan.apply if each["kind"] == "Deployment"]
    assert "minReadySeconds" not in made["spec"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"replicas": 5}, id="replicas"),
        pytest.param({"rollout": {"progressDeadline": "10m"}}, id="the rollout's deadline"),
        pytest.param({"rollout": {"verify": {"minIoU": 0.5}}}, id="the limits of verification"),
        pytest.param({"build": {"resources": {"limits": {"memory": "9Gi"}}}}, id="the build's resources"),
        pytest.param({"jobs": {"resources": {"limits": {"memory": "2Gi"}}}}, id="the resources of the other Jobs"),
        pytest.param({"storage": {"serverSideEncryption": {"algorithm": "AES256"}}}, id="the encryption of what is published"),
        pytest.param({"revisionHistoryLimit": 9}, id="the retention"),
        pytest.param({"deletionPolicy": "Delete"}, id="the deletion policy"),
        pytest.param({"networkPolicy": {"enabled": True, "storage": [{"cidr": "10.0.0.0/8", "port": 443}]}}, id="NetworkPolicies"),
    ],
)
def test_what_pods_do_not_see_restarts_none_and_builds_nothing(change):
    cluster = serving()
    before, jobs = names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]), cluster.jobs()
    cluster.edit(**change)
    cluster.reconcile()
    assert names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]) == before
    assert cluster.jobs() == jobs


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"triton": {"image": "tritonserver:next"}}, id="Triton's image"),
        pytest.param({"triton": {"release": "25.06"}}, id="Triton's release"),
        pytest.param({"triton": {"forwardCompatibility": True}}, id="forward compatibility"),
        pytest.param({"triton": {"metrics": {"summaryLatencies": True}}}, id="metrics"),
        pytest.param({"triton": {"tracing": {"endpoint": "http://collector:4318/v1/traces"}}}, id="tracing"),
        pytest.param({"restartedAt": "2026-11-22"}, id="a restart"),
        pytest.param({"nodeSelector": {"gpu": "yes"}}, id="the node selector"),
        pytest.param({"gpu": {"count": 2}}, id="the number of GPUs"),
        pytest.param({"triton": {"resources": {"limits": {"memory": "9Gi"}}}}, id="Triton's resources"),
        pytest.param({"serviceAccountName": "gpu-user"}, id="the service account"),
        pytest.param({"storage": {"readSecretRef": {"name": "readonly"}}}, id="the secret Triton reads with"),
    ],
)
def test_what_pods_see_makes_a_new_template_of_the_same_revision(change):
    cluster = serving()
    before, revision = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"], cluster.plan.status.versions[0].revision
    built = cluster.jobs("build")
    cluster.edit(**change)
    cluster.reconcile()
    after = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    assert after["metadata"]["labels"][names.TEMPLATE] != before["metadata"]["labels"][names.TEMPLATE]
    assert cluster.plan.status.versions[0].revision == revision
    assert cluster.jobs("build") == built


def test_another_release_of_the_operator_restarts_nothing_and_builds_nothing():
    cluster = serving()
    before, jobs = names.canonical(cluster.objects["Deployment"]["helmet-v1"]), cluster.jobs()
    cluster.defaults = replace(cluster.defaults, operator_image="operator:next", exporter_image="exporter:next")
    cluster.reconcile()
    assert next(manifest for manifest in cluster.plan.apply if manifest["kind"] == "Deployment")["spec"] == json.loads(before)["spec"]
    assert cluster.jobs() == jobs
    fresh, again = Simulation(), Simulation()
    fresh.reconcile()
    again.defaults = cluster.defaults
    again.reconcile()
    assert fresh.jobs() == again.jobs()


def test_a_template_that_another_release_rendered_otherwise_is_sent_again_as_it_is():
    cluster = serving()
    live = cluster.objects["Deployment"]["helmet-v1"]
    template = json.loads(live["metadata"]["annotations"][names.RENDERED])
    template["spec"]["shareProcessNamespace"] = True
    live["metadata"]["annotations"][names.RENDERED] = names.canonical(template)
    live["spec"]["template"] = template
    cluster.edit(replicas=4)
    cluster.reconcile()
    sent = next(manifest for manifest in cluster.plan.apply if manifest["kind"] == "Deployment")
    assert sent["spec"]["template"]["spec"]["shareProcessNamespace"] is True
    assert sent["spec"]["replicas"] == 4
    assert json.loads(sent["metadata"]["annotations"][names.RENDERED]) == template


def test_fields_of_a_newer_release_in_the_spec_are_read_over():
    cluster = serving()
    before = names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"])
    jobs = cluster.jobs()
    cluster.edit(traffic={"mode": "Gateway"}, triton={"futureField": 7}, gpu={"sharing": "time"})
    cluster.reconcile()
    assert names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"]) == before
    assert cluster.jobs() == jobs


def test_an_annotation_that_somebody_has_spoiled_is_rendered_anew():
    cluster = serving()
    before = names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"])
    cluster.objects["Deployment"]["helmet-v1"]["metadata"]["annotations"][names.RENDERED] = "{not json"
    cluster.reconcile()
    assert names.canonical(cluster.objects["Deployment"]["helmet-v1"]["spec"]) == before


# Versions.


def test_two_versions_share_the_replicas():
    cluster = serving(replicas=5, versions=[gen.version(1), gen.version(2)])
    assert cluster.replicas() == {"helmet-v1": 3, "helmet-v2": 2}
    assert cluster.plan.status.display.versions == "1:60 2:40"
    assert cluster.plan.status.display.replicas == "5/5"


def test_a_version_shrinks_only_when_the_others_are_ready():
    cluster = serving(replicas=4)
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 4}
    cluster.build_succeeds(2)
    for _ in range(4):
        cluster.reconcile()
        assert cluster.replicas() == {"helmet-v1": 4, "helmet-v2": 2}
    cluster.start_pods()
    cluster.reconcile()
    assert cluster.replicas()["helmet-v1"] == 4, "version 2 runs but is not verified"
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 2}


def test_scaling_down_shrinks_all_versions_at_once():
    cluster = serving(replicas=6, versions=[gen.version(1), gen.version(2)])
    cluster.edit(replicas=2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 1, "helmet-v2": 1}


def test_scaling_down_while_a_version_is_in_trouble_keeps_no_more_than_asked_for():
    cluster = serving(replicas=6)
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.reconcile()
    cluster.edit(replicas=2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 2}


def test_a_version_that_is_taken_away_serves_until_the_declared_ones_do():
    cluster = serving(replicas=2)
    template = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    cluster.edit(versions=[gen.version(2)])
    cluster.reconcile()
    assert cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"] == template
    assert [(entry.version, entry.phase) for entry in cluster.plan.status.versions] == [(1, "Draining"), (2, "Building")]
    assert cluster.condition("Ready")[0] == "False"
    cluster.build_succeeds(2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 2}
    cluster.start_pods()
    cluster.reconcile()
    assert "helmet-v1" in cluster.replicas()
    cluster.run()
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert "helmet-v1" not in cluster.objects[kind], kind
    assert cluster.condition("Ready") == ("True", "Serving")
    assert [entry.version for entry in cluster.plan.status.versions] == [2]


def test_a_version_that_is_taken_away_is_shown_until_none_of_its_pods_takes_requests():
    cluster = serving(replicas=1)
    (pod,) = cluster.pods(1)
    cluster.edit(versions=[gen.version(2)])
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    cluster.objects["Pod"][pod["metadata"]["name"]] = pod
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "Removing")
    assert cluster.plan.status.display.versions == "1:50 2:50"
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.plan.status.display.versions == "2:100"


def test_pods_of_a_version_that_is_taken_away_are_still_let_in():
    cluster = serving(replicas=2)
    cluster.edit(versions=[gen.version(2)])
    cluster.reconcile()
    gone = cluster.pods(1)[0]["metadata"]["name"]
    del cluster.objects["Pod"][gone]
    cluster.start_pods()
    cluster.reconcile()
    assert cluster.opened == [cluster.pods(1)[-1]["metadata"]["name"]]


def test_what_a_crash_has_left_of_a_version_goes_too():
    cluster = serving(replicas=2)
    cluster.edit(versions=[gen.version(2)])
    cluster.run()
    cluster.apply(gen.merged(cluster.objects["Service"]["helmet-v2"], {"metadata": {"name": "helmet-v1", "labels": {names.VERSION: "1"}}}))
    cluster.reconcile()
    assert sorted(cluster.objects["Service"]) == ["helmet", "helmet-v2"]


def test_one_versions_broken_build_does_not_hold_up_the_others():
    cluster = serving(replicas=2)
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.reconcile()
    (broken,) = [name for name in cluster.jobs("build") if "-v2-" in name]
    others = {name: cluster.objects["Job"].pop(name) for name in cluster.jobs() if name != broken}
    cluster.end_job("build", gen.outcome(reason="WeightsUnreadable", message="…"), code=42)
    cluster.objects["Job"] |= others
    cluster.reconcile()
    assert cluster.condition("Stalled") == ("True", "WeightsUnreadable")
    assert cluster.condition("Available")[0] == "False"
    assert cluster.message().startswith("Version 2: ")
    assert cluster.replicas() == {"helmet-v1": 2}
    assert cluster.plan.status.versions[0].phase != "Failed"


# Trouble of serving pods.


def test_a_pod_no_node_takes_is_named():
    cluster = started(replicas=1)
    (pod,) = cluster.pods()
    pod["status"] |= {
        "phase": "Pending",
        "conditions": [gen.unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available.")],
    }
    cluster.reconcile()
    assert cluster.condition("Reconciling") == ("True", "InsufficientGPU")
    assert "nvidia.com/gpu" in cluster.message()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_plan_is_the_same_for_the_same_inputs(count):
    cluster = serving(replicas=count)
    assert cluster.decide() == cluster.decide()
    at_rest = cluster.decide()
    assert (at_rest.create, at_rest.delete, at_rest.open_gates, at_rest.requeue_at) == ([], [], [], None)
