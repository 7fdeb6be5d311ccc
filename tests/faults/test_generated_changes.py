"""Changes of the spec that nobody has thought of, before a real API server: each is refused with words or followed, and none leaves a trace.

After each that is accepted the status tells of that generation; after all of them the first spec brings back the first state, and what
the last one that was served has led to is what a new resource of that spec gets.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_client import ApiError
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from place import Place
from spec_changes import Change, apply, changes

from yolo_operator.controller.kinds import Manifest

SIDE_BY_SIDE, IN_A_ROW = 4, 12


@pytest.fixture(scope="module")
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield pool


def observed(here: Place) -> bool:
    body = here.body
    return bool(body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])


def essence(here: Place) -> Manifest:
    """What a user gets: without history, which differs between a resource that has seen much and a new one."""
    state = here.state()
    (yolo,) = state["YoloDeployment"]
    versions = [
        {key: found.get(key) for key in ("version", "phase", "weight", "revision", "replicas", "readyReplicas")} for found in yolo["status"]["versions"]
    ]
    deployments = [
        {"name": each["metadata"]["name"], "replicas": each["spec"]["replicas"], "pod": each["spec"]["template"]["spec"]} for each in state["Deployment"]
    ]
    return {
        "conditions": [[each["type"], each["status"], each["reason"]] for each in yolo["status"]["conditions"]],
        "versions": versions,
        "deployments": deployments,
        "services": [each["spec"] for each in state["Service"]],
        "budgets": [each["spec"] for each in state["PodDisruptionBudget"]],
    }


def build_is_refused(here: Place) -> bool:
    """Whether the API server refuses the Job that the spec leads to."""
    return here.condition("Ready")[1] == "Rejected" and "Job.batch" in str(here.body["status"]["conditions"])


def go_through(here: Place, places: Callable[[], Place], row: list[Change]) -> tuple[int, int]:
    """Make the changes; returns how many were accepted and refused."""
    here.operator.start()
    here.create()
    here.until(here.is_ready)
    before, first = essence(here), here.body["spec"]
    spec, refused = first, 0
    for change in row:
        wanted = apply(spec, change)
        refusal = None
        try:
            here.replace(wanted)
        except ApiError as error:
            refusal = error
        if refusal is None:
            here.until(lambda: observed(here))
            spec = wanted
        else:
            refused += 1
            assert refusal.code in {400, 422}, (str(change), refusal)
            assert "spec" in str(refusal), (str(change), refusal)
    here.rest()
    if here.is_ready() and spec.get("rollout", {}).get("strategy") != "Canary":
        fresh = places()
        fresh.operator.start()
        fresh.create()
        fresh.replace(here.body["spec"])

        def is_alike() -> bool:
            # What is built already needs no Job: a spec whose Job the API server refuses serves on, but does not begin anew.
            return (fresh.is_ready() and essence(fresh) == essence(here)) or build_is_refused(fresh)

        fresh.until(is_alike)
        fresh.rest()
        assert is_alike(), list(map(str, row))
        fresh.operator.kill()
    here.replace(first)
    here.until(lambda: here.is_ready() and essence(here) == before)
    log = here.operator.log.read_text(encoding="utf-8")
    assert "Traceback" not in log, (list(map(str, row)), log)
    assert "InternalError" not in log, (list(map(str, row)), log)
    here.operator.kill()
    here.delete()
    return len(row) - refused, refused


@pytest.mark.parametrize(
    "rounds", [pytest.param(2, id="100 changes"), pytest.param(21, id="1000 changes", marks=[pytest.mark.matrix, pytest.mark.timeout(3600)])]
)
def test_any_change_is_refused_or_followed_and_leaves_no_trace(
    rounds: int, places: Callable[[], Place], workers: ThreadPoolExecutor, record_property: Callable[[str, str], None]
) -> None:
    counted = [0, 0]

    @settings(max_examples=rounds, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(changes(), min_size=IN_A_ROW, max_size=IN_A_ROW), min_size=SIDE_BY_SIDE, max_size=SIDE_BY_SIDE))
    def run(rows: list[list[Change]]) -> None:
        # Hypothesis begins with the simplest of all, the same change everywhere.
        assume(len({change.path for row in rows for change in row}) > IN_A_ROW)
        for accepted, refused in workers.map(lambda row: go_through(places(), places, row), rows):
            counted[0] += accepted
            counted[1] += refused

    run()
    assert counted[0] > rounds * SIDE_BY_SIDE
    for column, text in {
        "Fault": "a change of the spec, generated from its schema",
        "Tried": str(sum(counted)),
        "Ended well": f"{sum(counted)}: {counted[0]} followed, {counted[1]} refused at apply",
    }.items():
        record_property(column, text)
