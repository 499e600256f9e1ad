"""The timeline kernel against its plain twin, and hand-derived cases that hold tightly."""

from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.engines.kernels import timeline as tl
from accelsim.engines.reference import timeline as twin

STATIONARY = {None: -1, twin.WEIGHT: tl.WEIGHT, twin.INPUT: tl.INPUT}


@st.composite
def folds(draw: Any) -> twin.Fold:
    issue = draw(st.integers(1, 4))
    first = draw(st.integers(0, 3))
    last = first + draw(st.integers(0, 5))
    return twin.Fold(
        load=draw(st.integers(0, 4)),
        issue=issue,
        first_mac=first,
        last_mac=last,
        end=max(issue, last + 1) + draw(st.integers(0, 3)),
        hollow=draw(st.integers(0, 2)),
        interval=issue + draw(st.integers(0, 2)),
    )


@st.composite
def schedules(draw: Any) -> tuple[list[twin.Step], list[tuple[int, int, int]]]:
    """Steps made of a few classes of tiles, and the fold grid of each step's class."""
    bits = st.one_of(st.none(), st.just(0), st.integers(1, 9))
    kinds = [
        ((draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))), draw(st.tuples(*[folds()] * 4)))
        for _ in range(draw(st.integers(1, 2)))
    ]
    steps, grids = [], []
    new_output = True
    count = draw(st.integers(1, 6))
    for index in range(count):
        grid, shapes = draw(st.sampled_from(kinds))
        store = draw(bits)
        if index == count - 1 and store is None:
            store = 0
        psum = draw(st.one_of(st.none(), st.integers(1, 9))) if new_output and index else None
        first = st.integers(0, 9) if index == 0 else bits
        steps.append(twin.Step(draw(first), draw(first), psum, _sequence(grid, shapes), store, draw(st.integers(0, 4))))
        grids.append((grid, shapes))
        new_output = store is not None
    return steps, grids


def _sequence(grid: tuple[int, int, int], shapes: tuple[twin.Fold, ...]) -> tuple[twin.Fold, ...]:
    groups, outer, inner = grid
    return tuple(
        shapes[2 * (o == outer - 1) + (i == inner - 1)] for _ in range(groups) for o in range(outer) for i in range(inner)
    )


OPTIONS = st.builds(
    twin.Options,
    stationary=st.sampled_from([None, twin.WEIGHT, twin.INPUT]),
    skewed=st.booleans(),
    buffers=st.sampled_from([1, 2]),
    ticks=st.integers(1, 3),
    ticks_per_bit=st.integers(0, 4),
    latency=st.integers(0, 3),
    input_slots=st.integers(1, 3),
    output_slots=st.integers(1, 3),
    queue_per_tensor=st.booleans(),
)


def run_kernel(
    steps: list[twin.Step], kinds: list[Any], options: twin.Options, port: int, weight_slots: list[int]
) -> tuple[Any, Any, Any, Any]:
    """The same schedule through the jitted kernel: result, events, port and weight slots behind it."""
    def bits(value: int | None) -> int:
        return -1 if value is None else value

    distinct = list(dict.fromkeys(kinds))
    packed = np.array(
        [STATIONARY[options.stationary], options.skewed, options.buffers, options.ticks, options.ticks_per_bit,
         options.latency, options.input_slots, options.output_slots, options.queue_per_tensor], dtype=np.int64,
    )  # fmt: skip
    events = np.zeros((len(steps), tl.EVENT_FIELDS), dtype=np.int64)
    port_state, slots = np.array([port], dtype=np.int64), np.array(weight_slots, dtype=np.int64)
    result = tl.run_timeline(
        np.array([distinct.index(kind) for kind in kinds], dtype=np.int32),
        np.array([[bits(s.weight), bits(s.input), bits(s.partial_sum)] for s in steps], dtype=np.int64),
        np.array([bits(s.store) for s in steps], dtype=np.int64),
        np.array([s.wait for s in steps], dtype=np.int64),
        np.array([grid for grid, _ in distinct], dtype=np.int64),
        np.array([shapes for _, shapes in distinct], dtype=np.int64),
        packed, port_state, slots, events,
    )  # fmt: skip
    return result, events, port_state, slots


