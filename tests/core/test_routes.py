"""Routes of the Gateway API: what is asked of a Gateway, and what its answer means."""

from typing import Any

import pytest

import gen
from manifests import GATEWAY, routes
from yolo_operator.core import api
from yolo_operator.core import routes as answers
from yolo_operator.core.observed import Observed
from yolo_operator.core.resources import route

Manifest = dict[str, Any]
ACCEPTED = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
EDGE = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", "namespace": "infra", "sectionName": "http"}

WITHOUT_GRPC: Manifest = {"gateway": {"grpc": None}}


def resource(**spec: Any) -> api.YoloDeployment:
    """With two versions and two Gateways for HTTP, one for gRPC."""
    return gen.yolo(**gen.merged(GATEWAY | {"versions": [gen.version(1, weight=90), gen.version(2, weight=10)]}, spec))


def weights(made: Manifest) -> dict[str, int]:
    """The last rule's backends."""
    return {backend["name"]: backend["weight"] for backend in made["spec"]["rules"][-1]["backendRefs"]}


def headers(made: Manifest) -> list[str]:
    """The versions that a header chooses."""
    matches = [match for rule in made["spec"]["rules"] for match in rule.get("matches", ())]
    return [header["value"] for match in matches for header in match.get("headers", ())]


def test_there_is_a_route_for_all_and_one_per_version_of_each_kind():
    assert sorted(routes()) == sorted((kind, name) for kind in ("GRPCRoute", "HTTPRoute") for name in ("helmet", "helmet-v1", "helmet-v2"))


def test_without_grpc_there_are_http_routes_only():
    assert {kind for kind, _ in routes(traffic=WITHOUT_GRPC)} == {"HTTPRoute"}


def test_with_mode_service_there_are_none():
    assert route.build(gen.yolo(), {1: 1}, [1]) == []


def test_grpc_goes_to_the_same_gateways_where_it_names_none():
    made = routes(traffic={"gateway": {"grpc": {"parentRefs": None}}})
    assert made["GRPCRoute", "helmet"]["spec"]["parentRefs"] == made["HTTPRoute", "helmet"]["spec"]["parentRefs"]


def test_another_share_is_another_number_and_nothing_else():
    (before, *_), (after, *_) = (route.build(resource(), shares, [1, 2]) for shares in ({1: 100, 2: 0}, {1: 0, 2: 100}))
    assert weights(before) == {"helmet-v1": 100, "helmet-v2": 0}
    for backend, share in zip(before["spec"]["rules"][-1]["backendRefs"], (0, 100), strict=True):
        backend["weight"] = share
    assert before == after


@pytest.mark.parametrize(
    ("shares", "versions", "found"),
    [
        pytest.param({1: 0, 2: 0}, [1, 2], {"helmet-v1": 0, "helmet-v2": 0}, id="none may serve yet"),
        pytest.param({}, [], {}, id="there is none yet"),
    ],
)
def test_where_nobody_has_a_share_the_route_is_whole_all_the_same(shares, versions, found):
    made, *_ = route.build(resource(), shares, versions)
    assert weights(made) == found
    assert headers(made) == [str(number) for number in versions]


def test_a_version_that_waits_can_be_asked_by_header_and_host_name_and_has_no_share():
    made = {each["metadata"]["name"]: each for each in route.build(resource(), {1: 1}, [1, 2])[:3]}
    assert weights(made["helmet"]) == {"helmet-v1": 1}
    assert headers(made["helmet"]) == ["1", "2"]
    assert made["helmet-v2"]["spec"]["hostnames"] == ["v2.helmet.example.com", "v2.helmet.internal"]


def test_ten_versions_that_replace_ten_others_fit_into_a_route():
    shares = {number: 10 if number <= 10 else 0 for number in range(1, 21)}
    for made in route.build(resource(), shares, list(shares)):
        if made["metadata"]["name"] == "helmet":
            assert len(made["spec"]["rules"]) == route.MAX_ITEMS
            assert headers(made) == [str(number) for number in range(6, 21)]
            assert {number for number, share in shares.items() if share} <= {int(name.rpartition("v")[2]) for name in weights(made)}
            assert len(weights(made)) == route.MAX_ITEMS


def test_the_longest_name_is_a_name():
    made = route.build(gen.yolo(name="a" * 40, **GATEWAY), {99999: 1}, [99999])
    assert max(len(each["metadata"]["name"]) for each in made) <= 63


class Gateways:
    """The routes of a resource as they are observed; every Gateway has taken them."""

    def __init__(self, **spec: Any) -> None:
        self.yolo = resource(**spec)
        self.live = {"HTTPRoute": {}, "GRPCRoute": {}}  # type: dict[str, dict[str, Manifest]]
        self.served = True
        for made in route.build(self.yolo, {1: 90, 2: 10}, [1, 2]):
            made["metadata"]["generation"] = 3
            self.live[made["kind"]][made["metadata"]["name"]] = gen.answer_route(made, **ACCEPTED)

    def answer(self, kind: str = "HTTPRoute", name: str = "helmet", **answer: Any) -> None:
        gen.answer_route(self.live[kind][name], **answer)

    @property
    def observed(self) -> Observed:
        return Observed(http_routes=self.live["HTTPRoute"], grpc_routes=self.live["GRPCRoute"], gateway_api=self.served)

    def problem(self) -> tuple[str, str]:
        """Reason and message; empty where all is well."""
        found = answers.problem(self.yolo, self.observed)
        return (found.reason, found.message) if found is not None else ("", "")


