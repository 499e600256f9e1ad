"""The one way through the house: network -> lowering -> mapping -> schedule -> engine -> counters, layer by layer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters
from accelsim.engines.base import LayerRun
from accelsim.engines.registry import engine_of, vector_unit_of
from accelsim.errors import InfeasibleError
from accelsim.mapping.auto import choose_mapping
from accelsim.mapping.fit import require_fit
from accelsim.mapping.loopnest import Lowered, LoopNest, lower
from accelsim.mapping.machine import Placement, Widths
from accelsim.mapping.mapping import EMPTY, LayerMapping, Mapping, MappingFile
from accelsim.schedule.build import Schedule, build_schedule
from accelsim.schedule.residency import Plan, plan_residency, shares_off_chip
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, Network
from accelsim.workload.ops import BatchNorm

if TYPE_CHECKING:
    from accelsim.engines.systolic import SystolicArray
    from accelsim.engines.walk import Carry


@dataclass(frozen=True)
class PlannedNest:
    """One nest of a layer with the mapping and schedule it runs by."""

    nest: LoopNest
    placement: Placement
    mapping: Mapping
    schedule: Schedule


@dataclass
class Simulator:
    """Runs networks on one architecture, remembering what it worked out for shapes it has seen."""

    arch: Architecture
    mapping: MappingFile = EMPTY
    seed: int | None = None  # of the operands, in values mode; None is cycles mode
    _plans: dict[Hashable, PlannedNest] = field(default_factory=dict)

    def run(self, network: Network) -> tuple[list[LayerRun], list[str]]:
        """All layers in order, and notes about what the architecture does not model."""
        plan = self._plan(network)
        engine = engine_of(self.arch)
        from accelsim.engines.walk import Carry

        carry = Carry.start(self.arch)
        runs = [self._layer(layer, plan, engine, carry) for layer in network.layers]
        return runs, _notes(runs, self.arch)

    # ---- planning ------------------------------------------------------------------------------------------

    def _plan(self, network: Network) -> Plan:
        """Residency that leaves every layer room: where a layer's tiles do not fit, the largest resident tensor goes."""
        forbidden: frozenset[str] = frozenset()
        while True:
            plan = plan_residency(network, self.arch, forbidden)
            for index, layer in enumerate(network.layers):
                try:
                    self.planned(layer, plan)
                except InfeasibleError:
                    alive = [
                        s for s in plan.storages.values() if s.owner in plan.resident and s.born <= index <= s.dies
                    ]
                    if not alive:
                        raise
                    largest = max(alive, key=lambda s: (s.size_bytes, -s.born))
                    forbidden |= {largest.owner}
                    break
            else:
                return plan

    def planned(self, layer: Layer, plan: Plan) -> list[PlannedNest]:
        """Mapping and schedule of every nest of ``layer``."""
        nests = [work for work in lower(layer).work if isinstance(work, LoopNest)]
        return [self._planned_nest(layer, nest, _part_placement(nest, plan.placements[layer.name])) for nest in nests]

    def _planned_nest(self, layer: Layer, nest: LoopNest, placement: Placement) -> PlannedNest:
        fixed = self.mapping.of(layer.name)
        room = tuple(sorted(placement.reserved_bytes.items()))
        flags = (placement.input_off_chip, placement.output_resident, placement.weight_resident)
        key = (replace(nest, part="", repeat=1), layer.precision, fixed, room, flags)
        known = self._plans.get(key)
        if known is None:
            known = self._plans[key] = self._new_plan(layer, nest, placement, fixed)
        return known

    def _new_plan(self, layer: Layer, nest: LoopNest, placement: Placement, fixed: LayerMapping) -> PlannedNest:
        engine = engine_of(self.arch)
        dataflow = fixed.dataflow or engine.spec.dataflow
        precision, widths = layer.precision, Widths.of(layer.precision)
        schedules: dict[Mapping, Schedule] = {}

        def cycles(mapping: Mapping) -> int:
            from accelsim.engines.walk import Carry

            schedules[mapping] = build_schedule(layer.name, nest, mapping, widths, placement)
            return engine.run(schedules[mapping], precision, placement, Carry.start(self.arch)).cycles

        chosen = choose_mapping(
            layer.name, nest, self.arch, engine, precision, dataflow, placement, fixed, judge=cycles
        )
        require_fit(layer.name, nest, chosen.tile, self.arch, engine, precision, dataflow, placement)
        return PlannedNest(nest, placement, chosen, schedules[chosen])

    # ---- running -------------------------------------------------------------------------------------------

    def _layer(self, layer: Layer, plan: Plan, engine: SystolicArray, carry: Carry) -> LayerRun:
        if layer.name in plan.absorbed:
            return _absorbed(layer, plan.absorbed[layer.name])
        lowered = lower(layer)
        if not lowered.work:
            return LayerRun(layer, "none", {}, {"moves": "nothing"}, Counters(), Fraction(0))
        counters, mappings = Counters(), {}
        planned = iter(self.planned(layer, plan))
        unit = vector_unit_of(self.arch)
        for work in lowered.work:
            if isinstance(work, LoopNest):
                nest = next(planned)
                counters += self._run_nest(nest, layer, work.repeat, engine, carry)
                mappings[work.part or "nest"] = nest.mapping.to_dict()
            elif unit is not None:
                shares = (Fraction(0),) * 2 if work.part else shares_off_chip(plan, layer)
                placement = plan.placements[layer.name]
                counters += unit.run(work, layer.precision, shares, placement, carry).times(work.repeat)
        return self._finished(layer, lowered, counters, mappings, engine)

    def _run_nest(
        self, planned: PlannedNest, layer: Layer, repeat: int, engine: SystolicArray, carry: Carry
    ) -> Counters:
        """A nest once, then its repetitions, which find the weights where they are if all of them fit."""
        first = engine.run(planned.schedule, layer.precision, planned.placement, carry)
        if repeat == 1:
            return first
        all_held = planned.mapping.counts(planned.nest.dims).K * planned.mapping.counts(planned.nest.dims).C == 1
        if not all_held or self.arch.holder("weight") is None:
            return first.times(repeat)
        held = replace(planned.placement, weight_resident=True)
        schedule = build_schedule(layer.name, planned.nest, planned.mapping, Widths.of(layer.precision), held)
        return first + engine.run(schedule, layer.precision, held, carry).times(repeat - 1)

    def _finished(
        self, layer: Layer, lowered: Lowered, counters: Counters, mappings: dict[str, Any], engine: SystolicArray
    ) -> LayerRun:
        nests = any(isinstance(work, LoopNest) for work in lowered.work)
        if not nests and self.arch.vector is None:
            note = {"not_modelled": "the architecture has no vector unit"}
            return LayerRun(layer, "none", {}, note, Counters(), Fraction(0))
        peak = engine.spec.macs_per_cycle(layer.precision) if nests else Fraction(0)
        mapping = mappings.get("nest", mappings) if len(mappings) == 1 else mappings
        effective = _structural_macs(layer, counters.macs)
        return LayerRun(
            layer, engine.name if nests else "vector", lowered.dims, mapping,
            replace(counters, effective_macs=effective), peak,
        )  # fmt: skip


