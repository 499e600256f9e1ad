"""Does the planner find the cheapest plan there is?"""

from __future__ import annotations

from itertools import chain as joined
from itertools import combinations
from typing import Any

import pytest
from builders import array, chain, one_buffer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accelsim.arch.spec import Architecture
from accelsim.course import Trials
from accelsim.engines.registry import engine_of
from accelsim.schedule.planner import cheapest_plan, least_cycles, price
from accelsim.schedule.residency import Plan, Tenants
from accelsim.workload.network import Network
from accelsim.workload.ops import Concat, Conv2d, Elementwise, Pool2d

MAPPER = 1 / 200  # so far less room may lead the mapper to something better, which no bound knows


def conv(channels: int) -> Conv2d:
    return Conv2d(K=channels, R=3, S=3, pad=1)


def branching(widths: tuple[int, int, int, int], batch: int = 1) -> Network:
    """Two branches that are added, one that is kept for later and joined."""
    a, b, c, d = (conv(width) for width in (*widths[:2], widths[1], widths[3]))
    return chain(
        ("a", a), ("b", b), ("c", c), ("sum", Elementwise(op="add")), ("pool", Pool2d(op="maxpool2d", window=2, stride=2)),
        ("d", d), ("cat", Concat()), ("e", conv(2)),
        inputs={"x": (2, 8, 8)}, batch=batch, after={"c": ("a",), "sum": ("b", "c"), "cat": ("pool", "d")},
    )  # fmt: skip


def machine(size: int, bandwidth: int = 2, **engine: Any) -> Architecture:
    return array(memory=one_buffer(f"{size} B", f"{bandwidth} B/cycle"), vector={"lanes": 4}, **engine)


def cost_of(network: Network, arch: Architecture, trials: Trials, plan: Plan) -> float:
    """What a plan costs in true cycles; infinite where it does not fit."""
    total = 0.0
    for layer in network.layers:
        counters = trials(layer, plan)
        if counters is None:
            return float("inf")
        moved = counters.traffic.get("dram", {}).values()
        total += price(counters.cycles, sum(t.read_bits + t.write_bits for t in moved), arch)
    return total


def every_plan(network: Network, arch: Architecture) -> list[Plan]:
    tenants = Tenants.of(network, arch)
    names = [storage.owner for storage in tenants.candidates()]
    sets = joined.from_iterable(combinations(names, count) for count in range(len(names) + 1))
    plans = [tenants.plan(frozenset(chosen)) for chosen in sets]
    return [p for p in plans if all(sum(v.reserved_bytes.values()) <= (tenants.room or 0) for v in p.placements.values())]


@pytest.mark.slow
@settings(max_examples=8)
@given(
    widths=st.tuples(*[st.integers(1, 12)] * 4), size=st.integers(400, 4000), bandwidth=st.sampled_from([1, 4, 32]),
    batch=st.integers(1, 2),
)  # fmt: skip
@example(widths=(1, 3, 1, 1), size=400, bandwidth=4, batch=1)  # fewer slots gain though nothing waits for memory
def test_no_plan_is_cheaper(widths: tuple[int, int, int, int], size: int, bandwidth: int, batch: int) -> None:
    network, arch = branching(widths, batch), machine(size, bandwidth)
    trials = Trials(arch, engine_of(arch))
    found = cheapest_plan(network, arch, trials)
    best = min(cost_of(network, arch, trials, plan) for plan in every_plan(network, arch))
    assert found.cost == pytest.approx(cost_of(network, arch, trials, found.plan))
    assert found.cost <= best * (1 + MAPPER)
    assert least_cycles(network, arch) <= best


def test_a_tensor_that_costs_more_than_it_saves_leaves() -> None:
    """With it on chip the layers beside it are cut so small that they fetch their operands many times over."""
    network = chain(("a", conv(4)), ("b", conv(64)), ("c", conv(64)), ("sum", Elementwise(op="add")), inputs={"x": (4, 16, 16)},
                    after={"c": ("b",), "sum": ("c", "c")})  # fmt: skip
    arch = machine(20_000, 8)
    trials = Trials(arch, engine_of(arch))
    greedy = Tenants.of(network, arch).plan(frozenset({"b"}))
    assert cheapest_plan(network, arch, trials).cost < cost_of(network, arch, trials, greedy)


def test_of_plans_as_fast_the_one_that_moves_less_is_taken() -> None:
    """Compute hides all traffic here, and a fetch still takes energy."""
    network, arch = chain(("a", conv(4)), ("b", conv(4)), inputs={"x": (4, 8, 8)}), machine(100_000, 1000)
    assert cheapest_plan(network, arch, Trials(arch, engine_of(arch))).plan.resident == {"a"}
