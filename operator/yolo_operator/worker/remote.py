"""Opens weights over HTTP or S3 at an offset: one attempt, errors named, nothing kept. worker/download.py resumes and retries."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import urllib3
from botocore.exceptions import ClientError, ProxyConnectionError
from urllib3.exceptions import HTTPError, NameResolutionError, ProxyError, SSLError

from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.worker import addresses, storage, trust
from yolo_operator.worker.credentials import Credentials
from yolo_operator.worker.proxy import Proxy
from yolo_operator.worker.source import S3Source, invalid

CHUNK = 1024 * 1024
CONNECT_TIMEOUT = 5
READ_TIMEOUT = 30
MAX_REDIRECTS = 5
REFUSED_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
"""What http.client says of a proxy's answer to CONNECT."""
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses that may be gone a moment later."""


class TryAgain(Exception):
    """One attempt failed in a way that the next may not; the reason and message are for the last one."""

    def __init__(self, message: str, reason: str = "SourceUnreachable") -> None:
        super().__init__(message)
        self.reason = reason


class Changed(Exception):
    """The part that is there already is of another content: start over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An answer whose body begins at the offset asked for, or at 0 where the server does not resume."""

    offset: int
    total: int | None
    """Bytes of the whole file, where the server says."""
    validator: str
    """A strong ETag; "" where a later attempt could not tell whether the content is the same."""
    chunks: Iterator[bytes]


class Remote(Protocol):
    """A file somewhere else."""

    shown: str
    sha256: str
    """Its digest, where what it is opened by says so; "" otherwise. Known once it has been opened."""

    def open(self, offset: int, validator: str) -> Opened:
        """The rest from `offset`, of the same content as `validator`. Raises TryAgain, Changed, OperatorError."""
        ...


class Web:
    """http(s) for one source: checked addresses, the proxy where there is one, redirects followed by hand and checked as the first address was.

    `shown`: how the source is named in errors.
    """

    def __init__(self, shown: str, ca_bundle: str, proxy: Proxy) -> None:
        self.shown = shown
        self._proxy = proxy
        self._direct = addresses.pool_manager(ca_bundle)
        self._proxied = {url: addresses.proxy_manager(url, proxy, ca_bundle) for url in {proxy.http, proxy.https} - {""}}

    def get(self, url: str, headers: Mapping[str, str], authorization: str = "") -> urllib3.BaseHTTPResponse:
        """An answer whose body is still to be read; `authorization` goes to the host of `url` alone. Raises TryAgain, OperatorError."""
        try:
            # identity: a compressed transfer has another length, and no offsets.
            return self._follow(url, {"Accept-Encoding": "identity", "User-Agent": "yolo-operator", **headers}, authorization)
        except ProxyError as error:
            raise proxy_fault(self.shown, error) from error
        except SSLError as error:
            raise Unavailable(
                "SourceUnreachable",
                f"{self.shown}: TLS failed: {trust.refusal(error)}; for a private CA set spec.storage.caBundleRef, "
                "for a proxy that looks into TLS spec.build.proxy.caBundleRef",
            ) from error
        except NameResolutionError as error:
            raise TryAgain(f"{self.shown}: its host name is not known") from error
        except HTTPError as error:
            raise TryAgain(f"{self.shown}: {type(error).__name__}: it does not answer") from error

    def _follow(self, url: str, headers: Mapping[str, str], authorization: str) -> urllib3.BaseHTTPResponse:
        first = self._direct.connection_from_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            own = {"Authorization": authorization} if authorization and first.is_same_host(url) else {}
            timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
            answer = self._manager(url).request("GET", url, headers={**headers, **own}, preload_content=False, redirect=False, timeout=timeout)
            target = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer
            answer.release_conn()
            answer.close()
            url = self._checked(url, urljoin(url, target))
        raise invalid(f"more than {MAX_REDIRECTS} redirects")

    def _manager(self, url: str) -> urllib3.PoolManager:
        """How an address is reached. Raises InvalidSpec SourceAddressForbidden."""
        through = self._proxy.url_for(url)
        if not through:
            return self._direct
        addresses.check_behind_proxy(urlsplit(url).hostname or "")
        return self._proxied[through]

    def _checked(self, url: str, target: str) -> str:
        """Where a redirect leads, if it may. Its text is not shown: it may be signed."""
        before, after = urlsplit(url), urlsplit(target)
        if after.scheme not in ("http", "https") or (before.scheme == "https" and after.scheme == "http"):
            raise InvalidSpec("SourceRedirectRefused", f"{self.shown}: it redirects from {before.scheme} to {after.scheme[:20]!r}")
        if after.username or after.password or not after.hostname:
            raise InvalidSpec("SourceRedirectRefused", f"{self.shown}: it redirects to an address with credentials or without a host")
        return target


class HttpRemote:
    """A file behind http(s); see `Web`."""

    sha256 = ""

    def __init__(self, web: Web, url: str, given: Credentials) -> None:
        self.shown = web.shown
        self._web, self._url, self._given = web, url, given

    def open(self, offset: int, validator: str) -> Opened:
        """See Remote."""
        resumed = {"Range": f"bytes={offset}-", "If-Range": validator} if offset else {}
        return self._opened(self._web.get(self._url, resumed, self._given.authorization), offset, validator)

    def _opened(self, answer: urllib3.BaseHTTPResponse, offset: int, validator: str) -> Opened:
        check_status(self.shown, answer, self._given)
        tag = answer.headers.get("ETag", "")
        strong = tag if tag.startswith('"') else ""
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        if answer.status == 206:
            begin, whole = content_range(answer.headers.get("Content-Range", ""))
            if begin != offset or strong != validator:
                answer.close()
                raise Changed
            return Opened(offset=offset, total=whole, validator=strong, chunks=self._chunks(answer))
        return Opened(offset=0, total=total, validator=strong, chunks=self._chunks(answer))

    def _chunks(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            # read1-like: what has come is written at once, or a connection that breaks would lose up to a chunk.
            while chunk := answer.read(64 * 1024):
                yield chunk
        except (HTTPError, OSError) as error:
            raise TryAgain(f"{self.shown}: the connection broke: {type(error).__name__}") from error
        finally:
            answer.close()


def check_status(shown: str, answer: urllib3.BaseHTTPResponse, given: Credentials) -> None:
    """Close an answer that is no file, and say why. Raises Changed, TryAgain, Unavailable."""
    status = answer.status
    if status in (200, 206):
        return
    answer.close()
    if status == 416:
        raise Changed
    if status == 407:
        raise proxy_denied(shown, status)
    if status in (401, 403):
        raise Unavailable("SourceAccessDenied", f"{shown}: refused with {status}: {cure(shown, given)}")
    if status in (404, 410):
        raise Unavailable("SourceNotFound", f"{shown}: answers {status}: check spec.versions[].source.uri")
    if status in PASSING:
        raise TryAgain(f"{shown}: answers {status}")
    raise Unavailable("SourceUnreachable", f"{shown}: answers {status}: check spec.versions[].source.uri")


def cure(shown: str, given: Credentials) -> str:
    """What helps where access is denied."""
    if given.secret:
        return f"check the credentials in Secret {given.secret!r} (spec.versions[].source.secretRef): expired, or without the right to read it?"
    if shown.startswith(("https://", "hf://", "oci://")):
        return "what is not public needs credentials: set spec.versions[].source.secretRef, or correct source.uri"
    return "check the URL's rights"


def proxy_fault(shown: str, error: Exception) -> Exception:
    """What a proxy has against a connection: TryAgain where it may be gone a moment later."""
    refused = REFUSED_TUNNEL.search(str(error))
    if refused is None:
        return TryAgain(f"{shown}: the proxy of spec.build.proxy does not answer: check its address, and that this cluster may reach it", "ProxyUnreachable")
    status = int(refused[1])
    if status in PASSING:
        return TryAgain(f"{shown}: the proxy of spec.build.proxy answers {status}", "ProxyUnreachable")
    return proxy_denied(shown, status)


def proxy_denied(shown: str, status: int) -> Unavailable:
    """A proxy that does not do what it is asked."""
    cure = "set spec.build.proxy.secretRef, or check the credentials in it" if status == 407 else "have it allow this host, or name the host in noProxy"
    return Unavailable("ProxyAccessDenied", f"{shown}: the proxy of spec.build.proxy refuses with {status}: {cure}")


def content_range(text: str) -> tuple[int, int | None]:
    """'bytes 10-99/100' as (10, 100); (-1, None) where it is something else."""
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.partition("/")
    begin = span.partition("-")[0]
    if unit != "bytes" or not begin.isdigit():
        return -1, None
    return int(begin), int(whole) if whole.isdigit() else None


class S3Remote:
    """An object in S3; read anonymously where there are no credentials."""

    sha256 = ""

    def __init__(self, source: S3Source, options: storage.StorageOptions, proxy: Proxy) -> None:
        self.shown = source.shown
        self._source, self._options = source, options
        self._s3 = storage.client(options, anonymous=not storage.has_credentials(), attempts=1, proxy=proxy)

    def open(self, offset: int, validator: str) -> Opened:
        """See Remote."""
        condition = {"Range": f"bytes={offset}-", "IfMatch": validator} if offset else {}
        try:
            with storage.named_faults(storage.SOURCE, self._options, f"reading {self.shown}"):
                answer = self._s3.get_object(Bucket=self._source.bucket, Key=self._source.key, **condition)  # type: ignore[arg-type]
        except Unavailable as error:
            if isinstance(error.__cause__, ProxyConnectionError):
                raise proxy_fault(self.shown, error.__cause__.kwargs["error"]) from error
            code = error.__cause__.response.get("Error", {}).get("Code", "") if isinstance(error.__cause__, ClientError) else ""
            if code == "407":
                raise proxy_denied(self.shown, 407) from error
            if code in ("PreconditionFailed", "InvalidRange", "412", "416"):
                raise Changed from error
            if error.reason == "SourceUnreachable" and code not in storage.REGION:
                raise TryAgain(error.message) from error
            if error.reason == "SourceNotFound":
                raise Unavailable(error.reason, f"{error.message}: check spec.versions[].source.uri") from error
            raise
        begin, whole = content_range(answer.get("ContentRange", ""))
        tag = answer.get("ETag", "")
        if offset and (begin != offset or tag != validator):
            answer["Body"].close()
            raise Changed
        return Opened(
            offset=offset,
            total=whole if offset else int(answer["ContentLength"]),
            validator=tag,
            chunks=self._chunks(answer["Body"]),
        )

    def _chunks(self, body: object) -> Iterator[bytes]:
        try:
            with storage.named_faults(storage.SOURCE, self._options, f"reading {self.shown}"):
                yield from body.iter_chunks(64 * 1024)  # type: ignore[attr-defined]
        except (Unavailable, HTTPError, OSError) as error:
            raise TryAgain(f"{self.shown}: the connection broke") from error
