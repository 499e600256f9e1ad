"""The published tables of the NFU family, held as `accelsim validate` holds them."""

from __future__ import annotations

import pytest

from accelsim.validation import run_validations


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diannao", "dadiannao", "zhang2015", "qiu2016"])
def test_published_figures(name: str) -> None:
    outcome = run_validations([name])[0]
    assert outcome.judged >= 3
    outside = [row for row in outcome.rows if not row.passed]
    assert not outside


@pytest.mark.slow
def test_conv5_is_bound_by_memory() -> None:
    rows = {row.what: row for row in run_validations(["diannao"])[0].rows}
    assert rows["CONV5, cycles with memory"].simulated > 2 * rows["CONV5, ideal cycles"].simulated
