"""A status that another release or a hand has written is read as far as it can be: what is wrong is left out alone."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gen
from simulation import Simulation, serving
from yolo_operator.core import api, names

Path = tuple[int | str, ...]


def canary() -> Simulation:
    """A canary in the middle of its steps, after a change of the storage; a build and a removal have failed before."""
    steps = [{"weight": 50, "duration": "10m"}, {"weight": 75, "duration": "10m"}]
    rollout = {"strategy": "Canary", "steps": steps, "analysis": {"enabled": True}}
    cluster = serving(replicas=4, versions=[gen.version(1)], rollout=rollout, storage={"uri": "s3://old/yolo"}, revisionHistoryLimit=4)
    cluster.edit(storage={"uri": "s3://models/yolo"})
    cluster.run()
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.run()
    cluster.end_job("analysis", gen.outcome(result={"verdict": "Pass"}), container="analyze")
    cluster.run()
    return cluster


@pytest.fixture(scope="module")
def written() -> gen.Manifest:
    """A real status with something in every list."""
    status: gen.Manifest = canary().body["status"]
    recorded = gen.failure(reason="StorageUnreachable").model_dump(mode="json", by_alias=True, exclude_none=True)
    status["versions"][1]["buildFailure"] = recorded
    status["pruneFailure"] = dict(recorded)
    status["failedRollouts"] = [
        {
            "version": number,
            "revision": f"{number}{number}",
            "time": "2026-11-22T03:00:00Z",
            "reason": "AnalysisFailed",
            "message": "",
            "retry": "",
            "promote": 0,
        }
        for number in (3, 4)
    ]
    status["versions"][0]["rolledBack"] = {"template": "a-b", "time": "2026-11-22T03:00:00Z", "reason": "WrongAnswers", "message": "…", "image": "triton:26.06"}
    assert dump(api.parse_status(status)) == status
    assert status["rollout"]["analyses"]
    assert status["previousStorages"]
    return status


def dump(status: api.Status) -> gen.Manifest:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def changed(status: gen.Manifest, path: Path, value: Any) -> gen.Manifest:
    made = copy.deepcopy(status)
    at(made, path[:-1])[path[-1]] = value
    return made


def without(status: gen.Manifest, path: Path) -> gen.Manifest:
    made = copy.deepcopy(status)
    del at(made, path[:-1])[path[-1]]
    return made


VERSION, ROLLOUT = ("versions", 1), ("rollout",)


@pytest.mark.parametrize(
    ("path", "value", "lost"),
    [
        pytest.param(("url",), 7, ("url",), id="a text that is a number"),
        pytest.param(("replicas",), "many", ("replicas",), id="a number that is a text"),
        pytest.param(("display",), "1:50", ("display",), id="an object that is a text"),
        pytest.param(("conditions", 2, "status"), "Perhaps", ("conditions", 2), id="a condition with another status"),
        pytest.param(("conditions",), {"Ready": True}, ("conditions",), id="conditions as a map"),
        pytest.param((*VERSION, "weight"), None, (*VERSION, "weight"), id="a number that is nothing"),
        pytest.param((*VERSION, "version"), "two", VERSION, id="a version without its number"),
        pytest.param((*VERSION, "message"), "x" * 5000, (*VERSION, "message"), id="a message that is too long"),
        pytest.param((*VERSION, "artifact", "task"), "depth", (*VERSION, "artifact"), id="an artifact of a task that is not known"),
        pytest.param((*VERSION, "artifact", "inputs", 0, "shape"), "NCHW", (*VERSION, "artifact"), id="a tensor in another form: the artifact needs it"),
        pytest.param((*VERSION, "artifact", "imageSize"), [3, 640, 640], (*VERSION, "artifact"), id="a size that is none: no part of it is one either"),
        pytest.param((*VERSION, "artifact", "reference"), "tensorflow", (*VERSION, "artifact", "reference"), id="a reference that is not known"),
        pytest.param((*VERSION, "verified", 0, "worstIoU"), [1], (*VERSION, "verified", 0), id="a verification in another form"),
        pytest.param((*VERSION, "buildFailure", "attempts"), 0, (*VERSION, "buildFailure", "attempts"), id="a failure without attempts"),
        pytest.param((*VERSION, "buildFailure", "key"), {"name": "x"}, (*VERSION, "buildFailure"), id="a failure of nothing"),
        pytest.param((*ROLLOUT, "stable"), "1st", (*ROLLOUT, "stable"), id="a stable version that is a text"),
        pytest.param((*ROLLOUT, "analyses", 0, "verdict"), "Perhaps", (*ROLLOUT, "analyses", 0), id="a verdict that is not known"),
        pytest.param(ROLLOUT, "Healthy", ROLLOUT, id="a rollout that is a text"),
        pytest.param(("failedRollouts", 0, "version"), "three", ("failedRollouts", 0), id="one failed revision in another form: the others stay failed"),
        pytest.param(("referenceVersion",), "1st", ("referenceVersion",), id="a reference that is a text"),
        pytest.param(("published", 0), {"uri": "s3://…"}, ("published", 0), id="one published revision in another form"),
        pytest.param(("published",), "0123456789", ("published",), id="all published revisions in another form"),
        pytest.param(("previousStorages", 0, "region"), "eu central", ("previousStorages", 0, "region"), id="a region that is none"),
        pytest.param(("previousStorages", 0, "secretRef", "name"), "../other", ("previousStorages", 0, "secretRef"), id="a Secret of another namespace"),
        pytest.param(("storage", "uri"), 1, ("storage",), id="a storage without its address"),
    ],
)
def test_what_is_wrong_is_left_out_alone(written, path, value, lost):
    read, unread = api.read_status(changed(written, path, value))
    expected = api.Status.model_validate(without(written, lost))
    assert dump(read) == dump(expected)
    assert unread


def test_a_list_that_is_too_long_keeps_its_newest_entries(written):
    revisions = [f"{number:010x}" for number in range(300)]
    read, unread = api.read_status(written | {"published": revisions})
    assert read.published == revisions[-256:]
    assert unread == ("published",)
    assert dump(read) == written | {"published": revisions[-256:]}


def test_a_field_that_is_not_known_is_no_fault(written):
    new = changed(changed(written, ("versions", 0, "novel"), {"a": 1}), ("novel",), [1])
    assert api.read_status(new) == (api.parse_status(written), ())


def test_several_faults_are_left_out_each_alone(written):
    spoilt = changed(changed(changed(written, ("versions", 0, "artifact", "task"), "depth"), ("versions", 1, "version"), "two"), ("url",), 7)
    expected = without(without(without(written, ("versions", 1)), ("versions", 0, "artifact")), ("url",))
    read, unread = api.read_status(spoilt)
    assert dump(read) == dump(api.Status.model_validate(expected))
    assert set(unread) >= {"versions.0.artifact.task", "versions.1.version", "url"}


@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_a_status_that_is_none_is_read_as_none(value):
    assert api.parse_status(value) == api.Status()


def test_a_canary_in_a_phase_that_is_not_known_gets_no_traffic_before_somebody_asks_for_it():
    cluster = canary()
    assert cluster.plan.status.rollout.weight == 50
    cluster.body["status"]["rollout"] |= {"phase": "RollingBack", "reason": "AnalysisFailed", "message": "…"}
    for _ in range(2):
        cluster.reconcile()
        found = cluster.plan.status.rollout
        assert (found.phase, found.reason, found.weight, found.stable, found.canary) == ("Degraded", "UnknownPhase", 0, 1, 2)
    cluster.edit(rollout={"retry": "again"})
    cluster.reconcile()
    assert cluster.plan.status.rollout.phase == "Progressing"


def test_what_a_newer_release_wrote_is_served_on_and_nothing_is_built_again():
    cluster = canary()
    jobs, before = set(cluster.jobs("build")), cluster.replicas()
    for number in range(2):
        cluster.body["status"]["versions"][number] |= {"phase": {"name": "Serving"}, "novel": 1}
    cluster.body["status"]["conditions"][0]["status"] = "Perhaps"
    cluster.body["status"]["display"] = []
    kept = copy.deepcopy({key: cluster.body["status"][key] for key in ("rollout", "published", "storage", "previousStorages")})
    for _ in range(3):
        cluster.reconcile()
    assert (set(cluster.jobs("build")), cluster.replicas()) == (jobs, before)
    assert {key: cluster.body["status"][key] for key in kept} == kept


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, inner in items:
        yield (*path, part)
        yield from paths(inner, (*path, part))


ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4), st.just("x" * 9000), st.lists(st.integers(), max_size=2), st.just({"odd": 1}))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_is_in_one_place_all_others_are_read(written, data):
    """All that is neither in the way to that place, nor below the entry that needs it, is kept."""
    path = data.draw(st.sampled_from(sorted(paths(written), key=str)))
    read, unread = api.read_status(changed(written, path, data.draw(ODD)))
    after = dump(read)
    for key, value in written.items():
        if key != path[0]:
            assert after[key] == value
    if unread and path[0] in ("versions", "previousStorages", "conditions") and len(path) > 1:
        others = [entry for number, entry in enumerate(written[path[0]]) if number != path[1]]
        assert [entry for entry in after[path[0]] if entry in others] == others


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_plan_can_be_made_of_any_status(written, data):
    cluster = Simulation(versions=[gen.version(1), gen.version(2)], rollout={"strategy": "Canary", "steps": [{"weight": 50}]}, deletionPolicy="Delete")
    spoilt = written
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt = changed(spoilt, data.draw(st.sampled_from(sorted(paths(spoilt), key=str))), data.draw(ODD))
    cluster.body["status"] = spoilt
    cluster.decide()
    cluster.body["metadata"] |= {"deletionTimestamp": "2026-11-22T04:00:00Z", "finalizers": [names.FINALIZER]}
    cluster.decide()
