"""Which operator looks after a resource: the one that wrote its status last. Another one that notices stands back and says so.

Two that serve the same namespace would otherwise write over each other for ever, with other images, defaults and rights. Who comes later takes over, as
an installation under another name does after the first was removed; who stood back looks again after a while, in case the other has gone.
"""

import time
from collections.abc import Callable

from yolo_operator.controller.cache import Key

STANDS_BACK_SECONDS = 600.0


class Claims:
    """Of one operator, named by its Lease; one without a Lease claims nothing."""

    def __init__(self, identity: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.identity = identity
        self._monotonic = monotonic
        self._mine: set[Key] = set()
        self._others: dict[Key, float] = {}

    def another(self, found: str | None) -> bool:
        """Whether a status was written by another operator."""
        return bool(self.identity and found and found != self.identity)

    def is_lost(self, key: Key, found: str | None) -> tuple[bool, bool]:
        """Whether another operator has taken a resource over since this one wrote its status, and whether that is news."""
        if not self.another(found):
            self._others.pop(key, None)
            return False, False
        news = key in self._mine
        if news:
            self._mine.discard(key)
            self._others[key] = self._monotonic()
        lost = self._monotonic() - self._others.get(key, -STANDS_BACK_SECONDS) < STANDS_BACK_SECONDS
        return lost, news

    def claim(self, key: Key) -> None:
        """This one has written the status."""
        if self.identity:
            self._mine.add(key)

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._mine.discard(key)
        self._others.pop(key, None)
