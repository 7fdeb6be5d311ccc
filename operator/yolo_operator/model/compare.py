"""Whether two answers to the same picture are the same answer, judged by detections and not by bytes.

Used twice: the exporter compares the ONNX with PyTorch, the verify Job compares Triton with the published reference.
Raw outputs are compared anchor by anchor, final detections as sets, and score tensors where the picture shows nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yolo_operator.core.contract import Task
from yolo_operator.core.triton.description import Description, ExportReport

Array = npt.NDArray[np.float32]

DETECTION_SCORE = 0.25
"""From this score on a detection counts: the Ultralytics client's own threshold."""
WATCHED = 100
"""Anchors whose boxes are compared where none reaches DETECTION_SCORE: the best ones."""
WORST = 1e6
"""Difference reported for an answer that is not comparable at all (another shape, NaN)."""
LIMITS = {"FP32": (0.98, 0.02), "FP16": (0.95, 0.05), "INT8": (0.75, 0.25)}
"""Per precision: the smallest IoU and the largest score difference that still are the same answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How to read a model's outputs."""

    task: Task
    classes: int
    final_detections: bool
    """An end-to-end head or an embedded NMS: rows of x1 y1 x2 y2 score class, in no promised order."""
    image_size: tuple[int, int] = (640, 640)
    keypoint_values: int = 3
    """Values per keypoint, for pose: x, y and often a visibility."""
    confidence: float = 0.0
    """Score below which an embedded NMS drops a detection; 0 where none does."""
    rounding: float = 0.0
    """Pixels that a box's coordinate may be off by the type of the answer, FP16."""

    @classmethod
    def of(cls, description: Description) -> "Layout":
        """The layout of what is described."""
        return cls.reading(description.report, description.onnx.outputs[0].datatype)

    @classmethod
    def reading(cls, report: ExportReport, datatype: str = "FP32") -> "Layout":
        """The layout of an export whose first output has this type, FP32 or FP16."""
        args = report.metadata.get("args")
        said = args.get("conf") if report.batched_nms and isinstance(args, dict) else None
        confidence = said if isinstance(said, float) else DETECTION_SCORE
        height, width = report.image_size
        return cls(
            task=report.task,
            classes=len(report.names),
            final_detections=report.end_to_end or report.nms,
            image_size=(height, width),
            keypoint_values=report.kpt_shape[-1] if report.kpt_shape else 3,
            confidence=confidence if report.nms else 0.0,
            rounding=float(np.spacing(np.float16(max(height, width)))) if datatype == "FP16" else 0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The worst of all detections and scores."""

    worst_iou: float
    worst_score_difference: float
    """Of scores and, relative to their range, of masks, keypoints and angles."""
    detections: int
    """Of the reference, at DETECTION_SCORE or above."""

    def within(self, min_iou: float, max_score_difference: float) -> bool:
        """Whether both limits are kept."""
        return self.worst_iou >= min_iou and self.worst_score_difference <= max_score_difference

    def worse(self, other: "Comparison") -> "Comparison":
        """The worse of the two in each respect."""
        return Comparison(
            worst_iou=min(self.worst_iou, other.worst_iou),
            worst_score_difference=max(self.worst_score_difference, other.worst_score_difference),
            detections=max(self.detections, other.detections),
        )


DIFFERENT = Comparison(worst_iou=0.0, worst_score_difference=WORST, detections=0)


def compare(reference: Mapping[str, npt.NDArray[np.generic]], answer: Mapping[str, npt.NDArray[np.generic]], layout: Layout) -> Comparison:
    """Compare one picture's outputs by name; arrays have a batch dimension of 1. Never raises on a wrong answer."""
    if set(reference) != set(answer):
        return DIFFERENT
    ours = {name: np.asarray(reference[name], dtype=np.float32) for name in sorted(reference)}
    theirs = {name: np.asarray(answer[name], dtype=np.float32) for name in sorted(answer)}
    if any(ours[name].shape != theirs[name].shape or not np.isfinite(theirs[name]).all() for name in ours):
        return DIFFERENT
    first, *others = sorted(ours)
    if layout.task is Task.CLASSIFY:
        found = compare_classes(ours[first], theirs[first])
    elif layout.final_detections:
        found = compare_sets(ours[first][0], theirs[first][0], layout)
    else:
        found = compare_anchors(ours[first][0], theirs[first][0], layout)
    # Masks' prototypes: one tensor for all detections of the picture.
    apart = [relative(ours[name], theirs[name]) for name in others]
    return found.worse(Comparison(worst_iou=1.0, worst_score_difference=max(apart, default=0.0), detections=found.detections))


def compare_classes(ours: Array, theirs: Array) -> Comparison:
    """Probabilities per class; there are no boxes."""
    return Comparison(worst_iou=1.0, worst_score_difference=score_difference(ours, theirs), detections=0)


def compare_anchors(ours: Array, theirs: Array, layout: Layout) -> Comparison:
    """Raw outputs, (4 + classes + extras) x anchors, boxes as centre, width, height: anchors keep their place."""
    scores, their_scores = ours[4 : 4 + layout.classes], theirs[4 : 4 + layout.classes]
    best = np.maximum(scores.max(axis=0), their_scores.max(axis=0))
    detections = int((scores.max(axis=0) >= DETECTION_SCORE).sum())
    watched = np.flatnonzero(best >= DETECTION_SCORE)
    if not watched.size:
        watched = np.argsort(-scores.max(axis=0), kind="stable")[:WATCHED]
    boxes, their_boxes = ours[:4, watched].T, theirs[:4, watched].T
    their_boxes = np.where(np.abs(boxes - their_boxes) <= layout.rounding, boxes, their_boxes)
    overlaps = iou(corners(boxes), corners(their_boxes))
    apart = max(
        score_difference(scores, their_scores),
        extras_difference(ours[4 + layout.classes :, watched], theirs[4 + layout.classes :, watched], layout),
    )
    return Comparison(worst_iou=float(overlaps.min()), worst_score_difference=apart, detections=detections)


def compare_sets(ours: Array, theirs: Array, layout: Layout) -> Comparison:
    """Final detections, rows x (4 + score + class + extras): each one must have its like in the other set."""
    detections = int((ours[:, 4] >= DETECTION_SCORE).sum())
    # What stands just above the NMS's threshold here may have been dropped there.
    lowest = layout.confidence + LIMITS["FP32"][1] if layout.confidence else -np.inf
    scores, their_scores = (np.maximum(np.sort(rows[:, 4])[::-1], lowest) for rows in (ours, theirs))
    ranked = score_difference(scores, their_scores)
    found = Comparison(worst_iou=1.0, worst_score_difference=ranked, detections=detections)
    return found.worse(matched(ours, theirs, layout)).worse(matched(theirs, ours, layout))


def matched(rows: Array, others: Array, layout: Layout) -> Comparison:
    """For each detection of `rows` its best counterpart of the same class in `others`."""
    found = Comparison(worst_iou=1.0, worst_score_difference=0.0, detections=0)
    # A row just above the threshold may stand just below it on the other side, and an embedded NMS then drops it.
    sure = max(DETECTION_SCORE, layout.confidence) + LIMITS["FP32"][1]
    for row in rows[rows[:, 4] >= sure]:
        same = others[(np.rint(others[:, 5]) == np.rint(row[5])) & (others[:, 4] > 0)]
        if not same.size:
            return DIFFERENT
        overlaps = iou_of_task(np.broadcast_to(row[:4], (len(same), 4)), same[:, :4], layout)
        at = int(np.lexsort((np.abs(same[:, 4] - row[4]), -np.round(overlaps, 3)))[0])
        apart = max(abs(float(same[at, 4] - row[4])), extras_difference(row[6:, None], same[at, 6:, None], layout))
        found = found.worse(Comparison(worst_iou=float(overlaps[at]), worst_score_difference=apart, detections=0))
    return found


def iou_of_task(ours: Array, theirs: Array, layout: Layout) -> Array:
    """IoU of final boxes: corners, but for oriented boxes, which stay centre, width, height (their angle is an extra)."""
    if layout.task is Task.OBB:
        ours, theirs = corners(ours), corners(theirs)
    return iou(ours, theirs)


def extras_difference(ours: Array, theirs: Array, layout: Layout) -> float:
    """What follows the scores, values x detections, relative to its range: pixels to the picture, angles to half a turn."""
    if not ours.size:
        return 0.0
    match layout.task:
        case Task.POSE:
            step = layout.keypoint_values
            ranges = np.ones(len(ours), dtype=np.float32)
            ranges[0::step], ranges[1::step] = layout.image_size[1], layout.image_size[0]
            return float((np.abs(ours - theirs) / ranges[:, None]).max())
        case Task.OBB:
            return float(np.abs(ours - theirs).max() / np.pi)
        case _:
            return relative(ours, theirs)


def score_difference(ours: Array, theirs: Array) -> float:
    """Largest difference of scores; relative to the best score where that is no detection, or noise would hide a wrong model."""
    best = float(max(ours.max(), theirs.max()))
    difference = float(np.abs(ours - theirs).max())
    return difference if best >= DETECTION_SCORE else difference / max(best, 1e-9)


def relative(ours: Array, theirs: Array) -> float:
    """Largest difference, relative to the largest value of the reference."""
    return float(np.abs(ours - theirs).max() / max(float(np.abs(ours).max()), 1e-9))


def corners(boxes: Array) -> Array:
    """Rows of centre x, centre y, width, height to rows of x1, y1, x2, y2."""
    centre, half = boxes[:, :2], boxes[:, 2:4] / 2
    return np.concatenate((centre - half, centre + half), axis=1)


def iou(ours: Array, theirs: Array) -> Array:
    """Intersection over union of row i with row i; two empty boxes in the same place count as 1."""
    low, high = np.maximum(ours[:, :2], theirs[:, :2]), np.minimum(ours[:, 2:4], theirs[:, 2:4])
    overlap = np.clip(high - low, 0, None).prod(axis=1)
    union = area(ours) + area(theirs) - overlap
    same = np.isclose(ours, theirs, atol=1e-2).all(axis=1)
    quotient: Array = np.where(union > 0, overlap / np.where(union > 0, union, 1), 0)
    return np.where(same & (union <= 1e-3), np.float32(1), quotient).astype(np.float32)


def area(boxes: Array) -> Array:
    """Area of rows of x1, y1, x2, y2; 0 for a box turned inside out."""
    result: Array = np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None).prod(axis=1)
    return result
