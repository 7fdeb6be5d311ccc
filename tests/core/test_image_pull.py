"""Pods whose image takes long: since when, which, and what else looks like it and is not."""

from datetime import timedelta
from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import clock, image_pull

LATE = gen.T0 + timedelta(seconds=40)
CREATING = gen.waiting("ContainerCreating")
INITIALIZING = gen.waiting("PodInitializing")


def ended(seconds: int) -> dict[str, Any]:
    return {"terminated": {"exitCode": 0, "finishedAt": clock.text(gen.T0 + timedelta(seconds=seconds))}}


RUNNING = {"running": {"startedAt": clock.text(gen.T0 + timedelta(seconds=3))}}


def pod(
    *main: dict[str, Any],
    init: tuple[dict[str, Any], ...] = (),
    sidecars: tuple[int, ...] = (),
    sandbox: str = "True",
    phase: str = "Pending",
    **more: Any,
) -> dict[str, Any]:
    """A Pod whose sandbox was there at T0; states of its containers. The kubelet says `started` of every one that runs."""
    made = gen.pod(
        init=[gen.container_status(f"init{at}", state=state, started="running" in state) for at, state in enumerate(init)],
        containers=[gen.container_status(f"main{at}", state=state) for at, state in enumerate(main)],
        phase=phase,
        **more,
    )
    made.setdefault("spec", {})["initContainers"] = [{"name": f"init{at}"} | ({"restartPolicy": "Always"} if at in sidecars else {}) for at in range(len(init))]
    made["status"]["conditions"] = [{"type": "PodReadyToStartContainers", "status": sandbox, "lastTransitionTime": clock.text(gen.T0)}]
    return made


@pytest.mark.parametrize(
    ("found", "image", "begun"),
    [
        pytest.param(pod(CREATING), "main0", 0, id="its only container's"),
        pytest.param(pod(INITIALIZING, init=(INITIALIZING, INITIALIZING)), "init0", 0, id="its first init container's"),
        pytest.param(pod(INITIALIZING, init=(ended(5), INITIALIZING)), "init1", 5, id="the next init container's"),
        pytest.param(pod(INITIALIZING, init=(ended(5), ended(7))), "main0", 7, id="the container's behind its init containers"),
        pytest.param(pod(INITIALIZING, init=(RUNNING,), sidecars=(0,)), "main0", 3, id="behind a sidecar"),
        pytest.param(pod({"running": {"startedAt": clock.text(gen.T0)}}, CREATING), "main1", 0, id="a second container's"),
    ],
)
def test_a_container_that_does_not_start_in_a_sandbox_that_is_there_waits_for_its_image(found, image, begun):
    problem = image_pull.problem([found], LATE)
    assert problem is not None
    assert (problem.reason, problem.permanent) == ("PullingImage", False)
    assert f"docker.io/example/{image}:1" in problem.message
    assert clock.text(gen.T0 + timedelta(seconds=begun)) in problem.message
    assert image_pull.problem([found], gen.T0 + timedelta(seconds=begun + 30)) is None
    assert image_pull.next_check([found], gen.T0) == gen.T0 + timedelta(seconds=begun + 31)
    assert image_pull.next_check([found], LATE) is None


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(pod(CREATING, sandbox="False"), id="a volume that is not mounted"),
        pytest.param(
            gen.pod(containers=[gen.container_status("main", state=CREATING)], conditions={"PodScheduled": "True"}), id="a kubelet that does not tell"
        ),
        pytest.param(pod(gen.waiting("CrashLoopBackOff")), id="a crash"),
        pytest.param(pod(gen.waiting("ImagePullBackOff")), id="an image that is not there"),
        pytest.param(pod({"running": {}}), id="it runs"),
        pytest.param(pod(INITIALIZING, init=(RUNNING, INITIALIZING)), id="an init container at work"),
        pytest.param(pod(INITIALIZING, init=(ended(1), RUNNING)), id="the last init container at work: an export that takes minutes"),
        pytest.param(pod(INITIALIZING, init=({"running": {}},), sidecars=()), id="an init container at work, of which no more is known"),
        pytest.param(pod(INITIALIZING, init=(gen.terminated(1),)), id="an init container that failed"),
        pytest.param(pod(CREATING, phase="Failed"), id="it has ended"),
        pytest.param(gen.pod() | {"status": {}}, id="nothing is known"),
    ],
)
def test_what_waits_for_something_else_is_not_being_pulled(found):
    assert image_pull.problem([found], LATE) is None


def test_the_status_tells_it_and_the_operator_looks_again_by_itself():
    cluster = Simulation()
    cluster.reconcile()
    (name,) = cluster.jobs("build")
    job = cluster.objects["Job"][name]
    waits = pod(INITIALIZING, init=(INITIALIZING,))
    waits["metadata"] |= {"name": "builder", "labels": job["spec"]["template"]["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name}}
    waits["metadata"]["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}]
    waits["status"]["conditions"][0]["lastTransitionTime"] = clock.text(cluster.now)
    cluster.objects["Pod"]["builder"] = waits
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "Building")
    assert cluster.plan.requeue_at == cluster.now + timedelta(seconds=31)
    cluster.later(31)
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "PullingImage")
    assert cluster.condition("Stalled")[0] == "False"
    waits["status"]["initContainerStatuses"][0]["state"] = {"running": {}}
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "Building")
