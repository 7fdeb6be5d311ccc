import json
import subprocess
import sys

import pytest

from yolo_operator import cli
from yolo_operator.core.contract import Outcome
from yolo_operator.core.errors import InvalidSpec, NotReady, Unavailable
from yolo_operator.worker import pictures

WORKERS = ["check", "fetch", "export", "publish", "verify", "pictures", "analyze", "prune"]


def command(result=None, error: Exception | None = None):
    def run(arguments):
        if error:
            raise error
        return result

    return cli.Command(help="test", add_arguments=lambda to: None, run=run)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (None, 0, ""),
        (InvalidSpec("TaskMismatch", "wrong"), 42, "TaskMismatch"),
        (Unavailable("StorageUnreachable", "down"), 1, "StorageUnreachable"),
        (NotReady("ModelNotReady", "later"), 1, "ModelNotReady"),
        (RuntimeError("a secret"), 1, "InternalError"),
    ],
)
def test_exit_codes_and_last_words(tmp_path, monkeypatch, capsys, error, code, reason):
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setitem(cli.COMMANDS, "test", command({"a": 1}, error))
    assert cli.main(["test", "--termination-log", str(log)]) == code
    said = Outcome.decode(log.read_text())
    assert said is not None
    assert said.reason == reason
    assert said.result == (None if error else {"a": 1})
    assert "a secret" not in log.read_text()
    assert json.loads(capsys.readouterr().out) == json.loads(log.read_text())


def test_no_termination_log_is_made_where_the_kubelet_made_none(tmp_path, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "test", command({}))
    assert cli.main(["test", "--termination-log", str(tmp_path / "none")]) == 0
    assert not (tmp_path / "none").exists()


def test_a_message_too_long_is_cut_not_lost(tmp_path, monkeypatch):
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setitem(cli.COMMANDS, "test", command(error=InvalidSpec("Long", "ä" * 5000)))
    cli.main(["test", "--termination-log", str(log)])
    assert len(log.read_bytes()) <= 2000
    assert Outcome.decode(log.read_text()).reason == "Long"


@pytest.mark.parametrize("name", WORKERS)
def test_every_worker_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    assert "--" in capsys.readouterr().out


def imported(statements: str) -> set[str]:
    """Top-level packages that these statements import, in a process of their own."""
    code = f"{statements}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


HEAVY = {"boto3", "botocore", "onnx", "numpy", "tritonclient", "grpc", "kopf", "kubernetes", "torch", "ultralytics"}


def test_the_command_itself_imports_nothing_heavy():
    assert not imported("from yolo_operator import cli; cli.parser()") & HEAVY


@pytest.mark.parametrize("name", ["check", "fetch", "publish", "verify", "pictures", "prune"])
def test_workers_never_import_the_controller_s_world(name):
    assert not imported(f"from yolo_operator.worker import {name}") & {"kopf", "kubernetes", "torch", "ultralytics", "onnxruntime"}


def test_check_and_prune_import_no_model_code():
    assert not imported("from yolo_operator.worker import check, prune") & {"onnx", "numpy", "tritonclient", "grpc"}


def test_the_exporter_s_parent_imports_no_model_code():
    assert not imported("from yolo_operator.exporter import export") & HEAVY


def test_an_analysis_imports_the_client_only_when_there_are_pictures_to_show():
    assert not imported("from yolo_operator.exporter import analyze") & (HEAVY - {"numpy"} | {"cv2", "onnxruntime"})


def test_an_analysis_by_hand(tmp_path, monkeypatch, capsys):
    """No pods and no pictures: the word is said all the same, and the exit code is 0."""
    arguments = ["analyze", "--model-name", "helmet", "--task", "obb", "--stable-version", "1", "--version", "2", "--duration", "0", "--min-requests", "3"]
    assert cli.main([*arguments, "--pictures-directory", str(tmp_path), "--termination-log", str(tmp_path / "none")]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["verdict"], result["requests"], result["pictures"]) == ("Inconclusive", 0, 0)
    assert "0 of 3 requests" in result["message"]


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["--golden", "s3://models/yolo/ns/a/0123456789"], ("golden", "s3://models/yolo/ns/a/0123456789")),
        (["--pictures", "s3://models/pictures"], ("below", "s3://models/pictures")),
    ],
)
def test_which_pictures(tmp_path, monkeypatch, capsys, arguments, called):
    calls = []
    for name in ("golden", "below"):
        monkeypatch.setattr(pictures, name, lambda uri, options, directory, name=name: calls.append((name, uri, options.endpoint, directory)) or 3)
    where = ["--endpoint", "http://s3:8333", "--pictures-directory", str(tmp_path)]
    assert cli.main(["pictures", *arguments, *where, "--termination-log", str(tmp_path / "none")]) == 0
    assert calls == [(*called, "http://s3:8333", tmp_path)]
    assert json.loads(capsys.readouterr().out) == {"result": {"pictures": 3}}
