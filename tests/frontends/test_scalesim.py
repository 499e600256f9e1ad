"""Are SCALE-Sim's files read by SCALE-Sim's rules, and is what cannot be taken named with line and column?"""

# ruff: noqa: E501 (tables read better with a case a line)

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from accelsim.api import simulate
from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.check import check_file
from accelsim.errors import InputError
from accelsim.frontends.scalesim import read_scalesim_cfg, read_scalesim_topology
from accelsim.workload.network import Network
from accelsim.yaml_io import Document

HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
# As SCALE-Sim ships its AlexNet: conv2 is 27x27 without padding.
ALEXNET = f"""{HEADER}
Conv1     ,224         ,224        ,11           ,11          ,3       ,96        ,4      ,
Conv2     ,27         ,27        ,5            ,5           ,96      ,256       ,1      ,
Conv3     ,13          ,13         ,3            ,3           ,256     ,384       ,1      ,
"""
CFG = """[general]
run_name = scale_example_run_32x32_os

[architecture_presets]
ArrayHeight:    32
ArrayWidth:     16
IfmapSramSzkB:   64
FilterSramSzkB:  128
OfmapSramSzkB:   32
IfmapOffset:    0
FilterOffset:   10000000
OfmapOffset:    20000000
Bandwidth : 10
Dataflow : os
MemoryBanks:   1

[run_presets]
InterfaceBandwidth: CALC
"""


def topology(folder: Path, text: str) -> tuple[Network, list[str]]:
    path = folder / "topo.csv"
    path.write_text(text, newline="")
    return read_scalesim_topology(path)


def faults(folder: Path, text: str, reader: object = read_scalesim_topology) -> list[str]:
    path = folder / "x"
    path.write_text(text, newline="")
    with pytest.raises(InputError) as caught:
        reader(path)  # type: ignore[operator]
    return [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]


def outputs(network: Network) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.output_shapes[0] for layer in network.layers}


def test_alexnet_as_shipped(tmp_path: Path) -> None:
    network, notes = topology(tmp_path, ALEXNET)
    assert outputs(network) == {
        "Conv1": (1, 96, 55, 55),
        "Conv2": (1, 256, 23, 23),
        "Conv3": (1, 384, 11, 11),
    }
    assert network.inputs["Conv2.input"] == (96, 27, 27)  # every layer stands alone
    assert not any(layer.op.model_dump()["bias"] for layer in network.layers)
    assert len(notes) == 1
    assert notes[0].endswith("one row or column too many in Conv1")


@given(h=st.integers(1, 300), r=st.integers(1, 20), stride=st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_output_size_is_scale_sims(h: int, r: int, stride: int, tmp_path: Path) -> None:
    assume(r <= h)
    network, _ = topology(tmp_path, f"{HEADER}\nL,{h},{h + 3},{r},1,2,4,{stride},\n")
    expected = ceil((h - r + stride) / stride), ceil((h + 3 - 1 + stride) / stride)
    assert network.layers[0].output_shapes == ((1, 4, *expected),)
    assert network.macs == expected[0] * expected[1] * r * 1 * 2 * 4  # topology_utils.topo_calc_hyperparams


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\nL,9,9,3,3,2,4,2,\n",
        f"{HEADER}\r\n\r\nL,9,9,3,3,2,4,2,\r\n,,,,\r\n",
        f"\ufeff{HEADER}\n\tL , 9,9,3,3,2,4,2,#dw\n",
        "Layer name,Ifmap height,ifmap width,filter height,filter width,channels,num filters,strides\nL,9,9,3,3,2,4,2",
        "Layer, IFMAP Width, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\nL,9,9,3,3,2,4,2,",
        f"{HEADER}, Sparsity,\nL,9,9,3,3,2,4,2,1:1,".replace(",,", ","),
        f"{HEADER} Batch Size,\nL,9,9,3,3,2,4,2,1,",
        f"{HEADER},,Eh,Ew\nL,9,9,3,3,2,4,2,,,110,110\n",
        f"{HEADER.replace('Strides', 'Stride height, Stride width')}\nL,9,9,3,3,2,4,2,2,",
    ],
)  # fmt: skip
def test_variants_of_the_same_layer(text: str, tmp_path: Path) -> None:
    assert outputs(topology(tmp_path, text)[0]) == {"L": (1, 4, 4, 4)}