def check_transfers(events: Any, walk: twin.Walk, options: twin.Options) -> None:
    """The port's times, and those of the slots, as the twin saw them."""
    moments = ((twin.WEIGHT, tl.E_WEIGHT_END, tl.E_WEIGHT_FREE), (twin.INPUT, tl.E_INPUT_END, tl.E_INPUT_FREE))
    for tensor, end, free in moments:
        for tile in walk.tiles[tensor]:
            assert events[tile.last_step, free] == tile.freed
            if tile.bits:
                assert -(-events[tile.first_step, end] // options.ticks) + options.latency == tile.ready
    for output in walk.outputs:
        if output.store:
            assert -(-events[output.last_step, tl.E_STORE_END] // options.ticks) == output.left
    pairs = events[:, tl.E_WEIGHT_BEGIN :].reshape(-1, 2)
    busy = sorted((int(a), int(b)) for a, b in pairs if a != tl.NEVER)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(busy))
    bits = [b for s in walk.steps for b in (s.weight, s.input, s.partial_sum, s.store) if b]
    assert sum(end - begin for begin, end in busy) == sum(bits) * options.ticks_per_bit
    assert len(busy) == len(bits)


def list_folds(steps: list[twin.Step], kinds: list[Any], events: Any, options: twin.Options) -> Any:
    """All folds as `walk_folds` lists them, a few at a time."""
    distinct = list(dict.fromkeys(kinds))
    packed = np.zeros(tl.OPTION_FIELDS, dtype=np.int64)
    packed[: tl.O_BUFFERS + 1] = STATIONARY[options.stationary], options.skewed, options.buffers
    at, step, rows = np.zeros(tl.MOMENTS, np.int64), 0, []
    while step < len(kinds):
        visits = np.zeros((8, tl.VISIT_FIELDS), np.int64)
        step, filled = tl.walk_folds(
            np.array([distinct.index(kind) for kind in kinds], dtype=np.int32),
            np.array([s.wait for s in steps], dtype=np.int64),
            np.array([grid for grid, _ in distinct], dtype=np.int64),
            np.array([shapes for _, shapes in distinct], dtype=np.int64), packed, events, step, at, visits,
        )  # fmt: skip
        rows += visits[:filled].tolist()
    return rows


def check_folds(rows: list[list[int]], walk: twin.Walk) -> None:
    busy = 0
    for row, fold in zip(rows, walk.folds, strict=True):
        assert row[tl.V_STEP] == fold.step
        assert row[tl.V_HELD : tl.V_ISSUE + 1] == [fold.held, fold.load_end, fold.moving, fold.ready, fold.issue]
        assert row[tl.V_ISSUE_END :] == [fold.issue + fold.fold.issue, fold.first, fold.last, fold.done]
        assert row[tl.V_FROM] == busy
        busy = max(busy, fold.last)


@pytest.mark.slow
@given(schedules(), OPTIONS, st.integers(-6, 6), st.lists(st.integers(-5, 5), min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_kernel_equals_twin(
    schedule: tuple[list[twin.Step], list[Any]], options: twin.Options, port: int, slots: list[int]
) -> None:
    steps, kinds = schedule
    slots = sorted(slots)  # an earlier tile's slot is never free later than the next one's
    result, events, port_after, _ = run_kernel(steps, kinds, options, port, slots)
    ledger, expected, walk = twin.run_timeline(steps, options, port, slots)
    assert tuple(int(v) for v in result) == astuple(ledger)
    assert [tuple(int(v) for v in row[: tl.E_DONE + 1]) for row in events] == expected
    check_transfers(events, walk, options)
    check_folds(list_folds(steps, kinds, events, options), walk)
    assert int(port_after[0]) == walk.port_free - ledger.cycles * options.ticks
    cycles, causes = int(result[tl.R_CYCLES]), result[tl.R_BUSY : tl.R_PORT_ACTIVE]
    assert cycles == sum(int(v) for v in causes)
    assert cycles == sum(int(v) for v in result[tl.R_PORT_ACTIVE :])
    moved = sum(b for s in steps for b in (s.weight, s.input, s.partial_sum, s.store) if b)
    busy_ticks = moved * options.ticks_per_bit
    assert busy_ticks <= cycles * options.ticks - min(port, 0, min(slots) * options.ticks)
