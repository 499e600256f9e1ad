"""Are the carried figures the collected ones, and do they agree with what was published?"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from accelsim.energy.arithmetic import integer_pj
from accelsim.energy.dram import dram_costs, types
from accelsim.energy.figures import Point, interpolate, read_table
from accelsim.energy.scaling import fits

SHARED = Path(__file__).parents[3] / "shared" / "energy"
TABLES = ("actions", "sram_cacti7", "arithmetic_fit", "logic_scaling", "registers")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collected figures are not beside this checkout")
@pytest.mark.parametrize("name", ["actions", "sram_cacti7"])
def test_carried_figures_are_the_collected_ones(name: str) -> None:
    with (SHARED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        assert list(read_table(name)) == list(csv.DictReader(file))


@pytest.mark.parametrize("name", [name for name in TABLES if name != "sram_cacti7"])
def test_every_figure_has_a_source_and_says_whether_it_was_read(name: str) -> None:
    for row in read_table(name):
        assert len(row["source"]) > 5, row
        assert row["status"].split(" ")[0] in ("read", "recalled"), row


def test_the_fit_gives_back_the_rows_that_were_computed_from_it() -> None:
    rows = [r for r in read_table("actions") if "qkeras" in r["source"] and r["action"] in ("add", "mult")]
    assert len(rows) == 8
    for row in rows:
        assert integer_pj(row["action"], int(row["width_bits"])) == pytest.approx(
            float(row["energy_pJ"]), rel=1e-3
        )


def test_the_fit_is_near_the_published_points() -> None:
    for action, bits, pj in (("mult", 8, 0.2), ("mult", 32, 3.1), ("add", 16, 0.05), ("add", 32, 0.1)):
        assert integer_pj(action, bits) == pytest.approx(pj, rel=0.01)


def test_scaling_coefficients_give_the_worked_example_of_the_erratum() -> None:
    assert fits()[32].energy(0.9) == pytest.approx(0.4571, abs=5e-5)
    assert fits()[65].energy(1.3) == pytest.approx(2.604, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "pj", "status"),
    [
        ("DDR3", 70, "read"),
        ("LPDDR4", 8, "read"),
        ("DDR4", 20, "recalled"),
        ("HBM2", 3.9, "read"),
        ("HBM3", 4.05, "read"),
    ],
)
def test_dram_costs_a_bit(name: str, pj: float, status: str) -> None:
    read, write = dram_costs("dram", name)
    assert (read.pj, write.pj, read.per, read.status) == (pj, pj, "bit", status)


def test_the_generic_dram_is_horowitz_and_says_so() -> None:
    read, _ = dram_costs("dram", None)
    assert read.pj == 20.3125
    assert "names no type" in read.note


def test_the_choice_between_sources_is_told() -> None:
    assert "6.25" in dram_costs("dram", "HBM2")[0].note
    assert "15-25" in dram_costs("dram", "DDR4")[0].note


def test_every_dram_type_in_the_table_can_be_named() -> None:
    for name in types():
        assert dram_costs("dram", name)[0].pj > 0


def test_interpolation_is_exact_at_points_and_geometric_between() -> None:
    points = (Point(1, 2), Point(4, 8), Point(16, 8))
    assert [interpolate(points, x) for x in (1, 4, 16)] == [2, 8, 8]
    assert interpolate(points, 2) == pytest.approx(4)
    assert interpolate(points, 8) == pytest.approx(8)