@pytest.mark.parametrize(
    "text",
    ["Layer,M,N,K\nQK 1,5,7,3\n2,1,1,1", "Layer Name, M, N, K, Sparsity,\nQK 1, 5, 7, 3, 1,\n2,1,1,1,4:4,\n"],
)
def test_gemm(text: str, tmp_path: Path) -> None:
    network, notes = topology(tmp_path, text)
    assert outputs(network) == {"QK_1": (1, 5, 7), "2": (1, 1, 1)}
    assert (network.layers[0].macs, network.layers[0].weight_shape) == (5 * 7 * 3, (3, 7))
    assert "ceil" not in notes[0]


def test_repeated_names_become_unique(tmp_path: Path) -> None:
    assert list(outputs(topology(tmp_path, "Layer,M,N,K,\na,1,1,1,\na,1,1,1,\n")[0])) == ["a", "a_2"]


def test_a_layer_named_dp_is_one_layer_a_channel(tmp_path: Path) -> None:
    network, notes = topology(tmp_path, f"{HEADER}\nDP1,9,9,3,3,3,1,1,\n")
    assert list(outputs(network)) == ["DP1Channel_0", "DP1Channel_1", "DP1Channel_2"]
    assert network.macs == 3 * 49 * 9
    assert "its name holds DP" in notes[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: is empty"]),
        (HEADER, ["1:1: has a header and no layers"]),
        (f"{HEADER}\nL,9,9,11,10,2,4,2,", [
            "2:7: Filter Height: is 11, must not be larger than IFMAP Height = 9 (SCALE-Sim does not pad)",
            "2:10: Filter Width: is 10, must not be larger than IFMAP Width = 9 (SCALE-Sim does not pad)"]),
        (f"{HEADER}\nL,9, x,3,3,0,4,-1,\nM,9,9", [
            '2:6: IFMAP Width: is "x", must be a whole number from 1 to 2147483647',
            '2:12: Channels: is "0", must be a whole number from 1 to 2147483647',
            '2:16: Strides: is "-1", must be a whole number from 1 to 2147483647',
            "3:1: M: has 3 fields, must have " + HEADER.rstrip(",")]),
        (f"{HEADER} Sparsity,\nL,9,9,3,3,2,4,2,5:4,\nL,9,9,3,3,2,4,2,half,\nL,9,9,3,3,2,4,2,1:128,", [
            '2:17: Sparsity: is "5:4", must be N:M, N of every M weights kept, M at most 99',
            '3:17: Sparsity: is "half", must be N:M, N of every M weights kept, M at most 99',
            '4:17: Sparsity: is "1:128", must be N:M, N of every M weights kept, M at most 99']),
        (f"{HEADER} Batch,\nL,9,9,3,3,2,4,2,8,", ['2:17: Batch Size: is "8": SCALE-Sim has no batch; write 1 here and give --batch']),
        ("Layer,M,K,N\nL,1,2,3", ["1:9: K: is column 3, where SCALE-Sim reads N", "1:11: N: is column 4, where SCALE-Sim reads K"]),
        ("L,9,9,3,3,2,4,2,\n", [
            f'1:1: header: is "L, 9, 9, 3, 3, 2, 4, 2", must name SCALE-Sim\'s columns: {HEADER.rstrip(",")}, or Layer, M, N, K']),
        (f"{HEADER}\nDP,9,9,3,3,99999,4,2,", ["2:12: Channels: is 99999: SCALE-Sim makes a layer of each channel of a layer named DP"]),
    ],
)  # fmt: skip
def test_faults_have_places(text: str, expected: list[str], tmp_path: Path) -> None:
    assert faults(tmp_path, text) == expected


