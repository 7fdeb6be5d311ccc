"""What config.pbtxt must contain, as plain values: from a model's description and the user's serving options.

Called by the publisher, which turns the values into Triton's protobuf text (worker/pbtxt.py); tests call it with values.
The whole configuration is written: Triton completes nothing (--disable-auto-complete-config) and falls back to nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from yolo_operator.core.contract import ONNX_FILE, Task, Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import metadata
from yolo_operator.core.triton.description import Description
from yolo_operator.core.triton.shapes import Shapes, resolve, served

BACKEND = "onnxruntime"
PLATFORM = "onnxruntime_onnx"
WARMUP_FILE = "golden"
"""Below <model>/warmup/: Triton looks for input_data_file there."""

# Triton's S3 client takes a key with any other character for a host name and asks AWS for it.
MODEL_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRT:
    """spec.triton.tensorrt, where it is enabled."""

    precision: str
    """FP32, FP16 or INT8."""
    max_workspace_bytes: int
    cache_directory: str
    """Where engines are kept; each ONNX gets a directory of its own below it. Empty: no cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOptions:
    """The part of spec.triton that shapes config.pbtxt."""

    model_name: str
    version: int
    gpu: bool
    max_batch_size: int
    """0: no batching."""
    dynamic_batching: bool = True
    preferred_batch_sizes: Sequence[int] = ()
    max_queue_delay_microseconds: int = 0
    instances: int = 1
    """Per GPU, or in all on a CPU."""
    shapes: Shapes | None = None
    """spec.versions[].export.shapes; None: what is right for the model."""
    warmup: bool = True
    tensorrt: TensorRT | None = None


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
    input: Port
    file: str = WARMUP_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicBatching:
    """How requests are joined into batches."""

    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_microseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """config.pbtxt as values, in the order of Triton's own fields."""

    name: str
    max_batch_size: int
    version: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    kind: str
    instances: int
    dynamic_batching: DynamicBatching | None
    gpu_accelerators: dict[str, dict[str, str]]
    warmups: tuple[Warmup, ...]
    parameters: dict[str, str]
    backend: str = BACKEND
    platform: str = PLATFORM
    default_model_filename: str = ONNX_FILE


def configure(description: Description, options: ServingOptions) -> ModelConfig:
    """Decide the whole configuration. Raises InvalidSpec: InvalidModelName, ShapesInvalid, StaticBatch, InvalidMetadata."""
    check_model_name(options.model_name)
    check_batching(description, options)
    batching = options.max_batch_size > 0
    inputs = tuple(port(tensor, batching=batching) for tensor in served_inputs(description, options))
    parameters = {"metadata": metadata_text(description, options)}
    if options.gpu:
        # ONNX Runtime's CUDA arena never gives memory back; by default it doubles at each growth (1 = kSameAsRequested).
        parameters["arena_extend_strategy"] = "1"
    return ModelConfig(
        name=options.model_name,
        max_batch_size=options.max_batch_size,
        version=options.version,
        inputs=inputs,
        outputs=tuple(port(tensor, batching=batching) for tensor in description.onnx.outputs),
        kind="KIND_GPU" if options.gpu else "KIND_CPU",
        instances=options.instances,
        dynamic_batching=dynamic_batching(options),
        gpu_accelerators=accelerators(description, options),
        warmups=warmups(description, options, inputs[0]) if options.warmup else (),
        parameters=parameters,
    )


def shapes_of(description: Description, options: ServingOptions) -> Shapes:
    """Whether pictures are of one size. Raises InvalidSpec ShapesInvalid."""
    report = description.report
    return resolve(options.shapes, report.task, report.image_size, description.onnx.inputs[0])


def served_inputs(description: Description, options: ServingOptions) -> list[Tensor]:
    """The inputs that requests bring, with the batch dimension. Raises InvalidSpec ShapesInvalid."""
    shapes = shapes_of(description, options)
    return [served(tensor, shapes, description.report.image_size) for tensor in description.onnx.inputs]


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
    """Absent where nothing can be joined: with an explicit configuration Triton then sends requests one by one."""
    if not options.dynamic_batching or options.max_batch_size < 2:
        return None
    return DynamicBatching(
        preferred_batch_sizes=preferred(options),
        max_queue_delay_microseconds=options.max_queue_delay_microseconds,
    )


