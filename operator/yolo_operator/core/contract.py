"""What the operator and its Jobs agree on: exit codes, termination messages, the layout in S3 and in the build Pod.

Read by the builders (which write the command lines), by the controller (which reads the answers) and by the workers
and the exporter (which give them). Values only: nothing here does I/O.
"""

import enum
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PERMANENT_EXIT_CODE = 42
"""A fault that only an edit of the spec or other weights can cure; the Job is not tried again."""

TRANSIENT_EXIT_CODE = 1
"""A transient fault; the Job is tried again, later the operator makes it anew."""

TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LIMIT = 2000
"""Bytes of a termination message: the kubelet allots 12 KiB to all containers of a Pod and cuts what is over."""

MAX_COUNT = 2**53
"""Largest number that an untrusted worker may report: every JSON reader holds it exactly."""

MANIFEST = "manifest.json"
CONFIG = "config.pbtxt"
GOLDEN = "golden.npz"
MAX_GOLDEN_BYTES = 512 * 1024 * 1024
GOLDEN_INPUT = "input"
"""Array of golden.npz that holds the model's input, float32 (1, 3, height, width), RGB, 0..1; the other arrays are outputs."""

WORKSPACE = "/work"
CHECK_DIRECTORY = f"{WORKSPACE}/check"
SOURCE_DIRECTORY = f"{WORKSPACE}/source"
EXPORT_DIRECTORY = f"{WORKSPACE}/export"
PICTURES_DIRECTORY = f"{WORKSPACE}/pictures"
PICTURE_DECODER_DIRECTORY = "/opt/picture-decoder"
"""Where OpenCV is, in the operator's image and in serving pods that take pictures."""
PICTURE_DECODER_VARIABLE = "PICTURE_DECODER"
REPOSITORY_DIRECTORY = "/repository"
"""Where a serving pod has the repository that its init container brings."""
VERDICT_FILE = "verdict.json"
"""Written by check: what fetch, export and publish still have to do (see `Verdict`)."""
SHARED_FILE = "shared.json"
"""Written by check for fetch: what the namespace has published, made in the same way; by the weights' sha256, as NAME/REVISION."""
SOURCE_FILE = "source.json"
ASSETS_URL = "https://github.com/ultralytics/assets/releases/latest/download"
"""Where ultralytics:// is downloaded from, if the administrator names no mirror."""
HUB_URL = "https://huggingface.co"
"""Where hf:// is downloaded from, if the administrator names no mirror."""
SOURCE_SECRET = {"token": "SOURCE_TOKEN", "username": "SOURCE_USERNAME", "password": "SOURCE_PASSWORD", "url": "SOURCE_URL"}
"""Keys of the Secret of a source that is not in S3, and the variables in which fetch gets them."""
DOCKER_CONFIG = ".dockerconfigjson"
REGISTRY_SECRET = {"username": "SOURCE_USERNAME", "password": "SOURCE_PASSWORD", DOCKER_CONFIG: "SOURCE_DOCKER_CONFIG"}
"""The same of a source in an OCI registry."""
PROXY_SECRET = {"username": "PROXY_USERNAME", "password": "PROXY_PASSWORD"}
"""The same of a proxy's Secret."""
EXPORT_FILE = "export.json"
ONNX_FILE = "model.onnx"


class Task(enum.StrEnum):
    """The five tasks of Ultralytics' models."""

    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    OBB = "obb"
    CLASSIFY = "classify"


def camel(name: str) -> str:
    """snake_case to camelCase: max_batch_size to maxBatchSize."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


class Value(BaseModel):
    """A frozen value, camelCase on the wire as everything in Kubernetes; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, alias_generator=camel)


class Recorded(Value):
    """A value that is kept in the resource's status: an older operator must be able to read what a newer one has written there."""

    model_config = ConfigDict(extra="ignore")


WireDatatype = Literal["FP32", "FP16"]
"""Types in which the Ultralytics client sends pictures and takes answers."""


class Tensor(Recorded):
    """An input or output of the model."""

    name: str
    datatype: str
    """As KServe's v2 protocol names it: FP32, FP16, INT64, …"""
    shape: list[int]
    """With the batch dimension; -1 for a dynamic dimension."""


class Quantization(Recorded):
    """What INT8 lost against FP32, on pictures that it was not calibrated with. Shares are 0 to 1; the threshold of a detection is 0.25."""

    agreement: Annotated[float, Field(ge=0, le=1)]
    """Share of FP32's detections that INT8 has too; for classify the share of pictures with the same class."""
    detections: Annotated[int, Field(ge=0, le=MAX_COUNT)]
    """Of FP32; for classify one for each picture."""
    extra_detections: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """Of INT8, which FP32 does not have."""
    score_difference: Annotated[float, Field(ge=0, le=1)] = 0
    """Mean difference of the scores of the detections that both have."""
    pictures: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    """Pictures that were compared."""
    calibration_pictures: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """Pictures that the ranges come from."""
    size_bytes: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """Of the INT8 ONNX."""
    size_bytes_float: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """Of the FP32 ONNX."""


