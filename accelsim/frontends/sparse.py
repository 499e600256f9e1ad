"""Sparse matrices from files -> networks of one linear layer with that weight."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from accelsim.formats import Coo, read_matrix

SUFFIXES = (".npz", ".mtx", ".smtx")
_INTEGERS = {8: "int32", 16: "int48", 32: "int64"}  # width of a weight -> of its sums


def read_sparse(source: Path, target: Path) -> tuple[str, dict[Path, bytes], list[str]]:
    """The YAML of a network whose one layer has the matrix in ``source`` (out x in) as its weight.

    ``target`` is where the text will stand. Also the files that must stand beside it (the weight, where ``source`` is
    no .npz) and notes. Raises `InputError` with the file's name.
    """
    matrix = read_matrix(source)
    files: dict[Path, bytes] = {}
    weight = source
    if source.suffix.lower() != ".npz":
        weight = target.with_suffix(".npz")
        files[weight] = _as_npz(matrix)
    precision, notes = _precision(matrix)
    name = source.stem
    layer = {
        "name": name, "op": "linear", "in": matrix.shape[1], "out": matrix.shape[0], "bias": False,
        "weight": {"file": os.path.relpath(weight, target.parent)},
    }  # fmt: skip
    network = {"schema": "accelsim.network/1", "name": name, "batch": 1, "precision": precision, "layers": [layer]}
    density = len(matrix.values) / max(1, matrix.shape[0] * matrix.shape[1])
    head = f"# {source.name}: {matrix.shape[0]} x {matrix.shape[1]}, {len(matrix.values)} non-zeros ({density:.3%})\n"
    return head + yaml.safe_dump(network, sort_keys=False, allow_unicode=True, width=110), files, notes


def _precision(matrix: Coo) -> tuple[dict[str, str], list[str]]:
    """Integers at the narrowest of 8, 16 and 32 bits that holds them; floats as fp32."""
    whole = matrix.values.dtype.kind in "iu" or bool(np.all(matrix.values == np.rint(matrix.values)))
    most = float(np.abs(matrix.values).max(initial=0))
    bits = next((bits for bits in _INTEGERS if most < 2 ** (bits - 1)), None) if whole else None
    if bits is not None:
        number = f"int{bits}"
        return {"weight": number, "input": number, "accumulator": _INTEGERS[bits], "output": number}, []
    note = "its values are no integers of up to 32 bits: the layer is fp32, and a sparse engine takes integers or a codebook"
    return dict.fromkeys(("weight", "input", "accumulator", "output"), "fp32"), [note]


def _as_npz(matrix: Coo) -> bytes:
    """The arrays of ``scipy.sparse.save_npz`` for a COO matrix."""
    buffer, parts = io.BytesIO(), dict[str, Any]()
    parts["row"], parts["col"], parts["data"] = matrix.rows, matrix.cols, matrix.values
    np.savez_compressed(buffer, format=np.array(b"coo"), shape=np.array(matrix.shape), **parts)
    return buffer.getvalue()
