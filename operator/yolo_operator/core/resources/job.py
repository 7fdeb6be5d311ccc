"""Jobs: build, verify and prune. Created, never applied (they are immutable); each name holds a hash of what the Job is rendered from.

The hash leaves out the images: another release of the operator makes no finished Job anew.
"""

from collections.abc import Sequence

from yolo_operator.core import api, contract, drift, names, revision
from yolo_operator.core.defaults import Defaults, release_of, storage_of
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import pod, service
from yolo_operator.core.served_models import AGENT_PORT, WantedModel
from yolo_operator.core.triton.releases import Release

UNDISTURBED = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
"""Annotations by which autoscalers leave a Pod alone until it has ended. What others make of them is no reason for another Job."""
TTL_SECONDS = 3600
"""How long a finished Job stays for `kubectl logs`; its answer is in the status by then."""
VERIFY_TIMEOUT_SECONDS = 120
RELEASE_FLAG, CONVERSION_FLAG, DIGEST_FLAG = "--triton-release=", "--conversion-key=", "--source-sha256="
UNNAMED_FLAGS = (RELEASE_FLAG, CONVERSION_FLAG, DIGEST_FLAG)
"""What a Job's name says nothing of: another release of the operator says it otherwise, or says it first, and the Job does the same."""


def build(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> Manifest:
    """The Job that publishes one revision: check, fetch, export, publish over one scratch volume.

    Each container sees only the directories it needs, so that the code in a .pt, which runs in `export`, can neither change what
    check and fetch said nor reach a credential.
    """
    storage = storage_of(yolo, defaults)
    spec, revision_name, release = yolo.spec, revision.revision(yolo, version, defaults), release_of(yolo, defaults)
    proxy = proxy_of(yolo, version, defaults)
    destination = [
        f"--root={revision.root(yolo, defaults)}",
        f"--revision={revision_name}",
        f"--export-key={revision.export_key(yolo, version, defaults)}",
        f"--cluster-name={defaults.cluster_name}",
        *sharing_arguments(yolo, version, defaults),
        *pod.storage_arguments(storage),
    ]
    worker, exporter, resources = defaults.operator_image, defaults.exporter_image, pod.resources(spec.jobs.resources)
    containers = [
        container("check", worker, ["check", *destination], pod.secret_env(storage.secret_ref), [mount("check"), *pod.ca_mount(storage)], resources),
        container(
            "fetch",
            worker,
            ["fetch", *fetch_arguments(yolo, version, storage, defaults), *proxy_arguments(proxy)],
            [*source_env(version, storage), *pod.proxy_env(proxy)],
            [mount("check", read_only=True), mount("source"), *pod.ca_mount(storage), *proxy_mount(proxy), *claim_mount(version)],
            resources,
        ),
        *pictures_container(yolo, version, storage, defaults),
        container(
            "export",
            exporter,
            ["export", *export_arguments(yolo, version)],
            [],
            [mount("check", read_only=True), mount("source", read_only=True), *pictures_mount(version), mount("export")],
            pod.resources(spec.build.resources),
        ),
        container(
            "publish",
            worker,
            ["publish", *destination, *config_arguments(yolo, version, release), *runtime_arguments(version, release)],
            pod.secret_env(storage.secret_ref),
            [mount(name, read_only=True) for name in ("check", "source", "export")] + pod.ca_mount(storage),
            resources,
        ),
    ]
    template = pod_template(yolo, names.BUILD, defaults, version.version)
    template["metadata"]["labels"][names.REVISION] = revision_name
    template["metadata"]["annotations"] |= {pod.SKIP_CONTAINERS: "export"}
    template["spec"] |= {
        "initContainers": containers[:-1],
        "containers": containers[-1:],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": spec.build.storage_size}},
            # Each container has a /tmp of its own: what one leaves there, no other may read.
            *({"name": f"tmp-{part['name']}", "emptyDir": {}} for part in containers),
            *pod.ca_volume(storage),
            *pod.bundle_volume("proxy-ca", None if proxy is None else proxy.ca_bundle_ref),
            *claim_volume(version),
        ],
        **build_nodes(yolo),
    }
    policy: list[Manifest] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [contract.PERMANENT_EXIT_CODE]}},
        {"action": "FailJob", "onExitCodes": {"containerName": "export", "operator": "NotIn", "values": [0]}},
    ]
    made = job(yolo, f"{names.versioned(yolo, version.version)}-build", names.BUILD, template, policy, defaults, version=version.version)
    made["metadata"]["labels"][names.REVISION] = revision_name
    return made