def test_configuration_is_an_architecture(tmp_path: Path) -> None:
    path = tmp_path / "scale.cfg"
    path.write_text(CFG)
    data, notes = read_scalesim_cfg(path)
    arch = read_architecture(Document(data, str(path)))
    engine = arch.engine.model_dump(
        include={"rows", "cols", "dataflow", "overlap", "edge", "drain", "weight_buffers"}
    )
    assert engine == {
        "rows": 32, "cols": 16, "dataflow": "os", "overlap": "none", "edge": "full", "drain": "parallel", "weight_buffers": 1,
    }  # fmt: skip
    assert [(level.name, level.size) for level in arch.on_chip] == [
        ("ifmap_sram", 64 << 10), ("filter_sram", 128 << 10), ("ofmap_sram", 32 << 10),
    ]  # fmt: skip
    assert arch.off_chip.bandwidth is None  # CALC
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "SCALE-Sim has no clock; it is set to 1 GHz, which only turns cycles into seconds",
        "InterfaceBandwidth is CALC: DRAM is never waited for, and cycles do not depend on the sizes of the SRAMs: "
        "what does not fit streams through them, and Bandwidth (line 13) is not used",
        "not used here: IfmapOffset, FilterOffset, OfmapOffset, MemoryBanks",
    ]


def test_bandwidth_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "scale.cfg"
    path.write_text(CFG.replace("CALC", "USER ").replace("Bandwidth : 10", "Bandwidth : 10, 20"))
    data, notes = read_scalesim_cfg(path)
    assert data["memory"][0] == {"name": "dram", "bandwidth": "10 B/cycle"}
    assert "they share 10 B/cycle; the further values" in notes[1]
    assert "USER: cycles are not SCALE-Sim's" in notes[2]
    assert not any("streams" in level for level in data["memory"])  # what a tile waits for is counted


def test_faults_of_a_configuration(tmp_path: Path) -> None:
    text = (
        CFG.replace("ArrayHeight:    32", "ArrayHeight: many")
        .replace("Dataflow : os", "Dataflow : OS\nDataflow : os2")
        .replace("OfmapSramSzkB:   32\n", "")
        .replace("CALC", "user")
        .replace("MemoryBanks:   1", "nonsense\n[open\nSparsitySupport: maybe")
    )
    assert faults(tmp_path, text, read_scalesim_cfg) == [
        "4:1: [architecture_presets] OfmapSramSzkB: is missing",
        '5:14: ArrayHeight: is "many", must be a whole number from 1 to 2147483647',
        "14:1: Dataflow: is given twice (also in line 13)",
        '14:12: Dataflow: is "os2", must be one of os, ws, is (did you mean "os"?)',
        '15:1: nonsense: must be "key: value", "key = value" or "[section]"',
        '16:1: [open: must be a section such as "[general]"',
        '17:18: SparsitySupport: is "maybe", must be true or false',
        '20:21: InterfaceBandwidth: is "user", must be one of CALC, USER (did you mean "USER"?)',
    ]


def test_unknown_and_unmodelled_keys_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "scale.cfg"
    path.write_text(CFG + "UseRamulatorTrace: True\nBandwith: 3\n")
    notes = read_scalesim_cfg(path)[1]
    stalls = "it adds latencies out of a DRAM simulator to SCALE-Sim's cycles, which are not modelled"
    assert f"{path}:19: UseRamulatorTrace is true: {stalls}" in notes
    assert f'{path}:20: unknown key Bandwith (did you mean "Bandwidth"?); it is not read' in notes


V1 = """[general]
run_name = "GoogleTPU_os"

[architecture_presets]
ArrayHeight:    256
ArrayWidth:     128
IfmapSramSz:    8192
FilterSramSz:   4096
OfmapSramSz:    2048
Dataflow:       os
"""


