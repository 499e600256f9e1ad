"""When everything of a recorded run happened, as bars and counters over cycles: what traces show.

A `Recorder` holds what the timeline was given and when each step issued; here that becomes *lanes*: what each
unit, each transfer and each cycle was for. The bars of the cycles' lane add up to the counters of the run,
cause by cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture, Tensor
from accelsim.counters import CAUSES
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.walk import LayerWalks, Walk
from accelsim.mapping.machine import Ints

Floats = npt.NDArray[np.float64]
BUSY = "busy"
USES = (BUSY, *CAUSES)
"""What a cycle may be for; bars of `cycle_bars` count them in this order."""
READ, WRITE = 0, 1
VISITS_AT_ONCE = 65_536
_BUSY, _FILL, _DRAIN = (USES.index(use) for use in (BUSY, "fill", "drain"))
_WEIGHT_LOAD, _MEMORY = (USES.index(use) for use in ("weight_load", "memory"))


@dataclass(frozen=True)
class Bars:
    """Bars of one lane in their order: from when to when (cycles), their kind and amount, how many are in
    one.
    """

    begin: Floats
    end: Floats
    kind: Ints
    amount: Ints
    count: Ints

    @property
    def lengths(self) -> Floats:
        return np.asarray(self.end - self.begin)

    def shifted(self, cycles: float) -> Bars:
        return replace(self, begin=self.begin + cycles, end=self.end + cycles)

    def picked(self, which: npt.NDArray[Any]) -> Bars:
        """Those of a mask or of an order."""
        return Bars(*(getattr(self, column.name)[which] for column in fields(self)))

    def __len__(self) -> int:
        return len(self.begin)


def bars(begin: npt.ArrayLike, end: npt.ArrayLike, kind: npt.ArrayLike = 0, amount: npt.ArrayLike = 0) -> Bars:
    """Bars of equal lengths of columns; those of no length are left out."""
    first, last = np.asarray(begin, dtype=np.float64), np.asarray(end, dtype=np.float64)
    given = (np.asarray(column, dtype=np.int64) for column in (kind, amount, 1))
    kinds, amounts, ones = (np.broadcast_to(column, first.shape) for column in given)
    return Bars(first, last, kinds, amounts, ones).picked(last > first)


def joined(parts: list[Bars]) -> Bars:
    """One lane after the other."""
    return Bars(*(np.concatenate([getattr(part, c.name) for part in parts]) for c in fields(Bars)))


def repeated(lane: Bars, times: int, cycles: int) -> Bars:
    """A lane ``times`` times, every ``cycles``."""
    return lane if times == 1 else joined([lane.shifted(number * cycles) for number in range(times)])


def folded(lane: Bars, bin_cycles: float) -> Bars:
    """Bars that begin in the same bin put together, one a kind, laid end to end.

    Lengths and amounts stay what they are in sum. With bins of 0 cycles nothing is put together.
    """
    if not bin_cycles or not len(lane):
        return lane
    bins = np.floor(lane.begin / bin_cycles).astype(np.int64)
    order = np.lexsort((np.arange(len(bins)), lane.kind, bins))
    place, kind = bins[order], lane.kind[order]
    heads = np.flatnonzero(np.r_[True, (place[1:] != place[:-1]) | (kind[1:] != kind[:-1])])
    columns = (lane.lengths, lane.amount, lane.count)
    length, amount, count = (np.add.reduceat(column[order], heads) for column in columns)
    begin = np.minimum.reduceat(lane.begin[order], heads)
    first = np.flatnonzero(np.r_[True, place[heads][1:] != place[heads][:-1]])  # of each bin
    bin_begin = np.repeat(np.minimum.reduceat(begin, first), np.diff(np.r_[first, len(heads)]))
    before = np.cumsum(length) - length
    begin = bin_begin + before - np.repeat(before[first], np.diff(np.r_[first, len(heads)]))
    return Bars(begin, begin + length, kind[heads], amount, count)


# ---- one walk ----------------------------------------------------------------------------------------------


def visits_of(walk: Walk) -> Iterator[Ints]:
    """The folds of a walk, some at a time; columns V_* of the kernel."""
    steps, at, step = walk.steps, np.zeros(tl.MOMENTS, dtype=np.int64), 0
    largest = int(steps.grids.prod(axis=1).max())
    while step < len(steps.classes):
        rows = np.empty((max(VISITS_AT_ONCE, largest), tl.VISIT_FIELDS), dtype=np.int64)
        step, filled = tl.walk_folds(
            steps.classes, steps.waits, steps.grids, steps.folds, steps.options, walk.events, step, at, rows
        )
        yield rows[:filled]


def count_bars(walk: Walk) -> int:
    """About how many bars the fullest lane of a walk has."""
    return int(walk.steps.grids.prod(axis=1)[walk.steps.classes].sum()) * walk.times


def fold_rows(walk: Walk, visits: Ints) -> Ints:
    """The rows of the fold table that visits are of."""
    return np.asarray(walk.steps.folds[walk.steps.classes[visits[:, tl.V_STEP]], visits[:, tl.V_SHAPE]])


def cycle_bars(walk: Walk, visits: Ints) -> Bars:
    """What the cycles up to each fold's last MAC were for; kinds count in `USES`.

    The kernel charges a fold's idle cycles to what it waited for first. Bubbles of the skew amid its MACs are drawn behind
    them.
    """
    table, first = fold_rows(walk, visits), visits[:, tl.V_FIRST_MAC]
    load_start = visits[:, tl.V_LOAD_END] - table[:, tl.F_LOAD]
    waits = (
        visits[:, tl.V_HELD], load_start, visits[:, tl.V_LOAD_END],
        visits[:, tl.V_MOVING], visits[:, tl.V_READY], visits[:, tl.V_ISSUE], first,
    )  # fmt: skip
    edges = [visits[:, tl.V_FROM]]
    for until in waits:
        edges.append(np.maximum(edges[-1], np.minimum(until, first)))
    useful = np.maximum(0, visits[:, tl.V_LAST_MAC] - edges[-1])
    hollow = np.minimum(table[:, tl.F_HOLLOW], useful)
    for length in (useful - hollow, hollow):
        edges.append(edges[-1] + length)
    kinds = (_MEMORY, _DRAIN, _WEIGHT_LOAD, _MEMORY, _DRAIN, _MEMORY, _FILL, _BUSY, _FILL)
    begin, end = np.stack(edges[:-1], axis=1).ravel(), np.stack(edges[1:], axis=1).ravel()
    return merged(bars(begin, end, np.tile(kinds, len(visits))))


def last_bars(walk: Walk, busy_end: int, done: int) -> Bars:
    """What the cycles behind the last MAC were for: results on their way out, then the last store."""
    return bars([busy_end, max(done, busy_end)], [done, walk.cycles], [_DRAIN, _MEMORY])


def merged(lane: Bars) -> Bars:
    """Bars that touch and are of one kind as one."""
    if not len(lane):
        return lane
    heads = np.flatnonzero(np.r_[True, (lane.begin[1:] != lane.end[:-1]) | (lane.kind[1:] != lane.kind[:-1])])
    ends = np.r_[heads[1:], len(lane.begin)] - 1
    amount = np.add.reduceat(lane.amount, heads)
    return Bars(lane.begin[heads], lane.end[ends], lane.kind[heads], amount, np.ones_like(heads))


def load_bars(walk: Walk, visits: Ints) -> Bars:
    """Stationary operands on their way into the array, a bar a fold."""
    end = visits[:, tl.V_LOAD_END]
    return bars(end - fold_rows(walk, visits)[:, tl.F_LOAD], end)


def step_bars(walk: Walk) -> Bars:
    """Tiles: from the first issue to the last."""
    return bars(walk.events[:, tl.E_ISSUE], walk.events[:, tl.E_ISSUE_END])


def transfer_bars(walk: Walk) -> dict[str, Bars]:
    """Transfers over the off-chip port by tensor: kinds `READ` and `WRITE`, amounts in bits."""
    steps, lanes = walk.steps, {}
    for column, tensor in ((tl.WEIGHT, "weight"), (tl.INPUT, "input"), (tl.PSUM, "partial_sum")):
        lanes[tensor] = _port_bars(walk, tl.E_WEIGHT_BEGIN + 2 * column, steps.loads[:, column], READ)
    stored = _port_bars(walk, tl.E_STORE_BEGIN, np.where(steps.partial, 0, steps.stores), WRITE)
    spilled = _port_bars(walk, tl.E_STORE_BEGIN, np.where(steps.partial, steps.stores, 0), WRITE)
    lanes["partial_sum"] = by_begin(joined([lanes["partial_sum"], spilled]))
    return {**lanes, "output": stored}


def by_begin(lane: Bars) -> Bars:
    """The bars in the order in which they begin."""
    return lane.picked(np.argsort(lane.begin, kind="stable"))


def _port_bars(walk: Walk, column: int, bits: Ints, kind: int) -> Bars:
    asked = (walk.events[:, column] != tl.NEVER) & (bits > 0)
    ticks = walk.steps.options[tl.O_TICKS]
    times = walk.events[asked, column : column + 2] / ticks
    return bars(times[:, 0], times[:, 1], kind, bits[asked])


# ---- buffers ------------------------------------------------------------------------------------------


class Changes(NamedTuple):
    """When what a level holds of a tensor grows or shrinks, and by how many bytes."""

    cycle: Floats
    size_bytes: Floats


def buffer_changes(walk: Walk, arch: Architecture) -> dict[tuple[str, str], Changes]:
    """Tiles that come and go, by level and tensor.

    A tile has its place from the begin of its transfer until its last step needs it no more, an output tile
    from its first step until it has left; tensors that are kept stay until the walk ends. What lives on chip
    is not in here.
    """
    found: dict[tuple[str, str], Changes] = {}
    tensors: tuple[Tensor, ...] = ("weight", "input", "output")
    for tensor in tensors:
        level = arch.holder(tensor)
        if level is None:
            continue
        begin, end, bits = _output_places(walk) if tensor == "output" else _operand_places(walk, tensor)
        if len(bits):
            size = bits / 8
            found[level.name, tensor] = Changes(np.concatenate([begin, end]), np.concatenate([size, -size]))
    return found


def _operand_places(walk: Walk, tensor: str) -> tuple[Floats, Floats, Ints]:
    column = (tl.WEIGHT, tl.INPUT)[tensor == "input"]
    bits = walk.steps.loads[:, column]
    starts = np.flatnonzero(bits >= 0)
    freed = walk.events[:, tl.E_WEIGHT_FREE + column]
    ends = freed[freed != tl.NEVER][-len(starts) :].astype(np.float64)
    if tensor in walk.steps.kept:
        ends[:] = walk.cycles
    moved = bits[starts] > 0
    begins = walk.events[starts[moved], tl.E_WEIGHT_BEGIN + 2 * column] / walk.steps.options[tl.O_TICKS]
    return begins, ends[moved], bits[starts][moved]


def _output_places(walk: Walk) -> tuple[Floats, Floats, Ints]:
    last = np.flatnonzero(walk.steps.stores >= 0)
    first = np.r_[0, last[:-1] + 1].astype(np.int64)
    bits = walk.steps.stores[last]
    moved = bits > 0
    ends = walk.events[last[moved], tl.E_STORE_END] / walk.steps.options[tl.O_TICKS]
    return walk.events[first[moved], tl.E_ISSUE].astype(np.float64), ends, bits[moved]


# ---- a layer ------------------------------------------------------------------------------------------


def is_whole(layer: LayerWalks, cycles: int) -> bool:
    """Whether the walks written down are all that the layer did: some layers are counted on from a part."""
    return sum(walk.cycles * walk.times for walk in layer.walks) == cycles
