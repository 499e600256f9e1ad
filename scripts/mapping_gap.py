"""How far is the automatic mapping from the best that a long search finds?

    python scripts/mapping_gap.py [--arch NAME]... [--layers 26] [--seed 1] [--budget 1500] [--worst 5]

Layers of all kinds with sizes drawn from the seed are mapped automatically, each alone with its operands off chip. The
search then runs as many other mappings as its budget says: random tiles of any size in any order of the eight loops with
any set of tensors kept, and from the best of those and from the automatic one it climbs by small changes. Every mapping
is run, not estimated. Prints the worst layers, and the gaps by architecture: the automatic mapping's cycles over the best
ones found, less one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from statistics import fmean

from accelsim.api import load_arch
from accelsim.arch.spec import Architecture
from accelsim.engines.mapped import MappedEngine, PlannedNest
from accelsim.engines.registry import engine_of
from accelsim.engines.trial import Trials
from accelsim.errors import AccelsimError
from accelsim.mapping.fit import fits
from accelsim.mapping.loopnest import DIMS, Dims
from accelsim.mapping.machine import tile_array
from accelsim.mapping.mapping import EMPTY, Mapping
from accelsim.schedule.residency import plan_residency
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, LayerSketch, Network, build_network
from accelsim.workload.ops import Conv2d, Linear, Matmul, Op
from accelsim.workload.precision import Precision

ARCHITECTURES = ("gemmini_16x16", "tpu_v1", "eyeriss_like", "diannao")
MOST_STEPS = 60_000  # a mapping that cuts its layer into more is not run: it takes long and wins nothing
SEEDS = 6  # mappings from which the search climbs
STALE = 150  # changes in vain after which a climb ends
KEEPS = tuple(map(frozenset, ([], ["weight"], ["input"], ["weight", "input"])))


# ---- layers ---------------------------------------------------------------------------------------------------------


def _size(rng: random.Random, low: int, high: int) -> int:
    """Round numbers as networks have them, or any, small ones as often as large ones."""
    size = round(low * (high / low) ** rng.random())
    return size if rng.random() < 0.5 or size < 16 else max(low, size // 16 * 16)


def _conv(rng: random.Random, window: int, stride: int = 1, dilation: int = 1, groups: int | str = 1) -> tuple[Op, list]:
    many = groups if isinstance(groups, int) else 1
    channels = many * _size(rng, 3, 512 // many) if groups != "depthwise" else _size(rng, 8, 512)
    side = max(dilation * (window - 1) + 2, _size(rng, 7, max(14, min(112, 6000 // channels))))
    outputs = channels if groups == "depthwise" else many * _size(rng, 4, 512 // many)
    op = Conv2d(K=outputs, R=window, S=window, stride=stride, dilation=dilation, pad=dilation * (window // 2), groups=groups)
    return op, [(channels, side, max(dilation * (window - 1) + 2, side + rng.choice((0, 0, 3))))]


def _linear(rng: random.Random, rows: int) -> tuple[Op, list]:
    features = _size(rng, 32, 4096)
    return Linear(out=_size(rng, 10, 2048)), [(rows, features) if rows > 1 else (features,)]


def _attention(rng: random.Random, values: bool) -> tuple[Op, list]:
    heads, length, width = rng.choice((1, 4, 8, 12)), _size(rng, 17, 384), rng.choice((32, 64, 64, 80))
    if values:
        return Matmul(), [(heads, length, length), (heads, length, width)]
    return Matmul(transpose_b=True), [(heads, length, width), (heads, length, width)]


KINDS: dict[str, Callable[[random.Random], tuple[Op, list]]] = {
    "conv1x1": lambda rng: _conv(rng, 1),
    "conv1x1 strided": lambda rng: _conv(rng, 1, stride=2),
    "conv3x3": lambda rng: _conv(rng, 3),
    "conv3x3 strided": lambda rng: _conv(rng, 3, stride=2),
    "conv3x3 dilated": lambda rng: _conv(rng, 3, dilation=2),
    "conv5x5": lambda rng: _conv(rng, 5),
    "conv7x7 strided": lambda rng: _conv(rng, 7, stride=2),
    "conv grouped": lambda rng: _conv(rng, rng.choice((1, 3)), groups=rng.choice((2, 4, 8))),
    "conv depthwise": lambda rng: _conv(rng, rng.choice((3, 5)), stride=rng.choice((1, 2)), groups="depthwise"),
    "linear": lambda rng: _linear(rng, 1),
    "linear rows": lambda rng: _linear(rng, _size(rng, 2, 256)),
    "attention scores": lambda rng: _attention(rng, values=False),
    "attention values": lambda rng: _attention(rng, values=True),
}


def drawn_layers(seed: int, count: int) -> Iterator[tuple[str, Network]]:
    """``count`` networks of one layer, kind after kind, at int8 and int16 and at batches of 1 to 4."""
    rng = random.Random(seed)
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        op, shapes = KINDS[kind](rng)
        words, batch = rng.choice(("int8", "int16")), rng.choice((1, 1, 1, 2, 4))
        yield kind, _network(op, shapes, words, batch)


def _network(op: Op, shapes: list, words: str, batch: int) -> Network:
    precision = Precision.model_validate({"weight": words, "input": words, "accumulator": "int32", "output": words})
    inputs = {f"x{number}": shape for number, shape in enumerate(shapes)}
    return build_network("one", batch, inputs, (LayerSketch("layer", op, tuple(inputs), precision),))


# ---- search ---------------------------------------------------------------------------------------------------------


@dataclass
class Judge:
    """Runs mappings of one layer, each once."""

    arch: Architecture
    layer: Layer
    planned: PlannedNest
    known: dict[Mapping, int] = field(default_factory=dict)

    @cached_property
    def trials(self) -> Trials:
        plan = self.planned
        return Trials(plan.nest, self.arch, plan.unit, self.layer.precision, plan.placement, plan.mapping.dataflow)

    @property
    def sizes(self) -> Dims:
        return self.planned.nest.dims

    def legal(self, mapping: Mapping) -> bool:
        plan, precision = self.planned, self.layer.precision
        if prod(mapping.counts(self.sizes)) > MOST_STEPS:
            return False
        tiles = tile_array(mapping.tile)
        return bool(
            fits(plan.nest, tiles, self.arch, plan.unit, precision, mapping.dataflow, plan.placement, mapping.keep)[0]
        )

    def cycles(self, mapping: Mapping) -> int:
        mapping = _plain(mapping, self.sizes)
        if mapping not in self.known:
            self.known[mapping] = self.trials(mapping).cycles
        return self.known[mapping]


def _plain(mapping: Mapping, sizes: Dims) -> Mapping:
    """The same schedule with loops of one turn outside."""
    counts = mapping.counts(sizes)
    return replace(mapping, order=tuple(sorted(mapping.order, key=lambda dim: getattr(counts, dim) > 1)))


def _near(size: int, tile: int, unit: int, rng: random.Random) -> int:
    """Another size of a tile: of other pieces, of one piece more or less, of whole units, a little off, or any."""
    pieces = ceil_div(size, tile)
    choices = (
        ceil_div(size, pieces + 1), ceil_div(size, max(1, pieces - 1)), tile * 2, ceil_div(tile, 2),
        tile // unit * unit, ceil_div(tile, unit) * unit, tile + unit, tile - unit, tile + 1, tile - 1,
        ceil_div(size, rng.randint(1, size)), rng.randint(1, size), size, 1,
    )  # fmt: skip
    return max(1, min(size, rng.choice(choices)))


def _change(mapping: Mapping, judge: Judge, units: dict[str, int], rng: random.Random) -> Mapping:
    """One to three tile sizes changed, or the order, or what is kept."""
    sizes, what = judge.sizes, rng.random()
    if what < 0.15:
        order = [*mapping.order]
        order.insert(rng.randrange(8), order.pop(rng.randrange(8)))
        return replace(mapping, order=tuple(order))
    if what < 0.22:
        return replace(mapping, keep=rng.choice(KEEPS))
    free = [dim for dim in DIMS if getattr(sizes, dim) > 1]
    tile = mapping.tile
    for dim in rng.sample(free, min(len(free), rng.choice((1, 1, 1, 2, 2, 3)))):
        tile = tile._replace(**{dim: _near(getattr(sizes, dim), getattr(tile, dim), units[dim], rng)})
    return replace(mapping, tile=tile)


def _any(judge: Judge, dataflow: str, rng: random.Random) -> Mapping:
    """Any mapping, legal or not: each loop whole, in so many pieces, or in tiles of any size, all as likely."""

    def size(whole: int) -> int:
        return rng.choice((whole, ceil_div(whole, rng.randint(1, min(whole, 16))), round(whole ** rng.random())))

    tile = Dims(*(size(whole) for whole in judge.sizes))
    return Mapping(tile, tuple(rng.sample(DIMS, 8)), dataflow, rng.choice(KEEPS))


def search(judge: Judge, budget: int, rng: random.Random) -> Mapping:
    """The fastest mapping among ``budget`` that are run."""
    chosen = judge.planned.mapping
    unit = judge.planned.unit.units(chosen.dataflow, judge.layer.precision)
    units = dict.fromkeys("NPQ", 1) | {"K": unit[1], "C": unit[2]} | dict.fromkeys("RSG", 1)
    judge.cycles(chosen)
    for _ in range(40 * budget):
        if len(judge.known) >= budget // 4:
            break
        mapping = _any(judge, chosen.dataflow, rng)
        if judge.legal(mapping):
            judge.cycles(mapping)
    starts = [chosen, *sorted(judge.known, key=judge.known.__getitem__)[:SEEDS]]
    while len(judge.known) < budget and starts:
        _climb(starts.pop(0), judge, units, budget, rng)
        if not starts and rng.random() < 0.95:  # the best again, by other changes
            starts = [min(judge.known, key=judge.known.__getitem__)] if len(judge.known) < budget else []
    return min(judge.known, key=judge.known.__getitem__)


def _climb(best: Mapping, judge: Judge, units: dict[str, int], budget: int, rng: random.Random) -> None:
    stale = 0
    while stale < STALE and len(judge.known) < budget:
        other = _change(best, judge, units, rng)
        stale += 1
        if judge.legal(other) and judge.cycles(other) < judge.cycles(best):
            best, stale = other, 0


# ---- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """What came of one layer on one architecture; ``seconds`` that the automatic mapping took."""

    arch: str
    kind: str
    words: str
    chosen: Mapping
    chosen_cycles: int
    best: Mapping
    best_cycles: int
    seconds: float

    @property
    def gap(self) -> float:
        return self.chosen_cycles / self.best_cycles - 1


def measure(kind: str, network: Network, name: str, budget: int, seed: int) -> Gap | None:
    """The gap of one layer; None where the architecture cannot run it."""
    arch = load_arch(name)
    engine = engine_of(arch, EMPTY)
    assert isinstance(engine, MappedEngine)
    layer, start = engine.built(network.layers[0]), time.process_time()
    try:
        (planned,) = engine.planned(layer, plan_residency(network, arch))
    except AccelsimError:
        return None
    seconds = time.process_time() - start
    judge = Judge(arch, layer, planned)
    best = search(judge, budget, random.Random(seed))
    sizes = " ".join(f"{dim}{size}" for dim, size in zip(DIMS, planned.nest.dims, strict=True) if size > 1)
    words = f"{sizes} {layer.precision.input}"
    chosen = planned.mapping
    return Gap(name, kind, words, chosen, judge.cycles(chosen), best, judge.cycles(best), seconds)


def _told(mapping: Mapping, sizes: str) -> str:
    dims = [word[0] for word in sizes.split() if word[0] in DIMS]
    tile = " ".join(f"{dim}{getattr(mapping.tile, dim)}" for dim in dims)
    return f"{tile} | {' '.join(dim for dim in mapping.order if dim in dims)} | keep {' '.join(sorted(mapping.keep)) or '-'}"


def report(gaps: list[Gap], worst: int) -> None:
    """The worst layers, and the gaps by architecture."""
    for gap in sorted(gaps, key=lambda one: -one.gap)[:worst]:
        print(f"{gap.arch:14} {100 * gap.gap:6.2f} %  {gap.kind}: {gap.words}")
        print(f"    chosen {gap.chosen_cycles:12,}  {_told(gap.chosen, gap.words)}")
        print(f"    best   {gap.best_cycles:12,}  {_told(gap.best, gap.words)}")
    print(f"{'architecture':14} layers    mean   worst  over 2 %   ms a layer")
    for name in [*dict.fromkeys(gap.arch for gap in gaps), "all"]:
        own = [gap for gap in gaps if name in ("all", gap.arch)]
        numbers = [100 * gap.gap for gap in own]
        milliseconds = 1000 * fmean(gap.seconds for gap in own)
        over = sum(number > 2 for number in numbers)
        print(f"{name:14} {len(own):6} {fmean(numbers):5.2f} % {max(numbers):5.1f} %  {over:8}   {milliseconds:10.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", action="append")
    parser.add_argument("--layers", type=int, default=26)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=int, default=1500)
    parser.add_argument("--worst", type=int, default=5)
    options = parser.parse_args()
    gaps = []
    for number, (kind, network) in enumerate(drawn_layers(options.seed, options.layers)):
        for name in options.arch or ARCHITECTURES:
            gap = measure(kind, network, name, options.budget, options.seed + number)
            gaps += [gap] if gap else []
    report(gaps, options.worst)
    return 0


if __name__ == "__main__":
    sys.exit(main())
