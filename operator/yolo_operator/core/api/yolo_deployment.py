"""The resource as a whole, and the border: behind `parse` the rest of the code meets only valid values."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from yolo_operator.core.api import mended
from yolo_operator.core.api.fields import Model
from yolo_operator.core.api.spec import Spec
from yolo_operator.core.api.status import Status
from yolo_operator.core.errors import InvalidSpec

Parsed = TypeVar("Parsed", bound=Model)
GROUP = "yolo-operator.io"
VERSION = "v1alpha1"
KIND = "YoloDeployment"
PLURAL = "yolodeployments"
API_VERSION = f"{GROUP}/{VERSION}"
UNKNOWN_PHASE = {
    "phase": "Degraded",
    "weight": 0,
    "routed": 0,
    "reason": "UnknownPhase",
    "message": "status.rollout.phase was written by another release of the operator; the stable version has all traffic until spec.rollout.retry changes",
}
"""How a canary is read whose phase is not known: it may be one that failed, and those get no traffic."""


class YoloDeployment(Model):
    """A YOLO model, exported, published, served by Triton on GPUs and verified."""

    KIND: ClassVar[str] = KIND

    name: str
    namespace: str
    uid: str
    generation: int
    created: str = ""
    """When; which of two came first is decided by it."""
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    spec: Spec
    status: Status
    unread: tuple[str, ...] = ()
    """Paths in the status that could not be read, of another release's or by hand."""

    @property
    def model_name(self) -> str:
        """The model's name in Triton."""
        return self.spec.model_name or self.name


def model_name_of(body: Mapping[str, Any]) -> str:
    """The same of a resource as the API server gives it."""
    return str(body["spec"].get("modelName") or body["metadata"]["name"])


def scaled_to_zero(yolo: YoloDeployment) -> YoloDeployment:
    """A resource that is to have no pods, of its versions' own numbers neither."""
    versions = [version if version.replicas is None else version.model_copy(update={"replicas": 0}) for version in yolo.spec.versions]
    return yolo.model_copy(update={"spec": yolo.spec.model_copy(update={"replicas": 0, "versions": versions})})


def parse(body: Mapping[str, Any]) -> YoloDeployment:
    """Read a resource as the API server gives it. Raises InvalidSpec."""
    return identity(body).model_copy(update={"spec": parse_spec(body.get("spec", {}))})


def identity(body: Mapping[str, Any]) -> YoloDeployment:
    """Who a resource is and what its status says, whatever its spec: for reporting that the spec cannot be read."""
    meta = body["metadata"]
    status, unread = read_status(body.get("status", {}))
    return YoloDeployment.model_construct(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        created=meta.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in meta,
        finalizers=tuple(meta.get("finalizers", ())),
        status=status,
        unread=unread,
    )


def parse_spec(spec: Mapping[str, Any]) -> Spec:
    """Read a spec; raises InvalidSpec that names each wrong field. The API server has refused most of this already."""
    return read_spec(Spec, spec)


def read_spec(model: type[Parsed], spec: Mapping[str, Any]) -> Parsed:
    """The same of any of our kinds."""
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        faults = "; ".join(f"spec.{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise InvalidSpec("InvalidSpec", faults[:2000]) from error


def parse_status(status: Mapping[str, Any]) -> Status:
    """Read a status as far as it can be read; what cannot (written by hand, by another release) counts as absent: it is observed anew."""
    return read_status(status)[0]


def read_status(status: Mapping[str, Any]) -> tuple[Status, tuple[str, ...]]:
    """The same, and the paths of what could not be read."""
    found, left_out = mended.read(Status, status)
    if "rollout.phase" in left_out and found.rollout is not None:
        found = found.model_copy(update={"rollout": found.rollout.model_copy(update=UNKNOWN_PHASE)})
    return found, left_out
