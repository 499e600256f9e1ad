"""The walk over several levels of memory in plain Python: places that tiles take, ports that carry them, a unit.

This is the specification that `plan_moves` and `run_hops` of `engines/kernels/timeline.py` are tested against. Every tile
knows the tile around it and those within it; who may move follows from what has moved, never from when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, inf

from accelsim.engines.reference.timeline import Fold

TICKS = 1 << 20


@dataclass(eq=False)
class Port:
    """The port of a level: bits a cycle (None: as fast as it is asked), and what it owes."""

    rate: Fraction | None
    serves: bool = False
    owed: int = 0
    free: int = 0

    def ticks(self, bits: int) -> int:
        return 0 if self.rate is None else ceil(bits * TICKS / self.rate)

    def pay(self, bits: int) -> int:
        """As much of what is owed as ``bits``."""
        paid = min(self.owed, bits)
        self.owed -= paid
        return paid


@dataclass(eq=False)
class Tile:
    """A tile of a tensor in one visit: the steps that work on it, and when it is where."""

    first: int
    last: int
    bits_in: int
    bits_out: int
    around: Tile | None = None
    before: Tile | None = None
    within: list[Tile] = field(default_factory=list)
    came: bool = False
    gone: bool = False
    there: int = 0
    done: int = 0
    free: int = 0


@dataclass(eq=False)
class Hop:
    """A tensor's way from an outer level to an inner one, and back for outputs."""

    outer: Port
    inner: Port
    tiles: list[Tile]
    slots: int
    leaves: bool
    latency: int = 0  # cycles

    def given_back(self, tile: Tile, step: int) -> bool:
        """Whether the place of ``tile`` is to be had again before ``step``."""
        if self.leaves:
            return tile.gone
        return all(inner.came for inner in tile.within) if tile.within else tile.last < step

    def coming(self, step: int) -> Tile | None:
        """The next tile to come, if it may."""
        number = next((i for i, tile in enumerate(self.tiles) if not tile.came), None)
        if number is None:
            return None
        tile = self.tiles[number]
        placed = number < self.slots or self.given_back(self.tiles[number - self.slots], step)
        left = tile.before is None or tile.before.gone
        there = tile.around is None or not tile.bits_in or tile.around.came
        return tile if placed and left and there else None

    def going(self, step: int) -> Tile | None:
        """The next tile to go out, if it may."""
        tile = next((tile for tile in self.tiles if not tile.gone), None) if self.leaves else None
        if tile is None or not tile.came:
            return None
        finished = all(inner.gone for inner in tile.within) if tile.within else tile.last < step
        return tile if finished and (tile.around is None or tile.around.came) else None

    def deadline(self, tile: Tile, out: bool) -> float:
        """The step that waits for the move."""
        if not out:
            return tile.first
        after = self.tiles.index(tile) + self.slots
        return self.tiles[after].first if after < len(self.tiles) else inf


@dataclass
class Unit:
    """Takes operands and does folds one after another; see `kernels.timeline._fold`."""

    stationary: str | None
    issue: int = 0
    issue_end: int = 0
    load_end: int = 0
    chain_free: int = 0
    done: int = 0

    def do(self, fold: Fold, held: int, moving: int, wait: int) -> None:
        """Two buffers of stationary operands, folds that overlap."""
        clear = max(self.load_end, self.issue)
        self.load_end = max(held, clear) + fold.load
        before = max(self.issue_end, self.chain_free)
        self.issue = max(self.load_end, moving, before, max(clear + fold.load, before) + wait)
        self.issue_end = self.issue + fold.issue
        self.chain_free = self.issue + fold.interval
        self.done = max(self.done, self.issue + fold.end)


@dataclass
class Walk:
    """The steps of a unit, fed over ``hops`` (a tensor's outer one before its inner one).

    ``reads``: bits of every port that the unit reads and writes in each step; ``room``: cycles that it has for that.
    ``unit_hops``: the hops that end at the unit, by tensor.
    """

    ports: Sequence[Port]
    hops: Sequence[Hop]
    unit_hops: dict[str, Hop]
    folds: Sequence[Fold]
    reads: Sequence[Sequence[int]]
    room: Sequence[Sequence[int]]
    unit: Unit

    def run(self) -> int:
        """Cycles of all steps, and until the last tile has left."""
        for hop in self.hops:
            hop.outer.serves = True
        sent = 0
        for step in range(len(self.folds) + 1):
            while (move := self._next(step)) is not None:
                sent = max(sent, self._move(*move))
            if step < len(self.folds):
                self._work(step)
        for port in self.ports:
            behind = max(port.free, self.unit.done * TICKS) if port.owed else port.free
            sent = max(sent, behind + port.ticks(port.owed))
        return max(self.unit.done, ceil(Fraction(sent, TICKS)))

    def _next(self, step: int) -> tuple[Hop, Tile, bool] | None:
        """Of what may move before ``step``, what is needed first; what comes before what goes, outer hops before inner."""
        able = [(hop, tile, False) for hop in self.hops if (tile := hop.coming(step)) is not None]
        able += [(hop, tile, True) for hop in self.hops if (tile := hop.going(step)) is not None]
        return min(able, key=lambda move: move[0].deadline(*move[1:]), default=None)

    def _move(self, hop: Hop, tile: Tile, out: bool) -> int:
        bits = tile.bits_out if out else tile.bits_in
        paid = hop.outer.pay(bits)
        hop.inner.owed += bits
        start = tile.done if out else self._place_free(hop, tile)
        if bits:
            if tile.around is not None:
                start = max(start, tile.around.there)
            start = max(start, hop.outer.free)
            start += max(hop.outer.ticks(bits), hop.inner.ticks(bits)) + hop.outer.ticks(paid)
            hop.outer.free = start
        if out:
            tile.gone, tile.free = True, start
            if tile.around is not None:
                tile.around.done = max(tile.around.done, start)
            return start
        tile.came, tile.there = True, start + (hop.latency * TICKS if bits else 0)
        if tile.around is not None and not hop.leaves:
            tile.around.free = max(tile.around.free, start)
        return 0

    def _place_free(self, hop: Hop, tile: Tile) -> int:
        number = hop.tiles.index(tile)
        free = hop.tiles[number - hop.slots].free if number >= hop.slots else 0
        return max(free, tile.before.free) if tile.before is not None else free

    def _work(self, step: int) -> None:
        """One step of the unit."""
        at_hand = {tensor: next(t for t in hop.tiles if t.last >= step) for tensor, hop in self.unit_hops.items()}
        there = {tensor: ceil(Fraction(tile.there, TICKS)) for tensor, tile in at_hand.items()}
        wait = 0
        for port, bits, room in zip(self.ports, self.reads[step], self.room[step], strict=True):
            paid = 0
            if port.serves:
                port.owed += bits
            else:
                paid = port.pay(bits)
            wait = max(wait, ceil(Fraction(port.ticks(bits + paid), TICKS)) - room)
        held = there.pop(self.unit.stationary or "", 0)
        self.unit.do(self.folds[step], held, max(there.values(), default=0), wait)
        for tensor, tile in at_hand.items():
            if tensor == "output":
                tile.done = max(tile.done, self.unit.done * TICKS)
            elif tile.last == step:
                tile.free = TICKS * (self.unit.load_end if tensor == self.unit.stationary else self.unit.issue_end)
