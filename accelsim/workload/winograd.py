"""Winograd's minimal filtering F(m x m, 3 x 3): its transforms, what they cost, and how integers stay exact.

``Y = A^T [(G g G^T) * (B^T d B)] A`` for a filter g of 3 x 3 and a tile d of (m+2) x (m+2); matrices from A. Lavin and
S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv 1509.09308), section 4.

B^T and A^T are written here as sequences of additions, since that is what hardware does: a factor of a power of two is
wiring (integers) or rides on the addition (floats), and only additions count. F(2x2): 32 a tile of data and 24 a tile of
outputs, the paper's own counts; F(4x4): 144 and 100.

**Integers.** G has fractions, so the filter is transformed by ``G' = D G diag(1/s)``, whole numbers of at most 3 (D 2) or 7
(D 24) times the weights in all; the output's tile is multiplied by ``s s^T`` (powers of two, no additions) before A^T, and
its results are exactly D^2 times the convolution's sums. D^2 = 4 is a shift; D^2 = 576 a shift and one multiplication (by
the inverse of 9), which counts as an operation an output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Range = tuple[int, int]
Program = Callable[[Sequence[Any]], list[Any]]


def _data_4(x: Sequence[Any]) -> list[Any]:
    """B^T of F(2,3): 4 additions."""
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _output_4(m: Sequence[Any]) -> list[Any]:
    """A^T of F(2,3): 4 additions."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _data_6(x: Sequence[Any]) -> list[Any]:
    """B^T of F(4,3): 12 additions."""
    even, odd = x[4] - 4 * x[2], x[3] - 4 * x[1]
    near, turn = x[4] - x[2], x[3] - x[1]
    return [
        near + 4 * (x[0] - x[2]), even + odd, even - odd, near + 2 * turn, near - 2 * turn, (x[5] - x[3]) - 4 * turn,
    ]  # fmt: skip


def _output_6(m: Sequence[Any]) -> list[Any]:
    """A^T of F(4,3): 10 additions."""
    sum_1, difference_1 = m[1] + m[2], m[1] - m[2]
    sum_2, difference_2 = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + sum_1 + sum_2, difference_1 + 2 * difference_2, sum_1 + 4 * sum_2, difference_1 + 8 * difference_2 + m[5],
    ]  # fmt: skip


