"""The roofline of tilings: every legal tiling of a layer as a point, attainable Gops against ops per byte.

After the design-space figure of Zhang et al., FPGA 2015: a tiling's computational roof is what the engine
would do with it if memory were free; its slope is the bandwidth off chip; the lower of the two is what it
attains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture
from accelsim.engines.mapped import MappedEngine, PlannedNest
from accelsim.errors import InfeasibleError
from accelsim.mapping.estimate import ORDERS, costs, order_of
from accelsim.mapping.fit import fits
from accelsim.mapping.loopnest import Dims
from accelsim.mapping.mapping import EMPTY, Mapping, MappingFile
from accelsim.simulator import Simulator
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, Network

Floats = npt.NDArray[np.float64]
Cell = int | float | str | None
Ints = npt.NDArray[np.int64]
MOST_TILES = 100_000
"""Tile shapes that are looked at; of more, every so-manyth is."""


@dataclass(frozen=True)
class Tilings:
    """Legal tilings of one nest. Arrays have an entry a tiling, that is a tile with an order of its loops.

    ``tiles`` int64[tilings, 8] in the order of Dims; ``orders`` index into ``order_names``;
    ``computational_gops`` is the roof without memory, ``attainable_gops`` the lower of that and the slope of
    the bandwidth. ``chosen`` is the entry that the automatic mapping (or the user's) takes; ``cycles`` are
    the mapper's estimates.
    """

    layer: str
    architecture: str
    tiles: Ints
    orders: Ints
    order_names: tuple[str, ...]
    ops_per_byte: Floats
    computational_gops: Floats
    attainable_gops: Floats
    cycles: Ints
    chosen: int
    peak_gops: float
    bytes_per_second: float | None
    looked_at: int
    thinned: bool

    @property
    def gap(self) -> float:
        """How much longer the chosen tiling takes than the best one, by the mapper's estimate."""
        return float(self.cycles[self.chosen] / self.cycles.min() - 1)

    def summary(self) -> str:
        """What the points say, in two lines."""
        thinned = ", thinned out evenly" if self.thinned else ""
        tile = " ".join(f"{d}={v}" for d, v in zip(Dims._fields, self.tiles[self.chosen], strict=True) if v > 1)
        best = int(self.cycles.argmin())
        return (
            f"{self.layer} on {self.architecture}: {len(self.tiles):,} legal tilings of {self.looked_at:,} tiles "
            f"in {len(self.order_names)} orders{thinned}\n"
            f"chosen: {tile}, {self.attainable_gops[self.chosen]:.4g} GOPS at {self.ops_per_byte[self.chosen]:.4g} ops "
            f"a byte; {100 * self.gap:.2f} % behind the best estimate, of {int(self.cycles[best]):,} cycles"
        )

    def rows(self) -> Iterator[dict[str, Cell]]:
        """A table, a row a tiling."""
        for i, tile in enumerate(self.tiles):
            yield {
                **{dim: int(size) for dim, size in zip(Dims._fields, tile, strict=True)},
                "order": self.order_names[int(self.orders[i])],
                "ops_per_byte": float(self.ops_per_byte[i]),
                "computational_gops": float(self.computational_gops[i]),
                "attainable_gops": float(self.attainable_gops[i]),
                "cycles": int(self.cycles[i]),
                "chosen": i == self.chosen,
            }


def layer_tilings(
    network: Network, name: str, arch: Architecture, mapping: MappingFile = EMPTY, nest: int = 0
) -> Tilings:
    """All legal tilings of layer ``name`` in its place in ``network``; ``nest`` counts its loop nests.

    Of a batch that runs in parts they are those of one part.
    """
    post = Simulator(arch, mapping).posts(network)[name]
    arch, engine = post.arch, post.engine
    if not isinstance(engine, MappedEngine):
        raise InfeasibleError(
            f"layer {name}: its tilings",
            demand="an engine that tiles loops",
            bound=f"the {engine.name} engine",
            levers=("choose a systolic or nfu architecture",),
        )
    layer = engine.built(post.layer(name))
    nests = engine.planned(layer, post.plan)
    if nest >= len(nests):
        raise InfeasibleError(
            f"layer {name}: its tilings",
            demand=f"loop nest {nest}",
            bound=f"{len(nests)} loop nests",
            levers=("choose a layer with multiply-accumulates",),
        )
    return _tilings(layer, nests[nest], arch, engine)


def _tilings(layer: Layer, planned: PlannedNest, arch: Architecture, engine: MappedEngine) -> Tilings:
    nest, precision, placement = planned.nest, layer.precision, planned.placement
    dataflow, keep = planned.mapping.dataflow, planned.mapping.keep
    unit = planned.unit
    shapes, thinned = _all_tiles(nest.dims, unit.units(dataflow, precision))
    own = np.array([planned.mapping.tile], dtype=np.int64)
    shapes = np.concatenate([own, shapes[np.any(shapes != own, axis=1)]])
    legal = shapes[fits(nest, shapes, arch, unit, precision, dataflow, placement, keep)]
    estimate = costs(nest, legal, arch, unit, precision, dataflow, placement, keep)
    ops = 2 * nest.dims.macs
    count, columns = estimate.cycles.shape
    seconds = np.maximum(1, np.repeat(estimate.compute_cycles, columns)) / arch.clock
    off_chip_bytes = np.maximum(1, estimate.off_chip_bits.ravel()) / 8
    bandwidth = arch.off_chip.bandwidth
    rate = None if bandwidth is None else float(bandwidth.per_second(arch.clock))
    computational, intensity = ops / seconds / 1e9, ops / off_chip_bytes
    slope = computational if rate is None else intensity * rate / 1e9
    return Tilings(
        layer=layer.name,
        architecture=arch.name,
        tiles=np.repeat(legal, columns, axis=0),
        orders=np.tile(np.arange(columns), count),
        order_names=tuple(" ".join(order_of(order)) for order in ORDERS),
        ops_per_byte=intensity,
        computational_gops=computational,
        attainable_gops=np.minimum(computational, slope),
        cycles=estimate.cycles.ravel(),
        chosen=_chosen_column(planned.mapping),
        peak_gops=2 * float(engine.unit.macs_per_cycle(precision)) * arch.clock / 1e9,
        bytes_per_second=rate,
        looked_at=len(shapes),
        thinned=thinned,
    )


def _chosen_column(mapping: Mapping) -> int:
    """The entry of the chosen tiling: its tile is the first, its order one of the columns."""
    for column, order in enumerate(ORDERS):
        if order_of(order) == mapping.order:
            return column
    return 0


def _all_tiles(dims: Dims, units: tuple[int, int, int]) -> tuple[Ints, bool]:
    """Every tile that cuts the layer differently: of sizes that give as many pieces, the smallest; aligned
    ones too.

    Filter loops are whole or single. Too many are thinned out evenly, and it is said so.
    """
    _, channel_unit, reduction_unit = units
    choices: dict[str, list[int]] = {
        "N": _cuts(dims.N, 1),
        "K": _cuts(dims.K, channel_unit),
        "C": _cuts(dims.C, reduction_unit),
        "P": _cuts(dims.P, 1),
        "Q": _cuts(dims.Q, 1),
        "R": sorted({1, dims.R}),
        "S": sorted({1, dims.S}),
        "G": sorted({1, dims.G}),
    }
    columns = [choices[dim] for dim in Dims._fields]
    step = ceil_div(prod(len(sizes) for sizes in columns), MOST_TILES)
    picked = [tile for i, tile in enumerate(product(*columns)) if i % step == 0]
    return np.array(picked, dtype=np.int64), step > 1


def _cuts(size: int, unit: int) -> list[int]:
    """Sizes that cut ``size`` into different numbers of pieces, in whole units where it has more than one."""
    pieces = ceil_div(size, unit)
    return sorted({min(size, unit * ceil_div(pieces, count)) for count in range(1, pieces + 1)})
