"""ONNX files made elsewhere, from the file to verified answers of a real Triton, with the limits of their own precision."""

import foreign_onnx as made
import numpy as np
import onnx
import pytest
import triton_server
import yolo_models
from foreign_onnx import SAID, SIZE, answering, detector
from onnx import TensorProto

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, ONNX_FILE
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.options import ServingOptions, TensorRT
from yolo_operator.exporter import onnx_source, reference
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.model import golden
from yolo_operator.worker import revisions, verify
from yolo_operator.worker.triton_client import GrpcClient, HttpClient

REVISION = "0123456789"


@pytest.fixture(autouse=True)
def picture(monkeypatch):
    """Noise instead of the photograph, which comes with Ultralytics."""
    monkeypatch.setattr(reference, "picture", lambda task, size, channels=3: np.random.default_rng(1).random((1, channels, *size), dtype=np.float32))


def published(repository, tmp_path, model: onnx.ModelProto, **serving):
    """As the build Job does it: the exporter's half, then the publisher's. The manifest."""
    pod = yolo_models.build_pod(tmp_path / "pod")
    weights = pod.source / "weights.onnx"
    onnx.save(model, weights)
    exported = onnx_source.describe(weights, ConversionOptions(source_directory=pod.source, export_directory=pod.export))
    (pod.export / ONNX_FILE).write_bytes(weights.read_bytes())
    golden.write(pod.export / GOLDEN, exported.golden)
    (pod.export / EXPORT_FILE).write_text(exported.report.model_dump_json(by_alias=True))
    pod.publish(repository, ServingOptions(**({"model_name": "helmet", "version": 1, "gpu": False} | serving)))
    manifest = revisions.manifest(repository, REVISION)
    assert manifest is not None
    return manifest


@pytest.mark.skipif(not triton_server.is_possible(), reason="needs the CPU backend and a shared libpython")
@pytest.mark.parametrize(
    ("make", "max_batch_size", "precision"),
    [
        pytest.param(lambda folder: made.quantized(detector(), folder), 4, "INT8", id="INT8 with Q/DQ nodes"),
        pytest.param(lambda _: detector(weights=TensorProto.FLOAT16), 4, "FP16", id="FP16 input, weights and output"),
        pytest.param(
            lambda _: detector(weights=TensorProto.FLOAT16, ports=TensorProto.FLOAT), 4, "FP16", id="FP16 weights, FP32 outside", marks=pytest.mark.matrix
        ),
        pytest.param(lambda _: detector(batch=4), 0, "FP32", id="a batch fixed to four"),
        pytest.param(lambda _: answering({"output0": made.final()}), 4, "FP32", id="YOLOv10 of Ultralytics 8.2, without end2end"),
        pytest.param(lambda _: detector(channels=4), 4, "FP32", id="four channels", marks=pytest.mark.matrix),
        pytest.param(lambda _: detector(channels=1), 4, "FP32", id="one channel", marks=pytest.mark.matrix),
        pytest.param(
            lambda _: answering({"output0": made.raw(15), "output1": made.random(1, 8, 16, 16)}, said=SAID | {"task": "segment"}),
            4,
            "FP32",
            id="segment with 8 prototypes",
            marks=pytest.mark.matrix,
        ),
    ],
)
def test_served(make, max_batch_size, precision, repository, weed, tmp_path):
    manifest = published(repository, tmp_path, make(tmp_path), max_batch_size=max_batch_size)
    assert manifest.precision == precision
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log") as (http, grpc, _):
        clients = [HttpClient("127.0.0.1", http, "helmet", 1), GrpcClient("127.0.0.1", grpc, "helmet", 1)]
        found = verify.run(repository, clients, verify.VerifyOptions(revision=REVISION, model_name="helmet", version=1, timeout=30, precision="FP32"))
    assert found.worst_iou > 0.99


def test_a_fixed_batch_is_not_batched(repository, tmp_path):
    with pytest.raises(InvalidSpec) as caught:
        published(repository, tmp_path, detector(batch=4), max_batch_size=8)
    assert caught.value.reason == "StaticBatch"
    assert "give one that was exported with dynamic: true, or set maxBatchSize: 0" in caught.value.message


@pytest.mark.parametrize(
    ("weights", "tensorrt", "precision"),
    [
        pytest.param(TensorProto.FLOAT, "FP32", "FP32", id="FP32 in both"),
        pytest.param(TensorProto.FLOAT, "FP16", "FP16", id="TensorRT's is lower"),
        pytest.param(TensorProto.FLOAT16, "FP32", "FP16", id="the file's is lower"),
    ],
)
def test_the_published_precision_is_the_lowest(weights, tensorrt, precision, repository, tmp_path):
    engine = TensorRT(precision=tensorrt, max_workspace_bytes=1 << 30, cache_directory="")
    assert published(repository, tmp_path, detector(weights=weights), gpu=True, tensorrt=engine, max_batch_size=4).precision == precision


def test_the_picture_has_the_size_that_the_file_says(repository, tmp_path):
    assert published(repository, tmp_path, detector(), max_batch_size=1).artifact.image_size == [SIZE, SIZE]
