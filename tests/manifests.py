"""The manifests the builders make, in the variants that the goldens show."""

from typing import Any

import gen
from yolo_operator.core import contract, names
from yolo_operator.core.resources import budget, job, service, triton

Manifest = dict[str, Any]

GPU: Manifest = {
    "replicas": 2,
    "storage": {"endpoint": "https://s3.storage.svc:8333", "caBundleRef": {"name": "s3-ca", "key": "ca.crt"}, "readSecretRef": {"name": "s3-readonly"}},
    "triton": {
        "maxBatchSize": 16,
        "imagePullSecrets": [{"name": "registry"}],
        "tensorrt": {"enabled": True, "precision": "FP16", "engineCache": {"persistentVolumeClaim": "engines"}},
        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
    },
    "gpu": {"resourceName": "nvidia.com/gpu", "count": 1},
    "nodeSelector": {"accelerator": "a100"},
    "runtimeClassName": "nvidia",
    "restartedAt": "2026-11-22",
}
CPU: Manifest = {"gpu": {"count": 0}, "triton": {"image": "docker.io/yolo-operator/tritonserver-cpu:24.10", "maxBatchSize": 4}}


def deployment(**spec: Any) -> Manifest:
    """GPU, TensorRT with a cache, CA bundle."""
    resource = gen.yolo(**gen.merged(GPU, spec))
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    return triton.build(resource, resource.spec.versions[0], artifact, resource.spec.replicas, None, gen.DEFAULTS)


def deployment_cpu() -> Manifest:
    """On the CPU, nothing optional."""
    resource = gen.yolo(**CPU)
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    return triton.build(resource, resource.spec.versions[0], artifact, 1, None, gen.DEFAULTS)


def build_job(**spec: Any) -> Manifest:
    """From S3 to S3."""
    resource = gen.yolo(**spec)
    return job.build(resource, resource.spec.versions[0], gen.DEFAULTS)


def build_job_full() -> Manifest:
    """From a claim, with every flag."""
    return build_job(
        **gen.merged(
            GPU,
            {
                "task": "segment",
                "versions": [
                    gen.version(
                        source={"uri": "pvc://weights/helmet.pt", "sha256": "c" * 64},
                        export={"imageSize": [640, 480], "half": True, "simplify": False, "opset": 17},
                    )
                ],
                "build": {"nodeSelector": {"pool": "cpu"}, "tolerations": [{"key": "build", "operator": "Exists"}]},
                "triton": {"dynamicBatching": {"preferredBatchSizes": [4, 8]}},
            },
        )
    )


def verify_job() -> Manifest:
    """Asks one pod."""
    resource = gen.yolo(rollout={"verify": {"minIoU": 0.9, "maxScoreDifference": 0.05}})
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    target = gen.pod(labels={names.POD_TEMPLATE_HASH: "5d4f8c7b9"})
    return job.verify(resource, resource.spec.versions[0], artifact, target, gen.DEFAULTS)


def prune_job(*remove: str) -> Manifest:
    """Removes some revisions, all where none is named."""
    return job.prune(gen.yolo(), remove or None, gen.DEFAULTS)


def service_manifest() -> Manifest:
    return service.build(gen.yolo(), 1)


def budget_manifest() -> Manifest:
    return budget.build(gen.yolo(), 1)


GOLDENS = {
    "build_job.yaml": build_job,
    "build_job_full.yaml": build_job_full,
    "verify_job.yaml": verify_job,
    "prune_job.yaml": lambda: prune_job("01234abcde", "abcdef0123"),
    "prune_all_job.yaml": prune_job,
    "triton_deployment_gpu.yaml": deployment,
    "triton_deployment_cpu.yaml": deployment_cpu,
    "service.yaml": service_manifest,
    "budget.yaml": budget_manifest,
}
