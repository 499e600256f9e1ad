"""A nest on several levels of memory: its steps, and what each tensor moves over every hop between two of its levels.

The mapping has a tile and an order a stage. A *step* is a tile of the innermost stage; the steps come in the order of all
loops over tiles, those of the outermost stage outside. A *hop* takes a tensor from a level to the next one inwards that
holds it: tile after tile of the inner level's stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import Tensor
from accelsim.mapping.loopnest import Axis, Dims, LoopNest
from accelsim.mapping.machine import Ints
from accelsim.mapping.mapping import RELEVANT, Stage
from accelsim.schedule.build import numbered

REDUCTION = "CRS"
Numbers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Places:
    """Where the tile of every stage lies at every step: ``starts`` and ``sizes`` by dimension, for each stage int32[steps]."""

    steps: int
    starts: dict[str, list[Numbers]]
    sizes: dict[str, list[Numbers]]


def places(dims: Dims, stages: Sequence[Stage]) -> Places:
    """The steps of ``stages``, the outermost first; a ragged tile has fewer tiles within it."""
    counts = _counts(dims, stages)
    grid = np.indices([count for _, _, count in counts], dtype=np.int32, sparse=True)
    number = {(stage, dim): row for (stage, dim, _), row in zip(counts, grid, strict=True)}
    shape = tuple(count for _, _, count in counts)
    starts: dict[str, list[Numbers]] = {dim: [] for dim in Dims._fields}
    sizes: dict[str, list[Numbers]] = {dim: [] for dim in Dims._fields}
    there: npt.NDArray[np.bool_] = np.ones((1,) * len(shape), dtype=bool)
    for dim, size in zip(Dims._fields, dims, strict=True):
        start, end = np.zeros((), dtype=np.int32), np.full((), size, dtype=np.int32)
        for at, stage in enumerate(stages):
            step = np.int32(getattr(stage.tile, dim))
            start = start + number.get((at, dim), np.int32(0)) * step
            if np.any(start >= end):
                there = there & (start < end)
            end = np.minimum(end, start + step)
            starts[dim].append(start)
            sizes[dim].append(end - start)
    there = np.broadcast_to(there, shape).reshape(-1)
    steps = int(there.sum())

    def row(values: Numbers) -> Numbers:
        """One number a step; nothing is stored of what is the same at all of them."""
        if np.size(values) == 1:
            return np.broadcast_to(np.reshape(values, ()), (steps,))
        whole = np.broadcast_to(values, shape).reshape(-1)
        return whole if steps == len(whole) else whole[there]

    return Places(steps, {d: [row(a) for a in v] for d, v in starts.items()}, {d: [row(a) for a in v] for d, v in sizes.items()})


def _counts(dims: Dims, stages: Sequence[Stage]) -> list[tuple[int, str, int]]:
    """The loops that go round more than once, outermost first: stage, dimension, most times."""
    around, found = dims, []
    for at, stage in enumerate(stages):
        found += [
            (at, dim, -(-getattr(around, dim) // getattr(stage.tile, dim)))
            for dim in stage.order
            if getattr(around, dim) > getattr(stage.tile, dim)
        ]
        around = stage.tile
    return found or [(0, "N", 1)]


class Tiles(NamedTuple):
    """Tiles of a tensor at one stage in the order in which they are worked on; int64[tiles] each.

    ``first`` and ``last`` step of its work, its ``elements``. Of outputs: whether its sums are ``resumed``, the visit
    ``before`` that left them (-1: none), and whether they are ``whole`` behind its last step; of others nothing of that.
    """

    first: Ints
    last: Ints
    elements: Ints
    resumed: Ints
    before: Ints
    whole: Ints


def tiles_of(tensor: Tensor, nest: LoopNest, at: int, where: Places, window: str = "refetch") -> Tiles:
    """The tiles of ``tensor`` at stage ``at``. ``window``: what a tile shares with the one before it is fetched again or kept."""
    relevant = RELEVANT[tensor] | (frozenset("PQ") if tensor == "weight" and nest.private_weights else frozenset())
    changed = np.zeros(where.steps, dtype=bool)
    changed[0] = True
    for dim in relevant:
        row = where.starts[dim][at]
        changed[1:] |= row[1:] != row[:-1]
    first = np.flatnonzero(changed)
    last = np.append(first[1:], where.steps) - 1
    starts = {dim: where.starts[dim][at][first] for dim in Dims._fields}
    sizes = {dim: where.sizes[dim][at][first] for dim in Dims._fields}
    if tensor == "input":
        elements = _input_elements(nest, starts, sizes, window)
    else:
        elements = np.prod([sizes[dim] for dim in sorted(relevant)], axis=0)
    resumed, whole = np.zeros((2, len(first)), dtype=bool)
    before = np.full(len(first), -1, dtype=np.int64)
    if tensor == "output":
        begun = [where.starts[dim][-1][first] == 0 for dim in REDUCTION]
        ended = [where.starts[dim][-1][last] + where.sizes[dim][-1][last] == getattr(nest.dims, dim) for dim in REDUCTION]
        resumed, whole = ~np.all(begun, axis=0), np.all(ended, axis=0)
        before = _visits_before([starts[dim] for dim in sorted(relevant)])
    return Tiles(first, last, elements.astype(np.int64), resumed, before, whole)


def _visits_before(starts: Sequence[Numbers]) -> Ints:
    """For each tile the one before it that begins at the same ``starts``; -1 where there is none."""
    keys = row_numbers(starts)
    order = np.argsort(keys, kind="stable")
    again = keys[order][1:] == keys[order][:-1]
    before = np.full(len(keys), -1, dtype=np.int64)
    before[order[1:][again]] = order[:-1][again]
    return before


def _input_elements(nest: LoopNest, starts: dict[str, Numbers], sizes: dict[str, Numbers], window: str) -> Ints:
    """Distinct inputs under each tile; with ``keep`` those alone that are not under the tile before it."""
    rows = _Spans(nest.rows, starts["P"], sizes["P"], starts["R"], sizes["R"])
    columns = _Spans(nest.columns, starts["Q"], sizes["Q"], starts["S"], sizes["S"])
    planes = sizes["G"] * sizes["N"] * sizes["C"]
    whole = planes * rows.touched() * columns.touched()
    if window == "refetch":
        return np.asarray(whole)
    same = np.all([starts[dim][1:] == starts[dim][:-1] for dim in "GNC"], axis=0)
    shared = np.where(same, planes[1:] * rows.shared() * columns.shared(), 0)
    return np.asarray(whole - np.concatenate(([0], shared)))


class _Spans(NamedTuple):
    """Windows of tiles along one axis of an image."""

    axis: Axis
    outputs: Numbers
    output_sizes: Numbers
    taps: Numbers
    tap_sizes: Numbers

    def touched(self) -> Ints:
        """Input positions of the image under each."""
        return each_distinct(self[1:], self.axis.touched)

    def shared(self) -> Ints:
        """Input positions under each but the first that are under the one before as well."""
        before, own = (row[:-1] for row in self[1:]), (row[1:] for row in self[1:])
        return each_distinct((*before, *own), lambda *at: len(self._places(*at[:4]) & self._places(*at[4:])))

    def _places(self, output: int, outputs: int, tap: int, taps: int) -> set[int]:
        axis = self.axis
        all_of_them = (
            p * axis.stride + r * axis.dilation - axis.pad
            for p in range(output, output + outputs)
            for r in range(tap, tap + taps)
        )
        return {place for place in all_of_them if 0 <= place < axis.size}


def each_distinct(columns: Sequence[Numbers], function: Callable[..., int]) -> Ints:
    """``function`` of every row of ``columns``, called once for each distinct one."""
    keys = row_numbers(columns)
    first = first_of(keys)
    found = [function(*(int(column[at]) for column in columns)) for at in first]
    return np.array(found, dtype=np.int64)[keys]


def row_numbers(columns: Sequence[Numbers]) -> npt.NDArray[np.int32]:
    """Every row of ``columns`` (none negative) by its number among the distinct ones, from 0 on."""
    keys = np.zeros(len(columns[0]), dtype=np.int32)
    for column in columns if len(keys) else ():
        if column.strides != (0,):  # else it is the same everywhere
            _, keys = numbered(keys.astype(np.int64) * (int(column.max()) + 1) + column)
    return keys


def first_of(numbers: npt.NDArray[np.int32]) -> Ints:
    """Where each of the numbers from 0 on stands first."""
    first = np.empty(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    return first
