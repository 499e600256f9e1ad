"""The sparse engine in plain Python: every register of EIE's blocks, clocked edge by edge.

This is the specification that `engines/kernels/sparse.py` is tested against. Each block has registers and
wires; an edge gives every register its new value at once, from the wires as they stood.

    Fetch -> [queue] -> [.] PointerRead -> [.] EntryRead -> [.] decode -> [.] multiply -> [.] add -> write
    one      a PE       a PE ...                                                ^___bypass____|

*Fetch* holds a pack of activations, one for each PE, and broadcasts the non-zeros in it, one an edge, into
all queues, unless one of them is full. *PointerRead* holds an activation with its column's two pointers and
shows the address of one entry after the other. *EntryRead* holds a row of the entry memory, and reads another
when the address leaves it. *decode* adds up relative indices; the adder takes the sum from the one behind it
when both are for the same row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Options:
    """What the hardware is. ``limits``: lowest and highest value of an accumulator."""

    capacity: int = 7
    row_entries: int = 8
    empty_column_cycle: bool = True
    pack_idle: bool = True
    limits: tuple[int, int] | None = None
    saturate: bool = False


class Entry(NamedTuple):
    """A word of entry memory."""

    zeros: int
    weight: int


class Slice(NamedTuple):
    """What one PE stores: ``pointers[c]`` to ``pointers[c + 1]`` are the entries of column c."""

    pointers: Sequence[int]
    entries: Sequence[Entry]


class Broadcast(NamedTuple):
    """What a queue holds."""

    column: int
    value: int


class Shown(NamedTuple):
    """An entry on its way through the pipeline."""

    address: int
    value: int
    last: bool
    zeros: int = 0
    weight: int = 0
    row: int = 0
    product: int = 0


@dataclass
class Counts:
    """As the kernel's counts, by name."""

    cycles: int = 0
    busy: int = 0
    stalls: dict[str, int] = field(default_factory=dict)
    broadcasts: int = 0
    held: int = 0
    scans: int = 0
    tail: int = 0
    starved: int = 0
    entries: int = 0
    padding: int = 0
    macs: int = 0
    empty_slots: int = 0
    row_reads: int = 0
    overflows: int = 0


@dataclass
class Fetch:
    """Leading-non-zero detection over one pack at a time."""

    packs: list[list[int]]
    idle: bool
    pack: int = -1  # the pack held; before the first edge none
    lane: int = 0  # where the search starts

    def found(self) -> tuple[int, int] | None:
        """(pack, lane) of the next non-zero. Without idle scans the tree looks through the packs that follow
        too.
        """
        if self.pack < 0:
            return None
        last = self.pack if self.idle else len(self.packs) - 1
        for pack in range(self.pack, last + 1):
            first = self.lane if pack == self.pack else 0
            for lane in range(first, len(self.packs[pack])):
                if self.packs[pack][lane] != 0:
                    return pack, lane
        return None

    def exhausted(self) -> bool:
        """No pack is left to take, and nothing in the one held."""
        return self.found() is None and self.pack == len(self.packs) - 1

    def clock(self, full: bool) -> Broadcast | None:
        """An edge. Returns what goes into the queues."""
        found = self.found()
        if self.pack < 0:
            self.pack = 0
            return None
        if found is None:
            if self.idle:
                self._take(self.pack + 1)
            else:
                self.pack, self.lane = len(self.packs) - 1, len(self.packs[-1])
            return None
        if full:
            return None
        pack, lane = found
        self.pack, self.lane = pack, lane + 1
        broadcast = Broadcast(pack * len(self.packs[0]) + lane, self.packs[pack][lane])
        if self.lane == len(self.packs[pack]):
            self._take(pack + 1)
        return broadcast

    def _take(self, pack: int) -> None:
        if pack < len(self.packs):
            self.pack, self.lane = pack, 0
        else:
            self.lane = len(self.packs[-1])


