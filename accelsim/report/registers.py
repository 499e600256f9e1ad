"""Every register of a small array over a whole run, as the plain-Python twin steps it: a *film*.

Each fold of the layer is stepped by the twin with its own operands and laid at the cycle at which the
timeline issued it. Folds that overlap in the pipeline share the array: no register may hold words of two of
them, and the film checks that, as it checks every sum against the product of the operands.

In a waveform the scopes are ``array``, its rows and PEs. In a PE, ``left`` and ``top`` are the operands at its
multiplier, ``weight`` is what it holds and ``weight_next`` what is shifted in for the next tile, ``sum`` its
accumulator (os), ``psum_0`` its partial sum (ws, is), ``drain`` a sum on its way out; a number counts the
registers of a pipeline, youngest first. ``fold`` numbers the tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from accelsim.arch.spec import Architecture, SystolicSpec
from accelsim.course import Post
from accelsim.engines.base import Array
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.mapped import MappedEngine, PlannedNests
from accelsim.engines.reference.systolic import (
    Options,
    Output,
    OutputStationary,
    Pipe,
    WeightStationary,
    Word,
)
from accelsim.engines.systolic import SystolicArray
from accelsim.engines.tiles import TileOperands
from accelsim.engines.walk import Recorder, Walk
from accelsim.errors import InfeasibleError, InvariantError
from accelsim.mapping.loopnest import Dims
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.report.activity import fold_rows, visits_of
from accelsim.report.waveform import Number, Signal, State, Variable, Waves
from accelsim.schedule.build import Schedule
from accelsim.simulator import Simulator, _Values
from accelsim.workload.network import Layer, Network
from accelsim.workload.precision import Precision

__all__ = ["Film", "Frame", "Number", "Signal", "State", "film", "is_single", "refuse", "the_layer", "too_much"]

MOST_PES = 256
MOST_PE_CYCLES = 1_000_000
OPERANDS = ("left", "top", "weight", "weight_next", "left_hop", "top_hop")


@dataclass
class Frame:
    """One cycle: what every register holds as it begins, the PEs that multiply, outputs that stand at ports."""

    state: State = field(default_factory=dict)
    working: set[tuple[int, int]] = field(default_factory=set)
    outputs: list[Output] = field(default_factory=list)
    fold: int = -1  # the last one that has begun to issue


@dataclass(frozen=True)
class Film:
    """All cycles of a layer on a small array."""

    network: str
    layer: str
    architecture: str
    clock_hz: int
    spec: SystolicSpec
    dataflow: str
    precision: Precision
    folds: int
    frames: list[Frame]

    @property
    def is_float(self) -> bool:
        return not self.precision.accumulator.is_integer

    def signals(self) -> list[Signal]:
        """Every register that ever held anything, in a lasting order."""
        return sorted({signal for frame in self.frames for signal in frame.state}, key=str)

    def waves(self) -> Waves:
        """The film as a waveform: the number of the tile, the ports, then the PEs row by row."""
        ports = [signal for signal in self.signals() if signal[0] == "out"]
        inside = sorted(set(self.signals()) - set(ports), key=lambda signal: (signal[1:3], str(signal)))
        variables = {("fold",): Variable(("array",), "fold", 32)}
        variables |= {s: Variable(("array",), f"out_{s[1]}_{s[2]}", self._bits(s)) for s in ports}
        for signal in inside:
            scopes = ("array", f"row_{signal[1]}", f"pe_{signal[1]}_{signal[2]}")
            stage = f"_{signal[3]}" if len(signal) > 3 else ""
            variables[signal] = Variable(scopes, f"{signal[0]}{stage}", self._bits(signal))
        title = f"{self.network} {self.layer} on {self.architecture}, {self.dataflow}"
        frames = [f.state | ({("fold",): f.fold} if f.fold >= 0 else {}) for f in self.frames]
        return Waves(title, self.clock_hz, variables, frames)

    def _bits(self, signal: Signal) -> int:
        """A register's width, 0 for floats; unsigned operands have one bit more here, for their sign."""
        formats = self.precision
        if self.is_float:
            return 0
        if signal[0] in OPERANDS:
            return 1 + max(formats.weight.bits, formats.input.bits)
        if signal[0] == "product":
            return 1 + formats.weight.bits + formats.input.bits
        return formats.accumulator.bits


