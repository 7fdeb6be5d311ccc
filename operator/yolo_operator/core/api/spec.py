"""`spec`: what is wanted. `spec.triton` is in `triton.py`, `spec.pictures` in `pictures.py`, `spec.traffic` and `spec.rollout` in `rollout.py`, `spec.networkPolicy` in `network.py`."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from yolo_operator.core.api.fields import (
    MAX_VERSION,
    Annotations,
    Duration,
    Freeform,
    IntOrPercent,
    KeyReference,
    Labels,
    LocalReference,
    Model,
    ObjectName,
    OwnLabels,
    Quantity,
    Region,
    Resources,
    pictures_rule,
    rules,
)
from yolo_operator.core.api.network import NetworkPolicy
from yolo_operator.core.api.pictures import Pictures
from yolo_operator.core.api.rollout import Rollout
from yolo_operator.core.api.traffic import Traffic
from yolo_operator.core.api.triton import Triton
from yolo_operator.core.contract import Task, WireDatatype
from yolo_operator.core.triton.shapes import Shapes

ENDPOINT_RULE = (
    "self.matches('^https?://[0-9A-Za-z.-]+:[0-9]{1,5}/?$')",
    "an endpoint is http://HOST:PORT or https://HOST:PORT; Triton needs the port to be written, for example http://s3.storage.svc:8333",
)
PROXY_RULE = (
    "self.matches('^http://[0-9A-Za-z._-]+:[0-9]{1,5}/?$')",
    "a proxy is http://HOST:PORT, for https:// addresses too, and without credentials: put them into the Secret of build.proxy.secretRef",
)
UNSHARED = "!has(self.serverRef)"
"""How rules begin that are about resources with a serverRef."""
NO_MIRROR = "!has(self.traffic) || !has(self.traffic.gateway) || !has(self.traffic.gateway.mirror)"


class ServerSideEncryption(Model):
    """How the storage encrypts what is published, where the bucket demands that each request says so."""

    model_config = ConfigDict(
        json_schema_extra=rules(("!has(self.kmsKeyId) || self.algorithm == 'aws:kms'", "serverSideEncryption.kmsKeyId goes with algorithm aws:kms only"))
    )

    algorithm: Literal["AES256", "aws:kms"]
    """x-amz-server-side-encryption of each upload and copy: AES256 for the storage's own key, aws:kms for one of a key service."""
    kms_key_id: Annotated[str | None, Field(min_length=1, max_length=2048, pattern="^[0-9A-Za-z:/_.-]+$")] = None
    """Key of the key service: its id, ARN or alias. Default: the bucket's or the account's."""


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
    region: Region = "us-east-1"
    """Region of the bucket."""
    secret_ref: LocalReference | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, if temporary). Leave out for workload identity."""
    read_secret_ref: LocalReference | None = None
    """Secret that Triton gets instead of secretRef, so that no serving pod can write to the bucket."""
    ca_bundle_ref: KeyReference | None = None
    """ConfigMap with CA certificates, PEM, that an https endpoint is trusted by besides the public ones. Triton reads it at a pod's start."""
    server_side_encryption: ServerSideEncryption | None = None
    """For buckets whose policy refuses uploads that do not name an encryption. A change concerns what is published from then on."""
    loader: Literal["Triton", "InitContainer"] = "Triton"
    """What brings the repository to a serving pod: Triton's own S3 client, or an init container, which checks the digests and keeps the keys from Triton."""


