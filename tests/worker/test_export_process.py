"""The parent half of export: deadline, deaths and last words. The child that loads weights is tested in the cluster."""

import os
import time
from pathlib import Path

import pytest

from yolo_operator.core.contract import EXPORT_FILE, SOURCE_FILE, Source, Task, Verdict
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.exporter import conversion_limits, export, settings
from yolo_operator.worker import verdict


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "CHILD", "fake_conversion")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    verdict.write(tmp_path / "check", Verdict(state="missing"))
    (tmp_path / "source").mkdir()
    fetched(tmp_path)
    conversion = export.ConversionOptions(source_directory=tmp_path / "source", export_directory=tmp_path / "export")
    return export.ExportOptions(conversion=conversion, check_directory=tmp_path / "check", timeout=30)


def fetched(root, reuse=""):
    source = Source(uri="s3://weights/a.pt", sha256="a" * 64, size_bytes=1, kind="pt", file_name="a.pt", reuse=reuse)
    (root / "source" / SOURCE_FILE).write_text(source.model_dump_json(by_alias=True))


def test_three_files_are_an_export_and_nothing_is_left_beside_them(options, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_CONVERSION", "export")
    monkeypatch.setenv("YOLO_OFFLINE", "0")
    export.run(options)
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == ["export.json", "golden.npz", "model.onnx"]
    assert (tmp_path / "export" / EXPORT_FILE).read_text() == "1"


@pytest.mark.parametrize("state", ["published", "reusable"])
def test_nothing_is_exported_where_nothing_is_missing(options, tmp_path, state):
    verdict.write(tmp_path / "check", Verdict(state=state, reuse="0123456789"))
    export.run(options)
    assert not (tmp_path / "export").exists()


def test_nothing_is_exported_of_weights_that_others_have_published(options, tmp_path):
    fetched(tmp_path, reuse="other/0123456789")
    export.run(options)
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("behaviour", "kind", "reason"),
    [
        ("killed", InvalidSpec, "OutOfMemory"),
        ("foreign", InvalidSpec, "NotYoloWeights"),
        ("full", Unavailable, "DiskFull"),
        ("silent", InvalidSpec, "ExportFailed"),
        ("rubbish", InvalidSpec, "ExportFailed"),
        ("half", InvalidSpec, "ExportFailed"),
    ],
)
def test_how_an_export_ends(options, monkeypatch, behaviour, kind, reason):
    monkeypatch.setenv("FAKE_CONVERSION", behaviour)
    with pytest.raises(OperatorError) as caught:
        export.run(options)
    assert isinstance(caught.value, kind)
    assert caught.value.reason == reason


def test_the_deadline_ends_the_child_and_its_children(options, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_CONVERSION", "hang")
    hurried = export.ExportOptions(conversion=options.conversion, check_directory=options.check_directory, timeout=3)
    with pytest.raises(InvalidSpec) as caught:
        export.run(hurried)
    assert caught.value.reason == "DeadlineExceeded"
    pid = int((tmp_path / "export" / "grandchild").read_text())
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_the_child_reports_nothing_home_whatever_was_set():
    found = settings.environment({"YOLO_OFFLINE": "0", "ORT_DISABLE_TELEMETRY": "0", "YOLO_AUTOINSTALL": "true"} | {"PATH": os.environ["PATH"]})
    assert (found["YOLO_OFFLINE"], found["ORT_DISABLE_TELEMETRY"], found["YOLO_AUTOINSTALL"]) == ("1", "1", "false")


@pytest.mark.parametrize("size", [(320, 320), (32, 8192), (640, 416)])
def test_multiples_of_the_stride(size):
    assert conversion_limits.check_image_size(size, (640, 640), 32) == size


@pytest.mark.parametrize("size", [(333, 640), (640, 1), (0, 640), (8224, 640), (-32, 32)])
def test_sizes_that_would_be_rounded(size):
    with pytest.raises(InvalidSpec) as caught:
        conversion_limits.check_image_size(size, (640, 640), 32)
    assert caught.value.reason == "ImageSizeInvalid"


@pytest.mark.parametrize(("found", "wanted", "reason"), [("depth", None, "NotYoloWeights"), ("detect", Task.POSE, "TaskMismatch")])
def test_tasks_that_are_not_served(found, wanted, reason):
    with pytest.raises(InvalidSpec) as caught:
        conversion_limits.check_task(found, wanted)
    assert caught.value.reason == reason
