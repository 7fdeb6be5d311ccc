"""What Pods tell of what the operator cannot see: Secrets, images, GPUs, memory, and the workers' last words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_operator.core import contract, names, triton_log

Manifest = Mapping[str, Any]

IMAGE_REASONS = frozenset({"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "RegistryUnavailable"})
BUILD_CONTAINERS = frozenset({"check", "fetch", "export", "publish"})
WORKERS = frozenset({*BUILD_CONTAINERS, "pictures", "verify", "analyze", "prune"})
"""Containers of our Jobs; others in their Pods somebody has injected."""
SYSTEM_TAINTS = ("node-role.kubernetes.io/", "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
"""Taints that are about the node itself: a control plane, one that is not ready, full or new. Nobody tolerates them to run YOLO."""
UNTOLERATED = re.compile(r"untolerated taint(?:\(s\))?(?: \{([^:}]+)(?:: ([^}]*))?\})?")
"""Which taint Kubernetes tells before 1.34 alone."""
UNCLAIMABLE = re.compile(r"cannot allocate all claims|device class \S+ does not exist")
"""What the scheduler says of ResourceClaims that no node can meet."""
MESSAGE_LIMIT = 1000
ENDED = frozenset({"Succeeded", "Failed"})
"""Phases of a Pod that will not run any more."""
REASON = re.compile("[A-Z][0-9A-Za-z]{0,62}")
"""What a worker's reason looks like; the exporter runs foreign code, which may have written anything."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a Pod does not get on."""

    reason: str
    message: str
    permanent: bool = False
    """Only an edit of the spec or other weights can cure it."""


def diagnose(pod: Manifest, *, job: bool) -> Problem | None:
    """The problem a Pod shows, None where it shows none. `job`: whether it is a worker's Pod, whose end is final."""
    status = pod.get("status", {})
    if status.get("reason") == "Evicted":
        return evicted(status.get("message", ""))
    silent = node_not_ready(pod)
    if silent is not None:
        return silent
    for container in containers(pod):
        problem = waiting(container) or (terminated(container) if job else crashed(container))
        if problem is not None:
            return problem
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and condition.get("reason") == "Unschedulable":
            return unschedulable(condition.get("message", ""), job=job)
    return None


def latest_problem(pods: Iterable[Manifest], *, job: bool) -> Problem | None:
    """The problem of the youngest Pod that shows one."""
    for pod in sorted(pods, key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]), reverse=True):
        problem = diagnose(pod, job=job)
        if problem is not None:
            return problem
    return None


def outcome(pods: Iterable[Manifest], container_names: Sequence[str]) -> contract.Outcome | None:
    """The result that one of the named containers of a succeeded Pod left, the first name that has one."""
    for pod in pods:
        if not has_ended_well(pod):
            continue
        messages = {c["name"]: c.get("state", {}).get("terminated", {}).get("message", "") for c in containers(pod)}
        for name in container_names:
            answer = contract.Outcome.decode(messages.get(name, ""))
            if answer is not None and answer.result:
                return answer
    return None


def has_ended_well(pod: Manifest) -> bool:
    """Whether our containers in a Job's Pod have all ended well. A classic sidecar may run on, or have failed when it was ended."""
    return pod.get("status", {}).get("phase") == "Succeeded" or main_exit_code(pod) == 0


def outlived(pod: Manifest) -> bool:
    """Whether our containers in a Job's Pod have ended and another, a classic sidecar, keeps it from its end."""
    others = [container for container in pod.get("status", {}).get("containerStatuses", ()) if container["name"] not in WORKERS]
    return not is_terminating(pod) and main_exit_code(pod) is not None and any("running" in container.get("state", {}) for container in others)


def main_exit_code(pod: Manifest) -> int | None:
    """How our last container in a Job's Pod ended, None where it has not. Those before it are init containers, which ended well if it has begun."""
    ours = [container for container in pod.get("status", {}).get("containerStatuses", ()) if container["name"] in WORKERS]
    codes = [ended["exitCode"] for container in ours if (ended := container.get("state", {}).get("terminated")) is not None]
    return next(iter(codes), None)


