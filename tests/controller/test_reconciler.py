"""One pass: what is written, what is not, and what is said where writing fails."""

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY

import gen
from simulation import FakeKube, Simulation
from yolo_operator.controller import applied, claims, gateway_features, kinds, reconciler
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kube import Missing, NamespaceTerminating
from yolo_operator.controller.leader import LeadershipLost
from yolo_operator.controller.queue import Queue
from yolo_operator.controller.reconciler import Reconciler
from yolo_operator.core import api, features, names
from yolo_operator.core.context import Plan
from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import Support

KEY = Key("factory", "helmet")


class Stage:
    """A reconciler over a cluster; `see` shows the cache what the watches would."""

    def __init__(self, cluster: Simulation | None = None, identity: str = "") -> None:
        self.cluster = cluster or Simulation()
        self.identity = identity
        self.kube = FakeKube(self.cluster)
        self.queue: Queue[Key] = Queue()
        self.restart()

    def restart(self) -> None:
        """A new process: nothing is remembered."""
        self.cache = Cache()
        self.reconciler = Reconciler(
            kube=self.kube,  # type: ignore[arg-type]
            cache=self.cache,
            queue=self.queue,
            defaults=gen.DEFAULTS,
            now=lambda: self.cluster.now,
            identity=self.identity,
        )

    def see(self) -> None:
        """All watches catch up."""
        for name, store in self.cluster.objects.items():
            kind = kinds.BY_NAME[name]
            for gone in [body for body in self.cache.all(kind) if body["metadata"]["name"] not in store]:
                self.cache.drop(kind, gone)
            for live in store.values():
                self.cache.drop(kind, live)
                self.cache.put(kind, live)
        self.cache.drop(kinds.YOLO, self.cluster.body)
        self.cache.put(kinds.YOLO, self.cluster.body)

    def passes(self, count: int = 1, *, blind: bool = False) -> list[tuple[str, str]]:
        """Some passes; what they wrote."""
        self.kube.writes.clear()
        self.kube.statuses.clear()

        async def main() -> None:
            for _ in range(count):
                if not blind:
                    self.see()
                self.went_well = await self.reconciler.reconcile(KEY)

        asyncio.run(main())
        return list(self.kube.writes)

    def condition(self, kind: str) -> tuple[str, str]:
        (found,) = [c for c in self.cluster.body["status"]["conditions"] if c["type"] == kind]
        return found["status"], found["reason"]

    def message(self) -> str:
        (found,) = [c for c in self.cluster.body["status"]["conditions"] if c["type"] == "Ready"]
        return str(found.get("message", ""))


def at_rest(**spec: Any) -> Stage:
    cluster = Simulation(**spec)
    cluster.run()
    stage = Stage(cluster)
    stage.passes(2)
    return stage


def test_the_first_pass_writes_the_service_the_job_and_the_status():
    stage = Stage()
    writes = stage.passes()
    assert [verb for verb, _ in writes] == ["status", "apply", "create"]
    assert stage.condition("Ready") == ("False", "Building")
    assert [reason for reason, _ in stage.kube.events] == ["Building"]
    assert stage.went_well


def test_the_second_pass_writes_nothing():
    stage = Stage()
    stage.passes()
    assert stage.passes() == []
    assert stage.passes(blind=True) == []


def test_at_rest_nothing_is_written_not_even_by_a_new_process():
    stage = at_rest(replicas=3)
    assert stage.condition("Ready") == ("True", "Serving")
    assert stage.passes(3) == []
    stage.restart()
    assert stage.passes(3) == []


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"triton": {"podTemplate": {"spec": {"hostNetwork": True}}}}, id="that cannot be planned"),
        pytest.param({"replicas": -1}, id="that cannot be read"),
    ],
)
def test_what_serves_goes_on_beside_a_spec(bad):
    stage = at_rest(replicas=2)
    stage.cluster.edit(**bad)
    assert stage.passes(2) == [("status", "helmet")]
    assert stage.condition("Stalled")[0] == "True"
    assert stage.condition("Available") == ("True", "MinimumReplicasAvailable")

    gone, _ = stage.cluster.pods()
    del stage.cluster.objects["Pod"][gone["metadata"]["name"]]
    stage.cluster.start_pods()
    (new,) = [pod for pod in stage.cluster.pods() if "Ready" not in {c["type"] for c in pod["status"]["conditions"]}]
    assert stage.passes() == [("gate", new["metadata"]["name"])]
    assert stage.passes() == []


