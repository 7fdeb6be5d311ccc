"""What is observed of a resource's children."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from yolo_operator.core import api, jobs, names, pods
from yolo_operator.core.names import Manifest


@dataclass(frozen=True, slots=True)
class Support:
    """Names of what is supported; or why they are not known."""

    names: Set[str] = frozenset()
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The resource's children as the API server shows them: only objects that carry its owner reference (or, Pods, a child's)."""

    deployments: Mapping[str, Manifest] = field(default_factory=dict)
    jobs: Mapping[str, Manifest] = field(default_factory=dict)
    pods: Sequence[Manifest] = ()
    refused_jobs: Mapping[str, str] = field(default_factory=dict)
    """What the API server has said when it refused a Job's Pod, by the Job's name; of those that wait for their Pod."""
    services: Mapping[str, Manifest] = field(default_factory=dict)
    budgets: Mapping[str, Manifest] = field(default_factory=dict)
    network_policies: Mapping[str, Manifest] = field(default_factory=dict)
    http_routes: Mapping[str, Manifest] = field(default_factory=dict)
    grpc_routes: Mapping[str, Manifest] = field(default_factory=dict)
    gateway_api: bool = False
    """Whether the API server has HTTPRoutes and GRPCRoutes."""
    gateway_features: Mapping[str, Support] = field(default_factory=dict)
    """What the class of each Gateway of the HTTPRoutes lists, by NAMESPACE/NAME; only where the spec asks for what it must list."""
    session_fields: Support = Support()
    """Fields that the API server's HTTPRoutes have for session persistence; only where the spec asks for it."""
    namespace_terminating: bool = False
    server: Manifest | None = None
    """The YoloServer of spec.serverRef."""
    server_pods: Sequence[Manifest] = ()
    neighbours: Sequence[Manifest] = ()
    """The other YoloDeployments that refer to it."""


def deployments_by_version(observed: Observed) -> dict[int, Manifest]:
    """The Deployments by the versions they are of, declared or not."""
    return {int(names.label(live, names.VERSION)): live for live in observed.deployments.values()}


def deployed_revision(live: Manifest | None) -> str:
    """The revision that a Deployment is to serve; "" where there is none."""
    return names.label(live["spec"]["template"], names.REVISION) if live is not None else ""


def finished(live: Manifest) -> bool:
    """Whether a Job has ended, well or not."""
    return bool(jobs.conditions(live).keys() & (jobs.SUCCESS | {"Failed"}))


def pruning(observed: Observed) -> bool:
    """Whether a prune Job may still be removing something: no revision may be published meanwhile."""
    return any(names.label(live, names.COMPONENT) == names.PRUNE and not finished(live) for live in observed.jobs.values())


def triton_pods(observed: Observed, version: int) -> list[Manifest]:
    """The Triton pods of a version that have not ended."""
    return [
        pod
        for pod in observed.pods
        if names.label(pod, names.COMPONENT) == names.TRITON and names.label(pod, names.VERSION) == str(version) and not pods.is_terminating(pod)
    ]


def anything_runs(observed: Observed) -> bool:
    """Whether Pods of the resource, of Triton or of Jobs, have not ended; those on their way out hold what they have until then."""
    return not all(map(pods.has_ended, observed.pods))


def verified_at_gate(recorded: Iterable[api.VersionStatus], observed: Observed) -> list[Manifest]:
    """Pods of templates that are recorded as verified, whose readiness gates are still closed."""
    return [
        pod
        for version in recorded
        for pod in triton_pods(observed, version.version)
        if template_hash(pod) in {entry.pod_template_hash for entry in version.verified} and pods.waits_at_gate(pod)
    ]


def ready_versions(observed: Observed) -> dict[int, int]:
    """Versions, declared or not, that have pods which take requests, and how many."""
    found = [int(names.label(pod, names.VERSION)) for pod in observed.pods if names.label(pod, names.COMPONENT) == names.TRITON and pods.is_ready(pod)]
    return dict(Counter(found))


def overdue(live: Manifest | None) -> pods.Problem | None:
    """A roll-out that has taken longer than spec.rollout.progressDeadline, where nothing else says why."""
    for condition in (live or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return pods.Problem("ProgressDeadlineExceeded", f"{condition.get('message', '')} Look at the Pods, or raise spec.rollout.progressDeadline")
    return None


def template_hash(pod: Manifest) -> str:
    """The ReplicaSet's hash of a pod's template."""
    return names.label(pod, names.POD_TEMPLATE_HASH)
