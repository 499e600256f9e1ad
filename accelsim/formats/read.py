"""Readers of sparse-matrix files: .npz (scipy's, or one array), .npy, .mtx (Matrix Market) and .smtx (DLMC).

Every fault is an `InputError` with the file's name; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import Fault, InputError, join_allowed
from accelsim.formats.matrix import Array, Coo
from accelsim.reading import MOST_TEXT_BYTES, read_bytes
from accelsim.workload.array_files import SparseArray, read_array


def read_matrix(path: str | Path) -> Coo:
    """The matrix in ``path``, by its suffix; `InputError` for anything wrong with it."""
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _fault(path, f"has the suffix {path.suffix!r}, must be {join_allowed(_READERS)}")
    try:
        matrix = reader(path)
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise _fault(path, f"is no text, as a {path.suffix} file must be") from None
    except ValueError as error:
        raise _fault(path, str(error)) from None
    _check_values(path, matrix.values)
    return matrix


def _fault(path: Path, message: str) -> InputError:
    return InputError(Fault(str(path), "", message))


def _check_values(path: Path, values: Array) -> None:
    if values.dtype.kind not in "iuf":
        raise _fault(path, f"holds {values.dtype}, must hold real numbers")
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        which = "nan" if np.any(np.isnan(values)) else "infinity"
        raise _fault(path, f"holds {which}, must hold finite numbers")


# ---- numpy's files
# ---------------------------------------------------------------------------------------------


def _read_numpy(path: Path) -> Coo:
    """An array, or a matrix that scipy saved."""
    found = read_array(path)
    if not isinstance(found, SparseArray):
        return _from_array(found)
    if len(found.shape) != 2:
        raise ValueError(f"has the shape {list(found.shape)}, must have two dimensions")
    return _summed((found.shape[0], found.shape[1]), found.coordinates[0], found.coordinates[1], found.data)


def _from_array(array: Array) -> Coo:
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        raise ValueError(f"has the shape {list(array.shape)}, must have two dimensions")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"holds {array.dtype}, must hold real numbers")
    return Coo.from_dense(array.astype(np.int8) if array.dtype.kind == "b" else array)


def _expand(starts: Array, lines: int, count: int) -> Array:
    starts = np.asarray(starts).astype(np.int64)
    if len(starts) != lines + 1 or starts[0] != 0 or starts[-1] != count or np.any(np.diff(starts) < 0):
        raise ValueError(f"has pointers that do not rise from 0 to the {count} elements over {lines} lines")
    return np.repeat(np.arange(lines, dtype=np.int64), np.diff(starts))


def _summed(shape: tuple[int, int], rows: Array, cols: Array, values: Array) -> Coo:
    """Elements given twice are added up, which is what the format means by them."""
    key = np.asarray(rows).astype(np.int64) * max(1, shape[1]) + np.asarray(cols)
    inside = np.all((np.asarray(cols) >= 0) & (np.asarray(cols) < shape[1]))
    if not inside or len(np.unique(key)) == len(key) or len(values) != len(key):
        return Coo.of(shape, rows, cols, values)
    kept, which = np.unique(key, return_inverse=True)
    total = np.zeros(len(kept), values.dtype)
    np.add.at(total, which, values)
    return Coo.of(shape, kept // shape[1], kept % shape[1], total)


# ---- text files
# ------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    return read_bytes(path, MOST_TEXT_BYTES).decode("utf-8")


def _read_mtx(path: Path) -> Coo:
    """Matrix Market: coordinate or array; real, integer or pattern; general, symmetric or skew-symmetric."""
    lines = _text(path).splitlines()
    header = lines[0].lower().split() if lines else []
    if len(header) != 5 or header[0] != "%%matrixmarket" or header[1] != "matrix":
        raise ValueError("is no Matrix Market file: its first line must be %%MatrixMarket matrix ...")
    _, _, layout, field, symmetry = header
    if field not in ("real", "double", "integer", "pattern"):
        raise ValueError(f"holds {field} values, must be real, integer or pattern")
    if symmetry not in ("general", "symmetric", "skew-symmetric"):
        raise ValueError(f"is {symmetry}, must be general, symmetric or skew-symmetric")
    body = [line for line in lines[1:] if line.strip() and not line.lstrip().startswith("%")]
    if not body:
        raise ValueError("ends before its sizes")
    if layout == "array":
        return _mtx_array(body, field, symmetry)
    if layout != "coordinate":
        raise ValueError(f"has the layout {layout}, must be coordinate or array")
    return _mtx_coordinates(body, field, symmetry)


def _numbers(lines: list[str], columns: int) -> Array:
    """``lines`` as a table of float64; every line must have as many numbers as columns."""
    table = [line.split() for line in lines]
    for number, words in enumerate(table):
        if len(words) != columns:
            raise ValueError(f"has {len(words)} numbers in its element {number + 1}, must have {columns}")
    try:
        return np.array(table, dtype=np.float64).reshape(len(lines), columns)
    except ValueError:
        raise ValueError("holds something that is no number") from None


def _sizes(line: str, count: int) -> list[int]:
    words = line.split()
    if len(words) != count or not all(word.isdigit() for word in words):
        raise ValueError(f"has the sizes {line.strip()!r}, must be {count} whole numbers")
    return [int(word) for word in words]


def _typed(values: Array, field: str) -> Array:
    return values.astype(np.int64) if field == "integer" else values


def _mtx_coordinates(body: list[str], field: str, symmetry: str) -> Coo:
    rows, cols, count = _sizes(body[0], 3)
    if len(body) - 1 != count:
        raise ValueError(f"has {len(body) - 1} elements, its sizes say {count}")
    table = _numbers(body[1:], 2 if field == "pattern" else 3)
    for name, column, size in (("row", 0, rows), ("column", 1, cols)):
        outside = np.flatnonzero((table[:, column] < 1) | (table[:, column] > size))
        if len(outside):
            at = int(outside[0])
            raise ValueError(f"has the {name} index {table[at, column]:g} in its element {at + 1}, must be 1 to {size}")
    i, j = table[:, 0].astype(np.int64) - 1, table[:, 1].astype(np.int64) - 1
    values = np.ones(count, np.int64) if field == "pattern" else _typed(table[:, 2], field)
    if symmetry != "general":
        mirrored = i != j
        sign = -1 if symmetry == "skew-symmetric" else 1
        i, j = np.append(i, j[mirrored]), np.append(j, i[mirrored])
        values = np.append(values, sign * values[mirrored])
    return Coo.of((rows, cols), i, j, values)


def _mtx_array(body: list[str], field: str, symmetry: str) -> Coo:
    if symmetry != "general" or field == "pattern":
        raise ValueError(f"is an array of {symmetry} {field} values, must be general and real or integer")
    rows, cols = _sizes(body[0], 2)
    values = _typed(_numbers(body[1:], 1)[:, 0], field)
    if len(values) != rows * cols:
        raise ValueError(f"has {len(values)} elements, its sizes say {rows * cols}")
    return Coo.from_dense(values.reshape(cols, rows).T)


def _read_smtx(path: Path) -> Coo:
    """DLMC's pattern of a CSR matrix: ``rows, cols, nonzeros``, the row pointers, the column indices. Values
    are 1.
    """
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if len(lines) < 2:
        raise ValueError("is no .smtx file: it must have a line of sizes, one of pointers and one of columns")
    rows, cols, count = _sizes(lines[0].replace(",", " "), 3)
    starts = _integers(lines[1])
    indices = _integers(lines[2]) if len(lines) > 2 else np.zeros(0, np.int64)
    if len(indices) != count:
        raise ValueError(f"has {len(indices)} column indices, its sizes say {count}")
    return Coo.of((rows, cols), _expand(starts, rows, count), indices, np.ones(count, np.int64))


def _integers(line: str) -> Array:
    try:
        return np.array([int(word) for word in line.split()], np.int64)
    except (ValueError, OverflowError):
        raise ValueError("holds something that is no whole number of 64 bits") from None


_READERS: dict[str, Callable[[Path], Coo]] = {
    ".npz": _read_numpy,
    ".npy": _read_numpy,
    ".mtx": _read_mtx,
    ".smtx": _read_smtx,
}


def readable_suffixes() -> tuple[Any, ...]:
    """The suffixes that `read_matrix` takes."""
    return tuple(_READERS)
