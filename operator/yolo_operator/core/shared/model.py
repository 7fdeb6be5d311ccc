"""What should happen next to a resource whose model a YoloServer has. `decision` says what becomes of the model; here it is told what there is, and obeyed.

    built ──► wanted by the server ──► verify Job for each pod ──► label of the pod, which the Service selects

The server's own pass (`server`) reads what is wanted from the status. Pods belong to it: this one labels them, and no more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from yolo_operator.core import api, drift, names, pods, status, verification
from yolo_operator.core.context import Context, PodChange
from yolo_operator.core.contract import ServedVerification
from yolo_operator.core.ensure_job import ensure, failed
from yolo_operator.core.errors import InvalidSpec, NotReady, OperatorError
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed
from yolo_operator.core.pods import Problem
from yolo_operator.core.progress import BUILDING, FAILED, IDLE, SERVING, STARTING, SUSPENDED, VERIFYING, Progress
from yolo_operator.core.prune import prune_step
from yolo_operator.core.resources import job, service
from yolo_operator.core.served_models import MEMBER, WantedModel
from yolo_operator.core.shared.decision import Decision, Room, ServerPod, SharedModel, decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A pod of the server, and which run of its Triton it is in."""

    pod: Manifest
    container: str
    """ID of the container; empty while it does not answer."""

    @property
    def uid(self) -> str:
        """Of the pod."""
        uid: str = self.pod["metadata"]["uid"]
        return uid

    @property
    def name(self) -> str:
        """Of the pod."""
        name: str = self.pod["metadata"]["name"]
        return name


def placed(yolo: api.YoloDeployment, observed: Observed) -> api.YoloDeployment:
    """The resource with what is its server's. Raises NotReady ServerNotFound, InvalidSpec where the server's spec cannot be read."""
    reference = yolo.spec.server_ref
    if reference is None:
        return yolo
    if observed.server is None:
        raise NotReady("ServerNotFound", f"spec.serverRef: there is no YoloServer {reference.name!r} in this namespace: create it")
    found = api.on_server(yolo, api.parse_server(observed.server))
    if found.spec.triton.tensorrt.enabled and not found.spec.gpu.count:
        raise InvalidSpec(
            "InvalidSpec", f"spec.triton.tensorrt needs a GPU, and YoloServer {reference.name!r} has none: set spec.triton.tensorrt.enabled to false"
        )
    return found


def at_its_end(yolo: api.YoloDeployment, observed: Observed) -> api.YoloDeployment:
    """The same for one that is being deleted, with what there is still of its server."""
    try:
        return placed(yolo, observed)
    except OperatorError:
        return yolo


def serve_step(context: Context, progress: Progress) -> api.Status:
    """Have the model served by the server's pods as far as it is built; the whole status."""
    yolo, server = context.yolo, server_name(context.yolo)
    before = yolo.status.shared or api.SharedStatus(server=server)
    seen = [seen_of(pod) for pod in context.observed.server_pods if not pods.is_terminating(pod)]
    taken = name_taken(yolo, context.observed.neighbours)
    model = SharedModel(
        deployment=yolo.name,
        name=yolo.model_name,
        target="" if progress.artifact is None else progress.artifact.uri,
        target_bytes=0 if progress.artifact is None else progress.artifact.size_bytes,
        serving=before.serving,
        leaving=yolo.spec.suspend or taken is not None,
    )
    took = {entry.uri: entry.memory_bytes for entry in sorted(before.verified, key=lambda entry: entry.memory_bytes) if entry.memory_bytes}
    there = [server_pod(yolo, before, each, (model.target, model.serving)) for each in seen]
    decision = decide(model, there, Room(budget=budget(context.observed), others=of_others(yolo, context.observed.neighbours), took=took))
    asked_of = {names.digest(uri) for uri in (model.target, model.serving, decision.serving)}
    kept = [failure for failure in before.failures if failure.key.rpartition(" ")[2] in asked_of]
    after, running = verify_step(context, decision, before.model_copy(update={"server": server, "serving": decision.serving, "failures": kept}), seen)
    change_members(context, decision, seen)
    context.result.apply.append(service.of_model(yolo, server))
    shared = after.model_copy(
        update={
            "wanted": [api.NamedRevision(name=each.name, uri=each.uri) for each in decision.wanted],
            "memory_bytes": sum(took.get(each.uri, model.target_bytes if each.uri == model.target else 0) for each in decision.wanted),
        }
    )
    progress = told(progress, decision, shared, taken, running, seen)
    settled = settle(context, progress, shared, model, there)
    revisions = {uri.rpartition("/")[2] for uri in (shared.serving, *(each.uri for each in shared.wanted)) if uri}
    published = prune_step(context, [progress], serves=settled.serving, served=revisions)
    weights = {progress.version.version: 100 if settled.available else 0}
    computed = status.compute(yolo, [settled], [], None, weights, None, context.observed, context.defaults, context.now)
    return computed.model_copy(update=published | {"shared": shared, "selector": names.selector_text(service.members(yolo, server))})


