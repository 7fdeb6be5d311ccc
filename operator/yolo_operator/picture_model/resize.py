"""Pixels to what a model takes, as Ultralytics does it: letterboxed, or scaled and cropped for a classifier."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GREY = 114
"""Around a letterboxed picture."""


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in what the model sees; sides in pixels."""

    height: int
    width: int
    """Of the picture itself."""
    scale_y: float
    scale_x: float
    top: int
    left: int

    def points(self, inside: Array) -> Array:
        """... x (x, y, anything further) of the letterboxed picture, in the picture's own pixels, kept within it."""
        moved = self.moved(inside)
        moved[..., 0] = moved[..., 0].clip(0, self.width)
        moved[..., 1] = moved[..., 1].clip(0, self.height)
        return moved

    def moved(self, inside: Array) -> Array:
        """As `points`, wherever they come to lie."""
        moved = np.array(inside, dtype=np.float32)
        moved[..., 0] = (moved[..., 0] - self.left) / self.scale_x
        moved[..., 1] = (moved[..., 1] - self.top) / self.scale_y
        return moved

    def boxes(self, inside: Array) -> Array:
        """n x (x1, y1, x2, y2) likewise."""
        return self.points(inside.reshape(-1, 2, 2)).reshape(-1, 4)


def letterbox(picture: Array, size: tuple[int, int], stride: int) -> tuple[Array, Letterbox]:
    """The picture in `size`, height and width, with grey around it, RGB. With a stride no more grey than up to its next multiple; 0 fills the whole size."""
    height, width = picture.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner_height, inner_width = max(round(height * scale), 1), max(round(width * scale), 1)
    grey_y, grey_x = size[0] - inner_height, size[1] - inner_width
    if stride:
        grey_y, grey_x = grey_y % stride, grey_x % stride
    if (inner_height, inner_width) != (height, width):
        picture = cv2.resize(picture, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR)
    # Of an odd number of rows the one more is below.
    top, left = round(grey_y / 2 - 0.1), round(grey_x / 2 - 0.1)
    framed = np.full((inner_height + grey_y, inner_width + grey_x, 3), GREY, np.uint8)
    cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, framed[top : top + inner_height, left : left + inner_width])
    return framed, Letterbox(height, width, inner_height / height, inner_width / width, top, left)


def crop(picture: Array, size: tuple[int, int]) -> Array:
    """What a classifier sees, RGB: a square of the middle, the shortest side scaled to it; the whole picture scaled where `size` is no square."""
    height, width = picture.shape[:2]
    scaled = size
    if size[0] == size[1]:
        short = min(height, width)
        scaled = size[0] * height // short, size[1] * width // short
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    resized = resample(resample(rgb, scaled[1], axis=1), scaled[0], axis=0)
    top, left = round((scaled[0] - size[0]) / 2), round((scaled[1] - size[1]) / 2)
    return np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]])


def resample(picture: Array, length: int, axis: int) -> Array:
    """One axis as Pillow resizes it with BILINEAR: a triangle as wide as what one pixel stands for, to 8 bits. OpenCV has no such filter."""
    before = picture.shape[axis]
    if before == length:
        return picture
    scale = before / length
    reach = max(scale, 1.0)
    centres = (np.arange(length) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    taps = int(np.ceil(reach)) * 2 + 1
    at = first[:, None] + np.arange(taps)
    weights = np.maximum(1 - np.abs((at + 0.5 - centres[:, None]) / reach), 0)
    weights[(at >= np.minimum((centres + reach + 0.5).astype(np.int64), before)[:, None])] = 0
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    at = at.clip(0, before - 1)
    shape = [1, 1, 1]
    shape[axis] = length
    total = np.zeros([length if each == axis else size for each, size in enumerate(picture.shape)], np.float32)
    for tap in range(taps):
        total += np.take(picture, at[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return np.rint(total).clip(0, 255).astype(np.uint8)
