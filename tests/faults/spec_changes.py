"""Changes of a spec, generated from the CRD's own schema: one field, or one version, becomes something else that the schema allows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hypothesis import strategies as st

Schema = dict[str, Any]
CRD = Path(__file__).parents[2] / "crds" / "yolodeployments.yaml"
SCHEMA: Schema = yaml.safe_load(CRD.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
MOST = {"replicas": 4, "version": 4}
"""What a test has room for, where the schema allows more."""
FITTING: dict[str, list[Any]] = {
    "uri": ["s3://weights/helmet-v1.pt", "s3://weights/other.onnx", "s3://models/elsewhere", "https://example.com/a.pt"],
    "endpoint": ["http://s3.storage.svc:8333", "https://s3.example.com:443"],
    "requests": [{"cpu": "1"}, {"memory": "1Gi"}, {"cpu": 1.5}],
    "limits": [{"memory": "2Gi"}, {"memory": "2G"}],
    "storageSize": ["1Gi", 1073741824],
    "duration": ["1s", "2m", "1h30m"],
    "name": ["s3-credentials", "another"],
    "preferredBatchSizes": [[1], [2, 4]],
    "hostnames": [["a.example.com"], ["a.example.com", "b.example.com"]],
}
"""Values that a user would give, by the field's name: drawn as often as any that the schema allows, most of which are nonsense."""
WRITTEN = st.characters(codec="utf-8", exclude_categories=["Cs"])
"""Anything that JSON can hold."""


class Change(NamedTuple):
    """Where in the spec, by keys and indexes, and what; None takes the field away."""

    path: tuple[str, ...]
    value: Any

    def __str__(self) -> str:
        return f"spec.{'.'.join(self.path)} = {json.dumps(self.value)}"


def fields(schema: Schema = SCHEMA, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Every field of the spec, those of a list's entries with `[]` in their path."""
    for name, found in schema.get("properties", {}).items():
        yield (*path, name), found
        yield from fields(found, (*path, name))
        if found.get("items", {}).get("properties"):
            yield from fields(found["items"], (*path, name, "[]"))


def allowed(schema: Schema, name: str = "") -> st.SearchStrategy[Any]:
    """Values that a structural schema allows; rules in CEL are the API server's to check."""
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 1 << 31) | st.text(WRITTEN, max_size=20)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum"), MOST.get(name, schema.get("maximum")))
        case "number":
            return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False)
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: len(text) <= schema.get("maxLength", len(text)))
        case "string":
            return st.text(WRITTEN, min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 40), 40))
        case "array":
            return st.lists(allowed(schema["items"]), min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 3), 3))
    if "additionalProperties" in schema:
        return st.dictionaries(st.text(WRITTEN, max_size=10), allowed(schema["additionalProperties"]), max_size=2)
    found = {key: allowed(each, key) for key, each in schema.get("properties", {}).items()}
    required = {key: found.pop(key) for key in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=found)


def values(path: tuple[str, ...], schema: Schema) -> st.SearchStrategy[Any]:
    """What a field may become."""
    likely = FITTING.get(path[-1]) or (FITTING["duration"] if schema.get("pattern", "").endswith("s)?$") else None)
    return st.one_of(allowed(schema, path[-1]), *([st.sampled_from(likely)] * 3 if likely else []), st.none())


def changes() -> st.SearchStrategy[Change]:
    """Any field, drawn evenly."""
    every = [(path, schema) for path, schema in fields() if path not in {("versions",), ("modelName",)}]
    return st.sampled_from(every).flatmap(lambda field: st.builds(Change, st.just(field[0]), values(*field)))


def apply(spec: dict[str, Any], change: Change) -> dict[str, Any]:
    """The spec after a change; a list's entry is the first one."""
    changed: dict[str, Any] = json.loads(json.dumps(spec))
    at: Any = changed
    *parents, last = change.path
    for key, following in zip(parents, change.path[1:], strict=True):
        if key == "[]":
            if not at:
                at.append({})
            at = at[0]
        else:
            if at.get(key) is None:
                at[key] = [] if following == "[]" else {}
            at = at[key]
    if change.value is None:
        at.pop(last, None)
    else:
        at[last] = change.value
    return changed
