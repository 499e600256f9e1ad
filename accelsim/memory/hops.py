"""What a nest on several stages of memory moves between its levels: counted once, for the report, the energy and the walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from accelsim.counters import Traffic, Transfer, add_traffic
from accelsim.mapping.machine import Ints
from accelsim.schedule.staged import Hop, StagedSchedule

Stored = Callable[[Ints], Ints]


@dataclass(frozen=True)
class Moves:
    """All that crosses the hops of a schedule, in bits: ``coming`` and ``going`` one entry a hop, int64[tiles] each."""

    schedule: StagedSchedule
    coming: tuple[Ints, ...]
    going: tuple[Ints, ...]

    @classmethod
    def of(cls, schedule: StagedSchedule, stored: Stored) -> Moves:
        """``stored``: bits of weights as they are kept in memory, from those that the layer defines."""
        coming = tuple(
            (stored(hop.bits_in) if hop.tensor == "weight" else hop.bits_in) + hop.biases for hop in schedule.hops
        )
        return cls(schedule, coming, tuple(hop.bits_out for hop in schedule.hops))

    def traffic(self) -> Traffic:
        """Bits across the ports at both ends of every hop."""
        parts: list[Traffic] = []
        for hop, coming, going in zip(self.schedule.hops, self.coming, self.going, strict=True):
            whole = hop.tiles.whole if hop.tensor == "output" else np.zeros(len(coming), dtype=bool)
            sums = "partial_sum" if hop.tensor == "output" else hop.tensor
            parts += _both_ends(hop, sums, Transfer(int(coming.sum()), int(going[~whole].sum())))
            parts += _both_ends(hop, hop.tensor, Transfer(0, int(going[whole].sum())))
        return add_traffic(parts)


def _both_ends(hop: Hop, tensor: str, moved: Transfer) -> list[Traffic]:
    if not (moved.read_bits or moved.write_bits):
        return []
    back = Transfer(moved.write_bits, moved.read_bits)
    return [{hop.outer.name: {tensor: moved}}, {hop.inner.name: {tensor: back}}]
