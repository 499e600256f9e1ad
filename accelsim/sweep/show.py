"""A sweep's table on a console: the best rows, the varied keys and what was looked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accelsim.report.words import significant
from accelsim.sweep.expression import EvaluationError
from accelsim.sweep.objective import Objective
from accelsim.sweep.table import LEAD, Row, SweepTable

MOST_ROWS = 12
MANY_KEYS = 5  # from which on a table has only what was asked for, and cycles
_ALWAYS = ("cycles", "utilization", "energy_total_pj")
_UNDERSTOOD = ("arch", "engine", "memory", "mapping", "layers", "workload", "compression", "quantize", "by_layer", "passes")
_WORDS = {
    "points": "points", "ok": "ran", "over_limit": "over a limit", "infeasible": "infeasible", "illegal": "illegal",
    "defect": "failed", "simulated": "simulated", "reused": "known before", "bounded": "bounded away",
    "excluded": "outside the constraints",
}  # fmt: skip


def print_sweep(table: SweepTable, console: Console, written: bool = False) -> None:
    """The counts; then the front of several objectives, or the best rows of one. All rows may be written elsewhere."""
    console.print(Text(counts_line(table.counts)))
    rows = _once(table, table.front if len(table.objectives) > 1 else table.ranked())
    if not rows:
        reason = next((str(row["reason"]) for row in table.rows if row["reason"]), "")
        console.print(Text(f"no point ran{': ' + reason if reason else ''}"))
        return
    console.print(_table(table, rows[:MOST_ROWS]))
    front = len(table.objectives) > 1
    if front or len(rows) > MOST_ROWS:
        own = " of its network" if len({row.get("network") for row in table.rows}) > 1 else ""
        kind = f"that no other{own} beats in everything" if front else "that ran, best first"
        shown = f"{MOST_ROWS} of {len(rows):,}" if len(rows) > MOST_ROWS else f"the {len(rows)}"
        console.print(Text(f"{shown} {kind}{'' if written else '; all rows: --out FILE.csv'}"))


def counts_line(counts: Mapping[str, int]) -> str:
    """``64 points: 60 ran, 4 infeasible; 12 simulated, 52 known before``."""
    told = {name: f"{count:,} {_WORDS[name]}" for name, count in counts.items() if count}
    head = told.pop("points", "no points")
    head = head if counts.get("points") != 1 else "1 point"
    how = [told.pop(name) for name in ("simulated", "reused", "bounded", "excluded") if name in told]
    return f"{head}: {', '.join(told.values())}" + (f"; {', '.join(how)}" if how else "")


def _table(table: SweepTable, rows: list[Row]) -> Table:
    shown = _columns(table)
    always = [name for name in _ALWAYS if any(name in row for row in rows)]
    if not any(row.get("energy_total_pj") for row in rows):  # nothing has a cost
        always = [name for name in always if name != "energy_total_pj"]
    if len(shown) > MANY_KEYS:
        always = [name for name in always if name == "cycles" or name in {str(o.expression) for o in table.objectives}]
    goals = [objective for objective in table.objectives if objective.expression.text not in always]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    headings = [",\n".join(map(heading_of, keys)) for keys in shown]
    for heading in (*headings, *(str(goal.expression) for goal in goals), *always):
        drawn.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        cells = [_cell(row.get(keys[0])) for keys in shown] + [_goal(goal, row) for goal in goals]
        drawn.add_row(*cells, *(_cell(row.get(name)) for name in always))
    return drawn


def _once(table: SweepTable, rows: list[Row]) -> list[Row]:
    """Every point once: a search may try one again."""
    keys = [key for key in (*LEAD, *table.keys) if key != "trial"]
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        found.setdefault(tuple(str(row.get(key)) for key in keys), row)
    return list(found.values())


def _columns(table: SweepTable) -> list[tuple[str, ...]]:
    """The keys that differ between rows; those that always have the same value as one another stand together."""
    columns: dict[tuple[str, ...], tuple[str, ...]] = {}
    for key in (*LEAD, *table.keys):
        cells = tuple(str(row.get(key)) for row in table.rows)
        if len(set(cells)) > 1:
            columns[cells] = (*columns.get(cells, ()), key)
    return list(columns.values())


def heading_of(key: str) -> str:
    """``arch.engine.rows`` -> ``rows``, ``mapping.conv2.tile.K`` -> ``conv2``, ``tile``, ``K``, one over the other."""
    parts = [part for part in key.split(".") if part not in _UNDERSTOOD] or [key]
    return "\n".join(parts)


def _goal(objective: Objective, row: Row) -> str:
    try:
        return _cell(objective.value(row))
    except EvaluationError:
        return ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return significant(value, 4) if isinstance(value, float) else str(value)
