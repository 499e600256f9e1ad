"""What every operator computes, in plain numpy: a reference that knows nothing of hardware.

`evaluate` is the meaning of every operator without MACs; `mac_reference` gives the accumulators of those with;
`requantize` makes outputs of accumulators; `recurrent_cell` is one step of an LSTM or GRU; `run_reference` is a whole
network. They are also what the vector units of the engines compute: an engine's outputs equal these bit for bit.

The rules below hold until a network carries scales of its own. *Integers*: all inputs and the output have integer formats.
``b`` and ``o`` are the bits of ``precision.input`` and ``precision.output``. Every result saturates to the output
format; every rounding is to nearest, half away from zero. Where a function is not linear, an input q means the real
number ``q / 2**(b-4)`` (+-8 for signed numbers), and its result y is stored as ``y * 2**(o-4)``; sigmoid, hard_sigmoid, tanh
and softmax, which stay within +-1, as ``y * 2**(o-1)``. (No negative exponents: b-4 and o-4 are at least 0.) Not-a-number is stored
as 0, infinities saturate.

=========================== ==========================================================================================
operator                    rule on integers
=========================== ==========================================================================================
maxpool2d, globalmaxpool    maximum of what lies in the image; a window that misses the image gives 0
avgpool2d, globalavgpool    the sum, divided by the number of elements in the image (``count_include_pad``: in the
                            padded image; what ``ceil`` adds beyond it never counts), rounded
add, sub                    sum, or first minus all others, in 64 bits; a constant ``value`` v is ``round(v * 2**(b-4))``
maximum, minimum            of the integers; a constant as for add
mul                         product, then ``round(product / 2**(b-1))`` after each factor; with a constant:
                            ``round(q * v)``
div                         ``round(q1 * 2**(b-1) / q2)``, the inverse of mul, by 0 saturating (0/0 is 0); with a constant:
                            ``round(q / v)``
pow                         not linear: of the real numbers, the constant as it is
relu, abs, neg, clip        on the integers (clip has no bounds of its own, so it saturates to the format)
relu6                       ``min(max(q, 0), 6 * 2**(b-4))``
leaky_relu, prelu           ``round(alpha * q)`` below 0; alpha is 0.01, for prelu 0.25, if the network gives none
elu, sigmoid, hard_sigmoid, not linear, see above; alpha of elu 1, hard_sigmoid ``max(0, min(1, alpha x + 0.5))`` with alpha
tanh, gelu, silu,           0.2; gelu by the error function; hard_swish ``x * relu6(x + 3) / 6``; log of what is not
hard_swish, exp, erf, sqrt, positive saturates below, sqrt of it is 0, 1/0 saturates above
log, reciprocal
softmax                     not linear, see above
layernorm                   not linear: (x - mean) / sqrt(variance + 1e-5), scale 1 and shift 0
lrn                         not linear: x / (1 + 1e-4/size * sum of squares)**0.75 over the ``size`` nearest channels (ONNX)
batchnorm                   identity: it is folded into the weights before they are quantized
reduce_sum, reduce_mean,    sum; sum divided by the count, rounded; maximum
reduce_max
concat, split, slice,       the elements as they are; pad with 0; upsample repeats
reshape, flatten,
transpose, upsample, pad
embedding                   rows of the table
=========================== ==========================================================================================

*Floats*: where an input or the output has a float format (of any width), the same functions in float32, batchnorm identity again.
Integer inputs then enter as ``q / 2**(b-4)``, and an integer output is stored as a result above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erf, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.errors import Fault, InputError
from accelsim.workload.network import Layer, Network
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    Embedding,
    GlobalPool,
    LayerNorm,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    Matmul,
    Op,
    Pad,
    Pool2d,
    Recurrent,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Split,
    Transpose,
    Upsample,
)
from accelsim.workload.precision import NumberFormat
from accelsim.workload.values import (
    bias_values,
    default_shift,
    input_values,
    peephole_values,
    projection_values,
    weight_values,
)

__all__ = [
    "CellState", "default_shift", "evaluate", "initial_state", "mac_reference", "recurrent_cell", "recurrent_reference",
    "reduction_length", "requantize", "run_reference", "saturate",
]  # fmt: skip

Array = npt.NDArray[Any]
_EXACT_FLOAT = 1 << 53  # below it, sums of integers are exact in float64, and so may use its fast matrix product
_EXACT_INT = 1 << 63
_EPSILON = 1e-5
_CELL = NumberFormat("int", 16)
_CELL_FRACTION = 12  # an LSTM's cell state lies within +-8


# --- numbers


def saturate(values: Array, to: NumberFormat) -> Array:
    """Integers ``values`` in the storage type of the integer format ``to``, what lies outside at its bounds."""
    held = np.iinfo(values.dtype)
    low, high = max(to.lowest, int(held.min)), min(to.highest, int(held.max))
    return np.clip(values, low, high).astype(to.storage)


def _fraction(bits: int) -> int:
    """Fraction bits of a number that a non-linear function reads or gives."""
    return max(0, bits - 4)


def _real(values: Array, bits: int) -> npt.NDArray[np.float64]:
    return values.astype(np.float64) / (1 << _fraction(bits))


def _away(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Nearest whole number, half away from zero."""
    size = np.abs(values)
    whole = np.floor(size)
    return np.copysign(whole + (size - whole >= 0.5), values)


