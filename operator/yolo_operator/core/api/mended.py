"""Reading what another release, or a hand, has written: everything that is valid is kept, and what is not is left out alone.

A field that is wrong goes; where it is required, the entry it belongs to goes; of a list that is too long the newest entries stay.
"""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Parsed = TypeVar("Parsed", bound=BaseModel)
Path = tuple[int | str, ...]
MISSING = "missing"
ABSENT: Any = object()
INDEPENDENT = frozenset(
    {"conditions", "versions", "verified", "analyses", "failedRollouts", "published", "previousStorages", "revisions", "models", "failures", "wanted"}
)
"""Lists whose entries mean something without the others; any other list, as a shape, is as wrong as one of its entries."""


def read(model: type[Parsed], value: Mapping[str, Any]) -> tuple[Parsed, tuple[str, ...]]:
    """As much of a value as the model can be, and the paths of what was left out. Every field of the model itself must have a default."""
    left_out: list[str] = []
    rest: Any = value
    while True:
        try:
            return model.model_validate(rest), tuple(left_out)
        except ValidationError as error:
            if rest is value:
                rest = copy.deepcopy(value)
            faults = error.errors(include_url=False, include_input=False)
            left_out += [".".join(map(str, fault["loc"])) for fault in faults]
            targets = {target(fault["loc"], fault["type"]): fault.get("ctx", {}).get("max_length") for fault in faults}
            # From the back, so that the indices before stay what they are.
            ordered = [path for path in sorted(targets, key=place_of, reverse=True) if path]
            if not (sum(remove(rest, path, targets[path]) for path in ordered) or sum(remove(rest, path[:1], None) for path in ordered)):
                return model(), tuple(left_out)


def target(path: Path, kind: str) -> Path:
    """What goes for a fault: the field or entry itself, the object that lacks one, the list that is nothing without one of its entries."""
    if kind == MISSING:
        path = path[:-1]
    return path[:-1] if len(path) > 1 and isinstance(path[-1], int) and path[-2] not in INDEPENDENT else path


def place_of(path: Path) -> list[tuple[int, str]]:
    """A path's place among others: list entries by number."""
    return [(part, "") if isinstance(part, int) else (-1, part) for part in path]


def remove(value: Any, path: Path, most: int | None) -> bool:
    """Take away what is at the end of a path, of a list with more than `most` entries the oldest ones. Returns whether there was anything."""
    *parents, last = path
    for part in parents:
        value = inner(value, part)
    found = inner(value, last)
    if last in INDEPENDENT and isinstance(found, list) and most is not None and len(found) > most:
        del found[: len(found) - most]
        return True
    if found is ABSENT:
        return False
    del value[last]
    return True


def inner(value: Any, part: int | str) -> Any:
    """What is at one part of a path, ABSENT where there is nothing (any more)."""
    if isinstance(value, list):
        return value[part] if isinstance(part, int) and part < len(value) else ABSENT
    return value.get(part, ABSENT) if isinstance(value, dict) else ABSENT
