"""`YoloServer`: a Triton that several YoloDeployments of its namespace share. Spec, status, and the resource as a whole."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from yolo_operator.core.api import mended
from yolo_operator.core.api.fields import Freeform, IntOrPercent, Labels, LocalReference, Model, ObjectName, Quantity, Resources, ShortText, rules
from yolo_operator.core.api.spec import Gpu, PodDisruptionBudget, Storage
from yolo_operator.core.api.status import Condition
from yolo_operator.core.api.triton import Metrics, PodTemplate, Tracing
from yolo_operator.core.api.yolo_deployment import YoloDeployment, read_spec

SERVER_KIND = "YoloServer"
SERVER_PLURAL = "yoloservers"
MAX_MODELS = 200
"""Models of one server: what they are stands in an annotation of each pod."""


class ServerTriton(Model):
    """The Triton Inference Server; what is a model's own stands in its YoloDeployment."""

    image: Annotated[str | None, Field(min_length=1, max_length=512)] = None
    """Image of the server. Default: the operator's setting (chart value triton.image)."""
    release: Annotated[str | None, Field(pattern="^[0-9]{2}[.](0[1-9]|1[0-2])$", max_length=5)] = None
    """NVIDIA's release that the image is, for example "25.08". Default: what its tag says."""
    image_pull_secrets: list[LocalReference] = Field(default_factory=list, max_length=8)
    """Secrets to pull the images with, of the server's pods and of the Jobs of its models."""
    forward_compatibility: bool = False
    """As spec.triton.forwardCompatibility of a YoloDeployment. Not run in this project's own tests."""
    metrics: Metrics = Field(default_factory=Metrics)
    """What the metrics on port 8002 tell, of all models, each by its name."""
    tracing: Tracing | None = None
    """Send traces of requests to an OpenTelemetry collector."""
    resources: Resources = Field(default_factory=lambda: Resources(requests={"cpu": "500m", "memory": "1Gi"}))
    """Of the Triton container, for all models together; the GPU is added from spec.gpu."""
    pod_template: PodTemplate | None = None
    """Laid over the template of the pods, as in a YoloDeployment."""


class Agent(Model):
    """The container beside Triton that brings models from the storage and has them loaded and unloaded."""

    resources: Resources = Field(
        default_factory=lambda: Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "1Gi"}),
    )
    """Of the agent's container."""


class ServerRollout(Model):
    """How a change of the server itself reaches its pods. A model that comes, changes or goes restarts none."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.maxSurge) || (self.maxSurge != 0 && self.maxSurge != '0%') "
                "|| (has(self.maxUnavailable) && self.maxUnavailable != 0 && self.maxUnavailable != '0%')",
                "spec.rollout.maxSurge and spec.rollout.maxUnavailable cannot both be 0, or no pod could ever be replaced: set one of them to 1 or more",
            ),
        )
    )

    max_surge: IntOrPercent = 1
    """Pods that may be there beyond spec.replicas while they are replaced: a number, or a percentage, rounded up. Each needs a GPU of its own."""
    max_unavailable: IntOrPercent = 0
    """Pods that may be missing meanwhile: a number, or a percentage, rounded down. 1, with maxSurge 0, where there is no spare GPU."""


class ServerSpec(Model):
    """What is wanted."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.triton) || !self.triton.forwardCompatibility || !has(self.gpu) || self.gpu.count > 0",
                "spec.triton.forwardCompatibility is for GPUs: set spec.gpu.count to 1 or more, or remove it",
            ),
        )
    )

    replicas: int = Field(default=1, ge=0, le=100)
    """Pods; each has all models."""
    memory_budget: Quantity | None = None
    """Memory that the models of one pod may take together: of its GPUs, or of the host where it has none. A model that does not fit is not loaded
    (ServerFull). What one takes is measured when it is loaded first; until then it counts as large as its files. Default: no limit."""
    storage: Storage | None = None
    """Where the server's models are published; their YoloDeployments name none of their own. Default: the operator's setting (chart value storage)."""
    service_account_name: ObjectName = "default"
    """Service account of the pods, for workload identity."""
    triton: ServerTriton = Field(default_factory=ServerTriton)
    """The server."""
    agent: Agent = Field(default_factory=Agent)
    """What brings the models."""
    gpu: Gpu = Field(default_factory=Gpu)
    """GPUs of each pod."""
    node_selector: Labels = Field(default_factory=dict)
    """Nodes the pods may run on."""
    tolerations: list[Freeform] = Field(default_factory=list, max_length=16)
    """Tolerations of the pods, besides the one for the GPU resource's taint."""
    affinity: Freeform | None = None
    """Affinity of the pods, as in a Pod."""
    topology_spread_constraints: list[Freeform] = Field(default_factory=list, max_length=16)
    """Spread of the pods, as in a Pod."""
    runtime_class_name: ObjectName | None = None
    """Runtime class of the pods, for example nvidia."""
    priority_class_name: ObjectName | None = None
    """Priority class of the pods."""
    rollout: ServerRollout = Field(default_factory=ServerRollout)
    """How a change of the server reaches its pods."""
    pod_disruption_budget: PodDisruptionBudget = Field(default_factory=PodDisruptionBudget)
    """How many pods a drain may take at once."""
    restarted_at: Annotated[str | None, Field(max_length=63)] = None
    """Any change rolls the pods."""


