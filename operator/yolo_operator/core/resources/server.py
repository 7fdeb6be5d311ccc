"""The Deployment of a Triton that several models share: Triton in explicit mode, and beside it the agent that brings, loads and unloads models."""

from yolo_operator.core import api, names
from yolo_operator.core.defaults import Defaults, image_of, release_of, storage_of
from yolo_operator.core.names import Manifest
from yolo_operator.core.resources import pod, service, triton
from yolo_operator.core.served_models import AGENT_PORT, LABELS_FILE, MODELS, POD_DIRECTORY, READY_PATH, SERVED_DIRECTORY, STATES_PATH, WANTED, WANTED_FILE

MAX_INPUT_BYTES = 1 << 30
"""Largest HTTP request, whatever models come: Triton is told when it starts."""
DEADLINE_SECONDS = 1800
"""Until a roll-out that does not get on is reported."""


def build(server: api.YoloServer, live: Manifest | None, defaults: Defaults) -> Manifest:
    """The Deployment. Where the live one was rendered from the same inputs its template is sent again as it was."""
    inputs = template_inputs(server, defaults)
    template = triton.rendered_from(live, inputs) or pod_template(server, inputs, defaults)
    metadata = names.metadata(server, server.name, names.TRITON)
    metadata["annotations"] = {names.RENDERED: names.canonical(template)}
    replicas, rollout = server.spec.replicas, server.spec.rollout
    surge, unavailable = triton.share(rollout.max_surge, replicas, up=True), triton.share(rollout.max_unavailable, replicas, up=False)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": names.selector(server)},
            "progressDeadlineSeconds": DEADLINE_SECONDS,
            "revisionHistoryLimit": 3,
            "strategy": triton.rolling_update(surge, unavailable),
            "template": template,
        },
    }


def template_inputs(server: api.YoloServer, defaults: Defaults) -> str:
    """Hash of all that the pod template follows from; as in `triton.template_inputs` defaults do not count, nor does the operator's release."""
    outside = {"replicas", "memory_budget", "storage", "rollout", "pod_disruption_budget"}
    return names.digest(
        {
            "spec": server.spec.model_dump(exclude=outside, exclude_defaults=True),
            "image": image_of(server, defaults),
            "storage": storage_of(server, defaults).model_dump(exclude={"uri", "server_side_encryption", "loader"}, exclude_defaults=True),
            **({"assignedUser": True} if defaults.assigned_user else {}),
            **({"ipv6": True} if defaults.ipv6 else {}),
        },
        10,
    )


def pod_template(server: api.YoloServer, inputs: str, defaults: Defaults) -> Manifest:
    """The pod: which models it has is no part of it."""
    spec, storage = server.spec, storage_of(server, defaults)
    fields = {WANTED_FILE: f"metadata.annotations['{WANTED}']", LABELS_FILE: "metadata.labels"}
    items = [{"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": field}} for path, field in fields.items()]
    pod_spec: Manifest = {
        "serviceAccountName": spec.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": triton.GRACE_SECONDS,
        "securityContext": pod.security(defaults, triton.TRITON_UID),
        "readinessGates": [{"conditionType": names.VERIFIED_GATE}],
        # A sidecar: it is there before Triton, which wants its repository's directory, and goes after it.
        "initContainers": [agent(server, defaults)],
        "containers": [triton_container(server, defaults)],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "agent-tmp", "emptyDir": {}},
            {"name": "served", "emptyDir": {}},
            {"name": "pod", "downwardAPI": {"items": items}},
            *([{"name": "tensorrt", "emptyDir": {}}] if spec.gpu.count else []),
            *pod.ca_volume(storage),
        ],
        # Without a GPU the agent sees what Triton's processes take. It has another user, so it can do no more than that.
        **({} if spec.gpu.count else {"shareProcessNamespace": True}),
    }
    return triton.finish(spec, names.labels(server, names.TRITON) | {names.TEMPLATE: inputs}, pod_spec)


