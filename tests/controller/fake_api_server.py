"""An API server as far as the operator asks one: discovery, lists, watches and writes over HTTP, and faults on demand.

It evaluates label selectors of one equality and field selectors of a name, takes an apply for a merge, and knows no schema.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import yaml

from gen import merged
from simulation import copied
from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Key
from yolo_operator.controller.kinds import Kind, Manifest

PEERING = Kind("ClusterKopfPeering", "kopf.dev", "v1", "clusterkopfpeerings")
"""With which operators made with kopf pause each other."""
CLUSTER = (Kind("Namespace", "", "v1", "namespaces"), Kind("CustomResourceDefinition", "apiextensions.k8s.io", "v1", "customresourcedefinitions"), PEERING)
SERVED = (*kinds.WATCHED, kinds.LEASE, kinds.EVENT, *CLUSTER)
PATH = re.compile(r"/apis?(/[^/]+)?/(v[0-9a-z]+)(/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)(/(?P<name>[^/]+))?(/(?P<subresource>[a-z]+))?")
TOKEN = "the-operators-token"


class Request(NamedTuple):
    """A request that was answered, or is being answered."""

    method: str
    path: str
    query: dict[str, str]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


class ApiServer:
    """Objects by plural and key. Whatever is written is told to the watches, unless they are mute."""

    def __init__(self) -> None:
        self.address = ""
        self.objects: dict[str, dict[Key, Manifest]] = {kind.plural: {} for kind in SERVED}
        self.requests: list[Request] = []
        self.mute = False
        """Watches stay open and show nothing."""
        self.slow: dict[str, float] = {}
        """Seconds a list takes, by plural."""
        self.writable = threading.Event()
        """Writes wait for it."""
        self.writable.set()
        self.ended = threading.Event()
        self.changed = threading.Condition(threading.RLock())
        self.journal: list[tuple[int, str, str, Manifest]] = []
        self._version = 1000

    # What others do.

    def put(self, kind: Kind, body: Manifest) -> Manifest:
        """Create or replace an object."""
        with self.changed:
            old = self.objects[kind.plural].get(Key.of(body))
            return self._store(kind.plural, body, "MODIFIED" if old else "ADDED")

    def remove(self, kind: Kind, key: Key) -> None:
        """Delete an object."""
        with self.changed:
            self._drop(kind.plural, key)

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        with self.changed:
            return copied(self.objects[kind.plural].get(key))

    def writes(self) -> list[Request]:
        return [request for request in list(self.requests) if request.method != "GET"]

    def lists(self) -> list[Request]:
        return [request for request in list(self.requests) if request.method == "GET" and PATH.fullmatch(request.path) and "watch" not in request.query]

    def watches(self) -> list[Request]:
        return [request for request in list(self.requests) if "watch" in request.query]

    def kubeconfig(self, directory: Path) -> str:
        """Path of a new kubeconfig."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.address}}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path = directory / "kubeconfig"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return str(path)

    # Answers.

    def answer(self, request: Request, body: Manifest) -> Manifest:
        """The answer to anything but a watch."""
        if request.path == "/version":
            return {"gitVersion": "v1.34.3"}
        if request.path == "/api":
            return {"versions": ["v1"]}
        if request.path == "/apis":
            groups = {kind.group: {"groupVersion": f"{kind.group}/{kind.version}", "version": kind.version} for kind in SERVED if kind.group}
            return {"groups": [{"name": name, "versions": [version], "preferredVersion": version} for name, version in groups.items()]}
        prefixes = {f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}" for kind in SERVED}
        if request.path in prefixes:
            return {"resources": [resource(kind) for kind in SERVED if kind.path() == f"{request.path}/{kind.plural}"]}
        found = PATH.fullmatch(request.path)
        if found is None or found["plural"] not in self.objects:
            raise Refused(404)
        if not found["name"] and request.method == "GET":
            self.ended.wait(self.slow.get(found["plural"], 0))
            with self.changed:
                return {"metadata": {"resourceVersion": str(self._version)}, "items": self.list(found["plural"], found["namespace"], request.query)}
        if request.method != "GET":
            self.writable.wait()
        with self.changed:
            return self._one(request.method, found, body)

    def _one(self, method: str, found: re.Match[str], body: Manifest) -> Manifest:
        plural, status = found["plural"], found["subresource"] == "status"
        key = Key(found["namespace"] or "", found["name"] or body.get("metadata", {}).get("name", ""))
        old = self.objects[plural].get(key)
        match method:
            case "POST" if old is not None:
                raise Refused(409, "already exists")
            case "PUT" if old is not None and body["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
                raise Refused(409, "the object has been modified")
            case "POST" | "PUT":
                return self._store(plural, body, "ADDED" if old is None else "MODIFIED")
            case "PATCH" if old is not None and status:
                return self._store(plural, old | {"status": body["status"]}, "MODIFIED")
            case "PATCH" if not status:
                return self._store(plural, merged(old or {}, body), "ADDED" if old is None else "MODIFIED")
            case _ if old is None:
                raise Refused(404, "not found")
            case "DELETE":
                return self._drop(plural, key)
        return copied(old)

    def list(self, plural: str, namespace: str | None, query: dict[str, str]) -> list[Manifest]:
        return [copied(body) for body in self.objects[plural].values() if selected(body, namespace, query)]

    def events(self, plural: str, namespace: str | None, query: dict[str, str]) -> Iterator[Manifest]:
        """What a watch shows, for ever."""
        shown = int(query["resourceVersion"])
        while not self.ended.is_set():
            with self.changed:
                news = [entry for entry in self.journal if entry[0] > shown]
                if not news:
                    self.changed.wait(timeout=1)
            for version, event, changed, body in news:
                shown = version
                if changed == plural and selected(body, namespace, query):
                    yield {"type": event, "object": body}

    def _store(self, plural: str, body: Manifest, event: str) -> Manifest:
        old = self.objects[plural].get(Key.of(body), {"metadata": {}})
        body = copied(body)
        self._version += 1
        identity = {"uid": f"uid-{self._version}", "generation": 1} | body["metadata"] | {"resourceVersion": str(self._version)}
        body["metadata"] = identity | {name: old["metadata"][name] for name in ("uid", "generation") if name in old["metadata"]}
        self.objects[plural][Key.of(body)] = body
        self._tell(plural, event, body)
        return copied(body)

    def _drop(self, plural: str, key: Key) -> Manifest:
        body = self.objects[plural].pop(key)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._tell(plural, "DELETED", body)
        return copied(body)

    def _tell(self, plural: str, event: str, body: Manifest) -> None:
        if not self.mute:
            self.journal.append((self._version, event, plural, copied(body)))
            self.changed.notify_all()


def resource(kind: Kind) -> Manifest:
    """A kind as discovery tells of it."""
    return {
        "name": kind.plural,
        "singularName": kind.name.lower(),
        "kind": kind.name,
        "namespaced": kind not in CLUSTER,
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    }


def selected(body: Manifest, namespace: str | None, query: dict[str, str]) -> bool:
    """Whether an object is in a collection."""
    metadata = body["metadata"]
    label, _, value = query.get("labelSelector", "").partition("=")
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    in_namespace = not namespace or metadata["namespace"] == namespace
    return in_namespace and name in ("", metadata["name"]) and (not label or metadata.get("labels", {}).get(label) == value)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one(self) -> None:
        """Answer any request."""
        url = urlsplit(self.path)
        request = Request(self.command, url.path, dict(parse_qsl(url.query)))
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api = self.server.api
        api.requests.append(request)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.say(401, {"message": "Unauthorized"})
        elif "watch" in request.query:
            self.stream(request)
        else:
            try:
                self.say(200, api.answer(request, json.loads(text) if text else {}))
            except Refused as refused:
                self.say(refused.code, {"message": str(refused)})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815  names that the standard library calls

    def stream(self, request: Request) -> None:
        found = PATH.fullmatch(request.path)
        assert found is not None
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in self.server.api.events(found["plural"], found["namespace"], request.query):
            self.wfile.write(json.dumps(event).encode() + b"\n")

    def say(self, code: int, body: Manifest) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: ApiServer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.api = api

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The operator hangs up when it ends."""


@contextmanager
def serving() -> Iterator[ApiServer]:
    """An API server without objects."""
    api = ApiServer()
    server = Server(api)
    api.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api
    finally:
        api.ended.set()
        api.writable.set()
        server.shutdown()
        server.server_close()
        thread.join()
