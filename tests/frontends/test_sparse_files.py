"""Sparse matrices as networks: ``accelsim convert`` and ``simulate`` on them, and what is wrong with files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.api import load_network, simulate_full
from accelsim.cli import main

sparse = pytest.importorskip("scipy.sparse")
HEAD = "schema: accelsim.network/1\nname: t\nbatch: 1\nprecision: {weight: int8, input: int8, accumulator: int32, output: int8}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _matrix() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((60, 90)) < 0.2, rng.integers(1, 15, (60, 90)), 0)


def _write(suffix: str) -> Path:
    path = Path(f"w{suffix}")
    matrix = sparse.csr_matrix(_matrix())
    if suffix == ".npz":
        sparse.save_npz(path, matrix)
    elif suffix == ".mtx":
        from scipy.io import mmwrite

        mmwrite(str(path), matrix.tocoo())
    else:
        places = [" ".join(map(str, array)) for array in (matrix.indptr, matrix.indices)]
        path.write_text("\n".join([f"60, 90, {matrix.nnz}", *places]) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".npz", ".mtx", ".smtx"])
def test_a_matrix_becomes_a_layer_with_that_weight(folder: Path, suffix: str) -> None:
    source = _write(suffix)
    assert main(["convert", str(source), "-o", "net.yaml"]) == 0
    run = simulate_full(load_network(folder / "net.yaml"), "eie", values=True).runs[0]
    stored = run.counters.unit_counts
    assert stored["stored_value_bits"] == 4 * np.count_nonzero(_matrix())
    assert run.layer.weight_shape == (60, 90)


def test_floats_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "w.npz", _matrix() * 0.3)
    assert main(["convert", "w.npz", "-o", "net.yaml"]) == 0
    assert "fp32" in capsys.readouterr().err
    assert load_network(folder / "net.yaml").layers[0].precision.weight.bits == 32


def _broken(kind: str) -> str:
    matrix = sparse.csr_matrix(_matrix())
    if kind == "nan.npz":
        matrix = matrix.astype(float)
        matrix.data[3] = np.nan
        sparse.save_npz(kind, matrix)
    elif kind == "outside.npz":
        indices = matrix.indices.copy()
        indices[3] = 400
        np.savez(kind, indices=indices, indptr=matrix.indptr, format=b"csr", shape=(60, 90), data=matrix.data)
    elif kind == "outside.smtx":
        Path(kind).write_text("2, 3, 2\n0 1 2\n0 5\n")
    else:  # a file that is not what its name says
        Path(kind).write_bytes(b"\x93NUMPY")
    return kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nan.npz", "nan"),
        ("outside.npz", "400"),
        ("outside.smtx", "column index 5, must be 0 to 2"),
        ("lie.npz", "an .npy file by its contents"),
        ("lie.mtx", "no text"),
    ],
)
def test_faults_of_convert(folder: Path, capsys: pytest.CaptureFixture[str], kind: str, words: str) -> None:
    del folder
    assert main(["convert", _broken(kind), "-o", "net.yaml"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{kind}: ")
    assert words in message
    assert len(message.splitlines()) == 1
    assert not Path("net.yaml").exists()


@pytest.mark.parametrize(("kind", "words"), [("nan.npz", "nan"), ("outside.npz", "outside"), ("lie.npz", "cannot be read")])
def test_faults_of_simulate(folder: Path, capsys: pytest.CaptureFixture[str], kind: str, words: str) -> None:
    layer = f"- {{name: f, op: linear, in: 90, out: 60, after: [], weight: {{file: {_broken(kind)}}}}}\n"
    (folder / "net.yaml").write_text(HEAD + "layers:\n" + layer)
    assert main(["simulate", "net.yaml", "--arch", "eie"]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{kind}: ")
    assert words in message


def test_a_codebook_that_is_too_small(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(".npz")
    np.save(folder / "book.npy", np.array([0, 1, 2]))
    layer = "- {name: f, op: linear, in: 90, out: 60, after: [], weight: {file: w.npz, codebook: book.npy}}\n"
    (folder / "net.yaml").write_text(HEAD + "layers:\n" + layer)
    assert main(["simulate", "net.yaml", "--arch", "eie"]) == 2
    assert "w.npz: f.weight" in capsys.readouterr().err


def test_the_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from accelsim.formats import FORMATS

    assert main(["list", "formats"]) == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert set(FORMATS) <= listed
