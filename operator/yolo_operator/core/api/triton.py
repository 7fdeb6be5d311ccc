"""`spec.triton`: the server, the model's configuration in it, and the pods' template."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from yolo_operator.core.api.fields import Freeform, Labels, LocalReference, Model, ObjectName, Resources, rules


class QueuePolicy(Model):
    """The queue before the model, for requests that wait."""

    max_queue_size: int = Field(default=0, ge=0, le=1_000_000)
    """Requests that may wait; what comes then is refused at once (HTTP 503, gRPC UNAVAILABLE). 0: any number."""
    timeout_microseconds: int = Field(default=0, ge=0, le=3_600_000_000)
    """Microseconds a request may wait; 0: for ever."""
    timeout_action: Literal["Reject", "Delay"] = "Reject"
    """Reject: what has waited so long is refused (HTTP 503, gRPC UNAVAILABLE). Delay: it is answered after all others."""
    allow_timeout_override: bool = False
    """A request may bring a shorter timeout of its own."""


class DynamicBatching(Model):
    """Triton's dynamic batcher: joins requests that wait into one inference."""

    enabled: bool = True
    """Off: the server answers each request by itself."""
    preferred_batch_sizes: list[Annotated[int, Field(ge=1, le=1024)]] = Field(default_factory=list, max_length=16)
    """Batch sizes that are sent on without waiting any longer. Default: maxBatchSize."""
    max_queue_delay_microseconds: int = Field(default=100, ge=0, le=10_000_000)
    """Microseconds a request may wait for others to join its batch."""
    queue_policy: QueuePolicy | None = None
    """What becomes of requests that wait. Left out, as many wait as come, for as long as it takes. Needs enabled: true and maxBatchSize above 0."""


class EngineCache(Model):
    """Where TensorRT keeps its built engines between restarts."""

    persistent_volume_claim: ObjectName
    """Claim that is mounted into the Triton pods, ReadWriteMany where there are several."""


class TensorRT(Model):
    """ONNX Runtime's TensorRT execution provider."""

    enabled: bool = False
    """Build and run TensorRT engines; needs a GPU. Not run in this project's own tests, which have none."""
    precision: Literal["FP32", "FP16", "INT8"] = "FP16"
    """precision_mode of the accelerator. INT8 needs a model that is quantized already. TensorRT 11 takes the precision from the model alone:
    there FP16 needs export.half: true."""
    max_workspace_bytes: int = Field(default=3221225472, ge=1 << 20, le=1 << 40)
    """max_workspace_size_bytes of the accelerator, in bytes."""
    engine_cache: EngineCache | None = None
    """Keep engines on a volume. Default: an emptyDir, so each new pod builds its engines anew."""


class PodMetadata(Model):
    """Labels and annotations of the Triton pods."""

    labels: Labels = Field(default_factory=dict)
    """Labels besides ours, which cannot be changed."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=8192)]], Field(max_length=32)] = Field(default_factory=dict)
    """Annotations besides ours."""


class PodTemplate(Model):
    """A part of a pod template."""

    metadata: PodMetadata = Field(default_factory=PodMetadata)
    """Labels and annotations."""
    spec: Freeform = Field(default_factory=dict)
    """As in a Pod, any part of it. Containers, volumes and environment are merged by name, mounts by path; tolerations are added."""


class Metrics(Model):
    """Triton's metrics."""

    summary_latencies: bool = False
    """Quantiles of the times of requests besides their sums (nv_inference_request_summary_us and others, to the 0.999 quantile). Experimental in Triton."""
    interval_milliseconds: Annotated[int | None, Field(ge=100, le=600_000)] = None
    """How often metrics of GPU and CPU are read. Default: Triton's own, 2000."""


