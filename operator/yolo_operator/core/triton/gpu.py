"""What config.pbtxt says of the GPU: ONNX Runtime's CUDA execution provider and, where it is wanted, TensorRT's. Not run on a GPU.

Written from src/onnxruntime.cc of triton-inference-server/onnxruntime_backend (branches r23.01 to r26.06) and ONNX Runtime's documentation.
"""

from itertools import product

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import Description
from yolo_operator.core.triton.options import ServingOptions, TensorRT, input_shape, preferred, served_inputs

# ONNX Runtime's CUDA arena never gives memory back; by default it doubles at each growth.
# The backend's own search, EXHAUSTIVE, measures all algorithms anew for every shape that it meets, while requests wait.
CUDA = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
CUDA_PARAMETERS = {"arena_extend_strategy": "1", "cudnn_conv_algo_search": "1"}
"""The same in the backend's older form, by number."""
DETECTIONS = 300
"""Detections that an end-to-end head selects, where its output does not say."""
HEAD_STRIDES = (8, 16, 32)
"""Of the feature maps whose every cell is a candidate; models with a further one have more candidates."""


def parameters(options: ServingOptions) -> dict[str, str]:
    """Of the configuration, in the older form. It is the one that counts: whatever the accelerator `cuda` says, the backend sets these keys afterwards
    from here, and those that are missing to its own defaults."""
    if not options.gpu:
        return {}
    return CUDA_PARAMETERS | ({"gpu_mem_limit": str(options.gpu_memory_bytes)} if options.gpu_memory_bytes else {})


def accelerators(description: Description, options: ServingOptions) -> dict[str, dict[str, str]]:
    """Accelerators by name: TensorRT where it is wanted, CUDA where the server is known to know it. Raises InvalidSpec."""
    if options.tensorrt is not None and not options.gpu:
        raise InvalidSpec("TensorRTNeedsGPU", "spec.triton.tensorrt.enabled needs a GPU: set spec.gpu.count to 1 or more, or enabled: false")
    found = {"tensorrt": tensorrt(description, options, options.tensorrt)} if options.tensorrt is not None else {}
    if options.gpu and options.release is not None and options.release.cuda_accelerator:
        limit = {"gpu_mem_limit": str(options.gpu_memory_bytes)} if options.gpu_memory_bytes else {}
        # For the day the older form goes; where the user's own parameters have a key it is theirs.
        found["cuda"] = {key: value for key, value in (CUDA | limit).items() if key not in options.parameters}
    return found


def tensorrt(description: Description, options: ServingOptions, wanted: TensorRT) -> dict[str, str]:
    """TensorRT's parameters as Triton's ONNX Runtime backend names them."""
    found = {"precision_mode": precision_mode(description, wanted), "max_workspace_size_bytes": str(wanted.max_workspace_bytes)}
    if wanted.cache_directory:
        found |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": cache_path(description, options, wanted),
        }
    return found | profile(description, options)


def precision_mode(description: Description, wanted: TensorRT) -> str:
    """What the builder is told. A strongly typed network has the model's own types, whatever it is told. Raises InvalidSpec TensorRTPrecisionInvalid."""
    if wanted.precision == "INT8" and description.precision != "INT8":
        raise InvalidSpec(
            "TensorRTPrecisionInvalid",
            "spec.triton.tensorrt.precision is INT8, but the ONNX is not quantized (QuantizeLinear and DequantizeLinear nodes), and without a calibration "
            "table TensorRT would fail or answer nonsense: give a quantized one, or set spec.versions[].export.calibration, or precision to FP16",
        )
    if not wanted.strongly_typed:
        return wanted.precision
    if wanted.precision == "FP16" and description.precision == "FP32":
        raise InvalidSpec(
            "TensorRTPrecisionInvalid",
            "spec.triton.tensorrt.precision is FP16, but TensorRT in this release of Triton takes the precision from the model, which has FP32: "
            "set spec.versions[].export.half: true, or precision: FP32, or take an older spec.triton.image",
        )
    return "FP32"


def cache_path(description: Description, options: ServingOptions, wanted: TensorRT) -> str:
    """A directory that no other weights, precision or shapes share: ONNX Runtime's cache key knows of none of them.

    One level below the mount: ONNX Runtime makes the last directory of the path only.
    """
    height, width = description.report.image_size
    leaf = f"{wanted.precision.lower()}-b{options.max_batch_size}-{height}x{width}"
    return f"{wanted.cache_directory.rstrip('/')}/{description.onnx.sha256}-{leaf}"


def profile(description: Description, options: ServingOptions) -> dict[str, str]:
    """Shapes to build one engine for: without, each new shape builds another while requests wait for minutes.

    Pictures may be smaller than the image size: the Ultralytics client pads a dynamic model's pictures to the stride only.
    Left out where the server is not known to know it, and where it splits the graph: a profile has to name every part's inputs.
    """
    tensor = served_inputs(description, options)[0]
    release, report = options.release, description.report
    if all(size > 0 for size in tensor.shape) or release is None or not release.tensorrt_profiles:
        return {}
    if report.nms and not release.tensorrt_runs_nms:
        return {}
    _, channels, height, width = input_shape(description)
    least_height, least_width = least_size(description) if report.task is not Task.CLASSIFY else (height, width)
    low = [size if size > 0 else least for size, least in zip(tensor.shape[2:], (least_height, least_width), strict=True)]
    largest = max(options.max_batch_size, 1) if tensor.shape[0] == -1 else tensor.shape[0]
    typical = max(preferred(options), default=largest) if options.max_batch_size else largest
    first = 1 if tensor.shape[0] == -1 else tensor.shape[0]
    return {
        "trt_profile_min_shapes": f"{tensor.name}:{first}x{channels}x{low[0]}x{low[1]}",
        "trt_profile_opt_shapes": f"{tensor.name}:{typical}x{channels}x{height}x{width}",
        "trt_profile_max_shapes": f"{tensor.name}:{largest}x{channels}x{height}x{width}",
    }


def least_size(description: Description) -> tuple[int, int]:
    """The smallest picture an engine is built for: of one stride, or where the head selects detections, with as many candidates as it selects.

    The smallest height and the smallest width are met together, so both must be enough at once; the squarest such size is taken.
    """
    report = description.report
    stride = report.stride
    if not description.final_detections:
        return stride, stride
    rows, wanted = description.onnx.outputs[0].shape[1:2], DETECTIONS
    if rows and rows[0] > 0:
        wanted = rows[0]
    height, width = report.image_size
    sizes = product(range(stride, height + 1, stride), range(stride, width + 1, stride))
    enough = [size for size in sizes if candidates(*size) >= wanted]
    return min(enough, key=lambda size: (max(size), sum(size)), default=(height, width))


def candidates(height: int, width: int) -> int:
    """Cells of all feature maps: 8400 for 640 x 640."""
    return sum((height // stride) * (width // stride) for stride in HEAD_STRIDES)
