"""What layers with multiply-accumulates compute: plain int64 (or float64) numpy, written for the tests alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim.workload.network import Layer
from accelsim.workload.ops import Conv2d, Linear, LocallyConnected2d, Matmul


def sums(layer: Layer, inputs: list[Any], weight: Any) -> Any:
    """The exact accumulators of ``layer``, in the shape of its output."""
    wide = np.float64 if inputs[0].dtype.kind == "f" else np.int64
    first = inputs[0].astype(wide)
    right = (inputs[1] if weight is None else weight).astype(wide)
    op, shape = layer.op, layer.output_shapes[0]
    if isinstance(op, Linear):
        return (first.reshape(-1, right.shape[1]) @ right.T).reshape(shape)
    if isinstance(op, Matmul):
        return first @ (np.swapaxes(right, -1, -2) if op.transpose_b else right)
    assert isinstance(op, Conv2d | LocallyConnected2d)
    return _convolution(op, first, right, shape)


def _convolution(op: Conv2d | LocallyConnected2d, image: Any, weight: Any, shape: tuple[int, ...]) -> Any:
    """One output pixel and output channel at a time, straight from the definition."""
    batch, channels, height, width = shape
    top, bottom, left, right = op.pad
    padded = np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)))
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    groups = op.group_count(image.shape[1]) if isinstance(op, Conv2d) else 1
    depth, per_group = image.shape[1] // groups, channels // groups
    out = np.zeros(shape, image.dtype)
    for n in range(batch):
        for k in range(channels):
            first = k // per_group * depth
            for p in range(height):
                for q in range(width):
                    kernel = weight[k] if isinstance(op, Conv2d) else weight[p, q, k]
                    y, x = p * op.stride[0], q * op.stride[1]
                    rows = slice(y, y + dilation[0] * (op.R - 1) + 1, dilation[0])
                    columns = slice(x, x + dilation[1] * (op.S - 1) + 1, dilation[1])
                    out[n, k, p, q] = (padded[n, first : first + depth, rows, columns] * kernel).sum()
    return out
