"""Runs in the client Pod, beside answers_client.py: what a model answers to pictures' files is what Ultralytics finds in them with local weights.

pictures_client.py WEIGHTS TASK URL PREDICT-ARGUMENTS      URL: http://HOST:PORT/v2/models/MODEL-pictures; arguments as JSON

Asks as anybody can: JSON with the file as Base64, by Python's own library.
"""

import base64
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from answers_client import one_class, one_picture
from PIL import Image
from ultralytics import YOLO

FOLDER = Path("/tmp")
KINDS = Path("/tmp/kinds")
ORIENTATION = 0x0112
MOST = 250
"""Detections of a picture that is compared: random weights find too much in two colours, and of what is cut off at 300 the last bit decides."""


def make_kinds() -> None:
    """Files of every format, colour and shape."""
    KINDS.mkdir(exist_ok=True)
    wide, tall = (Image.open(FOLDER / name).convert("RGB") for name in ("zidane.jpg", "bus.jpg"))
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.jpg": (wide, {"quality": 90}),
        "progressive.jpg": (wide, {"quality": 80, "progressive": True}),
        "plain.png": (tall, {}),
        "plain.webp": (wide, {"quality": 90}),
        "lossless.webp": (tall, {"lossless": True}),
        "grey.jpg": (tall.convert("L"), {}),
        "grey.png": (wide.convert("L"), {}),
        "cmyk.jpg": (wide.convert("CMYK"), {}),
        "palette.png": (wide.convert("P"), {}),
        "bits.png": (tall.convert("1"), {}),
        "tiny.png": (wide.resize((48, 27)), {}),
        "dot.png": (wide.resize((1, 1)), {}),
        "long.png": (tall.resize((2000, 60)), {}),
        "high.png": (tall.resize((60, 2000)), {}),
        "huge.jpg": (wide.resize((7680, 4320)), {"quality": 85}),
        "odd.jpg": (tall.resize((641, 481)), {}),
        "square.png": (tall.crop((0, 200, 810, 1010)), {}),
    }
    for name, suffix in (("alpha", "png"), ("alpha", "webp")):
        seen = wide.convert("RGBA")
        seen.putalpha(Image.linear_gradient("L").resize(seen.size))
        files[f"{name}.{suffix}"] = (seen, {})
    for turned in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = turned
        suffix = "jpg" if turned not in (3, 6) else "png" if turned == 3 else "webp"
        files[f"turned-{turned}.{suffix}"] = (wide, {"exif": exif})
    for name, (picture, options) in files.items():
        picture.save(KINDS / name, **options)
    cv2.imwrite(str(KINDS / "sixteen.png"), cv2.imread(str(FOLDER / "bus.jpg")).astype(np.uint16) * 257)


def asked(url: str, file: Path) -> dict[str, np.ndarray]:
    """Outputs by name, of one picture."""
    given = {"name": "picture", "shape": [1, 1], "datatype": "BYTES", "data": [base64.b64encode(file.read_bytes()).decode()]}
    with urllib.request.urlopen(f"{url}/infer", json.dumps({"inputs": [given]}).encode()) as answer:
        return {each["name"]: np.array(each["data"]).reshape(each["shape"])[0] for each in json.load(answer)["outputs"]}


