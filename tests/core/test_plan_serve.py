"""Pods that take requests: their number, their template, the versions that they are of, and their trouble."""

import json
from dataclasses import replace

import pytest

import gen
from world import World, serving, started
from yolo_operator.core import names

# Replicas and templates.


def test_scaled_to_zero_is_ready():
    world = serving(replicas=2)
    world.edit(replicas=0)
    world.run()
    assert world.replicas() == {"helmet-v1": 0}
    assert world.condition("Ready") == ("True", "ScaledToZero")


def test_never_started_because_scaled_to_zero_is_ready():
    world = World(replicas=0)
    world.run()
    assert world.condition("Ready") == ("True", "ScaledToZero")


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
    world = serving()
    before, jobs = names.canonical(world.objects["Deployment"]["helmet-v1"]["spec"]["template"]), world.jobs()
    world.edit(**change)
    world.turn()
    assert names.canonical(world.objects["Deployment"]["helmet-v1"]["spec"]["template"]) == before
    assert world.jobs() == jobs


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
    world = serving()
    before, revision = world.objects["Deployment"]["helmet-v1"]["spec"]["template"], world.plan.status.versions[0].revision
    built = world.jobs("build")
    world.edit(**change)
    world.turn()
    after = world.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    assert after["metadata"]["labels"][names.TEMPLATE] != before["metadata"]["labels"][names.TEMPLATE]
    assert world.plan.status.versions[0].revision == revision
    assert world.jobs("build") == built


def test_another_release_of_the_operator_restarts_nothing_and_builds_nothing():
    world = serving()
    before, jobs = names.canonical(world.objects["Deployment"]["helmet-v1"]), world.jobs()
    world.defaults = replace(world.defaults, operator_image="operator:next", exporter_image="exporter:next")
    world.turn()
    assert next(manifest for manifest in world.plan.apply if manifest["kind"] == "Deployment")["spec"] == json.loads(before)["spec"]
    assert world.jobs() == jobs
    fresh, again = World(), World()
    fresh.turn()
    again.defaults = world.defaults
    again.turn()
    assert fresh.jobs() == again.jobs()


def test_a_template_that_another_release_rendered_otherwise_is_sent_again_as_it_is():
    world = serving()
    live = world.objects["Deployment"]["helmet-v1"]
    template = json.loads(live["metadata"]["annotations"][names.RENDERED])
    template["spec"]["shareProcessNamespace"] = True
    live["metadata"]["annotations"][names.RENDERED] = names.canonical(template)
    live["spec"]["template"] = template
    world.edit(replicas=4)
    world.turn()
    sent = next(manifest for manifest in world.plan.apply if manifest["kind"] == "Deployment")
    assert sent["spec"]["template"]["spec"]["shareProcessNamespace"] is True
    assert sent["spec"]["replicas"] == 4
    assert json.loads(sent["metadata"]["annotations"][names.RENDERED]) == template


def test_fields_of_a_newer_release_in_the_spec_are_read_over():
    world = serving()
    before = names.canonical(world.objects["Deployment"]["helmet-v1"]["spec"])
    jobs = world.jobs()
    world.edit(traffic={"mode": "Gateway"}, triton={"futureField": 7}, gpu={"sharing": "time"})
    world.turn()
    assert names.canonical(world.objects["Deployment"]["helmet-v1"]["spec"]) == before
    assert world.jobs() == jobs


def test_an_annotation_that_somebody_has_spoiled_is_rendered_anew():
    world = serving()
    before = names.canonical(world.objects["Deployment"]["helmet-v1"]["spec"])
    world.objects["Deployment"]["helmet-v1"]["metadata"]["annotations"][names.RENDERED] = "{not json"
    world.turn()
    assert names.canonical(world.objects["Deployment"]["helmet-v1"]["spec"]) == before


# Versions.


def test_two_versions_share_the_replicas():
    world = serving(replicas=5, versions=[gen.version(1), gen.version(2)])
    assert world.replicas() == {"helmet-v1": 3, "helmet-v2": 2}
    assert world.plan.status.display.versions == "1:60 2:40"
    assert world.plan.status.display.replicas == "5/5"


def test_a_version_shrinks_only_when_the_others_are_ready():
    world = serving(replicas=4)
    world.edit(versions=[gen.version(1), gen.version(2)])
    world.turn()
    assert world.replicas() == {"helmet-v1": 4}
    world.build_succeeds(2)
    for _ in range(4):
        world.turn()
        assert world.replicas() == {"helmet-v1": 4, "helmet-v2": 2}
    world.start_pods()
    world.turn()
    assert world.replicas()["helmet-v1"] == 4, "version 2 runs but is not verified"
    world.run()
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 2}


