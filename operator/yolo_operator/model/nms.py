"""Non-maximum suppression in the graph, for any batch: nodes that follow Ultralytics' raw output.

Ultralytics' own `nms=True` unrolls a loop over the batch that it was traced with, so it answers for no other; its client pads and cuts. ONNX's
NonMaxSuppression takes a whole batch. It is appended to the exported file and not written in PyTorch: PyTorch's exporters know that
operator for one picture only.

What comes out equals `ultralytics.utils.nms.non_max_suppression` of the raw output: the same candidates (best class of an anchor, its score above the
confidence), boxes of other classes moved apart by 7680 pixels, the same order and the same ties (the first anchor). Its two limits that
are not here: 30,000 candidates, which a picture below 1216 pixels cannot have, and two seconds. Oriented boxes, for which ONNX has no
operator, are compared pair by pair as there (`TorchNMS.fast_nms` with `batch_probiou`), among the best 2048 candidates of a picture.
"""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from yolo_operator.core.contract import Task
from yolo_operator.model.surgery import Surgeon, declare, dimensions

CLASS_OFFSET = 7680
"""Pixels between the boxes of one class and the next: max_wh of Ultralytics."""
ORIENTED_CANDIDATES = 2048
"""Their overlaps are a square of this side per picture, 17 MB. TensorRT selects no more than 3840."""
EPSILON = 1e-7
"""Of batch_probiou."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """What is kept: arguments of Ultralytics' predict by their own names. Text: the input of the graph that has it, FP32, batch x 1, the same for each picture."""

    conf: float | str = 0.25
    iou: float | str = 0.7
    max_det: int = 300
    agnostic_nms: bool = False


def append(model: ModelProto, suppression: Suppression, *, task: Task, classes: int, channels: int) -> None:
    """Replace the first output, batch x channels x anchors, by batch x maxDetections x (x1 y1 x2 y2 score class extras).

    Oriented boxes stay centre, width, height. Best first; rows of zeros where nothing is left. Other outputs stay as they are.
    """
    surgeon = Surgeon(model, "nms")
    raw, declared = surgeon.detach_output()
    best = surgeon.reduce("ReduceMax", surgeon.part(raw, 4, 4 + classes), 1)
    kind = surgeon.node("ArgMax", surgeon.part(raw, 4, 4 + classes), axis=1, keepdims=1)
    kind = surgeon.node("Cast", kind, to=TensorProto.FLOAT)
    extras = [surgeon.part(raw, 4 + classes, channels)] if channels > 4 + classes else []
    oriented = task is Task.OBB
    boxes = surgeon.part(raw, 0, 4) if oriented else corners(surgeon, raw)
    offset = None if suppression.agnostic_nms else surgeon.node("Mul", kind, surgeon.number(CLASS_OFFSET))
    if oriented:
        score, at = oriented_survivors(surgeon, boxes, extras[0], best, offset, suppression)
    else:
        score, at = survivors(surgeon, boxes, best, offset, suppression)
    width = 6 + channels - 4 - classes
    rows = surgeon.node("Concat", boxes, best, kind, *extras, axis=1)
    found = surgeon.node("Greater", score, surgeon.number(0))
    picked = surgeon.node("GatherElements", rows, wide(surgeon, at, width), axis=2)
    kept = surgeon.node("Where", found, picked, surgeon.number(0))
    surgeon.attach_output(surgeon.node("Transpose", kept, perm=[0, 2, 1]), declared)
    declare(declared, TensorProto.FLOAT, [dimensions(model.graph.input[0])[0], suppression.max_det, width])


def corners(surgeon: Surgeon, raw: str) -> str:
    """Centre, width, height to x1 y1 x2 y2."""
    centre, size = surgeon.part(raw, 0, 2), surgeon.part(raw, 2, 4)
    half = surgeon.node("Div", size, surgeon.number(2))
    return surgeon.node("Concat", surgeon.node("Sub", centre, half), surgeon.node("Add", centre, half), axis=1)


def survivors(surgeon: Surgeon, boxes: str, best: str, offset: str | None, suppression: Suppression) -> tuple[str, str]:
    """Scores of what NonMaxSuppression keeps, best first, and their anchors: batch x 1 x maxDetections both."""
    moved = surgeon.node("Add", boxes, offset) if offset else boxes
    selected = surgeon.node(
        "NonMaxSuppression",
        surgeon.node("Transpose", moved, perm=[0, 2, 1]),
        best,
        surgeon.integers(suppression.max_det),
        threshold(surgeon, suppression.iou),
        threshold(surgeon, suppression.conf),
    )
    # Rows of picture, class (0) and anchor: indices into the scores as they are.
    nothing = surgeon.node("Mul", best, surgeon.number(0))
    kept = surgeon.node("ScatterND", nothing, selected, surgeon.node("GatherND", best, selected))
    return best_first(surgeon, kept, suppression.max_det)


