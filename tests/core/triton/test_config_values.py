import ast

import pytest

import yolo_values
from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import releases
from yolo_operator.core.triton.config import configure
from yolo_operator.core.triton.options import QueuePolicy, TensorRT
from yolo_values import description, serving

TENSORRT = TensorRT(precision="FP16", max_workspace_bytes=3 << 30, cache_directory="/cache/")
KNOWN = releases.named("25.08")


def refused(model, **options) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        configure(model, serving(**options))
    return caught.value


@pytest.mark.parametrize(
    ("max_batch_size", "batch", "inputs", "outputs"),
    [
        pytest.param(0, -1, (-1, 3, -1, -1), (-1, 6, -1), id="no batching, the ONNX takes any batch"),
        pytest.param(1, -1, (3, -1, -1), (6, -1), id="batches of one are queued"),
        pytest.param(8, -1, (3, -1, -1), (6, -1), id="batches of eight"),
        pytest.param(0, 1, (1, 3, 640, 640), (1, 6, 80), id="no batching, everything fixed"),
        pytest.param(0, 4, (4, 3, 640, 640), (4, 6, 80), id="no batching, a fixed batch of four"),
    ],
)
def test_dims_follow_max_batch_size_and_the_onnx(max_batch_size, batch, inputs, outputs):
    config = configure(description(batch=batch), serving(max_batch_size=max_batch_size))
    assert (config.inputs[0].dims, config.outputs[0].dims) == (inputs, outputs)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_fixed_batch_cannot_be_batched(batch):
    error = refused(description(batch=batch), max_batch_size=8)
    assert error.reason == "StaticBatch"
    assert "dynamic: true" in error.message


def test_one_fixed_output_is_enough_to_refuse():
    lost = [Tensor(name="output0", datatype="FP32", shape=[1, 6, -1])]
    assert refused(description(outputs=lost)).reason == "StaticBatch"


def test_an_embedded_nms_answers_for_its_own_batch_only():
    final = [Tensor(name="output0", datatype="FP32", shape=[-1, 300, 6])]
    assert refused(description(nms=True, outputs=final), max_batch_size=4).reason == "StaticBatch"
    configure(description(nms=True, outputs=final, batch=-1), serving(max_batch_size=1))
    configure(description(nms=True, batched_nms=True, outputs=final), serving(max_batch_size=64))


@pytest.mark.parametrize(
    ("shapes", "nms", "max_batch_size", "batch"),
    [
        pytest.param("Dynamic", True, 8, 8, id="the client sends lists in parts of maxBatchSize"),
        pytest.param("Dynamic", True, 0, 1, id="or one picture after the other without batches"),
        pytest.param("Dynamic", False, 8, 1, id="without NMS it does not look"),
        pytest.param("Fixed", True, 8, 1, id="with one size it pads requests to batch"),
    ],
)
def test_lists_of_pictures_come_in_parts_that_are_served(shapes, nms, max_batch_size, batch):
    final = [Tensor(name="output0", datatype="FP32", shape=[-1, 300, 6])]
    model = description(nms=nms, batched_nms=nms, outputs=final if nms else None)
    text = configure(model, serving(shapes=shapes, max_batch_size=max_batch_size)).parameters["metadata"]
    found = ast.literal_eval(text)
    assert (found["batch"], found["args"]["nms"]) == (batch, nms)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        pytest.param({"max_batch_size": 8, "preferred_batch_sizes": (4, 2)}, [1, 2, 4, 8], id="each size served"),
        pytest.param({"max_batch_size": 8, "preferred_batch_sizes": (4,), "dynamic_batching": False}, [1, 8], id="nothing is joined"),
        pytest.param({"max_batch_size": 0}, [1], id="no batching"),
        pytest.param({"max_batch_size": 8, "warmup": False}, [], id="none wanted"),
        pytest.param({"gpu": True, "max_batch_size": 8}, [1, 2, 3, 4, 5, 6, 7, 8], id="on a GPU each that requests can make"),
        pytest.param({"gpu": True, "max_batch_size": 8, "dynamic_batching": False}, [1, 2, 3, 4, 5, 6, 7, 8], id="which are as many where none is joined"),
        pytest.param({"gpu": True, "max_batch_size": 100, "preferred_batch_sizes": (48,)}, [*range(1, 17), 32, 48, 64, 100], id="powers of two above sixteen"),
        pytest.param({"gpu": True, "max_batch_size": 0}, [1], id="no batching on a GPU"),
    ],
)
def test_warmup_covers_the_batch_sizes_served(options, sizes):
    assert [warmup.batch_size for warmup in configure(description(), serving(**options)).warmups] == sizes


