"""Descriptions of models by plain values, as core knows them."""

from typing import Any

from yolo_operator.core.contract import Tensor
from yolo_operator.core.triton.description import Description, ExportReport, OnnxFacts
from yolo_operator.core.triton.options import ServingOptions

SHA256 = "ab" * 32
OUTPUTS: dict[str, list[Tensor]] = {
    "detect": [Tensor(name="output0", datatype="FP32", shape=[-1, 6, -1])],
    "segment": [Tensor(name="output0", datatype="FP32", shape=[-1, 38, -1]), Tensor(name="output1", datatype="FP32", shape=[-1, 32, -1, -1])],
    "pose": [Tensor(name="output0", datatype="FP32", shape=[-1, 57, -1])],
    "obb": [Tensor(name="output0", datatype="FP32", shape=[-1, 7, -1])],
    "classify": [Tensor(name="output0", datatype="FP32", shape=[-1, 2])],
}


def static(tensors: list[Tensor], batch: int) -> list[Tensor]:
    return [Tensor(name=t.name, datatype=t.datatype, shape=[batch, *(n if n > 0 else 80 for n in t.shape[1:])]) for t in tensors]


def description(task: str = "detect", *, batch: int = -1, inputs: Any = None, outputs: Any = None, **changes: Any) -> Description:
    fields: dict[str, Any] = {
        "task": task,
        "names": ["bus", "person"],
        "stride": 32,
        "image_size": [640, 640],
        "batch": max(batch, 1),
        "dynamic": batch == -1,
        "half": False,
        "nms": False,
        "end_to_end": False,
        "kpt_shape": [17, 3] if task == "pose" else None,
        "ultralytics": "8.4.190",
        "torch": "2.6.0",
        "opset": 18,
        "ir_version": 8,
        "reference": "pytorch",
        "metadata": {"author": "Ultralytics", "channels": 3, "date": "2026-11-22T00:00:00+00:00"},
    }
    picture = [Tensor(name="images", datatype="FP32", shape=[-1, 3, -1, -1] if batch == -1 else [batch, 3, 640, 640])]
    return Description(
        report=ExportReport.model_validate(fields | changes),
        onnx=OnnxFacts(
            sha256=SHA256,
            size_bytes=1,
            opset=18,
            ir_version=8,
            inputs=inputs or picture,
            outputs=outputs or (OUTPUTS[task] if batch == -1 else static(OUTPUTS[task], batch)),
        ),
        source_sha256=SHA256,
    )


def serving(**changes: Any) -> ServingOptions:
    fields: dict[str, Any] = {"model_name": "helmet", "version": 1, "gpu": False, "max_batch_size": 8}
    return ServingOptions(**(fields | changes))
