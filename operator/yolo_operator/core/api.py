"""The resource: spec and status of a YoloDeployment. The CRD is generated from these models (`make crds`).

Every field's docstring is its description in `kubectl explain`; every string and list is bounded, or the CEL rules are
over the API server's budget. `parse` is the border: behind it the rest of the code meets only valid values.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema

from yolo_operator.core.contract import Artifact, Comparison, Task, Verification, camel
from yolo_operator.core.errors import InvalidSpec

GROUP = "yolo-operator.io"
VERSION = "v1alpha1"
KIND = "YoloDeployment"
PLURAL = "yolodeployments"
API_VERSION = f"{GROUP}/{VERSION}"

MAX_VERSION = 99999
"""Job names hold the name (40), the version and a hash within a label's 63 characters."""


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules for the API server: (expression, message)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


class Model(BaseModel):
    """Base of all parts of the resource: camelCase on the wire, attribute docstrings as descriptions."""

    # Unknown fields are ignored here, not refused: an older operator must be able to read what a newer one has written.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, alias_generator=camel, use_attribute_docstrings=True)


def duration(value: object) -> object:
    """Read 1h30m, 90s or 2m as Kubernetes writes durations; anything else is left to pydantic."""
    match = re.fullmatch(DURATION, value) if isinstance(value, str) and value else None
    return timedelta(**{unit: int(number) for unit, number in match.groupdict().items() if number}) if match else value


def duration_text(value: timedelta) -> str:
    """As it is read: 90 s are 1m30s."""
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number) or "0s"


DURATION = "(?:(?P<hours>[0-9]{1,3})h)?(?:(?P<minutes>[0-9]{1,5})m)?(?:(?P<seconds>[0-9]{1,6})s)?"
Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$", "minLength": 2, "maxLength": 16}),
]
Quantity = Annotated[str, BeforeValidator(str), WithJsonSchema({"x-kubernetes-int-or-string": True})]
Freeform = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
ShortText = Annotated[str, Field(max_length=253)]
Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)]

ENDPOINT_RULE = (
    "self.matches('^https?://[0-9A-Za-z.-]+:[0-9]{1,5}/?$')",
    "an endpoint is http://HOST:PORT or https://HOST:PORT; Triton needs the port to be written, for example http://s3.storage.svc:8333",
)


PICTURES_RULE = (
    "self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[0-9A-Za-z._-]+)*/?$') && !self.contains('..')",
    "spec.rollout.analysis.pictures is s3://BUCKET/PREFIX, of letters, digits, dot, hyphen and underscore",
)


class Resources(Model):
    """Requests and limits of a container, as in a Pod."""

    requests: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    """What the scheduler sets aside, for example {cpu: "1", memory: 2Gi}."""
    limits: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    """What the container may use at most."""


class LocalReference(Model):
    """Names an object in the resource's own namespace."""

    name: ShortText = Field(min_length=1)
    """Name of the object, in the same namespace."""


class KeyReference(LocalReference):
    """Names a key of a ConfigMap in the resource's own namespace."""

    key: ShortText = "ca.crt"
    """Key that holds the PEM text."""


class Storage(Model):
    """Where the Triton model repository is published: an S3 bucket and prefix."""

    uri: str = Field(
        max_length=512,
        json_schema_extra=rules(
            (
                "self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$')",
                "spec.storage.uri is s3://BUCKET/PREFIX with the bucket in lower case (a-z, 0-9, dot, hyphen; 3 to 63 characters)",
            ),
            (
                "self.matches('^s3://[^/]*(/[0-9A-Za-z._-]+)*/?$') && !self.contains('..')",
                "Triton reads only letters, digits, dot, hyphen and underscore in an S3 prefix: rename the prefix in spec.storage.uri",
            ),
        ),
    )
    """Bucket and prefix, for example s3://models/yolo. What is published goes below PREFIX/NAMESPACE/NAME/."""
    endpoint: Annotated[str | None, Field(max_length=300, json_schema_extra=rules(ENDPOINT_RULE))] = None
    """URL of an S3-compatible server, with its port: http://s3.storage.svc:8333. Leave out for AWS S3."""
    region: str = Field(default="us-east-1", max_length=63)
    """Region of the bucket."""
    secret_ref: LocalReference | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, if temporary). Leave out for workload identity."""
    read_secret_ref: LocalReference | None = None
    """Secret that Triton gets instead of secretRef, so that no serving pod can write to the bucket."""
    ca_bundle_ref: KeyReference | None = None
    """ConfigMap with CA certificates, PEM, that an https endpoint is trusted by besides the public ones. Triton reads it at a pod's start."""


