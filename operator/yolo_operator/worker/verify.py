"""verify: asks one pod whether it serves what was published and answers what the reference answered."""

import logging
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message

from yolo_operator.core.contract import CONFIG, GOLDEN, MAX_GOLDEN_BYTES, Tensor, Verification
from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable
from yolo_operator.core.triton import picture_models
from yolo_operator.core.triton.description import lowest
from yolo_operator.core.triton.manifest import Manifest
from yolo_operator.core.triton.options import input_shape
from yolo_operator.model import golden
from yolo_operator.model.compare import LIMITS, Comparison, Layout, compare
from yolo_operator.worker import pbtxt, revisions, verify_pictures
from yolo_operator.worker.storage import Repository
from yolo_operator.worker.triton_client import Arrays, Client

log = logging.getLogger(__name__)

REQUESTS = 5
"""Timed requests; the median is reported."""
MAX_CONFIG_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What to verify and how strictly."""

    revision: str
    model_name: str
    version: int
    timeout: float
    """Seconds until the model must be ready."""
    precision: str = ""
    """FP32, FP16 or INT8, as the spec asks for; where the manifest says a lower one, that holds."""
    min_iou: float | None = None
    max_score_difference: float | None = None
    address: str = ""
    """IP of the pod, which is asked over HTTP where it takes pictures' files."""
    http_port: int = 8000
    served_as: str = ""
    """Name that the pod has the revision under, where it is not `model_name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What S3 says the pod must serve."""

    manifest: Manifest
    config: Message
    golden: golden.Golden
    pictures: Message | None
    """Configuration of the model that takes pictures' files, where there is one."""

    @property
    def layout(self) -> Layout:
        """How the comparison reads the outputs."""
        return Layout.of(self.manifest.model)


def run(repository: Repository, clients: list[Client], options: VerifyOptions) -> Verification:
    """Verify over every protocol. Raises ModelNotReady, MetadataMismatch, ConfigMismatch, WrongAnswers, InferenceFailed."""
    published = load(repository, options)
    wait_until_ready(clients, options)
    for client in clients:
        check_metadata(client, published.manifest)
        check_config(client, published.config)
    defaults = LIMITS[lowest(options.precision, published.manifest.precision)]
    min_iou = defaults[0] if options.min_iou is None else options.min_iou
    max_difference = defaults[1] if options.max_score_difference is None else options.max_score_difference
    found = Comparison(worst_iou=1.0, worst_score_difference=0.0, detections=0)
    for client in clients:
        for batch in batches(published.manifest):
            one = answers(client, published, batch)
            if not one.within(min_iou, max_difference):
                raise wrong(client, batch, one, min_iou, max_difference)
            found = found.worse(one)
    if published.pictures is not None:
        one = verify_pictures.run(
            options.address, options.http_port, options.model_name, options.version, published.pictures, published.golden, published.layout
        )
        if not one.within(min_iou, max_difference):
            raise wrong_pictures(one, min_iou, max_difference)
        found = found.worse(one)
    return Verification(
        latency_milliseconds=round(latency(clients[0], published), 2),
        worst_iou=round(found.worst_iou, 5),
        worst_score_difference=round(found.worst_score_difference, 6),
        detections=found.detections,
    )


def load(repository: Repository, options: VerifyOptions) -> Published:
    """Manifest, configuration and golden picture, each with the digest the manifest has."""
    revision = revisions.check_name(options.revision)
    manifest = revisions.manifest(repository, revision)
    if manifest is None:
        raise Unavailable("RevisionMissing", f"{repository.uri(revision)} has no manifest: it is published anew")
    if manifest.model_name != options.model_name or manifest.version != options.version:
        raise InvalidSpec("MetadataMismatch", f"{repository.uri(revision)} holds {manifest.model_name} version {manifest.version}")
    config = revisions.file(repository, manifest, f"{manifest.model_name}/{CONFIG}", MAX_CONFIG_BYTES)
    archive = revisions.file(repository, manifest, GOLDEN, MAX_GOLDEN_BYTES)
    beside = f"{manifest.model_name}{picture_models.SUFFIX}/{CONFIG}"
    try:
        parsed = pbtxt.parse(config.decode())
        pictures = pbtxt.parse(revisions.file(repository, manifest, beside, MAX_CONFIG_BYTES).decode()) if beside in manifest.files else None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise Unavailable("StorageInconsistent", f"{CONFIG} of {repository.uri(revision)} is not readable") from error
    if options.served_as:
        parsed.name = options.served_as
    return Published(manifest=manifest, config=parsed, golden=golden.read(archive), pictures=pictures)


def wait_until_ready(clients: list[Client], options: VerifyOptions) -> None:
    """Ask every second, over every protocol. Raises NotReady ModelNotReady after the timeout."""
    deadline = time.monotonic() + options.timeout
    waiting = list(clients)
    while waiting:
        waiting = [client for client in waiting if not client.ready()]
        if waiting and time.monotonic() > deadline:
            protocols = " and ".join(client.protocol for client in waiting)
            raise NotReady(
                "ModelNotReady",
                f"{options.served_as or options.model_name} version {options.version} is not ready over {protocols} after {options.timeout:.0f} s: see Triton's log",
            )
        if waiting:
            time.sleep(1)