def test_a_pass_that_sees_an_old_state_does_no_harm():
    stage = Stage()
    stage.passes(2, blind=False)
    stage.cluster.build_succeeds()
    assert stage.passes(blind=True) == [], "it has not heard of the end of the build"
    assert ("apply", "helmet-v1") in stage.passes()


def test_from_nothing_to_serving():
    stage = Stage()
    stage.passes()
    stage.cluster.build_succeeds()
    stage.passes()
    stage.cluster.start_pods()
    stage.passes()
    stage.cluster.end_one(stage.cluster.jobs("verify")[0], gen.outcome(result=gen.verification()))
    assert [verb for verb, _ in stage.passes()].count("gate") == 1
    stage.cluster.start_pods()
    stage.passes()
    assert stage.condition("Ready") == ("True", "Serving")
    assert "Serving" in [reason for reason, _ in stage.kube.events]


def test_what_is_decided_is_recorded_before_it_is_acted_on():
    stage = at_rest()
    stage.cluster.edit(triton={"image": "example.com/triton:wrong"})
    stage.passes()
    stage.cluster.start_pods()
    stage.passes()
    stage.cluster.end_job("verify", gen.outcome(reason="WrongAnswers"), code=42)
    writes = stage.passes()
    assert writes[:2] == [("status", "helmet"), ("apply", "helmet-v1")], "it goes back to the pods verified last"
    recorded = stage.kube.statuses[0]
    assert recorded["versions"][0]["rolledBack"]["reason"] == "WrongAnswers"
    assert stage.condition("Stalled") == ("True", "WrongAnswers")
    assert len(stage.kube.statuses) == 1, "and what the step is called is written with it"


def test_that_all_is_well_is_said_when_all_is_done(monkeypatch):
    stage = at_rest()
    serving = api.parse(stage.cluster.body).status.model_copy(update={"published": ["0123456789"]})
    for condition in stage.cluster.body["status"]["conditions"]:
        condition["status"] = "False"
    monkeypatch.setattr(reconciler, "plan", lambda *_: Plan(status=serving))
    assert stage.passes() == [("status", "helmet")] * 2
    ready = [[each["status"] for each in written["conditions"] if each["type"] == "Ready"] for written in stage.kube.statuses]
    assert ready == [["False"], ["True"]]


def test_drift_made_by_hand_is_put_back():
    stage = at_rest()
    stage.cluster.objects["Service"]["helmet"]["spec"]["selector"] = {"somebody": "else"}
    assert stage.passes() == [("apply", "helmet")]
    assert stage.passes() == []


def test_a_spec_that_goes_to_and_fro_is_no_fight():
    stage = at_rest()
    for _ in range(2 * applied.DRIFT_FIGHT_TIMES):
        for replicas in (2, 1):
            stage.cluster.edit(replicas=replicas)
            assert ("apply", "helmet-v1") in stage.passes()
    assert stage.condition("Ready")[1] != "DriftFight"


def test_who_changes_it_again_and_again_is_named_and_left_alone():
    stage = at_rest()
    for _ in range(applied.DRIFT_FIGHT_TIMES):
        stage.cluster.objects["Service"]["helmet"]["spec"]["selector"] = {"somebody": "else"}
        assert ("apply", "helmet") in stage.passes()
    stage.cluster.objects["Service"]["helmet"]["spec"]["selector"] = {"somebody": "else"}
    assert ("apply", "helmet") not in stage.passes()
    assert stage.condition("Ready") == ("False", "DriftFight")
    assert "spec.selector" in stage.message()
    assert not stage.went_well
    assert stage.cluster.objects["Deployment"], "the rest is looked after"


