"""Readers: every kind of file comes in, and what is wrong with one is said in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.errors import InputError
from accelsim.formats import Coo, read_matrix

DENSE = np.array([[0, 2, 0], [-1, 0, 0], [0, 0, 3], [4, 0, 5]])


def _fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_matrix(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_scipy_npz(tmp_path: Path, layout: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    path = tmp_path / "w.npz"
    sparse.save_npz(path, Coo.from_dense(DENSE).to_scipy(layout))
    assert np.array_equal(read_matrix(path).to_dense(), DENSE)


def test_plain_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", DENSE)
    np.save(tmp_path / "w.npy", DENSE.astype(np.float32))
    assert np.array_equal(read_matrix(tmp_path / "w.npz").to_dense(), DENSE)
    assert np.array_equal(read_matrix(tmp_path / "w.npy").to_dense(), DENSE)


def test_matrix_market(tmp_path: Path) -> None:
    path = tmp_path / "w.mtx"
    elements = "\n".join(f"{r + 1} {c + 1} {DENSE[r, c]}" for r, c in zip(*np.nonzero(DENSE), strict=True))
    path.write_text(f"%%MatrixMarket matrix coordinate integer general\n% a comment\n4 3 5\n{elements}\n")
    assert np.array_equal(read_matrix(path).to_dense(), DENSE)
    path.write_text("%%MatrixMarket matrix coordinate pattern symmetric\n2 2 2\n1 1\n2 1\n")
    assert read_matrix(path).to_dense().tolist() == [[1, 1], [1, 0]]
    path.write_text("%%MatrixMarket matrix array real general\n2 2\n1.5\n2\n0\n4\n")
    assert read_matrix(path).to_dense().tolist() == [[1.5, 0], [2, 4]]


def test_smtx(tmp_path: Path) -> None:
    path = tmp_path / "w.smtx"
    path.write_text("4, 3, 5\n0 1 2 3 5\n1 0 2 0 2\n")
    assert np.array_equal(read_matrix(path).to_dense(), (DENSE != 0).astype(int))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("w.npz", "hello", "neither .npy nor .npz"),
        ("w.txt", "1", "must be .npz, .npy, .mtx or .smtx"),
        ("w.mtx", "1 2 3", "is no Matrix Market file"),
        (
            "w.mtx",
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1.0\n",
            "row index 3 in its element 1, must be 1 to 2",
        ),
        (
            "w.mtx",
            "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1.0\n",
            "has 1 elements, its sizes say 2",
        ),
        ("w.mtx", "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", "holds nan"),
        ("w.mtx", "%%MatrixMarket matrix coordinate complex general\n2 2 0\n", "holds complex values"),
        ("w.mtx", "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 x 1\n", "no number"),
        ("w.smtx", "2, 2, 1\n0 1\n0\n", "pointers that do not rise"),
        ("w.smtx", "2, 2, 1\n0 1 1\n7\n", "column index 7, must be 0 to 1"),
        ("w.smtx", "2, 2, 3\n0 1 1\n1\n", "has 1 column indices"),
        ("w.smtx", "2, 2", "is no .smtx file"),
        ("w.npy", "hello", "w.npy"),
    ],
)
def test_faults(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert message in _fault(path)


def test_faults_of_archives(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, a=DENSE, b=DENSE)
    assert "holds 2 arrays (a, b)" in _fault(path)
    np.savez(path, np.array([[np.nan]]))
    assert "holds nan" in _fault(path)
    np.savez(path, np.zeros((2, 2, 2)))
    assert "must have two dimensions" in _fault(path)
    parts = {"shape": np.array([2, 2]), "data": np.array([1.0]), "indices": np.array([5])}
    np.savez(path, format=np.array(b"csr"), indptr=np.array([0, 1, 1]), **parts)
    assert "element [0, 5] lies outside of 2 x 2" in _fault(path)
    np.savez(path, format=np.array(b"csr"), indptr=np.array([0, 9, 1]), **parts)
    assert "pointers do not rise" in _fault(path)
    np.savez(path, format=np.array(b"lil"), **parts)
    assert "must be csr, csc, bsr, coo or dia" in _fault(path)
    assert "cannot be read" in _fault(tmp_path / "absent.npz")
    np.savez(path, np.array([object()], dtype=object))
    assert "w.npz" in _fault(path)