class Source(Model):
    """Where the weights come from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.secretRef) || self.uri.matches('^(s3|https|hf|oci)://')",
                "secretRef is read for s3://, https://, hf:// and oci:// sources only (http:// would send it in the clear): remove it, or use one of those",
            ),
        )
    )

    uri: str = Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            (
                "self.matches('^(s3|https?|pvc|ultralytics|hf|oci)://.+')",
                "source.uri starts with s3://, http://, https://, pvc://, ultralytics://, hf:// or oci://",
            ),
            (
                "!self.contains('..') && (!self.contains('@') || self.matches('^(hf|oci)://')) && !self.contains('?') && !self.contains('#')",
                "source.uri holds no '..', no credentials and no query: put them into the Secret of source.secretRef",
            ),
            (
                "self.matches('[.](pt|onnx|yaml|yml)$') || self.matches('^hf://[^@]+[.](pt|onnx|yaml|yml)@.+$')",
                "source.uri ends in .pt (weights), .onnx (exported already) or .yaml (an architecture, random weights)",
            ),
            (
                "!self.startsWith('s3://') || self.matches('^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$')",
                "an S3 source is s3://BUCKET/KEY with the bucket in lower case",
            ),
            (
                "!self.startsWith('hf://') || "
                "self.matches('^hf://[0-9A-Za-z][0-9A-Za-z._-]*/[0-9A-Za-z][0-9A-Za-z._-]*(@[0-9A-Za-z._-]+/[^@]+|/[^@]+|/[^@]+@[0-9A-Za-z._/-]+)$')",
                "a source on the Hugging Face Hub is hf://ORG/REPOSITORY/PATH, with @REVISION behind the repository or at the end",
            ),
            (
                "!self.startsWith('oci://') || self.matches('^oci://[^/@]+/[a-z0-9/._-]+@sha256:[0-9a-f]{64}/[^@]+$')",
                "a file of an OCI artifact is oci://REGISTRY/REPOSITORY@sha256:DIGEST/FILE, by the digest of the artifact's manifest: a tag can be moved",
            ),
        ),
    )
    """s3://BUCKET/KEY, http(s)://HOST/PATH, pvc://CLAIM/PATH, ultralytics://NAME.pt, hf://ORG/REPOSITORY/PATH[@REVISION] (default: main) or
    oci://REGISTRY/REPOSITORY@sha256:DIGEST/FILE; ends in .pt, .onnx or .yaml. A change of what is behind the URI is not noticed: set sha256 or change rebuild."""
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$", max_length=64)] = None
    """Digest the file must have; other content is refused."""
    secret_ref: LocalReference | None = None
    """Secret with the AWS keys for an s3:// source (default: that of the storage, where the source is on the same endpoint); with token for hf://;
    for https:// with token (sent as a bearer's), with username and password, or with url, a presigned URL that is source.uri and a query; for oci://
    with username and password, or of type kubernetes.io/dockerconfigjson."""
    endpoint: Annotated[str | None, Field(max_length=300, json_schema_extra=rules(ENDPOINT_RULE))] = None
    """S3 endpoint of an s3:// source. Default: that of the storage."""
    region: Region | None = None
    """Region of an s3:// source. Default: that of the storage."""


class Calibration(Model):
    """Makes an INT8 ONNX: runs pictures of yours through the model to find the range of every tensor, then compares INT8 with FP32 on others of them."""

    pictures: str = Field(min_length=1, max_length=1024, json_schema_extra=pictures_rule("export.calibration.pictures"))
    """s3://BUCKET/PREFIX with pictures like those the model will be asked with: .jpg, .jpeg, .png, .bmp or .webp, 16 or more, of which the first
    300 by key are taken, 20 MiB each at most. Every fourth is kept for the comparison."""
    secret_ref: LocalReference | None = None
    """Secret with the AWS keys for the pictures. Default: that of the storage, where the pictures are on the same endpoint."""
    endpoint: Annotated[str | None, Field(max_length=300, json_schema_extra=rules(ENDPOINT_RULE))] = None
    """S3 endpoint of the pictures. Default: that of the storage."""
    region: Region | None = None
    """Region of the pictures' bucket. Default: that of the storage."""
    min_agreement: float = Field(default=0.8, ge=0, le=1)
    """Least share of FP32's detections that INT8 must have too, and of INT8's that FP32 must have: the same class, and boxes that overlap by half; for
    classify the same class. Below it nothing is published."""


