"""Shares among versions: weights, the canary's pods, versions that do not fit together, what a Gateway is told."""

from datetime import timedelta
from typing import Any

import pytest

import gen
from world import World
from yolo_operator.core import names

GATEWAY = {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["helmet.example.com"]}}
MINUTE = 60
ONE = gen.version(1)
TWO = gen.version(2)


def weighted(*weights: int, **spec: Any) -> World:
    """A World at rest with versions 1, 2, … of these weights."""
    world = World(versions=[gen.version(number, weight=weight) for number, weight in enumerate(weights, 1)], **spec)
    world.run()
    return world


def canary(*, replicas: int = 9, weights: tuple[int, ...] = (10, 50), versions: list[dict[str, Any]] | None = None, **rollout: Any) -> World:
    """A World where version 1 serves and version 2 has just been declared."""
    steps = [{"weight": weight, "duration": "2m"} for weight in weights]
    world = World(replicas=replicas, versions=[ONE], rollout={"strategy": "Canary", "steps": steps, "analysis": {"enabled": False}} | rollout)
    world.run()
    assert world.condition("Ready") == ("True", "Serving")
    world.edit(versions=versions or [ONE, TWO])
    world.run()
    return world


def shares(world: World) -> str:
    return world.plan.status.display.versions


def walk(world: World) -> tuple[str, str, int, int]:
    found = world.plan.status.rollout
    assert found is not None
    return found.phase, found.reason, found.step, found.weight


def routed(world: World) -> dict[str, int]:
    """Weights of the default rule of the HTTPRoute."""
    rules = world.objects["HTTPRoute"]["helmet"]["spec"]["rules"]
    (rule,) = [rule for rule in rules if not any("headers" in match for match in rule.get("matches", ()))]
    return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


def waits_at_its_gate(world: World) -> None:
    """Version 2, just declared, is built; its pods answer and are not verified yet."""
    world.turn()
    world.build_succeeds(2)
    world.turn()
    world.start_pods()
    world.turn()


# Weights.


@pytest.mark.parametrize(
    ("weights", "replicas", "pods", "shown"),
    [
        ((90, 10), 10, [9, 1], "1:90 2:10"),
        ((90, 10), 2, [1, 1], "1:50 2:50"),
        ((100, 0), 3, [3, 0], "1:100 2:0"),
        ((1, 1, 1), 3, [1, 1, 1], "1:33 2:33 3:33"),
    ],
)
def test_pods_follow_the_weights_and_the_status_shows_what_the_rounding_gives(weights: tuple[int, ...], replicas: int, pods: list[int], shown: str) -> None:
    world = weighted(*weights, replicas=replicas)
    assert list(world.replicas().values()) == pods
    assert shares(world) == shown
    assert world.condition("Ready") == ("True", "Serving")


def test_a_new_version_has_no_share_before_it_is_verified_and_the_old_one_keeps_its_pods() -> None:
    world = weighted(100, replicas=4)
    world.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    waits_at_its_gate(world)
    assert world.condition("Available") == ("False", "ReplicasUnavailable")
    assert world.replicas() == {"helmet-v1": 4, "helmet-v2": 2}
    assert shares(world) == "1:100 2:0"
    world.run()
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 2}
    assert shares(world) == "1:50 2:50"


def test_a_weight_of_0_takes_the_pods_once_the_others_have_theirs() -> None:
    world = weighted(50, 50, replicas=4)
    world.edit(versions=[gen.version(1, weight=0), gen.version(2, weight=100)])
    world.turn()
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 4}
    world.run()
    assert world.replicas() == {"helmet-v1": 0, "helmet-v2": 4}
    assert [version.phase for version in world.plan.status.versions] == ["Idle", "Serving"]


# Versions that do not fit together.


def other_classes(world: World, number: int) -> None:
    """End the build of a version whose class names are others."""
    (name,) = [name for name in world.jobs("build") if f"-v{number}-build-" in name]
    world.end_one(name, gen.outcome(result=gen.artifact_of(world.yolo, number, classes=6, classesDigest="f" * 16)))


def test_a_version_with_other_classes_gets_no_traffic_and_says_why() -> None:
    world = weighted(100, replicas=2)
    world.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    world.turn()
    other_classes(world, 2)
    world.run()
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert world.condition("Stalled") == ("True", "VersionsIncompatible")
    assert "classes (80, digest 0123456789abcdef and 6, digest ffffffffffffffff)" in world.message()
    world.edit(traffic={"allowIncompatible": True})
    world.run()
    assert world.replicas() == {"helmet-v1": 1, "helmet-v2": 1}


