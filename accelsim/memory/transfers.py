"""What crosses the ports of the memory levels: a schedule's transfers, and the time that a port on chip needs for its share."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture
from accelsim.counters import Traffic, Transfer, add_traffic
from accelsim.mapping.machine import Ints
from accelsim.schedule.build import NOTHING, Schedule


def port_contention(
    arch: Architecture, schedule: Schedule, loads: Ints, operands: Sequence[MappingABC[str, int]], issue_cycles: Ints
) -> Ints:
    """Cycles by which each step's issue is too short for its level's ports; int64[steps].

    A port on chip carries the operands of the step's tile (bits by tensor, an entry a tile class) and the transfers
    that belong to the step; they share it.
    """
    short = np.zeros(schedule.steps, dtype=np.int64)
    for level in arch.memory[1:]:
        if level.bandwidth is None:
            continue
        held = set(level.holds or ())
        if "output" in held and arch.holder("partial_sum") == level:
            held.add("partial_sum")
        per_class = np.array([sum(bits for t, bits in tile.items() if t in held) for tile in operands], dtype=np.int64)
        moved = per_class[schedule.classes]
        for column, tensor in enumerate(("weight", "input", "partial_sum")):
            if tensor in held:
                moved = moved + np.maximum(loads[:, column], 0)
        for tensor, sent in (("output", ~schedule.partial), ("partial_sum", schedule.partial)):
            if tensor in held:
                moved = moved + np.maximum(np.where(sent, schedule.stores, 0), 0)
        rate = 8 * level.bandwidth.per_cycle(arch.clock)
        need = -(-moved * rate.denominator // rate.numerator)
        short = np.maximum(short, need - issue_cycles[schedule.classes])
    return np.maximum(short, 0)


def transfer_traffic(arch: Architecture, loads: Ints, stores: Ints, partial: npt.NDArray[np.bool_]) -> Traffic:
    """Bits across the off-chip port, and the same bits in and out of the levels they go to and come from."""
    moved = {
        tensor: int(loads[:, column][loads[:, column] != NOTHING].sum())
        for column, tensor in enumerate(("weight", "input", "partial_sum"))
    }
    out = {
        "output": int(stores[(stores != NOTHING) & ~partial].sum()),
        "partial_sum": int(stores[(stores != NOTHING) & partial].sum()),
    }
    far = arch.off_chip.name
    parts: list[MappingABC[str, MappingABC[str, Transfer]]] = []
    for tensor, bits in moved.items():
        parts += _both_sides(arch, far, tensor, Transfer(read_bits=bits))
    for tensor, bits in out.items():
        parts += _both_sides(arch, far, tensor, Transfer(write_bits=bits))
    return add_traffic(parts)


def _both_sides(arch: Architecture, far: str, tensor: Any, transfer: Transfer) -> list[dict[str, dict[str, Transfer]]]:
    if not (transfer.read_bits or transfer.write_bits):
        return []
    parts = [{far: {tensor: transfer}}]
    level = arch.holder(tensor)
    if level is not None:
        parts.append({level.name: {tensor: Transfer(transfer.write_bits, transfer.read_bits)}})
    return parts