def verify(yolo: api.YoloDeployment, version: api.Version, artifact: contract.Artifact, target: Manifest, defaults: Defaults) -> Manifest:
    """The Job that asks one Triton pod, by its IP, for the golden picture's detections."""
    made = verify_job(yolo, version, artifact.uri, target, [], target["metadata"]["uid"], defaults)
    made["metadata"]["labels"][names.POD_TEMPLATE_HASH] = names.label(target, names.POD_TEMPLATE_HASH)
    return made


def verify_on_server(yolo: api.YoloDeployment, version: api.Version, wanted: WantedModel, target: Manifest, run: str, defaults: Defaults) -> Manifest:
    """The same of one model in a pod that has several; `run` tells apart the runs of its Triton."""
    more = [f"--served-as={wanted.name}", f"--agent-port={AGENT_PORT}"]
    return verify_job(yolo, version, wanted.uri, target, more, [target["metadata"]["uid"], run], defaults)


def verify_job(yolo: api.YoloDeployment, version: api.Version, uri: str, target: Manifest, more: list[str], asked: object, defaults: Defaults) -> Manifest:
    """A verify Job for one revision in one pod."""
    storage, limits = storage_of(yolo, defaults), yolo.spec.rollout.verify
    root, _, revision_name = uri.rstrip("/").rpartition("/")
    arguments = [
        "verify",
        f"--address={target['status']['podIP']}",
        f"--http-port={service.PORTS['http']}",
        f"--grpc-port={service.PORTS['grpc']}",
        f"--model-name={yolo.model_name}",
        f"--version={version.version}",
        f"--root={root}",
        f"--revision={revision_name}",
        f"--precision={precision(yolo, version)}",
        f"--timeout={VERIFY_TIMEOUT_SECONDS}",
        *([] if limits.min_iou is None else [f"--min-iou={limits.min_iou}"]),
        *([] if limits.max_score_difference is None else [f"--max-score-difference={limits.max_score_difference}"]),
        *more,
        *pod.storage_arguments(storage),
    ]
    template = pod_template(yolo, names.VERIFY, defaults, version.version)
    secret = pod.secret_env(storage.read_secret_ref or storage.secret_ref)
    template["spec"] |= {
        "containers": [container("verify", defaults.operator_image, arguments, secret, pod.ca_mount(storage), pod.resources(yolo.spec.jobs.resources))],
        "volumes": [{"name": "tmp-verify", "emptyDir": {}}, *pod.ca_volume(storage)],
    }
    policy: list[Manifest] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [contract.PERMANENT_EXIT_CODE]}},
    ]
    return job(yolo, f"{names.versioned(yolo, version.version)}-verify", names.VERIFY, template, policy, defaults, version=version.version, asked=asked)


