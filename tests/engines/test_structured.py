"""Weights pruned to N:M on the systolic array, and multipliers that stay still at a zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.api import load_network, simulate, simulate_full
from accelsim.errors import InfeasibleError, InputError
from accelsim.workload.functional import run_reference
from accelsim.workload.values import weight_values

HEAD = "schema: accelsim.network/1\nname: t\nbatch: 8\nprecision: {weight: int8, input: int8, accumulator: int32, output: int8}\n"
ON = {"arch.engine.sparsity": {"n": 2, "m": 4}}


def _network(folder: Path, weight: str = 'weight: {pattern: "2:4"}', layer: str = "linear, in: 1024, out: 1024") -> Any:
    path = folder / "net.yaml"
    path.write_text(f"{HEAD}layers:\n- {{name: f, op: {layer}, {weight}}}\n")
    return load_network(path)


CONV = "conv2d, shape: [10, 12, 12], K: 12, R: 3, S: 3, pad: 1"


@pytest.mark.parametrize("layer", ["linear, in: 30, out: 20", CONV])
def test_seeded_weights_have_the_pattern(tmp_path: Path, layer: str) -> None:
    weight = weight_values(_network(tmp_path, layer=layer).layers[0], 0)
    channels = weight.shape[1] // 4 * 4
    groups = np.moveaxis(weight[:, :channels], 1, -1)
    assert ((groups != 0).reshape(*groups.shape[:-1], -1, 4).sum(axis=-1) == 2).all()


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("layer", ["linear, in: 100, out: 70", CONV])
def test_outputs_are_the_reference(tmp_path: Path, layer: str, dataflow: str) -> None:
    network = _network(tmp_path, layer=layer)
    run = simulate_full(network, "gemmini_16x16", values=True, seed=2, overrides={**ON, "arch.engine.dataflow": dataflow})
    assert np.array_equal(run.outputs["f"], run_reference(network, 2)["f"][0])


def test_half_the_cycles_and_the_traffic_of_its_indices(tmp_path: Path) -> None:
    network = _network(tmp_path)
    ws = {"arch.engine.dataflow": "ws"}
    fast, dense = (simulate(network, "scalesim", overrides=ws | o).layers[0] for o in (ON, {}))
    assert dense.cycles / fast.cycles == pytest.approx(2, rel=0.01)  # what 2:4 tensor cores are sold with
    assert fast.macs == dense.macs
    assert fast.effective_macs == fast.macs // 2
    far = fast.traffic_bytes["dram"] if "dram" in fast.traffic_bytes else next(iter(fast.traffic_bytes.values()))
    biases = 4 * fast.output_shapes[0][-1]
    assert far["weight"].read == fast.macs // 8 // 2 + biases
    assert far["index"].read == fast.macs // 8 // 2 // 4  # two bits to each byte that is kept
    assert fast.energy_pj.get("mac", 0) * 2 == pytest.approx(dense.energy_pj.get("mac", 0))
    assert fast.utilization <= 1
    assert fast.roofline.attained_gops <= fast.roofline.roof_gops


def test_unstructured_weights_run_as_dense_ones(tmp_path: Path) -> None:
    network = _network(tmp_path, "weight: {density: 0.5}")
    assert simulate(network, "scalesim", overrides=ON).totals == simulate(network, "scalesim").totals


def test_weights_that_break_the_pattern(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", np.ones((8, 8), np.int8))
    network = _network(tmp_path, 'weight: {file: w.npz, pattern: "2:4"}', "linear, in: 8, out: 8")
    with pytest.raises(InfeasibleError, match="4 non-zeros in 4 neighbours"):
        simulate_full(network, "gemmini_16x16", values=True, overrides=ON)


@pytest.mark.parametrize(("weight", "words"), [('pattern: "5:4"', "no more than 4"), ("pattern: half", "pattern"),
                                               ('pattern: "2:4", density: 0.9', "at most 2/4")])  # fmt: skip
def test_patterns_that_make_no_sense(tmp_path: Path, weight: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        _network(tmp_path, f"weight: {{{weight}}}")


def test_zero_gating_is_energy_alone(tmp_path: Path) -> None:
    network = _network(tmp_path, "weight: {density: 0.25}", "linear, in: 64, out: 64")
    plain = simulate(network, "tpu_v1")
    gated = simulate(network, "tpu_v1", overrides={"arch.energy.zero_gating": True})
    assert gated.totals.cycles == plain.totals.cycles
    assert gated.totals.energy_pj["mac"] == pytest.approx(plain.totals.energy_pj["mac"] / 4)
    assert {k: v for k, v in gated.totals.energy_pj.items() if k != "mac"} == {
        k: v for k, v in plain.totals.energy_pj.items() if k != "mac"
    }
