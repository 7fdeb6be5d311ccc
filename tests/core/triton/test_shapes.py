import pytest

from yolo_operator.core.contract import Task, Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import metadata, shapes
from yolo_operator.core.triton.config import configure
from yolo_values import description, serving

OPEN = (-1, 3, -1, -1)


def picture(*shape: int) -> Tensor:
    return Tensor(name="images", datatype="FP32", shape=list(shape))


@pytest.mark.parametrize(
    ("task", "size", "onnx", "found"),
    [
        pytest.param("detect", [640, 640], OPEN, "Dynamic", id="what the client asks by itself"),
        pytest.param("obb", [640, 640], (4, 3, -1, -1), "Fixed", id="a fixed batch of any height and width: with Dynamic the client does not fill it"),
        pytest.param("detect", [1280, 1280], OPEN, "Fixed", id="larger than the client would ask"),
        pytest.param("detect", [320, 320], OPEN, "Fixed", id="smaller than the client would ask"),
        pytest.param("segment", [384, 640], OPEN, "Fixed", id="no square"),
        pytest.param("classify", [224, 224], OPEN, "Fixed", id="a classifier"),
        pytest.param("classify", [640, 640], OPEN, "Fixed", id="a classifier of 640 pixels"),
        pytest.param("detect", [640, 640], (-1, 3, 640, 640), "Fixed", id="an ONNX of one height and width"),
        pytest.param("detect", [640, 640], (-1, 3, 640, -1), "Fixed", id="an ONNX of one height"),
    ],
)
def test_the_default_is_dynamic_where_the_client_asks_rightly_with_it(task, size, onnx, found):
    assert shapes.resolve(None, Task(task), size, picture(*onnx)) == found
    assert shapes.resolve("Fixed", Task(task), size, picture(*onnx)) == "Fixed"


@pytest.mark.parametrize(
    ("task", "size", "onnx", "word"),
    [
        pytest.param("detect", [1280, 1280], OPEN, "made for 1280x1280", id="another size than the client's"),
        pytest.param("pose", [640, 384], OPEN, "made for 640x384", id="no square"),
        pytest.param("classify", [640, 640], OPEN, "not for classify", id="a classifier"),
        pytest.param("detect", [640, 640], (-1, 3, 640, 640), "batch, height and width are dynamic", id="an ONNX of one height and width"),
    ],
)
def test_dynamic_is_refused_where_no_client_could_be_right(task, size, onnx, word):
    with pytest.raises(InvalidSpec, match=r"spec.versions\[\].export.shapes: Dynamic") as caught:
        shapes.resolve("Dynamic", Task(task), size, picture(*onnx))
    assert caught.value.reason == "ShapesInvalid"
    assert word in caught.value.message


def test_fixed_pictures_are_fixed_in_the_configuration_and_for_the_client():
    model = description(image_size=[384, 1280])
    config = configure(model, serving())
    assert config.inputs[0].dims == (3, 384, 1280)
    assert config.outputs[0].dims == (6, -1), "an output's dims are those of the ONNX, or it does not load"
    said = metadata.metadata(model, "Fixed")
    assert (said["imgsz"], said["batch"], said["args"]["dynamic"]) == ([384, 1280], 1, False)


def test_fixed_pictures_keep_a_fixed_batch():
    assert configure(description(batch=4), serving(max_batch_size=0)).inputs[0].dims == (4, 3, 640, 640)
    assert metadata.metadata(description(batch=4), "Fixed")["batch"] == 4


def test_dynamic_pictures_are_open_in_the_configuration_and_for_the_client():
    assert configure(description(), serving()).inputs[0].dims == (3, -1, -1)
    assert metadata.metadata(description(), "Dynamic")["args"]["dynamic"] is True


def test_a_configuration_that_no_client_could_ask_rightly_is_refused():
    with pytest.raises(InvalidSpec, match="made for 320x320"):
        configure(description(image_size=[320, 320]), serving(shapes="Dynamic"))


@pytest.mark.parametrize(
    ("task", "size", "onnx", "otherwise"),
    [
        pytest.param("detect", [640, 640], OPEN, False, id="640 pixels"),
        pytest.param("detect", [1280, 1280], OPEN, True, id="published as dynamic for 1280 pixels"),
        pytest.param("classify", [224, 224], OPEN, True, id="published as dynamic, a classifier"),
        pytest.param("detect", [1280, 1280], (-1, 3, 1280, 1280), False, id="of one size"),
    ],
)
def test_what_earlier_releases_published_is_known_by_its_open_input(task, size, onnx, otherwise):
    assert shapes.asks_otherwise(Task(task), size, [picture(*onnx)]) is otherwise
