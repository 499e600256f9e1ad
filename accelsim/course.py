"""How a network runs on its machines: where every layer does, what stays on chip, in how many parts the batch.

What is best is found by running layers, each distinct one once a place: see docs/decisions/0016-residency-is-weighed.md.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters
from accelsim.engines.base import Array, Engine, LayerRun, Operands
from accelsim.engines.registry import engine_of, vector_unit_of
from accelsim.engines.transforms import require_exact_products, require_transforms
from accelsim.engines.walk import Carry
from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import LoopNest, Lowered, VectorWork, lower
from accelsim.mapping.mapping import MappingFile
from accelsim.memory.resources import AS_BUILT, Faster
from accelsim.schedule.assign import assign, shares
from accelsim.schedule.planner import ENOUGH, cheapest_plan, least_cycles
from accelsim.schedule.residency import Plan, plan_residency, shares_off_chip
from accelsim.workload.batch import part_of, part_sizes
from accelsim.workload.network import GraphError, Layer, Network
from accelsim.workload.ops import BatchNorm, TransformOutput

if TYPE_CHECKING:
    from accelsim.engines.mapped import PlannedNests

MANY_IMAGES = 16  # are looked at in any case


@dataclass(frozen=True)
class Post:
    """Where a layer runs: an architecture, its engine, what stays on its chip, and its part of the network.

    The network runs ``parts`` times there, each time for as many images of the batch.
    """

    arch: Architecture
    engine: Engine
    plan: Plan
    part: Network | None = None
    parts: int = 1

    def layer(self, name: str) -> Layer:
        """The layer as this architecture sees it: what others compute is a graph input."""
        assert self.part is not None
        return self.part.layer(name)

    def beside(self, name: str, preloaded_bytes: int) -> Post:
        """The post with so much of its weights' level taken by the weights of layers before it."""
        level = self.arch.keeper("weight")
        if level is None or not preloaded_bytes:
            return self
        place = self.plan.placements[name]
        taken = {**place.reserved_bytes, level.name: place.reserved_bytes.get(level.name, 0) + preloaded_bytes}
        placements = {**self.plan.placements, name: replace(place, reserved_bytes=taken)}
        return replace(self, plan=replace(self.plan, placements=placements))

    def mark(self, run: LayerRun, main: Architecture) -> LayerRun:
        """``run``, saying which architecture it is of where that is not the ``main`` one."""
        return run if self.arch is main else replace(run, machine=self.arch)

    def run(self, layer: Layer, carry: Carry, operands: Operands | None) -> LayerRun:
        """The one way to run a layer; with ``operands`` in values mode."""
        lowered, plan = lower(layer), self.plan
        if operands is not None:
            require_exact_products(layer, self.arch)
        if any(isinstance(work, LoopNest) for work in lowered.work):
            return self.engine.run_layer(layer, plan, carry, operands)
        outputs, overflows = None, 0
        if operands is not None:
            evaluated = self.engine.evaluate(layer, operands)
            outputs, overflows = evaluated.outputs, evaluated.overflows
        if layer.name in plan.absorbed:
            return _absorbed(layer, plan.absorbed[layer.name], outputs)
        if not lowered.work:
            return LayerRun(layer, "none", {}, {"moves": "nothing"}, Counters(), Fraction(0), outputs)
        run = self._vector(layer, lowered, carry, outputs)
        return replace(run, counters=replace(run.counters, accumulator_overflows=overflows))

    def _vector(
        self, layer: Layer, lowered: Lowered, carry: Carry, outputs: tuple[Array, ...] | None
    ) -> LayerRun:
        unit, plan = vector_unit_of(self.arch), self.plan
        if unit is None:
            note = {"not_modelled": "the architecture has no vector unit"}
            return LayerRun(layer, "none", {}, note, Counters(), Fraction(0), outputs)
        shares, placement = shares_off_chip(plan, layer), plan.placements[layer.name]

        def walked(carry: Carry, faster: Faster = AS_BUILT) -> Counters:
            counters = Counters()
            for work in lowered.work:
                assert isinstance(work, VectorWork)
                if layer.name in plan.shifted and isinstance(layer.op, TransformOutput):
                    work = replace(work, bias_elements=layer.output_shapes[0][1])
                counters += unit.run(work, layer.precision, shares, placement, carry, faster)
            return counters

        def again(faster: Faster) -> int:
            return walked(Carry.start(self.arch), faster).cycles

        return LayerRun(
            layer, unit.name, {}, {"lanes": unit.lanes}, walked(carry), Fraction(0), outputs, again=again
        )


