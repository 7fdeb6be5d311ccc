"""analyze against metrics pages and clients made of values; Triton's real metrics in test_triton.py, Ultralytics on the cluster."""

import os
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import yolo_models

from yolo_operator.core import api
from yolo_operator.core.addresses import url_host
from yolo_operator.core.contract import GOLDEN, GOLDEN_INPUT, Task
from yolo_operator.exporter import analyze, answers, client, metrics, picture_files
from yolo_operator.exporter.answers import Answer
from yolo_operator.model import golden, picture_client
from yolo_operator.picture_model import answer, resize

STABLE, CANARY = ("127.0.0.1", "127.0.0.2"), ("127.0.0.3",)


def page(success=0, failure=0, milliseconds=0.0, queue=0.0, *, model="helmet", version=1):
    """Triton's metrics as it writes them: another version's and other counters too."""
    where = f'{{model="{model}",version="{version}"}}'
    return f"""# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{where} {success}
nv_inference_request_success{{model="{model}",version="77"}} 5
# HELP nv_inference_request_failure Number of failed inference requests, all batch sizes
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{{model="{model}",reason="OTHER",version="{version}"}} {failure}
nv_inference_request_failure{{model="{model}",reason="REJECTED",version="{version}"}} {failure}
# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{where} {success}
# HELP nv_inference_request_duration_us Cumulative inference request duration in microseconds (includes cached requests)
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{where} {milliseconds * 1000}
# HELP nv_inference_queue_duration_us Cumulative inference queuing duration in microseconds (includes cached requests)
# TYPE nv_inference_queue_duration_us counter
nv_inference_queue_duration_us{where} {queue * 1000}
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.25
"""


