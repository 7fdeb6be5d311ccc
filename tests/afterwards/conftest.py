"""What looks back on the last run of the suite, once that has ended; `make test` starts it then."""

import pytest

from e2e.cluster import AUDIT_LOG, Manifest, audited
from last_run import LastRun


@pytest.fixture(scope="session")
def last_run(pytestconfig: pytest.Config) -> LastRun:
    """What is looked back on."""
    found = LastRun.kept(pytestconfig)
    if found is None:
        pytest.skip("no run of the suite to look back on: run pytest first, without naming files")
    return found


@pytest.fixture(scope="session")
def audit(last_run: LastRun) -> list[Manifest]:
    """What the API server was asked during that run: all writes, and what service accounts read."""
    if not AUDIT_LOG.exists():
        pytest.skip(f"this cluster writes no {AUDIT_LOG.name}")
    return list(audited(last_run.began, last_run.ended))


@pytest.fixture
def whole_suite(last_run: LastRun) -> None:
    """Skips what only holds of the whole suite."""
    if not last_run.whole:
        pytest.skip("holds of the whole suite only: in its last run something failed, or was left out")
