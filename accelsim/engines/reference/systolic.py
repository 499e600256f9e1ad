"""The systolic array in plain Python: every register of every PE, stepped cycle by cycle.

This is the specification that `engines/kernels/systolic.py` is tested against. A cycle has two phases: from
the registers as they stand, follow the wires through the logic; then clock every register at once. A register
holds a `Word`; `BUBBLE` is a word that carries nothing, and its value reads 0.

    left operands  -> [input]* -> PE - [hop_right]* -> PE - [hop_right]* -> PE
                                   |                    |                    |
    top operands                [hop_down]*          [hop_down]*          [hop_down]*
                                   |                    |                    |
                                  PE                   PE                   PE

    os PE:  left x top -> [multiplier]* -> [accumulator - 1]* -> + -> sum -> [chain] -> [output]* -> port
                                                                 ^____|
    ws PE:  left x weight -> [multiplier]* -> + -> [accumulator - 1]* -> [hop_down]* -> the PE below
                            sum from above ___^      the last row: [the accumulator] -> [output]* -> port

    (`[x]*`: x registers in a row)

The feeder outside the array presents row i's v-th left operand `i * row_skew` cycles after row 0's, and so
on: what must meet in a PE enters in time to meet there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Number = int | float


class Word(NamedTuple):
    """What a register holds."""

    value: Number = 0
    valid: bool = False
    last: bool = False  # of its stream
    tag: int = -1  # the vector it belongs to: for the record of outputs only, no logic looks at it


BUBBLE = Word()


@dataclass(frozen=True)
class Options:
    """What differs between real arrays; see docs of `kernels.systolic.fold_options`."""

    hop_down: int = 1
    hop_right: int = 1
    multiplier: int = 0
    accumulator: int = 1
    input: int = 0
    output: int = 0
    trim: bool = False
    drain: Literal["parallel", "cols", "rows"] = "parallel"
    load: Literal["rows", "parallel"] = "rows"


class Output(NamedTuple):
    """A word at an output port: cycles elapsed until it stands there, its place in the tile, its value."""

    cycles: int
    row: int
    col: int
    value: Number


@dataclass
class Record:
    """What was seen while stepping; the fields of the kernel's timing record."""

    load_cycles: int = 0
    stream_cycles: int = 0
    mac_cycles: list[int] = field(default_factory=list)  # cycles with a useful MAC
    mac_count: int = 0
    last_step_cycle: int = -1
    drain_start_cycle: int = -1
    drain_cycles: int = 0
    outputs: list[Output] = field(default_factory=list)

    def timing(self) -> tuple[int, ...]:
        """In the order of the kernel's record."""
        return (
            self.load_cycles,
            self.stream_cycles,
            self.mac_cycles[0],
            self.mac_cycles[-1],
            self.mac_count,
            len(self.mac_cycles),
            self.last_step_cycle,
            self.drain_start_cycle,
            self.drain_cycles,
            min(output.cycles for output in self.outputs),
            max(output.cycles for output in self.outputs),
        )


class Pipe:
    """Registers in a row; with none, a wire."""

    def __init__(self, stages: int) -> None:
        self.stages = [BUBBLE] * stages
        self._next: Word = BUBBLE

    def through(self, word: Word) -> Word:
        """Drive the input; returns what is at the output in this cycle."""
        self._next = word
        return self.stages[-1] if self.stages else word

    def clock(self) -> None:
        """Move on by one register."""
        if self.stages:
            self.stages = [self._next, *self.stages[:-1]]


def _grid(rows: int, cols: int, stages: int) -> list[list[Pipe]]:
    return [[Pipe(stages) for _ in range(cols)] for _ in range(rows)]


