"""What was published is known with its whole address, whatever spec.storage says now: nothing is forgotten, and nothing in use is removed."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gen
from simulation import Simulation, serving
from yolo_operator.core import api, names, published
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.plan import plan

OLD = {
    "uri": "s3://old/yolo",
    "endpoint": "http://old.storage.svc:8333",
    "secretRef": {"name": "old-keys"},
    "caBundleRef": {"name": "old-ca"},
    "region": "eu-1",
}
NEW = {"uri": "s3://models/yolo", "endpoint": "http://s3.storage.svc:8333", "secretRef": {"name": "s3-credentials"}, "caBundleRef": None, "region": None}


def told(job: gen.Manifest) -> tuple[str, str, str, list[str]]:
    """Root, endpoint, Secret and what is to be removed of a prune Job."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    flags = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    what = ["--all"] if "--all" in arguments else arguments[arguments.index("--remove") + 1 :]
    (secret,) = {each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"]} or {""}
    return flags["--root"], flags.get("--endpoint", ""), secret, what


def moved(limit: int = 0, **spec: Any) -> tuple[Simulation, str]:
    """A Simulation that serves from NEW and has published one revision to OLD before, whose name is given too."""
    cluster = serving(storage=OLD, revisionHistoryLimit=2, **spec)
    (old,) = cluster.plan.status.published
    cluster.edit(storage=NEW, revisionHistoryLimit=2)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    let_jobs_go(cluster)
    cluster.edit(revisionHistoryLimit=limit)
    return cluster, old


def let_jobs_go(cluster: Simulation) -> None:
    """The time to live of all Jobs is over."""
    for name in cluster.jobs():
        cluster.delete(cluster.objects["Job"][name])


def prunes(cluster: Simulation) -> list[tuple[str, str, str, list[str]]]:
    return [told(cluster.objects["Job"][name]) for name in cluster.jobs("prune")]


def test_a_storage_that_is_named_no_more_is_remembered_with_what_is_there_and_how_it_was_reached():
    cluster, old = moved(limit=2)
    status = cluster.plan.status
    assert len(status.published) == 1
    assert old not in status.published
    (before,) = status.previous_storages
    assert before.revisions == [old]
    assert (before.uri, before.endpoint, before.region) == ("s3://old/yolo", "http://old.storage.svc:8333", "eu-1")
    assert (before.secret_ref.name, before.ca_bundle_ref.name) == ("old-keys", "old-ca")
    assert status.storage.uri == "s3://models/yolo"


def test_what_is_in_flight_to_the_old_storage_when_it_changes_is_remembered():
    cluster = Simulation(storage=OLD)
    cluster.reconcile()
    (first,) = cluster.plan.status.published
    cluster.edit(storage=NEW)
    cluster.reconcile()
    assert [each.revisions for each in cluster.plan.status.previous_storages] == [[first]]


def test_the_retention_counts_over_all_storages_and_removes_where_the_oldest_is():
    cluster, old = moved(limit=1)
    cluster.reconcile()
    assert cluster.jobs("prune") == []
    cluster.edit(revisionHistoryLimit=0)
    cluster.reconcile()
    assert prunes(cluster) == [("s3://old/yolo/factory/helmet", "http://old.storage.svc:8333", "old-keys", [old])]
    cluster.end_job("prune", gen.outcome(result={"removed": 1}))
    cluster.reconcile()
    assert cluster.plan.status.previous_storages == []
    assert len(cluster.plan.status.published) == 1


def test_each_storage_has_a_job_of_its_own():
    cluster = serving(storage=OLD, revisionHistoryLimit=4)
    cluster.edit(storage=NEW)
    cluster.run()
    cluster.edit(versions=[gen.version(rebuild="b")])
    cluster.run()
    let_jobs_go(cluster)
    cluster.edit(revisionHistoryLimit=0)
    cluster.reconcile()
    assert sorted(root for root, *_ in prunes(cluster)) == ["s3://models/yolo/factory/helmet", "s3://old/yolo/factory/helmet"]


def test_back_in_the_old_storage_what_is_there_is_taken_up_again():
    cluster, old = moved(limit=2)
    new = cluster.plan.status.published
    cluster.edit(storage=OLD)
    cluster.run()
    assert cluster.plan.status.published == [old]
    assert [each.revisions for each in cluster.plan.status.previous_storages] == [new]


@pytest.mark.parametrize(
    "change", [{"secretRef": {"name": "other"}}, {"region": "eu-2"}, {"uri": "s3://old/yolo/"}, {"endpoint": "http://old.storage.svc:8333/"}]
)
def test_another_way_to_the_same_storage_is_no_other_storage(change):
    cluster = serving(storage=OLD)
    cluster.edit(storage=change)
    cluster.run()
    assert cluster.plan.status.previous_storages == []
    assert cluster.plan.status.storage.secret_ref.name == change.get("secretRef", OLD["secretRef"])["name"]


def test_the_administrators_storage_is_remembered_too():
    cluster = Simulation(storage=None, revisionHistoryLimit=0)
    cluster.defaults = replace(gen.DEFAULTS, storage=api.Storage(uri="s3://first"))
    cluster.run()
    (old,) = cluster.plan.status.published
    cluster.defaults = replace(gen.DEFAULTS, storage=api.Storage(uri="s3://second"))
    for _ in range(2):
        cluster.reconcile()
    assert [(each.uri, each.revisions) for each in cluster.plan.status.previous_storages] == [("s3://first", [old])]


def test_a_status_of_a_release_that_did_not_record_the_storage_is_read_by_the_artifacts_address():
    cluster = serving(storage=OLD)
    (old,) = cluster.plan.status.published
    del cluster.body["status"]["storage"]
    cluster.reconcile()
    assert cluster.plan.status.previous_storages == []
    del cluster.body["status"]["storage"]
    cluster.edit(storage={"uri": "s3://new/yolo"})
    cluster.reconcile()
    assert [(each.uri, each.revisions) for each in cluster.plan.status.previous_storages] == [("s3://old/yolo", [old])]


def test_what_cannot_be_removed_from_an_earlier_storage_says_why_and_the_remedy_and_harms_nothing():
    cluster, old = moved()
    cluster.reconcile()
    live = cluster.only_job("prune")
    lacking = gen.container_status("prune", state=gen.waiting("CreateContainerConfigError", 'secret "old-keys" not found'))
    labels = {names.JOB_NAME: live["metadata"]["name"]}
    cluster.objects["Pod"]["prunes"] = gen.pod("prunes", labels=labels, owner=live["metadata"]["uid"], phase="Pending", containers=[lacking])
    cluster.reconcile()
    (before,) = cluster.plan.status.previous_storages
    assert "SecretNotFound" in before.message
    assert "'old-keys' with the keys of that storage" in before.message
    assert cluster.condition("Ready") == ("True", "Serving")
    cluster.edit(versions=[gen.version(rebuild="b")])
    for _ in range(2):
        cluster.reconcile()
    running = [names.label(cluster.objects["Job"][name], names.COMPONENT) for name in cluster.jobs() if not cluster.objects["Job"][name].get("status")]
    assert running == ["build"], "it does not hold up a build either"
    assert cluster.plan.status.previous_storages[0].revisions == [old]


def test_a_failed_removal_is_recorded_for_its_storage():
    cluster, _ = moved()
    cluster.reconcile()
    cluster.end_job("prune", gen.outcome(reason="StorageUnreachable", message="no connection"), code=1)
    cluster.reconcile()
    (before,) = cluster.plan.status.previous_storages
    assert (before.prune_failure.reason, cluster.plan.status.prune_failure) == ("StorageUnreachable", None)


def test_what_a_build_that_is_ending_may_still_publish_is_not_removed_before_it_has_ended():
    cluster = serving(revisionHistoryLimit=0)
    cluster.edit(versions=[gen.version(rebuild="b")])
    cluster.reconcile()
    (build,) = (cluster.objects["Job"][name] for name in cluster.jobs("build") if not cluster.objects["Job"][name].get("status"))
    labels = build["spec"]["template"]["metadata"]["labels"] | {names.JOB_NAME: build["metadata"]["name"]}
    ending = gen.pod("ending", labels=labels, owner=build["metadata"]["uid"])
    cluster.edit(versions=[gen.version(rebuild=None)])
    cluster.reconcile()
    assert build["metadata"]["name"] not in cluster.jobs()
    cluster.objects["Pod"]["ending"] = ending
    cluster.reconcile()
    assert cluster.jobs("prune") == []
    ending["status"]["phase"] = "Failed"
    cluster.reconcile()
    assert [what for *_, what in prunes(cluster)] == [[names.label(build, names.REVISION)]]


def test_more_storages_than_can_be_remembered_are_named_as_they_are_forgotten():
    cluster = Simulation()
    for number in range(published.STORAGES_KEPT + 2):
        cluster.edit(storage={"uri": f"s3://bucket-{number}"})
        cluster.reconcile()
    assert len(cluster.plan.status.previous_storages) == published.STORAGES_KEPT
    assert "s3://bucket-0/factory/helmet" in cluster.plan.notice[1]
    cluster.reconcile()
    assert cluster.plan.notice is None


# Deletion.


def deleted(cluster: Simulation) -> Simulation:
    cluster.edit(deletionPolicy="Delete")
    cluster.run()
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    for _ in range(3):
        cluster.reconcile()
    return cluster


def test_deletion_removes_from_every_storage_and_waits_for_all():
    cluster = deleted(moved(limit=2)[0])
    assert sorted((root, secret, what) for root, _, secret, what in prunes(cluster)) == [
        ("s3://models/yolo/factory/helmet", "s3-credentials", ["--all"]),
        ("s3://old/yolo/factory/helmet", "old-keys", ["--all"]),
    ]
    first, second = cluster.jobs("prune")
    cluster.end_one(first, gen.outcome(result={"removed": 1}))
    assert cluster.reconcile().finalizer is True
    cluster.end_one(second, gen.outcome(result={"removed": 1}))
    assert cluster.reconcile().finalizer is False


def test_a_storage_that_is_gone_holds_the_resource_and_is_named_and_the_others_are_emptied():
    cluster = deleted(moved(limit=2)[0])
    (old,) = (name for name in cluster.jobs("prune") if told(cluster.objects["Job"][name])[0].startswith("s3://old"))
    (new,) = set(cluster.jobs("prune")) - {old}
    cluster.end_one(new, gen.outcome(result={"removed": 1}))
    others = cluster.objects["Job"].pop(new)
    cluster.end_job("prune", gen.outcome(reason="StorageUnreachable", message="no connection"), code=1)
    cluster.objects["Job"][new] = others
    cluster.reconcile()
    assert cluster.condition("Ready") == ("False", "StorageUnreachable")
    assert "s3://old/yolo" in cluster.message()
    assert "spec.deletionPolicy to Retain" in cluster.message()
    cluster.edit(deletionPolicy="Retain")
    assert cluster.reconcile().finalizer is False


def test_without_any_storage_named_any_more_what_is_recorded_is_removed():
    cluster = moved(limit=2)[0]
    cluster.edit(deletionPolicy="Delete")
    cluster.run()
    cluster.edit(storage=None)
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    for _ in range(3):
        cluster.reconcile()
    assert len(prunes(cluster)) == 2


def test_a_secret_that_was_renamed_is_corrected_in_the_spec_while_it_is_being_deleted():
    cluster = deleted(serving())
    cluster.delete(cluster.only_job("prune"))
    cluster.edit(storage={"secretRef": {"name": "renamed"}})
    cluster.reconcile()
    assert [secret for _, _, secret, _ in prunes(cluster)] == ["renamed"]


def test_a_storage_that_is_named_only_at_the_end_is_not_asked():
    cluster = serving(deletionPolicy="Delete")
    cluster.edit(storage={"uri": "s3://mistake"})
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    for _ in range(3):
        cluster.reconcile()
    assert [root for root, *_ in prunes(cluster)] == ["s3://models/yolo/factory/helmet"]


def test_what_never_had_a_storage_goes_at_once():
    cluster = Simulation(deletionPolicy="Delete", storage=None)
    with pytest.raises(InvalidSpec):
        cluster.reconcile()
    cluster.body["metadata"] |= {"deletionTimestamp": "2026-11-22T04:00:00Z", "finalizers": [names.FINALIZER]}
    assert cluster.reconcile().finalizer is False


def test_in_a_namespace_that_ends_every_storage_is_named():
    cluster = moved(limit=2)[0]
    cluster.edit(deletionPolicy="Delete")
    cluster.run()
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    decided = plan(cluster.yolo, replace(cluster.observed(), namespace_terminating=True), cluster.defaults, cluster.now)
    assert (decided.finalizer, decided.create) == (False, [])
    assert "s3://old/yolo/factory/helmet, s3://models/yolo/factory/helmet" in decided.notice[1]


# Searched by machine.


class Published:
    """A Simulation beside the S3 servers that its Jobs write to and remove from; a build that is told to end may publish before it has."""

    def __init__(self) -> None:
        self.cluster = Simulation(deletionPolicy="Delete", revisionHistoryLimit=1)
        self.servers: dict[str, set[str]] = defaultdict(set)
        self.ending: dict[str, tuple[str, str]] = {}
        """Pods of builds that nobody waits for: root and revision."""

    def wanted(self) -> set[str]:
        return {version.revision for version in self.cluster.plan.status.versions}

    def running(self, component: str) -> list[gen.Manifest]:
        return [live for name in self.cluster.jobs(component) if not (live := self.cluster.objects["Job"][name]).get("status")]

    def target(self, build: gen.Manifest) -> tuple[str, str]:
        arguments = build["spec"]["template"]["spec"]["initContainers"][0]["args"]
        flags = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
        return flags["--root"], flags["--revision"]

    def reconcile(self) -> None:
        builds = {live["metadata"]["name"]: live for live in self.running("build")}
        self.cluster.reconcile()
        for name, live in builds.items():
            if name not in self.cluster.objects["Job"]:
                labels = live["spec"]["template"]["metadata"]["labels"] | {names.JOB_NAME: name}
                self.cluster.objects["Pod"][f"{name}-ending"] = gen.pod(f"{name}-ending", labels=labels, owner=live["metadata"]["uid"])
                self.ending[f"{name}-ending"] = self.target(live)
        self.check()

    def check(self) -> None:
        status = api.parse_status(self.cluster.body["status"])
        places = [*status.previous_storages, *([status.storage] if status.storage else [])]
        known = {(f"{each.uri}/factory/helmet", entry) for each in places for entry in getattr(each, "revisions", status.published)}
        there = {(root, entry) for root, entries in self.servers.items() for entry in entries}
        assert there <= known, "something is forgotten"

    def end_build(self, *, well: bool) -> None:
        for live in self.running("build")[:1]:
            root, entry = self.target(live)
            self.servers[root].add(entry)
            if well:
                self.cluster.end_one(live["metadata"]["name"], gen.outcome(result=gen.artifact(f"{root}/{entry}")))

    def end_ending(self, *, publishes: bool) -> None:
        for name, (root, entry) in list(self.ending.items())[:1]:
            if publishes:
                self.servers[root].add(entry)
            self.cluster.objects["Pod"].pop(name, None)
            del self.ending[name]

    def end_prune(self, *, well: bool) -> None:
        for live in self.running("prune")[:1]:
            root, _, _, what = told(live)
            gone = set(self.servers[root]) if what == ["--all"] else set(what)
            served = {names.label(pod, names.REVISION) for pod in self.cluster.pods()}
            assert not gone & served, "what pods serve is removed"
            self.servers[root] -= gone if well else set()
            others = {name: self.cluster.objects["Job"].pop(name) for name in self.cluster.jobs() if name != live["metadata"]["name"]}
            self.cluster.end_job("prune", gen.outcome(result={"removed": 1}) if well else gen.outcome(reason="StorageUnreachable"), code=0 if well else 1)
            self.cluster.objects["Job"] |= others

    def serve(self) -> None:
        for live in self.running("verify"):
            self.cluster.end_one(live["metadata"]["name"], gen.outcome(result=gen.verification()))
        self.cluster.start_pods()

    def settle(self) -> None:
        """Everything goes well until nothing is left to do."""
        for _ in range(25):
            self.cluster.later(600)
            self.reconcile()
            self.end_build(well=True)
            self.end_prune(well=True)
            self.serve()
            self.end_ending(publishes=True)


EVENTS = st.one_of(
    st.builds(lambda uri: ("storage", uri), st.sampled_from(["s3://models/yolo", "s3://two"])),
    st.builds(lambda value: ("rebuild", value), st.sampled_from(["a", "b", "c"])),
    st.builds(lambda value: ("limit", value), st.integers(0, 2)),
    st.sampled_from([("served", None)] * 3 + [("reconcile", None), ("serve", None), ("later", None), ("number", 1), ("number", 2)]),
    st.builds(lambda kind, well: (kind, well), st.sampled_from(["build", "ending", "prune"]), st.booleans()),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, max_size=30), st.booleans())
