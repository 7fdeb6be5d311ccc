"""Small ONNX files of the kinds that people have, made by other programs than today's Ultralytics: their outputs' shapes, values and metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

SIZE = 64
NAMES = ["bus", "person", "dog"]
CELLS = 64 + 16 + 4
"""Anchors of a picture of SIZE at the strides 8, 16 and 32."""
SAID = {"task": "detect", "stride": 32, "batch": 1, "imgsz": [SIZE, SIZE], "names": dict(enumerate(NAMES))}

Arrays = Mapping[str, np.ndarray]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def boxes(rows: int, unit: bool = False) -> np.ndarray:
    """Rows of centre, width, height, in pixels or as parts of the picture: (1, rows, 4)."""
    return random(1, rows, 4) * (0.9 if unit else SIZE)


def corners(rows: int) -> np.ndarray:
    """Rows of x1 y1 x2 y2 in pixels, well apart: (1, rows, 4)."""
    low = random(1, rows, 2) * 40
    return np.concatenate([low, low + 16], axis=-1)


def columns(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1).astype(np.float32)


def rows_of(values: int, anchors: int = CELLS) -> np.ndarray:
    """Detections as rows, with scores only: (1, anchors, values)."""
    return columns(boxes(anchors), random(1, anchors, values - 4))


def raw(values: int) -> np.ndarray:
    """Detections as columns, as Ultralytics has them: (1, values, anchors)."""
    return np.ascontiguousarray(rows_of(values).transpose(0, 2, 1))


def final(extras: int = 0, rows: int = 300, classes: int = len(NAMES)) -> np.ndarray:
    """Detections that need no NMS, best first: (1, rows, 6 + extras)."""
    scores = np.linspace(0.9, 0.0, rows, dtype=np.float32).reshape(1, rows, 1)
    kinds = (np.arange(rows) % classes).reshape(1, rows, 1)
    return columns(corners(rows), scores, kinds, random(1, rows, extras))


def logits(classes: int) -> np.ndarray:
    """Scores before their sigmoid: most are far below 0."""
    return random(1, CELLS, classes) * 6 - 7


def answering(
    outputs: Arrays,
    *,
    declared: Mapping[str, list[int | str]] | None = None,
    shape: tuple[int | str, ...] = ("batch", 3, SIZE, SIZE),
    datatype: int = TensorProto.FLOAT,
    more_inputs: Mapping[str, list[int | str]] | None = None,
    said: Mapping[str, Any] | None = None,
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """An ONNX that answers these arrays for each picture of a batch, whatever is in the pictures.

    Arrays have a batch dimension of 1. `declared`: shapes of outputs other than with a free batch dimension.
    """
    channels = int(shape[1])
    nodes = [
        helper.make_node("Cast", ["images"], ["picture"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["means"]),
        helper.make_node("MatMul", ["means", "zeros"], ["nothing"]),
    ]
    weights = {"zeros": np.zeros((channels, 1), np.float32)}
    for name, array in outputs.items():
        weights |= {f"{name}_answer": array, f"{name}_shape": np.array([-1] + [1] * (array.ndim - 1), np.int64)}
        nodes += [
            helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_nothing"]),
            helper.make_node("Add", [f"{name}_answer", f"{name}_nothing"], [name]),
        ]
    shapes = {name: [shape[0], *array.shape[1:]] for name, array in outputs.items()} | dict(declared or {})
    graph = helper.make_graph(
        nodes,
        "answering",
        [
            helper.make_tensor_value_info("images", datatype, list(shape)),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, wanted) for name, wanted in (more_inputs or {}).items()),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    return told(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version), SAID if said is None else said)


def told(model: onnx.ModelProto, said: Mapping[str, Any]) -> onnx.ModelProto:
    """The model with metadata as Ultralytics writes it: text."""
    del model.metadata_props[:]
    for key, value in said.items():
        model.metadata_props.add(key=key, value=str(value))
    return model


def detector(
    *,
    values: int = 4 + len(NAMES),
    batch: int | str = "batch",
    channels: int = 3,
    weights: int = TensorProto.FLOAT,
    ports: int | None = None,
    said: Mapping[str, Any] | None = None,
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A convolution per 8 pixels to boxes of 16 and scores that follow the picture: (batch, channels, h, w) to (batch, values, anchors).

    `weights`: their type, and the input's and output's as well unless `ports` says another.
    """
    ports = weights if ports is None else ports
    generator = np.random.default_rng(0)
    kernel = generator.normal(scale=0.02, size=(values, channels, 8, 8)).astype(np.float32)
    bias = np.array([32, 32, 16, 16] + [0.0] * (values - 4), np.float32)
    convolution = [("Conv", ["picture", "kernel", "bias"], ["grid"], {"kernel_shape": [8, 8], "strides": [8, 8]})]
    cast = ports != weights
    steps = [
        *([("Cast", ["images"], ["picture"], {"to": weights})] if cast else []),
        *convolution,
        ("Reshape", ["grid", "flat"], ["rows"], {}),
        ("Split", ["rows", "parts"], ["box", "logit"], {"axis": 1}),
        ("Sigmoid", ["logit"], ["score"], {}),
        ("Concat", ["box", "score"], ["answer" if cast else "output0"], {"axis": 1}),
        *([("Cast", ["answer"], ["output0"], {"to": ports})] if cast else []),
    ]
    nodes = [
        helper.make_node(kind, [name if cast or name != "picture" else "images" for name in given], made, **settings) for kind, given, made, settings in steps
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", ports, [batch, channels, "height", "width"])],
        [helper.make_tensor_value_info("output0", ports, [batch, values, "anchors"])],
        [
            helper.make_tensor("kernel", weights, kernel.shape, kernel.ravel()),
            helper.make_tensor("bias", weights, bias.shape, bias),
            numpy_helper.from_array(np.array([0, values, -1], np.int64), "flat"),
            numpy_helper.from_array(np.array([4, values - 4], np.int64), "parts"),
        ],
    )
    return told(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version), SAID if said is None else said)


def quantized(model: onnx.ModelProto, place: Path, how: str = "QDQ") -> onnx.ModelProto:
    """The model in 8 bits, by ONNX Runtime over one random picture; `place`: an empty folder.

    `how`: with Q/DQ nodes around its convolution ("QDQ"), with integer operators throughout ("QOperator"), or with its weights in 8 bits alone ("weights").
    """

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"images": random(1, 3, SIZE, SIZE)}]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    given, made = place / "given.onnx", place / "made.onnx"
    said = {entry.key: entry.value for entry in model.metadata_props}
    onnx.save(model, given)
    if how == "weights":
        quantization.quantize_dynamic(given, made)
    else:
        only = ["Conv"] if how == "QDQ" else None
        quantization.quantize_static(given, made, Pictures(), quant_format=quantization.QuantFormat[how], op_types_to_quantize=only)
    return told(onnx.load(made), said)
