"""The status from what is observed. Always computed, on success and on failure; which conditions make Ready is data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from yolo_operator.core import api, conditions, names, pods
from yolo_operator.core.defaults import Defaults, release_of
from yolo_operator.core.errors import OperatorError
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, anything_runs, template_hash, triton_pods
from yolo_operator.core.progress import (
    BUILDING,
    FAILED,
    IDLE,
    SERVING,
    STARTING,
    SUSPENDED,
    VERIFYING,
    Progress,
    is_serving,
    relative_weight,
)
from yolo_operator.core.resources import service, triton
from yolo_operator.core.rollout import canary
from yolo_operator.core.triton import shapes

PHASE_MESSAGES = {
    BUILDING: "The build Job fetches, exports and publishes the weights",
    STARTING: "Triton pods are starting",
    VERIFYING: "A verify Job checks the answers of a new pod",
    SERVING: "Serving and verified",
    IDLE: "Published; it has no share of the traffic and no pods",
}


SERVES = "Every version serves and its answers are right"


@dataclass(frozen=True, slots=True)
class Settled:
    """One version's part of the status, and what it says of the conditions."""

    status: api.VersionStatus
    built: bool
    available: bool
    serving: bool
    verified: bool
    stalled: bool
    wanted: int
    """Pods it is to have in the end."""


def settle(yolo: api.YoloDeployment, progress: Progress, observed: Observed) -> Settled:
    """A version's phase, counts and reason."""
    number = progress.version.version
    live = triton_pods(observed, number)
    deployment = observed.deployments.get(names.versioned(yolo, number))
    available = deployment is not None and deployment.get("status", {}).get("availableReplicas", 0) >= progress.replicas
    serving = is_serving(yolo, progress, observed)
    phase = phase_of(yolo, progress, live, serving=serving)
    problem = None if serving else progress.problem
    if yolo.spec.suspend and phase == IDLE:
        problem = SUSPENDED
    found = progress.status.model_copy(
        update={
            "phase": phase,
            "replicas": len(live),
            "freed": 0,
            "ready_replicas": sum(map(pods.is_ready, live)),
            "reason": problem.reason if problem else phase,
            "message": (problem.message if problem else PHASE_MESSAGES[phase])[:4096],
        }
    )
    return Settled(
        found,
        built=progress.artifact is not None,
        available=available,
        serving=serving,
        verified=progress.verified,
        stalled=progress.stalled and not serving,
        wanted=progress.replicas,
    )


def phase_of(yolo: api.YoloDeployment, progress: Progress, live: Sequence[Manifest], *, serving: bool) -> str:
    """How far a version is, in a word. `live`: its pods."""
    if yolo.spec.suspend and progress.artifact is not None:
        return IDLE
    if serving:
        return SERVING if progress.replicas or yolo.spec.replicas == 0 else IDLE
    if progress.stalled:
        return FAILED
    if progress.artifact is None:
        return BUILDING
    right = {entry.pod_template_hash for entry in progress.status.verified}
    mine = [pod for pod in live if names.label(pod, names.TEMPLATE) == progress.inputs and template_hash(pod) not in right]
    waiting = any(pods.answers(pod) and not pods.gate_is_open(pod) for pod in mine)
    return VERIFYING if waiting and yolo.spec.rollout.verify.enabled else STARTING


