"""Given: a bare control plane, a simulated kubelet, and an operator in a namespace of the test's own."""

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import control_plane
import pytest
from control_plane import ControlPlane
from kubelet import Kubelet
from mortal import Mortal
from place import Place
from proxy import Proxy
from scenarios import SCENARIOS, Scenario, Undisturbed, undisturbed

NewPlace = Callable[..., Place]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster's programs."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, API server and controllers, for the whole session."""
    logging.getLogger("urllib3").setLevel("ERROR")
    with control_plane.running(tmp_path_factory.mktemp("control-plane")) as found:
        yield found


@pytest.fixture(scope="session")
def kubelet(plane: ControlPlane) -> Iterator[Kubelet]:
    """Says what becomes of Pods."""
    with Kubelet(plane.client()) as found:
        yield found


@pytest.fixture
def proxy(plane: ControlPlane, tmp_path: Path) -> Iterator[Proxy]:
    """Does nothing wrong, until it is told to."""
    with Proxy(plane, tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def new_place(plane: ControlPlane, kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Makes a place: a namespace of its own, and an operator before the API server or a proxy, which is not started."""
    numbers, folder = itertools.count(), tmp_path_factory.mktemp("operators")

    def make(before: ControlPlane | Proxy = plane, constants: Mapping[str, float] | None = None, **settings: str) -> Place:
        namespace = f"place-{next(numbers)}"
        return Place(plane, kubelet, namespace, Mortal(before.kubeconfig, folder, namespace, constants, **settings))

    return make


@pytest.fixture
def places(new_place: NewPlace) -> Iterator[NewPlace]:
    """Makes places that end with the test."""
    with ExitStack() as stack:

        def make(*arguments: Any, **more: Any) -> Place:
            place = new_place(*arguments, **more)
            stack.callback(place.abandon)
            return place

        yield make


@pytest.fixture(scope="session")
def without_fault(new_place: NewPlace) -> Callable[[Scenario], Undisturbed]:
    """How each scenario goes, told once."""

    @functools.cache
    def tell(name: str) -> Undisturbed:
        here = new_place()
        try:
            return undisturbed(next(scenario for scenario in SCENARIOS if scenario.name == name), here)
        finally:
            here.abandon()

    return lambda scenario: tell(scenario.name)