def _absorbed(layer: Layer, host: str, outputs: tuple[Array, ...] | None) -> LayerRun:
    """A layer that rides on another: its operations are done and counted, in no cycles of their own."""
    ops = 0 if isinstance(layer.op, BatchNorm) else layer.vector_ops
    return LayerRun(layer, "none", {}, {"absorbed_by": host}, Counters(vector_ops=ops), Fraction(0), outputs)


def together(layer: Layer, runs: list[LayerRun], parts: int) -> LayerRun:
    """The run of the whole ``layer`` made of those of its equal parts, or of one that stands for all of them."""
    first = runs[0]
    counters = sum((run.counters for run in runs), Counters()) if len(runs) > 1 else first.counters.times(parts)
    stored = {name: bits for name, bits in first.counters.unit_counts.items() if name.startswith("stored_")}  # once for all
    counters = replace(counters, unit_counts={**counters.unit_counts, **stored})
    outputs = None
    if first.outputs is not None:
        outputs = tuple(np.concatenate(pieces) for pieces in zip(*(run.outputs or () for run in runs), strict=True))
    whole = replace(first.layer, input_shapes=layer.input_shapes, output_shapes=layer.output_shapes)
    return replace(
        first, layer=whole, dims=lower(whole).dims if first.dims else {}, counters=counters, outputs=outputs,
        skipped_macs=first.skipped_macs * parts, parts=parts,
    )  # fmt: skip


@dataclass(frozen=True)
class Course:
    """Posts of all layers, and the seconds that their layers take there."""

    posts: dict[str, Post]
    seconds: float


@dataclass
class Trials:
    """Layers run alone in cycles mode, each distinct one once."""

    arch: Architecture
    engine: Engine
    known: dict[Hashable, Counters | None] = field(default_factory=dict)

    def plan(self, network: Network, forbidden: frozenset[str]) -> Plan:
        """The cheapest plan; an engine whose cycles depend on values just keeps what fits."""
        require_transforms(network, self.arch)
        if self.engine.needs_values:
            return _plan_that_fits(network, self.arch, self.engine, forbidden)
        priced = cheapest_plan(network, self.arch, self, forbidden)
        if priced.cost == inf:
            for layer in network.layers:
                self.engine.check(layer, priced.plan)
        return priced.plan

    def seconds(self, network: Network, plan: Plan) -> float:
        """What the network takes by ``plan``; nothing is known of an engine whose cycles depend on values."""
        if self.engine.needs_values:
            return 0.0
        runs = (self(layer, plan) for layer in network.layers)
        return sum(run.cycles for run in runs if run is not None) / self.arch.clock

    def __call__(self, layer: Layer, plan: Plan) -> Counters | None:
        place = plan.placements[layer.name]
        work = (layer.op, layer.input_shapes, layer.precision, layer.weight.structure, layer.states_scales)
        shifted = layer.name in plan.shifted
        key = (work, shifted, self.engine.mapping.of(layer.name), place.key, shares_off_chip(plan, layer))
        if key not in self.known:
            self.known[key] = self._run(layer, plan)
        return self.known[key]

    def _run(self, layer: Layer, plan: Plan) -> Counters | None:
        try:
            return Post(self.arch, self.engine, plan).run(layer, Carry.start(self.arch), None).counters
        except InfeasibleError:
            return None


def cheapest_course(network: Network, arch: Architecture, mapping: MappingFile, known: PlannedNests | None = None) -> Course:
    """The course that takes the least time: the batch as a whole, or as equal parts one after the other.

    Parts are looked at as long as what they cannot do without leaves them a chance. Engines whose cycles depend on values
    run as much at once as fits.
    """
    planner = _Planner(network, arch, mapping, known)
    best = planner.largest()
    for images in [] if planner.blind else planner.parts:
        course = planner.course(images) if planner.may_be_faster(images, best) else None
        if course is not None and course.seconds < best.seconds:
            best = course
    return best


