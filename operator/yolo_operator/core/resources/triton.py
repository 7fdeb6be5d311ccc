"""The Triton Deployment of one version: a gate that opens only for right answers, probes on the model itself, a quiet end."""

from yolo_operator.core import api, contract, drift, names
from yolo_operator.core.defaults import Defaults, image_of, release_of, storage_of
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import overlay, pod, repository, service

PRE_STOP_SECONDS = 5
"""The pod leaves the endpoints before Triton stops listening: it closes its port as soon as it is told to end."""
EXIT_TIMEOUT_SECONDS = 30
MIN_READY_SECONDS = 5
"""Of pods whose answers nobody checks."""
GRACE_SECONDS = PRE_STOP_SECONDS + EXIT_TIMEOUT_SECONDS + 10
STARTUP_SECONDS = 3600
"""Triton opens no port before every model is loaded and warmed up; a TensorRT engine takes minutes."""
DEFAULT_MAX_INPUT_BYTES = 64 << 20
"""Triton's own limit of an HTTP request."""
TRITON_UID = 1000
"""The user `triton-server` of NVIDIA's image."""
ENTRYPOINT = "/opt/nvidia/nvidia_entrypoint.sh"
"""Of NVIDIA's images. Its shell reads /etc/shinit_v2, which puts the image's driver library into LD_LIBRARY_PATH where the node's driver is older; of the
file system it needs no more than /tmp."""
CPU_LIMIT = "TRITON_CPU_LIMIT"
"""Variable: CPUs that the container may use, rounded up; those of the node where it has no limit."""
CPU_LIMIT_ENV: Manifest = {"name": CPU_LIMIT, "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}}
POD_UID_ENV: Manifest = {"name": "POD_UID", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}
"""The secret word of the restricted endpoints."""
RESTRICTED = ("--http-restricted-api", "--grpc-restricted-protocol")
THREAD_PARAMETERS = frozenset({"intra_op_thread_count", "inter_op_thread_count", "execution_mode"})
"""Of spec.triton.parameters: the backend reads none of them with a thread pool of all models."""
POD_FIELDS = {"release", "resources", "image_pull_secrets", "pod_template", "forward_compatibility", "metrics", "tracing"}
"""Of spec.triton: what shapes the pods and not the published repository."""
NVIDIA = "nvidia.com/gpu"
CLAIM = "gpu"
"""What the pod calls its ResourceClaim."""
DECODER_COPY = "/copy"
"""Where the init container that brings the decoder writes: in its own image the decoder is at the very path that the server's has."""
PYTHON_ALIVE = r"""
exec 3<>"/dev/tcp/localhost/$0" && printf 'GET /v2/health/live HTTP/1.0\r\n\r\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]] || exit 1
if grep -s '^[0-9]* (triton_python_b) Z' /proc/[0-9]*/stat; then exit 1; fi
"""
"""For bash, with the HTTP port. A process of Triton's Python backend that was killed stays a zombie: Triton starts no other, its requests fail, and all
that Triton says of itself is well."""
BYTES_OF = {"FP32": 4, "FP16": 2, "UINT8": 1}


def build(
    yolo: api.YoloDeployment,
    version: api.Version,
    artifact: contract.Artifact,
    replicas: int,
    live: Manifest | None,
    defaults: Defaults,
) -> Manifest:
    """The Deployment that serves one published revision.

    Where the live one was rendered from the same inputs its template is sent again as it was, so that another release of the operator
    restarts nothing.
    """
    inputs = template_inputs(yolo, artifact, defaults)
    template = rendered_from(live, inputs) or pod_template(yolo, version, artifact, inputs, defaults)
    return around(yolo, version.version, template, replicas, live)


def keep(yolo: api.YoloDeployment, version: int, replicas: int, live: Manifest, noted: str) -> Manifest | None:
    """The Deployment with a template that it has had: as it was applied last (RENDERED), or as it was verified last (VERIFIED_TEMPLATE).

    None where that is not known any more.
    """
    template = noted_template(live, noted)
    return None if template is None else around(yolo, version, template, replicas, live)


def around(yolo: api.YoloDeployment, version: int, template: Manifest, replicas: int, live: Manifest | None) -> Manifest:
    """A Deployment around a pod template; what is noted of the live one's verified template is kept, and its strategy."""
    metadata = names.metadata(yolo, names.versioned(yolo, version), names.TRITON, version)
    metadata["annotations"] = {names.RENDERED: names.canonical(template)}
    if (verified := noted_template(live, names.VERIFIED_TEMPLATE)) is not None:
        metadata["annotations"][names.VERIFIED_TEMPLATE] = names.canonical(verified)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": names.selector(yolo, version)},
            **min_ready_seconds(yolo, template, live),
            "progressDeadlineSeconds": int(yolo.spec.rollout.progress_deadline.total_seconds()),
            "revisionHistoryLimit": 3,
            "strategy": strategy(yolo, replicas, in_place=live is not None and is_in_place(live)),
            "template": template,
        },
    }


