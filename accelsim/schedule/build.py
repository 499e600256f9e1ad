"""Builds the schedule of one nest: its tile operations in order, as arrays.

One row a *step*. A step computes one tile; before it come the loads of the tensors whose tile changed, behind it
the store of an output tile that is finished, or that must make room while its sums are still partial.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import Axis, Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Widths
from accelsim.mapping.mapping import RELEVANT, Mapping
from accelsim.units import ceil_div

MOST_STEPS = 5_000_000
MOST_TABLE = 1 << 20  # keys that are numbered by a table
NOTHING = -1  # no load, no store: the tile stays


class StepKind(NamedTuple):
    """What steps have in common that move the same between the unit and the levels on chip.

    ``tile``: their shape. Their sums start from partial sums (``resumes``) that are ``fetched`` again or were left in
    place; they end as outputs (``ends``), leave as partial sums (``spills``) or stay. ``inside``: blocks of input
    positions that lie in the image, at least in part.
    """

    tile: int
    resumes: bool
    fetched: bool
    ends: bool
    spills: bool
    inside: int


@dataclass(frozen=True)
class Schedule:
    """Tile operations of one nest. All bits are those that cross the off-chip port (0 for a resident tensor).

    ``tiles``   int64[classes, 8]  the distinct tile shapes
    ``classes`` int32[steps]       which of them a step computes
    ``loads``   int64[steps, 3]    bits of weights, inputs, partial sums fetched before it, -1 where the tile stays
    ``stores``  int64[steps]       bits of outputs or partial sums sent behind it, -1 where the tile stays
    ``partial`` bool[steps]        whether that store is of partial sums
    ``biases``  int64[steps]       bits of biases that a step reads, whose sums begin with it; not among ``loads``
    """

    nest: LoopNest
    mapping: Mapping
    tiles: Ints
    classes: npt.NDArray[np.int32]
    loads: Ints
    stores: Ints
    partial: npt.NDArray[np.bool_]
    biases: Ints

    @property
    def steps(self) -> int:
        return len(self.classes)

    def tile_places(self) -> Iterator[tuple[Dims, Dims]]:
        """Where each step's tile begins in every loop, and its sizes."""
        return tile_places(self.nest.dims, self.mapping)

    def slots(self, tensor: str, level_slots: int) -> int:
        """Places that tiles of ``tensor`` are fetched to: the level's, or one a tile for a tensor that is kept."""
        if tensor not in self.mapping.keep:
            return level_slots
        return max(1, int((self.loads[:, ("weight", "input").index(tensor)] != NOTHING).sum()))

    def class_counts(self) -> Ints:
        """How many steps there are of each tile shape."""
        return np.bincount(self.classes, minlength=len(self.tiles)).astype(np.int64)

    def kinds(self, block: tuple[int, int, int, int] = (1, 1, 1, 1)) -> tuple[list[StepKind], npt.NDArray[np.int32]]:
        """The kinds of step that there are, and each step's.

        ``block``: output rows, columns, filter rows and columns whose operands are read at once; a block of padding alone
        is not read.
        """
        fetched, leaves = self.loads[:, 2] != NOTHING, self.stores != NOTHING
        resumes = fetched | np.concatenate(([False], ~leaves[:-1]))
        flags = (resumes, fetched, leaves & ~self.partial, leaves & self.partial)
        places, inside = self._blocks_inside(block)
        keys = self.classes.astype(np.int64) * len(inside) + places
        for flag in flags:
            keys = 2 * keys + flag
        present, numbers = numbered(keys)
        kinds = []
        for key in present.tolist():
            tile, place = divmod(key >> len(flags), len(inside))
            resumed, again, ends, spills = (bool(key >> bit & 1) for bit in (3, 2, 1, 0))
            kinds.append(StepKind(tile, resumed, again, ends, spills, int(inside[place])))
        return kinds, numbers

    def _blocks_inside(self, block: tuple[int, int, int, int]) -> tuple[npt.NDArray[np.integer[Any]] | int, Ints]:
        """For each step the number of its place in the image, and for each such number the blocks inside it there."""
        d, tile = self.nest.dims, self.mapping.tile
        down, right = (d.P, tile.P, block[0], d.R, tile.R, block[2]), (d.Q, tile.Q, block[1], d.S, tile.S, block[3])
        rows, columns = _inside(self.nest.rows, *down), _inside(self.nest.columns, *right)
        if rows.size == columns.size == 1:
            return 0, rows.ravel() * columns.ravel()
        index = _indices(self.mapping.counts(d), self.mapping)
        known_rows, row_numbers = np.unique(rows, return_inverse=True)
        known_columns, column_numbers = np.unique(columns, return_inverse=True)
        row = row_numbers.reshape(rows.shape)[index["P"], index["R"]]
        column = column_numbers.reshape(columns.shape)[index["Q"], index["S"]]
        return row * len(known_columns) + column, np.multiply.outer(known_rows, known_columns).ravel()


