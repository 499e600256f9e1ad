"""Algorithms of convolution that transform tiles: which there are, and how an image is cut into their tiles.

A convolution by one of them is three layers (`accelsim.workload.expand`): the input's tiles are transformed, matrices are
multiplied (one product for each of the algorithm's ``planes``), and tiles of outputs are made of the products.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from accelsim.units import ceil_div
from accelsim.workload.fourier import Fourier
from accelsim.workload.winograd import F2X2, F4X4

Array = npt.NDArray[Any]
Fast = Literal["winograd_f2x2", "winograd_f4x4", "fft_8x8", "fft_16x16", "fft_32x32"]
Algorithm = Literal["direct", "winograd_f2x2", "winograd_f4x4", "fft_8x8", "fft_16x16", "fft_32x32"]
Window = tuple[int, int]


class Transforms(Protocol):
    """What is known of an algorithm: its tiles, its work, its arithmetic."""

    floats_only: ClassVar[bool]

    @property
    def tile(self) -> int:
        """Edge of an input tile."""

    @property
    def planes(self) -> int:
        """Products of matrices that a layer becomes."""

    @property
    def input_ops(self) -> int:
        """Operations that transform one tile of one channel."""

    def unsuited(self, window: Window) -> str:
        """Why a window does not suit; empty where it does."""

    def output_ops(self, integers: bool) -> int:
        """Operations that make one channel's outputs of a tile."""

    def transform_input(self, tiles: Array) -> Array:
        """Tiles [..., t, t] -> [planes, ...]."""

    def transform_weights(self, weights: Array) -> Array:
        """Filters [K, C, R, S] -> [planes, K, C]."""

    def gather(self, sums: Array, window: Window) -> Array:
        """Sums of products [planes, ...] -> tiles of outputs [..., t-R+1, t-S+1]."""


_ALGORITHMS: dict[str, Transforms] = {
    "winograd_f2x2": F2X2, "winograd_f4x4": F4X4,
    "fft_8x8": Fourier("fft_8x8", 8), "fft_16x16": Fourier("fft_16x16", 16), "fft_32x32": Fourier("fft_32x32", 32),
}  # fmt: skip
assert set(_ALGORITHMS) == set(get_args(Fast)) == set(get_args(Algorithm)) - {"direct"}


def transforms_of(name: str) -> Transforms:
    """The algorithm of that name, which is not ``direct``."""
    return _ALGORITHMS[name]


def unsuited(name: str, window: Window, stride: Window, dilation: Window, groups: int | str) -> str:
    """Why such a convolution cannot be done by the algorithm ``name``; empty where it can."""
    if name == "direct":
        return ""
    if stride != (1, 1):
        return f"is for a stride of 1, not {_pair(stride)}"
    if dilation != (1, 1):
        return f"is for a dilation of 1, not {_pair(dilation)}"
    if groups != 1:
        return f"is for one group, not {groups}"
    reason = transforms_of(name).unsuited(window)
    return f"{reason}, not {window[0]} x {window[1]}" if reason else ""


def _pair(numbers: Window) -> str:
    return str(numbers[0]) if numbers[0] == numbers[1] else f"{numbers[0]} x {numbers[1]}"


# ---- tiles -----------------------------------------------------------------------------------------------------------


def tile_step(name: str, window: Window) -> Window:
    """Rows and columns of outputs that a tile gives: how far one tile is from the next."""
    tile = transforms_of(name).tile
    return tile - window[0] + 1, tile - window[1] + 1


def tile_counts(name: str, window: Window, outputs: Window) -> Window:
    """Tiles down and across that cover so many rows and columns of outputs; the last may stick out."""
    step = tile_step(name, window)
    return ceil_div(outputs[0], step[0]), ceil_div(outputs[1], step[1])


def tiles_to_planes(name: str, window: Window, image: Array, pad: tuple[int, int, int, int], counts: Window) -> Array:
    """Images [N, C, H, W] -> transformed tiles [N, planes x C, tiles down, tiles across]."""
    algorithm, step = transforms_of(name), tile_step(name, window)
    top, _, left, _ = pad
    below, after = (
        max(0, (count - 1) * far + algorithm.tile - before - size)
        for count, far, before, size in zip(counts, step, (top, left), image.shape[2:], strict=True)
    )
    padded = np.pad(image, ((0, 0), (0, 0), (top, below), (left, after)))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (algorithm.tile, algorithm.tile), axis=(2, 3))
    tiles = tiles[:, :, : counts[0] * step[0] : step[0], : counts[1] * step[1] : step[1]]
    planes = np.moveaxis(algorithm.transform_input(tiles), 0, 1)
    return planes.reshape(len(image), -1, *counts)


def planes_to_image(name: str, window: Window, planes: Array, outputs: Window) -> Array:
    """Sums of products [N, planes x K, tiles down, tiles across] -> images [N, K, P, Q], ``outputs`` being P and Q."""
    algorithm = transforms_of(name)
    batch, _, down, across = planes.shape
    sums = np.moveaxis(planes.reshape(batch, algorithm.planes, -1, down, across), 1, 0)
    tiles = algorithm.gather(sums, window)  # N, K, down, across, rows, columns
    rows, columns = tiles.shape[-2:]
    image = tiles.swapaxes(3, 4).reshape(batch, -1, down * rows, across * columns)
    return np.ascontiguousarray(image[:, :, : outputs[0], : outputs[1]])
