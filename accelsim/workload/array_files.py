"""Arrays from ``.npy`` and ``.npz`` files, dense or sparse. Their bytes are not trusted; no pickle is loaded.

scipy's sparse files are read here, so that scipy need not be installed, and so that every index is checked.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.errors import nearest
from accelsim.reading import MOST_ARRAY_BYTES, require_regular
from accelsim.units import format_bytes

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


class SparseArray(NamedTuple):
    """Elements and their coordinates (one row an axis), as a file stores them."""

    coordinates: npt.NDArray[np.int64]
    data: Array
    shape: Shape

    def dense(self) -> Array:
        """The whole array; elements stored twice add up, as they do in scipy. ValueError where it is too large."""
        flat = np.ravel_multi_index(tuple(self.coordinates), self.shape)
        sums = {"f": np.dtype(np.float64), "u": np.dtype(np.uint64)}.get(self.data.dtype.kind, np.dtype(np.int64))
        twice = self.data.dtype.kind == "b" or len(np.unique(flat)) < len(flat)
        kind = sums if twice else self.data.dtype
        _require_room(prod(self.shape) * kind.itemsize, "is made dense in")
        wide = np.zeros(prod(self.shape), kind)
        with np.errstate(all="ignore"):  # an infinity is found later, and named
            np.add.at(wide, flat, self.data)
        return wide.reshape(self.shape)

    def place(self, position: int) -> Shape:
        return tuple(int(c) for c in self.coordinates[:, position])


def read_array(file: Path, name: str | None = None) -> Array | SparseArray:
    """What ``file`` holds, or its array ``name``; raises ValueError with one line that says what is wrong with it."""
    try:
        with _opened(file) as held:
            return _one_of(held, name)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    except Exception as error:  # numpy's and zipfile's readers raise whatever damaged bytes provoke
        raise ValueError(f"cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):  # a part of a sparse matrix
        return f"it lacks the array {error}"
    return (str(error).splitlines() or [type(error).__name__])[0]


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
        with _opened(file) as held:
            assert isinstance(held, _Archive)
            return {key: held.array(key) for key in held.names}
    except Exception as error:  # numpy's and zipfile's readers raise whatever damaged bytes provoke
        raise ValueError(f"cannot be read: {_first_line(error)}") from None


def _holds_several(file: Path) -> bool:
    """Whether it is an archive of arrays, and not one sparse matrix."""
    try:
        with _opened(file) as held:
            return isinstance(held, _Archive) and not held.is_sparse
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


class _Archive:
    """The arrays of an .npz, each read when it is asked for."""

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zipped = zipped
        self._members = {info.filename.removesuffix(".npy"): info for info in zipped.infolist()}
        self.names = list(self._members)
        self.is_sparse = {"format", "shape", "data"} <= set(self.names)

    def array(self, name: str) -> Array:
        """One array of several."""
        if name not in self._members:
            held = ", ".join(self.names[:6]) + (", ..." if len(self.names) > 6 else "")
            raise ValueError(f'it holds no array "{name}"{nearest(name, self.names)}, but {held or "nothing"}')
        with self._zipped.open(self._members[name]) as stream:
            try:
                return _npy(stream)
            except ValueError as error:
                raise ValueError(f"{name} in it: {error}") from None


@contextmanager
def _opened(file: Path) -> Iterator[_Archive | Array]:
    """The array of an .npy, or what an .npz holds."""
    require_regular(file, 4 * MOST_ARRAY_BYTES)
    with file.open("rb") as stream:
        start = stream.read(6)
        _require_contents(file, start)
        stream.seek(0)
        if not start.startswith(b"PK"):
            yield _npy(stream)
            return
        with zipfile.ZipFile(stream) as zipped:
            yield _Archive(zipped)


def _npy(stream: IO[bytes]) -> Array:
    """The array in ``stream``; no more memory is asked for than its header promises, and that is bounded."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"it has the version {version[0]}.{version[1]}, must be 1.0 or 2.0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about headers that Python 2 wrote
        shape, by_columns, kind = _HEADERS[version](stream)
    if kind.hasobject:
        raise ValueError("it holds Python objects, and pickles are never loaded")
    if any(size < 0 for size in shape):
        raise ValueError(f"it has the shape {list(shape)}")
    _require_room(prod(shape) * kind.itemsize, "takes")
    content = bytearray(prod(shape) * kind.itemsize)
    filled = _fill(stream, content)
    if filled < len(content):
        raise ValueError(f"it ends after {filled:,} bytes of {len(content):,}")
    flat = np.frombuffer(content, kind) if content else np.zeros(prod(shape), kind)
    return flat.reshape(shape, order="F" if by_columns else "C")


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _fill(stream: IO[bytes], content: bytearray) -> int:
    """Read until ``content`` is full or the stream ends; how much came."""
    view, filled = memoryview(content), 0
    while filled < len(content):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def _require_room(needed_bytes: int, words: str) -> None:
    if needed_bytes > MOST_ARRAY_BYTES:
        raise ValueError(f"it {words} {format_bytes(needed_bytes)}, an array may have {format_bytes(MOST_ARRAY_BYTES)}")


def _one_of(held: _Archive | Array, name: str | None) -> Array | SparseArray:
    """The array ``name``, or the only one that there is."""
    if not isinstance(held, _Archive):
        if name is not None:
            raise ValueError(f'it is one array without a name; "{name}" can be asked only of an .npz')
        return held
    if name is not None:
        return held.array(name)
    if held.is_sparse:
        return _sparse({part: held.array(part) for part in held.names})
    if len(held.names) != 1:
        found = f"{len(held.names)} arrays ({', '.join(held.names[:6])})" if held.names else "nothing"
        raise ValueError(f"it holds {found}, must hold one array, or a scipy sparse matrix")
    return held.array(held.names[0])


def _sparse(parts: dict[str, Array]) -> SparseArray:
    """A matrix that scipy saved; raises ValueError, KeyError or TypeError if its parts do not agree."""
    kind = parts["format"].item()
    kind = kind.decode("ascii") if isinstance(kind, bytes) else str(kind)
    if kind not in _READERS:
        raise ValueError(f"the sparse format is {kind}, must be csr, csc, bsr, coo or dia")
    for name, part in parts.items():
        if part.dtype.kind not in "biuf" and name not in ("format", "data"):
            raise ValueError(f"its part {name} is of type {part.dtype}, must be integers or floats")
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
