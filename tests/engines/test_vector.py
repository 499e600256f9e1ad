"""Does the vector unit take the cycles of its lanes, or of what it waits for, and count what it moves?"""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from builders import array, chain, formats, network_of, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import simulate
from accelsim.report.model import LayerResult
from accelsim.workload.network import Network
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Elementwise,
    GlobalPool,
    LayerNorm,
    Op,
    Pool2d,
    Softmax,
    Transpose,
)

UNLIMITED = one_buffer("1 MiB", None)


def timed(network: Network, lanes: int = 4, memory: list[dict[str, Any]] | None = None) -> LayerResult:
    return simulate(network, array(memory=memory or UNLIMITED, vector={"lanes": lanes})).layers[-1]


def one(op: Op, *shapes: tuple[int, ...], batch: int = 1) -> Network:
    return network_of(op, *shapes, batch=batch, precision=formats())


@pytest.mark.parametrize(
    ("op", "shapes", "ops"),
    [
        (Pool2d(op="maxpool2d", window=(2, 2)), [(3, 8, 8)], 3 * 16 * 4),
        (Pool2d(op="avgpool2d", window=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1)), [(2, 9, 9)], 2 * 25 * 9),
        (GlobalPool(op="globalavgpool"), [(5, 7, 7)], 5 * 49),
        (Elementwise(op="add"), [(3, 5), (3, 5)], 15),
        (Elementwise(op="mul"), [(3, 5), (3, 5), (3, 5)], 30),
        (Activation(op="tanh"), [(40,)], 40),
        (Softmax(), [(3, 10)], 150),
        (LayerNorm(), [(3, 10)], 180),
        (BatchNorm(), [(3, 4, 4)], 96),
    ],
)
@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_cycles_are_operations_over_lanes(op: Op, shapes: list[tuple[int, ...]], ops: int, lanes: int) -> None:
    layer = timed(one(op, *shapes), lanes)
    assert layer.vector_ops == layer.ops == ops
    assert layer.cycles == layer.busy_cycles == ceil(ops / lanes)
    assert (layer.engine, layer.macs, layer.utilization) == ("vector", 0, 0)


def test_traffic_is_each_tensor_once() -> None:
    layer = timed(one(Elementwise(op="add"), (3, 5), (3, 5)))
    assert {t: (b.read, b.write) for t, b in layer.traffic_bytes["dram"].items()} == {
        "input": (30, 0),
        "output": (0, 15),
    }
    assert {t: (b.read, b.write) for t, b in layer.traffic_bytes["buffer"].items()} == {
        "input": (30, 30),
        "output": (15, 15),
    }


def test_what_only_moves_is_waiting_not_work() -> None:
    layer = timed(one(Transpose(perm=(2, 1)), (8, 8)), 4)
    assert (layer.cycles, layer.busy_cycles, layer.ops) == (16, 0, 0)
    assert layer.stall_cycles["memory"] == 16


def test_a_narrow_memory_is_waited_for() -> None:
    layer = timed(one(Activation(op="tanh"), (1024,)), 64, one_buffer("1 MiB", "2 B/cycle"))
    assert 1024 <= layer.cycles <= 1024 + 64
    assert layer.busy_cycles == 16
    assert layer.stall_cycles["memory"] == layer.cycles - 16
    assert layer.roofline.bound == "memory"


def test_a_narrow_port_is_waited_for() -> None:
    layer = timed(one(Activation(op="tanh"), (1024,)), 64, one_buffer("1 MiB", None, "8 B/cycle"))
    assert layer.cycles >= 4 * 1024 / 8  # in from far, out to the lanes, in from the lanes, out to far
    assert layer.busy_cycles == 16


def test_without_a_unit_a_layer_is_left_out_and_said_so() -> None:
    from accelsim.api import simulate_full

    network = chain(("a", Activation(op="tanh")), ("b", Softmax()), inputs={"x": (8,)})
    simulation = simulate_full(network, array())
    assert simulation.result.totals.cycles == 0
    assert simulation.notes == (
        "test has no vector unit: 2 layers (a, b) are not counted, or their vector operations are not: 48 operations, "
        "100.0 % of all, and 32 bytes of operands; add a vector block to the architecture to count them",
    )


@settings(max_examples=60)
@given(
    channels=st.integers(1, 9), size=st.integers(1, 12), lanes=st.integers(1, 40),
    far=st.integers(1, 64), near=st.integers(1, 64),
    size_bytes=st.integers(8, 4000), batch=st.integers(1, 3), kind=st.sampled_from(["relu", "add", "pool", "transpose"]),
)  # fmt: skip
def test_laws(
    channels: int, size: int, lanes: int, far: int, near: int, size_bytes: int, batch: int, kind: str
) -> None:
    shape = (channels, size, size)
    op: Op = {
        "relu": Activation(op="relu"), "add": Elementwise(op="add"), "pool": Pool2d(op="maxpool2d", window=(1, 1)),
        "transpose": Transpose(perm=(2, 3, 1)),
    }[kind]  # fmt: skip
    inputs = [shape] * (2 if kind == "add" else 1)
    layer = timed(
        one(op, *inputs, batch=batch), lanes, one_buffer(f"{size_bytes} B", f"{far} B/cycle", f"{near} B/cycle")
    )
    elements = batch * channels * size * size
    assert layer.cycles == layer.busy_cycles + sum(layer.stall_cycles.values())
    rows = ceil(elements / lanes), batch * ceil(elements / batch / lanes)  # the batch may run image by image
    assert rows[0] <= layer.busy_cycles <= rows[1] if kind != "transpose" else layer.busy_cycles == 0
    assert layer.level_traffic("dram").total == elements * (len(inputs) + 1)
    for level, rate in (("dram", far), ("buffer", near)):
        assert layer.cycles * rate >= layer.level_traffic(level).total