class Source(Model):
    """Where the weights come from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.secretRef) || self.uri.startsWith('s3://')",
                "secretRef is read for s3:// sources only: remove it or put the weights into S3",
            ),
        )
    )

    uri: str = Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            (
                "self.matches('^(s3|https?|pvc|ultralytics)://.+')",
                "source.uri starts with s3://, http://, https://, pvc:// or ultralytics://",
            ),
            (
                "!self.contains('..') && !self.contains('@') && !self.contains('?') && !self.contains('#')",
                "source.uri holds no '..', no credentials and no query: use s3:// with secretRef for weights that are not public",
            ),
            (
                "self.matches('[.](pt|onnx|yaml|yml)$')",
                "source.uri ends in .pt (weights), .onnx (exported already) or .yaml (an architecture, random weights)",
            ),
            (
                "!self.startsWith('s3://') || self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$')",
                "an S3 source is s3://BUCKET/KEY with the bucket in lower case",
            ),
        ),
    )
    """s3://BUCKET/KEY, http(s)://HOST/PATH, pvc://CLAIM/PATH or ultralytics://NAME.pt; ends in .pt, .onnx or .yaml. A change of what is behind
    the URI is not noticed: set sha256 or change rebuild."""
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$", max_length=64)] = None
    """Digest the file must have; other content is refused."""
    secret_ref: LocalReference | None = None
    """Secret with the AWS keys for an s3:// source. Default: that of the storage, where the source is on the same endpoint."""
    endpoint: Annotated[str | None, Field(max_length=300, json_schema_extra=rules(ENDPOINT_RULE))] = None
    """S3 endpoint of an s3:// source. Default: that of the storage."""
    region: Annotated[str | None, Field(max_length=63)] = None
    """Region of an s3:// source. Default: that of the storage."""


class Export(Model):
    """How the weights become ONNX: the arguments of Ultralytics' export. Ignored for a source that is ONNX already."""

    image_size: Annotated[list[Annotated[int, Field(ge=32, le=8192)]] | None, Field(min_length=1, max_length=2)] = None
    """Height and width in pixels (one number: both), a multiple of the model's stride. Default: what the weights were trained with."""
    dynamic: bool = True
    """Batch, height and width may vary from request to request. Needed for maxBatchSize above 0."""
    half: bool = False
    """FP16 weights and inputs."""
    simplify: bool = True
    """Simplify the graph with onnxslim."""
    opset: Annotated[int | None, Field(ge=11, le=21)] = None
    """ONNX opset, 11 to 21: what ONNX Runtime in Triton 24.10 reads. Default: Ultralytics' own choice, 18 in the exporter's release."""
    nms: bool = False
    """Put non-maximum suppression into the graph. It answers for the first picture of a batch only: off for serving."""


class Version(Model):
    """One version of the model, served by a Deployment of its own."""

    version: int = Field(ge=1, le=MAX_VERSION)
    """Number of the version: Triton's version directory."""
    weight: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Share of the requests, relative to the other versions' weights; 0: none, and no pods. Needed where several versions are declared,
    unless spec.rollout.strategy is Canary, which sets the shares itself."""
    replicas: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Pods of this version, whatever its weight; with spec.traffic.mode Gateway only. Default: spec.replicas shared out by weight."""
    source: Source
    """Where the weights come from."""
    export: Export = Field(default_factory=Export)
    """How the weights become ONNX."""
    rebuild: Annotated[str | None, Field(max_length=63)] = None
    """Any change makes a new revision from the same source, for example a date."""


