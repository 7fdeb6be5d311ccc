"""Runs in the client Pod: what Ultralytics' own YOLO, unmodified, finds in pictures with local weights and behind a URL.

answers_client.py weights ARCHITECTURE TASK FILE.pt              weights for a task that nobody's package brings
answers_client.py ask WEIGHTS TASK FILE PREDICT-ARGUMENTS URL…   keeps what local weights find in every case; arguments as JSON, and rounded
answers_client.py compare TASK FILE URL…                         asks each URL the same; JSON, a line each: counts, and the worst of all pairs

`ask` goes on with `compare`: a start of Python with PyTorch takes as long as all the pictures.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

FOLDER = Path("/tmp")
SCORE = 0.5
"""Where made weights have their best anchors but ANCHORS in the picture with the best ones: some detections above the client's threshold of 0.25, and not
so many that two of them are equal."""
ANCHORS = 40


def cases() -> dict[str, list[np.ndarray]]:
    """Pictures by what they are like; the client's own defaults treat each kind in its own way."""
    wide, tall = (cv2.imread(str(FOLDER / name)) for name in ("zidane.jpg", "bus.jpg"))
    tiny = cv2.resize(wide, (48, 27))
    return {
        "wide": [wide],
        "tall": [tall],
        "square": [np.ascontiguousarray(tall[200:1010])],
        "tiny": [tiny],
        "three alike": [wide, wide[:, ::-1].copy(), wide[::-1].copy()],
        "three unlike": [wide, tall, tiny],
    }


def make_weights(architecture: str, task: str, file: str) -> None:
    """Random weights that find something: normalised on the pictures, the scores' biases moved until some anchors are sure."""
    from ultralytics import YOLO  # noqa: PLC0415

    torch.manual_seed(0)
    model = YOLO(architecture, task=task)
    network = model.model
    size = (224, 224) if task == "classify" else (640, 640)
    shown = [cv2.resize(pictures[0], size) for name, pictures in cases().items() if not name.startswith("three")]
    given = torch.from_numpy(np.stack(shown)[..., ::-1].transpose(0, 3, 1, 2).copy()).float() / 255
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0
    with torch.no_grad():
        network.train()(given)
        network.eval()
        for layer in norms:
            layer.momentum = 0.03
        head = network.model[-1]
        if task == "classify":
            head.linear.weight *= 30
        else:
            spread(network, head, given)
    # As trained weights say it; without, YOLO(weights) asks at 640 pixels whatever the task.
    model.ckpt = {"train_args": {"imgsz": size[0], "task": task}}
    model.save(file)


def spread(network: Any, head: Any, given: torch.Tensor) -> None:
    """Widen the scores and move them so that ANCHORS of them are above SCORE."""
    for branch in head.cv3:
        branch[-1].weight *= 3
    raw = network(given)
    while isinstance(raw, (tuple, list)):
        raw = raw[0]
    logits = torch.logit(raw[:, 4 : 4 + len(network.names)].amax(dim=1).clamp(1e-7, 1 - 1e-7))
    best = logits.sort(dim=1, descending=True).values[:, ANCHORS].max()
    for branch in head.cv3:
        branch[-1].bias -= best - np.log(SCORE / (1 - SCORE))


def ask(weights: str, task: str, file: str, arguments: str, *urls: str) -> None:
    """Save what is found, case by case, and compare."""
    torch.save(found(weights, task, **json.loads(arguments)), file)
    compare(task, file, *urls)


def found(model: str, task: str, *, rounded: bool = False, **arguments: Any) -> dict[str, list[dict[str, Any]]]:
    """What weights or a URL find, case by case, picture by picture. `rounded`: the network sees pixels that FP16 can hold, as a request of that type has them."""
    from ultralytics import YOLO  # noqa: PLC0415

    yolo = YOLO(model, task=task)
    if rounded:
        yolo.model.register_forward_pre_hook(lambda _, given: (given[0].half().float(), *given[1:]))
    return {name: [values(result) for result in yolo.predict(pictures, verbose=False, **arguments)] for name, pictures in cases().items()}


