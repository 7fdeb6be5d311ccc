"""What holds after every pass, whatever came before it. Tests ask; the operator itself does not.

Judged from the outside: the spec, the objects before and after the pass's writes and the recorded status, never the allocation that makes
them so. What needs more than one pass is judged with `Before`, which whoever asks keeps:

    view = view_of(seen, before)
    found = violations(view)
    before = remember(view)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from yolo_operator.core import api, conditions, names, pods
from yolo_operator.core.contract import Artifact
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, deployed_revision, deployments_by_version, ready_versions, template_hash
from yolo_operator.core.rollout.compatibility import COMPARED

FAILURES = frozenset({"AnalysisFailed", "ProgressDeadlineExceeded", "WrongAnswers"})
"""Reasons for which a version has failed; an abort is the user's word, which he takes back."""
PERCENT = 1.0
"""Weights are whole percents, or relative numbers that are as coarse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One pass as anybody can see it."""

    yolo: api.YoloDeployment
    """The resource as the pass read it, its status as it was before."""
    observed: Observed
    """The children as the pass saw them."""
    after: Observed
    """The children with what the pass wrote."""
    status: api.Status
    """The status that is recorded now."""
    now: datetime
    stored: Set[tuple[str, str]] = frozenset()
    """What the storages hold of the resource: its root there, and the revision."""
    refused: Set[tuple[str, str]] = frozenset()
    """Kind and name of what the API server would not take."""
    complete: bool = True
    """False: the operator ended in the middle of the pass."""
    settled: bool = False
    """Nothing is under way any more: no Job runs, no pod starts or ends, and the pass wrote nothing."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A version that has failed, and what the spec said then."""

    version: int
    revision: str
    reason: str
    retry: str | None
    promoted: bool
    limits: api.Verify


