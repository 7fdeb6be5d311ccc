"""What looks back on the whole run: it comes last, and knows where the run began in the audit log and what was left out of it."""

from pathlib import Path

import pytest

from e2e.cluster import AUDIT_LOG, Manifest, audited

HERE = Path(__file__).parent
SINCE = AUDIT_LOG.stat().st_size if AUDIT_LOG.exists() else 0
"""Where the run begins in the audit log: this file is read before any test runs."""
LEFT_OUT: list[pytest.Item] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Wherever they stand on the command line, the tests of this folder come last."""
    items.sort(key=lambda item: item.path.is_relative_to(HERE))


def pytest_deselected(items: list[pytest.Item]) -> None:
    """By -m, -k and the like."""
    LEFT_OUT.extend(items)


@pytest.fixture(scope="session")
def audit() -> list[Manifest]:
    """What the API server was asked during this run: all writes, and what service accounts read."""
    if not AUDIT_LOG.exists():
        pytest.skip(f"this cluster writes no {AUDIT_LOG.name}")
    return list(audited(SINCE))


@pytest.fixture
def whole_suite(request: pytest.FixtureRequest) -> None:
    """Skips what only holds of the whole suite: nothing but rows of `matrix` may be left out, and nothing may have failed."""
    if request.session.testsfailed:
        pytest.skip("a test failed: what it would have done is not known")
    here = {item.path for item in (*request.session.items, *LEFT_OUT)}
    missing = sorted(path.name for path in HERE.parent.rglob("test_*.py") if path not in here)
    missing += [item.nodeid for item in LEFT_OUT if item.get_closest_marker("matrix") is None]
    if missing:
        pytest.skip(f"holds of the whole suite only, and this run is without {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
