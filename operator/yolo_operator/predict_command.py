"""`yolo-operator predict`: pictures' files to <model>-pictures, what is in them back, as JSON or drawn."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from yolo_operator.core.contract import PICTURE_DECODER_DIRECTORY, PICTURE_DECODER_VARIABLE
from yolo_operator.core.triton.picture_models import SUFFIX
from yolo_operator.model import picture_client
from yolo_operator.model.picture_client import Detections, PredictError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
COLOURS = ((56, 56, 255), (151, 157, 255), (31, 112, 255), (29, 178, 255), (49, 210, 207), (10, 249, 72), (23, 204, 146), (134, 219, 61), (255, 194, 0))
"""BGR, by class."""


def model_url(given: str, version: int | None) -> str:
    """Where a picture is asked for, from what YOLO() takes: http://HOST[:PORT]/MODEL. Raises PredictError."""
    parts = urlsplit(given if "://" in given else f"http://{given}")
    model = parts.path.strip("/").removesuffix(SUFFIX)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not model or "/" in model:
        raise PredictError(f"{given!r}: give http://HOST:PORT/MODEL, as for YOLO()")
    return picture_client.model_url(f"{parts.scheme}://{parts.netloc}", model, version)


def files(given: Path) -> list[Path]:
    """One file, or the pictures of a folder by name. Raises PredictError."""
    if given.is_dir():
        found = sorted(path for path in given.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise PredictError(f"{given}: no {', '.join(sorted(SUFFIXES))} file in this folder")
        return found
    if not given.is_file():
        raise PredictError(f"{given}: no such file or folder")
    return [given]


def draw(picture: bytes, answer: Detections, target: Path) -> None:
    """The picture with what is in it, in the format of the target's name. Raises PredictError."""
    cv2, np = drawing()
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise PredictError("the picture cannot be read here")
    line = max(round(sum(image.shape[:2]) / 2 * 0.003), 2)
    for at, found in enumerate(answer["detections"]):
        colour, text = COLOURS[found["class"] % len(COLOURS)], f"{found['label']} {found['score']:.2f}"
        places = [*found.get("polygons", []), *([found["corners"]] if "corners" in found else [])]
        if "box" in found:
            x1, y1, x2, y2 = found["box"]
            places.append([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        for points in places:
            cv2.polylines(image, [np.rint(np.array(points)).astype(np.int32)], isClosed=True, color=colour, thickness=line)
        for x, y, *seen in found.get("keypoints", []):
            if not seen or seen[0] > 0.5:
                cv2.circle(image, (round(x), round(y)), line + 1, colour, -1)
        x, y = np.rint(np.array(places[-1]).min(axis=0)).astype(int).tolist() if places else (line, (at + 1) * line * 12)
        cv2.putText(image, text, (x, max(y - line, line * 8)), cv2.FONT_HERSHEY_SIMPLEX, line / 3, colour, line)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(target), image):
        raise PredictError(f"{target}: cannot be written")


def drawing() -> Any:
    """OpenCV and NumPy: of this Python, or what the operator's image has for serving pods. Raises PredictError."""
    place = os.environ.get(PICTURE_DECODER_VARIABLE, PICTURE_DECODER_DIRECTORY)
    if place not in sys.path:
        sys.path.append(place)
    try:
        import cv2  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415
    except ImportError as error:
        raise PredictError(f"drawing needs OpenCV ({error}): pip install opencv-python-headless, or ask for --json") from error
    return cv2, np


def run(url: str, given: Path, output: Path | None, parameters: dict[str, float], *, concurrency: int, as_json: bool, progress: bool) -> Iterator[str]:
    """Ask for each file, so many at once; yields lines for standard output, by name. What is wrong with one file of a folder is told. Raises PredictError."""
    pictures = files(given)
    several, failed = given.is_dir(), 0

    def one(path: Path) -> Detections:
        content = path.read_bytes()
        try:
            answer = picture_client.ask(pool, url, content, parameters)
            if output is not None:
                draw(content, answer, output / path.name if several else output)
        except PredictError as error:
            if not several:
                raise
            return {"error": str(error)}
        return answer

    threads = ThreadPoolExecutor(min(concurrency, len(pictures)))
    try:
        with urllib3.PoolManager(maxsize=concurrency, timeout=picture_client.TIMEOUT, retries=False) as pool:
            for at, (path, answer) in enumerate(zip(pictures, threads.map(one, pictures), strict=True), 1):
                if progress and several:
                    sys.stderr.write(f"\r{at}/{len(pictures)} {path.name}\033[K")
                failed += "error" in answer
                yield line(path, answer, as_json=as_json)
    finally:
        threads.shutdown(cancel_futures=True)
    if progress and several:
        sys.stderr.write("\n")
    if failed:
        raise PredictError(f"{failed} of {len(pictures)} pictures were not answered")


def line(path: Path, answer: Detections, *, as_json: bool) -> str:
    """One picture's line."""
    if as_json:
        return json.dumps({"file": str(path), **answer}, ensure_ascii=False)
    if "error" in answer:
        return f"{path}: {answer['error']}"
    labels = [found["label"] for found in answer["detections"]]
    return f"{path}: " + (", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)) or "nothing")
