"""Asks the agent of a pod what has become of a model there."""

import re
import time

import urllib3

from yolo_operator.core.addresses import url_host
from yolo_operator.core.errors import InvalidSpec, NotReady, OperatorError, Unavailable
from yolo_operator.core.served_models import REASON_LOAD, STATES_PATH, ModelState, ModelStates

PAUSE_SECONDS = 0.5
ANSWER_SECONDS = 5
NO_MEMORY = re.compile(r"out of memory|failed to allocate|bad_alloc|cudaMalloc", re.IGNORECASE)
"""In the words of Triton's backends: what another model takes now may be free later."""


class AgentClient:
    """One pod's agent."""

    def __init__(self, address: str, port: int) -> None:
        self._url = f"http://{url_host(address)}:{port}{STATES_PATH}"
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(total=ANSWER_SECONDS), retries=False)

    def wait_until_served(self, name: str, uri: str, timeout: float) -> ModelState:
        """Wait until a name stands for a revision. Raises what is the matter where it does not load, and NotReady ModelNotReady after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.state(name, uri)
            if found is not None and found.state == "Ready":
                return found
            if found is not None and found.state == "Failed":
                raise fault(found)
            if time.monotonic() > deadline:
                raise NotReady("ModelNotReady", f"{name} is not loaded from {uri} after {timeout:.0f} s: see the log of the pod's agent")
            time.sleep(PAUSE_SECONDS)

    def state(self, name: str, uri: str) -> ModelState | None:
        """What the agent says of a name, if it is to stand for this revision; None where it knows nothing of that, or nobody answers."""
        try:
            answer = self._pool.request("GET", self._url)
            states = ModelStates.model_validate_json(answer.data)
        except (urllib3.exceptions.HTTPError, ValueError):
            return None
        return next((each for each in states.models if (each.name, each.uri) == (name, uri)), None)


def fault(found: ModelState) -> OperatorError:
    """Why a model is not there, by what happens next."""
    if found.reason != REASON_LOAD:
        return Unavailable("ModelDownloadFailed", f"The pod's agent cannot bring it: {found.message}")
    if NO_MEMORY.search(found.message):
        return Unavailable("ModelLoadFailed", f"Triton has no memory for it: {found.message}")
    return InvalidSpec("ModelLoadFailed", f"Triton does not load it: {found.message}")
