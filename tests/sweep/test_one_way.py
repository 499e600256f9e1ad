"""One way to run a layer: whatever a sweep, a search or `tilings` says of a point is what `simulate` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import accelsim
from accelsim.errors import InfeasibleError, InputError
from accelsim.report.rows import total_counters
from accelsim.sweep.tilings import TILE_KEYS

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
ORDERS = ["K C", "C K P Q", "N P Q G R S C K"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points")


def written(folder: Path, name: str, data: Mapping[str, Any]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(data)))
    return str(path)


def architecture(name: str, engine: Mapping[str, Any], size: str = "2 KiB", clock: str = "1 GHz") -> dict[str, Any]:
    memory = [
        {"name": "dram", "bandwidth": "4 B/cycle", "latency": "20 cycles"},
        {"name": "buffer", "size": size, "bandwidth": "16 B/cycle", "holds": ["weight", "input", "output"]},
    ]
    block = {"precision": {"int8": 1, "int4": 2, "int16": "1/2"}, **engine}
    return {"schema": "accelsim.arch/1", "name": name, "clock": clock, "engine": block, "memory": memory,
            "vector": {"lanes": 4, "inline": ["relu"]}, "energy": {"table": "45nm", "dram": "LPDDR4"}}  # fmt: skip


SYSTOLIC = {"kind": "systolic", "rows": 4, "cols": 4, "weight_buffers": 2, "overlap": "skewed"}
ENGINES: list[dict[str, Any]] = [
    SYSTOLIC,
    {**SYSTOLIC, "sparsity": {"n": 2, "m": 4}, "weight_buffers": 1},
    {"kind": "nfu", "unroll": {"C": 4, "K": 4}},
]
OTHERS = ["eie", "other.yaml"]


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    shape = [draw(st.sampled_from([4, 6])), draw(st.integers(4, 8)), draw(st.integers(4, 8))]
    pattern = draw(st.sampled_from([{}, {"weight": {"pattern": "2:4"}}, {"weight": {"density": 0.4}}]))
    conv = {"name": "conv", "op": "conv2d", "shape": shape, "K": draw(st.sampled_from([4, 10])), "R": 3, "S": 3, "pad": 1}
    algorithm = {} if pattern else draw(st.sampled_from([{}, {"algorithm": "winograd_f2x2"}]))
    layers = [conv | algorithm | pattern, {"name": "relu", "op": "relu"}, {"name": "fc", "op": "linear", "out": 12} | pattern]
    return {"schema": "accelsim.network/1", "name": "n", "layers": layers}


@st.composite
def mappings(draw: st.DrawFn) -> dict[str, Any]:
    engine = draw(st.sampled_from([None, None, *OTHERS]))
    fixed = draw(st.sampled_from([{}, {"tile": {"K": 4}}, {"order": "C K", "keep": ["weight"]}]))
    return {"schema": "accelsim.mapping/1", "layers": {"fc": fixed | ({"engine": engine} if engine else {})}}


SPACE: dict[str, list[Any]] = {
    "workload.batch": [1, 2, 3],
    "workload.precision.weight": ["int8", "int4"],
    "arch.engine.rows": [2, 4],
    "arch.engine.dataflow": ["ws", "os", "is"],
    "arch.engine.unroll.K": [2, 4],
    "arch.memory.buffer.size": ["64 B", "512 B", "8 KiB"],
    "arch.memory.dram.bandwidth": ["1 B/cycle", "32 B/cycle"],
    "mapping.conv.tile.K": [1, 4, 10],
    "mapping.fc.tile": [{"C": 8, "K": 3}, {"N": 1}],
    "mapping.fc.order": ORDERS,
    "mapping.conv.keep": [[], ["weight"], ["input", "weight"]],
    "mapping.fc.dataflow": ["ws", "os", "is"],
    "mapping.fc.unroll": [{"C": 2, "K": 8}, {"K": 4}],
    "mapping.default.tile.C": [2, 6],
}


def told(*arguments: Any, **options: Any) -> tuple[str, Any]:
    """What `simulate` says: its totals as columns, or why there are none."""
    try:
        return "ok", total_counters(accelsim.simulate(*arguments, **options).totals)
    except InfeasibleError as error:
        return "infeasible", str(error)
    except InputError:
        return "illegal", None


def check_rows(rows: list[dict[str, Any]], keys: list[str], *arguments: Any, **options: Any) -> None:
    for row in rows:
        overrides = {key: row[key] for key in keys if row[key] is not None}
        status, said = told(*arguments, overrides=overrides, **options)
        assert row["status"] == status, overrides
        if status == "ok":
            assert {column: row[column] for column in said} == said, overrides
        elif status == "infeasible":
            assert row["reason"] == said, overrides


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(networks(), st.sampled_from(ENGINES), mappings(), st.data())
def test_a_point_of_a_sweep_is_what_simulate_says(
    folder: Path, network: dict[str, Any], engine: dict[str, Any], mapping: dict[str, Any], data: st.DataObject
) -> None:
    written(folder, "other", architecture("other", SYSTOLIC, clock="700 MHz"))
    inputs = written(folder, "n", network), written(folder, "a", architecture("a", engine))
    foreign = {"arch.engine.unroll.K"} if engine["kind"] == "systolic" else {"arch.engine.rows", "arch.engine.dataflow"}
    keys = data.draw(st.lists(st.sampled_from(sorted(SPACE.keys() - foreign)), min_size=1, max_size=3, unique=True))
    options: dict[str, Any] = {
        "mapping": written(folder, "m", mapping), "layers": data.draw(st.sampled_from([(), ("fc",), ("conv", "relu")])),
        "values": data.draw(st.sampled_from([False, False, True])), "seed": data.draw(st.integers(0, 2)),
    }  # fmt: skip
    try:
        table = accelsim.sweep(*inputs, {key: SPACE[key] for key in keys}, **options)
    except InputError:  # no point is legal, or a key is unknown here
        return
    check_rows(table.rows, keys, *inputs, **(options | {"layers": options["layers"] or None}))


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(networks(), st.sampled_from(ENGINES), mappings(), st.sampled_from(["conv", "fc"]), st.sampled_from([1, 3]))
def test_a_tiling_is_what_simulate_says(
    folder: Path, network: dict[str, Any], engine: dict[str, Any], mapping: dict[str, Any], layer: str, batch: int
) -> None:
    mapping = mapping | {"layers": {"fc": {k: v for k, v in mapping["layers"]["fc"].items() if k == "engine"}}}
    written(folder, "other", architecture("other", SYSTOLIC, clock="700 MHz"))
    inputs = written(folder, "n", network), written(folder, "a", architecture("a", engine))
    options: dict[str, Any] = {"mapping": written(folder, "m", mapping), "batch": batch}
    space = {f"mapping.{layer}.tile.{dim}": [3, 8] for dim in "NKCPQRS"}
    try:
        table = accelsim.sweep(*inputs, space, tilings=layer, **options)
    except (InfeasibleError, InputError):  # an engine that follows no mapping
        return
    assert table.rows
    for row in table.rows[:: max(1, len(table) // 4)]:
        keys = {f"mapping.{layer}.{key}": row[key] for key in TILE_KEYS}
        keys |= {f"mapping.{layer}.{key}": str(row[key]).split() for key in ("order", "keep")}
        status, said = told(*inputs, layers=[layer], overrides=keys, **options)
        assert status == row["status"]
        if status == "ok":
            assert {column: row[column] for column in said} == said
            assert int(str(row["bound_cycles"])) <= said["cycles"]


def test_a_trial_of_a_search_is_what_simulate_says(folder: Path) -> None:
    pytest.importorskip("optuna")
    network = {"schema": "accelsim.network/1", "name": "n", "layers": [
        {"name": "fc", "op": "linear", "in": 40, "out": 12, "weight": {"pattern": "2:4"}},
    ]}  # fmt: skip
    inputs = written(folder, "n", network), written(folder, "a", architecture("a", ENGINES[1]))
    keys = ["arch.engine.rows", "mapping.fc.order", "mapping.fc.keep", "workload.batch"]
    space = {**SPACE, "mapping.fc.keep": SPACE["mapping.conv.keep"]}
    table = accelsim.search(*inputs, {key: space[key] for key in keys}, trials=12, sampler="random")
    check_rows(table.rows, keys, *inputs)


NM = {"tile": {"N": 1, "K": 64, "C": 64, "P": 1, "Q": 1, "R": 1, "S": 1, "G": 1}, "order": "G N P Q K C R S",
      "dataflow": "ws", "keep": []}  # fmt: skip


def test_weights_pruned_to_n_of_m_under_a_whole_mapping(folder: Path) -> None:
    """Half the folds of dense weights, in a sweep as well; and the best tiling is found by a bound that knows it."""
    network = {"schema": "accelsim.network/1", "name": "one", "layers": [
        {"name": "fc", "op": "linear", "shape": [256], "out": 256, "weight": {"pattern": "2:4"}},
    ]}  # fmt: skip
    machine = {
        "schema": "accelsim.arch/1", "name": "sparse24", "clock": "200 MHz",
        "engine": {"kind": "systolic", "rows": 8, "cols": 8, "sparsity": {"n": 2, "m": 4}, "precision": {"int8": 1}},
        "memory": [{"name": "dram", "bandwidth": "1.6 GB/s"},
                   {"name": "buffer", "size": "256 KiB", "holds": ["input", "output", "weight"]}],
        "energy": {"table": "45nm", "dram": "LPDDR4"},
    }  # fmt: skip
    inputs = written(folder, "nm", network), written(folder, "nm_arch", machine)
    fixed = written(folder, "nm_map", {"schema": "accelsim.mapping/1", "layers": {"fc": NM}})
    swept = accelsim.sweep(*inputs, mapping=fixed).rows[0]["cycles"]
    assert swept == accelsim.simulate(*inputs, mapping=fixed).totals.cycles
    best = accelsim.sweep(*inputs, tilings="fc").best
    assert best is not None
    assert int(str(best["cycles"])) <= min(int(str(swept)), accelsim.simulate(*inputs).totals.cycles)
