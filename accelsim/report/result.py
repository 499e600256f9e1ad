"""Runs of layers -> `Result`, checked: a run that breaks a law of conservation is refused, not reported."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from fractions import Fraction
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import fsum, isfinite, prod
from typing import Any

from pydantic import BaseModel

from accelsim import __version__
from accelsim.analysis import roofline
from accelsim.analysis.expected import Spent, Stage, expected, leaves, probabilities
from accelsim.arch.memory import FarEnd, Level
from accelsim.arch.spec import Architecture, SparseSpec, SystolicSpec
from accelsim.counters import Counters, Traffic
from accelsim.engines.base import LayerRun
from accelsim.errors import InvariantError
from accelsim.report.model import (
    Expected,
    InputFile,
    LayerResult,
    Leave,
    LevelRecord,
    LimiterRecord,
    Machine,
    Mode,
    OtherMachine,
    PrecisionNames,
    Provenance,
    Result,
    Roofline,
    RoofRecord,
    Totals,
    TrafficBytes,
    WeightRecord,
)
from accelsim.workload.network import Network, Odds

__all__ = ["LayerResult", "Result", "Totals", "build_result"]


def build_result(
    network: Network,
    arch: Architecture,
    runs: Sequence[LayerRun],
    energies: Sequence[Mapping[str, float]],
    energy_sources: Iterable[object] = (),
    mode: Mode = "cycles",
    seed: int = 0,
    command: str = "",
    accuracy: float | None = None,
    limiters: bool = True,
) -> Result:
    """Gather the runs of a network's layers, in order, into a `Result`.

    ``energies`` has one mapping a layer, component to picojoules; ``energy_sources`` are dataclasses,
    pydantic models or mappings that say where each cost comes from. Without ``limiters`` no layer is walked again for
    what limits it. Raises `InvariantError` on a run that
    cannot be true.
    """
    for run, energy in zip(runs, energies, strict=True):
        check_run(replace(run, machine=None), run.machine or arch)
        check_energy(run, energy)
    runs = [roofline.on_main_clock(run, arch) for run in runs]
    for run in runs:
        if run.machine is not None:  # its own clock's cycles, rounded
            check_run(run, arch)
    layers = [_layer(run, arch, energy, limiters) for run, energy in zip(runs, energies, strict=True)]
    conditional = any(run.layer.odds != Odds() for run in runs)
    stages = [_stage(run, layer, arch) for run, layer in zip(runs, layers, strict=True)]
    if conditional:
        odds = probabilities(stages)
        layers = [layer.model_copy(update={"probability": p}) for layer, p in zip(layers, odds, strict=True)]
    return Result(
        provenance=_provenance(network, arch, seed, command),
        network=network.name,
        architecture=arch.name,
        clock_hz=arch.clock,
        batch=network.batch,
        batch_parts=max((run.parts for run in runs), default=1),
        mode=mode,
        machine=_machine(runs, arch),
        energy_sources=[_source(source) for source in energy_sources],
        totals=_totals(runs, arch, layers),
        accuracy=accuracy,
        expected=_expected(stages) if conditional else None,
        layers=layers,
    )


def check_run(run: LayerRun, arch: Architecture) -> None:
    """Raise `InvariantError` where a run breaks a law that every run must keep."""
    name, counters = run.layer.name, run.counters
    accounted = counters.busy_cycles + counters.stalls.total()
    _require(
        counters.cycles == accounted,
        name,
        f"{counters.cycles} cycles, but busy and stalls add up to {accounted}",
    )
    _require(
        counters.macs == run.layer.macs,
        name,
        f"{counters.macs} MACs were counted, the layer has {run.layer.macs}",
    )
    _require(
        not run.dims or prod(run.dims.values()) == counters.macs,
        name, f"{counters.macs} MACs were counted, its dimensions make {prod(run.dims.values())}",
    )  # fmt: skip
    _require(
        counters.effective_macs <= counters.macs,
        name, f"{counters.effective_macs} effective MACs are more than its {counters.macs} MACs",
    )  # fmt: skip
    most = counters.cycles * run.peak_macs_per_cycle
    _require(
        run.worked_macs <= most,
        name,
        f"{run.worked_macs} MACs in {counters.cycles} cycles, at most {float(most):g} fit",
    )
    for level in arch.memory:
        rate = roofline.bytes_per_cycle(level, arch.clock)
        if rate is None:
            continue
        crossed = Fraction(roofline.bits_through(counters, level.name), 8)
        for cycles in (counters.cycles, counters.level_cycles.get(level.name, counters.cycles)):
            fits = rate * cycles
            _require(
                crossed <= fits,
                name,
                f"{float(crossed):.12g} bytes crossed {level.name} in {cycles} cycles, at most {float(fits):.12g} fit",
            )
    place = roofline.layer_position(run, arch)
    attained, roof = (roofline.gops(rate, arch.clock) for rate in (place.attained, place.roof))
    _require(
        place.attained <= place.roof,
        name,
        f"attained {attained:.17g} Gop/s, but its roof is {roof:.17g} Gop/s",
    )


def check_energy(run: LayerRun, energy: Mapping[str, float]) -> None:
    """Raise `InvariantError` for an energy that is no finite, non-negative number."""
    for component, picojoules in energy.items():
        good = isfinite(picojoules) and picojoules >= 0
        _require(
            good,
            run.layer.name,
            f"the energy of {component} is {picojoules} pJ, must be finite and at least 0",
        )


def _require(holds: bool, layer: str, message: str) -> None:
    if not holds:
        raise InvariantError(f"layer {layer}: {message}; this is a defect of accelsim, please report it")


def _layer(run: LayerRun, arch: Architecture, energy: Mapping[str, float], limiters: bool) -> LayerResult:
    layer, counters = run.layer, run.counters
    limiter = run.limiter if limiters and run.machine is None else None
    formats = layer.precision
    return LayerResult(
        name=layer.name,
        op=layer.op.op,
        engine=run.engine,
        machine=run.machine.name if run.machine else "",
        roof=run.roof,
        inputs=[str(ref) for ref in layer.inputs],
        input_shapes=[list(shape) for shape in layer.input_shapes],
        output_shapes=[list(shape) for shape in layer.output_shapes],
        epilogue=list(layer.epilogue),
        dims=dict(run.dims),
        precision=PrecisionNames(
            weight=str(formats.weight), input=str(formats.input),
            output=str(formats.output), accumulator=str(formats.accumulator),
        ),
        mapping=_plain(run.mapping),
        cycles=counters.cycles,
        seconds=counters.cycles / arch.clock,
        busy_cycles=counters.busy_cycles,
        stall_cycles=counters.stalls.to_dict(),
        port_cycles=dict(counters.port_cycles),
        occupied_cycles=dict(counters.occupied_cycles),
        limiter=None if limiter is None else LimiterRecord(**limiter._asdict()),
        unit_counts=dict(counters.unit_counts),
        macs=counters.macs,
        effective_macs=counters.effective_macs,
        vector_ops=counters.vector_ops,
        ops=counters.ops,
        peak_macs_per_cycle=float(run.peak_macs_per_cycle),
        utilization=_ratio(run.worked_macs, counters.cycles * run.peak_macs_per_cycle),
        traffic_bytes=_traffic(counters.traffic, arch),
        energy_pj={component: float(amount) for component, amount in energy.items()},
        energy_total_pj=fsum(energy.values()),
        roofline=_roofline(roofline.layer_position(run, arch), counters, [roofline.off_chip_of(run, arch)[0]], arch.clock),
        accumulator_overflows=counters.accumulator_overflows,
        weights=_weights(run, run.machine or arch),
        input_density=_input_density(run),
    )  # fmt: skip


def _stage(run: LayerRun, layer: LayerResult, arch: Architecture) -> Stage:
    far = layer.level_traffic(roofline.off_chip_of(run, arch)[0]).total
    spent = Spent(layer.cycles, layer.seconds, layer.macs, layer.effective_macs, layer.energy_total_pj, far)
    return Stage(layer.name, spent, run.layer.odds.exit, run.layer.odds.gate)


def _expected(stages: Sequence[Stage]) -> Expected:
    ends = [
        Leave(after=end.after, share=end.share, cycles=end.spent.cycles, seconds=end.spent.seconds,
              energy_pj=end.spent.energy_pj)
        for end in leaves(stages)
    ]  # fmt: skip
    return Expected(**asdict(expected(stages)), leaves=ends)


def _input_density(run: LayerRun) -> float | None:
    if not run.layer.macs:
        return None
    return run.layer.input_values.density if run.input_density is None else run.input_density


def _weights(run: LayerRun, arch: Architecture) -> WeightRecord | None:
    """What a layer's weights are, and what they take on ``arch``; None for a layer without any."""
    from accelsim.engines.systolic import structure_of  # which knows numba

    layer, engine = run.layer, arch.engine
    if layer.weight_shape is None:
        return None
    elements = prod(layer.weight_shape)
    nonzero = run.nonzero_weights if run.nonzero_weights is not None else round(layer.weight.density * elements)
    stored = elements, elements * layer.precision.weight.bits, 0
    if isinstance(engine, SparseSpec) and "stored_value_bits" in run.counters.unit_counts:
        stored = _compressed(run.counters.unit_counts, engine)
    elif isinstance(engine, SystolicSpec) and run.skipped_macs and (found := structure_of(layer, engine)):
        kept, each = elements * found.n // found.m, found.index_bits
        stored = kept, kept * (layer.precision.weight.bits + each), kept * each
    return WeightRecord(
        parameters=layer.parameters, elements=elements, nonzero=nonzero,
        addresses=stored[0], stored_bits=stored[1], index_bits=stored[2],
    )  # fmt: skip


