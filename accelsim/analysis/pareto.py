"""Which points no other beats: the Pareto front of two or more costs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

Group = TypeVar("Group", bound=Hashable)
BETTER_LARGE = frozenset({"utilization", "attained_gops", "intensity_ops_per_byte", "macs_per_weight_byte"})
"""Columns of results of which more is better; of all others less is."""
HOLDS_FOR, ALL_COLUMNS = "front_holds_for", "all columns"
"""A column of tilings: of what the rows have the best. Where a bound has left points out it is what the bound is of alone."""


def pareto_front(costs: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the costs (smaller is better) that no other beats in everything, in the order of the first cost; of
    equal ones the first.

    Sorted first, so that only those kept can beat what comes: n log n, and n times the size of the front.

    >>> pareto_front([(1, 9), (2, 5), (3, 6), (4, 1), (4, 1)])
    [0, 1, 3]
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (tuple(costs[i]), i)):
        if not any(_at_least_as_good(costs[kept], costs[index]) for kept in front):
            front.append(index)
    return front


def fronts(costs: Sequence[Sequence[float]], groups: Sequence[Group]) -> dict[Group, list[int]]:
    """The front of each group's points by itself: what one network costs says nothing of another.

    >>> fronts([(1, 9), (5, 5), (6, 6)], ["small", "large", "large"])
    {'small': [0], 'large': [1]}
    """
    places: dict[Group, list[int]] = {}
    for index, group in enumerate(groups):
        places.setdefault(group, []).append(index)
    return {group: [own[i] for i in pareto_front([costs[i] for i in own])] for group, own in places.items()}


def _at_least_as_good(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True))
