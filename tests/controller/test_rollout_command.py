"""`yolo-operator rollout`, as a user runs it, against an API server."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_api_server import ApiServer

import gen
from yolo_operator import cli
from yolo_operator.commands.operator import ROLLOUT_VERBS
from yolo_operator.controller.cache import Key
from yolo_operator.controller.kinds import YOLO, Manifest

KEY = Key("factory", "helmet")
CANARY = {
    "phase": "Progressing",
    "reason": "CanaryStep",
    "message": "Version 2 at step 1 of 2 has 10 % of the traffic",
    "stable": 1,
    "canary": 2,
    "step": 1,
    "steps": 2,
    "weight": 10,
}
FAILED = {"phase": "Degraded", "reason": "AnalysisFailed", "reached": "2026-11-22T03:02:00Z"}
PASSED = {"step": 1, "weight": 10, "verdict": "Pass", "time": "2026-11-22T03:02:00Z", "requests": 120, "stableRequests": 1080, "errorRate": 0.005}
SERVING = {"phase": "Serving", "revision": "0123456789"}
VERSIONS = [
    {"version": 1, "weight": 90, "replicas": 9, "readyReplicas": 9} | SERVING,
    {"version": 2, "weight": 10, "replicas": 1, "readyReplicas": 1} | SERVING,
]


@pytest.fixture(autouse=True)
def kubeconfig(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads the variable only when it is imported."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", os.environ["KUBECONFIG"])


def put(api: ApiServer, state: Manifest | None = None, **rollout: Any) -> None:
    """A canary in the middle of its first step."""
    status = {"rollout": CANARY | (state or {}), "versions": VERSIONS}
    api.put(YOLO, gen.body(versions=[gen.version(1), gen.version(2)], rollout={"strategy": "Canary"} | rollout, status=status))


def rollout(api: ApiServer) -> Manifest:
    """spec.rollout, its strategy left out."""
    found = api.get(YOLO, KEY)
    assert found is not None
    return {name: value for name, value in found["spec"]["rollout"].items() if name != "strategy"}


def ends(*words: str) -> int:
    return cli.main(["rollout", *words, "helmet", "-n", "factory"])


@pytest.mark.parametrize("verb", ["promote", "retry"])
def test_a_version_that_failed_and_is_left_alone_can_be_promoted_and_retried(api: ApiServer, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    put(api, FAILED | {"stable": 2, "canary": 0, "step": 0, "weight": 0})
    assert ends(verb) == 0
    assert verb in rollout(api)
    assert "is not the canary" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("pause", {}, {"paused": True}),
        ("resume", {"paused": True}, {"paused": False}),
        ("promote", {}, {"promote": 2}),
        ("promote", {"abort": 2}, {"promote": 2}),
        ("promote", {"abort": 1}, {"promote": 2, "abort": 1}),
        ("abort", {"promote": 2}, {"abort": 2}),
        ("retry", {"retry": "Monday", "abort": 2}, {"retry": ...}),
    ],
)
def test_a_verb_sets_its_field_and_removes_what_contradicts_it(
    api: ApiServer, capsys: pytest.CaptureFixture[str], verb: str, before: Manifest, after: Manifest
) -> None:
    put(api, **before)
    assert ends(verb) == 0
    found = rollout(api)
    if verb == "retry":
        assert found.pop("retry").endswith("Z")
        after = {}
    assert found == after
    (write,) = api.writes()
    assert (write.method, write.query) == ("PATCH", {"fieldManager": "yolo-operator-cli"})
    assert capsys.readouterr().out.startswith("factory/helmet: spec.rollout.")


def test_another_version_may_be_named_before_it_is_the_canary(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    put(api)
    assert cli.main(["rollout", "abort", "helmet", "-n", "factory", "--version", "3"]) == 0
    assert rollout(api) == {"abort": 3}
    assert "Version 3 is not the canary" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "fields", "said"),
    [
        (FAILED, {}, "Version 2 is Degraded (AnalysisFailed): it begins anew, without steps and without an analysis"),
        (FAILED, {"promote": 2}, "Version 2 is Degraded (AnalysisFailed): spec.rollout.promote was set before, so it takes `yolo-operator rollout retry`"),
        ({"phase": "Degraded", "reason": "WrongAnswers", "step": 1}, {}, "this counts once what it lacks is there"),
        ({}, {"paused": True}, "only after `yolo-operator rollout resume`"),
    ],
)
def test_promote_says_what_it_waits_for(api: ApiServer, capsys: pytest.CaptureFixture[str], state: Manifest, fields: Manifest, said: str) -> None:
    put(api, state, **fields)
    assert ends("promote") == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["promote", "abort", "retry"])
def test_without_a_canary_nothing_is_written(api: ApiServer, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    put(api, {"phase": "Healthy", "canary": 0, "message": "Version 1 has all traffic"})
    assert ends(verb) == 2
    assert capsys.readouterr().err == "helmet has no canary now: Version 1 has all traffic\n"
    assert api.writes() == []


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort", "retry"])
def test_nor_with_another_strategy(api: ApiServer, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    api.put(YOLO, gen.body())
    assert ends(verb) == 2
    assert capsys.readouterr().err == "helmet has no canary: spec.rollout.strategy is Weighted\n"
    assert api.writes() == []


def test_status_shows_where_the_canary_is_and_what_was_measured(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    put(api, {"analyses": [PASSED]})
    assert ends("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "factory/helmet  Progressing  CanaryStep",
        "  Version 2 at step 1 of 2 has 10 % of the traffic",
        "  step 1 of 2, weight 10 %",
        "",
        "VERSION  ROLE    PHASE    WEIGHT  READY  REVISION",
        "1        stable  Serving  90 %    9/9    0123456789",
        "2        canary  Serving  10 %    1/1    0123456789",
        "",
        "Analysis of step 1, weight 10 %: Pass",
        "             NEW    STABLE",
        "  requests   120    1080",
        "  errorRate  0.005",
        "  pictures   0",
    ]


def test_status_without_a_canary_shows_the_versions(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "Every version serves", "lastTransitionTime": "2026-11-22T03:02:00Z"}
    api.put(YOLO, gen.body(status={"conditions": [ready], "versions": VERSIONS[:1]}))
    assert ends("status") == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["factory/helmet  Serving", "  Every version serves"]


def test_a_resource_that_has_not_been_looked_at_has_a_status_too(api: ApiServer) -> None:
    api.put(YOLO, gen.body())
    assert ends("status") == 0


def test_the_namespace_is_the_contexts(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(os.environ["KUBECONFIG"])
    assert cli.main(["rollout", "status", "helmet"]) == 1
    assert capsys.readouterr().err == "default/helmet: not found\n"
    put(api)
    kubeconfig = yaml.safe_load(path.read_text())
    kubeconfig["contexts"][0]["context"]["namespace"] = "factory"
    path.write_text(yaml.safe_dump(kubeconfig))
    assert cli.main(["rollout", "status", "helmet"]) == 0


def test_errors_are_one_sentence(api: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address, api.address = api.address, "http://127.0.0.1:1"
    api.kubeconfig(tmp_path)
    assert ends("pause") == 1
    said = capsys.readouterr().err
    assert said.startswith("The API server cannot be reached: ")
    assert said.count("\n") == 1
    api.address = address
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert ends("pause") == 2
    said = capsys.readouterr().err
    assert said.startswith("No cluster is known")
    assert said.count("\n") == 1


def test_it_explains_itself_and_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in [], *([verb] for verb in ROLLOUT_VERBS):
        with pytest.raises(SystemExit) as caught:
            cli.main(["rollout", *words, "--help"])
        assert caught.value.code == 0
        said = capsys.readouterr().out
        assert all(f" {verb} " in said for verb in ROLLOUT_VERBS) or words
        assert "NAMESPACE" in said or not words
