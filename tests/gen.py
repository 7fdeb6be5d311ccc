"""Objects for tests: each generator gives a whole, plausible object; a test names only what it is about."""

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from yolo_operator.core import api, clock, contract, names, revision
from yolo_operator.core.defaults import Defaults

Manifest = dict[str, Any]

T0 = datetime(2026, 11, 22, 3, 0, 0, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
STORAGE: Manifest = {"uri": "s3://models/yolo", "endpoint": "http://s3.storage.svc:8333", "secretRef": {"name": "s3-credentials"}}
SPEC: Manifest = {"replicas": 1, "versions": [{"version": 1, "source": {"uri": "s3://weights/helmet-v1.pt"}}], "storage": STORAGE}
DEFAULTS = Defaults(
    operator_image="docker.io/yolo-operator/operator:dev",
    exporter_image="docker.io/yolo-operator/exporter:dev",
    triton_image="nvcr.io/nvidia/tritonserver:25.08-py3",
)


def merged(base: Any, change: Any) -> Any:
    """A copy of `base` with `change` laid over it, mapping by mapping; None takes a field away."""
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return copy.deepcopy(change)
    result = {key: copy.deepcopy(value) for key, value in base.items()}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def version(number: int = 1, **more: Any) -> Manifest:
    """One entry of spec.versions."""
    entry: Manifest = merged({"version": number, "source": {"uri": f"s3://weights/helmet-v{number}.pt"}}, more)
    return entry


def behind_a_gateway(**gateway: Any) -> Manifest:
    """Fields of a spec: version 1 has all requests through a Gateway, version 2 none; keywords are fields of spec.traffic.gateway."""
    where = {"parentRefs": [{"name": "edge", "namespace": "infra"}], "hostnames": ["helmet.example.com"]}
    return {"versions": [version(1, weight=1), version(2, weight=0)], "traffic": {"mode": "Gateway", "gateway": merged(where, gateway)}}


def body(*, name: str = "helmet", status: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Manifest:
    """A YoloDeployment as the API server gives it; keywords are fields of its spec, laid over SPEC."""
    meta = {"name": name, "namespace": "factory", "uid": UID, "generation": 1, "resourceVersion": "1"}
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": merged(meta, metadata or {}),
        "spec": merged(SPEC, spec),
        "status": dict(status or {}),
    }


def written(name: str = "helmet", **spec: Any) -> Manifest:
    """A YoloDeployment as a user writes it: the smallest useful one, with fields of its spec laid over it."""
    smallest = {"versions": [{"version": 1, "source": {"uri": "ultralytics://yolo11n.pt"}}]}
    return {"apiVersion": api.API_VERSION, "kind": api.KIND, "metadata": {"name": name}, "spec": merged(smallest, spec)}


def written_server(name: str = "line-3", **spec: Any) -> Manifest:
    """A YoloServer as a user writes it."""
    return {"apiVersion": api.API_VERSION, "kind": api.SERVER_KIND, "metadata": {"name": name}, "spec": spec}


def yolo(**fields: Any) -> api.YoloDeployment:
    """A parsed YoloDeployment; the same keywords as `body`."""
    return api.parse(body(**fields))


def artifact(uri: str = "s3://models/yolo/factory/helmet/0123456789", **more: Any) -> Manifest:
    """What the publish container says."""
    return {
        "uri": uri,
        "onnxSha256": "a" * 64,
        "sizeBytes": 10_700_000,
        "sourceSha256": "b" * 64,
        "task": "detect",
        "classes": 80,
        "classesDigest": "0123456789abcdef",
        "imageSize": [640, 640],
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, -1, -1]}],
        "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, 84, -1]}],
        "ultralytics": "8.3.0",
        "torch": "2.9.0",
        "opset": 17,
    } | more


def artifact_of(resource: api.YoloDeployment, number: int = 1, *, defaults: Defaults = DEFAULTS, **more: Any) -> Manifest:
    """What the publish container says of the revision that a resource wants now."""
    wanted = next(entry for entry in resource.spec.versions if entry.version == number)
    return artifact(f"{revision.root(resource, defaults)}/{revision.revision(resource, wanted, defaults)}", **more)


def verification(**more: Any) -> Manifest:
    """What the verify container says."""
    return {"latencyMilliseconds": 12.5, "worstIoU": 0.999, "worstScoreDifference": 0.001, "detections": 6} | more


def version_status(**more: Any) -> api.VersionStatus:
    """What is recorded of a version that serves."""
    return api.VersionStatus.model_validate({"version": 1, "revision": "0123456789", "builtRevision": "0123456789", "artifact": artifact()} | more)


