"""Whether a live object differs: defaults and foreign fields do not count, every leaf of ours does."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gen
from manifests import OVERLAY, budget_manifest, deployment, deployment_cpu, policies, routes, service_manifest
from yolo_operator.core import drift, names


def defaulted(value: Any, field: str = "") -> Any:
    """A manifest as the API server stores it: with defaults, other people's fields and other spellings of quantities."""
    if isinstance(value, dict):
        if field in {"requests", "limits", "resourceFieldRef"}:
            return {key: {"1000m": "1", "4096Mi": "4Gi"}.get(text, text) for key, text in value.items()}
        result = {key: defaulted(part, key) for key, part in value.items() if part not in ([], None) and (part != {} or key == "emptyDir")}
        return (
            result | {"somebodyElses": {"field": 1}} if field not in {"labels", "annotations", "matchLabels", "nodeSelector"} else result | {"foreign": "label"}
        )
    if isinstance(value, list):
        items = [defaulted(item, field) for item in value]
        if drift.merge_keys(field, value):
            items.append(dict.fromkeys(drift.merge_keys(field, value), "injected"))
        return items
    return value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all leaves."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    else:
        yield path


def changed(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case _:
            return f"{value}x"


OVERLAID = deployment(triton={"podTemplate": OVERLAY})
OURS = [
    deployment(),
    deployment_cpu(),
    OVERLAID,
    service_manifest(),
    budget_manifest(),
    policies()["triton"],
    routes()["HTTPRoute", "helmet"],
    routes()["GRPCRoute", "helmet"],
]
ALL = [pytest.param(manifest, path, id=f"{manifest['kind']}{index} {'.'.join(map(str, path))}"[:120]) for index, manifest in enumerate(OURS) for path in leaves(manifest) if path[0] not in {"apiVersion", "kind"}]  # fmt: skip


@pytest.mark.parametrize("manifest", OURS, ids=lambda manifest: manifest["kind"])
def test_what_the_api_server_and_others_add_is_no_difference(manifest):
    assert drift.differs(manifest, manifest) is None
    assert drift.differs(manifest, defaulted(manifest)) is None


def test_every_changed_leaf_is_found():
    for row in ALL:
        manifest, path = row.values
        live = defaulted(manifest)
        node = live
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = changed(node[path[-1]])
        assert drift.differs(manifest, live) is not None, path


def test_every_leaf_that_was_taken_away_is_found():
    for row in ALL:
        manifest, path = row.values
        live = copy.deepcopy(manifest)
        node = live
        for part in path[:-1]:
            node = node[part]
        if node[path[-1]] in (False, "", None) or not isinstance(node, dict):
            continue
        del node[path[-1]]
        assert drift.differs(manifest, live) is not None, path


def test_a_container_that_somebody_injects_is_no_difference_but_a_toleration_is():
    live = copy.deepcopy(deployment())
    live["spec"]["template"]["spec"]["containers"].append({"name": "mesh", "image": "mesh:1"})
    assert drift.differs(deployment(), live) is None
    live["spec"]["template"]["spec"]["tolerations"].append({"operator": "Exists"})
    assert drift.differs(deployment(), live) == "spec.template.spec.tolerations"


def owned(fields: dict[str, Any], **entry: Any) -> dict[str, Any]:
    """A live Service of which our manager owns these fields."""
    live = copy.deepcopy(service_manifest())
    live["metadata"]["managedFields"] = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields} | entry]
    return live


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        pytest.param({"f:spec": {"f:clusterIP": {}}}, ".spec.clusterIP", id="a field we once set"),
        pytest.param({"f:metadata": {"f:labels": {"f:old": {}}}}, ".metadata.labels.old", id="a label we once set"),
        pytest.param({"f:spec": {"f:ports": {'k:{"port":9000,"protocol":"TCP"}': {".": {}}}}}, None, id="a port we once set"),
    ],
)
def test_what_we_own_and_want_no_more_is_found(fields, path):
    found = drift.differs(service_manifest(), owned(fields))
    assert found is not None
    assert path is None or found == path


@pytest.mark.parametrize(
    ("fields", "entry"),
    [
        pytest.param(
            {"f:spec": {"f:type": {}, "f:selector": {}, "f:ports": {".": {}, 'k:{"port":8000,"protocol":"TCP"}': {".": {}, "f:name": {}}}}},
            {},
            id="what we want",
        ),
        pytest.param({"f:spec": {"f:clusterIP": {}}}, {"manager": "kubectl"}, id="what another owns"),
        pytest.param({"f:spec": {"f:clusterIP": {}}}, {"operation": "Update"}, id="what was not applied"),
        pytest.param({"f:status": {"f:loadBalancer": {}}}, {"subresource": "status"}, id="a status"),
    ],
)
def test_what_is_wanted_or_not_ours_is_left(fields, entry):
    assert drift.differs(service_manifest(), owned(fields, **entry)) is None


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        pytest.param({"f:parentRefs": {}, "f:hostnames": {}, "f:rules": {}}, None, id="all lists are ours"),
        pytest.param({"f:parentRefs": {}, "f:hostnames": {}}, "spec.rules", id="somebody has put a filter into a rule"),
        pytest.param({}, "spec.parentRefs", id="somebody has edited all of them"),
    ],
)
def test_a_list_that_is_one_value_must_be_ours(fields, path):
    wanted = routes()["HTTPRoute", "helmet"]
    live = copy.deepcopy(wanted)
    live["spec"]["rules"][0]["filters"] = [{"type": "RequestMirror"}]
    fieldset = {"f:metadata": {"f:labels": {}}} | ({"f:spec": fields} if fields else {})
    live["metadata"]["managedFields"] = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fieldset}]
    assert drift.differs(wanted, live) == path


