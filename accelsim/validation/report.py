"""Validation outcomes as tables on a console and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accelsim.validation.outcome import Outcome, Row


def print_outcomes(outcomes: Sequence[Outcome], console: Console) -> None:
    """A table a validation, then a line that sums it up."""
    for outcome in outcomes:
        console.print(Text(f"{outcome.name}: {outcome.title}", style="bold"))
        console.print(Text(outcome.source, style="dim"))
        console.print(_table(outcome.rows))
        for note in outcome.notes:
            console.print(Text(f"  {note}", style="dim"))
        good = sum(row.passed for row in outcome.rows if row.judged)
        verdict = "all within their bounds" if outcome.passed else "OUTSIDE THEIR BOUNDS: the rows marked ✗"
        console.print(Text(f"{good} of {outcome.judged} judged figures: {verdict}\n", style="" if outcome.passed else "red"))


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("figure", overflow="fold")
    for heading in ("published", "simulated", "error", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("known by", no_wrap=True)
    for row in rows:
        mark = "" if not row.judged else "✓" if row.passed else "✗"
        unit = f" {row.unit}" if row.unit else ""
        table.add_row(
            row.what, f"{_figure(row.published)}{unit}", f"{_figure(row.simulated)}{unit}", _error(row), _bound(row), mark,
            row.status,
        )  # fmt: skip
    return table


def _bound(row: Row) -> str:
    if row.within is not None:
        return " to ".join(f"{end:.3g}" for end in row.within)
    return "context" if row.bound is None else "exact" if row.bound == 0 else f"{row.bound:.0%}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _error(row: Row) -> str:
    return "exact" if row.error == 0 else f"{row.error:+.1%}" if isfinite(row.error) else "-"


def to_json(outcomes: Sequence[Outcome]) -> str:
    """The same as JSON."""
    return json.dumps([_plain(outcome) for outcome in outcomes], indent=1) + "\n"


def _plain(outcome: Outcome) -> dict[str, object]:
    rows = [
        {
            "what": row.what, "published": row.published, "simulated": row.simulated, "unit": row.unit,
            "error": row.error if isfinite(row.error) else None, "bound": row.bound, "within": row.within, "passed": row.passed,
            "status": row.status, "note": row.note,
        }
        for row in outcome.rows
    ]  # fmt: skip
    return {
        "name": outcome.name, "title": outcome.title, "source": outcome.source, "passed": outcome.passed,
        "notes": list(outcome.notes), "rows": rows,
    }  # fmt: skip
