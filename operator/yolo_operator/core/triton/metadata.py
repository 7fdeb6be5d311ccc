"""parameters["metadata"] of config.pbtxt: a Python dict as text, which Ultralytics' client evaluates.

Older clients call eval() on it, newer ones ast.literal_eval(); whoever writes this text runs code in the former. So it is
nothing but a literal in ASCII: Python's own escapes keep quotes, newlines, braces and any script inside their strings.
"""

import ast
from typing import Any

from yolo_operator.core.triton.description import Description

MAX_BYTES = 1024 * 1024
INTEGER_KEYS = ("names", "kpt_names")
"""Dicts that Ultralytics keys by class index; JSON made the keys strings."""


def metadata(description: Description) -> dict[str, Any]:
    """What the client gets: Ultralytics' metadata, with the fields it relies on taken from the checked description."""
    report = description.report
    found = dict(report.metadata)
    for key in INTEGER_KEYS:
        if isinstance(found.get(key), dict):
            found[key] = integer_keyed(found[key])
    args = found.get("args")
    found |= {
        "task": report.task.value,
        "names": dict(enumerate(report.names)),
        "stride": report.stride,
        "batch": report.batch,
        "imgsz": list(report.image_size),
        "end2end": report.end_to_end,
        "args": {**(args if isinstance(args, dict) else {}), "dynamic": report.dynamic, "nms": report.nms},
    }
    if report.kpt_shape:
        found["kpt_shape"] = list(report.kpt_shape)
    return found


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
