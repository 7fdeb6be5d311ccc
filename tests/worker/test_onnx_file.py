import io

import numpy as np
import onnx
import pytest
import yolo_models
from onnx import TensorProto, helper, numpy_helper

from yolo_operator.core.errors import InvalidSpec
from yolo_operator.model import onnx_file, onnx_operators


def reason(model) -> str:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(InvalidSpec) as caught:
        onnx_file.inspect(io.BytesIO(content))
    return caught.value.reason


def external(tensor) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def test_what_the_file_declares():
    facts, properties = onnx_file.inspect(io.BytesIO(yolo_models.detector(batch=4, size=64).SerializeToString()))
    assert facts.inputs[0].shape == [4, 3, 64, 64]
    assert facts.outputs[0].shape == [4, 6, 4]
    assert (facts.opset, facts.ir_version, properties) == (17, 8, {})


def test_external_weights():
    model = yolo_models.detector()
    external(model.graph.initializer[0])
    assert reason(model) == "UnsafeOnnx"


def test_an_external_constant_in_an_inner_graph():
    model = yolo_models.detector()
    constant = numpy_helper.from_array(np.zeros(1, np.float32), "c")
    external(constant)
    inner = helper.make_graph([helper.make_node("Constant", [], ["x"], value=constant)], "inner", [], [helper.make_tensor_value_info("x", 1, [1])])
    model.graph.node.append(helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner))
    assert reason(model) == "UnsafeOnnx"


def test_a_custom_operator():
    model = yolo_models.detector()
    model.graph.node[0].domain = "my.company"
    model.opset_import.append(helper.make_opsetid("my.company", 1))
    assert reason(model) == "UnsafeOnnx"


def test_a_custom_operator_in_an_inner_graph():
    model = yolo_models.detector()
    inner = helper.make_graph([helper.make_node("Shell", [], ["x"], domain="evil")], "inner", [], [helper.make_tensor_value_info("x", 1, [1])])
    model.graph.node.append(helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner))
    assert reason(model) == "UnsafeOnnx"


def in_the_graph(model, node) -> None:
    model.graph.node.append(node)


def in_a_branch(model, node) -> None:
    inner = helper.make_graph([node], "inner", [], [helper.make_tensor_value_info("x", 1, [1])])
    model.graph.node.append(helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner))


def in_a_loop_in_a_branch(model, node) -> None:
    body = helper.make_graph([node], "body", [], [helper.make_tensor_value_info("x", 1, [1])])
    in_a_branch(model, helper.make_node("Loop", ["count", ""], ["x"], body=body))


def in_a_function(model, node) -> None:
    model.functions.append(helper.make_function("com.microsoft", "Gelu", ["images"], ["x"], [node], [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("place", [in_the_graph, in_a_branch, in_a_loop_in_a_branch, in_a_function])
@pytest.mark.parametrize(
    ("domain", "name", "attributes"),
    [
        pytest.param("com.microsoft", "EPContext", {"embed_mode": 1, "ep_cache_context": b"engine" * 100_000, "main_context": 1}, id="an engine in the file"),
        pytest.param("com.microsoft", "EPContext", {"embed_mode": 0, "ep_cache_context": b"../engine.bin", "main_context": 1}, id="an engine beside the file"),
        pytest.param("com.microsoft", "Snpe", {"DLC": b"program"}, id="a program for another accelerator"),
        pytest.param("com.microsoft", "PythonOp", {"name": b"os.system"}, id="Python"),
        pytest.param("com.microsoft", "BeamSearch", {}, id="text generation"),
        pytest.param("com.microsoft", "ByAnotherBuild", {}, id="an operator of ONNX Runtime's that is not listed"),
        pytest.param("com.microsoft.extensions", "StringRegexReplace", {}, id="of ONNX Runtime's extensions"),
        pytest.param("com.ms.internal.nhwc", "Conv", {}, id="of ONNX Runtime's inside"),
        pytest.param("ai.onnx.contrib", "PyOp", {}, id="of ONNX' contributed ones"),
        pytest.param("ai.onnx.preview.training", "Gradient", {}, id="of training"),
        pytest.param("org.pytorch.aten", "ATen", {}, id="of PyTorch"),
        pytest.param("trt.plugins", "EfficientNMS_TRT", {}, id="of TensorRT's plugins"),
        pytest.param("", "EfficientNMS_TRT", {}, id="of TensorRT's plugins, as one of ONNX"),
        pytest.param("", "ImageDecoder", {}, id="a decoder of picture files"),
        pytest.param("", "RandomNormal", {"shape": [1]}, id="random numbers"),
        pytest.param("ai.onnx", "MemcpyFromHost", {}, id="of ONNX Runtime's inside, as one of ONNX"),
    ],
)
def test_an_operator_that_is_not_listed(place, domain, name, attributes):
    model = yolo_models.detector()
    model.opset_import.append(helper.make_opsetid(domain or "x", 1))
    place(model, helper.make_node(name, [], ["x"], domain=domain, **attributes))
    with pytest.raises(InvalidSpec) as caught:
        onnx_file.inspect(io.BytesIO(model.SerializeToString()))
    assert caught.value.reason == "UnsafeOnnx"
    if place is not in_a_function:
        assert repr(name) in caught.value.message


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        *[("com.microsoft", name) for name in ("FusedConv", "QLinearAdd", "NhwcMaxPool", "QuickGelu", "MultiHeadAttention", "QuantizeLinear")],
        *[(domain, name) for domain in ("", "ai.onnx") for name in ("Conv", "Loop", "Upsample", "QLinearConv", "NonMaxSuppression", "Scatter")],
        ("ai.onnx.ml", "TreeEnsembleClassifier"),
    ],
)
def test_operators_that_only_compute_are_served(domain, name):
    assert onnx_operators.objection(domain, name) == ""


def test_functions_of_its_own():
    model = yolo_models.detector()
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("", "mine", ["a"], ["b"], [node], [helper.make_opsetid("", 17)]))
    assert reason(model) == "UnsafeOnnx"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!doctype html><html></html>", id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", id="an LFS pointer"),
        pytest.param(yolo_models.detector().SerializeToString()[:500], id="a truncated file"),
    ],
)
def test_other_files_are_no_onnx(content):
    assert reason(content) == "InvalidOnnx"


def test_a_graph_that_reads_what_nobody_makes():
    model = yolo_models.detector()
    model.graph.node[1].input[0] = "nobody"
    assert reason(model) == "InvalidOnnx"


def test_nodes_out_of_order_are_fine():
    model = yolo_models.detector()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    facts, _ = onnx_file.inspect(io.BytesIO(model.SerializeToString()))
    assert facts.outputs[0].name == "output0"


def test_a_cycle_is_not_valid():
    model = yolo_models.detector()
    model.graph.node[0].input[0] = "output0"
    assert reason(model) == "InvalidOnnx"
