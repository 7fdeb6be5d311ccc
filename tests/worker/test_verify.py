"""verify against servers made of values; against a real Triton in test_triton.py."""

import copy

import numpy as np
import pytest
import yolo_models

from yolo_operator.core.contract import MANIFEST
from yolo_operator.core.errors import InvalidSpec, NotReady, OperatorError, Unavailable
from yolo_operator.core.triton.options import ServingOptions
from yolo_operator.worker import pbtxt, revisions, verify

REVISION = "0123456789"


class Server:
    """A Triton that does what it is told to."""

    protocol = "HTTP"

    def __init__(self, model, config, manifest):
        self.model, self.served, self.manifest = model, config, manifest
        self.unready = 0
        self.batches: list[int] = []
        self.most = 1000

    def ready(self):
        self.unready -= 1
        return self.unready < 0

    def metadata(self):
        artifact = self.manifest.artifact
        shown = {kind: [tensor.model_dump() for tensor in getattr(artifact, kind)] for kind in ("inputs", "outputs")}
        return shown | {"versions": ["1"]}

    def config(self):
        return self.served

    def affordable(self, batch, size):
        return min(batch, self.most)

    def infer(self, tensor, picture, batch):
        self.batches.append(batch)
        return iter([yolo_models.answers(self.model, picture) for _ in range(batch)])


@pytest.fixture
def server(repository, tmp_path):
    pod = yolo_models.build_pod(tmp_path)
    pod.publish(repository, ServingOptions(model_name="helmet", version=1, gpu=False, max_batch_size=4))
    config = pbtxt.parse(repository.read(f"{REVISION}/helmet/config.pbtxt", 10**6).decode())
    return Server(yolo_models.detector(), config, revisions.manifest(repository, REVISION))


def options(**changes):
    return verify.VerifyOptions(**({"revision": REVISION, "model_name": "helmet", "version": 1, "timeout": 5} | changes))


def refused(repository, server, **changes) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        verify.run(repository, [server], options(**changes))
    return caught.value


def test_a_server_that_answers_as_published(repository, server):
    server.unready = 1
    found = verify.run(repository, [server], options())
    assert found.worst_iou == pytest.approx(1)
    assert found.worst_score_difference < 1e-5
    assert found.detections == 4
    assert server.batches[:2] == [1, 4]


def test_a_client_that_affords_a_smaller_batch_is_asked_with_that(repository, server):
    server.most = 3
    verify.run(repository, [server], options())
    assert server.batches[:2] == [1, 3]


def test_other_weights_are_wrong_answers(repository, server):
    server.model = yolo_models.detector(seed=1)
    error = refused(repository, server)
    assert isinstance(error, InvalidSpec)
    assert error.reason == "WrongAnswers"


def test_limits_can_be_loosened(repository, server):
    server.model = yolo_models.detector(seed=1)
    verify.run(repository, [server], options(min_iou=0.0, max_score_difference=1e9))


@pytest.mark.parametrize(
    ("asked", "published", "within"),
    [
        pytest.param("FP32", "FP32", False, id="FP32"),
        pytest.param("FP32", "FP16", True, id="the file's FP16, which the spec does not know of"),
        pytest.param("FP16", "FP32", True, id="the spec's FP16"),
        pytest.param("", "INT8", True, id="the published one where the spec says none"),
    ],
)
def test_the_limits_are_those_of_the_lowest_precision(repository, server, asked, published, within):
    content = repository.read(f"{REVISION}/{MANIFEST}", 10**6).replace(b'"precision": "FP32",\n "files"', f'"precision": "{published}",\n "files"'.encode())
    assert f'"precision": "{published}"'.encode() in content
    repository.write(f"{REVISION}/{MANIFEST}", content, "")
    exact = server.infer
    server.infer = lambda *asked: ({name: value + np.float32(0.03) for name, value in one.items()} for one in exact(*asked))
    if within:
        verify.run(repository, [server], options(precision=asked))
    else:
        assert refused(repository, server, precision=asked).reason == "WrongAnswers"


def test_a_second_picture_of_a_batch_that_is_wrong(repository, server):
    real = server.infer

    def infer(*asked):
        for at, one in enumerate(real(*asked)):
            yield {"output0": one["output0"] * (at == 0)}

    server.infer = infer
    assert "batch 4" in refused(repository, server).message


def test_a_server_that_is_never_ready(repository, server):
    server.unready = 10**6
    error = refused(repository, server, timeout=0.1)
    assert isinstance(error, NotReady)
    assert error.reason == "ModelNotReady"


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_other_tensors(repository, server, kind):
    shown = server.metadata()
    shown[kind][0]["shape"] = [1, 2, 3]
    server.metadata = lambda: shown
    assert refused(repository, server).reason == "MetadataMismatch"


def test_another_version(repository, server):
    shown = server.metadata() | {"versions": ["2"]}
    server.metadata = lambda: shown
    assert refused(repository, server).reason == "MetadataMismatch"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda c: setattr(c, "max_batch_size", 1), "max_batch_size"),
        (lambda c: setattr(c.instance_group[0], "kind", 1), "instance_group[0].kind"),
        (lambda c: c.input[0].dims.append(1), "input[0].dims"),
        (lambda c: c.parameters["metadata"].__setattr__("string_value", "{}"), "parameters[metadata].string_value"),
        (lambda c: c.parameters.clear(), "parameters[metadata]"),
        (lambda c: c.ClearField("dynamic_batching"), "dynamic_batching"),
        (lambda c: c.ClearField("model_warmup"), "model_warmup"),
    ],
)
def test_another_configuration(repository, server, change, place):
    server.served = copy.deepcopy(server.served)
    change(server.served)
    error = refused(repository, server)
    assert error.reason == "ConfigMismatch"
    assert error.message.endswith(place)


def test_what_the_server_adds_to_the_configuration_does_not_count(repository, server):
    server.served.runtime = "model.py"
    server.served.optimization.input_pinned_memory.enable = True
    server.served.dynamic_batching.preferred_batch_size.append(4)
    server.served.parameters["x"].string_value = "y"
    verify.run(repository, [server], options())


def test_an_altered_golden_picture_is_no_fault_of_the_pod(repository, server):
    repository.write(f"{REVISION}/golden.npz", b"x", "")
    error = refused(repository, server)
    assert isinstance(error, Unavailable)
    assert error.reason == "StorageInconsistent"


def test_a_revision_that_is_gone(repository, server):
    repository.delete(f"{REVISION}/{MANIFEST}")
    assert refused(repository, server).reason == "RevisionMissing"
