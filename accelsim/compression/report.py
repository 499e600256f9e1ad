"""What compression did: error by layer, accuracy, size; and what it buys on an architecture, by simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf, log10, prod
from typing import TYPE_CHECKING

import numpy as np

from accelsim.compression.arrays import Array, codebook_of, is_trained
from accelsim.compression.encode import EncodeRule, encoded_size
from accelsim.compression.quantize import is_rectifier
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.values import weight_values

if TYPE_CHECKING:
    from accelsim.arch.spec import Architecture
    from accelsim.report.model import Result


@dataclass(frozen=True)
class LayerError:
    """A layer's output before and after, as real numbers, on the test data.

    sqnr_db: 10 log10(power of the float output / power of the difference), infinite where nothing differs.
    """

    name: str
    sqnr_db: float
    mean_absolute_error: float
    largest_error: float


def layer_errors(before: Mapping[str, Array], after: Mapping[str, Array]) -> list[LayerError]:
    """Errors of the layers that both have in one shape, in the order of ``before``."""
    common = [name for name in before if name in after and before[name].shape == after[name].shape]
    return [_error(name, before[name], after[name]) for name in common]


def rectified(network: Network, outputs: Mapping[str, tuple[Array, ...]]) -> dict[str, Array]:
    """Float outputs; of a layer that only a rectifier reads, the rectifier's, for its integers saturate as that does."""
    readers = network.consumers()
    table = {}
    for layer in network.layers:
        follow = readers[TensorRef(layer.name)]
        saturates = len(follow) == 1 and is_rectifier(network.layer(follow[0]))
        table[layer.name] = outputs[follow[0] if saturates else layer.name][0]
    return table


def _error(name: str, before: Array, after: Array) -> LayerError:
    exact = before.astype(np.float64)
    error = after.astype(np.float64) - exact
    return LayerError(name, sqnr_db(exact, error), float(np.abs(error).mean()), float(np.abs(error).max()))


def sqnr_db(signal: Array, error: Array) -> float:
    """Signal to quantization noise, in decibels."""
    power, noise = float(np.square(signal).sum()), float(np.square(error).sum())
    if noise == 0:
        return inf
    return 10 * log10(power / noise) if power else -inf


@dataclass(frozen=True)
class Measures:
    """The six measures of compression surveys, compressed over original; latency and energy by simulation.

    accuracy    top-1 over top-1; None without labels
    parameters  weights and biases that are not zero
    macs        multiply-accumulates whose weight is not zero
    latency     seconds
    energy      picojoules
    index_space addresses that stored weights take: all of a dense tensor, the entries (padding zeros among them) of
                a sparse one, the buckets of hashed weights (after the index space saving of Cheng et al., "A survey of
                model compression and acceleration for deep neural networks", arXiv 1710.09282, section V)
    """

    accuracy: float | None
    parameters: float
    macs: float
    latency: float
    energy: float
    index_space: float

    def rows(self) -> list[tuple[str, float | None]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


def measure(
    original: Network, compressed: Network, arch: Architecture, *, encode: EncodeRule,
    accuracy: float | None = None, original_arch: Architecture | None = None, seed: int = 0,
) -> tuple[Measures, dict[str, Measures]]:  # fmt: skip
    """The six measures of the network and of its layers, both run on ``arch`` (the original on ``original_arch``).

    Both should have the same input: a sparse engine's time depends on it.
    """
    from accelsim.api import simulate

    first, second = simulate(original, original_arch or arch), simulate(compressed, arch)
    counts = _Counts.whole(original), _Counts.of(compressed, encode, seed)
    names = [layer.name for layer in compressed.layers if is_trained(layer) and layer.name in counts[0].parameters]
    by_layer = {name: _ratios(first, second, counts, [name], None) for name in names}
    everything = _ratios(first, second, counts, None, accuracy)
    return everything, by_layer


@dataclass(frozen=True)
class _Counts:
    parameters: dict[str, int]
    addresses: dict[str, int]
    macs: dict[str, int]

    @classmethod
    def whole(cls, network: Network) -> _Counts:
        """Of a network of which nothing is left out."""
        trained = [layer for layer in network.layers if is_trained(layer)]
        addresses = {layer.name: prod(layer.weight_shape or ()) for layer in trained}
        macs = {layer.name: layer.macs for layer in network.layers if layer.macs}
        return cls({layer.name: layer.parameters for layer in trained}, addresses, macs)

    @classmethod
    def of(cls, network: Network, encode: EncodeRule, seed: int) -> _Counts:
        trained = [layer for layer in network.layers if is_trained(layer)]
        found = {layer.name: _layer_counts(layer, encode, seed) for layer in trained}
        products = {layer.name: layer.macs for layer in network.layers if layer.macs and not is_trained(layer)}
        return cls(
            {name: part[0] for name, part in found.items()}, {name: part[1] for name, part in found.items()},
            {name: part[2] for name, part in found.items()} | products,
        )  # fmt: skip


def _layer_counts(layer: Layer, encode: EncodeRule, seed: int) -> tuple[int, int, int]:
    """(parameters that are not zero, addresses, MACs whose weight is not zero)."""
    weights = weight_values(layer, seed)
    zero = layer.quantization.weight_zero_point
    nonzero = int(np.count_nonzero(weights)) if not zero else weights.size
    biases = layer.parameters - weights.size
    return nonzero + biases, _addresses(layer, weights, nonzero, encode, seed), layer.macs * nonzero // weights.size


def _addresses(layer: Layer, weights: Array, nonzero: int, encode: EncodeRule, seed: int) -> int:
    shared = codebook_of(layer.weight)
    if shared is not None and _is_hashed(shared[1]):
        return len(shared[1]) // 2
    if encode.index_bits is None:
        return weights.size
    size = encoded_size(layer, EncodeRule(encode.index_bits), seed)
    return nonzero + size.padding_bits * nonzero // max(size.values_bits + size.index_bits, 1)


def _is_hashed(values: Array) -> bool:
    """Whether a codebook is zero, then values, then their negatives: what hashing makes (cluster.hashed)."""
    half = len(values) // 2
    return len(values) % 2 == 1 and half > 0 and bool(np.array_equal(values[1 : 1 + half], -values[1 + half :]))


def _ratios(
    first: Result, second: Result, counts: tuple[_Counts, _Counts], names: list[str] | None, accuracy: float | None
) -> Measures:
    before, after = counts

    def share(table: str) -> float:
        a, b = getattr(before, table), getattr(after, table)
        return float(sum(b[n] for n in names or b) / max(sum(a[n] for n in names or a), 1))

    if names is None:
        latency = second.totals.seconds / first.totals.seconds
        energy = second.totals.energy_total_pj / first.totals.energy_total_pj
    else:
        rows = [(first.layer(name), second.layer(name)) for name in names]
        clocks = first.clock_hz / second.clock_hz
        latency = sum(b.cycles for _, b in rows) / max(sum(a.cycles for a, _ in rows), 1) * clocks
        energy = sum(sum(b.energy_pj.values()) for _, b in rows) / sum(sum(a.energy_pj.values()) for a, _ in rows)
    return Measures(accuracy, share("parameters"), share("macs"), latency, energy, share("addresses"))
