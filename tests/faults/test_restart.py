"""A restart among many resources: nothing but lists is read, nothing is written, the Lease is renewed in time, and an edit is answered."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from aiohttp import web
from control_plane import ControlPlane
from kubelet import Kubelet
from mortal import Mortal
from place import Place
from proxy import Asked, Fault, Proxy
from renewals import Renewals

import gen
from yolo_operator.controller import kinds
from yolo_operator.controller.kinds import YOLO
from yolo_operator.controller.leader import DEADLINE_SECONDS, LEASE_SECONDS

LEASE = "restart"
EACH = 2.0
"""Seconds for one resource to be Ready, where all are made at once on a machine that does other things besides."""
QUIET_SECONDS = 3.0
SINGLE = re.compile(r"/apis?/.*/namespaces/[^/]+/[a-z]+/[^/]+.*")


class Slow(Fault):
    """Every request is answered a tenth of a second late."""

    async def before(self, asked: Asked) -> web.Response | None:
        await asyncio.sleep(0.1)
        return None


@dataclass(frozen=True, slots=True)
class Many:
    """A namespace with many resources, all Ready, whose operator was killed and still holds the Lease; a resource `helmet` among them."""

    place: Place
    count: int
    plane: ControlPlane
    renewals: Renewals


@pytest.fixture(scope="module", params=[pytest.param(60, id="60"), pytest.param(1000, id="1000", marks=[pytest.mark.matrix, pytest.mark.timeout(3600)])])
def many(request: pytest.FixtureRequest, plane: ControlPlane, kubelet: Kubelet, new_place: Callable[..., Place]) -> Iterator[Many]:
    count: int = request.param
    place = new_place(LEASE_NAMESPACE="default", LEASE_NAME=LEASE, IDENTITY="the first", WORKERS="4")
    place.operator.start()
    place.create()

    def make(number: int) -> None:
        metadata = {"namespace": place.namespace, "name": f"m{number:05}", "uid": None, "generation": None, "resourceVersion": None}
        plane.client().create(YOLO, gen.body(metadata=metadata))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(count - 1)))
    try:
        place.until(lambda: ready(plane, place) == count, 60 + EACH * count)
        place.operator.kill()
        yield Many(place, count, plane, Renewals(plane.client(), LEASE))
    finally:
        place.operator.kill()
        for body in plane.client().list(YOLO, place.namespace):
            plane.client().delete(YOLO, place.namespace, body["metadata"]["name"])


def ready(plane: ControlPlane, place: Place) -> int:
    """How many are. Asked once a second: a list of a thousand is as large as what the operator itself reads."""
    time.sleep(1)
    conditions = [body.get("status", {}).get("conditions", ()) for body in plane.client().list(YOLO, place.namespace)]
    return sum(any(each["type"] == "Ready" and each["status"] == "True" for each in found) for found in conditions)


@pytest.mark.parametrize(
    ("fault", "name"), [pytest.param(Fault, "", id="killed"), pytest.param(Slow, ", and each request takes 100 ms more", id="and a slow API server")]
)
def test_who_takes_over_gets_to_work_and_keeps_the_lease(
    many: Many, fault: Callable[[], Fault], name: str, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, str], None]
) -> None:
    here, identity = many.place, f"after{name}"
    settings = {"LEASE_NAMESPACE": "default", "LEASE_NAME": LEASE, "IDENTITY": identity, "WORKERS": "4", "RESYNC_SECONDS": "600"}
    here.operator = Mortal(proxy.kubeconfig, tmp_path_factory.mktemp("restart"), here.namespace, **settings)
    proxy.fault = fault()
    here.operator.start()
    try:
        here.until(lambda: identity in many.renewals.by_holder, LEASE_SECONDS + 15)
        began = time.monotonic()
        here.until(lambda: {each.path.rpartition("/")[2] for each in proxy.asked if each.watch} >= {kind.plural for kind in kinds.WATCHED})
        here.until(lambda: quiet(proxy))
        settled = proxy.asked[:]
        took = time.monotonic() - began - QUIET_SECONDS
        here.edit(replicas=3 if here.body["spec"].get("replicas", 1) == 2 else 2)
        answered = here.until(lambda: here.condition("Ready")[0] != "")
        here.until(here.is_ready)
        longest = many.renewals.longest(identity)
    finally:
        here.operator.kill()

    assert [(each.method, each.path) for each in settled if not about_the_lease(each) and (each.method != "GET" or SINGLE.fullmatch(each.path))] == []
    assert longest < DEADLINE_SECONDS
    record_property("Fault", f"an operator of {many.count} resources is killed while it holds the Lease{name}")
    record_property("Tried", "1")
    record_property("Ended well", f"1: an edit answered after {answered:.1f} s, {longest:.1f} s between two renewals at most")
    record_property("Seconds to recover", f"{took:.0f}")


def quiet(proxy: Proxy) -> bool:
    """Whether nothing has been asked for a while but the Lease."""
    return not [each for each in proxy.since(time.monotonic() - QUIET_SECONDS) if not about_the_lease(each)]


def about_the_lease(asked: Asked) -> bool:
    return asked.path.endswith(f"/leases/{LEASE}") or asked.path.endswith("/leases")
