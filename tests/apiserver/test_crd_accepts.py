"""The CRD itself: what it says, what it defaults, what it shows, and that the builders' manifests are accepted."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gen
import manifests
from e2e.cluster import CACHE
from yolo_operator.controller.gateway_features import session_fields
from yolo_operator.core import api, drift

pytestmark = pytest.mark.cluster

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
GOLDENS = sorted((REPOSITORY / "tests" / "golden").glob("*.yaml"))


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All fields of a schema, with their paths."""
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from fields(part, f"{path}.{name}")
        yield from fields(part.get("items", {}), f"{path}.{name}")


KINDS = pytest.mark.parametrize("plural", ["yolodeployments", "yoloservers"])


@KINDS
def test_it_is_established_without_a_complaint(kubectl, plural):
    answer = kubectl("get", "crd", f"{plural}.yolo-operator.io", "-o", "json")
    conditions = {condition["type"]: condition for condition in json.loads(answer.out)["status"]["conditions"]}
    assert conditions["Established"]["status"] == "True"
    assert conditions["NamesAccepted"]["status"] == "True"
    assert "NonStructuralSchema" not in conditions


@KINDS
def test_every_field_of_the_spec_is_described(kubectl, plural):
    answer = kubectl("get", "crd", f"{plural}.yolo-operator.io", "-o", "json")
    schema = json.loads(answer.out)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found = dict(fields(schema["properties"]["spec"], "spec"))
    assert len(found) > 50
    assert [path for path, part in found.items() if len(part.get("description", "")) < 8] == []


@pytest.mark.parametrize("path", ["", ".spec", ".spec.versions.source.uri", ".spec.triton.maxBatchSize", ".spec.storage.endpoint", ".status.conditions.reason"])
def test_kubectl_explains(kubectl, path):
    answer = kubectl("explain", f"yolodeployments{path}")
    assert answer.ok, answer.err
    description = answer.out.partition("DESCRIPTION:")[2].strip()
    assert description
    assert not description.startswith("<empty>")


def test_the_smallest_one_is_stored_with_its_defaults(kubectl):
    assert kubectl.apply(gen.written("smallest")).ok
    spec = kubectl.get("smallest")["spec"]
    assert spec["replicas"] == 1
    assert spec["gpu"] == {"resourceName": "nvidia.com/gpu", "count": 1}
    assert spec["triton"]["maxBatchSize"] == 8
    assert spec["triton"]["dynamicBatching"]["maxQueueDelayMicroseconds"] == 100
    assert spec["build"]["resources"]["limits"] == {"memory": "4Gi"}
    assert spec["rollout"]["verify"]["enabled"] is True
    assert "export" not in spec["versions"][0], "a client merges a list as one value: what is absent there stays so"
    assert spec["deletionPolicy"] == "Retain"
    assert "modelName" not in spec
    assert "storage" not in spec


