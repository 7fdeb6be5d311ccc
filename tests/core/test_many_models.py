"""A YoloServer and its YoloDeployments, pass by pass: the real plans of both over pods, agents and Jobs made of values."""

import copy
from datetime import timedelta
from random import Random

import pytest

import gen
from yolo_operator.core import api, clock, names, pods
from yolo_operator.core.context import PodChange
from yolo_operator.core.errors import NotReady
from yolo_operator.core.observed import Observed
from yolo_operator.core.plan import plan
from yolo_operator.core.served_models import MEMBER, WantedModels
from yolo_operator.core.shared.server import ServerObserved, listed, plan_server

SERVER = "line-3"
MIB = 1 << 20


class World:
    """One server, its models and pods. What a pod of the server or a Job comes to is decided by what the agent of the pod has loaded."""

    def __init__(self, *models: str, pods_wanted: int = 2, **server) -> None:
        self.now = gen.T0
        self.server = {
            "apiVersion": api.API_VERSION,
            "kind": api.SERVER_KIND,
            "metadata": {"name": SERVER, "namespace": "factory", "uid": "server", "generation": 1, "finalizers": [names.SERVER_FINALIZER]},
            "spec": {"replicas": pods_wanted, "storage": gen.STORAGE, "gpu": {"count": 0}, **server},
            "status": {},
        }
        self.models: dict[str, dict] = {}
        self.jobs: dict[str, dict[str, dict]] = {}
        self.job_pods: dict[str, list[dict]] = {}
        self.pods: dict[str, dict] = {}
        self.loaded: dict[str, dict[str, str]] = {}
        self.deployment = None
        self.bad: set[str] = set()
        """Revisions that do not load."""
        self.silent: set[str] = set()
        """Pods whose node has stopped reporting."""
        self.size = dict.fromkeys(models, 100 * MIB)
        self.serial = 0
        for name in models:
            self.add(name)
        for _ in range(pods_wanted):
            self.start_pod()

    def add(self, name: str, **spec) -> None:
        self.serial += 1
        self.models[name] = gen.body(
            name=name,
            metadata={"uid": f"uid-of-{name}", "creationTimestamp": clock.text(gen.T0 + timedelta(seconds=self.serial))},
            serverRef={"name": SERVER},
            storage=None,
            replicas=None,
            **spec,
        )
        self.size.setdefault(name, 100 * MIB)
        self.jobs[name], self.job_pods[name] = {}, []

    def edit(self, name: str, **spec) -> None:
        body = self.models[name]
        body["spec"] = gen.merged(body["spec"], spec)
        body["metadata"]["generation"] += 1

    def rebuild(self, name: str, value: str) -> None:
        versions = copy.deepcopy(self.models[name]["spec"]["versions"])
        versions[0]["rebuild"] = value
        self.edit(name, versions=versions)

    def start_pod(self, template: str = "t1") -> str:
        self.serial += 1
        name = f"pod-{self.serial}"
        labels = {names.OWNER: "", names.SERVER_OWNER: SERVER, names.COMPONENT: names.TRITON, names.POD_TEMPLATE_HASH: template}
        made = gen.pod(name, labels=labels, podIP=f"10.0.0.{self.serial}")
        made["metadata"]["labels"].pop(names.OWNER)
        made["metadata"]["annotations"] = {}
        self.pods[name] = made
        self.restart(name)
        return name

    def restart(self, name: str) -> None:
        """Its Triton starts anew."""
        self.serial += 1
        running = {"running": {}}
        triton = gen.container_status(names.SERVER, state=running, ready=True, started=True, containerID=f"containerd://{self.serial}".ljust(77, "0"))
        agent = gen.container_status(names.AGENT, state=running, ready=True, started=True)
        self.pods[name]["status"]["containerStatuses"] = [triton, agent]
        self.loaded[name] = {}
        self.agent(name, loads=False)

    def agent(self, name: str, *, loads: bool = True) -> None:
        """The agent brings its Triton to what the pod is told, and says whether it has what it is asked for."""
        pod, wanted = self.pods[name], listed(self.pods[name])
        if loads and wanted is not None and name not in self.silent:
            before = self.loaded[name]
            self.loaded[name] = {
                each.name: each.uri if each.uri not in self.bad else before[each.name]
                for each in wanted.models
                if each.uri not in self.bad or each.name in before
            }
        members = {key.removeprefix(MEMBER) for key in pod["metadata"]["labels"] if key.startswith(MEMBER)}
        if wanted is not None:
            members &= {each.deployment for each in wanted.models}
        ready = all(model in self.loaded[name] for model in members)
        gate = pods.condition(pod, names.VERIFIED_GATE)
        if name in self.silent:
            self.pods[name] = gen.silent(pod)
            return
        states = {"ContainersReady": ready, names.VERIFIED_GATE: gate, "Ready": ready and gate}
        pod["status"]["conditions"] = [{"type": kind, "status": str(value), "reason": "ReadinessGatesNotReady"} for kind, value in states.items()]

    def pass_of(self, name: str) -> None:
        """A pass over a YoloDeployment, obeyed."""
        body = self.models[name]
        yolo = api.parse(body)
        observed = Observed(
            jobs=self.jobs[name],
            pods=self.job_pods[name],
            server=self.server,
            server_pods=list(self.pods.values()),
            neighbours=[other for key, other in self.models.items() if key != name],
        )
        decided = plan(yolo, observed, gen.DEFAULTS, self.now)
        body["status"] = decided.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        for job in decided.create:
            self.jobs[name][job["metadata"]["name"]] = job | {"status": {}} | {"metadata": job["metadata"] | {"uid": f"uid-of-{job['metadata']['name']}"}}
        for job in decided.delete:
            self.jobs[name].pop(job["metadata"]["name"], None)
        self.change(decided.change_pods)

    def pass_of_server(self) -> None:
        """A pass over the YoloServer, obeyed."""
        observed = ServerObserved(
            deployments={SERVER: self.deployment} if self.deployment else {}, pods=list(self.pods.values()), models=list(self.models.values())
        )
        decided = plan_server(api.parse_server(self.server), observed, gen.DEFAULTS, self.now)
        self.server["status"] = decided.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.server["metadata"]["finalizers"] = [names.SERVER_FINALIZER] if decided.finalizer else []
        for pod in decided.open_gates:
            self.pods[pod["metadata"]["name"]]["status"]["conditions"].append({"type": names.VERIFIED_GATE, "status": "True"})
            self.agent(pod["metadata"]["name"], loads=False)
        self.change(decided.change_pods)

    def change(self, changes: list[PodChange]) -> None:
        for each in changes:
            if each.pod["metadata"]["name"] in self.pods:
                metadata = self.pods[each.pod["metadata"]["name"]]["metadata"]
                metadata["labels"] = gen.merged(metadata["labels"], each.labels)
                metadata["annotations"] = gen.merged(metadata["annotations"], each.annotations)
                self.agent(each.pod["metadata"]["name"], loads=False)

    def end_job(self, name: str, job: dict) -> None:
        """A Job comes to its end, as it must."""
        kind = names.label(job, names.COMPONENT)
        args = job["spec"]["template"]["spec"]["containers"][0]["args"]
        said = dict(argument.removeprefix("--").split("=", 1) for argument in args if "=" in argument)
        uri = f"{said['root']}/{said.get('revision', '')}"
        container, result, fault = "publish", gen.artifact(uri, sizeBytes=self.size[name]), ()
        if kind == names.PRUNE:
            gone = {f"{said['root']}/{argument}" for argument in args if not argument.startswith("--")}
            wanted = {each["uri"] for body in self.models.values() for each in body["status"].get("shared", {}).get("wanted", ())}
            assert not gone & wanted, "what is to be served was removed"
            container, result = "prune", {"removed": 1}
        if kind == names.VERIFY:
            container, result = "verify", gen.verification(memoryBytes=self.size[name])
            target = next((key for key, pod in self.pods.items() if pod["status"]["podIP"] == said["address"]), "")
            if self.loaded.get(target, {}).get(said["served-as"]) != uri:
                fault = (42, "ModelLoadFailed") if uri in self.bad else (1, "ModelNotReady")
        code, reason = fault or (0, "")
        message = gen.outcome(reason=reason, message="…") if fault else gen.outcome(result=result)
        state = gen.container_status(container, state=gen.terminated(code, message))
        pod = gen.pod(f"{job['metadata']['name']}-pod", labels={names.JOB_NAME: job["metadata"]["name"], names.OWNER: name}, owner=job["metadata"]["uid"])
        pod["status"] |= {"phase": "Failed" if fault else "Succeeded", "containerStatuses": [state]}
        self.job_pods[name].append(pod)
        kind = "Failed" if fault else "Complete"
        job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": "", "message": ""}], "completionTime": clock.text(self.now)}

    def running(self) -> list[tuple[str, dict]]:
        return [(name, job) for name, jobs in self.jobs.items() for job in jobs.values() if not job["status"].get("conditions")]

    def settle(self, rounds: int = 40) -> None:
        """Until nothing changes any more; looks at the invariants after each step."""
        before = None
        for _ in range(rounds):
            for name in list(self.models):
                self.pass_of(name)
                self.check()
            self.pass_of_server()
            self.check()
            for name in list(self.pods):
                self.agent(name)
                self.check()
            ended = self.running()
            for name, job in ended:
                self.end_job(name, job)
            self.now += timedelta(seconds=700)  # the longest pause after a failure
            recorded = {name: (body["status"].get("shared"), sorted(self.jobs[name])) for name, body in self.models.items()}
            state = copy.deepcopy((self.pods, self.loaded, recorded, self.server["status"]["models"]))
            if state == before and not ended:
                return
            before = state
        raise AssertionError("it does not settle")

    def check(self) -> None:
        """Whoever takes requests for a model has it, in a revision that is right."""
        for name in self.models:
            for pod in self.members(name):
                uri = self.loaded[pod].get(name)
                assert uri is not None, f"{pod} is asked for {name}, and has not loaded it"
                assert uri not in self.bad

    def members(self, name: str) -> list[str]:
        """Pods that take requests for a model."""
        label = f"{MEMBER}{name}"
        return [key for key, pod in self.pods.items() if pod["metadata"]["labels"].get(label) == "true" and pods.is_ready(pod)]

    def ready(self, name: str) -> tuple[str, str, str]:
        """Status, reason and message of the condition Ready of a YoloDeployment."""
        found = next(each for each in self.models[name]["status"]["conditions"] if each["type"] == "Ready")
        return found["status"], found["reason"], found["message"]

    def server_ready(self) -> tuple[str, str, str]:
        found = next(each for each in self.server["status"]["conditions"] if each["type"] == "Ready")
        return found["status"], found["reason"], found["message"]