@dataclass(frozen=True)
class Winograd:
    """F(m x m, 3 x 3). ``filter`` is G', ``scale`` is s, ``divisor`` is D (see the module's text)."""

    name: str
    m: int
    data: Program
    output: Program
    filter: tuple[tuple[int, int, int], ...]
    scale: tuple[int, ...]
    divisor: int
    floats_only: ClassVar[bool] = False

    @property
    def tile(self) -> int:
        """Edge of an input tile."""
        return self.m + 2

    @property
    def planes(self) -> int:
        """Products of matrices: one a position of the transformed tile."""
        return self.tile**2

    def unsuited(self, window: tuple[int, int]) -> str:
        """Why a window does not suit; empty where it does."""
        return "" if window == (3, 3) else "is for 3 x 3 windows"

    # ---- work --------------------------------------------------------------------------------------------------

    @cached_property
    def input_ops(self) -> int:
        """Additions that transform one tile of one channel."""
        return 2 * self.tile * additions(self.data, self.tile)

    def output_ops(self, integers: bool) -> int:
        """Operations that make an m x m tile of one channel's outputs."""
        exact_division = integers and self.divisor & (self.divisor - 1) != 0
        return (self.tile + self.m) * additions(self.output, self.tile) + exact_division * self.m**2

    # ---- ranges ------------------------------------------------------------------------------------------------

    def input_range(self, values: Range) -> Range:
        """Least and greatest element of a transformed tile of integers in a range."""
        rows = np.stack(self.data(list(np.eye(self.tile, dtype=np.int64))))
        return _spread(rows, values)

    def weight_range(self, values: Range) -> Range:
        """Least and greatest element of an integer transform of filters in a range."""
        return _spread(np.array(self.filter), values)

    # ---- values ------------------------------------------------------------------------------------------------

    def transform_input(self, tiles: Array) -> Array:
        """Tiles [..., t, t] -> [planes, ...]: int64, or float32."""
        work = tiles.astype(np.int64) if tiles.dtype.kind in "iu" else tiles.astype(np.float32)
        return _as_planes(_on_both_axes(self.data, work))

    def transform_weights(self, weights: Array) -> Array:
        """Filters [K, C, 3, 3] -> [planes, K, C]: integers are scaled by D^2 / (s s^T), and int64; floats float64."""
        if weights.dtype.kind in "iu":
            matrix: Array = np.array(self.filter, dtype=np.int64)
            weights = weights.astype(np.int64)
        else:
            matrix = np.array(self.filter) * (np.array(self.scale) / self.divisor)[:, None]
            weights = weights.astype(np.float64)
        return _as_planes(matrix @ weights @ matrix.T)

    def gather(self, sums: Array, window: tuple[int, int]) -> Array:
        """Sums of products [planes, ...] -> tiles of outputs [..., m, m]."""
        del window
        tiles = np.moveaxis(sums, 0, -1).reshape(*sums.shape[1:], self.tile, self.tile)
        if sums.dtype.kind not in "iu":
            return _on_both_axes(self.output, tiles.astype(np.float32))
        scaled = tiles.astype(np.int64) * np.multiply.outer(self.scale, self.scale)
        return _on_both_axes(self.output, scaled) // self.divisor**2  # leaves no rest


def _on_both_axes(program: Program, tiles: Array) -> Array:
    """``M tiles M^T`` for the matrix M of a program: its columns first, then its rows."""
    columns = np.stack(program([tiles[..., i, :] for i in range(tiles.shape[-2])]), axis=-2)
    return np.stack(program([columns[..., i] for i in range(columns.shape[-1])]), axis=-1)


def _as_planes(tiles: Array) -> Array:
    return np.moveaxis(tiles.reshape(*tiles.shape[:-2], -1), -1, 0)


def _spread(rows: Array, values: Range) -> Range:
    """Bounds of ``M x M^T`` over all x whose elements are in a range."""
    factors = np.einsum("ia,jb->ijab", rows, rows).reshape(len(rows) ** 2, -1)
    positive, negative = np.maximum(factors, 0).sum(axis=1), np.minimum(factors, 0).sum(axis=1)
    low, high = values
    least = min(int(p) * low + int(n) * high for p, n in zip(positive, negative, strict=True))
    return least, max(int(p) * high + int(n) * low for p, n in zip(positive, negative, strict=True))


class _Counting:
    """A number that counts the additions which it takes part in; powers of two multiply for nothing."""

    def __init__(self, count: list[int]) -> None:
        self.count = count

    def __add__(self, other: _Counting) -> _Counting:
        self.count[0] += 1
        return self

    __sub__ = __add__

    def __rmul__(self, factor: int) -> _Counting:
        assert factor > 0, "only positive factors are wired"
        assert factor & (factor - 1) == 0, f"{factor} is no power of two"
        return self


def additions(program: Program, inputs: int) -> int:
    """Additions and subtractions that ``program`` does on ``inputs`` numbers, by doing them."""
    count = [0]
    program([_Counting(count)] * inputs)
    return count[0]


F2X2 = Winograd("winograd_f2x2", 2, _data_4, _output_4, ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)), (1, 1, 1, 1), 2)
F4X4 = Winograd(
    "winograd_f4x4", 4, _data_6, _output_6,
    ((6, 0, 0), (-2, -2, -2), (-2, 2, -2), (1, 2, 4), (1, -2, 4), (0, 0, 6)), (1, 2, 2, 1, 1, 4), 24,
)  # fmt: skip
