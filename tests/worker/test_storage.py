"""Against a real S3: fetch, check, publish, prune, and their faults."""

import base64
import dataclasses
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading

import boto3
import old_s3
import pytest
import seaweed
import test_onnx_stripped
import yolo_models
from botocore.exceptions import ClientError

from yolo_operator.core.contract import MANIFEST, Verdict
from yolo_operator.core.errors import InvalidSpec, OperatorError, Unavailable
from yolo_operator.core.triton import releases
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.worker import check, download, fetch, prune, publish, revisions, storage, verdict

REVISION, OTHER = "0123456789", "abcdef0123"


def serving(**changes) -> ServingOptions:
    return ServingOptions(**({"model_name": "helmet", "version": 1, "gpu": False, "max_batch_size": 4} | changes))


def publish_options(pod, revision=REVISION, key="key", cluster="c1", **changes):
    return publish.PublishOptions(
        revision=revision,
        export_key=key,
        cluster_name=cluster,
        serving=changes.pop("serving", serving()),
        check_directory=pod.check,
        source_directory=pod.source,
        export_directory=pod.export,
        **changes,
    )


def published(repository, tmp_path, revision=REVISION, **changes):
    pod = yolo_models.build_pod(tmp_path / revision)
    return publish.run(repository, publish_options(pod, revision, **changes))


def checked(repository, tmp_path, revision=REVISION, key="key", cluster="c1"):
    found = check.run(repository, check.CheckOptions(revision=revision, export_key=key, cluster_name=cluster, directory=tmp_path / "check"))
    return found, verdict.read(tmp_path / "check")


def prefix(repository) -> str:
    return repository.root.removeprefix("s3://models/")


def keys_of(s3, repository) -> set[str]:
    listed = s3.list_objects_v2(Bucket="models", Prefix=f"{prefix(repository)}/").get("Contents", [])
    return {entry["Key"].removeprefix(f"{prefix(repository)}/") for entry in listed}


# check


def test_a_missing_revision_proves_that_the_storage_can_be_written(repository, tmp_path, s3):
    assert checked(repository, tmp_path) == (None, Verdict(state="missing"))
    assert keys_of(s3, repository) == set()


def test_a_published_revision_is_recognised(repository, tmp_path):
    artifact = published(repository, tmp_path)
    assert checked(repository, tmp_path) == (artifact, Verdict(state="published"))


def test_a_revision_with_the_same_onnx_can_be_taken_over(repository, tmp_path):
    published(repository, tmp_path)
    assert checked(repository, tmp_path, OTHER)[1] == Verdict(state="reusable", reuse=REVISION)
    assert checked(repository, tmp_path, OTHER, key="another")[1] == Verdict(state="missing")
    assert checked(repository, tmp_path, OTHER, cluster="c2")[1] == Verdict(state="missing")


@pytest.mark.parametrize("file", ["helmet/1/model.onnx", "helmet/config.pbtxt", "golden.npz", "helmet/warmup/golden", MANIFEST])
def test_a_revision_that_lacks_a_file_is_not_published(repository, tmp_path, file):
    published(repository, tmp_path)
    repository.delete(f"{REVISION}/{file}")
    assert checked(repository, tmp_path)[1] == Verdict(state="missing")
    assert checked(repository, tmp_path, OTHER)[1] == Verdict(state="missing")


def test_a_revision_with_a_file_overwritten_is_not_published(repository, tmp_path, s3):
    published(repository, tmp_path)
    s3.put_object(Bucket="models", Key=f"{prefix(repository)}/{REVISION}/helmet/config.pbtxt", Body=b"x")
    assert checked(repository, tmp_path)[1] == Verdict(state="missing")


def test_two_clusters_never_share_a_revision(repository, tmp_path):
    published(repository, tmp_path)
    with pytest.raises(InvalidSpec) as caught:
        checked(repository, tmp_path, cluster="c2")
    assert caught.value.reason == "StorageConflict"
    with pytest.raises(InvalidSpec):
        published(repository, tmp_path / "again", cluster="c2")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"revision": "0123456789"}', b"\xff\xfe"])
