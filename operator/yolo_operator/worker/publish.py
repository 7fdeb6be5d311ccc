"""publish: writes one revision to S3, a complete Triton repository, manifest.json last.

Rerun after a kill between any two writes, it starts over and overwrites; once the manifest is there nothing is written again.
"""

import datetime
import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from yolo_operator import __version__, picture_model
from yolo_operator.core.contract import CONFIG, GOLDEN, MANIFEST, MAX_GOLDEN_BYTES, ONNX_FILE, Artifact, Source, Task
from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.core.triton import picture_models, releases
from yolo_operator.core.triton.config import WARMUP_FILE, ModelConfig, configure
from yolo_operator.core.triton.description import Description, lowest
from yolo_operator.core.triton.manifest import Manifest, PublishedFile
from yolo_operator.core.triton.options import ServingOptions, served_inputs
from yolo_operator.core.triton.picture_models import PictureOptions
from yolo_operator.model import golden, picture_graphs
from yolo_operator.worker import handover, pbtxt, revisions, shared, verdict
from yolo_operator.worker.storage import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """Which revision, from where, served how."""

    revision: str
    export_key: str
    cluster_name: str
    conversion_key: str = ""
    """Hash of how weights become ONNX; empty: what it makes is shared with nobody."""
    source_sha256: str = ""
    """Of the weights, where the spec says it."""
    serving: ServingOptions
    pictures: PictureOptions | None = None
    """How pictures' files are taken; None: they are not."""
    check_directory: Path
    source_directory: Path
    export_directory: Path
    task: Task | None = None
    max_ir_version: int = 0
    """Of the Triton image's ONNX Runtime; 0: unknown, anything goes."""
    max_opset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A file taken over from another revision, on the server."""

    owner: Repository
    source: str
    file: PublishedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A file of this Pod, open; it is never held in memory."""

    content: BufferedReader
    file: PublishedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A model ready to be published: exported just now, or another revision's."""

    description: Description
    onnx: Local | Copied
    golden_archive: bytes | Copied
    golden: golden.Golden
    provenance: dict[str, Any] = field(default_factory=dict)


def run(repository: Repository, options: PublishOptions) -> Artifact:
    """Publish, or say what is published already. Raises the storage's faults and everything wrong with the export."""
    revision = revisions.check_name(options.revision)
    found = revisions.manifest(repository, revision)
    if found is not None:
        revisions.check_owner(found, options.cluster_name, repository.root)
        if revisions.whole(repository, found):
            return found.artifact
    decided = verdict.read(options.check_directory)
    with ExitStack() as files_open:
        match decided.state:
            case "missing":
                source = handover.fetched(options.source_directory)
                material = taken_over(repository, source.reuse, options, source) if source.reuse else exported(options, files_open)
            case "reusable":
                material = taken_over(repository, decided.reuse, options)
            case "published":
                raise Unavailable("RevisionVanished", f"{repository.uri(revision)} was there a moment ago and is not now: it is built anew")
        check_runtime(material.description, options)
        config = configure(material.description, options.serving)
        beside = picture_files(material.description, config, options)
        files = upload(repository, options, material, config, beside)
    manifest = describe(repository, options, material, files)
    if not revisions.whole(repository, manifest):
        raise Unavailable("StorageInconsistent", f"{repository.uri(revision)} is not what was just written; is somebody else writing there?")
    content = manifest.model_dump_json(by_alias=True, indent=1).encode()
    repository.write(f"{revision}/{MANIFEST}", content, digest(content))
    if options.conversion_key:
        shared.record(repository, shared.made(options.conversion_key, options.cluster_name), material.description.source_sha256, revision)
    return manifest.artifact


def exported(options: PublishOptions, files_open: ExitStack) -> Material:
    """The exporter's files, checked; the ONNX stays open until `files_open` ends."""
    taken = files_open.enter_context(handover.take(options.export_directory, options.source_directory, options.task))
    facts = taken.description.onnx
    return Material(
        description=taken.description,
        onnx=Local(content=taken.onnx, file=PublishedFile(sha256=facts.sha256, size_bytes=facts.size_bytes)),
        golden_archive=taken.golden,
        golden=golden.read(taken.golden),
        provenance={"source": provenance(taken.source)},
    )