def film(network: Network, arch: Architecture, mapping: MappingFile = EMPTY, seed: int = 0) -> Film:
    """Step the one layer of ``network`` in values mode. Raises `InfeasibleError` for what is too large, and
    for engines whose registers are not stepped.
    """
    layer, spec = refuse(network, arch)
    recorder, watched = Recorder(), _Watched(arch, spec)
    post = the_post(network, Simulator(arch, mapping, seed))
    assert isinstance(post.engine, MappedEngine)
    post.engine.unit = watched
    post.engine.known = PlannedNests()  # none of those made with the unit before
    carry = recorder.carry(arch, layer.name, post.plan.placements[layer.name].reserved_bytes)
    run = post.run(layer, carry, _Values.start(network, seed).operands(layer))
    walks = recorder.layers[0].walks
    if len(watched.seen) != 1 or not is_single(walks):
        raise too_much(layer.name, f"{len(watched.seen)} products one after the other", "a single product")
    _refuse_large(layer.name, spec, run.counters.cycles)
    schedule, image, weight = watched.seen[0]
    shooting = _Shooting(watched, schedule, layer.precision, walks[0], run.counters.cycles)
    frames = shooting.shoot(image, weight)
    dataflow = schedule.mapping.dataflow
    folds = sum(1 for visits in visits_of(walks[0]) for _ in visits)
    return Film(network.name, layer.name, arch.name, arch.clock, spec, dataflow, layer.precision, folds, frames)


def the_post(network: Network, simulator: Simulator) -> Post:
    """Where the one layer of ``network`` runs; `InfeasibleError` where it runs several times."""
    name = network.layers[0].name
    post = simulator.posts(network)[name]
    if post.parts > 1:
        raise too_much(name, f"a batch in {post.parts} parts", "a single run", ("a smaller batch",))
    return post


def is_single(walks: list[Any]) -> TypeGuard[list[Walk]]:
    """Whether a layer was one walk of a timeline, once."""
    return len(walks) == 1 and isinstance(walks[0], Walk) and walks[0].times == 1


