"""What the operator and the agents of shared servers agree on: which models a pod is to have, and which it has.

Values only. The operator writes `WantedModels` into an annotation of each pod, which the kubelet shows the agent within a second, and which is there still when
the pod's containers start anew, be there an operator or not. An agent answers with `ModelStates`.
"""

from typing import Annotated, Literal

from pydantic import Field

from yolo_operator.core.contract import MAX_COUNT, Value

WANTED = "yolo-operator.io/models"
"""Annotation of a pod: WantedModels."""
POD_DIRECTORY, WANTED_FILE, LABELS_FILE = "/etc/yolo-operator/pod", "models.json", "labels"
"""Where the agent finds it, and the pod's labels."""
SERVED_DIRECTORY = "/served"
"""What the agent brings; Triton's repository is below it."""
MODELS = "models"
"""Directory of Triton's repository in there."""
MEMBER = "serves.yolo-operator.io/"
"""Prefix of the label of a pod that a model's Service selects: its name is the YoloDeployment's, its value "true"."""
AGENT_PORT = 8003
STATES_PATH, READY_PATH = "/models", "/ready"
REASON_LOAD, REASON_STORAGE = "LoadFailed", "DownloadFailed"


class WantedModel(Value):
    """A model that a pod is to have."""

    name: str
    """As clients ask for it; a revision that is not verified yet has another name than the one that is asked."""
    uri: str
    """s3://bucket/prefix/<namespace>/<name>/<revision>: one published revision."""
    model: str
    """Its directory in there."""
    deployment: str
    """The YoloDeployment that it is of."""

    @property
    def is_trial(self) -> bool:
        """It has a name of its own until it is verified, so that nobody else asks for it."""
        return self.name != self.model


class WantedModels(Value):
    """All of a server's."""

    serial: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """Grows with each change: of two lists the one with the larger number counts."""
    models: list[WantedModel] = Field(default_factory=list)


class ModelState(Value):
    """What has become of a wanted model in one pod."""

    name: str
    uri: str
    """The revision that is served or, in the states Loading and Failed, that is to be."""
    state: Literal["Loading", "Ready", "Failed"]
    reason: str = ""
    message: str = ""
    """Why it failed, in Triton's or the storage's words."""
    memory_bytes: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    """What Triton took more after it was loaded than before: of the GPUs, or of the host where there is none, and no less than its
    files have; None where that cannot be told."""


class ModelStates(Value):
    """All of a pod's."""

    serial: Annotated[int, Field(ge=0, le=MAX_COUNT)] = 0
    """Of the list that these are about."""
    models: list[ModelState] = Field(default_factory=list)
