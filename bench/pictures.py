"""Which way a picture's file takes through Triton: as it is served (Python asks an ensemble, BLS), or an ensemble of all of it: `make bench-pictures`, a minute.

One Triton on this machine with both in it, around the same model: 640 x 640, 400 anchors of one convolution, so that decoding and handing over are most of the work. The
other way is made here, of the same functions. It can less: one picture for a request, no thresholds of a request's own, and what is wrong with a picture is an exception.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "worker"))

import seaweed
import triton_server
import urllib3
import yolo_models

from e2e.cluster import WEIGHTS
from yolo_operator.core.triton.config import ModelConfig, Port, Step
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.core.triton.picture_models import PictureOptions
from yolo_operator.worker import load, pbtxt, storage

SIZE, INSTANCES, CLIENTS, SECONDS = 640, 2, (1, 8), 5.0
OPTIONS = PictureOptions(max_bytes=1 << 24, max_pixels=50_000_000, confidence=0.25, iou=0.7, max_detections=300, instances=INSTANCES)
REVISION = "0123456789"
ENTRY = """import os, sys
sys.path.insert(0, os.environ["PICTURE_DECODER"])
from picture_model.{module} import TritonPythonModel
"""
DECODE = """import numpy as np, triton_python_backend_utils as pb_utils
from .decode import Limits, decode
from .resize import letterbox
class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            (file,) = pb_utils.get_input_tensor_by_name(request, "picture").as_numpy().reshape(-1)
            pixels, frame = letterbox(decode(bytes(file), Limits(1 << 24, 50_000_000)), (640, 640), 0)
            where = [frame.height, frame.width, frame.scale_y, frame.scale_x, frame.top, frame.left]
            given = {"pixels": pixels[None], "frame": np.array([where], np.float32), "confidence": np.full((1, 1), 0.25, np.float32), "iou": np.full((1, 1), 0.7, np.float32)}
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in given.items()]))
        return answers
"""
ANSWER = """import numpy as np, triton_python_backend_utils as pb_utils
from . import answer
from .resize import Letterbox
class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            rows, where = (pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0] for name in ("rows", "frame"))
            height, width, scale_y, scale_x, top, left = where.tolist()
            found = answer.detect(rows[rows[:, 4] > 0.25], Letterbox(int(height), int(width), scale_y, scale_x, int(top), int(left)))
            outputs = {"boxes": found.places["boxes"][None], "scores": found.scores[None], "classes": found.classes[None]}
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in outputs.items()]))
        return answers
