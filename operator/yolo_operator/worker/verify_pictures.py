"""Whether <model>-pictures answers a file of the golden picture with what the model answers to the picture itself.

Asked as `curl` asks: JSON with the file as Base64. Each detection must be one of the golden answers, and each golden answer above the confidence must be
among the detections, or under one of its class that is better.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import urllib3

from yolo_operator.core.addresses import url_host
from yolo_operator.core.contract import Task
from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable
from yolo_operator.core.triton.picture_models import SETTINGS
from yolo_operator.model import png
from yolo_operator.model.compare import Comparison, Layout, corners, iou
from yolo_operator.model.golden import Golden, photograph
from yolo_operator.model.picture_client import model_url
from yolo_operator.worker.triton_client import ANSWER_TIMEOUT, CONNECT_TIMEOUT

Array = npt.NDArray[np.float32]

COUNTED = 0.02
"""Scores so far above the confidence are expected: what stands closer may be rounded below it."""


def run(address: str, port: int, model: str, version: int, config: Any, golden: Golden, layout: Layout) -> Comparison:
    """The worst of all detections. Raises ModelNotReady, InferenceFailed, WrongAnswers."""
    settings = json.loads(config.parameters[SETTINGS].string_value)
    rows = golden_rows(golden, layout)
    confidence = min(float(settings["confidence"]), float(rows[:, 4].max()) / 2) if len(rows) and layout.task is not Task.CLASSIFY else 0.0
    answered = ask(model_url(f"http://{url_host(address)}:{port}", model, version), png.encode(photograph(golden.input)), confidence)
    if layout.task is Task.CLASSIFY:
        return compare_classes(next(iter(golden.outputs.values()))[0], answered)
    found = found_rows(answered, layout)
    sure = np.flatnonzero(rows[:, 4] > confidence + COUNTED)
    expected = rows[sure[drawn(golden, layout, rows, sure)]]
    if len(found) >= most(settings, layout):
        expected = expected[expected[:, 4] > found[:, 4].min() + COUNTED]
    seen = rows.copy()
    if layout.task is not Task.OBB:
        height, width = golden.input.shape[2:]
        seen[:, :4] = seen[:, :4].clip(0, (width, height, width, height))
    return compare(rows, found, expected, seen, covering(float(settings["iou"]), layout))


def ask(url: str, picture: bytes, confidence: float) -> dict[str, npt.NDArray[Any]]:
    """The outputs to one picture, by name, without the batch."""
    given = {"name": "picture", "shape": [1, 1], "datatype": "BYTES", "data": [base64.b64encode(picture).decode()]}
    body = json.dumps({"inputs": [given], "parameters": {"confidence": confidence}})
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=ANSWER_TIMEOUT)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            answer = pool.request("POST", url, body=body, headers={"Content-Type": "application/json"})
    except urllib3.exceptions.HTTPError as error:
        raise NotReady("ModelNotReady", f"HTTP: {type(error).__name__} from {url}: is the pod still there?") from error
    if answer.status != 200:
        raise Unavailable("InferenceFailed", f"HTTP: {answer.status} from {url}: {answer.data[:300].decode(errors='replace')}")
    return {output["name"]: np.array(output["data"]).reshape(output["shape"])[0] for output in json.loads(answer.data)["outputs"]}


def golden_rows(golden: Golden, layout: Layout) -> Array:
    """The model's own answers as rows of x1 y1 x2 y2 score class; of oriented boxes the upright ones around their centre, width and height."""
    first = golden.outputs[min(golden.outputs)][0]
    if layout.task is Task.CLASSIFY:
        return np.zeros((0, 6), np.float32)
    if layout.final_detections:
        boxes = corners(first[:, :4]) if layout.task is Task.OBB else first[:, :4]
        return np.concatenate((boxes, first[:, 4:6]), axis=1)
    scores = first[4 : 4 + layout.classes]
    return np.concatenate((corners(first[:4].T), scores.max(axis=0)[:, None], scores.argmax(axis=0)[:, None]), axis=1).astype(np.float32)


