"""The manifests the builders make, in the variants that the goldens show."""

from datetime import timedelta
from typing import Any

import gen
from yolo_operator.core import api, contract, names
from yolo_operator.core.defaults import storage_of
from yolo_operator.core.resources import analysis, budget, job, network_policy, route, server, service, triton
from yolo_operator.core.served_models import WantedModel

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
OVERLAY: Manifest = {
    "metadata": {"labels": {"team": "vision"}, "annotations": {"prometheus.io/port": "8002"}},
    "spec": {
        "containers": [
            {
                "name": "triton",
                "env": [{"name": "LD_PRELOAD", "value": "/plugins/liboperators.so"}],
                "volumeMounts": [{"name": "plugins", "mountPath": "/plugins", "readOnly": True}],
            },
            {
                "name": "log-shipper",
                "image": "docker.io/example/log-shipper:1.4",
                "ports": [{"containerPort": 9000}],
                "env": [{"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1000m"}}}],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1000m"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            },
        ],
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "vision", "effect": "NoSchedule"}],
        "volumes": [{"name": "plugins", "persistentVolumeClaim": {"claimName": "plugins"}}, {"name": "shm", "emptyDir": {"sizeLimit": "8Gi"}}],
    },
}
"""A sidecar, a variable, a volume, and more shared memory."""


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


def deployment_loaded() -> Manifest:
    """On the CPU, the repository brought by an init container, from an S3 with a CA of its own."""
    storage = {"endpoint": "https://s3.storage.svc:8333", "caBundleRef": {"name": "s3-ca", "key": "ca.crt"}, "loader": "InitContainer"}
    resource = gen.yolo(**gen.merged(CPU, {"storage": storage}))
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    return triton.build(resource, resource.spec.versions[0], artifact, 1, None, gen.DEFAULTS)


PICTURES: Manifest = {"pictures": {"enabled": True, "confidence": 0.4, "maxBytes": "8Mi"}, "triton": {"resources": {"limits": {"cpu": "3"}}}}


def deployment_pictures() -> Manifest:
    """On the CPU, with the model that takes pictures' files."""
    resource = gen.yolo(**gen.merged(CPU, PICTURES))
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


def build_job_calibrated(**calibration: Any) -> Manifest:
    """From S3, quantized to INT8 by pictures on another server."""
    wanted = {"pictures": "s3://pictures/helmets/", "secretRef": {"name": "s3-pictures"}, "endpoint": "http://minio.media.svc:9000", "region": "eu-west-1"}
    return build_job(**gen.merged(GPU, {"versions": [gen.version(export={"calibration": gen.merged(wanted, calibration)})]}))


def verify_job() -> Manifest:
    """Asks one pod."""
    resource = gen.yolo(rollout={"verify": {"minIoU": 0.9, "maxScoreDifference": 0.05}})
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    target = gen.pod(labels={names.POD_TEMPLATE_HASH: "5d4f8c7b9"})
    return job.verify(resource, resource.spec.versions[0], artifact, target, gen.DEFAULTS)


def analysis_job(*, state: Manifest | None = None, stable_pods: int = 2, **spec: Any) -> Manifest:
    """The first step of version 2, with its golden picture."""
    steps = [{"weight": 20, "duration": "2m"}]
    resource = gen.yolo(**gen.merged({"versions": [gen.version(1), gen.version(2)], "rollout": {"strategy": "Canary", "steps": steps}}, spec))
    artifact = contract.Artifact.model_validate(gen.artifact_of(resource))
    at = {"revision": "0123456789", "step": 1, "weight": 20, "started": "2026-11-22T03:00:00Z"} | (state or {})
    stable = [gen.pod(f"stable-{number}", podIP=f"10.0.0.{number}") for number in range(stable_pods)]
    canary = [gen.pod("canary-0", podIP="10.0.1.0"), gen.pod("canary-1", podIP="")]
    return analysis.build(
        resource, resource.spec.versions[1], 1, artifact, api.RolloutStatus.model_validate(at), timedelta(minutes=2), stable, canary, gen.DEFAULTS
    )


def analysis_job_full() -> Manifest:
    """With pictures of the user's, every limit, and a CA."""
    limits = {"pictures": "s3://models/pictures/", "secretRef": {"name": "s3-pictures"}, "minRequests": 20, "maxQueueMilliseconds": 5, "minAgreement": 0.8}
    build = {"nodeSelector": {"pool": "cpu"}, "tolerations": [{"key": "build", "operator": "Exists"}]}
    return analysis_job(**gen.merged(GPU, {"rollout": {"analysis": limits}, "build": build}))


