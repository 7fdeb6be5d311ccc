"""Given: a bare control plane, a simulated kubelet, and an operator in a namespace of the test's own."""

import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import control_plane
import pytest
from control_plane import ControlPlane
from kubelet import Kubelet
from place import Place


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


@pytest.fixture(scope="session")
def places(plane: ControlPlane, kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Place]]:
    """Makes places: each a namespace of its own. Their operators end with the session."""
    folder, made, numbers = tmp_path_factory.mktemp("operators"), [], itertools.count()

    def make() -> Place:
        made.append(Place(plane, kubelet, f"place-{next(numbers)}", folder))
        return made[-1]

    yield make
    for place in made:
        place.operator.kill()
