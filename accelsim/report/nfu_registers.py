"""Every register of a small NFU over a layer, as the plain-Python twin steps it.

Each tile is stepped by the twin with its own operands and laid at the cycle at which the timeline issued it. Tiles that
overlap in the pipeline share the stages: no register may hold words of two of them, and the film checks that, as it
checks that the sums at the end are those of the engine.

In a waveform the scopes are the operand register (``operands``: a row of inputs, ``tile`` and ``output`` that it is for)
and a scope a stage. NFU-1: the products of each output, at its first register. NFU-2: the sum of each output, at its last
register, with the tree's result in it. NFU-3: the sums that go on to the output buffer, in each of its registers;
``written`` while they leave. (The twin leaves them as they are: what a layer's activation makes of them is computed behind it.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.engines.base import Array, Sums
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.mapped import PlannedNests
from accelsim.engines.nfu import Nfu, NfuEngine
from accelsim.engines.reference.nfu import Arithmetic, Number, Pipeline, Row
from accelsim.engines.reference.nfu import Nfu as Twin
from accelsim.engines.tiles import Place, TileOperands
from accelsim.engines.walk import Recorder, Walk
from accelsim.errors import InfeasibleError, InvariantError
from accelsim.mapping.loopnest import Dims
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.report.activity import visits_of
from accelsim.report.registers import is_single, the_layer, the_post, too_much
from accelsim.report.waveform import Signal, State, Variable, Waves
from accelsim.schedule.build import NOTHING, Schedule
from accelsim.simulator import Simulator, _Values
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, Network
from accelsim.workload.precision import Precision

MOST_MULTIPLIERS = 256
MOST_MAC_CYCLES = 1_000_000


@dataclass(frozen=True)
class NfuFilm:
    """All cycles of a layer on a small NFU."""

    title: str
    clock_hz: int
    precision: Precision
    frames: list[State]

    def waves(self) -> Waves:
        """The operands, then stage by stage."""
        there = {signal for frame in self.frames for signal in frame}
        variables = {signal: self._variable(signal) for signal in sorted(there, key=lambda s: (PLACES.index(s[0]), s[1:]))}
        return Waves(self.title, self.clock_hz, variables, self.frames)

    def _variable(self, signal: Signal) -> Variable:
        kind, *where = signal
        formats = self.precision
        real = not formats.accumulator.is_integer
        if kind == "input":
            return Variable(("nfu", "operands"), f"in_{where[0]}", 0 if real else 1 + formats.input.bits)
        if kind == "product":
            bits = max(formats.accumulator.bits, 1 + formats.weight.bits + formats.input.bits)
            return Variable(("nfu", "nfu1", f"out_{where[0]}"), f"product_{where[1]}", 0 if real else bits)
        if kind == "sum":
            return Variable(("nfu", "nfu2"), f"sum_{where[0]}", 0 if real else formats.accumulator.bits)
        if kind == "out":
            name = f"out_{where[1]}" + (f"_{where[0]}" if where[0] else "")
            return Variable(("nfu", "nfu3"), name, 0 if real else formats.accumulator.bits)
        return Variable(("nfu", "nfu3" if kind == "written" else "operands"), kind, 32)


Part = tuple[Array, Array, Array, Place]
"""A group of a tile: pixels x reduction, reduction x channels, all sums, and which of them are its."""
PLACES = ("tile", "output", "input", "product", "sum", "written", "out")


def film(network: Network, arch: Architecture, mapping: MappingFile = EMPTY, seed: int = 0) -> NfuFilm:
    """Step the one layer of ``network`` in values mode. Raises `InfeasibleError` for what is too large, and for NFUs
    that the twin does not know.
    """
    layer, spec = refuse(network, arch)
    recorder, seen = Recorder(), list[_Work]()
    post = the_post(network, Simulator(arch, mapping, seed))
    assert isinstance(post.engine, NfuEngine)
    post.engine.unit = _Watched(arch, spec, seen=seen)
    post.engine.known = PlannedNests()  # none of those made with the unit before
    carry = recorder.carry(arch, layer.name, post.plan.placements[layer.name].reserved_bytes)
    run = post.run(layer, carry, _Values.start(network, seed).operands(layer))
    walks = recorder.layers[0].walks
    if len(seen) != 1 or not is_single(walks):
        raise too_much(layer.name, f"{len(seen)} products one after the other", "a single product")
    _refuse_large(layer.name, spec, run.counters.cycles)
    shooting = _Shooting(seen[0], walks[0])
    frames = shooting.shoot()
    frames += [{} for _ in range(run.counters.cycles + 1 - len(frames))]
    return NfuFilm(f"{network.name} {layer.name} on {arch.name}", arch.clock, seen[0].precision, frames)


def refuse(network: Network, arch: Architecture) -> tuple[Layer, NfuSpec]:
    """Raise `InfeasibleError` for what is too large or not stepped by the twin; else the layer and the engine."""
    layer, spec = the_layer(network), arch.engine
    assert isinstance(spec, NfuSpec)
    if spec.unroll.multipliers > MOST_MULTIPLIERS:
        levers = ("--set arch.engine.unroll.K=4 --set arch.engine.unroll.C=4", "write the trace to a .json file")
        raise too_much(arch.name, f"{spec.unroll.multipliers} multipliers", f"{MOST_MULTIPLIERS} multipliers", levers)
    if spec.unroll.pixels > 1 or spec.nodes > 1:
        raise InfeasibleError(
            f"registers of {arch.name}",
            demand=f"{spec.unroll.pixels} output pixels at once on {spec.nodes} nodes",
            bound="one pixel at a time on one node, as the plain twin has it",
            levers=("another arch.engine.unroll", "write the trace to a .json file"),
        )
    _refuse_large(layer.name, spec, layer.macs // spec.unroll.multipliers)  # at its peak rate
    return layer, spec


def _refuse_large(name: str, spec: NfuSpec, cycles: int) -> None:
    if cycles * spec.unroll.multipliers > MOST_MAC_CYCLES:
        demand = f"{cycles:,} cycles on {spec.unroll.multipliers} multipliers"
        levers = ("a smaller layer", "write the trace to a .json file")
        raise too_much(name, demand, f"{MOST_MAC_CYCLES:,} multiplier cycles", levers)


@dataclass(frozen=True)
class _Work:
    """What the unit was given, and the sums that it found."""

    unit: Nfu
    schedule: Schedule
    precision: Precision
    image: Array
    weight: Array
    sums: Sums


@dataclass(frozen=True)
class _Watched(Nfu):
    """An NFU that remembers the operands it was given; so do those that are made from it."""

    seen: list[_Work] = field(default_factory=list, compare=False)

    def accumulate(self, schedule: Schedule, precision: Precision, image: Array, weight: Array) -> Sums:
        sums = super().accumulate(schedule, precision, image, weight)
        self.seen.append(_Work(self, schedule, precision, image, weight, sums))
        return sums


# ---- the twin's tiles laid over time ------------------------------------------------------------------


@dataclass
class _Shooting:
    """Steps the tiles of one schedule and lays them into frames."""

    work: _Work
    walk: Walk
    frames: list[State] = field(default_factory=list)

    def shoot(self) -> list[State]:
        """Step everything; a frame a cycle."""
        visits = np.concatenate(list(visits_of(self.walk)))
        d = self.work.schedule.nest.dims
        sums = np.zeros((d.N, d.G, d.K, d.P, d.Q), dtype=object)
        issues = iter(visits[:, tl.V_ISSUE].tolist())
        operands = TileOperands(self.work.schedule.nest, self.work.image, self.work.weight)
        ends = self.work.schedule.stores != NOTHING
        resumes = np.concatenate(([False], ~ends[:-1])) | (self.work.schedule.loads[:, 2] != NOTHING)
        for number, (at, tile) in enumerate(self.work.schedule.tile_places()):
            parts = [(left, right, sums, place) for left, right, place in operands.of(at, tile)]
            twin = self._tile(parts, tile, bool(resumes[number]))
            self._lay(number, twin, next(issues))
            self._take(twin, parts, tile)
        assert next(issues, None) is None, "the twin stepped fewer tiles than the timeline"
        self._require_same(sums)
        return self.frames

    def _tile(self, parts: list[Part], tile: Dims, resumes: bool) -> Twin:
        """The twin with the rows of a tile and the sums that they are added to."""
        spec, unit = self.work.unit.spec, self.work.unit
        pack, slow = unit._speed(self.work.precision)
        multiply, add, activate = (stage.cycles for stage in spec.pipeline)
        in_buffer = spec.sums == "buffer"
        twin = Twin(Pipeline(multiply, add, activate, in_buffer, slow), _arithmetic(spec, self.work.precision))
        taken, rows = unit._taken(tile, pack), list[Row]()
        for left, right, sums, place in parts:
            flat = _flat(sums, place, tile)
            for pixel in range(len(left)):
                for block in range(ceil_div(tile.K, spec.unroll.K)):
                    channels = slice(block * spec.unroll.K, (block + 1) * spec.unroll.K)
                    output = len(twin.sums)
                    start = flat[pixel, channels].tolist()
                    twin.sums[output] = start + [0] * (spec.unroll.K - len(start))
                    rows += _rows(output, left[pixel], right[:, channels], taken, spec.unroll.K, resumes, in_buffer)
        twin.start(rows)
        return twin

    def _lay(self, number: int, twin: Twin, issue: int) -> None:
        """Step a tile to its end, and write each of its cycles into the frame at which it happened."""
        leaving: dict[int, list[Number]] = {}  # sums as they were when their row left NFU-2
        while twin.is_busy():
            frame = self._frame(issue + twin.cycle)
            for signal, value in self._registers(number, twin, leaving).items():
                if signal in frame:
                    raise InvariantError(f"two tiles (the second is {number}) meet in register {signal}")
                frame[signal] = value
            twin.step()

    def _frame(self, cycle: int) -> State:
        while cycle >= len(self.frames):
            self.frames.append({})
        return self.frames[cycle]

    def _registers(self, number: int, twin: Twin, leaving: dict[int, list[Number]]) -> State:
        state, options = State(), twin.options
        if twin.operand is not None and twin.operand.operands is not None:
            state |= {("tile",): number, ("output",): twin.operand.output}
            state |= {("input", i): value for i, value in enumerate(twin.operand.operands[0])}
        multiplied, added = twin.stages[0], twin.stages[options.multiply + options.add - 1]
        if multiplied is not None:
            products = enumerate(multiplied.products)
            state |= {("product", n, i): value for n, line in products for i, value in enumerate(line)}
        if added is not None:
            leaving[id(added)] = list(twin.sums[added.output])
            state |= {("sum", n): value for n, value in enumerate(leaving[id(added)])}
        for stage, row in enumerate(twin.stages[options.multiply + options.add :]):
            if row is not None and row.writes:
                state |= {("out", stage, n): value for n, value in enumerate(leaving[id(row)])}
        last = twin.stages[-1]
        return state | ({("written",): last.output} if last is not None and last.writes else {})

    def _take(self, twin: Twin, parts: list[Part], tile: Dims) -> None:
        """The twin's sums back to where they belong."""
        found = iter(twin.sums.values())
        size = self.work.unit.spec.unroll.K
        for left, _, sums, place in parts:
            flat = np.zeros((len(left), ceil_div(tile.K, size) * size), dtype=object)
            for pixel in range(len(left)):
                for block in range(ceil_div(tile.K, size)):
                    flat[pixel, block * size : (block + 1) * size] = next(found)
            turned = flat[:, : tile.K].reshape(tile.N, -1, tile.K).transpose(0, 2, 1)
            sums[place] = turned.reshape(sums[place].shape)

    def _require_same(self, sums: Array) -> None:
        expected = self.work.sums.accumulators
        found = sums.reshape(expected.shape)
        same = (found == expected).all() if expected.dtype.kind != "f" else np.allclose(found.astype(float), expected, 1e-4)
        if not same:
            raise InvariantError("the twin's sums are not the engine's")


