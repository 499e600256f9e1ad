"""Does `explain --arch` tell a machine as its YAML has it?"""

from __future__ import annotations

import pytest

from accelsim.api import load_arch
from accelsim.catalogue import names
from accelsim.cli import main
from accelsim.report.machine import explain_machine


@pytest.mark.parametrize("arch", names("arch_configs"))
def test_every_level_and_precision_is_told(arch: str) -> None:
    machine = load_arch(arch)
    text = explain_machine(machine)
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()[0] in
            {level.name for level in machine.memory}] == [level.name for level in machine.memory]  # fmt: skip
    assert "precision" in text


def test_figures_of_tpu_v1() -> None:
    lines = explain_machine(load_arch("tpu_v1")).splitlines()
    assert "  dram              everything    -        -      48.6 B/cycle, 34 GB/s" in lines
    assert "    weight_fifo     weight        256 KiB  4      unlimited" in lines
    assert "  int8        91.8 TOPS  2,699 op/B" in lines  # 2 x 65,536 x 0.7 GHz, and that over 34 GB/s


def test_levels_within_others_are_indented() -> None:
    overrides = {"arch.memory": [
        {"name": "dram"}, {"name": "l2", "holds": ["weight", "input"]}, {"name": "l1", "holds": ["weight"]},
        {"name": "out", "holds": ["output"]},
    ]}  # fmt: skip
    lines = explain_machine(load_arch("gemmini_16x16", overrides=overrides)).splitlines()
    assert [line[: len(line) - len(line.lstrip())] for line in lines if line.strip().startswith("l")] == ["  ", "    ", "      "]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--arch tpu_v1 --layer conv1", "--layer: is about a network, and none is named"),
        ("--arch tpu_v1 --set workload.batch=2", "--set: workload.batch: must be arch.KEY"),
        ("lenet5 --arch tpu_v1", "--layer: which layer of lenet5"),
    ],
)
def test_what_is_about_a_network_needs_one(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words.split()]) == 2
    assert told in capsys.readouterr().err
