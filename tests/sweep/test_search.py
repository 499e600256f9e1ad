"""Searches look at points of the space, keep what they promise to keep, and go on where they stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import accelsim
from accelsim.cli import main
from accelsim.errors import InfeasibleError, InputError
from accelsim.sweep.show import print_sweep
from accelsim.sweep.store import Outcome
from accelsim.sweep.table import SweepTable, make_rows
from accelsim.yaml_io import load_document

pytest.importorskip("optuna")
EXAMPLES = Path(__file__).parents[2] / "examples" / "search"
SPACE: dict[str, Any] = {
    "arch.engine.rows": "pow2:1:8",
    "arch.engine.cols": "1:8",
    "arch.engine.dataflow": ["ws", "os"],
    "arch.engine.weight_buffers": {"values": [1, 2], "when": "arch.engine.dataflow == 'ws'"},
    "mapping.conv.tile.K": "divisors",
}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes", "random"])
def test_trials_are_points_of_the_space(files: tuple[str, str], sampler: str) -> None:
    where = ["arch.engine.rows*arch.engine.cols <= 32"] + (["cycles <= 9000"] if sampler in ("tpe", "nsga2") else [])
    table = accelsim.search(*files, SPACE, trials=8, sampler=sampler, where=where)
    again = accelsim.search(*files, SPACE, trials=8, sampler=sampler, where=where)
    assert len(table) == 8
    assert table.to_csv() == again.to_csv()
    for row in table.rows:
        assert int(str(row["arch.engine.rows"])) * int(str(row["arch.engine.cols"])) <= 32
        assert (row["arch.engine.weight_buffers"] is None) == (row["arch.engine.dataflow"] == "os")
        assert row["mapping.conv.tile.K"] in (1, 2, 5, 10)
        if row["status"] == "ok":
            overrides = {key: row[key] for key in SPACE if row[key] is not None}
            assert accelsim.simulate(*files, overrides=overrides).totals.cycles == row["cycles"]


def test_a_grid_visits_every_point_once(files: tuple[str, str]) -> None:
    space = {"arch.engine.rows": [2, 4], "arch.engine.dataflow": ["ws", "os", "is"]}
    table = accelsim.search(*files, space, trials=50, sampler="grid")
    swept = accelsim.sweep(*files, space)
    assert len(table) == len(swept) == 6
    assert table.best is not None
    assert swept.best is not None
    assert table.best["cycles"] == swept.best["cycles"]


@pytest.mark.slow
def test_several_objectives_and_a_study_that_goes_on(files: tuple[str, str], tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "objective": ["cycles", "max:utilization"],
        "store": str(tmp_path / "s.db"),
        "study": "a",
    }
    first = accelsim.search(*files, SPACE, trials=5, **options)
    second = accelsim.search(*files, SPACE, trials=5, **options)
    assert len(second.study.trials) == 10
    assert [row["trial"] for row in second.rows] == [5, 6, 7, 8, 9]
    assert first.front
    fresh = accelsim.search(*files, SPACE, trials=5, store=f"sqlite:///{tmp_path}/s.db", study="b")
    assert len(fresh.study.trials) == 5
    with pytest.raises(InputError, match="holds a study that goes for"):
        accelsim.search(*files, SPACE, trials=1, objective="cycles", store=options["store"], study="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "tpee"}, 'did you mean "tpe"'),
        ({"sampler": "cmaes", "objective": ["cycles", "seconds"]}, "takes one objective"),
        ({"store": "/no/such/folder/s.db"}, "cannot be used"),
        ({"objective": "cyclse"}, 'did you mean "cycles"'),
    ],
)
def test_faults(files: tuple[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        accelsim.search(*files, SPACE, trials=2, **options)


# ---- a function instead of a simulation ----------------------------------------------------------------------------


def test_a_function_gives_the_figures() -> None:
    tried: list[dict[str, Any]] = []

    def measure(point: Any) -> dict[str, Any]:
        tried.append(dict(point))
        if point["a"] == 3:
            raise InfeasibleError("a", demand="3", bound="anything else", levers=("turn a",))
        return {"cost": (point["a"] - 5) ** 2 + (point["b"] == "slow"), "size": point["a"]}

    table = accelsim.search(
        measure, vary={"a": "0:9", "b": ["fast", "slow"]}, objective="cost", where=["a != 7", "size <= 4"], trials=99,
        sampler="grid",
    )  # fmt: skip
    assert {row["a"] for row in table.rows} == {0, 1, 2, 3, 4, 5, 6, 8, 9}
    assert len(tried) == len(table) == 18  # nothing twice, and nothing outside
    assert {row["a"] for row in table.rows if row["status"] == "infeasible"} == {3}
    assert {row["a"] for row in table.rows if row["status"] == "over_limit"} == {5, 6, 8, 9}
    assert table.best is not None
    assert (table.best["a"], table.best["b"], table.best["cost"]) == (4, "fast", 1)
    assert table.to_csv().splitlines()[0] == "trial,a,b,status,reason,cost,size"


def test_what_a_function_raises_is_the_users_to_see() -> None:
    def broken(point: Any) -> dict[str, Any]:
        raise ZeroDivisionError(point["a"])

    with pytest.raises(ZeroDivisionError):
        accelsim.search(broken, vary={"a": "0:9"}, objective="cost", trials=2)
    with pytest.raises(InputError, match=r'objective: coast: is no column of the results.*"cost"'):
        accelsim.search(lambda _: {"cost": 1}, vary={"a": "0:9"}, objective="coast", trials=2)
    with pytest.raises(InputError, match="divisors are of a layer's dimension"):
        accelsim.search(lambda _: {"cost": 1}, vary={"a": "divisors"}, objective="cost", trials=2)


# ---- the examples ----------------------------------------------------------------------------------------------------


def test_the_example_of_array_and_tiling_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(EXAMPLES / "array_and_tiling.yaml"), "--trials", "2", "--sampler", "random"]) == 0
    assert capsys.readouterr().out.startswith("2 points")


def swept(name: str, vary: dict[str, Any]) -> accelsim.sweep.SweepTable:
    """An example's network, machine and recipe at a few points of one's own."""
    file = load_document(EXAMPLES / f"{name}.yaml").data
    recipe = EXAMPLES / file["recipe"]
    return accelsim.sweep(file["network"], file["arch"], vary, overrides=file.get("set"), recipe=recipe)


def test_fewer_bits_cost_less_and_are_worth_less() -> None:
    keys = ",".join(f"compression.quantize.by_layer.{layer}.weights.bits" for layer in ("conv1", "conv2", "fc1", "fc2"))
    wide, narrow = swept("mixed_precision", {keys: [8, 2]}).rows
    assert float(narrow["seconds"]) < float(wide["seconds"]) / 2
    assert float(narrow["stored_weight_bits"]) < float(wide["stored_weight_bits"]) / 2
    assert float(narrow["accuracy"]) < float(wide["accuracy"]) - 0.05


def test_fewer_channels_are_fewer_macs() -> None:
    keys = ",".join(f"compression.passes.{number}.density" for number in range(3))
    whole, half = swept("channel_pruning", {keys: [1.0, 0.5]}).rows
    assert half["macs"] == 64 * 9 * 8 + 16 * 9 * 8 * 16 + 16 * 4 * 32 + 32 * 10
    assert float(half["macs"]) < float(whole["macs"]) / 2
    assert 0.2 < float(half["accuracy"]) < float(whole["accuracy"])


def test_a_table_shows_a_point_once_and_keys_that_move_together_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome("ok", "", {"cycles": cycles}) for cycles in (3, 1, 3)]
    labels = [{"trial": i, "arch.engine.rows": r, "arch.engine.cols": r} for i, r in enumerate((4, 8, 4))]
    keys = ("trial", "arch.engine.rows", "arch.engine.cols")
    print_sweep(SweepTable(keys, make_rows(labels, outcomes, keys), {"points": 3}), Console())
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown == [["3", "points:"], ["rows,"], ["trial", "cols", "cycles"], ["1", "8", "1"], ["0", "4", "3"]]


def test_an_interrupted_search_says_what_is_kept(tmp_path: Path) -> None:
    def measure(point: Any) -> dict[str, Any]:
        if len(tried) == 3:
            raise KeyboardInterrupt
        tried.append(point)
        return {"cost": point["a"]}

    tried: list[Any] = []
    store = str(tmp_path / "s.db")
    with pytest.raises(KeyboardInterrupt, match=r"interrupted: \d of 9 trials are done, kept in .*s\.db"):
        accelsim.search(measure, vary={"a": "0:99"}, objective="cost", trials=9, store=store)
    tried = []
    assert len(accelsim.search(measure, vary={"a": "0:99"}, objective="cost", trials=2, store=store).study.trials) >= 5
    with pytest.raises(KeyboardInterrupt, match="lost: use --store FILE"):
        accelsim.search(measure, vary={"a": "0:99"}, objective="cost", trials=9)
