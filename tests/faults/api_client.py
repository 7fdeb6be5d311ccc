"""The API server as the tests and the simulated kubelet ask it: JSON over HTTP, blocking, and nothing of the operator's own client."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from yolo_operator.controller.kinds import Kind, Manifest

NAMESPACE = Kind("Namespace", "", "v1", "namespaces", selector="")
REPLICA_SET = Kind("ReplicaSet", "apps", "v1", "replicasets")
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


class ApiError(Exception):
    """An answer of 300 or more."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Client:
    """May be used by several threads."""

    def __init__(self, url: str, token: str, ca: Path | None = None) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {token}"}
        self._pool = urllib3.PoolManager(maxsize=16, headers=headers, ca_certs=str(ca) if ca else None, retries=False, timeout=30)

    def text(self, path: str) -> str:
        """GET, as it is."""
        return self._answer("GET", path).decode()

    def list(self, kind: Kind, namespace: str = "") -> list[Manifest]:
        """All of a kind that the operator watches of it, as it is now."""
        found: list[Manifest] = self._request("GET", kind.path(namespace), labelSelector=kind.selector)["items"]
        return found

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object, None where there is none."""
        try:
            return self._request("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def create(self, kind: Kind, manifest: Mapping[str, Any]) -> Manifest:
        """Create it in the namespace it names."""
        return self._request("POST", kind.path(manifest["metadata"].get("namespace", "")), manifest)

    def patch(self, kind: Kind, namespace: str, name: str, change: Mapping[str, Any] | Sequence[Any], *, subresource: str = "", form: str = MERGE) -> Manifest:
        """Lay a change over an object."""
        return self._request("PATCH", kind.path(namespace, name, subresource), change, content_type=form)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete it, in the background."""
        self._request("DELETE", kind.path(namespace, name), {"propagationPolicy": "Background"})

    def watch(self, kind: Kind) -> Iterator[Manifest]:
        """Every object of a kind, in all namespaces: as it is now, then each time it changes, until the server ends the watch."""
        # Without a resourceVersion it begins with all that is there; sendInitialEvents, which says so, is refused by Kubernetes 1.30.
        query = {"labelSelector": kind.selector, "watch": "true"}
        with self._pool.request("GET", self._url + kind.path(), fields=query, preload_content=False, timeout=urllib3.Timeout(30, None)) as answer:
            if answer.status != 200:
                raise ApiError(answer.status, answer.data.decode())
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] in {"ADDED", "MODIFIED"}:
                    yield event["object"]

    def _request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: str) -> Manifest:
        found: Manifest = json.loads(self._answer(method, path, body, content_type=content_type, **query))
        return found

    def _answer(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: str) -> bytes:
        # What is given at once replaces the pool's headers.
        headers = {**self._pool.headers, "Content-Type": content_type}
        url = f"{self._url}{path}{'?' + urlencode(query) if query else ''}"
        answer = self._pool.request(method, url, body=None if body is None else json.dumps(body), headers=headers)
        if answer.status >= 300:
            raise ApiError(answer.status, answer.data.decode())
        return answer.data
