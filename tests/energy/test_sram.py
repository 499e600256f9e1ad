"""What does an SRAM of any size, width and node cost?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.energy.figures import read_table
from accelsim.energy.scaling import LogicScaling
from accelsim.energy.sram import leakage_cost, organize, sram_costs

KIB, MIB = 2**10, 2**20
SIZES = st.integers(16, 64 * MIB)
WIDTHS = st.sampled_from([16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
NODES = st.sampled_from([65, 55, 45, 40, 32, 28, 22, 16, 7])


def read_write_pj(size_bytes: int, width_bits: int, node_nm: float = 45) -> tuple[float, float]:
    read, write = sram_costs("buffer", size_bytes, width_bits, LogicScaling(node_nm))
    return read.pj, write.pj


def leakage_pj_per_second(size_bytes: int, width_bits: int, node_nm: float = 45) -> float:
    return leakage_cost("buffer", size_bytes, width_bits, LogicScaling(node_nm)).pj


@pytest.mark.parametrize("row", read_table("sram_cacti7"), ids=lambda r: f"{r['node_nm']}nm-{r['size_KB']}KB")
def test_tabulated_memories_stand_as_tabulated(row: dict[str, str]) -> None:
    size, width, node = int(float(row["size_KB"]) * KIB), int(row["width_bits"]), float(row["node_nm"])
    assert read_write_pj(size, width, node) == (float(row["read_pJ"]), float(row["write_pJ"]))
    assert leakage_pj_per_second(size, width, node) == pytest.approx(float(row["leakage_mW"]) * 1e9)


@settings(deadline=None)
@given(SIZES, SIZES, WIDTHS, NODES)
def test_a_larger_memory_never_costs_less(first: int, second: int, width: int, node: float) -> None:
    small, large = (read_write_pj(size, width, node) for size in sorted((first, second)))
    assert small[0] <= large[0] * (1 + 1e-3)  # 8 KiB from 32- or 64-bit arrays: the table differs by 0.01 %
    assert small[1] <= large[1] * (1 + 1e-3)


@settings(deadline=None)
@given(SIZES, st.sampled_from([16, 32, 64, 128]), NODES)
def test_a_port_twice_as_wide_never_costs_less(size: int, width: int, node: float) -> None:
    narrow, wide = (sum(read_write_pj(size, w, node)) for w in (width, 2 * width))
    assert narrow <= wide * (1 + 1e-3)


@settings(deadline=None)
@given(SIZES, st.sampled_from([256, 512, 1024, 2048]), NODES)
def test_leaving_the_256_bit_column_saves_a_little_at_most(size: int, width: int, node: float) -> None:
    narrow, wide = (sum(read_write_pj(size, w, node)) for w in (width, 2 * width))
    assert narrow <= wide * 1.05


@settings(deadline=None)
@given(SIZES, WIDTHS, NODES, NODES)
def test_a_smaller_node_never_costs_more(size: int, width: int, first: float, second: float) -> None:
    small, large = (read_write_pj(size, width, node) for node in sorted((first, second)))
    assert small[0] <= large[0]
    assert small[1] <= large[1]


def test_sizes_between_are_geometric_means_at_the_geometric_middle() -> None:
    low, middle, high = (read_write_pj(size * KIB, 64)[0] for size in (8, 16, 32))
    assert middle == pytest.approx((low * high) ** 0.5)


def test_28_nm_lies_between_22_and_32_nm() -> None:
    at_22, at_28, at_32 = (read_write_pj(64 * KIB, 64, node)[0] for node in (22, 28, 32))
    assert at_22 < at_28 < at_32


def test_a_memory_beyond_the_table_is_banks_of_the_largest() -> None:
    read, _ = sram_costs("buffer", 24 * MIB, 256, LogicScaling(45))
    assert read.pj == 353.95
    assert "24 MiB as 12 banks of up to 2 MiB, one active" in read.note


def test_leakage_counts_every_bank() -> None:
    assert leakage_pj_per_second(24 * MIB, 256) == pytest.approx(12 * leakage_pj_per_second(2 * MIB, 256))


def test_a_memory_below_the_table_costs_the_smallest_and_says_so() -> None:
    read, _ = sram_costs("buffer", 128, 16, LogicScaling(45))
    assert read.pj == 0.86042
    assert "smaller than the table: costed as 512 B" in read.note


def test_a_wide_port_is_lanes_side_by_side() -> None:
    assert read_write_pj(32 * KIB, 256)[0] == pytest.approx(4 * read_write_pj(8 * KIB, 64)[0])
    assert read_write_pj(32 * KIB, 256)[1] == pytest.approx(4 * read_write_pj(8 * KIB, 64)[1])


def test_a_narrow_port_of_a_large_memory_pays_for_the_row() -> None:
    assert read_write_pj(32 * KIB, 16) == read_write_pj(32 * KIB, 64)


def test_half_used_lanes_are_paid_in_full() -> None:
    assert read_write_pj(64 * KIB, 65) == read_write_pj(64 * KIB, 128)


@given(SIZES, st.integers(1, 8192))
def test_the_arrays_hold_the_memory_and_fill_the_port(size: int, width: int) -> None:
    built = organize(size, width)
    assert built.lanes * built.column_bits >= width
    assert built.lane_kib * built.lanes == pytest.approx(size / KIB)
    assert built.banks * built.array_kib >= built.lane_kib * (1 - 1e-12)


def test_nodes_beyond_the_table_are_scaled_as_logic_and_say_so() -> None:
    read, _ = sram_costs("buffer", 64 * KIB, 64, LogicScaling(16))
    assert read.pj == pytest.approx(read_write_pj(64 * KIB, 64, 22)[0] * LogicScaling(16).factor(22))
    assert "beyond the table's nodes" in read.note


def test_leakage_is_held_where_the_table_ends() -> None:
    cost = leakage_cost("buffer", 64 * KIB, 64, LogicScaling(7))
    assert cost.pj == leakage_pj_per_second(64 * KIB, 64, 22)
    assert "not scaled" in cost.note


def test_a_voltage_leaves_sram_alone_and_says_so() -> None:
    read, _ = sram_costs("buffer", 64 * KIB, 64, LogicScaling(45, 0.8))
    assert read.pj == 25.87
    assert "technology.voltage is not applied" in read.note
