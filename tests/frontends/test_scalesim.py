"""Are SCALE-Sim's files read by SCALE-Sim's rules, and is what cannot be taken named with line and column?"""

# ruff: noqa: E501 (tables read better with a case a line)

from __future__ import annotations

from math import ceil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from accelsim.arch.loader import read_architecture
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
        (f"{HEADER} Sparsity,\nL,9,9,3,3,2,4,2,2:4,", [
            '2:17: Sparsity: is "2:4": N:M sparsity is not read; only dense ("1:1" or empty) is']),
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
    assert [(level.name, level.size) for level in arch.memory] == [
        ("dram", None), ("ifmap_sram", 64 << 10), ("filter_sram", 128 << 10), ("ofmap_sram", 32 << 10),
    ]  # fmt: skip
    assert arch.off_chip.bandwidth is None  # CALC
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "SCALE-Sim has no clock; it is set to 1 GHz, which only turns cycles into seconds",
        "InterfaceBandwidth is CALC: DRAM is never waited for, and Bandwidth (line 13) is not used",
        "not used here: IfmapOffset, FilterOffset, OfmapOffset, MemoryBanks",
    ]


def test_bandwidth_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "scale.cfg"
    path.write_text(CFG.replace("CALC", "USER ").replace("Bandwidth : 10", "Bandwidth : 10, 20"))
    data, notes = read_scalesim_cfg(path)
    assert data["memory"][0] == {"name": "dram", "bandwidth": "10 B/cycle"}
    assert "they share 10 B/cycle; the further values" in notes[1]


def test_faults_of_a_configuration(tmp_path: Path) -> None:
    text = (
        CFG.replace("ArrayHeight:    32", "ArrayHeight: many")
        .replace("Dataflow : os", "Dataflow : OS\nDataflow : os2")
        .replace("OfmapSramSzkB:   32\n", "")
        .replace("CALC", "user")
        .replace("MemoryBanks:   1", "nonsense\n[open\nSparsitySupport: true")
    )
    assert faults(tmp_path, text, read_scalesim_cfg) == [
        "4:1: [architecture_presets] OfmapSramSzkB: is missing",
        '5:14: ArrayHeight: is "many", must be a whole number from 1 to 2147483647',
        "14:1: Dataflow: is given twice (also in line 13)",
        '14:12: Dataflow: is "os2", must be one of os, ws, is (did you mean "os"?)',
        '15:1: nonsense: must be "key: value", "key = value" or "[section]"',
        '16:1: [open: must be a section such as "[general]"',
        "17:18: SparsitySupport: is true: SCALE-Sim's N:M sparsity is not read",
        '20:21: InterfaceBandwidth: is "user", must be one of CALC, USER (did you mean "USER"?)',
    ]


def test_unknown_and_unmodelled_keys_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "scale.cfg"
    path.write_text(CFG + "UseRamulatorTrace: True\nBandwith: 3\n")
    notes = read_scalesim_cfg(path)[1]
    assert f"{path}:19: UseRamulatorTrace is true: it has no counterpart here and is not modelled" in notes
    assert f'{path}:20: unknown key Bandwith (did you mean "Bandwidth"?); it is not read' in notes


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
