"""load: a serving pod's init container. Brings one revision's repository, each file as its manifest has it."""

import hashlib
from pathlib import Path

from yolo_operator.core.errors import DISK_FULL, Unavailable
from yolo_operator.core.triton.manifest import PublishedFile
from yolo_operator.worker import revisions
from yolo_operator.worker.storage import Repository


def run(repository: Repository, revision: str, directory: Path) -> dict[str, object]:
    """Files and bytes that Triton reads: models, their configurations and warmup. What is there already, after a restart, is not brought again.

    Raises the storage's faults, RevisionVanished, StorageInconsistent and DiskFull.
    """
    found = revisions.manifest(repository, revisions.check_name(revision))
    if found is None:
        raise Unavailable("RevisionVanished", f"{repository.uri(revision)} is not published any more: rebuild the version")
    files = {path: file for path, file in found.files.items() if "/" in path}
    size = sum(file.size_bytes for file in files.values())
    try:
        for path, file in sorted(files.items()):
            bring(repository, f"{revision}/{path}", directory / path, file)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise Unavailable("DiskFull", f"the node has no room for the {size} bytes of the repository") from error
        raise
    return {"files": len(files), "bytes": size}


def bring(repository: Repository, key: str, target: Path, file: PublishedFile) -> None:
    """One file, whole and with its digest."""
    if target.exists() and same(target, file):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    repository.download(key, target)
    if not same(target, file):
        target.unlink()
        raise Unavailable("StorageInconsistent", f"{repository.uri(key)} is not what was published: rebuild the version")


def same(path: Path, file: PublishedFile) -> bool:
    """Whether a file has the size and digest that were published."""
    with path.open("rb") as content:
        return path.stat().st_size == file.size_bytes and hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
