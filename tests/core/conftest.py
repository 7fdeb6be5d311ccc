"""Golden files: `pytest tests/core --update-golden` writes them anew; look at the difference before you commit it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parent.parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", default=False, help="write the golden files anew")


class Golden:
    """Compares with the files in tests/golden, or writes them."""

    def __init__(self, *, update: bool) -> None:
        self._update = update

    def check(self, name: str, text: str) -> None:
        """Fail where the file differs from the text."""
        path = FOLDER / name
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path.name} is missing: run pytest tests/core --update-golden"
        assert text == path.read_text(encoding="utf-8")

    def check_yaml(self, name: str, value: Any) -> None:
        """The same for a manifest."""
        self.check(name, yaml.dump(value, Dumper=_Plain, sort_keys=False, width=140, allow_unicode=True))


class _Plain(yaml.SafeDumper):
    """Without anchors: what stands twice is written twice, as people read it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(update=bool(request.config.getoption("--update-golden", default=False)))
