"""fetch: the build Pod's second container. Brings the weights, checked, to the directory that the exporter reads."""

import hashlib
import shutil
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from yolo_operator.core.contract import ASSETS_URL, HUB_URL, SOURCE_FILE, Source
from yolo_operator.core.errors import DISK_FULL, InvalidSpec, Unavailable
from yolo_operator.worker import shared, verdict
from yolo_operator.worker.credentials import Credentials, login, url_for
from yolo_operator.worker.download import Download, Limits, disk_full
from yolo_operator.worker.oci import OciRemote
from yolo_operator.worker.proxy import DIRECT, Proxy
from yolo_operator.worker.remote import HttpRemote, Remote, S3Remote, Web
from yolo_operator.worker.source import ClaimSource, HttpSource, OciSource, S3Source, WeightsSource, parse
from yolo_operator.worker.storage import StorageOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """What to fetch, from where, how much and how long."""

    uri: str
    check_directory: Path
    source_directory: Path
    sha256: str = ""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """Of an s3:// source; the CA bundle counts for https too."""
    max_bytes: int = 4 * 1024**3
    timeout: float = 1500
    """Seconds in all, retries included."""
    claim_directory: Path = Path("/claim")
    assets_url: str = ASSETS_URL
    hub_url: str = HUB_URL
    credentials: Credentials = field(default_factory=Credentials)
    """Of an https://, hf:// or oci:// source."""
    proxy: Proxy = DIRECT


def run(options: FetchOptions) -> Source | None:
    """Fetch, unless check found that there is nothing to do. Raises InvalidSpec and Unavailable."""
    if verdict.read(options.check_directory).state != "missing":
        return None
    source = parse(options.uri, options.assets_url, options.hub_url)
    directory = options.source_directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        clean(directory, source)
        digest, size = bring(source, directory / f"weights.{source.kind}", options)
        reuse = shared.offered(options.check_directory, digest)
        fetched = Source(uri=source.shown, sha256=digest, size_bytes=size, kind=source.kind, file_name=source.file_name[-255:], reuse=reuse)
        (directory / SOURCE_FILE).write_text(fetched.model_dump_json(by_alias=True), encoding="utf-8")
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full() from error
        raise
    return fetched


def clean(directory: Path, source: WeightsSource) -> None:
    """Remove what an earlier run finished; a part of this run's file stays, it is resumed."""
    (directory / SOURCE_FILE).unlink(missing_ok=True)
    for path in directory.glob("weights.*"):
        if path.name not in (f"weights.{source.kind}.part", f"weights.{source.kind}.part.json"):
            path.unlink()


def bring(source: WeightsSource, target: Path, options: FetchOptions) -> tuple[str, int]:
    """The file at `target`; its digest and size."""
    given = options.credentials
    match source:
        case ClaimSource():
            return copy(source, target, options)
        case S3Source():
            check_endpoint(options.storage.endpoint)
            remote: Remote = S3Remote(source, options.storage, options.proxy)
        case HttpSource():
            remote = HttpRemote(web(source, options), url_for(source, given), given)
        case OciSource():
            remote = OciRemote(source, web(source, options), login(given, source.registry))
    limits = Limits(max_bytes=options.max_bytes, deadline=time.monotonic() + options.timeout)
    return Download(remote, target, limits).run(options.sha256)


def web(source: HttpSource | OciSource, options: FetchOptions) -> Web:
    """How a source is reached over http(s)."""
    return Web(source.shown, options.storage.ca_bundle, options.proxy)


def check_endpoint(endpoint: str) -> None:
    """An S3 endpoint is the tenant's as a URL is; where it leads the client checks. Raises InvalidSpec EndpointInvalid."""
    if not endpoint:
        return
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise InvalidSpec("EndpointInvalid", "spec.versions[].source.endpoint: http(s)://host:port is wanted, without credentials")


def copy(source: ClaimSource, target: Path, options: FetchOptions) -> tuple[str, int]:
    """A regular file of the mounted claim, links followed only within it. Raises SourceNotFound, SourceUriInvalid."""
    claim = options.claim_directory.resolve()
    path = (claim / source.path).resolve()
    if not path.is_relative_to(claim):
        raise InvalidSpec("SourceUriInvalid", f"{source.shown} leads out of the claim")
    try:
        state = path.stat()
    except PermissionError as error:
        raise Unavailable("SourceAccessDenied", f"{source.shown}: not readable for the Job's user: check the file's mode or fsGroup") from error
    except OSError as error:
        raise Unavailable("SourceNotFound", f"{source.shown} is not there: check spec.versions[].source.uri") from error
    if not stat.S_ISREG(state.st_mode):
        raise InvalidSpec("SourceUriInvalid", f"{source.shown} is no regular file")
    if state.st_size > options.max_bytes:
        raise InvalidSpec("WeightsTooLarge", f"{source.shown} has {state.st_size} bytes, more than the {options.max_bytes} that are allowed")
    try:
        shutil.copyfile(path, target)
    except PermissionError as error:
        raise Unavailable("SourceAccessDenied", f"{source.shown}: not readable for the Job's user: check the file's mode or fsGroup") from error
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if options.sha256 and digest != options.sha256:
        target.unlink()
        raise InvalidSpec("ChecksumMismatch", f"{source.shown} has sha256 {digest}, spec.versions[].source.sha256 says {options.sha256}")
    return digest, target.stat().st_size
