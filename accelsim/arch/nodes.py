"""Several nodes as one machine, and how they divide a layer among them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from accelsim.arch.memory import Buffer, Registers
from accelsim.units import ceil_div

if TYPE_CHECKING:
    from accelsim.arch.spec import Architecture

NODE_LINKS = "node_links"
"""The level at which traffic between nodes is counted."""


class Split(NamedTuple):
    """Nodes over a layer's groups, over the output channels of each, and over output rows; their product is all nodes."""

    groups: int
    channels: int
    rows: int


@lru_cache(maxsize=4096)
def split(nodes: int, work: tuple[int, int, int], step: tuple[int, int]) -> Split:
    """The division with the fewest steps for the node that has most; then that with the fewest copies of weights.

    ``work``: groups, output channels of each, output rows. ``step``: channels and rows that a node does at once.
    """
    options = [
        Split(groups, channels, nodes // groups // channels)
        for groups in range(1, nodes + 1)
        if nodes % groups == 0
        for channels in range(1, nodes // groups + 1)
        if nodes // groups % channels == 0
    ]

    def steps(option: Split) -> tuple[int, int, int]:
        taken = ceil_div(work[1], step[0] * option.channels) * ceil_div(work[2], step[1] * option.rows)
        return ceil_div(work[0], option.groups) * taken, option.rows, option.channels

    return min(options, key=steps)


def system_of(arch: Architecture) -> Architecture:
    """``arch``, a node, as its ``engine.nodes`` together: memories, ports and lanes side by side; itself where it is alone."""
    nodes: int = getattr(arch.engine, "nodes", 1)
    if nodes == 1:
        return arch
    vector = arch.vector and arch.vector.model_copy(update={"lanes": arch.vector.lanes * nodes})
    levels = (arch.off_chip, *(_of_all(level, nodes) for level in arch.on_chip))
    return arch.model_copy(update={"memory": levels, "vector": vector})


def _of_all(level: Buffer | Registers, nodes: int) -> Buffer | Registers:
    changes: dict[str, Any] = {
        "size": level.size and level.size * nodes,
        "bandwidth": level.bandwidth and level.bandwidth.times(nodes),
    }
    if isinstance(level, Buffer):
        changes["banks"] = level.banks * nodes
    return level.model_copy(update=changes)