def test_models_come_to_all_pods_and_each_has_its_own_members():
    world = World("helmet", "forklift")
    world.settle()
    assert all(len(world.members(name)) == 2 for name in world.models)
    assert all(world.ready(name)[:2] == ("True", "Serving") for name in world.models)
    status = world.models["helmet"]["status"]
    assert (status["display"]["replicas"], status["url"]) == ("2/2", "http://helmet.factory.svc:8000/helmet")
    shown = world.server["status"]
    assert (shown["display"]["models"], shown["display"]["memory"]) == ("2/2", "0.195Gi")
    assert [(each["deployment"], each["pods"], each["memoryBytes"]) for each in shown["models"]] == [("forklift", 2, 100 * MIB), ("helmet", 2, 100 * MIB)]


def test_a_change_of_a_model_takes_no_pod_from_it_and_none_from_the_others():
    world = World("helmet", "forklift")
    world.settle()
    before = {name: world.members(name) for name in world.models}
    old = world.models["helmet"]["status"]["shared"]["serving"]
    world.rebuild("helmet", "again")

    def check(was=world.check) -> None:
        was()
        assert {name: world.members(name) for name in world.models} == before

    world.check = check
    world.settle()
    shared = world.models["helmet"]["status"]["shared"]
    assert shared["serving"] not in ("", old)
    assert {loaded["helmet"] for loaded in world.loaded.values()} == {shared["serving"]}
    assert all(set(loaded) == {"helmet", "forklift"} for loaded in world.loaded.values()), "what was tried is let go"


