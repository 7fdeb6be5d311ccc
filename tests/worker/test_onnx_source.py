"""ONNX files made elsewhere: each kind is served as what it is, or refused by its name with what to do."""

import re
from pathlib import Path
from typing import Any

import foreign_onnx as made
import numpy as np
import onnx
import pytest
from foreign_onnx import CELLS, NAMES, SAID, SIZE, answering, detector
from onnx import TensorProto, numpy_helper

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.exporter import onnx_source, reference
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.model import onnx_file

SEGMENT = SAID | {"task": "segment"}
POSE = SAID | {"task": "pose", "names": {0: "person"}, "kpt_shape": [5, 3]}
OBB = SAID | {"task": "obb"}
CLASSIFY = SAID | {"task": "classify"}
V5 = {"stride": 32, "names": NAMES}
PROTOS = made.random(1, 8, 16, 16)
ANY = ["batch", "anchors", "values"]


@pytest.fixture(autouse=True)
def picture(monkeypatch):
    """Noise instead of the photograph, which comes with Ultralytics."""
    monkeypatch.setattr(reference, "picture", lambda task, size, channels=3: np.random.default_rng(1).random((1, channels, *size), dtype=np.float32))


def described(model: onnx.ModelProto, tmp_path, **options):
    weights = tmp_path / "weights.onnx"
    onnx.save(model, weights)
    return onnx_source.describe(weights, ConversionOptions(source_directory=tmp_path, export_directory=tmp_path, **options))


