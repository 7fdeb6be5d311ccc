"""`yolo-operator run` as a process of its own, before an API server: how its parts are wired, what it tells, how it ends."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_api_server import TOKEN, ApiServer
from prometheus_client.parser import text_string_to_metric_families

import gen
from http_server import free_port
from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Key
from yolo_operator.core import names

KEY, LEASE = Key("factory", "helmet"), Key("operators", "yolo-operator")
QUICK = {"yolo_operator.controller.resync.GRACE_SECONDS": 0.1}
DOCUMENTED = re.compile(r"^\| `(yolo_operator_\w+?)(?:\{([\w,]+)\})?` \|", re.MULTILINE)


class Process:
    """The operator. `constants` are set before it runs, as module=value, so that a test need not wait for minutes."""

    def __init__(self, directory: Path, constants: dict[str, float], environment: dict[str, str]) -> None:
        self.port = free_port()
        self.log = directory / "stderr"
        settings = {"PORT": str(self.port), "ADDRESS": "127.0.0.1", "IDENTITY": "me"} | environment
        code = "".join(f"import {name.rpartition('.')[0]}; {name} = {value}\n" for name, value in constants.items())
        with self.log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{code}import sys; from yolo_operator.cli import main; sys.exit(main(['run']))"],
                env=os.environ | {f"YOLO_OPERATOR_{name}": value for name, value in settings.items()},
                stderr=stderr,
            )

    def get(self, path: str) -> tuple[int, str]:
        """Code and body; 0 where nobody listens yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def until(self, reached: Callable[[], object]) -> None:
        """Wait for something to come true while the process runs."""
        deadline = time.monotonic() + 60
        while not reached():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged: every line is a JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def ended(self) -> int:
        return self._process.wait(timeout=60)

    def told_to_end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def killed(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def running(api: ApiServer, tmp_path: Path) -> Callable[..., Process]:
    """Starts operators, and ends them with the test."""

    @contextmanager
    def start(constants: dict[str, float] | None = None, **environment: str) -> Iterator[Process]:
        process = Process(tmp_path, constants or {}, environment)
        try:
            yield process
        finally:
            process.killed()

    return start


def lease(api: ApiServer, holder: str) -> None:
    """The Lease, as its holder writes it."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-11-22T03:00:00.000000Z"}
    api.put(kinds.LEASE, {"metadata": {"name": LEASE.name, "namespace": LEASE.namespace}, "spec": spec})


def holder(api: ApiServer) -> str:
    found = api.get(kinds.LEASE, LEASE)
    return found["spec"]["holderIdentity"] if found else ""


def building(api: ApiServer) -> bool:
    """A pass has gone through: there is a build Job, and the status says so."""
    body = api.get(kinds.YOLO, KEY) or {}
    conditions = {condition["type"]: condition["reason"] for condition in body.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "Building" and bool(api.objects["jobs"])


def documented() -> dict[str, set[str]]:
    """The metrics of docs/operations.md, and their labels."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    return {name: set(filter(None, labels.split(","))) for name, labels in DOCUMENTED.findall(text)}


def exposed(process: Process) -> dict[str, set[str]]:
    """The operator's own metrics at /metrics as Prometheus stores them, and the labels of those that have a value."""
    families = [family for family in text_string_to_metric_families(process.get("/metrics")[1]) if family.name.startswith("yolo_operator_")]
    names = {family.name + ("_total" if family.type == "counter" else ""): family for family in families if not family.name.endswith("_created")}
    return {name: {label for sample in family.samples for label in sample.labels} - {"le"} for name, family in names.items()}


def value(process: Process, name: str, **labels: str) -> float:
    """The value of a metric at /metrics; 0 where it has none."""
    for family in text_string_to_metric_families(process.get("/metrics")[1]):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return float(sample.value)
    return 0.0


def test_from_a_resource_to_its_children_and_a_clean_end(running, api):
    source = {"uri": "https://weights.example/helmet.pt?X-Amz-Signature=hunter2"}
    with running(constants=QUICK, RESYNC_SECONDS="0.3", LEASE_NAMESPACE="operators", LOG_LEVEL="DEBUG") as process:
        process.until(api.watches)
        assert holder(api) == "me"
        api.put(kinds.YOLO, gen.body(versions=[gen.version(source=source)]))
        process.until(lambda: building(api))
        process.until(lambda: value(process, "yolo_operator_reconciles_total", result="ok") > 0)
        assert value(process, "yolo_operator_resources", condition="Ready", status="False") == 1
        assert value(process, "yolo_operator_reconciles_total", result="error") == 0
        api.mute = True
        api.put(kinds.YOLO, gen.body(replicas="many"))
        process.until(lambda: value(process, "yolo_operator_errors_total", reason="InvalidSpec") > 0)
        assert value(process, "yolo_operator_reconciles_total", result="error") > 0
        assert exposed(process) == documented()
        assert process.told_to_end() == 0
    assert holder(api) == "", "released"
    assert {request.query["fieldManager"] for request in api.writes() if request.method == "PATCH"} == {"yolo-operator"}
    lines = process.lines()
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    assert {(line["namespace"], line["resource"]) for line in lines if line["message"] == "reconciled"} == {KEY[:2]}
    assert lines[-1]["message"] == "stopped"
    said = process.log.read_text() + json.dumps([*api.objects["events"].values(), api.get(kinds.YOLO, KEY)["status"]])
    assert TOKEN not in said
    assert "hunter2" not in said


def test_the_lease_decides_who_acts(running, api):
    lease(api, "other")
    api.put(kinds.YOLO, gen.body())
    with running(LEASE_NAMESPACE="operators") as process:
        process.until(lambda: len(api.requests) > 1)
        assert process.get("/healthz") == (200, "ok\n"), "who waits is well"
        assert "yolo_operator_resources{" not in process.get("/metrics")[1]
        assert {(request.method, request.path) for request in api.requests} == {("GET", kinds.LEASE.path(*LEASE[:2]))}
        lease(api, "")
        process.until(lambda: building(api))
        assert holder(api) == "me"
        lease(api, "other")
        assert process.ended() == 1, "to be started anew"
    assert process.lines()[-1]["message"] == "ending: Lease operators/yolo-operator is held by another"
    assert "Traceback" not in process.log.read_text()
    assert holder(api) == "other", "not released for it"


def test_what_is_wrong_is_said_at_healthz_until_it_is_over(running, api):
    constants = QUICK | {"yolo_operator.controller.operator.STUCK_SECONDS": 0.3}
    with running(constants, RESYNC_SECONDS="0.1", NAMESPACES="factory,lab") as process:
        process.until(api.watches)
        process.until(lambda: process.get("/healthz") == (200, "ok\n"))
        api.mute, numbers = True, itertools.count()

        def missed_again() -> bool:
            for _ in range(3):
                api.put(kinds.SERVICE, child(f"missed-{next(numbers)}"))
            return process.get("/healthz") == (503, "the watch of Service shows nothing any more\n")

        process.until(missed_again)
        api.mute = False
        process.until(lambda: process.get("/healthz") == (200, "ok\n"))

        api.writable.clear()
        api.put(kinds.YOLO, gen.body())
        process.until(lambda: process.get("/healthz") == (503, "a pass has been running for more than 0.3 s\n"))
        api.writable.set()
        process.until(lambda: process.get("/healthz") == (200, "ok\n"))

        api.writable.clear()
        api.put(kinds.YOLO, gen.body(name="vest"))
        process.until(lambda: process.get("/healthz")[0] == 503)
        assert process.told_to_end() == 0, "a stuck pass does not hold up the end"
    assert all(re.search("/namespaces/(factory|lab)/", request.path) for request in (*api.lists(), *api.watches()))


def child(name: str) -> dict[str, Any]:
    labels = {names.MANAGED_BY: names.FIELD_MANAGER, names.OWNER: "helmet"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "factory", "labels": labels}}


def test_without_its_crd_it_ends_and_says_what_to_do(running, api):
    del api.objects[kinds.YOLO.plural]
    with running() as process:
        assert process.ended() == 1
    assert process.lines()[-1]["message"] == "ending: yolodeployments.yolo-operator.io is not installed: install the chart, or apply crds/ and start again"


@pytest.mark.parametrize(("name", "content"), [("absent", None), ("empty", "")])
def test_without_a_cluster_it_ends_and_says_what_to_do(running, api, monkeypatch, tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with running() as process:
        assert process.ended() == 1
    assert process.lines()[-1]["message"].startswith("ending: no cluster to connect to: outside of a Pod KUBECONFIG must name a kubeconfig (")
