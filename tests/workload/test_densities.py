"""Real data decides how many activations are zero: measured in cycles mode, used by engines that skip or gate them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.api import load_network, simulate, simulate_full
from accelsim.workload.functional import run_reference

NETWORK = """\
schema: accelsim.network/1
name: two
layers:
  - {name: first, op: linear, in: 6, out: 8, weight: {file: w.npy}, bias: false, shift: 0}
  - {name: relu, op: relu}
  - {name: second, op: linear, out: 4}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Outputs 0 to 3 of ``first`` are its inputs, 4 to 7 their negatives: a rectifier leaves half of them."""
    np.save(tmp_path / "w.npy", np.vstack([np.eye(4, 6), -np.eye(4, 6)]).astype(np.int8))
    path = tmp_path / "n.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def test_densities_of_three_samples_by_hand(network: Path) -> None:
    samples = np.array([[1, 2, 3, 4, 5, 6], [1, 0, 0, 0, 9, 0], [0, 0, 0, 0, 0, 1]], np.int8)
    result = simulate(network, "tpu_v1", inputs={"x": samples})
    assert result.batch == 3
    assert result.layer("first").input_density == (6 + 2 + 1) / 18
    assert result.layer("second").input_density == (4 + 1 + 0) / 24
    assert result.layer("second").effective_macs == -(-result.layer("second").macs * 5 // 24)


def test_cycles_mode_measures_what_values_mode_counts(network: Path) -> None:
    samples = np.random.default_rng(1).integers(-3, 4, (5, 6)).astype(np.int8)
    for arch in ("tpu_v1", "eie"):
        runs = [simulate(network, arch, values=values, inputs={"x": samples}) for values in (False, True)]
        found = [[layer.input_density for layer in run.layers if layer.macs] for run in runs]
        assert found[0] == found[1]
        assert runs[0].totals.cycles == runs[1].totals.cycles


def test_a_sparse_engine_broadcasts_what_is_not_zero(tmp_path: Path) -> None:
    """3 x 3 windows at 64 places, the padding left out, read 22 x 22 values; a pixel in the middle is in nine of them."""
    path = tmp_path / "n.yaml"
    path.write_text(
        "schema: accelsim.network/1\nname: n\nlayers:\n"
        "  - {name: conv, op: conv2d, shape: [1, 8, 8], K: 16, R: 3, S: 3, pad: 1, weight: {density: 0.99}}\n",
        encoding="utf-8",
    )
    dense, sparse = np.ones((1, 1, 8, 8), np.int8), np.zeros((1, 1, 8, 8), np.int8)
    sparse[0, 0, 3, 3] = 1
    runs = [simulate(path, "eie", inputs={"x": x}).layer("conv") for x in (dense, sparse)]
    assert [run.unit_counts["broadcasts"] for run in runs] == [22 * 22, 9]
    assert [run.input_density for run in runs] == [1.0, 1 / 64]
    assert runs[1].cycles < runs[0].cycles


def test_gated_multipliers_spend_by_the_measured_density(network: Path) -> None:
    overrides = {"arch.energy.zero_gating": True}
    samples = [np.ones((1, 6), np.int8), np.array([[1, 0, 0, 0, 0, 0]], np.int8)]
    energy = [simulate(network, "tpu_v1", overrides=overrides, inputs={"x": x}).layer("first").energy_pj["mac"] for x in samples]
    assert energy[1] == pytest.approx(energy[0] / 6)


@pytest.mark.parametrize(("density", "broadcasts"), [(1.0, 400), (0.25, 100), (0.01, 4)])
def test_a_density_stated_for_a_layer_inside_the_network_is_drawn_in_cycles_mode(
    density: float, broadcasts: int, tmp_path: Path
) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(
        "schema: accelsim.network/1\nname: n\nlayers:\n  - {name: a, op: linear, in: 16, out: 400}\n"
        f"  - {{name: b, op: linear, out: 64, input: {{density: {density}}}}}\n",
        encoding="utf-8",
    )
    run = simulate(path, "eie").layer("b")
    flowing = simulate(path, "eie", values=True).layer("b").unit_counts["broadcasts"]
    assert run.unit_counts["broadcasts"] == (broadcasts if density < 1 else flowing)
    assert flowing > 300  # in values mode what flows is what counts


def test_measuring_leaves_values_alone(network: Path) -> None:
    samples = np.arange(12, dtype=np.int8).reshape(2, 6)
    outputs = simulate_full(network, "tpu_v1", values=True, inputs={"x": samples}).outputs
    wanted = run_reference(load_network(network, batch=2), 0, {"first.input": samples})
    np.testing.assert_array_equal(outputs["second"], wanted["second"][0])
