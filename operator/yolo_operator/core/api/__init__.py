"""The resource: spec and status of a YoloDeployment. The CRD is generated from these models (`make crds`).

    fields ──► triton, pictures, traffic, rollout, network ──► spec ──► yolo_deployment
       └───────────────────────────────────► status ──┘

Every field's docstring is its description in `kubectl explain`; every string and list is bounded, or the CEL rules are
over the API server's budget. The rest of the code imports `api`, not the modules in it.
"""

from yolo_operator.core.api.fields import MAX_VERSION, KeyReference, LocalReference, Model, Resources, duration_text, rules
from yolo_operator.core.api.network import Destination, NetworkPolicy, Peer
from yolo_operator.core.api.pictures import Pictures
from yolo_operator.core.api.rollout import Analysis, Rollout, Step, Verify
from yolo_operator.core.api.spec import Build, Calibration, Export, Gpu, Proxy, Source, Spec, Storage, Version
from yolo_operator.core.api.status import (
    PENDING,
    Condition,
    Display,
    FailedRollout,
    Failure,
    PreviousStorage,
    RolledBack,
    RolloutPhase,
    RolloutStatus,
    Status,
    StepAnalysis,
    StorageAddress,
    VerifiedTemplate,
    VersionStatus,
)
from yolo_operator.core.api.traffic import GatewayTraffic, GrpcTraffic, Mirror, ParentReference, SessionPersistence, Traffic
from yolo_operator.core.api.triton import DynamicBatching, EngineCache, Metrics, PodMetadata, PodTemplate, QueuePolicy, TensorRT, Tracing, Triton
from yolo_operator.core.api.yolo_deployment import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    YoloDeployment,
    identity,
    parse,
    parse_spec,
    parse_status,
    read_status,
    scaled_to_zero,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "MAX_VERSION",
    "PENDING",
    "PLURAL",
    "VERSION",
    "Analysis",
    "Build",
    "Calibration",
    "Condition",
    "Destination",
    "Display",
    "DynamicBatching",
    "EngineCache",
    "Export",
    "FailedRollout",
    "Failure",
    "GatewayTraffic",
    "Gpu",
    "GrpcTraffic",
    "KeyReference",
    "LocalReference",
    "Metrics",
    "Mirror",
    "Model",
    "NetworkPolicy",
    "ParentReference",
    "Peer",
    "Pictures",
    "PodMetadata",
    "PodTemplate",
    "PreviousStorage",
    "Proxy",
    "QueuePolicy",
    "Resources",
    "RolledBack",
    "Rollout",
    "RolloutPhase",
    "RolloutStatus",
    "SessionPersistence",
    "Source",
    "Spec",
    "Status",
    "Step",
    "StepAnalysis",
    "Storage",
    "StorageAddress",
    "TensorRT",
    "Tracing",
    "Traffic",
    "Triton",
    "VerifiedTemplate",
    "Verify",
    "Version",
    "VersionStatus",
    "YoloDeployment",
    "duration_text",
    "identity",
    "parse",
    "parse_spec",
    "parse_status",
    "read_status",
    "rules",
    "scaled_to_zero",
]