def test_scaling_down_shrinks_all_versions_at_once():
    world = serving(replicas=6, versions=[gen.version(1), gen.version(2)])
    world.edit(replicas=2)
    world.turn()
    assert world.replicas() == {"helmet-v1": 1, "helmet-v2": 1}


def test_scaling_down_while_a_version_is_in_trouble_keeps_no_more_than_asked_for():
    world = serving(replicas=6)
    world.edit(versions=[gen.version(1), gen.version(2)])
    world.turn()
    world.edit(replicas=2)
    world.turn()
    assert world.replicas() == {"helmet-v1": 2}


def test_a_version_that_is_taken_away_serves_until_the_declared_ones_do():
    world = serving(replicas=2)
    template = world.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    world.edit(versions=[gen.version(2)])
    world.turn()
    assert world.objects["Deployment"]["helmet-v1"]["spec"]["template"] == template
    assert [(entry.version, entry.phase) for entry in world.plan.status.versions] == [(1, "Draining"), (2, "Building")]
    assert world.condition("Ready")[0] == "False"
    world.build_succeeds(2)
    world.turn()
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 2}
    world.start_pods()
    world.turn()
    assert "helmet-v1" in world.replicas()
    world.run()
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert "helmet-v1" not in world.objects[kind], kind
    assert world.condition("Ready") == ("True", "Serving")
    assert [entry.version for entry in world.plan.status.versions] == [2]


def test_a_version_that_is_taken_away_is_shown_until_none_of_its_pods_takes_requests():
    world = serving(replicas=1)
    (pod,) = world.pods(1)
    world.edit(versions=[gen.version(2)])
    world.run()
    assert world.condition("Ready") == ("True", "Serving")
    world.objects["Pod"][pod["metadata"]["name"]] = pod
    world.turn()
    assert world.condition("Ready") == ("False", "Removing")
    assert world.plan.status.display.versions == "1:50 2:50"
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.turn()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.plan.status.display.versions == "2:100"


def test_pods_of_a_version_that_is_taken_away_are_still_let_in():
    world = serving(replicas=2)
    world.edit(versions=[gen.version(2)])
    world.turn()
    gone = world.pods(1)[0]["metadata"]["name"]
    del world.objects["Pod"][gone]
    world.start_pods()
    world.turn()
    assert world.opened == [world.pods(1)[-1]["metadata"]["name"]]


def test_what_a_crash_has_left_of_a_version_goes_too():
    world = serving(replicas=2)
    world.edit(versions=[gen.version(2)])
    world.run()
    world.apply(gen.merged(world.objects["Service"]["helmet-v2"], {"metadata": {"name": "helmet-v1", "labels": {names.VERSION: "1"}}}))
    world.turn()
    assert sorted(world.objects["Service"]) == ["helmet", "helmet-v2"]


def test_one_versions_broken_build_does_not_hold_up_the_others():
    world = serving(replicas=2)
    world.edit(versions=[gen.version(1), gen.version(2)])
    world.turn()
    (broken,) = [name for name in world.jobs("build") if "-v2-" in name]
    others = {name: world.objects["Job"].pop(name) for name in world.jobs() if name != broken}
    world.end_job("build", gen.outcome(reason="WeightsUnreadable", message="…"), code=42)
    world.objects["Job"] |= others
    world.turn()
    assert world.condition("Stalled") == ("True", "WeightsUnreadable")
    assert world.condition("Available")[0] == "False"
    assert world.message().startswith("Version 2: ")
    assert world.replicas() == {"helmet-v1": 2}
    assert world.plan.status.versions[0].phase != "Failed"


# Trouble of serving pods.


def test_a_pod_no_node_takes_is_named():
    world = started(replicas=1)
    (pod,) = world.pods()
    pod["status"] |= {
        "phase": "Pending",
        "conditions": [gen.unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available.")],
    }
    world.turn()
    assert world.condition("Reconciling") == ("True", "InsufficientGPU")
    assert "nvidia.com/gpu" in world.message()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_plan_is_the_same_for_the_same_inputs(count):
    world = serving(replicas=count)
    assert world.decide() == world.decide()
    at_rest = world.decide()
    assert (at_rest.create, at_rest.delete, at_rest.let_in, at_rest.again_at) == ([], [], [], None)