def test_configuration_of_v1(tmp_path: Path) -> None:
    path = tmp_path / "google.cfg"
    path.write_text(V1)
    data, notes = read_scalesim_cfg(path)
    assert data["name"] == "GoogleTPU_os"
    assert [level.get("size") for level in data["memory"]] == [None, "8192 KiB", "4096 KiB", "2048 KiB"]
    assert "bandwidth" not in data["memory"][0]
    assert "v1" in notes[1]


def test_a_size_has_one_name(tmp_path: Path) -> None:
    text = V1.replace("Dataflow", "IfmapSramSzkB: 7\nDataflow")
    expected = ["7:17: IfmapSramSz: is SCALE-Sim v1's name for IfmapSramSzkB (line 10); drop one of the two"]
    assert faults(tmp_path, text, read_scalesim_cfg) == expected


def converted(folder: Path, text: str, **changes: str) -> Architecture:
    """The architecture that a .cfg becomes; ``changes`` of values by key."""
    for key, value in changes.items():
        text = re.sub(rf"(?m)^{key}\s*[:=].*$", f"{key}: {value}", text)
    path = folder / "scale.cfg"
    path.write_text(text)
    return read_architecture(Document(read_scalesim_cfg(path)[0], str(path)))


def folds_cycles(dataflow: str, m: int, n: int, k: int, rows: int, cols: int) -> int:
    """SCALE-Sim's cycles without stalls: every fold pays the whole array's fill, none overlaps the next."""
    on_rows, on_cols, fold = {
        "os": (m, n, k + rows + cols - 2),
        "ws": (k, n, m + 2 * rows + cols - 2),
        "is": (k, m, n + 2 * rows + cols - 2),
    }[dataflow]
    return ceil(on_rows / rows) * ceil(on_cols / cols) * fold


@pytest.mark.parametrize("kib", ["1", "2", "64"])
@pytest.mark.parametrize(("dataflow", "printed"), [("ws", 2501), ("os", 2751), ("is", 8639)])
def test_calc_cycles_do_not_depend_on_the_srams(dataflow: str, printed: int, kib: str, tmp_path: Path) -> None:
    """Printed by SCALE-Sim 3.0.0 at every size: the index of the last cycle."""
    network, _ = topology(tmp_path, f"{HEADER}\nc, 18, 18, 3, 3, 8, 8, 1,\n")
    sizes = {f"{name}SramSzkB": kib for name in ("Ifmap", "Filter", "Ofmap")}
    arch = converted(tmp_path, CFG, ArrayHeight="8", ArrayWidth="8", Dataflow=dataflow, **sizes)
    assert simulate(network, arch).totals.cycles == printed + 1


def test_shipped_alexnet_on_the_shipped_configuration(tmp_path: Path) -> None:
    arch = converted(tmp_path, CFG, ArrayWidth="32", Dataflow="ws", FilterSramSzkB="64", OfmapSramSzkB="64")
    rows = "Conv1, 224, 224, 11, 11, 3, 96, 4,\n"
    assert simulate(topology(tmp_path, f"{HEADER}\n{rows}")[0], arch).totals.cycles == 112_284  # it printed 112,283


@pytest.mark.parametrize(("kib", "weights", "inputs"), [("1", 1, 8), ("4", 1, 1)])
def test_what_does_not_fit_streams(kib: str, weights: int, inputs: int, tmp_path: Path) -> None:
    """SCALE-Sim's DRAM reads of this layer: each fold's operands where the tensor is larger than its SRAM, or each once."""
    network = topology(tmp_path, "Layer, M, N, K,\na, 64, 16, 32,\n")[0]
    sizes = {"IfmapSramSzkB": kib, "FilterSramSzkB": kib, "OfmapSramSzkB": "64"}
    arch = converted(tmp_path, CFG, ArrayHeight="8", ArrayWidth="2", Dataflow="ws", **sizes)
    read = simulate(network, arch).layers[0].traffic_bytes["dram"]
    assert (read["weight"].read, read["input"].read) == (16 * 32 * weights, 64 * 32 * inputs)


