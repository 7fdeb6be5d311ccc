"""INT8 by calibration, on a small model of our own with ONNX Runtime: what is quantized, what that loses, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from yolo_operator.core.contract import Quantization, Task
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import ExportReport
from yolo_operator.exporter import client, qdq, quantization, reference
from yolo_operator.exporter.answers import Answer
from yolo_operator.exporter.export import ConversionOptions
from yolo_operator.exporter.source import Exported
from yolo_operator.model import onnx_file
from yolo_operator.model.golden import Golden

SIZE = 32
CELLS = SIZE * SIZE // 4
DECODED = "decoding"
LAST = ("boxes", "scores")


def weights(name: str, *shape: int) -> onnx.TensorProto:
    """The same ones for the same name and shape."""
    return numpy_helper.from_array(np.random.default_rng([*name.encode(), *shape]).normal(0, 0.4, shape).astype(np.float32), name)


def model(*, opset: int = 18, batch: int | str = "batch", half: bool = False) -> onnx.ModelProto:
    """Two convolutions, then a head as YOLO's: boxes decoded through a Softmax into pixels, scores through a Sigmoid, both in one tensor."""
    nodes = [
        helper.make_node("Conv", ["images", "w1", "b1"], ["x1"], name="", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["x1"], ["x2"]),
        helper.make_node("Conv", ["x2", "w2", "b2"], ["x3"], name="", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["x3"], ["x4"]),
        helper.make_node("Conv", ["x4", "w3", "b3"], ["raw"], name=LAST[0], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["raw", "bins"], ["binned"]),
        helper.make_node("Transpose", ["binned"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Softmax", ["turned"], ["soft"], axis=1),
        helper.make_node("Conv", ["soft", "w4"], ["distances"], name=DECODED, kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["distances", "flat"], ["flattened"]),
        helper.make_node("Mul", ["flattened", "pixels"], ["box"]),
        helper.make_node("Conv", ["x4", "w5", "b5"], ["logits"], name=LAST[1], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["logits", "flat"], ["anchors"]),
        helper.make_node("Sigmoid", ["anchors"], ["score"]),
        helper.make_node("Concat", ["box", "score"], ["output0"], axis=1),
    ]
    initializers = [
        weights("w1", 8, 3, 3, 3),
        weights("b1", 8),
        weights("w2", 8, 8, 3, 3),
        weights("b2", 8),
        weights("w3", 16, 8, 1, 1),
        weights("b3", 16),
        numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), "w4"),
        weights("w5", 2, 8, 1, 1),
        weights("b5", 2),
        numpy_helper.from_array(np.array([0, 4, 4, CELLS]), "bins"),
        numpy_helper.from_array(np.array([0, -1, CELLS]), "flat"),
        numpy_helper.from_array(np.array(200, dtype=np.float32), "pixels"),
    ]
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", kind, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output0", kind, [batch, 6, CELLS])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def pictures(count: int = 8) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.random((1, 3, SIZE, SIZE), dtype=np.float32) for _ in range(count)]


@pytest.fixture
def float_onnx(tmp_path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(model(), path)
    return path


def quantize(source: Path, **options) -> Path:
    target = source.with_name("int8.onnx")
    qdq.quantize(source, target, iter(pictures()), **options)
    return target


def made_by(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in graph.node for output in node.output}


def convolutions(path: Path) -> dict[str, bool]:
    """By name: whether its weights come from a DequantizeLinear."""
    graph = onnx.load(path).graph
    makers = made_by(graph)
    return {node.name: node.input[1] in makers for node in graph.node if node.op_type == "Conv"}


def test_the_last_convolutions_and_the_decoding_of_boxes_stay_in_float(float_onnx):
    found = convolutions(quantize(float_onnx))
    assert {name for name, integer in found.items() if not integer} == {DECODED, *LAST}
    assert sum(found.values()) == 2


@pytest.mark.parametrize("symmetric", [pytest.param(False, id="for CPUs"), pytest.param(True, id="for TensorRT")])
def test_the_answers_stay_near(float_onnx, symmetric):
    int8 = quantize(float_onnx, symmetric=symmetric)
    (picture,) = pictures(1)
    ours, theirs = (reference.answer(reference.runtime(path), picture)["output0"][0] for path in (float_onnx, int8))
    assert np.abs(ours[4:] - theirs[4:]).max() < 0.05
    assert np.abs(ours[:4] - theirs[:4]).mean() < 5
    assert ours[4:].std() > 0.05, "there is something to lose"
    assert onnx_file.inspect(int8)[0].precision == "INT8"


def test_tensorrt_gets_zero_points_of_zero_float_biases_and_no_pair_behind_a_convolution(float_onnx):
    graph = onnx.load(quantize(float_onnx, symmetric=True)).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {values[node.input[2]].dtype for node in pairs} == {np.dtype(np.int8)}
    assert not any(values[node.input[2]].any() for node in pairs)
    makers = made_by(graph)
    assert all(makers.get(node.input[2]) is None for node in graph.node if node.op_type == "Conv" and len(node.input) == 3)
    assert not any(makers[node.input[0]].op_type == "Conv" for node in pairs if node.op_type == "QuantizeLinear" and node.input[0] in makers)


def test_weights_for_cpus_have_seven_bits_so_that_none_overflows_without_vnni(float_onnx):
    graph = onnx.load(quantize(float_onnx)).graph
    stored = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4]
    assert len(stored) == 2
    assert max(int(np.abs(array.astype(int)).max()) for array in stored) <= 64


