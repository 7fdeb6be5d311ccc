"""Published revisions as check, publish, verify, pictures and prune see them: the manifest, and whether its files are all there."""

import hashlib
import json
import re

from pydantic import ValidationError

from yolo_operator.core.contract import MANIFEST
from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.core.triton.manifest import Manifest
from yolo_operator.worker.storage import Repository

REVISION = re.compile(r"[0-9a-f]{10}")
MAX_MANIFEST_BYTES = 16 * 1024 * 1024


def check_name(revision: str) -> str:
    """The revision, if it looks like one. Raises InvalidSpec InvalidRevision."""
    if not REVISION.fullmatch(revision):
        raise InvalidSpec("InvalidRevision", f"{revision[:40]!r} is no revision: ten hex digits are")
    return revision


def manifest(repository: Repository, revision: str) -> Manifest | None:
    """The revision's manifest; None where it has none or an unreadable one (then it counts as not published)."""
    content = repository.read(f"{revision}/{MANIFEST}", MAX_MANIFEST_BYTES)
    if content is None:
        return None
    try:
        found = Manifest.model_validate(json.loads(content))
    except (ValueError, ValidationError):
        return None
    return found if found.revision == revision else None


def whole(repository: Repository, found: Manifest) -> bool:
    """Whether every file of the manifest is there, with its size and digest."""
    return bool(found.files) and all(
        repository.head(f"{found.revision}/{path}") == (file.size_bytes, file.sha256) for path, file in sorted(found.files.items())
    )


def file(repository: Repository, found: Manifest, path: str, limit: int) -> bytes:
    """One file with the digest the manifest has, of at most `limit` bytes. Raises Unavailable StorageInconsistent."""
    content = repository.read(f"{found.revision}/{path}", limit)
    if content is None or path not in found.files or hashlib.sha256(content).hexdigest() != found.files[path].sha256:
        raise Unavailable("StorageInconsistent", f"{path} of {repository.uri(found.revision)} is not what was published: rebuild the version")
    return content


def check_owner(found: Manifest, cluster_name: str, root: str) -> None:
    """Refuse to share a prefix with another cluster: each would prune the other's. Raises InvalidSpec StorageConflict."""
    if found.cluster_name != cluster_name:
        raise InvalidSpec(
            "StorageConflict",
            f"{root} is in use by cluster {found.cluster_name[:63]!r}, this one is {cluster_name!r}: give spec.storage.uri another prefix, "
            "or each cluster its own clusterName in the chart's values",
        )
