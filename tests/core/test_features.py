"""What a Gateway must be known to do before a route asks it: copies of requests, and sessions."""

from typing import Any

import pytest

import gen
from manifests import routes
from simulation import Simulation
from yolo_operator.core import api, features
from yolo_operator.core.observed import Support

MIRRORS = Support(frozenset({"HTTPRoute", features.MIRROR, features.MIRROR_PERCENT}))
SESSIONS = Support(frozenset({"HTTPRoute", features.SESSION}))
PLAIN = Support(frozenset({"HTTPRoute"}))
FORBIDDEN = Support(unknown="gateways is forbidden")
FIELDS = Support(features.SESSION_FIELDS | {"cookieConfig"})


def cluster(supported: Support = PLAIN, *, fields: Support = FIELDS, gateways: tuple[str, ...] = ("edge",), **gateway: Any) -> Simulation:
    """At rest: version 1 has all requests and version 2 none; each Gateway's class lists the same."""
    parents = [{"name": name, "namespace": "infra"} for name in gateways]
    made = Simulation(replicas=2, **gen.behind_a_gateway(parentRefs=parents, grpc={"hostnames": ["grpc.helmet.example.com"]}, **gateway))
    made.gateway_features = {f"infra/{name}": supported for name in gateways}
    made.session_fields = fields
    settle(made)
    return made


def settle(it: Simulation) -> None:
    it.run()
    it.answer_routes()
    it.run()


def shared_rule(it: Simulation, kind: str = "HTTPRoute") -> dict[str, Any]:
    """The rule that shares requests out by weight."""
    rule: dict[str, Any] = it.objects[kind]["helmet"]["spec"]["rules"][-1]
    return rule


def copies_to(it: Simulation) -> list[str]:
    return [each["requestMirror"]["backendRef"]["name"] for each in shared_rule(it).get("filters", ())]


def test_a_mirrored_version_has_pods_and_copies_and_no_share():
    it = cluster(MIRRORS, mirror={"version": 2})
    assert it.condition("Ready") == ("True", "Serving")
    assert copies_to(it) == ["helmet-v2"]
    assert it.replicas() == {"helmet-v1": 2, "helmet-v2": 1}
    assert it.plan.status.display.versions == "1:100 2:0"
    assert it.plan.requeue_at is None, "nothing is waited for"


def test_a_mirrored_version_has_the_pods_it_asks_for():
    it = cluster(MIRRORS, mirror={"version": 2})
    it.edit(versions=[gen.version(1, weight=1), gen.version(2, weight=0, replicas=3)])
    settle(it)
    assert it.replicas() == {"helmet-v1": 2, "helmet-v2": 3}
    it.edit(replicas=0)
    it.run()
    assert it.replicas() == {"helmet-v1": 0, "helmet-v2": 0}


def test_without_a_mirror_a_version_of_weight_0_has_no_pods():
    it = cluster(MIRRORS)
    assert it.replicas() == {"helmet-v1": 2, "helmet-v2": 0}
    assert "filters" not in shared_rule(it)


def test_only_what_is_shared_out_over_http_is_copied():
    it = cluster(MIRRORS, mirror={"version": 2})
    filtered = [(kind, name) for kind in ("HTTPRoute", "GRPCRoute") for name, live in it.objects[kind].items() for r in live["spec"]["rules"] if "filters" in r]
    assert filtered == [("HTTPRoute", "helmet")]


def test_no_copy_goes_to_pods_that_are_not_let_in():
    it = cluster(MIRRORS, mirror={"version": 2})
    for pod in it.pods(2):
        pod["status"]["conditions"] = []
    it.reconcile()
    assert copies_to(it) == []


def test_no_copy_goes_to_a_version_that_cannot_read_it():
    it = cluster(MIRRORS, mirror={"version": 2})
    artifact = it.body["status"]["versions"][1]["artifact"]
    artifact["classes"], artifact["classesDigest"] = 3, "ffffffffffffffff"
    it.run()
    assert it.condition("Ready") == ("False", "VersionsIncompatible")
    assert copies_to(it) == []
    assert it.replicas() == {"helmet-v1": 2, "helmet-v2": 0}


@pytest.mark.parametrize(
    ("percent", "filters"),
    [
        pytest.param(100, {}, id="all of them, which needs no word"),
        pytest.param(7, {"percent": 7}, id="some"),
    ],
)
def test_the_share_of_requests_that_is_copied(percent, filters):
    rule = routes(api.Mirror(version=2, percent=percent))["HTTPRoute", "helmet"]["spec"]["rules"][-1]
    assert rule["filters"] == [
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"group": "", "kind": "Service", "name": "helmet-v2", "port": 8000}} | filters}
    ]


def test_a_session_is_asked_for_in_the_words_of_the_gateway_api():
    it = cluster(SESSIONS, sessionPersistence={"sessionName": "yolo", "absoluteTimeout": "90m"})
    assert it.condition("Ready") == ("True", "Serving")
    assert shared_rule(it)["sessionPersistence"] == {"type": "Cookie", "sessionName": "yolo", "absoluteTimeout": "1h30m"}
    assert "sessionPersistence" not in shared_rule(it, "GRPCRoute")
    it = cluster(SESSIONS, sessionPersistence={"type": "Header"})
    assert shared_rule(it)["sessionPersistence"] == {"type": "Header"}


