"""Small ONNX files shaped like Ultralytics' exports, their golden answers, and export directories made of them."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, GOLDEN_INPUT, ONNX_FILE, SOURCE_FILE, Artifact, Verdict
from yolo_operator.core.triton.description import Description, ExportReport
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.model import onnx_file
from yolo_operator.worker import publish, verdict
from yolo_operator.worker.storage import Repository

REVISION = "0123456789"

SIZE = 64
STRIDE = 32
NAMES = ["bus", "person"]


def detector(*, seed: int = 0, batch: int | str = "batch", classes: int = len(NAMES), size: int | str = "size") -> onnx.ModelProto:
    """Boxes and scores from one convolution per 32 pixels: (batch, 3, h, w) to (batch, 4 + classes, anchors)."""
    random = np.random.default_rng(seed)
    channels = 4 + classes
    weight = random.normal(scale=0.02, size=(channels, 3, STRIDE, STRIDE)).astype(np.float32)
    bias = np.array([SIZE / 2] * 4 + [0.3] * classes, dtype=np.float32)
    shape = np.array([0, channels, -1], dtype=np.int64)
    nodes = [
        helper.make_node("Conv", ["images", "weight", "bias"], ["grid"], kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE]),
        helper.make_node("Reshape", ["grid", "shape"], ["output0"]),
    ]
    anchors: int | str = (size // STRIDE) ** 2 if isinstance(size, int) else "anchors"
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, channels, anchors])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(shape, "shape"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def picture(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, SIZE, SIZE), dtype=np.float32)


def answers(model: onnx.ModelProto, given: np.ndarray) -> dict[str, np.ndarray]:
    """The convolution computed by numpy: patches times weights."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    steps = SIZE // STRIDE
    patches = given[0].reshape(3, steps, STRIDE, steps, STRIDE).transpose(1, 3, 0, 2, 4).reshape(steps * steps, -1)
    flat = weights["weight"].reshape(weights["weight"].shape[0], -1) @ patches.T + weights["bias"][:, None]
    return {"output0": flat[None].astype(np.float32)}


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def report(**changes: Any) -> ExportReport:
    fields: dict[str, Any] = {
        "task": "detect",
        "names": NAMES,
        "stride": STRIDE,
        "image_size": [SIZE, SIZE],
        "batch": 1,
        "dynamic": True,
        "half": False,
        "nms": False,
        "end_to_end": False,
        "ultralytics": "8.4.190",
        "torch": "2.6.0",
        "opset": 17,
        "ir_version": 8,
        "reference": "pytorch",
        "metadata": {"author": "Ultralytics", "channels": 3, "names": {"0": "bus", "1": "person"}, "args": {"opset": None}},
    }
    return ExportReport.model_validate(fields | changes)


def description(model: onnx.ModelProto | None = None, **changes: Any) -> Description:
    facts, _ = onnx_file.inspect(io.BytesIO((model or detector()).SerializeToString()))
    return Description(report=report(**changes), onnx=facts, source_sha256="0" * 64)


@dataclass(frozen=True)
class BuildPod:
    """The directories of a build Pod."""

    root: Path

    @property
    def check(self) -> Path:
        return self.root / "check"

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def export(self) -> Path:
        return self.root / "export"

    def publish(self, repository: Repository, serving: ServingOptions, *, revision: str = REVISION, **more: Any) -> Artifact:
        """What the publish container does with them."""
        options = publish.PublishOptions(
            revision=revision,
            export_key="key",
            cluster_name="c1",
            serving=serving,
            check_directory=self.check,
            source_directory=self.source,
            export_directory=self.export,
            **more,
        )
        return publish.run(repository, options)


def build_pod(root: Path, model: onnx.ModelProto | None = None, state: str = "missing", **changes: Any) -> BuildPod:
    """A build Pod as publish finds it: verdict, source and export in place."""
    pod = BuildPod(root)
    model = model or detector()
    for directory in (pod.check, pod.source, pod.export):
        directory.mkdir(parents=True, exist_ok=True)
    verdict.write(pod.check, Verdict(state=state))
    source = {"uri": "s3://weights/a.pt", "sha256": hashlib.sha256(b"a").hexdigest(), "sizeBytes": 1, "kind": "pt", "fileName": "a.pt"}
    (pod.source / SOURCE_FILE).write_text(json.dumps(source))
    (pod.export / ONNX_FILE).write_bytes(model.SerializeToString())
    given = picture()
    (pod.export / GOLDEN).write_bytes(npz({GOLDEN_INPUT: given, **answers(model, given)}))
    (pod.export / EXPORT_FILE).write_text(report(**changes).model_dump_json(by_alias=True))
    return pod
