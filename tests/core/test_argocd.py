"""docs/argocd-cm.yaml: what Argo CD shows of a YoloDeployment and what its buttons do, run by Lua on statuses of the operator."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

import gen
from simulation import Simulation, serving
from yolo_operator.core import clock
from yolo_operator.core.names import Manifest
from yolo_operator.rollout_command import changed

CONFIG: dict[str, str] = yaml.safe_load((Path(__file__).parents[2] / "docs" / "argocd-cm.yaml").read_text(encoding="utf-8"))["data"]
KIND = "yolo-operator.io_YoloDeployment"
ACTIONS = yaml.safe_load(CONFIG[f"resource.customizations.actions.{KIND}"])
CANARY = {"strategy": "Canary", "steps": [{"weight": 50, "duration": "1h"}], "analysis": {"enabled": False}}


def run(script: str, body: Manifest) -> dict[str, Any]:
    """The table that a script returns for an object."""
    lua = LuaRuntime()
    lua.globals().obj = to_lua(lua, body)
    found: dict[str, Any] = from_lua(lua.execute(script))
    return found


def to_lua(lua: LuaRuntime, value: Any) -> Any:
    match value:
        case dict():
            return lua.table_from({key: to_lua(lua, each) for key, each in value.items()})
        case list():
            return lua.table_from([to_lua(lua, each) for each in value])
        case _:
            return value


def from_lua(value: Any) -> Any:
    if not hasattr(value, "items"):
        return value
    items = dict(value.items())
    if items and all(isinstance(key, int) for key in items):
        return [from_lua(items[key]) for key in sorted(items)]
    return {key: from_lua(each) for key, each in items.items()}


def health(cluster: Simulation) -> tuple[str, str]:
    found = run(CONFIG[f"resource.customizations.health.{KIND}"], cluster.body)
    return found["status"], found["message"]


def act(name: str, body: Manifest) -> Manifest:
    """The object after a button."""
    (script,) = [each["action.lua"] for each in ACTIONS["definitions"] if each["name"] == name]
    return run(script, body)


def enabled(body: Manifest) -> set[str]:
    return {name for name, found in run(ACTIONS["discovery.lua"], body).items() if not found["disabled"]}


def canary() -> Simulation:
    """Version 2 is a canary at half of the traffic."""
    cluster = serving(versions=[gen.version(1)], rollout=CANARY)
    cluster.edit(versions=[gen.version(1), gen.version(2)])
    cluster.run()
    return cluster


def test_what_has_no_status_or_an_old_one_is_progressing():
    assert health(Simulation()) == ("Progressing", "Waiting for the operator")
    cluster = serving()
    assert health(cluster) == ("Healthy", "Serving: Every version serves and its answers are right")
    cluster.edit(replicas=2)
    assert health(cluster) == ("Progressing", "Waiting for the operator")


def test_what_is_suspended_is_told_so():
    cluster = serving()
    cluster.edit(suspend=True)
    cluster.run()
    assert health(cluster)[0] == "Suspended"


def test_what_builds_is_progressing_and_what_only_an_edit_can_cure_is_degraded():
    cluster = Simulation()
    cluster.reconcile()
    assert health(cluster)[0] == "Progressing"
    assert health(cluster)[1].startswith("Building: ")
    cluster.end_job("build", gen.outcome(reason="UnsupportedModel", message="a transformer"), code=42, container="export")
    cluster.reconcile()
    assert health(cluster) == ("Degraded", "UnsupportedModel: a transformer")


def test_a_paused_canary_is_suspended_and_one_under_way_progresses():
    cluster = canary()
    assert health(cluster)[0] == "Progressing"
    cluster.body = act("pause", cluster.body)
    cluster.body["metadata"]["generation"] += 1
    cluster.run()
    assert health(cluster)[0] == "Suspended"
    assert health(cluster)[1].startswith("RolloutPaused: ")


@pytest.mark.parametrize(
    ("name", "before"), [(name, before) for name in ("promote", "abort", "retry") for before in ({}, {"abort": 2}, {"promote": 2}, {"abort": 7})]
)
def test_a_button_changes_what_the_command_changes(name, before):
    cluster = canary()
    cluster.body["spec"]["rollout"] |= before
    body = cluster.body
    wanted, _ = changed(body, name, None, clock.parse("2026-11-22T03:00:00Z"))
    found = act(name, body)["spec"]["rollout"]
    for field, value in wanted.items():
        if field == "retry":
            assert clock.parse(found["retry"]) > clock.parse("2026-01-01T00:00:00Z")
        else:
            assert found.get(field) == value
    assert {key: value for key, value in found.items() if key not in wanted} == {
        key: value for key, value in body["spec"]["rollout"].items() if key not in wanted
    }


def test_buttons_are_there_where_they_do_something():
    assert enabled(serving().body) == {"restart"}
    assert enabled(canary().body) == {"restart", "pause", "promote", "abort", "retry"}
    assert enabled(act("pause", canary().body)) == {"restart", "resume", "promote", "abort", "retry"}


def test_a_restart_rolls_the_pods():
    cluster = serving()
    cluster.body = act("restart", cluster.body)
    cluster.body["metadata"]["generation"] += 1
    cluster.reconcile()
    annotations = cluster.objects["Deployment"]["helmet-v1"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["yolo-operator.io/restarted-at"] == cluster.body["spec"]["restartedAt"]


def server(reason: str, *, ready: bool, deleted: bool = False) -> Manifest:
    """A YoloServer whose condition Ready has a reason."""
    conditions = [{"type": "Ready", "status": str(ready), "reason": reason, "message": "…", "observedGeneration": 1}]
    metadata = {"name": "line-3", "generation": 1} | ({"deletionTimestamp": "2026-11-22T03:00:00Z"} if deleted else {})
    return {"metadata": metadata, "spec": {}, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param(server("Serving", ready=True), "Healthy", id="all pods have all models"),
        pytest.param(server("Starting", ready=False), "Progressing", id="pods start"),
        pytest.param(server("InUse", ready=False, deleted=True), "Progressing", id="it waits for its models' end"),
    ],
)
def test_a_server_is_shown_by_the_same_script(body, shown):
    assert run(CONFIG["resource.customizations.health.yolo-operator.io_YoloServer"], body)["status"] == shown
    actions = yaml.safe_load(CONFIG["resource.customizations.actions.yolo-operator.io_YoloServer"])
    assert set(run(actions["discovery.lua"], body)) == {"restart"}
    (restart,) = actions["definitions"]
    assert run(restart["action.lua"], body)["spec"]["restartedAt"]
