import ast

import pytest

import yolo_values
from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.config import TensorRT, configure
from yolo_values import description, serving

TENSORRT = TensorRT(precision="FP16", max_workspace_bytes=3 << 30, cache_directory="/cache/")


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
    ],
)
def test_warmup_covers_the_batch_sizes_served(options, sizes):
    assert [warmup.batch_size for warmup in configure(description(), serving(**options)).warmups] == sizes


def test_warmup_pictures_are_whole_where_nothing_is_batched():
    assert configure(description(), serving(max_batch_size=0)).warmups[0].input.dims == (1, 3, 640, 640)
    assert configure(description(batch=4), serving(max_batch_size=0)).warmups[0].input.dims == (4, 3, 640, 640)
    assert configure(description(), serving(max_batch_size=8)).warmups[0].input.dims == (3, 640, 640)


@pytest.mark.parametrize(
    ("options", "joined"),
    [({"max_batch_size": 8}, True), ({"max_batch_size": 1}, False), ({"max_batch_size": 0}, False), ({"dynamic_batching": False}, False)],
)
def test_requests_are_joined_where_a_batch_has_room(options, joined):
    assert (configure(description(), serving(**options)).dynamic_batching is not None) is joined


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
    parameters = configure(description(), serving(gpu=True, tensorrt=TENSORRT, preferred_batch_sizes=(2, 4))).gpu_accelerators["tensorrt"]
    assert parameters["trt_profile_min_shapes"] == "images:1x3x32x32"
    assert parameters["trt_profile_opt_shapes"] == "images:4x3x640x640"
    assert parameters["trt_profile_max_shapes"] == "images:8x3x640x640"


def test_tensorrt_needs_a_gpu():
    assert refused(description(), gpu=False, tensorrt=TENSORRT).reason == "TensorRTNeedsGPU"


@pytest.mark.parametrize("name", ["helmet", "helmet_v2", "a.b", "A-1", "_x", "9"])
def test_names_that_triton_loads(name):
    assert configure(description(), serving(model_name=name)).name == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a b", "a/b", "a+b", "a=b", "a@b", "größe", "a\n", "x" * 129])
def test_names_that_triton_does_not_load(name):
    assert refused(description(), model_name=name).reason == "InvalidModelName"
