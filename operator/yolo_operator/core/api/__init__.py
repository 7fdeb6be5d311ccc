"""The resource: spec and status of a YoloDeployment. The CRD is generated from these models (`make crds`).

    fields ──► rollout, network ──► spec ──► yolo_deployment
       └───────────────────────────► status ──┘

Every field's docstring is its description in `kubectl explain`; every string and list is bounded, or the CEL rules are
over the API server's budget. The rest of the code imports `api`, not the modules in it.
"""

from yolo_operator.core.api.fields import MAX_VERSION, KeyReference, LocalReference, Model, Resources, duration_text, rules
from yolo_operator.core.api.network import Destination, NetworkPolicy, Peer
from yolo_operator.core.api.rollout import Analysis, GatewayTraffic, GrpcTraffic, Mirror, ParentReference, Rollout, SessionPersistence, Step, Traffic, Verify
from yolo_operator.core.api.spec import (
    Build,
    Calibration,
    DynamicBatching,
    EngineCache,
    Export,
    Gpu,
    PodMetadata,
    PodTemplate,
    Source,
    Spec,
    Storage,
    TensorRT,
    Triton,
    Version,
)
from yolo_operator.core.api.status import (
    Condition,
    Display,
    Failure,
    RolledBack,
    RolloutPhase,
    RolloutStatus,
    Status,
    StepAnalysis,
    VerifiedTemplate,
    VersionStatus,
)
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
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "MAX_VERSION",
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
    "Failure",
    "GatewayTraffic",
    "Gpu",
    "GrpcTraffic",
    "KeyReference",
    "LocalReference",
    "Mirror",
    "Model",
    "NetworkPolicy",
    "ParentReference",
    "Peer",
    "PodMetadata",
    "PodTemplate",
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
    "TensorRT",
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
    "rules",
]
