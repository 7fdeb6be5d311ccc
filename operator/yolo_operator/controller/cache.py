"""What the watches have shown, per kind. Filled by handlers and by the writer's own answers, read by the reconciler."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from yolo_operator.controller import kinds
from yolo_operator.controller.kinds import Kind, Manifest
from yolo_operator.core import names
from yolo_operator.core.observed import Observed


class Key(NamedTuple):
    """Namespace and name."""

    namespace: str
    name: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Key":
        """The key of an object."""
        return cls(body["metadata"].get("namespace", ""), body["metadata"]["name"])

    @classmethod
    def owner_of(cls, body: Mapping[str, Any]) -> "Key":
        """The key of the YoloDeployment a child belongs to, by its label."""
        return cls(body["metadata"].get("namespace", ""), body["metadata"].get("labels", {}).get(names.OWNER, ""))


class Cache:
    """The newest known state of every watched object."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Manifest]] = {name: {} for name in kinds.BY_NAME}
        self._children: dict[str, dict[Key, dict[Key, Manifest]]] = {kind.name: {} for kind in (*kinds.CHILDREN, *kinds.ROUTES)}
        self._changed: list[set[Key]] = []
        self.not_served: set[Kind] = set()
        """Kinds of routes that the API server has no CRD of."""

    def put(self, kind: Kind, body: Mapping[str, Any]) -> bool:
        """Keep an object, unless a newer state of it is known already. Returns whether it was news."""
        key, old = Key.of(body), self._objects[kind.name].get(Key.of(body))
        if old is not None and old["metadata"]["uid"] == body["metadata"]["uid"] and resource_version(old) >= resource_version(body):
            return False
        if old is not None:
            self._forget(kind, key, old)  # its owner's label may have been another
        trimmed = kinds.trim(kind, body)
        self._objects[kind.name][key] = trimmed
        if kind is not kinds.YOLO:
            self._children[kind.name].setdefault(Key.owner_of(body), {})[key] = trimmed
        self._note(kind, trimmed)
        return True

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
            for each in self._changed:
                each.add(key)

    def _forget(self, kind: Kind, key: Key, old: Manifest) -> None:
        self._note(kind, old)
        del self._objects[kind.name][key]
        if kind is not kinds.YOLO:
            owned = self._children[kind.name].get(Key.owner_of(old), {})
            owned.pop(key, None)
            if not owned:
                self._children[kind.name].pop(Key.owner_of(old), None)

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        """One object."""
        return self._objects[kind.name].get(key)

    def all(self, kind: Kind) -> Iterator[Manifest]:
        """All objects of a kind."""
        yield from list(self._objects[kind.name].values())

    def children(self, kind: Kind, key: Key, uid: str) -> dict[str, Manifest]:
        """The children of one kind and one resource, by name: those with its owner reference."""
        return {child.name: body for child, body in self._children[kind.name].get(key, {}).items() if names.is_owned(body, uid)}

    def observe(self, key: Key, uid: str) -> Observed:
        """The children of one resource: those with its owner reference, and the Pods that carry its name."""

        return Observed(
            deployments=self.children(kinds.DEPLOYMENT, key, uid),
            jobs=self.children(kinds.JOB, key, uid),
            services=self.children(kinds.SERVICE, key, uid),
            budgets=self.children(kinds.BUDGET, key, uid),
            network_policies=self.children(kinds.NETWORK_POLICY, key, uid),
            http_routes=self.children(kinds.HTTP_ROUTE, key, uid),
            grpc_routes=self.children(kinds.GRPC_ROUTE, key, uid),
            gateway_api=not self.not_served,
            pods=list(self._children[kinds.POD.name].get(key, {}).values()),
        )


def resource_version(body: Mapping[str, Any]) -> int:
    """An object's resource version, which grows; 0 where it has none."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
