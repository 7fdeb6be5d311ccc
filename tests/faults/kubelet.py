"""What would become of the Pods if there were nodes: a simulated kubelet, with a storage as far as Jobs and Triton touch it.

A worker's Pod ends at once and leaves the word that its container would; a Triton pod loads its model if its revision is published, answers, and is
ready once its gates are open. A YoloServer's pod has what is published of its list, and is ready with all that its labels say it is asked for. `told` says otherwise for a namespace and a component.
"""

import itertools
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from api_client import STRATEGIC, ApiError, Client
from urllib3.exceptions import HTTPError

import gen
from yolo_operator.controller.kinds import POD, Manifest
from yolo_operator.core import clock, contract, names, pods
from yolo_operator.core.served_models import MEMBER, WantedModels
from yolo_operator.core.shared.server import listed

log = logging.getLogger(__name__)

ANSWERING = {names.BUILD: "publish", names.VERIFY: "verify", names.PRUNE: "prune", names.ANALYSIS: "analyze"}
"""The container of each component's Pods whose word counts."""
COMPARISON = {"verdict": "Pass", "requests": 100, "stableRequests": 100}


class Kubelet:
    """Follows all Pods that the operator's Jobs and Deployments have, in every namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client
        free = (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(256), range(256), range(1, 255)))
        self._addresses: dict[str, str] = defaultdict(lambda: next(free))
        """By the Pods' UIDs: what the watch shows may be older than what has been written."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self.published: dict[str, set[str]] = defaultdict(set)
        """Revisions in the storage, by root."""
        self.builds: dict[tuple[str, str], set[str]] = defaultdict(set)
        """UIDs of the Jobs that ran to build a revision, by namespace and revision."""
        self.told: dict[tuple[str, str], tuple[int, contract.Outcome]] = {}
        """Exit code and last word of all Pods of a namespace and a component from now on."""
        self.loaded: dict[str, dict[str, str]] = {}
        """URIs of the revisions that YoloServers' pods have, by address and name."""

    def __enter__(self) -> "Kubelet":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                for pod in self._client.watch(POD):
                    self._follow(pod)
            except (ApiError, HTTPError) as error:
                if not self._stopped.wait(0.2):
                    log.info("pods are listed again: %s", error)

    def _follow(self, pod: Manifest) -> None:
        """Bring one Pod on by a step; its next change comes by the watch again."""
        metadata, status = pod["metadata"], pod.get("status", {})
        if "deletionTimestamp" in metadata or status.get("phase") in {"Succeeded", "Failed"}:
            return
        if names.label(pod, names.SERVER_OWNER) and names.label(pod, names.COMPONENT) == names.TRITON:
            wanted = self._sharing(pod)
        else:
            wanted = self._serving(pod) if names.label(pod, names.COMPONENT) == names.TRITON else self._ended(pod)
        if wanted is None:
            return
        try:
            self._client.patch(POD, metadata["namespace"], metadata["name"], {"status": wanted}, subresource="status", form=STRATEGIC)
        except ApiError as error:
            if error.code != 404:
                raise

    def _serving(self, pod: Manifest) -> Manifest | None:
        """The status of a Triton pod; None where it is so already."""
        (container,) = pod["spec"]["containers"]
        root, _, revision = flag(container, "--model-repository").rpartition("/")
        if revision not in self.published[bucket_path(root)]:
            crash = gen.container_status("triton", state=gen.waiting("CrashLoopBackOff"), last=gen.terminated(1, "no such model"), restartCount=1, imageID="")
            return {"phase": "Running", "containerStatuses": [crash]} if not pod["status"].get("containerStatuses") else None
        gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", ())]
        conditions = {"ContainersReady"} | ({"Ready"} if all(pods.condition(pod, gate) for gate in gates) else set())
        if all(pods.condition(pod, kind) for kind in conditions):
            return None
        runs = gen.container_status("triton", state={"running": {}}, ready=True, started=True, restartCount=0, imageID="")
        address = self._addresses[pod["metadata"]["uid"]]
        now = clock.text(datetime.now(UTC))
        return {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in sorted(conditions)],
            "containerStatuses": [runs],
        }

    def _sharing(self, pod: Manifest) -> Manifest | None:
        """The status of a YoloServer's pod; None where it is so already."""
        address = self._addresses[pod["metadata"]["uid"]]
        wanted = listed(pod) or WantedModels()
        there = [each for each in wanted.models if each.uri.rpartition("/")[2] in self.published[bucket_path(each.uri.rpartition("/")[0])]]
        self.loaded[address] = {each.name: each.uri for each in there}
        asked = {key.removeprefix(MEMBER) for key in pod["metadata"]["labels"] if key.startswith(MEMBER)} & {each.deployment for each in wanted.models}
        has_all = asked <= {each.deployment for each in there if not each.is_trial}
        states = {"ContainersReady": has_all, "Ready": has_all and pods.gate_is_open(pod)}
        if "podIP" in pod["status"] and all(pods.condition(pod, kind) is value for kind, value in states.items()):
            return None
        running = {"state": {"running": {}}, "started": True, "restartCount": 0, "imageID": ""}
        now = clock.text(datetime.now(UTC))
        return {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": kind, "status": str(value), "reason": "" if value else "NotReady", "lastTransitionTime": now} for kind, value in states.items()
            ],
            "containerStatuses": [gen.container_status(names.SERVER, ready=True, containerID=f"containerd://{pod['metadata']['uid']}", **running)],
            "initContainerStatuses": [gen.container_status(names.AGENT, ready=has_all, **running)],
        }

    def _ended(self, pod: Manifest) -> Manifest:
        """The status of a worker's Pod that has run."""
        component = names.label(pod, names.COMPONENT)
        code, outcome = self.told.get((pod["metadata"]["namespace"], component)) or self._done(pod, component)
        answering = ANSWERING[component]
        found = {
            kind: [
                gen.container_status(each["name"], state=gen.terminated(code, outcome.encode()) if each["name"] == answering else gen.terminated(0))
                | {"restartCount": 0, "imageID": ""}
                for each in pod["spec"].get(containers, ())
            ]
            for kind, containers in (("initContainerStatuses", "initContainers"), ("containerStatuses", "containers"))
        }
        return {"phase": "Failed" if code else "Succeeded", **found}

    def _done(self, pod: Manifest, component: str) -> tuple[int, contract.Outcome]:
        """What a worker does; its exit code, and what it says of it."""
        (container,) = [each for each in pod["spec"]["containers"] if each["name"] == ANSWERING[component]]
        match component:
            case names.BUILD:
                root, revision = flag(container, "--root"), flag(container, "--revision")
                (job,) = pod["metadata"]["ownerReferences"]
                self.builds[pod["metadata"]["namespace"], revision].add(job["uid"])
                self.published[bucket_path(root)].add(revision)
                return finds(**gen.artifact(f"{root}/{revision}"))
            case names.VERIFY:
                said = dict(flags(container))
                if "--served-as" not in said:
                    return finds(**gen.verification())
                if self.loaded.get(said["--address"], {}).get(said["--served-as"]) != f"{said['--root']}/{said['--revision']}":
                    return 1, contract.Outcome(reason="ModelNotReady", message="it is not loaded")
                return finds(**gen.verification(memoryBytes=100 << 20))
            case names.PRUNE:
                published, arguments = self.published[bucket_path(flag(container, "--root"))], container["args"]
                removed = set(published) if "--all" in arguments else set(arguments[arguments.index("--remove") + 1 :])
                published -= removed
                return finds(removed=len(removed))
            case _:
                return finds(**COMPARISON)


def flag(container: Manifest, name: str) -> str:
    """The value of a container's flag."""
    return next(value for key, value in flags(container) if key == name)


def flags(container: Manifest) -> Iterator[tuple[str, str]]:
    for argument in container["args"]:
        key, _, value = argument.partition("=")
        yield key, value


def bucket_path(root: str) -> str:
    """A root as Jobs or Triton are told it (with the endpoint): the bucket and what lies below it, with the resource's name last."""
    return "/".join(root.removeprefix("s3://").split("/")[-4:])


def refuses(reason: str, message: str) -> tuple[int, contract.Outcome]:
    """A word for `told`: a fault that only an edit can cure."""
    return contract.PERMANENT_EXIT_CODE, contract.Outcome(reason=reason, message=message)


def finds(**result: Any) -> tuple[int, contract.Outcome]:
    """A word for `told`: another result than the usual one."""
    return 0, contract.Outcome(result=result)
