"""`status`: what is observed, and what has to be remembered from one pass to the next."""

from typing import Annotated, Literal

from pydantic import Field

from yolo_operator.core.api.fields import KeyReference, LocalReference, Model, Region, ShortText
from yolo_operator.core.contract import Artifact, Comparison, Verification


class Failure(Model):
    """Why the latest attempt ended; kept so that a deleted Job is neither forgotten nor repeated."""

    key: ShortText
    """What failed: the name of the build Job, or the pod template and the limits it was verified with."""
    job: ShortText = ""
    """UID of the Job that failed last."""
    attempts: int = Field(default=1, ge=1)
    """Jobs that failed in a row."""
    time: ShortText
    """When the latest one failed."""
    reason: ShortText
    """In CamelCase, also the reason of the condition."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """The field and the remedy."""
    permanent: bool = False
    """Only an edit of the spec or other weights can cure it: it is not tried again."""


class VerifiedTemplate(Verification):
    """A pod template whose answers were right."""

    pod_template_hash: ShortText
    """Of the ReplicaSet."""
    time: ShortText
    """When it was verified."""


class RolledBack(Model):
    """A pod template that was given up for the one verified last."""

    template: ShortText
    """Hashes of what the template was rendered from and of the limits it was verified with."""
    time: ShortText
    """When it was given up."""
    reason: ShortText
    """In CamelCase."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """What failed, and the remedy."""
    image: Annotated[str, Field(max_length=512)] = ""
    """Its Triton image."""


class VersionStatus(Model):
    """What is observed of one version."""

    version: int
    """Number of the version."""
    revision: ShortText = ""
    """Revision that is wanted: 10 hex digits of what determines the published files."""
    phase: ShortText = ""
    """Building, Starting, Verifying, Serving, Idle (no share of the traffic), Draining or Failed."""
    weight: int = 0
    """Percent of the requests that reach this version now."""
    replicas: int = 0
    """Pods of this version."""
    ready_replicas: int = 0
    """Pods of this version that are ready."""
    reason: ShortText = ""
    """Why it is not serving, or Serving."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """The field and the remedy."""
    built_revision: ShortText = ""
    """Revision that `artifact` describes: the one built last."""
    artifact: Artifact | None = None
    """What was published."""
    serving_artifact: Artifact | None = None
    """What the pods serve, while that is another revision than `artifact`."""
    verified: list[VerifiedTemplate] = Field(default_factory=list, max_length=32)
    """Pod templates that answered rightly."""
    build_failure: Failure | None = None
    """Why the build Job failed."""
    verify_failure: Failure | None = None
    """Why the verify Job failed."""
    freed: int = 0
    """Pods that it has given up for others that waited for a GPU, since it left spec.versions."""
    rolled_back: RolledBack | None = None
    """The wanted pod template was tried and given up; the one verified last serves until the spec changes."""


RolloutPhase = Literal["Healthy", "Progressing", "Paused", "Degraded"]


class StepAnalysis(Comparison):
    """The analysis of one step."""

    step: int
    """Number of the step, from 1."""
    weight: int
    """Percent of the requests that the new version had."""
    time: ShortText
    """When it ended."""


class RolloutStatus(Model):
    """Where the canary is. The words are those of Argo Rollouts."""

    phase: RolloutPhase = "Healthy"
    """Healthy: the newest version has all traffic. Degraded: it was aborted, the stable version has all."""
    reason: ShortText = ""
    """In CamelCase."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """What is waited for, or what went wrong and the remedy."""
    stable: int = 0
    """Version that has the rest of the traffic and takes all of it back on an abort; 0 while there is none."""
    canary: int = 0
    """Version that goes through the steps, or was aborted; 0 where there is none."""
    revision: ShortText = ""
    """Revision of the canary: another one begins anew."""
    step: int = 0
    """Step the canary is at, from 1; one more than there are steps when it is past the last."""
    steps: int = 0
    """Steps there are."""
    weight: int = 0
    """Percent that the canary is to have at this step."""
    routed: int = 0
    """Percent that a Gateway gives it now: as much of its share as its ready pods can take."""
    started: ShortText = ""
    """When the step began: when the canary was asked to take its share."""
    reached: ShortText = ""
    """Since when the canary holds its share; the step's duration counts while it does. Empty while it does not."""
    lost: ShortText = ""
    """When the canary lost its share at this step, and has not got it back yet."""
    held_seconds: int = 0
    """Seconds that it held its share at this step before it lost it."""
    retry: Annotated[str, Field(max_length=63)] = ""
    """The value of spec.rollout.retry this attempt began with."""
    previous: int = 0
    """Version that was stable before and whose pods are kept for spec.rollout.scaleDownDelay."""
    promoted: ShortText = ""
    """When the stable version became it."""
    analysis_failure: Failure | None = None
    """Why the analysis Job failed, where it gave no verdict."""
    analyses: list[StepAnalysis] = Field(default_factory=list, max_length=20)
    """What was measured at each step of this attempt."""


