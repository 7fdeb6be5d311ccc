"""Which of the golden answers must be among the detections of a picture's file."""

import numpy as np

from yolo_operator.core.contract import Task
from yolo_operator.model.compare import Layout
from yolo_operator.model.golden import Golden
from yolo_operator.worker import verify_pictures

LAYOUT = Layout(task=Task.SEGMENT, classes=2, final_detections=False, image_size=(64, 64))


def test_a_mask_without_a_pixel_in_its_box_is_not_expected():
    # Centre, width, height; two scores; one coefficient each, for a prototype that is positive on the left alone.
    answers = np.array(
        [[12, 30, 20, 40, 0.9, 0.1, 1], [52, 30, 20, 40, 0.8, 0.1, 1], [52, 30, 20, 40, 0.1, 0.7, -1], [12, 30, 20, 40, 0.1, 0.1, 1]], np.float32
    ).T
    prototypes = np.where(np.arange(16) < 8, 1, -1) * np.ones((1, 16, 16))
    outputs = {"output0": answers[None], "output1": prototypes[None].astype(np.float32)}
    golden = Golden(input=np.zeros((1, 3, 64, 64), np.float32), outputs=outputs)
    rows = verify_pictures.golden_rows(golden, LAYOUT)
    assert verify_pictures.drawn(golden, LAYOUT, rows, np.array([0, 1, 2])).tolist() == [True, False, True]
