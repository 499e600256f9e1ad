"""Sweeps over keys of a recipe: rows that differ, equal to compressing and simulating apart, known again by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.api import simulate
from accelsim.cli import main
from accelsim.compression.compress import compress
from accelsim.sweep import sweep

ROOT = Path(__file__).parents[2]
RECIPE = """\
schema: accelsim.recipe/1
calibration: {file: data.npz, array: calibration}
test: {file: data.npz, array: images, labels: labels}
passes:
  - {kind: prune, density: 0.9}
  - {kind: quantize}
  - {kind: encode, index_bits: 4}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    with np.load(ROOT / "workloads" / "digits_data.npz") as data:
        few = {"calibration": data["calibration_images"][:16], "images": data["test_images"][:50]}
        np.savez(tmp_path / "data.npz", **few, labels=data["test_labels"][:50])
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


VARY = {"compression.prune.density": "[0.05, 0.5]"}


def test_rows_are_those_of_compressing_and_simulating_apart(recipe: Path) -> None:
    table = sweep("digits", "eie", VARY, recipe=recipe)
    for row, density in zip(table.rows, (0.05, 0.5), strict=True):
        made = compress("digits", recipe, overrides={"compression.prune.density": density})
        totals = simulate(made.network, "eie").totals
        assert (row["cycles"], row["energy_total_pj"]) == (totals.cycles, totals.energy_total_pj)
        assert row["accuracy"] == made.accuracy_after
        assert row["stored_weight_bits"] == sum(size.total_bits for size in made.sizes)
    few, many = table.rows
    assert few["energy_total_pj"] < many["energy_total_pj"]  # type: ignore[operator]
    assert few["accuracy"] < many["accuracy"]  # type: ignore[operator]


def test_a_point_that_is_in_the_store_is_not_even_compressed(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.db"
    first = sweep("digits", "tpu_v1", VARY, recipe=recipe, store=store)

    def compressed_again(*_: object, **__: object) -> None:
        raise AssertionError("compressed again")

    monkeypatch.setattr("accelsim.compression.compress.compress", compressed_again)
    assert sweep("digits", "tpu_v1", VARY, recipe=recipe, store=store).rows == first.rows


def test_a_store_knows_a_point_by_the_recipe_and_its_data(recipe: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    first = sweep("digits", "tpu_v1", VARY, recipe=recipe, store=store)
    again = sweep("digits", "tpu_v1", VARY, recipe=recipe, store=store)
    assert (first.counts["simulated"], again.counts["simulated"]) == (2, 0)
    assert first.rows == again.rows
    with np.load(tmp_path / "data.npz") as data:
        np.savez(tmp_path / "data.npz", **{**data, "labels": (data["labels"] + 1) % 10})
    other = sweep("digits", "tpu_v1", VARY, recipe=recipe, store=store)
    assert other.counts["simulated"] == 2
    assert other.rows[1]["accuracy"] != first.rows[1]["accuracy"]


def test_objectives_and_constraints_know_recipes_and_accuracy(recipe: Path) -> None:
    table = sweep(
        "digits", "tpu_v1", {"compression.prune.density": "[0.05, 0.5, 1.0]"}, recipe=recipe,
        where=["compression.prune.density <= 0.6", "compression.encode.index_bits == 4", "accuracy >= 0.5"],
        objective="stored_weight_bits",
    )  # fmt: skip
    assert table.counts["excluded"] == 1
    assert table.best is not None
    assert table.best["compression.prune.density"] == 0.5
    assert table.rows[0]["status"] == "over_limit"


def test_flags_and_files_say_the_same(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["sweep", "digits", "--arch", "eie", "--recipe", str(recipe), "--vary", "compression.prune.density=[0.05,0.5]"]
    assert main([*flags, "--out", str(tmp_path / "flags.csv")]) == 0
    (tmp_path / "s.yaml").write_text(
        "schema: accelsim.sweep/1\nnetwork: digits\narch: eie\nrecipe: r.yaml\nvary: {compression.prune.density: [0.05, 0.5]}\n",
        encoding="utf-8",
    )
    assert main(["sweep", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "file.csv"), "--jobs", "2"]) == 0
    capsys.readouterr()
    assert (tmp_path / "flags.csv").read_bytes() == (tmp_path / "file.csv").read_bytes()


def test_a_density_that_cannot_be_is_a_point_that_is_illegal(recipe: Path) -> None:
    table = sweep("digits", "tpu_v1", {"compression.prune.density": "[0.5, 1.5]"}, recipe=recipe)
    assert [row["status"] for row in table.rows] == ["ok", "illegal"]
    assert "less than or equal to 1" in str(table.rows[1]["reason"])


def test_expected_costs_are_columns_of_a_network_with_exits(tmp_path: Path) -> None:
    network = tmp_path / "n.yaml"
    network.write_text(
        "schema: accelsim.network/1\nname: n\nlayers:\n  - {name: a, op: linear, in: 64, out: 64, exit: 0.5}\n"
        "  - {name: b, op: linear, out: 64}\n",
        encoding="utf-8",
    )
    table = sweep(network, "tpu_v1", {"workload.layers.a.exit": "[0.25, 0.5, 1.0]"}, objective="expected_macs")
    assert [row["expected_macs"] for row in table.rows] == [4096 * 1.75, 4096 * 1.5, 4096]
    assert {row["macs"] for row in table.rows} == {8192}
    assert table.best is table.rows[2]
