"""The one way through the house: network -> lowering -> mapping -> schedule -> engine -> counters, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.course import Post, cheapest_course, together
from accelsim.engines.base import Array, LayerRun, Operands
from accelsim.engines.walk import Carry
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.ops import Recurrent

if TYPE_CHECKING:
    from accelsim.engines.mapped import PlannedNests
    from accelsim.engines.walk import Recorder


@dataclass(frozen=True)
class Simulator:
    """Runs networks on one architecture. ``seed`` of the operands in values mode, None for cycles mode.

    ``recorder`` writes down when everything happened. ``data_seed``: of the values on which an engine's control depends,
    which flow in cycles mode too. ``inputs``: values of graph inputs that need no seed. ``known``: what runs before this
    one have planned, where there are many.
    """

    arch: Architecture
    mapping: MappingFile = EMPTY
    seed: int | None = None
    recorder: Recorder | None = None
    data_seed: int = 0
    inputs: Mapping[str, Array] | None = None
    known: PlannedNests | None = None
    _courses: dict[int, tuple[Network, dict[str, Post]]] = field(default_factory=dict, compare=False, repr=False)

    def run(self, network: Network) -> tuple[list[LayerRun], list[str]]:
        """All layers in order, and notes about what the architecture does not model."""
        if self.recorder is not None:
            self.recorder.started(network, self.arch, self.mapping, self.seed)
        runs = list(self._runs(network))
        return runs, _notes(runs, self.arch)

    def run_named(self, network: Network, name: str) -> LayerRun:
        """One layer in its place in the network; the layers before it run only where values flow into it."""
        post = self.posts(network)[name]
        if post.engine.needs_values:
            return next(run for run in self._runs(network) if run.layer.name == name)
        return post.mark(self._in_parts(network.layer(name), post, None), self.arch)

    def posts(self, network: Network) -> dict[str, Post]:
        """For every layer where it runs: the architecture's engine, planned over all the layers that it has.

        The batch runs in as many equal parts, one after the other, as take the least time.
        """
        key = id(network)
        if key not in self._courses:
            self._courses[key] = network, cheapest_course(network, self.arch, self.mapping, self.known).posts
        return self._courses[key][1]

    def _runs(self, network: Network) -> Iterator[LayerRun]:
        """Every layer's run in order. Without a seed values are made only for engines that need them, and before those."""
        posts = self.posts(network)
        needing = {name for name, post in posts.items() if post.engine.needs_values}
        preloaded: dict[str, int] = {}  # bytes of compressed weights that lie in a machine's memory from the beginning
        seed = self.data_seed if self.seed is None and needing else self.seed
        drawn = self.seed is None and self.inputs is None
        values = _Values.start(network, seed, self.inputs, drawn) if seed is not None else None
        for layer in network.layers:
            post, operands = posts[layer.name], None
            post = post.beside(layer.name, preloaded.get(post.arch.name, 0))
            if values and (self.seed is not None or layer.name in needing):
                operands = values.operands(layer)
            run = self._in_parts(layer, post, operands)
            if post.engine.needs_values:
                run = replace(run, nonzero_weights=_nonzero_weights(layer, operands))
                preloaded[post.arch.name] = preloaded.get(post.arch.name, 0) + _preloaded_bytes(run)
            if post.engine.needs_values or self.inputs is not None:
                run = replace(run, input_density=_density(layer, operands))
            if operands is None and values and needing:
                values.keep(layer.name, values.computed(layer))
            elif values:
                values.keep(layer.name, run.outputs or ())
            needing.discard(layer.name)
            yield post.mark(run if self.seed is not None else replace(run, outputs=None), self.arch)

    def _in_parts(self, layer: Layer, post: Post, operands: Operands | None) -> LayerRun:
        """A layer's run over the whole batch, in as many parts as its post has; in cycles mode they are all alike."""
        carry, part = self._carry(layer.name, post), post.layer(layer.name)
        first, *others = [None] if operands is None else operands.parts(post.parts)
        runs = [post.run(part, carry, first)]
        carry.repeated_whole(post.parts)
        runs += [post.run(part, Carry.start(post.arch), piece) for piece in others]
        return runs[0] if post.parts == 1 else together(layer, runs, post.parts)

    def _carry(self, name: str, post: Post) -> Carry:
        """A layer's carry, which the recorder keeps an eye on where there is one."""
        if self.recorder is None:
            return Carry.start(post.arch)
        return self.recorder.carry(post.arch, name, post.plan.placements[name].reserved_bytes)


def _nonzero_weights(layer: Layer, operands: Operands | None) -> int | None:
    """How many of a layer's given weights are not zero; None where they are drawn, or were not read."""
    from accelsim.workload.values import is_given

    if operands is None or operands.weight is None or not is_given(layer.weight):
        return None
    return int(np.count_nonzero(operands.weight))


def _density(layer: Layer, operands: Operands | None) -> float | None:
    """The share of a layer's first input that is not zero, where it has MACs and values flow."""
    if operands is None or not layer.macs:
        return None
    first = operands.inputs[0]
    return int(np.count_nonzero(first)) / first.size


