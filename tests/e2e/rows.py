"""What a row of `bad_specs` is, and the environment that it is given and that its cure changes."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2e import storage as s3
from e2e.cluster import KUBECONFIG, KUBECTL, Cluster, Manifest
from e2e.conftest import yolo_deployment

GPU = "example.com/gpu"
NO_SUCH_GPU = {"count": 1, "resourceName": "example.com/nowhere"}
CPU = {"count": 0}
JSON_PATH = '{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].reason}{"\\n"}'


class Environment:
    """A namespace with the storage's keys, and what the rows change in it."""

    def __init__(self, cluster: Cluster, storage: s3.Storage, namespace: str) -> None:
        self.cluster, self.storage, self.namespace = cluster, storage, namespace
        self.applied: dict[str, float] = {}
        self.seen: dict[tuple[str, str], float] = {}
        self._watch = subprocess.Popen(
            [str(KUBECTL), "get", "yolodeployments", "-n", namespace, "--watch", "-o", f"jsonpath={JSON_PATH}"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"KUBECONFIG": KUBECONFIG},
        )
        threading.Thread(target=self._note, daemon=True).start()

    def _note(self) -> None:
        assert self._watch.stdout is not None
        for line in self._watch.stdout:
            name, _, reason = line.strip().partition(" ")
            self.seen.setdefault((name, reason), time.monotonic())

    def close(self) -> None:
        """End the watch."""
        self._watch.terminate()
        self._watch.wait(timeout=10)

    def apply(self, row: "Good") -> None:
        """Make what the row is given, then its resource; once."""
        if row.name in self.applied:
            return
        given = row.given(self) if row.given else []
        if given:
            self.cluster.apply(*given)
        self.applied[row.name] = time.monotonic()
        self.cluster.apply(yolo_deployment(self.namespace, row.name, **({"gpu": dict(row.gpu)} | row.spec(self))))

    def seconds(self, name: str, reason: str, since: float) -> str:
        """From `since` until the reason was in the status."""
        return f"{self.seen.get((name, reason), time.monotonic()) - since:.0f}"

    def pods(self, name: str, component: str = "") -> list[Manifest]:
        """Pods of a resource."""
        more = f",app.kubernetes.io/component={component}" if component else ""
        return self.cluster.list("pods", self.namespace, f"yolo-operator.io/deployment={name}{more}")

    def secret(self, name: str, keys: tuple[str, str] = s3.ADMIN) -> Manifest:
        """Keys of the storage."""
        return s3.secret(self.namespace, name, keys)

    def object(self, api: str, kind: str, name: str, **more: Any) -> Manifest:
        """Any object in the namespace."""
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": self.namespace}} | more

    def shown(self, text: str) -> str:
        """A message without the names and addresses that are others each time."""
        text = text.replace(self.namespace, "NAMESPACE").replace(bucket(self), "BUCKET")
        return re.sub(r"[0-9]+([.][0-9]+){3}(:[0-9]+)?", "ADDRESS", text)


@dataclass(frozen=True, kw_only=True)
class Good:
    """A spec that is served."""

    name: str
    spec: Callable[[Environment], dict[str, Any]]
    given: Callable[[Environment], list[Manifest]] | None = None
    """What is there before."""
    gpu: Mapping[str, Any] = field(default_factory=lambda: CPU)


@dataclass(frozen=True, kw_only=True)
class Row(Good):
    """A bad spec: what is given, what is reported, and what puts it right."""

    gpu: Mapping[str, Any] = field(default_factory=lambda: NO_SUCH_GPU)
    reason: str
    words: Sequence[str]
    """Of the message: the field and the remedy."""
    cure: Callable[[Environment], object] | None = None
    """Puts the environment right; the spec is not touched."""
    healed: str | Callable[[Environment], bool] = "Built"
    """Condition that is True then, or what else is to be seen."""
    further: Callable[[Environment, str], None] | None = None
    """What else has to hold."""


def ahead(request: pytest.FixtureRequest, parameter: str, count: int) -> list[Any]:
    """The test's row and as many of those that its module runs next: applied before their turn they fill the time that others wait."""
    mine = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    table = [item.callspec.params[parameter] for item in mine if parameter in item.callspec.params]
    at = table.index(request.node.callspec.params[parameter])
    return table[at : at + 1 + count]


def run(environment: Environment, name: str, spec: Manifest, namespace: str = "") -> str:
    """Run a Pod to its end; what it printed."""
    namespace = namespace or environment.namespace
    environment.cluster.kubectl("delete", "pod", name, "-n", namespace, "--ignore-not-found")
    environment.cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": {"restartPolicy": "Never", **spec}}
    )

    def phase() -> str:
        return str((environment.cluster.get("pod", namespace, name) or {})["status"].get("phase", ""))

    environment.cluster.wait(f"Pod {name} to end", lambda: phase() in {"Succeeded", "Failed"}, describe=phase)
    printed = environment.cluster.kubectl("logs", "-n", namespace, name)
    assert phase() == "Succeeded", printed
    environment.cluster.kubectl("delete", "pod", name, "-n", namespace, "--wait=false")
    return printed


def gpus(environment: Environment, count: str | None) -> None:
    """Let the nodes offer a GPU of a name of our own; None takes it back."""
    for node in json.loads(environment.cluster.kubectl("get", "nodes", "-o", "json"))["items"]:
        patch = {"status": {part: {GPU: count} for part in ("capacity", "allocatable")}}
        environment.cluster.kubectl("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=merge", "-p", json.dumps(patch))


def bucket(environment: Environment) -> str:
    """Of the row whose bucket is missing."""
    return f"later{environment.namespace[-5:]}"
