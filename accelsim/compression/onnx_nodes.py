"""Each operator as ONNX nodes, for `accelsim.compression.to_onnx`: `MAKERS` at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from accelsim.compression.arrays import Array
from accelsim.errors import InputError
from accelsim.workload.network import Affine, Layer
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    GlobalPool,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Matmul,
    Op,
    Pad,
    Pool2d,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Split,
    Take,
    Transpose,
    Upsample,
)
from accelsim.workload.precision import NumberFormat
from accelsim.workload.values import bias_values, constant_values, is_given, weight_values

_ACTIVATIONS = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "abs": "Abs", "neg": "Neg", "exp": "Exp", "erf": "Erf",
    "sqrt": "Sqrt", "log": "Log", "reciprocal": "Reciprocal", "hard_swish": "HardSwish", "gelu": "Gelu",
    "leaky_relu": "LeakyRelu", "elu": "Elu", "hard_sigmoid": "HardSigmoid",
}  # fmt: skip
_ELEMENTWISE = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min",
}  # fmt: skip
_REDUCTIONS = {"reduce_mean": "ReduceMean", "reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


class Graph(Protocol):
    """What a maker adds to."""

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""

    def nodes_of(self, kind: str, inputs: list[str], name: str, outputs: int, **attributes: Any) -> list[str]:
        """Add a node of several outputs."""

    def constant(self, name: str, values: Array) -> str:
        """Add an initializer."""

    def operand(self, name: str, values: Array, scale: Array, zero: int | tuple[int, ...] = 0, axis: int = 0) -> str:
        """Add integers behind a DequantizeLinear."""

    def requantized(self, tensor: str, scale: Affine, to: NumberFormat) -> str:
        """Add QuantizeLinear and DequantizeLinear; returns the float's name."""

    def refuse(self, layer: Layer, message: str) -> InputError:
        """The fault of a layer that cannot be written."""


def _operands(graph: Graph, layer: Layer, axis: int = 0) -> list[str]:
    """Weights (their output channels along ``axis``) and bias of a layer, floats or dequantized integers."""
    weight, bias = weight_values(layer, 0), bias_values(layer)
    names = [f"{layer.name}_weight", f"{layer.name}_bias"]
    if not layer.precision.weight.is_integer:
        given = [graph.constant(names[0], weight)]
        return given + ([graph.constant(names[1], bias.astype(np.float32))] if bias is not None else [])
    product = _product(layer)
    scale = (product / np.float32(layer.quantization.inputs[0].scale)).astype(np.float32)
    given = [graph.operand(names[0], weight, scale, layer.quantization.weight_zero_point, axis)]
    return given + ([graph.operand(names[1], bias.astype(np.int32), product)] if bias is not None else [])


def _product(layer: Layer) -> Array:
    """Input scale x weight scale, from the factor that makes outputs of sums: float32, one or one a channel."""
    output = layer.quantization.output or Affine()
    multiplier, shift = np.array(layer.requantize.multiplier, np.float64), np.array(layer.requantize.shift, np.float64)
    return np.asarray(multiplier / 2.0**shift * output.scale, np.float32)


def _conv(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Conv2d)
    top, bottom, left, right = op.pad
    return graph.node(
        "Conv", inputs + _operands(graph, layer), layer.name, kernel_shape=[op.R, op.S], strides=list(op.stride),
        pads=[top, left, bottom, right], dilations=list(op.dilation), group=op.group_count(layer.input_shapes[0][1]),
    )  # fmt: skip


