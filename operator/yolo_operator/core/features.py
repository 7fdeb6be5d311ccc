"""What a Gateway must be known to do before it is asked for it: mirroring and session persistence. Pure.

A controller that does not know a filter answers every request of its rule with an error, and the API server refuses a route with a field
that its CRD does not have. So a route asks only for what the Gateways' classes list; what they do not list is left out, and said.
"""

from datetime import timedelta
from typing import Final

from yolo_operator.core import api
from yolo_operator.core.observed import Observed, Support
from yolo_operator.core.pods import MESSAGE_LIMIT, Problem

MIRROR: Final = "HTTPRouteRequestMirror"
MIRROR_PERCENT: Final = "HTTPRouteRequestPercentageMirror"
SESSION: Final = "HTTPRouteSessionPersistence"
"""As GEP-1619 of the Gateway API has it; the API's own list of features, up to 1.6, has no name for it."""
SESSION_FIELDS: Final = frozenset({"type", "sessionName", "absoluteTimeout"})
RECHECK: Final = timedelta(minutes=1)
"""Before a refusal is looked at again: Gateways and their classes are not watched."""


def asked(yolo: api.YoloDeployment) -> bool:
    """Whether the spec asks for anything that a Gateway's class must list."""
    gateway = yolo.spec.traffic.gateway
    return gateway is not None and (gateway.mirror is not None or gateway.session_persistence is not None)


def gateways(yolo: api.YoloDeployment) -> list[tuple[str, str]]:
    """Namespace and name of each Gateway that the HTTPRoutes attach to."""
    gateway = yolo.spec.traffic.gateway
    return sorted({(parent.namespace or yolo.namespace, parent.name) for parent in gateway.parent_refs}) if gateway is not None else []


def mirror(yolo: api.YoloDeployment, observed: Observed) -> api.Mirror | Problem | None:
    """What is to be copied, or why it is not."""
    wanted = yolo.spec.traffic.gateway.mirror if yolo.spec.traffic.gateway is not None else None
    if wanted is None:
        return None
    return unlisted(yolo, observed, "mirror", [MIRROR] if wanted.percent == 100 else [MIRROR, MIRROR_PERCENT]) or wanted


def session_persistence(yolo: api.YoloDeployment, observed: Observed) -> api.SessionPersistence | Problem | None:
    """How clients are to be kept at their pods, or why they are not."""
    wanted = yolo.spec.traffic.gateway.session_persistence if yolo.spec.traffic.gateway is not None else None
    if wanted is None:
        return None
    return unlisted(yolo, observed, "sessionPersistence", [SESSION]) or without_fields(observed.session_fields) or wanted


def unlisted(yolo: api.YoloDeployment, observed: Observed, field: str, needed: list[str]) -> Problem | None:
    """Why the first of the Gateways that cannot be asked for `field` cannot; None where all can."""
    for namespace, name in gateways(yolo):
        gateway = f"{namespace}/{name}"
        support = observed.gateway_features[gateway]
        if support.unknown:
            return Problem("GatewayFeaturesUnknown", without(field, f"it is not known what Gateway {gateway} supports. {support.unknown}"))
        if missing := [feature for feature in needed if feature not in support.names]:
            why = f"the class of Gateway {gateway} does not list {' and '.join(missing)} in status.supportedFeatures"
            remedy = "Remove the field, or name Gateways whose classes do in spec.traffic.gateway.parentRefs"
            return Problem("GatewayFeatureMissing", without(field, f"{why}. {remedy}"))
    return None


def without_fields(support: Support) -> Problem | None:
    """Why the API server would not keep what is written of session persistence."""
    if support.unknown:
        return Problem("GatewayFeaturesUnknown", without("sessionPersistence", f"it is not known whether HTTPRoutes have it. {support.unknown}"))
    if missing := sorted(SESSION_FIELDS - support.names):
        why = f"the API server's HTTPRoutes have no rules[].sessionPersistence with {', '.join(missing)}"
        remedy = "Remove the field, or install the CRDs of the Gateway API's experimental channel, 1.1 to 1.6"
        return Problem("GatewayFeatureMissing", without("sessionPersistence", f"{why}. {remedy}"))
    return None


def without(field: str, why: str) -> str:
    """What is said of a field of spec.traffic.gateway that is left out."""
    return f"The route serves without spec.traffic.gateway.{field}: {why}"[:MESSAGE_LIMIT]
