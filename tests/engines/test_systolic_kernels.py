"""The systolic kernels against their plain twin, against numpy, and against measured hardware."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.engines.kernels import systolic as kernels
from accelsim.engines.reference import systolic as twin

RTL_ARRAYS = Path(__file__).parents[2].parent / "shared" / "published" / "rtl_arrays.csv"
DATAFLOWS = {"os": kernels.OS, "ws": kernels.WS, "is": kernels.IS}
DRAINS = {"parallel": kernels.DRAIN_PARALLEL, "cols": kernels.DRAIN_COLS, "rows": kernels.DRAIN_ROWS}
LOADS = {"rows": kernels.LOAD_ROWS, "parallel": kernels.LOAD_PARALLEL}
OVERFLOWS = kernels.COUNT_OVERFLOWS

OPTIONS = st.builds(
    twin.Options,
    hop_down=st.integers(0, 3),
    hop_right=st.integers(0, 3),
    multiplier=st.integers(0, 2),
    accumulator=st.integers(1, 3),
    input=st.integers(0, 2),
    output=st.integers(0, 2),
    trim=st.booleans(),
    drain=st.sampled_from(["parallel", "cols", "rows"]),
    load=st.sampled_from(["rows", "parallel"]),
)
GEMMS = {"os": kernels.os_gemm, "ws": kernels.ws_gemm, "is": kernels.is_gemm}
TYPES = [(np.int8, np.int32), (np.int16, np.int64), (np.float32, np.float32)]


def packed(options: twin.Options) -> Any:
    """The twin's options as the kernels take them."""
    fields = asdict(options)
    return kernels.fold_options(**fields | {"drain": DRAINS[options.drain], "load": LOADS[options.load]})


def timing(dataflow: str, array: tuple[int, int], tile: tuple[int, int, int], **options: Any) -> Any:
    """The timing record of a fold; tile: used rows, used columns, vectors."""
    return kernels.fold_timing(DATAFLOWS[dataflow], *array, *tile, packed(twin.Options(**options)))


def end_cycles(dataflow: str, array: tuple[int, int], tile: tuple[int, int, int], **options: Any) -> int:
    return int(timing(dataflow, array, tile, **options)[kernels.END_CYCLES])


def operands(seed: int, m: int, k: int, n: int, dtype: Any = np.int8) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    info = np.iinfo(dtype)
    return (
        rng.integers(info.min, info.max, (m, k), dtype, endpoint=True),
        rng.integers(info.min, info.max, (k, n), dtype, endpoint=True),
    )


