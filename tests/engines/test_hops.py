"""The walk over several levels against its plain twin, and the laws of a planned order."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accelsim.engines.kernels import timeline as tl
from accelsim.engines.reference import hops as twin
from accelsim.engines.reference.timeline import Fold
from accelsim.mapping.loopnest import DIMS, Dims, LoopNest
from accelsim.mapping.mapping import Stage
from accelsim.schedule.hops import places, tiles_of

TENSORS = ("weight", "input", "output")
UNIT = ("weight", "input", "output")


@st.composite
def folds(draw: Any) -> Fold:
    issue, last = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    return Fold(draw(st.integers(0, 4)), issue, 0, last, max(issue, last + 1) + draw(st.integers(0, 3)), 0, issue)


class Case:
    """A small product on two or three levels on chip, each tensor on some of them."""

    def __init__(self, draw: Any) -> None:
        dims, self.stages = Dims(N=draw(SIDE), K=draw(SIDE), C=draw(SIDE)), []
        around = dims
        for _ in range(draw(st.integers(1, 3))):
            tile = Dims(*(draw(st.integers(1, size)) for size in around))
            self.stages.append(Stage(tile, tuple(draw(st.permutations(DIMS)))))
            around = tile
        self.nest, self.where = LoopNest(dims), places(dims, self.stages)
        self.levels = len(self.stages) + 1
        self.paths = {t: [0, *sorted(draw(st.sets(st.integers(1, self.levels - 1), min_size=1)))] for t in TENSORS}
        self.slots = [draw(st.integers(1, 3)) for _ in range(self.levels)]
        self.rates = [draw(st.one_of(st.none(), st.fractions(1, 6, max_denominator=7))) for _ in range(self.levels)]
        self.latency = draw(st.integers(0, 5))
        self.widths = {t: draw(st.integers(1, 5)) for t in TENSORS}
        self.resident = draw(st.booleans())
        kinds = draw(st.lists(folds(), min_size=1, max_size=2))
        self.folds = [kinds[step % len(kinds)] for step in range(self.where.steps)]
        self.reads = [[draw(st.integers(0, 4)) for _ in range(self.levels)] for _ in kinds]
        self.stationary = draw(st.sampled_from([None, "weight", "input"]))

    def hops(self):
        """(tensor, outer level, inner level, tiles, bits in, bits out), a tensor's outer hop first."""
        for tensor in TENSORS:
            for outer, inner in zip(self.paths[tensor], self.paths[tensor][1:], strict=False):
                tiles = tiles_of(tensor, self.nest, inner - 1, self.where)
                bits, none = tiles.elements * self.widths[tensor], np.zeros(len(tiles.first), dtype=np.int64)
                if tensor == "output":
                    kept = tiles.whole & (self.resident and outer == 0)
                    yield tensor, outer, inner, tiles, np.where(tiles.resumed, bits, 0), np.where(kept, 0, bits)
                else:
                    yield tensor, outer, inner, tiles, bits, none


SIDE = st.integers(1, 4)
CASES = st.composite(lambda draw: Case(draw))()


def run_twin(case: Case) -> int:
    ports = [twin.Port(rate) for rate in case.rates]
    hops, last = [], {}
    for tensor, outer, inner, tiles, coming, going in case.hops():
        made = [twin.Tile(*map(int, row)) for row in zip(tiles.first, tiles.last, coming, going, strict=True)]
        for number, tile in enumerate(made):
            tile.before = made[tiles.before[number]] if tiles.before[number] >= 0 else None
            if tensor in last:
                tile.around = next(t for t in last[tensor].tiles if t.first <= tile.first <= t.last)
                tile.around.within.append(tile)
        last[tensor] = twin.Hop(
            ports[outer], ports[inner], made, case.slots[inner], tensor == "output", case.latency * (outer == 0)
        )
        hops.append(last[tensor])
    kinds = [step % len(case.reads) for step in range(case.where.steps)]
    reads = [case.reads[kind] for kind in kinds]
    room = [[fold.issue] * case.levels for fold in case.folds]
    return twin.Walk(ports, hops, last, case.folds, reads, room, twin.Unit(case.stationary)).run()


def plan(case: Case):
    """The tables of the kernels, and the order of the moves."""
    rows, tables, unit = [], [], dict.fromkeys(TENSORS, -1)
    for number, (tensor, outer, inner, tiles, coming, going) in enumerate(case.hops()):
        around = unit[tensor]
        begin = sum(len(r) for r in rows)
        if around >= 0:
            tables[around][tl.H_WITHIN] = number
        row = np.full((len(tiles.first), tl.TILE_FIELDS), -1, dtype=np.int64)
        row[:, tl.G_FIRST], row[:, tl.G_LAST], row[:, tl.G_IN], row[:, tl.G_OUT] = tiles.first, tiles.last, coming, going
        row[:, tl.G_BEFORE] = np.where(tiles.before >= 0, begin + tiles.before, -1)
        if around >= 0:
            outside = rows[around][:, tl.G_FIRST]
            row[:, tl.G_AROUND] = tables[around][tl.H_BEGIN] + np.searchsorted(outside, tiles.first, side="right") - 1
        rows.append(row)
        latency = case.latency * (outer == 0) * tl.HOP_TICKS
        end = begin + len(row)
        tables.append([outer, inner, around, -1, case.slots[inner], begin, end, latency, tensor == "output"])
        unit[tensor] = number
    hops, tiles = np.array(tables, dtype=np.int64), np.concatenate(rows)
    kinds = (np.arange(case.where.steps) % len(case.reads)).astype(np.int32)
    reads = np.array(case.reads, dtype=np.int64)
    moves = np.empty((2 * len(tiles), tl.MOVE_FIELDS), dtype=np.int64)
    pays = np.empty((len(kinds), case.levels), dtype=np.int64)
    count, owed = tl.plan_moves(hops, tiles, kinds, reads, moves, pays)
    return hops, tiles, np.array([unit[t] for t in UNIT]), kinds, reads, moves[:count], pays, owed


