"""What a layer's time is made of: resources, each with a rate, and the same machine with one of them faster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from accelsim.arch.memory import Level
from accelsim.mapping.machine import Ints

Count = TypeVar("Count", int, Ints)

STREAM = "array stream"  # operands into the unit, a vector or a row of them a cycle
SHIFT = "weight shift"  # stationary operands into the array
PES = "PEs"  # of a sparse engine
LANES = "vector lanes"
MEMORY = "memory"  # bytes through the off-chip port
LATENCY = "latency"  # of the off-chip memory


def port_of(level: Level) -> str:
    """The resource that the port of a level on chip is."""
    return f"{level.name} port"


@dataclass(frozen=True)
class Faster:
    """The machine with one ``resource`` at ``times`` its rate; 0 times: it takes no time at all."""

    resource: str = ""
    times: int = 1

    def of(self, resource: str, cycles: Count) -> Count:
        """``cycles`` that ``resource`` takes as built, at its rate here; what is begun counts whole."""
        speed = self.speed(resource)
        return 0 * cycles if speed is None else -(-cycles // speed)

    def speed(self, resource: str) -> int | None:
        """How many times its rate ``resource`` has here; None: it takes no time."""
        return 1 if resource != self.resource else self.times or None


AS_BUILT = Faster()
