"""The table of bad specs: what each is given, the reason and the words it ends in, and its cure. Only data and what it takes to say it.

STALLED asks for an edit, HEALING waits for others to act, SERVED only looks odd.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from e2e import bad_weights, hub
from e2e import storage as s3
from e2e.cluster import WEIGHTS
from e2e.rows import CPU, GPU, Environment, Good, Row, bucket, gpus, run

NO_SUCH_IMAGE = "docker.io/yolo-operator/no-such-image:1"
API_SERVER = "https://kubernetes.default.svc/api/v1/namespaces/kube-system/secrets"
CLIENT_IMAGE = "docker.io/yolo-operator/client:dev"


def source(uri: str, **version: Any) -> dict[str, Any]:
    """A spec with this source; `sha256` and the like go to the source, `export` to the version."""
    export = {"export": version.pop("export")} if "export" in version else {}
    return {"versions": [{"version": 1, "source": {"uri": uri} | version, **export}]}


def storage(**changes: Any) -> dict[str, Any]:
    """A spec with other storage, and a good small source."""
    base = {"uri": "s3://models/yolo", "endpoint": s3.ENDPOINT, "secretRef": {"name": "s3-credentials"}}
    return {"storage": base | changes} | source("s3://weights/small.onnx")


def stored(name: str, content: Callable[[], bytes], **spec: Any) -> Callable[[Environment], dict[str, Any]]:
    """A spec whose source is a file of this content."""
    version = {key: spec.pop(key) for key in ("export", "sha256") if key in spec}
    return lambda environment: source(environment.storage.put("weights", f"bad/{name}", content()), **version) | spec


def batch(size: int) -> dict[str, Any]:
    """triton with a batch size."""
    return {"maxBatchSize": size, "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}}


def build(**changes: Any) -> dict[str, Any]:
    """build with changes."""
    return {"build": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "3Gi"}}} | changes}


def memory(limit: str) -> dict[str, Any]:
    """build with little memory."""
    return build(resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": limit}})


def truncated() -> bytes:
    """The first part of real weights."""
    return (WEIGHTS / "goldmine-detect.pt").read_bytes()[:200_000]


def nothing_found(environment: Environment, message: str) -> None:
    """The weights' program found nothing and got in nowhere."""
    assert "found []" in message, message
    assert "was answered [403, 40" in message, message
    told = json.dumps(environment.cluster.yolo(environment.namespace, "spy"))
    assert not any(key in told for key in (*s3.ADMIN, *s3.WRITER))


def slice_for_later(environment: Environment) -> None:
    """The Service gets a server behind it."""
    pod = environment.cluster.list("pods", s3.NAMESPACE, "app=s3")[0]["status"]["podIP"]
    made = environment.object("discovery.k8s.io/v1", "EndpointSlice", "later", addressType="IPv4", endpoints=[{"addresses": [pod]}], ports=[{"port": 8333}])
    made["metadata"]["labels"] = {"kubernetes.io/service-name": "later"}
    environment.cluster.apply(made)


def name_for_unknown(environment: Environment) -> None:
    """The host name gets an address."""
    environment.cluster.apply(
        environment.object("v1", "Service", "unknown", spec={"type": "ExternalName", "externalName": f"s3.{s3.NAMESPACE}.svc.cluster.local"})
    )


def claim(environment: Environment) -> None:
    """A volume of the node with the weights in it, and the claim that takes it."""
    volume = {"hostPath": {"path": "/tmp/yolo-operator-e2e", "type": "DirectoryOrCreate"}}
    code = "import shutil, sys, urllib.request; shutil.copyfileobj(urllib.request.urlopen(sys.argv[1]), open('/claim/small.onnx', 'wb'))"
    url = f"{s3.ENDPOINT}/{s3.PUBLIC}/small.onnx"
    container = {"name": "fill", "image": CLIENT_IMAGE, "args": ["-c", code, url], "volumeMounts": [{"name": "claim", "mountPath": "/claim"}]}
    # Not in the rows' namespace, which forbids host paths.
    run(
        environment,
        "fill",
        {"containers": [container | {"securityContext": {"runAsUser": 0}}], "volumes": [{"name": "claim", **volume}]},
        namespace=s3.NAMESPACE,
    )
    size = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    owner = {"claimRef": {"namespace": environment.namespace, "name": "later"}}
    environment.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": environment.namespace},
            "spec": size | owner | volume | {"capacity": {"storage": "1Gi"}},
        },
        environment.object(
            "v1", "PersistentVolumeClaim", "later", spec=size | {"volumeName": environment.namespace, "resources": {"requests": {"storage": "1Gi"}}}
        ),
    )