def test_an_unreadable_manifest_is_none(repository, tmp_path, content):
    repository.write(f"{REVISION}/{MANIFEST}", content, "")
    assert checked(repository, tmp_path)[1] == Verdict(state="missing")
    assert published(repository, tmp_path).uri.endswith(REVISION)


# publish


def test_what_is_published(repository, tmp_path, s3):
    artifact = published(repository, tmp_path)
    paths = {"golden.npz", "helmet/1/model.onnx", "helmet/config.pbtxt", "helmet/warmup/golden"}
    assert keys_of(s3, repository) == {f"{REVISION}/{path}" for path in paths | {MANIFEST}}
    manifest = json.loads(repository.read(f"{REVISION}/{MANIFEST}", 10**6))
    assert set(manifest["files"]) == paths
    for path, file in manifest["files"].items():
        content = repository.read(f"{REVISION}/{path}", 10**7)
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert repository.head(f"{REVISION}/{path}") == (file["sizeBytes"], file["sha256"])
    assert manifest["artifact"]["onnxSha256"] == artifact.onnx_sha256 == manifest["files"]["helmet/1/model.onnx"]["sha256"]
    assert repository.read(f"{REVISION}/helmet/warmup/golden", 10**7) == yolo_models.picture().tobytes()
    assert artifact.uri == f"{repository.root}/{REVISION}"


def test_published_twice_is_written_once(repository, tmp_path, monkeypatch):
    first = published(repository, tmp_path)
    monkeypatch.setattr(storage.Repository, "write", None)
    assert published(repository, tmp_path) == first


PUBLISH = """
import sys
from pathlib import Path
import test_storage, yolo_models
from peak_memory import peak_memory
from yolo_operator.worker import publish, storage
repository = storage.Repository(sys.argv[1], storage.StorageOptions(endpoint=sys.argv[2]))
before = peak_memory()
artifact = publish.run(repository, test_storage.publish_options(yolo_models.BuildPod(Path(sys.argv[3]))))
print(artifact.size_bytes, (peak_memory() - before) // 1024)
"""