@st.composite
def folds(draw: Any) -> tuple[str, tuple[int, int], tuple[int, int, int], int]:
    """Dataflow, array, tile (used rows, used columns, vectors), seed."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    tile = (draw(st.integers(1, rows)), draw(st.integers(1, cols)), draw(st.integers(1, 9)))
    return draw(st.sampled_from(["os", "ws"])), (rows, cols), tile, draw(st.integers(0, 99))


def fold_twin(fold: tuple[str, tuple[int, int], tuple[int, int, int], int], options: twin.Options) -> Any:
    """(twin, a, b, initial sums) of a random fold."""
    dataflow, array, (used_rows, used_cols, vectors), seed = fold
    m, k = (used_rows, vectors) if dataflow == "os" else (vectors, used_rows)
    a, b = operands(seed, m, k, used_cols)
    sums = np.random.default_rng(seed).integers(-1000, 1000, (m, used_cols)).astype(np.int32)
    make = twin.OutputStationary if dataflow == "os" else twin.WeightStationary
    return make(a.tolist(), b.tolist(), *array, options, sums.tolist()), a, b, sums


# Cycles mode


@given(fold=folds(), options=OPTIONS)
@settings(max_examples=250, deadline=None)
def test_timing_and_outputs_equal_the_twin(fold: Any, options: twin.Options) -> None:
    machine, a, b, sums = fold_twin(fold, options)
    record = machine.run()
    dataflow, array, tile, _ = fold
    got = kernels.fold_timing(DATAFLOWS[dataflow], *array, *tile, packed(options))
    assert tuple(got) == record.timing()
    expected = a.astype(np.int64) @ b + sums
    seen = np.zeros_like(expected)
    for output in record.outputs:
        if output.row < seen.shape[0] and output.col < seen.shape[1]:
            seen[output.row, output.col] = output.value
    np.testing.assert_array_equal(seen, expected)


def test_input_stationary_is_weight_stationary_of_the_transposed_problem() -> None:
    a, b = operands(3, 4, 5, 7)  # M=4 columns of the array, K=5 rows, N=7 vectors
    machine = twin.input_stationary(a.tolist(), b.tolist(), 6, 6, twin.Options())
    record = machine.run()
    got = kernels.fold_timing(kernels.IS, 6, 6, 5, 4, 7, packed(twin.Options()))
    assert tuple(got) == record.timing()
    seen = {(output.col, output.row): output.value for output in record.outputs}
    expected = a.astype(np.int64) @ b
    assert all(seen[m, n] == expected[m, n] for m in range(4) for n in range(7))


@given(
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    vectors=st.integers(1, 300),
    used=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=100, deadline=None)
def test_a_fold_takes_the_cycles_of_scale_sim(
    rows: int, cols: int, vectors: int, used: tuple[float, float]
) -> None:
    tile = (1 + int(used[0] * (rows - 1)), 1 + int(used[1] * (cols - 1)), vectors)
    assert end_cycles("os", (rows, cols), tile) == vectors + rows + cols - 2
    assert end_cycles("ws", (rows, cols), tile) == vectors + 2 * rows + cols - 2
    assert end_cycles("is", (rows, cols), tile) == vectors + 2 * rows + cols - 2


@given(fold=folds(), options=OPTIONS)
@settings(max_examples=200, deadline=None)
def test_closed_forms(fold: Any, options: twin.Options) -> None:
    dataflow, (rows, cols), (used_rows, used_cols, vectors), _ = fold
    got = kernels.fold_timing(DATAFLOWS[dataflow], rows, cols, used_rows, used_cols, vectors, packed(options))
    right = ((used_cols if options.trim else cols) - 1) * options.hop_right
    ports = options.input + options.multiplier + options.accumulator - 1 + options.output
    if dataflow == "os":
        load = 0
        down = ((used_rows if options.trim else rows) - 1) * options.hop_down
        chain = {"parallel": 0, "cols": cols, "rows": rows}[options.drain]
    else:
        load = rows if options.load == "rows" else 1
        down = (rows - 1) * (options.accumulator + options.hop_down - 1)
        chain = 0
    assert got[kernels.END_CYCLES] == load + vectors + down + right + ports + chain
    assert got[kernels.MAC_COUNT] == used_rows * used_cols * vectors
    assert got[kernels.STREAM_CYCLES] == vectors
    assert got[kernels.BUSY_CYCLES] <= got[kernels.LAST_MAC_CYCLE] - got[kernels.FIRST_MAC_CYCLE] + 1
    assert got[kernels.LAST_MAC_CYCLE] <= got[kernels.LAST_STEP_CYCLE] < got[kernels.END_CYCLES]


@pytest.mark.parametrize(
    ("dataflow", "options", "done"),
    [
        # 3 x 4 array, 2 x 3 used, 5 vectors. PE(2, 3) of the whole array works last, in cycle 4 + 2 + 3 = 9.
        ("os", {}, 10),
        # PE(1, 2) of the used part, in cycle 4 + 1 + 2 = 7.
        ("os", {"trim": True}, 8),
        # Its sum is final as cycle 10 begins, captured at the end of 10, at the port from 11; 3 shifts more.
        ("os", {"drain": "cols"}, 14),
        # Captured at the end of 8, at the port in 9; the used columns' first word has 3 shifts to go.
        ("os", {"drain": "cols", "trim": True}, 12),
        ("os", {"drain": "rows"}, 13),
        # 3 cycles of weights; vector 4 enters row 0 in cycle 7, is in row 2 column 3 in cycle 12.
        ("ws", {}, 13),
        # Row 2 although two rows are used, but column 2.
        ("ws", {"trim": True}, 12),
        ("ws", {"load": "parallel"}, 11),
        # A step down takes 2 cycles, so row 2 is 4 behind; and the sum is a register later.
        ("ws", {"accumulator": 2}, 16),
        ("os", {"input": 1, "multiplier": 2, "accumulator": 3, "output": 1}, 16),
    ],
)
def test_hand_derived_cases_are_done_then_and_not_before(
    dataflow: str, options: dict[str, Any], done: int
) -> None:
    assert end_cycles(dataflow, (3, 4), (2, 3, 5), **options) == done
    machine, *_ = fold_twin((dataflow, (3, 4), (2, 3, 5), 0), twin.Options(**options))
    last_needed = (machine.extent_rows if dataflow == "os" else 5) * machine.extent_cols
    while machine.cycle < done:
        machine.step()  # after this, cycle `done` has not begun
    assert len(machine.record.outputs) < last_needed
    machine.step()
    assert len(machine.record.outputs) == last_needed


def test_wide_hops_leave_gaps_between_busy_cycles() -> None:
    got = timing("os", (1, 3), (1, 3, 1), hop_right=2)
    assert got[kernels.BUSY_CYCLES] == 3
    assert (got[kernels.FIRST_MAC_CYCLE], got[kernels.LAST_MAC_CYCLE]) == (0, 4)


# Measured hardware


def rtl_rows() -> list[dict[str, str]]:
    if not RTL_ARRAYS.exists():
        return []
    with RTL_ARRAYS.open() as file:
        return [row for row in csv.DictReader(file) if row["tiles"] == "1"]


def rtl_timing(row: dict[str, str]) -> Any:
    """The design's options are what its Verilog says: stages are parameters, the rest is its structure."""
    params = dict(part.split("=") for part in row["params"].split(",") if "=" in part)
    m, k, n = int(row["M"]), int(row["K"]), int(row["N"])
    array = (int(row["rows"]), int(row["cols"]))
    design = row["design"].split("/")[0]
    if design == "tiny-tpu":
        return timing("ws", array, (k, n, m), trim=True)
    if design == "ziheng":
        return timing("os", array, (m, n, k), trim=True, output=1)
    if design == "sauria":
        stages = {"multiplier": int(params["STAGES_MUL"]), "output": 1 + int(params["INTERMEDIATE"])}
        return timing("os", array, (m, n, k), drain="cols", **stages)
    assert design == "axis_sa"
    stages = {"multiplier": int(params["LM"]), "accumulator": int(params["LA"])}
    return timing("os", array, (m, n, k), drain="cols", **stages)


