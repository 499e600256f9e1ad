"""The NFU's kernels against their plain twin, against numpy, and in hand-derived cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.engines.kernels import nfu
from accelsim.engines.reference import nfu as twin

PIPELINES = st.builds(
    twin.Pipeline,
    multiply=st.integers(1, 4),
    add=st.integers(1, 4),
    activate=st.integers(1, 4),
    sums_in_buffer=st.booleans(),
    cycles_a_row=st.integers(1, 3),
)
ARITHMETIC = st.builds(
    twin.Arithmetic,
    product_shift=st.integers(0, 10),
    product_bits=st.sampled_from([None, 8, 16]),
    sum_bits=st.sampled_from([None, 12, 16, 24]),
    product_saturates=st.booleans(),
    sum_saturates=st.booleans(),
)


def timing(passes: int, chunks: int, resumes: bool, pipeline: twin.Pipeline) -> list[int]:
    options = (
        pipeline.multiply,
        pipeline.add,
        pipeline.activate,
        pipeline.sums_in_buffer,
        pipeline.cycles_a_row,
    )
    return [int(v) for v in nfu.tile_timing(passes, chunks, int(resumes), np.array(options, dtype=np.int64))]


@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), PIPELINES)
@settings(max_examples=200, deadline=None)
def test_timing_equals_twin(passes: int, chunks: int, resumes: bool, pipeline: twin.Pipeline) -> None:
    machine = twin.Nfu(pipeline)
    machine.run(twin.tile_rows(passes, chunks, resumes, pipeline.sums_in_buffer))
    expected = [
        machine.issue_cycles,
        machine.first_mac,
        machine.last_mac,
        machine.end,
        machine.reads,
        machine.writes,
    ]
    assert timing(passes, chunks, resumes, pipeline) == expected


@given(st.integers(1, 6), st.integers(1, 6), PIPELINES)
@settings(max_examples=50, deadline=None)
def test_ceil_tiling_arithmetic(passes: int, chunks: int, pipeline: twin.Pipeline) -> None:
    """A row a cycle; the last output stands in its buffer one pipeline later, and not a cycle sooner."""
    record = timing(passes, chunks, False, pipeline)
    rows = passes * chunks * pipeline.cycles_a_row
    assert record[nfu.T_ISSUE] == rows
    assert record[nfu.T_END] == rows + pipeline.multiply + pipeline.add + pipeline.activate
    assert record[nfu.T_LAST_MAC] - record[nfu.T_FIRST_MAC] + 1 == rows


def operands(seed: int, shape: tuple[int, int, int], ti: int, bits: int) -> tuple[Any, Any]:
    """Inputs [pixels, chunks, Ti] and weights [blocks, chunks, Ti, 16] over the whole range of ``bits``."""
    pixels, blocks, chunks = shape
    rng = np.random.default_rng(seed)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    kind = np.int8 if bits <= 8 else np.int16
    inputs = rng.integers(low, high, (pixels, chunks, ti), endpoint=True).astype(kind)
    return inputs, rng.integers(low, high, (blocks, chunks, ti, nfu.LANES), endpoint=True).astype(kind)


def run_twin(inputs: Any, weights: Any, start: Any, arithmetic: twin.Arithmetic) -> tuple[Any, int]:
    """The same tile through the twin's registers."""
    pixels, chunks, _ = inputs.shape
    blocks = weights.shape[0]
    rows = twin.tile_rows(pixels * blocks, chunks, False, False)
    for number, row in enumerate(rows):
        pixel, block, chunk = row.output // blocks, row.output % blocks, number % chunks
        row.operands = (inputs[pixel, chunk].tolist(), weights[block, chunk].T.tolist())
    machine = twin.Nfu(arithmetic=arithmetic)
    machine.sums = {p * blocks + b: start[p, b].tolist() for p in range(pixels) for b in range(blocks)}
    machine.run(rows)
    sums = [[machine.sums[p * blocks + b] for b in range(blocks)] for p in range(pixels)]
    return np.array(sums), machine.overflows


