"""Integer-only requantization: each rounding against exact fractions, gemmlowp's C, numpy's float64."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.workload.fixed_point import fixed_factor, fixed_rule, quantized, real_numbers, rescaled
from accelsim.workload.network import Affine
from accelsim.workload.precision import NumberFormat

SUMS = st.integers(-(2**31), 2**31 - 1)


def one(total: int, multiplier: int, shift: int, rounding: str) -> int:
    found = rescaled(np.array([total], np.int64), np.array(multiplier), np.array(shift), rounding)  # type: ignore[arg-type]
    return int(found[0])


@given(SUMS, st.integers(1, 2**31 - 1), st.integers(-3, 80))
@settings(max_examples=300, deadline=None)
def test_exact_roundings(total: int, multiplier: int, shift: int) -> None:
    value = Fraction(total * multiplier) / Fraction(2) ** shift
    away = floor(abs(value) + Fraction(1, 2)) * (-1 if value < 0 else 1)
    assert one(total, multiplier, shift, "away") == away
    assert one(total, multiplier, shift, "even") == round(value)


def gemmlowp(total: int, multiplier: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier as gemmlowp's fixedpoint.h and TFLite's common.h have it, in plain integers."""
    left, right = max(31 - shift, 0), max(shift - 31, 0)
    product = (total << left) * multiplier
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = abs(product + nudge) // (1 << 31) * (1 if product + nudge >= 0 else -1)  # C divides towards zero
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> right) + (1 if (high & mask) > threshold else 0)


@given(st.integers(-(2**27), 2**27), st.integers(2**30, 2**31 - 1), st.integers(28, 50))
@settings(max_examples=300, deadline=None)
def test_gemmlowps_two_roundings(total: int, multiplier: int, shift: int) -> None:
    assert one(total, multiplier, shift, "gemmlowp") == gemmlowp(total, multiplier, shift)


@pytest.mark.parametrize(("total", "expected"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (7, 4)])
def test_ties_go_to_even(total: int, expected: int) -> None:
    assert one(total, 1, 1, "even") == expected


@given(st.integers(-(2**28), 2**28), st.floats(2.0**-20, 4, width=32))
@settings(max_examples=200, deadline=None)
def test_even_is_what_numpy_makes_of_a_float32_factor(total: int, factor: float) -> None:
    """onnx.reference multiplies int32 by float32 in float64, and rounds: the same integers."""
    multiplier, shift = fixed_factor(factor, 24)
    assert Fraction(multiplier) / Fraction(2) ** shift == Fraction(factor)
    assert one(total, multiplier, shift, "even") == int(np.rint(np.float64(total) * np.float64(np.float32(factor))))


def test_rules_of_channels_and_powers_of_two() -> None:
    rule = fixed_rule(np.array([0.5, 0.25], np.float32), Affine(1.0, 3), "even")
    assert (rule.multiplier, rule.shift, rule.zero_point) == ((1, 1), (1, 2), 3)
    single = fixed_rule(np.array([0.5, 0.5], np.float32), Affine(2.0), "away")
    assert (single.multiplier, single.shift) == (1, 2)
    gemm = fixed_rule(np.array(0.3), Affine(1.0), "gemmlowp")
    assert isinstance(gemm.multiplier, int)
    assert 2**30 <= gemm.multiplier < 2**31


def test_quantize_and_dequantize_are_onnxs() -> None:
    from onnx.reference.ops.op_quantize_linear import QuantizeLinear_19

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 50, 500), np.arange(-9, 9) * 0.25]).astype(np.float32)
    for scale in (0.5, 0.3):
        expected = QuantizeLinear_19._run(object.__new__(QuantizeLinear_19), values, np.float32(scale), np.uint8(7))[0]
        found = quantized(values, Affine(scale, 7), NumberFormat("uint", 8))
        np.testing.assert_array_equal(found, expected)
        back = (found.astype(np.float32) - np.float32(7)) * np.float32(scale)
        np.testing.assert_array_equal(real_numbers(found, Affine(scale, 7)), back)