def values(result: Any) -> dict[str, Any]:
    """Ultralytics' result as tensors."""
    if result.probs is not None:
        return {"probs": result.probs.data}
    boxes = result.obb if result.obb is not None else result.boxes
    return {
        "boxes": result.obb.xywhr if result.obb is not None else boxes.xyxy,
        "scores": boxes.conf,
        "classes": boxes.cls.int(),
        "masks": None if result.masks is None else result.masks.data.bool(),
        "keypoints": None if result.keypoints is None else result.keypoints.xyn,
    }


def compare(task: str, file: str, *urls: str) -> None:
    """Print the worst of all pairs of detections, for each URL."""
    for url in urls:
        print(json.dumps(worst_of(torch.load(file), found(url, task), task)))


def worst_of(ours: dict[str, Any], theirs: dict[str, Any], task: str) -> dict[str, Any]:
    """Counts, and the worst of all pairs."""
    worst: dict[str, Any] = {"detections": 0, "unlike": [], "worstIoU": 1.0, "worstScoreDifference": 0.0, "worstMaskIoU": 1.0, "worstKeypoint": 0.0}
    for name, pictures in ours.items():
        for at, (mine, their) in enumerate(zip(pictures, theirs[name], strict=True)):
            if task == "classify":
                one_class(worst, f"{name} {at}", mine["probs"], their["probs"])
            else:
                one_picture(worst, f"{name} {at}", mine, their, oriented=task == "obb")
    return worst


def one_class(worst: dict[str, Any], name: str, mine: torch.Tensor, their: torch.Tensor) -> None:
    """Probabilities of all classes."""
    worst["detections"] += 1
    worst["worstScoreDifference"] = max(worst["worstScoreDifference"], float((mine - their).abs().max()))
    if int(mine.argmax()) != int(their.argmax()):
        worst["unlike"].append(name)


def one_picture(worst: dict[str, Any], name: str, mine: dict[str, Any], their: dict[str, Any], *, oriented: bool) -> None:
    """Detections of one picture: as many of each class, and each has its like."""
    from ultralytics.utils.metrics import batch_probiou, box_iou  # noqa: PLC0415

    worst["detections"] += len(mine["classes"])
    if not len(mine["classes"]) or not len(their["classes"]):
        worst["unlike"] += [f"{name}: {len(mine['classes'])} and {len(their['classes'])}"] * max(len(mine["classes"]), len(their["classes"]))
        return
    overlap = torch.as_tensor((batch_probiou if oriented else box_iou)(mine["boxes"], their["boxes"]))
    # Of boxes in the same place the one of the same class and the nearest score.
    apart = (mine["scores"][:, None] - their["scores"]).abs()
    other_class = mine["classes"][:, None] != their["classes"]
    like = (overlap >= 0.5) & ~other_class
    alone = int((~like.any(dim=1)).sum()) + int((~like.any(dim=0)).sum())
    worst["unlike"] += [f"{name}: {len(mine['classes'])} and {len(their['classes'])}"] * max(alone, abs(len(mine["classes"]) - len(their["classes"])))
    rows = like.any(dim=1).nonzero()[:, 0]
    if not len(rows):
        return
    pairs = (overlap - apart - 2.0 * other_class).argmax(dim=1)[rows]
    worst["worstIoU"] = min(worst["worstIoU"], float(overlap[rows, pairs].min()))
    worst["worstScoreDifference"] = max(worst["worstScoreDifference"], float(apart[rows, pairs].max()))
    if mine["masks"] is not None and mine["masks"].shape == their["masks"].shape:
        one, other = mine["masks"][rows], their["masks"][pairs]
        union = (one | other).flatten(1).sum(1)
        same = torch.where(union > 0, (one & other).flatten(1).sum(1) / union.clamp(min=1), 1.0)
        # A mask of a few pixels says nothing by one of them.
        worst["worstMaskIoU"] = min([worst["worstMaskIoU"], *same[union > 100].tolist()])
    if mine["keypoints"] is not None:
        worst["worstKeypoint"] = max(worst["worstKeypoint"], float((mine["keypoints"][rows] - their["keypoints"][pairs]).abs().max()))


if __name__ == "__main__":
    {"weights": make_weights, "ask": ask, "compare": compare}[sys.argv[1]](*sys.argv[2:])
