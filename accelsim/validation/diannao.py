"""DianNao (Chen et al., ASPLOS 2014): its ten layers' ideal cycles, what memory allows them, operations and
power.
"""

from __future__ import annotations

from functools import cache

from accelsim.api import load_arch, simulate
from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.report.model import LayerResult, Result
from accelsim.units import ceil_div
from accelsim.validation.outcome import Outcome, Row, published_table

OPS_PER_CYCLE = 496
POWER_MW = {"total": 485, "SB": 105, "NBin": 91, "NBout": 92, "NFU": 132}
POWER_BY_TYPE_MW = {"combinational": 89, "memory": 177, "registers and clock network": 86 + 132}
MEMORY_BOUND = ("CLASS1", "CLASS3", "CONV5")
POWER_LAYER = "CONV4"


def validate() -> Outcome:
    """Cycles without stalls exactly; cycles with memory against the larger of ideal and bandwidth bound."""
    arch = load_arch("diannao")
    assert isinstance(arch.engine, NfuSpec)
    unroll = arch.engine.unroll
    additions = unroll.K * (unroll.tree - 1)
    rows = [
        Row(
            "operations a cycle, 256 products and 240 additions",
            OPS_PER_CYCLE,
            unroll.multipliers + additions,
            "",
            0,
        )
    ]
    for published in published_table("diannao_layers"):
        rows += _pooling(published) if published["layer"].startswith("POOL") else _layer(published, arch)
    rows += _power(run(POWER_LAYER))
    return Outcome(
        "diannao",
        "DianNao's ten layers, without stalls and with its memory",
        "Chen et al., ASPLOS 2014: layer sizes from table 1, the rest derived from them; power from table 6",
        rows,
        (
            "Ideal cycles are those in which the NFU works, one row of 16 inputs and 256 synapses each, with a memory off chip "
            "that is never waited for.",
            "With memory: against the larger of the ideal cycles and all bytes at 250 GB/s. Small layers "
            "also wait for their first operands and send their last outputs, which nothing hides.",
            f"Power is that of {POWER_LAYER} from counts and the 45 nm tables scaled to 65 nm, without "
            "DRAM; a multiplication costs what the paper's table 2 says. The published splits, by block and by type, are of "
            "a laid-out chip: context, not a target. NFU: multiply-accumulates and registers; a flip-flop's figure has its "
            "clock in it.",
        ),
    )


@cache
def run(layer: str) -> Result:
    return simulate(f"diannao_{layer.lower()}", "diannao")


@cache
def run_without_stalls(layer: str) -> Result:
    """The same with a memory off chip that is never waited for: beside a real one work is traded for waiting."""
    return simulate(f"diannao_{layer.lower()}", "diannao", overrides={"arch.memory.dram.bandwidth": None})


def _layer(published: dict[str, str], arch: Architecture) -> list[Row]:
    name = published["layer"]
    layer, works = run(name).layers[0], run_without_stalls(name).layers[0].busy_cycles
    ideal, share = int(published["ideal_cycles_Tn16"]), float(published["nfu_utilization"])
    bound = max(ideal, bandwidth_cycles(layer, arch))
    while_busy = layer.macs / (works * 256)
    judged = 0.001 if layer.cycles > 10_000 else None
    return [
        Row(f"{name}, ideal cycles", ideal, works, "", 0, "derived"),
        Row(f"{name}, utilization while it works", share, round(while_busy, 3), "", 0.001, "derived"),
        Row(f"{name}, cycles with memory", round(bound), layer.cycles, "", judged, "derived"),
    ]


def bandwidth_cycles(layer: LayerResult, arch: Architecture) -> float:
    """Cycles in which the layer's bytes cross the port of the memory."""
    far = arch.off_chip
    assert far.bandwidth is not None
    moved = sum(tensor.read + tensor.write for tensor in layer.traffic_bytes[far.name].values())
    return moved / float(far.bandwidth.per_cycle(arch.clock))


def _pooling(published: dict[str, str]) -> list[Row]:
    """A row of 16 maps a position of the window a cycle."""
    name, stride = published["layer"], int(published["stride"].split()[0])
    nx, ny, kx, ky, maps = (int(published[key]) for key in ("Nx", "Ny", "Kx", "Ky", "Ni"))
    outputs = ((nx - kx) // stride + 1) * ((ny - ky) // stride + 1)
    busy = run(name).layers[0].busy_cycles
    return [Row(f"{name}, ideal cycles", outputs * kx * ky * ceil_div(maps, 16), busy, "", 0, "derived")]


def _power(result: Result) -> list[Row]:
    """Milliwatts by block, without the memory off chip."""
    seconds = result.totals.seconds
    energy = {key: value * 1e-9 / seconds for key, value in result.totals.energy_pj.items() if key != "dram"}
    blocks = {block: energy.get(block, 0.0) for block in ("SB", "NBin", "NBout")}
    logic, registers = energy.get("mac", 0.0) + energy.get("vector", 0.0), energy.get("array_registers", 0.0)
    simulated = {
        **blocks, "total": sum(energy.values()), "NFU": logic + registers, "combinational": logic,
        "memory": sum(blocks.values()), "registers and clock network": registers,
    }  # fmt: skip
    status = {"total": "read"}
    return [
        Row(
            f"power, {block}",
            milliwatts,
            round(simulated[block], 1),
            "mW",
            None,
            status.get(block, "recalled"),
        )
        for block, milliwatts in (POWER_MW | POWER_BY_TYPE_MW).items()
    ]
