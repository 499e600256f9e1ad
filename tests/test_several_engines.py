"""Several architectures in one run: each layer where the mapping says, lawful sums on one clock."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
import pytest

from accelsim.api import Simulation, load_arch, load_network, simulate, simulate_full
from accelsim.catalogue import load_mapping
from accelsim.errors import InputError
from accelsim.mapping.mapping import LayerMapping, MappingFile
from accelsim.report.model import Result
from accelsim.workload.functional import run_reference

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "alexnet_on_two.yaml"
ON_EIE = MappingFile(default=LayerMapping(engine={"linear": "eie"}))


@pytest.fixture(scope="module")
def lenet() -> Simulation:
    return simulate_full("lenet5", "tpu_v1", mapping=ON_EIE)


def test_layers_run_where_the_mapping_says(lenet: Simulation) -> None:
    where = {layer.name: layer.machine for layer in lenet.result.layers}
    linear = {layer.name for layer in lenet.result.layers if layer.op == "linear"}
    assert {name for name, machine in where.items() if machine} >= linear
    assert all(not layer.machine for layer in lenet.result.layers if layer.op == "conv2d")
    assert any("run on eie at 800 MHz" in note and "tpu_v1's 700 MHz" in note for note in lenet.notes)


def test_an_activation_follows_the_layer_before_it() -> None:
    result = simulate("alexnet", "eyeriss_like", mapping=MappingFile(default=LayerMapping(engine={"linear": "eie"})),
                      layers=["fc8", "prob"])  # fmt: skip
    assert [layer.machine for layer in result.layers] == ["eie", "eie"]


def test_cycles_are_converted_and_rounded_up(lenet: Simulation) -> None:
    for run, layer in zip(lenet.runs, lenet.result.layers, strict=True):
        clock = run.machine.clock if run.machine else 700_000_000
        assert layer.cycles == ceil(run.counters.cycles * 700_000_000 / clock)
        assert layer.cycles == layer.busy_cycles + sum(layer.stall_cycles.values())
        assert layer.roofline.attained_gops <= layer.roofline.roof_gops


def test_totals_are_sums(lenet: Simulation) -> None:
    result = lenet.result
    assert result.totals.cycles == sum(layer.cycles for layer in result.layers)
    assert result.totals.energy_total_pj == pytest.approx(sum(layer.energy_total_pj for layer in result.layers))
    assert result.totals.roofline.attained_gops <= result.totals.roofline.roof_gops
    assert result.totals.utilization <= 1
    assert result.totals.traffic_bytes["eie.host"].read > 0
    roofs = {roof.name: roof.peak_gops for roof in result.machine.roofs}
    assert roofs["eie:int8"] == pytest.approx(2 * 64 * 0.8)
    assert {layer.roof_name for layer in result.layers if layer.macs} <= set(roofs)
    assert Result.from_json(result.to_json()) == result


def test_each_leaks_while_the_other_works(lenet: Simulation) -> None:
    alone = simulate("lenet5", "tpu_v1")
    name = next(layer.name for layer in alone.layers if layer.op == "conv2d")
    assert lenet.result.layer(name).energy_pj["mac"] == alone.layer(name).energy_pj["mac"]
    assert lenet.result.layer(name).energy_pj["leakage"] > alone.layer(name).energy_pj["leakage"]


def test_what_the_other_reads_leaves_the_chip(lenet: Simulation) -> None:
    layers = [layer for layer in lenet.result.layers if layer.cycles]
    last = max(i for i, layer in enumerate(layers) if not layer.machine)
    assert layers[last].traffic_bytes["dram"]["output"].write > 0
    assert layers[last + 1].traffic_bytes["eie.host"]["input"].read > 0


def test_values_flow_from_one_to_the_other() -> None:
    network = load_network("lenet5")
    run = simulate_full(network, "tpu_v1", mapping=ON_EIE, values=True, seed=4)
    reference = run_reference(network, 4)
    for name, output in run.outputs.items():
        assert np.array_equal(output, reference[name][0]), name
    control = simulate_full(network, "tpu_v1", mapping=ON_EIE, seed=4)
    on_eie = [(a, b) for a, b in zip(run.runs, control.runs, strict=True) if a.machine]
    assert on_eie
    assert all(a.counters == b.counters for a, b in on_eie)


def test_one_architecture_by_its_own_name_is_the_same_run() -> None:
    named = MappingFile(default=LayerMapping(engine="tpu_v1"))
    assert simulate("lenet5", "tpu_v1", mapping=named).totals == simulate("lenet5", "tpu_v1").totals


def test_the_example_reads() -> None:
    mapping = load_mapping(EXAMPLE)
    assert mapping.engine_of("fc6", "linear") == "eie"
    assert mapping.engine_of("fc8", "linear") == "tpu_v1"
    assert mapping.engine_of("conv1", "conv2d") is None
    assert mapping.machines["eie"] == load_arch("eie")


def test_a_file_beside_the_mapping(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "arch_configs" / "eie.yaml").read_text().replace("name: eie", "name: mine")
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "map.yaml").write_text("schema: accelsim.mapping/1\ndefault: {engine: mine.yaml}\n")
    result = simulate("eie_nt_we", "tpu_v1", mapping=tmp_path / "map.yaml")
    assert {layer.machine for layer in result.layers} == {"mine"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("default: {engine: eye}", r"2:11: default.engine: eye: is no architecture by name"),
        ("default: {engine: {liner: eie}}", r"has 'liner', must name operators.*linear"),
        ("layers: {fc6: {engine: 3}}", r"engine"),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(f"schema: accelsim.mapping/1\n{text}\n")
    with pytest.raises(InputError, match=fault):
        load_mapping(path)
