"""Operands of one tile in values mode: a convolution's windows by address arithmetic, a group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.base import Array
from accelsim.mapping.loopnest import Axis, Dims, LoopNest

Place = tuple[Any, ...]


def tile_operands(
    nest: LoopNest, at: Dims, tile: Dims, image: Array, weight: Array
) -> Iterator[tuple[Array, Array, Place]]:
    """For each group of a tile that starts ``at``: pixels x reduction, reduction x channels, and where the sums go.

    ``image`` is N x (G*C) x H x W, ``weight`` (G*K) x C x R x S (private kernels: P x Q x K x C x R x S, a product a
    pixel). The place indexes N x G x K x P x Q. Operands keep integer types that the kernels take.
    """
    image, weight = kernel_type(image), kernel_type(weight)
    images, rows, columns = _span(at.N, tile.N), _span(at.P, tile.P), _span(at.Q, tile.Q)
    channels = _span(at.K, tile.K)
    taps = (_span(at.C, tile.C), _span(at.R, tile.R), _span(at.S, tile.S))
    for group in range(at.G, at.G + tile.G):
        windows = _windows(nest, group, at, tile, image[images])
        if nest.private_weights:
            yield from _private(windows, weight[(slice(None), slice(None), channels, *taps)], at, tile, images, channels)
            continue
        left = np.ascontiguousarray(windows).reshape(tile.pixels, tile.reduction)
        first = group * nest.dims.K
        right = weight[(slice(first + at.K, first + at.K + tile.K), *taps)].reshape(tile.K, tile.reduction).T
        yield left, np.ascontiguousarray(right), (images, group, channels, rows, columns)


def _private(
    windows: Array, weight: Array, at: Dims, tile: Dims, images: slice, channels: slice
) -> Iterator[tuple[Array, Array, Place]]:
    for p in range(tile.P):
        for q in range(tile.Q):
            left = np.ascontiguousarray(windows[:, p, q]).reshape(tile.N, tile.reduction)
            right = weight[at.P + p, at.Q + q].reshape(tile.K, tile.reduction).T
            place = (images, 0, channels, slice(at.P + p, at.P + p + 1), slice(at.Q + q, at.Q + q + 1))
            yield left, np.ascontiguousarray(right), place


def _span(start: int, size: int) -> slice:
    return slice(start, start + size)


def _windows(nest: LoopNest, group: int, at: Dims, tile: Dims, image: Array) -> Array:
    """N x P x Q x C x R x S: what the address generator reads; places outside the image read as zero."""
    first = group * nest.dims.C + at.C
    part = np.pad(image[:, first : first + tile.C], ((0, 0), (0, 0), (1, 1), (1, 1)))  # one ring of zeros around
    rows = _places(nest.rows, at.P, tile.P, at.R, tile.R)
    columns = _places(nest.columns, at.Q, tile.Q, at.S, tile.S)
    windows = part[:, :, rows[:, :, None, None], columns[None, None, :, :]]  # N C P R Q S
    return windows.transpose(0, 2, 4, 1, 3, 5)


def _places(axis: Axis, first: int, outputs: int, tap: int, taps: int) -> npt.NDArray[np.int64]:
    """Index into the ringed image for each (output, tap); every place outside reads the ring."""
    offsets = np.add.outer(
        np.arange(first, first + outputs) * axis.stride, np.arange(tap, tap + taps) * axis.dilation
    )
    return np.clip(offsets - axis.pad, -1, axis.size) + 1


def kernel_type(values: Array) -> Array:
    """int8, int16 or float32: the operand types that kernels are compiled for."""
    if values.dtype in (np.int8, np.int16, np.float32):
        return values
    if values.dtype == np.uint8:
        return values.astype(np.int16)
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int16)
