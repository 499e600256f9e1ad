"""What a sweep found: one row a point, in the order of the space, whoever ran it and when."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim.analysis.pareto import fronts
from accelsim.errors import Fault, InputError
from accelsim.report.files import write_file
from accelsim.report.rows import to_csv
from accelsim.sweep.expression import EvaluationError, Expression
from accelsim.sweep.objective import Objective
from accelsim.sweep.store import Cell, Outcome

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]

Row = dict[str, Cell]
LEAD = ("network", "architecture")
OVER = "over_limit"
DEFAULT = Objective.parse("cycles")


@dataclass(frozen=True, repr=False)
class SweepTable:
    """Rows, and how many points there were of each kind.

    ``rows`` have the network, the architecture, the varied keys, ``status`` (``ok``, ``over_limit``, ``infeasible``,
    ``illegal``, ``defect``), ``reason``, and for those that ran the totals of the run with their units in their names.
    ``counts`` has ``points``, each status, ``simulated`` (in this run), ``reused`` (known from the store) and
    ``excluded`` (by constraints on keys); for tilings ``bounded``, which could not win and were not run.
    """

    keys: tuple[str, ...]
    rows: list[Row]
    counts: Mapping[str, int]
    objectives: tuple[Objective, ...] = (DEFAULT,)
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> list[Row]:
        """Rows that ran and keep every limit."""
        return [row for row in self.rows if row["status"] == "ok"]

    @property
    def best(self) -> Row | None:
        """The row that is best in the first objective; of equal ones the first. None if nothing ran."""
        costed = self._costed()
        return min(costed, key=lambda item: item[0][0])[1] if costed else None

    def ranked(self) -> list[Row]:
        """The rows that ran, best in the first objective first."""
        return [row for _, row in sorted(self._costed(), key=lambda item: item[0][0])]

    @property
    def front(self) -> list[Row]:
        """The rows that no other of the same network beats in every objective."""
        costed = self._costed()
        found = fronts([costs for costs, _ in costed], [row.get("network") for _, row in costed])
        return [costed[index][1] for index in sorted(index for front in found.values() for index in front)]

    def _costed(self) -> list[tuple[tuple[float, ...], Row]]:
        costed = []
        for row in self.ok:
            try:
                costed.append((tuple(objective.cost(row) for objective in self.objectives), row))
            except EvaluationError:
                continue
        return costed

    # ---- out -----------------------------------------------------------------------------------------------------

    def flat_rows(self) -> list[Row]:
        """The rows as they are written: a value a cell, and a column for every objective that is an expression."""
        known = self.rows[0] if self.rows else {}
        goals = [goal for goal in self.objectives if goal.expression.text not in known]
        return [{**_flat(row), **{goal.expression.text: _value(goal, row) for goal in goals}} for row in self.rows]

    def to_csv(self) -> str:
        """The rows as CSV: the same inputs give the same bytes, however they were run."""
        return to_csv(self.flat_rows())

    def to_dataframe(self) -> pandas.DataFrame:
        """The rows; needs pandas."""
        try:
            import pandas
        except ImportError:
            raise ImportError("to_dataframe needs pandas, which is not installed: pip install pandas") from None
        return pandas.DataFrame(self.flat_rows())

    def to_parquet(self) -> bytes:
        """The rows as a Parquet file; needs pyarrow."""
        return parquet_of(self.flat_rows())

    def write(self, path: str | Path) -> Path:
        """Write a .csv or .parquet file, whole or not at all."""
        check_output(path)
        return write_file(path, self.to_parquet() if Path(path).suffix == ".parquet" else self.to_csv().encode())

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        told = ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count)
        return f"<{type(self).__name__} of {len(self.rows):,} rows: {told or 'no points'}>"


def check_output(path: str | Path) -> None:
    """Refuse an output that cannot be written before anything is run."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(Fault(str(path), "", f'ends in "{suffix}", must end in .csv or .parquet'))
    if suffix == ".parquet":
        _pyarrow(str(path))


def make_rows(
    labels: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome], keys: Sequence[str],
    limits: Sequence[Expression] = (),
) -> list[Row]:  # fmt: skip
    """One row a point: all rows have the same columns in the same order."""
    metrics = dict.fromkeys(name for outcome in outcomes for name in outcome.metrics)
    lead = [name for name in LEAD if any(name in label for label in labels)]
    rows = []
    for label, outcome in zip(labels, outcomes, strict=True):
        row: Row = {name: label.get(name) for name in (*lead, *keys)}
        row.update({"status": outcome.status, "reason": outcome.reason})
        row.update({name: outcome.metrics.get(name) for name in metrics})
        rows.append(_limited(row, limits) if outcome.status == "ok" and limits else row)
    return rows


def _limited(row: Row, limits: Sequence[Expression]) -> Row:
    """A row that breaks a limit says so."""
    broken = [over for over in (over_limit(row, limit) for limit in limits) if over]
    return {**row, "status": OVER, "reason": "; ".join(broken)} if broken else row


def over_limit(row: Mapping[str, Any], limit: Expression) -> str:
    """Why a row does not keep ``limit``; empty if it does."""
    try:
        kept = bool(limit.value(row.__getitem__))
    except EvaluationError as error:
        return str(error)
    if kept:
        return ""
    found = ", ".join(f"{key} is {row[key]}" for key in limit.keys)
    return f"{limit}: {found}"


def statuses(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows there are of each status."""
    found = Counter(str(row["status"]) for row in rows)
    return {status: found[status] for status in ("ok", OVER, "infeasible", "illegal", "defect") if found[status]}


def _value(goal: Objective, row: Row) -> float | None:
    try:
        return goal.value(row) if row["status"] in ("ok", OVER) else None
    except EvaluationError:
        return None


def _flat(row: Mapping[str, Any]) -> Row:
    """Lists and mappings as JSON, so that every cell is one value."""
    return {k: json.dumps(v, default=str) if isinstance(v, list | dict | tuple) else v for k, v in row.items()}


def _pyarrow(wanted: str = ".parquet") -> Any:
    try:
        import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise InputError(Fault(wanted, "", "needs pyarrow: pip install 'accelsim[parquet]'")) from None
    return pyarrow


def parquet_of(rows: Sequence[Mapping[str, Cell]]) -> bytes:
    """Rows of equal keys as Parquet; a column of several types becomes text."""
    arrow = _pyarrow()
    names = list(rows[0]) if rows else []
    columns = {name: arrow.array(_one_type([row[name] for row in rows])) for name in names}
    stream = io.BytesIO()
    arrow.parquet.write_table(arrow.table(columns), stream)
    return stream.getvalue()


def _one_type(cells: list[Cell]) -> list[Cell]:
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {int} and all(cell is None or abs(int(cell)) < 2**63 for cell in cells):
        return cells
    if kinds <= {int, float} - {bool}:
        return [None if cell is None else float(cell) for cell in cells]
    return cells if len(kinds) <= 1 else [None if cell is None else str(cell) for cell in cells]
