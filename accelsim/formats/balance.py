"""Pruning for the engines: by magnitude, or so that every PE keeps the same (ESE's load-balance-aware
pruning).
"""

from __future__ import annotations

import numpy as np

from accelsim.errors import InfeasibleError
from accelsim.formats.interleaved import InterleavedCsc
from accelsim.formats.matrix import Array, Coo


def prune_magnitude(matrix: Array, keep: int) -> Coo:
    """The ``keep`` largest elements by magnitude; of equal ones the first, row by row."""
    flat = np.abs(np.asarray(matrix)).reshape(-1)
    kept = np.sort(np.argsort(-flat.astype(np.float64), kind="stable")[:keep])
    rows, cols = np.divmod(kept, matrix.shape[1])
    return Coo.of((matrix.shape[0], matrix.shape[1]), rows, cols, np.asarray(matrix).reshape(-1)[kept])


def prune_balanced(matrix: Array, pes: int, keep: int, *, index_bits: int | None = None) -> Coo:
    """Every PE's rows (i mod ``pes``) pruned by magnitude to ``keep`` elements each.

    With ``index_bits`` the ``keep`` are entries as stored, padding zeros among them: a PE then keeps as many
    elements as fit, and `InfeasibleError` says where no number of them makes exactly ``keep`` entries.
    """
    parts = []
    for pe in range(pes):
        part = np.asarray(matrix)[pe::pes]
        pruned = (
            prune_magnitude(part, keep) if index_bits is None else _to_entries(part, keep, index_bits, pe)
        )
        parts.append((pruned.rows * pes + pe, pruned.cols, pruned.values))
    rows, cols, values = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return Coo.of((matrix.shape[0], matrix.shape[1]), rows, cols, values)


def _to_entries(part: Array, keep: int, index_bits: int, pe: int) -> Coo:
    """As many of the largest elements as make ``keep`` entries.

    Dropping an element changes the entries by little; where the step passes over ``keep``, other elements of
    about the same magnitude are dropped instead.
    """
    low, high = 0, min(keep, int(np.count_nonzero(part)))
    while low < high:  # the largest number of elements with at most `keep` entries
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high)
            if _entries(prune_magnitude(part, middle), index_bits) <= keep
            else (low, middle - 1)
        )
    pruned = prune_magnitude(part, low)
    missing = keep - _entries(pruned, index_bits)
    candidates = prune_magnitude(part, low + 512)
    taken = set(zip(pruned.rows.tolist(), pruned.cols.tolist(), strict=True))
    for row, col, value in zip(candidates.rows, candidates.cols, candidates.values, strict=True):
        if missing == 0:
            return pruned
        if (int(row), int(col)) in taken:
            continue
        grown = Coo.of(
            pruned.shape,
            np.append(pruned.rows, row),
            np.append(pruned.cols, col),
            np.append(pruned.values, value),
        )
        added = keep - missing
        if added < _entries(grown, index_bits) <= keep:
            pruned, missing = grown, keep - _entries(grown, index_bits)
    if missing:
        raise InfeasibleError(
            f"load-balanced pruning of PE {pe}",
            demand=f"{keep} entries",
            bound=f"{keep - missing} can be reached",
            levers=("another number of entries", "more index_bits"),
        )  # fmt: skip
    return pruned


def _entries(part: Coo, index_bits: int) -> int:
    return InterleavedCsc.encode(part, 1, index_bits).entries
