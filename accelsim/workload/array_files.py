"""Arrays from ``.npy`` and ``.npz`` files, dense or sparse. Their bytes are not trusted; no pickle is loaded.

scipy's sparse files are read here, so that scipy need not be installed, and so that every index is checked.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.errors import nearest

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class SparseArray(NamedTuple):
    """Elements and their coordinates (one row an axis), as a file stores them."""

    coordinates: npt.NDArray[np.int64]
    data: Array
    shape: Shape

    def dense(self) -> Array:
        """The whole array; elements stored twice add up, as they do in scipy."""
        wide = np.zeros(
            prod(self.shape), {"f": np.float64, "u": np.uint64}.get(self.data.dtype.kind, np.int64)
        )
        with np.errstate(all="ignore"):  # an infinity is found later, and named
            np.add.at(wide, np.ravel_multi_index(tuple(self.coordinates), self.shape), self.data)
        return wide.reshape(self.shape)

    def place(self, position: int) -> Shape:
        return tuple(int(c) for c in self.coordinates[:, position])


def read_array(file: Path, name: str | None = None) -> Array | SparseArray:
    """What ``file`` holds, or its array ``name``; raises ValueError with one line that says what is wrong with it."""
    try:
        with file.open("rb") as stream:  # ours to close: numpy forgets to, when a zip is damaged
            _require_contents(file, stream.read(6))
            stream.seek(0)
            return _opened(stream, name)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    except Exception as error:  # numpy's and zipfile's readers raise whatever damaged bytes provoke
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"cannot be read: {first_line}") from None


def check_labels(labels: Array, classes: int | None = None) -> Array:
    """Labels as int64; raises ValueError where one is no whole number from 0 on, or is not below ``classes``."""
    if labels.dtype.kind not in "iuf" or (labels != np.trunc(labels)).any() or (labels < 0).any():
        raise ValueError("has labels that are no whole numbers from 0 on")
    if classes is not None and labels.size and labels.max() >= classes:
        raise ValueError(f"has the label {int(labels.max())}, and the network's output has {classes} classes: 0 to {classes - 1}")
    return labels.astype(np.int64)


def read_arrays(file: Path, name: str | None = None) -> dict[str, Array]:
    """Every array of ``file`` by its name, that of an ``.npy`` empty; or its array ``name`` alone, without it.

    Raises ValueError with one line that says what is wrong with the file.
    """
    found = read_array(file, name) if name is not None or not _holds_several(file) else None
    if found is not None:
        return {"": found.dense() if isinstance(found, SparseArray) else found}
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: _named(archive, key) for key in archive.files}
    except Exception as error:  # numpy's and zipfile's readers raise whatever damaged bytes provoke
        raise ValueError(f"cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def _holds_several(file: Path) -> bool:
    """Whether it is an archive of arrays, and not one sparse matrix."""
    try:
        with file.open("rb") as stream:
            if not stream.read(6).startswith(b"PK"):
                return False
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as archive:
                return not {"format", "shape", "data"} <= set(archive.files)
    except Exception:  # what is wrong with it is said when it is read
        return False


def _require_contents(file: Path, start: bytes) -> None:
    """Raise ValueError unless the first bytes are those of an .npy or .npz, and of the one that the file's name says."""
    suffix = file.suffix.lower()
    if start != b"\x93NUMPY" and not start.startswith(b"PK"):
        other = suffix in (".mtx", ".smtx")
        hint = f"accelsim convert {file.name} -o FILE.yaml makes a network of it" if other else "pickles are never loaded"
        raise ValueError(f"it is neither .npy nor .npz; {hint}")
    found = ".npz" if start.startswith(b"PK") else ".npy"
    if suffix in (".npy", ".npz") and suffix != found:
        raise ValueError(f"it is an {found} file by its contents, an {suffix} file by its name")


