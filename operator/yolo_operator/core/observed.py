"""What is observed of a resource's children, and how far each version has come: values that `plan` and `status` share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yolo_operator.core import api, jobs, names, pods
from yolo_operator.core.contract import Artifact
from yolo_operator.core.names import Manifest
from yolo_operator.core.split import split

BUILDING, STARTING, VERIFYING, SERVING, DRAINING, FAILED = "Building", "Starting", "Verifying", "Serving", "Draining", "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The resource's children as the API server shows them: only objects that carry its owner reference (or, Pods, a child's)."""

    deployments: Mapping[str, Manifest] = field(default_factory=dict)
    jobs: Mapping[str, Manifest] = field(default_factory=dict)
    pods: Sequence[Manifest] = ()
    services: Mapping[str, Manifest] = field(default_factory=dict)
    budgets: Mapping[str, Manifest] = field(default_factory=dict)
    http_routes: Mapping[str, Manifest] = field(default_factory=dict)
    grpc_routes: Mapping[str, Manifest] = field(default_factory=dict)
    gateway_api: bool = False
    """Whether the API server has HTTPRoutes and GRPCRoutes."""
    namespace_terminating: bool = False


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one version is: what the steps below fill in, one after the other."""

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


def targets_of(yolo: api.YoloDeployment) -> dict[int, int]:
    """The pods that each declared version is to have in the end: equal shares of spec.replicas."""
    numbers = [version.version for version in yolo.spec.versions]
    return dict(zip(numbers, split(yolo.spec.replicas, [1] * len(numbers)), strict=True))


def is_serving(yolo: api.YoloDeployment, progress: Progress, observed: Observed) -> bool:
    """Whether the wanted template of a version, and no other, has its replicas available."""
    replicas = targets_of(yolo)[progress.version.version]
    live = observed.deployments.get(names.versioned(yolo, progress.version.version))
    if live is None or progress.artifact is None or not (progress.verified or replicas == 0):
        return False
    found, spec = live.get("status", {}), live["spec"]
    return (
        names.label(spec["template"], names.TEMPLATE) == progress.inputs
        and spec.get("replicas") == replicas
        and found.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        and found.get("updatedReplicas", 0) == found.get("replicas", 0) == found.get("availableReplicas", 0) == replicas
    )


def has_its_share(yolo: api.YoloDeployment, progress: Progress, observed: Observed) -> bool:
    """Whether at least as many pods of the wanted template as the version is to have in the end are available: others may shrink."""
    replicas = targets_of(yolo)[progress.version.version]
    live = observed.deployments.get(names.versioned(yolo, progress.version.version))
    if live is None or progress.artifact is None or not (progress.verified or replicas == 0):
        return False
    found = live.get("status", {})
    return (
        names.label(live["spec"]["template"], names.TEMPLATE) == progress.inputs
        and found.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        and min(found.get("updatedReplicas", 0), found.get("availableReplicas", 0)) >= replicas
    )


def finished(live: Manifest) -> bool:
    """Whether a Job has ended, well or not."""
    return any(c["type"] in jobs.SUCCESS | {"Failed"} and c["status"] == "True" for c in live.get("status", {}).get("conditions", ()))


def pruning(observed: Observed) -> bool:
    """Whether a prune Job may still be removing something: no revision may be published meanwhile."""
    return any(names.label(live, names.COMPONENT) == names.PRUNE and not finished(live) for live in observed.jobs.values())


def triton_pods(observed: Observed, version: int) -> list[Manifest]:
    """The Triton pods of a version that have not ended."""
    return [
        pod
        for pod in observed.pods
        if names.label(pod, names.COMPONENT) == names.TRITON
        and names.label(pod, names.VERSION) == str(version)
        and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
        and "deletionTimestamp" not in pod["metadata"]
    ]


def template_hash(pod: Manifest) -> str:
    """The ReplicaSet's hash of a pod's template."""
    return names.label(pod, names.POD_TEMPLATE_HASH)


def status_of(yolo: api.YoloDeployment, version: int) -> api.VersionStatus:
    """What was recorded of a version."""
    return next((entry for entry in yolo.status.versions if entry.version == version), api.VersionStatus(version=version))
