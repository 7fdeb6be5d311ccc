"""The agent of a shared server: against a Triton made of values, where every order of things can be had, and against a real one."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import seaweed
import triton_server
import yolo_models

from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable
from yolo_operator.core.served_models import WantedModel, WantedModels
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.worker import agent_server, load, memory, storage
from yolo_operator.worker.agent import MODELS, REVISIONS, Agent, AgentOptions
from yolo_operator.worker.triton_client import HttpClient
from yolo_operator.worker.triton_control import TritonControl

A, B, BROKEN = "s3://models/ns/a/aaaaaaaaaa", "s3://models/ns/a/bbbbbbbbbb", "s3://models/ns/broken/cccccccccc"


def wanted(uri, name="helmet", model="helmet", deployment="helmet"):
    return WantedModel(name=name, uri=uri, model=model, deployment=deployment)


class FakeTriton:
    """Loads what lies in the directory at that moment; a model whose content says `broken` does not load, one that says `slow` waits."""

    def __init__(self, models: Path) -> None:
        self.models, self.has, self.up, self.loads = models, {}, True, Counter()
        self.go_on = threading.Event()

    def ready(self):
        if not self.up:
            raise NotReady("ModelNotReady", "nobody there")
        return frozenset(self.has)

    def load(self, name, timeout):
        self.loads[name] += 1
        text = (self.models / name / "1" / "model.onnx").read_text()
        assert f'name: "{name}"' in (self.models / name / "config.pbtxt").read_text()
        if text == "slow":
            self.go_on.wait(20)
        if text == "broken":
            raise InvalidSpec("LoadFailed", "failed to load 'x': it is broken")
        self.has[name] = text

    def unload(self, name, timeout):
        self.has.pop(name, None)

    def restart(self):
        self.has = {}


class World:
    """An agent and what is around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = AgentOptions(wanted=(folder / "annotation", folder / "models.json"), labels=folder / "labels", directory=folder / "data")
        self.contents = {A: "first", B: "second", BROKEN: "broken"}
        self.brought = Counter()
        self.used, self.grows = 1000, 70
        self.triton = FakeTriton(folder / "data" / MODELS)
        self.agent = self.begin()

    def begin(self):
        return Agent(self.options, self.triton, self.bring, self.memory)

    def bring(self, uri, directory):
        self.brought[uri] += 1
        if uri not in self.contents:
            raise Unavailable("StorageUnreachable", f"{uri}: no answer")
        (directory / "helmet" / "1").mkdir(parents=True, exist_ok=True)
        (directory / "helmet" / "config.pbtxt").write_text('name: "helmet"\nmax_batch_size: 1\n')
        (directory / "helmet" / "1" / "model.onnx").write_text(self.contents[uri])

    def memory(self):
        self.used += self.grows
        return self.used

    def want(self, *models, serial=0, file="models.json"):
        (self.folder / file).write_text(WantedModels(serial=serial, models=models).model_dump_json(by_alias=True))

    def label(self, *deployments):
        lines = ['app="triton"', *(f'serves.yolo-operator.io/{each}="true"' for each in deployments)]
        (self.folder / "labels").write_text("\n".join(lines))

    def settle(self, check=lambda _: True):
        """Passes until nothing is on its way and `check` holds; the states by name."""
        deadline = time.monotonic() + 10
        while True:
            self.agent.reconcile()
            states = {each.name: each for each in self.agent.states().models}
            if all(each.state != "Loading" for each in states.values()) and check(states):
                return states
            assert time.monotonic() < deadline, states
            time.sleep(0.01)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_what_is_wanted_is_loaded_and_what_is_not_any_more_let_go(world):
    world.want(wanted(A), wanted(B, "other"))
    assert {name: each.state for name, each in world.settle().items()} == {"helmet": "Ready", "other": "Ready"}
    assert world.triton.has == {"helmet": "first", "other": "second"}
    world.want(wanted(A))
    world.settle(lambda _: len(world.triton.has) == 1)
    world.settle(lambda _: len([each for each in (world.folder / "data" / REVISIONS).iterdir() if each.is_dir()]) == 1)
    assert world.triton.has == {"helmet": "first"}
    assert [each.name for each in world.triton.models.iterdir()] == ["helmet"]
    assert world.triton.loads == {"helmet": 1, "other": 1}


