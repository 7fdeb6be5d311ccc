"""Services: NAME for all versions together, NAME-v<N> for one."""

from yolo_operator.core import api, names
from yolo_operator.core.names import Manifest
from yolo_operator.core.served_models import MEMBER

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}


def build(yolo: api.YoloDeployment, version: int | None = None, *, selects: int | None = None) -> Manifest:
    """The Service of the resource, or of one of its versions. `selects`: the only version behind it, where it is not all or its own."""
    metadata = names.metadata(yolo, yolo.name if version is None else names.versioned(yolo, version), names.TRITON, version)
    return around(metadata, names.selector(yolo, version if selects is None else selects))


def of_model(yolo: api.YoloDeployment, server: str) -> Manifest:
    """The Service of a model of a server: the pods of that server that take requests for it."""
    return around(names.metadata(yolo, yolo.name, names.TRITON), members(yolo, server))


def members(yolo: api.YoloDeployment, server: str) -> dict[str, str]:
    """Selects the pods of a server that take requests for a model."""
    return {names.SERVER_OWNER: server, names.COMPONENT: names.TRITON, f"{MEMBER}{yolo.name}": "true"}


def around(metadata: Manifest, selector: dict[str, str]) -> Manifest:
    """A Service for Triton's ports."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in PORTS.items()],
        },
    }