def taken_over(repository: Repository, reuse: str, options: PublishOptions, source: Source | None = None) -> Material:
    """Another revision's ONNX and golden picture; its description comes from its manifest. `source`: the weights that fetch brought, where it had to."""
    name, _, revision = reuse.rpartition("/")
    owner = repository.sibling(name) if name else repository
    found = manifest_of(repository, reuse, options, source.sha256 if source else options.source_sha256)
    if found is None:
        raise Unavailable("RevisionVanished", f"revision {reuse}, whose ONNX was to be taken over, is gone: it is built anew")
    if options.task is not None and found.model.report.task is not options.task:
        raise InvalidSpec("TaskMismatch", f"the weights are for {found.model.report.task}, spec.task says {options.task}")
    onnx, archive = f"{found.model_name}/{found.version}/{ONNX_FILE}", GOLDEN
    content = owner.read(f"{revision}/{archive}", MAX_GOLDEN_BYTES)
    if content is None or onnx not in found.files or digest(content) != found.files[archive].sha256:
        raise Unavailable("RevisionVanished", f"revision {reuse} is not whole any more: it is built anew")
    brought = {"source": provenance(source)} if source else {}
    return Material(
        description=found.model,
        onnx=Copied(owner=owner, source=f"{revision}/{onnx}", file=found.files[onnx]),
        golden_archive=Copied(owner=owner, source=f"{revision}/{archive}", file=found.files[archive]),
        golden=golden.read(content),
        provenance={**found.provenance, **brought, "takenOverFrom": reuse},
    )


def provenance(source: Source) -> dict[str, Any]:
    """Where the weights come from, as the manifest says it."""
    return source.model_dump(by_alias=True, exclude={"reuse"})


def manifest_of(repository: Repository, reuse: str, options: PublishOptions, source_sha256: str) -> Manifest | None:
    """The manifest of REVISION with the same export, or of NAME/REVISION made of the same weights; None where it is gone meanwhile."""
    if "/" in reuse:
        return shared.manifest(repository, reuse, source_sha256, options.cluster_name)
    found = revisions.manifest(repository, revisions.check_name(reuse))
    return found if found is not None and found.cluster_name == options.cluster_name and found.export_key == options.export_key else None


def check_runtime(description: Description, options: PublishOptions) -> None:
    """An ONNX newer than the server's ONNX Runtime would not load. Raises InvalidSpec OnnxTooNew."""
    onnx, server = description.onnx, options.serving.release
    reader = server.known_as if server else "the Triton image's ONNX Runtime"
    newer = releases.first_that_reads(onnx.ir_version, onnx.opset)
    image = f"spec.triton.image of release {newer.name} or later" if newer else "a newer spec.triton.image"
    if options.max_ir_version and onnx.ir_version > options.max_ir_version:
        raise InvalidSpec(
            "OnnxTooNew",
            f"the ONNX has IR version {onnx.ir_version}, {reader} reads up to {options.max_ir_version}: take {image}, or export with an older IR version",
        )
    if options.max_opset and onnx.opset > options.max_opset:
        raise InvalidSpec(
            "OnnxTooNew",
            f"the ONNX has opset {onnx.opset}, {reader} knows up to {options.max_opset}: "
            f"set spec.versions[].export.opset to at most {options.max_opset} (or export the .onnx so), or take {image}",
        )


def picture_files(description: Description, config: ModelConfig, options: PublishOptions) -> dict[str, bytes]:
    """The models that take pictures' files, by path relative to the revision; none where they are not wanted. Raises InvalidSpec PicturesInvalid."""
    if options.pictures is None:
        return {}
    models = picture_models.configure(description, config, options.pictures)
    report = description.report
    files = {f"{model.name}/{CONFIG}": pbtxt.render(model).encode() for model in models.all}
    files[f"{models.normalize.name}/{config.version}/{ONNX_FILE}"] = picture_graphs.normalize(models.normalize)
    if models.nms is not None:
        files[f"{models.nms.name}/{config.version}/{ONNX_FILE}"] = picture_graphs.suppress(models.nms, task=report.task, classes=len(report.names))
    # Triton wants a directory of the version, also of an ensemble, which has nothing in it; S3 has no empty ones.
    files[f"{models.network.name}/{config.version}/ensemble"] = b"\n"
    place = f"{models.pictures.name}/{config.version}"
    for module in sorted(resources.files(picture_model).iterdir(), key=lambda each: each.name):
        if module.name.endswith(".py"):
            name = picture_models.MODEL_FILE if module.name == picture_models.ENTRY else f"{picture_models.PACKAGE}/{module.name}"
            files[f"{place}/{name}"] = module.read_bytes()
    return files