def resources(path: Path) -> list[dict[str, Any]]:
    """The YoloDeployments of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each["kind"] == api.KIND]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_has_not_changed_is_in_sync(kubectl, path):
    for manifest in resources(path):
        name = f"sync-{manifest['metadata']['name']}"
        renamed = gen.merged(manifest, {"metadata": {"name": name}})
        assert kubectl.apply(renamed).ok
        again = kubectl.apply(renamed)
        assert again.out == f"yolodeployment.yolo-operator.io/{name} unchanged\n"
        kubectl("delete", "yolodeployment", name, "--wait=false")


def argo_cd(*pairs: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    """What Argo CD's own library says of what is in Git and what the API server has."""
    given = "\n".join(json.dumps({"config": config, "live": live}) for config, live in pairs)
    return subprocess.run([CACHE / "tools" / "gitops"], input=given, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("flags", [pytest.param((), id="applied by the client"), pytest.param(("--server-side",), id="applied by the server")])
def test_argo_cd_finds_in_sync_what_has_not_changed_and_nothing_else(kubectl, flags):
    pairs = []
    for number, manifest in enumerate(each for path in EXAMPLES for each in resources(path)):
        name = f"argo-{len(flags)}-{number}"
        config = gen.merged(manifest, {"metadata": {"name": name, "namespace": kubectl.namespace}})
        assert kubectl.apply(config, *flags).ok
        pairs.append((config, kubectl.get(name)))
    assert argo_cd(*pairs) == ["InSync"] * len(pairs)
    (said,) = argo_cd((gen.merged(pairs[0][0], {"spec": {"replicas": 7}}), pairs[0][1]))
    assert said.startswith("OutOfSync")
    for config, _ in pairs:
        kubectl("delete", "yolodeployment", config["metadata"]["name"], "--wait=false")


@KINDS
def test_nothing_is_filled_in_inside_a_list(kubectl, plural):
    answer = kubectl("get", "crd", f"{plural}.yolo-operator.io", "-o", "json")
    schema = json.loads(answer.out)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    def defaults(part: dict[str, Any], path: str, *, in_list: bool) -> Iterator[str]:
        for name, each in part.get("properties", {}).items():
            if in_list and "default" in each:
                yield f"{path}.{name}"
            yield from defaults(each, f"{path}.{name}", in_list=in_list)
        if "items" in part:
            yield from defaults(part["items"], f"{path}[]", in_list=True)

    assert list(defaults(schema["properties"]["spec"], "spec", in_list=False)) == []


def test_the_defaults_of_the_schema_are_those_of_the_models(kubectl):
    kubectl.apply(gen.written("defaults"))
    stored = kubectl.get("defaults")["spec"]
    assert api.parse_spec(stored) == api.parse_spec(gen.written()["spec"])


def test_the_defaults_of_a_server_are_those_of_its_models(kubectl):
    assert kubectl.apply(gen.written_server("bare"), "--validate=strict").ok
    stored = yaml.safe_load(kubectl("get", "yoloserver", "bare", "-o", "yaml").out)["spec"]
    assert stored["agent"]["resources"]["limits"] == {"memory": "1Gi"}, "the API server writes them"
    assert api.ServerSpec.model_validate(stored) == api.ServerSpec.model_validate({})


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"serverRef": {"name": "line-3"}}, id="a model on a server"),
        pytest.param({"serverRef": {"name": "line-3"}, "modelName": "hat", "triton": {"maxBatchSize": 4, "parameters": {"a": "1"}}}, id="with its own batches"),
        pytest.param({"serverRef": {"name": "line-3"}, "versions": [gen.version(7, weight=1)], "suspend": True}, id="with all requests, suspended"),
    ],
)
def test_a_model_on_a_server_is_accepted(kubectl, spec):
    answer = kubectl.apply(gen.written(**spec), "--dry-run=server", "--validate=strict")
    assert answer.ok, answer.err


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"replicas": 0, "memoryBudget": "20Gi", "gpu": {"count": 0}}, id="on the CPU"),
        pytest.param({"memoryBudget": 20000000000, "gpu": {"resourceClaimTemplateName": "one-gpu"}}, id="a budget in bytes, a claim for GPUs"),
        pytest.param({"rollout": {"maxSurge": 0, "maxUnavailable": 1}, "podDisruptionBudget": {"maxUnavailable": "50%"}}, id="no spare GPU"),
    ],
)
def test_a_good_server_is_accepted(kubectl, spec):
    answer = kubectl.apply(gen.written_server(**spec), "--dry-run=server", "--validate=strict")
    assert answer.ok, answer.err


