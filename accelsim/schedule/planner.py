"""Which tensors stay on chip: the plan whose layers take the fewest cycles, found by running them.

Layers are timed one by one, so a plan costs the sum of its layers, and a layer's cost depends on nothing but which of the
tensors alive at it are on chip. The cheapest path through these choices is found step by step over the layer order.
Choices are first taken at a bound; those on the cheapest path are run, until no other path can be cheaper: see
docs/decisions/0016-residency-is-weighed.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from math import ceil, floor, inf, prod
from operator import or_

from accelsim.arch.spec import Architecture, RoofSpec
from accelsim.counters import Counters
from accelsim.mapping.loopnest import VectorWork, lower
from accelsim.mapping.machine import Widths, off_chip_bits_per_cycle
from accelsim.schedule.residency import Plan, Storage, Tenants, shares_off_chip
from accelsim.workload.network import Layer, Network

THRIFT = 1 / 1000  # of its time is what a transfer costs that nothing waits for: it takes energy
BITS_A_CYCLE = 1e6  # where the far end has no bandwidth, so that traffic still decides between equals
ENOUGH = 1 / 500  # of the cycles is not worth running more layers for
WIDTH = 64  # sets of resident tensors that are followed at a time: more than networks without long concatenations have
ROUNDS = 60  # of running what lies on the cheapest path; networks without long concatenations take few of them

Runner = Callable[[Layer, Plan], Counters | None]
"""Counters of a layer alone, None where it does not fit."""


@dataclass(frozen=True)
class Priced:
    """A plan and what it costs in cycles, hidden transfers at `THRIFT`; infinite where some layer does not fit."""

    plan: Plan
    cost: float


def cheapest_plan(network: Network, arch: Architecture, run: Runner, forbidden: frozenset[str] = frozenset()) -> Priced:
    """The plan of least cost; ``forbidden`` storages leave the chip in any case."""
    search = _Search.of(Tenants.of(network, arch), run, forbidden)
    best: tuple[int, ...] = ()
    least = inf
    for turn in range(ROUNDS):
        guessing = turn > 1 and turn % 2 == 0  # bounds prove, but lead astray where room is short
        path, bound = search.cheapest_path(guessing)
        if not guessing and bound >= least * (1 - ENOUGH):
            break
        cost = search.run_along(path)
        if cost < least or not best:
            best, least = path, cost
    return Priced(search.tenants.plan(search.names(best)), least)


@dataclass
class _Step:
    """A layer, and which bits of a set of tensors matter to it.

    ``alive``: tensors that take room while it runs; ``near``: those of them that it reads or writes; ``born``: those that
    it makes, each a bit. ``known``: costs of the sets that were run; ``bounds`` of the others that were asked for; ``moving``:
    bounds of what crosses the port off chip, by the tensors nearby that are on chip; ``least``: the layer's own.
    """

    layer: Layer
    costs: bool
    alive: int
    near: int
    born: tuple[int, ...]
    known: dict[int, float] = field(default_factory=dict)
    bounds: dict[int, float] = field(default_factory=dict)
    moving: dict[int, float] = field(default_factory=dict)
    least: float | None = None


@dataclass
class _Search:
    tenants: Tenants
    run: Runner
    candidates: list[Storage]
    steps: list[_Step]
    sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of the sets of tensors that were asked for."""

    @classmethod
    def of(cls, tenants: Tenants, run: Runner, forbidden: frozenset[str]) -> _Search:
        candidates = [s for s in tenants.candidates(forbidden) if tenants.room is None or s.size_bytes <= tenants.room]
        bits = {storage.owner: 1 << i for i, storage in enumerate(candidates)}
        alive, born = [0] * len(tenants.network.layers), defaultdict[int, list[int]](list)
        for storage in candidates:
            born[storage.born].append(bits[storage.owner])
            for index in range(storage.born, storage.dies + 1):
                alive[index] |= bits[storage.owner]
        steps = []
        for index, layer in enumerate(tenants.network.layers):
            held = {layer.name, *(name for ref in layer.inputs for name in tenants.reads[ref])}
            costs = bool(lower(layer).work) and layer.name not in tenants.absorbed
            near = sum(bits.get(name, 0) for name in held)
            steps.append(_Step(layer, costs, alive[index], near, tuple(born[index])))
        return cls(tenants, run, candidates, steps)

    # ---- paths ---------------------------------------------------------------------------------------------

    def cheapest_path(self, guessing: bool = False) -> tuple[tuple[int, ...], float]:
        """The resident set at every layer of the path of least cost, by what is known or guessed of it, and that cost."""
        front: dict[int, tuple[float, _Path | None]] = {0: (0.0, None)}
        for step in self.steps:
            after: dict[int, tuple[float, _Path | None]] = {}
            for before, (cost, path) in front.items():
                for resident in self._choices(before & step.alive, step.born):
                    total = cost + self._cost(step, resident, guessing) if step.costs else cost
                    if resident not in after or total < after[resident][0]:
                        after[resident] = (total, (resident, path))
            front = after if len(after) <= WIDTH else self._narrowed(after)
        cost, path = min(front.values(), key=lambda item: item[0])
        return _unrolled(path), cost

    def _narrowed(self, front: dict[int, tuple[float, _Path | None]]) -> dict[int, tuple[float, _Path | None]]:
        """The cheapest sets so far, and the smallest, which leaves room for whatever comes."""
        ranked = sorted(front, key=lambda resident: front[resident][0])
        return {resident: front[resident] for resident in (*ranked[:WIDTH], min(front, key=self._bytes))}

    def _choices(self, resident: int, born: tuple[int, ...]) -> list[int]:
        """With and without each of the tensors that are made here, as far as they fit."""
        choices = [resident]
        for bit in born:
            choices = [*(with_it for one in choices if self._fits(with_it := one | bit)), *choices]
        return choices

    def _fits(self, resident: int) -> bool:
        return self.tenants.room is None or self._bytes(resident) <= self.tenants.room

    def _bytes(self, resident: int) -> int:
        if resident not in self.sizes:
            self.sizes[resident] = sum(storage.size_bytes for storage in self._storages(resident))
        return self.sizes[resident]

    def _storages(self, resident: int) -> Iterator[Storage]:
        while resident:
            lowest = resident & -resident
            yield self.candidates[lowest.bit_length() - 1]
            resident ^= lowest

    def names(self, path: Iterable[int]) -> frozenset[str]:
        """Owners of all tensors that are resident somewhere along a path."""
        return frozenset(storage.owner for storage in self._storages(reduce(or_, path, 0)))

    # ---- costs ---------------------------------------------------------------------------------------------

    def run_along(self, path: tuple[int, ...]) -> float:
        """The true cost of a path: layers that are not known yet are run."""
        total = 0.0
        for step, resident in zip(self.steps, path, strict=True):
            if step.costs and resident not in step.known:
                self._learn(step, resident)
            total += step.known.get(resident, 0.0)
        return total

    def _learn(self, step: _Step, resident: int) -> None:
        """Run a layer; what is poorer than this costs no less."""
        step.known[resident] = cost = self._true(step, self._place(step, resident, self._bytes(resident)))
        for other, bound in step.bounds.items():
            if bound < cost and self._poorer(step, other, resident):
                step.bounds[other] = cost

    def _poorer(self, step: _Step, resident: int, than: int) -> bool:
        """Whether a layer has none of its tensors on chip that it does not have in the other set, and no more room."""
        return not resident & step.near & ~than and self._bytes(resident) >= self._bytes(than)

    def _cost(self, step: _Step, resident: int, guessing: bool) -> float:
        """What is known of a layer's cost: itself, or a bound. A guess is that less room is worse, whatever lies there."""
        known = step.known.get(resident)
        if known is not None:
            return known
        if resident not in step.bounds:
            richer = (cost for other, cost in step.known.items() if self._poorer(step, resident, other))
            step.bounds[resident] = max(self._least(step), self._moving(step, resident & step.near), *richer)
        if not guessing:
            return step.bounds[resident]
        size = self._bytes(resident)
        tighter = (cost for other, cost in step.known.items() if self._bytes(other) <= size)
        return max(step.bounds[resident], *tighter, 0.0)

    def _moving(self, step: _Step, resident: int) -> float:
        """A bound on the layer's cost: what must cross the port off chip takes its time."""
        if resident not in step.moving:
            bits = least_bits(step.layer, self._place(step, resident, 0))
            step.moving[resident] = price(moving(bits, self.tenants.arch), bits, self.tenants.arch)
        return step.moving[resident]

    def _least(self, step: _Step) -> float:
        """What the layer costs with all its tensors on chip and all the room."""
        if step.least is None:
            step.least = self._true(step, self._place(step, step.near, 0))
        return step.least

    def _place(self, step: _Step, resident: int, reserved_bytes: int) -> Plan:
        """A plan of one layer."""
        names = self.names([resident])
        tenants = self.tenants
        placements = {step.layer.name: tenants.placement(step.layer, names, reserved_bytes)}
        return Plan(placements, tenants.absorbed, names, tenants.storages, tenants.reads, tenants.shifted)

    def _true(self, step: _Step, plan: Plan) -> float:
        counters = self.run(step.layer, plan)
        if counters is None:
            return inf
        far = counters.traffic.get(self.tenants.arch.off_chip.name, {})
        return price(counters.cycles, sum(t.read_bits + t.write_bits for t in far.values()), self.tenants.arch)


