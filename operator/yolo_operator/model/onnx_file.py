"""Reads an ONNX that somebody else wrote: what it declares, and whether Triton may be given it.

Nothing is run, and no weights are read (onnx_stripped.py): any size fits into little memory. An ONNX can name files beside it (external data) and libraries' operators (custom domains): both are refused,
for Triton would read and load them with its own rights.
"""

import hashlib
import heapq
import os
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from yolo_operator.core.contract import Tensor
from yolo_operator.core.errors import InvalidSpec
from yolo_operator.core.triton.description import OnnxFacts
from yolo_operator.model import onnx_operators, onnx_stripped, precision

MAX_BYTES = 2 * 1024 * 1024 * 1024 - 1
"""A protobuf message cannot be larger."""
DATATYPES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.DOUBLE: "FP64",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}


def inspect(source: Path | BufferedIOBase) -> tuple[OnnxFacts, dict[str, str]]:
    """What the file declares, and its metadata_props; an open file is read from its beginning. Raises InvalidSpec: InvalidOnnx, UnsafeOnnx."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return inspect(file)
    model = parse(source)
    check_safe(model)
    check_valid(model)
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    facts = OnnxFacts(
        sha256=hashlib.file_digest(source, "sha256").hexdigest(),
        size_bytes=size,
        opset=max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0),
        ir_version=model.ir_version,
        inputs=[tensor(value) for value in real_inputs(model.graph)],
        outputs=[tensor(value) for value in model.graph.output],
        precision=precision.of(graphs(model.graph)),
    )
    return facts, {entry.key: entry.value for entry in model.metadata_props}


def parse(file: BufferedIOBase) -> ModelProto:
    """The model without the data of its larger tensors; other files are InvalidOnnx."""
    try:
        model = onnx.load_model_from_string(onnx_stripped.read(file))
    except onnx_stripped.Malformed as error:
        raise InvalidSpec("InvalidOnnx", f"the file is no ONNX: {error}: truncated, or another format (an LFS pointer, an HTML page?)") from error
    except Exception as error:
        raise InvalidSpec("InvalidOnnx", "the file is no ONNX: truncated, or another format (an LFS pointer, an HTML page?)") from error
    if not model.graph.node or not model.graph.input or not model.graph.output:
        raise InvalidSpec("InvalidOnnx", "the ONNX has no nodes, inputs or outputs: truncated, or another format")
    return model


def check_safe(model: ModelProto) -> None:
    """No data outside the file, no operators but those that are listed."""
    if model.functions or model.training_info:
        raise InvalidSpec("UnsafeOnnx", "the ONNX brings functions or training steps of its own: export it with Ultralytics")
    for graph in graphs(model.graph):
        if any(sparse_tensors(graph)):
            raise InvalidSpec("UnsafeOnnx", "the ONNX keeps weights as sparse tensors, which are not checked: export it with dense ones")
        for tensor in tensors(graph):
            if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
                raise InvalidSpec("UnsafeOnnx", f"the ONNX keeps tensor {tensor.name[:80]!r} in another file: save it as one file")
        for node in graph.node:
            objection = onnx_operators.objection(node.domain, node.op_type)
            if objection:
                of_domain = f" of domain {node.domain[:80]!r}" if node.domain else ""
                raise InvalidSpec("UnsafeOnnx", f"the ONNX has operator {node.op_type[:80]!r}{of_domain}, which {objection}")


def check_valid(model: ModelProto) -> None:
    """The graph obeys ONNX's rules. Raises InvalidSpec OnnxTooNew, or InvalidOnnx with the checker's first complaint."""
    check_age(model)
    sort_nodes(model.graph)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InvalidSpec("InvalidOnnx", f"the ONNX is not valid: {str(error).splitlines()[0][:300]}") from error


def check_age(model: ModelProto) -> None:
    """No newer than the rules that are known here. Raises InvalidSpec OnnxTooNew; what the Triton image reads is another matter."""
    newest = onnx.defs.onnx_opset_version()
    asked = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if model.ir_version > onnx.IR_VERSION or asked > newest:
        raise InvalidSpec(
            "OnnxTooNew",
            f"the ONNX has IR version {model.ir_version} and opset {asked}, known are IR version {onnx.IR_VERSION} and opset {newest} at most: "
            "export it with an older opset",
        )


def sort_nodes(graph: GraphProto) -> None:
    """Put each node after those it reads from, as ONNX's rules have it.

    ONNX Runtime loads any order, and its own half-precision converter, which Ultralytics uses, leaves the casts at the end.
    A cycle stays as it is, for the checker to find.
    """
    made_by = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    waits_for = [{made_by[name] for name in needed(node) if name in made_by} for node in graph.node]
    feeds: dict[int, list[int]] = {}
    for at, makers in enumerate(waits_for):
        for maker in makers:
            feeds.setdefault(maker, []).append(at)
    ready = [at for at, makers in enumerate(waits_for) if not makers]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        at = heapq.heappop(ready)
        order.append(at)
        for reader in feeds.get(at, ()):
            waits_for[reader].discard(at)
            if not waits_for[reader]:
                heapq.heappush(ready, reader)
    if len(order) == len(graph.node) and order != sorted(order):
        nodes = [graph.node[at] for at in order]
        del graph.node[:]
        graph.node.extend(nodes)


def needed(node: NodeProto) -> Iterator[str]:
    """What a node reads, the graphs inside it included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for nested in graphs(inner):
                for other in nested.node:
                    yield from other.input


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and those inside its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All tensors a graph carries itself: weights, and constants in its nodes' attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def sparse_tensors(graph: GraphProto) -> Iterator[SparseTensorProto]:
    """Those written as positions and values: the checker reads positions from the data, and trusts its length."""
    yield from graph.sparse_initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor
            yield from attribute.sparse_tensors


def real_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs that a request must bring: old exporters list the weights among them."""
    weights = {weight.name for weight in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def tensor(value: ValueInfoProto) -> Tensor:
    """Name, type and shape; a symbolic or unknown dimension is -1."""
    declared = value.type.tensor_type
    if declared.elem_type not in DATATYPES:
        kind = TensorProto.DataType.Name(declared.elem_type) if declared.elem_type in TensorProto.DataType.values() else str(declared.elem_type)
        raise InvalidSpec("InvalidOnnx", f"tensor {value.name[:80]!r} is {kind}, which no YOLO's input or output is: export it in FP32 or FP16")
    shape = [dimension.dim_value if dimension.dim_value > 0 else -1 for dimension in declared.shape.dim]
    return Tensor(name=value.name, datatype=DATATYPES[declared.elem_type], shape=shape)
