"""Which counter moved between two runs, and by how much. Works on plain tables, so that anything can be
compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Value = int | float | str | None
Table = Mapping[str, Value]  # counter (with its unit in its name) -> value


@dataclass(frozen=True)
class Change:
    """A counter that differs. ``layer`` is empty for totals; a value is None where that side lacks the
    counter.
    """

    layer: str
    counter: str
    first: Value
    second: Value

    @property
    def difference(self) -> int | float | None:
        """Second minus first; None where either is not a number."""
        if isinstance(self.first, int | float) and isinstance(self.second, int | float):
            return self.second - self.first
        return None

    @property
    def ratio(self) -> float | None:
        """Second over first; None where either is not a number or the first is zero."""
        if isinstance(self.first, int | float) and isinstance(self.second, int | float) and self.first:
            return self.second / self.first
        return None


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two runs.

    ``settings`` are differences of what was run (network, architecture, batch, clock), ``totals`` of the
    whole, ``layers`` of the layers that both have. Counters that agree are not listed; ``agreeing`` counts
    them.
    """

    settings: tuple[Change, ...]
    totals: tuple[Change, ...]
    layers: tuple[Change, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    agreeing: int

    @property
    def identical(self) -> bool:
        """Whether nothing that was counted differs."""
        return not (self.totals or self.layers or self.only_first or self.only_second)

    def of(self, counter: str) -> list[Change]:
        """The layers in which ``counter`` moved, the largest difference first."""
        found = [change for change in self.layers if change.counter == counter]
        return sorted(found, key=lambda change: -abs(change.difference or 0))


def differing(layer: str, first: Table, second: Table) -> list[Change]:
    """The counters of two tables that differ, in the order of the first."""
    keys = dict.fromkeys((*first, *second))
    pairs = ((key, first.get(key), second.get(key)) for key in keys)
    return [Change(layer, key, a, b) for key, a, b in pairs if a != b]


def compare_tables(
    settings: tuple[Table, Table],
    totals: tuple[Table, Table],
    layers: tuple[Mapping[str, Table], Mapping[str, Table]],
) -> Comparison:
    """Compare two runs given as tables: each argument is a pair (first, second); ``layers`` maps names to
    counters.
    """
    first, second = layers
    common = [name for name in first if name in second]
    moved = [change for name in common for change in differing(name, first[name], second[name])]
    total_moved = differing("", *totals)
    return Comparison(
        settings=tuple(differing("", *settings)),
        totals=tuple(total_moved),
        layers=tuple(moved),
        only_first=tuple(name for name in first if name not in second),
        only_second=tuple(name for name in second if name not in first),
        agreeing=_compared(totals, [(first[n], second[n]) for n in common]) - len(moved) - len(total_moved),
    )


def _compared(totals: tuple[Table, Table], layers: Iterable[tuple[Table, Table]]) -> int:
    return sum(len({*a, *b}) for a, b in (totals, *layers))
