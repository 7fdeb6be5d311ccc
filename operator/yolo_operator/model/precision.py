"""In which numbers an ONNX computes, read from its graph: nothing is run and no weight is looked at."""

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from yolo_operator.core.triton.description import Precision

HALF = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
QUANTIZED = ("QuantizeLinear", "QLinear", "MatMulInteger", "ConvInteger", "DynamicQuantize", "QGemm", "QAttention", "NBits")
"""Parts of the names of operators that compute in 8 bits or fewer, or bring weights of as many to be computed with."""


def of(graphs: Iterable[GraphProto]) -> Precision:
    """FP32, FP16 or INT8: the coarsest in a model's graphs, those inside nodes included."""
    found: Precision = "FP32"
    for graph in graphs:
        if any(part in node.op_type for node in graph.node for part in QUANTIZED):
            return "INT8"
        if any(kind in HALF for kind in types(graph)):
            found = "FP16"
    return found


def types(graph: GraphProto) -> Iterator[int]:
    """Element types of a graph's inputs, outputs, weights, constants and casts."""
    yield from (value.type.tensor_type.elem_type for value in (*graph.input, *graph.output))
    yield from (weight.data_type for weight in graph.initializer)
    for node in graph.node:
        yield from types_of(node)


def types_of(node: NodeProto) -> Iterator[int]:
    """Element types that a node names: of a constant in it, or the one that it casts to."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t.data_type
        elif attribute.name == "to" and node.op_type == "Cast":
            yield attribute.i
