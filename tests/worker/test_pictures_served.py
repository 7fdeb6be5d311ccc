"""A picture's file to <model>-pictures: published to a real S3, loaded by a real Triton, asked as curl asks."""

import base64
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import seaweed
import triton_server
import yolo_models

from yolo_operator import cli
from yolo_operator.core.contract import Verification
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.resources.triton import PYTHON_ALIVE
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.core.triton.picture_models import PictureOptions
from yolo_operator.worker import storage, verify
from yolo_operator.worker.triton_client import GrpcClient, HttpClient

REVISION = "0123456789"
OPTIONS = PictureOptions(max_bytes=1 << 20, max_pixels=4_000_000, confidence=0.25, iou=0.7, max_detections=300, instances=2)

pytestmark = pytest.mark.skipif(not triton_server.is_possible(), reason="needs the CPU backend and a shared libpython")


@dataclass(frozen=True)
class Served:
    url: str
    verified: Callable[[], Verification]

    def asked(self, *files: bytes, **parameters: object) -> dict[str, np.ndarray]:
        """Outputs by name."""
        data = [base64.b64encode(file).decode() for file in files]
        body = {"inputs": [{"name": "picture", "shape": [len(files), 1], "datatype": "BYTES", "data": data}], "parameters": parameters}
        answer = json.loads(self.posted("infer", json.dumps(body).encode()))
        return {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in answer["outputs"]}

    def posted(self, way: str, body: bytes, **headers: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/{way}", body, headers={name.replace("_", "-"): value for name, value in headers.items()})
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def refused(self, *files: bytes, **parameters: object) -> str:
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.asked(*files, **parameters)
        assert caught.value.code == 400
        return json.load(caught.value)["error"]


def published(repository, tmp_path, *, max_batch_size: int) -> None:
    pod = yolo_models.build_pod(tmp_path / "pod")
    serving = ServingOptions(model_name="helmet", version=3, gpu=False, max_batch_size=max_batch_size)
    pod.publish(repository, serving, pictures=OPTIONS)


@contextmanager
def serving(repository, weed, tmp_path, spoil=None) -> Iterator[Served]:
    """`spoil`: a file of picture_model, and what is replaced in it by what."""
    published(repository, tmp_path, max_batch_size=4)
    if spoil:
        key = f"{REVISION}/helmet-pictures/3/picture_model/{spoil[0]}"
        repository.write(key, repository.read(key, 1 << 20).replace(*spoil[1:]), "")
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log") as (http, grpc, _):
        clients = [HttpClient("127.0.0.1", http, "helmet", 3), GrpcClient("127.0.0.1", grpc, "helmet", 3)]
        asked = verify.VerifyOptions(revision=REVISION, model_name="helmet", version=3, timeout=30, address="127.0.0.1", http_port=http)
        yield Served(f"http://127.0.0.1:{http}/v2/models/helmet-pictures", lambda: verify.run(repository, clients, asked))


@pytest.fixture(scope="module")
def served(tmp_path_factory, weed) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", seaweed.KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.SECRET)
        repository = storage.Repository("s3://models/test/ns/pictures", storage.StorageOptions(endpoint=weed))
        with serving(repository, weed, tmp_path_factory.mktemp("served")) as running:
            yield running


def file(suffix: str = ".png", height: int = yolo_models.SIZE, width: int = yolo_models.SIZE, seed: int = 3) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def test_it_is_verified(served):
    found = served.verified()
    assert found.worst_iou > 0.98
    assert found.detections > 0


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_file_is_answered_as_its_pixels_are(served, suffix):
    given = file(suffix)
    pixels = cv2.imdecode(np.frombuffer(given, np.uint8), cv2.IMREAD_COLOR)
    raw = yolo_models.answers(yolo_models.detector(), pixels[..., ::-1].transpose(2, 0, 1)[None] / np.float32(255))["output0"][0]
    answer = served.asked(given, confidence=0.0, iou=1.0)
    best = raw[4:].max(axis=0)
    order = np.argsort(-best, kind="stable")[: answer["count"][0, 0]]
    assert answer["count"].tolist() == [[(best > 0).sum()]]
    assert answer["scores"][0] == pytest.approx(best[order], abs=1e-5)
    assert answer["classes"][0].tolist() == raw[4:].argmax(axis=0)[order].tolist()
    assert answer["labels"][0].tolist() == [yolo_models.NAMES[at] for at in answer["classes"][0]]
    centre, size = raw[:2, order].T, raw[2:4, order].T
    assert answer["boxes"][0] == pytest.approx(np.concatenate((centre - size / 2, centre + size / 2), axis=1).clip(0, yolo_models.SIZE), abs=1e-3)


def test_several_pictures_of_any_shape_are_answered_as_each_alone(served):
    files = [file(), file(height=200, width=90, seed=4), file(seed=5), file(height=31, width=170, seed=6), *(file(seed=seed) for seed in range(7, 14))]
    together = served.asked(*files, confidence=0.1)
    for at, each in enumerate(files):
        alone = served.asked(each, confidence=0.1)
        count = alone["count"][0, 0]
        assert together["count"][at, 0] == count
        for name in ("boxes", "scores"):
            assert together[name][at, :count] == pytest.approx(alone[name][0], abs=1e-4)
            assert not together[name][at, count:].any()


def test_what_is_wrong_with_one_hurts_no_other(served):
    answer = served.asked(file(), b"GIF89a...", file(".jpg")[:-400], file(seed=5), confidence=0.1)
    assert [bool(text) for text in answer["errors"][:, 0]] == [False, True, True, False]
    assert answer["count"][:, 0].astype(bool).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(b"", "the picture is empty", id="empty"),
        pytest.param(b"hello", "no JPEG, PNG or WebP file: it begins with", id="text"),
        pytest.param(file(".bmp"), "no JPEG, PNG or WebP file", id="another format"),
        pytest.param(file(".jpg")[:-20], "the JPEG file is cut off", id="a JPEG without its end"),
        pytest.param(file(".png")[:-20], "the PNG file is cut off", id="a PNG without its end"),
        pytest.param(file(".webp")[:-20], "the WebP file is cut off", id="a WebP without its end"),
        pytest.param(file(".jpg")[:300] + file(".jpg")[500:], "cannot be decoded|damaged|cut off", id="a JPEG with a hole in its header"),
        pytest.param(file(".png").replace(b"IDAT", b"IDOT"), "the PNG file is damaged: the checksum of its IDOT is wrong", id="a PNG with a damaged chunk"),
        pytest.param(
            cv2.imencode(".png", np.zeros((2001, 2000, 3), np.uint8))[1].tobytes(),
            "2000 x 2001 pixels, spec.pictures.maxPixels allows 4000000",
            id="too many pixels",
        ),
        pytest.param(file(".png", 700, 700), "bytes, spec.pictures.maxBytes allows 1048576", id="too many bytes"),
    ],
)
def test_bad_pictures_are_told(served, given, said):
    assert re.search(said, served.refused(given)), served.refused(given)


