"""What the watches have shown."""

from typing import Any

import gen
from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.core import names

KEY = Key("factory", "helmet")


def service(version: int, uid: str = "one", owner: str = gen.UID, **metadata: Any) -> dict[str, Any]:
    meta = {"name": "helmet-v1", "namespace": "factory", "uid": uid, "resourceVersion": str(version), "labels": {names.OWNER: "helmet"}}
    return {"metadata": meta | {"ownerReferences": [{"uid": owner}]} | metadata}


def known(cache: Cache) -> str:
    live = cache.get(kinds.SERVICE, Key("factory", "helmet-v1"))
    return "" if live is None else str(live["metadata"]["resourceVersion"])


def test_what_is_older_than_what_is_known_is_no_news():
    cache = Cache()
    assert cache.put(kinds.SERVICE, service(10))
    assert not cache.put(kinds.SERVICE, service(9))
    assert not cache.put(kinds.SERVICE, service(10))
    assert cache.put(kinds.SERVICE, service(100)), "numbers, not text"
    assert known(cache) == "100"


def test_an_object_made_anew_under_the_same_name_is_news_whatever_its_version():
    cache = Cache()
    cache.put(kinds.SERVICE, service(10))
    assert cache.put(kinds.SERVICE, service(5, uid="two"))
    assert known(cache) == "5"


def test_the_end_of_an_object_does_not_take_its_successor_along():
    cache = Cache()
    cache.put(kinds.SERVICE, service(10))
    cache.put(kinds.SERVICE, service(12, uid="two"))
    cache.drop(kinds.SERVICE, service(11))
    assert known(cache) == "12"
    cache.drop(kinds.SERVICE, service(13, uid="two"))
    assert known(cache) == ""
    assert cache.observe(KEY, gen.UID).services == {}
    cache.drop(kinds.SERVICE, service(13, uid="two"))


def test_only_children_of_this_very_owner_are_observed():
    cache = Cache()
    cache.put(kinds.SERVICE, service(10, owner="an earlier one of the same name"))
    assert cache.observe(KEY, gen.UID).services == {}
    cache.put(kinds.SERVICE, service(11))
    assert list(cache.observe(KEY, gen.UID).services) == ["helmet-v1"]
    assert cache.observe(Key("factory", "other"), gen.UID).services == {}
    assert cache.observe(Key("elsewhere", "helmet"), gen.UID).services == {}


def test_a_child_whose_label_was_changed_by_hand_is_not_seen_twice():
    cache = Cache()
    cache.put(kinds.SERVICE, service(10))
    cache.put(kinds.SERVICE, service(11, labels={names.OWNER: "other"}))
    assert cache.observe(KEY, gen.UID).services == {}
    cache.put(kinds.SERVICE, service(12))
    assert cache.observe(KEY, gen.UID).services["helmet-v1"]["metadata"]["resourceVersion"] == "12"
    assert cache.observe(Key("factory", "other"), gen.UID).services == {}


def test_pods_are_kept_without_their_spec_and_objects_with_our_fields_only():
    cache = Cache()
    cache.put(kinds.POD, gen.pod() | {"spec": {"containers": [], "initContainers": [{"name": "check", "image": "a"}]}})
    (pod,) = cache.observe(KEY, gen.UID).pods
    assert "spec" not in pod
    managers = [{"manager": names.FIELD_MANAGER}, {"manager": "kubectl"}]
    cache.put(kinds.SERVICE, service(10, managedFields=managers))
    live = cache.get(kinds.SERVICE, Key("factory", "helmet-v1"))
    assert live is not None
    assert live["metadata"]["managedFields"] == managers[:1]
    assert (live["apiVersion"], live["kind"]) == ("v1", "Service")


def test_keys_of_children_are_their_owners():
    assert Key.owner_of(service(1)) == KEY
    assert Key.owner_of({"metadata": {"namespace": "factory"}}).name == ""


def test_of_a_pods_spec_is_kept_what_the_status_is_told_by():
    cache = Cache()
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    init = [{"name": "check", "image": "a"}, {"name": "istio-proxy", "image": "b", "restartPolicy": "Always"}]
    cache.put(kinds.POD, gen.pod() | {"spec": {"containers": [], "nodeName": "node-7", "resourceClaims": claims, "initContainers": init}})
    (pod,) = cache.observe(KEY, gen.UID).pods
    assert pod["spec"] == {"nodeName": "node-7", "resourceClaims": claims, "initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}]}


def test_what_all_objects_of_a_kind_own_is_kept_once_and_unchanged():
    cache = Cache()
    for name in ("one", "two"):
        fields = {
            "f:metadata": {"f:ownerReferences": {f'k:{{"uid":"{name}"}}': {}}},
            "f:spec": {"f:ports": {'k:{"port":8000}': {".": {}, "f:name": {}}}, "f:type": {}},
        }
        entry = {"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
        cache.put(kinds.SERVICE, service(10, name=name, managedFields=[entry]))
        live = cache.get(kinds.SERVICE, Key("factory", name))
        assert live is not None
        assert live["metadata"]["managedFields"] == [entry]
    one, two = (live["metadata"]["managedFields"][0]["fieldsV1"] for live in cache.all(kinds.SERVICE))
    assert one["f:spec"]["f:ports"] is two["f:spec"]["f:ports"]


def test_who_asks_for_changes_is_told_of_those_that_are_there_and_of_each_that_changes():
    cache = Cache()
    cache.put(kinds.YOLO, gen.body())
    first = cache.changes()
    assert first == {KEY}
    first.clear()
    cache.put(kinds.SERVICE, service(10))
    assert first == set(), "only the resource and its Deployments"
    deployment = service(10, name="helmet-v1")
    cache.put(kinds.DEPLOYMENT, deployment)
    assert first == {KEY}
    first.clear()
    cache.put(kinds.DEPLOYMENT, deployment)
    assert first == set(), "what is no news changes nothing"
    cache.put(kinds.DEPLOYMENT, service(11, name="helmet-v1", labels={names.OWNER: "other"}))
    assert first == {KEY, Key("factory", "other")}
    first.clear()
    second = cache.changes()
    second.clear()
    cache.drop(kinds.YOLO, gen.body())
    assert first == second == {KEY}
