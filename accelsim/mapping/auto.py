"""The automatic mapping: every tiling worth looking at, costed at once, the best one kept.

A candidate is a tile and an order of three loops (pixels, output channels, reduction). Its cost is the larger of
the engine's cycles and the cycles of its off-chip traffic, plus the transfer that nothing hides. Of mappings that cost
the same to a hundredth the one with the least traffic is taken, and of those the one that cuts the layer least. The
estimate only ranks: what is reported comes from the schedule that is built from the winner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, islice, permutations, product, zip_longest
from math import isqrt, prod

import numpy as np

from accelsim.arch.spec import Architecture, Tensor
from accelsim.mapping.fit import demand, fits, require_fit
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import (
    Ints,
    Machine,
    Placement,
    Widths,
    free_bytes,
    off_chip_bits_per_cycle,
    slots_of,
    tile_array,
)
from accelsim.mapping.mapping import LayerMapping, Mapping, Order
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

FINALISTS = 4
EFFORT = 1 / 4  # what a cycle of the engine costs beside a cycle of time: half-empty tiles hidden behind memory are not free
SLACK = 1 / 100  # so much of its cost is not worth a byte off chip: a transfer that is hidden costs no time, but energy
FEW_CYCLES = 4  # are not worth a cut: a product that fills the array once stays whole
FEW_STEPS = 1000  # so many are walked in no time
JUDGED_STEPS = 4_000_000  # that many are run to find the fastest of the finalists: seconds, not minutes
MANY_STEPS = 20_000  # more are looked at only where a layer cannot be cut into fewer: they cost time and gain next to nothing
_PIXELS, _CHANNELS, _REDUCTION = ("N", "P", "Q"), ("K",), ("C", "R", "S")
_LOOPS = (_PIXELS, _CHANNELS, _REDUCTION)
ORDERS: tuple[tuple[int, ...], ...] = tuple(permutations(range(3)))
_RELEVANT_LOOPS = {"weight": (1, 2), "private": (0, 1, 2), "input": (0, 2), "output": (0, 1)}
_COLUMN = {dim: i for i, dim in enumerate(Dims._fields)}


def choose_mapping(
    layer: str, nest: LoopNest, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, fixed: LayerMapping, judge: Callable[[Mapping], int] | None = None,
) -> Mapping:  # fmt: skip
    """The best legal mapping that honours what the user fixed; `InfeasibleError` where there is none.

    ``judge`` gives a mapping's true cycles; with it the `FINALISTS` best estimates are run, as many with the least traffic
    within `SLACK` of them, and the best of those that cut the layer least where they cut it little.
    """
    tiles = candidate_tiles(nest, machine, dataflow, precision, fixed)
    columns = range(len(ORDERS)) if fixed.order is None else [_loop_order(fixed.order)]
    finalists: list[tuple[float, int, Mapping]] = []
    whole: list[tuple[float, int, Mapping]] = []
    for keep in _keeps(nest, arch, precision, placement, fixed):
        legal = tiles[fits(nest, tiles, arch, machine, precision, dataflow, placement, keep)]
        if not len(legal):
            continue
        legal = _not_too_many(nest, legal)
        estimate = costs(nest, legal, arch, machine, precision, dataflow, placement, keep)
        ranked = [
            (score, bits, Mapping(Dims(*(int(v) for v in legal[row])), fixed.order or order_of(ORDERS[column]), dataflow, keep))
            for score, bits, row, column in _finalists(estimate, list(columns), FINALISTS if judge else 1)
        ]
        whole.append(ranked.pop())
        finalists += ranked
    if not finalists:
        smallest = Dims(*(int(v) for v in tiles[np.argmin(np.prod(tiles.astype(float), axis=1))]))
        kept = frozenset(fixed.keep or ())
        require_fit(layer, nest, smallest, arch, machine, precision, dataflow, placement, kept)
        raise AssertionError(f"layer {layer}: the smallest tile {smallest} fits, yet no candidate did")
    finalists = _worth_running(finalists, FINALISTS if judge else 1)
    plain = min(whole, key=lambda scored: (prod(scored[2].counts(nest.dims)), *scored[:2]))
    also = [plain] if prod(plain[2].counts(nest.dims)) <= FEW_STEPS else []
    best = _affordable({mapping: bits for _, bits, mapping in (*finalists, *also)}, nest.dims)
    if judge is None:
        return finalists[-1][2]
    effort = {
        mapping: int(machine.compute_cycles(nest, tile_array(mapping.tile), dataflow, precision)[0]) for mapping in best
    }
    cost = {m: judge(m) + EFFORT * effort[m] * prod(m.counts(nest.dims)) for m in best}
    enough = min(cost.values()) * (1 + SLACK) + FEW_CYCLES
    return min((m for m in best if cost[m] <= enough), key=lambda m: (best[m], prod(m.counts(nest.dims)), cost[m]))


def _worth_running(scored: list[tuple[float, int, Mapping]], count: int) -> list[tuple[float, int, Mapping]]:
    """The ``count`` of the lowest scores, and as many of the least traffic within `SLACK` of the best; in turn, best first."""
    fast = sorted(scored, key=lambda one: one[:2])
    lean = sorted((one for one in fast if one[0] <= fast[0][0] * (1 + SLACK)), key=lambda one: (one[1], one[0]))
    pairs = zip_longest(fast[:count], lean[:count])
    return [one for pair in pairs for one in pair if one is not None]


def _affordable(best: dict[Mapping, int], dims: Dims) -> dict[Mapping, int]:
    """The first of ``best``, and those behind it as long as running them all stays within `JUDGED_STEPS`."""
    steps = accumulate(prod(mapping.counts(dims)) for mapping in best)
    room = max(1, sum(total <= JUDGED_STEPS for total in steps))
    return dict(islice(best.items(), room))


def _keeps(
    nest: LoopNest, arch: Architecture, precision: Precision, placement: Placement, fixed: LayerMapping
) -> list[frozenset[str]]:
    """Sets of tensors that may be worth keeping whole: none, and those that could fit their level at all."""
    if fixed.keep is not None:
        return [frozenset(fixed.keep)]
    widths = Widths.of(precision)
    whole = {"weight": nest.weight_elements * widths.weight, "input": nest.input_elements(nest.dims) * widths.input}
    resident = {"weight": placement.weight_resident, "input": placement.input_resident}
    able = [t for t in ("input", "weight") if not resident[t] and _could_hold(arch, t, whole[t], placement)]
    return [frozenset(), *(frozenset((t,)) for t in able), *([frozenset(able)] if len(able) == 2 else [])]


def _not_too_many(nest: LoopNest, tiles: Ints) -> Ints:
    """Without the tiles that cut the layer into very many steps, as far as there are others."""
    steps = np.prod(-(-np.array(nest.dims, dtype=np.int64) // tiles), axis=1)
    return np.asarray(tiles[steps <= max(MANY_STEPS, 2 * int(steps.min()))])


def _could_hold(arch: Architecture, tensor: str, bits: int, placement: Placement) -> bool:
    level = arch.holder(tensor)  # type: ignore[arg-type]
    if level is None:
        return False
    room = free_bytes(level, placement)
    return room is None or ceil_div(bits, 8) <= room


def _finalists(estimate: Estimate, columns: list[int], count: int) -> list[tuple[float, int, int, int]]:
    """(score, off-chip bits, tile, order) of the mappings worth running: the best by time and effort, traffic breaking ties;
    those of the least traffic within `SLACK` of them; behind them the best of those in the fewest steps."""
    score = (estimate.cycles[:, columns] + EFFORT * estimate.compute_cycles[:, None]).ravel()
    bits = estimate.off_chip_bits[:, columns].ravel()
    steps = np.repeat(estimate.steps, len(columns))  # where all else is equal, the layer is cut as little as can be
    order = np.lexsort((steps, bits, score))
    near = np.flatnonzero(score <= score[order[0]] * (1 + SLACK))
    lean = near[np.lexsort((steps[near], score[near], bits[near]))]
    chosen = [place for ranked in (order, lean) for place in _distinct(ranked, estimate.loops, columns, count)]
    places = [*chosen, int(order[np.argmin(steps[order])])]
    return [
        (float(score[place]), int(bits[place]), place // len(columns), columns[place % len(columns)])
        for place in places
    ]


def _distinct(places: Ints, loops: Ints, columns: list[int], count: int) -> list[int]:
    """The first ``count`` of ``places`` that are different schedules: a loop of one round may stand anywhere."""
    found: dict[tuple[int, ...], int] = {}
    for place in places:
        row, order = place // len(columns), ORDERS[columns[place % len(columns)]]
        found.setdefault((int(row), *(loop for loop in order if loops[row, loop] > 1)), int(place))
        if len(found) == count:
            break
    return list(found.values())


def order_of(loops: tuple[int, ...]) -> Order:
    return ("G", *(dim for loop in loops for dim in _LOOPS[loop]))


def _loop_order(order: Order) -> int:
    """The estimate's order nearest to a given one: loops by where their innermost dimension stands."""
    last = [max(order.index(dim) for dim in loop) for loop in _LOOPS]
    return ORDERS.index(tuple(sorted(range(3), key=lambda loop: last[loop])))


