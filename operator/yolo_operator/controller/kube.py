"""The only writer: server-side apply, create, delete, and the status, over the kubernetes client. No policy here.

No write starts once `may_write` refuses: a replica that has lost its Lease must not act on it any more.
"""

import asyncio
import datetime
import json
import logging
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTResponse
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from yolo_operator import __version__
from yolo_operator.controller import telemetry
from yolo_operator.controller.kinds import EVENT, POD, SERVER, YOLO, Kind, Manifest
from yolo_operator.core import names
from yolo_operator.core.context import PodChange
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 30
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml; charset=utf-8"
"""With its charset, since the client writes the body of the plain type itself: in ASCII, of which the API server's YAML cannot read surrogate pairs."""
PAGE = 100
"""Objects in a page of a list: with Deployments, the largest, some 5 MB, which are parsed in a fraction of a second."""
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML only escaped."""
FINALIZER_MANAGER = f"{names.FIELD_MANAGER}-finalizer"
GATE_MANAGER = f"{names.FIELD_MANAGER}-gate"
NOT_OF_THE_SCHEMA = "failed to create typed patch object"
"""How server-side apply, with a 500, calls a field that does not exist or is of another type: affinity and podTemplate are free in the CRD."""


class Missing(OperatorError):
    """The object, or its whole kind, is not there (404)."""


class NamespaceTerminating(OperatorError):
    """The namespace is being deleted: nothing can be created in it any more."""


class Conflict(OperatorError):
    """The object is another one, or there is one already (409)."""


class NoCluster(Exception):
    """Neither a Pod's service account nor a kubeconfig that can be used."""


