"""pictures against a real S3."""

import dataclasses
import itertools

import pytest
import yolo_models

from yolo_operator import cli
from yolo_operator.commands import worker
from yolo_operator.core.contract import MANIFEST, Verdict
from yolo_operator.core.errors import OperatorError, Unavailable
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.worker import pictures, storage, verdict

REVISION = "0123456789"
_numbers = itertools.count()


@pytest.fixture
def prefix(s3):
    """Puts objects below a prefix of its own for each test; gives the prefix's URI."""
    key = f"pictures/{next(_numbers)}"

    def put(*names):
        for name in names:
            s3.put_object(Bucket="models", Key=f"{key}/{name}", Body=name.encode())
        return f"s3://models/{key}"

    return put


@pytest.fixture
def revision(repository, tmp_path):
    """The URI of a published revision."""
    pod = yolo_models.build_pod(tmp_path / "pod")
    serving = ServingOptions(model_name="helmet", version=1, gpu=False, max_batch_size=4)
    pod.publish(repository, serving)
    return repository.uri(REVISION)


def brought(directory):
    return {path.name: path.read_bytes().decode() for path in sorted(directory.iterdir())}


def test_the_golden_picture_of_a_revision(revision, repository, options, tmp_path):
    assert pictures.golden(f"{revision}/", options, tmp_path / "pictures") == 1
    assert (tmp_path / "pictures" / "golden.npz").read_bytes() == repository.read(f"{REVISION}/golden.npz", 10**7)


def test_a_revision_that_is_gone(revision, repository, options, tmp_path):
    repository.delete(f"{REVISION}/{MANIFEST}")
    assert refused(lambda: pictures.golden(revision, options, tmp_path)).reason == "RevisionMissing"


def test_an_altered_golden_picture(revision, repository, options, tmp_path):
    repository.write(f"{REVISION}/golden.npz", b"x", "")
    assert refused(lambda: pictures.golden(revision, options, tmp_path)).reason == "StorageInconsistent"


def refused(ask) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        ask()
    assert isinstance(caught.value, Unavailable)
    return caught.value


def test_the_pictures_below_a_prefix_in_the_order_of_their_keys(prefix, options, tmp_path):
    uri = prefix("b.PNG", "a.jpg", "notes.txt", "c/d e.webp", "f.jpeg", "g.bmp", "h.tiff")
    assert pictures.below(uri, options, tmp_path / "pictures") == 5
    assert brought(tmp_path / "pictures") == {"00.jpg": "a.jpg", "01.png": "b.PNG", "02.webp": "c/d e.webp", "03.jpeg": "f.jpeg", "04.bmp": "g.bmp"}


def test_a_prefix_is_a_folder(prefix, options, tmp_path):
    uri = prefix("cats/a.jpg", "catsanddogs/b.jpg")
    pictures.below(f"{uri}/cats/", options, tmp_path)
    assert brought(tmp_path) == {"00.jpg": "cats/a.jpg"}


def test_no_more_and_no_larger_than_allowed(prefix, options, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 5)
    two = dataclasses.replace(pictures.ANALYSIS, max_pictures=2)
    assert pictures.below(prefix("a-large-one.jpg", "b.jpg", "c.jpg", "d.jpg"), options, tmp_path, two) == 2
    assert brought(tmp_path) == {"0.jpg": "b.jpg", "1.jpg": "c.jpg"}


def test_no_pictures(prefix, options, tmp_path):
    error = refused(lambda: pictures.below(prefix("notes.txt"), options, tmp_path))
    assert error.reason == "SourceNotFound"
    assert "spec.rollout.analysis.pictures" in error.message


def test_pictures_for_a_calibration_keep_their_order_by_name(prefix, options, tmp_path):
    keys = [f"{number:03}.jpg" for number in range(101)]
    assert pictures.below(prefix(*keys), options, tmp_path, pictures.CALIBRATION) == 101
    assert list(brought(tmp_path).values()) == keys


@pytest.mark.parametrize(
    ("names", "secret", "reason", "field"),
    [
        pytest.param(["notes.txt"], None, "SourceNotFound", "export.calibration.pictures", id="no pictures"),
        pytest.param(["a.jpg"], "wrong", "SourceAccessDenied", "export.calibration.secretRef", id="wrong keys"),
    ],
)
def test_faults_of_a_calibration_name_its_fields(prefix, options, tmp_path, monkeypatch, names, secret, reason, field):
    uri = prefix(*names)
    if secret:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    error = refused(lambda: pictures.below(uri, options, tmp_path, pictures.CALIBRATION))
    assert error.reason == reason
    assert f"spec.versions[].{field}" in error.message


@pytest.mark.parametrize(("state", "count"), [("missing", 1), ("published", 0), ("reusable", 0)])
def test_a_calibration_brings_pictures_only_where_something_is_exported(prefix, options, tmp_path, state, count):
    verdict.write(tmp_path / "check", Verdict(state=state, reuse="0123456789"))
    directories = [f"--check-directory={tmp_path / 'check'}", f"--pictures-directory={tmp_path / 'pictures'}"]
    asked = ["pictures", "--for=calibration", f"--pictures={prefix('a.jpg')}", f"--endpoint={options.endpoint}", *directories]
    arguments = cli.parser().parse_args(asked)
    assert worker.run_pictures(arguments).get("pictures", 0) == count
    assert (tmp_path / "pictures").exists() is bool(count)


def test_another_bucket(options, tmp_path):
    error = refused(lambda: pictures.below("s3://no-such-bucket/pictures", options, tmp_path))
    assert error.reason == "SourceNotFound"
    assert "spec.rollout.analysis.pictures" in error.message


def test_wrong_keys(prefix, options, tmp_path, monkeypatch):
    uri = prefix("a.jpg")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    error = refused(lambda: pictures.below(uri, options, tmp_path))
    assert error.reason == "SourceAccessDenied"
    assert "spec.rollout.analysis.secretRef" in error.message


def test_a_storage_that_is_down(keys, tmp_path):
    down = storage.StorageOptions(endpoint="http://127.0.0.1:1")
    assert refused(lambda: pictures.below("s3://models/pictures", down, tmp_path)).reason == "SourceUnreachable"
