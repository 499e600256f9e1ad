"""Do errors say where, what and what to do, and do their exit statuses hold?"""

from __future__ import annotations

import pytest

from accelsim.errors import (
    AccelsimError,
    Fault,
    InfeasibleError,
    InputError,
    InvariantError,
    join_allowed,
    nearest,
)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("f.yaml", "a.b", "is 1", 3, 7), "f.yaml:3:7: a.b: is 1"),
        (Fault("f.yaml", "", "is empty", 1, 1), "f.yaml:1:1: is empty"),
        (Fault("--set", "arch.x", "is 1"), "--set: arch.x: is 1"),
        (Fault("f.yaml", "", "no such file"), "f.yaml: no such file"),
    ],
)
def test_a_fault_is_one_line_with_its_place(fault: Fault, text: str) -> None:
    assert str(fault) == text


def test_a_fault_stays_on_its_line_whatever_the_input_holds() -> None:
    assert str(Fault("f", "a\nb", 'is "\x1b[31m\ud800"')) == 'f: a\\nb: is "\\x1b[31m\\ud800"'


def test_an_input_error_shows_every_fault_on_a_line_of_its_own() -> None:
    error = InputError(Fault("f", str(i), "is wrong") for i in range(3))
    assert len(error.faults) == 3
    assert str(error).splitlines() == ["f: 0: is wrong", "f: 1: is wrong", "f: 2: is wrong"]
    assert InputError(Fault("f", "k", "m")).faults == (Fault("f", "k", "m"),)


def test_infeasible_work_names_demand_bound_and_levers() -> None:
    error = InfeasibleError("layer a", demand="2 KiB", bound="1 KiB", levers=["a smaller tile", "a larger buffer"])
    assert str(error) == "layer a: asks for 2 KiB, there is 1 KiB; try: a smaller tile; a larger buffer"
    assert str(InfeasibleError("a", demand="2", bound="1", levers=())) == "a: asks for 2, there is 1"


def test_exit_statuses() -> None:
    assert InputError(()).exit_status == 2
    assert InfeasibleError("", demand="", bound="", levers=()).exit_status == 1
    assert InvariantError("").exit_status == 1
    assert all(issubclass(kind, AccelsimError) for kind in (InputError, InfeasibleError, InvariantError))


def test_the_nearest_word_is_offered_only_where_it_is_near() -> None:
    assert nearest("strid", ["stride", "pad"]) == ' (did you mean "stride"?)'
    assert nearest("xyz", ["stride", "pad"]) == ""
    assert nearest("", []) == ""


def test_alternatives_read_as_a_sentence() -> None:
    assert join_allowed(["a", "b", "c"]) == "a, b or c"
    assert join_allowed(["a"]) == "a"