@pytest.mark.skipif(not RTL_ARRAYS.exists(), reason=f"no measured arrays at {RTL_ARRAYS}")
def test_measured_arrays_take_the_measured_cycles() -> None:
    rows = rtl_rows()
    assert len(rows) > 350
    wrong = [row for row in rows if rtl_timing(row)[kernels.END_CYCLES] != int(row["total"])]
    assert not wrong


# Values mode


@given(
    dataflow=st.sampled_from(sorted(GEMMS)),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90)),
    array=st.tuples(st.integers(1, 72), st.integers(1, 72)),
    skews=st.one_of(st.just((1, 1)), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    types=st.sampled_from(TYPES),
    blocked=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=250, deadline=None)
def test_gemm_equals_numpy_and_counts_equal_the_timing_of_its_folds(
    dataflow: str,
    shape: tuple[int, int, int],
    array: tuple[int, int],
    skews: tuple[int, int],
    types: tuple[Any, Any],
    blocked: bool,
    seed: int,
) -> None:
    a, b = operands(seed, *shape, dtype=types[0])
    out = np.full((shape[0], shape[2]), 7, types[1])
    counts = GEMMS[dataflow](a, b, out, *array, row_skew=skews[0], col_skew=skews[1], blocked=blocked)
    np.testing.assert_array_equal(out, in_order(a, b, np.full_like(out, 7)))
    expected = np.zeros(kernels.COUNT_FIELDS, np.int64)
    for record in fold_records(dataflow, shape, array, skews):
        window = record[kernels.LAST_MAC_CYCLE] - record[kernels.FIRST_MAC_CYCLE] + 1
        expected += (1, record[kernels.MAC_COUNT], record[kernels.BUSY_CYCLES], window, 0)
    np.testing.assert_array_equal(counts, expected)


def in_order(a: Any, b: Any, out: Any) -> Any:
    """out + a @ b, every sum taken in the order of k, in the type of `out`."""
    for k in range(a.shape[1]):
        out += a[:, k : k + 1].astype(out.dtype) * b[k].astype(out.dtype)
    return out


def fold_records(
    dataflow: str, shape: tuple[int, int, int], array: tuple[int, int], skews: tuple[int, int]
) -> Any:
    """The timing records of every fold of a GEMM."""
    m, k, n = shape
    height, width, vectors = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    # With one accumulator stage a partial sum's step down takes hop_down cycles, as an operand's does.
    options = packed(twin.Options(hop_down=skews[0], hop_right=skews[1]))
    for i in range(0, height, array[0]):
        for j in range(0, width, array[1]):
            used = (min(array[0], height - i), min(array[1], width - j))
            yield kernels.fold_timing(DATAFLOWS[dataflow], *array, *used, vectors, options)


@pytest.mark.parametrize("dataflow", ["os", "ws"])
@pytest.mark.parametrize("blocked", [False, True])
def test_full_width_array(dataflow: str, blocked: bool) -> None:
    """Wider than the groups in which lanes are skipped, with few and with many vectors."""
    for shape in ((130, 300, 200), (130, 20, 140), (30, 129, 140), (130, 30, 140), (1, 129, 257)):
        a, b = operands(1, *shape)
        out = np.zeros((shape[0], shape[2]), np.int32)
        counts = GEMMS[dataflow](a, b, out, 128, 128, blocked=blocked)
        np.testing.assert_array_equal(out, a.astype(np.int64) @ b)
        assert counts[kernels.COUNT_MACS] == np.prod(shape)


