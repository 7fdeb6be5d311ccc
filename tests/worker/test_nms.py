"""NMS in the graph, run by ONNX's reference evaluator, against the loop that Ultralytics and torchvision have."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from yolo_operator.core.contract import Task
from yolo_operator.core.triton import config as triton_config
from yolo_operator.core.triton import picture_models
from yolo_operator.core.triton.config import Port
from yolo_operator.model import nms, onnx_file, picture_graphs, surgery
from yolo_operator.model.nms import Suppression
from yolo_values import description, serving

CLASSES, ANCHORS = 3, 40
EXTRAS = {Task.DETECT: 0, Task.SEGMENT: 32, Task.POSE: 6, Task.OBB: 1}


def raw(task: Task = Task.DETECT, batch: int = 2, anchors: int = ANCHORS, seed: int = 0) -> np.ndarray:
    """Outputs as Ultralytics has them: boxes that overlap, scores of which some are equal."""
    random = np.random.default_rng(seed)
    boxes = np.concatenate((random.uniform(0, 60, (batch, 2, anchors)), random.uniform(20, 40, (batch, 2, anchors))), axis=1)
    scores = random.integers(0, 90, (batch, CLASSES, anchors)) / 100
    return np.concatenate((boxes, scores, random.normal(size=(batch, EXTRAS[task], anchors))), axis=1).astype(np.float32)


def with_nms(suppression: Suppression, task: Task = Task.DETECT, opset: int = 18) -> onnx.ModelProto:
    """A model that gives its input, with NMS after it."""
    channels = 4 + CLASSES + EXTRAS[task]
    shape = ["batch", channels, "anchors"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["output0"])],
        "given",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    nms.append(model, suppression, task=task, classes=CLASSES, channels=channels)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, given: np.ndarray) -> np.ndarray:
    (answer,) = ReferenceEvaluator(model).run(None, {"images": given})
    return answer


def expected(given: np.ndarray, suppression: Suppression, *, oriented: bool = False) -> np.ndarray:
    """One picture after the other: best first, a box goes where a better one of its class that is kept (oriented: any better one) overlaps it."""
    rows = np.zeros((len(given), suppression.max_det, given.shape[1] - CLASSES + 2), np.float32)
    for picture, answer in zip(given, rows, strict=True):
        scores, classes = picture[4 : 4 + CLASSES].max(axis=0), picture[4 : 4 + CLASSES].argmax(axis=0)
        centre, half = picture[:2], picture[2:4] / 2
        corners = np.concatenate((centre - half, centre + half)).T
        order = [at for at in np.argsort(-scores, kind="stable") if scores[at] > suppression.conf]
        kept: list[int] = []
        for place, at in enumerate(order):
            rivals = [other for other in (order[:place] if oriented else kept) if suppression.agnostic_nms or classes[other] == classes[at]]
            overlap = probabilistic_iou if oriented else iou
            boxes = np.concatenate((picture[:4], picture[-1:])).T if oriented else corners
            if not any(overlap(boxes[other], boxes[at]) > suppression.iou for other in rivals):
                kept.append(at)
        for row, at in zip(answer, kept, strict=False):
            row[:] = [*(picture[:4, at] if oriented else corners[at]), scores[at], classes[at], *picture[4 + CLASSES :, at]]
    return rows


def iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(sides.prod() / (sum(areas) - sides.prod()))


def probabilistic_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Of two Gaussians with the boxes' spread: 1 minus their Hellinger distance (https://arxiv.org/abs/2106.06072)."""
    spreads = []
    for _, _, width, height, angle in (one.astype(np.float64), other.astype(np.float64)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        spreads.append(turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T)
    mean, apart = (spreads[0] + spreads[1]) / 2, (one[:2] - other[:2]).astype(np.float64)
    distance = apart @ np.linalg.inv(mean) @ apart / 8
    distance += np.log(np.linalg.det(mean) / np.sqrt(np.linalg.det(spreads[0]) * np.linalg.det(spreads[1]))) / 2
    return float(1 - np.sqrt(max(1 - np.exp(-distance), 0)))


@pytest.mark.parametrize("task", list(EXTRAS))
@pytest.mark.parametrize(
    "suppression",
    [
        pytest.param(Suppression(iou=0.5), id="as predict does"),
        pytest.param(Suppression(iou=0.5, agnostic_nms=True), id="whatever the class"),
        pytest.param(Suppression(iou=0.5, max_det=5), id="more found than wanted"),
        pytest.param(Suppression(conf=0.0, iou=0.3), id="any score"),
        pytest.param(Suppression(conf=1.0), id="nothing found"),
    ],
)
def test_each_picture_of_a_batch_gets_its_own_detections(task, suppression):
    given = raw(task, batch=3)
    given[1, 4 : 4 + CLASSES] = 0
    answer = run(with_nms(suppression, task), given)
    assert answer == pytest.approx(expected(given, suppression, oriented=task is Task.OBB), abs=1e-4)


@pytest.mark.parametrize("task", list(EXTRAS))
def test_thresholds_may_be_inputs(task):
    """As in the graph that stands by itself behind a model whose pictures come as files."""
    raw_answers = raw(task)
    shape = (4 + CLASSES + EXTRAS[task], -1)
    thresholds = [Port(name=name, datatype="FP32", dims=(1,)) for name in ("confidence", "iou")]
    rows = Port(name="rows", datatype="FP32", dims=(20, 6 + EXTRAS[task]))
    beside = triton_config.configure(description(), serving(max_batch_size=4))
    config = picture_models.onnx_model(
        "nms", beside, (Port(name="output0", datatype="FP32", dims=shape), *thresholds), (rows,), warm=((shape[0], 4), (1,), (1,))
    )
    model = onnx.load_from_string(picture_graphs.suppress(config, task=task, classes=CLASSES))
    onnx.checker.check_model(model, full_check=True)
    for conf, limit in ((0.25, 0.5), (0.0, 0.3), (0.6, 0.9)):
        given = {"output0": raw_answers, **{name: np.full((2, 1), value, np.float32) for name, value in (("confidence", conf), ("iou", limit))}}
        (answer,) = ReferenceEvaluator(model).run(None, given)
        wanted = expected(raw_answers, Suppression(conf=conf, iou=limit, max_det=20), oriented=task is Task.OBB)
        assert answer == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21])
