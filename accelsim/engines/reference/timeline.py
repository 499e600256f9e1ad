"""The walk of a schedule through memory and engine in plain Python: one clock, looked at tick by tick.

This is the specification that `engines/kernels/timeline.py` is tested against. Three things live side by
side:

    Memory   one port; transfers occupy it one after the other; what asks and when: `Memory.request`
    Buffers  slots of each tensor's level: a tile takes one, is ready in it, gives it back
    Unit     shifts stationary operands in, issues folds, finishes them

The clock runs in ticks, ``ticks`` of which make a cycle; the unit acts at whole cycles. Afterwards every
cycle is looked at once and given its meaning (`Ledger`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

WEIGHT, INPUT, PSUM = "weight", "input", "partial_sum"
FOREVER = 10**9


class Fold(NamedTuple):
    """Offsets from the fold's first issue cycle; the columns of the kernel's fold table."""

    load: int = 0
    issue: int = 1
    first_mac: int = 0
    last_mac: int = 0
    end: int = 1
    hollow: int = 0
    interval: int = 1


class Step(NamedTuple):
    """One tile: bits fetched (None: the tile stays), folds, bits stored behind it (None: the output tile stays),
    cycles by which ports on chip hold its first fold back.
    """

    weight: int | None
    input: int | None
    partial_sum: int | None
    folds: tuple[Fold, ...]
    store: int | None
    wait: int = 0


@dataclass(frozen=True)
class Options:
    """What the hardware is; see the kernel's O_* options."""

    stationary: str | None = None
    skewed: bool = True
    buffers: int = 2
    ticks: int = 1
    ticks_per_bit: int = 1
    latency: int = 0
    input_slots: int = 2
    output_slots: int = 2
    queue_per_tensor: bool = False


@dataclass
class Tile:
    """One tile of an operand: the steps it serves, and when it is where."""

    bits: int
    first_step: int
    last_step: int
    ready: int = FOREVER  # in its slot
    freed: int = FOREVER  # and out of it
    started: bool = False  # its transfer, or for no bits its placing


@dataclass
class Output:
    """One output tile from its first step to its last."""

    first_step: int
    last_step: int
    fetch: int  # bits of partial sums
    store: int
    fetched: int = FOREVER
    fetching: bool = False
    done: int = FOREVER
    left: int = FOREVER
    leaving: bool = False


@dataclass
class Issued:
    """What happened to one fold, in cycles."""

    fold: Fold
    step: int
    held: int = FOREVER
    moving: int = FOREVER
    clear: int = FOREVER  # its stationary operands might be shifted in, were they there
    load_start: int = FOREVER
    load_end: int = FOREVER
    ready: int = FOREVER  # it might issue, but for ports on chip
    issue: int = FOREVER

    @property
    def first(self) -> int:
        return self.issue + self.fold.first_mac

    @property
    def last(self) -> int:  # the cycle behind the last useful MAC
        return self.issue + self.fold.last_mac + 1

    @property
    def done(self) -> int:
        return self.issue + self.fold.end


class Request(NamedTuple):
    """Someone asks for the port; smaller goes first."""

    since: int
    rank: int  # weights, inputs, partial sums
    tile: Tile | Output