class Build(Model):
    """The build Job: fetches, exports and publishes one revision."""

    resources: Resources = Field(default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "4Gi"}))
    """Of the export container, which loads PyTorch and the model."""
    timeout: Duration = Field(default=timedelta(minutes=30), ge=timedelta(seconds=30), le=timedelta(days=1))
    """How long one attempt of fetch or export may take, 30s to 24h."""
    storage_size: Quantity = "10Gi"
    """Upper limit of the scratch volume that holds the weights and the ONNX."""
    node_selector: Labels = Field(default_factory=dict)
    """Nodes the build Job may run on; it needs no GPU."""
    tolerations: list[Freeform] = Field(default_factory=list, max_length=16)
    """Tolerations of the build Job."""


class DynamicBatching(Model):
    """Triton's dynamic batcher: joins requests that wait into one inference."""

    enabled: bool = True
    """Off: the server answers each request by itself."""
    preferred_batch_sizes: list[Annotated[int, Field(ge=1, le=1024)]] = Field(default_factory=list, max_length=16)
    """Batch sizes that are sent on without waiting any longer. Default: maxBatchSize."""
    max_queue_delay_microseconds: int = Field(default=100, ge=0, le=10_000_000)
    """Microseconds a request may wait for others to join its batch."""


class EngineCache(Model):
    """Where TensorRT keeps its built engines between restarts."""

    persistent_volume_claim: ShortText = Field(min_length=1)
    """Claim that is mounted into the Triton pods, ReadWriteMany where there are several."""


class TensorRT(Model):
    """ONNX Runtime's TensorRT execution provider."""

    enabled: bool = False
    """Build and run TensorRT engines; needs a GPU. Not run in this project's own tests, which have none."""
    precision: Literal["FP32", "FP16", "INT8"] = "FP16"
    """precision_mode of the accelerator."""
    max_workspace_bytes: int = Field(default=3221225472, ge=1 << 20, le=1 << 40)
    """max_workspace_size_bytes of the accelerator, in bytes."""
    engine_cache: EngineCache | None = None
    """Keep engines on a volume. Default: an emptyDir, so each new pod builds its engines anew."""


class Triton(Model):
    """The Triton Inference Server and the model's configuration in it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.dynamicBatching) || !has(self.dynamicBatching.preferredBatchSizes) || "
                "self.dynamicBatching.preferredBatchSizes.all(size, size <= self.maxBatchSize)",
                "spec.triton.dynamicBatching.preferredBatchSizes may not be above spec.triton.maxBatchSize",
            ),
        )
    )

    image: Annotated[str | None, Field(min_length=1, max_length=512)] = None
    """Image of the server. Default: the operator's setting (chart value triton.image)."""
    image_pull_secrets: list[LocalReference] = Field(default_factory=list, max_length=8)
    """Secrets to pull the images with, of the Triton pods and the Jobs."""
    max_batch_size: int = Field(default=8, ge=0, le=1024)
    """Largest batch. 0: no batching, every request is one inference as it is; 1 and more: the batch dimension is Triton's, which needs
    a dynamic batch dimension."""
    dynamic_batching: DynamicBatching = Field(default_factory=DynamicBatching)
    """How requests are joined into batches."""
    instances: int = Field(default=1, ge=1, le=64)
    """Copies of the model per GPU (per pod on CPU)."""
    tensorrt: TensorRT = Field(default_factory=TensorRT)
    """TensorRT acceleration."""
    warmup: bool = True
    """Run the golden picture through every served batch size before the server is ready."""
    resources: Resources = Field(default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}))
    """Of the Triton container; the GPU is added from spec.gpu."""


class Gpu(Model):
    """GPUs of each Triton pod."""

    resource_name: str = Field(default="nvidia.com/gpu", min_length=1, max_length=253)
    """Extended resource that is requested: nvidia.com/gpu, a MIG profile such as nvidia.com/mig-1g.5gb, or a shared one."""
    count: int = Field(default=1, ge=0, le=64)
    """GPUs per pod. 0: the model is served on the CPU."""


