"""Conditions: one setter; the transition time moves only when the status flips."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from yolo_operator.core import api, clock
from yolo_operator.core.errors import InvalidSpec, OperatorError

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
BUILT, AVAILABLE, VERIFIED = "Built", "Available", "Verified"


def find(conditions: Iterable[api.Condition], kind: str) -> api.Condition | None:
    """The condition of a type."""
    return next((c for c in conditions if c.type == kind), None)


def is_true(conditions: Iterable[api.Condition], kind: str) -> bool:
    """Whether the condition of a type is True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def make(previous: Sequence[api.Condition], kind: str, *, status: bool, reason: str, message: str, generation: int, now: datetime) -> api.Condition:
    """A condition, with the transition time of the previous one of its type where the status is the same."""
    value: Literal["True", "False"] = "True" if status else "False"
    old = find(previous, kind)
    since = old.last_transition_time if old is not None and old.status == value else clock.text(now)
    return api.Condition(type=kind, status=value, reason=reason, message=message[:8192], observed_generation=generation, last_transition_time=since)


Said = tuple[str, bool, str, str]
"""Type, status, reason and message of a condition."""


def of_error(error: OperatorError) -> list[Said]:
    """What an error says: that it is not Ready, and whether it is tried again."""
    stalled = isinstance(error, InvalidSpec)
    return [
        (READY, False, error.reason, error.message),
        (RECONCILING, not stalled, "Stalled" if stalled else error.reason, "" if stalled else error.message),
        (STALLED, stalled, error.reason if stalled else "NotStalled", error.message if stalled else ""),
    ]


def replaced(base: Iterable[api.Condition], said: Sequence[Said], previous: Sequence[api.Condition], generation: int, now: datetime) -> list[api.Condition]:
    """`base` with some conditions in the place of those of their types; their transition times follow from what the resource shows now, `previous`."""
    new = [make(previous, kind, status=status, reason=reason, message=text, generation=generation, now=now) for kind, status, reason, text in said]
    rest = [condition for condition in base if condition.type not in {kind for kind, *_ in said}]
    return sorted([*rest, *new], key=lambda condition: condition.type)
