"""What two versions found in the same pictures, compared. Values only: the pictures are shown by exporter/client.py."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yolo_operator.core.contract import Task

Array = npt.NDArray[np.float32]
Overlaps = Callable[[Array, Array], Array]
"""IoU of each of n boxes with each of m: (n, m)."""

MIN_IOU = 0.5
"""From this overlap on two boxes of the same class are the same detection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one version found in one picture; for classify the one class that is most probable, without a box."""

    classes: tuple[str, ...]
    """Names of the classes, one for each detection."""
    confidences: tuple[float, ...]
    boxes: Array
    """In pixels: x1, y1, x2, y2; for obb centre x, centre y, width, height and angle; nothing for classify."""


def compare(task: Task, stable: Sequence[Answer], canary: Sequence[Answer], overlaps: Overlaps) -> dict[str, float]:
    """Fields of contract.Comparison for pairs of answers; a figure that cannot be had is left out."""
    found: dict[str, float] = {"pictures": len(stable)}
    if not stable:
        return found
    ours, theirs = classes(canary), classes(stable)
    if task is Task.CLASSIFY:
        found["agreement"] = sum(one.classes == other.classes for one, other in zip(stable, canary, strict=True)) / len(stable)
    else:
        found["detections_per_picture"] = ours.total() / len(canary)
        found["stable_detections_per_picture"] = theirs.total() / len(stable)
        if theirs:
            same = sum(shared(one, other, overlaps) for one, other in zip(stable, canary, strict=True))
            found["agreement"] = same / theirs.total()
    if ours:
        found["confidence"] = mean_confidence(canary)
    if theirs:
        found["stable_confidence"] = mean_confidence(stable)
    if ours and theirs:
        found["class_distance"] = distance(ours, theirs)
    return found


def classes(answers: Sequence[Answer]) -> Counter[str]:
    """The histogram of classes found."""
    return Counter(name for answer in answers for name in answer.classes)


def mean_confidence(answers: Sequence[Answer]) -> float:
    """Of all detections in all pictures."""
    return float(np.mean([confidence for answer in answers for confidence in answer.confidences]))


def distance(ours: Counter[str], theirs: Counter[str]) -> float:
    """Half the sum of the differences of the classes' shares: 0 the same, 1 nothing in common."""
    return sum(abs(ours[name] / ours.total() - theirs[name] / theirs.total()) for name in ours.keys() | theirs.keys()) / 2


def shared(stable: Answer, canary: Answer, overlaps: Overlaps) -> int:
    """How many detections of `stable` are in `canary` too."""
    return len(pairs(stable, canary, overlaps))


def pairs(stable: Answer, canary: Answer, overlaps: Overlaps) -> list[tuple[int, int]]:
    """Places of the detections that both have: taken from the largest overlap on, each detection once."""
    if not stable.classes or not canary.classes:
        return []
    same_class = np.array(stable.classes)[:, None] == np.array(canary.classes)
    overlap = np.where(same_class, np.nan_to_num(overlaps(stable.boxes, canary.boxes)), 0)
    left, right = np.nonzero(overlap >= MIN_IOU)
    best_first = np.argsort(-overlap[left, right], kind="stable")
    found: dict[int, int] = {}
    taken: set[int] = set()
    for one, other in zip(left[best_first].tolist(), right[best_first].tolist(), strict=True):
        if one not in found and other not in taken:
            found[one] = other
            taken.add(other)
    return list(found.items())
