"""What crosses the ports of the memory levels: counted once, for the report, the energy and the stalls alike.

Two things cross a port on chip: the *operands* of the unit, and the *transfers* to and from off chip. A unit says what a
step of each kind reads and writes (`Crossing`); all else follows from it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import Buffer, Registers, Tensor
from accelsim.arch.spec import Architecture
from accelsim.counters import Traffic, Transfer, add_traffic
from accelsim.mapping.loopnest import LoopNest
from accelsim.mapping.machine import Ints, Widths
from accelsim.memory.resources import AS_BUILT, MEMORY, Faster, port_of
from accelsim.schedule.build import NOTHING
from accelsim.units import ceil_div

FETCHED: tuple[Tensor, ...] = ("weight", "input", "partial_sum")  # columns of a schedule's loads
MOVED: tuple[Tensor, ...] = (*FETCHED, "output")


@dataclass(frozen=True)
class Crossing:
    """Everything that a schedule moves.

    ``operands``: between the unit and the levels on chip, by tensor, one entry a kind of step. ``kinds`` int32[steps]:
    each step's. ``loads`` int64[steps, 3], ``stores`` int64[steps], ``partial`` bool[steps]: to and from off chip, in
    bits (see `accelsim.schedule.build.Schedule`). ``biases`` int64[steps]: those that a step reads, which come along with
    the weights of their channels where those are fetched, and are in neither.
    """

    operands: Sequence[MappingABC[Tensor, Transfer]]
    kinds: npt.NDArray[np.int32]
    loads: Ints
    stores: Ints
    partial: npt.NDArray[np.bool_]
    biases: Ints

    @cached_property
    def fetches(self) -> Ints:
        """The loads with the biases among them."""
        loads = self.loads.copy()
        loads[:, 0] += self._fetched_biases()
        return loads

    def _fetched_biases(self) -> Ints:
        return np.where(self.loads[:, 0] > 0, self.biases, 0)

    def bias_traffic(self, arch: Architecture) -> Traffic:
        """Biases across the off-chip port, into the weights' level and out of it."""
        level, read = arch.holder("weight"), int(self.biases.sum())
        fetched = _both_sides(arch, arch.off_chip.name, "weight", Transfer(read_bits=int(self._fetched_biases().sum())))
        return add_traffic((*fetched, *([{level.name: {"weight": Transfer(read_bits=read)}}] if level and read else [])))

    def traffic(self, arch: Architecture, nest: LoopNest, widths: Widths) -> Traffic:
        """Bits across the port of every level, for a schedule of ``nest``; without biases."""
        operands = self.operand_traffic(arch)
        transfers = transfer_traffic(arch, self.loads, self.stores, self.partial)
        return add_traffic((transfers, operands, spilled_sums(arch, nest, widths, operands, transfers)))

    def operand_traffic(self, arch: Architecture) -> Traffic:
        """Bits between the unit and the levels on chip."""
        totals = np.bincount(self.kinds, minlength=len(self.operands)) @ self._bits.reshape(len(self.operands), -1)
        found: dict[str, dict[str, Transfer]] = {}
        for tensor, (read, written) in zip(MOVED, totals.reshape(-1, 2).tolist(), strict=True):
            level = arch.holder(tensor)
            if level is not None and (read or written):
                found.setdefault(level.name, {})[tensor] = Transfer(read, written)
        return found

    @cached_property
    def _bits(self) -> Ints:
        """``operands`` as int64[kinds, tensors, 2]: read and written."""
        rows = [[(tile[t].read_bits, tile[t].write_bits) if t in tile else (0, 0) for t in MOVED] for tile in self.operands]
        return np.array(rows, dtype=np.int64)

    def streamed(self, tensors: Iterable[Tensor]) -> Crossing:
        """The same with ``tensors``, which stay nowhere on chip, fetched anew whenever the unit reads them."""
        loads = self.loads
        for tensor in tensors:
            loads = loads.copy()
            loads[:, FETCHED.index(tensor)] = self._bits[self.kinds, MOVED.index(tensor), 0]
        return replace(self, loads=loads)

    def operand_bits(self, arch: Architecture, level: Buffer | Registers) -> Ints:
        """Bits that the unit reads and writes in ``level`` in a step of each kind; int64[kinds]."""
        held = [arch.holder(tensor) is level for tensor in MOVED]
        return np.asarray(self._bits[:, held].sum(axis=(1, 2)))

    def through(self, arch: Architecture, level: Buffer | Registers) -> Ints:
        """Bits that every step moves through a level on chip; int64[steps]."""
        moved = self.operand_bits(arch, level)[self.kinds]
        if arch.holder("weight") is level:
            moved = moved + self.biases
        for column, tensor in enumerate(FETCHED):
            if arch.holder(tensor) is level:
                moved += np.maximum(self.fetches[:, column], 0)
        for tensor, sent in _sent(self.partial):
            if arch.holder(tensor) is level:
                moved += np.where(sent, np.maximum(self.stores, 0), 0)
        return np.asarray(moved)

    def waits(self, arch: Architecture, cycles: MappingABC[str, Ints], faster: Faster = AS_BUILT) -> Ints:
        """Cycles by which ports on chip hold every step back, on a machine that may be ``faster``; int64[steps].

        ``cycles`` int64[steps] are those in which a level's port can work, by level. The level whose bytes need the most
        beyond them sets the sum; it is shared out over the steps that need more than they have.
        """
        worst = np.zeros(len(self.kinds), dtype=np.int64)
        longest = 0
        for level in arch.on_chip:
            if level.bandwidth is None:
                continue
            rate, speed = 8 * level.bandwidth.per_cycle(arch.clock), faster.speed(port_of(level))
            if speed is None:
                continue
            rate, moved, there = rate * speed, self.through(arch, level), cycles[level.name]
            short = ceil_div(int(moved.sum()) * rate.denominator, rate.numerator) - int(there.sum())
            if short > longest:
                longest, worst = short, _shared_out(short, moved / float(rate) - there)
        return worst


