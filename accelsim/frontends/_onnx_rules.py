"""What is read of ONNX: a line an operator, with its rule and what becomes of every attribute and input.

A rule sees a `Call` (the node, what it reads, ONNX's own output shapes) and returns a `Plan` (operators, one
after another). What it cannot express it refuses with `NotModelledError`; it never leaves anything out. An attribute
that stands in no column of the table is one that ONNX does not know, and is said in a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from accelsim.frontends import _onnx_elements as elements
from accelsim.frontends import _onnx_lookups as lookups
from accelsim.frontends import _onnx_moves as moves
from accelsim.frontends import _onnx_products as products
from accelsim.frontends import _onnx_windows as windows
from accelsim.frontends._onnx_call import Rule
from accelsim.frontends._onnx_model import Node
from accelsim.frontends._onnx_resize import resize

MANY = 1 << 30  # inputs


@dataclass(frozen=True)
class Operator:
    """How an operator is read. Every attribute of every version of it is named in one of the columns.

    ``reads``: attributes that the rule (or the reader itself) looks at. ``infers``: those that ONNX's shape inference
    alone looks at; shapes must agree with it. ``idle``: those that change neither counts nor numbers of inference.
    ``counts_only``: those that change numbers and no count; values mode refuses what has them. ``only``: values that
    are modelled; any other is refused by name. ``inputs``: how many inputs are looked at; one beyond is refused.
    """

    rule: Rule | None = None  # None: the reader itself knows what it is
    inputs: int = 1
    reads: str = ""
    infers: str = ""
    idle: str = ""
    counts_only: str = ""
    only: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attributes(self) -> set[str]:
        """Every attribute that is accounted for."""
        words = " ".join((self.reads, self.infers, self.idle, self.counts_only))
        return {*words.split(), *self.only, "consumed_inputs"}  # the last stands in many first versions and is idle


_WINDOW = "auto_pad dilations kernel_shape pads strides"
_CONV = f"{_WINDOW} group"
_GATES = "activation_alpha activation_beta clip"


def _pair(name: str) -> Operator:
    return Operator(elements.elementwise(name), 2, reads="axis", idle="broadcast")  # before opset 7


def _many(name: str) -> Operator:
    return Operator(elements.elementwise(name), MANY)


def _function(name: str, reads: str = "") -> Operator:
    return Operator(elements.activation(name), reads=reads)


def _reduction(name: str = "") -> Operator:
    return Operator(elements.reduce(name) if name else None, 2, reads="axes keepdims noop_with_empty_axes")


OPERATORS: dict[str, Operator] = {
    # products
    "Conv": Operator(windows.conv, 3, reads=_CONV, only={"channels_last": 0}),
    "MatMul": Operator(products.matmul, 2),
    "Gemm": Operator(products.gemm, 3, reads="alpha beta transA transB", idle="broadcast"),
    "LSTM": Operator(
        products.recurrent("lstm"), 8, reads="activations direction input_forget layout",
        infers="hidden_size", idle="output_sequence", counts_only=_GATES,
    ),
    "GRU": Operator(
        products.recurrent("gru"), 6, reads="activations direction layout",
        infers="hidden_size", idle="output_sequence", counts_only=f"{_GATES} linear_before_reset",
    ),
    # windows
    "MaxPool": Operator(windows.pool("maxpool2d"), reads=f"{_WINDOW} ceil_mode", idle="storage_order"),  # of the indices
    "AveragePool": Operator(
        windows.pool("avgpool2d"), reads=f"{_WINDOW} ceil_mode count_include_pad", only={"channels_last": 0}
    ),
    "GlobalAveragePool": Operator(windows.global_pool("globalavgpool"), only={"channels_last": 0}),
    "GlobalMaxPool": Operator(windows.global_pool("globalmaxpool")),
    "Pad": Operator(windows.pad, 4, reads="mode paddings pads value"),
    "Resize": Operator(
        resize, 4, reads="axes coordinate_transformation_mode keep_aspect_ratio_policy mode nearest_mode",
        idle="antialias cubic_coeff_a exclude_outside extrapolation_value",  # of other modes, which are refused
    ),
    "Upsample": Operator(resize, 2, reads="mode scales", only={"height_scale": None, "width_scale": None}),  # these of opset 1
    # element by element
    "Add": _pair("add"), "Sub": _pair("sub"), "Mul": _pair("mul"), "Div": _pair("div"), "Pow": _pair("pow"),
    "Sum": _many("add"), "Max": _many("maximum"), "Min": _many("minimum"),
    "Relu": _function("relu"), "LeakyRelu": _function("leaky_relu", "alpha"), "Elu": _function("elu", "alpha"),
    "Sigmoid": _function("sigmoid"), "HardSigmoid": _function("hard_sigmoid", "alpha beta"), "Tanh": _function("tanh"),
    "HardSwish": _function("hard_swish"), "Swish": _function("silu", "alpha"), "Erf": _function("erf"),
    "Exp": _function("exp"), "Sqrt": _function("sqrt"), "Abs": _function("abs"), "Neg": _function("neg"),
    "Reciprocal": _function("reciprocal"), "Log": _function("log"),
    "Floor": _function("floor"), "Ceil": _function("ceil"), "Round": _function("round"), "Sign": _function("sign"),
    "Sin": _function("sin"), "Cos": _function("cos"), "Tan": _function("tan"), "Asin": _function("asin"),
    "Acos": _function("acos"), "Atan": _function("atan"), "Sinh": _function("sinh"), "Cosh": _function("cosh"),
    "IsNaN": _function("isnan"),
    "IsInf": Operator(elements.activation("isinf"), only={"detect_negative": 1, "detect_positive": 1}),
    "Mod": Operator(elements.modulo, 2, reads="fmod"), "Not": Operator(elements.negation),
    "Equal": _pair("equal"), "Less": _pair("less"), "LessOrEqual": Operator(elements.elementwise("less_equal"), 2),
    "Greater": _pair("greater"),
    "GreaterOrEqual": Operator(elements.elementwise("greater_equal"), 2),
    "And": _pair("and"), "Or": _pair("or"), "Xor": _pair("xor"),
    "Where": Operator(elements.where, 3),
    "Gelu": Operator(elements.gelu, reads="approximate"),
    "PRelu": Operator(elements.prelu, 2),
    "Clip": Operator(elements.clip, 3, reads="max min"),
    # normalizations and reductions
    "Softmax": Operator(elements.softmax, reads="axis"), "LogSoftmax": Operator(elements.log_softmax, reads="axis"),
    "LayerNormalization": Operator(elements.layer_norm, 3, reads="axis epsilon", idle="stash_type"),
    "BatchNormalization": Operator(
        elements.batch_norm, 5, reads="epsilon", idle="is_test momentum", only={"training_mode": 0, "spatial": 1}
    ),
    "LRN": Operator(elements.lrn, reads="alpha beta bias size"),
    "ReduceMean": _reduction("reduce_mean"), "ReduceSum": _reduction("reduce_sum"), "ReduceMax": _reduction("reduce_max"),
    "ReduceMin": _reduction("reduce_min"), "ReduceProd": _reduction("reduce_prod"),
    # what finds places, and looks up what stands there
    "CumSum": Operator(lookups.cumulative_sum, 2, reads="exclusive reverse"),
    "ArgMax": Operator(lookups.locate("argmax"), reads="axis keepdims select_last_index"),
    "ArgMin": Operator(lookups.locate("argmin"), reads="axis keepdims select_last_index"),
    "TopK": Operator(lookups.top_k, 2, reads="axis k largest", idle="sorted"),
    "GatherElements": Operator(lookups.gather_elements, 2, reads="axis"),
    "ScatterElements": Operator(lookups.scatter_elements, 3, reads="axis reduction"),
    "Scatter": Operator(lookups.scatter_elements, 3, reads="axis"),
    "GatherND": Operator(inputs=2, reads="batch_dims"), "ScatterND": Operator(inputs=3, reads="reduction"),
    "NonZero": Operator(lookups.data_dependent), "Unique": Operator(lookups.data_dependent, idle="axis sorted"),
    "Compress": Operator(lookups.data_dependent, 2, idle="axis"),
    "NonMaxSuppression": Operator(lookups.data_dependent, 5, idle="center_point_box"),
    # what moves numbers
    "Concat": Operator(moves.concat, MANY, reads="axis"),
    "Split": Operator(moves.split, 2, reads="axis", infers="num_outputs split"),
    "Slice": Operator(moves.slice_, 5, reads="axes ends starts"),
    "Reshape": Operator(moves.reshape, 2, infers="allowzero shape"), "Flatten": Operator(moves.reshape, infers="axis"),
    "Squeeze": Operator(moves.squeeze, 2, reads="axes"), "Unsqueeze": Operator(moves.unsqueeze, 2, reads="axes"),
    "Transpose": Operator(moves.transpose, reads="perm"), "Gather": Operator(moves.gather, 2, reads="axis"),
    "Expand": Operator(moves.expand, 2), "Tile": Operator(moves.tile, 3),
    # other names of their input, and its number formats
    "Identity": Operator(), "Dropout": Operator(inputs=3, idle="is_test ratio seed"),
    "Cast": Operator(reads="to", idle="round_mode saturate"),  # how a float of 8 bits is rounded: it has none to give
    "CastLike": Operator(inputs=2, idle="round_mode saturate"),
    "QuantizeLinear": Operator(
        inputs=3, reads="axis output_dtype", counts_only="block_size", idle="saturate", only={"precision": (0, 1)}
    ),
    "DequantizeLinear": Operator(inputs=3, reads="axis output_dtype", counts_only="block_size"),
    "DynamicQuantizeLinear": Operator(),
    # what `_onnx_forms` writes out as others
    "RNN": Operator(
        inputs=6, reads="activations direction layout", infers="hidden_size", idle="output_sequence", counts_only=_GATES,
    ),
    "ConvTranspose": Operator(inputs=3, reads=f"{_WINDOW} group output_padding output_shape"),
    "Einsum": Operator(inputs=MANY, reads="equation"), "GlobalLpPool": Operator(reads="p"),
    "InstanceNormalization": Operator(inputs=3, reads="epsilon"), "LpNormalization": Operator(reads="axis p"),
    "SimplifiedLayerNormalization": Operator(inputs=2, reads="axis epsilon", idle="stash_type"),
    "Mean": Operator(inputs=MANY), "ReduceSumSquare": _reduction(), "ReduceL1": _reduction(), "ReduceL2": _reduction(),
    "ReduceLogSum": _reduction(), "ReduceLogSumExp": _reduction(),
    "DepthToSpace": Operator(reads="blocksize mode"), "SpaceToDepth": Operator(reads="blocksize mode"),
    "Trilu": Operator(inputs=2, reads="upper"), "OneHot": Operator(inputs=3, reads="axis"),
    "RotaryEmbedding": Operator(inputs=4, reads="interleaved num_heads rotary_embedding_dim"),
    # constants
    "Constant": Operator(
        inputs=0, reads="value value_float value_floats value_int value_ints", idle="sparse_value value_string value_strings",
    ),  # the last three are refused: what is left is no number
    "Shape": Operator(reads="end start"), "Size": Operator(),
}  # fmt: skip
MICROSOFT: dict[str, Operator] = {
    "Attention": Operator(
        inputs=6, reads="mask_filter_value num_heads qkv_hidden_sizes scale unidirectional", idle="rotary_embedding_dim",
        only={"do_rotary": 0, "past_present_share_buffer": 0},
    ),
    "QAttention": Operator(
        inputs=9, reads="mask_filter_value num_heads scale unidirectional", only={"do_rotary": 0, "past_present_share_buffer": 0},
    ),
    "MultiHeadAttention": Operator(inputs=8, reads="mask_filter_value num_heads scale unidirectional"),
    "GroupQueryAttention": Operator(
        inputs=11, reads="do_rotary kv_num_heads local_window_size num_heads rotary_interleaved scale softcap",
        idle="k_norm_epsilon q_norm_epsilon qk_norm_epsilon",  # of inputs that are refused
        only={
            "causal": 1, "k_quant_type": ("NONE", ""), "v_quant_type": ("NONE", ""), "kv_cache_bit_width": 0, "qk_output": 0,
            "sliding_window_cache": 0, "smooth_softmax": 0,
        },
    ),
    "RotaryEmbedding": Operator(
        inputs=4, reads="interleaved num_heads rotary_embedding_dim scale", only={"is_packed_batching": 0}
    ),
    "EmbedLayerNormalization": Operator(inputs=9, reads="epsilon", only={"mask_index_type": 0}),
    "SkipLayerNormalization": Operator(inputs=5, reads="epsilon"),
    "SkipSimplifiedLayerNormalization": Operator(inputs=4, reads="epsilon"),
    "GroupNorm": Operator(inputs=3, reads="activation channels_last epsilon groups"),
    "Gelu": OPERATORS["Gelu"], "BiasGelu": Operator(inputs=2), "FastGelu": Operator(inputs=2),
    "QuickGelu": Operator(reads="alpha"), "BiasSplitGelu": Operator(inputs=2), "BiasAdd": Operator(inputs=3),
    "BiasSoftmax": Operator(inputs=2, reads="axis is_inner_broadcast"),
    "FusedMatMul": Operator(inputs=2, reads="alpha transA transB", only={"transBatchA": 0, "transBatchB": 0}),
    "TransposeMatMul": Operator(inputs=2, reads="alpha transA transB"),
    "FusedGemm": Operator(
        inputs=3, reads="activation activation_alpha activation_beta activation_gamma alpha beta transA transB"
    ),
    "FusedConv": Operator(inputs=4, reads=f"{_CONV} activation activation_params"),
    "MatMulNBits": Operator(
        inputs=6, reads="K N bits block_size", idle="accuracy_level",  # what the runtime may compute in; all is exact here
        only={"weight_prepacked": 0},
    ),
    "DynamicQuantizeMatMul": Operator(inputs=5), "MatMulIntegerToFloat": Operator(inputs=7), "QLinearWhere": Operator(inputs=9),
    "QLinearConv": Operator(inputs=3, reads=f"{_CONV} channels_last"),
    "QLinearAveragePool": Operator(reads=f"{_WINDOW} ceil_mode channels_last count_include_pad"),
    "QLinearGlobalAveragePool": Operator(reads="channels_last"),
    "NhwcMaxPool": Operator(reads=f"{_WINDOW} ceil_mode"),
    "DynamicQuantizeLSTM": Operator(
        inputs=12, reads="activations direction input_forget", infers="hidden_size", counts_only=_GATES
    ),
}  # fmt: skip
"""Those of com.microsoft that have attributes of their own, as the runtime's schemas list them (ContribOperators.md)."""
QUANTIZED_ONLY = {"Softmax": "opset"}
"""Attributes that the runtime's own quantized form of an operator has beside those of the plain one."""
REFUSALS = {
    "BatchNormalization.spatial": "its attribute spatial is",
    "Conv.kernel_shape": "its kernel_shape is",  # contradicts the weights
    "Dropout.training_mode": "it is in training mode",
    "GRU.sequence_lens": "its lengths",
    "LSTM.sequence_lens": "its lengths",
    "QuantizeLinear.precision": "its attribute precision is",
    "Resize.roi": "it crops what lies outside of its input",
}
"""What was once read whatever it said, and is refused now because nothing here could do it. A test holds their number."""
RULES: dict[str, Rule] = {name: entry.rule for name, entry in OPERATORS.items() if entry.rule is not None}
ALIASES = frozenset(
    ["Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"]
)


def _entry(node: Node) -> Operator | None:
    own = MICROSOFT.get(node.kind) if node.domain == "com.microsoft" else None
    return own or OPERATORS.get(node.op)


def refused(node: Node) -> Iterator[str]:
    """What of a node's attributes and inputs is not modelled, in the words that follow ``is not modelled: ``."""
    entry = _entry(node)
    if entry is None:
        return
    for key, allowed in entry.only.items():
        options = allowed if isinstance(allowed, tuple) else (allowed,)
        if node.attributes.get(key, options[0]) not in options:
            must = "" if options == (None,) else f", must be {' or '.join(map(str, options))}"
            yield f"its attribute {key} is {node.attributes[key]!r:.40}{must}"
    for place, name in enumerate(node.inputs[entry.inputs :], entry.inputs):
        if name:
            yield f'it has an input {place} ("{name}")'


def unknown_attributes(node: Node) -> set[str]:
    """Attributes that ONNX does not know, which other tools leave in files."""
    entry = _entry(node)
    if entry is None:
        return set()
    return set(node.attributes) - entry.attributes - {QUANTIZED_ONLY.get(node.op, "") if node.is_quantized else ""}
