"""What compression did: error by layer, accuracy, size; and what it buys on an architecture, by simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log10, prod
from typing import TYPE_CHECKING

import numpy as np

from accelsim.analysis.measures import Cost, Measures, folded, layer_measures, total
from accelsim.compression.arrays import Array, codebook_of, is_trained
from accelsim.compression.encode import EncodeRule, encoded_size
from accelsim.compression.quantize import is_rectifier
from accelsim.workload.expand import parts_of, product_macs
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.values import weight_values

if TYPE_CHECKING:
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
class Measured:
    """The six measures on one architecture, of the network and by layer, and the two results behind them."""

    original: Result
    compressed: Result
    whole: Measures
    layers: dict[str, Measures]


def measured(
    original: Result, compressed: Result, counts: tuple[Counts, Counts], accuracy: float | None = None
) -> Measured:
    """The six measures of two runs, latency and energy theirs; what is stored is counted as the recipe has it.

    Both runs should have the same input: a sparse engine's time depends on it.
    """
    costs = [
        folded(part.costs(result), counts[0].parameters)
        for part, result in zip(counts, (original, compressed), strict=True)
    ]
    trained = {name: cost for name, cost in costs[0].items() if name in counts[0].parameters}
    whole = Measures.of(total(costs[0].values()), total(costs[1].values()), accuracy)
    return Measured(original, compressed, whole, layer_measures(trained, costs[1]))


@dataclass(frozen=True)
class Counts:
    """What a network's layers have: parameters that are not zero, addresses of weights, MACs whose weight is not zero."""

    parameters: dict[str, int]
    addresses: dict[str, int]
    macs: dict[str, int]

    def costs(self, result: Result) -> dict[str, Cost]:
        """Layer by layer, with the time and energy of a run."""
        return {
            layer.name: Cost(
                self.parameters.get(layer.name, 0), self.macs.get(layer.name, 0), self.addresses.get(layer.name, 0),
                layer.seconds, layer.energy_total_pj,
            )
            for layer in result.layers
        }  # fmt: skip

    @classmethod
    def whole(cls, network: Network) -> Counts:
        """Of a network of which nothing is left out."""
        trained = [layer for layer in network.layers if is_trained(layer)]
        addresses = {layer.name: prod(layer.weight_shape or ()) for layer in trained}
        macs = {layer.name: layer.macs for layer in network.layers if layer.macs}
        return cls({layer.name: layer.parameters for layer in trained}, addresses, macs)

    @classmethod
    def of(cls, network: Network, encode: EncodeRule, seed: int) -> Counts:
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
    kept = weights.size if parts_of(layer) else nonzero  # an algorithm of convolution transforms zeros away
    macs = product_macs(layer) * kept // weights.size
    return nonzero + biases, _addresses(layer, weights, nonzero, encode, seed), macs


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
