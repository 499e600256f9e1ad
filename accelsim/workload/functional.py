"""What every operator computes, in plain numpy: a reference that knows nothing of hardware.

`evaluate` is the meaning of every operator without MACs, `mac_reference` gives the accumulators of those with
them, `requantize` makes outputs of accumulators, `recurrent_cell` is one step of an LSTM or GRU,
`run_reference` runs a whole network. What an engine gives equals them bit for bit.

The rules hold where a layer has no scales of its own; with `Quantization` the table of floats below is computed on
the numbers that the integers stand for. On **integers** (all inputs and the output have
integer formats; ``b`` and ``o`` are the bits of ``precision.input`` and ``precision.output``): every rounding
is to nearest, half away from zero; every result saturates to the output format. A *curve*, a function that is
not linear, takes an input q for the real number ``q / 2**(b-4)``. Its result y is stored as ``y * 2**(o-4)``;
that of sigmoid, hard_sigmoid, tanh and softmax, which stay within +-1, as ``y * 2**(o-1)``. (An exponent
below 0 is taken for 0.) Not-a-number is stored as 0; infinities saturate.

========================== ==================================================================================
operator                   rule on integers
========================== ==================================================================================
maxpool2d, globalmaxpool   the largest element in the image; a window that misses the image gives 0
avgpool2d, globalavgpool   round(sum / count), the count of elements in the image; with
                           ``count_include_pad`` in the padded image, never of what ``ceil`` adds beyond it
add, sub                   the sum; the first minus all others; a constant v counts as round(v * 2**(b-4))
maximum, minimum           of the integers; a constant as for add
mul                        round(q1 * q2 / 2**(b-1)), then times q3 and so on; by a constant round(q * v)
div                        round(q1 * 2**(b-1) / q2), the inverse of mul; x/0 saturates, 0/0 is 0; by a
                           constant round(q / v)
pow                        a curve of both; a constant exponent is taken as it is
relu, abs, neg             on the integers
clip                       between its bounds, low * 2**(b-4) and high * 2**(b-4), where it has some
relu6                      min(max(q, 0), 6 * 2**(b-4))
leaky_relu, prelu          round(alpha * q) below 0; alpha is 0.01, for prelu 0.25, if the network has none
                           (``weight`` of a prelu: its slopes)
elu, gelu, gelu_tanh,      curves; elu with alpha 1; gelu by the error function, gelu_tanh by its approximation;
silu, hard_swish, sigmoid, silu x * sigmoid(alpha * x), alpha 1; hard_swish x * hard_sigmoid(x), alpha 1/6;
hard_sigmoid, tanh, exp,   hard_sigmoid max(0, min(1, alpha * x + beta)) with 0.2 and 0.5; sqrt below 0 gives 0;
erf, sqrt, log,            log up to 0 and 1/0 saturate; trunc cuts the fraction off, round goes to the even one
reciprocal, trunc, floor,
ceil, round, sign, sin,
cos, tan, asin, acos, atan,
sinh, cosh, isnan, isinf
softmax                    a curve
layernorm                  a curve: (x - mean) / sqrt(variance + epsilon); scale 1, shift 0, or ``weight`` and
                           ``bias``
lrn                        a curve: x / (k + alpha / size * sum of squares)**beta over ``size`` channels
batchnorm                  identity: it is folded into the weights before they are quantized; where it has a
                           ``weight`` and a ``bias``, x * weight + bias
reduce_sum, reduce_mean,   the sum; round(sum / count); the largest; the smallest
reduce_max, reduce_min,     (reduce_prod: the product, a curve)
reduce_prod
cumsum                     the sums
argmax, argmin, topk       places, as whole numbers
embedding                  rows of the table
transform_input            the transformed tiles of q less the zero point, exactly
transform_output           the tiles that the sums give, and the bias, requantized as an accumulator
concat, split, slice,      the elements as they are; pad adds zeros, upsample repeats
reshape, flatten, pad,      (of a gather's and a scatter's second input the places are whole numbers; scatter adds,
transpose, upsample, take,  multiplies or compares where it says so)
gather, scatter
========================== ==================================================================================

**Floats**, where an input or the output has a float format of any width: the same functions in float32, operands
rounded to their formats as they are read and the result to its own, once (`accelsim.workload.floats`).
Integer inputs enter as ``q / 2**(b-4)``; an integer output is stored as the result of a curve is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import erf, pi, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.errors import Fault, InputError
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.algorithms import planes_to_image, tiles_to_planes
from accelsim.workload.fixed_point import (
    Array,
    centred,
    default_shift,
    divide_rounded,
    fraction_bits,
    quantized,
    real_numbers,
    reduction_length,
    requantize,
    saturate,
    shift_rounded,
    to_fixed,
    to_real,
)
from accelsim.workload.floats import as_read, read_as, rounded
from accelsim.workload.fused import fused, is_fused
from accelsim.workload.mac import bias_of, mac_reference, sums_of_products, window_tap
from accelsim.workload.network import Affine, Layer, Network
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    CumulativeSum,
    Elementwise,
    Embedding,
    Gather,
    GlobalPool,
    LayerNorm,
    LocalResponseNorm,
    Locate,
    Op,
    Pad,
    Pool2d,
    Recurrent,
    Reduce,
    Reshape,
    Scatter,
    Select,
    Slice,
    Softmax,
    Split,
    Take,
    TopK,
    TransformInput,
    TransformOutput,
    Transpose,
    Upsample,
)
from accelsim.workload.precision import NumberFormat
from accelsim.workload.recurrent import CellState, initial_state, recurrent_cell
from accelsim.workload.values import (
    bias_values,
    constant_values,
    input_values,
    is_given,
    peephole_values,
    projection_values,
    weight_values,
)

__all__ = [
    "CellState", "default_shift", "evaluate", "initial_state", "mac_reference", "recurrent_cell",
    "recurrent_reference", "reduction_length", "requantize", "run_reference", "saturate",
]  # fmt: skip

Results = tuple[Array, ...]


def evaluate(layer: Layer, inputs: Results, weights: Array | None = None) -> Results:
    """The outputs of a layer without MACs, by the table above. ``weights`` is an embedding's table."""
    bits, kind = layer.precision.input.bits, type(layer.op)
    if layer.quantization.inputs:
        return _evaluate_scaled(layer, inputs, weights)
    if kind is Embedding:
        return (_stored(_embedding(layer, inputs[0], weights), layer),)
    if kind is TransformOutput:
        return (transform_output(layer, inputs[0], Accumulator(layer.precision.accumulator))[0],)
    if kind in _LOOKUPS:
        return (_stored(_LOOKUPS[kind](layer, inputs), layer),)
    integers = layer.precision.output.is_integer and all(x.dtype.kind in "iu" for x in inputs)
    if kind in _PLACES and all(x.dtype.kind in "iu" for x in inputs):
        return (_stored(_RULES[kind](layer, inputs, True)[0], layer),)
    if not integers:
        inputs = tuple(_as_float(x, bits) for x in inputs)
    with np.errstate(all="ignore"):  # the table says what becomes of infinities
        results = _MOVES[kind](layer, inputs) if kind in _MOVES else _RULES[kind](layer, inputs, integers)
        return tuple(_stored(result, layer) for result in results)


