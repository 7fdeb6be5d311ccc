"""The administrator's settings, and which process loads what."""

import json
import subprocess
import sys

import pytest

from yolo_operator.controller.settings import Settings, SettingsError


def test_without_any_variable_there_are_defaults():
    settings = Settings.from_env({})
    assert (settings.workers, settings.namespaces, settings.defaults.storage, settings.lease_namespace) == (4, (), None, "")
    assert settings.identity


def test_all_variables_are_read():
    settings = Settings.from_env(
        {
            "YOLO_OPERATOR_NAMESPACES": "a, b,",
            "YOLO_OPERATOR_WORKERS": "7",
            "YOLO_OPERATOR_STORAGE": json.dumps({"uri": "s3://models", "secretRef": {"name": "keys"}}),
            "YOLO_OPERATOR_RETRY_MIN_SECONDS": "1.5",
            "YOLO_OPERATOR_CLUSTER_NAME": "",
        }
    )
    assert settings.namespaces == ("a", "b")
    assert settings.workers == 7
    assert settings.defaults.storage is not None
    assert settings.defaults.storage.secret_ref is not None
    assert settings.defaults.retry_min_seconds == 1.5
    assert settings.defaults.cluster_name == "default"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "many"),
        ("PORT", "http"),
        ("RESYNC_SECONDS", "2m"),
        ("RETRY_MIN_SECONDS", "-"),
        ("RETRY_MAX_SECONDS", "10 minutes"),
        ("STORAGE", "s3://models"),
        ("STORAGE", '{"endpoint": "http://s3:8333"}'),
        ("STORAGE", '["s3://models"]'),
    ],
)
def test_a_wrong_variable_is_named(name, value):
    with pytest.raises(SettingsError, match=f"YOLO_OPERATOR_{name}"):
        Settings.from_env({f"YOLO_OPERATOR_{name}": value})


def loaded(*modules: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after importing some modules."""
    code = f"import {', '.join(modules)}, sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_operator_is_the_standard_librarys():
    code = "import operator, sys; print(operator.__file__, operator.itemgetter)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "/operator.py" in said
    assert "yolo" not in said


def test_the_operator_process_loads_nothing_that_touches_bytes():
    packages = loaded("yolo_operator.cli", "yolo_operator.controller.operator")
    assert "kopf" in packages
    assert packages & {"boto3", "botocore", "tritonclient", "onnx", "numpy", "torch", "ultralytics"} == set()


def test_the_workers_load_no_kubernetes():
    packages = loaded("yolo_operator.cli", *(f"yolo_operator.worker.{name}" for name in ("check", "fetch", "publish", "verify", "prune")))
    assert "boto3" in packages
    assert packages & {"kopf", "kubernetes", "torch", "ultralytics"} == set()


def test_the_core_is_light():
    assert loaded("yolo_operator.core.plan") & {"kopf", "kubernetes", "boto3", "tritonclient", "onnx", "numpy", "aiohttp", "grpc"} == set()
