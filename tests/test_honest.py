"""Is every operation of a network charged to a unit, or said to be left out?"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import load_arch, load_network, simulate, simulate_full
from accelsim.report.table import render
from accelsim.workload.network import Network
from accelsim.workload.ops import BatchNorm

LAYERS = (
    "linear, out: 16", "relu", "softmax", "layernorm", "add, value: 2", "transpose, perm: [1, 2]", "reshape, to: [8, 16]",
    "lstm, hidden: 16", "gru, hidden: 16",
)  # fmt: skip


def written(folder: str, layers: list[str]) -> Path:
    path = Path(folder) / "net.yaml"
    rows = [f"  - {{name: n{index}, op: {op}{'' if index else ', after: [x]'}}}" for index, op in enumerate(layers)]
    head = ["schema: accelsim.network/1", "name: chain", "inputs: {x: [8, 16]}", "layers:"]
    path.write_text("\n".join([*head, *rows]))
    return path


def operations(network: Network) -> int:
    """Two a MAC and those of everything else; normalizations behind a product are folded into its weights."""
    return sum(2 * layer.macs + (0 if isinstance(layer.op, BatchNorm) else layer.vector_ops) for layer in network.layers)


@settings(max_examples=12)
@given(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=5), st.sampled_from(["scalesim", "tpu_v1", "zhang2015"]))
def test_all_is_charged_or_said_to_be_left_out(layers: list[str], arch: str) -> None:
    with TemporaryDirectory() as folder:
        network = written(folder, layers)
        run, wanted = simulate_full(network, arch), operations(load_network(network))
    totals = run.result.totals
    assert totals.ops + totals.unmodelled_ops == wanted
    has_unit = load_arch(arch).vector is not None
    assert not (has_unit and totals.unmodelled_ops)
    said = any("has no vector unit" in note and f"{totals.unmodelled_ops:,} operations" in note for note in run.notes)
    assert said or not totals.unmodelled_ops


@pytest.mark.parametrize("arch", ["scalesim", "tpu_v1", "diannao"])
def test_zoo(arch: str) -> None:
    totals = simulate("lenet5", arch).totals
    assert totals.ops + totals.unmodelled_ops == operations(load_network("lenet5"))


def test_the_first_line_says_what_is_not_modelled(tmp_path: Path) -> None:
    result = simulate(written(str(tmp_path), ["linear, out: 16", "softmax"]), "scalesim")
    share = result.totals.unmodelled_share
    assert share == (5 * 8 * 16) / (2 * 8 * 16 * 16 + 5 * 8 * 16)
    assert render(result).startswith("13.5% of the operations are not modelled")
    assert json.loads(result.to_json())["totals"]["unmodelled_ops"] == 640
    assert "not modelled" not in render(simulate(written(str(tmp_path), ["linear, out: 16", "softmax"]), "tpu_v1"))
