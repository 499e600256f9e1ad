"""Does more of anything ever cost time: a larger buffer, a wider port, a faster memory, a larger batch?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from builders import array, chain, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import simulate
from accelsim.api import simulate_full
from accelsim.arch.spec import Architecture
from accelsim.engines.walk import Recorder
from accelsim.errors import InfeasibleError
from accelsim.mapping.mapping import EMPTY, LayerMapping, MappingFile
from accelsim.report.explain import explain
from accelsim.workload.functional import run_reference
from accelsim.workload.network import Network
from accelsim.workload.ops import Concat, Conv2d, Elementwise, Linear, Pool2d, Recurrent
from accelsim.workload.values import input_values

MORE = 1 + 1 / 200  # what the nearest power of two may cost more: the mapper looks at the likely mappings, not at all
FEW_CYCLES = 4  # a layer that the mapper gives away for fewer cuts


def cycles(network: Network | str, arch: Architecture | str, **options: Any) -> int:
    return simulate(network, arch, **options).totals.cycles


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Convolutions with a branch that waits, a pool, a classifier; or steps of a recurrent layer and a classifier."""
    batch, wide = draw(st.integers(1, 3)), st.sampled_from([3, 8, 16, 24])
    if draw(st.integers(0, 3)) == 0:
        cell = Recurrent(op="lstm", hidden=draw(wide))
        return chain(("cell", cell), ("fc", Linear(out=draw(wide))), inputs={"x": (3, draw(wide))}, batch=batch)
    trunk, size = draw(wide), draw(st.sampled_from([6, 12]))
    join = draw(st.sampled_from([Concat(), Elementwise(op="add")]))
    return chain(
        ("a", Conv2d(K=trunk, R=3, S=3, pad=1)), ("b", Conv2d(K=trunk, R=1, S=1)), ("c", Conv2d(K=trunk, R=3, S=3, pad=1)),
        ("join", join), ("pool", Pool2d(op="maxpool2d", window=2, stride=2)), ("fc", Linear(out=draw(wide))),
        inputs={"x": (draw(wide), size, size)}, batch=batch, after={"join": ("a", "c")},
    )  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "size": 2 ** draw(st.integers(10, 14)), "bandwidth": 2 ** draw(st.integers(0, 4)), "port": 2 ** draw(st.integers(2, 6)),
        "dataflow": draw(st.sampled_from(["ws", "os", "is"])), "rows": draw(st.sampled_from([4, 8])),
    }  # fmt: skip


def machine(size: int, bandwidth: int, port: int, dataflow: str, rows: int, slots: int = 2) -> Architecture:
    memory = one_buffer(f"{size} B", f"{bandwidth} B/cycle", f"{port} B/cycle", slots=slots)
    return array(rows, 8, memory, {"lanes": 4, "inline": ["relu"]}, dataflow=dataflow)


@pytest.mark.slow
@settings(max_examples=10)
@given(networks(), machines(), st.sampled_from(["size", "bandwidth", "port"]))
def test_twice_the_buffer_port_or_memory_takes_no_longer(network: Network, made: dict[str, Any], what: str) -> None:
    once, twice = (cycles(network, machine(**made | {what: made[what] * times})) for times in (1, 2))
    assert twice <= once * MORE + FEW_CYCLES * len(network.layers)


@pytest.mark.slow
@settings(max_examples=10)
@given(networks(), machines(), st.sampled_from([1, 2, 3]))
def test_twice_the_slots_take_no_longer(network: Network, made: dict[str, Any], slots: int) -> None:
    once, twice = (cycles(network, machine(**made, slots=slots * times)) for times in (1, 2))
    assert twice <= once * MORE + FEW_CYCLES * len(network.layers)


