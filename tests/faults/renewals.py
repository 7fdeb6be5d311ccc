"""How late the holder of the Lease renews it, as others see it: the moments that it writes there itself."""

import dataclasses
import itertools
import threading
import time
from datetime import datetime

from api_client import ApiError, Client
from urllib3.exceptions import HTTPError

from yolo_operator.controller import kinds

LEASE = dataclasses.replace(kinds.LEASE, selector="")
"""The operator asks for it by its name; it has no labels."""


class Renewals:
    """Follows every Lease of a name from its beginning on."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self._name = client, name
        self.by_holder: dict[str, list[datetime]] = {}
        """When each has renewed it, in order."""
        threading.Thread(target=self._follow, name="renewals", daemon=True).start()

    def _follow(self) -> None:
        while True:
            try:
                for body in self._client.watch(LEASE):
                    spec = body.get("spec", {})
                    if body["metadata"]["name"] == self._name and spec.get("holderIdentity") and spec.get("renewTime"):
                        self._note(spec["holderIdentity"], datetime.fromisoformat(spec["renewTime"]))
            except (ApiError, HTTPError):
                # The watch is opened again, after a moment; a renewal that was missed would count as late.
                time.sleep(0.2)

    def _note(self, holder: str, moment: datetime) -> None:
        moments = self.by_holder.setdefault(holder, [])
        if moments[-1:] != [moment]:
            moments.append(moment)

    def longest(self, holder: str) -> float:
        """Seconds between two renewals, at most. Raises ValueError before there are two."""
        moments = self.by_holder.get(holder, [])
        return max((later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments))