def test_a_revision_is_tried_under_another_name_and_then_takes_the_place_of_the_old_one(world):
    world.want(wanted(A))
    world.settle()
    world.want(wanted(A), wanted(B, "helmet.bbbbbbbbbb"))
    assert world.settle(lambda states: len(states) == 2)["helmet.bbbbbbbbbb"].memory_bytes == 70
    assert world.triton.has == {"helmet": "first", "helmet.bbbbbbbbbb": "second"}
    world.want(wanted(B))
    world.settle(lambda _: world.triton.has == {"helmet": "second"})
    assert world.brought == {A: 1, B: 1}
    assert world.agent.states().models[0].memory_bytes == 70, "what it took is known from the trial"


def test_a_model_that_gets_memory_which_another_left_counts_as_large_as_its_files(world):
    world.grows = -70
    world.want(wanted(A))
    files = world.settle()["helmet"].memory_bytes
    assert files == len("first") + len('name: "helmet"\nmax_batch_size: 1\n')


def test_a_model_that_does_not_load_hurts_itself_alone_and_what_it_was_serves_on(world):
    world.want(wanted(A), wanted(B, "other"))
    world.settle()
    world.want(wanted(BROKEN), wanted(B, "other"))
    states = world.settle(lambda states: states["helmet"].uri == BROKEN)
    assert (states["helmet"].state, states["helmet"].reason, states["helmet"].message) == ("Failed", "LoadFailed", "failed to load 'x': it is broken")
    assert world.triton.has == {"helmet": "first", "other": "second"}
    assert (world.triton.models / "helmet" / "1" / "model.onnx").read_text() == "first", "it is laid back, for a Triton that looks again"
    assert not list((world.folder / "data" / "aside").iterdir())
    loads = world.triton.loads["helmet"]
    for _ in range(20):
        world.agent.reconcile()
    assert world.triton.loads["helmet"] == loads, "not tried again at once"


def test_a_restarted_triton_has_its_models_again_without_the_storage(world):
    world.want(wanted(A), wanted(B, "other"))
    world.label("helmet")
    world.settle()
    assert world.agent.is_ready()
    world.triton.up = False
    world.agent.reconcile()
    assert not world.agent.is_ready()
    world.triton.up = True
    world.triton.restart()
    world.contents.clear()
    world.agent.reconcile()
    world.settle(lambda _: len(world.triton.has) == 2)
    assert world.agent.is_ready()
    assert world.brought == {A: 1, B: 1}


def test_another_agent_takes_over_what_triton_has(world):
    world.want(wanted(A))
    world.settle()
    world.agent = world.begin()
    assert world.settle()["helmet"].state == "Ready"
    assert world.triton.loads == {"helmet": 1}
    world.agent = world.begin()
    world.want()
    world.settle(lambda _: not world.triton.has)


def test_what_cannot_be_brought_is_told_and_tried_again(world):
    world.want(wanted("s3://models/ns/a/dddddddddd"))
    state = world.settle()["helmet"]
    assert (state.state, state.reason, state.message) == ("Failed", "DownloadFailed", "s3://models/ns/a/dddddddddd: no answer")


def test_a_list_that_cannot_be_read_changes_nothing(world):
    world.want(wanted(A))
    world.settle()
    (world.folder / "models.json").write_text("{")
    for _ in range(3):
        world.agent.reconcile()
    assert world.triton.has == {"helmet": "first"}
    (world.folder / "models.json").unlink()
    world.agent.reconcile()
    assert world.triton.has == {"helmet": "first"}


def test_of_two_lists_the_newer_counts(world):
    world.want(wanted(A), serial=7)
    world.want(wanted(B), serial=8, file="annotation")
    world.settle()
    assert (world.triton.has, world.agent.states().serial) == ({"helmet": "second"}, 8)
    world.want(wanted(A), serial=9)
    world.settle(lambda _: world.triton.has == {"helmet": "first"})
    (world.folder / "models.json").write_text("")
    for _ in range(3):
        world.agent.reconcile()
    assert (world.triton.has, world.agent.states().serial) == ({"helmet": "first"}, 9), "what is older than what was seen is not gone back to"


