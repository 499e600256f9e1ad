"""The roofline's numbers, by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.analysis.compare import Change, compare_tables
from accelsim.analysis.roofline import Roof, gops, machine_roofs, position
from accelsim.arch.loader import read_architecture
from accelsim.yaml_io import load_document

CONFIGS = Path(__file__).parents[2] / "arch_configs"


def test_a_roof() -> None:
    roof = Roof("int8", 91750.4, 34e9)
    assert roof.ridge_ops_per_byte == pytest.approx(2698.54, rel=1e-5)
    assert roof.gops_at(100) == pytest.approx(3400)
    assert roof.gops_at(1e6) == 91750.4


def test_unlimited_bandwidth_has_no_ridge() -> None:
    roof = Roof("int8", 10.0, None)
    assert roof.ridge_ops_per_byte is None
    assert roof.gops_at(0.001) == 10.0


@pytest.mark.parametrize(
    ("bits", "bound"), [(8, "compute"), (8 * 10, "compute"), (8 * 11, "memory"), (0, "compute")]
)
def test_bound_turns_at_the_ridge(bits: int, bound: str) -> None:
    place = position(
        ops=100, cycles=100, off_chip_bits=bits, peak_ops_per_cycle=Fraction(10), bytes_per_cycle=Fraction(1)
    )
    assert place.bound == bound  # 100 ops over 10 bytes is the ridge: 10 ops a byte


def test_movement_alone_is_bound_by_memory() -> None:
    place = position(0, 10, 80, Fraction(10), Fraction(1))
    assert (place.intensity, place.roof, place.bound) == (0, 0, "memory")


def test_no_time_attains_nothing() -> None:
    assert position(100, 0, 0, Fraction(10), None).attained == 0


@given(st.integers(1, 10**12), st.integers(1, 10**9), st.integers(1, 10**12), st.integers(1, 10**6))
def test_a_layer_at_its_roof_is_never_above_it(ops: int, bits: int, rate: int, clock: int) -> None:
    """A memory-bound layer that wastes nothing stands exactly on the slope, also after rounding."""
    bandwidth = Fraction(rate, clock)
    cycles = -(-Fraction(bits, 8) // bandwidth)
    place = position(ops, int(cycles), bits, Fraction(10**30), bandwidth)
    assert place.attained <= place.roof
    assert gops(place.attained, clock) <= gops(place.roof, clock)


@pytest.mark.parametrize(("name", "ridge_macs"), [("tpu_v1", 1350), ("haswell", 13), ("k80", 9)])
def test_ridges_of_the_tpu_paper(name: str, ridge_macs: float) -> None:
    """published/tpu_v1_platforms.csv, column ridge_published: MACs a byte, rounded."""
    roof = machine_roofs(read_architecture(load_document(CONFIGS / f"{name}.yaml")))[0]
    assert roof.ridge_ops_per_byte is not None
    assert roof.ridge_ops_per_byte / 2 == pytest.approx(ridge_macs, rel=0.03)


def test_simulated_machines_list_their_roofs_highest_first() -> None:
    roofs = machine_roofs(read_architecture(load_document(CONFIGS / "tpu_v1.yaml")))
    assert [roof.name for roof in roofs] == ["int8", "int16xint8", "int8xint16", "int16"]
    assert roofs[-1].peak_gops == pytest.approx(91750.4 / 4)


def test_changes() -> None:
    assert Change("", "cycles", 10, 15).difference == 5
    assert Change("", "cycles", 10, 15).ratio == 1.5
    assert Change("", "cycles", 0, 15).ratio is None
    assert Change("", "bound", "memory", "compute").difference is None


def test_compare_tables() -> None:
    layers = ({"a": {"x": 1, "y": 2}, "b": {"x": 1}}, {"a": {"x": 1, "y": 3}, "c": {"x": 1}})
    found = compare_tables(({}, {}), ({"x": 2, "z": 1}, {"x": 2}), layers)
    assert found.layers == (Change("a", "y", 2, 3),)
    assert found.totals == (Change("", "z", 1, None),)
    assert (found.only_first, found.only_second, found.agreeing) == (("b",), ("c",), 2)
