"""Quantizes an ONNX by ONNX Runtime's static quantization: which operators, with which scales. Knows nothing of pictures or tasks.

Only operators with weights get Q/DQ pairs. What stands between them stays in float: activations, attention, the decoding of boxes, where
one scale for pixels and scores would round every score to 0. So do the last convolutions, which cost little and give boxes and scores.

Ranges are the means of each picture's least and largest value: what one run keeps are two numbers per tensor, whatever the model's size,
where histograms (entropy, percentiles) keep every tensor of every picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from yolo_operator.core.errors import InvalidSpec
from yolo_operator.exporter.reference import Array

FIELD = "spec.versions[].export.calibration"
MIN_OPSET = 13
"""The first with a scale per channel."""
WEIGHTED = ("Conv", "Gemm")


def quantize(source: Path, target: Path, inputs: Iterator[Array], *, batch: int = 1, symmetric: bool = False) -> None:
    """Write the INT8 ONNX. `inputs` are the model's inputs of one picture each, `batch` what the ONNX is fixed to.

    symmetric: as TensorRT wants it, zero points of 0 and no pair behind a convolution. Else as CPUs do it fast: unsigned activations, and
    weights of 7 bits, which give the same answers with and without VNNI (8 bits overflow without). Raises InvalidSpec NotQuantizable.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static  # noqa: PLC0415  in the exporter image only
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    check(onnx.load(source, load_external_data=False))
    prepared = target.with_name(f"prepared-{target.name}")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True, skip_optimization=True)
    model = named(onnx.load(prepared))
    onnx.save(model, prepared)
    extra: dict[str, Any] = {"ActivationSymmetric": symmetric, "WeightSymmetric": True, "CalibMovingAverage": True}
    if symmetric:
        extra |= {"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": list(WEIGHTED)}
    quantize_static(
        str(prepared),
        str(target),
        Reader(model.graph.input[0].name, inputs, batch),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(WEIGHTED),
        nodes_to_exclude=sorted(in_float(model.graph)),
        per_channel=True,
        reduce_range=not symmetric,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=extra,
    )
    prepared.unlink()


def check(model: onnx.ModelProto) -> None:
    """Refuse what cannot be quantized, or is already. Raises InvalidSpec NotQuantizable."""
    given = model.graph.input[0].type.tensor_type.elem_type
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger") for node in model.graph.node):
        why = "the ONNX is INT8 already"
    elif given != onnx.TensorProto.FLOAT or any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer):
        why = "the ONNX is not FP32: give an FP32 one"
    elif opset < MIN_OPSET:
        why = f"the ONNX has opset {opset}, and scales per channel need {MIN_OPSET}: export it anew"
    elif not any(node.op_type in WEIGHTED for node in model.graph.node):
        why = "the ONNX has no convolution"
    else:
        return
    raise InvalidSpec("NotQuantizable", f"{FIELD}: {why}, or remove calibration")


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every node with a name of its own: nodes are left out by name."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"node{number}_{node.op_type}"
        taken.add(node.name)
    return model


def in_float(graph: onnx.GraphProto) -> set[str]:
    """Names of the weighted nodes that stay in float: those no other one follows, and the decoding of boxes behind a Softmax (DFL)."""
    weighted = [node for node in graph.node if node.op_type in WEIGHTED]
    softened: set[str] = set()  # tensors that a Softmax gives, but for their shape
    for node in graph.node:  # in topological order, as ONNX demands
        if node.op_type == "Softmax" or (node.op_type in ("Transpose", "Reshape") and node.input[0] in softened):
            softened.update(node.output)
    kept = {node.name for node in weighted if node.input[0] in softened}
    leading: set[str] = set()  # tensors that another weighted node follows from
    for node in reversed(graph.node):
        if not leading.isdisjoint(node.output):
            leading.update(node.input)
        elif node.op_type in WEIGHTED and node.name not in kept:
            kept.add(node.name)
            leading.update(node.input)
    return kept


class Reader:
    """Gives ONNX Runtime one input after the other; its CalibrationDataReader asks for no more than this method."""

    def __init__(self, name: str, inputs: Iterator[Array], batch: int) -> None:
        self._name, self._inputs, self._batch = name, inputs, batch

    def get_next(self) -> dict[str, Array] | None:
        """The next one; None after the last."""
        given = next(self._inputs, None)
        return None if given is None else {self._name: np.repeat(given, self._batch, axis=0)}