class _Array:
    """What os and ws share: the left operands' way through the array, the multipliers, the clock."""

    def __init__(self, rows: int, cols: int, used: tuple[int, int], vectors: int, options: Options) -> None:
        self.rows, self.cols, self.options, self.vectors = rows, cols, options, vectors
        self.used_rows, self.used_cols = used
        self.cycle = 0
        self.record = Record()
        self.left_ports = [Pipe(options.input) for _ in range(rows)]
        self.left_hops = _grid(rows, cols, options.hop_right)
        self.left = [[BUBBLE] * cols for _ in range(rows)]  # wires: at every PE in this cycle
        self.pipes: list[Pipe] = [*self.left_ports, *(pipe for row in self.left_hops for pipe in row)]

    def _left_wires(self, entering: Sequence[Word]) -> None:
        for i in range(self.rows):
            word = self.left_ports[i].through(entering[i])
            for j in range(self.cols):
                self.left[i][j] = word
                word = self.left_hops[i][j].through(word)

    def _note_macs(self, working: list[tuple[int, int]]) -> None:
        """Record the PEs that multiply two valid operands in this cycle."""
        useful = sum(i < self.used_rows and j < self.used_cols for i, j in working)
        if working:
            self.record.last_step_cycle = self.cycle
        if useful:
            self.record.mac_cycles.append(self.cycle)
            self.record.mac_count += useful

    def _clock(self) -> None:
        for pipe in self.pipes:
            pipe.clock()
        self.cycle += 1