@pytest.mark.parametrize("dataflow", ["os", "ws"])
@pytest.mark.parametrize("blocked", [False, True])
def test_an_infinite_operand_reaches_its_own_outputs_only(dataflow: str, blocked: bool) -> None:
    """What a full tile leaves in memory must not meet the zeros around a partial one."""
    a, b = operands(2, 10, 10, 10, np.float32)
    a[3, 5] = b[4, 6] = np.inf
    out = np.zeros((10, 10), np.float32)
    GEMMS[dataflow](a, b, out, 8, 8, blocked=blocked)
    np.testing.assert_array_equal(out, in_order(a, b, np.zeros_like(out)))


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_sums_wrap_as_their_type_does(dataflow: str) -> None:
    a = np.full((2, 3), -(2**15), np.int16)
    b = np.full((3, 2), -(2**15), np.int16)
    out = np.zeros((2, 2), np.int32)
    GEMMS[dataflow](a, b, out, 2, 2)
    np.testing.assert_array_equal(out, np.full((2, 2), 3 * 2**30 - 2**32))


def naive_limited(a: list[int], b: list[int], value: int, acc_bits: int, saturate: bool) -> tuple[int, int]:
    """One sum in a limited accumulator, and how often it overflowed."""
    low, high = -(2 ** (acc_bits - 1)), 2 ** (acc_bits - 1) - 1
    overflows = 0
    for x, y in zip(a, b, strict=True):
        value += x * y
        if not low <= value <= high:
            overflows += 1
            value = max(low, min(high, value)) if saturate else (value - low) % 2**acc_bits + low
    return value, overflows


@given(
    dataflow=st.sampled_from(sorted(GEMMS)),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 12)),
    array=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    acc_bits=st.integers(8, 40),
    saturate=st.booleans(),
    types=st.sampled_from([(np.int8, np.int32), (np.int16, np.int64)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_limited_accumulators_count_every_overflow(
    dataflow: str,
    shape: tuple[int, int, int],
    array: tuple[int, int],
    acc_bits: int,
    saturate: bool,
    types: tuple[Any, Any],
    seed: int,
) -> None:
    a, b = operands(seed, *shape, dtype=types[0])
    acc_bits = min(acc_bits, 8 * np.dtype(types[1]).itemsize - 1)
    out = np.full((shape[0], shape[2]), 100, types[1])
    counts = GEMMS[dataflow](a, b, out, *array, acc_bits=acc_bits, saturate=saturate)
    events = 0
    for i in range(shape[0]):
        for j in range(shape[2]):
            value, overflows = naive_limited(a[i].tolist(), b[:, j].tolist(), 100, acc_bits, saturate)
            events += overflows
            assert out[i, j] == value
    assert counts[OVERFLOWS] == events


# Registers


def values_of(words: Any) -> list[list[int]]:
    return [[word.value for word in row] for row in words]


def stages_of(pipes: Any, stages: int) -> Any:
    """Pipe registers as [stages, rows, cols], youngest first, absent ones 0."""
    shape = (stages, len(pipes), len(pipes[0]))
    grid = np.zeros(shape, np.int64)
    for i, row in enumerate(pipes):
        for j, pipe in enumerate(row):
            grid[: len(pipe.stages), i, j] = [word.value for word in pipe.stages]
    return grid


@given(fold=folds(), options=OPTIONS)
@settings(max_examples=60, deadline=None)
def test_every_register_in_every_cycle_equals_the_twins(fold: Any, options: twin.Options) -> None:
    machine, a, b, first_sums = fold_twin(fold, options)
    dataflow, array, tile, _ = fold
    end = kernels.fold_timing(DATAFLOWS[dataflow], *array, *tile, packed(options))[kernels.END_CYCLES]
    for cycle in range(end + 2):
        machine.wires()
        left, top, products, sums = kernels.fold_registers(
            DATAFLOWS[dataflow], a, b, first_sums, cycle, *array, packed(options)
        )
        np.testing.assert_array_equal(left, values_of(machine.left))
        np.testing.assert_array_equal(products, stages_of(machine.products, len(products)))
        if dataflow == "os":
            np.testing.assert_array_equal(top, values_of(machine.top))
            np.testing.assert_array_equal(sums[0], machine.sums)
        else:
            np.testing.assert_array_equal(top, machine.weights)
            np.testing.assert_array_equal(sums, stages_of(machine.partials, len(sums)))
        machine.step()
