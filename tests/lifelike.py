"""A simulated cluster in which everything happens one by one: a pod is made, finds a GPU or none, answers, becomes ready, crashes, is evicted.

`roll` is a round of the Deployment controller, with maxSurge and maxUnavailable, `kubelet` one of scheduler and kubelet. `one_pass` is a pass of the
operator whose writes may be refused, or which ends in the middle. Fast rather than thorough: nothing is copied that nobody changes.
"""

from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from typing import Any

import gen
from simulation import Simulation
from yolo_operator.core import api, clock, drift, names, pods, status
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Observed
from yolo_operator.core.plan import plan
from yolo_operator.core.rollout.invariants import Seen

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
OVER_QUOTA = "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1"
KINDS = {
    "deployments": "Deployment",
    "jobs": "Job",
    "services": "Service",
    "budgets": "PodDisruptionBudget",
    "network_policies": "NetworkPolicy",
    "http_routes": "HTTPRoute",
    "grpc_routes": "GRPCRoute",
}
OTHER_CLASSES = "other"
"""In a source's URI: its model has other classes."""


@lru_cache(maxsize=4096)
def hash_of(rendered: str) -> str:
    """The ReplicaSet's hash of a template that stands in the Deployment's annotation."""
    return names.digest(names.parse_canonical(rendered), 10)


