"""``accelsim explain --arch ARCH``: a machine without a network, its levels from the far end in and what it can do at most."""

from __future__ import annotations

from collections.abc import Iterator

from accelsim.analysis.roofline import Roof, bandwidth_bytes_per_second, machine_roofs
from accelsim.arch.memory import Buffer, Level, Registers
from accelsim.arch.spec import Architecture, NfuSpec, RoofSpec, SparseSpec, SystolicSpec
from accelsim.report.words import columns, compact, rate, significant
from accelsim.units import format_bytes


def explain_machine(arch: Architecture) -> str:
    """The machine as text."""
    about = f": {arch.description}" if arch.description else ""
    lines = [f"{arch.name}{about}", f"  {compact(arch.clock, 'Hz')}, {arch.technology.node_nm:g} nm", ""]
    lines += ["memory, a level within another indented:", *columns(list(_levels(arch))), ""]
    lines += [f"engine: {_engine(arch)}", *columns(list(_peaks(arch)))]
    if arch.vector is not None:
        riding = f"; {', '.join(arch.vector.inline)} ride on the results" if arch.vector.inline else ""
        lines += ["", f"vector unit: {arch.vector.lanes:,} lanes{riding}"]
    return "\n".join(lines)


def _levels(arch: Architecture) -> Iterator[tuple[str, ...]]:
    """One row a level."""
    yield ("level", "holds", "size", "tiles", "port")
    yield (arch.off_chip.name, "everything", "-", "-", _port(arch.off_chip, arch))
    for depth, stage in enumerate(arch.stages, 1):
        for level in stage:
            size = format_bytes(level.size) if level.size is not None else "unbounded"
            tiles = "-" if level.streams else str(level.slots)
            yield ("  " * depth + level.name, " ".join(level.holds), size + _cells(level), tiles, _port(level, arch))


def _cells(level: Buffer | Registers) -> str:
    """What a level is made of where that is not one SRAM."""
    banks = f" in {level.banks} banks" if isinstance(level, Buffer) and level.banks > 1 else ""
    return banks + {"sram": "", "dram": ", DRAM", "register": ", registers"}[level.cells]


def _port(level: Level, arch: Architecture) -> str:
    latency = getattr(level, "latency", None)
    behind = f", then {latency}" if latency is not None and latency.in_cycles(arch.clock) else ""
    if level.bandwidth is None:
        return f"unlimited{behind}"
    each = level.bandwidth.per_cycle(arch.clock)
    return f"{significant(float(each))} B/cycle, {compact(float(each) * arch.clock, 'B/s')}{behind}"


def _engine(arch: Architecture) -> str:
    """The engine in a line."""
    engine = arch.engine
    if isinstance(engine, SystolicSpec):
        return f"{engine.rows} x {engine.cols} systolic array, {engine.dataflow}"
    if isinstance(engine, NfuSpec):
        loops = " x ".join(f"{size} {dim}" for dim, size in engine.unroll if size > 1)
        nodes = f", {engine.nodes} nodes" if engine.nodes > 1 else ""
        return f"NFU of {loops or 'one multiplier'}{nodes}"
    if isinstance(engine, SparseSpec):
        channels = f", {engine.channels} channels" if engine.channels > 1 else ""
        return f"{engine.pes} sparse PEs{channels}"
    assert isinstance(engine, RoofSpec)
    return "known by its peak alone: drawn on rooflines, never simulated"


def _peaks(arch: Architecture) -> Iterator[tuple[str, ...]]:
    """One row a precision: what it does at most, and the intensity from which on it can."""
    yield ("precision", "peak", "from")
    off_chip = bandwidth_bytes_per_second(arch)
    for roof in machine_roofs(arch):
        yield (roof.name, rate(roof.peak_gops), _ridge(roof, off_chip))


def _ridge(roof: Roof, bandwidth: float | None) -> str:
    return "-" if not bandwidth else f"{significant(roof.peak_gops * 1e9 / bandwidth)} op/B"