def test_a_revision_that_does_not_load_hurts_nobody_and_says_so():
    world = World("helmet", "forklift")
    world.settle()
    old = world.models["helmet"]["status"]["shared"]["serving"]
    world.rebuild("helmet", "bad")
    world.pass_of("helmet")
    ((name, job),) = world.running()
    world.end_job(name, job)
    world.pass_of("helmet")
    world.bad.add(world.models["helmet"]["status"]["versions"][0]["artifact"]["uri"])
    world.settle()
    assert world.ready("helmet")[:2] == ("False", "ModelLoadFailed")
    assert world.ready("forklift")[:2] == ("True", "Serving")
    assert len(world.members("helmet")) == 2
    assert {loaded["helmet"] for loaded in world.loaded.values()} == {old}


def test_a_pod_whose_triton_was_restarted_is_asked_again_before_it_takes_requests():
    world = World("helmet")
    world.settle()
    (first, second) = world.members("helmet")
    world.restart(first)
    assert world.members("helmet") == [second]
    world.pass_of("helmet")
    assert f"{MEMBER}helmet" not in world.pods[first]["metadata"]["labels"]
    world.settle()
    assert set(world.members("helmet")) == {first, second}


def test_a_pod_on_a_silent_node_keeps_no_model_from_changing():
    world = World("helmet")
    world.settle()
    (first, second) = world.members("helmet")
    before = world.loaded[first]["helmet"]
    world.silent.add(first)
    world.agent(first)
    world.rebuild("helmet", "again")
    world.settle()
    assert world.members("helmet") == [second]
    assert world.loaded[second]["helmet"] != before
    world.silent.clear()
    world.settle()
    assert set(world.members("helmet")) == {first, second}
    assert world.loaded[first] == world.loaded[second], "what its node says again is heard"