def prune(yolo: api.YoloDeployment, remove: Sequence[str] | None, storage: api.Storage, defaults: Defaults) -> Manifest:
    """The Job that removes published revisions from one storage; all that was ever published there for the resource where `remove` is None."""
    what = ["--all"] if remove is None else ["--remove", *remove]
    arguments = [
        "prune",
        f"--root={revision.root_in(storage, yolo)}",
        f"--cluster-name={defaults.cluster_name}",
        *pod.storage_arguments(storage),
        *what,
    ]
    template = pod_template(yolo, names.PRUNE, defaults)
    template["spec"] |= {
        "containers": [
            container(
                "prune",
                defaults.operator_image,
                arguments,
                pod.secret_env(storage.secret_ref),
                pod.ca_mount(storage),
                pod.resources(yolo.spec.jobs.resources),
            )
        ],
        "volumes": [{"name": "tmp-prune", "emptyDir": {}}, *pod.ca_volume(storage)],
    }
    policy: list[Manifest] = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [contract.PERMANENT_EXIT_CODE]}}]
    return job(yolo, f"{yolo.name}-prune", names.PRUNE, template, policy, defaults)


def job(
    yolo: api.YoloDeployment,
    prefix: str,
    component: str,
    template: Manifest,
    policy: list[Manifest],
    defaults: Defaults,
    *,
    version: int | None = None,
    asked: object = "",
) -> Manifest:
    """A Job around a pod template, named after what the resource asks for: without the images and nodes that are the administrator's (and with the UID of the pod that is asked)."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": names.metadata(yolo, f"{prefix}-{names.digest([without_images(template), asked])}", component, version),
        "spec": {
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "podFailurePolicy": {"rules": policy},
            "template": placed(template, defaults),
        },
    }


def placed(template: Manifest, defaults: Defaults) -> Manifest:
    """A pod template with the nodes that the administrator has for all Jobs."""
    spec = template["spec"]
    selector, tolerations = defaults.jobs.node_selector | spec.get("nodeSelector", {}), [*spec.get("tolerations", ()), *defaults.jobs.tolerations]
    more = {key: value for key, value in (("nodeSelector", selector), ("tolerations", tolerations)) if value}
    return template | {"spec": spec | more}


def pod_template(yolo: api.YoloDeployment, component: str, defaults: Defaults, version: int | None = None) -> Manifest:
    """What the Pods of all our Jobs have in common. They hold no token for the API server."""
    spec, jobs = yolo.spec, yolo.spec.jobs
    optional = {
        "nodeSelector": dict(jobs.node_selector),
        "tolerations": list(jobs.tolerations),
        "affinity": jobs.affinity,
        "priorityClassName": jobs.priority_class_name,
    }
    return {
        "metadata": {"labels": dict(jobs.labels) | names.labels(yolo, component, version), "annotations": UNDISTURBED | dict(jobs.annotations)},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": spec.service_account_name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": secret.name} for secret in spec.triton.image_pull_secrets],
            "securityContext": pod.security(defaults),
            **{key: value for key, value in optional.items() if value},
        },
    }


def build_nodes(yolo: api.YoloDeployment) -> Manifest:
    """Where the Pods run that export: the Jobs' nodes, and those of the build besides."""
    jobs, build = yolo.spec.jobs, yolo.spec.build
    return {"nodeSelector": {**jobs.node_selector, **build.node_selector}, "tolerations": [*jobs.tolerations, *build.tolerations]}


def container(name: str, image: str, arguments: list[str], env: list[Manifest], mounts: list[Manifest], resources: Manifest) -> Manifest:
    """A worker's container in a Job, with a /tmp of its own."""
    return pod.worker(name, image, arguments, env, [*mounts, {"name": f"tmp-{name}", "mountPath": pod.TMP}], resources)


def mount(directory: str, *, read_only: bool = False) -> Manifest:
    """A directory of the scratch volume: check, source or export."""
    return {"name": "work", "mountPath": f"{contract.WORKSPACE}/{directory}", "subPath": directory, "readOnly": read_only}


def source_env(version: api.Version, storage: api.Storage) -> list[Manifest]:
    """The credentials that read the weights: the source's own; the storage's only where the weights are on the same S3 server."""
    source = version.source
    if not source.uri.startswith("s3://"):
        return pod.source_env(source)
    if source.secret_ref is not None:
        return pod.secret_env(source.secret_ref)
    return pod.secret_env(storage.secret_ref if revision.source_endpoint(version, storage) == storage.endpoint else None)