def refuse(network: Network, arch: Architecture) -> tuple[Layer, SystolicSpec]:
    """Raise `InfeasibleError` for what is too large or has no such registers; else the layer and the array."""
    layer, spec = the_layer(network), _the_array(arch)
    _refuse_large(layer.name, spec, layer.macs // (spec.rows * spec.cols))  # at its peak rate
    return layer, spec


class _Watched(SystolicArray):
    """An array that remembers the operands it was given."""

    def __init__(self, arch: Architecture, spec: SystolicSpec) -> None:
        super().__init__(arch, spec)
        object.__setattr__(self, "seen", list[tuple[Schedule, Array, Array]]())

    seen: list[tuple[Schedule, Array, Array]]

    def fed(self, arch: Architecture) -> SystolicArray:
        """In another machine's memory it remembers in the same place."""
        other = _Watched(arch, self.spec)
        object.__setattr__(other, "seen", self.seen)
        return other

    def accumulate(self, schedule: Schedule, precision: Precision, image: Array, weight: Array) -> Any:
        self.seen.append((schedule, image, weight))
        return super().accumulate(schedule, precision, image, weight)


def the_layer(network: Network) -> Layer:
    """The only layer of ``network``, which has MACs; InfeasibleError for other networks."""
    layers = [layer for layer in network.layers if layer.macs]
    if len(network.layers) != 1 or not layers:
        found = f"{len(network.layers)} layers, {len(layers)} of them with MACs"
        raise too_much(network.name, found, "a single layer with MACs", ("choose one with --layer NAME",))
    return layers[0]


def _the_array(arch: Architecture) -> SystolicSpec:
    if not isinstance(arch.engine, SystolicSpec):
        raise InfeasibleError(
            f"registers of {arch.name}",
            demand=f"an engine of kind {arch.engine.kind}",
            bound="a picture of systolic arrays alone",
            levers=("write the trace to a .vcd or .json file",),
        )
    if arch.engine.rows * arch.engine.cols > MOST_PES:
        demand = f"{arch.engine.rows} x {arch.engine.cols} PEs"
        levers = ("--set arch.engine.rows=4 --set arch.engine.cols=4", "write the trace to a .json file")
        raise too_much(arch.name, demand, f"{MOST_PES} PEs", levers)
    return arch.engine


def _refuse_large(name: str, spec: SystolicSpec, cycles: int) -> None:
    if cycles * spec.rows * spec.cols > MOST_PE_CYCLES:
        demand = f"{cycles:,} cycles on {spec.rows} x {spec.cols} PEs"
        levers = ("a smaller layer", "write the trace to a .json file")
        raise too_much(name, demand, f"{MOST_PE_CYCLES:,} PE cycles", levers)


def too_much(what: str, demand: str, bound: str, levers: Sequence[str] = ()) -> InfeasibleError:
    return InfeasibleError(f"registers of {what}", demand=demand, bound=f"room for {bound} at most", levers=tuple(levers))


# ---- the twin's folds laid over time ---------------------------------------------------------------


@dataclass
class _Shooting:
    """Steps the folds of one schedule and lays them into frames."""

    array: SystolicArray
    schedule: Schedule
    precision: Precision
    walk: Walk
    cycles: int

    def __post_init__(self) -> None:
        self.spec = self.array.spec
        self.dataflow = self.schedule.mapping.dataflow
        self.frames = [Frame() for _ in range(self.cycles + 1)]
        pipe = self.spec.pipeline
        self.options = Options(
            pipe.hop, pipe.hop, pipe.multiplier, pipe.accumulator, pipe.input, pipe.output,
            self.spec.edge == "trim", self.spec.drain, self.spec.weight_load,
        )  # fmt: skip

    def shoot(self, image: Array, weight: Array) -> list[Frame]:
        """Step everything; a frame a cycle."""
        self._require_plain()
        visits = np.concatenate(list(visits_of(self.walk)))
        loads = fold_rows(self.walk, visits)[:, tl.F_LOAD]
        times = zip(visits.tolist(), loads.tolist(), strict=True)
        for number, twin in enumerate(self._folds(image, weight)):
            visit, load = next(times)
            self._lay(number, twin, visit[tl.V_LOAD_END] - load, load, visit[tl.V_ISSUE])
        assert next(times, None) is None, "the twin stepped fewer folds than the timeline"
        self._hold()
        return self.frames

    def _require_plain(self) -> None:
        if self.array._speed(self.precision) != (1, 1) or self.array.structure is not None:
            words = f"{self.precision.weight} x {self.precision.input} at another speed than one MAC a cycle"
            raise too_much(self.schedule.nest.part or "the layer", words, "one MAC a PE and cycle")

    def _folds(self, image: Array, weight: Array) -> Iterator[OutputStationary | WeightStationary]:
        """A twin a fold, in the order of the timeline; sums are carried from fold to fold and checked."""
        nest, d = self.schedule.nest, self.schedule.nest.dims
        sums = np.zeros((d.N, d.G, d.K, d.P, d.Q), dtype=object)
        operands = TileOperands(nest, image, weight)
        for at, tile in self.schedule.tile_places():
            for left, right, place in operands.of(at, tile):
                shape = sums[place].reshape(tile.N, tile.K, -1).transpose(0, 2, 1).shape
                flat = sums[place].reshape(tile.N, tile.K, -1).transpose(0, 2, 1).reshape(-1, tile.K).copy()
                expected = flat + left.astype(object) @ right.astype(object)
                yield from self._tile(left, right, flat)
                if not self.precision.accumulator.is_integer:
                    flat = expected  # rounded in another order
                elif (flat != expected).any():
                    raise InvariantError(f"the twin's sums of tile {Dims(*tile)} are not the products")
                sums[place] = flat.reshape(shape).transpose(0, 2, 1).reshape(sums[place].shape)

    def _tile(self, left: Array, right: Array, flat: Array) -> Iterator[OutputStationary | WeightStationary]:
        """The folds of a product; ``flat`` pixels x channels takes their sums."""
        rows, cols = self.spec.rows, self.spec.cols
        if self.dataflow == "os":
            for i in range(0, left.shape[0], rows):
                for j in range(0, right.shape[1], cols):
                    part = flat[i : i + rows, j : j + cols]
                    a, b = left[i : i + rows].tolist(), right[:, j : j + cols].tolist()
                    yield from self._step(OutputStationary(a, b, rows, cols, self.options, part.tolist()), part)
            return
        if self.dataflow == "is":
            left, right, flat = right.T, left.T, flat.T
        for j in range(0, right.shape[1], cols):
            for k in range(0, left.shape[1], rows):
                part = flat[:, j : j + cols]
                a, b = left[:, k : k + rows].tolist(), right[k : k + rows, j : j + cols].tolist()
                yield from self._step(WeightStationary(a, b, rows, cols, self.options, part.tolist()), part)

    def _step(
        self, twin: OutputStationary | WeightStationary, part: Array
    ) -> Iterator[OutputStationary | WeightStationary]:
        yield twin  # is stepped by whoever lays it into the frames
        for output in twin.record.outputs:
            if output.row < part.shape[0] and output.col < part.shape[1]:
                part[output.row, output.col] = output.value

    # ---- one fold ----------------------------------------------------------------------------------------

    def _lay(self, number: int, twin: Any, load_start: int, load: int, issue: int) -> None:
        """Step a fold to its end, and write each of its cycles into the frame at which it happened."""
        os = isinstance(twin, OutputStationary)
        outputs = (twin.extent_rows if os else twin.vectors) * twin.extent_cols
        begun: set[tuple[int, int]] = set()  # PEs of os whose sums have taken a product
        while len(twin.record.outputs) < outputs:
            loading = twin.cycle < load
            frame = self._frame(load_start + twin.cycle if loading else issue + twin.cycle - load)
            self._write(frame, self._moving(twin), number)
            self._write_standing(frame, twin, loading, begun)
            if load and twin.cycle == load:
                self._write_loaded(self._frame(load_start + load), twin)
            begun |= _adding(twin) if os else set()
            frame.fold = frame.fold if loading else max(frame.fold, number)
            seen = len(twin.record.outputs)
            twin.step()
            frame.working |= _working(twin)
            frame.outputs += twin.record.outputs[seen:]

    def _frame(self, cycle: int) -> Frame:
        while cycle >= len(self.frames):
            self.frames.append(Frame())
        return self.frames[cycle]

    def _write(self, frame: Frame, state: State, number: int) -> None:
        for signal, value in state.items():
            if signal in frame.state:
                raise InvariantError(f"two folds (the second is {number}) meet in register {signal}")
            frame.state[signal] = value

    def _moving(self, twin: Any) -> State:
        """What the fold's words are in: operands, products, sums on their way."""
        twin.wires()
        state: State = {}
        _put_grid(state, "left", twin.left)
        if self.dataflow == "os":
            _put_grid(state, "top", twin.top)
            for c, chain in enumerate(twin.chains):
                for place, word in enumerate(chain):
                    _put(state, ("drain", *twin._chain_cell(c, place)), word)
        else:
            _put_pipes(state, "psum", twin.partials)
        _put_pipes(state, "product", twin.products)
        for name, pipes in (("left_hop", twin.left_hops), ("top_hop", getattr(twin, "top_hops", []))):
            if self.options.hop_right > 1:
                _put_pipes(state, name, pipes)
        for port, pipe in enumerate(twin.out_ports):
            for stage, word in enumerate(pipe.stages):
                _put(state, ("out", port, stage), word)
        return state

    def _write_standing(self, frame: Frame, twin: Any, loading: bool, begun: set[tuple[int, int]]) -> None:
        """What stays in a PE: weights from their first use on, sums from their first product on."""
        if isinstance(twin, OutputStationary):
            frame.state |= {("sum", i, j): twin.sums[i][j] for i, j in begun}
            return
        if loading and twin.cycle:
            self._write_loaded(frame, twin)
        for i, row in enumerate(twin.weights if not loading else []):
            for j, value in enumerate(row):
                if twin.left[i][j].valid:
                    frame.state["weight", i, j] = value

    def _write_loaded(self, frame: Frame, twin: Any) -> None:
        """The registers that stationary operands are shifted into: with two sets, those of the next tile."""
        name = "weight_next" if self.spec.weight_buffers == 2 else "weight"
        for i, row in enumerate(twin.weights):
            frame.state |= {(name, i, j): value for j, value in enumerate(row)}

    def _hold(self) -> None:
        """What stands in a register stays until something else does."""
        standing: State = {}
        for frame in self.frames:
            for signal in [s for s in frame.state if s[0] in ("weight", "weight_next", "sum")]:
                standing[signal] = frame.state[signal]
            frame.state |= standing
        fold = -1
        for frame in self.frames:
            frame.fold = fold = max(fold, frame.fold)


def _adding(twin: Any) -> set[tuple[int, int]]:
    """PEs of an os fold whose adders take a product in this cycle."""
    places = ((i, j) for i in range(twin.used_rows) for j in range(twin.used_cols))
    found = set()
    for i, j in places:
        stages = twin.products[i][j].stages
        if stages[-1].valid if stages else twin.left[i][j].valid and twin.top[i][j].valid:
            found.add((i, j))
    return found


def _working(twin: Any) -> set[tuple[int, int]]:
    """PEs of the tile that multiplied in the step just done."""
    os = isinstance(twin, OutputStationary)
    return {
        (i, j)
        for i in range(twin.used_rows)
        for j in range(twin.used_cols)
        if twin.left[i][j].valid and (not os or twin.top[i][j].valid)
    }


def _put(state: State, signal: Signal, word: Word) -> None:
    if word.valid:
        state[signal] = word.value


def _put_grid(state: State, name: str, grid: Sequence[Sequence[Word]]) -> None:
    for i, row in enumerate(grid):
        for j, word in enumerate(row):
            _put(state, (name, i, j), word)


def _put_pipes(state: State, name: str, grid: Sequence[Sequence[Pipe]]) -> None:
    for i, row in enumerate(grid):
        for j, pipe in enumerate(row):
            for stage, word in enumerate(pipe.stages):
                _put(state, (name, i, j, stage), word)