class Verify(Model):
    """The inference every pod template has to answer rightly before one of its pods is let in."""

    enabled: bool = True
    """Off: pods are ready as soon as Triton is; nothing proves that its answers are right."""
    min_iou: Annotated[float | None, Field(ge=0, le=1, alias="minIoU")] = None
    """Least overlap (intersection over union) of a served box with the reference's. Default by precision: 0.98 FP32, 0.95 FP16, 0.75 INT8."""
    max_score_difference: Annotated[float | None, Field(ge=0, le=1)] = None
    """Largest difference of a served score from the reference's. Default by precision: 0.02 FP32, 0.05 FP16, 0.25 INT8."""


class ParentReference(Model):
    """Names a Gateway, as in a route of the Gateway API."""

    name: ShortText = Field(min_length=1)
    """Name of the Gateway."""
    namespace: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    """Namespace of the Gateway. Default: the resource's own."""
    section_name: Annotated[str | None, Field(min_length=1, max_length=253)] = None
    """Listener of the Gateway. Default: every listener that admits the route."""


Hostname = Annotated[str, Field(min_length=1, max_length=253, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")]


class GrpcTraffic(Model):
    """gRPC through the Gateway: on hostnames of its own, since one hostname cannot serve an HTTPRoute and a GRPCRoute."""

    hostnames: list[Hostname] = Field(min_length=1, max_length=8)
    """Host names of the GRPCRoute; none of them may be among spec.traffic.gateway.hostnames."""
    parent_refs: list[ParentReference] = Field(default_factory=list, max_length=8)
    """Gateways of the GRPCRoute. Default: spec.traffic.gateway.parentRefs."""


class GatewayTraffic(Model):
    """Routes of the Gateway API."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.grpc) || !self.grpc.hostnames.exists(h, h in self.hostnames)",
                "a hostname serves HTTP or gRPC, not both: give spec.traffic.gateway.grpc.hostnames names of their own",
            ),
        )
    )

    parent_refs: list[ParentReference] = Field(min_length=1, max_length=8)
    """Gateways that the routes attach to."""
    hostnames: list[Hostname] = Field(min_length=1, max_length=8)
    """Host names of the HTTPRoute. Version 2 alone answers below v2.HOSTNAME, and to the header x-yolo-version: 2."""
    grpc: GrpcTraffic | None = None
    """gRPC as well. Default: HTTP alone."""


class Traffic(Model):
    """How requests are shared among the versions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.mode) && self.mode == 'Gateway') == has(self.gateway)",
                "spec.traffic.gateway goes with spec.traffic.mode Gateway, and only with it",
            ),
        )
    )

    mode: Literal["Service", "Gateway"] = "Service"
    """Service: one Service over the pods of all versions, so shares follow the numbers of pods. Gateway: exact shares by routes of the Gateway API."""
    gateway: GatewayTraffic | None = None
    """Where the routes go, with mode Gateway."""
    allow_incompatible: bool = False
    """Share traffic even among versions whose inputs, outputs, task, image size or classes differ. Clients read those once, at their start."""


class Step(Model):
    """One step of a canary."""

    weight: int = Field(ge=1, le=100)
    """Percent of the requests that the new version gets."""
    duration: Duration = Field(default=timedelta(minutes=1))
    """How long the step lasts once the new version has its share, for example 2m. The analysis watches for that time."""