def _compressed(counts: Mapping[str, int], engine: SparseSpec) -> tuple[int, int, int]:
    """(entries, all bits, those of indices and pointers) of a sparse engine's matrices; a bias is a column of theirs."""
    values, indices, pointers, padding = (
        counts[f"stored_{part}_bits"] for part in ("value", "index", "pointer", "padding")
    )
    entry_bits = engine.weight_bits + engine.index_bits
    padded = padding // entry_bits
    bits = values + indices + pointers + padding
    return values // engine.weight_bits + padded, bits, indices + pointers + padded * engine.index_bits


def _totals(runs: Sequence[LayerRun], arch: Architecture, layers: Sequence[LayerResult]) -> Totals:
    total = sum((run.counters for run in runs), Counters())
    place = roofline.total_position(runs, total, arch)
    energy = _sum_energy(layers)
    picojoules, seconds = fsum(energy.values()), total.cycles / arch.clock
    return Totals(
        cycles=total.cycles,
        seconds=seconds,
        macs=total.macs,
        effective_macs=total.effective_macs,
        vector_ops=total.vector_ops,
        ops=total.ops,
        unmodelled_ops=sum(run.unmodelled_ops for run in runs),
        utilization=_ratio(sum(run.worked_macs for run in runs), _mac_slots(runs)),
        busy_cycles=total.busy_cycles,
        stall_cycles=total.stalls.to_dict(),
        traffic_bytes=_sum_traffic(layers, arch),
        energy_pj=energy,
        energy_total_pj=picojoules,
        power_w=picojoules * 1e-12 / seconds if seconds else 0.0,
        attained_gops=roofline.gops(place.attained, arch.clock),
        roofline=_roofline(place, total, dict(roofline.off_chip_of(run, arch) for run in runs), arch.clock),
        accumulator_overflows=total.accumulator_overflows,
    )