def containers(pod: Manifest) -> list[dict[str, Any]]:
    """Statuses of all containers, init containers first."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def has_ended(pod: Manifest) -> bool:
    """Whether nothing of the Pod runs any more, as far as its node says."""
    return pod.get("status", {}).get("phase") in ENDED


def is_leaving(pod: Manifest) -> bool:
    """Whether the Pod is on its way out and has not ended."""
    return "deletionTimestamp" in pod["metadata"] and not has_ended(pod)


def is_terminating(pod: Manifest) -> bool:
    """Whether the Pod is on its way out or has ended."""
    return "deletionTimestamp" in pod["metadata"] or has_ended(pod)


def condition(pod: Manifest, kind: str) -> bool:
    """Whether a condition of the Pod is True."""
    return any(c["type"] == kind and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


def is_ready(pod: Manifest) -> bool:
    """Whether the Pod takes requests."""
    return condition(pod, "Ready") and not is_terminating(pod)


def answers(pod: Manifest) -> bool:
    """Whether Triton in it has loaded the model, be the gate open or not. What a silent node said last counts for nothing."""
    return condition(pod, "ContainersReady") and not is_terminating(pod) and not on_silent_node(pod) and bool(pod.get("status", {}).get("podIP"))


def gate_is_open(pod: Manifest) -> bool:
    """Whether the readiness gate has been opened."""
    return condition(pod, names.VERIFIED_GATE)


def waits_at_gate(pod: Manifest) -> bool:
    """Whether the Pod is there to stay and has a closed readiness gate."""
    return not gate_is_open(pod) and not is_terminating(pod)


def evicted(message: str) -> Problem:
    """A Pod the kubelet has put out."""
    if "EmptyDir" in message or "emptyDir" in message:
        return Problem("DiskFull", f"The scratch volume is full: raise spec.build.storageSize. {message}", permanent=True)
    return Problem("Evicted", f"The node put the Pod out: {message}")


def on_silent_node(pod: Manifest) -> bool:
    """Whether a ready Pod's node has stopped reporting: a controller takes Ready back, and gives no reason as the kubelet would. Of one that was not ready it says nothing."""
    conditions = pod.get("status", {}).get("conditions", ())
    return condition(pod, "ContainersReady") and any(c["type"] == "Ready" and c["status"] == "False" and not c.get("reason") for c in conditions)


def is_being_moved(pod: Manifest) -> bool:
    """Whether Kubernetes has given the Pod up for its node's sake, and the node has not said that it has ended."""
    conditions = pod.get("status", {}).get("conditions", ())
    return is_leaving(pod) and any(
        c["type"] == "DisruptionTarget" and c["status"] == "True" and c.get("reason") == "DeletionByTaintManager" for c in conditions
    )


def node_not_ready(pod: Manifest) -> Problem | None:
    """A Pod whose node is silent."""
    node = pod.get("spec", {}).get("nodeName", "")
    if is_being_moved(pod):
        name = pod["metadata"]["name"]
        return Problem(
            "NodeNotReady", f"Pod {name} is taken off node {node!r}, which has stopped reporting or has a NoExecute taint: see kubectl describe node {node}"
        )
    if not on_silent_node(pod):
        return None
    return Problem(
        "NodeNotReady", f"Node {node!r} has stopped reporting: see kubectl describe node {node}. Kubernetes moves its Pods to other nodes after some minutes."
    )


def waiting(container: Manifest) -> Problem | None:
    """A container that cannot start."""
    state = container.get("state", {}).get("waiting")
    if state is None:
        return None
    reason, message = state.get("reason", ""), state.get("message", "")
    if reason == "CreateContainerConfigError":
        return config_error(message)
    if reason in IMAGE_REASONS:
        return Problem(
            "ImagePullFailed",
            f"Image {container.get('image', '')!r} cannot be pulled: check the image, its registry and imagePullSecrets. {message}"[:MESSAGE_LIMIT],
        )
    if reason in {"CreateContainerError", "RunContainerError"}:
        return Problem("ContainerCannotStart", f"Container {container['name']}: {message}"[:MESSAGE_LIMIT])
    return None


def config_error(message: str) -> Problem:
    """A Secret or a key of it that is not there."""
    missing_key = re.search(r"couldn't find key (\S+) in Secret \S+/(\S+)", message)
    if missing_key:
        key, secret = missing_key.groups()
        return Problem(
            "SecretKeyMissing", f"Secret {secret!r} has no key {key}: add it (spec.storage.secretRef, source.secretRef or export.calibration.secretRef)"
        )
    missing = re.search(r'secret "([^"]+)" not found', message)
    if missing:
        return Problem(
            "SecretNotFound",
            f"Secret {missing[1]!r} is not in this namespace: create it, or correct spec.storage.secretRef, source.secretRef or export.calibration.secretRef",
        )
    return Problem("ContainerConfigError", message[:MESSAGE_LIMIT])


def terminated(container: Manifest) -> Problem | None:
    """A worker's container that ended with a fault: its own word, or what its exit tells."""
    state = container.get("state", {}).get("terminated")
    if state is None or state.get("exitCode") == 0:
        return None
    name = container["name"]
    if name not in WORKERS:
        return foreign(container, state)
    if state.get("reason") == "OOMKilled":
        field = "spec.build.resources.limits.memory" if name in {"export", "analyze"} else "spec.jobs.resources.limits.memory"
        # The same build needs as much again, and each attempt exports anew; another limit is another Job.
        return Problem("OutOfMemory", f"Container {name} was killed for lack of memory: raise {field}", permanent=name in BUILD_CONTAINERS)
    answer = contract.Outcome.decode(state.get("message", ""))
    if answer is not None and REASON.fullmatch(answer.reason):
        return Problem(answer.reason, answer.message, permanent=state["exitCode"] == contract.PERMANENT_EXIT_CODE)
    tail = state.get("message", "").strip()[-400:]
    # No word of its own: the exporter runs foreign code, which may end as it likes; the same weights will end so again.
    return Problem(
        f"{name.capitalize()}Failed",
        f"Container {name} ended with exit code {state['exitCode']}: {tail}",
        permanent=name == "export",
    )