def test_a_new_pod_counts_as_ready_only_with_all_models_that_are_served():
    world = World("helmet", "forklift")
    world.settle()
    new = world.start_pod("t2")
    world.agent(new)
    world.pass_of_server()
    assert not pods.gate_is_open(world.pods[new])
    assert world.server_ready()[:2] == ("False", "Verifying")
    world.settle()
    assert pods.gate_is_open(world.pods[new])
    assert len(world.members("helmet")) == len(world.members("forklift")) == 3


def test_one_that_fails_on_a_new_template_keeps_it_out():
    world = World("helmet", "forklift")
    world.settle()
    new = world.start_pod("t2")
    for _ in range(4):
        for name in world.models:
            world.pass_of(name)
        world.pass_of_server()
        world.loaded[new] = {"forklift": world.models["forklift"]["status"]["shared"]["serving"]}
        for name, job in world.running():
            if f"--address={world.pods[new]['status']['podIP']}" in job["spec"]["template"]["spec"]["containers"][0]["args"] and name == "helmet":
                continue
            world.end_job(name, job)
    assert not pods.gate_is_open(world.pods[new])
    assert len(world.members("helmet")) == 2


def test_what_does_not_fit_is_not_loaded_until_there_is_room():
    world = World("helmet", "forklift", memoryBudget="250Mi")
    world.settle()
    world.add("vest")
    world.settle()
    status, reason, message = world.ready("vest")
    assert (status, reason) == ("False", "ServerFull")
    assert "100 MiB and the server's models 200 MiB of 250 MiB" in message
    assert all("vest" not in loaded for loaded in world.loaded.values())
    del world.models["forklift"]
    world.settle()
    assert world.ready("vest")[:2] == ("True", "Serving")


