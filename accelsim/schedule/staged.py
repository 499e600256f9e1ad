"""The schedule of a nest on several stages of memory: the steps of the innermost one, and what crosses every hop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import Buffer, FarEnd, Level, Registers, Tensor
from accelsim.arch.spec import Architecture
from accelsim.mapping.loopnest import Axis, Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Widths
from accelsim.mapping.mapping import Mapping
from accelsim.schedule.build import NOTHING, Schedule, require_few_steps
from accelsim.schedule.hops import Places, Tiles, each_distinct, first_of, places, row_numbers, tiles_of

COMING: tuple[Tensor, ...] = ("weight", "input", "output")


@dataclass(frozen=True)
class Hop:
    """A tensor between two of its levels: tiles of the ``inner`` one's stage, with the bits that come in and go out.

    ``biases`` of a weight's tile come with it and are not among ``bits_in``.
    """

    tensor: Tensor
    outer: Level
    inner: Buffer | Registers
    tiles: Tiles
    bits_in: Ints
    bits_out: Ints
    biases: Ints


@dataclass(frozen=True)
class StagedSchedule(Schedule):
    """A `Schedule` whose ``loads``, ``stores`` and so on are of the innermost hops. ``hops``: a tensor's outermost first."""

    where: Places
    hops: tuple[Hop, ...]

    @property
    def far_moves(self) -> int:
        """Tiles that are fetched from the far end."""
        return sum(int((hop.bits_in + hop.biases > 0).sum()) for hop in self.hops if isinstance(hop.outer, FarEnd))

    def tile_places(self) -> Iterator[tuple[Dims, Dims]]:
        starts = np.stack([self.where.starts[dim][-1] for dim in Dims._fields], axis=1)
        sizes = np.stack([self.where.sizes[dim][-1] for dim in Dims._fields], axis=1)
        for at, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            yield Dims(*at), Dims(*size)

    def _blocks_inside(self, block: tuple[int, int, int, int]) -> tuple[npt.NDArray[np.int32], Ints]:
        rows = self._touched("P", "R", self.nest.rows, block[0], block[2])
        columns = self._touched("Q", "S", self.nest.columns, block[1], block[3])
        numbers = row_numbers([rows, columns])
        first = first_of(numbers)
        return numbers, rows[first] * columns[first]

    def _touched(self, outputs: str, taps: str, axis: Axis, block: int, tap_block: int) -> Ints:
        """Blocks that touch the image along an axis, for every step."""
        starts, sizes = self.where.starts, self.where.sizes
        spans = [starts[outputs][-1], sizes[outputs][-1], starts[taps][-1], sizes[taps][-1]]
        return each_distinct(spans, lambda *span: _touching(axis, *span, block, tap_block))


@lru_cache(maxsize=1 << 16)
def _touching(axis: Axis, output: int, outputs: int, tap: int, taps: int, block: int, tap_block: int) -> int:
    """Blocks of outputs and taps that touch the image along an axis."""
    return sum(
        axis.touched(p, min(block, output + outputs - p), r, min(tap_block, tap + taps - r)) > 0
        for p in range(output, output + outputs, block)
        for r in range(tap, tap + taps, tap_block)
    )


def build_staged(
    layer: str, nest: LoopNest, mapping: Mapping, widths: Widths, placement: Placement, arch: Architecture
) -> StagedSchedule:
    """Expand the stages of ``mapping`` into steps and hops."""
    require_few_steps(layer, nest, mapping)
    where = places(nest.dims, mapping.stages)
    hops = tuple(hop for tensor in COMING for hop in _hops(tensor, nest, where, widths, placement, arch))
    inmost = {hop.tensor: hop for hop in hops}
    loads = np.full((where.steps, 3), NOTHING, dtype=np.int64)
    stores, partial = np.full(where.steps, NOTHING, dtype=np.int64), np.zeros(where.steps, dtype=bool)
    for column, tensor in enumerate(COMING[:2]):
        if tensor in inmost:
            loads[inmost[tensor].tiles.first, column] = inmost[tensor].bits_in
    output = inmost["output"]
    again = output.tiles.resumed
    loads[output.tiles.first[again], 2] = output.bits_in[again]
    stores[output.tiles.last] = output.bits_out
    partial[output.tiles.last] = ~output.tiles.whole
    tiles, classes = _classes(where)
    first = np.all([where.starts[dim][-1] == 0 for dim in "CRS"], axis=0)
    elements = np.prod([where.sizes[dim][-1] for dim in _biased(nest)], axis=0, dtype=np.int64)
    biases = np.where(first & nest.biased, elements * widths.partial_sum, 0)
    return StagedSchedule(nest, mapping, tiles, classes, loads, stores, partial, biases, where, hops)


def _biased(nest: LoopNest) -> str:
    return "GKPQ" if nest.private_weights else "GK"


def _hops(
    tensor: Tensor, nest: LoopNest, where: Places, widths: Widths, placement: Placement, arch: Architecture
) -> Iterator[Hop]:
    """The hops of ``tensor`` from the far end to the unit; none where it is on no level on chip."""
    outer: Level = arch.off_chip
    for level in arch.path(tensor):
        at = next(i for i, stage in enumerate(arch.stages) if level in stage)
        tiles = tiles_of(tensor, nest, at, where, level.window)
        none = np.zeros(len(tiles.first), dtype=np.int64)
        far = isinstance(outer, FarEnd)
        if tensor == "output":
            whole = 0 if far and placement.output_resident else widths.output
            going = tiles.elements * np.where(tiles.whole, whole, widths.partial_sum)
            coming = np.where(tiles.resumed, tiles.elements * widths.partial_sum, 0)
            yield Hop(tensor, outer, level, tiles, coming, going, none)
        elif tensor == "weight":
            resident = far and placement.weight_resident
            bits = none if resident else tiles.elements * widths.weight
            yield Hop(tensor, outer, level, tiles, bits, none, none if resident else _tile_biases(nest, at, where, tiles, widths))
        else:
            share = placement.input_off_chip
            bits = tiles.elements * widths.input
            if far:
                bits = -(-bits * share.numerator // share.denominator)
            yield Hop(tensor, outer, level, tiles, bits, none, none)
        outer = level


def _tile_biases(nest: LoopNest, at: int, where: Places, tiles: Tiles, widths: Widths) -> Ints:
    """Bits of the biases that come with each tile of weights: those of channels whose sums begin in it."""
    if not nest.biased:
        return np.zeros(len(tiles.first), dtype=np.int64)
    begins = np.all([where.starts[dim][at][tiles.first] == 0 for dim in "CRS"], axis=0)
    sizes = np.prod([where.sizes[dim][at][tiles.first] for dim in _biased(nest)], axis=0, dtype=np.int64)
    return np.where(begins, sizes * widths.partial_sum, 0)


def _classes(where: Places) -> tuple[Ints, npt.NDArray[np.int32]]:
    """The distinct tile shapes of the innermost stage, and each step's."""
    sizes = [where.sizes[dim][-1].astype(np.int64) for dim in Dims._fields]
    classes = row_numbers(sizes)
    first = first_of(classes)
    return np.stack([row[first] for row in sizes], axis=1), classes
