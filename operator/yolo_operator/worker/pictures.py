"""pictures: brings what an analysis shows both versions and what a calibration runs: a revision's golden picture, or the pictures below a prefix.

It has the keys that read them; the container that decodes and shows them has none.
"""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from yolo_operator.core.contract import GOLDEN, MAX_GOLDEN_BYTES
from yolo_operator.core.errors import Unavailable
from yolo_operator.worker import revisions, storage
from yolo_operator.worker.storage import Faults, Repository, StorageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
MAX_BYTES = 20 * 1024 * 1024
MAX_KEYS = 10_000
"""Keys that are looked at: the prefix may name a whole bucket of other things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What the pictures are for: how many at most, and the field that names them."""

    field: str
    endpoint_field: str
    max_pictures: int

    def faults(self) -> Faults:
        """How the storage's faults are told."""
        secret = f"{self.field.removesuffix('pictures')}secretRef"
        return Faults(prefix="Source", uri=self.field, endpoint=self.endpoint_field, secret=secret, missing_bucket="SourceNotFound")


ANALYSIS = Purpose(field="spec.rollout.analysis.pictures", endpoint_field="spec.storage.endpoint", max_pictures=64)
CALIBRATION = Purpose(field="spec.versions[].export.calibration.pictures", endpoint_field="spec.versions[].export.calibration.endpoint", max_pictures=300)


def golden(uri: str, options: StorageOptions, directory: Path) -> int:
    """Bring golden.npz of the revision at `uri`; how many were brought: 1. Raises RevisionMissing, StorageInconsistent, the storage's faults."""
    root, _, name = uri.rstrip("/").rpartition("/")
    repository, revision = Repository(root, options), revisions.check_name(name)
    found = revisions.manifest(repository, revision)
    if found is None:
        raise Unavailable("RevisionMissing", f"{repository.uri(revision)} has no manifest: it is published anew")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / GOLDEN).write_bytes(revisions.file(repository, found, GOLDEN, MAX_GOLDEN_BYTES))
    return 1


def below(uri: str, options: StorageOptions, directory: Path, purpose: Purpose = ANALYSIS) -> int:
    """Bring the first pictures below s3://bucket/prefix by key, as 00.jpg, 01.png, …; how many were brought. Raises the source's faults."""
    bucket, prefix = storage.split_uri(uri, purpose.field)
    digits = len(str(purpose.max_pictures - 1))
    s3 = storage.client(options, anonymous=not storage.has_credentials())
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    with storage.named_faults(purpose.faults(), options, f"reading {uri}"):
        for key in itertools.islice(keys(s3, bucket, f"{prefix}/" if prefix else ""), purpose.max_pictures):
            with s3.get_object(Bucket=bucket, Key=key)["Body"] as body:
                content = body.read(MAX_BYTES)
            name = f"{count:0{digits}}{PurePosixPath(key).suffix.lower()}"
            (directory / name).write_bytes(content)
            log.info("%s is s3://%s/%s", name, bucket, key)
            count += 1
    if not count:
        raise Unavailable(
            "SourceNotFound",
            f"{purpose.field}: no {', '.join(sorted(SUFFIXES))} of at most {MAX_BYTES // 1024**2} MiB below {uri}: put some there, or correct it",
        )
    return count


def keys(s3: "S3Client", bucket: str, prefix: str) -> Iterator[str]:
    """Keys of the pictures below a prefix, in the order S3 lists them: by key."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"MaxItems": MAX_KEYS})
    for page in pages:
        for entry in page.get("Contents", []):
            if PurePosixPath(entry["Key"]).suffix.lower() not in SUFFIXES:
                continue
            if entry["Size"] <= MAX_BYTES:
                yield entry["Key"]
            else:
                log.warning("s3://%s/%s is left out: larger than %d bytes", bucket, entry["Key"], MAX_BYTES)
