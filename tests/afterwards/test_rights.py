"""The operator's rights are what it used in this run, no less and no more: the API server's audit log beside the chart's roles."""

import re
from collections.abc import Iterator

import pytest

from chart.commands import Right, rendered, rights
from e2e.cluster import Manifest

pytestmark = pytest.mark.cluster

ACCOUNT = re.compile(r"system:serviceaccount:[^:]+:(.+-)?yolo-operator")
AGENT = re.compile(r"(yolo-operator|kopf)/")
DISCOVERY = re.compile(r"/apis?(/|$)")
"""Which kinds there are: every account may ask that."""


def needed(event: Manifest) -> Iterator[Right]:
    """The rights that a request asks for."""
    verb, what = event["verb"], event.get("objectRef", {})
    if "resource" not in what:
        path = event["requestURI"].partition("?")[0]
        if verb != "get" or not DISCOVERY.match(path):
            yield "", path, verb
        return
    group, resource = what.get("apiGroup", ""), "/".join(filter(None, (what["resource"], what.get("subresource", ""))))
    yield group, resource, verb
    # Server-side apply of what is not there asks the authorizer a second time, within the same request.
    if verb == "patch" and event.get("responseStatus", {}).get("code") == 201:
        yield group, resource, "create"


@pytest.fixture(scope="module")
def asked(audit: list[Manifest]) -> set[Right]:
    """By the operator's account, whoever spoke for it, and by its programs under any other."""
    mine = [event for event in audit if ACCOUNT.fullmatch(event["user"]["username"]) or AGENT.match(event.get("userAgent", ""))]
    if not mine:
        pytest.skip("no operator ran on the cluster in this run")
    return {right for event in mine for right in needed(event)}


def test_what_the_operator_asked_for_is_in_its_role(asked: set[Right]) -> None:
    assert asked - rights(rendered()) == set()


def test_what_is_in_its_role_the_operator_asked_for(asked: set[Right], whole_suite: None) -> None:
    assert rights(rendered()) - asked == set()
