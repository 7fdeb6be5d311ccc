"""What a serving pod's init container brings, from a real S3."""

import errno
import os

import pytest
import test_storage
from test_storage import REVISION

from yolo_operator.core.contract import MANIFEST
from yolo_operator.core.errors import OperatorError, Unavailable
from yolo_operator.worker import load, storage

LARGE = 40 * 1024**2
"""More than two parts of a download."""


@pytest.fixture
def published(repository, tmp_path):
    test_storage.published(repository, tmp_path)
    return repository


def test_all_that_triton_reads_and_nothing_else(published, tmp_path):
    brought = load.run(published, REVISION, tmp_path / "repository")
    found = {str(path.relative_to(tmp_path / "repository")) for path in (tmp_path / "repository").rglob("*") if path.is_file()}
    assert found == {"helmet/1/model.onnx", "helmet/config.pbtxt", "helmet/warmup/golden"}
    assert brought["files"] == 3
    assert brought["bytes"] == sum((tmp_path / "repository" / path).stat().st_size for path in found)


def test_a_large_file_in_parts(repository, tmp_path):
    content = os.urandom(LARGE)
    repository.write(f"{REVISION}/large", content, "")
    repository.download(f"{REVISION}/large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == content


def test_after_a_restart_nothing_is_brought_twice(published, tmp_path, monkeypatch):
    first = load.run(published, REVISION, tmp_path / "repository")
    monkeypatch.setattr(storage.Repository, "download", None)
    assert load.run(published, REVISION, tmp_path / "repository") == first


def test_what_was_brought_by_half_is_brought_anew(published, tmp_path):
    half = tmp_path / "repository" / "helmet" / "1" / "model.onnx"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    load.run(published, REVISION, tmp_path / "repository")
    assert half.stat().st_size > 4


@pytest.mark.parametrize("file", ["helmet/1/model.onnx", "helmet/config.pbtxt"])
def test_what_is_not_as_published_is_not_served(published, tmp_path, s3, file):
    s3.put_object(Bucket="models", Key=f"{test_storage.prefix(published)}/{REVISION}/{file}", Body=b"another")
    with pytest.raises(Unavailable) as caught:
        load.run(published, REVISION, tmp_path / "repository")
    assert caught.value.reason == "StorageInconsistent"
    assert "rebuild" in caught.value.message
    assert not (tmp_path / "repository" / file).exists()


@pytest.mark.parametrize(("file", "reason"), [(MANIFEST, "RevisionVanished"), ("helmet/1/model.onnx", "StorageNotFound")])
def test_what_is_gone_is_said(published, tmp_path, file, reason):
    published.delete(f"{REVISION}/{file}")
    with pytest.raises(OperatorError) as caught:
        load.run(published, REVISION, tmp_path / "repository")
    assert caught.value.reason == reason


def test_a_node_without_room(published, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.Repository, "download", full)
    with pytest.raises(Unavailable) as caught:
        load.run(published, REVISION, tmp_path / "repository")
    assert caught.value.reason == "DiskFull"


def test_wrong_keys(published, tmp_path, options, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Unavailable) as caught:
        load.run(storage.Repository(published.root, options), REVISION, tmp_path / "repository")
    assert caught.value.reason == "StorageAccessDenied"
    assert "spec.storage.secretRef" in caught.value.message
