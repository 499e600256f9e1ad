"""Do engines run an algorithm of convolution to the direct one's integers, and count what it costs?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import array, conv, formats, one_buffer

import accelsim
from accelsim.api import Simulation, simulate_full
from accelsim.cli import main
from accelsim.errors import InfeasibleError, InputError
from accelsim.mapping.mapping import LayerMapping, MappingFile
from accelsim.report.difference import compare_measures

NETWORK = """
schema: accelsim.network/1
name: net
batch: 2
layers:
  - {name: a, op: conv2d, shape: [3, 9, 7], K: 6, R: 3, S: 3, pad: 1}
  - {name: r, op: relu}
  - {name: b, op: conv2d, K: 5, R: 3, S: 3, pad: [1, 0]}
  - {name: c, op: conv2d, K: 4, R: 3, S: 3, stride: 2}
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("net") / "net.yaml"
    path.write_text(NETWORK)
    return str(path)


def run(net: str, arch: Any, algorithm: str, values: bool = True, **more: Any) -> Simulation:
    return simulate_full(net, arch, values=values, overrides={"workload.algorithm": algorithm, **more})


@pytest.mark.parametrize("arch", ["tpu_v1", "eyeriss_like", "tpu_v3_core", "eie"])
@pytest.mark.parametrize("algorithm", ["winograd_f2x2", "winograd_f4x4"])
def test_engines_give_the_direct_convolutions_integers(net: str, arch: str, algorithm: str) -> None:
    found, expected = run(net, arch, algorithm), run(net, arch, "direct")
    for name, output in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], output)
    assert found.result.totals.accumulator_overflows == 0
    assert found.notes[0].startswith(f"2 of 3 convolutions run by an algorithm: 2 as {algorithm}; directly: c (1)")


@pytest.mark.parametrize("algorithm", ["winograd_f2x2", "winograd_f4x4"])
def test_an_nfu_gives_them_with_exact_sums_and_refuses_with_its_own(net: str, algorithm: str) -> None:
    exact = {"arch.engine.arithmetic": None}
    found, expected = run(net, "diannao", algorithm, **exact), run(net, "diannao", "direct", **exact)
    for name, output in expected.outputs.items():
        np.testing.assert_array_equal(found.outputs[name], output)
    with pytest.raises(
        InfeasibleError, match=rf"layer a by the algorithm {algorithm}: asks for exact products.*diannao's"
    ):
        run(net, "diannao", algorithm)
    assert run(net, "diannao", algorithm, values=False).result.totals.macs < expected.result.totals.macs


@pytest.mark.parametrize("algorithm", ["winograd_f2x2", "winograd_f4x4", "fft_8x8", "fft_16x16"])
def test_floats_on_an_engine(net: str, algorithm: str) -> None:
    lanes = {"arch.vector.lanes": 16}
    found, expected = run(net, "zhang2015", algorithm, **lanes), run(net, "zhang2015", "direct", **lanes)
    for name, output in expected.outputs.items():
        assert found.outputs[name].dtype == np.float32
        np.testing.assert_allclose(found.outputs[name], output, atol=3e-5 * np.abs(output).max())


@pytest.mark.parametrize("arch", ["tpu_v1", "eyeriss_like"])
def test_both_modes_count_the_same(net: str, arch: str) -> None:
    values, cycles = (run(net, arch, "winograd_f4x4", values=mode).result for mode in (True, False))
    assert values.totals.cycles == cycles.totals.cycles
    assert values.totals.traffic_bytes == cycles.totals.traffic_bytes
    assert [layer.vector_ops for layer in values.layers] == [layer.vector_ops for layer in cycles.layers]


