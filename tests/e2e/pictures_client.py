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


def ours(answer: dict[str, np.ndarray], shape: tuple[int, int]) -> dict[str, Any]:
    """The answer as answers_client.py compares it."""
    tensors = {name: torch.from_numpy(array.astype(np.float32)) for name, array in answer.items() if array.dtype.kind in "fi"}
    boxes = tensors.get("boxes")
    if "corners" in tensors:
        points = tensors["corners"]
        along = (points[:, 0] + points[:, 1] - points[:, 2] - points[:, 3]) / 2
        across = points[:, 0] - points[:, 1]
        boxes = torch.stack([*points.mean(1).T, along.norm(dim=1), across.norm(dim=1), torch.atan2(along[:, 1], along[:, 0])], dim=1)
    masks = None
    if "contours" in answer:
        masks, start = np.zeros((len(answer["scores"]), *shape), np.uint8), 0
        for of, length in answer["contours"].astype(int):
            cv2.fillPoly(masks[of], [np.rint(answer["outline"][start : start + length]).astype(np.int32)], 1)
            start += length
    keypoints = tensors.get("keypoints")
    return {
        "boxes": boxes,
        "scores": tensors["scores"],
        "classes": tensors["classes"].int(),
        "masks": None if masks is None else torch.from_numpy(masks).bool(),
        "keypoints": None if keypoints is None else keypoints[..., :2] / torch.tensor([shape[1], shape[0]]),
    }


def theirs(result: Any) -> dict[str, Any]:
    """Ultralytics' result likewise."""
    boxes = result.obb if result.obb is not None else result.boxes
    masks = None
    if result.masks is not None:
        masks = np.zeros((len(result.masks.xy), *result.orig_shape), np.uint8)
        for mask, outline in zip(masks, result.masks.xy, strict=True):
            cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    # The client takes keypoints that the model is not sure of for (0, 0).
    return {
        "boxes": result.obb.xywhr if result.obb is not None else boxes.xyxy,
        "scores": boxes.conf,
        "classes": boxes.cls.int(),
        "masks": None if masks is None else torch.from_numpy(masks).bool(),
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
            one_picture(worst, file.name, theirs(result), ours(answer, result.orig_shape), oriented=task == "obb")
    print(json.dumps(worst))


main(*sys.argv[1:])
