"""Shares among versions: weights, the canary's pods, versions that do not fit together, what a Gateway is told."""

from datetime import timedelta
from typing import Any

import pytest

import gen
from simulation import Simulation
from yolo_operator.core import names

GATEWAY = {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["helmet.example.com"]}}
MINUTE = 60
ONE = gen.version(1)
TWO = gen.version(2)


def weighted(*weights: int, **spec: Any) -> Simulation:
    """A Simulation at rest with versions 1, 2, … of these weights."""
    cluster = Simulation(versions=[gen.version(number, weight=weight) for number, weight in enumerate(weights, 1)], **spec)
    cluster.run()
    return cluster


def canary(*, replicas: int = 9, weights: tuple[int, ...] = (10, 50), versions: list[dict[str, Any]] | None = None, **rollout: Any) -> Simulation:
    """A Simulation where version 1 serves and version 2 has just been declared."""
    steps = [{"weight": weight, "duration": "2m"} for weight in weights]
    cluster = Simulation(replicas=replicas, versions=[ONE], rollout={"strategy": "Canary", "steps": steps, "analysis": {"enabled": False}} | rollout)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    cluster.edit(versions=versions or [ONE, TWO])
    cluster.run()
    return cluster


def shares(cluster: Simulation) -> str:
    return cluster.plan.status.display.versions


def state(cluster: Simulation) -> tuple[str, str, int, int]:
    found = cluster.plan.status.rollout
    assert found is not None
    return found.phase, found.reason, found.step, found.weight


def routed(cluster: Simulation) -> dict[str, int]:
    """Weights of the default rule of the HTTPRoute."""
    rules = cluster.objects["HTTPRoute"]["helmet"]["spec"]["rules"]
    (rule,) = [rule for rule in rules if not any("headers" in match for match in rule.get("matches", ()))]
    return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


def waits_at_its_gate(cluster: Simulation) -> None:
    """Version 2, just declared, is built; its pods answer and are not verified yet."""
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    cluster.start_pods()
    cluster.reconcile()


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
    cluster = weighted(*weights, replicas=replicas)
    assert list(cluster.replicas().values()) == pods
    assert shares(cluster) == shown
    assert cluster.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(
    ("weights", "replicas", "told"), [((99, 1), 2, "Version 2 has 50 % of the requests, and its weight asks for 1 %"), ((75, 25), 2, ""), ((1, 1), 0, "")]
)
def test_a_share_that_pods_cannot_show_is_told(weights: tuple[int, ...], replicas: int, told: str) -> None:
    cluster = weighted(*weights, replicas=replicas)
    assert cluster.condition("Ready")[0] == "True"
    assert told in cluster.message()
    assert ("raise spec.replicas, or use mode Gateway" in cluster.message()) == bool(told)


def test_a_new_version_has_no_share_before_it_is_verified_and_the_old_one_keeps_its_pods() -> None:
    cluster = weighted(100, replicas=4)
    cluster.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    waits_at_its_gate(cluster)
    assert cluster.condition("Available") == ("False", "ReplicasUnavailable")
    assert cluster.replicas() == {"helmet-v1": 4, "helmet-v2": 2}
    assert shares(cluster) == "1:100 2:0"
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 2}
    assert shares(cluster) == "1:50 2:50"


def test_a_weight_of_0_takes_the_pods_once_the_others_have_theirs() -> None:
    cluster = weighted(50, 50, replicas=4)
    cluster.edit(versions=[gen.version(1, weight=0), gen.version(2, weight=100)])
    cluster.reconcile()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 4}
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 4}
    assert [version.phase for version in cluster.plan.status.versions] == ["Idle", "Serving"]


# Versions that do not fit together.


def other_classes(cluster: Simulation, number: int) -> None:
    """End the build of a version whose class names are others."""
    (name,) = [name for name in cluster.jobs("build") if f"-v{number}-build-" in name]
    cluster.end_one(name, gen.outcome(result=gen.artifact_of(cluster.yolo, number, classes=6, classesDigest="f" * 16)))


def test_a_version_with_other_classes_gets_no_traffic_and_says_why() -> None:
    cluster = weighted(100, replicas=2)
    cluster.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    cluster.reconcile()
    other_classes(cluster, 2)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert cluster.condition("Stalled") == ("True", "VersionsIncompatible")
    assert "classes (80, digest 0123456789abcdef and 6, digest ffffffffffffffff)" in cluster.message()
    cluster.edit(traffic={"allowIncompatible": True})
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 1, "helmet-v2": 1}