class Export(Model):
    """How the weights become ONNX: the arguments of Ultralytics' export. Of a source that is ONNX already imageSize, shapes and calibration alone
    are read."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.shapes) || self.shapes != 'Dynamic' || !has(self.dynamic) || self.dynamic",
                "export.shapes: Dynamic needs export.dynamic: true, without which height and width are fixed",
            ),
            (
                "(has(self.nms) && self.nms) || !(has(self.confidence) || has(self.iou) || has(self.maxDetections) || has(self.agnosticNms))",
                "export.confidence, iou, maxDetections and agnosticNms are arguments of the NMS in the graph: set export.nms to true, or remove them",
            ),
            (
                "!has(self.calibration) || !has(self.half) || !self.half",
                "export.calibration makes INT8 of FP32: set export.half to false, or remove export.calibration",
            ),
            (
                "!has(self.calibration) || !has(self.nms) || !self.nms",
                "export.calibration goes without NMS in the graph, whose threshold no INT8 answer can be checked against: set export.nms to false, or remove "
                "export.calibration",
            ),
            (
                "!has(self.calibration) || !has(self.opset) || self.opset >= 13",
                "export.calibration needs an ONNX with a scale per channel: set export.opset to 13 or more, or remove it",
            ),
        )
    )

    image_size: Annotated[list[Annotated[int, Field(ge=32, le=8192)]] | None, Field(min_length=1, max_length=2)] = None
    """Height and width in pixels (one number: both), a multiple of the model's stride. Default: what the weights were trained with."""
    shapes: Shapes | None = None
    """Fixed: pictures of one size, imageSize; the Ultralytics client pads each to it. Dynamic: of any height and width up to 640, multiples of the
    stride; the client pads as for local weights, so that wide and tall pictures cost less. For an imageSize of 640 alone, not for classify.
    Default: Dynamic where that is right, otherwise Fixed."""
    dynamic: bool = True
    """The ONNX leaves batch, height and width open. Needed for maxBatchSize above 0."""
    half: bool = False
    """FP16 weights, for a smaller file; inputs and outputs stay FP32 (see inputDatatype), and answers may differ more (docs/serving.md)."""
    input_datatype: WireDatatype | None = None
    """Type of the pictures in requests, FP32 or FP16, whatever the weights' is: FP16 halves them, and the Ultralytics client sends what it finds.
    Default: FP32."""
    output_datatype: WireDatatype | None = None
    """Type of raw outputs and masks, FP32 or FP16, which halves them; boxes are then off by up to 0.25 pixels, above 1024 pixels by 0.5 and above
    2048 by 1. Detections of an end-to-end head or of nms stay FP32. Default: FP32."""
    simplify: bool = True
    """Simplify the graph with onnxslim."""
    opset: Annotated[int | None, Field(ge=11, le=21)] = None
    """ONNX opset, 11 to 21. Default: Ultralytics' own choice, 18 in the exporter's release. One that the Triton image's ONNX Runtime does not know is
    refused at the build."""
    nms: bool = False
    """Put non-maximum suppression into the graph, for any batch: answers are detections, a few kilobytes instead of megabytes. What a client asks
    for then filters them only. Of weights with an end-to-end head (YOLO26, YOLOv10), which needs none, it takes the other head. Not for classify."""
    confidence: Annotated[float | None, Field(ge=0, le=1)] = None
    """With nms: detections have a score above it. Default: 0.25, as in Ultralytics' predict."""
    iou: Annotated[float | None, Field(ge=0, le=1)] = None
    """With nms: of two boxes of one class that overlap by more than this (intersection over union) the worse is dropped. Default: 0.7, as there."""
    max_detections: Annotated[int | None, Field(ge=1, le=1000)] = None
    """With nms: detections per picture, the best ones; an answer has rows for all, zeros where there are fewer. Default: 300, as there."""
    agnostic_nms: bool | None = None
    """With nms: boxes of different classes suppress one another too. Default: false."""
    calibration: Calibration | None = None
    """Quantize to INT8 (Q/DQ). Default: FP32, or FP16 with half."""


