"""Steady load: clients that ask without a pause for breath, count what fails, and tell by the answer which version gave it."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np
import tritonclient.grpc as triton
import urllib3

from e2e.altered import POISON

CLASSES = {5: 1, 10: 2}
"""Channels of the output (4 of a box, one per class) and the version that has so many: goldmine knows 1 class, railway 6."""
TIMEOUT = 20.0


def version_of(channels: int) -> int:
    """What an answer is counted as: the version, or for models besides those two the channels themselves."""
    return CLASSES.get(channels, channels)


@dataclass(slots=True)
class Tally:
    """What was answered and what was not."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def share(self, version: int) -> float:
        """Share of the answers that a version gave."""
        return self.answers[version] / max(1, self.answers.total())

    def since(self, earlier: "Tally") -> "Tally":
        """What has been counted since an earlier look."""
        return Tally(self.answers - earlier.answers, self.failures[len(earlier.failures) :])

    def __str__(self) -> str:
        return f"{self.answers.total()} answers, by version {dict(sorted(self.answers.items()))}, {len(self.failures)} failures {self.failures[:5]}"


def record_fault(record_property: Callable[[str, str], None], fault: str, lost: str, seconds: float | None = None) -> None:
    """A row of docs/reliability.md: a fault that the whole cluster met once and that ended well; `seconds` until all had healed."""
    row = {"Fault": fault, "On": "the whole cluster", "Tried": "1", "Ended well": "1", "Requests lost": lost}
    for column, text in (row | ({} if seconds is None else {"Seconds to recover": f"{seconds:.0f}"})).items():
        record_property(column, text)


class Load:
    """Threads that each ask, wait `pause` seconds, and ask again; a connection each request, or one for each client (keep_alive).

    `size` is the side of the picture in pixels; `poison` is the share of HTTP requests with a picture that `altered.failing` cannot answer; everything else can.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        http: int = 8,
        grpc: int = 2,
        keep_alive: bool = False,
        ports: tuple[int, int] = (8000, 8001),
        hosts: tuple[str, str] = ("", ""),
        pause: float = 0.1,
        poison: float = 0.0,
        size: int = 64,
    ) -> None:
        self._address, self._model, self._ports, self._hosts = address, model, ports, hosts
        self._keep_alive, self._pause = keep_alive, pause
        self._tally, self._lock, self._stop = Tally(), threading.Lock(), threading.Event()
        clients: Sequence[Callable[[], None]] = [self._ask_http] * http + [self._ask_grpc] * grpc
        self._threads = [threading.Thread(target=client, daemon=True) for client in clients]
        self._picture = np.full((1, 3, size, size), 0.5, np.float32)
        body = json.dumps(
            {
                "inputs": [
                    {
                        "name": "images",
                        "shape": list(self._picture.shape),
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": self._picture.nbytes},
                    }
                ],
                "outputs": [{"name": "output0", "parameters": {"binary_data": True}}],
            }
        ).encode()
        self._headers = {"Inference-Header-Content-Length": str(len(body))} | ({"Host": hosts[0]} if hosts[0] else {})
        poisoned = self._picture.copy()
        poisoned[0, 0, 0, 0] = POISON
        self._body, self._poisoned, self._poison = body + self._picture.tobytes(), body + poisoned.tobytes(), poison

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 5)

    def so_far(self) -> Tally:
        """All that has been counted."""
        with self._lock:
            return Tally(Counter(self._tally.answers), list(self._tally.failures))

    def during(self, seconds: float) -> Tally:
        """What is counted in so many seconds from now on."""
        before = self.so_far()
        time.sleep(seconds)
        return self.so_far().since(before)

    def _count(self, version: int, failure: str = "") -> None:
        with self._lock:
            if failure:
                self._tally.failures.append(failure)
            else:
                self._tally.answers[version] += 1

    def _ask_http(self) -> None:
        pool = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False, timeout=TIMEOUT)
        close = {} if self._keep_alive else {"Connection": "close"}
        url = f"http://{self._address}:{self._ports[0]}/v2/models/{self._model}/infer"
        while not self._stop.wait(self._pause):
            try:
                body = self._poisoned if random.random() < self._poison else self._body
                answer = pool.request("POST", url, body=body, headers=self._headers | close)
            except urllib3.exceptions.HTTPError as error:
                self._count(0, f"HTTP {type(error).__name__}: {error}"[:200])
                continue
            if answer.status != 200:
                self._count(0, f"HTTP {answer.status}: {answer.data[:160]!r}")
                continue
            header = json.loads(answer.data[: int(answer.headers["Inference-Header-Content-Length"])])
            self._count(version_of(header["outputs"][0]["shape"][1]))

    def _ask_grpc(self) -> None:
        tensor = triton.InferInput("images", list(self._picture.shape), "FP32")
        tensor.set_data_from_numpy(self._picture)
        client: triton.InferenceServerClient | None = None
        while not self._stop.wait(self._pause):
            if client is None:
                options = [("grpc.use_local_subchannel_pool", 1), *([("grpc.default_authority", self._hosts[1])] if self._hosts[1] else [])]
                client = triton.InferenceServerClient(f"{self._address}:{self._ports[1]}", channel_args=options)
            try:
                answer = client.infer(self._model, [tensor], client_timeout=TIMEOUT)
                self._count(version_of(answer.as_numpy("output0").shape[1]))
            except (triton.InferenceServerException, grpc.RpcError) as error:
                self._count(0, f"gRPC {error}"[:200])
            if not self._keep_alive:
                client.close()
                client = None
