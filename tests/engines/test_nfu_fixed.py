"""The NFU's fixed point bit for bit: pooling, activations and cells against whole-number arithmetic that is written here.

Nothing of the kernels is used: Python integers, and the tables from their definition.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import load_arch, simulate_full
from accelsim.arch.spec import Architecture
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import Activation, Conv2d, GlobalPool, Linear, Op, Pool2d, Recurrent
from accelsim.workload.precision import NumberFormat, Precision
from accelsim.workload.values import input_values, peephole_values, projection_values, weight_values

FRACTION = 10
INT16 = NumberFormat("int", 16)
SIXTEEN = Precision(weight=INT16, input=INT16, accumulator=NumberFormat("int", 48), output=INT16)
WIDE = {"arch.engine.arithmetic.sum_bits": 40}  # sums that never saturate do not depend on their order
FUNCTIONS = {"sigmoid": lambda x: 1 / (1 + math.exp(-x)), "tanh": math.tanh}


def diannao(**changes: Any) -> Architecture:
    return load_arch("diannao", overrides={f"arch.engine.arithmetic.{k}": v for k, v in changes.items()})


def network(*ops: Op, shape: tuple[int, ...], batch: int = 1) -> Network:
    """A chain of layers called a, b, c and so on."""
    names = "xabcdefg"
    sketches = tuple(
        LayerSketch(names[i + 1], op, inputs=(names[i],), precision=SIXTEEN) for i, op in enumerate(ops)
    )
    return build_network("chain", batch, {"x": shape}, sketches)


def cut(value: int, bits: int = 16) -> int:
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def multiply(a: int, b: int) -> int:
    """A truncated multiplier: bits below the radix are dropped, what is too large saturates."""
    return cut((int(a) * int(b)) >> FRACTION)


def function(name: str, value: int) -> int:
    """Sixteen pieces of one unit each over -8..8: chords between whole numbers, flat outside -7..7."""
    f, one = FUNCTIONS[name], 1 << FRACTION
    piece = max(-8, min(7, value >> FRACTION))
    slope = 0.0 if piece in (-8, 7) else f(piece + 1) - f(piece)
    start = f(8) if piece == 7 else f(piece) - slope * piece
    whole = [math.floor(number * one + 0.5) for number in (slope, start)]
    return cut(((whole[0] * int(value)) >> FRACTION) + whole[1])


def pool(image: Any, op: Pool2d, shape: tuple[int, ...], sum_bits: int) -> tuple[Any, int]:
    """Window by window, element by element; and how many additions did not fit."""
    out, overflows = np.zeros(shape, np.int64), 0
    (height, width), (down, right), (top, bottom, left, after) = op.window, op.strides, op.pad
    rows, columns = image.shape[2:]
    for n, c, p, q in product(*(range(size) for size in shape)):
        inside, counted = [], 0
        for y, x in product(range(p * down - top, p * down - top + height), range(q * right - left, q * right - left + width)):
            if 0 <= y < rows and 0 <= x < columns:
                inside.append(int(image[n, c, y, x]))
            counted += -top <= y < rows + bottom and -left <= x < columns + after
        if op.op == "maxpool2d":
            out[n, c, p, q] = max(inside, default=0)
            continue
        total = 0
        for value in inside:
            overflows += cut(total + value, sum_bits) != total + value
            total = cut(total + value, sum_bits)
        count = max(1, counted if op.count_include_pad else len(inside))
        reciprocal = math.floor((1 << FRACTION) / count + 0.5)
        out[n, c, p, q] = cut((total * reciprocal) >> FRACTION)
    return out, overflows


POOLS = st.builds(
    lambda op, window, stride, pad, ceil, counted: Pool2d(
        op=op, window=window, stride=stride, pad=min(pad, window // 2), ceil=ceil, count_include_pad=counted
    ),
    op=st.sampled_from(["maxpool2d", "avgpool2d"]), window=st.integers(1, 4), stride=st.integers(1, 3),
    pad=st.integers(0, 2), ceil=st.booleans(), counted=st.booleans(),
)  # fmt: skip


@given(POOLS, st.integers(1, 20), st.integers(4, 9), st.sampled_from([16, 17, 40]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_pooling(op: Pool2d, channels: int, size: int, sum_bits: int, seed: int) -> None:
    net = network(op, shape=(channels, size, size + 2), batch=2)
    image = input_values(net, seed)["x"]
    run = simulate_full(net, diannao(sum_bits=sum_bits), values=True, seed=seed)
    expected, overflows = pool(image, op, net.layer("a").output_shapes[0], sum_bits)
    assert run.outputs["a"].dtype == np.int16
    assert np.array_equal(run.outputs["a"], expected)
    assert run.result.layers[0].accumulator_overflows == overflows


@pytest.mark.parametrize("name", ["globalavgpool", "globalmaxpool"])
def test_global_pooling(name: Any) -> None:
    net = network(GlobalPool(op=name), shape=(5, 7, 6))
    image = input_values(net, 3)["x"].astype(np.int64)
    ours = simulate_full(net, diannao(sum_bits=40), values=True, seed=3).outputs["a"]
    if name == "globalmaxpool":
        assert np.array_equal(ours, image.max(axis=(2, 3), keepdims=True))
    else:
        assert np.array_equal(ours, (image.sum(axis=(2, 3), keepdims=True) * 24) >> FRACTION)  # 1024 / 42 is 24.4


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_activations(name: Any) -> None:
    net = network(Activation(op=name), shape=(1000,))
    values = input_values(net, 1)["x"]
    ours = simulate_full(net, diannao(), values=True, seed=1).outputs["a"]
    expected = [max(0, int(v)) if name == "relu" else function(name, int(v)) for v in values.ravel()]
    assert ours.ravel().tolist() == expected


def test_a_whole_network_is_in_one_radix() -> None:
    """Convolution, relu, pooling, classifier, sigmoid: every layer reads what the one before wrote."""
    chain = (
        Conv2d(K=5, R=3, S=3, bias=False), Activation(op="relu"), Pool2d(op="avgpool2d", window=2),
        Linear(out=9, bias=False), Activation(op="sigmoid"),
    )  # fmt: skip
    net = network(*chain, shape=(20, 8, 8))
    ours = simulate_full(net, load_arch("diannao", overrides=WIDE), values=True, seed=5).outputs
    image, kernels = input_values(net, 5)["x"], weight_values(net.layer("a"), 5)
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.int64), (3, 3), axis=(2, 3))
    products = (windows[:, None] * kernels[None, :, :, None, None].astype(np.int64)) >> FRACTION
    conv = np.clip(np.clip(products, -32768, 32767).sum(axis=(2, 5, 6)), -32768, 32767)
    assert np.array_equal(ours["a"], conv)
    assert np.array_equal(ours["b"], np.maximum(conv, 0))
    pooled, _ = pool(np.maximum(conv, 0), chain[2], (1, 5, 3, 3), 40)  # type: ignore[arg-type]
    assert np.array_equal(ours["c"], pooled)
    dense = weight_values(net.layer("d"), 5)
    sums = [cut(sum(multiply(a, b) for a, b in zip(pooled.ravel(), row, strict=True))) for row in dense]
    assert ours["d"].ravel().tolist() == sums
    assert ours["e"].ravel().tolist() == [function("sigmoid", v) for v in sums]


def dot(row: Any, vector: Any) -> int:
    return sum(multiply(a, b) for a, b in zip(row, vector, strict=True))


@pytest.mark.parametrize(("peepholes", "projection"), [(False, None), (True, None), (True, 7)])
def test_lstm(peepholes: bool, projection: int | None) -> None:
    op = Recurrent(op="lstm", hidden=11, peepholes=peepholes, projection=projection)
    net = network(op, shape=(3, 20))
    layer = net.layer("a")
    ours = simulate_full(net, load_arch("diannao", overrides=WIDE), values=True, seed=2).outputs["a"]
    sequence, weight = input_values(net, 2)["x"][0], weight_values(layer, 2)
    diagonal = peephole_values(layer, 2) if peepholes else np.zeros((3, 11), int)
    narrow = projection_values(layer, 2) if projection else None
    fed: list[int] = [0] * (projection or 11)
    cell = [0] * 11
    for step, given_now in enumerate(sequence):
        sums = [dot(row[:20], given_now) + dot(row[20:], fed) for row in weight]
        hidden = []
        for unit in range(11):
            i, f, c, o = (sums[gate * 11 + unit] for gate in range(4))
            admit = function("sigmoid", cut(i + multiply(diagonal[0][unit], cell[unit])))
            keep = function("sigmoid", cut(f + multiply(diagonal[1][unit], cell[unit])))
            cell[unit] = cut(multiply(keep, cell[unit]) + multiply(admit, function("tanh", cut(c))))
            show = function("sigmoid", cut(o + multiply(diagonal[2][unit], cell[unit])))
            hidden.append(multiply(show, function("tanh", cell[unit])))
        fed = hidden if narrow is None else [cut(dot(row, hidden)) for row in narrow]
        assert ours[0, step].tolist() == fed


def test_gru() -> None:
    net = network(Recurrent(op="gru", hidden=6), shape=(3, 17))
    ours = simulate_full(net, load_arch("diannao", overrides=WIDE), values=True, seed=4).outputs["a"]
    sequence, weight = input_values(net, 4)["x"][0], weight_values(net.layer("a"), 4)
    state = [0] * 6
    for step, vector in enumerate(sequence):
        given_now, fed = ([dot(row[part], x) for row in weight] for part, x in ((slice(17), vector), (slice(17, None), state)))
        following = []
        for unit in range(6):
            reset = function("sigmoid", cut(given_now[unit] + fed[unit]))
            update = function("sigmoid", cut(given_now[6 + unit] + fed[6 + unit]))
            candidate = function("tanh", cut(given_now[12 + unit] + ((reset * fed[12 + unit]) >> FRACTION)))
            following.append(cut(multiply(1024 - update, candidate) + multiply(update, state[unit])))
        state = following
        assert ours[0, step].tolist() == state


def test_floats_and_own_scales_keep_the_operators_rules() -> None:
    """An NFU without a fixed point pools and activates as every other engine does."""
    exact = load_arch("diannao")
    exact = exact.model_copy(update={"engine": exact.engine.model_copy(update={"arithmetic": None})})
    net = network(Pool2d(op="avgpool2d", window=3), Activation(op="tanh"), shape=(4, 9, 9))
    ours, theirs = (simulate_full(net, arch, values=True).outputs for arch in (exact, "scalesim"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in "ab")
