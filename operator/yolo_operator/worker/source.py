"""Where weights come from: spec.versions[].source.uri parsed once, so that the rest of fetch cannot meet a bad one."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from yolo_operator.core.errors import InvalidSpec

FIELD = "spec.versions[].source.uri"
KINDS = {".pt": "pt", ".onnx": "onnx", ".yaml": "yaml", ".yml": "yaml"}
ASSET = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}\.pt")
DEFAULT_ASSETS_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0"


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
    """http(s)://…, and ultralytics:// by way of the assets' URL."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSource(Named):
    """pvc://claim/path; the claim is mounted."""

    path: PurePosixPath


WeightsSource = S3Source | HttpSource | ClaimSource


def parse(uri: str, assets_url: str = DEFAULT_ASSETS_URL) -> WeightsSource:
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
        case other:
            raise invalid(f"scheme {other[:20]!r} is none of s3, http, https, pvc, ultralytics")


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
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise invalid("its port is no number") from error
    shown = f"{parts.scheme}://{host}{port}{parts.path}"
    return HttpSource(shown=shown, kind=kind(path), file_name=PurePosixPath(path).name, url=url.split("#", 1)[0])


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


def kind(path: str) -> str:
    """By the name's end. Raises InvalidSpec SourceUriInvalid."""
    found = KINDS.get(PurePosixPath(path).suffix.lower())
    if found is None:
        raise invalid("its name must end in .pt, .onnx, .yaml or .yml")
    return found
