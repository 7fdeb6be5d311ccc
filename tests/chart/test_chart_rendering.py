"""What the chart makes of its values; no cluster is asked."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import chart_values
from chart.commands import CHART, CRDS, CommandFailed, Manifest, Program, Render, rights, settings_of
from yolo_operator.controller import kinds
from yolo_operator.controller.settings import Settings

CASES = pytest.mark.parametrize("values", [pytest.param(values, id=name) for name, values in chart_values.ALL.items()])


def of_kind(objects: list[Manifest], *wanted: str) -> list[Manifest]:
    return [each for each in objects if each["kind"] in wanted]


def pod_specs(objects: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for each in objects:
        if each["kind"] in ("Deployment", "Pod"):
            yield each["metadata"]["name"], each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]


def operator_environment(objects: list[Manifest]) -> dict[str, str]:
    (deployment,) = (each for each in of_kind(objects, "Deployment") if each["metadata"]["name"] == "yolo-operator")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "a-pod") for entry in container["env"]}


def verbs(objects: list[Manifest], kind: kinds.Kind, subresource: str = "") -> set[str]:
    return {verb for group, resource, verb in rights(objects) if (group, resource) == (kind.group, f"{kind.plural}{subresource}")}


@CASES
def test_lint_finds_nothing(helm: Program, values: Manifest) -> None:
    helm("lint", "--strict", CHART, *settings_of(values))


def test_only_a_list_of_namespaces_warns_those_who_apply_elsewhere(render: Render) -> None:
    kinds_of_policy = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert not of_kind(render(), *kinds_of_policy)
    assert not of_kind(render(chart_values.NAMESPACED | {"warnUnserved": False}), *kinds_of_policy)
    policy, binding = of_kind(render(chart_values.NAMESPACED), *kinds_of_policy)
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Warn"]}, "it refuses nothing"


def test_the_chart_carries_the_generated_crds() -> None:
    assert len(CRDS) == 2
    for crd in CRDS:
        assert (CHART / "files" / crd.name).read_bytes() == crd.read_bytes(), f"cp crds/{crd.name} helm/yolo-operator/files/"


def test_the_crds_are_rendered_as_they_are_and_kept_when_the_release_goes(render: Render) -> None:
    crds = of_kind(render(), "CustomResourceDefinition")
    assert [crd["metadata"].pop("annotations") for crd in crds] == [{"helm.sh/resource-policy": "keep"}] * 2
    assert sorted(map(json.dumps, crds)) == sorted(json.dumps(yaml.safe_load(crd.read_text())) for crd in CRDS)


def test_the_crds_can_be_left_to_others(render: Render) -> None:
    assert not of_kind(render({"crds.install": False}), "CustomResourceDefinition")


@CASES
def test_no_rule_is_wider_than_its_words(render: Render, values: Manifest) -> None:
    """No wildcard, nothing that gives rights away, and no way into a Secret or another's Pod; in the roles for people neither."""
    into = {"exec", "attach", "portforward", "proxy", "ephemeralcontainers", "token", "approval"}
    for role in of_kind(render(values), "ClusterRole", "Role"):
        for rule in role["rules"]:
            assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}, role["metadata"]["name"]
            assert "*" not in "".join([*rule["apiGroups"], *rule["resources"], *rule["verbs"]]), role["metadata"]["name"]
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            assert not {"rbac.authorization.k8s.io", "certificates.k8s.io", "admissionregistration.k8s.io"} & set(rule["apiGroups"])
            assert not {"secrets", "configmaps", "serviceaccounts", "nodes", "namespaces"} & {resource.partition("/")[0] for resource in rule["resources"]}
            assert not into & {resource.partition("/")[2] for resource in rule["resources"]}


@pytest.mark.parametrize("values", [chart_values.DEFAULT, chart_values.NAMESPACED], ids=["whole cluster", "namespaced"])
@pytest.mark.parametrize("kind", [*kinds.BY_NAME.values()], ids=lambda kind: kind.name)
def test_the_operator_may_watch_what_it_watches(render: Render, values: Manifest, kind: kinds.Kind) -> None:
    assert verbs(render(values), kind) >= {"list", "watch"}


