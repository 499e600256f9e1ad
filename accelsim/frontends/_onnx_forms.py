"""Which operators are written out as others, and how: a line an operator.

`FORMS` are those of ONNX and, under the same name, of com.microsoft; `MICROSOFT` those of com.microsoft alone.
"""

from __future__ import annotations

from accelsim.frontends import _onnx_attention as attention
from accelsim.frontends import _onnx_contractions as contractions
from accelsim.frontends import _onnx_fused as fused
from accelsim.frontends import _onnx_layouts as layouts
from accelsim.frontends import _onnx_norms as norms
from accelsim.frontends import _onnx_places as places
from accelsim.frontends import _onnx_resize as resizing
from accelsim.frontends import _onnx_transposed as transposed
from accelsim.frontends import _onnx_volumes as volumes
from accelsim.frontends._onnx_written import Form

FORMS: dict[str, Form] = {
    # products
    "MatMul": contractions.matmul, "Gemm": contractions.gemm, "Einsum": contractions.einsum,
    "Conv": volumes.conv3d, "ConvTranspose": transposed.conv_transpose,
    # windows
    "MaxPool": volumes.pool3d, "AveragePool": volumes.pool3d,
    "GlobalAveragePool": volumes.global_pool3d, "GlobalMaxPool": volumes.global_pool3d, "GlobalLpPool": norms.lp_pool,
    "Resize": resizing.between, "Upsample": resizing.between,
    # normalizations and reductions
    "InstanceNormalization": norms.instance_norm, "LayerNormalization": norms.layer_norm, "LpNormalization": norms.lp_norm,
    "SimplifiedLayerNormalization": norms.simplified_norm, "Mean": norms.mean_of_several,
    "ReduceSumSquare": norms.reduction("square", "ReduceSum"), "ReduceL1": norms.reduction("Abs", "ReduceSum"),
    "ReduceL2": norms.reduction("square", "ReduceSum", "Sqrt"), "ReduceLogSum": norms.reduction("", "ReduceSum", "Log"),
    "ReduceLogSumExp": norms.reduction("Exp", "ReduceSum", "Log"),
    # what moves numbers
    "TopK": places.top_k, "Gather": places.gather, "GatherElements": places.gather_elements,
    "GatherND": places.gather_nd, "ScatterND": places.scatter_nd,
    "DepthToSpace": layouts.depth_to_space, "SpaceToDepth": layouts.space_to_depth,
    "Trilu": layouts.trilu, "OneHot": layouts.one_hot, "RotaryEmbedding": attention.rotary,
}  # fmt: skip
MICROSOFT: dict[str, Form] = {
    "Attention": attention.attention, "QAttention": attention.quantized_attention,
    "MultiHeadAttention": attention.multi_head, "GroupQueryAttention": attention.group_query,
    "EmbedLayerNormalization": attention.embed_norm,
    "SkipLayerNormalization": fused.skip_norm, "SkipSimplifiedLayerNormalization": fused.skip_norm,
    "GroupNorm": norms.group_norm,
    "BiasGelu": fused.gelu_of_sum("none"), "FastGelu": fused.gelu_of_sum("tanh"), "QuickGelu": fused.quick_gelu,
    "BiasSplitGelu": fused.split_gelu, "BiasAdd": fused.sum_of_three, "BiasSoftmax": fused.bias_softmax,
    "FusedMatMul": fused.fused_matmul, "TransposeMatMul": fused.fused_matmul, "FusedGemm": fused.fused_gemm,
    "FusedConv": fused.fused_conv, "MatMulNBits": fused.matmul_of_bits,
    "DynamicQuantizeMatMul": fused.quantized_as_it_runs, "MatMulIntegerToFloat": fused.integers_to_float,
    "QGemm": contractions.quantized_gemm, "QLinearWhere": fused.choice_of_integers,
    "QLinearConv": volumes.channels_last("QLinearConv"), "NhwcMaxPool": volumes.channels_last("MaxPool"),
    "QLinearAveragePool": volumes.channels_last("QLinearAveragePool"),
    "QLinearGlobalAveragePool": volumes.channels_last("QLinearGlobalAveragePool"),
}  # fmt: skip
