"""A picture's file to <model>-pictures is answered as Ultralytics answers it with the local weights: each task, and files of every kind."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import PICTURES, WEIGHTS, Cluster, Manifest
from e2e.rows import ahead
from e2e.test_answers import TASKS, Client, client, weights
from yolo_operator.model.compare import LIMITS

__all__ = ["client", "weights"]
SCRIPT = Path(__file__).with_name("pictures_client.py")
ROWS = {**{task: {} for task in TASKS}, "detect at 320": {"imageSize": [320, 320]}, "segment, nms": {"nms": True}}


GUIDE = Path(__file__).parents[2] / "docs" / "pictures.md"
COMMANDS = {"python": (sys.executable, "client.py"), "go": ("go", "run", "client.go"), "javascript": ("node", "client.mjs")}
"""How a snippet of the guide is run; the last word is its file."""


def snippet(language: str, address: str, folder: Path) -> list[str]:
    """The labels that the guide's lines in a language print of bus.jpg."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    command = COMMANDS[language]
    (folder / command[-1]).write_text(code.replace("helmet.factory.svc", address).replace("helmet-pictures", "model-pictures"))
    (folder / "bus.jpg").write_bytes((WEIGHTS / "bus.jpg").read_bytes())
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    return [line.partition(" [")[0] for line in done.stdout.splitlines()]


def generated(address: str) -> dict[str, Any]:
    """What curl prints of bus.jpg, as the guide has it."""
    line = f"""printf '{{"picture":"%s"}}' "$(base64 -w0 {WEIGHTS / "bus.jpg"})" | curl -s -d @- http://{address}:8000/v2/models/model-pictures/generate"""
    answer: dict[str, Any] = json.loads(subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout)
    return answer


