"""Passes on networks: does pruning shrink what it says, does the graph stay whole, do integers stay integers?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accelsim.compression.arrays import weight_of, with_weights
from accelsim.compression.channels import Channels, prunable, without
from accelsim.compression.factorize import factorize
from accelsim.compression.factors import Rank
from accelsim.compression.float_run import real_outputs, run_on, top1
from accelsim.compression.integers import WeightRule
from accelsim.compression.prune import PruneRule, prune, prune_channels
from accelsim.compression.quantize import ActivationRule, QuantizeRule, quantize
from accelsim.errors import InputError
from accelsim.workload.network import Network, TensorRef

LAYERS = ["conv1", "conv2", "fc1", "fc2"]
X = np.random.default_rng(3).normal(size=(4, 3, 8, 8)).astype(np.float32)


def densities(network: Network) -> dict[str, float]:
    return {layer.name: float(np.mean(weight_of(layer) != 0)) for layer in network.layers if layer.macs}


def test_the_network_is_as_accurate_as_stated(digits: Network, data: dict[str, Any]) -> None:
    assert top1(run_on(digits, data["test_images"]), digits, data["test_labels"]) == pytest.approx(0.984, abs=0.004)


def test_pruning_to_a_density(digits: Network) -> None:
    pruned = prune(digits, LAYERS, PruneRule(density=0.25, by_layer={"conv1": 0.5}))
    assert densities(pruned) == pytest.approx({"conv1": 0.5, "conv2": 0.25, "fc1": 0.25, "fc2": 0.25}, abs=0.01)
    assert pruned.layer("fc1").weight.density == densities(pruned)["fc1"]
    one = prune(digits, LAYERS, PruneRule(density=0.25, whole_network=True))
    total = sum(int((weight_of(one.layer(n)) != 0).sum()) for n in LAYERS)
    assert total == pytest.approx(0.25 * sum(weight_of(digits.layer(n)).size for n in LAYERS), rel=0.01)
    assert len(set(densities(one).values())) == 4


def test_pruning_by_threshold_and_deviations(digits: Network) -> None:
    pruned = prune(digits, ["fc1"], PruneRule(threshold=0.1))
    np.testing.assert_array_equal(
        weight_of(pruned.layer("fc1")) != 0, np.abs(weight_of(digits.layer("fc1"))) >= np.float32(0.1)
    )
    fewer = [densities(prune(digits, ["fc1"], PruneRule(deviations=d)))["fc1"] for d in (0.5, 1.0, 2.0)]
    assert fewer == sorted(fewer, reverse=True)


def test_pruning_within_a_tolerance(digits: Network, data: dict[str, Any]) -> None:
    few = data["calibration_images"][:16]
    loose = densities(prune(digits, LAYERS, PruneRule(tolerance=0.3), few))
    tight = densities(prune(digits, LAYERS, PruneRule(tolerance=0.03), few))
    assert all(loose[name] <= tight[name] for name in LAYERS)
    assert loose != tight
    with pytest.raises(InputError, match="calibration: has no samples"):
        prune(digits, LAYERS, PruneRule(tolerance=0.1), few[:0])


# ---- channels ---------------------------------------------------------------------------------------------------

RESIDUAL = (
    ("c0", "conv2d", {"K": 6, "R": 3, "S": 3, "pad": 1}),
    ("r0", "relu", {}),
    ("c1", "conv2d", {"K": 4, "R": 3, "S": 3, "pad": 1}),
    ("c2", "conv2d", {"K": 6, "R": 1, "S": 1}),
    ("sum", "add", {}, ["c2", "r0"]),
    ("dw", "conv2d", {"R": 3, "S": 3, "pad": 1, "groups": "depthwise"}),
    ("side", "conv2d", {"K": 5, "R": 1, "S": 1}, ["sum"]),
    ("join", "concat", {}, ["dw", "side"]),
    ("pool", "maxpool2d", {"window": 2}),
    ("fc", "linear", {"out": 7}),
    ("head", "linear", {"out": 3}),
)  # fmt: skip


def silenced(network: Network, table: Channels, gone: set[int]) -> Network:
    """The same shapes with the weights of the channels in ``gone`` at zero, where they are made."""
    changed = {}
    for layer in network.layers:
        if layer.macs:
            weight = weight_of(layer).copy()
            weight[np.isin(table.roots(table.labels[TensorRef(layer.name)]), list(gone))] = 0
            changed[layer.name] = weight
    return with_weights(network, changed)


def test_shapes_shrink_through_sums_and_concats_and_nothing_else_changes(build: Any) -> None:
    network = build((3, 8, 8), *RESIDUAL)
    table = Channels.of(network)
    assert {layer.name for layer in prunable(network, table)} == {"c0", "c1", "c2", "side", "fc"}
    label = {n: table.labels[TensorRef(n)] for n in ("c0", "c1", "side", "fc")}
    gone = {table.root(int(label[n][i])) for n, i in (("c0", 1), ("c1", 2), ("side", 0), ("side", 4), ("fc", 5))}
    smaller = without(network, table, gone)
    shapes = {layer.name: layer.weight_shape for layer in smaller.layers if layer.macs}
    assert shapes == {
        "c0": (5, 3, 3, 3), "c1": (3, 5, 3, 3), "c2": (5, 3, 1, 1), "dw": (5, 1, 3, 3), "side": (3, 5, 1, 1),
        "fc": (6, 8 * 16), "head": (3, 6),
    }  # fmt: skip
    first, second = run_on(silenced(network, table, gone), X)["head"][0], run_on(smaller, X)["head"][0]
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("criterion", ["l1", "geometric_median", "apoz"])
def test_channels_by_criterion(criterion: Any, build: Any) -> None:
    network = build((3, 8, 8), *RESIDUAL)
    smaller = prune_channels(network, ["c1", "fc"], criterion, 0.5, X)
    assert smaller.layer("c1").output_shapes[0][1] == 2
    assert smaller.layer("fc").output_shapes[0][1] == 4
    assert smaller.layer("head").output_shapes == network.layer("head").output_shapes
    assert smaller.macs < network.macs


def test_the_output_and_the_input_stay(build: Any) -> None:
    network = build((3, 8, 8), ("c", "conv2d", {"K": 4, "R": 3, "S": 3}))
    with pytest.raises(InputError, match="none of the layers chosen has channels that can go"):
        prune_channels(network, ["c"], "l1", 0.5, X)


def test_batch_norm_scales_must_be_known(build: Any) -> None:
    network = build((3, 8, 8), *RESIDUAL)
    with pytest.raises(InputError, match="c1: bn_scale"):
        prune_channels(network, ["c1"], "bn_scale", 0.5, X)
    scales = {"c1": np.array([1.0, 0.1, -2.0, 0.2])}
    smaller = prune_channels(network, ["c1"], "bn_scale", 0.5, X, scales)
    np.testing.assert_array_equal(weight_of(smaller.layer("c1")), weight_of(network.layer("c1"))[[0, 2]])


# ---- factors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), [("fc", "svd"), ("c1", "tucker2")])
def test_a_full_rank_changes_no_output(name: str, method: Any, build: Any) -> None:
    if method == "tucker2":
        pytest.importorskip("tensorly")
    network = build((3, 8, 8), *RESIDUAL)
    factored = factorize(network, [name], method, Rank(energy=1.0))
    assert len(factored.layers) > len(network.layers)
    expected, found = run_on(network, X)["head"][0], run_on(factored, X)["head"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_cp_keeps_stride_and_padding(build: Any) -> None:
    pytest.importorskip("tensorly")
    layer = ("c", "conv2d", {"K": 4, "R": 3, "S": 5, "stride": [2, 1], "pad": [1, 0, 2, 1]})
    network = build((3, 8, 9), layer, ("p", "relu", {}))
    factored = factorize(network, ["c"], "cp", Rank(count=3))
    assert factored.layer("c").output_shapes == network.layer("c").output_shapes
    kernels = [weight_of(factored.layer(n)) for n in ("c_in", "c_rows", "c_columns", "c")]
    parts = kernels[0][:, :, 0, 0], kernels[1][:, 0, :, 0], kernels[2][:, 0, 0, :], kernels[3][:, :, 0, 0]
    whole = np.einsum("tc,tr,ts,kt->kcrs", *parts).astype(np.float32)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32)
    direct = run_on(with_weights(network, {"c": whole}), x)["c"][0]
    np.testing.assert_allclose(run_on(factored, x)["c"][0], direct, rtol=1e-4, atol=1e-5)


# ---- integers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["affine", "symmetric", "fixed", "log2", "ternary"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantized_networks_stay_accurate(kind: Any, per_channel: bool, digits: Network, data: dict[str, Any]) -> None:
    rule = QuantizeRule(WeightRule(kind, 8, per_channel))
    small = quantize(digits, rule, data["calibration_images"])
    outputs = run_on(small, data["test_images"])
    assert all(a[0].dtype.kind in "iu" for a in outputs.values())
    assert top1(outputs, small, data["test_labels"]) >= (0.85 if kind == "ternary" else 0.97)


@pytest.mark.parametrize("activation", ["affine", "symmetric", "fixed"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rounding", ["away", "even", "float32", "gemmlowp"])
def test_eight_bits_are_near_the_floats(
    activation: str, signed: bool, rounding: Any, digits: Network, data: dict[str, Any]
) -> None:
    rule = QuantizeRule(activations=ActivationRule(activation, 8, signed), rounding=rounding)
    small = quantize(digits, rule, data["calibration_images"])
    x = data["test_images"][:40]
    exact, found = run_on(digits, x)["fc2"][0], real_outputs(small, run_on(small, x))["fc2"]
    power, noise = np.square(exact).sum(), np.square(exact - found).sum()
    assert 10 * np.log10(power / noise) > (20 if activation == "fixed" or signed else 25)


def test_a_graph_with_sums_and_concats_is_quantized(build: Any) -> None:
    network = build((3, 8, 8), *RESIDUAL, ("last", "softmax", {}))
    small = quantize(network, QuantizeRule(WeightRule("symmetric", 8, True)), X)
    exact, found = run_on(network, X), real_outputs(small, run_on(small, X))
    for name in ("sum", "join", "head", "last"):
        assert np.abs(exact[name][0] - found[name]).max() < 0.05 * max(np.abs(exact[name][0]).max(), 1)


def test_faults_of_calibration(digits: Network, data: dict[str, Any]) -> None:
    images = data["calibration_images"]
    with pytest.raises(InputError, match="calibration: has no samples"):
        quantize(digits, QuantizeRule(), images[:0])
    with pytest.raises(InputError, match="has a scale of zero"):
        quantize(digits, QuantizeRule(), np.zeros_like(images))


def test_recurrent_layers_are_refused(build: Any) -> None:
    network = build((5, 8), ("l", "lstm", {"hidden": 4}))
    with pytest.raises(InputError, match="a lstm layer has no quantized form"):
        quantize(network, QuantizeRule(), np.ones((2, 5, 8), np.float32))