@pytest.mark.parametrize(
    ("asked", "supported", "fields", "reason", "words"),
    [
        pytest.param({"mirror": {"version": 2}}, PLAIN, FIELDS, "GatewayFeatureMissing", ["mirror", "infra/edge", "HTTPRouteRequestMirror "], id="no copies"),
        pytest.param({"mirror": {"version": 2}}, Support(), FIELDS, "GatewayFeatureMissing", ["HTTPRouteRequestMirror"], id="a class that lists nothing"),
        pytest.param(
            {"mirror": {"version": 2, "percent": 50}},
            Support(frozenset({features.MIRROR})),
            FIELDS,
            "GatewayFeatureMissing",
            ["does not list HTTPRouteRequestPercentageMirror in"],
            id="copies of all, not of some",
        ),
        pytest.param({"mirror": {"version": 2}}, FORBIDDEN, FIELDS, "GatewayFeaturesUnknown", ["mirror", "gateways is forbidden"], id="no right to look"),
        pytest.param({"sessionPersistence": {}}, MIRRORS, FIELDS, "GatewayFeatureMissing", ["HTTPRouteSessionPersistence"], id="no sessions"),
        pytest.param({"sessionPersistence": {}}, SESSIONS, Support(), "GatewayFeatureMissing", ["experimental"], id="the standard channel"),
        pytest.param(
            {"sessionPersistence": {}}, SESSIONS, Support(frozenset({"type", "cookie", "absoluteTimeout"})), "GatewayFeatureMissing", ["with sessionName."], id="other fields"
        ),
        pytest.param({"sessionPersistence": {}}, SESSIONS, FORBIDDEN, "GatewayFeaturesUnknown", ["is forbidden"], id="no right to look at the CRD"),
    ],
)  # fmt: skip
def test_what_a_gateway_may_not_do_is_left_out_and_said(asked, supported, fields, reason, words):
    it = cluster(supported, fields=fields, **asked)
    assert it.condition("Ready") == ("False", reason)
    assert it.condition("Reconciling") == ("True", reason)
    assert it.condition("Available")[0] == "True"
    assert [word for word in words if word not in it.message()] == [], it.message()
    assert shared_rule(it).keys() == {"matches", "backendRefs"}
    assert it.plan.status.display.versions == "1:100 2:0"
    assert it.plan.requeue_at == it.now + features.RECHECK


@pytest.mark.parametrize("supported", [MIRRORS, PLAIN, FORBIDDEN], ids=["listed", "not listed", "not known"])
def test_what_was_refused_heals_and_what_was_granted_goes(supported):
    it = cluster(supported, mirror={"version": 2})
    for now, copies in ((PLAIN, []), (MIRRORS, ["helmet-v2"]), (FORBIDDEN, []), (MIRRORS, ["helmet-v2"])):
        it.gateway_features = {"infra/edge": now}
        settle(it)
        assert copies_to(it) == copies
        assert it.condition("Ready")[0] == ("True" if copies else "False")


def test_every_gateway_must_list_it():
    it = cluster(MIRRORS, gateways=("edge", "inner"), mirror={"version": 2})
    assert copies_to(it) == ["helmet-v2"]
    it.gateway_features["infra/inner"] = PLAIN
    settle(it)
    assert copies_to(it) == []
    assert "Gateway infra/inner" in it.message()


def test_one_that_is_refused_does_not_take_the_other_along():
    it = cluster(MIRRORS, mirror={"version": 2}, sessionPersistence={})
    assert it.condition("Ready") == ("False", "GatewayFeatureMissing")
    assert copies_to(it) == ["helmet-v2"]
    assert "sessionPersistence" not in shared_rule(it)


def test_a_route_that_a_gateway_refuses_is_told_before_what_it_goes_without():
    it = cluster(PLAIN, mirror={"version": 2})
    it.gateway_answers = False
    it.answer_routes("False", "NotAllowedByListeners")
    it.run()
    assert it.condition("Ready") == ("False", "RouteNotAccepted")


def test_without_the_gateway_api_nobody_asks_what_a_gateway_supports():
    it = cluster(MIRRORS, mirror={"version": 2})
    it.gateway_api, it.gateway_features = False, {}
    it.run()
    assert it.condition("Ready") == ("False", "GatewayApiMissing")


def test_a_gateway_without_a_namespace_is_in_that_of_the_resource():
    traffic = {
        "mode": "Gateway",
        "gateway": {"parentRefs": [{"name": "b"}, {"name": "a", "namespace": "infra"}, {"name": "b", "sectionName": "x"}], "hostnames": ["h"]},
    }
    assert features.gateways(gen.yolo(traffic=traffic)) == [("factory", "b"), ("infra", "a")]
    assert features.gateways(gen.yolo()) == []