def _part_placement(nest: LoopNest, placement: Placement) -> Placement:
    """The feedback of a recurrent layer is a vector that never leaves the chip."""
    if nest.part in ("recurrent", "projection"):
        return replace(placement, input_off_chip=Fraction(0), output_resident=True)
    return placement


def _absorbed(layer: Layer, host: str) -> LayerRun:
    """A layer that rides on another: its operations are done and counted, in no cycles of their own."""
    ops = 0 if isinstance(layer.op, BatchNorm) else layer.vector_ops
    return LayerRun(layer, "none", {}, {"absorbed_by": host}, Counters(vector_ops=ops), Fraction(0))


def _structural_macs(layer: Layer, macs: int) -> int:
    """MACs whose weight is not pruned, as far as the declared density tells: values mode counts the zeros themselves."""
    kept = Fraction(layer.weight.density).limit_denominator(10**6)
    return ceil_div(macs * kept.numerator, kept.denominator)


def _notes(runs: list[LayerRun], arch: Architecture) -> list[str]:
    left_out = [run.layer.name for run in runs if "not_modelled" in run.mapping]
    if not left_out:
        return []
    shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
    return [
        f"{arch.name} has no vector unit: {len(left_out)} layers without MACs ({shown}) are not counted; "
        "add a vector block to the architecture to count them"
    ]


