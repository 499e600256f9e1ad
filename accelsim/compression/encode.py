"""What compressed weights take: entries, their indices and padding, codebooks, pointers, Huffman coding.

Deep Compression's format: the weights that are not zero as codes into a codebook, each with the number of zeros before
it, in so many bits; a run too long for them is broken by a padding zero (accelsim.formats.RunLength counts both).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from accelsim.compression.arrays import Array, codebook_of, is_trained
from accelsim.errors import Fault, InputError
from accelsim.formats import Coo, RunLength, huffman_bits
from accelsim.workload.network import Layer, Network
from accelsim.workload.values import bias_values, weight_values

FLOAT_BITS = 32


@dataclass(frozen=True)
class EncodedSize:
    """Bits of one layer's parameters, by what they are for.

    values_bits are the weights (or codes) of non-zeros; index_bits the runs between them; padding_bits entries that
    stand for no weight; codebook_bits the shared values (and Huffman's code lengths); bias_bits the biases;
    dense_bits what the layer took uncompressed, 32 bits a parameter.
    """

    name: str
    values_bits: int
    index_bits: int
    padding_bits: int
    codebook_bits: int
    bias_bits: int
    dense_bits: int

    @property
    def total_bits(self) -> int:
        return self.values_bits + self.index_bits + self.padding_bits + self.codebook_bits + self.bias_bits

    @property
    def ratio(self) -> float:
        """Compressed over uncompressed."""
        return self.total_bits / self.dense_bits


@dataclass(frozen=True)
class EncodeRule:
    """How to store weights: run lengths of ``index_bits`` (None: dense), and whether codes and runs are Huffman's."""

    index_bits: int | None = None
    huffman: bool = False

    def __post_init__(self) -> None:
        if self.index_bits is not None and not 1 <= self.index_bits <= 16:
            raise InputError(Fault("encode", "index_bits", f"is {self.index_bits}, must be 1 to 16"))


def encoded_sizes(network: Network, rule: EncodeRule, seed: int = 0) -> list[EncodedSize]:
    """The size of every layer with weights."""
    return [encoded_size(layer, rule, seed) for layer in network.layers if is_trained(layer)]


def encoded_size(layer: Layer, rule: EncodeRule, seed: int = 0) -> EncodedSize:
    """The size of one layer, from its weights themselves."""
    weights = weight_values(layer, seed)
    shared = codebook_of(layer.weight)
    codes = shared[0].reshape(weights.shape) if shared else None
    value_bits = _code_bits(len(shared[1])) if shared else layer.precision.weight.bits
    book = len(shared[1]) * layer.precision.weight.bits if shared else 0
    symbols = codes.ravel() if codes is not None else np.unique(weights, return_inverse=True)[1].ravel()
    if rule.index_bits is None:
        values, index, padding = _sized(symbols, value_bits, rule.huffman), 0, 0
    else:
        values, index, padding = _sparse_bits(weights, symbols, value_bits, rule)
    bias = bias_values(layer)
    bias_bits = 0 if bias is None else bias.size * layer.precision.accumulator.bits
    dense = (weights.size + (0 if bias is None else bias.size)) * FLOAT_BITS
    return EncodedSize(layer.name, values, index, padding, book, bias_bits, dense)


def _code_bits(count: int) -> int:
    return max(1, (count - 1).bit_length())


def _sparse_bits(weights: Array, symbols: Array, value_bits: int, rule: EncodeRule) -> tuple[int, int, int]:
    """(values, indices, padding) of run lengths over the weights, row by row."""
    assert rule.index_bits is not None
    flat = weights.reshape(1, -1)
    runs = RunLength.encode(Coo.from_dense(flat != 0), rule.index_bits)
    if not rule.huffman:
        size = runs.size(value_bits)
        return size.values_bits, size.indices_bits, size.padding_bits
    codes = np.zeros(len(runs.values), np.int64)
    codes[runs.values != 0] = symbols[np.flatnonzero(flat)] + 1  # a padding zero is a symbol of its own
    return huffman_bits(codes), huffman_bits(runs.zeros), 0


def _sized(symbols: Array, bits: int, huffman: bool) -> int:
    return huffman_bits(symbols) if huffman else symbols.size * bits


def total(sizes: Iterable[EncodedSize], name: str = "total") -> EncodedSize:
    """The sum of several sizes."""
    table = list(sizes)
    parts = ("values_bits", "index_bits", "padding_bits", "codebook_bits", "bias_bits", "dense_bits")
    return EncodedSize(name, *(sum(getattr(size, part) for size in table) for part in parts))


def expected_share(
    weights: int, density: float, value_bits: float, index_bits: float, *, codebook_bits: int = 0, biases: int = 0,
    run_bits: int | None = None,
) -> float:  # fmt: skip
    """Compressed over uncompressed size of a layer known by its counts alone (Deep Compression's tables 2 to 5).

    ``run_bits`` adds the padding zeros of run lengths of that width, for non-zeros at random places: after each
    non-zero one for every 2**run_bits zeros. Uncompressed: 32 bits a weight and bias.
    """
    padding = 0.0
    if run_bits is not None and density < 1:
        longest = (1 - density) ** (1 << run_bits)
        padding = longest / (1 - longest)
    entries = weights * density * (1 + padding)
    bits = entries * (value_bits + index_bits) + codebook_bits + biases * FLOAT_BITS
    return bits / ((weights + biases) * FLOAT_BITS)
