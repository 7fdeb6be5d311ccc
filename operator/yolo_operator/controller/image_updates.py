"""Whose turn it is to change to another default Triton image, by what the cache shows of all resources."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kinds import Manifest
from yolo_operator.core import image_updates
from yolo_operator.core.defaults import Defaults
from yolo_operator.core.image_updates import Phase

log = logging.getLogger(__name__)


class ImageUpdates:
    """Gives each resource the defaults that it is to be planned with."""

    def __init__(self, cache: Cache, defaults: Defaults) -> None:
        self._cache = cache
        self._defaults = defaults
        self._changed = cache.changes()
        self._phases: Mapping[Phase, set[Key]] = {Phase.WAITING: set(), Phase.UPDATING: set()}
        """Kept, since to look at every resource for each pass is quadratic."""
        self._waiting: set[Key] = set()
        """Those whose last pass found that they wait: whom to enqueue when it is their turn. A new process learns of them by its first passes."""

    def defaults_for(self, key: Key) -> Defaults:
        """The administrator's defaults; with the image that the resource has, where it is not its turn to change to another."""
        self._waiting.discard(key)
        if not self._defaults.max_image_updates:
            return self._defaults
        self._look()
        body = self._cache.get(kinds.YOLO, key)
        if body is None or key not in self._phases[Phase.WAITING]:
            return self._defaults
        if key in self._turns():
            log.info("its turn to change to another default Triton image", extra={"namespace": key.namespace, "resource": key.name})
            return self._defaults
        self._waiting.add(key)
        (image,) = image_updates.images_of(body, self._deployments(body))
        return replace(self._defaults, triton_image=image, next_triton_image=self._defaults.triton_image)

    def due(self, key: Key) -> set[Key]:
        """Those that wait and whose turn it is, after a pass for `key` or its end."""
        if self._cache.get(kinds.YOLO, key) is None:
            self._waiting.discard(key)
        return self._waiting & self._turns() if self._waiting else set()

    def counts(self) -> Mapping[str, int]:
        """Resources that wait, and that are under way."""
        self._look()
        return {phase: len(keys) for phase, keys in self._phases.items()}

    def _turns(self) -> set[Key]:
        self._look()
        waiting = (body for key in self._phases[Phase.WAITING] if (body := self._cache.get(kinds.YOLO, key)) is not None)
        return {Key(*turn) for turn in image_updates.turns(waiting, len(self._phases[Phase.UPDATING]), self._defaults)}

    def _look(self) -> None:
        """Bring the phases to what the cache shows."""
        while self._changed:
            key = self._changed.pop()
            body = self._cache.get(kinds.YOLO, key)
            phase = Phase.SETTLED if body is None else self._phase(body)
            for each, keys in self._phases.items():
                (keys.add if each is phase else keys.discard)(key)

    def _phase(self, body: Manifest) -> Phase:
        return image_updates.phase(body, self._deployments(body), self._defaults.triton_image)

    def _deployments(self, body: Manifest) -> dict[str, Manifest]:
        return self._cache.children(kinds.DEPLOYMENT, Key.of(body), body["metadata"]["uid"])
