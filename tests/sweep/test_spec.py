"""A sweep file says everything, and every fault of it has a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim.errors import InputError
from accelsim.sweep.spec import make_spec, parse_vary, read_spec

GOOD = """
schema: accelsim.sweep/1
name: all of it
network: [tiny.yaml]
arch: small.yaml
batch: 2
set: {arch.engine.dataflow: os}
vary:
  arch.engine.rows: pow2:4:8
  arch.engine.weight_buffers: {values: [1, 2], when: arch.engine.rows > 4}
  arch.engine.cols, arch.vector.lanes: [2, 4]
zip:
  - {arch.clock: [1 GHz, 2 GHz], workload.precision.weight: [int8, int8]}
where: [arch.engine.rows*arch.engine.cols <= 32, cycles <= 1e9]
objective: [cycles, "max:utilization"]
tilings: {layer: conv, tile: {K: divisors, C: "1:6"}, order: K C, keep: [[], [weight]], top: 3}
"""


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    spec = read_spec(tmp_path / "s.yaml")
    assert spec.networks == (str(tmp_path / "tiny.yaml"),)
    assert spec.keys == (
        "arch.engine.rows", "arch.engine.weight_buffers", "arch.engine.cols", "arch.vector.lanes", "arch.clock",
        "workload.precision.weight",
    )  # fmt: skip
    assert [str(limit) for limit in spec.limits] == ["cycles <= 1e9"]
    assert [str(objective) for objective in spec.objectives] == ["min:cycles", "max:utilization"]
    assert spec.tilings is not None
    assert spec.tilings.keep == ((), ("weight",))


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("pow2:4:8", "pow2:8:4"), "9:3", "must go up"),
        (("arch.engine.rows:", "arhc.engine.rows:"), "9:3", 'did you mean "arch"'),
        (("when: arch", "wehn: arch"), "10:", "known here: values, when"),
        (("arch.engine.rows > 4", "arch.engine.rows >"), "10:", "is no expression"),
        (("[1 GHz, 2 GHz]", "[1 GHz]"), "12:1", "as many values"),
        (("objective", "objectiv"), "15:1", 'did you mean "objective"'),
        (("[cycles,", "[open(1),"), "15:", "is not allowed"),
        (("top: 3", "top: 0"), "16:", "greater than 0"),
        (("sweep/1", "sweep/2"), "2:1", "must be"),
    ],
)
def test_faults_have_places(tmp_path: Path, change: tuple[str, str], place: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(GOOD.replace(*change))
    with pytest.raises(InputError) as caught:
        read_spec(tmp_path / "s.yaml")
    assert any(f"s.yaml:{place}" in str(fault) and message in str(fault) for fault in caught.value.faults), caught.value


def test_flags() -> None:
    spec = make_spec(["a"], ["b"], parse_vary(["arch.x,arch.y=[[1, 2], [3, 4]]"]), tilings="conv")
    assert [values.items for values in spec.space.axes[0].values] == [(1, 3), (2, 4)]
    with pytest.raises(InputError, match="must be KEY=VALUES"):
        parse_vary(["arch.x"])
    with pytest.raises(InputError, match="2 values in every item"):
        make_spec(["a"], ["b"], {"arch.x,arch.y": [[1, 2], [3]]})
