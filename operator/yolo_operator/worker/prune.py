"""prune: removes revisions that nothing uses any more, and all of a resource's when it is deleted with deletionPolicy Delete.

Only below the resource's own root, only under names that look like revisions, and only what this cluster published: a manifest
with its clusterName, or no manifest at all (half-published: whoever publishes has it in --keep or starts over).
"""

from collections.abc import Collection, Sequence

from yolo_operator.core.contract import MANIFEST
from yolo_operator.worker import revisions, shared
from yolo_operator.worker.storage import Listed, Repository

SHOWN = 50
"""Revisions named in the result; a termination message is small."""


def run(repository: Repository, cluster_name: str, *, keep: Collection[str] = (), remove_only: Collection[str] | None = None) -> dict[str, object]:
    """Remove all own revisions but those to keep, or only the named ones; what was removed, and how many of others were left alone."""
    removed: list[str] = []
    foreign = 0
    kept: set[str] = set()
    for revision in repository.revisions():
        kept.add(revision)
        unwanted = revision not in keep if remove_only is None else revision in remove_only
        if not unwanted or not revisions.REVISION.fullmatch(revision):
            continue
        objects = repository.list(revision)
        if not objects:  # SeaweedFS goes on listing a prefix for a while after its last object went
            kept.discard(revision)
            continue
        if owned(repository, revision, cluster_name):
            remove(repository, revision, objects)
            removed.append(revision)
            kept.discard(revision)
        else:
            foreign += 1
    shared.forget(repository, lambda revision: revision not in kept)
    return {"removed": removed[:SHOWN], "removedCount": len(removed), "foreign": foreign}


def owned(repository: Repository, revision: str, cluster_name: str) -> bool:
    """Whether this cluster published the revision, or began to."""
    if repository.head(f"{revision}/{MANIFEST}") is None:
        return True
    found = revisions.manifest(repository, revision)
    return found is not None and found.cluster_name == cluster_name


def remove(repository: Repository, revision: str, objects: Sequence[Listed]) -> None:
    """The manifest first: a prune killed in the middle leaves something half-published, never something that looks whole."""
    repository.delete(f"{revision}/{MANIFEST}")
    for listed in objects:
        repository.delete(listed.key)
