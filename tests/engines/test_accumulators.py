"""Is a bias added in the accumulator's width on every engine, behind the last product, wrapped or saturated and counted?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import array, formats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import sums

from accelsim import load_arch
from accelsim.api import simulate_full
from accelsim.arch.spec import Architecture, FixedPoint
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.functional import run_reference
from accelsim.workload.network import Held, LayerSketch, Network, Provided, build_network
from accelsim.workload.ops import Conv2d, Linear, LocallyConnected2d, Matmul, Op, Recurrent
from accelsim.workload.precision import NumberFormat

KINDS: list[tuple[Op, tuple[tuple[int, ...], ...], tuple[int, ...]]] = [  # operator, inputs, shape of its bias
    (Linear(out=5), ((7,),), (5,)),
    (Matmul(N=4), ((3, 6),), (4,)),
    (Matmul(), ((2, 3, 6), (2, 6, 4)), (4,)),
    (Conv2d(K=4, R=2, S=3, pad=1), ((3, 4, 4),), (4,)),
    (Conv2d(K=6, R=2, S=2, groups=3), ((6, 3, 3),), (6,)),
    (LocallyConnected2d(K=3, R=2, S=2), ((2, 3, 4),), (3, 2, 3)),
]
ENGINES = ["ws", "os", "is", "diannao", "zhang2015", "eie"]


def machine(name: str, overflow: str, bits: int | None = None) -> Architecture:
    if name in ("ws", "os", "is"):
        accumulators = {"accumulators": {"entries": 64, "bits": bits}} if bits and name != "os" else {}
        return array(3, 4, dataflow=name, accumulator_overflow=overflow, **accumulators)
    arch = load_arch(name)
    changes: dict[str, Any] = {"accumulator_overflow": overflow, "precision": {**arch.engine.precision, "int8": 1}}
    if name == "diannao":
        changes["arithmetic"] = None
    return arch.model_copy(update={"engine": arch.engine.model_copy(update=changes)})


def given_values(op: Op, shapes: tuple[tuple[int, ...], ...], bits: int, seed: int, bias: Any) -> tuple[Network, list[Any], Any]:
    """A layer of small operands: its network, inputs and weights."""
    draw = np.random.default_rng(seed)
    precision = formats("int8", "int8", f"int{bits}", f"int{bits}")
    names = {f"x{i}": shape for i, shape in enumerate(shapes)}
    first = LayerSketch("layer", op, tuple(names), precision, bias=Provided(provider=Held(bias)))
    shape = build_network("n", 1, names, (first,)).layers[0].weight_shape
    weight = None if shape is None else draw.integers(-7, 8, shape).astype(np.int8)
    if weight is not None:
        first = replace(first, weight=Provided(provider=Held(weight)))
    inputs = [draw.integers(-7, 8, (1, *shape)).astype(np.int8) for shape in shapes]
    return build_network("n", 1, names, (first,)), inputs, weight


def held(values: Any, bits: int, overflow: str) -> Any:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return np.clip(values, low, high) if overflow == "saturate" else (values - low) % (1 << bits) + low


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(KINDS), engine=st.sampled_from(ENGINES), overflow=st.sampled_from(["wrap", "saturate"]),
    seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([13, 16, 24, 32, 48]),
)  # fmt: skip
@example(kind=KINDS[2], engine="eie", overflow="wrap", seed=1, bits=13)
@example(kind=KINDS[5], engine="diannao", overflow="saturate", seed=2, bits=13)
@example(kind=KINDS[0], engine="is", overflow="wrap", seed=3, bits=64)
def test_a_bias_behind_sums_that_fit(kind: Any, engine: str, overflow: str, seed: int, bits: int) -> None:
    op, shapes, bias_shape = kind
    if engine == "eie" and isinstance(op, LocallyConnected2d):
        return  # refused there
    high = (1 << (bits - 1)) - 1
    bias = np.random.default_rng(seed).choice([high, high - 20, -high - 1, -high + 20, 5], bias_shape)
    network, inputs, weight = given_values(op, shapes, bits, seed, bias)
    layer = network.layers[0]
    exact = sums(layer, inputs, weight)  # of at most 24 products below 50: they fit 13 bits
    total = exact.astype(object) + (bias.reshape(-1, 1, 1) if isinstance(op, Conv2d) else bias).astype(object)
    wanted = held(total, bits, overflow).astype(np.int64)

    taken = dict(zip(network.inputs, inputs, strict=True))
    run = simulate_full(network, machine(engine, overflow), values=True, inputs=taken)
    np.testing.assert_array_equal(run.outputs["layer"], wanted)
    assert run.result.layers[0].accumulator_overflows == np.count_nonzero(wanted != total)
    reference = run_reference(network, 0, taken, saturates=overflow == "saturate")["layer"][0]
    np.testing.assert_array_equal(reference, wanted)


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(KINDS), engine=st.sampled_from(ENGINES), seed=st.integers(0, 2**32 - 1),
    bits=st.integers(5, 9),
)  # fmt: skip
def test_sums_that_wrap_on_the_way_are_their_remainder(kind: Any, engine: str, seed: int, bits: int) -> None:
    op, shapes, bias_shape = kind
    if engine == "eie" and isinstance(op, LocallyConnected2d):
        return
    bias = np.random.default_rng(seed).integers(-(1 << (bits - 1)), 1 << (bits - 1), bias_shape)
    network, inputs, weight = given_values(op, shapes, bits, seed, bias)
    exact = sums(network.layers[0], inputs, weight) + (bias.reshape(-1, 1, 1) if isinstance(op, Conv2d) else bias)
    taken = dict(zip(network.inputs, inputs, strict=True))
    run = simulate_full(network, machine(engine, "wrap"), values=True, inputs=taken)
    np.testing.assert_array_equal(run.outputs["layer"], held(exact, bits, "wrap"))
    np.testing.assert_array_equal(run_reference(network, 0, taken)["layer"][0], held(exact, bits, "wrap"))


@pytest.mark.parametrize(("overflow", "value"), [("wrap", 100 + 32_700 - 65_536), ("saturate", 32_767)])
@pytest.mark.parametrize("engine", ["ws", "os", "is", "diannao", "zhang2015", "eie"])
def test_100_and_a_bias_of_32700_in_16_bits(engine: str, overflow: str, value: int) -> None:
    network, _, _ = given_values(Linear(out=1), ((1,),), 16, 0, np.array([32_700]))
    sketch = replace(network.layers[0], weight=Provided(provider=Held(np.array([[10]], np.int8))))
    run = simulate_full(
        replace(network, layers=(sketch,)), machine(engine, overflow), values=True, inputs={"x0": np.array([[10]], np.int8)}
    )
    assert run.outputs["layer"].tolist() == [[value]]
    assert run.result.layers[0].accumulator_overflows == 1


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_registers_narrower_than_the_format_are_the_width(overflow: str) -> None:
    """A bias of 20,000 does not fit accumulators of 12 bits by itself."""
    bias = np.array([20_000, 3, -20_000])
    network, inputs, weight = given_values(Linear(out=3), ((4,),), 32, 1, bias)
    run = simulate_full(network, machine("ws", overflow, bits=12), values=True, inputs={"x0": inputs[0]})
    total = sums(network.layers[0], inputs, weight) + bias
    np.testing.assert_array_equal(run.outputs["layer"], held(total, 12, overflow))
    assert run.result.layers[0].accumulator_overflows == 2


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_the_fixed_point_of_an_nfu_adds_it_in_its_sum_registers(overflow: str) -> None:
    arch = load_arch("diannao")
    arithmetic = FixedPoint(fraction=2, product="truncate", product_bits=16, sum_bits=10, overflow=overflow)
    arch = arch.model_copy(update={"engine": arch.engine.model_copy(update={"arithmetic": arithmetic})})
    op, precision = Linear(out=3), formats("int16", "int16", "int32", "int16")
    weight, x, bias = np.array([[40], [40], [40]]), np.array([[40]]), np.array([200, 100, -600])
    sketch = LayerSketch(
        "layer", op, ("x",), precision, Provided(provider=Held(weight)), bias=Provided(provider=Held(bias))
    )
    run = simulate_full(build_network("n", 1, {"x": (1,)}, (sketch,)), arch, values=True, inputs={"x": x})
    np.testing.assert_array_equal(run.outputs["layer"], held((40 * 40 >> 2) + bias[None], 10, overflow))
    assert run.result.layers[0].accumulator_overflows == 1  # 600; 500 and -200 fit


@pytest.mark.parametrize("engine", ["ws", "diannao", "eie"])
def test_gates_of_an_lstm_wrap_as_any_sum(engine: str) -> None:
    bias = np.full(12, 32_767)
    network, inputs, _ = given_values(Recurrent(op="lstm", hidden=3), ((2, 4),), 16, 3, bias)
    run = simulate_full(network, machine(engine, "wrap"), values=True, inputs={"x0": inputs[0]})
    np.testing.assert_array_equal(run.outputs["layer"], run_reference(network, 0, {"x0": inputs[0]})["layer"][0])
    assert run.result.layers[0].accumulator_overflows > 0


def test_a_transform_adds_it_in_the_registers_of_the_engine() -> None:
    bias = np.array([32_767, -32_768])
    op = Conv2d(K=2, R=3, S=3, pad=1, algorithm="winograd_f2x2")
    network, inputs, weight = given_values(op, ((3, 4, 4),), 16, 5, bias)
    arch = array(4, 4, vector={"lanes": 8}, accumulator_overflow="saturate", precision={"int8": 1, "int16": 1})
    run = simulate_full(network, arch, values=True, inputs={"x0": inputs[0]})
    total = sums(network.layers[0], inputs, weight) + bias[:, None, None]
    np.testing.assert_array_equal(run.outputs["layer"], held(total, 16, "saturate"))
    assert run.result.totals.accumulator_overflows == np.count_nonzero(held(total, 16, "saturate") != total)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.integers(-(2**63), 2**63 - 1), st.integers(2, 64), st.booleans())
def test_a_register_holds_what_python_says(values: list[int], more: int, bits: int, saturates: bool) -> None:
    register = Accumulator(NumberFormat("int", bits), saturates)
    found, overflows = register.added(np.array(values), np.array([more]))
    total = np.array([value + more for value in values], object)
    wanted = held(total, bits, "saturate" if saturates else "wrap")
    assert found.tolist() == wanted.tolist()
    assert overflows == sum(a != b for a, b in zip(total, wanted, strict=True))
