"""Results of made-up machines and networks, fixed for good: figures are tested on these, not on what a simulation counts.

`CASES` are 60 roofline figures: 1 to 12 results on 1 to 4 machines, layers, networks and levels, precisions, widths.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from accelsim.report.model import (
    InputFile,
    LayerResult,
    LevelRecord,
    Machine,
    PrecisionNames,
    Provenance,
    Result,
    Roofline,
    RoofRecord,
    Totals,
    TrafficBytes,
)
from accelsim.report.trace import SCHEMA

CLOCK_HZ = 10**9


@dataclass(frozen=True)
class Chip:
    """A machine: peaks by precision in Gop/s, bandwidths of its levels in GB/s from the far one on."""

    name: str
    peaks: dict[str, float]
    levels: dict[str, float] = field(default_factory=dict)

    def machine(self) -> Machine:
        far = next(iter(self.levels.values())) * 1e9
        roofs = [RoofRecord(name=n, peak_gops=p, ridge_ops_per_byte=p * 1e9 / far) for n, p in self.peaks.items()]
        levels = [LevelRecord(name=n, bandwidth_bytes_per_second=b * 1e9) for n, b in self.levels.items()]
        return Machine(off_chip="dram", bandwidth_bytes_per_second=far, roofs=roofs, levels=levels)


CHIPS = (
    Chip("tpu_v1", {"int8": 91750.4, "int8xint16": 45875.2, "vector": 179.2}, {"dram": 34, "unified_buffer": 179}),
    Chip("gemmini_16x16", {"int8": 512.0, "vector": 16.0}, {"dram": 16, "scratchpad": 64, "accumulators": 128}),
    Chip("eyeriss_like", {"int16": 67.2}, {"dram": 4, "global_buffer": 25.6, "scratch": 100.0}),
    Chip("edge_npu", {"int4": 8192.0, "int8": 4096.0, "int16": 1024.0, "vector": 128.0}, {"dram": 25.6, "sram": 400.0}),
)
NETWORKS = ("resnet50", "mobilenet_v1", "vgg16", "bert_large", "lenet5", "yolov8n", "unet", "gpt2", "vit_b16", "alexnet",
            "llama2_7b", "densenet121")  # fmt: skip
LAYERS = (53, 28, 16, 48, 5, 60, 23, 49, 50, 8, 90, 121)
LAST: dict[str, Any] = {"weight": "int8", "input": "int8", "output": "int8", "accumulator": "int32"}


@cache
def made(network: int, chip: int, batch: int = 1, layers: int | None = None) -> Result:
    """A network on a machine: layers strewn below its roofs, a few that wait for memory, some that move nothing."""
    machine, name, count = CHIPS[chip], NETWORKS[network], layers or LAYERS[network]
    random = np.random.default_rng([network, chip, batch])
    precisions = [p for p in machine.peaks if p != "vector"]
    records = []
    for number in range(count):
        precision = precisions[number % len(precisions)] if number % 7 == 0 else precisions[0]
        records.append(_layer(f"conv{number // 4 + 1}_{number % 4 + 1}", machine, precision, random, batch))
    if "vector" in machine.peaks:
        records.append(_layer("pool", machine, "vector", random, batch))
    return _result(name, machine, records, batch)


def _layer(name: str, chip: Chip, roof: str, random: Any, batch: int) -> LayerResult:
    peak, far = chip.peaks[roof], next(iter(chip.levels.values()))
    ridge = peak / far
    bounded = random.uniform() > 0.06
    intensity = float(min(ridge * 8, ridge * 10 ** random.normal(-0.5, 0.6) * batch**0.5)) if bounded else None
    height = peak if intensity is None else min(peak, intensity * far)
    attained = height * min(1.0, float(random.uniform(0.15, 1.1)))
    ops = int(10 ** (random.uniform(3, 4) if roof == "vector" else random.uniform(6.5, 9.0))) * batch
    cycles = max(1, int(ops / attained))
    moved = 0 if intensity is None else int(ops / intensity)
    inner = list(chip.levels)[1:]
    traffic = {"dram": {"weight": TrafficBytes(read=moved)}} if moved else {}
    traffic |= {level: {"input": TrafficBytes(read=moved * (2 + 2 * i) + 1000)} for i, level in enumerate(inner)}
    vector = roof == "vector"
    place = Roofline(
        intensity_ops_per_byte=intensity, macs_per_weight_byte=None if vector or intensity is None else intensity / 2,
        attained_gops=attained, roof_gops=height, peak_gops=peak, bound="memory" if height < peak else "compute",
    )  # fmt: skip
    busy = int(cycles * attained / peak)
    waits = {"memory": (cycles - busy) * 2 // 3, "fill": cycles - busy - (cycles - busy) * 2 // 3}
    energy = {"mac": 0.2 * ops, "sram": 0.05 * ops, "dram": 20.0 * moved, "leakage": 0.02 * cycles}
    return LayerResult(
        name=name, op="maxpool2d" if vector else "conv2d", engine="vector" if vector else "systolic", roof=roof,
        dims={}, precision=PrecisionNames(**LAST), mapping={}, cycles=cycles, seconds=cycles / CLOCK_HZ, busy_cycles=busy,
        stall_cycles=waits, macs=0 if vector else ops // 2, effective_macs=0 if vector else ops // 2, ops=ops,
        utilization=0.0 if vector else attained / peak, traffic_bytes=traffic, energy_pj=energy,
        energy_total_pj=sum(energy.values()), roofline=place,
    )  # fmt: skip


def _result(name: str, chip: Chip, layers: list[LayerResult], batch: int) -> Result:
    cycles, ops = sum(layer.cycles for layer in layers), sum(layer.ops for layer in layers)
    traffic: dict[str, TrafficBytes] = {}
    for level in chip.levels:
        traffic[level] = TrafficBytes(read=sum(t.read for r in layers for t in r.traffic_bytes.get(level, {}).values()))
    peak = max(chip.peaks.values())
    intensity = ops / max(1, traffic["dram"].read)
    roof = min(peak, intensity * chip.levels["dram"])
    macs, energy = sum(layer.macs for layer in layers), {k: sum(r.energy_pj[k] for r in layers) for k in layers[0].energy_pj}
    place = Roofline(
        intensity_ops_per_byte=intensity, macs_per_weight_byte=intensity / 2, attained_gops=min(roof, ops / cycles),
        roof_gops=roof, peak_gops=peak, bound="memory" if roof < peak else "compute",
    )  # fmt: skip
    stalls = {cause: sum(layer.stall_cycles[cause] for layer in layers) for cause in ("memory", "fill")}
    totals = Totals(
        cycles=cycles, seconds=cycles / CLOCK_HZ, macs=macs, effective_macs=macs, ops=ops, utilization=ops / cycles / peak,
        busy_cycles=cycles - sum(stalls.values()), stall_cycles=stalls, traffic_bytes=traffic, energy_pj=energy,
        energy_total_pj=sum(energy.values()), power_w=1.0, attained_gops=ops / cycles, roofline=place,
    )  # fmt: skip
    files = {"network": InputFile(name=name, sha256="0" * 64), "arch": InputFile(name=chip.name, sha256="0" * 64)}
    return Result(
        provenance=Provenance(accelsim="0", python="3", numba="0", seed=0, **files), network=name,
        architecture=chip.name, clock_hz=CLOCK_HZ, batch=batch, mode="cycles", machine=chip.machine(), totals=totals,
        layers=layers,
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A figure of the set: which results, and how they are drawn."""

    results: tuple[tuple[int, ...], ...]
    options: dict[str, Any]
    width: str

    def __str__(self) -> str:
        machines = len({chip for _, chip, *_ in self.results})
        words = "-".join(f"{k}_{v}" for k, v in self.options.items() if not isinstance(v, list | tuple))
        return f"{len(self.results)}on{machines}-{words}-{self.width}"


