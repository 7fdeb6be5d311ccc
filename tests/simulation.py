"""A small cluster for `plan`: it keeps objects as the API server would, and plays Deployment controller, Job controller and kubelet.

Time moves only when a test says so. `Simulation.reconcile` is one pass of the operator; `FakeKube` is the same cluster as the reconciler sees it.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import gen
from yolo_operator.controller.kinds import BY_NAME, POD, YOLO, Kind, Manifest
from yolo_operator.controller.kube import Missing
from yolo_operator.core import api, conditions, drift, names
from yolo_operator.core.context import Plan
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.observed import Observed, Support
from yolo_operator.core.plan import plan

T = TypeVar("T")


def copied(value: T) -> T:
    """A copy, by way of JSON as everything that the API server keeps."""
    copy: T = json.loads(json.dumps(value))
    return copy


class Simulation:
    """The objects of one namespace."""

    def __init__(self, **spec: Any) -> None:
        self.body = gen.body(**spec)
        self.defaults = gen.DEFAULTS
        self.now: datetime = gen.T0
        self.objects: dict[str, dict[str, Manifest]] = {kind: {} for kind in BY_NAME}
        self.gateway_api = True
        self.gateway_answers = True
        """Whether the Gateways' controller takes the routes in `run`."""
        self.gateway_features: dict[str, Support] = {}
        self.session_fields = Support()
        self.refused_jobs: dict[str, str] = {}
        self.admission: Callable[[Manifest], None] = lambda _: None
        """What a mutating webhook makes of an object that is applied."""
        self.opened: list[str] = []
        self.plan = Plan(status=api.Status())
        self._counter = 100

    # What the user does.

    def edit(self, **spec: Any) -> None:
        """Change the spec."""
        self.body["spec"] = gen.merged(self.body["spec"], spec)
        self.body["metadata"]["generation"] += 1

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # What the operator does.

    @property
    def yolo(self) -> api.YoloDeployment:
        return api.parse(self.body)

    def observed(self) -> Observed:
        """A copy: a plan that changed what it was given would not be pure, and would not be noticed otherwise."""
        objects = copied(self.objects)
        return Observed(
            deployments=objects["Deployment"],
            jobs=objects["Job"],
            services=objects["Service"],
            budgets=objects["PodDisruptionBudget"],
            network_policies=objects["NetworkPolicy"],
            http_routes=objects["HTTPRoute"],
            grpc_routes=objects["GRPCRoute"],
            gateway_api=self.gateway_api,
            gateway_features=self.gateway_features,
            session_fields=self.session_fields,
            refused_jobs=self.refused_jobs,
            pods=list(objects["Pod"].values()),
        )

    def decide(self) -> Plan:
        """A plan, and nothing written."""
        self.plan = plan(self.yolo, self.observed(), self.defaults, self.now)
        return self.plan

    def reconcile(self) -> Plan:
        """One pass: decide and write all of it."""
        decided = self.decide()
        for manifest in decided.apply:
            self.apply(manifest)
        for manifest in decided.create:
            self.create(manifest)
        for live in decided.delete:
            self.delete(live)
        for pod in decided.open_gates:
            self.open_gate(pod)
        for pod in decided.lost:
            self.fail_pod(pod)
        finalizers = [names.FINALIZER] if decided.finalizer else []
        self.body["metadata"]["finalizers"] = finalizers
        self.body["status"] = decided.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        return decided

    # What the API server does.

    def apply(self, manifest: Manifest) -> Manifest:
        """Apply an object as the reconciler does."""
        marked = copied(drift.marked(manifest))
        self.admission(marked)
        return self._keep(marked)

    def _keep(self, manifest: Manifest) -> Manifest:
        """Keep an object as it was sent; its generation grows with its spec. What it says of its status is not read."""
        store, name = self.objects[manifest["kind"]], manifest["metadata"]["name"]
        old, new = store.get(name), copied({key: value for key, value in manifest.items() if key != "status"})
        if old is None:
            new["metadata"] |= {"uid": f"uid-{self._count()}", "generation": 1}
        else:
            generation = old["metadata"]["generation"] + (old["spec"] != new["spec"])
            new["metadata"] |= {"uid": old["metadata"]["uid"], "generation": generation}
            new["status"] = old.get("status", {})
            if without_version(new) == without_version(old):
                return old
        new["metadata"]["resourceVersion"] = self._count()
        store[name] = new
        return new

    def create(self, manifest: Manifest) -> Manifest:
        assert manifest["metadata"]["name"] not in self.objects[manifest["kind"]], "a Job that is there is not created again"
        return self._keep(manifest)

    def delete(self, live: Manifest) -> None:
        """Remove an object, and the Pods of a Job or a Deployment with it."""
        self.objects[live["kind"]].pop(live["metadata"]["name"], None)
        for name, pod in list(self.objects["Pod"].items()):
            if names.is_owned(pod, live["metadata"]["uid"]):
                del self.objects["Pod"][name]

    def open_gate(self, pod: Manifest) -> Manifest:
        kept = self.objects["Pod"][pod["metadata"]["name"]]
        kept["status"]["conditions"].append({"type": names.VERIFIED_GATE, "status": "True"})
        kept["metadata"]["resourceVersion"] = self._count()
        self.opened.append(pod["metadata"]["name"])
        return kept

    def fail_pod(self, pod: Manifest) -> Manifest:
        kept = self.objects["Pod"][pod["metadata"]["name"]]
        kept["status"]["phase"] = "Failed"
        kept["metadata"]["resourceVersion"] = self._count()
        return kept

    def _count(self) -> str:
        self._counter += 1
        return str(self._counter)

    # What Jobs and pods do.

    def jobs(self, component: str = "") -> list[str]:
        """Names of the Jobs, of one component or all."""
        return sorted(name for name, live in self.objects["Job"].items() if component in ("", names.label(live, names.COMPONENT)))

    def only_job(self, component: str) -> Manifest:
        (name,) = self.jobs(component)
        return self.objects["Job"][name]

    def end_job(self, component: str, message: str, *, code: int = 0, container: str = "") -> Manifest:
        """End the only unfinished Job of a component, its container leaving `message`."""
        (live,) = [job for name in self.jobs(component) if not (job := self.objects["Job"][name]).get("status")]
        ended = container or {"build": "publish"}.get(component, component)
        owner = live["metadata"]
        labels = live["spec"]["template"]["metadata"]["labels"] | {names.JOB_NAME: owner["name"]}
        pod = gen.pod(
            f"{owner['name']}-{self._count()}",
            labels=labels,
            owner=owner["uid"],
            created=self.now,
            phase="Succeeded" if code == 0 else "Failed",
            containers=[gen.container_status(ended, state=gen.terminated(code, message))],
        )
        self.objects["Pod"][pod["metadata"]["name"]] = pod
        live["status"] = gen.job(ended="Complete" if code == 0 else "Failed")["status"]
        return live

    def build_succeeds(self, number: int = 1) -> Manifest:
        """The build Job of a version ends well."""
        wanted = [name for name in self.jobs("build") if f"-v{number}-build-" in name and not self.objects["Job"][name].get("status")]
        others = {name: self.objects["Job"].pop(name) for name in self.jobs("build") if name not in wanted}
        try:
            return self.end_job("build", gen.outcome(result=gen.artifact_of(self.yolo, number, defaults=self.defaults)))
        finally:
            self.objects["Job"] |= others

    def pods(self, number: int = 1) -> list[Manifest]:
        """The Triton pods of a version, oldest first."""
        found = [
            pod for pod in self.objects["Pod"].values() if names.label(pod, names.COMPONENT) == names.TRITON and names.label(pod, names.VERSION) == str(number)
        ]
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def start_pods(self) -> None:
        """The Deployment controller makes what pods are missing, Triton in them answers, and those with an open gate are ready.

        Old pods go once all new ones are ready, as with maxUnavailable 0 (here all new ones come at once).
        """
        for live in self.objects["Deployment"].values():
            template, wanted = live["spec"]["template"], live["spec"]["replicas"]
            number, pod_hash = int(names.label(live, names.VERSION)), names.digest(template, 10)
            mine = [pod for pod in self.pods(number) if names.label(pod, names.POD_TEMPLATE_HASH) == pod_hash]
            for _ in range(wanted - len(mine)):
                mine.append(self._make_pod(live, pod_hash, conditions={"ContainersReady": "True"}))
                self.later(1)
            gated = bool(template["spec"].get("readinessGates"))
            for pod in self.pods(number):
                found = pod["status"]["conditions"]
                types = {condition["type"] for condition in found}
                if "ContainersReady" in types and "Ready" not in types and (not gated or names.VERIFIED_GATE in types):
                    found.append({"type": "Ready", "status": "True"})
            if all(_ready(pod) for pod in mine[:wanted]):
                keep = {pod["metadata"]["name"] for pod in mine[:wanted]}
                for pod in self.pods(number):
                    if pod["metadata"]["name"] not in keep:
                        del self.objects["Pod"][pod["metadata"]["name"]]
            current = self.pods(number)
            live["status"] = {
                "observedGeneration": live["metadata"]["generation"],
                "replicas": len(current),
                "updatedReplicas": len([pod for pod in current if names.label(pod, names.POD_TEMPLATE_HASH) == pod_hash]),
                "readyReplicas": sum(map(_ready, current)),
                "availableReplicas": sum(map(_ready, current)),
            }

    def _make_pod(self, live: Manifest, pod_hash: str, **more: Any) -> Manifest:
        """A new pod of a Deployment."""
        pod = gen.pod(
            f"{live['metadata']['name']}-{pod_hash}-{self._count()}",
            labels=live["spec"]["template"]["metadata"]["labels"] | {names.POD_TEMPLATE_HASH: pod_hash},
            owner=live["metadata"]["uid"],
            created=self.now,
            podIP=f"10.0.{self._counter // 250 % 250}.{self._counter % 250}",
            **more,
        )
        self.objects["Pod"][pod["metadata"]["name"]] = pod
        return pod

    def answer_routes(self, status: str = "True", reason: str = "Accepted") -> None:
        """The Gateways' controller tells of all routes as they are now."""
        for kind in ("HTTPRoute", "GRPCRoute"):
            for live in self.objects[kind].values():
                gen.answer_route(live, Accepted=(status, reason), ResolvedRefs=("True", "ResolvedRefs"))

    def run(self, *, verdict: str | None = None) -> Plan:
        """Turn until nothing is left to do: every build succeeds, pods start, every verify Job finds the right answers."""
        for _ in range(25):
            before = self._snapshot()
            decided = self.reconcile()
            for name in self.jobs("build"):
                if not self.objects["Job"][name].get("status"):
                    self.build_succeeds(int(names.label(self.objects["Job"][name], names.VERSION)))
            for name in self.jobs("verify"):
                if not self.objects["Job"][name].get("status"):
                    self.end_one(name, verdict or gen.outcome(result=gen.verification()))
            for name in self.jobs("prune"):
                if not self.objects["Job"][name].get("status"):
                    self.end_one(name, gen.outcome(result={"removed": 1}))
            self.start_pods()
            if self.gateway_answers:
                self.answer_routes()
            if before == self._snapshot():
                return decided
        raise AssertionError("the plan does not come to rest")

    def _snapshot(self) -> str:
        """All that counts as a change: resource versions do not."""
        metadata = {"resourceVersion": None}
        objects = [live | {"metadata": live["metadata"] | metadata} for store in self.objects.values() for live in store.values()]
        return names.canonical([objects, self.body])

    def end_one(self, name: str, message: str) -> None:
        """End one Job well."""
        others = {other: self.objects["Job"].pop(other) for other in self.jobs() if other != name}
        try:
            self.end_job(names.label(self.objects["Job"][name], names.COMPONENT), message)
        finally:
            self.objects["Job"] |= others

    # What the user sees.

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition in what was decided last."""
        found = conditions.find(self.plan.status.conditions, kind)
        assert found is not None, f"no condition {kind}"
        return found.status, found.reason

    def message(self, kind: str = "Ready") -> str:
        found = conditions.find(self.plan.status.conditions, kind)
        return found.message if found is not None else ""

    def replicas(self) -> dict[str, int]:
        """Replicas of each Deployment."""
        return {name: live["spec"]["replicas"] for name, live in sorted(self.objects["Deployment"].items())}


def _ready(pod: Manifest) -> bool:
    return any(c["type"] == "Ready" for c in pod["status"]["conditions"])


def started(**spec: Any) -> Simulation:
    """A Simulation whose build has ended and whose pods wait behind their gate."""
    cluster = Simulation(**spec)
    cluster.reconcile()
    for version in cluster.yolo.spec.versions:
        cluster.build_succeeds(version.version)
    cluster.reconcile()
    cluster.start_pods()
    return cluster


def serving(**spec: Any) -> Simulation:
    """A Simulation at rest."""
    cluster = Simulation(**spec)
    cluster.run()
    assert cluster.condition("Ready") == ("True", "Serving"), cluster.message()
    cluster.opened.clear()
    return cluster


def without_version(body: Manifest) -> Manifest:
    """An object without what each write changes."""
    return body | {"metadata": {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}}


class FakeKube:
    """The writer's interface over a Simulation; every write is recorded as (verb, name). `faults` maps such a pair to what it raises."""

    def __init__(self, cluster: Simulation) -> None:
        self.cluster = cluster
        self.writes: list[tuple[str, str]] = []
        self.statuses: list[Manifest] = []
        self.events: list[tuple[str, str]] = []
        self.faults: dict[tuple[str, str], Exception] = {}
        self.foreign: set[tuple[str, str]] = set()
        self.others: dict[tuple[str, str, str], Manifest] = {}
        """Objects that are nobody's children, by kind, namespace and name."""
        self.reads: list[tuple[str, str, str]] = []
        self.terminating = False
        """Whether the namespace says that it is being deleted."""
        self.refusals: dict[str, str] = {}
        """What Events say of Jobs that have no Pod, by uid."""

    async def namespace_terminating(self, namespace: str) -> bool:
        self.reads.append(("Namespace", "", namespace))
        return self.terminating

    async def latest_event(self, namespace: str, uid: str, reason: str) -> str:
        self.reads.append(("Event", namespace, uid))
        fault = self.faults.get(("list", "Event"))
        if fault is not None:
            raise fault
        return self.refusals.get(uid, "")

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self.reads.append((kind.name, namespace, name))
        fault = self.faults.get(("get", kind.name))
        if fault is not None:
            raise fault
        return copied(self.others.get((kind.name, namespace, name)))

    async def apply(self, kind: Kind, manifest: Manifest, live: Manifest | None) -> Manifest:
        name = manifest["metadata"]["name"]
        self._write("apply", name, kind)
        if live is None:
            await self.refuse_foreign(kind, manifest)
        return copied(self.cluster.apply(manifest))

    async def refuse_foreign(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        if (kind.name, name := manifest["metadata"]["name"]) in self.foreign:
            raise Unavailable("NameConflict", f"{kind.name} {name!r} is there already and not ours")
        return None

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        self._write("create", manifest["metadata"]["name"], kind)
        return copied(self.cluster.create(manifest))

    async def delete(self, kind: Kind, live: Manifest) -> None:
        self._write("delete", live["metadata"]["name"], kind)
        self.cluster.delete(live)

    async def open_gate(self, pod: Mapping[str, Any], now: str) -> Manifest:
        self._write("gate", pod["metadata"]["name"], POD)
        if pod["metadata"]["name"] not in self.cluster.objects["Pod"]:
            raise Missing("NotFound", "pod")
        return copied(self.cluster.open_gate(dict(pod)))

    async def fail_pod(self, pod: Mapping[str, Any]) -> Manifest:
        self._write("fail", pod["metadata"]["name"], POD)
        if pod["metadata"]["name"] not in self.cluster.objects["Pod"]:
            raise Missing("NotFound", "pod")
        return copied(self.cluster.fail_pod(dict(pod)))

    async def write_status(self, yolo: Mapping[str, Any], status: Manifest) -> Manifest:
        self._write("status", yolo["metadata"]["name"], YOLO)
        self.statuses.append(copied(status))
        self.cluster.body["status"] = copied(status)
        self.cluster.body["metadata"]["resourceVersion"] = str(int(self.cluster.body["metadata"]["resourceVersion"]) + 1)
        return copied(self.cluster.body)

    async def set_finalizer(self, yolo: Mapping[str, Any], *, present: bool) -> Manifest:
        self._write("finalizer", yolo["metadata"]["name"], YOLO)
        self.cluster.body["metadata"]["finalizers"] = [names.FINALIZER] if present else []
        self.cluster.body["metadata"]["resourceVersion"] = str(int(self.cluster.body["metadata"]["resourceVersion"]) + 1)
        return copied(self.cluster.body)

    async def event(self, yolo: Mapping[str, Any], *, reason: str, message: str, warning: bool) -> None:
        if ("event", reason) not in self.faults and not self.terminating:  # one that cannot be recorded is logged, and nothing more
            self.events.append((reason, message))

    def _write(self, verb: str, name: str, kind: Kind) -> None:
        self.writes.append((verb, name))
        fault = self.faults.get((verb, name)) or self.faults.get((verb, kind.name))
        if fault is not None:
            raise fault
