"""What a failed verification is about: a pod template, and the limits that its answers were measured by."""

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.observed import template_hash


def limits(yolo: api.YoloDeployment) -> str:
    """Hash of what answers are measured by: other limits may find the same answers right."""
    return names.digest(yolo.spec.rollout.verify.model_dump(exclude_defaults=True))


def key(yolo: api.YoloDeployment, pod: Manifest) -> str:
    """What a failure is recorded under."""
    return f"{names.label(pod, names.TEMPLATE)}-{template_hash(pod)}-{limits(yolo)}"


def is_about(failure: api.Failure, yolo: api.YoloDeployment, inputs: str) -> bool:
    """Whether a verification failed for pods that were rendered from these inputs, with the limits of now."""
    return failure.key.startswith(f"{inputs}-") and failure.key.endswith(f"-{limits(yolo)}")
