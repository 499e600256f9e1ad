"""Layers as matrices and vectors, for the sparse engine: a matrix a group, a vector a batch row or output pixel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from accelsim.engines.base import Array, Operands
from accelsim.mapping.loopnest import Axis, LoopNest, lower
from accelsim.workload import functional
from accelsim.workload.network import Layer
from accelsim.workload.ops import Conv2d, Matmul, Recurrent

Int64s = npt.NDArray[np.int64]


def groups(layer: Layer, operands: Operands) -> Iterator[tuple[Array, Array, Int64s | None]]:
    """(matrix out x in, vectors n x in, bias) of each group."""
    if isinstance(layer.op, Conv2d):
        assert operands.weight is not None
        nest = next(work for work in lower(layer).work if isinstance(work, LoopNest))
        size = nest.dims.K
        for group in range(nest.dims.G):
            weight = operands.weight[group * size : (group + 1) * size].reshape(size, -1)
            bias = None if operands.bias is None else operands.bias[group * size : (group + 1) * size]
            yield weight, _windows(operands.inputs[0], nest, group), bias
        return
    if len(operands.inputs) == 2:
        assert isinstance(layer.op, Matmul)
        batch, m, _, k = layer.op.sizes(layer.input_shapes)
        right = operands.inputs[1].reshape(batch, -1, operands.inputs[1].shape[-1])
        right = right if layer.op.transpose_b else right.transpose(0, 2, 1)
        left = operands.inputs[0].reshape(batch, m, k)
        for group in range(batch):
            yield right[group], left[group], operands.bias
        return
    assert operands.weight is not None
    weight = operands.weight
    if isinstance(layer.op, Matmul) and not layer.op.transpose_b:
        weight = weight.T
    yield weight, operands.inputs[0].reshape(-1, weight.shape[1]), operands.bias


def _windows(image: Array, nest: LoopNest, group: int) -> Array:
    """The window of every output pixel of one group, (N*P*Q) x (C*R*S). ``image`` is N x (G*C) x H x W."""
    d = nest.dims
    rows, columns = _taps(nest.rows, d.P, d.R), _taps(nest.columns, d.Q, d.S)
    # one ring of zeros around the image: every place outside it reads there
    padded = np.pad(image[:, group * d.C : (group + 1) * d.C], ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = padded[:, :, rows[:, :, None, None], columns[None, None, :, :]]  # N C P R Q S
    return np.asarray(found.transpose(0, 2, 4, 1, 3, 5).reshape(d.pixels, d.reduction))


def _taps(axis: Axis, outputs: int, taps: int) -> Int64s:
    """Places along one axis of the ringed image that output p and filter tap r read, outputs x taps."""
    places = np.add.outer(np.arange(outputs) * axis.stride, np.arange(taps) * axis.dilation) - axis.pad
    return np.asarray(np.clip(places, -1, axis.size) + 1)


def assemble(layer: Layer, parts: list[Int64s]) -> Array:
    """Accumulators of the groups as the layer's output, requantized."""
    shape = layer.output_shapes[0]
    if isinstance(layer.op, Conv2d):
        n, k, p, q = shape
        stacked = np.concatenate(parts, axis=1).reshape(n, p, q, k).transpose(0, 3, 1, 2)
    else:
        stacked = np.stack(parts) if len(parts) > 1 else parts[0]
    reduction = layer.macs // int(np.prod(shape))
    return functional.requantize(np.ascontiguousarray(stacked).reshape(shape), layer, reduction)


def stand_in(layer: Layer) -> Operands:
    """Random operands of a layer's densities, for a run without values."""
    from accelsim.workload.values import weight_values

    random = np.random.default_rng(0)
    density = layer.input_values.density
    inputs = tuple(
        np.where(random.random(shape) < density, random.integers(1, 100, shape), 0).astype(np.int32)
        for shape in layer.input_shapes
    )
    weight = weight_values(layer, 0) if layer.weight_shape is not None else None
    if not isinstance(layer.op, Recurrent):
        return Operands(inputs, weight)
    from accelsim.workload.values import peephole_values, projection_values

    projection = projection_values(layer, 0) if layer.op.projection else None
    return Operands(inputs, weight, None, projection, peephole_values(layer, 0) if layer.op.peepholes else None)
