"""Asks <model>-pictures for what is in a picture's file."""

import json
from collections.abc import Iterator
from typing import Any

import urllib3

from yolo_operator.core.triton.picture_models import SUFFIX

TIMEOUT = urllib3.Timeout(connect=10, read=120)

Detections = dict[str, Any]


class PredictError(Exception):
    """One sentence for the user."""


class PictureRefused(PredictError):
    """It is about this picture, or the request's parameters: others may be answered."""


def model_url(server: str, model: str, version: int | None) -> str:
    """Where the pictures of `model` are asked for on `server`, http://HOST:PORT."""
    of_version = "" if version is None else f"/versions/{version}"
    return f"{server}/v2/models/{model}{SUFFIX}{of_version}/infer"


def ask(pool: urllib3.PoolManager, url: str, picture: bytes, parameters: dict[str, float]) -> Detections:
    """The answer for one file: `detections`, each with its score, class, label and place. Raises PredictError, PictureRefused."""
    # The file as it is, behind the JSON that names it; the answer is JSON alone.
    size = len(picture) + 4
    given = {"name": "picture", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [given], "parameters": parameters}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    try:
        answer = pool.request("POST", url, body=head + len(picture).to_bytes(4, "little") + picture, headers=headers)
    except urllib3.exceptions.HTTPError as error:
        raise PredictError(f"{url}: {error}") from error
    try:
        said = json.loads(answer.data)
    except ValueError:
        said = {"error": answer.data[:200].decode(errors="replace")}
    if answer.status != 200:
        why = str(said.get("error", ""))
        if answer.status == 400 and "unknown model" not in why:
            raise PictureRefused(why or "HTTP 400")
        remedy = ": has the resource spec.pictures.enabled?" if "unknown model" in why else ""
        raise PredictError(f"HTTP {answer.status} from {url}: {why}{remedy}")
    return {"detections": list(detections({output["name"]: reshaped(output["data"], output["shape"]) for output in said["outputs"]}))}


def reshaped(data: list[Any], shape: list[int]) -> list[Any]:
    """Nested lists of a flat one; of an empty dimension an empty list."""
    for size in reversed(shape[1:]):
        data = [data[at : at + size] for at in range(0, len(data), size)] if size else [[] for _ in range(shape[0])]
    return data


def detections(outputs: dict[str, Any]) -> Iterator[Detections]:
    """One per detection."""
    count = outputs["count"][0][0]
    outlines: list[list[Any]] = [[] for _ in range(count)]
    points = iter(outputs["outline"][0]) if "outline" in outputs else iter(())
    for of, length in outputs.get("contours", [[]])[0]:
        outlines[of].append([next(points) for _ in range(length)])
    for at in range(count):
        found = {"label": outputs["labels"][0][at], "class": outputs["classes"][0][at], "score": round(outputs["scores"][0][at], 5)}
        for name, one in (("boxes", "box"), ("corners", "corners"), ("keypoints", "keypoints")):
            if name in outputs:
                found[one] = outputs[name][0][at]
        if "contours" in outputs:
            found["polygons"] = outlines[at]
        yield found
