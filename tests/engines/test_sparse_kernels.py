"""The sparse kernels against numpy, against each other, and against the twin that draws every register."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from accelsim.engines.kernels import sparse as kernels
from accelsim.engines.reference import sparse as twin
from accelsim.formats import Coo, InterleavedCsc

Array = np.ndarray[Any, Any]


class Case(NamedTuple):
    matrix: Array
    vector: Array
    pes: int
    bits: int
    capacity: int = 7
    row_entries: int = 8
    empty: bool = True
    idle: bool = True
    limits: tuple[int, int] | None = None
    saturate: bool = False

    def encoded(self) -> InterleavedCsc:
        return InterleavedCsc.encode(Coo.from_dense(self.matrix.astype(np.int16)), self.pes, self.bits)

    def options(self, depth: int) -> Array:
        return kernels.options_of(
            depth=depth, capacity=self.capacity, row_entries=self.row_entries, pack=self.pes,
            empty_slots=int(self.empty), pack_idle=self.idle, limits=self.limits, saturate=self.saturate,
        )  # fmt: skip

    def run(self, events: bool) -> tuple[Array, Array]:
        """(sums by row of the matrix, counts)"""
        packed = self.encoded()
        sums, counts = np.zeros(self.pes * packed.depth, np.int64), np.zeros(kernels.COUNT_FIELDS, np.int64)
        indices = packed.zeros
        if events:
            indices = np.empty(packed.entries, np.uint32)
            kernels.decode_rows(packed.starts, packed.zeros, self.pes, packed.depth, indices)
        kernel = kernels.run_events if events else kernels.step
        kernel(
            self.vector, packed.starts, packed.pointers().astype(np.int32), indices, packed.values,
            self.options(packed.depth), sums, counts,
        )  # fmt: skip
        return sums.reshape(self.pes, -1).T.reshape(-1)[: len(self.matrix)], counts

    def run_twin(self) -> tuple[Array, Array]:
        packed = self.encoded()
        pointers, lengths = packed.pointers(), packed.lengths()
        slices = []
        for pe in range(self.pes):
            picked = [
                slice(int(s), int(s) + int(n))
                for s, n in zip(packed.starts[:-1].reshape(-1, self.pes)[:, pe], lengths[:, pe], strict=True)
            ]
            entries = [twin.Entry(int(z), int(w)) for part in picked
                       for z, w in zip(packed.zeros[part], packed.values[part], strict=True)]  # fmt: skip
            slices.append(twin.Slice([int(p) for p in pointers[:, pe]], entries))
        options = twin.Options(
            self.capacity, self.row_entries, self.empty, self.idle, self.limits, self.saturate
        )
        counts, sums = twin.run(slices, [int(v) for v in self.vector], packed.depth, options)
        by_row = np.array(sums, np.int64).reshape(self.pes, -1).T.reshape(-1)
        return by_row[: len(self.matrix)], _as_record(counts)


def _as_record(counts: twin.Counts) -> Array:
    """The twin's counts in the kernel's order."""
    record = np.zeros(kernels.COUNT_FIELDS, np.int64)
    for name in ("cycles", "busy", "broadcasts", "held", "scans", "tail", "starved", "entries",
                 "padding", "macs",
                 "empty_slots", "row_reads", "overflows"):  # fmt: skip
        record[getattr(kernels, f"C_{name.upper()}")] = getattr(counts, name)
    for cause, cycles in counts.stalls.items():
        record[getattr(kernels, f"C_{cause.upper()}")] = cycles
    return record


def _random(rng: np.random.Generator, pes: int, most_rows: int, most_cols: int) -> Case:
    rows, cols = int(rng.integers(1, most_rows)), int(rng.integers(1, most_cols))
    matrix = np.where(
        rng.random((rows, cols)) < rng.choice([0, 0.02, 0.1, 0.4, 1]), rng.integers(-9, 10, (rows, cols)), 0
    )
    if rng.random() < 0.3:
        matrix[rng.random(rows) < 0.5] = 0  # empty rows, and with them empty PEs
    vector = np.where(rng.random(cols) < rng.choice([0, 0.05, 0.4, 1]), rng.integers(-9, 10, cols), 0)
    limits, saturate = (None, False) if rng.random() < 0.5 else ((-64, 63), bool(rng.integers(2)))
    return Case(
        matrix, vector.astype(np.int64), pes, int(rng.integers(1, 6)), int(rng.choice([1, 2, 3, 7, 15, 64])),
        int(rng.choice([1, 3, 8, 64])), bool(rng.integers(2)), bool(rng.integers(2)), limits, saturate,
    )  # fmt: skip


def _assert_equal(first: tuple[Array, Array], second: tuple[Array, Array], case: Case) -> None:
    names = [name for name in dir(kernels) if name.startswith("C_")]
    differences = {
        name: (int(first[1][getattr(kernels, name)]), int(second[1][getattr(kernels, name)]))
        for name in names
        if first[1][getattr(kernels, name)] != second[1][getattr(kernels, name)]
    }
    assert not differences, case
    assert np.array_equal(first[0], second[0])


@pytest.mark.parametrize("pes", [1, 2, 3, 4, 7, 16, 64, 256])
def test_events_equal_the_stepped_model(pes: int) -> None:
    rng = np.random.default_rng(pes)
    for _ in range(60):
        case = _random(rng, pes, 300, 120)
        _assert_equal(case.run(events=False), case.run(events=True), case)


@pytest.mark.parametrize("pes", [1, 2, 5, 8])
def test_the_stepped_model_equals_the_twin(pes: int) -> None:
    rng = np.random.default_rng(100 + pes)
    for _ in range(40):
        case = _random(rng, pes, 30, 24)
        _assert_equal(case.run(events=False), case.run_twin(), case)


@pytest.mark.parametrize("pes", [1, 4, 64])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_sums_are_the_product(pes: int, density: float) -> None:
    rng = np.random.default_rng(7)
    for shape in ((1, 50), (70, 1), (64, 64), (130, 90)):
        matrix = np.where(rng.random(shape) < density, rng.integers(-2000, 2001, shape), 0)
        vector = np.where(rng.random(shape[1]) < 0.6, rng.integers(-30000, 30001, shape[1]), 0)
        for events in (False, True):
            sums, counts = Case(matrix, vector, pes, 4).run(events)
            assert np.array_equal(sums, matrix @ vector)
            assert counts[kernels.C_MACS] == np.count_nonzero(matrix * vector[None])
            stalls = counts[kernels.C_FILL : kernels.C_CONTROL + 1].sum()
            assert counts[kernels.C_CYCLES] == counts[kernels.C_BUSY] + stalls
            port = counts[[kernels.C_BROADCASTS, kernels.C_HELD, kernels.C_SCANS, kernels.C_TAIL]].sum()
            assert counts[kernels.C_CYCLES] == port


@pytest.mark.parametrize("events", [False, True])
class TestByHand:
    """Cases worked out on paper: edge 1 takes the first pack, 2 writes the queues, 3 pops, then an entry a
    period.
    """

    def test_one_entry_takes_nine_cycles(self, events: bool) -> None:
        _, counts = Case(np.array([[1]]), np.array([5]), 1, 4).run(events)
        assert counts[kernels.C_CYCLES] == 9  # shown after edge 3, seen to be written at 3 + 6
        assert counts[kernels.C_FILL] == 6
        assert counts[kernels.C_BUSY] == 1
        assert counts[kernels.C_DRAIN] == 2

    def test_a_full_column_takes_a_cycle_a_row(self, events: bool) -> None:
        _, counts = Case(np.ones((40, 1), int), np.array([1]), 1, 4).run(events)
        assert counts[kernels.C_CYCLES] == 9 + 39
        assert counts[kernels.C_ROW_READS] == 5

    def test_an_empty_column_costs_a_cycle_or_none(self, events: bool) -> None:
        matrix = np.zeros((8, 3), int)
        matrix[:, 0] = matrix[:, 2] = 1
        vector = np.array([1, 1, 1])
        assert Case(matrix, vector, 1, 4).run(events)[1][kernels.C_CYCLES] == 9 + 7 + 1 + 8
        assert Case(matrix, vector, 1, 4, empty=False).run(events)[1][kernels.C_CYCLES] == 9 + 7 + 8

    def test_a_pack_that_ends_in_zeros_costs_a_scan(self, events: bool) -> None:
        matrix = np.ones((4, 8), int)
        ends = Case(matrix, np.array([0, 0, 0, 1, 1, 0, 0, 0]), 4, 4).run(events)[1]
        waits = Case(matrix, np.array([1, 0, 0, 0, 1, 0, 0, 0]), 4, 4).run(events)[1]
        assert waits[kernels.C_CYCLES] == ends[kernels.C_CYCLES] + 1
        ideal = Case(matrix, np.array([1, 0, 0, 0, 1, 0, 0, 0]), 4, 4, idle=False).run(events)[1]
        assert ideal[kernels.C_CYCLES] == ends[kernels.C_CYCLES]

    def test_a_padding_zero_takes_a_slot_and_is_not_useful(self, events: bool) -> None:
        matrix = np.zeros((20, 1), int)
        matrix[0] = matrix[17] = 1
        _, counts = Case(matrix, np.array([1]), 1, 4).run(events)
        assert (counts[kernels.C_ENTRIES], counts[kernels.C_PADDING], counts[kernels.C_MACS]) == (3, 1, 2)
        assert counts[kernels.C_CYCLES] == 9 + 2
        assert counts[kernels.C_BUSY] == 2
        assert counts[kernels.C_IMBALANCE] == 1  # nothing is broadcast any more, and the last PE pads

    def test_a_queue_holds_back_the_broadcast(self, events: bool) -> None:
        matrix = np.zeros((20, 6), int)
        matrix[::2] = 1  # all work is PE 0's
        vector = np.ones(6, int)
        held = [
            int(Case(matrix, vector, 2, 4, capacity=c).run(events)[1][kernels.C_HELD]) for c in (1, 2, 4, 6)
        ]
        assert held == sorted(held, reverse=True)
        assert held[0] > 0
        assert held[-1] == 0

    def test_an_entry_row_is_read_once_while_it_is_at_hand(self, events: bool) -> None:
        matrix = np.ones((3, 4), int)  # 3 entries a column: rows of 4 entries straddle columns
        assert Case(matrix, np.ones(4, int), 1, 4, row_entries=4).run(events)[1][kernels.C_ROW_READS] == 3
        assert (
            Case(matrix, np.array([1, 0, 0, 1]), 1, 4, row_entries=4).run(events)[1][kernels.C_ROW_READS] == 2
        )

    def test_an_accumulator_saturates_or_wraps_and_says_so(self, events: bool) -> None:
        matrix, vector = np.ones((1, 3), int), np.array([100, 100, -50])
        wrapped, counts = Case(matrix, vector, 1, 4, limits=(-128, 127)).run(events)
        assert wrapped.tolist() == [-106]
        assert counts[kernels.C_OVERFLOWS] == 1
        clipped, counts = Case(matrix, vector, 1, 4, limits=(-128, 127), saturate=True).run(events)
        assert clipped.tolist() == [77]
        assert counts[kernels.C_OVERFLOWS] == 1

    def test_nothing_to_do(self, events: bool) -> None:
        zeros = np.zeros((5, 12), int)
        assert Case(zeros, np.zeros(12, int), 4, 4).run(events)[1][kernels.C_CYCLES] == 9
        _, counts = Case(np.ones((5, 12), int), np.zeros(12, int), 1, 4).run(events)
        assert counts[kernels.C_CYCLES] == 12  # twelve packs of one
        assert counts[kernels.C_FILL] == 12
