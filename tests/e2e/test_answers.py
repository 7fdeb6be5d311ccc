"""What the unmodified Ultralytics client finds behind a URL is what it finds with the weights: each task, image size and kind of shapes.

Both sides are called as anybody would call them. Where pictures are of one size the client pads them to it; so do the local weights with rect=False.
"""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import PICTURES, WEIGHTS, Cluster, Manifest
from e2e.conftest import make_namespace, remove_namespace
from e2e.rows import ahead
from e2e.storage import Storage
from yolo_operator.model.compare import LIMITS

SCRIPT = Path(__file__).with_name("answers_client.py")
TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
OWN = "the task's own"
SIZES = {OWN: None, "320": [320, 320], "640": [640, 640], "1280": [1280, 1280], "384x640": [384, 640]}
CLIENTS = {"8.4.190": "/opt/yolo-operator/lib", "8.3.138": "/opt/oldest-client"}
"""Releases of Ultralytics, and where the client Pod has them: the present one, and the oldest that docs/serving.md promises."""
OTHERS = {"detect": "goldmine-detect.pt", "obb": "fibrils-obb.pt"}
"""Weights that other people trained."""
LEAN = {"nms": True, "inputDatatype": "FP16"}
"""What makes requests and answers small (docs/serving.md, Lean on the wire)."""
QUICK = {("detect", "320", "Fixed"), ("detect", "640", "lean"), ("classify", OWN, None), ("pose", "384x640", "Dynamic")}
"""Rows that make test runs too: Fixed, Dynamic with NMS in the graph, a classifier, a refusal."""

AHEAD = 2
"""Rows applied before their turn."""


@dataclass(frozen=True)
class Row:
    task: str
    size: str
    shapes: str | None
    """As spec.versions[].export.shapes has it."""
    lean: bool = False

    @property
    def name(self) -> str:
        return f"{self.task}-{self.size.replace(' ', '-').replace(chr(39), '')}-{'lean' if self.lean else self.shapes or 'default'}".lower()

    @property
    def image_size(self) -> list[int]:
        return SIZES[self.size] or ([224, 224] if self.task == "classify" else [640, 640])

    @property
    def right_with_dynamic(self) -> bool:
        return self.task != "classify" and self.image_size == [640, 640]

    @property
    def served(self) -> str:
        """Shapes that it ends with."""
        return self.shapes or ("Dynamic" if self.right_with_dynamic else "Fixed")

    @property
    def title(self) -> str:
        return f"{self.task}, {self.size}, " + ("nms and FP16 requests" if self.lean else f"{self.shapes or 'default'} shapes")

    @property
    def limits(self) -> tuple[float, float]:
        """Least IoU and largest score difference, of the precision: yolo_operator/model/compare.py."""
        return LIMITS["FP16" if self.lean else "FP32"]

    @property
    def local(self) -> Manifest:
        """Arguments of YOLO(weights).predict for the same picture.

        Random weights answer 9 to 13 of some hundred detections otherwise, with PyTorch alone, where pixels are rounded to FP16; so both sides get them so.
        """
        same = {} if self.size == OWN else {"imgsz": self.image_size}
        rounded = {"rounded": True} if self.lean and self.task not in OTHERS else {}
        return same | rounded | ({"rect": False} if self.served == "Fixed" and self.task != "classify" else {})


ROWS = [Row(task, size, shapes) for task in TASKS for size in SIZES for shapes in ((None,) if size == OWN else ("Fixed", "Dynamic"))]
ROWS += [Row(task, size, None, lean=True) for task in TASKS for size in ("640", "320") if task != "classify"]


def parameters(rows: list[Row]) -> list[Any]:
    return [
        pytest.param(row, id=row.name, marks=() if (row.task, row.size, "lean" if row.lean else row.shapes) in QUICK else pytest.mark.matrix) for row in rows
    ]


@pytest.fixture(scope="module")
def client(cluster: Cluster, client_pod: Callable[[str], None]) -> Iterator["Client"]:
    """A Pod with the unmodified client, in a namespace of its own."""
    namespace = make_namespace(cluster, "answers")
    client_pod(namespace)
    for path in (SCRIPT, *(WEIGHTS / name for name in PICTURES)):
        cluster.kubectl("cp", "-n", namespace, str(path), f"client:/tmp/{path.name}")
    yield Client(cluster, namespace)
    remove_namespace(cluster, namespace)


@dataclass
class Client:
    """Calls answers_client.py in the Pod."""

    cluster: Cluster
    namespace: str

    def run(self, *arguments: str, version: str = "8.4.190") -> str:
        # Settings of one release are none of the other's.
        environment = ["env", f"PYTHONPATH={CLIENTS[version]}", f"YOLO_CONFIG_DIR=/tmp/{version}"]
        return self.cluster.exec(self.namespace, "client", *environment, "python3", f"/tmp/{SCRIPT.name}", *arguments, timeout=900)

    def compare(self, row: Row, url: str, grpc_url: str) -> dict[tuple[str, str], Manifest]:
        """The served model, by protocol and release of the client, with what the local weights find by the present one.

        Of the older client one protocol is enough: it differs in what it does with the metadata.
        """
        present, oldest = CLIENTS
        answers = self.run("ask", f"/tmp/{row.task}.pt", row.task, "/tmp/local", json.dumps(row.local), url, grpc_url, version=present)
        over_http, over_grpc = (json.loads(line) for line in answers.splitlines() if line.startswith("{"))
        by_oldest = self.run("compare", row.task, "/tmp/local", url, version=oldest)
        return {("HTTP", present): over_http, ("gRPC", present): over_grpc, ("HTTP", oldest): json.loads(by_oldest.strip().splitlines()[-1])}


