"""Does the energy of logic follow the process and the voltage?"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.energy.cost import NoSourceError
from accelsim.energy.scaling import LogicScaling, fits

NODES = st.floats(7, 180, allow_nan=False)


def test_nothing_changes_at_the_node_of_the_figures() -> None:
    assert LogicScaling(45).factor(45) == 1
    assert LogicScaling(45).note(45) == ""


def test_45_to_28_nm_about_halves_the_energy() -> None:
    assert LogicScaling(28).factor(45) == pytest.approx(
        0.518, abs=5e-4
    )  # worked out by hand from the two rows


def test_tabulated_nodes_fall_in_order() -> None:
    factors = [LogicScaling(node).factor(45) for node in sorted(fits())]
    assert all(small < large for small, large in pairwise(factors))


@given(NODES, NODES)
def test_a_smaller_node_never_costs_more(first: float, second: float) -> None:
    small, large = sorted((first, second))
    assert LogicScaling(small).factor(45) <= LogicScaling(large).factor(45) * (1 + 1e-12)


@given(NODES, NODES)
def test_there_and_back_changes_nothing(first: float, second: float) -> None:
    assert LogicScaling(first).factor(second) * LogicScaling(second).factor(first) == pytest.approx(1)


@given(st.sampled_from(sorted(fits())), st.floats(0.75, 1.25), st.floats(0.75, 1.25))
def test_a_lower_voltage_never_costs_more(node: float, first: float, second: float) -> None:
    low, high = sorted((first * fits()[node].nominal_v, second * fits()[node].nominal_v))
    assert 0 < LogicScaling(node, low).factor(45) <= LogicScaling(node, high).factor(45)


@pytest.mark.parametrize("node", [5, 250])
def test_nodes_beyond_the_fits_are_refused(node: float) -> None:
    with pytest.raises(NoSourceError, match=rf"technology.node_nm: is {node}, known are 7 to 180 nm"):
        LogicScaling(node)


def test_a_voltage_beyond_the_fits_is_refused() -> None:
    with pytest.raises(NoSourceError, match=r"technology.voltage: is 3.3 V, must be 0.68 to 1.12 V at 45 nm"):
        LogicScaling(45, 3.3)


def test_the_note_says_what_was_done() -> None:
    note = LogicScaling(28).note(45)
    assert (
        note
        == "x 0.518: logic 45 -> 28 nm at nominal V, Stillmaker & Baas 2017, log-log between 20 and 32 nm"
    )