def test_a_tile_takes_the_places_of_several_where_that_is_faster() -> None:
    """Two half tiles that overlap fetch more often than one large one: four slots are no worse than one."""
    network = chain(("a", Conv2d(K=24, R=3, S=3, pad=1)), ("b", Conv2d(K=24, R=3, S=3, pad=1)), inputs={"x": (24, 12, 12)})
    taken = [cycles(network, machine(2048, 8, 32, "os", 8, slots)) for slots in (1, 2, 4)]
    assert taken == sorted(taken, reverse=True)


@pytest.mark.slow
@settings(max_examples=10)
@given(networks(), machines(), st.integers(2, 4))
def test_a_multiple_of_a_batch_takes_no_longer_than_the_batch_as_often(
    network: Network, made: dict[str, Any], times: int
) -> None:
    arch = machine(**made)
    assert cycles(network.with_batch(network.batch * times), arch) <= times * cycles(network, arch)


@pytest.mark.slow
def test_resnet50_does_no_fewer_images_a_second_at_a_larger_batch() -> None:
    each = [cycles("resnet50", "tpu_v1", batch=batch) / batch for batch in (1, 8, 16, 64)]
    assert each == sorted(each, reverse=True)


def test_alexnets_third_layer_is_not_starved_by_a_neighbours_tensor() -> None:
    small = {"arch.memory.1.size": "128 KiB"}
    alone = cycles("alexnet", "tpu_v1", overrides=small, layers=["conv3"])
    within = simulate("alexnet", "tpu_v1", overrides=small).layer("conv3").cycles
    assert within <= alone * MORE


@pytest.mark.slow
def test_vgg16_is_no_slower_in_a_larger_buffer() -> None:
    sizes = ("256 KiB", "384 KiB", "512 KiB", "1 MiB", "2 MiB")
    taken = [cycles("vgg16", "tpu_v1", overrides={"arch.memory.1.size": size}) for size in sizes]
    assert taken == sorted(taken, reverse=True)


def test_a_batch_in_parts_counts_and_computes_what_the_whole_does() -> None:
    """Four images do not fit together, one does: their outputs are those of the batch, bit by bit."""
    network = chain(
        ("a", Conv2d(K=8, R=3, S=3, pad=1)), ("b", Conv2d(K=8, R=3, S=3, pad=1)), ("c", Conv2d(K=2, R=3, S=3, pad=1)),
        inputs={"x": (2, 8, 8)}, batch=4,
    )  # fmt: skip
    arch = machine(3072, 1, 64, "ws", 8)
    counted, stepped = simulate(network, arch), simulate_full(network, arch, values=True, seed=3)
    assert counted.batch_parts > 1
    assert counted.totals.cycles == stepped.result.totals.cycles
    assert [layer.macs for layer in counted.layers] == [layer.macs for layer in network.layers]
    for name, (right,) in run_reference(network, 3, input_values(network, 3)).items():
        assert np.array_equal(stepped.outputs[name], right)


def test_a_recorded_batch_in_parts_is_as_long_as_it_takes() -> None:
    recorder, arch = Recorder(), machine(3072, 1, 64, "ws", 8)
    network = chain(("a", Conv2d(K=8, R=3, S=3, pad=1)), ("b", Conv2d(K=8, R=3, S=3, pad=1)), inputs={"x": (2, 8, 8)}, batch=4)
    result = simulate_full(network, arch, recorder=recorder).result
    assert result.batch_parts > 1
    assert [sum(w.cycles * w.times for w in one.walks) for one in recorder.layers] == [one.cycles for one in result.layers]
    assert f"as {result.batch_parts} parts" in explain(network, network.layer("b"), arch, EMPTY)


