"""What should happen next to one YoloServer: its pods, which models they are to have, which of them may take requests.

Which model goes where is decided in the passes of the YoloDeployments (`model`) and stands in their statuses; this one gathers what they want. Pure, as
`plan` is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from yolo_operator.core import api, conditions, drift, image_updates, names, pods, refused_pods
from yolo_operator.core.context import PodChange
from yolo_operator.core.defaults import Defaults, release_of
from yolo_operator.core.errors import OperatorError
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import overdue, template_hash
from yolo_operator.core.pods import Problem
from yolo_operator.core.resources import budget, overlay
from yolo_operator.core.resources import server as resources
from yolo_operator.core.served_models import MEMBER, WANTED, WantedModel, WantedModels

TEMPLATES_KEPT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerObserved:
    """What there is of a server, and the YoloDeployments that refer to it."""

    deployments: Mapping[str, Manifest] = field(default_factory=dict)
    pods: Sequence[Manifest] = ()
    models: Sequence[Manifest] = ()


@dataclass(slots=True, kw_only=True)
class ServerPlan:
    """What to write."""

    status: api.ServerStatus
    apply: list[Manifest] = field(default_factory=list)
    change_pods: list[PodChange] = field(default_factory=list)
    open_gates: list[Manifest] = field(default_factory=list)
    finalizer: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A YoloDeployment that refers to the server."""

    name: str
    model: str
    shared: api.SharedStatus
    reason: str
    """Of its condition Ready."""
    deleting: bool

    @property
    def serves(self) -> bool:
        """Whether pods are to take requests for it."""
        return not self.deleting and bool(self.shared.serving and self.shared.wanted)


def plan_server(server: api.YoloServer, observed: ServerObserved, defaults: Defaults, now: datetime) -> ServerPlan:
    """Decide what should exist next. Raises InvalidSpec."""
    members = [member_of(body) for body in sorted(observed.models, key=lambda body: body["metadata"]["name"])]
    if server.deleting and not members:
        return ServerPlan(status=server.status, finalizer=False)
    overlay.check(server.spec.triton.pod_template, frozenset({names.AGENT}))
    result = ServerPlan(status=server.status)
    live = observed.deployments.get(server.name)
    there = [pod for pod in observed.pods if not pods.is_terminating(pod)]
    wanted = list_of(server, members, there)
    for pod in there:
        change = change_of(pod, wanted, members)
        if change is not None:
            result.change_pods.append(change)
    complete = [*server.status.complete_templates]
    for pod in filter(pods.answers, there):
        if pods.waits_at_gate(pod):
            if not may_open(pod, members, complete):
                continue
            result.open_gates.append(pod)
        # Also of a gate that is open already: an operator may have ended before it wrote this down.
        if not missing(pod, members) and template_hash(pod) not in complete:
            complete.append(template_hash(pod))
    result.apply += [resources.build(server, live, defaults), budget.of_server(server)]
    result.status = status_of(server, observed, members, there, wanted, complete[-TEMPLATES_KEPT:], defaults, now)
    return result


def member_of(body: Manifest) -> Member:
    """A YoloDeployment, as far as the server is concerned."""
    status = api.parse_status(body.get("status", {}))
    ready = conditions.find(status.conditions, conditions.READY)
    return Member(
        name=body["metadata"]["name"],
        model=api.model_name_of(body),
        shared=status.shared or api.SharedStatus(server=""),
        reason="Pending" if ready is None else ready.reason,
        deleting="deletionTimestamp" in body["metadata"],
    )


def list_of(server: api.YoloServer, members: Sequence[Member], there: Sequence[Manifest]) -> WantedModels:
    """What the pods are to have. A model whose resource has gone stays while a pod may still be asked for it."""
    newest = max((found for pod in there if (found := listed(pod)) is not None), key=lambda found: found.serial, default=None)
    models = [
        WantedModel(name=each.name, uri=each.uri, model=member.model, deployment=member.name)
        for member in members
        if not member.deleting
        for each in member.shared.wanted
    ]
    known = {member.name for member in members if not member.deleting}
    asked = {key.removeprefix(MEMBER) for pod in there for key in pod["metadata"].get("labels", {}) if key.startswith(MEMBER)}
    models += [each for each in (newest.models if newest is not None else ()) if each.deployment not in known and each.deployment in asked]
    models.sort(key=lambda each: each.name)
    if newest is None:
        return WantedModels(serial=max(server.status.serial, 1), models=models)
    if newest.models == models:
        return newest
    return WantedModels(serial=max(newest.serial, server.status.serial) + 1, models=models)


def listed(pod: Manifest) -> WantedModels | None:
    """The list that a pod has been given; None where there is none, or somebody has spoilt it."""
    text = pod["metadata"].get("annotations", {}).get(WANTED)
    try:
        return WantedModels.model_validate_json(text) if text else None
    except ValueError:
        return None


def change_of(pod: Manifest, wanted: WantedModels, members: Sequence[Member]) -> PodChange | None:
    """What a pod is to be told: the list, where it has another one; and that it takes no requests for what has gone."""
    known = {member.name for member in members if not member.deleting}
    gone = [key for key in pod["metadata"].get("labels", {}) if key.startswith(MEMBER) and key.removeprefix(MEMBER) not in known]
    annotations = {} if listed(pod) == wanted else {WANTED: wanted.model_dump_json(by_alias=True)}
    return PodChange(pod=pod, labels=dict.fromkeys(gone), annotations=annotations) if gone or annotations else None