def test_one_that_takes_long_keeps_nobody_waiting(world, monkeypatch):
    monkeypatch.setattr("yolo_operator.worker.agent.ALONE_SECONDS", 0.1)
    world.contents[A] = "slow"
    world.want(wanted(A), wanted(B, "other"))
    deadline = time.monotonic() + 10
    while {each.name: each.state for each in world.agent.states().models} != {"helmet": "Loading", "other": "Ready"}:
        world.agent.reconcile()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    world.triton.go_on.set()
    world.settle()


def test_a_pod_is_ready_when_it_has_the_models_whose_labels_it_has(world):
    world.want(wanted(A), wanted(BROKEN, "broken", deployment="broken"), wanted(B, "helmet.bbbbbbbbbb", deployment="on-trial"))
    assert world.agent.is_ready(), "without labels nobody asks it"
    world.settle()
    assert world.agent.is_ready()
    world.label("helmet")
    assert world.agent.is_ready()
    world.label("helmet", "broken")
    assert not world.agent.is_ready()
    world.label("on-trial")
    assert not world.agent.is_ready(), "under the name of a trial nobody asks"


def test_a_triton_that_was_restarted_is_not_ready_from_that_moment_on(world):
    """Not only from the agent's next look at it: it would be sent requests for models that it does not know yet."""
    world.want(wanted(A))
    world.label("helmet")
    world.settle()
    assert world.agent.is_ready()
    world.triton.restart()
    assert not world.agent.is_ready()
    world.triton.up = False
    assert not world.agent.is_ready()
    world.triton.up = True
    world.settle(lambda _: world.triton.has == {"helmet": "first"})
    assert world.agent.is_ready()


def test_it_tells_over_http(world):
    world.want(wanted(A))
    world.label("helmet")
    with agent_server.answering(world.agent, 0) as server:
        base = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{base}/ready")
        world.settle()
        assert urllib.request.urlopen(f"{base}/ready").status == 200
        states = json.load(urllib.request.urlopen(f"{base}/models"))
        assert states == {"serial": 0, "models": [{"name": "helmet", "uri": A, "state": "Ready", "reason": "", "message": "", "memoryBytes": 70}]}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/etc/passwd")


def test_memory_of_a_host(tmp_path):
    for pid, (name, kilobytes) in enumerate((("tritonserver", 100), ("triton_python_b", 20), ("python", 4000)), start=1):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Name:\t{name}\nVmRSS:\t  999 kB\nRssAnon:\t  {kilobytes} kB\n")
    assert memory.host(tmp_path) == 120 * 1024
    assert memory.host(tmp_path / "3") is None
    assert memory.gpu("http://127.0.0.1:1/metrics") is None


# a real Triton

ROOTS = {"helmet": "s3://models/shared/ns/helmet", "forklift": "s3://models/shared/ns/forklift"}
REAL = pytest.mark.skipif(not triton_server.is_possible(), reason="needs the CPU backend and a shared libpython")


def published(weed, tmp_path, name, revision, *, seed):
    """A revision of detector `seed` in S3; its URI."""
    model = yolo_models.detector(seed=seed)
    pod = yolo_models.build_pod(tmp_path / revision, model)
    repository = storage.Repository(ROOTS[name], storage.StorageOptions(endpoint=weed))
    serving = ServingOptions(model_name=name, version=1, gpu=False, max_batch_size=2)
    pod.publish(repository, serving, revision=revision)
    return repository.uri(revision)


class Load:
    """Asks for a model all the time, and counts what is answered, by the answer, and what is not."""

    def __init__(self, port, name):
        self.answers, self.failures, self._stopped = Counter(), [], threading.Event()
        self._client, self._thread = HttpClient("127.0.0.1", port, name, 1), threading.Thread(target=self._ask, daemon=True)

    def _ask(self):
        tensor = yolo_models.description().onnx.inputs[0]
        while not self._stopped.is_set():
            try:
                (answer,) = self._client.infer(tensor, yolo_models.picture(), 1)
                self.answers[round(float(answer["output0"][0, 0, 0]), 3)] += 1
            except Exception as error:  # noqa: BLE001  whatever it is, it is a failure
                self.failures.append(error)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()