ACCEPTED = [
    pytest.param(lambda _: detector(), {}, {"classes": 3, "dynamic": True}, id="a raw head, names and task in the metadata"),
    pytest.param(
        lambda _: detector(said={}), {"task": Task.DETECT}, {"names": ["class0", "class1", "class2"]}, id="no metadata at all: spec.task, names made up"
    ),
    pytest.param(lambda _: detector(said=SAID | {"names": {}}), {}, {"names": ["class0", "class1", "class2"]}, id="empty names"),
    pytest.param(lambda _: detector(said=SAID | {"names": NAMES}), {}, {"names": NAMES}, id="names as a list"),
    pytest.param(lambda _: detector(said=SAID | {"names": {0: "", 1: " ", 2: "dog"}}), {}, {"names": ["", " ", "dog"]}, id="names that are blank"),
    pytest.param(lambda _: answering({"output0": made.final()}), {}, {"end_to_end": True, "nms": False}, id="YOLOv10 of Ultralytics 8.2, without end2end"),
    pytest.param(
        lambda _: answering({"output0": made.final()}, declared={"output0": ANY}, said=SAID | {"end2end": True}), {}, {"end_to_end": True}, id="YOLO26"
    ),
    pytest.param(
        lambda _: answering({"output0": made.final(rows=2000)}, said=SAID | {"args": {"nms": True}}),
        {},
        {"nms": True, "end_to_end": False},
        id="an embedded NMS",
    ),
    pytest.param(
        lambda _: answering({"output0": made.final(8), "output1": PROTOS}, said=SEGMENT), {}, {"end_to_end": True}, id="segment with final detections"
    ),
    pytest.param(lambda _: answering({"output0": made.final(1)}, said=OBB), {}, {"end_to_end": True}, id="obb with final detections"),
    pytest.param(
        lambda _: answering({"output0": made.final(15, classes=1)}, said=POSE), {}, {"end_to_end": True, "kpt_shape": [5, 3]}, id="pose with final detections"
    ),
    pytest.param(lambda _: detector(said=SAID | {"end2end": True}), {}, {"end_to_end": False}, id="a raw head that is said to be end-to-end"),
    pytest.param(lambda _: answering({"output0": made.raw(15), "output1": PROTOS}, said=SEGMENT), {}, {"classes": 3}, id="segment with 8 prototypes"),
    pytest.param(
        lambda _: answering({"output0": made.raw(15), "output1": PROTOS}, said={}), {"task": Task.SEGMENT}, {"classes": 3}, id="segment without metadata"
    ),
    pytest.param(
        lambda _: answering({"output0": made.raw(15)}, said=POSE | {"kpt_shape": [5, 2]}), {}, {"kpt_shape": [5, 2], "classes": 1}, id="keypoints of two values"
    ),
    pytest.param(
        lambda _: answering({"output0": made.raw(5 + 51)}, said={}), {"task": Task.POSE}, {"kpt_shape": [17, 3], "classes": 1}, id="pose without metadata"
    ),
    pytest.param(
        lambda _: answering({"output0": made.raw(4 + 3 + 10)}, said=POSE | {"names": NAMES, "kpt_shape": None}),
        {},
        {"kpt_shape": [5, 2], "classes": 3},
        id="pose of several classes that does not say its keypoints",
    ),
    pytest.param(lambda _: answering({"output0": made.raw(8)}, said=OBB), {}, {"classes": 3}, id="obb"),
    pytest.param(lambda _: answering({"output0": np.array([[0.7, 0.2, 0.1]], np.float32)}, said=CLASSIFY), {}, {"classes": 3}, id="a classifier"),
    pytest.param(lambda _: detector(weights=TensorProto.FLOAT16), {}, {"precision": "FP16", "half": True}, id="FP16 input, weights and output"),
    pytest.param(
        lambda _: detector(weights=TensorProto.FLOAT16, ports=TensorProto.FLOAT), {}, {"precision": "FP16", "half": False}, id="FP16 weights, FP32 outside"
    ),
    pytest.param(
        lambda _: detector(weights=TensorProto.FLOAT, ports=TensorProto.FLOAT16), {}, {"precision": "FP16", "half": True}, id="FP32 weights, FP16 outside"
    ),
    pytest.param(lambda tmp_path: made.quantized(detector(), tmp_path), {}, {"precision": "INT8", "half": False}, id="INT8 with Q/DQ nodes"),
    pytest.param(lambda tmp_path: made.quantized(detector(), tmp_path, "QOperator"), {}, {"precision": "INT8"}, id="INT8 with integer operators"),
    pytest.param(lambda tmp_path: made.quantized(detector(), tmp_path, "weights"), {}, {"precision": "INT8"}, id="weights in 8 bits"),
    pytest.param(lambda _: detector(batch=4), {}, {"batch": 4, "dynamic": False}, id="a batch fixed to four"),
    pytest.param(lambda _: detector(channels=4), {}, {"channels": 4}, id="four channels"),
    pytest.param(lambda _: detector(channels=10), {}, {"channels": 10}, id="ten channels"),
    pytest.param(lambda _: detector(channels=1), {}, {"channels": 1}, id="one channel"),
    pytest.param(lambda _: detector(opset=22, ir_version=11), {}, {"opset": 22, "ir_version": 11}, id="opset 22, IR 11"),
    pytest.param(lambda _: detector(opset=23, ir_version=12), {}, {"opset": 23, "ir_version": 12}, id="opset 23, IR 12"),
    pytest.param(
        lambda _: answering({"output0": made.raw(7)}, declared={"output0": ["a", "b", "c"]}), {}, {"classes": 3}, id="an output that declares no size at all"
    ),
]


@pytest.mark.parametrize(("make", "options", "facts"), ACCEPTED)
def test_accepted(make, options, facts, tmp_path):
    exported = described(make(tmp_path), tmp_path, **options)
    report = exported.report
    onnx_facts, _ = onnx_file.inspect(tmp_path / "weights.onnx")
    found = report.model_dump() | {"classes": len(report.names), "precision": onnx_facts.precision, "channels": exported.golden.input.shape[1]}
    assert {key: found[key] for key in facts} == facts
    assert {array.shape[0] for array in exported.golden.outputs.values()} == {1}


def two(first: np.ndarray, second: np.ndarray, names: tuple[str, str] = ("output0", "output1"), **settings) -> onnx.ModelProto:
    return answering(dict(zip(names, (first, second), strict=True)), **settings)