def test_of_two_that_do_not_fit_together_the_older_one_comes_in():
    world = World("helmet", "forklift", memoryBudget="150Mi")
    world.settle()
    assert {name: world.ready(name)[1] for name in world.models} == {"helmet": "Serving", "forklift": "ServerFull"}


def test_one_whose_resource_is_gone_is_let_go_when_nobody_is_asked_for_it_any_more():
    world = World("helmet", "forklift")
    world.settle()
    del world.models["helmet"]
    world.pass_of_server()
    assert all(f"{MEMBER}helmet" not in pod["metadata"]["labels"] for pod in world.pods.values())
    assert all("helmet" in {each.name for each in (listed(pod) or WantedModels()).models} for pod in world.pods.values())
    world.settle()
    assert all(set(loaded) == {"forklift"} for loaded in world.loaded.values())


def test_a_suspended_model_leaves_and_comes_back():
    world = World("helmet", "forklift")
    world.settle()
    world.edit("helmet", suspend=True)
    world.settle()
    assert world.members("helmet") == []
    assert all(set(loaded) == {"forklift"} for loaded in world.loaded.values())
    assert world.ready("helmet")[:2] == ("False", "Suspended")
    world.edit("helmet", suspend=False)
    world.settle()
    assert len(world.members("helmet")) == 2


def test_a_name_is_the_older_ones():
    world = World("helmet")
    world.settle()
    world.add("other", modelName="helmet")
    world.settle()
    assert world.ready("other")[:2] == ("False", "ModelNameTaken")
    assert world.ready("helmet")[:2] == ("True", "Serving")


def test_a_server_that_is_deleted_waits_for_its_models_and_says_for_which():
    world = World("helmet", "forklift")
    world.settle()
    world.server["metadata"]["deletionTimestamp"] = clock.text(world.now)
    world.settle()
    assert world.server_ready()[:2] == ("False", "InUse")
    assert "delete forklift, helmet" in world.server_ready()[2]
    assert len(world.members("helmet")) == 2
    world.models.clear()
    world.pass_of_server()
    assert world.server["metadata"]["finalizers"] == []


def test_without_its_server_a_resource_says_what_it_waits_for():
    world = World("helmet")
    with pytest.raises(NotReady, match=f"there is no YoloServer '{SERVER}' in this namespace"):
        plan(api.parse(world.models["helmet"]), Observed(), gen.DEFAULTS, world.now)


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=() if seed < 5 else pytest.mark.matrix) for seed in range(40)])
def test_whatever_happens_in_whatever_order(seed):
    random = Random(seed)
    world = World("helmet", "forklift", "vest")
    world.settle()

    def event() -> None:
        name = random.choice(sorted(world.models))
        pod = random.choice(sorted(world.pods))
        match random.randrange(7):
            case 0:
                world.rebuild(name, str(random.random()))
            case 1:
                world.restart(pod)
            case 2 if len(world.pods) > 1:
                del world.pods[pod]
                world.start_pod(random.choice(["t1", "t2"]))
            case 3:
                world.edit(name, suspend=random.random() < 0.5)
            case 4 if len(world.models) > 1:
                del world.models[name], world.jobs[name], world.job_pods[name]
            case 5:
                world.add(f"new-{world.serial}")
            case _:
                world.now += timedelta(seconds=120)

    for _ in range(200):
        if random.random() < 0.15:
            event()
        match random.randrange(4):
            case 0:
                world.pass_of(random.choice(sorted(world.models)))
            case 1:
                world.pass_of_server()
            case 2:
                world.agent(random.choice(sorted(world.pods)))
            case _ if world.running():
                world.end_job(*random.choice(world.running()))
    for name in world.models:
        world.edit(name, suspend=False)
    world.check = lambda: None
    world.settle(80)
    World.check(world)
    for name in world.models:
        assert set(world.members(name)) == set(world.pods), name
        assert world.ready(name)[:2] == ("True", "Serving"), name
