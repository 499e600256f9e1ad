"""The NFU in plain Python: rows of operands through three pipelined stages, every register clocked each
cycle.

This is the specification that `engines/kernels/nfu.py` is tested against.

    input row  --+--> operand register -> [NFU-1: x]* -> [NFU-2: tree, then sum]* -> [NFU-3]* -> output buffer
    weight row --+                                              ^                                    |
                                                                +------ partial sums, if resumed ----+

    (`[x]*`: as many registers in a row as the stage has cycles; the work is done at the first of them, except
    that the sum is formed at the last of NFU-2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Number = int | float
Matrix = Sequence[Sequence[Number]]


@dataclass(frozen=True)
class Arithmetic:
    """How products and sums are cut; None: exact."""

    product_shift: int = 0
    product_bits: int | None = None
    sum_bits: int | None = None
    product_saturates: bool = True
    sum_saturates: bool = True

    def product(self, a: Number, b: Number) -> Number:
        if self.product_bits is None:
            return a * b
        return cut(int(a) * int(b) >> self.product_shift, self.product_bits, self.product_saturates)


def cut(value: int, bits: int, saturates: bool) -> int:
    """``value`` in a signed register of ``bits``."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if saturates:
        return min(max(value, low), high)
    return (value - low) % (1 << bits) + low


def tree(values: Sequence[Number]) -> Number:
    """An adder tree over a power of two of inputs: i meets i + half, level by level."""
    level = list(values)
    while len(level) > 1:
        half = len(level) // 2
        level = [level[i] + level[i + half] for i in range(half)]
    return level[0]


@dataclass(frozen=True)
class Pipeline:
    """Cycles of the stages, where sums live, cycles that a row of operands takes."""

    multiply: int = 1
    add: int = 1
    activate: int = 1
    sums_in_buffer: bool = False
    cycles_a_row: int = 1


@dataclass
class Row:
    """One row of operands on its way: which sums it is for, what it does to the output buffer."""

    output: int
    reads: bool
    writes: bool
    operands: tuple[Sequence[Number], Matrix] | None = None  # inputs [Ti], weights [Tn][Ti]
    products: list[list[Number]] = field(default_factory=list)  # [Tn][Ti]


@dataclass
class Nfu:
    """The machine. ``stages`` are the registers behind the operand register, None a bubble."""

    options: Pipeline = Pipeline()
    arithmetic: Arithmetic = Arithmetic()
    sums: dict[int, list[Number]] = field(default_factory=dict)
    cycle: int = 0
    issue_cycles: int = 0
    first_mac: int = 0
    last_mac: int = 0
    end: int = 0
    reads: int = 0
    writes: int = 0
    overflows: int = 0

    def run(self, rows: Sequence[Row]) -> None:
        """Read ``rows`` in order, and let the pipeline run empty."""
        self.start(rows)
        while self.is_busy():
            self.step()

    def start(self, rows: Sequence[Row]) -> None:
        """Before the first cycle: all registers are empty."""
        o = self.options
        self.stages: list[Row | None] = [None] * (o.multiply + o.add + o.activate)
        self.operand: Row | None = None
        self.left = 0  # cycles that the operand register's row still needs
        self.waiting = list(rows)

    def is_busy(self) -> bool:
        return bool(self.waiting or self.operand or any(self.stages))

    def step(self) -> None:
        """A cycle."""
        o = self.options
        self._write()
        entering = self._multiply()
        self.stages = [entering, *self.stages[:-1]]
        self._add()
        if self.operand is None and self.waiting:
            self.operand, self.left = self.waiting.pop(0), o.cycles_a_row
            self.issue_cycles += o.cycles_a_row
        self.cycle += 1

    def _write(self) -> None:
        """What stands in the last register goes to the output buffer."""
        row = self.stages[-1]
        if row is not None:
            self.writes += row.writes
            self.end = self.cycle

    def _multiply(self) -> Row | None:
        row = self.operand
        if row is None:
            return None
        self.first_mac = self.first_mac or self.cycle
        self.last_mac = self.cycle
        self.left -= 1
        if self.left > 0:
            return None
        self.operand = None
        if row.operands is not None:
            inputs, weights = row.operands
            row.products = [
                [self.arithmetic.product(x, w) for x, w in zip(inputs, line, strict=True)] for line in weights
            ]
        return row

    def _add(self) -> None:
        """The row that has come to the last register of NFU-2 is added to its sums."""
        row = self.stages[self.options.multiply + self.options.add - 1]
        if row is None:
            return
        self.reads += row.reads
        sums = self.sums.setdefault(row.output, [0] * len(row.products))
        for n, products in enumerate(row.products):
            exact = sums[n] + tree(products)
            sums[n] = exact
            if self.arithmetic.sum_bits is not None:
                sums[n] = cut(int(exact), self.arithmetic.sum_bits, self.arithmetic.sum_saturates)
                self.overflows += sums[n] != exact


def tile_rows(passes: int, chunks: int, resumes: bool, sums_in_buffer: bool) -> list[Row]:
    """The rows of one tile, without operands."""
    return [
        Row(
            output,
            reads=resumes if chunk == 0 else sums_in_buffer,
            writes=chunk == chunks - 1 or sums_in_buffer,
        )
        for output in range(passes)
        for chunk in range(chunks)
    ]
