"""`yolo-operator validate` and `render`: what the operator would make of a manifest, without a cluster."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from yolo_operator.core import api, contract, revision
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.observed import Observed
from yolo_operator.core.plan import plan
from yolo_operator.core.resources import budget, service, triton

NOWHERE = "00000000-0000-0000-0000-000000000000"
"""Owner UID of rendered objects: only the API server gives real ones."""


class FileError(Exception):
    """The file cannot be read, or holds nothing of ours."""


def read(path: str) -> Iterator[api.YoloDeployment]:
    """The YoloDeployments of a YAML file, `-` for standard input. Raises InvalidSpec, FileError."""
    try:
        documents = list(yaml.safe_load_all(sys.stdin if path == "-" else Path(path).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise FileError(f"{path}: {error}") from error
    found = [document for document in documents if isinstance(document, dict) and document.get("kind") == api.KIND]
    if not found:
        raise FileError(f"{path} holds no {api.KIND}")
    for document in found:
        metadata = {"namespace": "default", "uid": NOWHERE, "generation": 1} | document.get("metadata", {})
        yield api.parse(document | {"metadata": metadata})


def validate(path: str, defaults: Defaults) -> list[str]:
    """A line per resource that could be planned. Raises InvalidSpec for the first that cannot.

    Checks types, bounds and whether there is a storage; the rules that only the API server evaluates need `kubectl apply --dry-run=server`.
    """
    lines = []
    for yolo in read(path):
        plan(yolo, Observed(), defaults, datetime.now(UTC))
        revisions = " ".join(f"{version.version}:{revision.revision(yolo, version, defaults)}" for version in yolo.spec.versions)
        lines.append(f"{yolo.namespace}/{yolo.name}: ok, revisions {revisions}")
    return lines


def render(path: str, defaults: Defaults) -> list[dict[str, Any]]:
    """All objects that the operator makes for the resources of a file, as if each version had just been built."""
    objects = []
    for yolo in read(path):
        decided = plan(yolo, Observed(), defaults, datetime.now(UTC))
        objects += [*decided.create, *decided.apply]
        for version in yolo.spec.versions:
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