def failure(**more: Any) -> api.Failure:
    """A recorded failure."""
    return api.Failure.model_validate({"key": "job", "job": "uid", "time": clock.text(T0), "reason": "DownloadFailed", "message": "…"} | more)


def outcome(*, result: Mapping[str, Any] | None = None, reason: str = "", message: str = "") -> str:
    """A termination message."""
    return contract.Outcome(result=dict(result) if result is not None else None, reason=reason, message=message).encode()


def container_status(name: str, *, state: Manifest, last: Manifest | None = None, **more: Any) -> Manifest:
    """The status of one container."""
    return {"name": name, "image": f"docker.io/example/{name}:1", "ready": False, "started": False, "state": state, "lastState": last or {}} | more


def terminated(code: int, message: str = "", reason: str = "") -> Manifest:
    """A container's state after its end."""
    return {"terminated": {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error"), "message": message}}


def waiting(reason: str, message: str = "") -> Manifest:
    """A container's state before its start."""
    return {"waiting": {"reason": reason, "message": message}}


def pod(
    name: str = "helmet-v1-abc",
    *,
    labels: Mapping[str, str] | None = None,
    owner: str = "rs-uid",
    created: datetime = T0,
    containers: Sequence[Manifest] = (),
    init: Sequence[Manifest] = (),
    conditions: Mapping[str, str] | None = None,
    **status: Any,
) -> Manifest:
    """A Pod; `conditions` maps a condition's type to its status. Where Ready is not True the kubelet says why: only what takes it back for a silent node does not."""
    reasons = {"Ready": {"reason": "ReadinessGatesNotReady"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "factory",
            "uid": f"uid-of-{name}",
            "resourceVersion": "1",
            "creationTimestamp": clock.text(created),
            "labels": {names.MANAGED_BY: names.FIELD_MANAGER, names.OWNER: "helmet"} | dict(labels or {}),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "owner", "uid": owner, "controller": True}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "conditions": [{"type": kind, "status": value} | (reasons.get(kind, {}) if value == "False" else {}) for kind, value in (conditions or {}).items()],
            "initContainerStatuses": list(init),
            "containerStatuses": list(containers),
        }
        | status,
    }


def silent(pod: Manifest, node: str = "gpu-7") -> Manifest:
    """A ready Pod's node has stopped reporting: a controller takes Ready back, and gives no reason."""
    others = [each for each in pod["status"]["conditions"] if each["type"] != "Ready"]
    pod["status"]["conditions"] = [*others, {"type": "Ready", "status": "False"}]
    return pod | {"spec": {"nodeName": node}}


def moved(pod: Manifest, node: str = "gpu-7", at: datetime = T0) -> Manifest:
    """Kubernetes has given up a Pod on a silent node, which was to have ended at that time."""
    pod["metadata"]["deletionTimestamp"] = clock.text(at)
    pod["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"})
    return pod | {"spec": {"nodeName": node}}


def unschedulable(message: str) -> Manifest:
    """The condition of a Pod that no node takes."""
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


def answer_route(live: Manifest, *, parents: Sequence[Manifest] = (), generation: int | None = None, **conditions: tuple[str, str]) -> Manifest:
    """A Gateway controller's answer in a route's status: conditions by type, as status and reason, for some parents or all."""
    seen = live["metadata"].get("generation", 1) if generation is None else generation
    found = [
        {"type": kind, "status": status, "reason": reason, "message": f"it is {reason}", "observedGeneration": seen}
        for kind, (status, reason) in conditions.items()
    ]
    answered = list(parents or live["spec"]["parentRefs"])
    others = [entry for entry in live.get("status", {}).get("parents", ()) if entry["parentRef"] not in answered]
    entries = [{"parentRef": parent, "controllerName": "example.com/gateway", "conditions": found} for parent in answered]
    live["status"] = copy.deepcopy({"parents": [*others, *entries]})
    return live


def job(name: str = "helmet-v1-build-0", *, ended: str = "", owner: str = UID, **metadata: Any) -> Manifest:
    """A Job; `ended` is Complete, Failed or nothing."""
    conditions = [{"type": ended, "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]
    meta = {"name": name, "namespace": "factory", "uid": f"uid-of-{name}", "ownerReferences": [{"uid": owner}], "labels": {names.OWNER: "helmet"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta | metadata,
        "status": {"conditions": conditions, "completionTime": clock.text(T0)} if ended else {"conditions": []},
    }
