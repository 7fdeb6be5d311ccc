"""Whatever a user of one namespace writes into a field is refused by the CRD, or harmless: no other namespace, prefix, key or node is named.

Every text in the spec is tried with every hostile value, so that a new field is tried too. CEL is not run here but read: tests/apiserver runs it.
"""

import copy
import ipaddress
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import gen
from yolo_operator.core import api, contract, names, pod_security
from yolo_operator.core.defaults import storage_of
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.resources import analysis, budget, job, network_policy, route, server, service, triton
from yolo_operator.core.served_models import MODELS, SERVED_DIRECTORY, WantedModel

Manifest = dict[str, Any]

CRDS = Path(__file__).parents[2] / "crds"
FULL: Manifest = gen.body(
    modelName="hat",
    serverRef={"name": "line-3"},
    storage={
        "region": "eu-central-1",
        "readSecretRef": {"name": "read"},
        "caBundleRef": {"name": "ca", "key": "ca.crt"},
        "serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyId": "alias/a"},
    },
    serviceAccountName="tenant",
    versions=[
        gen.version(
            1,
            rebuild="1",
            source={"uri": "s3://weights/a.pt", "sha256": "a" * 64, "secretRef": {"name": "source"}, "endpoint": "http://s3:1", "region": "a"},
            export={"calibration": {"pictures": "s3://pictures/b", "secretRef": {"name": "calibration"}, "endpoint": "http://s3:1", "region": "a"}},
        )
    ],
    build={
        "nodeSelector": {"a": "b"},
        "timeout": "30m",
        "proxy": {
            "httpProxy": "http://proxy:3128",
            "httpsProxy": "http://proxy:3128",
            "noProxy": [".svc"],
            "secretRef": {"name": "proxy"},
            "caBundleRef": {"name": "ca", "key": "ca.crt"},
        },
    },
    jobs={"nodeSelector": {"a": "b"}, "priorityClassName": "low", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    triton={
        "image": "triton:1",
        "imagePullSecrets": [{"name": "pull"}],
        "tensorrt": {"enabled": True, "engineCache": {"persistentVolumeClaim": "engines"}},
        "release": "25.08",
        "gpuMemoryLimit": "4Gi",
        "parameters": {"execution_mode": "1"},
        "tracing": {"endpoint": "http://collector:4318/v1/traces", "resourceAttributes": {"a": "b"}},
        "podTemplate": {"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}},
    },
    gpu={"resourceName": "nvidia.com/gpu", "resourceClaimTemplateName": "gpus"},
    nodeSelector={"a": "b"},
    runtimeClassName="nvidia",
    priorityClassName="high",
    restartedAt="now",
    traffic={
        "mode": "Gateway",
        "gateway": {
            "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "http"}],
            "hostnames": ["a.example"],
            "grpc": {"hostnames": ["b.example"], "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "http"}]},
            "sessionPersistence": {"sessionName": "camera", "absoluteTimeout": "1h"},
        },
    },
    networkPolicy={"enabled": True}
    | {part: [{"cidr": "10.0.0.0/8", "port": 8333}] for part in ("storage", "source", "dns", "tracing")}
    | {part: [{"cidr": "10.0.0.0/8"}] for part in ("clients", "prometheus")},
    rollout={
        "strategy": "Canary",
        "steps": [{"weight": 5, "duration": "1m"}],
        "progressDeadline": "1h",
        "surgeTimeout": "1m",
        "scaleDownDelay": "1m",
        "retry": "1",
        "analysis": {"pictures": "s3://pictures/a", "secretRef": {"name": "pictures"}},
    },
)["spec"]
"""A spec in which every text is set."""
FULL_SERVER: Manifest = {
    **{field: FULL[field] for field in ("storage", "serviceAccountName", "gpu", "nodeSelector", "runtimeClassName", "priorityClassName", "restartedAt")},
    "triton": {field: FULL["triton"][field] for field in ("image", "imagePullSecrets", "release", "tracing", "podTemplate")},
}
"""A YoloServer's."""

HOSTILE = [
    pytest.param("../other", id="a way up"),
    pytest.param("other/thing", id="another namespace's"),
    pytest.param("a..b", id="dots"),
    pytest.param("$(AWS_SECRET_ACCESS_KEY)", id="a variable"),
    pytest.param("s3://weights/$(AWS_SECRET_ACCESS_KEY).pt", id="a variable in a source"),
    pytest.param("s3://weights/a.pt --assets-url=http://evil", id="a flag in a source"),
    pytest.param("--root=s3://models/yolo/other/helmet", id="a flag"),
    pytest.param("s3://models/yolo/other", id="another namespace's prefix"),
    pytest.param("s3://models/yolo/other/helmet/0123456789", id="another's revision"),
    pytest.param("s3://key:word@models/yolo", id="credentials"),
    pytest.param("pvc://other/../../a.pt", id="out of a claim"),
    pytest.param("pvc://other%2Fclaim/a.pt", id="an escaped claim"),
    pytest.param("file:///etc/passwd.pt", id="a file"),
    pytest.param("http://169.254.169.254:80", id="metadata as an endpoint"),
    pytest.param("http://[fd00:ec2::254]:80", id="metadata over IPv6"),
    pytest.param("http://169.254.169.254/a.pt", id="metadata as a source"),
    pytest.param("http://me:word@s3:80", id="credentials in an endpoint"),
    pytest.param("a\nb", id="two lines"),
    pytest.param("a\x00b", id="a control character"),
    pytest.param("ünïcode", id="other letters"),
    pytest.param("a" * 20_000, id="very long"),
    pytest.param("", id="nothing"),
]


def texts(schema: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Manifest]]:
    """Every free text of a schema: its path, [] for an item and {} for a map's value, and its own schema."""
    if schema.get("type") == "string" and "enum" not in schema:
        yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from texts(part, (*path, name))
    if "items" in schema:
        yield from texts(schema["items"], (*path, "[]"))
    if "additionalProperties" in schema:
        yield from texts(schema["additionalProperties"], (*path, "{}"))


def texts_of(plural: str) -> dict[tuple[str, ...], Manifest]:
    """Every free text of a CRD's spec."""
    crd = yaml.safe_load((CRDS / f"{plural}.yaml").read_text(encoding="utf-8"))
    return dict(texts(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]))


