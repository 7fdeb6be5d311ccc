"""What was published, and where: the storage of now, and those that spec.storage, or the administrator's default, named before.

Recorded with the address and the names of the Secret and the CA bundle that reached it, so that it can still be removed. Keys are never recorded.
"""

from dataclasses import dataclass

from yolo_operator.core import api, revision
from yolo_operator.core.defaults import Defaults, storage_of
from yolo_operator.core.errors import InvalidSpec

REVISIONS_KEPT = 200
"""Earlier revisions remembered for removal, besides those wanted: a bound for a resource that is edited for ever and never serves."""
STORAGES_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One storage, what is there, oldest first, and what is known of its removal."""

    storage: api.Storage
    revisions: tuple[str, ...] = ()
    failure: api.Failure | None = None
    message: str = ""
    """Why nothing can be removed there at present."""
    present: bool = False
    """It is the one that is published to now."""


def places(yolo: api.YoloDeployment, present: api.Storage | None) -> list[Place]:
    """Every storage with something of this resource, the present one last; a storage that is named again has what it had."""
    recorded = yolo.status
    before = recorded.storage or (unrecorded(yolo, present) if present is not None else None)
    found = [
        Place(storage=storage(each), revisions=tuple(each.revisions), failure=each.prune_failure, message=each.message) for each in recorded.previous_storages
    ]
    if before is not None:
        found.append(Place(storage=storage(before), revisions=tuple(recorded.published), failure=recorded.prune_failure))
    if present is None:
        return found
    same = [each for each in found if key(each.storage) == key(present)]
    there = tuple(dict.fromkeys(entry for each in same for entry in each.revisions))
    failure = next((each.failure for each in reversed(same) if each.failure is not None), None)
    # Of the present one the spec says how it is reached: a Secret that is gone is cured there.
    now = Place(storage=present, revisions=there, failure=failure, present=True)
    return [*(each for each in found if each not in same and each.revisions), now]


def known_places(yolo: api.YoloDeployment, defaults: Defaults) -> list[Place]:
    """The same for a resource that is on its way out: where its storage cannot be told any more, what is recorded is enough."""
    try:
        *previous, now = places(yolo, storage_of(yolo, defaults))
    except InvalidSpec:
        return places(yolo, None)
    # What spec.storage names only since the last pass has nothing yet, and may be a mistake.
    return [*previous, now] if now.revisions or yolo.status.storage is None or key(storage(yolo.status.storage)) == key(now.storage) else previous


def unrecorded(yolo: api.YoloDeployment, present: api.Storage) -> api.StorageAddress:
    """The storage of what a release published that did not record it: as the newest artifact's address says, else the present one."""
    for version in yolo.status.versions:
        uri = version.artifact.uri.rstrip("/") if version.artifact is not None else ""
        tail = f"/{yolo.namespace}/{yolo.name}/{version.built_revision}"
        if uri.endswith(tail):
            return address(present).model_copy(update={"uri": uri.removesuffix(tail)})
    return address(present)


def recorded(found: list[Place]) -> dict[str, object]:
    """The fields of the status that keep this, of places with the present one last."""
    *previous, now = found
    return {
        "storage": address(now.storage),
        "published": list(now.revisions),
        "prune_failure": now.failure,
        "previous_storages": [
            api.PreviousStorage(**address(each.storage).model_dump(), revisions=list(each.revisions), prune_failure=each.failure, message=each.message[:4096])
            for each in previous
            if each.revisions
        ],
    }


def bounded(found: list[Place]) -> tuple[list[Place], list[Place]]:
    """What can be remembered, and the storages that cannot."""
    *previous, now = found
    cut = max(0, len(previous) - STORAGES_KEPT)
    return [*previous[cut:], now], previous[:cut]


def address(of: api.Storage) -> api.StorageAddress:
    """What reaches a storage."""
    fields = of.model_dump(include={"region", "secret_ref", "ca_bundle_ref"})
    return api.StorageAddress.model_validate(fields | {"uri": of.uri.rstrip("/"), "endpoint": of.endpoint})


def storage(recorded: api.StorageAddress) -> api.Storage:
    """A recorded storage as the spec has it."""
    return api.Storage.model_validate(recorded.model_dump(include=set(api.StorageAddress.model_fields)))


def key(of: api.Storage) -> tuple[str, str]:
    """What tells storages apart."""
    return of.uri.rstrip("/"), (of.endpoint or "").rstrip("/")


def root(yolo: api.YoloDeployment, place: Place) -> str:
    """s3://bucket/prefix/<namespace>/<name> in that storage."""
    return revision.root_in(place.storage, yolo)
