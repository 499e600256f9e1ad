"""The systolic array: folds of a tile, their timing by stepping, their operands, and the walk through a schedule.

A tile of a nest is a product of (pixels x reduction) by (reduction x channels), group by group. The array takes it
in *folds*: ``os`` lays pixels on the rows and channels on the columns and streams the reduction; ``ws`` lays the
reduction on the rows and channels on the columns and streams pixels; ``is`` lays the reduction on the rows and
pixels on the columns and streams channels. See docs/engines/systolic.md.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import (
    Architecture,
    Count,
    StructuredSparsity,
    SystolicSpec,
    Tensor,
    relative_throughput,
    speed_of,
)
from accelsim.counters import Counters, Traffic, Transfer, add_traffic
from accelsim.engines.base import Array, Sums
from accelsim.engines.kernels import systolic as kernels
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.tiles import TileOperands, largest_sum
from accelsim.engines.walk import (
    Carry,
    Steps,
    counters_of,
    run_steps,
    timeline_options,
)
from accelsim.errors import InfeasibleError, InvariantError
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Widths
from accelsim.memory.transfers import passes_through, port_contention, spilled_sums, transfer_traffic
from accelsim.schedule.build import Schedule, numbered
from accelsim.units import ceil_div
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.network import Layer
from accelsim.workload.ops import Conv2d, Linear, Matmul
from accelsim.workload.precision import NumberFormat, Precision

Bits = TypeVar("Bits", int, Ints)
ACCUMULATORS = "accumulators"
_DATAFLOW = {"os": kernels.OS, "ws": kernels.WS, "is": kernels.IS}
_DRAIN = {"parallel": kernels.DRAIN_PARALLEL, "cols": kernels.DRAIN_COLS, "rows": kernels.DRAIN_ROWS}
_LOAD = {"rows": kernels.LOAD_ROWS, "parallel": kernels.LOAD_PARALLEL}
_STATIONARY = {"ws": tl.WEIGHT, "is": tl.INPUT, "os": -1}


class Fold(NamedTuple):
    """One shape of fold: the part of the array it uses, the vectors it streams, and the elements it stands for."""

    used_rows: int
    used_cols: int
    vectors: int
    pixels: int
    channels: int
    reduction: int


class FoldGrid(NamedTuple):
    """Folds of a tile: ``groups`` x ``outer`` x ``inner``, and their four shapes (last of outer, last of inner)."""

    groups: int
    outer: int
    inner: int
    shapes: tuple[Fold, Fold, Fold, Fold]

    def counts(self) -> tuple[int, int, int, int]:
        """How many folds there are of each shape."""
        outer, inner = self.outer - 1, self.inner - 1
        return (self.groups * outer * inner, self.groups * outer, self.groups * inner, self.groups)


@dataclass(frozen=True)
class SystolicArray:
    """The engine: an architecture whose engine is a systolic array."""

    arch: Architecture
    spec: SystolicSpec
    _speeds: dict[tuple[NumberFormat, NumberFormat], tuple[int, int]] = field(default_factory=dict, compare=False)
    structure: StructuredSparsity | None = None  # of the weights at hand, where the array skips what they lack

    @property
    def name(self) -> str:
        return self.spec.kind

    @property
    def dataflow(self) -> str:
        return self.spec.dataflow

    @property
    def unrolling(self) -> dict[str, int]:
        return {}

    def unrolled(self, layer: str, sizes: MappingABC[str, int]) -> SystolicArray:
        asked = " ".join(f"{dim} {size}" for dim, size in sizes.items())
        raise InfeasibleError(
            f"layer {layer}: the unroll of its loops",
            demand=f"unroll {asked}",
            bound=f"the systolic engine, whose {self.spec.rows} x {self.spec.cols} array and dataflow unroll",
            levers=(
                f"leave mapping.{layer}.unroll out",
                f"mapping.{layer}.dataflow",
                "arch.engine.rows and .cols",
                "an architecture of kind nfu",
            ),
        )

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        return self.spec.macs_per_cycle(precision)

    def pruned(self, layer: Layer) -> SystolicArray:
        """The array as it works on ``layer``: only what its weights keep of the reduction takes places and time."""
        structure = structure_of(layer, self.spec)
        return self if structure is None else replace(self, structure=structure)

    def skipped(self, macs: int) -> int:
        return macs - macs * self.structure.n // self.structure.m if self.structure else 0

    def refuse(self, layer: str, nest: LoopNest, precision: Precision) -> None:
        """A systolic array takes every nest; it refuses only precisions that it is not given a speed for."""
        del layer, nest
        relative_throughput(self.spec.precision, precision, self.name)

    # ---- what the mapper asks ------------------------------------------------------------------------------

    def units(self, dataflow: str, precision: Precision) -> tuple[int, int, int]:
        pack, _ = self._speed(precision)
        depth = self.spec.rows * pack
        if self.structure is not None:
            depth = depth * self.structure.m // self.structure.n
        return {
            "os": (self.spec.rows, self.spec.cols, 1),
            "ws": (1, self.spec.cols, depth),
            "is": (self.spec.cols, 1, depth),
        }[dataflow]

    def compute_cycles(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        """Folds times the cycles between them: the stream, the reload or drain it does not hide, or the whole fold."""
        pack, slow = self._speed(precision)
        pixels, channels, groups = tiles[:, 0] * tiles[:, 3] * tiles[:, 4], tiles[:, 1], tiles[:, 7]
        reduction = -(-self._kept(tiles[:, 2] * tiles[:, 5] * tiles[:, 6]) // pack)
        if nest.private_weights:
            pixels, groups = tiles[:, 0], tiles[:, 7] * tiles[:, 3] * tiles[:, 4]
        on_rows, on_cols, streamed = {
            "os": (pixels, channels, reduction),
            "ws": (reduction, channels, pixels),
            "is": (reduction, pixels, channels),
        }[dataflow]
        folds = groups * -(-on_rows // self.spec.rows) * -(-on_cols // self.spec.cols)
        stream = streamed * slow
        load = 0 if dataflow == "os" else self.spec.rows if self.spec.weight_load == "rows" else 1
        reach = self.spec.rows + self.spec.cols
        chain = {"parallel": 0, "rows": self.spec.rows, "cols": self.spec.cols}[self.spec.drain]
        chain = chain if dataflow == "os" else 0
        if self.spec.overlap == "none":
            each = stream + reach + chain + load * (self.spec.weight_buffers == 1)
        elif dataflow == "os":
            each = np.maximum(stream, chain)
        elif self.spec.weight_buffers == 1:
            each = stream + load + (reach if load else 0)
        else:
            each = np.maximum(stream, load)
        return np.asarray(folds * each, dtype=np.int64)

    def spills_partial_sums(
        self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision
    ) -> npt.NDArray[np.bool_]:
        reduction = tiles[:, 2] * tiles[:, 5] * tiles[:, 6]
        split = reduction < nest.dims.reduction
        if dataflow != "os" and self.spec.accumulators is None:
            pack, _ = self._speed(precision)
            split = split | (self._kept(reduction) > self.spec.rows * pack)
        return np.asarray(split)

    def accumulator_pixels(self, dataflow: str) -> int | None:
        accumulators = self.spec.accumulators
        if accumulators is None or dataflow == "os":
            return None
        return max(1, accumulators.entries // accumulators.slots)

    # ---- folds ---------------------------------------------------------------------------------------------

    def _speed(self, precision: Precision) -> tuple[int, int]:
        """(reduction elements a PE takes at once, cycles it takes for one)."""
        key = (precision.weight, precision.input)
        if key not in self._speeds:
            rate = relative_throughput(self.spec.precision, precision, self.name)
            self._speeds[key] = speed_of(rate)
        return self._speeds[key]

    def _kept(self, reduction: Count) -> Count:
        """What the weights at hand leave of a reduction."""
        return reduction if self.structure is None else self.structure.kept(reduction)

    def fold_grid(self, tile: Dims, dataflow: str, precision: Precision, private: bool = False) -> FoldGrid:
        """How ``tile`` is cut into folds. With ``private`` kernels every output pixel is a group of its own."""
        if private:
            tile = tile._replace(P=1, Q=1, G=tile.G * tile.P * tile.Q)
        pack, slow = self._speed(precision)
        rows, cols, depth = self.spec.rows, self.spec.cols, self.spec.rows * pack
        m, n, k = tile.pixels, tile.K, tile.reduction
        kept = self._kept(k)
        common, rest = _cut(kept, depth)
        deep, shallow = (common, k * common // kept), (rest, k - k * common // kept * (ceil_div(kept, depth) - 1))

        def fold(pixels: int, channels: int, part: tuple[int, int]) -> Fold:
            taken, reduction = part
            packed = ceil_div(taken, pack)
            used = {
                "os": (pixels, channels, packed * slow),
                "ws": (packed, channels, pixels * slow),
                "is": (packed, pixels, channels * slow),
            }[dataflow]
            return Fold(*used, pixels, channels, reduction)

        if dataflow == "os":
            cuts = [(a, b, (kept, k)) for a in _cut(m, rows) for b in _cut(n, cols)]
            outer, inner = ceil_div(m, rows), ceil_div(n, cols)
        elif dataflow == "ws":
            cuts = [(m, a, b) for a in _cut(n, cols) for b in (deep, shallow)]
            outer, inner = ceil_div(n, cols), ceil_div(kept, depth)
        else:
            cuts = [(a, n, b) for a in _cut(m, cols) for b in (deep, shallow)]
            outer, inner = ceil_div(m, cols), ceil_div(kept, depth)
        first, second, third, last = (fold(*cut) for cut in cuts)
        return FoldGrid(tile.G, outer, inner, (first, second, third, last))

    def fold_record(self, fold: Fold, dataflow: str) -> Ints:
        """Timing of one fold, stepped by its control tokens (kernels.systolic.fold_timing)."""
        spec = self.spec
        pipe = spec.pipeline
        options = (
            pipe.hop, pipe.hop, pipe.multiplier, pipe.accumulator, pipe.input, pipe.output,
            int(spec.edge == "trim"), _DRAIN[spec.drain], _LOAD[spec.weight_load],
        )  # fmt: skip
        shape = (fold.used_rows, fold.used_cols, fold.vectors)
        return _fold_record(_DATAFLOW[dataflow], spec.rows, spec.cols, shape, options)

    def _fold_row(self, fold: Fold, dataflow: str) -> list[int]:
        """A row of the timeline's fold table."""
        record = self.fold_record(fold, dataflow)
        load = int(record[kernels.LOAD_CYCLES])
        stream = int(record[kernels.STREAM_CYCLES])
        first, last = int(record[kernels.FIRST_MAC_CYCLE]) - load, int(record[kernels.LAST_MAC_CYCLE]) - load
        hollow = last - first + 1 - int(record[kernels.BUSY_CYCLES])
        return [
            load,
            stream,
            first,
            last,
            int(record[kernels.END_CYCLES]) - load,
            0,
            hollow,
            max(stream, self._chain_cycles(int(record[kernels.DRAIN_CYCLES]))),
        ]

    def _chain_cycles(self, drain: int) -> int:
        """Cycles that a shift chain is held by a fold. Behind slow hops a narrower fold that follows is captured sooner
        than this one was, by what the hops between the columns it leaves out would take beyond a cycle each."""
        if not drain or self.spec.edge == "full":
            return drain
        return drain + (self.spec.pipeline.hop - 1) * (drain - 1) if self.spec.pipeline.hop > 1 else drain

    # ---- operands: what crosses the ports on chip ------------------------------------------------------------

    def _operand_bits(self, grid: FoldGrid, dataflow: str, widths: Widths, split: bool) -> dict[str, int]:
        """Bits between the array and the levels that feed it, for one tile, by tensor. ``split``: its sums are parts."""
        folds = list(zip(grid.shapes, grid.counts(), strict=True))
        sums = sum(f.pixels * f.channels * n for f, n in folds)
        bits = {
            "weight": self.stored_bits(sum(f.channels * f.reduction * n for f, n in folds) * widths.weight, widths),
            "input": sum(f.pixels * f.reduction * n for f, n in folds) * widths.input,
        }
        if dataflow != "os" and self.spec.accumulators is not None:
            return {**bits, "output": sums // max(1, grid.inner) * widths.output}
        if dataflow == "os" and not split:
            return {**bits, "output": sums * widths.output}
        return {**bits, "partial_sum": 2 * sums * widths.partial_sum}

    def _classes(
        self, schedule: Schedule, loads: Ints, grids: list[FoldGrid], widths: Widths
    ) -> tuple[list[tuple[int, int]], npt.NDArray[np.int32]]:
        """Kinds of step, and each step's: a tile shape, and the cycles by which its issue is too short for the ports
        on chip, which carry its operands and its transfers."""
        dataflow = schedule.mapping.dataflow
        exposed = dataflow != "os" and self.spec.weight_buffers == 1
        issue = np.array([self._issue_cycles(grid, dataflow, exposed) for grid in grids], dtype=np.int64)
        split = schedule.tiles[:, [2, 5, 6]].prod(axis=1) < schedule.nest.dims.reduction
        operands = [self._operand_bits(grid, dataflow, widths, bool(s)) for grid, s in zip(grids, split, strict=True)]
        short = port_contention(self.arch, schedule, loads, operands, issue)
        span = int(short.max()) + 1
        kinds, classes = numbered(schedule.classes.astype(np.int64) * span + short)
        return [divmod(int(kind), span) for kind in kinds], classes

    def _fold_rows(self, grid: FoldGrid, dataflow: str, short: int) -> list[list[int]]:
        """The fold table of one kind of step; the last fold (of each group) waits for what the ports fall ``short``."""
        rows = [self._fold_row(fold, dataflow) for fold in grid.shapes]
        wait = ceil_div(short, grid.groups)
        for column in (tl.F_ISSUE, tl.F_LAST_MAC, tl.F_END, tl.F_WAIT, tl.F_INTERVAL):
            rows[-1][column] += wait
        return rows

    def _issue_cycles(self, grid: FoldGrid, dataflow: str, exposed: bool) -> int:
        records = [self.fold_record(fold, dataflow) for fold in grid.shapes]
        fields = (kernels.STREAM_CYCLES, kernels.LOAD_CYCLES) if exposed else (kernels.STREAM_CYCLES,)
        return sum(int(r[f]) * n for r, n in zip(records, grid.counts(), strict=True) for f in fields)

    def operand_traffic(self, schedule: Schedule, precision: Precision) -> Traffic:
        """Bits between the array and the levels on chip, over the whole schedule."""
        widths = Widths.of(precision)
        dataflow = schedule.mapping.dataflow
        reads = {"weight": 0, "input": 0}
        updates = 0  # elements of sums that leave the array, whole or partial
        for tile, count in zip(schedule.tiles, schedule.class_counts(), strict=True):
            grid = self.fold_grid(
                Dims(*(int(v) for v in tile)), dataflow, precision, schedule.nest.private_weights
            )
            for fold, folds in zip(grid.shapes, grid.counts(), strict=True):
                times = folds * int(count)
                reads["weight"] += fold.channels * fold.reduction * times
                reads["input"] += fold.pixels * fold.reduction * times
                updates += fold.pixels * fold.channels * times
        outputs = schedule.nest.dims.outputs
        again = (updates - outputs) * widths.partial_sum  # every update but an output's first reads what was there
        table: dict[str, dict[str, Transfer]] = {}
        self._add(table, "weight", Transfer(self.stored_bits(reads["weight"] * widths.weight, widths), 0))
        self._add(table, "input", Transfer(reads["input"] * widths.input, 0))
        if self.spec.accumulators is not None and dataflow != "os":
            final = outputs * widths.partial_sum
            table[ACCUMULATORS] = {"partial_sum": Transfer(again + final, again + final)}
            self._add(table, "output", Transfer(0, outputs * widths.output))
        else:
            self._add(table, "partial_sum", Transfer(again, again))
            self._add(table, "output", Transfer(0, outputs * widths.output))
        return table

    def _add(self, table: dict[str, dict[str, Transfer]], tensor: Tensor, transfer: Transfer) -> None:
        level = self.arch.holder(tensor)
        if level is not None and (transfer.read_bits or transfer.write_bits):
            row = table.setdefault(level.name, {})
            row[tensor] = row.get(tensor, Transfer()) + transfer

    # ---- a schedule through engine and memory ---------------------------------------------------------------

    def run(self, schedule: Schedule, precision: Precision, placement: Placement, carry: Carry) -> Counters:
        """Walk ``schedule`` and count; ``carry`` is brought forward to the next layer."""
        widths, dataflow = Widths.of(precision), schedule.mapping.dataflow
        private = schedule.nest.private_weights
        grids = [
            self.fold_grid(Dims(*(int(v) for v in tile)), dataflow, precision, private) for tile in schedule.tiles
        ]
        loads = self._compressed(self._streamed(schedule, grids, widths, placement), widths)
        kinds, classes = self._classes(schedule, loads, grids, widths)
        steps = Steps(
            self.name,
            classes,
            loads,
            schedule.stores,
            np.array([[grids[kind].groups, grids[kind].outer, grids[kind].inner] for kind, _ in kinds], dtype=np.int64),
            np.array([self._fold_rows(grids[kind], dataflow, short) for kind, short in kinds], dtype=np.int64),
            timeline_options(
                self.arch,
                _STATIONARY[dataflow],
                self.spec.overlap == "skewed",
                2 if dataflow == "os" else self.spec.weight_buffers,  # os has no stationary tile to wait for
                schedule.slots("input", 0),
            ),
            schedule.partial,
            frozenset(schedule.mapping.keep),
            np.array([[shape[:3] for shape in grids[kind].shapes] for kind, _ in kinds], dtype=np.int64),
        )
        weight_slots = schedule.slots("weight", len(carry.weight_free))
        result = run_steps(steps, np.zeros(weight_slots, dtype=np.int64), carry)
        operands = self.operand_traffic(schedule, precision)
        transfers = transfer_traffic(self.arch, loads, schedule.stores, schedule.partial)
        spilled = spilled_sums(self.arch, schedule.nest, widths, operands, transfers)
        traffic = add_traffic((transfers, operands, spilled))
        counters = counters_of(result, schedule.nest.dims.macs, 0, self._with_indices(traffic, widths))
        done = counters.macs - self.skipped(counters.macs)
        return replace(counters, register_bits=done * _register_bits(dataflow, widths))

    # ---- weights pruned to n:m -----------------------------------------------------------------------------

    def stored_bits(self, bits: Bits, widths: Widths) -> Bits:
        """What dense weights of ``bits`` take as they are stored: the kept ones, each with its place."""
        if self.structure is None:
            return bits
        kept = (widths.weight + self.structure.index_bits) * self.structure.n
        return -(-bits * kept // (widths.weight * self.structure.m))

    def _compressed(self, loads: Ints, widths: Widths) -> Ints:
        """The loads with their weights as they are stored."""
        if self.structure is None:
            return loads
        loads = loads.copy()
        column = loads[:, tl.WEIGHT]
        found, place = np.unique(column, return_inverse=True)
        stored = [self.stored_bits(int(bits), widths) if bits > 0 else int(bits) for bits in found]
        loads[:, tl.WEIGHT] = np.array(stored, dtype=np.int64)[place.reshape(-1)]
        return loads

    def _with_indices(self, traffic: Traffic, widths: Widths) -> Traffic:
        """The places of the kept weights as traffic of their own."""
        if self.structure is None:
            return traffic
        share, each = self.structure.index_bits, widths.weight + self.structure.index_bits
        split: dict[str, dict[str, Transfer]] = {}
        for level, tensors in traffic.items():
            row = dict(tensors)
            if "weight" in row:
                whole = row["weight"]
                index = Transfer(whole.read_bits * share // each, whole.write_bits * share // each)
                row["weight"] = Transfer(whole.read_bits - index.read_bits, whole.write_bits - index.write_bits)
                row["index"] = row.get("index", Transfer()) + index
            split[level] = row
        return split

    def _streamed(self, schedule: Schedule, grids: list[FoldGrid], widths: Widths, placement: Placement) -> Ints:
        """The loads, with tensors that stay in no level on chip fetched anew for every fold."""
        loads = schedule.loads.copy()
        for column, tensor, bits, resident in (
            (tl.WEIGHT, "weight", widths.weight, placement.weight_resident),
            (tl.INPUT, "input", widths.input, placement.input_resident),
        ):
            if resident or not passes_through(self.arch, tensor, schedule.nest, widths):  # type: ignore[arg-type]
                continue
            per_class = [
                sum(
                    (f.channels if tensor == "weight" else f.pixels) * f.reduction * c
                    for f, c in zip(g.shapes, g.counts(), strict=True)
                )
                for g in grids
            ]
            loads[:, column] = np.array(per_class, dtype=np.int64)[schedule.classes] * bits
        return loads


    # ---- values ----------------------------------------------------------------------------------------------

    def accumulate(self, schedule: Schedule, precision: Precision, image: Array, weight: Array) -> Sums:
        """Step every tile's operands through the array, in the schedule's order (kernels.systolic)."""
        nest, d = schedule.nest, schedule.nest.dims
        if self.structure is not None:
            _check_structure(weight, self.structure)
        register = self._register(precision, image, weight)
        sums = np.zeros((d.N, d.G, d.K, d.P, d.Q), dtype=register.storage)
        effective, overflows = 0, 0
        operands = TileOperands(nest, image, weight)
        for at, tile in schedule.tile_places():
            for left, right, place in operands.of(at, tile):
                out = np.ascontiguousarray(sums[place].reshape(tile.N, tile.K, -1).transpose(0, 2, 1))
                flat = out.reshape(-1, tile.K)
                counts = self._gemm(schedule.mapping.dataflow, left, right, flat, register)
                effective += int((left != 0).sum(axis=0, dtype=np.int64) @ (right != 0).sum(axis=1, dtype=np.int64))
                overflows += int(counts[kernels.COUNT_OVERFLOWS])
                if int(counts[kernels.COUNT_MACS]) != left.shape[0] * left.shape[1] * right.shape[1]:
                    raise InvariantError(f"the array stepped {counts[kernels.COUNT_MACS]} MACs of a tile {tile}")
                sums[place] = flat.reshape(out.shape).transpose(0, 2, 1).reshape(sums[place].shape)
        return Sums(sums.reshape(d.N, d.G * d.K, d.P, d.Q), effective, overflows)

    def _gemm(self, dataflow: str, left: Array, right: Array, out: Array, register: Register) -> Ints:
        hop, down = self.spec.pipeline.hop, self.spec.pipeline.hop
        if dataflow != "os":
            down += self.spec.pipeline.accumulator - 1
        gemm = {"os": kernels.os_gemm, "ws": kernels.ws_gemm, "is": kernels.is_gemm}[dataflow]
        return gemm(
            left, right, out, self.spec.rows, self.spec.cols, row_skew=down, col_skew=hop,
            acc_bits=register.checked_bits, saturate=self.spec.accumulator_overflow == "saturate",
        )  # fmt: skip

    def accumulator(self, precision: Precision) -> Accumulator:
        number = precision.accumulator
        if self.spec.accumulators is not None and number.is_integer:
            number = NumberFormat("int", min(number.bits, self.spec.accumulators.bits))
        return Accumulator(number, self.spec.accumulator_overflow == "saturate")

    def _register(self, precision: Precision, image: Array, weight: Array) -> Register:
        """The accumulators: their width is the array's, and they are watched only if these operands could overflow."""
        if not precision.accumulator.is_integer:
            return Register(np.dtype(np.float32), 0)
        bits = self.accumulator(precision).format.bits
        largest = largest_sum(weight, image)
        if largest < 2 ** (min(bits, 32) - 1):
            return Register(np.dtype(np.int32), 0)
        if largest < 2 ** (bits - 1):
            return Register(np.dtype(np.int64), 0)
        return Register(np.dtype(np.int64), min(bits, 62))


def structure_of(layer: Layer, spec: SystolicSpec) -> StructuredSparsity | None:
    """What the array skips of ``layer``'s weights; None where it takes them as dense ones."""
    weighted = isinstance(layer.op, Conv2d | Linear | Matmul) and layer.weight_shape is not None
    if spec.sparsity is None or not weighted:
        return None
    return spec.sparsity.found_in(None if isinstance(layer.op, Matmul) else layer.weight.structure)


def _check_structure(weight: Array, structure: StructuredSparsity) -> None:
    """`InfeasibleError` where more than n of m neighbours along the input channels (the second axis) are kept."""
    channels = weight.shape[1]
    there = np.pad((weight != 0).swapaxes(1, -1), [(0, 0)] * (weight.ndim - 1) + [(0, -channels % structure.m)])
    most = int(there.reshape(*there.shape[:-1], -1, structure.m).sum(axis=-1).max(initial=0))
    if most > structure.n:
        raise InfeasibleError(
            f"weights pruned to {structure.n}:{structure.m}",
            demand=f"{most} non-zeros in {structure.m} neighbours",
            bound=f"{structure.n}",
            levers=("prune them to the pattern", "leave weight.pattern out: they run as dense ones"),
        )


def _register_bits(dataflow: str, widths: Widths) -> int:
    """Bits that a PE's registers take in with every MAC: the operands that move through it, and the sum."""
    moving = {"ws": widths.input, "is": widths.weight, "os": widths.weight + widths.input}[dataflow]
    return moving + widths.partial_sum


class Register(NamedTuple):
    """How accumulators are held: a numpy type, and the width to check every sum against (0: none can overflow)."""

    storage: np.dtype[Any]
    checked_bits: int


@lru_cache(maxsize=100_000)
def _fold_record(
    dataflow: int, rows: int, cols: int, shape: tuple[int, int, int], options: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """`kernels.fold_timing`, each distinct fold stepped once."""
    return kernels.fold_timing(dataflow, rows, cols, *shape, np.array(options, dtype=np.int64))


def _cut(size: int, step: int) -> tuple[int, int]:
    """The common piece and the last one when ``size`` is cut by ``step``."""
    return min(size, step), size - step * (ceil_div(size, step) - 1)
