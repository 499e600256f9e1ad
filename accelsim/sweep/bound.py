"""What a tiling cannot do faster than: a lower bound on its cycles, for thousands of tilings at once.

Two things bound a run from below, whatever else happens in it:

* *compute*: the engine takes its folds one after the other; each holds back the next by a time that is known from
  stepping that shape of fold alone. Before the first the first tiles must have crossed the off-chip port, after the
  last the last output tile has yet to.
* *bandwidth*: every bit of the schedule crosses the off-chip port. How many there are is known exactly from the
  loops: a tensor is fetched once for every turn of the loops around the innermost one that touches it.

The larger of the two never exceeds the simulated cycles (tests/sweep/test_tilings.py), so a tiling whose bound lies
above the best cycles so far cannot win. Unlike the mapper's estimate nothing is rounded up: a ragged last tile counts
as what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture, Tensor
from accelsim.mapping.loopnest import Axis, Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Widths, off_chip_bits_per_cycle
from accelsim.mapping.mapping import RELEVANT, Order
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

Bits = TypeVar("Bits", int, Ints)
_COLUMN = {dim: i for i, dim in enumerate(Dims._fields)}
_N, _K, _C, _P, _Q, _R, _S, _G = range(8)
_SAFE = 1 << 62


@runtime_checkable
class BoundedUnit(Protocol):
    """A compute unit that says itself how fast it could be."""

    def least_cycles(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        """Cycles from the first issue that the whole nest cut into each of ``tiles`` takes at least; int64[tiles]."""


@dataclass(frozen=True)
class Work:
    """One layer on one architecture, as far as a bound needs it."""

    nest: LoopNest
    arch: Architecture
    unit: object
    precision: Precision
    dataflow: str
    placement: Placement
    keepable: tuple[Tensor, ...] = ()  # tensors that a mapping may keep whole
    parts: int = 1  # of the batch, each a nest such as this
    chosen: Dims | None = None  # the tile that the automatic mapping takes

    def fetched_weights(self, tiles: Ints) -> Ints:
        """Weights that are fetched for one tile: some arrays fetch a ragged one whole."""
        unit: Any = self.unit
        return np.asarray(unit.weight_elements(self.nest, tiles, self.dataflow, self.precision))

    def weight_bits(self, tiles: Ints) -> Ints:
        """Bits of all weights as they are fetched, at least: what lies in tiles of the common shape, or all as they are."""
        counts = np.array(self.nest.dims, dtype=np.int64) // tiles
        common = counts[:, [_G, _K, _C, _R, _S]].prod(axis=1)
        if self.nest.private_weights:
            common *= counts[:, [_P, _Q]].prod(axis=1)
        fetched = np.maximum(common * self.fetched_weights(tiles), self.nest.weight_elements)
        return self.stored(fetched * Widths.of(self.precision).weight)

    def stored(self, weight_bits: Bits) -> Bits:
        """What weights of so many bits take where they come from, at least."""
        from accelsim.engines.systolic import SystolicArray

        if not isinstance(self.unit, SystolicArray):
            return weight_bits
        return self.unit.stored_bits(weight_bits, Widths.of(self.precision))


# ---- compute ------------------------------------------------------------------------------------------------------


def least_compute_cycles(work: Work, tiles: Ints) -> Ints:
    """Cycles from the first issue to the last output that each tiling takes at least; int64[tiles]."""
    from accelsim.engines.systolic import SystolicArray

    if isinstance(work.unit, BoundedUnit):
        return work.unit.least_cycles(work.nest, tiles, work.dataflow, work.precision)
    if isinstance(work.unit, SystolicArray):
        return _Folds(work, work.unit).least_cycles(tiles)
    peak = work.unit.macs_per_cycle(work.precision)  # type: ignore[attr-defined]
    least = np.full(len(tiles), ceil_div(work.nest.dims.macs * peak.denominator, peak.numerator), dtype=np.int64)
    return np.maximum(least, _rows(work, tiles))


def _rows(work: Work, tiles: Ints) -> Ints:
    """Rows of operands that an NFU takes in, one a cycle at best; nothing for other engines."""
    from accelsim.engines.nfu import Nfu

    rows = np.ones(len(tiles), dtype=np.int64)
    if not isinstance(work.unit, Nfu) or work.nest.private_weights:
        return rows
    for column, dim in enumerate(Dims._fields):
        sizes, back = np.unique(tiles[:, column], return_inverse=True)
        counts = [
            _rows_along(work, dim, int(size)) for size in sizes
        ]
        rows *= np.array(counts, dtype=np.int64)[back.ravel()]
    return rows


def _rows_along(work: Work, dim: str, tile: int) -> int:
    """Steps of an NFU along one dimension, over all tiles along it."""
    unit: Any = work.unit
    total = 0
    for piece, count in _pieces(getattr(work.nest.dims, dim), tile).items():
        rows = unit.tile_rows(Dims(**{dim: piece}), work.precision, work.nest)
        total += rows.passes * rows.chunks * count
    return total


Chunks = dict[int, int]  # size -> how many there are


@dataclass(frozen=True)
class _Hold:
    """How long one shape of fold holds back the next one's issue, and when its own outputs are done."""

    cycles: int
    end: int
    load: int