def _opened(stream: BinaryIO, name: str | None) -> Array | SparseArray:
    loaded = np.load(stream, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        if name is not None:
            raise ValueError(f'it is one array without a name; "{name}" can be asked only of an .npz')
        return loaded
    with loaded as archive:
        names = archive.files
        if name is not None:
            return _named(archive, name)
        if {"format", "shape", "data"} <= set(names):
            return _sparse({name: archive[name] for name in names})
        if len(names) != 1:
            held = f"{len(names)} arrays ({', '.join(names[:6])})" if names else "nothing"
            raise ValueError(f"it holds {held}, must hold one array, or a scipy sparse matrix")
        array = archive[names[0]]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{names[0]} in it is not an array")
    return array


def _sparse(parts: dict[str, Array]) -> SparseArray:
    """A matrix that scipy saved; raises ValueError, KeyError or TypeError if its parts do not agree."""
    kind = parts["format"].item()
    kind = kind.decode("ascii") if isinstance(kind, bytes) else str(kind)
    if kind not in _READERS:
        raise ValueError(f"the sparse format is {kind}, must be csr, csc, bsr, coo or dia")
    shape = tuple(int(size) for size in np.atleast_1d(parts["shape"]))
    coordinates, data = _READERS[kind](parts, shape)
    if len(coordinates) != len(shape) or data.shape != coordinates.shape[1:]:
        raise ValueError(f"its {kind} parts differ in length")
    if data.dtype.kind not in "biuf":
        raise ValueError(f"it holds values of type {data.dtype}, must hold integers or floats")
    inside = (coordinates >= 0) & (coordinates < np.array(shape)[:, None])
    if not inside.all():
        place = [int(c) for c in coordinates[:, int(np.argmin(inside.all(axis=0)))]]
        raise ValueError(f"the sparse element {place} lies outside of {' x '.join(map(str, shape))}")
    return SparseArray(coordinates, data, shape)


def _named(archive: Any, name: str) -> Array:
    """One array of several."""
    if name not in archive.files:
        held = ", ".join(archive.files[:6]) + (", ..." if len(archive.files) > 6 else "")
        raise ValueError(f'it holds no array "{name}"{nearest(name, archive.files)}, but {held or "nothing"}')
    array = archive[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} in it is not an array")
    return array


_Elements = tuple[npt.NDArray[np.int64], Array]


def _indices(values: Array) -> npt.NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        raise ValueError(f"its indices are of type {values.dtype}, must be integers")
    return values.astype(np.int64)


def _runs(parts: dict[str, Array], lines: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """(line, index) of every stored element or block of a compressed matrix, and how many there are."""
    pointers, indices = _indices(parts["indptr"]), _indices(parts["indices"])
    lengths = np.diff(pointers)
    if (
        pointers.shape != (lines + 1,)
        or pointers[0] != 0
        or (lengths < 0).any()
        or pointers[-1] > indices.size
    ):
        raise ValueError(f"its {lines + 1} pointers do not rise from 0 to at most {indices.size}")
    count = int(pointers[-1])
    return np.repeat(np.arange(lines), lengths), indices[:count], count


def _read_csr(parts: dict[str, Array], shape: Shape) -> _Elements:
    lines, indices, count = _runs(parts, shape[0] if len(shape) == 2 else 1)
    return np.stack([lines, indices][2 - len(shape) :]), parts["data"][:count]


def _read_csc(parts: dict[str, Array], shape: Shape) -> _Elements:
    lines, indices, count = _runs(parts, shape[1])
    return np.stack([indices, lines]), parts["data"][:count]


def _read_bsr(parts: dict[str, Array], shape: Shape) -> _Elements:
    _, height, width = parts["data"].shape
    lines, indices, count = _runs(parts, shape[0] // height)
    rows = lines[:, None, None] * height + np.arange(height)[:, None]
    columns = indices[:, None, None] * width + np.arange(width)
    blocks = (count, height, width)
    both = np.stack([np.broadcast_to(rows, blocks).ravel(), np.broadcast_to(columns, blocks).ravel()])
    return both, parts["data"][:count].ravel()


def _read_coo(parts: dict[str, Array], shape: Shape) -> _Elements:
    del shape
    rows = parts["coords"] if "coords" in parts else np.stack([parts["row"], parts["col"]])
    return _indices(rows), parts["data"]


def _read_dia(parts: dict[str, Array], shape: Shape) -> _Elements:
    """``data[i, j]`` is in column j of the diagonal ``offsets[i]``; what lies outside does not count."""
    data, offsets = parts["data"], _indices(parts["offsets"])
    columns = np.broadcast_to(np.arange(data.shape[1]), data.shape)
    rows = columns - offsets[:, None]
    inside = (rows >= 0) & (rows < shape[0]) & (columns < shape[1])
    return np.stack([rows[inside], columns[inside]]), data[inside]


_READERS = {"csr": _read_csr, "csc": _read_csc, "bsr": _read_bsr, "coo": _read_coo, "dia": _read_dia}