@dataclass
class _Planner:
    """Courses of ``network`` by the images that run at once."""

    network: Network
    arch: Architecture
    mapping: MappingFile
    known: PlannedNests | None = None
    trials: dict[int, Trials] = field(default_factory=dict)
    """By architecture, by its identity."""
    courses: dict[int, Course | None] = field(default_factory=dict)
    each: dict[int, float] = field(default_factory=dict)

    @cached_property
    def blind(self) -> bool:
        """Whether cycles depend on values, which are not there yet."""
        machines = {id(machine): machine for machine in assign(self.network, self.arch, self.mapping).values()}
        return any(self._trials_on(machine).engine.needs_values for machine in machines.values())

    @cached_property
    def parts(self) -> dict[int, Network]:
        """What runs at once, by its images, most first."""
        batch = self.network.batch
        if part_of(self.network, batch) is None:
            return {batch: self.network}
        sizes = part_sizes(batch, self._most_images())
        found = {images: part_of(self.network, batch // images) if images < batch else self.network for images in sizes}
        return {images: part for images, part in found.items() if part is not None}

    def _most_images(self) -> int:
        """More images at once are not done sooner each: more are looked at as long as twice or four times as many gain.

        Whatever the batch is: so what a batch may run in its multiples may, too.
        """
        most, batch = MANY_IMAGES, self.network.batch
        while most < batch and (self.blind or self._gains(most)):
            most *= 2
        return most

    def _gains(self, images: int) -> bool:
        enough = self._each(images) * (1 - ENOUGH)
        return any(self._each(times * images) < enough for times in (2, 4))

    def _each(self, images: int) -> float:
        """Seconds an image of so many at once, whether they are a part of the batch or not."""
        if images not in self.each:
            try:
                self.each[images] = self._course(self.network.with_batch(images), 1).seconds / images
            except (InfeasibleError, GraphError):
                self.each[images] = inf
        return self.each[images]

    def largest(self) -> Course:
        """As many images at once as fit."""
        first, *others = self.parts
        try:
            return self._course(self.parts[first], self.network.batch // first)
        except InfeasibleError:
            if not others or self.course(others[-1]) is None:
                raise
        return next(course for course in map(self.course, others) if course is not None)

    def course(self, images: int) -> Course | None:
        """The network's course with so many images at once; None where they do not fit."""
        if images not in self.courses:
            try:
                self.courses[images] = self._course(self.parts[images], self.network.batch // images)
            except InfeasibleError:
                self.courses[images] = None
        return self.courses[images]

    def may_be_faster(self, images: int, best: Course) -> bool:
        return self.network.batch // images * self._least_seconds(self.parts[images]) < best.seconds

    def _course(self, part: Network, parts: int) -> Course:
        """``part``, run ``parts`` times."""
        posts: dict[str, Post] = {}
        seconds = 0.0
        for share in shares(part, self.arch, self.mapping):
            trials = self._trials_on(share.arch)
            plan = trials.plan(share.part, share.handed_over)
            seconds += parts * trials.seconds(share.part, plan)
            post = Post(share.arch, trials.engine, plan, share.part, parts)
            posts |= {layer.name: post for layer in share.part.layers}
        return Course(posts, seconds)

    def _least_seconds(self, part: Network) -> float:
        """A bound on one run of ``part``."""
        found = shares(part, self.arch, self.mapping)
        return sum(least_cycles(share.part, share.arch) / share.arch.clock for share in found)

    def _trials_on(self, arch: Architecture) -> Trials:
        if id(arch) not in self.trials:
            self.trials[id(arch)] = Trials(arch, engine_of(arch, self.mapping, self.known))
        return self.trials[id(arch)]


def plan_network(
    network: Network, arch: Architecture, engine: Engine, forbidden: frozenset[str] = frozenset()
) -> Plan:
    """What stays on chip, chosen by running layers; ``forbidden`` tensors do not stay."""
    return Trials(arch, engine).plan(network, forbidden)


def _plan_that_fits(network: Network, arch: Architecture, engine: Engine, forbidden: frozenset[str]) -> Plan:
    """Where a layer's tiles do not fit, the largest resident tensor goes."""
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