def require_few_steps(layer: str, nest: LoopNest, mapping: Mapping) -> None:
    """Raise `InfeasibleError` for a mapping that cuts a nest, over all its stages, into more than `MOST_STEPS` tiles."""
    steps, around = 1, nest.dims
    for stage in mapping.stages:
        steps *= prod(ceil_div(size, tile) for size, tile in zip(around, stage.tile, strict=True))
        around = stage.tile
    if steps > MOST_STEPS:
        raise InfeasibleError(
            f"layer {layer}: its schedule",
            demand=f"{steps} tiles of {mapping.tile._asdict()}",
            bound=f"{MOST_STEPS} at most",
            levers=("a larger tile", "larger memory levels"),
        )


def build_schedule(layer: str, nest: LoopNest, mapping: Mapping, widths: Widths, placement: Placement) -> Schedule:
    """Expand ``mapping`` into steps; see `Schedule`."""
    require_few_steps(layer, nest, mapping)
    counts = mapping.counts(nest.dims)
    steps = prod(counts)
    index = _indices(counts, mapping)
    sizes = {dim: _step_sizes(nest.dims, mapping.tile, dim, index[dim]) for dim in Dims._fields}
    loads = np.stack(
        [
            _weight_loads(nest, mapping, sizes, index, widths, placement),
            _input_loads(nest, mapping, sizes, index, widths, placement),
            np.full(steps, NOTHING, dtype=np.int64),
        ],
        axis=1,
    )
    stores, partial, reloads = _output_moves(sizes, index, counts, widths, placement)
    loads[:, 2] = reloads
    tiles, classes = _classes(nest.dims, mapping, index)
    return Schedule(nest, mapping, tiles, classes, loads, stores, partial, _biases(nest, sizes, index, widths))


def _indices(counts: Dims, mapping: Mapping) -> dict[str, npt.NDArray[np.int32]]:
    """For every step, the tile's number along each dimension; loops in the mapping's order."""
    shape = [getattr(counts, dim) for dim in mapping.order]
    grid = np.indices(shape, dtype=np.int32).reshape(len(shape), -1)
    return dict(zip(mapping.order, grid, strict=True))


def _sizes(dims: Dims, tile: Dims, dim: str) -> Ints:
    """Sizes of the tiles along ``dim``: all alike but the last."""
    size, step = getattr(dims, dim), getattr(tile, dim)
    starts = np.arange(0, size, step, dtype=np.int64)
    return np.asarray(np.minimum(starts + step, size) - starts)


def tile_places(dims: Dims, mapping: Mapping) -> Iterator[tuple[Dims, Dims]]:
    """Where each tile of ``mapping`` begins in every loop, and its sizes, in the mapping's order."""
    starts = [range(0, getattr(dims, dim), getattr(mapping.tile, dim)) for dim in mapping.order]
    for place in product(*starts):
        at = Dims(**dict(zip(mapping.order, place, strict=True)))
        yield at, Dims(*(min(step, size - start) for start, step, size in zip(at, mapping.tile, dims, strict=True)))


def _step_sizes(dims: Dims, tile: Dims, dim: str, index: npt.NDArray[np.int32]) -> Ints:
    """The size along ``dim`` of every step's tile; a single number, int64[], where all are alike."""
    table = _sizes(dims, tile, dim)
    return np.asarray(table[0]) if table[0] == table[-1] else table[index]


