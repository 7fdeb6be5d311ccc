"""Runs in the client Pod: how many detections local weights and the served model share, both through Ultralytics' own YOLO.

    detections_of.py WEIGHTS TASK URL PICTURE…

Prints JSON: how many each has, and how many both have: the same class, and boxes that overlap by half; for classify pictures of the same class.
"""

import json
import sys

from ultralytics import YOLO
from ultralytics.utils.metrics import box_iou


def main() -> None:
    """Compare, at the client's own threshold."""
    weights, task, url, *pictures = sys.argv[1:]
    local, remote = ([YOLO(model, task=task).predict(picture, verbose=False)[0] for picture in pictures] for model in (weights, url))
    if task == "classify":
        same = sum(ours.probs.top1 == theirs.probs.top1 for ours, theirs in zip(local, remote, strict=True))
        print(json.dumps({"local": len(local), "remote": len(remote), "shared": same}))
        return
    shared = 0
    for ours, theirs in zip(local, remote, strict=True):
        overlaps = box_iou(ours.boxes.xyxy, theirs.boxes.xyxy) * (ours.boxes.cls[:, None] == theirs.boxes.cls)
        while overlaps.numel() and overlaps.max() >= 0.5:
            row, column = divmod(int(overlaps.argmax()), overlaps.shape[1])
            overlaps[row], overlaps[:, column] = 0, 0
            shared += 1
    counts = [sum(len(result.boxes) for result in results) for results in (local, remote)]
    print(json.dumps({"local": counts[0], "remote": counts[1], "shared": shared}))


main()