def test_it_does_not_replace_the_version_that_serves_either() -> None:
    cluster = weighted(100, replicas=2)
    cluster.edit(versions=[TWO])
    cluster.reconcile()
    other_classes(cluster, 2)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert cluster.condition("Stalled") == ("True", "VersionsIncompatible")


def end_with_size(cluster: Simulation, number: int, *, fixed: bool) -> None:
    """End the build of a version for 1280 pixels: of one size, or dynamic as earlier releases published each."""
    size = [1280, 1280] if fixed else [-1, -1]
    picture = {"name": "images", "datatype": "FP32", "shape": [-1, 3, *size]}
    cluster.end_job("build", gen.outcome(result=gen.artifact_of(cluster.yolo, number, imageSize=[1280, 1280], inputs=[picture])))


def test_a_version_that_an_earlier_release_made_dynamic_serves_on_and_says_what_cures_it() -> None:
    cluster = Simulation()
    cluster.reconcile()
    end_with_size(cluster, 1, fixed=False)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    assert "Version 1 was published by an earlier release: the Ultralytics client asks it with 640 pixels, and it is made for 1280x1280" in cluster.message()
    assert "spec.versions[].rebuild" in cluster.message()

    cluster.edit(versions=[gen.version(1, rebuild="now")])
    cluster.reconcile()
    end_with_size(cluster, 1, fixed=True)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")
    assert "rebuild" not in cluster.message()


def test_beside_a_version_that_an_earlier_release_made_dynamic_the_message_says_which_to_rebuild() -> None:
    cluster = Simulation(versions=[gen.version(1, weight=50)])
    cluster.reconcile()
    end_with_size(cluster, 1, fixed=False)
    cluster.run()
    cluster.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    cluster.reconcile()
    end_with_size(cluster, 2, fixed=True)
    cluster.run()
    assert cluster.condition("Stalled") == ("True", "VersionsIncompatible")
    assert "Change spec.versions[].rebuild of version 1 first." in cluster.message()


# The canary in mode Service.


def test_the_stable_version_keeps_all_its_pods_until_the_canary_has_all_traffic() -> None:
    cluster = canary()
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 1}
    assert state(cluster) == ("Progressing", "CanaryStep", 1, 10)
    assert shares(cluster) == "1:90 2:10"
    assert cluster.condition("Ready") == ("False", "CanaryStep")
    assert cluster.condition("Available") == ("True", "MinimumReplicasAvailable")
    cluster.later(2 * MINUTE)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 9}
    assert state(cluster) == ("Progressing", "CanaryStep", 2, 50)
    cluster.later(2 * MINUTE)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 9}
    assert state(cluster) == ("Healthy", "RolloutCompleted", 0, 0)
    assert shares(cluster) == "1:0 2:100"
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_step_that_pods_cannot_show_waits_and_says_what_to_do() -> None:
    cluster = canary(replicas=2, weights=(5,))
    assert cluster.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert cluster.condition("Ready") == ("False", "WeightNotReachable")
    cluster.edit(replicas=10)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 10, "helmet-v2": 1}


def test_wrong_answers_give_the_canary_no_share_and_are_told() -> None:
    cluster = canary(versions=[ONE])
    cluster.edit(versions=[ONE, TWO])
    seen = []
    for _ in range(16):
        cluster.reconcile()
        cluster.start_pods()
        seen.append(cluster.replicas().get("helmet-v2", 0))
        for name in cluster.jobs():
            if not cluster.objects["Job"][name].get("status"):
                build = "-build-" in name
                message = gen.outcome(result=gen.artifact_of(cluster.yolo, 2)) if build else gen.outcome(reason="WrongAnswers", message="off by 40 pixels")
                others = {other: cluster.objects["Job"].pop(other) for other in cluster.jobs() if other != name}
                cluster.end_job("build" if build else "verify", message, code=0 if build else 42)
                cluster.objects["Job"] |= others
    assert state(cluster)[:2] == ("Degraded", "WrongAnswers")
    assert cluster.condition("Stalled") == ("True", "WrongAnswers")
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert shares(cluster) == "1:100 2:0"
    assert seen[-8:] == [0] * 8, "its pods do not come back"
    cluster.edit(rollout={"verify": {"minIoU": 0.5}})
    cluster.reconcile()
    assert cluster.replicas()["helmet-v2"] == 1, "with other limits they are asked again"


