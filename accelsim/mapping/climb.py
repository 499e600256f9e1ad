"""Climbing by runs: from a good mapping to its neighbours, as long as one of them is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf, prod

from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Judge, Trial, tile_array
from accelsim.mapping.mapping import Mapping, Order
from accelsim.mapping.tiles import askew, beside

TRIAL_STEPS = 100  # a trial takes as long as so many steps before its first one

Allowed = Callable[[Ints, frozenset[str], float], Ints]
"""Those of some tiles that fit with so much kept, and that may take fewer cycles than so many; the most promising first."""


@dataclass
class Tried:
    """Mappings of one nest that were run; ``room``: steps that may still be walked. Equal schedules are run once."""

    judge: Judge
    nest: LoopNest
    room: int
    trials: dict[Mapping, Trial] = field(default_factory=dict)
    _known: set[tuple[Dims, Order, frozenset[str]]] = field(default_factory=set)

    @property
    def sizes(self) -> Dims:
        return self.nest.dims

    @property
    def fastest(self) -> Mapping:
        return min(self.trials, key=lambda one: self.trials[one].cycles)

    def fastest_with(self, keep: frozenset[str]) -> Mapping:
        """The fastest of those that keep just that."""
        return min((one for one in self.trials if one.keep == keep), key=lambda one: self.trials[one].cycles)

    def cycles_with(self, keep: frozenset[str]) -> float:
        """The cycles of that one; infinite where there is none."""
        return min((trial.cycles for one, trial in self.trials.items() if one.keep == keep), default=inf)

    def run(self, one: Mapping) -> Trial | None:
        """Run a mapping; None where one that is the same was run before."""
        key = one.tile, turning(one, self.sizes), self._kept(one)
        if key in self._known:
            return None
        self._known.add(key)
        self.trials[one] = trial = self.judge(one)
        self.room -= TRIAL_STEPS + steps_of(one, self.sizes)
        return trial

    def _kept(self, one: Mapping) -> frozenset[str]:
        """What is kept of more than one tile: a single one stays in any case."""
        counts = one.counts(self.sizes)._asdict()
        touched = {"weight": "GKCRSPQ" if self.nest.private_weights else "GKCRS", "input": "GNCPQRS"}
        return frozenset(tensor for tensor in one.keep if any(counts[loop] > 1 for loop in touched[tensor]))


@dataclass(frozen=True)
class Climb:
    """``axes``: shares of every loop whose tile may change; ``keeps``: sets of tensors that may be kept."""

    tried: Tried
    allowed: Allowed
    axes: dict[int, tuple[int, ...]]
    keeps: list[frozenset[str]]
    order_is_free: bool

    def climb(self, best: Mapping, room: int) -> None:
        """Go from ``best`` to a faster neighbour, and on from there, walking so many steps at most."""
        end = self.tried.room - room
        while True:
            found = self._faster(best, end)
            if found is None:
                return
            best = found

    def _faster(self, best: Mapping, end: int) -> Mapping | None:
        cycles = self.tried.trials[best].cycles
        for one in self._around(best, cycles):
            if self.tried.room - steps_of(one, self.tried.sizes) < end:
                continue
            trial = self.tried.run(one)
            if trial is not None and trial.cycles < cycles:
                return one
        return None

    def _around(self, best: Mapping, cycles: int) -> Iterator[Mapping]:
        """The neighbours: others kept, another tile, another order, two loops' tiles at once."""
        for keep in self.keeps:
            yield from self._tiled(replace(best, keep=keep), tile_array(best.tile), cycles)
        yield from self._tiled(best, beside(best.tile, self.axes), cycles)
        if self.order_is_free and len(self.allowed(tile_array(best.tile), best.keep, cycles)):
            yield from reordered(best, self.tried.sizes)
        yield from self._tiled(best, askew(best.tile, self.axes), cycles)

    def _tiled(self, best: Mapping, tiles: Ints, cycles: int) -> Iterator[Mapping]:
        for tile in self.allowed(tiles, best.keep, cycles).tolist() if len(tiles) else ():
            yield replace(best, tile=Dims(*tile))


def steps_of(one: Mapping, sizes: Dims) -> int:
    return prod(one.counts(sizes))


def turning(one: Mapping, sizes: Dims) -> Order:
    """The loops of more than one turn, from the outermost in: all that an order means."""
    return tuple(dim for dim, count in _ordered(one, sizes) if count > 1)


def _ordered(one: Mapping, sizes: Dims) -> Iterable[tuple[str, int]]:
    counts = one.counts(sizes)._asdict()
    return ((dim, counts[dim]) for dim in one.order)


def reordered(one: Mapping, sizes: Dims) -> Iterator[Mapping]:
    """The mapping with one of its loops moved to another place."""
    loops = turning(one, sizes)
    still = tuple(dim for dim in one.order if dim not in loops)
    for at, dim in enumerate(loops):
        others = loops[:at] + loops[at + 1 :]
        for to in range(len(loops)):
            if to != at:
                yield replace(one, order=(*still, *others[:to], dim, *others[to:]))
