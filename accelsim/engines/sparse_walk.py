"""A layer on the sparse engine written down: what its passes were given, so that each can be gone through again.

Nothing of a product is kept but its operands: `Pass.moments` runs the events once more, and this time notes when each
broadcast was written into the queues, when each PE popped it, and what each cycle was for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels import sparse as kernels
from accelsim.errors import InvariantError

Int64s = npt.NDArray[np.int64]
POPS_AT_ONCE = 1 << 19
COPYING = kernels.C_CYCLES  # in place of what a cycle of a product is for


class Moments(NamedTuple):
    """What some products did, one after the other; times in cycles from the beginning of the pass.

    ``uses`` uint8[cycles]: C_* of every cycle from ``begin`` on, `COPYING` between products. ``broadcasts``
    int64[n, BROADCAST_FIELDS]; ``previous`` int64[n]: the edge after which the search for each began; ``pops``
    int64[n, pes]: when each PE took it, ``lengths`` int64[n, pes]: entries that it then streams, one a cycle.
    ``products`` int64[products, 3]: begin, last broadcast (the end, if there is none), end.
    """

    begin: int
    uses: npt.NDArray[np.uint8]
    broadcasts: Int64s
    previous: Int64s
    pops: Int64s
    lengths: Int64s
    products: Int64s


@dataclass(frozen=True)
class Pass:
    """A part of a matrix times the part of every vector that the register files hold at a time.

    The first fields are the kernel's; ``vectors`` [n, columns] are those that take longest of each group of channels,
    and ``cycles`` int64[n] how long. All of them happened ``times`` times. ``copied_in`` and ``copied_out``: cycles in
    which the register files take what comes before each product, and give what comes after.
    """

    starts: npt.NDArray[Any]
    pointers: npt.NDArray[np.int32]
    rows: npt.NDArray[Any]
    values: npt.NDArray[Any]
    options: Int64s
    vectors: npt.NDArray[Any]
    cycles: Int64s
    times: int = 1
    copied_in: int = 0
    copied_out: int = 0

    @property
    def pes(self) -> int:
        return int(self.pointers.shape[1])

    @property
    def copied(self) -> int:
        return self.copied_in + self.copied_out

    @property
    def total_cycles(self) -> int:
        return (int(self.cycles.sum()) + self.copied * len(self.cycles)) * self.times

    @property
    def broadcasts(self) -> int:
        return int(np.count_nonzero(self.vectors)) * self.times

    def begins(self) -> Int64s:
        """When each product begins, and the end of the last, the first time round."""
        steps = self.cycles + self.copied
        return np.concatenate(([0], np.cumsum(steps))) + self.copied_in

    def moments(self) -> Iterator[Moments]:
        """Go through the products again, some at a time."""
        counts = np.count_nonzero(self.vectors, axis=1)
        filled = np.cumsum(counts) * self.pes // POPS_AT_ONCE
        edges = [0, *(np.flatnonzero(filled[1:] != filled[:-1]) + 1).tolist(), len(counts)]
        for time in range(self.times):
            later = time * (self.total_cycles // self.times)
            for first, last in pairwise(edges):
                yield self._some(first, last, later)

    def _some(self, first: int, last: int, later: int) -> Moments:
        begins = self.begins()[first : last + 1] + later
        start = int(begins[0]) - self.copied_in
        counts = np.count_nonzero(self.vectors[first:last], axis=1)
        ends = np.cumsum(counts)
        uses = np.full(int(begins[-1] - begins[0]), COPYING, np.uint8)
        broadcasts = np.empty((int(ends[-1]), kernels.BROADCAST_FIELDS), np.int64)
        pops, previous = np.empty((len(broadcasts), self.pes), np.int64), np.empty(len(broadcasts), np.int64)
        products = np.empty((last - first, 3), np.int64)
        for i, number in enumerate(range(first, last)):
            some, at = slice(ends[i] - counts[i], ends[i]), int(begins[i]) - start
            cycles = int(self.cycles[number])
            self._product(number, uses[at : at + cycles], broadcasts[some], pops[some])
            pushes = broadcasts[some, kernels.B_PUSH]
            products[i] = (0, pushes[-1] if len(pushes) else cycles, cycles)
            previous[some] = np.concatenate(([0], pushes))[: len(pushes)] + begins[i]
            broadcasts[some, kernels.B_EARLIEST :] += begins[i]
            pops[some] += begins[i]
            products[i] += begins[i]
        columns = broadcasts[:, kernels.B_COLUMN]
        lengths = self.pointers[columns + 1].astype(np.int64) - self.pointers[columns]
        return Moments(start, uses, broadcasts, previous, pops, lengths, products)

    def _product(self, number: int, uses: npt.NDArray[np.uint8], broadcasts: Int64s, pops: Int64s) -> None:
        """One product once more; its cycles must be what they were."""
        counts, shown = np.zeros(kernels.COUNT_FIELDS, np.int64), np.zeros(len(uses), np.uint8)
        sums = np.zeros(self.pes * int(self.options[kernels.O_DEPTH]), np.int64)
        kernels.record_events(
            self.vectors[number].astype(np.int64), self.starts, self.pointers, self.rows, self.values, self.options,
            sums, counts, shown, broadcasts, pops,
        )  # fmt: skip
        if counts[kernels.C_CYCLES] != len(uses):
            raise InvariantError(f"a product of {len(uses)} cycles took {counts[kernels.C_CYCLES]} when it was traced")
        _lay(shown, uses, int(self.options[kernels.O_LEAD]))


def _lay(shown: npt.NDArray[np.uint8], uses: npt.NDArray[np.uint8], lead: int) -> None:
    """What is shown is multiplied ``lead`` cycles later; before the first useful product the pipeline fills, behind
    the last it drains.
    """
    useful = np.flatnonzero(shown == kernels.C_BUSY)
    uses[:] = kernels.C_FILL
    if len(useful):
        first, last = int(useful[0]), int(useful[-1]) + 1
        uses[first + lead : last + lead] = shown[first:last]
        uses[last + lead :] = kernels.C_DRAIN


@dataclass
class Fetch:
    """A matrix, or a part of one, on its way from off chip: from when to when (cycles of the layer), how many bits."""

    begin: int
    end: int
    bits: int


@dataclass
class MatrixWalk:
    """A matrix's passes; ``waits``: after so many cycles of work its weights were waited for, and for how long."""

    passes: list[Pass] = field(default_factory=list)
    waits: list[tuple[int, int]] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    worked: int = 0

    def turn(self, waited: int, cycles: int) -> None:
        """Weights are waited for, then worked with."""
        if waited:
            self.waits.append((self.worked, waited))
        self.worked += cycles

    @property
    def cycles(self) -> int:
        return sum(waited for _, waited in self.waits) + sum(one.total_cycles for one in self.passes)


@dataclass
class SparseWalk:
    """All matrices of a layer in their order, and the cycles by which a port was too narrow for them."""

    matrices: list[MatrixWalk]
    short: int = 0
    times: int = 1

    @property
    def cycles(self) -> int:
        return sum(matrix.cycles for matrix in self.matrices) + self.short
