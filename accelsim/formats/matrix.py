"""The hub of the formats: non-zeros with their coordinates, sorted row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.formats.size import Size, index_width
from accelsim.units import MOST

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coo:
    """A sparse matrix: ``values[i]`` at (``rows[i]``, ``cols[i]``), row-major, no zeros, no repeats.

    shape: (rows, columns). rows, cols: int64[n]. values: any numeric type[n].
    """

    shape: tuple[int, int]
    rows: Int64s
    cols: Int64s
    values: Array

    @classmethod
    def of(cls, shape: tuple[int, int], rows: Array, cols: Array, values: Array) -> Coo:
        """Sort, and drop zeros. ValueError for a coordinate outside ``shape`` or one that is given twice."""
        rows, cols, values = (np.asarray(a).ravel() for a in (rows, cols, values))
        if not len(rows) == len(cols) == len(values):
            raise ValueError(
                f"has {len(rows)} row indices, {len(cols)} column indices and {len(values)} values"
            )
        if max(shape) > MOST:  # so that the place of an element fits 64 bits
            raise ValueError(f"has the shape {list(shape)}, a side may have {MOST:,}")
        for name, index, size in (("row", rows, shape[0]), ("column", cols, shape[1])):
            outside = np.flatnonzero((index < 0) | (index >= size))
            if len(outside):
                raise ValueError(f"has the {name} index {index[outside[0]]}, must be 0 to {size - 1}")
        kept = values != 0
        key = rows[kept].astype(np.int64) * shape[1] + cols[kept]
        values = values[kept]
        if len(key) > 1 and not np.all(key[1:] > key[:-1]):
            order = np.argsort(key, kind="stable")
            key, values = key[order], values[order]
            twice = np.flatnonzero(key[1:] == key[:-1])
            if len(twice):
                row, col = divmod(int(key[twice[0]]), shape[1])
                raise ValueError(f"gives the element ({row}, {col}) twice")
        return cls._of_keys(shape, key, values)

    @classmethod
    def _of_keys(cls, shape: tuple[int, int], key: Int64s, values: Array) -> Coo:
        rows = key // shape[1] if shape[1] else key
        return cls(shape, rows, key - rows * shape[1], values)

    @classmethod
    def from_dense(cls, matrix: Array) -> Coo:
        """The non-zeros of a two-dimensional array."""
        matrix = np.asarray(matrix)
        if matrix.ndim != 2:
            raise ValueError(f"has {matrix.ndim} dimensions, must have 2")
        height, width = matrix.shape
        key = np.flatnonzero(matrix != 0)  # of truth values, which is faster than of numbers along two axes
        return cls._of_keys((height, width), key, matrix.ravel()[key])

    @classmethod
    def from_scipy(cls, matrix: Any) -> Coo:
        """From any ``scipy.sparse`` matrix or array; stored repeats are added up, as scipy does."""
        summed = matrix.tocsr(copy=True)
        summed.sum_duplicates()
        coo = summed.tocoo()
        rows, cols = (int(size) for size in coo.shape)
        return cls.of((rows, cols), coo.row, coo.col, coo.data)

    def to_scipy(self, layout: str = "csr") -> Any:
        """A ``scipy.sparse`` array in ``layout`` (csr, csc, coo, ...). scipy is imported here, when it is
        wanted.
        """
        from scipy import sparse

        whole: Any = sparse.coo_array((self.values, (self.rows, self.cols)), shape=self.shape)
        return whole.asformat(layout)

    def to_dense(self) -> Array:
        """The matrix with its zeros."""
        dense = np.zeros(self.shape, self.values.dtype)
        dense[self.rows, self.cols] = self.values
        return dense

    @property
    def nonzeros(self) -> int:
        return len(self.values)

    @property
    def density(self) -> float:
        """Share of the elements that are not zero; 0 for an empty matrix."""
        elements = self.shape[0] * self.shape[1]
        return self.nonzeros / elements if elements else 0.0

    def equals(self, other: Coo) -> bool:
        """The same elements at the same places, whatever their types."""
        return self.shape == other.shape and all(
            np.array_equal(a, b)
            for a, b in ((self.rows, other.rows), (self.cols, other.cols), (self.values, other.values))
        )

    def transposed(self) -> Coo:
        """Rows for columns."""
        return Coo.of((self.shape[1], self.shape[0]), self.cols, self.rows, self.values)

    def size(self, value_bits: int) -> Size:
        """A row and a column index beside every value."""
        each = index_width(self.shape[0]) + index_width(self.shape[1])
        return Size(values_bits=self.nonzeros * value_bits, indices_bits=self.nonzeros * each)


def as_coo(matrix: Coo | Array | Any) -> Coo:
    """A `Coo` from one, from a numpy array, or from anything of ``scipy.sparse``."""
    if isinstance(matrix, Coo):
        return matrix
    return Coo.from_scipy(matrix) if hasattr(matrix, "tocoo") else Coo.from_dense(matrix)
