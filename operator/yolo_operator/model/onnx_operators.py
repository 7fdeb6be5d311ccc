"""Which operators Triton's ONNX Runtime may be given: those that compute. Listed one by one, as domains hold others too.

ONNX's own are those of the installed onnx package, in any opset; of ONNX Runtime's (com.microsoft) those that its optimizer, its
quantizer and exporters write and that have kernels on the CPU or with CUDA:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

import functools

from onnx import defs

CONTRIBUTED = frozenset(
    {
        # fused by the optimizer, half precision
        *("BiasAdd", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "FastGelu", "Gelu", "GemmFastGelu", "QuickGelu"),
        *("FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "TransposeMatMul", "NhwcConv", "NhwcFusedConv", "NhwcMaxPool"),
        *("GroupNorm", "SkipGroupNorm", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "EmbedLayerNormalization"),
        *("Attention", "MultiHeadAttention", "PackedAttention", "PackedMultiHeadAttention", "GroupQueryAttention"),
        *("RelativePositionBias", "GatedRelativePositionBias", "RotaryEmbedding"),
        # quantized
        *("QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool"),
        *("QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere", "QGemm", "QAttention"),
        *("QEmbedLayerNormalization", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "MatMulInteger16", "MulInteger"),
        *("ReduceSumInteger", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GemmFloat8", "GatherBlockQuantized"),
        # plain mathematics
        *("CDist", "ComplexMul", "ComplexMulConj", "ConvTransposeWithDynamicPads", "CropAndResize", "ExpandDims", "GatherND", "GridSample"),
        *("Inverse", "Irfft", "IsAllFinite", "MaxpoolWithMask", "Pad", "Range", "Rfft", "SparseToDenseMatMul", "Trilu", "UnfoldTensor", "Unique"),
    }
)
NOT_SERVED = {
    "ImageDecoder": "decodes files by libraries for pictures; send the picture's values",
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        "draws random numbers, so that no answer is the right one; export the model for inference",
    ),
}
"""ONNX's own that do more than compute their inputs' outputs, and why."""
ENGINES = {
    "EPContext": "carries an engine that was compiled elsewhere, or the path of one; export the ONNX without ep.context_enable",
    "Snpe": "carries an engine that was compiled elsewhere; export the ONNX without it",
}
"""Of com.microsoft: native code or a program for an accelerator, which nobody can look into."""


def objection(domain: str, name: str) -> str:
    """Why an operator is refused and what to do, "" where it is served."""
    if domain in ("", "ai.onnx"):
        return NOT_SERVED.get(name, "" if name in standard("") else "is not ONNX's own; export the model anew")
    if domain == "ai.onnx.ml":
        return "" if name in standard(domain) else "is not ONNX's own; export the model anew"
    if domain == "com.microsoft":
        return ENGINES.get(name, "" if name in CONTRIBUTED else "is not among those that are served; export the model with ONNX's own operators")
    return "belongs to a library that is not in the server; export the model with ONNX's own operators"


@functools.cache
def standard(domain: str) -> frozenset[str]:
    """Names of ONNX's own operators of a domain, of all opsets."""
    return frozenset(schema.name for schema in defs.get_all_schemas_with_history() if schema.domain == domain)