class _Folds:
    """Sums over all folds of a systolic array, axis by axis: chunks of pixels, of channels, of the reduction."""

    def __init__(self, work: Work, unit: object) -> None:
        from accelsim.engines.systolic import SystolicArray

        assert isinstance(unit, SystolicArray)
        self.work, self.unit, spec = work, unit, unit.spec
        self.waits_for_end = spec.overlap == "none"
        self.reloads = work.dataflow != "os" and spec.weight_buffers == 1
        self.units = unit.units(work.dataflow, work.precision)
        self.hold = lru_cache(maxsize=None)(self._hold)

    def least_cycles(self, tiles: Ints) -> Ints:
        """One sum for each different (pixels, channels, reduction) of ``tiles``."""
        nest = self.work.nest
        free = (_P, _Q) if nest.private_weights else ()
        pixels, pixel_ids = _distinct(tiles[:, [_N] if free else [_N, _P, _Q]])
        channels, channel_ids = _distinct(tiles[:, [_K]])
        reductions, reduction_ids = _distinct(tiles[:, [_C, _R, _S]])
        chunks = [
            [self._chunks(row, [d.N] if free else [d.N, d.P, d.Q], 0) for row in pixels] if (d := nest.dims) else [],
            [self._chunks(row, [d.K], 1) for row in channels],
            [self._chunks(row, [d.C, d.R, d.S], 2) for row in reductions],
        ]
        ids = np.stack([pixel_ids, channel_ids, reduction_ids], axis=1)
        different, back = np.unique(ids, axis=0, return_inverse=True)
        groups = d.G * (d.P * d.Q if free else 1)
        sums = [self._sum(chunks[0][a], chunks[1][b], chunks[2][c], groups) for a, b, c in different]
        return np.array(sums, dtype=np.int64)[back.ravel()]

    def _chunks(self, tile: npt.NDArray[np.int64], sizes: Sequence[int], axis: int) -> Chunks:
        """What is left of the tiles along one axis of the product when the array has cut them: sizes and counts."""
        found: Chunks = {}
        free = {"os": 2, "ws": 0, "is": 1}[self.work.dataflow] == axis  # streamed, not cut
        pieces = [_pieces(size, int(t)) for size, t in zip(sizes, tile, strict=True)]
        for combination in product(*(p.items() for p in pieces)):
            length, count = prod(size for size, _ in combination), prod(n for _, n in combination)
            for chunk, times in {length: 1}.items() if free else _pieces(length, self.units[axis]).items():
                found[chunk] = found.get(chunk, 0) + times * count
        return found

    def _sum(self, pixels: Chunks, channels: Chunks, reductions: Chunks, groups: int) -> int:
        total, after, loads = 0, 0, []
        for (m, a), (n, b), (k, c) in product(pixels.items(), channels.items(), reductions.items()):
            hold = self.hold(m, n, k)
            total += (hold.cycles + (hold.load if self.reloads else 0)) * a * b * c
            after = max(after, hold.cycles - hold.end)
            loads.append(hold.load)
        # the last fold holds back nobody, but ends; the first one's shift-in may lie before the first issue
        return max(0, total * groups - max(0, after) - (max(loads) if self.reloads else 0))

    def _hold(self, pixels: int, channels: int, reduction: int) -> _Hold:
        from accelsim.engines.kernels import systolic as kernels

        dataflow = self.work.dataflow
        grid = self.unit.fold_grid(Dims(N=pixels, K=channels, C=reduction), dataflow, self.work.precision)
        record = self.unit.fold_record(grid.shapes[-1], dataflow)
        load = int(record[kernels.LOAD_CYCLES])
        end, last = int(record[kernels.END_CYCLES]) - load, int(record[kernels.LAST_MAC_CYCLE]) - load + 1
        least = max(int(record[kernels.STREAM_CYCLES]), int(record[kernels.DRAIN_CYCLES]))
        if self.waits_for_end:
            least = max(least, end)
        elif self.reloads:
            least = max(least, last)
        return _Hold(least, end, load)


def _distinct(columns: Ints) -> tuple[Ints, npt.NDArray[np.intp]]:
    rows, back = np.unique(columns, axis=0, return_inverse=True)
    return rows, back.ravel()


def _pieces(size: int, step: int) -> Chunks:
    """``size`` cut by ``step``: the common piece and the last one, with their counts."""
    whole, rest = divmod(size, step)
    found = {step: whole} if whole else {}
    return {**found, rest: 1} if rest else found


# ---- bandwidth ----------------------------------------------------------------------------------------------------