def test_a_layer_counted_by_hand() -> None:
    """One channel of 4 x 4 pixels, padded by one: 2 x 2 tiles of F(2x2), 16 products of 1 x 1 by 1 x 4 matrices.

    Off chip go the input (16 int8), the transformed weights (16 int12: 24 bytes) and the output (16 int8). Between the
    parts 64 int10 (80 bytes) and 64 int32 stay on chip. On 4 lanes the additions take 4 * 32 / 4 and 4 * 24 / 4 cycles.
    """
    memory = one_buffer("1 MiB", bandwidth="64 B/cycle")
    arch = array(memory=memory, vector={"lanes": 4}, precision={"int16": 1}, weight_buffers=2, overlap="skewed")
    network = conv(1, (4, 4), precision=formats(), K=1, R=3, S=3, pad=(1, 1, 1, 1), algorithm="winograd_f2x2")
    into, gemm, out = accelsim.simulate(network, arch).layers
    far = [{t: (v.read, v.write) for t, v in layer.traffic_bytes["dram"].items()} for layer in (into, gemm, out)]
    assert far == [{"input": (16, 0)}, {"weight": (24, 0)}, {"input": (4, 0), "output": (0, 16)}]  # and a bias of int32
    near = {t: (v.read, v.write) for t, v in into.traffic_bytes["buffer"].items()}
    assert near == {"input": (16, 16), "output": (0, 80)}
    near = {t: (v.read, v.write) for t, v in out.traffic_bytes["buffer"].items()}
    assert near == {"input": (256 + 4, 4), "output": (16, 16)}
    assert (into.vector_ops, gemm.macs, out.vector_ops) == (4 * 32, 64, 4 * 24)
    assert (into.busy_cycles, out.busy_cycles) == (32, 24)
    assert (into.macs, gemm.vector_ops, out.macs) == (0, 0, 0)


def test_ratio_of_macs(net: str) -> None:
    """a: 9 x 7 outputs are 5 x 4 tiles of 2 x 2; b: 9 x 5 are 5 x 3."""
    result = run(net, "tpu_v1", "winograd_f2x2", values=False).result
    assert result.layer("a_gemm").macs == 2 * 16 * 20 * 3 * 6
    assert result.layer("b_gemm").macs == 2 * 16 * 15 * 6 * 5
    assert (result.layer("a").op, result.layer("a").macs) == ("transform_output", 0)
    assert result.layer("a_gemm").dims == {"N": 2, "K": 6, "C": 3, "P": 5, "Q": 4, "R": 1, "S": 1, "G": 16}


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("gemmini_16x16", "layer a by the algorithm winograd_f2x2: asks for multipliers for transformed weights of int12 x "
         "inputs of int10, there is gemmini_16x16's int8"),
        ("scalesim", "asks for lanes that transform tiles, there is scalesim without a vector unit"),
    ],
)  # fmt: skip
def test_what_an_architecture_lacks(net: str, arch: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InfeasibleError, match=words):
        run(net, arch, "winograd_f2x2")
    assert main(["simulate", net, "--arch", arch, "--set", "workload.algorithm=winograd_f2x2"]) == 1
    assert words in capsys.readouterr().err


def test_a_sweep_says_so_too(net: str) -> None:
    table = accelsim.sweep(net, "gemmini_16x16", {"workload.algorithm": ["direct", "winograd_f2x2"]})
    assert [row["status"] for row in table.rows] == ["ok", "infeasible"]


def test_fourier_is_for_floats(net: str) -> None:
    with pytest.raises(InputError, match=r"net: a.algorithm: fft_8x8 is for floats, not int8 weights") as caught:
        run(net, "tpu_v1", "fft_8x8")
    assert len(caught.value.faults) == 2


# ---- how it is asked for ---------------------------------------------------------------------------------------------


def test_a_sweep_over_algorithms_agrees_with_simulate(net: str) -> None:
    names = ["direct", "winograd_f2x2", "winograd_f4x4"]
    table = accelsim.sweep(net, "tpu_v1", {"workload.algorithm": names})
    found = [row["cycles"] for row in table.rows]
    assert found == [run(net, "tpu_v1", name, values=False).result.totals.cycles for name in names]
    assert len(set(found)) == 3


def test_a_layer_names_its_own(tmp_path: Path, net: str) -> None:
    text = Path(net).read_text().replace("batch: 2", "batch: 2\nalgorithm: winograd_f2x2")
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("K: 5,", "K: 5, algorithm: direct,"))
    result = accelsim.simulate(path, "tpu_v1")
    assert [layer.name for layer in result.layers] == ["a_input", "a_gemm", "a", "r", "b", "c"]
    path.write_text(text.replace("stride: 2", "stride: 2, algorithm: winograd_f2x2"))
    with pytest.raises(
        InputError, match=r"own.yaml:10:5: layers\[3\]: algorithm winograd_f2x2 is for a stride of 1, not 2"
    ):
        accelsim.simulate(path, "tpu_v1")
    path.write_text(text.replace("winograd_f2x2", "winograd"))
    with pytest.raises(
        InputError, match=r"own.yaml:5:1: algorithm: is \"winograd\", must be 'direct', 'winograd_f2x2'"
    ):
        accelsim.simulate(path, "tpu_v1")


