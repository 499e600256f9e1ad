"""What does a MAC cost at a precision?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.energy.arithmetic import add_cost, mac_costs, multiply_cost, register_cost
from accelsim.energy.cost import NoSourceError
from accelsim.energy.scaling import LogicScaling
from accelsim.workload.precision import NumberFormat, parse_format

AT_45 = LogicScaling(45)
BITS = st.integers(1, 64)


def multiply_pj(weight: str, operand: str, logic: LogicScaling = AT_45) -> float:
    return multiply_cost(parse_format(weight), parse_format(operand), logic).pj


def integer(bits: int) -> NumberFormat:
    return NumberFormat("int", bits)


def test_an_8_bit_mac_at_45_nm_is_horowitz() -> None:
    multiply, add = mac_costs(integer(8), integer(8), integer(32), AT_45)
    assert multiply.pj == pytest.approx(0.2, rel=1e-6)
    assert add.pj == pytest.approx(0.1, rel=1e-6)
    assert (multiply.per, multiply.component, multiply.node_nm) == ("mac", "mac", 45)


def test_floats_stand_as_published() -> None:
    multiply, add = mac_costs(parse_format("fp16"), parse_format("fp16"), parse_format("fp32"), AT_45)
    assert (multiply.pj, multiply.status, add.pj, add.status) == (1.1, "read", 0.9, "read")


def test_bf16_is_costed_as_fp16_and_says_so() -> None:
    cost = multiply_cost(parse_format("bf16"), parse_format("bf16"), AT_45)
    assert (cost.pj, cost.status) == (1.1, "derived")
    assert "upper bound" in cost.note


def test_an_integer_that_meets_a_float_is_multiplied_as_a_float() -> None:
    assert multiply_pj("int4", "fp16") == multiply_pj("fp16", "fp16")


@pytest.mark.parametrize("name", ["fp8", "fp64"])
def test_a_format_without_figures_is_refused(name: str) -> None:
    with pytest.raises(
        NoSourceError, match=f"energy.costs.mac: is not given, and no table has the energy of {name}"
    ):
        multiply_cost(parse_format(name), parse_format(name), AT_45)


def test_widths_outside_the_fit_are_told() -> None:
    assert "extrapolated to 4" in multiply_cost(integer(4), integer(4), AT_45).note
    assert "extrapolated" not in multiply_cost(integer(8), integer(32), AT_45).note


@given(BITS, BITS)
def test_multiplication_is_symmetric(first: int, second: int) -> None:
    assert multiply_pj(f"int{first}", f"int{second}") == multiply_pj(f"int{second}", f"int{first}")


@given(BITS, BITS, BITS)
def test_wider_operands_cost_more(narrow: int, wide: int, other: int) -> None:
    low, high = sorted((narrow, wide))
    assert multiply_pj(f"int{low}", f"int{other}") <= multiply_pj(f"int{high}", f"int{other}")
    assert add_cost("mac", integer(low), AT_45).pj <= add_cost("mac", integer(high), AT_45).pj


@given(BITS)
def test_the_sign_costs_nothing(bits: int) -> None:
    assert multiply_pj(f"int{bits}", f"int{bits}") == multiply_pj(f"uint{bits}", f"uint{bits}")


def test_scaled_figures_are_derived() -> None:
    cost = multiply_cost(integer(8), integer(8), LogicScaling(28))
    assert (cost.status, cost.node_nm) == ("derived", 28)
    assert cost.pj == pytest.approx(0.2 * LogicScaling(28).factor(45))


def test_a_register_bit_stands_at_its_own_node() -> None:
    assert register_cost("array_registers", "move", LogicScaling(40)).pj == 0.009
