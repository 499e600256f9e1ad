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
from accelsim.engines.vector import VectorUnit
from accelsim.engines.walk import Carry
from accelsim.errors import InfeasibleError
from accelsim.formats import Coo, InterleavedCsc, Size
from accelsim.mapping.loopnest import Axis, LoopNest, VectorWork, lower
from accelsim.mapping.machine import Placement
from accelsim.schedule.residency import Plan
from accelsim.units import ceil_div
from accelsim.workload import functional
from accelsim.workload.network import Layer
from accelsim.workload.ops import Conv2d, LocallyConnected2d, Matmul, Recurrent
from accelsim.workload.precision import NumberFormat

Int64s = npt.NDArray[np.int64]
POINTERS_A_POP = 2  # where the column begins, and where the next one does: one in each bank


# ---- one matrix in the PEs' memories
# -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Stored:
    """A compressed matrix as the kernels take it. ``heaviest``: largest sum of a row's magnitudes."""

    packed: InterleavedCsc
    pointers: npt.NDArray[np.int32]
    rows: Array
    heaviest: int

    @classmethod
    def of(cls, matrix: Coo, spec: SparseSpec, bias: Int64s | None = None) -> Stored:
        """Compress ``matrix`` (integers); a bias becomes one more column, in a pack of its own."""
        packed = InterleavedCsc.encode(
            replace(matrix, values=_narrow(matrix.values)), spec.pes, spec.index_bits
        )
        weights = np.bincount(
            matrix.rows, np.abs(matrix.values.astype(np.float64)), minlength=matrix.shape[0]
        )
        if bias is not None:
            packed = packed.with_bias(bias, at=ceil_div(matrix.shape[1], spec.pes) * spec.pes)
            packed = replace(packed, values=_narrow(packed.values))
            weights += np.abs(bias.astype(np.float64))
        rows = np.empty(packed.entries, np.uint16 if packed.depth * packed.pes <= 1 << 16 else np.uint32)
        kernels.decode_rows(packed.starts, packed.zeros, packed.pes, packed.depth, rows)
        return cls(packed, packed.pointers().astype(np.int32), rows, ceil(weights.max(initial=0.0)))

    def vector(self, values: Array) -> Int64s:
        """``values`` with zeros up to the bias' pack, and its activation of one."""
        whole = np.zeros(self.packed.shape[1], np.int64)
        whole[: len(values)] = values
        if len(whole) > len(values):
            whole[-1] = 1
        return whole


def _narrow(values: Array) -> Array:
    """int16 where all of them fit, else int64: the two types that the kernels are compiled for."""
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
    loading_cycles: int = 0  # of the weights' buffer, not hidden
    switching_cycles: int = 0  # of the register files, between passes
    scanned: int = 0  # activations that the leading-non-zero detection looked at
    rows: int = 0

    def add(self, records: list[Int64s]) -> None:
        """Products of one vector each, side by side on as many channels."""
        slowest = max(records, key=lambda record: int(record[kernels.C_CYCLES]))
        total = np.sum(records, axis=0)
        for at in _TIMES:
            total[at] = slowest[at]
        self.record += total
        self.products += len(records)

    @property
    def cycles(self) -> int:
        return int(self.record[kernels.C_CYCLES]) + self.loading_cycles + self.switching_cycles

    def count(self, name: str) -> int:
        return int(self.record[getattr(kernels, f"C_{name.upper()}")])


_TIMES = (
    kernels.C_CYCLES, kernels.C_BUSY, kernels.C_FILL, kernels.C_DRAIN, kernels.C_QUEUE, kernels.C_IMBALANCE,
    kernels.C_CONTROL, kernels.C_HELD, kernels.C_SCANS, kernels.C_TAIL,
)  # fmt: skip


