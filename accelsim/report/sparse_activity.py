"""When everything on a sparse engine happened, as bars over the cycles of a layer: see `accelsim.report.activity`.

Bars of `use_bars` add up to the layer's busy cycles and stalls, those of `broadcast_bars` to its broadcasts and to the
fetch unit's own view (`port_cycles`), those of the PEs to the entries streamed and the slots spent on empty columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from accelsim.engines.kernels import sparse as kernels
from accelsim.engines.sparse_walk import COPYING, Moments, Pass, SparseWalk
from accelsim.report.activity import BUSY, USES, Bars, Changes, Floats, bars, by_begin, joined, merged

MOST_LANES = 64
BROADCASTS = ("broadcast", "held back: a queue is full", "scan finds nothing", "all is broadcast")
COPIES = ("activations in", "results out")
STREAMS = ("entries", "empty columns")
_CONTROL, _MEMORY = USES.index("control"), USES.index("memory")
_USE_OF = np.full(kernels.COUNT_FIELDS, _CONTROL)
_USE_OF[COPYING] = _CONTROL
_USE_OF[kernels.C_BUSY] = USES.index(BUSY)
for _cause in ("fill", "drain", "queue", "imbalance", "control"):
    _USE_OF[getattr(kernels, f"C_{_cause.upper()}")] = USES.index(_cause)


class Piece(NamedTuple):
    """Some of a layer: the bars of its lanes, and what the fullest queue holds."""

    uses: Bars
    broadcasts: Bars
    copies: Bars
    products: Bars
    pes: dict[str, Bars]
    queue: Changes


def pieces(walk: SparseWalk) -> Iterator[Piece]:
    """The products of a layer in their order, some at a time; times in cycles of the layer."""
    begin = 0
    for matrix in walk.matrices:
        worked = 0
        for one in matrix.passes:
            for moments in one.moments():
                yield _piece(one, moments, _Clock(begin, worked, matrix.waits))
            worked += one.total_cycles
        begin += matrix.cycles


class _Clock(NamedTuple):
    """Turns times of a pass into times of the layer: the matrix begins, so much has been worked, there are waits."""

    begin: int
    worked: int
    waits: list[tuple[int, int]]

    def delays(self, times: Floats) -> Floats:
        after = np.array([worked for worked, _ in self.waits], dtype=np.float64)
        waited = np.concatenate(([0], np.cumsum([cycles for _, cycles in self.waits])))
        return np.asarray(self.begin + self.worked + waited[np.searchsorted(after, times + self.worked, side="right")])

    def laid(self, lane: Bars) -> Bars:
        """No bar lasts beyond a wait: each is moved as its begin is."""
        delays = self.delays(lane.begin)
        return replace(lane, begin=lane.begin + delays, end=lane.end + delays)


def wait_bars(walk: SparseWalk) -> Bars:
    """Cycles in which weights are waited for, and those by which a port was too narrow."""
    begins, lengths, now = [], [], 0
    for matrix in walk.matrices:
        before = 0
        for worked, waited in matrix.waits:
            begins.append(now + worked + before)
            lengths.append(waited)
            before += waited
        now += matrix.cycles
    first, length = np.array([*begins, now]), np.array([*lengths, walk.short])
    return bars(first, first + length, _MEMORY)


def fetch_bars(walk: SparseWalk) -> Bars:
    """Matrices on their way from off chip; amounts in bits."""
    fetches = [fetch for matrix in walk.matrices for fetch in matrix.fetches]
    return bars([f.begin for f in fetches], [f.end for f in fetches], 0, [f.bits for f in fetches])


def count_bars(walk: SparseWalk) -> int:
    """About how many bars the fullest lane has that is no PE's."""
    return sum(one.broadcasts for one in _passes(walk)) * walk.times


def count_pe_bars(walk: SparseWalk) -> int:
    """At most how many bars the lanes of the PEs have together."""
    return sum(one.broadcasts * one.pes for one in _passes(walk)) * walk.times