@dataclass
class Walk:
    """The whole machine. `run` lets the clock go until all is done."""

    steps: Sequence[Step]
    options: Options
    port_free: int = 0  # tick
    weight_slots: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self.tiles = {WEIGHT: list(self._tiles(WEIGHT)), INPUT: list(self._tiles(INPUT))}
        self.outputs = list(self._outputs())
        self.folds = [Issued(fold, i) for i, step in enumerate(self.steps) for fold in step.folds]
        self.slots = {WEIGHT: self.weight_slots, INPUT: [0] * self.options.input_slots}

    def _tiles(self, tensor: str) -> Iterator[Tile]:
        starts = [i for i, step in enumerate(self.steps) if getattr(step, tensor) is not None]
        for start, following in zip(starts, [*starts[1:], len(self.steps)], strict=True):
            yield Tile(getattr(self.steps[start], tensor), start, following - 1)

    def _outputs(self) -> Iterator[Output]:
        first = 0
        for i, step in enumerate(self.steps):
            if step.store is not None:
                yield Output(first, i, self.steps[first].partial_sum or 0, step.store)
                first = i + 1

    # ---- the clock -----------------------------------------------------------------------------------------

    def run(self) -> None:
        ticks = self.options.ticks
        tick = min(0, self.port_free, min(self.weight_slots) * ticks)
        cycle = tick // ticks
        while not self._over():
            while self._place(cycle) or self._unit(cycle) or self._port(cycle * ticks):
                pass
            for tick in range(cycle * ticks + 1, (cycle + 1) * ticks):
                while self._port(tick):
                    pass
            cycle += 1

    def _over(self) -> bool:
        return all(f.issue < FOREVER for f in self.folds) and all(o.left < FOREVER for o in self.outputs)

    # ---- buffers -------------------------------------------------------------------------------------------

    def _slot_free(self, tensor: str, number: int) -> int:
        """Cycle from which on tile ``number`` finds its slot free."""
        slots = len(self.slots[tensor])
        return self.slots[tensor][number] if number < slots else self.tiles[tensor][number - slots].freed

    def _output_slot_free(self, number: int) -> int:
        slots = self.options.output_slots
        return 0 if number < slots else self.outputs[number - slots].left

    def _place(self, cycle: int) -> bool:
        """Tiles of no bits are there as soon as they have a slot."""
        moved = False
        for tensor in (WEIGHT, INPUT):
            for number, tile in enumerate(self.tiles[tensor]):
                free = self._slot_free(tensor, number)
                if tile.bits == 0 and not tile.started and free <= cycle:
                    tile.started, tile.ready, moved = True, free, True
        return moved

    # ---- memory --------------------------------------------------------------------------------------------

    def _port(self, tick: int) -> bool:
        """Start the transfer that comes next, if the port is free and someone asks."""
        if tick < self.port_free:
            return False
        cycle = tick // self.options.ticks
        store = next((o for o in self.outputs if o.store and not o.leaving), None)
        if store is not None and store.done <= cycle:
            store.leaving = True
            store.left = self._transfer(tick, store.store)
            return True
        asking = [r for r in self._requests() if r.since <= cycle]
        if not asking:
            return False
        _, _, tile = min(asking, key=lambda request: request[:2])
        if isinstance(tile, Tile):
            tile.started = True
            tile.ready = self._transfer(tick, tile.bits) + self.options.latency
        else:
            tile.fetching = True
            tile.fetched = self._transfer(tick, tile.fetch) + self.options.latency
        return True

    def _transfer(self, tick: int, bits: int) -> int:
        """Occupy the port; the first whole cycle behind it."""
        self.port_free = tick + bits * self.options.ticks_per_bit
        return -(-self.port_free // self.options.ticks)

    def _requests(self) -> Iterator[Request]:
        """The heads of the queues."""
        waiting: list[tuple[int, int, Tile | Output]] = []  # step, rank
        for rank, tensor in enumerate((WEIGHT, INPUT)):
            waiting += [(t.first_step, rank, t) for t in self.tiles[tensor] if t.bits and not t.started][:1]
        waiting += [(o.first_step, 2, o) for o in self.outputs if o.fetch and not o.fetching][:1]
        if not self.options.queue_per_tensor:
            waiting = sorted(waiting, key=lambda entry: entry[:2])[:1]
        for _, rank, tile in waiting:
            yield Request(self._asks_since(tile), rank, tile)

    def _asks_since(self, tile: Tile | Output) -> int:
        if isinstance(tile, Tile):
            tensor = WEIGHT if any(tile is t for t in self.tiles[WEIGHT]) else INPUT
            number = next(i for i, t in enumerate(self.tiles[tensor]) if t is tile)
            return self._slot_free(tensor, number)
        number = next(i for i, o in enumerate(self.outputs) if o is tile)
        before = [o.left for o in self.outputs[:number] if o.store]
        issued = [f.issue + f.fold.issue for f in self.folds if f.step < tile.first_step]
        return max([self._output_slot_free(number), *before, *issued])

    # ---- unit ----------------------------------------------------------------------------------------------

    def _unit(self, cycle: int) -> bool:
        return cycle >= 0 and (self._shift_in(cycle) or self._issue(cycle))

    def _operand_ready(self, tensor: str, step: int) -> int:
        return next((t.ready for t in self.tiles[tensor] if t.first_step <= step <= t.last_step), 0)

    def _output_ready(self, step: int) -> int:
        number = next(i for i, o in enumerate(self.outputs) if o.first_step <= step <= o.last_step)
        output = self.outputs[number]
        if step != output.first_step:
            return 0
        return output.fetched if output.fetch else self._output_slot_free(number)

    def _held_ready(self, step: int) -> int:
        return self._operand_ready(self.options.stationary, step) if self.options.stationary else 0

    def _moving_ready(self, step: int) -> int:
        moving = [t for t in (WEIGHT, INPUT) if t != self.options.stationary]
        return max(*(self._operand_ready(t, step) for t in moving), self._output_ready(step), 0)

    def _shift_in(self, cycle: int) -> bool:
        """Start to shift the next fold's stationary operands in."""
        number = next((i for i, f in enumerate(self.folds) if f.load_start == FOREVER), None)
        if number is None:
            return False
        fold, before = self.folds[number], self.folds[:number]
        held = self._held_ready(fold.step)
        clear = [0, *(f.load_end for f in before[-1:])]
        if self.options.buffers == 2:
            clear += [f.issue for f in before[-1:]]
        elif self.options.skewed:
            clear += [f.last if f.issue < FOREVER else FOREVER for f in before]
        else:
            clear += [f.done for f in before]
        if max(held, *clear) > cycle:
            return False
        fold.clear, fold.held, fold.load_start, fold.load_end = max(clear), held, cycle, cycle + fold.fold.load
        if self._ends_step(number) and not self.options.queue_per_tensor:
            self._give_back(self.options.stationary, fold.step, fold.load_end)
        return True

    def _issue(self, cycle: int) -> bool:
        number = next((i for i, f in enumerate(self.folds) if f.issue == FOREVER), None)
        if number is None:
            return False
        fold, before = self.folds[number], self.folds[:number]
        moving = self._moving_ready(fold.step)
        clear = [0, *(max(f.issue + f.fold.issue, f.issue + f.fold.interval) for f in before[-1:])]
        if not self.options.skewed:
            clear += [f.done for f in before]
        ready = max(fold.load_end, moving, *clear)
        wait = self.steps[fold.step].wait if self._begins_step(number) else 0
        if max(ready, max(fold.clear + fold.fold.load, *clear) + wait) > cycle:
            return False
        fold.moving, fold.ready, fold.issue = moving, ready, cycle
        if self._ends_step(number):
            self._step_issued(fold)
        return True

    def _begins_step(self, number: int) -> bool:
        return number == 0 or self.folds[number - 1].step != self.folds[number].step

    def _ends_step(self, number: int) -> bool:
        return number + 1 == len(self.folds) or self.folds[number + 1].step != self.folds[number].step

    def _step_issued(self, fold: Issued) -> None:
        """The step's last fold has issued: give back what it used last, and say when its outputs are done."""
        for tensor in (WEIGHT, INPUT):
            if tensor != self.options.stationary:
                self._give_back(tensor, fold.step, fold.issue + fold.fold.issue)
            elif self.options.queue_per_tensor:
                self._give_back(tensor, fold.step, fold.issue)
        for output in self.outputs:
            if output.last_step == fold.step:
                output.done = max(f.done for f in self.folds if f.issue < FOREVER)
                if not output.store:
                    output.left = output.done

    def _give_back(self, tensor: str | None, step: int, cycle: int) -> None:
        for tile in self.tiles.get(tensor or "", ()):
            if tile.last_step == step:
                tile.freed = cycle


@dataclass
class Ledger:
    """What every cycle was for, and every cycle of the operand port."""

    cycles: int = 0
    busy: int = 0
    fill: int = 0
    drain: int = 0
    weight_load: int = 0
    memory: int = 0
    port_active: int = 0
    port_weight_load: int = 0
    port_memory: int = 0
    port_other: int = 0

    @classmethod
    def of(cls, walk: Walk) -> Ledger:
        ledger = cls()
        done = max(f.done for f in walk.folds)
        sent = max((o.left for o in walk.outputs if o.store), default=0)
        ledger.cycles = max(done, sent)
        ledger._unit(walk.folds, done)
        ledger._port(walk.folds, done)
        return ledger

    def _unit(self, folds: Sequence[Issued], done: int) -> None:
        useful = [0] * len(folds)
        for cycle in range(self.cycles):
            number = next((i for i, f in enumerate(folds) if f.last > cycle), None)
            if number is None:
                self._charge("drain" if cycle < done else "memory")
            elif cycle >= folds[number].first:
                useful[number] += 1
            else:
                self._charge(_why_idle(folds[number], cycle))
        for count, fold in zip(useful, folds, strict=True):
            hollow = min(fold.fold.hollow, count)
            self.busy += count - hollow
            self.fill += hollow

    def _port(self, folds: Sequence[Issued], done: int) -> None:
        for cycle in range(self.cycles):
            number = next((i for i, f in enumerate(folds) if f.issue + f.fold.issue > cycle), None)
            if number is None:
                self._charge("port_other" if cycle < done else "port_memory")
            elif cycle < folds[number].issue:
                why = _why_idle(folds[number], cycle)
                self._charge("port_other" if why in ("drain", "fill") else f"port_{why}")
        self.port_active = sum(f.fold.issue for f in folds)

    def _charge(self, cause: str) -> None:
        setattr(self, cause, getattr(self, cause) + 1)


def _why_idle(fold: Issued, cycle: int) -> str:
    """The first thing that the fold still waits for."""
    if cycle < fold.held:
        return "memory"
    if cycle < fold.load_start:
        return "drain"
    if cycle < fold.load_end:
        return "weight_load"
    if cycle < fold.moving:
        return "memory"
    if cycle < fold.ready:
        return "drain"
    return "memory" if cycle < fold.issue else "fill"


def step_events(walk: Walk) -> list[tuple[int, int, int, int]]:
    """For every step: operands ready, first issue, last issue + 1, all done so far; the kernel's E_*
    columns.
    """
    events = []
    for number in range(len(walk.steps)):
        mine = [f for f in walk.folds if f.step == number]
        done = max(f.done for f in walk.folds if f.step <= number)
        last = mine[-1]
        events.append((max(last.held, last.moving), mine[0].issue, last.issue + last.fold.issue, done))
    return events


def run_timeline(
    steps: Sequence[Step], options: Options, port_free: int = 0, weight_slots: Sequence[int] = (0, 0)
) -> tuple[Ledger, list[tuple[int, int, int, int]], Walk]:
    """Walk ``steps``; ``port_free`` (a tick) and ``weight_slots`` (cycles) are what the layer before left."""
    walk = Walk(steps, options, port_free, list(weight_slots))
    walk.run()
    return Ledger.of(walk), step_events(walk), walk
