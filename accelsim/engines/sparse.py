"""The sparse engine (EIE, ESE): layers as matrix-vector products on compressed weights, each stepped by its
events.

A layer with MACs is lowered to a matrix (a group's weights, compressed once) and vectors: a batch row, or the
window of an output pixel. What a product costs depends on where the zeros are, so cycles mode runs on the
same seeded values as values mode. See docs/engines/sparse.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import Level
from accelsim.arch.spec import Architecture, SparseSpec
from accelsim.counters import Counters, Stalls, Transfer, add_traffic
from accelsim.engines.base import Array, Evaluated, LayerRun, Operands
from accelsim.engines.kernels import sparse as kernels
from accelsim.engines.sparse_cell import cell_of
from accelsim.engines.sparse_products import assemble, groups, stand_in
from accelsim.engines.sparse_walk import Fetch, MatrixWalk, Pass, SparseWalk
from accelsim.engines.transforms import evaluated
from accelsim.engines.vector import VectorUnit
from accelsim.engines.walk import Carry
from accelsim.errors import Fault, InfeasibleError, InputError
from accelsim.formats import InterleavedCsc, Size
from accelsim.mapping.loopnest import VectorWork, lower
from accelsim.mapping.machine import Placement, free_bytes
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.memory.resources import AS_BUILT, LATENCY, MEMORY, PES, Faster
from accelsim.memory.transfers import port_occupancy
from accelsim.schedule.residency import Plan
from accelsim.units import ceil_div
from accelsim.workload import functional
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.network import Layer
from accelsim.workload.ops import LocallyConnected2d, Recurrent
from accelsim.workload.precision import NumberFormat

Int64s = npt.NDArray[np.int64]
BATCH_ELEMENTS = 1 << 22  # of vectors and sums that go through the kernel at once
POINTERS_A_POP = 2  # where the column begins, and where the next one does: one in each bank


# ---- one matrix in the PEs' memories
# -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stored:
    """A compressed matrix as the kernels take it.

    ``heaviest``: largest sum of a row's magnitudes. ``bias_entries``: of a bias, which are additions, not MACs of the
    layer.
    """

    packed: InterleavedCsc
    pointers: npt.NDArray[np.int32]
    rows: Array
    heaviest: float
    bias_entries: int

    @classmethod
    def of(cls, matrix: Array, spec: SparseSpec, bias: Int64s | None = None) -> Stored:
        """Compress ``matrix`` (integers, its zeros in it); a bias becomes one more column, in a pack of its own."""
        packed = InterleavedCsc.from_dense(_narrow(matrix), spec.pes, spec.index_bits)
        if bias is not None:
            packed = packed.with_bias(bias, at=ceil_div(matrix.shape[1], spec.pes) * spec.pes)
            packed = replace(packed, values=_narrow(packed.values))
        rows = np.empty(packed.entries, np.uint16 if packed.depth * packed.pes <= 1 << 16 else np.uint32)
        kernels.decode_rows(packed.starts, packed.zeros, packed.pes, packed.depth, rows)
        added = 0 if bias is None else int(np.count_nonzero(bias))
        return cls(packed, packed.pointers().astype(np.int32), rows, _heaviest(rows, packed.values), added)

    def whole(self, vectors: Array) -> Int64s:
        """``vectors`` (n x columns) with zeros up to the bias' pack, and its activation of one."""
        whole = np.zeros((len(vectors), self.packed.shape[1]), np.int64)
        whole[:, : vectors.shape[1]] = vectors
        if whole.shape[1] > vectors.shape[1]:
            whole[:, -1] = 1
        return whole


def _exchanged(array: Int64s, first: int, second: int) -> Int64s:
    """Rows that hold ``first`` x ``second`` elements with the two axes exchanged; a copy."""
    if first == 1 or second == 1:
        return array.copy()
    return np.ascontiguousarray(array.reshape(-1, first, second).swapaxes(1, 2)).reshape(array.shape)


