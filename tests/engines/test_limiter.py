"""The limiter of a layer is the resource whose rate changes its time the most."""

from __future__ import annotations

from typing import Any

import pytest
from builders import array, conv, fixed, gemm, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import simulate
from accelsim.report.model import LayerResult
from accelsim.workload.network import Network


def _run(network: Network, tile: dict[str, int], rate: int, port: int, latency: int, **engine: Any) -> LayerResult:
    memory = one_buffer("1 MiB", f"{rate} B/cycle", f"{port} B/cycle")
    memory[0]["latency"] = f"{latency} cycles"
    return simulate(network, array(8, 8, memory, **engine), mapping=fixed(tile=tile, order="N P Q K C", keep=[])).layers[0]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([1, 4, 16, 64]), st.sampled_from([1, 2, 4, 16]), st.sampled_from([2, 8, 32, 128]),
    st.sampled_from([0, 10, 100]), st.sampled_from([1, 2]), st.sampled_from(["none", "skewed"]),
)  # fmt: skip
def test_twice_the_limiters_rate_gains_the_most(m: int, rate: int, port: int, latency: int, buffers: int, overlap: str) -> None:
    """Its own doubling lowers the time, and no other's lowers it more: of what a YAML has a key for."""
    network, tile = gemm(m, 32, 24), {"N": m, "K": 8, "C": 16}
    engine = {"weight_buffers": buffers, "overlap": overlap}
    layer = _run(network, tile, rate, port, latency, **engine)
    faster = {
        "memory": _run(network, tile, 2 * rate, port, latency, **engine).cycles,
        "buffer port": _run(network, tile, rate, 2 * port, latency, **engine).cycles,
        "latency": _run(network, tile, rate, port, latency // 2, **engine).cycles,
    }
    limiter = layer.limiter
    assert limiter is not None
    assert limiter.cycles_without <= layer.cycles
    if limiter.resource in faster:
        assert faster[limiter.resource] < layer.cycles
        assert min(faster.values()) == faster[limiter.resource]
        assert limiter.cycles_without <= faster[limiter.resource]


def test_a_product_of_one_row_is_limited_by_its_weights_shift() -> None:
    """4,096 folds of 8 rows of weights, a cycle each; memory and port are idle half of the time."""
    layer = _run(gemm(1, 512, 512), {"N": 1, "K": 8, "C": 512}, 32, 64, 0, weight_buffers=2, overlap="skewed")
    assert layer.limiter is not None
    assert layer.limiter.resource == "weight shift"
    assert layer.occupied_cycles["weight shift"] == 4096 * 8


SCARCE = [(1, 1000, "memory"), (1000, 8, "buffer port"), (1000, 1000, "array stream")]


@pytest.mark.parametrize(("rate", "port", "resource"), SCARCE)
def test_the_scarce_resource_is_named(rate: int, port: int, resource: str) -> None:
    network = conv(16, (16, 16), K=16, R=3, S=3, pad=1)
    tile = {"N": 1, "K": 8, "C": 8, "P": 4, "Q": 16, "R": 3, "S": 3}
    layer = _run(network, tile, rate, port, 0, weight_buffers=2, overlap="skewed")
    assert layer.limiter is not None
    assert layer.limiter.resource == resource


def test_vector_lanes_limit_a_pool_and_memory_a_sum() -> None:
    result = simulate("lenet5", "tpu_v1")
    named = {layer.op: layer.limiter.resource for layer in result.layers if layer.limiter}
    assert named["maxpool2d"] == "vector lanes"
    assert named["linear"] == "memory"
