"""What candidates would cost, for thousands at once: an estimate that ranks them, from means over a layer's tiles.

The walk of a schedule (docs/memory.md) is told in classes of steps: which of its three loops (pixels, output channels,
reduction) stand at their first turn says which tensors a step fetches. A step takes as long as the unit computes or the
ports are busy, whichever is longer; what nothing hides comes on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture, Tensor
from accelsim.mapping.loopnest import Axis, LoopNest
from accelsim.mapping.machine import (
    Ints,
    Machine,
    Placement,
    Widths,
    off_chip_bits_per_cycle,
    slots_of,
    weight_elements,
)
from accelsim.mapping.mapping import Order
from accelsim.mapping.tiles import COLUMN
from accelsim.workload.precision import Precision

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LOOPS = (("N", "P", "Q"), ("K",), ("C", "R", "S"))
_PIXELS, _CHANNELS = 0, 1
ORDERS: tuple[tuple[int, ...], ...] = tuple(permutations(range(3)))
_RELEVANT = {"weight": (1, 2), "private": (0, 1, 2), "input": (0, 2), "output": (0, 1)}
_FIRST_TURNS: tuple[tuple[bool, ...], ...] = tuple(product((True, False), repeat=3))  # classes of steps; 0: all first


@dataclass(frozen=True)
class Estimate:
    """Costs of candidates: cycles and off-chip bits, int64[candidates, orders]; the engine's cycles and the steps,
    int64[candidates]; rounds of the loops over pixels, channels and reduction, int64[candidates, 3].
    """

    cycles: Ints
    off_chip_bits: Ints
    compute_cycles: Ints
    steps: Ints
    loops: Ints


@dataclass(frozen=True)
class _Tensor:
    """Bits of a tensor, float64[candidates]: of its first tile, of its last, and of all tiles once."""

    first: Floats
    last: Floats
    once: Floats


@dataclass(frozen=True)
class _Unit:
    """The unit's share: cycles of all steps and of the last, bits between it and its levels in all, float64[pairs]; the
    weights of all tiles as it has them fetched, float64[candidates].
    """

    total: Floats
    last: Floats
    operands: dict[str, Floats]
    weights: Floats


def order_of(loops: tuple[int, ...]) -> Order:
    return ("G", *(dim for loop in loops for dim in LOOPS[loop]))


def loop_order(order: Order) -> int:
    """The estimate's order nearest to a given one: loops by where their innermost dimension stands."""
    last = [max(order.index(dim) for dim in loop) for loop in LOOPS]
    return ORDERS.index(tuple(sorted(range(3), key=lambda loop: last[loop])))