def test_warmup_pictures_are_whole_where_nothing_is_batched():
    assert configure(description(), serving(max_batch_size=0)).warmups[0].inputs[0].dims == (1, 3, 640, 640)
    assert configure(description(batch=4), serving(max_batch_size=0)).warmups[0].inputs[0].dims == (4, 3, 640, 640)
    assert configure(description(), serving(max_batch_size=8)).warmups[0].inputs[0].dims == (3, 640, 640)


@pytest.mark.parametrize(
    ("options", "joined"),
    [({"max_batch_size": 8}, True), ({"max_batch_size": 1}, False), ({"max_batch_size": 0}, False), ({"dynamic_batching": False}, False)],
)
def test_requests_are_joined_where_a_batch_has_room(options, joined):
    assert (configure(description(), serving(**options)).dynamic_batching is not None) is joined


def test_a_queue_has_a_policy_where_there_is_one():
    policy = QueuePolicy(max_queue_size=8, timeout_microseconds=1000, timeout_action="DELAY")
    batching = configure(description(), serving(max_batch_size=8, queue_policy=policy)).dynamic_batching
    assert batching is not None
    assert batching.queue_policy == policy
    single = configure(description(), serving(max_batch_size=1, queue_policy=policy)).dynamic_batching
    assert single is not None
    assert single.queue_policy == policy, "nothing is joined, and the queue is there"
    assert configure(description(), serving(max_batch_size=1)).dynamic_batching is None


def test_a_preferred_size_above_the_maximum_is_refused():
    assert refused(description(), preferred_batch_sizes=(16,)).reason == "PreferredBatchSizeInvalid"


def test_the_kind_is_never_left_to_the_server():
    assert configure(description(), serving(gpu=True, instances=2)).kind == "KIND_GPU"
    assert configure(description(), serving()).kind == "KIND_CPU"


def test_engines_of_other_weights_precisions_or_sizes_are_never_shared():
    model = description()
    path = configure(model, serving(gpu=True, tensorrt=TENSORRT)).gpu_accelerators["tensorrt"]["trt_engine_cache_path"]
    assert path == f"/cache/{yolo_values.SHA256}-fp16-b8-640x640"


def test_one_engine_is_built_for_all_batch_sizes_and_smaller_pictures():
    options = serving(gpu=True, tensorrt=TENSORRT, preferred_batch_sizes=(2, 4), release=KNOWN)
    parameters = configure(description(), options).gpu_accelerators["tensorrt"]
    assert parameters["trt_profile_min_shapes"] == "images:1x3x32x32"
    assert parameters["trt_profile_opt_shapes"] == "images:4x3x640x640"
    assert parameters["trt_profile_max_shapes"] == "images:8x3x640x640"


def test_tensorrt_needs_a_gpu():
    assert refused(description(), gpu=False, tensorrt=TENSORRT).reason == "TensorRTNeedsGPU"


def profiles(model, **options):
    found = configure(model, serving(gpu=True, tensorrt=TENSORRT, **options)).gpu_accelerators["tensorrt"]
    return found.get("trt_profile_min_shapes")


FINAL = [Tensor(name="output0", datatype="FP32", shape=[-1, 300, 6])]
FEW = [Tensor(name="output0", datatype="FP32", shape=[-1, 20, 6])]


@pytest.mark.parametrize(
    ("model", "options", "least"),
    [
        pytest.param({}, {"release": KNOWN}, "images:1x3x32x32", id="from the stride"),
        pytest.param({}, {"release": releases.named("24.03")}, None, id="a release that does not know profiles"),
        pytest.param({}, {}, None, id="a release that nobody says"),
        pytest.param({"end_to_end": True, "outputs": FINAL}, {"release": KNOWN}, "images:1x3x128x128", id="enough candidates for 300 detections"),
        pytest.param({"end_to_end": True, "outputs": FEW}, {"release": KNOWN}, "images:1x3x32x32", id="enough for twenty"),
        pytest.param({"nms": True, "outputs": FINAL}, {"release": KNOWN, "max_batch_size": 1}, "images:1x3x128x128", id="NMS in one part"),
        pytest.param({"nms": True, "outputs": FINAL}, {"release": releases.named("25.02"), "max_batch_size": 1}, None, id="NMS that splits the graph"),
        pytest.param({"image_size": [320, 320]}, {"release": KNOWN}, None, id="pictures of one size need none but for their batch"),
    ],
)
def test_the_smallest_picture_an_engine_is_built_for(model, options, least):
    if "image_size" in model:
        assert profiles(description(**model), **options) == "images:1x3x320x320"
    else:
        assert profiles(description(**model), **options) == least


