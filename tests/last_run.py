"""What is remembered of a run of the suite, in pytest's cache, for tests/afterwards to look back on."""

from dataclasses import asdict, dataclass

import pytest

KEY = "yolo-operator/last-run"


@dataclass(frozen=True, slots=True)
class LastRun:
    """Where a run began and ended in the API server's audit log, in bytes; whether nothing but rows of `matrix` was left out, and nothing failed."""

    began: int
    ended: int
    whole: bool

    def keep(self, config: pytest.Config) -> None:
        """Remember it."""
        config.cache.set(KEY, asdict(self))

    @classmethod
    def kept(cls, config: pytest.Config) -> "LastRun | None":
        """The last that was kept, None where there is none."""
        found = config.cache.get(KEY, None)
        return cls(**found) if found else None
