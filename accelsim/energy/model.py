"""The energy model of an architecture: counts times costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from accelsim.arch.nodes import NODE_LINKS
from accelsim.arch.spec import Architecture
from accelsim.energy.cost import CostSource, NoSourceError, Per
from accelsim.energy.resolve import (
    ACCUMULATORS,
    LEAKAGE,
    MAC,
    REGISTERS,
    VECTOR,
    Costs,
    precision_of,
    resolve,
)
from accelsim.engines.base import LayerRun
from accelsim.errors import InfeasibleError, InvariantError
from accelsim.workload.precision import Precision

Result = TypeVar("Result")

REGISTERS_LEFT_OUT = CostSource(
    REGISTERS, "move", 0.0, "bit", 0, 0, "none", "not costed",
    "energy.registers is none: moves through the array's registers are not in the sum",
)  # fmt: skip
LINKS_LEFT_OUT = CostSource(
    NODE_LINKS, "transfer", 0.0, "bit", 0, 0, "none", "not costed",
    "no source for links between nodes: give energy.costs.node_links (pJ a bit), or their traffic is not in the sum",
)  # fmt: skip
NOT_MODELLED = CostSource(
    "not_modelled", "clock network, control, links, DRAM standby, leakage of logic", 0.0, "second", 0, 0,
    "none", "not costed", "energy.costs.leakage (pJ a cycle) may stand for a chip's idle power",
)  # fmt: skip


@dataclass(frozen=True)
class EnergyModel:
    """Counts -> picojoules for one architecture; made by `EnergyModel.of`.

    ``costs`` is None with ``energy: {table: none}``, and the model then reports nothing.
    """

    costs: Costs | None
    clock_hz: int
    zero_gating: bool = False
    nodes: int = 1

    @classmethod
    def of(cls, arch: Architecture) -> EnergyModel:
        """Resolve every cost of ``arch``; `InputError` names each key whose cost has no source."""
        return cls(resolve(arch), arch.clock, arch.energy.zero_gating, getattr(arch.engine, "nodes", 1))

    def layer_energy(self, run: LayerRun, seconds: float) -> dict[str, float]:
        """Picojoules of each component for one layer that took ``seconds``; their sum is the layer's energy.

        All MACs count, those with a zero operand too, except on an engine that skips them or gates its multipliers.
        Components: ``mac``, ``vector``, each memory level by name, ``leakage``; ``array_registers`` and
        ``accumulators`` only where the run counts their traffic, so that a count that an engine does not keep
        is never shown as an energy of zero. Empty with ``energy.table: none``.
        Raises `InfeasibleError` for a precision without figures.
        """
        costs = self.costs
        if costs is None:
            return {}
        energy = self._arithmetic(costs, run)
        if costs.registers is not None and run.counters.register_bits:
            energy[REGISTERS] = costs.registers.pj_for_bits(run.counters.register_bits)
        energy |= _memory(costs, run)
        energy[LEAKAGE] = self.leakage_pj(seconds)
        return energy

    def leakage_pj(self, seconds: float) -> float:
        """What the memories lose in ``seconds``, at work or not; 0 without a table."""
        return sum(self._leakage_pj(cost, seconds) for cost in self.costs.leakage) if self.costs else 0.0

    def sources(self, precisions: Iterable[Precision] = ()) -> list[CostSource]:
        """Every cost with its source; arithmetic at ``precisions``, or else at those the engine declares."""
        costs = self.costs
        if costs is None:
            return []
        given = dict.fromkeys(precisions) or costs.declared
        shown = dict.fromkeys(precision_of(p.weight, p.input, p.accumulator) for p in given)
        found = [cost for precision in shown for cost in _mac_sources(costs, precision)]
        found += [cost for precision in shown for cost in _vector_sources(costs, precision)]
        found.append(costs.registers or REGISTERS_LEFT_OUT)
        found += [cost for level in costs.levels.values() for cost in (level.read, level.write)]
        found += [LINKS_LEFT_OUT] if self.nodes > 1 and NODE_LINKS not in costs.levels else []
        return list(dict.fromkeys([*found, *costs.leakage, NOT_MODELLED]))

    def _arithmetic(self, costs: Costs, run: LayerRun) -> dict[str, float]:
        counters, precision = run.counters, run.layer.precision
        energy = {MAC: 0.0, VECTOR: 0.0}
        if counters.macs:
            done = min(run.worked_macs, counters.effective_macs) if self.zero_gating else run.worked_macs
            energy[MAC] = done * sum(c.pj for c in _sourced(run, lambda: costs.mac(precision)))
        if counters.vector_ops:
            energy[VECTOR] = counters.vector_ops * _sourced(run, lambda: costs.vector(precision)).pj
        return energy

    def _leakage_pj(self, cost: CostSource, seconds: float) -> float:
        return cost.pj * seconds * (self.clock_hz if cost.per == "cycle" else 1)


def run_energies(
    runs: Sequence[LayerRun], arch: Architecture, model: EnergyModel | None = None
) -> tuple[list[dict[str, float]], list[CostSource]]:
    """Energies of a network's layers, and their sources. Machines beside ``arch`` name their levels as ``eie.spmat``.

    ``model``: that of ``arch``, where it is known already.

    All machines of a run are powered throughout: each leaks while another works.
    """
    models = {id(arch): (arch, model or EnergyModel.of(arch))}
    models |= {id(m): (m, EnergyModel.of(m)) for m in {id(r.machine): r.machine for r in runs}.values() if m}
    energies = []
    for run in runs:
        machine, model = models[id(run.machine or arch)]
        seconds = run.counters.cycles / machine.clock
        energy = _own_levels(model.layer_energy(run, seconds), machine, arch)
        idle = sum(other.leakage_pj(seconds) for own, other in models.values() if own is not machine)
        energies.append(energy | {LEAKAGE: energy.get(LEAKAGE, 0.0) + idle} if idle else energy)
    return energies, _run_sources(runs, arch, models)


def _run_sources(
    runs: Sequence[LayerRun], arch: Architecture, models: Mapping[int, tuple[Architecture, EnergyModel]]
) -> list[CostSource]:
    found: list[CostSource] = []
    for machine, model in models.values():
        sources = model.sources(run.layer.precision for run in runs if (run.machine or arch) is machine)
        names = _prefixes(machine, arch)
        found += [
            replace(s, component=names.get(s.component, s.component), action=names.get(s.action, s.action))
            for s in sources
        ]
    return list(dict.fromkeys(found))


def _own_levels(energy: Mapping[str, float], machine: Architecture, arch: Architecture) -> dict[str, float]:
    names = _prefixes(machine, arch)
    return {names.get(component, component): pj for component, pj in energy.items()}


def _prefixes(machine: Architecture, arch: Architecture) -> dict[str, str]:
    """How the levels of a machine beside ``arch`` are called."""
    if machine is arch:
        return {}
    return {name: f"{machine.name}.{name}" for name in (*(level.name for level in machine.memory), ACCUMULATORS)}


def _memory(costs: Costs, run: LayerRun) -> dict[str, float]:
    energy = {name: 0.0 for name in costs.levels if name != ACCUMULATORS}
    for name, tensors in run.counters.traffic.items():
        if name == NODE_LINKS and name not in costs.levels:
            continue  # `LINKS_LEFT_OUT` says so
        if name not in costs.levels:
            raise InvariantError(f'layer {run.layer.name}: traffic at "{name}", a level without a cost')
        energy[name] = sum(costs.levels[name].pj(transfer) for transfer in tensors.values())
    return energy


def _mac_sources(costs: Costs, precision: Precision) -> tuple[CostSource, ...]:
    try:
        return costs.mac(precision)
    except NoSourceError as missing:  # no run has counted a MAC of it, or `layer_energy` would have raised
        return (_without_source(MAC, f"{precision.weight} x {precision.input}", missing),)


def _vector_sources(costs: Costs, precision: Precision) -> tuple[CostSource, ...]:
    try:
        return (costs.vector(precision),)
    except NoSourceError as missing:
        return (_without_source(VECTOR, str(precision.accumulator), missing),)


def _without_source(component: str, action: str, missing: NoSourceError) -> CostSource:
    per: Per = "mac" if component == MAC else "op"
    return CostSource(component, action, 0.0, per, 0, 0, "none", "not costed", str(missing))


def _sourced(run: LayerRun, find: Callable[[], Result]) -> Result:
    try:
        return find()
    except NoSourceError as missing:
        precision = run.layer.precision
        raise InfeasibleError(
            f"layer {run.layer.name}: its energy",
            demand=f"{precision.weight} x {precision.input} into {precision.accumulator}",
            bound="a source for integers, fp16, bf16 and fp32",
            levers=(f"give {missing.key} with its source", "energy: {table: none}"),
        ) from None
