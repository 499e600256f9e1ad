"""The NFU as an engine: outputs against a fixed-point reference, cycles against ceil tiling and bandwidth,
conservation.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import Simulation, load_arch, simulate, simulate_full
from accelsim.arch.spec import Architecture
from accelsim.catalogue import load_mapping
from accelsim.engines import stretch as stretch_module
from accelsim.engines.nfu import Nfu, NfuEngine
from accelsim.engines.nfu_fixed import activate, segment_table
from accelsim.engines.registry import engine_of
from accelsim.engines.stretch import LONG, SHORT, shortened, stretch
from accelsim.engines.walk import Carry
from accelsim.errors import InfeasibleError, InputError
from accelsim.mapping.loopnest import Axis, Dims, LoopNest
from accelsim.mapping.machine import Placement, Widths
from accelsim.mapping.mapping import DEFAULT_ORDER, LayerMapping, Mapping, MappingFile, UnrollSizes
from accelsim.report.explain import explain
from accelsim.schedule.build import build_schedule
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import Conv2d, Linear, LocallyConnected2d, Matmul, Op, Recurrent
from accelsim.workload.precision import NumberFormat, Precision

INT16 = NumberFormat("int", 16)
SIXTEEN = Precision(weight=INT16, input=INT16, accumulator=NumberFormat("int", 48), output=INT16)
DIANNAO = load_arch("diannao")


def network(op: Op, shape: tuple[int, ...], batch: int = 1, precision: Precision = SIXTEEN) -> Network:
    return build_network(
        "one", batch, {"x": shape}, (LayerSketch("layer", op, inputs=("x",), precision=precision),)
    )


CONVOLUTIONS = st.builds(
    lambda groups, c, k, r, s, stride, dilation, pad, size: (
        Conv2d(K=k * groups, R=r, S=s, stride=stride, dilation=dilation, pad=pad, groups=groups, bias=False),
        (c * groups, size + 4, size + 5),
    ),
    groups=st.sampled_from([1, 1, 2, 3]), c=st.integers(1, 20), k=st.integers(1, 20), r=st.integers(1, 3),
    s=st.integers(1, 3),
    stride=st.integers(1, 2), dilation=st.integers(1, 2), pad=st.integers(0, 1), size=st.integers(1, 5),
)  # fmt: skip


def ceil_cycles(layer: Any, unroll: Any) -> int:
    """Rows of operands of the whole layer, when every tile is cut as the layer is."""
    d = layer.dims
    return int(
        d["N"] * d["G"] * ceil(d["K"] / unroll.K) * ceil(d["C"] / unroll.C) * ceil(d["P"] / unroll.P)
        * ceil(d["Q"] / unroll.Q) * ceil(d["R"] / unroll.R) * ceil(d["S"] / unroll.S)
    )  # fmt: skip


def bandwidth_cycles(layer: Any, arch: Architecture) -> float:
    far = arch.off_chip
    assert far.bandwidth is not None
    moved = sum(t.read + t.write for t in layer.traffic_bytes[far.name].values())
    return moved / float(far.bandwidth.per_cycle(arch.clock))


@given(CONVOLUTIONS, st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_cycles_are_ceil_tiling_and_never_below_bandwidth(
    case: tuple[Conv2d, tuple[int, ...]], batch: int
) -> None:
    layer = simulate(network(*case, batch=batch), DIANNAO).layers[0]
    assert layer.busy_cycles >= ceil_cycles(layer, DIANNAO.engine.unroll)  # type: ignore[union-attr]
    assert layer.cycles == layer.busy_cycles + sum(layer.stall_cycles.values())
    assert layer.cycles >= bandwidth_cycles(layer, DIANNAO) - 1
    assert layer.macs == np.prod(list(layer.dims.values()))


@pytest.mark.parametrize(("ti", "tn"), [(16, 16), (8, 32), (7, 64), (3, 5)])
def test_other_unrolls(ti: int, tn: int) -> None:
    """Without memory in the way, a layer takes ceil-tiling arithmetic and one pipeline, exactly."""
    arch = load_arch("diannao", overrides={"arch.engine.unroll.C": ti, "arch.engine.unroll.K": tn})
    arch = arch.model_copy(
        update={"memory": [arch.memory[0].model_copy(update={"bandwidth": None}), *arch.memory[1:]]}
    )
    fixed = {"mapping.layer.tile.C": ti * 2, "mapping.layer.tile.K": tn, "mapping.layer.order": "P Q K C R S"}
    layer = simulate(network(Conv2d(K=40, R=3, S=3, bias=False), (30, 9, 9)), arch, overrides=fixed).layers[0]
    assert layer.busy_cycles == ceil(40 / tn) * ceil(30 / ti) * 9 * 49
    assert layer.cycles == layer.busy_cycles + 3


def reference(image: Any, weight: Any, op: Conv2d, out: tuple[int, ...]) -> Any:
    """Q6.10 with truncated, saturating products and saturating 16-bit sums; nothing of the hardware but its
    order.

    Order of a sum: taps row by row, then channels by 16; a row's 16 products are added exactly, then
    saturated in.
    """
    _, k, p, q = out
    c = weight.shape[1]
    padded = np.pad(
        image.astype(np.int64), ((0, 0), (0, 0), (op.pad[0], op.pad[1] + 9), (op.pad[2], op.pad[3] + 9))
    )
    sums = np.zeros(out, np.int64)
    per_group = k // op.groups  # type: ignore[operator]
    for o in range(k):
        first = o // per_group * c
        for r in range(op.R):
            for s in range(op.S):
                for chunk in range(0, c, 16):
                    channels = slice(first + chunk, first + min(chunk + 16, c))
                    top, left = r * op.dilation[0], s * op.dilation[1]
                    window = padded[
                        :,
                        channels,
                        top : top + p * op.stride[0] : op.stride[0],
                        left : left + q * op.stride[1] : op.stride[1],
                    ]
                    taken = weight[o, chunk : chunk + 16, r, s].astype(np.int64)
                    products = np.clip((window * taken[:, None, None]) >> 10, -32768, 32767)
                    sums[:, o] = np.clip(sums[:, o] + products.sum(axis=1), -32768, 32767)
    return sums


@given(CONVOLUTIONS, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_outputs_are_bit_exact(case: tuple[Conv2d, tuple[int, ...]], seed: int) -> None:
    """The whole reduction in one tile, so that the order of the sum is the reference's."""
    op, shape = case
    rng = np.random.default_rng(seed)
    engine = engine_of(DIANNAO)
    assert isinstance(engine, NfuEngine)
    assert isinstance(engine.unit, Nfu)
    layer = network(op, shape, 2).layers[0]
    image = rng.integers(-3000, 3000, (2, *shape)).astype(np.int16)
    weight = rng.integers(-3000, 3000, layer.weight_shape).astype(np.int16)
    n, k, p, q = layer.output_shapes[0]
    nest = LoopNest(
        Dims(n, k // op.groups, shape[0] // op.groups, p, q, op.R, op.S, op.groups),  # type: ignore[operator]
        Axis(shape[1], op.stride[0], op.dilation[0], op.pad[0]),
        Axis(shape[2], op.stride[1], op.dilation[1], op.pad[2]),
    )
    tile = nest.dims._replace(N=1, G=1, P=max(1, p // 2), K=min(nest.dims.K, 7))
    schedule = build_schedule(
        "layer", nest, Mapping(tile, DEFAULT_ORDER, "os"), Widths.of(SIXTEEN), Placement()
    )
    total = engine.unit.accumulate(schedule, SIXTEEN, image, weight)
    assert np.array_equal(total.accumulators, reference(image, weight, op, (n, k, p, q)))
    assert engine._finish(layer, total.accumulators).dtype == np.int16


def test_exact_integers_equal_the_systolic_array() -> None:
    """Without a fixed-point block an NFU gives the bits of any other integer engine."""
    arch = load_arch("diannao").model_copy(
        update={"engine": DIANNAO.engine.model_copy(update={"arithmetic": None})}
    )
    narrow = Precision()
    cases: list[tuple[Op, tuple[int, ...]]] = [
        (Conv2d(K=9, R=3, S=3, pad=1), (5, 8, 8)),
        (Linear(out=33), (70,)),
        (Matmul(N=7), (6, 12)),
        (LocallyConnected2d(K=3, R=2, S=2), (4, 5, 5)),
    ]
    for op, shape in cases:
        net = network(op, shape, 2, narrow)
        ours, theirs = (simulate_full(net, a, values=True).outputs["layer"] for a in (arch, "tpu_v1"))
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (Conv2d(K=32, R=3, S=3, groups="depthwise"), (32, 10, 10)),
        (Conv2d(K=32, R=3, S=3, groups=4, stride=2), (16, 11, 11)),
        (Conv2d(K=8, R=3, S=3, dilation=3), (8, 16, 16)),
        (LocallyConnected2d(K=8, R=3, S=3), (8, 9, 9)),
        (Recurrent(op="lstm", hidden=48), (5, 32)),
        (Matmul(N=40), (6, 64)),
    ],
)
def test_layers_of_other_engines_run(op: Op, shape: tuple[int, ...]) -> None:
    layer = simulate(network(op, shape), DIANNAO).layers[0]
    assert layer.macs > 0
    assert layer.cycles == layer.busy_cycles + sum(layer.stall_cycles.values())
    assert layer.cycles * 256 >= layer.macs


def test_refused_by_name() -> None:
    with pytest.raises(InfeasibleError, match="the nfu engine's dataflow: asks for ws"):
        simulate(network(Linear(out=8), (8,)), DIANNAO, overrides={"mapping.layer.dataflow": "ws"})
    with pytest.raises(InfeasibleError, match="the nfu engine's precision"):
        simulate(network(Linear(out=8), (8,), 1, Precision(weight=NumberFormat("int", 32))), DIANNAO)


def test_partial_sums_stay_in_the_buffer() -> None:
    """A reduction in pieces: reads of partial sums = updates - first writes, and none goes off chip."""
    tile = {"mapping.layer.tile.C": 32, "mapping.layer.tile.K": 16}
    layer = simulate(network(Linear(out=64, bias=False), (256,)), DIANNAO, overrides=tile).layers[0]
    partial = layer.traffic_bytes["NBout"]["partial_sum"]
    assert partial.read == partial.write == (256 // 32 - 1) * 64 * 2
    assert layer.traffic_bytes["NBout"]["output"].write == 64 * 2
    assert "partial_sum" not in layer.traffic_bytes["dram"]
    assert layer.traffic_bytes["SB"]["weight"].read == 64 * 256 * 2
    assert layer.traffic_bytes["dram"]["weight"].read == 64 * 256 * 2


@pytest.mark.parametrize("bandwidth", ["250 GB/s", "2000 GB/s"])
def test_stretched_layers_equal_whole_ones(bandwidth: str) -> None:
    """Counted on from two short runs, against every pixel walked."""
    arch = load_arch("diannao", overrides={"arch.memory.dram.bandwidth": bandwidth})
    unit, widths = Nfu(arch, arch.engine), Widths.of(SIXTEEN)  # type: ignore[arg-type]
    nest = LoopNest(Dims(K=24, C=32, P=1, Q=400, R=3, S=3), Axis(3), Axis(402), private_weights=True)
    mapping = Mapping(Dims(K=16, C=16, R=1, S=3), DEFAULT_ORDER, "os")

    def run(part: LoopNest) -> Any:
        schedule = build_schedule("layer", part, mapping, widths, Placement())
        return unit.run(schedule, SIXTEEN, Placement(), Carry.start(arch))

    whole = run(nest)
    counted = stretch(run(shortened(nest, SHORT)), run(shortened(nest, LONG)), 400, arch)
    assert abs(counted.cycles - whole.cycles) <= 1
    assert counted.busy_cycles == whole.busy_cycles
    assert counted.macs == whole.macs
    assert counted.cycles == counted.busy_cycles + counted.stalls.total()
    assert counted.traffic == whole.traffic


@pytest.mark.slow
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(97, 120), st.integers(1, 3), st.integers(0, 99)
)
@settings(max_examples=10, deadline=None)
def test_stretched_layers_give_the_values_of_whole_ones(
    rows: int, taps: int, stride: int, columns: int, batch: int, seed: int
) -> None:
    """The same layer with its schedule written out, and counted on: one fixed point, one order, one count of overflows."""
    op = LocallyConnected2d(K=20, R=taps, S=3, stride=stride, bias=False)
    shape = (18, (rows - 1) * stride + taps, (columns - 1) * stride + 3)
    net = network(op, shape, batch)
    fixed: dict[str, Any] = {f"mapping.layer.tile.{dim}": size for dim, size in (("C", 16), ("S", 2), ("P", 1), ("Q", 1))}
    # sums saturate on the way: both must take their products in one order
    fixed |= {"mapping.layer.tile.R": taps, "mapping.layer.tile.N": 1, "mapping.layer.tile.K": 16, "mapping.layer.keep": []}
    fixed |= {"mapping.layer.order": "N P Q K C R S"}

    def run() -> Simulation:
        return simulate_full(net, DIANNAO, values=True, seed=seed, overrides=fixed)

    whole = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretch_module, "MANY_TILES", 1)
        counted = run()
    assert counted.result.layers[0].mapping["tile"]["Q"] == 1
    assert np.array_equal(counted.outputs["layer"], whole.outputs["layer"])
    ours, theirs = counted.result.layers[0], whole.result.layers[0]
    assert ours.accumulator_overflows == theirs.accumulator_overflows > 0
    assert (ours.macs, ours.effective_macs, ours.busy_cycles) == (theirs.macs, theirs.effective_macs, theirs.busy_cycles)