def test_abort_promote_and_a_revert() -> None:
    cluster = canary()
    cluster.edit(rollout={"abort": 2})
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert cluster.condition("Stalled") == ("True", "RolloutAborted")
    cluster.edit(rollout={"abort": None, "promote": 2})
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 9}
    cluster.edit(versions=[ONE], rollout={"promote": 1})
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 9}
    assert shares(cluster) == "1:100"


def test_the_stable_version_makes_the_resource_available_while_a_canary_starts() -> None:
    cluster = canary(versions=[ONE])
    cluster.edit(versions=[ONE, TWO])
    for _ in range(3):
        cluster.reconcile()
        assert cluster.condition("Available") == ("True", "MinimumReplicasAvailable")
        assert cluster.condition("Built") == ("False", cluster.condition("Ready")[1])


def test_a_canary_that_is_removed_or_replaced_in_the_middle_goes() -> None:
    cluster = canary()
    cluster.edit(versions=[ONE, gen.version(3)])
    cluster.reconcile()
    assert "helmet-v2" not in cluster.objects["Deployment"]
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v3": 1}
    cluster.edit(versions=[ONE])
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 9}
    assert cluster.condition("Ready") == ("True", "Serving")


def test_one_version_is_replaced_by_another_in_one_edit_step_by_step() -> None:
    cluster = canary(versions=[TWO])
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 1}
    assert state(cluster) == ("Progressing", "CanaryStep", 1, 10)
    for _ in range(2):
        cluster.later(2 * MINUTE)
        cluster.run()
    assert cluster.replicas() == {"helmet-v2": 9}
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_fresh_resource_begins_with_the_lowest_version() -> None:
    cluster = Simulation(replicas=4, versions=[ONE, TWO], rollout={"strategy": "Canary", "steps": [{"weight": 20}], "analysis": {"enabled": False}})
    cluster.reconcile()
    cluster.build_succeeds(2)
    cluster.reconcile()
    cluster.start_pods()
    assert cluster.replicas().get("helmet-v2", 0) == 0, "the canary waits for the stable version"
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 4, "helmet-v2": 1}


# The analysis.


def analysis_ends(cluster: Simulation, verdict: str, message: str = "") -> None:
    (name,) = [name for name in cluster.jobs(names.ANALYSIS) if not cluster.objects["Job"][name].get("status")]
    others = {other: cluster.objects["Job"].pop(other) for other in cluster.jobs() if other != name}
    figures = {"verdict": verdict, "message": message, "requests": 120, "errorRate": 0.05}
    cluster.end_job(names.ANALYSIS, gen.outcome(result=figures), container="analyze")
    cluster.objects["Job"] |= others
    cluster.run()


def test_each_step_is_analysed_by_a_job_and_a_pass_goes_on() -> None:
    cluster = canary(analysis={"enabled": True})
    assert state(cluster) == ("Progressing", "AnalysisRunning", 1, 10)
    assert len(cluster.jobs(names.ANALYSIS)) == 1
    analysis_ends(cluster, "Pass")
    assert state(cluster) == ("Progressing", "CanaryStep", 1, 10), "a verdict does not shorten the step"
    assert cluster.plan.requeue_at is not None, "no event comes when the rest of the step is over"
    cluster.later(2 * MINUTE)
    cluster.run()
    assert state(cluster) == ("Progressing", "AnalysisRunning", 2, 50)
    assert len(cluster.jobs(names.ANALYSIS)) == 2
    assert cluster.plan.status.rollout is not None
    (first,) = cluster.plan.status.rollout.analyses
    assert (first.step, first.weight, first.verdict, first.error_rate) == (1, 10, "Pass", 0.05)


def test_a_failed_analysis_gives_the_traffic_back_at_once() -> None:
    cluster = canary(analysis={"enabled": True})
    analysis_ends(cluster, "Fail", "errorRate 0.05 is above 0.01")
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 0}
    assert cluster.condition("Stalled") == ("True", "AnalysisFailed")
    assert "errorRate 0.05 is above 0.01" in cluster.message()
    cluster.edit(rollout={"retry": "once more"})
    cluster.run()
    assert state(cluster) == ("Progressing", "AnalysisRunning", 1, 10)
    assert len(cluster.jobs(names.ANALYSIS)) == 2, "another attempt is analysed anew"


def test_an_inconclusive_analysis_pauses() -> None:
    cluster = canary(analysis={"enabled": True})
    analysis_ends(cluster, "Inconclusive", "2 of 50 requests")
    assert state(cluster) == ("Paused", "InconclusiveAnalysis", 1, 10)
    assert cluster.replicas() == {"helmet-v1": 9, "helmet-v2": 1}


