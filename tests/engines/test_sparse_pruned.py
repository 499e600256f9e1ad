"""A really pruned layer at 64 PEs and a queue of 8: a network trained on scikit-learn's digits, pruned by magnitude."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from accelsim.api import Simulation, load_network, simulate_full
from accelsim.catalogue import data_folder
from accelsim.formats import Coo, prune_magnitude
from accelsim.workload.functional import run_reference

sparse = pytest.importorskip("scipy.sparse")
NETWORK = """schema: accelsim.network/1
name: pruned
batch: 1
precision: {weight: int8, input: int16, accumulator: int32, output: int32}
layers:
  - {name: fc1, op: linear, in: 128, out: 64, after: [], weight: {file: w.npz}, input: {file: x.npy}, bias: {file: b.npy}}
"""
KEPT = 0.1


def _pruned() -> npt.NDArray[np.int8]:
    """fc1 of workloads/digits.yaml, its largest tenth, at 8 bits."""
    with np.load(data_folder("workloads") / "digits.npz") as arrays:
        weight = arrays["fc1.weight"]
    kept = prune_magnitude(weight, round(KEPT * weight.size))
    dense = kept.to_dense() if isinstance(kept, Coo) else kept
    return np.rint(dense * (127 / np.abs(dense).max())).astype(np.int8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    folder: Path = tmp_path_factory.mktemp("pruned")
    rng = np.random.default_rng(0)
    x = np.maximum(0, rng.normal(0, 300, 128)).astype(np.int16)  # what a ReLU leaves
    sparse.save_npz(folder / "w.npz", sparse.csr_matrix(_pruned()))
    np.save(folder / "x.npy", x)
    np.save(folder / "b.npy", rng.integers(-99, 99, 64))
    (folder / "net.yaml").write_text(NETWORK)
    network = load_network(folder / "net.yaml")
    simulation = simulate_full(network, "eie", values=True)
    assert np.array_equal(simulation.outputs["fc1"], run_reference(network, 0)["fc1"][0])
    assert np.array_equal(simulation.outputs["fc1"][0], _pruned().astype(np.int64) @ x + np.load(folder / "b.npy"))
    return simulation


def test_its_zeros_are_those_of_training() -> None:
    weight = _pruned()
    by_row = np.count_nonzero(weight, axis=1)
    assert np.count_nonzero(weight) / weight.size == pytest.approx(KEPT, rel=0.05)
    assert by_row.var() > 1.5 * by_row.mean() * (1 - KEPT)  # more uneven than if each weight fell alone


def test_counts_hold(run: Simulation) -> None:
    counters = run.runs[0].counters
    counts = counters.unit_counts
    assert counters.cycles == counters.busy_cycles + counters.stalls.total()
    assert counts["theoretical_cycles"] < counters.cycles
    biases = 64  # entries too, but additions, not MACs of the layer
    assert counts["entries"] == counts["padding_zeros"] + counters.effective_macs + biases
    assert counts["entries_of_the_busiest_pe"] <= counters.cycles


def test_uneven_rows_cost_imbalance(run: Simulation) -> None:
    """With one row a PE the busiest PE's entries, not the mean, set the time."""
    counters = run.runs[0].counters
    counts = counters.unit_counts
    assert counts["entries_of_the_busiest_pe"] > 1.3 * counts["entries"] / 64
