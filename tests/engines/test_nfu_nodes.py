"""Several nodes: how they divide a layer, what they tell each other, hand-derived cycles, and the same bits as one node."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import load_arch, simulate, simulate_full
from accelsim.arch.nodes import NODE_LINKS, split
from accelsim.arch.spec import Architecture
from accelsim.catalogue import load_mapping
from accelsim.engines.nodes import ring_stall
from accelsim.errors import InputError
from accelsim.report.explain import explain
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import Conv2d, Linear, Matmul, Op, Recurrent
from accelsim.workload.precision import NumberFormat, Precision

INT16 = NumberFormat("int", 16)
SIXTEEN = Precision(weight=INT16, input=INT16, accumulator=NumberFormat("int", 48), output=INT16)


def network(*ops: Op, shape: tuple[int, ...], batch: int = 1) -> Network:
    names = "xabcdefg"
    sketches = (LayerSketch(names[i + 1], op, (names[i],), SIXTEEN) for i, op in enumerate(ops))
    return build_network("chain", batch, {"x": shape}, tuple(sketches))


def dadiannao(nodes: int, outside: bool = False, **links: Any) -> Architecture:
    """So many nodes; unless ``outside``, what comes over the links to the outside takes no time."""
    changes = {f"arch.engine.links.{key}": value for key, value in links.items()}
    arch = load_arch("dadiannao", overrides={"arch.engine.nodes": nodes, **changes})
    far = arch.memory[0].model_copy(update={"bandwidth": None, "latency": type(arch.memory[0].latency)(cycles=0)})
    return arch if outside else arch.model_copy(update={"memory": [far, *arch.memory[1:]]})


# ---- the ring and the division ----------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(1, 20), st.integers(0, 60))
def test_the_ring_part_by_part(work: int, parts: int, step: int) -> None:
    """Against a node that works on one part after the other, as they come."""
    now = 0
    for part in range(parts):
        now = max(now, part * step) + (part + 1) * work // parts - part * work // parts
    assert ring_stall(work, parts, step) == now - work


@pytest.mark.parametrize(("step", "stall"), [(16, 0), (17, 1), (42, 76)])
def test_the_ring_by_hand(step: int, stall: int) -> None:
    """67 cycles in parts of 16, 17, 17 and 17: a part each 16 cycles is there in time, each 17 is not."""
    assert ring_stall(67, 4, step) == stall


@given(st.integers(1, 24), st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 9)] * 2))
@settings(max_examples=100, deadline=None)
def test_the_division_has_the_fewest_steps(nodes: int, work: tuple[int, int, int], step: tuple[int, int]) -> None:
    def steps(groups: int, channels: int, rows: int) -> int:
        return ceil(work[0] / groups) * ceil(work[1] / (step[0] * channels)) * ceil(work[2] / (step[1] * rows))

    chosen = split(nodes, work, step)
    assert prod(chosen) == nodes
    ways = [(g, k, nodes // g // k) for g in range(1, nodes + 1) for k in range(1, nodes + 1) if nodes % (g * k) == 0]
    assert steps(*chosen) == min(steps(*way) for way in ways)


# ---- cycles by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "latency", "cycles"),
    [
        (16, 10, 143),  # 512 bytes come in 32 + 10 cycles, three times; the last 17 rows follow
        (512, 15, 67),  # 1 + 15 cycles: the ring keeps up with the 67 cycles of 64 rows and the pipeline
        (512, 16, 68),
    ],
)
def test_a_classifier_on_four_nodes(rate: int, latency: int, cycles: int) -> None:
    """1024 inputs, 256 of them at each node, which has 256 of 1024 outputs: 64 rows of operands."""
    arch = dadiannao(4, bandwidth=f"{rate} B/cycle", latency=f"{latency} cycles")
    layer = simulate(network(Linear(out=1024, bias=False), shape=(1024,)), arch).layers[0]
    assert layer.busy_cycles == 64
    assert layer.cycles == cycles
    assert layer.stall_cycles["memory"] == cycles - 67
    assert layer.traffic_bytes[NODE_LINKS]["input"].read == 4 * 3 * 512
    assert layer.traffic_bytes["central_edram"]["input"].write == 2048 + 4 * 3 * 512
    assert layer.traffic_bytes["tile_edram"]["weight"].read == 1024 * 1024 * 2
    assert layer.utilization == pytest.approx(64 / cycles)


def test_explain_tells_of_the_ring() -> None:
    net = network(Linear(out=1024, bias=False), shape=(1024,))
    text = explain(net, net.layers[0], dadiannao(4), load_mapping(None, {}))
    assert "inside a tile, on the 4 nodes' 16384 multipliers:" in text
    assert "each node hears 1.5 KiB of its operands over the links, in 3 steps" in text
    assert "at once: K 1024 x C 16" in text


def test_a_convolution_in_strips() -> None:
    """256 maps are one node's outputs, so four nodes have 8 rows of 32 each, and hear of the edges of their strips."""
    net = network(Conv2d(K=256, R=3, S=3, bias=False), shape=(16, 34, 34))
    one, four = (simulate(net, dadiannao(nodes)).layers[0] for nodes in (1, 4))
    assert one.cycles == 32 * 32 * 9 + 3
    assert four.cycles == 8 * 32 * 9 + 3
    assert NODE_LINKS not in one.traffic_bytes
    row = 34 * 16 * 2
    assert four.traffic_bytes[NODE_LINKS]["input"].read == 4 * (10 * row - 34 * row // 4)


def test_groups_of_their_own_need_nothing_of_others() -> None:
    net = network(Conv2d(K=64, R=3, S=3, groups="depthwise", bias=False), shape=(64, 10, 10))
    one, four = (simulate(net, dadiannao(nodes), overrides={"mapping.a.tile.G": 64}).layers[0] for nodes in (1, 4))
    assert one.busy_cycles == 4 * four.busy_cycles
    assert NODE_LINKS not in four.traffic_bytes


def test_more_nodes_hold_more_synapses() -> None:
    """64 MiB of them: over the links for one node, which has half the room; in place for two."""
    net = network(Linear(out=4096, bias=False), shape=(8192,))
    one, two = (simulate(net, dadiannao(nodes, outside=True)).layers[0] for nodes in (1, 2))
    assert one.traffic_bytes["links"]["weight"].read == 64 << 20
    assert "weight" not in two.traffic_bytes["links"]
    assert two.cycles < one.cycles / 100


def test_kernels_that_nodes_copy_take_room_at_each() -> None:
    """18 MiB of kernels fit two nodes of 10 MiB that divide them, and not where both need all."""
    room = {"arch.memory.tile_edram.size": "10 MiB", "arch.engine.nodes": 2}
    arch = load_arch("dadiannao", overrides=room)
    deep = network(Conv2d(K=1024, R=3, S=3, bias=False), shape=(1024, 4, 4))  # 4 steps of 256 channels, 2 rows
    many = network(Conv2d(K=256, R=3, S=3, bias=False), shape=(4096, 4, 4))  # one step: only rows can be divided
    divided, copied = (simulate(net, arch).layers[0].traffic_bytes["links"] for net in (deep, many))
    assert "weight" not in divided
    assert "weight" in copied


# ---- what must hold ---------------------------------------------------------------------------------------------

LAYERS = st.one_of(
    st.builds(
        lambda groups, k, c, size, stride: (
            Conv2d(K=k * groups, R=3, S=2, stride=stride, pad=1, groups=groups, bias=False), (c * groups, size, size)
        ),
        groups=st.sampled_from([1, 1, 2, 6]), k=st.integers(1, 40), c=st.integers(1, 20), size=st.integers(3, 9),
        stride=st.integers(1, 2),
    ),
    st.builds(lambda out, size: (Linear(out=out, bias=False), (size,)), st.integers(1, 300), st.integers(1, 100)),
    st.builds(lambda n, m, k: (Matmul(N=n), (m, k)), st.integers(1, 100), st.integers(1, 20), st.integers(1, 60)),
    st.just((Recurrent(op="lstm", hidden=24), (3, 20))),
)  # fmt: skip


@pytest.mark.slow
@given(LAYERS, st.sampled_from([2, 3, 4, 8, 12]), st.integers(1, 2), st.sampled_from([1, 3, 64]))
@settings(max_examples=40, deadline=None)
def test_the_same_bits_and_no_law_broken(case: tuple[Op, tuple[int, ...]], nodes: int, batch: int, rate: int) -> None:
    net = network(case[0], shape=case[1], batch=batch)
    small = {"arch.engine.unroll.K": 8, "arch.engine.arithmetic": None}
    several = small | {"arch.engine.nodes": nodes, "arch.engine.links.bandwidth": f"{rate} B/cycle"}
    one, all_ = (simulate_full(net, load_arch("dadiannao", overrides=keys), values=True) for keys in (small, several))
    assert np.array_equal(one.outputs["a"], all_.outputs["a"])
    ours, alone = all_.result.layers[0], one.result.layers[0]
    assert (ours.macs, ours.effective_macs) == (alone.macs, alone.effective_macs)
    assert ours.cycles == ours.busy_cycles + sum(ours.stall_cycles.values())
    assert ours.busy_cycles <= alone.busy_cycles
    assert ours.busy_cycles * nodes >= alone.busy_cycles
    heard = ours.traffic_bytes[NODE_LINKS]["input"].read if NODE_LINKS in ours.traffic_bytes else 0
    assert heard <= nodes * rate * ours.cycles


def test_links_cost_what_a_source_says() -> None:
    net = network(Linear(out=1024, bias=False), shape=(1024,))
    plain = simulate(net, dadiannao(4))
    said = [source for source in plain.energy_sources if source["component"] == NODE_LINKS]
    assert [source["status"] for source in said] == ["not costed"]
    assert NODE_LINKS not in plain.totals.energy_pj
    cost = {"pj": 2.0, "per": "bit", "source": "a test"}
    priced = simulate(net, load_arch("dadiannao", overrides={"arch.engine.nodes": 4, f"arch.energy.costs.{NODE_LINKS}": cost}))
    assert priced.totals.energy_pj[NODE_LINKS] == 2.0 * 8 * 4 * 3 * 512


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch.engine.links": None}, r"nodes is 4, and links is left out: give its bandwidth and latency"),
        ({"arch.engine.nodes": 0}, r"engine\.nodes: is 0, must be"),
        ({"arch.memory.central_edram.name": NODE_LINKS}, r'the name "node_links" is taken'),
    ],
)
def test_faults_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_arch("dadiannao", overrides={"arch.engine.nodes": 4} | changes)
