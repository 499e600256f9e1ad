"""The bound on a tiling: never above what is simulated, so never in the way of the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import accelsim
from accelsim.api import run_ready
from accelsim.errors import InfeasibleError, InputError, InvariantError
from accelsim.mapping.mapping import LayerMapping, MappingFile
from accelsim.sweep import tilings
from accelsim.sweep.inputs import Inputs, Point, Resolver
from accelsim.sweep.spec import Tilings, make_spec
from accelsim.sweep.values import parse_values

SMALL = st.integers(1, 6)


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    taps = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2]))
    pattern = {"weight": {"pattern": "2:4"}} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        return {"name": "l", "op": "linear", "in": draw(st.integers(1, 20)), "out": draw(st.integers(1, 20))} | pattern
    shape = [draw(SMALL) * groups, draw(st.integers(3, 8)), draw(st.integers(3, 8))]
    return {
        "name": "l", "op": "conv2d", "shape": shape, "K": draw(SMALL) * groups, "R": taps,
        "S": draw(st.integers(1, 3)), "stride": draw(st.integers(1, 2)), "pad": 1, "groups": groups,
    } | pattern  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    dataflow = draw(st.sampled_from(["ws", "os", "is"]))
    engine = {
        "kind": "systolic", "rows": draw(SMALL), "cols": draw(SMALL), "dataflow": dataflow,
        "weight_load": draw(st.sampled_from(["rows", "parallel"])), "weight_buffers": draw(st.sampled_from([1, 2])),
        "overlap": draw(st.sampled_from(["none", "skewed"])), "edge": draw(st.sampled_from(["full", "trim"])),
        "drain": draw(st.sampled_from(["rows", "cols", "parallel"])),
        "precision": {"int8": draw(st.sampled_from(["1", "1/2", "2"]))},
        "pipeline": {"hop": draw(st.integers(0, 2)), "multiplier": draw(st.integers(0, 2))},
    } | draw(st.sampled_from([{}, {"sparsity": {"n": 2, "m": 4}}, {"weight_tiles": "whole"}]))  # fmt: skip
    if draw(st.booleans()):
        engine = {
            "kind": "nfu", "unroll": {"C": draw(SMALL), "K": draw(SMALL), "P": draw(st.integers(1, 2))},
            "precision": {"int8": 1},
        }  # fmt: skip
    dram: dict[str, Any] = {"name": "dram", "latency": f"{draw(st.integers(0, 30))} cycles"}
    if draw(st.booleans()):
        dram["bandwidth"] = f"{draw(st.integers(1, 12))} B/cycle"
    holds = [["weight", "input", "output"]] if draw(st.booleans()) else [["weight"], ["input", "output"]]
    if engine["kind"] == "systolic" and draw(st.integers(0, 4)) == 0:
        holds = [["input", "output"]]
    sizes = st.sampled_from([None, "256 B", "1 KiB", "64 KiB"])
    levels = [{"name": f"b{i}", "holds": held, "slots": draw(st.integers(1, 3))} for i, held in enumerate(holds)]
    for level in levels:
        size = draw(sizes)
        level |= {"size": size} if size else {}
    return {
        "schema": "accelsim.arch/1", "name": "m", "clock": "1 GHz", "engine": engine, "memory": [dram, *levels],
        "energy": {"table": "none"},
    }  # fmt: skip


def inputs_of(folder: Path, layer: dict[str, Any], machine: dict[str, Any]) -> Inputs:
    network = {"schema": "accelsim.network/1", "name": "n", "batch": 4, "layers": [layer]}
    (folder / "n.yaml").write_text(yaml.safe_dump(network))
    (folder / "m.yaml").write_text(yaml.safe_dump(machine))
    paths = str(folder / "n.yaml"), str(folder / "m.yaml")
    return Resolver(make_spec([paths[0]], [paths[1]], {}, tilings="l")).inputs(Point(*paths))


def cycles_of(inputs: Inputs, found: tilings.Candidates, row: int) -> int:
    mapping = MappingFile(layers={"l": LayerMapping(**found.choice(row))})
    network, mapping = replace(inputs, mapping=mapping).ready()
    return run_ready(network, inputs.arch, mapping).result.totals.cycles


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(layers(), machines(), st.data())
def test_the_bound_is_never_above_the_simulated_cycles(
    tmp_path: Path, layer: dict[str, Any], machine: dict[str, Any], data: st.DataObject
) -> None:
    inputs = inputs_of(tmp_path, layer, machine)
    sizes = {dim: parse_values("1:9") for dim in data.draw(st.sets(st.sampled_from("NKCPQRS"), max_size=3))}
    orders = data.draw(st.sampled_from([(), ("K C", "C K P", "P R C K N Q S G")]))
    try:
        found = tilings.candidates(inputs, Tilings("l", sizes, orders))
    except InfeasibleError:
        return
    if not len(found):
        return
    for row in data.draw(st.lists(st.integers(0, len(found) - 1), max_size=12, unique=True)):
        try:
            cycles = cycles_of(inputs, found, row)
        except InvariantError:  # an engine's own matter
            continue
        assert found.bound[row] <= cycles, found.label(row)


SOME = {"P": [2, 4, 9], "Q": [9], "R": [3], "S": [3], "K": [4, 5, 8], "C": [2, 6]}


@pytest.mark.parametrize("top", [1, 4])
@pytest.mark.parametrize("changes", [
    {}, {"arch.engine.dataflow": "os"}, {"arch.engine.overlap": "none"}, {"arch.engine.weight_buffers": 1},
    {"arch.memory.dram.bandwidth": "64 B/cycle"},
])  # fmt: skip
def test_the_best_are_the_same_with_and_without_the_bound(
    files: tuple[str, str], changes: dict[str, Any], top: int
) -> None:
    space = {f"mapping.conv.tile.{dim}": sizes for dim, sizes in SOME.items()}
    options: Any = {"overrides": changes, "tilings": "conv", "top": top}
    bounded = accelsim.sweep(*files, space, **options)
    whole = accelsim.sweep(*files, space, bound=False, **options)
    assert bounded.counts["bounded"] > 0
    assert whole.counts["bounded"] == 0
    assert bounded.counts["points"] == whole.counts["points"] == len(whole) + whole.counts["illegal"]
    assert len(bounded) + bounded.counts["bounded"] == len(whole)
    assert bounded.best is not None
    assert whole.best is not None
    assert bounded.best | {"front_holds_for": "all columns"} == whole.best
    assert {row["front_holds_for"] for row in bounded.rows} == {"cycles"}
    best = [sorted(int(str(row["cycles"])) for row in table.rows)[:top] for table in (bounded, whole)]
    assert best[0] == best[1]


def test_a_row_is_what_simulate_says(files: tuple[str, str]) -> None:
    row = accelsim.sweep(*files, tilings="conv").best
    assert row is not None
    keys: dict[str, Any] = {f"mapping.conv.{key}": row[key] for key in tilings.TILE_KEYS}
    keys |= {"mapping.conv.order": str(row["order"]).split(), "mapping.conv.keep": str(row["keep"]).split()}
    result = accelsim.simulate(*files, layers=["conv"], overrides=keys)
    assert result.totals.cycles == row["cycles"]
    assert result.totals.traffic_bytes["dram"].read == row["dram_read_bytes"]
    assert result.totals.cycles <= accelsim.simulate(*files, layers=["conv"]).totals.cycles


@pytest.mark.slow
def test_tilings_beside_other_keys_and_in_processes(files: tuple[str, str], tmp_path: Path) -> None:
    space = {"arch.engine.rows": [2, 4], **{f"mapping.conv.tile.{dim}": sizes for dim, sizes in SOME.items()}}
    first = accelsim.sweep(*files, space, tilings="conv", store=tmp_path / "s.db")
    again = accelsim.sweep(*files, space, tilings="conv", store=tmp_path / "s.db")
    assert {row["arch.engine.rows"] for row in first.rows} == {2, 4}
    assert again.counts["simulated"] == 0
    assert accelsim.sweep(*files, space, tilings="conv", jobs=2).to_csv() == first.to_csv() == again.to_csv()


def test_a_bound_that_is_broken_is_told(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = tilings.candidates

    def wrong(*arguments: Any) -> tilings.Candidates:
        found = real(*arguments)
        return replace(found, bound=found.bound * 100)

    monkeypatch.setattr(tilings, "candidates", wrong)
    with pytest.raises(InvariantError, match="below its bound"):
        accelsim.sweep(*files, tilings="conv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tilings": "cnov"}, 'did you mean "conv"'),
        ({"tilings": "conv", "objective": "energy_total_pj"}, "only cycles, without limits, are bounded"),
        ({"tilings": "conv", "vary": {"mapping.conv.tile.K": [0, 2]}}, "at least 1"),
    ],
)
def test_faults(files: tuple[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        accelsim.sweep(*files, **options)