TEXTS, SERVER_TEXTS = texts_of(api.PLURAL), texts_of(api.SERVER_PLURAL)


def put(spec: Any, path: tuple[str, ...], value: str) -> None:
    """Set the text at a path: in the first item, and in the map's only value."""
    *parents, last = path
    for key in parents:
        spec = spec[0] if key == "[]" else next(iter(spec.values())) if key == "{}" else spec[key]
    spec[0 if last == "[]" else next(iter(spec)) if last == "{}" else last] = value


def holds(rule: str, text: str) -> bool:
    """A CEL rule on one text; those of the CRD use no more than this."""
    python = rule.replace("(self)", "(text)")
    python = re.sub(r"self\.(\w+)\(('[^']*')\)", lambda call: f"{call[1]}(text, r{call[2]})", python)
    python = python.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    functions = {
        "matches": lambda value, pattern: re.search(pattern, value) is not None,
        "contains": str.__contains__,
        "startsWith": str.startswith,
        "isCIDR": is_cidr,
    }
    return bool(eval(python, {"__builtins__": {}}, functions | {"text": text}))


def is_cidr(text: str) -> bool:
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def refuses(schema: Manifest, text: str) -> bool:
    """Whether the API server refuses a text."""
    # Go's $ is the end of the text, Python's also the place before a last line break.
    pattern = re.sub(r"\$$", r"\\Z", schema.get("pattern", ""))
    own = [entry["rule"] for entry in schema.get("x-kubernetes-validations", ()) if "oldSelf" not in entry["rule"]]
    return (
        len(text) < schema.get("minLength", 0)
        or len(text) > schema.get("maxLength", float("inf"))
        or re.search(pattern, text) is None
        or any(not holds(rule, text) for rule in own)
    )


def objects(spec: Manifest) -> list[Manifest]:
    """Every object that follows from a spec."""
    body = gen.body()
    resource = api.parse(body | {"spec": spec})
    version, defaults = resource.spec.versions[0], gen.DEFAULTS
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    state = api.RolloutStatus.model_validate({"revision": "0123456789", "step": 1, "weight": 20, "started": "2026-11-22T03:00:00Z"})
    server_name = spec["serverRef"]["name"]
    return [
        job.build(resource, version, defaults),
        job.verify(resource, version, artifact, gen.pod(), defaults),
        job.verify_on_server(resource, version, WantedModel(name="hat", uri=artifact.uri, model="hat", deployment="helmet"), gen.pod(), "0", defaults),
        service.of_model(resource, server_name),
        job.prune(resource, None, storage_of(resource, defaults), defaults),
        analysis.build(resource, version, 1, artifact, state, timedelta(minutes=1), [gen.pod()], [gen.pod()], defaults),
        triton.build(resource, version, artifact, 1, None, defaults),
        service.build(resource, 1),
        budget.build(resource, 1),
        *network_policy.build(resource),
        *route.build(resource, {1: 100}, [1], session=resource.spec.traffic.gateway.session_persistence if resource.spec.traffic.gateway else None),
    ]


def objects_of_a_server(spec: Manifest) -> list[Manifest]:
    """Every object that follows from a YoloServer's."""
    resource = api.parse_server(gen.body(name="line-3") | {"kind": api.SERVER_KIND, "spec": spec})
    return [server.build(resource, None, gen.DEFAULTS), budget.of_server(resource)]


