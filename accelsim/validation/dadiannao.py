"""DaDianNao (Luo et al.): the eDRAM's bandwidth, a classifier layer that it alone bounds, and several nodes."""

from __future__ import annotations

from accelsim.api import load_arch, load_network, simulate
from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.validation.networks import without_biases
from accelsim.validation.outcome import Outcome, Row
from accelsim.workload.precision import NumberFormat, Precision

FRAMES_PER_SECOND = 147938
EDRAM_GB_PER_SECOND = 4964
NODES = (4, 16, 64)
SPREAD = ("conv4_2", "fc7")
"""Layers of VGG16 whose synapses one node holds: what they gain by more nodes is time alone."""
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
    rows += [row for name in SPREAD for row in _speed_ups(name)]
    return Outcome(
        "dadiannao",
        "a DaDianNao node: synapses streamed from eDRAM; several nodes",
        "Luo et al., IEEE Trans. Computers 2016; frames a second: table V of Han et al., ISCA 2016",
        rows,
        (
            "The published frame rate is a matrix-vector product bound by eDRAM bandwidth alone, its synapses the only bytes: no "
            "biases here. The judged row has its vectors on chip, the one below it fetches and returns them over the links.",
            "Several nodes stand beside so many times one node: no speed-up of these layers was found. A classifier "
            "waits for its inputs, which go round the ring of links.",
        ),
    )


def fc7(arch: Architecture) -> int:
    """Cycles of AlexNet's FC7 at 16 bits, its synapses in eDRAM."""
    return _cycles("alexnet", "fc7", arch)


def _cycles(network: str, layer: str, arch: Architecture) -> int:
    overrides = {f"workload.precision.{tensor}": str(value) for tensor, value in SIXTEEN}
    found = without_biases(load_network(network, overrides=overrides))
    return simulate(found, arch, layers=[layer]).layers[0].cycles


def _speed_ups(layer: str) -> list[Row]:
    """A layer of VGG16 on several nodes against one, its inputs spread over them before."""

    def cycles(nodes: int) -> int:
        arch = load_arch("dadiannao", overrides={"arch.engine.nodes": nodes})
        return _cycles("vgg16", layer, _without_links(arch))

    one = cycles(1)
    return [
        Row(f"VGG16 {layer} on {nodes} nodes, {nodes} x at best", nodes, round(one / cycles(nodes), 1), "x", None, "derived")
        for nodes in NODES
    ]


def _without_links(arch: Architecture) -> Architecture:
    far = arch.memory[0].model_copy(
        update={"bandwidth": None, "latency": type(arch.memory[0].latency)(cycles=0)}
    )
    return arch.model_copy(update={"memory": (far, *arch.on_chip)})
