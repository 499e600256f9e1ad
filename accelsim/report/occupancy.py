"""Which part of the array is at work when: rows and columns of PEs over time, from a recorded run.

A fold uses the first so many rows and columns of the array. All its PEs are shown at the cycles at which its first
one multiplies; the skew with which the others follow (less than rows + columns) is left out. So no PE ever counts
twice, and PE cycles add up to those that the array was at work, whatever the width of a bin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels import timeline as tl
from accelsim.engines.walk import Walk
from accelsim.mapping.machine import Ints
from accelsim.report.activity import Floats, visits_of


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

    def add(self, walk: Walk, start_cycle: float) -> None:
        """Count a walk that starts at a cycle, with its repetitions."""
        if walk.steps.shapes is None:
            return
        for visits in visits_of(walk):
            for used_rows, used_cols, begin, end in _by_shape(walk, visits):
                for number in range(walk.times):
                    offset = start_cycle + number * walk.cycles
                    spread = self._spread(begin + offset, end + offset)
                    self.by_row[:used_rows] += used_cols * spread
                    self.by_column[:used_cols] += used_rows * spread

    def _spread(self, begin: Floats, end: Floats) -> Floats:
        """How many cycles of each bin lie between the begins and their ends."""
        edges = np.arange(self.by_row.shape[1] + 1) * self.bin_cycles
        return np.asarray(np.diff(_ramp(edges, begin) - _ramp(edges, end)))

    def row_shares(self) -> Floats:
        """Share of each row's PEs in use, 0 to 1: float64[rows, bins]."""
        return self.by_row / (self.cols * self.bin_cycles)

    def column_shares(self) -> Floats:
        """Share of each column's PEs in use: float64[cols, bins]."""
        return self.by_column / (self.rows * self.bin_cycles)

    def shares(self) -> Floats:
        """Share of all PEs in use: float64[bins]."""
        return np.asarray(self.by_row.sum(axis=0) / (self.rows * self.cols * self.bin_cycles))


def _ramp(edges: Floats, starts: Floats) -> Floats:
    """What has run up at every edge when from each start on one runs up a cycle."""
    ordered = np.sort(starts)
    started = np.searchsorted(ordered, edges)
    return np.asarray(started * edges - np.r_[0.0, np.cumsum(ordered)][started])


def _by_shape(walk: Walk, visits: Ints) -> Iterable[tuple[int, int, Floats, Floats]]:
    """Folds that use the same part of the array: its rows and columns, when their first PE begins and ends."""
    assert walk.steps.shapes is not None
    shapes = walk.steps.shapes[walk.steps.classes[visits[:, tl.V_STEP]], visits[:, tl.V_SHAPE]]
    begin = visits[:, tl.V_FIRST_MAC].astype(np.float64)
    used, kind = np.unique(shapes[:, :2], axis=0, return_inverse=True)
    for number, (rows, cols) in enumerate(used):
        mine: npt.NDArray[np.bool_] = kind.reshape(-1) == number
        yield int(rows), int(cols), begin[mine], begin[mine] + shapes[mine, 2]