def test_nothing_that_was_published_is_forgotten_and_at_the_end_nothing_is_left(events, at_rest):
    place = Published()
    cluster = place.cluster
    rebuild, number = None, 1
    for kind, value in events:
        match kind:
            case "storage":
                cluster.edit(storage={"uri": value})
            case "rebuild" | "number":
                rebuild, number = (value, number) if kind == "rebuild" else (rebuild, value)
                cluster.edit(versions=[gen.version(number, rebuild=rebuild)])
            case "limit":
                cluster.edit(revisionHistoryLimit=value)
            case "later":
                cluster.later(120)
            case "build":
                place.end_build(well=value)
            case "ending":
                place.end_ending(publishes=value)
            case "prune":
                place.end_prune(well=value)
            case "serve":
                place.serve()
            case "served":
                for _ in range(4):
                    place.reconcile()
                    place.end_build(well=True)
                    place.serve()
        place.reconcile()
    if at_rest:
        cluster.edit(revisionHistoryLimit=0)
        place.settle()
        assert cluster.condition("Ready") == ("True", "Serving"), cluster.message()
        assert {entry for entries in place.servers.values() for entry in entries} == place.wanted()
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    place.settle()
    assert cluster.plan.finalizer is False
    assert {root: entries for root, entries in place.servers.items() if entries} == {}
