"""Asks one Triton server by its address, over HTTP and over gRPC, the way clients do.

HTTP is KServe's v2 protocol with binary tensors, spoken directly, and holds one picture in memory whatever the batch is; gRPC goes
through tritonclient, which holds a batch several times over. Proxies are not used: the address is a pod's.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
import urllib3
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from yolo_operator.core.addresses import url_host
from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import NotReady, Unavailable

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5
ANSWER_TIMEOUT = 120
"""Seconds for one inference: on a busy CPU a full batch at 1280 pixels takes its time."""
TYPES = {"FP32": "<f4", "FP16": "<f2", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}

GRPC_BYTES = 128 * 1024 * 1024
"""Requests and answers of more are not made over gRPC: 16 pictures of 640 x 640 fit."""
HTTP_BYTES = 64 * 1024 * 1024
"""What a server takes over HTTP that is not told to take more, as the operator tells it where the release is known."""

Arrays = dict[str, npt.NDArray[np.generic]]


class Client(Protocol):
    """What verification asks, whatever the protocol."""

    protocol: str

    def ready(self) -> bool:
        """Whether this version of the model is ready; False where nothing answers yet."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Inputs, outputs and versions as the server sees them: {inputs: [{name, datatype, shape}], …}."""
        ...

    def config(self) -> pb.ModelConfig:
        """The configuration the server runs with."""
        ...

    def affordable(self, batch: int, size: int) -> int:
        """How many of `batch` pictures may be asked at once, each of so many bytes, with its answer."""
        ...

    def infer(self, tensor: Tensor, picture: npt.NDArray[np.generic], batch: int) -> Iterator[Arrays]:
        """Ask with a batch of equal pictures; outputs by name of each, with a batch dimension of 1. Fewer, where the server takes fewer."""
        ...


