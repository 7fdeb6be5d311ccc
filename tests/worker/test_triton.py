"""What publish writes, a real Triton loads from a real S3, and verify believes it or not."""

import functools
import os
import subprocess
import sys

import pytest
import triton_server
import tritonclient.grpc
import urllib3
import yolo_models
from tritonclient.utils import InferenceServerException

import manifests
from yolo_operator.core import triton_log
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.exporter import metrics
from yolo_operator.worker import verify
from yolo_operator.worker.triton_client import GrpcClient, HttpClient

REVISION = "0123456789"

pytestmark = pytest.mark.skipif(not triton_server.is_possible(), reason="needs the CPU backend and a shared libpython")


def published(repository, tmp_path, model, serving, **changes):
    pod = yolo_models.build_pod(tmp_path / "pod", model, **changes)
    return pod.publish(repository, ServingOptions(**({"model_name": "helmet", "version": 3, "gpu": False} | serving)))


def verified(repository, weed, tmp_path):
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log") as (http, grpc, _):
        clients = [HttpClient("127.0.0.1", http, "helmet", 3), GrpcClient("127.0.0.1", grpc, "helmet", 3)]
        return verify.run(repository, clients, verify.VerifyOptions(revision=REVISION, model_name="helmet", version=3, timeout=30))


@pytest.mark.parametrize(
    ("model", "serving", "changes"),
    [
        pytest.param({}, {"max_batch_size": 4, "preferred_batch_sizes": (2,)}, {"names": ['it\'s "x"', "中文\n{}"]}, id="batches, and names"),
        pytest.param({}, {"max_batch_size": 0}, {}, id="no batching"),
        pytest.param({"batch": 2, "size": 64}, {"max_batch_size": 0}, {"batch": 2, "dynamic": False}, id="a fixed batch"),
    ],
)
def test_a_published_revision_loads_and_verifies(repository, weed, tmp_path, model, serving, changes):
    published(repository, tmp_path, yolo_models.detector(**model), serving, **changes)
    found = verified(repository, weed, tmp_path)
    assert found.worst_iou > 0.999
    assert found.latency_milliseconds > 0


def test_edited_weights_are_wrong_answers(repository, weed, tmp_path):
    published(repository, tmp_path, yolo_models.detector(), {"max_batch_size": 2})
    repository.write(f"{REVISION}/helmet/3/model.onnx", yolo_models.detector(seed=5).SerializeToString(), "")
    with pytest.raises(InvalidSpec) as caught:
        verified(repository, weed, tmp_path)
    assert caught.value.reason == "WrongAnswers"


VERIFY = """
import sys
from peak_memory import peak_memory
from yolo_operator.worker import storage, verify
from yolo_operator.worker.triton_client import GrpcClient, HttpClient
repository = storage.Repository(sys.argv[1], storage.StorageOptions(endpoint=sys.argv[2]))
clients = [HttpClient("127.0.0.1", int(sys.argv[3]), "helmet", 3), GrpcClient("127.0.0.1", int(sys.argv[4]), "helmet", 3)]
found = verify.run(repository, clients, verify.VerifyOptions(revision="0123456789", model_name="helmet", version=3, timeout=30))
print(found.worst_iou, peak_memory() // 1024)
"""


