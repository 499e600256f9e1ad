"""Are encoded sizes what the formats take, and are they Deep Compression's, from its densities and widths?"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.api import load_network
from accelsim.compression.arrays import held_values, with_layers, with_weights
from accelsim.compression.cluster import cluster
from accelsim.compression.encode import EncodeRule, encoded_size, encoded_sizes, expected_share, total
from accelsim.errors import InputError
from accelsim.formats import huffman_lengths
from accelsim.workload.network import Layer, Network

PUBLISHED = Path(__file__).with_name("deep_compression_layers.csv")
ROWS = [row for row in csv.DictReader(PUBLISHED.read_text().splitlines()) if row["layer"] != "Total"]


def ours(row: dict[str, str]) -> Layer:
    """The layer of accelsim's zoo that a row of the tables is about."""
    zoo = {"LeNet-300-100": "lenet_300_100", "LeNet-5": "lenet5", "AlexNet": "alexnet", "VGG-16": "vgg16"}
    network = load_network(zoo[row["network"]])
    name = row["layer"] if row["network"] != "LeNet-300-100" else row["layer"].replace("ip", "fc")
    known = {layer.name: layer for layer in network.layers}
    return known.get(name) or known[row["layer"]]


def share(row: dict[str, str], which: str, sign: int = 0, whole: bool = True) -> float:
    """The size, per cent, from the published figures, or (``sign`` -1, 1) from the lowest and highest that round to them.

    A codebook of 2**bits 32-bit values; ``whole``: 32-bit biases too, and padding zeros as for non-zeros at random.
    """
    layer = ours(row)
    weights = int(np.prod(layer.weight_shape or ()))
    biases = layer.parameters - weights
    density = (float(row["weights_pct_kept"]) + 0.5 * sign) / 100
    step = 0.05 * sign if which == "PQH" else 0.0
    value, index = float(row[f"weight_bits_{which}"]) + step, float(row[f"index_bits_{which}"]) + step
    codebook_bits = 32 << int(float(row["weight_bits_PQ"]))
    found = expected_share(
        weights, density, value, index, codebook_bits=codebook_bits, biases=biases if whole else 0,
        run_bits=int(row["index_bits_PQ"]) if whole else None,
    )  # fmt: skip
    return 100 * found * (1 if whole else weights / (weights + biases))


@pytest.mark.parametrize("which", ["PQ", "PQH"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['network']}-{row['layer']}")
def test_the_published_size_lies_within_what_its_rounding_allows(row: dict[str, str], which: str) -> None:
    """Pruned positions are not quite random, so there are fewer padding zeros; how biases are stored is not said."""
    published, digit = float(row[f"compress_pct_{which}"]), 0.05 if which == "PQ" else 0.005
    assert share(row, which, -1, whole=False) - digit <= published <= share(row, which, 1) + digit


def test_the_published_sizes_are_met_nearly() -> None:
    errors = [abs(share(row, w) / float(row[f"compress_pct_{w}"]) - 1) for row in ROWS for w in ("PQ", "PQH")]
    assert np.median(errors) < 0.02
    assert np.max(errors) < 0.16


def test_a_sparse_layer_to_the_bit(digits: Network) -> None:
    weights = np.zeros((64, 128), np.float32)
    weights.ravel()[[0, 5, 40, 41]] = [1.0, 2.0, 1.0, -3.0]  # runs of 0, 4, 34 and 0 zeros: 34 takes two paddings
    layer = with_weights(digits, {"fc1": weights}).layer("fc1")
    size = encoded_size(layer, EncodeRule(index_bits=4))
    assert (size.values_bits, size.index_bits, size.padding_bits) == (4 * 32, 4 * 4, 2 * (32 + 4))
    assert size.bias_bits == 64 * 32
    assert size.dense_bits == (64 * 128 + 64) * 32


def test_codebooks_and_huffman(digits: Network) -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(64, 128)) * (rng.random((64, 128)) < 0.1)).astype(np.float32)
    shared = cluster(weights, 4)
    source = held_values(shared.codes.astype(np.uint16), shared.values)
    layer = with_layers(digits, {"fc1": {"weight": source}}).layer("fc1")
    plain = encoded_size(layer, EncodeRule(index_bits=5))
    coded = encoded_size(layer, EncodeRule(index_bits=5, huffman=True))
    assert plain.values_bits == 4 * np.count_nonzero(weights)
    assert plain.codebook_bits == 16 * 32
    assert coded.total_bits < plain.total_bits < encoded_size(layer, EncodeRule()).total_bits
    counts = np.bincount(shared.codes[shared.codes > 0])
    entropy = -sum(c * np.log2(c / counts.sum()) for c in counts if c)
    assert entropy <= coded.values_bits <= entropy + 1.2 * (counts.sum() + plain.padding_bits)


def test_huffman_codes_are_prefix_free_and_short() -> None:
    lengths = huffman_lengths([5, 9, 12, 13, 16, 45])
    assert lengths == [4, 4, 3, 3, 3, 1]
    assert sum(2.0**-n for n in lengths) == 1


def test_totals(digits: Network) -> None:
    sizes = encoded_sizes(digits, EncodeRule())
    assert total(sizes).dense_bits == digits.parameters * 32
    assert total(sizes).ratio == pytest.approx(1)


def test_index_bits_out_of_range(digits: Network, data: dict[str, Any]) -> None:
    del digits, data
    with pytest.raises(InputError, match="encode: index_bits: is 20, must be 1 to 16"):
        EncodeRule(index_bits=20)