def min_ready_seconds(yolo: api.YoloDeployment, template: Manifest, live: Manifest | None) -> Manifest:
    """How long a pod must have been ready to count as available: no longer where the gate has let it in, whose answers were checked then.

    A Deployment keeps what it has until it gets other pods.
    """
    kept = (
        live is not None
        and live["spec"].get("minReadySeconds") == MIN_READY_SECONDS
        and names.label(live["spec"]["template"], names.TEMPLATE) == names.label(template, names.TEMPLATE)
    )
    return {"minReadySeconds": MIN_READY_SECONDS} if kept or not yolo.spec.rollout.verify.enabled else {}


def strategy(yolo: api.YoloDeployment, replicas: int, *, in_place: bool) -> Manifest:
    """How so many pods are replaced, in numbers. `in_place`: only old pods make room, as many at once as spec.rollout.maxUnavailable, at least one."""
    rollout = yolo.spec.rollout
    unavailable = min(share(rollout.max_unavailable, replicas, up=False), max(0, replicas - 1))
    if in_place:
        return rolling_update(0, max(1, unavailable))
    return rolling_update(share(rollout.max_surge, replicas, up=True), unavailable)


def rolling_update(surge: int, unavailable: int) -> Manifest:
    """The strategy of a Deployment, in pods."""
    if not unavailable:
        # The Deployment controller itself, with neither, takes an old pod first, be it the only one.
        surge = max(1, surge)
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}