def test_it_does_not_replace_the_version_that_serves_either() -> None:
    world = weighted(100, replicas=2)
    world.edit(versions=[TWO])
    world.turn()
    other_classes(world, 2)
    world.run()
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert world.condition("Stalled") == ("True", "VersionsIncompatible")


def end_with_size(world: World, number: int, *, fixed: bool) -> None:
    """End the build of a version for 1280 pixels: of one size, or dynamic as earlier releases published each."""
    size = [1280, 1280] if fixed else [-1, -1]
    picture = {"name": "images", "datatype": "FP32", "shape": [-1, 3, *size]}
    world.end_job("build", gen.outcome(result=gen.artifact_of(world.yolo, number, imageSize=[1280, 1280], inputs=[picture])))


def test_a_version_that_an_earlier_release_made_dynamic_serves_on_and_says_what_cures_it() -> None:
    world = World()
    world.turn()
    end_with_size(world, 1, fixed=False)
    world.run()
    assert world.condition("Ready") == ("True", "Serving")
    assert "Version 1 was published by an earlier release: the Ultralytics client asks it with 640 pixels, and it is made for 1280x1280" in world.message()
    assert "spec.versions[].rebuild" in world.message()

    world.edit(versions=[gen.version(1, rebuild="now")])
    world.turn()
    end_with_size(world, 1, fixed=True)
    world.run()
    assert world.condition("Ready") == ("True", "Serving")
    assert "rebuild" not in world.message()


def test_beside_a_version_that_an_earlier_release_made_dynamic_the_message_says_which_to_rebuild() -> None:
    world = World(versions=[gen.version(1, weight=50)])
    world.turn()
    end_with_size(world, 1, fixed=False)
    world.run()
    world.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    world.turn()
    end_with_size(world, 2, fixed=True)
    world.run()
    assert world.condition("Stalled") == ("True", "VersionsIncompatible")
    assert "Change spec.versions[].rebuild of version 1 first." in world.message()


# The canary in mode Service.


def test_the_stable_version_keeps_all_its_pods_until_the_canary_has_all_traffic() -> None:
    world = canary()
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 1}
    assert walk(world) == ("Progressing", "CanaryStep", 1, 10)
    assert shares(world) == "1:90 2:10"
    assert world.condition("Ready") == ("False", "CanaryStep")
    assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
    world.later(2 * MINUTE)
    world.run()
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 9}
    assert walk(world) == ("Progressing", "CanaryStep", 2, 50)
    world.later(2 * MINUTE)
    world.run()
    assert world.replicas() == {"helmet-v1": 0, "helmet-v2": 9}
    assert walk(world) == ("Healthy", "RolloutCompleted", 0, 0)
    assert shares(world) == "1:0 2:100"
    assert world.condition("Ready") == ("True", "Serving")


def test_a_step_that_pods_cannot_show_waits_and_says_what_to_do() -> None:
    world = canary(replicas=2, weights=(5,))
    assert world.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert world.condition("Ready") == ("False", "WeightNotReachable")
    world.edit(replicas=10)
    world.run()
    assert world.replicas() == {"helmet-v1": 10, "helmet-v2": 1}


def test_wrong_answers_give_the_canary_no_share_and_are_told() -> None:
    world = canary(versions=[ONE])
    world.edit(versions=[ONE, TWO])
    seen = []
    for _ in range(16):
        world.turn()
        world.start_pods()
        seen.append(world.replicas().get("helmet-v2", 0))
        for name in world.jobs():
            if not world.objects["Job"][name].get("status"):
                build = "-build-" in name
                message = gen.outcome(result=gen.artifact_of(world.yolo, 2)) if build else gen.outcome(reason="WrongAnswers", message="off by 40 pixels")
                others = {other: world.objects["Job"].pop(other) for other in world.jobs() if other != name}
                world.end_job("build" if build else "verify", message, code=0 if build else 42)
                world.objects["Job"] |= others
    assert walk(world)[:2] == ("Degraded", "WrongAnswers")
    assert world.condition("Stalled") == ("True", "WrongAnswers")
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert shares(world) == "1:100 2:0"
    assert seen[-8:] == [0] * 8, "its pods do not come back"
    world.edit(rollout={"verify": {"minIoU": 0.5}})
    world.turn()
    assert world.replicas()["helmet-v2"] == 1, "with other limits they are asked again"