def candidate_tiles(nest: LoopNest, machine: Machine, dataflow: str, precision: Precision, fixed: LayerMapping) -> Ints:
    """Tiles worth costing, int64[candidates, 8]: fractions of the layer, aligned to the array where it has an axis."""
    d = nest.dims
    pixel_unit, channel_unit, reduction_unit = machine.units(dataflow, precision)
    limit = machine.accumulator_pixels(dataflow)
    pixels = _pixel_tiles(d, pixel_unit, limit)
    channels = _aligned(d.K, channel_unit)
    reductions = _reduction_tiles(d, reduction_unit)
    groups = sorted({d.G, 1, *_halvings(d.G)})
    rows = [
        (n, k, c, p, q, r, s, g)
        for (n, p, q), k, (c, r, s), g in product(pixels, channels, reductions, groups)
        if g == d.G or g == 1 or (n, p, q, k, c) == (d.N, d.P, d.Q, d.K, d.C)
    ]
    tiles = np.array(rows, dtype=np.int64)
    for dim, size in fixed.tile.given().items():
        tiles[:, _COLUMN[dim]] = min(size, getattr(d, dim))
    return np.unique(tiles, axis=0)


def _halvings(size: int) -> list[int]:
    """size/2, size/4 ... 1, rounded up."""
    values = []
    while size > 1:
        size = ceil_div(size, 2)
        values.append(size)
    return values


