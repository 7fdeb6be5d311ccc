"""A namespace with one YoloDeployment and an operator of its own: what a user does there, and how it all looks in the end.

Two runs of the same scenario are alike if their `state` is the same: uids, times and the names that follow from them or from the namespace are left out.
"""

import difflib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from api_client import NAMESPACE, REPLICA_SET
from control_plane import ControlPlane
from kubelet import Kubelet, bucket_path
from mortal import Mortal

import gen
from yolo_operator.controller import kinds
from yolo_operator.controller.kinds import SERVER, YOLO, Manifest
from yolo_operator.core import names, pods
from yolo_operator.core.observed import finished
from yolo_operator.core.shared.server import listed

NAME = "helmet"
SERVER_NAME = "line-3"
SECONDS = 180
"""For anything to come true on a busy machine; on an idle one most of it is minReadySeconds of the Deployments and the Job controller's second for each Job."""
NOT_ALIKE = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "job", "clusterIP", "clusterIPs"} | {
    "time",
    "started",
    "reached",
    "promoted",
    "heldSeconds",
    "serial",
    "lastTransitionTime",
    "lastUpdateTime",
}
"""Fields that differ between two runs of the same scenario."""
SHOWN = (*kinds.WATCHED, kinds.SERVER, REPLICA_SET)
REVISION_OF_TEMPLATE = "deployment.kubernetes.io/revision"


class Place:
    """Everything that a scenario needs."""

    def __init__(self, plane: ControlPlane, kubelet: Kubelet, namespace: str, operator: Mortal) -> None:
        self.namespace = namespace
        self.kubelet = kubelet
        self.operator = operator
        self._client = plane.client()
        self._client.create(NAMESPACE, {"metadata": {"name": namespace}})

    # What the user does.

    def create(self, **spec: Any) -> None:
        """Make the resource: the smallest useful one, with fields of its spec laid over it."""
        body = gen.body(metadata={"namespace": self.namespace, "uid": None, "generation": None, "resourceVersion": None}, **spec)
        self._client.create(YOLO, body)

    def create_server(self, **spec: Any) -> None:
        """Make a YoloServer that the resource may refer to."""
        self._client.create(
            SERVER, gen.merged(gen.written_server(SERVER_NAME, storage=gen.STORAGE, gpu={"count": 0}, **spec), {"metadata": {"namespace": self.namespace}})
        )

    def edit_server(self, **spec: Any) -> None:
        """Change its spec."""
        self._client.patch(SERVER, self.namespace, SERVER_NAME, {"spec": spec})

    def delete_server(self) -> None:
        """It waits until no resource refers to it."""
        self._client.delete(SERVER, self.namespace, SERVER_NAME)

    def replace(self, spec: Mapping[str, Any]) -> None:
        """Put another spec in the place of the one that is there."""
        self._client.patch(YOLO, self.namespace, NAME, [{"op": "replace", "path": "/spec", "value": spec}], form="application/json-patch+json")

    def edit(self, **spec: Any) -> None:
        """Change the spec; None takes a field away."""
        self._client.patch(YOLO, self.namespace, NAME, {"spec": spec})

    def annotate(self) -> Manifest:
        """Change something that the operator has nothing to do for."""
        return self._client.patch(YOLO, self.namespace, NAME, {"metadata": {"annotations": {"example.com/seen": str(time.monotonic())}}})

    def delete(self) -> None:
        self._client.delete(YOLO, self.namespace, NAME)

    def abandon(self) -> None:
        """End its operator, and leave the operators of other places nothing to look after."""
        self.operator.kill()
        for kind, name in ((YOLO, NAME), (SERVER, SERVER_NAME)):
            if self._client.get(kind, self.namespace, name):
                self._client.delete(kind, self.namespace, name)
            if self._client.get(kind, self.namespace, name):
                self._client.patch(kind, self.namespace, name, {"metadata": {"finalizers": None}})

    # What can be seen.

    @property
    def body(self) -> Manifest:
        """The resource, empty where it is gone."""
        return self._client.get(YOLO, self.namespace, NAME) or {}

    @property
    def server(self) -> Manifest:
        """The YoloServer, empty where there is none."""
        return self._client.get(SERVER, self.namespace, SERVER_NAME) or {}

    @property
    def published(self) -> list[str]:
        """Revisions in the storage."""
        return sorted(self.kubelet.published[bucket_path(f"s3://models/yolo/{self.namespace}/{NAME}")])

    def builds(self) -> dict[str, int]:
        """How many Jobs have run to build each revision."""
        # A copy: the kubelet's thread adds to it.
        return {revision: len(jobs) for (namespace, revision), jobs in self.kubelet.builds.copy().items() if namespace == self.namespace}

    def condition(self, kind: str, body: Manifest | None = None) -> tuple[str, str]:
        """Status and reason of a condition that is about the spec as it is now, of the resource or of another one."""
        body = self.body if body is None else body
        for found in body.get("status", {}).get("conditions", ()):
            if found["type"] == kind and found.get("observedGeneration") == body["metadata"]["generation"]:
                return found["status"], found["reason"]
        return "", ""

    def is_ready(self) -> bool:
        return self.condition("Ready")[0] == "True"

    def is_shared(self) -> bool:
        """Whether it serves, and so does its server."""
        return self.is_ready() and self.condition("Ready", self.server)[0] == "True"

    def until(self, reached: Callable[[], object], seconds: float = SECONDS) -> float:
        """Wait for something to come true; returns how long it took. An operator that ends as it was not told to is an error."""
        began = time.monotonic()
        while not reached():
            self.operator.has_died(0)
            assert self.kubelet.alive, "the simulated kubelet has ended"
            assert time.monotonic() < began + seconds, f"{self.namespace}: not reached in {seconds} s\n{self.told_last()}"
            time.sleep(0.2)
        return time.monotonic() - began

    def rest(self, seconds: float = 1.5) -> None:
        """Wait until nothing has changed for so long."""
        seen, since = "", time.monotonic()
        while time.monotonic() < since + seconds:
            versions = names.canonical({kind.name: [each["metadata"]["resourceVersion"] for each in self._client.list(kind, self.namespace)] for kind in SHOWN})
            if versions != seen:
                seen, since = versions, time.monotonic()
            time.sleep(0.3)

    def told_last(self) -> str:
        """What the operator has said last, and how things are: for a test that fails."""
        said = "\n".join(self.operator.lines()[-40:])
        return f"{said}\n{json.dumps(self.state(), indent=1)}"

    def state(self) -> Manifest:
        """How all objects are, and the storage."""
        found = {kind.name: self._client.list(kind, self.namespace) for kind in SHOWN}
        seen = {
            "YoloDeployment": [{**without_pods(body), "finalizers": body["metadata"].get("finalizers", [])} for body in found["YoloDeployment"]],
            "YoloServer": [{**body, "finalizers": body["metadata"].get("finalizers", [])} for body in found["YoloServer"]],
            "Deployment": [without_reports(live) for live in found["Deployment"]],
            "Service": found["Service"],
            "PodDisruptionBudget": [live | {"status": {}} for live in found["PodDisruptionBudget"]],
            "ReplicaSet": [[live["metadata"]["labels"], live["spec"]["replicas"]] for live in found["ReplicaSet"]],
            "Pod": [
                [pod["metadata"]["labels"], pods.gate_is_open(pod), pods.is_ready(pod), models_of(pod)]
                for pod in found["Pod"]
                if not names.label(pod, names.JOB_NAME)
            ],
            "Job": [[live["metadata"]["labels"], finished(live)] for live in found["Job"]],
        }
        text = json.dumps(alike(seen))
        for drawn, word in self._words(found["ReplicaSet"]).items():
            text = text.replace(drawn, word)
        state = {kind: sorted(objects, key=names.canonical) for kind, objects in json.loads(text).items()}
        return state | {"published": self.published, "builds": self.builds()}

    def _words(self, replica_sets: list[Manifest]) -> dict[str, str]:
        """What stands for the namespace and the hashes that it goes into."""
        words = {self.namespace: "NAMESPACE"}
        for live in replica_sets:
            which = f"{names.label(live, names.VERSION)}.{live['metadata']['annotations'][REVISION_OF_TEMPLATE]}"
            words[names.label(live, names.POD_TEMPLATE_HASH)] = f"HASH-{which}"
            words[names.label(live, names.TEMPLATE)] = f"TEMPLATE-{which}"
        return words