class Artifact(Recorded):
    """What was published for one revision: recorded in the resource's status."""

    uri: str
    onnx_sha256: str
    size_bytes: int
    source_sha256: str
    task: Task
    classes: int
    classes_digest: str
    """sha256, first 16 hex, over the class names in order, as JSON."""
    image_size: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Height and width in pixels."""
    inputs: Annotated[list[Tensor], Field(min_length=1)]
    """As they are served: height and width are -1 where pictures of any size are taken."""
    outputs: list[Tensor]
    ultralytics: str = ""
    torch: str = ""
    opset: int = 0
    end_to_end: bool = False
    reference: Literal["pytorch", "onnxruntime"] = "pytorch"
    """What the golden outputs come from."""
    quantization: Quantization | None = None
    """What INT8 lost, where export.calibration made it."""

    @property
    def revision(self) -> str:
        """The revision it was published as: the last part of its URI."""
        return self.uri.rstrip("/").rpartition("/")[2]


class Verification(Recorded):
    """What the verify Job found on one pod."""

    latency_milliseconds: float
    worst_iou: Annotated[float, Field(alias="worstIoU")]
    worst_score_difference: float
    detections: int = 0


class ServedVerification(Verification):
    """The same of a model in a server that several share."""

    memory_bytes: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """What Triton took more after it was loaded than before; None where that cannot be told."""


class Comparison(Recorded):
    """What the analysis Job found: the new version against the stable one, while both took requests and on the same pictures.

    Times are means in milliseconds; rates and shares are 0 to 1; a figure that could not be had is absent.
    """

    verdict: Literal["Pass", "Fail", "Inconclusive"]
    message: str = ""
    """The figures that were over their limits, with the limits' fields; why it is inconclusive; pods and pictures that were left out."""
    requests: int = 0
    stable_requests: int = 0
    error_rate: float | None = None
    stable_error_rate: float | None = None
    latency_milliseconds: float | None = None
    stable_latency_milliseconds: float | None = None
    queue_milliseconds: float | None = None
    stable_queue_milliseconds: float | None = None
    pictures: int = 0
    detections_per_picture: float | None = None
    stable_detections_per_picture: float | None = None
    class_distance: float | None = None
    """Half the sum of the differences between the two histograms of classes found: 0 the same, 1 nothing in common."""
    confidence: float | None = None
    stable_confidence: float | None = None
    agreement: float | None = None
    """Share of the stable version's detections that the new one has too."""


class Source(Recorded):
    """source.json: what fetch brought."""

    uri: str = Field(max_length=4096)
    """Without credentials and query."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    kind: str = Field(pattern="^(pt|onnx|yaml)$")
    file_name: str = Field(max_length=255)
    reuse: str = ""
    """NAME/REVISION of what was published already of these weights: export has nothing to do then."""


class Verdict(Value):
    """What check found in the storage."""

    state: Literal["published", "reusable", "missing"]
    reuse: str = ""
    """Whose ONNX and golden picture serve this revision too, where state is reusable: a REVISION of this resource, or NAME/REVISION of one of its namespace."""


class Outcome(Value):
    """A worker's last word, its container's termination message: a result, or a reason and a message."""

    result: dict[str, Any] | None = None
    reason: str = ""
    message: str = ""

    def encode(self) -> str:
        """As JSON of at most TERMINATION_LIMIT bytes; a message too long is cut, a result too long is an error."""
        text = self.model_dump_json(by_alias=True, exclude_defaults=True)
        if len(text.encode()) <= TERMINATION_LIMIT:
            return text
        if self.result is not None:
            raise ValueError(f"a result of {len(text.encode())} bytes is over the {TERMINATION_LIMIT} of a termination message")
        over = len(text.encode()) - TERMINATION_LIMIT
        # Cut on bytes of the JSON: escapes make a character longer than itself, up to six bytes, so go on until it fits.
        message = self.message
        while over > 0 and message:
            message = message[: max(0, len(message) - max(over // 6, 1) - 1)]
            text = self.model_copy(update={"message": message + "…"}).model_dump_json(by_alias=True, exclude_defaults=True)
            over = len(text.encode()) - TERMINATION_LIMIT
        return text

    @classmethod
    def decode(cls, text: str) -> "Outcome | None":
        """Read a termination message; None where it is not one of ours (a crash, a kernel's kill, a cut text)."""
        try:
            return cls.model_validate(json.loads(text))
        except (ValueError, RecursionError):  # pydantic's ValidationError is a ValueError; foreign code may have written it
            return None
