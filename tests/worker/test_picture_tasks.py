"""What Triton's Python makes of its configuration, for each task: it is warmed up, and a picture that is none has an answer with nothing in it."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

PLACES = {
    "detect": {"boxes": (1, 0, 4)},
    "obb": {"corners": (1, 0, 4, 2)},
    "pose": {"boxes": (1, 0, 4), "keypoints": (1, 0, 17, 3)},
    "segment": {"boxes": (1, 0, 4), "contours": (1, 0, 2), "outline": (1, 0, 2)},
    "classify": {},
}


@pytest.mark.parametrize("task", PLACES)
def test_no_detection_is_an_answer(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", SimpleNamespace())
    from yolo_operator.picture_model.triton import TritonPythonModel  # noqa: PLC0415  needs the module above

    settings = {
        "network": "helmet-pictures-network",
        "task": task,
        "labels": ["bus"],
        "size": [64, 64],
        "stride": 0,
        "max_batch_size": 4,
        "final": task == "classify",
        "confidence": 0.25,
        "iou": 0.7,
        "max_detections": 300,
        "max_bytes": 1 << 20,
        "max_pixels": 1_000_000,
        **({"keypoints": [17, 3]} if task == "pose" else {}),
    }
    model = TritonPythonModel()
    model.initialize({"model_config": json.dumps({"parameters": {"pictures": {"string_value": json.dumps(settings)}}})})
    told = model.outputs([model.nothing()], ["the picture is empty"])
    assert (told["count"].tolist(), told["errors"].tolist()) == ([[0]], [[b"the picture is empty"]])
    assert {name: array.shape for name, array in told.items() if name in PLACES[task]} == PLACES[task]
    assert all(np.isfinite(array).all() for array in told.values() if array.dtype.kind == "f")
