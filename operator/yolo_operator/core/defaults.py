"""What the cluster administrator sets for all resources; the controller reads it from its environment."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from yolo_operator.core import api
from yolo_operator.core.contract import ASSETS_URL, HUB_URL
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import releases


class JobPlacement(api.Model):
    """Nodes that all Jobs may run on, besides what spec.jobs says."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Values that the spec may leave out, and what Jobs are made of."""

    operator_image: str
    exporter_image: str
    triton_image: str
    next_triton_image: str = ""
    """What the default image is, for a resource that keeps `triton_image` until it is its turn to change; empty where it has it."""
    max_image_updates: int = 3
    """Resources that change to another default image at once; 0: all."""
    cluster_name: str = "default"
    """Written into every manifest: prune removes only what carries its own."""
    storage: api.Storage | None = None
    assets_url: str = ASSETS_URL
    """Where ultralytics://NAME is downloaded from; a mirror can stand in."""
    hub_url: str = HUB_URL
    """Where hf:// is downloaded from; a mirror can stand in."""
    proxy: api.Proxy | None = None
    """The way out to weights, where a resource names none of its own."""
    assigned_user: bool = False
    """Whether Pods leave user and groups to their namespace."""
    jobs: JobPlacement = field(default_factory=JobPlacement)
    """Where the images are made for: a key of spec.jobs.nodeSelector counts before the same one here."""
    ipv6: bool = False
    """Whether Pods' first address is an IPv6 one: Triton's HTTP library listens on one family alone."""
    retry_min_seconds: float = 60
    """Pause before a failed Job is made anew; doubles with every failure."""
    retry_max_seconds: float = 600


def storage_of(yolo: api.YoloDeployment | api.YoloServer, defaults: Defaults) -> api.Storage:
    """The storage of a resource. Raises InvalidSpec where neither it nor the administrator names one."""
    storage = yolo.spec.storage or defaults.storage
    if storage is None:
        raise InvalidSpec(
            "StorageMissing",
            "spec.storage is not set and the operator has no default storage: set spec.storage.uri, endpoint and secretRef",
        )
    return storage


def image_of(yolo: api.YoloDeployment | api.YoloServer, defaults: Defaults) -> str:
    """The Triton image of a resource."""
    return yolo.spec.triton.image or defaults.triton_image


def release_of(yolo: api.YoloDeployment | api.YoloServer, defaults: Defaults) -> releases.Release | None:
    """The release of the Triton image: what the spec says, else what the image's tag says; None where neither tells."""
    return releases.named(yolo.spec.triton.release) or releases.of_image(image_of(yolo, defaults))
