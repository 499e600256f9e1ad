"""The roofline model (Williams et al., CACM 2009): exact numbers, no drawing.

Work is counted in ops (2 a MAC, 1 a vector operation), intensity in ops a byte of off-chip traffic, and a
roof is ``min(peak, intensity x off-chip bandwidth)``. Everything is a `Fraction` a cycle until the very end,
so that a layer that runs exactly at its roof is never reported above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from accelsim.arch.memory import Level
from accelsim.arch.spec import Architecture, RoofSpec, listed_precisions
from accelsim.counters import Counters, Transfer
from accelsim.engines.base import LayerRun

Bound = Literal["compute", "memory"]
VECTOR = "vector"


@dataclass(frozen=True)
class Roof:
    """A machine's ceiling at one precision. ``name`` is ``int8``, ``int8xint16`` (weight x input) or
    ``vector``.

    ``bandwidth_bytes_per_second`` is that of the off-chip memory; None is unlimited.
    """

    name: str
    peak_gops: float
    bandwidth_bytes_per_second: float | None

    @property
    def ridge_ops_per_byte(self) -> float | None:
        """The intensity from which the peak can be reached; None where bandwidth is unlimited."""
        if self.bandwidth_bytes_per_second is None:
            return None
        return self.peak_gops * 1e9 / self.bandwidth_bytes_per_second

    def gops_at(self, intensity_ops_per_byte: float) -> float:
        """Height of the roof, in Gop/s."""
        if self.bandwidth_bytes_per_second is None:
            return self.peak_gops
        return min(self.peak_gops, intensity_ops_per_byte * self.bandwidth_bytes_per_second / 1e9)


@dataclass(frozen=True)
class Position:
    """Where work stands under its roof. Rates are ops a cycle; ``intensity`` None means no off-chip traffic
    at all.
    """

    intensity: Fraction | None
    attained: Fraction
    peak: Fraction
    roof: Fraction

    @property
    def bound(self) -> Bound:
        """What the roof is made of here: the peak, or the memory's bandwidth."""
        return "memory" if self.roof < self.peak else "compute"


def position(
    ops: int, cycles: int, off_chip_bits: int, peak_ops_per_cycle: Fraction, bytes_per_cycle: Fraction | None
) -> Position:
    """The `Position` of ``ops`` done in ``cycles``. Work that took no cycles attained nothing."""
    intensity = Fraction(8 * ops, off_chip_bits) if off_chip_bits else None
    roof = peak_ops_per_cycle
    if intensity is not None and bytes_per_cycle is not None:
        roof = min(roof, intensity * bytes_per_cycle)
    return Position(intensity, Fraction(ops, cycles) if cycles else Fraction(0), peak_ops_per_cycle, roof)


def bits_through(counters: Counters, level: str) -> int:
    """Bits read and written at a level's port, all tensors together."""
    transfers = counters.traffic.get(level, {}).values()
    return sum(t.read_bits + t.write_bits for t in transfers)


def weight_read_bits(counters: Counters, level: str) -> int:
    """Bits of weights, indices included, read at a level's port: what the TPU paper's x axis counts."""
    tensors = counters.traffic.get(level, {})
    return sum(tensors.get(tensor, Transfer()).read_bits for tensor in ("weight", "index"))


def bytes_per_cycle(level: Level, clock_hz: int) -> Fraction | None:
    """A level's bandwidth in bytes a cycle of the accelerator's clock, or None where it is unlimited."""
    return level.bandwidth.per_cycle(clock_hz) if level.bandwidth else None


def vector_lanes(arch: Architecture) -> int:
    """Vector operations a cycle, 0 without a vector unit."""
    return arch.vector.lanes if arch.vector else 0


def peak_ops_per_cycle(run: LayerRun, arch: Architecture) -> Fraction:
    """Ops a cycle that the units this layer uses can do: 2 a MAC of the engine, plus the vector lanes if it
    uses them.
    """
    engine = 2 * run.peak_macs_per_cycle if run.counters.macs else Fraction(0)
    return engine + (lanes_per_cycle(run, arch) if run.counters.vector_ops else 0)


def on_main_clock(run: LayerRun, arch: Architecture) -> LayerRun:
    """``run`` in cycles of ``arch``, and its levels by names of their own (``eie.spmat``), where another ran it."""
    machine = run.machine
    if machine is None:
        return run
    rate = Fraction(arch.clock, machine.clock)
    traffic = {f"{machine.name}.{level}": tensors for level, tensors in run.counters.traffic.items()}
    counters = replace(run.counters.on_clock(rate), traffic=traffic)
    roof = f"{machine.name}:{precision_name(run)}"
    return replace(run, counters=counters, peak_macs_per_cycle=run.peak_macs_per_cycle / rate, roof=roof)


