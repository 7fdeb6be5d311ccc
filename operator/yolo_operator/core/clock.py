"""Times as Kubernetes writes them: RFC 3339, UTC, whole seconds. The time itself is always an argument."""

from datetime import UTC, datetime

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