# A Gateway.


def test_a_gateway_gives_exact_weights_and_the_service_only_the_stable_version() -> None:
    cluster = weighted(90, 10, replicas=2, traffic=GATEWAY)
    cluster.answer_routes()
    cluster.run()
    assert routed(cluster) == {"helmet-v1": 90, "helmet-v2": 10}
    assert cluster.objects["Service"]["helmet"]["spec"]["selector"][names.VERSION] == "1"
    assert shares(cluster) == "1:90 2:10"
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_gateway_gives_no_weight_to_what_is_not_verified() -> None:
    cluster = weighted(100, replicas=2, traffic=GATEWAY)
    cluster.edit(versions=[gen.version(1, weight=50), gen.version(2, weight=50)])
    waits_at_its_gate(cluster)
    assert routed(cluster)["helmet-v1"] > 0 == routed(cluster).get("helmet-v2", 0)
    cluster.run()
    assert routed(cluster) == {"helmet-v1": 50, "helmet-v2": 50}


def test_a_version_replaced_in_one_edit_keeps_the_traffic_until_the_other_serves() -> None:
    cluster = weighted(100, replicas=2, traffic=GATEWAY)
    cluster.edit(versions=[gen.version(2, weight=100)])
    waits_at_its_gate(cluster)
    assert routed(cluster)["helmet-v1"] > 0 == routed(cluster).get("helmet-v2", 0)
    cluster.run()
    assert routed(cluster) == {"helmet-v2": 100}
    assert cluster.replicas() == {"helmet-v2": 2}


def test_a_canary_behind_a_gateway_keeps_the_old_pods_for_the_delay() -> None:
    cluster = canary(replicas=4, weights=(5, 50), scaleDownDelay="10m", traffic=None)
    assert cluster.condition("Ready")[0] == "False"
    cluster = Simulation(
        replicas=4,
        versions=[ONE],
        traffic=GATEWAY,
        rollout={"strategy": "Canary", "steps": [{"weight": 5, "duration": "2m"}], "analysis": {"enabled": False}, "scaleDownDelay": "10m"},
    )
    cluster.run()
    cluster.answer_routes()
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 4, "helmet-v2": 1}
    assert routed(cluster) == {"helmet-v1": 95, "helmet-v2": 5}
    cluster.later(2 * MINUTE)
    cluster.run()
    assert routed(cluster) == {"helmet-v1": 0, "helmet-v2": 100}
    assert cluster.replicas() == {"helmet-v1": 4, "helmet-v2": 4}, "the old pods are kept"
    cluster.now += timedelta(minutes=10)
    cluster.run()
    assert cluster.replicas() == {"helmet-v1": 0, "helmet-v2": 4}


def test_without_the_gateway_api_it_says_so_and_serves_by_the_service() -> None:
    cluster = Simulation(replicas=2, versions=[gen.version(1, weight=1)], traffic=GATEWAY)
    cluster.gateway_api = False
    cluster.run()
    assert cluster.condition("Ready") == ("False", "GatewayApiMissing")
    assert cluster.replicas() == {"helmet-v1": 2}
    cluster.gateway_api, cluster.gateway_answers = True, False
    cluster.run()
    assert cluster.condition("Ready") == ("False", "RoutePending")
    cluster.answer_routes()
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving")


def test_a_gateway_gives_nothing_to_a_canary_whose_pods_are_gone() -> None:
    cluster = Simulation(
        replicas=2, versions=[ONE], traffic=GATEWAY, rollout={"strategy": "Canary", "steps": [{"weight": 20, "duration": "1h"}], "analysis": {"enabled": False}}
    )
    cluster.run()
    cluster.edit(versions=[ONE, TWO])
    cluster.run()
    assert routed(cluster) == {"helmet-v1": 80, "helmet-v2": 20}
    for pod in cluster.pods(2):
        pod["status"]["conditions"] = []
    cluster.reconcile()
    assert routed(cluster) == {"helmet-v1": 100, "helmet-v2": 0}
    assert shares(cluster) == "1:100 2:0"


def test_back_to_mode_service_removes_the_routes() -> None:
    cluster = weighted(100, replicas=2, traffic=GATEWAY)
    cluster.edit(traffic=None)
    cluster.run()
    assert cluster.objects["HTTPRoute"] == {}
    assert names.VERSION not in cluster.objects["Service"]["helmet"]["spec"]["selector"]
