"""Energy and leakage of an SRAM of any size, port width and node, from CACTI 7's table.

The table has columns of 16, 32, 64 and 256 bits, each over its own range of sizes, at 65, 45, 32 and 22 nm. A
memory is built from arrays of one column:

- *lanes* side by side make up the port's width (what is left over of the last one is read in vain); all of
  them work in an access;
- *banks* make up the size where it exceeds the largest array of the column; one bank of a lane works in an
  access and costs what that largest array costs, while the leakage counts the whole capacity;
- an array smaller than the column's smallest costs what the smallest does.

Of the columns that reach down to the size (no wider than the port, or than 64 bits, the width of most of the
table), the one with the fewest arrays is taken, and of equals the narrowest. Size and node are interpolated
log-log. Wires between lanes and banks are not counted. Energy rises with the size; it also rises with the
width, except where a wider port leaves the 256-bit column, whose arrays are dearer than four of 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from accelsim.energy.cost import CostSource, NoSourceError
from accelsim.energy.figures import Point, interpolate, neighbours, read_table
from accelsim.energy.scaling import LogicScaling
from accelsim.units import ceil_div, format_bytes

Quantity = Literal["read_pJ", "write_pJ", "leakage_mW", "area_mm2"]
SOURCE = "CACTI 7 (random access, one port), sram_cacti7.csv"
COMMON_BITS = 64
KIB = 1024
PJ_PER_MILLIJOULE = 1e9


@cache
def _columns() -> Mapping[int, tuple[float, ...]]:
    """Width in bits -> tabulated sizes in KiB, rising; the same at every node."""
    rows = read_table("sram_cacti7")
    widths = sorted({int(row["width_bits"]) for row in rows})
    return {
        w: tuple(sorted({float(r["size_KB"]) for r in rows if int(r["width_bits"]) == w})) for w in widths
    }


@cache
def _nodes() -> tuple[float, ...]:
    return tuple(sorted({float(row["node_nm"]) for row in read_table("sram_cacti7")}))


@cache
def _points(column_bits: int, node_nm: float, quantity: Quantity) -> tuple[Point, ...]:
    rows = [
        r
        for r in read_table("sram_cacti7")
        if (int(r["width_bits"]), float(r["node_nm"])) == (column_bits, node_nm)
    ]
    return tuple(sorted(Point(float(row["size_KB"]), float(row[quantity])) for row in rows))


@dataclass(frozen=True)
class Organization:
    """``lanes`` side by side, each of ``banks`` arrays of one column of the table.

    ``lane_kib`` is the size of a lane, ``array_kib`` the size of the array that an access is charged for.
    """

    column_bits: int
    lanes: int
    banks: int
    lane_kib: float
    array_kib: float

    def energy_pj(self, quantity: Quantity, node_nm: float) -> float:
        """pJ of an access at a tabulated node: one array of every lane."""
        return self.lanes * interpolate(_points(self.column_bits, node_nm, quantity), self.array_kib)

    def leakage_mw(self, node_nm: float) -> float:
        """mW of all lanes and banks at a tabulated node."""
        one = interpolate(_points(self.column_bits, node_nm, "leakage_mW"), self.array_kib)
        return self.lanes * one * max(1.0, self.lane_kib / self.array_kib)

    def area_mm2(self, node_nm: float) -> float:
        """mm2 of all lanes and banks at a tabulated node."""
        one = interpolate(_points(self.column_bits, node_nm, "area_mm2"), self.array_kib)
        return self.lanes * one * max(1.0, self.lane_kib / self.array_kib)

    @property
    def arrays(self) -> int:
        return self.lanes * self.banks

    @property
    def note(self) -> str:
        """How the memory is put together, for a reader of the sources."""
        size, sizes = format_bytes(self.lane_kib * KIB), _columns()[self.column_bits]
        if self.banks > 1:
            built = f"{size} as {self.banks} banks of up to {format_bytes(sizes[-1] * KIB)}, one active"
        elif self.lane_kib < self.array_kib:
            built = f"{size}, smaller than the table: costed as {format_bytes(self.array_kib * KIB)}"
        elif self.array_kib in sizes:
            built = f"{size}, tabulated"
        else:
            low, high = neighbours(sizes, self.array_kib)
            built = f"{size}, log-log between {format_bytes(low * KIB)} and {format_bytes(high * KIB)}"
        return f"{self.lanes} x {self.column_bits} bits of {built}"


def organize(size_bytes: int, width_bits: int) -> Organization:
    """How a memory of ``size_bytes`` behind a port of ``width_bits`` is built (see the module's words)."""
    size_kib = size_bytes / KIB
    allowed = [w for w in _columns() if w <= max(width_bits, COMMON_BITS)]
    candidates = [_of_column(w, size_kib, width_bits) for w in allowed]
    reached = [c for c in candidates if c.lane_kib >= c.array_kib or c.banks > 1]
    if reached:
        return min(reached, key=lambda c: (c.arrays, c.column_bits))
    fits_best = max(c.lane_kib / c.array_kib for c in candidates)
    return min((c for c in candidates if c.lane_kib / c.array_kib == fits_best), key=lambda c: c.arrays)


def _of_column(column_bits: int, size_kib: float, width_bits: int) -> Organization:
    sizes = _columns()[column_bits]
    lanes = ceil_div(width_bits, column_bits)
    lane = size_kib / lanes
    banks = ceil_div(int(size_kib * KIB), int(lanes * sizes[-1] * KIB))
    return Organization(column_bits, lanes, max(1, banks), lane, min(max(lane, sizes[0]), sizes[-1]))


def sram_costs(
    level: str, size_bytes: int, width_bits: int, logic: LogicScaling
) -> tuple[CostSource, CostSource]:
    """Read and write, in pJ an access of ``width_bits``."""
    organization = organize(size_bytes, width_bits)
    note = "; ".join((organization.note, *_node_notes(logic)))

    def cost(action: str, quantity: Quantity) -> CostSource:
        pj = _energy_pj(organization, quantity, logic)
        return CostSource(level, action, pj, "access", logic.node_nm, width_bits, SOURCE, "derived", note)

    return cost("read", "read_pJ"), cost("write", "write_pJ")


def leakage_cost(level: str, size_bytes: int, width_bits: int, logic: LogicScaling) -> CostSource:
    """Leakage of the whole memory, in pJ a second."""
    organization = organize(size_bytes, width_bits)
    nearest_nm = _nearest_node(logic.node_nm)
    points = [Point(node, organization.leakage_mw(node)) for node in _around(nearest_nm)]
    notes = [organization.note]
    if nearest_nm == logic.node_nm:
        notes += _node_notes(logic)
    else:
        notes.append(f"leakage at {nearest_nm:g} nm, not scaled: no source beyond the table")
    pj_per_second = interpolate(points, nearest_nm) * PJ_PER_MILLIJOULE
    return CostSource(
        "leakage", level, pj_per_second, "second", nearest_nm, width_bits, SOURCE, "derived", "; ".join(notes)
    )


def _energy_pj(organization: Organization, quantity: Quantity, logic: LogicScaling) -> float:
    nearest_nm = _nearest_node(logic.node_nm)
    points = [Point(node, organization.energy_pj(quantity, node)) for node in _around(nearest_nm)]
    beyond = LogicScaling(logic.node_nm).factor(nearest_nm)  # 1 where the table has the node
    return interpolate(points, nearest_nm) * beyond


def _nearest_node(node_nm: float) -> float:
    return min(max(node_nm, _nodes()[0]), _nodes()[-1])


def _around(node_nm: float) -> list[float]:
    return sorted(neighbours(_nodes(), node_nm))


def _node_notes(logic: LogicScaling) -> list[str]:
    nearest_nm = _nearest_node(logic.node_nm)
    notes = []
    if nearest_nm != logic.node_nm:
        notes.append(f"beyond the table's nodes: {LogicScaling(logic.node_nm).note(nearest_nm)}")
    elif nearest_nm not in _nodes():
        low, high = neighbours(_nodes(), nearest_nm)
        notes.append(f"log-log between {low:g} and {high:g} nm")
    if logic.voltage is not None:
        notes.append("at CACTI's own supply: technology.voltage is not applied to SRAM")
    return notes


def require_size(level: str, size_bytes: int | None) -> int:
    """The size, or `NoSourceError`: an SRAM without bounds has no energy."""
    if size_bytes is None:
        raise NoSourceError(
            f"memory.{level}.size",
            f"is left out, and an SRAM's energy depends on it; give it, or energy.costs.{level}",
        )
    return size_bytes
