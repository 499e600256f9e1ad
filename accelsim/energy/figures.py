"""The figures that come with accelsim, read from ``tables/*.csv`` (provenance: ``tables/README.md``)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from math import exp, log
from typing import NamedTuple

from accelsim.energy.cost import Status


@cache
def read_table(name: str) -> tuple[Mapping[str, str], ...]:
    """The rows of ``tables/<name>.csv`` as text."""
    text = (files("accelsim.energy") / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def status_of(row: Mapping[str, str]) -> Status:
    """How the row's figure came to be there; a figure read in a secondary source counts as read."""
    return "read" if row["status"].startswith("read") else "recalled"


class Point(NamedTuple):
    """A tabulated figure ``y`` at ``x``, both greater than zero."""

    x: float
    y: float


def interpolate(points: Sequence[Point], x: float) -> float:
    """Straight lines between ``points`` (by rising x) on log-log axes; ``x`` must lie within them."""
    assert points[0].x <= x <= points[-1].x, f"{x} is outside {points[0].x} to {points[-1].x}"
    for point in points:
        if point.x == x:
            return point.y
    low, high = next(pair for pair in pairwise(points) if pair[0].x < x < pair[1].x)
    share = log(x / low.x) / log(high.x / low.x)
    return exp(log(low.y) + share * log(high.y / low.y))


def neighbours(tabulated: Sequence[float], x: float) -> tuple[float, ...]:
    """The tabulated values around ``x``: one where it is tabulated itself, otherwise two."""
    if x in tabulated:
        return (x,)
    return (max(t for t in tabulated if t < x), min(t for t in tabulated if t > x))