def test_a_fixed_batch(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model(batch=2), path)
    assert onnx_file.inspect(quantize(path, batch=2))[0].inputs[0].shape[0] == 2


def int8_already() -> onnx.ModelProto:
    made = model()
    made.graph.node.append(helper.make_node("QuantizeLinear", ["output0", "s"], ["q"]))
    return made


def without_convolutions() -> onnx.ModelProto:
    made = model()
    del made.graph.node[:]
    return made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        pytest.param(int8_already, "INT8 already", id="INT8 already"),
        pytest.param(lambda: model(half=True), "not FP32", id="FP16"),
        pytest.param(lambda: model(opset=12), "opset 12", id="an opset without scales per channel"),
        pytest.param(without_convolutions, "no convolution", id="nothing to quantize"),
    ],
)
def test_what_cannot_be_quantized(tmp_path, made, words):
    path = tmp_path / "model.onnx"
    onnx.save(made(), path)
    with pytest.raises(InvalidSpec) as caught:
        quantize(path)
    assert caught.value.reason == "NotQuantizable"
    assert words in caught.value.message
    assert "spec.versions[].export.calibration" in caught.value.message


def box_iou(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    low, high = np.maximum(ours[:, None, :2], theirs[None, :, :2]), np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (ours, theirs)]
    overlap: np.ndarray = shared / (areas[0][:, None] + areas[1] - shared)
    return overlap


@pytest.fixture(autouse=True)
def exporter_image(monkeypatch):
    """What OpenCV and Ultralytics do in the exporter image: a file is a picture where it holds its seed, black where that is 0."""

    def read(path: Path) -> np.ndarray | None:
        seed = path.read_text()
        if not seed.isdigit():
            return None
        return np.random.default_rng(int(seed)).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) if int(seed) else np.zeros((SIZE, SIZE, 3), np.uint8)

    def found(path: Path, _options: ConversionOptions, _report: ExportReport, files: list[Path]) -> list[Answer]:
        running = reference.runtime(path)
        rows = [reference.answer(running, reference.shown(read(file), Task.DETECT, (SIZE, SIZE)))["output0"][0].T for file in files]
        return [answer(*((f"{at}-{row[4:].argmax()}", row[4:].max(), row[:4]) for at, row in enumerate(each) if row[4:].max() > 0.5)) for each in rows]

    monkeypatch.setattr(client, "read", read)
    monkeypatch.setattr(client, "overlaps", lambda _task: box_iou)
    monkeypatch.setattr(reference, "shown", lambda given, *_: given.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    monkeypatch.setattr(quantization, "answers_of", found)


def answer(*rows: tuple[str, float, object]) -> Answer:
    """A detection per row: class, score, box. Boxes here start at 0, 0 and overlap wherever their sizes agree."""
    boxes = np.array([np.concatenate((np.zeros(2), np.abs(np.asarray(row[2], dtype=np.float32)[-2:]) + 1)) for row in rows], dtype=np.float32)
    return Answer(classes=tuple(row[0] for row in rows), confidences=tuple(float(row[1]) for row in rows), boxes=boxes.reshape(-1, 4))


@pytest.fixture
def exported(float_onnx) -> Exported:
    report = ExportReport(
        task=Task.DETECT, names=["a", "b"], stride=2, image_size=[SIZE, SIZE], batch=1, dynamic=True, half=False, nms=False, end_to_end=False,
        opset=18, ir_version=8, reference="pytorch", metadata={},
    )  # fmt: skip
    (picture,) = pictures(1)
    return Exported(onnx=float_onnx, golden=Golden(input=picture, outputs=reference.answer(reference.runtime(float_onnx), picture)), report=report)


def run(exported: Exported, tmp_path: Path, contents: list[str], min_agreement: float = 0.9) -> Exported:
    directory = tmp_path / "pictures"
    directory.mkdir()
    for number, content in enumerate(contents):
        (directory / f"{number:03}.jpg").write_text(content)
    options = ConversionOptions(source_directory=tmp_path, export_directory=tmp_path, min_agreement=min_agreement)
    return quantization.quantized(exported, options, directory, tmp_path)


def test_a_calibration_is_measured_on_every_fourth_picture(exported, tmp_path):
    made = run(exported, tmp_path, [str(number) for number in range(1, 33)])
    found = made.report.quantization
    assert found is not None
    assert (found.pictures, found.calibration_pictures) == (8, 24)
    assert found.detections > 100
    assert found.agreement >= 0.9
    assert 0 < found.score_difference < 0.05
    assert (found.size_bytes, found.size_bytes_float) == (made.onnx.stat().st_size, exported.onnx.stat().st_size)
    assert made.report.reference == "onnxruntime"
    answered = reference.answer(reference.runtime(made.onnx), made.golden.input)
    assert all(np.array_equal(made.golden.outputs[name], array) for name, array in answered.items())
    assert not np.array_equal(made.golden.outputs["output0"], exported.golden.outputs["output0"]), "the reference is INT8's own"


def test_a_calibration_that_spoils_the_model_is_refused(exported, tmp_path):
    """Black pictures, but for those that are compared."""
    with pytest.raises(InvalidSpec) as caught:
        run(exported, tmp_path, [str(number) if number % 4 == 3 else "0" for number in range(32)])
    assert caught.value.reason == "QuantizationLoss"
    assert "minAgreement is 0.9" in caught.value.message


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        pytest.param(["1"] * 15, "15 of 15 files", id="too few"),
        pytest.param(["1"] * 15 + ["no picture"] * 9, "15 of 24 files", id="too few that can be read"),
        pytest.param([], "0 of 0 files", id="none"),
    ],
)
def test_pictures_that_are_not_enough(exported, tmp_path, contents, words):
    with pytest.raises(InvalidSpec) as caught:
        run(exported, tmp_path, contents)
    assert caught.value.reason == "CalibrationPictures"
    assert words in caught.value.message


