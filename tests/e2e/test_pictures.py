"""A picture's file to <model>-pictures is answered as Ultralytics answers it with the local weights: each task, and files of every kind."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster import PICTURES, WEIGHTS, Cluster, Manifest
from e2e.test_answers import TASKS, Client, client, weights
from yolo_operator.model.compare import LIMITS

__all__ = ["client", "weights"]
SCRIPT = Path(__file__).with_name("pictures_client.py")
ROWS = {**{task: {} for task in TASKS}, "detect at 320": {"imageSize": [320, 320]}, "segment, nms": {"nms": True}}


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


@pytest.mark.matrix
@pytest.mark.parametrize("title", ROWS)
def test_files_are_answered_as_the_local_weights_answer_them(
    cluster: Cluster, yolo: Callable[..., Manifest], client: Client, weights: Callable[[str], str], title: str
) -> None:
    task, name = title.replace(",", " ").split()[0], "pictures-" + "".join(letter for letter in title if letter.isalnum())
    export = ROWS[title]
    cluster.apply(resource(yolo, client.namespace, name, task, weights(task), export))
    status = cluster.wait_ready(client.namespace, name, timeout=600)["status"]
    cluster.kubectl("cp", "-n", client.namespace, str(SCRIPT), f"client:/tmp/{SCRIPT.name}")
    host = status["url"].rpartition("/")[0]
    size = {"imgsz": export["imageSize"], "rect": False} if "imageSize" in export else {}
    command = ["env", "PYTHONPATH=/opt/yolo-operator/lib:/tmp", "YOLO_CONFIG_DIR=/tmp/pictures", "python3", f"/tmp/{SCRIPT.name}", f"/tmp/{task}.pt", task]
    said = cluster.exec(client.namespace, "client", *command, f"{host}/v2/models/model-pictures", json.dumps(size), timeout=900)
    cluster.kubectl("delete", "yolodeployment", "-n", client.namespace, name, "--wait=false")

    seen = json.loads(said.strip().splitlines()[-1])
    print(title, seen)
    assert seen["detections"] >= len(PICTURES)
    assert seen["unlike"] == []
    assert seen["worstIoU"] >= LIMITS["FP32"][0]
    assert seen["worstMaskIoU"] >= LIMITS["FP32"][0]
    assert max(seen["worstScoreDifference"], seen["worstKeypoint"]) <= LIMITS["FP32"][1]


def test_curl_alone_is_enough_and_a_second_revision_takes_over_the_weights(
    cluster: Cluster, yolo: Callable[..., Manifest], client: Client, weights: Callable[[str], str]
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
    line = f"""printf '{{"picture":"%s"}}' "$(base64 -w0 {picture})" | curl -s -d @- {url}/generate"""
    answer = json.loads(subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout)
    assert answer["count"] == 0 or answer["labels"]
    raw = subprocess.run(
        ["curl", "-s", "-H", "Inference-Header-Content-Length: 0", "--data-binary", f"@{picture}", f"{url}/infer"], capture_output=True, check=True
    )
    assert b'"name":"boxes"' in raw.stdout
    refused = subprocess.run(
        ["curl", "-s", "-H", "Inference-Header-Content-Length: 0", "--data-binary", "hello", f"{url}/infer"], capture_output=True, check=True
    )
    assert json.loads(refused.stdout)["error"].startswith("the picture is no JPEG, PNG or WebP file")