def _evaluate_scaled(layer: Layer, inputs: Results, weights: Array | None) -> Results:
    """By the scales of `Quantization`: on the numbers that the integers stand for, in float32."""
    scales, out, kind = layer.quantization, layer.precision.output, type(layer.op)
    if kind in _LOOKUPS:
        found = _LOOKUPS[kind](layer, inputs)
        if out.is_integer:
            return (found.astype(out.storage),)
        return (rounded(found if found.dtype.kind == "f" else real_numbers(found, scales.inputs[0]), out),)
    if kind in _KEEPS and out.is_integer and {*scales.inputs} == {scales.output} and not is_given(layer.weight):
        return tuple(x.astype(out.storage, copy=False) for x in _MOVES[kind](layer, inputs))
    constant = constant_values(layer).operand
    operands = inputs if constant is None else (*inputs, constant)
    on_integers = is_fused(layer, operands)
    made = fused(layer, operands) if on_integers else None
    if made is not None:
        return (made,)
    numbers = tuple(
        real_numbers(x, scale) if x.dtype.kind in "iu" else x for x, scale in zip(inputs, scales.inputs, strict=False)
    )
    with np.errstate(all="ignore"):
        if kind is Embedding:
            results: Results = (_embedding(layer, inputs[0], weights),)
        else:
            results = _MOVES[kind](layer, numbers) if kind in _MOVES else _RULES[kind](layer, numbers, False)
    if kind in _PLACES:
        return tuple(x.astype(out.storage) for x in results)
    if scales.output is None or not out.is_integer:
        return tuple(x.astype(np.float32) if out.is_integer else rounded(x, out) for x in results)
    return tuple(quantized(x, scales.output, out, zero_point_first=on_integers) for x in results)