def process_with(argument):
    """Where the kernel tells of the process with this argument."""
    return next(each.parent for each in Path("/proc").glob("[0-9]*/cmdline") if argument.encode() in each.read_bytes().split(b"\0"))


def first_number(seed):
    return round(float(yolo_models.answers(yolo_models.detector(seed=seed), yolo_models.picture())["output0"][0, 0, 0]), 3)


@REAL
def test_models_come_change_and_go_in_a_real_triton_and_no_request_is_lost(weed, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.SECRET)
    first, second = (published(weed, tmp_path, "helmet", revision, seed=seed) for seed, revision in enumerate(("a" * 10, "b" * 10)))
    other = published(weed, tmp_path, "forklift", "c" * 10, seed=7)
    bad = published(weed, tmp_path, "forklift", "d" * 10, seed=8)

    def bring(uri, directory):
        root, _, revision = uri.rpartition("/")
        load.run(storage.Repository(root, storage.StorageOptions(endpoint=weed)), revision, directory)
        if uri == bad:
            (directory / "forklift" / "1" / "model.onnx").write_bytes(b"no ONNX")

    options = AgentOptions(wanted=(tmp_path / "models.json",), labels=tmp_path / "labels", directory=tmp_path / "data")
    restricted = "--http-restricted-api=model-repository:yolo-operator=secret"

    # Of the machine's Tritons only ours: other tests run theirs beside it.
    mine = tmp_path / "processes"

    def want(*models):
        options.wanted[0].write_text(WantedModels(models=models).model_dump_json(by_alias=True))

    def settle(agent, **expected):
        deadline = time.monotonic() + 60
        while {each.name.replace(".", "_"): each.state for each in agent.states().models} != expected:
            agent.reconcile()
            assert time.monotonic() < deadline, agent.states()
            time.sleep(0.1)

    def agent_of(http):
        return Agent(options, TritonControl(f"http://127.0.0.1:{http}", ("yolo-operator", "secret")), bring, lambda: memory.host(mine))

    mine.mkdir()
    (options.directory / MODELS).mkdir(parents=True)
    with triton_server.running(str(options.directory / MODELS), tmp_path / "triton.log", restricted, mode="explicit") as (http, _, _):
        (mine / "1").symlink_to(process_with(f"--http-port={http}"))
        agent = agent_of(http)
        want(wanted(first))
        settle(agent, helmet="Ready")
        assert agent.states().models[0].memory_bytes > 1 << 20
        with Load(http, "helmet") as asked:
            want(wanted(first), wanted(other, "forklift", "forklift", "forklift"))
            settle(agent, helmet="Ready", forklift="Ready")
            with Load(http, "forklift") as beside:
                want(wanted(first), wanted(bad, "forklift", "forklift", "forklift"), wanted(second, "helmet.bbbbbbbbbb"))
                settle(agent, helmet="Ready", forklift="Failed", helmet_bbbbbbbbbb="Ready")
                said = {each.name: each.message for each in agent.states().models}["forklift"]
                assert "load failed for model 'forklift'" in said
                assert beside.answers[first_number(7)]
                want(wanted(second), wanted(other, "forklift", "forklift", "forklift"))
                settle(agent, helmet="Ready", forklift="Ready")
                time.sleep(0.5)
            want(wanted(second))
            settle(agent, helmet="Ready")
            agent.reconcile()
            time.sleep(0.5)
        assert (asked.failures, beside.failures) == ([], [])
        assert set(asked.answers) == {first_number(0), first_number(1)}
        assert set(beside.answers) == {first_number(7)}
        with pytest.raises(InvalidSpec, match="This API is restricted"):
            TritonControl(f"http://127.0.0.1:{http}").unload("helmet", 5)
        taken_over = agent_of(http)
        settle(taken_over, helmet="Ready")
    with triton_server.running(str(options.directory / MODELS), tmp_path / "triton.log", restricted, mode="explicit") as (http, _, _):
        settle(agent_of(http), helmet="Ready")
        answers = Load(http, "helmet")
        with answers:
            time.sleep(1)
        assert (set(answers.answers), answers.failures) == ({first_number(1)}, [])