class Page(BaseHTTPRequestHandler):
    """One pod's metrics; a pod that is gone closes the connection."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        text = self.server.pages.get(self.server.server_address[0])
        if text is None:
            self.close_connection = True
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def pods(pages):
    """Metrics pages of several pods, by address, all on one port, as pods have it. What they show may be changed meanwhile."""
    port, servers = 0, []
    for address in (*STABLE, *CANARY):
        server = ThreadingHTTPServer((address, port), Page)
        server.pages, port = pages, server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    try:
        yield port
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def seen(*detections):
    """An answer: (class, confidence, x) of boxes of 10 by 10 pixels."""
    boxes = np.array([[x, 0, x + 10, 10] for _, _, x in detections], dtype=np.float32).reshape(-1, 4)
    return Answer(classes=tuple(name for name, _, _ in detections), confidences=tuple(score for _, score, _ in detections), boxes=boxes)


def labelled(name, confidence):
    """An answer of a classifier."""
    return Answer(classes=(name,), confidences=(confidence,), boxes=np.zeros((1, 0), dtype=np.float32))


def overlaps(ours, theirs):
    """IoU of the boxes of `seen`."""
    shared = np.clip(10 - np.abs(ours[:, None, 0] - theirs[None, :, 0]), 0, None)
    return shared / (20 - shared)


# metrics


def test_a_page_is_read_for_one_version():
    assert metrics.parse(page(7, 2, 350, 21), "helmet", 1) == {
        metrics.SUCCESS: 7,
        metrics.FAILURE: 4,
        metrics.DURATION: 350_000,
        metrics.QUEUE: 21_000,
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(page(7, version=2), id="another version"),
        pytest.param(page(7, model="other"), id="another model"),
        pytest.param("<html><body>not found</body></html>", id="another kind of page"),
        pytest.param('nv_inference_request_success{model="helmet",version="1"', id="cut"),
        pytest.param('nv_inference_request_success{model="helmet",version="1"} many', id="no number"),
    ],
)
def test_what_is_no_reading(text):
    with pytest.raises(ValueError, match=r"."):
        metrics.parse(text, "helmet", 1)


def reading(*figures):
    return metrics.parse(page(*figures), "helmet", 1)


def test_figures_are_differences_added_up_over_the_pods():
    before = {"a": reading(10, 0, 500, 50), "b": reading(0)}
    after = {"a": reading(40, 1, 1100, 80), "b": reading(8, 0, 140, 8)}
    found = metrics.between(["a", "b"], before, after)
    assert (found.pods, found.left_out) == (2, 0)
    assert found.figures() == {"requests": 40, "error_rate": 0.05, "latency_milliseconds": pytest.approx(740 / 38), "queue_milliseconds": pytest.approx(1)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {"b": reading(5)}, id="not there at the beginning"),
        pytest.param({"b": reading(5)}, {}, id="gone at the end"),
        pytest.param({"b": reading(5, 0, 100)}, {"b": reading(3, 0, 60)}, id="restarted"),
        pytest.param({"b": reading(0, 3)}, {"b": reading(8)}, id="restarted, and failures forgotten"),
    ],
)
def test_a_pod_that_cannot_be_read_at_both_ends_is_left_out(before, after):
    found = metrics.between(["a", "b"], before | {"a": reading(0)}, after | {"a": reading(2, 0, 40)})
    assert (found.pods, found.left_out, found.success) == (1, 1, 2)


def test_without_requests_there_is_no_rate_and_no_time():
    assert metrics.between(["a"], {"a": reading(5)}, {"a": reading(5)}).figures() == {"requests": 0}
    assert metrics.between(["a"], {"a": reading(5)}, {"a": reading(5, 1)}).figures() == {"requests": 2, "error_rate": 1.0}


def test_pods_are_read_by_their_addresses():
    pages = {STABLE[0]: page(1), CANARY[0]: page(3, version=2)}
    with pods(pages) as port:
        found = metrics.read([*STABLE, *CANARY], port, "helmet", 1)
    assert {address: counted[metrics.SUCCESS] for address, counted in found.items()} == {STABLE[0]: 1}
    assert metrics.read([], 1, "helmet", 1) == {}
    assert url_host("fd00::7") == "[fd00::7]"


# answers


@pytest.mark.parametrize(
    ("stable", "canary", "found"),
    [
        pytest.param(
            [seen(("bus", 0.9, 0), ("person", 0.5, 50))],
            [seen(("person", 0.6, 50), ("bus", 0.8, 1))],
            {"detections_per_picture": 2, "stable_detections_per_picture": 2, "agreement": 1, "class_distance": 0, "confidence": 0.7, "stable_confidence": 0.7},
            id="the same in another order",
        ),
        pytest.param(
            [seen(("bus", 0.5, 0), ("bus", 0.5, 50))],
            [seen(("bus", 0.5, 4), ("bus", 0.5, 90))],
            {"detections_per_picture": 2, "stable_detections_per_picture": 2, "agreement": 0, "class_distance": 0, "confidence": 0.5, "stable_confidence": 0.5},
            id="boxes that overlap by less than half",
        ),
        pytest.param(
            [seen(("bus", 0.5, 0))],
            [seen(("truck", 0.5, 0))],
            {"detections_per_picture": 1, "stable_detections_per_picture": 1, "agreement": 0, "class_distance": 1, "confidence": 0.5, "stable_confidence": 0.5},
            id="another class in the same place",
        ),
        pytest.param(
            [seen(("bus", 0.5, 0), ("bus", 0.5, 1), ("bus", 0.5, 2)), seen()],
            [seen(("bus", 0.5, 1)), seen()],
            {
                "detections_per_picture": 0.5,
                "stable_detections_per_picture": 1.5,
                "agreement": pytest.approx(1 / 3),
                "class_distance": 0,
                "confidence": 0.5,
                "stable_confidence": 0.5,
            },
            id="one detection agrees with one alone",
        ),
        pytest.param(
            [seen(("bus", 0.5, 0), ("bus", 0.5, 0), ("person", 0.5, 50), ("person", 0.5, 90))],
            [seen(("bus", 0.5, 0), ("person", 0.5, 50), ("person", 0.5, 70), ("person", 0.5, 90))],
            {
                "detections_per_picture": 4,
                "stable_detections_per_picture": 4,
                "agreement": 0.75,
                "class_distance": 0.25,
                "confidence": 0.5,
                "stable_confidence": 0.5,
            },
            id="shares of classes",
        ),
        pytest.param(
            [seen(("bus", 0.5, 0))],
            [seen()],
            {"detections_per_picture": 0, "stable_detections_per_picture": 1, "agreement": 0, "stable_confidence": 0.5},
            id="nothing any more",
        ),
        pytest.param(
            [seen()], [seen(("bus", 0.5, 0))], {"detections_per_picture": 1, "stable_detections_per_picture": 0, "confidence": 0.5}, id="nothing to agree with"
        ),
        pytest.param([seen()], [seen()], {"detections_per_picture": 0, "stable_detections_per_picture": 0}, id="nothing at all"),
        pytest.param([], [], {}, id="no pictures"),
    ],
)
def test_what_both_found(stable, canary, found):
    assert answers.compare(Task.DETECT, stable, canary, overlaps) == {"pictures": len(stable)} | found


def test_the_best_pairs_are_taken_first():
    stable, canary = seen(("bus", 0.5, 0), ("bus", 0.5, 2)), seen(("bus", 0.5, 2), ("bus", 0.5, 4))
    assert answers.shared(stable, canary, overlaps) == 1
    assert answers.shared(canary, stable, overlaps) == 1


def test_an_overlap_that_is_no_number_is_none():
    assert answers.shared(seen(("bus", 0.5, 0)), seen(("bus", 0.5, 0)), lambda ours, theirs: np.full((len(ours), len(theirs)), np.nan)) == 0


def test_classifiers_agree_where_the_best_class_is_the_same():
    stable = [labelled("bus", 0.9), labelled("bus", 0.8), labelled("person", 0.7), labelled("person", 0.6)]
    canary = [labelled("bus", 0.5), labelled("truck", 0.5), labelled("person", 0.5), labelled("person", 0.5)]
    assert answers.compare(Task.CLASSIFY, stable, canary, overlaps) == {
        "pictures": 4,
        "agreement": 0.75,
        "class_distance": 0.25,
        "confidence": 0.5,
        "stable_confidence": pytest.approx(0.75),
    }


# the picture


def test_the_golden_picture_is_the_photograph_it_was_made_of(tmp_path):
    photograph = np.random.default_rng(1).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    given = (photograph[..., ::-1].transpose(2, 0, 1)[None] / 255).astype(np.float32)
    assert (golden.photograph(given) == photograph).all()
    (tmp_path / GOLDEN).write_bytes(yolo_models.npz({GOLDEN_INPUT: given, "output0": np.zeros((1, 1), np.float32)}))
    assert (client.read(tmp_path / GOLDEN) == photograph).all()


def test_a_golden_picture_of_one_channel():
    assert golden.photograph(np.full((1, 1, 2, 3), 0.5, np.float32)).tolist() == [[[128]] * 3] * 2


# all of it


class Answers:
    """What pods answer, by address; an exception is raised."""

    def __init__(self, by_address):
        self.by_address = by_address
        self.asked = []

    def connect(self, url, task):
        address = url.removeprefix("http://").partition(":")[0]

        def show(picture):
            self.asked.append(address)
            answer = self.by_address[address]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return show


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Runs an analysis: pages at both ends and answers, by address; `change` is laid over the options."""

    def run(before, after, by_address, *, pictures=("00.jpg",), by_file=None, limits=None, **change):
        shown, filed = Answers(by_address), Answers(by_file)
        for name in pictures:
            (tmp_path / name).write_bytes(name.encode())
        monkeypatch.setattr(client, "connect", shown.connect)
        monkeypatch.setattr(client, "read", lambda path: None if path.name.startswith("broken") else np.zeros((2, 2, 3), np.uint8))
        monkeypatch.setattr(picture_files, "connect", lambda server, model, task: filed.connect(server, task))
        monkeypatch.setattr(client, "overlaps", lambda task: overlaps)
        pages = dict(before)
        monkeypatch.setattr(analyze.time, "sleep", lambda _: (pages.clear(), pages.update(after)))
        with pods(pages) as port:
            options = {
                "model_name": "helmet",
                "task": Task.DETECT,
                "stable": analyze.Side(name="stable", version=1, addresses=STABLE),
                "canary": analyze.Side(name="new", version=2, addresses=CANARY),
                "limits": api.Analysis.model_validate(limits or {}),
                "duration": 60,
                "pictures_directory": tmp_path,
                "picture_timeout": 60,
                "metrics_port": port,
                "files": by_file is not None,
            }
            return analyze.run(analyze.AnalyzeOptions(**(options | change))), shown.asked

    return run