def preferred(options: ServingOptions) -> tuple[int, ...]:
    """Preferred sizes in order; Triton refuses one above max_batch_size, so it is refused here with the field's name."""
    over = [size for size in options.preferred_batch_sizes if not 1 <= size <= options.max_batch_size]
    if over:
        raise InvalidSpec(
            "PreferredBatchSizeInvalid",
            f"spec.triton.dynamicBatching.preferredBatchSizes: {over[0]} is not within 1 and maxBatchSize {options.max_batch_size}",
        )
    return tuple(sorted(set(options.preferred_batch_sizes)))


def warmups(description: Description, options: ServingOptions, first: Port) -> tuple[Warmup, ...]:
    """One inference per batch size served, so that no request waits for a kernel or an engine of its shape."""
    sizes = {1}
    if options.max_batch_size > 0:
        sizes |= {options.max_batch_size} | (set(preferred(options)) if options.dynamic_batching else set())
    full = input_shape(description)
    shape = full[1:] if options.max_batch_size > 0 else full
    tensor = Port(name=first.name, datatype=first.datatype, dims=tuple(shape))
    return tuple(Warmup(name=f"golden-{size}", batch_size=size, input=tensor) for size in sorted(sizes))


def input_shape(description: Description) -> list[int]:
    """The input's shape for one request without batching: the ONNX's own batch, 1 where that is dynamic."""
    tensor = description.onnx.inputs[0]
    fallback = [1, 3, *description.report.image_size]
    return [known if known > 0 else usual for known, usual in zip(tensor.shape, fallback, strict=True)]


def accelerators(description: Description, options: ServingOptions) -> dict[str, dict[str, str]]:
    """TensorRT's parameters as Triton's ONNX Runtime backend names them; empty without TensorRT or without a GPU."""
    tensorrt = options.tensorrt
    if tensorrt is None:
        return {}
    if not options.gpu:
        raise InvalidSpec("TensorRTNeedsGPU", "spec.triton.tensorrt.enabled needs a GPU: set spec.gpu.count to 1 or more, or enabled: false")
    parameters = {"precision_mode": tensorrt.precision, "max_workspace_size_bytes": str(tensorrt.max_workspace_bytes)}
    if tensorrt.cache_directory:
        parameters |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": cache_path(description, options, tensorrt),
        }
    return {"tensorrt": parameters | profile(description, options)}


def cache_path(description: Description, options: ServingOptions, tensorrt: TensorRT) -> str:
    """A directory that no other weights, precision or shapes share: ONNX Runtime's cache key knows of none of them.

    One level below the mount: ONNX Runtime makes the last directory of the path only.
    """
    height, width = description.report.image_size
    leaf = f"{tensorrt.precision.lower()}-b{options.max_batch_size}-{height}x{width}"
    return f"{tensorrt.cache_directory.rstrip('/')}/{description.onnx.sha256}-{leaf}"


def profile(description: Description, options: ServingOptions) -> dict[str, str]:
    """Shapes to build one engine for: without, each new shape builds another while requests wait for minutes.

    Pictures may be smaller than the image size: the Ultralytics client pads a dynamic model's pictures to the stride only.
    Left out where the head selects detections: such graphs are split into parts, and a profile must name every part's inputs.
    """
    tensor = served_inputs(description, options)[0]
    if description.final_detections or all(size > 0 for size in tensor.shape):
        return {}
    _, channels, height, width = input_shape(description)
    smallest = [description.report.stride if size == -1 and description.report.task is not Task.CLASSIFY else size for size in tensor.shape[2:]]
    low = [small if small > 0 else full for small, full in zip(smallest, (height, width), strict=True)]
    largest = max(options.max_batch_size, 1) if tensor.shape[0] == -1 else tensor.shape[0]
    typical = max(preferred(options), default=largest) if options.max_batch_size else largest
    first = 1 if tensor.shape[0] == -1 else tensor.shape[0]
    return {
        "trt_profile_min_shapes": f"{tensor.name}:{first}x{channels}x{low[0]}x{low[1]}",
        "trt_profile_opt_shapes": f"{tensor.name}:{typical}x{channels}x{height}x{width}",
        "trt_profile_max_shapes": f"{tensor.name}:{largest}x{channels}x{height}x{width}",
    }


def metadata_text(description: Description, options: ServingOptions) -> str:
    """The metadata parameter, or InvalidSpec where it cannot be written safely."""
    try:
        return metadata.literal(metadata.metadata(description, shapes_of(description, options), options.max_batch_size))
    except ValueError as error:
        raise InvalidSpec("InvalidMetadata", f"the weights' metadata cannot be published: {error}") from error
