"""Revisions: what determines the published files, as a hash. Never the operator's release, an image, replicas or traffic.

Of a part of the spec only what differs from its default counts: a field that a later release adds changes no hash before it is used.
"""

from yolo_operator.core import api, names
from yolo_operator.core.defaults import Defaults, storage_of
from yolo_operator.core.drift import quantity

REVISION_LENGTH = 10
UNLIMITED_INSTANCES, MAX_INSTANCES = 2, 8
"""Processes that decode pictures in a pod without a limit of CPUs, and in one with many."""


def export_key(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> str:
    """16 hex of what determines the ONNX: two revisions with the same key share it, and only one of them exports."""
    return names.digest(_export_inputs(yolo, version, defaults), 16)


def conversion_key(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> str:
    """16 hex of how weights become ONNX: resources of a namespace with the same one share what the same weights have become. Empty: never shared.

    Who reaches the storage otherwise may see less of it. The pictures of a calibration are known by their address alone.
    """
    if version.export.calibration is not None:
        return ""
    storage = storage_of(yolo, defaults)
    return names.digest(
        {
            "export": version.export.model_dump(exclude_defaults=True),
            "task": yolo.spec.task,
            "exporter": defaults.exporter_image,
            "secret": storage.secret_ref.name if storage.secret_ref else "",
            "serviceAccount": yolo.spec.service_account_name,
        },
        16,
    )


def revision(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> str:
    """10 hex of what determines the published repository: the ONNX, its names, and config.pbtxt."""
    spec, storage = yolo.spec, storage_of(yolo, defaults)
    triton = spec.triton
    config = triton.model_dump(include={"gpu_memory_limit", "parameters"}, exclude_defaults=True)
    return names.digest(
        {
            "export": _export_inputs(yolo, version, defaults),
            # The location belongs to it: published elsewhere is published anew.
            "storage": [storage.uri.rstrip("/"), storage.endpoint],
            "model": [yolo.model_name, version.version],
            "config": config
            | {
                "kind": "gpu" if spec.gpu.count else "cpu",
                "maxBatchSize": triton.max_batch_size,
                "dynamicBatching": triton.dynamic_batching.model_dump(exclude_defaults=True),
                "instances": triton.instances,
                "tensorrt": triton.tensorrt.model_dump(include={"enabled", "precision", "max_workspace_bytes"}, exclude_defaults=True),
                "warmup": triton.warmup,
            },
            **({"pictures": spec.pictures.model_dump(exclude_defaults=True) | {"instances": picture_instances(spec)}} if spec.pictures.enabled else {}),
        },
        REVISION_LENGTH,
    )


def source_endpoint(version: api.Version, storage: api.Storage) -> str | None:
    """The S3 endpoint a version's weights are read from: its own, or the storage's."""
    return version.source.endpoint or storage.endpoint


def root(yolo: api.YoloDeployment, defaults: Defaults) -> str:
    """s3://bucket/prefix/<namespace>/<name>: all that is published for the resource lies below."""
    return root_in(storage_of(yolo, defaults), yolo)


def root_in(storage: api.Storage, yolo: api.YoloDeployment) -> str:
    """The same in any storage: names never change, storages do."""
    return f"{storage.uri.rstrip('/')}/{yolo.namespace}/{yolo.name}"


def picture_instances(spec: api.Spec) -> int:
    """How many processes of a pod decode pictures: as many as it has CPUs, where the spec says nothing else."""
    if spec.pictures.instances is not None:
        return spec.pictures.instances
    cpus = quantity(spec.triton.resources.limits.get("cpu", ""))
    return UNLIMITED_INSTANCES if cpus is None else min(MAX_INSTANCES, max(1, int(cpus)))


def symmetric(yolo: api.YoloDeployment, version: api.Version) -> bool:
    """Whether an INT8 ONNX is made as TensorRT wants it: scales whose zero points are 0."""
    return version.export.calibration is not None and yolo.spec.triton.tensorrt.enabled


def _export_inputs(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> dict[str, object]:
    source = version.source
    return {
        "uri": source.uri,
        "endpoint": source_endpoint(version, storage_of(yolo, defaults)) if source.uri.startswith("s3://") else None,
        "sha256": source.sha256,
        "rebuild": version.rebuild,
        # Like the source's, the keys of the calibration's pictures do not count.
        "export": version.export.model_dump(exclude_defaults=True, exclude={"calibration": {"secret_ref"}}),
        "task": yolo.spec.task,
        **({"symmetric": True} if symmetric(yolo, version) else {}),
    }