@dataclass
class Pe:
    """One processing element: its queue and its blocks, in the order in which data passes."""

    memory: Slice
    options: Options
    sums: list[int]
    queue: deque[Broadcast] = field(default_factory=deque)
    holds: Broadcast | None = None  # pointer read
    address: int = 0
    end: int = 0
    row_held: int = -1  # entry memory
    fetched: Shown | None = None
    coded: Shown | None = None  # decode: index and code, then row and weight
    row_before: int = -1
    decoded: Shown | None = None
    multiplied: Shown | None = None
    addend: int = 0
    written: bool = False

    def shows(self) -> str:
        """What the pointer unit shows: an entry, a padding zero, an empty column, or nothing."""
        if self.holds is None:
            return "nothing"
        if self.address == self.end:
            return "empty"
        return "entry" if self.memory.entries[self.address].weight else "padding"

    def at_rest(self) -> bool:
        stages = (self.holds, self.fetched, self.coded, self.decoded, self.multiplied)
        return not self.queue and all(stage is None for stage in stages) and not self.written

    def clock(self, counts: Counts) -> None:
        """An edge of the pipeline, last stage first, so that each takes what the one before it held."""
        result = self._add(counts)
        self._read_accumulator(result)
        self.multiplied = self._multiply()
        self.decoded = self._decode()
        self.coded = self.fetched
        self.fetched = self._read_entry(counts)
        self._next_entry()

    def _add(self, counts: Counts) -> int | None:
        """The adder's output is written at this edge."""
        self.written = self.multiplied is not None
        if self.multiplied is None:
            return None
        return _fit(self.addend + self.multiplied.product, self.options, counts)

    def _read_accumulator(self, result: int | None) -> None:
        """The sum that the next entry is added to: from the bypass if the adder is making it just now.

        The memory is read before this edge's write, as the hardware does; the write before this one is in it.
        """
        if self.decoded is not None:
            row = self.decoded.row
            bypass = self.multiplied is not None and self.multiplied.row == row
            read = self.sums[row]
            self.addend = result if bypass and result is not None else read
        if self.multiplied is not None and result is not None:
            self.sums[self.multiplied.row] = result

    def _multiply(self) -> Shown | None:
        entry = self.decoded
        return None if entry is None else entry._replace(product=entry.weight * entry.value)

    def _decode(self) -> Shown | None:
        entry = self.coded
        if entry is None:
            return None
        row = self.row_before + entry.zeros + 1
        self.row_before = -1 if entry.last else row
        return entry._replace(row=row)

    def _read_entry(self, counts: Counts) -> Shown | None:
        if self.holds is None or self.address == self.end:
            return None
        row = self.address // self.options.row_entries
        counts.row_reads += row != self.row_held
        self.row_held = row
        zeros, weight = self.memory.entries[self.address]
        counts.entries += 1
        counts.padding += weight == 0
        return Shown(self.address, self.holds.value, self.address + 1 == self.end, zeros, weight)

    def _next_entry(self) -> None:
        """The pointer unit: the column's next entry, or the queue's next activation."""
        if self.holds is not None and self.address + 1 < self.end:
            self.address += 1
            return
        self.holds = None
        while self.queue and self.holds is None:
            taken = self.queue.popleft()
            self.address, self.end = (
                self.memory.pointers[taken.column],
                self.memory.pointers[taken.column + 1],
            )
            if self.address < self.end or self.options.empty_column_cycle:
                self.holds = taken


def _fit(exact: int, options: Options, counts: Counts) -> int:
    if options.limits is None or options.limits[0] <= exact <= options.limits[1]:
        return exact
    low, high = options.limits
    counts.overflows += 1
    if options.saturate:
        return low if exact < low else high
    return (exact - low) % (high - low + 1) + low