def test_a_servers_status_is_shown_in_the_columns(kubectl):
    assert kubectl.apply(gen.written_server("columns", replicas=2, gpu={"count": 0})).ok
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-11-22T03:00:00Z", "observedGeneration": 1}
    model = {"deployment": "helmet", "model": "hat", "revision": "0123456789", "phase": "Serving", "pods": 2, "memoryBytes": 1 << 34}
    display = {"models": "18/20", "memory": "11/20Gi", "replicas": "2/2"}
    written = api.ServerStatus.model_validate({"observedGeneration": 1, "conditions": [ready], "models": [model], "display": display, "serial": 3})
    sent = written.model_dump(mode="json", by_alias=True, exclude_none=True)
    body = gen.written_server("columns") | {"status": sent}
    del body["spec"]
    applied = kubectl.apply(body, "--server-side", "--field-manager=yolo-operator", "--force-conflicts", "--subresource=status")
    assert applied.ok, applied.err
    assert yaml.safe_load(kubectl("get", "yserver", "columns", "-o", "yaml").out)["status"] == sent
    header, row = kubectl("get", "yservers", "columns").out.splitlines()
    assert header.split() == ["NAME", "READY", "MODELS", "MEMORY", "REPLICAS", "AGE"]
    assert row.split()[:5] == ["columns", "True", "18/20", "11/20Gi", "2/2"]
    answer = kubectl("scale", "yoloserver", "columns", "--replicas=3")
    assert answer.ok, answer.err
    assert yaml.safe_load(kubectl("get", "yserver", "columns", "-o", "yaml").out)["spec"]["replicas"] == 3


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in EXAMPLES] or [pytest.param(None, id="none")])
def test_every_example_is_accepted(kubectl, path):
    assert path is not None, "examples/ holds no .yaml"
    resources = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert resources, "empty"
    for document in resources:
        answer = kubectl.apply(document, "--dry-run=server", "--validate=strict")
        assert answer.ok, answer.err
        # `make demo` leaves an operator that serves one namespace alone.
        assert [line for line in answer.err.splitlines() if "Warning" in line and "does not serve namespace" not in line] == []


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"storage": {"uri": "s3://models"}}, id="a bucket without a prefix"),
        pytest.param(
            {"storage": {"uri": "s3://models", "serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyId": "arn:aws:kms:eu-central-1:1:key/a-b"}}},
            id="a key of a key service",
        ),
        pytest.param({"storage": {"uri": "s3://models/a/b-c_d.e/", "endpoint": "https://s3.example.com:443/"}}, id="a slash at the end"),
        pytest.param(
            {"gpu": {"count": 0}, "triton": {"maxBatchSize": 0}, "versions": [gen.version(1, export={"dynamic": False})]}, id="static, without batches"
        ),
        pytest.param(
            {"versions": [gen.version(1, export={"nms": True, "confidence": 0.1, "maxDetections": 100, "inputDatatype": "FP16"})]}, id="lean on the wire"
        ),
        pytest.param({"replicas": 0}, id="no replicas"),
        pytest.param({"rollout": {"maxSurge": "25%", "maxUnavailable": "25%"}, "podDisruptionBudget": {"maxUnavailable": "10%"}}, id="pods by percentage"),
        pytest.param({"rollout": {"maxSurge": 0, "maxUnavailable": 3}, "podDisruptionBudget": {"maxUnavailable": 0}}, id="pods by number"),
        pytest.param(
            {
                "versions": [gen.version(1, replicas=2), gen.version(2)],
                "traffic": {
                    "mode": "Gateway",
                    "gateway": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example"], "grpc": {"hostnames": ["g.a.example"]}},
                },
                "rollout": {"strategy": "Canary", "steps": [{"weight": 5, "duration": "1h30m"}, {"weight": 50}], "scaleDownDelay": "10m"},
            },
            id="a canary behind a Gateway",
        ),
        pytest.param(gen.behind_a_gateway(mirror={"version": 2}), id="copies of all requests"),
        pytest.param(
            gen.behind_a_gateway(mirror={"version": 2, "percent": 1}) | {"versions": [gen.version(1, weight=1), gen.version(2, weight=0, replicas=2)]},
            id="copies of some requests for two pods",
        ),
        pytest.param(gen.behind_a_gateway(sessionPersistence={}), id="sessions"),
        pytest.param(gen.behind_a_gateway(sessionPersistence={"type": "Header", "sessionName": "x-a_B", "absoluteTimeout": "1h30m"}), id="sessions in full"),
        pytest.param(
            gen.behind_a_gateway(sessionPersistence={}) | {"versions": [gen.version(1), gen.version(2)], "rollout": {"strategy": "Canary"}},
            id="sessions and a canary",
        ),
        pytest.param({"build": {"resources": {"limits": {"cpu": 2, "memory": "4Gi"}}}}, id="quantities as numbers and as text"),
        pytest.param({"versions": [gen.version(n, weight=n) for n in range(1, 11)]}, id="ten versions"),
        pytest.param({"versions": [gen.version(1, source={"uri": "pvc://claim/a/b.onnx"})]}, id="a claim"),
        pytest.param({"versions": [gen.version(1, source={"uri": "https://host/a.pt", "secretRef": {"name": "a"}})]}, id="a web server with credentials"),
        *(
            pytest.param({"versions": [gen.version(1, source={"uri": uri, "secretRef": {"name": "a"}})]}, id=uri)
            for uri in (
                f"oci://[fd00::1]:5000/team/models@sha256:{'0' * 64}/dir/best.pt",
                "hf://org/repo/a.pt",
                "hf://org/repo@v1.0/dir/a.onnx",
                "hf://org/repo/dir/a.pt@refs/pr/1",
            )
        ),
        pytest.param(
            {
                "networkPolicy": {
                    "enabled": True,
                    "storage": [{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, "port": 8333}],
                    "source": [{"cidr": "0.0.0.0/0", "port": 443}, {"cidr": "2001:db8::/32", "port": 443}],
                    "dns": [{"cidr": each, "port": 53} for each in ("::/0", "fd00:10:20::53/128", "1:2:3:4:5:6:7:8/64", "::ffff:10.0.0.1/96")],
                    "clients": [{"podSelector": {}}, {"namespaceSelector": {}}],
                },
                "traffic": {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example"]}},
            },
            id="policies behind a Gateway",
        ),
        pytest.param({"gpu": {"resourceClaimTemplateName": "one-gpu"}}, id="a claim for GPUs"),
        pytest.param({"build": {"proxy": {}}}, id="no proxy, whatever the operator's"),
        pytest.param(
            {"build": {"proxy": {"httpProxy": "http://10.0.0.7:3128/", "httpsProxy": "http://proxy:3128", "noProxy": ["*", ".svc", "10.0.0.0/8", "fd00::/8"]}}},
            id="a way out",
        ),
        pytest.param({"networkPolicy": {"storage": [{"cidr": "10.0.0.0/8", "port": 1}]}}, id="policies that are written and off"),
        pytest.param({"tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}}, id="parts of a Pod"),
    ],
)
def test_a_good_spec_is_accepted(kubectl, spec):
    answer = kubectl.apply(gen.written(**spec), "--dry-run=server", "--validate=strict")
    assert answer.ok, answer.err


def test_a_name_of_forty_characters_is_accepted(kubectl):
    assert kubectl.apply(gen.written("a" * 40), "--dry-run=server").ok


def test_scale_sets_the_replicas(kubectl):
    assert kubectl.apply(gen.written("scaled")).ok
    answer = kubectl("scale", "yolodeployment", "scaled", "--replicas=3")
    assert answer.ok, answer.err
    assert kubectl.get("scaled")["spec"]["replicas"] == 3


def status(name: str) -> dict[str, Any]:
    """A status as the operator writes it."""
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-11-22T03:00:00Z", "observedGeneration": 1}
    written = api.Status.model_validate(
        {
            "observedGeneration": 1,
            "conditions": [ready],
            "url": f"http://{name}.factory.svc:8000/{name}",
            "replicas": 3,
            "readyReplicas": 3,
            "selector": "a=b",
            "task": "detect",
            "display": {"model": "hat", "versions": "1:100", "replicas": "3/3", "revisions": "0123456789"},
            "versions": [gen.version_status(verified=[gen.verification() | {"podTemplateHash": "abc", "time": "2026-11-22T03:00:00Z"}])],
            "published": ["0123456789"],
            "pruneFailure": gen.failure(),
        }
    )
    return written.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_a_status_is_stored_as_it_was_sent_and_shown_in_the_columns(kubectl):
    assert kubectl.apply(gen.written("shown", replicas=3, modelName="hat")).ok
    sent = status("shown")
    body = {"apiVersion": api.API_VERSION, "kind": api.KIND, "metadata": {"name": "shown"}, "status": sent}
    applied = kubectl.apply(body, "--server-side", "--field-manager=yolo-operator", "--force-conflicts", "--subresource=status")
    assert applied.ok, applied.err
    stored = kubectl.get("shown")["status"]
    assert stored == sent
    header, row = kubectl("get", "yolos", "shown").out.splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "VERSIONS", "REPLICAS", "URL", "AGE"]
    assert row.split()[:6] == ["shown", "True", "Serving", "1:100", "3/3", "http://shown.factory.svc:8000/shown"]
    wide = kubectl("get", "yolo", "shown", "-o", "wide").out.splitlines()
    assert {"MODEL", "TASK", "GPU", "REVISION"} <= set(wide[0].split())
    assert {"hat", "detect", "0123456789"} <= set(wide[1].split())


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in GOLDENS])
def test_every_manifest_of_ours_is_accepted_under_the_restricted_standard_without_a_warning(kubectl, gateway_api, path):
    manifest = gen.merged(yaml.safe_load(path.read_text()), {"metadata": {"namespace": kubectl.namespace}})
    if manifest["kind"] == "Job":
        answer = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", text=json.dumps(manifest))
    else:
        answer = kubectl.apply(manifest, "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=yolo-operator")
    assert answer.ok, answer.err
    assert answer.err == ""


