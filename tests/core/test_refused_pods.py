"""Pods that the API server refuses: what is said of them, and that a quota without room is treated as no free GPU."""

from datetime import timedelta
from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import clock, jobs, names, refused_pods
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import overdue
from yolo_operator.core.resources import triton

GPU_QUOTA = (
    'pods "helmet-v1-5d9c7b8f6d-x2k4p" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=2, '
    "limited: requests.nvidia.com/gpu=2"
)
MINUTE = 60


def refuse(cluster: Simulation, number: int = 1, message: str = GPU_QUOTA, *, late: bool = False) -> None:
    """The Deployment controller tells that the API server has just refused a pod of the newest template."""
    conditions = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message, "lastTransitionTime": clock.text(cluster.now)}]
    if late:
        conditions.append({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"})
    live = cluster.objects["Deployment"][f"helmet-v{number}"]
    live["status"] = live.get("status", {}) | {"conditions": conditions}


def updating(replicas: int = 2, **rollout: Any) -> Simulation:
    """A Simulation that serves, has just been told to replace its pods, and may make none."""
    cluster = Simulation(replicas=replicas, rollout=rollout)
    cluster.run()
    cluster.edit(restartedAt="now")
    cluster.reconcile()
    refuse(cluster)
    return cluster


def in_place(cluster: Simulation) -> bool:
    return triton.is_in_place(cluster.objects["Deployment"]["helmet-v1"])


def annotation(cluster: Simulation) -> str | None:
    found: dict[str, str] = cluster.objects["Deployment"]["helmet-v1"]["metadata"]["annotations"]
    return found.get(names.ASKED_AGAIN)


@pytest.mark.parametrize(
    ("message", "reason", "says"),
    [
        pytest.param(GPU_QUOTA, "QuotaExceeded", "ResourceQuota 'gpu' has no room", id="GPUs"),
        pytest.param(GPU_QUOTA, "QuotaExceeded", "used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=2", id="the figures are told"),
        pytest.param(
            'pods "a" is forbidden: exceeded quota: team, requested: limits.memory=8Gi,pods=1, used: limits.memory=16Gi,pods=2, limited: limits.memory=16Gi,pods=2',
            "QuotaExceeded", "ResourceQuota 'team'", id="memory and pods",
        ),
        pytest.param('pods "a" is forbidden: failed quota: team: must specify limits.cpu for: triton', "PodsRefused", "spec.triton.resources", id="nothing said"),
        pytest.param(
            'pods "a" is forbidden: violates PodSecurity "restricted:latest": privileged (container "x" must not set securityContext.privileged=true)',
            "PodsRefused", "spec.triton.podTemplate", id="Pod Security",
        ),
        pytest.param(
            'pods "a" is forbidden: error looking up service account factory/vision: serviceaccount "vision" not found',
            "PodsRefused", "spec.serviceAccountName", id="a missing ServiceAccount",
        ),
        pytest.param(
            'pods "a" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi', "PodsRefused", "spec.triton.resources", id="a LimitRange",
        ),
        pytest.param('admission webhook "pods.example.com" denied the request: no', "PodsRefused", 'pods.example.com" denied', id="a webhook"),
        pytest.param('pods "a" is forbidden: no PriorityClass with name high was found', "PodsRefused", "spec.priorityClassName", id="a PriorityClass"),
        pytest.param('pods "a" is forbidden: pod rejected: RuntimeClass "nvidia" not found', "PodsRefused", "spec.runtimeClassName", id="a RuntimeClass"),
        pytest.param('Pod "a" is invalid: spec.volumes[0].name: Required value', "PodsRefused", "spec.volumes[0].name", id="whatever else"),
    ],
)  # fmt: skip
def test_what_the_api_server_says_is_told_with_what_can_be_done(message: str, reason: str, says: str) -> None:
    cluster = updating()
    refuse(cluster, message=message, late=True)
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", reason)
    assert says in cluster.message()


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param({"type": "ReplicaFailure", "status": "False", "reason": "FailedCreate"}, id="past"),
        pytest.param({"type": "ReplicaFailure", "status": "True", "reason": "FailedDelete"}, id="a pod that cannot be deleted"),
        pytest.param({"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}, id="another condition"),
    ],
)
def test_other_conditions_are_no_refusal(condition: Manifest) -> None:
    live = {"status": {"conditions": [condition | {"message": GPU_QUOTA}]}}
    assert refused_pods.problem(live) is None
    assert refused_pods.problem(None) is None


def test_an_update_waits_for_the_quota_before_an_old_pod_makes_room() -> None:
    cluster = updating()
    decided = cluster.reconcile()
    assert not in_place(cluster)
    assert decided.requeue_at is not None
    assert decided.requeue_at <= cluster.now + cluster.yolo.spec.rollout.surge_timeout
    cluster.later(9 * MINUTE)
    cluster.reconcile()
    assert not in_place(cluster)
    cluster.later(MINUTE)
    cluster.reconcile()
    assert in_place(cluster)


def test_it_looks_again_when_the_quota_has_had_no_room_for_long_enough() -> None:
    cluster = updating(surgeTimeout="90s")
    cluster.later(70)
    assert cluster.reconcile().requeue_at == clock.parse(clock.text(cluster.now)) + timedelta(seconds=20)


def test_an_update_that_an_old_pod_has_made_room_for_goes_on_in_place_to_its_end() -> None:
    cluster = updating(surgeTimeout="0s")
    cluster.reconcile()
    assert in_place(cluster)
    (pod, *_) = cluster.pods()
    del cluster.objects["Pod"][pod["metadata"]["name"]]
    cluster.reconcile()
    assert in_place(cluster), "no new pod is there yet, and one of two old ones has gone"
    cluster.run()
    assert not in_place(cluster)
    assert cluster.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(
    ("replicas", "mode", "message", "wanted"),
    [
        pytest.param(1, "Auto", GPU_QUOTA, False, id="the only pod stays"),
        pytest.param(2, "Surge", GPU_QUOTA, False, id="Surge waits"),
        pytest.param(2, "Auto", GPU_QUOTA, True, id="one of two makes room"),
        pytest.param(2, "Auto", 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', False, id="what no old pod can cure takes none"),
    ],
)
def test_who_makes_room(replicas: int, mode: str, message: str, wanted: bool) -> None:
    cluster = updating(replicas, gpu=mode)
    refuse(cluster, message=message)
    cluster.later(60 * MINUTE)
    cluster.reconcile()
    assert in_place(cluster) is wanted


def test_a_scale_up_that_the_quota_refuses_takes_no_pod() -> None:
    cluster = Simulation(replicas=2)
    cluster.run()
    cluster.edit(replicas=3)
    cluster.reconcile()
    refuse(cluster)
    cluster.later(60 * MINUTE)
    cluster.reconcile()
    assert not in_place(cluster)
    assert cluster.condition("Ready") == ("False", "QuotaExceeded")
    assert cluster.condition("Stalled")[0] == "False"


def test_another_version_makes_room_in_the_quota() -> None:
    cluster = Simulation(replicas=4, versions=[gen.version(1, weight=100)])
    cluster.run()
    cluster.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=3)])
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    refuse(cluster, 2)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 4, "helmet-v2": 3}
    cluster.later(10 * MINUTE)
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 3, "helmet-v2": 3}


