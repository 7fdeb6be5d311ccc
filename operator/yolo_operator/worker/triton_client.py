"""Asks one Triton server by its address, over HTTP and over gRPC, the way clients do.

HTTP is KServe's v2 protocol with binary tensors, spoken directly; gRPC goes through tritonclient. Proxies are not used: the
address is a pod's.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
import urllib3
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import NotReady, Unavailable

CONNECT_TIMEOUT = 5
ANSWER_TIMEOUT = 120
"""Seconds for one inference: on a busy CPU a full batch at 1280 pixels takes its time."""
TYPES = {"FP32": "<f4", "FP16": "<f2", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}

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

    def infer(self, tensor: Tensor, array: npt.NDArray[np.generic]) -> Arrays:
        """Outputs by name."""
        ...


class HttpClient:
    """KServe v2 over HTTP."""

    protocol = "HTTP"

    def __init__(self, address: str, port: int, model: str, version: int) -> None:
        host = f"[{address}]" if ":" in address else address
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

    def infer(self, tensor: Tensor, array: npt.NDArray[np.generic]) -> Arrays:
        """See Client."""
        raw = array.tobytes()
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": tensor.name,
                        "shape": list(array.shape),
                        "datatype": tensor.datatype,
                        "parameters": {"binary_data_size": len(raw)},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        answer = self._request("POST", "/infer", body=head + raw, headers={"Inference-Header-Content-Length": str(len(head)), "Connection": "close"})
        length = int(answer.headers.get("Inference-Header-Content-Length", len(answer.data)))
        return unpack(json.loads(answer.data[:length]), answer.data[length:])

    def _ask(self, method: str, path: str) -> bytes:
        return self._request(method, path).data

    def _request(self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._pool.request(method, f"{self._base}{path}", body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise NotReady("ModelNotReady", f"HTTP: {type(error).__name__} from {self._base}: is the pod still there?") from error
        if answer.status != 200:
            raise Unavailable("InferenceFailed", f"HTTP: {answer.status} from {self._base}{path}: {answer.data[:300].decode(errors='replace')}")
        return answer


def unpack(head: dict[str, Any], raw: bytes) -> Arrays:
    """Binary outputs, one after the other as the JSON head lists them."""
    arrays: Arrays = {}
    at = 0
    for output in head["outputs"]:
        size = int(output["parameters"]["binary_data_size"])
        values = np.frombuffer(raw[at : at + size], dtype=TYPES[output["datatype"]])
        arrays[output["name"]] = values.reshape(output["shape"])
        at += size
    return arrays


class GrpcClient:
    """KServe v2 over gRPC."""

    protocol = "gRPC"

    def __init__(self, address: str, port: int, model: str, version: int) -> None:
        host = f"[{address}]" if ":" in address else address
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

    def infer(self, tensor: Tensor, array: npt.NDArray[np.generic]) -> Arrays:
        """See Client."""
        given = triton.InferInput(tensor.name, list(array.shape), tensor.datatype)
        given.set_data_from_numpy(array)
        answer = self._asked(lambda: self._client.infer(self._model, [given], model_version=self._version, client_timeout=ANSWER_TIMEOUT))
        return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except (InferenceServerException, grpc.RpcError) as error:
            raise Unavailable("InferenceFailed", f"gRPC: {str(error)[:300]}") from error