def resource(yolo: Callable[..., Manifest], namespace: str, name: str, task: str, source: str, export: Manifest) -> Manifest:
    return yolo(
        namespace,
        name,
        task=task,
        modelName="model",
        versions=[{"version": 1, "source": {"uri": source}, "export": export}],
        triton={"maxBatchSize": 4, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
        pictures={"enabled": True},
    )


def parts(title: str) -> tuple[str, str, Manifest]:
    """Task, resource's name and spec.versions[].export of a row."""
    return title.replace(",", " ").split()[0], "pictures-" + "".join(letter for letter in title if letter.isalnum()), ROWS[title]


@pytest.fixture(scope="module")
def apply(cluster: Cluster, yolo: Callable[..., Manifest], client: Client, weights: Callable[[str], str]) -> Callable[[str], None]:
    """Applies the resource of a row, once."""

    def once(title: str) -> None:
        task, name, export = parts(title)
        cluster.apply(resource(yolo, client.namespace, name, task, weights(task), export))

    return functools.cache(once)


@pytest.fixture
def title(cluster: Cluster, client: Client, apply: Callable[[str], None], request: pytest.FixtureRequest) -> Iterator[str]:
    """The test's row, whose resource is there until the test ends; the next one's is built meanwhile."""
    rows: list[str] = ahead(request, "title", 1)
    for each in rows:
        apply(each)
    yield rows[0]
    cluster.kubectl("delete", "yolodeployment", "-n", client.namespace, parts(rows[0])[1], "--wait=false")


@pytest.mark.matrix
@pytest.mark.parametrize("title", ROWS, indirect=True)
def test_files_are_answered_as_the_local_weights_answer_them(cluster: Cluster, client: Client, title: str) -> None:
    task, name, export = parts(title)
    status = cluster.wait_ready(client.namespace, name, timeout=600)["status"]
    cluster.kubectl("cp", "-n", client.namespace, str(SCRIPT), f"client:/tmp/{SCRIPT.name}")
    host = status["url"].rpartition("/")[0]
    size = {"imgsz": export["imageSize"], "rect": False} if "imageSize" in export else {}
    command = ["env", "PYTHONPATH=/opt/yolo-operator/lib:/tmp", "YOLO_CONFIG_DIR=/tmp/pictures", "python3", f"/tmp/{SCRIPT.name}", f"/tmp/{task}.pt", task]
    said = cluster.exec(client.namespace, "client", *command, f"{host}/v2/models/model-pictures", json.dumps(size), timeout=900)

    seen = json.loads(said.strip().splitlines()[-1])
    print(title, seen)
    assert seen["detections"] >= len(PICTURES)
    assert seen["unlike"] == []
    assert seen["worstIoU"] >= LIMITS["FP32"][0]
    assert seen["worstMaskIoU"] >= LIMITS["FP32"][0]
    assert max(seen["worstScoreDifference"], seen["worstKeypoint"]) <= LIMITS["FP32"][1]


def test_curl_alone_is_enough_and_a_second_revision_takes_over_the_weights(
    cluster: Cluster, yolo: Callable[..., Manifest], client: Client, weights: Callable[[str], str], tmp_path: Path
) -> None:
    made = resource(yolo, client.namespace, "curl", "detect", weights("detect"), {})
    cluster.apply(made | {"spec": made["spec"] | {"pictures": {}}})
    before = cluster.wait_ready(client.namespace, "curl", timeout=600)["status"]["versions"][0]
    cluster.apply(made)
    cluster.wait("pictures to be served", lambda: cluster.yolo(client.namespace, "curl")["status"]["versions"][0]["revision"] != before["revision"])
    after = cluster.wait_ready(client.namespace, "curl", timeout=600)["status"]["versions"][0]
    assert after["artifact"]["onnxSha256"] == before["artifact"]["onnxSha256"]

    pods = cluster.list("pods", client.namespace, "yolo-operator.io/deployment=curl,app.kubernetes.io/component=triton")
    (pod,) = [pod for pod in pods if pod["metadata"]["labels"]["yolo-operator.io/revision"] == after["revision"]]
    picture = WEIGHTS / "bus.jpg"
    url = f"http://{pod['status']['podIP']}:8000/v2/models/model-pictures"
    answer = generated(pod["status"]["podIP"])
    assert answer["count"] == len(answer["labels"]) > 1
    for language in COMMANDS:
        least = 0.4 if language == "python" else 0.25
        expected = [label for label, score in zip(answer["labels"], answer["scores"], strict=True) if score > least]
        assert snippet(language, pod["status"]["podIP"], tmp_path) == expected, language
    raw = subprocess.run(
        ["curl", "-s", "-H", "Inference-Header-Content-Length: 0", "--data-binary", f"@{picture}", f"{url}/infer"], capture_output=True, check=True
    )
    assert b'"name":"boxes"' in raw.stdout
    refused = subprocess.run(
        ["curl", "-s", "-H", "Inference-Header-Content-Length: 0", "--data-binary", "hello", f"{url}/infer"], capture_output=True, check=True
    )
    assert json.loads(refused.stdout)["error"].startswith("the picture is no JPEG, PNG or WebP file")


@pytest.mark.matrix
def test_a_pod_whose_decoder_was_killed_is_restarted(cluster: Cluster, yolo: Callable[..., Manifest], client: Client, weights: Callable[[str], str]) -> None:
    cluster.apply(resource(yolo, client.namespace, "killed", "detect", weights("detect"), {}))
    cluster.wait_ready(client.namespace, "killed", timeout=600)

    def server() -> Manifest:
        (pod,) = cluster.list("pods", client.namespace, "yolo-operator.io/deployment=killed,app.kubernetes.io/component=triton")
        (status,) = pod["status"]["containerStatuses"]
        return status | {"name": pod["metadata"]["name"], "ip": pod["status"]["podIP"]}

    kill = "kill -9 $(grep -las 'model[-]pictures' /proc/[0-9]*/cmdline | cut -d/ -f3 | head -1)"
    cluster.exec(client.namespace, server()["name"], "bash", "-c", kill)
    cluster.wait("a restart", lambda: server()["restartCount"], 60, lambda: json.dumps(server()))
    cluster.wait("the new server", lambda: server()["ready"], 90, lambda: json.dumps(server()))
    assert generated(server()["ip"])["count"] > 1
    cluster.kubectl("delete", "yolodeployment", "-n", client.namespace, "killed", "--wait=false")