def test_selected_layers_bring_their_parts(net: str) -> None:
    overrides = {"workload.algorithm": "winograd_f2x2"}
    result = accelsim.simulate(net, "tpu_v1", layers=["b"], overrides=overrides)
    assert [layer.name for layer in result.layers] == ["b_input", "b_gemm", "b"]


def test_selected_layers_stay_alone_at_another_precision(net: str) -> None:
    """Retyping a selection once brought all the other layers back."""
    assert [layer.name for layer in accelsim.simulate(net, "zhang2015", layers=["b"]).layers] == ["b"]


def test_what_a_mapping_fixes_of_a_convolution_is_its_products(net: str) -> None:
    overrides = {"workload.algorithm": "winograd_f2x2", "mapping.b.tile.K": 2, "mapping.a_gemm.tile.C": 1}
    result = accelsim.simulate(net, "tpu_v1", overrides=overrides)
    assert result.layer("b_gemm").mapping["tile"]["K"] == 2
    assert result.layer("a_gemm").mapping["tile"]["C"] == 1
    with pytest.raises(InputError, match="net has no layer of that name"):
        accelsim.simulate(net, "tpu_v1", overrides={"mapping.b_gemm.tile.K": 2})


def test_an_engine_named_for_a_convolution_runs_all_its_parts(net: str) -> None:
    mapping = MappingFile(layers={"b": LayerMapping(engine="eie")})
    mixed = simulate_full(
        net, "tpu_v1", values=True, mapping=mapping, overrides={"workload.algorithm": "winograd_f2x2"}
    )
    machines = {layer.name: layer.machine for layer in mixed.result.layers}
    assert {machines[name] for name in ("b_input", "b_gemm", "b")} == {"eie"}
    assert machines["a_gemm"] == machines["c"] == ""
    np.testing.assert_array_equal(mixed.outputs["c"], run(net, "tpu_v1", "direct").outputs["c"])


def test_a_comparison_puts_the_parts_together(net: str) -> None:
    first, second = (run(net, "tpu_v1", name, values=False).result for name in ("direct", "winograd_f2x2"))
    parts = second.whole_layers()
    assert {name: [part.name for part in layers] for name, layers in parts.items()} == {
        "a": ["a_input", "a_gemm", "a"], "r": ["r"], "b": ["b_input", "b_gemm", "b"], "c": ["c"],
    }  # fmt: skip
    whole, by_layer = compare_measures(first, second)
    assert list(by_layer) == ["a", "b", "c"]
    assert by_layer["b"].macs == second.layer("b_gemm").macs / first.layer("b").macs
    assert by_layer["b"].latency == sum(part.seconds for part in parts["b"]) / first.layer("b").seconds
    assert by_layer["c"].macs == 1
    assert whole.macs == second.totals.macs / first.totals.macs


def test_an_algorithm_that_suits_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text("schema: accelsim.network/1\nname: five\nalgorithm: winograd_f2x2\nlayers:\n"
                    "  - {name: a, op: conv2d, shape: [3, 9, 9], K: 2, R: 5, S: 5}\n")  # fmt: skip
    assert simulate_full(path, "tpu_v1").notes == (
        "winograd_f2x2 suits none of the 1 convolutions of five: they run directly",
    )
    names = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
    table = f"{names}\nc, 9, 9, 5, 5, 3, 2, 1,\nd, 9, 9, 3, 3, 3, 2, 1,\n"
    csv = tmp_path / "t.csv"
    csv.write_text(table)
    notes = simulate_full(csv, "tpu_v1", overrides={"workload.algorithm": "winograd_f4x4"}).notes
    assert notes[-1] == "1 of 2 convolutions run by an algorithm: 1 as winograd_f4x4; directly: c (1)"