class OutputStationary(_Array):
    """One fold on an os array: a[r, T] from the left, b[T, c] from above, sums[r, c] (or 0) to begin with."""

    def __init__(
        self,
        a: Sequence[Sequence[Number]],
        b: Sequence[Sequence[Number]],
        rows: int,
        cols: int,
        options: Options,
        sums: Sequence[Sequence[Number]] | None = None,
    ) -> None:
        super().__init__(rows, cols, (len(a), len(b[0])), len(b), options)
        self.a, self.b = a, b
        self.extent_rows = self.used_rows if options.trim else rows
        self.extent_cols = self.used_cols if options.trim else cols
        self.top_ports = [Pipe(options.input) for _ in range(cols)]
        self.top_hops = _grid(rows, cols, options.hop_down)
        self.top = [[BUBBLE] * cols for _ in range(rows)]  # wires
        self.products = _grid(rows, cols, options.multiplier + options.accumulator - 1)
        self.sums: list[list[Number]] = [[0] * cols for _ in range(rows)]
        for i, row in enumerate(sums or []):
            self.sums[i][: len(row)] = row
        self.done = [[False] * cols for _ in range(rows)]  # the sum became final at the last clock
        self.by_rows = options.drain == "rows"
        self.chain_length = rows if self.by_rows else cols
        self.chains = [[BUBBLE] * self.chain_length for _ in range(cols if self.by_rows else rows)]
        n_ports = rows * cols if options.drain == "parallel" else len(self.chains)
        self.out_ports = [Pipe(options.output) for _ in range(n_ports)]
        self.pipes += [*self.top_ports, *self.out_ports]
        self.pipes += [pipe for grid in (self.top_hops, self.products) for row in grid for pipe in row]

    def _entering_left(self, i: int) -> Word:
        k = self.cycle - i * self.options.hop_down
        if i >= self.extent_rows or not 0 <= k < self.vectors:
            return BUBBLE
        return Word(self.a[i][k] if i < self.used_rows else 0, True, k == self.vectors - 1)

    def _entering_top(self, j: int) -> Word:
        k = self.cycle - j * self.options.hop_right
        if j >= self.extent_cols or not 0 <= k < self.vectors:
            return BUBBLE
        return Word(self.b[k][j] if j < self.used_cols else 0, True, k == self.vectors - 1)

    def _top_wires(self) -> None:
        for j in range(self.cols):
            word = self.top_ports[j].through(self._entering_top(j))
            for i in range(self.rows):
                self.top[i][j] = word
                word = self.top_hops[i][j].through(word)

    def _chain_cell(self, chain: int, place: int) -> tuple[int, int]:
        """The PE whose sum is captured at a place of a chain; the last place is the port's."""
        return (place, chain) if self.by_rows else (chain, place)

    def _next_chain(self, chain: int) -> list[Word]:
        """A chain captures all its sums when the last of them is final, and else shifts towards its port."""
        extent = self.extent_rows if self.by_rows else self.extent_cols
        i, j = self._chain_cell(chain, extent - 1)
        if not self.done[i][j]:
            return [BUBBLE, *self.chains[chain][:-1]]
        if self.record.drain_start_cycle < 0:
            self.record.drain_start_cycle = self.cycle
        cells = [self._chain_cell(chain, place) for place in range(self.chain_length)]
        return [
            Word(self.sums[i][j], place < extent, tag=i * self.cols + j) for place, (i, j) in enumerate(cells)
        ]

    def _leaving(self) -> list[Word]:
        """What goes to the output ports in this cycle."""
        if self.options.drain != "parallel":
            return [chain[-1] for chain in self.chains]
        words = [
            Word(self.sums[i][j], self.done[i][j], tag=i * self.cols + j)
            for i in range(self.rows)
            for j in range(self.cols)
        ]
        if self.record.drain_start_cycle < 0 and any(word.valid for word in words):
            self.record.drain_start_cycle = self.cycle
        return words

    def _drain(self) -> list[list[Word]]:
        for pipe, word in zip(self.out_ports, self._leaving(), strict=True):
            at_port = pipe.through(word)
            if at_port.valid:
                i, j = divmod(at_port.tag, self.cols)
                self.record.outputs.append(Output(self.cycle, i, j, at_port.value))
        if self.options.drain == "parallel":
            return self.chains
        self.record.drain_cycles += any(word.valid for word in self.chains[0])
        return [self._next_chain(chain) for chain in range(len(self.chains))]

    def _multiply(self) -> None:
        working = []
        for i in range(self.rows):
            for j in range(self.cols):
                left, top = self.left[i][j], self.top[i][j]
                product = BUBBLE
                if left.valid and top.valid:
                    assert left.last == top.last, "operands that meet are of one vector"
                    product = Word(left.value * top.value, True, left.last)
                    working.append((i, j))
                product = self.products[i][j].through(product)
                self.sums[i][j] += product.value
                self.done[i][j] = product.last
        self._note_macs(working)

    def wires(self) -> None:
        """First phase, as far as the operands are concerned: what is at every multiplier in this cycle."""
        self._left_wires([self._entering_left(i) for i in range(self.rows)])
        self._top_wires()

    def step(self) -> None:
        """One cycle."""
        self.wires()
        self.record.stream_cycles += self._entering_left(0).valid
        next_chains = self._drain()  # reads sums before `_multiply` clocks them
        self._multiply()
        self.chains = next_chains
        self._clock()

    def run(self) -> Record:
        """Step until the last output of the fold's extent stands at its port."""
        while len(self.record.outputs) < self.extent_rows * self.extent_cols:
            self.step()
        return self.record