CAT, DOG = ("cat", 0.9, [0, 0, 10, 10]), ("dog", 0.6, [0, 0, 30, 30])


@pytest.mark.parametrize(
    ("task", "ours", "theirs", "figures"),
    [
        pytest.param(Task.DETECT, [answer(CAT, DOG)], [answer(DOG, CAT)], (1.0, 2, 0, 0.0), id="the same, in another order"),
        pytest.param(Task.DETECT, [answer(CAT, DOG)], [answer(CAT)], (0.5, 2, 0, 0.0), id="one lost"),
        pytest.param(Task.DETECT, [answer(CAT)], [answer(CAT, DOG)], (1.0, 1, 1, 0.0), id="one made up"),
        pytest.param(Task.DETECT, [answer(CAT)], [answer(("dog", *CAT[1:]))], (0.0, 1, 1, 0.0), id="another class"),
        pytest.param(Task.DETECT, [answer(CAT)], [answer(("cat", 0.7, CAT[2]))], (1.0, 1, 0, 0.2), id="another score"),
        pytest.param(Task.DETECT, [answer(CAT), answer()], [answer(CAT), answer()], (1.0, 1, 0, 0.0), id="a picture that shows nothing"),
        pytest.param(Task.CLASSIFY, [answer(CAT), answer(DOG)], [answer(CAT), answer(CAT)], (0.5, 2, 1, 0.0), id="classes of pictures"),
    ],
)
def test_the_loss(task, ours, theirs, figures):
    found = quantization.measure(task, ours, theirs)
    assert (found.agreement, found.detections, found.extra_detections, found.score_difference) == pytest.approx(figures)
    assert found.pictures == len(ours)


def test_a_model_that_finds_nothing_in_the_pictures_cannot_be_measured():
    with pytest.raises(InvalidSpec) as caught:
        quantization.measure(Task.DETECT, [answer()], [answer(CAT)])
    assert caught.value.reason == "CalibrationPictures"
    assert "export.calibration.pictures" in caught.value.message


@pytest.mark.parametrize(
    ("agreement", "extra", "refused"),
    [
        pytest.param(0.8, 20, False, id="as much as is asked for"),
        pytest.param(0.79, 0, True, id="too many lost"),
        pytest.param(1.0, 26, True, id="too many made up"),
        pytest.param(0.0, 0, True, id="nothing found any more"),
    ],
)
def test_how_much_may_be_lost(agreement, extra, refused):
    found = Quantization(agreement=agreement, detections=100, extra_detections=extra, pictures=10)
    if not refused:
        quantization.check(found, 0.8)
        return
    with pytest.raises(InvalidSpec) as caught:
        quantization.check(found, 0.8)
    assert caught.value.reason == "QuantizationLoss"
    assert "of FP32's 100 detections in 10 pictures" in caught.value.message
