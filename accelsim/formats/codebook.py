"""Shared weights: a few values and an index into them; and what Huffman coding would make of the indices."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.errors import InfeasibleError
from accelsim.formats.matrix import Array


@dataclass(frozen=True, eq=False)
class Codebook:
    """``values[code]`` is the weight that a code stands for."""

    values: Array

    @classmethod
    def of(cls, weights: Array, code_bits: int) -> Codebook:
        """Zero and every value that occurs in ``weights``; `InfeasibleError` for more than 2**code_bits."""
        found = np.unique(weights)
        values = np.concatenate((np.zeros(1, found.dtype), found[found != 0]))
        if len(values) > 1 << code_bits:
            raise InfeasibleError(
                "a codebook of the weights",
                demand=f"{len(values) - 1} values and zero",
                bound=f"{1 << code_bits} entries ({code_bits} bits)",
                levers=(
                    f"weight_bits={(len(values) - 1).bit_length()}",
                    "cluster the weights to fewer values",
                ),
            )
        return cls(values)

    def encode(self, weights: Array) -> npt.NDArray[np.uint16]:
        """The code of every weight; `InfeasibleError` where one is not in the book."""
        order = np.argsort(self.values, kind="stable")
        place = np.minimum(np.searchsorted(self.values, weights, sorter=order), len(order) - 1)
        codes = order[place].astype(np.uint16)
        missing = np.flatnonzero(self.values[codes] != weights)
        if len(missing):
            raise InfeasibleError(
                "weights by a codebook",
                demand=f"the value {np.ravel(weights)[missing[0]]}",
                bound=f"the {len(self.values)} values of the codebook",
                levers=("a larger codebook", "cluster the weights to its values"),
            )
        return codes

    def decode(self, codes: Array) -> Array:
        """The weight of every code; `InfeasibleError` for a code past the book's end."""
        if codes.size and (int(codes.max()) >= len(self.values) or int(codes.min()) < 0):
            wrong = int(codes.max()) if int(codes.max()) >= len(self.values) else int(codes.min())
            raise InfeasibleError(
                "weights by a codebook",
                demand=f"the code {wrong}",
                bound=f"a codebook of {len(self.values)} values (codes 0 to {len(self.values) - 1})",
                levers=("a larger codebook", "another weight file"),
            )
        return np.asarray(self.values[codes])

    def size_bits(self, value_bits: int) -> int:
        return len(self.values) * value_bits


def huffman_lengths(counts: Sequence[int]) -> list[int]:
    """Bits of each symbol's Huffman code; 0 for symbols that never occur, 1 for one that is alone."""
    heap: list[tuple[int, int, list[int]]] = [(count, s, [s]) for s, count in enumerate(counts) if count > 0]
    lengths = [0] * len(counts)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        merged = first[2] + second[2]
        for symbol in merged:
            lengths[symbol] += 1
        heapq.heappush(heap, (first[0] + second[0], first[1], merged))
    return lengths


def huffman_bits(symbols: Array) -> int:
    """Bits of ``symbols`` (non-negative integers) under their own Huffman code; the table not counted."""
    counts = np.bincount(np.ravel(symbols).astype(np.int64))
    return sum(int(c) * length for c, length in zip(counts, huffman_lengths(counts.tolist()), strict=True))
