"""What crosses the ports of the memory levels: a schedule's transfers, and the time that a port on chip needs for its share."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture, Tensor
from accelsim.counters import Traffic, Transfer, add_traffic
from accelsim.mapping.loopnest import LoopNest
from accelsim.mapping.machine import Ints, Widths
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


def passes_through(arch: Architecture, tensor: Tensor, nest: LoopNest, widths: Widths) -> bool:
    """Whether a layer's tensor stays nowhere on chip: no level holds it, or it streams through one that is too small."""
    level = arch.holder(tensor)
    if level is None or not level.streams or level.size is None:
        return level is None
    sums = widths.partial_sum if tensor == "partial_sum" else widths.output
    whole = {
        "weight": nest.weight_elements * widths.weight,
        "input": nest.input_elements(nest.dims) * widths.input,
        "output": nest.dims.outputs * sums,
    }
    held = {"output" if name == "partial_sum" else name for name in level.holds or ()}
    return sum(whole.get(name, 0) for name in held) > 8 * level.size


def spilled_sums(arch: Architecture, nest: LoopNest, widths: Widths, operands: Traffic, transfers: Traffic) -> Traffic:
    """Partial sums that stream through their level, off chip and back: as often as the array moves them (``operands``),
    without those that its tiles' ``transfers`` have moved already."""
    level, far = arch.holder("partial_sum"), arch.off_chip.name
    if level is None or not passes_through(arch, "partial_sum", nest, widths):
        return {}
    every = operands.get(level.name, {}).get("partial_sum", Transfer())
    done = transfers.get(far, {}).get("partial_sum", Transfer())
    spilled = Transfer(every.read_bits - done.read_bits, every.write_bits - done.write_bits)
    back = Transfer(spilled.write_bits, spilled.read_bits)
    return {far: {"partial_sum": spilled}, level.name: {"partial_sum": back}} if every != done else {}


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
