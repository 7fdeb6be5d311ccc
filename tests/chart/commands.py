"""helm and kubectl, from where the test cluster keeps its tools or from PATH, and where the chart is."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm" / "yolo-operator"
CRDS = sorted((REPOSITORY / "crds").glob("*.yaml"))
CACHE = Path(os.environ.get("YOLO_OPERATOR_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolo-operator")
KUBECONFIG = CACHE / "state" / "kubeconfig"


class CommandFailed(AssertionError):
    """A command ended with an error; the message is what it said."""


class Program:
    """A program that is called like a function: `helm("lint", CHART)` returns what it writes, warnings included."""

    def __init__(self, name: str) -> None:
        path = f"{CACHE / 'tools'}{os.pathsep}{os.environ.get('PATH', '')}"
        self._path = shutil.which(name, path=path) or ""
        self._environment = os.environ | {"PATH": path}
        if "KUBECONFIG" not in os.environ and KUBECONFIG.exists():
            self._environment["KUBECONFIG"] = str(KUBECONFIG)
        if not self._path:
            pytest.fail(f"{name} is neither in {CACHE / 'tools'} nor in PATH")

    def __call__(self, *arguments: str | Path, given: str = "") -> str:
        done = subprocess.run([self._path, *map(str, arguments)], input=given, capture_output=True, text=True, timeout=300, env=self._environment, check=False)
        if done.returncode:
            raise CommandFailed(f"{self._path} {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        return done.stdout + "".join(f"{line}\n" for line in done.stderr.splitlines() if "Warning" in line)


def settings_of(values: Manifest) -> list[str]:
    """Values as arguments of helm."""
    return [argument for key, value in values.items() for argument in ("--set-json", f"{key}={json.dumps(value)}")]


def rendered(values: Manifest | None = None, *, namespace: str = "yolo-system", release: str = "yolo-operator") -> list[Manifest]:
    """The objects that an installation makes."""
    text = Program("helm")("template", release, CHART, "--namespace", namespace, *settings_of(values or {}))
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def rights(objects: list[Manifest]) -> set[Right]:
    """All that the rules allow which are bound to the operator's account."""
    bound = {(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in objects if each["kind"] in ("ClusterRoleBinding", "RoleBinding")}
    rules = [rule for each in objects if (each["kind"], each["metadata"]["name"]) in bound for rule in each["rules"]]
    return {(group, resource, verb) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}
