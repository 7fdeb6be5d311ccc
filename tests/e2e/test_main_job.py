"""The main job: other people's weights, applied, exported, published, served, verified, and asked by the unmodified client."""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, example, given, settings

import hostile
from e2e.architectures import architecture
from e2e.cluster import Cluster, Manifest
from e2e.conftest import make_namespace, remove_namespace
from e2e.operator_process import OperatorProcess
from e2e.storage import Storage
from yolo_operator.core.triton import metadata
from yolo_operator.core.triton.config import configure
from yolo_operator.core.triton.description import Description
from yolo_operator.worker import pbtxt
from yolo_values import description, serving

HOSTILE_SCRIPT = Path(__file__).with_name("hostile_client.py")
HOSTILE = 100
"""Hostile exports that the client is shown."""
TASKS = ("detect", "segment", "pose", "obb", "classify")
ASKED = ("detect", "classify")
"""Tasks that test_answers.py has the client ask each time."""
SIZES = {"classify": [224, 224]}


@pytest.fixture(scope="module")
def client(cluster: Cluster, client_pod: Callable[[str], None]) -> Iterator[str]:
    """The namespace of a Pod with the unmodified Ultralytics client."""
    namespace = make_namespace(cluster, "client")
    client_pod(namespace)
    yield namespace
    remove_namespace(cluster, namespace)


@pytest.mark.parametrize("task", [pytest.param(task, marks=pytest.mark.matrix if task in ASKED else ()) for task in TASKS])
def test_every_task_goes_from_an_architecture_to_verified_answers(cluster: Cluster, every_task: str, task: str) -> None:
    status = cluster.wait_ready(every_task, task, timeout=400)["status"]

    assert status["task"] == task
    assert status["versions"][0]["artifact"]["imageSize"] == SIZES.get(task, [320, 320])
    assert status["versions"][0]["verified"], "no answer was checked"


@pytest.fixture(scope="module")
def every_task(
    cluster: Cluster,
    storage: Storage,
    operator: OperatorProcess,
    architectures: dict[str, bytes],
    yolo: Callable[..., Manifest],
    request: pytest.FixtureRequest,
) -> Iterator[str]:
    """A namespace with one resource per task that is asked for, all under way at once: their start-up overlaps, the machine's cores they share."""
    namespace = make_namespace(cluster, "tasks")
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    for task in {item.callspec.params["task"] for item in items if "weights" not in item.callspec.params}:
        source = storage.put("weights", f"yolo11n-{task}.yaml", architectures[task])
        version = {"version": 1, "source": {"uri": source}, "export": {"imageSize": SIZES.get(task, [320, 320])}}
        cluster.apply(yolo(namespace, task, task=task, versions=[version]))
    yield namespace
    remove_namespace(cluster, namespace)


@pytest.fixture(scope="module")
def architectures(cluster: Cluster, client: str) -> dict[str, bytes]:
    """Ultralytics' own architecture files."""
    suffixes = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
    return {task: architecture(cluster, client, f"11/yolo11{suffix}.yaml").encode() for task, suffix in suffixes.items()}


def test_metadata_of_a_hostile_export_stays_text_in_the_client(cluster: Cluster, client: str, tmp_path: Path) -> None:
    descriptions = hostile_descriptions()
    configs = [json_format.MessageToDict(pbtxt.message(configure(each, serving())), preserving_proto_field_name=True) for each in descriptions]
    # The last shows that an escape would be seen.
    escaped = configs[-1] | {"parameters": {"metadata": {"string_value": hostile.SCRIPT}}}
    lines = tmp_path / "configs"
    lines.write_text("\n".join(map(json.dumps, [*configs, escaped])))
    for path in (HOSTILE_SCRIPT, lines):
        cluster.kubectl("cp", "-n", client, str(path), f"client:/tmp/{path.name}")

    printed = cluster.exec(client, "client", "python3", "/tmp/hostile_client.py", "/tmp/configs")

    ours, older = json.loads(printed.strip().splitlines()[-1])
    wanted = [metadata.metadata(each, "Dynamic") | {"dynamic": True} for each in descriptions]
    for found in (ours, older):
        assert [ast.literal_eval(text) for text in found["made"][:-1]] == wanted
    assert (ours["commands"], ours["made"][-1]) == ([], "ValueError")
    assert len(older["commands"]) == 1
    assert hostile.MARK in older["commands"][0]


def hostile_descriptions() -> list[Description]:
    """The same each time."""
    found = []

    @settings(max_examples=HOSTILE, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(hostile.NAMES, hostile.METADATA)
    @example(["bus"], dict.fromkeys(hostile.EVALUATED, hostile.SCRIPT))
    def collect(names: list[str], said: dict[str, Any]) -> None:
        # Ultralytics takes such a first name for one of ImageNet's codes, local weights' as well.
        if not names[0].startswith("n0"):
            found.append(description(names=names, metadata=said))

    collect()
    return found
