"""Convolution by the Fourier transform of tiles (overlap-save), with three real products a complex one.

A tile of n x n inputs gives (n-R+1) x (n-S+1) outputs: those of a circular correlation that the wrap does not reach. The
spectrum of real numbers has n^2/2 - 2 complex and 4 real points that are not the conjugate of another; a complex product
takes three real ones (Gauss). So a layer is ``3 (n^2/2 - 2) + 4`` products of matrices. Tiles, and Gauss's form for the
sums over channels: A. Zlateski et al., "FFT Convolutions are Faster than Winograd on Modern CPUs, Here's Why", arXiv
1809.07851.

Work by the convention of FFT benchmarks, 5 N log2 N operations for a complex transform of N = n^2 points and half of that
for real numbers, and the additions of Gauss's form: one a complex point going in, two coming out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Fourier:
    """Convolution over tiles of ``tile`` x ``tile`` inputs, a power of two."""

    name: str
    tile: int
    floats_only: ClassVar[bool] = True

    @property
    def complex_points(self) -> int:
        """Points of a real tile's spectrum that are neither real nor another's conjugate."""
        return self.tile**2 // 2 - 2

    @property
    def planes(self) -> int:
        return 4 + 3 * self.complex_points

    def unsuited(self, window: tuple[int, int]) -> str:
        """Why a window does not suit; empty where it does."""
        if window == (1, 1):
            return "is for windows larger than 1 x 1"
        return "" if max(window) <= self.tile else f"is for windows of at most {self.tile} x {self.tile}"

    # ---- work --------------------------------------------------------------------------------------------------

    @property
    def _transform_ops(self) -> int:
        """Half of 5 N log2 N, N = n^2."""
        return 5 * self.tile**2 * (self.tile.bit_length() - 1)

    @property
    def input_ops(self) -> int:
        """Operations that transform one tile of one channel."""
        return self._transform_ops + self.complex_points

    def output_ops(self, integers: bool) -> int:
        """Operations that make one channel's outputs of a tile."""
        assert not integers, "the points of a spectrum are no integers"
        return self._transform_ops + 2 * self.complex_points

    # ---- values ------------------------------------------------------------------------------------------------

    def transform_input(self, tiles: Array) -> Array:
        """Tiles [..., n, n] -> [planes, ...]: the real points, then real parts, imaginary parts and their sums."""
        real, points = self._points(np.fft.rfft2(tiles.astype(np.float64)))
        return np.concatenate([real, points.real, points.imag, points.real + points.imag]).astype(np.float32)

    def transform_weights(self, weights: Array) -> Array:
        """Filters [K, C, R, S] -> [planes, K, C], conjugate, since a layer correlates; float64."""
        size = (self.tile, self.tile)
        real, points = self._points(np.conj(np.fft.rfft2(weights.astype(np.float64), s=size)))
        return np.concatenate([real, points.imag - points.real, points.real + points.imag, points.real])

    def gather(self, sums: Array, window: tuple[int, int]) -> Array:
        """Sums of products [planes, ...] -> tiles of outputs [..., n-R+1, n-S+1]: float32."""
        n, half = self.tile, self.tile // 2
        wide = sums.astype(np.float64)
        second, third, first = np.split(wide[4:], 3)
        spectrum = np.zeros((n, half + 1, *sums.shape[1:]), np.complex128)
        spectrum[[0, 0, half, half], [0, half, 0, half]] = wide[:4]
        points = (first - third) + 1j * (first + second)
        spectrum[self._rows, self._columns] = points
        for column in (0, half):  # the rest of these two columns is conjugate
            spectrum[half + 1 :, column] = np.conj(spectrum[1:half, column][::-1])
        tiles = np.fft.irfft2(np.moveaxis(spectrum, (0, 1), (-2, -1)), s=(n, n))
        return tiles[..., : n - window[0] + 1, : n - window[1] + 1].astype(np.float32)

    def _points(self, spectrum: Array) -> tuple[Array, Array]:
        """The real and the complex points of half-spectra [..., n, n/2 + 1], points first."""
        first, half = np.moveaxis(spectrum, (-2, -1), (0, 1)), self.tile // 2
        return first[[0, 0, half, half], [0, half, 0, half]].real, first[self._rows, self._columns]

    @property
    def _rows(self) -> Array:
        n, half = self.tile, self.tile // 2
        return np.concatenate([np.tile(np.arange(1, half), 2), np.repeat(np.arange(n), half - 1)])

    @property
    def _columns(self) -> Array:
        n, half = self.tile, self.tile // 2
        return np.concatenate([np.repeat([0, half], half - 1), np.tile(np.arange(1, half), n)])
