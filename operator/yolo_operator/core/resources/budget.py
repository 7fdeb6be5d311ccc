"""PodDisruptionBudgets: a drain takes few pods of a version at a time (one by default), and any that is not healthy."""

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest


def build(yolo: api.YoloDeployment, version: int) -> Manifest:
    """The budget of one version."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": names.metadata(yolo, names.versioned(yolo, version), names.TRITON, version),
        "spec": {
            "maxUnavailable": yolo.spec.pod_disruption_budget.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector(yolo, version)},
        },
    }