def _fractions(size: int) -> list[int]:
    """Tiles that cut ``size`` into 1, 2, 3 ... pieces, thinning out towards small ones."""
    cuts = {*range(1, min(size, 8) + 1), *(round(8 * 1.5**i) for i in range(1, 24))}
    return sorted({ceil_div(size, cut) for cut in cuts if cut <= size} | {1})


def _aligned(size: int, unit: int) -> list[int]:
    """The whole size, and multiples of ``unit`` by powers of two."""
    if unit >= size:
        return sorted({size, ceil_div(size, 2), 1}) if size > 1 else [1]
    values = {size, unit}
    step = unit
    while step < size:
        values.add(step)
        pieces = ceil_div(size, step)
        values.add(min(size, ceil_div(ceil_div(size, pieces), unit) * unit))
        step *= 2
    return sorted({*values, max(1, unit // 2), max(1, unit // 4), 1})


def _pixel_tiles(d: Dims, unit: int, limit: int | None) -> list[tuple[int, int, int]]:
    """(N, P, Q): whole images first, then rows of one image, then parts of a row."""
    image = d.P * d.Q
    tiles = {(d.N, d.P, d.Q)}
    tiles |= {(n, d.P, d.Q) for n in (_aligned(d.N, max(1, ceil_div(unit, image))) + _fractions(d.N))}
    tiles |= {(1, p, d.Q) for p in _fractions(d.P)}
    tiles |= {(1, 1, q) for q in _aligned(d.Q, unit)}
    if limit is not None:
        tiles.add((max(1, min(d.N, limit // image)), d.P, d.Q))
        tiles.add((1, max(1, min(d.P, limit // d.Q)), d.Q))
        tiles.add((1, 1, min(d.Q, limit)))
        tiles = {t for t in tiles if t[0] * t[1] * t[2] <= limit} or {(1, 1, 1)}
    return sorted(tiles)


def _reduction_tiles(d: Dims, unit: int) -> list[tuple[int, int, int]]:
    """(C, R, S): the whole window over some channels, or one tap over many."""
    window = d.R * d.S
    whole = {(c, d.R, d.S) for c in _aligned(d.C, max(1, unit // window))}
    whole |= {(c, d.R, d.S) for c in _fractions(d.C)[:: max(1, isqrt(d.C) // 4)]}
    whole.add((min(d.C, max(1, unit // window)), d.R, d.S))
    whole |= {(c, d.R, d.S) for c in _aligned(d.C, unit)}  # an unroll over channels alone, such as 7
    single = {(c, 1, 1) for c in _aligned(d.C, unit)} if window > 1 else set()
    rows = {(c, 1, d.S) for c in (*_aligned(d.C, max(1, unit // d.S)), *_aligned(d.C, unit))} if d.R > 1 else set()
    return sorted({(d.C, d.R, d.S)} | whole | single | rows)


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


def costs(
    nest: LoopNest, tiles: Ints, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, keep: frozenset[str] = frozenset(),
) -> Estimate:  # fmt: skip
    """What each candidate would cost under each of the six orders."""
    widths = Widths.of(precision)
    sizes = np.array(nest.dims, dtype=np.int64)
    counts = -(-sizes // tiles)
    loops = np.stack([np.prod(counts[:, [_COLUMN[d] for d in loop]], axis=1) for loop in _LOOPS], axis=1)
    groups = counts[:, _COLUMN["G"]]
    free = Placement(weight_resident=placement.weight_resident)
    tile_bits = demand(nest, tiles, arch, machine, precision, dataflow, free).tile_bits
    output_bits = tiles[:, [0, 1, 3, 4, 7]].prod(axis=1) * widths.output
    psum_bits = output_bits // widths.output * widths.partial_sum
    steps = loops.prod(axis=1) * groups
    compute = machine.compute_cycles(nest, tiles, dataflow, precision) * steps
    rate = off_chip_bits_per_cycle(arch)
    all_cycles, all_bits = [], []
    for order in ORDERS:
        weight_loads = _loads(loops, order, "private" if nest.private_weights else "weight", keep)
        weight = 0 if placement.weight_resident else tile_bits["weight"] * weight_loads
        input_loads = _loads(loops, order, "input", keep)
        inputs = 0 if placement.input_resident else tile_bits["input"] * input_loads
        visits, distinct = _loads(loops, order, "output"), loops[:, 0] * loops[:, 1]
        revisits = visits - distinct
        final = 0 if placement.output_resident else output_bits * distinct
        bits = (weight + inputs + final + 2 * psum_bits * revisits) * groups
        transfer = np.zeros_like(bits) if rate is None else -(-bits * rate.denominator // rate.numerator)
        exposed = 0 if rate is None else _first_load(tile_bits, placement, float(rate))
        if "weight" not in keep and not placement.weight_resident:
            transfer = np.maximum(transfer, _through_slots(arch, "weight", weight_loads * groups, compute))
        if "input" not in keep and not placement.input_resident:
            transfer = np.maximum(transfer, _through_slots(arch, "input", input_loads * groups, compute))
        all_cycles.append(np.maximum(compute, transfer) + exposed + _serial(2 * psum_bits * revisits * groups, rate))
        all_bits.append(bits)
    return Estimate(np.stack(all_cycles, axis=1), np.stack(all_bits, axis=1), compute, steps, loops)


def _serial(bits: Ints, rate: Fraction | None) -> Ints | int:
    """Cycles of partial sums that go out and come back between two tiles, while the unit waits."""
    return 0 if rate is None else np.asarray(-(-bits * rate.denominator // rate.numerator), dtype=np.int64)


def _through_slots(arch: Architecture, tensor: Tensor, loads: Ints, compute: Ints) -> Ints:
    """Cycles that tiles take to pass through their slots, where each is while its transfer is late and while it is used."""
    latency = arch.off_chip.latency.in_cycles(arch.clock)
    return np.asarray((loads * latency + compute) // slots_of(arch, tensor), dtype=np.int64)


def _first_load(tile_bits: dict[str, Ints], placement: Placement, rate: float) -> Ints:
    bits = tile_bits["weight"] * (not placement.weight_resident) + tile_bits["input"] * (not placement.input_resident)
    bits = bits + tile_bits["output"] * (not placement.output_resident)
    return np.asarray(np.ceil(bits / rate), dtype=np.int64)


def _loads(loops: Ints, order: tuple[int, ...], tensor: str, keep: frozenset[str] = frozenset()) -> Ints:
    """How often a tensor's tile is fetched: loops inside the innermost one that touches it cost nothing."""
    relevant = _RELEVANT_LOOPS[tensor]
    if tensor in keep:
        return np.asarray(loops[:, list(relevant)].prod(axis=1))
    loads = np.ones(len(loops), dtype=np.int64)
    started = np.zeros(len(loops), dtype=bool)
    for loop in reversed(order):
        started |= (loops[:, loop] > 1) & (loop in relevant)
        loads = np.where(started, loads * loops[:, loop], loads)
    return loads