@pytest.mark.parametrize("task", [Task.DETECT, Task.OBB])
def test_every_opset_that_the_spec_takes(opset, task):
    given, suppression = raw(task), Suppression(iou=0.5)
    assert run(with_nms(suppression, task, opset), given) == pytest.approx(expected(given, suppression, oriented=task is Task.OBB), abs=1e-4)


def test_a_picture_with_fewer_anchors_than_detections_are_asked_for():
    given, suppression = raw(anchors=4), Suppression(conf=0.1)
    answer = run(with_nms(suppression), given)
    assert answer.shape == (2, 300, 6)
    assert answer == pytest.approx(expected(given, suppression), abs=1e-4)


def test_boxes_of_different_classes_do_not_meet_far_out():
    given = np.zeros((1, 4 + CLASSES, 2), np.float32)
    given[0, :4] = [[8000, 8000]] * 2 + [[300, 300]] * 2
    given[0, 4:, 0], given[0, 4:, 1] = [0.9, 0, 0], [0, 0.8, 0]
    assert (run(with_nms(Suppression()), given)[0, :, 4] > 0).sum() == 2
    assert (run(with_nms(Suppression(agnostic_nms=True)), given)[0, :, 4] > 0).sum() == 1


@pytest.mark.parametrize("task", [Task.DETECT, Task.OBB])
def test_triton_may_be_given_it(task, tmp_path):
    (tmp_path / "model.onnx").write_bytes(with_nms(Suppression(), task).SerializeToString())
    facts, _ = onnx_file.inspect(tmp_path / "model.onnx")
    assert facts.outputs[0].shape == [-1, 300, 6 + EXTRAS[task]]


def test_the_output_declares_what_comes_out():
    (output,) = with_nms(Suppression(max_det=20), Task.OBB).graph.output
    assert surgery.dimensions(output) == ["batch", 20, 7]


def model_of_two(opset: int = 17) -> onnx.ModelProto:
    """Halves its input, and gives the input too."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("images", "output0", "output1")]
    nodes = [
        helper.make_node("Mul", ["images", "half"], ["output0"]),
        helper.make_node("Identity", ["images"], ["output1"]),
    ]
    graph = helper.make_graph(nodes, "two", values[:1], values[1:], [helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_types_change_at_the_border_alone():
    model = model_of_two()
    surgery.half_input(model)
    surgery.half_output(model, 1)
    onnx.checker.check_model(model, full_check=True)
    one, other = ReferenceEvaluator(model).run(None, {"images": np.array([[0.3, 1]], np.float16)})
    assert (one.dtype, other.dtype) == (np.float32, np.float16)
    assert one[0, 0] == np.float32(np.float16(0.3)) / 2, "computed in FP32"
    assert other[0, 0] == np.float16(0.3)


def test_pixels_of_eight_bits_stay_apart_in_half_precision():
    pixels = np.arange(256, dtype=np.float32) / 255
    assert np.rint(pixels.astype(np.float16).astype(np.float32) * 255).tolist() == list(range(256))
