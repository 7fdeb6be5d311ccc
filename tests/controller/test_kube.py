"""The writer: in what form it writes, and what it makes of the API server's errors."""

import asyncio
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from yolo_operator.controller import kinds
from yolo_operator.controller.kube import Conflict, Kube, Missing, NamespaceTerminating, as_yaml, error_of, proxy_of
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


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [({}, None), ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"), ({"https_proxy": "http://proxy:3128", "no_proxy": "10.96.0.1"}, None)],
)
def test_a_proxy_is_taken_from_the_environment(monkeypatch, environment, proxy):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of("https://10.96.0.1:443") == proxy


@given(st.text())
def test_what_is_applied_is_json_and_yaml_alike(text):
    written = as_yaml({"message": text})
    assert json.loads(written) == {"message": text}
    assert yaml.safe_load(written) == {"message": text}


class Answering(Kube):
    """A client whose only request is answered, or refused, as a test says."""

    def __init__(self, refusal: OperatorError | None, there: list[dict[str, Any]] | None = None) -> None:
        self.refusal, self.there = refusal, there or []
        self.asked: list[tuple[Any, ...]] = []

    async def _request(self, method: str, path: str, body: Any = None, *, content_type: str = "", accept: str = "", **query: str) -> dict[str, Any]:
        self.asked.append((method, path, query))
        if self.refusal is not None and method != "GET":
            raise self.refusal
        return {"items": self.there}


@pytest.mark.parametrize(
    ("refusal", "ends"),
    [
        pytest.param(None, False, id="takes new objects"),
        pytest.param(NamespaceTerminating("NamespaceTerminating", "being terminated"), True, id="is being deleted"),
        pytest.param(Unavailable("Forbidden", "a quota"), False, id="refuses for another reason"),
        pytest.param(Unavailable("ApiServerUnreachable", "timeout"), False, id="cannot be asked"),
    ],
)
def test_a_namespace_that_is_being_deleted_is_told_by_what_it_refuses(refusal, ends):
    client = Answering(refusal)
    assert asyncio.run(client.namespace_terminating("factory")) is ends
    assert client.asked == [("POST", "/api/v1/namespaces/factory/events", {"dryRun": "All"})], "and nothing is written"


@pytest.mark.parametrize("write", ["apply", "create"])
def test_what_somebody_else_has_made_is_found_whatever_its_labels_and_left_alone(write):
    foreign = {"metadata": {"name": "helmet", "namespace": "factory", "uid": "theirs"}}
    client = Answering(Conflict("Conflict", "there is one"), [foreign])
    ours = {"metadata": {"name": "helmet", "namespace": "factory", "ownerReferences": [{"kind": "YoloDeployment", "uid": "uid"}]}}
    written = client.apply(kinds.DEPLOYMENT, ours, None) if write == "apply" else client.create(kinds.JOB, ours)
    with pytest.raises(Unavailable, match="'helmet' is there already") as refused:
        asyncio.run(written)
    assert refused.value.reason == "NameConflict"
    assert [(method, query.get("labelSelector"), query.get("fieldSelector")) for method, _, query in client.asked[1:]] == [("GET", "", "metadata.name=helmet")]
