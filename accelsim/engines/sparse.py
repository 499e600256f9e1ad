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

from accelsim.arch.spec import Architecture, MemoryLevel, SparseSpec
from accelsim.counters import Counters, Stalls, Transfer, add_traffic
from accelsim.engines.base import Array, Evaluated, LayerRun, Operands
from accelsim.engines.kernels import sparse as kernels
from accelsim.engines.sparse_cell import cell_of
from accelsim.engines.sparse_products import assemble, groups, stand_in
from accelsim.engines.vector import VectorUnit
from accelsim.engines.walk import Carry
from accelsim.errors import Fault, InfeasibleError, InputError
from accelsim.formats import InterleavedCsc, Size
from accelsim.mapping.loopnest import VectorWork, lower
from accelsim.mapping.machine import Placement
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.schedule.residency import Plan
from accelsim.units import ceil_div
from accelsim.workload import functional
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
    rows: int = 0

    def add(self, records: Int64s, busiest: Int64s, channels: int) -> None:
        """Products of one vector each (n x COUNT_FIELDS), in groups of ``channels`` side by side."""
        first = np.arange(0, len(records), channels)
        totals = np.add.reduceat(records, first, axis=0)
        totals[:, _TIMES] = records[_slowest(records[:, kernels.C_CYCLES], channels)][:, _TIMES]
        self.record += totals.sum(axis=0)
        self.products += len(records)
        self.longest_pe += int(busiest.sum())

    @property
    def cycles(self) -> int:
        return int(self.record[kernels.C_CYCLES]) + self.loading_cycles + self.switching_cycles

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
        return Evaluated(functional.evaluate(layer, operands.inputs, operands.weight))

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
        if isinstance(layer.op, Recurrent):
            output, tallies, sizes = self._recurrent(layer, given)
        else:
            output, tallies, sizes = self._products(layer, given)
        self._load(tallies, sizes)
        counters = self._counters(layer, tallies, sizes, placement)
        counters += self._vector_work(layer, placement, carry)
        mapping = self._mapping(layer, tallies, sizes)
        peak = self.spec.macs_per_cycle(layer.precision)
        outputs = (output,) if operands is not None else None
        return LayerRun(layer, self.name, lower(layer).dims, mapping, counters, peak, outputs, skips_zeros=True)

    def _check_codebook(self, layer: Layer, weight: Array) -> None:
        values = len(np.unique(weight[weight != 0]))
        if values + 1 > 1 << self.spec.weight_bits:
            raise InfeasibleError(
                f"layer {layer.name}: the codebook of its weights",
                demand=f"{values} values and the padding zeros' 0",
                bound=f"{1 << self.spec.weight_bits} entries (weight_bits: {self.spec.weight_bits})",
                levers=(f"--set arch.engine.weight_bits={values.bit_length()}", "a smaller codebook"),
            )

    def _products(self, layer: Layer, operands: Operands) -> tuple[Array, list[Tally], list[Size]]:
        """The outputs of a layer of matrix-vector products, a tally and a size for each of its groups."""
        tallies, sizes, parts = [], [], []
        for matrix, vectors, bias in groups(layer, operands):
            accumulators, tally, size = self.product(matrix, vectors, bias, layer.precision.accumulator)
            parts.append(accumulators)
            tallies.append(tally)
            sizes.append(size)
        return assemble(layer, parts), tallies, sizes

    def _recurrent(self, layer: Layer, operands: Operands) -> tuple[Array, list[Tally], list[Size]]:
        """An LSTM's or GRU's steps: input and recurrent matrices, the cell, the projection, the state fed
        back.
        """
        op = layer.op
        assert isinstance(op, Recurrent)
        assert operands.weight is not None
        sequence = operands.inputs[0] if operands.inputs[0].ndim == 3 else operands.inputs[0][:, None]
        batch, steps, features = sequence.shape
        accumulator = layer.precision.accumulator
        bias = operands.bias
        given, tally, size = self.product(
            operands.weight[:, :features],
            sequence.reshape(batch * steps, features),
            bias,
            accumulator,
        )
        tallies, sizes = [tally], [size]
        given = given.reshape(batch, steps, -1)
        state, hidden = functional.initial_state(layer), []
        cell = cell_of(layer, self.spec.tables)
        feedback = operands.weight[:, features:]
        projection = operands.projection
        for step in range(steps):
            gates, tally, size = self.product(feedback, state.hidden, None, accumulator)
            tallies, sizes = [*tallies, tally], [*sizes, size]
            state = functional.recurrent_cell(layer, given[:, step], gates, state, operands.peepholes, cell)
            if projection is not None:
                down, tally, size = self.product(projection, state.hidden, None, accumulator)
                tallies, sizes = [*tallies, tally], [*sizes, size]
                state = state._replace(hidden=functional.requantize(down, layer, op.hidden))
            hidden.append(state.hidden)
        return np.stack(hidden, axis=1).reshape(layer.output_shapes[0]), tallies, sizes

    # ---- a matrix times vectors
    # ----------------------------------------------------------------------------------

    def product(
        self, matrix: Array, vectors: Array, bias: Int64s | None, accumulator: NumberFormat
    ) -> tuple[Int64s, Tally, Size]:
        """``vectors`` (n x columns) times the matrix: accumulators n x rows, what it counted, the matrix's
        size.
        """
        tally, size = Tally(), Size()
        sums = np.zeros((len(vectors), matrix.shape[0]), np.int64)
        for rows, columns in self._passes(matrix):
            part = matrix[rows, columns]
            last = columns.stop >= matrix.shape[1]
            stored = Stored.of(part, self.spec, bias[rows] if bias is not None and last else None)
            tally.deepest_pe = max(tally.deepest_pe, int(stored.pointers[-1].max()))
            size = _grown(size, stored.packed.size(self.spec.weight_bits, self.spec.pointer_bits))
            for some in self._batches(stored, len(vectors)):
                records, busiest = self._multiply(stored, vectors[some, columns], sums[some, rows], accumulator)
                tally.add(records, busiest, self.spec.channels)
            if self.spec.passes == "drained":
                tally.switching_cycles += self._switch_cycles(stored) * ceil_div(len(vectors), self.spec.channels)
            tally.scanned += part.shape[1] * len(vectors)
            tally.rows += part.shape[0] * len(vectors)
        return sums, tally, size

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

    def _switch_cycles(self, stored: Stored) -> int:
        """Between passes each PE copies its activations in and its results out, an element a cycle."""
        return ceil_div(stored.packed.shape[1], self.spec.pes) + stored.packed.depth

    def _batches(self, stored: Stored, vectors: int) -> Iterator[slice]:
        """Groups of channels, as many at a time as keep the copies of their vectors and sums small."""
        one = stored.packed.shape[1] + stored.packed.depth * stored.packed.pes
        step = max(1, BATCH_ELEMENTS // (one * self.spec.channels)) * self.spec.channels
        for first in range(0, vectors, step):
            yield slice(first, min(first + step, vectors))

    def _multiply(
        self, stored: Stored, vectors: Array, sums: Int64s, accumulator: NumberFormat
    ) -> tuple[Int64s, Int64s]:
        """Every vector (n x columns) times the matrix, added to ``sums`` (n x rows): the counts of each, and the
        entries of its busiest PE.
        """
        whole = stored.whole(vectors)
        counts, busiest, by_row = self._run(stored, whole, sums, accumulator)
        sums[:] = by_row
        if not self.spec.skip_zeros:  # every column is broadcast: the time is that of a vector without zeros
            timed, longest, _ = self._run(stored, np.ones_like(whole[:1]), np.zeros_like(sums[:1]), None)
            values = counts[:, [kernels.C_MACS, kernels.C_OVERFLOWS]]
            counts, busiest = np.repeat(timed, len(whole), axis=0), np.repeat(longest, len(whole))
            counts[:, [kernels.C_MACS, kernels.C_OVERFLOWS]] = values
        return counts, busiest

    def _run(
        self, stored: Stored, whole: Int64s, start: Int64s, accumulator: NumberFormat | None
    ) -> tuple[Int64s, Int64s, Int64s]:
        """The event kernel: counts of each vector, the entries of its busiest PE, the sums by row that grew from
        ``start``. Without an accumulator they may be of any size.
        """
        packed, n = stored.packed, len(whole)
        by_row = np.zeros((n, packed.depth * packed.pes), np.int64)
        by_row[:, : start.shape[1]] = start
        sums = _exchanged(by_row, packed.depth, packed.pes)
        counts, busiest = np.zeros((n, kernels.COUNT_FIELDS), np.int64), np.zeros(n, np.int64)
        kernels.run_batch(
            whole, packed.starts, stored.pointers, stored.rows, packed.values, self._options(stored, accumulator),
            stored.heaviest, sums, counts, busiest,
        )  # fmt: skip
        counts[:, kernels.C_MACS] -= stored.bias_entries
        return counts, busiest, _exchanged(sums, packed.pes, packed.depth)[:, : start.shape[1]]

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

    def _load(self, tallies: list[Tally], sizes: list[Size]) -> None:
        """Double buffering: a matrix is fetched while the one before it is at work; what is not hidden is
        waited for.
        """
        bandwidth = self.arch.off_chip.bandwidth
        if bandwidth is None or self.resident(sizes):
            return
        per_cycle = bandwidth.per_cycle(self.arch.clock)
        latency = self.arch.off_chip.latency.in_cycles(self.arch.clock)
        fetched, free, done = 0, [0, 0], 0
        for i, (tally, size) in enumerate(zip(tallies, sizes, strict=True)):
            fetched = max(fetched, free[i % 2]) + ceil(Fraction(size.total_bits, 8) / per_cycle)
            start = max(done, fetched + latency)
            tally.loading_cycles = start - done
            done = free[i % 2] = start + int(tally.record[kernels.C_CYCLES]) + tally.switching_cycles

    def resident(self, sizes: list[Size]) -> bool:
        """Whether the compressed weights are on chip before the layer starts: where the design does so, and
        they fit.
        """
        level = self.arch.holder("weight")
        if level is None or not level.preloaded:
            return False
        entries = sum(size.total_bits - size.pointers_bits for size in sizes)
        return level.size is None or entries <= 8 * level.size

    # ---- counters
    # ----------------------------------------------------------------------------------------------

    def _counters(self, layer: Layer, tallies: list[Tally], sizes: list[Size], placement: Placement) -> Counters:
        total = Tally()
        for tally in tallies:
            total.record += tally.record
            for name in ("products", "longest_pe", "loading_cycles", "switching_cycles", "scanned", "rows"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
        moved = self._traffic(layer, total, sizes, placement)
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
            unit_counts=self._unit_counts(total, sizes),
        )  # fmt: skip

    def _unit_counts(self, total: Tally, sizes: list[Size]) -> dict[str, int]:
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
            "stored_value_bits": sum(size.values_bits for size in sizes),
            "stored_index_bits": sum(size.indices_bits for size in sizes),
            "stored_pointer_bits": sum(size.pointers_bits for size in sizes),
            "stored_padding_bits": sum(size.padding_bits for size in sizes),
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
        self, layer: Layer, total: Tally, sizes: list[Size], placement: Placement
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
                Transfer(max(0, entries - total.rows) * sum_bits, entries * sum_bits)),
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
        if not self.resident(sizes):
            parts += self._weights_fetched(sizes)
        return add_traffic(parts)

    def _weights_fetched(self, sizes: list[Size]) -> list[dict[str, dict[str, Transfer]]]:
        """The compressed matrices from off chip into their memories, once each."""
        padding = sum(size.padding_bits for size in sizes)
        share = padding * self.spec.weight_bits // (self.spec.weight_bits + self.spec.index_bits)
        weights = sum(size.values_bits for size in sizes) + share
        indices = sum(size.indices_bits for size in sizes) + padding - share
        pointers = sum(size.pointers_bits for size in sizes)
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
                counters += self.vector.run(work, layer.precision, shares, inside, carry).times(work.repeat)
        return counters

    def _mapping(self, layer: Layer, tallies: list[Tally], sizes: list[Size]) -> dict[str, Any]:
        """How the layer lies on the engine, as plain data."""
        passes = ceil_div(max(1, _inputs(layer)[0] // max(1, layer.input_shapes[0][0])),
                          self.spec.register_entries * self.spec.pes)  # fmt: skip
        return {
            "format": "interleaved_csc", "pes": self.spec.pes, "index_bits": self.spec.index_bits,
            "weight_bits": self.spec.weight_bits, "vectors": sum(t.products for t in tallies),
            "passes": passes, "weights_resident": self.resident(sizes),
            "pointers_fit": all(t.deepest_pe < 1 << self.spec.pointer_bits for t in tallies),
        }  # fmt: skip


def _grown(first: Size, second: Size) -> Size:
    return Size(
        first.values_bits + second.values_bits, first.indices_bits + second.indices_bits,
        first.pointers_bits + second.pointers_bits, first.padding_bits + second.padding_bits,
    )  # fmt: skip


def _at(level: MemoryLevel | None, tensor: str, transfer: Transfer) -> dict[str, dict[str, Transfer]]:
    if level is None or not (transfer.read_bits or transfer.write_bits):
        return {}
    return {level.name: {tensor: transfer}}


def _elements(layer: Layer) -> int:
    return int(np.prod(layer.output_shapes[0]))


def _inputs(layer: Layer) -> list[int]:
    return [int(np.prod(shape)) for shape in layer.input_shapes]