class ServedModel(Model):
    """A model of the server."""

    deployment: ShortText
    """Its YoloDeployment."""
    model: ShortText
    """As clients ask for it."""
    revision: ShortText = ""
    """Revision that is served, 10 hex digits."""
    phase: ShortText
    """Reason of its YoloDeployment's condition Ready, for example Serving, Building, ServerFull."""
    pods: int = 0
    """Pods that take requests for it."""
    memory_bytes: int = 0
    """What it takes in a pod: as measured, or before that what its files are; 0 while it is in none."""


class ServerDisplay(Model):
    """What the columns of `kubectl get` show."""

    models: ShortText = ""
    """Models that serve, and all."""
    memory: ShortText = ""
    """What the models take in a pod, and the budget."""
    replicas: ShortText = ""
    """Ready and wanted pods."""


class ServerStatus(Model):
    """What is observed."""

    observed_generation: int = 0
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = Field(default=[], max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]})
    """Ready, Reconciling, Stalled, Available."""
    replicas: int = 0
    """Pods."""
    ready_replicas: int = 0
    """Pods that are ready."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Label selector of the pods."""
    triton_release: ShortText = ""
    """Release that the Triton image is taken for; empty where nothing says it."""
    operator: Annotated[str | None, Field(max_length=512)] = None
    """Operator that wrote this: NAMESPACE/NAME of its Lease."""
    display: ServerDisplay = ServerDisplay()
    """What the columns of `kubectl get` show."""
    models: list[ServedModel] = Field(default=[], max_length=MAX_MODELS)
    """The models, by the names of their YoloDeployments."""
    serial: int = 0
    """Of the list of models that the pods have, which grows with each change."""
    complete_templates: list[ShortText] = Field(default=[], max_length=32)
    """Pod templates, by the hashes of their ReplicaSets, of which a pod has served all models."""


class YoloServer(Model):
    """A Triton that several YoloDeployments of its namespace share: it loads and unloads their models while it serves."""

    KIND: ClassVar[str] = SERVER_KIND

    name: str
    namespace: str
    uid: str
    generation: int
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    spec: ServerSpec
    status: ServerStatus


def parse_server(body: Mapping[str, Any]) -> YoloServer:
    """Read a resource as the API server gives it. Raises InvalidSpec."""
    return server_identity(body).model_copy(update={"spec": read_spec(ServerSpec, body.get("spec", {}))})


def server_identity(body: Mapping[str, Any]) -> YoloServer:
    """Who it is and what its status says, whatever its spec."""
    meta = body["metadata"]
    status, _ = mended.read(ServerStatus, body.get("status", {}))
    return YoloServer.model_construct(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        deleting="deletionTimestamp" in meta,
        finalizers=tuple(meta.get("finalizers", ())),
        status=status,
    )


def on_server(yolo: YoloDeployment, server: YoloServer) -> YoloDeployment:
    """A resource whose model a server has, with what is the server's in the place of its own."""
    ours = {"image", "release", "image_pull_secrets", "resources"}
    triton = yolo.spec.triton.model_copy(update={name: getattr(server.spec.triton, name) for name in ours})
    spec = yolo.spec.model_copy(update={"storage": server.spec.storage, "gpu": server.spec.gpu, "triton": triton, "replicas": server.spec.replicas})
    return yolo.model_copy(update={"spec": spec})