def autopilot(made: Manifest) -> None:
    """As on GKE Autopilot."""
    if made["kind"] == "Deployment":
        made["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1"


def strict(made: Manifest) -> None:
    """A label goes, a toleration comes, the image is another registry's."""
    if made["kind"] == "Deployment":
        del made["spec"]["template"]["metadata"]["labels"][names.NAME]
        made["spec"]["template"]["spec"]["tolerations"].append({"key": "everywhere", "operator": "Exists"})
        made["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.example.com/triton:1"


@pytest.mark.parametrize(
    ("admission", "paths"),
    [
        pytest.param(autopilot, ["spec.template.spec.containers[triton].resources.requests.cpu"], id="requests"),
        pytest.param(
            strict,
            [
                f"spec.template.metadata.labels.{names.NAME}",
                "spec.template.spec.containers[triton].image",
                "spec.template.spec.tolerations",
            ],
            id="a label, an image and tolerations",
        ),
    ],
)
def test_what_admission_makes_of_our_objects_is_told_once_and_no_drift(admission, paths):
    cluster = Simulation(triton={"resources": {"requests": {"cpu": "50m"}}})
    cluster.admission = admission
    stage = Stage(cluster)
    stage.passes()
    cluster.build_succeeds()
    stage.passes()
    cluster.start_pods()
    stage.passes()
    cluster.end_one(cluster.jobs("verify")[0], gen.outcome(result=gen.verification()))
    stage.passes()
    cluster.start_pods()
    stage.passes(2)
    assert stage.condition("Ready") == ("True", "Serving"), stage.message()
    (told,) = [message for reason, message in stage.kube.events if reason == "Mutated"]
    assert all(path in told for path in paths)
    assert stage.passes(2) == []

    stage.restart()
    stage.passes()
    assert stage.passes() == []
    assert len([reason for reason, _ in stage.kube.events if reason == "Mutated"]) == 1

    live = cluster.objects["Deployment"]["helmet-v1"]
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "somebody/elses"
    live["metadata"]["resourceVersion"] = "99999"
    assert stage.passes() == [("apply", "helmet-v1")], "who writes afterwards is put right"


def test_a_write_that_is_refused_again_and_again_is_no_fight():
    stage = at_rest()
    stage.cluster.objects["Service"]["helmet"]["spec"]["selector"] = {"somebody": "else"}
    stage.kube.faults["apply", "helmet"] = Unavailable("ApiServerError", "500")
    for _ in range(2 * applied.DRIFT_FIGHT_TIMES):
        assert ("apply", "helmet") in stage.passes()
    stage.kube.faults.clear()
    assert ("apply", "helmet") in stage.passes()
    assert stage.condition("Ready") == ("True", "Serving")


def test_another_change_of_the_spec_is_no_fight():
    stage = at_rest()
    for replicas in (2, 3, 4, 5, 6, 7):
        stage.cluster.edit(replicas=replicas)
        assert ("apply", "helmet-v1") in stage.passes()


def test_a_foreign_object_of_the_name_is_reported_and_the_others_still_applied():
    stage = Stage(Simulation())
    stage.cluster.run()
    stage.cluster.objects["Service"].pop("helmet")
    stage.cluster.objects["PodDisruptionBudget"].clear()
    stage.kube.foreign.add(("Service", "helmet"))
    writes = stage.passes()
    assert ("apply", "helmet-v1") in writes, "the budget"
    assert stage.cluster.objects["PodDisruptionBudget"]
    assert stage.condition("Ready") == ("False", "NameConflict")
    assert stage.condition("Reconciling") == ("True", "NameConflict")
    assert stage.condition("Stalled")[0] == "False"
    assert not stage.went_well
    stage.kube.foreign.clear()
    stage.passes()
    assert stage.condition("Ready") == ("True", "Serving"), "and it heals"


@pytest.mark.parametrize(
    ("error", "stalled", "well"),
    [
        pytest.param(InvalidSpec("Rejected", "spec.template is wrong"), True, True, id="refused"),
        pytest.param(Unavailable("ApiServerError", "500: oops"), False, False, id="an error of the server"),
        pytest.param(NotReady("TooManyRequests", "later"), False, True, id="too many requests"),
    ],
)
def test_the_status_is_written_on_failure(error, stalled, well):
    stage = Stage()
    stage.kube.faults["create", "Job"] = error
    writes = stage.passes()
    assert [verb for verb, _ in writes] == ["status", "apply", "create", "status"]
    assert stage.condition("Ready") == ("False", error.reason)
    assert stage.condition("Stalled")[0] == str(stalled)
    assert stage.went_well is well


@pytest.mark.parametrize("verb", ["delete", "gate"])
def test_what_is_refused_while_deleting_or_letting_in_is_reported(verb):
    stage = Stage()
    stage.cluster.run()
    if verb == "delete":
        stage.cluster.create(gen.merged(stage.cluster.only_job("build"), {"metadata": {"name": "late"}}))
    else:
        for pod in stage.cluster.pods():
            pod["status"]["conditions"] = [{"type": "ContainersReady", "status": "True"}]
    name = "late" if verb == "delete" else stage.cluster.pods()[0]["metadata"]["name"]
    stage.kube.faults[verb, name] = Unavailable("Forbidden", "no")
    stage.passes()
    assert stage.condition("Ready") == ("False", "Forbidden")


WRITTEN = ["Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "HTTPRoute", "GRPCRoute"]
WRITES = [
    *(("apply", kind) for kind in WRITTEN),
    *(("delete", kind) for kind in (*WRITTEN, "Job")),
    ("create", "Job"),
    ("gate", "Pod"),
    ("finalizer", "YoloDeployment"),
    ("event", "RetainedInStorage"),
]


def everything_at_once(monkeypatch) -> tuple[Stage, list[tuple[str, str]]]:
    """A stage whose next pass writes an object of every kind in every way, and what it writes when nothing is refused."""
    stage = at_rest(**gen.behind_a_gateway(grpc={"hostnames": ["grpc.helmet.example.com"]}), networkPolicy={"enabled": True})
    live = {kind: next(iter(stage.cluster.objects[kind].values())) for kind in (*WRITTEN, "Job")}
    pod = stage.cluster.pods(1)[0]
    pod["status"]["conditions"] = [{"type": "ContainersReady", "status": "True"}]

    def named(manifest: dict[str, Any], name: str, **spec: Any) -> dict[str, Any]:
        """Another object of the kind, as one that is wanted or one that is there."""
        return gen.merged({key: value for key, value in manifest.items() if key != "status"}, {"metadata": {"name": name}, **spec})

    old = [stage.cluster.apply(named(manifest, "old")) for manifest in live.values()]

    def decided(yolo: api.YoloDeployment, *_: Any) -> Plan:
        status = yolo.status.model_copy(update={"published": ["0123456789"]})
        made = Plan(status=status, finalizer=True, notice=("RetainedInStorage", "…"), open_gates=[pod])
        made.apply = [named(live[kind], "new") for kind in WRITTEN]
        made.create = [named(live["Job"], "new")]
        made.delete = old
        return made

    monkeypatch.setattr(reconciler, "plan", decided)
    expected = [("gate", pod["metadata"]["name"]), ("status", "helmet"), ("finalizer", "helmet"), *[("apply", "new")] * len(WRITTEN), ("create", "new")]
    return stage, [*expected, *[("delete", "old")] * len(old), ("status", "helmet")]


def test_gates_are_opened_first_and_what_was_decided_is_recorded_before_the_rest(monkeypatch):
    stage, expected = everything_at_once(monkeypatch)
    assert stage.passes() == expected[:-1], "and at last the status, if there is anything new in it"
    assert stage.went_well


@pytest.mark.parametrize(("verb", "kind"), [pytest.param(*write, id=" ".join(write)) for write in WRITES])
def test_a_write_that_is_refused_holds_up_no_other_and_is_named(monkeypatch, verb, kind):
    stage, expected = everything_at_once(monkeypatch)
    stage.kube.faults[verb, kind] = Unavailable("Forbidden", "no")
    writes = stage.passes()
    if verb == "event":
        assert writes == expected[:-1]
        assert stage.went_well, "an Event is a courtesy"
        return
    assert writes == expected
    assert stage.condition("Ready") == ("False", "Forbidden")
    assert not stage.went_well
    verbs = {"gate": "open the readiness gate of", "finalizer": "set the finalizer of"}
    name = {"gate": stage.cluster.pods(1)[0]["metadata"]["name"], "finalizer": "helmet", "delete": "old"}.get(verb, "new")
    assert stage.message() == f"{verbs.get(verb, verb)} {kind} {name!r}: no"
    assert stage.cluster.body["status"]["published"] == ["0123456789"], "what was decided is there too"


def test_where_everything_is_refused_the_status_counts_and_names_the_first_and_the_log_all(monkeypatch, caplog):
    stage, expected = everything_at_once(monkeypatch)
    stage.kube.faults |= {write: Unavailable("ApiServerError", "500: " + "x" * 2000) for write in WRITES}
    with caplog.at_level(logging.INFO):
        assert stage.passes() == expected
    count = len(WRITES) - 1
    assert stage.message().startswith(f"{count} refusals: open the readiness gate of Pod ")
    assert "; apply Deployment 'new': " in stage.message()
    assert stage.message().endswith(f"; and {count - 3} more")
    assert len(stage.message()) < 2500
    assert len([record for record in caplog.records if record.message == "refused"]) == count


def test_what_only_an_edit_can_cure_comes_first_and_the_rest_is_tried_again(monkeypatch):
    stage, _ = everything_at_once(monkeypatch)
    stage.kube.faults |= {("apply", "Deployment"): Unavailable("Forbidden", "no"), ("apply", "Service"): InvalidSpec("Rejected", "spec.x is wrong")}
    stage.passes()
    assert stage.condition("Stalled") == ("True", "Rejected")
    assert stage.message() == "2 refusals: apply Service 'new': spec.x is wrong; apply Deployment 'new': no"
    assert not stage.went_well


@pytest.mark.parametrize("write", [write for write in WRITES if write[0] != "event"], ids=" ".join)
def test_a_lost_lease_ends_the_pass_at_once(monkeypatch, write):
    stage, expected = everything_at_once(monkeypatch)
    stage.kube.faults[write] = LeadershipLost("lost")
    writes = stage.passes()
    assert writes == expected[: len(writes)]
    assert writes[-1][0] == write[0]
    assert len(writes) < len(expected), "not even the status is written any more"
    assert not stage.went_well


def test_where_the_record_is_refused_gates_are_opened_and_nothing_is_acted_on(monkeypatch):
    stage, expected = everything_at_once(monkeypatch)
    stage.kube.faults["status", "helmet"] = Unavailable("Forbidden", "no")
    assert stage.passes() == [*expected[:2], ("status", "helmet")]
    assert not stage.went_well


def test_a_gate_that_is_refused_keeps_no_other_closed():
    stage = at_rest(replicas=3)
    for pod in stage.cluster.pods():
        pod["status"]["conditions"] = [{"type": "ContainersReady", "status": "True"}]
    first, *others = (pod["metadata"]["name"] for pod in stage.cluster.pods())
    stage.kube.faults["gate", first] = Unavailable("Forbidden", "no")
    stage.cluster.opened.clear()
    stage.passes()
    assert stage.cluster.opened == others


def test_beside_a_spec_that_cannot_be_planned_a_refused_gate_is_told_and_tried_again():
    stage = at_rest(replicas=2)
    for pod in stage.cluster.pods():
        pod["status"]["conditions"] = [{"type": "ContainersReady", "status": "True"}]
    first, second = (pod["metadata"]["name"] for pod in stage.cluster.pods())
    stage.kube.faults["gate", first] = Unavailable("Forbidden", "no")
    stage.cluster.opened.clear()
    stage.cluster.edit(replicas=-1)
    stage.passes()
    assert stage.cluster.opened == [second]
    assert stage.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.replicas" in stage.message()
    assert f"open the readiness gate of Pod {first!r}: no" in stage.message()
    assert not stage.went_well


def test_a_fault_of_ours_keeps_no_verified_pod_closed(monkeypatch):
    stage = at_rest()
    (pod,) = stage.cluster.pods()
    pod["status"]["conditions"] = [{"type": "ContainersReady", "status": "True"}]

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(reconciler, "plan", broken)
    assert ("gate", pod["metadata"]["name"]) in stage.passes()
    assert stage.condition("Ready") == ("False", "InternalError")


def test_a_spec_that_cannot_be_read_is_stalled_and_says_where():
    stage = Stage()
    stage.cluster.body["spec"]["replicas"] = "many"
    stage.passes()
    assert stage.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.replicas" in stage.message()
    assert stage.went_well, "there is nothing to try again"


def test_a_fault_of_ours_is_said_in_the_status_too(monkeypatch, caplog):
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(reconciler, "plan", broken)
    stage = Stage()
    with caplog.at_level(logging.ERROR):
        stage.passes()
    assert not stage.went_well
    assert stage.condition("Ready") == ("False", "InternalError")
    assert "ZeroDivisionError" in caplog.text


def test_what_a_gateways_class_does_not_list_is_left_out_of_the_route_until_it_does(monkeypatch):
    monkeypatch.setattr(gateway_features, "AGE_SECONDS", 0.0)
    cluster = Simulation(**gen.behind_a_gateway(mirror={"version": 2}))
    cluster.gateway_features = {"infra/edge": Support()}
    cluster.run()
    stage = Stage(cluster)
    stage.kube.others = {("Gateway", "infra", "edge"): {"spec": {"gatewayClassName": "a"}}, ("GatewayClass", "", "a"): {"status": {}}}

    def filters() -> list[str]:
        stage.passes(2)
        cluster.answer_routes()
        stage.passes(2)
        return [each["type"] for each in cluster.objects["HTTPRoute"]["helmet"]["spec"]["rules"][-1].get("filters", ())]

    assert filters() == []
    assert stage.condition("Ready") == ("False", "GatewayFeatureMissing")
    assert stage.condition("Available")[0] == "True"
    assert stage.passes(2) == [], "it is no reason to write"
    stage.kube.others["GatewayClass", "", "a"] = {"status": {"supportedFeatures": [{"name": features.MIRROR}]}}
    assert filters() == ["RequestMirror"]
    assert stage.condition("Ready") == ("True", "Serving")


def test_a_resource_that_is_gone_is_no_trouble():
    stage = Stage()
    assert asyncio.run(stage.reconciler.reconcile(KEY)) is True
    assert stage.kube.writes == []


def test_a_resource_that_goes_while_its_status_is_written_is_no_trouble():
    stage = Stage()
    stage.kube.faults["status", "helmet"] = Missing("NotFound", "gone")
    stage.passes()
    assert stage.went_well


def test_the_finalizer_comes_and_goes_with_the_policy():
    stage = at_rest()
    stage.cluster.edit(deletionPolicy="Delete")
    assert ("finalizer", "helmet") in stage.passes()
    assert stage.cluster.body["metadata"]["finalizers"] == [names.FINALIZER]
    assert stage.passes() == []
    stage.cluster.edit(deletionPolicy="Retain")
    assert ("finalizer", "helmet") in stage.passes()
    assert stage.cluster.body["metadata"]["finalizers"] == []


def test_in_a_namespace_that_is_being_deleted_the_finalizer_goes_with_an_event():
    stage = at_rest(deletionPolicy="Delete")
    stage.cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    stage.passes()
    stage.kube.faults["create", "Job"] = NamespaceTerminating("NamespaceTerminating", "being terminated")
    stage.passes()
    assert stage.cluster.body["metadata"]["finalizers"] == []
    assert any(reason == "RetainedInStorage" and "s3://models/yolo/factory/helmet" in message for reason, message in stage.kube.events)


def leaving() -> Stage:
    """A stage whose resource is being deleted, with what it published: its Pods have ended, and the prune Job runs."""
    stage = at_rest(deletionPolicy="Delete")
    stage.cluster.body["metadata"]["deletionTimestamp"] = "2026-11-22T04:00:00Z"
    stage.passes(3)
    assert stage.cluster.only_job("prune")
    return stage


def a_job_has_failed(stage: Stage) -> None:
    stage.cluster.end_job("prune", gen.outcome(reason="StorageUnreachable", message="…"), code=1)
    stage.passes()


def a_failed_job_is_gone_and_its_pause_not_over(stage: Stage) -> None:
    a_job_has_failed(stage)
    stage.cluster.delete(stage.cluster.only_job("prune"))


def a_job_has_failed_for_good(stage: Stage) -> None:
    stage.cluster.end_job("prune", gen.outcome(reason="StorageUriInvalid", message="…"), code=42)
    stage.passes()


def its_pod_cannot_start(stage: Stage) -> None:
    live = stage.cluster.only_job("prune")
    lacking = gen.container_status("prune", state=gen.waiting("CreateContainerConfigError", 'secret "s3-credentials" not found'))
    labels = {names.JOB_NAME: live["metadata"]["name"]}
    stage.cluster.objects["Pod"]["prunes"] = gen.pod("prunes", labels=labels, owner=live["metadata"]["uid"], phase="Pending", containers=[lacking])


def a_deployment_cannot_be_deleted(stage: Stage) -> None:
    other = Simulation()
    other.run()
    stage.cluster.objects["Deployment"] = other.objects["Deployment"]
    stage.kube.faults["delete", "Deployment"] = Unavailable("Forbidden", "no")


def a_build_pod_does_not_end(stage: Stage) -> None:
    stage.cluster.objects["Pod"]["builds"] = gen.pod("builds", labels={names.COMPONENT: names.BUILD})


def the_spec_cannot_be_read(stage: Stage) -> None:
    stage.cluster.edit(replicas=-1)


def no_storage_is_named_any_more(stage: Stage) -> None:
    stage.cluster.edit(storage=None)
    for field in ("storage", "previousStorages"):
        stage.cluster.body["status"].pop(field, None)


@pytest.mark.parametrize(
    "given",
    [
        a_job_has_failed,
        a_failed_job_is_gone_and_its_pause_not_over,
        a_job_has_failed_for_good,
        its_pod_cannot_start,
        a_deployment_cannot_be_deleted,
        a_build_pod_does_not_end,
        the_spec_cannot_be_read,
        no_storage_is_named_any_more,
    ],
    ids=lambda given: given.__name__,
)
def test_a_namespace_that_ends_waits_for_no_job_whatever_was_before(given, caplog):
    stage = leaving()
    given(stage)
    stage.passes()
    assert stage.cluster.body["metadata"]["finalizers"] == [names.FINALIZER], "in a namespace that stays it is waited for"
    stage.kube.terminating = True
    caplog.clear()
    writes = stage.passes()
    assert stage.cluster.body["metadata"]["finalizers"] == []
    assert writes == [("finalizer", "helmet")]
    assert [record.reason for record in caplog.records if hasattr(record, "reason")] == ["RetainedInStorage"]


def test_a_resource_that_wants_nothing_removed_goes_though_its_spec_cannot_be_read():
    stage = leaving()
    stage.cluster.edit(replicas=-1, deletionPolicy="Retain")
    stage.passes()
    assert stage.cluster.body["metadata"]["finalizers"] == []


def test_a_namespace_is_asked_only_where_a_resource_is_held():
    stage = at_rest(deletionPolicy="Delete")
    stage.passes(2)
    stage.cluster.edit(deletionPolicy="Retain")
    stage.passes(2)
    assert stage.kube.reads == []


def test_what_of_a_status_cannot_be_read_is_told_once_and_the_rest_is_kept(caplog):
    stage = at_rest(replicas=2)
    before = gen.merged(stage.cluster.body["status"], {})
    stage.cluster.body["status"] |= {"display": "1:100", "url": 7}
    assert stage.passes(2) == [("status", "helmet")]
    assert stage.cluster.body["status"] == before
    stage.kube.faults["status", "helmet"] = Unavailable("Forbidden", "no")
    stage.cluster.body["status"]["url"] = 7
    stage.passes(3)
    told = [record for record in caplog.records if record.message == "status read in part"]
    assert [(record.levelname, record.left_out) for record in told] == [("WARNING", "url, display"), ("WARNING", "url")]


def test_one_line_per_pass(caplog):
    stage = Stage()
    with caplog.at_level(logging.INFO):
        stage.passes()
    (record,) = [record for record in caplog.records if record.message == "reconciled"]
    assert (record.namespace, record.resource, record.generation) == ("factory", "helmet", 1)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        pytest.param(None, "ok", id="a pass that went well"),
        pytest.param(InvalidSpec("Rejected", "spec.template is wrong"), "error", id="a spec that is refused"),
        pytest.param(Unavailable("ApiServerError", "500: oops"), "error", id="an error of the server"),
    ],
)
def test_a_pass_is_counted_by_how_it_ended_and_an_error_by_its_reason(error, result):
    def counted() -> dict[str, float]:
        samples = {
            "ok": ("yolo_operator_reconciles_total", {"result": "ok"}),
            "error": ("yolo_operator_reconciles_total", {"result": "error"}),
            "Rejected": ("yolo_operator_errors_total", {"reason": "Rejected"}),
            "ApiServerError": ("yolo_operator_errors_total", {"reason": "ApiServerError"}),
            "seconds": ("yolo_operator_reconcile_seconds_count", {}),
        }
        return {name: REGISTRY.get_sample_value(*sample) or 0 for name, sample in samples.items()}

    stage, before = Stage(), counted()
    if error is not None:
        stage.kube.faults["create", "Job"] = error
    stage.passes()
    assert {name for name, count in counted().items() if count == before[name] + 1} == {"seconds", result} | ({error.reason} if error else set())


def test_a_pass_over_a_resource_that_is_gone_is_not_counted():
    before = REGISTRY.get_sample_value("yolo_operator_reconcile_seconds_count")
    asyncio.run(Stage().reconciler.reconcile(KEY))
    assert REGISTRY.get_sample_value("yolo_operator_reconcile_seconds_count") == before


def test_of_two_operators_the_later_takes_over_and_the_other_stands_back_and_says_so(monkeypatch):
    moment = [1000.0]
    cluster = Simulation()
    first, second = Stage(cluster, "yolo-system/first"), Stage(cluster, "yolo-system/second")
    for stage in (first, second):
        monkeypatch.setattr(stage.reconciler._claims, "_monotonic", lambda: moment[0])
    assert first.passes()
    assert cluster.body["status"]["operator"] == "yolo-system/first"
    assert second.passes() == [("status", "helmet")], "all is done already, and it is another's"
    assert cluster.body["status"]["operator"] == "yolo-system/second"

    assert first.passes(3) == []
    (told,) = [message for reason, message in first.kube.events if reason == "AnotherOperator"]
    assert "that of Lease yolo-system/second has taken this resource over" in told
    assert second.passes(2) == []
    cluster.build_succeeds()
    assert first.passes() == []
    assert ("apply", "helmet-v1") in second.passes()

    moment[0] += claims.STANDS_BACK_SECONDS
    assert ("status", "helmet") in first.passes(), "the other may have gone"
    assert second.passes(2) == []
    assert "AnotherOperator" in [reason for reason, _ in second.kube.events]


def test_a_status_without_an_operators_name_is_not_written_for_the_name_alone():
    cluster = Simulation()
    cluster.run()
    nameless = Stage(cluster)
    nameless.passes(2)
    assert "operator" not in cluster.body["status"]
    named = Stage(cluster, "yolo-system/yolo-operator")
    assert named.passes(2) == []
    cluster.edit(replicas=2)
    named.passes()
    assert cluster.body["status"]["operator"] == "yolo-system/yolo-operator"
