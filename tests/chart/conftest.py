"""The chart through helm and kubectl."""

import pytest

from chart.commands import Program, Render, rendered


@pytest.fixture(scope="session")
def helm() -> Program:
    return Program("helm")


@pytest.fixture(scope="session")
def kubectl() -> Program:
    return Program("kubectl")


@pytest.fixture(scope="session")
def render() -> Render:
    """`render({"s3.enabled": True}, namespace=…)` returns the objects that an installation makes."""
    return rendered