ZERO = {STABLE[0]: page(100, 0, 5000), STABLE[1]: page(), CANARY[0]: page(version=2)}
WORKED = {STABLE[0]: page(140, 0, 5800, 40), STABLE[1]: page(40, 0, 800, 40), CANARY[0]: page(20, 0, 500, 60, version=2)}
SAME = dict.fromkeys((*STABLE, *CANARY), seen(("bus", 0.9, 0)))


def test_two_equal_versions(compared):
    found, asked = compared(ZERO, WORKED, SAME)
    assert found.model_dump(exclude_none=True) == {
        "verdict": "Pass",
        "message": "",
        "requests": 20,
        "stable_requests": 80,
        "error_rate": 0,
        "stable_error_rate": 0,
        "latency_milliseconds": 25,
        "stable_latency_milliseconds": 20,
        "queue_milliseconds": 3,
        "stable_queue_milliseconds": 1,
        "pictures": 1,
        "detections_per_picture": 1,
        "stable_detections_per_picture": 1,
        "class_distance": 0,
        "confidence": 0.9,
        "stable_confidence": 0.9,
        "agreement": 1,
    }
    assert asked == [STABLE[0], CANARY[0]]


@pytest.mark.parametrize(
    ("before", "after", "by_address", "verdict", "words"),
    [
        pytest.param({}, {STABLE[1]: None}, {}, "Pass", ["1 of 2 pods of the stable version 1 left out"], id="a stable pod gone"),
        pytest.param({}, {CANARY[0]: page(20, 20, 500, version=2)}, {}, "Fail", ["error rate 0.6667", "maxErrorRate"], id="errors"),
        pytest.param({}, {CANARY[0]: None}, {}, "Inconclusive", ["no pod's metrics of the new version 2"], id="no metrics of the new version"),
        pytest.param(dict.fromkeys(STABLE), {}, {}, "Inconclusive", ["no pod's metrics of the stable version 1"], id="no metrics of the stable one"),
        pytest.param({}, {}, {CANARY[0]: seen()}, "Fail", ["minAgreement"], id="other answers"),
        pytest.param(
            {}, {}, {CANARY[0]: RuntimeError("500: no\nmore")}, "Fail", ["the new version 2 answers no pictures: RuntimeError: 500: no"], id="no answers"
        ),
        pytest.param({}, {}, dict.fromkeys(STABLE, OSError()), "Inconclusive", ["the stable version 1 answers no pictures: OSError"], id="no stable answers"),
        pytest.param({}, {}, dict.fromkeys(SAME, OSError()), "Inconclusive", ["the stable version 1 answers no pictures"], id="no answers of either"),
        pytest.param({}, {CANARY[0]: None}, {CANARY[0]: OSError()}, "Fail", ["new version 2 answers no pictures"], id="the new version gone"),
    ],
)
def test_the_verdict(compared, before, after, by_address, verdict, words):
    found, _ = compared(ZERO | before, WORKED | after, SAME | by_address)
    assert found.verdict == verdict
    assert [word for word in words if word not in found.message] == []


