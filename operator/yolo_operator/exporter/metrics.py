"""Triton's own counters of one version of a model, read from its pods' metrics ports before and after a step."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from yolo_operator.core.addresses import url_host

log = logging.getLogger(__name__)

SUCCESS = "nv_inference_request_success"
FAILURE = "nv_inference_request_failure"
DURATION = "nv_inference_request_duration_us"
QUEUE = "nv_inference_queue_duration_us"
COUNTERS = frozenset({SUCCESS, FAILURE, DURATION, QUEUE})
"""Times are sums in microseconds over the requests that succeeded."""
TIMEOUT = urllib3.Timeout(connect=5, read=10)
RETRIES = urllib3.Retry(1, redirect=0)
AT_ONCE = 16
"""Pods that are read at the same time."""

Reading = Mapping[str, float]
"""COUNTERS of one pod, added up over what else they are told apart by: the GPU, the reason of a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the pods of one version did between two readings."""

    pods: int = 0
    """Pods that could be read at both ends."""
    left_out: int = 0
    """Pods that could not, or whose counters went back: they are gone, or were restarted."""
    success: float = 0
    failure: float = 0
    duration_us: float = 0
    queue_us: float = 0

    def figures(self) -> dict[str, float]:
        """Fields of contract.Comparison; a figure that cannot be had is left out."""
        requests = self.success + self.failure
        found: dict[str, float] = {"requests": int(requests)}
        if requests:
            found["error_rate"] = self.failure / requests
        if self.success:
            found["latency_milliseconds"] = self.duration_us / self.success / 1000
            found["queue_milliseconds"] = self.queue_us / self.success / 1000
        return found


def read(addresses: Sequence[str], port: int, model: str, version: int) -> dict[str, Reading]:
    """Counters by address; a pod that does not answer, or does not serve the version, is not among them."""
    if not addresses:
        return {}
    with urllib3.PoolManager(len(addresses), timeout=TIMEOUT, retries=RETRIES) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        readings = threads.map(lambda address: read_one(client, address, port, model, version), addresses)
        return {address: reading for address, reading in zip(addresses, readings, strict=True) if reading is not None}


def read_one(client: urllib3.PoolManager, address: str, port: int, model: str, version: int) -> Reading | None:
    """Counters of one pod; None, and a line in the log, where they cannot be had."""
    try:
        answer = client.request("GET", f"http://{url_host(address)}:{port}/metrics")
        return parse(answer.data.decode(), model, version)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        log.warning("metrics of %s: %s", address, error)
        return None


def parse(text: str, model: str, version: int) -> Reading:
    """Counters of the version in Prometheus' text format. Raises ValueError where it is not one, or the version is not in it."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser names counters as OpenMetrics does; Triton does not.
            name = sample.name.removesuffix("_total")
            if name in COUNTERS and sample.labels.get("model") == model and sample.labels.get("version") == str(version):
                found[name] = found.get(name, 0) + sample.value
    if SUCCESS not in found:
        raise ValueError(f"nothing of {model} version {version}")
    return dict.fromkeys(COUNTERS, 0.0) | found


def between(addresses: Sequence[str], before: Mapping[str, Reading], after: Mapping[str, Reading]) -> Traffic:
    """The differences, added up over the pods."""
    counted = [address for address in addresses if address in before and address in after and not went_back(before[address], after[address])]
    total = {name: sum(after[address][name] - before[address][name] for address in counted) for name in COUNTERS}
    return Traffic(
        pods=len(counted),
        left_out=len(addresses) - len(counted),
        success=total[SUCCESS],
        failure=total[FAILURE],
        duration_us=total[DURATION],
        queue_us=total[QUEUE],
    )


def went_back(before: Reading, after: Reading) -> bool:
    """Whether the server was restarted meanwhile: counters begin at 0."""
    return any(after[name] < before[name] for name in COUNTERS)
