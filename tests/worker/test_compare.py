from dataclasses import replace

import numpy as np
import pytest
import yolo_models

from yolo_operator.core.contract import Task
from yolo_operator.model.compare import Layout, compare

RANDOM = np.random.default_rng(3)
DETECT = Layout(task=Task.DETECT, classes=2, final_detections=False)
FINAL = Layout(task=Task.DETECT, classes=2, final_detections=True)


def raw(best: float = 0.9, extras: int = 0, anchors: int = 50) -> np.ndarray:
    boxes = RANDOM.uniform(50, 500, (4, anchors))
    scores = RANDOM.uniform(0, best / 2, (2, anchors))
    scores[0, 7] = best
    return np.concatenate((boxes, scores, RANDOM.normal(size=(extras, anchors))))[None].astype(np.float32)


def final(rows: int = 300) -> np.ndarray:
    corners = RANDOM.uniform(0, 300, (rows, 2))
    array = np.concatenate((corners, corners + 100, np.zeros((rows, 2))), axis=1)
    array[:5, 4], array[:5, 5] = [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 0, 1, 0]
    return array[None].astype(np.float32)


def judged(ours, theirs, layout):
    return compare({"output0": ours}, {"output0": theirs}, layout)


@pytest.mark.parametrize("task", list(Task))
def test_the_same_answer_is_the_same(task):
    array = RANDOM.random((1, 9)).astype(np.float32) if task is Task.CLASSIFY else raw(extras=6)
    found = judged(array, array.copy(), Layout(task=task, classes=9 if task is Task.CLASSIFY else 2, final_detections=False))
    assert found.worst_iou == pytest.approx(1)
    assert found.worst_score_difference == 0


def test_a_box_beside_its_place():
    ours = raw()
    theirs = ours.copy()
    theirs[0, 0, 7] += theirs[0, 2, 7] / 2
    assert judged(ours, theirs, DETECT).worst_iou == pytest.approx(1 / 3, abs=0.01)


def test_a_box_that_is_no_detection_does_not_count():
    ours = raw()
    quiet = int(np.argmin(ours[0, 4:6].max(axis=0)))
    theirs = ours.copy()
    theirs[0, 0, quiet] += 300
    assert judged(ours, theirs, DETECT).worst_iou == pytest.approx(1)


def test_a_detection_too_many_counts():
    ours = raw()
    theirs = ours.copy()
    theirs[0, 5, 3] = 0.95
    assert judged(ours, theirs, DETECT).worst_score_difference > 0.4


def test_where_the_picture_shows_nothing_scores_count_by_proportion():
    ours = raw(best=0.001)
    theirs = ours.copy()
    theirs[0, 4:6] *= 1.1
    found = judged(ours, theirs, DETECT)
    assert found.detections == 0
    assert found.worst_score_difference == pytest.approx(0.1, abs=0.02)


def test_final_detections_may_come_in_another_order():
    ours = final()
    theirs = ours[:, RANDOM.permutation(300)]
    found = judged(ours, theirs, FINAL)
    assert found == judged(ours, ours, FINAL)
    assert found.detections == 5


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: a[0, 0].__setitem__(5, 1), id="another class"),
        pytest.param(lambda a: a[0, 0].__setitem__(4, 0), id="one less"),
        pytest.param(lambda a: a[0, 9].__setitem__(slice(4, 6), [0.9, 1]), id="one more"),
        pytest.param(lambda a: a[0, 0].__setitem__(0, a[0, 0, 0] + 50), id="another place"),
    ],
)
def test_final_detections_that_differ(change):
    ours = final()
    theirs = ours.copy()
    change(theirs)
    found = judged(ours, theirs, FINAL)
    assert not found.within(0.98, 0.02)


