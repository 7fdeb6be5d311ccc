"""What an ONNX that was made elsewhere answers with, recognised from the arrays themselves and not from what it declares.

The Ultralytics client reads two forms: raw (N x 4 + classes + extras x anchors; boxes as centre, width, height in pixels, scores 0..1) and
final (N x rows x 6 + extras: x1 y1 x2 y2 score class). Every other one it would read as one of these, and answer nonsense: so it is refused
by the name of the family that has it. Ultralytics 8.4.190: utils/nms.py, models/yolo/*/predict.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.signature import RANKS, out_of_order
from yolo_operator.exporter.reference import Array

MAX_FINAL_ROWS = 1000
"""More rows are anchors, unless the metadata says that they are final: heads keep 300, an embedded NMS `max_det`."""
SLACK = 0.05
"""By which quantized and half-precision scores may be outside 0..1."""
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Of the heads' levels: usual, with P6, with P2, of the tiny models."""
ANCHORS_PER_CELL = 3
RETRAIN = "train it with Ultralytics, whose own versions of it end in u (yolov5su.pt), and give the .pt, or rewrite its end as docs/onnx.md shows"
REWRITE = "export it with Ultralytics, or rewrite its end as docs/onnx.md shows"
OTHER = "serve it with its own project's client, or give a YOLO's weights as .pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the metadata and the spec say of the model."""

    task: Task
    task_in_metadata: bool = True
    """False where only the spec says it, which may be mistaken."""
    names: tuple[str, ...] = ()
    """Class names that the metadata brings, in the order of their index."""
    kpt_shape: tuple[int, ...] = ()
    nms: bool = False
    end_to_end: bool = False
    head: str = ""
    """Name of the head's class, which Ultralytics writes since 8.4."""
    image_size: tuple[int, int] = (640, 640)

    @property
    def classes(self) -> int:
        """By the names; 0 where there are none."""
        return len(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the answers are, where the client can read them."""

    classes: int
    final: bool = False
    kpt_shape: tuple[int, ...] = ()


def recognise(outputs: Mapping[str, Array], declared: Declared) -> Found:
    """Look at the answers to one picture. Raises InvalidSpec: UnsupportedModel, TaskMismatch, InvalidOnnx."""
    ordered = [outputs[name] for name in sorted(outputs)]
    seen = ", ".join(f"{name} {list(outputs[name].shape)}" for name in sorted(outputs))[:200]
    check_finite(outputs)
    if [array.ndim for array in ordered] != RANKS[declared.task]:
        raise other_outputs(ordered, seen, declared)
    if declared.task is Task.CLASSIFY:
        return probabilities(ordered[0], seen, declared)
    return detections(ordered, seen, declared)


def check_finite(outputs: Mapping[str, Array]) -> None:
    """Raises InvalidSpec InvalidOnnx for NaN and infinity, which half-precision weights bring where they overflow."""
    odd = next((name for name in sorted(outputs) if not np.isfinite(outputs[name]).all()), None)
    if odd is not None:
        raise InvalidSpec("InvalidOnnx", f"output {odd!r} has values that are no finite numbers on a photograph: export it in FP32")


def other_outputs(ordered: list[Array], seen: str, declared: Declared) -> InvalidSpec:
    """Whose outputs these are, where they are not as many and of as many dimensions as the task has."""
    ranks = [array.ndim for array in ordered]
    if sorted(ranks) == RANKS[declared.task]:
        return out_of_order(seen)
    planes = [array for array in ordered if array.ndim == 3]
    if 5 in ranks or ranks.count(4) > 1:
        return unsupported(f"{seen}: maps of the head's levels, as YOLOv3, v5 and v7 give them where their end is left out: {RETRAIN}")
    if len(ordered) == 4 and any(array.shape[-1] == 4 for array in planes):
        return unsupported(f"{seen}: number, boxes, scores and classes apart, as TensorRT's NMS gives them: export it without NMS")
    if len(ordered) > 1 and any(array.shape[-1] == 4 for array in planes):
        return unsupported(f"{seen}: boxes apart from scores, as YOLO-NAS, DAMO-YOLO, PP-YOLOE, DETR and RT-DETR of other projects give them: {OTHER}")
    if ranks == RANKS[Task.CLASSIFY] and ordered[0].shape[1] == (declared.classes or -1):
        return mismatch(seen, declared, Task.CLASSIFY)
    if 2 in ranks and (ordered[ranks.index(2)].shape[1] in (6, 7)):
        return unsupported(
            f"{seen}: one list of rows for all pictures, as YOLOv7 with ONNX Runtime's NMS and PP-YOLOE give them; export it without NMS, then {RETRAIN}"
        )
    fitting = next((task for task, wanted in RANKS.items() if ranks == wanted), None)
    if fitting is not None:
        return mismatch(seen, declared, fitting)
    return unsupported(f"{seen}: a {declared.task} model that the Ultralytics client reads has outputs of {RANKS[declared.task]} dimensions: {OTHER}")


def probabilities(array: Array, seen: str, declared: Declared) -> Found:
    """A classifier's answer: N x classes, 0..1. The client shows them as they come."""
    classes = array.shape[1]
    if declared.classes and declared.classes != classes:
        raise contradiction(seen, declared, classes)
    if not within_unit(array):
        raise unsupported(
            f"{seen}: values from {array.min():.2g} to {array.max():.2g} where the Ultralytics client shows probabilities: end the graph in Softmax"
        )
    return Found(classes=classes)


def detections(ordered: list[Array], seen: str, declared: Declared) -> Found:
    """Raw or final detections of a task with boxes."""
    first, names = ordered[0], declared.classes
    per_row, kpt_shape = extras(ordered, declared)
    _, rows, values = first.shape
    few = rows <= MAX_FINAL_ROWS
    if (few or declared.nms or declared.end_to_end) and values == 6 + per_row and is_final(first):
        return final(first, seen, declared)
    if names and rows == 4 + names + per_row:
        check_raw(first, names, seen)
        return Found(classes=names, kpt_shape=kpt_shape)
    check_queries(first, per_row, seen, declared)
    check_rows(first, per_row, seen, declared)
    classes = rows - 4 - per_row
    if classes < 1:
        raise InvalidSpec("TaskMismatch", f"{seen}: {rows} values per detection are none of {declared.task}: check spec.task")
    if names:
        raise other_task(rows, seen, declared) or contradiction(seen, declared, classes)
    check_raw(first, classes, seen)
    return Found(classes=classes, kpt_shape=kpt_shape)


def extras(ordered: list[Array], declared: Declared) -> tuple[int, tuple[int, ...]]:
    """Values per detection after its scores, and for pose the keypoints' shape: declared, or what the number of values leaves."""
    match declared.task:
        case Task.SEGMENT:
            return ordered[1].shape[1], ()
        case Task.OBB:
            return 1, ()
        case Task.POSE:
            _, rows, values = ordered[0].shape
            shape = declared.kpt_shape or (keypoints(rows - 4 - (declared.classes or 1)) if rows < values else ())
            if not shape:
                raise InvalidSpec("InvalidOnnx", "the ONNX does not say its keypoints (kpt_shape): export it with Ultralytics")
            return int(np.prod(shape)), shape
        case _:
            return 0, ()


def keypoints(values: int) -> tuple[int, ...]:
    """Keypoints of so many values: x, y and a visibility, or x and y alone where three do not go into them; () where neither does."""
    size = next((size for size in (3, 2) if values > 0 and values % size == 0), 0)
    return (values // size, size) if size else ()


def final(first: Array, seen: str, declared: Declared) -> Found:
    """Rows that need no NMS, whatever the metadata says: YOLOv10, YOLO26, an embedded NMS."""
    if in_unit_square(first[..., :4]):
        raise rt_detr(seen)
    if not declared.classes:
        raise InvalidSpec("InvalidOnnx", "the ONNX gives final detections and brings no class names: export it with Ultralytics")
    highest = int(np.rint(first[..., 5].max(initial=0)))
    if highest >= declared.classes:
        raise contradiction(seen, declared, highest + 1)
    return Found(classes=declared.classes, final=True, kpt_shape=declared.kpt_shape)


def is_final(array: Array) -> bool:
    """Whether rows are x1 y1 x2 y2 score class and more: a score is 0..1, a class a whole number."""
    classes = array[..., 5]
    return within_unit(array[..., 4]) and bool((classes >= 0).all()) and bool(np.isclose(classes, np.rint(classes), atol=1e-3).all())


def check_raw(first: Array, classes: int, seen: str) -> None:
    """Boxes in pixels, scores 0..1. Raises InvalidSpec UnsupportedModel."""
    scores, boxes = first[:, 4 : 4 + classes], first[:, :4]
    # Most anchors see nothing: a score near 0, but a logit far below it.
    if np.median(scores) < -SLACK:
        raise unsupported(
            f"{seen}: scores from {scores.min():.2g} to {scores.max():.2g} where the Ultralytics client wants 0 to 1: end the graph in a Sigmoid of them"
        )
    if in_unit_square(boxes):
        raise unsupported(
            f"{seen}: boxes as parts of the picture, the Ultralytics client reads them as pixels: multiply them by the picture's size in the graph"
        )


def check_queries(first: Array, per_row: int, seen: str, declared: Declared) -> None:
    """Refuse answers of a few hundred rows that are no final detections: a transformer's queries, or an NMS of another kind."""
    _, rows, values = first.shape
    if declared.head == "RTDETRDecoder":
        raise rt_detr(seen)
    if not MAX_FINAL_ROWS >= rows > values > 4:
        return
    anchors = {rows, rows / ANCHORS_PER_CELL} & cells(declared.image_size)
    if in_unit_square(first[..., :4]) or (values != 6 + per_row and not anchors):
        raise rt_detr(seen)
    if not anchors:
        raise unsupported(
            f"{seen}: {values} values per row, but not x1 y1 x2 y2, a score of 0 to 1 and a whole number as class, which the Ultralytics client reads: "
            "export it without NMS"
        )


def cells(image_size: tuple[int, int]) -> set[int]:
    """Anchors of a picture where each cell of each level has one."""
    height, width = image_size
    return {sum(-(-height // stride) * -(-width // stride) for stride in strides) for strides in STRIDES}


def check_rows(first: Array, per_row: int, seen: str, declared: Declared) -> None:
    """Refuse answers that have detections as rows: N x anchors x values. Raises InvalidSpec UnsupportedModel."""
    _, rows, values = first.shape
    one, three = rows in cells(declared.image_size), rows / ANCHORS_PER_CELL in cells(declared.image_size)
    if three and values >= 6:
        raise unsupported(f"{seen}: the output of a YOLOv5 or YOLOv7, rows with an objectness, which the Ultralytics client cannot read: {RETRAIN}")
    if declared.classes and values == 5 + declared.classes + per_row:
        raise unsupported(
            f"{seen}: rows with an objectness, as YOLOv5, v6, v7 and YOLOX give them, which the Ultralytics client cannot read: "
            f"train it with Ultralytics and give the .pt, or, where boxes are pixels, rewrite its end as docs/onnx.md shows"
        )
    if (declared.classes and values == 4 + declared.classes + per_row) or (one and not declared.classes) or rows > max(MAX_FINAL_ROWS, values):
        raise unsupported(f"{seen}: one row per anchor, the Ultralytics client reads one column per anchor (N x values x anchors): {REWRITE}")


def other_task(rows: int, seen: str, declared: Declared) -> InvalidSpec | None:
    """The mismatch, where so many values per detection are those of another task of as many classes and only the spec says the task."""
    wanted = {Task.DETECT: 4 + declared.classes, Task.OBB: 5 + declared.classes}
    fitting = next((task for task, values in wanted.items() if values == rows and RANKS[task] == RANKS[declared.task]), None)
    return mismatch(seen, declared, fitting) if fitting and not declared.task_in_metadata else None


def rt_detr(seen: str) -> InvalidSpec:
    """Boxes are parts of the picture and the picture is stretched to a square: not what YOLO(url, task="detect") does."""
    return unsupported(
        f"{seen}: the output of an RT-DETR, boxes as parts of a stretched picture; YOLO(url) of the Ultralytics client reads pixels of a padded one, "
        "and its RTDETR class takes no URL: give a YOLO's weights"
    )


def mismatch(seen: str, declared: Declared, fitting: Task) -> InvalidSpec:
    """The outputs are those of another task that is served."""
    if declared.task_in_metadata:
        return InvalidSpec("InvalidOnnx", f"the ONNX contradicts itself: its metadata says {declared.task}, its outputs ({seen}) are those of {fitting}")
    return InvalidSpec("TaskMismatch", f"the ONNX has outputs of {fitting} ({seen}), not of {declared.task}: set spec.task to {fitting}, or give other weights")


def contradiction(seen: str, declared: Declared, classes: int) -> InvalidSpec:
    """Names and outputs of different models."""
    return InvalidSpec(
        "InvalidOnnx",
        f"the ONNX contradicts itself: its metadata names {declared.classes} classes, its answers ({seen}) are those of {classes}: correct names in its metadata",
    )


def unsupported(message: str) -> InvalidSpec:
    """Another family's model."""
    return InvalidSpec("UnsupportedModel", message)


def within_unit(array: Array) -> bool:
    """Whether all values are 0..1, about."""
    return not array.size or bool(array.min() >= -SLACK and array.max() <= 1 + SLACK)


def in_unit_square(boxes: Array) -> bool:
    """Whether boxes are parts of the picture: nothing above 1, and not nothing at all."""
    return bool(boxes.any()) and within_unit(boxes)