def test_a_large_onnx_is_published_in_little_memory(repository, options, tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    test_onnx_stripped.large_file(pod.export / "model.onnx", 300 * 1024**2)
    answer = subprocess.run(
        [sys.executable, "-c", PUBLISH, repository.root, options.endpoint, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    size, grown = (int(part) for part in answer.stdout.split())
    assert size > 300 * 1024**2
    assert grown < 64


def test_the_onnx_that_was_checked_is_the_one_that_is_sent(repository, tmp_path, monkeypatch, s3):
    pod, real = yolo_models.build_pod(tmp_path), publish.configure
    onnx = pod.export / "model.onnx"
    checked_bytes = onnx.read_bytes()

    def exchanged(*arguments):
        onnx.unlink()
        onnx.write_bytes(b"another")
        return real(*arguments)

    monkeypatch.setattr(publish, "configure", exchanged)
    publish.run(repository, publish_options(pod))
    assert repository.read(f"{REVISION}/helmet/1/model.onnx", 10**7) == checked_bytes


class Killed(BaseException):
    """As SIGKILL: nothing is caught, nothing is cleaned up."""


@pytest.mark.parametrize("survived", range(5))
def test_killed_between_any_two_uploads_a_rerun_publishes(repository, tmp_path, monkeypatch, survived):
    real, left = storage.Repository.write, [survived]

    def write(self, key, content, sha256):
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(self, key, content, sha256)

    monkeypatch.setattr(storage.Repository, "write", write)
    with pytest.raises(Killed):
        published(repository, tmp_path)
    assert revisions.manifest(repository, REVISION) is None
    monkeypatch.setattr(storage.Repository, "write", real)
    assert checked(repository, tmp_path)[1] == Verdict(state="missing")
    published(repository, tmp_path)
    assert checked(repository, tmp_path)[1] == Verdict(state="published")


def test_a_change_of_configuration_copies_the_onnx_on_the_server(repository, tmp_path, monkeypatch):
    first = published(repository, tmp_path)
    pod = yolo_models.BuildPod(tmp_path / "empty")
    verdict.write(pod.check, Verdict(state="reusable", reuse=REVISION))
    written, real = [], storage.Repository.write
    monkeypatch.setattr(storage.Repository, "write", lambda self, key, *rest: (written.append(key), real(self, key, *rest)))
    second = publish.run(repository, publish_options(pod, OTHER, serving=serving(version=2, max_batch_size=2)))
    assert second.onnx_sha256 == first.onnx_sha256
    assert written == [f"{OTHER}/helmet/config.pbtxt", f"{OTHER}/helmet/warmup/golden", f"{OTHER}/{MANIFEST}"]
    assert revisions.whole(repository, revisions.manifest(repository, OTHER))
    assert b"max_batch_size: 2" in repository.read(f"{OTHER}/helmet/config.pbtxt", 10**6)
    assert repository.head(f"{OTHER}/helmet/2/model.onnx") == repository.head(f"{REVISION}/helmet/1/model.onnx")


def test_what_was_to_be_taken_over_is_gone(repository, tmp_path):
    pod = yolo_models.BuildPod(tmp_path)
    verdict.write(pod.check, Verdict(state="reusable", reuse=REVISION))
    with pytest.raises(Unavailable) as caught:
        publish.run(repository, publish_options(pod, OTHER))
    assert caught.value.reason == "RevisionVanished"


def test_a_static_batch_is_refused_before_anything_is_written(repository, tmp_path, s3):
    pod = yolo_models.build_pod(tmp_path, yolo_models.detector(batch=1, size=64))
    with pytest.raises(InvalidSpec) as caught:
        publish.run(repository, publish_options(pod))
    assert caught.value.reason == "StaticBatch"
    assert keys_of(s3, repository) == set()


def test_a_fixed_batch_warms_up_with_that_many_pictures(repository, tmp_path):
    pod = yolo_models.build_pod(tmp_path, yolo_models.detector(batch=3, size=64), batch=3, dynamic=False)
    publish.run(repository, publish_options(pod, serving=serving(max_batch_size=0)))
    assert repository.read(f"{REVISION}/helmet/warmup/golden", 10**7) == yolo_models.picture().tobytes() * 3


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        pytest.param({"max_opset": 16}, "the Triton image's ONNX Runtime knows up to 16", id="of an image that nobody knows"),
        pytest.param({"max_ir_version": 7}, "the Triton image's ONNX Runtime reads up to 7", id="by its format"),
        pytest.param({"max_opset": 16, "release": "23.01"}, "Triton 23.01 (ONNX Runtime 1.13.1) knows up to 16", id="of a release"),
        pytest.param({"max_opset": 16, "release": "23.01"}, "spec.triton.image of release 23.01 or later", id="which release reads it"),
    ],
)
def test_an_onnx_newer_than_the_server(repository, tmp_path, limits, words):
    served = serving(release=releases.named(limits.get("release")))
    with pytest.raises(InvalidSpec) as caught:
        publish.run(
            repository, publish_options(yolo_models.build_pod(tmp_path), serving=served, **{name: limit for name, limit in limits.items() if name != "release"})
        )
    assert caught.value.reason == "OnnxTooNew"
    assert words in caught.value.message


def test_only_the_storage_is_connected_to(repository, tmp_path, monkeypatch, weed):
    connected, real = set(), socket.socket.connect

    def connect(self, address):
        connected.add(f"http://{address[0]}:{address[1]}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    fresh = storage.Repository(repository.root, storage.StorageOptions(endpoint=weed))
    checked(fresh, tmp_path)
    published(fresh, tmp_path)
    prune.run(fresh, "c1")
    assert connected == {weed}


def test_a_storage_that_refuses_checksums(repository, tmp_path, weed):
    with old_s3.before(weed) as strict:
        plain = boto3.client("s3", endpoint_url=strict.endpoint, region_name="us-east-1")
        with pytest.raises(ClientError, match="NotImplemented"):
            plain.put_object(Bucket="models", Key="as-boto3-does-by-itself", Body=b"")
        strict.refused.clear()
        there = storage.Repository(repository.root, storage.StorageOptions(endpoint=strict.endpoint))
        assert checked(there, tmp_path) == (None, Verdict(state="missing"))
        artifact = published(there, tmp_path)
        assert checked(there, tmp_path) == (artifact, Verdict(state="published"))
        prune.run(there, "c1")
        assert checked(there, tmp_path) == (None, Verdict(state="missing"))
        assert strict.refused == []


def test_a_bucket_with_object_lock_that_wants_a_digest_with_each_upload(repository, weed, tmp_path):
    with old_s3.before(weed, old_s3.object_lock) as strict:
        there = storage.Repository(repository.root, storage.StorageOptions(endpoint=strict.endpoint))
        published(there, tmp_path)
        assert strict.refused == []
        with pytest.raises(ClientError, match="Content-MD5 OR x-amz-checksum-"):
            seaweed.client(strict.endpoint).put_object(Bucket="models", Key="without", Body=b"")


def test_what_is_damaged_on_its_way_is_not_stored(repository, monkeypatch):
    monkeypatch.setattr(storage, "content_md5", lambda content: base64.b64encode(hashlib.md5(b"other").digest()).decode())
    with pytest.raises(Unavailable):
        repository.write(f"{REVISION}/a", b"content", "")
    assert repository.read(f"{REVISION}/a", 100) is None


@pytest.mark.parametrize(
    ("given", "algorithm", "key"),
    [
        pytest.param({"encryption": "AES256"}, "AES256", "", id="the storage's own key"),
        pytest.param({"encryption": "aws:kms"}, "aws:kms", "", id="the account's key"),
        pytest.param({"encryption": "aws:kms", "kms_key_id": "alias/models"}, "aws:kms", "alias/models", id="a key by its alias"),
    ],
)
def test_a_bucket_whose_policy_demands_an_encryption(repository, weed, tmp_path, given, algorithm, key):
    seen = []

    def rule(method, path, headers):
        refused = old_s3.encryption(algorithm, key)(method, path, headers)
        if method == "PUT":
            seen.append("copy" if "x-amz-copy-source" in headers else "put")
            # The real one behind it has no keys of AWS.
            return refused or (old_s3.refusal(507, "InsufficientStorage", "let in") if algorithm == "aws:kms" else None)
        return refused

    with old_s3.before(weed, rule) as strict:
        endpoint = {"endpoint": strict.endpoint}
        with pytest.raises(Unavailable) as caught:
            published(storage.Repository(repository.root, storage.StorageOptions(**endpoint)), tmp_path / "without")
        assert caught.value.reason == "StorageAccessDenied"
        assert "spec.storage.serverSideEncryption" in caught.value.message
        there = storage.Repository(repository.root, storage.StorageOptions(**endpoint, **given))
        if algorithm == "aws:kms":
            with pytest.raises(Unavailable, match="full"):
                there.write(f"{REVISION}/a", b"", "")
            with pytest.raises(Unavailable, match="full"):
                there.copy(f"{REVISION}/a", f"{REVISION}/b")
            return
        published(there, tmp_path / "with")
        assert checked(there, tmp_path / "with", OTHER)[1] == Verdict(state="reusable", reuse=REVISION)
        publish.run(there, publish_options(reused(tmp_path / "copied"), OTHER))
        assert {"put", "copy"} <= set(seen)


def reused(root):
    """A build Pod that takes over the ONNX of REVISION."""
    pod = yolo_models.build_pod(root)
    verdict.write(pod.check, Verdict(state="reusable", reuse=REVISION))
    return pod


def test_what_a_bucket_refuses_for_its_own_reasons_is_said_in_its_words_and_not_tried_again(repository, weed, tmp_path):
    with old_s3.before(weed, old_s3.nothing_is_written) as strict:
        there = storage.Repository(repository.root, storage.StorageOptions(endpoint=strict.endpoint))
        with pytest.raises(InvalidSpec) as caught:
            checked(there, tmp_path)
        assert len(strict.refused) == 1
    assert caught.value.reason == "StorageRequestRefused"
    assert "The bucket is being moved" in caught.value.message


# prune


def test_only_unused_revisions_of_this_cluster_go(repository, tmp_path, s3):
    for number in range(3):
        published(repository, tmp_path, f"000000000{number}")
    published(repository, tmp_path, "00000000ff", cluster="c2")
    repository.write("00000000aa/helmet/1/model.onnx", b"half-published", "")
    kept = {"notes.txt", "not-a-revision/a", "0123456789a/a", "012345678/a", "ABCDEF0123/a"}
    for key in kept:
        repository.write(key, b"mine", "")
    beside = [f"{prefix(repository)}{suffix}" for suffix in ("-2/0000000000/manifest.json", "x/a", ".bak")]
    for key in beside:
        s3.put_object(Bucket="models", Key=key, Body=b"another's")
    found = prune.run(repository, "c1", keep=["0000000001"])
    assert found == {"removed": ["0000000000", "0000000002", "00000000aa"], "removedCount": 3, "foreign": 1}
    left = keys_of(s3, repository)
    assert kept <= left
    assert {key.split("/")[0] for key in left - kept} == {"0000000001", "00000000ff"}
    for key in beside:
        s3.head_object(Bucket="models", Key=key)


def test_named_revisions_go_and_others_stay(repository, tmp_path, s3):
    for number in range(3):
        published(repository, tmp_path, f"000000000{number}")
    found = prune.run(repository, "c1", remove_only=["0000000001", "000000000f", "../x"])
    assert found["removed"] == ["0000000001"]
    assert {key.split("/")[0] for key in keys_of(s3, repository)} == {"0000000000", "0000000002"}


def test_named_revisions_of_another_cluster_stay(repository, tmp_path):
    published(repository, tmp_path, cluster="c2")
    assert prune.run(repository, "c1", remove_only=[REVISION]) == {"removed": [], "removedCount": 0, "foreign": 1}


def test_the_manifest_goes_first(repository, tmp_path, monkeypatch, s3):
    published(repository, tmp_path)
    real, order = storage.Repository.delete, []

    def delete(self, key):
        order.append(key)
        if len(order) == 3:
            raise Killed
        real(self, key)

    monkeypatch.setattr(storage.Repository, "delete", delete)
    with pytest.raises(Killed):
        prune.run(repository, "c1")
    assert order[0] == f"{REVISION}/{MANIFEST}"
    monkeypatch.setattr(storage.Repository, "delete", real)
    assert checked(repository, tmp_path)[1] == Verdict(state="missing")
    prune.run(repository, "c1")
    assert keys_of(s3, repository) == set()
    assert prune.run(repository, "c1")["removedCount"] == 0


@pytest.mark.matrix
def test_more_than_a_page_of_objects_goes(repository, s3):
    for number in range(1100):
        repository.write(f"{REVISION}/file-{number}", b"", "")
    prune.run(repository, "c1")
    assert keys_of(s3, repository) == set()


# fetch from S3


@pytest.fixture
def weights(s3, tmp_path):
    content = b"weights" * 100_000
    s3.put_object(Bucket="models", Key="sources/a.pt", Body=content)
    verdict.write(tmp_path / "check", Verdict(state="missing"))
    return content


def fetch_options(tmp_path, weed, key="a.pt", bucket="models", **changes):
    options = fetch.FetchOptions(
        uri=f"s3://{bucket}/sources/{key}",
        storage=storage.StorageOptions(endpoint=weed),
        check_directory=tmp_path / "check",
        source_directory=tmp_path / "source",
        timeout=20,
    )
    return dataclasses.replace(options, **changes)


def test_weights_from_s3(weights, tmp_path, weed, keys):
    fetched = fetch.run(fetch_options(tmp_path, weed, sha256=hashlib.sha256(weights).hexdigest()))
    assert fetched.size_bytes == len(weights)
    assert (tmp_path / "source" / "weights.pt").read_bytes() == weights


@pytest.mark.parametrize("same", [True, False])
def test_a_part_is_resumed_if_the_object_is_still_the_same(weights, tmp_path, weed, keys, s3, monkeypatch, same):
    tag = s3.head_object(Bucket="models", Key="sources/a.pt")["ETag"]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "weights.pt.part").write_bytes(weights[:300_000])
    note = {"from": "s3://models/sources/a.pt", "validator": tag if same else '"other"'}
    (tmp_path / "source" / "weights.pt.part.json").write_text(json.dumps(note))
    began, real = [], download.Download._write

    def write(self, opened):
        began.append(opened.offset)
        return real(self, opened)

    monkeypatch.setattr(download.Download, "_write", write)
    fetch.run(fetch_options(tmp_path, weed, sha256=hashlib.sha256(weights).hexdigest()))
    assert began == [300_000 if same else 0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"key": "missing.pt"}, "SourceNotFound"), ({"bucket": "no-such-bucket"}, "SourceNotFound"), ({"max_bytes": 10}, "WeightsTooLarge")],
)
def test_weights_that_cannot_be_had(weights, tmp_path, weed, keys, changes, reason):
    with pytest.raises(OperatorError) as caught:
        fetch.run(fetch_options(tmp_path, weed, **changes))
    assert caught.value.reason == reason