def test_a_batch_that_does_not_fit_whole_runs_in_parts() -> None:
    """The user keeps the input in its level, where there is not enough room for that of four images."""
    network = chain(("a", Conv2d(K=8, R=3, S=3, pad=1)), ("b", Conv2d(K=8, R=3, S=3, pad=1)), inputs={"x": (8, 8, 8)}, batch=4)
    arch, kept = machine(2048, 1, 64, "ws", 8), MappingFile(default=LayerMapping(keep=("input",)))
    result = simulate(network, arch, mapping=kept)
    assert result.batch_parts > 1
    assert [layer.macs for layer in result.layers] == [layer.macs for layer in network.layers]
    with pytest.raises(InfeasibleError, match="512 B"):
        simulate(network, machine(512, 1, 64, "ws", 8), mapping=kept)


def two_machines(network: Network, size: int) -> tuple[Architecture, MappingFile]:
    """Every second layer on another array, with a buffer of its own."""
    arch, other = machine(size, 1, 64, "ws", 8), machine(size, 2, 64, "os", 4)
    names = [layer.name for layer in network.layers][1::2]
    mapping = MappingFile(layers={name: LayerMapping(engine="other") for name in names})
    mapping._machines["other"] = other.model_copy(update={"name": "other"})
    return arch, mapping


@pytest.mark.parametrize("size", [1024, 3072])
def test_a_batch_runs_in_parts_through_several_machines(size: int) -> None:
    network = chain(
        ("a", Conv2d(K=8, R=3, S=3, pad=1)), ("b", Conv2d(K=8, R=3, S=3, pad=1)), ("c", Conv2d(K=8, R=1, S=1)),
        ("d", Conv2d(K=8, R=1, S=1)), inputs={"x": (2, 8, 8)}, batch=4,
    )  # fmt: skip
    arch, mapping = two_machines(network, size)
    taken = [simulate(network.with_batch(batch), arch, mapping=mapping).totals.cycles for batch in (1, 2, 4)]
    assert taken[2] <= 2 * taken[1] <= 4 * taken[0]
    stepped = simulate_full(network, arch, mapping=mapping, values=True, seed=3)
    assert stepped.result.totals.cycles == taken[2]
    for name, (right,) in run_reference(network, 3, input_values(network, 3)).items():
        assert np.array_equal(stepped.outputs[name], right)


def test_parts_on_an_engine_that_needs_values_store_its_weights_once() -> None:
    """The first machine keeps whole inputs where four images have no room; the other takes the parts as they come."""
    convolution = LayerMapping(keep=("input",))
    mapping = MappingFile(default=LayerMapping(engine={"linear": "eie"}), layers={"conv2": convolution})
    sizes = ({"arch.memory.1.size": size} for size in ("16 KiB", "4 KiB"))
    whole, parts = (simulate("lenet5", "tpu_v1", mapping=mapping, batch=4, overrides=size) for size in sizes)
    assert (whole.batch_parts, parts.batch_parts) == (1, 4)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.macs == other.macs
        assert one.weights == other.weights or not one.machine


@settings(max_examples=12)
@given(st.integers(1, 97), st.integers(1, 30), st.sampled_from(["0.0000001", "0.00000000000001"]))
def test_rates_that_are_nearly_equal_take_nearly_as_long(numerator: int, denominator: int, little: str) -> None:
    network = chain(("a", Conv2d(K=8, R=3, S=3)), ("fc", Linear(out=20)), inputs={"x": (3, 8, 8)})
    rate = Fraction(numerator, denominator)
    memories = (one_buffer("2 KiB", f"{float(one):.20f} B/cycle", "64 B/cycle") for one in (rate, rate + Fraction(little)))
    one, other = (cycles(network, array(4, 8, memory)) for memory in memories)
    assert abs(one - other) <= other / 10000 + 2


def test_a_rate_beyond_all_others_is_no_rate_at_all() -> None:
    network = chain(("a", Conv2d(K=8, R=3, S=3)), inputs={"x": (3, 8, 8)})
    taken = [cycles(network, array(4, 8, one_buffer("2 KiB", rate, "64 B/cycle"))) for rate in ("1100 TB/cycle", "1 GB/cycle")]
    assert taken[0] <= taken[1] <= taken[0] * (1 + 1 / 100)