def _product(sizes: dict[str, Ints], dims: Iterable[str]) -> Ints:
    """Elements of each step's tile over ``dims``."""
    return np.asarray(reduce(np.multiply, (sizes[dim] for dim in dims)))


def _changes(index: dict[str, npt.NDArray[np.int32]], dims: frozenset[str]) -> npt.NDArray[np.bool_]:
    """Steps at which the tile over ``dims`` is not the one before."""
    steps = len(next(iter(index.values())))
    changed = np.zeros(steps, dtype=bool)
    changed[0] = True
    for dim in dims:
        changed[1:] |= index[dim][1:] != index[dim][:-1]
    return changed


def _fetches(
    index: dict[str, npt.NDArray[np.int32]], dims: frozenset[str], keep: bool, counts: Dims
) -> npt.NDArray[np.bool_]:
    """Steps before which a tile is fetched: when it changes or, for a tensor that is kept, when it is first needed."""
    if not keep:
        return _changes(index, dims)
    number = np.zeros(len(next(iter(index.values()))), dtype=np.int64)
    for dim in sorted(dims):
        number = number * getattr(counts, dim) + index[dim]
    first = np.zeros(len(number), dtype=bool)
    first[np.unique(number, return_index=True)[1]] = True
    return first


def _weight_loads(
    nest: LoopNest, mapping: Mapping, sizes: dict[str, Ints], index: dict[str, npt.NDArray[np.int32]], widths: Widths,
    placement: Placement,
) -> Ints:  # fmt: skip
    dims = RELEVANT["weight"] | (frozenset("PQ") if nest.private_weights else frozenset())
    elements = _product(sizes, sorted(dims))
    bits = 0 if placement.weight_resident else widths.weight
    return np.where(_fetches(index, dims, "weight" in mapping.keep, mapping.counts(nest.dims)), elements * bits, NOTHING)


def _biases(nest: LoopNest, sizes: dict[str, Ints], index: dict[str, npt.NDArray[np.int32]], widths: Widths) -> Ints:
    first = (index["C"] == 0) & (index["R"] == 0) & (index["S"] == 0)
    bits = _product(sizes, "GKPQ" if nest.private_weights else "GK") * widths.partial_sum
    return np.where(first & nest.biased, bits, 0)


