"""The walk of a schedule over several stages of memory: its hops and the unit's steps as the kernel takes them.

See `accelsim.engines.kernels.timeline`, "several levels on chip".
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import FarEnd, Level
from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Transfer, add_traffic
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.walk import counters_of
from accelsim.errors import InfeasibleError
from accelsim.mapping.machine import Ints
from accelsim.memory.hops import Moves, Stored
from accelsim.memory.resources import AS_BUILT, LATENCY, MEMORY, Faster, port_of
from accelsim.memory.transfers import Crossing
from accelsim.schedule.hops import first_of, row_numbers
from accelsim.schedule.staged import COMING, StagedSchedule

MOST_PARTS = 1 << 16  # of a bit: a rate is a fraction of no larger denominator


class Folds(NamedTuple):
    """The unit's own times: what `kernels.timeline.run_timeline` takes as grids and folds, and the cycles of every step in
    which the port of each level on chip can work, int64[steps] by level.
    """

    grids: Ints
    folds: Ints
    there: MappingABC[str, Ints]


def run_staged(
    arch: Architecture, schedule: StagedSchedule, crossing: Crossing, folds: Folds, options: Ints, stored: Stored,
    faster: Faster = AS_BUILT,
) -> Counters:  # fmt: skip
    """Walk ``schedule`` and count; what a layer's walk leaves behind, the next one does not see."""
    moves, ports = Moves.of(schedule, stored), Ports(arch, faster)
    latency = faster.of(LATENCY, arch.off_chip.latency.in_cycles(arch.clock))
    hops, tiles = tables(moves, ports, latency)
    reads = UnitReads.of(arch, crossing, folds.there, ports)
    plan = plan_of(hops, tiles, reads, len(ports.levels))
    unit = tl.UnitSteps(schedule.classes, folds.grids, folds.folds, reads.waits(ports, plan.unit_pays), unit_hops(schedule))
    result = tl.run_hops(
        unit, hops, tiles, plan.moves, took(moves, plan.moves, tiles, ports), ports.ticks_of_all(plan.owed), options
    )
    operands = crossing.operand_traffic(arch)
    traffic = add_traffic((moves.traffic(), operands, _bias_reads(arch, crossing)))
    counters = counters_of(result, schedule.nest.dims.macs, 0, traffic)
    return replace(counters, level_cycles={level.name: counters.cycles for level in arch.on_chip})  # ports never pause


def refuse_recording(arch: Architecture) -> None:
    """Traces are of machines whose requests come as they come."""
    raise InfeasibleError(
        f"a trace of {arch.name}",
        demand=f"planned moves over {len(arch.stages)} stages of memory",
        bound="one level on chip a tensor, and requests as they come",
        levers=("leave --trace out",),
    )


def _bias_reads(arch: Architecture, crossing: Crossing) -> dict[str, dict[str, Transfer]]:
    level, read = arch.holder("weight"), int(crossing.biases.sum())
    return {level.name: {"weight": Transfer(read_bits=read)}} if level is not None and read else {}


