"""Credentials of a source that is not in S3, from its Secret by way of the environment; for S3 boto3 has a way of its own."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from yolo_operator.core.contract import DOCKER_CONFIG, REGISTRY_SECRET, SOURCE_SECRET
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.worker.source import HttpSource, shown_of

WANTED = {"https": "token; username and password; or url", "hf": "token", "oci": "username and password; or .dockerconfigjson"}
"""Keys that a source's Secret may have, by the scheme of its URI."""
DOCKER_HUB = ("docker.io", "registry-1.docker.io", "https://index.docker.io/v1")
"""What Docker Hub is called: in references, over the network, and in a .dockerconfigjson."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a Secret holds; empty where a key is not there. No value is ever shown."""

    secret: str = ""
    """Name of the Secret; empty where the source has none."""
    token: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    url: str = field(default="", repr=False)
    docker_config: str = field(default="", repr=False)

    @property
    def authorization(self) -> str:
        """The Authorization header (RFC 6750, RFC 7617); empty where none is to be sent."""
        if self.token:
            return f"Bearer {self.token}"
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}" if self.username else ""


def from_environment(secret: str, env: Mapping[str, str] = os.environ) -> Credentials:
    """What the Job's container was given of a Secret. Line ends around a value, which `kubectl create secret --from-file` keeps, do not count."""
    if not secret:
        return Credentials()
    given = {key: env.get(variable, "").strip() for key, variable in (SOURCE_SECRET | REGISTRY_SECRET).items()}
    return Credentials(secret=secret, docker_config=given.pop(DOCKER_CONFIG), **given)


def url_for(source: HttpSource, given: Credentials) -> str:
    """The URL to ask: the presigned one of the Secret where it has one.

    Raises InvalidSpec SourceUriInvalid where credentials would go in the clear, and Unavailable SourceSecretInvalid where the Secret has not what the
    source needs: it can be mended without an edit of the resource.
    """
    if not given.secret:
        return source.url
    scheme = source.shown.partition("://")[0]
    if scheme not in WANTED:
        raise InvalidSpec("SourceUriInvalid", f"spec.versions[].source.secretRef: no credentials are sent to {scheme}:// sources: use https://, or remove it")
    login = bool(given.username and given.password)
    found = [bool(given.token)] if scheme == "hf" else [bool(given.token), login, bool(given.url)]
    if sum(found) != 1:
        raise invalid(given, f"is not in this namespace, or has not exactly one of: {WANTED[scheme]}")
    check_header(given)
    return signed(source, given) if scheme == "https" and given.url else source.url


def check_header(given: Credentials) -> None:
    """What is sent must fit a header. Raises Unavailable SourceSecretInvalid."""
    if any(not 32 <= ord(character) <= 126 for value in (given.token, given.username, given.password) for character in value):
        raise invalid(given, "holds a value with line breaks or characters beyond ASCII, which no header can carry")


def login(given: Credentials, registry: str) -> Credentials:
    """User name and password for a registry; none where the source names no Secret. Raises Unavailable SourceSecretInvalid."""
    if not given.secret:
        return given
    if bool(given.username and given.password) == bool(given.docker_config):
        raise invalid(given, f"is not in this namespace, or has not exactly one of: {WANTED['oci']}")
    if given.docker_config:
        username, password = of_docker_config(given, registry)
        given = Credentials(secret=given.secret, username=username, password=password)
    check_header(given)
    return given


def of_docker_config(given: Credentials, registry: str) -> tuple[str, str]:
    """What a Secret of type kubernetes.io/dockerconfigjson has for a registry. Raises Unavailable SourceSecretInvalid."""
    names = {registry, f"https://{registry}", f"http://{registry}", *(DOCKER_HUB if registry in DOCKER_HUB else ())}
    try:
        auths: dict[str, dict[str, str]] = json.loads(given.docker_config)["auths"]
        found = next(entry for name, entry in auths.items() if name.rstrip("/") in names)
        if found.get("auth"):
            username, _, password = base64.b64decode(found["auth"], validate=True).decode().partition(":")
        else:
            username, password = found["username"], found["password"]
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        username = password = ""
    if not username or not password:
        raise invalid(given, f"has a .dockerconfigjson without user name and password for {registry}")
    return username, password


def signed(source: HttpSource, given: Credentials) -> str:
    """The Secret's URL, which must be of the file that source.uri names. Raises Unavailable SourceSecretInvalid."""
    try:
        parts = urlsplit(given.url)
        same = shown_of(parts) == source.shown and parts.username is None
    except ValueError:
        same = False
    if not same or any(ord(character) < 33 for character in given.url):
        raise invalid(given, f"has a url that is not {source.shown} with a query: what stands before its ? must be source.uri")
    return given.url.partition("#")[0]


def invalid(given: Credentials, why: str) -> OperatorError:
    """The error for a Secret that cannot be used as it is."""
    return Unavailable("SourceSecretInvalid", f"Secret {given.secret!r} (spec.versions[].source.secretRef) {why}")