def _real_constant(layer: Layer) -> Array | None:
    """The constant operand, slopes or scales of a layer without MACs, as real numbers."""
    constant, scales = constant_values(layer).operand, layer.quantization.inputs
    if constant is None or constant.dtype.kind == "f":
        return constant
    return real_numbers(constant, scales[len(layer.inputs)] if len(scales) > len(layer.inputs) else Affine())


def _as_float(values: Array, bits: int) -> Array:
    return (to_real(values, bits) if values.dtype.kind in "iu" else values).astype(np.float32)


def _stored(values: Array, layer: Layer) -> Array:
    """``values`` in the output format: saturated, or turned from the one kind of number into the other."""
    out = layer.precision.output
    if values.dtype.kind in "iu":
        return saturate(values, out) if out.is_integer else rounded(_as_float(values, layer.precision.weight.bits), out)
    return to_fixed(values, _fraction_out(layer), out) if out.is_integer else rounded(values, out)


def _fraction_out(layer: Layer) -> int:
    bits = layer.precision.output.bits
    return bits - 1 if layer.op.op in ("sigmoid", "hard_sigmoid", "tanh", "softmax") else fraction_bits(bits)


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
    return (divide_rounded(total, count) if integers else total / count.astype(np.float32),)


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
    image = np.pad(image, around, constant_values=outside)
    taps = [window_tap(image, r, s, (p, q), (down, right)) for r in range(height) for s in range(width)]
    result = taps[0]
    for tap in taps[1:]:
        result = combine(result, tap)
    return result


def _global_pool(layer: Layer, inputs: Results, integers: bool) -> Results:
    image = inputs[0]
    if layer.op.op == "globalmaxpool":
        return (image.max(axis=(2, 3), keepdims=True),)
    return (_mean(image, (2, 3), True, integers),)


def _mean(values: Array, axes: tuple[int, ...], keepdims: bool, integers: bool) -> Array:
    if not integers:
        return np.asarray(values.mean(axis=axes, keepdims=keepdims, dtype=np.float32))
    count = prod(values.shape[axis] for axis in axes)
    return divide_rounded(values.sum(axis=axes, keepdims=keepdims, dtype=np.int64), count)


