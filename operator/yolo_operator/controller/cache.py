"""What the watches have shown, per kind. Filled by handlers and by the writer's own answers, read by the reconciler."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from yolo_operator.controller import kinds
from yolo_operator.controller.kinds import Kind, Manifest
from yolo_operator.core import names
from yolo_operator.core.observed import Observed
from yolo_operator.core.shared.server import ServerObserved


class Key(NamedTuple):
    """Namespace and name of an object; and of which kind, where it is one that gets passes and may have the name of another."""

    namespace: str
    name: str
    kind: str = kinds.YOLO.name

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Key":
        """The key of an object among those of its kind, and of a YoloDeployment."""
        return cls(body["metadata"].get("namespace", ""), body["metadata"]["name"])

    @classmethod
    def of_server(cls, namespace: str, name: str) -> "Key":
        """The key of a YoloServer that is to have a pass."""
        return cls(namespace, name, kinds.SERVER.name)

    @classmethod
    def owner_of(cls, body: Mapping[str, Any]) -> "Key":
        """The key of the YoloDeployment or YoloServer that a child belongs to, by its label."""
        namespace, labels = body["metadata"].get("namespace", ""), body["metadata"].get("labels", {})
        server = labels.get(names.SERVER_OWNER, "")
        return cls.of_server(namespace, server) if server else cls(namespace, labels.get(names.OWNER, ""))

    @property
    def is_server(self) -> bool:
        """Whether it is a YoloServer's."""
        return self.kind == kinds.SERVER.name

    @property
    def object(self) -> "Key":
        """The key of the object among those of its kind."""
        return Key(self.namespace, self.name)


def key_of(kind: Kind, body: Mapping[str, Any]) -> Key:
    """The key of a resource of ours, as it gets passes."""
    key = Key.of(body)
    return Key.of_server(key.namespace, key.name) if kind is kinds.SERVER else key


def server_of(body: Mapping[str, Any]) -> Key | None:
    """The YoloServer that a YoloDeployment refers to."""
    name = body.get("spec", {}).get("serverRef", {}).get("name", "")
    return Key.of_server(body["metadata"].get("namespace", ""), name) if name else None


class Cache:
    """The newest known state of every watched object."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Manifest]] = {name: {} for name in kinds.BY_NAME}
        self._children: dict[str, dict[Key, dict[Key, Manifest]]] = {kind.name: {} for kind in (*kinds.CHILDREN, *kinds.ROUTES)}
        self._models: dict[Key, dict[Key, Manifest]] = {}
        """YoloDeployments by the server that they refer to."""
        self._changed: list[set[Key]] = []
        self.not_served: set[Kind] = set()
        """Kinds that the API server has no CRD of."""

    def put(self, kind: Kind, body: Mapping[str, Any]) -> bool:
        """Keep an object, unless a newer state of it is known already. Returns whether it was news."""
        key, old = Key.of(body), self._objects[kind.name].get(Key.of(body))
        if old is not None and old["metadata"]["uid"] == body["metadata"]["uid"] and resource_version(old) >= resource_version(body):
            return False
        if old is not None:
            self._forget(kind, key, old)  # its owner's label may have been another
        trimmed = kinds.trim(kind, body)
        self._objects[kind.name][key] = trimmed
        for index, owner in self._indices(kind, trimmed):
            index.setdefault(owner, {})[key] = trimmed
        self._note(kind, trimmed)
        return True

    def _indices(self, kind: Kind, body: Mapping[str, Any]) -> Iterator[tuple[dict[Key, dict[Key, Manifest]], Key]]:
        """Where an object is found by another one, and by which."""
        if kind.name in self._children:
            yield self._children[kind.name], Key.owner_of(body)
        if kind is kinds.YOLO and (server := server_of(body)) is not None:
            yield self._models, server

    def drop(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Forget an object that is gone; a newer one of the same name stays."""
        key = Key.of(body)
        old = self._objects[kind.name].get(key)
        if old is None or old["metadata"]["uid"] != body["metadata"]["uid"]:
            return
        self._forget(kind, key, old)

    def changes(self) -> set[Key]:
        """Resources that are new, or gone, or whose Deployments are: all that are there, and from now on each that changes. Whoever asked takes them out."""
        changed = set(self._objects[kinds.YOLO.name])
        self._changed.append(changed)
        return changed

    def _note(self, kind: Kind, body: Manifest) -> None:
        if kind in (kinds.YOLO, kinds.DEPLOYMENT):
            key = Key.of(body) if kind is kinds.YOLO else Key.owner_of(body)
            for each in self._changed if not key.is_server else ():
                each.add(key)

    def _forget(self, kind: Kind, key: Key, old: Manifest) -> None:
        self._note(kind, old)
        del self._objects[kind.name][key]
        for index, owner in self._indices(kind, old):
            owned = index.get(owner, {})
            owned.pop(key, None)
            if not owned:
                index.pop(owner, None)

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        """One object."""
        return self._objects[kind.name].get(key)

    def all(self, kind: Kind) -> Iterator[Manifest]:
        """All objects of a kind."""
        yield from list(self._objects[kind.name].values())

    def children(self, kind: Kind, key: Key, uid: str) -> dict[str, Manifest]:
        """The children of one kind and one resource, by name: those with its owner reference."""
        return {child.name: body for child, body in self._children[kind.name].get(key, {}).items() if names.is_owned(body, uid)}

    def pods(self, key: Key) -> list[Manifest]:
        """The Pods that carry the name of a resource."""
        return list(self._children[kinds.POD.name].get(key, {}).values())

    def models(self, server: Key) -> list[Manifest]:
        """The YoloDeployments that refer to a server."""
        return list(self._models.get(server, {}).values())

    def observe_server(self, key: Key, uid: str) -> ServerObserved:
        """The children of a YoloServer, and the YoloDeployments that refer to it."""
        return ServerObserved(
            deployments=self.children(kinds.DEPLOYMENT, key, uid),
            pods=self.pods(key),
            models=self.models(key),
        )

    def observe(self, key: Key, uid: str) -> Observed:
        """The children of one resource: those with its owner reference, and the Pods that carry its name; and its server, if it refers to one."""
        body = self.get(kinds.YOLO, key)
        server = None if body is None else server_of(body)
        return Observed(
            deployments=self.children(kinds.DEPLOYMENT, key, uid),
            jobs=self.children(kinds.JOB, key, uid),
            services=self.children(kinds.SERVICE, key, uid),
            budgets=self.children(kinds.BUDGET, key, uid),
            network_policies=self.children(kinds.NETWORK_POLICY, key, uid),
            http_routes=self.children(kinds.HTTP_ROUTE, key, uid),
            grpc_routes=self.children(kinds.GRPC_ROUTE, key, uid),
            gateway_api=self.not_served.isdisjoint(kinds.ROUTES),
            pods=self.pods(key),
            server=None if server is None else self.get(kinds.SERVER, server.object),
            server_pods=[] if server is None else self.pods(server),
            neighbours=[] if server is None else [each for each in self.models(server) if Key.of(each) != key],
        )


def resource_version(body: Mapping[str, Any]) -> int:
    """An object's resource version, which grows; 0 where it has none."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
