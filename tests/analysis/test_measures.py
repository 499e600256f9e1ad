"""The six measures of two hand-made costs, and of two results."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from builders import array, formats, network_of
from rich.console import Console

from accelsim.analysis.measures import Cost, Measures, folded, layer_measures, total
from accelsim.api import simulate
from accelsim.report.difference import compare_measures, layer_cost, print_results_measures, weights_differ
from accelsim.report.model import Result
from accelsim.workload.network import Network
from accelsim.workload.ops import Linear


def test_measures_are_ratios_of_sums() -> None:
    before = {"a": Cost(100, 1000, 100, 2.0, 50.0), "b": Cost(300, 600, 300, 1.0, 10.0)}
    after = {"a": Cost(50, 250, 60, 1.0, 5.0), "b": Cost(30, 150, 40, 0.5, 10.0)}
    whole = Measures.of(total(before.values()), total(after.values()), 0.5)
    assert whole == Measures(0.5, 80 / 400, 400 / 1600, 0.5, 15 / 60, 100 / 400)
    assert layer_measures(before, {"b": after["b"], "new": after["a"]}) == {"b": Measures(None, 0.1, 0.25, 0.5, 1.0, 40 / 300)}


def test_nothing_to_divide_by_is_not_known() -> None:
    assert Measures.of(Cost(0, 0, 0, 1.0, 0.0), Cost(0, 0, 0, 2.0, 0.0)) == Measures(None, None, None, 2.0, None, None)


def linear(density: float, weight: str = "int8") -> Network:
    return network_of(Linear(op="linear", out=40), (100,), precision=formats(weight), density=density)


def test_a_dense_array_stores_every_weight() -> None:
    """4000 weights and 40 biases; a tenth kept."""
    first, second = simulate(linear(1.0), array()), simulate(linear(0.1, "int4"), array(precision={"int8": 1}))
    kept = second.layers[0].weights
    assert kept is not None
    assert (kept.parameters, kept.elements, kept.nonzero, kept.addresses) == (4040, 4000, 400, 4000)
    assert (kept.stored_bits, kept.index_bits) == (16000, 0)
    assert layer_cost(second.layers[0]).macs == 400
    whole, layers = compare_measures(first, second)
    assert whole.parameters == layers["layer"].parameters == 440 / 4040
    assert (whole.macs, whole.index_space, whole.latency) == (0.1, 1.0, 1.0)


def test_weights_pruned_to_two_of_four_take_half_the_places_and_two_bits_each() -> None:
    network = linear(1.0)
    pruned = network.with_sketches(
        [replace(s, weight=s.weight.model_copy(update={"pattern": "2:4", "density": 0.5})) for s in network.sketches]
    )
    kept = simulate(pruned, array(sparsity={"n": 2, "m": 4})).layers[0].weights
    assert kept is not None
    assert (kept.nonzero, kept.addresses, kept.stored_bits, kept.index_bits) == (2000, 2000, 2000 * 10, 2000 * 2)


def test_a_sparse_engine_stores_entries_indices_and_pointers() -> None:
    first, second = simulate(linear(1.0), "eie"), simulate(linear(0.1), "eie")
    kept, counts = second.layers[0].weights, second.layers[0].unit_counts
    assert kept is not None
    assert kept.nonzero == 400
    assert kept.addresses >= 400
    assert kept.stored_bits == sum(counts[f"stored_{part}_bits"] for part in ("value", "index", "pointer", "padding"))
    dense = first.layers[0].weights
    assert dense is not None
    assert 3900 < dense.addresses <= 4000  # of 4000 drawn bytes some are zero
    whole, _ = compare_measures(first, second)
    assert whole.index_space == kept.addresses / dense.addresses
    assert whole.parameters == 440 / 4040


def printed(first: Result, second: Result) -> str:
    out = io.StringIO()
    print_results_measures(first, second, Console(file=out, width=80))
    return out.getvalue()


def test_what_is_printed_says_what_is_not_known() -> None:
    first, second = simulate(linear(1.0), array()), simulate(linear(0.1), array())
    text = printed(first, second)
    assert "0.109" in text
    assert "weights as stored: 3.91 KiB to 3.91 KiB" in text
    assert "accuracy: not known" in text
    labelled = [result.model_copy(update={"accuracy": share}) for result, share in ((first, 0.8), (second, 0.6))]
    assert compare_measures(*labelled)[0].accuracy == pytest.approx(0.75)
    assert "accuracy: not known" not in printed(*labelled)
    assert all(len(line) <= 80 for line in text.split("\n"))


def test_only_other_weights_make_it_a_compression(tmp_path: Path) -> None:
    first = simulate(linear(1.0), array())
    assert not weights_differ(first, simulate(linear(1.0), array(8, 8)))
    assert weights_differ(first, simulate(linear(0.5), array()))
    assert weights_differ(first, simulate(linear(1.0, "int4"), array()))
    first.write(tmp_path)
    assert not weights_differ(first, Result.read(tmp_path))


def test_parts_of_a_layer_are_added_to_it() -> None:
    one = Cost(1, 1, 1, 1.0, 1.0)
    costs = {"fc6_in": one, "fc6": one, "fc60_in": one, "a_b_in": one, "a_b": one, "a": one}
    found = folded(costs, ["fc6", "a", "a_b"])
    assert {name: cost.macs for name, cost in found.items()} == {"fc6": 2, "fc60_in": 1, "a_b": 2, "a": 1}
