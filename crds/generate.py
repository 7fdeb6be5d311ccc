"""Write the CRDs from the pydantic models: `python crds/generate.py [--check]`."""

import argparse
import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonref
import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from yolo_operator.core import api

FOLDER = Path(__file__).parent
AT_MOST_40 = (
    "self.metadata.name.size() <= 40",
    "metadata.name is at most 40 characters: Services and Jobs are named after it",
)
STARTS_WITH_A_LETTER = (
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name starts with a letter and holds only lower-case letters, digits and hyphens: Services are named after it",
)
NO_VERSION = "!self.metadata.name.matches('-v[0-9]+$')"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What a CRD says besides the fields."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    model: type[BaseModel]
    spec: type[BaseModel]
    items: tuple[tuple[str, type[BaseModel]], ...] = ()
    """Lists of the spec whose items have defaults of their own."""
    status: type[BaseModel]
    name_rules: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, str, int], ...]
    """Name, path, priority: 1 is shown by -o wide."""


YOLO_DEPLOYMENT = Resource(
    kind=api.KIND,
    plural=api.PLURAL,
    short_names=("yolo", "yolos"),
    model=api.YoloDeployment,
    spec=api.Spec,
    items=(("versions", api.Version),),
    status=api.Status,
    name_rules=(AT_MOST_40, STARTS_WITH_A_LETTER, (NO_VERSION, "metadata.name must not end in -v and digits: NAME-v1 is the Service of version 1")),
    columns=(
        ("Ready", ".status.conditions[?(@.type=='Ready')].status", 0),
        ("Status", ".status.conditions[?(@.type=='Ready')].reason", 0),
        ("Versions", ".status.display.versions", 0),
        ("Replicas", ".status.display.replicas", 0),
        ("URL", ".status.url", 0),
        ("Model", ".status.display.model", 1),
        ("Task", ".status.task", 1),
        ("GPU", ".spec.gpu.count", 1),
        ("Revision", ".status.display.revisions", 1),
    ),
)
YOLO_SERVER = Resource(
    kind=api.SERVER_KIND,
    plural=api.SERVER_PLURAL,
    short_names=("yserver", "yservers"),
    model=api.YoloServer,
    spec=api.ServerSpec,
    status=api.ServerStatus,
    name_rules=(
        AT_MOST_40,
        STARTS_WITH_A_LETTER,
        (NO_VERSION, "metadata.name must not end in -v and digits: NAME-v1 is the Deployment of version 1 of a YoloDeployment"),
    ),
    columns=(
        ("Ready", ".status.conditions[?(@.type=='Ready')].status", 0),
        ("Models", ".status.display.models", 0),
        ("Memory", ".status.display.memory", 0),
        ("Replicas", ".status.display.replicas", 0),
        ("Status", ".status.conditions[?(@.type=='Ready')].reason", 1),
        ("GPU", ".spec.gpu.count", 1),
    ),
)
RESOURCES = (YOLO_DEPLOYMENT, YOLO_SERVER)


