"""The size of an encoded matrix, in bits, by what the bits are for."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.units import ceil_div


@dataclass(frozen=True)
class Size:
    """Bits of an encoded matrix.

    values_bits:   the non-zeros themselves (or their codes).
    indices_bits:  where they stand: coordinates, runs, bit maps.
    pointers_bits: where columns, rows or blocks begin.
    padding_bits:  all that stands for no non-zero: padding zeros with their indices, unused slots, block
                   fill.
    """

    values_bits: int = 0
    indices_bits: int = 0
    pointers_bits: int = 0
    padding_bits: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(
            self.values_bits + other.values_bits, self.indices_bits + other.indices_bits,
            self.pointers_bits + other.pointers_bits, self.padding_bits + other.padding_bits,
        )  # fmt: skip

    @property
    def total_bits(self) -> int:
        return self.values_bits + self.indices_bits + self.pointers_bits + self.padding_bits

    @property
    def total_bytes(self) -> int:
        return ceil_div(self.total_bits, 8)


def index_width(count: int) -> int:
    """Bits that tell ``count`` things apart; 0 for a single one."""
    return max(0, count - 1).bit_length()
