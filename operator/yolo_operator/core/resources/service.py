"""Services: NAME for all versions together, NAME-v<N> for one."""

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}


def build(yolo: api.YoloDeployment, version: int | None = None, *, selects: int | None = None) -> Manifest:
    """The Service of the resource, or of one of its versions. `selects`: the only version behind it, where it is not all or its own."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(yolo, yolo.name if version is None else names.versioned(yolo, version), names.TRITON, version),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(yolo, version if selects is None else selects),
            "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in PORTS.items()],
        },
    }
