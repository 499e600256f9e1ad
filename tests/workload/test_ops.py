"""Are the shapes, weights and MACs of the operators right? Plain numpy and plain loops say what they are."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelsim.workload.ops import (
    Concat,
    Conv2d,
    CumulativeSum,
    Elementwise,
    Embedding,
    Gather,
    Linear,
    LocallyConnected2d,
    Locate,
    Matmul,
    Op,
    Pad,
    Pool2d,
    Recurrent,
    Reduce,
    Reshape,
    Scatter,
    Slice,
    Split,
    Take,
    TopK,
    Transpose,
    Upsample,
)

small = st.integers(1, 3)
pads = st.tuples(*[st.integers(0, 2)] * 4)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, dtype=np.int64)


def starts(size: int, before: int, after: int, window: int, stride: int) -> list[int]:
    """Where a window may stand so that all of it lies on the padded axis."""
    return [at for at in range(0, size + before + after, stride) if at + window <= size + before + after]


def convolve(op: Conv2d, x: np.ndarray, weight: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """Seven loops: the output, and how many products were made; each weight must be there and be used."""
    top, bottom, left, right = op.pad
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n_in, c_in, h, w = x.shape
    ps = starts(h, top, bottom, op.dilation[0] * (op.R - 1) + 1, op.stride[0])
    qs = starts(w, left, right, op.dilation[1] * (op.S - 1) + 1, op.stride[1])
    out, count, used = zeros((n_in, weight.shape[0], len(ps), len(qs))), 0, zeros(weight.shape)
    per_group_in, per_group_out = c_in // groups, weight.shape[0] // groups
    for (p, y0), (q, x0) in product(enumerate(ps), enumerate(qs)):
        for n, k, c, r, s in product(
            range(n_in), range(weight.shape[0]), range(per_group_in), range(op.R), range(op.S)
        ):
            channel = k // per_group_out * per_group_in + c
            pixel = padded[n, channel, y0 + r * op.dilation[0], x0 + s * op.dilation[1]]
            out[n, k, p, q] += pixel * weight[k, c, r, s]
            used[k, c, r, s] = 1
            count += 1
    assert used.all()
    return out, count


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Conv2d, tuple[int, ...], int]:
    groups, per_in, per_out = draw(small), draw(small), draw(small)
    r, s, pad = draw(small), draw(small), draw(pads)
    dilation = (draw(small), draw(small))
    op = Conv2d(
        K=groups * per_out, R=r, S=s, stride=(draw(small), draw(small)), pad=pad, dilation=dilation,
        groups=groups,
    )  # fmt: skip
    h = draw(st.integers(max(1, dilation[0] * (r - 1) + 1 - pad[0] - pad[1]), 8))
    w = draw(st.integers(max(1, dilation[1] * (s - 1) + 1 - pad[2] - pad[3]), 8))
    return op, (draw(st.integers(1, 2)), groups * per_in, h, w), groups


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_a_convolution_is_what_seven_loops_do(case: tuple[Conv2d, tuple[int, ...], int]) -> None:
    op, shape, groups = case
    weight = np.ones(op.weight_shape((shape,)), dtype=np.int64)
    out, count = convolve(op, zeros(shape), weight, groups)
    assert op.output_shapes((shape,)) == (out.shape,)
    assert op.macs((shape,)) == count
    assert op.parameters((shape,)) == weight.size + out.shape[1]


@given(channels=st.integers(1, 6), size=st.integers(3, 9))
def test_depthwise_is_one_group_a_channel(channels: int, size: int) -> None:
    shape = (2, channels, size, size)
    depthwise = Conv2d(R=3, S=3, groups="depthwise")
    grouped = Conv2d(R=3, S=3, groups=channels, K=channels)
    for what in (Conv2d.output_shapes, Conv2d.weight_shape, Conv2d.macs, Conv2d.parameters):
        assert what(depthwise, (shape,)) == what(grouped, (shape,))


@settings(max_examples=40, deadline=None)
@given(
    k=small, c=small, r=small, s=small, stride=st.tuples(small, small), pad=pads,
    h=st.integers(3, 7), w=st.integers(3, 7),
)  # fmt: skip
def test_private_kernels_are_used_once_an_image(
    k: int, c: int, r: int, s: int, stride: tuple[int, int], pad: tuple[int, ...], h: int, w: int
) -> None:
    op = LocallyConnected2d(K=k, R=r, S=s, stride=stride, pad=pad)
    ps, qs = starts(h, pad[0], pad[1], r, stride[0]), starts(w, pad[2], pad[3], s, stride[1])
    shape = (2, c, h, w)
    used = zeros(op.weight_shape((shape,)))
    for index in product(range(len(ps)), range(len(qs)), range(k), range(c), range(r), range(s)):
        used[index] += 1
    assert (used == 1).all()
    assert op.output_shapes((shape,)) == ((2, k, len(ps), len(qs)),)
    assert op.macs((shape,)) == 2 * used.size
    assert op.parameters((shape,)) == used.size + k * len(ps) * len(qs)


@given(
    size=st.integers(1, 20), window=st.integers(1, 5), stride=st.integers(1, 5), pad=pads, ceil=st.booleans()
)
def test_pool_windows(size: int, window: int, stride: int, pad: tuple[int, ...], ceil: bool) -> None:
    assume(max(pad) < window)  # else a whole window may lie in the padding
    op = Pool2d(op="maxpool2d", window=window, stride=stride, pad=pad, ceil=ceil)
    wanted = []
    for before, after in ((pad[0], pad[1]), (pad[2], pad[3])):
        end = size + before + after
        places = starts(size, before, after, window, stride)
        following = places[-1] + stride if places else 0
        left_over = following - stride + window < end  # some pixels are in no window yet
        if ceil and left_over and following < size + before:
            places.append(following)
        wanted.append(len(places))
    if 0 in wanted:
        with pytest.raises(ValueError, match="larger than the padded input"):
            op.output_shapes(((1, 2, size, size),))
    else:
        assert op.output_shapes(((1, 2, size, size),)) == ((1, 2, *wanted),)
        assert op.vector_ops(((1, 2, size, size),)) == 2 * prod(wanted) * window**2


@given(shape=shapes.filter(lambda s: len(s) > 1), out=small, bias=st.booleans())
def test_linear(shape: tuple[int, ...], out: int, bias: bool) -> None:
    op = Linear(out=out, bias=bias)
    x = zeros(shape).reshape(shape[0], -1) if len(shape) == 4 else zeros(shape)
    weight = zeros(op.weight_shape((shape,)))
    y = x @ weight.T
    assert op.output_shapes((shape,)) == (y.shape,)
    assert op.macs((shape,)) == y.size * weight.shape[1]
    assert op.parameters((shape,)) == weight.size + out * bias


@given(lead=st.lists(small, max_size=2).map(tuple), m=small, n=small, k=small, transposed=st.booleans())
def test_matmul_of_two_inputs(lead: tuple[int, ...], m: int, n: int, k: int, transposed: bool) -> None:
    first, second = (*lead, m, k), (*lead, n, k) if transposed else (*lead, k, n)
    op = Matmul(transpose_b=transposed, N=n, K=k, M=m)
    b = zeros(second)
    y = zeros(first) @ (b.swapaxes(-1, -2) if transposed else b)
    assert op.output_shapes((first, second)) == (y.shape,)
    assert op.macs((first, second)) == y.size * k
    assert op.parameters((first, second)) == 0


@given(lead=st.lists(small, max_size=2).map(tuple), m=small, n=small, k=small, transposed=st.booleans())
def test_matmul_with_weights(lead: tuple[int, ...], m: int, n: int, k: int, transposed: bool) -> None:
    shape = (*lead, m, k)
    op = Matmul(transpose_b=transposed, N=n)
    weight = zeros(op.weight_shape((shape,)) or ())
    y = zeros(shape) @ (weight.T if transposed else weight)
    assert op.output_shapes((shape,)) == (y.shape,)
    assert op.macs((shape,)) == y.size * k


@given(st.lists(shapes, min_size=1, max_size=3))
def test_elementwise_broadcasts_as_numpy_does(inputs: list[tuple[int, ...]]) -> None:
    op = Elementwise(op="add")
    try:
        wanted = np.broadcast_shapes(*inputs)
    except ValueError:
        with pytest.raises(ValueError, match="differ in shape"):
            op.output_shapes(tuple(inputs))
    else:
        assert op.output_shapes(tuple(inputs)) == (wanted,)


@given(shape=shapes, data=st.data())
def test_data_movement_agrees_with_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    x = zeros(shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    assert Concat(axis=axis).output_shapes((shape, shape)) == (np.concatenate([x, x], axis=axis).shape,)
    perm = data.draw(st.permutations(range(1, len(shape))))
    assert Transpose(perm=tuple(perm)).output_shapes((shape,)) == (x.transpose(0, *perm).shape,)
    indices = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=9))
    assert Take(axis=axis, indices=tuple(indices)).output_shapes((shape,)) == (x.take(indices, axis=axis).shape,)
    assert Reshape(op="flatten").output_shapes((shape,)) == (x.reshape(shape[0], -1).shape,)
    assert Reshape(op="reshape", to=(1, *shape[1:], -1)).output_shapes((shape,)) == (
        (shape[0], 1, *shape[1:], 1),
    )
    pieces = Split(axis=axis, sizes=(1,) * shape[axis]).output_shapes((shape,))
    assert pieces == tuple(piece.shape for piece in np.split(x, shape[axis], axis=axis))


@given(shape=shapes, data=st.data())
def test_places_agree_with_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    x, axis = zeros(shape), data.draw(st.integers(0, len(shape) - 1))
    count = data.draw(st.integers(1, 5))
    places = tuple(count if a == axis else data.draw(st.sampled_from([1, size])) for a, size in enumerate(shape))
    taken = np.take_along_axis(x, zeros(places).astype(np.int64), axis).shape
    assert Gather(axis=axis).output_shapes((shape, places)) == (taken,)
    assert Scatter(axis=axis).output_shapes((shape, places, taken)) == (shape,)
    assert Locate(op="argmax", axis=axis).output_shapes((shape,)) == (x.argmax(axis=axis, keepdims=True).shape,)
    assert Locate(op="argmin", axis=axis, keepdims=False).output_shapes((shape,)) == (x.argmin(axis=axis).shape,)
    assert CumulativeSum(axis=axis).output_shapes((shape,)) == (x.cumsum(axis=axis).shape,)
    assert TopK(axis=axis, k=shape[axis]).output_shapes((shape,)) == (shape,)


@given(shape=shapes, keepdims=st.booleans(), data=st.data())
def test_reduce_agrees_with_numpy(shape: tuple[int, ...], keepdims: bool, data: st.DataObject) -> None:
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    wanted = zeros(shape).sum(axis=axes, keepdims=keepdims).shape if axes else shape
    assert Reduce(op="reduce_sum", axes=axes, keepdims=keepdims).output_shapes((shape,)) == (wanted,)


@given(size=st.integers(1, 12), start=st.integers(0, 12), count=st.integers(1, 12), step=st.integers(1, 4))
def test_slice_takes_what_numpy_takes(size: int, start: int, count: int, step: int) -> None:
    op, shape = Slice(start=start, size=count, step=step), (2, size)
    taken = zeros(shape)[:, start : start + count * step : step].shape
    if taken[1] == count:
        assert op.output_shapes((shape,)) == (taken,)
    else:
        with pytest.raises(ValueError, match="leaves the axis"):
            op.output_shapes((shape,))


@given(pad=pads, scale=st.tuples(small, small), size=small)
def test_pad_and_upsample(pad: tuple[int, ...], scale: tuple[int, int], size: int) -> None:
    x = zeros((2, 3, size, size))
    padded = np.pad(x, ((0, 0), (0, 0), pad[:2], pad[2:]))
    assert Pad(pad=pad).output_shapes((x.shape,)) == (padded.shape,)
    assert Upsample(scale=scale).output_shapes((x.shape,)) == (
        x.repeat(scale[0], 2).repeat(scale[1], 3).shape,
    )


def test_embedding_looks_up_and_multiplies_nothing() -> None:
    op = Embedding(rows=10, features=4)
    assert op.output_shapes(((2, 7),)) == (zeros((10, 4))[zeros((2, 7))].shape,)
    assert (op.macs(((2, 7),)), op.parameters(((2, 7),))) == (0, 40)


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.none() | st.integers(1, 5)
)
def test_lstm_is_its_matrices(n: int, steps: int, features: int, hidden: int, projection: int | None) -> None:
    op = Recurrent(op="lstm", hidden=hidden, projection=projection, peepholes=True)
    out = projection or hidden
    matrices = [(hidden, features), (hidden, out)] * 4 + ([(out, hidden)] if projection else [])
    weights = sum(a * b for a, b in matrices)
    assert op.output_shapes(((n, steps, features),)) == ((n, steps, out),)
    assert op.macs(((n, steps, features),)) == n * steps * weights
    assert op.parameters(((n, steps, features),)) == weights + 3 * hidden + 4 * hidden


BAD: list[tuple[Op, list[tuple[int, ...]], str]] = [
    (Conv2d(K=4, R=3, S=3), [(1, 3, 2, 8)], "3x3 window .* larger than the padded input 2x8"),
    (Conv2d(K=4, R=3, S=3, groups=2), [(1, 3, 8, 8)], "groups is 2, must divide both C = 3 and K = 4"),
    (Conv2d(K=4, R=3, S=3), [(1, 3)], "takes .channels, height, width."),
    (LocallyConnected2d(K=4, R=3, S=3), [(1, 3, 2, 8)], "3x3 window is larger"),
    (Linear(in_=5, out=2), [(1, 4)], "in is 5, but its input .4. has 4 features"),
    (Matmul(), [(2, 3, 4), (2, 5, 6)], "differ in the reduced axis: 4 and 5"),
    (Matmul(), [(2, 3, 4), (3, 4, 5)], "differ in their batch axes"),
    (Matmul(), [(2, 3), (3,)], "at least two axes, its second input"),
    (Matmul(), [(2, 3)], "N is missing"),
    (Matmul(M=4, N=2), [(1, 3, 4)], "M is 4, but its inputs give 3"),
    (Matmul(N=4), [(1, 3, 4), (1, 4, 2)], "N is 4, but its inputs give 2"),
    (Concat(), [(1, 2, 3), (1, 2, 4)], "differ outside axis 1"),
    (Concat(axis=3), [(1, 2, 3)], "axis is 3"),
    (Split(sizes=(1, 2)), [(1, 4)], "add up to 3, the axis has 4"),
    (Reshape(op="reshape", to=(5,)), [(1, 2, 3)], "has 6 elements"),
    (Reshape(op="reshape", to=(-1, -1)), [(1, 2, 3)], "at most one -1"),
    (Take(axis=2, indices=(0, 3)), [(1, 2, 3)], "indices have 3, the axis has 3"),
    (Transpose(perm=(1, 1)), [(1, 2, 3)], "must permute 1..2"),
    (Recurrent(op="gru", hidden=3), [(1, 2, 3, 4)], "takes .features. or .steps, features."),
]


@pytest.mark.parametrize(("op", "inputs", "words"), BAD)
def test_what_does_not_connect_is_said(op: Op, inputs: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        op.output_shapes(tuple(inputs))


def test_a_matrix_of_two_axes_may_have_any_batch() -> None:
    assert Matmul(M=4, N=2).macs(((7, 3),)) == 7 * 3 * 2


def test_tensors_of_other_ranks_are_not_joined() -> None:
    with pytest.raises(ValueError, match="differ outside axis 2"):
        Concat(op="concat", axis=2).output_shapes(((1, 2, 3), (1, 2)))
