"""Exits and gates: is what is expected the sum of probability times cost, as worked out by hand?"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.analysis.expected import Spent, Stage, expected, leaves, probabilities
from accelsim.api import load_network, simulate
from accelsim.errors import InputError
from accelsim.frontends.writer import write_network
from accelsim.report.model import Result
from accelsim.sweep.inputs import network_id

NETWORK = """\
schema: accelsim.network/1
name: branches
layers:
  - {name: stem, op: linear, in: 64, out: 32}
  - {name: early, op: linear, out: 4, exit: 0.75}
  - {name: wide, op: linear, out: 64, after: [stem], gate: 0.5}
  - {name: late, op: linear, out: 4, exit: 0.5}
  - {name: tail, op: linear, out: 64, after: [wide]}
"""
MACS = {"stem": 2048, "early": 128, "wide": 2048, "late": 256, "tail": 4096}
ODDS = {"stem": 1, "early": 1, "wide": 0.125, "late": 0.25, "tail": 0.125}


def cost(cycles: float) -> Spent:
    return Spent(cycles=cycles, energy_pj=10 * cycles)


def test_two_exits_and_a_gate_by_hand() -> None:
    stages = [Stage("a", cost(100)), Stage("x", cost(10), exit=0.8), Stage("b", cost(200), gate=0.5)]
    stages += [Stage("y", cost(10), exit=0.5), Stage("c", cost(1000))]
    assert probabilities(stages) == pytest.approx([1, 1, 0.1, 0.2, 0.1])
    assert expected(stages).cycles == pytest.approx(100 + 10 + 20 + 2 + 100)
    ends = leaves(stages)
    assert [(end.after, end.spent.cycles) for end in ends] == [("x", 110), ("y", 220), ("", 1220)]
    assert [end.share for end in ends] == pytest.approx([0.8, 0.1, 0.1])


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=12))
def test_shares_add_up_and_weigh_what_is_expected(parts: list[tuple[float, float, float]]) -> None:
    stages = [Stage(str(i), cost(cycles), leave, gate) for i, (cycles, leave, gate) in enumerate(parts)]
    ends = leaves(stages)
    assert sum(end.share for end in ends) == pytest.approx(1)
    mean = expected(stages)
    for field in fields(Spent):
        weighed = sum(end.share * getattr(end.spent, field.name) for end in ends)
        assert weighed == pytest.approx(getattr(mean, field.name), abs=1e-6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "branches.yaml"
    file.write_text(NETWORK, encoding="utf-8")
    return file


@pytest.mark.parametrize("arch", ["tpu_v1", "eie"])
def test_a_network_with_exits_counts_its_full_run_and_says_what_is_expected(arch: str, path: Path) -> None:
    result = simulate(path, arch)
    mean = result.expected
    assert mean is not None
    assert result.totals.macs == sum(MACS.values())
    assert {layer.name: layer.probability for layer in result.layers} == ODDS
    assert mean.macs == sum(MACS[name] * p for name, p in ODDS.items())
    assert mean.cycles == pytest.approx(sum(layer.cycles * layer.probability for layer in result.layers))
    assert mean.energy_pj == pytest.approx(sum(y.energy_total_pj * y.probability for y in result.layers))
    assert [leave.after for leave in mean.leaves] == ["early", "late", ""]
    assert mean.leaves[0].cycles == result.layer("stem").cycles + result.layer("early").cycles
    text = result.summary()
    assert "expected" in text
    assert "75.0% leave after early" in text
    assert Result.from_json(result.to_json()) == result


def test_a_network_without_exits_expects_nothing(path: Path) -> None:
    path.write_text(NETWORK.replace(", exit: 0.75", "").replace(", exit: 0.5", "").replace(", gate: 0.5", ""), encoding="utf-8")
    result = simulate(path, "tpu_v1")
    assert result.expected is None
    assert {layer.probability for layer in result.layers} == {1.0}


def test_exits_are_written_and_are_part_of_what_a_network_is(path: Path, tmp_path: Path) -> None:
    network = load_network(path)
    again = tmp_path / "again.yaml"
    again.write_text(write_network(network), encoding="utf-8")
    assert [layer.odds for layer in load_network(again).layers] == [layer.odds for layer in network.layers]
    path.write_text(NETWORK.replace("0.75", "0.7"), encoding="utf-8")
    assert network_id(load_network(path)) != network_id(network)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.75", "1.5", "layers[1].exit: is 1.5, must be less than or equal to 1"),
        ("0.75", "-0.1", "layers[1].exit: is -0.1, must be greater than or equal to 0"),
        ("gate: 0.5", "gate: 0", "layers[2].gate: is 0, must be greater than 0"),
        ("gate: 0.5", "gate: .nan", "layers[2].gate: is .nan"),
        ("after: [wide]", "after: [wide], exit: 0.1", "layers[4].exit: is 0.1, but tail is the last layer that runs"),
    ],
)
def test_odds_that_cannot_be_are_named(old: str, new: str, message: str, path: Path) -> None:
    path.write_text(NETWORK.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_network(path)
    assert message in str(caught.value)
