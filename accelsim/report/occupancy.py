"""Which part of the array is at work when: rows and columns of PEs over time, from a recorded run.

A fold uses the first so many rows and columns of the array. Its vectors are spread evenly between its first
MAC and its last, so that PE cycles add up to those that the array was at work, whatever the width of a bin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels import timeline as tl
from accelsim.engines.walk import Walk
from accelsim.mapping.machine import Ints
from accelsim.report.activity import Floats, fold_rows, visits_of


@dataclass
class Occupancy:
    """PE cycles in use: ``by_row`` float64[rows, bins], ``by_column`` float64[cols, bins]; both sum to the
    same.
    """

    rows: int
    cols: int
    bin_cycles: float
    by_row: Floats
    by_column: Floats

    @classmethod
    def empty(cls, rows: int, cols: int, cycles: int, bins: int) -> Occupancy:
        bins = max(1, min(bins, cycles))
        return cls(rows, cols, cycles / bins, np.zeros((rows, bins)), np.zeros((cols, bins)))

    def add(self, walk: Walk, start_cycle: int) -> None:
        """Count a walk that starts at a cycle, with its repetitions."""
        if walk.steps.shapes is None:
            return
        for visits in visits_of(walk):
            for used_rows, used_cols, begin, end, vectors in _by_shape(walk, visits):
                for number in range(walk.times):
                    offset = start_cycle + number * walk.cycles
                    spread = self._spread(begin + offset, end + offset, vectors)
                    self.by_row[:used_rows] += used_cols * spread
                    self.by_column[:used_cols] += used_rows * spread

    def _spread(self, begin: Floats, end: Floats, amount: Floats) -> Floats:
        """How much of each amount, spread evenly from its begin to its end, falls into each bin."""
        edges = np.arange(self.by_row.shape[1] + 1) * self.bin_cycles
        rate = amount / (end - begin)
        return np.asarray(np.diff(_ramp(edges, begin, rate) - _ramp(edges, end, rate)))

    def row_shares(self) -> Floats:
        """Share of each row's PEs in use, 0 to 1: float64[rows, bins]."""
        return self.by_row / (self.cols * self.bin_cycles)

    def column_shares(self) -> Floats:
        """Share of each column's PEs in use: float64[cols, bins]."""
        return self.by_column / (self.rows * self.bin_cycles)

    def shares(self) -> Floats:
        """Share of all PEs in use: float64[bins]."""
        return np.asarray(self.by_row.sum(axis=0) / (self.rows * self.cols * self.bin_cycles))


def _ramp(edges: Floats, starts: Floats, rates: Floats) -> Floats:
    """What has run up at every edge when from each start on something runs at its rate."""
    order = np.argsort(starts, kind="stable")
    started = np.searchsorted(starts[order], edges)
    rate = np.r_[0.0, np.cumsum(rates[order])][started]
    moment = np.r_[0.0, np.cumsum(rates[order] * starts[order])][started]
    return np.asarray(rate * edges - moment)


def _by_shape(walk: Walk, visits: Ints) -> Iterable[tuple[int, int, Floats, Floats, Floats]]:
    """Folds that use the same part of the array: its rows and columns, their first and last MACs, their
    vectors.
    """
    assert walk.steps.shapes is not None
    shapes = walk.steps.shapes[walk.steps.classes[visits[:, tl.V_STEP]], visits[:, tl.V_SHAPE]]
    lost = fold_rows(walk, visits)[:, tl.F_WAIT]
    begin, end = visits[:, tl.V_FIRST_MAC], visits[:, tl.V_LAST_MAC] - lost
    used, kind = np.unique(shapes[:, :2], axis=0, return_inverse=True)
    for number, (rows, cols) in enumerate(used):
        mine: npt.NDArray[np.bool_] = kind.reshape(-1) == number
        columns = (begin[mine], end[mine], shapes[mine, 2])
        first, last, vectors = (column.astype(np.float64) for column in columns)
        yield int(rows), int(cols), first, last, vectors