def test_weights_that_no_memory_holds_are_refused_in_values_mode() -> None:
    with pytest.raises(InfeasibleError, match=r"719,824,748,544 seeded values of its weight"):
        simulate("diannao_conv5", DIANNAO, values=True)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("function", "exact", "bound"), [("sigmoid", sigmoid, 0.02), ("tanh", np.tanh, 0.12)]
)
def test_sixteen_segments_follow_the_function(function: str, exact: Any, bound: float) -> None:
    """Against the table by hand (its own slopes and ends, in whole numbers), and near the true function."""
    spec = DIANNAO.engine
    values = np.arange(-32768, 32768, 7).astype(np.int16)
    ours = activate(values, function, spec, INT16)  # type: ignore[arg-type]
    table = segment_table(function, spec.activation, 10)  # type: ignore[union-attr]
    segment = np.clip((values.astype(np.int64) + (8 << 10)) // 1024, 0, 15)
    expected = np.floor_divide(table.slopes[segment] * values, 1024) + table.intercepts[segment]
    assert np.array_equal(ours, expected)
    assert np.abs(ours / 1024 - exact(values / 1024)).max() < bound
    assert len(table.slopes) == 16


def test_relu_is_a_comparison() -> None:
    values = np.array([-5, 0, 7, 32767], np.int16)
    assert activate(values, "relu", DIANNAO.engine, INT16).tolist() == [0, 0, 7, 32767]  # type: ignore[arg-type]


# ---- the user's levers ------------------------------------------------------------------------------------


def without_memory(arch: Architecture) -> Architecture:
    return arch.model_copy(
        update={"memory": [arch.memory[0].model_copy(update={"bandwidth": None}), *arch.memory[1:]]}
    )


@pytest.mark.parametrize(
    ("level", "rate", "cycles"),
    [
        ("SB", 512, 32),  # 16 rows of 512 bytes are filled, and read: 16,384 bytes
        ("SB", 1024, 16),
        ("SB", 1023, 17),
        ("NBin", 32, 32),  # 512 bytes come, and 16 rows of 32 bytes are read
        ("NBout", 2, 32),  # a row of 32 bytes is written and sent
        ("NBout", 3, 22),  # 64 bytes in 21 1/3 cycles
    ],
)
def test_ports_on_chip_carry_rows_and_transfers(level: str, rate: int, cycles: int) -> None:
    """A classifier of 256 x 16 in one tile: 16 rows of operands, longer where a port is too slow for its bytes."""
    arch = without_memory(load_arch("diannao", overrides={f"arch.memory.{level}.bandwidth": f"{rate} B/cycle"}))
    layer = simulate(network(Linear(out=16, bias=False), (256,)), arch).layers[0]
    assert layer.busy_cycles == 16
    assert layer.stall_cycles["memory"] == cycles - 16
    assert layer.cycles == cycles + 3



@given(
    CONVOLUTIONS, st.dictionaries(st.sampled_from(["dram", "NBin", "SB", "NBout"]), st.sampled_from([1, 3, 40, 500])),
    st.sampled_from([{}, {"C": 4}, {"R": 1, "Q": 2}]), st.sampled_from(["registers", "buffer"]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_port_carries_more_than_it_can(
    case: tuple[Conv2d, tuple[int, ...]], rates: dict[str, int], tile: dict[str, int], sums: str, latency: int
) -> None:
    """At every level, on chip and off: cycles >= bytes / bandwidth, whatever waits for whatever."""
    changes: dict[str, Any] = {f"arch.memory.{level}.bandwidth": f"{rate} B/cycle" for level, rate in rates.items()}
    changes |= {"arch.engine.sums": sums, "arch.memory.dram.latency": f"{latency} cycles"}
    arch = load_arch("diannao", overrides=changes)
    layer = simulate(network(*case), arch, overrides={f"mapping.layer.tile.{dim}": n for dim, n in tile.items()}).layers[0]
    for level, rate in rates.items():
        assert layer.cycles * rate >= sum(t.read + t.write for t in layer.traffic_bytes[level].values()) - 8
    assert layer.cycles == layer.busy_cycles + sum(layer.stall_cycles.values())


@given(CONVOLUTIONS, st.sampled_from([20, 80, 300]), st.sampled_from([4, 64]))
@settings(max_examples=25, deadline=None)
def test_tiles_are_not_so_small_that_each_waits(case: tuple[Conv2d, tuple[int, ...]], latency: int, rate: int) -> None:
    """The chosen tile against the whole layer as one, which waits for a late memory once: nearly as good, or
    better; a group may wait for its own.
    """
    changes = {"arch.memory.dram.latency": f"{latency} cycles", "arch.memory.dram.bandwidth": f"{rate} B/cycle"}
    arch = load_arch("diannao", overrides=changes)
    roomy = [arch.memory[0], *(level.model_copy(update={"size": 1 << 26}) for level in arch.memory[1:])]
    arch = arch.model_copy(update={"memory": roomy})
    chosen = simulate(network(*case), arch).layers[0]
    whole = {f"mapping.layer.tile.{dim}": size for dim, size in chosen.dims.items()}
    at_once = simulate(network(*case), arch, overrides=whole).layers[0]
    assert chosen.cycles <= at_once.cycles + (1 + 2 * chosen.dims["G"]) * latency


@given(
    st.fixed_dictionaries({dim: st.sampled_from([1, 2, 3, 4, 5, 8]) for dim in "CKPQRS"}),
    CONVOLUTIONS,
)
@settings(max_examples=40, deadline=None)
def test_unroll_of_a_layer(unroll: dict[str, int], case: tuple[Conv2d, tuple[int, ...]]) -> None:
    """A layer's own unroll: ceil-tiling arithmetic where memory does not stall; refused beyond the multipliers."""
    net, arch = network(*case), without_memory(DIANNAO)
    fixed = {f"mapping.layer.unroll.{dim}": size for dim, size in unroll.items()}
    if np.prod(list(unroll.values())) > 256:
        with pytest.raises(InfeasibleError, match=r"layer layer: the unroll of its loops: asks for \d+ mult"):
            simulate(net, arch, overrides=fixed)
        return
    layer = simulate(net, arch, overrides=fixed).layers[0]
    factors = type("Factors", (), unroll)
    assert layer.mapping["unroll"] == unroll
    assert layer.busy_cycles >= ceil_cycles(layer, factors)
    assert layer.utilization == pytest.approx(layer.macs / layer.cycles / 256)
    whole = {f"mapping.layer.tile.{dim}": size for dim, size in layer.dims.items() if dim != "G"}
    roomy = arch.model_copy(
        update={"memory": [arch.memory[0], *(m.model_copy(update={"size": 1 << 26}) for m in arch.memory[1:])]}
    )
    alone = simulate(net, roomy, overrides=fixed | whole).layers[0]
    assert alone.busy_cycles == ceil_cycles(layer, factors)
    assert alone.cycles == alone.busy_cycles + 3


def test_unroll_keeps_what_is_not_named_and_takes_the_default() -> None:
    net = network(Conv2d(K=32, R=3, S=3, bias=False), (32, 9, 9))
    own = simulate(net, DIANNAO, overrides={"mapping.layer.unroll.K": 8}).layers[0]
    assert own.mapping["unroll"] == {"C": 16, "K": 8, "P": 1, "Q": 1, "R": 1, "S": 1}
    assert own.busy_cycles == 2 * simulate(net, DIANNAO).layers[0].busy_cycles
    file = MappingFile(default=LayerMapping(unroll=UnrollSizes(K=4, P=4)))
    assert simulate(net, DIANNAO, mapping=file).layers[0].mapping["unroll"]["P"] == 4


def test_unroll_is_refused_with_what_to_change() -> None:
    net = network(Linear(out=8), (8,))
    too_many = (
        "layer layer: the unroll of its loops: asks for 512 multipliers (C 16 x K 32), there is 256 (C 16 x K 16); "
        "try: mapping.layer.unroll.K at most 16; mapping.layer.unroll.C at most 8; a larger arch.engine.unroll"
    )
    with pytest.raises(InfeasibleError) as fault:
        simulate(net, DIANNAO, overrides={"mapping.layer.unroll.K": 32})
    assert str(fault.value) == too_many
    with pytest.raises(InfeasibleError, match="unroll K 8, there is the systolic engine, whose 256 x 256 array"):
        simulate(net, "tpu_v1", overrides={"mapping.layer.unroll.K": 8})
    with pytest.raises(InputError, match=r"unroll\.Z: unknown key; known here: C, K, P, Q, R, S"):
        simulate(net, DIANNAO, overrides={"mapping.layer.unroll.Z": 8})


def test_values_do_not_depend_on_exact_unrolls() -> None:
    """Integers that are exact are the same sums in any order of the loops."""
    arch = DIANNAO.model_copy(update={"engine": DIANNAO.engine.model_copy(update={"arithmetic": None})})
    net = network(Conv2d(K=10, R=3, S=3, pad=1, bias=False), (7, 6, 6))
    plain = simulate_full(net, arch, values=True).outputs["layer"]
    for unroll in ({"C": 3, "K": 5, "R": 3, "S": 1}, {"P": 2, "Q": 2, "K": 8, "C": 4}):
        fixed = {f"mapping.layer.unroll.{dim}": size for dim, size in unroll.items()}
        assert np.array_equal(simulate_full(net, arch, values=True, overrides=fixed).outputs["layer"], plain)


@pytest.mark.parametrize("load", [16, 8, 32])
def test_double_buffering_on_and_off(load: int) -> None:
    """A classifier in 8 tiles of 8 KiB of weights and 16 rows. With one slot a tile's weights are asked for when the
    rows of the tile before are read; with two they come behind its back.
    """
    tiles, rows, pipeline, first_inputs = 8, 16, 3, 1
    changes = {"arch.memory.dram.requests": "in_order", "arch.memory.dram.bandwidth": f"{8192 // load} B/cycle"}
    fixed = {"mapping.layer.tile.K": 16, "mapping.layer.tile.C": 256, "mapping.layer.keep": ["input"]}
    net = network(Linear(out=128, bias=False), (256,))

    def cycles(slots: int) -> int:
        arch = load_arch("diannao", overrides=changes | {"arch.memory.SB.slots": slots})
        layer = simulate(net, arch, overrides=fixed).layers[0]
        assert layer.busy_cycles == tiles * rows
        return layer.cycles

    last_store = tiles  # a part of a cycle each, behind its tile
    in_turn = tiles * (load + rows) + first_inputs + pipeline
    assert in_turn <= cycles(1) <= in_turn + last_store
    hidden = load + first_inputs + (tiles - 1) * max(load, rows) + rows + pipeline
    assert hidden <= cycles(2) <= hidden + last_store


def test_explain_shows_loops_unroll_and_reuse() -> None:
    net = network(Conv2d(K=40, R=3, S=3, bias=False), (48, 9, 9))
    changes = {"mapping.layer.unroll.K": 8, "mapping.layer.tile.K": 20, "mapping.layer.tile.C": 48}
    changes |= {"mapping.layer.tile.R": 1, "mapping.layer.tile.S": 3, "mapping.layer.tile.Q": 7}
    changes |= {"mapping.layer.tile.P": 1, "mapping.layer.order": "P Q K C R S"}
    text = explain(net, net.layers[0], DIANNAO, load_mapping(None, changes))
    inside = text[text.index("inside a tile") : text.index("\n\n", text.index("reuse"))].splitlines()
    assert inside[:7] == [
        "inside a tile, on the NFU's 256 multipliers:",
        "  for q in 7    # output column",
        "    for k in 3 steps of 8, the last 4    # output channel",
        "      for s in 3    # filter column",
        "        for c in 3 steps of 16    # input channel",
        "          at once: K 8 x C 16",
        "  21 rows of outputs of 9 rows of operands each: 189 cycles, 41.7% of the multipliers at work",
    ]
    _, weight, given = (line.split() for line in inside[9:12])
    # 7 x 7 pixels, and of the 48 lanes that 40 outputs take 8 are read in vain
    assert weight[:7] == ["weight", "17,280", "7.00", "x", "SB", "58.8", "x"]
    assert given[:3] == ["input", "3,888", "4.67"]
    macs = 49 * 17280
    for elements, reads, served in ((17280, weight[5], weight[7]), (3888, given[5], given[7])):
        assert elements * float(reads) * float(served) == pytest.approx(macs, rel=0.01)


def test_a_dadiannao_node_streams_synapses_that_do_not_fit() -> None:
    """In eDRAM from the start if all of them fit; else they come over the links, once, and bound the layer."""
    net = network(Linear(out=1024, bias=False), (1024,))
    held = simulate(net, "dadiannao").layers[0]
    assert "weight" not in held.traffic_bytes["links"]
    arch = load_arch("dadiannao", overrides={"arch.memory.tile_edram.size": "1 MiB"})
    streamed = simulate(net, arch).layers[0]
    assert streamed.traffic_bytes["links"]["weight"].read == 2 * 1024 * 1024
    assert streamed.cycles >= bandwidth_cycles(streamed, arch)
    assert held.cycles < streamed.cycles / 50
