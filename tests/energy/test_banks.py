"""Banks: an access is one bank's, and all of them leak."""

from __future__ import annotations

import pytest

from accelsim.api import load_arch
from accelsim.energy.model import EnergyModel


def _costs(banks: int, size: str) -> tuple[float, float]:
    changes = {"arch.memory.3.banks": banks, "arch.memory.3.size": size}
    sources = EnergyModel.of(load_arch("eie", overrides=changes)).sources()
    read = next(s for s in sources if s.component == "spmat" and s.action == "read")
    leak = next(s for s in sources if s.component == "leakage" and s.action == "spmat")
    assert ("64 banks, one in an access" in read.note) == (banks == 64)
    return read.pj, leak.pj


def test_an_access_costs_one_bank_and_all_leak() -> None:
    banked, single = _costs(64, "8 MiB"), _costs(1, "128 KiB")
    assert banked[0] == single[0]
    assert banked[1] == pytest.approx(64 * single[1])
    assert banked[0] < _costs(1, "8 MiB")[0]
