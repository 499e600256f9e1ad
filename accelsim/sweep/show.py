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
_ALWAYS = ("cycles", "utilization", "energy_total_pj")
_WORDS = {
    "points": "points", "ok": "ran", "over_limit": "over a limit", "infeasible": "infeasible", "illegal": "illegal",
    "defect": "failed", "simulated": "simulated", "reused": "known before", "bounded": "bounded away",
    "excluded": "outside the constraints",
}  # fmt: skip


def print_sweep(table: SweepTable, console: Console) -> None:
    """The counts; then the front of several objectives, or the best rows of one."""
    console.print(Text(counts_line(table.counts)))
    rows = table.front if len(table.objectives) > 1 else table.ranked()
    if not rows:
        reason = next((str(row["reason"]) for row in table.rows if row["reason"]), "")
        console.print(Text(f"no point ran{': ' + reason if reason else ''}"))
        return
    console.print(_table(table, rows[:MOST_ROWS]))
    if len(rows) > MOST_ROWS:
        kind = "that no other beats in everything" if len(table.objectives) > 1 else "that ran, best first"
        console.print(Text(f"{MOST_ROWS} of {len(rows):,} {kind}; all rows: --out FILE.csv"))


def counts_line(counts: Mapping[str, int]) -> str:
    """``64 points: 60 ran, 4 infeasible; 12 simulated, 52 known before``."""
    told = {name: f"{count:,} {_WORDS[name]}" for name, count in counts.items() if count}
    head = told.pop("points", "no points")
    how = [told.pop(name) for name in ("simulated", "reused", "bounded", "excluded") if name in told]
    return f"{head}: {', '.join(told.values())}" + (f"; {', '.join(how)}" if how else "")


def _table(table: SweepTable, rows: list[Row]) -> Table:
    shown = [key for key in (*LEAD, *table.keys) if len({str(row[key]) for row in table.rows}) > 1]
    goals = [objective for objective in table.objectives if objective.expression.text not in _ALWAYS]
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in shown:
        drawn.add_column(key, justify="right", overflow="fold")
    for heading in (*(str(goal.expression) for goal in goals), *_ALWAYS):
        drawn.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        cells = [_cell(row[key]) for key in shown] + [_goal(goal, row) for goal in goals]
        drawn.add_row(*cells, *(_cell(row.get(name)) for name in _ALWAYS))
    return drawn


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
