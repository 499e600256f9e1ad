"""The six measures of compression surveys: what a compressed network is of the original, whole and layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Cost:
    """What a layer, or several, has and takes.

    parameters  weights and biases that are not zero
    macs        multiply-accumulates whose weight is not zero
    addresses   places that the stored weights take, padding among them
    """

    parameters: int
    macs: int
    addresses: int
    seconds: float
    energy_pj: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))


NOTHING = Cost(0, 0, 0, 0.0, 0.0)


@dataclass(frozen=True)
class Measures:
    """Compressed over original; latency and energy by simulation. None: not known, or nothing to divide by.

    accuracy    top-1 over top-1
    parameters  weights and biases that are not zero
    macs        multiply-accumulates whose weight is not zero
    latency     seconds
    energy      picojoules
    index_space addresses that stored weights take: all of a dense tensor, the entries (padding zeros among them) of
                a sparse one, the buckets of hashed weights (after the index space saving of Cheng et al., "A survey of
                model compression and acceleration for deep neural networks", arXiv 1710.09282, section V)
    """

    accuracy: float | None
    parameters: float | None
    macs: float | None
    latency: float | None
    energy: float | None
    index_space: float | None

    @classmethod
    def of(cls, original: Cost, compressed: Cost, accuracy: float | None = None) -> Measures:
        a, b = original, compressed
        return cls(
            accuracy, _ratio(b.parameters, a.parameters), _ratio(b.macs, a.macs), _ratio(b.seconds, a.seconds),
            _ratio(b.energy_pj, a.energy_pj), _ratio(b.addresses, a.addresses),
        )  # fmt: skip

    def rows(self) -> list[tuple[str, float | None]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def layer_measures(original: Mapping[str, Cost], compressed: Mapping[str, Cost]) -> dict[str, Measures]:
    """The measures of the layers that both have, in the order of the original."""
    return {name: Measures.of(cost, compressed[name]) for name, cost in original.items() if name in compressed}


def folded(costs: Mapping[str, Cost], layers: Iterable[str]) -> dict[str, Cost]:
    """``costs`` with the parts that a pass made of one of ``layers`` (``fc6_in`` of ``fc6``) added to that layer's."""
    known, table = set(layers), dict[str, Cost]()
    for name, cost in costs.items():
        whole = name if name in known else _whole(name, known)
        table[whole] = table.get(whole, NOTHING) + cost
    return table


def _whole(name: str, known: set[str]) -> str:
    """The layer with the longest name that ``name`` goes on from with an underscore; ``name`` if there is none."""
    ends = [at for at, sign in enumerate(name) if sign == "_" and name[:at] in known]
    return name[: ends[-1]] if ends else name


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    return sum(costs, NOTHING)
