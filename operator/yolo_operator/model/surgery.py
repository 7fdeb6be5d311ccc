"""Changes an ONNX after Ultralytics has exported it: nodes at its end, types at its border. No PyTorch.

Ultralytics' own export stays as it is, whatever exporter PyTorch brings and whatever it does before (half precision, onnxslim, INT8), and
the appended nodes can be tested by themselves.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

AXES_ARE_AN_INPUT = {"ReduceMax": 18, "ReduceSum": 13}
"""From which opset an operator takes its axes as an input and no longer as an attribute."""


class Surgeon:
    """Appends nodes to a model; names of nodes and tensors begin with `prefix`, so that they meet none of the model's own."""

    def __init__(self, model: ModelProto, prefix: str) -> None:
        self.graph: GraphProto = model.graph
        self._opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._prefix = prefix
        self._made = 0

    def name(self, what: str) -> str:
        """A name that is not taken."""
        self._made += 1
        return f"{self._prefix}/{what}_{self._made}"

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """Append a node; the name of its first output."""
        return self.nodes(operator, *inputs, outputs=outputs, **attributes)[0]

    def nodes(self, operator: str, *inputs: str, outputs: int, **attributes: object) -> list[str]:
        """Append a node; the names of its outputs."""
        made = [self.name(operator) for _ in range(outputs)]
        self.graph.node.append(helper.make_node(operator, inputs, made, name=made[0], **attributes))
        return made

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """An initializer."""
        name = self.name("constant")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def integers(self, *values: int) -> str:
        """A list of integers, as operators take axes and shapes."""
        return self.constant(values, np.int64)

    def number(self, value: float) -> str:
        """A float."""
        return self.constant(value, np.float32)

    def reduce(self, operator: str, tensor: str, axis: int) -> str:
        """ReduceMax or ReduceSum over one axis, which stays with size 1."""
        if self._opset >= AXES_ARE_AN_INPUT[operator]:
            return self.node(operator, tensor, self.integers(axis), keepdims=1)
        return self.node(operator, tensor, axes=[axis], keepdims=1)

    def part(self, tensor: str, start: int, end: int) -> str:
        """Channels `start` to `end` of batch x channels x anchors."""
        return self.node("Slice", tensor, self.integers(start), self.integers(end), self.integers(1))

    def detach_output(self, position: int = 0) -> tuple[str, ValueInfoProto]:
        """Free the name of an output for a tensor that is appended; the name its tensor has from now on, and its declaration."""
        declared = self.graph.output[position]
        inner = self.name(declared.name)
        for node in self.graph.node:
            node.output[:] = [inner if name == declared.name else name for name in node.output]
            node.input[:] = [inner if name == declared.name else name for name in node.input]
        for known in list(self.graph.value_info):
            if known.name == declared.name:
                self.graph.value_info.remove(known)
        return inner, declared

    def attach_output(self, tensor: str, declared: ValueInfoProto) -> None:
        """Give the last appended tensor the name of an output."""
        for node in self.graph.node:
            node.output[:] = [declared.name if name == tensor else name for name in node.output]


def declare(value: ValueInfoProto, datatype: int, dimensions: Sequence[int | str]) -> None:
    """Set type and shape of an input or output; text is a dynamic dimension."""
    value.CopyFrom(helper.make_tensor_value_info(value.name, datatype, list(dimensions)))


def dimensions(value: ValueInfoProto) -> list[int | str]:
    """Shape of an input or output; text is a dynamic dimension."""
    return [dimension.dim_value if dimension.dim_value > 0 else dimension.dim_param or "?" for dimension in value.type.tensor_type.shape.dim]


def half_input(model: ModelProto) -> None:
    """The picture comes as FP16; the model computes on as before. Pixels of 8 bits, divided by 255, keep all their 256 values apart."""
    value = model.graph.input[0]
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        return
    surgeon = Surgeon(model, "input")
    inner = surgeon.name(value.name)
    for node in model.graph.node:
        node.input[:] = [inner if name == value.name else name for name in node.input]
    cast = helper.make_node("Cast", [value.name], [inner], name=inner, to=TensorProto.FLOAT)
    model.graph.node.insert(0, cast)
    value.type.tensor_type.elem_type = TensorProto.FLOAT16


def half_output(model: ModelProto, position: int) -> None:
    """An output goes out as FP16."""
    surgeon = Surgeon(model, f"output{position}")
    inner, declared = surgeon.detach_output(position)
    if declared.type.tensor_type.elem_type != TensorProto.FLOAT:
        surgeon.attach_output(inner, declared)
        return
    surgeon.attach_output(surgeon.node("Cast", inner, to=TensorProto.FLOAT16), declared)
    declared.type.tensor_type.elem_type = TensorProto.FLOAT16
