"""Mappings for several stages of memory: each stage as a flat machine of its own, from the outermost in.

The far end of such a machine is the level around the stage, its network the tile of that level. A few such choices differ in
the loops that outer stages leave uncut, and the caller runs them all. That is no search over all stages at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import FarEnd
from accelsim.arch.spec import Architecture
from accelsim.errors import InfeasibleError
from accelsim.mapping.auto import choose_mapping
from accelsim.mapping.fit import fits, require_fit
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.machine import Ints, Judge, Machine, Placement, tile_array, weight_elements
from accelsim.mapping.mapping import LayerMapping, Mapping, Stage, TileSizes
from accelsim.workload.precision import Precision

WHOLE = ("", "CRS", "CRSK", "CRSNPQ")
"""Loops that outer stages leave uncut, each tried: with the reduction whole no partial sum leaves them."""
JudgeOn = Callable[[Architecture, LoopNest, Placement], Judge]
Fed = Callable[[Architecture], Machine]


def stage_view(arch: Architecture, at: int) -> Architecture:
    """Stage ``at`` alone: what lies around it is far, what lies within it is the unit's, which is fed as fast as it asks."""
    levels = arch.stages[at]
    far = arch.off_chip
    if at:
        outer = arch.stages[at - 1][0]
        far = FarEnd(name=outer.name, bandwidth=outer.bandwidth)
    if at < len(arch.stages) - 1:
        levels = tuple(level.model_copy(update={"bandwidth": None}) for level in levels)
    return arch.model_copy(update={"memory": (far, *levels)})


@dataclass(frozen=True)
class Stages:
    """The choice of mappings of all stages for a nest.

    ``fed`` gives the engine as a stage's machine; ``judge_on`` what runs a stage's mappings on that
    machine; ``fixed`` what the user says of the layer.
    """

    layer: str
    nest: LoopNest
    arch: Architecture
    fed: Fed
    precision: Precision
    dataflow: str
    placement: Placement
    fixed: LayerMapping
    judge_on: JudgeOn
    _known: dict[tuple[int, Dims, LayerMapping], Stage] = field(default_factory=dict, repr=False)

    def mappings(self) -> list[Mapping]:
        """Legal mappings, all that are looked at; `InfeasibleError` where there is none."""
        found: list[Mapping] = []
        why: InfeasibleError | None = None
        for whole in WHOLE:
            try:
                one = self._mapping(whole)
            except InfeasibleError as error:
                why = why or error
                continue
            found += [one] if one not in found else []
        if not found and why is not None:
            raise why
        return found

    def _mapping(self, whole: str) -> Mapping:
        """The one whose outer stages leave the loops of ``whole`` uncut."""
        found: list[Stage] = []
        for at, levels in enumerate(self.arch.stages):
            within = _within(self.nest, found)
            words = self.fixed
            if at < len(self.arch.stages) - 1:
                words = _uncut(words.at(tuple(level.name for level in levels)), whole, within.dims)
            found.append(self._stage(at, within, words.model_copy(update={"keep": ()})))
        return Mapping(found[-1].tile, found[-1].order, self.dataflow, outer=tuple(found[:-1]))

    def _stage(self, at: int, within: LoopNest, words: LayerMapping) -> Stage:
        """The best tile and order of a stage, whose tiles cut ``within``."""
        key = at, within.dims, words
        if key not in self._known:
            view, last = stage_view(self.arch, at), at == len(self.arch.stages) - 1
            there = self.placement if at == 0 else Placement()
            machine = self.fed(view) if last else _Around(self.fed(view))
            judge = self.judge_on(view, within, there) if last else None
            chosen = words.whole(within.dims, self.dataflow) or choose_mapping(
                self.layer, within, view, machine, self.precision, self.dataflow, there, words, judge
            )
            require_fit(self.layer, within, chosen.tile, view, machine, self.precision, self.dataflow, there)
            self._known[key] = Stage(chosen.tile, chosen.order)
        return self._known[key]


def stages_fit(
    nest: LoopNest, mapping: Mapping, arch: Architecture, fed: Fed, precision: Precision, placement: Placement
) -> bool:
    """Whether the tiles of all stages fit their levels beside what ``placement`` says is there."""
    for at, stage in enumerate(mapping.stages):
        view, last = stage_view(arch, at), at == len(arch.stages) - 1
        within = _within(nest, list(mapping.stages[:at]))
        machine, there = fed(view) if last else _Around(fed(view)), placement if at == 0 else Placement()
        if not fits(within, tile_array(stage.tile), view, machine, precision, mapping.dataflow, there)[0]:
            return False
    return True


def _uncut(words: LayerMapping, whole: str, sizes: Dims) -> LayerMapping:
    """What a user fixed, and of the rest the loops of ``whole`` as long as they are."""
    tile = {dim: getattr(sizes, dim) for dim in whole} | words.tile.given()
    return words.model_copy(update={"tile": TileSizes(**tile)})


def _within(nest: LoopNest, outside: list[Stage]) -> LoopNest:
    """The nest that the next stage sees: a whole tile of the stage around it."""
    return replace(nest, dims=outside[-1].tile) if outside else nest


@dataclass(frozen=True)
class _Around:
    """An engine as the mapper of an outer stage sees it: its own accumulators do not bound tiles that are cut again."""

    engine: Machine

    @property
    def name(self) -> str:
        return self.engine.name

    def units(self, dataflow: str, precision: Precision) -> tuple[int, int, int]:
        return self.engine.units(dataflow, precision)

    def compute_cycles(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        return self.engine.compute_cycles(nest, tiles, dataflow, precision)

    def depth_cycles(self, dataflow: str) -> int:
        return self.engine.depth_cycles(dataflow)

    def operand_bits(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> dict[str, Ints]:
        """None: the levels of an outer stage feed the levels within them."""
        del nest, tiles, dataflow, precision
        return {}

    def spills_partial_sums(
        self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision
    ) -> npt.NDArray[np.bool_]:
        """They always may: a tile of sums comes to this stage as often as the stages within it leave it."""
        del nest, dataflow, precision
        return np.ones(len(tiles), dtype=bool)

    def weight_elements(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        del dataflow, precision
        return weight_elements(nest, tiles)

    def weight_slots(self, nest: LoopNest, dataflow: str, precision: Precision) -> int:
        return self.engine.weight_slots(nest, dataflow, precision)

    def accumulator_pixels(self, dataflow: str) -> int | None:
        del dataflow
        return None
