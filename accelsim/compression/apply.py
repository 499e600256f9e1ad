"""Runs a recipe's passes, one after another, on a network whose weights are in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from accelsim.compression import recipe as rc
from accelsim.compression.arrays import Array, held_values, is_trained, weight_of, with_layers
from accelsim.compression.cluster import cluster, fit_centroids, hashed
from accelsim.compression.encode import EncodeRule
from accelsim.compression.factorize import can_factorize, factorize
from accelsim.compression.factors import Rank
from accelsim.compression.float_run import run_on
from accelsim.compression.integers import WeightRule
from accelsim.compression.prune import PruneRule, prune, prune_channels
from accelsim.compression.quantize import ActivationRule, QuantizeRule, quantize
from accelsim.errors import Fault, InputError
from accelsim.workload.expand import with_algorithm
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.ops import Conv2d, Linear

NamedFault = Callable[[int, str], Fault]


@dataclass(frozen=True)
class Passes:
    """What passes share: calibration data, the seed, batch normalizations' scales by the layer before them."""

    data: Array
    seed: int = 0
    scales: Mapping[str, Array] = field(default_factory=dict)

    def run(self, network: Network, passes: list[rc.AnyPass], fault: NamedFault) -> tuple[Network, EncodeRule]:
        """The network after all passes, and how its size is to be counted. ``fault`` places what a pass finds."""
        encode = EncodeRule()
        for index, part in enumerate(passes):
            try:
                if isinstance(part, rc.EncodePass):
                    encode = EncodeRule(part.index_bits, part.huffman)
                else:
                    network = self.one(network, part)
            except ValueError as error:
                raise InputError(fault(index, str(error))) from None
        return network, encode

    def one(self, network: Network, part: rc.AnyPass) -> Network:
        """One pass; ValueError for patterns that fit no layer."""
        if isinstance(part, rc.PrunePass):
            return prune(network, part.chosen(trained_names(network)), _prune_rule(part, network), self.data)
        if isinstance(part, rc.ChannelPass):
            names = part.chosen(trained_names(network))
            return prune_channels(network, names, part.criterion, part.density, self.data, self.scales)
        if isinstance(part, rc.FactorizePass):
            names = part.chosen([layer.name for layer in network.layers if can_factorize(layer, part.method)])
            return factorize(network, names, part.method, Rank(part.rank, part.energy), self.seed)
        if isinstance(part, rc.ClusterPass):
            return self._cluster(network, part)
        if isinstance(part, rc.AlgorithmPass):
            return _with_algorithm(network, part)
        assert isinstance(part, rc.QuantizePass)
        return quantize(network, _quantize_rule(part, network), self.data)

    def _cluster(self, network: Network, part: rc.ClusterPass) -> Network:
        changes: dict[str, dict[str, Any]] = {}
        inputs = _inputs_on(network, self.data) if part.fit else {}
        for name in part.chosen(trained_names(network)):
            weights = weight_of(network.layer(name))
            if part.buckets is not None:
                shared = hashed(weights, part.buckets, self.seed)
            else:
                assert part.bits is not None
                shared = cluster(weights, part.bits)
                if part.fit:
                    shared = fit_centroids(shared, weights, gram_of(network.layer(name), inputs[name]))
            changes[name] = {"weight": held_values(shared.codes.astype(np.uint16), shared.values)}
        return with_layers(network, changes)


def _with_algorithm(network: Network, part: rc.AlgorithmPass) -> Network:
    """Convolutions that do not suit stay as they are; ValueError for one that is named, and not by a pattern."""
    reasons = {layer.name: layer.op.unsuited(part.conv2d) for layer in network.layers if isinstance(layer.op, Conv2d)}
    for name in part.layers or ():
        if reasons.get(name):
            raise ValueError(f"{name}: {part.conv2d} {reasons[name]}")
    names = set(part.chosen([name for name, reason in reasons.items() if not reason]))
    return network.with_sketches(
        [with_algorithm(s, part.conv2d) if s.name in names else s for s in network.sketches]
    )


def trained_names(network: Network) -> list[str]:
    """Layers whose weights passes may change."""
    return [layer.name for layer in network.layers if is_trained(layer)]


def _prune_rule(part: rc.PrunePass, network: Network) -> PruneRule:
    names = trained_names(network)
    by_layer = {
        name: share
        for name in names
        for pattern, share in reversed(part.densities.items())
        if fnmatchcase(name, pattern)
    }
    for pattern in part.densities:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f'densities: "{pattern}" is no layer with weights')
    return PruneRule(
        part.density, part.threshold, part.deviations, part.n_of_m, part.pes, part.tolerance, part.granularity,
        part.vector, part.whole_network, by_layer,
    )  # fmt: skip


def _quantize_rule(part: rc.QuantizePass, network: Network) -> QuantizeRule:
    """The rule with what single layers have of their own; the first pattern that fits counts."""
    known = [layer.name for layer in network.layers] + list(network.inputs)
    own: dict[str, tuple[WeightRule, ActivationRule]] = {}
    for pattern, differs in reversed(part.by_layer.items()):
        names = [name for name in known if fnmatchcase(name, pattern)]
        if not names:
            raise ValueError(f'by_layer: "{pattern}" is no layer or input')
        weights = WeightRule(**(part.weights.model_dump() | differs.weights))
        activations = ActivationRule(**(part.activations.model_dump() | differs.activations))
        own |= dict.fromkeys(names, (weights, activations))
    return QuantizeRule(
        WeightRule(**part.weights.model_dump()), ActivationRule(**part.activations.model_dump()), own, part.rounding
    )


def _inputs_on(network: Network, data: Array) -> dict[str, Array]:
    """What each layer reads first, on ``data``."""
    outputs = run_on(network, data)
    tensors = {TensorRef(name, port): a for name, arrays in outputs.items() for port, a in enumerate(arrays)}
    tensors[TensorRef(next(iter(network.inputs)))] = data
    return {layer.name: tensors[layer.inputs[0]] for layer in network.layers}


def gram_of(layer: Layer, values: Array) -> Array:
    """X^T X of a layer's inputs, one row an output position: float64, reduction x reduction."""
    op = layer.op
    if isinstance(op, Linear):
        rows = values.reshape(-1, op.features(values.shape)).astype(np.float64)
        return np.asarray(rows.T @ rows)
    if not isinstance(op, Conv2d) or op.group_count(values.shape[1]) != 1 or op.dilation != (1, 1):
        raise InputError(Fault(layer.name, "fit", "is for linear layers and convolutions of one group, not dilated"))
    top, bottom, left, right = op.pad
    padded = np.pad(values.reshape(-1, *values.shape[1:]), ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (op.R, op.S), axis=(2, 3))
    windows = windows[:, :, :: op.stride[0], :: op.stride[1]]
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, values.shape[1] * op.R * op.S).astype(np.float64)
    return np.asarray(rows.T @ rows)