# ---- the engine
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SparseEngine:
    """The engine that an architecture's block of kind ``sparse`` describes."""

    arch: Architecture
    spec: SparseSpec
    vector: VectorUnit | None = None

    @property
    def name(self) -> str:
        return self.spec.kind

    @property
    def needs_values(self) -> bool:
        return True  # where the zeros are decides how long it takes

    def evaluate(self, layer: Layer, operands: Operands) -> Evaluated:
        return Evaluated(functional.evaluate(layer, operands.inputs, operands.weight))

    def check(self, layer: Layer, plan: Plan) -> None:
        """Integers only, and a codebook no larger than the weights' codes reach."""
        del plan
        if not layer.macs:
            return
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
        return LayerRun(
            layer, self.name, lower(layer).dims, mapping, counters, peak, outputs, skips_zeros=True
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

    def _products(self, layer: Layer, operands: Operands) -> tuple[Array, list[Tally], list[Size]]:
        """The outputs of a layer of matrix-vector products, a tally and a size for each of its groups."""
        tallies, sizes, parts = [], [], []
        for matrix, vectors, bias in _groups(layer, operands):
            accumulators, tally, size = self.product(matrix, vectors, bias, layer.precision.accumulator)
            parts.append(accumulators)
            tallies.append(tally)
            sizes.append(size)
        return _assemble(layer, parts), tallies, sizes

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
            Coo.from_dense(operands.weight[:, :features]),
            sequence.reshape(batch * steps, features),
            bias,
            accumulator,
        )
        tallies, sizes = [tally], [size]
        given = given.reshape(batch, steps, -1)
        state, hidden = functional.initial_state(layer), []
        feedback = Coo.from_dense(operands.weight[:, features:])
        projection = None if operands.projection is None else Coo.from_dense(operands.projection)
        for step in range(steps):
            gates, tally, size = self.product(feedback, state.hidden, None, accumulator)
            tallies, sizes = [*tallies, tally], [*sizes, size]
            state = functional.recurrent_cell(layer, given[:, step], gates, state, operands.peepholes)
            if projection is not None:
                down, tally, size = self.product(projection, state.hidden, None, accumulator)
                tallies, sizes = [*tallies, tally], [*sizes, size]
                state = state._replace(hidden=functional.requantize(down, layer, op.hidden))
            hidden.append(state.hidden)
        return np.stack(hidden, axis=1).reshape(layer.output_shapes[0]), tallies, sizes

    # ---- a matrix times vectors
    # ----------------------------------------------------------------------------------

    def product(
        self, matrix: Coo, vectors: Array, bias: Int64s | None, accumulator: NumberFormat
    ) -> tuple[Int64s, Tally, Size]:
        """``vectors`` (n x columns) times the matrix: accumulators n x rows, what it counted, the matrix's
        size.
        """
        tally, size = Tally(), Size()
        sums = np.zeros((len(vectors), matrix.shape[0]), np.int64)
        for rows, columns in self._passes(matrix):
            part = _window(matrix, rows, columns)
            last = columns.stop >= matrix.shape[1]
            stored = Stored.of(part, self.spec, bias[rows] if bias is not None and last else None)
            size = _grown(size, stored.packed.size(self.spec.weight_bits, self.spec.pointer_bits))
            for first in range(0, len(vectors), self.spec.channels):
                batch = vectors[first : first + self.spec.channels, columns]
                self._side_by_side(
                    stored, batch, sums[first : first + self.spec.channels, rows], accumulator, tally
                )
            if self.spec.passes == "drained":
                tally.switching_cycles += self._switch_cycles(stored) * ceil_div(
                    len(vectors), self.spec.channels
                )
            tally.scanned += part.shape[1] * len(vectors)
            tally.rows += part.shape[0] * len(vectors)
        return sums, tally, size

    def _passes(self, matrix: Coo) -> Iterator[tuple[slice, slice]]:
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

    def _side_by_side(
        self, stored: Stored, vectors: Array, sums: Int64s, accumulator: NumberFormat, tally: Tally
    ) -> None:
        """One vector a channel; ``sums`` (n x rows of the pass) is added to."""
        records = []
        for vector, total in zip(vectors, sums, strict=True):
            whole = stored.vector(vector)
            record, by_row = self._run(stored, whole, total, accumulator)
            if (
                not self.spec.skip_zeros
            ):  # every column is broadcast: the time is that of a vector without zeros
                timed, _ = self._run(stored, np.ones_like(whole), None, accumulator)
                timed[kernels.C_MACS], timed[kernels.C_OVERFLOWS] = (
                    record[kernels.C_MACS],
                    record[kernels.C_OVERFLOWS],
                )
                record, whole = timed, np.ones_like(whole)
            total[:] = by_row
            records.append(record)
            lengths = stored.pointers[1:][whole != 0] - stored.pointers[:-1][whole != 0]
            tally.longest_pe += int(lengths.sum(axis=0).max(initial=0))
        tally.add(records)

    def _run(
        self, stored: Stored, vector: Int64s, start: Int64s | None, accumulator: NumberFormat
    ) -> tuple[Int64s, Int64s]:
        """The event kernel on one vector: its counts, and the sums by row that grew from ``start``."""
        packed = stored.packed
        depth, pes = packed.depth, packed.pes
        by_pe = np.zeros((depth, pes), np.int64)
        if start is not None:
            by_pe.reshape(-1)[: len(start)] = start
        sums = np.ascontiguousarray(by_pe.T).reshape(-1)
        record = np.zeros(kernels.COUNT_FIELDS, np.int64)
        kernels.run_events(
            vector, packed.starts, stored.pointers, stored.rows, packed.values,
            self._options(stored, vector, accumulator, start is not None), sums, record,
        )  # fmt: skip
        return record, sums.reshape(pes, depth).T.reshape(-1)[: packed.shape[0]]

    def _options(self, stored: Stored, vector: Int64s, accumulator: NumberFormat, counted: bool) -> Int64s:
        """Sums are held against the accumulator's limits only where this matrix and vector could leave it."""
        limits = (accumulator.lowest, accumulator.highest)
        most = stored.heaviest * int(np.abs(vector).max(initial=0))
        spec = self.spec
        return kernels.options_of(
            depth=stored.packed.depth, capacity=spec.queue_capacity, row_entries=spec.row_entries,
            pack=spec.pes,
            empty_slots=int(spec.empty_column == "cycle"), lead=spec.multiply_after, tail=spec.done_after,
            pack_idle=spec.zero_detection == "packs",
            limits=limits if counted and most > limits[1] else None,
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

    def _counters(
        self, layer: Layer, tallies: list[Tally], sizes: list[Size], placement: Placement
    ) -> Counters:
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
        }  # fmt: skip


