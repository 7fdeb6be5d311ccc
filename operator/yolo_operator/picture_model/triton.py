"""Triton's side: requests in, the network asked for all their pictures at once, answers out."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from . import answer
from .answer import Detections
from .decode import Limits, PictureError, decode
from .resize import Letterbox, crop, letterbox

Array = npt.NDArray[Any]

NOWHERE = Letterbox(1, 1, 1, 1, 0, 0)
"""Of a picture without places."""


@dataclass(frozen=True)
class Settings:
    """The parameter `pictures` of config.pbtxt, as core/triton/picture_models.py writes it."""

    network: str
    """The model that takes pixels and answers rows."""
    task: str
    labels: list[str]
    size: tuple[int, int]
    """Height and width."""
    stride: int
    """0: pictures fill the whole size."""
    max_batch_size: int
    final: bool
    """The network takes no thresholds: its rows have gone through an NMS, or need none."""
    confidence: float
    iou: float
    max_detections: int
    """Of the network's NMS."""
    limits: Limits
    keypoints: tuple[int, int] | None = None
    """Number, and values of each, for pose."""


@dataclass(frozen=True)
class Prepared:
    """A picture as the network sees it, height x width x 3, RGB, and where it lies in there."""

    pixels: Array
    frame: Letterbox


class TritonPythonModel:
    """What the Python backend asks for by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration."""
        config = json.loads(args["model_config"])
        given = json.loads(config["parameters"]["pictures"]["string_value"])
        limits = Limits(given.pop("max_bytes"), given.pop("max_pixels"))
        given["size"] = tuple(given["size"])
        self.settings = Settings(limits=limits, **given)
        # There are as many processes as the Pod has CPUs; OpenCV by itself takes a thread per core of the node, in each.
        cv2.setNumThreads(1)
        self.warm_up()

    def warm_up(self) -> None:
        """So that no request waits for what libraries do at their first picture of a format."""
        black = np.zeros((64, 48, 3), np.uint8)
        for suffix in (".jpg", ".png", ".webp"):
            self.prepare(cv2.imencode(suffix, black)[1].tobytes())
        self.nothing()

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; what is wrong with one hurts no other."""
        return [await self.respond(request) for request in requests]

    async def respond(self, request: Any) -> Any:
        """An error where no picture of the request can be answered; else the answers, and per picture what was wrong with it."""
        try:
            files = pb_utils.get_input_tensor_by_name(request, "picture").as_numpy().reshape(-1)
            confidence, iou = self.thresholds(json.loads(request.parameters() or "{}"))
            prepared = [self.prepare(file) for file in files]
            wrong = [each for each in prepared if isinstance(each, PictureError)]
            if len(wrong) == len(prepared):
                raise wrong[0] if wrong else PictureError("there is no picture in the request")
            found = await self.found([each for each in prepared if isinstance(each, Prepared)], confidence, iou)
        except PictureError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        except pb_utils.TritonModelException as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        answers = iter(found)
        told = [self.nothing() if isinstance(each, PictureError) else next(answers) for each in prepared]
        errors = [str(each) if isinstance(each, PictureError) else "" for each in prepared]
        return pb_utils.InferenceResponse([tensor(name, array) for name, array in self.outputs(told, errors).items()])

    def thresholds(self, parameters: dict[str, Any]) -> tuple[float, float]:
        """Confidence and IoU: the request's, where its parameters have them. Raises PictureError."""
        found = []
        for name, usual in (("confidence", self.settings.confidence), ("iou", self.settings.iou)):
            value = parameters.get(name, usual)
            try:
                value = float(value)
            except (TypeError, ValueError):
                value = -1.0
            if not 0 <= value <= 1:
                raise PictureError(f"the request's parameter {name!r} is {parameters[name]!r}: give a number from 0 to 1")
            found.append(value)
        return found[0], found[1]

    def prepare(self, file: bytes) -> Prepared | PictureError:
        """One file, or what is wrong with it."""
        settings = self.settings
        try:
            picture = decode(bytes(file), settings.limits)
        except PictureError as error:
            return error
        if settings.task == "classify":
            return Prepared(crop(picture, settings.size), NOWHERE)
        return Prepared(*letterbox(picture, settings.size, settings.stride))

    async def found(self, pictures: Sequence[Prepared], confidence: float, iou: float) -> list[Detections]:
        """Detections per picture. Equal shapes go to the network together, all of them at once."""
        shapes: dict[tuple[int, ...], list[int]] = {}
        for at, each in enumerate(pictures):
            shapes.setdefault(each.pixels.shape, []).append(at)
        most = self.settings.max_batch_size
        batches = [same[start : start + most] for same in shapes.values() for start in range(0, len(same), most)]
        answered = await asyncio.gather(*(self.ask([pictures[at] for at in batch], confidence, iou) for batch in batches))
        places = {at: detections for batch, answers in zip(batches, answered, strict=True) for at, detections in zip(batch, answers, strict=True)}
        return [places[at] for at in range(len(pictures))]

    async def ask(self, pictures: Sequence[Prepared], confidence: float, iou: float) -> list[Detections]:
        """Detections of pictures of one shape."""
        settings, count = self.settings, len(pictures)
        inputs = [pb_utils.Tensor("pixels", np.stack([each.pixels for each in pictures]))]
        if not settings.final:
            # The graph keeps what overlaps by no more than an FP32, Ultralytics compares in FP64.
            limit = np.float32(iou)
            limit = limit if float(limit) <= iou else np.nextafter(limit, np.float32(-1))
            inputs += [pb_utils.Tensor(name, np.full((count, 1), value, np.float32)) for name, value in (("confidence", confidence), ("iou", limit))]
        outputs = ["rows", "prototypes"] if settings.task == "segment" else ["rows"]
        host = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)
        asked = pb_utils.InferenceRequest(model_name=settings.network, requested_output_names=outputs, inputs=inputs, preferred_memory=host)
        response = await asked.async_exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        rows, *others = [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]
        return [self.detections(each, rows[at], [other[at] for other in others], confidence) for at, each in enumerate(pictures)]

    def detections(self, picture: Prepared, rows: Array, others: Sequence[Array], confidence: float) -> Detections:
        """One picture's, from the network's rows."""
        settings = self.settings
        if settings.task == "classify":
            return answer.classify(rows)
        rows = rows[rows[:, 4] > confidence].astype(np.float32)
        if settings.task == "obb":
            return answer.orient(rows, picture.frame)
        if settings.task == "pose" and settings.keypoints:
            return answer.pose(rows, picture.frame, settings.keypoints)
        if settings.task == "segment":
            return answer.segment(rows, picture.frame, others[0], picture.pixels.shape[:2])
        return answer.detect(rows, picture.frame)

    def nothing(self) -> Detections:
        """The answer to a picture that is none."""
        if self.settings.task == "classify":
            return Detections(np.zeros(0, np.float32), np.zeros(0, np.int32))
        rows = np.zeros((0, 7 if self.settings.task == "obb" else 6 + int(np.prod(self.settings.keypoints or (0,)))), np.float32)
        return self.detections(Prepared(np.zeros((1, 1, 3), np.uint8), NOWHERE), rows, [np.zeros((0, 1, 1), np.float32)], 0)

    def outputs(self, found: Sequence[Detections], errors: Sequence[str]) -> dict[str, Array]:
        """All outputs by name, picture by picture: fewer than the picture with the most are followed by zeros."""
        labels = self.settings.labels
        told = {"count": np.array([[len(each.scores)] for each in found], np.int32)}
        told["scores"] = padded([each.scores for each in found])
        told["classes"] = padded([each.classes for each in found])
        told["labels"] = padded([np.array([labels[kind].encode() for kind in each.classes], np.object_) for each in found], b"")
        for name in found[0].places:
            told[name] = padded([each.places[name] for each in found])
        told["errors"] = np.array([[error.encode()] for error in errors], np.object_)
        return told


def padded(arrays: Sequence[Array], filling: object = 0) -> Array:
    """One array of several whose first dimension differs."""
    made = np.full((len(arrays), max(len(each) for each in arrays), *arrays[0].shape[1:]), filling, arrays[0].dtype)
    for at, each in enumerate(arrays):
        made[at, : len(each)] = each
    return made


def tensor(name: str, array: Array) -> Any:
    """An output."""
    return pb_utils.Tensor(name, np.ascontiguousarray(array))