@pytest.fixture(scope="module")
def weights(cluster: Cluster, storage: Storage, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Uploads the weights of a task, of other people where there are any, and gives their URI; the client Pod has them as TASK.pt."""
    folder = tmp_path_factory.mktemp("weights")
    made: dict[str, str] = {}

    def upload(task: str) -> str:
        if task not in made:
            path = WEIGHTS / OTHERS[task] if task in OTHERS else folder / f"made-{task}.pt"
            if task in OTHERS:
                cluster.kubectl("cp", "-n", client.namespace, str(path), f"client:/tmp/{task}.pt")
            else:
                client.run("weights", f"yolo11n{TASKS[task]}.yaml", task, f"/tmp/{task}.pt")
                cluster.kubectl("cp", "-n", client.namespace, f"client:/tmp/{task}.pt", str(path))
            made[task] = storage.put("weights", f"answers-{task}.pt", path)
        return made[task]

    return upload


def resource(yolo: Callable[..., Manifest], row: Row, namespace: str, source: str) -> Manifest:
    export = (
        ({} if SIZES[row.size] is None else {"imageSize": SIZES[row.size]})
        | ({} if row.shapes is None else {"shapes": row.shapes})
        | (LEAN if row.lean else {})
    )
    return yolo(
        namespace,
        row.name,
        task=row.task,
        modelName="model",
        versions=[{"version": 1, "source": {"uri": source}, "export": export}],
        triton={"maxBatchSize": 4, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
    )


@pytest.fixture(scope="module")
def apply(cluster: Cluster, yolo: Callable[..., Manifest], client: Client, weights: Callable[[str], str]) -> Callable[[Row], None]:
    """Applies the resource of a row, once."""
    return functools.cache(lambda row: cluster.apply(resource(yolo, row, client.namespace, weights(row.task))))


@pytest.fixture
def row(cluster: Cluster, client: Client, apply: Callable[[Row], None], request: pytest.FixtureRequest) -> Iterator[Row]:
    """The test's row, whose resource is there until the test ends; those of the next few are built meanwhile."""
    rows: list[Row] = ahead(request, "row", AHEAD)
    for each in rows:
        apply(each)
    yield rows[0]
    cluster.kubectl("delete", "yolodeployment", "-n", client.namespace, rows[0].name, "--wait=false")


@pytest.mark.parametrize("row", parameters([row for row in ROWS if row.served == "Fixed" or row.right_with_dynamic]), indirect=True)
def test_the_client_finds_what_the_local_weights_find(cluster: Cluster, client: Client, row: Row, record_property: Callable[[str, str], None]) -> None:
    status = cluster.wait_ready(client.namespace, row.name, timeout=600)["status"]
    taken = status["versions"][0]["artifact"]["inputs"][0]["shape"][2:]
    assert taken == ([-1, -1] if row.served == "Dynamic" else row.image_size)

    found = client.compare(row, status["url"], status["grpcUrl"])

    for who, seen in found.items():
        assert seen["detections"] >= len(PICTURES), f"{who}: the pictures show nothing, the comparison would be empty"
        # The older client's NMS rounds otherwise, which decides between boxes that overlap by just the limit, it draws
        # masks in another way, and takes keypoints that it is not sure of for (0, 0).
        present = who[1] == "8.4.190"
        borderline = 0 if present else seen["detections"] // 100
        assert len(seen["unlike"]) <= borderline, f"{who}: not as many objects, or others: {seen['unlike']}"
        assert min(seen["worstIoU"], seen["worstMaskIoU"] if present else 1.0) >= row.limits[0], who
        assert max(seen["worstScoreDifference"], seen["worstKeypoint"] if present else 0.0) <= row.limits[1], who
    now = found["HTTP", "8.4.190"]
    size = "x".join(map(str, row.image_size))
    asked = "as local weights pad" if row.served == "Dynamic" else size
    record_property("Served", row.title)
    record_property("Ends in", "Ready")
    record_property("The client asks at", asked)
    record_property("Detections", str(now["detections"]))
    record_property("Worst IoU", f"{min(each['worstIoU'] for each in found.values()):.4f}")
    record_property("Worst score difference", f"{max(each['worstScoreDifference'] for each in found.values()):.4f}")


@pytest.mark.parametrize("row", parameters([row for row in ROWS if row.served == "Dynamic" and not row.right_with_dynamic]), indirect=True)
def test_shapes_that_no_client_could_ask_rightly_are_refused(cluster: Cluster, client: Client, row: Row, record_property: Callable[[str, str], None]) -> None:
    refused = cluster.wait_condition(client.namespace, row.name, "Stalled", "True", "ShapesInvalid", timeout=600)
    message = next(each["message"] for each in refused["status"]["conditions"] if each["type"] == "Stalled")

    assert "spec.versions[].export.shapes" in message
    record_property("Served", row.title)
    record_property("Ends in", "ShapesInvalid")