# ---- layers as matrices and vectors
# --------------------------------------------------------------------------------


def _groups(layer: Layer, operands: Operands) -> Iterator[tuple[Coo, Array, Int64s | None]]:
    """(matrix out x in, vectors n x in, bias) of each group."""
    if isinstance(layer.op, Conv2d):
        assert operands.weight is not None
        nest = next(work for work in lower(layer).work if isinstance(work, LoopNest))
        size = nest.dims.K
        for group in range(nest.dims.G):
            weight = operands.weight[group * size : (group + 1) * size].reshape(size, -1)
            bias = None if operands.bias is None else operands.bias[group * size : (group + 1) * size]
            yield Coo.from_dense(weight), _windows(operands.inputs[0], nest, group), bias
        return
    if len(operands.inputs) == 2:
        assert isinstance(layer.op, Matmul)
        batch, m, _, k = layer.op.sizes(layer.input_shapes)
        right = operands.inputs[1].reshape(batch, -1, operands.inputs[1].shape[-1])
        right = right if layer.op.transpose_b else right.transpose(0, 2, 1)
        left = operands.inputs[0].reshape(batch, m, k)
        for group in range(batch):
            yield Coo.from_dense(right[group]), left[group], None
        return
    assert operands.weight is not None
    weight = operands.weight
    if isinstance(layer.op, Matmul) and not layer.op.transpose_b:
        weight = weight.T
    yield Coo.from_dense(weight), operands.inputs[0].reshape(-1, weight.shape[1]), operands.bias


def _windows(image: Array, nest: LoopNest, group: int) -> Array:
    """The window of every output pixel of one group, (N*P*Q) x (C*R*S). ``image`` is N x (G*C) x H x W."""
    d = nest.dims
    rows, columns = _taps(nest.rows, d.P, d.R), _taps(nest.columns, d.Q, d.S)
    # one ring of zeros around the image: every place outside it reads there
    padded = np.pad(image[:, group * d.C : (group + 1) * d.C], ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = padded[:, :, rows[:, :, None, None], columns[None, None, :, :]]  # N C P R Q S
    return np.asarray(found.transpose(0, 2, 4, 1, 3, 5).reshape(d.pixels, d.reduction))


def _taps(axis: Axis, outputs: int, taps: int) -> Int64s:
    """Places along one axis of the ringed image that output p and filter tap r read, outputs x taps."""
    places = np.add.outer(np.arange(outputs) * axis.stride, np.arange(taps) * axis.dilation) - axis.pad
    return np.asarray(np.clip(places, -1, axis.size) + 1)


def _assemble(layer: Layer, parts: list[Int64s]) -> Array:
    """Accumulators of the groups as the layer's output, requantized."""
    shape = layer.output_shapes[0]
    if isinstance(layer.op, Conv2d):
        n, k, p, q = shape
        stacked = np.concatenate(parts, axis=1).reshape(n, p, q, k).transpose(0, 3, 1, 2)
    else:
        stacked = np.stack(parts) if len(parts) > 1 else parts[0]
    reduction = layer.macs // _elements(layer)
    return functional.requantize(np.ascontiguousarray(stacked).reshape(shape), layer, reduction)


def stand_in(layer: Layer) -> Operands:
    """Random operands of a layer's densities, for a run without values."""
    from accelsim.workload.values import weight_values

    random = np.random.default_rng(0)
    density = layer.input_values.density
    inputs = tuple(
        np.where(random.random(shape) < density, random.integers(1, 100, shape), 0).astype(np.int32)
        for shape in layer.input_shapes
    )
    weight = weight_values(layer, 0) if layer.weight_shape is not None else None
    if not isinstance(layer.op, Recurrent):
        return Operands(inputs, weight)
    from accelsim.workload.values import peephole_values, projection_values

    projection = projection_values(layer, 0) if layer.op.projection else None
    return Operands(
        inputs, weight, None, projection, peephole_values(layer, 0) if layer.op.peepholes else None
    )


def _window(matrix: Coo, rows: slice, columns: slice) -> Coo:
    """The part of ``matrix`` at those rows and columns."""
    if (rows.stop - rows.start, columns.stop - columns.start) == matrix.shape:
        return matrix
    inside = (matrix.rows >= rows.start) & (matrix.rows < rows.stop)
    inside &= (matrix.cols >= columns.start) & (matrix.cols < columns.stop)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return Coo(
        shape, matrix.rows[inside] - rows.start, matrix.cols[inside] - columns.start, matrix.values[inside]
    )


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
