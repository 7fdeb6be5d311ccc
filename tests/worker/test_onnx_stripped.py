"""Reading an ONNX without its weights: what is left is what protobuf makes of the file, in memory that does not grow with it."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yolo_models
from onnx import TensorProto, helper, numpy_helper

from yolo_operator.core.errors import InvalidSpec
from yolo_operator.model import onnx_file, onnx_stripped

LARGE = np.arange(4 * onnx_stripped.KEPT_BYTES, dtype=np.float32)


def typed(name: str, datatype: int, values) -> TensorProto:
    """A tensor in the field of its type, not in raw_data."""
    return helper.make_tensor(name, datatype, [len(values)], values)


def inner(*tensors: TensorProto) -> onnx.GraphProto:
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors]
    return helper.make_graph(nodes, "inner", [], [helper.make_tensor_value_info(tensors[0].name, 1, [1])])


def with_everything() -> onnx.ModelProto:
    """Weights of every kind of field, in every place that can hold a tensor."""
    model = yolo_models.detector()
    tensors = [
        numpy_helper.from_array(LARGE, "raw"),
        numpy_helper.from_array(LARGE[:4], "small"),
        typed("floats", TensorProto.FLOAT, LARGE.tolist()),
        typed("doubles", TensorProto.DOUBLE, LARGE.tolist()),
        typed("integers", TensorProto.INT64, list(range(2000))),
        typed("halves", TensorProto.FLOAT16, LARGE.astype(np.float16)),
        typed("strings", TensorProto.STRING, [b"s" * 700] * 3),
    ]
    model.graph.initializer.extend(tensors)
    model.graph.node.append(helper.make_node("If", ["condition"], ["y"], then_branch=inner(tensors[0]), else_branch=inner(tensors[2], tensors[1])))
    model.graph.node.append(helper.make_node("Mine", [], ["z"], domain="any", many=tensors[:2], engine=b"e" * 5000, name="n"))
    model.functions.append(helper.make_function("any", "f", ["a"], ["b"], list(inner(tensors[3]).node), [helper.make_opsetid("", 17)]))
    model.metadata_props.add(key="names", value="{0: 'bus'}")
    return model


def without_data(message) -> None:
    """Clear, in place, what stands for a larger tensor's values: all data and shapes, as only those may differ."""
    if isinstance(message, TensorProto):
        for field in ("dims", "float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data"):
            message.ClearField(field)
    if isinstance(message, onnx.AttributeProto):
        message.ClearField("s")
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if hasattr(value, "extend") else [value]:
                without_data(one)


def test_what_is_left_is_the_model_but_for_its_larger_tensors():
    model = with_everything()
    content = model.SerializeToString()
    found = onnx.load_model_from_string(onnx_stripped.read(io.BytesIO(content)))
    small = {tensor.name: tensor for tensor in found.graph.initializer}["small"]
    assert numpy_helper.to_array(small).tolist() == LARGE[:4].tolist()
    for one in found.graph.initializer:
        onnx.checker.check_tensor(one)
    assert found.ByteSize() < len(content) / 20
    without_data(model)
    without_data(found)
    assert found == model


def test_a_list_written_value_by_value_is_left_out_too():
    one = onnx_stripped.encoded(4 << 3 | 5) + bytes(4)
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[1000]).SerializeToString() + one * 1000
    model = yolo_models.detector()
    graph = model.graph.SerializeToString() + onnx_stripped.framed(5, tensor)
    model.ClearField("graph")
    found = onnx.load_model_from_string(onnx_stripped.read(io.BytesIO(model.SerializeToString() + onnx_stripped.framed(7, graph))))
    assert len(found.graph.initializer[-1].float_data) <= 2


def nested(depth: int) -> bytes:
    """Graphs in attributes of nodes of graphs."""
    content = b""
    for _ in range(depth):
        content = onnx_stripped.framed(1, onnx_stripped.framed(5, onnx_stripped.framed(6, content)))
    return onnx_stripped.framed(7, content)