def sharing_arguments(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> list[str]:
    """Flags of check and publish about ONNX that the namespace shares."""
    key, sha256 = revision.conversion_key(yolo, version, defaults), version.source.sha256
    return [*([f"{CONVERSION_FLAG}{key}"] if key else []), *([f"{DIGEST_FLAG}{sha256}"] if key and sha256 else [])]


def fetch_arguments(yolo: api.YoloDeployment, version: api.Version, storage: api.Storage, defaults: Defaults) -> list[str]:
    """Flags of `yolo-operator fetch`."""
    source = version.source
    arguments = [f"--uri={source.uri}", f"--timeout={yolo.spec.build.timeout.total_seconds():.0f}"]
    if source.sha256:
        arguments.append(f"--sha256={source.sha256}")
    if source.uri.startswith("s3://"):
        arguments.append(f"--region={source.region or storage.region}")
        endpoint = revision.source_endpoint(version, storage)
        if endpoint:
            arguments.append(f"--endpoint={endpoint.rstrip('/')}")
    if source.uri.startswith("ultralytics://"):
        arguments.append(f"--assets-url={defaults.assets_url}")
    if source.uri.startswith("hf://"):
        arguments.append(f"--hub-url={defaults.hub_url}")
    if source.secret_ref is not None and not source.uri.startswith("s3://"):
        arguments.append(f"--secret={source.secret_ref.name}")
    if storage.ca_bundle_ref is not None:
        arguments.append(f"--ca-bundle={pod.CA_DIRECTORY}/{pod.CA_FILE}")
    return arguments


def proxy_of(yolo: api.YoloDeployment, version: api.Version, defaults: Defaults) -> api.Proxy | None:
    """The way out to the weights: the resource's, else the administrator's; None where there is none, or the weights are on a claim."""
    proxy = defaults.proxy if yolo.spec.build.proxy is None else yolo.spec.build.proxy
    used = proxy is not None and bool(proxy.http_proxy or proxy.https_proxy)
    return proxy if used and claim_of(version) is None else None


def proxy_arguments(proxy: api.Proxy | None) -> list[str]:
    """Flags of the way out."""
    if proxy is None:
        return []
    said = [f"--{scheme}-proxy={url.rstrip('/')}" for scheme, url in (("http", proxy.http_proxy), ("https", proxy.https_proxy)) if url]
    if proxy.secret_ref is not None:
        said.append(f"--proxy-secret={proxy.secret_ref.name}")
    if proxy.ca_bundle_ref is not None:
        said.append(f"--proxy-ca-bundle={pod.PROXY_CA_DIRECTORY}/{pod.CA_FILE}")
    return [*said, *(["--no-proxy", *proxy.no_proxy] if proxy.no_proxy else [])]


def proxy_mount(proxy: api.Proxy | None) -> list[Manifest]:
    """Where fetch finds the proxy's CA bundle."""
    return [] if proxy is None or proxy.ca_bundle_ref is None else [{"name": "proxy-ca", "mountPath": pod.PROXY_CA_DIRECTORY, "readOnly": True}]


def pictures_container(yolo: api.YoloDeployment, version: api.Version, storage: api.Storage, defaults: Defaults) -> list[Manifest]:
    """Brings the pictures for a calibration; none where none is asked for. The storage's keys go to its own server alone."""
    wanted = version.export.calibration
    if wanted is None:
        return []
    endpoint = wanted.endpoint or storage.endpoint
    secret = wanted.secret_ref or ((storage.read_secret_ref or storage.secret_ref) if endpoint == storage.endpoint else None)
    source = storage.model_copy(update={"endpoint": endpoint, "region": wanted.region or storage.region})
    arguments = ["pictures", "--for=calibration", f"--pictures={wanted.pictures.rstrip('/')}", *pod.storage_arguments(source)]
    mounts = [mount("check", read_only=True), mount("pictures"), *pod.ca_mount(storage)]
    return [container("pictures", defaults.operator_image, arguments, pod.secret_env(secret), mounts, pod.resources(yolo.spec.jobs.resources))]


def pictures_mount(version: api.Version) -> list[Manifest]:
    """Where export finds them."""
    return [] if version.export.calibration is None else [mount("pictures", read_only=True)]


def claim_of(version: api.Version) -> str | None:
    """The claim of a pvc:// source."""
    uri = version.source.uri
    return uri.removeprefix("pvc://").partition("/")[0] if uri.startswith("pvc://") else None


def claim_volume(version: api.Version) -> list[Manifest]:
    """The volume of a pvc:// source."""
    claim = claim_of(version)
    return [] if claim is None else [{"name": "claim", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]


def claim_mount(version: api.Version) -> list[Manifest]:
    """Where fetch finds a pvc:// source."""
    return [] if claim_of(version) is None else [{"name": "claim", "mountPath": "/claim", "readOnly": True}]


def export_arguments(yolo: api.YoloDeployment, version: api.Version) -> list[str]:
    """Flags of `yolo-operator export`."""
    export = version.export
    arguments = [f"--timeout={yolo.spec.build.timeout.total_seconds():.0f}"]
    if export.image_size:
        arguments += ["--image-size", str(export.image_size[0]), str(export.image_size[-1])]
    arguments += [flag if on else f"--no-{flag[2:]}" for flag, on in (("--dynamic", export.dynamic), ("--simplify", export.simplify))]
    arguments += [flag for flag, on in (("--half", export.half), ("--nms", export.nms)) if on]
    if export.opset is not None:
        arguments.append(f"--opset={export.opset}")
    arguments += [*shapes_arguments(export), *wire_arguments(export)]
    if export.calibration is not None:
        arguments += ["--calibrate", f"--min-agreement={export.calibration.min_agreement:g}"]
        arguments += ["--symmetric"] if revision.symmetric(yolo, version) else []
    if yolo.spec.task is not None:
        arguments.append(f"--task={yolo.spec.task}")
    return arguments


def wire_arguments(export: api.Export) -> list[str]:
    """Flags of export for what goes over the wire; those of fields that are set."""
    values = {
        "--confidence": export.confidence,
        "--iou": export.iou,
        "--max-detections": export.max_detections,
        "--input-datatype": export.input_datatype,
        "--output-datatype": export.output_datatype,
    }
    return [*(f"{flag}={value}" for flag, value in values.items() if value is not None), *(["--agnostic-nms"] if export.agnostic_nms else [])]


def shapes_arguments(export: api.Export) -> list[str]:
    """The flag of export and publish; what is right for the model is found there."""
    return [] if export.shapes is None else [f"--shapes={export.shapes}"]


def config_arguments(yolo: api.YoloDeployment, version: api.Version, release: Release | None) -> list[str]:
    """Flags of `yolo-operator publish` that end up in config.pbtxt."""
    triton, batching = yolo.spec.triton, yolo.spec.triton.dynamic_batching
    arguments = [
        f"--model-name={yolo.model_name}",
        f"--version={version.version}",
        f"--kind={'gpu' if yolo.spec.gpu.count else 'cpu'}",
        f"--max-batch-size={triton.max_batch_size}",
        f"--instances={triton.instances}",
        "--warmup" if triton.warmup else "--no-warmup",
        "--dynamic-batching" if batching.enabled else "--no-dynamic-batching",
        f"--max-queue-delay-microseconds={batching.max_queue_delay_microseconds}",
    ]
    if batching.preferred_batch_sizes:
        arguments += ["--preferred-batch-sizes", *(str(size) for size in batching.preferred_batch_sizes)]
    if batching.queue_policy is not None:
        arguments += queue_arguments(batching.queue_policy)
    if triton.gpu_memory_limit is not None:
        arguments.append(f"--gpu-memory-bytes={drift.whole(triton.gpu_memory_limit)}")
    arguments += [f"--parameter={name}={value}" for name, value in sorted(triton.parameters.items())]
    if triton.tensorrt.enabled:
        if release is not None and release.tensorrt_chooses_precision is False:
            arguments.append("--tensorrt-strongly-typed")
        arguments += [
            f"--tensorrt-precision={triton.tensorrt.precision}",
            f"--tensorrt-max-workspace-bytes={triton.tensorrt.max_workspace_bytes}",
            f"--tensorrt-cache-directory={pod.TENSORRT_CACHE}",
        ]
    arguments += shapes_arguments(version.export)
    arguments += served_pictures_arguments(yolo.spec)
    if yolo.spec.task is not None:
        arguments.append(f"--task={yolo.spec.task}")
    return arguments


def served_pictures_arguments(spec: api.Spec) -> list[str]:
    """Flags of the models that take pictures."""
    pictures = spec.pictures
    if not pictures.enabled:
        return []
    return [
        "--pictures",
        f"--picture-max-bytes={drift.whole(pictures.max_bytes)}",
        f"--picture-max-pixels={drift.whole(pictures.max_pixels)}",
        f"--picture-confidence={pictures.confidence}",
        f"--picture-iou={pictures.iou}",
        f"--picture-max-detections={pictures.max_detections}",
        f"--picture-instances={revision.picture_instances(spec)}",
    ]


def queue_arguments(policy: api.QueuePolicy) -> list[str]:
    """Flags of the queue's policy."""
    return [
        f"--queue-max-size={policy.max_queue_size}",
        f"--queue-timeout-microseconds={policy.timeout_microseconds}",
        f"--queue-timeout-action={policy.timeout_action}",
        "--queue-timeout-override" if policy.allow_timeout_override else "--no-queue-timeout-override",
    ]


def precision(yolo: api.YoloDeployment, version: api.Version) -> str:
    """Numbers that the spec has the answers computed in. The ONNX may have lower ones of its own: the manifest tells, and verify takes the lower."""
    tensorrt = yolo.spec.triton.tensorrt
    if tensorrt.enabled and tensorrt.precision != "FP32":
        return tensorrt.precision
    export = version.export
    return "FP16" if export.half or "FP16" in (export.input_datatype, export.output_datatype) else "FP32"


def runtime_arguments(version: api.Version, release: Release | None) -> list[str]:
    """What the Triton image is, where that is known, and the newest ONNX that its ONNX Runtime reads, where the version's may be newer.

    The limits are part of the Job's name: with an image that reads more it is made anew.
    """
    if release is None:
        return []
    said = [f"{RELEASE_FLAG}{release.name}"]
    if release.max_ir_version is None or release.max_opset is None:
        return said
    if not version.source.uri.endswith(".onnx") and not release.checks_exports:
        return said
    return [*said, f"--max-ir-version={release.max_ir_version}", f"--max-opset={release.max_opset}"]


def without_images(template: Manifest) -> Manifest:
    """A pod template with the images left out, what follows from them, and what every Pod of ours has by itself."""
    metadata, spec = dict(template["metadata"]), dict(template["spec"])
    annotations = {key: value for key, value in metadata.pop("annotations").items() if UNDISTURBED.get(key) != value}
    if annotations:
        metadata["annotations"] = annotations
    for key in ("initContainers", "containers"):
        parts = [{k: v for k, v in part.items() if k not in {"image", "imagePullPolicy"}} for part in spec.get(key, [])]
        spec[key] = [part | {"args": [said for said in part["args"] if not said.startswith(UNNAMED_FLAGS)]} for part in parts]
    return template | {"metadata": metadata, "spec": spec}
