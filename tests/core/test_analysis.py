"""The verdict on a canary's step: figures and limits in, verdict and sentence out."""

from typing import Any

import pytest

from yolo_operator.core import analysis, api
from yolo_operator.core.contract import Comparison, Outcome, camel

GOOD: dict[str, Any] = {
    "requests": 100,
    "stable_requests": 900,
    "error_rate": 0.0,
    "stable_error_rate": 0.0,
    "latency_milliseconds": 20.0,
    "stable_latency_milliseconds": 18.0,
    "queue_milliseconds": 1.0,
    "stable_queue_milliseconds": 1.0,
    "pictures": 1,
    "detections_per_picture": 5.0,
    "stable_detections_per_picture": 6.0,
    "class_distance": 0.1,
    "confidence": 0.8,
    "stable_confidence": 0.7,
    "agreement": 0.8,
}
NOTHING: dict[str, Any] = dict.fromkeys(GOOD, None) | {"requests": 0, "stable_requests": 0, "pictures": 0}


def judged(figures: dict[str, Any], limits: dict[str, Any] | None = None, **more: Any) -> Comparison:
    found = Comparison.model_validate({"verdict": "Inconclusive", **GOOD, **figures})
    return analysis.judge(found, api.Analysis.model_validate(limits or {}), **more)


@pytest.mark.parametrize(
    ("figures", "limits", "verdict", "words"),
    [
        pytest.param({}, {}, "Pass", [], id="all within the limits"),
        pytest.param({"error_rate": 0.01}, {}, "Pass", [], id="a figure at its limit"),
        pytest.param({"error_rate": 0.02}, {}, "Fail", ["error rate 0.02 is over 0.01 (spec.rollout.analysis.maxErrorRate)"], id="errors"),
        pytest.param({"error_rate": 0.02, "stable_error_rate": 0.5}, {}, "Fail", ["maxErrorRate"], id="errors, though the stable version has more"),
        pytest.param({"latency_milliseconds": 40.0}, {}, "Fail", ["2.222 is over 2", "spec.rollout.analysis.maxLatencyRatio"], id="slow"),
        pytest.param({"latency_milliseconds": 40.0, "requests": 9}, {}, "Pass", [], id="slow, after too few requests to tell"),
        pytest.param({"latency_milliseconds": 40.0, "stable_requests": 9}, {}, "Pass", [], id="slow, and the stable version had too few"),
        pytest.param({"stable_latency_milliseconds": None}, {}, "Pass", [], id="no latency to compare with"),
        pytest.param({"queue_milliseconds": 1e6}, {}, "Pass", [], id="the queue is not limited unless asked for"),
        pytest.param({"queue_milliseconds": 6.0}, {"maxQueueMilliseconds": 5}, "Fail", ["queue", "6 is over 5", "maxQueueMilliseconds"], id="the queue"),
        pytest.param({"detections_per_picture": 19.0}, {}, "Fail", ["3.167 is over 3", "maxDetectionsRatio"], id="many more detections"),
        pytest.param({"detections_per_picture": 1.9}, {}, "Fail", ["maxDetectionsRatio"], id="many fewer detections"),
        pytest.param({"detections_per_picture": 0.0}, {}, "Fail", ["6 is over 3"], id="no detections any more"),
        pytest.param({"detections_per_picture": 1.0, "stable_detections_per_picture": 0.0}, {}, "Pass", [], id="one where there was none"),
        pytest.param({"detections_per_picture": 4.0, "stable_detections_per_picture": 0.0}, {}, "Fail", ["4 is over 3"], id="many where there was none"),
        pytest.param({"detections_per_picture": 0.1, "stable_detections_per_picture": 0.2, "pictures": 10}, {}, "Pass", [], id="one of ten pictures"),
        pytest.param({"class_distance": 0.6}, {}, "Fail", ["0.6 is over 0.5", "maxClassDistance"], id="other classes"),
        pytest.param({"confidence": 0.3}, {}, "Fail", ["0.4 is over 0.3", "maxConfidenceDifference"], id="less confident"),
        pytest.param({"confidence": 0.9, "stable_confidence": 0.6}, {}, "Pass", [], id="more confident, by the limit exactly"),
        pytest.param({"agreement": 0.4}, {}, "Fail", ["agreement 0.4 is under 0.5 (spec.rollout.analysis.minAgreement)"], id="other detections"),
        pytest.param({"requests": 9}, {"minRequests": 10}, "Inconclusive", ["9 of 10 requests (spec.rollout.analysis.minRequests)"], id="too few requests"),
        pytest.param({"requests": 10}, {"minRequests": 10}, "Pass", [], id="just enough requests"),
        pytest.param({"requests": 1, "error_rate": 1.0}, {"minRequests": 10}, "Fail", ["error rate 1", "1 of 10"], id="what failed, failed, however few"),
        pytest.param(NOTHING, {}, "Pass", [], id="no requests are asked for, and there were none"),
        pytest.param(NOTHING, {"minRequests": 1}, "Inconclusive", ["0 of 1 requests"], id="no requests where one is asked for"),
        pytest.param({"error_rate": 0.5, "agreement": 0.0}, {}, "Fail", ["maxErrorRate", "minAgreement"], id="every figure that is over its limit is named"),
    ],
)
def test_the_verdict(figures, limits, verdict, words):
    found = judged(figures, limits)
    assert found.verdict == verdict
    assert [word for word in words if word not in found.message] == []
    assert bool(found.message) is (verdict != "Pass")


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        pytest.param({"notes": ["a pod left out"]}, "Pass", id="notes are said"),
        pytest.param({"doubts": ["no pictures"], "notes": ["a pod left out"]}, "Inconclusive", id="doubts leave it open"),
        pytest.param({"faults": ["no answer"], "doubts": ["no metrics"]}, "Fail", id="faults fail"),
    ],
)
def test_what_the_figures_do_not_tell(more, verdict):
    found = judged({}, **more)
    assert (found.verdict, found.message) == (verdict, "; ".join(word for words in more.values() for word in words))


def test_a_failure_is_not_softened_by_doubts():
    assert judged({"agreement": 0.0}, doubts=["no metrics"]).verdict == "Fail"


def test_judging_changes_no_figure():
    assert judged({"agreement": 0.0}).model_dump(exclude={"verdict", "message"}) == GOOD | {"agreement": 0.0}


def test_the_longest_result_fits_into_a_termination_message():
    figures = {name: 123456 if isinstance(value, int) else 1234567.123456 for name, value in GOOD.items()}
    found = judged(figures, notes=["x" * 2000])
    text = Outcome(result=found.model_dump(mode="json", by_alias=True, exclude_none=True)).encode()
    assert len(text) < 2000
    assert found.message.endswith("x...")


def test_every_limit_is_a_flag():
    names = {camel(limit) for limit in analysis.LIMITS}
    assert names == {field for field in map(camel, api.Analysis.model_fields) if field.startswith(("min", "max"))}
    assert analysis.flag("max_error_rate") == "--max-error-rate"