def server_name(yolo: api.YoloDeployment) -> str:
    """The server that a resource refers to."""
    return "" if yolo.spec.server_ref is None else yolo.spec.server_ref.name


def seen_of(pod: Manifest) -> Seen:
    """A pod, as far as Triton and the agent in it answer."""
    found = {each["name"]: each for each in pods.containers(pod)}
    triton, agent = found.get(names.SERVER, {}), found.get(names.AGENT, {})
    # Not whether it is ready: that it is with all models that the pod is asked for.
    runs = triton.get("started") and "running" in triton.get("state", {}) and agent.get("started") and pod.get("status", {}).get("podIP")
    answers = bool(runs and not pods.on_silent_node(pod))
    return Seen(pod=pod, container=str(triton.get("containerID", ""))[-64:] if answers else "")


def server_pod(yolo: api.YoloDeployment, recorded: api.SharedStatus, seen: Seen, uris: Iterable[str]) -> ServerPod:
    """What is known of a pod about this model. What was verified of an earlier run of its Triton counts no more."""
    return ServerPod(
        name=seen.name,
        answers=bool(seen.container),
        member=names.label(seen.pod, f"{MEMBER}{yolo.name}") == "true",
        verified={entry.name: entry.uri for entry in recorded.verified if entry.pod == seen.uid and (entry.container == seen.container or not seen.container)},
        failed=failures_of(yolo, recorded, seen, uris),
    )


def failures_of(yolo: api.YoloDeployment, recorded: api.SharedStatus, seen: Seen, uris: Iterable[str]) -> dict[str, Problem]:
    """What revisions failed with for good on a pod, by where they are published."""
    digests = {names.digest(uri): uri for uri in uris}
    return {
        digests[of]: Problem(failure.reason, failure.message, permanent=True)
        for failure in recorded.failures
        if failure.permanent
        for run, _, of in [failure.key.rpartition(" ")]
        if of in digests and run.startswith(f"{run_of(yolo, seen)} ")
    }


def run_of(yolo: api.YoloDeployment, seen: Seen) -> str:
    """The pod, the run of its Triton, and the limits that answers are measured by."""
    return f"{seen.uid} {seen.container[:12]} {verification.limits(yolo)}"


def failure_key(yolo: api.YoloDeployment, seen: Seen, wanted: WantedModel) -> str:
    """What a failure is recorded under: that, the name, and the revision."""
    return f"{run_of(yolo, seen)} {wanted.name} {names.digest(wanted.uri)}"


def verify_step(context: Context, decision: Decision, recorded: api.SharedStatus, seen: Sequence[Seen]) -> tuple[api.SharedStatus, Problem | None]:
    """Have pods asked that have not been for what they have; what is right and what failed, of the pods that are there, and what Jobs show that run."""
    yolo = context.yolo
    by_name = {each.name: each for each in seen}
    asked = {each.name for each in decision.wanted}
    runs = {(each.uid, each.container) for each in seen}
    silent = {each.uid for each in seen if not each.container}
    verified = [entry for entry in recorded.verified if entry.name in asked and ((entry.pod, entry.container) in runs or entry.pod in silent)]
    failures = {failure.key: failure for failure in recorded.failures if failure.key.partition(" ")[0] in {each.uid for each in seen}}
    running = None
    for pod_name, wanted in decision.verify:
        pod = by_name[pod_name]
        key = failure_key(yolo, pod, wanted)
        made = job.verify_on_server(yolo, yolo.spec.versions[0], wanted, pod.pod, pod.container, context.defaults)
        found = ensure(context, made, failures.get(key), key=key, answering=("verify",), result=ServedVerification)
        running = running or (found.problem if found.running else None)
        failures.pop(key, None)
        if found.failure is not None:
            failures[key] = found.failure
        if found.result is not None:
            memory = found.result.memory_bytes or 0
            verified = [entry for entry in verified if (entry.pod, entry.name) != (pod.uid, wanted.name)]
            verified.append(api.VerifiedPod(name=wanted.name, uri=wanted.uri, pod=pod.uid, container=pod.container, memory_bytes=memory))
    ordered = sorted(verified, key=lambda entry: (entry.pod, entry.name))
    return recorded.model_copy(update={"verified": ordered, "failures": [failures[key] for key in sorted(failures)]}), running


