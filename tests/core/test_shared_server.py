"""What becomes of one model in a shared server: by rows, and by a search over pods and agents made of values."""

from dataclasses import dataclass, field
from random import Random

import pytest

from yolo_operator.core.pods import Problem
from yolo_operator.core.shared.decision import Room, ServerPod, SharedModel, decide

OLD, NEW = "s3://models/ns/helmet/aaaaaaaaaa", "s3://models/ns/helmet/bbbbbbbbbb"
TRIAL = "helmet.bbbbbbbbbb"
ENDLESS = Room(budget=None, others=0)
WRONG = Problem("WrongAnswers", "wrong", permanent=True)
MIB = 1 << 20


def model(**changes):
    return SharedModel(**({"deployment": "helmet", "name": "helmet", "target": OLD, "target_bytes": 5 * MIB} | changes))


def pod(name="a", **changes):
    return ServerPod(**({"name": name, "answers": True} | changes))


def told(decision):
    return {each.name: each.uri for each in decision.wanted}


def test_a_first_revision_is_loaded_under_its_own_name_and_asked_once_it_is_verified():
    found = decide(model(), [pod(), pod("b", answers=False)], ENDLESS)
    assert (told(found), found.serving, found.join) == ({"helmet": OLD}, "", ())
    assert [name for name, _ in found.verify] == ["a"]
    found = decide(model(), [pod(verified={"helmet": OLD}), pod("b")], ENDLESS)
    assert (found.serving, found.join, [name for name, _ in found.verify]) == (OLD, (), ["b"])
    found = decide(model(serving=OLD), [pod(verified={"helmet": OLD}), pod("b")], ENDLESS)
    assert (found.join, [name for name, _ in found.verify]) == (("a",), ["b"])


def test_another_revision_is_tried_beside_the_old_one_and_takes_its_name_when_all_pods_have_verified_it():
    changed = model(target=NEW, serving=OLD)
    serves = {"member": True, "verified": {"helmet": OLD}}
    found = decide(changed, [pod(**serves), pod("b", **serves)], ENDLESS)
    assert (told(found), found.serving) == ({"helmet": OLD, TRIAL: NEW}, OLD)
    assert [(name, asked.name) for name, asked in found.verify] == [("a", TRIAL), ("b", TRIAL)]
    half = [pod(member=True, verified={"helmet": OLD, TRIAL: NEW}), pod("b", **serves)]
    assert decide(changed, half, ENDLESS).serving == OLD
    whole = [pod(name, member=True, verified={"helmet": OLD, TRIAL: NEW}) for name in "ab"]
    assert decide(changed, whole, ENDLESS).serving == NEW
    found = decide(model(target=NEW, serving=NEW), whole, ENDLESS)
    assert (told(found), found.leave) == ({"helmet": NEW}, ()), "they stay members while the name changes"
    assert [(name, asked.name) for name, asked in found.verify] == [("a", "helmet"), ("b", "helmet")]


def test_one_that_fails_hurts_itself_alone():
    changed, serves = model(target=NEW, serving=OLD), {"member": True, "verified": {"helmet": OLD}}
    found = decide(changed, [pod(**serves, failed={NEW: WRONG}), pod("b", **serves)], ENDLESS)
    assert (told(found), found.serving, found.problem, found.verify) == ({"helmet": OLD}, OLD, WRONG, ())
    found = decide(model(), [pod(failed={OLD: WRONG})], ENDLESS)
    assert (found.wanted, found.problem) == ((), WRONG)
    found = decide(model(target=NEW, serving=NEW), [pod(member=True, verified={"helmet": OLD}, failed={NEW: WRONG})], ENDLESS)
    assert found.leave == ("a",), "what answers wrongly under the name that is asked is asked no more"


def test_a_pod_that_has_come_in_another_s_place_joins_once_it_is_verified():
    old = pod(member=True, verified={"helmet": OLD})
    found = decide(model(serving=OLD), [old, pod("b")], ENDLESS)
    assert (found.join, [name for name, _ in found.verify]) == ((), ["b"])
    assert decide(model(serving=OLD), [old, pod("b", verified={"helmet": OLD})], ENDLESS).join == ("b",)
    assert decide(model(serving=OLD), [pod("b", member=True)], ENDLESS).leave == ("b",), "a label that somebody else has put there"


def test_one_that_leaves_is_asked_no_more_before_it_goes():
    serves = {"member": True, "verified": {"helmet": OLD}}
    found = decide(model(serving=OLD, leaving=True), [pod(**serves), pod("b", **serves)], ENDLESS)
    assert (told(found), found.leave, found.verify) == ({"helmet": OLD}, ("a", "b"), ())
    assert decide(model(serving=OLD, leaving=True), [pod(), pod("b")], ENDLESS).wanted == ()


