"""Operands of one tile in values mode: a convolution's windows by address arithmetic, a group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.base import Array
from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import Axis, Dims, LoopNest

Place = tuple[Any, ...]


class TileOperands:
    """The operands of a nest's tiles.

    ``image`` is N x (G*C) x H x W, ``weight`` (G*K) x C x R x S (private kernels: P x Q x K x C x R x S, a product a
    pixel). The last windows are remembered: tiles that differ in their output channels alone share them.
    """

    def __init__(self, nest: LoopNest, image: Array, weight: Array) -> None:
        self.nest = nest
        self.weight = kernel_type(weight)
        self.image = np.pad(kernel_type(image), ((0, 0), (0, 0), (1, 1), (1, 1)))  # one ring of zeros around
        self._key: tuple[int, ...] = ()
        self._windows: list[Array] = []

    def of(self, at: Dims, tile: Dims) -> Iterator[tuple[Array, Array, Place]]:
        """For each group of a tile that starts ``at``: pixels x reduction, reduction x channels, where the sums go.

        The place indexes N x G x K x P x Q. Operands keep integer types that the kernels take.
        """
        key = (*at._replace(K=0), *tile._replace(K=0))
        if key != self._key:
            self._key = key
            self._windows = [self._window(group, at, tile) for group in range(at.G, at.G + tile.G)]
        images, rows, columns = _span(at.N, tile.N), _span(at.P, tile.P), _span(at.Q, tile.Q)
        channels = _span(at.K, tile.K)
        taps = (_span(at.C, tile.C), _span(at.R, tile.R), _span(at.S, tile.S))
        if self.nest.private_weights:
            weight = self.weight[(slice(None), slice(None), channels, *taps)]
            yield from _private(self._windows[0], weight, at, tile, images, channels)
            return
        for offset, windows in enumerate(self._windows):
            first = (at.G + offset) * self.nest.dims.K + at.K
            right = self.weight[(_span(first, tile.K), *taps)].reshape(tile.K, tile.reduction).T
            left = windows.reshape(tile.pixels, tile.reduction)
            yield left, np.ascontiguousarray(right), (images, at.G + offset, channels, rows, columns)

    def _window(self, group: int, at: Dims, tile: Dims) -> Array:
        """N x P x Q x C x R x S: what the address generator reads; places outside the image read as zero."""
        first = group * self.nest.dims.C + at.C
        rows = _places(self.nest.rows, at.P, tile.P, at.R, tile.R)
        columns = _places(self.nest.columns, at.Q, tile.Q, at.S, tile.S)
        part = self.image[_span(at.N, tile.N), _span(first, tile.C)]
        windows = part[:, :, rows[:, :, None, None], columns[None, None, :, :]]  # N C P R Q S
        return np.ascontiguousarray(windows.transpose(0, 2, 4, 1, 3, 5))


def _private(
    windows: Array, weight: Array, at: Dims, tile: Dims, images: slice, channels: slice
) -> Iterator[tuple[Array, Array, Place]]:
    for p in range(tile.P):
        for q in range(tile.Q):
            left = np.ascontiguousarray(windows[:, p, q]).reshape(tile.N, tile.reduction)
            right = weight[at.P + p, at.Q + q].reshape(tile.K, tile.reduction).T
            place = (images, 0, channels, slice(at.P + p, at.P + p + 1), slice(at.Q + q, at.Q + q + 1))
            yield left, np.ascontiguousarray(right), place


def largest_sum(weight: Array, image: Array) -> int:
    """A bound on every partial sum of every output: the last three axes of ``weight`` are C, R, S."""
    if not weight.size or not image.size:
        return 0
    longest_row = int(np.abs(weight.astype(np.int64)).sum(axis=(-3, -2, -1)).max())
    return longest_row * max(abs(int(image.min())), abs(int(image.max())))


def _span(start: int, size: int) -> slice:
    return slice(start, start + size)


@lru_cache(maxsize=4096)
def _places(axis: Axis, first: int, outputs: int, tap: int, taps: int) -> npt.NDArray[np.int64]:
    """Index into the ringed image for each (output, tap); every place outside reads the ring."""
    offsets = np.add.outer(
        np.arange(first, first + outputs) * axis.stride, np.arange(tap, tap + taps) * axis.dilation
    )
    return np.asarray(np.clip(offsets - axis.pad, -1, axis.size) + 1)


def kernel_type(values: Array) -> Array:
    """int8, int16 or float32: the operand types that kernels are compiled for.

    Raises `InfeasibleError` for integers that do not fit 16 bits: nothing is ever cut off silently.
    """
    if values.dtype in (np.int8, np.int16, np.float32):
        return values
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    narrow = values.astype(np.int16)
    if not np.array_equal(narrow, values):
        raise InfeasibleError(
            "values mode",
            demand=f"operands from {values.min()} to {values.max()}",
            bound="integers of up to 16 bits, -32768 to 32767",
            levers=("narrower weight and input formats", "cycles mode, which takes any width"),
        )
    return narrow
