"""Does the library take names, paths and values alike, say every fault at once, and load no more than it needs?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import ROOT

import accelsim
from accelsim import InfeasibleError, InputError
from accelsim.api import simulate_full


def test_names_paths_and_values_are_taken_alike() -> None:
    by_name = accelsim.simulate("lenet5", "tpu_v1")
    by_path = accelsim.simulate(ROOT / "workloads" / "lenet5.yaml", str(ROOT / "arch_configs" / "tpu_v1.yaml"))
    by_value = accelsim.simulate(accelsim.load_network("lenet5"), accelsim.load_arch("tpu_v1"))
    assert by_name.to_json() == by_path.to_json() == by_value.to_json()


def test_overrides_reach_network_architecture_and_mapping() -> None:
    words = {
        "arch.engine.rows": 16, "arch.engine.cols": 8, "arch.memory.dram.bandwidth": "1 GB/s",
        "mapping.ip1.tile.K": 5, "mapping.default.dataflow": "ws", "workload.batch": 3, "workload.precision.output": "int16",
    }  # fmt: skip
    result = accelsim.simulate("lenet5", "tpu_v1", overrides=words)
    assert result.batch == 3
    layers = {layer.name: layer for layer in result.layers}
    assert layers["ip1"].peak_macs_per_cycle == 128
    assert layers["ip1"].mapping["tile"]["K"] == 5
    assert layers["conv1"].precision.output == "int16"
    assert result.machine.bandwidth_bytes_per_second == 10**9


def test_a_batch_given_goes_over_the_file() -> None:
    assert accelsim.load_network("lenet5", batch=7).batch == 7
    assert accelsim.simulate(accelsim.load_network("lenet5"), "tpu_v1", batch=2).batch == 2


def test_faults_of_all_inputs_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        accelsim.simulate("lenet6", "tpu_v2", mapping="nowhere.yaml")
    text = str(caught.value)
    assert 'lenet6: is no network by name (did you mean "lenet5"?)' in text
    assert "tpu_v2: is no architecture by name (did you mean" in text
    assert "nowhere.yaml: no such file" in text


def test_a_layer_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r'there is no layer .conv3. \(did you mean "conv'):
        accelsim.simulate("lenet5", "tpu_v1", layers=["conv3"])


def test_layers_alone() -> None:
    assert [layer.name for layer in accelsim.simulate("lenet5", "tpu_v1", layers=["ip1", "conv2"]).layers] == [
        "conv2",
        "ip1",
    ]


def test_outputs_are_there_in_values_mode_only() -> None:
    assert not simulate_full("lenet5", "tpu_v1").outputs
    outputs = simulate_full("lenet5", "tpu_v1", values=True).outputs
    assert list(outputs) == [layer.name for layer in accelsim.load_network("lenet5").layers]
    assert outputs["conv1"].shape == (1, 20, 24, 24)


def test_the_seed_decides_the_values() -> None:
    first, again, other = (simulate_full("lenet5", "tpu_v1", values=True, seed=s).outputs["conv1"] for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_all_errors_are_of_one_tree() -> None:
    for kind in (InputError, InfeasibleError, accelsim.InvariantError):
        assert issubclass(kind, accelsim.AccelsimError)
    with pytest.raises(accelsim.AccelsimError):
        accelsim.simulate("lenet5", "k80")


def test_what_is_promised_is_there() -> None:
    assert set(accelsim.__all__) <= set(dir(accelsim))
    for name in accelsim.__all__:
        assert getattr(accelsim, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        _ = accelsim.simulat


def test_a_dot_in_a_name_is_no_suffix(tmp_path: Path) -> None:
    assert accelsim.load_network("shufflenet_v1_1.5x").name == "shufflenet_v1_1.5x"
    with pytest.raises(InputError, match="no such file"):
        accelsim.load_network(tmp_path / "a.yaml")


def loaded_by(statement: str) -> set[str]:
    """Modules that a fresh Python has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import accelsim",
        "import accelsim.cli",
        "import accelsim; accelsim.load_network('resnet50'); accelsim.load_arch('tpu_v1')",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement: str) -> None:
    assert not {"numba", "matplotlib", "pandas", "onnx", "networkx", "scipy"} & loaded_by(statement)


@pytest.mark.slow
def test_a_run_loads_no_figures() -> None:
    modules = loaded_by("import accelsim; accelsim.simulate('lenet5', 'tpu_v1')")
    assert "numba" in modules
    assert not {"matplotlib", "pandas", "onnx"} & modules