def _mac_slots(runs: Sequence[LayerRun]) -> Fraction:
    """MACs that the engine could have done in the network's time; layers without MACs leave it idle at its
    fastest.
    """
    fastest = max((run.peak_macs_per_cycle for run in runs if run.counters.macs), default=Fraction(0))
    slots = (
        run.counters.cycles * (run.peak_macs_per_cycle if run.counters.macs else fastest) for run in runs
    )
    return sum(slots, Fraction(0))


def _ratio(part: int, whole: Fraction | int) -> float:
    return float(Fraction(part) / whole) if whole else 0.0


def _roofline(place: roofline.Position, counters: Counters, far: Iterable[str], clock_hz: int) -> Roofline:
    """``far``: the levels off chip that the counted bytes crossed."""
    weight_bits = sum(roofline.weight_read_bits(counters, name) for name in far)
    per_byte = float(Fraction(8 * counters.macs, weight_bits)) if weight_bits and counters.macs else None
    return Roofline(
        intensity_ops_per_byte=None if place.intensity is None else float(place.intensity),
        macs_per_weight_byte=per_byte,
        attained_gops=roofline.gops(place.attained, clock_hz),
        roof_gops=roofline.gops(place.roof, clock_hz),
        peak_gops=roofline.gops(place.peak, clock_hz),
        bound=place.bound,
    )


