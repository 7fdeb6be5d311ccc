"""One pass over a YoloServer: what is written, what is not, and what is said where its spec is wrong."""

import asyncio
from collections.abc import Mapping
from typing import Any

import gen
from simulation import FakeKube, Simulation, copied
from yolo_operator.controller import events, kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.reconciler import Reconciler
from yolo_operator.core import api, names
from yolo_operator.core.context import PodChange
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.served_models import WANTED, WantedModels

Manifest = dict[str, Any]
SERVER, HELMET = Key.of_server("factory", "line-3"), Key("factory", "helmet")
MEMBER = "serves.yolo-operator.io/helmet"
URI = "s3://models/yolo/factory/helmet/0123456789"


def server(**spec: Any) -> Manifest:
    base = {"replicas": 1, "storage": gen.STORAGE, "gpu": {"count": 0}}
    metadata = {"name": "line-3", "namespace": "factory", "uid": gen.UID, "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": api.API_VERSION, "kind": api.SERVER_KIND, "metadata": metadata, "spec": base | spec, "status": {}}


class Servers(FakeKube):
    """The writer's interface, for a YoloServer."""

    async def set_finalizer(self, resource: Mapping[str, Any], *, present: bool) -> Manifest:
        found = await super().set_finalizer(resource, present=present)
        found["metadata"]["finalizers"] = self.cluster.body["metadata"]["finalizers"] = [names.SERVER_FINALIZER] if present else []
        return found

    async def change_pod(self, change: PodChange) -> Manifest:
        self.writes.append(("pod", change.pod["metadata"]["name"]))
        metadata = self.cluster.objects["Pod"][change.pod["metadata"]["name"]]["metadata"]
        for field, values in (("labels", change.labels), ("annotations", change.annotations)):
            metadata[field] = gen.merged(metadata.get(field, {}), values)
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        return copied(self.cluster.objects["Pod"][change.pod["metadata"]["name"]])


class Stage:
    """A reconciler that sees a server and a model of it."""

    def __init__(self, body: Manifest, *models: Manifest) -> None:
        self.cluster = Simulation()
        self.cluster.body = body
        self.models = list(models)
        self.kube, self.cache = Servers(self.cluster), Cache()
        self.reconciler = Reconciler(
            kube=self.kube,  # type: ignore[arg-type]
            cache=self.cache,
            queue=Queue(),
            defaults=gen.DEFAULTS,
            now=lambda: self.cluster.now,
        )

    def passes(self, count: int = 1) -> list[tuple[str, str]]:
        self.kube.writes.clear()

        async def main() -> None:
            for _ in range(count):
                for name, store in self.cluster.objects.items():
                    for live in store.values():
                        self.cache.drop(kinds.BY_NAME[name], live)
                        self.cache.put(kinds.BY_NAME[name], live)
                for kind, body in ((kinds.SERVER, self.cluster.body), *((kinds.YOLO, model) for model in self.models)):
                    self.cache.drop(kind, body)
                    self.cache.put(kind, body)
                self.went_well = await self.reconciler.reconcile(SERVER)

        asyncio.run(main())
        return list(self.kube.writes)

    def ready(self) -> tuple[str, str]:
        (found,) = [each for each in self.cluster.body["status"]["conditions"] if each["type"] == "Ready"]
        return found["status"], found["reason"]

    def pod(self, *, member: bool = False) -> Manifest:
        """A pod of the server, that answers."""
        labels = {names.OWNER: None, names.SERVER_OWNER: "line-3", names.COMPONENT: names.TRITON, **({MEMBER: "true"} if member else {})}
        made = gen.pod("line-3-abc", conditions={"ContainersReady": "True"})
        made["metadata"]["labels"] = gen.merged(made["metadata"]["labels"], labels)
        self.cluster.objects["Pod"]["line-3-abc"] = made
        return made


def helmet(**status: Any) -> Manifest:
    shared = {"server": "line-3", "serving": URI, "wanted": [{"name": "helmet", "uri": URI}]}
    return gen.body(serverRef={"name": "line-3"}, storage=None, metadata={"uid": "helmet"}, status={"shared": shared} | status)


