"""Does lowering keep every multiply-accumulate, and does it know exactly which inputs a tile reads?"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import pytest
from builders import layer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.mapping.loopnest import Axis, Dims, LoopNest, VectorWork, lower
from accelsim.workload.network import Layer
from accelsim.workload.ops import (
    Concat,
    Conv2d,
    Elementwise,
    Linear,
    LocallyConnected2d,
    Matmul,
    Op,
    Pool2d,
    Recurrent,
    Reshape,
    Split,
    Transpose,
)

SMALL = st.integers(1, 6)


@st.composite
def convolutions(draw: Any, private: bool = False) -> Layer:
    """A convolution of any kind over a small image."""
    window = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pad = tuple(draw(st.integers(0, 2)) for _ in range(4))
    dilation = (1, 1) if private else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    size = [dilation[i] * (window[i] - 1) + 1 + draw(st.integers(0, 6)) for i in range(2)]
    common: dict[str, Any] = {"R": window[0], "S": window[1], "stride": stride, "pad": pad}
    if private:
        return layer_of(
            LocallyConnected2d(K=draw(SMALL), **common), (draw(SMALL), *size), batch=draw(st.integers(1, 2))
        )
    groups, depth = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    op = Conv2d(K=groups * draw(st.integers(1, 3)), groups=groups, dilation=dilation, **common)
    return layer_of(op, (groups * depth, *size), batch=draw(st.integers(1, 2)))


def nests(layer: Layer) -> list[LoopNest]:
    return [work for work in lower(layer).work if isinstance(work, LoopNest)]


@given(convolutions() | convolutions(private=True))
def test_a_convolution_keeps_its_macs_weights_and_outputs(layer: Layer) -> None:
    (nest,) = nests(layer)
    assert layer.weight_shape is not None
    assert nest.macs == layer.macs == prod(nest.dims)
    assert nest.weight_elements == prod(layer.weight_shape)
    assert nest.dims.outputs == prod(layer.output_shapes[0])


def reads(nest: LoopNest, at: Dims, tile: Dims) -> int:
    """Brute force: every input that the loops of a tile touch, each once, padding left out."""
    places = set()
    for p, q, r, s in product(range(tile.P), range(tile.Q), range(tile.R), range(tile.S)):
        y = (at.P + p) * nest.rows.stride + (at.R + r) * nest.rows.dilation - nest.rows.pad
        x = (at.Q + q) * nest.columns.stride + (at.S + s) * nest.columns.dilation - nest.columns.pad
        if 0 <= y < nest.rows.size and 0 <= x < nest.columns.size:
            places.add((y, x))
    return len(places) * tile.G * tile.N * tile.C


@given(convolutions() | convolutions(private=True), st.data())
def test_a_tile_reads_what_its_loops_touch(layer: Layer, data: Any) -> None:
    (nest,) = nests(layer)
    at, tile = {}, {}
    for dim, size in nest.dims._asdict().items():
        at[dim] = data.draw(st.integers(0, size - 1), dim)
        tile[dim] = data.draw(st.integers(1, size - at[dim]), f"tile {dim}")
    found = nest.input_elements(Dims(**tile), at["P"], at["Q"], at["R"], at["S"])
    assert found == reads(nest, Dims(**at), Dims(**tile))


@given(convolutions())
def test_a_whole_layer_reads_no_more_than_its_image(layer: Layer) -> None:
    (nest,) = nests(layer)
    assert nest.input_elements(nest.dims) <= prod(layer.input_shapes[0])


@settings(max_examples=300)
@given(
    size=st.integers(1, 12), stride=st.integers(1, 4), dilation=st.integers(1, 4), pad=st.integers(0, 4),
    first=st.integers(0, 5), count=st.integers(1, 5), tap=st.integers(0, 4), taps=st.integers(1, 4),
)  # fmt: skip
def test_an_axis_against_brute_force(
    size: int, stride: int, dilation: int, pad: int, first: int, count: int, tap: int, taps: int
) -> None:
    places = {(first + i) * stride + (tap + j) * dilation - pad for i, j in product(range(count), range(taps))}
    assert Axis(size, stride, dilation, pad).touched(first, count, tap, taps) == len(places & set(range(size)))


# ---- the other operators ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "shapes", "dims"),
    [
        (Linear(out=5), [(7,)], Dims(N=2, K=5, C=7)),
        (Linear(out=5), [(3, 7)], Dims(N=6, K=5, C=7)),
        (Linear(out=5), [(3, 2, 2)], Dims(N=2, K=5, C=12)),
        (Matmul(N=5), [(3, 7)], Dims(N=6, K=5, C=7)),
        (Matmul(), [(3, 7), (7, 5)], Dims(N=3, K=5, C=7, G=2)),
        (Matmul(transpose_b=True), [(4, 3, 7), (4, 5, 7)], Dims(N=3, K=5, C=7, G=8)),
        (Conv2d(K=6, R=3, S=3, groups=3), [(6, 5, 5)], Dims(N=2, K=2, C=2, P=3, Q=3, R=3, S=3, G=3)),
        (Conv2d(R=3, S=3, groups="depthwise"), [(6, 5, 5)], Dims(N=2, K=1, C=1, P=3, Q=3, R=3, S=3, G=6)),
    ],
)
def test_loop_sizes(op: Op, shapes: list[tuple[int, ...]], dims: Dims) -> None:
    layer = layer_of(op, *shapes, batch=2)
    (nest,) = nests(layer)
    assert nest.dims == dims
    assert nest.macs == layer.macs
    assert lower(layer).dims == dims._asdict()
    assert nest.weight_is_activation == (len(shapes) == 2)


@pytest.mark.parametrize(("kind", "projection"), [("lstm", None), ("lstm", 3), ("gru", None)])
def test_a_recurrent_layer_keeps_its_macs(kind: Any, projection: int | None) -> None:
    layer = layer_of(Recurrent(op=kind, hidden=5, projection=projection), (4, 7), batch=2)
    work = lower(layer).work
    assert sum(part.macs for part in work if isinstance(part, LoopNest)) == layer.macs
    shown = lower(layer).dims
    assert (
        shown == {} if projection else prod(shown.values()) == layer.macs
    )  # no eight loops make both parts of an LSTMP
    assert sum(part.ops * part.repeat for part in work if isinstance(part, VectorWork)) == layer.vector_ops
    assert [part.part for part in work] == ["input", "recurrent", "cell", *(["projection"] if projection else [])]


@pytest.mark.parametrize("op", [Reshape(op="flatten"), Split(sizes=(1, 2)), Concat()])
def test_what_only_renames_asks_for_nothing(op: Op) -> None:
    assert lower(layer_of(op, (3, 4, 4))).work == ()
    assert lower(layer_of(op, (3, 4, 4))).dims == {}


@pytest.mark.parametrize(
    ("op", "shapes", "work"),
    [
        (Pool2d(op="maxpool2d", window=(2, 2)), [(3, 4, 4)], VectorWork(48, (48,), 12, channels=3)),
        (Elementwise(op="add"), [(3, 4), (3, 4)], VectorWork(12, (12, 12), 12)),
        (Transpose(perm=(2, 1)), [(3, 4)], VectorWork(0, (12,), 12)),
    ],
)
def test_vector_work(op: Op, shapes: list[tuple[int, ...]], work: VectorWork) -> None:
    assert lower(layer_of(op, *shapes)).work == (work,)
