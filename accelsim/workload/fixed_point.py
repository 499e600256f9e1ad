"""Fixed point: saturation, rounding half away from zero, and outputs made of accumulators."""

from __future__ import annotations

from math import log2, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.workload.network import Layer
from accelsim.workload.ops import LocallyConnected2d, Matmul
from accelsim.workload.precision import NumberFormat, Precision

Array = npt.NDArray[Any]
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
    """``saturate(round(accumulator * multiplier / 2**shift) + zero_point)`` in the output's storage type.

    An output in the accumulator's own format is the bare accumulator, unless the layer states a scale.
    ``shift`` None is `default_shift` of ``reduction``; 0 where a format is a float. No integer overflows on
    the way.
    """
    out, scale, shift = layer.precision.output, layer.requantize, layer.requantize.shift
    integers = accumulator.dtype.kind in "iu" and out.is_integer
    if shift is None:
        bare = out == layer.precision.accumulator or not integers
        shift = 0 if bare else default_shift(layer.precision, reduction)
    if integers:
        return rescale(accumulator, scale.multiplier, shift, scale.zero_point, out)
    values = accumulator.astype(np.float64) * (scale.multiplier / 2.0**shift)
    if not out.is_integer:
        return (values + scale.zero_point).astype(np.float32)
    return to_fixed(round_away(values) + scale.zero_point, 0, out)


def rescale(accumulator: Array, multiplier: int, shift: int, zero_point: int, out: NumberFormat) -> Array:
    """``saturate(round(accumulator * multiplier / 2**shift) + zero_point)`` of integers, exactly."""
    if shift < 0:
        multiplier, shift = multiplier << -shift, 0
    peak = max(int(accumulator.max()), -int(accumulator.min())) if accumulator.size else 0
    largest = peak * abs(multiplier) + abs(zero_point) + (1 << shift)
    wide = accumulator.astype(np.int64 if largest < 1 << 62 else object)
    return saturate(shift_rounded(wide * multiplier, shift) + zero_point, out)
