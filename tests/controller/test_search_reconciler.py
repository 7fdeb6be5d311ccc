"""What holds after every pass of the real reconciler with its cache, whatever happens: the rules of `search`, and watches that are late."""

import asyncio
import logging
from collections.abc import Iterator, Set
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

import gen
from lifelike import Cluster
from search import Search, record, replayed, searched
from simulation import FakeKube, copied
from yolo_operator.controller import kinds
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.kinds import EVENT, Kind, Manifest
from yolo_operator.controller.reconciler import Reconciler
from yolo_operator.core import api, features
from yolo_operator.core.errors import Unavailable
from yolo_operator.core.rollout.invariants import Seen

KEY = Key("factory", "helmet")


class Killed(BaseException):
    """The operator's process has ended."""


class NoQueue:
    """Time passes by the rules alone."""

    def add(self, key: Key, delay: float = 0) -> None:
        """A pass follows in any case."""


class Kube(FakeKube):
    """Writes to the cluster as long as it may."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.refused: Set[tuple[str, str]] = frozenset()
        self.left: int | None = None
        self.hit: set[tuple[str, str]] = set()
        self.others["Gateway", "factory", "public"] = {"spec": {"gatewayClassName": "fake"}}
        self.others["GatewayClass", "", "fake"] = {"status": {"supportedFeatures": [features.MIRROR]}}

    def _write(self, verb: str, name: str, kind: Kind = EVENT) -> None:
        written = "Pod" if verb == "gate" else kind.name
        if self.left == 0:
            raise Killed
        if (written, "") in self.refused:
            self.hit.add((written, name))
            raise Unavailable("ApiServerError", "the API server would not take it")
        self.writes.append((verb, name))
        if self.left is not None:
            self.left -= 1

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        return None if manifest["metadata"]["name"] in self.cluster.objects[kind.name] else await super().create(kind, manifest)

    async def delete(self, kind: Kind, live: Manifest) -> None:
        found = self.cluster.objects[kind.name].get(live["metadata"]["name"])
        if found is not None and found["metadata"]["uid"] == live["metadata"]["uid"]:
            await super().delete(kind, found)


class Watched(Search):
    """The same rules, with the reconciler, its cache and a writer."""

    def __init__(self) -> None:
        super().__init__()
        self.kube = Kube(self.cluster)
        self.loop = asyncio.new_event_loop()
        self.restarts()

    def teardown(self) -> None:
        self.loop.close()

    def restarts(self) -> None:
        """A new process: nothing is remembered."""
        self.cache = Cache()
        self.reconciler = Reconciler(
            kube=self.kube,  # type: ignore[arg-type]
            cache=self.cache,
            queue=NoQueue(),  # type: ignore[arg-type]
            defaults=gen.DEFAULTS,
            now=lambda: self.cluster.now,
        )

    def watch(self, late: Set[str] = frozenset()) -> None:
        """The watches catch up, all but some."""
        for name, store in self.cluster.objects.items():
            kind = kinds.BY_NAME[name]
            if name in late or name == kinds.YOLO.name:
                continue
            for gone in [body for body in self.cache.all(kind) if body["metadata"]["name"] not in store]:
                self.cache.drop(kind, gone)
            for live in store.values():
                known = self.cache.get(kind, Key.of(live))
                if known is None or known["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
                    if known is not None:
                        self.cache.drop(kind, known)
                    self.cache.put(kind, copied(live))
        if kinds.YOLO.name not in late or self.cache.get(kinds.YOLO, KEY) is None:
            known = self.cache.get(kinds.YOLO, KEY)
            if known is not None:
                self.cache.drop(kinds.YOLO, known)
            self.cache.put(kinds.YOLO, copied(self.cluster.body))

    def one_pass(self, *, refused: Set[tuple[str, str]] = frozenset(), ends_after: int | None = None, late: Set[str] = frozenset()) -> Seen:
        self.watch(late)
        self.kube.refused, self.kube.left, self.kube.hit = refused, ends_after, set()
        self.kube.writes.clear()
        self.kube.statuses.clear()
        yolo = api.parse(self.cache.get(kinds.YOLO, KEY) or {})
        observed = replace(self.cache.observe(KEY, yolo.uid), gateway_features=self.cluster.gateway_features)
        killed = False
        try:
            self.loop.run_until_complete(self.reconciler.reconcile(KEY))
        except Killed:
            killed = True
        status = self.cluster.yolo.status
        assert "InternalError" not in {condition.reason for condition in status.conditions}, status.conditions
        decided = self.kube.statuses or not any(kind == api.KIND for kind, _ in self.kube.hit)
        after = self.cluster.observed()
        return Seen(
            yolo=yolo,
            observed=observed,
            after=after,
            status=status,
            now=self.cluster.now,
            stored=frozenset(self.cluster.stored),
            refused=frozenset(self.kube.hit),
            complete=not killed and not late and bool(decided),
            settled=not late and not self.kube.hit and not killed and not self.kube.writes and self.cluster.rests(),
        )

    @rule(late=st.sets(st.sampled_from(["Pod", "Deployment", "Job", "HTTPRoute", "Service", "YoloDeployment"]), min_size=1, max_size=3))
    def watches_are_late(self, late: set[str]) -> None:
        self.tally.steps += 1
        self.look(late=late)


@pytest.fixture(autouse=True)
def _without_logs() -> Iterator[None]:
    """A line for each pass is what takes longest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_1000_steps_of_the_reconciler_break_nothing(record_property: Any) -> None:
    record(searched(Watched, 1000), "the reconciler with its cache, the same steps in each run", record_property)


def test_back_from_a_gateway_the_service_selects_all_versions_again() -> None:
    steps = (
        "state.a_resource_is_made(rest=True, canary=False, gateway=True, steps=4, replicas=9, several=True)",
        "state.strategy_and_mode_are_edited(canary=False, gateway=False, quiet=False, steps=5)",
        "state.all_pods_of_a_version_crash(number=1, quiet=False)",
    )
    assert replayed(Watched, steps) is None


def test_the_only_ready_pod_answers_though_it_is_on_its_way_out() -> None:
    steps = (
        "state.a_resource_is_made(replicas=1, canary=True, steps=2, several=False, gateway=True, rest=False)",
        "state.a_canary_goes_on(number=2, rounds=1, seconds=0)",
        "state.a_pod_meets_its_fate(fate='take_back', index=4, quiet=False)",
        "state.strategy_and_mode_are_edited(canary=False, gateway=True, quiet=False, steps=5)",
        "state.a_canary_goes_on(number=2, rounds=3, seconds=130)",
        "state.a_pod_meets_its_fate(fate='evict', index=7, quiet=False)",
    )
    assert replayed(Watched, steps) is None


@pytest.mark.matrix
@pytest.mark.timeout(3600)
def test_20000_steps_of_the_reconciler_break_nothing(record_property: Any) -> None:
    record(searched(Watched, 20_000, number=1), "the reconciler with its cache", record_property)
