"""Do layers without MACs use the constants that they are given: operands, slopes, bounds, scales and shifts?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accelsim.errors import InputError
from accelsim.workload.functional import evaluate
from accelsim.workload.network import Affine, Held, Layer, LayerSketch, Provided, Quantization, build_network
from accelsim.workload.ops import OPERATOR_BY_NAME
from accelsim.workload.precision import NumberFormat, Precision

FP32, INT8, UINT8 = NumberFormat("fp", 32), NumberFormat("int", 8), NumberFormat("uint", 8)
FLOATS = Precision(weight=FP32, input=FP32, accumulator=FP32, output=FP32)
X = np.array([[[-2.0, 0.5], [3.0, -0.25]]], np.float32)


def layer(op: str, *, weight: Any = None, bias: Any = None, precision: Precision = FLOATS, **fields: Any) -> Layer:
    made = OPERATOR_BY_NAME[op].model_validate({"op": op, **fields})
    sketch = LayerSketch("y", made, ("x",), precision)
    if weight is not None:
        sketch = replace(sketch, weight=Provided(provider=Held(np.asarray(weight))))
    if bias is not None:
        sketch = replace(sketch, bias=Provided(provider=Held(np.asarray(bias))))
    return build_network("n", 1, {"x": (2, 2)}, (sketch,)).layers[0]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (layer("add", weight=np.float32([1, 2])), X + np.float32([1, 2])),
        (layer("mul", weight=np.float32([[10], [20]])), X * [[10], [20]]),
        (layer("sub", weight=np.float32([1, 2]), constant_first=True), [1, 2] - X),
        (layer("sub", value=1.0, constant_first=True), 1 - X),
        (layer("div", value=1.0, constant_first=True), 1 / X),
        (layer("prelu", weight=np.float32([0.5, 0.25])), np.where(X < 0, X * [0.5, 0.25], X)),
        (layer("clip", low=-1, high=2), np.clip(X, -1, 2)),
        (layer("clip", high=0.25), np.minimum(X, 0.25)),
        (layer("clip"), X),
        (layer("batchnorm", weight=np.float32([2, 3]), bias=np.float32([1, -1])), X * [[2], [3]] + [[1], [-1]]),
        (layer("batchnorm"), X),
    ],
)
def test_floats(made: Layer, expected: Any) -> None:
    np.testing.assert_allclose(evaluate(made, (X,))[0], expected, rtol=1e-6)


def test_a_layer_normalization_has_scale_shift_and_epsilon() -> None:
    made = layer("layernorm", weight=np.float32([2, 3]), bias=np.float32([1, -1]), epsilon=0.5)
    normal = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 0.5)
    np.testing.assert_allclose(evaluate(made, (X,))[0], normal * [2, 3] + [1, -1], rtol=1e-5)


def test_on_plain_integers_bounds_and_constants_are_real_numbers() -> None:
    integers = Precision(weight=INT8, input=INT8, accumulator=NumberFormat("int", 32), output=INT8)
    q = np.array([[[-128, 16], [40, 127]]], np.int8)  # of scale 1/16
    np.testing.assert_array_equal(evaluate(layer("clip", low=-1, high=2.5, precision=integers), (q,))[0], np.clip(q, -16, 40))
    found = evaluate(layer("sub", value=1.0, constant_first=True, precision=integers), (q,))[0]
    np.testing.assert_array_equal(found, np.clip(16 - q.astype(int), -128, 127))
    slopes = layer("prelu", weight=np.float32([0.5, 1.0]), precision=integers)
    np.testing.assert_array_equal(evaluate(slopes, (q,))[0], [[[-64, 16], [40, 127]]])


def test_an_operand_held_as_integers_has_the_scale_after_the_inputs() -> None:
    bytes_ = Precision(weight=INT8, input=UINT8, accumulator=NumberFormat("int", 32), output=UINT8)
    made = layer("mul", weight=np.array([3, 5], np.uint8), precision=bytes_)
    made = replace(made, quantization=Quantization((Affine(0.5, 2), Affine(0.25, 1)), 0, Affine(0.125, 7)))
    q = np.array([[[2, 4], [10, 255]]], np.uint8)
    expected = np.clip((q.astype(int) - 2) * (np.array([3, 5]) - 1) + 7, 0, 255)
    np.testing.assert_array_equal(evaluate(made, (q,))[0], expected)


def test_fused_kernels_add_the_zero_point_before_they_round() -> None:
    """0.5 + 3 is nearest to 4 as an even number; 0.5 alone rounds to 0, and 3 is what is left."""
    bytes_ = Precision(weight=INT8, input=UINT8, accumulator=NumberFormat("int", 32), output=UINT8)
    made = replace(
        layer("mul", weight=np.array(1, np.uint8), precision=bytes_),
        quantization=Quantization((Affine(0.5), Affine(1.0)), 0, Affine(1.0, 3)),
    )
    q = np.array([[[1, 3], [5, 7]]], np.uint8)
    np.testing.assert_array_equal(evaluate(made, (q,))[0], [[[4, 4], [6, 6]]])
    plain = replace(made, quantization=replace(made.quantization, fused=False))
    np.testing.assert_array_equal(evaluate(plain, (q,))[0], [[[3, 5], [5, 7]]])


def test_constants_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(InputError, match=r"y.weight: has the shape 3, must broadcast over 1 x 2 x 2"):
        evaluate(layer("add", weight=np.float32([1, 2, 3])), (X,))
    with pytest.raises(InputError, match=r"y.weight: element \[1\] is nan, must be a finite number"):
        evaluate(layer("add", weight=np.float32([1, np.nan])), (X,))
