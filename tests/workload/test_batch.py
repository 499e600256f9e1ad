"""Is a part of a batch the same network, and is what cannot be parted left whole?"""

from __future__ import annotations

import pytest
from builders import chain
from hypothesis import given
from hypothesis import strategies as st

from accelsim import load_network
from accelsim.workload.batch import part_of, part_sizes
from accelsim.workload.ops import (
    Concat,
    Conv2d,
    Elementwise,
    GlobalPool,
    Linear,
    LocallyConnected2d,
    Matmul,
    Op,
    Recurrent,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Split,
    Transpose,
)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "googlenet", "bert_base"])
def test_a_part_of_a_zoo_network_is_that_network_at_a_smaller_batch(name: str) -> None:
    part, smaller = part_of(load_network(name, batch=6), 3), load_network(name, batch=2)
    assert part is not None
    assert [layer.output_shapes for layer in part.layers] == [layer.output_shapes for layer in smaller.layers]
    assert part.batch == 2


def test_a_batch_is_parted_evenly_or_not_at_all() -> None:
    assert part_of(load_network("lenet5", batch=6), 4) is None
    assert part_sizes(12, 16) == [12, 6, 4, 3, 2, 1]


@given(st.integers(1, 2000), st.integers(1, 50), st.integers(1, 64))
def test_a_multiple_of_a_batch_is_looked_at_in_all_parts_that_the_batch_is(batch: int, times: int, most: int) -> None:
    assert set(part_sizes(batch, most)) <= set(part_sizes(batch * times, most))


def test_a_huge_batch_is_looked_at_in_small_parts_alone_as_far_as_it_has_any() -> None:
    assert part_sizes(10**6, 16) == [16, 10, 8, 5, 4, 2, 1]
    assert part_sizes(2 * 10007, 16) == [10007, 2, 1]


IMAGE = (4, 4, 4)
APART: list[tuple[Op, tuple[int, ...]]] = [
    (Conv2d(K=4, R=3, S=3), IMAGE), (LocallyConnected2d(K=2, R=3, S=3), IMAGE), (GlobalPool(op="globalavgpool"), IMAGE),
    (Softmax(axis=1), IMAGE), (Reduce(op="reduce_sum", axes=(1, 2)), IMAGE), (Split(axis=1, sizes=(1, 3)), IMAGE),
    (Reshape(op="flatten"), IMAGE), (Transpose(perm=(2, 1, 3)), IMAGE), (Recurrent(op="lstm", hidden=4), (3, 4)),
    (Linear(out=3), (5, 4)), (Matmul(N=3), (5, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shape"), APART, ids=lambda value: getattr(value, "op", ""))
def test_operators_that_keep_images_apart_run_in_parts(op: Op, shape: tuple[int, ...]) -> None:
    assert part_of(chain(("layer", op), inputs={"x": shape}, batch=4), 2) is not None


MIXED: list[tuple[Op, tuple[int, ...]]] = [
    (Softmax(axis=0), IMAGE), (Softmax(axis=-4), IMAGE), (Reduce(op="reduce_mean", axes=(0,)), IMAGE),
    (Reduce(op="reduce_max", axes=(2, -4)), IMAGE), (Slice(axis=0, size=2), IMAGE), (Split(axis=0, sizes=(2, 2)), IMAGE),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shape"), MIXED, ids=lambda value: getattr(value, "op", ""))
def test_operators_over_the_batch_axis_leave_it_whole(op: Op, shape: tuple[int, ...]) -> None:
    assert part_of(chain(("layer", op), inputs={"x": shape}, batch=4), 2) is None


def test_images_that_meet_each_other_leave_the_batch_whole() -> None:
    joined = chain(("a", Linear(out=3)), ("cat", Concat(axis=0)), inputs={"x": (3,)}, batch=4, after={"cat": ("a", "x")})
    product = chain(("a", Linear(out=4)), ("p", Matmul()), inputs={"x": (4,)}, batch=4, after={"p": ("x", "a")})
    spread = chain(
        ("a", Linear(out=4)), ("s", Elementwise(op="add")), inputs={"x": (4,), "y": (4, 4)}, batch=4, after={"s": ("y", "a")}
    )  # fmt: skip
    assert [part_of(network, 2) for network in (joined, product, spread)] == [None] * 3


def test_attention_is_a_product_an_image() -> None:
    assert part_of(load_network("bert_base", batch=4), 4) is not None