_Path = tuple[int, "_Path | None"]


def _unrolled(path: _Path | None) -> tuple[int, ...]:
    found = []
    while path is not None:
        resident, path = path
        found.append(resident)
    return tuple(reversed(found))


def price(cycles: float, off_chip_bits: int, arch: Architecture) -> float:
    """Cycles, and a little for what crosses the port off chip."""
    unhurried = off_chip_bits_per_cycle(arch) is None
    return cycles + (off_chip_bits / BITS_A_CYCLE if unhurried else THRIFT * moving(off_chip_bits, arch))


def least_cycles(network: Network, arch: Architecture) -> float:
    """A bound on what any plan of ``network`` takes: MACs at the peak rate, and what must cross the port off chip."""
    tenants = Tenants.of(network, arch)
    names = frozenset(storage.owner for storage in tenants.candidates())
    plan = tenants.plan(names)
    layers = [layer for layer in network.layers if layer.name not in tenants.absorbed]
    return sum(max(_computing(layer, arch), moving(least_bits(layer, plan), arch)) for layer in layers)


def _computing(layer: Layer, arch: Architecture) -> float:
    if not layer.macs or layer.weight.structure is not None:  # an array may skip what is pruned
        return 0.0
    assert not isinstance(arch.engine, RoofSpec)
    return float(layer.macs / arch.engine.macs_per_cycle(layer.precision))


def moving(bits: int, arch: Architecture) -> float:
    """Cycles that ``bits`` take to cross the port off chip."""
    rate = off_chip_bits_per_cycle(arch)
    return 0.0 if rate is None else float(bits / rate)


def least_bits(layer: Layer, plan: Plan) -> int:
    """Bits that cross the port off chip at least, as far as that is easily told."""
    work, widths, placement = lower(layer).work, Widths.of(layer.precision), plan.placements[layer.name]
    stored = 0 if placement.output_resident else sum(prod(shape) for shape in layer.output_shapes) * widths.output
    if len(work) != 1:
        return 0
    if isinstance(work[0], VectorWork):
        shares = shares_off_chip(plan, layer)
        return stored + sum(ceil(n * s) for n, s in zip(work[0].input_elements, shares, strict=True)) * widths.input
    nest, compressed = work[0], layer.weight.structure is not None
    weights = 0 if placement.weight_resident or compressed else nest.weight_elements * widths.weight
    return stored + weights + floor(nest.input_elements(nest.dims) * widths.input * placement.input_off_chip)
