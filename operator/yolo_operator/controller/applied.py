"""What is remembered of the children that were applied: what the cluster's admission has made of them, and how often each was put back."""

import time
from dataclasses import dataclass
from typing import NamedTuple

from yolo_operator.controller.cache import Key
from yolo_operator.controller.kinds import Manifest
from yolo_operator.core import drift, names
from yolo_operator.core.errors import Unavailable

DRIFT_FIGHT_TIMES, DRIFT_FIGHT_SECONDS = 3, 600.0
"""So often an object's field is put back within so many seconds; then somebody else wants it otherwise, and we back off."""


class Child(NamedTuple):
    """One object of a resource."""

    owner: Key
    kind: str
    name: str

    @classmethod
    def of(cls, owner: Key, manifest: Manifest) -> "Child":
        """The child that a manifest is."""
        return cls(owner, manifest["kind"], manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a mutating webhook or policy makes of a manifest: the answer to our own apply differs from it."""

    fingerprint: str
    """Of the manifest."""
    expected: Manifest
    """The manifest with the answer's values."""
    accepted: frozenset[str]
    """Paths that differ all the same: what was taken away, and counts as ours."""
    changed: tuple[str, ...]
    """Paths, for people."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """What a child was to be last, and when it was put back to that."""

    fingerprint: str
    times: tuple[float, ...] = ()


class Applied:
    """Of a process: a new one applies what admission changes once more, which changes nothing, and knows it then."""

    def __init__(self) -> None:
        self._admitted: dict[Child, Admitted] = {}
        self._put_back: dict[Child, PutBack] = {}

    def difference(self, child: Child, manifest: Manifest, live: Manifest) -> str | None:
        """The first path where a live object is neither as wanted nor as the API server made it of what was wanted; None where there is none."""
        known = self._admitted.get(child)
        if known is None or known.fingerprint != names.digest(manifest):
            return drift.differs(manifest, live)
        return next((path for path in drift.differences(known.expected, live) if path not in known.accepted), None)

    def refuse_fight(self, child: Child, manifest: Manifest, path: str) -> PutBack:
        """What to remember once this is applied because of `path`. Raises Unavailable DriftFight for what was put back some times in a row."""
        fingerprint, now = names.digest(manifest), time.monotonic()
        before = self._put_back.get(child, PutBack(fingerprint))
        # What we want otherwise ourselves, or make anew, nobody has changed.
        put_back = bool(path) and before.fingerprint == fingerprint
        times = tuple(moment for moment in before.times if put_back and now - moment < DRIFT_FIGHT_SECONDS)
        if len(times) >= DRIFT_FIGHT_TIMES:
            raise Unavailable(
                "DriftFight",
                f"{child.kind} {child.name!r}: {path} was put back {len(times)} times and changed again; find who else writes it "
                "(kubectl get --show-managed-fields)",
            )
        return PutBack(fingerprint, (*times, now) if put_back else ())

    def note(self, child: Child, manifest: Manifest, answer: Manifest, put_back: PutBack) -> tuple[str, ...]:
        """Remember the answer to an apply. Returns the paths that admission has changed, where that is news."""
        self._put_back[child] = put_back
        changed = tuple(drift.differences(manifest, answer))
        before = self._admitted.pop(child, None)
        if not changed:
            return ()
        expected = drift.admitted(manifest, answer)
        self._admitted[child] = Admitted(put_back.fingerprint, expected, frozenset(drift.differences(expected, answer)), changed)
        return changed if before is None or before.changed != changed else ()

    def forget(self, owner: Key) -> None:
        """A resource is gone."""
        self._admitted = {child: found for child, found in self._admitted.items() if child.owner != owner}
        self._put_back = {child: found for child, found in self._put_back.items() if child.owner != owner}