def test_a_template_that_the_quota_never_takes_is_given_up_for_the_verified_one() -> None:
    cluster = updating(surgeTimeout="0s")
    cluster.reconcile()
    assert in_place(cluster)
    cluster.reconcile()
    assert cluster.condition("Stalled")[0] == "False"
    refuse(cluster, late=True)
    assert overdue(cluster.objects["Deployment"]["helmet-v1"]) is not None
    cluster.reconcile()
    assert cluster.condition("Stalled") == ("True", "QuotaExceeded")
    template = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    assert names.digest(template, 10) in {names.label(pod, names.POD_TEMPLATE_HASH) for pod in cluster.pods()}


def test_a_canary_waits_for_the_quota_without_end_and_takes_no_pod() -> None:
    cluster = Simulation(replicas=2, rollout={"strategy": "Canary"})
    cluster.run()
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.reconcile()
    cluster.build_succeeds(2)
    for _ in range(3):
        cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 2}
    refuse(cluster, 2)
    cluster.reconcile()
    cluster.later(24 * 60 * MINUTE)
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "QuotaExceeded")
    assert cluster.condition("Stalled")[0] == "False"
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 2}


def test_a_refused_pod_is_asked_for_again_once_a_minute_and_nothing_is_written_in_between() -> None:
    cluster = updating(1)
    assert cluster.reconcile().requeue_at == clock.parse(clock.text(cluster.now)) + timedelta(minutes=1)
    assert annotation(cluster) is None
    cluster.later(MINUTE)
    cluster.reconcile()
    first = annotation(cluster)
    assert first == clock.text(cluster.now)
    cluster.later(59)
    assert cluster.reconcile().requeue_at == cluster.now + timedelta(seconds=1)
    assert annotation(cluster) == first
    cluster.later(1)
    cluster.reconcile()
    assert annotation(cluster) == clock.text(cluster.now)
    cluster.start_pods()
    cluster.reconcile()
    assert annotation(cluster) is None