class Ports:
    """The ports of a machine that have a bandwidth, numbered from the far end in; on one that may be ``faster``."""

    def __init__(self, arch: Architecture, faster: Faster = AS_BUILT) -> None:
        self.levels: list[str] = []
        self.rates: list[Fraction] = []
        for level in arch.memory:
            speed = faster.speed(MEMORY if level is arch.off_chip else port_of(level))
            if level.bandwidth is not None and speed is not None:
                self.levels.append(level.name)
                self.rates.append(_rounded_down(8 * speed * level.bandwidth.per_cycle(arch.clock)))

    def number(self, level: Level) -> int:
        """The port of ``level``; -1 where it is unlimited."""
        return self.levels.index(level.name) if level.name in self.levels else -1

    def ticks(self, port: int, bits: Ints) -> Ints:
        """Ticks that ``bits`` take through a port, each rounded up."""
        if port < 0:
            return np.zeros_like(bits)
        rate = self.rates[port]
        whole, rest = np.divmod(bits * rate.denominator, rate.numerator)
        return np.asarray(whole * tl.HOP_TICKS + -(-rest * tl.HOP_TICKS // rate.numerator))

    def ticks_of_all(self, bits: Ints) -> Ints:
        """The same of one number a port."""
        return np.array([self.ticks(port, row) for port, row in enumerate(bits)], dtype=np.int64)


def _rounded_down(rate: Fraction) -> Fraction:
    """The rate, or where its fraction has too many parts for 64-bit ticks, the next one below that has fewer."""
    return rate if rate.denominator <= MOST_PARTS else Fraction(floor(rate * MOST_PARTS), MOST_PARTS)


@dataclass(frozen=True)
class UnitReads:
    """What the unit reads and writes at every port, biases among it, in bits, and the cycles that it has for that.

    ``kinds`` int32[steps]; ``bits`` and ``room`` int64[kinds, ports].
    """

    kinds: npt.NDArray[np.int32]
    bits: Ints
    room: Ints

    @classmethod
    def of(cls, arch: Architecture, crossing: Crossing, there: MappingABC[str, Ints], ports: Ports) -> UnitReads:
        kinds = row_numbers([crossing.kinds, crossing.biases])
        first = first_of(kinds)
        bits = np.zeros((len(first), len(ports.levels)), dtype=np.int64)
        room = np.zeros_like(bits)
        for level in arch.on_chip:
            port = ports.number(level)
            if port < 0:
                continue
            bits[:, port] = crossing.operand_bits(arch, level)[crossing.kinds[first]]
            if level is arch.holder("weight"):
                bits[:, port] += crossing.biases[first]
            room[:, port] = there[level.name][first]
        return cls(kinds, bits, room)

    def waits(self, ports: Ports, pays: Ints) -> Ints:
        """Cycles by which ports hold every step back; ``pays`` int64[steps, ports]: bits that are paid beside the unit's own."""
        worst = np.zeros(len(self.kinds), dtype=np.int64)
        for port in range(len(ports.levels)):
            ticks = ports.ticks(port, self.bits[self.kinds, port] + pays[:, port])
            worst = np.maximum(worst, -(-ticks // tl.HOP_TICKS) - self.room[self.kinds, port])
        return worst


class MovesPlan(NamedTuple):
    """What `kernels.timeline.plan_moves` gives: the moves in their order, what is paid with the unit's own, what is left."""

    moves: Ints
    unit_pays: Ints
    owed: Ints


def plan_of(hops: Ints, tiles: Ints, reads: UnitReads, ports: int) -> MovesPlan:
    """The order of all moves."""
    moves = np.empty((2 * len(tiles), tl.MOVE_FIELDS), dtype=np.int64)
    unit_pays = np.empty((len(reads.kinds), ports), dtype=np.int64)
    count, owed = tl.plan_moves(hops, tiles, reads.kinds, reads.bits, moves, unit_pays)
    return MovesPlan(moves[:count], unit_pays, owed)


def took(planned: Moves, moves: Ints, tiles: Ints, ports: Ports) -> Ints:
    """Ticks that every move takes: through the slower of its ports, and what its outer one pays with it."""
    found = np.zeros(len(moves), dtype=np.int64)
    for number, hop in enumerate(planned.schedule.hops):
        mine = moves[:, tl.O_HOP] == number
        bits = tiles[moves[mine, tl.O_TILE], tl.G_IN + moves[mine, tl.O_WAY]]
        outer, inner = ports.number(hop.outer), ports.number(hop.inner)
        through = np.maximum(ports.ticks(outer, bits), ports.ticks(inner, bits))
        found[mine] = through + ports.ticks(outer, moves[mine, tl.O_PAID])
    return found


def unit_hops(schedule: StagedSchedule) -> Ints:
    """The hops by which weights, inputs and outputs come to the unit; -1 where there is none."""
    last = {hop.tensor: number for number, hop in enumerate(schedule.hops)}
    return np.array([last.get(tensor, -1) for tensor in COMING], dtype=np.int64)


def tables(moves: Moves, ports: Ports, latency: int) -> tuple[Ints, Ints]:
    """The hops and their tiles as the kernels take them."""
    hops = moves.schedule.hops
    table = np.full((len(hops), tl.HOP_FIELDS), -1, dtype=np.int64)
    rows: list[Ints] = []
    begin = 0
    for number, hop in enumerate(hops):
        around = number - 1 if number and hops[number - 1].tensor == hop.tensor else -1
        if around >= 0:
            table[around, tl.H_WITHIN] = number
        end = begin + len(hop.tiles.first)
        leaves, far = hop.tensor == "output", isinstance(hop.outer, FarEnd)
        slots = hop.inner.slots if leaves or moves.coming[number].any() else end - begin
        table[number, [tl.H_OUTER, tl.H_INNER, tl.H_AROUND, tl.H_SLOTS]] = (
            ports.number(hop.outer), ports.number(hop.inner), around, slots,
        )  # fmt: skip
        table[number, [tl.H_BEGIN, tl.H_END, tl.H_LATENCY, tl.H_LEAVES]] = begin, end, latency * far * tl.HOP_TICKS, leaves
        rows.append(np.full((end - begin, tl.TILE_FIELDS), -1, dtype=np.int64))
        rows[-1][:, [tl.G_FIRST, tl.G_LAST]] = np.stack([hop.tiles.first, hop.tiles.last], axis=1)
        if around >= 0:
            outside = np.searchsorted(hops[around].tiles.first, hop.tiles.first, side="right") - 1
            rows[-1][:, tl.G_AROUND] = table[around, tl.H_BEGIN] + outside
        rows[-1][:, tl.G_BEFORE] = np.where(hop.tiles.before >= 0, begin + hop.tiles.before, -1)
        rows[-1][:, [tl.G_IN, tl.G_OUT]] = np.stack([moves.coming[number], moves.going[number]], axis=1)
        begin = end
    return table, np.concatenate(rows)