class Version(Model):
    """One version of the model, served by a Deployment of its own."""

    version: int = Field(ge=1, le=MAX_VERSION)
    """Number of the version: Triton's version directory."""
    weight: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Share of the requests, relative to the other versions' weights; 0: none, and no pods. Needed where several versions are declared,
    unless spec.rollout.strategy is Canary, which sets the shares itself."""
    replicas: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Pods of this version, whatever its weight is above 0; with spec.traffic.mode Gateway only. Default: spec.replicas shared out by weight."""
    source: Source
    """Where the weights come from."""
    export: Export = Field(default_factory=Export)
    """How the weights become ONNX."""
    rebuild: Annotated[str | None, Field(max_length=63)] = None
    """Any change, for example of a date, makes a new revision from the same source; weights that are the same as before are not exported again."""


class Proxy(Model):
    """The way out through an HTTP proxy, for what fetches weights: http://, https://, hf://, oci://, ultralytics:// and s3:// sources. {}: none, whatever the
    operator's setting is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.httpProxy) || has(self.httpsProxy) || !(has(self.secretRef) || has(self.caBundleRef))",
                "build.proxy.secretRef and caBundleRef go with httpProxy or httpsProxy: set one, or remove them",
            ),
        )
    )

    http_proxy: Annotated[str | None, Field(max_length=300, json_schema_extra=rules(PROXY_RULE))] = None
    """Proxy for http:// addresses: http://HOST:PORT. Default: they are reached directly."""
    https_proxy: Annotated[str | None, Field(max_length=300, json_schema_extra=rules(PROXY_RULE))] = None
    """Proxy for https:// addresses, which is asked for a tunnel (CONNECT): http://HOST:PORT. Default: they are reached directly."""
    no_proxy: list[Annotated[str, Field(min_length=1, max_length=253, pattern="^([*]|[.]?[0-9A-Za-z_:][0-9A-Za-z_.:/-]*)$")]] = Field(
        default_factory=lambda: [".svc", ".cluster.local"], max_length=64
    )
    """What is reached directly: host names with all below them, addresses, networks (10.0.0.0/8), * for all. Default: Services."""
    secret_ref: LocalReference | None = None
    """Secret with username and password for the proxy (Basic)."""
    ca_bundle_ref: KeyReference | None = None
    """ConfigMap with CA certificates, PEM, that are trusted besides in what comes through the proxy, as where it looks into TLS."""


class Build(Model):
    """The build Job: fetches, exports and publishes one revision."""

    resources: Resources = Field(default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "4Gi"}))
    """Of the export container, which loads PyTorch and the model."""
    timeout: Duration = Field(default=timedelta(minutes=30), ge=timedelta(seconds=30), le=timedelta(days=1))
    """How long one attempt of fetch or export may take, 30s to 24h."""
    storage_size: Quantity = "10Gi"
    """Upper limit of the scratch volume that holds the weights and the ONNX."""
    node_selector: Labels = Field(default_factory=dict)
    """Nodes the build Job and the Jobs of an analysis may run on, besides what spec.jobs.nodeSelector says; they need no GPU."""
    tolerations: list[Freeform] = Field(default_factory=list, max_length=16)
    """Tolerations of the build Job and the Jobs of an analysis, besides those of spec.jobs."""
    proxy: Proxy | None = None
    """The way out to weights. Default: the operator's setting (chart value proxy)."""