class Cluster(Simulation):
    """The objects of one namespace, and what limits them."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(**spec)
        self.gpus: int | None = None
        """Pods that find a GPU; None: all."""
        self.quota: int | None = None
        """Pods that the namespace's quota admits; None: all."""
        self.changed = False
        """Whether the last pass wrote anything."""
        self.stored: set[tuple[str, str]] = set()
        """What the storages hold: the resource's root there, and the revision."""
        self.forgotten: set[str] = set()
        """UIDs of Jobs whose storage nobody can know any more."""
        self._ready_since: dict[str, Any] = {}
        self._gated: set[str] = set()
        self._progress: dict[str, tuple[object, Any]] = {}
        self._refused: dict[str, str] = {}
        """Deployments that the quota has no room for, and since when."""

    def forget_what_is_stored(self) -> None:
        """The record of it is gone."""
        self.stored.clear()
        self.forgotten |= {live["metadata"]["uid"] for live in self.objects["Job"].values()}

    def write_spec(self, spec: Manifest) -> None:
        """The user's edit."""
        self.body["spec"] = spec
        self.body["metadata"]["generation"] += 1

    # The Deployment controller.

    def roll(self) -> None:
        """One round: every Deployment makes and ends pods, as far as it may."""
        for live in list(self.objects["Deployment"].values()):
            self._roll(live)

    def _roll(self, live: Manifest) -> None:
        spec, own = live["spec"], [pod for pod in self._owned(live) if not pods.is_terminating(pod)]
        wanted, pod_hash = spec["replicas"], hash_of(live["metadata"]["annotations"][names.RENDERED])
        surge, away = (bound(spec["strategy"]["rollingUpdate"][key], wanted, up=key == "maxSurge") for key in ("maxSurge", "maxUnavailable"))
        new = [pod for pod in own if names.label(pod, names.POD_TEMPLATE_HASH) == pod_hash]
        old = [pod for pod in own if names.label(pod, names.POD_TEMPLATE_HASH) != pod_hash]
        most = wanted + (surge if old else 0)
        # As when a Deployment is scaled: what is over goes at once, the larger part of it from where there are more.
        while len(new) + len(old) > most and (old or len(new) > wanted):
            side = old if old and len(new) <= max(wanted, len(old)) else new
            self._end(side.pop(self._first_to_go(side)))
        while len(new) > wanted:
            self._end(new.pop(self._first_to_go(new)))
        refused = False
        while len(new) < wanted and len(new) + len(old) < most:
            if self.quota is not None and sum(map(is_triton, self.objects["Pod"].values())) >= self.quota:
                refused = True
                break
            new.append(self._make(live, pod_hash))
        spare = len(new) + len(old) - (wanted - away) - sum(not self._available(pod) for pod in new)
        for pod in sorted(old, key=self._available):
            if not self._available(pod):
                if spare > 0:
                    spare -= 1
                    old.remove(pod)
                    self._end(pod)
            elif sum(map(self._available, new + old)) > wanted - away and spare > 0:
                spare -= 1
                old.remove(pod)
                self._end(pod)
        self._tell(live, new, old, refused=refused)

    def _first_to_go(self, of: Sequence[Manifest]) -> int:
        """As a ReplicaSet chooses: what is not ready, then the youngest."""
        return min(range(len(of)), key=lambda i: (has(of[i], "Ready"), has(of[i], "PodScheduled"), -i))

    def _make(self, live: Manifest, pod_hash: str) -> Manifest:
        pod = self._make_pod(live, pod_hash, phase="Pending")
        if live["spec"]["template"]["spec"].get("readinessGates"):
            self._gated.add(pod["metadata"]["name"])
        return pod

    def _end(self, pod: Manifest) -> None:
        """Its grace period begins."""
        pod["metadata"]["deletionTimestamp"] = clock.text(self.now)
        self._touch(pod)

    def _tell(self, live: Manifest, new: Sequence[Manifest], old: Sequence[Manifest], *, refused: bool) -> None:
        """The Deployment's status."""
        both, spec, name = [*new, *old], live["spec"], live["metadata"]["name"]
        counts = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": len(both),
            "updatedReplicas": len(new),
            "readyReplicas": sum(has(pod, "Ready") for pod in both),
            "availableReplicas": sum(map(self._available, both)),
        }
        seen = (live["metadata"]["generation"], counts["updatedReplicas"], counts["availableReplicas"], len(old))
        complete = len(new) == spec["replicas"] == counts["availableReplicas"] and not old
        before, since = self._progress.get(name, (None, self.now))
        if before != seen or complete:
            since = self.now
        self._progress[name] = (seen, since)
        late = (self.now - since).total_seconds() > spec["progressDeadlineSeconds"]
        found = [{"type": "Progressing", "status": "False" if late else "True", "reason": "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated"}]
        if refused:
            self._refused.setdefault(name, clock.text(self.now))
            message = f'pods "{name}-x" is forbidden: {OVER_QUOTA}'
            found.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message, "lastTransitionTime": self._refused[name]})
        else:
            self._refused.pop(name, None)
        told = counts | {"conditions": found}
        if live.get("status") != told:
            live["status"] = told
            self._touch(live)

    def _owned(self, live: Manifest) -> list[Manifest]:
        uid = live["metadata"]["uid"]
        return [pod for pod in self.objects["Pod"].values() if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _available(self, pod: Manifest) -> bool:
        since = self._ready_since.get(pod["metadata"]["name"])
        return since is not None and has(pod, "Ready") and (self.now - since).total_seconds() >= 5

    def _touch(self, live: Manifest) -> None:
        live["metadata"]["resourceVersion"] = self._count()

    # Scheduler and kubelet.

    def triton_pods(self) -> list[Manifest]:
        """All Triton pods that there still are, oldest first."""
        return [pod for pod in self.objects["Pod"].values() if is_triton(pod)]

    def kubelet(self) -> None:
        """One round: what ends is gone, GPUs are given to those that wait, and those that answer behind an open gate are ready."""
        for pod in self.triton_pods():
            if "deletionTimestamp" in pod["metadata"] or (pod["status"]["phase"] == "Failed"):
                del self.objects["Pod"][pod["metadata"]["name"]]
                self._ready_since.pop(pod["metadata"]["name"], None)
                self._gated.discard(pod["metadata"]["name"])
        waiting = self.triton_pods()
        taken = sum(has(pod, "PodScheduled") for pod in waiting)
        for pod in waiting:
            if not has(pod, "PodScheduled"):
                if self.gpus is None or taken < self.gpus:
                    taken += 1
                    self._set(pod, "PodScheduled", status=True)
                    pod["status"]["phase"] = "Running"
                else:
                    self._set(pod, "PodScheduled", status=False, reason="Unschedulable", message=NO_GPU)
            self._judge(pod)

    def _judge(self, pod: Manifest) -> None:
        """Ready follows from the containers and the gate."""
        name = pod["metadata"]["name"]
        ready = has(pod, "ContainersReady") and (name not in self._gated or has(pod, names.VERIFIED_GATE))
        if ready != has(pod, "Ready"):
            self._set(pod, "Ready", status=ready, **({} if ready else {"reason": "ContainersNotReady"}))
        if ready:
            self._ready_since.setdefault(name, self.now)
        else:
            self._ready_since.pop(name, None)

    def _set(self, pod: Manifest, kind: str, *, status: bool, **more: str) -> None:
        found = pod["status"]["conditions"]
        old = next((each for each in found if each["type"] == kind), None)
        text = "True" if status else "False"
        since = old["lastTransitionTime"] if old is not None and old["status"] == text and "lastTransitionTime" in old else clock.text(self.now)
        new = {"type": kind, "status": text, "lastTransitionTime": since} | more
        if new != old:
            pod["status"]["conditions"] = [each for each in found if each["type"] != kind] + [new]
            self._touch(pod)

    def start(self, pod: Manifest) -> None:
        """Triton in a pod that has a GPU answers."""
        if has(pod, "PodScheduled") and not pods.is_terminating(pod) and not has(pod, "ContainersReady"):
            self._set(pod, "ContainersReady", status=True)
            restarts = sum(each.get("restartCount", 0) for each in pod["status"]["containerStatuses"])
            running = gen.container_status(names.SERVER, state={"running": {}}, ready=True, started=True, restartCount=restarts)
            pod["status"]["containerStatuses"] = [running]
            self._touch(pod)

    def crash(self, pod: Manifest) -> None:
        """Triton ends and is started again."""
        restarts = 1 + sum(each.get("restartCount", 0) for each in pod["status"]["containerStatuses"])
        self._set(pod, "ContainersReady", status=False, reason="ContainersNotReady")
        state = gen.waiting("CrashLoopBackOff") if restarts > 1 else {"running": {}}
        crashed = gen.container_status(names.SERVER, state=state, last=gen.terminated(1, "cannot load model"), restartCount=restarts)
        pod["status"]["containerStatuses"] = [crashed]
        self._touch(pod)
        self._judge(pod)

    def evict(self, pod: Manifest) -> None:
        """The node puts a pod out."""
        pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.", "conditions": []}
        self._judge(pod)
        self._touch(pod)

    def fall_silent(self, pod: Manifest) -> None:
        """Its node does not report any more."""
        if has(pod, "Ready"):
            self._set(pod, "Ready", status=False)
            self._ready_since.pop(pod["metadata"]["name"], None)

    def take_back(self, pod: Manifest) -> None:
        """A pod is deleted by hand."""
        self._end(pod)

    def answer_routes(self, status: str = "True", reason: str = "Accepted") -> None:
        super().answer_routes(status, reason)
        for kind in ("HTTPRoute", "GRPCRoute"):
            for live in self.objects[kind].values():
                self._touch(live)

    def start_pods(self) -> None:
        """Two rounds in which nothing goes wrong."""
        self.roll()
        self.kubelet()
        for pod in self.triton_pods():
            self.start(pod)
        self.kubelet()
        self.later(6)
        self.roll()

    # Jobs.

    def finish(self, name: str, message: str, *, code: int = 0, container: str = "", answer: bool = True) -> None:
        """A Job ends; `answer`: its Pod is there to tell the result."""
        live = self.objects["Job"][name]
        labels = live["spec"]["template"]["metadata"]["labels"] | {names.JOB_NAME: name}
        component = names.label(live, names.COMPONENT)
        if component == names.PRUNE and code == 0:
            used = {names.label(each["spec"]["template"], names.REVISION) for each in self.objects["Deployment"].values() if each["spec"]["replicas"]}
            assert not (lost := used & set(removed_by(live))), f"what_was_published_is_known: {lost} is removed and serves"
            self.stored -= {(root_of(live), revision) for revision in removed_by(live)}
        ended = container or {"build": "publish", names.ANALYSIS: "analyze"}.get(component, component)
        if answer:
            pod = gen.pod(
                f"{name}-{self._count()}",
                labels=labels,
                owner=live["metadata"]["uid"],
                created=self.now,
                phase="Succeeded" if code == 0 else "Failed",
                containers=[gen.container_status(ended, state=gen.terminated(code, message))],
            )
            self.objects["Pod"][pod["metadata"]["name"]] = pod
        live["status"] = gen.job(ended="Complete" if code == 0 else "Failed")["status"]
        self._touch(live)

    def unfinished(self) -> list[str]:
        """Jobs that run."""
        return sorted(name for name, live in self.objects["Job"].items() if not live.get("status"))

    def succeed(self, name: str, *, verdict: str = "Pass") -> None:
        """A Job ends well."""
        live = self.objects["Job"][name]
        match names.label(live, names.COMPONENT):
            case names.BUILD:
                number, revision = int(names.label(live, names.VERSION)), names.label(live, names.REVISION)
                root = root_of(live)
                if live["metadata"]["uid"] not in self.forgotten:
                    self.stored.add((root, revision))
                result = gen.artifact(f"{root}/{revision}", **self._classes(number))
            case names.VERIFY:
                result = gen.verification()
            case names.ANALYSIS:
                result = {"verdict": verdict}
            case _:
                result = {"removed": len(removed_by(live))}
        self.finish(name, gen.outcome(result=result))

    def _classes(self, number: int) -> Manifest:
        source = next((each["source"]["uri"] for each in self.body["spec"]["versions"] if each["version"] == number), "")
        return {"classes": 3, "classesDigest": "fedcba9876543210"} if OTHER_CLASSES in source else {}

    # The operator.

    def observed(self) -> Observed:
        """The children as they are: nothing is copied."""
        stores = {field: dict(self.objects[kind]) for field, kind in KINDS.items()}
        return Observed(
            **stores,
            gateway_api=self.gateway_api,
            gateway_features=self.gateway_features,
            session_fields=self.session_fields,
            pods=list(self.objects["Pod"].values()),
        )

    def one_pass(self, *, refused: Set[tuple[str, str]] = frozenset(), ends_after: int | None = None) -> Seen:
        """Decide and write as the reconciler does, all but what is refused, or so many writes and no more."""
        yolo, observed = self.yolo, self.observed()
        decided = self.plan = plan(yolo, observed, self.defaults, self.now)
        self.changed = False
        left = 10**6 if ends_after is None else ends_after
        hit: set[tuple[str, str]] = set()

        def write(kind: str, name: str, how: Callable[[], object]) -> None:
            nonlocal left
            if left <= 0:
                return
            if (kind, name) in refused or (kind, "") in refused:
                hit.add((kind, name))
                return
            left -= 1
            self.changed = True
            how()

        recorded, decisive = yolo.status, status.decisions(decided.status) != status.decisions(yolo.status)
        if decisive:
            recorded = decided.status.model_copy(update={"conditions": yolo.status.conditions, "observed_generation": yolo.status.observed_generation})
            write(api.KIND, yolo.name, lambda: self._record(recorded))
            if ends_after == 0 or hit:
                # Nothing is done that is not written down.
                return Seen(yolo=yolo, observed=observed, after=observed, status=yolo.status, now=self.now, refused=hit, complete=False)
        for manifest in decided.apply:
            if self._differs(manifest):
                write(manifest["kind"], manifest["metadata"]["name"], lambda manifest=manifest: self.apply(manifest))
        for manifest in decided.create:
            write("Job", manifest["metadata"]["name"], lambda manifest=manifest: self.create(manifest))
        for live in decided.delete:
            write(live["kind"], live["metadata"]["name"], lambda live=live: self.delete(live))
        for pod in decided.open_gates:
            write("Pod", pod["metadata"]["name"], lambda pod=pod: self.open_gate(pod))
        for pod in decided.lost:
            write("Pod", pod["metadata"]["name"], lambda pod=pod: self.fail_pod(pod))
        self.body["metadata"]["finalizers"] = [names.FINALIZER] if decided.finalizer else []
        final = decided.status
        if hit:
            final = status.failed(yolo, Unavailable("Refused", "the API server would not take it"), self.now, base=decided.status)
        if left > 0 and (api.KIND, "") in refused:
            hit.add((api.KIND, yolo.name))
        elif left > 0:
            self._record(final)
            recorded = final
        return Seen(
            yolo=yolo,
            observed=observed,
            after=self.observed(),
            status=recorded,
            now=self.now,
            stored=frozenset(self.stored),
            refused=hit,
            complete=left > 0,
            settled=not hit and left > 0 and not self.changed and self.rests(),
        )

    def reconcile(self) -> Any:
        self.one_pass()
        return self.plan

    def _record(self, found: api.Status) -> None:
        self.body["status"] = found.model_dump(mode="json", by_alias=True, exclude_none=True)

    def _differs(self, manifest: Manifest) -> bool:
        manifest = drift.marked(manifest)
        old = self.objects[manifest["kind"]].get(manifest["metadata"]["name"])
        if old is None or old["spec"] != manifest["spec"]:
            return True
        return any(old["metadata"].get(key) != manifest["metadata"].get(key) for key in ("labels", "annotations"))

    def rests(self) -> bool:
        """Whether nothing is on its way: every pod that is asked for is available, no other is there, and no Job runs."""
        counts = ("replicas", "updatedReplicas", "availableReplicas")
        done = all(
            live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]
            and {live["status"][key] for key in counts} == {live["spec"]["replicas"]}
            for live in self.objects["Deployment"].values()
        )
        return done and not self.unfinished() and not any(map(pods.is_terminating, self.triton_pods()))

    def delete(self, live: Manifest) -> None:
        """Remove an object; its pods get their grace period."""
        if live["kind"] != "Deployment":
            super().delete(live)
            return
        self.objects["Deployment"].pop(live["metadata"]["name"], None)
        self._progress.pop(live["metadata"]["name"], None)
        for pod in self._owned(live):
            if "deletionTimestamp" not in pod["metadata"]:
                self._end(pod)

    def open_gate(self, pod: Manifest) -> Manifest:
        kept = self.objects["Pod"][pod["metadata"]["name"]]
        self._set(kept, names.VERIFIED_GATE, status=True)
        return kept


def arguments(job: Manifest) -> list[str]:
    """What the containers of a Job are told."""
    spec = job["spec"]["template"]["spec"]
    return [text for each in (*spec.get("initContainers", ()), *spec["containers"]) for text in each.get("args", ())]


def root_of(job: Manifest) -> str:
    """Where a Job publishes, or removes."""
    return next(text.removeprefix("--root=") for text in arguments(job) if text.startswith("--root="))


def removed_by(job: Manifest) -> list[str]:
    """Revisions that a Job removes."""
    told = arguments(job)
    return told[told.index("--remove") + 1 :] if "--remove" in told else []


def is_triton(pod: Manifest) -> bool:
    return names.label(pod, names.COMPONENT) == names.TRITON


def has(pod: Manifest, kind: str) -> bool:
    """Whether a condition of a pod is True."""
    return any(each["type"] == kind and each["status"] == "True" for each in pod["status"]["conditions"])


def bound(value: int | str, of: int, *, up: bool) -> int:
    """maxSurge or maxUnavailable, a number or a percentage."""
    if isinstance(value, int):
        return value
    part = of * int(value.rstrip("%"))
    return -(-part // 100) if up else part // 100