def share(of: int | str, replicas: int, *, up: bool) -> int:
    """A number of pods, or the part that a percentage of them is, rounded as the Deployment controller does."""
    if isinstance(of, int):
        return of
    part = replicas * int(of.removesuffix("%"))
    return -(-part // 100) if up else part // 100


def server_image(template: Manifest) -> str:
    """The image of Triton in a pod template; empty where it has none."""
    return next((str(container.get("image", "")) for container in template["spec"]["containers"] if container["name"] == names.SERVER), "")


def asked_image(live: Manifest) -> str:
    """The image that a Deployment was asked to have; admission may have put another registry's in its place."""
    return server_image(noted_template(live, names.RENDERED) or live["spec"]["template"])


def is_in_place(live: Manifest) -> bool:
    """Whether a Deployment makes no new pod before an old one has gone."""
    return bool(live["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge") == 0)


def takes_first(live: Manifest) -> bool:
    """Whether a Deployment may end an old pod before its successor is ready."""
    return bool(live["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable", 0) != 0)


def remember_verified(deployment: Manifest) -> None:
    """Note that a Deployment's template is verified: it is what a later one that fails goes back to."""
    deployment["metadata"]["annotations"][names.VERIFIED_TEMPLATE] = deployment["metadata"]["annotations"][names.RENDERED]


def rendered_from(live: Manifest | None, inputs: str) -> Manifest | None:
    """The pod template of a live Deployment, if it was rendered from these inputs."""
    template = noted_template(live, names.RENDERED)
    return template if template is not None and template["metadata"]["labels"].get(names.TEMPLATE) == inputs else None


def noted_template(live: Manifest | None, annotation: str) -> Manifest | None:
    """A pod template that an annotation of the Deployment holds."""
    text = (live or {}).get("metadata", {}).get("annotations", {}).get(annotation)
    return names.parse_canonical(text) if text else None


def template_inputs(yolo: api.YoloDeployment, artifact: contract.Artifact, defaults: Defaults) -> str:
    """Hash of all that the pod template follows from: fields of the spec and the revision, never the operator's release.

    As in `core.revision` defaults do not count.
    """
    spec, storage = yolo.spec, storage_of(yolo, defaults)
    cache = spec.triton.tensorrt.engine_cache
    return names.digest(
        {
            "uri": artifact.uri,
            "image": image_of(yolo, defaults),
            "storage": storage.model_dump(exclude={"uri", "server_side_encryption"}, exclude_defaults=True),
            "triton": spec.triton.model_dump(include=POD_FIELDS, exclude_defaults=True),
            "engineCache": cache.model_dump(exclude_defaults=True) if cache else None,
            "gpu": spec.gpu.model_dump(exclude_defaults=True),
            "scheduling": spec.model_dump(
                include={
                    "node_selector",
                    "tolerations",
                    "affinity",
                    "topology_spread_constraints",
                    "runtime_class_name",
                    "priority_class_name",
                },
                exclude_defaults=True,
            ),
            "serviceAccountName": spec.service_account_name,
            "verify": spec.rollout.verify.enabled,
            "restartedAt": spec.restarted_at,
            **({"pictures": True} if spec.pictures.enabled else {}),
            **({"assignedUser": True} if defaults.assigned_user else {}),
            **({"ipv6": True} if defaults.ipv6 else {}),
        },
        10,
    )


def pod_template(yolo: api.YoloDeployment, version: api.Version, artifact: contract.Artifact, inputs: str, defaults: Defaults) -> Manifest:
    """The pod: one Triton with one model in one version."""
    spec, storage = yolo.spec, storage_of(yolo, defaults)
    labels = names.labels(yolo, names.TRITON, version.version)
    labels |= {names.REVISION: artifact.revision, names.TEMPLATE: inputs}
    volumes: list[Manifest] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "tmp", "emptyDir": {}},
        *repository.volumes(storage),
    ]
    mounts: list[Manifest] = [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": pod.TMP}]  # noqa: S108  shared memory of its own
    if spec.triton.tensorrt.enabled:
        cache = spec.triton.tensorrt.engine_cache
        volumes.append(
            {"name": "tensorrt", "emptyDir": {}}
            if cache is None
            else {"name": "tensorrt", "persistentVolumeClaim": {"claimName": cache.persistent_volume_claim}}
        )
        own = {} if cache is None else {"subPath": engine_directory(yolo, defaults)}
        mounts.append({"name": "tensorrt", "mountPath": pod.TENSORRT_CACHE, **own})
    mounts += repository.mounts(storage)
    if spec.pictures.enabled:
        volumes.append({"name": names.DECODER, "emptyDir": {}})
        mounts.append({"name": names.DECODER, "mountPath": contract.PICTURE_DECODER_DIRECTORY, "readOnly": True})
    pod_spec: Manifest = {
        "serviceAccountName": spec.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod.security(defaults, TRITON_UID),
        "containers": [server(yolo, version, artifact, mounts, defaults)],
        "volumes": volumes,
    }
    if init := [*repository.init_containers(yolo, artifact, defaults), *picture_decoder(yolo, defaults)]:
        pod_spec["initContainers"] = init
    if spec.rollout.verify.enabled:
        pod_spec["readinessGates"] = [{"conditionType": names.VERIFIED_GATE}]
    return finish(spec, labels, pod_spec)


def finish(spec: api.Spec | api.ServerSpec, labels: dict[str, str], pod_spec: Manifest) -> Manifest:
    """The pod template: with what the spec says of nodes, and spec.triton.podTemplate laid over."""
    tolerations = list(spec.tolerations)
    if spec.gpu.count:
        # A slice or a share of a GPU is on a node that has the taint of whole ones.
        whole = [NVIDIA] if spec.gpu.resource_name.startswith("nvidia.com/") else []
        tolerations += [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in dict.fromkeys([spec.gpu.resource_name, *whole])]
    optional: Manifest = {
        "imagePullSecrets": [{"name": secret.name} for secret in spec.triton.image_pull_secrets],
        "nodeSelector": dict(spec.node_selector),
        "tolerations": tolerations,
        "affinity": spec.affinity,
        "topologySpreadConstraints": list(spec.topology_spread_constraints),
        "runtimeClassName": spec.runtime_class_name,
        "priorityClassName": spec.priority_class_name,
        "resourceClaims": claims(spec.gpu),
    }
    metadata: Manifest = {"labels": labels}
    if spec.restarted_at:
        metadata["annotations"] = {f"{api.GROUP}/restarted-at": spec.restarted_at}
    ours = {"metadata": metadata, "spec": pod_spec | {key: value for key, value in optional.items() if value}}
    return overlay.laid_over(ours, spec.triton.pod_template)


def picture_decoder(yolo: api.YoloDeployment, defaults: Defaults) -> list[Manifest]:
    """Brings what decodes pictures, where the server takes their files."""
    if not yolo.spec.pictures.enabled:
        return []
    mounts = [{"name": names.DECODER, "mountPath": DECODER_COPY}, {"name": "tmp", "mountPath": pod.TMP}]
    arguments = ["decoder", f"--directory={DECODER_COPY}"]
    return [pod.worker(names.DECODER, defaults.operator_image, arguments, [], mounts, pod.resources(yolo.spec.jobs.resources))]


def claims(gpu: api.Gpu) -> list[Manifest]:
    """How the pod claims its GPUs, where it does."""
    return [] if gpu.resource_claim_template_name is None else [{"name": CLAIM, "resourceClaimTemplateName": gpu.resource_claim_template_name}]


def server(yolo: api.YoloDeployment, version: api.Version, artifact: contract.Artifact, mounts: list[Manifest], defaults: Defaults) -> Manifest:
    """The Triton container."""
    spec, storage = yolo.spec, storage_of(yolo, defaults)
    model_ready = f"/v2/models/{yolo.model_name}/versions/{version.version}/ready"
    return {
        "name": names.SERVER,
        "image": image_of(yolo, defaults),
        "imagePullPolicy": pod.IMAGE_PULL_POLICY,
        "command": [*([ENTRYPOINT] if spec.triton.forward_compatibility else []), "tritonserver"],
        "args": arguments(yolo, version, artifact, defaults),
        "env": [
            *repository.env(storage),
            {"name": "HOME", "value": pod.TMP},
            {"name": "ORT_DISABLE_TELEMETRY", "value": "1"},
            *([{"name": contract.PICTURE_DECODER_VARIABLE, "value": contract.PICTURE_DECODER_DIRECTORY}] if spec.pictures.enabled else []),
            *([] if spec.gpu.count else [CPU_LIMIT_ENV]),
            POD_UID_ENV,
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in service.PORTS.items()],
        "volumeMounts": mounts,
        "securityContext": dict(pod.CONTAINER_SECURITY),
        "resources": resources(spec, {"ephemeral-storage": f"{(2 * artifact.size_bytes >> 20) + 256}Mi"}),
        "startupProbe": {
            **http_get(model_ready),
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": STARTUP_SECONDS // 2,
        },
        "readinessProbe": {**http_get(model_ready), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": liveness(python=spec.pictures.enabled),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def resources(spec: api.Spec | api.ServerSpec, disk: Manifest) -> Manifest:
    """Requests and limits of the Triton container: its own, its GPUs, and the disk it needs."""
    own = pod.resources(spec.triton.resources)
    claimed = spec.gpu.resource_claim_template_name is not None
    gpus = {spec.gpu.resource_name: str(spec.gpu.count)} if spec.gpu.count and not claimed else {}
    return {"requests": disk | own.get("requests", {}) | gpus, "limits": own.get("limits", {}) | gpus, **({"claims": [{"name": CLAIM}]} if claimed else {})}


def arguments(yolo: api.YoloDeployment, version: api.Version, artifact: contract.Artifact, defaults: Defaults) -> list[str]:
    """Triton's command line."""
    result = [
        f"--model-repository={repository.url(artifact.uri, storage_of(yolo, defaults))}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        # Kubernetes keeps the last 2 KiB of the log, which a table of settings would fill: core/triton_log.py reads the cause there.
        "--log-info=false",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        *(f"{flag}=model-repository,shared-memory,trace:yolo-operator=$(POD_UID)" for flag in RESTRICTED),
        *address_arguments(defaults),
    ]
    needed, release = max_input_bytes(yolo, artifact), release_of(yolo, defaults)
    if needed > DEFAULT_MAX_INPUT_BYTES and release is not None and release.http_max_input_size:
        result.append(f"--http-max-input-size={needed}")
    # Who sets one of the parameters decides about the threads himself.
    threads = [] if THREAD_PARAMETERS & yolo.spec.triton.parameters.keys() else thread_arguments(yolo.spec.gpu)
    traces = tracing_arguments(yolo.spec.triton.tracing, {"service.name": yolo.name, "service.version": str(version.version)})
    return [*result, *threads, *metrics_arguments(yolo.spec.triton.metrics), *traces]


def address_arguments(defaults: Defaults) -> list[str]:
    """Where Triton listens, in the words of its HTTP library, which then takes no IPv4. Metrics follow it; gRPC listens on both families by itself."""
    return ["--http-address=ipv6:[::]"] if defaults.ipv6 else []


def thread_arguments(gpu: api.Gpu) -> list[str]:
    """On the CPU as many threads as the Pod may use CPUs: ONNX Runtime by itself takes one per core of the node, in each instance."""
    if gpu.count:
        return []
    settings = ("enable-global-threadpool=1", f"intra_op_thread_count=$({CPU_LIMIT})", "inter_op_thread_count=1")
    return [f"--backend-config=onnxruntime,{setting}" for setting in settings]


def metrics_arguments(metrics: api.Metrics) -> list[str]:
    """What the metrics tell."""
    return [
        *(["--metrics-config=summary_latencies=true"] if metrics.summary_latencies else []),
        *([] if metrics.interval_milliseconds is None else [f"--metrics-interval-ms={metrics.interval_milliseconds}"]),
    ]


def tracing_arguments(tracing: api.Tracing | None, names_of: dict[str, str]) -> list[str]:
    """Where traces go, and of what: `names_of` are the attributes that the spec may change."""
    if tracing is None:
        return []
    attributes = names_of | tracing.resource_attributes
    settings = ["mode=opentelemetry", "level=TIMESTAMPS", f"rate={tracing.rate}", f"opentelemetry,url={tracing.endpoint}"]
    settings += [f"opentelemetry,resource={name}={value}" for name, value in sorted(attributes.items())]
    return [f"--trace-config={setting}" for setting in settings]


def max_input_bytes(yolo: api.YoloDeployment, artifact: contract.Artifact) -> int:
    """Bytes of the largest request: the full batch at the exported image size, and a MiB for the protocol."""
    height, width = artifact.image_size[0], artifact.image_size[-1]
    element = max((BYTES_OF.get(tensor.datatype, 4) for tensor in artifact.inputs), default=4)
    tensors = max(yolo.spec.triton.max_batch_size, 1) * 3 * height * width * element
    pictures = yolo.spec.pictures
    # As Base64 a file is longer by a third.
    files = drift.whole(pictures.max_bytes) * 4 // 3 if pictures.enabled else 0
    return max(tensors, files) + (1 << 20)


def http_get(path: str) -> Manifest:
    """A probe over Triton's HTTP port."""
    return {"httpGet": {"path": path, "port": "http"}}


def liveness(*, python: bool) -> Manifest:
    """More generous than readiness: a restart loses the loaded model, and under full load an answer may take long. `python`: with models in Python."""
    if python:
        command = ["bash", "-c", PYTHON_ALIVE, str(service.PORTS["http"])]
        return {"exec": {"command": command}, "periodSeconds": 5, "timeoutSeconds": 20, "failureThreshold": 3}
    return {**http_get("/v2/health/live"), "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6}


def engine_directory(yolo: api.YoloDeployment, defaults: Defaults) -> str:
    """Where in a claim the engines are that this image built for this kind of GPU: no other may load them.

    What the engines follow from otherwise (the ONNX, precision, shapes) is in the path below, which config.pbtxt names.
    """
    return names.digest({"image": image_of(yolo, defaults), "gpu": yolo.spec.gpu.resource_claim_template_name or yolo.spec.gpu.resource_name}, 10)
