"""Another default Triton image: where a resource is, whose turn it is, and what the status remembers."""

from dataclasses import replace
from typing import Any

import pytest

import gen
from simulation import Simulation, serving
from yolo_operator.core import image_updates, names
from yolo_operator.core.image_updates import Phase
from yolo_operator.core.names import Manifest

OLD, NEW = gen.DEFAULTS.triton_image, "nvcr.io/nvidia/tritonserver:25.09-py3"


def deployment(image: str, number: int = 1, **more: Any) -> Manifest:
    template = {"spec": {"containers": [{"name": "sidecar", "image": "sidecar:1"}, {"name": "triton", "image": image}]}}
    return gen.merged({"metadata": {"labels": {names.VERSION: str(number)}, "generation": 2}, "spec": {"template": template}}, more)


def given_up(image: str) -> list[Manifest]:
    return [{"version": 1, "rolledBack": {"image": image}}]


@pytest.mark.parametrize(
    ("images", "status", "more", "phase"),
    [
        pytest.param([], {}, {}, Phase.SETTLED, id="nothing is there yet"),
        pytest.param([NEW], {}, {}, Phase.SETTLED, id="it is new: it has begun with the default"),
        pytest.param([NEW], {"tritonImage": NEW}, {}, Phase.SETTLED, id="it has the default"),
        pytest.param([OLD], {"tritonImage": OLD}, {}, Phase.WAITING, id="the default is another now"),
        pytest.param([OLD], {}, {}, Phase.WAITING, id="the status is an older release's"),
        pytest.param([OLD, OLD], {"tritonImage": OLD}, {}, Phase.WAITING, id="both versions have the old one"),
        pytest.param([NEW], {"tritonImage": OLD}, {}, Phase.UPDATING, id="it has begun"),
        pytest.param([OLD, NEW], {"tritonImage": OLD}, {}, Phase.UPDATING, id="one of its versions has begun"),
        pytest.param(["between"], {"tritonImage": OLD}, {}, Phase.UPDATING, id="the default changed in the middle of an update"),
        pytest.param(["between"], {"tritonImage": NEW}, {}, Phase.UPDATING, id="the default was taken back in the middle of an update"),
        pytest.param([NEW], {"tritonImage": NEW, "versions": given_up("between")}, {}, Phase.SETTLED, id="it never left the default"),
        pytest.param([OLD], {"tritonImage": OLD, "versions": given_up(NEW)}, {}, Phase.UPDATING, id="it has tried the default in vain"),
        pytest.param([OLD], {"tritonImage": OLD, "versions": given_up("another")}, {}, Phase.WAITING, id="it has tried another image in vain"),
        pytest.param([OLD], {"tritonImage": OLD}, {"triton": {"image": OLD}}, Phase.SETTLED, id="the image is its own"),
        pytest.param([OLD], {"tritonImage": OLD}, {"metadata": {"deletionTimestamp": "now"}}, Phase.SETTLED, id="it is being deleted"),
    ],
)
def test_where_a_resource_is(images: list[str], status: Manifest, more: Manifest, phase: Phase) -> None:
    versions = [gen.version(number) for number in (1, 2)]
    deployments = {f"helmet-v{number}": deployment(image, number) for number, image in enumerate(images, 1)}
    assert image_updates.phase(gen.body(status=status, versions=versions, **more), deployments, NEW) == phase


def test_versions_that_are_not_declared_any_more_keep_theirs_and_count_for_nothing() -> None:
    deployments = {"helmet-v1": deployment(NEW), "helmet-v2": deployment(OLD, 2)}
    assert image_updates.phase(gen.body(status={"tritonImage": NEW}), deployments, NEW) == Phase.SETTLED


def waiting(name: str, ready: str = "True", **spec: Any) -> Manifest:
    return gen.body(name=name, status={"conditions": [{"type": "Ready", "status": ready}]}, **spec)


def turns(bodies: list[Manifest], updating: int, limit: int) -> list[str]:
    return sorted(name for _, name in image_updates.turns(bodies, updating, replace(gen.DEFAULTS, max_image_updates=limit)))


def test_whose_turn_it_is() -> None:
    bodies = [waiting("d"), waiting("a", "False"), waiting("c"), waiting("b")]
    assert turns(bodies, 0, 2) == ["b", "c"]
    assert turns(bodies, 1, 2) == ["b"]
    assert turns(bodies, 2, 2) == []
    assert turns(bodies, 3, 2) == [], "the limit was lowered meanwhile"
    assert turns(bodies, 0, 4) == ["a", "b", "c", "d"], "what is not Ready comes last, and comes"


def test_what_cannot_be_planned_takes_no_turn() -> None:
    bodies = [waiting("a", replicas=-1), waiting("b", triton={"podTemplate": {"spec": {"hostNetwork": True}}}), waiting("c", storage=None), waiting("d")]
    assert turns(bodies, 0, 1) == ["d"]


def test_the_status_has_the_image_of_the_last_complete_pods() -> None:
    cluster = serving(replicas=2)
    assert cluster.plan.status.triton_image == OLD
    cluster.defaults = replace(gen.DEFAULTS, triton_image=NEW)
    cluster.reconcile()
    cluster.reconcile()
    assert cluster.plan.status.triton_image == OLD, "the new pods are not there"
    cluster.run()
    assert cluster.plan.status.triton_image == NEW
    for pod in cluster.pods():
        pod["status"]["conditions"] = [c for c in pod["status"]["conditions"] if c["type"] != "Ready"]
    cluster.objects["Deployment"]["helmet-v1"]["status"]["availableReplicas"] = 0
    cluster.reconcile()
    assert cluster.plan.status.triton_image == NEW, "a pod that is lost later is no update"


def test_a_template_that_was_given_up_tells_its_image() -> None:
    cluster = serving(replicas=2, rollout={"gpu": "InPlace"})
    cluster.edit(triton={"image": NEW})
    cluster.reconcile()
    template = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]
    crashed = gen.container_status("triton", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(1, "no driver"), restartCount=3)
    labels = template["metadata"]["labels"] | {names.POD_TEMPLATE_HASH: names.digest(template, 10)}
    cluster.objects["Pod"]["new"] = gen.pod("new", labels=labels, created=cluster.now, containers=[crashed])
    cluster.reconcile()
    found = cluster.plan.status.versions[0].rolled_back
    assert found is not None
    assert (found.reason, found.image) == ("TritonCrashed", NEW)


def test_a_resource_that_waits_keeps_its_pods_is_ready_and_says_so() -> None:
    cluster = serving()
    before = cluster.objects["Deployment"]["helmet-v1"]["spec"]
    cluster.defaults = replace(gen.DEFAULTS, next_triton_image=NEW)
    cluster.run()
    assert cluster.objects["Deployment"]["helmet-v1"]["spec"] == before
    assert cluster.condition("Ready") == ("True", "Serving")
    assert f"waits for its turn to change to Triton image {NEW}: at most 3 YoloDeployments" in cluster.message()


def test_a_new_resource_is_complete_with_the_image_it_begins_with() -> None:
    cluster = Simulation()
    cluster.reconcile()
    assert cluster.plan.status.triton_image == ""
    cluster.build_succeeds()
    cluster.reconcile()
    cluster.reconcile()
    assert cluster.plan.status.triton_image == OLD
