"""Does a schedule cover every multiply-accumulate once, and move exactly the bytes that its tiles need?"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from builders import layer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import DIMS, Dims, LoopNest, lower
from accelsim.mapping.machine import Placement, Widths
from accelsim.mapping.mapping import Mapping
from accelsim.schedule.build import NOTHING, Schedule, build_schedule
from accelsim.workload.ops import Conv2d, LocallyConnected2d

WIDTHS = Widths(weight=4, input=8, output=16, partial_sum=32)
WHOLE = Placement()


@st.composite
def nests(draw: Any) -> LoopNest:
    """Small layers of every kind: strided, dilated, padded, grouped, with private kernels."""
    window = draw(st.integers(1, 3))
    if draw(st.booleans()):
        op: Any = LocallyConnected2d(
            K=draw(st.integers(1, 3)), R=window, S=window, stride=draw(st.integers(1, 2)), pad=draw(st.integers(0, 1))
        )
        shape = (draw(st.integers(1, 2)), window + draw(st.integers(0, 3)), window + draw(st.integers(0, 2)))
    else:
        groups, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        span = dilation * (window - 1) + 1
        op = Conv2d(
            K=groups * draw(st.integers(1, 3)), R=window, S=window, stride=draw(st.integers(1, 3)), pad=draw(st.integers(0, 1)),
            dilation=dilation, groups=groups,
        )  # fmt: skip
        shape = (groups * draw(st.integers(1, 3)), span + draw(st.integers(0, 3)), span + draw(st.integers(0, 3)))
    (nest,) = lower(layer_of(op, shape, batch=draw(st.integers(1, 2)))).work
    assert isinstance(nest, LoopNest)
    return nest


@st.composite
def mappings(draw: Any, nest: LoopNest, keep: bool = True) -> Mapping:
    tile = Dims(*(draw(st.integers(1, size)) for size in nest.dims))
    kept = draw(st.sets(st.sampled_from(["weight", "input"]))) if keep else set()
    return Mapping(tile, tuple(draw(st.permutations(DIMS))), "ws", frozenset(kept))


@st.composite
def schedules(draw: Any, keep: bool = True) -> Schedule:
    nest = draw(nests())
    return build_schedule("layer", nest, draw(mappings(nest, keep)), WIDTHS, WHOLE)


def bits(column: Any) -> int:
    return int(column[column != NOTHING].sum())


def loops(at: Dims, tile: Dims) -> Any:
    return product(*(range(start, start + size) for start, size in zip(at, tile, strict=True)))


def inputs_of(nest: LoopNest, at: Dims, tile: Dims) -> set[tuple[int, ...]]:
    """Every input that a tile reads: image, channel of all groups, row, column."""
    found = set()
    for n, _, c, p, q, r, s, g in loops(at._replace(K=0), tile._replace(K=1)):
        y = p * nest.rows.stride + r * nest.rows.dilation - nest.rows.pad
        x = q * nest.columns.stride + s * nest.columns.dilation - nest.columns.pad
        if 0 <= y < nest.rows.size and 0 <= x < nest.columns.size:
            found.add((n, g * nest.dims.C + c, y, x))
    return found


@settings(max_examples=40)
@given(schedules())
def test_every_mac_is_in_one_tile(schedule: Schedule) -> None:
    covered = np.zeros(schedule.nest.dims, dtype=np.int64)
    for at, tile in schedule.tile_places():
        covered[tuple(slice(start, start + size) for start, size in zip(at, tile, strict=True))] += 1
    assert (covered == 1).all()


@settings(max_examples=40)
@given(schedules())
def test_classes_are_the_shapes_of_their_tiles(schedule: Schedule) -> None:
    assert (
        sum(prod(Dims(*tile)) * n for tile, n in zip(schedule.tiles, schedule.class_counts(), strict=True))
        == schedule.nest.macs
    )
    assert schedule.steps == prod(schedule.mapping.counts(schedule.nest.dims))


@settings(max_examples=40)
@given(schedules(keep=False))
def test_bits_in_are_those_of_the_tiles_that_change(schedule: Schedule) -> None:
    """Step by step, by brute force: a tile that is not the one before is fetched, whole, and nothing else is."""
    nest, last_weight, last_input = schedule.nest, None, None
    for (at, tile), load in zip(schedule.tile_places(), schedule.loads, strict=True):
        private = (at.P, at.Q) if nest.private_weights else ()
        weight_place = (at.G, at.K, at.C, at.R, at.S, *private)
        size = tile.weights * (tile.P * tile.Q if nest.private_weights else 1) * WIDTHS.weight
        assert load[0] == (NOTHING if weight_place == last_weight else size)
        input_place = (at.G, at.N, at.C, at.P, at.Q, at.R, at.S)
        assert load[1] == (NOTHING if input_place == last_input else len(inputs_of(nest, at, tile)) * WIDTHS.input)
        last_weight, last_input = weight_place, input_place


@settings(max_examples=40)
@given(schedules())
def test_partial_sum_reads_are_updates_less_first_writes(schedule: Schedule) -> None:
    nest = schedule.nest
    left: Counter[tuple[int, ...]] = Counter()
    for (at, tile), store in zip(schedule.tile_places(), schedule.stores, strict=True):
        if store != NOTHING:
            left.update((n, k, p, q, g) for n, k, _, p, q, _, _, g in loops(at, tile._replace(C=1, R=1, S=1)))
    updates = sum(left.values())
    assert len(left) == nest.dims.outputs
    assert bits(schedule.loads[:, 2]) == (updates - nest.dims.outputs) * WIDTHS.partial_sum
    assert bits(schedule.stores[schedule.partial]) == (updates - nest.dims.outputs) * WIDTHS.partial_sum
    assert bits(schedule.stores[~schedule.partial]) == nest.dims.outputs * WIDTHS.output


@settings(max_examples=40)
@given(nests(), st.permutations(DIMS))
def test_a_layer_in_one_tile_moves_every_tensor_once(nest: LoopNest, order: list[str]) -> None:
    schedule = build_schedule("layer", nest, Mapping(nest.dims, tuple(order), "ws"), WIDTHS, WHOLE)
    assert schedule.steps == 1
    everything = len(inputs_of(nest, Dims(*(0,) * 8), nest.dims))
    assert schedule.loads.tolist() == [[nest.weight_elements * 4, everything * 8, NOTHING]]
    assert schedule.stores.tolist() == [nest.dims.outputs * 16]


@settings(max_examples=40)
@given(st.data())
def test_a_tensor_that_is_kept_is_fetched_a_tile_once(data: Any) -> None:
    nest = data.draw(nests())
    mapping = replace(data.draw(mappings(nest)), keep=frozenset(("weight", "input")))
    schedule = build_schedule("layer", nest, mapping, WIDTHS, WHOLE)
    counts = mapping.counts(nest.dims)
    weight_tiles = prod(getattr(counts, d) for d in ("GKCRSPQ" if nest.private_weights else "GKCRS"))
    assert (schedule.loads[:, 0] != NOTHING).sum() == weight_tiles
    assert bits(schedule.loads[:, 0]) == nest.weight_elements * WIDTHS.weight
    assert (schedule.loads[:, 1] != NOTHING).sum() == prod(getattr(counts, d) for d in "GNCPQ")
    dense = all(
        axis.dilation == 1 and axis.stride <= taps
        for axis, taps in ((nest.rows, nest.dims.R), (nest.columns, nest.dims.S))
    )
    if dense:  # no holes between the windows: every position that is read is fetched once
        assert bits(schedule.loads[:, 1]) == len(inputs_of(nest, Dims(*(0,) * 8), nest.dims)) * WIDTHS.input


@settings(max_examples=30)
@given(st.data())
def test_what_is_on_chip_is_not_fetched(data: Any) -> None:
    nest = data.draw(nests())
    mapping = data.draw(mappings(nest))
    placement = Placement(Fraction(0), output_resident=True, weight_resident=True)
    outside = build_schedule("layer", nest, mapping, WIDTHS, WHOLE)
    inside = build_schedule("layer", nest, mapping, WIDTHS, placement)
    assert bits(inside.loads[:, :2]) == 0
    assert bits(inside.stores[~inside.partial]) == 0
    assert bits(inside.stores[inside.partial]) == bits(outside.stores[outside.partial])
    assert ((inside.loads == NOTHING) == (outside.loads == NOTHING)).all()


def test_half_an_input_on_chip_is_half_the_traffic() -> None:
    nest = lower(layer_of(Conv2d(K=2, R=1, S=1), (4, 6, 6))).work[0]
    assert isinstance(nest, LoopNest)
    mapping = Mapping(nest.dims._replace(P=2), ("G", "N", "P", "Q", "K", "C", "R", "S"), "ws")
    whole = build_schedule("layer", nest, mapping, WIDTHS, WHOLE)
    half = build_schedule("layer", nest, mapping, WIDTHS, Placement(Fraction(1, 2)))
    assert 2 * bits(half.loads[:, 1]) == bits(whole.loads[:, 1]) == 4 * 36 * 8


def test_a_halo_is_fetched_with_each_tile() -> None:
    nest = lower(layer_of(Conv2d(K=1, R=3, S=3), (1, 6, 6))).work[0]  # outputs 4 x 4
    assert isinstance(nest, LoopNest)
    mapping = Mapping(nest.dims._replace(P=2), ("G", "N", "P", "Q", "K", "C", "R", "S"), "ws")
    schedule = build_schedule("layer", nest, mapping, WIDTHS, WHOLE)
    assert schedule.loads[:, 1].tolist() == [4 * 6 * 8, 4 * 6 * 8]  # two rows of six twice


def test_too_many_tiles_are_a_report() -> None:
    nest = LoopNest(Dims(N=10_000, K=10_000))
    with pytest.raises(
        InfeasibleError, match=r"asks for 100000000 tiles .* there is 5000000 at most; try: a larger tile"
    ):
        build_schedule("layer", nest, Mapping(Dims(), DIMS, "ws"), WIDTHS, WHOLE)