def lanes_per_cycle(run: LayerRun, arch: Architecture) -> Fraction:
    """Vector operations that the run's machine does in a cycle of ``arch``."""
    machine = run.machine or arch
    return Fraction(vector_lanes(machine)) * machine.clock / arch.clock


def off_chip_of(run: LayerRun, arch: Architecture) -> tuple[str, Fraction | None]:
    """The far level that a run's bytes cross by its name in the report, and its bytes in a cycle of ``arch``."""
    machine = run.machine or arch
    name, rate = machine.off_chip.name, bytes_per_cycle(machine.off_chip, machine.clock)
    if machine is arch:
        return name, rate
    return f"{machine.name}.{name}", None if rate is None else rate * machine.clock / arch.clock


def layer_position(run: LayerRun, arch: Architecture) -> Position:
    """Where one layer's run, on the clock of ``arch``, stands under its roof."""
    far, rate = off_chip_of(run, arch)
    return position(
        run.worked_ops, run.counters.cycles, bits_through(run.counters, far), peak_ops_per_cycle(run, arch), rate,
    )  # fmt: skip


def total_position(runs: Sequence[LayerRun], total: Counters, arch: Architecture) -> Position:
    """Where a whole network stands: under the highest peak that its layers have, and the widest memory."""
    engine = max((2 * run.peak_macs_per_cycle for run in runs if run.counters.macs), default=Fraction(0))
    lanes = max((lanes_per_cycle(run, arch) for run in runs), default=Fraction(0))
    far = dict(off_chip_of(run, arch) for run in runs) or {arch.off_chip.name: None}
    rates = [rate for rate in far.values() if rate is not None]
    bits = sum(bits_through(total, name) for name in far)
    worked = sum(run.worked_ops for run in runs)
    peak = engine + (lanes if total.vector_ops else 0)
    return position(worked, total.cycles, bits, peak, max(rates) if len(rates) == len(far) else None)


def precision_name(run: LayerRun) -> str:
    """``int8`` where weights and inputs agree, else ``int8xint16`` (weight x input)."""
    if run.roof:
        return run.roof
    precision = run.layer.precision
    both = precision.weight == precision.input
    return str(precision.weight) if both else f"{precision.weight}x{precision.input}"


def gops(ops_per_cycle: Fraction, clock_hz: int) -> float:
    """Ops a cycle -> Gop/s, rounded once, so that order is kept."""
    return float(ops_per_cycle * clock_hz / 10**9)


def bandwidth_bytes_per_second(arch: Architecture) -> float | None:
    """Bandwidth of the off-chip memory, None where it is unlimited."""
    bandwidth = arch.off_chip.bandwidth
    return float(bandwidth.per_second(arch.clock)) if bandwidth else None


def used_roofs(runs: Iterable[LayerRun], arch: Architecture) -> list[Roof]:
    """One roof for each precision that the runs used, highest first, and the vector unit's where layers need
    it alone.
    """
    peaks: dict[str, tuple[Fraction, Architecture]] = {}
    for run in runs:
        machine = run.machine or arch
        if run.counters.macs:
            peaks[precision_name(run)] = 2 * run.peak_macs_per_cycle, machine
        elif run.counters.vector_ops and run.counters.cycles:
            name = VECTOR if machine is arch else f"{machine.name}:{VECTOR}"
            peaks[name] = lanes_per_cycle(run, arch), machine
    roofs = [
        Roof(name, gops(peak, arch.clock), bandwidth_bytes_per_second(machine))
        for name, (peak, machine) in peaks.items()
    ]
    return sorted(roofs, key=lambda roof: (-roof.peak_gops, roof.name))


def machine_roofs(arch: Architecture) -> list[Roof]:
    """The roofs that an architecture of kind ``roof`` lists, in its order: the first is the one that figures
    draw.
    """
    if not isinstance(arch.engine, RoofSpec):
        return engine_roofs(arch)
    bandwidth = bandwidth_bytes_per_second(arch)
    return [Roof(name, peak, bandwidth) for name, peak in arch.engine.peak_gops.items()]


def engine_roofs(arch: Architecture) -> list[Roof]:
    """The roofs of an engine that is simulated, from the precisions that its YAML lists, highest first."""
    from accelsim.workload.precision import Precision, parse_format

    engine = arch.engine
    assert not isinstance(engine, RoofSpec)
    bandwidth = bandwidth_bytes_per_second(arch)
    roofs = []
    for name in listed_precisions(engine.precision):
        weight, _, activation = name.partition("x")
        formats = Precision(weight=parse_format(weight), input=parse_format(activation or weight))
        roofs.append(Roof(name, gops(2 * engine.macs_per_cycle(formats), arch.clock), bandwidth))
    return sorted(roofs, key=lambda roof: (-roof.peak_gops, roof.name))
