"""What the faults are measured by: without any a resource is served, and a new operator finds nothing to do."""

import time
from collections.abc import Callable

from place import Place


def test_a_resource_is_served_by_one_build_and_a_new_operator_writes_nothing(places: Callable[[], Place]) -> None:
    here = places()
    here.operator.start()
    here.create()
    here.until(here.is_ready)
    assert list(here.builds().values()) == [1]
    assert list(here.builds()) == here.published
    before = here.state()
    here.operator.kill()
    here.operator.start()
    here.until(lambda: "reconciled" in here.operator.lines()[-1])
    time.sleep(1)
    assert here.operator.writes == 0
    assert here.state() == before
