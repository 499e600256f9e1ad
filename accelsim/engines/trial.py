"""Trials of mappings: the cycles that a nest takes under each, and little else (kernels.trial).

The mapper runs many mappings to choose one. What a trial gives is what `Unit.run` gives, a hundredth of the time later.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from accelsim.arch.memory import Buffer, Registers, Tensor
from accelsim.arch.spec import Architecture
from accelsim.counters import Transfer
from accelsim.engines.kernels import trial as kernels
from accelsim.engines.kernels.timeline import FOLD_FIELDS
from accelsim.engines.walk import Carry
from accelsim.mapping.loopnest import DIMS, Dims, LoopNest
from accelsim.mapping.machine import Ints, Placement, Trial, Widths
from accelsim.mapping.mapping import Mapping, Order
from accelsim.memory.transfers import passes_through
from accelsim.schedule.build import StepKind, build_schedule
from accelsim.workload.precision import Precision

if TYPE_CHECKING:
    from accelsim.engines.mapped import Unit

LARGEST_TERM = 1 << 24  # of a port's rate as a fraction: bits times that stay below 2**63


class StepBits(NamedTuple):
    """Bits between the unit and the levels on chip for a step of one tile shape, by what kind of step it is.

    Inputs: so many, and so many for each block of positions inside the image. Sums as (read, written): of a step whose
    sums ``begun`` or ``resumed``; more where they are ``fetched`` or ``spilled``, or fewer written where they ``ended``.
    """

    weight: int
    input: int
    input_block: int
    begun: tuple[int, int]
    resumed: tuple[int, int]
    fetched: int
    spilled: int
    ended: int
    output: int

    def of(self, kind: StepKind) -> dict[Tensor, Transfer]:
        read, written = self.resumed if kind.resumes else self.begun
        return {
            "weight": Transfer(self.weight),
            "input": Transfer(self.input + self.input_block * kind.inside),
            "partial_sum": Transfer(
                read + self.fetched * kind.fetched, written + self.spilled * kind.spills - self.ended * kind.ends
            ),
            "output": Transfer(0, self.output * kind.ends),
        }

    def row(self) -> list[int]:
        """Columns B_* of the kernel."""
        sums = [sum(self.begun), sum(self.resumed), self.fetched, self.spilled, -self.ended]
        return [self.weight, self.input, self.input_block, *sums, self.output]


class TileWork(NamedTuple):
    """What one tile is to its unit: bits of its weights as they are fetched, what crosses its ports, cycles in which those with
    a bandwidth can work, folds: a grid and its four shapes (kernels.timeline).
    """

    weight_bits: int
    bits: StepBits
    there: tuple[int, ...]
    grid: tuple[int, int, int]
    folds: list[list[int]]


def bounded_ports(arch: Architecture) -> list[Buffer | Registers]:
    """The levels on chip whose port has a bandwidth."""
    return [level for level in arch.on_chip if level.bandwidth is not None]


class _Tables:
    """`TileWork` of the tile shapes that were met, as the kernel takes it: a row each."""

    def __init__(self, ports: int, rows: int = 64) -> None:
        self.weight_bits = np.zeros(rows, dtype=np.int64)
        self.bits = np.zeros((rows, kernels.BITS_FIELDS), dtype=np.int64)
        self.there = np.zeros((rows, ports), dtype=np.int64)
        self.grids = np.zeros((rows, 3), dtype=np.int64)
        self.folds = np.zeros((rows, 4, FOLD_FIELDS), dtype=np.int64)
        self.used = 0

    def add(self, work: TileWork) -> int:
        """The row of ``work``."""
        row, self.used = self.used, self.used + 1
        if self.used > len(self.weight_bits):
            for name in ("weight_bits", "bits", "there", "grids", "folds"):
                table = getattr(self, name)
                setattr(self, name, np.concatenate([table, np.zeros_like(table)]))
        self.weight_bits[row], self.bits[row], self.there[row] = work.weight_bits, work.bits.row(), work.there
        self.grids[row], self.folds[row] = work.grid, work.folds
        return row


class Trials:
    """Mappings of one nest, each run from a fresh start."""

    def __init__(
        self, nest: LoopNest, arch: Architecture, unit: Unit, precision: Precision, placement: Placement, dataflow: str
    ) -> None:
        self.nest, self.arch, self.unit, self.precision, self.placement = nest, arch, unit, precision, placement
        self.dataflow = dataflow
        self._rows: dict[Dims, int] = {}
        ports = bounded_ports(arch)
        self._tables = _Tables(len(ports))
        self._ports = np.array([_port(arch, level) for level in ports], dtype=np.int64).reshape(-1, kernels.PORT_FIELDS)
        self._dims = np.array(nest.dims, dtype=np.int64)
        block = unit.read_block(nest, precision)
        self._image_rows = np.array([*nest.rows, *block[::2]], dtype=np.int64)
        self._image_columns = np.array([*nest.columns, *block[1::2]], dtype=np.int64)
        self._options = unit.walk_options(dataflow)
        self._nests: dict[frozenset[str], Ints] = {}
        widths = Widths.of(precision)
        self._exact = int(self._ports[:, :2].max(initial=0)) <= LARGEST_TERM and not any(
            passes_through(arch, tensor, nest, widths) for tensor in ("weight", "input")
        )

    def __call__(self, mapping: Mapping) -> Trial:
        if not self._exact:
            return self._run(mapping)
        dims, tables = self.nest.dims, self._tables
        numbers = np.array([self._row(shape) for shape in _shapes(dims, mapping.tile)], dtype=np.int64)
        return Trial(
            *kernels.trial(
                self._dims, np.array(mapping.tile, dtype=np.int64), _columns(mapping.order), self._nest(mapping.keep),
                self._image_rows, self._image_columns, numbers, tables.weight_bits, tables.bits, self._ports, tables.there,
                tables.grids, tables.folds, self._options,
            )
        )  # fmt: skip

    def _run(self, mapping: Mapping) -> Trial:
        """Where operands pass through, or a rate is no simple fraction: the long way."""
        schedule = build_schedule("", self.nest, mapping, Widths.of(self.precision), self.placement)
        counters = self.unit.run(schedule, self.precision, self.placement, Carry.start(self.arch))
        moved = counters.traffic.get(self.arch.off_chip.name, {}).values()
        bits = sum(transfer.read_bits + transfer.write_bits for transfer in moved)
        return Trial(counters.cycles, bits, counters.port_cycles["active"])

    def _row(self, tile: Dims) -> int:
        if tile not in self._rows:
            self._rows[tile] = self._tables.add(self.unit.tile_work(tile, self.nest, self.precision, self.dataflow))
        return self._rows[tile]

    def _nest(self, keep: frozenset[str]) -> Ints:
        """Entries M_* of the kernel."""
        if keep not in self._nests:
            place, widths, nest = self.placement, Widths.of(self.precision), self.nest
            share = place.input_off_chip
            slots = self.unit.weight_slots(nest, self.dataflow, self.precision)
            numbers = [
                widths.input, widths.output, widths.partial_sum, share.numerator, share.denominator, place.weight_resident,
                place.output_resident, nest.private_weights, nest.biased, "weight" in keep, "input" in keep, slots,
            ]  # fmt: skip
            self._nests[keep] = np.array(numbers, dtype=np.int64)
        return self._nests[keep]


def _port(arch: Architecture, level: Buffer | Registers) -> list[int]:
    """Columns PORT_* of the kernel."""
    assert level.bandwidth is not None
    rate = 8 * level.bandwidth.per_cycle(arch.clock)
    holds: list[Tensor] = ["weight", "input", "partial_sum", "output"]
    return [rate.numerator, rate.denominator, *(arch.holder(tensor) is level for tensor in holds)]


def _shapes(dims: Dims, tile: Dims) -> list[Dims]:
    """The shapes of tiles that there are: along every ragged loop the common size or the last one, the first loop's first."""
    shapes = [tile]
    for loop, (size, step) in enumerate(zip(dims, tile, strict=True)):
        if size % step:
            shapes += [shape._replace(**{DIMS[loop]: size % step}) for shape in shapes]
    return shapes


@lru_cache(maxsize=4096)
def _columns(order: Order) -> Ints:
    return np.array([DIMS.index(dim) for dim in order], dtype=np.int64)
