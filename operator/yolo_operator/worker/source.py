"""Where weights come from: spec.versions[].source.uri parsed once, so that the rest of fetch cannot meet a bad one."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, quote, unquote, urlsplit

from yolo_operator.core.addresses import url_host
from yolo_operator.core.contract import ASSETS_URL, HUB_URL
from yolo_operator.core.errors import InvalidSpec

FIELD = "spec.versions[].source.uri"
KINDS = {".pt": "pt", ".onnx": "onnx", ".yaml": "yaml", ".yml": "yaml"}
ASSET = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}\.pt")
HUB = re.compile(
    r"(?P<repository>[0-9A-Za-z][0-9A-Za-z._-]{0,95}/[0-9A-Za-z][0-9A-Za-z._-]{0,95})(?:@(?P<before>[0-9A-Za-z._-]+))?"
    r"/(?P<path>[^@]+)(?:@(?P<after>[0-9A-Za-z._/-]+))?"
)
PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
OCI = re.compile(
    rf"(?P<registry>(?:[0-9A-Za-z][0-9A-Za-z.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?)/(?P<repository>{PART}(?:/{PART})*)@sha256:(?P<digest>[0-9a-f]{{64}})/(?P<file>[^@]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What all sources have."""

    shown: str
    """The URI for logs and manifest: without query, which may hold a signature."""
    kind: str
    """pt, onnx or yaml."""
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Source(Named):
    """s3://bucket/key."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSource(Named):
    """http(s)://…; ultralytics:// and hf:// by way of the assets' and the Hub's URL."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSource(Named):
    """pvc://claim/path; the claim is mounted."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class OciSource(Named):
    """oci://registry/repository@sha256:…/file: a file of an artifact."""

    registry: str
    repository: str
    digest: str
    """sha256 of the manifest, 64 hex."""
    file: str
    """The layer's title."""


WeightsSource = S3Source | HttpSource | ClaimSource | OciSource


def parse(uri: str, assets_url: str = ASSETS_URL, hub_url: str = HUB_URL) -> WeightsSource:
    """The source a URI names. Raises InvalidSpec SourceUriInvalid; the message never repeats a URI with credentials."""
    try:
        parts = urlsplit(uri)
        userinfo = parts.username or parts.password
    except ValueError as error:
        raise invalid("it is no URI") from error
    if userinfo is not None:
        raise invalid("it holds credentials; put them into the Secret of source.secretRef")
    if any(ord(character) < 33 for character in uri) or "\\" in uri:
        raise invalid("it holds blanks, control characters or backslashes")
    match parts.scheme:
        case "s3":
            return s3(parts)
        case "http" | "https":
            return http(parts, uri)
        case "pvc":
            return claim(parts)
        case "ultralytics":
            return asset(parts, assets_url)
        case "hf":
            return hub(parts, hub_url)
        case "oci":
            return artifact(parts)
        case other:
            raise invalid(f"scheme {other[:20]!r} is none of s3, http, https, pvc, ultralytics, hf, oci")


def invalid(why: str) -> InvalidSpec:
    """The error for a URI that cannot be fetched as it is."""
    return InvalidSpec("SourceUriInvalid", f"{FIELD}: {why}")


def s3(parts: SplitResult) -> S3Source:
    """A key is taken as it is written, percent signs and all; S3 knows no escapes."""
    key = parts.path.lstrip("/")
    if not parts.netloc or not key or parts.query or parts.fragment:
        raise invalid("s3://bucket/key is wanted, without query or fragment")
    return S3Source(shown=f"s3://{parts.netloc}/{key}", kind=kind(key), file_name=PurePosixPath(key).name, bucket=parts.netloc, key=key)


def http(parts: SplitResult, url: str) -> HttpSource:
    """A query stays in the request (it may sign the URL) and out of everything that is shown."""
    path = unquote(parts.path)
    if not parts.hostname:
        raise invalid("it has no host")
    try:
        shown = shown_of(parts)
    except ValueError as error:
        raise invalid("its port is no number") from error
    return HttpSource(shown=shown, kind=kind(path), file_name=PurePosixPath(path).name, url=url.split("#", 1)[0])


def shown_of(parts: SplitResult) -> str:
    """An http(s) URL without credentials, query and fragment. Raises ValueError for a port that is no number."""
    name = parts.hostname or ""
    host = url_host(name)
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def claim(parts: SplitResult) -> ClaimSource:
    """A path within the claim, never out of it."""
    path = PurePosixPath(unquote(parts.path).lstrip("/"))
    if not parts.netloc or not path.parts or ".." in path.parts or parts.query or parts.fragment:
        raise invalid("pvc://claim/path is wanted, without .., query or fragment")
    return ClaimSource(shown=f"pvc://{parts.netloc}/{path}", kind=kind(path.name), file_name=path.name, path=path)


def asset(parts: SplitResult, assets_url: str) -> HttpSource:
    """One of Ultralytics' own weights, by the name of the release's file."""
    name = parts.netloc + parts.path
    if not ASSET.fullmatch(name) or parts.query or parts.fragment:
        raise invalid("ultralytics://NAME.pt is wanted, such as ultralytics://yolo11n.pt")
    mirror = http(urlsplit(f"{assets_url.rstrip('/')}/{name}"), f"{assets_url.rstrip('/')}/{name}")
    return HttpSource(shown=f"ultralytics://{name}", kind="pt", file_name=name, url=mirror.url)


def hub(parts: SplitResult, hub_url: str) -> HttpSource:
    """A file of the Hugging Face Hub, or of a mirror: hf://org/repository/path, of the branch main where no revision is named."""
    found = HUB.fullmatch(parts.netloc + parts.path)
    if not found or parts.query or parts.fragment or (found["before"] and found["after"]) or {".", "..", ""} & set(found["path"].split("/")):
        raise invalid("hf://ORG/REPOSITORY/PATH is wanted, with @REVISION behind the repository or at the end")
    path, revision = found["path"], found["before"] or found["after"] or "main"
    url = f"{hub_url.rstrip('/')}/{found['repository']}/resolve/{quote(revision, safe='')}/{quote(path)}"
    shown = f"hf://{found['repository']}/{path}@{revision}"
    return HttpSource(shown=shown, kind=kind(path), file_name=PurePosixPath(path).name, url=url)


def artifact(parts: SplitResult) -> OciSource:
    """A file of an OCI artifact, by the digest of its manifest: a tag can be moved."""
    found = OCI.fullmatch(parts.netloc + parts.path)
    if not found or parts.query or parts.fragment or {".", "..", ""} & set(found["file"].split("/")):
        raise invalid("oci://REGISTRY/REPOSITORY@sha256:DIGEST/FILE is wanted, with the digest of the artifact's manifest; a tag can be moved")
    name = found["file"]
    return OciSource(shown=f"oci://{parts.netloc}{parts.path}", kind=kind(name), file_name=PurePosixPath(name).name, **found.groupdict())


def kind(path: str) -> str:
    """By the name's end. Raises InvalidSpec SourceUriInvalid."""
    found = KINDS.get(PurePosixPath(path).suffix.lower())
    if found is None:
        raise invalid("its name must end in .pt, .onnx, .yaml or .yml")
    return found
