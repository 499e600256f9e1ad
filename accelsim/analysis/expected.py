"""Networks that do not always run whole: the expected cost of early exits and gates, from the cost of every layer.

Layers run in the network's order. An exit is a layer after which a share of the inputs that reach it is done (the end of
a side branch: S. Teerapittayanon, B. McDanel and H. T. Kung, "BranchyNet: Fast inference via early exiting from deep neural
networks", ICPR 2016, arXiv 1709.01686). A gate is the share of the inputs for which a layer runs (X. Wang et al.,
"SkipNet: Learning dynamic routing in convolutional networks", ECCV 2018, arXiv 1711.09485), or of its channels that are
computed (W. Hua et al., "Channel gating neural networks", NeurIPS 2019, arXiv 1805.12549). What is expected of the whole
is the sum of probability times cost over the layers, each layer's cost that of its full run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple


@dataclass(frozen=True)
class Spent:
    """What layers took, or are expected to take."""

    cycles: float = 0.0
    seconds: float = 0.0
    macs: float = 0.0
    effective_macs: float = 0.0
    energy_pj: float = 0.0
    off_chip_bytes: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Spent)))

    def times(self, share: float) -> Spent:
        return Spent(*(getattr(self, f.name) * share for f in fields(Spent)))


class Stage(NamedTuple):
    """A layer: what its full run took, the share of the inputs that reach it and leave after it, and its gate."""

    name: str
    spent: Spent
    exit: float = 0.0
    gate: float = 1.0


class Leave(NamedTuple):
    """Where inputs leave: after which layer ("" at the end), what share of all of them, having spent how much."""

    after: str
    share: float
    spent: Spent


def probabilities(stages: Sequence[Stage]) -> list[float]:
    """The probability that each layer runs: what has not left before it, times its gate."""
    reach, found = 1.0, []
    for stage in stages:
        found.append(reach * stage.gate)
        reach *= 1 - stage.exit
    return found


def leaves(stages: Sequence[Stage]) -> list[Leave]:
    """Every exit and the end; the shares add up to 1, and share times spent over them to what is expected."""
    reach, spent, found = 1.0, Spent(), []
    for stage in stages:
        spent += stage.spent.times(stage.gate)
        if stage.exit:
            found.append(Leave(stage.name, reach * stage.exit, spent))
            reach *= 1 - stage.exit
    return [*found, Leave("", reach, spent)]


def expected(stages: Sequence[Stage]) -> Spent:
    """The sum of probability times cost."""
    parts = (stage.spent.times(p) for stage, p in zip(stages, probabilities(stages), strict=True))
    return sum(parts, Spent())