def prune_job(*remove: str) -> Manifest:
    """Removes some revisions, all where none is named."""
    return job.prune(gen.yolo(), remove or None, storage_of(gen.yolo(), gen.DEFAULTS), gen.DEFAULTS)


def server_deployment(**spec: Any) -> Manifest:
    """Two pods of a Triton that several models share."""
    metadata = {"name": "line-3", "namespace": "factory", "uid": gen.UID, "generation": 1}
    body = {"metadata": metadata, "spec": gen.merged({"replicas": 2, "storage": gen.STORAGE}, spec)}
    return server.build(api.parse_server(body), None, gen.DEFAULTS)


def server_verify_job() -> Manifest:
    """Of a revision that is tried beside another one."""
    resource = gen.yolo()
    uri = "s3://models/yolo/factory/helmet/0123456789"
    wanted = WantedModel(name="helmet.0123456789", uri=uri, model="helmet", deployment="helmet")
    return job.verify_on_server(resource, resource.spec.versions[0], wanted, gen.pod("line-3-abc"), "0" * 64, gen.DEFAULTS)


def service_manifest() -> Manifest:
    return service.build(gen.yolo(), 1)


def budget_manifest() -> Manifest:
    return budget.build(gen.yolo(), 1)


NETWORK: Manifest = {
    "networkPolicy": {
        "enabled": True,
        "storage": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "storage"}}, "podSelector": {"matchLabels": {"app": "s3"}}, "port": 8333}
        ],
        "source": [{"cidr": "203.0.113.0/24", "port": 443}],
        "clients": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"team": "cameras"}}}, {"cidr": "10.20.0.0/16"}],
        "prometheus": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    }
}


def policies(**spec: Any) -> dict[str, Manifest]:
    """All NetworkPolicies, by what comes after the resource's name."""
    made = network_policy.build(gen.yolo(**gen.merged(NETWORK, spec)))
    return {each["metadata"]["name"].removeprefix("helmet-"): each for each in made}


GATEWAY: Manifest = {
    "traffic": {
        "mode": "Gateway",
        "gateway": {
            "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "http"}, {"name": "inner"}],
            "hostnames": ["helmet.example.com", "helmet.internal"],
            "grpc": {"hostnames": ["grpc.helmet.example.com"], "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "grpc"}]},
        },
    }
}


def routes(mirror: api.Mirror | None = None, session: api.SessionPersistence | None = None, **spec: Any) -> dict[tuple[str, str], Manifest]:
    """All routes of two versions, 90 to 10, by kind and name."""
    resource = gen.yolo(**gen.merged(GATEWAY | {"versions": [gen.version(1, weight=90), gen.version(2, weight=10)]}, spec))
    return {(made["kind"], made["metadata"]["name"]): made for made in route.build(resource, {1: 90, 2: 10}, [1, 2], mirror, session)}


GOLDENS = {
    "build_job.yaml": build_job,
    "build_job_full.yaml": build_job_full,
    "build_job_calibrated.yaml": build_job_calibrated,
    "verify_job.yaml": verify_job,
    "analysis_job.yaml": analysis_job,
    "analysis_job_full.yaml": analysis_job_full,
    "prune_job.yaml": lambda: prune_job("01234abcde", "abcdef0123"),
    "prune_all_job.yaml": prune_job,
    "triton_deployment_gpu.yaml": deployment,
    "triton_deployment_cpu.yaml": deployment_cpu,
    "triton_deployment_loaded.yaml": deployment_loaded,
    "triton_deployment_pictures.yaml": deployment_pictures,
    "triton_deployment_overlay.yaml": lambda: deployment(triton={"podTemplate": OVERLAY}),
    "server_deployment_gpu.yaml": lambda: server_deployment(**{key: GPU[key] for key in ("gpu", "nodeSelector", "runtimeClassName", "storage")}),
    "server_deployment_cpu.yaml": lambda: server_deployment(gpu={"count": 0}),
    "server_service.yaml": lambda: service.of_model(gen.yolo(), "line-3"),
    "server_verify_job.yaml": server_verify_job,
    "service.yaml": service_manifest,
    "budget.yaml": budget_manifest,
    "network_policy_of_builds.yaml": lambda: policies()["build"],
    "network_policy_of_other_jobs.yaml": lambda: policies()["jobs"],
    "network_policy_of_triton.yaml": lambda: policies()["triton"],
    "http_route.yaml": lambda: routes()["HTTPRoute", "helmet"],
    "http_route_mirror.yaml": lambda: routes(api.Mirror(version=3, percent=10))["HTTPRoute", "helmet"],
    "http_route_of_a_version.yaml": lambda: routes()["HTTPRoute", "helmet-v2"],
    "grpc_route.yaml": lambda: routes()["GRPCRoute", "helmet"],
}
