"""What a verify Job learns of a model from the agent of its pod."""

import itertools
import time

import pytest

from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable
from yolo_operator.core.served_models import WantedModel, WantedModels
from yolo_operator.worker import agent_client, agent_server
from yolo_operator.worker.agent import Agent, AgentOptions
from yolo_operator.worker.agent_client import AgentClient

URI = "s3://models/yolo/factory/helmet/0123456789"


class Triton:
    """Loads what it is told to, or says why not."""

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.refuses = ""

    def ready(self):
        return frozenset(self.loaded)

    def load(self, name, timeout):
        if self.refuses:
            raise InvalidSpec("LoadFailed", self.refuses)
        self.loaded.add(name)

    def unload(self, name, timeout):
        self.loaded.discard(name)


@pytest.fixture
def pod(tmp_path, monkeypatch):
    """An agent that answers on a port, its Triton, and a client of it."""
    monkeypatch.setattr(agent_client, "PAUSE_SECONDS", 0.05)
    wanted = tmp_path / "models.json"
    wanted.write_text(WantedModels(serial=1, models=[WantedModel(name="helmet", uri=URI, model="helmet", deployment="helmet")]).model_dump_json(by_alias=True))

    def bring(uri, directory):
        (directory / "helmet").mkdir(parents=True)
        (directory / "helmet" / "config.pbtxt").write_text('name: "helmet"\n')

    triton = Triton()
    agent = Agent(AgentOptions(wanted=(wanted,), labels=tmp_path / "labels", directory=tmp_path / "served"), triton, bring, itertools.count(100, 70).__next__)
    with agent_server.answering(agent, 0) as server:
        yield agent, triton, AgentClient("127.0.0.1", server.server_address[1])


def reconcile(agent, until):
    deadline = time.monotonic() + 20
    while {each.state for each in agent.states().models} != until:
        agent.reconcile()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_model_that_is_loaded_is_told_with_what_it_takes(pod):
    agent, _, client = pod
    with pytest.raises(NotReady, match="helmet is not loaded"):
        client.wait_until_served("helmet", URI, 0.1)
    reconcile(agent, {"Ready"})
    found = client.wait_until_served("helmet", URI, 5)
    assert (found.state, found.memory_bytes) == ("Ready", 70)
    assert client.state("helmet", f"{URI}0") is None, "another revision"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        pytest.param("Invalid argument: no such operator", InvalidSpec, id="the model's own fault"),
        pytest.param("onnx runtime error 6: Failed to allocate memory for requested buffer", Unavailable, id="no memory now"),
    ],
)
def test_a_model_that_triton_does_not_load_is_told_in_its_words(pod, words, error):
    agent, triton, client = pod
    triton.refuses = words
    reconcile(agent, {"Failed"})
    with pytest.raises(error, match=words.partition(":")[0]) as caught:
        client.wait_until_served("helmet", URI, 5)
    assert caught.value.reason == "ModelLoadFailed"


def test_nobody_answers():
    assert AgentClient("127.0.0.1", 1).state("helmet", URI) is None