def missing(pod: Manifest, members: Sequence[Member]) -> list[Member]:
    """Models that pods take requests for, and this one does not."""
    labels = pod["metadata"].get("labels", {})
    return [member for member in members if member.serves and labels.get(f"{MEMBER}{member.name}") != "true"]


def may_open(pod: Manifest, members: Sequence[Member], complete: Sequence[str]) -> bool:
    """Whether a new pod may count as ready, and so another one end for it: it has all models that are served. One that failed on it for good holds it up
    only where no pod of its template has had all: then the template is at fault."""
    lacking = missing(pod, members)
    if template_hash(pod) in complete:
        uid = pod["metadata"]["uid"]
        lacking = [member for member in lacking if not any(each.permanent and each.key.startswith(f"{uid} ") for each in member.shared.failures)]
    return not lacking


def status_of(
    server: api.YoloServer,
    observed: ServerObserved,
    members: Sequence[Member],
    there: Sequence[Manifest],
    wanted: WantedModels,
    complete: list[str],
    defaults: Defaults,
    now: datetime,
) -> api.ServerStatus:
    """The whole status."""
    live = observed.deployments.get(server.name)
    ready = sum(map(pods.is_ready, there))
    problem = obstacle(server, live, members, there)
    models = [served(member, there) for member in members]
    release = release_of(server, defaults)
    return api.ServerStatus(
        observed_generation=server.generation,
        conditions=conditions_of(server, problem, ready, now),
        replicas=len(there),
        ready_replicas=ready,
        selector=names.selector_text(names.selector(server)),
        triton_release=release.name if release else "",
        display=display(server, models, ready),
        models=models[: api.MAX_MODELS],
        serial=wanted.serial,
        complete_templates=[each for each in complete if each in {template_hash(pod) for pod in there}],
    )


def obstacle(server: api.YoloServer, live: Manifest | None, members: Sequence[Member], there: Sequence[Manifest]) -> Problem | None:
    """Why the server is not as it should be; None where it is."""
    if server.deleting:
        who = ", ".join(member.name for member in members[:10]) + (f" and {len(members) - 10} more" if len(members) > 10 else "")
        return Problem("InUse", f"It serves on until no YoloDeployment refers to it any more: delete {who}")
    if live is not None and image_updates.is_complete(live):
        return None
    waiting = [pod for pod in there if pods.answers(pod) and pods.waits_at_gate(pod)]
    shown = pods.latest_problem((pod for pod in there if not pods.is_ready(pod)), job=False) or refused_pods.problem(live) or overdue(live)
    if shown is not None:
        return shown
    lacking = sorted({member.name for pod in waiting for member in missing(pod, members)})
    if lacking:
        return Problem("Verifying", f"New pods wait until they have loaded and verified what the others serve: {', '.join(lacking[:10])}")
    return Problem("Starting", "Pods are starting")


def conditions_of(server: api.YoloServer, problem: Problem | None, ready: int, now: datetime) -> list[api.Condition]:
    """Ready, Reconciling, Stalled, Available."""

    def condition(kind: str, *, status: bool, reason: str, message: str = "") -> api.Condition:
        return conditions.make(server.status.conditions, kind, status=status, reason=reason, message=message, generation=server.generation, now=now)

    reason, message = ("Serving", "All pods have the models that they are to have") if problem is None else (problem.reason, problem.message)
    available = ready > 0 or server.spec.replicas == 0
    return [
        condition(conditions.AVAILABLE, status=available, reason="MinimumReplicasAvailable" if available else "ReplicasUnavailable"),
        condition(conditions.READY, status=problem is None, reason=reason, message=message),
        condition(conditions.RECONCILING, status=problem is not None, reason="Done" if problem is None else reason, message="" if problem is None else message),
        condition(conditions.STALLED, status=False, reason="NotStalled"),
    ]


def failed(server: api.YoloServer, error: OperatorError, now: datetime, base: api.ServerStatus | None = None) -> api.ServerStatus:
    """The status after an error: what is known (`base`) stays, the conditions name the error."""
    base = base or server.status
    merged = conditions.replaced(base.conditions, conditions.of_error(error), server.status.conditions, server.generation, now)
    return base.model_copy(update={"conditions": merged, "observed_generation": server.generation})


def served(member: Member, there: Sequence[Manifest]) -> api.ServedModel:
    """A line of status.models."""
    label = f"{MEMBER}{member.name}"
    asked = [pod for pod in there if names.label(pod, label) == "true" and pods.is_ready(pod)]
    return api.ServedModel(
        deployment=member.name,
        model=member.model,
        revision=member.shared.serving.rpartition("/")[2],
        phase="Terminating" if member.deleting else member.reason,
        pods=len(asked),
        memory_bytes=member.shared.memory_bytes,
    )


def display(server: api.YoloServer, models: Sequence[api.ServedModel], ready: int) -> api.ServerDisplay:
    """What the columns show."""
    budget_text = server.spec.memory_budget
    used = f"{sum(each.memory_bytes for each in models) / 2**30:.3g}"
    return api.ServerDisplay(
        models=f"{sum(each.pods > 0 for each in models)}/{len(models)}",
        memory=f"{used}Gi" if budget_text is None else f"{used}/{shown(budget_text)}",
        replicas=f"{ready}/{server.spec.replicas}",
    )


def shown(amount: str) -> str:
    """A quantity in the unit of the other one."""
    return amount if amount.endswith("Gi") else f"{drift.whole(amount) / 2**30:.3g}Gi"