class Kube:
    """The API server, as the reconciler needs it."""

    def __init__(self, client: ApiClient, may_write: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._may_write = may_write
        client.user_agent = f"yolo-operator/{__version__}"

    async def apply(self, kind: Kind, manifest: Manifest, live: Manifest | None) -> Manifest:
        """Server-side apply. Without a live object known, one of the same name that is not ours is left alone: Unavailable NameConflict."""
        if live is None:
            try:
                # Not forced: what somebody else has made has another selector, or other rules, and those are its maker's.
                return await self._apply(kind, manifest, {"fieldManager": names.FIELD_MANAGER})
            except Conflict:
                live = await self.refuse_foreign(kind, manifest)
        if live is not None:
            # Applies to this very object or to none: not to one that somebody made in its place.
            manifest = manifest | {"metadata": manifest["metadata"] | {"uid": live["metadata"]["uid"]}}
        return await self._apply(kind, manifest, self._as(names.FIELD_MANAGER))

    async def _apply(self, kind: Kind, manifest: Manifest, query: Mapping[str, str]) -> Manifest:
        metadata = manifest["metadata"]
        return await self._request("PATCH", kind.path(metadata["namespace"], metadata["name"]), manifest, content_type=APPLY, **query)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        """Create; one that is there already and ours is as good, and None is returned."""
        try:
            return await self.post(kind, manifest)
        except Conflict:
            await self.refuse_foreign(kind, manifest)
            return None

    async def post(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create, or raise Conflict where there is one already."""
        return await self._request("POST", kind.path(manifest["metadata"]["namespace"]), manifest, fieldManager=names.FIELD_MANAGER)

    async def delete(self, kind: Kind, live: Manifest) -> None:
        """Delete this very object; one that is gone already is as good. In the foreground, so that a Job is there until its Pods have ended."""
        metadata = live["metadata"]
        body = {"propagationPolicy": "Foreground" if kind.name == "Job" else "Background", "preconditions": {"uid": metadata["uid"]}}
        try:
            await self._request("DELETE", kind.path(metadata["namespace"], metadata["name"]), body)
        except (Missing, Conflict):
            log.debug("already gone", extra={"kind": kind.name, "object": metadata["name"]})

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object, from the API server itself; None where there is none."""
        try:
            return await self._request("GET", kind.path(namespace, name))
        except Missing:
            return None

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace an object in the state it was read in."""
        metadata = manifest["metadata"]
        return await self._request("PUT", kind.path(metadata["namespace"], metadata["name"]), manifest)

    async def page(self, kind: Kind, namespace: str = "", *, limit: int = PAGE, accept: str = "application/json", **query: str) -> Manifest:
        """So many objects of a kind that its watch shows, as they are now. Raises Missing for a kind that is not served."""
        selected = ({"labelSelector": kind.selector} if kind.selector else {}) | query
        found = await self._request("GET", kind.path(namespace), accept=accept, limit=str(limit), **selected)
        # Of metadata alone none is null.
        return found | {"items": found.get("items") or []}

    async def pages(self, kind: Kind, namespace: str = "", *, accept: str = "application/json") -> AsyncGenerator[Manifest]:
        """All of them, a page after the other, each with the resource version that `watch` goes on from.

        In pages, since a list that is read whole stops all else, the Lease's renewal too, while it is parsed. Raises Missing for a kind that is not
        served, and Unavailable where there are changes for longer than the API server remembers.
        """
        page = await self.page(kind, namespace, accept=accept)
        yield page
        while following := page["metadata"].get("continue"):
            page = await self.page(kind, namespace, accept=accept, **{"continue": following})
            yield page

    async def find(self, kind: Kind, namespace: str, name: str, *, anyones: bool = False) -> Manifest | None:
        """One object that the watch of its kind shows, or anyone's, by a list: what is listed needs no right to be got besides."""
        query = {"labelSelector": ""} if anyones else {}
        page = await self.page(kind, namespace, limit=PAGE, fieldSelector=f"metadata.name={name}", **query)
        return next(iter(page["items"]), None)

    async def metadata(self, kind: Kind, namespace: str = "") -> list[Manifest]:
        """Of all objects of a kind that its watch shows: name, namespace, uid and resource version."""
        fields = ("name", "namespace", "uid", "resourceVersion")
        return [
            {"metadata": {field: body["metadata"].get(field, "") for field in fields}}
            async for page in self.pages(kind, namespace, accept=METADATA_ONLY)
            for body in page["items"]
        ]

    async def watch(self, kind: Kind, namespace: str, since: str, *, seconds: float, inactive: float) -> AsyncGenerator[tuple[str, Manifest]]:
        """ADDED, MODIFIED, DELETED or BOOKMARK, and the object, of which a bookmark has nothing but the resource version. Ends after `seconds`.

        Raises Unavailable where it cannot go on from `since`, breaks off, or has shown nothing for `inactive` seconds, not even a bookmark.
        """
        path, query = kind.path(namespace), {"labelSelector": kind.selector, "resourceVersion": since, "timeoutSeconds": str(int(seconds))}
        try:
            response = await self._send("GET", path, query | {"watch": "true", "allowWatchBookmarks": "true"}, seconds=seconds + REQUEST_TIMEOUT_SECONDS)
            try:
                if response.status >= 300:
                    raise error_of("GET", path, response.status, {})
                while True:
                    async with asyncio.timeout(inactive):
                        line = await response.response.content.readline()
                    if not line:
                        return
                    event: Manifest = json.loads(line)
                    if event["type"] == "ERROR":
                        raise error_of("GET", path, event["object"].get("code", 0), event["object"])
                    yield event["type"], event["object"]
            finally:
                response.response.close()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable("ApiServerUnreachable", f"watch {path}: {type(error).__name__}") from error

    async def write_status(self, resource: Mapping[str, Any], status: Manifest) -> Manifest:
        """Apply a resource's status as a whole."""
        kind, metadata = kind_of(resource), resource["metadata"]
        body = {**self._head(kind, metadata), "status": status}
        return await self._request(
            "PATCH", kind.path(metadata["namespace"], metadata["name"], "status"), body, content_type=APPLY, **self._as(names.FIELD_MANAGER)
        )

    async def set_finalizer(self, resource: Mapping[str, Any], *, present: bool) -> Manifest:
        """Put our finalizer on a resource, or take it off."""
        kind, metadata = kind_of(resource), resource["metadata"]
        body = self._head(kind, metadata)
        body["metadata"]["finalizers"] = [names.SERVER_FINALIZER if kind is SERVER else names.FINALIZER] if present else []
        return await self._request("PATCH", kind.path(metadata["namespace"], metadata["name"]), body, content_type=APPLY, **self._as(FINALIZER_MANAGER))

    async def open_gate(self, pod: Mapping[str, Any], now: str) -> Manifest:
        """Let a Pod in: its readiness gate becomes True."""
        metadata = pod["metadata"]
        condition = {
            "type": names.VERIFIED_GATE,
            "status": "True",
            "reason": "RightAnswers",
            "message": "A pod of the same template gave the right answers",
            "lastTransitionTime": now,
        }
        body = {**self._head(POD, metadata), "status": {"conditions": [condition]}}
        return await self._request("PATCH", POD.path(metadata["namespace"], metadata["name"], "status"), body, content_type=APPLY, **self._as(GATE_MANAGER))

    async def fail_pod(self, pod: Mapping[str, Any]) -> Manifest:
        """Say in its node's stead that a Pod has ended."""
        message = "The node does not answer, and the Pod was to have ended long ago"
        return await self._merge_pod(pod, {"status": {"phase": "Failed", "reason": "NodeLost", "message": message}})

    async def change_pod(self, change: PodChange) -> Manifest:
        """Give a Pod labels and annotations, or take them away. By its status, which it is no more right to than the gate: that changes no spec."""
        changed = {field: dict(values) for field, values in (("labels", change.labels), ("annotations", change.annotations)) if values}
        return await self._merge_pod(change.pod, {"metadata": changed})

    async def _merge_pod(self, pod: Mapping[str, Any], change: Manifest) -> Manifest:
        """Lay a change over this very Pod, by its status."""
        metadata = pod["metadata"]
        body = change | {"metadata": {"uid": metadata["uid"], **change.get("metadata", {})}}
        return await self._request(
            "PATCH", POD.path(metadata["namespace"], metadata["name"], "status"), body, content_type=MERGE, fieldManager=names.FIELD_MANAGER
        )

    async def event(self, resource: Mapping[str, Any], *, reason: str, message: str, warning: bool) -> None:
        """Record an Event; one that cannot be recorded is logged and nothing more."""
        kind, metadata = kind_of(resource), resource["metadata"]
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": kind.api_version,
                "kind": kind.name,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": names.FIELD_MANAGER},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        try:
            await self._request("POST", EVENT.path(metadata["namespace"]), body)
        except OperatorError as error:
            log.info("event not recorded", extra={"reason": reason, "error": str(error)})

    async def latest_event(self, namespace: str, uid: str, reason: str) -> str:
        """The message of the latest Event with this reason about an object; empty where there is none (any more)."""
        page = await self.page(EVENT, namespace, limit=PAGE, labelSelector="", fieldSelector=f"involvedObject.uid={uid},reason={reason}")
        return max(((event.get("lastTimestamp") or "", event.get("message", "")) for event in page["items"]), default=("", ""))[1]

    async def namespace_terminating(self, namespace: str) -> bool:
        """Whether the namespace is being deleted; False where that cannot be told.

        Asked by the dry run of an Event, which such a namespace refuses as it does every new object: a right to read namespaces would be one more.
        """
        reference = {"apiVersion": YOLO.api_version, "kind": YOLO.name, "namespace": namespace}
        metadata = {"name": f"{names.FIELD_MANAGER}.{uuid.uuid4().hex[:16]}", "namespace": namespace}
        body = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": reference, "type": "Normal"}
        try:
            await self._request("POST", EVENT.path(namespace), body, dryRun="All")
        except NamespaceTerminating:
            return True
        except OperatorError as error:
            log.info("whether the namespace is being deleted is not known", extra={"namespace": namespace, "error": error.message})
        return False

    async def refuse_foreign(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        """The object of this name, if there is one and it is ours. Raises Unavailable NameConflict where it is not."""
        metadata = manifest["metadata"]
        found = await self.find(kind, metadata["namespace"], metadata["name"], anyones=True)
        if found is not None and not names.is_owned(found, metadata["ownerReferences"][0]["uid"]):
            raise Unavailable(
                "NameConflict",
                f"{kind.name} {metadata['name']!r} is there already and not ours: delete or rename it, or rename this {manifest['metadata']['ownerReferences'][0]['kind']}",
            )
        return found

    def _head(self, kind: Kind, metadata: Mapping[str, Any]) -> Manifest:
        return {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
        }

    def _as(self, manager: str) -> dict[str, str]:
        return {"fieldManager": manager, "force": "true"}

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float,
    ) -> RESTResponse:
        """The answer's head; its text is still to be read."""
        serialized = await self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Content-Type": content_type, "Accept": accept, "User-Agent": self._client.user_agent},
            body=as_yaml(body) if content_type == APPLY else body,
            auth_settings=["BearerToken"],
        )
        # As late as can be: a process that is held up between this and the first byte goes on writing when it is let go.
        if method != "GET":
            self._may_write()
        return await self._client.call_api(*serialized, _request_timeout=seconds)

    async def _request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", accept: str = "application/json", **query: str
    ) -> Manifest:
        try:
            response = await self._send(method, path, query, body=body, content_type=content_type, accept=accept, seconds=REQUEST_TIMEOUT_SECONDS)
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            telemetry.api_requests.labels(method, "none").inc()
            raise Unavailable("ApiServerUnreachable", f"{method} {path}: {type(error).__name__}") from error
        telemetry.api_requests.labels(method, str(response.status)).inc()
        try:
            answer = json.loads(text) if text else {}
        except ValueError as error:
            if response.status == 404:  # what is not served at all is answered in plain text
                raise Missing("NotFound", f"{method} {path}: {text[:200]!r}") from error
            # Not the API server, but something before it.
            raise Unavailable("ApiServerUnreachable", f"{method} {path}: {response.status}, and the answer is not JSON") from error
        if response.status >= 300:
            raise error_of(method, path, response.status, answer)
        result: Manifest = answer
        return result