@dataclass
class Machine:
    """The fetch unit and all PEs, an edge at a time. ``left``: broadcasts to come."""

    fetch: Fetch
    pes: list[Pe]
    options: Options
    left: int
    counts: Counts = field(default_factory=Counts)
    ledger: Ledger = field(default_factory=lambda: Ledger())

    @classmethod
    def of(cls, slices: Sequence[Slice], activations: Sequence[int], depth: int, options: Options) -> Machine:
        """Before the first edge, with all accumulators at 0."""
        lanes = len(slices)
        padded = [*activations, *[0] * (-len(activations) % lanes)]
        fetch = Fetch([padded[i : i + lanes] for i in range(0, len(padded), lanes)], options.pack_idle)
        pes = [Pe(memory, options, [0] * depth) for memory in slices]
        return cls(fetch, pes, options, sum(value != 0 for value in activations))

    def is_done(self) -> bool:
        rest = self.fetch.exhausted() and all(pe.at_rest() for pe in self.pes)
        return rest and self.counts.cycles >= 9

    def is_full(self) -> bool:
        return any(len(pe.queue) >= self.options.capacity for pe in self.pes)

    def clock(self) -> Broadcast | None:
        """An edge. Returns what goes into the queues."""
        full, counts = self.is_full(), self.counts
        held = full and self.fetch.found() is not None
        self.ledger.note([pe.shows() for pe in self.pes], held, self.left == 0)
        broadcast = self.fetch.clock(full)
        for pe in self.pes:
            pe.clock(counts)
            if broadcast is not None:
                pe.queue.append(broadcast)
        counts.cycles += 1
        counts.held += held
        if broadcast is not None:
            counts.broadcasts += 1
            self.left -= 1
            self.ledger.last_push = counts.cycles
        return broadcast


def run(
    slices: Sequence[Slice], activations: Sequence[int], depth: int, options: Options
) -> tuple[Counts, list[list[int]]]:
    """One matrix-vector product. Returns the counts, and the accumulators of each PE."""
    machine = Machine.of(slices, activations, depth, options)
    while not machine.is_done():
        machine.clock()
    counts = machine.counts
    machine.ledger.close(counts)
    counts.macs = counts.entries - counts.padding
    return counts, [pe.sums for pe in machine.pes]


MULTIPLIED_AFTER = 3  # cycles from an entry's showing to its multiplication


@dataclass
class Ledger:
    """What every cycle was for, from what the pointer units showed in it."""

    shown: list[list[str]] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    finished: list[bool] = field(default_factory=list)
    last_push: int = 0

    def note(self, shown: list[str], held: bool, finished: bool) -> None:
        self.shown.append(shown)
        self.held.append(held)
        self.finished.append(finished)

    def close(self, counts: Counts) -> None:
        """Charge the cycles; what is shown in one is multiplied three later."""
        working = [i for i, shown in enumerate(self.shown) if any(s != "nothing" for s in shown)]
        if working:
            window = self.shown[working[0] : working[-1] + 1]
            counts.starved = sum(row.count("nothing") for row in window)
            counts.empty_slots = sum(row.count("empty") for row in window)
        useful = [i for i, shown in enumerate(self.shown) if "entry" in shown]
        stalls = dict.fromkeys(("fill", "drain", "queue", "imbalance", "control"), 0)
        counts.stalls = stalls
        counts.tail = counts.cycles - self.last_push if counts.broadcasts else 0
        counts.scans = counts.cycles - counts.broadcasts - counts.held - counts.tail
        if not useful:
            stalls["fill"] = counts.cycles
            return
        counts.busy = len(useful)
        stalls["fill"] = useful[0] + MULTIPLIED_AFTER
        stalls["drain"] = counts.cycles - (useful[-1] + MULTIPLIED_AFTER + 1)
        for i in range(useful[0], useful[-1]):
            if "entry" not in self.shown[i]:
                stalls[self._cause(i)] += 1

    def _cause(self, i: int) -> str:
        if self.finished[i]:
            return "imbalance"
        if self.held[i]:
            return "queue"
        return "fill" if all(s == "nothing" for s in self.shown[i]) else "control"
