"""Every input has a bound: what lies beyond it is refused with a sentence, at once and in little memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from builders import ROOT

import accelsim
from accelsim.cli import main
from accelsim.errors import InputError
from accelsim.formats import read_matrix
from accelsim.workload.array_files import read_array

HUGE = [
    ("tpu_v1", "arch.engine.pipeline.hop=1000000000", "1024"),
    ("tpu_v1", "arch.engine.pipeline.multiplier=1000000000", "1024"),
    ("tpu_v1", "arch.engine.rows=1000000000", "65536"),
    ("tpu_v1", "arch.engine={kind: systolic, rows: 8192, cols: 8192}", "PEs, at most 16,777,216"),
    ("tpu_v1", "arch.memory.1.slots=1000000000", "65536"),
    ("tpu_v1", "arch.memory.1.size=9e20 TiB", "at most 1024 TiB"),
    ("tpu_v1", "arch.memory.0.bandwidth=1e-9 B/s", "must be 1000 B/s"),
    ("tpu_v1", "arch.memory.0.latency=1e9 s", "at most 1 s"),
    ("tpu_v1", "arch.clock=1e30 GHz", "1 Hz to 1 THz"),
    ("tpu_v1", "workload.batch=1000000000", "1000000"),
    ("diannao", "arch.engine.unroll.K=1000000", "65536"),
    ("diannao", "arch.engine.unroll={C: 4096, K: 8192}", "multipliers, at most 16,777,216"),
    ("eie", "arch.engine.channels=1000000000", "1024"),
    ("eie", "arch.engine.fifo_depth=1000000000", "65536"),
]


@pytest.mark.parametrize(("arch", "assignment", "words"), HUGE)
def test_hardware_beyond_all_bounds_is_refused(
    arch: str, assignment: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "lenet5", "--arch", arch, "--set", assignment]) == 2
    assert words in capsys.readouterr().err


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    sweep = {"schema": "accelsim.sweep/1", "network": "lenet5", "arch": "tpu_v1", "seed": -1, "vary": {"arch.engine.rows": [8]}}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(sweep))
    assert main(["check", str(path)]) == 2
    with pytest.raises(InputError, match="seed"):
        accelsim.simulate("lenet5", "tpu_v1", seed=-1)


@pytest.mark.parametrize("name", ["pipe.yaml", "pipe.onnx", "pipe.csv", "pipe.mtx"])
def test_a_pipe_is_no_file(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / name)
    assert main(["convert" if name.endswith("mtx") else "simulate", str(tmp_path / name),
                 *(["-o", "x.yaml"] if name.endswith("mtx") else ["--arch", "tpu_v1"])]) == 2  # fmt: skip
    assert "it is a pipe, must be a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check /dev/zero", "report /dev/zero -o x.html", "compare /dev/zero /dev/null"])
def test_a_device_is_no_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    assert "it is a device, must be a regular file" in capsys.readouterr().err


def bomb(path: Path, promised: int, stored: int) -> Path:
    """An .npz of a few KiB whose array has ``stored`` bytes of zeros, and a header that promises ``promised``."""
    words = f"{{'descr': '|i1', 'fortran_order': False, 'shape': ({promised},), }}\n".encode()
    head = b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", head + bytes(stored))
    return path


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bomb(tmp_path / "w.npz", 8 << 30, 1 << 20)
    with pytest.raises(ValueError, match=r"it takes 8 GiB, an array may have 512 MiB"):
        read_array(path)
    assert main(["convert", str(path), "-o", str(tmp_path / "x.yaml")]) == 2
    assert "it takes 8 GiB" in capsys.readouterr().err


def test_an_array_that_ends_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it ends after 1,000 bytes of 4,000"):
        read_array(bomb(tmp_path / "w.npz", 4000, 1000))


def test_damage_to_an_archive_is_a_fault(tmp_path: Path) -> None:
    buffer, random = io.BytesIO(), np.random.default_rng(0)
    np.savez_compressed(buffer, w=random.integers(-9, 9, (40, 30)))
    for _ in range(300):
        raw = bytearray(buffer.getvalue())
        for at in random.integers(0, len(raw), 3):
            raw[at] = random.integers(0, 256)
        (tmp_path / "w.npz").write_bytes(raw)
        try:
            read_matrix(tmp_path / "w.npz")
        except InputError as error:
            assert "\n" not in str(error)


NAMED = (
    "check {}.yaml", "simulate {} --arch tpu_v1", "simulate lenet5 --arch {}", "report {} -o x.html", "convert {}.onnx -o x.yaml",
)  # fmt: skip


@pytest.mark.parametrize("command", NAMED)
def test_a_name_may_be_long(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.format("n" * 300).split()) == 2
    assert capsys.readouterr().err


DAMAGED = [
    ("schema: {a: 1}\n", "yaml", "check", "schema: is"),
    ("a,b\n1,2,3\n", "csv", "plot pareto", "row 2 has more cells than the header"),
    (f"2, 2, 1\n0 1 1\n{10**30}\n", "smtx", "convert", "no whole number of 64 bits"),
    (f"2, {10**19}, 1\n0 1 1\n0\n", "smtx", "convert", "a side may have 1,000,000,000"),
]


@pytest.mark.parametrize(("text", "suffix", "command", "words"), DAMAGED)
def test_what_the_fuzzer_found(
    tmp_path: Path, text: str, suffix: str, command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_text(text)
    output = {"plot pareto": ["-o", "x.svg"], "convert": ["-o", "x.yaml"]}.get(command, [])
    assert main([*command.split(), str(path), *output]) == 2
    assert words in capsys.readouterr().err


def test_a_range_may_not_be_uncountable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "lenet5", "--arch", "tpu_v1", "--vary", f"arch.engine.rows=8:{'16' * 30}:8"]) == 2
    assert "more values than can be counted" in capsys.readouterr().err


def test_a_tensor_has_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "lenet5", "--arch", "tpu_v1", "--set", "workload.layers.0.K=1000000000", "--batch", "1000000"]) == 2
    assert "elements that a tensor may have" in capsys.readouterr().err


def said(*command: str, columns: str = "100", out: str = "") -> subprocess.CompletedProcess[str]:
    """A command of its own process, its output appended to the shell's redirection ``out``."""
    words = " ".join([sys.executable, "-m", "accelsim.cli", *command, out])
    environment = {**os.environ, "COLUMNS": columns}
    return subprocess.run(words, shell=True, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_full_disk_behind_the_output_is_told() -> None:
    done = said("list", "archs", out="> /dev/full")
    assert (done.returncode, done.stderr) == (1, "standard output: No space left on device\n")


def test_closed_output_is_no_traceback() -> None:
    assert said("list", "archs", out=">&-").returncode == 0
    assert said("check", "nowhere.yaml", out=">&- 2>&-").returncode == 2


def test_a_narrow_terminal_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    assert main(["list", "archs"]) == main(["simulate", "lenet5", "--arch", "tpu_v1"]) == 0
    assert "conv1" in capsys.readouterr().out


@pytest.mark.slow
def test_tables_are_linear_in_layers(tmp_path: Path) -> None:
    import time

    def seconds(layers: int) -> float:
        chain = [{"name": f"l{i}", "op": "linear", "out": 8, **({"in": 8} if i == 0 else {})} for i in range(layers)]
        path = tmp_path / f"{layers}.yaml"
        path.write_text(yaml.safe_dump({"schema": "accelsim.network/1", "name": "chain", "layers": chain}))
        result = accelsim.simulate(path, "scalesim")
        began = time.process_time()
        result.to_csv(), result.to_json(), result.summary()
        return time.process_time() - began

    seconds(50)
    assert seconds(2000) < 6 * seconds(500)
