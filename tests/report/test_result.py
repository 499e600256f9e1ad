"""The result file: what it holds, what it refuses, and that it reads back as it was written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Stalls, Transfer
from accelsim.engines.base import LayerRun
from accelsim.errors import InputError, InvariantError
from accelsim.report.files import write_file, write_files
from accelsim.report.model import LAYERS, REPORT
from accelsim.report.result import Result, build_result
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.ops import Linear
from accelsim.workload.precision import Precision

Make = Callable[[str, Sequence[LayerRun]], Result]


def one_layer(arch: Architecture, run: LayerRun, energy: dict[str, float] | None = None) -> Result:
    network = Network("one", 1, {"x": (4,)}, (run.layer,))
    return build_result(network, arch, [run], [energy or {}])


def linear_run(**changes: object) -> LayerRun:
    """8 x 8 weights, one vector: 64 MACs in 10 cycles, 2 of them filling, 8 bytes of weights off chip."""
    layer = Layer("fc", Linear(out=8), (TensorRef("x"),), ((1, 8),), ((1, 8),), Precision())
    counters = Counters(10, 8, Stalls(fill=2), 64, 60, 0, {"dram": {"weight": Transfer(8 * 8)}})
    run = LayerRun(layer, "systolic", {"K": 8, "C": 8}, {}, counters, Fraction(65536))
    return replace(run, counters=replace(counters, **changes))  # type: ignore[arg-type]


def test_totals_add_up(resnet50: Result) -> None:
    totals, layers = resnet50.totals, resnet50.layers
    assert totals.cycles == sum(layer.cycles for layer in layers)
    assert totals.cycles == totals.busy_cycles + sum(totals.stall_cycles.values())
    assert totals.ops == 2 * totals.macs + totals.vector_ops
    for level, crossed in totals.traffic_bytes.items():
        assert crossed.read == sum(layer.level_traffic(level).read for layer in layers)
        assert crossed.write == sum(layer.level_traffic(level).write for layer in layers)
    assert totals.energy_total_pj == pytest.approx(sum(layer.energy_total_pj for layer in layers))
    assert totals.power_w == pytest.approx(totals.energy_total_pj * 1e-12 / totals.seconds)


def test_layers_keep_the_laws(resnet50: Result) -> None:
    for layer in resnet50.layers:
        assert layer.cycles == layer.busy_cycles + sum(layer.stall_cycles.values())
        assert layer.roofline.attained_gops <= layer.roofline.roof_gops
        assert 0 <= layer.utilization <= 1


def test_a_layer_by_hand(arch: Architecture) -> None:
    layer = one_layer(arch, linear_run()).layer("fc")
    assert layer.roofline.intensity_ops_per_byte == 16
    assert layer.roofline.macs_per_weight_byte == 8
    assert layer.roofline.attained_gops == pytest.approx(128 / 10 * 0.7)
    assert layer.roofline.roof_gops == pytest.approx(16 * 34)
    assert layer.roofline.bound == "memory"
    assert layer.utilization == pytest.approx(64 / 655360)
    assert layer.seconds == pytest.approx(10 / 700e6)
    assert layer.main_stall == ("fill", 2)


def test_machine(resnet50: Result) -> None:
    roof = resnet50.machine.roofs[0]
    assert roof.name == "int8"
    assert roof.peak_gops == pytest.approx(91750.4)
    assert roof.ridge_ops_per_byte == pytest.approx(2 * 1349.3, rel=1e-4)  # the paper: 1350 MACs a byte


def test_no_cycles_divide_nothing(resnet50: Result) -> None:
    relu = resnet50.layer("conv1.relu")
    assert (relu.cycles, relu.utilization, relu.roofline.attained_gops) == (0, 0.0, 0.0)


def test_an_empty_network(make_result: Make) -> None:
    result = make_result("empty", [])
    assert result.totals.cycles == 0
    assert result.summary()
    assert Result.from_json(result.to_json()) == result


def test_no_off_chip_traffic_is_null_and_compute_bound(resnet50: Result) -> None:
    roofline = resnet50.layer("pool1").roofline
    assert roofline.intensity_ops_per_byte is None
    assert roofline.bound == "compute"
    assert '"intensity_ops_per_byte": null' in resnet50.to_json()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cycles": 11}, "11 cycles, but busy and stalls add up to 10"),
        ({"macs": 63}, "63 MACs were counted, the layer has 64"),
        ({"effective_macs": 65}, "65 effective MACs are more than its 64"),
        (
            {"traffic": {"dram": {"weight": Transfer(8 * 486)}}},
            "486 bytes crossed dram in 10 cycles, at most 485",
        ),
        ({"vector_ops": 10**7}, "its roof is"),
    ],
)
def test_a_run_that_cannot_be_true_is_refused(
    arch: Architecture, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InvariantError, match=words) as caught:
        one_layer(arch, linear_run(**changes))
    assert "layer fc" in str(caught.value)


def test_more_macs_than_the_array_has_are_refused(arch: Architecture) -> None:
    with pytest.raises(InvariantError, match="64 MACs in 10 cycles, at most 60 fit"):
        one_layer(arch, replace(linear_run(), peak_macs_per_cycle=Fraction(6)))


def test_dims_must_make_the_macs(arch: Architecture) -> None:
    with pytest.raises(InvariantError, match="its dimensions make 32"):
        one_layer(arch, replace(linear_run(), dims={"K": 8, "C": 4}))


@pytest.mark.parametrize("energy", [-1.0, float("nan"), float("inf")])
def test_energy_must_be_a_number(arch: Architecture, energy: float) -> None:
    with pytest.raises(InvariantError, match="the energy of mac is"):
        one_layer(arch, linear_run(), {"mac": energy})


def test_half_bytes_round_up_but_do_not_break_the_roof(arch: Architecture) -> None:
    result = one_layer(arch, linear_run(traffic={"dram": {"weight": Transfer(4)}}))
    assert result.layer("fc").traffic_bytes["dram"]["weight"].read == 1
    assert result.layer("fc").roofline.intensity_ops_per_byte == 256


def test_same_inputs_same_bytes(make_result: Make, runs: list[LayerRun]) -> None:
    first, second = make_result("net", runs), make_result("net", list(runs))
    assert first.to_json() == second.to_json()
    assert first.to_csv() == second.to_csv()


def test_reads_back_equal(resnet50: Result, tmp_path: Path) -> None:
    assert [path.name for path in resnet50.write(tmp_path / "a" / "b")] == [REPORT, LAYERS]
    assert Result.read(tmp_path / "a" / "b") == resnet50
    again = Result.read(tmp_path / "a" / "b" / REPORT)
    assert again.to_json() == resnet50.to_json()
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == [LAYERS, REPORT]


@settings(max_examples=60, deadline=None)
@given(
    busy=st.integers(8, 10**6), stalls=st.lists(st.integers(0, 10**12), min_size=8, max_size=8),
    bits=st.integers(0, 3000), energy=st.dictionaries(st.text(min_size=1), st.floats(0, 1e30), max_size=4),
    mapping=st.dictionaries(st.text(), st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
        allow_infinity=False), lambda inner: st.lists(inner, max_size=3) | st.tuples(inner), max_leaves=5),
        max_size=3),
)  # fmt: skip
def test_every_result_survives_json(
    arch: Architecture,
    busy: int,
    stalls: list[int],
    bits: int,
    energy: dict[str, float],
    mapping: dict[str, object],
) -> None:
    run = linear_run(
        cycles=busy + sum(stalls), busy_cycles=busy, stalls=Stalls(*stalls),
        traffic={"dram": {"weight": Transfer(bits)}},
    )  # fmt: skip
    result = one_layer(arch, replace(run, mapping=mapping), energy)
    again = Result.from_json(result.to_json())
    assert again == result
    assert again.to_json() == result.to_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a mapping"),
        ("{}", "schema: is missing"),
        ('{"schema": "accelsim.network/1"}', 'must be "accelsim.result/1"'),
        ('{"schema": "accelsim.result/1", "batch": NaN}', "NaN"),
        ('{"schema": "accelsim.result/1"}', "totals: is missing"),
    ],
)
def test_what_is_no_result_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        Result.read(path)
    assert str(path) in str(caught.value)


def test_all_faults_at_once(resnet50: Result) -> None:
    data = json.loads(resnet50.to_json())
    del data["totals"]["macs"]
    data["layers"][3]["cycles"] = -1
    data["mode"] = "fast"
    with pytest.raises(InputError) as caught:
        Result.from_json(json.dumps(data), "x.json")
    faults = {fault.key: fault.message for fault in caught.value.faults}
    assert set(faults) == {"totals.macs", "layers[3].cycles", "mode"}


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Result.read(tmp_path / "nothing.json")


def test_keys_of_later_versions_are_ignored(resnet50: Result) -> None:
    data = json.loads(resnet50.to_json()) | {"later": 1}
    assert Result.from_json(json.dumps(data)) == resnet50


def test_layer_names_the_nearest(resnet50: Result) -> None:
    with pytest.raises(KeyError, match=r'did you mean "conv1"'):
        resnet50.layer("conv_1")


def test_what_cannot_be_written_leaves_nothing(resnet50: Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        resnet50.write(tmp_path / "file" / "out")
    with pytest.raises(InputError):
        write_files(tmp_path / "new" / "deep", {"a": b"1", "no/such/folder": b"2"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"first")
    write_file(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    assert len(list(tmp_path.iterdir())) == 1


def test_dataframe_is_the_csv(resnet50: Result) -> None:
    frame = resnet50.to_dataframe()
    assert len(frame) == len(resnet50.layers)
    assert list(frame.columns) == resnet50.to_csv().split("\n")[0].split(",")
    assert frame.cycles.sum() == resnet50.totals.cycles
    assert frame.share_of_time.sum() == pytest.approx(1)


def test_dataframe_without_pandas_says_so(resnet50: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        resnet50.to_dataframe()


def test_energy_sources_are_kept(resnet50: Result) -> None:
    assert resnet50.energy_sources[0]["source"] == "a test"


@pytest.mark.slow
def test_reports_do_not_import_matplotlib() -> None:
    code = (
        "import sys, accelsim.plot, accelsim.report.result, accelsim.report.table; "
        "import accelsim.report.difference, accelsim.report.style; "
        "assert not {'matplotlib', 'numba', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
