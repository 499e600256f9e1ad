"""Runs points in one process, keeping between them what they share.

Layers do not see one another but through what stays on chip, so a layer whose inputs, placement and mapping are
those of an earlier point is not run again: a sweep over the tiling of one layer runs that layer alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from accelsim.arch.spec import Architecture
from accelsim.errors import InfeasibleError, InputError, InvariantError
from accelsim.mapping.loopnest import DIMS, Dims, LoopNest, lower
from accelsim.mapping.machine import Widths
from accelsim.mapping.mapping import Mapping, MappingFile
from accelsim.sweep.inputs import Inputs, fitted
from accelsim.sweep.store import Outcome
from accelsim.workload.network import Layer, Network

if TYPE_CHECKING:
    from accelsim.energy.model import EnergyModel
    from accelsim.engines.base import Engine, Evaluated, LayerRun, Operands
    from accelsim.engines.walk import Carry
    from accelsim.report.model import Result
    from accelsim.schedule.residency import Plan

MOST_CONTEXTS = 16
MOST_WEIGHTS = 1 << 28  # of networks that are kept
MOST_RUNS = 20_000
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Job:
    """One point on its way to a worker; ``number`` is its place in the sweep."""

    number: int
    network_id: str
    arch: Architecture
    mapping: MappingFile
    values: bool
    seed: int


@dataclass(frozen=True)
class Batch:
    """Jobs that travel together, and the workloads (pickled, by id) that they need."""

    jobs: tuple[Job, ...]
    workloads: MappingABC[str, bytes]


def make_batch(numbered: Sequence[tuple[int, Inputs]]) -> Batch:
    """Pack points for a worker."""
    workloads = {inputs.network_id: inputs.workload for _, inputs in numbered}
    jobs = tuple(Job(number, i.network_id, i.arch, i.mapping, i.values, i.seed) for number, i in numbered)
    return Batch(jobs, {name: pickle.dumps(workload) for name, workload in workloads.items()})


def run_batch(batch: Batch) -> list[tuple[int, Outcome]]:
    """Run every job of a batch, in this process."""
    return [(job.number, _EVALUATOR.outcome(job, batch.workloads)) for job in batch.jobs]


class Made(NamedTuple):
    """A network that is ready to run, and what is known of it beside what is simulated."""

    network: Network
    figures: MappingABC[str, float]


@dataclass
class Evaluator:
    """Runs jobs one after the other."""

    _networks: dict[str, Made] = field(default_factory=dict)
    _memories: dict[tuple[str, str], _Memory] = field(default_factory=dict)

    def outcome(self, job: Job, workloads: MappingABC[str, bytes]) -> Outcome:
        """What comes of a job; never raises but on an interrupt."""
        return outcome_of(lambda: self.metrics(job, workloads[job.network_id]))

    def metrics(self, job: Job, workload: bytes) -> dict[str, Any]:
        """The totals of a run, as `accelsim.report.rows` names them, and the figures of its network."""
        from accelsim.report.rows import expected_figures, total_counters

        made = self._made(job.network_id, workload)
        mapping = fitted(job.mapping, made.network)
        result = simulate(made.network, job.arch, mapping, job.values, job.seed, self._memory(job))
        return {**total_counters(result.totals), **expected_figures(result), **made.figures}

    def _made(self, name: str, workload: bytes) -> Made:
        if name not in self._networks:
            made = Made(*pickle.loads(workload).made())
            self._make_room(made.network.parameters)
            self._networks[name] = made
        return self._networks[name]

    def _make_room(self, coming: int) -> None:
        """Networks with their weights in memory are large: the oldest go."""
        while self._networks and (
            len(self._networks) >= MOST_CONTEXTS
            or coming + sum(made.network.parameters for made in self._networks.values()) > MOST_WEIGHTS
        ):
            self._networks.pop(next(iter(self._networks)))

    def _memory(self, job: Job) -> _Memory:
        return _keep(self._memories, (job.network_id, job.arch.sha256), _Memory)


_EVALUATOR = Evaluator()


def outcome_of(run: Callable[[], MappingABC[str, Any]]) -> Outcome:
    """The figures that ``run`` returns, or the reason why there are none."""
    try:
        return Outcome("ok", "", dict(run()))
    except InfeasibleError as error:
        return Outcome("infeasible", str(error))
    except InputError as error:
        return Outcome("illegal", _one_line(error))
    except InvariantError as error:
        return Outcome("defect", str(error))
    except Exception as error:  # a point must not take the others with it; it is told, and never kept
        return Outcome("defect", f"{type(error).__name__}: {error}; this is a defect of accelsim, please report it")


def _one_line(error: InputError) -> str:
    return "; ".join(str(fault) for fault in error.faults)


def _keep(known: dict[Any, Kept], key: Hashable, make: Callable[[], Kept]) -> Kept:
    """``known[key]``, made where missing; of many only the last are kept."""
    if key not in known:
        if len(known) >= MOST_CONTEXTS:
            known.pop(next(iter(known)))
        known[key] = make()
    return known[key]


# ---- one run, with a memory ---------------------------------------------------------------------------------------


@dataclass
class _Memory:
    """Runs of layers of one network on one architecture, by all that they depend on beyond those two."""

    runs: dict[Hashable, LayerRun] = field(default_factory=dict)
    checks: dict[Hashable, InfeasibleError | None] = field(default_factory=dict)
    energy: EnergyModel | None = None


def simulate(
    network: Network, arch: Architecture, mapping: MappingFile, values: bool = False, seed: int = 0,
    memory: _Memory | None = None,
) -> Result:  # fmt: skip
    """As `accelsim.simulate` on resolved inputs; ``memory`` spares layers that it has seen."""
    from accelsim.energy.model import EnergyModel, run_energies
    from accelsim.report.result import build_result

    memory = memory or _Memory()
    if memory.energy is None:
        memory.energy = EnergyModel.of(arch)
    runs = _runs(network, arch, mapping, values, seed, memory)
    if any(run.machine for run in runs):
        energies, _ = run_energies(runs, arch)
    else:
        energies = [memory.energy.layer_energy(run, run.counters.cycles / arch.clock) for run in runs]
    return build_result(network, arch, runs, energies, (), "values" if values else "cycles", seed)


def _runs(
    network: Network, arch: Architecture, mapping: MappingFile, values: bool, seed: int, memory: _Memory
) -> list[LayerRun]:
    from accelsim.engines.registry import engine_of
    from accelsim.simulator import Simulator, plan_network

    simulator = Simulator(arch, mapping, seed if values else None, data_seed=seed)
    plain = engine_of(arch, mapping)
    if values or plain.needs_values or mapping.machines:
        return simulator.run(network)[0]
    run = _fixed_run(network, arch, mapping)
    if run is not None:
        return [run]
    engine = _Remembering(plain, mapping, memory)
    plan = plan_network(network, arch, engine)
    runs = []
    for layer in network.layers:
        key = ("layer", _dependencies(layer, plan, mapping))
        run = memory.runs.get(key)
        if run is None:
            run = simulator.run_one(layer, plan, engine)
            if len(memory.runs) < MOST_RUNS:
                memory.runs[key] = run
        runs.append(run)
    return runs


def _fixed_run(network: Network, arch: Architecture, mapping: MappingFile) -> LayerRun | None:
    """The run of a single nest whose mapping leaves nothing to choose; None where there is anything else to do."""
    from accelsim.engines.base import LayerRun
    from accelsim.engines.mapped import MappedEngine, structural_macs
    from accelsim.engines.registry import engine_of
    from accelsim.engines.walk import Carry
    from accelsim.mapping.fit import require_fit
    from accelsim.schedule.build import build_schedule
    from accelsim.schedule.residency import plan_residency

    layer = network.layers[0]
    chosen, nest, engine = whole_mapping(layer, mapping), only_nest(layer), engine_of(arch, mapping)
    if len(network.layers) > 1 or chosen is None or nest is None or type(engine) is not MappedEngine:
        return None
    unit, precision, place = (
        engine.unit,
        layer.precision,
        plan_residency(network, arch).placements[layer.name],
    )
    unit.refuse(layer.name, nest, precision)
    made = Mapping(chosen.tile, chosen.order, chosen.dataflow or unit.dataflow, chosen.keep)
    require_fit(layer.name, nest, made.tile, arch, unit, precision, made.dataflow, place, made.keep)
    schedule = build_schedule(layer.name, nest, made, Widths.of(precision), place)
    counters = unit.run(schedule, precision, place, Carry.start(arch))
    counters = replace(counters, effective_macs=structural_macs(layer, counters.macs))
    dims = nest.dims._asdict()
    return LayerRun(layer, engine.name, dims, made.to_dict(), counters, unit.macs_per_cycle(precision))


def only_nest(layer: Layer) -> LoopNest | None:
    """The loop nest of a layer that is nothing but one."""
    work = lower(layer).work
    return work[0] if len(work) == 1 and isinstance(work[0], LoopNest) else None


def whole_mapping(layer: Layer, mapping: MappingFile) -> Mapping | None:
    """The mapping of a layer for which a file says everything (but perhaps the dataflow, then empty)."""
    fixed, dims = mapping.of(layer.name), lower(layer).dims
    tile = fixed.tile.given()
    if fixed.unroll.given() or fixed.order is None or fixed.keep is None or len(tile) != len(DIMS) or not dims:
        return None
    sizes = Dims(*(min(tile[dim], dims[dim]) for dim in DIMS))
    return Mapping(sizes, fixed.order, fixed.dataflow or "", frozenset(fixed.keep))


def _dependencies(layer: Layer, plan: Plan, mapping: MappingFile) -> Hashable:
    """All that a layer's run depends on, beyond network and architecture."""
    from accelsim.schedule.residency import shares_off_chip

    place = plan.placements[layer.name]
    room = tuple(sorted(place.reserved_bytes.items()))
    flags = (place.input_off_chip, place.output_resident, place.weight_resident)
    shares = shares_off_chip(plan, layer)
    return (
        layer.name,
        room,
        flags,
        shares,
        plan.absorbed.get(layer.name),
        mapping.of(layer.name).model_dump_json(),
    )


@dataclass
class _Remembering:
    """An engine that does not check twice whether a layer has room."""

    engine: Engine
    mapping: MappingFile
    memory: _Memory

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def needs_values(self) -> bool:
        return self.engine.needs_values

    def check(self, layer: Layer, plan: Plan) -> None:
        key = _dependencies(layer, plan, self.mapping)
        if key not in self.memory.checks:
            try:
                self.engine.check(layer, plan)
                self.memory.checks[key] = None
            except InfeasibleError as error:
                self.memory.checks[key] = error
        refused = self.memory.checks[key]
        if refused is not None:
            raise refused

    def evaluate(self, layer: Layer, operands: Operands) -> Evaluated:
        return self.engine.evaluate(layer, operands)

    def run_layer(self, layer: Layer, plan: Plan, carry: Carry, operands: Operands | None) -> LayerRun:
        return self.engine.run_layer(layer, plan, carry, operands)