def upload(repository: Repository, options: PublishOptions, material: Material, config: ModelConfig, beside: Mapping[str, bytes]) -> dict[str, PublishedFile]:
    """Write all files but the manifest; their digests by path relative to the revision."""
    model = config.name
    contents: dict[str, bytes | Local | Copied] = {
        f"{model}/{config.version}/{ONNX_FILE}": material.onnx,
        GOLDEN: material.golden_archive,
        f"{model}/{CONFIG}": pbtxt.render(config).encode(),
        **beside,
    }
    if config.warmups:
        contents[f"{model}/warmup/{WARMUP_FILE}"] = warmup_bytes(material, config)
    written: dict[str, PublishedFile] = {}
    for path, content in contents.items():
        key = f"{options.revision}/{path}"
        match content:
            case Copied():
                repository.copy(content.source, key, of=content.owner)
                written[path] = content.file
            case Local():
                repository.write(key, content.content, content.file.sha256)
                written[path] = content.file
            case _:
                written[path] = PublishedFile(sha256=digest(content), size_bytes=len(content))
                repository.write(key, content, written[path].sha256)
    return written


def warmup_bytes(material: Material, config: ModelConfig) -> bytes:
    """The picture as Triton reads it from a warmup file: raw values of the input's type, one picture for any batch size.

    An ONNX with a fixed batch and no batching wants that many pictures.
    """
    (first,) = config.warmups[0].inputs
    batch = first.dims[0] if config.max_batch_size == 0 else 1
    raw: bytes = golden.repeated(material.golden.input, first.datatype, batch).astype(numpy_type(first.datatype)).tobytes()
    return raw


def numpy_type(datatype: str) -> np.dtype[Any]:
    """Little-endian, as Triton reads files on every machine it runs on."""
    return np.dtype({"FP32": "<f4", "FP16": "<f2"}[datatype])


def describe(repository: Repository, options: PublishOptions, material: Material, files: dict[str, PublishedFile]) -> Manifest:
    """The manifest of what was written."""
    report, onnx = material.description.report, material.description.onnx
    names = json.dumps(report.names, ensure_ascii=False, separators=(",", ":"))
    artifact = Artifact(
        uri=repository.uri(options.revision),
        onnx_sha256=onnx.sha256,
        size_bytes=sum(file.size_bytes for file in files.values()),
        source_sha256=material.description.source_sha256,
        task=report.task,
        classes=len(report.names),
        classes_digest=digest(names.encode())[:16],
        image_size=list(report.image_size),
        inputs=served_inputs(material.description, options.serving),
        outputs=onnx.outputs,
        ultralytics=report.ultralytics,
        torch=report.torch,
        opset=onnx.opset,
        end_to_end=report.end_to_end,
        reference=report.reference,
        quantization=report.quantization,
    )
    serving = options.serving
    return Manifest(
        revision=options.revision,
        export_key=options.export_key,
        cluster_name=options.cluster_name,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        model_name=serving.model_name,
        version=serving.version,
        max_batch_size=serving.max_batch_size,
        precision=precision(material.description, serving),
        files=files,
        model=material.description,
        artifact=artifact,
        provenance={
            **material.provenance,
            "operator": __version__,
            "ultralytics": report.ultralytics,
            "torch": report.torch,
        },
    )


def precision(description: Description, serving: ServingOptions) -> str:
    """The lowest precision that answers are computed in: the ONNX's own, or TensorRT's."""
    return lowest(description.precision, serving.tensorrt.precision if serving.tensorrt else "FP32")


def digest(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()