class FailedRollout(Model):
    """A revision that failed as a canary: it gets no requests until spec.rollout.retry or promote asks for it anew."""

    version: int
    """Number of the version."""
    revision: ShortText
    """Its revision: another one has not failed."""
    time: ShortText
    """When it failed."""
    reason: ShortText
    """In CamelCase."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """What failed."""
    retry: Annotated[str, Field(max_length=63)] = ""
    """The value of spec.rollout.retry then: another one asks for it anew."""
    promote: int = 0
    """The value of spec.rollout.promote then, 0 for none: its own number, set since, asks for it anew."""


class NamedRevision(Model):
    """A revision under a name that a server is asked for it by."""

    name: ShortText
    """As Triton has it; a revision that is not verified yet has another name than the one that clients use."""
    uri: Annotated[str, Field(max_length=1024)]
    """Where it is published."""


class VerifiedPod(NamedRevision):
    """A pod of a server that gave the right answers for a revision."""

    pod: ShortText
    """UID of the pod."""
    container: ShortText
    """ID of its Triton container: one that was restarted is asked again."""
    memory_bytes: int = 0
    """What Triton took more after it was loaded than before; 0 where that could not be told."""


class SharedStatus(Model):
    """Where the model is in the YoloServer of spec.serverRef."""

    server: ShortText
    """Its name."""
    serving: Annotated[str, Field(max_length=1024)] = ""
    """Revision that the name clients use stands for, by where it is published; empty while none has been right."""
    wanted: list[NamedRevision] = Field(default=[], max_length=4)
    """What the server is to have of it."""
    verified: list[VerifiedPod] = Field(default_factory=list, max_length=512)
    """What was right, by pod."""
    failures: list[Failure] = Field(default_factory=list, max_length=512)
    """What was not, and what is tried again, by pod."""
    memory_bytes: int = 0
    """What it takes in a pod, at most."""


class Condition(Model):
    """As in Kubernetes."""

    type: ShortText
    """Ready, Reconciling, Stalled, Built, Available or Verified."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: Annotated[str, Field(max_length=253)]
    """In CamelCase."""
    message: Annotated[str, Field(max_length=8192)] = ""
    """For people."""
    observed_generation: int = 0
    """Generation of the spec that this was found for."""
    last_transition_time: ShortText
    """When the status changed last."""


PENDING = Condition(
    type="Ready",
    status="Unknown",
    reason="Pending",
    message="No operator has looked at it yet: does one run that serves this namespace?",
    last_transition_time="1970-01-01T00:00:00Z",
)
"""What a resource says before an operator does, by a default of the CRD, as those of the Gateway API: without a status it counts as done for kstatus."""


class Display(Model):
    """What the columns of `kubectl get` show."""

    model: ShortText = ""
    """Name of the model in Triton."""
    versions: ShortText = ""
    """Versions and their share of the ready pods in percent, for example 1:50 2:50."""
    replicas: ShortText = ""
    """Ready and wanted pods, for example 3/3."""
    revisions: ShortText = ""
    """Revisions wanted."""


class StorageAddress(Model):
    """What reaches a storage. Names the Secret, holds no key."""

    uri: Annotated[str, Field(max_length=512)]
    """Bucket and prefix, as in spec.storage.uri."""
    endpoint: Annotated[str | None, Field(max_length=300)] = None
    """URL of an S3-compatible server; absent for AWS S3."""
    region: Region = "us-east-1"
    """Region of the bucket."""
    secret_ref: LocalReference | None = None
    """Secret with the keys; absent for workload identity."""
    ca_bundle_ref: KeyReference | None = None
    """ConfigMap with CA certificates."""


class PreviousStorage(StorageAddress):
    """A storage that was published to before, and still has something of this resource."""

    revisions: list[ShortText] = Field(default_factory=list, max_length=256)
    """Revisions there, oldest first."""
    prune_failure: Failure | None = None
    """Why the prune Job for it failed."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Why nothing can be removed there at present, and the remedy."""


class Status(Model):
    """What is observed."""

    observed_generation: int = 0
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = Field(default=[], max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})
    """Ready, Reconciling, Stalled, Built, Available, Verified."""
    url: ShortText = ""
    """For the Ultralytics client: YOLO(url, task=…), inside the cluster."""
    grpc_url: Annotated[str, Field(max_length=512)] = ""
    """The same over gRPC."""
    replicas: int = 0
    """Triton pods."""
    ready_replicas: int = 0
    """Triton pods that are ready."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Label selector of the Triton pods, for autoscalers."""
    triton_release: ShortText = ""
    """Release that the Triton image is taken for, for example 25.08; empty where neither spec.triton.release nor the image's tag says it."""
    triton_image: Annotated[str, Field(max_length=512)] = ""
    """Triton image that all pods had when they were last complete: while an update to another one is under way, the one before."""
    task: ShortText = ""
    """What the model does, from the weights."""
    operator: Annotated[str | None, Field(max_length=512)] = None
    """Operator that wrote this: NAMESPACE/NAME of its Lease."""
    display: Display = Display()
    """What the columns of `kubectl get` show."""
    versions: list[VersionStatus] = Field(
        default=[], max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]}
    )
    """What is observed of each version."""
    rollout: RolloutStatus | None = None
    """Where the canary is, with spec.rollout.strategy Canary."""
    shared: SharedStatus | None = None
    """Where the model is in a server of several, with spec.serverRef."""
    reference_version: int = 0
    """Version whose inputs, outputs and classes clients know: others that share its requests must agree with it. 0 while there is none."""
    failed_rollouts: list[FailedRollout] = Field(default_factory=list, max_length=32)
    """Revisions that failed as canaries, whatever the spec has become since."""
    published: list[ShortText] = Field(default_factory=list, max_length=256)
    """Revisions in the present storage, oldest first."""
    storage: StorageAddress | None = None
    """The present storage: where `published` is."""
    previous_storages: list[PreviousStorage] = Field(default_factory=list, max_length=16)
    """Storages that spec.storage, or the administrator's default, named before, as long as something of this resource is there; oldest first."""
    prune_failure: Failure | None = None
    """Why the prune Job failed."""
