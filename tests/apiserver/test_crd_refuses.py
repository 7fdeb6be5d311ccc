"""Every bad spec is refused at apply, with a message that names the field and the remedy."""

from typing import Any

import pytest

import gen

pytestmark = pytest.mark.cluster


def source(uri: str, **more: Any) -> dict[str, Any]:
    return {"versions": [{"version": 1, "source": {"uri": uri} | more}]}


def network(**more: Any) -> dict[str, Any]:
    return {"networkPolicy": {"enabled": True, "storage": [{"cidr": "10.20.0.0/16", "port": 443}]} | more}


def storage(uri: str = "s3://models/yolo", **more: Any) -> dict[str, Any]:
    return {"storage": {"uri": uri} | more}


def calibration(pictures: str | None = "s3://pictures/a", *, half: bool = False, nms: bool = False, opset: int = 17, **more: Any) -> dict[str, Any]:
    wanted = {"pictures": pictures} if pictures else {}
    return {"versions": [gen.version(1, export={"calibration": wanted | more, "half": half, "nms": nms, "opset": opset})]}


def mirrored(*versions: dict[str, Any]) -> dict[str, Any]:
    return gen.behind_a_gateway(mirror={"version": 2}) | {"versions": list(versions)}


NAMES = [
    pytest.param("a" * 41, ["metadata.name", "at most 40 characters"], id="a name too long"),
    pytest.param("helmet-v1", ["metadata.name", "must not end in -v"], id="a name that ends in -v1"),
    pytest.param("1helmet", ["metadata.name", "starts with a letter"], id="a name that starts with a digit"),
    pytest.param("helmet.two", ["metadata.name", "hyphens"], id="a name with a dot"),
]

