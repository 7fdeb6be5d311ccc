"""The writer: in what form it writes, and what it makes of the API server's errors."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from yolo_operator.controller.kube import Conflict, Missing, NamespaceTerminating, as_yaml, error_of
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable


def answer(message: str = "no", *causes: str) -> dict[str, Any]:
    return {"message": message, "details": {"causes": [{"reason": cause} for cause in causes]}}


@pytest.mark.parametrize(
    ("code", "body", "kind", "reason"),
    [
        (404, answer(), Missing, "NotFound"),
        (409, answer(), Conflict, "Conflict"),
        (403, answer("being terminated", "NamespaceTerminating"), NamespaceTerminating, "NamespaceTerminating"),
        (403, answer(), Unavailable, "Forbidden"),
        (400, answer(), InvalidSpec, "Rejected"),
        (422, answer(), InvalidSpec, "Rejected"),
        (429, answer(), Unavailable, "TooManyRequests"),
        (500, answer(), Unavailable, "ApiServerError"),
        (
            500,
            answer(message="failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.c: field not declared in schema"),
            InvalidSpec,
            "Rejected",
        ),
        (401, {}, Unavailable, "ApiServerError"),
        (503, {"message": None, "details": None}, Unavailable, "ApiServerError"),
    ],
)
def test_what_an_error_of_the_api_server_means(code, body, kind, reason):
    error: OperatorError = error_of("PATCH", "/api/v1", code, body)
    assert type(error) is kind
    assert error.reason == reason


@given(st.text())
def test_what_is_applied_is_json_and_yaml_alike(text):
    written = as_yaml({"message": text})
    assert json.loads(written) == {"message": text}
    assert yaml.safe_load(written) == {"message": text}
