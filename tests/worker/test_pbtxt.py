"""Goldens of config.pbtxt, each read by Triton's own schema. UPDATE_GOLDEN=1 writes them anew."""

import ast
import os
from pathlib import Path

import pytest
import yolo_models
from hypothesis import given
from tritonclient.grpc import model_config_pb2 as pb

import hostile
from yolo_operator.core.contract import Tensor
from yolo_operator.core.triton import metadata, picture_models, releases
from yolo_operator.core.triton.config import configure
from yolo_operator.core.triton.options import QueuePolicy, ServingOptions, TensorRT, shapes_of
from yolo_operator.core.triton.picture_models import PictureOptions
from yolo_operator.worker import pbtxt
from yolo_values import description, serving

GOLDEN = Path(__file__).parent.parent / "golden"
TENSORRT = TensorRT(precision="FP16", max_workspace_bytes=3 << 30, cache_directory="/var/cache/tensorrt")
ROWS = {
    "detect_cpu_b8": (description(), serving(preferred_batch_sizes=(4, 8), max_queue_delay_microseconds=100)),
    "detect_cpu_b0": (description(), serving(max_batch_size=0)),
    "detect_cpu_b1": (description(), serving(max_batch_size=1, warmup=False)),
    "detect_static_b0": (description(batch=2), serving(max_batch_size=0)),
    "segment_gpu_b4": (description("segment"), serving(gpu=True, max_batch_size=4, instances=2)),
    "pose_gpu_tensorrt_b4": (description("pose"), serving(gpu=True, max_batch_size=4, tensorrt=TENSORRT, release=releases.named("25.08"))),
    "end_to_end_gpu_shared_b2": (
        description(end_to_end=True, outputs=[Tensor(name="output0", datatype="FP32", shape=[-1, 300, 6])]),
        serving(gpu=True, max_batch_size=2, tensorrt=TENSORRT, gpu_memory_bytes=4 << 30, release=releases.named("26.05")),
    ),
    "detect_cpu_queue_b4": (
        description(),
        serving(max_batch_size=4, queue_policy=QueuePolicy(max_queue_size=8, timeout_microseconds=50000), parameters={"execution_mode": "1"}),
    ),
    "obb_cpu_b2": (description("obb"), serving(max_batch_size=2, dynamic_batching=False)),
    "classify_cpu_b2": (description("classify", image_size=[224, 224]), serving(max_batch_size=2)),
    "detect_names_b1": (description(names=['it\'s "quoted"', "two\nlines {} 中文"]), serving(max_batch_size=1)),
}


@pytest.mark.parametrize("name", list(ROWS))
def test_config_matches_its_golden_and_triton_s_schema(name):
    model, options = ROWS[name]
    text = pbtxt.render(configure(model, options))
    path = GOLDEN / f"{name}.pbtxt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    parsed = pbtxt.parse(text)
    assert parsed == pbtxt.message(configure(model, options))
    assert ast.literal_eval(parsed.parameters["metadata"].string_value) == metadata.metadata(model, shapes_of(model, options))


PICTURES = PictureOptions(max_bytes=16 << 20, max_pixels=50_000_000, confidence=0.25, iou=0.7, max_detections=300, instances=2)


@pytest.mark.parametrize("name", ["segment_gpu_b4", "pose_gpu_tensorrt_b4", "end_to_end_gpu_shared_b2", "obb_cpu_b2", "classify_cpu_b2"])
def test_models_that_take_pictures_match_their_golden(name):
    model, options = ROWS[name]
    models = picture_models.configure(model, configure(model, options), PICTURES)
    text = "\n".join(pbtxt.render(each) for each in models.all)
    path = GOLDEN / f"pictures_{name}.pbtxt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@given(hostile.NAMES, hostile.METADATA)
def test_whatever_an_export_says_stays_inside_the_metadata(names, said):
    model = description(names=names, metadata=said)
    plain = pbtxt.parse(pbtxt.render(configure(description(), serving())))
    parsed = pbtxt.parse(pbtxt.render(configure(model, serving())))
    assert ast.literal_eval(parsed.parameters["metadata"].string_value) == metadata.metadata(model, "Dynamic")
    parsed.parameters["metadata"].CopyFrom(plain.parameters["metadata"])
    assert parsed == plain


@pytest.mark.parametrize("size", [0, 1, 8])
def test_max_batch_size_is_always_written(size):
    text = pbtxt.render(configure(description(), serving(max_batch_size=size)))
    assert text.count("max_batch_size:") == 1
    assert f"\nmax_batch_size: {size}\n" in text


def test_the_same_values_are_the_same_bytes():
    model = yolo_models.description()
    options = ServingOptions(model_name="m", version=3, gpu=True, max_batch_size=4, tensorrt=TENSORRT)
    assert len({pbtxt.render(configure(model, options)) for _ in range(20)}) == 1


def test_only_the_wanted_version_is_served():
    parsed = pbtxt.parse(pbtxt.render(configure(description(), serving(version=7))))
    assert list(parsed.version_policy.specific.versions) == [7]
    assert isinstance(parsed, pb.ModelConfig)