def test_the_goldens_are_all_there():
    assert {path.name for path in GOLDENS} == set(manifests.GOLDENS)


def test_routes_of_the_standard_channel_have_no_field_for_sessions(kubectl, gateway_api):
    """What the operator reads of their CRD is right: the API server does not take the field."""
    found = json.loads(kubectl("get", "crd", "httproutes.gateway.networking.k8s.io", "-o", "json").out)
    (schema,) = (version["schema"]["openAPIV3Schema"] for version in found["spec"]["versions"] if version["name"] == "v1")
    assert session_fields(schema) == {}
    made = manifests.routes(session=api.SessionPersistence())["HTTPRoute", "helmet"]
    manifest = gen.merged(made, {"metadata": {"namespace": kubectl.namespace}})
    answer = kubectl.apply(manifest, "--server-side", "--dry-run=server", "--field-manager=yolo-operator")
    assert not answer.ok
    assert "sessionPersistence: field not declared in schema" in answer.err


@pytest.mark.parametrize("name", [name for name in manifests.GOLDENS if not name.endswith("job.yaml")])
def test_what_was_applied_does_not_differ_from_what_is_wanted(kubectl, gateway_api, name):
    """The API server's defaults are not drift: a second pass would write nothing."""
    manifest = gen.merged(manifests.GOLDENS[name](), {"metadata": {"namespace": kubectl.namespace}})
    flags = ("--server-side", "--dry-run=server", "--field-manager=yolo-operator", "--show-managed-fields", "-o", "json")
    answer = kubectl.apply(manifest, *flags)
    assert answer.ok, answer.err
    assert drift.differs(manifest, json.loads(answer.out)) is None
