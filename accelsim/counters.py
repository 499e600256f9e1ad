"""What a run counts: integers, with their units in their names.

A cycle is *busy* when at least one MAC or vector lane does useful work in it. Every other cycle has one cause,
so that ``cycles == busy_cycles + sum(stall_cycles)`` holds by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from itertools import accumulate
from math import ceil

from accelsim.units import ceil_div


@dataclass(frozen=True)
class Stalls:
    """Cycles in which nothing useful was done, by cause."""

    fill: int = 0  # operands are on their way into the pipeline
    drain: int = 0  # results are on their way out
    weight_load: int = 0  # a stationary tile is shifted in, not hidden behind computation
    memory: int = 0  # waiting for a transfer
    queue: int = 0  # a sparse engine's broadcast is held back by a full queue
    imbalance: int = 0  # units idle while the last one works
    dependency: int = 0  # waiting for a result
    control: int = 0  # instruction or configuration overhead

    def __add__(self, other: Stalls) -> Stalls:
        return Stalls(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Stalls)))

    def total(self) -> int:
        return sum(getattr(self, f.name) for f in fields(Stalls))

    def to_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(Stalls)}


CAUSES: tuple[str, ...] = tuple(f.name for f in fields(Stalls))


@dataclass(frozen=True)
class Transfer:
    """Bits that crossed a level's port. Bits, because a 4-bit weight is half a byte."""

    read_bits: int = 0
    write_bits: int = 0

    def __add__(self, other: Transfer) -> Transfer:
        return Transfer(self.read_bits + other.read_bits, self.write_bits + other.write_bits)

    def scaled(self, times: int) -> Transfer:
        return Transfer(self.read_bits * times, self.write_bits * times)

    @property
    def read_bytes(self) -> int:
        return ceil_div(self.read_bits, 8)

    @property
    def write_bytes(self) -> int:
        return ceil_div(self.write_bits, 8)


Traffic = Mapping[str, Mapping[str, Transfer]]  # level -> tensor -> transfer


def add_traffic(parts: Iterable[Traffic]) -> dict[str, dict[str, Transfer]]:
    """Sum of several traffics, level by level and tensor by tensor."""
    total: dict[str, dict[str, Transfer]] = {}
    for part in parts:
        for level, tensors in part.items():
            row = total.setdefault(level, {})
            for tensor, transfer in tensors.items():
                row[tensor] = row.get(tensor, Transfer()) + transfer
    return total


@dataclass(frozen=True)
class Counters:
    """Everything that one layer's run counted.

    ``ops`` are 2 a MAC and 1 a vector operation. ``port_cycles`` is the view of the engine's operand port: cycles
    in which it accepted a vector (``active``) or did not, by cause; TPU v1's performance counters have this view.
    ``level_cycles``: cycles in which the port of a level on chip could work for this run, by level: those of the folds, with
    what they waited for ports. ``occupied_cycles``: cycles in which a resource (`accelsim.memory.resources`) is at work,
    whatever else is. ``unit_counts``: what only one kind of engine counts, by name.
    """

    cycles: int = 0
    busy_cycles: int = 0
    stalls: Stalls = Stalls()
    macs: int = 0
    effective_macs: int = 0
    vector_ops: int = 0
    traffic: Traffic = field(default_factory=dict)
    port_cycles: Mapping[str, int] = field(default_factory=dict)
    level_cycles: Mapping[str, int] = field(default_factory=dict)
    occupied_cycles: Mapping[str, int] = field(default_factory=dict)
    accumulator_overflows: int = 0
    register_bits: int = 0
    unit_counts: Mapping[str, int] = field(default_factory=dict)

    def times(self, count: int) -> Counters:
        """Counters of ``count`` such runs, one after the other."""
        return Counters(
            cycles=self.cycles * count,
            busy_cycles=self.busy_cycles * count,
            stalls=Stalls(*(getattr(self.stalls, f.name) * count for f in fields(Stalls))),
            macs=self.macs * count,
            effective_macs=self.effective_macs * count,
            vector_ops=self.vector_ops * count,
            traffic={
                level: {tensor: transfer.scaled(count) for tensor, transfer in tensors.items()}
                for level, tensors in self.traffic.items()
            },
            port_cycles={key: value * count for key, value in self.port_cycles.items()},
            level_cycles={key: value * count for key, value in self.level_cycles.items()},
            occupied_cycles={key: value * count for key, value in self.occupied_cycles.items()},
            accumulator_overflows=self.accumulator_overflows * count,
            register_bits=self.register_bits * count,
            unit_counts={key: value * count for key, value in self.unit_counts.items()},
        )

    def on_clock(self, rate: Fraction) -> Counters:
        """The same run in cycles of another clock, ``rate`` of them to one of its own; what is begun counts whole.

        ``unit_counts`` stay as the unit counted them; ``level_cycles`` and ``occupied_cycles`` are of its own clock and are
        dropped.
        """
        busy, *stalls = _rounded([self.busy_cycles, *self.stalls.to_dict().values()], rate)
        ports = _rounded(list(self.port_cycles.values()), rate)
        return replace(
            self, cycles=busy + sum(stalls), busy_cycles=busy, stalls=Stalls(*stalls),
            port_cycles=dict(zip(self.port_cycles, ports, strict=True)), level_cycles={},
            occupied_cycles={},
        )  # fmt: skip

    @property
    def ops(self) -> int:
        return 2 * self.macs + self.vector_ops

    def __add__(self, other: Counters) -> Counters:
        """Counters of this run followed by the other."""
        return Counters(
            cycles=self.cycles + other.cycles,
            busy_cycles=self.busy_cycles + other.busy_cycles,
            stalls=self.stalls + other.stalls,
            macs=self.macs + other.macs,
            effective_macs=self.effective_macs + other.effective_macs,
            vector_ops=self.vector_ops + other.vector_ops,
            traffic=add_traffic((self.traffic, other.traffic)),
            port_cycles=_added(self.port_cycles, other.port_cycles),
            level_cycles=_added(self.level_cycles, other.level_cycles),
            occupied_cycles=_added(self.occupied_cycles, other.occupied_cycles),
            accumulator_overflows=self.accumulator_overflows + other.accumulator_overflows,
            register_bits=self.register_bits + other.register_bits,
            unit_counts=_added(self.unit_counts, other.unit_counts),
        )


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {key: first.get(key, 0) + second.get(key, 0) for key in dict.fromkeys((*first, *second))}


def _rounded(parts: list[int], rate: Fraction) -> list[int]:
    """``parts`` times ``rate`` as whole numbers that add up to their sum times ``rate``, rounded up."""
    ends = [ceil(total * rate) for total in accumulate(parts)]
    return [end - before for before, end in zip([0, *ends], ends, strict=False)]
