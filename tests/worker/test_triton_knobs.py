"""What spec.triton tells Triton beyond the model: a real server takes each setting, and it does what it says."""

import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import triton_server
import urllib3
import yolo_models

import gen
from yolo_operator.core import contract
from yolo_operator.core.resources import triton
from yolo_operator.core.triton.options import QueuePolicy, ServingOptions
from yolo_operator.worker import verify
from yolo_operator.worker.triton_client import GrpcClient, HttpClient

REVISION = "0123456789"

pytestmark = pytest.mark.skipif(not triton_server.is_possible(), reason="needs the CPU backend and a shared libpython")


def published(repository, tmp_path, **serving):
    pod = yolo_models.build_pod(tmp_path / "pod", yolo_models.detector())
    options = ServingOptions(**({"model_name": "helmet", "version": 3, "gpu": False, "max_batch_size": 4} | serving))
    pod.publish(repository, options)


def flags_of(**spec):
    """The flags that a pod's server gets by these fields of spec.triton, where it may use two CPUs."""
    resource = gen.yolo(gpu={"count": 0}, triton=spec, versions=[gen.version(3)])
    artifact = contract.Artifact.model_validate(gen.artifact())
    container = triton.build(resource, resource.spec.versions[0], artifact, 1, None, gen.DEFAULTS)["spec"]["template"]["spec"]["containers"][0]
    names = ("--backend-config", "--metrics-config", "--metrics-interval", "--trace-config")
    return [flag.replace("$(TRITON_CPU_LIMIT)", "2") for flag in container["args"] if flag.startswith(names)]


@contextmanager
def running(repository, weed, tmp_path, *flags):
    with triton_server.running(f"s3://{weed}/{repository.root.removeprefix('s3://')}/{REVISION}", tmp_path / "triton.log", *flags) as ports:
        yield ports


def check(repository, http_port, grpc_port):
    """As the verify Job does."""
    clients = [HttpClient("127.0.0.1", http_port, "helmet", 3), GrpcClient("127.0.0.1", grpc_port, "helmet", 3)]
    return verify.run(repository, clients, verify.VerifyOptions(revision=REVISION, model_name="helmet", version=3, timeout=30))


def infer(port, pictures=1):
    """Ask with black pictures; status and body of the answer."""
    data = np.zeros((pictures, 3, 64, 64), np.float32).tobytes()
    tensor = {"name": "images", "shape": [pictures, 3, 64, 64], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    answer = urllib3.request(
        "POST", f"http://127.0.0.1:{port}/v2/models/helmet/infer", body=head + data, headers={"Inference-Header-Content-Length": str(len(head))}
    )
    return answer.status, answer.data.decode(errors="replace")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        pytest.param(QueuePolicy(max_queue_size=1), "Exceeds maximum queue size", id="a queue of one"),
        pytest.param(QueuePolicy(timeout_microseconds=1000), "Request timeout expired", id="a millisecond in the queue", marks=pytest.mark.matrix),
    ],
)
def test_what_waits_too_long_or_with_too_many_is_refused_with_503(repository, weed, tmp_path, policy, words):
    published(repository, tmp_path, queue_policy=policy)

    with running(repository, weed, tmp_path) as (http_port, grpc_port, _):
        assert check(repository, http_port, grpc_port).worst_iou > 0.999
        with ThreadPoolExecutor(12) as many:
            answers = list(many.map(lambda _: infer(http_port, 4), range(48)))
    assert {status for status, _ in answers} == {200, 503}
    assert all(words in body for status, body in answers if status == 503)


def test_without_knobs_all_wait_and_there_are_no_quantiles_and_parameters_are_served_as_they_are_written(repository, weed, tmp_path):
    published(repository, tmp_path, parameters={"note": 'a "quoted" = b\n', "execution_mode": "0"})
    with running(repository, weed, tmp_path, *flags_of()) as (http_port, grpc_port, metrics_port):
        assert check(repository, http_port, grpc_port).worst_iou > 0.999
        with ThreadPoolExecutor(12) as many:
            assert {status for status, _ in many.map(lambda _: infer(http_port, 4), range(48))} == {200}
        config = urllib3.request("GET", f"http://127.0.0.1:{http_port}/v2/models/helmet/config").json()
        assert config["parameters"]["note"]["string_value"] == 'a "quoted" = b\n'
        assert "quantile" not in urllib3.request("GET", f"http://127.0.0.1:{metrics_port}/metrics").data.decode()


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes OTLP over HTTP, and keeps what it is sent."""

    def do_POST(self):
        self.server.received.append((self.path, self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.arrived.set()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.received, server.arrived = [], threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_quantiles_are_in_the_metrics_and_spans_reach_an_opentelemetry_collector(repository, weed, tmp_path, collector):
    published(repository, tmp_path)
    tracing = {
        "endpoint": f"http://127.0.0.1:{collector.server_port}/v1/traces",
        "rate": 1,
        "resourceAttributes": {"deployment.environment": "a test"},
    }
    flags = flags_of(tracing=tracing, metrics={"summaryLatencies": True, "intervalMilliseconds": 500})
    with running(repository, weed, tmp_path, *flags) as (http_port, _, metrics_port):
        assert infer(http_port)[0] == 200
        text = urllib3.request("GET", f"http://127.0.0.1:{metrics_port}/metrics").data.decode()
        assert 'nv_inference_request_summary_us{model="helmet",version="3",quantile="0.99"}' in text
        assert collector.arrived.wait(30)
    path, _, body = collector.received[0]
    assert path == "/v1/traces"
    for said in (b"service.name", b"helmet", b"service.version", b"deployment.environment", b"a test", b"COMPUTE_START"):
        assert said in body, said


def threads_of_stubs(log: Path) -> int:
    """Threads of the processes that run the model, which are children of the server that writes this log."""
    total = 0
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "fd" / "1").readlink() == log and "python_backend_stub" in (process / "cmdline").read_text():
                total += len(list((process / "task").iterdir()))
        except OSError:
            continue
    return total


def test_onnx_runtime_has_as_many_threads_as_the_pod_may_use_cpus(repository, weed, tmp_path):
    published(repository, tmp_path)
    found = {}
    for cpus in (1, 4):
        flags = [flag.replace("intra_op_thread_count=2", f"intra_op_thread_count={cpus}") for flag in flags_of()]
        with running(repository, weed, tmp_path, *flags) as (http_port, grpc_port, _):
            check(repository, http_port, grpc_port)
            found[cpus] = threads_of_stubs(tmp_path / "triton.log")
    assert found[4] - found[1] == 3
