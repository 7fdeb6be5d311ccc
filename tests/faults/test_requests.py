"""What a resource costs the API server: no pass reads, a step is written once, and one that is settled is not written at all."""

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from place import Place
from proxy import Asked, Proxy
from scenarios import begin

OBJECT = re.compile(r".*/namespaces/[^/]+/(?P<plural>[a-z]+)(/(?P<name>[^/]+)(/(?P<subresource>status))?)?")
WRITES = {
    "POST jobs": 2,
    "POST events": 2,
    "PATCH yolodeployments/status": 7,
    "PATCH deployments": 2,
    "PATCH services": 2,
    "PATCH poddisruptionbudgets": 1,
    "PATCH pods/status": 1,
}
"""From nothing to serving, at most: build and verify; Building and Serving; six steps in the status, and the pod where it is seen before it answers; the
Deployment, and on it the template that was found right."""


@pytest.fixture
def here(places: Callable[..., Place], proxy: Proxy) -> Place:
    """An operator that has opened its watches, and lists nothing anew while a test lasts."""
    place = places(proxy, RESYNC_SECONDS="600")
    begin(place, proxy)
    return place


def test_from_nothing_to_serving_nothing_is_read_and_each_step_written_once(here: Place, proxy: Proxy) -> None:
    began = time.monotonic()
    here.create()
    here.until(here.is_ready)
    here.rest(3)
    asked = counted(proxy.since(began))
    assert {what: count for what, count in asked.items() if what.startswith("GET")} == {}
    assert {what: count for what, count in asked.items() if count > WRITES.get(what, 0)} == {}
    assert asked.keys() == WRITES.keys()


def test_what_is_settled_is_neither_read_nor_written(here: Place, proxy: Proxy) -> None:
    here.create()
    here.until(here.is_ready)
    here.rest(3)
    began = time.monotonic()
    for _ in range(3):
        here.annotate()
        here.rest()
    assert counted(proxy.since(began)) == {}


def counted(asked: list[Asked]) -> dict[str, int]:
    """How often what was asked for, without watches, the Lease, and kinds that the API server has not."""
    found = [(each.method, OBJECT.fullmatch(each.path)) for each in asked if not each.watch and "/gateway.networking.k8s.io/" not in each.path]
    return Counter(
        f"{method} {'/'.join(filter(None, (path['plural'], path['subresource'])))}" for method, path in found if path is not None and path["plural"] != "leases"
    )
