"""S3, for check, publish, verify and prune: one bucket and root prefix, bounded in time, faults named by their remedy.

No botocore exception leaves this module. Works with AWS and with what calls itself S3-compatible: path addressing, no
checksums but Content-MD5, one PUT per file (an ETag of several parts is no digest).
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import RetriesExceededError
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker import addresses, trust
from yolo_operator.worker.proxy import DIRECT, Proxy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
else:
    S3Client = Any

CONNECT_TIMEOUT = 5
READ_TIMEOUT = 30
"""Seconds; with ATTEMPTS a storage that accepts and never answers is given up after about a minute and a half."""
ATTEMPTS = 3
PARTS = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=8)
"""Of a download: more than one connection gives."""
DIGEST = "sha256"
"""Key of an object's metadata that holds the digest of its content."""
DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "RequestExpired",
    "403",
    "401",
    "Forbidden",
    "Unauthorized",
}
MISSING = {"NoSuchKey", "404", "NotFound"}
REGION = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
REFUSED = {"InvalidRequest", "InvalidArgument", "InvalidEncryptionAlgorithmError"}
"""Answers to what the bucket's own rules forbid: the same request would be refused again."""
WRITES = {"PutObject", "CopyObject"}
FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
KEY = re.compile(r"[0-9A-Za-z._-]+(/[0-9A-Za-z._-]+)*")
BUCKET = re.compile(r"[0-9a-z][0-9a-z.-]{1,61}[0-9a-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How the faults of one S3 are named: the published storage or a source."""

    prefix: str
    """Of the reason: StorageUnreachable, SourceUnreachable."""
    uri: str
    endpoint: str
    secret: str
    ca_bundle: str = "spec.storage.caBundleRef"
    region: str = "spec.storage.region"
    missing_bucket: str = "BucketNotFound"


STORAGE = Faults(prefix="Storage", uri="spec.storage.uri", endpoint="spec.storage.endpoint", secret="spec.storage.secretRef")  # noqa: S106
READING = dataclasses.replace(STORAGE, secret="spec.storage.readSecretRef (without it spec.storage.secretRef)")  # noqa: S106
"""The published storage, for who only reads there."""
SOURCE = Faults(
    prefix="Source",
    uri="spec.versions[].source.uri",
    endpoint="spec.versions[].source.endpoint (by default spec.storage.endpoint)",
    secret="spec.versions[].source.secretRef",  # noqa: S106
    missing_bucket="SourceNotFound",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOptions:
    """Where S3 is; its credentials come from the environment (boto3's chain)."""

    endpoint: str = ""
    """http(s)://host:port; empty is AWS."""
    region: str = ""
    ca_bundle: str = ""
    """PEM file, trusted besides the system's store."""
    encryption: str = ""
    """AES256 or aws:kms; empty: as the bucket does by itself."""
    kms_key_id: str = ""

    @property
    def address(self) -> str:
        """The server's URL, AWS' own where none is set."""
        return self.endpoint or f"https://s3.{self.region or 'us-east-1'}.amazonaws.com"

    @property
    def written_with(self) -> dict[str, Any]:
        """What each upload and copy says of encryption."""
        said = {"ServerSideEncryption": self.encryption, "SSEKMSKeyId": self.kms_key_id}
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int


def client(options: StorageOptions, *, anonymous: bool = False, attempts: int = ATTEMPTS, proxy: Proxy = DIRECT) -> S3Client:
    """An S3 client bounded in time. Makes no connection yet. Raises InvalidSpec SourceAddressForbidden where a proxy may not be asked for it."""
    through = proxy.url_for(options.address)
    if through:
        addresses.check_behind_proxy(urlsplit(through).hostname or "", addresses.PROXY)
        addresses.check_behind_proxy(urlsplit(options.address).hostname or "", "spec.versions[].source.endpoint")
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": attempts},
        s3={"addressing_style": "path" if options.endpoint else "auto"},
        # boto3 sends CRC checksums unasked since 1.36; many S3-compatible stores refuse them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version=UNSIGNED if anonymous else None,
        proxies={urlsplit(options.address).scheme: proxy.with_login(through)} if through else None,
    )
    made = boto3.session.Session().client(
        "s3",
        endpoint_url=options.endpoint or None,
        region_name=options.region or "us-east-1",
        verify=trust.merged(options.ca_bundle, proxy.ca_bundle if through else "") or None,
        config=config,
    )
    addresses.check_connections(made)
    return made


def has_credentials() -> bool:
    """Whether boto3's chain finds any; a public bucket is read without."""
    return boto3.session.Session().get_credentials() is not None


def split_uri(uri: str, field: str) -> tuple[str, str]:
    """s3://bucket/prefix to its parts, for keys that Triton must be able to read. Raises InvalidSpec StorageUriInvalid."""
    parts = urlsplit(uri)
    bucket, key = parts.netloc, parts.path.strip("/")
    if parts.scheme != "s3" or "@" in bucket or parts.query or parts.fragment:
        raise InvalidSpec("StorageUriInvalid", f"{field}: s3://bucket/prefix is wanted, without credentials, query or fragment")
    if not BUCKET.fullmatch(bucket) or (key and not KEY.fullmatch(key)) or {".", ".."} & set(key.split("/")):
        raise InvalidSpec(
            "StorageUriInvalid",
            f"{field}: Triton reads buckets of 0-9 a-z . - and key segments of 0-9 A-Z a-z . _ - only; it would ask AWS for anything else",
        )
    return bucket, key


@contextmanager
def named_faults(faults: Faults, options: StorageOptions, subject: str) -> Iterator[None]:
    """Turn botocore's exceptions into ours. `subject` is what was asked, without secrets."""
    try:
        yield
    except ClientError as error:
        raise refused(error, faults, subject) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Unavailable(
            f"{faults.prefix}AccessDenied",
            f"{subject}: no credentials; set {faults.secret} or give the ServiceAccount an identity",
        ) from error
    except SSLError as error:
        raise Unavailable(
            f"{faults.prefix}Unreachable",
            f"{subject}: TLS with {where(options)} failed ({trust.refusal(error)}): check {faults.endpoint} and {faults.ca_bundle}",
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise Unavailable(
            f"{faults.prefix}Unreachable",
            f"{subject}: no connection to {where(options)}: check {faults.endpoint} and that it runs",
        ) from error
    except ReadTimeoutError as error:
        raise Unavailable(
            f"{faults.prefix}Unreachable",
            f"{subject}: {where(options)} accepts connections but did not answer within {READ_TIMEOUT} s",
        ) from error
    except (HTTPClientError, BotoCoreError) as error:
        if isinstance(error.kwargs.get("error"), InvalidSpec):
            raise InvalidSpec(
                f"{faults.prefix}AddressForbidden",
                f"{subject}: {where(options)} is a link-local or metadata address, which no S3 is at: correct {faults.endpoint}",
            ) from error
        raise Unavailable(f"{faults.prefix}Unreachable", f"{subject}: {type(error).__name__} from {where(options)}: check {faults.endpoint}") from error


def where(options: StorageOptions) -> str:
    """The endpoint without anything secret in it."""
    if not options.endpoint:
        return "AWS S3"
    parts = urlsplit(options.endpoint)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def refused(error: ClientError, faults: Faults, subject: str) -> OperatorError:
    """An answer of S3 as one of our errors."""
    response = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return Unavailable(faults.missing_bucket, f"{subject}: there is no such bucket: check {faults.uri}, or make the bucket")
    said = str(response.get("Error", {}).get("Message", ""))[:300]
    if code in DENIED or status in (401, 403):
        policy = "; or does the bucket's policy demand spec.storage.serverSideEncryption?" if error.operation_name in WRITES else ""
        return Unavailable(f"{faults.prefix}AccessDenied", f"{subject}: refused with {code}: check the keys of {faults.secret} and their rights{policy}")
    if code in REFUSED and error.operation_name in WRITES:
        return InvalidSpec(
            "StorageRequestRefused",
            f"{subject}: refused with {code}: {said}: check the bucket's rules (Object Lock, encryption) and spec.storage.serverSideEncryption",
        )
    if code.startswith("KMS."):
        return Unavailable(f"{faults.prefix}AccessDenied", f"{subject}: {code}: {said}: check spec.storage.serverSideEncryption.kmsKeyId and the key's policy")
    if code in REGION:
        return Unavailable(f"{faults.prefix}Unreachable", f"{subject}: the bucket is in another region ({code}): set {faults.region}")
    if code in FULL or status == 507:
        return Unavailable(f"{faults.prefix}Full", f"{subject}: the storage is full ({code}): make room, it is tried again")
    if code in MISSING or status == 404:
        return Unavailable(f"{faults.prefix}NotFound", f"{subject}: not found")
    return Unavailable(f"{faults.prefix}Unreachable", f"{subject}: answered {code or status}: it is tried again")


def content_md5(content: bytes | BufferedReader) -> str:
    """Content-MD5 of what is sent; an open file is at its beginning afterwards.

    Buckets with Object Lock want it, or a checksum that other stores refuse; every S3 compares it with what arrives.
    """
    found = hashlib.md5(usedforsecurity=False)
    if isinstance(content, bytes):
        found.update(content)
    else:
        content.seek(0)
        found = hashlib.file_digest(content, lambda: found)
        content.seek(0)
    return base64.b64encode(found.digest()).decode()


class Repository:
    """Objects below one root prefix of one bucket. All keys are relative to the root; nothing outside can be named."""

    def __init__(self, root: str, options: StorageOptions, *, s3: S3Client | None = None, faults: Faults = STORAGE) -> None:
        self.root = root.rstrip("/")
        self._bucket, self._prefix = split_uri(self.root, "spec.storage.uri")
        if not self._prefix:
            raise InvalidSpec("StorageUriInvalid", "spec.storage.uri: a root needs a prefix, or pruning would see the whole bucket")
        self._options, self._faults = options, faults
        self._s3 = s3 or client(options)

    def uri(self, key: str) -> str:
        """s3:// address of a key."""
        return f"{self.root}/{key}"

    @property
    def name(self) -> str:
        """The resource's."""
        return self.root.rpartition("/")[2]

    def namespace(self) -> "Repository":
        """What all resources of the namespace have published, below their names."""
        return Repository(self.root.rpartition("/")[0], self._options, s3=self._s3)

    def sibling(self, name: str) -> "Repository":
        """Another resource's of the namespace."""
        return Repository(f"{self.namespace().root}/{name}", self._options, s3=self._s3)

    def key(self, key: str) -> str:
        """The key in the bucket. Raises InvalidSpec StorageUriInvalid."""
        if not KEY.fullmatch(key) or {".", ".."} & set(key.split("/")):
            raise InvalidSpec("StorageUriInvalid", f"key {key[:120]!r} cannot be read by Triton")
        return f"{self._prefix}/{key}"

    def _named(self, subject: str) -> Any:
        return named_faults(self._faults, self._options, subject)

    def read(self, key: str, limit: int) -> bytes | None:
        """An object's content; None where there is none. Raises InvalidSpec StorageObjectTooLarge above `limit` bytes."""
        try:
            with self._named(f"reading {self.uri(key)}"):
                answer = self._s3.get_object(Bucket=self._bucket, Key=self.key(key))
                with answer["Body"] as body:
                    content: bytes = body.read(limit + 1)
        except Unavailable as error:
            if error.reason == "StorageNotFound":
                return None
            raise
        if len(content) > limit:
            raise InvalidSpec("StorageObjectTooLarge", f"{self.uri(key)} is larger than the {limit} bytes it may have")
        return content

    def download(self, key: str, target: Path) -> None:
        """An object into a file, several parts of it at once. Raises Unavailable StorageNotFound."""
        with self._named(f"reading {self.uri(key)}"):
            try:
                self._s3.download_file(self._bucket, self.key(key), str(target), Config=PARTS)
            except RetriesExceededError as error:
                raise Unavailable("StorageUnreachable", f"reading {self.uri(key)}: the connection broke again and again: it is tried again") from error

    def head(self, key: str) -> tuple[int, str] | None:
        """Size and recorded sha256 of an object ("" where none is recorded); None where there is no object."""
        try:
            with self._named(f"looking at {self.uri(key)}"):
                answer = self._s3.head_object(Bucket=self._bucket, Key=self.key(key))
        except Unavailable as error:
            if error.reason == "StorageNotFound":
                return None
            raise
        return int(answer["ContentLength"]), answer.get("Metadata", {}).get(DIGEST, "")

    def write(self, key: str, content: bytes | BufferedReader, sha256: str) -> None:
        """Put one object in one request, its digest in the metadata. An open file is sent from its beginning, a piece at a time."""
        md5 = content_md5(content)
        with self._named(f"writing {self.uri(key)}"):
            self._s3.put_object(
                Bucket=self._bucket,
                Key=self.key(key),
                Body=content,
                Metadata={DIGEST: sha256},
                ContentType="application/octet-stream",
                ContentMD5=md5,
                **self._options.written_with,
            )

    def mark(self, key: str) -> None:
        """Put an empty object."""
        self.write(key, b"", hashlib.sha256(b"").hexdigest())

    def copy(self, source: str, target: str, *, of: "Repository | None" = None) -> None:
        """Copy within the bucket, on the server; metadata goes along. `of`: whose the source is, where it is not this one's."""
        whose = of or self
        with self._named(f"copying {whose.uri(source)}"):
            self._s3.copy_object(
                Bucket=self._bucket,
                Key=self.key(target),
                CopySource={"Bucket": self._bucket, "Key": whose.key(source)},
                **self._options.written_with,
            )

    def delete(self, key: str) -> None:
        """Remove one object; one that is gone already is no fault. One request each: bulk deletes need checksums some stores refuse."""
        with self._named(f"removing {self.uri(key)}"):
            self._s3.delete_object(Bucket=self._bucket, Key=self.key(key))

    def revisions(self) -> list[str]:
        """First segments of all keys below the root, in order."""
        found: list[str] = []
        with self._named(f"listing {self.root}/"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/", Delimiter="/")
            for page in pages:
                found += [entry["Prefix"].removeprefix(f"{self._prefix}/").rstrip("/") for entry in page.get("CommonPrefixes", [])]
        return sorted(found)

    def list(self, directory: str) -> list[Listed]:
        """All objects of one directory, a revision mostly; keys relative to the root."""
        found: list[Listed] = []
        with self._named(f"listing {self.uri(directory)}/"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self.key(directory)}/")
            for page in pages:
                found += [Listed(entry["Key"].removeprefix(f"{self._prefix}/"), entry["Size"]) for entry in page.get("Contents", [])]
        return found
