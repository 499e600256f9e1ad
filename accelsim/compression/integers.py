"""Float weights as integers: the number formats that the literature offers, each a small function.

A `IntegerWeights` stands for ``(values - zero_point) * scale``; scale and zero point are one number, or one an output
channel (the first axis; ``channel_axis`` says otherwise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from accelsim.compression.arrays import Array, Floats
from accelsim.compression.ranges import Method, choose_range
from accelsim.workload.precision import NumberFormat

_MOST_EXPONENTS = 15  # so that the powers fit 16 bits; what is smaller yet than 2**-15 of the largest is 0
Kind = Literal["affine", "symmetric", "fixed", "log2", "binary", "ternary"]


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """Integers of ``format`` for the real ``(values - zero_point) * scale``; ``codebook``: few distinct values."""

    values: npt.NDArray[np.int64]
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    format: NumberFormat
    codebook: bool = False

    def real(self, channel_axis: int = 0) -> Floats:
        """The numbers that the integers stand for."""
        scale, zero = (_along(part, self.values.ndim, channel_axis) for part in (self.scale, self.zero_point))
        return ((self.values - zero) * scale).astype(np.float32)


def _along(part: Array, rank: int, axis: int) -> Array:
    shape = [1] * rank
    shape[axis] = -1
    return part.reshape(shape) if part.ndim else part


@dataclass(frozen=True)
class WeightRule:
    """How weights become integers; see `IntegerWeights` and `quantize_weights`."""

    kind: Kind = "symmetric"
    bits: int = 8
    per_channel: bool = False
    range: Method = "minmax"
    percentile: float = 99.9


def quantize_weights(weights: Floats, rule: WeightRule, channel_axis: int = 0) -> IntegerWeights:
    """``weights`` as integers by ``rule``; `ValueError` where they have no scale.

    affine    scale (high - low) / (2**b - 1), the zero point rounded (Jacob et al., CVPR 2018, arXiv 1712.05877)
    symmetric scale max|w| / (2**(b-1) - 1), zero point 0
    fixed     scale 2**-f, f of least absolute error (Qiu et al., FPGA 2016: dynamic precision)
    log2      sign * 2**e, e in the 2**(b-1) - 1 exponents (15 at most) up to the largest weight's (Miyashita et al., 2016,
              arXiv 1603.01025); integers are the powers themselves, over the smallest
    binary    sign(w) * mean|w| of an output channel (Rastegari et al., XNOR-Net, 2016, arXiv 1603.05279)
    ternary   0 within 0.7 mean|w|, else the sign times the mean of the others (Li et al., 2016, arXiv 1605.04711)
    """
    if rule.kind in ("binary", "ternary") or rule.per_channel:
        return _by_channel(weights, rule, channel_axis)
    return _RULES[rule.kind](weights, rule)


def _by_channel(weights: Floats, rule: WeightRule, axis: int) -> IntegerWeights:
    rows = np.moveaxis(weights, axis, 0)
    parts = [_RULES[rule.kind](row, rule) for row in rows]
    values = np.moveaxis(np.stack([part.values for part in parts]), 0, axis)
    scale, zero = (np.stack([getattr(part, key) for part in parts]) for key in ("scale", "zero_point"))
    return IntegerWeights(np.ascontiguousarray(values), scale, zero, parts[0].format, parts[0].codebook)


def _made(values: Array, scale: float, format: NumberFormat, codebook: bool = False) -> IntegerWeights:
    clipped = np.clip(np.asarray(values), format.lowest, format.highest).astype(np.int64)
    return IntegerWeights(clipped, np.array(scale, np.float32), np.array(0, np.int64), format, codebook)


def _scale_of(span: float, steps: int) -> float:
    """A float32 scale; 1 for weights that are all zero, which any scale says."""
    scale = float(np.float32(span / steps))
    return scale if scale > 0 else 1.0


def _affine(weights: Floats, rule: WeightRule) -> IntegerWeights:
    low, high = choose_range(weights, rule.bits, rule.range, rule.percentile)
    out = NumberFormat("int", rule.bits)
    scale = _scale_of(high - low, (1 << rule.bits) - 1)
    zero = int(np.clip(np.rint(out.lowest - low / scale), out.lowest, out.highest))
    values = np.clip(np.rint(weights / np.float32(scale)) + zero, out.lowest, out.highest).astype(np.int64)
    return IntegerWeights(values, np.array(scale, np.float32), np.array(zero, np.int64), out)


def _symmetric(weights: Floats, rule: WeightRule) -> IntegerWeights:
    _, high = choose_range(weights, rule.bits, rule.range, rule.percentile, symmetric=True)
    most = (1 << (rule.bits - 1)) - 1
    scale = _scale_of(high, most)
    values = np.clip(np.rint(weights / np.float32(scale)), -most, most)
    return _made(values, scale, NumberFormat("int", rule.bits))


def _fixed(weights: Floats, rule: WeightRule) -> IntegerWeights:
    out = NumberFormat("int", rule.bits)
    scale = 2.0 ** -best_radix(weights, out)
    return _made(np.rint(weights / np.float32(scale)), scale, out)


def best_radix(values: Array, to: NumberFormat) -> int:
    """Fraction bits that leave the least sum of absolute errors (Qiu et al., FPGA 2016, section 5.1)."""
    peak = float(np.max(np.abs(values)))
    if peak == 0:
        return to.bits - 1
    most = to.bits - 1 - int(np.floor(np.log2(peak)))  # beyond it the peak is cut to less than half
    return min(range(most - to.bits, most + 1), key=lambda f: _fixed_error(values, to, f))


def _fixed_error(values: Array, to: NumberFormat, fraction: int) -> float:
    kept = np.clip(np.rint(values * 2.0**fraction), to.lowest, to.highest) / 2.0**fraction
    return float(np.abs(values - kept).sum())


def _log2(weights: Floats, rule: WeightRule) -> IntegerWeights:
    size = np.abs(weights.astype(np.float64))
    peak = float(size.max())
    count = min((1 << (rule.bits - 1)) - 1, _MOST_EXPONENTS)
    top = int(np.rint(np.log2(peak))) if peak else 0
    with np.errstate(divide="ignore"):
        exponent = np.rint(np.log2(size)) - (top - count + 1)
    values = np.where(exponent >= 0, np.sign(weights) * 2.0 ** np.clip(exponent, 0, count - 1), 0)
    return _made(values, 2.0 ** (top - count + 1), NumberFormat("int", count + 1), codebook=True)


def _binary(weights: Floats, rule: WeightRule) -> IntegerWeights:
    del rule
    scale = _scale_of(float(np.abs(weights).mean()), 1)
    return _made(np.where(weights < 0, -1, 1), scale, NumberFormat("int", 2), codebook=True)


def _ternary(weights: Floats, rule: WeightRule) -> IntegerWeights:
    del rule
    size = np.abs(weights)
    kept = size > 0.7 * size.mean()
    scale = _scale_of(float(size[kept].mean()) if kept.any() else 0.0, 1)
    return _made(np.sign(weights) * kept, scale, NumberFormat("int", 2), codebook=True)


_RULES = {
    "affine": _affine, "symmetric": _symmetric, "fixed": _fixed, "log2": _log2, "binary": _binary, "ternary": _ternary,
}  # fmt: skip
