"""`yolo-operator validate` and `render`: what the operator would make of a manifest, without a cluster."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from yolo_operator.core import api, contract, names, revision
from yolo_operator.core.defaults import Defaults, storage_of
from yolo_operator.core.observed import Observed
from yolo_operator.core.plan import plan
from yolo_operator.core.resources import budget, overlay, server, service, triton
from yolo_operator.core.shared import model

NOWHERE = "00000000-0000-0000-0000-000000000000"
"""Owner UID of rendered objects: only the API server gives real ones."""


class FileError(Exception):
    """The file cannot be read, or holds nothing of ours."""


class Resources:
    """The YoloDeployments and YoloServers of a YAML file, `-` for standard input. Raises FileError."""

    def __init__(self, path: str) -> None:
        try:
            documents = list(yaml.safe_load_all(sys.stdin if path == "-" else Path(path).read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError) as error:
            raise FileError(f"{path}: {error}") from error
        self._path = path
        self._bodies = [whole(document) for document in documents if isinstance(document, dict) and document.get("kind") in (api.KIND, api.SERVER_KIND)]
        if not self._bodies:
            raise FileError(f"{path} holds no {api.KIND}")

    def servers(self) -> Iterator[api.YoloServer]:
        """The YoloServers. Raises InvalidSpec."""
        yield from (api.parse_server(body) for body in self._bodies if body["kind"] == api.SERVER_KIND)

    def deployments(self) -> Iterator[tuple[api.YoloDeployment, Observed]]:
        """The YoloDeployments, as their servers have them, and what there is: nothing but that server. Raises InvalidSpec, FileError."""
        for yolo in (api.parse(body) for body in self._bodies if body["kind"] == api.KIND):
            reference = yolo.spec.server_ref
            of_server = [body for body in self._bodies if reference is not None and is_named(body, yolo.namespace, reference.name)]
            if reference is not None and not of_server:
                raise FileError(f"{self._path} holds no {api.SERVER_KIND} {reference.name!r}, which {api.KIND} {yolo.name!r} refers to")
            yield yolo, Observed(server=next(iter(of_server), None))


def whole(document: dict[str, Any]) -> dict[str, Any]:
    """A resource with what the API server would put in."""
    return document | {"metadata": {"namespace": "default", "uid": NOWHERE, "generation": 1} | document.get("metadata", {})}


def is_named(body: dict[str, Any], namespace: str, name: str) -> bool:
    """Whether a resource is the YoloServer of a name."""
    return bool(body["kind"] == api.SERVER_KIND and (body["metadata"]["namespace"], body["metadata"]["name"]) == (namespace, name))


def validate(path: str, defaults: Defaults) -> list[str]:
    """A line per resource that could be planned. Raises InvalidSpec for the first that cannot.

    Checks types, bounds and whether there is a storage; the rules that only the API server evaluates need `kubectl apply --dry-run=server`.
    """
    found, lines = Resources(path), []
    for each in found.servers():
        overlay.check(each.spec.triton.pod_template, frozenset({names.AGENT}))
        storage_of(each, defaults)
        lines.append(f"{each.namespace}/{each.name}: ok, {api.SERVER_KIND}")
    for yolo, observed in found.deployments():
        plan(yolo, observed, defaults, datetime.now(UTC))
        placed = model.placed(yolo, observed)
        revisions = " ".join(f"{version.version}:{revision.revision(placed, version, defaults)}" for version in yolo.spec.versions)
        lines.append(f"{yolo.namespace}/{yolo.name}: ok, revisions {revisions}")
    return lines


def render(path: str, defaults: Defaults) -> list[dict[str, Any]]:
    """All objects that the operator makes for the resources of a file, as if each version had just been built."""
    found, objects = Resources(path), list[dict[str, Any]]()
    for each in found.servers():
        objects += [server.build(each, None, defaults), budget.of_server(each)]
    for yolo, observed in found.deployments():
        decided = plan(yolo, observed, defaults, datetime.now(UTC))
        objects += [*decided.create, *decided.apply]
        for version in yolo.spec.versions if yolo.spec.server_ref is None else ():
            published = assumed(yolo, version, defaults)
            objects += [
                triton.build(yolo, version, published, yolo.spec.replicas, None, defaults),
                service.build(yolo, version.version),
                budget.build(yolo, version.version),
            ]
    return objects


def assumed(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> contract.Artifact:
    """What a build would have published: sizes that only the weights know are assumed to be those of a small model."""
    size = version.export.image_size or [640, 640]
    return contract.Artifact(
        uri=f"{revision.root(yolo, defaults)}/{revision.revision(yolo, version, defaults)}",
        onnx_sha256="0" * 64,
        size_bytes=20 << 20,
        source_sha256="0" * 64,
        task=yolo.spec.task or contract.Task.DETECT,
        classes=80,
        classes_digest="0" * 16,
        image_size=[size[0], size[-1]],
        inputs=[contract.Tensor(name="images", datatype="FP16" if version.export.half else "FP32", shape=[-1, 3, -1, -1])],
        outputs=[],
    )
