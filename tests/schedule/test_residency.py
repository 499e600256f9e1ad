"""Is what stays on chip between layers never more than fits, and never fetched?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from builders import array, chain, one_buffer

from accelsim import load_network, simulate
from accelsim.arch.spec import Architecture
from accelsim.course import plan_network
from accelsim.engines.registry import engine_of
from accelsim.errors import InfeasibleError
from accelsim.report.model import Result
from accelsim.schedule.residency import absorbed_layers, plan_residency
from accelsim.workload.network import Network
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    Linear,
    Matmul,
    Pool2d,
    Reshape,
    Softmax,
)

VECTOR = {"lanes": 4, "inline": ["relu"]}


def chip(size: str = "1 MiB", **level: Any) -> Architecture:
    return array(memory=one_buffer(size, **level), vector=VECTOR)


def conv(channels: int) -> Conv2d:
    return Conv2d(K=channels, R=1, S=1)


def off_chip(result: Result, layer: str) -> dict[str, tuple[int, int]]:
    """Bytes over the far port of one layer, by tensor: read, written."""
    (found,) = (candidate for candidate in result.layers if candidate.name == layer)
    return {tensor: (bytes_.read, bytes_.write) for tensor, bytes_ in found.traffic_bytes.get("dram", {}).items()}


def two_convs() -> Network:
    return chain(("a", conv(8)), ("b", conv(4)), inputs={"x": (2, 4, 4)})


def test_an_output_that_fits_never_leaves() -> None:
    result = simulate(two_convs(), chip())
    assert off_chip(result, "a") == {"weight": (16 + 8 * 4, 0), "input": (32, 0)}  # weights, and biases of four bytes
    assert off_chip(result, "b") == {"weight": (32 + 4 * 4, 0), "output": (0, 64)}


def test_an_output_that_does_not_fit_goes_out_and_comes_back() -> None:
    result = simulate(two_convs(), chip("128 B"))
    assert off_chip(result, "a")["output"] == (0, 128)
    assert off_chip(result, "b")["input"][0] >= 128


def test_outputs_of_the_network_and_its_inputs_are_never_resident() -> None:
    plan = plan_residency(two_convs(), chip())
    assert plan.resident == {"a"}
    assert plan.placements["a"].input_off_chip == 1
    assert plan.placements["b"].input_off_chip == 0
    assert not plan.placements["b"].output_resident


def test_levels_of_their_own_for_inputs_and_outputs_cannot_keep_anything() -> None:
    assert plan_residency(two_convs(), array()).resident == frozenset()


def test_a_shortcut_lives_until_its_last_reader() -> None:
    network = chain(
        ("a", conv(4)), ("b", conv(4)), ("c", conv(4)), ("sum", Elementwise(op="add")), ("d", conv(2)),
        inputs={"x": (2, 4, 4)}, after={"sum": ("c", "a")},
    )  # fmt: skip
    plan = plan_residency(network, chip())
    assert plan.resident == {"a", "b", "c", "sum"}
    assert (plan.storages["a"].born, plan.storages["a"].dies) == (0, 3)
    held = [plan.placements[layer.name].reserved_bytes["buffer"] for layer in network.layers]
    assert held == [64, 128, 192, 192, 64]


@pytest.mark.parametrize("size", [100, 150, 200, 250, 300, 400, 1000])
def test_what_is_kept_always_fits(size: int) -> None:
    network = chain(
        ("a", conv(4)), ("b", conv(8)), ("c", conv(4)), ("sum", Elementwise(op="add")), ("d", conv(2)),
        inputs={"x": (2, 4, 4)}, after={"sum": ("c", "a")},
    )  # fmt: skip
    arch = chip(f"{size} B")
    try:
        plan = plan_network(network, arch, engine_of(arch))
    except InfeasibleError:
        assert size <= 100
        return
    for placement in plan.placements.values():
        assert placement.reserved_bytes["buffer"] <= size
    simulate(network, arch)


def test_an_inline_operator_costs_nothing_of_its_own() -> None:
    network = chain(("a", conv(8)), ("act", Activation(op="relu")), ("b", conv(4)), inputs={"x": (2, 4, 4)})
    assert absorbed_layers(network, chip()) == {"act": "a"}
    with_relu, without = simulate(network, chip()), simulate(two_convs(), chip())
    assert with_relu.totals.cycles == without.totals.cycles
    assert with_relu.totals.vector_ops == 8 * 16
    assert with_relu.totals.traffic_bytes == without.totals.traffic_bytes


def test_an_operator_that_is_not_inline_is_paid_for() -> None:
    network = chain(("a", conv(8)), ("act", Activation(op="tanh")), ("b", conv(4)), inputs={"x": (2, 4, 4)})
    assert absorbed_layers(network, chip()) == {}
    assert simulate(network, chip()).layers[1].cycles > 0


def test_an_operator_between_two_readers_is_not_inline() -> None:
    network = chain(
        ("a", conv(4)), ("act", Activation(op="relu")), ("sum", Elementwise(op="add")),
        inputs={"x": (2, 4, 4)}, after={"sum": ("act", "a")},
    )  # fmt: skip
    assert absorbed_layers(network, chip()) == {}


def test_batch_norm_is_folded_behind_a_convolution_only() -> None:
    folded = chain(("a", conv(4)), ("bn", BatchNorm()), ("act", Activation(op="relu")), inputs={"x": (2, 4, 4)})
    assert absorbed_layers(folded, chip()) == {"bn": "a", "act": "a"}
    alone = chain(("p", Pool2d(op="maxpool2d", window=2)), ("bn", BatchNorm()), inputs={"x": (2, 4, 4)})
    assert absorbed_layers(alone, chip()) == {}


def test_a_reshape_and_a_concatenation_rename_storage() -> None:
    network = chain(
        ("a", conv(4)), ("b", conv(2)), ("cat", Concat()), ("flat", Reshape(op="flatten")), ("fc", Linear(out=3)),
        inputs={"x": (2, 4, 4)}, after={"b": ("x",), "cat": ("a", "b")},
    )  # fmt: skip
    plan = plan_residency(network, chip())
    assert set(plan.storages) == {"x", "a", "b", "fc"}
    assert plan.placements["fc"].input_off_chip == 0
    assert off_chip(simulate(network, chip()), "fc") == {"weight": (3 * 96 + 3 * 4, 0), "output": (0, 3)}


def test_a_tensor_half_on_chip_is_fetched_by_half() -> None:
    network = chain(
        ("a", conv(4)), ("cat", Concat()), ("fc", Linear(out=3)), inputs={"x": (4, 4, 4)}, after={"cat": ("a", "x")}
    )  # fmt: skip
    share = plan_residency(network, chip()).placements["fc"].input_off_chip
    assert share == Fraction(1, 2)


def test_the_second_operand_of_a_product_is_held_where_weights_are_read() -> None:
    network = chain(
        ("q", Linear(out=8)), ("k", Linear(out=8)), ("scores", Matmul(transpose_b=True)), ("soft", Softmax()),
        inputs={"x": (4, 8)}, after={"k": ("x",), "scores": ("q", "k")},
    )  # fmt: skip
    plan = plan_residency(network, chip())
    assert plan.placements["scores"].weight_resident
    assert set(off_chip(simulate(network, chip()), "scores")) == set()
    apart = array(
        memory=[
            {"name": "dram"},
            {"name": "acts", "holds": ["input", "output"]},
            {"name": "weights", "holds": ["weight"]},
        ]
    )
    assert not plan_residency(network, apart).placements["scores"].weight_resident
    assert "weight" in off_chip(simulate(network, apart), "scores")


def test_where_tiles_have_no_room_the_largest_tensor_leaves() -> None:
    arch = chip("300 B")
    network = chain(
        ("a", conv(8)), ("b", conv(8)), ("sum", Elementwise(op="add")), ("c", conv(8)),
        inputs={"x": (8, 4, 4)}, after={"sum": ("b", "a")},
    )  # fmt: skip
    plan = plan_network(network, arch, engine_of(arch))
    assert plan.resident != plan_residency(network, chip()).resident
    simulate(network, arch)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "googlenet", "bert_base"])
def test_no_network_of_the_zoo_holds_more_than_there_is(name: str) -> None:
    from accelsim.api import load_arch

    network, arch = load_network(name), load_arch("tpu_v1")
    plan = plan_residency(network, arch)
    size = next(level.size for level in arch.memory if level.name == "unified_buffer")
    assert size is not None
    assert plan.resident
    assert all(placement.reserved_bytes["unified_buffer"] <= size for placement in plan.placements.values())