class HttpClient:
    """KServe v2 over HTTP."""

    protocol = "HTTP"

    def __init__(self, address: str, port: int, model: str, version: int) -> None:
        host = url_host(address)
        self._base = f"http://{host}:{port}/v2/models/{model}/versions/{version}"
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=ANSWER_TIMEOUT), retries=False)

    def ready(self) -> bool:
        """See Client."""
        try:
            return self._pool.request("GET", f"{self._base}/ready", timeout=CONNECT_TIMEOUT).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def metadata(self) -> dict[str, Any]:
        """See Client."""
        answer: dict[str, Any] = json.loads(self._ask("GET", ""))
        return answer

    def config(self) -> pb.ModelConfig:
        """See Client."""
        return json_format.Parse(self._ask("GET", "/config"), pb.ModelConfig(), ignore_unknown_fields=True)

    def affordable(self, batch: int, size: int) -> int:  # noqa: ARG002  one picture is held, of any batch
        """See Client."""
        return batch

    def infer(self, tensor: Tensor, picture: npt.NDArray[np.generic], batch: int) -> Iterator[Arrays]:
        """See Client. The answer goes through a temporary file: one output follows the other in it, each of the whole batch."""
        raw = picture.tobytes()
        try:
            answer = self._ask_for(tensor, picture.shape[1:], raw, batch)
        except RequestTooLargeError as error:
            fits = (HTTP_BYTES - 1024 * 1024) // len(raw)
            if not 0 < fits < batch:
                raise Unavailable("InferenceFailed", f"HTTP: {error}: lower spec.triton.maxBatchSize, or set spec.triton.release") from error
            log.warning("HTTP: %d pictures are more than the server takes (%s): asking with %d", batch, error, fits)
            answer, batch = self._ask_for(tensor, picture.shape[1:], raw, fits), fits
        with answer, tempfile.TemporaryFile() as file:
            head = json.loads(answer.read(int(answer.headers["Inference-Header-Content-Length"])))
            shutil.copyfileobj(answer, file, 1024 * 1024)
            outputs = list(placed(head))
            for at in range(batch):
                yield {output.name: output.picture(file, at) for output in outputs}

    def _ask_for(self, tensor: Tensor, shape: tuple[int, ...], raw: bytes, batch: int) -> urllib3.BaseHTTPResponse:
        """The answer's beginning. The request repeats one picture's bytes."""
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": tensor.name,
                        "shape": [batch, *shape],
                        "datatype": tensor.datatype,
                        "parameters": {"binary_data_size": len(raw) * batch},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        headers = {
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Length": str(len(head) + len(raw) * batch),
            "Connection": "close",
        }
        address = f"{self._base}/infer"
        # A server that was asked to close a connection need not say in its answer that it does: the request before left one that looks usable.
        self._pool.clear()
        try:
            answer = self._pool.request("POST", address, body=(head, *[raw] * batch), headers=headers, preload_content=False)
        except urllib3.exceptions.ProtocolError as error:
            if len(raw) * batch > HTTP_BYTES:
                raise RequestTooLargeError("it closed the connection") from error
            raise self._gone(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._gone(error) from error
        if answer.status != 200:
            with answer:
                said = answer.read(300).decode(errors="replace")
            if answer.status == 413 or "http-max-input-size" in said:
                raise RequestTooLargeError(said)
            raise Unavailable("InferenceFailed", f"HTTP: {answer.status} from {address}: {said}")
        return answer

    def _ask(self, method: str, path: str) -> bytes:
        try:
            answer = self._pool.request(method, f"{self._base}{path}")
        except urllib3.exceptions.HTTPError as error:
            raise self._gone(error) from error
        if answer.status != 200:
            raise Unavailable("InferenceFailed", f"HTTP: {answer.status} from {self._base}{path}: {answer.data[:300].decode(errors='replace')}")
        return answer.data

    def _gone(self, error: Exception) -> NotReady:
        return NotReady("ModelNotReady", f"HTTP: {type(error).__name__} from {self._base}: is the pod still there?")


class RequestTooLargeError(Exception):
    """The server takes no request of this size over HTTP; the text is its own."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One output in the binary part of an answer."""

    name: str
    datatype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    size: int
    """Bytes, of the whole batch."""

    def picture(self, file: IO[bytes], at: int) -> npt.NDArray[np.generic]:
        """The answer to the picture at a place of the batch."""
        length = self.size // self.shape[0]
        file.seek(self.start + at * length)
        return np.frombuffer(file.read(length), dtype=self.datatype).reshape(1, *self.shape[1:])


def placed(head: dict[str, Any]) -> Iterator[Placed]:
    """Where the outputs are: one after the other as the JSON head lists them."""
    at = 0
    for output in head["outputs"]:
        size = int(output["parameters"]["binary_data_size"])
        yield Placed(output["name"], np.dtype(TYPES[output["datatype"]]), tuple(output["shape"]), at, size)
        at += size


class GrpcClient:
    """KServe v2 over gRPC."""

    protocol = "gRPC"

    def __init__(self, address: str, port: int, model: str, version: int) -> None:
        host = url_host(address)
        self._model, self._version = model, str(version)
        limit = 2**31 - 1
        self._client = triton.InferenceServerClient(
            f"{host}:{port}",
            channel_args=[
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_send_message_length", limit),
                ("grpc.max_receive_message_length", limit),
            ],
        )

    def ready(self) -> bool:
        """See Client."""
        try:
            return bool(self._client.is_model_ready(self._model, self._version, client_timeout=CONNECT_TIMEOUT))
        except (InferenceServerException, grpc.RpcError):
            return False

    def metadata(self) -> dict[str, Any]:
        """See Client."""
        answer: dict[str, Any] = self._asked(
            lambda: json_format.MessageToDict(
                self._client.get_model_metadata(self._model, self._version, client_timeout=ANSWER_TIMEOUT),
                preserving_proto_field_name=True,
            )
        )
        return answer

    def config(self) -> pb.ModelConfig:
        """See Client."""
        return self._asked(lambda: self._client.get_model_config(self._model, self._version, client_timeout=ANSWER_TIMEOUT).config)

    def affordable(self, batch: int, size: int) -> int:
        """See Client."""
        return max(1, min(batch, GRPC_BYTES // size))

    def infer(self, tensor: Tensor, picture: npt.NDArray[np.generic], batch: int) -> Iterator[Arrays]:
        """See Client."""
        given = triton.InferInput(tensor.name, [batch, *picture.shape[1:]], tensor.datatype)
        given.set_data_from_numpy(np.repeat(picture, batch, axis=0))
        answer = self._asked(lambda: self._client.infer(self._model, [given], model_version=self._version, client_timeout=ANSWER_TIMEOUT))
        outputs = {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}
        for at in range(batch):
            yield {name: array[at : at + 1] for name, array in outputs.items()}

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except (InferenceServerException, grpc.RpcError) as error:
            raise Unavailable("InferenceFailed", f"gRPC: {str(error)[:300]}") from error
