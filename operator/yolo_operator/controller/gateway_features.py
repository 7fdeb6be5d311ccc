"""Reads what a resource's Gateways support: only for one that asks for more than every Gateway does, and not at every pass. Decides nothing.

Gateways and their classes are beyond the namespaces that the operator may be confined to: that it may not read them is an answer, no error.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from yolo_operator.controller import kinds
from yolo_operator.controller.kinds import Manifest
from yolo_operator.controller.kube import Kube
from yolo_operator.core import api, features
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.observed import Support

AGE_SECONDS = 30.0
"""So long an answer is used again."""


class GatewayFeatures:
    """What was read lately."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[str, tuple[float, Support]] = {}

    async def read(self, yolo: api.YoloDeployment) -> tuple[Mapping[str, Support], Support]:
        """What the class of each Gateway lists, and the fields for sessions, as `Observed` has them. Raises Unavailable where the API server does not answer."""
        gateway = yolo.spec.traffic.gateway
        if gateway is None or not features.asked(yolo) or yolo.deleting:
            return {}, Support()
        listed = {
            f"{namespace}/{name}": await self._lately(f"{namespace}/{name}", partial(self._features, namespace, name))
            for namespace, name in features.gateways(yolo)
        }
        fields = await self._lately("sessionPersistence", self._session_fields) if gateway.session_persistence is not None else Support()
        return listed, fields

    async def _lately(self, name: str, read: Callable[[], Awaitable[Support]]) -> Support:
        now = time.monotonic()
        self._known = {known: (at, support) for known, (at, support) in self._known.items() if now - at < AGE_SECONDS}
        if name not in self._known:
            try:
                support = await read()
            except Unavailable as error:
                if error.reason != "Forbidden":
                    raise
                support = Support(unknown=f"The operator has no right to read that, as where it is installed for a list of namespaces: {error.message}")
            self._known[name] = (now, support)
        return self._known[name][1]

    async def _features(self, namespace: str, name: str) -> Support:
        """What the class of a Gateway lists."""
        gateway = await self._kube.get(kinds.GATEWAY, namespace, name)
        if gateway is None:
            return Support(unknown="There is no Gateway of this name: make it, or correct spec.traffic.gateway.parentRefs")
        class_name = gateway["spec"]["gatewayClassName"]
        found = await self._kube.get(kinds.GATEWAY_CLASS, "", class_name)
        if found is None:
            return Support(unknown=f"There is no GatewayClass {class_name!r}, which it names")
        listed = found.get("status", {}).get("supportedFeatures", ())
        # Before 1.2 the list was one of names.
        return Support(frozenset(entry if isinstance(entry, str) else entry["name"] for entry in listed))

    async def _session_fields(self) -> Support:
        """The fields that a rule of an HTTPRoute has for session persistence; none where its CRD is of the standard channel."""
        found = await self._kube.get(kinds.CRD, "", f"{kinds.HTTP_ROUTE.plural}.{kinds.HTTP_ROUTE.group}")
        served = [version for version in (found or {}).get("spec", {}).get("versions", ()) if version["name"] == kinds.HTTP_ROUTE.version]
        return Support(frozenset(name for version in served for name in session_fields(version["schema"]["openAPIV3Schema"])))


def session_fields(schema: Manifest) -> Manifest:
    """The part of an HTTPRoute's schema that is about sessions; empty without."""
    for name in ("spec", "rules"):
        schema = schema["properties"][name]
    found: Manifest = schema["items"]["properties"].get("sessionPersistence", {}).get("properties", {})
    return found