class Jobs(Model):
    """All Jobs of the resource: build, verify, analysis and prune."""

    resources: Resources = Field(
        default_factory=lambda: Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "1Gi"}),
    )
    """Of each container that is not the export: check, fetch and publish of the build, verify, pictures of an analysis, prune. The memory they need
    does not grow with the weights: docs/operations.md has it, measured."""
    node_selector: Labels = Field(default_factory=dict)
    """Nodes that the Jobs may run on; they need no GPU. Of a cluster with nodes of several architectures one that the images are made for:
    kubernetes.io/arch."""
    tolerations: list[Freeform] = Field(default_factory=list, max_length=16)
    """Tolerations of the Jobs."""
    affinity: Freeform | None = None
    """Affinity of the Jobs' Pods, as in a Pod."""
    priority_class_name: ObjectName | None = None
    """Priority class of the Jobs' Pods."""
    labels: OwnLabels = Field(default_factory=dict)
    """Labels of the Jobs' Pods besides those of the operator, for example sidecar.istio.io/inject: "false"."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Jobs' Pods. Two are there by themselves, so that no autoscaler ends a build half-way; another value takes them away:
    karpenter.sh/do-not-disrupt: "true" and cluster-autoscaler.kubernetes.io/safe-to-evict: "false"."""


class PodDisruptionBudget(Model):
    """How many pods of a version a drain of nodes, or whatever else evicts, may take at once."""

    max_unavailable: IntOrPercent = 1
    """Pods of a version that may be evicted at once: a number, or a percentage of its replicas, rounded up. 0: none, so that no node with one of them
    can be drained. Pods that are not ready may always be."""