def walk(case: Case, planned: Any, rates=None, latency=None, slots=0) -> int:
    """The walk of a plan, on a machine that may be better than the one it is made for."""
    hops, tiles, unit, kinds, reads, moves, pays, owed = planned
    ports = [twin.Port(rate) for rate in (rates or case.rates)]
    hops = hops.copy()
    hops[:, tl.H_SLOTS] += slots
    if latency is not None:
        hops[:, tl.H_LATENCY] = np.where(hops[:, tl.H_OUTER] == 0, latency * tl.HOP_TICKS, 0)
    took = []
    for tile, hop, way, _, paid in moves.tolist():
        outer, inner = ports[hops[hop, tl.H_OUTER]], ports[hops[hop, tl.H_INNER]]
        bits = int(tiles[tile, tl.G_IN + way])
        took.append(max(outer.ticks(bits), inner.ticks(bits)) + outer.ticks(paid))
    waits = []
    for step, kind in enumerate(kinds.tolist()):
        needed = [p.ticks(int(reads[kind, i] + pays[step, i])) for i, p in enumerate(ports)]
        waits.append(max(0, *(-(-t // tl.HOP_TICKS) - case.folds[step].issue for t in needed)))
    distinct = list(dict.fromkeys(case.folds))
    steps = tl.UnitSteps(
        np.array([distinct.index(fold) for fold in case.folds], dtype=np.int32),
        np.ones((len(distinct), 3), dtype=np.int64), np.array([[fold] * 4 for fold in distinct], dtype=np.int64),
        np.array(waits, dtype=np.int64), unit,
    )  # fmt: skip
    options = np.zeros(tl.OPTION_FIELDS, dtype=np.int64)
    options[[tl.O_STATIONARY, tl.O_SKEWED, tl.O_BUFFERS, tl.O_TICKS]] = (
        {None: -1, "weight": tl.WEIGHT, "input": tl.INPUT}[case.stationary], 1, 2, 1,
    )  # fmt: skip
    left = np.array([port.ticks(int(bits)) for port, bits in zip(ports, owed, strict=True)], dtype=np.int64)
    result = tl.run_hops(steps, hops, tiles, moves, np.array(took, dtype=np.int64), left, options)
    assert result[tl.R_CYCLES] == result[tl.R_BUSY : tl.R_PORT_ACTIVE].sum()
    return int(result[tl.R_CYCLES])


@given(CASES)
def test_kernels_equal_twin(case: Case) -> None:
    assert walk(case, plan(case)) == run_twin(case)


@given(CASES)
def test_every_tile_comes_once_and_every_output_goes_once(case: Case) -> None:
    hops, tiles, _, _, _, moves, _, _ = plan(case)
    comes = moves[moves[:, tl.O_WAY] == tl.COMES, tl.O_TILE]
    goes = moves[moves[:, tl.O_WAY] == tl.GOES, tl.O_TILE]
    leaving = [t for h in hops if h[tl.H_LEAVES] for t in range(h[tl.H_BEGIN], h[tl.H_END])]
    assert sorted(comes) == list(range(len(tiles)))
    assert sorted(goes) == leaving


@given(CASES, st.data())
def test_nothing_of_a_plan_is_later_on_a_better_machine(case: Case, data: Any) -> None:
    """A faster port, a shorter latency, one more slot: with the same order of moves nothing takes longer."""
    planned = plan(case)
    before = walk(case, planned)
    port = data.draw(st.integers(0, case.levels - 1))
    times = data.draw(st.fractions(1, 5))
    faster = [rate * times if rate is not None and i == port else rate for i, rate in enumerate(case.rates)]
    assert walk(case, planned, rates=faster) <= before
    assert walk(case, planned, latency=case.latency // 2) <= before
    assert walk(case, planned, slots=1) <= before


@given(CASES)
def test_what_crosses_a_port_takes_its_time(case: Case) -> None:
    planned = plan(case)
    cycles = walk(case, planned)
    hops, tiles, _, kinds, reads, moves, _, _ = planned
    for level, rate in enumerate(case.rates):
        if rate is None:
            continue
        crossed = int(reads[kinds, level].sum())
        for tile, hop, way, _, _ in moves.tolist():
            crossed += int(tiles[tile, tl.G_IN + way]) * (level in (hops[hop, tl.H_OUTER], hops[hop, tl.H_INNER]))
        assert Fraction(crossed) <= rate * cycles
