"""The automatic mapping: tilings ranked by an estimate, the best of them run, and from these on by runs alone.

A candidate is a tile, an order of three loops (pixels, output channels, reduction) and the tensors that are kept whole. A coarse
set of tiles (`tiles`) is estimated at once (`estimate`). The best estimates are run; from the fastest of each set of kept
tensors the search climbs (`climb`): to any other tile size, any order of loops, other tensors kept, as long as that is faster
and steps are left to walk. Of those within `SLACK` of the fastest the one with the least traffic is taken, and of those the one
that works and cuts the layer least. The estimate only ranks: what is reported comes from the schedule that is built from
the winner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture
from accelsim.mapping.climb import Climb, Tried, steps_of
from accelsim.mapping.estimate import ORDERS, Estimate, bounds, costs, loop_order, order_of
from accelsim.mapping.fit import fits, require_fit
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Judge, Machine, Placement, Widths, free_bytes
from accelsim.mapping.mapping import LayerMapping, Mapping
from accelsim.mapping.tiles import askew, beside, candidate_tiles, tile_axes
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

ESTIMATED = 160  # tiles that are estimated at a time, those that cannot be fast left out
BEAM = 8  # candidates that are ranked of each set of kept tensors
FINALISTS = 6  # best estimates that are run, and
LEAN = 2  # those of the least traffic near them
ROUNDS = 3  # of estimates where nothing is run
GAIN = 1 / 200  # of the cycles may be gained, or no trial is made
WALKED_STEPS = 60_000  # are walked in all trials together, about
FAR_BEHIND = 1.2  # times the fastest: nobody climbs from there
SLACK = 1 / 2000  # so much of its cycles is not worth a byte off chip: a transfer that is hidden costs no time, but energy
FEW_CYCLES = 4  # are not worth a cut either, where they are no more than
FEW = 1 / 200  # of the whole, or where no transfer takes time: a product that fills the array once stays whole
MANY_STEPS = 20_000  # more are looked at only where a layer cannot be cut into fewer: they cost time and gain next to nothing


@dataclass(frozen=True)
class Candidate:
    """A mapping with its estimate."""

    mapping: Mapping
    cycles: int = field(compare=False)
    bits: int = field(compare=False)
    compute: int = field(compare=False)
    steps: int = field(compare=False)

    @property
    def rank(self) -> tuple[int, ...]:
        """The less the better. What is kept has places of its own, and waits for none."""
        return self.cycles, self.bits, -len(self.mapping.keep), self.compute, self.steps

    @property
    def thrift(self) -> tuple[int, int, int, int]:
        """What counts among candidates that are as fast as each other."""
        return self.bits, self.compute, self.steps, self.cycles


@dataclass(frozen=True)
class Search:
    """The candidates of one nest."""

    nest: LoopNest
    arch: Architecture
    machine: Machine
    precision: Precision
    dataflow: str
    placement: Placement
    fixed: LayerMapping

    def coarse(self) -> Ints:
        return candidate_tiles(self.nest, self.machine, self.dataflow, self.precision, self.fixed)

    def best(self, tiles: Ints, keep: frozenset[str], count: int) -> list[Candidate]:
        """The ``count`` best legal candidates of ``tiles``, and as many of the least traffic within `SLACK` of them."""
        legal = tiles[fits(self.nest, tiles, self.arch, self.machine, self.precision, self.dataflow, self.placement, keep)]
        if not len(legal):
            return []
        legal = self._promising(_not_too_many(self.nest, legal), keep)
        estimate = costs(
            self.nest, legal, self.arch, self.machine, self.precision, self.dataflow, self.placement, keep
        )
        columns = range(len(ORDERS)) if self.fixed.order is None else (loop_order(self.fixed.order),)
        places = _ranked(estimate, list(columns), count, self.arch)
        return [self._candidate(legal, estimate, row, column, keep) for row, column in places]

    def _promising(self, tiles: Ints, keep: frozenset[str]) -> Ints:
        """The `ESTIMATED` tiles with the lowest bounds."""
        if len(tiles) <= ESTIMATED:
            return tiles
        least = bounds(
            self.nest, tiles, self.arch, self.machine, self.precision, self.dataflow, self.placement, keep
        )
        least += _counted(self.nest, tiles) * 1e-6  # of equals, those that cut the layer least
        return np.asarray(tiles[_lowest(least, ESTIMATED)])

    def _candidate(self, tiles: Ints, estimate: Estimate, row: int, column: int, keep: frozenset[str]) -> Candidate:
        order = self.fixed.order or order_of(ORDERS[column])
        return Candidate(
            cycles=int(estimate.cycles[row, column]),
            bits=int(estimate.off_chip_bits[row, column]),
            compute=int(estimate.compute_cycles[row]),
            steps=int(estimate.steps[row]),
            mapping=Mapping(Dims(*tiles[row].tolist()), order, self.dataflow, keep),
        )

    def estimated(self) -> list[Candidate]:
        """The best candidates by their estimate, best first."""
        tiles = self.coarse()
        found = {one.mapping: one for keep in self.keeps() for one in self.best(tiles, keep, BEAM)}
        return sorted(found.values(), key=lambda one: one.rank)

    def refined(self, best: Candidate) -> Candidate:
        """The best that lies next to ``best``, and next to that, by estimates alone."""
        axes = self.axes()
        for _ in range(ROUNDS):
            tile, keep = best.mapping.tile, best.mapping.keep
            around = self.best(np.concatenate([beside(tile, axes), askew(tile, axes)]), keep, 1)
            best = min((best, *around), key=lambda one: one.rank)
        return best

    def axes(self) -> dict[int, tuple[int, ...]]:
        """Shares of every loop whose tile may change."""
        return tile_axes(self.nest.dims, self.machine.units(self.dataflow, self.precision), self.fixed)

    def allowed(self, tiles: Ints, keep: frozenset[str], cycles: float) -> Ints:
        """Those of ``tiles`` that fit and may be faster than ``cycles``, the most promising first."""
        what = self.arch, self.machine, self.precision, self.dataflow, self.placement, keep
        tiles = tiles[fits(self.nest, tiles, *what)]
        if not len(tiles):
            return tiles
        least = bounds(self.nest, tiles, *what)
        order = np.argsort(least, kind="stable")
        return np.asarray(tiles[order[least[order] < cycles * (1 - GAIN)]])

    def keeps(self) -> list[frozenset[str]]:
        """Sets of tensors that may be worth keeping whole: none, and those that could fit their level at all."""
        if self.fixed.keep is not None:
            return [frozenset(self.fixed.keep)]
        widths, nest, groups = Widths.of(self.precision), self.nest, self.nest.dims.G  # what is kept is a group's, at least
        whole = {
            "weight": ceil_div(nest.weight_elements * widths.weight, groups),
            "input": ceil_div(nest.input_elements(nest.dims) * widths.input, groups),
        }
        resident = {"weight": self.placement.weight_resident, "input": self.placement.input_resident}
        able = [t for t in ("input", "weight") if not resident[t] and self._could_hold(t, whole[t])]
        return [frozenset(), *(frozenset((t,)) for t in able), *([frozenset(able)] if len(able) == 2 else [])]

    def _could_hold(self, tensor: str, bits: int) -> bool:
        level = self.arch.holder(tensor)  # type: ignore[arg-type]
        if level is None:
            return False
        room = free_bytes(level, self.placement)
        return room is None or ceil_div(bits, 8) <= room


def choose_mapping(
    layer: str, nest: LoopNest, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, fixed: LayerMapping, judge: Judge | None,
) -> Mapping:  # fmt: skip
    """The best legal mapping that honours what the user fixed; `InfeasibleError` where there is none.

    Without a ``judge`` none is run, and the best estimate is taken.
    """
    search = Search(nest, arch, machine, precision, dataflow, placement, fixed)
    candidates = search.estimated()
    if not candidates:
        tiles = search.coarse()
        smallest = Dims(*tiles[np.argmin(np.prod(tiles.astype(float), axis=1))].tolist())
        kept = frozenset(fixed.keep or ())
        require_fit(layer, nest, smallest, arch, machine, precision, dataflow, placement, kept)
        raise AssertionError(f"layer {layer}: the smallest tile {smallest} fits, yet no candidate did")
    if judge is None:
        return search.refined(candidates[0]).mapping
    tried = Tried(judge, nest, WALKED_STEPS)
    for one in _finalists(candidates, arch):
        if not tried.trials or _may_win(one, tried, arch):
            tried.run(one.mapping)
    _climb(search, tried)
    return _thriftiest(tried, arch)


def _may_win(one: Candidate, tried: Tried, arch: Architecture) -> bool:
    """Whether it is estimated to be faster than the fastest is, or as fast with less to move or to cut, and has room to run."""
    fastest = tried.fastest
    best, enough = tried.trials[fastest], one.cycles <= _enough(tried.trials[fastest].cycles, arch)
    faster, leaner = one.cycles < best.cycles * (1 - SLACK), one.bits < best.off_chip_bits
    simpler = one.bits <= best.off_chip_bits and one.steps < steps_of(fastest, tried.sizes)
    return (faster or (enough and (leaner or simpler))) and one.steps <= tried.room


def _climb(search: Search, tried: Tried) -> None:
    """Climb from the fastest of each set of kept tensors, the fastest of them first."""
    climb = Climb(tried, search.allowed, search.axes(), search.keeps(), search.fixed.order is None)
    for left, keep in zip(range(len(climb.keeps), 0, -1), sorted(climb.keeps, key=tried.cycles_with), strict=True):
        if tried.cycles_with(keep) <= FAR_BEHIND * tried.trials[tried.fastest].cycles:
            climb.climb(tried.fastest_with(keep), tried.room // min(left, 2))


def _finalists(candidates: Sequence[Candidate], arch: Architecture) -> list[Candidate]:
    """The best estimates, those of the least traffic near them, and of these the one in the fewest steps."""
    near = [one for one in candidates if one.cycles <= _enough(candidates[0].cycles, arch)]
    lean = sorted(near, key=lambda one: one.thrift)[:LEAN]
    whole = min(near, key=lambda one: (one.steps, *one.rank))
    kept = {one.mapping.keep: one for one in reversed(candidates)}  # the best of each
    return [candidates[0], *lean, whole, *candidates[1:FINALISTS], *kept.values()]


def _thriftiest(tried: Tried, arch: Architecture) -> Mapping:
    """Of those that are fast enough the one that moves least off chip, works least, cuts the layer least."""
    enough = _enough(tried.trials[tried.fastest].cycles, arch)

    def cost(one: Mapping) -> tuple[int, int, int, int]:
        trial = tried.trials[one]
        return trial.off_chip_bits, trial.busy, steps_of(one, tried.sizes), trial.cycles

    return min((one for one, trial in tried.trials.items() if trial.cycles <= enough), key=cost)


def _enough(cycles: int, arch: Architecture) -> float:
    """Cycles that are as good as the fewest."""
    few = FEW_CYCLES if arch.off_chip.bandwidth is None else min(FEW_CYCLES, max(1, FEW * cycles))
    return cycles + max(SLACK * cycles, few)


def _counted(nest: LoopNest, tiles: Ints) -> Ints:
    return np.asarray(np.prod(-(-np.array(nest.dims, dtype=np.int64) // tiles), axis=1))


def _not_too_many(nest: LoopNest, tiles: Ints) -> Ints:
    """Without the tiles that cut the layer into very many steps, as far as there are others."""
    steps = _counted(nest, tiles)
    return np.asarray(tiles[steps <= max(MANY_STEPS, 4 * int(steps.min()))])


def _ranked(estimate: Estimate, columns: list[int], count: int, arch: Architecture) -> list[tuple[int, int]]:
    """(tile, order) of the best different schedules by cycles, traffic breaking ties, and of the least traffic near them."""
    cycles, bits = estimate.cycles[:, columns].ravel(), estimate.off_chip_bits[:, columns].ravel()
    steps = np.repeat(estimate.steps, len(columns))  # where all else is equal, the layer is cut as little as can be
    pool = _lowest(cycles, 64 * count)
    order = pool[np.lexsort((steps[pool], bits[pool], cycles[pool]))]
    near = order[cycles[order] <= _enough(int(cycles[order[0]]), arch)]
    lean = near[np.lexsort((cycles[near], steps[near], bits[near]))]
    least = near[[np.argmin(steps[near])]]
    chosen = [
        place for ranked in (order, lean, least) for place in _distinct(ranked, estimate.loops, columns, count)
    ]
    return [(place // len(columns), columns[place % len(columns)]) for place in dict.fromkeys(chosen)]


def _lowest(values: npt.NDArray[Any], count: int) -> Ints:
    """Places of the ``count`` lowest in rising order; of equal ones the first, on every processor and numpy."""
    return np.sort(np.argsort(values, kind="stable")[:count])


def _distinct(places: Ints, loops: Ints, columns: list[int], count: int) -> list[int]:
    """The first ``count`` of ``places`` that are different schedules: a loop of one round may stand anywhere."""
    found: dict[tuple[int, ...], int] = {}
    for place in places:
        row, order = place // len(columns), ORDERS[columns[place % len(columns)]]
        found.setdefault((int(row), *(loop for loop in order if loops[row, loop] > 1)), int(place))
        if len(found) == count:
            break
    return list(found.values())
