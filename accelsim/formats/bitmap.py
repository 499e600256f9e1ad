"""A bit for every element that says whether it is there, and the values of those that are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.formats.matrix import Array, Coo
from accelsim.formats.size import Size


@dataclass(frozen=True, eq=False)
class Bitmap:
    """``mask`` holds the bits row-major, eight a byte, first element in the highest bit."""

    shape: tuple[int, int]
    mask: npt.NDArray[np.uint8]
    values: Array

    @classmethod
    def encode(cls, matrix: Coo) -> Bitmap:
        there = np.zeros(matrix.shape, np.bool_)
        there[matrix.rows, matrix.cols] = True
        return cls(matrix.shape, np.packbits(there), matrix.values)

    def decode(self) -> Coo:
        elements = self.shape[0] * self.shape[1]
        rows, cols = np.nonzero(np.unpackbits(self.mask, count=elements).reshape(self.shape))
        return Coo(self.shape, rows.astype(np.int64), cols.astype(np.int64), self.values)

    def size(self, value_bits: int) -> Size:
        return Size(values_bits=len(self.values) * value_bits, indices_bits=self.shape[0] * self.shape[1])