"""
PIXELS = Port(name="pixels", datatype="UINT8", dims=(SIZE, SIZE, 3))
FRAME = Port(name="frame", datatype="FP32", dims=(6,))
ROWS = Port(name="rows", datatype="FP32", dims=(300, 6))
THRESHOLDS = tuple(Port(name=name, datatype="FP32", dims=(1,)) for name in ("confidence", "iou"))
OUTPUTS = (
    Port(name="boxes", datatype="FP32", dims=(-1, 4)),
    Port(name="scores", datatype="FP32", dims=(-1,)),
    Port(name="classes", datatype="INT32", dims=(-1,)),
)


def main() -> None:
    """Measure and print a Markdown table."""
    os.environ |= {"AWS_ACCESS_KEY_ID": seaweed.KEY, "AWS_SECRET_ACCESS_KEY": seaweed.SECRET}
    yolo_models.SIZE = SIZE
    with tempfile.TemporaryDirectory() as name, seaweed.running(Path(name)) as weed:
        folder = Path(name)
        models = published(storage.Repository("s3://models/bench/pictures", storage.StorageOptions(endpoint=weed)), folder)
        another_way(models)
        with triton_server.running(str(models), folder / "triton.log") as (http, _, _):
            rows = [
                (way, clients, *measured(f"http://127.0.0.1:{http}/v2/models/{model}/infer", clients))
                for clients in CLIENTS
                for way, model in (("Python asks an ensemble (as served)", "helmet-pictures"), ("an ensemble of all of it", "ensemble"))
            ]
    sys.stdout.write("\n| way | clients | pictures/s | p50 | p99 |\n| --- | --- | --- | --- | --- |\n")
    sys.stdout.write("".join(f"| {way} | {clients} | {rate:.1f} | {p50:.1f} ms | {p99:.1f} ms |\n" for way, clients, rate, p50, p99 in rows))


def published(repository: storage.Repository, folder: Path) -> Path:
    """A model repository as it is served, on the disk."""
    pod = yolo_models.build_pod(folder / "pod")
    serving = ServingOptions(model_name="helmet", version=1, gpu=False, max_batch_size=8)
    pod.publish(repository, serving, revision=REVISION, pictures=OPTIONS)
    load.run(repository, REVISION, folder / "models")
    return folder / "models"


def another_way(models: Path) -> None:
    """Beside it: decode and answer in Python, and an ensemble from the file to the detections."""
    picture = Port(name="picture", datatype="BYTES", dims=(1,))
    raw = Port(name="raw", datatype="FP32", dims=())
    for name, module, inputs, outputs in (
        ("decode", DECODE, (picture,), (PIXELS, FRAME, *THRESHOLDS)),
        ("answer", ANSWER, (ROWS, FRAME), OUTPUTS),
    ):
        config = ModelConfig(
            name=name,
            max_batch_size=1,
            version=1,
            inputs=inputs,
            outputs=outputs,
            kind="KIND_CPU",
            instances=INSTANCES,
            backend="python",
            platform="",
            default_model_filename="model.py",
        )
        package = models / name / "1" / "picture_model"
        package.mkdir(parents=True)
        for each in (models / "helmet-pictures" / "1" / "picture_model").iterdir():
            (package / each.name).write_bytes(each.read_bytes())
        (package / f"{name}_only.py").write_text(module)
        (package.parent / "model.py").write_text(ENTRY.format(module=f"{name}_only"))
        (models / name / "config.pbtxt").write_text(pbtxt.render(config))
    thresholds = {each.name: each.name for each in THRESHOLDS}
    steps = (
        Step(model="decode", inputs={"picture": "picture"}, outputs={"pixels": "pixels", "frame": "frame", **thresholds}),
        Step(model="helmet-pictures-normalize", inputs={"pixels": "pixels"}, outputs={"normalized": "normalized"}),
        Step(model="helmet", inputs={"images": "normalized"}, outputs={"output0": raw.name}),
        Step(model="helmet-pictures-nms", inputs={"output0": raw.name, **thresholds}, outputs={"rows": "rows"}),
        Step(model="answer", inputs={"rows": "rows", "frame": "frame"}, outputs={each.name: each.name for each in OUTPUTS}),
    )
    ensemble = ModelConfig(
        name="ensemble",
        max_batch_size=1,
        version=1,
        inputs=(picture,),
        outputs=OUTPUTS,
        backend="",
        platform="ensemble",
        default_model_filename="",
        steps=steps,
    )
    (models / "ensemble" / "1").mkdir(parents=True)
    (models / "ensemble" / "config.pbtxt").write_text(pbtxt.render(ensemble))


def measured(url: str, clients: int) -> tuple[float, float, float]:
    """Pictures per second, and milliseconds of a request, the median and the 99th of a hundred, with so many clients at once."""
    file = (WEIGHTS / "bus.jpg").read_bytes()
    size = len(file) + 4
    head = json.dumps({"inputs": [{"name": "picture", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}]}).encode()
    body, headers = head + len(file).to_bytes(4, "little") + file, {"Inference-Header-Content-Length": str(len(head))}
    times: list[float] = []

    def ask() -> None:
        pool = urllib3.PoolManager(retries=False)
        while time.monotonic() < until:
            began = time.monotonic()
            answer = pool.request("POST", url, body=body, headers=headers)
            if answer.status != 200:
                raise SystemExit(f"bench-pictures: {answer.status} {answer.data[:300]!r}")
            times.append((time.monotonic() - began) * 1000)

    for seconds in (1.0, SECONDS):
        times.clear()
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    return len(times) / SECONDS, statistics.median(times), statistics.quantiles(times, n=100)[98]


if __name__ == "__main__":
    main()
