"""Leader election over a Lease: of several replicas one acts.

Made for one promise: no write starts after the holder's deadline. So the deadline is kept by the monotonic clock, every request has
a timeout below it, whatever goes wrong is a failed renewal, and a lost lease ends the process. The kubernetes client's own elector
keeps leading while the API server refuses connections.
"""

import asyncio
import datetime
import logging
import time
from collections.abc import Callable

from yolo_operator.controller.kinds import LEASE, Manifest
from yolo_operator.controller.kube import Conflict, Kube
from yolo_operator.core.errors import OperatorError

log = logging.getLogger(__name__)

LEASE_SECONDS = 15
"""After so many seconds without renewal others may take over."""
DEADLINE_SECONDS = 10.0
"""After so many seconds without renewal the holder acts no more: less than LEASE_SECONDS, so that two never act at once."""
RENEW_SECONDS, ASK_SECONDS = 2.0, 1.0
"""Between two attempts of the holder, and of one that waits: a Lease that is released is taken within 2 s."""
REQUEST_SECONDS = 5.0


class LeadershipLost(Exception):
    """The lease could not be renewed in time: this process must write nothing more."""


class Elector:
    """Acquires, keeps and releases the Lease."""

    def __init__(self, *, kube: Kube, namespace: str, name: str, identity: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._monotonic = monotonic
        self._renewed: float | None = None
        self._seen: tuple[object, object] = (None, None)
        self._seen_at = monotonic()

    def check(self) -> None:
        """Called before every write. Raises LeadershipLost past the deadline."""
        if self._renewed is None or self._monotonic() - self._renewed > DEADLINE_SECONDS:
            raise LeadershipLost(f"Lease {self._namespace}/{self._name} has not been renewed for {DEADLINE_SECONDS:g} s")

    async def acquire(self) -> None:
        """Return once this process holds the Lease."""
        while not await self._try():  # noqa: ASYNC110  the Lease is another machine's, nothing here can signal it
            await asyncio.sleep(ASK_SECONDS)
        log.info("leading", extra={"lease": f"{self._namespace}/{self._name}", "identity": self._identity})

    async def keep(self) -> None:
        """Renew for ever. Raises LeadershipLost when another holds it, or the deadline has passed."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not await self._try():
                self.check()

    async def release(self) -> None:
        """Give the Lease up, so that another need not wait for its end. Where that fails, it runs out by itself."""
        self._renewed = None
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                lease = await self._kube.get(LEASE, self._namespace, self._name)
                if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                    await self._kube.replace(LEASE, lease | {"spec": lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}})
        except (OperatorError, TimeoutError) as error:
            log.warning("lease not released", extra={"error": str(error) or type(error).__name__})
        except Exception:
            # It must not hide why the process ends.
            log.exception("lease not released")

    async def _try(self) -> bool:
        """One attempt to take or renew the Lease; any trouble is a failed one."""
        # The lease counts from before the request: it may have reached the server at once and its answer late.
        before = self._monotonic()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                held = await self._write_if_free()
        except Conflict as error:
            # While it is free another may well be first.
            if self._renewed is not None:
                log.warning("lease not renewed", extra={"error": str(error)})
            return False
        except (OperatorError, TimeoutError) as error:
            log.warning("lease not renewed", extra={"error": str(error) or type(error).__name__})
            return False
        except Exception:
            # A Lease that was spoilt by hand, or a fault of ours: with all that tells which.
            log.exception("lease not renewed")
            return False
        if held:
            self._renewed = before
        elif self._renewed is not None:
            raise LeadershipLost(f"Lease {self._namespace}/{self._name} is held by another")
        return held

    async def _write_if_free(self) -> bool:
        lease = await self._kube.get(LEASE, self._namespace, self._name)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if lease is None:
            await self._kube.post(LEASE, self._manifest(now, {}))
            # What was created is confirmed by the next attempt, which finds our name in it (or another's).
            return False
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity", "")
        if (spec.get("renewTime"), holder) != self._seen:
            self._seen, self._seen_at = (spec.get("renewTime"), holder), self._monotonic()
        expired = self._monotonic() - self._seen_at > float(spec.get("leaseDurationSeconds", LEASE_SECONDS))
        if holder not in ("", self._identity) and not expired:
            return False
        taken = {} if holder == self._identity else {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        await self._kube.replace(LEASE, lease | {"spec": spec | self._manifest(now, taken)["spec"]})
        return True

    def _manifest(self, now: str, more: Manifest) -> Manifest:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {"holderIdentity": self._identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now} | more,
        }