def _input_loads(
    nest: LoopNest, mapping: Mapping, sizes: dict[str, Ints], index: dict[str, npt.NDArray[np.int32]], widths: Widths,
    placement: Placement,
) -> Ints:  # fmt: skip
    dims, tile, keep = nest.dims, mapping.tile, "input" in mapping.keep
    images = sizes["G"] * sizes["N"] * sizes["C"]
    if keep:  # what the tiles before have fetched of a window's rows and columns is still there
        rows = _new_positions(nest.rows, dims.P, tile.P, dims.R)[index["P"]]
        columns = _new_positions(nest.columns, dims.Q, tile.Q, dims.S)[index["Q"]]
    else:
        rows = _touched_table(nest.rows, dims.P, tile.P, dims.R, tile.R)[index["P"], index["R"]]
        columns = _touched_table(nest.columns, dims.Q, tile.Q, dims.S, tile.S)[index["Q"], index["S"]]
    share = placement.input_off_chip
    bits = -(-images * rows * columns * widths.input * share.numerator // share.denominator)
    relevant = RELEVANT["input"] - frozenset("RS") if keep else RELEVANT["input"]
    return np.where(_fetches(index, relevant, keep, mapping.counts(dims)), bits, NOTHING)


@lru_cache(maxsize=4096)
def _inside(axis: Axis, outputs: int, tile: int, step: int, taps: int, tap_tile: int, tap_step: int) -> Ints:
    """Blocks of ``step`` outputs and ``tap_step`` taps that touch the image, under each (output tile, tap tile) of one axis."""
    places = np.add.outer(np.arange(outputs) * axis.stride, np.arange(taps) * axis.dilation) - axis.pad
    there = ((places >= 0) & (places < axis.size)).astype(np.int64)
    cuts = [
        [list(range(first, min(first + whole, size), part)) for first in range(0, size, whole)]
        for size, whole, part in ((outputs, tile, step), (taps, tap_tile, tap_step))
    ]
    for along, cut in enumerate(cuts):  # blocks that touch the image
        there = np.minimum(np.add.reduceat(there, [start for starts in cut for start in starts], axis=along), 1)
    for along, cut in enumerate(cuts):  # as many as there are in each tile
        there = np.add.reduceat(there, np.cumsum([0, *(len(starts) for starts in cut[:-1])]), axis=along)
    return there


def _new_positions(axis: Axis, outputs: int, tile: int, taps: int) -> Ints:
    """Input positions of one axis that each tile of outputs is the first to touch."""
    ends = [min(start + tile, outputs) for start in range(0, outputs, tile)]
    return np.diff([0, *(axis.touched(0, end, 0, taps) for end in ends)]).astype(np.int64)


def _touched_table(axis: Axis, outputs: int, tile: int, taps: int, tap_tile: int) -> Ints:
    """Input positions under each (output tile, tap tile) of one axis."""
    out_starts, tap_starts = range(0, outputs, tile), range(0, taps, tap_tile)
    table = [
        axis.touched(p, min(tile, outputs - p), r, min(tap_tile, taps - r))
        for p, r in product(out_starts, tap_starts)
    ]
    return np.array(table, dtype=np.int64).reshape(len(out_starts), len(tap_starts))


def _output_moves(
    sizes: dict[str, Ints], index: dict[str, npt.NDArray[np.int32]], counts: Dims, widths: Widths, placement: Placement
) -> tuple[Ints, npt.NDArray[np.bool_], Ints]:
    """Stores behind, whether they are partial, and partial sums fetched before each step."""
    arrives = _changes(index, RELEVANT["output"])
    leaves = np.append(arrives[1:], True)
    reduction = index["C"] * counts.R * counts.S + index["R"] * counts.S + index["S"]
    last_reduction = counts.C * counts.R * counts.S - 1
    outputs = _product(sizes, "GNKPQ")
    partial = leaves & (reduction != last_reduction)  # loops run one way: the last tile of the sum ends it
    final_bits = 0 if placement.output_resident else widths.output
    stores = np.where(leaves, outputs * np.where(partial, widths.partial_sum, final_bits), NOTHING)
    resumes = arrives & (reduction > 0)
    reloads = np.where(resumes, outputs * widths.partial_sum, NOTHING)
    return stores, partial, reloads


def _classes(
    dims: Dims, mapping: Mapping, index: dict[str, npt.NDArray[np.int32]]
) -> tuple[Ints, npt.NDArray[np.int32]]:
    """The distinct tile shapes: along each dimension a tile is the common one or the last one."""
    code = np.zeros(len(index["N"]), dtype=np.int32)
    counts = mapping.counts(dims)
    for bit, dim in enumerate(Dims._fields):
        code |= (index[dim] == getattr(counts, dim) - 1).astype(np.int32) << bit
    present, classes = numbered(code)
    tiles = [_tile_of(int(value), dims, mapping.tile, counts) for value in present]
    return np.array(tiles, dtype=np.int64), classes


def numbered(keys: npt.NDArray[np.integer[Any]]) -> tuple[Ints, npt.NDArray[np.int32]]:
    """The distinct ``keys`` (none negative) in rising order, and for each key its number among them, int32.

    As `numpy.unique` with the inverse, which sorts: keys of a small range are looked up in a table instead.
    """
    limit = int(keys.max()) + 1
    if limit > MOST_TABLE:
        present, places = np.unique(keys, return_inverse=True)
        return present.astype(np.int64), places.astype(np.int32).reshape(-1)
    there = np.bincount(keys, minlength=limit) > 0
    numbers = np.cumsum(there, dtype=np.int32) - 1
    return np.flatnonzero(there).astype(np.int64), numbers[keys]


def _tile_of(code: int, dims: Dims, tile: Dims, counts: Dims) -> Dims:
    """The tile whose last-of-its-dimension bits are ``code``."""
    sizes = []
    for bit, (size, step, count) in enumerate(zip(dims, tile, counts, strict=True)):
        sizes.append(size - step * (count - 1) if code >> bit & 1 else step)
    return Dims(*sizes)
