"""What the allocation of pods and requests follows from: one immutable value per version, made once in a pass."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction

from yolo_operator.core import api, names, pods, verification
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, deployments_by_version, ready_versions, triton_pods
from yolo_operator.core.pods import Problem
from yolo_operator.core.progress import Progress, is_current, is_up_to_date, relative_weight

ROUTE_WAITS = frozenset({"RouteNotAccepted", "RouteRefsNotResolved", "RoutePending", "GatewayApiMissing"})
"""Reasons of `routes.problem` with which the Gateways may go on sending as they did before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version, declared or not, that is to have pods or has a Deployment."""

    number: int
    declared: bool = False
    weight: int = 0
    """Relative share that the spec asks for, with strategy Weighted; 0 where it is not declared."""
    own_pods: int | None = None
    """spec.versions[].replicas."""
    excluded: bool = False
    """It may have no requests, whatever its weight is."""
    wrong: bool = False
    """Each of its ready pods is of a template that has been found to answer wrongly."""
    deployed: bool = False
    """It has a Deployment."""
    requested: int = 0
    """Replicas of its Deployment, as asked for before this pass."""
    ready: int = 0
    """Pods that take requests, of any verified template."""
    available: int = 0
    """Pods of the wanted template that are verified and available, as the Deployment tells of its present generation."""
    serving: int = 0
    """Available pods of any verified template, as the Deployment tells of its present generation."""
    sent: Fraction = Fraction(0)
    """Part of the requests, 0 to 1, that the live routes send to it; all, while a Gateway has not taken the routes as they are."""
    selected: bool = False
    """The live Service of the resource selects it alone."""


Facts = Mapping[int, VersionFacts]


def gather(yolo: api.YoloDeployment, observed: Observed, progress: Sequence[Progress], failed: Set[int], unrouted: Problem | None) -> Facts:
    """The facts of all versions, by number.

    `failed`: versions whose pods are of a revision that failed; `unrouted`: why the Gateways may still send requests as the routes said before.
    """
    ready, sent, alone = ready_versions(observed), sent_by_routes(yolo, observed, unrouted), selected_alone(yolo, observed)
    declared = {each.version.version: each for each in progress}
    deployed = deployments_by_version(observed)
    return {
        number: one(
            number,
            declared.get(number),
            deployed.get(number),
            failed=number in failed,
            ready=ready.get(number, 0),
            sent=sent.get(number, Fraction(0)),
            selected=number == alone,
            wrong=number in declared and answers_wrongly(yolo, declared[number], observed),
        )
        for number in sorted(declared.keys() | deployed.keys() | ready.keys())
    }


def one(
    number: int, progress: Progress | None, live: Manifest | None, *, failed: bool, ready: int, sent: Fraction, selected: bool, wrong: bool
) -> VersionFacts:
    """The facts of one version."""
    return VersionFacts(
        number=number,
        declared=progress is not None,
        weight=0 if progress is None else relative_weight(progress.version),
        own_pods=None if progress is None else progress.version.replicas,
        # One that is declared may be of another revision by now than its pods.
        excluded=failed if progress is None else progress.excluded,
        wrong=wrong,
        deployed=live is not None,
        requested=0 if live is None else live["spec"].get("replicas", 1),
        ready=ready,
        available=0 if live is None else min(ready, available(progress, live)),
        serving=0 if live is None else min(ready, available(None, live)),
        sent=sent,
        selected=selected,
    )


def answers_wrongly(yolo: api.YoloDeployment, progress: Progress, observed: Observed) -> bool:
    """Whether all ready pods of a version are of the template whose verification has failed for good: one that was verified before its record was lost."""
    failure = progress.status.verify_failure
    if failure is None or not failure.permanent:
        return False
    return all(verification.key(yolo, pod) == failure.key for pod in triton_pods(observed, progress.version.version) if pods.is_ready(pod))


def available(progress: Progress | None, live: Manifest) -> int:
    """Pods that a version can be counted on for: of the wanted template and verified, or, of one that is kept as it is, of any."""
    status = live.get("status", {})
    if progress is None or progress.kept:
        return int(status.get("availableReplicas", 0)) if is_up_to_date(live) else 0
    if not progress.verified or not is_current(progress, live):
        return 0
    return int(min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)))


def selected_alone(yolo: api.YoloDeployment, observed: Observed) -> int:
    """The version that the live Service of the resource selects alone; 0 where it selects all."""
    live = observed.services.get(yolo.name)
    label = live["spec"].get("selector", {}).get(names.VERSION, "") if live is not None else ""
    return int(label) if label.isdigit() else 0


def sent_by_routes(yolo: api.YoloDeployment, observed: Observed, unrouted: Problem | None) -> dict[int, Fraction]:
    """Part of the requests that each version is sent by the live routes, the larger one of HTTP and gRPC."""
    numbers = {live["metadata"]["name"]: number for number, live in deployments_by_version(observed).items()}
    if yolo.spec.traffic.mode != "Gateway":
        return {}
    if unrouted is not None:
        return dict.fromkeys(numbers.values(), Fraction(1))
    found = dict.fromkeys(numbers.values(), Fraction(0))
    rules = [rule for store in (observed.http_routes, observed.grpc_routes) if yolo.name in store for rule in store[yolo.name]["spec"]["rules"]]
    for rule in rules:
        if any("headers" in match for match in rule.get("matches", ())):
            continue
        weights = {numbers[backend["name"]]: backend.get("weight", 1) for backend in rule["backendRefs"] if backend["name"] in numbers}
        found |= {number: max(found[number], Fraction(weight, sum(weights.values()))) for number, weight in weights.items() if weight}
    return found


def is_ready(facts: Facts, number: int) -> bool:
    """Whether a version has a pod that takes requests."""
    return number in facts and facts[number].ready > 0