@pytest.mark.parametrize("batch", [16, pytest.param(128, marks=pytest.mark.matrix)])
def test_batches_of_large_pictures_are_asked_within_the_memory_of_a_job(repository, options, weed, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(yolo_models, "SIZE", 640)
    published(repository, tmp_path, yolo_models.detector(), {"max_batch_size": batch, "warmup": False})
    url = f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}"
    with triton_server.running(url, tmp_path / "triton.log") as (http, grpc, _):
        answer = subprocess.run(
            [sys.executable, "-c", VERIFY, repository.root, options.endpoint, str(http), str(grpc)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    assert answer.returncode == 0, answer.stderr
    iou, peak = (float(part) for part in answer.stdout.split())
    print(f"batch {batch}: verify held {peak:.0f} MiB")
    assert iou > 0.999
    assert peak < 768


@pytest.mark.parametrize(
    ("key", "content", "cause"),
    [
        pytest.param("helmet/3/model.onnx", b"\x08\x08", "failed to load 'helmet' version 3", id="a spoilt ONNX"),
        pytest.param("helmet/warmup/golden", b"x", "failed to load 'helmet' version 3", id="a spoilt warm-up"),
        pytest.param("helmet/config.pbtxt", b"nonsense: 1", "failed to read text proto", id="a spoilt configuration"),
    ],
)
def test_of_a_server_that_ends_the_last_two_kibibytes_name_the_cause(repository, weed, tmp_path, key, content, cause):
    published(repository, tmp_path, yolo_models.detector(), {"max_batch_size": 2})
    repository.write(f"{REVISION}/{key}", content, "")
    (container,) = manifests.deployment_cpu()["spec"]["template"]["spec"]["containers"]
    flags = [flag for flag in container["args"] if flag.startswith("--log-")]
    url, log = f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log"
    with pytest.raises(RuntimeError), triton_server.running(url, log, *flags):
        pass
    said = triton_log.cause(log.read_text()[-2048:])
    assert cause in said
    assert triton_log.hint(said) != ""


@pytest.mark.matrix
def test_another_configuration_is_found_out(repository, weed, tmp_path):
    published(repository, tmp_path, yolo_models.detector(), {"max_batch_size": 2})
    key = f"{REVISION}/helmet/config.pbtxt"
    published_text = repository.read(key, 10**6)
    repository.write(key, published_text.replace(b"count: 1", b"count: 2"), "")
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log") as (http, grpc, _):
        repository.write(key, published_text, "")
        clients = [HttpClient("127.0.0.1", http, "helmet", 3), GrpcClient("127.0.0.1", grpc, "helmet", 3)]
        for client in clients:
            with pytest.raises(InvalidSpec) as caught:
                verify.run(repository, [client], verify.VerifyOptions(revision=REVISION, model_name="helmet", version=3, timeout=30))
            assert caught.value.reason == "ConfigMismatch"
            assert "instance_group[0].count" in caught.value.message


def test_the_metrics_count_what_was_asked_between_two_readings(repository, weed, tmp_path):
    model = yolo_models.detector()
    published(repository, tmp_path, model, {"max_batch_size": 2})
    (tensor,) = yolo_models.description(model).onnx.inputs
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log") as (http, _, port):
        before = metrics.read(["127.0.0.1"], port, "helmet", 3)
        asked = HttpClient("127.0.0.1", http, "helmet", 3)
        for _ in range(7):
            assert len(list(asked.infer(tensor, yolo_models.picture(), 1))) == 1
        assert len(list(asked.infer(tensor, yolo_models.picture(), 2))) == 2
        after = metrics.read(["127.0.0.1"], port, "helmet", 3)
        assert metrics.read(["127.0.0.1"], port, "helmet", 1) == {}
        assert metrics.read(["127.0.0.1"], port, "other", 3) == {}
    found = metrics.between(["127.0.0.1"], before, after).figures()
    assert before["127.0.0.1"][metrics.SUCCESS] > 0, "the warmup counts too, and is no request of the step"
    assert (found["requests"], found["error_rate"]) == (8, 0)
    assert 0 < found["queue_milliseconds"] < found["latency_milliseconds"] < 1000
    assert metrics.between(["127.0.0.1"], after, before).left_out == 1


RESTRICTED = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/helmet/unload"),
    ("POST", "/v2/repository/models/helmet/load"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/trace/setting"),
]


def test_a_client_that_does_not_know_the_pod_reaches_no_repository_no_memory_and_no_trace(repository, weed, tmp_path):
    published(repository, tmp_path, yolo_models.detector(), {"max_batch_size": 2})
    (container,) = manifests.deployment_cpu()["spec"]["template"]["spec"]["containers"]
    flags = [flag.replace("$(POD_UID)", "the-uid") for flag in container["args"] if "restricted" in flag]
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log", *flags) as (http, grpc, _):

        def status(method: str, path: str, **headers: str) -> int:
            return urllib3.request(method, f"http://127.0.0.1:{http}{path}", headers=headers).status

        assert {path: status(method, path) for method, path in RESTRICTED} == {path: 403 for _, path in RESTRICTED}
        assert status("GET", "/v2/systemsharedmemory/status", **{"yolo-operator": "another-uid"}) == 403
        assert status("GET", "/v2/systemsharedmemory/status", **{"yolo-operator": "the-uid"}) == 200
        assert status("GET", "/v2/models/helmet/config") == 200, "what clients read is open"

        client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc}")
        unload = functools.partial(client.unload_model, "helmet")
        for ask in (client.get_model_repository_index, unload, client.get_system_shared_memory_status, client.get_trace_settings):
            with pytest.raises(InferenceServerException, match="restricted"):
                ask()
        assert client.is_model_ready("helmet", "3"), "nothing has been unloaded"