def change_members(context: Context, decision: Decision, seen: Sequence[Seen]) -> None:
    """Give the label that the Service selects to pods that join, and take it from those that leave."""
    label = f"{MEMBER}{context.yolo.name}"
    by_name = {each.name: each.pod for each in seen}
    for pods_of, value in ((decision.join, "true"), (decision.leave, None)):
        context.result.change_pods += [PodChange(pod=by_name[name], labels={label: value}) for name in pods_of]


def told(progress: Progress, decision: Decision, shared: api.SharedStatus, taken: Problem | None, running: Problem | None, seen: Sequence[Seen]) -> Progress:
    """The version, with what keeps the server from serving it."""
    if taken is not None:
        return failed(progress, taken)
    if progress.problem is not None or progress.artifact is None:
        return progress
    if decision.problem is not None:
        return failed(progress, decision.problem)
    if decision.full:
        return failed(progress, Problem("ServerFull", decision.full))
    waited = [failure for failure in shared.failures if failure.key.rpartition(" ")[2] in {names.digest(each.uri) for each in decision.wanted}]
    if waited:
        return failed(progress, Problem(waited[0].reason, waited[0].message, waited[0].permanent))
    trouble = running or pods.latest_problem((each.pod for each in seen if not pods.is_ready(each.pod)), job=False)
    return progress if trouble is None else replace(progress, problem=trouble)


def settle(context: Context, progress: Progress, shared: api.SharedStatus, model: SharedModel, there: Sequence[ServerPod]) -> status.Settled:
    """The version's part of the status."""
    yolo, wanted = context.yolo, context.yolo.spec.replicas
    right = {pod.name for pod in there if pod.member and pod.verified.get(model.name) == model.target}
    ready = {each["metadata"]["name"] for each in context.observed.server_pods if pods.is_ready(each)}
    current = bool(model.target) and shared.serving == model.target
    members = len({pod.name for pod in there if pod.member} & ready)
    serving = not yolo.spec.suspend and current and not progress.stalled and len(right & ready) >= max(wanted, len(there)) and wanted > 0
    phase = phase_of(yolo, progress, there, serving=serving)
    problem = None if serving else SUSPENDED if yolo.spec.suspend else progress.problem
    found = progress.status.model_copy(
        update={
            "phase": phase,
            "replicas": len(there),
            "ready_replicas": members,
            "reason": problem.reason if problem else phase,
            "message": (problem.message if problem else MESSAGES[phase])[:4096],
        }
    )
    return status.Settled(
        found,
        built=progress.artifact is not None,
        available=members > 0,
        serving=serving,
        verified=current and bool(right),
        stalled=progress.stalled and not serving,
        wanted=wanted,
    )


MESSAGES = status.PHASE_MESSAGES | {
    STARTING: "The server's pods load the model",
    VERIFYING: "Verify Jobs check the answers of the server's pods",
    IDLE: "Published; it has no pods",
}


def phase_of(yolo: api.YoloDeployment, progress: Progress, there: Sequence[ServerPod], *, serving: bool) -> str:
    """How far it is, in a word."""
    if yolo.spec.suspend and progress.artifact is not None:
        return IDLE
    if serving:
        return SERVING
    if progress.stalled:
        return FAILED
    if progress.artifact is None:
        return BUILDING
    return VERIFYING if any(pod.answers for pod in there) else STARTING


def name_taken(yolo: api.YoloDeployment, neighbours: Sequence[Manifest]) -> Problem | None:
    """That an older resource on the same server has a model of this name."""
    for body in neighbours:
        if api.model_name_of(body) == yolo.model_name and age_of(body) < (yolo.created, yolo.name):
            return Problem(
                "ModelNameTaken",
                f"YoloDeployment {body['metadata']['name']!r} has a model {yolo.model_name!r} on this server already: make this one anew with another spec.modelName",
                permanent=True,
            )
    return None


def age_of(body: Manifest) -> tuple[str, str]:
    """Orders resources: the oldest first."""
    return body["metadata"].get("creationTimestamp", ""), body["metadata"]["name"]


def of_others(yolo: api.YoloDeployment, neighbours: Sequence[Manifest]) -> int:
    """Bytes that the server's other models take in a pod. Of those that are not served yet only what an older resource asks for: of two that do not fit
    together one comes in."""
    total = 0
    for body in neighbours:
        shared = body.get("status", {}).get("shared", {})
        if shared.get("serving") or age_of(body) < (yolo.created, yolo.name):
            total += int(shared.get("memoryBytes", 0))
    return total


def budget(observed: Observed) -> int | None:
    """spec.memoryBudget of the server, in bytes."""
    text = (observed.server or {}).get("spec", {}).get("memoryBudget")
    return None if text is None else drift.whole(str(text))
