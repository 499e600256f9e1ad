"""What came of ONNX's own node tests, as `tests/frontends/node_tests.csv` has it."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).parents[1] / "frontends" / "node_tests.csv"
RANK = ("wrong", "refused", "folded", "counts", "values")  # the better, the later


class Outcome(NamedTuple):
    """``values``: the numbers are right. ``counts``: the shapes are, without --values. ``folded``: of constants alone.

    ``reason``: why it is no better.
    """

    kind: str
    reason: str = ""

    @property
    def rank(self) -> int:
        return RANK.index(self.kind)


def listed() -> dict[str, tuple[str, Outcome]]:
    """The tests of the list: the file of each, and what came of it."""
    with LIST.open(newline="") as lines:
        return {row["test"]: (row["module"], Outcome(row["outcome"], row["reason"])) for row in csv.DictReader(lines)}


def summary() -> str:
    """How many tests of the list came to what."""
    found = Counter(outcome.kind for _, outcome in listed().values())
    words = {
        "values": "with equal values", "counts": "without --values", "folded": "where all that they read is constant",
        "refused": "refused by name",
    }  # fmt: skip
    return "ONNX's node tests: " + ", ".join(f"{found[kind]} {words[kind]}" for kind in words)