def test_abort_promote_and_a_revert() -> None:
    world = canary()
    world.edit(rollout={"abort": 2})
    world.run()
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert world.condition("Stalled") == ("True", "RolloutAborted")
    world.edit(rollout={"abort": None, "promote": 2})
    world.run()
    assert world.replicas() == {"helmet-v1": 0, "helmet-v2": 9}
    world.edit(versions=[ONE], rollout={"promote": 1})
    world.run()
    assert world.replicas() == {"helmet-v1": 9}
    assert shares(world) == "1:100"


def test_the_stable_version_makes_the_resource_available_while_a_canary_starts() -> None:
    world = canary(versions=[ONE])
    world.edit(versions=[ONE, TWO])
    for _ in range(3):
        world.turn()
        assert world.condition("Available") == ("True", "MinimumReplicasAvailable")
        assert world.condition("Built") == ("False", world.condition("Ready")[1])


def test_a_canary_that_is_removed_or_replaced_in_the_middle_goes() -> None:
    world = canary()
    world.edit(versions=[ONE, gen.version(3)])
    world.turn()
    assert "helmet-v2" not in world.objects["Deployment"]
    world.run()
    assert world.replicas() == {"helmet-v1": 9, "helmet-v3": 1}
    world.edit(versions=[ONE])
    world.run()
    assert world.replicas() == {"helmet-v1": 9}
    assert world.condition("Ready") == ("True", "Serving")


def test_one_version_is_replaced_by_another_in_one_edit_step_by_step() -> None:
    world = canary(versions=[TWO])
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 1}
    assert walk(world) == ("Progressing", "CanaryStep", 1, 10)
    for _ in range(2):
        world.later(2 * MINUTE)
        world.run()
    assert world.replicas() == {"helmet-v2": 9}
    assert world.condition("Ready") == ("True", "Serving")


def test_a_fresh_resource_begins_with_the_lowest_version() -> None:
    world = World(replicas=4, versions=[ONE, TWO], rollout={"strategy": "Canary", "steps": [{"weight": 20}], "analysis": {"enabled": False}})
    world.turn()
    world.build_succeeds(2)
    world.turn()
    world.start_pods()
    assert world.replicas().get("helmet-v2", 0) == 0, "the canary waits for the stable version"
    world.run()
    assert world.replicas() == {"helmet-v1": 4, "helmet-v2": 1}


# The analysis.


def analysis_ends(world: World, verdict: str, message: str = "") -> None:
    (name,) = [name for name in world.jobs(names.ANALYSIS) if not world.objects["Job"][name].get("status")]
    others = {other: world.objects["Job"].pop(other) for other in world.jobs() if other != name}
    figures = {"verdict": verdict, "message": message, "requests": 120, "errorRate": 0.05}
    world.end_job(names.ANALYSIS, gen.outcome(result=figures), container="analyze")
    world.objects["Job"] |= others
    world.run()


def test_each_step_is_analysed_by_a_job_and_a_pass_goes_on() -> None:
    world = canary(analysis={"enabled": True})
    assert walk(world) == ("Progressing", "AnalysisRunning", 1, 10)
    assert len(world.jobs(names.ANALYSIS)) == 1
    analysis_ends(world, "Pass")
    assert walk(world) == ("Progressing", "CanaryStep", 1, 10), "a verdict does not shorten the step"
    assert world.plan.again_at is not None, "nothing rings when the rest of the step is over"
    world.later(2 * MINUTE)
    world.run()
    assert walk(world) == ("Progressing", "AnalysisRunning", 2, 50)
    assert len(world.jobs(names.ANALYSIS)) == 2
    (first,) = world.plan.status.rollout.analyses  # type: ignore[union-attr]
    assert (first.step, first.weight, first.verdict, first.error_rate) == (1, 10, "Pass", 0.05)


def test_a_failed_analysis_gives_the_traffic_back_at_once() -> None:
    world = canary(analysis={"enabled": True})
    analysis_ends(world, "Fail", "errorRate 0.05 is above 0.01")
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert world.condition("Stalled") == ("True", "AnalysisFailed")
    assert "errorRate 0.05 is above 0.01" in world.message()
    world.edit(rollout={"retry": "once more"})
    world.run()
    assert walk(world) == ("Progressing", "AnalysisRunning", 1, 10)
    assert len(world.jobs(names.ANALYSIS)) == 2, "another attempt is analysed anew"