NEEDED = [
    pytest.param(kinds.YOLO, "", {"list", "watch", "patch"}, id="YoloDeployments get a finalizer and nothing else"),
    pytest.param(kinds.YOLO, "/status", {"patch"}, id="their status is applied"),
    pytest.param(kinds.SERVER, "", {"list", "watch", "patch"}, id="so do YoloServers"),
    pytest.param(kinds.SERVER, "/status", {"patch"}, id="theirs too"),
    pytest.param(kinds.DEPLOYMENT, "", {"list", "watch", "create", "patch", "delete"}, id="Deployments are applied"),
    pytest.param(kinds.SERVICE, "", {"list", "watch", "create", "patch", "delete"}, id="Services are applied"),
    pytest.param(kinds.BUDGET, "", {"list", "watch", "create", "patch", "delete"}, id="budgets are applied"),
    pytest.param(kinds.HTTP_ROUTE, "", {"list", "watch", "create", "patch", "delete"}, id="HTTPRoutes are applied"),
    pytest.param(kinds.GRPC_ROUTE, "", {"list", "watch", "create", "patch", "delete"}, id="GRPCRoutes are applied"),
    pytest.param(kinds.NETWORK_POLICY, "", {"list", "watch", "create", "patch", "delete"}, id="NetworkPolicies are applied"),
    pytest.param(kinds.GATEWAY, "", {"get"}, id="Gateways are read"),
    pytest.param(kinds.GATEWAY_CLASS, "", {"get"}, id="their classes are read"),
    pytest.param(kinds.CRD, "", {"get"}, id="the CRD of HTTPRoutes is read"),
    pytest.param(kinds.JOB, "", {"list", "watch", "create", "delete"}, id="Jobs are created, never changed"),
    pytest.param(kinds.POD, "", {"list", "watch"}, id="Pods are watched, never made"),
    pytest.param(kinds.POD, "/status", {"patch"}, id="their gate is opened, and those of a YoloServer are told their models"),
    pytest.param(kinds.EVENT, "", {"create", "list"}, id="Events are written, and listed where a Job has no Pod"),
    pytest.param(kinds.LEASE, "", {"get", "create", "update"}, id="the Lease is taken and renewed"),
]


@pytest.mark.parametrize(("kind", "subresource", "needed"), NEEDED)
def test_rights_are_what_the_code_uses(render: Render, kind: kinds.Kind, subresource: str, needed: set[str]) -> None:
    assert verbs(render(), kind, subresource) == needed


def test_there_are_no_rights_besides(render: Render) -> None:
    named = {(kind.group, f"{kind.plural}{subresource}") for kind, subresource, _ in (row.values for row in NEEDED)}
    assert {(group, resource) for group, resource, _ in rights(render())} == named


def test_a_list_of_namespaces_needs_no_cluster_role(render: Render) -> None:
    objects = render(chart_values.NAMESPACED)
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    assert rights(objects) < rights(render())
    assert sorted(each["metadata"]["namespace"] for each in of_kind(objects, "RoleBinding")) == ["factory", "lab", "yolo-system"]
    assert Settings.from_env(operator_environment(objects)).namespaces == ("factory", "lab")


def test_what_is_beyond_the_namespaces_is_read_with_a_cluster_role_only(render: Render) -> None:
    beyond = {(kind.group, kind.plural, "get") for kind in (kinds.GATEWAY, kinds.GATEWAY_CLASS, kinds.CRD)}
    assert rights(render()) - rights(render(chart_values.NAMESPACED)) == beyond
    (crds,) = (rule for role in of_kind(render(), "ClusterRole") for rule in role["rules"] if kinds.CRD.plural in rule["resources"])
    assert crds["resourceNames"] == ["httproutes.gateway.networking.k8s.io"]


