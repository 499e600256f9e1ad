"""What mapping needs to know of an engine, and of the memory around it: the seam between the two rooms."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from accelsim.arch.memory import Buffer, Registers
from accelsim.arch.spec import Architecture, Tensor
from accelsim.mapping.loopnest import Dims, LoopNest
from accelsim.mapping.mapping import Mapping
from accelsim.workload.precision import Precision

Ints = npt.NDArray[np.int64]


class Trial(NamedTuple):
    """What a mapping was run for: its cycles, bits across the port off chip, cycles in which the unit takes operands in."""

    cycles: int
    off_chip_bits: int
    busy: int


Judge = Callable[[Mapping], Trial]
"""Runs a mapping of the nest at hand."""


@dataclass(frozen=True)
class Placement:
    """What is on chip before a layer starts, or stays there behind it.

    ``input_off_chip`` is the share of the input that has to be fetched (0: it is all there). ``reserved_bytes`` of
    each level are taken by whole tensors that live across this layer, its own resident ones included.
    """

    input_off_chip: Fraction = Fraction(1)
    output_resident: bool = False
    weight_resident: bool = False
    reserved_bytes: MappingABC[str, int] = field(default_factory=dict)

    @property
    def input_resident(self) -> bool:
        return self.input_off_chip == 0

    @property
    def key(self) -> Hashable:
        """All of it as a key of a table, whatever fields it has."""
        return tuple(tuple(sorted(v.items())) if isinstance(v, MappingABC) else v for v in vars(self).values())


class Machine(Protocol):
    """An engine, as the mapper sees it."""

    @property
    def name(self) -> str: ...

    def units(self, dataflow: str, precision: Precision) -> tuple[int, int, int]:
        """Sizes of the array along (pixels, output channels, reduction): tiles are best multiples of these; 1 if free."""

    def compute_cycles(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        """Estimated cycles of each tile, int64[candidates] for tiles int64[candidates, 8] in the order of Dims."""

    def depth_cycles(self, dataflow: str) -> int:
        """Cycles between a tile's last operands and its last output, about."""

    def operand_bits(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> dict[str, Ints]:
        """Bits between the engine and its levels for each tile, int64[candidates], by tensor: partial sums as if every
        update read and wrote one. Empty where no port on chip can be too slow."""

    def spills_partial_sums(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> npt.NDArray[np.bool_]:
        """Whether a tile's partial sums live in the output's level at accumulator width while it is computed."""

    def weight_elements(self, nest: LoopNest, tiles: Ints, dataflow: str, precision: Precision) -> Ints:
        """Weights of each tile as they are fetched and held, int64[candidates]: at least those that the tile has."""

    def weight_slots(self, nest: LoopNest, dataflow: str, precision: Precision) -> int:
        """How many tiles of weights their level holds at once."""

    def accumulator_pixels(self, dataflow: str) -> int | None:
        """Most pixels of a tile that the engine's own accumulators hold; None where it has none or needs none."""


@dataclass(frozen=True)
class Widths:
    """Bits of an element of each tensor."""

    weight: int
    input: int
    output: int
    partial_sum: int

    @classmethod
    def of(cls, precision: Precision) -> Widths:
        return cls(
            precision.weight.bits, precision.input.bits, precision.output.bits, precision.accumulator.bits
        )


def off_chip_bits_per_cycle(arch: Architecture) -> Fraction | None:
    """Bandwidth of the far end, None where it is unlimited."""
    bandwidth = arch.off_chip.bandwidth
    return None if bandwidth is None else 8 * bandwidth.per_cycle(arch.clock)


def slots_of(arch: Architecture, tensor: Tensor) -> int:
    """How many tiles of ``tensor`` its level holds at once; double buffering where it has no level."""
    level = arch.holder(tensor)
    return level.slots if level is not None else 2


def with_fewer_slots(arch: Architecture, crowded: frozenset[str]) -> list[Architecture]:
    """``arch``, and it with fewer slots of any of the ``crowded`` levels in use, half of them and so on; most first."""
    rungs = [
        [level.slots >> half for half in range(level.slots.bit_length() if level.name in crowded else 1)]
        for level in arch.on_chip
    ]
    return [_with_slots(arch, slots) for slots in product(*rungs)]


def _with_slots(arch: Architecture, slots: tuple[int, ...]) -> Architecture:
    levels = (level.model_copy(update={"slots": used}) for level, used in zip(arch.on_chip, slots, strict=True))
    return arch.model_copy(update={"memory": (arch.off_chip, *levels)})


def free_bytes(level: Buffer | Registers, placement: Placement) -> int | None:
    """What a level has left for tiles; None is unbounded: what streams need not fit."""
    if level.size is None or level.streams:
        return None
    return level.size - placement.reserved_bytes.get(level.name, 0)


def weight_elements(nest: LoopNest, tiles: Ints) -> Ints:
    """Weights that each of ``tiles`` int64[candidates, 8] has; with private kernels every pixel brings its own."""
    relevant = [1, 2, 5, 6, 7, *((3, 4) if nest.private_weights else ())]
    return np.asarray(tiles[:, relevant].prod(axis=1))


def tile_array(tile: Dims) -> Ints:
    return np.array([tile], dtype=np.int64)
