"""Does every layer of every network keep the laws of conservation on every architecture shipped?

The whole cross product takes minutes: ``python scripts/check_all.py``. Here are the networks small enough.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType

import pytest
from builders import ROOT, array, chain, network_of, one_buffer

from accelsim import InfeasibleError, catalogue, load_network, simulate
from accelsim.api import load_arch, simulate_full
from accelsim.arch.spec import RoofSpec
from accelsim.simulator import Simulator
from accelsim.workload.functional import run_reference
from accelsim.workload.ops import Activation, Concat, Conv2d, Elementwise, Linear, Pool2d, Recurrent, Reshape

LARGE = {"resnet18", "mobilenet_v2", "tpu_mlp1", "diannao_conv3"}
"""Seconds each on engines that step every entry of a matrix, or walk many small tiles."""
ARCHS = [name for name in catalogue.names("arch_configs") if not isinstance(load_arch(name).engine, RoofSpec)]
SMALL = [
    "lenet5",
    "lenet_300_100",
    "eie_nt_we",
    "tpu_mlp1",
    "resnet18",
    "mobilenet_v2",
    "diannao_conv3",
    "diannao_class1",
    "diannao_pool1",
    "ese_lstm",
]

PAIRS = [
    (network, arch)
    for network in SMALL
    for arch in ARCHS
    if network not in LARGE or load_arch(arch).engine.kind == "systolic"
]
REFUSED = {
    (network, arch)
    for network in ("eie_nt_we", "diannao_conv3", "diannao_class1", "ese_lstm")  # wider than 8 bits
    for arch in ("gemmini_16x16", "rtl/axis_sa", "rtl/sauria", "rtl/tiny_tpu", "rtl/ziheng")  # int8 alone
}


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_all", ROOT / "scripts" / "check_all.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("network", "arch"), PAIRS)
def test_every_layer_keeps_the_laws(network: str, arch: str) -> None:
    if (network, arch) in REFUSED:
        with pytest.raises(InfeasibleError, match="the systolic engine's precision: asks for"):
            simulate(network, arch)
        return
    result = simulate(network, arch)
    assert list(script().broken_laws(result)) == []
    assert result.totals.macs == load_network(network).macs
    assert [layer.name for layer in result.layers] == [layer.name for layer in load_network(network).layers]


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["tpu_v1", "scalesim", "gemmini_16x16"])
def test_resnet50_keeps_the_laws(arch: str) -> None:
    assert list(script().broken_laws(simulate("resnet50", arch))) == []


def test_a_machine_known_by_its_peak_alone_is_not_run() -> None:
    with pytest.raises(InfeasibleError, match=r"known by its peaks alone .*draw it with accelsim roofline --machine"):
        simulate("lenet5", "haswell")


def test_energy_and_traffic_of_a_total_are_the_sums_of_its_layers() -> None:
    result = simulate("lenet5", "tpu_v1")
    for component, total in result.totals.energy_pj.items():
        assert total == pytest.approx(sum(layer.energy_pj.get(component, 0) for layer in result.layers))
    for level, total_bytes in result.totals.traffic_bytes.items():
        assert total_bytes.total == sum(layer.level_traffic(level).total for layer in result.layers)


def test_every_tensor_off_chip_is_moved_at_least_once() -> None:
    network = load_network("resnet18")
    result = simulate(network, "tpu_v1")
    far = result.totals.traffic_bytes["dram"]
    compulsory = sum(layer.parameters for layer in network.layers if layer.weight_shape) - sum(
        layer.output_shapes[0][1] for layer in network.layers if layer.weight_shape and getattr(layer.op, "bias", False)
    )
    assert far.read >= compulsory + 3 * 224 * 224
    assert far.write >= 1000


# ---- values through a network -----------------------------------------------------------------------------------


def everything() -> list[tuple[str, object]]:
    return [
        ("conv", Conv2d(K=6, R=3, S=3, pad=1)), ("act", Activation(op="relu")), ("pool", Pool2d(op="maxpool2d", window=2)),
        ("left", Conv2d(K=6, R=3, S=3, pad=1, groups="depthwise")), ("right", Conv2d(K=6, R=1, S=1)),
        ("sum", Elementwise(op="add")), ("cat", Concat()), ("flat", Reshape(op="flatten")), ("fc", Linear(out=7)),
    ]  # fmt: skip


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("size", ["1 MiB", "600 B"])
def test_a_network_of_every_kind_equals_the_reference_bit_for_bit(dataflow: str, size: str) -> None:
    network = chain(
        *everything(), inputs={"x": (2, 8, 8)}, batch=2,  # type: ignore[arg-type]
        after={"right": ("pool",), "sum": ("left", "right"), "cat": ("sum", "pool")},
    )  # fmt: skip
    arch = array(4, 4, one_buffer(size), vector={"lanes": 4, "inline": ["relu"]}, dataflow=dataflow)
    found = simulate_full(network, arch, values=True, seed=3).outputs
    wanted = run_reference(network, 3)
    assert found.keys() == wanted.keys()
    for name, arrays in wanted.items():
        assert found[name].dtype == arrays[0].dtype
        assert (found[name] == arrays[0]).all(), name


def test_lenet5_equals_the_reference_bit_for_bit() -> None:
    network = load_network("lenet5")
    found, wanted = simulate_full(network, "tpu_v1", values=True, seed=5).outputs, run_reference(network, 5)
    assert all((found[name] == arrays[0]).all() for name, arrays in wanted.items())


def test_values_and_cycles_mode_count_alike_in_a_whole_network() -> None:
    values, cycles = simulate("lenet5", "gemmini_16x16", values=True), simulate("lenet5", "gemmini_16x16")
    same = {"effective_macs": 0, "accumulator_overflows": 0}
    assert [layer.model_copy(update=same) for layer in values.layers] == [
        layer.model_copy(update=same) for layer in cycles.layers
    ]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_layer_counts_every_step(kind: str) -> None:
    network = network_of(Recurrent(op=kind, hidden=6), (5, 4))  # type: ignore[arg-type]
    arch = array(4, 4, one_buffer("64 KiB"), vector={"lanes": 4})
    result = simulate(network, arch)
    assert result.totals.macs == network.macs
    assert result.totals.vector_ops == network.layers[0].vector_ops
    assert list(script().broken_laws(result)) == []
    longer = simulate(network_of(Recurrent(op=kind, hidden=6), (10, 4)), arch)  # type: ignore[arg-type]
    assert result.totals.cycles < longer.totals.cycles <= 2 * result.totals.cycles


# ---- what a run depends on --------------------------------------------------------------------------------------


def test_a_layer_alone_is_itself() -> None:
    alone = simulate("lenet5", "scalesim", layers=["conv2"])
    assert [layer.name for layer in alone.layers] == ["conv2"]
    whole = next(layer for layer in simulate("lenet5", "scalesim").layers if layer.name == "conv2")
    assert alone.layers[0].cycles == whole.cycles


def test_runs_are_the_same_every_time() -> None:
    network, arch = load_network("lenet5"), load_arch("tpu_v1")
    assert Simulator(arch).run(network) == Simulator(arch).run(network)


def test_a_larger_batch_is_more_work() -> None:
    one, four = simulate("lenet5", "tpu_v1"), simulate("lenet5", "tpu_v1", batch=4)
    assert four.totals.macs == 4 * one.totals.macs
    assert one.totals.cycles < four.totals.cycles <= 4 * one.totals.cycles
