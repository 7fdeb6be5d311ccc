"""A machine that searches: anything that users, pods, Jobs, Gateways, the API server and time can do, in any order; after each pass all invariants are asked.

`Search` runs `plan` over a `lifelike.Cluster`; tests/controller/test_search_reconciler.py runs the real reconciler by the same rules.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import gen
from lifelike import OTHER_CLASSES, Cluster
from yolo_operator.core import api, contract, features, names, pods
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Support
from yolo_operator.core.rollout import invariants
from yolo_operator.core.rollout.invariants import Before, Seen

AVAILABLE_PROVIDERS["walks"] = "hypothesis.internal.conjecture.providers.HypothesisProvider"
"""Hypothesis as a backend of itself. With its own name it repeats each run several times over with parts exchanged, which finds little here: of 5,000 steps
that many were repeated that 129 states were seen.
"""
NUMBERS = st.sampled_from([1, 2, 3])
WEIGHTS = st.sampled_from([0, 1, 1, 10, 50, 90])
STEPS = (
    (),
    ((10, "2m"),),
    ((10, "2m"), (50, "10m")),
    ((50, "2m"), (100, "10m")),
    ((1, "1m"), (30, "1m"), (80, "1m")),
    ((20, "0s"),),
    ((10, "10m"), (50, "2m")),
)
REPLICAS = st.sampled_from([0, 1, 1, 2, 2, 3, 4, 5, 9, 10, 20])
SECONDS = st.sampled_from([1, 5, 6, 30, 61, 130, 601, 660, 1900])
INDEX = st.integers(0, 7)
QUIET = st.sampled_from([False, False, False, True])
"""Whether the next thing happens before the operator has had a pass."""
STEPS_PER_RUN = 50
REFUSALS = ("Deployment", "Service", "HTTPRoute", "Job", "PodDisruptionBudget", "YoloDeployment", "Pod")
OLDER = {
    "status": {"versions", "rollout", "published", "pruneFailure", "conditions", "observedGeneration", "url", "grpcUrl", "replicas", "readyReplicas",
               "selector", "tritonRelease", "task", "display"},
    "rollout": {"phase", "reason", "message", "stable", "canary", "revision", "step", "steps", "weight", "routed", "started", "reached", "retry",
                "previous", "promoted", "analysisFailure", "analyses"},
    "version": {"version", "revision", "phase", "weight", "replicas", "readyReplicas", "reason", "message", "builtRevision", "artifact", "verified",
                "buildFailure", "verifyFailure", "rolledBack"},
}  # fmt: skip
"""Fields that the release before knows."""


@dataclass
class Tally:
    """How much was tried."""

    steps: int = 0
    passes: int = 0
    states: set[int] = field(default_factory=set)


@dataclass
class Wish:
    """What the user wants, from which a spec follows that the API server would take."""

    versions: dict[int, dict[str, Any]] = field(default_factory=lambda: {1: {}})
    replicas: int = 2
    canary: bool = False
    gateway: bool = False
    steps: int = 1
    mirror: bool = False
    storage: str = "yolo"
    rollout: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)

    def version(self, number: int, *, several: bool) -> Manifest:
        """An entry of spec.versions."""
        wanted = self.versions[number]
        entry = gen.version(number, source={"uri": f"s3://weights/{wanted.get('model', 'helmet')}-v{number}.pt"})
        if "rebuild" in wanted:
            entry["rebuild"] = wanted["rebuild"]
        if not self.canary and (several or "weight" in wanted):
            entry["weight"] = wanted.get("weight", 1)
        if self.gateway and wanted.get("own") is not None:
            entry["replicas"] = wanted["own"]
        return entry

    def spec(self) -> Manifest:
        """The spec."""
        versions = [self.version(number, several=len(self.versions) > 1) for number in sorted(self.versions)]
        if versions and all(each.get("weight") == 0 for each in versions):
            versions[0]["weight"] = 1
        rollout = {"analysis": {"enabled": False}, "strategy": "Canary" if self.canary else "Weighted"} | self.rollout
        if self.canary:
            rollout["steps"] = [{"weight": weight, "duration": duration} for weight, duration in STEPS[self.steps]]
        if not (self.canary and self.gateway):
            rollout.pop("scaleDownDelay", None)
        traffic: Manifest = {"mode": "Service"}
        if self.gateway:
            traffic = {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["helmet.example.com"]}}
            idle = [each["version"] for each in versions if each.get("weight") == 0 and each.get("replicas") != 0]
            if self.mirror and idle and not self.canary:
                traffic["gateway"]["mirror"] = {"version": idle[0]}
        traffic |= self.top.get("traffic", {})
        storage = gen.STORAGE | {"uri": f"s3://models/{self.storage}"}
        others = {key: value for key, value in self.top.items() if key != "traffic"}
        return {"replicas": self.replicas, "versions": versions, "storage": storage, "rollout": rollout, "traffic": traffic} | others


class Search(RuleBasedStateMachine):
    """The rules. `asked`: the invariants, all of them unless a test is about some."""

    tally: ClassVar[Tally] = Tally()
    asked: ClassVar[Sequence[Any]] = invariants.INVARIANTS

    def __init__(self) -> None:
        super().__init__()
        self.wish = Wish()
        self.before = Before()
        self.cluster = self.make_cluster()
        self.cluster.body["spec"] = self.wish.spec()

    def make_cluster(self) -> Cluster:
        cluster = Cluster()
        cluster.gateway_features = {"factory/public": Support({features.MIRROR})}
        return cluster

    # A pass, and what is asked after it.

    def one_pass(self, **how: Any) -> Seen:
        return self.cluster.one_pass(**how)

    def look(self, **how: Any) -> Seen:
        """A pass of the operator; what it must not do fails here."""
        seen = self.one_pass(**how)
        view = invariants.view_of(seen, self.before)
        broken = invariants.violations(view, self.asked)
        self.before = invariants.remember(view)
        self.tally.passes += 1
        self.tally.states.add(self.state(seen, view))
        assert not broken, "; ".join(broken)
        return seen

    def state(self, seen: Seen, view: invariants.View) -> int:
        """What makes a state another one: the rollout, the shares, and the pods."""
        rollout = seen.status.rollout
        where = (rollout.phase, rollout.reason, rollout.stable, rollout.canary, rollout.step, bool(rollout.reached)) if rollout is not None else ()
        deployments = tuple(sorted((name, live["spec"]["replicas"]) for name, live in seen.after.deployments.items()))
        route = tuple(sorted((number, round(weight)) for number, weight in view.weights.items()))
        return hash((where, deployments, route, tuple(sorted(view.ready.items())), tuple(sorted(self.wish.versions)), self.wish.gateway, self.wish.canary))

    def state_of_rollout(self) -> api.RolloutStatus:
        """The rollout as it is recorded."""
        found = self.cluster.yolo.status.rollout
        assert found is not None
        return found

    def stable(self) -> int:
        return self.state_of_rollout().stable

    def routed(self) -> dict[int, int]:
        """Percent of the requests per version by the route, of those that have any."""
        found = invariants.routed(self.cluster.yolo, self.cluster.observed())
        return {number: round(weight) for number, weight in found.items() if weight}

    def then(self, quiet: bool = False) -> None:
        """The operator hears of what happened, unless the next thing happens first."""
        self.tally.steps += 1
        if not quiet:
            self.look()

    def edited(self, quiet: bool) -> None:
        spec = self.wish.spec()
        if spec != self.cluster.body["spec"]:
            self.cluster.write_spec(spec)
        self.then(quiet)

    def calm(self, rounds: int, *, verdict: str = "Pass") -> None:
        """Nothing goes wrong for some rounds."""
        cluster = self.cluster
        for _ in range(rounds):
            seen = self.look()
            for name in cluster.unfinished():
                cluster.succeed(name, verdict=verdict)
            cluster.answer_routes()
            cluster.start_pods()
            if seen.settled:
                break
        self.look()

    # Where it begins.

    @initialize(
        canary=st.booleans(),
        gateway=st.booleans(),
        steps=st.integers(0, len(STEPS) - 1),
        replicas=REPLICAS,
        several=st.booleans(),
        rest=st.sampled_from([True, True, True, False]),
    )
    def a_resource_is_made(self, canary: bool, gateway: bool, steps: int, replicas: int, several: bool, rest: bool) -> None:
        self.wish = Wish(canary=canary, gateway=gateway, steps=steps, replicas=replicas, versions={1: {}, 2: {}} if several else {1: {}})
        self.cluster.body["spec"] = self.wish.spec()
        if rest:
            self.calm(12)

    # What users do.

    @rule(number=NUMBERS, model=st.sampled_from(["helmet", "helmet", "helmet", OTHER_CLASSES]), alone=st.booleans(), quiet=QUIET)
    def a_version_is_added(self, number: int, model: str, alone: bool, quiet: bool) -> None:
        if alone:
            self.wish.versions = {number: {"model": model}}
        else:
            self.wish.versions.setdefault(number, {"model": model})
        self.edited(quiet)

    @rule(number=NUMBERS, quiet=QUIET)
    def a_version_is_removed(self, number: int, quiet: bool) -> None:
        if number in self.wish.versions and len(self.wish.versions) > 1:
            del self.wish.versions[number]
        self.edited(quiet)

    @rule(number=NUMBERS, change=st.sampled_from(["model", "rebuild"]), value=st.sampled_from(["helmet", "b", OTHER_CLASSES]), quiet=QUIET)
    def a_version_is_to_be_built_anew(self, number: int, change: str, value: str, quiet: bool) -> None:
        if number in self.wish.versions:
            self.wish.versions[number][change] = value
        self.edited(quiet)

    @rule(weights=st.tuples(WEIGHTS, WEIGHTS, WEIGHTS), quiet=QUIET)
    def weights_are_edited(self, weights: tuple[int, ...], quiet: bool) -> None:
        for number, weight in enumerate(weights, 1):
            if number in self.wish.versions:
                self.wish.versions[number]["weight"] = weight
        self.edited(quiet)

    @rule(number=NUMBERS, own=st.sampled_from([None, None, 1, 3]), quiet=QUIET)
    def a_version_gets_replicas_of_its_own(self, number: int, own: int | None, quiet: bool) -> None:
        if number in self.wish.versions:
            self.wish.versions[number]["own"] = own
        self.edited(quiet)

    @rule(replicas=REPLICAS, quiet=QUIET)
    def an_autoscaler_scales(self, replicas: int, quiet: bool) -> None:
        self.wish.replicas = replicas
        self.edited(quiet)

    @rule(canary=st.booleans(), gateway=st.booleans(), steps=st.integers(0, len(STEPS) - 1), quiet=QUIET)
    def strategy_and_mode_are_edited(self, canary: bool, gateway: bool, steps: int, quiet: bool) -> None:
        self.wish.canary, self.wish.gateway, self.wish.steps = canary, gateway, steps
        self.edited(quiet)

    @rule(
        edit=st.one_of(
            st.tuples(st.just("promote"), st.sampled_from([None, 1, 2, 3])),
            st.tuples(st.just("abort"), st.sampled_from([None, 1, 2, 3])),
            st.tuples(st.just("retry"), st.sampled_from([None, "a", "b"])),
            st.tuples(st.just("paused"), st.booleans()),
            st.tuples(st.just("autoPromote"), st.booleans()),
            st.tuples(st.just("scaleDownDelay"), st.sampled_from([None, "10m"])),
            st.tuples(st.just("analysis"), st.booleans().map(lambda on: {"enabled": on})),
            st.tuples(st.just("gpu"), st.sampled_from(["Auto", "Surge", "InPlace"])),
            st.tuples(st.just("surgeTimeout"), st.sampled_from([None, "0s"])),
            st.tuples(st.just("verify"), st.sampled_from([None, {"minIoU": 0.5}, {"enabled": False}])),
        ),
        quiet=QUIET,
    )
    def the_rollout_is_edited(self, edit: tuple[str, Any], quiet: bool) -> None:
        key, value = edit
        self.wish.rollout.pop(key, None)
        if value is not None:
            self.wish.rollout[key] = value
        self.edited(quiet)

    @rule(
        edit=st.one_of(
            st.tuples(st.just("restartedAt"), st.sampled_from(["a", "b"])),
            st.tuples(st.just("triton"), st.sampled_from([{}, {"image": "example.com/triton:25.09-py3"}])),
            st.tuples(st.just("traffic"), st.sampled_from([{}, {"allowIncompatible": True}])),
            st.tuples(st.just("suspend"), st.sampled_from([False, False, True])),
        ),
        mirror=st.booleans(),
        storage=st.sampled_from(["yolo", "yolo", "elsewhere"]),
        quiet=QUIET,
    )
    def pods_or_storage_are_edited(self, edit: tuple[str, Any], mirror: bool, storage: str, quiet: bool) -> None:
        self.wish.top[edit[0]] = edit[1]
        self.wish.mirror, self.wish.storage = mirror, storage
        self.edited(quiet)

    # What pods do.

    @precondition(lambda self: self.cluster.objects["Deployment"])
    @rule(gpus=st.sampled_from([None, None, None, 0, 1, 2, 3]), quota=st.sampled_from([None, None, None, 1, 2, 4]), quiet=QUIET)
    def gpus_or_quota_are_others(self, gpus: int | None, quota: int | None, quiet: bool) -> None:
        self.cluster.gpus, self.cluster.quota = gpus, quota
        self.cluster.roll()
        self.cluster.kubelet()
        self.then(quiet)

    @precondition(lambda self: self.cluster.objects["Deployment"])
    @rule(quiet=QUIET)
    def controllers_go_on(self, quiet: bool) -> None:
        self.cluster.roll()
        self.cluster.kubelet()
        self.then(quiet)

    @precondition(lambda self: self.cluster.triton_pods())
    @rule(index=INDEX, fate=st.sampled_from(["start", "start", "crash", "crash", "evict", "fall_silent", "take_back"]), quiet=QUIET)
    def a_pod_meets_its_fate(self, index: int, fate: str, quiet: bool) -> None:
        found = self.cluster.triton_pods()
        pod = found[index % len(found)]
        if not pods.is_terminating(pod):
            getattr(self.cluster, fate)(pod)
            self.cluster.kubelet()
        self.then(quiet)

    @precondition(lambda self: self.cluster.triton_pods())
    @rule(number=NUMBERS, quiet=QUIET)
    def all_pods_of_a_version_crash(self, number: int, quiet: bool) -> None:
        for pod in self.cluster.pods(number):
            if not pods.is_terminating(pod):
                self.cluster.crash(pod)
        self.cluster.roll()
        self.then(quiet)

    @precondition(lambda self: self.cluster.triton_pods())
    @rule(number=NUMBERS, quiet=QUIET)
    def all_pods_of_a_version_start(self, number: int, quiet: bool) -> None:
        self.cluster.roll()
        self.cluster.kubelet()
        for pod in self.cluster.pods(number):
            self.cluster.start(pod)
        self.cluster.kubelet()
        self.then(quiet)

    @precondition(lambda self: self.cluster.objects["Deployment"])
    @rule(number=NUMBERS, quiet=QUIET)
    def a_deployment_is_deleted_by_hand(self, number: int, quiet: bool) -> None:
        live = self.cluster.objects["Deployment"].get(f"helmet-v{number}")
        if live is not None and number not in self.wish.versions:
            self.cluster.delete(live)
        self.then(quiet)

    # What Jobs do.

    @precondition(lambda self: self.cluster.objects["Job"])
    @rule(
        index=INDEX,
        how=st.sampled_from(["well", "well", "well", "without an answer", "transient", "permanent", "deleted", "inconclusive", "fails"]),
        quiet=QUIET,
    )
    def a_job_ends(self, index: int, how: str, quiet: bool) -> None:
        cluster = self.cluster
        if how == "deleted":
            found = sorted(cluster.objects["Job"])
            cluster.delete(cluster.objects["Job"][found[index % len(found)]])
        elif running := cluster.unfinished():
            name = running[index % len(running)]
            component = names.label(cluster.objects["Job"][name], names.COMPONENT)
            match how:
                case "without an answer":
                    cluster.finish(name, "", answer=False)
                case "transient":
                    cluster.finish(name, gen.outcome(reason="DownloadFailed", message="no route to host"), code=1)
                case "permanent":
                    reason = {names.VERIFY: "WrongAnswers", names.BUILD: "WeightsUnreadable"}.get(component, "ComparisonFailed")
                    cluster.finish(name, gen.outcome(reason=reason, message="off"), code=contract.PERMANENT_EXIT_CODE)
                case "inconclusive":
                    cluster.succeed(name, verdict="Inconclusive")
                case "fails":
                    cluster.succeed(name, verdict="Fail")
                case _:
                    cluster.succeed(name)
        self.then(quiet)

    # What Gateways, the API server, the operator and time do.

    @precondition(lambda self: self.cluster.objects["HTTPRoute"])
    @rule(accepted=st.booleans(), quiet=QUIET)
    def a_gateway_answers(self, accepted: bool, quiet: bool) -> None:
        self.cluster.answer_routes("True" if accepted else "False", "Accepted" if accepted else "NotAllowedByListeners")
        self.then(quiet)

    @rule(kinds=st.sets(st.sampled_from(REFUSALS), min_size=1, max_size=2))
    def writes_are_refused(self, kinds: set[str]) -> None:
        self.tally.steps += 1
        self.look(refused={(kind, "") for kind in kinds})

    @rule(writes=st.integers(0, 8))
    def the_operator_ends_in_the_middle_of_a_pass(self, writes: int) -> None:
        self.tally.steps += 1
        self.look(ends_after=writes)
        self.restarts()

    def restarts(self) -> None:
        """The operator starts anew: `plan` has no memory that it could lose."""

    @rule(quiet=QUIET)
    def the_status_is_gone(self, quiet: bool) -> None:
        self.cluster.body["status"] = {}
        # Nobody can know any more what failed, nor since when a share is held.
        self.before = replace(self.before, failed=(), held=invariants.Held())
        self.cluster.forget_what_is_stored()
        self.then(quiet)

    @rule(quiet=QUIET)
    def an_older_release_writes_the_status(self, quiet: bool) -> None:
        found = self.cluster.body.get("status", {})
        kept = {key: value for key, value in found.items() if key in OLDER["status"]}
        if "rollout" in kept:
            kept["rollout"] = {key: value for key, value in kept["rollout"].items() if key in OLDER["rollout"]}
        kept["versions"] = [{key: value for key, value in each.items() if key in OLDER["version"]} for each in kept.get("versions", ())]
        if kept != found:
            self.before = replace(self.before, failed=())
            self.cluster.forget_what_is_stored()
        self.cluster.body["status"] = kept
        self.then(quiet)

    @rule(seconds=SECONDS, work=st.booleans())
    def time_passes(self, seconds: int, work: bool) -> None:
        self.cluster.later(seconds)
        if work:
            self.cluster.roll()
            self.cluster.kubelet()
        self.then()

    @rule(number=NUMBERS, seconds=st.sampled_from([0, 130, 601]), rounds=st.integers(1, 6))
    def a_canary_goes_on(self, number: int, seconds: int, rounds: int) -> None:
        self.tally.steps += 1
        self.wish.versions.setdefault(number, {})
        self.wish.canary = True
        self.cluster.write_spec(self.wish.spec())
        self.calm(rounds)
        self.cluster.later(seconds)
        self.calm(rounds)

    @rule(seconds=SECONDS, rounds=st.integers(1, 3))
    def time_passes_and_nothing_goes_wrong(self, seconds: int, rounds: int) -> None:
        self.tally.steps += 1
        self.cluster.later(seconds)
        self.calm(rounds)

    @rule(rounds=st.integers(1, 8))
    def nothing_goes_wrong_for_a_while(self, rounds: int) -> None:
        self.tally.steps += 1
        self.calm(rounds)

    @rule(minutes=st.sampled_from([0, 3, 11]))
    def all_comes_to_rest(self, minutes: int) -> None:
        self.tally.steps += 1
        self.cluster.gpus = self.cluster.quota = None
        if self.wish.top.pop("suspend", False):
            self.cluster.write_spec(self.wish.spec())
        self.calm(12)
        self.cluster.later(60 * minutes)
        self.calm(12)


def configured(steps: int, *, derandomize: bool) -> settings:
    """Settings for so many steps: the same ones in every run of `make test`; without Hypothesis' database, so that no run depends on another."""
    return settings(
        max_examples=max(1, steps // STEPS_PER_RUN),
        stateful_step_count=STEPS_PER_RUN,
        derandomize=derandomize,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        backend="walks",
    )


def searched(machine: type[Search], steps: int, *, number: int | None = None, only: str = "") -> Tally:
    """Search so many steps: from a number as a seed, or the same ones in every run. What breaks is told with a sequence that has no step too many.

    `only`: the name of one invariant, where the others are not asked.
    """
    tally = Tally()
    asked = [each for each in invariants.INVARIANTS if only in ("", each.__name__)]
    machine = type(machine.__name__, (machine,), {"asked": asked})
    found = type(machine.__name__, (machine,), {"tally": tally})
    try:
        run_state_machine_as_test(found if number is None else seed(number)(found), settings=configured(steps, derandomize=number is None))
    except AssertionError as error:
        taken = [line for note in error.__notes__ for line in note.splitlines() if line.startswith("state.") and line != "state.teardown()"]
        least = minimal(machine, taken, kind(error))
        raise AssertionError("\n".join([f"after {tally.steps} steps: {replayed(machine, least) or error}", *least])) from None
    return tally


def kind(error: object) -> str:
    """What is broken, without figures."""
    return re.sub(r"{[^}]*}|[0-9.]+", "#", str(error).split("; ")[0])


def replayed(machine: type[Search], lines: Sequence[str]) -> AssertionError | None:
    """What breaks when the steps are taken again; those that are not possible then are left out."""
    state = type(machine.__name__, (machine,), {"tally": Tally()})()
    known = {each.function.__name__: each for each in (*machine.setup_state().rules, *machine.setup_state().initializers)}
    try:
        for line in lines:
            if all(holds(state) for holds in known[line.partition("(")[0].removeprefix("state.")].preconditions):
                exec(line, {"state": state})
    except AssertionError as error:
        return error
    finally:
        state.teardown()
    return None


def minimal(machine: type[Search], lines: Sequence[str], broken: str) -> Sequence[str]:
    """The fewest of the steps after which the same breaks. Hypothesis would take minutes for it: here a step that is left out changes no other."""
    size = max(1, len(lines) // 2)
    while True:
        before, i = len(lines), 0
        while i < len(lines):
            fewer = [*lines[:i], *lines[i + size :]]
            if kind(replayed(machine, fewer)) == broken:
                lines = fewer
            else:
                i += size
        if size == 1 and len(lines) == before:
            return lines
        size = max(1, size // 2)


def record(tally: Tally, what: str, note: Callable[[str, object], None]) -> None:
    """A line of docs/reliability.md."""
    note("Fault", f"anything that may happen, in any order: {what}")
    note("On", "")
    note("Tried", f"{tally.steps} steps, {tally.passes} passes, {len(tally.states)} states")
    note("Ended well", str(tally.steps))
