from collections.abc import Iterator
from pathlib import Path

import fake_api_server
import pytest


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_api_server.ApiServer]:
    """An API server, and a kubeconfig for it in the environment."""
    with fake_api_server.serving() as server:
        monkeypatch.setenv("KUBECONFIG", server.kubeconfig(tmp_path))
        yield server
