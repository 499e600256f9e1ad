"""The systolic array: folds of a tile, their timing by stepping, their operands, and the walk through a schedule.

A tile of a nest is a product of (pixels x reduction) by (reduction x channels), group by group. The array takes it
in *folds*: ``os`` lays pixels on the rows and channels on the columns and streams the reduction; ``ws`` lays the
reduction on the rows and channels on the columns and streams pixels; ``is`` lays the reduction on the rows and
pixels on the columns and streams channels. See docs/engines/systolic.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, lru_cache
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
from accelsim.engines.staged import Folds, refuse_recording, run_staged
from accelsim.engines.tiles import TileOperands, largest_sum
from accelsim.engines.trial import StepBits, TileWork, bounded_ports
from accelsim.engines.walk import (
    Carry,
    Steps,
    counters_of,
    occupied,
    run_steps,
    shift_cycles,
    timeline_options,
)
from accelsim.errors import InfeasibleError, InvariantError
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Widths, slots_of, weight_elements
from accelsim.memory.resources import AS_BUILT, SHIFT, STREAM, Faster
from accelsim.memory.transfers import Crossing, level_cycles, passes_through
from accelsim.schedule.build import Schedule, StepKind
from accelsim.schedule.staged import StagedSchedule
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


@dataclass(frozen=True)
class FoldGrid:
    """Folds of a tile: ``groups`` x ``outer`` x ``inner``, and their four shapes (last of outer, last of inner)."""

    groups: int
    outer: int
    inner: int
    shapes: tuple[Fold, Fold, Fold, Fold]

    @cached_property
    def weights(self) -> int:
        """Weights that all folds take."""
        return sum(fold.channels * fold.reduction * n for fold, n in zip(self.shapes, self.counts(), strict=True))

    @cached_property
    def updates(self) -> int:
        """Sums that leave the array, whole or partial."""
        return sum(fold.pixels * fold.channels * n for fold, n in zip(self.shapes, self.counts(), strict=True))

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
    _grids: dict[Hashable, FoldGrid] = field(default_factory=dict, compare=False, repr=False)
    _rows: dict[tuple[Fold, str, Faster], list[int]] = field(default_factory=dict, compare=False, repr=False)
    structure: StructuredSparsity | None = None  # of the weights at hand, where the array skips what they lack

    @property
    def name(self) -> str:
        return self.spec.kind

    @property
    def dataflow(self) -> str:
        return self.spec.dataflow

    def fed(self, arch: Architecture) -> SystolicArray:
        return replace(self, arch=arch)

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
        depth = self._depth(precision)
        return {
            "os": (self.spec.rows, self.spec.cols, 1),
            "ws": (1, self.spec.cols, depth),
            "is": (self.spec.cols, 1, depth),
        }[dataflow]

    def compute_cycles(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        """Folds times the cycles between them: the stream, the reload or drain it does not hide, or the whole fold."""
        on_rows, on_cols, streamed, groups = self._laid_out(nest, tiles, dataflow, precision)
        _, slow = self._speed(precision)
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

    def _laid_out(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> tuple[Ints, Ints, Ints, Ints]:
        """What lies on the rows and on the columns, what is streamed, and how many times, for each tile."""
        pack, _ = self._speed(precision)
        pixels, channels, groups = tiles[:, 0] * tiles[:, 3] * tiles[:, 4], tiles[:, 1], tiles[:, 7]
        reduction = -(-self._kept(tiles[:, 2] * tiles[:, 5] * tiles[:, 6]) // pack)
        if nest.private_weights:
            pixels, groups = tiles[:, 0], tiles[:, 7] * tiles[:, 3] * tiles[:, 4]
        laid = {
            "os": (pixels, channels, reduction),
            "ws": (reduction, channels, pixels),
            "is": (reduction, pixels, channels),
        }[dataflow]
        return (*laid, groups)

    def depth_cycles(self, dataflow: str) -> int:
        chain = self.spec.rows if dataflow == "os" and self.spec.drain != "parallel" else 0
        return self.spec.rows + self.spec.cols + chain

    def operand_bits(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> dict[str, Ints]:
        """An operand crosses as often as it is shifted in or streamed; sums that the array does not keep, at every update."""
        if all(level.bandwidth is None for level in self.arch.memory[1:]):
            return {}
        on_rows, on_cols, streamed, groups = self._laid_out(nest, tiles, dataflow, precision)
        widths, (pack, _) = Widths.of(precision), self._speed(precision)
        down, across = -(-on_rows // self.spec.rows), -(-on_cols // self.spec.cols)
        rows, cols, held = groups * on_rows * streamed * across, groups * on_cols * streamed * down, groups * on_rows * on_cols
        weight, inputs, sums = {
            "os": (cols * pack, rows * pack, held),
            "ws": (held * pack, rows * pack, cols),
            "is": (rows * pack, held * pack, cols),
        }[dataflow]
        updates = sums * 0 if self._accumulates(dataflow) else sums
        return {
            "weight": weight * widths.weight,
            "input": inputs * widths.input,
            "partial_sum": 2 * updates * widths.partial_sum,
        }

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

    def weight_elements(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        if not self._whole_tiles(nest, dataflow):
            return weight_elements(nest, tiles)
        depth, cols = self._depth(precision), self.spec.cols
        folds = -(-tiles[:, 1] // cols) * -(-tiles[:, [2, 5, 6]].prod(axis=1) // depth)
        pixels = tiles[:, [3, 4]].prod(axis=1) if nest.private_weights else 1
        return np.asarray(tiles[:, 7] * pixels * folds * cols * depth, dtype=np.int64)

    def weight_slots(self, nest: LoopNest, dataflow: str, precision: Precision) -> int:
        """The level's; whole tiles of a larger array may be fewer, for they are not cut to fit."""
        slots, level = slots_of(self.arch, "weight"), self.arch.holder("weight")
        if not self._whole_tiles(nest, dataflow) or level is None or level.size is None:
            return slots
        tile = ceil_div(self.spec.cols * self._depth(precision) * precision.weight.bits, 8)
        return max(1, min(slots, level.size // tile))

    # ---- folds ---------------------------------------------------------------------------------------------

    def _depth(self, precision: Precision) -> int:
        """Elements of the reduction that the rows hold, what is skipped included."""
        depth = self.spec.rows * self._speed(precision)[0]
        return depth if self.structure is None else depth * self.structure.m // self.structure.n

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
        key = (tile, dataflow, self._speed(precision), self.structure)
        if key not in self._grids:
            self._grids[key] = self._new_grid(tile, dataflow, *self._speed(precision))
        return self._grids[key]

    def _new_grid(self, tile: Dims, dataflow: str, pack: int, slow: int) -> FoldGrid:
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

    def _grids_of(self, schedule: Schedule, precision: Precision) -> list[FoldGrid]:
        """The folds of every tile shape of ``schedule``."""
        flow, private = schedule.mapping.dataflow, schedule.nest.private_weights
        return [self.fold_grid(Dims(*(int(v) for v in tile)), flow, precision, private) for tile in schedule.tiles]

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

    def _fold_row(self, fold: Fold, dataflow: str, faster: Faster = AS_BUILT) -> list[int]:
        """A row of the timeline's fold table."""
        key = (fold, dataflow, faster)
        if key not in self._rows:
            self._rows[key] = self._new_row(*key)
        return self._rows[key]

    def _new_row(self, fold: Fold, dataflow: str, faster: Faster) -> list[int]:
        """A faster stream ends so much sooner, and all behind it."""
        record = self.fold_record(fold, dataflow)
        load = int(record[kernels.LOAD_CYCLES])
        stream = int(record[kernels.STREAM_CYCLES])
        sooner = stream - max(1, faster.of(STREAM, stream))
        first, last = int(record[kernels.FIRST_MAC_CYCLE]) - load, int(record[kernels.LAST_MAC_CYCLE]) - load
        hollow = last - first + 1 - int(record[kernels.BUSY_CYCLES])
        return [
            faster.of(SHIFT, load),
            stream - sooner,
            first,
            max(first, last - sooner),
            int(record[kernels.END_CYCLES]) - load - sooner,
            hollow,
            max(stream - sooner, self._chain_cycles(int(record[kernels.DRAIN_CYCLES]))),
        ]

    def _chain_cycles(self, drain: int) -> int:
        """Cycles that a shift chain is held by a fold. Behind slow hops a narrower fold that follows is captured sooner
        than this one was, by what the hops between the columns it leaves out would take beyond a cycle each."""
        if not drain or self.spec.edge == "full":
            return drain
        return drain + (self.spec.pipeline.hop - 1) * (drain - 1) if self.spec.pipeline.hop > 1 else drain

    # ---- operands: what crosses the ports on chip ------------------------------------------------------------

    def crossing(self, schedule: Schedule, precision: Precision, placement: Placement) -> Crossing:
        """What ``schedule`` moves between the array and the levels on chip, and off chip."""
        kinds, numbers = schedule.kinds()
        grids = self._grids_of(schedule, precision)
        operands = [self._operands(kind, grids[kind.tile], schedule, precision) for kind in kinds]
        loads = self._stored_loads(schedule, grids, precision)
        crossing = Crossing(operands, numbers, loads, schedule.stores, schedule.partial, schedule.biases)
        resident: dict[Tensor, bool] = {"weight": placement.weight_resident, "input": placement.input_resident}
        widths = Widths.of(precision)
        return crossing.streamed(
            tensor for tensor, there in resident.items()
            if not there and passes_through(self.arch, tensor, schedule.nest, widths)
        )  # fmt: skip

    def _operands(
        self, kind: StepKind, grid: FoldGrid, schedule: Schedule, precision: Precision
    ) -> dict[Tensor, Transfer]:
        """Bits between the array and the levels that feed it, for one step."""
        tile = Dims(*(int(v) for v in schedule.tiles[kind.tile]))
        return self._step_bits(tile, grid, schedule.nest, precision, schedule.mapping.dataflow).of(kind)

    def _step_bits(self, tile: Dims, grid: FoldGrid, nest: LoopNest, precision: Precision, dataflow: str) -> StepBits:
        widths, outputs = Widths.of(precision), tile.outputs
        sum_bits, each = outputs * widths.partial_sum, self._input_reads(tile, grid, dataflow) * widths.input
        weight = self.stored_bits(self._weights(grid, nest, precision, dataflow) * widths.weight, widths)
        inputs = (each * tile.P * tile.Q * tile.R * tile.S, 0) if self._stores_padding else (0, each)
        if self._accumulates(dataflow):  # sums cross a port only where they come back, or leave as parts
            return StepBits(weight, *inputs, (0, 0), (0, 0), sum_bits, sum_bits, 0, outputs * widths.output)
        updates = grid.updates * widths.partial_sum
        return StepBits(
            weight, *inputs, (updates - sum_bits, updates), (updates, updates), 0, 0, sum_bits, outputs * widths.output
        )

    def _whole_tiles(self, nest: LoopNest, dataflow: str) -> bool:
        """Whether weights are fetched as the array holds them, ragged or not; those that are computed never lie so."""
        return self.spec.weight_tiles == "whole" and dataflow == "ws" and not nest.weight_is_activation

    def _accumulates(self, dataflow: str) -> bool:
        """Whether sums are added up in a memory of the array's own."""
        return self.spec.accumulators is not None and dataflow != "os"

    def _input_reads(self, tile: Dims, grid: FoldGrid, dataflow: str) -> int:
        """Input elements that the array reads of a place in the image for one step: each as often as folds of channels
        take it."""
        return tile.G * tile.N * tile.C * {"os": grid.inner, "ws": grid.outer, "is": 1}[dataflow]

    def _weights(self, grid: FoldGrid, nest: LoopNest, precision: Precision, dataflow: str) -> int:
        """Weights of a tile as they are fetched and shifted in."""
        if self._whole_tiles(nest, dataflow):
            return grid.groups * grid.outer * grid.inner * self.spec.cols * self._depth(precision)
        return grid.weights

    def _accumulated(self, schedule: Schedule, grids: list[FoldGrid], widths: Widths) -> Traffic:
        """Bits in and out of the accumulators: every update but an output's first reads what was there, and the sum leaves."""
        if not self._accumulates(schedule.mapping.dataflow):
            return {}
        updates = sum(grid.updates * int(n) for grid, n in zip(grids, schedule.class_counts(), strict=True))
        bits = updates * widths.partial_sum
        return {ACCUMULATORS: {"partial_sum": Transfer(bits, bits)}}

    # ---- a schedule through engine and memory ---------------------------------------------------------------

    def run(
        self, schedule: Schedule, precision: Precision, placement: Placement, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        """Walk ``schedule`` and count; ``carry`` is brought forward to the next layer."""
        widths, dataflow = Widths.of(precision), schedule.mapping.dataflow
        grids = self._grids_of(schedule, precision)
        folds = np.array([[self._fold_row(fold, dataflow, faster) for fold in grid.shapes] for grid in grids], dtype=np.int64)
        crossing = self.crossing(schedule, precision, placement)
        there = {name: cycles[schedule.classes] for name, cycles in self._port_cycles(dataflow, grids, folds).items()}
        if isinstance(schedule, StagedSchedule):
            return self._run_staged(schedule, precision, crossing, Folds(_cuts(grids), folds, there), carry, faster)
        waits = crossing.waits(self.arch, there, faster)
        steps = Steps(
            self.name,
            schedule.classes,
            crossing.fetches,
            schedule.stores,
            waits,
            _cuts(grids),
            folds,
            self._options(dataflow, schedule.slots("input", 0), faster),
            schedule.partial,
            frozenset(schedule.mapping.keep),
            np.array([[shape[:3] for shape in grid.shapes] for grid in grids], dtype=np.int64),
        )  # fmt: skip
        weight_slots = schedule.slots("weight", self.weight_slots(schedule.nest, dataflow, precision))
        result = run_steps(steps, np.zeros(weight_slots, dtype=np.int64), carry)
        traffic = add_traffic(
            (crossing.traffic(self.arch, schedule.nest, widths), self._accumulated(schedule, grids, widths))
        )
        traffic = add_traffic((self._with_indices(traffic, widths), crossing.bias_traffic(self.arch)))
        counters = counters_of(result, schedule.nest.dims.macs, 0, traffic)
        done = counters.macs - self.skipped(counters.macs)
        own = {STREAM: counters.port_cycles["active"], SHIFT: shift_cycles(steps.classes, steps.grids, steps.folds)}
        return replace(
            counters, level_cycles=level_cycles(there, waits), register_bits=done * _register_bits(dataflow, widths),
            occupied_cycles=occupied(self.arch, int((steps.loads > 0).sum()), counters, own),
        )  # fmt: skip

    def _run_staged(
        self, schedule: StagedSchedule, precision: Precision, crossing: Crossing, folds: Folds, carry: Carry, faster: Faster
    ) -> Counters:
        """The same over several stages of memory."""
        widths, dataflow = Widths.of(precision), schedule.mapping.dataflow
        if carry.walks is not None:
            refuse_recording(self.arch)
        options = timeline_options(
            self.arch, _STATIONARY[dataflow], self.spec.overlap == "skewed", self._buffers(dataflow), faster=faster
        )
        counters = run_staged(
            self.arch, schedule, crossing, folds, options, lambda bits: self.stored_bits(bits, widths), faster
        )
        grids = self._grids_of(schedule, precision)
        traffic = add_traffic((counters.traffic, self._accumulated(schedule, grids, widths)))
        done = counters.macs - self.skipped(counters.macs)
        shifted = shift_cycles(schedule.classes, folds.grids, folds.folds)
        own = {STREAM: counters.port_cycles["active"], SHIFT: shifted}
        counters = replace(
            counters, traffic=self._with_indices(traffic, widths), register_bits=done * _register_bits(dataflow, widths)
        )
        return replace(counters, occupied_cycles=occupied(self.arch, schedule.far_moves, counters, own))

    def _options(self, dataflow: str, input_slots: int, faster: Faster = AS_BUILT) -> Ints:
        skewed, buffers = self.spec.overlap == "skewed", self._buffers(dataflow)
        return timeline_options(self.arch, _STATIONARY[dataflow], skewed, buffers, input_slots, faster)

    def _buffers(self, dataflow: str) -> int:
        return 2 if dataflow == "os" else self.spec.weight_buffers  # os has no stationary tile to wait for

    def _port_cycles(self, dataflow: str, grids: list[FoldGrid], folds: Ints) -> dict[str, Ints]:
        """Cycles of a tile in which the port of each level on chip can work, int64[shapes].

        They are those of its folds: the stream, and the load of stationary operands that hides beside it. A load that
        does not hide is time for the level that it comes from.
        """
        tiles = [self._tile_port_cycles(dataflow, grid, rows) for grid, rows in zip(grids, folds.tolist(), strict=True)]
        columns = np.array(tiles, dtype=np.int64).reshape(len(tiles), -1).T
        return {level.name: column for level, column in zip(bounded_ports(self.arch), columns, strict=True)}

    # ---- trials ----------------------------------------------------------------------------------------------

    def tile_work(self, tile: Dims, nest: LoopNest, precision: Precision, dataflow: str) -> TileWork:
        grid = self.fold_grid(tile, dataflow, precision, nest.private_weights)
        folds = [self._fold_row(fold, dataflow) for fold in grid.shapes]
        bits = self._step_bits(tile, grid, nest, precision, dataflow)
        stored = self.structure is not None or self._whole_tiles(nest, dataflow)
        pixels = tile.P * tile.Q if nest.private_weights else 1
        weight_bits = bits.weight if stored else tile.weights * pixels * precision.weight.bits
        there = self._tile_port_cycles(dataflow, grid, folds)
        return TileWork(weight_bits, bits, there, (grid.groups, grid.outer, grid.inner), folds)

    def _tile_port_cycles(self, dataflow: str, grid: FoldGrid, folds: list[list[int]]) -> tuple[int, ...]:
        """Those of one tile, in the order of the bounded ports."""
        hidden, beside, exposed = self._buffers(dataflow) == 2, 0, 0
        for count, fold in zip(grid.counts(), folds, strict=True):
            stream, load = fold[tl.F_INTERVAL], fold[tl.F_LOAD]
            beside += count * (max(stream, load) if hidden else stream)
            exposed += 0 if hidden else count * load
        return tuple(beside + exposed * source for source in self._feeding["input" if dataflow == "is" else "weight"])

    @cached_property
    def _feeding(self) -> dict[Tensor, list[bool]]:
        """Whether each of the bounded ports is that of the level that holds a tensor."""
        tensors: tuple[Tensor, ...] = ("weight", "input")
        return {t: [level is self.arch.holder(t) for level in bounded_ports(self.arch)] for t in tensors}

    @cached_property
    def _stores_padding(self) -> bool:
        """Whether zeros of the padding are stored; else they are made at the array's edge."""
        level = self.arch.holder("input")
        return level is not None and level.padding == "stored"

    def read_block(self, nest: LoopNest, precision: Precision) -> tuple[int, int, int, int]:
        del nest, precision
        return 1, 1, 1, 1

    def walk_options(self, dataflow: str) -> Ints:
        return self._options(dataflow, 0)

    # ---- weights pruned to n:m -----------------------------------------------------------------------------

    def stored_bits(self, bits: Bits, widths: Widths) -> Bits:
        """What dense weights of ``bits`` take as they are stored: the kept ones, each with its place."""
        if self.structure is None:
            return bits
        kept = (widths.weight + self.structure.index_bits) * self.structure.n
        return -(-bits * kept // (widths.weight * self.structure.m))

    def _stored_loads(self, schedule: Schedule, grids: list[FoldGrid], precision: Precision) -> Ints:
        """The loads with their weights as they are stored: whole tiles, and only what is kept of pruned ones."""
        nest, widths = schedule.nest, Widths.of(precision)
        if self.structure is None and not self._whole_tiles(nest, schedule.mapping.dataflow):
            return schedule.loads
        dense = weight_elements(nest, schedule.tiles) * widths.weight
        elements = [self._weights(grid, nest, precision, schedule.mapping.dataflow) for grid in grids]
        stored = np.array([self.stored_bits(n * widths.weight, widths) for n in elements], dtype=np.int64)
        loads = schedule.loads.copy()
        column = loads[:, tl.WEIGHT]
        loads[:, tl.WEIGHT] = np.where(column > 0, column + (stored - dense)[schedule.classes], column)
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


def _cuts(grids: list[FoldGrid]) -> Ints:
    """Groups, outer and inner folds of each."""
    return np.array([[grid.groups, grid.outer, grid.inner] for grid in grids], dtype=np.int64)


def _cut(size: int, step: int) -> tuple[int, int]:
    """The common piece and the last one when ``size`` is cut by ``step``."""
    return min(size, step), size - step * (ceil_div(size, step) - 1)
