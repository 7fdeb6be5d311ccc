"""What is removed from the storage, when, and how a resource lets go of it."""

from dataclasses import replace
from typing import Any

import pytest

import gen
from world import World
from yolo_operator.core import names
from yolo_operator.core.plan import plan


def rebuilt(world: World, *rebuilds: str) -> list[str]:
    """Run a World through some revisions; the revisions in the order they were wanted."""
    wanted = []
    for rebuild in rebuilds:
        world.edit(versions=[gen.version(rebuild=rebuild)])
        world.run()
        wanted.append(world.plan.status.versions[0].revision)
    return wanted


def removed(job: dict[str, Any]) -> list[str]:
    """What a prune Job is told to remove."""
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return ["--all"] if "--all" in arguments else arguments[arguments.index("--remove") + 1 :]


def at_surplus(limit: int = 1) -> tuple[World, list[str]]:
    """A World that serves, with one revision too many in the storage."""
    world = World(revisionHistoryLimit=2)
    revisions = rebuilt(world, "a", "b", "c")
    for name in world.jobs():  # their time to live is over
        world.delete(world.objects["Job"][name])
    world.edit(revisionHistoryLimit=limit)
    return world, revisions


# The retention.


def test_within_the_retention_nothing_is_removed():
    world = World(revisionHistoryLimit=2)
    revisions = rebuilt(world, "a", "b", "c")
    assert world.plan.status.published == revisions
    assert world.jobs("prune") == []


def test_beyond_the_retention_exactly_the_surplus_is_named_oldest_first():
    world, revisions = at_surplus(limit=1)
    world.turn()
    assert removed(world.only_job("prune")) == revisions[:1]
    world.end_one(world.jobs("prune")[0], gen.outcome(result={"removed": 1}))
    world.turn()
    assert world.plan.status.published == revisions[1:]


def test_a_retention_of_none_keeps_what_is_in_use():
    world, revisions = at_surplus(limit=0)
    world.turn()
    assert removed(world.only_job("prune")) == revisions[:2]


def test_a_revision_that_comes_back_is_the_youngest_again():
    world = World(revisionHistoryLimit=2)
    revisions = rebuilt(world, "a", "b", "a")
    assert world.plan.status.published == [revisions[1], revisions[0]]


def test_a_revision_a_pod_still_serves_is_not_removed():
    world, revisions = at_surplus(limit=0)
    old = gen.merged(world.pods()[0], {"metadata": {"name": "straggler", "labels": {names.REVISION: revisions[0]}}})
    world.objects["Pod"]["straggler"] = old
    world.turn()
    assert removed(world.only_job("prune")) == revisions[1:2]


def test_before_everything_declared_serves_nothing_is_removed():
    world, _ = at_surplus(limit=0)
    world.objects["Deployment"]["helmet-v1"]["status"]["availableReplicas"] = 0
    world.turn()
    assert world.jobs("prune") == []


def test_no_build_starts_while_something_is_being_removed():
    world, _ = at_surplus(limit=0)
    world.turn()
    (prune,) = world.jobs("prune")
    built = world.jobs("build")
    world.edit(versions=[gen.version(rebuild="d")])
    world.turn()
    assert world.jobs("build") == built
    assert world.condition("Reconciling") == ("True", "WaitingForPrune")
    assert prune not in world.jobs(), "and it is told to end, as nobody waits for it any more"
    world.turn()
    assert len(world.jobs("build")) == len(built) + 1


