"""Accumulators of every operator that is a plain sum of products: exact, and no model of any hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accelsim.workload.fixed_point import Array, reduction_length
from accelsim.workload.network import Layer
from accelsim.workload.ops import Conv2d, Linear, LocallyConnected2d, Matmul, Op

_EXACT_FLOAT = 1 << 53  # below it, sums of integers are exact in float64, whose matrix product is fast


def mac_reference(
    layer: Layer, inputs: tuple[Array, ...], weights: Array | None = None, bias: Array | None = None
) -> Array:
    """The exact accumulators of a convolution (shared or private kernels), linear layer or matrix product.

    int64, or float64 where an operand is a float; in the shape of the layer's output. ``weights`` in the
    layout of `Layer.weight_shape`; a matrix product of two activations has none.
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
        sums = matrix_product(left.reshape(-1, right.shape[1]), right.T)
    else:
        assert isinstance(op, Matmul), f"{op.op} is no plain sum of products"
        turned = np.swapaxes(right, -1, -2) if op.transpose_b else right
        sums = (
            left @ turned.astype(work)
            if turned.ndim > 2
            else matrix_product(left.reshape(-1, left.shape[-1]), turned)
        )
    floats = inputs[0].dtype.kind == "f" or right.dtype.kind == "f"
    result = sums.reshape(shape).astype(np.float64 if floats else np.int64)
    return result if bias is None else result + bias_of(bias, op)


def _work_type(left: Array, right: Array, reduction: int) -> Any:
    """float64 where every partial sum is exact in it (its matrix product is fast), else int64."""
    if left.dtype.kind == "f" or right.dtype.kind == "f":
        return np.float64
    return np.float64 if _peak(left) * _peak(right) * reduction < _EXACT_FLOAT else np.int64


def _peak(values: Array) -> int:
    return max(int(values.max()), -int(values.min()))


def matrix_product(left: Array, right: Array) -> Array:
    """left @ right, converting a block of ``right`` at a time."""
    columns = max(1, (1 << 22) // right.shape[0])
    starts = range(0, right.shape[1], columns)
    return np.concatenate([left @ right[:, at : at + columns].astype(left.dtype) for at in starts], axis=1)


def _convolved(image: Array, weights: Array, op: Conv2d, shape: tuple[int, ...]) -> Array:
    n, k, p, q = shape
    groups, depth = op.group_count(image.shape[1]), weights.shape[1]
    padded = _padded(
        image, op.pad, (p, q), op.stride, (op.dilation[0] * (op.R - 1), op.dilation[1] * (op.S - 1))
    )
    matrices = weights.astype(image.dtype).reshape(groups, k // groups, depth * op.R * op.S)
    sums = np.empty((n, groups, k // groups, p * q), image.dtype)
    for sample, total in zip(padded, sums, strict=True):  # the windows of one sample at a time: they are large
        windows = np.empty((image.shape[1], op.R, op.S, p, q), image.dtype)
        for r in range(op.R):
            for s in range(op.S):
                windows[:, r, s] = window_tap(
                    sample[None], r * op.dilation[0], s * op.dilation[1], (p, q), op.stride
                )[0]
        np.matmul(matrices, windows.reshape(groups, -1, p * q), out=total)
    return sums


def _convolved_privately(
    image: Array, weights: Array, op: LocallyConnected2d, shape: tuple[int, ...]
) -> Array:
    out = (shape[2], shape[3])
    padded = _padded(image, op.pad, out, op.stride, (op.R - 1, op.S - 1))
    sums = np.zeros(shape, image.dtype)
    for r in range(op.R):
        for s in range(op.S):
            tap = window_tap(padded, r, s, out, op.stride)
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


def bias_of(bias: Array, op: Op) -> Array:
    """A bias in a shape that broadcasts over the layer's output."""
    return bias.reshape(-1, 1, 1) if isinstance(op, Conv2d) else bias


def window_tap(image: Array, row: int, column: int, out: tuple[int, int], stride: tuple[int, int]) -> Array:
    """The element at ``row``, ``column`` of every window of a padded image: a view."""
    rows = slice(row, row + (out[0] - 1) * stride[0] + 1, stride[0])
    return image[:, :, rows, column : column + (out[1] - 1) * stride[1] + 1 : stride[1]]


def sums_of_products(values: Array, weights: Array) -> Array:
    """values (N x in) times weights (out x in), exact: int64, or float64 with floats."""
    work = _work_type(values, weights, weights.shape[1])
    sums = values.astype(work) @ weights.T.astype(work)
    floats = "f" in (values.dtype.kind, weights.dtype.kind)
    return np.asarray(sums if floats else sums.astype(np.int64))
