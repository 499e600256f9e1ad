"""TPU v1: its ridge, and the shares of MLP0's matrix cycles, as published (Jouppi et al., ISCA 2017)."""

from __future__ import annotations

import pytest

from accelsim import load_network, simulate
from accelsim.report.model import Result
from accelsim.validation import validate
from accelsim.validation.outcome import Outcome
from accelsim.validation.tpu_v1 import APPLICATIONS, matrix_shares


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return validate("tpu_v1")[0]


@pytest.fixture(scope="module")
def mlp0() -> Result:
    return simulate("tpu_mlp0", "tpu_v1")


def test_within_its_bounds(outcome: Outcome) -> None:
    assert outcome.passed
    assert outcome.judged >= 4
    assert {row.what.split(",")[0] for row in outcome.rows} >= set(APPLICATIONS)


def test_mlp0_shares_its_matrix_cycles_as_measured(mlp0: Result) -> None:
    """15 : 19 : 65 of the matrix cycles are active, weight shift and weight stall."""
    shares = matrix_shares(mlp0)
    assert sum(shares.values()) == pytest.approx(1)
    published = {"active": 0.154, "weight shift": 0.192, "weight stall": 0.654}
    for part, share in published.items():
        assert shares[part] == pytest.approx(share, rel=0.1), part


def test_mlp0_is_bound_by_weight_memory(mlp0: Result) -> None:
    assert all(layer.roofline.bound == "memory" for layer in mlp0.layers if layer.macs)
    far = mlp0.totals.traffic_bytes["dram"]
    weights = sum(layer.macs for layer in load_network("tpu_mlp0").layers) // mlp0.batch
    assert far.read >= weights
    assert mlp0.totals.cycles >= weights / (34e9 / 700e6)


def test_the_applications_run_and_say_what_they_are_bound_by(outcome: Outcome) -> None:
    by_name = {row.what: row.simulated for row in outcome.rows}
    for name in APPLICATIONS:
        parts = [by_name[f"{name}, {part}"] for part in ("active", "weight shift", "weight stall")]
        assert sum(parts) == pytest.approx(100, abs=0.2)