def check_metadata(client: Client, manifest: Manifest) -> None:
    """Inputs and outputs by name, type and shape. Raises InvalidSpec MetadataMismatch."""
    served = client.metadata()
    for kind, published in (("inputs", manifest.artifact.inputs), ("outputs", manifest.artifact.outputs)):
        wanted = sorted((tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in published)
        found = sorted((tensor["name"], tensor["datatype"], tuple(int(size) for size in tensor["shape"])) for tensor in served[kind])
        if wanted != found:
            raise InvalidSpec("MetadataMismatch", f"{client.protocol}: the pod's {kind} are {found}, published were {wanted}")
    if str(manifest.version) not in served.get("versions", []):
        raise InvalidSpec("MetadataMismatch", f"{client.protocol}: the pod serves versions {served.get('versions')}, not {manifest.version}")


def check_config(client: Client, published: Message) -> None:
    """All that was published holds in the server; it adds defaults of its own. Raises InvalidSpec ConfigMismatch."""
    difference = first_difference(published, client.config(), "")
    if difference:
        raise InvalidSpec("ConfigMismatch", f"{client.protocol}: the pod's configuration differs from the published one at {difference}")


def first_difference(wanted: Any, found: Any, path: str) -> str:
    """Path of the first field that is set in `wanted` and other in `found`, "" where there is none."""
    if not isinstance(wanted, Message):
        return "" if wanted == found else path
    for field, value in wanted.ListFields():
        place, other = f"{path}.{field.name}".lstrip("."), getattr(found, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            pairs = [(value[key], other[key], f"{place}[{key}]") if key in other else (1, 0, f"{place}[{key}]") for key in sorted(value)]
        elif hasattr(value, "extend"):
            if len(value) != len(other):
                return place
            pairs = [(one, two, f"{place}[{at}]") for at, (one, two) in enumerate(zip(value, other, strict=True))]
        elif field.message_type is not None and not found.HasField(field.name):
            return place
        else:
            pairs = [(value, other, place)]
        for one, two, where in pairs:
            difference = first_difference(one, two, where)
            if difference:
                return difference
    return ""


def batches(manifest: Manifest) -> list[int]:
    """Batch sizes to ask with: one picture and the largest batch, or the one the ONNX is fixed to."""
    if manifest.max_batch_size == 0:
        return [input_shape(manifest.model)[0]]
    return sorted({1, manifest.max_batch_size})


def answers(client: Client, published: Published, batch: int) -> Comparison:
    """Ask with `batch` golden pictures, or as many as the client affords, and compare each answer with the reference."""
    found = Comparison(worst_iou=1.0, worst_score_difference=0.0, detections=0)
    if published.manifest.max_batch_size:
        batch = client.affordable(batch, sum(array.nbytes for array in (published.golden.input, *published.golden.outputs.values())))
    for one in ask(client, published, batch):
        found = found.worse(compare(published.golden.outputs, one, published.layout))
    log.info(
        "%s batch %d: worst IoU %.5f, worst score difference %.6f, %d detections",
        client.protocol,
        batch,
        found.worst_iou,
        found.worst_score_difference,
        found.detections,
    )
    return found


def ask(client: Client, published: Published, batch: int) -> Iterator[Arrays]:
    """The answers to the golden picture, asked `batch` times at once."""
    tensor: Tensor = published.manifest.model.onnx.inputs[0]
    return client.infer(tensor, golden.repeated(published.golden.input, tensor.datatype, 1), batch)


def wrong(client: Client, batch: int, found: Comparison, min_iou: float, max_difference: float) -> InvalidSpec:
    """What is said about an answer that is not the reference's."""
    return InvalidSpec(
        "WrongAnswers",
        f"{client.protocol}, batch {batch}: the golden picture's answer differs from the reference: worst IoU {found.worst_iou:.4f} "
        f"(at least {min_iou}), worst score difference {found.worst_score_difference:.4f} (at most {max_difference}), "
        f"{found.detections} detections; lower the precision's demands in spec.rollout.verify or rebuild the version",
    )


def wrong_pictures(found: Comparison, min_iou: float, max_difference: float) -> InvalidSpec:
    """The same of the model that takes pictures' files."""
    return verify_pictures.wrong(
        f"worst IoU {found.worst_iou:.4f} (at least {min_iou}), worst score difference {found.worst_score_difference:.4f} (at most {max_difference})"
    )


def latency(client: Client, published: Published) -> float:
    """Median of single requests, in milliseconds, transfer included."""
    batch = batches(published.manifest)[0]
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        for _ in ask(client, published, batch):
            pass
        times.append((time.perf_counter() - began) * 1000)
    return float(np.round(statistics.median(times), 3))
