"""What a sweep looks for: a column of the table or an expression over columns, as small or as large as can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any

from accelsim.analysis.pareto import BETTER_LARGE
from accelsim.sweep.expression import EvaluationError, Expression


@dataclass(frozen=True)
class Objective:
    """``cycles``, ``max:utilization``, ``cycles*energy_total_pj``; smaller is better unless it says otherwise."""

    expression: Expression
    maximize: bool = False

    @classmethod
    def parse(cls, text: str) -> Objective:
        """ValueError where the text is no expression."""
        head, colon, rest = text.partition(":")
        if colon and head.strip() in ("min", "max"):
            return cls(Expression.parse(rest), head.strip() == "max")
        expression = Expression.parse(text)
        return cls(expression, expression.text in BETTER_LARGE)

    def value(self, row: Mapping[str, Any]) -> float:
        """Its value in a row; `EvaluationError` where the row has none."""
        number = self.expression.value(row.__getitem__)
        if isinstance(number, Fraction):
            number = float(number)
        if not isinstance(number, int | float) or not isfinite(number):
            raise EvaluationError(f"{self.expression}: {number!r} is no finite number")
        return number

    def cost(self, row: Mapping[str, Any]) -> float:
        """Its value, turned so that smaller is better."""
        return -self.value(row) if self.maximize else self.value(row)

    def __str__(self) -> str:
        return f"{'max' if self.maximize else 'min'}:{self.expression}"