class StructuralSchema(GenerateJsonSchema):
    """JSON schema as a CRD accepts it: absent instead of null, no titles, no additionalProperties beside properties."""

    def nullable_schema(self, schema: Any) -> Any:
        return self.generate_inner(schema["schema"])

    def encode_default(self, dft: Any) -> Any:
        return api.duration_text(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def default_schema(self, schema: Any) -> Any:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def _update_class_schema(self, json_schema: Any, cls: Any, config: Any) -> None:
        super()._update_class_schema(json_schema, cls, config)
        json_schema.pop("title", None)
        json_schema.pop("additionalProperties", None)


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of a model, references put in place."""
    schema = model.model_json_schema(schema_generator=StructuralSchema)
    flat: dict[str, Any] = jsonref.replace_refs(schema, proxies=False, merge_props=True, lazy_load=False)
    flat.pop("$defs", None)
    return clean(flat)


def clean(node: Any, *, in_properties: bool = False) -> Any:
    """Drop what the API server refuses, join wrapped descriptions, and put a default beside every optional object.

    An object's own default makes the defaults of its fields appear in what is stored, so that `kubectl get -o yaml` shows them.
    """
    if isinstance(node, list):
        return [clean(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: clean(value, in_properties=key == "properties") for key, value in node.items() if in_properties or key != "title"}
    if isinstance(result.get("description"), str):
        result["description"] = " ".join(result["description"].split())
    if "enum" in result and "const" in result:
        result.pop("const")
    if "const" in result:
        result["enum"] = [result.pop("const")]
    return result


def with_object_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Where every field of an optional object has a default, default the object to {}; the API server fills in the rest."""
    required = schema.get("required", [])
    for name, part in schema.get("properties", {}).items():
        if "properties" in part:
            with_object_defaults(part)
            optional = name not in required
            if optional and not part.get("required") and part.pop("x-defaulted", False):
                part["default"] = {}
        if "properties" in part.get("items", {}):
            with_object_defaults(part["items"])
    return schema


def without_defaults_in_lists(schema: dict[str, Any], *, in_list: bool = False) -> None:
    """Let what is absent in an item of a list be absent in what is stored, and say in the description what it counts as.

    A client merges a list of a custom resource as one value: with a default filled in, a manifest that has not changed differs from what is stored, and
    `kubectl apply` and Argo CD write it again each time.
    """
    for part in schema.get("properties", {}).values():
        if in_list and "default" in part:
            value = part.pop("default")
            if "properties" not in part:
                part["description"] = f"{part['description']} Default: {json.dumps(value) if not isinstance(value, str) else value}."
        without_defaults_in_lists(part, in_list=in_list)
    if isinstance(schema.get("items"), dict):
        without_defaults_in_lists(schema["items"], in_list=True)


def mark_defaulted(model: type[BaseModel], schema: dict[str, Any]) -> None:
    """Note which object fields have a default factory: those are defaulted in the CRD too, those that may be absent are not."""
    for field in model.model_fields.values():
        part = schema["properties"][field.alias or ""]
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            if field.default_factory is not None:
                part["x-defaulted"] = True
                factory_default = field.default_factory().model_dump(by_alias=True, exclude_defaults=True)  # type: ignore[call-arg]
                if factory_default:
                    for key, value in factory_default.items():
                        part["properties"][key]["default"] = value
            mark_defaulted(inner, part)


def crd(resource: Resource) -> dict[str, Any]:
    """A CustomResourceDefinition."""
    spec = structural(resource.spec)
    mark_defaulted(resource.spec, spec)
    for name, item in resource.items:
        mark_defaulted(item, spec["properties"][name]["items"])
    with_object_defaults(spec)
    without_defaults_in_lists(spec)
    # Without conditions others take a resource that no operator has seen for done.
    pending = {"default": {"conditions": [api.PENDING.model_dump(by_alias=True, exclude_defaults=True)]}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{api.GROUP}"},
        "spec": {
            "group": api.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [*resource.short_names],
                "categories": ["all", "yolo-operator"],
            },
            "versions": [
                {
                    "name": api.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        {"name": name, "type": "string", "jsonPath": path} | ({"priority": priority} if priority else {})
                        for name, path, priority in resource.columns
                    ]
                    + [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": " ".join((resource.model.__doc__ or "").split()),
                            "required": ["spec"],
                            **api.rules(*resource.name_rules),
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": structural(resource.status) | pending,
                            },
                        }
                    },
                }
            ],
        },
    }


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file differs instead of writing it")
    check, differ = parser.parse_args().check, []
    for resource in RESOURCES:
        path = FOLDER / f"{resource.plural}.yaml"
        text = "# Generated by `make crds` from operator/yolo_operator/core/api/. Do not edit.\n" + yaml.safe_dump(
            crd(resource), sort_keys=False, width=140, allow_unicode=True
        )
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            differ.append(path)
    for path in differ:
        sys.stderr.write(f"{path} differs from the models: run `make crds`\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
