"""What a validation returns: a table of published figures beside simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path

PUBLISHED = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Row:
    """One figure. ``bound`` is the relative error it must stay within; None is context, shown but not judged.

    ``within`` is, instead of an error, the range that the simulated figure must lie in.

    ``status`` says how the published figure is known: read, derived or recalled.
    """

    what: str
    published: float
    simulated: float
    unit: str = ""
    bound: float | None = None
    status: str = "read"
    note: str = ""
    within: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """Relative error; 0 where both are zero."""
        if self.published == 0:
            return 0.0 if self.simulated == 0 else float("inf")
        return self.simulated / self.published - 1

    @property
    def passed(self) -> bool:
        if self.within is not None:
            return self.within[0] <= self.simulated <= self.within[1]
        return self.bound is None or abs(self.error) <= self.bound + 1e-12

    @property
    def judged(self) -> bool:
        return self.bound is not None or self.within is not None


@dataclass(frozen=True)
class Outcome:
    """One validation: its rows, and notes on what the comparison can and cannot say."""

    name: str
    title: str
    source: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def judged(self) -> int:
        return sum(row.judged for row in self.rows)

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)


def published_table(name: str) -> list[dict[str, str]]:
    """Rows of a carried CSV of published figures."""
    with (PUBLISHED / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(DictReader(line for line in file if not line.startswith("#")))
