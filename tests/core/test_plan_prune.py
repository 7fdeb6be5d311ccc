"""What is removed from the storage, when, and how a resource lets go of it."""

from dataclasses import replace
from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import names
from yolo_operator.core.plan import plan


def rebuilt(cluster: Simulation, *rebuilds: str) -> list[str]:
    """Run a Simulation through some revisions; the revisions in the order they were wanted."""
    wanted = []
    for rebuild in rebuilds:
        cluster.edit(versions=[gen.version(rebuild=rebuild)])
        cluster.run()
        wanted.append(cluster.plan.status.versions[0].revision)
    return wanted


def removed(job: dict[str, Any]) -> list[str]:
    """What a prune Job is told to remove."""
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return ["--all"] if "--all" in arguments else arguments[arguments.index("--remove") + 1 :]


def at_surplus(limit: int = 1) -> tuple[Simulation, list[str]]:
    """A Simulation that serves, with one revision too many in the storage."""
    cluster = Simulation(revisionHistoryLimit=2)
    revisions = rebuilt(cluster, "a", "b", "c")
    for name in cluster.jobs():  # their time to live is over
        cluster.delete(cluster.objects["Job"][name])
    cluster.edit(revisionHistoryLimit=limit)
    return cluster, revisions


# The retention.


def test_within_the_retention_nothing_is_removed():
    cluster = Simulation(revisionHistoryLimit=2)
    revisions = rebuilt(cluster, "a", "b", "c")
    assert cluster.plan.status.published == revisions
    assert cluster.jobs("prune") == []


def test_beyond_the_retention_exactly_the_surplus_is_named_oldest_first():
    cluster, revisions = at_surplus(limit=1)
    cluster.reconcile()
    assert removed(cluster.only_job("prune")) == revisions[:1]
    cluster.end_one(cluster.jobs("prune")[0], gen.outcome(result={"removed": 1}))
    cluster.reconcile()
    assert cluster.plan.status.published == revisions[1:]


def test_a_retention_of_none_keeps_what_is_in_use():
    cluster, revisions = at_surplus(limit=0)
    cluster.reconcile()
    assert removed(cluster.only_job("prune")) == revisions[:2]


def test_a_revision_that_comes_back_is_the_youngest_again():
    cluster = Simulation(revisionHistoryLimit=2)
    revisions = rebuilt(cluster, "a", "b", "a")
    assert cluster.plan.status.published == [revisions[1], revisions[0]]


def test_a_revision_a_pod_still_serves_is_not_removed():
    cluster, revisions = at_surplus(limit=0)
    old = gen.merged(cluster.pods()[0], {"metadata": {"name": "straggler", "labels": {names.REVISION: revisions[0]}}})
    cluster.objects["Pod"]["straggler"] = old
    cluster.reconcile()
    assert removed(cluster.only_job("prune")) == revisions[1:2]


def test_before_everything_declared_serves_nothing_is_removed():
    cluster, _ = at_surplus(limit=0)
    cluster.objects["Deployment"]["helmet-v1"]["status"]["availableReplicas"] = 0
    cluster.reconcile()
    assert cluster.jobs("prune") == []


def test_no_build_starts_while_something_is_being_removed():
    cluster, _ = at_surplus(limit=0)
    cluster.reconcile()
    (prune,) = cluster.jobs("prune")
    built = cluster.jobs("build")
    cluster.edit(versions=[gen.version(rebuild="d")])
    cluster.reconcile()
    assert cluster.jobs("build") == built
    assert cluster.condition("Reconciling") == ("True", "WaitingForPrune")
    assert prune not in cluster.jobs(), "and it is told to end, as nobody waits for it any more"
    cluster.reconcile()
    assert len(cluster.jobs("build")) == len(built) + 1