def difference(wanted: Manifest, found: Manifest) -> str:
    """Lines of one state that the other has not; empty where they are the same."""
    lines = [json.dumps(state, indent=1, sort_keys=True).splitlines() for state in (wanted, found)]
    return "\n".join(difflib.unified_diff(*lines, "undisturbed", "found", n=4, lineterm=""))


def alike(value: Any) -> Any:
    """A value without what differs between two runs of the same scenario."""
    match value:
        case dict():
            return {key: alike(each) for key, each in value.items() if key not in NOT_ALIKE}
        case list():
            return [alike(each) for each in value]
        case _:
            return value


def models_of(pod: Manifest) -> list[Manifest]:
    """What a YoloServer's pod has been told to have."""
    found = listed(pod)
    return [] if found is None else [each.model_dump(mode="json") for each in found.models]


def without_pods(body: Mapping[str, Any]) -> Manifest:
    """A YoloDeployment without the names of the pods that a YoloServer's verification was about: how many there are stays."""
    shared = body.get("status", {}).get("shared")
    if shared is None:
        return dict(body)
    verified = sorted(
        ({key: value for key, value in each.items() if key not in {"pod", "container"}} for each in shared.get("verified", ())), key=names.canonical
    )
    return gen.merged(body, {"status": {"shared": {"verified": verified}}})


def without_reports(live: Mapping[str, Any]) -> Manifest:
    """A Deployment without what its controller says of the way it came here."""
    status = {key: value for key, value in live.get("status", {}).items() if key not in {"conditions", "observedGeneration", "collisionCount"}}
    return {**live, "status": status}
