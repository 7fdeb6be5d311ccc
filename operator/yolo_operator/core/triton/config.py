"""What config.pbtxt must contain, as plain values: from a model's description and the user's serving options.

Called by the publisher, which turns the values into Triton's protobuf text (worker/pbtxt.py); tests call it with values.
The whole configuration is written: Triton completes nothing (--disable-auto-complete-config) and falls back to nothing.
"""

import re
from dataclasses import dataclass, field

from yolo_operator.core.contract import ONNX_FILE, Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import gpu, metadata
from yolo_operator.core.triton.description import Description
from yolo_operator.core.triton.options import QueuePolicy, ServingOptions, input_shape, preferred, served_inputs, shapes_of

BACKEND = "onnxruntime"
PLATFORM = "onnxruntime_onnx"
WARMUP_FILE = "golden"
"""Below <model>/warmup/: Triton looks for input_data_file there."""
EVERY_BATCH_SIZE_TO = 16
"""cuDNN chooses an algorithm, and TensorRT allocates, for every shape anew."""

# Triton's S3 client takes a key with any other character for a host name and asks AWS for it.
MODEL_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output: dims without the batch dimension where Triton batches."""

    name: str
    datatype: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """A real inference before the model is ready."""

    name: str
    batch_size: int
    inputs: tuple[Port, ...]
    file: str = WARMUP_FILE
    """Of the values of each input; empty: zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """How requests are joined into batches."""

    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_microseconds: int
    queue_policy: QueuePolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One model of an ensemble; its inputs and outputs by the ensemble's names of the tensors."""

    model: str
    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """config.pbtxt as values, in the order of Triton's own fields."""

    name: str
    max_batch_size: int
    version: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    kind: str = ""
    instances: int = 0
    dynamic_batching: DynamicBatching | None = None
    gpu_accelerators: dict[str, dict[str, str]] = field(default_factory=dict)
    warmups: tuple[Warmup, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    backend: str = BACKEND
    platform: str = PLATFORM
    default_model_filename: str = ONNX_FILE
    steps: tuple[Step, ...] = ()
    """Of an ensemble, which has neither kind nor instances."""


def configure(description: Description, options: ServingOptions) -> ModelConfig:
    """Decide the whole configuration. Raises InvalidSpec: InvalidModelName, ShapesInvalid, StaticBatch, InvalidMetadata, and those of gpu.py."""
    check_model_name(options.model_name)
    check_batching(description, options)
    batching = options.max_batch_size > 0
    inputs = tuple(port(tensor, batching=batching) for tensor in served_inputs(description, options))
    ours = {"metadata": metadata_text(description, options)}
    return ModelConfig(
        name=options.model_name,
        max_batch_size=options.max_batch_size,
        version=options.version,
        inputs=inputs,
        outputs=tuple(port(tensor, batching=batching) for tensor in description.onnx.outputs),
        kind="KIND_GPU" if options.gpu else "KIND_CPU",
        instances=options.instances,
        dynamic_batching=dynamic_batching(options),
        gpu_accelerators=gpu.accelerators(description, options),
        warmups=warmups(description, options, inputs[0]) if options.warmup else (),
        parameters=gpu.parameters(options) | dict(options.parameters) | ours,
    )


def check_model_name(name: str) -> None:
    """Refuse a name that Triton cannot load from S3 or the Ultralytics client cannot put into a URL."""
    if not MODEL_NAME.fullmatch(name):
        raise InvalidSpec(
            "InvalidModelName",
            f"spec.modelName {name!r}: Triton loads 1 to 128 of 0-9 A-Z a-z . _ - only, not beginning with a dot",
        )


def check_batching(description: Description, options: ServingOptions) -> None:
    """A batch needs an ONNX that takes one. Raises InvalidSpec StaticBatch."""
    if options.max_batch_size == 0:
        return
    fixed = [t for t in (*description.onnx.inputs, *description.onnx.outputs) if t.shape[:1] != [-1]]
    given = description.report.reference == "onnxruntime"
    remedy = "give one that was exported with dynamic: true" if given else "export with spec.versions[].export.dynamic: true"
    if fixed:
        raise InvalidSpec(
            "StaticBatch",
            f"spec.triton.maxBatchSize is {options.max_batch_size}, but the batch dimension of {fixed[0].name!r} {fixed[0].shape} in the "
            f"ONNX is fixed: {remedy}, or set maxBatchSize: 0",
        )
    report = description.report
    if report.nms and not report.batched_nms and options.max_batch_size > report.batch:
        raise InvalidSpec(
            "StaticBatch",
            f"the NMS in the ONNX was traced for batches of {report.batch} and answers only for the first {report.batch} pictures of a batch: "
            f"set spec.triton.maxBatchSize to at most {report.batch}, or export the weights here with spec.versions[].export.nms: true "
            "(change spec.versions[].rebuild where an earlier release of the operator has)",
        )


def port(tensor: Tensor, *, batching: bool) -> Port:
    """Dims as the ONNX declares them: an output's must equal the model's exactly, or the model does not load."""
    return Port(name=tensor.name, datatype=tensor.datatype, dims=tuple(tensor.shape[1:] if batching else tensor.shape))


def dynamic_batching(options: ServingOptions) -> DynamicBatching | None:
    """Absent where nothing can be joined: with an explicit configuration Triton then sends requests one by one. A queue policy needs it all the same."""
    if not options.dynamic_batching or options.max_batch_size < (2 if options.queue_policy is None else 1):
        return None
    return DynamicBatching(
        preferred_batch_sizes=preferred(options),
        max_queue_delay_microseconds=options.max_queue_delay_microseconds,
        queue_policy=options.queue_policy,
    )


def warmups(description: Description, options: ServingOptions, first: Port) -> tuple[Warmup, ...]:
    """One inference per batch size, so that no request waits for a kernel or an engine of its shape."""
    full = input_shape(description)
    shape = full[1:] if options.max_batch_size > 0 else full
    tensor = Port(name=first.name, datatype=first.datatype, dims=tuple(shape))
    return tuple(Warmup(name=f"golden-{size}", batch_size=size, inputs=(tensor,)) for size in warmup_sizes(options))


def warmup_sizes(options: ServingOptions) -> list[int]:
    """Batch sizes that are run: on a GPU each that requests can make, up to 16, and powers of two above; on the CPU, where a new shape costs nothing,
    one and the largest. Those that the batcher prefers on both."""
    largest = options.max_batch_size
    if largest == 0:
        return [1]
    sizes = {1, largest} | (set(preferred(options)) if options.dynamic_batching else set())
    if options.gpu:
        sizes |= {*range(1, min(largest, EVERY_BATCH_SIZE_TO) + 1), *(1 << power for power in range(largest.bit_length()))}
    return sorted(sizes)


def metadata_text(description: Description, options: ServingOptions) -> str:
    """The metadata parameter, or InvalidSpec where it cannot be written safely."""
    try:
        return metadata.literal(metadata.metadata(description, shapes_of(description, options), options.max_batch_size))
    except ValueError as error:
        raise InvalidSpec("InvalidMetadata", f"the weights' metadata cannot be published: {error}") from error