def scheduled(name: str) -> Callable[[Environment], bool]:
    """Whether the row's Triton pod has found its node."""
    return lambda environment: any(pod["spec"].get("nodeName") for pod in environment.pods(name, "triton"))


def device(environment: Environment) -> None:
    """A template of claims, the class that it asks for, and a device of it on the node, which nobody drives."""
    (node,) = environment.cluster.list("nodes", "default")
    name, place = environment.namespace, node["metadata"]["name"]
    requests = [{"name": "gpu", "exactly": {"deviceClassName": name}}]
    pool = {"name": place, "generation": 1, "resourceSliceCount": 1}
    environment.cluster.apply(
        environment.object("resource.k8s.io/v1", "ResourceClaimTemplate", "one-gpu", spec={"spec": {"devices": {"requests": requests}}}),
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": name},
            "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]},
        },
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": name},
            "spec": {"driver": "gpu.example.com", "nodeName": place, "pool": pool, "devices": [{"name": "gpu-0"}]},
        },
    )


STALLED = [
    pytest.param(
        Row(
            name="checksum",
            spec=lambda environment: source("s3://weights/small.onnx", sha256="0" * 64),
            reason="ChecksumMismatch",
            words=["spec.versions[].source.sha256", "one of them is wrong"],
        ),
        id="the weights have another sha256",
    ),
    pytest.param(
        Row(name="truncated", spec=stored("truncated.pt", truncated), reason="NotYoloWeights", words=["truncated.pt", "spec.versions[].source.uri"]),
        id="the .pt is truncated",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="pickle",
            spec=stored("regression.pt", bad_weights.of_another_program),
            reason="NotYoloWeights",
            words=["regression.pt", "spec.versions[].source.uri"],
        ),
        id="the .pt is another program's pickle",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="spy",
            spec=stored("spy.pt", lambda: bad_weights.spy(f"{s3.ENDPOINT}/weights/small.onnx", API_SERVER)),
            reason="NotYoloWeights",
            words=["RuntimeError", "spec.versions[].source.uri"],
            further=nothing_found,
        ),
        id="the .pt runs a program that looks for credentials",
    ),
    pytest.param(
        Row(
            name="quitter",
            spec=stored("quitter.pt", lambda: bad_weights.running("import os; os._exit(0)")),
            reason="ExportFailed",
            words=["without model.onnx", "spec.versions[].source.uri"],
        ),
        id="the .pt ends the exporter as if all were well",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="other-onnx",
            spec=stored("scores.onnx", bad_weights.other_onnx, task="detect"),
            reason="InvalidOnnx",
            words=["a YOLO has one input", "spec.versions[].source.uri"],
        ),
        id="the .onnx is no YOLO",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="yolov5",
            spec=stored("yolov5.onnx", bad_weights.yolov5, task="detect", triton=batch(2)),
            reason="UnsupportedModel",
            words=["the output of a YOLOv5 or YOLOv7", "docs/onnx.md", "spec.versions[].source.uri"],
        ),
        id="the .onnx is a YOLOv5",
    ),
    pytest.param(
        Row(name="page", spec=stored("page.onnx", lambda: b"<!DOCTYPE html>"), reason="InvalidOnnx", words=["an HTML page?", "spec.versions[].source.uri"]),
        id="the .onnx is a web page",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="external",
            spec=stored("external.onnx", bad_weights.with_a_file_beside_it),
            reason="UnsafeOnnx",
            words=["save it as one file", "spec.versions[].source.uri"],
        ),
        id="the .onnx names a file of the server",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="task",
            spec=lambda environment: source("s3://weights/small.onnx") | {"task": "segment"},
            reason="TaskMismatch",
            words=["the weights are for detect", "spec.task says segment", "set it to detect"],
        ),
        id="the task is another than the weights'",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="static",
            spec=stored("static.onnx", lambda: bad_weights.detector(batch=1), triton=batch(8)),
            reason="StaticBatch",
            words=["spec.triton.maxBatchSize is 8", "maxBatchSize: 0"],
        ),
        id="the .onnx takes one picture and maxBatchSize is 8",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="image-size",
            spec=lambda environment: source("s3://weights/small.onnx", export={"imageSize": [100, 100]}),
            reason="ImageSizeInvalid",
            words=["spec.versions[].export.imageSize", "the nearest is 128"],
        ),
        id="the image size is no multiple of the stride",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="memory",
            spec=lambda environment: source("s3://weights/goldmine-detect.pt") | memory("256Mi"),
            reason="OutOfMemory",
            words=["raise spec.build.resources.limits.memory"],
        ),
        id="the export needs more memory than its limit",
    ),
    pytest.param(
        Row(
            name="deadline",
            spec=stored("sleeper.pt", bad_weights.sleeping, **build(timeout="30s")),
            reason="DeadlineExceeded",
            words=["longer than 30 s", "raise spec.build.timeout"],
        ),
        id="the export takes longer than its deadline",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="disk",
            spec=stored("large.pt", lambda: bad_weights.sleeping(8 << 20), **build(storageSize="1Mi")),
            reason="DiskFull",
            words=["raise spec.build.storageSize"],
        ),
        id="the scratch volume is too small",
    ),
]

