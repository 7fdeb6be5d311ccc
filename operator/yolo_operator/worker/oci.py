"""A file of an OCI artifact, as `oras push` makes one: its manifest by digest, then the layer that has the file's name.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md, and https://distribution.github.io/distribution/spec/auth/token/ for tokens.
"""

import hashlib
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import urllib3
from urllib3.exceptions import HTTPError

from yolo_operator.core.errors import InvalidSpec, Unavailable
from yolo_operator.worker.credentials import DOCKER_HUB, Credentials
from yolo_operator.worker.remote import HttpRemote, Opened, TryAgain, Web, check_status
from yolo_operator.worker.source import OciSource, invalid

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
TITLE = "org.opencontainers.image.title"
"""Annotation of a layer: the file's name."""
UNPACK = "io.deis.oras.content.unpack"
"""Annotation of a layer that is a directory, packed by oras."""
SMALL = 4 * 1024**2
"""Bytes that a manifest or a token may have; registries take no larger manifests."""


class OciRemote:
    """One file of an artifact. `given`: user name and password, or nothing.

    What gives access is asked for with each attempt: a token may be over before a large file is.
    """

    def __init__(self, source: OciSource, web: Web, given: Credentials) -> None:
        self.shown, self.sha256 = source.shown, ""
        self._source, self._web, self._given = source, web, given
        host = DOCKER_HUB[1] if source.registry in DOCKER_HUB else source.registry
        self._base = f"https://{host}/v2/{source.repository}"

    def open(self, offset: int, validator: str) -> Opened:
        """See Remote."""
        manifest, access = self._manifest()
        self.sha256 = self._layer(manifest)
        return HttpRemote(self._web, f"{self._base}/blobs/sha256:{self.sha256}", access).open(offset, validator)

    def _manifest(self) -> tuple[dict[str, Any], Credentials]:
        """The manifest, and what the registry gives its files for."""
        url, headers = f"{self._base}/manifests/sha256:{self._source.digest}", {"Accept": MANIFESTS}
        access = replace(self._given, username="", password="")
        answer = self._web.get(url, headers)
        if answer.status == 401:
            access = self._access(answer)
            answer = self._web.get(url, headers, access.authorization)
        check_status(self.shown, answer, access)
        body = read(self.shown, answer)
        if hashlib.sha256(body).hexdigest() != self._source.digest:
            raise InvalidSpec("ChecksumMismatch", f"{self.shown}: the registry answers with another manifest than that of the digest")
        return self._parsed(body), access

    def _access(self, refused: urllib3.BaseHTTPResponse) -> Credentials:
        """What the registry wants to see, by its challenge: user name and password, or a token that is given for them, or to anybody."""
        scheme, _, said = refused.headers.get("WWW-Authenticate", "").partition(" ")
        refused.close()
        if scheme.lower() != "bearer":
            return self._given
        try:
            challenge = parse_keqv_list(parse_http_list(said))
            realm = urlsplit(challenge["realm"])
        except (ValueError, KeyError) as error:
            raise Unavailable("SourceUnreachable", f"{self.shown}: its registry asks for a token and does not say where it is given") from error
        if realm.scheme != "https":
            raise InvalidSpec(
                "SourceRedirectRefused", f"{self.shown}: its registry has tokens given by {realm.scheme[:20]!r}, where credentials would go in the clear"
            )
        wanted = {"service": challenge.get("service", ""), "scope": f"repository:{self._source.repository}:pull"}
        answer = self._web.get(f"{realm.geturl()}{'&' if realm.query else '?'}{urlencode(wanted)}", {}, self._given.authorization)
        check_status(self.shown, answer, self._given)
        token = self._parsed(read(self.shown, answer))
        return Credentials(secret=self._given.secret, token=str(token.get("token") or token.get("access_token") or ""))

    def _parsed(self, body: bytes) -> dict[str, Any]:
        try:
            found = json.loads(body)
        except ValueError as error:
            raise Unavailable("SourceUnreachable", f"{self.shown}: its registry answers with something that is no JSON") from error
        return found if isinstance(found, dict) else {}

    def _layer(self, manifest: dict[str, Any]) -> str:
        """The digest of the layer that is the file. Raises InvalidSpec SourceUriInvalid, Unavailable SourceNotFound."""
        if "manifests" in manifest:
            raise invalid("the digest is that of an index of several artifacts: name the manifest of one of them")
        titles = {str(annotations(layer).get(TITLE, "")): layer for layer in listed(manifest.get("layers"))}
        layer = titles.get(self._source.file)
        if layer is None:
            named = ", ".join(sorted(filter(None, titles))[:5]) or "no file with a name"
            raise Unavailable("SourceNotFound", f"{self.shown}: the artifact has no file {self._source.file!r}; it has {named}")
        algorithm, _, digest = str(layer.get("digest", "")).partition(":")
        if algorithm != "sha256" or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise InvalidSpec("SourceUriInvalid", f"{self.shown}: its digest is not of sha256")
        if annotations(layer).get(UNPACK) == "true":
            raise invalid("it is a directory of the artifact: push the file itself")
        return digest


def listed(found: Any) -> list[dict[str, Any]]:
    """The objects of a list in a manifest, which anybody may have written."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def annotations(layer: dict[str, Any]) -> dict[str, Any]:
    """What is noted of a layer."""
    found = layer.get("annotations")
    return found if isinstance(found, dict) else {}


def read(shown: str, answer: urllib3.BaseHTTPResponse) -> bytes:
    """A small answer. Raises TryAgain, InvalidSpec."""
    try:
        body = answer.read(SMALL + 1)
    except (HTTPError, OSError) as error:
        raise TryAgain(f"{shown}: the connection broke: {type(error).__name__}") from error
    finally:
        answer.close()
    if len(body) > SMALL:
        raise InvalidSpec("SourceUriInvalid", f"{shown}: its registry answers with more than {SMALL} bytes where a manifest or a token is wanted")
    return body
