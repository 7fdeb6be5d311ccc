"""What the network says to what a user reads: detections in the picture's own pixels, as `YOLO(weights)(picture)` gives them."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .resize import Letterbox

Array = npt.NDArray[Any]

BEST = 5
"""Classes that a classifier answers."""


@dataclass(frozen=True)
class Detections:
    """Of one picture, best first; each field by the name of its output."""

    scores: Array
    """n, FP32."""
    classes: Array
    """n, INT32."""
    places: dict[str, Array] = field(default_factory=dict)
    """boxes: n x 4, x1 y1 x2 y2. corners: n x 4 x 2, of oriented boxes. keypoints: n x k x (x, y, often a visibility). contours: m x 2, INT32, detection
    and number of points; outline: their points, one after the other, x y."""


def classify(probabilities: Array) -> Detections:
    """The best classes."""
    best = np.argsort(-probabilities, kind="stable")[:BEST]
    return Detections(probabilities[best].astype(np.float32), best.astype(np.int32))


def detect(rows: Array, frame: Letterbox) -> Detections:
    """Rows of x1 y1 x2 y2 score class."""
    return Detections(rows[:, 4], rows[:, 5].astype(np.int32), {"boxes": frame.boxes(rows[:, :4])})


def orient(rows: Array, frame: Letterbox) -> Detections:
    """Rows of centre x, centre y, width, height, score, class, angle."""
    centre = frame.moved(rows[:, :2])
    width, height = rows[:, 2] / frame.scale_x, rows[:, 3] / frame.scale_y
    cos, sin = np.cos(rows[:, 6]), np.sin(rows[:, 6])
    along = np.stack([width / 2 * cos, width / 2 * sin], axis=-1)
    across = np.stack([-height / 2 * sin, height / 2 * cos], axis=-1)
    corners = np.stack([centre + along + across, centre + along - across, centre - along - across, centre - along + across], axis=1)
    return Detections(rows[:, 4], rows[:, 5].astype(np.int32), {"corners": corners.astype(np.float32)})


def pose(rows: Array, frame: Letterbox, shape: tuple[int, int]) -> Detections:
    """Rows of x1 y1 x2 y2 score class keypoints; `shape`: keypoints, and values of each."""
    found = detect(rows, frame)
    found.places["keypoints"] = frame.points(rows[:, 6:].reshape(-1, *shape))
    return found


def segment(rows: Array, frame: Letterbox, prototypes: Array, seen: tuple[int, int]) -> Detections:
    """Rows of x1 y1 x2 y2 score class coefficients; `prototypes`: c x h x w; `seen`: height and width of the letterboxed picture."""
    kept: list[int] = []
    contours: list[tuple[int, int]] = []
    outline: list[Array] = [np.zeros((0, 2), np.float32)]
    height, width = prototypes.shape[1:]
    flat = prototypes.astype(np.float32).reshape(len(prototypes), height * width)
    for at, row in enumerate(rows):
        mask = cv2.resize((row[6:] @ flat).reshape(height, width), (seen[1], seen[0]), interpolation=cv2.INTER_LINEAR) > 0
        x1, y1, x2, y2 = np.ceil(row[:4]).astype(int).clip(0)
        inside = np.zeros(seen, np.uint8)
        inside[y1:y2, x1:x2] = mask[y1:y2, x1:x2]
        if not inside.any():
            continue
        for contour in cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
            contours.append((len(kept), len(contour)))
            outline.append(frame.points(contour.reshape(-1, 2)))
        kept.append(at)
    found = detect(rows[kept], frame)
    found.places["contours"] = np.array(contours, np.int32).reshape(-1, 2)
    found.places["outline"] = np.concatenate(outline)
    return found
