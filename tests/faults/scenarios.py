"""What users do with a resource, from a state that is given to one that it ends in: what every fault is put to."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kubelet import finds, refuses
from place import SECONDS, SERVER_NAME, Place, difference
from proxy import Proxy

import gen
from yolo_operator.controller import kinds
from yolo_operator.controller.kinds import Manifest
from yolo_operator.core import names

AT_ONCE = 4
"""Places that are worked on side by side: each of them mostly waits."""
CANARY = {"strategy": "Canary", "steps": [{"weight": 50, "duration": "1s"}]}
BOTH = [gen.version(1), gen.version(2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One change."""

    name: str
    change: Callable[[Place], None]
    ends: Callable[[Place], bool]
    """Whether it may have come to its end: the state says whether all has."""
    given: Mapping[str, Any] | None = field(default_factory=dict)
    """Fields of the spec that is served before; None where nothing is there."""
    server: Mapping[str, Any] | None = None
    """Fields of the YoloServer's spec that is there before."""


def wrong_answers(here: Place) -> None:
    here.kubelet.told[here.namespace, names.VERIFY] = refuses("WrongAnswers", "the boxes are elsewhere")
    here.edit(triton={"image": "example.com/triton:wrong"})


def wrong_canary(here: Place) -> None:
    here.kubelet.told[here.namespace, names.VERIFY] = refuses("WrongAnswers", "the boxes are elsewhere")
    here.edit(versions=BOTH, rollout=CANARY)


def worse_canary(here: Place) -> None:
    here.kubelet.told[here.namespace, names.ANALYSIS] = finds(verdict="Fail", message="too slow")
    here.edit(versions=BOTH, rollout=CANARY)


def state(here: Place) -> tuple[str, int]:
    """Phase of the canary's state, and the stable version."""
    found = here.body.get("status", {}).get("rollout", {})
    return found.get("phase", ""), found.get("stable", 0)


def gives_up(here: Place) -> bool:
    return here.condition("Stalled") == ("True", "WrongAnswers") and here.condition("Available")[0] == "True"


def made_shared(here: Place) -> None:
    here.create_server(replicas=2)
    here.create(**SHARED)


def both_deleted(here: Place) -> None:
    here.delete_server()
    here.delete()


SHARED: Mapping[str, Any] = {"serverRef": {"name": SERVER_NAME}, "storage": None, "replicas": None}
SHARED_ONES = ("a model comes to a YoloServer", "a model of a YoloServer changes", "a YoloServer gets other pods")
SCENARIOS = (
    Scenario(name="a resource is made", given=None, change=lambda here: here.create(), ends=Place.is_ready),
    Scenario(
        name="the weights change",
        given={"revisionHistoryLimit": 0},
        change=lambda here: here.edit(versions=[gen.version(source={"uri": "s3://weights/helmet-new.pt"})]),
        ends=lambda here: here.is_ready() and len(here.published) == 1,
    ),
    Scenario(name="the batch size changes", change=lambda here: here.edit(triton={"maxBatchSize": 4}), ends=Place.is_ready),
    Scenario(name="more replicas", change=lambda here: here.edit(replicas=3), ends=Place.is_ready),
    Scenario(name="another Triton image", change=lambda here: here.edit(triton={"image": "example.com/triton:25.10"}), ends=Place.is_ready),
    Scenario(
        name="a canary that passes",
        given={"replicas": 2},
        change=lambda here: here.edit(versions=BOTH, rollout=CANARY),
        ends=lambda here: here.is_ready() and state(here) == ("Healthy", 2),
    ),
    Scenario(name="a canary that fails", given={"replicas": 2}, change=worse_canary, ends=lambda here: state(here) == ("Degraded", 1)),
    Scenario(name="a canary with wrong answers", given={"replicas": 2}, change=wrong_canary, ends=lambda here: state(here) == ("Degraded", 1)),
    Scenario(name="an image with wrong answers, and back", change=wrong_answers, ends=gives_up),
    Scenario(name="it is deleted, with what it published", given={"deletionPolicy": "Delete"}, change=Place.delete, ends=lambda here: not here.body),
    Scenario(name=SHARED_ONES[0], given=None, change=made_shared, ends=Place.is_shared),
    Scenario(
        name=SHARED_ONES[1],
        given=SHARED,
        server={"replicas": 2},
        change=lambda here: here.edit(triton={"maxBatchSize": 4}),
        ends=Place.is_shared,
    ),
    Scenario(name=SHARED_ONES[2], given=SHARED, server={"replicas": 2}, change=lambda here: here.edit_server(restartedAt="now"), ends=Place.is_shared),
    Scenario(
        name="a YoloServer and its model are deleted",
        given=SHARED | {"deletionPolicy": "Delete"},
        server={},
        change=both_deleted,
        ends=lambda here: not here.body and not here.server,
    ),
)


def begin(here: Place, proxy: Proxy) -> None:
    """Start the operator, and wait until all its watches are open."""
    proxy.asked.clear()
    here.operator.start()
    wanted = {kind.plural for kind in (*kinds.WATCHED, kinds.SERVER)}
    here.until(lambda: {asked.path.rpartition("/")[2] for asked in proxy.asked if asked.watch} >= wanted)


def given(scenario: Scenario, places: Sequence[Place]) -> None:
    """Bring places to the state that a scenario begins with, all by one operator, which is gone then."""
    if scenario.given is None:
        return
    for here in places:
        if scenario.server is not None:
            here.create_server(**scenario.server)
        here.create(**scenario.given)
    everywhere = places[0].operator.everywhere()
    everywhere.start()

    def serve(here: Place) -> None:
        here.until(here.is_ready if scenario.server is None else here.is_shared, SECONDS + len(places))
        here.rest()

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(serve, places))
    finally:
        everywhere.kill()


class Undisturbed(NamedTuple):
    """How a scenario goes without a fault."""

    state: Manifest
    writes: int
    seconds: float


def undisturbed(scenario: Scenario, here: Place) -> Undisturbed:
    """Let it go from its beginning to its end, where a new operator finds nothing to do."""
    given(scenario, [here])
    here.operator.start()
    scenario.change(here)
    seconds = here.until(lambda: scenario.ends(here))
    here.rest()
    here.operator.kill()
    found = Undisturbed(here.state(), here.operator.writes, seconds)
    here.operator.start()
    here.until(lambda: not found.state["YoloDeployment"] or "reconciled" in here.operator.lines()[-1])
    here.rest()
    here.operator.kill()
    assert here.operator.writes == 0, here.told_last()
    assert difference(found.state, here.state()) == ""
    return found
