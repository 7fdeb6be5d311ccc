"""What is read of Gateways, their classes and a CRD: for whom, how often, and what it means where it may not be read."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import gen
from simulation import FakeKube, Simulation
from yolo_operator.controller import gateway_features, kinds
from yolo_operator.controller.gateway_features import GatewayFeatures
from yolo_operator.controller.kube import error_of
from yolo_operator.core import api, features
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.observed import Support

PARENTS = [{"name": "edge", "namespace": "infra", "sectionName": "http"}, {"name": "edge", "namespace": "infra", "sectionName": "https"}]
EDGE, CLASS = ("Gateway", "infra", "edge"), ("GatewayClass", "", "traefik")
CRD = ("CustomResourceDefinition", "", "httproutes.gateway.networking.k8s.io")
MIRROR, SESSIONS = {"mirror": {"version": 2}}, {"sessionPersistence": {}}


def spec(**gateway: Any) -> dict[str, Any]:
    return gen.behind_a_gateway(parentRefs=PARENTS, **gateway)


def route_crd(**properties: Any) -> dict[str, Any]:
    """As the API server has it: one version that is read, and another."""
    rules = {"items": {"properties": {"matches": {}} | properties}}
    served = {"properties": {"spec": {"properties": {"rules": rules}}}}
    return {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": served}}, {"name": "v1beta1", "schema": {}}]}}


def kube(*names: str, session: tuple[str, ...] = ()) -> FakeKube:
    """With a Gateway whose class lists these features."""
    made = FakeKube(Simulation())
    made.others[EDGE] = {"spec": {"gatewayClassName": "traefik"}}
    made.others[CLASS] = {"status": {"supportedFeatures": [{"name": each} for each in names]}}
    made.others[CRD] = route_crd(sessionPersistence={"properties": {name: {"type": "string"} for name in session}}) if session else route_crd()
    return made


def listed(it: FakeKube, resource: api.YoloDeployment) -> Mapping[str, Support]:
    return asyncio.run(GatewayFeatures(it).read(resource))[0]


def fields(it: FakeKube, resource: api.YoloDeployment) -> Support:
    return asyncio.run(GatewayFeatures(it).read(resource))[1]


def test_nothing_is_read_for_a_resource_that_asks_for_nothing():
    it = kube()
    for resource in (gen.yolo(), gen.yolo(**spec()), gen.yolo(**spec(**MIRROR), metadata={"deletionTimestamp": "2026-11-22T04:00:00Z"})):
        assert listed(it, resource) == {}
    assert it.reads == []


def test_a_gateway_is_read_once_with_its_class_whatever_its_listeners():
    it = kube(features.MIRROR, "HTTPRoute")
    assert listed(it, gen.yolo(**spec(**MIRROR))) == {"infra/edge": Support(frozenset({features.MIRROR, "HTTPRoute"}))}
    assert it.reads == [EDGE, CLASS]


def test_the_fields_of_a_session_are_those_of_the_crd():
    it = kube(session=("type", "sessionName"))
    assert fields(it, gen.yolo(**spec(**SESSIONS))) == Support(frozenset({"type", "sessionName"}))
    assert it.reads == [EDGE, CLASS, CRD]
    assert fields(kube(), gen.yolo(**spec(**SESSIONS))) == Support()


@pytest.mark.parametrize(
    ("gone", "words"),
    [pytest.param(EDGE, "no Gateway of this name", id="the Gateway"), pytest.param(CLASS, "no GatewayClass 'traefik'", id="its class")],
)
def test_what_is_not_there_is_named(gone, words):
    it = kube(features.MIRROR)
    del it.others[gone]
    found = listed(it, gen.yolo(**spec(**MIRROR)))["infra/edge"]
    assert words in found.unknown
    assert not found.names


@pytest.mark.parametrize("status", [{}, {"status": {}}, {"status": {"supportedFeatures": []}}], ids=["no status", "no list", "an empty list"])
def test_a_class_that_lists_nothing_supports_nothing(status):
    it = kube()
    it.others[CLASS] = status
    assert listed(it, gen.yolo(**spec(**MIRROR))) == {"infra/edge": Support()}


def test_a_list_of_bare_names_is_read_too():
    it = kube()
    it.others[CLASS] = {"status": {"supportedFeatures": [features.MIRROR]}}
    assert listed(it, gen.yolo(**spec(**MIRROR)))["infra/edge"].names == {features.MIRROR}


@pytest.mark.parametrize("kind", ["Gateway", "GatewayClass", "CustomResourceDefinition"])
def test_where_it_may_not_be_read_that_is_the_answer(kind):
    it = kube(features.MIRROR, features.SESSION)
    it.faults["get", kind] = error_of("GET", "/", 403, {"message": f"{kind} is forbidden"})
    resource = gen.yolo(**spec(**MIRROR, **SESSIONS))
    unknown = (fields(it, resource) if kind == "CustomResourceDefinition" else listed(it, resource)["infra/edge"]).unknown
    assert "list of namespaces" in unknown
    assert f"{kind} is forbidden" in unknown


def test_an_api_server_that_does_not_answer_ends_the_pass():
    it = kube(features.MIRROR)
    it.faults["get", "GatewayClass"] = Unavailable("ApiServerError", "500: oops")
    with pytest.raises(Unavailable):
        listed(it, gen.yolo(**spec(**MIRROR)))


def test_an_answer_is_used_again_for_a_while(monkeypatch):
    it, now = kube(features.MIRROR), 1000.0
    monkeypatch.setattr(gateway_features.time, "monotonic", lambda: now)
    reader = GatewayFeatures(it)

    def look() -> Support:
        return asyncio.run(reader.read(gen.yolo(**spec(**MIRROR))))[0]["infra/edge"]

    assert look().names == {features.MIRROR}
    it.others[CLASS] = {}
    now += gateway_features.AGE_SECONDS - 1
    assert look().names == {features.MIRROR}
    assert len(it.reads) == 2
    now += 2
    assert look().names == set()
    assert len(it.reads) == 4


def test_the_kinds_that_are_read_are_where_the_api_server_has_them():
    paths = [kinds.GATEWAY.path("infra", "edge"), kinds.GATEWAY_CLASS.path("", "traefik"), kinds.CRD.path("", CRD[2])]
    assert paths == [
        "/apis/gateway.networking.k8s.io/v1/namespaces/infra/gateways/edge",
        "/apis/gateway.networking.k8s.io/v1/gatewayclasses/traefik",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io",
    ]