def level_cycles(there: MappingABC[str, Ints], waits: Ints) -> dict[str, int]:
    """Cycles in which the port of each level could work over a schedule (`accelsim.counters.Counters`)."""
    return {level: int(cycles.sum() + waits.sum()) for level, cycles in there.items()}


def port_occupancy(arch: Architecture, traffic: Traffic) -> dict[str, int]:
    """Cycles in which each port with a bandwidth is at work for ``traffic``, by resource."""
    found = {}
    for level in arch.memory:
        if level.bandwidth is None:
            continue
        bits = sum(t.read_bits + t.write_bits for t in traffic.get(level.name, {}).values())
        rate = 8 * level.bandwidth.per_cycle(arch.clock)
        resource = MEMORY if level is arch.off_chip else port_of(level)
        found[resource] = ceil_div(bits * rate.denominator, rate.numerator)
    return found


def _shared_out(total: int, short: npt.NDArray[np.float64]) -> Ints:
    """``total`` in whole numbers in proportion to what steps are short of; those that are not get none."""
    grown = np.cumsum(np.maximum(short, 0))
    ends = np.floor(grown * (total / grown[-1])).astype(np.int64)
    ends[-1] = total
    return np.asarray(np.diff(ends, prepend=0))


def _sent(partial: npt.NDArray[np.bool_]) -> Iterator[tuple[Tensor, npt.NDArray[np.bool_]]]:
    """What is stored: which steps store outputs, which partial sums."""
    yield "output", ~partial
    yield "partial_sum", partial


def passes_through(arch: Architecture, tensor: Tensor, nest: LoopNest, widths: Widths) -> bool:
    """Whether a layer's tensor stays nowhere on chip: no level holds it, or it streams through one that is too small."""
    level = arch.holder(tensor)
    if level is None or not level.streams or level.size is None:
        return level is None
    sums = widths.partial_sum if tensor == "partial_sum" else widths.output
    whole = {
        "weight": nest.weight_elements * widths.weight,
        "input": nest.input_elements(nest.dims) * widths.input,
        "output": nest.dims.outputs * sums,
    }
    held = {"output" if name == "partial_sum" else name for name in level.holds or ()}
    return sum(whole.get(name, 0) for name in held) > 8 * level.size


def spilled_sums(arch: Architecture, nest: LoopNest, widths: Widths, operands: Traffic, transfers: Traffic) -> Traffic:
    """Partial sums that stream through their level, off chip and back: as often as the array moves them (``operands``),
    without those that its tiles' ``transfers`` have moved already."""
    level, far = arch.holder("partial_sum"), arch.off_chip.name
    if level is None or not passes_through(arch, "partial_sum", nest, widths):
        return {}
    every = operands.get(level.name, {}).get("partial_sum", Transfer())
    done = transfers.get(far, {}).get("partial_sum", Transfer())
    spilled = Transfer(every.read_bits - done.read_bits, every.write_bits - done.write_bits)
    back = Transfer(spilled.write_bits, spilled.read_bits)
    return {far: {"partial_sum": spilled}, level.name: {"partial_sum": back}} if every != done else {}


def transfer_traffic(arch: Architecture, loads: Ints, stores: Ints, partial: npt.NDArray[np.bool_]) -> Traffic:
    """Bits across the off-chip port, and the same bits in and out of the levels they go to and come from."""
    far = arch.off_chip.name
    parts: list[Traffic] = []
    for column, tensor in enumerate(FETCHED):
        moved = loads[:, column][loads[:, column] != NOTHING]
        parts += _both_sides(arch, far, tensor, Transfer(read_bits=int(moved.sum())))
    for tensor, sent in _sent(partial):
        moved = stores[(stores != NOTHING) & sent]
        parts += _both_sides(arch, far, tensor, Transfer(write_bits=int(moved.sum())))
    return add_traffic(parts)


def _both_sides(arch: Architecture, far: str, tensor: Tensor, transfer: Transfer) -> list[Traffic]:
    if not (transfer.read_bits or transfer.write_bits):
        return []
    parts: list[Traffic] = [{far: {tensor: transfer}}]
    level = arch.keeper(tensor)
    if level is not None:
        parts.append({level.name: {tensor: Transfer(transfer.write_bits, transfer.read_bits)}})
    return parts