def _machine(runs: Sequence[LayerRun], arch: Architecture) -> Machine:
    roofs = [
        RoofRecord(name=roof.name, peak_gops=roof.peak_gops, ridge_ops_per_byte=roof.ridge_ops_per_byte)
        for roof in roofline.used_roofs(runs, arch)
    ]
    return Machine(
        off_chip=arch.off_chip.name,
        bandwidth_bytes_per_second=roofline.bandwidth_bytes_per_second(arch),
        roofs=roofs,
        levels=[_level(level, arch) for level in arch.memory],
        engine=arch.engine.model_dump(mode="json", exclude_none=True),
        others={machine.name: _other(machine) for machine in _machines(runs)},
    )


def _machines(runs: Sequence[LayerRun]) -> list[Architecture]:
    """The architectures beside the report's own."""
    return list({id(run.machine): run.machine for run in runs if run.machine}.values())


def _other(machine: Architecture) -> OtherMachine:
    return OtherMachine(
        clock_hz=machine.clock,
        sha256=machine.sha256,
        off_chip=f"{machine.name}.{machine.off_chip.name}",
        bandwidth_bytes_per_second=roofline.bandwidth_bytes_per_second(machine),
        levels=[
            level.model_copy(update={"name": f"{machine.name}.{level.name}"})
            for level in (_level(level, machine) for level in machine.memory)
        ],
        engine=machine.engine.model_dump(mode="json", exclude_none=True),
    )


def _level(level: Level, arch: Architecture) -> LevelRecord:
    rate = roofline.bytes_per_cycle(level, arch.clock)
    return LevelRecord(
        name=level.name,
        size_bytes=None if isinstance(level, FarEnd) else level.size,
        bandwidth_bytes_per_second=None if rate is None else float(rate * arch.clock),
        holds=[] if isinstance(level, FarEnd) else list(level.holds),
    )


def _traffic(traffic: Traffic, arch: Architecture) -> dict[str, dict[str, TrafficBytes]]:
    """Every level of the architecture from the far end on, then what else an engine counted; empty where
    none crossed.
    """
    levels = dict.fromkeys((*(level.name for level in arch.memory), *traffic))
    return {
        level: {
            tensor: TrafficBytes(read=crossed.read_bytes, write=crossed.write_bytes)
            for tensor, crossed in traffic.get(level, {}).items()
        }
        for level in levels
    }


def _sum_traffic(layers: Sequence[LayerResult], arch: Architecture) -> dict[str, TrafficBytes]:
    """Sums of the layers' bytes, so that the file adds up."""
    levels = [level.name for level in arch.memory]
    names = dict.fromkeys((*levels, *(level for layer in layers for level in layer.traffic_bytes)))
    parts = {name: [layer.level_traffic(name) for layer in layers] for name in names}
    return {
        name: TrafficBytes(read=sum(p.read for p in part), write=sum(p.write for p in part))
        for name, part in parts.items()
    }


def _sum_energy(layers: Sequence[LayerResult]) -> dict[str, float]:
    components = dict.fromkeys(component for layer in layers for component in layer.energy_pj)
    return {c: fsum(layer.energy_pj.get(c, 0.0) for layer in layers) for c in components}


def _provenance(network: Network, arch: Architecture, seed: int, command: str) -> Provenance:
    return Provenance(
        accelsim=_version("accelsim"),
        python=platform.python_version(),
        numba=_version("numba"),
        network=InputFile(name=network.name, sha256=network.sha256),
        arch=InputFile(name=arch.name, sha256=arch.sha256),
        seed=seed,
        command=command,
    )


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return __version__ if package == "accelsim" else "not installed"


def _source(source: object) -> dict[str, Any]:
    fields: Any = source
    if isinstance(source, BaseModel):
        fields = source.model_dump(mode="json")
    elif is_dataclass(source) and not isinstance(source, type):
        fields = asdict(source)
    record = _plain(fields)
    assert isinstance(record, dict), f"an energy source must be a record, not {source!r}"
    return record


def _plain(value: Any) -> Any:
    """Values as JSON holds them: no tuples, fractions or numpy scalars, so that a result reads back equal to
    itself.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else str(value)
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)