def _reduce(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, values = layer.op, inputs[0]
    assert isinstance(op, Reduce)
    axes = tuple({axis % values.ndim for axis in op.axes})
    if op.op == "reduce_mean":
        return (np.asarray(_mean(values, axes, op.keepdims, integers)),)
    if op.op == "reduce_prod":
        wide = to_real(values, layer.precision.input.bits) if integers else values
        return (_curved_result(np.asarray(wide.prod(axis=axes, keepdims=op.keepdims)), layer, integers),)
    if op.op == "reduce_max":
        return (np.asarray(values.max(axis=axes, keepdims=op.keepdims)),)
    if op.op == "reduce_min":
        return (np.asarray(values.min(axis=axes, keepdims=op.keepdims)),)
    return (
        np.asarray(values.sum(axis=axes, keepdims=op.keepdims, dtype=np.int64 if integers else np.float32)),
    )


def _cumulative(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, values = layer.op, inputs[0].astype(np.int64) if integers else inputs[0]
    assert isinstance(op, CumulativeSum)
    values = np.flip(values, op.axis) if op.reverse else values
    sums = np.cumsum(values, axis=op.axis, dtype=values.dtype)
    if op.exclusive:
        sums = np.roll(sums, 1, axis=op.axis)
        sums[(slice(None),) * (op.axis % values.ndim) + (0,)] = 0
    return (np.flip(sums, op.axis) if op.reverse else sums,)


def _located(layer: Layer, inputs: Results, integers: bool) -> Results:
    del integers
    op, values = layer.op, inputs[0]
    assert isinstance(op, Locate)
    find = np.argmax if op.op == "argmax" else np.argmin
    if not op.last:
        return (find(values, axis=op.axis, keepdims=op.keepdims),)
    return (values.shape[op.axis] - 1 - find(np.flip(values, op.axis), axis=op.axis, keepdims=op.keepdims),)


def _topmost(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, values = layer.op, inputs[0].astype(np.int64) if integers else inputs[0]
    assert isinstance(op, TopK)
    order = np.argsort(-values if op.largest else values, axis=op.axis, kind="stable")
    return (order.take(range(op.k), axis=op.axis),)


def _places(layer: Layer, places: Array, size: int) -> Array:
    """Places along an axis, those from its end too."""
    outside = (places < -size) | (places >= size)
    if outside.any():
        message = f"looks up place {places.ravel()[int(np.argmax(outside))]}, must be {-size} to {size - 1}"
        raise InputError(Fault(f"layer {layer.name}", "input", message))
    return np.asarray(places.astype(np.int64) % size)


def _gathered(layer: Layer, inputs: Results) -> Array:
    assert isinstance(layer.op, Gather)
    axis, data = layer.op.axis, inputs[0]
    return np.take_along_axis(data, _places(layer, inputs[1], data.shape[axis]), axis)


def _scattered(layer: Layer, inputs: Results) -> Array:
    op, data, updates = layer.op, inputs[0].copy(), inputs[2]
    assert isinstance(op, Scatter)
    axis = op.axis % data.ndim
    places = np.broadcast_to(_places(layer, inputs[1], data.shape[axis]), updates.shape)
    grid: list[Array] = list(np.indices(updates.shape, sparse=True))
    grid[axis] = places
    put = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}.get(op.reduction)
    if put is None:
        data[tuple(grid)] = updates
    else:
        put.at(data, tuple(grid), updates.astype(data.dtype))
    return data


def _select(_: Layer, inputs: Results) -> Results:
    condition, one, other = inputs
    return (np.where(condition != 0, one, other),)


def _elementwise(layer: Layer, inputs: Results, integers: bool) -> Results:
    op = layer.op
    assert isinstance(op, Elementwise)
    if op.whole and integers:
        return (_on_whole_numbers(layer, inputs),)
    result = _constant(layer, inputs[0], integers) if len(inputs) == 1 else _folded(layer, inputs, integers)
    return (result,)


def _on_whole_numbers(layer: Layer, inputs: Results) -> Array:
    """C's arithmetic: exact in 64 bits, then cut to the bits of the output."""
    op, out = layer.op, layer.precision.output
    assert isinstance(op, Elementwise)
    values = [x.astype(np.int64) for x in inputs]
    if len(values) == 1:
        given = constant_values(layer).operand
        constant = np.asarray((1.0 if op.value is None else op.value) if given is None else given)
        values.insert(0 if op.constant_first else 1, constant if op.op == "pow" else constant.astype(np.int64))
    result = values[0]
    for other in values[1:]:
        result = np.asarray(_WHOLE_PAIRS[op.op](result, other, layer)).astype(np.int64)
    return np.asarray(result.astype(out.storage))


def _folded(layer: Layer, inputs: Results, integers: bool) -> Array:
    """The first input combined with the second, the result with the third, and so on."""
    combine = (_INTEGER_PAIRS if integers else _FLOAT_PAIRS)[layer.op.op]
    result = inputs[0].astype(np.int64) if integers else inputs[0]
    for other in inputs[1:]:
        result = np.asarray(combine(result, other.astype(result.dtype), layer))
    return result


def _constant(layer: Layer, values: Array, integers: bool) -> Array:
    """With a constant: a number to add or compare is a real one; a factor has no scale."""
    op, bits = layer.op, layer.precision.input.bits
    assert isinstance(op, Elementwise)
    given = _real_constant(layer)
    value = np.asarray((1.0 if op.value is None else op.value) if given is None else given, np.float64)

    def combined(pairs: Mapping[str, _Pair], one: Array, constant: Any) -> Array:
        first, second = (constant, one) if op.constant_first else (one, constant)
        return np.asarray(pairs[op.op](first, second, layer))

    if not integers:
        return combined(_FLOAT_PAIRS, values, value.astype(np.float32))
    if op.op in ("mul", "div"):
        return to_fixed(combined(_FLOAT_PAIRS, values.astype(np.float64), value), 0, layer.precision.output)
    if op.op == "pow":
        power = combined(_FLOAT_PAIRS, to_real(values, bits), value)
        return to_fixed(power, _fraction_out(layer), layer.precision.output)
    constant = to_fixed(value, fraction_bits(bits), NumberFormat("int", 63))
    return combined(_INTEGER_PAIRS, values.astype(np.int64), constant)


def _integer_div(a: Array, b: Array, layer: Layer) -> Array:
    size = divide_rounded(np.abs(a) << (layer.precision.input.bits - 1), np.maximum(np.abs(b), 1))
    by_zero = np.iinfo(np.int64).max * (a != 0)
    return np.where(b == 0, by_zero, size) * np.where((a < 0) ^ (b < 0), -1, 1)


def _integer_pow(a: Array, b: Array, layer: Layer) -> Array:
    bits = layer.precision.input.bits
    return to_fixed(
        np.power(to_real(a, bits), to_real(b, bits)), _fraction_out(layer), layer.precision.output
    )


def _integer_mul(a: Array, b: Array, layer: Layer) -> Array:
    return shift_rounded(a * b, layer.precision.input.bits - 1)


_Pair = Callable[[Any, Any, Layer], Any]
_SHARED_PAIRS: dict[str, _Pair] = {
    "equal": lambda a, b, _: a == b, "less": lambda a, b, _: a < b, "less_equal": lambda a, b, _: a <= b,
    "greater": lambda a, b, _: a > b, "greater_equal": lambda a, b, _: a >= b,
    "and": lambda a, b, _: (a != 0) & (b != 0), "or": lambda a, b, _: (a != 0) | (b != 0),
    "xor": lambda a, b, _: (a != 0) ^ (b != 0),
    "add": lambda a, b, _: a + b,
    "sub": lambda a, b, _: a - b,
    "maximum": lambda a, b, _: np.maximum(a, b),
    "minimum": lambda a, b, _: np.minimum(a, b),
    "mod": lambda a, b, layer: _remainder(a, b, layer),
}


def _remainder(a: Array, b: Array, _: Layer) -> Array:
    """With the sign of the dividend for floats (as C's fmod), of the divisor for whole numbers (as Python's)."""
    if "f" in (np.asarray(a).dtype.kind, np.asarray(b).dtype.kind):
        return np.asarray(np.fmod(a, b))
    return np.where(b == 0, 0, np.mod(a, np.where(b == 0, 1, b)))


def _cut_quotient(a: Array, b: Array, _: Layer) -> Array:
    """Towards zero; 0 where the divisor is 0."""
    size = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where(b == 0, 0, np.where((a < 0) ^ (b < 0), -size, size))


_WHOLE_PAIRS: dict[str, _Pair] = {
    **_SHARED_PAIRS,
    "mul": lambda a, b, _: a * b,
    "div": _cut_quotient,
    "pow": lambda a, b, _: np.power(a.astype(np.float64), b.astype(np.float64)),
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
    "tanh": lambda x, _: np.tanh(x),
    "gelu": lambda x, _: 0.5 * x * (1 + _erf(x * 0.5**0.5)),
    "gelu_tanh": lambda x, _: x * 0.5 * (1 + np.tanh(x.dtype.type((2 / pi) ** 0.5) * (x + x.dtype.type(0.044715) * x**3))),
    "silu": lambda x, alpha: x * _sigmoid(x.dtype.type(alpha) * x),
    "hard_swish": lambda x, _: x * np.clip(x * x.dtype.type(1 / 6) + x.dtype.type(0.5), 0, 1),
    "exp": lambda x, _: np.exp(x),
    "erf": lambda x, _: _erf(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "reciprocal": lambda x, _: 1 / x,
    "log": lambda x, _: np.where(x > 0, np.log(x), -np.inf),
    "trunc": lambda x, _: np.trunc(x), "floor": lambda x, _: np.floor(x), "ceil": lambda x, _: np.ceil(x),
    "round": lambda x, _: np.rint(x), "sign": lambda x, _: np.sign(x), "sin": lambda x, _: np.sin(x),
    "cos": lambda x, _: np.cos(x), "tan": lambda x, _: np.tan(x), "asin": lambda x, _: np.arcsin(x),
    "acos": lambda x, _: np.arccos(x), "atan": lambda x, _: np.arctan(x), "sinh": lambda x, _: np.sinh(x),
    "cosh": lambda x, _: np.cosh(x), "isnan": lambda x, _: np.isnan(x).astype(x.dtype),
    "isinf": lambda x, _: np.isinf(x).astype(x.dtype),
}
_ALPHA = {"leaky_relu": 0.01, "prelu": 0.25, "elu": 1.0, "hard_sigmoid": 0.2, "silu": 1.0}


def _curve(op: Activation) -> _Function:
    """The function of an activation that is not linear."""
    if op.op != "hard_sigmoid":
        return _CURVED[op.op]
    beta = 0.5 if op.beta is None else op.beta
    return lambda x, alpha: np.clip(alpha * x + beta, 0, 1)


def _activation(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, values = layer.op, inputs[0]
    assert isinstance(op, Activation)
    slopes = _real_constant(layer)
    alpha: Any = slopes if slopes is not None else _ALPHA.get(op.op, 0.0) if op.alpha is None else op.alpha
    if op.op == "clip" and not (op.low is None and op.high is None):
        return (_clipped(values, layer, integers),)
    if not integers:
        return ((_LINEAR.get(op.op) or _curve(op))(values, alpha),)
    if slopes is None and values.dtype.itemsize <= 2 and values.size > 1 << 8 * values.dtype.itemsize:
        low = int(np.iinfo(values.dtype).min)  # fewer values than elements: compute each value once
        table = np.arange(low, int(np.iinfo(values.dtype).max) + 1)
        return (_activated(table, alpha, layer)[values.astype(np.int64) - low],)
    return (_activated(values.astype(np.int64), alpha, layer),)


def _clipped(values: Array, layer: Layer, integers: bool) -> Array:
    """Between the bounds, which are real numbers as a relu6's are."""
    op, bits = layer.op, layer.precision.input.bits
    assert isinstance(op, Activation)
    to = NumberFormat("int", 63)
    low, high = (
        bound if bound is None else to_fixed(np.asarray(bound), fraction_bits(bits), to) if integers else np.float32(bound)
        for bound in (op.low, op.high)
    )
    return np.asarray(np.clip(values.astype(np.int64) if integers else values, low, high))


def _activated(values: npt.NDArray[np.int64], alpha: Any, layer: Layer) -> Array:
    op, bits, out = layer.op, layer.precision.input.bits, layer.precision.output
    assert isinstance(op, Activation)
    name = op.op
    if name == "relu6":
        return np.clip(values, 0, 6 << fraction_bits(bits))
    if name in _LINEAR:
        result = _LINEAR[name](values, alpha)
        return result if result.dtype.kind == "i" else to_fixed(result, 0, out)
    return to_fixed(_curve(op)(to_real(values, bits), alpha), _fraction_out(layer), out)


def _softmax(layer: Layer, inputs: Results, integers: bool) -> Results:
    op = layer.op
    assert isinstance(op, Softmax)
    values = to_real(inputs[0], layer.precision.input.bits) if integers else inputs[0]
    powers = np.exp(values - values.max(axis=op.axis, keepdims=True))
    return (_curved_result(powers / powers.sum(axis=op.axis, keepdims=True), layer, integers),)


def _curved_result(values: Array, layer: Layer, integers: bool) -> Array:
    return to_fixed(values, _fraction_out(layer), layer.precision.output) if integers else values


def _layer_norm(layer: Layer, inputs: Results, integers: bool) -> Results:
    values, bits = inputs[0], layer.precision.input.bits
    assert isinstance(layer.op, LayerNorm)
    count, small = values.shape[-1], layer.op.epsilon
    if not integers or bits > 16 or count >= 1 << 16:
        values = to_real(values, bits) if integers else values
        centred = values - values.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt(variance + values.dtype.type(small))
        return (_curved_result(_scaled_and_shifted(layer, normal), layer, integers),)
    wide = values.astype(np.int64)  # exact sums: the result does not hang on their order
    total = wide.sum(axis=-1, keepdims=True)
    spread = count * np.square(wide).sum(axis=-1, keepdims=True) - np.square(total)
    normal = (count * wide - total) / np.sqrt(spread + small * float(count * count << 2 * fraction_bits(bits)))
    return (_curved_result(_scaled_and_shifted(layer, normal), layer, integers),)


def _scaled_and_shifted(layer: Layer, values: Array) -> Array:
    """By the trained numbers of a normalization, where they are given (one a channel, along the last axis)."""
    scale, shift = _real_constant(layer), constant_values(layer).shift
    values = values if scale is None else values * scale.astype(values.dtype)
    return values if shift is None else values + shift.astype(values.dtype)


def _batch_norm(layer: Layer, inputs: Results) -> Results:
    """Nothing where it is folded into the weights before it; else its factor and shift, one a channel (axis 1)."""
    if not is_given(layer.weight):
        return inputs
    image = _as_float(inputs[0], layer.precision.input.bits)
    moved = _scaled_and_shifted(layer, np.moveaxis(image, 1, -1))
    return (np.ascontiguousarray(np.moveaxis(moved, -1, 1)),)


def _local_response(layer: Layer, inputs: Results, integers: bool) -> Results:
    op = layer.op
    assert isinstance(op, LocalResponseNorm)
    values = to_real(inputs[0], layer.precision.input.bits) if integers else inputs[0]
    before, after = (op.size - 1) // 2, op.size // 2
    around = ((0, 0), (before, after), *((0, 0),) * (values.ndim - 2))
    squares = np.pad(np.square(values), around)
    channels = values.shape[1]
    total = sum(squares[:, place : place + channels] for place in range(op.size))
    number = values.dtype.type
    scale = (number(op.k) + number(op.alpha / op.size) * total) ** number(op.beta)
    return (_curved_result(values / scale, layer, integers),)


def _concat(layer: Layer, inputs: Results) -> Results:
    assert isinstance(layer.op, Concat)
    parts = inputs if layer.quantization.inputs else tuple(_stored(x, layer) for x in inputs)
    return (np.concatenate(parts, axis=layer.op.axis),)


def _split(layer: Layer, inputs: Results) -> Results:
    assert isinstance(layer.op, Split)
    return tuple(np.split(inputs[0], np.cumsum(layer.op.sizes)[:-1], axis=layer.op.axis))


def _slice(layer: Layer, inputs: Results) -> Results:
    op = layer.op
    assert isinstance(op, Slice)
    places = op.start + op.step * np.arange(op.size)
    return (np.take(inputs[0], places, axis=op.axis),)


def _take(layer: Layer, inputs: Results) -> Results:
    assert isinstance(layer.op, Take)
    return (np.take(inputs[0], layer.op.indices, axis=layer.op.axis),)


def _reshape(layer: Layer, inputs: Results) -> Results:
    return (inputs[0].reshape(layer.output_shapes[0]),)


def _transpose(layer: Layer, inputs: Results) -> Results:
    assert isinstance(layer.op, Transpose)
    return (np.ascontiguousarray(inputs[0].transpose(0, *layer.op.perm)),)


def _upsample(layer: Layer, inputs: Results) -> Results:
    assert isinstance(layer.op, Upsample)
    image = inputs[0]
    for axis, taken, times in ((2, layer.op.rows, layer.op.scale[0]), (3, layer.op.columns, layer.op.scale[1])):
        image = image.take(taken, axis=axis) if taken else image.repeat(times, axis=axis)
    return (image,)


def _pad(layer: Layer, inputs: Results) -> Results:
    assert isinstance(layer.op, Pad)
    top, bottom, left, right = layer.op.pad
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    return (np.pad(inputs[0], around, constant_values=layer.op.value),)


def _embedding(layer: Layer, indices: Array, table: Array | None) -> Array:
    assert table is not None, f"{layer.name} looks rows up in its weights, which are not given"
    outside = (indices < 0) | (indices >= table.shape[0])
    if outside.any():
        found = indices.ravel()[int(np.argmax(outside))]
        message = (
            f"looks up row {found}, must be 0 to {table.shape[0] - 1}: its table has {table.shape[0]} rows"
        )
        raise InputError(Fault(f"layer {layer.name}", "input", message))
    return np.asarray(table[indices.astype(np.int64)])


def _transform_input(layer: Layer, inputs: Results, integers: bool) -> Results:
    op, image = layer.op, inputs[0]
    assert isinstance(op, TransformInput)
    values = image.astype(np.int64) - op.zero_point if integers else image
    return (tiles_to_planes(op.algorithm, op.window, values, op.pad, op.tiles(image.shape)),)


def transform_output(layer: Layer, sums: Array, accumulator: Accumulator) -> tuple[Array, int]:
    """What a convolution's accumulators become, these made of its algorithm's sums; and how many overflowed."""
    op = layer.op
    assert isinstance(op, TransformOutput)
    image = planes_to_image(op.algorithm, op.window, sums, (op.P, op.Q))
    bias = bias_values(layer)
    accumulators, overflows = accumulator.fitted(image.astype(np.int64 if op.integers else np.float64))
    if bias is not None:
        accumulators, more = accumulator.added(accumulators, bias.reshape(-1, 1, 1))
        overflows += more
    return requantize(accumulators, layer, 1), overflows


_LOOKUPS: dict[type[Op], Callable[[Layer, Results], Array]] = {Gather: _gathered, Scatter: _scattered}
_PLACES: tuple[type[Op], ...] = (Locate, TopK)  # whose results are whole numbers, whatever they read
_MOVES: dict[type[Op], Callable[[Layer, Results], Results]] = {
    BatchNorm: _batch_norm,
    Concat: _concat,
    Split: _split,
    Select: _select,
    Slice: _slice,
    Take: _take,
    Reshape: _reshape,
    Transpose: _transpose,
    Upsample: _upsample,
    Pad: _pad,
}
_KEEPS = frozenset({BatchNorm, Concat, Split, Slice, Take, Reshape, Transpose, Upsample})  # results are among the inputs
_RULES: dict[type[Op], Callable[[Layer, Results, bool], Results]] = {
    Pool2d: _pool,
    GlobalPool: _global_pool,
    Elementwise: _elementwise,
    Activation: _activation,
    Softmax: _softmax,
    LayerNorm: _layer_norm,
    LocalResponseNorm: _local_response,
    Reduce: _reduce,
    CumulativeSum: _cumulative,
    Locate: _located,
    TopK: _topmost,
    TransformInput: _transform_input,
}


# --- layers with MACs, and networks


def recurrent_reference(
    layer: Layer, sequence: Array, weights: Array, bias: Array | None = None,
    projection: Array | None = None, peepholes: Array | None = None, saturates: bool = False,
) -> Array:  # fmt: skip
    """The hidden state of every step, in the shape of the layer's output."""
    op, register = layer.op, Accumulator(layer.precision.accumulator, saturates)
    assert isinstance(op, Recurrent)
    steps = sequence if sequence.ndim == 3 else sequence[:, None]
    features = steps.shape[2]
    state, hidden = initial_state(layer), []
    for step in range(steps.shape[1]):
        given = _summed(register, sums_of_products(steps[:, step], weights[:, :features]), bias)
        fed_back = sums_of_products(read_as(state.hidden, layer.precision.input), weights[:, features:])
        state = recurrent_cell(layer, given, _summed(register, fed_back), state, peepholes)
        if projection is not None:
            down = sums_of_products(read_as(state.hidden, layer.precision.input), projection)
            state = state._replace(hidden=requantize(_summed(register, down), layer, op.hidden))
        hidden.append(state.hidden)
    return np.stack(hidden, axis=1).reshape(layer.output_shapes[0])


def run_reference(
    network: Network, seed: int, inputs: Mapping[str, Array] | None = None, saturates: bool = False
) -> dict[str, tuple[Array, ...]]:
    """The outputs of every layer, by the rules above and on the values of `accelsim.workload.values`.

    ``inputs`` replaces those of graph inputs, batch first. ``saturates``: accumulators that overflow do, by default they
    wrap. A sum of products saturates when it is complete; hardware may do so on the way, to another result.
    """
    given = input_values(network, seed, inputs)
    tensors: dict[str, tuple[Array, ...]] = {name: (value,) for name, value in given.items()}
    for layer in network.layers:
        read = tuple(tensors[ref.source][ref.port] for ref in layer.inputs)
        tensors[layer.name] = layer_outputs(layer, read, seed, saturates)
    return {layer.name: tensors[layer.name] for layer in network.layers}


def _summed(register: Accumulator, sums: Array, bias: Array | None = None) -> Array:
    """A sum of products in its register, and the bias added behind it."""
    held = register.fitted(sums)[0]
    return held if bias is None else register.added(held, bias)[0]


def layer_outputs(
    layer: Layer, inputs: tuple[Array, ...], seed: int, saturates: bool = False
) -> tuple[Array, ...]:
    """The outputs of one layer, with MACs or without, on seeded weights."""
    weights = None if layer.weight_shape is None else weight_values(layer, seed)
    bias, inputs = bias_values(layer), as_read(layer, inputs)
    if isinstance(layer.op, Recurrent):
        assert weights is not None
        projection = projection_values(layer, seed) if layer.op.projection else None
        peepholes = peephole_values(layer, seed) if layer.op.peepholes else None
        return (recurrent_reference(layer, inputs[0], weights, bias, projection, peepholes, saturates),)
    if layer.macs:
        operands, weights = centred(layer, inputs, weights)
        register = Accumulator(layer.precision.accumulator, saturates)
        sums = mac_reference(layer, operands, weights)
        shaped = None if bias is None else bias_of(bias, layer.op)
        return (requantize(_summed(register, sums, shaped), layer, reduction_length(layer)),)
    if isinstance(layer.op, TransformOutput):
        return (transform_output(layer, inputs[0], Accumulator(layer.precision.accumulator, saturates))[0],)
    return evaluate(layer, inputs, weights)
