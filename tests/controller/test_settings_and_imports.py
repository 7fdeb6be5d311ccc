"""The administrator's settings, and which process loads what."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_operator import cli
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
            "YOLO_OPERATOR_TRITON_MAX_CONCURRENT_UPDATES": "0",
            "YOLO_OPERATOR_STORAGE": json.dumps({"uri": "s3://models", "secretRef": {"name": "keys"}}),
            "YOLO_OPERATOR_RETRY_MIN_SECONDS": "1.5",
            "YOLO_OPERATOR_CLUSTER_NAME": "",
        }
    )
    assert settings.namespaces == ("a", "b")
    assert settings.workers == 7
    assert settings.defaults.max_image_updates == 0
    assert settings.defaults.storage is not None
    assert settings.defaults.storage.secret_ref is not None
    assert settings.defaults.retry_min_seconds == 1.5
    assert settings.defaults.cluster_name == "default"


WRONG = [
    ("WORKERS", "many", "a whole number from 1 to 64"),
    ("WORKERS", "0", "a whole number from 1 to 64"),
    ("WORKERS", "2.5", "a whole number"),
    ("TRITON_MAX_CONCURRENT_UPDATES", "all", "a whole number from 0 to 1000, such as 3"),
    ("PORT", "http", "a whole number from 0 to 65535"),
    ("PORT", "70000", "a whole number from 0 to 65535"),
    ("RESYNC_SECONDS", "2m", "seconds above 0, such as 120"),
    ("RESYNC_SECONDS", "0", "seconds above 0"),
    ("RESYNC_SECONDS", "inf", "seconds above 0"),
    ("RETRY_MIN_SECONDS", "-", "seconds above 0, such as 60"),
    ("RETRY_MAX_SECONDS", "nan", "seconds above 0, such as 600"),
    ("LOG_FORMAT", "yaml", "one of json, text"),
    ("LOG_LEVEL", "debug", "one of INFO, DEBUG, WARNING, ERROR"),
]


@pytest.mark.parametrize(("name", "value", "remedy"), WRONG)
def test_a_wrong_variable_is_named_with_its_value_and_the_remedy(name, value, remedy):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({f"YOLO_OPERATOR_{name}": value})
    assert str(caught.value).startswith(f"YOLO_OPERATOR_{name} is {value!r}: set it to ")
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        pytest.param("s3://key:hunter2@models", "Invalid JSON", id="no JSON"),
        pytest.param('["hunter2"]', "object", id="no object"),
        pytest.param('{"endpoint": "http://key:hunter2@s3:8333"}', "uri: Field required", id="no bucket"),
        pytest.param('{"uri": "s3://models", "secretRef": "hunter2"}', "secretRef: Input should be", id="the keys, not the Secret's name"),
    ],
)
def test_a_wrong_storage_is_explained_without_repeating_what_may_be_secret(value, fault):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"YOLO_OPERATOR_STORAGE": value})
    said = str(caught.value)
    assert said.startswith("YOLO_OPERATOR_STORAGE cannot be read (")
    assert fault in said
    assert "hunter2" not in said


def test_the_command_ends_in_one_sentence_about_a_wrong_variable():
    done = subprocess.run(
        [sys.executable, "-m", "yolo_operator.cli", "run"],
        env=os.environ | {"YOLO_OPERATOR_WORKERS": "many"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "YOLO_OPERATOR_WORKERS is 'many': set it to a whole number from 1 to 64, such as 4\n"


@pytest.mark.parametrize("command", ["validate", "render"])
def test_so_do_the_commands_that_need_no_cluster(command, monkeypatch, capsys):
    monkeypatch.setenv("YOLO_OPERATOR_STORAGE", "{}")
    assert cli.main([command, str(Path(__file__).parents[2] / "examples" / "minimal.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("YOLO_OPERATOR_STORAGE ")
    assert said.count("\n") == 1


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
