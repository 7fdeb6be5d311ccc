"""The chart through helm and kubectl."""

import pytest
import yaml

from chart.commands import CHART, Manifest, Program, Render, settings_of


@pytest.fixture(scope="session")
def helm() -> Program:
    return Program("helm")


@pytest.fixture(scope="session")
def kubectl() -> Program:
    return Program("kubectl")


@pytest.fixture(scope="session")
def render(helm: Program) -> Render:
    """`render({"s3.enabled": True}, namespace=…)` returns the objects that an installation makes."""

    def rendered(values: Manifest | None = None, *, namespace: str = "yolo-system") -> list[Manifest]:
        text = helm("template", "yolo-operator", CHART, "--namespace", namespace, *settings_of(values or {}))
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]

    return rendered
