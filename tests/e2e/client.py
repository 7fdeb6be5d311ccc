"""Runs in the client Pod: the local weights and the served model on the same pictures, both through Ultralytics' own YOLO.

    client.py WEIGHTS TASK URL PICTURE…

Prints JSON: counts, and the worst overlap and score difference of the pairs.
"""

import json
import sys

import torch
from ultralytics import YOLO
from ultralytics.utils.metrics import batch_probiou, box_iou

CONFIDENCE = 0.05
"""Low, so that weights which were trained on other things find something too."""


def boxes(result: object, task: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes, scores and classes."""
    found = result.obb if task == "obb" else result.boxes
    return (found.xywhr if task == "obb" else found.xyxy), found.conf, found.cls


def main() -> None:
    """Compare."""
    weights, task, url, *pictures = sys.argv[1:]
    # Both as anybody would call them; the published metadata says dynamic, so both pad the picture alike.
    local, remote = ([YOLO(model, task=task).predict(picture, conf=CONFIDENCE, verbose=False)[0] for picture in pictures] for model in (weights, url))
    worst_iou, worst_score, counts = 1.0, 0.0, {"local": [], "remote": []}
    for ours, theirs in zip(local, remote, strict=True):
        (mine, my_scores, my_classes), (their, their_scores, their_classes) = boxes(ours, task), boxes(theirs, task)
        counts["local"].append(sorted(my_classes.int().tolist()))
        counts["remote"].append(sorted(their_classes.int().tolist()))
        if not len(mine) or not len(their):
            continue
        overlaps = batch_probiou(mine, their) if task == "obb" else box_iou(mine, their)
        best, index = torch.as_tensor(overlaps).max(dim=1)
        worst_iou = min(worst_iou, float(best.min()))
        worst_score = max(worst_score, float((my_scores - their_scores[index]).abs().max()))
    total = sum(len(classes) for classes in counts["local"])
    print(json.dumps(counts | {"detections": total, "worstIoU": worst_iou, "worstScoreDifference": worst_score}))


main()
