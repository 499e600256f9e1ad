"""Fixed point: saturation, roundings, zero points and scales, and outputs made of accumulators."""

from __future__ import annotations

from collections.abc import Callable
from math import frexp, log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.workload.floats import rounded
from accelsim.workload.network import Affine, Layer, Requantize, Rounding
from accelsim.workload.ops import LocallyConnected2d, Matmul
from accelsim.workload.precision import NumberFormat, Precision

Array = npt.NDArray[Any]
Numbers = int | tuple[int, ...]  # one, or one an output channel
_JUST_BELOW_HALF = float(np.nextafter(0.5, 0.0))


def saturate(values: Array, to: NumberFormat) -> Array:
    """Integers in the storage type of the integer format ``to``; what lies outside of it is at its bounds."""
    if values.dtype == object:  # Python's integers, which have no bounds of their own
        low, high = to.lowest, to.highest
    else:
        held = np.iinfo(values.dtype)
        low, high = max(to.lowest, int(held.min)), min(to.highest, int(held.max))
        if (low, high) == (held.min, held.max):
            return values.astype(to.storage, copy=False)
    result: Array = np.clip(values, low, high).astype(to.storage)
    return result


def fraction_bits(bits: int) -> int:
    """Fraction bits of a number that a non-linear function reads or gives."""
    return max(0, bits - 4)


def to_real(values: Array, bits: int) -> npt.NDArray[np.float64]:
    """The real numbers that integers of a ``bits`` wide format stand for."""
    result: npt.NDArray[np.float64] = values.astype(np.float64) / (1 << fraction_bits(bits))
    return result


def to_fixed(values: Array, fraction: int, to: NumberFormat) -> Array:
    """Real numbers as integers of ``fraction`` fraction bits: rounded, saturated, not-a-number as 0."""
    scaled = round_away(values.astype(np.float64) * float(1 << fraction))
    high = float(to.highest)
    if int(high) > to.highest:
        high = float(np.nextafter(high, 0.0))  # beyond 53 bits the bound itself is no float64
    numbers = np.where(np.isnan(scaled), 0.0, scaled)
    result: Array = np.clip(numbers, float(to.lowest), high).astype(to.storage)
    return result