@dataclass(frozen=True, slots=True)
class Held:
    """For how long a canary has held the share of its step."""

    attempt: tuple[object, ...] = ()
    """The canary, its revision, its step and the step's weight."""
    seconds: float = 0
    holding: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is remembered of the passes before."""

    replicas: int | None = None
    """spec.replicas of the last one, None before the first."""
    steps: tuple[api.Step, ...] = ()
    traffic: Set[int] = frozenset()
    """Versions that had traffic last, or still have a claim to it, as nothing that is ready has taken it over."""
    failed: tuple[Failed, ...] = ()
    held: Held = Held()
    sent: Mapping[int, float] = field(default_factory=dict)
    """Percent of the requests that the Gateways may have sent each version last."""
    first: Mapping[int, str] = field(default_factory=dict)
    """The revision that each version had when it first had a Deployment."""


@dataclass(frozen=True)
class View:
    """A pass and what came before it, with what several invariants ask."""

    seen: Seen
    before: Before
    failed: tuple[Failed, ...]
    """Those of before that nothing in the spec has let off, and those of this pass."""

    @property
    def yolo(self) -> api.YoloDeployment:
        """The resource, with replicas 0 where it is suspended."""
        return api.scaled_to_zero(self.seen.yolo) if self.seen.yolo.spec.suspend else self.seen.yolo

    @property
    def gateway(self) -> bool:
        """Whether routes share the requests out."""
        return self.yolo.spec.traffic.mode == "Gateway"

    @property
    def total(self) -> int:
        """spec.replicas."""
        return self.yolo.spec.replicas

    @property
    def state(self) -> api.RolloutStatus | None:
        """The rollout as it is recorded now, with strategy Canary."""
        return self.seen.status.rollout if self.yolo.spec.rollout.strategy == "Canary" else None

    @cached_property
    def declared(self) -> Mapping[int, api.Version]:
        """Versions of the spec."""
        return {version.version: version for version in self.yolo.spec.versions}

    @cached_property
    def deployed(self) -> Mapping[int, Manifest]:
        """The Deployments by version, as the pass saw them."""
        return deployments_by_version(self.seen.observed)

    @cached_property
    def ready(self) -> Mapping[int, int]:
        """Ready pods per version."""
        return ready_versions(self.seen.observed)

    @cached_property
    def able(self) -> Mapping[int, int]:
        """Ready pods per version, of those that may have traffic."""
        return {number: count for number, count in self.ready.items() if may_have_traffic(self, number)}

    @cached_property
    def weights(self) -> Mapping[int, float]:
        """Percent of the requests that the route gives each version after the pass; empty where it gives none to any."""
        return routed(self.yolo, self.seen.after)

    @cached_property
    def sent(self) -> Mapping[int, float]:
        """Percent of the requests that the Gateways may send each version when the pass begins."""
        return sent(self.yolo, self.seen.observed, self.before.sent)

    @cached_property
    def judged(self) -> bool:
        """Whether the pass could write what shares the traffic out."""
        shared = {("Service", self.yolo.name), ("HTTPRoute", self.yolo.name)}
        return self.seen.complete and not shared & self.seen.refused and (not self.gateway or self.seen.after.gateway_api)

    @cached_property
    def artifacts(self) -> Mapping[int, Artifact | None]:
        """What the ready pods of each version serve; None where they are of another revision than the one that the status describes."""
        revisions = {(names.label(pod, names.VERSION), names.label(pod, names.REVISION)) for pod in self.seen.observed.pods if pods.is_ready(pod)}
        known = {each.version: each.artifact for each in self.seen.status.versions if each.artifact is not None}
        return {number: artifact if (str(number), artifact.revision) in revisions else None for number, artifact in known.items()}

    def deployment(self, number: int) -> Manifest | None:
        """The Deployment of a version after the pass."""
        return self.seen.after.deployments.get(names.versioned(self.yolo, number))

    def staying(self, number: int) -> int:
        """Ready pods of a version that its Deployment keeps: others are on their way out."""
        return min(self.ready.get(number, 0), replicas_of(self.deployment(number)))

    @cached_property
    def selected(self) -> Mapping[int, int]:
        """Ready pods per version that the resource's own Service selects."""
        service = self.seen.after.services.get(self.yolo.name)
        if service is None:
            return {}
        wanted = service["spec"]["selector"].items()
        chosen = [pod for pod in self.seen.after.pods if wanted <= pod["metadata"].get("labels", {}).items()]
        return ready_versions(replace(self.seen.after, pods=chosen))

    @cached_property
    def traffic(self) -> Set[int]:
        """Versions that have requests after the pass."""
        if self.gateway:
            return {number for number, weight in self.weights.items() if weight and self.ready.get(number)}
        return {number for number in self.selected if self.staying(number)}

    @cached_property
    def shares(self) -> Mapping[int, tuple[float, int]]:
        """Percent of the requests that each version is to have, and the pods that it needs for it."""
        state = self.state
        if state is not None:
            weight = state.weight if state.canary and state.started and state.phase != "Degraded" else 0
            parts: dict[int, float] = {state.stable: 100.0 - weight} | ({state.canary: float(weight)} if weight else {})
        else:
            weights = {number: 1 if version.weight is None else version.weight for number, version in self.declared.items() if may_have_traffic(self, number)}
            whole = sum(weights.values())
            parts = {number: 100 * weight / whole for number, weight in weights.items() if weight}
        # Each of the others has one pod at least.
        own = {number for number, version in self.declared.items() if version.replicas is not None}
        most = max(1, self.total - len(parts) + 1) if state is None else self.total
        return {number: (part, self.needed(number, part) if number in own else min(most, self.needed(number, part))) for number, part in parts.items() if part}

    def needed(self, number: int, part: float) -> int:
        """Pods that a version needs for a percentage of the requests: at least one, unless there are to be none at all."""
        own = self.declared[number].replicas if number in self.declared else None
        if not self.total or own is not None:
            return min(self.total, 1) * (own or 0)
        return max(1, -int(-self.total * part // 100))

    def per_pod(self, number: int) -> float:
        """Percent of the requests that one pod of a version can take."""
        part, needed = self.shares.get(number, (0.0, 0))
        stable = self.state is not None and number == self.state.stable
        own = self.declared[number].replicas if number in self.declared else None
        if stable and own:
            return 100 / own
        enough = not own and self.staying(number) > needed
        return part / needed if part and needed and not stable and not enough else 100 / max(1, self.total)


def may_have_traffic(view: View, number: int) -> bool:
    """Whether a version whose pods are ready answers for the resource: it has a share, or stands in until what takes over is ready."""
    state = view.state
    if barred(view, number) or excluded(view, number):
        return False
    if state is not None and number != state.stable:
        wrong = any(each.version == number and each.verify_failure is not None and each.verify_failure.permanent for each in view.seen.status.versions)
        return not wrong and (not view.gateway or number != state.previous)
    return True


def barred(view: View, number: int) -> bool:
    """Whether a version may be sent no request, whatever else there is: it failed, was aborted, is read otherwise, or gets only copies."""
    state, version = view.state, view.declared.get(number)
    mirror = view.yolo.spec.traffic.gateway.mirror if view.yolo.spec.traffic.gateway is not None else None
    if any(each.version == number for each in view.failed) or (mirror is not None and mirror.version == number):
        return True
    if excluded(view, number) and view.artifacts.get(number) is not None:
        return True
    if state is not None:
        return state.canary == number and state.phase == "Degraded"
    # Beside others that are not complete it stands in with the pods that it has.
    others = [other for other, each in view.declared.items() if each.weight != 0 and not excluded(view, other)]
    complete = view.seen.settled and bool(others) and all(view.ready.get(other) for other in others)
    return version is not None and version.weight == 0 and complete


def excluded(view: View, number: int) -> bool:
    """Whether clients of the other versions would misread what a version serves: not where that is still what it was before an edit."""
    return any(
        each.version == number
        and each.reason == "VersionsIncompatible"
        and (revision_of(view, number) in ("", each.revision) or not replicas_of(view.deployment(number)))
        for each in view.seen.status.versions
    )


def routed(yolo: api.YoloDeployment, observed: Observed) -> dict[int, float]:
    """Percent of the requests per version by the HTTPRoute's rule without a header; empty where there is none, or all its weights are 0."""
    live = observed.http_routes.get(yolo.name)
    prefix = names.versioned(yolo, 0)[:-1]
    found: dict[int, int] = {}
    for rule in live["spec"]["rules"] if live is not None else ():
        if not any("headers" in match for match in rule.get("matches", ())):
            found = {int(backend["name"].removeprefix(prefix)): backend.get("weight", 1) for backend in rule["backendRefs"]}
    whole = sum(found.values())
    return {number: 100 * weight / whole for number, weight in found.items()} if whole else {}


def sent(yolo: api.YoloDeployment, observed: Observed, before: Mapping[int, float]) -> Mapping[int, float]:
    """Percent of the requests per version that the Gateways may send: by the route, and, until they have taken it as it is, by those before."""
    now, live = routed(yolo, observed), observed.http_routes.get(yolo.name)
    if live is not None and (parents := live.get("status", {}).get("parents")):
        generation = live["metadata"]["generation"]
        answers = [condition for parent in parents for condition in parent["conditions"] if condition["type"] == "Accepted"]
        if all(each["status"] == "True" and each.get("observedGeneration", generation) >= generation for each in answers):
            return now
    return {number: max(now.get(number, 0), before.get(number, 0)) for number in now.keys() | before.keys()}


def revision_of(view: View, number: int) -> str:
    """The revision that a version's Deployment is to serve."""
    return deployed_revision(view.deployment(number))


def replicas_of(deployment: Manifest | None) -> int:
    """Pods that a Deployment asks for."""
    return int(deployment["spec"].get("replicas", 1)) if deployment is not None else 0


def what_is_ready_answers(view: View) -> Iterator[str]:
    """If any pod that may have traffic is ready, the routed weights are not all 0, and only versions with ready pods have any; a Service selects something
    that is ready.
    """
    if not view.judged or not view.able or not view.total:
        return
    if not view.selected.keys() & view.able.keys():
        yield f"the Service selects no ready pod, and there are {dict(view.able)} per version"
    if view.gateway:
        if not view.weights:
            yield f"the route gives no version any weight, and there are ready pods of {dict(view.able)}"
        for number, weight in view.weights.items():
            if weight and not view.ready.get(number):
                yield f"version {number} is sent {weight:.0f} % and has no ready pod"
            elif weight and barred(view, number):
                yield f"version {number} is sent {weight:.0f} % and may have none"
    else:
        for number in view.selected:
            if barred(view, number) and view.staying(number):
                yield f"the Service selects ready pods of version {number}, which may have no traffic"


def no_more_than_it_can_take(view: View) -> Iterator[str]:
    """No version is sent more than the part its ready pods are of what its share needs, a pod or a percent apart; where all together cannot take everything,
    each gets its part of what they can.
    """
    if not view.judged or not view.gateway or not view.total:
        return
    takes = {number: view.staying(number) * view.per_pod(number) for number in view.able}
    canary = view.state.canary if view.state is not None and view.state.started else 0
    # A canary is sent no more than its step's share, whatever it could take.
    whole = min(100.0, sum(min(amount, view.shares.get(number, (0.0, 0))[0]) if number == canary else amount for number, amount in takes.items()))
    for number, weight in view.weights.items() if whole else ():
        if number in takes:
            most = (takes[number] + view.per_pod(number)) * 100 / whole + PERCENT
            if weight > most:
                yield f"version {number} is sent {weight:.0f} % and its {view.staying(number)} ready pods can take {takes[number]:.0f} %, {takes} in all"


def stable_is_stable(view: View) -> Iterator[str]:
    """The stable version changes by promotion, by being removed from the spec once another has all traffic, or when it can never serve again: never by
    readiness, scale, restart or a lost status.
    """
    before, now = view.yolo.status.rollout, view.state
    if now is None:
        return
    deployed = {number for number, live in view.deployed.items() if replicas_of(live)}
    if before is None or not before.stable:
        if not view.yolo.status.versions and len(expected := of_lost_status(view, deployed)) == 1 and now.stable not in expected:
            yield f"the status was gone: version {now.stable} is stable, and {expected} served"
        return
    if now.stable == before.stable:
        return
    promoted = before.canary == now.stable and before.weight == 100
    removed = before.stable not in view.declared
    if not promoted and not (removed and view.before.traffic <= {now.stable}) and not (removed and before.stable not in view.deployed):
        yield f"stable was version {before.stable} and is {now.stable}, without a promotion"


def of_lost_status(view: View, deployed: Set[int]) -> Set[int]:
    """Which version was stable, as far as the objects tell: with a Gateway the one that the Service selects, else what alone has pods."""
    service = view.seen.observed.services.get(view.yolo.name)
    label = service["spec"]["selector"].get(names.VERSION, "") if service is not None else ""
    if view.gateway and label.isdigit() and int(label) in deployed:
        return {int(label)}
    return deployed


def nothing_that_serves_goes_first(view: View) -> Iterator[str]:
    """Nothing that serves is scaled down or deleted before what takes over is ready for it, in every mode and for every edit of the spec."""
    for number, live in sorted(view.deployed.items()):
        have = replicas_of(live)
        keeps, ready = replicas_of(view.deployment(number)), view.ready.get(number, 0)
        if keeps >= have or not view.total:
            continue
        if view.judged and view.gateway and not keeps and ready and (weight := max(view.weights.get(number, 0), view.sent.get(number, 0))):
            yield f"version {number} loses its pods and is sent {weight:.0f} %"
        taken = min(ready, have) - keeps
        if taken <= 0 or number not in view.able:
            continue
        others = {other: count for other, count in view.able.items() if other != number}
        replaced = sum(others.values()) + keeps >= view.total
        served = all(others.get(other, 0) >= rounded_down(needed) for other, (_, needed) in view.shares.items() if other != number)
        mine = rounded_down(view.shares.get(number, (0.0, 0))[1])
        settled = bool(others) and served and (keeps >= mine or number not in view.shares)
        fell = view.before.replicas is not None and view.total < view.before.replicas and keeps >= mine
        asked = number in view.declared and view.declared[number].replicas is not None and keeps >= mine and served
        if not (replaced or settled or fell or asked or (taken == 1 and may_be_preempted(view, number))):
            yield f"version {number} had {ready} ready pods and keeps {keeps}, and the others have {others} of {view.total}"


def rounded_down(needed: int) -> int:
    """Where pods are shared out by the largest remainder, a version may have one less than its share rounded up."""
    return needed - 1 if needed > 1 else needed


def may_be_preempted(view: View, number: int) -> bool:
    """Whether a pod of a version may go for one of another that finds no GPU, or none within the quota."""
    if view.yolo.spec.rollout.gpu == "Surge":
        return False
    waiting = [
        pod
        for pod in view.seen.observed.pods
        if names.label(pod, names.VERSION) not in ("", str(number)) and (found := pods.diagnose(pod, job=False)) and found.reason == "InsufficientGPU"
    ]
    refused = [
        live
        for live in view.seen.observed.deployments.values()
        if names.label(live, names.VERSION) != str(number)
        for condition in live.get("status", {}).get("conditions", ())
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    ]
    return bool(waiting or refused)


def what_failed_stays_out(view: View) -> Iterator[str]:
    """A version that failed (analysis, answers, deadline) gets traffic again only as another revision, by another spec.rollout.retry, or by promote."""
    for each in view.failed:
        if each.version in view.traffic and view.judged and ("Deployment", names.versioned(view.yolo, each.version)) not in view.seen.refused:
            yield f"version {each.version} has traffic and has failed: {each.reason}"


def time_counts_while_it_holds(view: View) -> Iterator[str]:
    """A canary's time counts only while it holds its share; it is promoted only while it holds it."""
    before, now = view.yolo.status.rollout, view.state
    if before is None or now is None or not before.canary or not view.total:
        return
    if now.stable == before.canary and now.stable != before.stable and before.stable in view.declared.keys() | view.deployed.keys():
        if (ready := view.ready.get(now.stable, 0)) < max(1, view.needed(now.stable, 100) - 1):
            yield f"version {now.stable} is promoted with {ready} ready pods"
        return
    spec = view.yolo.spec.rollout
    same = (before.canary, before.revision) == (now.canary, now.revision) and tuple(spec.steps) == view.before.steps
    if same and now.step > before.step and spec.promote != now.canary and 1 <= before.step <= len(spec.steps) and before.phase != "Degraded":
        held, duration = holding(view, before).seconds, spec.steps[before.step - 1].duration.total_seconds()
        if held < duration - 1:
            yield f"step {before.step} is over after the canary had its share for {held:.0f} of {duration:.0f} s"


def the_deadline_is_for_what_is_missing(view: View) -> Iterator[str]:
    """A canary whose pods are all there has its share: it never fails for being late."""
    before, now = view.yolo.status.rollout, view.state
    late = now is not None and now.reason == "ProgressDeadlineExceeded" and (before is None or before.reason != now.reason)
    if now is None or not late or now.stable not in view.ready:
        return
    live = view.deployed.get(now.canary)
    asked, found = replicas_of(live), (live or {}).get("status", {})
    wanted = next((each.revision for each in view.seen.status.versions if each.version == now.canary), "")
    after = view.deployment(now.canary)
    if (
        live is None
        or after is None
        or found.get("observedGeneration") != live["metadata"].get("generation")
        or live["spec"]["template"] != after["spec"]["template"]
        or names.label(live["spec"]["template"], names.REVISION) != wanted
    ):
        return
    # Where there are more, an old one may be ready and a new one not.
    if asked and asked == found.get("replicas") == found.get("updatedReplicas") == found.get("availableReplicas") == view.ready.get(now.canary):
        yield f"version {now.canary} is too late, and all {asked} pods that it was to have are ready"


def holding(view: View, state: api.RolloutStatus) -> Held:
    """For how long the canary has held the share of a recorded step: between two looks, if it held it at one of them."""
    attempt = (state.canary, state.revision, state.step, state.weight)
    number, last = state.canary, view.before.held
    if view.gateway:
        route = routed(view.yolo, view.seen.observed)
        has = route.get(number, 0) >= min(state.weight, 100) - PERCENT
        needed = view.needed(number, state.weight)
    else:
        has, needed = True, view.total if state.weight >= 50 else max(1, round(view.total * state.weight / (100 - state.weight)))
    holds = bool(state.canary) and state.phase != "Degraded" and has and view.ready.get(number, 0) >= max(1, needed - 1)
    if last.attempt != attempt:
        return Held(attempt, 0, holds, view.seen.now)
    passed = (view.seen.now - last.at).total_seconds() if last.at is not None else 0
    return Held(attempt, last.seconds + (passed if holds or last.holding else 0), holds, view.seen.now)


def autoscaling_reaches_what_serves(view: View) -> Iterator[str]:
    """Autoscaling reaches every version that has traffic, the undeclared stable one too."""
    if not view.seen.settled or not view.judged:
        return
    serving = {number: replicas_of(view.deployment(number)) for number in view.traffic}
    own = any(version.replicas is not None for version in view.declared.values())
    for number, have in serving.items():
        stable = view.state is not None and number == view.state.stable
        wanted = view.needed(number, 100 if stable else view.shares.get(number, (0.0, 0))[0]) if number in view.declared or stable else 0
        if have < (wanted if stable else wanted - max(1, len(view.shares) - 1)):  # each of the others has one pod at least
            yield f"version {number} has {have} pods, and is to have {wanted} of {view.total}"
    replaced = serving.keys() - view.declared.keys()
    if replaced and not own and sum(serving.values()) < view.total:
        yield f"spec.replicas is {view.total}, and what has traffic has {serving} pods"
    if len(serving) == 1 and not own and sum(serving.values()) > view.total:
        yield f"spec.replicas is {view.total}, and what has all traffic has {serving} pods"


def what_shares_traffic_is_alike(view: View) -> Iterator[str]:
    """Versions that share traffic are compatible, in whatever way each of them has come to have it; what the user edits in place is his to answer for."""
    if view.yolo.spec.traffic.allow_incompatible or not view.judged:
        return
    artifacts = {number: artifact for number, artifact in view.artifacts.items() if number in view.traffic and artifact is not None}
    if any(view.before.first.get(number, revision_of(view, number)) != revision_of(view, number) for number in view.traffic):
        return
    alike = {tuple(repr(getattr(artifact, name)) for name in COMPARED) for artifact in artifacts.values()}
    if len(alike) > 1:
        yield f"versions {sorted(artifacts)} have traffic, and clients read them differently"


def a_refusal_holds_up_nothing(view: View) -> Iterator[str]:
    """Readiness gates of verified pods are open whatever else is refused, and the status says that something was refused."""
    if not view.seen.complete:
        return
    refused = {name for _, name in view.seen.refused}
    if view.yolo.name not in {name for kind, name in view.seen.refused if kind == api.KIND}:
        verified = {entry.pod_template_hash for each in view.seen.status.versions for entry in each.verified}
        for pod in view.seen.after.pods:
            if template_hash(pod) in verified and pods.waits_at_gate(pod) and pod["metadata"]["name"] not in refused:
                yield f"pod {pod['metadata']['name']} is of a verified template and its readiness gate is closed"
        if refused and conditions.is_true(view.seen.status.conditions, conditions.READY):
            yield f"{sorted(refused)} was refused, and Ready is True"


def what_was_published_is_known(view: View) -> Iterator[str]:
    """What was published is known with its whole address, until it has been removed."""
    status = view.seen.status
    known = {(root_of(view.yolo, each.uri), entry) for each in status.previous_storages for entry in each.revisions}
    if status.storage is not None:
        known |= {(root_of(view.yolo, status.storage.uri), entry) for entry in status.published}
    if view.seen.complete and (forgotten := view.seen.stored - known):
        yield f"{sorted(forgotten)} is published, and the status knows {sorted(known)}"


def root_of(yolo: api.YoloDeployment, uri: str) -> str:
    """Where a resource's revisions are in a storage."""
    return f"{uri.rstrip('/')}/{yolo.namespace}/{yolo.name}"


def what_is_suspended_has_no_pods(view: View) -> Iterator[str]:
    """While spec.suspend is true no Deployment asks for pods and no Job is begun; nothing that is declared is deleted."""
    if not view.yolo.spec.suspend or not view.seen.complete:
        return
    refused = {name for _, name in view.seen.refused}
    for number in sorted(view.deployed):
        name, after = names.versioned(view.yolo, number), view.deployment(number)
        if name not in refused and replicas_of(after):
            yield f"version {number} is to have {replicas_of(after)} pods"
        if after is None and number in view.declared:
            yield f"the Deployment of version {number} is gone"
    if begun := view.seen.after.jobs.keys() - view.seen.observed.jobs.keys():
        yield f"{sorted(begun)} begins"


INVARIANTS: tuple[Callable[[View], Iterator[str]], ...] = (
    what_is_ready_answers,
    no_more_than_it_can_take,
    stable_is_stable,
    nothing_that_serves_goes_first,
    what_failed_stays_out,
    time_counts_while_it_holds,
    the_deadline_is_for_what_is_missing,
    autoscaling_reaches_what_serves,
    what_shares_traffic_is_alike,
    a_refusal_holds_up_nothing,
    what_was_published_is_known,
    what_is_suspended_has_no_pods,
)
"""All of them."""


def view_of(seen: Seen, before: Before) -> View:
    """A pass beside what came before it."""
    return View(seen, before, failures(seen, before))


def violations(view: View, invariants: Sequence[Callable[[View], Iterator[str]]] = INVARIANTS) -> list[str]:
    """What does not hold after a pass: the name of the invariant, and how it is broken."""
    return [f"{invariant.__name__}: {how}" for invariant in invariants for how in invariant(view)]


def remember(view: View) -> Before:
    """What the next pass is judged with."""
    seen, before = view.seen, view.before
    state, held = seen.status.rollout, before.held
    if state is not None:
        counted = holding(view, view.yolo.status.rollout) if view.yolo.status.rollout is not None else Held()
        attempt = (state.canary, state.revision, state.step, state.weight)
        # A share that is held is held on where an edit gives its step another number.
        renumbered = tuple(view.yolo.spec.rollout.steps) != before.steps and (*counted.attempt[:2], *counted.attempt[3:]) == (*attempt[:2], *attempt[3:])
        if counted.attempt == attempt or renumbered:
            held = replace(counted, attempt=attempt)
        else:
            held = Held(attempt, 0, counted.holding and counted.attempt[:2] == attempt[:2], seen.now)
    return Before(
        replicas=view.total,
        # Those that the recorded state is at a step of: a pass that ended before it wrote anything has not moved it to others.
        steps=tuple(view.yolo.spec.rollout.steps) if seen.complete or seen.status != view.yolo.status else before.steps,
        traffic=frozenset(view.traffic or before.traffic),
        failed=view.failed,
        held=held,
        sent=sent(view.yolo, seen.after, view.sent) if view.gateway else {},
        first={number: before.first.get(number, revision_of(view, number)) for number in deployments_by_version(seen.after)},
    )


def failures(seen: Seen, before: Before) -> tuple[Failed, ...]:
    """Versions that have failed and that nothing in the spec of this pass lets off."""
    spec, state = seen.yolo.spec.rollout, seen.status.rollout
    wanted = {each.version: each.revision for each in seen.status.versions}
    kept = []
    for each in before.failed:
        again = spec.retry is not None and spec.retry != each.retry
        promoted = spec.promote == each.version and not each.promoted
        limits = each.reason == "WrongAnswers" and spec.verify != each.limits
        if not (again or promoted or limits or wanted.get(each.version, each.revision) != each.revision):
            kept.append(replace(each, promoted=spec.promote == each.version))
    failed = state is not None and state.phase == "Degraded" and state.reason in FAILURES and spec.strategy == "Canary"
    if failed and state is not None and state.canary:
        new = Failed(state.canary, state.revision, state.reason, spec.retry, spec.promote == state.canary, spec.verify)
        kept = [each for each in kept if each.version != new.version] + [next((each for each in kept if each.version == new.version), new)]
    return tuple(kept)