@pytest.mark.parametrize(
    ("room", "serving", "says"),
    [
        pytest.param(Room(budget=None, others=99 * MIB), "", "", id="no budget"),
        pytest.param(Room(budget=20 * MIB, others=15 * MIB), "", "", id="as large as it was published, at least, fits"),
        pytest.param(Room(budget=20 * MIB, others=16 * MIB), "", "it takes 5 MiB and the server's models 16 MiB of 20 MiB", id="less is not possible"),
        pytest.param(Room(budget=20 * MIB, others=0, took={NEW: 21 * MIB}), "", "it takes 21 MiB", id="it was loaded before"),
        pytest.param(
            Room(budget=20 * MIB, others=8 * MIB, took={OLD: 8 * MIB}), OLD, "it takes 5 MiB and the server's models 16 MiB of", id="beside the old one"
        ),
    ],
)
def test_what_does_not_fit_is_not_loaded(room, serving, says):
    found = decide(model(target=NEW, serving=serving), [pod(member=bool(serving), verified={"helmet": serving} if serving else {})], room)
    assert bool(found.full) is bool(says)
    assert says in found.full
    assert (NEW in told(found).values()) is not bool(says)
    assert found.serving == serving


@dataclass
class FakePod:
    """A pod, its Triton and its agent: they have seen some list of the operator's."""

    has: dict[str, str] = field(default_factory=dict)
    serial: int = 0
    member: bool = False
    up: bool = True
    verified: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Problem] = field(default_factory=dict)

    def restart(self):
        """Triton is killed: what was verified of it says nothing any more."""
        self.has, self.verified, self.failed = {}, {}, {}


class World:
    """Passes, agents, verify Jobs and accidents in any order. Revisions that are wrong answer wrongly, those that are broken do not load."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.pods = {"a": FakePod(), "b": FakePod()}
        self.count, self.target, self.serving, self.leaving = 1, "u/0", "", False
        self.serial, self.listed, self.jobs = 0, {}, []

    def reconcile(self):
        shared = SharedModel(deployment="helmet", name="helmet", target=self.target, serving=self.serving, leaving=self.leaving)
        views = [
            # A member that was restarted is not ready before its agent says so.
            ServerPod(
                name=name,
                answers=each.up and (not each.member or "helmet" in each.has),
                member=each.member,
                verified=dict(each.verified),
                failed=dict(each.failed),
            )
            for name, each in self.pods.items()
        ]
        found = decide(shared, views, ENDLESS)
        assert is_good(found.serving)
        self.serving = found.serving
        for name in found.join:
            assert is_good(self.pods[name].has["helmet"]), "who joins has the model"
            self.pods[name].member = True
        for name in found.leave:
            self.pods[name].member = False
        self.serial, self.listed = self.serial + 1, {each.name: each.uri for each in found.wanted}
        self.jobs = [(name, asked.name, asked.uri, self.serial) for name, asked in found.verify]
        for each in self.pods.values():
            each.verified = {name: uri for name, uri in each.verified.items() if name in self.listed}

    def agent(self, which):
        """An agent sees the list, and Triton loads and unloads; what does not load leaves what was there."""
        each = self.pods[which]
        if each.up:
            each.serial = self.serial
            loaded = {name: uri for name, uri in self.listed.items() if not uri.endswith("broken")}
            before, each.has = each.has, {name: uri for name, uri in each.has.items() if name in self.listed} | loaded
            if each.member and "helmet" in before:
                assert is_good(each.has["helmet"]), "whoever is asked keeps the model, and one that answers rightly"

    def verify(self, job):
        """A verify Job ends: with an answer, or with the agent's word that the revision does not load."""
        which, name, uri, serial = job
        each = self.pods[which]
        if not each.up or each.serial < serial or (each.has.get(name) != uri and not uri.endswith("broken")):
            return
        if is_good(uri):
            each.verified[name] = uri
        else:
            each.failed[uri] = WRONG

    def step(self):
        which = self.random.choice("ab")
        match self.random.choices(["reconcile", "agent", "verify", "edit", "back", "restart", "replace", "down", "leave"], [12, 12, 10, 2, 1, 1, 1, 1, 1])[0]:
            case "reconcile":
                self.reconcile()
            case "agent":
                self.agent(which)
            case "verify":
                if self.jobs:
                    self.verify(self.random.choice(self.jobs))
            case "edit":
                self.target = f"u/{self.count}{self.random.choice(['', 'wrong', 'broken'])}"
                self.count += 1
            case "back":
                self.target = self.serving or self.target
            case "restart":
                self.pods[which].restart()
            case "replace":
                self.pods[which] = FakePod()
            case "down":
                self.pods[which].up = not self.pods[which].up
                self.pods[which].restart()
            case "leave":
                self.leaving = not self.leaving

    def left_alone(self):
        """Without accidents it comes to its end."""
        self.leaving = False
        for each in self.pods.values():
            each.up = True
        for _ in range(12):
            self.reconcile()
            for which in self.pods:
                self.agent(which)
            for job in self.jobs:
                self.verify(job)


def is_good(uri):
    return not uri.endswith(("wrong", "broken"))


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_whoever_is_asked_answers_rightly_and_all_comes_to_its_end(seed):
    for number in range(100):
        world = World(seed * 1000 + number)
        for _ in range(100):
            world.step()
        world.left_alone()
        if is_good(world.target):
            assert world.serving == world.target
        assert all(each.member and each.has == {"helmet": world.serving} for each in world.pods.values() if world.serving)