def test_partial_sums_stream_too(tmp_path: Path) -> None:
    network = topology(tmp_path, "Layer, M, N, K,\na, 64, 16, 32,\n")[0]  # 4 folds along K: three rounds of 4 KiB
    arch = converted(tmp_path, CFG, ArrayHeight="8", ArrayWidth="16", Dataflow="ws", OfmapSramSzkB="1")
    far = simulate(network, arch).layers[0].traffic_bytes["dram"]
    assert (far["partial_sum"].read, far["partial_sum"].write, far["output"].write) == (3 << 12, 3 << 12, 1 << 10)
    fixed = tmp_path / "mapping.yaml"
    fixed.write_text("schema: accelsim.mapping/1\nname: two\nlayers:\n  a: {tile: {C: 16}}\n")
    again = simulate(network, arch, mapping=fixed).layers[0].traffic_bytes["dram"]
    assert again["partial_sum"] == far["partial_sum"]  # sums that leave with their tile are not counted twice


SPARSE = CFG.replace("[run_presets]", "[sparsity]\nSparsitySupport: true\nOptimizedMapping: false\nBlockSize: 4\n\n[run_presets]")
# Printed by SCALE-Sim 3.0.0 on 4 rows and 8 columns.
SPARSE_GEMMS = """Layer Name, M, N, K, Sparsity,
a, 3, 5, 16, 3:4,
b, 1, 5, 16, 1:4,
c, 7, 5, 18, 2:4,
d, 7, 5, 17, 2:4,
f, 7, 5, 43, 2:4,
g, 7, 15, 43, 1:1,
h, 7, 15, 45, 2:8,
i, 7, 15, 47, 4:8,
"""
PRINTED = {
    ("ws", "false"): [50, 14, 62, 62, 125, 461, 125, 251],
    ("os", "false"): [21, 13, 39, 37, 63, 211, 87, 135],
    ("is", "false"): [56, 18, 56, 56, 113, 318, 86, 173],
    ("ws", "true"): [33, 29, 62, 62, 125, 251, 251, 251],
}


@pytest.mark.parametrize(("dataflow", "row_wise"), PRINTED)
def test_sparse_layers_take_the_rows_that_are_kept(dataflow: str, row_wise: str, tmp_path: Path) -> None:
    network, notes = topology(tmp_path, SPARSE_GEMMS)
    small = {"ArrayHeight": "4", "ArrayWidth": "8"}
    arch = converted(tmp_path, SPARSE, Dataflow=dataflow, OptimizedMapping=row_wise, **small)
    assert [layer.cycles - 1 for layer in simulate(network, arch).layers] == PRINTED[dataflow, row_wise]
    assert "weights of a, b, c, d and 3 more keep N of every M" in notes[1]


@pytest.mark.parametrize("header", [f"{HEADER} Sparsity,", HEADER])
def test_a_sparse_convolution(header: str, tmp_path: Path) -> None:
    network, notes = topology(tmp_path, f"{header}\na, 5, 5, 3, 3, 2, 6, 1, 2:4,\nDP, 5, 5, 3, 3, 2, 6, 1, 1:2")
    assert [layer.weight.pattern for layer in network.layers] == ["2:4", "1:2", "1:2"]
    assert notes[2].endswith(":3: Sparsity is 1:2 without a comma behind it: SCALE-Sim drops such a field and runs the layer "
                             "as dense; here it is read")  # fmt: skip
    arch = converted(tmp_path, SPARSE, ArrayHeight="4", ArrayWidth="8", Dataflow="ws")
    assert simulate(network, arch).layers[0].cycles == 69  # of 18 rows 10 are kept; SCALE-Sim printed 68


