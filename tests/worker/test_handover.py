import json
import os

import numpy as np
import pytest
import yolo_models

from yolo_operator.core.contract import EXPORT_FILE, GOLDEN, GOLDEN_INPUT, ONNX_FILE, SOURCE_FILE, Task
from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.worker import handover


def take(pod, task=None):
    with handover.take(pod.export, pod.source, task) as taken:
        return taken


def test_a_whole_export_is_described_by_its_onnx(tmp_path):
    pod = yolo_models.build_pod(tmp_path, opset=99, ir_version=99)
    taken = take(pod, Task.DETECT)
    assert taken.description.onnx.opset == 17
    assert taken.description.onnx.outputs[0].shape == [-1, 6, -1]


@pytest.mark.parametrize("name", [ONNX_FILE, GOLDEN, EXPORT_FILE])
def test_a_link_in_place_of_a_file_is_refused(tmp_path, name):
    pod = yolo_models.build_pod(tmp_path)
    path = pod.export / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert caught.value.reason == "UnsafeExport"


def test_a_link_in_place_of_the_directory_is_refused(tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    pod.export.rename(tmp_path / "moved")
    pod.export.symlink_to(tmp_path / "moved")
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert caught.value.reason == "UnsafeExport"


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    (pod.export / ONNX_FILE).unlink()
    os.mkfifo(pod.export / ONNX_FILE)
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert caught.value.reason == "UnsafeExport"


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    with (pod.export / EXPORT_FILE).open("wb") as file:
        file.truncate(handover.MAX_REPORT_BYTES + 1)
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert caught.value.reason == "WeightsTooLarge"


def test_nothing_exported_is_tried_again(tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    (pod.export / EXPORT_FILE).unlink()
    with pytest.raises(Unavailable) as caught:
        take(pod)
    assert caught.value.reason == "ExportMissing"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"task": "detect", "unknown": 1}, "InvalidExport", id="an unknown field"),
        pytest.param({"names": []}, "InvalidExport", id="no classes"),
        pytest.param({"imageSize": [64]}, "InvalidExport", id="half an image size"),
        pytest.param({"names": ["a"]}, "TaskMismatch", id="fewer classes than the ONNX has"),
        pytest.param({"task": "classify"}, "TaskMismatch", id="another task than the ONNX's outputs"),
        pytest.param({"imageSize": [96, 96]}, "InvalidGolden", id="another size than the picture's"),
    ],
)
def test_claims_that_do_not_fit_the_onnx_are_refused(tmp_path, change, reason):
    pod = yolo_models.build_pod(tmp_path)
    said = json.loads((pod.export / EXPORT_FILE).read_text()) | change
    (pod.export / EXPORT_FILE).write_text(json.dumps(said))
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert caught.value.reason == reason


def test_json_that_is_none_is_refused_without_being_shown(tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    (pod.source / SOURCE_FILE).write_text('{"uri": "secret')
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert "secret" not in caught.value.message


def test_a_task_other_than_the_spec_says_is_refused(tmp_path):
    with pytest.raises(InvalidSpec) as caught:
        take(yolo_models.build_pod(tmp_path), Task.POSE)
    assert caught.value.reason == "TaskMismatch"


@pytest.mark.parametrize(
    "arrays",
    [
        pytest.param({GOLDEN_INPUT: np.array([object()], dtype=object), "output0": np.zeros(1)}, id="a pickle"),
        pytest.param({GOLDEN_INPUT: yolo_models.picture(), "output0": np.full((1, 6, 4), np.nan, np.float32)}, id="no number"),
        pytest.param({GOLDEN_INPUT: yolo_models.picture()}, id="no outputs"),
        pytest.param({GOLDEN_INPUT: yolo_models.picture(), "other": np.zeros((1, 6, 4), np.float32)}, id="another output"),
        pytest.param({GOLDEN_INPUT: yolo_models.picture(), "output0": np.zeros((1, 7, 4), np.float32)}, id="another shape"),
        pytest.param({"output0": np.zeros((1, 6, 4), np.float32)}, id="no picture"),
    ],
)
def test_a_golden_picture_that_does_not_fit_is_refused(tmp_path, arrays):
    pod = yolo_models.build_pod(tmp_path)
    (pod.export / GOLDEN).write_bytes(yolo_models.npz(arrays))
    with pytest.raises(InvalidSpec) as caught:
        take(pod)
    assert caught.value.reason == "InvalidGolden"


def test_a_golden_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("yolo_operator.model.golden.MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InvalidSpec) as caught:
        take(yolo_models.build_pod(tmp_path))
    assert caught.value.reason == "InvalidGolden"
