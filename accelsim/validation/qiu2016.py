"""Qiu et al., FPGA 2016: VGG16 with an SVD'd FC6 on two PEs of 64 convolvers."""

from __future__ import annotations

from dataclasses import replace

from accelsim.api import load_arch, load_network, simulate
from accelsim.arch.spec import NfuSpec
from accelsim.report.model import LayerResult
from accelsim.validation.networks import without_biases
from accelsim.validation.outcome import Outcome, Row, published_table
from accelsim.workload.network import LayerSketch, Network
from accelsim.workload.ops import Linear

PEAK_GOPS = 345.6
SVD_RANK = 500
SVD_RATIO = 7.04
FULLY_CONNECTED_BANDWIDTH = "1.13 GB/s"
"""What the FC layers got of the 4.2 GB/s: their bytes over their published times (1.09 to 1.24)."""
FC_LAYERS = {"FC6-1": "fc6_1", "FC6-2": "fc6_2", "FC7": "fc7", "FC8": "fc8"}


def network(data: str = "int16", weight: str = "int16") -> Network:
    """VGG16, at 16 bits unless told otherwise, FC6 factorized into 25088 x 500 and 500 x 4096."""
    formats = {"weight": weight, "input": data, "accumulator": "int48", "output": data}
    overrides = {f"workload.precision.{tensor}": kind for tensor, kind in formats.items()}
    full = without_biases(load_network("vgg16", overrides=overrides))
    return full.with_sketches(part for sketch in full.sketches for part in _factorized(sketch))


def _factorized(sketch: LayerSketch) -> list[LayerSketch]:
    if sketch.name != "fc6":
        renamed = sketch.inputs and tuple("fc6_2" if name == "fc6" else name for name in sketch.inputs)
        return [replace(sketch, inputs=renamed)]
    first = replace(sketch, name="fc6_1", op=Linear(op="linear", out=SVD_RANK, bias=False), bias=None)
    return [first, replace(sketch, name="fc6_2", inputs=("fc6_1",))]


def validate() -> Outcome:
    """The peak exactly, the FC layers at their share of the memory; convolutions as context."""
    arch = load_arch("qiu2016")
    assert isinstance(arch.engine, NfuSpec)
    vgg = network()
    slow = load_arch("qiu2016", overrides={"arch.memory.ddr3.bandwidth": FULLY_CONNECTED_BANDWIDTH})
    conv = {layer.name: layer for layer in simulate(vgg, arch).layers}
    fc = {layer.name: layer for layer in simulate(vgg, slow, layers=FC_LAYERS.values()).layers}
    published = {row["group"]: float(row["time_ms"]) for row in published_table("qiu2016_layers")}
    peak = 2 * arch.engine.unroll.multipliers * arch.clock / 1e9
    kept = 25088 * 4096 / (vgg.layer("fc6_1").parameters + SVD_RANK * 4096)
    rows = [
        Row("peak", PEAK_GOPS, peak, "GOP/s", 0, "derived"),
        Row("FC6's weights before over behind its SVD", SVD_RATIO, round(kept, 2), "", 0.001),
    ]
    for group, name in FC_LAYERS.items():
        rows.append(
            Row(
                group, published[group], round(1000 * fc[name].cycles / arch.clock, 2), "ms", 0.12, "recalled"
            )
        )
    total_fc = sum(1000 * layer.cycles / arch.clock for layer in fc.values())
    rows.append(Row("FC total", published["FC total"], round(total_fc, 2), "ms", 0.05, "recalled"))
    narrow = simulate(network("int8", "int4"), slow, layers=FC_LAYERS.values()).layers
    quarter = sum(1000 * layer.cycles / arch.clock for layer in narrow)
    rows.append(
        Row("FC total at 8 bits, weights 4", published["FC total"] / 4, round(quarter, 2), "ms", None, "derived")
    )
    total = 0.0
    for group in (f"CONV{i}" for i in range(1, 6)):
        milliseconds = _group(conv, group.lower(), arch.clock)
        total += milliseconds
        rows.append(Row(group, published[group], round(milliseconds, 2), "ms", None, "recalled"))
    rows.append(Row("CONV total", published["CONV total"], round(total, 2), "ms", None))
    return Outcome(
        "qiu2016",
        "VGG16-SVD at 16 bits: peak, fully connected layers, convolutions",
        "Qiu et al., FPGA 2016, tables 4 and 5",
        rows,
        (
            f"FC layers are bound by memory: run at {FULLY_CONNECTED_BANDWIDTH}, the share of the DDR3 that "
            "the bytes of the weights alone and their published times give: no biases here.",
            "No time was found for 8-bit data with 4-bit weights: beside it stands a quarter of the 16-bit FC layers'.",
            "Convolutions run at the design's peak but for partial tiles and the DDR3's 4.2 GB/s; what "
            "else the board lost (14 x 14 maps above all) has no mechanism in what was read: context.",
        ),
    )


def _group(layers: dict[str, LayerResult], prefix: str, clock: int) -> float:
    return sum(1000 * layer.cycles / clock for name, layer in layers.items() if name.startswith(f"{prefix}_"))
