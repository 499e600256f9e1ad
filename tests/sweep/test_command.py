"""The commands ``sweep`` and ``search``: flags and files, tables, exit status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import accelsim
from accelsim.check import check_file
from accelsim.cli import main
from accelsim.errors import InputError
from accelsim.sweep.objective import Objective
from accelsim.sweep.store import Outcome
from accelsim.sweep.table import SweepTable, make_rows


def test_sweep_from_flags(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["sweep", files[0], "--arch", files[1], "--vary", "arch.engine.rows,arch.engine.cols=pow2:2:8"]
    line += ["--objective", "cycles", "--objective", "max:utilization", "--where", "arch.engine.rows < 8"]
    assert main([*line, "--out", str(tmp_path / "t.csv"), "--store", str(tmp_path / "s.db")]) == 0
    out = capsys.readouterr()
    assert out.err == ""
    assert "2 points: 2 ran; 2 simulated, 1 outside the constraints" in out.out
    assert (tmp_path / "t.csv").read_text().startswith("network,architecture,arch.engine.rows,arch.engine.cols,status")


def test_sweep_and_search_from_a_file(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(
        f"schema: accelsim.sweep/1\nnetwork: {files[0]}\narch: {files[1]}\nvary: {{arch.engine.rows: [2, 4]}}\n"
    )
    assert main(["sweep", str(tmp_path / "s.yaml")]) == 0
    pytest.importorskip("optuna")
    assert main(["search", str(tmp_path / "s.yaml"), "--trials", "3", "--sampler", "random"]) == 0
    assert "3 points: 3 ran" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [
    ["--seed", "5"], ["--seed", "0"], ["--batch", "4"], ["--set", "arch.clock=1GHz"], ["--layer", "conv"], ["--values"],
    ["--arch", "tpu_v1"], ["--vary", "arch.engine.cols=[2]"], ["--tilings", "conv"], ["--top", "3"], ["--no-bound"],
])  # fmt: skip
def test_a_flag_beside_a_file_is_refused_naming_both(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"schema: accelsim.sweep/1\nnetwork: {files[0]}\narch: {files[1]}\nseed: 1\n")
    assert main(["sweep", str(path), *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{path}:")
    assert flags[0] in said


def test_a_file_is_not_added_to_in_python(files: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"schema: accelsim.sweep/1\nnetwork: {files[0]}\narch: {files[1]}\nseed: 1\n")
    assert len(accelsim.sweep(path)) == 1
    with pytest.raises(InputError, match="seed: is 1 here, and seed gives 5"):
        accelsim.sweep(path, seed=5)


@pytest.mark.parametrize(("flags", "message"), [
    (["--batch", "4", "--vary", "workload.batch=1:3"], "workload.batch is varied, and --batch sets it to 4"),
    (["--set", "arch.clock=1GHz", "--vary", "arch.clock=[2 GHz]"], "arch.clock is varied, and --set sets it to 1GHz"),
    (["--set", "mapping.fc.tile.K=2", "--vary", "mapping.fc.tile=[{C: 2}]"], "--set sets mapping.fc.tile.K to 2"),
    (["--batch", "4", "--set", "workload.batch=3"], "--batch: is 4, and --set workload.batch is 3"),
    (["--vary", "mapping.fc.tile.K=[2]", "--vary", "mapping.fc.tile=[{C: 2}]"], "mapping.fc.tile: is varied twice"),
    (["--top", "2"], "--top: is of tilings"),
    (["--no-bound"], "--no-bound: is of tilings"),
    (["--tilings", "fc", "--layer", "conv"], "--layer: conv: is not looked at beside --tilings fc"),
    (["--tilings", "fc", "--set", "mapping.fc.order=K C"], "fc.order: is fixed by the mapping, and is what tilings try"),
])  # fmt: skip
def test_two_words_for_one_thing_are_refused(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["sweep", files[0], "--arch", files[1], *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_search_takes_no_tilings(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"schema: accelsim.sweep/1\nnetwork: {files[0]}\narch: {files[1]}\ntilings: {{layer: conv}}\n")
    assert main(["search", str(path), "--trials", "1"]) == 2
    assert "are tried by sweep" in capsys.readouterr().err


def test_tilings(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *files[:1], "--arch", files[1], "--tilings", "fc", "--top", "2"]) == 0
    assert "bounded away" in capsys.readouterr().out


def test_status(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["sweep", files[0], "--arch", files[1]]
    assert main([*sweep, "--set", "arch.memory.buffer.size=4 B", "--vary", "arch.engine.rows=[2]"]) == 1
    assert "asks for" in capsys.readouterr().out
    assert main(["sweep", files[0]]) == 2
    assert main([*sweep, "--vary", "arch.engine.rows=8:4", "--vary", "x=1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert main([*sweep, "--vary", "arch.engine.rows=[2]", "--out", str(tmp_path / "t.txt")]) == 2
    assert "must end in .csv or .parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "words", "needs"),
    [("distributed", ["--scheduler", "tcp://127.0.0.1:1"], "Dask"), ("pyarrow", ["--out", "t.parquet"], "pyarrow")],
)
def test_what_is_not_installed(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    package: str, words: list[str], needs: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["sweep", files[0], "--arch", files[1], "--vary", "arch.engine.rows=[2]", *words]) == 2
    assert f"needs {needs}: pip install" in capsys.readouterr().err


def test_says_which_of_many_points_are_shown(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    line = ["sweep", files[0], "--arch", files[1], "--vary", "arch.engine.rows=[2, 4]"]
    assert main([*line, "--objective", "cycles", "--objective", "max:utilization"]) == 0
    assert "that no other beats in everything; all rows: --out FILE.csv" in capsys.readouterr().out
    assert main([*line[:4], "--objective", "cycles"]) == 0
    assert capsys.readouterr().out.startswith("1 point: ")


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_in_order(path: Path) -> None:
    assert check_file(path) == []


def test_check_knows_sweep_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text(
        "schema: accelsim.sweep/1\nnetwork: lenet5\narch: tpu_v1\nvary:\n  archh.engine.rows: [1, 2]\n"
        'objective: [cycles, "max:"]\n'
    )
    assert main(["check", str(tmp_path / "s.yaml")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{tmp_path}/s.yaml:5:3: vary.archh.engine.rows: is no key")
    assert second.startswith(f"{tmp_path}/s.yaml:6:21: objective[1]: is ''")


def test_a_front_is_of_one_network() -> None:
    labels = [{"network": network, "k": k} for network in ("small", "large") for k in (1, 2, 3)]
    costs = [(1, 9), (2, 5), (3, 6), (10, 90), (20, 50), (30, 60)]
    outcomes = [Outcome("ok", "", {"cycles": cycles, "energy_total_pj": energy}) for cycles, energy in costs]
    goals = (Objective.parse("cycles"), Objective.parse("energy_total_pj"))
    table = SweepTable(("k",), make_rows(labels, outcomes, ("k",)), {}, goals)
    assert [(row["network"], row["k"]) for row in table.front] == [("small", 1), ("small", 2), ("large", 1), ("large", 2)]