BOTH = pytest.mark.parametrize(
    ("full", "described", "made_of"),
    [pytest.param(FULL, TEXTS, objects, id="YoloDeployment"), pytest.param(FULL_SERVER, SERVER_TEXTS, objects_of_a_server, id="YoloServer")],
)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}")
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, path)
    else:
        yield path, value


def harm(made: Manifest) -> list[str]:
    """What an object does that no user of one namespace may."""
    found = [] if made["metadata"]["namespace"] == "factory" and names.is_owned(made, gen.UID) else ["not in the resource's namespace"]
    template = made["spec"].get("template", {"spec": {}})
    found += [f"{path}: {why}" for path, why in pod_security.violations(template)]
    for path, value in leaves(made["spec"]):
        if path.endswith(".namespace") and ".parentRefs" not in path:
            found.append(f"names a namespace: {path}")
        if path.endswith((".args", ".env.value")):
            if re.search(r"(?<!\$)(\$\$)*\$\((?!POD_UID\))", value):
                found.append(f"a variable is put in: {path}")
            if match := re.match("--(?:root|model-repository)=(.*)", value):
                own = "/factory/helmet" if "--root" in value else "/factory/helmet/[0-9a-f]{10}"
                found += [] if re.fullmatch(f"s3://.*{own}|{SERVED_DIRECTORY}/{MODELS}", match[1]) else [f"another's prefix: {value}"]
    return found


@BOTH
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_text_is_refused_or_harmless_in_every_field(full, described, made_of, value):
    harmful = {}
    for path, schema in described.items():
        if refuses(schema, value):
            continue
        spec = copy.deepcopy(full)
        put(spec, path, value)
        try:
            harmful[path] = [fault for made in made_of(spec) for fault in harm(made)]
        except InvalidSpec:
            continue
    assert {path: faults for path, faults in harmful.items() if faults} == {}


@BOTH
def test_the_full_spec_sets_every_text_and_does_no_harm(full, described, made_of):
    for path in described:
        put(copy.deepcopy(full), path, "a")
    assert [fault for made in made_of(full) for fault in harm(made)] == []


@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        pytest.param("storage.uri", "s3://models/a/../b", True, id="a prefix that climbs"),
        pytest.param("storage.uri", "s3://key:word@models/a", True, id="a prefix with credentials"),
        pytest.param("storage.uri", "s3://models/other", False, id="another's prefix, with ours below it"),
        pytest.param("storage.endpoint", "http://[fd00:ec2::254]:80", True, id="an IPv6 endpoint"),
        pytest.param("storage.endpoint", "http://169.254.169.254:80", False, id="a metadata endpoint, which the worker refuses"),
        pytest.param("storage.region", "$(AWS_SECRET_ACCESS_KEY)", True, id="a variable as a region"),
        pytest.param("storage.region", "a.evil.example/", True, id="a host as a region"),
        pytest.param("storage.secretRef.name", "other/secret", True, id="another namespace's Secret"),
        pytest.param("storage.caBundleRef.name", "../ca", True, id="another namespace's ConfigMap"),
        pytest.param("serviceAccountName", "system:serviceaccount:other:admin", True, id="another namespace's service account"),
        pytest.param("triton.tensorrt.engineCache.persistentVolumeClaim", "../claim", True, id="another namespace's claim"),
        pytest.param("triton.imagePullSecrets.[].name", "other/pull", True, id="another namespace's pull secret"),
        pytest.param("versions.[].source.uri", "s3://weights/../a.pt", True, id="a source that climbs"),
        pytest.param("versions.[].source.uri", "file:///etc/a.pt", True, id="a file of the node"),
        pytest.param("versions.[].source.uri", "https://me:word@example.com/a.pt", True, id="a source with credentials"),
        pytest.param("rollout.analysis.pictures", "s3://pictures/../a", True, id="pictures that climb"),
        pytest.param("traffic.gateway.parentRefs.[].namespace", "infra/x", True, id="a namespace that is none"),
        pytest.param("modelName", "../other", True, id="a model's name that climbs"),
    ],
)
def test_what_the_crd_refuses(field, value, refused):
    assert refuses(TEXTS[tuple(field.split("."))], value) is refused


def test_a_key_in_a_source_stays_in_its_secret():
    spec = gen.merged(FULL, {"versions": [gen.version(1, source={"uri": "s3://weights/$(AWS_SECRET_ACCESS_KEY).pt"})]})
    fetch = objects(spec)[0]["spec"]["template"]["spec"]["initContainers"][1]
    assert "--uri=s3://weights/$$(AWS_SECRET_ACCESS_KEY).pt" in fetch["args"]
