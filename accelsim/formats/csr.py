"""Compressed sparse rows. Of a transposed matrix: compressed sparse columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim.formats.matrix import Array, Coo, Int64s
from accelsim.formats.size import Size, index_width


@dataclass(frozen=True, eq=False)
class Csr:
    """Row ``r`` holds the values and columns ``starts[r]`` to ``starts[r + 1]``. starts: int64[rows + 1]."""

    shape: tuple[int, int]
    starts: Int64s
    cols: Int64s
    values: Array

    @classmethod
    def encode(cls, matrix: Coo) -> Csr:
        starts = np.zeros(matrix.shape[0] + 1, np.int64)
        np.cumsum(np.bincount(matrix.rows, minlength=matrix.shape[0]), out=starts[1:])
        return cls(matrix.shape, starts, matrix.cols, matrix.values)

    def decode(self) -> Coo:
        rows = np.repeat(np.arange(self.shape[0], dtype=np.int64), np.diff(self.starts))
        return Coo(self.shape, rows, self.cols, self.values)

    def size(self, value_bits: int) -> Size:
        """Column indices as wide as the columns need, pointers as wide as the number of values needs."""
        count = len(self.values)
        return Size(
            values_bits=count * value_bits,
            indices_bits=count * index_width(self.shape[1]),
            pointers_bits=len(self.starts) * index_width(count + 1),
        )
