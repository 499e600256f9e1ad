"""The systolic engine as a whole: are its outputs exact, its cycles those of hand and peers, its counters one story?"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
from builders import BARE, array, conv, fixed, formats, gemm, local, network_of, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import sums

from accelsim import load_network, simulate
from accelsim.api import Simulation, simulate_full
from accelsim.arch.spec import Architecture
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.report.model import LayerResult
from accelsim.workload.network import Network
from accelsim.workload.ops import Conv2d, Linear, LocallyConnected2d, Matmul
from accelsim.workload.values import input_values, weight_values

FLOWS = ("ws", "os", "is")
SPEEDS = {"int8": 1, "int16": "1/4", "int4": 2, "int8xint16": "1/2", "fp32": 1}


def run(network: Network, arch: Architecture, seed: int = 1, mapping: MappingFile = EMPTY) -> Simulation:
    return simulate_full(network, arch, values=True, seed=seed, mapping=mapping)


def expected(network: Network, seed: int = 1) -> Any:
    """The reference's accumulators for the operands that the seed makes."""
    layer, inputs = network.layers[0], input_values(network, seed)
    weight = weight_values(layer, seed) if layer.weight_shape is not None else None
    return sums(layer, [inputs[ref.source] for ref in layer.inputs], weight)


# ---- what it computes -------------------------------------------------------------------------------------------