def begun() -> tuple[Simulation, Manifest]:
    """A Simulation whose build Job has begun and has no Pod."""
    cluster = Simulation()
    cluster.reconcile()
    live = cluster.only_job("build")
    live["status"] = {"startTime": clock.text(cluster.now)}
    return cluster, live


def test_a_job_without_a_pod_is_told_after_a_minute_and_looked_at_then() -> None:
    cluster, live = begun()
    started = clock.parse(live["status"]["startTime"])
    for seconds, following in ((0, 5), (5, 20), (20, 60), (60, 120), (119, 120), (120, 180)):
        cluster.now = started + timedelta(seconds=seconds)
        assert cluster.reconcile().requeue_at == started + timedelta(seconds=following)
        assert cluster.condition("Ready") == ("False", "PodsRefused" if seconds >= MINUTE else "Building")
    assert f"kubectl describe job {live['metadata']['name']}" in cluster.message()
    labels = live["spec"]["template"]["metadata"]["labels"] | {names.JOB_NAME: live["metadata"]["name"]}
    cluster.objects["Pod"]["builder"] = gen.pod("builder", labels=labels, owner=live["metadata"]["uid"], phase="Pending")
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "Building")


@pytest.mark.parametrize(
    ("message", "reason", "says"),
    [
        pytest.param(
            'Error creating: pods "a" is forbidden: failed quota: team: must specify limits.cpu for: check,export', "PodsRefused",
            "set spec.jobs.resources and spec.build.resources", id="nothing said",
        ),
        pytest.param(
            'Error creating: pods "a" is forbidden: exceeded quota: team, requested: limits.memory=4Gi, used: limits.memory=0, limited: limits.memory=2Gi',
            "QuotaExceeded", "ResourceQuota 'team' has no room for the Pod of Job", id="a quota",
        ),
        pytest.param('Error creating: pods "a" is forbidden: no PriorityClass with name low was found', "PodsRefused", "spec.jobs.priorityClassName", id="a class"),
        pytest.param('Error creating: admission webhook "x.example.com" denied the request: no', "PodsRefused", "denied the request: no", id="a webhook"),
    ],
)  # fmt: skip
def test_the_api_servers_words_about_a_jobs_pod_are_told_after_five_seconds(message: str, reason: str, says: str) -> None:
    cluster, live = begun()
    cluster.later(5)
    cluster.refused_jobs = {live["metadata"]["name"]: message}
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", reason)
    assert says in cluster.message()
    cluster.refused_jobs = {}
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "Building"), "an Event that has gone says nothing"


def test_a_job_that_has_not_begun_wants_no_pod() -> None:
    assert jobs.read(gen.job(), [], ("publish",), gen.T0 + timedelta(days=1)) == jobs.Running()
