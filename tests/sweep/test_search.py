"""Searches look at points of the space, keep what they promise to keep, and go on where they stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import accelsim
from accelsim.errors import InputError

pytest.importorskip("optuna")
SPACE: dict[str, Any] = {
    "arch.engine.rows": "pow2:1:8",
    "arch.engine.cols": "1:8",
    "arch.engine.dataflow": ["ws", "os"],
    "arch.engine.weight_buffers": {"values": [1, 2], "when": "arch.engine.dataflow == 'ws'"},
    "mapping.conv.tile.K": "divisors",
}


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