class WeightStationary(_Array):
    """One fold on a ws array: a[T, r] from the left, b[r, c] held, sums[T, c] (or 0) entering from above."""

    def __init__(
        self,
        a: Sequence[Sequence[Number]],
        b: Sequence[Sequence[Number]],
        rows: int,
        cols: int,
        options: Options,
        sums: Sequence[Sequence[Number]] | None = None,
    ) -> None:
        super().__init__(rows, cols, (len(b), len(b[0])), len(a), options)
        self.a, self.b, self.first_sums = a, b, sums
        self.extent_cols = self.used_cols if options.trim else cols
        self.row_skew = options.accumulator + options.hop_down - 1
        self.load_cycles = rows if options.load == "rows" else 1
        self.weight_ports = [[Pipe(options.input) for _ in range(cols)] for _ in range(rows)]
        self.weights: list[list[Number]] = [[0] * cols for _ in range(rows)]
        self.products = _grid(rows, cols, options.multiplier)
        self.partials = _grid(rows - 1, cols, self.row_skew) + _grid(1, cols, options.accumulator)
        self.out_ports = [Pipe(options.output) for _ in range(cols)]
        self.pipes += [pipe for row in self.weight_ports for pipe in row] + self.out_ports
        self.pipes += [pipe for grid in (self.products, self.partials) for row in grid for pipe in row]

    def _weight(self, i: int, j: int) -> Number:
        return self.b[i][j] if i < self.used_rows and j < self.used_cols else 0

    def _load(self) -> None:
        """Weights: shifted down from the top, last row first; or every PE's from a port of its own."""
        by_rows = self.options.load == "rows"
        loading = self.cycle < self.load_cycles
        self.record.load_cycles += loading
        weights = [row[:] for row in self.weights]
        for j in range(self.cols):
            for i in range(1 if by_rows else self.rows):
                row = self.rows - 1 - self.cycle if by_rows else i
                word = Word(self._weight(row, j), True) if loading else BUBBLE
                word = self.weight_ports[i][j].through(word)
                if not word.valid:
                    continue
                if by_rows:
                    for below in range(1, self.rows):
                        weights[below][j] = self.weights[below - 1][j]
                weights[i][j] = word.value
        self._next_weights = weights

    def _entering_left(self, r: int) -> Word:
        m = self.cycle - self.load_cycles - r * self.row_skew
        if not 0 <= m < self.vectors:
            return BUBBLE
        return Word(self.a[m][r] if r < self.used_rows else 0, True, m == self.vectors - 1, m)

    def _entering_sum(self, c: int) -> Word:
        """A partial sum meets its first product behind the input registers and the multiplier."""
        delay = self.options.input + self.options.multiplier + c * self.options.hop_right
        m = self.cycle - self.load_cycles - delay
        if c >= self.extent_cols or not 0 <= m < self.vectors:
            return BUBBLE
        known = self.first_sums is not None and c < self.used_cols
        return Word(self.first_sums[m][c] if known and self.first_sums else 0, True, m == self.vectors - 1, m)

    def _column(self, c: int, working: list[tuple[int, int]]) -> Word:
        """Follow a partial sum's wires down a column; returns what leaves the last accumulator."""
        partial = self._entering_sum(c)
        for r in range(self.rows):
            left = self.left[r][c]
            product = BUBBLE
            if left.valid:
                product = Word(left.value * self.weights[r][c], True, tag=left.tag)
                if c < self.extent_cols:
                    working.append((r, c))
            product = self.products[r][c].through(product)
            if partial.valid:
                assert product.tag == partial.tag, "a sum meets its own vector's product"
                partial = partial._replace(value=partial.value + product.value)
            partial = self.partials[r][c].through(partial)
        return partial

    def wires(self) -> None:
        """First phase, as far as the operands are concerned: what is at every multiplier in this cycle."""
        self._left_wires([self._entering_left(r) for r in range(self.rows)])

    def step(self) -> None:
        """One cycle."""
        self.wires()
        self._load()
        self.record.stream_cycles += self._entering_left(0).valid
        working: list[tuple[int, int]] = []
        for c in range(self.cols):
            leaving = self._column(c, working)
            if leaving.valid and self.record.drain_start_cycle < 0:
                self.record.drain_start_cycle = self.cycle
            at_port = self.out_ports[c].through(leaving)
            if at_port.valid:
                self.record.outputs.append(Output(self.cycle, at_port.tag, c, at_port.value))
        self._note_macs(working)
        self.weights = self._next_weights
        self._clock()

    def run(self) -> Record:
        """Step until the last output of the fold's extent stands at its port."""
        while len(self.record.outputs) < self.vectors * self.extent_cols:
            self.step()
        return self.record


def input_stationary(
    a: Sequence[Sequence[Number]],
    b: Sequence[Sequence[Number]],
    rows: int,
    cols: int,
    options: Options,
) -> WeightStationary:
    """One fold of a[M, K] @ b[K, N] on an is array: ws of the transposed problem, outputs [N, M]."""
    return WeightStationary(list(zip(*b, strict=True)), list(zip(*a, strict=True)), rows, cols, options)
