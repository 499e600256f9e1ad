"""What engines that follow a mapping share: nests planned once a shape, walked through memory, parts put together.

A `Unit` is the array itself (systolic, NFU); this room gives it mappings and schedules, runs them, and in values
mode hands it the operands tile by tile.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters
from accelsim.engines.base import Array, Evaluated, LayerRun, Operands, Sums
from accelsim.engines.transforms import evaluated
from accelsim.engines.trial import TileWork, Trials
from accelsim.engines.vector import VectorUnit
from accelsim.engines.walk import Carry
from accelsim.errors import InfeasibleError
from accelsim.mapping.auto import choose_mapping
from accelsim.mapping.fit import crowded, fits, require_fit
from accelsim.mapping.loopnest import Dims, LoopNest, VectorWork, lower
from accelsim.mapping.machine import (
    Ints,
    Judge,
    Machine,
    Placement,
    Widths,
    off_chip_bits_per_cycle,
    tile_array,
    with_fewer_slots,
)
from accelsim.mapping.mapping import LayerMapping, Mapping, MappingFile
from accelsim.mapping.stages import Stages, stages_fit
from accelsim.memory.resources import AS_BUILT, Faster
from accelsim.memory.transfers import Crossing
from accelsim.schedule.build import Schedule, build_schedule
from accelsim.schedule.residency import Plan, shares_off_chip
from accelsim.schedule.staged import build_staged
from accelsim.units import ceil_div
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.floats import read_as
from accelsim.workload.network import Layer
from accelsim.workload.ops import Conv2d, LocallyConnected2d, Matmul, Recurrent
from accelsim.workload.precision import Precision
from accelsim.workload.recurrent import CellArithmetic

MOST_UNSETTLED = 64  # repetitions that are run one by one; they settle in two or three


class Unit(Machine, Protocol):
    """A compute unit that runs schedules."""

    @property
    def dataflow(self) -> str:
        """The dataflow that a mapping has unless it names another."""

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        """Peak MACs a cycle."""

    def fed(self, arch: Architecture) -> Unit:
        """The same unit in another machine's memory."""

    @property
    def unrolling(self) -> dict[str, int]:
        """Iterations that the unit does at once by loop, where a mapping may say so; else empty."""

    def unrolled(self, layer: str, sizes: MappingABC[str, int]) -> Unit:
        """The unit as a mapping unrolls its loops over ``layer``; `InfeasibleError` where it cannot."""

    def refuse(self, layer: str, nest: LoopNest, precision: Precision) -> None:
        """Raise `InfeasibleError` for a nest or precision that the unit cannot run."""

    def crossing(self, schedule: Schedule, precision: Precision, placement: Placement) -> Crossing:
        """What a schedule moves through the ports of all levels."""

    def run(
        self, schedule: Schedule, precision: Precision, placement: Placement, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        """Walk a schedule: cycles, stalls, traffic; on a machine that may have a faster resource."""

    def tile_work(self, tile: Dims, nest: LoopNest, precision: Precision, dataflow: str) -> TileWork:
        """What a tile of ``nest`` is to the unit."""

    def read_block(self, nest: LoopNest, precision: Precision) -> tuple[int, int, int, int]:
        """Output rows and columns, filter rows and columns whose inputs are read at once."""

    def walk_options(self, dataflow: str) -> Ints:
        """The options of the timeline kernel for a schedule that keeps no inputs."""

    def accumulator(self, precision: Precision) -> Accumulator:
        """The register that a layer's sums and its bias are added in."""

    def accumulate(self, schedule: Schedule, precision: Precision, image: Array, weight: Array) -> Sums:
        """Step the operands through the unit.

        ``image`` is N x (G*C) x H x W; ``weight`` (G*K) x C x R x S, or P x Q x K x C x R x S with private kernels.
        """


@runtime_checkable
class StructuredUnit(Protocol):
    """A unit that can skip weights pruned to n of every m."""

    def pruned(self, layer: Layer) -> Unit:
        """The unit as it works on ``layer``: with what it skips of its weights, if anything."""

    def skipped(self, macs: int) -> int:
        """MACs out of ``macs`` that it never does."""


LITTLE = 1 / 500  # of its traffic or time that a layer loses by its tiles is not worth a search for others


@dataclass(frozen=True)
class PlannedNest:
    """One nest of a layer with the mapping and schedule it runs by."""

    nest: LoopNest
    placement: Placement
    mapping: Mapping
    schedule: Schedule
    unit: Unit
    view: Architecture | None = field(default=None, compare=False)
    """The machine with the slots that the mapping has room for, where those are fewer than there are."""
    judged: tuple[Counters, Carry] | None = field(default=None, compare=False)
    """What the schedule gave, and where it came to, when the mapping was chosen: from a fresh carry."""
    hastened: dict[Faster, tuple[Counters, Carry]] = field(default_factory=dict, compare=False, repr=False)
    """The same on machines with a faster resource."""

    def first(self, precision: Precision, carry: Carry, faster: Faster) -> Counters:
        """Walk the schedule and bring ``carry`` forward; what is known from a fresh one is not walked again."""
        known = self.judged if faster == AS_BUILT else self.hastened.get(faster)
        if known is None or not carry.fresh:
            fresh, counters = carry.fresh, self.unit.run(self.schedule, precision, self.placement, carry, faster)
            if fresh and faster != AS_BUILT:
                self.hastened[faster] = counters, copy.deepcopy(carry)
            return counters
        carry.take(known[1])
        return known[0]

    def to_dict(self, arch: Architecture) -> dict[str, Any]:
        """As it would stand in a mapping YAML for ``arch``."""
        unrolling = self.unit.unrolling
        named = zip(arch.stages, self.mapping.outer, strict=False)
        levels = {stage[0].name: own.to_dict() for stage, own in named}
        found = self.mapping.to_dict() | ({"unroll": unrolling} if unrolling else {})
        return {"levels": levels} | found if levels else found


@dataclass
class PlannedNests:
    """Nests and the plans that were found for them, by all that a plan follows from; the oldest are forgotten when those
    that are kept have more than ``most_steps`` (0: none ever is). Engines of several runs may share one.
    """

    most_steps: int = 0
    _plans: dict[Hashable, PlannedNest] = field(default_factory=dict)
    _steps: int = 0

    def plan(self, key: Hashable, make: Callable[[], PlannedNest]) -> PlannedNest:
        """The plan under ``key``, made where it is not known."""
        if key not in self._plans:
            self._plans[key] = make()
            self._steps += self._plans[key].schedule.steps
            while self.most_steps and self._steps > self.most_steps and len(self._plans) > 1:
                self._steps -= self._plans.pop(next(iter(self._plans))).schedule.steps
        return self._plans[key]


@dataclass
class MappedEngine:
    """An engine made of a unit, a vector unit, and the mappings that a user fixed.

    ``known`` may be shared with engines of other architectures: ``machine`` then says which this one is.
    """

    arch: Architecture
    unit: Unit
    vector: VectorUnit | None
    mapping: MappingFile
    known: PlannedNests = field(default_factory=PlannedNests)
    machine: str = ""

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def needs_values(self) -> bool:
        return False

    def built(self, layer: Layer) -> Layer:
        """The layer at the precision that the hardware gives it; an engine with narrower sums says so here."""
        return layer

    def check(self, layer: Layer, plan: Plan) -> None:
        self.planned(layer, plan)

    def planned(self, layer: Layer, plan: Plan) -> list[PlannedNest]:
        """Mapping and schedule of every nest of ``layer``."""
        nests = [work for work in lower(layer).work if isinstance(work, LoopNest)]
        nests[:1] = [replace(nest, biased=nest.biased or layer.name in plan.shifted) for nest in nests[:1]]
        return [self._planned_nest(layer, nest, _part_placement(nest, plan.placements[layer.name])) for nest in nests]

    def _planned_nest(self, layer: Layer, nest: LoopNest, placement: Placement) -> PlannedNest:
        """What is best with all the room is best with less, as long as it fits."""
        roomy = self._chosen(layer, nest, replace(placement, reserved_bytes={}))
        if not any(placement.reserved_bytes.values()) or self._fits(layer, roomy, placement):
            return replace(roomy, placement=placement)
        return self._chosen(layer, nest, placement)

    def _fits(self, layer: Layer, planned: PlannedNest, placement: Placement) -> bool:
        if self.arch.planned:
            return stages_fit(planned.nest, planned.mapping, self.arch, planned.unit.fed, layer.precision, placement)
        tile, chosen, view = tile_array(planned.mapping.tile), planned.mapping, planned.view or self.arch
        return bool(
            fits(planned.nest, tile, view, planned.unit, layer.precision, chosen.dataflow, placement, chosen.keep)[0]
        )

    def _chosen(self, layer: Layer, nest: LoopNest, placement: Placement) -> PlannedNest:
        fixed = self.mapping.of(layer.name)
        weights = layer.op.op, layer.weight.structure
        key = (self.machine, replace(nest, part="", repeat=1), layer.precision, fixed, placement.key, weights)
        return self.known.plan(key, lambda: self._new_plan(layer, nest, placement, fixed))

    def _new_plan(self, layer: Layer, nest: LoopNest, placement: Placement, fixed: LayerMapping) -> PlannedNest:
        unit = self.unit_of(layer, nest)
        if self.arch.planned:
            return self._staged_plan(layer, nest, placement, fixed, unit)
        best, misfit = None, None
        dataflow = fixed.dataflow or unit.dataflow
        full = crowded(nest, self.arch, unit, layer.precision, dataflow, placement)
        for view in with_fewer_slots(self.arch, full):  # a tile may be too large for all slots
            if best is not None and not _slots_may_matter(best, layer.precision, self.arch):
                break
            try:
                found = self._plan_on(view, layer, nest, placement, fixed, unit.fed(view))
            except InfeasibleError as error:
                misfit = misfit or error
                continue
            if best is None or _cost(found)[0] < _cost(best)[0]:
                best = found
        if best is None and misfit is not None:
            raise misfit
        assert best is not None
        return best

    def _plan_on(
        self, view: Architecture, layer: Layer, nest: LoopNest, placement: Placement, fixed: LayerMapping, unit: Unit
    ) -> PlannedNest:
        """The best plan with the slots of ``view``."""
        precision, widths, dataflow = layer.precision, Widths.of(layer.precision), fixed.dataflow or unit.dataflow
        chosen = fixed.whole(nest.dims, dataflow) or choose_mapping(
            layer.name, nest, view, unit, precision, dataflow, placement, fixed,
            judge=Trials(nest, view, unit, precision, placement, dataflow),
        )  # fmt: skip
        require_fit(layer.name, nest, chosen.tile, view, unit, precision, dataflow, placement, chosen.keep)
        schedule, carry = build_schedule(layer.name, nest, chosen, widths, placement), Carry.start(self.arch)
        judged = unit.run(schedule, precision, placement, carry), carry
        return PlannedNest(nest, placement, chosen, schedule, unit, view, judged)

    def _staged_plan(
        self, layer: Layer, nest: LoopNest, placement: Placement, fixed: LayerMapping, unit: Unit
    ) -> PlannedNest:
        """The same over several stages of memory, each mapped as a machine of its own."""
        precision, dataflow = layer.precision, fixed.dataflow or unit.dataflow

        def judge_on(view: Architecture, within: LoopNest, there: Placement) -> Judge:
            return Trials(within, view, unit.fed(view), precision, there, dataflow)

        def planned(mapping: Mapping) -> PlannedNest:
            schedule = self._scheduled(layer, nest, mapping, placement)
            carry = Carry.start(self.arch)
            judged = unit.run(schedule, precision, placement, carry), carry
            return PlannedNest(nest, placement, mapping, schedule, unit, judged=judged)

        choices = Stages(
            layer.name, nest, self.arch, unit.fed, precision, dataflow, placement, fixed, judge_on
        ).mappings()
        return min((planned(mapping) for mapping in choices), key=_cost)

    def unit_of(self, layer: Layer, nest: LoopNest) -> Unit:
        """The unit as it works on ``nest``: unrolled as the user fixed it, skipping weights that are pruned so that it can."""
        sizes = self.mapping.of(layer.name).unroll.given()
        unit = self.unit.unrolled(layer.name, sizes) if sizes else self.unit
        if isinstance(unit, StructuredUnit):
            unit = unit.pruned(layer)
        unit.refuse(layer.name, nest, layer.precision)
        return unit

    def evaluate(self, layer: Layer, operands: Operands) -> Evaluated:
        return evaluated(layer, operands, self._accumulator(self.unit, layer))

    # ---- running -------------------------------------------------------------------------------------------

    def run_layer(self, layer: Layer, plan: Plan, carry: Carry, operands: Operands | None) -> LayerRun:
        lowered = lower(layer)
        planned = self.planned(layer, plan)
        counters, mappings = self._walked(layer, planned, plan, carry), {}
        for nest in planned:
            mappings[nest.nest.part or "nest"] = nest.to_dict(self.arch)
        counters = replace(counters, effective_macs=structural_macs(layer, counters.macs))
        outputs = None
        if operands is not None:
            outputs, counters = self._values(layer, planned, operands, counters)
        mapping: dict[str, Any] = mappings["nest"] if list(mappings) == ["nest"] else mappings
        peak = self.unit.macs_per_cycle(layer.precision)
        units = [nest.unit for nest in planned]
        skipped = sum(unit.skipped(counters.macs) for unit in units[:1] if isinstance(unit, StructuredUnit))

        def again(faster: Faster) -> int:
            return self._walked(layer, planned, plan, Carry.start(self.arch), faster).cycles

        return LayerRun(
            layer, self.name, lowered.dims, mapping, counters, peak, outputs, skipped_macs=skipped, again=again
        )

    def _walked(
        self, layer: Layer, planned: list[PlannedNest], plan: Plan, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        """All parts of a layer, one after the other."""
        counters, following = Counters(), iter(planned)
        for work in lower(layer).work:
            if isinstance(work, LoopNest):
                counters += self._run_nest(next(following), layer, work.repeat, carry, faster)
            elif self.vector is not None:
                counters += self._run_vector(work, layer, plan, carry, faster)
        return counters

    def _run_vector(
        self, work: VectorWork, layer: Layer, plan: Plan, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        """The element-wise part of a layer with MACs: its operands are on chip already."""
        assert self.vector is not None
        shares = (Fraction(0),) * len(work.input_elements) if work.part else shares_off_chip(plan, layer)
        placement = plan.placements[layer.name]
        return self.vector.run_repeated(work, layer.precision, shares, placement, carry, faster)

    def _run_nest(
        self, planned: PlannedNest, layer: Layer, repeat: int, carry: Carry, faster: Faster = AS_BUILT
    ) -> Counters:
        """A nest once, then its repetitions, which find the weights where they are if all of them fit."""
        first = planned.first(layer.precision, carry, faster)
        if repeat == 1:
            return first
        counts = planned.mapping.counts(planned.nest.dims)
        if counts.K * counts.C == 1 and self.arch.holder("weight") is not None:
            held = replace(planned.placement, weight_resident=True)
            schedule = self._scheduled(layer, planned.nest, planned.mapping, held)
            planned = replace(planned, placement=held, schedule=schedule)
        return first + self._again(planned, layer, repeat - 1, carry, faster)

    def _again(self, planned: PlannedNest, layer: Layer, times: int, carry: Carry, faster: Faster) -> Counters:
        """A nest so many ``times``, each from where the one before left the port, until that is where it was left before."""
        total, unsettled = Counters(), MOST_UNSETTLED
        while times:
            before = carry.port.copy(), carry.weight_free.copy()
            counters = planned.unit.run(planned.schedule, layer.precision, planned.placement, carry, faster)
            settled = np.array_equal(before[0], carry.port) and np.array_equal(before[1], carry.weight_free)
            unsettled -= 1
            alike = times if settled or not unsettled else 1
            carry.repeated(alike)
            total, times = total + counters.times(alike), times - alike
        return total

    def _scheduled(self, layer: Layer, nest: LoopNest, mapping: Mapping, placement: Placement) -> Schedule:
        """The schedule of a mapping, over however many stages."""
        widths = Widths.of(layer.precision)
        if self.arch.planned:
            return build_staged(layer.name, nest, mapping, widths, placement, self.arch)
        return build_schedule(layer.name, nest, mapping, widths, placement)

    # ---- values --------------------------------------------------------------------------------------------

    def _values(
        self, layer: Layer, planned: list[PlannedNest], operands: Operands, counters: Counters
    ) -> tuple[tuple[Array, ...], Counters]:
        """The layer's outputs through the unit's registers, and the counters that only values can tell."""
        if isinstance(layer.op, Recurrent):
            output, sums = self._recurrent(layer, planned, operands)
        else:
            image, weight = _as_image(layer, operands)
            total = self._biased(planned[0], layer, self._sums(planned[0], layer, image, weight), operands.bias)
            output, sums = self._finish(layer, total.accumulators), [total]
        counted = replace(
            counters,
            effective_macs=sum(part.effective_macs for part in sums),
            accumulator_overflows=sum(part.overflows for part in sums),
        )
        return (output,), counted

    def _sums(self, planned: PlannedNest, layer: Layer, image: Array, weight: Array) -> Sums:
        """A nest's operands through its unit."""
        return planned.unit.accumulate(planned.schedule, layer.precision, image, weight)

    def _accumulator(self, unit: Unit, layer: Layer) -> Accumulator:
        return unit.accumulator(layer.precision)

    def _biased(self, planned: PlannedNest, layer: Layer, total: Sums, bias: Array | None) -> Sums:
        """A nest's sums with the layer's bias added behind the last product, in the same registers."""
        if bias is None:
            return total
        added, overflows = self._accumulator(planned.unit, layer).added(total.accumulators, _over_sums(layer, bias))
        return Sums(added, total.effective_macs, total.overflows + overflows)

    def _finish(self, layer: Layer, accumulators: Array) -> Array:
        """Requantization of N x (G*K) x P x Q accumulators, in the layer's output shape."""
        reduction = layer.macs // prod(layer.output_shapes[0])
        accumulators = from_image(layer, accumulators)
        return self._narrow(layer, accumulators.reshape(layer.output_shapes[0]), reduction)

    def _recurrent(
        self, layer: Layer, planned: list[PlannedNest], operands: Operands, cell: CellArithmetic | None = None
    ) -> tuple[Array, list[Sums]]:
        """Steps of an LSTM or GRU: gates through the unit, the cell on the vector unit, the state fed back."""
        from accelsim.workload import functional

        assert isinstance(layer.op, Recurrent)
        assert operands.weight is not None
        sequence = operands.inputs[0] if operands.inputs[0].ndim == 3 else operands.inputs[0][:, None]
        batch, steps, features = sequence.shape
        rows = sequence.reshape(batch * steps, features)
        total = self._product(planned[0], layer, rows, operands.weight[:, :features])
        total = self._biased(planned[0], layer, total, operands.bias)
        sums, state, hidden = [total], functional.initial_state(layer), []
        given = total.accumulators.reshape(batch, steps, -1)
        for step in range(steps):
            hidden_read = read_as(state.hidden, layer.precision.input)
            fed = self._product(planned[1], layer, hidden_read, operands.weight[:, features:])
            gates = fed.accumulators.reshape(batch, -1)
            state = functional.recurrent_cell(layer, given[:, step], gates, state, operands.peepholes, cell)
            sums.append(fed)
            if operands.projection is not None:
                shown = read_as(state.hidden, layer.precision.input)
                down = self._product(planned[2], layer, shown, operands.projection)
                narrow = self._narrow(layer, down.accumulators.reshape(batch, -1), layer.op.hidden)
                state = state._replace(hidden=narrow)
                sums.append(down)
            hidden.append(state.hidden)
        return np.stack(hidden, axis=1).reshape(layer.output_shapes[0]), sums

    def _narrow(self, layer: Layer, accumulators: Array, reduction: int) -> Array:
        """Outputs of accumulators that are sums of ``reduction`` products."""
        from accelsim.workload import functional

        return functional.requantize(accumulators, layer, reduction)

    def _product(self, planned: PlannedNest, layer: Layer, rows: Array, weight: Array) -> Sums:
        """rows x weight.T through the unit."""
        image, columns = rows.reshape(*rows.shape, 1, 1), np.ascontiguousarray(weight).reshape(*weight.shape, 1, 1)
        return self._sums(planned, layer, image, columns)


def _slots_may_matter(planned: PlannedNest, precision: Precision, arch: Architecture) -> bool:
    """Whether larger tiles in fewer slots could gain: not where there is one tile, nor near what any tile takes, which is the
    computation of the layer in one piece and the time of what must cross the port.
    """
    assert planned.judged is not None
    nest, place, widths, counters = planned.nest, planned.placement, Widths.of(precision), planned.judged[0]
    how, whole = planned.mapping.dataflow, tile_array(nest.dims)
    held = planned.unit.weight_elements(nest, whole, how, precision)[0] * widths.weight + int(planned.schedule.biases.sum())
    inputs = nest.input_elements(nest.dims) * widths.input * place.input_off_chip
    least = inputs + nest.dims.outputs * widths.output * (not place.output_resident) + int(held) * (not place.weight_resident)
    computed, rate = int(planned.unit.compute_cycles(nest, whole, how, precision)[0]), off_chip_bits_per_cycle(arch)
    bound = max(computed, 0 if rate is None else least / rate)
    return planned.schedule.steps > 1 and counters.cycles > bound * (1 + LITTLE)


def _cost(planned: PlannedNest) -> tuple[int, int]:
    """Cycles, and of those that take as long what moves the least at all levels."""
    assert planned.judged is not None
    counters = planned.judged[0]
    moved = sum(t.read_bits + t.write_bits for tensors in counters.traffic.values() for t in tensors.values())
    return counters.cycles, moved


def _over_sums(layer: Layer, bias: Array) -> Array:
    """A layer's bias in a shape that broadcasts over N x (G*K) x P x Q accumulators."""
    if isinstance(layer.op, LocallyConnected2d):  # private kernels have private biases
        return bias[None]
    groups = layer.op.sizes(layer.input_shapes)[0] if isinstance(layer.op, Matmul) else 1
    return np.tile(bias, groups).reshape(1, -1, 1, 1)  # all products of a batch have the same


def _part_placement(nest: LoopNest, placement: Placement) -> Placement:
    """The feedback of a recurrent layer is a vector that never leaves the chip."""
    if nest.part in ("recurrent", "projection"):
        return replace(placement, input_off_chip=Fraction(0), output_resident=True)
    return placement


def structural_macs(layer: Layer, macs: int) -> int:
    """MACs of which no operand is zero, as far as the stated densities tell: values mode counts the zeros themselves."""
    kept = Fraction(layer.weight.density * layer.input_values.density).limit_denominator(10**6)
    return ceil_div(macs * kept.numerator, kept.denominator)


def _as_image(layer: Layer, operands: Operands) -> tuple[Array, Array]:
    """Operands in the shapes of the nest: N x (G*C) x H x W, and (G*K) x C x R x S."""
    if isinstance(layer.op, Conv2d | LocallyConnected2d):
        assert operands.weight is not None
        return operands.inputs[0], operands.weight
    if len(operands.inputs) == 2:  # batched product of two activations: a group each
        return _batched(layer, operands)
    assert operands.weight is not None
    weight = operands.weight
    if layer.op.op == "matmul" and not getattr(layer.op, "transpose_b", False):
        weight = weight.T
    features = weight.shape[1]
    rows = operands.inputs[0].reshape(-1, features)
    return rows.reshape(*rows.shape, 1, 1), np.ascontiguousarray(weight).reshape(*weight.shape, 1, 1)


def _batched(layer: Layer, operands: Operands) -> tuple[Array, Array]:
    batch, m, n, k = layer.op.sizes(layer.input_shapes)  # type: ignore[attr-defined]
    left = operands.inputs[0].reshape(batch, m, k)
    right = operands.inputs[1].reshape(batch, -1, operands.inputs[1].shape[-1])
    if not layer.op.transpose_b:  # type: ignore[attr-defined]
        right = right.transpose(0, 2, 1)
    image = np.ascontiguousarray(left.transpose(1, 0, 2)).reshape(m, batch * k, 1, 1)
    return image, np.ascontiguousarray(right).reshape(batch * n, k, 1, 1)


def from_image(layer: Layer, accumulators: Array) -> Array:
    """N x (G*K) accumulators of a product back to (batch, rows, columns)."""
    if len(layer.inputs) != 2:
        return accumulators  # N x K is already (rows, columns)
    batch, m, n, _ = layer.op.sizes(layer.input_shapes)  # type: ignore[attr-defined]
    return accumulators.reshape(m, batch, n).transpose(1, 0, 2)
