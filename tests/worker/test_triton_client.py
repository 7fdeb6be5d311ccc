"""Asking over HTTP: batches are streamed, and a server that takes less is asked with less."""

import json
from http.server import ThreadingHTTPServer

import numpy as np
import pytest

import http_server
from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import NotReady, Unavailable
from yolo_operator.worker import triton_client

TENSOR = Tensor(name="images", datatype="FP32", shape=[-1, 3, 4, 4])
PICTURE = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
REFUSAL = b'{"error":"Request JSON size of 99 bytes exceeds the maximum allowed value of 64 bytes. Use --http-max-input-size to increase the limit."}'


class Handler(http_server.Quiet):
    """A stand-in for a Triton that takes requests up to a limit; the answers to a picture are its sum and its place in the batch."""

    server: "Server"

    def do_POST(self):  # noqa: N802  as http.server calls it
        size, head = (int(self.headers[name]) for name in ("Content-Length", "Inference-Header-Content-Length"))
        body = self.rfile.read(size)
        asked = json.loads(body[:head])["inputs"][0]
        self.server.asked.append(asked["shape"][0])
        if size > self.server.limit:
            self.send(self.server.status, REFUSAL)
            return
        pictures = np.frombuffer(body[head:], np.float32).reshape(asked["shape"])
        outputs = {"sums": pictures.sum((1, 2, 3))[:, None], "places": np.arange(len(pictures), dtype=np.int64)[:, None]}
        described = [
            {"name": name, "datatype": {"f": "FP32", "i": "INT64"}[array.dtype.kind], "shape": array.shape, "parameters": {"binary_data_size": array.nbytes}}
            for name, array in outputs.items()
        ]
        answer = json.dumps({"outputs": described}).encode()
        self.send(200, answer + b"".join(array.tobytes() for array in outputs.values()), {"Inference-Header-Content-Length": str(len(answer))})

    def send(self, status, content, headers=None):
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[int] = []
        self.limit, self.status = 10**9, 400


@pytest.fixture
def server():
    made = Server()
    with http_server.running(made):
        yield made


@pytest.fixture
def client(server):
    return triton_client.HttpClient("127.0.0.1", server.server_address[1], "helmet", 1)


def test_each_picture_of_a_batch_has_its_own_answer(server, client):
    answers = list(client.infer(TENSOR, PICTURE, 5))
    assert [one["places"].tolist() for one in answers] == [[[at]] for at in range(5)]
    assert all(one["sums"].tolist() == [[PICTURE.sum()]] for one in answers)
    assert server.asked == [5]


@pytest.mark.parametrize("status", [400, 413])
def test_a_server_that_takes_less_is_asked_with_what_it_takes(server, client, monkeypatch, status):
    monkeypatch.setattr(triton_client, "HTTP_BYTES", 1024 * 1024 + 3 * PICTURE.nbytes)
    server.limit, server.status = 5 * PICTURE.nbytes, status
    assert len(list(client.infer(TENSOR, PICTURE, 8))) == 3
    assert server.asked == [8, 3]


def test_a_single_picture_that_is_too_large_names_the_field(server, client):
    server.limit = 1
    with pytest.raises(Unavailable) as caught:
        list(client.infer(TENSOR, PICTURE, 1))
    assert caught.value.reason == "InferenceFailed"
    assert "spec.triton.maxBatchSize" in caught.value.message
    assert "http-max-input-size" in caught.value.message


def test_a_server_that_is_gone_is_not_ready(client, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(NotReady):
        list(client.infer(TENSOR, PICTURE, 2))
