"""The automatic mapping: tilings ranked by an estimate, the best of them run, their neighbours too, the best one kept.

A candidate is a tile, an order of three loops (pixels, output channels, reduction) and the tensors that are kept whole. A coarse
set of tiles (`tiles`) is estimated at once (`estimate`); the neighbours of the best are estimated in turn, until none is better.
The best estimates are then run, and what lies next to the fastest, as long as that gains. Of those within `SLACK` of the
fastest the one with the least traffic is taken, and of those the one that works and cuts the layer least. The estimate only
ranks: what is reported comes from the schedule that is built from the winner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from accelsim.arch.spec import Architecture
from accelsim.mapping.estimate import ORDERS, Estimate, bounds, costs, loop_order, order_of
from accelsim.mapping.fit import fits, require_fit
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Machine, Placement, Widths, free_bytes
from accelsim.mapping.mapping import LayerMapping, Mapping
from accelsim.mapping.tiles import candidate_tiles, neighbours, with_fixed
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

Judge = Callable[[Mapping], int]
ESTIMATED = 160  # tiles that are estimated at a time, those that cannot be fast left out
BEAM = 8  # candidates whose neighbours are estimated
ROUNDS = 3  # times that they are
FINALISTS = 6  # best estimates that are run, and
LEAN = 2  # those of the least traffic near them
CLIMBED = 3  # neighbours of the fastest that are run at a time
SHORT = 1_000  # cycles of a layer whose beginning and end weigh as much as what the estimate knows: all are run
MOST_JUDGED = 24  # that many mappings are run at most
JUDGED_STEPS = 400_000  # or mappings of so many steps together
GAIN = 1 / 500  # of the cycles, estimated, is worth another look around
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
        return np.asarray(tiles[np.sort(np.argpartition(least, ESTIMATED)[:ESTIMATED])])

    def _candidate(self, tiles: Ints, estimate: Estimate, row: int, column: int, keep: frozenset[str]) -> Candidate:
        order = self.fixed.order or order_of(ORDERS[column])
        return Candidate(
            cycles=int(estimate.cycles[row, column]),
            bits=int(estimate.off_chip_bits[row, column]),
            compute=int(estimate.compute_cycles[row]),
            steps=int(estimate.steps[row]),
            mapping=Mapping(Dims(*tiles[row].tolist()), order, self.dataflow, keep),
        )

    def near(self, beam: Iterable[Candidate], count: int) -> list[Candidate]:
        """The best candidates next to those of ``beam``."""
        by_keep: dict[frozenset[str], list[Dims]] = {}
        for one in beam:
            by_keep.setdefault(one.mapping.keep, []).append(one.mapping.tile)
        found = []
        for keep, tiles in by_keep.items():
            around = neighbours(tiles, self.nest, self.machine, self.dataflow, self.precision)
            found += self.best(with_fixed(around, self.nest.dims, self.fixed), keep, count) if len(around) else []
        return found

    def kept_otherwise(self, one: Candidate) -> list[Candidate]:
        """The candidate's tile, in its best orders with other tensors kept."""
        tile = np.array([one.mapping.tile], dtype=np.int64)
        return [other for keep in self._keeps() if keep != one.mapping.keep for other in self.best(tile, keep, 1)]

    def estimated(self) -> list[Candidate]:
        """The best candidates by their estimate, best first."""
        tiles = self.coarse()
        found = {one.mapping: one for keep in self._keeps() for one in self.best(tiles, keep, BEAM)}
        for _ in range(ROUNDS if found else 0):
            beam = _fastest(found.values(), BEAM)
            found |= {one.mapping: one for one in self.near(beam, BEAM)}
            if _fastest(found.values(), 1)[0].cycles >= beam[0].cycles * (1 - GAIN):
                break
        return sorted(found.values(), key=lambda one: one.rank)

    def _keeps(self) -> list[frozenset[str]]:
        """Sets of tensors that may be worth keeping whole: none, and those that could fit their level at all."""
        if self.fixed.keep is not None:
            return [frozenset(self.fixed.keep)]
        widths, nest = Widths.of(self.precision), self.nest
        whole = {"weight": nest.weight_elements * widths.weight, "input": nest.input_elements(nest.dims) * widths.input}
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
    placement: Placement, fixed: LayerMapping, judge: Judge | None = None,
) -> Mapping:  # fmt: skip
    """The best legal mapping that honours what the user fixed; `InfeasibleError` where there is none.

    ``judge`` gives a mapping's true cycles; without it the best estimate is taken.
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
        return candidates[0].mapping
    return _thriftiest(_judged(search, candidates, judge), arch).mapping


def _judged(search: Search, candidates: Sequence[Candidate], judge: Judge) -> dict[Candidate, int]:
    """The finalists with their true cycles, and those next to the fastest as long as they are faster still."""
    trial = _Trial(judge, search.arch)
    trial.run(_finalists(candidates, search.arch))
    best = None
    met = candidates[0].cycles * (1 + GAIN)  # the best estimate comes true: there is nothing to climb for
    while best != trial.fastest and trial.goes_on and trial.cycles[trial.fastest] > met:
        best = trial.fastest
        around = [*search.kept_otherwise(best), *search.near([best], CLIMBED)]
        trial.run(sorted((one for one in around if one not in trial.cycles), key=lambda one: one.rank)[:CLIMBED])
    return trial.cycles


@dataclass
class _Trial:
    """Candidates that have been run, with their true cycles."""

    judge: Judge
    arch: Architecture
    cycles: dict[Candidate, int] = field(default_factory=dict)
    room: int = JUDGED_STEPS

    @property
    def fastest(self) -> Candidate:
        return min(self.cycles, key=self.cycles.__getitem__)

    @property
    def goes_on(self) -> bool:
        return len(self.cycles) < MOST_JUDGED

    def run(self, chosen: Iterable[Candidate]) -> None:
        for one in chosen:
            if one not in self.cycles and (not self.cycles or self._may_win(one)):
                self.cycles[one], self.room = self.judge(one.mapping), self.room - one.steps

    def _may_win(self, one: Candidate) -> bool:
        """Whether it is estimated to be faster than the fastest is, or to move less, and there is room to run it."""
        best = self.fastest
        faster = one.cycles < self.cycles[best] * (1 - SLACK)
        leaner = one.bits < best.bits and one.cycles <= _enough(self.cycles[best], self.arch)
        return (faster or leaner) and self.goes_on and one.steps <= self.room


def _finalists(candidates: Sequence[Candidate], arch: Architecture) -> list[Candidate]:
    """The best estimates, those of the least traffic near them, and of these the one in the fewest steps."""
    near = [one for one in candidates if one.cycles <= _enough(candidates[0].cycles, arch)]
    lean = sorted(near, key=lambda one: one.thrift)[:LEAN]
    whole = min(near, key=lambda one: (one.steps, *one.rank))
    kept = {one.mapping.keep: one for one in reversed(candidates)}  # the best of each
    count = FINALISTS if candidates[0].cycles > SHORT else MOST_JUDGED
    return [candidates[0], *lean, whole, *candidates[1:count], *kept.values()]


def _thriftiest(judged: dict[Candidate, int], arch: Architecture) -> Candidate:
    enough = _enough(min(judged.values()), arch)
    return min((one for one, cycles in judged.items() if cycles <= enough), key=lambda one: (*one.thrift[:3], judged[one]))


def _enough(cycles: int, arch: Architecture) -> float:
    """Cycles that are as good as the fewest."""
    few = FEW_CYCLES if arch.off_chip.bandwidth is None else min(FEW_CYCLES, max(1, FEW * cycles))
    return cycles + max(SLACK * cycles, few)


def _fastest(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    return sorted(candidates, key=lambda one: one.rank)[:count]


def _not_too_many(nest: LoopNest, tiles: Ints) -> Ints:
    """Without the tiles that cut the layer into very many steps, as far as there are others."""
    steps = np.prod(-(-np.array(nest.dims, dtype=np.int64) // tiles), axis=1)
    return np.asarray(tiles[steps <= max(MANY_STEPS, 4 * int(steps.min()))])


def _ranked(estimate: Estimate, columns: list[int], count: int, arch: Architecture) -> list[tuple[int, int]]:
    """(tile, order) of the best different schedules by cycles, traffic breaking ties, and of the least traffic near them."""
    cycles, bits = estimate.cycles[:, columns].ravel(), estimate.off_chip_bits[:, columns].ravel()
    steps = np.repeat(estimate.steps, len(columns))  # where all else is equal, the layer is cut as little as can be
    pool = np.argpartition(cycles, min(len(cycles), 64 * count) - 1)[: 64 * count]
    order = pool[np.lexsort((steps[pool], bits[pool], cycles[pool]))]
    near = order[cycles[order] <= _enough(int(cycles[order[0]]), arch)]
    lean = near[np.lexsort((cycles[near], steps[near], bits[near]))]
    least = near[[np.argmin(steps[near])]]
    chosen = [
        place for ranked in (order, lean, least) for place in _distinct(ranked, estimate.loops, columns, count)
    ]
    return [(place // len(columns), columns[place % len(columns)]) for place in dict.fromkeys(chosen)]


def _distinct(places: Ints, loops: Ints, columns: list[int], count: int) -> list[int]:
    """The first ``count`` of ``places`` that are different schedules: a loop of one round may stand anywhere."""
    found: dict[tuple[int, ...], int] = {}
    for place in places:
        row, order = place // len(columns), ORDERS[columns[place % len(columns)]]
        found.setdefault((int(row), *(loop for loop in order if loops[row, loop] > 1)), int(place))
        if len(found) == count:
            break
    return list(found.values())