@dataclass
class _Values:
    """The tensors of a values run, dropped when nothing reads them any more.

    ``drawn``: a density that a layer states for what it reads counts for more than what flows there from a seed.
    """

    network: Network
    seed: int
    tensors: dict[TensorRef, Array]
    readers: dict[TensorRef, int] = field(default_factory=dict)
    drawn: bool = False

    @classmethod
    def start(
        cls, network: Network, seed: int, inputs: Mapping[str, Array] | None = None, drawn: bool = False
    ) -> _Values:
        from accelsim.workload.values import input_values, is_given

        seeded = not any(is_given(layer.input_values) for layer in network.layers)
        tensors = {TensorRef(name): array for name, array in input_values(network, seed, inputs).items()}
        readers = {ref: len(users) for ref, users in network.consumers().items()}
        return cls(network, seed, tensors, readers, drawn and seeded)

    def operands(self, layer: Layer) -> Operands:
        from accelsim.workload.fixed_point import centred
        from accelsim.workload.floats import as_read
        from accelsim.workload.values import bias_values, peephole_values, projection_values, weight_values

        inputs = as_read(layer, self._take(layer))
        weight = weight_values(layer, self.seed) if layer.weight_shape is not None else None
        if not isinstance(layer.op, Recurrent):
            if layer.macs:
                inputs, weight = centred(layer, inputs, weight)
                inputs = self._at_density(layer, inputs)
            return Operands(inputs, weight, bias_values(layer))
        projection = projection_values(layer, self.seed) if layer.op.projection else None
        peepholes = peephole_values(layer, self.seed) if layer.op.peepholes else None
        return Operands(inputs, weight, bias_values(layer), projection, peepholes)

    def _at_density(self, layer: Layer, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        from accelsim.workload.values import drawn_input

        stated = layer.input_values.density < 1 and layer.inputs[0].source not in self.network.inputs
        return (drawn_input(layer, self.seed), *inputs[1:]) if self.drawn and stated else inputs

    def computed(self, layer: Layer) -> tuple[Array, ...]:
        """What ``layer`` gives by the reference, where its engine need not see the operands."""
        from accelsim.workload import functional

        return functional.layer_outputs(layer, self._take(layer), self.seed)

    def _take(self, layer: Layer) -> tuple[Array, ...]:
        """The layer's inputs; the last reader takes them away."""
        inputs = tuple(self.tensors[ref] for ref in layer.inputs)
        for ref in layer.inputs:
            self.readers[ref] -= 1
            if self.readers[ref] == 0:
                del self.tensors[ref]
        return inputs

    def keep(self, name: str, outputs: tuple[Array, ...]) -> None:
        for port, array in enumerate(outputs):
            self.tensors[TensorRef(name, port)] = array


def _notes(runs: list[LayerRun], arch: Architecture) -> list[str]:
    machines = list({id(run.machine): run.machine or arch for run in runs}.values())
    notes = [_without_vector_unit(runs, machine, arch) for machine in machines]
    notes += [_in_parts_note(runs)]
    notes += [_with_own_scales(runs, machine, arch) for machine in machines]
    notes += [_elsewhere(runs, machine, arch) for machine in machines if machine is not arch]
    return [note for note in notes if note]


def _without_vector_unit(runs: list[LayerRun], machine: Architecture, arch: Architecture) -> str:
    """What a machine without a vector unit leaves undone: its share of the network's operations, and the operands' bytes."""
    own = [run for run in runs if (run.machine or arch) is machine]
    undone = [run for run in own if "not_modelled" in run.mapping or run.unmodelled_ops]
    if not undone:
        return ""
    ops, done = sum(run.unmodelled_ops for run in undone), sum(run.counters.ops for run in runs)
    moved = sum(_operand_bytes(run.layer) for run in undone if "not_modelled" in run.mapping)
    return (
        f"{machine.name} has no vector unit: {len(undone)} layers ({_some([run.layer.name for run in undone])}) are not counted, "
        f"or their vector operations are not: {ops:,} operations, {100 * ops / max(1, ops + done):.1f} % of all, and "
        f"{moved:,} bytes of operands; add a vector block to the architecture to count them"
    )


def _operand_bytes(layer: Layer) -> int:
    read = sum(prod(shape) for shape in layer.input_shapes) * layer.precision.input.bits
    return ceil_div(read + sum(prod(shape) for shape in layer.output_shapes) * layer.precision.output.bits, 8)


def _in_parts_note(runs: list[LayerRun]) -> str:
    parts = max((run.parts for run in runs), default=1)
    if parts == 1:
        return ""
    images = runs[0].layer.output_shapes[0][0] // parts
    return (
        f"the batch runs as {parts} parts of {images}, one after the other, each through all layers: so more stays on chip "
        "between them, and it takes less time than layer by layer for all"
    )


def _preloaded_bytes(run: LayerRun) -> int:
    """What a layer's compressed weights take for good of the memory that they were loaded into before the run."""
    if not run.mapping.get("weights_resident"):
        return 0
    return ceil_div(sum(run.counters.unit_counts[f"stored_{part}_bits"] for part in ("value", "index", "padding")), 8)


def _with_own_scales(runs: list[LayerRun], machine: Architecture, arch: Architecture) -> str:
    """An NFU's fixed point gives way to integers that say what they are scaled by."""
    if not isinstance(machine.engine, NfuSpec) or machine.engine.arithmetic is None:
        return ""
    own = [run.layer for run in runs if (run.machine or arch) is machine and run.layer.macs and run.layer.states_scales]
    if not own:
        return ""
    return (
        f"{_some([layer.name for layer in own])} state scales of their own: {machine.name} computes them in exact integers, "
        "requantized as they say, not in its own fixed point (arch.engine.arithmetic)"
    )


def _elsewhere(runs: list[LayerRun], machine: Architecture, arch: Architecture) -> str:
    names = [run.layer.name for run in runs if run.machine is machine]
    clock = "" if machine.clock == arch.clock else (
        f" at {machine.clock / 10**6:g} MHz; their cycles are given in those of {arch.name}'s {arch.clock / 10**6:g} MHz"
    )  # fmt: skip
    return f"{_some(names)} run on {machine.name}{clock}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