@pytest.mark.parametrize(
    ("by_file", "verdict", "message"),
    [
        pytest.param({}, "Pass", "", id="the same"),
        pytest.param({CANARY[0]: seen()}, "Fail", "helmet-pictures: agreement 0 is under 0.5 (spec.rollout.analysis.minAgreement)", id="other answers"),
        pytest.param(
            {CANARY[0]: picture_client.PredictError("HTTP 500")},
            "Fail",
            "helmet-pictures: the new version 2 answers no pictures: PredictError: HTTP 500",
            id="no answers",
        ),
        pytest.param(
            dict.fromkeys(STABLE, picture_client.PredictError("HTTP 404")),
            "Pass",
            "helmet-pictures: the stable version 1 answers no pictures: PredictError: HTTP 404",
            id="a stable version that is older",
        ),
        pytest.param(
            dict.fromkeys(SAME, picture_client.PredictError("HTTP 500")),
            "Fail",
            "helmet-pictures: the new version 2 answers no pictures: PredictError: HTTP 500; "
            "helmet-pictures: the stable version 1 answers no pictures: PredictError: HTTP 500",
            id="neither",
        ),
        pytest.param(dict.fromkeys(SAME), "Pass", "", id="files that are refused"),
    ],
)
def test_pictures_are_shown_as_files_too(compared, by_file, verdict, message):
    found, _ = compared(ZERO, WORKED, SAME, by_file=SAME | by_file)
    assert (found.verdict, found.message) == (verdict, message)
    assert found.agreement == 1


@pytest.mark.parametrize(
    ("task", "detections", "expected"),
    [
        pytest.param(
            Task.DETECT, [{"label": "bus", "score": 0.9, "box": [1, 2, 3, 4]}], Answer(classes=("bus",), confidences=(0.9,), boxes=[[1, 2, 3, 4]]), id="detect"
        ),
        pytest.param(
            Task.CLASSIFY,
            [{"label": "bus", "score": 0.9}, {"label": "car", "score": 0.1}],
            Answer(classes=("bus",), confidences=(0.9,), boxes=np.zeros((1, 0))),
            id="classify",
        ),
        pytest.param(Task.OBB, [], Answer(classes=(), confidences=(), boxes=np.zeros((0, 5))), id="nothing"),
    ],
)
def test_what_a_file_was_answered(task, detections, expected):
    found = picture_files.answer(detections, task)
    assert (found.classes, found.confidences) == (expected.classes, expected.confidences)
    assert np.array_equal(found.boxes, np.asarray(expected.boxes, np.float32))


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2, 1.5])
def test_corners_are_a_box_that_is_turned(angle):
    row = np.array([[30, 40, 20, 8, 0.9, 0, angle]], np.float32)
    corners = answer.orient(row, resize.Letterbox(100, 100, 1, 1, 0, 0)).places["corners"][0].tolist()
    assert picture_files.oriented(corners) == pytest.approx([30, 40, 20, 8, angle], abs=1e-5)


