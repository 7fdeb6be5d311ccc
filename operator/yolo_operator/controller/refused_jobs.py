"""Reads why the Pod of a Job does not come: the Job has no word about that, only an Event has. Asked for Jobs alone that wait for their Pod."""

import logging
from collections.abc import Mapping
from datetime import datetime

from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kube import Kube
from yolo_operator.core import refused_pods
from yolo_operator.core.errors import OperatorError
from yolo_operator.core.observed import finished

log = logging.getLogger(__name__)


async def read(kube: Kube, cache: Cache, key: Key, uid: str, now: datetime) -> Mapping[str, str]:
    """The API server's words, by the Job's name, as `Observed` has them. An Event is a courtesy: where it cannot be read there are no words."""
    found: dict[str, str] = {}
    for name, live in cache.children(kinds.JOB, key, uid).items():
        job_uid = live["metadata"]["uid"]
        if finished(live) or not refused_pods.waits_for_pod(live, list(cache.children(kinds.POD, key, job_uid).values()), now):
            continue
        try:
            found[name] = await kube.latest_event(key.namespace, job_uid, "FailedCreate")
        except OperatorError as error:
            log.info("events not read", extra={"namespace": key.namespace, "object": name, "error": error.message})
    return found