def spread(count: int, machines: int) -> tuple[tuple[int, int], ...]:
    """So many results on so many machines, network by network."""
    return tuple((number // machines, number % machines) for number in range(count))


def _cases() -> list[Case]:
    cases = []
    for width in ("single", "double", "slide"):
        for count, machines in ((1, 1), (2, 1), (3, 3), (4, 4), (6, 2), (9, 3), (12, 4)):
            cases.append(Case(spread(count, machines), {"show": "networks"}, width))
        for count, machines in ((1, 1), (2, 2), (3, 1), (4, 4), (12, 4)):
            cases.append(Case(spread(count, machines), {"show": "layers"}, width))
        for count, machines in ((1, 1), (2, 2), (5, 1)):
            cases.append(Case(spread(count, machines), {"show": "levels"}, width))
        cases.append(Case(((0, 1),), {"show": "layers", "percent": True, "name_layers": 5}, width))
        cases.append(Case(spread(12, 1), {"show": "networks", "percent": True, "name_layers": 1}, width))
        cases.append(Case(((9, 3),), {"show": "layers", "axis": "macs_per_weight_byte"}, width))
        cases.append(Case(((10, 0, 1, 174),), {"show": "layers"}, width))
        batches = tuple((2, 1, batch) for batch in (1, 2, 4, 8))
        cases.append(Case(batches, {"show": "layers", "join": True, "layers": ("conv1_1", "conv2_3")}, width))
    return cases


CASES = _cases()


def trace() -> dict[str, Any]:
    """What a trace says about a run on an array of 16 x 32."""
    shares = [[0.25 * ((i + j) % 5) for j in range(40)] for i in range(16)]
    array = {"rows": 16, "cols": 32, "bin_cycles": 100.0, "row_shares": shares, "column_shares": shares}
    layers = [{"name": "conv1", "begin": 0, "end": 1500}, {"name": "fc", "begin": 1500, "end": 4000}]
    return {"schema": SCHEMA, "clock_hz": 10**9, "cycles": 4000, "layers": layers, "array": array}


def sizes() -> list[dict[str, Any]]:
    """Rows of a sweep over the size of a buffer."""
    return [
        {"network": name, "buffer_size_bytes": 2**k, "dram_read_bytes": int(base / k), "dram_write_bytes": 2**20}
        for name, base in (("one", 9e8), ("two", 3e8))
        for k in range(15, 22)
    ]