def _fixed(values: Array, fraction: int, to: NumberFormat) -> Array:
    """Real numbers as integers of ``fraction`` fraction bits."""
    scaled = np.nan_to_num(values.astype(np.float64) * float(1 << fraction), nan=0.0, posinf=np.inf, neginf=-np.inf)
    high = float(to.highest)
    if int(high) > to.highest:
        high = float(np.nextafter(high, 0.0))  # beyond 53 bits the bound itself is no float64
    return np.clip(_away(scaled), float(to.lowest), high).astype(to.storage)


def _divided(total: Array, by: Array | int) -> Array:
    """total / by of integers, rounded half away from zero; ``by`` is positive."""
    size = np.abs(total)
    return np.sign(total) * ((2 * size + by) // (2 * np.asarray(by)))


def _shifted(values: Array, shift: int) -> Array:
    """values / 2**shift of int64, rounded half away from zero; ``values`` stay below 2**62."""
    if shift == 0:
        return values
    size = (np.abs(values) + (1 << (shift - 1))) >> shift
    return np.where(values < 0, -size, size)


# --- accumulators to outputs


def reduction_length(layer: Layer) -> int:
    """Products in the sum behind one output of a layer with MACs (of one gate, in a recurrent layer)."""
    if isinstance(layer.op, Matmul):
        return layer.op.sizes(layer.input_shapes)[3]
    shape = layer.weight_shape
    assert shape is not None and layer.macs, f"{layer.name} has no MACs"
    return prod(shape[3:]) if isinstance(layer.op, LocallyConnected2d) else prod(shape[1:])


def requantize(accumulator: Array, layer: Layer, reduction: int) -> Array:
    """``saturate(round(accumulator * multiplier / 2**shift) + zero_point)`` in the storage type of the output.

    An output in the accumulator's own format is the bare accumulator, unless the layer states a scale. ``shift`` None
    is `default_shift` of ``reduction`` for integers, 0 where a format is a float. Exact: no integer overflows on the way.
    """
    out, scale, held = layer.precision.output, layer.requantize, layer.precision.accumulator
    integers = accumulator.dtype.kind in "iu" and out.is_integer
    shift = scale.shift
    if shift is None:
        bare = out == held or not integers
        shift = 0 if bare else default_shift(layer.precision, reduction)
    if integers:
        return _requantized(accumulator, scale.multiplier, shift, scale.zero_point, out)
    values = accumulator.astype(np.float64) * scale.multiplier / 2.0**shift
    if not out.is_integer:
        return (values + scale.zero_point).astype(np.float32)
    return _fixed(_away(values) + scale.zero_point, 0, out)


def _requantized(accumulator: Array, multiplier: int, shift: int, zero_point: int, out: NumberFormat) -> Array:
    if shift < 0:
        multiplier, shift = multiplier << -shift, 0
    peak = max(int(accumulator.max()), -int(accumulator.min())) if accumulator.size else 0
    room = peak * abs(multiplier) + abs(zero_point) + (1 << shift)
    if room < _EXACT_INT:
        return saturate(_shifted(accumulator.astype(np.int64) * multiplier, shift) + zero_point, out)
    exact = _shifted(accumulator.astype(object) * multiplier, shift) + zero_point  # Python integers, which have no end
    return np.clip(exact, out.lowest, out.highest).astype(out.storage)


# --- operators without MACs


def evaluate(layer: Layer, inputs: tuple[Array, ...], weights: Array | None = None) -> tuple[Array, ...]:
    """The outputs of a layer without MACs, by the table above. Only an embedding takes ``weights``, its table."""
    precision = layer.precision
    if isinstance(layer.op, Embedding):
        assert weights is not None
        return (_stored(_embedding(layer, inputs[0], weights), layer),)
    integers = precision.output.is_integer and all(x.dtype.kind in "iu" for x in inputs)
    if not integers:
        inputs = tuple(_as_float(x, precision.input.bits) for x in inputs)
    rule = _RULES.get(type(layer.op))
    assert rule is not None, f"{layer.op.op} is no operator without MACs: see mac_reference and recurrent_reference"
    with np.errstate(all="ignore"):  # infinities are in the table
        return tuple(_stored(result, layer) for result in rule(layer, inputs, integers))


def _as_float(values: Array, bits: int) -> Array:
    return (_real(values, bits) if values.dtype.kind in "iu" else values).astype(np.float32)


def _stored(values: Array, layer: Layer) -> Array:
    """``values`` in the output format: saturated, or turned from the one kind of number into the other."""
    out = layer.precision.output
    if values.dtype.kind in "iu":
        return saturate(values, out) if out.is_integer else _as_float(values, layer.precision.weight.bits)
    return _fixed(values, _fraction_out(layer), out) if out.is_integer else values.astype(np.float32)


def _fraction_out(layer: Layer) -> int:
    bits = layer.precision.output.bits
    return bits - 1 if layer.op.op in ("sigmoid", "hard_sigmoid", "tanh", "softmax") else _fraction(bits)


Results = tuple[Array, ...]


def _pool(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, image = layer.op, inputs[0]
    assert isinstance(op, Pool2d)
    inside = np.ones((1, 1, *image.shape[2:]), dtype=np.int64)
    if op.op == "maxpool2d":
        lowest = np.iinfo(image.dtype).min if integers else -np.inf
        highest = _over_windows(np.maximum, image, layer, lowest)
        return (np.where(_over_windows(np.add, inside, layer, 0) > 0, highest, np.zeros((), image.dtype)),)
    if op.count_include_pad:
        top, bottom, left, right = op.pad
        inside = np.pad(inside, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
        count = _over_windows(np.add, inside, layer, 0, padded=True)
    else:
        count = _over_windows(np.add, inside, layer, 0)
    count = np.maximum(count, 1)
    total = _over_windows(np.add, image.astype(np.int64) if integers else image, layer, 0)
    return (_divided(total, count) if integers else total / count.astype(np.float32),)


def _over_windows(
    combine: Callable[[Array, Array], Array], image: Array, layer: Layer, outside: float, padded: bool = False
) -> Array:
    """``combine`` over every window of a pool; ``outside`` is what lies around the image."""
    op = layer.op
    assert isinstance(op, Pool2d)
    (height, width), (down, right) = op.window, op.strides
    p, q = layer.output_shapes[0][2:]
    top, left = (0, 0) if padded else (op.pad[0], op.pad[2])
    bottom = max(0, (p - 1) * down + height - top - image.shape[2])
    after = max(0, (q - 1) * right + width - left - image.shape[3])
    around = ((0, 0), (0, 0), (top, bottom), (left, after))
    image = np.pad(image, around, constant_values=outside)  # type: ignore[call-overload]
    taps = [_tap(image, r, s, (p, q), (down, right)) for r in range(height) for s in range(width)]
    result = taps[0]
    for tap in taps[1:]:
        result = combine(result, tap)
    return result


def _tap(image: Array, row: int, column: int, out: tuple[int, int], stride: tuple[int, int]) -> Array:
    """The element at ``row``, ``column`` of every window of a padded image: a view."""
    rows = slice(row, row + (out[0] - 1) * stride[0] + 1, stride[0])
    return image[:, :, rows, column : column + (out[1] - 1) * stride[1] + 1 : stride[1]]


def _global_pool(layer: Layer, inputs: Results, integers: bool) -> Results:
    image = inputs[0]
    if layer.op.op == "globalmaxpool":
        return (image.max(axis=(2, 3), keepdims=True),)
    return (_mean(image, (2, 3), True, integers),)


def _mean(values: Array, axes: tuple[int, ...], keepdims: bool, integers: bool) -> Array:
    if not integers:
        return values.mean(axis=axes, keepdims=keepdims, dtype=np.float32)
    count = prod(values.shape[axis] for axis in axes)
    return _divided(values.sum(axis=axes, keepdims=keepdims, dtype=np.int64), count)


def _reduce(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, values = layer.op, inputs[0]
    assert isinstance(op, Reduce)
    axes = tuple({axis % values.ndim for axis in op.axes})
    if op.op == "reduce_mean":
        return (np.asarray(_mean(values, axes, op.keepdims, integers)),)
    if op.op == "reduce_max":
        return (np.asarray(values.max(axis=axes, keepdims=op.keepdims)),)
    return (np.asarray(values.sum(axis=axes, keepdims=op.keepdims, dtype=np.int64 if integers else np.float32)),)


def _elementwise(layer: Layer, inputs: Results, integers: bool) -> Results:
    op = layer.op
    assert isinstance(op, Elementwise)
    result = _constant(layer, inputs[0], integers) if len(inputs) == 1 else _folded(layer, inputs, integers)
    return (result,)


def _folded(layer: Layer, inputs: Results, integers: bool) -> Array:
    """The first input combined with the second, the result with the third, and so on."""
    combine = (_INTEGER_PAIRS if integers else _FLOAT_PAIRS)[layer.op.op]
    result = inputs[0].astype(np.int64) if integers else inputs[0]
    for other in inputs[1:]:
        result = combine(result, other.astype(result.dtype), layer)
    return result


def _constant(layer: Layer, values: Array, integers: bool) -> Array:
    """With a constant: a number to add or compare is a real one; a factor has no scale."""
    op, bits = layer.op, layer.precision.input.bits
    assert isinstance(op, Elementwise)
    value = 1.0 if op.value is None else op.value
    if not integers:
        return _FLOAT_PAIRS[op.op](values, np.float32(value), layer)
    if op.op in ("mul", "div"):
        product = values * np.float64(value) if op.op == "mul" else values / np.float64(value)
        return _fixed(product, 0, layer.precision.output)
    if op.op == "pow":
        return _fixed(np.power(_real(values, bits), value), _fraction_out(layer), layer.precision.output)
    constant = _fixed(np.array(value), _fraction(bits), NumberFormat("int", 63))
    return _INTEGER_PAIRS[op.op](values.astype(np.int64), constant, layer)


def _integer_div(a: Array, b: Array, layer: Layer) -> Array:
    size = _divided(np.abs(a) << (layer.precision.input.bits - 1), np.maximum(np.abs(b), 1))
    by_zero = np.iinfo(np.int64).max * (a != 0)
    return np.where(b == 0, by_zero, size) * np.where((a < 0) ^ (b < 0), -1, 1)


def _integer_pow(a: Array, b: Array, layer: Layer) -> Array:
    bits = layer.precision.input.bits
    return _fixed(np.power(_real(a, bits), _real(b, bits)), _fraction_out(layer), layer.precision.output)


def _integer_mul(a: Array, b: Array, layer: Layer) -> Array:
    return _shifted(a * b, layer.precision.input.bits - 1)


_Pair = Callable[[Any, Any, Layer], Any]
_SHARED_PAIRS: dict[str, _Pair] = {
    "add": lambda a, b, _: a + b,
    "sub": lambda a, b, _: a - b,
    "maximum": lambda a, b, _: np.maximum(a, b),
    "minimum": lambda a, b, _: np.minimum(a, b),
}
_INTEGER_PAIRS = {**_SHARED_PAIRS, "mul": _integer_mul, "div": _integer_div, "pow": _integer_pow}
_FLOAT_PAIRS: dict[str, _Pair] = {
    **_SHARED_PAIRS,
    "mul": lambda a, b, _: a * b,
    "div": lambda a, b, _: a / b,
    "pow": lambda a, b, _: np.power(a, b),
}


# Functions of one element. Written for float32 and float64 alike; the linear ones for integers too.


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(erf, 1, 1)(x), dtype=x.dtype)


def _sigmoid(x: Array, alpha: float = 0.0) -> Array:
    del alpha
    return np.asarray(1 / (1 + np.exp(-x)))


def _below_zero(x: Array, alpha: float) -> Array:
    return np.where(x < 0, x * alpha, x)


_Function = Callable[[Array, float], Array]
_LINEAR: dict[str, _Function] = {  # f(s * x) == s * f(x) for s > 0, so they need no scale
    "relu": lambda x, _: np.maximum(x, 0),
    "leaky_relu": _below_zero,
    "prelu": _below_zero,
    "clip": lambda x, _: x,
    "abs": lambda x, _: np.abs(x),
    "neg": lambda x, _: -x,
}
_CURVED: dict[str, _Function] = {
    "relu6": lambda x, _: np.clip(x, 0, 6),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "sigmoid": _sigmoid,
    "hard_sigmoid": lambda x, alpha: np.clip(alpha * x + 0.5, 0, 1),
    "tanh": lambda x, _: np.tanh(x),
    "gelu": lambda x, _: 0.5 * x * (1 + _erf(x * 0.5**0.5)),
    "silu": lambda x, _: x * _sigmoid(x),
    "hard_swish": lambda x, _: x * np.clip(x + 3, 0, 6) / 6,
    "exp": lambda x, _: np.exp(x),
    "erf": lambda x, _: _erf(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "reciprocal": lambda x, _: 1 / x,
    "log": lambda x, _: np.where(x > 0, np.log(x), -np.inf),
}
_ALPHA = {"leaky_relu": 0.01, "prelu": 0.25, "elu": 1.0, "hard_sigmoid": 0.2}


def _activation(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, values = layer.op, inputs[0]
    assert isinstance(op, Activation)
    alpha = _ALPHA.get(op.op, 0.0) if op.alpha is None else op.alpha
    if not integers:
        return ((_LINEAR.get(op.op) or _CURVED[op.op])(values, alpha),)
    if values.dtype.itemsize <= 2 and values.size > 1 << 8 * values.dtype.itemsize:
        low = int(np.iinfo(values.dtype).min)  # fewer values than elements: compute each value once
        table = np.arange(low, int(np.iinfo(values.dtype).max) + 1)
        return (_activated(table, alpha, layer)[values.astype(np.int64) - low],)
    return (_activated(values.astype(np.int64), alpha, layer),)


def _activated(values: npt.NDArray[np.int64], alpha: float, layer: Layer) -> Array:
    name, bits, out = layer.op.op, layer.precision.input.bits, layer.precision.output
    if name == "relu6":
        return np.clip(values, 0, 6 << _fraction(bits))
    if name in _LINEAR:
        result = _LINEAR[name](values, alpha)
        return result if result.dtype.kind == "i" else _fixed(result, 0, out)
    return _fixed(_CURVED[name](_real(values, bits), alpha), _fraction_out(layer), out)


def _softmax(layer: Layer, inputs: Results, integers: bool) -> Results:
    op = layer.op
    assert isinstance(op, Softmax)
    values = _real(inputs[0], layer.precision.input.bits) if integers else inputs[0]
    powers = np.exp(values - values.max(axis=op.axis, keepdims=True))
    return (_curved_result(powers / powers.sum(axis=op.axis, keepdims=True), layer, integers),)


def _curved_result(values: Array, layer: Layer, integers: bool) -> Array:
    return _fixed(values, _fraction_out(layer), layer.precision.output) if integers else values


def _layer_norm(layer: Layer, inputs: Results, integers: bool) -> Results:
    values, bits = inputs[0], layer.precision.input.bits
    count = values.shape[-1]
    if not integers or bits > 16 or count >= 1 << 16:
        values = _real(values, bits) if integers else values
        centred = values - values.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return (_curved_result(centred / np.sqrt(variance + values.dtype.type(_EPSILON)), layer, integers),)
    wide = values.astype(np.int64)  # exact sums: the result does not hang on their order
    total = wide.sum(axis=-1, keepdims=True)
    spread = count * np.square(wide).sum(axis=-1, keepdims=True) - np.square(total)
    epsilon = _EPSILON * float(count * count << 2 * _fraction(bits))
    return (_curved_result((count * wide - total) / np.sqrt(spread + epsilon), layer, integers),)


def _local_response(layer: Layer, inputs: Results, integers: bool) -> Results:
    op = layer.op
    assert isinstance(op, LocalResponseNorm)
    values = _real(inputs[0], layer.precision.input.bits) if integers else inputs[0]
    before, after = (op.size - 1) // 2, op.size // 2
    around = ((0, 0), (before, after), *((0, 0),) * (values.ndim - 2))
    squares = np.pad(np.square(values), around)
    channels = values.shape[1]
    total = sum(squares[:, place : place + channels] for place in range(op.size))
    scale = (1 + values.dtype.type(1e-4 / op.size) * total) ** values.dtype.type(0.75)
    return (_curved_result(values / scale, layer, integers),)


def _identity(layer: Layer, inputs: Results, integers: bool) -> Results:
    del layer, integers
    return inputs


def _concat(layer: Layer, inputs: Results, integers: bool) -> Results:
    assert isinstance(layer.op, Concat)
    same = inputs if not integers else tuple(saturate(x, layer.precision.output) for x in inputs)
    return (np.concatenate(same, axis=layer.op.axis),)


def _split(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    assert isinstance(layer.op, Split)
    return tuple(np.split(inputs[0], np.cumsum(layer.op.sizes)[:-1], axis=layer.op.axis))


def _slice(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    op = layer.op
    assert isinstance(op, Slice)
    places = op.start + op.step * np.arange(op.size)
    return (np.take(inputs[0], places, axis=op.axis),)


def _reshape(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    return (inputs[0].reshape(layer.output_shapes[0]),)


def _transpose(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    assert isinstance(layer.op, Transpose)
    return (np.ascontiguousarray(inputs[0].transpose(0, *layer.op.perm)),)


def _upsample(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    assert isinstance(layer.op, Upsample)
    down, right = layer.op.scale
    return (inputs[0].repeat(down, axis=2).repeat(right, axis=3),)


def _pad(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    assert isinstance(layer.op, Pad)
    top, bottom, left, right = layer.op.pad
    return (np.pad(inputs[0], ((0, 0), (0, 0), (top, bottom), (left, right))),)


def _embedding(layer: Layer, indices: Array, table: Array) -> Array:
    outside = (indices < 0) | (indices >= table.shape[0])
    if outside.any():
        found = indices.ravel()[int(np.argmax(outside))]
        message = f"looks up row {found}, must be 0 to {table.shape[0] - 1}: its table has {table.shape[0]} rows"
        raise InputError(Fault(f"layer {layer.name}", "input", message))
    return np.asarray(table[indices.astype(np.int64)])


_RULES: dict[type[Op], Callable[[Layer, Results, bool], Results]] = {
    Pool2d: _pool,
    GlobalPool: _global_pool,
    Elementwise: _elementwise,
    Activation: _activation,
    Softmax: _softmax,
    LayerNorm: _layer_norm,
    BatchNorm: _identity,
    LocalResponseNorm: _local_response,
    Reduce: _reduce,
    Concat: _concat,
    Split: _split,
    Slice: _slice,
    Reshape: _reshape,
    Transpose: _transpose,
    Upsample: _upsample,
    Pad: _pad,
}


# --- operators with MACs


def mac_reference(
    layer: Layer, inputs: tuple[Array, ...], weights: Array | None = None, bias: Array | None = None
) -> Array:
    """The exact accumulators of a convolution (shared or private kernels), linear layer or matrix product.

    int64, or float64 where an operand is a float; in the shape of the layer's output. ``weights`` in the layout of
    `Layer.weight_shape`; a matrix product of two activations has none.
    """
    right = inputs[1] if weights is None else weights
    work = _work_type(inputs[0], right, reduction_length(layer))
    left = inputs[0].astype(work)
    op, shape = layer.op, layer.output_shapes[0]
    if isinstance(op, Conv2d):
        sums = _convolved(left, right, op, shape)
    elif isinstance(op, LocallyConnected2d):
        sums = _convolved_privately(left, right, op, shape)
    elif isinstance(op, Linear):
        sums = _product(left.reshape(-1, right.shape[1]), right.T)
    else:
        assert isinstance(op, Matmul), f"{op.op} is no plain sum of products"
        turned = np.swapaxes(right, -1, -2) if op.transpose_b else right
        sums = left @ turned.astype(work) if turned.ndim > 2 else _product(left.reshape(-1, left.shape[-1]), turned)
    floats = inputs[0].dtype.kind == "f" or right.dtype.kind == "f"
    result = sums.reshape(shape).astype(np.float64 if floats else np.int64)
    return result if bias is None else result + _along_channels(bias, op)


def _work_type(left: Array, right: Array, reduction: int) -> Any:
    """float64 where every partial sum is exact in it (its matrix product is fast), else int64."""
    if left.dtype.kind == "f" or right.dtype.kind == "f":
        return np.float64
    return np.float64 if _peak(left) * _peak(right) * reduction < _EXACT_FLOAT else np.int64


def _peak(values: Array) -> int:
    return max(int(values.max()), -int(values.min()))


def _product(left: Array, right: Array) -> Array:
    """left @ right, converting a block of ``right`` at a time."""
    columns = max(1, (1 << 22) // right.shape[0])
    starts = range(0, right.shape[1], columns)
    return np.concatenate([left @ right[:, at : at + columns].astype(left.dtype) for at in starts], axis=1)


def _convolved(image: Array, weights: Array, op: Conv2d, shape: tuple[int, ...]) -> Array:
    n, k, p, q = shape
    groups, depth = op.group_count(image.shape[1]), weights.shape[1]
    padded = _padded(image, op.pad, (p, q), op.stride, (op.dilation[0] * (op.R - 1), op.dilation[1] * (op.S - 1)))
    matrices = weights.astype(image.dtype).reshape(groups, k // groups, depth, op.R, op.S)
    sums = np.zeros((n, groups, k // groups, p * q), image.dtype)
    for r in range(op.R):
        for s in range(op.S):
            tap = _tap(padded, r * op.dilation[0], s * op.dilation[1], (p, q), op.stride)
            sums += matrices[:, :, :, r, s] @ tap.reshape(n, groups, depth, p * q)
    return sums


def _convolved_privately(
    image: Array, weights: Array, op: LocallyConnected2d, shape: tuple[int, ...]
) -> Array:
    out = (shape[2], shape[3])
    padded = _padded(image, op.pad, out, op.stride, (op.R - 1, op.S - 1))
    sums = np.zeros(shape, image.dtype)
    for r in range(op.R):
        for s in range(op.S):
            tap = _tap(padded, r, s, out, op.stride)
            sums += np.einsum("ncpq,pqkc->nkpq", tap, weights[..., r, s].astype(image.dtype))
    return sums


def _padded(
    image: Array, pad: Sequence[int], out: tuple[int, int], stride: tuple[int, int], reach: tuple[int, int]
) -> Array:
    """``image`` in zeros, as far as the last window reaches (with ``ceil``: beyond the padding)."""
    top, _, left, _ = pad
    bottom = max(0, (out[0] - 1) * stride[0] + reach[0] + 1 - top - image.shape[2])
    right = max(0, (out[1] - 1) * stride[1] + reach[1] + 1 - left - image.shape[3])
    return np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _along_channels(bias: Array, op: Op) -> Array:
    return bias.reshape(-1, 1, 1) if isinstance(op, Conv2d) else bias


# --- recurrent layers


class CellState(NamedTuple):
    """What a recurrent layer carries from step to step.

    ``hidden`` (N x recurrent features) has the output's format; of integers, bits-1 are fraction. ``cell``
    (N x hidden; unused by a GRU) is int16 with 12 fraction bits, or float32.
    """

    hidden: Array
    cell: Array


def initial_state(layer: Layer) -> CellState:
    """All zero."""
    op, batch, out = layer.op, layer.input_shapes[0][0], layer.precision.output
    assert isinstance(op, Recurrent)
    cell = np.int16 if out.is_integer else np.float32
    return CellState(np.zeros((batch, op.out_features), out.storage), np.zeros((batch, op.hidden), cell))


def recurrent_cell(
    layer: Layer, from_input: Array, from_state: Array, state: CellState, peepholes: Array | None = None
) -> CellState:
    """One step of an LSTM or GRU, from the accumulators of its gates.

    ``from_input`` (the bias in it) and ``from_state`` are N x gates*hidden: the products of the step's input and of
    ``state.hidden`` with their parts of the weights. Gates are stacked as in PyTorch: input, forget, candidate, output
    for an LSTM; reset, update, candidate for a GRU, whose reset gate scales the candidate's ``from_state``. The new
    ``hidden`` is N x hidden: a projection, where there is one, is done outside.

    Integers: with g = min(output bits, 16), a gate is its accumulator requantized by the layer's scale to a signed g-bit number
    of g-4 fraction bits; sigmoid and tanh of it have g-1 fraction bits and saturate. The sum of products behind a
    state is exact, and rounded once: ``cell = sat16(round(f*cell + i*c))`` with 12 fraction bits,
    ``hidden = o * tanh(cell)``; for a GRU ``hidden = (1-z)*c + z*hidden``. Peepholes (3 x hidden: input, forget, output) multiply
    the cell state, rounded to the fraction bits of the hidden state, and join the accumulators.
    """
    op = layer.op
    assert isinstance(op, Recurrent)
    arithmetic = _FixedCell(layer) if layer.precision.output.is_integer else _FloatCell(layer)
    with np.errstate(over="ignore"):
        if op.op == "gru":
            return _gru(arithmetic, _gates(from_input, 3), _gates(from_state, 3), state)
        extra = np.zeros((3, 1), np.int64) if peepholes is None else peepholes
        return _lstm(arithmetic, _gates(from_input + from_state, 4), state, extra)


def _gates(accumulators: Array, count: int) -> list[Array]:
    return np.split(accumulators, count, axis=1)


def _lstm(arithmetic: _Cell, gates: list[Array], state: CellState, peepholes: Array) -> CellState:
    i, f, c, o = gates
    old = arithmetic.seen(state.cell)
    admit = arithmetic.sigmoid(i + peepholes[0] * old)
    keep = arithmetic.sigmoid(f + peepholes[1] * old)
    cell = arithmetic.cell(keep, state.cell, admit, arithmetic.tanh(c))
    show = arithmetic.sigmoid(o + peepholes[2] * arithmetic.seen(cell))
    return CellState(arithmetic.shown(show, cell), cell)


def _gru(arithmetic: _Cell, given: list[Array], fed_back: list[Array], state: CellState) -> CellState:
    reset = arithmetic.sigmoid(given[0] + fed_back[0])
    update = arithmetic.sigmoid(given[1] + fed_back[1])
    candidate = arithmetic.tanh(given[2] + arithmetic.scaled(reset, fed_back[2]))
    return CellState(arithmetic.mixed(update, candidate, state.hidden), state.cell)


class _FixedCell:
    """The arithmetic of a cell on integers."""

    def __init__(self, layer: Layer) -> None:
        bits = min(layer.precision.output.bits, 16)
        self.out = layer.precision.output
        self.gate = NumberFormat("int", bits)
        self.fraction = bits - 1
        scale = layer.requantize
        precision = layer.precision.model_copy(update={"output": self.gate})
        shift = default_shift(precision, reduction_length(layer)) if scale.shift is None else scale.shift
        self.scale = (scale.multiplier, shift, scale.zero_point)

    def _curve(self, name: str, accumulator: Array) -> Array:
        gate = _requantized(accumulator, *self.scale, self.gate)
        return self._of(name, _real(gate, self.gate.bits))

    def _of(self, name: str, values: npt.NDArray[np.float64]) -> Array:
        return _fixed(_CURVED[name](values, 0.0), self.fraction, self.gate).astype(np.int64)

    def sigmoid(self, accumulator: Array) -> Array:
        return self._curve("sigmoid", accumulator)

    def tanh(self, accumulator: Array) -> Array:
        return self._curve("tanh", accumulator)

    def seen(self, cell: Array) -> Array:
        """The cell state in the scale of the hidden state, as peepholes read it."""
        wide = cell.astype(np.int64)
        extra = self.fraction - _CELL_FRACTION
        return wide << extra if extra >= 0 else _shifted(wide, -extra)

    def cell(self, keep: Array, cell: Array, admit: Array, candidate: Array) -> Array:
        kept = keep * cell.astype(np.int64) << self.fraction
        admitted = admit * candidate << _CELL_FRACTION
        return saturate(_shifted(kept + admitted, 2 * self.fraction), _CELL)

    def shown(self, show: Array, cell: Array) -> Array:
        curved = self._of("tanh", cell.astype(np.float64) / (1 << _CELL_FRACTION))
        return saturate(_shifted(show * curved, self.fraction), self.out)

    def scaled(self, reset: Array, accumulator: Array) -> Array:
        return _shifted(reset * accumulator, self.fraction)

    def mixed(self, update: Array, candidate: Array, hidden: Array) -> Array:
        total = ((1 << self.fraction) - update) * candidate + update * hidden.astype(np.int64)
        return saturate(_shifted(total, self.fraction), self.out)


class _FloatCell:
    """The arithmetic of a cell in float32."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.reduction = reduction_length(layer)

    def sigmoid(self, accumulator: Array) -> Array:
        return _sigmoid(requantize(accumulator, self.layer, self.reduction))

    def tanh(self, accumulator: Array) -> Array:
        return np.tanh(requantize(accumulator, self.layer, self.reduction))

    def seen(self, cell: Array) -> Array:
        return cell

    def cell(self, keep: Array, cell: Array, admit: Array, candidate: Array) -> Array:
        return keep * cell + admit * candidate

    def shown(self, show: Array, cell: Array) -> Array:
        return show * np.tanh(cell)

    def scaled(self, reset: Array, accumulator: Array) -> Array:
        return reset * accumulator

    def mixed(self, update: Array, candidate: Array, hidden: Array) -> Array:
        return (1 - update) * candidate + update * hidden


_Cell = _FixedCell | _FloatCell


def recurrent_reference(
    layer: Layer, sequence: Array, weights: Array, bias: Array | None = None,
    projection: Array | None = None, peepholes: Array | None = None,
) -> Array:  # fmt: skip
    """The hidden state of every step, in the shape of the layer's output."""
    op = layer.op
    assert isinstance(op, Recurrent)
    steps = sequence if sequence.ndim == 3 else sequence[:, None]
    features = steps.shape[2]
    state, hidden = initial_state(layer), []
    for step in range(steps.shape[1]):
        given = _sums(steps[:, step], weights[:, :features]) + (0 if bias is None else bias)
        state = recurrent_cell(layer, given, _sums(state.hidden, weights[:, features:]), state, peepholes)
        if projection is not None:
            state = state._replace(hidden=requantize(_sums(state.hidden, projection), layer, op.hidden))
        hidden.append(state.hidden)
    return np.stack(hidden, axis=1).reshape(layer.output_shapes[0])


def _sums(values: Array, weights: Array) -> Array:
    work = _work_type(values, weights, weights.shape[1])
    sums = values.astype(work) @ weights.T.astype(work)
    return sums if "f" in (values.dtype.kind, weights.dtype.kind) else sums.astype(np.int64)


# --- networks


def run_reference(network: Network, seed: int) -> dict[str, tuple[Array, ...]]:
    """The outputs of every layer of ``network``, by the rules of this module and the values of `accelsim.workload.values`."""
    tensors: dict[str, tuple[Array, ...]] = {name: (value,) for name, value in input_values(network, seed).items()}
    for layer in network.layers:
        inputs = tuple(tensors[ref.source][ref.port] for ref in layer.inputs)
        tensors[layer.name] = _run(layer, inputs, seed)
    return {layer.name: tensors[layer.name] for layer in network.layers}


def _run(layer: Layer, inputs: tuple[Array, ...], seed: int) -> tuple[Array, ...]:
    weights = None if layer.weight_shape is None else weight_values(layer, seed)
    bias = bias_values(layer)
    if isinstance(layer.op, Recurrent):
        assert weights is not None
        projection = projection_values(layer, seed) if layer.op.projection else None
        peepholes = peephole_values(layer, seed) if layer.op.peepholes else None
        return (recurrent_reference(layer, inputs[0], weights, bias, projection, peepholes),)
    if layer.macs:
        return (requantize(mac_reference(layer, inputs, weights, bias), layer, reduction_length(layer)),)
    return evaluate(layer, inputs, weights)