class Analysis(Model):
    """What is compared between the new version and the stable one, at every step."""

    enabled: bool = True
    """Off: a step lasts its duration and no figures are read."""
    pictures: Annotated[str | None, Field(max_length=1024, json_schema_extra=rules(PICTURES_RULE))] = None
    """s3://BUCKET/PREFIX with pictures that both versions are shown, at most 64 of them. Default: the golden picture of the stable version."""
    secret_ref: LocalReference | None = None
    """Secret with the AWS keys for the pictures. Default: that of the storage."""
    min_requests: int = Field(default=0, ge=0, le=1_000_000)
    """Requests the new version must have answered during the step; with fewer the analysis is inconclusive."""
    max_error_rate: float = Field(default=0.01, ge=0, le=1)
    """Largest share of failed requests of the new version, 0 to 1."""
    max_latency_ratio: float = Field(default=2.0, ge=0.1, le=100)
    """Largest mean time of a request, as a multiple of the stable version's."""
    max_queue_milliseconds: Annotated[float | None, Field(ge=0, le=600_000)] = None
    """Largest mean time a request waits in the queue, in milliseconds. Default: not limited."""
    max_detections_ratio: float = Field(default=3.0, ge=1, le=1000)
    """Detections per picture may be so many times more or fewer than the stable version's."""
    max_class_distance: float = Field(default=0.5, ge=0, le=1)
    """Largest distance between the two histograms of classes found: 0 the same, 1 nothing in common."""
    max_confidence_difference: float = Field(default=0.3, ge=0, le=1)
    """Largest difference of the mean confidence from the stable version's."""
    min_agreement: float = Field(default=0.5, ge=0, le=1)
    """Least share of the stable version's detections that the new one has too: the same class and boxes that overlap by half."""


class Rollout(Model):
    """How a change reaches the pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.strategy) && self.strategy == 'Canary') || !has(self.steps) || self.steps.size() == 0",
                "spec.rollout.steps go with spec.rollout.strategy Canary: set it, or remove the steps",
            ),
        )
    )

    verify: Verify = Field(default_factory=Verify)
    """What a pod must answer before it gets traffic."""
    progress_deadline: Duration = Field(default=timedelta(minutes=30), ge=timedelta(minutes=1), le=timedelta(days=1))
    """How long a new pod template may take to become ready (engine build and verification included) before it is reported, for example 30m.
    A canary that takes longer to get its share is aborted."""
    gpu: Literal["Auto", "Surge", "InPlace"] = "Auto"
    """A new pod when all GPUs are taken. Surge: it waits for a free one. InPlace: an old pod makes room, one at a time. Auto: it waits for
    surgeTimeout, then in place, if 2 or more pods are ready."""
    surge_timeout: Duration = Field(default=timedelta(minutes=10))
    """How long Auto waits for a GPU, for example for a node to be added, before it replaces in place."""
    strategy: Literal["Weighted", "Canary"] = "Weighted"
    """Weighted: spec.versions[].weight are the shares. Canary: the newest version takes over from the stable one step by step."""
    steps: list[Step] = Field(default_factory=list, max_length=20)
    """Steps of the canary, each with the same weight as the one before or more. None: all at once, when it is verified."""
    analysis: Analysis = Field(default_factory=Analysis)
    """What is compared at every step, and how far apart it may be."""
    auto_promote: bool = True
    """Off: after the last step the canary waits for spec.rollout.promote."""
    scale_down_delay: Duration = Field(default=timedelta(0))
    """How long the old version's pods are kept after the new one has all traffic, with spec.traffic.mode Gateway."""
    paused: bool = False
    """The canary stays at its step; its share stays as it is."""
    promote: Annotated[int | None, Field(ge=1, le=MAX_VERSION)] = None
    """Number of a version that skips the steps it has left. It must be available and verified all the same."""
    abort: Annotated[int | None, Field(ge=1, le=MAX_VERSION)] = None
    """Number of a version that gets no traffic: its canary ends and the stable version has all. Remove it to begin again."""
    retry: Annotated[str | None, Field(max_length=63)] = None
    """Another value begins a failed or inconclusive canary anew, for example a date."""


