"""Keys of networks, recipes and sweeps where they mean nothing are refused at their place; a new key says where that is."""

from __future__ import annotations

from typing import Any

import pytest

from accelsim.check import READERS, network_file_model
from accelsim.compression.recipe import Recipe
from accelsim.errors import InputError
from accelsim.sweep.spec import SweepFile
from accelsim.yaml_io import models_within, parse_document

LAYERS = {
    "relu": "{name: x, op: relu, shape: [8]%s}",
    "after": "{name: a, op: relu, shape: [8]}\n  - {name: x, op: linear, out: 8%s}",
    "relu after": "{name: a, op: relu, shape: [8]}\n  - {name: x, op: relu%s}",
    "add": "{name: a, op: relu, shape: [8]}\n  - {name: x, op: add, after: [a, a]%s}",
    "where": "{name: a, op: relu, shape: [8]}\n  - {name: x, op: where, after: [a, a, a]%s}",
    "lstm": "{name: x, op: lstm, shape: [4, 6], hidden: 5%s}",
    "gru": "{name: x, op: gru, shape: [4, 6], hidden: 5%s}",
    "max": "{name: x, op: maxpool2d, shape: [4, 6, 6], window: 2%s}",
    "upsample": "{name: x, op: upsample, shape: [4, 2, 2], rows: [0, 1, 1], columns: [0, 0, 1]%s}",
    "matmul": "{name: x, op: matmul, shape: [4, 6], N: 3%s}",
    "conv": "{name: x, op: conv2d, shape: [4, 6, 6], K: 2, R: 3, S: 3%s}",
}
NETWORK = [
    ("relu", "weight: {density: 0.5}", "weight"), ("max", "weight: {density: 0.5}", "weight"),
    ("add", "weight: {density: 0.5}", "weight"), ("relu", 'weight: {pattern: "2:4"}', "weight"),
    ("relu", "weight: {array: w}", "weight.array"), ("relu", "weight: {codebook_array: w}", "weight.codebook_array"),
    ("relu", "bias: true", "bias"), ("matmul", "bias: true", "bias"), ("relu", "bias: {density: 0.5}", "bias"),
    ("relu after", "input: {density: 0.5}", "input.density"), ("after", 'input: {pattern: "2:4"}', "input.pattern"),
    ("relu", "shift: 3", "shift"), ("lstm", "shift: 3", "shift"), ("max", "requantize: {shift: 3}", "requantize"),
    ("relu", "quantization: {weight_zero_point: 3}", "quantization.weight_zero_point"),
    ("relu", "alpha: 2.0", "alpha"), ("relu", "beta: 2.0", "beta"), ("relu", "low: 0.0", "low"), ("relu", "high: 1.0", "high"),
    ("relu", "trained: 8", "trained"), ("where", "value: 2.0", "value"), ("where", "trained: 8", "trained"),
    ("where", "whole: true", "whole"), ("where", "constant_first: true", "constant_first"), ("add", "value: 2.0", "value"),
    ("add", "constant_first: true", "constant_first"), ("max", "count_include_pad: true", "count_include_pad"),
    ("upsample", "scale: 2", "scale"), ("gru", "projection: 2", ""),
    ("gru", "peepholes: true", ""), ("relu", "exit: 0.5", "exit"), ("conv", "stride: 2, algorithm: winograd_f2x2", ""),
    ("after", "after: [a], shape: [8]", ""), ("relu", "out: 3", "out"), ("lstm", "stride: 2", "stride"),
]  # fmt: skip
PASSES = [
    ("{kind: prune, density: 0.5, vector: 4}", "vector"), ("{kind: prune, n_of_m: [2, 4], granularity: filter}", "granularity"),
    ("{kind: prune, density: 0.5, pes: 4, granularity: filter}", "granularity"),
    ("{kind: prune, n_of_m: [2, 4], pes: 4}", ""), ("{kind: prune, threshold: 0.5, whole_network: true}", "whole_network"),
    ("{kind: prune, density: 0.5, threshold: 0.5}", ""), ("{kind: prune, density: 0.5, deviations: 0.5}", ""),
    ("{kind: prune, density: 0.5, tolerance: 0.5}", ""), ("{kind: factorize, method: svd, rank: 2, energy: 0.5}", ""),
    ("{kind: cluster, bits: 3, buckets: 8}", ""), ("{kind: cluster, buckets: 8, fit: true}", ""),
    ("{kind: quantize, weights: {percentile: 99}}", "weights.percentile"),
    ("{kind: quantize, weights: {kind: log2, range: kl}}", "weights.range"),
    ("{kind: quantize, weights: {kind: ternary, bits: 4}}", "weights.bits"),
    ("{kind: quantize, activations: {percentile: 99}}", "activations.percentile"),
    ("{kind: quantize, activations: {kind: fixed, range: kl}}", "activations.range"),
    ("{kind: quantize, by_layer: {x: {weights: {percentile: 99}}}}", ""),
    ("{kind: encode, huffman: true}\n  - {kind: encode, index_bits: 4}", ""),
    ("{kind: prune_channels, criterion: l1, density: 0.5, rank: 4}", "rank"),
]  # fmt: skip
RECIPES = [
    ("calibration: {file: data.npz, labels: y}", "calibration.labels"),
    ("calibration: {file: nowhere.npz}", "calibration.file"),
]
SWEEPS = [
    ("layers: [c]\ntilings: {layer: c}", "layers"), ("set: {arch.engine.rows: 8}\nvary: {arch.engine.rows: [8, 16]}", "vary"),
    ("batch: 2\nvary: {workload.batch: [1, 2]}", "vary"),
    ("mapping: nowhere.yaml", "mapping"),
    ("recipe: nowhere.yaml", "recipe"),
    ("set: {arhc.engine.rows: 8}", "set"), ("vary: {arch.engine.rows: {values: [8], wen: x}}", "vary"),
]  # fmt: skip


