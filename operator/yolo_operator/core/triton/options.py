"""How a model is to be served: the part of the spec that shapes config.pbtxt, as plain values, and what follows from it and the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import Description
from yolo_operator.core.triton.releases import Release
from yolo_operator.core.triton.shapes import Shapes, resolve, served


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRT:
    """spec.triton.tensorrt, where it is enabled."""

    precision: str
    """FP32, FP16 or INT8."""
    max_workspace_bytes: int
    cache_directory: str
    """Where engines are kept; each ONNX gets a directory of its own below it. Empty: no cache."""
    strongly_typed: bool = False
    """TensorRT takes the precision from the model alone (11 and later)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """spec.triton.dynamicBatching.queuePolicy, where it is set."""

    max_queue_size: int = 0
    """0: any number."""
    timeout_microseconds: int = 0
    """0: for ever."""
    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"
    allow_timeout_override: bool = False


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
    queue_policy: QueuePolicy | None = None
    instances: int = 1
    """Per GPU, or in all on a CPU."""
    shapes: Shapes | None = None
    """spec.versions[].export.shapes; None: what is right for the model."""
    warmup: bool = True
    tensorrt: TensorRT | None = None
    gpu_memory_bytes: int = 0
    """Of ONNX Runtime's arena on the GPU; 0: no limit."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the configuration."""
    release: Release | None = None
    """What is known of the server; None: unknown."""


def shapes_of(description: Description, options: ServingOptions) -> Shapes:
    """Whether pictures are of one size. Raises InvalidSpec ShapesInvalid."""
    report = description.report
    return resolve(options.shapes, report.task, report.image_size, description.onnx.inputs[0])


def served_inputs(description: Description, options: ServingOptions) -> list[Tensor]:
    """The inputs that requests bring, with the batch dimension. Raises InvalidSpec ShapesInvalid."""
    shapes = shapes_of(description, options)
    return [served(tensor, shapes, description.report.image_size) for tensor in description.onnx.inputs]


def input_shape(description: Description) -> list[int]:
    """The input's shape for one request without batching: the ONNX's own batch, 1 where that is dynamic."""
    tensor = description.onnx.inputs[0]
    fallback = [1, 3, *description.report.image_size]
    return [known if known > 0 else usual for known, usual in zip(tensor.shape, fallback, strict=True)]


def preferred(options: ServingOptions) -> tuple[int, ...]:
    """Preferred sizes in order; Triton refuses one above max_batch_size, so it is refused here with the field's name."""
    over = [size for size in options.preferred_batch_sizes if not 1 <= size <= options.max_batch_size]
    if over:
        raise InvalidSpec(
            "PreferredBatchSizeInvalid",
            f"spec.triton.dynamicBatching.preferredBatchSizes: {over[0]} is not within 1 and maxBatchSize {options.max_batch_size}",
        )
    return tuple(sorted(set(options.preferred_batch_sizes)))