@pytest.mark.parametrize(
    ("release", "limit", "chosen", "parameters", "accelerator"),
    [
        pytest.param(None, 0, {}, {"arena_extend_strategy": "1", "cudnn_conv_algo_search": "1"}, None, id="a release that nobody says"),
        pytest.param("24.05", 0, {}, {"arena_extend_strategy": "1", "cudnn_conv_algo_search": "1"}, None, id="one that does not know the accelerator"),
        pytest.param(
            "24.06",
            4 << 30,
            {},
            {"arena_extend_strategy": "1", "cudnn_conv_algo_search": "1", "gpu_mem_limit": "4294967296"},
            {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC", "gpu_mem_limit": "4294967296"},
            id="both forms, with a limit",
        ),
        pytest.param(
            "26.05",
            0,
            {"cudnn_conv_algo_search": "0"},
            {"arena_extend_strategy": "1", "cudnn_conv_algo_search": "0"},
            {"arena_extend_strategy": "kSameAsRequested"},
            id="what the user chooses counts",
        ),
    ],
)
def test_cuda_is_told_in_the_form_that_counts_and_in_the_newer_one(release, limit, chosen, parameters, accelerator):
    config = configure(description(), serving(gpu=True, gpu_memory_bytes=limit, parameters=chosen, release=releases.named(release)))
    assert {key: value for key, value in config.parameters.items() if key != "metadata"} == parameters
    assert config.gpu_accelerators.get("cuda") == accelerator


def test_a_cpu_is_told_nothing_of_cuda():
    config = configure(description(), serving(release=KNOWN, parameters={"execution_mode": "1"}))
    assert (config.gpu_accelerators, config.parameters.keys()) == ({}, {"metadata", "execution_mode"})


def of_precision(precision):
    model = description()
    return model.model_copy(update={"onnx": model.onnx.model_copy(update={"precision": precision})})


@pytest.mark.parametrize(
    ("wanted", "model", "strongly_typed", "mode"),
    [
        pytest.param("FP16", "FP32", False, "FP16", id="TensorRT makes FP16 of it"),
        pytest.param("INT8", "INT8", False, "INT8", id="a quantized model"),
        pytest.param("INT8", "FP32", False, "not quantized", id="INT8 of nothing that says how"),
        pytest.param("INT8", "FP16", True, "not quantized", id="nor for TensorRT 11"),
        pytest.param("FP16", "FP32", True, "export.half: true", id="TensorRT 11 makes no FP16 of it"),
        pytest.param("FP16", "FP16", True, "FP32", id="TensorRT 11 takes the model's own FP16"),
        pytest.param("FP32", "FP32", True, "FP32", id="its own FP32"),
        pytest.param("INT8", "INT8", True, "FP32", id="its own INT8"),
    ],
)
def test_an_engine_has_the_precision_that_is_wanted_or_is_refused(wanted, model, strongly_typed, mode):
    options = serving(gpu=True, tensorrt=TensorRT(precision=wanted, max_workspace_bytes=1 << 30, cache_directory="", strongly_typed=strongly_typed))
    if mode in ("FP32", "FP16", "INT8"):
        assert configure(of_precision(model), options).gpu_accelerators["tensorrt"]["precision_mode"] == mode
    else:
        with pytest.raises(InvalidSpec, match=mode) as caught:
            configure(of_precision(model), options)
        assert caught.value.reason == "TensorRTPrecisionInvalid"


@pytest.mark.parametrize("name", ["helmet", "helmet_v2", "a.b", "A-1", "_x", "9"])
def test_names_that_triton_loads(name):
    assert configure(description(), serving(model_name=name)).name == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a b", "a/b", "a+b", "a=b", "a@b", "größe", "a\n", "x" * 129])
def test_names_that_triton_does_not_load(name):
    assert refused(description(), model_name=name).reason == "InvalidModelName"