def test_a_pod_that_does_not_answer_leaves_it_to_the_next(compared):
    found, asked = compared(ZERO, WORKED, SAME | {STABLE[0]: OSError("gone")})
    assert (found.verdict, asked) == ("Pass", [*STABLE, *CANARY])


def test_pods_that_are_still_there_are_asked_first(compared):
    found, asked = compared(ZERO, WORKED | {STABLE[0]: None}, SAME)
    assert (found.verdict, asked) == ("Pass", [STABLE[1], *CANARY])


def test_pictures_that_cannot_be_read_are_left_out(compared):
    found, _ = compared(ZERO, WORKED, SAME, pictures=["00.jpg", "broken.png", "02.png"])
    assert (found.verdict, found.pictures, found.message) == ("Pass", 2, "2 of 3 pictures shown")


def test_pictures_that_take_too_long_are_left_out(compared):
    found, asked = compared(ZERO, WORKED, SAME, pictures=["00.jpg", "01.png"], picture_timeout=-1)
    assert (found.verdict, found.pictures, found.message) == ("Pass", 1, "1 of 2 pictures shown")
    assert asked == [STABLE[0], CANARY[0]]


@pytest.mark.parametrize("pictures", [[], ["broken.png"]])
def test_without_pictures_there_is_no_verdict(compared, pictures):
    found, _ = compared(ZERO, WORKED, SAME, pictures=pictures)
    assert (found.verdict, found.pictures) == ("Inconclusive", 0)
    assert "picture" in found.message


def test_too_few_requests(compared):
    assert compared(ZERO, WORKED, SAME, limits={"minRequests": 21})[0].message == "20 of 21 requests (spec.rollout.analysis.minRequests)"


def test_what_the_client_says_is_plain_and_short():
    assert analyze.said(RuntimeError('a "b" \\ ü\nmore')) == "RuntimeError: a 'b' ' '"
    assert len(analyze.said(RuntimeError("x" * 500))) == 200
    assert analyze.said(RuntimeError()) == "RuntimeError: no message"


# Ultralytics' results


@pytest.mark.parametrize(
    ("task", "result", "expected"),
    [
        pytest.param(
            Task.POSE,
            {"boxes": SimpleNamespace(cls=np.array([1.0, 0.0]), conf=np.array([0.5, 0.25]), xyxy=np.array([[0, 0, 4, 4], [1, 1, 2, 2]]))},
            (("person", "bus"), (0.5, 0.25), [[0, 0, 4, 4], [1, 1, 2, 2]]),
            id="boxes",
        ),
        pytest.param(
            Task.OBB,
            {"boxes": None, "obb": SimpleNamespace(cls=np.array([1.0]), conf=np.array([0.5]), xywhr=np.array([[2, 2, 4, 4, 1]]))},
            (("person",), (0.5,), [[2, 2, 4, 4, 1]]),
            id="oriented boxes",
        ),
        pytest.param(Task.DETECT, {"boxes": SimpleNamespace(cls=np.zeros(0), conf=np.zeros(0), xyxy=np.zeros((0, 4)))}, ((), (), []), id="nothing"),
        pytest.param(Task.CLASSIFY, {"boxes": None, "probs": SimpleNamespace(top1=1, top1conf=np.float32(0.5))}, (("person",), (0.5,), [[]]), id="a class"),
    ],
)
def test_a_result_as_values(task, result, expected):
    found = client.answer(SimpleNamespace(names={0: "bus", 1: "person"}, **result), task)
    assert (found.classes, found.confidences, found.boxes.tolist()) == expected
    assert found.boxes.dtype == np.float32


def test_ultralytics_is_called_as_a_user_calls_it(monkeypatch):
    class Yolo:
        def __init__(self, url, task):
            self.made = (url, task)

        def predict(self, picture, **flags):
            probs = SimpleNamespace(top1=0, top1conf=1.0)
            return [SimpleNamespace(names={0: f"{self.made} {flags}"}, probs=probs)]

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=Yolo))
    (name,) = client.connect("http://10.0.0.7:8000/helmet", Task.CLASSIFY)(np.zeros((2, 2, 3), np.uint8)).classes
    assert name == f"{('http://10.0.0.7:8000/helmet', 'classify')} { {'verbose': False} }"
    assert (os.environ["YOLO_OFFLINE"], os.environ["YOLO_AUTOINSTALL"]) == ("1", "false")