HEALING = [
    pytest.param(
        Row(
            name="hub",
            given=lambda environment: [environment.object("v1", "Secret", "hub", stringData={"password": "forgotten"})],
            spec=lambda environment: source(f"hf://{hub.FILE}", secretRef={"name": "hub"}),
            reason="SourceSecretInvalid",
            words=["Secret 'hub' (spec.versions[].source.secretRef)", "exactly one of: token"],
            cure=lambda environment: environment.cluster.apply(environment.object("v1", "Secret", "hub", stringData={"token": hub.TOKEN})),
        ),
        id="a Secret without the token that a Hugging Face repository wants",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="gated",
            spec=lambda environment: source(f"hf://{hub.FILE}", secretRef={"name": "gated"}),
            given=lambda environment: [environment.object("v1", "Secret", "gated", stringData={"token": f"{s3.SECRET}-expired"})],
            reason="SourceAccessDenied",
            words=["refused with 401", "check the credentials in Secret 'gated'"],
            cure=lambda environment: environment.cluster.apply(environment.object("v1", "Secret", "gated", stringData={"token": hub.TOKEN})),
        ),
        id="a token that the Hugging Face Hub refuses",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="refused",
            given=lambda environment: [environment.object("v1", "Service", "later", spec={"ports": [{"port": 8333}]})],
            spec=lambda environment: storage(endpoint=f"http://later.{environment.namespace}.svc:8333"),
            reason="StorageUnreachable",
            words=["check spec.storage.endpoint", "that it runs"],
            cure=slice_for_later,
        ),
        id="nothing listens at the endpoint",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="unknown-host",
            spec=lambda environment: storage(endpoint=f"http://unknown.{environment.namespace}.svc:8333"),
            reason="StorageUnreachable",
            words=["check spec.storage.endpoint", "that it runs"],
            cure=name_for_unknown,
        ),
        id="the endpoint's host name is not known",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="keys",
            given=lambda environment: [environment.secret("wrong-keys", ("nobody", f"{s3.SECRET}-nobody"))],
            spec=lambda environment: storage(secretRef={"name": "wrong-keys"}),
            reason="StorageAccessDenied",
            words=["check the keys of spec.storage.secretRef"],
            cure=lambda environment: environment.cluster.apply(environment.secret("wrong-keys")),
        ),
        id="the keys are wrong",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="bucket",
            given=lambda environment: [environment.secret("writer", s3.WRITER)],
            spec=lambda environment: storage(uri=f"s3://{bucket(environment)}/yolo", secretRef={"name": "writer"}),
            reason="BucketNotFound",
            words=["check spec.storage.uri", "make the bucket"],
            cure=lambda environment: environment.storage.client.create_bucket(Bucket=bucket(environment)),
        ),
        id="the bucket is missing",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="secret",
            spec=lambda environment: storage(secretRef={"name": "later"}),
            reason="SecretNotFound",
            words=["'later'", "create it", "spec.storage.secretRef"],
            cure=lambda environment: environment.cluster.apply(environment.secret("later")),
        ),
        id="the Secret is missing",
    ),
    pytest.param(
        Row(
            name="secret-key",
            given=lambda environment: [environment.object("v1", "Secret", "half", stringData={"AWS_ACCESS_KEY_ID": s3.ADMIN[0]})],
            spec=lambda environment: storage(secretRef={"name": "half"}),
            reason="SecretKeyMissing",
            words=["'half'", "AWS_SECRET_ACCESS_KEY", "add it", "spec.storage.secretRef"],
            cure=lambda environment: environment.cluster.apply(environment.secret("half")),
        ),
        id="the Secret lacks a key",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="weights",
            spec=lambda environment: source(f"s3://weights/{environment.namespace}/later.onnx"),
            reason="SourceNotFound",
            words=["check spec.versions[].source.uri"],
            cure=lambda environment: environment.storage.put("weights", f"{environment.namespace}/later.onnx", bad_weights.detector()),
        ),
        id="the weights are missing",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="page-missing",
            spec=lambda environment: source(f"{s3.ENDPOINT}/{s3.PUBLIC}/{environment.namespace}.onnx"),
            reason="SourceNotFound",
            words=["answers 404", "check spec.versions[].source.uri"],
            cure=lambda environment: environment.storage.put(s3.PUBLIC, f"{environment.namespace}.onnx", bad_weights.detector()),
        ),
        id="the weights are missing on a web server",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="source-keys",
            given=lambda environment: [environment.secret("tenant", s3.TENANTS["tenant-a"])],
            spec=lambda environment: source("s3://weights/small.onnx", secretRef={"name": "tenant"}),
            reason="SourceAccessDenied",
            words=["spec.versions[].source.secretRef"],
            cure=lambda environment: environment.cluster.apply(environment.secret("tenant")),
        ),
        id="the keys may not read the weights",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="claim",
            spec=lambda environment: source("pvc://later/small.onnx") | {"gpu": CPU},
            reason="PersistentVolumeClaimNotFound",
            words=["'later'", "create it", "pvc:// URI"],
            cure=claim,
            healed="Ready",
        ),
        id="the PersistentVolumeClaim is missing",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Row(
            name="gpu",
            spec=lambda environment: source("s3://weights/small.onnx") | {"gpu": {"count": 1, "resourceName": GPU}},
            reason="InsufficientGPU",
            words=[f"enough {GPU} free", "add a node", "spec.gpu.resourceName and count"],
            cure=lambda environment: gpus(environment, "1"),
            healed=scheduled("gpu"),
        ),
        id="no node has the GPU",
    ),
    pytest.param(
        Row(
            name="claims",
            spec=lambda environment: source("s3://weights/small.onnx") | {"gpu": {"resourceClaimTemplateName": "one-gpu"}},
            reason="ResourceClaimMissing",
            words=["is there a ResourceClaimTemplate 'one-gpu' in this namespace", "spec.gpu.resourceClaimTemplateName"],
            cure=device,
            healed=scheduled("claims"),
        ),
        id="the ResourceClaimTemplate is missing",
    ),
    pytest.param(
        Row(
            name="image",
            spec=lambda environment: source("s3://weights/small.onnx") | {"gpu": CPU, "triton": batch(2) | {"image": NO_SUCH_IMAGE}},
            reason="ImagePullFailed",
            words=[NO_SUCH_IMAGE, "check the image, its registry and imagePullSecrets"],
        ),
        id="Triton's image cannot be pulled",
        marks=pytest.mark.matrix,
    ),
]