def oriented_survivors(surgeon: Surgeon, boxes: str, angle: str, best: str, offset: str | None, suppression: Suppression) -> tuple[str, str]:
    """As `survivors`; a box goes where any better one, itself kept or not, overlaps it by more than the limit."""
    candidate = surgeon.node("Greater", best, scalar(surgeon, suppression.conf))
    masked = surgeon.node("Where", candidate, best, surgeon.number(0))
    count = most_candidates(surgeon, candidate)
    scores, at = surgeon.nodes("TopK", masked, surgeon.node("Reshape", count, surgeon.integers(1)), outputs=2, axis=2)
    centre = surgeon.part(boxes, 0, 2)
    moved = surgeon.node("Add", centre, offset) if offset else centre
    shapes = surgeon.node("Concat", moved, surgeon.part(boxes, 2, 4), angle, axis=1)
    ranked = surgeon.node("GatherElements", shapes, wide(surgeon, at, 5), axis=2)
    over = surgeon.node("Greater", oriented_overlap(surgeon, ranked), scalar(surgeon, suppression.iou))
    rank = surgeon.node("Range", surgeon.constant(0, np.int64), count, surgeon.constant(1, np.int64))
    better = surgeon.node("Less", surgeon.node("Reshape", rank, surgeon.integers(1, -1, 1)), rank)
    worst = surgeon.reduce("ReduceMax", surgeon.node("Cast", surgeon.node("And", over, better), to=TensorProto.FLOAT), 1)
    kept = surgeon.node("Where", surgeon.node("Greater", worst, surgeon.number(0)), surgeon.number(0), scores)
    score, position = best_first(surgeon, kept, suppression.max_det)
    return score, surgeon.node("GatherElements", at, position, axis=2)


def most_candidates(surgeon: Surgeon, candidate: str) -> str:
    """How many candidates the picture with the most has, within 1 and ORIENTED_CANDIDATES: a scalar."""
    counts = surgeon.reduce("ReduceSum", surgeon.node("Cast", candidate, to=TensorProto.FLOAT), 2)
    most = surgeon.reduce("ReduceMax", counts, 0)
    bounded = surgeon.node("Clip", most, surgeon.number(1), surgeon.number(ORIENTED_CANDIDATES))
    return surgeon.node("Reshape", surgeon.node("Cast", bounded, to=TensorProto.INT64), surgeon.integers())


def oriented_overlap(surgeon: Surgeon, ranked: str) -> str:
    """batch_probiou of batch x (x y w h angle) x n with itself: batch x n x n, in the same order of operations."""
    op, number = surgeon.node, surgeon.number

    def square(tensor: str) -> str:
        return op("Mul", tensor, tensor)

    def other(tensor: str) -> str:
        return op("Transpose", tensor, perm=[0, 2, 1])

    x, y, angle = surgeon.part(ranked, 0, 1), surgeon.part(ranked, 1, 2), surgeon.part(ranked, 4, 5)
    width, height = (op("Div", square(surgeon.part(ranked, at, at + 1)), number(12)) for at in (2, 3))
    cos, sin = op("Cos", angle), op("Sin", angle)
    a = op("Add", op("Mul", width, square(cos)), op("Mul", height, square(sin)))
    b = op("Add", op("Mul", width, square(sin)), op("Mul", height, square(cos)))
    c = op("Mul", op("Mul", op("Sub", width, height), cos), sin)
    a_sum, b_sum, c_sum = (op("Add", other(each), each) for each in (a, b, c))
    dx, dy = op("Sub", x, other(x)), op("Sub", other(y), y)
    area = op("Sub", op("Mul", a_sum, b_sum), square(c_sum))
    divisor = op("Add", area, number(EPSILON))
    first = op("Add", op("Mul", a_sum, square(dy)), op("Mul", b_sum, square(dx)))
    first = op("Mul", op("Div", first, divisor), number(0.25))
    second = op("Mul", op("Div", op("Mul", op("Mul", c_sum, dx), dy), divisor), number(0.5))
    own = op("Clip", op("Sub", op("Mul", a, b), square(c)), number(0))
    root = op("Mul", op("Sqrt", op("Mul", other(own), own)), number(4))
    third = op("Add", op("Div", area, op("Add", root, number(EPSILON))), number(EPSILON))
    third = op("Mul", op("Log", third), number(0.5))
    distance = op("Clip", op("Add", op("Add", first, second), third), number(EPSILON), number(100))
    apart = op("Add", op("Sub", number(1), op("Exp", op("Neg", distance))), number(EPSILON))
    return op("Sub", number(1), op("Sqrt", apart))


def best_first(surgeon: Surgeon, kept: str, most: int) -> tuple[str, str]:
    """The `most` best of batch x 1 x n and their places; score 0 and place 0 where there are fewer."""
    # Small pictures have fewer anchors than detections are asked for.
    padded = surgeon.node("Pad", kept, surgeon.integers(0, 0, 0, 0, 0, most))
    score, place = surgeon.nodes("TopK", padded, surgeon.integers(most), outputs=2, axis=2)
    found = surgeon.node("Greater", score, surgeon.number(0))
    return score, surgeon.node("Where", found, place, surgeon.constant(0, np.int64))


def wide(surgeon: Surgeon, at: str, channels: int) -> str:
    """The same anchors for each channel: batch x 1 x n to batch x channels x n."""
    return surgeon.node("Expand", at, surgeon.integers(1, channels, 1))


def threshold(surgeon: Surgeon, value: float | str) -> str:
    """One number, as NonMaxSuppression takes it; the first picture's, where it is an input."""
    if isinstance(value, str):
        return surgeon.node("Slice", surgeon.node("Reshape", value, surgeon.integers(-1)), surgeon.integers(0), surgeon.integers(1))
    return surgeon.constant([not_above(value)], np.float32)


def scalar(surgeon: Surgeon, value: float | str) -> str:
    """The same for a comparison with a tensor."""
    return threshold(surgeon, value) if isinstance(value, str) else surgeon.number(value)


def not_above(limit: float) -> np.float32:
    """The largest FP32 that is no more than `limit`: torchvision compares FP32 overlaps with the limit in FP64."""
    nearest = np.float32(limit)
    return nearest if float(nearest) <= limit else np.nextafter(nearest, np.float32(-1))
