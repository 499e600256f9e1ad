"""The prune passes: weights set to zero where they are, or whole channels taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accelsim.compression import channels as ch
from accelsim.compression import masks
from accelsim.compression.arrays import Array, Floats, weight_of, with_weights
from accelsim.compression.float_run import final_layer, run_on
from accelsim.errors import Fault, InputError
from accelsim.workload.network import Network, TensorRef
from accelsim.workload.ops import Activation, BatchNorm

Criterion = Literal["l1", "geometric_median", "bn_scale", "apoz"]
_DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class PruneRule:
    """Which weights to keep; exactly one of density, threshold, deviations, n_of_m, pes with density, tolerance.

    density    share of blocks kept, of every layer or (``whole_network``) of all layers by one threshold
    threshold  blocks whose root mean square reaches it are kept
    deviations the threshold is so many standard deviations of the layer's weights (Han et al., NIPS 2015)
    n_of_m     n of every m neighbouring input channels
    pes        every PE keeps the same number (ESE)
    tolerance  each layer as sparse as leaves the network's output this near (relative error on calibration data)
    """

    density: float | None = None
    threshold: float | None = None
    deviations: float | None = None
    n_of_m: tuple[int, int] | None = None
    pes: int | None = None
    tolerance: float | None = None
    granularity: masks.Granularity = "element"
    vector: int = 4
    whole_network: bool = False
    by_layer: Mapping[str, float] | None = None  # densities


def prune(network: Network, names: list[str], rule: PruneRule, data: Array | None = None) -> Network:
    """``network`` with weights of the named layers set to zero by ``rule``."""
    weights = {name: weight_of(network.layer(name)) for name in names}
    if rule.tolerance is not None:
        densities = {name: _tolerated(network, name, rule, data) for name in names}
    elif rule.whole_network and rule.density is not None:
        densities = _shares_above(weights, rule)
    else:
        densities = dict.fromkeys(names, rule.density or 1.0)
    densities |= {name: share for name, share in (rule.by_layer or {}).items() if name in densities}
    kept = {name: mask_of(w, rule, densities[name]) for name, w in weights.items()}
    return with_weights(network, {name: np.where(kept[name], w, np.float32(0)) for name, w in weights.items()})


def mask_of(weights: Floats, rule: PruneRule, density: float) -> masks.Mask:
    """The weights of one layer that stay."""
    if rule.n_of_m is not None:
        return masks.n_of_m(weights, *rule.n_of_m)
    if rule.pes is not None:
        return masks.balanced(weights, rule.pes, density)
    block = masks.block_shape(weights.shape, rule.granularity, rule.vector)
    score = masks.scores(weights, block)
    if rule.threshold is not None:
        kept = score >= rule.threshold
    elif rule.deviations is not None:
        kept = score >= rule.deviations * float(weights.std())
    else:
        kept = masks.keep_share(score, density)
    return masks.spread_mask(kept, block, weights.shape)


def _shares_above(weights: Mapping[str, Floats], rule: PruneRule) -> dict[str, float]:
    """Density of each layer under the one threshold that leaves ``rule.density`` of all weights."""
    score, size = {}, {}
    for name, w in weights.items():
        block = masks.block_shape(w.shape, rule.granularity, rule.vector)
        score[name] = masks.scores(w, block).ravel()
        size[name] = np.full(score[name].size, int(np.prod(block)))
    flat, sizes = np.concatenate(list(score.values())), np.concatenate(list(size.values()))
    order = np.argsort(-flat, kind="stable")
    assert rule.density is not None
    last = int(np.searchsorted(np.cumsum(sizes[order]), rule.density * sizes.sum()))
    threshold = flat[order[min(last, len(order) - 1)]]
    return {name: max(float(np.mean(s >= threshold)), 1 / s.size) for name, s in score.items()}


def _tolerated(network: Network, name: str, rule: PruneRule, data: Array | None) -> float:
    """The lowest density of one layer, all others whole, whose output error stays within the tolerance."""
    if data is None or not len(data):
        raise InputError(Fault("calibration", "", "has no samples; pruning by tolerance needs at least one"))
    assert rule.tolerance is not None
    last, whole = final_layer(network).name, weight_of(network.layer(name))
    reference = run_on(network, data)[last][0]
    size = float(np.linalg.norm(reference)) or 1.0
    for density in _DENSITIES:
        mask = mask_of(whole, PruneRule(granularity=rule.granularity, vector=rule.vector), density)
        changed = with_weights(network, {name: np.where(mask, whole, np.float32(0))})
        if float(np.linalg.norm(run_on(changed, data)[last][0] - reference)) / size <= rule.tolerance:
            return density
    return 1.0


# ---- channels ----------------------------------------------------------------------------------------------------


def prune_channels(
    network: Network, names: list[str], criterion: Criterion, density: float, data: Array | None = None,
    scales: Mapping[str, Array] | None = None,
) -> Network:  # fmt: skip
    """``network`` without the channels of the named layers that matter least; all shapes behind them shrink.

    ``scales`` are the batch normalizations' by the layer before them (for ``bn_scale``; Liu et al., ICCV 2017).
    """
    table = ch.Channels.of(network)
    free = {layer.name for layer in ch.prunable(network, table)}
    wanted = [name for name in names if name in free]
    if not wanted:
        raise InputError(Fault(network.name, "layers", "none of the layers chosen has channels that can go"))
    score = {name: _scores(network, name, criterion, data, scales or {}) for name in wanted}
    gone = ch.choose_labels(table, score, dict.fromkeys(wanted, density))
    return ch.without(network, table, gone)


def _scores(
    network: Network, name: str, criterion: Criterion, data: Array | None, scales: Mapping[str, Array]
) -> Array:
    weights = weight_of(network.layer(name))
    if criterion == "l1":
        return ch.l1_scores(weights)
    if criterion == "geometric_median":
        return ch.median_scores(weights)
    if criterion == "bn_scale":
        if name not in scales:
            raise InputError(Fault(name, "bn_scale", "is not followed by a batch normalization with known scales"))
        return np.abs(scales[name]).astype(np.float64)
    if data is None or not len(data):
        raise InputError(Fault("calibration", "", "has no samples; APoZ needs at least one"))
    return ch.apoz_scores(run_on(network, data)[_activation_after(network, name)][0])


def _activation_after(network: Network, name: str) -> str:
    """The activation that reads a layer (through a batch normalization), or the layer itself."""
    readers = network.consumers()
    at = name
    while len(follow := readers[TensorRef(at)]) == 1:
        op = network.layer(follow[0]).op
        if isinstance(op, Activation):
            return follow[0]
        if not isinstance(op, BatchNorm):
            break
        at = follow[0]
    return name
