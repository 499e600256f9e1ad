"""Run lengths over the whole matrix, row-major: the zeros before each value, then the value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim.formats.matrix import Array, Coo
from accelsim.formats.relative import pad_runs, unpad_runs
from accelsim.formats.size import Size


@dataclass(frozen=True, eq=False)
class RunLength:
    """``zeros[i]`` zeros stand before ``values[i]``; a value of zero is padding. Zeros after the last are
    implied.
    """

    shape: tuple[int, int]
    run_bits: int
    zeros: Array
    values: Array

    @classmethod
    def encode(cls, matrix: Coo, run_bits: int) -> RunLength:
        """`InfeasibleError` unless ``run_bits`` is 1 to 16."""
        places = matrix.rows * matrix.shape[1] + matrix.cols
        zeros, values, _ = pad_runs(np.diff(places, prepend=-1) - 1, matrix.values, run_bits)
        return cls(matrix.shape, run_bits, zeros, values)

    def decode(self) -> Coo:
        places = unpad_runs(self.zeros, np.array([0, len(self.zeros)], np.int64))
        kept = self.values != 0
        rows = places[kept] // max(1, self.shape[1])
        return Coo(self.shape, rows, places[kept] - rows * self.shape[1], self.values[kept])

    @property
    def padding(self) -> int:
        return len(self.values) - int(np.count_nonzero(self.values))

    def size(self, value_bits: int) -> Size:
        real = len(self.values) - self.padding
        return Size(real * value_bits, real * self.run_bits, 0, self.padding * (value_bits + self.run_bits))