SERVED = [
    pytest.param(Good(name="int8", spec=stored("int8.onnx", bad_weights.quantized, triton=batch(2))), id="an .onnx in INT8, with Q/DQ nodes"),
    pytest.param(
        Good(name="batch-of-four", spec=stored("batch4.onnx", bad_weights.fixed_batch, triton=batch(0))),
        id="an .onnx whose batch is fixed to four",
        marks=pytest.mark.matrix,
    ),
    pytest.param(
        Good(name="yolov10", spec=stored("yolov10.onnx", bad_weights.yolov10, triton=batch(2))),
        id="an .onnx of a YOLOv10 that does not say it is end-to-end",
        marks=pytest.mark.matrix,
    ),
    pytest.param(Good(name="names", spec=stored("names.onnx", lambda: bad_weights.detector(bad_weights.ODD_NAMES))), id="class names of any characters"),
    pytest.param(
        Good(name="http", spec=lambda environment: source(f"{s3.ENDPOINT}/{s3.PUBLIC}/small.onnx")), id="weights from a web server", marks=pytest.mark.matrix
    ),
    pytest.param(Good(name="asset", spec=lambda environment: source("ultralytics://yolo-small.pt")), id="Ultralytics' own weights, from a mirror"),
]
SERVING = Good(name="serving", spec=lambda environment: source("s3://weights/small.onnx"))
