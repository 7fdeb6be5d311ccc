"""ONNX that the resources of a namespace share: what was made of the same weights in the same way is made once.

Of each revision an empty object says what it was made of, beside the resources:
<storage>/<namespace>/.onnx/<how it was made, and by which cluster>/<sha256 of the weights>/<name>/<revision>. It says no more than that somebody published it;
whether it is still there, and whole, the revision's own manifest says. Keys that may not read or write there share nothing, and lose nothing else.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

from yolo_operator import __version__
from yolo_operator.core.contract import SHARED_FILE
from yolo_operator.core.errors import OperatorError, Unavailable
from yolo_operator.core.triton.manifest import Manifest
from yolo_operator.worker import revisions
from yolo_operator.worker.storage import Repository

log = logging.getLogger(__name__)

DIRECTORY = ".onnx"
"""No resource's name: those begin with a letter or a digit."""
ENTRY = re.compile(rf"{re.escape(DIRECTORY)}/[0-9a-f]{{16}}/[0-9a-f]{{64}}/[^/]+/[0-9a-f]{{10}}")
MAX_BYTES = 16 * 1024 * 1024


def made(conversion_key: str, cluster_name: str) -> str:
    """Directory of what was made in one way by one cluster: another release of the operator may make it otherwise."""
    return f"{DIRECTORY}/{hashlib.sha256(f'{conversion_key} {__version__} {cluster_name}'.encode()).hexdigest()[:16]}"


def published(repository: Repository, directory: str) -> dict[str, str]:
    """What the namespace has published that was made so: NAME/REVISION by the sha256 of the weights."""
    paths = (path.split("/") for path in listed(repository.namespace(), directory))
    return {sha256: f"{name}/{revision}" for _, _, sha256, name, revision in paths}


def record(repository: Repository, directory: str, sha256: str, revision: str) -> None:
    """Say that a revision of this resource was made so of these weights. What is not said is not shared, and is published all the same."""
    key = f"{directory}/{sha256}/{repository.name}/{revision}"
    try:
        repository.namespace().mark(key)
    except OperatorError as error:
        log.warning("not shared with the namespace: %s", error.message)


def forget(repository: Repository, gone: Callable[[str], bool]) -> None:
    """Say no more that revisions of this resource are there which are gone."""
    namespace = repository.namespace()
    for key in listed(namespace, DIRECTORY):
        *_, name, revision = key.split("/")
        if name == repository.name and gone(revision):
            namespace.delete(key)


def listed(namespace: Repository, directory: str) -> list[str]:
    """Keys below a directory; none where they may not be seen."""
    try:
        return [each.key for each in namespace.list(directory) if ENTRY.fullmatch(each.key)]
    except Unavailable as error:
        if error.reason != "StorageAccessDenied":
            raise
        return []


def manifest(repository: Repository, which: str, sha256: str, cluster_name: str) -> Manifest | None:
    """The manifest of NAME/REVISION, if it is whole and what was recorded of it; else that is recorded no more."""
    name, _, revision = which.rpartition("/")
    owner = repository.sibling(name)
    found = revisions.manifest(owner, revisions.check_name(revision))
    if found is not None and found.cluster_name == cluster_name and found.model.source_sha256 == sha256 and revisions.whole(owner, found):
        return found
    forget(owner, lambda each: each == revision)
    return None


def offer(directory: Path, found: dict[str, str]) -> None:
    """Leave for fetch what weights it need not bring to export: the digest is known when they are here."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SHARED_FILE).write_text(json.dumps(found), encoding="utf-8")


def offered(directory: Path, sha256: str) -> str:
    """NAME/REVISION that check found for weights of this digest, "" for none."""
    try:
        with (directory / SHARED_FILE).open("rb") as file:
            found = json.loads(file.read(MAX_BYTES))
    except FileNotFoundError:
        return ""
    which: str = found.get(sha256, "")
    return which