def test_bad_parameters_are_told(served):
    assert "parameter 'confidence' is 2: give a number from 0 to 1" in served.refused(file(), confidence=2)
    assert "parameter 'iou' is 'much': give a number from 0 to 1" in served.refused(file(), iou="much")


def test_thresholds_are_the_request_s(served):
    scores = served.asked(file(), confidence=0.0, iou=1.0)["scores"][0]
    middle = float(np.sort(scores)[len(scores) // 2])
    assert served.asked(file(), confidence=middle, iou=1.0)["count"][0, 0] == (scores > middle).sum()
    assert served.asked(file(), confidence=0.0, iou=0.0)["count"][0, 0] <= len(scores)


def test_a_file_as_it_is_needs_no_json(served):
    answer = served.posted("infer", file(), Inference_Header_Content_Length="0")
    assert json.loads(answer[: answer.index(b"]}") + 2])["outputs"][0]["name"] == "count"


def test_generate_takes_base64_and_answers_json(served):
    body = {"picture": base64.b64encode(file()).decode(), "confidence": 0.1}
    answer = json.loads(served.posted("generate", json.dumps(body).encode()))
    expected = served.asked(file(), confidence=0.1)
    assert answer["scores"] == pytest.approx(expected["scores"][0])


def test_predict_prints_and_draws(served, tmp_path, capsys):
    folder, drawn = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(file())
    (folder / "b.jpg").write_bytes(file(".jpg")[:-30])
    (folder / "c.txt").write_text("no picture")
    url = served.url.replace("/v2/models/helmet-pictures", "/helmet")
    assert cli.main(["predict", url, str(folder), "--json", "--confidence=0.1", "-o", str(drawn)]) == 1
    out, err = capsys.readouterr()
    first, second = (json.loads(line) for line in out.splitlines())
    expected = served.asked(file(), confidence=0.1)
    assert np.array([found["box"] for found in first["detections"]]) == pytest.approx(expected["boxes"][0])
    assert second == {"file": str(folder / "b.jpg"), "error": "the JPEG file is cut off: its end is missing"}
    assert err == "1 of 2 pictures were not answered\n"
    assert (cv2.imread(str(drawn / "a.png")) != cv2.imread(str(folder / "a.png"))).any()
    assert cli.main(["predict", url, str(folder / "a.png"), "--confidence=0.1"]) == 0
    assert re.fullmatch(r".*a\.png: \d+ (bus|person).*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("url", "path", "said"),
    [
        pytest.param("http://127.0.0.1:1/helmet", "a.png", "127.0.0.1:1", id="nobody there"),
        pytest.param("ftp://host/helmet", "a.png", "give http://HOST:PORT/MODEL", id="another scheme"),
        pytest.param("http://host:8000", "a.png", "give http://HOST:PORT/MODEL", id="no model"),
        pytest.param("http://host:8000/m", "missing.png", "no such file or folder", id="no file"),
        pytest.param("http://host:8000/m", "empty", "no .jpeg, .jpg, .png, .webp file in this folder", id="an empty folder"),
    ],
)
def test_predict_says_what_is_wrong(tmp_path, capsys, url, path, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(file())
    assert cli.main(["predict", url, str(tmp_path / path)]) == 1
    assert said in capsys.readouterr().err


def test_a_model_without_batches_is_refused(repository, tmp_path):
    with pytest.raises(InvalidSpec) as caught:
        published(repository, tmp_path, max_batch_size=0)
    assert (caught.value.reason, "spec.triton.maxBatchSize" in caught.value.message) == ("PicturesInvalid", True)


def test_a_pictures_model_that_answers_otherwise_is_found_out(repository, weed, tmp_path):
    with serving(repository, weed, tmp_path, spoil=("resize.py", b"COLOR_BGR2RGB", b"COLOR_BGR2HSV")) as running, pytest.raises(InvalidSpec) as caught:
        running.verified()
    assert caught.value.reason == "WrongAnswers"
    assert "answers a file of the golden picture otherwise than the model itself: " in caught.value.message


def test_a_killed_process_of_the_python_backend_is_noticed(repository, weed, tmp_path):
    with serving(repository, weed, tmp_path) as running:
        port = running.url.split("/")[2].partition(":")[2]
        alive = ["bash", "-c", PYTHON_ALIVE, port]
        assert subprocess.run(alive, check=False).returncode == 0
        stubs = subprocess.run(["pgrep", "-f", "triton_python_backend_stub .*/model.py .* helmet-pictures"], capture_output=True, text=True, check=True)
        victim = int(stubs.stdout.split()[0])
        os.kill(victim, signal.SIGKILL)
        ended = time.monotonic() + 5
        while subprocess.run(alive, check=False, stdout=subprocess.DEVNULL).returncode == 0:
            assert time.monotonic() < ended
        # Why it takes a probe of our own: Triton itself says that all is well.
        assert json.loads(urllib.request.urlopen(f"{running.url}").read())["name"] == "helmet-pictures"
        assert urllib.request.urlopen(f"{running.url}/ready").status == 200
    assert subprocess.run(alive, check=False, stderr=subprocess.DEVNULL).returncode == 1
