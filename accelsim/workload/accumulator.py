"""The register that a sum stands in: its format, and what becomes of a sum that it does not hold.

A bias is added behind the last product, in the same register: ``fitted(sum of products) + bias``, which wraps or
saturates as any sum does and is counted as any overflow is. Floats are summed in float32 and never overflow so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.workload.precision import NumberFormat

Array = npt.NDArray[Any]


class Accumulator(NamedTuple):
    """A register of ``format``; what does not fit stays at the bound if it ``saturates``, else it wraps."""

    format: NumberFormat
    saturates: bool = False

    def added(self, sums: Array, more: Array) -> tuple[Array, int]:
        """``sums + more`` as the register holds it, and how many sums did not fit: int64, floats in the type of ``sums``."""
        if not self.format.is_integer or sums.dtype.kind == "f":
            return np.asarray(sums + more.astype(sums.dtype)), 0
        return self.fitted(_whole_sum(sums, more))

    def fitted(self, sums: Array) -> tuple[Array, int]:
        """``sums`` as the register holds them, and how many did not fit."""
        if not self.format.is_integer or sums.dtype.kind == "f":
            return sums, 0
        low, high = self.format.lowest, self.format.highest
        least, most = _range(sums)
        if low <= least and most <= high:
            return sums.astype(np.int64), 0
        wide = sums if sums.dtype == object or self.format.bits <= 62 else sums.astype(object)
        count = int(np.count_nonzero((wide < low) | (wide > high)))
        held = np.clip(wide, low, high) if self.saturates else (wide - low) % (1 << self.format.bits) + low
        return np.asarray(held, dtype=np.int64), count


def _whole_sum(sums: Array, more: Array) -> Array:
    """Their exact sum: int64 where there is room to spare, else Python's integers."""
    peak = max(map(abs, _range(sums))) + max(map(abs, _range(more)))
    kind: Any = np.int64 if peak < 1 << 61 else object
    return np.asarray(sums.astype(kind) + more.astype(kind))


def _range(values: Array) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.size else (0, 0)
