"""The publish container is killed between two uploads: Triton never sees half a repository, and the rerun succeeds."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.cluster import HOST, Cluster, Manifest
from e2e.storage import Storage
from e2e.wire import Wire

UPLOADS = ("config.pbtxt", "model.onnx", "golden.npz", "manifest.json")


class Turnstile(Wire):
    """A wire to the S3 server that holds the first upload of a file until it is told to let go."""

    def __init__(self, server: str, port: int, stop_at: str) -> None:
        self._stop_at = f"{stop_at} HTTP".encode()
        self.reached, self._open = threading.Event(), threading.Event()
        super().__init__((server, port), HOST)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{self.address}"

    def let_go(self) -> None:
        """Hold nothing any more."""
        self._open.set()

    def hold(self, data: bytes, from_client: bool) -> None:
        """A PUT of that file."""
        if from_client and data.startswith(b"PUT ") and self._stop_at in data.partition(b"\r\n")[0] and not self._open.is_set():
            self.reached.set()
            self._open.wait()


@pytest.fixture
def turnstile(cluster: Cluster, storage: Storage) -> Iterator[Callable[[str], Turnstile]]:
    made: list[Turnstile] = []
    address = cluster.service_ip("e2e-storage", "s3")

    def make(stop_at: str) -> Turnstile:
        made.append(Turnstile(address, 8333, stop_at))
        return made[-1]

    yield make
    for each in made:
        each.let_go()
        each.close()


def publisher(namespace: str) -> int:
    """PID of the publish container's process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            arguments = path.read_bytes().split(b"\0")
            if b"publish" in arguments and any(namespace.encode() in argument for argument in arguments):
                return int(path.parent.name)
    raise AssertionError("no publish container runs")


@pytest.mark.matrix
@pytest.mark.parametrize("upload", UPLOADS)
def test_publish_is_killed_before_an_upload(
    upload: str, cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], storage: Storage, turnstile: Callable[[str], Turnstile]
) -> None:
    held = turnstile(upload)
    place = {"uri": "s3://models/yolo", "endpoint": held.endpoint, "secretRef": {"name": "s3-credentials"}}
    source = {"uri": "s3://weights/goldmine-detect.pt", "endpoint": "http://s3.e2e-storage.svc:8333", "secretRef": {"name": "s3-credentials"}}
    cluster.apply(yolo(namespace, storage=place, versions=[{"version": 1, "source": source}]))
    cluster.wait(f"the upload of {upload}", held.reached.is_set)
    there = {key.rpartition("/")[2] for key in storage.keys("models", f"yolo/{namespace}/model/")}

    os.kill(publisher(namespace), signal.SIGKILL)
    held.let_go()

    assert upload not in there
    assert "manifest.json" not in there
    assert cluster.list("deployments", namespace) == [], "Triton is started on half a repository"
    status = cluster.wait_ready(namespace, "model")["status"]
    assert status["versions"][0]["phase"] == "Serving"
    (job,) = cluster.list("jobs", namespace, "app.kubernetes.io/component=build")
    assert job["status"]["failed"] == 1, "the container was not killed"
