"""How far each version has come: values that the steps of `plan` and the status share."""

from dataclasses import dataclass, replace

from yolo_operator.core import api, names, pods, refused_pods
from yolo_operator.core.contract import Artifact
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed, deployed_revision, overdue, triton_pods

BUILDING, STARTING, VERIFYING, SERVING = "Building", "Starting", "Verifying", "Serving"
IDLE, DRAINING, FAILED = "Idle", "Draining", "Failed"
SUSPENDED = pods.Problem("Suspended", "spec.suspend is true: there are no pods and no Jobs, and all that is published, verified and decided is kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one version is. Each step makes the next value from the one before."""

    version: api.Version
    status: api.VersionStatus
    artifact: Artifact | None = None
    """What the wanted revision published; None until it is built."""
    inputs: str = ""
    """Hash of the wanted pod template."""
    problem: pods.Problem | None = None
    stalled: bool = False
    verified: bool = False
    """The wanted pod template answered rightly, or no verification is wanted."""
    excluded: bool = False
    """It may have no traffic, whatever its weight: it does not fit the versions that have, or has failed before."""
    kept: bool = False
    """What it is to be may have no traffic; it serves on as what it was."""
    replicas: int = 0
    """Pods it is to have in the end."""


def exclude(progress: Progress, live: Manifest | None, problem: pods.Problem) -> Progress:
    """A version whose traffic is taken from what it is to be. Where its Deployment serves another revision, edited in place, that goes on as it is."""
    revision = deployed_revision(live if live is not None and live["spec"].get("replicas", 1) else None)
    kept = revision not in ("", progress.status.revision)
    return replace(progress, problem=problem, stalled=True, kept=kept, excluded=not kept)


def serving_artifact(status: api.VersionStatus, live: Manifest | None) -> Artifact | None:
    """What a version's Deployment serves; None where that is not on record. Where there is no Deployment, what it would serve."""
    revision = deployed_revision(live)
    if not revision:
        return status.artifact
    return next((each for each in (status.artifact, status.serving_artifact) if each is not None and each.revision == revision), None)


def is_serving(yolo: api.YoloDeployment, progress: Progress, observed: Observed) -> bool:
    """Whether the wanted template of a version, and no other, has its replicas available."""
    live = observed.deployments.get(names.versioned(yolo, progress.version.version))
    if live is None or progress.excluded or not is_current(progress, live) or not (progress.verified or progress.replicas == 0):
        return False
    found, spec = live.get("status", {}), live["spec"]
    counts = {spec.get("replicas"), *(found.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas"))}
    return counts == {progress.replicas}


def is_current(progress: Progress, live: Manifest) -> bool:
    """Whether a version's Deployment has the wanted template, and its status is about that."""
    return progress.artifact is not None and names.label(live["spec"]["template"], names.TEMPLATE) == progress.inputs and is_up_to_date(live)


def is_up_to_date(live: Manifest) -> bool:
    """Whether the status of a Deployment is about its present generation."""
    return bool(live.get("status", {}).get("observedGeneration", 0) >= live["metadata"].get("generation", 0))


def relative_weight(version: api.Version) -> int:
    """A version's weight, 1 where the spec gives none."""
    return 1 if version.weight is None else version.weight


def trouble(yolo: api.YoloDeployment, progress: Progress, observed: Observed) -> pods.Problem | None:
    """What the version's pods show, why there are none, or that they take too long."""
    number = progress.version.version
    shown = pods.latest_problem((pod for pod in triton_pods(observed, number) if not pods.is_ready(pod)), job=False)
    live = observed.deployments.get(names.versioned(yolo, number))
    return shown or refused_pods.problem(live) or overdue(live)


def status_of(yolo: api.YoloDeployment, version: int) -> api.VersionStatus:
    """What was recorded of a version."""
    return next((entry for entry in yolo.status.versions if entry.version == version), api.VersionStatus(version=version))
