"""Layers of very many equal pixels: a short part is run twice, and what a pixel adds is counted on.

With private kernels every output pixel brings its own weights, so nothing ties a pixel to the one before but
the buffers and the port. After a few pixels each takes what the slower of unit and port takes; two runs show
that it does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction

import numpy as np

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Stalls, Traffic, Transfer
from accelsim.engines.base import Array, Sums
from accelsim.engines.mapped import PlannedNest
from accelsim.mapping.loopnest import LoopNest
from accelsim.mapping.machine import Widths, off_chip_bits_per_cycle
from accelsim.schedule.build import Schedule, build_schedule
from accelsim.workload.precision import Precision

MANY_TILES = 1_000_000
SHORT, LONG = 48, 96  # pixels


@dataclass(frozen=True, kw_only=True)
class StretchedNest(PlannedNest):
    """A plan for `SHORT` pixels of the ``whole`` nest, and the schedule of `LONG` ones beside it."""

    longer: Schedule
    whole: LoopNest

    @property
    def pixels(self) -> int:
        return self.whole.dims.P * self.whole.dims.Q


def is_long(nest: LoopNest, arch: Architecture, widths: Widths) -> bool:
    """Whether a nest's weights come in so many tiles that its schedule is not written out.

    Only without padding: then all pixels are equal.
    """
    level = arch.holder("weight")
    if not nest.private_weights or level is None or level.size is None or nest.rows.pad or nest.columns.pad:
        return False
    inside = all(
        (outputs - 1) * axis.stride + (taps - 1) * axis.dilation < axis.size
        for axis, outputs, taps in (
            (nest.rows, nest.dims.P, nest.dims.R),
            (nest.columns, nest.dims.Q, nest.dims.S),
        )
    )
    bits = nest.weight_elements * widths.weight
    return inside and bits * level.slots > 8 * level.size * MANY_TILES and nest.dims.P * nest.dims.Q > LONG


def shortened(nest: LoopNest, pixels: int) -> LoopNest:
    """The nest with one row of ``pixels`` outputs."""
    columns = nest.columns._replace(
        size=(pixels - 1) * nest.columns.stride + (nest.dims.S - 1) * nest.columns.dilation + 1
    )
    return replace(nest, dims=nest.dims._replace(P=1, Q=pixels), columns=columns)


def pixel_sums(planned: StretchedNest, precision: Precision, image: Array, weight: Array) -> Sums:
    """All pixels in values mode (`Unit.accumulate`): of each row `LONG` at a time, in the order that was timed."""
    rows, columns = weight.shape[:2]
    nest, widths = planned.nest, Widths.of(precision)
    sums = np.zeros((nest.dims.N, nest.dims.K, rows, columns), np.int64 if precision.accumulator.is_integer else np.float32)
    effective, overflows = 0, 0
    for first in range(0, columns, LONG):
        part = shortened(nest, min(LONG, columns - first))
        schedule = build_schedule("", part, planned.mapping, widths, planned.placement)
        taken, left = slice(first, first + part.dims.Q), first * part.columns.stride
        for row in range(rows):
            seen = image[:, :, row * part.rows.stride :, left : left + part.columns.size]
            done = planned.unit.accumulate(schedule, precision, seen, weight[row : row + 1, taken])
            sums[:, :, row, taken] = done.accumulators[:, :, 0]
            effective, overflows = effective + done.effective_macs, overflows + done.overflows
    return Sums(sums, effective, overflows)


def stretch(short: Counters, long: Counters, pixels: int, arch: Architecture) -> Counters:
    """Counters of ``pixels`` from those of `SHORT` and `LONG`."""
    more = Fraction(pixels - SHORT, LONG - SHORT)

    def line(first: int, second: int) -> int:
        return first + round((second - first) * more)

    busy = line(short.busy_cycles, long.busy_cycles)
    stalls = {
        f.name: line(getattr(short.stalls, f.name), getattr(long.stalls, f.name)) for f in fields(Stalls)
    }
    cycles = short.cycles + round(_pixel_cycles(short, long, arch) * (pixels - SHORT))
    stalls["memory"] = cycles - busy - (sum(stalls.values()) - stalls["memory"])
    ports = {key: line(short.port_cycles[key], long.port_cycles[key]) for key in long.port_cycles}
    ports["memory"] += cycles - sum(ports.values())
    return Counters(
        cycles=cycles,
        busy_cycles=busy,
        stalls=Stalls(**stalls),
        macs=line(short.macs, long.macs),
        effective_macs=line(short.effective_macs, long.effective_macs),
        traffic=_traffic(short.traffic, long.traffic, more),
        port_cycles=ports,
        occupied_cycles={key: line(short.occupied_cycles[key], long.occupied_cycles[key]) for key in long.occupied_cycles},
        level_cycles={key: line(short.level_cycles[key], long.level_cycles[key]) for key in long.level_cycles},
        register_bits=line(short.register_bits, long.register_bits),
    )


def _pixel_cycles(short: Counters, long: Counters, arch: Architecture) -> Fraction:
    """Cycles that a pixel adds: what the port takes for its bits, where the two runs agree with that to a
    cycle.
    """
    measured = Fraction(long.cycles - short.cycles, LONG - SHORT)
    rate = off_chip_bits_per_cycle(arch)
    if rate is None:
        return measured
    bits = _off_chip_bits(long, arch) - _off_chip_bits(short, arch)
    port = Fraction(bits) / rate / (LONG - SHORT)
    return port if abs(port - measured) * (LONG - SHORT) <= 1 else measured


def _off_chip_bits(counters: Counters, arch: Architecture) -> int:
    return sum(t.read_bits + t.write_bits for t in counters.traffic[arch.off_chip.name].values())


def _traffic(short: Traffic, long: Traffic, more: Fraction) -> dict[str, dict[str, Transfer]]:
    table: dict[str, dict[str, Transfer]] = {}
    for level, tensors in long.items():
        for tensor, second in tensors.items():
            first = short[level][tensor]
            table.setdefault(level, {})[tensor] = Transfer(
                first.read_bits + round((second.read_bits - first.read_bits) * more),
                first.write_bits + round((second.write_bits - first.write_bits) * more),
            )
    return table