def compute(
    yolo: api.YoloDeployment,
    settled: Sequence[Settled],
    drained: Sequence[api.VersionStatus],
    state: api.RolloutStatus | None,
    weights: Mapping[int, int],
    route: pods.Problem | None,
    observed: Observed,
    defaults: Defaults,
    now: datetime,
) -> api.Status:
    """The whole status of a resource whose spec could be planned. `weights`: percent of the requests per version; `route`: what the routes lack."""
    stalled = any(each.stalled for each in settled) or (state is not None and state.phase == canary.DEGRADED)
    obstacle = first_obstacle(settled, drained, state, route)
    if yolo.spec.suspend:
        # What else there is to say can wait until it goes on; it is there for each version.
        obstacle, stalled = SUSPENDED, False
    serving = obstacle is None
    reason, message = (obstacle.reason, obstacle.message) if obstacle else ("ScaledToZero" if yolo.spec.replicas == 0 else SERVING, SERVES)
    if not yolo.spec.rollout.verify.enabled and serving:
        message = "Every version serves; spec.rollout.verify.enabled is false, so its answers were not checked"
    release = release_of(yolo, defaults)
    if serving:
        message = ". ".join(
            [message, *advice(settled), *coarse_shares(yolo, settled), *(left_undone(yolo, settled) if release is None else []), *awaited_image(defaults)]
        )

    def condition(kind: str, *, status: bool, yes: str, no: str = "", text: str = "") -> api.Condition:
        return conditions.make(
            yolo.status.conditions,
            kind,
            status=status,
            reason=yes if status else no or reason,
            message=text,
            generation=yolo.generation,
            now=now,
        )

    all_versions = [
        version.model_copy(update={"weight": weights.get(version.version, 0)})
        for version in sorted([*(each.status for each in settled), *drained], key=lambda version: version.version)
    ]
    replicas, ready = sum(version.replicas for version in all_versions), sum(version.ready_replicas for version in all_versions)
    reconciling = not serving and not stalled and not (yolo.spec.suspend and not anything_runs(observed))
    return api.Status(
        observed_generation=yolo.generation,
        conditions=[
            condition(
                conditions.AVAILABLE,
                status=is_available(settled, drained, state),
                yes="MinimumReplicasAvailable",
                no="ReplicasUnavailable",
            ),
            condition(conditions.BUILT, status=all(each.built for each in settled), yes="Published"),
            condition(conditions.READY, status=serving, yes=reason, text=message),
            condition(
                conditions.RECONCILING,
                status=reconciling,
                yes=reason,
                no="Stalled" if stalled else "Done",
                text=message if reconciling else "",
            ),
            condition(conditions.STALLED, status=stalled, yes=reason, no="NotStalled", text=message if stalled else ""),
            condition(
                conditions.VERIFIED,
                status=all(each.verified for each in settled) and yolo.spec.rollout.verify.enabled,
                yes="RightAnswers",
                no="NotVerified" if yolo.spec.rollout.verify.enabled else "VerificationDisabled",
            ),
        ],
        url=url(yolo, "http"),
        grpc_url=url(yolo, "grpc"),
        replicas=replicas,
        ready_replicas=ready,
        selector=names.selector_text(names.selector(yolo)),
        triton_release=release.name if release else "",
        task=next((version.artifact.task for version in all_versions if version.artifact is not None), ""),
        display=display(yolo, all_versions, ready, sum(each.wanted for each in settled)),
        versions=all_versions,
        rollout=state,
    )


def advice(settled: Sequence[Settled]) -> list[str]:
    """What users should know of versions that serve, and can do about it."""
    return [
        f"Version {each.status.version} was published by an earlier release: the Ultralytics client asks it with {shapes.CLIENT_SIZE} pixels, and it is made "
        f"for {'x'.join(str(pixels) for pixels in artifact.image_size)}; change spec.versions[].rebuild, and have clients connect anew"
        for each in settled
        if (artifact := each.status.artifact) is not None and shapes.asks_otherwise(artifact.task, artifact.image_size, artifact.inputs)
    ]


def coarse_shares(yolo: api.YoloDeployment, settled: Sequence[Settled]) -> list[str]:
    """Which versions have more than twice the share that their weight asks for, as pods of mode Service cannot show one so small."""
    if yolo.spec.traffic.mode == "Gateway" or yolo.spec.rollout.strategy == "Canary":
        return []
    weights = {version.version: relative_weight(version) for version in yolo.spec.versions}
    pods_of = {each.status.version: each.wanted for each in settled if each.serving}
    return [
        f"Version {number} has {100 * count / sum(pods_of.values()):.0f} % of the requests, and its weight asks for "
        f"{100 * weights[number] / sum(weights.values()):.2g} %: with spec.traffic.mode Service pods are the shares; raise spec.replicas, or use mode Gateway"
        for number, count in pods_of.items()
        if count * sum(weights.values()) > 2 * weights[number] * sum(pods_of.values())
    ]


