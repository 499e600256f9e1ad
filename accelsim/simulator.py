"""The one way through the house: network -> lowering -> mapping -> schedule -> engine -> counters, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters
from accelsim.engines.base import Array, Engine, LayerRun, Operands
from accelsim.engines.registry import engine_of, vector_unit_of
from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import Lowered, LoopNest, VectorWork, lower
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.schedule.residency import Plan, plan_residency, shares_off_chip
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.ops import BatchNorm, Recurrent

if TYPE_CHECKING:
    from accelsim.engines.walk import Carry, Recorder


@dataclass(frozen=True)
class Simulator:
    """Runs networks on one architecture. ``seed`` of the operands in values mode, None for cycles mode.

    ``recorder`` writes down when everything happened. ``data_seed``: of the values on which an engine's control depends,
    which flow in cycles mode too.
    """

    arch: Architecture
    mapping: MappingFile = EMPTY
    seed: int | None = None
    recorder: Recorder | None = None
    data_seed: int = 0

    def run(self, network: Network) -> tuple[list[LayerRun], list[str]]:
        """All layers in order, and notes about what the architecture does not model."""
        engine = engine_of(self.arch, self.mapping)
        plan = plan_network(network, self.arch, engine)
        seed = self.data_seed if self.seed is None and engine.needs_values else self.seed
        values = _Values.start(network, seed) if seed is not None else None
        runs = []
        for layer in network.layers:
            operands = values.operands(layer) if values else None
            run = self._layer(layer, plan, engine, self._carry(layer, plan), operands)
            if values:
                values.keep(run)
            runs.append(run if self.seed is not None else replace(run, outputs=None))
        return runs, _notes(runs, self.arch)

    def _carry(self, layer: Layer, plan: Plan) -> Carry:
        from accelsim.engines.walk import Carry

        if self.recorder is None:
            return Carry.start(self.arch)
        return self.recorder.carry(self.arch, layer.name, plan.placements[layer.name].reserved_bytes)

    def run_one(self, layer: Layer, plan: Plan, engine: Engine) -> LayerRun:
        """One layer in cycles mode, with what ``plan`` keeps on chip around it."""
        from accelsim.engines.walk import Carry

        return self._layer(layer, plan, engine, Carry.start(self.arch), None)

    def _layer(self, layer: Layer, plan: Plan, engine: Engine, carry: Carry, operands: Operands | None) -> LayerRun:
        lowered = lower(layer)
        if any(isinstance(work, LoopNest) for work in lowered.work):
            return engine.run_layer(layer, plan, carry, operands)
        outputs = None
        if operands is not None:
            from accelsim.workload import functional

            outputs = functional.evaluate(layer, operands.inputs, operands.weight)
        if layer.name in plan.absorbed:
            return _absorbed(layer, plan.absorbed[layer.name], outputs)
        if not lowered.work:
            return LayerRun(layer, "none", {}, {"moves": "nothing"}, Counters(), Fraction(0), outputs)
        return self._vector(layer, lowered, plan, carry, outputs)

    def _vector(
        self, layer: Layer, lowered: Lowered, plan: Plan, carry: Carry, outputs: tuple[Array, ...] | None
    ) -> LayerRun:
        unit = vector_unit_of(self.arch)
        if unit is None:
            note = {"not_modelled": "the architecture has no vector unit"}
            return LayerRun(layer, "none", {}, note, Counters(), Fraction(0), outputs)
        counters = Counters()
        for work in lowered.work:
            assert isinstance(work, VectorWork)
            shares = shares_off_chip(plan, layer)
            counters += unit.run(work, layer.precision, shares, plan.placements[layer.name], carry)
        return LayerRun(layer, unit.name, {}, {"lanes": unit.lanes}, counters, Fraction(0), outputs)


def plan_network(network: Network, arch: Architecture, engine: Engine) -> Plan:
    """Residency that leaves every layer room: where a layer's tiles do not fit, the largest resident tensor goes."""
    forbidden: frozenset[str] = frozenset()
    while True:
        plan = plan_residency(network, arch, forbidden)
        evicted = _evicted(network, plan, engine)
        if evicted is None:
            return plan
        forbidden |= {evicted}


def _evicted(network: Network, plan: Plan, engine: Engine) -> str | None:
    """The storage that must leave the chip for the first layer that has no room; None if all have."""
    for index, layer in enumerate(network.layers):
        try:
            engine.check(layer, plan)
        except InfeasibleError:
            alive = [s for s in plan.storages.values() if s.owner in plan.resident and s.born <= index <= s.dies]
            if not alive:
                raise
            return max(alive, key=lambda s: (s.size_bytes, -s.born)).owner
    return None


def _absorbed(layer: Layer, host: str, outputs: tuple[Array, ...] | None) -> LayerRun:
    """A layer that rides on another: its operations are done and counted, in no cycles of their own."""
    ops = 0 if isinstance(layer.op, BatchNorm) else layer.vector_ops
    return LayerRun(layer, "none", {}, {"absorbed_by": host}, Counters(vector_ops=ops), Fraction(0), outputs)


@dataclass
class _Values:
    """The tensors of a values run, dropped when nothing reads them any more."""

    network: Network
    seed: int
    tensors: dict[TensorRef, Array]
    readers: dict[TensorRef, int] = field(default_factory=dict)

    @classmethod
    def start(cls, network: Network, seed: int) -> _Values:
        from accelsim.workload.values import input_values

        tensors = {TensorRef(name): array for name, array in input_values(network, seed).items()}
        return cls(network, seed, tensors, {ref: len(users) for ref, users in network.consumers().items()})

    def operands(self, layer: Layer) -> Operands:
        from accelsim.workload.fixed_point import centred
        from accelsim.workload.values import bias_values, peephole_values, projection_values, weight_values

        inputs = tuple(self.tensors[ref] for ref in layer.inputs)
        for ref in layer.inputs:
            self.readers[ref] -= 1
            if self.readers[ref] == 0:
                del self.tensors[ref]
        weight = weight_values(layer, self.seed) if layer.weight_shape is not None else None
        if not isinstance(layer.op, Recurrent):
            if layer.macs:
                inputs, weight = centred(layer, inputs, weight)
            return Operands(inputs, weight, bias_values(layer))
        projection = projection_values(layer, self.seed) if layer.op.projection else None
        peepholes = peephole_values(layer, self.seed) if layer.op.peepholes else None
        return Operands(inputs, weight, bias_values(layer), projection, peepholes)

    def keep(self, run: LayerRun) -> None:
        for port, array in enumerate(run.outputs or ()):
            self.tensors[TensorRef(run.layer.name, port)] = array


def _notes(runs: list[LayerRun], arch: Architecture) -> list[str]:
    left_out = [run.layer.name for run in runs if "not_modelled" in run.mapping]
    if not left_out:
        return []
    shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
    return [
        f"{arch.name} has no vector unit: {len(left_out)} layers without MACs ({shown}) are not counted; "
        "add a vector block to the architecture to count them"
    ]


