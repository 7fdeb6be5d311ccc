"""check: the build Pod's first container. Is the revision published, can another one's ONNX be taken over, does the storage work?

Taken over is the ONNX of a revision of this resource that was made for the same fields, or of any resource of the namespace that was
made in the same way of the same weights: the weights are known by their digest, which spec.versions[].source.sha256 says or fetch finds.
"""

from dataclasses import dataclass
from pathlib import Path

from yolo_operator.core.contract import Artifact, Verdict
from yolo_operator.core.errors import OperatorError
from yolo_operator.worker import revisions, shared, verdict
from yolo_operator.worker.storage import Repository

PROBE = "writable"
"""Written to and removed from a revision that is not published yet, so that no export is done for a storage that refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What check is asked."""

    revision: str
    export_key: str
    cluster_name: str
    directory: Path
    conversion_key: str = ""
    """Hash of how weights become ONNX; empty: what it makes is shared with nobody."""
    source_sha256: str = ""
    """Of the weights, where the spec says it."""


def run(repository: Repository, options: CheckOptions) -> Artifact | None:
    """Leave the verdict; the published artifact where there is one. Raises the storage's faults and StorageConflict."""
    revision = revisions.check_name(options.revision)
    found = revisions.manifest(repository, revision)
    if found is not None:
        revisions.check_owner(found, options.cluster_name, repository.root)
        if revisions.whole(repository, found):
            verdict.write(options.directory, Verdict(state="published"))
            return found.artifact
    prove_writable(repository, revision)
    reuse = reusable(repository, options) or offered(repository, options)
    verdict.write(options.directory, Verdict(state="reusable", reuse=reuse) if reuse else Verdict(state="missing"))
    return None


def prove_writable(repository: Repository, revision: str) -> None:
    """Write a small object where the revision will be. What cannot be removed again does no harm: Triton reads directories only."""
    key = f"{revision}/{PROBE}"
    repository.mark(key)
    try:
        repository.delete(key)
    except OperatorError as error:
        if error.reason != "StorageAccessDenied":
            raise


def reusable(repository: Repository, options: CheckOptions) -> str:
    """A whole revision of this resource with the same ONNX, "" where there is none."""
    for revision in repository.revisions():
        if revision == options.revision or not revisions.REVISION.fullmatch(revision):
            continue
        found = revisions.manifest(repository, revision)
        if found is None or found.export_key != options.export_key or found.cluster_name != options.cluster_name:
            continue
        if revisions.whole(repository, found):
            return revision
    return ""


def offered(repository: Repository, options: CheckOptions) -> str:
    """NAME/REVISION of a whole revision that was made of weights with the digest that is asked for; "" where there is none, or fetch has to find the digest."""
    if not options.conversion_key:
        return ""
    found = shared.published(repository, shared.made(options.conversion_key, options.cluster_name))
    which = found.pop(options.source_sha256, "")
    if which and shared.manifest(repository, which, options.source_sha256, options.cluster_name) is not None:
        return which
    shared.offer(options.directory, found)
    return ""
