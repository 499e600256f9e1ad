"""EIE and ESE against their papers: what is judged, and that it holds."""

from __future__ import annotations

import pytest

from accelsim.validation import eie, ese
from accelsim.validation.outcome import Row


@pytest.mark.slow
def test_ese_is_exact_where_it_is_judged() -> None:
    outcome = ese.validate()
    assert outcome.passed
    judged = [row for row in outcome.rows if row.judged]
    assert len(judged) == 10  # nine matrices and their sum
    assert all(row.simulated == row.published for row in judged)


@pytest.mark.slow
def test_eie_is_judged_by_what_the_sources_expect() -> None:
    outcome = eie.validate()
    assert outcome.passed
    assert [row.what for row in outcome.rows if row.judged] == [
        "layers within 6 % of the actual time",
        "VGG-6, actual",
        "NT-We, actual over theoretical",
    ]
    rows = {row.what: row for row in outcome.rows}
    parts = [row for row in outcome.rows if row.what.endswith(", power") and row.what[0] not in "a6"]
    assert sum(row.simulated for row in parts) == pytest.approx(rows["a PE, power"].simulated, abs=0.01)
    assert rows["64 PEs, power"].simulated < rows["64 PEs, power"].published  # no clock network, no control


def test_a_range_is_judged_by_its_ends() -> None:
    assert Row("x", 6, 6, within=(6, 9)).passed
    assert not Row("x", 6, 5, within=(6, 9)).passed
    assert not Row("x", 6, 10, within=(6, 9)).passed
    assert not Row("x", 6, 10).judged