def _heaviest(rows: Array, values: Array) -> float:
    """Largest sum of the magnitudes of the ``values`` in a row; some at a time, lest they all stand there as floats."""
    sums = np.zeros(int(rows.max(initial=0)) + 1)
    for first in range(0, len(rows), BATCH_ELEMENTS):
        some = slice(first, first + BATCH_ELEMENTS)
        sums += np.bincount(rows[some], np.abs(values[some].astype(np.float64)), len(sums))
    return float(sums.max())


def _narrow(values: Array) -> Array:
    """int16 where all of them fit, else int64: the two types that the kernels are compiled for."""
    if values.dtype in (np.int8, np.uint8, np.int16):
        return values.astype(np.int16, copy=False)
    if values.size == 0 or (int(values.max()) < 1 << 15 and int(values.min()) >= -(1 << 15)):
        return values.astype(np.int16)
    return values.astype(np.int64)


# ---- what a product gave
# -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """What the register files reach of a matrix at a time: its size, and how long each group of channels takes with it."""

    size: Size
    cycles: tuple[int, ...]


@dataclass
class Tally:
    """Counts of products, one after the other; channels work side by side, and the slowest counts for the
    time.
    """

    record: Int64s = field(default_factory=lambda: np.zeros(kernels.COUNT_FIELDS, np.int64))
    products: int = 0
    longest_pe: int = 0
    deepest_pe: int = 0  # entries in the fullest entry memory
    loading_cycles: int = 0  # of the weights' buffer, not hidden
    switching_cycles: int = 0  # of the register files, between passes
    scanned: int = 0  # activations that the leading-non-zero detection looked at
    first_writes: int = 0  # of rows that have an entry at all
    columns: int = 0  # of the matrix
    matrix: int = 0  # which of the layer's matrices this is: a recurrent one comes once a step
    parts: list[Part] = field(default_factory=list)
    fetched: Size = field(default_factory=Size)  # from off chip
    walk: MatrixWalk | None = None  # what a trace goes through again

    def add(self, records: Int64s, busiest: Int64s, written: Int64s, channels: int) -> None:
        """Products of one vector each (n x COUNT_FIELDS), in groups of ``channels`` side by side."""
        first = np.arange(0, len(records), channels)
        totals = np.add.reduceat(records, first, axis=0)
        totals[:, _TIMES] = records[_slowest(records[:, kernels.C_CYCLES], channels)][:, _TIMES]
        self.record += totals.sum(axis=0)
        self.products += len(records)
        self.longest_pe += int(busiest.sum())
        self.first_writes += int(written.sum())

    @property
    def cycles(self) -> int:
        return int(self.record[kernels.C_CYCLES]) + self.loading_cycles + self.switching_cycles

    @property
    def size(self) -> Size:
        """Of the whole matrix, compressed."""
        return sum((part.size for part in self.parts), Size())

    def count(self, name: str) -> int:
        return int(self.record[getattr(kernels, f"C_{name.upper()}")])


_TIMES = [
    kernels.C_CYCLES, kernels.C_BUSY, kernels.C_FILL, kernels.C_DRAIN, kernels.C_QUEUE, kernels.C_IMBALANCE,
    kernels.C_CONTROL, kernels.C_HELD, kernels.C_SCANS, kernels.C_TAIL,
]  # fmt: skip


def _slowest(cycles: Int64s, channels: int) -> Int64s:
    """Which product of every group of ``channels`` takes longest."""
    whole = np.full((ceil_div(len(cycles), channels), channels), -1, np.int64)
    whole.reshape(-1)[: len(cycles)] = cycles
    return np.asarray(whole.argmax(axis=1) + np.arange(len(whole)) * channels)