@st.composite
def networks(draw: Any, precision: Any = BARE) -> Network:
    """One small layer: a convolution of any kind, private kernels, a linear layer, products with weights and without."""
    kind = draw(st.sampled_from(["conv", "conv", "depthwise", "local", "linear", "gemm", "batched"]))
    batch = draw(st.integers(1, 2))
    if kind == "linear":
        op, shapes = Linear(out=draw(st.integers(1, 9))), [(draw(st.integers(1, 30)),)]
    elif kind == "gemm":
        op, shapes = (
            Matmul(N=draw(st.integers(1, 9)), transpose_b=draw(st.booleans())),
            [(draw(st.integers(1, 9)), draw(st.integers(1, 20)))],
        )
    elif kind == "batched":
        m, n, k, flip = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.booleans())
        op, shapes = Matmul(transpose_b=flip), [(2, m, k), (2, n, k) if flip else (2, k, n)]
    else:
        window = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        dilation = (1, 1) if kind == "local" else (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        size = [dilation[i] * (window[i] - 1) + 1 + draw(st.integers(0, 4)) for i in range(2)]
        common: dict[str, Any] = {
            "R": window[0], "S": window[1], "stride": (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
            "pad": tuple(draw(st.integers(0, 2)) for _ in range(4)),
        }  # fmt: skip
        if kind == "local":
            op, channels = LocallyConnected2d(K=draw(st.integers(1, 4)), **common), draw(st.integers(1, 3))
        elif kind == "depthwise":
            op, channels = Conv2d(groups="depthwise", dilation=dilation, **common), draw(st.integers(1, 5))
        else:
            groups = draw(st.integers(1, 3))
            op = Conv2d(K=groups * draw(st.integers(1, 4)), groups=groups, dilation=dilation, **common)
            channels = groups * draw(st.integers(1, 3))
        shapes = [(channels, *size)]
    return network_of(op, *shapes, batch=batch, precision=precision)


@st.composite
def arrays(draw: Any, **engine: Any) -> Architecture:
    """A small array with any options; a buffer that makes the mapper cut layers, or none."""
    engine = {
        "dataflow": draw(st.sampled_from(FLOWS)),
        "weight_buffers": draw(st.integers(1, 2)),
        "overlap": draw(st.sampled_from(["none", "skewed"])),
        "edge": draw(st.sampled_from(["full", "trim"])),
        "drain": draw(st.sampled_from(["rows", "cols", "parallel"])),
        "weight_load": draw(st.sampled_from(["rows", "parallel"])),
        "pipeline": {
            "hop": draw(st.integers(0, 2)),
            "multiplier": draw(st.integers(0, 2)),
            "accumulator": draw(st.integers(1, 2)),
        },
        "precision": SPEEDS,
        **engine,
    }
    if draw(st.booleans()):
        engine["accumulators"] = {"entries": draw(st.integers(8, 64))}
    memory = draw(
        st.sampled_from([None, one_buffer("400 B", "3 B/cycle"), one_buffer("4 KiB", "2 B/cycle", "8 B/cycle")])
    )
    return array(draw(st.integers(1, 6)), draw(st.integers(1, 6)), memory, **engine)


@pytest.mark.slow
@settings(max_examples=120)
@given(networks(), arrays())
def test_outputs_equal_an_independent_reference(network: Network, arch: Architecture) -> None:
    np.testing.assert_array_equal(run(network, arch).outputs["layer"], expected(network))


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    "words",
    [("int8", "int8"), ("int16", "int16"), ("int4", "int4"), ("int8", "uint8"), ("uint8", "int8"), ("int8", "int16")],
)
@settings(max_examples=8)
@given(data=st.data())
def test_every_integer_format_is_exact(flow: str, words: tuple[str, str], data: Any) -> None:
    precision = formats(*words, accumulator="int48", output="int48")
    network = data.draw(networks(precision))
    arch = array(3, 4, one_buffer("2 KiB"), dataflow=flow, precision=SPEEDS)
    np.testing.assert_array_equal(run(network, arch).outputs["layer"], expected(network))


@pytest.mark.parametrize("flow", FLOWS)
def test_floats_are_summed_in_float32(flow: str) -> None:
    network = gemm(9, 40, 7, formats("fp32", accumulator="fp32", output="fp32"))
    found = run(network, array(4, 3, dataflow=flow, precision=SPEEDS)).outputs["layer"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(network), rtol=1e-5, atol=1e-5)


def test_outputs_are_requantized_by_a_shift() -> None:
    network = gemm(6, 20, 5, formats())
    found = run(network, array()).outputs["layer"]
    exact = expected(network)
    for shift in range(20):
        scaled = np.sign(exact) * ((np.abs(exact) + (1 << shift >> 1)) >> shift)
        if (np.clip(scaled, -128, 127) == found).all():
            return
    raise AssertionError("no shift makes these outputs")


@pytest.mark.parametrize(
    "mapping",
    [
        {"tile": {"C": 3, "K": 2}},
        {"tile": {"P": 2, "R": 1}, "order": "C K P"},
        {"keep": ["weight"], "tile": {"K": 1, "Q": 1}},
    ],
)
def test_outputs_do_not_depend_on_the_mapping(mapping: dict[str, Any]) -> None:
    network = conv(4, (6, 6), K=5, R=3, S=3, pad=1, stride=2)
    arch = array(3, 3, one_buffer("16 KiB"))
    np.testing.assert_array_equal(run(network, arch, mapping=fixed(**mapping)).outputs["layer"], expected(network))


# ---- values and cycles tell one story ---------------------------------------------------------------------------


def control(layer: LayerResult) -> LayerResult:
    """Without the two counters that only the operands can tell."""
    return layer.model_copy(update={"effective_macs": 0, "accumulator_overflows": 0})


@pytest.mark.slow
@settings(max_examples=60)
@given(networks(), arrays())
def test_both_modes_give_the_same_counters(network: Network, arch: Architecture) -> None:
    values, cycles = run(network, arch).result, simulate(network, arch)
    assert [control(layer) for layer in values.layers] == [control(layer) for layer in cycles.layers]
    assert values.mode == "values"
    assert values.layers[0].effective_macs <= cycles.layers[0].effective_macs == network.macs


def test_another_seed_changes_values_and_nothing_else() -> None:
    network = gemm(8, 8, 8)
    first, second = run(network, array(), seed=1), run(network, array(), seed=2)
    assert (first.outputs["layer"] != second.outputs["layer"]).any()
    assert control(first.result.layers[0]) == control(second.result.layers[0])


def test_effective_macs_are_those_without_a_zero_operand() -> None:
    network = network_of(Matmul(N=7), (5, 11), precision=BARE, density=0.4)
    inputs, weight = input_values(network, 1)["x0"], weight_values(network.layers[0], 1)
    zeroless = sum(int(((inputs[0, m] != 0) & (weight[:, n] != 0)).sum()) for m in range(5) for n in range(7))
    assert run(network, array()).result.totals.effective_macs == zeroless


# ---- what the accumulators hold ---------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS)
def test_overflow_wraps_and_is_reported(flow: str) -> None:
    network = gemm(6, 60, 5, replace_accumulator("int16"))
    simulation = run(network, array(dataflow=flow))
    exact = expected(network)
    assert (np.abs(exact) >= 1 << 15).any()
    np.testing.assert_array_equal(simulation.outputs["layer"], exact.astype(np.int16))
    assert simulation.result.totals.accumulator_overflows > 0


@pytest.mark.parametrize("flow", FLOWS)
def test_overflow_may_saturate(flow: str) -> None:
    network = gemm(6, 60, 5, replace_accumulator("int16"))
    simulation = run(network, array(dataflow=flow, accumulator_overflow="saturate"))
    found = simulation.outputs["layer"]
    assert found.min() >= -(1 << 15)
    assert found.max() <= (1 << 15) - 1
    assert (found != expected(network).astype(np.int16)).any()
    assert simulation.result.totals.accumulator_overflows > 0


def replace_accumulator(words: str) -> Any:
    return formats("int8", accumulator=words, output=words)


def test_a_wide_accumulator_never_overflows() -> None:
    assert run(gemm(6, 60, 5), array()).result.totals.accumulator_overflows == 0


# ---- SCALE-Sim's cycles -----------------------------------------------------------------------------------------


def scale_sim(m: int, n: int, k: int, rows: int, cols: int, flow: str) -> int:
    """The formulas of SCALE-Sim for one product: folds times the cycles of a fold."""
    on_rows, on_cols, streamed = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[flow]
    fold = streamed + (rows if flow == "os" else 2 * rows) + cols - 2
    return ceil(on_rows / rows) * ceil(on_cols / cols) * fold


def on_scale_sim(network: Network, rows: int, cols: int, flow: str) -> Any:
    words = {"arch.engine.rows": rows, "arch.engine.cols": cols, "arch.engine.dataflow": flow}
    return simulate(network, "scalesim", overrides=words).layers[0]


SIDES = st.sampled_from([1, 2, 3, 7, 8, 12, 14, 16, 31, 32, 33, 64, 100, 127, 128]) | st.integers(1, 128)


@pytest.mark.slow
@settings(max_examples=150)
@given(
    m=st.integers(1, 600),
    n=st.integers(1, 300),
    k=st.integers(1, 600),
    rows=SIDES,
    cols=SIDES,
    flow=st.sampled_from(FLOWS),
)
def test_products_take_scale_sims_cycles(m: int, n: int, k: int, rows: int, cols: int, flow: str) -> None:
    layer = on_scale_sim(gemm(m, k, n), rows, cols, flow)
    assert layer.cycles == scale_sim(m, n, k, rows, cols, flow)
    assert layer.stall_cycles["memory"] == 0


@settings(max_examples=60)
@given(
    channels=st.integers(1, 64), filters=st.integers(1, 64), window=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    extra=st.tuples(st.integers(0, 20), st.integers(0, 20)), stride=st.integers(1, 3), rows=SIDES, cols=SIDES,
    flow=st.sampled_from(FLOWS),
)  # fmt: skip
def test_convolutions_take_scale_sims_cycles(
    channels: int,
    filters: int,
    window: tuple[int, int],
    extra: tuple[int, int],
    stride: int,
    rows: int,
    cols: int,
    flow: str,
) -> None:
    size = (window[0] + extra[0], window[1] + extra[1])
    network = conv(channels, size, K=filters, R=window[0], S=window[1], stride=stride)
    _, _, p, q = network.layers[0].output_shapes[0]
    found = on_scale_sim(network, rows, cols, flow).cycles
    assert found == scale_sim(p * q, filters, channels * window[0] * window[1], rows, cols, flow)


def test_a_network_takes_scale_sims_cycles_layer_by_layer() -> None:
    network = load_network("alexnet")
    layers = simulate(network, "scalesim").layers
    for spec, layer in zip(network.layers, layers, strict=True):
        if layer.macs:
            d = layer.dims
            one = scale_sim(d["N"] * d["P"] * d["Q"], d["K"], d["C"] * d["R"] * d["S"], 32, 32, "os")
            assert layer.cycles == d["G"] * one, spec.name


def test_scale_sims_operand_reads() -> None:
    """Reads of operands between array and buffers, as SCALE-Sim counts them."""
    m, n, k, rows, cols = 50, 40, 70, 16, 8
    folds = {
        "os": (ceil(m / rows), ceil(n / cols)),
        "ws": (ceil(k / rows), ceil(n / cols)),
        "is": (ceil(k / rows), ceil(m / cols)),
    }
    wanted = {
        "os": (m * k * folds["os"][1], k * n * folds["os"][0]),
        "ws": (m * k * folds["ws"][1], k * n),
        "is": (m * k, k * n * folds["is"][1]),
    }
    for flow, (inputs, weights) in wanted.items():
        traffic = on_scale_sim(gemm(m, k, n), rows, cols, flow).traffic_bytes
        assert traffic["ifmap_sram"]["input"].read == inputs, flow
        assert traffic["filter_sram"]["weight"].read == weights, flow


def test_partial_sums_read_are_updates_less_first_writes() -> None:
    m, n, k, rows = 20, 8, 64, 16
    for flow in ("ws", "is"):
        traffic = on_scale_sim(gemm(m, k, n, formats()), rows, 8, flow).traffic_bytes["ofmap_sram"]
        again = m * n * (ceil(k / rows) - 1) * 4  # of 32 bits
        assert traffic["partial_sum"].read == traffic["partial_sum"].write == again
        assert traffic["output"].write == m * n


# ---- cycles derived by hand -------------------------------------------------------------------------------------


def stalls(layer: LayerResult) -> dict[str, int]:
    return {cause: cycles for cause, cycles in layer.stall_cycles.items() if cycles}


def timed(network: Network, rows: int, cols: int, mapping: MappingFile = EMPTY, **engine: Any) -> LayerResult:
    return simulate(network, array(rows, cols, **engine), mapping=mapping).layers[0]


WHOLE = fixed(tile={"N": 1000, "K": 1000, "C": 1000})


@pytest.mark.parametrize(
    ("engine", "cycles", "busy", "lost"),
    [
        # Two folds of (5 x 2) by (2 x 2) on 2 x 2. A fold: 2 to shift in, 5 vectors, 2 hops to the last PE.
        # Shift 0-1, vectors 2-6; the second tile is shifted in 2-3 beside them, its vectors 7-11, last MAC in 13.
        ({"weight_buffers": 2, "overlap": "skewed"}, 14, 12, {"weight_load": 2}),
        # Each waits for an empty array: vectors 2-6, empty after 8; the shift is hidden, vectors 9-13, last MAC in 15.
        ({"weight_buffers": 2, "overlap": "none"}, 16, 14, {"weight_load": 2}),
        # Neither: 9 cycles a fold, twice.
        ({"weight_buffers": 1, "overlap": "none"}, 18, 14, {"weight_load": 4}),
        # One buffer: the second tile may enter when the first has done its last MAC.
        ({"weight_buffers": 1, "overlap": "skewed"}, 18, 14, {"weight_load": 4}),
        # All weights at once: one cycle instead of two.
        ({"weight_buffers": 1, "overlap": "none", "weight_load": "parallel"}, 16, 14, {"weight_load": 2}),
    ],
)
def test_two_weight_stationary_folds(engine: dict[str, Any], cycles: int, busy: int, lost: dict[str, int]) -> None:
    layer = timed(gemm(5, 4, 2), 2, 2, WHOLE, **engine)
    assert (layer.cycles, layer.busy_cycles, stalls(layer)) == (cycles, busy, lost)


@pytest.mark.parametrize(
    ("flow", "edge", "cycles"),
    [
        ("ws", "full", 3 + 2 * 4 + 4 - 2),
        ("ws", "trim", 4 + 3 + 3 + 1),
        ("os", "full", 2 + 4 + 4 - 2),
        ("os", "trim", 2 + 2 + 1),
    ],
)
def test_the_edge_of_a_fold_that_uses_part_of_the_array(flow: str, edge: str, cycles: int) -> None:
    """3 x 2 by 2 x 2 on 4 x 4: trimmed, only columns in use are waited for; in ws sums still travel all rows."""
    assert timed(gemm(3, 2, 2), 4, 4, WHOLE, dataflow=flow, edge=edge).cycles == cycles


@pytest.mark.parametrize(("drain", "extra"), [("parallel", 0), ("rows", 3), ("cols", 5)])
def test_sums_that_are_shifted_out(drain: str, extra: int) -> None:
    assert timed(gemm(3, 7, 5), 3, 5, WHOLE, dataflow="os", drain=drain).cycles == 7 + 3 + 5 - 2 + extra


@pytest.mark.parametrize(
    ("pipeline", "extra"),
    [({"input": 2}, 2), ({"multiplier": 3}, 3), ({"output": 1}, 1), ({"accumulator": 3}, 2), ({"hop": 2}, 2 + 4)],
)
def test_registers_on_the_way_delay_a_fold(pipeline: dict[str, int], extra: int) -> None:
    """os on 3 x 5: a register at a port or in a PE is one cycle, one more a hop is one a row and column passed."""
    base = 7 + 3 + 5 - 2
    assert timed(gemm(3, 7, 5), 3, 5, WHOLE, dataflow="os", pipeline=pipeline).cycles == base + extra


def test_successive_output_stationary_tiles_follow_without_a_gap() -> None:
    folds = 6
    layer = timed(gemm(3 * folds, 7, 5), 3, 5, WHOLE, dataflow="os", overlap="skewed")
    assert layer.cycles == folds * 7 + 3 + 5 - 2


@pytest.mark.parametrize(
    ("words", "folds", "vector_cycles"),
    [("int8", 4, 1), ("int4", 2, 1), ("int16", 4, 4)],
)
def test_precision_changes_depth_or_pace(words: str, folds: int, vector_cycles: int) -> None:
    """ws on 4 x 4, 16 deep: int4 packs two products into a PE, int16 takes four cycles a vector."""
    layer = timed(gemm(10, 16, 4, formats(words, output="int32")), 4, 4, WHOLE, precision=SPEEDS)
    assert layer.cycles == folds * (10 * vector_cycles + 2 * 4 + 4 - 2)
    assert layer.peak_macs_per_cycle == 16 * {"int8": 1, "int4": 2, "int16": 0.25}[words]


def test_a_depthwise_layer_runs_group_by_group_at_its_honest_cost() -> None:
    network = conv(6, (5, 5), R=3, S=3, groups="depthwise")
    layer = timed(network, 16, 16, fixed(tile={"G": 6}), weight_buffers=1)
    assert layer.cycles == 6 * (9 + 2 * 16 + 16 - 2)
    assert layer.utilization == pytest.approx(6 * 9 * 9 / (layer.cycles * 256))


def test_private_kernels_load_a_tile_for_every_pixel() -> None:
    layer = timed(local(2, (4, 4), K=3, R=2, S=2), 8, 8)
    assert layer.cycles == 9 * (1 + 2 * 8 + 8 - 2)


# ---- memory -----------------------------------------------------------------------------------------------------


def test_the_first_load_is_waited_for_and_the_last_store_too() -> None:
    """One fold of (4 x 4) by (4 x 4) bytes at 4 bytes a cycle: 4 cycles of weights, 4 of inputs, 4 of outputs."""
    arch = array(4, 4, one_buffer("1 MiB", "4 B/cycle"))
    layer = simulate(gemm(4, 4, 4, formats()), arch, mapping=WHOLE).layers[0]
    # weights there after 4, shifted in 4-7; inputs there after 8; vectors 8-11, last MAC in 17; outputs out 18-21
    assert (layer.cycles, layer.busy_cycles) == (4 + 4 + 10 + 4, 10)
    assert stalls(layer) == {"memory": 8, "weight_load": 4}


def test_a_latency_is_paid_once_by_loads_that_run_ahead() -> None:
    def cycles(latency: str) -> int:
        memory = one_buffer("1 MiB", "64 B/cycle")
        memory[0]["latency"] = latency
        arch = array(4, 4, memory, weight_buffers=2, overlap="skewed")
        return simulate(gemm(64, 16, 16, formats()), arch, mapping=fixed(tile={"N": 64, "K": 4, "C": 16})).totals.cycles

    assert cycles("50 cycles") == cycles("0 cycles") + 50


def test_bandwidth_bounds_a_layer_without_reuse() -> None:
    network = gemm(1, 512, 512, formats())
    layer = simulate(
        network, array(16, 16, one_buffer("64 KiB", "8 B/cycle"), weight_buffers=2, overlap="skewed")
    ).layers[0]
    assert layer.roofline.bound == "memory"
    least = (512 * 512 + 512 + 512) // 8
    assert least <= layer.cycles <= 1.05 * least


def test_ports_on_chip_are_waited_for() -> None:
    def cycles(port: str | None) -> LayerResult:
        arch = array(8, 8, one_buffer("1 MiB", None, port), weight_buffers=2, overlap="skewed")
        return simulate(gemm(64, 64, 64, formats()), arch).layers[0]

    free, narrow = cycles(None), cycles("4 B/cycle")
    moved = sum(tensor.total for tensor in narrow.traffic_bytes["buffer"].values())
    assert narrow.cycles >= moved / 4 > free.cycles
    assert narrow.stall_cycles["memory"] > 0


@settings(max_examples=40)
@given(networks(), arrays())
def test_bytes_in_are_bytes_scheduled_and_every_cycle_has_one_cause(network: Network, arch: Architecture) -> None:
    simulation = simulate_full(network, arch)
    (layer,), (trace,) = simulation.result.layers, simulation.runs
    assert layer.busy_cycles + sum(layer.stall_cycles.values()) == layer.cycles
    assert min(layer.busy_cycles, *layer.stall_cycles.values()) >= 0
    assert layer.macs <= layer.cycles * layer.peak_macs_per_cycle
    far = trace.counters.traffic["dram"]
    spec = network.layers[0]
    weights = int(np.prod(spec.weight_shape)) if spec.weight_shape is not None else int(np.prod(spec.input_shapes[1]))
    assert far["weight"].read_bits >= 8 * weights
    assert far["output"].write_bits == 32 * int(np.prod(spec.output_shapes[0]))
    if "partial_sum" in far:
        assert far["partial_sum"].read_bits == far["partial_sum"].write_bits


def test_repeats_are_runs_one_after_the_other() -> None:
    run_once = simulate_full(gemm(4, 4, 4), array()).runs[0].counters
    assert run_once.times(3) == run_once + run_once + run_once
    assert replace(run_once, cycles=0) != run_once
