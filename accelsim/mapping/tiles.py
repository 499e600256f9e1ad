"""Sizes of tiles worth looking at: a coarse set for a whole layer, and the neighbours of a good one.

Along every loop a tile is a share of the layer: so many pieces, as equal as can be, as they are or rounded up to whole
units of the array; or a few units, or a part of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations, product
from math import prod

import numpy as np

from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Machine
from accelsim.mapping.mapping import LayerMapping
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

COLUMN = {dim: i for i, dim in enumerate(Dims._fields)}
_COARSE = (1, 2, 3, 4, 5, 6, 8, 11, 16, 24, 36, 54, 81, 128, 256, 512, 1024, 2048, 4096)
_FINE = tuple(sorted({*range(1, 33), *(round(32 * 1.15**i) for i in range(1, 48))}))
_UNITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def candidate_tiles(nest: LoopNest, machine: Machine, dataflow: str, precision: Precision, fixed: LayerMapping) -> Ints:
    """Tiles worth costing, int64[candidates, 8]: coarse shares of the layer, aligned to the array where it has an axis."""
    d = nest.dims
    pixel_unit, channel_unit, reduction_unit = machine.units(dataflow, precision)
    pixels = _pixel_tiles(d, pixel_unit, machine.accumulator_pixels(dataflow))
    groups = sorted({d.G, 1, *_halvings(d.G)})
    rows = [
        (n, k, c, p, q, r, s, g)
        for (n, p, q), k, (c, r, s), g in product(
            pixels, _shares(d.K, channel_unit), _reduction_tiles(d, reduction_unit), groups
        )
        if g == d.G or g == 1 or (n, p, q, k, c) == (d.N, d.P, d.Q, d.K, d.C)
    ]
    return with_fixed(np.array(rows, dtype=np.int64), nest.dims, fixed)


def with_fixed(tiles: Ints, dims: Dims, fixed: LayerMapping) -> Ints:
    """The distinct ``tiles`` with the sizes that a user fixed."""
    if not fixed.tile.given():
        return tiles
    for dim, size in fixed.tile.given().items():
        tiles[:, COLUMN[dim]] = min(size, getattr(dims, dim))
    return np.unique(tiles, axis=0)


def _halvings(size: int) -> list[int]:
    """size/2, size/4 ... 1, rounded up."""
    values = []
    while size > 1:
        size = ceil_div(size, 2)
        values.append(size)
    return values


@lru_cache(maxsize=4096)
def _shares(size: int, unit: int, fine: bool = False) -> tuple[int, ...]:
    """Tiles that cut ``size`` into 1, 2, 3 ... pieces, thinning out towards small ones, and into whole units."""
    shares = [ceil_div(size, pieces) for pieces in (_FINE if fine else _COARSE) if pieces <= size]
    aligned = [ceil_div(share, unit) * unit for share in shares if share > unit]
    units = [unit * count for count in (_UNITS if fine else (1, 2, 4, 8))]
    parts = [ceil_div(unit, pieces) for pieces in (2, 4)]
    exact = shares if fine or unit == 1 else shares[:5]
    return tuple(sorted({1, size, *(tile for tile in (*exact, *aligned, *units, *parts) if tile <= size)}))


def _pixel_tiles(d: Dims, unit: int, limit: int | None) -> list[tuple[int, int, int]]:
    """(N, P, Q): whole images first, then rows of one image, then parts of a row, and blocks of both."""
    image = d.P * d.Q
    tiles = {(n, d.P, d.Q) for n in _shares(d.N, max(1, ceil_div(unit, image)))}
    tiles |= {(1, p, d.Q) for p in _shares(d.P, max(1, unit // d.Q))}
    tiles |= {(1, 1, q) for q in _shares(d.Q, unit)}
    tiles |= {(n, p, d.Q) for n in {1, d.N} for p in _shares(d.P, max(1, unit // d.Q))[-6:]}
    tiles |= {(n, d.P, q) for n in {1, d.N} for q in _shares(d.Q, 1)[-6:]}
    tiles |= {(1, ceil_div(d.P, cut), ceil_div(d.Q, cut)) for cut in (2, 3, 4, 6) if cut < min(d.P, d.Q)}
    if limit is not None:
        tiles.add((max(1, min(d.N, limit // image)), d.P, d.Q))
        tiles.add((1, max(1, min(d.P, limit // d.Q)), d.Q))
        tiles.add((1, 1, min(d.Q, limit)))
        tiles = {t for t in tiles if prod(t) <= limit} or {(1, 1, 1)}
    return sorted(tiles)


def _reduction_tiles(d: Dims, unit: int) -> list[tuple[int, int, int]]:
    """(C, R, S): the whole window over some channels, a row of it, or one tap over many."""
    window = d.R * d.S
    whole = {(c, d.R, d.S) for c in {*_shares(d.C, max(1, unit // window)), *_shares(d.C, unit)}}
    rows = {(c, 1, d.S) for c in _shares(d.C, max(1, unit // d.S))} if d.R > 1 else set()
    single = {(c, 1, 1) for c in _shares(d.C, unit)} if window > 1 else set()
    return sorted(whole | rows | single)


def neighbours(tiles: Iterable[Dims], nest: LoopNest, machine: Machine, dataflow: str, precision: Precision) -> Ints:
    """Tiles next to the given ones: one loop's share a little larger or smaller, or two loops' at once."""
    steps = _axes(nest, machine, dataflow, precision)
    rows = {other for tile in tiles for other in _next_to(tile, steps)}
    return np.array(sorted(rows), dtype=np.int64).reshape(-1, 8)


def _axes(nest: LoopNest, machine: Machine, dataflow: str, precision: Precision) -> dict[int, tuple[int, ...]]:
    """The fine shares of every loop that has more than one turn."""
    d = nest.dims
    pixel, channel, reduction = machine.units(dataflow, precision)
    window = max(1, reduction // (d.R * d.S))
    units = Dims(1, channel, reduction, 1, pixel, 1, 1, 1)
    axes = {i: _shares(size, unit, True) for i, (size, unit) in enumerate(zip(d, units, strict=True)) if size > 1}
    if d.C > 1 and window != reduction:
        axes[COLUMN["C"]] = tuple(sorted({*axes[COLUMN["C"]], *_shares(d.C, window, True)}))
    return axes


def _next_to(tile: Dims, axes: dict[int, tuple[int, ...]]) -> Iterable[Dims]:
    moves: dict[int, list[int]] = {}
    for axis, shares in axes.items():
        place = int(np.searchsorted(shares, tile[axis]))
        on = place < len(shares) and shares[place] == tile[axis]
        near = [place - 2, place - 1, place + on, place + on + 1]
        moves[axis] = [shares[i] for i in near if 0 <= i < len(shares)]
        moves[axis] += [size for size in (shares[0], shares[-1]) if size != tile[axis]]
        yield from (_with(tile, axis, size) for size in moves[axis])
    for one, two in combinations(moves, 2):
        for a, b in product(moves[one][:4], moves[two][:4]):
            if (a < tile[one]) != (b < tile[two]):
                yield _with(_with(tile, one, a), two, b)


def _with(tile: Dims, axis: int, size: int) -> Dims:
    return Dims(*(size if i == axis else old for i, old in enumerate(tile)))