# ---- the engine
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SparseEngine:
    """The engine that an architecture's block of kind ``sparse`` describes."""

    arch: Architecture
    spec: SparseSpec
    vector: VectorUnit | None = None
    mapping: MappingFile = EMPTY

    @property
    def name(self) -> str:
        return self.spec.kind

    @property
    def needs_values(self) -> bool:
        return True  # where the zeros are decides how long it takes

    def evaluate(self, layer: Layer, operands: Operands) -> Evaluated:
        register = Accumulator(layer.precision.accumulator, self.spec.accumulator_overflow == "saturate")
        return evaluated(layer, operands, register)

    def check(self, layer: Layer, plan: Plan) -> None:
        """Integers only, one matrix a layer, and no tiles: the columns are taken as they come."""
        del plan
        if not layer.macs:
            return
        self._refuse_tiles(layer)
        for tensor, number in (("weight", layer.precision.weight), ("input", layer.precision.input)):
            if not number.is_integer or (tensor == "input" and number.bits > 32):
                raise InfeasibleError(
                    f"layer {layer.name} on the sparse engine",
                    demand=f"{tensor}s of {number}",
                    bound="integers (weights also by a codebook; inputs of up to 32 bits)",
                    levers=(f"--set workload.precision.{tensor}=int16",),
                )
        if isinstance(layer.op, LocallyConnected2d):
            raise InfeasibleError(
                f"layer {layer.name} on the sparse engine",
                demand="private kernels",
                bound="one matrix a layer",
                levers=("another engine for this layer",),
            )  # fmt: skip

    def _refuse_tiles(self, layer: Layer) -> None:
        """A default stays unused without a word where it can be meant for another architecture."""
        own, default = self.mapping.layers.get(layer.name), self.mapping.default
        place, keys = f"layers.{layer.name}", own.fixed() if own is not None else []
        if not keys and not self.mapping.machines:
            place, keys = "default", default.fixed()
        if keys:
            source = self.mapping.name or "mapping"
            why = f"is given, but layer {layer.name} runs on {self.arch.name}, a sparse engine, which has no tiles or loops"
            raise InputError(Fault(source, f"{place}.{key}", why) for key in keys)

    # ---- a layer
    # -----------------------------------------------------------------------------------------------

    def run_layer(self, layer: Layer, plan: Plan, carry: Carry, operands: Operands | None) -> LayerRun:
        """Run ``layer``. Without operands (an estimate by itself) random ones of its densities stand in."""
        given = operands if operands is not None else stand_in(layer)
        if layer.weight.codebook is not None and given.weight is not None:
            self._check_codebook(layer, given.weight)
        placement = plan.placements[layer.name]
        record = carry.walks is not None
        if isinstance(layer.op, Recurrent):
            output, tallies = self._recurrent(layer, given, record)
        else:
            output, tallies = self._products(layer, given, record)
        self._load(tallies, placement)
        counters = self._counters(layer, tallies, placement)
        if carry.walks is not None:
            carry.walks.append(_written_down(tallies, counters.cycles))
        counters += self._vector_work(layer, placement, carry)
        mapping = self._mapping(tallies, placement)
        peak = self.spec.macs_per_cycle(layer.precision)
        outputs = (output,) if operands is not None else None
        as_built = self._time(tallies, placement, AS_BUILT)

        def again(faster: Faster) -> int:
            return counters.cycles + self._time(tallies, placement, faster) - as_built

        return LayerRun(
            layer, self.name, lower(layer).dims, mapping, counters, peak, outputs, skips_zeros=True, again=again
        )

    def _check_codebook(self, layer: Layer, weight: Array) -> None:
        values = len(np.unique(weight[weight != 0]))
        if values + 1 > 1 << self.spec.weight_bits:
            raise InfeasibleError(
                f"layer {layer.name}: the codebook of its weights",
                demand=f"{values} values and the padding zeros' 0",
                bound=f"{1 << self.spec.weight_bits} entries (weight_bits: {self.spec.weight_bits})",
                levers=(f"--set arch.engine.weight_bits={values.bit_length()}", "a smaller codebook"),
            )

    def _products(self, layer: Layer, operands: Operands, record: bool) -> tuple[Array, list[Tally]]:
        """The outputs of a layer of matrix-vector products, and a tally for each of its groups."""
        tallies, parts = list[Tally](), []
        for matrix, vectors, bias in groups(layer, operands):
            accumulators, tally = self.product(matrix, vectors, bias, layer.precision.accumulator, record)
            parts.append(accumulators)
            tallies.append(replace(tally, matrix=len(tallies)))
        return assemble(layer, parts), tallies

    def _recurrent(self, layer: Layer, operands: Operands, record: bool) -> tuple[Array, list[Tally]]:
        """An LSTM's or GRU's steps: input and recurrent matrices, the cell, the projection, the state fed
        back.
        """
        op = layer.op
        assert isinstance(op, Recurrent)
        assert operands.weight is not None
        sequence = operands.inputs[0] if operands.inputs[0].ndim == 3 else operands.inputs[0][:, None]
        batch, steps, features = sequence.shape
        accumulator = layer.precision.accumulator
        given, tally = self.product(
            operands.weight[:, :features],
            sequence.reshape(batch * steps, features),
            operands.bias,
            accumulator,
            record,
        )
        tallies = [tally]
        given = given.reshape(batch, steps, -1)
        state, hidden = functional.initial_state(layer), []
        cell = cell_of(layer, self.spec.tables)
        feedback = operands.weight[:, features:]
        projection = operands.projection
        for step in range(steps):
            gates, tally = self.product(feedback, state.hidden, None, accumulator, record)
            tallies.append(replace(tally, matrix=1))
            state = functional.recurrent_cell(layer, given[:, step], gates, state, operands.peepholes, cell)
            if projection is not None:
                down, tally = self.product(projection, state.hidden, None, accumulator, record)
                tallies.append(replace(tally, matrix=2))
                state = state._replace(hidden=functional.requantize(down, layer, op.hidden))
            hidden.append(state.hidden)
        return np.stack(hidden, axis=1).reshape(layer.output_shapes[0]), tallies

    # ---- a matrix times vectors
    # ----------------------------------------------------------------------------------

    def product(
        self, matrix: Array, vectors: Array, bias: Int64s | None, accumulator: NumberFormat, record: bool = False
    ) -> tuple[Int64s, Tally]:
        """``vectors`` (n x columns) times the matrix: accumulators n x rows, and what it counted (written down, if that
        is to be recorded).
        """
        tally = Tally(columns=matrix.shape[1], walk=MatrixWalk() if record else None)
        sums = np.zeros((len(vectors), matrix.shape[0]), np.int64)
        for rows, columns in self._passes(matrix):
            part = matrix[rows, columns]
            last = columns.stop >= matrix.shape[1]
            stored = Stored.of(part, self.spec, bias[rows] if bias is not None and last else None)
            tally.deepest_pe = max(tally.deepest_pe, int(stored.pointers[-1].max()))
            each = []
            for some in self._batches(stored, len(vectors)):
                found = self._multiply(stored, vectors[some, columns], sums[some, rows], accumulator)
                tally.add(*found, self.spec.channels)
                each.append(found[0][:, kernels.C_CYCLES])
            cycles = np.concatenate(each)
            if tally.walk is not None:
                tally.walk.passes.append(self._pass(stored, vectors[:, columns], cycles))
            longest = cycles[_slowest(cycles, self.spec.channels)]
            copied = sum(self._switch_cycles(stored)) if self.spec.passes == "drained" else 0
            tally.switching_cycles += copied * len(longest)
            size = stored.packed.size(self.spec.weight_bits, self.spec.pointer_bits)
            tally.parts.append(Part(size, tuple((longest + copied).tolist())))
            tally.scanned += part.shape[1] * len(vectors)
        return sums, tally

    def _passes(self, matrix: Array) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the matrix that the register files hold at a time; all, where passes cost
        nothing.
        """
        reach = self.spec.register_entries * self.spec.pes
        if self.spec.passes == "overlapped":
            yield slice(0, matrix.shape[0]), slice(0, matrix.shape[1])
            return
        for row in range(0, matrix.shape[0], reach):
            for column in range(0, matrix.shape[1], reach):
                yield (
                    slice(row, min(row + reach, matrix.shape[0])),
                    slice(column, min(column + reach, matrix.shape[1])),
                )

    def _switch_cycles(self, stored: Stored) -> tuple[int, int]:
        """Between passes each PE copies its activations in and its results out, an element a cycle."""
        return ceil_div(stored.packed.shape[1], self.spec.pes), stored.packed.depth

    def _pass(self, stored: Stored, vectors: Array, cycles: Int64s) -> Pass:
        """A pass written down: of each group of channels the vector that takes longest, which the others wait for."""
        longest = _slowest(cycles, self.spec.channels)
        cycles, times = cycles[longest], 1
        whole = stored.whole(vectors[longest])
        if not self.spec.skip_zeros:  # all take as long as a vector without zeros
            whole, cycles, times = np.ones_like(whole[:1]), cycles[:1], len(cycles)
        copied = self._switch_cycles(stored) if self.spec.passes == "drained" else (0, 0)
        packed, options = stored.packed, self._options(stored, None)
        return Pass(
            packed.starts, stored.pointers, stored.rows, packed.values, options, _narrow(whole), cycles, times, *copied
        )

    def _batches(self, stored: Stored, vectors: int) -> Iterator[slice]:
        """Groups of channels, as many at a time as keep the copies of their vectors and sums small."""
        one = stored.packed.shape[1] + stored.packed.depth * stored.packed.pes
        step = max(1, BATCH_ELEMENTS // (one * self.spec.channels)) * self.spec.channels
        for first in range(0, vectors, step):
            yield slice(first, min(first + step, vectors))

    def _multiply(
        self, stored: Stored, vectors: Array, sums: Int64s, accumulator: NumberFormat
    ) -> tuple[Int64s, Int64s, Int64s]:
        """Every vector (n x columns) times the matrix, added to ``sums`` (n x rows): the counts of each, the entries
        of its busiest PE, the rows that are written.
        """
        whole = stored.whole(vectors)
        *found, by_row = self._run(stored, whole, sums, accumulator)
        sums[:] = by_row
        if not self.spec.skip_zeros:  # every column is broadcast: the time is that of a vector without zeros
            values = found[0][:, [kernels.C_MACS, kernels.C_OVERFLOWS]]
            *timed, _ = self._run(stored, np.ones_like(whole[:1]), np.zeros_like(sums[:1]), None)
            found = [np.repeat(one, len(whole), axis=0) for one in timed]
            found[0][:, [kernels.C_MACS, kernels.C_OVERFLOWS]] = values
        counts, busiest, written = found
        return counts, busiest, written

    def _run(
        self, stored: Stored, whole: Int64s, start: Int64s, accumulator: NumberFormat | None
    ) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """The event kernel: counts of each vector, the entries of its busiest PE, the rows that are written, the sums
        by row that grew from ``start``. Without an accumulator they may be of any size.
        """
        packed, n = stored.packed, len(whole)
        by_row = np.zeros((n, packed.depth * packed.pes), np.int64)
        by_row[:, : start.shape[1]] = start
        sums = _exchanged(by_row, packed.depth, packed.pes)
        counts = np.zeros((n, kernels.COUNT_FIELDS), np.int64)
        busiest, written = np.zeros(n, np.int64), np.zeros(n, np.int64)
        kernels.run_batch(
            whole, packed.starts, stored.pointers, stored.rows, packed.values, self._options(stored, accumulator),
            stored.heaviest, sums, counts, busiest, written,
        )  # fmt: skip
        counts[:, kernels.C_MACS] -= stored.bias_entries
        return counts, busiest, written, _exchanged(sums, packed.pes, packed.depth)[:, : start.shape[1]]

    def _options(self, stored: Stored, accumulator: NumberFormat | None) -> Int64s:
        spec = self.spec
        return kernels.options_of(
            depth=stored.packed.depth, capacity=spec.queue_capacity, row_entries=spec.row_entries,
            pack=spec.pes,
            empty_slots=int(spec.empty_column == "cycle"), lead=spec.multiply_after, tail=spec.done_after,
            pack_idle=spec.zero_detection == "packs",
            limits=None if accumulator is None else (accumulator.lowest, accumulator.highest),
            saturate=spec.accumulator_overflow == "saturate",
        )  # fmt: skip

    # ---- weights from off chip
    # ---------------------------------------------------------------------------------

    def _load(self, tallies: list[Tally], placement: Placement) -> None:
        """Double buffering: what is fetched comes while what came before it is at work; what is not hidden is
        waited for.
        """
        bandwidth = self.arch.off_chip.bandwidth
        rate = None if bandwidth is None else bandwidth.per_cycle(self.arch.clock)
        latency = self.arch.off_chip.latency.in_cycles(self.arch.clock)
        fetched, free, done = 0, [0, 0], 0
        for turn, (tally, size, cycles) in enumerate(self._turns(tallies, placement)):
            start = done
            if size is not None:
                needed = 0 if rate is None else ceil(Fraction(size.total_bits, 8) / rate)
                begin = max(fetched, free[turn % 2])
                fetched = begin + needed
                start = max(done, fetched + latency)
                tally.fetched += size
                if tally.walk is not None:
                    tally.walk.fetches.append(Fetch(begin, fetched, size.total_bits))
            tally.loading_cycles += start - done
            if tally.walk is not None:
                tally.walk.turn(start - done, cycles)
            done = free[turn % 2] = start + cycles

    def _time(self, tallies: list[Tally], placement: Placement, faster: Faster) -> int:
        """Cycles of all turns of `_load`, on a machine with a faster resource."""
        bandwidth, speed = self.arch.off_chip.bandwidth, faster.speed(MEMORY)
        rate = None if bandwidth is None or speed is None else speed * bandwidth.per_cycle(self.arch.clock)
        latency = faster.of(LATENCY, self.arch.off_chip.latency.in_cycles(self.arch.clock)) if bandwidth is not None else 0
        fetched, free, done = 0, [0, 0], 0
        for turn, (_, size, cycles) in enumerate(self._turns(tallies, placement)):
            if size is not None and bandwidth is not None:
                needed = 0 if rate is None else ceil(Fraction(size.total_bits, 8) / rate)
                fetched = max(fetched, free[turn % 2]) + needed
                done = max(done, fetched + latency)
            done = free[turn % 2] = done + faster.of(PES, cycles)
        return done

    def _turns(self, tallies: list[Tally], placement: Placement) -> Iterator[tuple[Tally, Size | None, int]]:
        """What the engine works on in turn, and for how long; and its size, where that has to be fetched for it.

        Matrices that fit their memory together are fetched when first needed, and stay. Else each part is fetched when
        its turn comes: once if it fits by itself, once for every group of channels if not.
        """
        resident, stay = self.resident(tallies, placement), self._fit(_stored(tallies), placement)
        seen = set[int]()
        for tally in tallies:
            known = resident or (stay and tally.matrix in seen)
            seen.add(tally.matrix)
            for part in tally.parts:
                whole = known or stay or self._fit(part.size, placement)
                for cycles in (sum(part.cycles),) if whole else part.cycles:
                    yield tally, None if known else part.size, cycles

    def _fit(self, size: Size, placement: Placement) -> bool:
        """Whether so much fits the weights' memory beside what lies there; pointers have one of their own."""
        level = self.arch.holder("weight")
        if level is None:
            return False
        room = free_bytes(level, placement)
        return room is None or size.total_bits - size.pointers_bits <= 8 * room

    def resident(self, tallies: list[Tally], placement: Placement) -> bool:
        """Whether the compressed weights are on chip before the layer starts: where the design does so, and
        they fit.
        """
        level = self.arch.holder("weight")
        return level is not None and level.preloaded and self._fit(_stored(tallies), placement)

    # ---- counters
    # ----------------------------------------------------------------------------------------------

    def _counters(self, layer: Layer, tallies: list[Tally], placement: Placement) -> Counters:
        total = Tally()
        for tally in tallies:
            total.record += tally.record
            total.fetched += tally.fetched
            for name in ("products", "longest_pe", "loading_cycles", "switching_cycles", "scanned", "first_writes"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
        moved = self._traffic(layer, total, placement)
        short = self._short_of_bandwidth(moved, total.cycles)
        stalls = Stalls(
            fill=total.count("fill"), drain=total.count("drain"), queue=total.count("queue"),
            imbalance=total.count("imbalance"), control=total.count("control") + total.switching_cycles,
            memory=total.loading_cycles + short,
        )  # fmt: skip
        return Counters(
            cycles=total.cycles + short, busy_cycles=total.count("busy"), stalls=stalls, macs=layer.macs,
            effective_macs=total.count("macs"), traffic=moved,
            port_cycles={
                "active": total.count("cycles") - sum(total.count(n) for n in ("held", "scans", "tail")),
                "queue": total.count("held"),
                "fill": total.count("scans"),
                "imbalance": total.count("tail"),
                "memory": total.loading_cycles + short,
                "other": total.switching_cycles,
            },
            accumulator_overflows=total.count("overflows"),
            occupied_cycles={
                PES: total.cycles - total.loading_cycles, **port_occupancy(self.arch, moved),
                LATENCY: self.arch.off_chip.latency.in_cycles(self.arch.clock) * (total.fetched.total_bits > 0),
            },
            unit_counts=self._unit_counts(total, _stored(tallies)),
        )  # fmt: skip

    def _unit_counts(self, total: Tally, stored: Size) -> dict[str, int]:
        """What only a sparse engine counts; the names' meaning: docs/engines/sparse.md."""
        broadcasts, pes = total.count("broadcasts"), self.spec.pes
        return {
            "products": total.products,
            "broadcasts": broadcasts,
            "broadcast_stall_cycles": total.count("held"),
            "scan_cycles": total.count("scans"),
            "starved_pe_cycles": total.count("starved"),
            "entries": total.count("entries"),
            "padding_zeros": total.count("padding"),
            "empty_columns": total.count("empty_slots"),
            "pointer_reads": broadcasts * pes,
            "row_fetches": total.count("row_reads"),
            "entries_of_the_busiest_pe": total.longest_pe,
            "theoretical_cycles": ceil_div(total.count("entries"), pes * self.spec.channels),
            "stored_value_bits": stored.values_bits,
            "stored_index_bits": stored.indices_bits,
            "stored_pointer_bits": stored.pointers_bits,
            "stored_padding_bits": stored.padding_bits,
        }

    def _short_of_bandwidth(self, traffic: Mapping[str, Mapping[str, Transfer]], cycles: int) -> int:
        """Cycles by which some level's port needs longer than the PEs."""
        longest = cycles
        for level in self.arch.memory:
            if level.bandwidth is None:
                continue
            bits = sum(t.read_bits + t.write_bits for t in traffic.get(level.name, {}).values())
            longest = max(longest, ceil(Fraction(bits, 8) / level.bandwidth.per_cycle(self.arch.clock)))
        return longest - cycles

    def _traffic(
        self, layer: Layer, total: Tally, placement: Placement
    ) -> dict[str, dict[str, Transfer]]:
        """Bits through the ports: rows of entry memory, pointers, activations, sums; and what comes from off
        chip.
        """
        spec, precision = self.spec, layer.precision
        rows = total.count("row_reads") * spec.entry_word_bits
        of_weights = rows * spec.weight_bits // (spec.weight_bits + spec.index_bits)
        pointers = total.count("broadcasts") * spec.pes * POINTERS_A_POP * spec.pointer_bits
        entries, sum_bits = total.count("entries"), precision.accumulator.bits
        parts: list[dict[str, dict[str, Transfer]]] = [
            _at(self.arch.holder("weight"), "weight", Transfer(of_weights)),
            _at(self.arch.holder("weight"), "index", Transfer(rows - of_weights)),
            _at(self.arch.holder("index") or self.arch.holder("weight"), "index", Transfer(pointers)),
            _at(self.arch.holder("input"), "input", Transfer(total.scanned * precision.input.bits)),
            _at(self.arch.holder("partial_sum"), "partial_sum",
                Transfer((entries - total.first_writes) * sum_bits, entries * sum_bits)),
            _at(self.arch.holder("output"), "output", Transfer(0, _elements(layer) * precision.output.bits)),
        ]  # fmt: skip
        far = self.arch.off_chip
        fetched = ceil(sum(_inputs(layer)) * placement.input_off_chip) * precision.input.bits
        parts.append(_at(far, "input", Transfer(fetched)))
        parts.append(_at(self.arch.holder("input"), "input", Transfer(0, fetched)))
        if not placement.output_resident:
            stored = _elements(layer) * precision.output.bits
            parts.append(_at(far, "output", Transfer(0, stored)))
            parts.append(_at(self.arch.holder("output"), "output", Transfer(stored)))
        parts += self._weights_fetched(total.fetched)
        return add_traffic(parts)

    def _weights_fetched(self, size: Size) -> list[dict[str, dict[str, Transfer]]]:
        """Compressed matrices from off chip into their memories."""
        share = size.padding_bits * self.spec.weight_bits // (self.spec.weight_bits + self.spec.index_bits)
        weights, indices = size.values_bits + share, size.indices_bits + size.padding_bits - share
        pointers = size.pointers_bits
        near, far = self.arch.holder("weight"), self.arch.off_chip
        return [
            _at(far, "weight", Transfer(weights)), _at(far, "index", Transfer(indices + pointers)),
            _at(near, "weight", Transfer(0, weights)), _at(near, "index", Transfer(0, indices)),
            _at(self.arch.holder("index") or near, "index", Transfer(0, pointers)),
        ]  # fmt: skip

    def _vector_work(self, layer: Layer, placement: Placement, carry: Carry) -> Counters:
        """The element-wise part of a layer with MACs: its operands are on chip already."""
        counters = Counters()
        for work in lower(layer).work:
            if isinstance(work, VectorWork) and self.vector is not None:
                shares = (Fraction(0),) * len(work.input_elements)
                inside = replace(placement, output_resident=True)
                counters += self.vector.run_repeated(work, layer.precision, shares, inside, carry)
        return counters

    def _mapping(self, tallies: list[Tally], placement: Placement) -> dict[str, Any]:
        """How the layer lies on the engine, as plain data."""
        passes = ceil_div(max(tally.columns for tally in tallies), self.spec.register_entries * self.spec.pes)
        return {
            "format": "interleaved_csc", "pes": self.spec.pes, "index_bits": self.spec.index_bits,
            "weight_bits": self.spec.weight_bits, "vectors": sum(t.products for t in tallies),
            "passes": passes, "weights_resident": self.resident(tallies, placement),
            "pointers_fit": all(t.deepest_pe < 1 << self.spec.pointer_bits for t in tallies),
        }  # fmt: skip


def _written_down(tallies: list[Tally], cycles: int) -> SparseWalk:
    walk = SparseWalk([tally.walk for tally in tallies if tally.walk is not None])
    walk.short = cycles - walk.cycles
    return walk


def _stored(tallies: list[Tally]) -> Size:
    """Of all matrices of a layer; one that comes again is stored once."""
    return sum({tally.matrix: tally.size for tally in tallies}.values(), Size())


def _at(level: Level | None, tensor: str, transfer: Transfer) -> dict[str, dict[str, Transfer]]:
    if level is None or not (transfer.read_bits or transfer.write_bits):
        return {}
    return {level.name: {tensor: transfer}}


def _elements(layer: Layer) -> int:
    return int(np.prod(layer.output_shapes[0]))


def _inputs(layer: Layer) -> list[int]:
    return [int(np.prod(shape)) for shape in layer.input_shapes]