def _flat(sums: Array, place: Place, tile: Dims) -> Array:
    """Sums of a tile's group, pixels x channels."""
    return np.asarray(sums[place].reshape(tile.N, tile.K, -1).transpose(0, 2, 1).reshape(-1, tile.K))


def _rows(
    output: int, inputs: Array, weights: Array, taken: Array, outputs: int, resumes: bool, in_buffer: bool
) -> Iterator[Row]:
    """The rows of operands of one row of outputs; lanes and outputs that a ragged tile leaves idle take zeros."""
    padded, lines = np.append(inputs, 0), np.zeros((outputs, len(inputs) + 1), dtype=weights.dtype)
    lines[: weights.shape[1], :-1] = weights.T
    for chunk, lanes in enumerate(taken):
        reads, writes = resumes if chunk == 0 else in_buffer, chunk == len(taken) - 1 or in_buffer
        yield Row(output, reads, writes, (padded[lanes].tolist(), lines[:, lanes].tolist()))


def _arithmetic(spec: NfuSpec, precision: Precision) -> Arithmetic:
    fixed = spec.arithmetic
    if fixed is None or not precision.accumulator.is_integer:
        return Arithmetic()
    saturates = fixed.overflow == "saturate"
    if fixed.product != "truncate":
        return Arithmetic(sum_bits=fixed.sum_bits, sum_saturates=saturates)
    return Arithmetic(fixed.fraction, fixed.product_bits, fixed.sum_bits, saturates, saturates)
