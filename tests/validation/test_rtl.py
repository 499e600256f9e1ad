"""Do the YAMLs under ``arch_configs/rtl`` reach the measured cycles of open RTL arrays, every row exactly?"""

from __future__ import annotations

import csv

import pytest
from builders import PUBLISHED

from accelsim.errors import InputError
from accelsim.validation import VALIDATIONS, run_validations, validate
from accelsim.validation.outcome import Outcome, Row, published_table
from accelsim.validation.rtl import DESIGNS


@pytest.mark.slow
def test_every_row_is_exact() -> None:
    (outcome,) = validate("rtl")
    assert [row.what for row in outcome.rows if row.error] == []
    assert outcome.judged == len(outcome.rows) == len(published_table("rtl_arrays"))
    assert all(row.bound == 0 for row in outcome.rows)
    assert outcome.passed


def test_every_design_is_in_the_table() -> None:
    assert {row["design"] for row in published_table("rtl_arrays")} == set(DESIGNS)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published figures are not beside this checkout")
def test_the_table_carried_is_the_published_one() -> None:
    with (PUBLISHED / "rtl_arrays.csv").open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert rows == published_table("rtl_arrays")


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        run_validations(["rtll", "tpu_v2"])
    assert len(caught.value.faults) == 2
    assert 'rtll: is not known (did you mean "rtl"?)' in str(caught.value)
    assert {"rtl", "tpu_v1"} <= set(VALIDATIONS)


def test_a_row_outside_its_bound_fails_the_outcome() -> None:
    good, bad, context = Row("a", 100, 105, bound=0.05), Row("b", 100, 106, bound=0.05), Row("c", 100, 500)
    assert (good.passed, bad.passed, context.passed) == (True, False, True)
    assert Outcome("n", "t", "s", [good, context]).passed
    assert not Outcome("n", "t", "s", [good, bad]).passed
    assert Row("zero", 0, 0).error == 0
    assert Row("zero", 0, 1, bound=0.1).passed is False