def off_chip_bits(work: Work, tiles: Ints, order: Order, keep: frozenset[str]) -> Ints:
    """Bits that cross the off-chip port under each tiling, at least (exactly where every tensor has a level)."""
    nest, place, widths = work.nest, work.placement, Widths.of(work.precision)
    counts = -(-np.array(nest.dims, dtype=np.int64) // tiles)
    bits = np.zeros(len(tiles), dtype=np.int64)
    if not place.weight_resident:
        dims = RELEVANT["weight"] | (frozenset("PQ") if nest.private_weights else frozenset())
        turns = 1 if "weight" in keep else _turns(counts, order, dims)
        biases = nest.weight_elements // nest.dims.reduction * widths.partial_sum if nest.biased else 0
        bits += (work.weight_bits(tiles) + biases) * turns
    if "input" in keep:
        inputs = np.full(len(tiles), nest.input_elements(nest.dims), dtype=np.int64)
    else:
        inputs = _input_elements(nest, tiles) * _turns(counts, order, RELEVANT["input"])
    share = place.input_off_chip
    bits += inputs * widths.input * share.numerator // share.denominator
    visits = _turns(counts, order, RELEVANT["output"])
    final = 0 if place.output_resident else widths.output
    return bits + nest.dims.outputs * (final + 2 * (visits - 1) * widths.partial_sum)


def _turns(counts: Ints, order: Order, relevant: frozenset[str]) -> Ints:
    """How often the whole of a tensor is fetched: the turns of the loops around the innermost one that touches it."""
    turns = np.ones(len(counts), dtype=np.int64)
    touched = np.zeros(len(counts), dtype=bool)
    for dim in reversed(order):
        count = counts[:, _COLUMN[dim]]
        if dim in relevant:
            touched |= count > 1
        else:
            turns *= np.where(touched, count, 1)
    return turns


def _input_elements(nest: LoopNest, tiles: Ints) -> Ints:
    """Input elements that one pass over all tiles reads; where windows overlap, once for each tile."""
    rows = _touched(nest.rows, nest.dims.P, nest.dims.R, tiles[:, [_P, _R]])
    columns = _touched(nest.columns, nest.dims.Q, nest.dims.S, tiles[:, [_Q, _S]])
    return np.asarray(nest.dims.G * nest.dims.N * nest.dims.C * rows * columns)


def _touched(axis: Axis, outputs: int, taps: int, tiles: Ints) -> Ints:
    different, back = _distinct(tiles)
    sums = [_touched_by(axis, outputs, taps, int(p), int(r)) for p, r in different]
    return np.asarray(np.array(sums, dtype=np.int64)[back])


@lru_cache(maxsize=65536)
def _touched_by(axis: Axis, outputs: int, taps: int, tile: int, tap_tile: int) -> int:
    """Positions of one image axis that all tiles along it read together."""
    places = product(range(0, outputs, tile), range(0, taps, tap_tile))
    return sum(axis.touched(p, min(tile, outputs - p), r, min(tap_tile, taps - r)) for p, r in places)


# ---- both ---------------------------------------------------------------------------------------------------------


def least_cycles(work: Work, tiles: Ints, compute: Ints, bits: Ints) -> Ints:
    """The bound: the larger of compute (with what nothing hides) and bandwidth; int64[tiles]."""
    latency = work.arch.off_chip.latency.in_cycles(work.arch.clock)
    first = first_bits(work, tiles)
    head = _cycles(work.arch, first) + np.where(first > 0, latency, 0)
    tail = _cycles(work.arch, _last_bits(work, tiles))
    return np.asarray(np.maximum(head + compute + tail, _cycles(work.arch, bits)))


def first_bits(work: Work, tiles: Ints) -> Ints:
    """Bits that must have arrived before the first issue: the first tiles."""
    nest, place, widths = work.nest, work.placement, Widths.of(work.precision)
    bits = np.zeros(len(tiles), dtype=np.int64)
    if not place.weight_resident:
        bits += work.stored(work.fetched_weights(tiles) * widths.weight)
    rows, columns = (
        _first_touched(nest.rows, tiles[:, [_P, _R]]),
        _first_touched(nest.columns, tiles[:, [_Q, _S]]),
    )
    inputs = tiles[:, [_G, _N, _C]].prod(axis=1) * rows * columns * widths.input
    share = place.input_off_chip
    return np.asarray(bits + inputs * share.numerator // share.denominator)


def _first_touched(axis: Axis, tiles: Ints) -> Ints:
    different, back = _distinct(tiles)
    sums = [axis.touched(0, int(p), 0, int(r)) for p, r in different]
    return np.asarray(np.array(sums, dtype=np.int64)[back])


def _last_bits(work: Work, tiles: Ints) -> Ints:
    """Bits of the last output tile, which leaves when all is computed."""
    if work.placement.output_resident:
        return np.zeros(len(tiles), dtype=np.int64)
    sizes = np.array(work.nest.dims, dtype=np.int64)
    last = sizes - tiles * (-(-sizes // tiles) - 1)
    return np.asarray(last[:, [_G, _N, _K, _P, _Q]].prod(axis=1) * Widths.of(work.precision).output)


def _cycles(arch: Architecture, bits: Ints) -> Ints:
    """Cycles that ``bits`` take through the off-chip port at least."""
    rate = off_chip_bits_per_cycle(arch)
    if rate is None:
        return np.zeros_like(bits)
    if int(bits.max(initial=0)) * rate.denominator < _SAFE:
        return np.asarray(-(-bits * rate.denominator // rate.numerator))
    return np.floor(bits / float(rate) * (1 - 1e-9)).astype(np.int64)