REFUSED = [
    pytest.param(
        lambda: answering({"output": made.rows_of(8, 3 * CELLS)}, declared={"output": ANY}, said=V5),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["YOLOv5 or YOLOv7", "objectness", "yolov5su.pt", "docs/onnx.md"],
        id="YOLOv5, dynamic",
    ),
    pytest.param(
        lambda: answering({"output": made.rows_of(8, 3 * CELLS)}, shape=(1, 3, SIZE, SIZE), said=V5),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["YOLOv5 or YOLOv7"],
        id="YOLOv5, fixed",
    ),
    pytest.param(
        lambda: answering({"output": made.rows_of(8, 3 * CELLS)}, said={}), {"task": Task.DETECT}, "UnsupportedModel", ["YOLOv5"], id="YOLOv5 without names"
    ),
    pytest.param(
        lambda: answering({"output": made.rows_of(6, 3 * CELLS)}, said=V5 | {"names": ["x"]}),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["YOLOv5"],
        id="YOLOv5 of one class: six values, as final detections have",
    ),
    pytest.param(
        lambda: answering({"output": made.rows_of(8, 3 * (CELLS + 1))}, said=V5),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["YOLOv5 or YOLOv7"],
        id="YOLOv5 with a fourth level",
    ),
    pytest.param(
        lambda: two(made.rows_of(16, 3 * CELLS), PROTOS, said=V5), {"task": Task.SEGMENT}, "UnsupportedModel", ["YOLOv5 or YOLOv7"], id="YOLOv5 segment"
    ),
    pytest.param(
        lambda: answering({name: made.random(1, 3, n, n, 8) for name, n in (("p3", 8), ("p4", 4), ("p5", 2))}, said=V5),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["maps of the head's levels", "YOLOv3, v5 and v7"],
        id="YOLOv7 with three raw heads",
    ),
    pytest.param(
        lambda: answering({name: made.random(1, 24, n, n) for name, n in (("p3", 8), ("p4", 4), ("p5", 2))}, said={}),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["maps of the head's levels"],
        id="YOLOv4 with three maps",
    ),
    pytest.param(
        lambda: answering({"output": np.repeat(made.columns(made.random(1, 7)), 5, axis=0)}, declared={"output": ["k", 7]}, shape=(1, 3, SIZE, SIZE), said={}),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["one list of rows", "YOLOv7 with ONNX Runtime's NMS"],
        id="YOLOv7 end2end for ONNX Runtime: k x 7",
    ),
    pytest.param(
        lambda: answering(
            {
                "num_dets": np.ones((1, 1), np.float32),
                "det_boxes": made.corners(100),
                "det_scores": made.random(1, 100),
                "det_classes": np.zeros((1, 100), np.float32),
            },
            said=V5,
        ),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["TensorRT's NMS"],
        id="number, boxes, scores and classes apart",
    ),
    pytest.param(
        lambda: answering({"output": made.rows_of(8)}, said=V5), {"task": Task.DETECT}, "UnsupportedModel", ["YOLOX", "objectness"], id="YOLOX and YOLOv6"
    ),
    pytest.param(
        lambda: answering({"output0": made.rows_of(7)}),
        {},
        "UnsupportedModel",
        ["one row per anchor", "docs/onnx.md"],
        id="YOLOv8 with rows and columns swapped",
    ),
    pytest.param(
        lambda: answering({"output0": made.rows_of(7)}, said={}), {"task": Task.DETECT}, "UnsupportedModel", ["one row per anchor"], id="the same without names"
    ),
    pytest.param(
        lambda: answering({"output0": made.columns(made.boxes(300, unit=True), made.random(1, 300, 3))}),
        {},
        "UnsupportedModel",
        ["RT-DETR", "takes no URL"],
        id="RT-DETR of Ultralytics to 8.3: boxes and scores per class",
    ),
    pytest.param(
        lambda: answering({"output0": made.columns(made.boxes(300, unit=True), made.final()[..., 4:])}, said=SAID | {"head": "RTDETRDecoder"}),
        {},
        "UnsupportedModel",
        ["RT-DETR"],
        id="RT-DETR of Ultralytics 8.4: six values, boxes as parts of the picture",
    ),
    pytest.param(lambda: answering({"output0": made.rows_of(7, 300)}), {}, "UnsupportedModel", ["RT-DETR"], id="300 rows, as many as no picture has anchors"),
    pytest.param(
        lambda: answering({"output0": made.final()[..., [0, 1, 2, 3, 5, 4]]}),
        {},
        "UnsupportedModel",
        ["6 values per row", "whole number as class", "without NMS"],
        id="an NMS that puts the class before the score",
    ),
    pytest.param(
        lambda: two(made.boxes(300, unit=True), made.random(1, 300, 80), ("pred_boxes", "logits"), said={}),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["boxes apart from scores", "RT-DETR"],
        id="RT-DETR and DETR with two outputs",
    ),
    pytest.param(
        lambda: answering({"labels": made.random(1, 300), "boxes": made.corners(300), "scores": made.random(1, 300)}, said={}),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["boxes apart from scores"],
        id="RT-DETR of its own project: labels, boxes, scores",
    ),
    pytest.param(
        lambda: two(made.corners(CELLS), made.random(1, CELLS, 80), ("boxes", "scores"), said={}),
        {"task": Task.DETECT},
        "UnsupportedModel",
        ["YOLO-NAS, DAMO-YOLO, PP-YOLOE"],
        id="YOLO-NAS",
    ),
    pytest.param(
        lambda: answering({"output0": made.raw(7)}, more_inputs={"scale_factor": ["batch", 2]}),
        {},
        "UnsupportedModel",
        ["2 inputs", "scale_factor", "PP-YOLOE"],
        id="a picture and its scale",
    ),
    pytest.param(
        lambda: answering({"output0": made.raw(7)}, shape=("batch", SIZE, SIZE, 3), datatype=TensorProto.UINT8),
        {},
        "UnsupportedModel",
        ["channels last"],
        id="8 bits, channels last",
    ),
    pytest.param(
        lambda: answering({"output0": made.raw(7)}, datatype=TensorProto.UINT8), {}, "UnsupportedModel", ["UINT8", "0 to 1", "FP32 input"], id="8 bits"
    ),
    pytest.param(
        lambda: answering({"output0": made.columns(made.boxes(CELLS), made.logits(3)).transpose(0, 2, 1)}),
        {},
        "UnsupportedModel",
        ["scores from -", "0 to 1"],
        id="scores before their sigmoid",
    ),
    pytest.param(
        lambda: answering({"output0": made.columns(made.boxes(CELLS, unit=True), made.random(1, CELLS, 3)).transpose(0, 2, 1)}),
        {},
        "UnsupportedModel",
        ["parts of the picture", "pixels"],
        id="boxes as parts of the picture",
    ),
    pytest.param(
        lambda: answering({"output0": np.array([[-3.0, 7.5, 0.1]], np.float32)}, said=CLASSIFY),
        {},
        "UnsupportedModel",
        ["Softmax"],
        id="a classifier of logits",
    ),
    pytest.param(
        lambda: answering({"output0": np.array([[0.7, 0.2, 0.1]], np.float32)}, shape=("batch", 4, SIZE, SIZE), said=CLASSIFY),
        {},
        "UnsupportedModel",
        ["3 channels only"],
        id="a classifier of four channels",
    ),
    pytest.param(
        lambda: two(PROTOS, made.raw(15), said=SEGMENT), {}, "UnsupportedModel", ["order of their names", "rename"], id="prototypes whose name comes first"
    ),
    pytest.param(
        lambda: detector(said=SAID | {"names": {i: f"class{i}" for i in range(80)}}),
        {},
        "InvalidOnnx",
        ["contradicts itself", "names 80 classes", "those of 3"],
        id="80 names, three classes",
    ),
    pytest.param(lambda: detector(said=SAID | {"names": ["a", "b"]}), {}, "InvalidOnnx", ["names 2 classes", "those of 3"], id="fewer names than classes"),
    pytest.param(
        lambda: answering({"output0": made.final()}, said=SAID | {"names": ["a", "b"]}),
        {},
        "InvalidOnnx",
        ["names 2 classes", "those of 3"],
        id="final detections of more classes than names",
    ),
    pytest.param(
        lambda: answering({"output0": np.array([[0.7, 0.3]], np.float32)}, said=CLASSIFY), {}, "InvalidOnnx", ["names 3 classes"], id="a classifier of fewer"
    ),
    pytest.param(lambda: detector(said=SAID | {"names": {0: "a", 2: "c", 3: "d"}}), {}, "InvalidOnnx", ["none of index 1"], id="names with a gap"),
    pytest.param(lambda: answering({"output0": made.final()}, said={}), {"task": Task.DETECT}, "InvalidOnnx", ["no class names"], id="final, without names"),
    pytest.param(
        lambda: answering({"output0": made.raw(7)}, declared={"output0": ["batch", 9, CELLS]}),
        {},
        "InvalidOnnx",
        ["declared as [-1, 9, 84]", "is [1, 7, 84]"],
        id="an output that is not what it declares",
    ),
    pytest.param(
        lambda: answering({"output0": np.full((1, 7, CELLS), np.nan, np.float32)}), {}, "InvalidOnnx", ["no finite numbers", "FP32"], id="NaN in the answers"
    ),
    pytest.param(lambda: answering({"output0": made.raw(8)}, said=V5), {"task": Task.DETECT}, "TaskMismatch", ["outputs of obb"], id="an obb as detect"),
    pytest.param(lambda: detector(said=SEGMENT), {}, "InvalidOnnx", ["metadata says segment", "those of detect"], id="a detector that says segment"),
    pytest.param(lambda: detector(said=V5), {"task": Task.SEGMENT}, "TaskMismatch", ["outputs of detect"], id="a detector as segment"),
    pytest.param(
        lambda: answering({"output0": np.array([[0.7, 0.2, 0.1]], np.float32)}, said=V5),
        {"task": Task.DETECT},
        "TaskMismatch",
        ["outputs of classify"],
        id="a classifier as detect",
    ),
    pytest.param(lambda: detector(said=V5), {"task": Task.CLASSIFY}, "TaskMismatch", ["outputs of detect"], id="a detector as classifier"),
    pytest.param(lambda: detector(ir_version=99), {}, "OnnxTooNew", ["IR version 99", "older opset"], id="an IR of the future"),
    pytest.param(lambda: detector(opset=99, ir_version=12), {}, "OnnxTooNew", ["opset 99"], id="an opset of the future"),
    pytest.param(lambda: detector(weights=TensorProto.BFLOAT16), {}, "InvalidOnnx", ["'images' is BFLOAT16"], id="BF16 outside"),
    pytest.param(
        lambda: detector(weights=TensorProto.BFLOAT16, ports=TensorProto.FLOAT), {}, "InvalidOnnx", ["ONNX Runtime cannot load", "bfloat16"], id="BF16 inside"
    ),
    pytest.param(lambda: detector(said=V5), {}, "TaskUnknown", ["set spec.task"], id="a task that nobody says"),
    pytest.param(lambda: detector(said=SAID | {"task": "semantic"}), {}, "NotYoloWeights", ["semantic"], id="a task that is not served"),
]