def test_wrong_keys_of_a_source(weights, tmp_path, weed, keys, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(Unavailable) as caught:
        fetch.run(fetch_options(tmp_path, weed))
    assert caught.value.reason == "SourceAccessDenied"
    assert "wrong-secret" not in caught.value.message


def test_a_metadata_address_as_endpoint(tmp_path, weights, keys):
    with pytest.raises(InvalidSpec) as caught:
        fetch.run(fetch_options(tmp_path, "http://169.254.169.254:80"))
    assert caught.value.reason == "SourceAddressForbidden"


# faults of the storage


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[fd00:ec2::254]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_metadata_address_is_no_storage(host, scheme, keys):
    error = fault("s3://models/a", storage.StorageOptions(endpoint=f"{scheme}://{host}:80"))
    assert isinstance(error, InvalidSpec)
    assert error.reason == "StorageAddressForbidden"
    assert "spec.storage.endpoint" in error.message


def test_a_name_that_leads_to_a_metadata_address_is_no_storage(keys, monkeypatch):
    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
    error = fault("s3://models/a", storage.StorageOptions(endpoint="http://innocent.example:80"))
    assert error.reason == "StorageAddressForbidden"


def fault(root: str, options: storage.StorageOptions) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        storage.Repository(root, options).read(f"{REVISION}/{MANIFEST}", 10)
    return caught.value


def test_wrong_keys(weed, keys, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    error = fault("s3://models/a", storage.StorageOptions(endpoint=weed))
    assert isinstance(error, Unavailable)
    assert error.reason == "StorageAccessDenied"
    assert "spec.storage.secretRef" in error.message
    assert "wrong-secret" not in error.message
    assert seaweed.KEY not in error.message


def test_no_such_bucket(options):
    error = fault("s3://no-such-bucket/a", options)
    assert isinstance(error, Unavailable)
    assert error.reason == "BucketNotFound"


def test_nobody_listens_at_the_endpoint(keys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = fault("s3://models/a", storage.StorageOptions(endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert error.reason == "StorageUnreachable"
    assert "spec.storage.endpoint" in error.message


def test_a_storage_that_accepts_and_never_answers(keys, monkeypatch):
    monkeypatch.setattr(storage, "READ_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        error = fault("s3://models/a", storage.StorageOptions(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert error.reason == "StorageUnreachable"


def test_a_storage_that_answers_nonsense(keys):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            for _ in range(storage.ATTEMPTS):
                connection, _ = server.accept()
                connection.recv(4096)
                connection.sendall(b"hello\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        error = fault("s3://models/a", storage.StorageOptions(endpoint=f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert error.reason == "StorageUnreachable"


@pytest.mark.parametrize(
    "root",
    ["http://models/a", "s3://models", "s3://models/", "s3://Models/a", "s3://models/a b", "s3://models/a+b", "s3://models/../a", "s3://k:s@models/a"],
)
def test_roots_that_triton_would_misread(root, options):
    with pytest.raises(InvalidSpec) as caught:
        storage.Repository(root, options)
    assert caught.value.reason == "StorageUriInvalid"


@pytest.mark.parametrize("key", ["../other/a", "a/../b", "/a", "a//b", "a b", ""])
def test_keys_never_leave_the_root(repository, key):
    for act in (repository.delete, repository.head, lambda k: repository.write(k, b"", "")):
        with pytest.raises(InvalidSpec):
            act(key)