def count_lanes(walk: SparseWalk) -> int:
    """Lanes that the PEs take."""
    return max((-(-one.pes // _group(one.pes)) for one in _passes(walk)), default=1)


def _passes(walk: SparseWalk) -> Iterator[Pass]:
    for matrix in walk.matrices:
        yield from matrix.passes


def _piece(one: Pass, moments: Moments, clock: _Clock) -> Piece:
    uses, broadcasts = merged(clock.laid(use_bars(one, moments))), merged(clock.laid(broadcast_bars(moments)))
    copies, products = clock.laid(copy_bars(one, moments)), clock.laid(product_bars(moments))
    pes = dict(zip(lane_names(one.pes), map(clock.laid, pe_bars(one, moments)), strict=True))
    changes = queue_changes(moments)
    return Piece(uses, broadcasts, copies, products, pes, changes._replace(cycle=changes.cycle + clock.delays(changes.cycle)))


def use_bars(one: Pass, moments: Moments) -> Bars:
    """What every cycle was for; kinds count in `activity.USES`. A bar ends where the next product's time begins."""
    changes = np.concatenate(([True], moments.uses[1:] != moments.uses[:-1]))
    changes[moments.products[:, 0] - one.copied_in - moments.begin] = True
    heads = np.flatnonzero(changes)
    ends = np.concatenate((heads[1:], [len(moments.uses)]))
    return bars(heads + moments.begin, ends + moments.begin, _USE_OF[moments.uses[heads]])


def broadcast_bars(moments: Moments) -> Bars:
    """What the fetch unit did; kinds count in `BROADCASTS`."""
    earliest, push = moments.broadcasts[:, kernels.B_EARLIEST], moments.broadcasts[:, kernels.B_PUSH]
    scans = bars(moments.previous, earliest - 1, 2)
    held, sent = bars(earliest - 1, push - 1, 1), bars(push - 1, push, 0)
    begin, last, end = moments.products.T
    silent = last == end  # nothing was broadcast: all its cycles are scans
    tails = bars(np.where(silent, begin, last), end, np.where(silent, 2, 3))
    return by_begin(joined([scans, held, sent, tails]))


def copy_bars(one: Pass, moments: Moments) -> Bars:
    """Register files that take activations in and give results out; kinds count in `COPIES`."""
    begin, _, end = moments.products.T
    both = [bars(begin - one.copied_in, begin, 0), bars(end, end + one.copied_out, 1)]
    return by_begin(joined(both))


def product_bars(moments: Moments) -> Bars:
    return bars(moments.products[:, 0], moments.products[:, 2])


# ---- PEs ------------------------------------------------------------------------------------------------


def lane_names(pes: int) -> list[str]:
    """A lane a PE; where there are more than `MOST_LANES`, one for several neighbours."""
    size = _group(pes)
    if size == 1:
        return [f"PE {pe}" for pe in range(pes)]
    return [f"PEs {first} to {min(first + size, pes) - 1}" for first in range(0, pes, size)]


def _group(pes: int) -> int:
    return -(-pes // MOST_LANES)


def pe_bars(one: Pass, moments: Moments) -> list[Bars]:
    """What each PE streams, a lane a PE or group: kinds count in `STREAMS`, amounts are entries.

    A group is drawn as long as any of its PEs has something to stream.
    """
    size = _group(one.pes)
    empty = int(one.options[kernels.O_EMPTY_SLOTS])
    begin, lengths = moments.pops.T, moments.lengths.T
    pe = np.repeat(np.arange(one.pes), begin.shape[1])
    amount, begin = lengths.ravel(), begin.ravel()
    kind = (amount == 0).astype(np.int64)
    found = bars(begin, begin + np.maximum(amount, empty), 2 * pe + kind, amount)
    found = merged(found) if size == 1 else _union(found, size)
    lane = found.kind // (2 if size == 1 else 1)
    edges = np.searchsorted(lane, np.arange(-(-one.pes // size) + 1))
    cut = [found.picked(np.arange(a, b)) for a, b in pairwise(edges.tolist())]
    return [replace(part, kind=part.kind % 2 if size == 1 else 0 * part.kind) for part in cut]


def _union(found: Bars, size: int) -> Bars:
    """Bars of ``size`` neighbouring PEs over each other; kinds are the groups, amounts stay."""
    group = found.kind // 2 // size
    order = np.lexsort((found.begin, group))
    found, group = found.picked(order), group[order]
    far = found.end.max(initial=0) + 1  # keeps the groups apart
    reach = np.maximum.accumulate(found.end + group * far) if len(found) else found.end
    heads = np.flatnonzero(np.concatenate(([True], (found.begin + group * far)[1:] > reach[:-1]))[: len(found)])
    ends = np.concatenate((heads[1:], [len(found)]))[: len(heads)] - 1
    amount = np.add.reduceat(found.amount, heads) if len(heads) else found.amount
    return bars(found.begin[heads], reach[ends] - group[heads] * far, group[heads], amount)


def queue_changes(moments: Moments) -> Changes:
    """Activations in the fullest queue: one more with each broadcast, one less when the last PE has taken it."""
    push, popped = moments.broadcasts[:, kernels.B_PUSH], moments.broadcasts[:, kernels.B_POPPED]
    one = np.ones(len(push))
    return Changes(np.concatenate([push, popped]).astype(np.float64), np.concatenate([one, -one]))