def test_a_detection_at_the_threshold_may_be_missing_behind_an_nms():
    ours, theirs = final(), final()
    theirs[:] = ours
    ours[0, 5, 4], theirs[0, 5] = 0.251, 0
    assert judged(ours, theirs, FINAL).worst_iou == pytest.approx(1)
    assert judged(ours, theirs, replace(FINAL, confidence=0.25)).within(0.98, 0.02)


def test_one_above_the_threshold_of_an_nms_may_not_be_missing():
    ours, theirs = final(), final()
    theirs[:] = ours
    ours[0, 5, 4], theirs[0, 5] = 0.6, 0
    assert judged(ours, theirs, replace(FINAL, confidence=0.5)).worst_iou == 0
    ours[0, 5, 4] = 0.51
    assert judged(ours, theirs, replace(FINAL, confidence=0.5)).within(0.98, 0.02)


def test_boxes_may_be_off_by_what_half_precision_rounds():
    ours = raw()
    theirs = ours.astype(np.float16).astype(np.float32)
    theirs[0, :2] += 0.2
    assert judged(ours, theirs, replace(DETECT, rounding=0.5)).worst_iou == pytest.approx(1)
    theirs[0, :2] += 3
    assert judged(ours, theirs, replace(DETECT, rounding=0.5)).worst_iou < 0.98


@pytest.mark.parametrize(
    ("fields", "datatype", "rounding", "confidence"),
    [
        pytest.param({}, "FP32", 0, 0, id="raw outputs"),
        pytest.param({"image_size": [640, 1280]}, "FP16", 1, 0, id="raw outputs in half precision, by the longer side"),
        pytest.param({"image_size": [320, 320]}, "FP16", 0.25, 0, id="and of smaller pictures"),
        pytest.param({"end_to_end": True}, "FP32", 0, 0, id="an end-to-end head drops nothing"),
        pytest.param({"nms": True}, "FP32", 0, 0.25, id="Ultralytics' own NMS"),
        pytest.param({"nms": True, "batched_nms": True, "metadata": {"args": {"conf": 0.4}}}, "FP32", 0, 0.4, id="ours"),
    ],
)
def test_how_an_export_is_read(fields, datatype, rounding, confidence):
    found = Layout.reading(yolo_models.report(**fields), datatype)
    assert (found.rounding, found.confidence) == (rounding, confidence)
    assert found.final_detections is bool(fields.keys() & {"nms", "end_to_end"})


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param(np.full((1, 6, 50), np.nan, np.float32), id="no numbers"),
        pytest.param(np.zeros((1, 6, 49), np.float32), id="another shape"),
    ],
)
def test_an_answer_that_cannot_be_compared_is_wrong(theirs):
    assert judged(raw(), theirs, DETECT).worst_iou == 0


def test_another_output_is_wrong():
    array = raw()
    assert compare({"output0": array}, {"output1": array}, DETECT).worst_iou == 0


@pytest.mark.parametrize(
    ("task", "row", "change", "difference"),
    [
        pytest.param(Task.OBB, 6, np.pi / 4, 0.25, id="an angle, by half a turn"),
        pytest.param(Task.POSE, 6, 64, 0.1, id="a keypoint, by the picture"),
        pytest.param(Task.POSE, 8, 0.3, 0.3, id="a keypoint's visibility"),
    ],
)
def test_what_follows_the_scores_counts(task, row, change, difference):
    ours = raw(extras=3 if task is Task.POSE else 1)
    theirs = ours.copy()
    theirs[0, row, 7] += change
    assert judged(ours, theirs, Layout(task=task, classes=2, final_detections=False)).worst_score_difference == pytest.approx(difference, abs=1e-3)


def test_prototypes_of_masks_count():
    layout = Layout(task=Task.SEGMENT, classes=2, final_detections=False)
    ours, protos = raw(extras=32), RANDOM.normal(size=(1, 32, 8, 8)).astype(np.float32)
    found = compare({"output0": ours, "output1": protos}, {"output0": ours, "output1": protos * 1.5}, layout)
    assert found.worst_score_difference == pytest.approx(0.5, abs=0.01)