@pytest.mark.parametrize(("make", "options", "reason", "words"), REFUSED)
def test_refused(make, options, reason, words, tmp_path):
    with pytest.raises(InvalidSpec) as caught:
        described(make(), tmp_path, **options)
    assert caught.value.reason == reason, caught.value.message
    for word in words:
        assert word in caught.value.message


def fixed_to_one() -> onnx.ModelProto:
    """Declares any batch; a Reshape inside is for one picture."""
    model = detector()
    for weight in model.graph.initializer:
        if weight.name == "flat":
            weight.CopyFrom(numpy_helper.from_array(np.array([1, 7, -1], np.int64), "flat"))
    return model


def test_any_batch_declared_and_one_picture_answered(tmp_path):
    with pytest.raises(InvalidSpec, match="declares any batch") as caught:
        described(fixed_to_one(), tmp_path)
    assert caught.value.reason == "InvalidOnnx"


SNIPPET = re.search(r"```python\n(.*?\n)\n\nonnx.save", (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("values", "objectness"), [pytest.param(8, True, id="YOLOv5"), pytest.param(7, False, id="rows and columns swapped")])
def test_what_the_page_rewrites_is_served_with_the_same_answers(values, objectness, tmp_path):
    page: dict[str, Any] = {}
    assert SNIPPET
    exec(SNIPPET[1], page)
    rows = made.rows_of(values, 3 * CELLS)
    model = answering({"output": rows}, declared={"output": ANY}, said=V5)
    exported = described(page["columns"](model, classes=3, objectness=objectness), tmp_path, task=Task.DETECT)
    assert exported.report.names == NAMES
    scores = rows[..., 5:] * rows[..., 4:5] if objectness else rows[..., 4:]
    wanted = np.concatenate([rows[..., :4], scores], axis=-1).transpose(0, 2, 1)
    np.testing.assert_allclose(exported.golden.outputs["output"], wanted, rtol=1e-5)