def test_routes_that_every_gateway_has_taken_are_accepted():
    assert Gateways().problem() == ("", "")


def test_with_mode_service_nobody_is_asked():
    assert answers.problem(gen.yolo(), Observed()) is None


def test_without_the_crds_the_remedy_is_to_install_them():
    it = Gateways()
    it.served = False
    reason, message = it.problem()
    assert reason == "GatewayApiMissing"
    assert "install the CRDs" in message


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        pytest.param({"Accepted": ("False", "NotAllowedByListeners")}, "RouteNotAccepted", "NotAllowedByListeners: it is NotAllowedByListeners", id="refused"),
        pytest.param(ACCEPTED | {"ResolvedRefs": ("False", "BackendNotFound")}, "RouteRefsNotResolved", "BackendNotFound", id="a Service is missing"),
        pytest.param({"Accepted": ("False", "No"), "ResolvedRefs": ("False", "BackendNotFound")}, "RouteNotAccepted", "No: it is No", id="both"),
        pytest.param({"Accepted": ("Unknown", "Pending")}, "RoutePending", "has not answered", id="not decided"),
        pytest.param({"ResolvedRefs": ("True", "ResolvedRefs")}, "RoutePending", "has not answered", id="half an answer"),
        pytest.param(ACCEPTED | {"generation": 2}, "RoutePending", "has not answered", id="an answer to the route as it was"),
        pytest.param({"Accepted": ("False", "No"), "generation": 2}, "RoutePending", "has not answered", id="a refusal of the route as it was"),
        pytest.param({"Accepted": ("True", "Accepted")}, "", "", id="a controller that does not tell of references"),
    ],
)
def test_one_gateway_of_several_is_enough_to_wait_for(answer, reason, words):
    it = Gateways()
    it.answer(parents=[EDGE], **answer)
    found, message = it.problem()
    assert found == reason
    assert words in message
    if reason:
        assert "Gateway infra/edge, listener 'http'" in message
        assert "HTTPRoute 'helmet'" in message


@pytest.mark.parametrize(("kind", "name"), [("HTTPRoute", "helmet-v2"), ("GRPCRoute", "helmet"), ("GRPCRoute", "helmet-v1")], ids=lambda value: value)
def test_every_route_counts(kind, name):
    it = Gateways()
    it.answer(kind, name, Accepted=("False", "NoMatchingListenerHostname"))
    reason, message = it.problem()
    assert reason == "RouteNotAccepted"
    assert f"{kind} {name!r}" in message


def test_the_worst_is_told_first():
    it = Gateways()
    it.answer(Accepted=("Unknown", "Pending"))
    it.answer("GRPCRoute", ResolvedRefs=("False", "BackendNotFound"))
    assert it.problem()[0] == "RouteRefsNotResolved"
    it.answer("GRPCRoute", "helmet-v2", Accepted=("False", "NotAllowedByListeners"))
    assert it.problem()[0] == "RouteNotAccepted"


def test_nobody_has_answered_where_no_controller_runs():
    it = Gateways()
    it.live["HTTPRoute"]["helmet"].pop("status")
    assert it.problem()[0] == "RoutePending"


def test_a_route_that_is_not_there_is_pending_one_of_a_version_that_is_not_built_is_not():
    it = Gateways()
    del it.live["HTTPRoute"]["helmet-v2"]
    assert it.problem() == ("", "")
    del it.live["GRPCRoute"]["helmet"]
    assert it.problem() == ("RoutePending", "GRPCRoute 'helmet' is not there yet")


def test_a_route_of_a_version_that_drains_does_not_count():
    it = Gateways(versions=[gen.version(2)])
    it.answer(name="helmet-v1", Accepted=("False", "NotAllowedByListeners"))
    assert it.problem() == ("", "")


def test_grpc_routes_do_not_count_where_grpc_is_not_wanted():
    it = Gateways()
    it.yolo = resource(traffic=WITHOUT_GRPC)
    it.live["GRPCRoute"]["helmet"].pop("status")
    assert it.problem() == ("", "")


def test_a_parent_is_the_same_with_and_without_its_defaults():
    it = Gateways()
    for entry in it.live["HTTPRoute"]["helmet"]["status"]["parents"]:
        parent = entry["parentRef"]
        entry["parentRef"] = {key: value for key, value in parent.items() if key not in {"group", "kind"}} | {"namespace": parent.get("namespace", "factory")}
    assert it.problem() == ("", "")


def test_an_answer_to_another_listener_of_the_gateway_is_none():
    it = Gateways()
    it.live["HTTPRoute"]["helmet"]["status"]["parents"][0]["parentRef"]["sectionName"] = "https"
    assert it.problem()[0] == "RoutePending"


def test_what_a_controller_that_is_gone_has_left_does_not_count():
    it = Gateways()
    entries = it.live["HTTPRoute"]["helmet"]["status"]["parents"]
    left = {"parentRef": EDGE, "conditions": [{"type": "Accepted", "status": "False", "reason": "No", "observedGeneration": 3}]}
    entries.insert(0, left)
    assert it.problem() == ("", "")
    entries.append(entries.pop(0))
    assert it.problem() == ("", "")


def test_a_condition_without_a_generation_is_taken_as_it_is():
    it = Gateways()
    for entry in it.live["HTTPRoute"]["helmet"]["status"]["parents"]:
        entry["conditions"] = [{key: value for key, value in each.items() if key != "observedGeneration"} for each in entry["conditions"]]
    assert it.problem() == ("", "")