def found_rows(answered: Mapping[str, npt.NDArray[Any]], layout: Layout) -> Array:
    """The answer likewise."""
    count = int(answered["count"][0])
    if layout.task is Task.OBB:
        points = answered["corners"][:count].astype(np.float32)
        sides = np.stack([np.linalg.norm(points[:, 0] - points[:, 3], axis=-1), np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)], axis=1)
        boxes = corners(np.concatenate((points.mean(axis=1), sides), axis=1))
    else:
        boxes = answered["boxes"][:count].astype(np.float32).reshape(-1, 4)
    return np.concatenate((boxes, answered["scores"][:count, None], answered["classes"][:count, None]), axis=1).astype(np.float32)


def drawn(golden: Golden, layout: Layout, rows: Array, sure: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which of the `sure` golden answers have something to show: of segment those whose mask surely has a pixel within the box. Others are left out of an answer."""
    first, *others = (golden.outputs[name][0] for name in sorted(golden.outputs))
    if layout.task is not Task.SEGMENT:
        return np.ones(len(sure), dtype=np.bool_)
    (prototypes,) = others
    coefficients = first[:, 6:] if layout.final_detections else first[4 + layout.classes :].T
    # A coarse pixel further, so that none of it is lost where the mask is made as large as the picture and cut at the box.
    scale = layout.image_size[0] / prototypes.shape[1]
    inner = np.concatenate((np.ceil(rows[sure, :2] / scale) + 1, np.floor(rows[sure, 2:4] / scale) - 1), axis=1).astype(int).clip(0)
    masks = (np.tensordot(coefficients[at], prototypes[:, y1:y2, x1:x2], 1) for at, (x1, y1, x2, y2) in zip(sure, inner, strict=True))
    return np.array([bool((mask > 0).any()) for mask in masks], dtype=np.bool_)


def covering(iou_limit: float, layout: Layout) -> float:
    """How much a detection overlaps an answer at least that its NMS has dropped. Of oriented boxes the upright ones say little of that."""
    return 0.3 * iou_limit if layout.task is Task.OBB else iou_limit - 0.01


def most(settings: dict[str, Any], layout: Layout) -> float:
    """Detections that an answer has at most; what is final already is not cut."""
    return float("inf") if layout.final_detections else float(settings["max_detections"])


def compare(rows: Array, found: Array, expected: Array, seen: Array, limit: float) -> Comparison:
    """Each detection with its like among the golden answers as they are `seen` within the picture, and each answer that is expected with what stands for it."""
    worst, apart, kept = 1.0, 0.0, []
    for each in found:
        same = np.flatnonzero(np.rint(seen[:, 5]) == np.rint(each[5]))
        if not same.size:
            raise wrong(f"a detection of class {int(each[5])} that the model does not have")
        overlaps, difference = iou(seen[same, :4], np.broadcast_to(each[:4], (same.size, 4))), np.abs(seen[same, 4] - each[4])
        best = int(np.lexsort((difference, -overlaps.round(3)))[0])
        worst, apart = min(worst, float(overlaps[best])), max(apart, float(difference[best]))
        kept.append(rows[same[best]])
    better = np.array(kept, dtype=np.float32).reshape(-1, 6)
    for each in expected:
        over = better[(np.rint(better[:, 5]) == np.rint(each[5])) & (better[:, 4] >= each[4] - COUNTED)]
        # It is there, or under a better one that overlaps it: as the NMS sees both, beyond the picture's edges.
        if not over.size or iou(over[:, :4], np.broadcast_to(each[:4], (len(over), 4))).max() <= limit:
            raise wrong(f"no detection where the model has one of class {int(each[5])} with a score of {each[4]:.3f}")
    return Comparison(worst_iou=worst, worst_score_difference=apart, detections=len(found))


def compare_classes(probabilities: Array, answered: Mapping[str, npt.NDArray[Any]]) -> Comparison:
    """The scores of the classes that were answered."""
    difference = np.abs(probabilities[answered["classes"].astype(int)] - answered["scores"])
    return Comparison(worst_iou=1.0, worst_score_difference=float(difference.max()), detections=0)


def wrong(what: str) -> InvalidSpec:
    """What is said of an answer that is not the model's."""
    return InvalidSpec("WrongAnswers", f"the pictures' model answers a file of the golden picture otherwise than the model itself: {what}; rebuild the version")