def faults(text: str, tmp_path: Any) -> list[str]:
    (tmp_path / "data.npz").write_bytes(b"")
    document = parse_document(text, "f.yaml", folder=tmp_path)
    with pytest.raises(InputError) as caught:
        READERS[document.data["schema"]](document)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(("layer", "key", "place"), NETWORK)
def test_a_key_of_a_network(layer: str, key: str, place: str, tmp_path: Any) -> None:
    text = "schema: accelsim.network/1\nname: n\nlayers:\n  - "
    (fault,) = faults(text + LAYERS[layer] % f", {key}", tmp_path)
    assert fault.startswith("f.yaml:")
    assert f"].{place}: " in fault if place else "layers[" in fault
    READERS["accelsim.network/1"](parse_document(text + LAYERS[layer] % "", "f.yaml"))


def test_an_input_that_no_layer_reads(tmp_path: Any) -> None:
    text = "schema: accelsim.network/1\nname: n\ninputs: {u: [3]}\nlayers:\n  - {name: a, op: relu, shape: [8]}"
    assert faults(text, tmp_path) == ["f.yaml:3:10: inputs.u: no layer reads it: drop it"]


@pytest.mark.parametrize(("passes", "place"), PASSES)
def test_a_key_of_a_pass(passes: str, place: str, tmp_path: Any) -> None:
    (fault,) = faults(f"schema: accelsim.recipe/1\npasses:\n  - {passes}", tmp_path)
    assert f"passes[0].{place}: " in fault if place else "passes" in fault


@pytest.mark.parametrize(("key", "place"), RECIPES)
def test_a_key_of_a_recipe(key: str, place: str, tmp_path: Any) -> None:
    (fault,) = faults(f"schema: accelsim.recipe/1\n{key}\npasses: [{{kind: encode}}]", tmp_path)
    assert f"{place}: " in fault


@pytest.mark.parametrize(("key", "place"), SWEEPS)
def test_a_key_of_a_sweep(key: str, place: str, tmp_path: Any) -> None:
    found = faults(f"schema: accelsim.sweep/1\nnetwork: n\narch: a\n{key}", tmp_path)
    assert all(f": {place}" in fault for fault in found)


ALWAYS_MEAN = {
    "network": "schema name description batch precision inputs layers op after gate fused output rounding zero_point multiplier "
    "scale epsilon size k to axis axes keepdims K R S P Q M N in window stride pad dilation groups ceil hidden "
    "features rows columns indices start step sizes perm last "
    "transpose_b integers accumulator file codebook density algorithm input weight",
    "recipe": "schema name description seed test inputs passes kind layers file array samples conv2d method criterion "
    "density densities per_channel signed rounding by_layer weights activations index_bits",
    "sweep": "schema name description network arch values seed zip where objective tilings layer tile order keep bound top",
}  # fmt: skip
"""What has a meaning wherever a model takes it, or is refused by the tests of its room where values do not fit."""


def _names(model: Any) -> int:
    """How many operators a layer's model is for; 0 where it is no layer's."""
    op = model.model_fields.get("op")
    return len(op.annotation.__args__) if op is not None else 0


@pytest.mark.parametrize(("kind", "model"), [("network", network_file_model()), ("recipe", Recipe), ("sweep", SweepFile)])
def test_every_key_is_accounted_for(kind: str, model: Any) -> None:
    alone = [m for m in models_within(model) if _names(m) == 1]  # a key of one operator has its meaning there
    keys = {info.alias or name for m in models_within(model) if m not in alone for name, info in m.model_fields.items()}
    shown = str([NETWORK, PASSES, RECIPES, SWEEPS]).replace("_", "")
    idle = {key for key in keys if f"{key.replace('_', '')}:" in shown}
    assert keys - idle <= set(ALWAYS_MEAN[kind].split())