def test_people_who_edit_a_namespace_may_edit_its_models(render: Render) -> None:
    labels = {each["metadata"]["name"]: each["metadata"]["labels"] for each in of_kind(render(), "ClusterRole")}
    assert labels["yolo-operator-edit"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert set(labels) == {"yolo-operator", "yolo-operator-view", "yolo-operator-edit"}


class Recorded(dict[str, str]):
    """An environment that remembers what was read of it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


@CASES
def test_the_operator_reads_every_variable_the_chart_writes(render: Render, values: Manifest) -> None:
    environment = Recorded(operator_environment(render(values)))
    settings = Settings.from_env(environment)
    assert set(environment) <= environment.read
    assert settings.lease_namespace == "yolo-system"
    assert settings.identity == "a-pod"


def test_every_value_reaches_the_operator(render: Render) -> None:
    settings = Settings.from_env(operator_environment(render(chart_values.EVERYTHING)))
    given = chart_values.EVERYTHING
    assert settings.defaults.storage is not None
    assert settings.defaults.storage.model_dump(by_alias=True, exclude_none=True) == given["storage"]
    assert settings.defaults.proxy is not None
    assert settings.defaults.proxy.model_dump(by_alias=True, exclude_none=True) == given["proxy"]
    assert settings.defaults.operator_image == given["images"]["operator"]
    assert settings.defaults.exporter_image == given["images"]["exporter"]
    assert settings.defaults.triton_image == given["triton.image"]
    assert settings.defaults.max_image_updates == given["triton.maxConcurrentUpdates"]
    assert settings.defaults.cluster_name == given["clusterName"]
    assert settings.defaults.assets_url == given["assetsUrl"]
    assert settings.defaults.hub_url == given["hubUrl"]
    assert settings.defaults.assigned_user is True
    assert settings.defaults.ipv6 is True
    assert (settings.defaults.retry_min_seconds, settings.defaults.retry_max_seconds) == (5, 50)
    assert settings.defaults.jobs.model_dump(by_alias=True).items() <= given["jobs"].items()
    assert (settings.workers, settings.resync_seconds, settings.log_level, settings.log_format) == (8, 60, "DEBUG", "text")


def test_values_left_alone_are_the_operators_own_defaults(render: Render) -> None:
    ours, own = Settings.from_env(operator_environment(render())), Settings.from_env({})
    assert ours.defaults.storage is None
    assert ours.defaults.proxy is None
    for name in ("workers", "resync_seconds", "port", "log_format", "log_level", "namespaces"):
        assert getattr(ours, name) == getattr(own, name), name
    for name in ("triton_image", "max_image_updates", "cluster_name", "assets_url", "hub_url", "retry_min_seconds", "retry_max_seconds", "jobs"):
        assert getattr(ours.defaults, name) == getattr(own.defaults, name), name


def test_the_s3_server_becomes_the_default_storage(render: Render) -> None:
    storage = Settings.from_env(operator_environment(render(chart_values.WITH_S3))).defaults.storage
    assert storage is not None
    assert storage.secret_ref is not None
    assert (storage.uri, storage.endpoint, storage.secret_ref.name) == ("s3://models/yolo", "http://yolo-operator-s3.yolo-system.svc:8333", "s3-credentials")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"replcas": 2}, "replcas", id="at the top"),
        pytest.param({"s3.enabld": True}, "enabld", id="below s3"),
        pytest.param({"storage.secretRef.nme": "x"}, "nme", id="three deep"),
        pytest.param({"images.operator": 5}, "/images/operator", id="of another type"),
        pytest.param({"logs.level": "info"}, "/logs/level", id="not one of a list"),
        pytest.param({"storage.uri": "https://models"}, "/storage/uri", id="a storage that is not S3"),
        pytest.param({"storage.endpoint": "http://s3"}, "/storage/endpoint", id="an endpoint without its port"),
        pytest.param({"storage.region": "eu-central-1"}, "storage.uri is empty", id="half a storage"),
        pytest.param({"storage.loader": "InitContainer"}, "storage.uri is empty", id="a loader without a storage"),
        pytest.param({"s3.enabled": True, "s3.accessKeyId": "key"}, "belong together", id="half a pair of keys"),
    ],
)
def test_a_wrong_value_is_refused_by_name(render: Render, values: Manifest, named: str) -> None:
    with pytest.raises(CommandFailed, match=named):
        render(values)


def test_schema_and_values_name_the_same() -> None:
    free = {"resources", "affinity", "nodeSelector", "podLabels", "podAnnotations", "annotations", "labels"}

    def paths(values: Manifest, at: str = "") -> Iterator[str]:
        for key, value in values.items():
            yield f"{at}{key}"
            if isinstance(value, dict) and key not in free:
                yield from paths(value, f"{at}{key}.")

    def described(schema: Manifest, at: str = "") -> Iterator[str]:
        for key, value in schema.get("properties", {}).items():
            yield f"{at}{key}"
            if key not in free:
                assert value.get("type") != "object" or value.get("additionalProperties") is False or key == "global", f"{at}{key} takes anything"
                yield from described(value, f"{at}{key}.")

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert set(described(schema)) - {"global"} == set(paths(yaml.safe_load((CHART / "values.yaml").read_text())))


@CASES
def test_every_pod_is_restricted(render: Render, values: Manifest) -> None:
    for name, spec in pod_specs(render(values)):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name
            assert container["resources"]["limits"]["memory"], name


def test_a_single_replica_does_not_hold_up_a_drain(render: Render) -> None:
    assert of_kind(render(), "PodDisruptionBudget")
    assert not of_kind(render({"replicas": 1}), "PodDisruptionBudget")


def test_a_long_release_name_still_fits(helm: Program) -> None:
    text = helm("template", "r" * 53, CHART, "--set", "s3.enabled=true")
    assert all(len(each["metadata"]["name"]) <= 63 for each in yaml.safe_load_all(text) if each)


def test_the_chart_holds_no_path_of_this_machine() -> None:
    for path in CHART.rglob("*"):
        assert path.is_dir() or str(Path.home()) not in path.read_text(), path
