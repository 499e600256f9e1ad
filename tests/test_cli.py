"""Do the commands print what they promise, end with the right status, and meet every fault without a traceback?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accelsim.cli import main

NETWORK = """\
schema: accelsim.network/1
name: tiny
layers:
  - {name: conv1, op: conv2d, shape: [3, 12, 12], K: 8, R: 3, S: 3, pad: 1}
  - {name: pool1, op: maxpool2d, window: 2}
  - {name: fc, op: linear, out: 10}
"""
ARCH = """\
schema: accelsim.arch/1
name: demo
clock: 700 MHz
engine: {kind: systolic, rows: 8, cols: 8}
vector: {lanes: 8}
memory:
  - {name: dram, bandwidth: 2 GB/s}
  - {name: buffer, size: 16 KiB, holds: [weight, input, output]}
energy: {table: 45nm}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder that holds ``net.yaml`` and ``arch.yaml``; gives status, output, errors."""
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(NETWORK)
    Path("arch.yaml").write_text(ARCH)

    def command(*words: str) -> tuple[int, str, str]:
        try:
            status = main(words)
        except SystemExit as stop:  # argparse's
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return command


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


# ---- what the commands do ---------------------------------------------------------------------------------------


def test_simulate_prints_a_table(run: Run) -> None:
    status, out, err = run("simulate", "net.yaml", "--arch", "arch.yaml")
    assert (status, err) == (0, "")
    for word in ("conv1", "pool1", "fc", "cycles", "utilization", "tiny on demo"):
        assert word in out
    assert files() == {"net.yaml", "arch.yaml"}


def test_json_alone_is_on_standard_output(run: Run) -> None:
    status, out, _ = run("simulate", "net.yaml", "--arch", "arch.yaml", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["schema"] == "accelsim.result/1"
    assert [layer["name"] for layer in result["layers"]] == ["conv1", "pool1", "fc"]


def test_notes_go_to_standard_error(run: Run) -> None:
    Path("bare.yaml").write_text(ARCH.replace("vector: {lanes: 8}\n", ""))
    status, out, err = run("simulate", "net.yaml", "--arch", "bare.yaml", "--json")
    assert status == 0
    json.loads(out)
    assert err.startswith("note: demo has no vector unit")


def test_out_writes_whole_files(run: Run) -> None:
    status, out, _ = run(
        "simulate", "net.yaml", "--arch", "arch.yaml", "--out", "results/run1", "--values", "--seed", "4"
    )
    assert status == 0
    assert files() - {"net.yaml", "arch.yaml"} == {
        f"results/run1/{name}" for name in ("report.json", "layers.csv", "outputs.npz")
    }
    assert "written to results/run1: layers.csv, outputs.npz, report.json" in out
    import numpy as np

    with np.load("results/run1/outputs.npz") as outputs:
        assert set(outputs.files) == {"conv1", "pool1", "fc"}
        assert outputs["fc"].shape == (1, 10)
    assert len(Path("results/run1/layers.csv").read_text().splitlines()) == 4


def test_the_same_inputs_give_the_same_bytes(run: Run) -> None:
    words = ["simulate", "net.yaml", "--arch", "arch.yaml", "--values", "--seed", "3", "--out"]
    run(*words, "a")
    run(*words, "b")
    first, second = (json.loads(Path(f"{folder}/report.json").read_text()) for folder in "ab")
    assert first.pop("provenance")["command"] != second.pop("provenance")["command"]
    assert json.dumps(first) == json.dumps(second)
    assert Path("a/layers.csv").read_bytes() == Path("b/layers.csv").read_bytes()
    import numpy as np

    with np.load("a/outputs.npz") as one, np.load("b/outputs.npz") as other:
        assert all((one[name] == other[name]).all() for name in one.files)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_order_of_hashing(run: Run) -> None:
    del run  # for its folder
    texts = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "accelsim.cli", "simulate", "net.yaml", "--arch", "arch.yaml", "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=60
        )
        texts.add(done.stdout)
    assert len(texts) == 1


def test_set_layer_batch_and_mapping(run: Run) -> None:
    Path("map.yaml").write_text("schema: accelsim.mapping/1\nlayers:\n  fc: {tile: {K: 2}, keep: [weight]}\n")
    words = [
        "--set",
        "arch.engine.rows=4",
        "--set",
        "arch.memory.dram.bandwidth=1 GB/s",
        "--layer",
        "fc",
        "--batch",
        "2",
        "--mapping",
        "map.yaml",
    ]
    status, out, _ = run("simulate", "net.yaml", "--arch", "arch.yaml", "--json", *words)
    (layer,) = json.loads(out)["layers"]
    assert status == 0
    assert layer["mapping"]["tile"]["K"] == 2
    assert layer["mapping"]["keep"] == ["weight"]
    assert layer["peak_macs_per_cycle"] == 32
    assert json.loads(out)["batch"] == 2


def test_explain(run: Run) -> None:
    status, out, err = run("explain", "net.yaml", "--arch", "arch.yaml", "--layer", "conv1")
    assert (status, err) == (0, "")
    assert "conv1" in out
    assert "buffer" in out


def test_compare_and_roofline(run: Run) -> None:
    from matplotlib import pyplot

    run("simulate", "net.yaml", "--arch", "arch.yaml", "--out", "a")
    run("simulate", "net.yaml", "--arch", "arch.yaml", "--set", "arch.engine.rows=4", "--out", "b")
    status, out, _ = run("compare", "a/report.json", "b/report.json")
    assert status == 0
    assert "cycles" in out
    status, out, err = run(
        "roofline", "a/report.json", "b/report.json", "-o", "f.svg", "--data", "f.csv", "--machine", "haswell"
    )
    assert (status, err) == (0, "")
    pyplot.close("all")
    assert Path("f.svg").read_text().startswith("<?xml")
    assert Path("f.csv").stat().st_size > 100


def test_check_passes_what_is_in_order(run: Run) -> None:
    Path("map.yaml").write_text("schema: accelsim.mapping/1\n")
    assert run("check", "net.yaml", "arch.yaml", "map.yaml") == (0, "3 files are in order\n", "")


@pytest.mark.parametrize("what", ["archs", "networks", "dataflows", "formats"])
def test_list(run: Run, what: str) -> None:
    status, out, _ = run("list", what)
    assert status == 0
    assert {"archs": "tpu_v1", "networks": "resnet50", "dataflows": "ws", "formats": "int"}[what] in out


@pytest.mark.parametrize("what", ["network", "arch", "mapping", "recipe", "sweep"])
def test_schema_is_json_schema(run: Run, what: str) -> None:
    status, out, _ = run("schema", what)
    assert status == 0
    assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.slow
def test_validate(run: Run) -> None:
    status, out, _ = run("validate", "tpu_v1", "--json")
    assert status == 0
    (outcome,) = json.loads(out)
    assert outcome["passed"] is True
    assert all(row["passed"] for row in outcome["rows"])
    assert any(row["bound"] for row in outcome["rows"])


def test_version_and_help(run: Run) -> None:
    assert run("--version")[0] == 0
    status, out, _ = run("--help")
    assert status == 0
    assert "simulate" in out


# ---- work that is well formed but cannot be done: status 1 ------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [
                "--set",
                "mapping.fc.tile.K=10",
                "--set",
                "mapping.fc.tile.C=288",
                "--set",
                "arch.memory.buffer.size=1 KiB",
            ],
            "layer fc: its tile in buffer: asks for",
        ),
        (
            ["--set", "workload.precision.weight=int16"],
            "the systolic engine's precision: asks for weight int16 x input int8, there is int8; try:",
        ),
        (["--set", "arch.memory.buffer.size=1 B"], "asks for"),
    ],
)
def test_infeasible_work_is_a_report(run: Run, words: list[str], message: str) -> None:
    status, out, err = run("simulate", "net.yaml", "--arch", "arch.yaml", "--out", "x", *words)
    assert (status, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("x").exists()


# ---- bad input: status 2, a line a fault ------------------------------------------------------------------------


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


NETWORK_FAULTS = [
    ("name: tiny", "name: [", "net.yaml:4:", "is not YAML"),
    ("K: 8", "KK: 8", "net.yaml:4:51: layers[0].KK: ", "unknown key"),
    ("pad: 1", "padd: 1", "net.yaml:4:69: layers[0].padd: ", 'did you mean "pad"?'),
    ("K: 8", "K: -8", "net.yaml:4:51: layers[0].K: ", "is -8, must be greater than 0"),
    ("K: 8", "K: 0", "net.yaml:4:51: layers[0].K: ", "is 0, must be greater than 0"),
    ("R: 3", "R: 30", "net.yaml:4:5: layers[0]: ", "window"),
    ("op: linear", "op: linearr", "net.yaml:6:16: layers[2].op: ", 'did you mean "linear"?'),
    ("out: 10", "out: 10, in: 4", "net.yaml:6:5: layers[2]: ", "in is 4, but its input [8, 6, 6] has 288 features"),
    ("window: 2", "window: 2, after: [fc]", "net.yaml:5:45: layers[1].after: ", "the layers form a cycle: "),
    ("window: 2", "window: 2, after: [conv]", "net.yaml:5:45: layers[1].after: ", '(did you mean "conv1"?)'),
    ("name: fc", "name: conv1", "net.yaml:6:6: layers[2].name: ", "already taken"),
    ("schema: accelsim.network/1", "schema: accelsim.net/1", "net.yaml:1:1: schema: ", "must be"),
    ("name: tiny", "name: tiny\nname: again", "net.yaml:3:1: name: ", "is given twice"),
    ("name: tiny", "name: tiny\nbatch: 0", "net.yaml:3:1: batch: ", "is 0, must be greater than 0"),
    ("name: tiny", "name: tiny\nprecision: {weight: int80}", "net.yaml:3:13: precision.weight: ", "is 'int80', must be int1"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "words"), NETWORK_FAULTS)
def test_faults_of_a_network(run: Run, old: str, new: str, place: str, words: str) -> None:
    Path("net.yaml").write_text(edited(NETWORK, old, new))
    for command in (["simulate", "net.yaml", "--arch", "arch.yaml", "--out", "x"], ["check", "net.yaml"]):
        status, out, err = run(*command)
        assert (status, out) == (2, "")
        assert any(line.startswith(place) and words in line for line in err.splitlines()), err
    assert files() == {"net.yaml", "arch.yaml"}


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("rows: 8", "row: 8", 'arch.yaml:4:26: engine.row: unknown key (did you mean "rows"?)'),
        (
            "700 MHz",
            "700 Mhz",
            "arch.yaml:3:1: clock: is '700 Mhz', must be a number with its unit, such as \"700 MHz\"",
        ),
        ("2 GB/s", "2 GB", "arch.yaml:7:18: memory[0].bandwidth: is '2 GB', must be a number with its unit"),
        ("16 KiB", "-16 KiB", "arch.yaml:8:20: memory[1].size: is '-16 KiB', must be a number with its unit"),
        ("16 KiB", "0 KiB", "arch.yaml:8:20: memory[1].size: is '0 KiB', must be greater than zero"),
    ],
)
def test_faults_of_an_architecture(run: Run, old: str, new: str, line: str) -> None:
    Path("arch.yaml").write_text(edited(ARCH, old, new))
    status, out, err = run("simulate", "net.yaml", "--arch", "arch.yaml")
    assert (status, out) == (2, "")
    assert any(found.startswith(line) for found in err.splitlines()), err


def test_faults_of_all_files_come_at_once(run: Run) -> None:
    Path("net.yaml").write_text(NETWORK.replace("K: 8", "K: 0").replace("out: 10", "out: -1"))
    Path("arch.yaml").write_text(ARCH.replace("rows: 8", "rows: 0"))
    Path("map.yaml").write_text("schema: accelsim.mapping/1\ndefault: {tile: {K: 0}}\n")
    status, _, err = run("simulate", "net.yaml", "--arch", "arch.yaml", "--mapping", "map.yaml")
    assert status == 2
    assert len(err.splitlines()) == 4
    assert run("check", "net.yaml", "arch.yaml", "map.yaml")[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.yaml", "--arch", "arch.yaml"], "none.yaml: no such file"),
        (["net.yaml", "--arch", "none.yaml"], "none.yaml: no such file"),
        (["net.yaml", "--arch", "arch.yaml", "--mapping", "none.yaml"], "none.yaml: no such file"),
        (["nonet", "--arch", "arch.yaml"], "nonet: is no network by name"),
        (["net.yaml", "--arch", "tpuv1"], 'tpuv1: is no architecture by name (did you mean "tpu_v1"?)'),
        ([".", "--arch", "arch.yaml"], ".: must end in .yaml, .yml, .onnx or .csv to be read as network"),
        (["net.txt", "--arch", "arch.yaml"], "net.txt: must end in .yaml, .yml, .onnx or .csv"),
        (["none.onnx", "--arch", "arch.yaml"], "none.onnx: no such file"),
        (["none.csv", "--arch", "arch.yaml"], "none.csv: no such file"),
        (["broken.onnx", "--arch", "arch.yaml"], "broken.onnx: "),
        (["net.yaml", "--arch", "arch.yaml", "--layer", "fcc"], "there is no layer 'fcc' (did you mean \"fc\"?)"),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arch.engine.row=3"], 'engine.row: unknown key (did you mean "rows"?)'),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arc.engine.rows=3"], 'arc.engine.rows: must be arch.KEY=VALUE'),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arch.engine.rows"], "must be arch.KEY=VALUE"),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arch.memory.dramm.size=3"], '(did you mean "dram"?)'),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arch.engine.rows=[1"], "--set: arch.engine.rows: is not YAML"),
        (["net.yaml", "--arch", "arch.yaml", "--set", "mapping.fcc.tile.K=3"], 'no layer of that name (did you mean "fc"?)'),
        (["net.yaml", "--arch", "arch.yaml", "--set", "mapping.fc.tile.KK=3"], "unknown key"),
        (["net.yaml", "--arch", "arch.yaml", "--set", "workload.batch=-1"], "batch: is -1, must be greater than 0"),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arch.name=[1]"], "name: is a list, must be a valid string"),
        (["net.yaml", "--arch", "arch.yaml", "--set", "arch.sha256=abc"], "sha256: unknown key"),
        (["net.yaml", "--arch", "arch.yaml", "--batch", "0"], "is '0', must be a whole number of at least 1"),
        (["net.yaml", "--arch", "arch.yaml", "--batch", "x"], "is 'x', must be a whole number of at least 1"),
        (["net.yaml", "--arch", "arch.yaml", "--seed", "-1", "--values"], "--seed"),
        (["net.yaml"], "--arch"),
        (["net.yaml", "--arch", "arch.yaml", "--wrong"], "--wrong"),
        (["net.yaml", "--arch", "arch.yaml", "--out", "net.yaml"], "net.yaml: cannot be written to"),
        (["net.yaml", "--arch", "arch.yaml", "--out", "net.yaml/x"], "net.yaml/x: cannot be written to"),
        (["net.yaml", "--arch", "arch.yaml", "--out", "/proc/none"], "/proc/none: cannot be written to"),
        (["net.yaml", "--arch", "arch.yaml", "--out", "x" * 300], "cannot be written to"),
    ],
)  # fmt: skip
def test_faults_of_the_command_line(run: Run, words: list[str], message: str) -> None:
    Path("net.txt").write_text(NETWORK)
    Path("broken.onnx").write_bytes(b"\x08\x07\x12\x04torch"[:7])
    before = files()
    status, out, err = run("simulate", *words)
    assert (status, out) == (2, "")
    assert message in err, err
    assert files() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(run: Run) -> None:
    Path("locked").mkdir(mode=0o500)
    status, _, err = run("simulate", "net.yaml", "--arch", "arch.yaml", "--out", "locked/x")
    assert status == 2
    assert "cannot be written to: Permission denied" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND"),
        (["simulat"], 'did you mean "simulate"?'),
        (["list", "archss"], 'did you mean "archs"?'),
        (["schema", "netwrk"], 'did you mean "network"?'),
        (["validate", "tpu"], 'tpu: is not known (did you mean "tpu_v1"?)'),
        (["check", "none.yaml"], "none.yaml: no such file"),
        (["check", "other.yaml"], "other.yaml:1:1: schema: is missing, must be"),
        (["compare", "none.json", "net.yaml"], "none.json: no such file"),
        (["roofline", "none.json", "-o", "f.pdf"], "none.json: no such file"),
        (["roofline", "net.yaml", "-o", "f.pdf"], "net.yaml:"),
        (["explain", "net.yaml", "--arch", "arch.yaml", "--layer", "x"], "there is no layer 'x'"),
        (["convert", "net.yaml", "-o", "x.yaml"], "net.yaml"),
        (["convert", "none.onnx", "-o", "x.yaml"], "none.onnx: no such file"),
    ],
)
def test_faults_of_the_other_commands(run: Run, words: list[str], message: str) -> None:
    Path("other.yaml").write_text("name: a\n")
    before = files()
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert message in err, err
    assert files() == before


def test_a_figure_of_an_unknown_kind_is_refused_before_anything_is_drawn(run: Run) -> None:
    run("simulate", "net.yaml", "--arch", "arch.yaml", "--out", "a")
    status, _, err = run("roofline", "a/report.json", "-o", "f.bmp")
    assert status == 2
    assert ".pdf" in err


def test_nothing_is_half_written_when_a_file_is_in_the_way(run: Run) -> None:
    Path("x").mkdir()
    Path("x/layers.csv").mkdir()  # cannot be replaced by a file
    status, _, err = run("simulate", "net.yaml", "--arch", "arch.yaml", "--out", "x")
    assert status == 2
    assert "x: cannot be written to" in err
    assert not Path("x/report.json").exists()
    assert not list(Path("x").glob(".*"))


def test_a_reader_that_goes_away_is_no_traceback(run: Run) -> None:
    del run  # for its folder
    words = [sys.executable, "-m", "accelsim.cli", "list", "networks"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert b"Traceback" not in errors


def test_any_file_for_any_argument_is_met_with_a_fault(run: Run) -> None:
    """Files of one kind where another is wanted."""
    Path("empty.yaml").write_text("")
    Path("binary.yaml").write_bytes(bytes(range(256)))
    Path("list.yaml").write_text("[1, 2]")
    wrong: list[Any] = ["empty.yaml", "binary.yaml", "list.yaml"]
    for name in wrong:
        assert run("simulate", name, "--arch", "arch.yaml")[0] == 2
        assert run("simulate", "net.yaml", "--arch", name)[0] == 2
        assert run("simulate", "net.yaml", "--arch", "arch.yaml", "--mapping", name)[0] == 2
        assert run("check", name)[0] == 2
    assert run("simulate", "arch.yaml", "--arch", "net.yaml")[0] == 2
