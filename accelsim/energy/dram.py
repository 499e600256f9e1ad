"""Energy of a bit to or from memory off chip, by type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from accelsim.energy.cost import CostSource, NoSourceError, Status
from accelsim.energy.figures import read_table, status_of
from accelsim.errors import join_allowed, nearest

GENERIC = "generic"
"""Horowitz's off-chip DRAM, 1.3 nJ for 64 bits: what a file gets that names no type."""
CHOSEN = {
    "HBM2": (
        "accelergy-cacti-plug-in",
        "3.9 chosen over 6.25 and 7.03: O'Connor et al. (MICRO 2017) have 3.92 an access",
    )
}


@cache
def types() -> Mapping[str, Mapping[str, str]]:
    """Type -> the row of ``actions.csv`` that is used for it. Of several rows that agree, the first."""
    known: dict[str, Mapping[str, str]] = {}
    for row in read_table("actions"):
        name = _type_of(row)
        if name and row["source"].startswith(CHOSEN.get(name, ("",))[0]):
            known.setdefault(name, row)
    return known


def _type_of(row: Mapping[str, str]) -> str | None:
    if row["component"] == "DRAM" and row["action"] == "read_per_bit":
        return GENERIC
    return row["component"].removeprefix("DRAM_") if row["component"].startswith("DRAM_") else None


def dram_costs(level: str, name: str | None) -> tuple[CostSource, CostSource]:
    """Read and write of a bit, in pJ; ``name`` as ``energy.dram`` gives it, None for the generic one."""
    row = types().get(name or GENERIC)
    if row is None:
        known = sorted(types())
        raise NoSourceError(
            "energy.dram",
            f'there is no DRAM "{name}"{nearest(str(name), known)}, must be {join_allowed(known)}',
        )
    low, _, high = row["energy_pJ"].partition("-")
    pj = (float(low) + float(high or low)) / 2
    notes = [
        f"middle of {row['energy_pJ']} pJ a bit" if high else "",
        CHOSEN.get(name or GENERIC, ("", ""))[1],
        "" if name else "energy.dram names no type: Horowitz's generic DRAM",
    ]
    status: Status = "derived" if high and status_of(row) == "read" else status_of(row)
    note = "; ".join(text for text in notes if text)
    read, write = (
        CostSource(level, a, pj, "bit", 0, 0, row["source"], status, note) for a in ("read", "write")
    )
    return read, write
