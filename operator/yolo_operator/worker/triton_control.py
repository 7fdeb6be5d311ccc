"""Loads and unloads models of one Triton in explicit mode, and says what it has.

Over HTTP: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import json
from typing import Any

import urllib3

from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable

CONNECT_SECONDS, ANSWER_SECONDS = 2, 10


class TritonControl:
    """One server by its address. `key`: name and value of the header that opens its restricted endpoints."""

    def __init__(self, url: str, key: tuple[str, str] | None = None) -> None:
        self._url = url
        self._headers = dict([key]) if key else {}
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS), retries=False)

    def ready(self) -> frozenset[str]:
        """Names of the models that are ready. Raises NotReady ModelNotReady where nobody answers."""
        found = json.loads(self._ask("/v2/repository/index", {"ready": True}, ANSWER_SECONDS))
        return frozenset(each["name"] for each in found if each.get("state") == "READY")

    def load(self, name: str, timeout: float) -> None:
        """Load a model or another content of one: what it had serves until the new one is ready, and further where that fails.

        Raises InvalidSpec LoadFailed with Triton's words; Unavailable LoadFailed where it takes more seconds than `timeout`; NotReady ModelNotReady.
        """
        self._ask(f"/v2/repository/models/{name}/load", {}, timeout)

    def unload(self, name: str, timeout: float) -> None:
        """Let a model go; requests that it has are answered first. Raises as `load` does."""
        self._ask(f"/v2/repository/models/{name}/unload", {}, timeout)

    def _ask(self, path: str, body: dict[str, Any], timeout: float) -> bytes:
        limit = urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout)
        try:
            answer = self._pool.request("POST", f"{self._url}{path}", body=json.dumps(body), headers=self._headers, timeout=limit)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Unavailable("LoadFailed", f"Triton did not answer {path} within {timeout:g} s") from error
        except urllib3.exceptions.HTTPError as error:
            raise NotReady("ModelNotReady", f"{type(error).__name__} from {self._url}") from error
        if answer.status != 200:
            raise InvalidSpec("LoadFailed", words(answer.data))
        return bytes(answer.data)


def words(body: bytes) -> str:
    """What Triton says is wrong."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")
