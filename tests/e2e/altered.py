"""Real models that have gone wrong in one way: a published ONNX with nodes added to its graph, shapes and metadata as before."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

POISON = 2.0
"""A first pixel that no picture has: `failing` cannot answer it."""


def altered(model: bytes, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    """The model with nodes between what it computes, renamed `answer`, and its output."""
    graph = onnx.load_from_string(model)
    (output,) = (value.name for value in graph.graph.output)
    for node in graph.graph.node:
        node.output[:] = ["answer" if name == output else name for name in node.output]
        node.input[:] = ["answer" if name == output else name for name in node.input]
    for node in nodes:
        node.output[:] = [output if name == "output" else name for name in node.output]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return graph.SerializeToString()


def scores(model: bytes, *, times: float, plus: float) -> bytes:
    """Every score multiplied and raised; the boxes stay."""
    factor, summand = np.ones((1, 5, 1), np.float32), np.zeros((1, 5, 1), np.float32)
    factor[0, 4], summand[0, 4] = times, plus
    nodes = [helper.make_node("Mul", ["answer", "factor"], ["scaled"]), helper.make_node("Add", ["scaled", "summand"], ["output"])]
    return altered(model, nodes, {"factor": factor, "summand": summand})


def blind(model: bytes) -> bytes:
    """Finds nothing any more."""
    return scores(model, times=0.0, plus=0.0)


def seeing_everywhere(model: bytes) -> bytes:
    """Finds everything everywhere."""
    return scores(model, times=0.1, plus=0.85)


def slow(model: bytes, size: int = 700, times: int = 6) -> bytes:
    """The same answers, after a lot of arithmetic that depends on the picture and so cannot be folded away."""
    matrix = np.full((size, size), 1e-3, np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["answer"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "tiny"], ["dust"]),
        helper.make_node("Add", ["matrix", "dust"], ["work0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"work{i}", "work0"], [f"work{i + 1}"]) for i in range(times)]
    nodes += [
        helper.make_node("ReduceMean", [f"work{times}"], ["done"], keepdims=0),
        helper.make_node("Mul", ["done", "none"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    return altered(model, nodes, {"matrix": matrix, "tiny": np.float32(1e-6).reshape(()), "none": np.float32(0).reshape(())})


def failing(model: bytes) -> bytes:
    """Cannot answer a picture whose first pixel is POISON: an index beyond the end."""
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["pixels"]),
        helper.make_node("Gather", ["pixels", "first"], ["pixel"]),
        helper.make_node("Floor", ["pixel"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "index"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    return altered(model, nodes, {"flat": np.array([-1], np.int64), "first": np.array(0, np.int64), "zeros": np.zeros(2, np.float32)})


def small_batches(model: bytes) -> bytes:
    """Answers two pictures at a time at most, though its batch dimension is said to vary: an index beyond the end for three."""
    nodes = [
        helper.make_node("Shape", ["images"], ["count"], start=0, end=1),
        helper.make_node("Gather", ["zeros", "count"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    return altered(model, nodes, {"zeros": np.zeros(3, np.float32)})


def truncated(model: bytes) -> bytes:
    """No model any more."""
    return model[: len(model) // 2]