def kind_of(resource: Mapping[str, Any]) -> Kind:
    """The kind of a resource of ours."""
    return SERVER if resource.get("kind") == SERVER.name else YOLO


def as_yaml(body: Any) -> str:
    """An object as JSON that is YAML too."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(body, ensure_ascii=False))


def error_of(method: str, path: str, code: int, answer: Mapping[str, Any]) -> OperatorError:
    """What an error of the API server means for what happens next."""
    message = str(answer.get("message") or "")[:1000]
    causes = {cause.get("reason") for cause in (answer.get("details") or {}).get("causes") or ()}
    match code:
        case 404:
            return Missing("NotFound", f"{method} {path}: {message}")
        case 409:
            return Conflict("Conflict", message)
        case 403 if "NamespaceTerminating" in causes:
            return NamespaceTerminating("NamespaceTerminating", message)
        case 400 | 422:
            return InvalidSpec("Rejected", f"The API server refuses what the spec leads to: {message}")
        case 500 if message.startswith(NOT_OF_THE_SCHEMA):
            return InvalidSpec("Rejected", f"The API server refuses what the spec leads to: {message}")
        case 403:
            return Unavailable("Forbidden", message)
        case 429:
            return Unavailable("TooManyRequests", message)
        case _:
            return Unavailable("ApiServerError", f"{code}: {message}")


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a server: HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def tuned(configuration: Configuration) -> Configuration:
    """With what the client's defaults would cost or hold up."""
    # Left to itself aiohttp looks for a proxy, and for credentials in .netrc, in a thread of its own for every request.
    configuration.proxy = configuration.proxy or proxy_of(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False}
    # Each watch has a connection of its own: beyond a limit they would wait for each other, and all requests for them.
    configuration.connection_pool_maxsize = 0
    return configuration


async def connect() -> ApiClient:
    """The client, by the Pod's service account or the user's kubeconfig. Raises NoCluster."""
    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            await load_kube_config(client_configuration=configuration)
        except (ConfigException, yaml.YAMLError, OSError, TypeError) as error:  # the last for a file that holds nothing
            raise NoCluster(f"no cluster to connect to: outside of a Pod KUBECONFIG must name a kubeconfig ({error})") from error
    return ApiClient(tuned(configuration))