def test_a_removal_that_fails_is_tried_again_and_harms_nothing():
    world, revisions = at_surplus(limit=1)
    world.turn()
    world.end_job("prune", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    world.turn()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.plan.status.prune_failure.reason == "StorageUnreachable"
    assert world.plan.status.published == revisions
    world.later(60)
    world.turn()
    world.turn()
    assert len(world.jobs("prune")) == 1


def test_a_revision_that_was_removed_and_comes_back_is_built_again_though_its_old_job_is_still_there():
    world = World(revisionHistoryLimit=0)
    rebuilt(world, "a", "b")
    assert world.plan.status.published == [world.plan.status.versions[0].revision]
    world.edit(versions=[gen.version(rebuild="a")])
    world.turn()
    world.turn()
    assert world.plan.status.versions[0].phase == "Building", "what the old Job said is not true any more"
    assert any(not world.objects["Job"][name].get("status") for name in world.jobs("build"))
    world.run()
    assert world.condition("Ready") == ("True", "Serving")


def test_the_same_revision_is_removed_a_second_time_though_the_first_job_is_still_there():
    world = World(revisionHistoryLimit=0)
    first, _, _ = rebuilt(world, "a", "b", "a")
    world.edit(versions=[gen.version(rebuild="b")])
    asked = []
    for _ in range(12):
        world.turn()
        asked += [removed(made) for made in world.plan.create if names.label(made, names.COMPONENT) == "prune"]
        for name in world.jobs("build"):
            if not world.objects["Job"][name].get("status"):
                world.build_succeeds()
        for name in world.jobs("verify"):
            if not world.objects["Job"][name].get("status"):
                world.end_one(name, gen.outcome(result=gen.verification()))
        world.start_pods()
    assert asked == [[first]]


def test_a_job_whose_end_is_recorded_goes_though_the_operator_died_before_it_removed_it():
    world, revisions = at_surplus(limit=1)
    world.turn()
    world.end_job("prune", gen.outcome(result={"removed": 1}))
    recorded = world.decide().status
    world.body["status"] = recorded.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert len(recorded.published) < len(revisions)
    world.turn()
    assert world.jobs("prune") == []


# Deletion.


def deleting(policy: str = "Delete", **spec: Any) -> World:
    """A World at rest whose resource is being deleted."""
    world = World(deletionPolicy=policy, **spec)
    world.run()
    world.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    return world


def test_the_finalizer_is_held_for_deletion_policy_delete_only():
    assert World(deletionPolicy="Delete").turn().finalizer is True
    assert World(deletionPolicy="Retain").turn().finalizer is False


def test_with_retain_the_resource_goes_and_nothing_is_removed():
    world = deleting("Retain")
    decided = world.turn()
    assert (decided.finalizer, decided.create, decided.delete, decided.apply) == (False, [], [], [])


def test_a_change_to_retain_lets_go_even_while_it_is_being_deleted():
    world = deleting("Delete")
    world.edit(deletionPolicy="Retain")
    assert world.turn().finalizer is False


def test_with_delete_pods_end_first_then_all_is_removed_then_the_resource_goes():
    world = deleting()
    world.turn()
    assert world.replicas() == {}
    assert world.jobs("prune") == []
    assert world.condition("Ready") == ("False", "Draining")
    world.turn()
    assert removed(world.only_job("prune")) == ["--all"]
    assert world.condition("Ready") == ("False", "Pruning")
    assert world.turn().finalizer is True
    world.end_job("prune", gen.outcome(result={"removed": 3}))
    assert world.turn().finalizer is False


def test_pods_that_are_still_there_are_waited_for():
    world = deleting()
    survivor = world.pods()[0]
    world.turn()
    world.objects["Pod"]["survivor"] = survivor
    world.turn()
    assert world.jobs("prune") == []
    survivor["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:01Z"
    world.turn()
    assert len(world.jobs("prune")) == 1


def test_a_running_build_ends_before_anything_is_removed():
    world = deleting()
    world.create(gen.merged(world.only_job("build"), {"metadata": {"name": "late"}}))["status"] = {}
    world.turn()
    assert "late" not in world.jobs()
    assert world.jobs("prune") == []


@pytest.mark.parametrize(("code", "again"), [pytest.param(1, True, id="transient"), pytest.param(42, False, id="permanent")])
def test_a_removal_that_fails_keeps_the_resource_and_names_the_way_out(code, again):
    world = deleting()
    world.turn()
    world.turn()
    world.end_job("prune", gen.outcome(reason="AccessDenied", message="the keys may not delete"), code=code)
    world.turn()
    assert world.plan.finalizer is True
    assert world.condition("Ready") == ("False", "AccessDenied")
    assert "the keys may not delete" in world.message()
    assert "spec.deletionPolicy to Retain" in world.message()
    world.later(60)
    world.turn()
    world.turn()
    assert any(not world.objects["Job"][name].get("status") for name in world.jobs("prune")) is again
    assert "the keys may not delete" in world.message(), "until the next attempt has ended"


def test_in_a_namespace_that_is_being_deleted_the_resource_goes_with_a_word_about_what_stays():
    world = deleting()
    decided = plan(world.yolo, replace(world.observed(), namespace_terminating=True), world.defaults, world.now)
    assert decided.finalizer is False
    assert decided.create == []
    assert decided.notice[0] == "RetainedInStorage"
    assert "s3://models/yolo/factory/helmet" in decided.notice[1]