def test_an_inconclusive_analysis_pauses() -> None:
    world = canary(analysis={"enabled": True})
    analysis_ends(world, "Inconclusive", "2 of 50 requests")
    assert walk(world) == ("Paused", "InconclusiveAnalysis", 1, 10)
    assert world.replicas() == {"helmet-v1": 9, "helmet-v2": 1}


# A Gateway.


def test_a_gateway_gives_exact_weights_and_the_service_only_the_stable_version() -> None:
    world = weighted(90, 10, replicas=2, traffic=GATEWAY)
    world.answer_routes()
    world.run()
    assert routed(world) == {"helmet-v1": 90, "helmet-v2": 10}
    assert world.objects["Service"]["helmet"]["spec"]["selector"][names.VERSION] == "1"
    assert shares(world) == "1:90 2:10"
    assert world.condition("Ready") == ("True", "Serving")


def test_a_gateway_gives_no_weight_to_what_is_not_verified() -> None:
    world = weighted(100, replicas=2, traffic=GATEWAY)
    world.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    waits_at_its_gate(world)
    assert routed(world)["helmet-v1"] > 0 == routed(world).get("helmet-v2", 0)
    world.run()
    assert routed(world) == {"helmet-v1": 50, "helmet-v2": 50}


def test_a_version_replaced_in_one_edit_keeps_the_traffic_until_the_other_serves() -> None:
    world = weighted(100, replicas=2, traffic=GATEWAY)
    world.edit(versions=[gen.version(2, weight=100)])
    waits_at_its_gate(world)
    assert routed(world)["helmet-v1"] > 0 == routed(world).get("helmet-v2", 0)
    world.run()
    assert routed(world) == {"helmet-v2": 100}
    assert world.replicas() == {"helmet-v2": 2}


def test_a_canary_behind_a_gateway_keeps_the_old_pods_for_the_delay() -> None:
    world = canary(replicas=4, weights=(5, 50), scaleDownDelay="10m", traffic=None)
    assert world.condition("Ready")[0] == "False"
    world = World(
        replicas=4,
        versions=[ONE],
        traffic=GATEWAY,
        rollout={"strategy": "Canary", "steps": [{"weight": 5, "duration": "2m"}], "analysis": {"enabled": False}, "scaleDownDelay": "10m"},
    )
    world.run()
    world.answer_routes()
    world.run()
    world.edit(versions=[ONE, TWO])
    world.run()
    assert world.replicas() == {"helmet-v1": 4, "helmet-v2": 1}
    assert routed(world) == {"helmet-v1": 95, "helmet-v2": 5}
    world.later(2 * MINUTE)
    world.run()
    assert routed(world) == {"helmet-v1": 0, "helmet-v2": 100}
    assert world.replicas() == {"helmet-v1": 4, "helmet-v2": 4}, "the old pods are kept"
    world.now += timedelta(minutes=10)
    world.run()
    assert world.replicas() == {"helmet-v1": 0, "helmet-v2": 4}


def test_without_the_gateway_api_it_says_so_and_serves_by_the_service() -> None:
    world = World(replicas=2, versions=[gen.version(1, weight=1)], traffic=GATEWAY)
    world.gateway_api = False
    world.run()
    assert world.condition("Ready") == ("False", "GatewayApiMissing")
    assert world.replicas() == {"helmet-v1": 2}
    world.gateway_api = True
    world.run()
    assert world.condition("Ready") == ("False", "RoutePending")
    world.answer_routes()
    world.run()
    assert world.condition("Ready") == ("True", "Serving")


def test_a_gateway_gives_nothing_to_a_canary_whose_pods_are_gone() -> None:
    world = World(
        replicas=2, versions=[ONE], traffic=GATEWAY, rollout={"strategy": "Canary", "steps": [{"weight": 20, "duration": "1h"}], "analysis": {"enabled": False}}
    )
    world.run()
    world.edit(versions=[ONE, TWO])
    world.run()
    assert routed(world) == {"helmet-v1": 80, "helmet-v2": 20}
    for pod in world.pods(2):
        pod["status"]["conditions"] = []
    world.turn()
    assert routed(world) == {"helmet-v1": 80, "helmet-v2": 0}
    assert shares(world) == "1:100 2:0"


def test_back_to_mode_service_removes_the_routes() -> None:
    world = weighted(100, replicas=2, traffic=GATEWAY)
    world.edit(traffic=None)
    world.run()
    assert world.objects["HTTPRoute"] == {}
    assert names.VERSION not in world.objects["Service"]["helmet"]["spec"]["selector"]
