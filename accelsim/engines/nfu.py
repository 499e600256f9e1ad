"""The NFU as a unit: passes and rows of a tile, their timing by stepping, their operands, the walk through a
schedule.

The buffers hold one tile of each tensor; inside it the NFU's own loops run: for every row of outputs (a
*pass*), the rows of operands that its sums take (*chunks*), one a cycle. See docs/engines/nfu.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture, FixedPoint, NfuSpec, Tensor, Unroll, relative_throughput, speed_of
from accelsim.counters import Counters, add_traffic
from accelsim.engines import nfu_fixed
from accelsim.engines.base import Array, Evaluated, LayerRun, Operands, Sums
from accelsim.engines.kernels import nfu as kernels
from accelsim.engines.mapped import MappedEngine, PlannedNest, Unit
from accelsim.engines.nodes import at_work, division, exchanged
from accelsim.engines.staged import Folds, refuse_recording, run_staged
from accelsim.engines.stretch import LONG, SHORT, StretchedNest, is_long, pixel_sums, shortened, stretch
from accelsim.engines.tiles import TileOperands, largest_sum
from accelsim.engines.trial import StepBits, TileWork, bounded_ports
from accelsim.engines.walk import (
    Carry,
    Steps,
    counters_of,
    occupied,
    run_steps,
    timeline_options,
)
from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Widths, slots_of, weight_elements
from accelsim.mapping.mapping import LayerMapping, Mapping
from accelsim.memory.resources import AS_BUILT, STREAM, Faster
from accelsim.memory.transfers import Crossing, level_cycles
from accelsim.schedule.build import Schedule, build_schedule, tile_places
from accelsim.schedule.residency import Plan
from accelsim.schedule.staged import StagedSchedule
from accelsim.units import ceil_div
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.fixed_point import saturate
from accelsim.workload.network import Layer
from accelsim.workload.precision import NumberFormat, Precision
from accelsim.workload.recurrent import CellArithmetic

DATAFLOW = "os"  # sums stand in their registers, or at least in their buffer
_OPERANDS: tuple[Tensor, ...] = ("weight", "input", "output")
MOST_OPERANDS = 1 << 20  # of inputs that are laid out at a time, in values mode

_MODES = {"saturate": kernels.SATURATE, "wrap": kernels.WRAP}


class TileRows(NamedTuple):
    """A tile as the NFU takes it: rows of outputs, and rows of operands that each of them needs."""

    passes: int
    chunks: int


@dataclass(frozen=True)
class Nfu:
    """The unit that an architecture's engine block of kind ``nfu`` describes."""

    arch: Architecture
    spec: NfuSpec
    _speeds: dict[tuple[NumberFormat, NumberFormat], tuple[int, int]] = field(
        default_factory=dict, compare=False
    )

    @property
    def name(self) -> str:
        return self.spec.kind

    @property
    def dataflow(self) -> str:
        return DATAFLOW

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        return self.spec.macs_per_cycle(precision)

    def refuse(self, layer: str, nest: LoopNest, precision: Precision) -> None:
        """Precisions without a speed, and buffers that are not there."""
        del nest
        relative_throughput(self.spec.precision, precision, self.name)
        for tensor in _OPERANDS:
            if self.arch.holder(tensor) is None:
                raise InfeasibleError(
                    f"layer {layer}: the nfu engine reads rows of {tensor} from a buffer",
                    demand=f"a level of memory that holds {tensor}",
                    bound=", ".join(level.name for level in self.arch.memory),
                    levers=(f"add {tensor} to the holds of a level on chip",),
                )

    def fed(self, arch: Architecture) -> Nfu:
        return replace(self, arch=arch)

    @property
    def unrolling(self) -> dict[str, int]:
        return self.spec.unroll.model_dump()

    def unrolled(self, layer: str, sizes: MappingABC[str, int]) -> Nfu:
        """The NFU with its multipliers on other loops; some of them may stay idle, but there are no more."""
        unroll = self.spec.unroll.model_copy(update=dict(sizes))
        most = self.spec.unroll.multipliers
        if unroll.multipliers > most:
            raise InfeasibleError(
                f"layer {layer}: the unroll of its loops",
                demand=f"{unroll.multipliers} multipliers ({_product(unroll)})",
                bound=f"{most} ({_product(self.spec.unroll)})",
                levers=_smaller(layer, unroll, most),
            )
        return replace(self, spec=self.spec.model_copy(update={"unroll": unroll}))

    def computing(self, arithmetic: FixedPoint | None) -> Nfu:
        """The NFU with this fixed point, or with exact integers."""
        return replace(self, spec=self.spec.model_copy(update={"arithmetic": arithmetic}))

    # ---- what the mapper asks ------------------------------------------------------------------------------

    def units(self, dataflow: str, precision: Precision) -> tuple[int, int, int]:
        self._require_dataflow(dataflow)
        pack, _ = self._speed(precision)
        return self.spec.unroll.pixels, self.spec.unroll.K * self.spec.nodes, self.spec.unroll.tree * pack

    def compute_cycles(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        """A row of operands after the other; tiles that do not overlap also let the pipeline run empty."""
        del dataflow
        _, slow = self._speed(precision)
        steps = self.steps(precision, nest)
        rows = np.prod(-(-tiles // np.array(steps, dtype=np.int64)), axis=1)
        drained = 0 if self.spec.overlap == "skewed" else self._depth()
        return np.asarray(rows * slow + drained, dtype=np.int64)

    def depth_cycles(self, dataflow: str) -> int:
        del dataflow
        return self._depth()

    def operand_bits(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> dict[str, Ints]:
        """A row of every operand for each row that is taken in; sums stay in their registers."""
        del dataflow
        if all(level.bandwidth is None for level in self.arch.memory[1:]):
            return {}
        rows = np.prod(-(-tiles // np.array(self.steps(precision, nest), dtype=np.int64)), axis=1)
        bits = self._row_bits(precision, nest)
        return {"weight": rows * bits["weight"], "input": rows * bits["input"]}

    def spills_partial_sums(
        self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision
    ) -> npt.NDArray[np.bool_]:
        """A tile of a part of the reduction leaves partial sums in the output buffer."""
        del dataflow, precision
        split = tiles[:, 2] * tiles[:, 5] * tiles[:, 6] < nest.dims.reduction
        return np.asarray(split | (self.spec.sums == "buffer"))

    def weight_elements(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        del dataflow, precision
        return weight_elements(nest, tiles)

    def weight_slots(self, nest: LoopNest, dataflow: str, precision: Precision) -> int:
        del nest, dataflow, precision
        return slots_of(self.arch, "weight")

    def accumulator_pixels(self, dataflow: str) -> int | None:
        del dataflow
        return None

    def _require_dataflow(self, dataflow: str) -> None:
        if dataflow != DATAFLOW:
            raise InfeasibleError(
                "the nfu engine's dataflow",
                demand=dataflow,
                bound=f"{DATAFLOW} (sums stay, rows of inputs and weights are read each cycle)",
                levers=("leave mapping.dataflow out", "choose the order of the tiles: mapping.order"),
            )

    # ---- rows ----------------------------------------------------------------------------------------------

    def _speed(self, precision: Precision) -> tuple[int, int]:
        """(operands side by side in a lane, cycles that a row of operands takes)."""
        key = (precision.weight, precision.input)
        if key not in self._speeds:
            rate = relative_throughput(self.spec.precision, precision, self.name)
            self._speeds[key] = speed_of(rate)
        return self._speeds[key]

    def steps(self, precision: Precision, nest: LoopNest) -> Dims:
        """How far each loop goes in a row, at all nodes together. Pixels share their weights, so private kernels take
        them one by one.
        """
        pack, _ = self._speed(precision)
        u, parts = self.spec.unroll, division(self.spec, nest)
        p, q = (1, 1) if nest.private_weights else (u.P, u.Q)
        return Dims(K=u.K * parts.channels, C=u.C * pack, P=p * parts.rows, Q=q, R=u.R, S=u.S, G=parts.groups)

    def _depth(self) -> int:
        return sum(stage.cycles for stage in self.spec.pipeline)

    def tile_rows(self, tile: Dims, precision: Precision, nest: LoopNest) -> TileRows:
        """How ``tile`` of ``nest`` is cut into rows."""
        counts = self._counts(tile, precision, nest)
        return TileRows(counts.outputs, counts.reduction)

    def _counts(self, tile: Dims, precision: Precision, nest: LoopNest) -> Dims:
        """Rows of ``tile`` along every loop."""
        return Dims(*(ceil_div(a, b) for a, b in zip(tile, self.steps(precision, nest), strict=True)))

    def issue_cycles(self, rows: TileRows, precision: Precision) -> int:
        """Cycles that a tile's rows of operands take to be read."""
        return rows.passes * rows.chunks * self._speed(precision)[1]

    def tile_record(self, rows: TileRows, resumes: bool, precision: Precision) -> Ints:
        """Timing of one tile, stepped by its control (kernels.nfu.tile_timing)."""
        stages = tuple(stage.cycles for stage in self.spec.pipeline)
        options = (*stages, int(self.spec.sums == "buffer"), self._speed(precision)[1])
        return _tile_record(rows.passes, rows.chunks, int(resumes), options)

    def _row_bits(self, precision: Precision, nest: LoopNest) -> dict[str, int]:
        """Bits of one row of each tensor at all nodes that work, the lanes that a ragged tile leaves idle included."""
        widths, (pack, _) = Widths.of(precision), self._speed(precision)
        u = self.spec.unroll
        bits = {
            "weight": u.tree * pack * u.K * widths.weight,
            "input": u.tree * pack * u.pixels * widths.input,
            "partial_sum": u.K * u.pixels * widths.partial_sum,
            "output": u.K * u.pixels * widths.output,
        }
        nodes = at_work(self.spec, nest)
        return {tensor: nodes * row for tensor, row in bits.items()}

    def _fold(self, rows: TileRows, precision: Precision, faster: Faster) -> list[int]:
        """A row of the timeline's fold table: one fold a tile.

        A multiplication is told in the cycle in which its operands are read, one sooner than it takes place:
        then a bubble in the pipeline is told by what kept the operands.
        """
        record = [int(v) for v in self.tile_record(rows, False, precision)]
        issue, first = record[kernels.T_ISSUE], record[kernels.T_FIRST_MAC]
        sooner = issue - max(1, faster.of(STREAM, issue))
        last = max(0, record[kernels.T_LAST_MAC] - first - sooner)
        return [0, issue - sooner, 0, last, record[kernels.T_END] - sooner, 0, issue - sooner]

    # ---- a schedule through engine and memory
    # ---------------------------------------------------------------

    def run(
        self, schedule: Schedule, precision: Precision, placement: Placement, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        """Walk ``schedule`` and count; ``carry`` is brought forward to the next layer."""
        self._require_dataflow(schedule.mapping.dataflow)
        widths = Widths.of(precision)
        tiles = [self._class_rows(schedule, kind, precision) for kind in range(len(schedule.tiles))]
        crossing = self.crossing(schedule, precision, placement)
        issue = np.array([self.issue_cycles(rows, precision) for rows in tiles], dtype=np.int64)[schedule.classes]
        issue = np.maximum(1, faster.of(STREAM, issue))
        there = {level.name: issue for level in bounded_ports(self.arch)}
        folds = np.array([[self._fold(rows, precision, faster)] * 4 for rows in tiles], dtype=np.int64)
        if isinstance(schedule, StagedSchedule):
            whole = Folds(np.ones((len(tiles), 3), dtype=np.int64), folds, there)
            return self._run_staged(schedule, precision, crossing, whole, carry, faster)
        waits = crossing.waits(self.arch, there, faster)
        steps = Steps(
            self.name,
            schedule.classes,
            crossing.fetches,
            schedule.stores,
            waits,
            np.ones((len(tiles), 3), dtype=np.int64),
            folds,
            self._options(schedule.slots("input", self._slots("input")), faster),
            schedule.partial,
            frozenset(schedule.mapping.keep),
        )
        result = run_steps(steps, self._weight_slots(schedule, carry), carry)
        traffic = add_traffic((crossing.traffic(self.arch, schedule.nest, widths), crossing.bias_traffic(self.arch)))
        counters = counters_of(result, schedule.nest.dims.macs, 0, traffic)
        moved_bits = counters.macs * (widths.weight + widths.input)
        own = {STREAM: counters.port_cycles["active"]}
        return replace(
            counters, level_cycles=level_cycles(there, waits), register_bits=moved_bits,
            occupied_cycles=occupied(self.arch, int((steps.loads > 0).sum()), counters, own),
        )  # fmt: skip

    def _run_staged(
        self, schedule: StagedSchedule, precision: Precision, crossing: Crossing, folds: Folds, carry: Carry, faster: Faster
    ) -> Counters:
        """The same over several stages of memory."""
        if carry.walks is not None:
            refuse_recording(self.arch)
        widths = Widths.of(precision)
        options = timeline_options(self.arch, -1, self.spec.overlap == "skewed", 2, faster=faster)
        counters = run_staged(self.arch, schedule, crossing, folds, options, lambda bits: bits, faster)
        own = {STREAM: counters.port_cycles["active"]}
        return replace(
            counters, register_bits=counters.macs * (widths.weight + widths.input),
            occupied_cycles=occupied(self.arch, schedule.far_moves, counters, own),
        )  # fmt: skip

    def crossing(self, schedule: Schedule, precision: Precision, placement: Placement) -> Crossing:
        """What ``schedule`` moves between the NFU and its buffers, and off chip."""
        del placement
        kinds, numbers = schedule.kinds(self.read_block(schedule.nest, precision))
        tiles = [Dims(*(int(v) for v in tile)) for tile in schedule.tiles]
        bits = [self._step_bits(tile, schedule.nest, precision) for tile in tiles]
        operands = [bits[kind.tile].of(kind) for kind in kinds]
        return Crossing(operands, numbers, schedule.loads, schedule.stores, schedule.partial, schedule.biases)

    def _options(self, input_slots: int, faster: Faster = AS_BUILT) -> Ints:
        return timeline_options(self.arch, -1, self.spec.overlap == "skewed", 2, input_slots, faster)

    def _class_rows(self, schedule: Schedule, kind: int, precision: Precision) -> TileRows:
        tile = Dims(*(int(v) for v in schedule.tiles[kind]))
        return self.tile_rows(tile, precision, schedule.nest)

    def _slots(self, tensor: Tensor) -> int:
        level = self.arch.holder(tensor)
        return level.slots if level is not None else 2

    def _weight_slots(self, schedule: Schedule, carry: Carry) -> Ints:
        """The slots as the layer before left them; a tensor kept whole has places of its own."""
        slots = schedule.slots("weight", slots_of(self.arch, "weight"))
        return carry.weight_free if slots == len(carry.weight_free) else np.zeros(slots, dtype=np.int64)

    def _step_bits(self, tile: Dims, nest: LoopNest, precision: Precision) -> StepBits:
        """What the NFU reads and writes for one tile: rows, whole as they are read and written. Rows of padding alone are
        not read, unless their level stores them."""
        bits, rows = self._row_bits(precision, nest), self.tile_rows(tile, precision, nest)
        counts = self._counts(tile, precision, nest)
        level = self.arch.holder("input")
        each = counts.G * counts.N * counts.K * counts.C * bits["input"]
        stored = level is not None and level.padding == "stored"
        inputs = (each * counts.P * counts.Q * counts.R * counts.S, 0) if stored else (0, each)
        begun, resumed = (
            (int(record[kernels.T_READS]) * bits["partial_sum"], int(record[kernels.T_WRITES]) * bits["partial_sum"])
            for record in (self.tile_record(rows, again, precision) for again in (False, True))
        )
        ended, written = rows.passes * bits["partial_sum"], rows.passes * bits["output"]
        return StepBits(rows.passes * rows.chunks * bits["weight"], *inputs, begun, resumed, 0, 0, ended, written)

    # ---- trials --------------------------------------------------------------------------------------------

    def tile_work(self, tile: Dims, nest: LoopNest, precision: Precision, dataflow: str) -> TileWork:
        self._require_dataflow(dataflow)
        rows = self.tile_rows(tile, precision, nest)
        pixels = tile.P * tile.Q if nest.private_weights else 1
        ports = (max(1, self.issue_cycles(rows, precision)),) * len(bounded_ports(self.arch))
        folds = [self._fold(rows, precision, AS_BUILT)] * 4
        weight_bits = tile.weights * pixels * precision.weight.bits
        return TileWork(weight_bits, self._step_bits(tile, nest, precision), ports, (1, 1, 1), folds)

    def read_block(self, nest: LoopNest, precision: Precision) -> tuple[int, int, int, int]:
        """Output rows and columns, filter rows and columns of one row of operands."""
        steps = self.steps(precision, nest)
        return steps.P, steps.Q, steps.R, steps.S

    def walk_options(self, dataflow: str) -> Ints:
        self._require_dataflow(dataflow)
        return self._options(self._slots("input"))

    # ---- values --------------------------------------------------------------------------------------------

    def accumulate(self, schedule: Schedule, precision: Precision, image: Array, weight: Array) -> Sums:
        """Step every tile's operands through the NFU (kernels.nfu).

        Tiles that differ in their pixels alone go together: no sum has products of both, and every sum takes its own
        in the schedule's order.
        """
        nest, d = schedule.nest, schedule.nest.dims
        floats = not precision.accumulator.is_integer
        sums = np.zeros((d.N, d.G, d.K, d.P, d.Q), dtype=np.float32 if floats else np.int64)
        effective, overflows = 0, 0
        pack, _ = self._speed(precision)
        cuts = self._cuts(precision, image, weight)
        operands = TileOperands(nest, image, weight)
        rows_of = cache(lambda tile: self._taken(tile, pack))
        for at, tile in _value_places(schedule):
            taken = rows_of(Dims(C=tile.C, R=tile.R, S=tile.S))
            for left, right, place in operands.of(at, tile):
                out = sums[place].reshape(tile.N, tile.K, -1).transpose(0, 2, 1).reshape(-1, tile.K)
                out, overflowed = self._tile_sums(left, right, out, taken, cuts)
                overflows += overflowed
                effective += int(
                    (left != 0).sum(axis=0, dtype=np.int64) @ (right != 0).sum(axis=1, dtype=np.int64)
                )
                turned = out.reshape(tile.N, -1, tile.K).transpose(0, 2, 1)
                sums[place] = turned.reshape(sums[place].shape)
        return Sums(sums.reshape(d.N, d.G * d.K, d.P, d.Q), effective, overflows)

    def accumulator(self, precision: Precision) -> Accumulator:
        arithmetic = self.spec.arithmetic
        if arithmetic is None or not precision.accumulator.is_integer:
            return Accumulator(precision.accumulator, self.spec.accumulator_overflow == "saturate")
        return Accumulator(NumberFormat("int", arithmetic.sum_bits), arithmetic.overflow == "saturate")

    def _cuts(self, precision: Precision, image: Array, weight: Array) -> dict[str, Any]:
        """The kernel's words for products and sums that are cut; exact sums are watched only if they could overflow."""
        options: dict[str, Any] = {"operand_bits": (_signed_bits(precision.input), _signed_bits(precision.weight))}
        arithmetic, register = self.spec.arithmetic, self.accumulator(precision)
        if not register.format.is_integer:
            return options
        if arithmetic is not None and arithmetic.product == "truncate":
            options |= {
                "product_mode": _MODES[arithmetic.overflow],
                "product_shift": arithmetic.fraction,
                "product_bits": arithmetic.product_bits,
            }
        if arithmetic is None and largest_sum(weight, image) <= register.format.highest:
            return options
        return options | {"sum_bits": min(register.format.bits, 62), "saturate": register.saturates}

    def _taken(self, tile: Dims, pack: int) -> npt.NDArray[np.int64]:
        """int64[chunks, Ti]: which element of the tile's reduction (C, R, S) each lane of each row takes; -1
        none.
        """
        u = self.spec.unroll
        steps = (u.C * pack, u.R, u.S)
        sizes = (tile.C, tile.R, tile.S)
        counts = [ceil_div(size, step) for size, step in zip(sizes, steps, strict=True)]
        grid = np.full([n * step for n, step in zip(counts, steps, strict=True)], -1, dtype=np.int64)
        grid[: tile.C, : tile.R, : tile.S] = np.arange(tile.C * tile.R * tile.S).reshape(sizes)
        cut = grid.reshape(counts[0], steps[0], counts[1], steps[1], counts[2], steps[2])
        rows = cut.transpose(2, 4, 0, 1, 3, 5).reshape(
            -1, steps[0] * steps[1] * steps[2]
        )  # taps outside, channels inside
        lanes = 1 << (rows.shape[1] - 1).bit_length()
        return np.pad(rows, ((0, 0), (0, lanes - rows.shape[1])), constant_values=-1)

    def _tile_sums(
        self, left: Array, right: Array, start: Array, taken: npt.NDArray[np.int64], cuts: MappingABC[str, Any]
    ) -> tuple[Array, int]:
        """``start`` [pixels, K] plus one tile's products, and sums that did not fit."""
        step = self.spec.unroll.K
        blocks, lanes = ceil_div(right.shape[1], step), ceil_div(step, kernels.LANES) * kernels.LANES
        padded = np.zeros((left.shape[0], left.shape[1] + 1), dtype=left.dtype)  # a lane that takes nothing reads zero
        padded[:, :-1] = left
        inputs = padded[:, taken]
        weights = np.zeros((right.shape[0] + 1, blocks, lanes), dtype=right.dtype)
        sums = np.zeros((left.shape[0], blocks, lanes), dtype=start.dtype)
        for block in range(blocks):
            part = slice(block * step, min((block + 1) * step, right.shape[1]))
            weights[:-1, block, : part.stop - part.start] = right[:, part]
            sums[:, block, : part.stop - part.start] = start[:, part]
        rows = np.ascontiguousarray(weights[taken].transpose(2, 0, 1, 3))
        overflows = kernels.run_tile(inputs, rows, sums, **cuts)
        return sums[:, :, :step].reshape(left.shape[0], -1)[:, : right.shape[1]], overflows


def _value_places(schedule: Schedule) -> Iterator[tuple[Dims, Dims]]:
    """Where the operands of values mode are cut."""
    if isinstance(schedule, StagedSchedule) or schedule.nest.private_weights:
        return schedule.tile_places()
    return tile_places(schedule.nest.dims, _with_more_pixels(schedule))


def _with_more_pixels(schedule: Schedule) -> Mapping:
    """The mapping with as many rows of outputs a tile as `MOST_OPERANDS` inputs of theirs allow."""
    d, tile = schedule.nest.dims, schedule.mapping.tile
    rows = min(d.P, max(1, MOST_OPERANDS // (d.N * d.Q * tile.reduction)))
    return replace(schedule.mapping, tile=tile._replace(N=d.N, P=rows, Q=d.Q))


def _product(unroll: Unroll) -> str:
    """As it is written: ``K 16 x C 16``."""
    return " x ".join(f"{dim} {size}" for dim, size in unroll if size > 1) or "one"


def _smaller(layer: str, unroll: Unroll, most: int) -> tuple[str, ...]:
    """What to turn so that ``unroll`` needs at most ``most`` multipliers: one factor of it, the largest first."""
    rooms = {dim: most * size // unroll.multipliers for dim, size in unroll}
    dims = sorted((dim for dim, room in rooms.items() if room), key=lambda dim: -int(getattr(unroll, dim)))
    turn = tuple(f"mapping.{layer}.unroll.{dim} at most {rooms[dim]}" for dim in dims[:2])
    return (*turn, "a larger arch.engine.unroll")


def _signed_bits(number: NumberFormat) -> int:
    """Bits of an operand in the multiplier: those of narrow formats may have a zero point taken off."""
    return number.bits if number.bits >= 16 else number.bits + 1


@lru_cache(maxsize=100_000)
def _tile_record(passes: int, chunks: int, resumes: int, options: tuple[int, ...]) -> Ints:
    """`kernels.tile_timing`, each distinct tile stepped once."""
    return kernels.tile_timing(passes, chunks, resumes, np.array(options, dtype=np.int64))


@dataclass
class NfuEngine(MappedEngine):
    """A mapped engine whose unit is an NFU: its sums have the hardware's width, its outputs the hardware's
    radix.
    """

    @property
    def _spec(self) -> NfuSpec:
        assert isinstance(self.arch.engine, NfuSpec)
        return self.arch.engine

    def planned(self, layer: Layer, plan: Plan) -> list[PlannedNest]:
        return super().planned(self.built(layer), plan)

    def run_layer(self, layer: Layer, plan: Plan, carry: Carry, operands: Operands | None) -> LayerRun:
        return super().run_layer(self.built(layer), plan, carry, operands)

    def _new_plan(
        self, layer: Layer, nest: LoopNest, placement: Placement, fixed: LayerMapping
    ) -> PlannedNest:
        widths = Widths.of(layer.precision)
        if not is_long(nest, self.arch, widths):
            return super()._new_plan(layer, nest, placement, fixed)
        single = fixed.model_copy(update={"tile": fixed.tile.model_copy(update={"P": 1, "Q": 1})})
        plan = super()._new_plan(layer, shortened(nest, SHORT), placement, single)
        longer = build_schedule(layer.name, shortened(nest, LONG), plan.mapping, widths, placement)
        planned = (plan.nest, placement, plan.mapping, plan.schedule, plan.unit, plan.view)
        return StretchedNest(*planned, longer=longer, whole=nest)

    def _run_nest(
        self, planned: PlannedNest, layer: Layer, repeat: int, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        counters = self._run_alone(planned, layer, repeat, carry, faster)
        nest = planned.whole if isinstance(planned, StretchedNest) else planned.nest
        return exchanged(counters, nest, repeat, Widths.of(layer.precision), planned.placement, self.arch)

    def _run_alone(self, planned: PlannedNest, layer: Layer, repeat: int, carry: Carry, faster: Faster) -> Counters:
        """As if all inputs were at every node."""
        if not isinstance(planned, StretchedNest):
            return super()._run_nest(planned, layer, repeat, carry, faster)
        short, long = (
            planned.unit.run(schedule, layer.precision, planned.placement, Carry.start(self.arch), faster)
            for schedule in (planned.schedule, planned.longer)
        )
        return stretch(short, long, planned.pixels, self.arch).times(repeat)

    def _sums(self, planned: PlannedNest, layer: Layer, image: Array, weight: Array) -> Sums:
        assert isinstance(planned.unit, Nfu)
        planned = replace(planned, unit=planned.unit.computing(self._arithmetic(layer)))
        if isinstance(planned, StretchedNest):
            return pixel_sums(planned, layer.precision, image, weight)
        return super()._sums(planned, layer, image, weight)

    def _accumulator(self, unit: Unit, layer: Layer) -> Accumulator:
        assert isinstance(unit, Nfu)
        return unit.computing(self._arithmetic(layer)).accumulator(layer.precision)

    def _arithmetic(self, layer: Layer) -> FixedPoint | None:
        """The fixed point that ``layer`` is computed in; None for exact integers, which a layer's own scales ask for."""
        own = layer.states_scales or not layer.precision.accumulator.is_integer
        return None if own else self._spec.arithmetic

    def built(self, layer: Layer) -> Layer:
        """The layer with partial sums as wide as the NFU's; a wider format of the network's changes no
        hardware.
        """
        arithmetic = self._arithmetic(layer)
        if arithmetic is None or arithmetic.sum_bits >= layer.precision.accumulator.bits:
            return layer
        narrow = layer.precision.model_copy(update={"accumulator": NumberFormat("int", arithmetic.sum_bits)})
        return replace(layer, precision=narrow)

    def evaluate(self, layer: Layer, operands: Operands) -> Evaluated:
        """Pooling by NFU-2 and functions by NFU-3 where the NFU has a fixed point; the rest by the operators' rules."""
        return nfu_fixed.evaluate(layer, operands.inputs, self._spec) or super().evaluate(layer, operands)

    def _recurrent(
        self, layer: Layer, planned: list[PlannedNest], operands: Operands, cell: CellArithmetic | None = None
    ) -> tuple[Array, list[Sums]]:
        """With a fixed point the cell is NFU-3's and NFU-1's, and sums that do not fit there count as any other."""
        if self._arithmetic(layer) is None:
            return super()._recurrent(layer, planned, operands, cell)
        own = nfu_fixed.FixedCell(layer, self._spec)
        output, sums = super()._recurrent(layer, planned, operands, own)
        return output, [*sums, Sums(output, 0, own.overflows)]

    def _narrow(self, layer: Layer, accumulators: Array, reduction: int) -> Array:
        """Sums at the radix of the design become outputs: shifted back if products were not, then cut to the
        format.
        """
        arithmetic = self._arithmetic(layer)
        if arithmetic is None:
            return super()._narrow(layer, accumulators, reduction)
        if arithmetic.product == "exact":
            accumulators = accumulators >> arithmetic.fraction
        return saturate(accumulators, layer.precision.output)
