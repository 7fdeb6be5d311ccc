"""Times as Kubernetes writes them: RFC 3339, UTC, whole seconds. The time itself is always an argument."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def text(moment: datetime) -> str:
    """A moment as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime(FORMAT)


def parse(value: str) -> datetime:
    """A moment as Kubernetes writes it; the beginning of time where it cannot be read."""
    try:
        return datetime.strptime(value, FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def longest(begun: Iterable[tuple[datetime | None, str]], patience: timedelta, now: datetime) -> tuple[datetime, str] | None:
    """Of what has begun, and is called so, what has lasted for longest, if that is for more than `patience`."""
    return min(((moment, name) for moment, name in begun if moment is not None and now - moment > patience), default=None)


def next_over(begun: Iterable[tuple[datetime | None, str]], patience: timedelta, now: datetime) -> datetime | None:
    """When the next of them will have lasted for more than `patience`."""
    moments = [moment + patience + timedelta(seconds=1) for moment, _ in begun if moment is not None]
    return min((moment for moment in moments if moment > now), default=None)