class Tracing(Model):
    """OpenTelemetry, over OTLP/HTTP."""

    endpoint: Annotated[
        str,
        Field(
            max_length=300,
            json_schema_extra=rules(
                (
                    "self.matches('^https?://[0-9A-Za-z.-]+:[0-9]{1,5}(/[0-9A-Za-z._/-]*)?$')",
                    "spec.triton.tracing.endpoint is the URL of a collector's OTLP/HTTP receiver with its port, for example "
                    "http://collector.monitoring.svc:4318/v1/traces",
                )
            ),
        ),
    ]
    """Where spans are sent: http://collector.monitoring.svc:4318/v1/traces."""
    rate: int = Field(default=1000, ge=0, le=1_000_000_000)
    """One request of so many is traced. 0: those alone that bring the context of a trace (traceparent), which are traced in any case."""
    resource_attributes: Annotated[
        dict[str, Annotated[str, Field(pattern="^[0-9A-Za-z ._:/@-]*$", max_length=128)]],
        Field(
            max_length=16,
            json_schema_extra=rules(
                ("self.all(key, key.matches('^[0-9A-Za-z._-]{1,63}$'))", "spec.triton.tracing.resourceAttributes: names are letters, digits, . _ -"),
            ),
        ),
    ] = Field(default_factory=dict)
    """Attributes of the resource that spans are of, besides service.name (default: metadata.name) and service.version (the version's number)."""


class Triton(Model):
    """The Triton Inference Server and the model's configuration in it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.dynamicBatching) || !has(self.dynamicBatching.queuePolicy) || (self.dynamicBatching.enabled && self.maxBatchSize > 0)",
                "spec.triton.dynamicBatching.queuePolicy needs a queue: dynamicBatching.enabled true and spec.triton.maxBatchSize 1 or more",
            ),
            (
                "!has(self.dynamicBatching) || !has(self.dynamicBatching.preferredBatchSizes) || "
                "self.dynamicBatching.preferredBatchSizes.all(size, size <= self.maxBatchSize)",
                "spec.triton.dynamicBatching.preferredBatchSizes may not be above spec.triton.maxBatchSize",
            ),
        )
    )

    image: Annotated[str | None, Field(min_length=1, max_length=512)] = None
    """Image of the server. Default: the operator's setting (chart value triton.image)."""
    release: Annotated[str | None, Field(pattern="^[0-9]{2}[.](0[1-9]|1[0-2])$", max_length=5)] = None
    """NVIDIA's release that the image is, for example "25.08". Default: what its tag says; needed where that says nothing: a mirror's tag, a digest alone."""
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
    """Run the golden picture through the model before the server is ready: on a GPU in every batch size to 16, in powers of two above and in
    maxBatchSize, on the CPU alone and in maxBatchSize; in preferredBatchSizes everywhere."""
    gpu_memory_limit: Annotated[str | None, Field(pattern="^[1-9][0-9]{0,5}(Mi|Gi)$", max_length=8)] = None
    """Largest arena of ONNX Runtime on the GPU, for each instance, for example 4Gi: where several pods share a GPU. CUDA itself and TensorRT take theirs
    besides. Default: no limit."""
    forward_compatibility: bool = False
    """Start Triton through the entrypoint of NVIDIA's image (/opt/nvidia/nvidia_entrypoint.sh), which puts the image's own CUDA driver library before
    that of an older driver on the node. For data centre GPUs. Not run in this project's own tests."""
    parameters: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(
            max_length=32,
            json_schema_extra=rules(
                (
                    "self.all(key, !(key in ['metadata', 'arena_extend_strategy', 'gpu_mem_limit']))",
                    "spec.triton.parameters: metadata and arena_extend_strategy are the operator's, gpu_mem_limit is spec.triton.gpuMemoryLimit",
                ),
                (
                    "self.all(key, key.matches('^[0-9A-Za-z_.-]{1,63}$'))",
                    "spec.triton.parameters: names are 1 to 63 letters, digits, dots, hyphens, underscores",
                ),
            ),
        ),
    ] = Field(default_factory=dict)
    """Further parameters of the model's configuration, as the ONNX Runtime backend reads them, for example execution_mode: "1"."""
    metrics: Metrics = Field(default_factory=Metrics)
    """What the metrics on port 8002 tell."""
    tracing: Tracing | None = None
    """Send traces of requests to an OpenTelemetry collector."""
    resources: Resources = Field(default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}))
    """Of the Triton container; the GPU is added from spec.gpu."""
    pod_template: PodTemplate | None = None
    """Laid over the template of the Triton pods, for what no other field says: a sidecar, a volume, a variable. What the operator relies on
    and what the restricted Pod Security Standard forbids is refused. A change rolls the pods; nothing is built."""