def crashed(container: Manifest) -> Problem | None:
    """A container of a Triton pod that keeps ending: the server, ours before it, or one of the user's or a mesh's."""
    last = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated")
    if last is None or container.get("ready") or (container.get("state", {}).get("running") and container.get("started")):
        return None
    name, tail = container["name"], last.get("message", "").strip()[-600:]
    if name in (names.LOAD, names.DECODER, names.AGENT):
        return not_brought(name, last)
    if name not in (names.SERVER, names.MERGE_CA):
        return foreign(container, last)
    if last.get("reason") == "OOMKilled":
        return Problem(
            "OutOfMemory",
            "Triton was killed for lack of memory: raise spec.triton.resources.limits.memory, or lower spec.triton.maxBatchSize or instances",
        )
    if name == names.MERGE_CA:
        return Problem(
            "CaBundleNotFound",
            f"spec.storage.caBundleRef: that ConfigMap, or the key in it, is not in this namespace: create it, or correct the reference. {tail}",
        )
    said = triton_log.cause(last.get("message", ""))
    return Problem("TritonCrashed", f"Triton ended with exit code {last.get('exitCode')}{triton_log.hint(said)}: {said}")


def not_brought(name: str, ended: Manifest) -> Problem:
    """A container that brings models, or the decoder of pictures, has failed; the kubelet starts it again, so nothing of it is for good."""
    if ended.get("reason") == "OOMKilled":
        field = "spec.agent.resources.limits.memory of the YoloServer" if name == names.AGENT else "spec.jobs.resources.limits.memory"
        return Problem("OutOfMemory", f"Container {name} was killed for lack of memory: raise {field}")
    answer = contract.Outcome.decode(ended.get("message", ""))
    if answer is not None and REASON.fullmatch(answer.reason):
        return Problem(answer.reason, answer.message)
    return Problem("LoadFailed", f"Container {name} ended with exit code {ended.get('exitCode')}: {ended.get('message', '').strip()[-400:]}")


def foreign(container: Manifest, ended: Manifest) -> Problem:
    """A container that is not ours and has failed."""
    tail = ended.get("message", "").strip()[-600:]
    why = "was killed for lack of memory" if ended.get("reason") == "OOMKilled" else f"ended with exit code {ended.get('exitCode')}: {tail}"
    return Problem("ContainerCrashed", f"Container {container['name']}, which is not the operator's (spec.triton.podTemplate, or injected), {why}")


def unschedulable(message: str, *, job: bool) -> Problem:
    """A Pod no node takes."""
    claim = re.search(r'persistentvolumeclaim "([^"]+)" not found', message)
    if claim:
        return Problem(
            "PersistentVolumeClaimNotFound",
            f"PersistentVolumeClaim {claim[1]!r} is not in this namespace: create it, or correct the pvc:// URI or engineCache",
        )
    field = "spec.jobs.tolerations" if job else "spec.tolerations"
    found = [match for match in UNTOLERATED.finditer(message) if not (match[1] or "").startswith(SYSTEM_TAINTS)]
    taints = ", ".join(sorted({taint_text(match) for match in found}))
    lacking = re.search(r"Insufficient ([\w.-]+/[\w.-]*\w)", message)
    if lacking:
        tainted = f" Or the GPUs are on nodes with {taints}: tolerate it ({field})." if taints else ""
        return Problem(
            "InsufficientGPU",
            f"No node has enough {lacking[1]} free: add a node, free one, or correct spec.gpu.resourceName and count; an update can also have its old "
            f"pod make room (spec.rollout.gpu: InPlace; with a single pod requests fail meanwhile).{tainted} {message}"[:MESSAGE_LIMIT],
        )
    if UNCLAIMABLE.search(message):
        return Problem(
            "InsufficientGPU",
            f"No node has free what the ResourceClaim asks for: add a node, free one, or correct the template of spec.gpu.resourceClaimTemplateName; an update "
            f"can also have its old pod make room (spec.rollout.gpu: InPlace; with a single pod requests fail meanwhile). {message}"[:MESSAGE_LIMIT],
        )
    if taints:
        return Problem("UntoleratedTaint", f"Nodes have {taints}: tolerate it ({field}), or add other nodes. {message}"[:MESSAGE_LIMIT])
    return Problem("Unschedulable", f"No node takes the Pod: {message}"[:MESSAGE_LIMIT])


def taint_text(found: re.Match[str]) -> str:
    """A taint as kubectl writes it, as far as the scheduler tells."""
    if found[1] is None:
        return "a taint (kubectl describe nodes shows which)"
    return f"the taint {found[1]}={found[2]}" if found[2] else f"the taint {found[1]}"