def _linear(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    """A Gemm; what is no matrix is made one, and `unflattened` behind the quantization."""
    shape = layer.input_shapes[0]
    if len(shape) != 2:
        rows = graph.constant(f"{layer.name}_rows", np.array([-1, layer.op.features(shape)], np.int64))  # type: ignore[attr-defined]
        flat = graph.node("Reshape", [*inputs, rows], f"{layer.name}_flatten")
        inputs = [flat]
        if layer.precision.input.is_integer:
            inputs = [graph.requantized(flat, layer.quantization.inputs[0], layer.precision.input)]
    return graph.node("Gemm", inputs + _operands(graph, layer), layer.name, transB=1)


def unflattened(graph: Graph, layer: Layer, made: str) -> str:
    """A linear layer's output with the axes of its sequence, where it has one."""
    shape = layer.output_shapes[0]
    if len(shape) == 2:
        return made
    to = graph.constant(f"{layer.name}_shape", np.array([-1, *shape[1:]], np.int64))
    whole = graph.node("Reshape", [made, to], f"{layer.name}_unflatten")
    scale, out = layer.quantization.output, layer.precision.output
    return whole if scale is None or not out.is_integer else graph.requantized(whole, scale, out)


def _matmul(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Matmul)
    if op.transpose_b:
        raise graph.refuse(layer, "a matmul with its second operand transposed is not written as ONNX")
    if len(inputs) == 1:
        given = _operands(graph, layer, axis=1)
        if len(given) > 1:
            raise graph.refuse(layer, "a matmul with a bias is not written as ONNX")
        inputs = inputs + given
    return graph.node("MatMul", inputs, layer.name)


def _pool(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Pool2d)
    top, bottom, left, right = op.pad
    more = {"count_include_pad": int(op.count_include_pad)} if op.op == "avgpool2d" else {}
    return graph.node(
        "MaxPool" if op.op == "maxpool2d" else "AveragePool", inputs, layer.name, kernel_shape=list(op.window),
        strides=list(op.strides), pads=[top, left, bottom, right], ceil_mode=int(op.ceil), **more,
    )  # fmt: skip


def _global_pool(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    return graph.node("GlobalAveragePool" if layer.op.op == "globalavgpool" else "GlobalMaxPool", inputs, layer.name)


def _activation(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Activation)
    if op.op in ("relu6", "clip"):
        bounds = (0, 6) if op.op == "relu6" else (op.low, op.high)
        names = ["" if n is None else graph.constant(f"{layer.name}_{k}", np.array(n, np.float32))
                 for k, n in zip(("low", "high"), bounds, strict=True)]  # fmt: skip
        return graph.node("Clip", inputs + names, layer.name)
    if op.op == "silu" and op.alpha in (None, 1):
        return graph.node("Mul", [*inputs, graph.node("Sigmoid", inputs, f"{layer.name}_sigmoid")], layer.name)
    if op.op == "prelu":
        slope = constant_values(layer).operand
        values = np.array(0.25 if slope is None else slope, np.float32)
        return graph.node("PRelu", [*inputs, graph.constant(f"{layer.name}_slope", values)], layer.name)
    kind = _ACTIVATIONS.get(op.op)
    if kind is None:
        raise graph.refuse(layer, f"a {op.op} is not written as ONNX")
    given = {key: value for key, value in (("alpha", op.alpha), ("beta", op.beta)) if value is not None}
    return graph.node(kind, inputs, layer.name, **given)


def _elementwise(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Elementwise)
    if len(inputs) == 1:
        given = constant_values(layer).operand
        values = (1.0 if op.value is None else op.value) if given is None else given
        inputs = [*inputs, graph.constant(f"{layer.name}_constant", np.array(values, np.float32))]
        inputs = inputs[::-1] if op.constant_first else inputs
    if len(inputs) != 2:
        raise graph.refuse(layer, f"a {op.op} of {len(inputs)} inputs is not written")
    if op.op not in _ELEMENTWISE:
        raise graph.refuse(layer, f"{op.op} is not written")
    return graph.node(_ELEMENTWISE[op.op], inputs, layer.name)


def _normalization(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    """A layer normalization, or a batch normalization with numbers of its own: a product and a sum."""
    scale, shift = constant_values(layer)
    names = [f"{layer.name}_scale", f"{layer.name}_shift"]
    if isinstance(layer.op, LayerNorm):
        ones = np.ones(layer.input_shapes[0][-1], np.float32)
        given = [graph.constant(names[0], ones if scale is None else np.broadcast_to(scale, ones.shape))]
        given += [] if shift is None else [graph.constant(names[1], np.broadcast_to(shift, ones.shape))]
        return graph.node("LayerNormalization", inputs + given, layer.name, axis=-1, epsilon=layer.op.epsilon)
    if not is_given(layer.weight):
        return inputs[0]  # folded into the weights before it
    axes = (-1, *(1,) * (len(layer.input_shapes[0]) - 2))
    assert scale is not None
    assert shift is not None
    first = graph.node("Mul", [*inputs, graph.constant(names[0], scale.reshape(axes))], f"{layer.name}_product")
    return graph.node("Add", [first, graph.constant(names[1], shift.reshape(axes))], layer.name)


def _reduce(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Reduce)
    axes = graph.constant(f"{layer.name}_axes", np.array(op.axes, np.int64))
    return graph.node(_REDUCTIONS[op.op], [*inputs, axes], layer.name, keepdims=int(op.keepdims))


def _response(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, LocalResponseNorm)
    op = layer.op
    return graph.node("LRN", inputs, layer.name, size=op.size, alpha=op.alpha, beta=op.beta, bias=op.k)


def _softmax(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Softmax)
    return graph.node("Softmax", inputs, layer.name, axis=layer.op.axis)


# ---- what moves numbers ------------------------------------------------------------------------------------------


def _reshape(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    shape = graph.constant(f"{layer.name}_shape", np.array([0, *layer.output_shapes[0][1:]], np.int64))
    return graph.node("Reshape", [*inputs, shape], layer.name)


def _concat(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Concat)
    return graph.node("Concat", inputs, layer.name, axis=layer.op.axis)


def _split(graph: Graph, layer: Layer, inputs: list[str]) -> list[str]:
    op = layer.op
    assert isinstance(op, Split)
    sizes = graph.constant(f"{layer.name}_sizes", np.array(op.sizes, np.int64))
    return graph.nodes_of("Split", [*inputs, sizes], layer.name, len(op.sizes), axis=op.axis)


def _slice(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Slice)
    ends = op.start + (op.size - 1) * op.step + 1
    numbers = {"start": op.start, "end": ends, "axis": op.axis, "step": op.step}
    names = [graph.constant(f"{layer.name}_{key}", np.array([value], np.int64)) for key, value in numbers.items()]
    return graph.node("Slice", inputs + names, layer.name)


def _take(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Take)
    indices = graph.constant(f"{layer.name}_indices", np.array(layer.op.indices, np.int64))
    return graph.node("Gather", [*inputs, indices], layer.name, axis=layer.op.axis)


def _transpose(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Transpose)
    return graph.node("Transpose", inputs, layer.name, perm=[0, *layer.op.perm])


def _upsample(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Upsample)
    if layer.op.rows or layer.op.columns:
        raise graph.refuse(layer, "rows and columns that are no plain repetition are not written")
    scales = graph.constant(f"{layer.name}_scales", np.array([1, 1, *layer.op.scale], np.float32))
    modes = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    return graph.node("Resize", [*inputs, "", scales], layer.name, **modes)


def _pad(graph: Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Pad)
    top, bottom, left, right = layer.op.pad
    pads = graph.constant(f"{layer.name}_pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return graph.node("Pad", [*inputs, pads], layer.name)


MAKERS: dict[type[Op], Callable[[Graph, Layer, list[str]], str | list[str]]] = {
    Conv2d: _conv, Linear: _linear, Matmul: _matmul, Pool2d: _pool, GlobalPool: _global_pool, Activation: _activation,
    Elementwise: _elementwise, LayerNorm: _normalization, BatchNorm: _normalization, Reduce: _reduce,
    LocalResponseNorm: _response, Softmax: _softmax, Reshape: _reshape, Concat: _concat, Split: _split, Slice: _slice,
    Take: _take,
    Transpose: _transpose, Upsample: _upsample, Pad: _pad,
}  # fmt: skip
