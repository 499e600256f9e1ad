"""Runs made by hand, shaped like real ones: ResNet-50 and the six applications of the TPU paper on TPU v1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, prod
from pathlib import Path

import pytest

from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Stalls, Transfer
from accelsim.engines.base import LayerRun
from accelsim.report.result import Result, build_result
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.ops import Activation, Conv2d, GlobalPool, Linear, Op, Pool2d, Shape
from accelsim.workload.precision import NumberFormat, Precision
from accelsim.yaml_io import load_document

ROOT = Path(__file__).parents[2]
SOURCES = [
    {"component": "mac", "action": "mac", "pj": 0.23, "node_nm": 28, "width_bits": 8, "source": "a test"}
]


def read_arch(name: str) -> Architecture:
    return read_architecture(load_document(ROOT / "arch_configs" / f"{name}.yaml"))


def layer(name: str, op: Op, shape: Shape, bits: int = 8) -> Layer:
    number = NumberFormat("int", bits)
    precision = Precision(weight=number, input=number, output=number)
    return Layer(name, op, (TensorRef("x"),), (shape,), op.output_shapes((shape,)), precision)


def mac_run(spec: Layer, arch: Architecture, off_chip: Sequence[str] = ("weight",)) -> LayerRun:
    """A layer on a weight-stationary array that waits for its weights, as TPU v1 would."""
    peak = arch.engine.macs_per_cycle(spec.precision)  # type: ignore[union-attr]
    k, c, r, s = (*(spec.weight_shape or ()), 1, 1)[:4]
    rows = prod(spec.output_shapes[0]) // k
    tiles = ceil_div(k, 256) * ceil_div(c * r * s, 256)
    slowdown = int(65536 / peak)
    bits = spec.precision.weight.bits
    moved = {
        "weight": Transfer(k * c * r * s * bits),
        "input": Transfer(min(prod(spec.input_shapes[0]), rows * c * r * s) * bits),
        "output": Transfer(0, prod(spec.output_shapes[0]) * bits),
    }
    traffic = {name: moved[name] for name in off_chip}
    total_bytes = Fraction(sum(t.read_bits + t.write_bits for t in traffic.values()), 8)
    busy = rows * tiles * slowdown
    waiting = max(0, ceil(total_bytes / arch.off_chip.bandwidth.per_cycle(arch.clock)) - busy)  # type: ignore[union-attr]
    stalls = Stalls(fill=256, drain=256, weight_load=8 * tiles, memory=waiting)
    counters = Counters(
        busy + stalls.total(), busy, stalls, spec.macs, spec.macs, 0,
        {"dram": traffic, "unified_buffer": {"input": moved["input"], "output": moved["output"]}},
        {"active": busy, "weight_stall": waiting},
    )  # fmt: skip
    dims = {"N": 1, "K": k, "C": c, "P": rows, "Q": 1, "R": r, "S": s, "G": 1}
    return LayerRun(spec, "systolic", dims, {"tile": {"K": 256, "C": 256}}, counters, peak)


def vector_run(spec: Layer, arch: Architecture, inline: bool = False) -> LayerRun:
    """A layer on the vector unit; ``inline`` ones ride along at no cost."""
    ops = spec.vector_ops
    busy = 0 if inline else ceil_div(ops, arch.vector.lanes)  # type: ignore[union-attr]
    written = min(prod(spec.output_shapes[0]), 512 * busy)
    traffic = {} if inline else {"unified_buffer": {"output": Transfer(0, 8 * written)}}
    counters = Counters(busy, busy, Stalls(), 0, 0, ops, traffic)
    return LayerRun(spec, "vector", {}, {}, counters, Fraction(0))


def energy_of(run: LayerRun) -> dict[str, float]:
    return {
        "mac": run.counters.macs * 0.23,
        "dram": 20.0 * run.counters.cycles,
        "leakage": 1.5 * run.counters.cycles,
    }


def gather(
    name: str, arch: Architecture, runs: Sequence[LayerRun], batch: int = 8, command: str = ""
) -> Result:
    network = Network(name, batch, {"x": (3, 224, 224)}, tuple(run.layer for run in runs), "0" * 64)
    return build_result(network, arch, runs, [energy_of(run) for run in runs], SOURCES, "cycles", 1, command)


def resnet50_runs(arch: Architecture, batch: int = 8) -> list[LayerRun]:
    conv = Conv2d(K=64, R=7, S=7, stride=2, pad=3)
    runs = [mac_run(layer("conv1", conv, (batch, 3, 224, 224)), arch, ("weight", "input"))]
    runs.append(
        vector_run(layer("conv1.relu", Activation(op="relu"), (batch, 64, 112, 112)), arch, inline=True)
    )
    pool = Pool2d(op="maxpool2d", window=3, stride=2, pad=1)
    runs.append(vector_run(layer("pool1", pool, (batch, 64, 112, 112)), arch))
    channels, size = 64, 56
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=2):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 2 and block == 1 else 1
            out = size // stride
            parts = [
                ("a", channels, width, 1, 1, size),
                ("b", width, width, 3, stride, size),
                ("c", width, 4 * width, 1, 1, out),
            ]
            parts += [("proj", channels, 4 * width, 1, stride, size)] if block == 1 else []
            for part, c, k, window, step, image in parts:
                op = Conv2d(K=k, R=window, S=window, stride=step, pad=window // 2)
                runs.append(mac_run(layer(f"res{stage}_{block}{part}", op, (batch, c, image, image)), arch))
            channels, size = 4 * width, out
    runs.append(vector_run(layer("pool5", GlobalPool(op="globalavgpool"), (batch, 2048, 7, 7)), arch))
    runs.append(mac_run(layer("fc", Linear(out=1000), (batch, 2048)), arch, ("weight", "output")))
    return runs


@pytest.fixture(scope="session")
def arch() -> Architecture:
    return read_arch("tpu_v1")


@pytest.fixture(scope="session")
def machines() -> list[Architecture]:
    return [read_arch("haswell"), read_arch("k80")]


@pytest.fixture(scope="session")
def runs(arch: Architecture) -> list[LayerRun]:
    return resnet50_runs(arch)


@pytest.fixture(scope="session")
def resnet50(arch: Architecture, runs: list[LayerRun]) -> Result:
    return gather("resnet50", arch, runs)


@pytest.fixture(scope="session")
def make_result(arch: Architecture) -> Callable[[str, Sequence[LayerRun]], Result]:
    def make(name: str, made: Sequence[LayerRun]) -> Result:
        return gather(name, arch, made)

    return make


@pytest.fixture(scope="session")
def tpu_apps(arch: Architecture) -> list[Result]:
    """Stand-ins for the paper's six: square layers of about their sizes and batches."""
    sizes = {"MLP0": (200, 5, 2000), "MLP1": (168, 4, 1118), "LSTM0": (64, 24, 1472), "LSTM1": (96, 37, 958)}
    apps = []
    for name, (batch, count, width) in sizes.items():
        made = [mac_run(layer(f"fc{i}", Linear(out=width), (batch, width)), arch) for i in range(count)]
        apps.append(gather(name, arch, made, batch))
    for name, batch, count, width in (("CNN0", 8, 16, 256), ("CNN1", 32, 72, 96)):
        op = Conv2d(K=width, R=3, S=3, pad=1)
        made = [mac_run(layer(f"conv{i}", op, (batch, width, 19, 19)), arch) for i in range(count)]
        made += [mac_run(layer("fc", Linear(out=4096), (batch, 4096)), arch)] if name == "CNN1" else []
        apps.append(gather(name, arch, made, batch))
    return apps