class Spec(Model):
    """What is wanted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.modelName) == has(oldSelf.modelName)",
                "spec.modelName cannot be added, changed or removed: make a new YoloDeployment",
            ),
            (
                "!has(self.triton) || self.triton.maxBatchSize == 0 || self.versions.all(v, !has(v.export) || v.export.dynamic)",
                "export.dynamic: false makes a static batch, which Triton cannot batch: set spec.triton.maxBatchSize to 0, or export.dynamic to true",
            ),
            (
                "!has(self.triton) || self.triton.maxBatchSize <= 1 || self.versions.all(v, !has(v.export) || !v.export.nms)",
                "export.nms: true answers for the first picture of a batch only: set spec.triton.maxBatchSize to 1 or 0, or export.nms to false",
            ),
            (
                "!has(self.gpu) || self.gpu.count > 0 || !has(self.triton) || !has(self.triton.tensorrt) || !self.triton.tensorrt.enabled",
                "spec.triton.tensorrt needs a GPU: set spec.gpu.count to 1 or more, or spec.triton.tensorrt.enabled to false",
            ),
            (
                "self.versions.size() == 1 || (has(self.rollout) && self.rollout.strategy == 'Canary') || self.versions.all(v, has(v.weight))",
                "with several versions each needs a weight: set spec.versions[].weight, or spec.rollout.strategy to Canary",
            ),
            (
                "!has(self.rollout) || self.rollout.strategy != 'Canary' || self.versions.all(v, !has(v.weight))",
                "with spec.rollout.strategy Canary the steps set the shares: remove spec.versions[].weight",
            ),
            (
                "self.versions.all(v, !has(v.weight)) || self.versions.exists(v, has(v.weight) && v.weight > 0)",
                "one of spec.versions[].weight must be above 0; to stop serving set spec.replicas to 0",
            ),
            (
                "(has(self.traffic) && self.traffic.mode == 'Gateway') || self.versions.all(v, !has(v.replicas))",
                "spec.versions[].replicas needs spec.traffic.mode Gateway: with mode Service the numbers of pods are the shares",
            ),
            (
                "!has(self.rollout) || self.rollout.strategy != 'Canary' || !has(self.rollout.scaleDownDelay) || self.rollout.scaleDownDelay == '0s' "
                "|| (has(self.traffic) && self.traffic.mode == 'Gateway')",
                "spec.rollout.scaleDownDelay needs spec.traffic.mode Gateway: with mode Service a pod that runs takes requests",
            ),
        )
    )

    model_name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=63,
            json_schema_extra=rules(
                ("self == oldSelf", "spec.modelName cannot be changed: make a new YoloDeployment"),
                (
                    "self.matches('^[0-9A-Za-z][0-9A-Za-z._-]*$')",
                    "Triton loads a model only by a name of letters, digits, dot, hyphen and underscore: rename spec.modelName",
                ),
            ),
        ),
    ] = None
    """Name of the model in Triton and in the URL. Default: metadata.name. Cannot be changed."""
    task: Task | None = None
    """What the model does: detect, segment, pose, obb or classify. Checked against the weights; required for an .onnx that does not say."""
    storage: Storage | None = None
    """Where the model repository is published. Default: the operator's setting (chart value storage)."""
    service_account_name: ShortText = Field(default="default", min_length=1)
    """Service account of the Triton pods and the Jobs, for workload identity."""
    replicas: int = Field(default=1, ge=0, le=1000)
    """Triton pods in total, shared among the versions; what `kubectl scale` sets."""
    versions: Annotated[
        list[Version],
        Field(
            min_length=1,
            max_length=10,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]},
        ),
    ]
    """The versions to serve, 1 to 10."""
    build: Build = Field(default_factory=Build)
    """The Jobs that turn weights into a model repository."""
    triton: Triton = Field(default_factory=Triton)
    """The server."""
    gpu: Gpu = Field(default_factory=Gpu)
    """GPUs of each Triton pod."""
    node_selector: Labels = Field(default_factory=dict)
    """Nodes the Triton pods may run on."""
    tolerations: list[Freeform] = Field(default_factory=list, max_length=16)
    """Tolerations of the Triton pods, besides the one for the GPU resource's taint."""
    affinity: Freeform | None = None
    """Affinity of the Triton pods, as in a Pod."""
    topology_spread_constraints: list[Freeform] = Field(default_factory=list, max_length=16)
    """Spread of the Triton pods, as in a Pod."""
    runtime_class_name: ShortText | None = None
    """Runtime class of the Triton pods, for example nvidia."""
    priority_class_name: ShortText | None = None
    """Priority class of the Triton pods."""
    traffic: Traffic = Field(default_factory=Traffic)
    """How requests are shared among the versions."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How a change reaches the pods."""
    revision_history_limit: int = Field(default=2, ge=0, le=100)
    """Published revisions that are kept in the storage besides those in use."""
    restarted_at: Annotated[str | None, Field(max_length=63)] = None
    """Any change rolls the Triton pods; nothing is built."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the published revisions when the resource is deleted."""


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
    """Pods of this version that are let in."""
    reason: ShortText = ""
    """Why it is not serving, or Serving."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """The field and the remedy."""
    built_revision: ShortText = ""
    """Revision that `artifact` describes: the one built last."""
    artifact: Artifact | None = None
    """What was published."""
    verified: list[VerifiedTemplate] = Field(default_factory=list, max_length=32)
    """Pod templates that answered rightly."""
    build_failure: Failure | None = None
    """Why the build Job failed."""
    verify_failure: Failure | None = None
    """Why the verify Job failed."""
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
    """Version that is walking the steps, or was aborted; 0 where there is none."""
    revision: ShortText = ""
    """Revision of the canary: another one begins anew."""
    step: int = 0
    """Step the canary is at, from 1; one more than there are steps when it is past the last."""
    steps: int = 0
    """Steps there are."""
    weight: int = 0
    """Percent that the canary is to have at this step."""
    routed: int = 0
    """Percent that a Gateway gives it: that of the step before until it has the pods for this one."""
    started: ShortText = ""
    """When the step began: when the canary was asked to take its share."""
    reached: ShortText = ""
    """When the canary had its share; from then the step's duration counts."""
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