def kernel_options(arithmetic: twin.Arithmetic) -> dict[str, Any]:
    mode = nfu.EXACT
    if arithmetic.product_bits is not None:
        mode = nfu.SATURATE if arithmetic.product_saturates else nfu.WRAP
    return {
        "product_mode": mode,
        "product_shift": arithmetic.product_shift,
        "product_bits": arithmetic.product_bits or 0,
        "sum_bits": arithmetic.sum_bits or 0,
        "saturate": arithmetic.sum_saturates,
    }


SHAPES = st.tuples(*[st.integers(1, 3)] * 3)


@given(
    st.integers(0, 99), SHAPES, st.sampled_from([1, 2, 4, 8, 16, 32]), ARITHMETIC, st.sampled_from([4, 8, 16])
)
@settings(max_examples=60, deadline=None)
def test_values_equal_twin(
    seed: int, shape: tuple[int, int, int], ti: int, arithmetic: twin.Arithmetic, bits: int
) -> None:
    inputs, weights = operands(seed, shape, ti, bits)
    start = np.random.default_rng(seed).integers(-2000, 2000, (shape[0], shape[1], nfu.LANES))
    expected, overflows = run_twin(inputs, weights, start, arithmetic)
    sums = start.copy()
    counted = nfu.run_tile(inputs, weights, sums, operand_bits=(bits, bits), **kernel_options(arithmetic))
    assert np.array_equal(sums, expected)
    assert counted == overflows


@pytest.mark.parametrize("ti", [1, 4, 16, 64])
def test_exact_values_equal_numpy(ti: int) -> None:
    inputs, weights = operands(1, (5, 2, 7), ti, 16)
    sums = np.zeros((5, 2, nfu.LANES), np.int64)
    assert nfu.run_tile(inputs, weights, sums) == 0
    assert np.array_equal(sums, np.einsum("pci,bcin->pbn", inputs.astype(np.int64), weights.astype(np.int64)))


@pytest.mark.slow
def test_floats_add_in_the_trees_order() -> None:
    inputs, weights = operands(2, (3, 2, 4), 16, 8)
    floats = (inputs / np.float32(7)).astype(np.float32), (weights / np.float32(3)).astype(np.float32)
    sums = np.zeros((3, 2, nfu.LANES), np.float32)
    nfu.run_tile(*floats, sums)
    products = floats[0][:, None, :, :, None] * floats[1][None]
    while products.shape[3] > 1:
        half = products.shape[3] // 2
        products = products[:, :, :, :half] + products[:, :, :, half:]
    expected = np.zeros_like(sums)
    for chunk in range(4):
        expected += products[:, :, chunk, 0]
    assert np.array_equal(sums, expected)


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 9), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_pooling(seed: int, outputs: int, positions: int, channels: int) -> None:
    windows = (
        np.random.default_rng(seed).integers(-32768, 32768, (outputs, positions, channels)).astype(np.int16)
    )
    highest = np.zeros((outputs, channels), np.int16)
    nfu.pool_max(windows, highest)
    assert np.array_equal(highest, windows.max(axis=1))
    mean, sums = np.zeros((outputs, channels), np.int64), np.zeros((outputs, channels), np.int64)
    reciprocals = np.full(outputs, round(2**16 / positions), np.int64)
    assert nfu.pool_average(windows, sums, mean, reciprocals, 16, -(1 << 40), 1 << 40, False) == 0
    assert np.array_equal(sums, windows.sum(axis=1, dtype=np.int64))
    assert np.array_equal(mean, (sums * reciprocals[0]) >> 16)
    assert np.abs(mean - windows.mean(axis=1)).max() <= 1 + 32768 * positions * 0.5 / 2**16


def test_piecewise_linear_by_hand() -> None:
    """Two segments of 4 from -4 on, fraction 2: y = x + 1 below 0, y = x/2 + 2 from 0 on, saturated at 3 and
    -2.
    """
    values = np.array([-9, -4, -1, 0, 1, 3, 8], np.int16)
    out = np.zeros(7, np.int16)
    nfu.piecewise_linear(values, np.array([4, 2]), np.array([1, 2]), -4, 2, 2, -2, 3, out)
    assert out.tolist() == [-2, -2, 0, 2, 2, 3, 3]
