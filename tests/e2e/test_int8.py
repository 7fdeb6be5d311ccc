"""INT8 by calibration, from apply to served answers: what it loses is in the status, and a calibration that spoils the model serves nothing."""

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.cluster import PICTURES, WEIGHTS, Cluster, Manifest
from e2e.conftest import make_namespace, remove_namespace
from e2e.storage import Storage

SCRIPTS = [Path(__file__).with_name(name) for name in ("calibration_pictures.py", "detections_of.py")]
COUNT = 32
DETECT = "goldmine-detect.pt"


@pytest.fixture(scope="module")
def client(cluster: Cluster, client_pod: Callable[[str], None]) -> Iterator[Callable[..., str]]:
    """Runs a script in a Pod with Ultralytics' client, OpenCV, the photographs and the detect weights; gives its last line."""
    namespace = make_namespace(cluster, "int8-client")
    client_pod(namespace)
    for path in (*SCRIPTS, *(WEIGHTS / name for name in (*PICTURES, DETECT))):
        cluster.kubectl("cp", "-n", namespace, str(path), f"client:/tmp/{path.name}")

    def run(script: str, *arguments: str) -> str:
        printed = cluster.exec(namespace, "client", "python3", f"/tmp/{script}", *arguments)
        return printed.strip().splitlines()[-1] if printed.strip() else ""

    run.namespace = namespace  # type: ignore[attr-defined]
    yield run
    remove_namespace(cluster, namespace)


@pytest.fixture(scope="module")
def pictures(client: Callable[..., str], storage: Storage) -> Callable[[str], str]:
    """Puts a kind of pictures into the storage; gives their prefix."""
    photographs = [f"/tmp/{name}" for name in PICTURES]

    def put(kind: str) -> str:
        packed = client("calibration_pictures.py", kind, "-", str(COUNT), *photographs)
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as archive:
            for name in archive.namelist():
                storage.put("weights", f"calibration/{kind}/{name}", archive.read(name))
        return f"s3://weights/calibration/{kind}"

    return put


def calibrated(source: str, pictures: str, **export: object) -> dict[str, object]:
    return {"versions": [{"version": 1, "source": {"uri": source}, "export": {"calibration": {"pictures": pictures}, **export}}]}


def test_a_detector_is_quantized_and_served_near_fp32(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], client: Callable[..., str], pictures: Callable[[str], str]
) -> None:
    cluster.apply(yolo(namespace, task="detect", **calibrated(f"s3://weights/{DETECT}", pictures("crops"))))

    status = cluster.wait_ready(namespace, "model", timeout=600)["status"]

    (version,) = status["versions"]
    loss = version["artifact"]["quantization"]
    assert (loss["pictures"], loss["calibrationPictures"]) == (COUNT // 4, COUNT * 3 // 4)
    assert loss["detections"] > 20, "the pictures show nothing: the comparison would be empty"
    assert loss["agreement"] >= 0.8
    assert loss["sizeBytes"] < loss["sizeBytesFloat"] * 0.4
    assert version["artifact"]["reference"] == "onnxruntime"
    assert version["verified"], "no answer was checked"
    for url in (status["url"], status["grpcUrl"]):
        found = json.loads(client("detections_of.py", f"/tmp/{DETECT}", "detect", url, *(f"/tmp/{name}" for name in PICTURES)))
        assert found["local"] > 5, "the pictures show nothing: the comparison would be empty"
        assert found["shared"] >= 0.7 * found["local"], found
        assert found["shared"] >= 0.7 * found["remote"], found


@pytest.mark.matrix
def test_a_classifier_is_quantized_and_served_near_fp32(
    cluster: Cluster,
    namespace: str,
    yolo: Callable[..., Manifest],
    client: Callable[..., str],
    pictures: Callable[[str], str],
    storage: Storage,
    tmp_path: Path,
) -> None:
    client("calibration_pictures.py", "classifier", "/tmp/patterns-classify.pt")
    weights = tmp_path / "patterns-classify.pt"
    cluster.kubectl("cp", "-n", client.namespace, "client:/tmp/patterns-classify.pt", str(weights))  # type: ignore[attr-defined]
    cluster.apply(yolo(namespace, task="classify", **calibrated(storage.put("weights", weights.name, weights), pictures("patterns"))))

    status = cluster.wait_ready(namespace, "model", timeout=600)["status"]

    loss = status["versions"][0]["artifact"]["quantization"]
    assert loss["detections"] == loss["pictures"] == COUNT // 4
    assert loss["agreement"] >= 0.8
    assert loss["sizeBytes"] < loss["sizeBytesFloat"] * 0.4
    client("calibration_pictures.py", "patterns", "/tmp/asked", "12")
    asked = [f"/tmp/asked/{number:03}.jpg" for number in range(12)]
    found = json.loads(client("detections_of.py", "/tmp/patterns-classify.pt", "classify", status["url"], *asked))
    assert found["local"] == len(asked)
    assert found["shared"] >= 0.9 * found["local"], found


@pytest.mark.matrix
def test_a_calibration_that_spoils_the_model_is_refused(
    cluster: Cluster, namespace: str, yolo: Callable[..., Manifest], pictures: Callable[[str], str]
) -> None:
    """It was calibrated in the dark, and is compared by day."""
    cluster.apply(yolo(namespace, task="detect", **calibrated(f"s3://weights/{DETECT}", pictures("black"))))

    found = cluster.wait_condition(namespace, "model", "Stalled", "True", "QuantizationLoss", timeout=600)

    (ready,) = [each for each in found["status"]["conditions"] if each["type"] == "Ready"]
    assert ready["reason"] == "QuantizationLoss"
    assert "minAgreement is 0.8" in ready["message"]
    assert found["status"]["versions"][0].get("artifact") is None, "published all the same"
    assert cluster.list("deployments", namespace) == []


@pytest.mark.matrix
def test_pictures_that_are_not_there_name_the_field(cluster: Cluster, namespace: str, yolo: Callable[..., Manifest]) -> None:
    cluster.apply(yolo(namespace, task="detect", **calibrated(f"s3://weights/{DETECT}", "s3://weights/calibration/none")))

    def message() -> str:
        conditions = cluster.yolo(namespace, "model").get("status", {}).get("conditions", [])
        return next((each["message"] for each in conditions if each["type"] == "Ready" and each["reason"] == "SourceNotFound"), "")

    assert "spec.versions[].export.calibration.pictures" in cluster.wait("the reason", message)
