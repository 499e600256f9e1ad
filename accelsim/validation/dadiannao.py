"""DaDianNao (Luo et al.): the eDRAM's bandwidth, and a classifier layer that it alone bounds."""

from __future__ import annotations

from accelsim.api import load_arch, load_network, simulate
from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.validation.outcome import Outcome, Row
from accelsim.workload.precision import NumberFormat, Precision

FRAMES_PER_SECOND = 147938
EDRAM_GB_PER_SECOND = 4964
INT16 = NumberFormat("int", 16)
SIXTEEN = Precision(weight=INT16, input=INT16, accumulator=NumberFormat("int", 48), output=INT16)


def validate() -> Outcome:
    """The node's synapse bandwidth, and AlexNet's FC7 with its synapses in place."""
    arch = load_arch("dadiannao")
    edram = arch.holder("weight")
    assert isinstance(arch.engine, NfuSpec)
    assert edram is not None
    assert edram.bandwidth is not None
    rate = float(edram.bandwidth.per_second(arch.clock)) / 1e9
    needed = arch.engine.unroll.tree * arch.engine.unroll.K * INT16.bits // 8
    layer = fc7(_without_links(arch))
    rows = [
        Row("synapse bandwidth", EDRAM_GB_PER_SECOND, round(rate), "GB/s", 0),
        Row("bytes of synapses a cycle: eDRAM's against the NFUs'", 16 * 4 * 128, needed, "B", 0, "derived"),
        Row("AlexNet FC7, frames a second", FRAMES_PER_SECOND, round(arch.clock / layer), "/s", 0.001),
        Row(
            "AlexNet FC7 with its vectors over the links",
            FRAMES_PER_SECOND,
            round(arch.clock / fc7(arch)),
            "/s",
        ),
    ]
    return Outcome(
        "dadiannao",
        "a DaDianNao node: synapses streamed from eDRAM",
        "Luo et al., IEEE Trans. Computers 2016; frames a second: table V of Han et al., ISCA 2016",
        rows,
        (
            "The published frame rate is a matrix-vector product bound by eDRAM bandwidth alone: the judged "
            "row has its vectors on chip, the last row fetches and returns them over the links.",
        ),
    )


def fc7(arch: Architecture) -> int:
    """Cycles of AlexNet's FC7 at 16 bits, its synapses in eDRAM."""
    overrides = {f"workload.precision.{tensor}": str(value) for tensor, value in SIXTEEN}
    network = load_network("alexnet", overrides=overrides)
    return simulate(network, arch, layers=["fc7"]).layers[0].cycles


def _without_links(arch: Architecture) -> Architecture:
    far = arch.memory[0].model_copy(
        update={"bandwidth": None, "latency": type(arch.memory[0].latency)(cycles=0)}
    )
    return arch.model_copy(update={"memory": [far, *arch.memory[1:]]})