def costs(
    nest: LoopNest, tiles: Ints, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, keep: frozenset[str] = frozenset(),
) -> Estimate:  # fmt: skip
    """What each candidate would cost under each of the six orders."""
    sizes = np.array(nest.dims, dtype=np.int64)
    counts = -(-sizes // tiles)
    loops = np.stack([np.prod(counts[:, [COLUMN[d] for d in loop]], axis=1) for loop in LOOPS], axis=1)
    groups = counts[:, COLUMN["G"]]
    steps = loops.prod(axis=1) * groups
    pattern = (loops > 1) @ np.array([1, 2, 4])
    rows, columns = np.nonzero(_distinct_orders()[pattern])
    unit = _unit(nest, tiles, rows, machine, precision, dataflow)
    held = machine.weight_elements(nest, tiles, dataflow, precision), unit.weights
    walk = _Walk(
        arch=arch,
        machine=machine,
        dataflow=dataflow,
        loops=loops[rows],
        groups=groups[rows],
        steps=steps[rows],
        fetches={
            tensor: _fetches(_touching(tensor, nest), tensor in keep)[pattern[rows], columns]
            for tensor in ("weight", "input", "output")
        },
        tensors={
            tensor: _Tensor(*(values[rows] for values in bits))
            for tensor, bits in _tensors(nest, tiles, counts, held, precision, placement, keep).items()
        },
        relevant={tensor: _RELEVANT[_touching(tensor, nest)] for tensor in ("weight", "input")},
        unit=unit,
        slots={
            "weight": machine.weight_slots(nest, dataflow, precision),
            "input": slots_of(arch, "input"),
            "output": slots_of(arch, "output"),
        },
        keep=keep,
    )
    cycles, bits = np.zeros((len(tiles), len(ORDERS))), np.zeros((len(tiles), len(ORDERS)))
    cycles[rows, columns], bits[rows, columns] = walk.cycles_and_bits()
    compute = np.zeros(len(tiles))
    compute[rows] = walk.unit.total
    same = _same_order()[pattern]
    cycles, bits = np.take_along_axis(cycles, same, axis=1), np.take_along_axis(bits, same, axis=1)
    whole = np.ceil(cycles).astype(np.int64)
    return Estimate(whole, bits.astype(np.int64), compute.astype(np.int64), steps, loops)


def _touching(tensor: str, nest: LoopNest) -> str:
    return "private" if tensor == "weight" and nest.private_weights else tensor


def bounds(
    nest: LoopNest, tiles: Ints, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, keep: frozenset[str],
) -> Floats:  # fmt: skip
    """Cycles that no order of each tile can do without, about: float64[candidates]."""
    counts = -(-np.array(nest.dims, dtype=np.int64) // tiles)
    pixels, channels, reduction = (np.prod(counts[:, [COLUMN[d] for d in loop]], axis=1) for loop in LOOPS)
    held = machine.weight_elements(nest, tiles, dataflow, precision)
    all_held = nest.weight_elements * held / weight_elements(nest, tiles)
    bits = {t: _Tensor(*b) for t, b in _tensors(nest, tiles, counts, (held, all_held), precision, placement, keep).items()}
    weight, inputs, sums = bits["weight"].once, bits["input"].once, 2 * bits["partial_sum"].once
    again = 1 if "weight" in keep or nest.private_weights else pixels
    more = 1 if "input" in keep else channels
    least = np.minimum(  # with pixels, channels or the reduction innermost
        np.minimum(weight + more * inputs + (reduction - 1) * sums, again * weight + inputs + (reduction - 1) * sums),
        again * weight + more * inputs,
    )
    rate = off_chip_bits_per_cycle(arch)
    per_cycle = np.inf if rate is None else float(rate)
    shares = np.prod(np.array(nest.dims) / tiles, axis=1)
    whole = machine.compute_cycles(nest, np.array([nest.dims], dtype=np.int64), dataflow, precision)
    compute = np.maximum(machine.compute_cycles(nest, tiles, dataflow, precision) * shares, whole)
    ends = bits["weight"].first + bits["input"].first + bits["output"].last  # nothing is computed meanwhile
    latency = arch.off_chip.latency.in_cycles(arch.clock) * (bits["weight"].first + bits["input"].first > 0)
    return np.asarray(np.maximum(compute + ends / per_cycle + latency, (least + bits["output"].once) / per_cycle))


# ---- orders and classes of steps ------------------------------------------------------------------------------------


@cache
def _same_order() -> npt.NDArray[np.intp]:
    """By pattern of loops with several turns and by order: the first order that gives the same schedule."""
    table = np.zeros((8, len(ORDERS)), dtype=np.intp)
    for pattern, column in product(range(8), range(len(ORDERS))):
        turning = [tuple(loop for loop in order if pattern >> loop & 1) for order in ORDERS]
        table[pattern, column] = turning.index(turning[column])
    return table


@cache
def _distinct_orders() -> Bools:
    return np.asarray(_same_order() == np.arange(len(ORDERS)))


@cache
def _fetches(tensor: str, kept: bool) -> Bools:
    """bool[pattern, order, class]: whether a step of the class fetches a tile of ``tensor``."""
    table = np.zeros((8, len(ORDERS), len(_FIRST_TURNS)), dtype=bool)
    relevant = _RELEVANT[tensor]
    for pattern, (column, order), (number, first) in product(range(8), enumerate(ORDERS), enumerate(_FIRST_TURNS)):
        if kept:  # when it is first needed: at the first turn of every loop that does not touch it
            table[pattern, column, number] = all(first[loop] for loop in range(3) if loop not in relevant)
            continue
        turned = max((place for place, loop in enumerate(order) if not first[loop]), default=-1)
        changed = order[max(turned, 0) :]  # the loop that turned, and those inside it, which begin anew
        table[pattern, column, number] = turned < 0 or any(pattern >> loop & 1 and loop in relevant for loop in changed)
    return table


# ---- what there is to move and to do --------------------------------------------------------------------------------


def _tensors(
    nest: LoopNest, tiles: Ints, counts: Ints, held: tuple[Ints, Floats], precision: Precision, placement: Placement,
    keep: frozenset[str],
) -> dict[str, tuple[Floats, Floats, Floats]]:  # fmt: skip
    """Bits of the first tile, of the last, and of all tiles once, by tensor; ``held``: weights of a tile
    and of all tiles as they are held."""
    widths, d = Widths.of(precision), nest.dims
    last = np.array(d, dtype=np.int64) - tiles * (counts - 1)
    t, n = ({dim: table[:, column].astype(float) for dim, column in COLUMN.items()} for table in (tiles, counts))
    rows, columns = _Touched(nest.rows, d.P, d.R), _Touched(nest.columns, d.Q, d.S)
    first_input = t["G"] * t["N"] * t["C"] * rows.of(t["P"], t["R"]) * columns.of(t["Q"], t["S"])
    inputs = d.G * d.N * d.C * rows.over(n["P"], n["R"]) * columns.over(n["Q"], n["S"])
    if "input" in keep:
        inputs = np.full(len(tiles), float(nest.input_elements(d)))
    last_output = last[:, [COLUMN[dim] for dim in "GNKPQ"]].prod(axis=1).astype(float)
    none = np.zeros(len(tiles))
    outputs = np.full(len(tiles), float(d.outputs))
    weight_bits, output_bits = widths.weight * (not placement.weight_resident), widths.output * (not placement.output_resident)
    input_bits = widths.input * float(placement.input_off_chip)
    return {
        "weight": (held[0] * weight_bits, none, held[1] * weight_bits),
        "input": (np.minimum(first_input, inputs) * input_bits, none, inputs * input_bits),
        "output": (none, last_output * output_bits, outputs * output_bits),
        "written": (none, none, outputs * widths.output),
        "partial_sum": (none, none, outputs * widths.partial_sum),
    }


@dataclass(frozen=True)
class _Touched:
    """Input positions of one image axis under tiles; where windows have holes those between count as well."""

    axis: Axis
    outputs: int
    taps: int

    def of(self, outputs: Floats, taps: Floats) -> Floats:
        """Under one tile in the middle."""
        reach = (outputs - 1) * self.axis.stride + (taps - 1) * self.axis.dilation + 1
        apart = (self.axis.dilation == 1) & (self.axis.stride > taps)  # windows that do not touch each other
        return np.asarray(np.clip(np.where(apart, outputs * taps, reach), 1, self.axis.size))

    def over(self, output_tiles: Floats, tap_tiles: Floats) -> Floats:
        """Under all tiles, without the padding."""
        each = self.of(self.outputs / output_tiles, self.taps / tap_tiles)
        reach = (self.outputs - 1) * self.axis.stride + (self.taps - 1) * self.axis.dilation + 1
        padded, share = max(0, reach - self.axis.size), min(1.0, self.axis.size / reach)
        whole_taps = np.maximum(each * output_tiles - padded, 1)
        parts = each * output_tiles * tap_tiles * share
        return np.asarray(np.where((tap_tiles == 1) & (each < self.axis.size), whole_taps, parts))


def _unit(
    nest: LoopNest, tiles: Ints, rows: npt.NDArray[np.intp], machine: Machine, precision: Precision, dataflow: str
) -> _Unit:
    """What the unit does in all: over the common tiles and the ragged ones."""
    pieces, owner, times = _pieces(nest, tiles)
    cycles = machine.compute_cycles(nest, pieces, dataflow, precision)

    def total(values: Ints) -> Floats:
        return np.asarray(np.bincount(owner, weights=values * times, minlength=len(tiles))[rows])

    last = np.zeros(len(tiles))
    last[owner] = cycles  # the most ragged piece of a candidate comes last
    operands = machine.operand_bits(nest, pieces, dataflow, precision)
    weights = np.bincount(owner, weights=machine.weight_elements(nest, pieces, dataflow, precision) * times)
    counts = -(-np.array(nest.dims) // tiles)
    rounds = counts[:, COLUMN["N"]] * (1 if nest.private_weights else counts[:, COLUMN["P"]] * counts[:, COLUMN["Q"]])
    return _Unit(total(cycles), last[rows], {tensor: total(bits) for tensor, bits in operands.items()}, weights / rounds)


def _pieces(nest: LoopNest, tiles: Ints) -> tuple[Ints, Ints, Ints]:
    """The tile shapes of every candidate: the common one, and those at the ends of ragged loops; whose they are, and
    how many there are of each."""
    sizes = np.array(nest.dims, dtype=np.int64)
    pieces, owner = tiles, np.arange(len(tiles))
    times = np.ones(len(tiles), dtype=np.int64)
    for column, size in enumerate(sizes):
        ragged = np.flatnonzero(size % pieces[:, column])
        ends = pieces[ragged].copy()
        ends[:, column] = size % ends[:, column]
        again = times[ragged]
        times = np.concatenate([times * (size // pieces[:, column]), again])
        pieces, owner = np.concatenate([pieces, ends]), np.concatenate([owner, owner[ragged]])
    return pieces, owner, times


# ---- the walk -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Walk:
    """Tiles in their distinct orders, a row a pair; ``fetches`` bool[pairs, classes]: the steps that bring a new tile."""

    arch: Architecture
    machine: Machine
    dataflow: str
    loops: Ints
    groups: Ints
    steps: Ints
    fetches: dict[str, Bools]
    tensors: dict[str, _Tensor]
    relevant: dict[str, tuple[int, ...]]
    unit: _Unit
    slots: dict[str, int]
    keep: frozenset[str]

    def cycles_and_bits(self) -> tuple[Floats, Floats]:
        """The first step's operands, the steps behind it, and what follows the last."""
        times = self._times()
        visits = self._sum(times, self.fetches["output"])
        rounds = visits / (self.loops[:, _PIXELS] * self.loops[:, _CHANNELS] * self.groups)  # of each output tile
        again = self.tensors["partial_sum"].once * (rounds - 1)  # bits of partial sums, out; and as many back
        first = self._ahead("weight") + self.tensors["input"].first
        last = self.tensors["output"].last
        total = self.tensors["output"].once + 2 * again
        others = np.maximum(visits - 1, 1)
        before = (total - last) / others  # of each output but the last; the last of these goes out beside the last step
        moved = self.fetches["output"] * (before * np.maximum(visits - 2, 0) / others)[:, None]
        for tensor in ("weight", "input"):
            loads = self._sum(times, self.fetches[tensor])
            all_bits = self._passes(tensor, times) * self.tensors[tensor].once
            total = total + all_bits
            each = np.maximum(all_bits - self._ahead(tensor), 0) / np.maximum(loads - 1, 1)
            moved = moved + self.fetches[tensor] * each[:, None]
        rate = off_chip_bits_per_cycle(self.arch)
        per_cycle = np.inf if rate is None else float(rate)
        serial = self.fetches["output"] * (2 * again / visits / per_cycle)[:, None]  # meanwhile the unit waits
        waits: Floats = np.maximum(self._on_chip(total) / np.maximum(self.unit.total, 1), 1)
        compute = (self._compute() * waits)[:, None] + serial
        times[:, 0] -= 1  # the first step
        walked = self._walked(times, compute, moved / per_cycle)
        walked = np.maximum(walked, self._through_slots(times, visits, compute, total, per_cycle))
        latency = self.arch.off_chip.latency.in_cycles(self.arch.clock)
        head = np.where(first > 0, first / per_cycle + latency, 0)
        return head + walked + np.maximum(self.unit.last, before / per_cycle) + last / per_cycle, total

    def _ahead(self, tensor: str) -> Floats:
        """Bits that are fetched before the first step can start. Of weights that are kept, in a queue of their own, all ask
        at once, and before the inputs."""
        at_once = tensor == "weight" and tensor in self.keep and self.arch.off_chip.requests == "per_tensor"
        return self.tensors[tensor].once if at_once else self.tensors[tensor].first

    def _passes(self, tensor: str, times: Floats) -> Floats:
        """How often the whole tensor is fetched."""
        if tensor in self.keep:
            return np.ones(len(self.steps))
        tiles = self.loops[:, list(self.relevant[tensor])].prod(axis=1) * self.groups
        return np.asarray(np.maximum(1, self._sum(times, self.fetches[tensor]) / tiles))

    def _compute(self) -> Floats:
        """Mean cycles of the steps before the last."""
        return np.asarray((self.unit.total - self.unit.last) / np.maximum(self.steps - 1, 1))

    @staticmethod
    def _sum(times: Floats, values: Floats | Bools) -> Floats:
        return np.asarray((times * values).sum(axis=1))

    def _times(self) -> Floats:
        """How many steps there are of each class, float64[pairs, classes]."""
        others = np.array([[not turn for turn in first] for first in _FIRST_TURNS])
        turns = np.where(others[None], self.loops[:, None, :] - 1, 1).prod(axis=2) * self.groups[:, None]
        return np.asarray(turns, dtype=np.float64)

    def _on_chip(self, off_chip: Floats) -> Floats:
        """Cycles that the slowest port on chip is busy in all."""
        busy = np.zeros(len(self.steps))
        again = self.tensors["partial_sum"].once
        for level in self.arch.memory[1:] if self.unit.operands else ():
            if level.bandwidth is None:
                continue
            moved = off_chip if self.arch.holder("weight") == level == self.arch.holder("output") else 0
            for tensor, bits in self.unit.operands.items():
                if self.arch.holder(tensor) == level:  # type: ignore[arg-type]
                    moved = moved + (np.maximum(bits - 2 * again, 0) if tensor == "partial_sum" else bits)
            rate = float(8 * level.bandwidth.per_cycle(self.arch.clock))
            busy = np.maximum(busy, (moved + self.tensors["written"].once) / rate)
        return busy

    def _walked(self, times: Floats, compute: Floats, transfer: Floats) -> Floats:
        """Steps one after the other, each while the next one's operands come; or loads that run far ahead of them."""
        slower = self._sum(times, np.maximum(compute, transfer))
        ahead = np.maximum(self._sum(times, compute), self._sum(times, transfer))
        return np.asarray(np.where(self._runs_ahead(times), ahead, slower))

    def _runs_ahead(self, times: Floats) -> Bools:
        """Whether no load waits for the slot of another tensor's: with a queue each, or as all have slots at once."""
        free = np.full(len(self.steps), self.arch.off_chip.requests == "per_tensor")
        roomy = [
            (self._sum(times, self.fetches[tensor]) < self.slots[tensor]) | (tensor in self.keep)
            for tensor in ("weight", "input")
        ]
        return np.asarray(free | (roomy[0] & roomy[1]))

    def _through_slots(self, times: Floats, visits: Floats, compute: Floats, moved: Floats, rate: float) -> Floats:
        """Cycles until the last tile has its slot: those before it in the same slot were transferred, waited for and used."""
        latency, total = self.arch.off_chip.latency.in_cycles(self.arch.clock), self._sum(times, compute)
        depth = self.machine.depth_cycles(self.dataflow)
        slowest = self._last_in_slot("output", visits, total + visits * depth + self.tensors["output"].once / rate)
        operands: tuple[Tensor, ...] = ("weight", "input")
        for tensor in operands:
            if tensor in self.keep:
                continue
            loads = self._sum(times, self.fetches[tensor])
            passing = self._last_in_slot(tensor, loads, loads * latency + moved / rate + total)
            slowest = np.maximum(slowest, np.where(self.tensors[tensor].once > 0, passing, 0))
        return np.asarray(slowest)

    def _last_in_slot(self, tensor: Tensor, tiles: Floats, busy: Floats) -> Floats:
        slots = self.slots[tensor]
        return np.asarray((tiles - 1) // slots * busy / np.maximum(tiles, 1))
