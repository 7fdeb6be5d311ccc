"""The two small ONNX graphs around a model whose pictures come as files (core/triton/picture_models.py)."""

from onnx import ModelProto, TensorProto, helper

from yolo_operator.core.contract import Task
from yolo_operator.core.triton.config import ModelConfig, Port
from yolo_operator.model import nms
from yolo_operator.model.surgery import Surgeon

OPSET, IR_VERSION = 17, 8
"""Read by the ONNX Runtime of every release of Triton that is supported (core/triton/releases.py)."""
TYPES = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "UINT8": TensorProto.UINT8}


def normalize(config: ModelConfig) -> bytes:
    """Pixels, batch x height x width x 3, 0 to 255, to the model's input, batch x 3 x height x width, 0 to 1."""
    given, wanted = config.inputs[0], config.outputs[0]
    model = graph(config)
    surgeon = Surgeon(model, "normalize")
    real = surgeon.node("Cast", surgeon.node("Transpose", given.name, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    # Divided, and not multiplied by the inverse: as Ultralytics does, to the last bit.
    scaled = surgeon.node("Div", real, surgeon.number(255))
    surgeon.attach_output(surgeon.node("Cast", scaled, to=TYPES[wanted.datatype]), model.graph.output[0])
    return serialized(model)


def suppress(config: ModelConfig, *, task: Task, classes: int) -> bytes:
    """Raw answers, batch x channels x anchors, and thresholds, batch x 1, to rows, batch x detections x (6 and more)."""
    raw, confidence, iou = config.inputs
    model = graph(config)
    # The raw answers are the output that `append` replaces.
    declared = model.graph.output[0]
    model.graph.node.append(helper.make_node("Cast", [raw.name], [declared.name], to=TensorProto.FLOAT))
    suppression = nms.Suppression(conf=confidence.name, iou=iou.name, max_det=config.outputs[0].dims[0])
    nms.append(model, suppression, task=task, classes=classes, channels=raw.dims[0])
    return serialized(model)


def graph(config: ModelConfig) -> ModelProto:
    """Inputs and outputs without a node between them."""
    made = helper.make_graph([], config.name, [declared(port) for port in config.inputs], [declared(port) for port in config.outputs])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def declared(port: Port) -> object:
    """A port with its batch; a dynamic dimension has a name of its own."""
    shape = [f"{port.name}_{at}" if size == -1 else size for at, size in enumerate((-1, *port.dims))]
    return helper.make_tensor_value_info(port.name, TYPES[port.datatype], shape)


def serialized(model: ModelProto) -> bytes:
    """The file, the same for the same graph."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content