class Status(Model):
    """What is observed."""

    observed_generation: int = 0
    """Generation of the spec that this status is about."""
    conditions: Annotated[
        list[Condition],
        Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Ready, Reconciling, Stalled, Built, Available, Verified."""
    url: ShortText = ""
    """For the Ultralytics client: YOLO(url, task=…), inside the cluster."""
    grpc_url: Annotated[str, Field(max_length=512)] = ""
    """The same over gRPC."""
    replicas: int = 0
    """Triton pods."""
    ready_replicas: int = 0
    """Triton pods that are let in."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Label selector of the Triton pods, for autoscalers."""
    task: ShortText = ""
    """What the model does, from the weights."""
    display: Display = Display()
    """What the columns of `kubectl get` show."""
    versions: Annotated[
        list[VersionStatus],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["version"]}),
    ] = []
    """What is observed of each version."""
    rollout: RolloutStatus | None = None
    """Where the canary is, with spec.rollout.strategy Canary."""
    published: list[ShortText] = Field(default_factory=list, max_length=256)
    """Revisions in the storage, oldest first."""
    prune_failure: Failure | None = None
    """Why the prune Job failed."""


class YoloDeployment(Model):
    """A YOLO model, exported, published, served by Triton on GPUs and verified."""

    name: str
    namespace: str
    uid: str
    generation: int
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    spec: Spec
    status: Status

    @property
    def model_name(self) -> str:
        """The model's name in Triton."""
        return self.spec.model_name or self.name


def parse_spec(spec: Mapping[str, Any]) -> Spec:
    """Read a spec; raises InvalidSpec that names each wrong field. The API server has refused most of this already."""
    try:
        return Spec.model_validate(spec)
    except ValidationError as error:
        faults = "; ".join(f"spec.{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise InvalidSpec("InvalidSpec", faults[:2000]) from error


def parse_status(status: Mapping[str, Any]) -> Status:
    """Read a status; what cannot be read (written by hand, by another release) counts as absent: it is observed anew."""
    try:
        return Status.model_validate(status)
    except ValidationError:
        return Status()


def parse(body: Mapping[str, Any]) -> YoloDeployment:
    """Read a resource as the API server gives it. Raises InvalidSpec."""
    return identity(body).model_copy(update={"spec": parse_spec(body.get("spec", {}))})


def identity(body: Mapping[str, Any]) -> YoloDeployment:
    """Who a resource is and what its status says, whatever its spec: for reporting that the spec cannot be read."""
    meta = body["metadata"]
    return YoloDeployment.model_construct(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        deleting="deletionTimestamp" in meta,
        finalizers=tuple(meta.get("finalizers", ())),
        status=parse_status(body.get("status", {})),
    )