SPECS = [
    pytest.param({"replica": 3}, ["unknown field", "spec.replica"], id="an unknown field"),
    pytest.param({"triton": {"maxBatchsize": 3}}, ["unknown field", "spec.triton.maxBatchsize"], id="an unknown field inside"),
    pytest.param({"versions": [gen.version(1), gen.version(1)]}, ["spec.versions[1]", "Duplicate value"], id="two versions with one number"),
    pytest.param({"versions": [gen.version(0)]}, ["spec.versions[0].version", "greater than or equal to 1"], id="version 0"),
    pytest.param({"versions": [gen.version(100000)]}, ["spec.versions[0].version", "less than or equal to 99999"], id="a version too large"),
    pytest.param({"versions": []}, ["spec.versions", "at least 1"], id="no version"),
    pytest.param({"versions": None}, ["spec.versions", "Required"], id="versions left out"),
    pytest.param({"versions": [{"version": 1}]}, ["spec.versions[0].source", "Required"], id="a version without a source"),
    pytest.param({"versions": [gen.version(n) for n in range(1, 12)]}, ["spec.versions", "10"], id="eleven versions"),
    # Storage.
    pytest.param(storage("s3://Models/yolo"), ["spec.storage.uri", "lower case"], id="a bucket in upper case"),
    pytest.param(storage("s3://m/yolo"), ["spec.storage.uri", "3 to 63"], id="a bucket too short"),
    pytest.param(storage("gs://models/yolo"), ["spec.storage.uri", "s3://BUCKET/PREFIX"], id="another storage"),
    pytest.param(storage("s3://models/yo lo"), ["spec.storage.uri", "rename the prefix"], id="a prefix Triton cannot read"),
    pytest.param(storage("s3://models/a/../b"), ["spec.storage.uri", "rename the prefix"], id="a prefix that climbs"),
    pytest.param(storage("s3://models//yolo"), ["spec.storage.uri", "rename the prefix"], id="an empty part of a prefix"),
    pytest.param(storage("s3://models/ü"), ["spec.storage.uri", "rename the prefix"], id="a prefix with an umlaut"),
    pytest.param(storage(endpoint="http://s3.storage.svc"), ["spec.storage.endpoint", "http://s3.storage.svc:8333"], id="an endpoint without a port"),
    pytest.param(storage(endpoint="s3.storage.svc:8333"), ["spec.storage.endpoint", "http://HOST:PORT"], id="an endpoint without a scheme"),
    pytest.param(storage(endpoint="http://key:word@s3:8333"), ["spec.storage.endpoint", "http://HOST:PORT"], id="an endpoint with credentials"),
    pytest.param(storage(endpoint="http://s3:8333/models"), ["spec.storage.endpoint", "http://HOST:PORT"], id="an endpoint with a path"),
    pytest.param(storage(secretRef={}), ["spec.storage.secretRef.name", "Required"], id="a reference to nothing"),
    pytest.param(
        storage(serverSideEncryption={"algorithm": "AES256", "kmsKeyId": "k"}),
        ["spec.storage.serverSideEncryption", "aws:kms only"],
        id="a key for an encryption that has none",
    ),
    pytest.param(
        storage(serverSideEncryption={"algorithm": "DES"}), ["spec.storage.serverSideEncryption.algorithm", "Unsupported value"], id="another encryption"
    ),
    # Names.
    pytest.param({"jobs": {"labels": {"app.kubernetes.io/component": "mine"}}}, ["spec.jobs.labels", "choose others"], id="a label of ours for the Jobs"),
    pytest.param(
        {"jobs": {"annotations": {"container.apparmor.security.beta.kubernetes.io/export": "unconfined"}}},
        ["spec.jobs.annotations", "remove it"],
        id="a profile for the Jobs",
    ),
    pytest.param({"modelName": "a/b"}, ["spec.modelName", "rename spec.modelName"], id="a model name Triton cannot load"),
    pytest.param({"modelName": "-a"}, ["spec.modelName", "rename spec.modelName"], id="a model name that starts with a hyphen"),
    pytest.param({"modelName": ".."}, ["spec.modelName", "rename spec.modelName"], id="a model name of dots"),
    # Batches and TensorRT.
    pytest.param(
        {"versions": [gen.version(1, export={"dynamic": False})]}, ["export.dynamic", "set spec.triton.maxBatchSize to 0"], id="a static batch with batching"
    ),
    pytest.param(
        {"triton": {"maxBatchSize": 4, "dynamicBatching": {"preferredBatchSizes": [2, 8]}}},
        ["spec.triton.dynamicBatching.preferredBatchSizes", "spec.triton.maxBatchSize"],
        id="preferred batches above the largest",
    ),
    pytest.param(
        {"triton": {"tensorrt": {"enabled": True}}, "gpu": {"count": 0}}, ["spec.triton.tensorrt", "spec.gpu.count to 1"], id="TensorRT without a GPU"
    ),
    pytest.param({"triton": {"tensorrt": {"enabled": True, "precision": "INT8"}}}, ["precision INT8", "export.calibration", "FP16"], id="INT8 of weights"),
    pytest.param({"triton": {"release": "2.60.0"}}, ["spec.triton.release"], id="a release that is none"),
    pytest.param(
        {"triton": {"dynamicBatching": {"enabled": False, "queuePolicy": {"maxQueueSize": 8}}}}, ["queuePolicy", "maxBatchSize 1 or more"], id="no queue"
    ),
    pytest.param({"triton": {"dynamicBatching": {"queuePolicy": {"maxQueueSize": -1}}}}, ["maxQueueSize", "greater than"], id="a queue below nothing"),
    pytest.param({"triton": {"gpuMemoryLimit": "4G"}}, ["spec.triton.gpuMemoryLimit"], id="memory in another unit"),
    pytest.param({"triton": {"gpuMemoryLimit": "4Gi"}, "gpu": {"count": 0}}, ["spec.triton.gpuMemoryLimit", "spec.gpu.count"], id="GPU memory without one"),
    pytest.param({"triton": {"forwardCompatibility": True}, "gpu": {"count": 0}}, ["forwardCompatibility", "spec.gpu.count"], id="CUDA without a GPU"),
    pytest.param({"triton": {"parameters": {"metadata": "{}"}}}, ["spec.triton.parameters", "operator's"], id="a parameter of ours"),
    pytest.param({"triton": {"parameters": {"a b": "1"}}}, ["spec.triton.parameters"], id="a parameter's name with a space"),
    pytest.param({"triton": {"tracing": {"endpoint": "collector:4317"}}}, ["spec.triton.tracing.endpoint", "4318/v1/traces"], id="no URL of a collector"),
    pytest.param(
        network() | {"triton": {"tracing": {"endpoint": "http://collector:4318/v1/traces"}}}, ["spec.networkPolicy.tracing"], id="a collector shut out"
    ),
    pytest.param({"triton": {"tensorrt": {"precision": "FP8"}}}, ["spec.triton.tensorrt.precision", "FP16"], id="a precision that is none"),
    # Sources.
    pytest.param(source("http://example.com/a.pt", secretRef={"name": "a"}), ["source", "in the clear"], id="keys for an http source"),
    pytest.param(source("pvc://claim/a.pt", secretRef={"name": "a"}), ["source", "s3://, https://, hf:// and oci:// sources only"], id="keys for a claim"),
    pytest.param(source("https://me:word@example.com/a.pt"), ["source.uri", "Secret of source.secretRef"], id="credentials in a URI"),
    pytest.param({"gpu": {"resourceClaimTemplateName": "a", "count": 2}}, ["spec.gpu", "remove gpu.resourceName and gpu.count"], id="a claim and a number"),
    pytest.param({"build": {"proxy": {"httpsProxy": "https://proxy:3128"}}}, ["spec.build.proxy.httpsProxy", "http://HOST:PORT"], id="TLS to the proxy itself"),
    pytest.param({"build": {"proxy": {"httpProxy": "http://user:pw@proxy:3128"}}}, ["spec.build.proxy", "build.proxy.secretRef"], id="a password in the URL"),
    pytest.param({"build": {"proxy": {"secretRef": {"name": "a"}}}}, ["spec.build.proxy", "go with httpProxy or httpsProxy"], id="credentials for no proxy"),
    pytest.param(network() | {"build": {"proxy": {"httpsProxy": "http://proxy:3128"}}}, ["spec.networkPolicy.source"], id="policies that shut the proxy out"),
    pytest.param(source("oci://registry/models:v1/best.pt"), ["source.uri", "a tag can be moved"], id="a tag"),
    pytest.param(source(f"oci://registry/models@sha256:{'0' * 64}/best.bin"), ["source.uri", ".pt (weights)"], id="another kind of file in an artifact"),
    pytest.param(source("hf://org/a.pt"), ["source.uri", "hf://ORG/REPOSITORY/PATH"], id="a file of no repository"),
    pytest.param(source("hf://org/repo@v1/a.pt@v2"), ["source.uri", "hf://ORG/REPOSITORY/PATH"], id="two revisions"),
    pytest.param(source("hf://org/repo/a.bin@v1"), ["source.uri", ".pt (weights)"], id="another kind of file on the Hub"),
    pytest.param(source("https://example.com/a.pt?X-Amz-Signature=1&b=.pt"), ["source.uri", "no query"], id="a query in a URI"),
    pytest.param(source("pvc://claim/../../etc/a.pt"), ["source.uri", "no '..'"], id="a path that climbs"),
    pytest.param(source("ftp://example.com/a.pt"), ["source.uri", "s3://, http://, https://, pvc://"], id="another scheme"),
    pytest.param(source("/weights/a.pt"), ["source.uri", "starts with s3://"], id="no scheme"),
    pytest.param(source("s3://weights/a.engine"), ["source.uri", ".pt (weights)"], id="another kind of file"),
    pytest.param(source("s3://weights/a.PT"), ["source.uri", ".pt (weights)"], id="an extension in upper case"),
    pytest.param(source("s3://Weights/a.pt"), ["source.uri", "lower case"], id="a source bucket in upper case"),
    pytest.param(source("s3://weights.pt"), ["source.uri", "s3://BUCKET/KEY"], id="a bucket without a key"),
    pytest.param(source("s3://weights/a.pt", sha256="ABC"), ["source.sha256", "^[0-9a-f]{64}$"], id="a digest that is none"),
    pytest.param(source("s3://weights/a.pt", endpoint="http://s3"), ["source.endpoint", "http://HOST:PORT"], id="a source endpoint without a port"),
    # Names that would lead out of the namespace, and texts that containers would read otherwise.
    pytest.param(storage(secretRef={"name": "other/secret"}), ["spec.storage.secretRef.name", "should match"], id="another namespace's Secret"),
    pytest.param(storage(caBundleRef={"name": "../ca"}), ["spec.storage.caBundleRef.name", "should match"], id="another namespace's ConfigMap"),
    pytest.param(storage(region="$(AWS_SECRET_ACCESS_KEY)"), ["spec.storage.region", "should match"], id="a variable as a region"),
    pytest.param(storage(region="a.evil.example/"), ["spec.storage.region", "should match"], id="a host as a region"),
    pytest.param(storage(endpoint="http://[fd00:ec2::254]:80"), ["spec.storage.endpoint", "http://HOST:PORT"], id="a metadata address over IPv6"),
    pytest.param(storage("s3://key:word@models/a"), ["spec.storage.uri", "s3://BUCKET/PREFIX"], id="credentials in the prefix"),
    pytest.param(storage("s3://models/a\n"), ["spec.storage.uri", "rename the prefix"], id="a line break in the prefix"),
    pytest.param({"serviceAccountName": "other:admin"}, ["spec.serviceAccountName", "should match"], id="another namespace's service account"),
    pytest.param({"triton": {"imagePullSecrets": [{"name": "a/b"}]}}, ["imagePullSecrets[0].name", "should match"], id="another namespace's pull secret"),
    pytest.param(
        {"triton": {"tensorrt": {"enabled": True, "engineCache": {"persistentVolumeClaim": "../a"}}}},
        ["engineCache.persistentVolumeClaim", "should match"],
        id="another namespace's claim",
    ),
    pytest.param(source("file:///etc/a.pt"), ["source.uri", "s3://, http://, https://, pvc://"], id="a file of the node"),
    pytest.param({"rollout": {"analysis": {"pictures": "s3://pictures/../a"}}}, ["analysis.pictures", "s3://BUCKET/PREFIX"], id="pictures that climb"),
    pytest.param({"triton": {"podTemplate": {"metadata": {"name": "a"}}}}, ["unknown field", "podTemplate.metadata.name"], id="a name for pods"),
    pytest.param({"triton": {"podTemplate": {"metadata": {"labels": {"a": "b" * 64}}}}}, ["podTemplate.metadata.labels"], id="a label too long"),
    # Types and ranges.
    pytest.param({"replicas": "three"}, ["spec.replicas", "integer"], id="replicas as text"),
    pytest.param({"replicas": -1}, ["spec.replicas", "greater than or equal to 0"], id="negative replicas"),
    pytest.param({"versions": {"version": 1}}, ["spec.versions"], id="versions as an object"),
    pytest.param({"rollout": {"verify": {"enabled": "yes"}}}, ["spec.rollout.verify.enabled", "boolean"], id="a switch as text"),
    pytest.param({"rollout": {"verify": {"minIoU": 1.5}}}, ["spec.rollout.verify.minIoU", "less than or equal to 1"], id="an overlap above 1"),
    pytest.param({"task": "sing"}, ["spec.task", "detect"], id="an unknown task"),
    pytest.param({"deletionPolicy": "Forget"}, ["spec.deletionPolicy", "Retain"], id="an unknown policy"),
    pytest.param({"build": {"resources": {"limits": {"memory": True}}}}, ["spec.build.resources.limits.memory"], id="a quantity that is none"),
    pytest.param({"jobs": {"resources": {"requests": {"memory": "2GB"}}}}, ["spec.jobs.resources.requests.memory"], id="a quantity in another unit"),
    pytest.param({"build": {"storageSize": ""}}, ["spec.build.storageSize"], id="an empty quantity"),
    pytest.param({"build": {"storageSize": "-1Gi"}}, ["spec.build.storageSize"], id="a negative quantity"),
    pytest.param({"versions": [gen.version(1, export={"imageSize": [640, 640, 3]})]}, ["imageSize", "at most 2"], id="three sizes"),
    pytest.param({"versions": [gen.version(1, export={"opset": 99})]}, ["opset", "less than or equal to 21"], id="an opset to come"),
    pytest.param({"versions": [gen.version(1), gen.version(2, weight=1)]}, ["each needs a weight", "Canary"], id="a version without a weight"),
    pytest.param({"versions": [gen.version(1, weight=0)]}, ["must be above 0", "spec.replicas"], id="no weight at all"),
    pytest.param({"versions": [gen.version(1, weight=1)], "rollout": {"strategy": "Canary"}}, ["remove spec.versions[].weight"], id="a weight and a canary"),
    pytest.param({"versions": [gen.version(1, replicas=2)]}, ["spec.versions[].replicas", "Gateway"], id="pods of a version in mode Service"),
    pytest.param({"rollout": {"steps": [{"weight": 5}]}}, ["spec.rollout.steps", "Canary"], id="steps without a canary"),
    pytest.param({"rollout": {"strategy": "Canary", "steps": [{"weight": 0}]}}, ["weight", "greater than or equal to 1"], id="a step of nothing"),
    pytest.param(
        {"rollout": {"strategy": "Canary", "steps": [{"weight": 5, "duration": "soon"}]}}, ["spec.rollout.steps[0].duration"], id="a duration that is none"
    ),
    pytest.param({"rollout": {"strategy": "Canary", "scaleDownDelay": "5m"}}, ["scaleDownDelay", "Gateway"], id="a delay in mode Service"),
    pytest.param({"rollout": {"maxSurge": 0}}, ["spec.rollout.maxSurge", "spec.rollout.maxUnavailable", "both be 0"], id="no pod more and none fewer"),
    pytest.param({"rollout": {"maxSurge": "0%", "maxUnavailable": "0%"}}, ["spec.rollout.maxSurge", "both be 0"], id="0 as percentages"),
    pytest.param({"rollout": {"maxSurge": "25"}}, ["spec.rollout.maxSurge", "should match"], id="a percentage without its sign"),
    pytest.param({"rollout": {"maxUnavailable": "101%"}}, ["spec.rollout.maxUnavailable", "should match"], id="more than all"),
    pytest.param({"rollout": {"maxUnavailable": -1}}, ["spec.rollout.maxUnavailable", "greater than or equal to 0"], id="fewer than no pods"),
    pytest.param({"podDisruptionBudget": {"maxUnavailable": 1.5}}, ["spec.podDisruptionBudget.maxUnavailable"], id="half a pod"),
    pytest.param({"rollout": {"analysis": {"pictures": "https://example.com/a"}}}, ["analysis.pictures", "s3://BUCKET/PREFIX"], id="pictures elsewhere"),
    pytest.param({"traffic": {"mode": "Gateway"}}, ["spec.traffic.gateway"], id="mode Gateway without one"),
    pytest.param(
        {
            "traffic": {
                "mode": "Gateway",
                "gateway": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example"], "grpc": {"hostnames": ["a.example"]}},
            }
        },
        ["HTTP or gRPC, not both"],
        id="one hostname for both",
    ),
    pytest.param(mirrored(gen.version(1, weight=1)), ["mirror.version is one of spec.versions"], id="copies for a version that is not declared"),
    pytest.param(mirrored(gen.version(1, weight=1), gen.version(2, weight=1)), ["mirror.version", "with weight 0"], id="copies for a version with a share"),
    pytest.param(mirrored(gen.version(2)), ["mirror.version", "with weight 0"], id="copies for the only version"),
    pytest.param(mirrored(gen.version(1, weight=1), gen.version(2, weight=0, replicas=0)), ["mirror.version", "not with replicas 0"], id="copies for no pods"),
    pytest.param(
        mirrored(gen.version(1), gen.version(2)) | {"rollout": {"strategy": "Canary"}},
        ["mirror", "a canary gets requests of its own"],
        id="copies for a canary",
    ),
    pytest.param(gen.behind_a_gateway(mirror={"version": 2, "percent": 0}), ["mirror.percent", "greater than or equal to 1"], id="copies of nothing"),
    pytest.param(gen.behind_a_gateway(mirror={"version": 2, "percent": 101}), ["mirror.percent", "less than or equal to 100"], id="more copies than requests"),
    pytest.param(gen.behind_a_gateway(mirror={}), ["mirror.version", "Required"], id="copies for nobody"),
    pytest.param(gen.behind_a_gateway(sessionPersistence={"type": "Address"}), ["sessionPersistence.type", "Cookie"], id="sessions by something else"),
    pytest.param(gen.behind_a_gateway(sessionPersistence={"sessionName": "a;b"}), ["sessionPersistence.sessionName"], id="a cookie's name that is none"),
    pytest.param(gen.behind_a_gateway(sessionPersistence={"absoluteTimeout": "soon"}), ["absoluteTimeout"], id="a session's end that is none"),
    # NetworkPolicies.
    pytest.param(
        {"networkPolicy": {"enabled": True}}, ["spec.networkPolicy", "name it in spec.networkPolicy.storage"], id="policies that shut the storage out"
    ),
    pytest.param(network(storage=[]), ["spec.networkPolicy", "name it in spec.networkPolicy.storage"], id="policies with an empty list of storages"),
    pytest.param(network(source=[{"port": 443}]), ["spec.networkPolicy.source[0]", "by cidr, or Pods by"], id="an entry that names nobody"),
    pytest.param(
        network(clients=[{"cidr": "10.0.0.0/8", "podSelector": {}}]), ["spec.networkPolicy.clients[0]", "by cidr, or Pods by"], id="addresses of Pods"
    ),
    pytest.param(network(clients=[{"cidr": "10.0.0.1"}]), ["spec.networkPolicy.clients[0].cidr", "10.20.0.7/32"], id="an address without a length"),
    *(
        pytest.param(network(clients=[{"cidr": wrong}]), ["spec.networkPolicy.clients[0].cidr", "10.20.0.7/32"], id=f"the network {wrong}")
        for wrong in ("10.0.0.0/33", "10.0.0.256/32", "10.0.0/8", "2001:db8::/129", "2001:db8::g/64", "/8", "::")
    ),
    pytest.param(network(source=[{"cidr": "github.com/32", "port": 443}]), ["spec.networkPolicy.source[0].cidr", "10.20.0.7/32"], id="a host name"),
    pytest.param(network(source=[{"cidr": "10.0.0.0/8"}]), ["spec.networkPolicy.source[0].port", "Required"], id="a destination without a port"),
    pytest.param(
        network() | {"traffic": {"mode": "Gateway", "gateway": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example"]}}},
        ["spec.networkPolicy.clients", "behind a Gateway"],
        id="a Gateway that the policies shut out",
    ),
    pytest.param({"versions": [gen.version(1, export={"confidence": 0.3})]}, ["export.nms", "true"], id="suppression's argument without it"),
    pytest.param({"versions": [gen.version(1, export={"agnosticNms": False})]}, ["export.nms", "true"], id="suppression's switch without it"),
    pytest.param({"versions": [gen.version(1, export={"nms": True, "iou": 1.5})]}, ["iou", "less than or equal to 1"], id="an overlap above all"),
    pytest.param({"versions": [gen.version(1, export={"nms": True, "maxDetections": 0})]}, ["maxDetections"], id="no detections at all"),
    pytest.param({"versions": [gen.version(1, export={"inputDatatype": "UINT8"})]}, ["inputDatatype", "FP16"], id="pictures of a type that no client sends"),
    # Calibration.
    pytest.param(calibration("https://example.com/a"), ["export.calibration.pictures", "s3://BUCKET/PREFIX"], id="calibration by pictures elsewhere"),
    pytest.param(calibration("s3://pictures/../a"), ["export.calibration.pictures", "s3://BUCKET/PREFIX"], id="calibration by pictures that climb"),
    pytest.param(calibration(None), ["export.calibration.pictures", "Required"], id="calibration by nothing"),
    pytest.param(calibration(endpoint="http://s3"), ["calibration.endpoint", "http://HOST:PORT"], id="pictures on an endpoint without a port"),
    pytest.param(calibration(minAgreement=1.5), ["minAgreement", "less than or equal to 1"], id="an agreement above 1"),
    pytest.param(calibration(half=True), ["export.calibration", "export.half to false"], id="INT8 and half precision"),
    pytest.param(calibration(nms=True), ["export.calibration", "export.nms to false"], id="INT8 with suppression"),
    pytest.param(calibration(opset=12), ["export.calibration", "export.opset to 13"], id="INT8 of an opset without scales per channel"),
]


@pytest.mark.parametrize(("name", "words"), NAMES)
def test_a_bad_name_is_refused(kubectl, name, words):
    answer = kubectl.apply(gen.written(name), "--dry-run=server")
    assert not answer.ok
    assert [word for word in words if word not in answer.err] == [], answer.err


def shared(**more: Any) -> dict[str, Any]:
    """A spec whose model a YoloServer has, with fields that do not go with that."""
    return {"serverRef": {"name": "line-3"}} | more


ON_A_SERVER = [
    pytest.param({"versions": [gen.version(1), gen.version(2, weight=0)]}, ["one version at a time"], id="two versions"),
    pytest.param({"versions": [gen.version(1, weight=0)]}, ["weight"], id="no requests"),
    pytest.param({"versions": [gen.version(1, replicas=2)]}, ["replicas"], id="pods of a version"),
    pytest.param({"rollout": {"strategy": "Canary"}}, ["spec.rollout.strategy Canary is not there yet"], id="a canary"),
    pytest.param({"rollout": {"verify": {"enabled": False}}}, ["each pod is verified"], id="no verification"),
    pytest.param(gen.behind_a_gateway(), ["spec.traffic.mode Gateway is not there yet"], id="a Gateway"),
    pytest.param({"pictures": {"enabled": True}}, ["spec.pictures is not there yet"], id="pictures' files"),
    pytest.param(network(), ["spec.networkPolicy is not there yet"], id="policies"),
    pytest.param(storage(), ["remove spec.storage"], id="a storage"),
    pytest.param({"replicas": 2}, ["the pods are the YoloServer's"], id="replicas"),
    pytest.param({"gpu": {"count": 0}}, ["remove spec.gpu"], id="no GPU"),
    pytest.param({"gpu": {"resourceName": "nvidia.com/mig-1g.5gb"}}, ["remove spec.gpu"], id="another GPU"),
    pytest.param({"triton": {"image": "triton:1"}}, ["remove them from spec.triton"], id="an image"),
    pytest.param({"triton": {"podTemplate": {"spec": {"hostNetwork": False}}}}, ["remove them from spec.triton"], id="a pod template"),
    pytest.param({"triton": {"forwardCompatibility": True}}, ["remove them from spec.triton"], id="other CUDA"),
    pytest.param({"nodeSelector": {"a": "b"}}, ["where its pods run"], id="a node selector"),
    pytest.param({"tolerations": [{"operator": "Exists"}]}, ["where its pods run"], id="a toleration"),
    pytest.param({"triton": {"tensorrt": {"enabled": True, "engineCache": {"persistentVolumeClaim": "a"}}}}, ["engineCache"], id="a cache of engines"),
    pytest.param({"serverRef": {"name": "Line_3"}}, ["spec.serverRef.name"], id="a name that no server can have"),
    pytest.param({"serverRef": {}}, ["spec.serverRef.name", "Required"], id="no name"),
]

SERVERS = [
    pytest.param({"replica": 3}, ["unknown field", "spec.replica"], id="an unknown field"),
    pytest.param({"replicas": 101}, ["spec.replicas", "100"], id="too many pods"),
    pytest.param({"memoryBudget": "much"}, ["spec.memoryBudget"], id="a budget that is no quantity"),
    pytest.param({"rollout": {"maxSurge": 0}}, ["cannot both be 0"], id="pods that can never be replaced"),
    pytest.param(storage("gs://models"), ["spec.storage.uri", "s3://BUCKET/PREFIX"], id="another storage"),
    pytest.param({"gpu": {"resourceClaimTemplateName": "a", "count": 2}}, ["remove gpu.resourceName and gpu.count"], id="a claim and a number"),
    pytest.param({"triton": {"forwardCompatibility": True}, "gpu": {"count": 0}}, ["forwardCompatibility", "spec.gpu.count"], id="CUDA without a GPU"),
    pytest.param({"triton": {"release": "2.60.0"}}, ["spec.triton.release"], id="a release that is none"),
    pytest.param({"serviceAccountName": "a/b"}, ["spec.serviceAccountName"], id="another's account"),
]


@pytest.mark.parametrize(("more", "words"), ON_A_SERVER)
def test_what_is_the_servers_is_refused_of_a_model(kubectl, more, words):
    answer = kubectl.apply(gen.written(**shared(**more)), "--dry-run=server", "--validate=strict")
    assert not answer.ok, "accepted"
    assert [word for word in words if word not in answer.err] == [], answer.err


@pytest.mark.parametrize(("spec", "words"), SERVERS)
def test_a_bad_server_is_refused(kubectl, spec, words):
    answer = kubectl.apply(gen.written_server(**spec), "--dry-run=server", "--validate=strict")
    assert not answer.ok, "accepted"
    assert [word for word in words if word not in answer.err] == [], answer.err


@pytest.mark.parametrize(("name", "words"), NAMES)
def test_a_servers_bad_name_is_refused(kubectl, name, words):
    answer = kubectl.apply(gen.written_server(name), "--dry-run=server")
    assert not answer.ok, "accepted"
    assert [word for word in words if word not in answer.err] == [], answer.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"serverRef": {"name": "a"}}, {"serverRef": {"name": "b"}}, id="changed"),
        pytest.param({}, {"serverRef": {"name": "a"}}, id="added"),
        pytest.param({"serverRef": {"name": "a"}}, {"serverRef": None}, id="removed"),
    ],
)
def test_the_server_stays(kubectl, before, after):
    name = f"shared-{len(str(before))}-{len(str(after))}"
    assert kubectl.apply(gen.written(name, suspend=True, **before)).ok
    answer = kubectl.apply(gen.written(name, suspend=True, **after))
    assert not answer.ok
    assert "spec.serverRef cannot be added, changed or removed: make a new YoloDeployment" in answer.err
    assert kubectl.apply(gen.written(name, suspend=True, restartedAt="now", **before), "--dry-run=server").ok, "all else may change"


@pytest.mark.parametrize(("spec", "words"), SPECS)
def test_a_bad_spec_is_refused(kubectl, spec, words):
    answer = kubectl.apply(gen.written(**spec), "--dry-run=server", "--validate=strict")
    assert not answer.ok, "accepted"
    assert [word for word in words if word not in answer.err] == [], answer.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"modelName": "hat"}, {"modelName": "cap"}, id="changed"),
        pytest.param({}, {"modelName": "hat"}, id="added"),
        pytest.param({"modelName": "hat"}, {"modelName": None}, id="removed"),
    ],
)
def test_the_model_name_stays(kubectl, before, after):
    name = f"stays-{len(str(before))}-{len(str(after))}"
    assert kubectl.apply(gen.written(name, replicas=0, **before)).ok
    answer = kubectl.apply(gen.written(name, replicas=0, **after))
    assert not answer.ok
    assert "spec.modelName cannot be" in answer.err
    assert "make a new YoloDeployment" in answer.err
    assert kubectl.apply(gen.written(name, replicas=1, **before), "--dry-run=server").ok, "all else may change"
