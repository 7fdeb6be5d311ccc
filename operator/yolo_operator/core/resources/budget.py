"""PodDisruptionBudgets: a drain takes few pods of a version at a time (one by default), and any that is not healthy."""

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest


def build(yolo: api.YoloDeployment, version: int) -> Manifest:
    """The budget of one version."""
    return around(names.metadata(yolo, names.versioned(yolo, version), names.TRITON, version), yolo.spec.pod_disruption_budget, names.selector(yolo, version))


def of_server(server: api.YoloServer) -> Manifest:
    """The budget of a server that several models share."""
    return around(names.metadata(server, server.name, names.TRITON), server.spec.pod_disruption_budget, names.selector(server))


def around(metadata: Manifest, wanted: api.PodDisruptionBudget, selector: dict[str, str]) -> Manifest:
    """A budget for some pods."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": wanted.max_unavailable,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector},
        },
    }