def test_the_first_pass_makes_the_pods_and_the_next_ones_write_nothing():
    stage = Stage(server())
    assert stage.passes() == [("finalizer", "line-3"), ("status", "line-3"), ("apply", "line-3"), ("apply", "line-3"), ("status", "line-3")]
    assert stage.ready() == ("False", "Starting")
    made = stage.cluster.objects["Deployment"]["line-3"]
    assert [reference["kind"] for reference in made["metadata"]["ownerReferences"]] == [api.SERVER_KIND]
    stage.passes(2)
    assert stage.passes(2) == []


def test_a_pod_is_told_what_to_have_and_let_in_once_it_has_what_is_served():
    stage = Stage(server(), helmet())
    stage.passes()
    pod = stage.pod()
    assert ("pod", "line-3-abc") in stage.passes(2)
    told = WantedModels.model_validate_json(pod["metadata"]["annotations"][WANTED])
    assert [(each.name, each.uri, each.deployment) for each in told.models] == [("helmet", URI, "helmet")]
    assert ("gate", "line-3-abc") not in stage.passes(2)
    pod["metadata"]["labels"][MEMBER] = "true"
    assert ("gate", "line-3-abc") in stage.passes(2)
    assert stage.passes(2) == []


def test_what_has_gone_is_asked_for_no_more_and_then_let_go():
    stage = Stage(server(), helmet())
    stage.passes()
    pod = stage.pod(member=True)
    stage.passes(3)
    stage.cache.drop(kinds.YOLO, stage.models.pop())
    stage.passes()
    assert MEMBER not in pod["metadata"]["labels"]
    stage.passes(2)
    assert WantedModels.model_validate_json(pod["metadata"]["annotations"][WANTED]).models == []


def test_a_spec_that_cannot_be_planned_is_stalled_and_leaves_all_as_it_is():
    stage = Stage(server())
    stage.passes(2)
    stage.cluster.body["spec"]["triton"] = {"podTemplate": {"spec": {"hostNetwork": True}}}
    assert stage.passes(2) == [("status", "line-3")]
    assert stage.ready() == ("False", "PodTemplateInvalid")


def test_a_write_that_is_refused_is_told_once_and_not_again_in_each_pass():
    stage = Stage(server())
    stage.passes(2)
    stage.cluster.body["spec"]["replicas"] = 2
    stage.kube.faults["apply", "Deployment"] = Unavailable("Forbidden", "a quota")
    stage.passes(2)
    assert stage.ready() == ("False", "Forbidden")
    assert not stage.went_well
    stage.cluster.later(60)
    assert stage.passes() == [("apply", "line-3")], "tried again, and the status is as it was"


def test_it_is_deleted_after_its_models():
    stage = Stage(server(), helmet())
    stage.passes(2)
    stage.cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T03:00:00Z"
    stage.passes(2)
    assert stage.ready() == ("False", "InUse")
    stage.cache.drop(kinds.YOLO, stage.models.pop())
    assert stage.passes() == [("finalizer", "line-3")]
    assert stage.cluster.body["metadata"]["finalizers"] == []


def test_whom_an_object_concerns():
    cache = Cache()
    cache.put(kinds.YOLO, helmet())
    pod = Stage(server()).pod()
    assert set(events.concerned(kinds.YOLO, helmet(), cache)) == {HELMET, SERVER}
    assert set(events.concerned(kinds.SERVER, server(), cache)) == {HELMET, SERVER}
    assert set(events.concerned(kinds.POD, pod, cache)) == {HELMET, SERVER}
    assert set(events.concerned(kinds.POD, gen.pod(), cache)) == {HELMET}


def test_the_cache_knows_a_model_by_its_server_until_it_has_gone():
    cache = Cache()
    cache.put(kinds.YOLO, helmet())
    assert [Key.of(each) for each in cache.models(SERVER)] == [HELMET]
    assert cache.observe(HELMET, "helmet").server is None
    cache.put(kinds.SERVER, server())
    assert cache.observe(HELMET, "helmet").server is not None
    cache.drop(kinds.YOLO, helmet())
    assert cache.models(SERVER) == []


def test_the_list_stays_in_memory_of_a_pod_and_no_other_annotation():
    pod = gen.pod()
    pod["metadata"]["annotations"] = {WANTED: "{}", "other": "thing"}
    assert kinds.trim(kinds.POD, pod)["metadata"]["annotations"] == {WANTED: "{}"}