def test_a_removal_that_fails_is_tried_again_and_harms_nothing():
    cluster, revisions = at_surplus(limit=1)
    cluster.reconcile()
    cluster.end_job("prune", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    cluster.reconcile()
    assert cluster.condition("Ready") == ("True", "Serving")
    assert cluster.plan.status.prune_failure.reason == "StorageUnreachable"
    assert cluster.plan.status.published == revisions
    cluster.later(60)
    cluster.reconcile()
    cluster.reconcile()
    assert len(cluster.jobs("prune")) == 1


def test_a_revision_that_was_removed_and_comes_back_is_built_again_though_its_old_job_is_still_there():
    cluster = Simulation(revisionHistoryLimit=0)
    rebuilt(cluster, "a", "b")
    assert cluster.plan.status.published == [cluster.plan.status.versions[0].revision]
    cluster.edit(versions=[gen.version(rebuild="a")])
    cluster.reconcile()
    cluster.reconcile()
    assert cluster.plan.status.versions[0].phase == "Building", "what the old Job said is not true any more"
    assert any(not cluster.objects["Job"][name].get("status") for name in cluster.jobs("build"))
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")


def test_the_same_revision_is_removed_a_second_time_though_the_first_job_is_still_there():
    cluster = Simulation(revisionHistoryLimit=0)
    first, _, _ = rebuilt(cluster, "a", "b", "a")
    cluster.edit(versions=[gen.version(rebuild="b")])
    asked = []
    for _ in range(12):
        cluster.reconcile()
        asked += [removed(made) for made in cluster.plan.create if names.label(made, names.COMPONENT) == "prune"]
        for name in cluster.jobs("build"):
            if not cluster.objects["Job"][name].get("status"):
                cluster.build_succeeds()
        for name in cluster.jobs("verify"):
            if not cluster.objects["Job"][name].get("status"):
                cluster.end_one(name, gen.outcome(result=gen.verification()))
        cluster.start_pods()
    assert asked == [[first]]


def test_a_job_whose_end_is_recorded_goes_though_the_operator_died_before_it_removed_it():
    cluster, revisions = at_surplus(limit=1)
    cluster.reconcile()
    cluster.end_job("prune", gen.outcome(result={"removed": 1}))
    recorded = cluster.decide().status
    cluster.body["status"] = recorded.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert len(recorded.published) < len(revisions)
    cluster.reconcile()
    assert cluster.jobs("prune") == []


# Deletion.


def deleting(policy: str = "Delete", **spec: Any) -> Simulation:
    """A Simulation at rest whose resource is being deleted."""
    cluster = Simulation(deletionPolicy=policy, **spec)
    cluster.run()
    cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    return cluster


def test_the_finalizer_is_held_for_deletion_policy_delete_only():
    assert Simulation(deletionPolicy="Delete").reconcile().finalizer is True
    assert Simulation(deletionPolicy="Retain").reconcile().finalizer is False


def test_with_retain_the_resource_goes_and_nothing_is_removed():
    cluster = deleting("Retain")
    decided = cluster.reconcile()
    assert (decided.finalizer, decided.create, decided.delete, decided.apply) == (False, [], [], [])


def test_a_change_to_retain_lets_go_even_while_it_is_being_deleted():
    cluster = deleting("Delete")
    cluster.edit(deletionPolicy="Retain")
    assert cluster.reconcile().finalizer is False


def test_with_delete_pods_end_first_then_all_is_removed_then_the_resource_goes():
    cluster = deleting()
    cluster.reconcile()
    assert cluster.replicas() == {}
    assert cluster.jobs("prune") == []
    assert cluster.condition("Ready") == ("False", "Draining")
    cluster.reconcile()
    assert removed(cluster.only_job("prune")) == ["--all"]
    assert cluster.condition("Ready") == ("False", "Pruning")
    assert cluster.reconcile().finalizer is True
    cluster.end_job("prune", gen.outcome(result={"removed": 3}))
    assert cluster.reconcile().finalizer is False


def test_pods_that_are_still_there_are_waited_for():
    cluster = deleting()
    survivor = cluster.pods()[0]
    cluster.reconcile()
    cluster.objects["Pod"]["survivor"] = survivor
    cluster.reconcile()
    assert cluster.jobs("prune") == []
    survivor["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:01Z"
    cluster.reconcile()
    assert len(cluster.jobs("prune")) == 1


def test_a_build_on_a_node_that_does_not_answer_is_waited_for_and_then_given_up():
    cluster = deleting()
    cluster.reconcile()
    build = gen.moved(gen.pod("late", labels={names.COMPONENT: names.BUILD}), at=cluster.now)
    cluster.objects["Pod"]["late"] = build
    cluster.later(59)
    decided = cluster.reconcile()
    assert (decided.lost, cluster.jobs("prune")) == ([], [])
    assert decided.requeue_at is not None, "nobody else says when it is time"
    cluster.later(1)
    assert [pod["metadata"]["name"] for pod in cluster.reconcile().lost] == ["late"]
    decided = cluster.reconcile()
    assert (decided.lost, len(cluster.jobs("prune"))) == ([], 1)


def test_a_running_build_ends_before_anything_is_removed():
    cluster = deleting()
    cluster.create(gen.merged(cluster.only_job("build"), {"metadata": {"name": "late"}}))["status"] = {}
    cluster.reconcile()
    assert "late" not in cluster.jobs()
    assert cluster.jobs("prune") == []


@pytest.mark.parametrize("ended", [False, True], ids=["under way", "done"])
def test_a_removal_is_done_again_after_a_build_that_is_seen_only_then(ended):
    cluster = deleting()
    build = gen.merged(cluster.only_job("build"), {"metadata": {"name": "late"}})
    cluster.reconcile()
    cluster.reconcile()
    if ended:
        cluster.end_job("prune", gen.outcome(result={"removed": 3}))
    cluster.create(build)["status"] = {}
    assert cluster.reconcile().finalizer is True
    assert cluster.jobs("prune") == []
    assert "late" not in cluster.jobs()
    cluster.reconcile()
    assert removed(cluster.only_job("prune")) == ["--all"]
    cluster.end_job("prune", gen.outcome(result={"removed": 1}))
    assert cluster.reconcile().finalizer is False


@pytest.mark.parametrize(("code", "again"), [pytest.param(1, True, id="transient"), pytest.param(42, False, id="permanent")])
def test_a_removal_that_fails_keeps_the_resource_and_names_the_way_out(code, again):
    cluster = deleting()
    cluster.reconcile()
    cluster.reconcile()
    cluster.end_job("prune", gen.outcome(reason="AccessDenied", message="the keys may not delete"), code=code)
    cluster.reconcile()
    assert cluster.plan.finalizer is True
    assert cluster.condition("Ready") == ("False", "AccessDenied")
    assert "the keys may not delete" in cluster.message()
    assert "spec.deletionPolicy to Retain" in cluster.message()
    cluster.later(60)
    cluster.reconcile()
    cluster.reconcile()
    assert any(not cluster.objects["Job"][name].get("status") for name in cluster.jobs("prune")) is again
    assert "the keys may not delete" in cluster.message(), "until the next attempt has ended"


def test_in_a_namespace_that_is_being_deleted_the_resource_goes_with_a_word_about_what_stays():
    cluster = deleting()
    decided = plan(cluster.yolo, replace(cluster.observed(), namespace_terminating=True), cluster.defaults, cluster.now)
    assert decided.finalizer is False
    assert decided.create == []
    assert decided.notice[0] == "RetainedInStorage"
    assert "s3://models/yolo/factory/helmet" in decided.notice[1]