def round_away(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Nearest whole number, half away from zero."""
    return np.trunc(values + np.copysign(_JUST_BELOW_HALF, values))  # a sum of 1 is reached from 0.5 on


def divide_rounded(total: Array, by: Array | int) -> Array:
    """total / by of integers, rounded half away from zero; ``by`` is positive."""
    quotient, rest = np.divmod(np.abs(total), by)
    result: Array = np.sign(total) * (quotient + (rest >= by - rest))
    return result


def shift_rounded(values: Array, shift: int) -> Array:
    """values / 2**shift of integers, rounded half away from zero; those of int64 stay below 2**62."""
    if shift == 0:
        return values
    size = (np.abs(values) + (1 << (shift - 1))) >> shift
    return np.where(values < 0, -size, size)


def default_shift(precision: Precision, reduction: int) -> int:
    """The shift that keeps activations as large, for their format's range, from layer to layer.

    A uniform weight of b bits has a standard deviation near 2**(b - 1.75), a sum of ``reduction`` products
    grows by its root, and half a bit makes good what rectifiers take away. Less would saturate, more would
    leave a deep network with nothing but zeros.
    """
    growth = (precision.weight.bits - 1.75) + 0.5 * log2(reduction) - 0.5
    return max(0, round(growth + precision.input.bits - precision.output.bits))


def reduction_length(layer: Layer) -> int:
    """Products in the sum behind one output of a layer with MACs (behind one gate of a recurrent layer)."""
    if isinstance(layer.op, Matmul):
        return layer.op.sizes(layer.input_shapes)[3]
    shape = layer.weight_shape
    assert shape is not None, f"{layer.name} has no MACs"
    return prod(shape[3:]) if isinstance(layer.op, LocallyConnected2d) else prod(shape[1:])


def requantize(accumulator: Array, layer: Layer, reduction: int) -> Array:
    """`Requantize` of ``layer``: ``saturate(round(accumulator * multiplier / 2**shift) + zero_point)``.

    An output in the accumulator's own format is the bare accumulator, unless the layer states a scale.
    ``shift`` None is `default_shift` of ``reduction``; 0 where a format is a float. No integer overflows on
    the way. The channels of multipliers and shifts are axis 1 of an image, else the last axis, as of every matrix product.
    """
    out, scale, shift = layer.precision.output, layer.requantize, layer.requantize.shift
    integers = accumulator.dtype.kind in "iu" and out.is_integer
    if shift is None:
        bare = out == layer.precision.accumulator or not integers
        shift = 0 if bare else default_shift(layer.precision, reduction)
    image = accumulator.ndim == 4 and not isinstance(layer.op, Matmul)
    multipliers, shifts = _by_channel(scale.multiplier, image), _by_channel(shift, image)
    if integers:
        first = scale.zero_point if scale.rounding == "zero_first" else 0
        whole = rescaled(accumulator, multipliers, shifts, scale.rounding, first)
        return saturate(whole + (scale.zero_point - first), out)
    values = accumulator.astype(np.float64) * (multipliers / 2.0**shifts)
    if not out.is_integer:
        return rounded(values + scale.zero_point, out)
    return to_fixed(round_away(values) + scale.zero_point, 0, out)


def rescale(
    accumulator: Array, multiplier: Numbers, shift: Numbers, zero_point: int, out: NumberFormat
) -> Array:
    """``saturate(round(accumulator * multiplier / 2**shift) + zero_point)``, half away from zero."""
    multipliers, shifts = _by_channel(multiplier, accumulator.ndim == 4), _by_channel(shift, accumulator.ndim == 4)
    return saturate(rescaled(accumulator, multipliers, shifts, "away") + zero_point, out)


def _by_channel(numbers: Numbers, image: bool) -> npt.NDArray[np.int64]:
    """One number, or one a channel, in a shape that broadcasts over accumulators."""
    if isinstance(numbers, int):
        return np.array(numbers, np.int64)
    return np.array(numbers, np.int64).reshape((-1, 1, 1) if image else (-1,))


def rescaled(accumulator: Array, multiplier: Array, shift: Array, rounding: Rounding, first: int = 0) -> Array:
    """``round(accumulator * multiplier / 2**shift + first)`` of integers, exactly; int64, or Python's integers."""
    if rounding == "float32":
        return _float32(accumulator, multiplier, shift)
    left = np.maximum(-shift, 0)
    peak = max(int(accumulator.max()), -int(accumulator.min())) if accumulator.size else 0
    largest = (peak * int(np.abs(multiplier).max()) << int(left.max())) + (1 + abs(first) << int(shift.max(initial=0)))
    kind: Any = np.int64 if largest < 1 << 62 else object
    product = (accumulator.astype(kind) * multiplier.astype(kind)) << left.astype(kind)
    right = np.maximum(shift, 0).astype(kind)
    return _ROUNDINGS[rounding](np.asarray(product + (first << right) if first else product), right)


def _away(values: Array, shift: Array) -> Array:
    size = (np.abs(values) + ((1 << shift) >> 1)) >> shift
    return np.asarray(np.where(values < 0, -size, size))


def _half_up(values: Array, shift: Array) -> Array:
    return np.asarray((values + ((1 << shift) >> 1)) >> shift)


def _even(values: Array, shift: Array) -> Array:
    """Half to even: a tie is where half up changes what the bits behind the point say, and is taken back if odd."""
    up = _half_up(values, shift)
    tie = (shift > 0) & ((up << shift) - values == ((1 << shift) >> 1))
    return np.where(tie & (up % 2 != 0), up - 1, up)


def _gemmlowp(values: Array, shift: Array) -> Array:
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT: two roundings, at 31 bits and at the rest."""
    first = np.minimum(shift, 31)
    return _away(_half_up(values, first), shift - first)


def _float32(accumulator: Array, multiplier: Array, shift: Array) -> Array:
    """As onnxruntime: a float32 of the accumulator times a float32, rounded half to even."""
    factor = (multiplier.astype(np.float64) / 2.0 ** shift.astype(np.float64)).astype(np.float32)
    return np.asarray(np.rint(accumulator.astype(np.float32) * factor).astype(np.int64))


_ROUNDINGS: dict[str, Callable[[Array, Array], Array]] = {
    "away": _away, "even": _even, "gemmlowp": _gemmlowp, "zero_first": _even,
}  # fmt: skip


def centred(layer: Layer, inputs: tuple[Array, ...], weights: Array | None) -> tuple[tuple[Array, ...], Array | None]:
    """The operands of a layer with MACs less their zero points, as the multipliers take them.

    Hardware that multiplies the stored integers gets the same sums by adding ``zero_point * sum(weights)`` to the
    bias and padding with the zero point (gemmlowp, doc/low-precision.md).
    """
    scales = layer.quantization
    shifted = tuple(
        _less(x, np.array(scales.inputs[i].zero_point if i < len(scales.inputs) else 0)) for i, x in enumerate(inputs)
    )
    if weights is None:
        return shifted, None
    zero = np.array(scales.weight_zero_point)
    column = isinstance(layer.op, Matmul) and not layer.op.transpose_b
    return shifted, _less(weights, zero if not zero.ndim or column else zero.reshape(-1, *(1,) * (weights.ndim - 1)))


def _less(values: Array, zero: Array) -> Array:
    """values - zero in a type that holds the difference."""
    if values.dtype.kind == "f" or not zero.any():
        return values
    wide = np.int64 if values.dtype.itemsize > 2 else np.int32 if values.dtype.itemsize > 1 else np.int16
    return np.asarray(values.astype(wide) - zero.astype(wide))


def real_numbers(values: Array, scale: Affine) -> npt.NDArray[np.float32]:
    """ONNX's DequantizeLinear: ``(q - zero_point) * scale`` in float32."""
    return ((values.astype(np.int64) - scale.zero_point).astype(np.float32)) * np.float32(scale.scale)


def quantized(values: Array, scale: Affine, to: NumberFormat, zero_point_first: bool = False) -> Array:
    """ONNX's QuantizeLinear: ``saturate(round(x / scale) + zero_point)`` in float32, half to even; nan as 0.

    With ``zero_point_first`` it is added before the rounding: a half goes to the other side if it is odd.
    """
    with np.errstate(all="ignore"):
        ratio = values.astype(np.float32) / np.float32(scale.scale)
        if zero_point_first:
            return rounded_to(ratio + np.float32(scale.zero_point), to)
        ratio = np.rint(ratio).astype(np.float64)
    ratio = np.where(np.isnan(ratio), 0.0, ratio) + scale.zero_point
    return np.asarray(np.clip(ratio, float(to.lowest), float(to.highest)).astype(to.storage))


def rounded_to(values: Array, to: NumberFormat) -> Array:
    """Nearest whole numbers, half to even, saturated; nan as 0."""
    whole = np.rint(np.where(np.isnan(values), 0.0, values))
    return np.asarray(np.clip(whole, float(to.lowest), float(to.highest)).astype(to.storage))


def fused_multiply_add(values: Any, factor: Any, term: Any) -> npt.NDArray[np.float32]:
    """``values * factor + term`` of float32 numbers, rounded once: their product is exact in float64."""
    wide, by, more = (np.asarray(x, np.float64) for x in (values, factor, term))
    return np.asarray(wide * by + more, np.float32)


# ---- factors -----------------------------------------------------------------------------------------------------


def fixed_rule(product: Array, output: Affine, rounding: Rounding) -> Requantize:
    """The rule for the factor ``product / output.scale`` (product: input scale x weight scale), one or one a channel.

    With *even*, *zero_first* and *float32* the factor is a float32, as ONNX computes it; else it has 31 bits (Jacob et
    al., CVPR 2018, arXiv 1712.05877, section 2.2).
    """
    if rounding in ("even", "float32", "zero_first"):
        factors = (product.astype(np.float32) / np.float32(output.scale)).astype(np.float32)
        return _rule(factors, 24, False, output.zero_point, rounding)
    return _rule(product.astype(np.float64) / output.scale, 31, rounding == "gemmlowp", output.zero_point, rounding)


def _rule(factors: Array, bits: int, keep: bool, zero_point: int, rounding: Rounding) -> Requantize:
    pairs = [fixed_factor(float(factor), bits, keep) for factor in factors.ravel()]
    if len(set(pairs)) == 1:
        return Requantize(*pairs[0], zero_point, rounding)
    multipliers, shifts = zip(*pairs, strict=True)
    return Requantize(multipliers, shifts, zero_point, rounding)


def fixed_factor(factor: float, bits: int, keep: bool = False) -> tuple[int, int]:
    """(multiplier, shift) with ``multiplier / 2**shift`` nearest to ``factor``, the multiplier of ``bits`` bits.

    Without ``keep`` trailing zeros of the multiplier are dropped, so that a power of two is a shift alone.
    """
    part, exponent = frexp(factor)
    multiplier, shift = round(part * (1 << bits)), bits - exponent
    if multiplier == 1 << bits:
        multiplier, shift = multiplier // 2, shift - 1
    while not keep and multiplier and multiplier % 2 == 0:
        multiplier, shift = multiplier // 2, shift - 1
    return multiplier, shift
