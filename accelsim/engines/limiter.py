"""The limiter of a layer: the resource whose rate would change its time the most, the plan staying what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from accelsim.memory.resources import Faster


class Limiter(NamedTuple):
    """A resource, and the cycles that the layer would take if it took no time."""

    resource: str
    cycles_without: int


def find_limiter(cycles: int, occupied: Mapping[str, int], again: Callable[[Faster], int]) -> Limiter | None:
    """The resource that gains the most at twice its rate; None where nothing takes time.

    ``cycles``: the layer's; ``occupied``: cycles in which each resource is at work; ``again``: the layer's cycles on a
    faster machine. Twice the rate cannot gain more than half of what a resource is occupied, so those that are occupied
    the longest are tried first and most need no try.
    """
    best, most = "", -1
    for resource in sorted(occupied, key=lambda name: -occupied[name]):
        if occupied[resource] <= 2 * most or not occupied[resource]:
            break
        gain = cycles - again(Faster(resource, 2))
        if gain > most:
            best, most = resource, gain
    # requests that are served as they come may be served in a worse order on the faster machine: the better of the two counts
    return Limiter(best, min(cycles - most, again(Faster(best, 0)))) if best else None
