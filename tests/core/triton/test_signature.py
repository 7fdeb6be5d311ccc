import pytest

from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton import signature
from yolo_values import OUTPUTS, description


@pytest.mark.parametrize("task", list(OUTPUTS))
def test_each_task_has_its_outputs(task):
    signature.check(description(task))


@pytest.mark.parametrize("task", list(OUTPUTS))
@pytest.mark.parametrize("other", list(OUTPUTS))
def test_a_task_with_another_ones_outputs(task, other):
    if task == other:
        return
    with pytest.raises(InvalidSpec) as caught:
        signature.check(description(task, outputs=OUTPUTS[other]))
    assert caught.value.reason == "TaskMismatch"


def test_end_to_end_detections():
    rows = [Tensor(name="output0", datatype="FP32", shape=[-1, 300, 6])]
    signature.check(description(end_to_end=True, outputs=rows))
    signature.check(description(nms=True, outputs=rows))
    with pytest.raises(InvalidSpec):
        signature.check(description(outputs=[Tensor(name="output0", datatype="FP32", shape=[-1, 300, 5])], end_to_end=True))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        pytest.param([Tensor(name="images", datatype="INT64", shape=[-1, 3, -1, -1])], "UnsupportedModel", id="a type no client sends"),
        pytest.param([Tensor(name="images", datatype="FP32", shape=[-1, 640, 640, 3])], "UnsupportedModel", id="channels last"),
        pytest.param([Tensor(name="images", datatype="FP32", shape=[-1, 3, -1])], "InvalidOnnx", id="no picture"),
        pytest.param([Tensor(name=n, datatype="FP32", shape=[-1, 3, -1, -1]) for n in "ab"], "UnsupportedModel", id="two inputs"),
        pytest.param([Tensor(name="images", datatype="FP32", shape=[-1, 3, 320, 320])], "ImageSizeInvalid", id="another size"),
    ],
)
def test_inputs_that_are_no_yolo_s(inputs, reason):
    with pytest.raises(InvalidSpec) as caught:
        signature.check(description(inputs=inputs))
    assert caught.value.reason == reason


def test_a_classifier_of_other_channels_than_the_client_shows_it():
    with pytest.raises(InvalidSpec) as caught:
        signature.check(description("classify", inputs=[Tensor(name="images", datatype="FP32", shape=[-1, 4, -1, -1])]))
    assert caught.value.reason == "UnsupportedModel"


def test_outputs_are_read_in_the_order_of_their_names():
    detections, prototypes = OUTPUTS["segment"]
    signature.check(description("segment", outputs=[prototypes, detections]))
    with pytest.raises(InvalidSpec) as caught:
        signature.check(description("segment", outputs=[detections.model_copy(update={"name": "z"}), prototypes]))
    assert caught.value.reason == "UnsupportedModel"