def triton_container(server: api.YoloServer, defaults: Defaults) -> Manifest:
    """Triton, with no model when it starts. Whether it has those that the pod is asked for the agent tells: from the moment it has been restarted it takes no
    requests until then, which a probe of the agent's own container would notice too late."""
    spec = server.spec
    live = triton.http_get("/v2/health/live")
    mounts: list[Manifest] = [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  shared memory of its own
        {"name": "tmp", "mountPath": pod.TMP},
        {"name": "served", "mountPath": SERVED_DIRECTORY, "readOnly": True},
        *([{"name": "tensorrt", "mountPath": pod.TENSORRT_CACHE}] if spec.gpu.count else []),
    ]
    return {
        "name": names.SERVER,
        "image": image_of(server, defaults),
        "imagePullPolicy": pod.IMAGE_PULL_POLICY,
        "command": [*([triton.ENTRYPOINT] if spec.triton.forward_compatibility else []), "tritonserver"],
        "args": arguments(server, defaults),
        "env": [
            {"name": "HOME", "value": pod.TMP},
            {"name": "ORT_DISABLE_TELEMETRY", "value": "1"},
            *([] if spec.gpu.count else [triton.CPU_LIMIT_ENV]),
            triton.POD_UID_ENV,
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in service.PORTS.items()],
        "volumeMounts": mounts,
        "securityContext": dict(pod.CONTAINER_SECURITY),
        "resources": triton.resources(spec, {}),
        "startupProbe": {**live, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 600},
        "readinessProbe": {**probe(READY_PATH), "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": triton.liveness(python=False),
        "lifecycle": {"preStop": {"sleep": {"seconds": triton.PRE_STOP_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def arguments(server: api.YoloServer, defaults: Defaults) -> list[str]:
    """Triton's command line. One model that does not load is no fault of the server: its readiness is not strict."""
    spec, release = server.spec, release_of(server, defaults)
    return [
        f"--model-repository={SERVED_DIRECTORY}/{MODELS}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--strict-readiness=false",
        "--log-info=false",
        f"--exit-timeout-secs={triton.EXIT_TIMEOUT_SECONDS}",
        *(f"{flag}=model-repository,shared-memory,trace:yolo-operator=$(POD_UID)" for flag in triton.RESTRICTED),
        *triton.address_arguments(defaults),
        *([f"--http-max-input-size={MAX_INPUT_BYTES}"] if release is not None and release.http_max_input_size else []),
        *triton.thread_arguments(spec.gpu),
        *triton.metrics_arguments(spec.triton.metrics),
        *triton.tracing_arguments(spec.triton.tracing, {"service.name": server.name}),
    ]


def agent(server: api.YoloServer, defaults: Defaults) -> Manifest:
    """The container that has the keys of the storage, and tells Triton what to load."""
    spec, storage = server.spec, storage_of(server, defaults)
    said = [
        "agent",
        f"--wanted={POD_DIRECTORY}/{WANTED_FILE}",
        f"--labels={POD_DIRECTORY}/{LABELS_FILE}",
        f"--directory={SERVED_DIRECTORY}",
        f"--port={AGENT_PORT}",
        *pod.storage_arguments(storage.model_copy(update={"server_side_encryption": None})),
    ]
    env = [*pod.secret_env(storage.read_secret_ref or storage.secret_ref), {"name": "HOME", "value": pod.TMP}, triton.POD_UID_ENV]
    mounts: list[Manifest] = [
        {"name": "agent-tmp", "mountPath": pod.TMP},
        {"name": "served", "mountPath": SERVED_DIRECTORY},
        {"name": "pod", "mountPath": POD_DIRECTORY, "readOnly": True},
        *pod.ca_mount(storage),
    ]
    made = pod.worker(names.AGENT, defaults.operator_image, said, env, mounts, pod.resources(spec.agent.resources))
    user = {} if defaults.assigned_user else {"runAsUser": pod.USER}
    return made | {
        "restartPolicy": "Always",
        "securityContext": made["securityContext"] | user,
        "ports": [{"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "startupProbe": {**probe(STATES_PATH), "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 120},
        "livenessProbe": {**probe(STATES_PATH), "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def probe(path: str) -> Manifest:
    """A probe that asks the agent."""
    return {"httpGet": {"path": path, "port": AGENT_PORT}}
