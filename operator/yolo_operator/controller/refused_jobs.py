"""Reads why the Pod of a Job does not come: the Job has no word about that, only an Event has. Asked for Jobs alone that wait for their Pod."""

import logging
from collections.abc import Mapping
from datetime import datetime

from yolo_operator.controller.kube import Kube
from yolo_operator.core import jobs, refused_pods
from yolo_operator.core.errors import OperatorError
from yolo_operator.core.observed import Observed, finished

log = logging.getLogger(__name__)


async def read(kube: Kube, namespace: str, observed: Observed, now: datetime) -> Mapping[str, str]:
    """The API server's words, by the Job's name, as `Observed` has them. An Event is a courtesy: where it cannot be read there are no words."""
    found: dict[str, str] = {}
    for name, live in observed.jobs.items():
        if finished(live) or not refused_pods.waits_for_pod(live, jobs.pods_of(live, observed.pods), now):
            continue
        try:
            found[name] = await kube.latest_event(namespace, live["metadata"]["uid"], "FailedCreate")
        except OperatorError as error:
            log.info("events not read", extra={"namespace": namespace, "object": name, "error": error.message})
    return found