@pytest.mark.parametrize("wanted", [service_manifest(), budget_manifest()], ids=lambda manifest: manifest["kind"])
def test_a_selector_that_somebody_has_narrowed_is_not_ours_any_more(wanted):
    live = copy.deepcopy(wanted)
    selected = live["spec"]["selector"]
    selected.get("matchLabels", selected)["foreign"] = "label"
    fields = {f"f:{key}": {} for key in wanted["spec"]}
    live["metadata"]["managedFields"] = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": fields}}]
    assert drift.differs(wanted, live) is None
    del fields["f:selector"]
    assert drift.differs(wanted, live) == "spec.selector"


def applied(wanted: dict[str, Any]) -> dict[str, Any]:
    """A live object after we have applied what we want: all fields are ours, lists and selectors as single values."""
    live = drift.marked(wanted)
    fields = {"f:metadata": {"f:annotations": {f"f:{names.SPEC_DIGEST}": {}}}, "f:spec": {f"f:{key}": {} for key in wanted["spec"]}}
    live["metadata"]["managedFields"] = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}]
    return live


def without(manifest: dict[str, Any], *path: Any) -> dict[str, Any]:
    made = copy.deepcopy(manifest)
    node = made
    for part in path[:-1]:
        node = node[part]
    del node[path[-1]]
    return made


@pytest.mark.parametrize(
    ("before", "path"),
    [
        pytest.param(service_manifest(), ("spec", "selector", names.VERSION), id="a Service selects all versions again"),
        pytest.param(policies()["triton"], ("spec", "ingress", 0, "ports", 0), id="a policy opens one port less"),
        pytest.param(routes()["HTTPRoute", "helmet"], ("spec", "rules", 0, "matches"), id="a rule has a part less"),
    ],
)
def test_less_than_before_is_found_in_what_is_a_single_value(before, path):
    wanted = without(before, *path)
    assert drift.differs(drift.marked(before), applied(before)) is None
    assert drift.differs(drift.marked(wanted), applied(before)) == f"metadata.annotations.{names.SPEC_DIGEST}"


@pytest.mark.parametrize("field", ["podSelector", "ingress", "egress"])
def test_a_policy_that_somebody_has_widened_is_not_ours_any_more(field):
    wanted = policies()["triton"]
    live = copy.deepcopy(wanted)
    live["spec"]["podSelector"]["matchLabels"]["of"] = "nobody"
    live["spec"]["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})
    live["spec"]["egress"][0]["ports"].append({"port": 22, "protocol": "TCP"})
    fields = {f"f:{key}": {} for key in wanted["spec"]}
    live["metadata"]["managedFields"] = [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": fields}}]
    assert drift.differs(wanted, live) is None
    del fields[f"f:{field}"]
    assert drift.differs(wanted, live) == f"spec.{field}"


def test_a_share_of_nothing_is_a_share():
    wanted = routes()["HTTPRoute", "helmet"]
    live = copy.deepcopy(wanted)
    wanted["spec"]["rules"][-1]["backendRefs"][1]["weight"] = 0
    assert drift.differs(wanted, live) == "spec.rules[2].backendRefs[1].weight"


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1000m"), ("0.5", "500m"), ("1Gi", "1024Mi"), ("2k", "2000"), ("1e3", "1k"), (1, "1"), ("100n", "0.1u"), ("1.5Gi", "1536Mi")],
)
def test_equal_quantities_are_equal(one, other):
    assert drift.quantity(one) == drift.quantity(other) is not None
    assert drift.differs({"a": {"resources": {"limits": {"cpu": one}}}}, {"a": {"resources": {"limits": {"cpu": other}}}}) is None


@pytest.mark.parametrize("text", ["", "abc", "1Q", "Gi", "--1", "nvidia"])
def test_what_is_no_quantity_is_none(text):
    assert drift.quantity(text) is None


@given(st.integers(0, 1 << 50), st.sampled_from(["m", "", "k", "M", "Gi", "Ki"]))
def test_a_quantity_has_its_value(number, suffix):
    assert drift.quantity(f"{number}{suffix}") == number * drift.SUFFIXES[suffix]


@pytest.mark.parametrize("field", ["name", "value", "image", "args"])
def test_text_that_looks_like_a_quantity_is_text(field):
    assert drift.differs({field: "1000m"}, {field: "1"}) is not None


def test_a_label_that_looks_like_a_quantity_is_text():
    assert drift.differs({"metadata": {"labels": {"version": "1k"}}}, {"metadata": {"labels": {"version": "1000"}}}) is not None


def test_gen_objects_are_never_shared():
    assert gen.body() is not gen.body()
    assert deployment() is not deployment()