GRAPH_TAG = onnx_stripped.encoded(7 << 3 | 2)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GRAPH_TAG + b"\xff" * 9 + b"\x01", id="a length of 2**64 - 1"),
        pytest.param(GRAPH_TAG + b"\xff" * 11, id="a length without an end"),
        pytest.param(GRAPH_TAG + b"\x05" + bytes(4), id="a message that ends before it says it does"),
        pytest.param(GRAPH_TAG, id="a tag alone"),
        pytest.param(b"\x80", id="half a tag"),
        pytest.param(b"\x02\x00", id="a field of number 0"),
        pytest.param(b"\x3b" + b"\x3b" * 5000, id="groups in groups"),
        pytest.param(b"\x3f\x00", id="a wire type that does not exist"),
        pytest.param(nested(60), id="graphs in graphs, 180 deep"),
        pytest.param(nested(5000), id="graphs in graphs, 15000 deep"),
        pytest.param(onnx_stripped.framed(7, b"\x0a\x00" * (onnx_stripped.MAX_FIELDS + 1)), id="a million empty nodes"),
        pytest.param(onnx_stripped.framed(6, bytes(onnx_stripped.MAX_KEPT_BYTES + 1)), id="a description of 32 MiB"),
        pytest.param(
            onnx_stripped.framed(7, onnx_stripped.framed(5, onnx_stripped.framed(1, b"\xff" * 9 + b"\x7f") * 90 + onnx_stripped.framed(9, bytes(2000)))),
            id="a tensor of ninety dimensions",
        ),
        pytest.param(
            onnx_stripped.framed(7, onnx_stripped.framed(5, b"\x10\x01\x08\x04" + onnx_stripped.framed(9, bytes(2000)))), id="more bytes than the shape has"
        ),
        pytest.param(b"PK\x03\x04" + bytes(200), id="a zip file"),
    ],
)
def test_a_hostile_file_is_no_onnx(content):
    with pytest.raises(onnx_stripped.Malformed):
        onnx_stripped.read(io.BytesIO(content))
    with pytest.raises(InvalidSpec) as caught:
        onnx_file.inspect(io.BytesIO(content))
    assert caught.value.reason == "InvalidOnnx"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_byte_is_changed_the_answer_is_facts_or_a_reason(seed):
    random = np.random.default_rng(seed)
    content = bytearray(with_everything().SerializeToString())
    for at in random.integers(0, len(content), 5):
        content[at] = random.integers(0, 256)
    cut = bytes(content[: random.integers(1, len(content))]) if seed % 2 else bytes(content)
    with contextlib.suppress(InvalidSpec):
        assert onnx_file.inspect(io.BytesIO(cut))[0].inputs


def large_file(path: Path, size: int) -> None:
    """A detector with that many bytes of further weights, which the file system keeps as a hole."""
    model = yolo_models.detector()
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    tensor = TensorProto(name="more", data_type=TensorProto.FLOAT, dims=[size // 4]).SerializeToString()
    tensor += onnx_stripped.encoded(9 << 3 | 2) + onnx_stripped.encoded(size)
    graph += onnx_stripped.encoded(5 << 3 | 2) + onnx_stripped.encoded(len(tensor) + size) + tensor
    with path.open("wb") as file:
        file.write(model.SerializeToString() + GRAPH_TAG + onnx_stripped.encoded(len(graph) + size) + graph)
        file.truncate(file.tell() + size)


INSPECT = """
import sys
from pathlib import Path
from peak_memory import peak_memory
from yolo_operator.model import onnx_file
facts, _ = onnx_file.inspect(Path(sys.argv[1]))
print(facts.size_bytes, peak_memory() // 1024)
"""


def test_a_file_of_almost_two_gibibytes_takes_no_more_memory_than_a_small_one(tmp_path):
    peaks = []
    for size in (4096, 2**31 - 2**20):
        large_file(tmp_path / "model.onnx", size)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        answer = subprocess.run([sys.executable, "-c", INSPECT, str(tmp_path / "model.onnx")], capture_output=True, text=True, check=True, env=environment)
        found, peak = (int(part) for part in answer.stdout.split())
        assert found == (tmp_path / "model.onnx").stat().st_size
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 32
