"""Structured sparsity: at most N non-zeros in every M along a row, and whole blocks kept or dropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.errors import InfeasibleError
from accelsim.formats.matrix import Array, Coo, Int64s
from accelsim.formats.size import Size, index_width
from accelsim.units import ceil_div


@dataclass(frozen=True, eq=False)
class NOfM:
    """At most ``n`` non-zeros in each group of ``m`` neighbours of a row.

    ``values`` and ``places`` are rows x groups x n; a slot that holds nothing has the value 0. ``places`` is
    where in its group a value stands.
    """

    shape: tuple[int, int]
    n: int
    m: int
    values: Array
    places: npt.NDArray[np.uint8]

    @classmethod
    def encode(cls, matrix: Coo, n: int, m: int) -> NOfM:
        """`InfeasibleError` where a group has more than ``n`` non-zeros."""
        groups = ceil_div(matrix.shape[1], m)
        group = matrix.rows * groups + matrix.cols // m
        slot = np.arange(len(group)) - np.searchsorted(group, group)
        if len(slot) and int(slot.max()) >= n:
            worst = int(np.argmax(slot))
            most = int(np.bincount(group - group[0]).max())
            raise InfeasibleError(
                f"a matrix as {n}:{m}",
                demand=f"{most} non-zeros in a group (row {matrix.rows[worst]}, "
                f"column {matrix.cols[worst] // m * m})",
                bound=f"{n} in {m}",
                levers=(f"prune it to {n}:{m} first", "choose another format"),
            )
        values = np.zeros((matrix.shape[0], groups, n), matrix.values.dtype)
        places = np.zeros(values.shape, np.uint8)
        values.reshape(-1, n)[group, slot] = matrix.values
        places.reshape(-1, n)[group, slot] = matrix.cols % m
        return cls(matrix.shape, n, m, values, places)

    def decode(self) -> Coo:
        rows, groups, slots = np.nonzero(self.values)
        cols = groups * self.m + self.places[rows, groups, slots]
        return Coo(self.shape, rows.astype(np.int64), cols.astype(np.int64), self.values[rows, groups, slots])

    def size(self, value_bits: int) -> Size:
        """Every slot is stored, used or not."""
        used = int(np.count_nonzero(self.values))
        each = index_width(self.m)
        return Size(used * value_bits, used * each, 0, (self.values.size - used) * (value_bits + each))


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of ``block`` = (height, width) that have any non-zero, block row by block row.

    starts: int64[block rows + 1]. cols: block column of each. values: n x height x width.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    starts: Int64s
    cols: Int64s
    values: Array

    @classmethod
    def encode(cls, matrix: Coo, block: tuple[int, int]) -> Blocks:
        height, width = block
        block_rows, block_cols = ceil_div(matrix.shape[0], height), ceil_div(matrix.shape[1], width)
        key = matrix.rows // height * block_cols + matrix.cols // width
        kept, which = np.unique(key, return_inverse=True)
        values = np.zeros((len(kept), height, width), matrix.values.dtype)
        values[which, matrix.rows % height, matrix.cols % width] = matrix.values
        starts = np.searchsorted(kept, np.arange(block_rows + 1) * block_cols).astype(np.int64)
        return cls(matrix.shape, block, starts, kept % max(1, block_cols), values)

    def decode(self) -> Coo:
        which, down, right = np.nonzero(self.values)
        block_rows = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        rows = block_rows[which] * self.block[0] + down
        return Coo.of(
            self.shape, rows, self.cols[which] * self.block[1] + right, self.values[which, down, right]
        )

    def size(self, value_bits: int) -> Size:
        real = int(np.count_nonzero(self.values))
        return Size(
            values_bits=real * value_bits,
            indices_bits=len(self.cols) * index_width(ceil_div(self.shape[1], self.block[1])),
            pointers_bits=len(self.starts) * index_width(len(self.cols) + 1),
            padding_bits=(self.values.size - real) * value_bits,
        )