def filled(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The mask of some contours."""
    mask = np.zeros(shape, np.uint8)
    for contour in contours:
        cv2.fillPoly(mask, [np.rint(contour).astype(np.int32)], 1)
    return mask


def frame(seen: tuple[int, int], shape: tuple[int, int]) -> tuple[float, int, int]:
    """Scale, and grey at the left and on top, of a picture as the model sees it."""
    scale = min(seen[0] / shape[0], seen[1] / shape[1])
    return scale, *(round((side - max(round(whole * scale), 1)) / 2 - 0.1) for side, whole in ((seen[1], shape[1]), (seen[0], shape[0])))


def within(masks: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """Without what is on the grey."""
    scale, left, top = frame(masks.shape[1:], shape)
    inner = np.zeros_like(masks)
    rows, columns = slice(top + 1, top + int(shape[0] * scale) - 1), slice(left + 1, left + int(shape[1] * scale) - 1)
    inner[:, rows, columns] = masks[:, rows, columns]
    return torch.from_numpy(inner).bool()


def ours(answer: dict[str, np.ndarray], shape: tuple[int, int], seen: tuple[int, int] | None) -> dict[str, Any]:
    """The answer as answers_client.py compares it; masks as the model sees the picture, where the contours are its pixels."""
    tensors = {name: torch.from_numpy(array.astype(np.float32)) for name, array in answer.items() if array.dtype.kind in "fi"}
    boxes = tensors.get("boxes")
    if "corners" in tensors:
        points = tensors["corners"]
        along = (points[:, 0] + points[:, 1] - points[:, 2] - points[:, 3]) / 2
        across = points[:, 0] - points[:, 1]
        boxes = torch.stack([*points.mean(1).T, along.norm(dim=1), across.norm(dim=1), torch.atan2(along[:, 1], along[:, 0])], dim=1)
    masks = None
    if "contours" in answer and seen:
        scale, left, top = frame(seen, shape)
        points = answer["outline"] * scale + (left, top)
        ends = np.cumsum(answer["contours"][:, 1])
        of_each = [
            [points[end - size : end] for (at, size), end in zip(answer["contours"], ends, strict=True) if at == of] for of in range(len(answer["scores"]))
        ]
        masks = np.stack([filled(contours, seen) for contours in of_each])
    keypoints = tensors.get("keypoints")
    return {
        "boxes": boxes,
        "scores": tensors["scores"],
        "classes": tensors["classes"].int(),
        "masks": None if masks is None else within(masks, shape),
        "keypoints": None if keypoints is None else keypoints[..., :2] / torch.tensor([shape[1], shape[0]]),
    }


def theirs(result: Any) -> dict[str, Any]:
    """Ultralytics' result likewise."""
    boxes = result.obb if result.obb is not None else result.boxes
    masks = None
    if result.masks is not None:
        drawn = result.masks.data.numpy().astype(np.uint8)
        outer = [cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0] for mask in drawn]
        masks = np.stack([filled([each.reshape(-1, 2) for each in contours], mask.shape) for contours, mask in zip(outer, drawn, strict=True)])
    # The client takes keypoints that the model is not sure of for (0, 0).
    return {
        "boxes": result.obb.xywhr if result.obb is not None else boxes.xyxy,
        "scores": boxes.conf,
        "classes": boxes.cls.int(),
        "masks": None if masks is None else within(masks, result.orig_shape),
        "keypoints": None if result.keypoints is None else result.keypoints.data[..., :2] / torch.tensor(result.orig_shape[::-1]),
    }


def main(weights: str, task: str, url: str, arguments: str) -> None:
    """Print the worst of all."""
    make_kinds()
    yolo = YOLO(weights, task=task)
    worst: dict[str, Any] = {"detections": 0, "unlike": [], "worstIoU": 1.0, "worstScoreDifference": 0.0, "worstMaskIoU": 1.0, "worstKeypoint": 0.0}
    for file in sorted(KINDS.iterdir()):
        result, answer = yolo.predict(str(file), verbose=False, **json.loads(arguments))[0], asked(url, file)
        if result.probs is None and len(result) > MOST:
            continue
        if task == "classify":
            one_class(worst, file.name, result.probs.data[result.probs.top5], torch.from_numpy(answer["scores"]))
            if answer["classes"].tolist() != result.probs.top5:
                worst["unlike"].append(f"{file.name}: {answer['classes'].tolist()} and {result.probs.top5}")
        else:
            seen = None if result.masks is None else result.masks.data.shape[1:]
            one_picture(worst, file.name, theirs(result), ours(answer, result.orig_shape, seen), oriented=task == "obb")
    print(json.dumps(worst))


main(*sys.argv[1:])
