"""Zhang et al., FPGA 2015: AlexNet's five convolutions on 64 x 7 multiply-adders, one of two groups."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.api import load_arch, simulate
from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.mapping.mapping import LayerMapping, MappingFile, TileSizes
from accelsim.report.model import LayerResult
from accelsim.validation.outcome import Outcome, Row
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import Conv2d
from accelsim.workload.precision import NumberFormat, Precision

FP32 = NumberFormat("fp", 32)
SINGLE = Precision(weight=FP32, input=FP32, accumulator=FP32, output=FP32)
GROUPS = 2


@dataclass(frozen=True)
class Convolution:
    """One group of one layer: input maps, output maps, output size, kernel, stride; measured ms of both
    groups.
    """

    name: str
    N: int
    M: int
    size: int
    kernel: int
    stride: int
    measured_ms: float

    @property
    def image(self) -> int:
        return (self.size - 1) * self.stride + self.kernel


LAYERS = (
    Convolution("conv1", 3, 48, 55, 11, 4, 7.67),
    Convolution("conv2", 48, 128, 27, 5, 1, 5.35),
    Convolution("conv3", 256, 192, 13, 3, 1, 3.79),
    Convolution("conv4", 192, 192, 13, 3, 1, 2.88),
    Convolution("conv5", 192, 128, 13, 3, 1, 1.93),
)
TOTAL_CYCLES = 1008246
TOTAL_MS = 21.61
OPTIMA = {"conv1": (48, 3, 366025), "conv3": (96, 5, 160264), "conv5": (32, 15, 80132)}


def network(layers: tuple[Convolution, ...] = LAYERS) -> Network:
    """The layers as independent convolutions (the paper counts each for itself)."""
    inputs = {f"{c.name}_in": (c.N, c.image, c.image) for c in layers}
    sketches = tuple(
        LayerSketch(
            c.name,
            Conv2d(op="conv2d", K=c.M, R=c.kernel, S=c.kernel, stride=(c.stride, c.stride), bias=False),
            inputs=(f"{c.name}_in",), precision=SINGLE,
        )
        for c in layers
    )  # fmt: skip
    return build_network("alexnet_one_group", 1, inputs, sketches)


def unrolled(arch: Architecture, tm: int, tn: int) -> Architecture:
    """The same design with other Tm and Tn."""
    assert isinstance(arch.engine, NfuSpec)
    unroll = arch.engine.unroll.model_copy(update={"K": tm, "C": tn})
    return arch.model_copy(update={"engine": arch.engine.model_copy(update={"unroll": unroll})})


def without_memory(arch: Architecture) -> Architecture:
    """The same design with transfers that take no time: what the paper's cycle counts suppose."""
    far = arch.memory[0].model_copy(update={"bandwidth": None})
    return arch.model_copy(update={"memory": (far, *arch.on_chip)})


def paper_mapping(arch: Architecture) -> MappingFile:
    """A tile is the whole image of Tm outputs and Tn inputs, as in the paper's formula with Tr = R and Tc =
    C.
    """
    assert isinstance(arch.engine, NfuSpec)
    tiles = {
        c.name: LayerMapping(
            tile=TileSizes(
                K=arch.engine.unroll.K, C=arch.engine.unroll.C, P=c.size, Q=c.size, R=c.kernel, S=c.kernel
            ),
            order=("G", "N", "P", "Q", "K", "C", "R", "S"),
        )
        for c in LAYERS
    }
    return MappingFile(layers=tiles)


def run(arch: Architecture, layers: tuple[Convolution, ...] = LAYERS) -> dict[str, LayerResult]:
    fixed = paper_mapping(arch)
    kept = MappingFile(layers={c.name: fixed.layers[c.name] for c in layers})
    return {layer.name: layer for layer in simulate(network(layers), arch, mapping=kept).layers}


def published_cycles(name: str, layer: LayerResult, depth: int) -> int:
    """A layer's cycles as the paper counts them, layers one behind the other.

    Each tile begins by waiting for an empty pipeline, except the very first; the last tile's own way through
    the pipeline is not counted. So only the first layer differs from a run that ends when all outputs are
    written.
    """
    return layer.cycles - (depth if name == LAYERS[0].name else 0)


def validate() -> Outcome:
    """Cycles exactly; times within the error of the paper's own model."""
    arch = load_arch("zhang2015")
    ideal, clock = without_memory(arch), arch.clock / 1000 / GROUPS
    assert isinstance(arch.engine, NfuSpec)
    depth = sum(stage.cycles for stage in arch.engine.pipeline)
    model = {name: published_cycles(name, layer, depth) for name, layer in run(ideal).items()}
    rows = [Row("64 x 7, five layers, cycles", TOTAL_CYCLES, sum(model.values()), "", 0, "recalled")]
    for name, (tm, tn, published) in OPTIMA.items():
        layer = run(unrolled(ideal, tm, tn), tuple(c for c in LAYERS if c.name == name))[name]
        rows.append(
            Row(
                f"{tm} x {tn}, {name}, cycles",
                published,
                published_cycles(name, layer, depth),
                "",
                0,
                "recalled",
            )
        )
    timed = run(arch)
    for c in LAYERS:
        rows.append(
            _time(
                f"{c.name}, both groups", c.measured_ms, timed[c.name].cycles / clock, model[c.name] / clock
            )
        )
    total = sum(layer.cycles for layer in timed.values()) / clock
    rows.append(_time("five layers, both groups", TOTAL_MS, total, sum(model.values()) / clock))
    operations = 2 * GROUPS * sum(layer.macs for layer in timed.values())
    rows.append(Row("performance", 61.62, round(operations / total / 1e6, 2), "GFLOPS", 0.08))
    return Outcome(
        "zhang2015",
        "AlexNet's convolutions on the 64 x 7 design: cycles, and measured times",
        "Zhang et al., FPGA 2015, tables 4 and 7",
        rows,
        (
            "Cycles are without memory, as the paper's formula has them; times are with its DDR3.",
            "Each time's bound is the error of the paper's own model, its cycles at 100 MHz.",
        ),
    )


def _time(what: str, measured: float, simulated: float, modelled: float) -> Row:
    return Row(what, measured, round(simulated, 3), "ms", abs(modelled / measured - 1), "recalled")