class Gpu(Model):
    """GPUs of each Triton pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.resourceClaimTemplateName) || (self.count == 1 && self.resourceName == 'nvidia.com/gpu')",
                "gpu.resourceClaimTemplateName says by itself which GPUs and how many: remove gpu.resourceName and gpu.count",
            ),
        )
    )

    resource_name: str = Field(default="nvidia.com/gpu", min_length=1, max_length=253)
    """Extended resource that is requested: nvidia.com/gpu, a MIG profile such as nvidia.com/mig-1g.5gb, or a shared one."""
    count: int = Field(default=1, ge=0, le=64)
    """GPUs per pod. 0: the model is served on the CPU."""
    resource_claim_template_name: ObjectName | None = None
    """ResourceClaimTemplate in this namespace by which each pod claims its GPUs (dynamic resource allocation, Kubernetes 1.34), instead of resourceName
    and count."""


class Spec(Model):
    """What is wanted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.modelName) == has(oldSelf.modelName)",
                "spec.modelName cannot be added, changed or removed: make a new YoloDeployment",
            ),
            (
                "!has(self.triton) || self.triton.maxBatchSize == 0 || self.versions.all(v, !has(v.export) || !has(v.export.dynamic) || v.export.dynamic)",
                "export.dynamic: false makes a static batch, which Triton cannot batch: set spec.triton.maxBatchSize to 0, or export.dynamic to true",
            ),
            (
                "!has(self.gpu) || self.gpu.count > 0 || !has(self.triton) || !has(self.triton.tensorrt) || !self.triton.tensorrt.enabled",
                "spec.triton.tensorrt needs a GPU: set spec.gpu.count to 1 or more, or spec.triton.tensorrt.enabled to false",
            ),
            (
                "!has(self.triton) || !has(self.triton.tensorrt) || !self.triton.tensorrt.enabled || self.triton.tensorrt.precision != 'INT8' "
                "|| self.versions.all(v, v.source.uri.endsWith('.onnx') || (has(v.export) && has(v.export.calibration)))",
                "spec.triton.tensorrt.precision INT8 needs models that are quantized: set spec.versions[].export.calibration, or give an .onnx with "
                "QuantizeLinear and DequantizeLinear nodes, or set precision to FP16",
            ),
            (
                "!has(self.triton) || !has(self.triton.gpuMemoryLimit) || !has(self.gpu) || self.gpu.count > 0",
                "spec.triton.gpuMemoryLimit is for GPUs: set spec.gpu.count to 1 or more, or remove it",
            ),
            (
                "!has(self.triton) || !self.triton.forwardCompatibility || !has(self.gpu) || self.gpu.count > 0",
                "spec.triton.forwardCompatibility is for GPUs: set spec.gpu.count to 1 or more, or remove it",
            ),
            (
                "!has(self.triton) || !has(self.triton.tracing) || !has(self.networkPolicy) || !self.networkPolicy.enabled "
                "|| (has(self.networkPolicy.tracing) && self.networkPolicy.tracing.size() > 0)",
                "spec.networkPolicy.enabled shuts the collector of spec.triton.tracing out as well: name it in spec.networkPolicy.tracing",
            ),
            (
                "!has(self.networkPolicy) || !self.networkPolicy.enabled || !has(self.build) || !has(self.build.proxy) "
                "|| !(has(self.build.proxy.httpProxy) || has(self.build.proxy.httpsProxy)) "
                "|| (has(self.networkPolicy.source) && self.networkPolicy.source.size() > 0)",
                "spec.networkPolicy.enabled shuts the proxy of spec.build.proxy out as well: name it in spec.networkPolicy.source",
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
            (
                f"{NO_MIRROR} || !has(self.rollout) || self.rollout.strategy != 'Canary'",
                "spec.traffic.gateway.mirror goes with spec.rollout.strategy Weighted: a canary gets requests of its own, by its steps",
            ),
            (
                f"{NO_MIRROR} || (has(self.rollout) && self.rollout.strategy == 'Canary') || self.versions.exists(v, "
                "v.version == self.traffic.gateway.mirror.version && has(v.weight) && v.weight == 0 && (!has(v.replicas) || v.replicas > 0))",
                "spec.traffic.gateway.mirror.version is one of spec.versions with weight 0, and not with replicas 0: "
                "it gets copies of the requests that others answer",
            ),
            (
                "!has(self.networkPolicy) || !self.networkPolicy.enabled || !has(self.traffic) || self.traffic.mode != 'Gateway' "
                "|| (has(self.networkPolicy.clients) && self.networkPolicy.clients.size() > 0)",
                "behind a Gateway its Pods are Triton's clients: name them in spec.networkPolicy.clients",
            ),
            (
                "has(self.serverRef) == has(oldSelf.serverRef) && (!has(self.serverRef) || self.serverRef == oldSelf.serverRef)",
                "spec.serverRef cannot be added, changed or removed: make a new YoloDeployment",
            ),
            (
                f"{UNSHARED} || self.versions.size() == 1",
                "with spec.serverRef there is one version at a time: a change of it is loaded beside it, verified, and takes over; remove the other versions",
            ),
            (
                f"{UNSHARED} || (!has(self.versions[0].weight) || self.versions[0].weight > 0) && !has(self.versions[0].replicas)",
                "with spec.serverRef the one version has all requests, on all pods of the YoloServer: remove weight and replicas from it",
            ),
            (
                f"{UNSHARED} || !has(self.rollout) || self.rollout.strategy != 'Canary'",
                "spec.rollout.strategy Canary is not there yet with spec.serverRef: a new revision is verified on each pod and then has all requests",
            ),
            (
                f"{UNSHARED} || !has(self.rollout) || !has(self.rollout.verify) || !has(self.rollout.verify.enabled) || self.rollout.verify.enabled",
                "with spec.serverRef each pod is verified before it takes requests: by that it is known to have the model; remove spec.rollout.verify.enabled",
            ),
            (
                f"{UNSHARED} || !has(self.traffic) || self.traffic.mode != 'Gateway'",
                "spec.traffic.mode Gateway is not there yet with spec.serverRef: set mode Service",
            ),
            (
                f"{UNSHARED} || !has(self.pictures) || !self.pictures.enabled",
                "spec.pictures is not there yet with spec.serverRef: set spec.pictures.enabled to false",
            ),
            (
                f"{UNSHARED} || !has(self.networkPolicy) || !self.networkPolicy.enabled",
                "spec.networkPolicy is not there yet with spec.serverRef: set spec.networkPolicy.enabled to false",
            ),
            (
                f"{UNSHARED} || !has(self.storage)",
                "with spec.serverRef the storage is the YoloServer's, whose pods have its keys: remove spec.storage",
            ),
            (
                f"{UNSHARED} || !has(self.replicas) || self.replicas == 1",
                "with spec.serverRef the pods are the YoloServer's: scale that, and remove spec.replicas",
            ),
            (
                f"{UNSHARED} || !has(self.gpu) || (self.gpu.count == 1 && self.gpu.resourceName == 'nvidia.com/gpu' && !has(self.gpu.resourceClaimTemplateName))",
                "with spec.serverRef the GPUs are the YoloServer's: remove spec.gpu",
            ),
            (
                f"{UNSHARED} || !has(self.triton) || !(has(self.triton.image) || has(self.triton.release) || has(self.triton.podTemplate) || has(self.triton.tracing) "
                "|| (has(self.triton.forwardCompatibility) && self.triton.forwardCompatibility) "
                "|| (has(self.triton.imagePullSecrets) && self.triton.imagePullSecrets.size() > 0))",
                "with spec.serverRef image, release, imagePullSecrets, forwardCompatibility, podTemplate and tracing are the YoloServer's: remove them from spec.triton",
            ),
            (
                f"{UNSHARED} || !(has(self.affinity) || has(self.runtimeClassName) || has(self.priorityClassName) "
                "|| (has(self.nodeSelector) && self.nodeSelector.size() > 0) || (has(self.tolerations) && self.tolerations.size() > 0) "
                "|| (has(self.topologySpreadConstraints) && self.topologySpreadConstraints.size() > 0))",
                "with spec.serverRef the YoloServer says where its pods run: remove nodeSelector, tolerations, affinity, topologySpreadConstraints, "
                "runtimeClassName and priorityClassName",
            ),
            (
                f"{UNSHARED} || !has(self.triton) || !has(self.triton.tensorrt) || !has(self.triton.tensorrt.engineCache)",
                "spec.triton.tensorrt.engineCache is not there yet with spec.serverRef: remove it",
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
    server_ref: LocalReference | None = None
    """YoloServer of this namespace that serves the model beside others, instead of pods of its own. Image, GPUs, scheduling, storage and the number of pods
    are that server's then. Cannot be added, changed or removed."""
    task: Task | None = None
    """What the model does: detect, segment, pose, obb or classify. Checked against the weights; required for an .onnx that does not say."""
    storage: Storage | None = None
    """Where the model repository is published. Default: the operator's setting (chart value storage)."""
    service_account_name: ObjectName = "default"
    """Service account of the Triton pods and the Jobs, for workload identity."""
    replicas: int = Field(default=1, ge=0, le=1000)
    """Triton pods in total, shared among the versions; what `kubectl scale` sets."""
    suspend: bool = False
    """True: no pods and no Jobs, whatever replicas says; what is published, verified and decided is kept, and with false it goes on from there."""
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
    jobs: Jobs = Field(default_factory=Jobs)
    """All Jobs: where they run, and what their other containers may use."""
    triton: Triton = Field(default_factory=Triton)
    """The server."""
    pictures: Pictures = Field(default_factory=Pictures)
    """A second model, that takes pictures' files."""
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
    runtime_class_name: ObjectName | None = None
    """Runtime class of the Triton pods, for example nvidia."""
    priority_class_name: ObjectName | None = None
    """Priority class of the Triton pods."""
    traffic: Traffic = Field(default_factory=Traffic)
    """How requests are shared among the versions."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How a change reaches the pods."""
    pod_disruption_budget: PodDisruptionBudget = Field(default_factory=PodDisruptionBudget)
    """How many pods of a version a drain may take at once; each version has a PodDisruptionBudget."""
    network_policy: NetworkPolicy = Field(default_factory=NetworkPolicy)
    """Whom the Jobs and the Triton pods may reach, and who may reach Triton."""
    revision_history_limit: int = Field(default=2, ge=0, le=100)
    """Published revisions that are kept in the storage besides those in use."""
    restarted_at: Annotated[str | None, Field(max_length=63)] = None
    """Any change rolls the Triton pods; nothing is built."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the published revisions when the resource is deleted."""
