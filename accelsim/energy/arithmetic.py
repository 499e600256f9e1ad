"""Energy of a multiply, an add and a register move, from figures at 45 nm (Horowitz) and 40 nm (Aladdin)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import sqrt

from accelsim.energy.cost import CostSource, NoSourceError, Per, Status
from accelsim.energy.figures import read_table, status_of
from accelsim.energy.scaling import LogicScaling
from accelsim.workload.precision import NumberFormat

FLOAT_STAND_INS = {
    "bf16": ("fp16", "bf16 costed as fp16, an upper bound: its significand has 8 bits, not 11")
}


def mac_costs(
    weight: NumberFormat, operand: NumberFormat, accumulator: NumberFormat, logic: LogicScaling
) -> tuple[CostSource, CostSource]:
    """A multiply of ``weight`` x ``operand`` and an add at the accumulator's width, each in pJ a MAC."""
    return multiply_cost(weight, operand, logic), add_cost("mac", accumulator, logic)


@lru_cache(maxsize=1024)
def multiply_cost(weight: NumberFormat, operand: NumberFormat, logic: LogicScaling) -> CostSource:
    """pJ of one multiply.

    Integers: the quadratic fit at the geometric mean of the two widths, so that the number of
    partial-product bits (width x width) is kept. An integer that meets a float is multiplied in the float's
    format.
    """
    action = f"multiply {weight} x {operand}"
    if not (weight.is_integer and operand.is_integer):
        wider = max((f for f in (weight, operand) if not f.is_integer), key=lambda f: f.bits)
        return _float_cost("mac", action, "fp_multiplier", wider, logic)
    note = "" if weight.bits == operand.bits else f"geometric mean of {weight.bits} and {operand.bits} bits"
    return _integer_cost("mac", action, "mult", sqrt(weight.bits * operand.bits), note, logic)


@lru_cache(maxsize=1024)
def add_cost(component: str, number: NumberFormat, logic: LogicScaling) -> CostSource:
    """pJ of one add at the width of ``number``."""
    action = f"add {number}" if component == "mac" else f"op {number}"
    note = "" if component == "mac" else "every vector operation as one add: products and tables cost more"
    if number.is_integer:
        return _integer_cost(component, action, "add", number.bits, note, logic)
    return _float_cost(component, action, "fp_adder", number, logic, note)


def register_cost(component: str, action: str, logic: LogicScaling) -> CostSource:
    """pJ a bit that a flip-flop takes in."""
    row = read_table("registers")[0]
    pj = float(row["pj_per_bit"])
    return _scaled(component, action, "bit", pj, 1, logic, row, row["note"], "derived")


def integer_pj(action: str, bits: float) -> float:
    """The fit at 45 nm: ``mult`` or ``add`` of ``bits`` bits, in pJ."""
    row = _fit(action)
    return float(row["per_bit_squared_pJ"]) * bits**2 + float(row["per_bit_pJ"]) * bits


def _fit(action: str) -> Mapping[str, str]:
    return next(row for row in read_table("arithmetic_fit") if row["action"] == action)


def _integer_cost(
    component: str, action: str, operation: str, bits: float, note: str, logic: LogicScaling
) -> CostSource:
    row = _fit(operation)
    low, high = row["fit_from_bits"], row["fit_to_bits"]
    inside = float(low) <= bits <= float(high)
    fitted = f"fit over {low} to {high} bits" + ("" if inside else f", extrapolated to {bits:g}")
    pj = integer_pj(operation, bits)
    return _scaled(
        component, action, _per(component), pj, round(bits), logic, row, _join(fitted, note), "derived"
    )


def _float_cost(
    component: str, action: str, unit: str, number: NumberFormat, logic: LogicScaling, note: str = ""
) -> CostSource:
    name, stand_in = FLOAT_STAND_INS.get(str(number), (str(number), ""))
    rows = [r for r in read_table("actions") if r["component"] == unit and f"fp{r['width_bits']}" == name]
    if not rows:
        raise NoSourceError(
            f"energy.costs.{component}", f"is not given, and no table has the energy of {number}"
        )
    status: Status = "derived" if stand_in else status_of(rows[0])
    pj = float(rows[0]["energy_pJ"])
    return _scaled(
        component, action, _per(component), pj, number.bits, logic, rows[0], _join(stand_in, note), status
    )


def _per(component: str) -> Per:
    return "mac" if component == "mac" else "op"


def _scaled(
    component: str, action: str, per: Per, pj: float, bits: int, logic: LogicScaling, row: Mapping[str, str],
    note: str, status: Status,
) -> CostSource:  # fmt: skip
    """A figure from ``row`` brought to the chip's node."""
    from_nm = float(row["node_nm"])
    return CostSource(
        component, action, pj * logic.factor(from_nm), per, logic.node_nm, bits, row["source"],
        status if logic.is_at(from_nm) else "derived", _join(note, logic.note(from_nm)),
    )  # fmt: skip


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
