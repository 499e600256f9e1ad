"""Relative indices: an entry says how many zeros stand before it, in so many bits.

A run that is too long for the bits is broken by padding zeros: entries with the value zero, each of which
stands for the longest run and itself, 2**bits positions in all (EIE, section III.B: at 4 bits 15 zeros and
the padding zero).
"""

from __future__ import annotations

import numpy as np

from accelsim.errors import InfeasibleError
from accelsim.formats.matrix import Array, Int64s

MOST_INDEX_BITS = 16


def check_index_bits(bits: int) -> None:
    """`InfeasibleError` unless a relative index can be so wide."""
    if not 1 <= bits <= MOST_INDEX_BITS:
        raise InfeasibleError(
            "a relative index",
            demand=f"{bits} bits",
            bound=f"1 to {MOST_INDEX_BITS}",
            levers=("set index_bits",),
        )


def pad_runs(gaps: Int64s, values: Array, bits: int) -> tuple[Array, Array, Int64s]:
    """Entries of ``values`` with ``gaps`` zeros before each.

    Returns (zeros before each entry, uint8 or uint16; values with padding zeros among them; int64[n + 1]: how
    many entries there are before the i-th value and its padding).
    """
    check_index_bits(bits)
    before = np.zeros(len(gaps) + 1, np.int64)
    np.cumsum((gaps >> bits) + 1, out=before[1:])
    longest = (1 << bits) - 1
    zeros = np.full(int(before[-1]), longest, np.uint8 if bits <= 8 else np.uint16)
    padded = np.zeros(int(before[-1]), values.dtype)
    places = before[1:] - 1
    zeros[places] = (gaps & longest).astype(zeros.dtype)
    padded[places] = values
    return zeros, padded, before


def unpad_runs(zeros: Array, starts: Int64s) -> Int64s:
    """Position of every entry within its segment; segment s is the entries ``starts[s]`` to ``starts[s +
    1]``.
    """
    reach = np.cumsum(zeros.astype(np.int64) + 1)
    before = np.concatenate((np.zeros(1, np.int64), reach))[starts[:-1]]
    return reach - 1 - np.repeat(before, np.diff(starts))
