"""parameters["metadata"] of config.pbtxt: a Python dict as text, which Ultralytics' client evaluates.

Older clients call eval() on it, newer ones ast.literal_eval(); whoever writes this text runs code in the former. So it is
nothing but a literal in ASCII: Python's own escapes keep quotes, newlines, braces and any script inside their strings.

Then both make every key an attribute of theirs, and evaluate what is text under some keys (kpt_shape, args, names and others)
once more. So nothing is passed on but what is known here, in the form that it has to have.
"""

import ast
from typing import Any

from yolo_operator.core.triton.description import Description
from yolo_operator.core.triton.shapes import Shapes

MAX_BYTES = 1024 * 1024
TEXTS = ("description", "author", "date", "version", "license", "docs", "head")
"""What an export says of itself, as text that no client evaluates."""


def metadata(description: Description, shapes: Shapes, max_batch_size: int = 0) -> dict[str, Any]:
    """What the client gets: the fields it relies on from the checked description, and what the export says of itself. Raises ValueError.

    `dynamic` is about height and width: what the client makes of it is in shapes.py. With Fixed it sends lists of pictures in parts of `batch`,
    and so it does with Dynamic where `args.nms` is set, which tells each of its releases from 8.3 on that the outputs are detections.
    """
    report, said = description.report, description.report.metadata
    channels, args = description.onnx.inputs[0].shape[1], said.get("args")
    found: dict[str, Any] = {key: value for key, value in said.items() if key in TEXTS and isinstance(value, str)}
    found |= {
        "channels": channels if channels > 0 else 3,
        "task": report.task.value,
        "names": dict(enumerate(report.names)),
        "stride": report.stride,
        "batch": max(report.batch, max_batch_size) if report.nms and shapes == "Dynamic" else report.batch,
        "imgsz": list(report.image_size),
        "end2end": report.end_to_end,
        "args": {**(args if isinstance(args, dict) else {}), "dynamic": shapes == "Dynamic", "nms": report.nms},
    }
    if report.kpt_shape:
        found["kpt_shape"] = list(report.kpt_shape)
    if keypoints := keypoint_names(said.get("kpt_names")):
        found["kpt_names"] = keypoints
    return found


def keypoint_names(said: Any) -> dict[int, list[str]]:
    """Names of the keypoints by class index, which JSON made text; none where they are in another form."""
    found = integer_keyed(said) if isinstance(said, dict) else {}
    listed = all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found.values())
    return found if listed and all(isinstance(index, int) for index in found) else {}


def integer_keyed(mapping: dict[Any, Any]) -> dict[Any, Any]:
    """The same mapping with keys that are numbers in text as numbers."""
    return {int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key: item for key, item in mapping.items()}


def literal(value: dict[str, Any]) -> str:
    """The dict as a Python literal in ASCII that evaluates to an equal dict and to nothing else.

    Raises ValueError where a value has no literal (NaN, an object) or the text is over MAX_BYTES.
    """
    text = ascii(value)
    if len(text) > MAX_BYTES:
        raise ValueError(f"metadata of {len(text)} bytes is over the {MAX_BYTES} that a configuration should carry")
    if ast.literal_eval(text) != value:
        raise ValueError("metadata does not survive as a Python literal")
    return text