def left_undone(yolo: api.YoloDeployment, settled: Sequence[Settled]) -> list[str]:
    """What is not done because neither the spec nor the image's tag says which release of Triton it is; empty where all is as it would be."""
    artifacts = [each.status.artifact for each in settled if each.status.artifact is not None]
    missing = []
    if any(triton.max_input_bytes(yolo, artifact) > triton.DEFAULT_MAX_INPUT_BYTES for artifact in artifacts):
        missing.append("Triton refuses HTTP requests above 64 MiB, which batches of spec.triton.maxBatchSize are")
    if any(version.source.uri.endswith(".onnx") or version.export.opset is not None for version in yolo.spec.versions):
        missing.append("an ONNX that is too new for it is not refused at the build")
    if yolo.spec.triton.tensorrt.enabled:
        missing.append("TensorRT gets only settings that every release knows")
    return [f"The tag of Triton's image does not say its release, so {', and '.join(missing)}: set spec.triton.release"] if missing else []


def awaited_image(defaults: Defaults) -> list[str]:
    """That a resource keeps its Triton image until it is its turn to change to the default."""
    if not defaults.next_triton_image:
        return []
    return [
        f"It waits for its turn to change to Triton image {defaults.next_triton_image}: at most {defaults.max_image_updates} YoloDeployments do so at once; "
        "spec.triton.image sets it now"
    ]


def decisions(of: api.Status) -> tuple[object, ...]:
    """What a status remembers that no later look at the children could tell again."""
    of_versions = [(each.version, each.build_failure, each.verify_failure, each.rolled_back, each.freed) for each in of.versions]
    state = None if of.rollout is None else of.rollout.model_copy(update={"routed": 0})
    return (
        of.shared,
        of.published,
        of.storage,
        of.previous_storages,
        state,
        of.reference_version,
        of.failed_rollouts,
        [each for each in of_versions if any(each[1:])],
    )


def is_available(settled: Sequence[Settled], drained: Sequence[api.VersionStatus], state: api.RolloutStatus | None) -> bool:
    """Whether every version has its pods; beside a canary it is the stable version that counts."""
    if state is None:
        return all(each.available for each in settled)
    declared = [each.available for each in settled if each.status.version == state.stable]
    return all(declared) if declared else any(version.version == state.stable and version.ready_replicas > 0 for version in drained)


def first_obstacle(
    settled: Sequence[Settled],
    drained: Sequence[api.VersionStatus],
    state: api.RolloutStatus | None,
    route: pods.Problem | None,
) -> pods.Problem | None:
    """Why the resource is not Ready; what only an edit can cure comes first."""
    several = len(settled) + len(drained) > 1

    def of(version: api.VersionStatus) -> pods.Problem:
        return pods.Problem(version.reason, f"Version {version.version}: {version.message}" if several else version.message)

    for each in settled:
        if each.stalled:
            return of(each.status)
    if state is not None and state.phase != canary.HEALTHY:
        return pods.Problem(state.reason, state.message)
    for each in settled:
        if not each.serving:
            return of(each.status)
    return of(drained[0]) if drained else route


def failed(yolo: api.YoloDeployment, error: OperatorError, now: datetime, base: api.Status | None = None) -> api.Status:
    """The status after an error: what is known (`base`) stays, the conditions name the error."""
    return with_conditions(yolo, base or yolo.status, conditions.of_error(error), now)


def deleting(yolo: api.YoloDeployment, reason: str, message: str, now: datetime) -> api.Status:
    """The status while what was published is being removed."""
    kinds = [(conditions.READY, False, reason, message), (conditions.RECONCILING, True, reason, message)]
    return with_conditions(yolo, yolo.status, kinds, now)


def with_conditions(yolo: api.YoloDeployment, base: api.Status, said: Sequence[conditions.Said], now: datetime) -> api.Status:
    """A status with some conditions replaced."""
    merged = conditions.replaced(base.conditions, said, yolo.status.conditions, yolo.generation, now)
    return base.model_copy(update={"conditions": merged, "observed_generation": yolo.generation})


def url(yolo: api.YoloDeployment, port: str) -> str:
    """What the Ultralytics client is given: YOLO(url, task=…)."""
    return f"{port}://{yolo.name}.{yolo.namespace}.svc:{service.PORTS[port]}/{yolo.model_name}"


def display(yolo: api.YoloDeployment, versions: Sequence[api.VersionStatus], ready: int, wanted: int) -> api.Display:
    """What the columns show: shares are those that hold now."""
    shares = " ".join(f"{version.version}:{version.weight}" for version in versions)
    return api.Display(model=yolo.model_name, versions=shares, replicas=f"{ready}/{wanted}", revisions=" ".join(version.revision for version in versions))
