"""Does every architecture shipped load, and is every fault of one named, with its place?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from builders import ROOT, array, formats, one_buffer

from accelsim import catalogue
from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture, RoofSpec, SystolicSpec
from accelsim.errors import InfeasibleError, InputError
from accelsim.yaml_io import load_document, parse_document

FILES = sorted((ROOT / "arch_configs").rglob("*.yaml"))
NAMED = {"tpu_v1", "tpu_v3_core", "gemmini_16x16", "eyeriss_like", "scalesim", "haswell", "k80"}
GOOD = """\
schema: accelsim.arch/1
name: demo
technology: {node_nm: 28}
clock: 700 MHz
engine: {kind: systolic, rows: 256, cols: 256, dataflow: ws, weight_buffers: 2, overlap: skewed, edge: trim,
         precision: {int8: 1, int16: 1/4}}
memory:
  - {name: dram, bandwidth: 34 GB/s, latency: 100 ns}
  - {name: unified_buffer, size: 24 MiB, bandwidth: 256 B/cycle, holds: [input, output]}
  - {name: weight_fifo, size: 256 KiB, holds: [weight]}
energy: {table: 45nm}
"""


def read(text: str) -> Architecture:
    return read_architecture(parse_document(text, "f"))


def faults(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text)
    return [str(fault) for fault in caught.value.faults]


def test_the_architectures_promised_are_there() -> None:
    assert {path.stem for path in FILES} >= NAMED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_architecture_shipped_loads_under_its_own_name(path: Any) -> None:
    arch = read_architecture(load_document(path))
    assert arch.name == path.stem
    assert arch.description
    assert len(arch.sha256) == 64


def test_the_architecture_of_the_specification_loads() -> None:
    arch = read(GOOD)
    assert isinstance(arch.engine, SystolicSpec)
    assert arch.clock == 700_000_000
    assert arch.off_chip.latency.in_cycles(arch.clock) == 70
    assert arch.engine.precision == {"int8": 1, "int16": Fraction(1, 4)}
    assert [level.size for level in arch.on_chip] == [24 << 20, 256 << 10]


def test_tpu_v1_has_its_published_ridge() -> None:
    arch = catalogue.load_arch("tpu_v1")
    assert isinstance(arch.engine, SystolicSpec)
    assert arch.off_chip.bandwidth is not None
    ridge = arch.engine.macs_per_cycle(formats()) / arch.off_chip.bandwidth.per_cycle(arch.clock)
    assert round(ridge) in range(1340, 1361)  # 1350 in the paper


def test_roofs_alone_have_peaks() -> None:
    for name in ("haswell", "k80"):
        assert isinstance(catalogue.load_arch(name).engine, RoofSpec)


# ---- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "start"),
    [
        ("schema: accelsim.arch/1\n", "", "f:1:1: schema: is missing"),
        ("arch/1", "arch/2", "f:1:1: schema: is \"accelsim.arch/2\", must be 'accelsim.arch/1'"),
        ("name: demo\n", "", "f:1:1: name: is missing"),
        ("name: demo", "name: ''", 'f:2:1: name: is ""'),
        ("700 MHz", "700", "f:4:1: clock: is 700, must be a number with its unit"),
        ("700 MHz", "0 MHz", "f:4:1: clock: is '0 MHz', must be greater than zero"),
        ("clock:", "clok:", 'f:4:1: clok: unknown key (did you mean "clock"?)'),
        ("kind: systolic", "kind: sistolic", 'f:5:10: engine.kind: is "sistolic", must be'),
        ("kind: systolic, ", "", "f:5:1: engine: lacks the key 'kind'"),
        ("rows: 256", "rows: 0", "f:5:26: engine.rows: is 0, must be greater than 0"),
        ("rows: 256", "rows: -4", "f:5:26: engine.rows: is -4, must be greater than 0"),
        ("rows: 256", "rows: 2.5", "f:5:26: engine.rows: is 2.5, must be a valid integer"),
        ("rows: 256", "rows: true", "f:5:26: engine.rows: is True, must be a valid integer"),
        ("rows: 256", "rows: '8'", 'f:5:26: engine.rows: is "8", must be a valid integer'),
        ("rows: 256", "row: 256", 'f:5:26: engine.row: unknown key (did you mean "rows"?)'),
        ("dataflow: ws", "dataflow: wss", "f:5:48: engine.dataflow: is \"wss\", must be 'ws', 'os' or 'is'"),
        ("dataflow: ws", "datflow: ws", 'f:5:48: engine.datflow: unknown key (did you mean "dataflow"?)'),
        ("weight_buffers: 2", "weight_buffers: true", "f:5:62: engine.weight_buffers: is True, must be a number"),
        ("weight_buffers: 2", "weight_buffers: 3", "f:5:62: engine.weight_buffers: is 3, must be 1 or 2"),
        ("int8: 1", "int99: 1", "f:6:10: engine.precision: is 'int99', must be int1 to int64"),
        ("1/4", "1/0", "f:6:31: engine.precision.int16: is '1/0', must be a positive number or ratio"),
        ("1/4", "-1", "f:6:31: engine.precision.int16: is -1, must be greater than zero"),
        ("memory:", "memery:", 'f:7:1: memery: unknown key (did you mean "memory"?)'),
        ("34 GB/s", "34 GB", "f:8:18: memory[0].bandwidth: is '34 GB', must be a number with its unit"),
        ("100 ns", "100", "f:8:38: memory[0].latency: is 100, must be a number with its unit"),
        ("24 MiB", "0 MiB", "f:9:28: memory[1].size: is '0 MiB', must be greater than zero"),
        ("24 MiB", "24 Mb", "f:9:28: memory[1].size: is '24 Mb', must be a number with its unit"),
        ("[input, output]", "[inputs, output]", 'f:9:74: memory[1].holds[0]: is "inputs", must be'),
        ("size: 256 KiB", "sise: 256 KiB", 'f:10:25: memory[2].sise: unknown key (did you mean "size"?)'),
        ("weight_fifo", "dram", 'f:7:1: memory: the name "dram" is used for 2 levels'),
        (", holds: [weight]", "", "f:10:5: memory[2]: weight_fifo must say what it holds"),
        ("latency: 100 ns", "holds: [input]", "f:8:38: memory[0].holds: means nothing at the far end"),
        ("45nm", "40nm", "f:11:10: energy.table: is \"40nm\", must be '45nm' or 'none'"),
    ],
)
def test_a_fault_has_its_place_and_says_what_is_allowed(old: str, new: str, start: str) -> None:
    assert GOOD.count(old) >= 1
    found = faults(GOOD.replace(old, new, 1))
    assert any(fault.startswith(start) for fault in found), found


STREAMING = GOOD.replace(", bandwidth: 34 GB/s, latency: 100 ns", "").replace("bandwidth: 256 B/cycle", "streams: true")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: dram", "name: dram, streams: true", "memory[0].streams: means nothing at the far end"),
        ("name: dram", "name: dram, bandwidth: 1 B/cycle", "bandwidth of dram means nothing"),
        ("name: dram", "name: dram, latency: 2 cycles", "latency of dram means nothing"),
        ("streams: true", "streams: true, bandwidth: 9 B/cycle", "bandwidth of unified_buffer means nothing"),
        ("streams: true", "streams: true, slots: 3", "slots of unified_buffer means nothing"),
    ],
)
def test_a_level_that_streams_is_never_waited_for(old: str, new: str, words: str) -> None:
    assert read(STREAMING).memory[1].streams
    assert words in faults(STREAMING.replace(old, new, 1))[0]


def test_only_a_systolic_array_streams() -> None:
    with pytest.raises(InputError, match="NBin streams, which only an engine of kind systolic can do"):
        catalogue.load_arch("diannao", {"arch.memory.1.streams": True})


@pytest.mark.parametrize(
    ("sparsity", "words"),
    [
        ("{patterns: any, n: 2}", "every layer says its own; drop n"),
        ("{patterns: any, n: 2, m: 4}", "drop m and n"),
        ("{patterns: some}", "must be 'this', 'any' or 'assumed'"),
        ("{n: 3, m: 4}", "must be a multiple of n"),
    ],
)
def test_sparsity_says_whose_patterns_it_takes(sparsity: str, words: str) -> None:
    assert words in faults(GOOD.replace("rows: 256", f"sparsity: {sparsity}, rows: 256"))[0]


def test_all_faults_come_at_once() -> None:
    text = GOOD.replace("rows: 256", "rows: 0").replace("700 MHz", "7 MHx").replace("size: 24 MiB", "sise: 24 MiB")
    assert len(faults(text)) == 3


def test_an_override_is_checked_like_the_file() -> None:
    assert catalogue.load_arch("tpu_v1", {"arch.engine.rows": 8}).engine.rows == 8  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"engine\.rows: is 0, must be greater than 0"):
        catalogue.load_arch("tpu_v1", {"arch.engine.rows": 0})
    with pytest.raises(InputError, match=r"engine\.row: unknown key"):
        catalogue.load_arch("tpu_v1", {"arch.engine.row": 8})


# ---- what follows from a file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "input", "rate"),
    [
        ("int8", "int8", 1),
        ("uint8", "int8", 1),
        ("int16", "int16", Fraction(1, 4)),
        ("int8", "int16", Fraction(1, 2)),
        ("int4", "int4", 2),
    ],
)
def test_throughput_by_precision(weight: str, input: str, rate: Fraction) -> None:
    arch = array(4, 8, precision={"int8": 1, "int16": "1/4", "int8xint16": "1/2", "int4": 2})
    assert isinstance(arch.engine, SystolicSpec)
    assert arch.engine.macs_per_cycle(formats(weight, input)) == 32 * rate


def test_a_precision_that_is_not_listed_is_infeasible() -> None:
    arch = array(precision={"int8": 1})
    assert isinstance(arch.engine, SystolicSpec)
    with pytest.raises(InfeasibleError, match="asks for weight int16 x input int8, there is int8; try: add int16xint8"):
        arch.engine.macs_per_cycle(formats("int16", "int8"))


def test_partial_sums_live_with_the_outputs_unless_a_level_is_named() -> None:
    arch = array(memory=one_buffer("1 KiB"))
    assert arch.holder("partial_sum") == arch.holder("output") == arch.memory[1]
    assert array().holder("partial_sum") == array().memory[3]
    assert array(memory=[{"name": "far"}]).holder("weight") is None


def test_the_digest_is_that_of_the_content() -> None:
    assert read(GOOD).sha256 == read(GOOD + "# a comment\n").sha256
    assert read(GOOD).sha256 != read(GOOD.replace("700", "701")).sha256
