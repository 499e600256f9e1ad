"""The vector unit: pooling, activations, element-wise work, normalization; and data that moves without arithmetic.

``lanes`` operations a cycle on operands streamed from the level that holds them, in pieces small enough to be
double buffered. Constants (trained operands, slopes, scales and shifts, rows of a table, biases of transformed tiles)
come from the far end into the inputs' level once, and are read there like any operand. A layer that only moves data (a
transpose, say) goes through the same lanes an element a lane and cycle, but does no useful work there: its cycles are
memory stalls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Transfer, add_traffic
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.walk import Carry, Steps, counters_of, occupied, run_steps, timeline_options
from accelsim.mapping.loopnest import VectorWork
from accelsim.mapping.machine import Placement, Widths, free_bytes
from accelsim.memory.resources import AS_BUILT, LANES, Faster, port_of
from accelsim.memory.transfers import transfer_traffic
from accelsim.units import ceil_div
from accelsim.workload.precision import Precision

MOST_PIECES = 4096


@dataclass(frozen=True)
class VectorUnit:
    """The unit that an architecture's ``vector`` block describes."""

    arch: Architecture
    lanes: int

    @property
    def name(self) -> str:
        return "vector"

    def run(
        self, work: VectorWork, precision: Precision, shares: tuple[Fraction, ...], placement: Placement, carry: Carry,
        faster: Faster = AS_BUILT,
    ) -> Counters:  # fmt: skip
        """Stream ``work`` through the lanes; ``shares`` of each input have to be fetched from the far end."""
        widths = Widths.of(precision)
        shares = (*shares, *(Fraction(0),) * (len(work.input_elements) - len(shares)))
        inputs = sum(work.input_elements)
        constants = work.weight_elements * widths.weight + work.bias_elements * widths.partial_sum
        read = inputs * widths.input + constants
        fetched = sum(ceil(e * s) for e, s in zip(work.input_elements, shares, strict=True)) * widths.input
        fetched += 0 if placement.weight_resident else constants
        stored = 0 if placement.output_resident else work.output_elements * widths.output
        lane_cycles = self._lane_cycles(work, work.ops or max(inputs, work.output_elements))
        crossing = read + fetched, work.output_elements * widths.output + stored
        as_built = max(lane_cycles, self._port_cycles(*crossing, AS_BUILT))
        pieces = self._pieces(fetched + stored, as_built, placement)
        lanes = faster.of(LANES, lane_cycles)
        cycles, busy = max(lanes, self._port_cycles(*crossing, faster)), lanes if work.ops else 0
        steps = self._steps(pieces, fetched, stored, busy, cycles - busy, faster)
        result = run_steps(steps, carry.weight_free, carry)
        traffic = add_traffic(
            (
                transfer_traffic(self.arch, steps.loads, steps.stores, steps.partial),
                self._operands(read, work.output_elements * widths.output),
            )
        )
        there = {level.name: cycles for level in self.arch.on_chip if level.bandwidth is not None}
        counters = counters_of(result, 0, work.ops, traffic)
        resources = occupied(self.arch, int((steps.loads > 0).sum()), counters, {LANES: lanes})
        return replace(counters, level_cycles=there, occupied_cycles=resources)

    def run_repeated(
        self, work: VectorWork, precision: Precision, shares: tuple[Fraction, ...], placement: Placement, carry: Carry,
        faster: Faster = AS_BUILT,
    ) -> Counters:  # fmt: skip
        """``work`` as often as it is repeated: from the second time on its constants are there."""
        first = self.run(work, precision, shares, placement, carry, faster)
        if work.repeat == 1 or not work.weight_elements:
            carry.repeated(work.repeat)
            return first.times(work.repeat)
        again = self.run(work, precision, shares, replace(placement, weight_resident=True), carry, faster)
        carry.repeated(work.repeat - 1)
        return first + again.times(work.repeat - 1)

    def _lane_cycles(self, work: VectorWork, operations: int) -> int:
        """Rows of lanes; where a row holds channels of one position only, the last row of each position is ragged."""
        assert self.arch.vector is not None
        if self.arch.vector.rows == "packed" or work.channels == 0:
            return ceil_div(operations, self.lanes)
        nodes = getattr(self.arch.engine, "nodes", 1)  # each takes a part of the positions
        return ceil_div(ceil_div(operations, work.channels), nodes) * ceil_div(work.channels, self.lanes // nodes)

    def _port_cycles(self, read_bits: int, write_bits: int, faster: Faster) -> int:
        """Cycles that operands and transfers take through the ports of the levels that hold them."""
        need: dict[str, int] = {}
        for tensor, bits in (("input", read_bits), ("output", write_bits)):
            level = self.arch.keeper(tensor)  # type: ignore[arg-type]
            if level is not None:
                need[level.name] = need.get(level.name, 0) + bits
        cycles = 0
        for level in self.arch.on_chip:
            speed = faster.speed(port_of(level))
            if level.bandwidth is not None and speed is not None:
                rate = 8 * speed * level.bandwidth.per_cycle(self.arch.clock)
                cycles = max(cycles, ceil(need.get(level.name, 0) / rate))
        return cycles

    def _pieces(self, moved_bits: int, cycles: int, placement: Placement) -> int:
        """In how many pieces the operands stream: a piece, twice over, must fit what is free on chip."""
        rooms = [
            free_bytes(level, placement)
            for level in (self.arch.keeper("input"), self.arch.keeper("output"))
            if level is not None
        ]
        room = min((r for r in rooms if r is not None), default=None)
        pieces = 1 if room is None else ceil_div(ceil_div(moved_bits, 8) * 2, max(1, room))
        wanted = 16 if moved_bits else 1  # more than fit demands, so that transfers and lanes overlap
        return max(1, min(max(pieces, wanted), MOST_PIECES, cycles))

    def _steps(self, pieces: int, fetched: int, stored: int, busy: int, idle: int, faster: Faster) -> Steps:
        """Pieces of equal size: bits ``fetched`` and ``stored``, cycles of the lanes, and of what they wait for."""
        loads = np.full((pieces, 3), -1, dtype=np.int64)
        loads[:, tl.INPUT] = _portions(fetched, pieces)
        table, classes = np.unique(_portions(busy, pieces), return_inverse=True)
        folds = np.zeros((len(table), 4, tl.FOLD_FIELDS), dtype=np.int64)
        folds[:, :, tl.F_ISSUE] = folds[:, :, tl.F_INTERVAL] = folds[:, :, tl.F_END] = table[:, None]
        folds[:, :, tl.F_LAST_MAC] = table[:, None] - 1
        return Steps(
            self.name, classes.astype(np.int32).ravel(), loads, _portions(stored, pieces), _portions(idle, pieces),
            np.ones((len(table), 3), dtype=np.int64), folds, timeline_options(self.arch, -1, True, 2, faster=faster),
            np.zeros(pieces, dtype=bool),
        )  # fmt: skip

    def _operands(self, read_bits: int, write_bits: int) -> dict[str, dict[str, Transfer]]:
        table: dict[str, dict[str, Transfer]] = {}
        for tensor, transfer in (("input", Transfer(read_bits=read_bits)), ("output", Transfer(write_bits=write_bits))):
            level = self.arch.keeper(tensor)  # type: ignore[arg-type]
            if level is not None:
                table.setdefault(level.name, {})[tensor] = transfer
        return table


def _portions(total: int, pieces: int) -> np.ndarray:
    """``total`` in ``pieces`` whole numbers that differ by at most one, larger ones first."""
    base, extra = divmod(total, pieces)
    return base + (np.arange(pieces, dtype=np.int64) < extra)
