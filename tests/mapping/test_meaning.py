"""Keys that change nothing in a run: refused where they are said for it, noted where a file has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accelsim.api import load_arch, simulate, simulate_full
from accelsim.catalogue import names
from accelsim.errors import InputError
from accelsim.sweep.api import sweep


def fault(arch: Any, overrides: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        simulate("lenet5", arch, overrides=overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arch", "overrides", "words"),
    [
        ("scalesim", {"arch.engine.weight_load": "parallel"}, "weight_load is of the dataflows ws and is"),
        ("scalesim", {"arch.engine.weight_buffers": 2}, "weight_buffers is of the dataflows ws and is"),
        ("scalesim", {"arch.engine.accumulators.entries": 64}, "accumulators is of the dataflows ws and is"),
        ("tpu_v1", {"arch.engine.drain": "cols"}, "drain is of the dataflow os"),
        ("scalesim", {"arch.engine.dataflow": "is", "arch.engine.drain": "cols"}, "drain is of the dataflow os"),
        ("dadiannao", {"arch.engine.links.latency": "1 ns"}, "links joins several nodes"),
        ("scalesim", {"arch.memory.1.width_bits": 32}, "width_bits is of the energy"),
        ("scalesim", {"arch.energy.zero_gating": True}, "zero_gating is of the energy"),
        ("diannao", {"mapping.conv1.dataflow": "os"}, "no other dataflow than os"),
        ("diannao", {"mapping.default.dataflow": "os"}, "no other dataflow than os"),
        ("tpu_v1", {"mapping.pool1.tile.K": 2}, "pool1 (maxpool2d) has no loops to map"),
        ("tpu_v1", {"mapping.pool1.dataflow": "os"}, "pool1 (maxpool2d) has no loops to map"),
        ("tpu_v1", {"arch.vector.inline": ["rellu"]}, 'did you mean "relu"?'),
        ("diannao", {"arch.engine.arithmetic": {"fraction": 8, "product_bits": 20}}, "means nothing with product: exact"),
        ("zhang2015", {"arch.engine.activation.reach": 4}, "is of fixed-point arithmetic"),
    ],
)
def test_what_is_said_for_a_run_without_effect_is_refused(arch: str, overrides: dict[str, Any], words: str) -> None:
    assert words in fault(arch, overrides)


def test_a_mapping_can_give_a_key_its_meaning() -> None:
    said = {"arch.engine.drain": "cols"}
    one = {"mapping.conv1.dataflow": "os"}
    assert simulate("lenet5", "tpu_v1", overrides=said | one).totals != simulate("lenet5", "tpu_v1", overrides=one).totals


@pytest.mark.parametrize("arch", names("arch_configs"))
def test_shipped_architectures_say_nothing_in_vain(arch: str) -> None:
    engine = load_arch(arch).engine
    if engine.kind in ("systolic", "nfu"):
        run = simulate_full("lenet5", arch, layers=["conv1"])
        assert not [note for note in run.notes if "has no effect" in note or "bandwidth moves" in note]


def test_dataflows_are_swept_on_files_of_one() -> None:
    table = sweep("lenet5", "tpu_v1", {"arch.engine.dataflow": ["ws", "os", "is"]}, layers=["conv1"])
    assert [row["status"] for row in table.rows] == ["ok"] * 3


HEAD = "schema: accelsim.arch/1\nname: mine\nclock: 1 GHz\n"
LEVELS = "memory:\n  - {name: far}\n  - {name: b, size: 64 KiB, holds: [weight, input, output]%s}\n"


def notes(tmp_path: Path, engine: str, level: str = "") -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{HEAD}engine: {{kind: systolic, rows: 8, cols: 8, {engine}}}\n{LEVELS % level}")
    return "\n".join(simulate_full("lenet5", path, layers=["conv1"]).notes)


@pytest.mark.parametrize(
    ("engine", "key"),
    [
        ("dataflow: os, weight_load: parallel", "weight_load"),
        ("dataflow: os, weight_buffers: 2", "weight_buffers"),
        ("dataflow: ws, drain: cols", "drain"),
        ("dataflow: ws, also: [is], drain: cols", "drain"),
        ("dataflow: ws, also: [os], drain: cols", ""),
        ("dataflow: ws, weight_load: parallel", ""),
        ("dataflow: os, weight_load: rows", ""),
    ],
)
def test_a_file_is_told_of_its_keys_without_effect(tmp_path: Path, engine: str, key: str) -> None:
    told = notes(tmp_path, engine)
    assert (f"mine: engine.{key} has no effect" in told) if key else "has no effect" not in told


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("width_bits: 64, bandwidth: 8 B/cycle", ""),
        ("width_bits: 64, bandwidth: 16 B/cycle", ""),
        ("width_bits: 64, bandwidth: 17 B/cycle", "more than a read and a write"),
        ("width_bits: 64, bandwidth: 7 B/cycle", "less than one access"),
        ("width_bits: 64, bandwidth: 17 B/cycle, banks: 2", ""),
        ("width_bits: 64, bandwidth: 9 GB/s", ""),
        ("width_bits: 64, bandwidth: 900 GB/s", "bandwidth moves 7200 bits a cycle, width_bits says an access of 64 bits"),
        ("bandwidth: 900 GB/s", ""),
    ],
)
def test_width_and_bandwidth_that_contradict_each_other_are_pointed_out(tmp_path: Path, level: str, told: str) -> None:
    found = notes(tmp_path, "dataflow: ws", f", {level}")
    assert told in found if told else "bandwidth moves" not in found


@pytest.mark.parametrize(
    ("network", "arch", "overrides", "told"),
    [
        ("lenet5", "gemmini_16x16", {"arch.engine.sparsity": {"n": 2, "m": 4}}, "engine.sparsity has no effect"),
        ("lenet5", "gemmini_16x16", {"arch.memory.1.preloaded": True, "arch.memory.1.size": "64 KiB"}, "preloaded has no effect"),
        ("lenet5", "gemmini_16x16", {"arch.memory.1.preloaded": True, "arch.memory.1.size": "1 MiB"}, ""),
    ],
)
def test_what_a_network_cannot_use_is_noted(network: str, arch: str, overrides: dict[str, Any], told: str) -> None:
    found = [note for note in simulate_full(network, arch, overrides=overrides).notes if "has no effect" in note]
    assert (told in found[0]) if told else not found


def test_detecting_zeros_that_are_not_skipped_is_refused() -> None:
    told = fault("eie", {"arch.engine.skip_zeros": False, "arch.engine.zero_detection": "ideal"})
    assert "zero_detection finds zeros to skip, and engine.skip_zeros is false" in told


def test_a_sweep_tells_the_notes_of_its_points() -> None:
    table = sweep("lenet5", "gemmini_16x16", {"arch.engine.rows": [8, 16]}, overrides={"arch.engine.sparsity": {"n": 2, "m": 4}})
    assert any("engine.sparsity has no effect" in note for note in table.notes)
