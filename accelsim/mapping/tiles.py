"""Sizes of tiles worth looking at: a coarse set for a whole layer, and the neighbours of a good one.

Along every loop a tile is a share of the layer: so many pieces, as equal as can be, as they are or rounded up to whole
units of the array; or a few units, or a part of one.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import combinations
from math import prod

import numpy as np

from accelsim.mapping.loopnest import DIMS, Dims, LoopNest
from accelsim.mapping.machine import Ints, Machine
from accelsim.mapping.mapping import LayerMapping
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

COLUMN = {dim: i for i, dim in enumerate(Dims._fields)}
_COARSE = (1, 2, 3, 4, 6, 10, 18, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_FINE = tuple(sorted({*range(1, 33), *(round(32 * 1.15**i) for i in range(1, 48))}))
_UNITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SHORT_LOOP = 32
_FAR = (2, 1 / 2, 3, 1 / 3, 4, 1 / 4, 1.5, 1 / 1.5)


def candidate_tiles(nest: LoopNest, machine: Machine, dataflow: str, precision: Precision, fixed: LayerMapping) -> Ints:
    """Tiles worth costing, int64[candidates, 8]: coarse shares of the layer, aligned to the array where it has an axis."""
    tiles = _coarse_tiles(nest.dims, machine.units(dataflow, precision), machine.accumulator_pixels(dataflow))
    return with_fixed(tiles, nest.dims, fixed)


@lru_cache(maxsize=64)
def _coarse_tiles(d: Dims, units: tuple[int, int, int], most_pixels: int | None) -> Ints:
    pixel_unit, channel_unit, reduction_unit = units
    pixels, channels = np.array(_pixel_tiles(d, pixel_unit, most_pixels)), np.array(_shares(d.K, channel_unit))
    reductions, groups = np.array(_reduction_tiles(d, reduction_unit)), np.array(sorted({d.G, 1, *_halvings(d.G)}))
    places = np.indices((len(pixels), len(channels), len(reductions), len(groups))).reshape(4, -1)
    (n, p, q), k = pixels[places[0]].T, channels[places[1]]
    (c, r, s), g = reductions[places[2]].T, groups[places[3]]
    tiles = np.stack([n, k, c, p, q, r, s, g], axis=1)
    whole = (tiles[:, :5] == np.array(d)[:5]).all(axis=1)
    return np.asarray(tiles[(g == d.G) | (g == 1) | whole])


def with_fixed(tiles: Ints, dims: Dims, fixed: LayerMapping) -> Ints:
    """The distinct ``tiles`` with the sizes that a user fixed."""
    if not fixed.tile.given():
        return tiles
    tiles = tiles.copy()
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
    units = [unit * count for count in (_UNITS if fine else (1, 2, 4))]
    parts = [ceil_div(unit, pieces) for pieces in ((2, 4) if fine else ())]
    exact = shares if fine or unit == 1 else shares[:3]
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
    rows = {(c, 1, d.S) for c in _shares(d.C, max(1, unit // d.S))[-4:]} if d.R > 1 else set()
    single = {(c, 1, 1) for c in _shares(d.C, unit)[-6:]} if window > 1 else set()
    return sorted(whole | rows | single)


def tile_axes(d: Dims, units: tuple[int, int, int], fixed: LayerMapping) -> dict[int, tuple[int, ...]]:
    """The fine shares of every loop that has more than one turn and that no user fixed."""
    return {axis: shares for axis, shares in _axes(d, units).items() if DIMS[axis] not in fixed.tile.given()}


@lru_cache(maxsize=256)
def _axes(d: Dims, units: tuple[int, int, int]) -> dict[int, tuple[int, ...]]:
    pixel, channel, reduction = units
    window = max(1, reduction // (d.R * d.S))
    loops = Dims(1, channel, reduction, 1, pixel, 1, 1, 1)
    axes = {i: _fine(size, unit) for i, (size, unit) in enumerate(zip(d, loops, strict=True)) if size > 1}
    if d.C > 1 and window != reduction:
        axes[COLUMN["C"]] = tuple(sorted({*axes[COLUMN["C"]], *_fine(d.C, window)}))
    return axes


@lru_cache(maxsize=4096)
def _fine(size: int, unit: int) -> tuple[int, ...]:
    """All sizes of a short loop; else shares of it, also some whole ones with a short last one."""
    if size <= _SHORT_LOOP:
        return tuple(range(1, size + 1))
    short = {max(1, size * part // (whole * part + 1)) for whole in range(1, 8) for part in (2, 4)}
    return tuple(sorted({*_shares(size, unit, True), *short}))


def beside(tile: Dims, axes: dict[int, tuple[int, ...]]) -> Ints:
    """Tiles that differ from ``tile`` along one loop: a share or two larger or smaller, or a multiple or a part of it; any
    share where there are no more than two loops."""
    rows = [
        (axis, size)
        for axis, shares in axes.items()
        for size in (shares if len(axes) < 3 else _moves(tile[axis], shares))
        if size != tile[axis]
    ]
    found = _copies(tile, len(rows))
    for row, (axis, size) in enumerate(rows):
        found[row, axis] = size
    return found


def askew(tile: Dims, axes: dict[int, tuple[int, ...]]) -> Ints:
    """Tiles that differ from ``tile`` along two loops: a share or two larger or smaller along each."""
    found = [_copies(tile, 0)]
    for (one, shares), (two, others) in combinations(axes.items(), 2):
        a, b = np.array(_next(tile[one], shares)), np.array(_next(tile[two], others))
        pairs = _copies(tile, len(a) * len(b))
        pairs[:, one], pairs[:, two] = np.repeat(a, len(b)), np.tile(b, len(a))
        found.append(pairs)
    return np.concatenate(found)


def _copies(tile: Dims, count: int) -> Ints:
    return np.tile(np.array(tile, dtype=np.int64), (count, 1))


@lru_cache(maxsize=4096)
def _next(size: int, shares: tuple[int, ...]) -> tuple[int, ...]:
    """The shares next to ``size``, two on each side."""
    place = bisect_left(shares, size)
    on = place < len(shares) and shares[place] == size
    return tuple(shares[i] for i in (place - 1, place + on, place - 2, place + on + 1) if 0 <= i < len(shares))


@lru_cache(maxsize=4096)
def _moves(size: int, shares: tuple[int, ...]) -> tuple[int, ...]:
    """The shares next to ``size``, those next to multiples and parts of it, and the ends."""
    far = [min(shares, key=lambda share: abs(share - size * ratio)) for ratio in _FAR]
    return tuple(other for other in dict.fromkeys((*_next(size, shares), *far, shares[0], shares[-1])) if other != size)