def test_sparse_layers_without_sparsity_support_are_dense(tmp_path: Path) -> None:
    sparse, dense = topology(tmp_path, SPARSE_GEMMS)[0], topology(tmp_path, re.sub(r"\d:\d", "1:1", SPARSE_GEMMS))[0]
    arch = converted(tmp_path, SPARSE, SparsitySupport="false")
    assert [one.cycles for one in simulate(sparse, arch).layers] == [one.cycles for one in simulate(dense, arch).layers]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Dataflow": "os", "BlockSize": "4"}, "19:19: OptimizedMapping: is true with Dataflow os: SCALE-Sim runs row-wise "
                                               "sparsity in ws alone; write false"),
        ({"Dataflow": "ws", "BlockSize": "33"}, "20:12: BlockSize: is 33, must not be larger than ArrayHeight = 32"),
        ({"Dataflow": "ws", "BlockSize": "x"}, '20:12: BlockSize: is "x", must be a whole number from 2 to 2147483647'),
    ],
)  # fmt: skip
def test_row_wise_sparsity_that_scale_sim_cannot_run(changes: dict[str, str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        converted(tmp_path, SPARSE, OptimizedMapping="true", **changes)
    assert [str(fault).removeprefix(f"{tmp_path}/scale.cfg:") for fault in caught.value.faults] == [expected]


@given(
    dataflow=st.sampled_from(["os", "ws", "is"]), size=st.tuples(*[st.integers(1, 60)] * 3), array=st.tuples(*[st.integers(1, 17)] * 2),
    pattern=st.integers(1, 8).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))), kib=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_calc_cycles_are_scale_sims(
    dataflow: str, size: tuple[int, int, int], array: tuple[int, int], pattern: tuple[int, int], kib: int, tmp_path: Path
) -> None:
    """Whatever the SRAMs, with the reduction cut to the rows that N:M sparsity keeps."""
    (m, n, k), (kept, block) = size, pattern
    network, _ = topology(tmp_path, f"Layer, M, N, K, Sparsity,\na, {m}, {n}, {k}, {kept}:{block},\n")
    changes = {"ArrayHeight": array[0], "ArrayWidth": array[1], "Dataflow": dataflow, "IfmapSramSzkB": kib, "OfmapSramSzkB": kib}
    arch = converted(tmp_path, SPARSE, **{key: str(value) for key, value in changes.items()})
    left = k // block * kept + min(kept, k % block)
    assert simulate(network, arch).totals.cycles == folds_cycles(dataflow, m, n, left, *array)


def test_check_reads_scale_sims_files(tmp_path: Path) -> None:
    good, bad, cfg = (tmp_path / name for name in ("good.csv", "bad.csv", "scale.CFG"))
    good.write_text(ALEXNET)
    bad.write_text(HEADER.replace(",", "\t"))
    cfg.write_text(CFG.replace("os", "ow"))
    assert check_file(good) == []
    assert str(check_file(bad)[0]).endswith("or Layer, M, N, K; commas part its columns, not tabs")
    assert str(check_file(cfg)[0]).startswith(f"{cfg}:14:12: Dataflow: ")


CSV_TEXT = st.lists(
    st.sampled_from([*"0123456789,:\n\t #", "DP", "9999999999", HEADER, "Layer,M,N,K", "é"]), max_size=60
).map("".join)


@given(text=st.one_of(CSV_TEXT, CSV_TEXT.map((HEADER + "\n").__add__), CSV_TEXT.map("Layer,M,N,K\n".__add__)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_network_or_a_fault(text: str, tmp_path: Path) -> None:
    try:
        network, _ = topology(tmp_path, text)
    except InputError as error:
        assert all(fault.line for fault in error.faults)
    else:
        assert network.layers


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(data)
    for reader in (read_scalesim_topology, read_scalesim_cfg):
        with pytest.raises(InputError):
            reader(path)


@given(cut=st.integers(0, len(CFG)), junk=st.text(max_size=10))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_configuration_is_read_or_refused(cut: int, junk: str, tmp_path: Path) -> None:
    path = tmp_path / "cfg"
    path.write_text(CFG[:cut] + junk + CFG[cut:], encoding="utf-8")
    try:
        data, _ = read_scalesim_cfg(path)
    except InputError as error:
        assert error.faults
    else:
        read_architecture(Document(data, str(path)))
