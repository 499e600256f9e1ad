"""Column-interleaved CSC over processing elements: what EIE and ESE keep in their memories.

Row r of the matrix belongs to PE r mod N, where it is row r // N. Each PE has its slice of every column as
entries of (weight, number of zeros before it in the slice), and a pointer to where each column begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.formats.matrix import Array, Coo, Int64s
from accelsim.formats.relative import check_index_bits, pad_runs, unpad_runs
from accelsim.formats.size import Size
from accelsim.units import ceil_div

BLOCK_ELEMENTS = 1 << 18  # so many a second-level cache holds
KEYS = 1 << 16  # so many are sorted in linear time


@dataclass(frozen=True, eq=False)
class InterleavedCsc:
    """A matrix over ``pes`` PEs with relative row indices of ``index_bits``.

    The entries lie column by column, within a column PE by PE. In each PE's own memory they lie column by
    column; see `pointers`.

    starts: int64[columns * pes + 1]; column c in PE p begins at number c * pes + p, and ends at the next.
    zeros: zeros before each entry, uint8 or uint16.
    values: weights (or codes), 0 for a padding zero.
    """

    shape: tuple[int, int]
    pes: int
    index_bits: int
    starts: Int64s
    zeros: Array
    values: Array

    @classmethod
    def encode(cls, matrix: Coo, pes: int, index_bits: int) -> InterleavedCsc:
        """`InfeasibleError` unless ``index_bits`` is 1 to 16."""
        check_index_bits(index_bits)
        pe, order = _column_order(matrix, pes)
        segment = matrix.cols[order]
        segment *= pes
        segment += pe[order]
        local = matrix.rows[order]
        local //= pes
        gaps = local.copy()
        gaps[1:] -= local[:-1] + 1
        counts = np.bincount(segment, minlength=matrix.shape[1] * pes)
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        first = ends[:-1][counts > 0]
        gaps[first] = local[first]
        zeros, values, before = pad_runs(gaps, matrix.values[order], index_bits)
        starts = before[ends]
        return cls(matrix.shape, pes, index_bits, starts, zeros, values)

    @classmethod
    def from_dense(cls, matrix: Array, pes: int, index_bits: int) -> InterleavedCsc:
        """The same as `encode`, of a two-dimensional array with its zeros: some columns at a time, so without the
        coordinates of all its elements, and with one sort of small keys.
        """
        check_index_bits(index_bits)
        rows, columns = matrix.shape
        step = max(1, min(BLOCK_ELEMENTS // max(1, rows), KEYS // pes))
        parts, base = [], 0
        for first in range(0, columns, step):
            starts, zeros, values = _block(matrix[:, first : first + step], pes, index_bits)
            parts.append((starts[:-1] + base, zeros, values))
            base += len(values)
        starts, zeros, values = (
            (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else _block(matrix, pes, index_bits)
        )
        return cls((rows, columns), pes, index_bits, np.append(starts[: columns * pes], base), zeros, values)

    def decode(self) -> Coo:
        segment = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        rows = unpad_runs(self.zeros, self.starts) * self.pes + segment % self.pes
        kept = self.values != 0
        return Coo.of(self.shape, rows[kept], segment[kept] // self.pes, self.values[kept])

    @property
    def depth(self) -> int:
        """Rows of the matrix that a PE holds, at most."""
        return ceil_div(self.shape[0], self.pes)

    @property
    def entries(self) -> int:
        """Entries of all PEs, padding zeros among them."""
        return len(self.values)

    @property
    def nonzeros(self) -> int:
        return int(np.count_nonzero(self.values))

    @property
    def padding(self) -> int:
        return self.entries - self.nonzeros

    def lengths(self) -> Int64s:
        """Entries of every column in every PE, int64[columns, pes]."""
        return np.diff(self.starts).reshape(self.shape[1], self.pes)

    def pointers(self) -> Int64s:
        """Where each column begins in each PE's own memory, in entries, int64[columns + 1, pes]."""
        table = np.zeros((self.shape[1] + 1, self.pes), np.int64)
        np.cumsum(self.lengths(), axis=0, out=table[1:])
        return table

    def entries_per_pe(self) -> Int64s:
        """Entries in each PE's memory, int64[pes]."""
        return np.asarray(self.lengths().sum(axis=0))

    def with_bias(self, bias: npt.NDArray[np.int64], at: int | None = None) -> InterleavedCsc:
        """The same with ``bias`` (a value a row) as one more column, the column ``at`` after empty ones if
        given.

        Its values keep their own width.
        """
        columns = self.shape[1] if at is None else at
        more = InterleavedCsc.encode(Coo.from_dense(np.asarray(bias).reshape(-1, 1)), self.pes, self.index_bits)
        between = np.full((columns - self.shape[1]) * self.pes, self.starts[-1])
        return InterleavedCsc(
            (self.shape[0], columns + 1), self.pes, self.index_bits,
            np.concatenate((self.starts, between, more.starts[1:] + self.starts[-1])),
            np.concatenate((self.zeros, more.zeros)), np.concatenate((self.values, more.values)),
        )  # fmt: skip

    def size(self, value_bits: int, pointer_bits: int) -> Size:
        """Values (or codes) and indices of the non-zeros, one pointer more than columns in each PE, padding
        zeros.
        """
        real = self.nonzeros
        return Size(
            values_bits=real * value_bits,
            indices_bits=real * self.index_bits,
            pointers_bits=self.pes * (self.shape[1] + 1) * pointer_bits,
            padding_bits=(self.entries - real) * (value_bits + self.index_bits),
        )


def _block(matrix: Array, pes: int, index_bits: int) -> tuple[Int64s, Array, Array]:
    """(starts, zeros, values) of a few columns: column and PE together are one small key, so one sort is enough."""
    columns = matrix.shape[1]
    elements = matrix.ravel()
    place = np.flatnonzero(elements != 0).astype(np.uint32)
    row = place // np.uint32(columns)
    local = row // np.uint32(pes)
    segment = (place - row * np.uint32(columns)) * np.uint32(pes) + (row - local * np.uint32(pes))
    order = np.argsort(_short(segment, columns * pes), kind="stable")
    segment = segment[order]
    position = np.asarray(local[order], np.int64)
    gaps: Int64s = position.copy()
    gaps[1:] -= np.where(segment[1:] == segment[:-1], position[:-1] + 1, 0)
    counts = np.bincount(segment, minlength=columns * pes)
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    zeros, values, before = pad_runs(gaps, elements[place[order]], index_bits)
    return before[ends], zeros, values


def _column_order(matrix: Coo, pes: int) -> tuple[Array, Int64s]:
    """(PE of every non-zero, the order by column, PE and row): stable sorts by the smaller keys first.

    16-bit keys are sorted in linear time; rows come in order already.
    """
    pe = _short(matrix.rows % pes, pes)
    order = np.argsort(pe, kind="stable")
    return pe, order[np.argsort(_short(matrix.cols, matrix.shape[1])[order], kind="stable")]


def _short(keys: Array, limit: int) -> Array:
    return keys.astype(np.uint16) if limit <= 1 << 16 else keys
